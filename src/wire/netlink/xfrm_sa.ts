/**
 * SAs: the kernel's xfrm.h, XFRM_MSG_NEWSA, UPDSA, DELSA, GETSA, FLUSHSA, ALLOCSPI and EXPIRE. An SA
 * of a dump is a valid body of a NEWSA, so one can be carried as it is, with the lifetime that
 * {@linkcode addLifetime} adds.
 *
 * ```text
 * NEWSA, UPDSA   struct xfrm_usersa_info, attributes
 * EXPIRE         struct xfrm_user_expire: the same and what ran out, attributes
 * DELSA          struct xfrm_usersa_id; as an event XFRMA_SA with the info, and attributes
 * ```
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Attribute, checkSize, writeU32, writeU8 } from "./attribute.ts";
import { align4, beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import {
  ADDRESS_SIZE,
  beginXfrmAttribute,
  checkFamily,
  checkStruct,
  copyAddress,
  putAddress,
  readMark,
  readSaId,
  readXfrmAttribute,
  USERSA_ID_SIZE,
  writeMark,
  writeProto,
  writeSaId,
  XfrmAttribute,
  XfrmMsg,
  XfrmProto,
  XfrmSaId,
} from "./xfrm.ts";
import {
  readAlgorithm,
  readIcvAlgorithm,
  writeAlgorithm,
  writeIcvAlgorithm,
  XfrmAlgorithm,
} from "./xfrm_algorithm.ts";
import {
  LIFETIME_SIZE,
  readLifetime,
  readLimits,
  writeLifetime,
  writeLimits,
  writeLtimeVal,
  type XfrmLifetime,
  XfrmLimits,
} from "./xfrm_lifetime.ts";
import { readReplayEsnVal, readReplayVal, writeReplay, XfrmReplay } from "./xfrm_replay.ts";
import { readSelector, writeSelector, XfrmSelector } from "./xfrm_selector.ts";

/** Offsets in struct xfrm_usersa_info. */
const ID = 56;
const SPI = 72;
const PROTO = 76;
const SADDR = 80;
const LFT = 96;
const CURLFT = 160;
const STATS_REPLAY_WINDOW = 192;
const STATS_REPLAY = 196;
const STATS_INTEGRITY_FAILED = 200;
const SEQ = 204;
const REQID = 208;
const FAMILY = 212;
const MODE = 214;
const REPLAY_WINDOW = 215;
const FLAGS = 216;
/** Bytes of struct xfrm_usersa_info. */
export const USERSA_INFO_SIZE = 224;
/** In struct xfrm_user_expire. */
const HARD = 224;
const USER_EXPIRE_SIZE = 232;

/** Offsets in struct xfrm_encap_tmpl. */
const ENCAP_SPORT = 2;
const ENCAP_DPORT = 4;
const ENCAP_OA = 8;
const ENCAP_SIZE = 24;
/** In struct xfrm_user_offload. */
const OFFLOAD_FLAGS = 4;
const OFFLOAD_SIZE = 8;

/** XFRM_STATE_*: bits of an SA's flags. */
export const SaFlag = {
  NoEcn: 1,
  DecapDscp: 2,
  NoPmtuDisc: 4,
  WildRecv: 8,
  Icmp: 16,
  AfUnspec: 32,
  Align4: 64,
  /** Numbers of 64 bits, of which packets carry the lower half. */
  Esn: 128,
} as const;

/** UDP_ENCAP_*: the kind of an {@linkcode XfrmEncap}. */
export const UDP_ENCAP_ESPINUDP = 2;

/** ESP within UDP. */
export class XfrmEncap {
  /** {@linkcode UDP_ENCAP_ESPINUDP}; 0 when the SA has none. */
  type = 0;
  sport = 0;
  dport = 0;
  /** The address before translation. */
  readonly oa: Uint8Array = new Uint8Array(ADDRESS_SIZE);
}

