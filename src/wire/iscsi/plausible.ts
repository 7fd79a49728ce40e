/**
 * Whether 48 bytes can be the header of a PDU: what RFC 7143 sections 11.3 to 11.19 reserve, demand
 * and limit. One header alone proves nothing (427 wrong places in 2 MB of writes); several that lead
 * to each other do.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import {
  ahsBytes,
  BHS_SIZE,
  dataBytes,
  expectedSn,
  FULL_FEATURE_PHASE,
  initiatorTaskTag,
  isFinal,
  nextStage,
  RESERVED_TAG,
  targetTransferTag,
} from "./header.ts";
import { isAlwaysFinal, layoutOf } from "./layout.ts";
import { isTargets, isVendors, Opcode, OPCODES } from "./opcode.ts";

/** Who may have sent a header, as bits. */
export const Sender = { Initiator: 1, Target: 2, Both: 3 } as const;

const IMMEDIATE = 0x40;
const FINAL = 0x80;
const WORDS = BHS_SIZE / 4;
/** Before anything is declared a data segment has 8192 bytes at most (RFC 7143 section 13.12). */
const LOGIN_DATA_BYTES_MAX = 8192;
/** The longest additional segments are an extended CDB of 260 bytes and a read length. */
const AHS_BYTES_MAX = 280;
/** How far a number that the other side counts may go back or forth from one header to the next. */
const NUMBER_STEP_MAX = 65536;

const NO_DATA: readonly number[] = [
  Opcode.TaskRequest,
  Opcode.LogoutRequest,
  Opcode.Snack,
  Opcode.TaskResponse,
  Opcode.LogoutResponse,
  Opcode.ReadyToTransfer,
];

/** By the first byte of a header: bits of {@linkcode Sender}, 0 when no header begins so. */
export const SENDERS: Uint8Array = makeSenders(false);
const VENDORS: Uint8Array = makeSenders(true);
/** By opcode: the bits of byte 1 that are one. */
const DEMANDED = makeDemanded();
/** By opcode and word of the header: the bits that are zero. */
const RESERVED = makeReserved();

/**
 * Whether the header at `at` (48 bytes are there) is one that RFC 7143 allows from one of `senders`:
 * reserved fields zero, flags, tags and lengths that agree with each other. Nothing of vendors.
 */
export function isPlausible(from: Region, at: number, senders: number): boolean {
  const { bytes, view } = from;
  const first = bytes[at]!;
  if ((SENDERS[first]! & senders) === 0) return false;
  const opcode = first & 0x3f;
  const demanded = DEMANDED[opcode]!;
  if ((bytes[at + 1]! & demanded) !== demanded) return false;
  const reserved = opcode * WORDS;
  for (let word = 0; word < WORDS; word++) {
    if ((view.getInt32(at + word * 4) & RESERVED[reserved + word]!) !== 0) return false;
  }
  return agrees(from, at, opcode);
}

/**
 * Whether a header may stand where a length says that one begins: a known opcode of these senders, or
 * one of vendors, with its final bit. Fields that should be zero are not looked at, as a receiver
 * does not either (RFC 7143 section 11).
 */
export function isAcceptable({ bytes }: Region, at: number, senders: number): boolean {
  const first = bytes[at]!;
  if (((SENDERS[first]! | VENDORS[first]!) & senders) === 0) return false;
  const demanded = DEMANDED[first & 0x3f]!;
  return (bytes[at + 1]! & demanded) === demanded;
}

/** Whether the header at `at`, which is plausible, is the first of a connection: a login. */
export function isOpening(from: Region, at: number): boolean {
  const opcode = from.bytes[at]! & 0x3f;
  return opcode === Opcode.LoginRequest || opcode === Opcode.LoginResponse;
}

/**
 * Whether two plausible headers can follow each other: what an initiator expects of StatSN and a
 * target of CmdSN moves in small steps, once the login is over.
 */
