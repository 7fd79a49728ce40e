/**
 * Where an SA is, and what tells it: the kernel's xfrm.h, XFRM_MSG_NEWAE and GETAE with struct
 * xfrm_aevent_id, which has 48 bytes; the first document of these messages
 * (Documentation/networking/xfrm_sync) has one of 28, without source address and reqid, and it lets a
 * GETAE have no attribute, where an SA with a mark needs XFRMA_MARK.
 *
 * ```text
 * to the kernel     NEWAE: id, any of REPLAY_VAL or REPLAY_ESN_VAL, LTIME_VAL, thresholds, [MARK]
 *                   GETAE: id, whose flags ask for thresholds, [MARK]
 * from the kernel   NEWAE: id, REPLAY_VAL or REPLAY_ESN_VAL, LTIME_VAL, thresholds if asked for, …
 * ```
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Attribute, checkSize } from "./attribute.ts";
import { beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import {
  ADDRESS_SIZE,
  checkStruct,
  copyAddress,
  putAddress,
  readMark,
  readSaId,
  readXfrmAttribute,
  USERSA_ID_SIZE,
  writeMark,
  writeSaId,
  XfrmAttribute,
  XfrmMsg,
  XfrmSaId,
} from "./xfrm.ts";
import { LIFETIME_SIZE, readLifetime, writeLtimeVal, type XfrmLifetime } from "./xfrm_lifetime.ts";
import { readReplayEsnVal, readReplayVal, writeReplay, XfrmReplay } from "./xfrm_replay.ts";
import { setThresholds } from "./xfrm_sa.ts";

/** Offsets in struct xfrm_aevent_id. */
const SADDR = USERSA_ID_SIZE;
const FLAGS = 40;
const REQID = 44;
/** Bytes of struct xfrm_aevent_id. */
export const AEVENT_ID_SIZE = 48;

/** An event, an answer, or what is to be written to an SA. */
export class XfrmAevent implements XfrmLifetime {
  readonly id: XfrmSaId = new XfrmSaId();
  /** Told, and ignored when it is asked with. */
  readonly saddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  /** Bits of AeFlag. */
  flags = 0;
  /** Told, and ignored when it is asked with. */
  reqid = 0;
  readonly replay: XfrmReplay = new XfrmReplay();
  /** Whether the next four are there; of a threshold's event they lack its last packet. */
  hasLifetime = false;
  bytes = 0;
  packets = 0;
  addTime = 0;
  useTime = 0;
  /** Packets; -1 when it is not there. */
  replayThreshold = -1;
  /** Jiffies as it is written, 100 ms as it is read; -1 when it is not there. */
  timerThreshold = -1;
  ifId = 0;
  /** An XfrmSaDir; the kernel refuses to be told. */
  direction = 0;
}

/** Reads NEWAE or GETAE; 0, or a negated {@linkcode Fault}. */
export function readAevent(from: Region, message: Nlmsg, into: XfrmAevent): number {
  const { type, at, end } = message;
  if (type !== XfrmMsg.NewAe && type !== XfrmMsg.GetAe) {
    return fail(Fault.Field, "nlmsg_type of an aevent", at, type, "NEWAE or GETAE");
  }
  return readAeventBody(from, at, end, into);
}

/** Reads the body of a NEWAE, which may be at any offset; 0, or a negated Fault. */
export function readAeventBody(from: Region, at: number, end: number, into: XfrmAevent): number {
  const short = checkStruct("xfrm_aevent_id length", at, end, AEVENT_ID_SIZE, "48 or more");
  if (short < 0) return short;
  const { view } = from;
  const read = readSaId(from, at, into.id);
  if (read < 0) return read;
  copyAddress(from, at + SADDR, into.saddr);
  into.flags = view.getUint32(at + FLAGS, true);
  into.reqid = view.getUint32(at + REQID, true);
  into.replay.clear();
  into.hasLifetime = false;
  into.bytes =
    into.packets =
    into.addTime =
    into.useTime =
    into.ifId =
    into.direction =
      0;
  into.replayThreshold = into.timerThreshold = -1;
  for (let next = at + AEVENT_ID_SIZE; next < end;) {
    next = readXfrmAttribute(from, next, end, attribute);
    if (next < 0) return next;
    const taken = takeAttribute(from, into);
    if (taken < 0) return taken;
  }
  return 0;
}