/** An SA with everything that its attributes say. */
export class XfrmSa implements XfrmLifetime {
  readonly id: XfrmSaId = new XfrmSaId();
  readonly saddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  readonly selector: XfrmSelector = new XfrmSelector();
  readonly limits: XfrmLimits = new XfrmLimits();
  bytes = 0;
  packets = 0;
  addTime = 0;
  useTime = 0;
  /** Whether they came, and are written, as XFRMA_LTIME_VAL; the kernel takes no others. */
  hasLifetime = false;
  /** Packets that were below the window. */
  windowDrops = 0;
  /** Packets that had come before. */
  replayDrops = 0;
  integrityFailed = 0;
  /** Of the ACQUIRE that it answers. */
  seq = 0;
  reqid = 0;
  /** An XfrmMode. */
  mode = 0;
  /** Bits of {@linkcode SaFlag}. */
  flags = 0;
  /** Packets, 32 at most; 0 when the window is in {@linkcode replay}. */
  replayWindow = 0;
  readonly replay: XfrmReplay = new XfrmReplay();
  /** Packets between two events; -1 when it is not said. */
  replayThreshold = -1;
  /** XFRMA_ETIMER_THRESH: jiffies as it is written, 100 ms as it is read; -1 when it is not said. */
  timerThreshold = -1;
  readonly aead: XfrmAlgorithm = new XfrmAlgorithm();
  readonly auth: XfrmAlgorithm = new XfrmAlgorithm();
  readonly crypt: XfrmAlgorithm = new XfrmAlgorithm();
  readonly comp: XfrmAlgorithm = new XfrmAlgorithm();
  readonly encap: XfrmEncap = new XfrmEncap();
  hasCoaddr = false;
  readonly coaddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  tfcpad = 0;
  extraFlags = 0;
  /** Mark of packets that leave; no mark when this and its mask are 0. */
  setMark = 0;
  setMarkMask = 0;
  ifId = 0;
  /** An XfrmSaDir. */
  direction = 0;
  mtimerThreshold = 0;
  natKeepaliveInterval = 0;
  /** XFRMA_SA_PCPU: the CPU that it is for; -1 is all. */
  cpu = -1;
  /** Of the device that works for it; 0 is none. */
  offloadIfindex = 0;
  offloadFlags = 0;
  /** Wall-clock seconds, 0 when it is not said. */
  lastUsed = 0;
  /** Of an EXPIRE: whether the SA is gone by it. */
  hard = false;
}

/**
 * Reads NEWSA, UPDSA, DELSA or EXPIRE; 0, or a negated {@linkcode Fault}. Of a
 * DELSA that is a request there is only the id.
 */
export function readSa(from: Region, message: Nlmsg, into: XfrmSa): number {
  const { type, at, end } = message;
  if (type === XfrmMsg.NewSa || type === XfrmMsg.UpdSa) return readSaBody(from, at, end, into);
  clear(into);
  if (type === XfrmMsg.DelSa) {
    const short = checkStruct("xfrm_usersa_id length", at, end, USERSA_ID_SIZE, "24 or more");
    if (short < 0) return short;
    const read = readSaId(from, at, into.id);
    return read < 0 ? read : readAttributes(from, at + USERSA_ID_SIZE, end, into);
  }
  if (type !== XfrmMsg.Expire) {
    return fail(Fault.Field, "nlmsg_type of an SA", at, type, "NEWSA, UPDSA, DELSA or EXPIRE");
  }
  const short = checkStruct("xfrm_user_expire length", at, end, USER_EXPIRE_SIZE, "232 or more");
  if (short < 0) return short;
  const read = readInfo(from, at, into);
  if (read < 0) return read;
  into.hard = from.view.getUint8(at + HARD) !== 0;
  return readAttributes(from, at + USER_EXPIRE_SIZE, end, into);
}