export function follows(from: Region, at: number, before: Region, beforeAt: number): boolean {
  const opcode = from.bytes[at]! & 0x3f;
  const opcodeBefore = before.bytes[beforeAt]! & 0x3f;
  if (isTargets(opcode) !== isTargets(opcodeBefore)) return false;
  if (opcodeBefore === Opcode.LoginRequest) return true;
  const step = (expectedSn(from, at) - expectedSn(before, beforeAt)) | 0;
  return step >= -NUMBER_STEP_MAX && step <= NUMBER_STEP_MAX;
}

function agrees(from: Region, at: number, opcode: number): boolean {
  const { bytes, view } = from;
  const flags = bytes[at + 1]!;
  const task = initiatorTaskTag(from, at);
  switch (opcode) {
    case Opcode.NopOut:
      // A ping has a tag of its own, an answer that of the target; without both it is immediate.
      return task === RESERVED_TAG
        ? targetTransferTag(from, at) !== RESERVED_TAG || (bytes[at]! & IMMEDIATE) !== 0
        : targetTransferTag(from, at) === RESERVED_TAG;
    case Opcode.NopIn:
      return task === RESERVED_TAG || targetTransferTag(from, at) === RESERVED_TAG;
    case Opcode.ScsiCommand: {
      const isWrite = (flags & 0x20) !== 0;
      const expected = view.getUint32(at + 20);
      if (task === RESERVED_TAG || (flags & 0x07) > 4 || ahsBytes(from, at) > AHS_BYTES_MAX) {
        return false;
      }
      if ((flags & 0x60) === 0 && expected !== 0) return false;
      return isWrite
        ? dataBytes(from, at) <= expected
        : (flags & FINAL) !== 0 && dataBytes(from, at) === 0;
    }
    case Opcode.TaskRequest: {
      const action = flags & 0x7f;
      return task !== RESERVED_TAG && action >= 1 && action <= 12; // 9 to 12: RFC 7144
    }
    case Opcode.LoginRequest:
      return isLogin(from, at, flags) && task !== RESERVED_TAG && view.getUint16(at + 2) === 0;
    case Opcode.LoginResponse:
      return isLogin(from, at, flags) && task !== RESERVED_TAG && view.getUint16(at + 2) === 0 &&
        bytes[at + 36]! <= 3 && bytes[at + 37]! <= 0x10;
    case Opcode.TextRequest:
    case Opcode.TextResponse:
      return task !== RESERVED_TAG && (flags & 0xc0) !== 0xc0;
    case Opcode.DataOut:
      return task !== RESERVED_TAG;
    case Opcode.LogoutRequest:
      return task !== RESERVED_TAG && (flags & 0x7f) <= 2;
    case Opcode.Snack:
      return (flags & 0x0f) <= 3;
    case Opcode.ScsiResponse:
      return task !== RESERVED_TAG && isResponse(from, at, flags);
    case Opcode.TaskResponse:
      return task !== RESERVED_TAG && (bytes[at + 2]! <= 7 || bytes[at + 2] === 255);
    case Opcode.DataIn:
      return task !== RESERVED_TAG && isDataIn(from, at, flags);
    case Opcode.LogoutResponse:
      return task !== RESERVED_TAG && bytes[at + 2]! <= 3;
    case Opcode.ReadyToTransfer:
      return task !== RESERVED_TAG && targetTransferTag(from, at) !== RESERVED_TAG &&
        view.getUint32(at + 44) > 0;
    case Opcode.Async:
      return task === RESERVED_TAG && (bytes[at + 36]! <= 5 || bytes[at + 36]! >= 248);
    case Opcode.Reject:
      // The data is the header that was rejected.
      return task === RESERVED_TAG && bytes[at + 2]! >= 1 && bytes[at + 2]! <= 0x0c &&
        dataBytes(from, at) >= BHS_SIZE;
    default:
      return false;
  }
}

