/**
 * MPTCP connections and their subflows as they are: sock_diag(7), the kernel's inet_diag.h, and the
 * MPTCP_SUBFLOW_ATTR_* of its mptcp.h. Addresses and ports are in network order.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { counterAt, MptcpInfo, readMptcpInfo } from "../mptcp/socket_info.ts";
import { Attribute, attributeU8, readAttribute, writeU32 } from "./attribute.ts";
import { beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import { isText } from "./text.ts";

/** `nlmsg_type` of requests and of answers: SOCK_DIAG_BY_FAMILY. */
export const SOCK_DIAG_BY_FAMILY = 20;

/** Offsets in struct inet_diag_req_v2. */
const REQ_FAMILY = 0;
const REQ_PROTOCOL = 1;
const REQ_EXT = 2;
const REQ_STATES = 4;
const REQ_SIZE = 56;
const REQ_PROTOCOL_ATTRIBUTE = 3; // INET_DIAG_REQ_PROTOCOL: for those that do not fit a u8
const EXT_INFO = 1 << (2 - 1); // INET_DIAG_INFO
const IPPROTO_TCP = 6;
const IPPROTO_RAW = 255;
const IPPROTO_MPTCP = 262;

/** Offsets in struct inet_diag_msg. */
const MSG_FAMILY = 0;
const MSG_STATE = 1;
const MSG_SPORT = 4;
const MSG_DPORT = 6;
const MSG_SRC = 8;
const MSG_DST = 24;
const MSG_IF = 40;
const MSG_UID = 64;
const MSG_INODE = 68;
const MSG_SIZE = 72;

const DIAG_INFO = 2; // INET_DIAG_INFO: struct tcp_info or mptcp_info
const DIAG_ULP_INFO = 19; // INET_DIAG_ULP_INFO
const DIAG_CGROUP_ID = 21; // INET_DIAG_CGROUP_ID, u64
const ULP_NAME = 1; // INET_ULP_INFO_NAME
const ULP_MPTCP = 3; // INET_ULP_INFO_MPTCP
const SUBFLOW_TOKEN_REM = 1; // MPTCP_SUBFLOW_ATTR_TOKEN_REM, u32
const SUBFLOW_TOKEN_LOC = 2; // MPTCP_SUBFLOW_ATTR_TOKEN_LOC, u32
const SUBFLOW_FLAGS = 8; // MPTCP_SUBFLOW_ATTR_FLAGS, u32
const SUBFLOW_ID_REM = 9; // MPTCP_SUBFLOW_ATTR_ID_REM, u8
const SUBFLOW_ID_LOC = 10; // MPTCP_SUBFLOW_ATTR_ID_LOC, u8

/** Offsets in struct tcp_info. */
const TCP_UNACKED = 24; // u32
const TCP_RTT = 68; // u32, microseconds
const TCP_SND_CWND = 80; // u32
const TCP_TOTAL_RETRANS = 100; // u32
const TCP_BYTES_ACKED = 120; // u64
const TCP_BYTES_RECEIVED = 128; // u64
const TCP_BYTES_SENT = 200; // u64

/** `idiag_state`: TCP_*. */
export const TcpState = {
  Established: 1,
  SynSent: 2,
  SynReceived: 3,
  FinWait1: 4,
  FinWait2: 5,
  TimeWait: 6,
  Close: 7,
  CloseWait: 8,
  LastAck: 9,
  Listen: 10,
  Closing: 11,
} as const;

const { Close, Listen, TimeWait } = TcpState;
/** States of what somebody still uses: all but listening, closed and waiting for stray segments. */
const LIVE_STATES = ~((1 << Listen) | (1 << Close) | (1 << TimeWait));

/** Bits of {@linkcode DiagSubflow}'s flags: MPTCP_SUBFLOW_FLAG_*. */
export const SubflowFlag = {
  McapRem: 0x001,
  McapLoc: 0x002,
  JoinRem: 0x004,
  JoinLoc: 0x008,
  /** The peer asked for it to be a backup. */
  BkupRem: 0x010,
  /** This side asked for it to be a backup. */
  BkupLoc: 0x020,
  /** Its connection may be joined. */
  FullyEstablished: 0x040,
  Connected: 0x080,
  MapValid: 0x100,
} as const;