/** Reads the body of a NEWSA, which may be at any offset; 0, or a negated Fault. */
export function readSaBody(from: Region, at: number, end: number, into: XfrmSa): number {
  clear(into);
  const short = checkStruct("xfrm_usersa_info length", at, end, USERSA_INFO_SIZE, "224 or more");
  if (short < 0) return short;
  const read = readInfo(from, at, into);
  return read < 0 ? read : readAttributes(from, at + USERSA_INFO_SIZE, end, into);
}

/**
 * Writes an SA as NEWSA or UPDSA: all of it but what only the kernel counts. With
 * {@linkcode XfrmSa.hasLifetime} the counters are an attribute, else what the kernel's answer has.
 */
export function writeSa(
  out: Region,
  at: number,
  sequence: number,
  type: number,
  flags: number,
  sa: XfrmSa,
): number {
  const body = beginNlmsg(out, at, type, flags, sequence);
  let end = writeInfo(out, body, sa);
  end = writeAlgorithms(out, end, sa);
  end = writeProperties(out, end, sa);
  end = writeReplay(out, end, sa.replay);
  if (sa.hasLifetime) end = writeLtimeVal(out, end, sa);
  end = setThresholds(out, end, sa.replayThreshold, sa.timerThreshold);
  return endNlmsg(out, at, end);
}

/** Asks for an SPI from `min` to `max`: the kernel makes a larval SA and answers with it. */
export function writeAllocSpi(
  out: Region,
  at: number,
  sequence: number,
  sa: XfrmSa,
  min: number,
  max: number,
): number {
  const body = beginNlmsg(out, at, XfrmMsg.AllocSpi, NlmsgFlag.Request, sequence);
  let end = writeInfo(out, body, sa);
  out.view.setUint32(end, min, true);
  out.view.setUint32(end + 4, max, true);
  end = writeMark(out, end + 8, sa.id);
  if (sa.ifId !== 0) end = writeU32(out, end, XfrmAttribute.IfId, sa.ifId);
  if (sa.direction !== 0) end = writeU8(out, end, XfrmAttribute.SaDir, sa.direction);
  return endNlmsg(out, at, end);
}

/** Asks for all SAs, or for those of one protocol. */
export function writeSaDump(
  out: Region,
  at: number,
  sequence: number,
  proto: number = XfrmProto.Any,
): number {
  const { Request, Dump } = NlmsgFlag;
  const end = beginNlmsg(out, at, XfrmMsg.GetSa, Request | Dump, sequence);
  return endNlmsg(out, at, proto === XfrmProto.Any ? end : writeProto(out, end, proto));
}

/** Asks for one SA. */
export function writeSaGet(out: Region, at: number, sequence: number, id: XfrmSaId): number {
  return writeId(out, at, XfrmMsg.GetSa, NlmsgFlag.Request, sequence, id);
}

/** Deletes an SA. */
export function writeSaDelete(out: Region, at: number, sequence: number, id: XfrmSaId): number {
  const { Request, Ack } = NlmsgFlag;
  return writeId(out, at, XfrmMsg.DelSa, Request | Ack, sequence, id);
}

/** Deletes all SAs of a protocol, of {@linkcode XfrmProto}.Any all. */
export function writeSaFlush(out: Region, at: number, sequence: number, proto: number): number {
  const { Request, Ack } = NlmsgFlag;
  const body = beginNlmsg(out, at, XfrmMsg.FlushSa, Request | Ack, sequence);
  out.view.setUint8(body, proto);
  return endNlmsg(out, at, body + 1);
}

/** Reads FLUSHSA; the protocol, or a negated {@linkcode Fault}. */
export function readSaFlush(from: Region, { at, end }: Nlmsg): number {
  const short = checkStruct("xfrm_usersa_flush length", at, end, 1, "1 or more");
  return short < 0 ? short : from.view.getUint8(at);
}

/**
 * Writes a message whose body is known as bytes only; `port` is what answers and events that it
 * causes repeat.
 */