/** Asks where an SA is; `flags` ask for thresholds too. Answers repeat `port`. */
export function writeAeventGet(
  out: Region,
  at: number,
  sequence: number,
  port: number,
  id: XfrmSaId,
  flags: number,
): number {
  const body = begin(out, at, XfrmMsg.GetAe, NlmsgFlag.Request, sequence, port);
  writeSaId(out, body, id);
  out.bytes.fill(0, body + SADDR, body + AEVENT_ID_SIZE);
  out.view.setUint32(body + FLAGS, flags, true);
  return endNlmsg(out, at, writeMark(out, body + AEVENT_ID_SIZE, id));
}

/** Writes what an event has to its SA; the event that this causes repeats `port`. */
export function writeAevent(
  out: Region,
  at: number,
  sequence: number,
  port: number,
  event: XfrmAevent,
): number {
  const body = begin(out, at, XfrmMsg.NewAe, WRITE, sequence, port);
  const { view } = out;
  writeSaId(out, body, event.id);
  putAddress(out, body + SADDR, event.saddr);
  view.setUint32(body + FLAGS, event.flags, true);
  view.setUint32(body + REQID, event.reqid, true);
  let end = writeReplay(out, body + AEVENT_ID_SIZE, event.replay);
  if (event.hasLifetime) end = writeLtimeVal(out, end, event);
  end = setThresholds(out, end, event.replayThreshold, event.timerThreshold);
  return endNlmsg(out, at, writeMark(out, end, event.id));
}

/**
 * Writes the body of an event to its SA as it is, but for XFRMA_SA_DIR and XFRMA_SA_PCPU, which the
 * kernel tells and refuses to be told. Returns where the next message may begin, or a negated Fault.
 */
export function writeAeventBody(
  out: Region,
  at: number,
  sequence: number,
  port: number,
  body: Region,
  bodyAt: number,
  bodyEnd: number,
): number {
  const short = checkStruct(
    "xfrm_aevent_id length",
    bodyAt,
    bodyEnd,
    AEVENT_ID_SIZE,
    "48 or more",
  );
  if (short < 0) return short;
  let end = begin(out, at, XfrmMsg.NewAe, WRITE, sequence, port);
  const { bytes } = out;
  for (let i = 0; i < AEVENT_ID_SIZE; i++) bytes[end + i] = body.bytes[bodyAt + i]!;
  end += AEVENT_ID_SIZE;
  for (let next = bodyAt + AEVENT_ID_SIZE; next < bodyEnd;) {
    const start = next;
    next = readXfrmAttribute(body, start, bodyEnd, attribute);
    if (next < 0) return next;
    const { type } = attribute;
    if (type === XfrmAttribute.SaDir || type === XfrmAttribute.SaPcpu) continue;
    for (let i = start; i < next; i++) bytes[end + i - start] = body.bytes[i]!;
    end += next - start;
  }
  return endNlmsg(out, at, end);
}

const WRITE = NlmsgFlag.Request | NlmsgFlag.Ack | NlmsgFlag.Replace;

function begin(
  out: Region,
  at: number,
  type: number,
  flags: number,
  sequence: number,
  port: number,
): number {
  const body = beginNlmsg(out, at, type, flags, sequence);
  out.view.setUint32(body - 4, port, true);
  return body;
}

function takeAttribute(from: Region, into: XfrmAevent): number {
  const { type, at } = attribute;
  const { view } = from;
  switch (type) {
    case XfrmAttribute.ReplayVal:
      return readReplayVal(from, attribute, into.replay);
    case XfrmAttribute.ReplayEsnVal:
      return readReplayEsnVal(from, attribute, into.replay);
    case XfrmAttribute.Mark:
      return readMark(from, attribute, into.id);
    case XfrmAttribute.LtimeVal:
      if (checkSize(attribute, LIFETIME_SIZE) < 0) return -Fault.Field;
      into.hasLifetime = true;
      return readLifetime(from, at, into);
    case XfrmAttribute.SaDir:
      if (checkSize(attribute, 1) < 0) return -Fault.Field;
      into.direction = view.getUint8(at);
      return 0;
    case XfrmAttribute.ReplayThresh:
    case XfrmAttribute.EtimerThresh:
    case XfrmAttribute.IfId:
      if (checkSize(attribute, 4) < 0) return -Fault.Field;
      // Not by a function's result, which is an object in V8 when it is above 2^31.
      if (type === XfrmAttribute.ReplayThresh) into.replayThreshold = view.getUint32(at, true);
      else if (type === XfrmAttribute.EtimerThresh) into.timerThreshold = view.getUint32(at, true);
      else into.ifId = view.getUint32(at, true);
      return 0;
  }
  return 0;
}

const attribute = new Attribute();
