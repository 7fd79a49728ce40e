/**
 * The sending half of a connection: builds frames in the arena and lists them for a gathering
 * send. msgr2 "Frame format" and "Post-auth frame format". In crc mode a message leaves from its
 * record, nothing is copied; in secure mode it is sealed piece by piece into the staging block,
 * so that a large message needs little memory and can still be taken back half way.
 *
 * @module
 */
import { arena, arenaTaken, give, take } from "../../mem/arena.ts";
import { assert } from "../../mem/assert.ts";
import { fail, Fault } from "../../mem/fault.ts";
import { Gather } from "../../mem/gather.ts";
import {
  ARENA_BYTES,
  CONTROL_FRAME_BYTES_MAX,
  HANDSHAKE_FRAME_BYTES_MAX,
  RESERVE_BYTES,
  SEAL_STAGING_BYTES,
  SEAL_STAGING_BYTES_BUSY,
  STAGING_BYTES,
} from "../../mem/limits.ts";
import { type Aead, GCM_TAG_SIZE } from "../../wire/msgr2/aead.ts";
import {
  BLOCK1_SIZE,
  EPILOGUE_SECURE_SIZE,
  finishControlCrc,
  finishMessageHead,
  FrameFormat,
  INLINE_SIZE,
  isSecure,
  layControlSecure,
  messageHeadBytes,
  padded,
  revisionOf,
  segmentCrc,
  writeMessageEpilogue,
  writeSecureEpilogue,
} from "../../wire/msgr2/frame.ts";
import { MESSAGE_HEADER_SIZE, writeMessageHeader } from "../../wire/msgr2/message.ts";
import type { Nonce } from "../../wire/msgr2/nonce.ts";
import { PREAMBLE_SIZE, segmentCount, writePreamble } from "../../wire/msgr2/preamble.ts";
import { Tag } from "../../wire/msgr2/tag.ts";
import {
  hasCrcs,
  isDataShared,
  recordCompatVersion,
  recordCrc,
  recordDataAt,
  recordDataBytes,
  recordFrontAt,
  recordFrontBytes,
  recordMark,
  recordMiddleAt,
  recordMiddleBytes,
  recordPriority,
  recordSharedCrc,
  recordTidHi,
  recordTidLo,
  recordType,
  recordVersion,
  setAborted,
  setRecordCrcs,
  setRecordMark,
} from "./outbox.ts";

/** GCM operations that one frame takes at most. */
const OPERATIONS_MAX = 3;
/** Pieces that one message takes at most: head with front, middle, data, epilogue. */
const PIECES_PER_MESSAGE = 4;

/**
 * Writes the frames of one connection, in order, into its {@linkcode Gather}.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   ACK_SIZE,
 *   arena,
 *   frameBytes,
 *   FrameFormat,
 *   FrameWriter,
 *   Tag,
 *   writeAck,
 * } from "@fairlead/fairlead";
 *
 * const writer = new FrameWriter(FrameFormat.Crc21);
 * assert.ok(writer.open());
 * writer.endControl(Tag.Ack, writeAck(arena, writer.beginControl(), 7));
 * assert.equal(writer.gather.bytes, frameBytes(FrameFormat.Crc21, ACK_SIZE, 0, 0, 0));
 * writer.close();
 * ```
 */
export class FrameWriter {
  /** What waits to be sent. */
  readonly gather: Gather = new Gather();
  #format: number;
  #sealer: Aead | null = null;
  #nonce: Nonce | null = null;
  #staging = 0;
  #stagingBytes = 0;
  #tail = 0;
  // A secure message of which a part is not sealed yet.
  #streaming = 0;
  #from = 0;
  /** Bytes of it that follow at #from. */
  #run = 0;
  #left = 0;

  /**
   * Has no memory before {@linkcode open}.
   *
   * @param format crc format of the handshake; its revision stays
   */
  constructor(format: number) {
    this.#format = format;
  }