export function writeSaBody(
  out: Region,
  at: number,
  sequence: number,
  type: number,
  flags: number,
  body: Region,
  bodyAt: number,
  bodyEnd: number,
  port = 0,
): number {
  const start = beginNlmsg(out, at, type, flags, sequence);
  out.view.setUint32(start - 4, port, true);
  return endNlmsg(out, at, copy(body, bodyAt, bodyEnd, out, start));
}

/**
 * Makes the body of a NEWSA from one of a dump: copies it and adds XFRMA_LTIME_VAL, 36 bytes, from
 * the counters that the kernel would ignore, when it has none. Returns its end, or a negated Fault.
 */
export function addLifetime(
  from: Region,
  at: number,
  end: number,
  out: Region,
  outAt: number,
): number {
  const short = checkStruct("xfrm_usersa_info length", at, end, USERSA_INFO_SIZE, "224 or more");
  if (short < 0) return short;
  let hasLifetime = false;
  for (let next = at + USERSA_INFO_SIZE; next < end;) {
    next = readXfrmAttribute(from, next, end, attribute);
    if (next < 0) return next;
    if (attribute.type === XfrmAttribute.LtimeVal) hasLifetime = true;
  }
  const copied = align4(end - at);
  const size = hasLifetime ? copied : copied + 4 + LIFETIME_SIZE;
  if (size > out.bytes.length - outAt) {
    return fail(Fault.Full, "NEWSA body", outAt, size, "bytes that are left at most");
  }
  const stop = copy(from, at, end, out, outAt);
  if (hasLifetime) return stop;
  for (let i = stop; i < outAt + copied; i++) out.bytes[i] = 0;
  const value = beginXfrmAttribute(out, outAt + copied, XfrmAttribute.LtimeVal, LIFETIME_SIZE);
  return copy(from, at + CURLFT, at + CURLFT + LIFETIME_SIZE, out, value);
}

/**
 * Writes XFRMA_REPLAY_THRESH (packets) and XFRMA_ETIMER_THRESH (jiffies) at `end` of a body; what is
 * -1 is left out. Returns the new end.
 */
export function setThresholds(
  out: Region,
  end: number,
  replayThreshold: number,
  timerThreshold: number,
): number {
  let next = end;
  if (replayThreshold >= 0) {
    next = writeU32(out, next, XfrmAttribute.ReplayThresh, replayThreshold);
  }
  return timerThreshold < 0
    ? next
    : writeU32(out, next, XfrmAttribute.EtimerThresh, timerThreshold);
}

function clear(sa: XfrmSa): void {
  sa.hasLifetime = sa.hard = sa.hasCoaddr = false;
  sa.replay.clear();
  sa.aead.clear();
  sa.auth.clear();
  sa.crypt.clear();
  sa.comp.clear();
  sa.bytes =
    sa.packets =
    sa.addTime =
    sa.useTime =
      0;
  sa.windowDrops = sa.replayDrops = sa.integrityFailed = 0;
  sa.seq =
    sa.reqid =
    sa.mode =
    sa.flags =
    sa.replayWindow =
      0;
  sa.replayThreshold = sa.timerThreshold = sa.cpu = -1;
  sa.encap.type =
    sa.tfcpad =
    sa.extraFlags =
    sa.setMark =
    sa.setMarkMask =
      0;
  sa.ifId =
    sa.direction =
    sa.mtimerThreshold =
    sa.natKeepaliveInterval =
      0;
  sa.offloadIfindex = sa.offloadFlags = sa.lastUsed = 0;
}

