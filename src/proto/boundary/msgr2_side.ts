/**
 * Finds the frames of msgr2 in the bytes of one side of a captured connection, and checks every crc
 * in them where they lie: msgr2 "Banner", "Frame format", "Post-auth frame format".
 *
 * Read this before touching it:
 *
 * ```text
 *           banner            preamble          segment 0 at hand        all parts walked: told
 *   Start ----------> Due ------------------> Head ------------------> Walk ----------------> Due
 *     | no banner      | none here              | hole, length not known  | hole beyond the end
 *     v                v                        v                         v
 *   Lost <-----------------------------------------------------------------  (by the crc) --> Due
 *
 *   Due, sealed from here on: Sealed <--> SealedLost; Skip where a sealed frame is not opened;
 *   Closed without the secret
 * ```
 *
 * - A frame is told only when its preamble is proven: crc and, where none was due, structure.
 * - A long segment is run through the crc piece by piece, and its bytes are not asked for again.
 *   What is read (the header of a message, a control frame, the front of a message that can be
 *   read) is kept together by asking for the frame's start again, KEPT_BYTES_MAX at most.
 * - A hole inside a frame whose length is known spoils only the segments it touches.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { describeFault, Fault } from "../../mem/fault.ts";
import { SEGMENTS_MAX } from "../../mem/limits.ts";
import { crc32cRaw } from "../../wire/crc32c.ts";
import { readBanner } from "../../wire/msgr2/banner.ts";
import { BLOCK1_SIZE, frameBytes, FrameFormat } from "../../wire/msgr2/frame.ts";
import { PREAMBLE_SIZE } from "../../wire/msgr2/preamble.ts";
import { Tag } from "../../wire/msgr2/tag.ts";
import { FoundBy, type Moment } from "./found.ts";
import { type Msgr2Link, REVISION_UNKNOWN } from "./msgr2_link.ts";
import {
  epilogueBytes,
  hasPreambleStructure,
  headCrcBytes,
  Late,
  readEpilogueCrc,
  readLate,
  readSeenPreamble,
  searchPreamble,
  seenFrameBytes,
} from "../../wire/msgr2/seen_preamble.ts";
import { Msgr2Teller } from "./msgr2_teller.ts";
import { CRC_SEED, Msgr2Walk } from "./msgr2_walk.ts";
import type { SecureReader } from "./secure_reader.ts";
import { Means, type SideContext, type SideDecoder } from "./side_decoder.ts";

/** A frame up to here is kept whole when there is a reason to. */
const KEPT_BYTES_MAX: number = 64 * 1024;

/** The same when its bytes are to be shown. */
const SHOWN_BYTES_MAX: number = 1024 * 1024;

/** What is held of a client whose AUTH_DONE, which tells how to read it, was not seen yet. */
const HELD_BYTES_MAX: number = 64 * 1024;

const Phase = {
  Start: 0,
  Lost: 1,
  Due: 2,
  Head: 3,
  Walk: 4,
  Sealed: 5,
  SealedLost: 6,
  Skip: 7,
  Closed: 8,
} as const;

/** What a step answers when the next one is to be taken: no offset is negative. */
const GO_ON = -1;

/** One side. */
export class Msgr2Side implements SideDecoder {
  readonly #context: SideContext;
  readonly #link: Msgr2Link;
  readonly #teller: Msgr2Teller;
  readonly #walk: Msgr2Walk;
  #phase: number = Phase.Start;
  /** Offset in the stream of the first byte that was not dealt with. */
  #position = 0;
  #foundBy: FoundBy = FoundBy.Start;
  #lastTag = 0;

  // The frame at hand.
  #offset = 0;
  #end = 0;
  #revision: number = REVISION_UNKNOWN;
  #keepsWhole = false;
  #missing = 0;

  // What handleBytes() was given: the arena's offset less the stream's, and both ends in the stream.
  #base = 0;
  #from = 0;
  #limit = 0;

  #reader: SecureReader | null = null;
  /** Bytes since the last sealed frame that were not searched, or never came. */
  #unsearched = 0;

  /** A side that expects its first byte. */
  constructor(context: SideContext, link: Msgr2Link) {
    this.#context = context;
    this.#link = link;
    this.#teller = new Msgr2Teller(context, link);
    this.#walk = new Msgr2Walk(this.#teller, link);
  }