  /** Takes memory; false when the arena is full. */
  open(): boolean {
    this.#staging = take(STAGING_BYTES);
    if (this.#staging < 0) return false;
    this.#stagingBytes = STAGING_BYTES;
    return true;
  }

  /** Gives memory and cipher back; what waits is dropped. */
  close(): void {
    this.gather.clear();
    if (this.#stagingBytes > 0) give(this.#staging);
    this.#stagingBytes = 0;
    this.#sealer?.free();
    this.#sealer = null;
    this.#streaming = 0;
  }

  /** The frame format in use. */
  get format(): number {
    return this.#format;
  }

  /** Settles the revision, once both banners are known. */
  setRevision(revision: number): void {
    this.#format = revision === 1 ? FrameFormat.Crc21 : FrameFormat.Crc20;
  }

  /** Switches to secure mode: every later frame is sealed. False when the arena is full. */
  secure(sealer: Aead, nonce: Nonce): boolean {
    this.#format = revisionOf(this.#format) === 1 ? FrameFormat.Secure21 : FrameFormat.Secure20;
    this.#sealer = sealer;
    this.#nonce = nonce;
    const staging = take(SEAL_STAGING_BYTES);
    if (staging < 0) return false;
    const { bytes } = this.gather;
    arena.bytes.copyWithin(staging, this.#tail - bytes, this.#tail); // the handshake is one piece
    this.gather.clear();
    this.gather.add(staging, bytes);
    give(this.#staging);
    this.#staging = staging;
    this.#stagingBytes = SEAL_STAGING_BYTES;
    this.#tail = staging + bytes;
    return true;
  }

  /** Gives back what the staging block has grown by, when it is empty. */
  shrink(): void {
    if (this.#stagingBytes === SEAL_STAGING_BYTES_BUSY) this.#stageIn(SEAL_STAGING_BYTES);
  }

  /** True while a message is sealed in part only. */
  get sealing(): boolean {
    return this.#streaming !== 0;
  }

  /** True when a control frame can be written now: a message is not half sealed, there is room. */
  canControl(bytes: number = CONTROL_FRAME_BYTES_MAX): boolean {
    return this.#streaming === 0 && this.#room() >= bytes && this.gather.room > 0 &&
      (this.#nonce === null || this.#nonce.allows(OPERATIONS_MAX));
  }

  /** True when a handshake frame of any size can be written now. */
  canHandshake(): boolean {
    return this.canControl(HANDSHAKE_FRAME_BYTES_MAX + CONTROL_FRAME_BYTES_MAX);
  }

  /** True when the nonces are used up: the connection must be re-made. */
  get exhausted(): boolean {
    return this.#nonce !== null && !this.#nonce.allows(OPERATIONS_MAX);
  }

  /** Where bytes outside of frames go (the banner); follow with {@linkcode endRaw}. */
  beginRaw(): number {
    this.#room();
    return this.#tail;
  }

  /** Queues the bytes from {@linkcode beginRaw} up to `end`. */
  endRaw(end: number): void {
    this.gather.add(this.#tail, end - this.#tail);
    this.#tail = end;
  }

  /** Where a control frame's payload goes; follow with {@linkcode endControl}. */
  beginControl(): number {
    this.#room();
    return this.#tail + PREAMBLE_SIZE;
  }

  /** Completes and queues a control frame; returns its offset, for the handshake's transcript. */
  endControl(tag: number, payloadEnd: number): number {
    const at = this.#tail;
    const format = this.#format;
    let end = 0;
    if (isSecure(format)) {
      const length = payloadEnd - at - PREAMBLE_SIZE;
      end = layControlSecure(format, arena, at, tag, payloadEnd);
      if (format === FrameFormat.Secure20) {
        this.#seal(at, end - GCM_TAG_SIZE);
      } else {
        this.#seal(at, at + PREAMBLE_SIZE + INLINE_SIZE);
        if (length > INLINE_SIZE) this.#seal(at + BLOCK1_SIZE, end - GCM_TAG_SIZE);
      }
    } else {
      end = finishControlCrc(format, arena, at, tag, payloadEnd);
    }
    this.gather.add(at, end - at);
    this.#tail = end;
    assert(
      end <= this.#staging + this.#stagingBytes,
      "a control frame fits into the staging block",
    );
    return at;
  }

  /** The end of the last frame written by {@linkcode endControl}. */
  get tail(): number {
    return this.#tail;
  }

  /** True when another message can be written (or begun) now. */
  canMessage(): boolean {
    if (this.#streaming !== 0 || this.gather.room < PIECES_PER_MESSAGE) return false;
    if (!isSecure(this.#format)) return true;
    return this.#room() >= BLOCK1_SIZE + EPILOGUE_SECURE_SIZE + GCM_TAG_SIZE && !this.exhausted;
  }

  /** Builds the frame of a message under `seq`, acknowledging `ackSeq`. */
  message(record: number, seq: number, ackSeq: number): void {
    if (isSecure(this.#format)) this.#beginSealed(record, seq, ackSeq);
    else this.#messageCrc(record, seq, ackSeq);
  }

  /** Goes on sealing a message that did not fit at once. */
  pump(): void {
    if (this.#streaming !== 0) this.#pump();
  }

  /**
   * Takes a message back whose frame was begun: what is not in the kernel yet becomes zeros, and
   * the late status says aborted (msgr2 "late_flags"). False when it is too late, the frame has one
   * segment only, which cannot be aborted, or its data belongs to other messages too.
   */
  abort(record: number): boolean {
    const payload = recordFrontBytes(record) + recordMiddleBytes(record) + recordDataBytes(record);
    if (payload === 0 || isDataShared(record)) return false;
    if (isSecure(this.#format)) {
      if (this.#streaming !== record || this.#left <= EPILOGUE_SECURE_SIZE) return false;
      const epilogueAt = this.#from + this.#left - EPILOGUE_SECURE_SIZE;
      arena.bytes.fill(0, this.#from, epilogueAt);
      writeSecureEpilogue(this.#format, arena, epilogueAt, true);
      setAborted(record);
      return true;
    }
    if (this.gather.passed(recordMark(record))) return false;
    const unsent = this.#firstUnsentOf(record);
    const epilogueAt = payloadEnd(record);
    if (unsent > epilogueAt) return false; // its epilogue is on the way already
    zeroFrom(unsent, recordFrontAt(record), recordFrontBytes(record));
    zeroFrom(unsent, recordMiddleAt(record), recordMiddleBytes(record));
    zeroFrom(unsent, recordDataAt(record), recordDataBytes(record));
    setAborted(record);
    computeCrcs(record);
    this.#epilogueCrc(record, epilogueAt, true);
    return true;
  }

  #messageCrc(record: number, seq: number, ackSeq: number): void {
    const format = this.#format;
    const frontAt = recordFrontAt(record);
    const front = recordFrontBytes(record);
    const middle = recordMiddleBytes(record);
    const data = recordDataBytes(record);
    const headAt = frontAt - messageHeadBytes(format, MESSAGE_HEADER_SIZE);
    writeHeader(record, headAt + PREAMBLE_SIZE, seq, ackSeq);
    finishMessageHead(format, arena, headAt, Tag.Message, MESSAGE_HEADER_SIZE, front, middle, data);
    if (!hasCrcs(record)) computeCrcs(record);
    const { gather } = this;
    gather.add(headAt, frontAt + front - headAt);
    gather.add(recordMiddleAt(record), middle);
    gather.add(recordDataAt(record), data);
    const epilogueAt = payloadEnd(record);
    gather.add(epilogueAt, this.#epilogueCrc(record, epilogueAt, false) - epilogueAt);
    setRecordMark(record, gather.mark());
  }

  #epilogueCrc(record: number, at: number, aborted: boolean): number {
    const headerAt = recordFrontAt(record) -
      messageHeadBytes(this.#format, MESSAGE_HEADER_SIZE) + PREAMBLE_SIZE;
    const crc0 = revisionOf(this.#format) === 0
      ? segmentCrc(arena, headerAt, headerAt + MESSAGE_HEADER_SIZE)
      : 0;
    return writeMessageEpilogue(
      this.#format,
      arena,
      at,
      crc0,
      recordFrontBytes(record),
      recordCrc(record, 1),
      recordMiddleBytes(record),
      recordCrc(record, 2),
      recordDataBytes(record),
      recordCrc(record, 3),
      aborted,
    );
  }

  #beginSealed(record: number, seq: number, ackSeq: number): void {
    const { bytes } = arena;
    const format = this.#format;
    const front = recordFrontBytes(record);
    const middle = recordMiddleBytes(record);
    const data = recordDataBytes(record);
    const large = front + middle + data >= SEAL_STAGING_BYTES_BUSY;
    if (large && arenaTaken() < ARENA_BYTES - RESERVE_BYTES) this.#stageIn(SEAL_STAGING_BYTES_BUSY);
    const at = this.#tail;
    writePreamble(arena, at, Tag.Message, MESSAGE_HEADER_SIZE, front, middle, data);
    writeHeader(record, at + PREAMBLE_SIZE, seq, ackSeq);
    const inlineEnd = at + PREAMBLE_SIZE + INLINE_SIZE;
    bytes.fill(0, at + PREAMBLE_SIZE + MESSAGE_HEADER_SIZE, inlineEnd);
    const payloadAt = recordFrontAt(record);
    const shared = isDataShared(record);
    const own = padded(front) + padded(middle) + (shared ? 0 : padded(data));
    if (format === FrameFormat.Secure21) {
      this.#seal(at, inlineEnd);
      this.#tail = inlineEnd + GCM_TAG_SIZE;
      this.gather.add(at, BLOCK1_SIZE);
      if (segmentCount(front, middle, data) === 1) {
        setRecordMark(record, this.gather.mark());
        return;
      }
      this.#sealer!.begin(this.#nonce!.bytes);
    } else {
      this.#sealer!.begin(this.#nonce!.bytes);
      this.#sealer!.update(at, at, inlineEnd - at);
      this.#tail = inlineEnd;
      this.gather.add(at, inlineEnd - at);
    }
    zeroPadding(payloadAt, front);
    zeroPadding(recordMiddleAt(record), middle);
    zeroPadding(recordDataAt(record), data);
    writeSecureEpilogue(format, arena, payloadAt + own, false);
    this.#streaming = record;
    this.#from = payloadAt;
    this.#run = shared ? own : own + EPILOGUE_SECURE_SIZE;
    this.#left = own + (shared ? padded(data) : 0) + EPILOGUE_SECURE_SIZE;
    this.#pump();
  }

  #pump(): void {
    const sealer = this.#sealer!;
    while (this.#left > 0) {
      const room = (this.#room() - GCM_TAG_SIZE) & ~15;
      if (room <= 0 || this.gather.room === 0) return;
      if (this.#run === 0) this.#nextRun();
      const count = Math.min(this.#run, room);
      const at = this.#tail;
      sealer.update(this.#from, at, count);
      this.#tail += count;
      this.#from += count;
      this.#run -= count;
      this.#left -= count;
      if (this.#left === 0) {
        sealer.finish(this.#tail);
        this.#nonce!.advance();
        this.#tail += GCM_TAG_SIZE;
      }
      this.gather.add(at, this.#tail - at);
      setRecordMark(this.#streaming, this.gather.mark() + (this.#left === 0 ? 0 : 1));
    }
    this.#streaming = 0;
  }

  /** Shared data lies elsewhere, and the epilogue in the record behind the other segments. */
  #nextRun(): void {
    const record = this.#streaming;
    if (this.#left > EPILOGUE_SECURE_SIZE) {
      this.#from = recordDataAt(record);
      this.#run = this.#left - EPILOGUE_SECURE_SIZE;
    } else {
      this.#from = recordMiddleAt(record) + padded(recordMiddleBytes(record));
      this.#run = EPILOGUE_SECURE_SIZE;
    }
  }

  /** Seals one whole operation in place; the tag goes to `end`. */
  #seal(at: number, end: number): void {
    this.#sealer!.begin(this.#nonce!.bytes);
    this.#sealer!.update(at, at, end - at);
    this.#sealer!.finish(end);
    this.#nonce!.advance();
  }

  /** Changes the staging block when nothing waits in it, and there is memory. */
  #stageIn(bytes: number): void {
    if (this.gather.bytes > 0 || this.#streaming !== 0 || this.#stagingBytes === bytes) return;
    const staging = take(bytes);
    if (staging < 0) return;
    give(this.#staging);
    this.#staging = staging;
    this.#stagingBytes = bytes;
    this.#tail = staging;
  }

  /** Free bytes at the tail of the staging block; an idle block starts from its bottom again. */
  #room(): number {
    if (this.gather.bytes === 0) this.#tail = this.#staging;
    return this.#staging + this.#stagingBytes - this.#tail;
  }

  /** The first byte of the record's frame that is not in the kernel. */
  #firstUnsentOf(record: number): number {
    const { pieces, first, end, skip } = this.gather;
    const low = record;
    const high = payloadEnd(record);
    for (let index = first; index < end; index++) {
      const at = pieces[index * 2]! + (index === first ? skip : 0);
      const after = pieces[index * 2]! + pieces[index * 2 + 1]!;
      if (after > low && at <= high) return Math.max(at, low);
    }
    return high + 1;
  }
}

/** Says that the nonces of a direction are used up. */
export function nonceFault(): number {
  return fail(Fault.Large, "nonce counter", -1, 0, "below its start, the connection is re-made");
}

function writeHeader(record: number, at: number, seq: number, ackSeq: number): void {
  writeMessageHeader(
    arena,
    at,
    seq,
    recordTidLo(record),
    recordTidHi(record),
    recordType(record),
    recordPriority(record),
    recordVersion(record),
    recordCompatVersion(record),
    0,
    ackSeq,
  );
}

/** The end of the record's last payload segment that is not empty: a crc epilogue goes there. */
function payloadEnd(record: number): number {
  const data = isDataShared(record) ? 0 : recordDataBytes(record);
  if (data > 0) return recordDataAt(record) + data;
  const middle = recordMiddleBytes(record);
  if (middle > 0) return recordMiddleAt(record) + middle;
  return recordFrontAt(record) + recordFrontBytes(record);
}

function computeCrcs(record: number): void {
  const frontAt = recordFrontAt(record);
  const middleAt = recordMiddleAt(record);
  const dataAt = recordDataAt(record);
  setRecordCrcs(
    record,
    segmentCrc(arena, frontAt, frontAt + recordFrontBytes(record)),
    segmentCrc(arena, middleAt, middleAt + recordMiddleBytes(record)),
    isDataShared(record)
      ? recordSharedCrc(record)
      : segmentCrc(arena, dataAt, dataAt + recordDataBytes(record)),
  );
}

function zeroPadding(at: number, length: number): void {
  if (padded(length) !== length) arena.bytes.fill(0, at + length, at + padded(length));
}

function zeroFrom(unsent: number, at: number, length: number): void {
  if (unsent < at + length) arena.bytes.fill(0, Math.max(unsent, at), at + length);
}