function readInfo(from: Region, at: number, into: XfrmSa): number {
  const { view } = from;
  const { id } = into;
  readSelector(from, at, into.selector);
  copyAddress(from, at + ID, id.daddr);
  id.spi = view.getUint32(at + SPI);
  id.proto = view.getUint8(at + PROTO);
  id.family = view.getUint16(at + FAMILY, true);
  id.markValue = id.markMask = 0;
  copyAddress(from, at + SADDR, into.saddr);
  readLimits(from, at + LFT, into.limits);
  into.windowDrops = view.getUint32(at + STATS_REPLAY_WINDOW, true);
  into.replayDrops = view.getUint32(at + STATS_REPLAY, true);
  into.integrityFailed = view.getUint32(at + STATS_INTEGRITY_FAILED, true);
  into.seq = view.getUint32(at + SEQ, true);
  into.reqid = view.getUint32(at + REQID, true);
  into.mode = view.getUint8(at + MODE);
  into.replayWindow = view.getUint8(at + REPLAY_WINDOW);
  into.flags = view.getUint8(at + FLAGS);
  const read = readLifetime(from, at + CURLFT, into);
  return read < 0 ? read : checkFamily(id.family, at + FAMILY);
}

function readAttributes(from: Region, at: number, end: number, into: XfrmSa): number {
  while (at < end) {
    at = readXfrmAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const read = takeAttribute(from, into);
    if (read < 0) return read;
  }
  return 0;
}

function takeAttribute(from: Region, into: XfrmSa): number {
  switch (attribute.type) {
    case XfrmAttribute.Sa: {
      if (checkSize(attribute, USERSA_INFO_SIZE) < 0) return -Fault.Field;
      const { markValue, markMask } = into.id;
      const read = readInfo(from, attribute.at, into);
      into.id.markValue = markValue;
      into.id.markMask = markMask;
      return read;
    }
    case XfrmAttribute.AlgAead:
      return readIcvAlgorithm(from, attribute, into.aead);
    case XfrmAttribute.AlgAuthTrunc:
      return readIcvAlgorithm(from, attribute, into.auth);
    case XfrmAttribute.AlgAuth: // the kernel tells both, of which the other says more
      return into.auth.icvBits > 0 ? 0 : readAlgorithm(from, attribute, into.auth);
    case XfrmAttribute.AlgCrypt:
      return readAlgorithm(from, attribute, into.crypt);
    case XfrmAttribute.AlgComp:
      return readAlgorithm(from, attribute, into.comp);
    case XfrmAttribute.ReplayVal:
      return readReplayVal(from, attribute, into.replay);
    case XfrmAttribute.ReplayEsnVal:
      return readReplayEsnVal(from, attribute, into.replay);
    case XfrmAttribute.Mark:
      return readMark(from, attribute, into.id);
    case XfrmAttribute.LtimeVal:
      if (checkSize(attribute, LIFETIME_SIZE) < 0) return -Fault.Field;
      into.hasLifetime = true;
      return readLifetime(from, attribute.at, into);
  }
  return takeProperty(from, into);
}

function takeProperty(from: Region, into: XfrmSa): number {
  const { type, at } = attribute;
  const size = type < SIZES.length ? SIZES[type]! : 0;
  if (checkSize(attribute, size) < 0) return -Fault.Field;
  const { view } = from;
  // Not by a function's result, which is an object in V8 when it is above 2^31.
  switch (type) {
    case XfrmAttribute.Encap:
      readEncap(from, at, into.encap);
      break;
    case XfrmAttribute.ReplayThresh:
      into.replayThreshold = view.getUint32(at, true);
      break;
    case XfrmAttribute.EtimerThresh:
      into.timerThreshold = view.getUint32(at, true);
      break;
    case XfrmAttribute.Coaddr:
      into.hasCoaddr = true;
      copyAddress(from, at, into.coaddr);
      break;
    case XfrmAttribute.Lastused: // a time: its upper half is 0 until the year 2106
      into.lastUsed = view.getUint32(at, true);
      break;
    case XfrmAttribute.Tfcpad:
      into.tfcpad = view.getUint32(at, true);
      break;
    case XfrmAttribute.SaExtraFlags:
      into.extraFlags = view.getUint32(at, true);
      break;
    case XfrmAttribute.OffloadDev:
      into.offloadIfindex = view.getInt32(at, true);
      into.offloadFlags = view.getUint8(at + OFFLOAD_FLAGS);
      break;
    case XfrmAttribute.SetMark:
      into.setMark = view.getUint32(at, true);
      if (into.setMarkMask === 0) into.setMarkMask = 0xffffffff; // what the kernel takes without one
      break;
    case XfrmAttribute.SetMarkMask:
      into.setMarkMask = view.getUint32(at, true);
      break;
    case XfrmAttribute.IfId:
      into.ifId = view.getUint32(at, true);
      break;
    case XfrmAttribute.MtimerThresh:
      into.mtimerThreshold = view.getUint32(at, true);
      break;
    case XfrmAttribute.SaDir:
      into.direction = view.getUint8(at);
      break;
    case XfrmAttribute.NatKeepaliveInterval:
      into.natKeepaliveInterval = view.getUint32(at, true);
      break;
    case XfrmAttribute.SaPcpu:
      into.cpu = view.getInt32(at, true); // all ones: none
      break;
  }
  return 0;
}