  /** Takes bytes; see {@linkcode SideDecoder}. */
  handleBytes(at: number, end: number, offset: number): number {
    const limit = offset + (end - at);
    if (this.#phase === Phase.Closed) return limit;
    if (offset > this.#position) this.handleHole(this.#position, offset - this.#position);
    this.#base = at - offset;
    this.#from = offset;
    this.#limit = limit;
    let wanted = GO_ON;
    while (wanted === GO_ON) wanted = this.#step();
    return wanted;
  }

  /** Bytes that will never come; see {@linkcode SideDecoder}. */
  handleHole(offset: number, length: number): number {
    const end = offset + length;
    switch (this.#phase) {
      case Phase.Closed:
        break;
      case Phase.Lost:
        this.#position = end;
        break;
      case Phase.Head:
      case Phase.Walk:
        this.#holeInFrame(end, length);
        break;
      case Phase.Sealed:
      case Phase.SealedLost:
      case Phase.Skip:
        this.#holeInSealed(end, length);
        break;
      default:
        this.#lose(end);
    }
    return Math.max(this.#position, end);
  }

  /** The end of the stream: a frame whose length is known is told with what is missing. */
  handleEnd(offset: number): void {
    const isOpen = this.#phase === Phase.Head || this.#phase === Phase.Walk;
    const isSealed = this.#phase === Phase.Skip ||
      (this.#phase === Phase.Sealed && this.#reader!.begun);
    if (isOpen || isSealed) this.#endInFrame(offset, isSealed);
    this.#phase = Phase.Closed;
    this.close();
  }

  /** Gives back what it took of the arena. */
  close(): void {
    this.#reader?.close();
    this.#reader = null;
    this.#phase = Phase.Closed;
  }

  #step(): number {
    switch (this.#phase) {
      case Phase.Start:
        return this.#start();
      case Phase.Lost:
        return this.#search();
      case Phase.Due:
        return this.#due();
      case Phase.Head:
        return this.#head();
      case Phase.Walk:
        return this.#check();
      case Phase.Sealed:
        return this.#sealed();
      case Phase.SealedLost:
        return this.#searchSealed();
      case Phase.Skip:
        return this.#skip();
      default:
        return this.#limit;
    }
  }

  #start(): number {
    const { conversation, side } = this.#context;
    const from = this.#base + this.#position;
    const next = conversation.fromStart[side]
      ? readBanner(arena, from, this.#base + this.#limit, this.#teller.banner)
      : -Fault.Field;
    if (next === -Fault.Short) return this.#position;
    if (next < 0) {
      this.#phase = Phase.Lost;
      return GO_ON;
    }
    const { found } = this.#teller;
    found.begin.copy(this.#context.first);
    found.finish.copy(this.#context.last);
    this.#position = next - this.#base;
    this.#teller.tellBanner(from, this.#position);
    this.#expectNext();
    return GO_ON;
  }

  /** Looks for the next preamble by the means that are left. */
  #search(): number {
    if (this.#link.isSecure) return this.#seal();
    const { means } = this.#context;
    if ((means & Means.Crc) === 0) {
      if ((means & Means.Urgent) !== 0) return this.#searchUrgent();
      this.#position = this.#limit;
      return this.#limit;
    }
    const at = searchPreamble(arena, this.#base + this.#position, this.#base + this.#limit);
    if (at < 0) {
      this.#position = Math.max(this.#position, this.#limit - PREAMBLE_SIZE + 1);
      return this.#position;
    }
    this.#position = at - this.#base;
    this.#foundBy = FoundBy.Crc;
    this.#phase = Phase.Due;
    return GO_ON;
  }

  /** A start that a pointer of TCP names, with the structure of a preamble, and of the next. */
  #searchUrgent(): number {
    const { urgent } = this.#context;
    const last = this.#limit - PREAMBLE_SIZE;
    for (; this.#position <= last; this.#position++) {
      if (!urgent.names(this.#position)) continue;
      if (!hasPreambleStructure(arena, this.#base + this.#position)) continue;
      const followed = this.#isFollowed();
      if (followed < 0) return this.#position;
      if (followed === 0) continue;
      this.#foundBy = FoundBy.Urgent;
      this.#phase = Phase.Due;
      return GO_ON;
    }
    return this.#position;
  }

  /** 1: behind the frame at the position another has its structure; 0: none has; -1: not there. */
  #isFollowed(): number {
    const at = this.#base + this.#position;
    const known = this.#link.revision;
    for (let revision = 1; revision >= 0; revision--) {
      if (known !== REVISION_UNKNOWN && known !== revision) continue;
      const bytes = seenFrameBytes(arena, at, revision);
      if (bytes > KEPT_BYTES_MAX) continue;
      if (this.#position + bytes + PREAMBLE_SIZE > this.#limit) return -1;
      if (hasPreambleStructure(arena, at + bytes)) return 1;
    }
    return 0;
  }

  /** Where a frame is due, or was found. */
  #due(): number {
    if (this.#limit - this.#position < PREAMBLE_SIZE) return this.#position;
    const { preamble } = this.#teller;
    if (!readSeenPreamble(arena, this.#base + this.#position, preamble)) {
      if (this.#link.isSecure) return this.#seal();
      if (this.#awaitsDone() && this.#limit - this.#position < HELD_BYTES_MAX) {
        return this.#position;
      }
      this.#lose(this.#position + 1);
      return GO_ON;
    }
    this.#begin();
    this.#phase = Phase.Head;
    return GO_ON;
  }

  #begin(): void {
    const { found } = this.#teller;
    this.#teller.begin();
    found.begin.copy(this.#momentOf(this.#position));
    this.#offset = this.#position;
    this.#position += PREAMBLE_SIZE;
    this.#revision = this.#link.revision;
    this.#walk.isGuess = false;
    this.#keepsWhole = false;
    this.#missing = 0;
    this.#setEnd();
  }

  /** The frame's end, if the revision is known; of a message with a body both have the same. */
  #setEnd(): void {
    const { lengths } = this.#teller.preamble;
    const format = this.#revision === 0 ? FrameFormat.Crc20 : FrameFormat.Crc21;
    this.#end = this.#offset +
      frameBytes(format, lengths[0]!, lengths[1]!, lengths[2]!, lengths[3]!);
  }

  /** Sealed bytes of the client may be there before the AUTH_DONE that says so. */
  #awaitsDone(): boolean {
    return this.#link.isAuthenticating &&
      (this.#lastTag === Tag.AuthRequest || this.#lastTag === Tag.AuthRequestMore);
  }

  /** Waits for what is to be read of the frame, and reads it. */
  #head(): number {
    const length0 = this.#teller.preamble.lengths[0]!;
    const bodyEnd = this.#offset + PREAMBLE_SIZE + length0;
    if (this.#revision === REVISION_UNKNOWN) {
      const wanted = this.#settleRevision(bodyEnd, length0);
      if (wanted !== GO_ON || this.#phase !== Phase.Head) return wanted;
    }
    if (length0 <= KEPT_BYTES_MAX) {
      if (this.#limit < bodyEnd) return this.#offset;
      this.#teller.locateBody(this.#base + this.#offset + PREAMBLE_SIZE, this.#base + bodyEnd);
      this.#keepsWhole = this.#wantsWhole();
      if (this.#keepsWhole && this.#limit < this.#end) return this.#offset;
    }
    this.#locateFront();
    this.#walk.begin(this.#revision, this.#position);
    this.#phase = Phase.Walk;
    return GO_ON;
  }

  /** Whether there is a reason to keep the frame, and room for it. */
  #wantsWhole(): boolean {
    const bytes = this.#end - this.#offset;
    if (this.#context.keepsBytes && bytes <= SHOWN_BYTES_MAX) return true;
    if (bytes > KEPT_BYTES_MAX) return false;
    return this.#teller.preamble.tag !== Tag.Message || this.#teller.isReadable;
  }

  #locateFront(): void {
    const { lengths } = this.#teller.preamble;
    if (lengths[1] === 0 || !this.#keepsWhole) return;
    const at = this.#base + this.#offset + PREAMBLE_SIZE + lengths[0]! +
      headCrcBytes(this.#revision, lengths[0]!);
    this.#teller.locateFront(at, at + lengths[1]!);
  }

  /** Which layout the frame has: in revision 1 the crc of segment 0 stands right behind it. */
  #settleRevision(bodyEnd: number, length0: number): number {
    if (this.#link.revision !== REVISION_UNKNOWN) {
      this.#revision = this.#link.revision;
    } else if (length0 > KEPT_BYTES_MAX) {
      this.#lose(this.#position);
      return GO_ON;
    } else if (length0 === 0) {
      // An empty frame: in revision 0 an epilogue follows, which cannot be taken for a preamble.
      const end = bodyEnd + epilogueBytes(0, 1);
      if (this.#limit < end) return this.#offset;
      this.#revision = this.#isEmptyEpilogue(this.#base + bodyEnd) ? 0 : 1;
    } else {
      if (this.#limit < bodyEnd + headCrcBytes(1, length0)) return this.#offset;
      const at = this.#base + bodyEnd;
      const crc = crc32cRaw(CRC_SEED, arena.bytes, at - length0, at);
      if (crc === arena.view.getInt32(at, true)) {
        this.#revision = 1;
        this.#link.revision = 1;
      } else {
        this.#revision = 0;
        this.#walk.isGuess = true;
      }
    }
    this.#setEnd();
    return GO_ON;
  }

  /** The epilogue of an empty frame of revision 0: the crc of nothing, and three zeros. */
  #isEmptyEpilogue(at: number): boolean {
    if (readLate(arena, at, 0) === Late.Invalid) return false;
    for (let segment = 0; segment < SEGMENTS_MAX; segment++) {
      const crc = readEpilogueCrc(arena, at, 0, segment);
      if (crc !== (segment === 0 ? CRC_SEED : 0)) return false;
    }
    return true;
  }

  /** Runs what is there through the crcs. */
  #check(): number {
    this.#position = this.#walk.advance(this.#base, this.#position, this.#limit);
    if (this.#walk.isDone) return this.#finish();
    this.#teller.loseBytes();
    return this.#position;
  }

  /** All parts were checked: the frame is told, and the next one is due. */
  #finish(): number {
    const { isGuess } = this.#walk;
    if (isGuess && this.#teller.preamble.segmentCount === 1) {
      // Neither layout fits: where it ends is not known.
      this.#lose(Math.max(this.#from, this.#offset + 1));
      return GO_ON;
    }
    if (this.#missing > 0) this.#complainOfHole();
    const isSound = !this.#walk.isFaulty && this.#missing === 0;
    const revision = isGuess ? REVISION_UNKNOWN : this.#revision;
    if (this.#offset >= this.#from) this.#place(this.#base + this.#offset, this.#base + this.#end);
    this.#tell(revision, "crc", isSound);
    return GO_ON;
  }

  /** Where the whole message lies. */
  #place(at: number, end: number): void {
    this.#teller.found.at = at;
    this.#teller.found.end = end;
  }

  #tell(revision: number, mode: "crc" | "secure", isSound: boolean): void {
    const { found, preamble } = this.#teller;
    found.offset = this.#offset;
    found.length = this.#end - this.#offset;
    found.missing = this.#missing;
    found.foundBy = this.#foundBy;
    found.finish.copy(this.#context.last);
    this.#lastTag = preamble.tag;
    this.#position = this.#end;
    this.#teller.tellFrame(revision, mode, isSound);
    this.#expectNext();
  }

  #expectNext(): void {
    if (this.#phase === Phase.Closed) return; // by who was told
    if ((this.#context.means & Means.Length) !== 0) {
      this.#foundBy = FoundBy.Length;
      this.#phase = this.#reader === null ? Phase.Due : Phase.Sealed;
    } else {
      this.#unsearched = 0;
      this.#phase = this.#reader === null ? Phase.Lost : Phase.SealedLost;
    }
  }

  #lose(from: number): void {
    this.#position = from;
    this.#phase = Phase.Lost;
  }

  #momentOf(offset: number): Moment {
    return offset === this.#from ? this.#context.first : this.#context.last;
  }

  /** A hole that ends within the frame spoils what it touches; a longer one takes its end away. */
  #holeInFrame(end: number, length: number): void {
    const isBridged = (this.#context.means & Means.Length) !== 0 && end <= this.#end &&
      this.#revision !== REVISION_UNKNOWN &&
      !(this.#walk.isGuess && this.#teller.preamble.segmentCount === 1);
    if (!isBridged) return this.#lose(end);
    this.#missing += length;
    this.#teller.loseBytes();
    if (this.#phase === Phase.Head) this.#walk.begin(this.#revision, this.#position);
    this.#phase = Phase.Walk;
    this.#position = this.#walk.spoil(this.#position, end);
    if (this.#walk.isDone) this.#finish();
  }

  #complainOfHole(): void {
    this.#teller.complain(`hole: ${this.#missing} bytes were not captured`);
  }

  #endInFrame(offset: number, isSealed: boolean): void {
    if (!isSealed && this.#revision === REVISION_UNKNOWN) {
      // An empty frame is whole in revision 1, and in revision 0 its epilogue would follow.
      const { lengths } = this.#teller.preamble;
      if (lengths[0] === 0 && this.#end === offset) this.#tell(REVISION_UNKNOWN, "crc", true);
      return;
    }
    if (!isSealed && this.#walk.isGuess) return;
    const lacking = this.#end - offset;
    if (lacking <= 0) return;
    if (this.#missing > 0) this.#complainOfHole();
    this.#missing += lacking;
    this.#teller.complain(`the stream ends ${lacking} bytes before the end of this frame`);
    this.#teller.loseBytes();
    this.#tell(this.#revision, isSealed ? "secure" : "crc", false);
  }

  /** From here on the frames are sealed. */
  #seal(): number {
    const wasLost = this.#phase === Phase.Lost;
    this.#reader = this.#link.secureReader(this.#context.side);
    if (this.#reader === null) {
      this.#phase = Phase.Closed;
      return this.#limit;
    }
    this.#unsearched = wasLost ? this.#position : 0; // sealed frames may lie anywhere in it
    this.#phase = wasLost ? Phase.SealedLost : Phase.Sealed;
    return GO_ON;
  }

  #sealed(): number {
    const reader = this.#reader!;
    const bytes = reader.read(this.#base + this.#position, this.#base + this.#limit);
    if (bytes < 0 && !reader.begun) {
      // What a search has found and read() refuses, as memory is short, is not looked at again.
      this.#loseSealed(this.#position + (this.#foundBy === FoundBy.Crc ? 1 : 0));
      return GO_ON;
    }
    if (bytes === 0 && !reader.begun) return this.#position;
    this.#beginSealed(bytes > 0 ? bytes : reader.needed);
    if (bytes === 0) return this.#position;
    if (bytes < 0) {
      this.#teller.complain(describeFault(this.#base + this.#offset));
      reader.skip();
      this.#phase = Phase.Skip;
      return GO_ON;
    }
    this.#tellSealed();
    return GO_ON;
  }

  /** Takes over what the reader knows of the frame at the front. */
  #beginSealed(bytes: number): void {
    const from = this.#reader!.preamble;
    const { preamble, found } = this.#teller;
    this.#teller.begin();
    preamble.tag = from.tag;
    preamble.segmentCount = from.segmentCount;
    preamble.lengths.set(from.lengths);
    preamble.compressed = false;
    found.begin.copy(this.#momentOf(this.#position));
    this.#revision = this.#link.revision & 1;
    this.#offset = this.#position;
    this.#end = this.#position + bytes;
    this.#missing = 0;
  }

  #tellSealed(): void {
    const { parts, plainAt, plainEnd } = this.#reader!;
    const { lengths } = this.#teller.preamble;
    this.#teller.aborted = parts.aborted;
    this.#teller.locateBody(parts.at[0]!, parts.at[0]! + lengths[0]!);
    if (lengths[1]! > 0) this.#teller.locateFront(parts.at[1]!, parts.at[1]! + lengths[1]!);
    this.#place(plainAt, plainEnd);
    this.#tell(this.#revision, "secure", true);
  }

  /** The rest of a sealed frame that is not opened. */
  #skip(): number {
    if (this.#limit < this.#end) {
      this.#position = this.#limit;
      return this.#limit;
    }
    if (this.#missing > 0) this.#complainOfHole();
    this.#tell(this.#revision, "secure", false);
    return GO_ON;
  }

  #loseSealed(from: number): void {
    this.#unsearched = from - this.#position;
    this.#position = from;
    this.#phase = Phase.SealedLost;
  }

  #searchSealed(): number {
    if ((this.#context.means & Means.Crc) === 0) {
      this.#unsearched += this.#limit - this.#position;
      this.#position = this.#limit;
      return this.#limit;
    }
    const from = this.#base + this.#position;
    const at = this.#reader!.search(from, this.#base + this.#limit, this.#unsearched);
    if (at >= 0) {
      this.#position = at - this.#base;
      this.#foundBy = FoundBy.Crc;
      this.#phase = Phase.Sealed;
      return GO_ON;
    }
    this.#position = Math.max(this.#position, this.#limit - BLOCK1_SIZE + 1);
    return this.#position;
  }

  #holeInSealed(end: number, length: number): void {
    if (this.#phase === Phase.SealedLost) {
      this.#unsearched += end - this.#position;
      this.#position = end;
      return;
    }
    const isKnown = this.#phase === Phase.Skip || this.#reader!.begun;
    if (!isKnown || end > this.#end || (this.#context.means & Means.Length) === 0) {
      if (this.#phase === Phase.Sealed && this.#reader!.begun) this.#reader!.skip();
      // Of a known frame the nonces are counted: only what lies behind it is unknown.
      const known = isKnown ? Math.min(end, this.#end) : this.#position;
      this.#position = known;
      this.#loseSealed(end);
      return;
    }
    if (this.#phase === Phase.Sealed) this.#reader!.skip();
    this.#phase = Phase.Skip;
    this.#missing += length;
    this.#position = end;
  }
}