/** What every socket has. */
class DiagSocket {
  /** A Family of inet.ts; IPv4 peers of an IPv6 socket are `::ffff:10.0.0.1`. */
  family = 0;
  /** One of {@linkcode TcpState}. */
  state = 0;
  /** IPv4 in the first four bytes. */
  readonly source: Uint8Array = new Uint8Array(16);
  readonly destination: Uint8Array = new Uint8Array(16);
  sourcePort = 0;
  destinationPort = 0;
  /** Of the device that it is bound to, 0 when it is not bound. */
  interfaceIndex = 0;
  uid = 0;
  /** Of its file in sockfs; all subflows have that of their connection. 0 when nobody holds it. */
  inode = 0;
}

/** An MPTCP connection. */
export class DiagConnection extends DiagSocket {
  readonly info: MptcpInfo = new MptcpInfo();
  /** Of the cgroup that made it; 0 when unknown. */
  cgroupId = 0;
}

/** A TCP socket, which may be a subflow. */
export class DiagSubflow extends DiagSocket {
  /** Whether it is a subflow. The members up to `remoteId` are 0 when it is not. */
  isMptcp = false;
  /** Bits of {@linkcode SubflowFlag}. */
  flags = 0;
  localToken = 0;
  /** 0 of the first subflow. */
  remoteToken = 0;
  localId = 0;
  remoteId = 0;
  rttUs = 0;
  congestionWindow = 0;
  unacknowledged = 0;
  retransmits = 0;
  bytesSent = 0;
  bytesAcked = 0;
  bytesReceived = 0;
}

/** Asks for the MPTCP connections of a family: Inet, or Inet6 with those that carry IPv4. */
export function writeConnectionDump(
  out: Region,
  at: number,
  sequence: number,
  family: number,
): number {
  let end = beginDump(out, at, sequence, family, IPPROTO_RAW);
  end = writeU32(out, end, REQ_PROTOCOL_ATTRIBUTE, IPPROTO_MPTCP);
  return endNlmsg(out, at, end);
}

/** Asks for the TCP sockets of a family, and whose subflows they are. */
export function writeSubflowDump(
  out: Region,
  at: number,
  sequence: number,
  family: number,
): number {
  return endNlmsg(out, at, beginDump(out, at, sequence, family, IPPROTO_TCP));
}

/** Reads an answer to {@linkcode writeConnectionDump}; 0, or a negated {@linkcode Fault}. */
export function readConnection(from: Region, message: Nlmsg, into: DiagConnection): number {
  let at = readSocket(from, message, into);
  if (at < 0) return at;
  const { info } = into;
  info.token = info.flags = 0;
  into.cgroupId = 0;
  const { end } = message;
  while (at < end) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const { type } = attribute;
    if (type === DIAG_CGROUP_ID) into.cgroupId = counterAt(from, attribute.at, attribute.end, 0);
    else if (type === DIAG_INFO) {
      const read = readMptcpInfo(from, attribute.at, attribute.end, info);
      if (read < 0) return read;
    }
  }
  return 0;
}

/** Reads an answer to {@linkcode writeSubflowDump}; 0, or a negated {@linkcode Fault}. */
export function readSubflow(from: Region, message: Nlmsg, into: DiagSubflow): number {
  let at = readSocket(from, message, into);
  if (at < 0) return at;
  into.isMptcp = false;
  into.flags =
    into.localToken =
    into.remoteToken =
    into.localId =
    into.remoteId =
      0;
  readTcpInfo(from, at, at, into);
  const { end } = message;
  while (at < end) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const { type } = attribute;
    if (type === DIAG_INFO) readTcpInfo(from, attribute.at, attribute.end, into);
    else if (type === DIAG_ULP_INFO) {
      const read = readUlp(from, attribute.at, attribute.end, into);
      if (read < 0) return read;
    }
  }
  return 0;
}

