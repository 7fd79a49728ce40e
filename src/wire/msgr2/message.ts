/**
 * ceph_msg_header2, the first segment of a MESSAGE frame: msgr2 "Message exchange", TAG_MSG.
 * Real Ceph always writes data_pre_padding_len 0 and no padding; we do the same and skip what a
 * peer announces. There is no footer and no signature of a single message.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { readCounter, U64, writeCounter } from "../../mem/u64.ts";

const SEQ = 0;
const TID = 8;
const TYPE = 16;
const PRIORITY = 18;
const VERSION = 20;
const DATA_PRE_PADDING = 22;
const DATA_OFF = 26;
const ACK_SEQ = 28;
const FLAGS = 36;
const COMPAT_VERSION = 37;
const RESERVED = 39;

/**
 * Bytes of a ceph_msg_header2.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   MESSAGE_HEADER_SIZE,
 *   newRegion,
 *   PRIORITY_DEFAULT,
 *   writeMessageHeader,
 * } from "@fairlead/fairlead";
 *
 * const out = newRegion(MESSAGE_HEADER_SIZE);
 * const end = writeMessageHeader(out, 0, 1, 0, 0, 0xfa00, PRIORITY_DEFAULT, 1, 1, 0, 0);
 * assert.equal(end, MESSAGE_HEADER_SIZE);
 * ```
 */
export const MESSAGE_HEADER_SIZE = 41;

/** CEPH_MSG_FLAG_COMPLETE | CEPH_MSG_FLAG_NOCRC: what real Ceph puts on every msgr2 message. */
export const MESSAGE_FLAGS = 3;

/**
 * CEPH_MSG_PRIO_DEFAULT: what a message has unless it says otherwise.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { PRIORITY_DEFAULT, PRIORITY_HIGH } from "@fairlead/fairlead";
 *
 * assert.ok(PRIORITY_DEFAULT < PRIORITY_HIGH); // the higher one leaves first
 * ```
 */
export const PRIORITY_DEFAULT = 127;
/**
 * CEPH_MSG_PRIO_HIGH, as monitors use it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Endpoint, POLICIES, PRIORITY_HIGH } from "@fairlead/fairlead";
 *
 * const box = new Endpoint();
 * const session = await box.connect("v2:127.0.0.1:1", POLICIES.losslessClient);
 * session.send({ type: 0xfa00 });
 * assert.equal(session.send({ type: 0xfa01, priority: PRIORITY_HIGH }), 2); // overtakes the first
 * await box.close();
 * ```
 */
export const PRIORITY_HIGH = 196;

/**
 * ceph_msg_header2 as read, the first segment of a message frame. msgr2 "Message exchange".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   MESSAGE_HEADER_SIZE,
 *   MessageHeader,
 *   newRegion,
 *   PRIORITY_DEFAULT,
 *   readMessageHeader,
 *   writeMessageHeader,
 * } from "@fairlead/fairlead";
 *
 * const from = newRegion(MESSAGE_HEADER_SIZE);
 * writeMessageHeader(from, 0, 5, 0, 0, 0xfa00, PRIORITY_DEFAULT, 1, 1, 0, 3);
 * const header = new MessageHeader();
 * readMessageHeader(from, 0, MESSAGE_HEADER_SIZE, 0, header);
 * assert.equal(header.ackSeq, 3); // the sender has taken over messages up to 3
 * ```
 */
export class MessageHeader {
  /** Number in this session, from 1. */
  seq = 0;
  /** Transaction id: the application's own. */
  readonly tid: U64 = new U64();
  /** Message type: Ceph's numbers below 0xfa00. */
  type = 0;
  /** Higher goes first; order is kept inside one priority. */
  priority = 0;
  /** Version of the payload's encoding. */
  version = 0;
  /** Oldest version of which the decoder must know the encoding. */
  compatVersion = 0;
  /** Bytes in front of the data, to be skipped. */
  dataPrePadding = 0;
  /** Alignment advice for the data. */
  dataOff = 0;
  /** Highest number of the peer's messages that the sender has taken over. */
  ackSeq = 0;
  /** Flags of the message. */
  flags = 0;
}