/** Bytes of what {@linkcode takeProperty} reads; 0 of what it skips. */
const SIZES: readonly number[] = Array.from({ length: 64 }, (_, type) => {
  switch (type) {
    case XfrmAttribute.Encap:
      return ENCAP_SIZE;
    case XfrmAttribute.Coaddr:
      return ADDRESS_SIZE;
    case XfrmAttribute.Lastused:
    case XfrmAttribute.OffloadDev:
      return 8;
    case XfrmAttribute.SaDir:
      return 1;
    case XfrmAttribute.ReplayThresh:
    case XfrmAttribute.EtimerThresh:
    case XfrmAttribute.Tfcpad:
    case XfrmAttribute.SaExtraFlags:
    case XfrmAttribute.SetMark:
    case XfrmAttribute.SetMarkMask:
    case XfrmAttribute.IfId:
    case XfrmAttribute.MtimerThresh:
    case XfrmAttribute.NatKeepaliveInterval:
    case XfrmAttribute.SaPcpu:
      return 4;
  }
  return 0;
});

function readEncap(from: Region, at: number, into: XfrmEncap): void {
  const { view } = from;
  into.type = view.getUint16(at, true);
  into.sport = view.getUint16(at + ENCAP_SPORT);
  into.dport = view.getUint16(at + ENCAP_DPORT);
  copyAddress(from, at + ENCAP_OA, into.oa);
}

function writeInfo(out: Region, at: number, sa: XfrmSa): number {
  const { bytes, view } = out;
  const { id } = sa;
  writeSelector(out, at, sa.selector);
  putAddress(out, at + ID, id.daddr);
  view.setUint32(at + SPI, id.spi);
  view.setUint32(at + PROTO, id.proto, true); // and the padding
  putAddress(out, at + SADDR, sa.saddr);
  writeLimits(out, at + LFT, sa.limits);
  if (sa.hasLifetime) bytes.fill(0, at + CURLFT, at + CURLFT + LIFETIME_SIZE);
  else writeLifetime(out, at + CURLFT, sa);
  view.setUint32(at + STATS_REPLAY_WINDOW, sa.windowDrops, true);
  view.setUint32(at + STATS_REPLAY, sa.replayDrops, true);
  view.setUint32(at + STATS_INTEGRITY_FAILED, sa.integrityFailed, true);
  view.setUint32(at + SEQ, sa.seq, true);
  view.setUint32(at + REQID, sa.reqid, true);
  view.setUint16(at + FAMILY, id.family, true);
  view.setUint8(at + MODE, sa.mode);
  view.setUint8(at + REPLAY_WINDOW, sa.replayWindow);
  view.setUint32(at + FLAGS, sa.flags, true); // and the padding
  view.setUint32(at + FLAGS + 4, 0, true);
  return at + USERSA_INFO_SIZE;
}