function beginDump(
  out: Region,
  at: number,
  sequence: number,
  family: number,
  protocol: number,
): number {
  const { Request, Dump } = NlmsgFlag;
  const request = beginNlmsg(out, at, SOCK_DIAG_BY_FAMILY, Request | Dump, sequence);
  const { bytes, view } = out;
  bytes.fill(0, request, request + REQ_SIZE);
  view.setUint8(request + REQ_FAMILY, family);
  view.setUint8(request + REQ_PROTOCOL, protocol);
  view.setUint8(request + REQ_EXT, EXT_INFO);
  view.setInt32(request + REQ_STATES, LIVE_STATES, true);
  return request + REQ_SIZE;
}

/** Returns the offset of the attributes. */
function readSocket(from: Region, { at, end }: Nlmsg, into: DiagSocket): number {
  if (end - at < MSG_SIZE) {
    return fail(Fault.Field, "inet_diag_msg length", at, end - at, "72 or more");
  }
  const { bytes, view } = from;
  into.family = view.getUint8(at + MSG_FAMILY);
  into.state = view.getUint8(at + MSG_STATE);
  into.sourcePort = view.getUint16(at + MSG_SPORT);
  into.destinationPort = view.getUint16(at + MSG_DPORT);
  for (let i = 0; i < 16; i++) {
    into.source[i] = bytes[at + MSG_SRC + i]!;
    into.destination[i] = bytes[at + MSG_DST + i]!;
  }
  into.interfaceIndex = view.getUint32(at + MSG_IF, true);
  into.uid = view.getUint32(at + MSG_UID, true);
  into.inode = view.getUint32(at + MSG_INODE, true);
  return at + MSG_SIZE;
}

/** What is beyond `end` is 0. */
function readTcpInfo(from: Region, at: number, end: number, into: DiagSubflow): void {
  into.unacknowledged = u32At(from, at, end, TCP_UNACKED);
  into.rttUs = u32At(from, at, end, TCP_RTT);
  into.congestionWindow = u32At(from, at, end, TCP_SND_CWND);
  into.retransmits = u32At(from, at, end, TCP_TOTAL_RETRANS);
  into.bytesAcked = counterAt(from, at, end, TCP_BYTES_ACKED);
  into.bytesReceived = counterAt(from, at, end, TCP_BYTES_RECEIVED);
  into.bytesSent = counterAt(from, at, end, TCP_BYTES_SENT);
}

function readUlp(from: Region, at: number, end: number, into: DiagSubflow): number {
  while (at < end) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const { type } = attribute;
    if (type === ULP_NAME) into.isMptcp = isText(from, attribute.at, attribute.end, "mptcp");
    else if (type === ULP_MPTCP) {
      const read = readSubflowInfo(from, attribute.at, attribute.end, into);
      if (read < 0) return read;
    }
  }
  return 0;
}

function readSubflowInfo(from: Region, at: number, end: number, into: DiagSubflow): number {
  const { view } = from;
  while (at < end) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const { type, at: value } = attribute;
    if (type === SUBFLOW_ID_REM || type === SUBFLOW_ID_LOC) {
      const id = attributeU8(from, attribute);
      if (id < 0) return id;
      if (type === SUBFLOW_ID_REM) into.remoteId = id;
      else into.localId = id;
    } else if (
      type === SUBFLOW_TOKEN_REM || type === SUBFLOW_TOKEN_LOC || type === SUBFLOW_FLAGS
    ) {
      if (attribute.end - value < 4) {
        return fail(Fault.Field, "MPTCP_SUBFLOW_ATTR length", value, attribute.end - value, "4");
      }
      // Not by a function's result, which is an object in V8 when it is above 2^31.
      if (type === SUBFLOW_TOKEN_REM) into.remoteToken = view.getUint32(value, true);
      else if (type === SUBFLOW_TOKEN_LOC) into.localToken = view.getUint32(value, true);
      else into.flags = view.getUint32(value, true);
    }
  }
  return 0;
}

function u32At({ view }: Region, at: number, end: number, offset: number): number {
  return end - at < offset + 4 ? 0 : view.getUint32(at + offset, true);
}

const attribute = new Attribute();
