/**
 * NFLOG: copies of packets that a rule logged, the kernel's nfnetlink_log.h.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Attribute, attributeU32Be, readAttribute, writeU32Be, writeU8 } from "./attribute.ts";
import {
  beginNfnetlink,
  nfnetlinkResource,
  NfnlSubsystem,
  Nfproto,
  readNfnetlink,
} from "./nfnetlink.ts";
import { endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import { isText } from "./text.ts";

const MSG_PACKET = 0; // NFULNL_MSG_PACKET
const MSG_CONFIG = 1; // NFULNL_MSG_CONFIG

/** `nlmsg_type` of a logged packet. */
export const NFLOG_PACKET: number = (NfnlSubsystem.Log << 8) | MSG_PACKET;

const CFG_CMD = 1; // NFULA_CFG_CMD, u8
const CFG_MODE = 2; // NFULA_CFG_MODE: u32 copy_range, u8 copy_mode, padding
const CFG_TIMEOUT = 4; // NFULA_CFG_TIMEOUT: u32, hundredths of a second
const CFG_QTHRESH = 5; // NFULA_CFG_QTHRESH: u32, packets
const CMD_BIND = 1; // NFULNL_CFG_CMD_BIND
const COPY_PACKET = 2; // NFULNL_COPY_PACKET

const IFINDEX_INDEV = 4; // NFULA_IFINDEX_INDEV, u32
const PAYLOAD = 9; // NFULA_PAYLOAD
const PREFIX = 10; // NFULA_PREFIX, text with NUL

/** A logged packet. */
export class NflogPacket {
  group = 0;
  /** Where it came in; 0 when it did not come in. */
  interfaceIndex = 0;
  /** Where the text that its rule gave begins and ends, with its NUL. */
  prefixAt = 0;
  prefixEnd = 0;
  /** Where the packet begins, at its IP header, and where what was copied of it ends. */
  packetAt = 0;
  packetEnd = 0;
}

/**
 * Asks for what rules log to `group`: at most `range` bytes of each packet, each at once. The socket
 * that sends it gets them.
 */
export function writeNflogBind(
  out: Region,
  at: number,
  sequence: number,
  group: number,
  range: number,
): number {
  const flags = NlmsgFlag.Request | NlmsgFlag.Ack;
  const { Log } = NfnlSubsystem;
  let end = beginNfnetlink(out, at, sequence, Log, MSG_CONFIG, flags, Nfproto.Unspec, group);
  end = writeU8(out, end, CFG_CMD, CMD_BIND);
  end = writeCopyPacket(out, end, CFG_MODE, range);
  end = writeU32Be(out, end, CFG_TIMEOUT, 1);
  end = writeU32Be(out, end, CFG_QTHRESH, 1);
  return endNlmsg(out, at, end);
}

/** Writes struct nfulnl_msg_config_mode, which nfqnl_msg_config_params is like, as `type`. */
export function writeCopyPacket(out: Region, at: number, type: number, range: number): number {
  const value = at + 4;
  out.view.setUint16(at, 4 + 6, true);
  out.view.setUint16(at + 2, type, true);
  out.view.setUint32(value, range);
  out.view.setUint32(value + 4, COPY_PACKET, true);
  return value + 8;
}

/** Reads a message of type {@linkcode NFLOG_PACKET}; 0, or a negated {@linkcode Fault}. */
export function readNflogPacket(from: Region, message: Nlmsg, into: NflogPacket): number {
  let at = readNfnetlink(message);
  if (at < 0) return at;
  into.group = nfnetlinkResource(from, message);
  into.interfaceIndex = 0;
  into.prefixAt = into.prefixEnd = 0;
  into.packetAt = into.packetEnd = 0;
  const { end } = message;
  while (at < end) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const { type } = attribute;
    if (type === IFINDEX_INDEV) {
      const index = attributeU32Be(from, attribute);
      if (index < 0) return index;
      into.interfaceIndex = index;
    } else if (type === PREFIX) {
      into.prefixAt = attribute.at;
      into.prefixEnd = attribute.end;
    } else if (type === PAYLOAD) {
      into.packetAt = attribute.at;
      into.packetEnd = attribute.end;
    }
  }
  if (into.packetEnd > 0) return 0;
  return fail(Fault.Field, "NFULNL_MSG_PACKET payload", message.at, 0, "there");
}

/** Whether the prefix is `text`, ASCII. */
export function nflogPrefixIs(from: Region, packet: NflogPacket, text: string): boolean {
  return isText(from, packet.prefixAt, packet.prefixEnd, text);
}

const attribute = new Attribute();
