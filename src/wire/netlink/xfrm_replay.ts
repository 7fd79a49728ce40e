/**
 * Where the numbers of an SA's packets are: the kernel's xfrm.h, struct xfrm_replay_state
 * (XFRMA_REPLAY_VAL) and struct xfrm_replay_state_esn (XFRMA_REPLAY_ESN_VAL). An SA has one kind for
 * life: the second with the flag ESN or with a window above 32. To write the other kind is
 * acknowledged and ignored by the kernel.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { type Attribute, checkSize } from "./attribute.ts";
import { beginXfrmAttribute, XfrmAttribute } from "./xfrm.ts";

/** Offsets in struct xfrm_replay_state. */
const VAL_SEQ = 4;
const VAL_BITMAP = 8;
const VAL_SIZE = 12;

/** Offsets in struct xfrm_replay_state_esn. */
const ESN_OSEQ = 4;
const ESN_SEQ = 8;
const ESN_OSEQ_HI = 12;
const ESN_SEQ_HI = 16;
const ESN_WINDOW = 20;
const ESN_BITMAP = 24;

/** Words of the widest bitmap: XFRMA_REPLAY_ESN_MAX is 4096 bits. */
export const REPLAY_WORDS_MAX = 128;
const HALF = 2 ** 32;
const HIGH_MAX = 2 ** 21;

/** Which attribute it comes in. */
export const ReplayKind = {
  None: 0,
  /** XFRMA_REPLAY_VAL. */
  Value: 1,
  /** XFRMA_REPLAY_ESN_VAL. */
  Esn: 2,
} as const;

/** Numbers of packets that were sent and received. */
export class XfrmReplay {
  /** A {@linkcode ReplayKind}. */
  kind = 0;
  /** Of the last packet sent; with ESN the upper half is in it. */
  oseq = 0;
  /** The highest received. */
  seq = 0;
  /** How many packets below `seq` may still come; XFRMA_REPLAY_VAL does not say, 0. */
  window = 0;
  /**
   * Which of them came. Of XFRMA_REPLAY_VAL one word, whose bit 0 is `seq`; with ESN a ring, whose
   * bit (number - 1) modulo the window is that number.
   */
  readonly bitmap: Uint32Array = new Uint32Array(REPLAY_WORDS_MAX);
  /** Words of the bitmap that count: bmp_len. */
  words = 0;

  /** Takes another's value. */
  copy(other: XfrmReplay): void {
    this.kind = other.kind;
    this.oseq = other.oseq;
    this.seq = other.seq;
    this.window = other.window;
    this.words = other.words;
    for (let i = 0; i < other.words; i++) this.bitmap[i] = other.bitmap[i]!;
  }

  /** No replay state at all. */
  clear(): void {
    this.kind =
      this.oseq =
      this.seq =
      this.window =
      this.words =
        0;
  }
}

/** Reads the value of XFRMA_REPLAY_VAL; 0, or a negated {@linkcode Fault}. */
export function readReplayVal(from: Region, attribute: Attribute, into: XfrmReplay): number {
  if (checkSize(attribute, VAL_SIZE) < 0) return -Fault.Field;
  const { at } = attribute;
  const { view } = from;
  into.kind = ReplayKind.Value;
  into.oseq = view.getUint32(at, true);
  into.seq = view.getUint32(at + VAL_SEQ, true);
  into.bitmap[0] = view.getUint32(at + VAL_BITMAP, true);
  into.window = 0;
  into.words = 1;
  return 0;
}

/** Reads the value of XFRMA_REPLAY_ESN_VAL; 0, or a negated {@linkcode Fault}. */
export function readReplayEsnVal(from: Region, attribute: Attribute, into: XfrmReplay): number {
  if (checkSize(attribute, ESN_BITMAP) < 0) return -Fault.Field;
  const { at, end } = attribute;
  const { view } = from;
  const words = view.getUint32(at, true);
  if (words > REPLAY_WORDS_MAX || words * 4 > end - at - ESN_BITMAP) {
    return fail(Fault.Field, "REPLAY_ESN_VAL bmp_len", at, words, "0 to 128 and the words there");
  }
  const oseqHigh = view.getUint32(at + ESN_OSEQ_HI, true);
  if (oseqHigh >= HIGH_MAX) {
    return fail(Fault.Field, "REPLAY_ESN_VAL oseq_hi", at + ESN_OSEQ_HI, oseqHigh, "below 2^21");
  }
  const seqHigh = view.getUint32(at + ESN_SEQ_HI, true);
  if (seqHigh >= HIGH_MAX) {
    return fail(Fault.Field, "REPLAY_ESN_VAL seq_hi", at + ESN_SEQ_HI, seqHigh, "below 2^21");
  }
  const window = view.getUint32(at + ESN_WINDOW, true);
  if (window > words * 32) {
    return fail(
      Fault.Field,
      "REPLAY_ESN_VAL replay_window",
      at + ESN_WINDOW,
      window,
      "bits of the bitmap at most",
    );
  }
  into.kind = ReplayKind.Esn;
  into.oseq = oseqHigh * HALF + view.getUint32(at + ESN_OSEQ, true);
  into.seq = seqHigh * HALF + view.getUint32(at + ESN_SEQ, true);
  into.window = window;
  into.words = words;
  for (let i = 0; i < words; i++) into.bitmap[i] = view.getUint32(at + ESN_BITMAP + 4 * i, true);
  return 0;
}

/**
 * Writes the attribute of its kind, none when it has none; returns where the next one begins. As signed
 * numbers, as one above 2^31 that is not is an object in V8.
 */
export function writeReplay(out: Region, at: number, replay: XfrmReplay): number {
  if (replay.kind === ReplayKind.Value) return writeReplayVal(out, at, replay);
  return replay.kind === ReplayKind.Esn ? writeReplayEsnVal(out, at, replay) : at;
}

function writeReplayVal(out: Region, at: number, replay: XfrmReplay): number {
  const value = beginXfrmAttribute(out, at, XfrmAttribute.ReplayVal, VAL_SIZE);
  const { view } = out;
  view.setInt32(value, replay.oseq | 0, true);
  view.setInt32(value + VAL_SEQ, replay.seq | 0, true);
  view.setInt32(value + VAL_BITMAP, replay.bitmap[0]! | 0, true);
  return value + VAL_SIZE;
}

function writeReplayEsnVal(out: Region, at: number, replay: XfrmReplay): number {
  const { oseq, seq, window, words, bitmap } = replay;
  const size = ESN_BITMAP + 4 * words;
  const value = beginXfrmAttribute(out, at, XfrmAttribute.ReplayEsnVal, size);
  const { view } = out;
  view.setInt32(value, words | 0, true);
  view.setInt32(value + ESN_OSEQ, oseq | 0, true);
  view.setInt32(value + ESN_SEQ, seq | 0, true);
  view.setInt32(value + ESN_OSEQ_HI, (oseq / HALF) | 0, true);
  view.setInt32(value + ESN_SEQ_HI, (seq / HALF) | 0, true);
  view.setInt32(value + ESN_WINDOW, window | 0, true);
  for (let i = 0; i < words; i++) {
    view.setInt32(value + ESN_BITMAP + 4 * i, bitmap[i]! | 0, true);
  }
  return value + size;
}