function isLogin(from: Region, at: number, flags: number): boolean {
  if (dataBytes(from, at) > LOGIN_DATA_BYTES_MAX || (from.bytes[at + 8]! & 0xc0) === 0xc0) {
    return false;
  }
  const stage = (flags >> 2) & 3;
  if (stage > 1 || (flags & 0xc0) === 0xc0) return false;
  if (!isFinal(from, at)) return true;
  const next = nextStage(from, at);
  return next === FULL_FEATURE_PHASE || (next === 1 && stage === 0);
}

function isResponse(from: Region, at: number, flags: number): boolean {
  const { bytes, view } = from;
  const response = bytes[at + 2]!;
  if (response > 1 && response < 0x80) return false;
  if ((flags & 0x18) === 0x18 || (flags & 0x06) === 0x06) return false;
  if (response === 0 && !isStatus(bytes[at + 3]!)) return false;
  if ((flags & 0x18) === 0 && view.getInt32(at + 40) !== 0) return false;
  return (flags & 0x06) !== 0 || view.getInt32(at + 44) === 0;
}

function isDataIn(from: Region, at: number, flags: number): boolean {
  const { bytes, view } = from;
  if ((flags & 0x06) === 0x06) return false;
  if ((flags & 0x06) === 0 && view.getInt32(at + 44) !== 0) return false;
  if ((flags & 0x01) !== 0) return (flags & FINAL) !== 0 && isStatus(bytes[at + 3]!);
  return (flags & 0x06) === 0 && bytes[at + 3] === 0;
}

/** The status codes of SAM-5 and, as old targets send them, of SAM-2. */
function isStatus(status: number): boolean {
  switch (status) {
    case 0x00:
    case 0x02:
    case 0x04:
    case 0x08:
    case 0x10:
    case 0x14:
    case 0x18:
    case 0x22:
    case 0x28:
    case 0x30:
    case 0x40:
      return true;
    default:
      return false;
  }
}

function makeSenders(ofVendors: boolean): Uint8Array {
  const senders = new Uint8Array(256);
  for (let opcode = 0; opcode < OPCODES; opcode++) {
    if (isVendors(opcode) !== ofVendors) continue;
    const fields = layoutOf(opcode);
    const isKnown = fields.some(({ name }) => name === "initiatortasktag");
    if (!isKnown && !ofVendors) continue;
    const sender = isTargets(opcode) ? Sender.Target : Sender.Initiator;
    const mayBeImmediate = !isTargets(opcode) &&
      (ofVendors || fields.some(({ name }) => name === "I"));
    if (opcode !== Opcode.LoginRequest) senders[opcode] = sender; // a login is always immediate
    if (mayBeImmediate) senders[opcode | IMMEDIATE] = sender;
  }
  return senders;
}

function makeDemanded(): Uint8Array {
  const demanded = new Uint8Array(OPCODES);
  for (let opcode = 0; opcode < OPCODES; opcode++) {
    if (isAlwaysFinal(opcode)) demanded[opcode] = FINAL;
  }
  return demanded;
}

function makeReserved(): Int32Array {
  const reserved = new Int32Array(OPCODES * WORDS);
  for (let opcode = 0; opcode < OPCODES; opcode++) {
    const header = new DataView(new ArrayBuffer(BHS_SIZE));
    for (let at = 0; at < BHS_SIZE; at++) header.setUint8(at, 0xff);
    for (const { at, size, mask, isAlias, name } of layoutOf(opcode)) {
      if (isAlias || isZero(name, opcode)) continue;
      for (let index = at; index < at + size; index++) {
        header.setUint8(index, header.getUint8(index) & ~mask);
      }
    }
    header.setUint8(1, header.getUint8(1) & ~DEMANDED[opcode]!);
    for (let word = 0; word < WORDS; word++) {
      reserved[opcode * WORDS + word] = header.getInt32(word * 4);
    }
  }
  return reserved;
}

/** Only a SCSI Command has additional segments, and some PDUs have no data. */
function isZero(name: string, opcode: number): boolean {
  if (name === "totalahslength") return opcode !== Opcode.ScsiCommand;
  return name === "datasegmentlength" && NO_DATA.includes(opcode);
}