function writeAlgorithms(out: Region, at: number, sa: XfrmSa): number {
  const { AlgAead, AlgAuth, AlgAuthTrunc, AlgCrypt, AlgComp } = XfrmAttribute;
  let end = writeIcvAlgorithm(out, at, AlgAead, sa.aead);
  if (sa.auth.icvBits > 0) end = writeIcvAlgorithm(out, end, AlgAuthTrunc, sa.auth);
  else end = writeAlgorithm(out, end, AlgAuth, sa.auth);
  end = writeAlgorithm(out, end, AlgCrypt, sa.crypt);
  return writeAlgorithm(out, end, AlgComp, sa.comp);
}

function writeProperties(out: Region, at: number, sa: XfrmSa): number {
  let end = at;
  if (sa.encap.type !== 0) end = writeEncap(out, end, sa.encap);
  if (sa.hasCoaddr) {
    const value = beginXfrmAttribute(out, end, XfrmAttribute.Coaddr, ADDRESS_SIZE);
    putAddress(out, value, sa.coaddr);
    end = value + ADDRESS_SIZE;
  }
  if (sa.tfcpad !== 0) end = writeU32(out, end, XfrmAttribute.Tfcpad, sa.tfcpad);
  end = writeMark(out, end, sa.id);
  if (sa.offloadIfindex !== 0) {
    const value = beginXfrmAttribute(out, end, XfrmAttribute.OffloadDev, OFFLOAD_SIZE);
    out.view.setInt32(value, sa.offloadIfindex, true);
    out.view.setUint32(value + OFFLOAD_FLAGS, sa.offloadFlags, true); // and the padding
    end = value + OFFLOAD_SIZE;
  }
  if (sa.setMark !== 0 || sa.setMarkMask !== 0) {
    end = writeU32(out, end, XfrmAttribute.SetMark, sa.setMark);
    end = writeU32(out, end, XfrmAttribute.SetMarkMask, sa.setMarkMask);
  }
  if (sa.extraFlags !== 0) end = writeU32(out, end, XfrmAttribute.SaExtraFlags, sa.extraFlags);
  if (sa.ifId !== 0) end = writeU32(out, end, XfrmAttribute.IfId, sa.ifId);
  if (sa.mtimerThreshold !== 0) {
    end = writeU32(out, end, XfrmAttribute.MtimerThresh, sa.mtimerThreshold);
  }
  if (sa.direction !== 0) end = writeU8(out, end, XfrmAttribute.SaDir, sa.direction);
  if (sa.natKeepaliveInterval !== 0) {
    end = writeU32(out, end, XfrmAttribute.NatKeepaliveInterval, sa.natKeepaliveInterval);
  }
  return sa.cpu < 0 ? end : writeU32(out, end, XfrmAttribute.SaPcpu, sa.cpu);
}

function writeEncap(out: Region, at: number, encap: XfrmEncap): number {
  const value = beginXfrmAttribute(out, at, XfrmAttribute.Encap, ENCAP_SIZE);
  const { view } = out;
  view.setUint16(value, encap.type, true);
  view.setUint16(value + ENCAP_SPORT, encap.sport);
  view.setUint16(value + ENCAP_DPORT, encap.dport);
  view.setUint16(value + ENCAP_DPORT + 2, 0);
  putAddress(out, value + ENCAP_OA, encap.oa);
  return value + ENCAP_SIZE;
}

function writeId(
  out: Region,
  at: number,
  type: number,
  flags: number,
  sequence: number,
  id: XfrmSaId,
): number {
  const body = beginNlmsg(out, at, type, flags, sequence);
  return endNlmsg(out, at, writeMark(out, writeSaId(out, body, id), id));
}

function copy(from: Region, at: number, end: number, out: Region, outAt: number): number {
  const { bytes } = out;
  for (let i = at; i < end; i++) bytes[outAt + i - at] = from.bytes[i]!;
  return outAt + end - at;
}

const attribute = new Attribute();
