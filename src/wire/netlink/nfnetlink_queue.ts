/**
 * NFQUEUE: packets that wait for a verdict, the kernel's nfnetlink_queue.h.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Attribute, attributeU32Be, readAttribute, writeU32Be } from "./attribute.ts";
import {
  beginNfnetlink,
  nfnetlinkResource,
  NfnlSubsystem,
  Nfproto,
  readNfnetlink,
} from "./nfnetlink.ts";
import { writeCopyPacket } from "./nfnetlink_log.ts";
import { endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";

const MSG_PACKET = 0; // NFQNL_MSG_PACKET
const MSG_VERDICT = 1; // NFQNL_MSG_VERDICT
const MSG_CONFIG = 2; // NFQNL_MSG_CONFIG

/** `nlmsg_type` of a packet that waits. */
export const NFQUEUE_PACKET: number = (NfnlSubsystem.Queue << 8) | MSG_PACKET;

const CFG_CMD = 1; // NFQA_CFG_CMD: u8 command, padding, u16 pf
const CFG_PARAMS = 2; // NFQA_CFG_PARAMS: u32 copy_range, u8 copy_mode
const CFG_QUEUE_MAXLEN = 3; // NFQA_CFG_QUEUE_MAXLEN, u32
const CFG_MASK = 4; // NFQA_CFG_MASK, u32: which bits of the flags are meant
const CFG_FLAGS = 5; // NFQA_CFG_FLAGS, u32
const CMD_BIND = 1; // NFQNL_CFG_CMD_BIND
const FAIL_OPEN = 1; // NFQA_CFG_F_FAIL_OPEN

const PACKET_HDR = 1; // NFQA_PACKET_HDR: u32 packet_id, u16 hw_protocol, u8 hook
const PACKET_HDR_SIZE = 7;
const VERDICT_HDR = 2; // NFQA_VERDICT_HDR: u32 verdict, u32 packet_id
const IFINDEX_INDEV = 5; // NFQA_IFINDEX_INDEV, u32
const PAYLOAD = 10; // NFQA_PAYLOAD

/** What becomes of a packet: NF_DROP, NF_ACCEPT. */
export const NfVerdict = { Drop: 0, Accept: 1 } as const;

/** A packet that waits. */
export class NfqueuePacket {
  queue = 0;
  /** What a verdict names. */
  id = 0;
  /** Where it came in; 0 when it did not come in. */
  interfaceIndex = 0;
  /** Where the packet begins, at its IP header, and where what was copied of it ends. */
  packetAt = 0;
  packetEnd = 0;
}

/**
 * Asks for what rules send to `queue`: at most `range` bytes of each packet; at most `packets` wait
 * at once, and what is above that is accepted when `failOpen`, else dropped.
 */
export function writeNfqueueBind(
  out: Region,
  at: number,
  sequence: number,
  queue: number,
  range: number,
  packets: number,
  failOpen: boolean,
): number {
  const flags = NlmsgFlag.Request | NlmsgFlag.Ack;
  const { Queue } = NfnlSubsystem;
  let end = beginNfnetlink(out, at, sequence, Queue, MSG_CONFIG, flags, Nfproto.Unspec, queue);
  end = writeU32Be(out, end, CFG_CMD, CMD_BIND << 24);
  end = writeCopyPacket(out, end, CFG_PARAMS, range);
  end = writeU32Be(out, end, CFG_QUEUE_MAXLEN, packets);
  end = writeU32Be(out, end, CFG_FLAGS, failOpen ? FAIL_OPEN : 0);
  end = writeU32Be(out, end, CFG_MASK, FAIL_OPEN);
  return endNlmsg(out, at, end);
}

/** Reads a message of type {@linkcode NFQUEUE_PACKET}; 0, or a negated {@linkcode Fault}. */
export function readNfqueuePacket(from: Region, message: Nlmsg, into: NfqueuePacket): number {
  let at = readNfnetlink(message);
  if (at < 0) return at;
  into.queue = nfnetlinkResource(from, message);
  into.interfaceIndex = 0;
  into.packetAt = into.packetEnd = 0;
  let identified = false;
  const { end } = message;
  while (at < end) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const { type } = attribute;
    if (type === PACKET_HDR) {
      const bytes = attribute.end - attribute.at;
      if (bytes < PACKET_HDR_SIZE) {
        return fail(Fault.Field, "NFQA_PACKET_HDR length", attribute.at, bytes, "7");
      }
      into.id = from.view.getUint32(attribute.at);
      identified = true;
    } else if (type === IFINDEX_INDEV) {
      const index = attributeU32Be(from, attribute);
      if (index < 0) return index;
      into.interfaceIndex = index;
    } else if (type === PAYLOAD) {
      into.packetAt = attribute.at;
      into.packetEnd = attribute.end;
    }
  }
  if (identified) return 0;
  return fail(Fault.Field, "NFQNL_MSG_PACKET header", message.at, 0, "there");
}

/** Says what becomes of packet `id`: one of {@linkcode NfVerdict}. There is no answer but an error. */
export function writeNfqueueVerdict(
  out: Region,
  at: number,
  sequence: number,
  queue: number,
  id: number,
  verdict: number,
): number {
  const { Request } = NlmsgFlag;
  const { Queue } = NfnlSubsystem;
  const end = beginNfnetlink(out, at, sequence, Queue, MSG_VERDICT, Request, Nfproto.Unspec, queue);
  out.view.setUint16(end, 4 + 8, true);
  out.view.setUint16(end + 2, VERDICT_HDR, true);
  out.view.setUint32(end + 4, verdict);
  out.view.setUint32(end + 8, id);
  return endNlmsg(out, at, end + 12);
}

const attribute = new Attribute();