/**
 * Writes a header; `tid` as two halves. Returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   MESSAGE_HEADER_SIZE,
 *   newRegion,
 *   PRIORITY_DEFAULT,
 *   writeMessageHeader,
 * } from "@fairlead/fairlead";
 *
 * const out = newRegion(MESSAGE_HEADER_SIZE);
 * writeMessageHeader(out, 0, 5, 7, 0, 0xfa00, PRIORITY_DEFAULT, 1, 1, 0, 3);
 * assert.equal(out.view.getUint16(16, true), 0xfa00);
 * ```
 */
export function writeMessageHeader(
  out: Region,
  at: number,
  seq: number,
  tidLo: number,
  tidHi: number,
  type: number,
  priority: number,
  version: number,
  compatVersion: number,
  dataOff: number,
  ackSeq: number,
): number {
  const { view } = out;
  writeCounter(out, at + SEQ, seq);
  view.setInt32(at + TID, tidLo, true);
  view.setInt32(at + TID + 4, tidHi, true);
  view.setUint16(at + TYPE, type, true);
  view.setUint16(at + PRIORITY, priority, true);
  view.setUint16(at + VERSION, version, true);
  view.setUint32(at + DATA_PRE_PADDING, 0, true);
  view.setUint16(at + DATA_OFF, dataOff, true);
  writeCounter(out, at + ACK_SEQ, ackSeq);
  view.setUint8(at + FLAGS, MESSAGE_FLAGS);
  view.setUint16(at + COMPAT_VERSION, compatVersion, true);
  view.setUint16(at + RESERVED, 0, true);
  return at + MESSAGE_HEADER_SIZE;
}

/**
 * Reads a header; returns the offset after it, or a negated {@linkcode Fault}. `dataBytes` is the
 * length of the data segment, which padding must not exceed.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   MESSAGE_HEADER_SIZE,
 *   MessageHeader,
 *   newRegion,
 *   PRIORITY_DEFAULT,
 *   readMessageHeader,
 *   writeMessageHeader,
 * } from "@fairlead/fairlead";
 *
 * const from = newRegion(MESSAGE_HEADER_SIZE);
 * writeMessageHeader(from, 0, 5, 7, 0, 0xfa00, PRIORITY_DEFAULT, 1, 1, 0, 3);
 * const header = new MessageHeader();
 * assert.equal(readMessageHeader(from, 0, MESSAGE_HEADER_SIZE, 0, header), MESSAGE_HEADER_SIZE);
 * assert.equal(header.seq, 5);
 * assert.equal(header.tid.toBigInt(), 7n);
 * ```
 */
export function readMessageHeader(
  from: Region,
  at: number,
  end: number,
  dataBytes: number,
  into: MessageHeader,
): number {
  if (end - at < MESSAGE_HEADER_SIZE) {
    return fail(Fault.Field, "MESSAGE header length", at, end - at, `${MESSAGE_HEADER_SIZE}`);
  }
  const { view } = from;
  const seq = readCounter(from, at + SEQ, "MESSAGE seq");
  if (seq < 0) return seq;
  const ackSeq = readCounter(from, at + ACK_SEQ, "MESSAGE ack_seq");
  if (ackSeq < 0) return ackSeq;
  const padding = view.getUint32(at + DATA_PRE_PADDING, true);
  if (padding > dataBytes) {
    const where = at + DATA_PRE_PADDING;
    return fail(
      Fault.Field,
      "MESSAGE data_pre_padding_len",
      where,
      padding,
      `${dataBytes} at most`,
    );
  }
  into.seq = seq;
  into.tid.read(from, at + TID);
  into.type = view.getUint16(at + TYPE, true);
  into.priority = view.getUint16(at + PRIORITY, true);
  into.version = view.getUint16(at + VERSION, true);
  into.dataPrePadding = padding;
  into.dataOff = view.getUint16(at + DATA_OFF, true);
  into.ackSeq = ackSeq;
  into.flags = view.getUint8(at + FLAGS);
  into.compatVersion = view.getUint16(at + COMPAT_VERSION, true);
  return at + MESSAGE_HEADER_SIZE;
}
