/**
 * The finder of messages in one conversation: gives both sides' bytes to the protocols it knows until one
 * of them proves a message, keeps what that one wants to see again, and tells what lies between messages.
 *
 * Read this before touching it. Per side:
 *
 * ```text
 * segment --> window (only when bytes are left over) --> decoder --> tell(): gap before it? message
 *                 ^                                         |
 *                 +------- from `wanted` on, again ---------+
 * ```
 *
 * - A segment is decoded where it lies. Only what its decoder wants to see again is copied into the
 *   side's window, a block of the arena that grows to WINDOW_BYTES_MAX and is given back when empty.
 * - Offsets count in the stream, told messages never overlap, and every byte is either part of a message
 *   or of a gap.
 * - Pointers of TCP are noted from every segment, but a decoder asks for them only when it is lost: in
 *   order bytes are never steered by them (draft-wakeley-iscsi-msgbndry-00 section 4).
 *
 * @module
 */
import { arena, blockBytes, give, takeSpare } from "../../mem/arena.ts";
import type { Conversation, HoleReason } from "../capture/conversation.ts";
import type { ConversationFollower } from "../capture/conversation_table.ts";
import { DraftConversation } from "./draft_conversation.ts";
import { type Found, type FoundSink, Moment, type Side } from "./found.ts";
import { IscsiConversation } from "./iscsi_conversation.ts";
import type { IscsiShared } from "./iscsi_conversation.ts";
import { Msgr2Conversation, type Msgr2Shared } from "./msgr2_conversation.ts";
import type { SideContext, SideDecoder, UrgentStarts } from "./side_decoder.ts";
import { UrgentRule } from "./urgent_rule.ts";

/** What a side keeps at most of bytes that its decoder wants to see again: a whole sealed frame. */
const WINDOW_BYTES_MAX = 32 * 1024 * 1024;

/** A stream that is seen from its start, without a hole, and is no protocol known here. */
const UNKNOWN_BYTES_MAX = 64 * 1024;

/** A stream joined in the middle, or with holes, in which nothing was found. */
const SEARCHED_BYTES_MAX = 16 * 1024 * 1024;

/** Holes of a side that are remembered one by one; more are counted together. */
const HOLES_MAX = 1024;

/** Conversations that have ended, by what was found in them. */
export class FinderTally {
  /** Those whose protocol was found. */
  recognised = 0;
  /** Those that carried bytes and no message that could be proven. */
  unrecognised = 0;
}

/** What the finders of one capture share. */
export interface FinderOptions {
  /** Bits of `Means`. */
  readonly means: number;
  /** Whether messages are kept for their bytes. */
  readonly keepsBytes: boolean;
  readonly msgr2: Msgr2Shared;
  readonly iscsi: IscsiShared;
  readonly tally: FinderTally;
}

/** Follows one conversation and tells its messages and gaps. */
export class Finder implements ConversationFollower {
  readonly #conversation: Conversation;
  readonly #tally: FinderTally;
  readonly #readers: readonly [SideReader, SideReader];

  /** A finder for one conversation. */
  constructor(conversation: Conversation, options: FinderOptions, sink: FoundSink) {
    this.#conversation = conversation;
    this.#tally = options.tally;
    const race = new Race(options);
    this.#readers = [
      new SideReader(conversation, 0, options, race, sink),
      new SideReader(conversation, 1, options, race, sink),
    ];
    race.readers = this.#readers;
  }

  /** What the pointers of a side said; null when it had none. */
  urgentOf(side: Side): UrgentRule | null {
    return this.#readers[side].rule;
  }

  /** In-order bytes of a side. */
  handleBytes(side: Side, at: number, end: number, offset: number, moment: Moment): void {
    this.#readers[side].handleBytes(at, end, offset, moment);
  }

  /** Bytes of a side that the capture has not. */
  handleHole(
    side: Side,
    offset: number,
    length: number,
    _reason: HoleReason,
    moment: Moment,
  ): void {
    this.#readers[side].handleHole(offset, length, moment);
  }

  /** A segment with URG. */
  handleUrgent(side: Side, offset: number, length: number, pointer: number, moment: Moment): void {
    this.#readers[side].handleUrgent(offset, length, pointer, moment);
  }

  /** The end of a side. */
  handleEnd(side: Side, offset: number, moment: Moment): void {
    this.#readers[side].handleEnd(offset, moment);
  }

  /** Gives back what it took of the arena. */
  close(): void {
    for (const reader of this.#readers) reader.close();
    const { counts } = this.#conversation;
    if (this.#readers[0].recognised) this.#tally.recognised++;
    else if (counts[0].bytes + counts[1].bytes > 0) this.#tally.unrecognised++;
  }
}

/** Which protocol a conversation speaks: the first that proves a message. */
class Race {
  readers: readonly SideReader[] = [];
  readonly #options: FinderOptions;
  #started = false;

  constructor(options: FinderOptions) {
    this.#options = options;
  }

  /** Decoders are made when there are bytes: of most connections that a scan makes there are none. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    const { iscsi, msgr2 } = this.#options;
    const makers = [
      (sides: [SideContext, SideContext]) => new Msgr2Conversation(sides, msgr2),
      (sides: [SideContext, SideContext]) => new IscsiConversation(sides, iscsi),
      (sides: [SideContext, SideContext]) => new DraftConversation(sides, iscsi),
    ];
    const [first, second] = this.readers as [SideReader, SideReader];
    makers.forEach((make, lane) => {
      const decoder = make([first.contextOf(lane), second.contextOf(lane)]);
      for (const reader of this.readers) reader.enter(decoder.sides[reader.side]);
    });
  }

  win(lane: number, by: SideReader): void {
    for (const reader of this.readers) {
      reader.keepOnly(lane);
      if (reader !== by) reader.tellRest();
    }
  }

  giveUp(): void {
    for (const reader of this.readers) reader.keepOnly(-1);
  }
}

/** One decoder's way through a side. */
interface Lane {
  decoder: SideDecoder;
  /** The offset in the stream from which on it needs bytes. */
  wanted: number;
}

/** Stands for a decoder that is not asked any more. */
const OUT: SideDecoder = {
  handleBytes: () => Infinity,
  handleHole: () => Infinity,
  handleEnd(): void {},
  close(): void {},
};

const UNDECIDED = -2;
const NOBODY = -1;

class SideReader implements UrgentStarts {
  readonly side: Side;
  rule: UrgentRule | null = null;
  readonly #conversation: Conversation;
  readonly #options: FinderOptions;
  readonly #race: Race;
  readonly #sink: FoundSink;
  readonly #lanes: Lane[] = [];
  readonly #first = new Moment();
  readonly #last = new Moment();
  #winner = UNDECIDED;
  /** Up to here the stream was told, as messages or as gaps. */
  #told = 0;
  /** Up to here it was given, or is known to be missing. */
  #reached = 0;
  #searched = 0;
  /** Where the stream ends, once that is known. */
  #endsAt = Infinity;

  // The window: bytes of the stream from #start on, #kept of them, in the arena at #block.
  #block = -1;
  #room = 0;
  #start = 0;
  #kept = 0;

  // Holes beyond #told: offset and length by turns.
  readonly #holes: number[] = [];
  #hadHole = false;

  constructor(
    conversation: Conversation,
    side: Side,
    options: FinderOptions,
    race: Race,
    sink: FoundSink,
  ) {
    this.#conversation = conversation;
    this.side = side;
    this.#options = options;
    this.#race = race;
    this.#sink = sink;
  }

  get recognised(): boolean {
    return this.#winner >= 0;
  }

  contextOf(lane: number): SideContext {
    const { means, keepsBytes } = this.#options;
    return {
      conversation: this.#conversation,
      side: this.side,
      means,
      keepsBytes,
      urgent: this,
      first: this.#first,
      last: this.#last,
      tell: (found) => this.#tell(lane, found),
    };
  }

  names(offset: number): boolean {
    return this.rule !== null && this.rule.names(offset);
  }

  enter(decoder: SideDecoder): void {
    this.#lanes.push({ decoder, wanted: 0 });
  }

  /** One lane has won, or with -1 nobody: the others are not asked any more. */
  keepOnly(winner: number): void {
    this.#winner = winner;
    this.#lanes.forEach((lane, index) => {
      if (index === winner) return;
      lane.wanted = Infinity;
      lane.decoder.close();
      lane.decoder = OUT; // its memory is worth more than all else that is kept of a conversation
    });
  }

  /** This side had ended before the other proved what the conversation is: all of it is a gap. */
  tellRest(): void {
    if (this.#endsAt !== Infinity && this.#endsAt > this.#told) this.#tellGap(this.#endsAt);
  }

  handleBytes(at: number, end: number, offset: number, moment: Moment): void {
    if (this.#winner === NOBODY) return;
    if (this.#lanes.length === 0) this.#race.start();
    this.#last.copy(moment);
    const { rule } = this;
    if (rule !== null && this.#isLossy) rule.handleBytes(at, end, offset);
    this.#reached = offset + end - at;
    const wanted = this.#wanted();
    if (wanted >= this.#reached) return;
    if (this.#kept > 0 && this.#append(at, end)) {
      this.#give(this.#block, this.#block + this.#kept, this.#start);
    } else {
      this.#first.copy(moment);
      this.#give(at, end, offset);
      this.#keep(at, end, offset);
    }
    if (this.#winner === UNDECIDED) this.#countSearched(end - at);
  }

  handleHole(offset: number, length: number, moment: Moment): void {
    if (this.#winner === NOBODY) return;
    if (this.#lanes.length === 0) this.#race.start();
    this.#last.copy(moment);
    this.#hadHole = true;
    this.#noteHole(offset, length);
    this.#reached = offset + length;
    this.#dropWindow();
    for (const lane of this.#lanes) {
      if (lane.wanted !== Infinity) lane.wanted = lane.decoder.handleHole(offset, length);
    }
  }

  handleUrgent(offset: number, length: number, pointer: number, moment: Moment): void {
    if (this.#winner === NOBODY) return;
    this.rule ??= new UrgentRule();
    this.rule.handleUrgent(offset, length, pointer, moment.timeNs);
  }

  handleEnd(offset: number, moment: Moment): void {
    if (this.#endsAt !== Infinity) return;
    this.#endsAt = offset;
    this.#last.copy(moment);
    for (const lane of this.#lanes) {
      if (lane.wanted !== Infinity || this.#isWinner(lane)) lane.decoder.handleEnd(offset);
    }
    if (this.recognised) this.tellRest();
  }

  close(): void {
    this.#dropWindow();
    this.#lanes.forEach((lane, index) => {
      if (this.#winner === UNDECIDED || index === this.#winner) lane.decoder.close();
    });
  }

  get #isLossy(): boolean {
    return this.#hadHole || !this.#conversation.fromStart[this.side];
  }

  #isWinner(lane: Lane): boolean {
    return this.#lanes[this.#winner] === lane;
  }

  /** The first offset that a lane needs. */
  #wanted(): number {
    let wanted = Infinity;
    for (const lane of this.#lanes) if (lane.wanted < wanted) wanted = lane.wanted;
    return wanted;
  }

  /** Gives the stream's bytes [at, end) to each lane from where it needs them. */
  #give(at: number, end: number, offset: number): void {
    const reached = offset + end - at;
    for (const lane of this.#lanes) {
      const from = lane.wanted > offset ? lane.wanted : offset;
      if (from >= reached) continue;
      lane.wanted = Math.max(from, lane.decoder.handleBytes(at + from - offset, end, from));
      if (this.#winner >= 0 && !this.#isWinner(lane)) lane.wanted = Infinity;
    }
    if (this.#kept > 0) this.#trim();
  }

  /** Keeps what is wanted again of bytes that were given where they lay. */
  #keep(at: number, end: number, offset: number): void {
    const wanted = this.#wanted();
    if (wanted >= this.#reached) return;
    const from = at + Math.max(0, wanted - offset);
    const length = end - from;
    if (!this.#reserve(length)) {
      this.#overflow(this.#reached - length, length);
      return;
    }
    arena.bytes.copyWithin(this.#block, from, end);
    this.#start = this.#reached - length;
    this.#kept = length;
  }

  /** Adds bytes to the window; false when they have no room, and then the window is lost, too. */
  #append(at: number, end: number): boolean {
    if (!this.#reserve(this.#kept + end - at)) {
      this.#overflow(this.#start, this.#kept);
      return false;
    }
    arena.bytes.copyWithin(this.#block + this.#kept, at, end);
    this.#kept += end - at;
    return true;
  }

  /** Drops what nobody wants any more from the front of the window. */
  #trim(): void {
    const wanted = this.#wanted();
    if (wanted >= this.#start + this.#kept) {
      this.#kept = 0;
      return;
    }
    const drop = wanted - this.#start;
    if (drop <= 0) return;
    // The new front was captured with the newest piece, or nearly so.
    this.#first.copy(this.#last);
    arena.bytes.copyWithin(this.#block, this.#block + drop, this.#block + this.#kept);
    this.#start += drop;
    this.#kept -= drop;
  }

  #reserve(bytes: number): boolean {
    if (bytes <= this.#room) return true;
    if (bytes > WINDOW_BYTES_MAX) return false;
    const block = takeSpare(bytes);
    if (block < 0) return false;
    if (this.#kept > 0) arena.bytes.copyWithin(block, this.#block, this.#block + this.#kept);
    if (this.#block >= 0) give(this.#block);
    this.#block = block;
    this.#room = blockBytes(bytes);
    return true;
  }

  /** There is no room for what is wanted again: to the decoders these bytes are lost. */
  #overflow(offset: number, length: number): void {
    this.#dropWindow();
    for (const lane of this.#lanes) {
      if (lane.wanted < offset + length) lane.wanted = lane.decoder.handleHole(offset, length);
    }
  }

  #dropWindow(): void {
    if (this.#block >= 0) give(this.#block);
    this.#block = -1;
    this.#room = 0;
    this.#kept = 0;
  }

  #countSearched(bytes: number): void {
    this.#searched += bytes;
    const most = this.#isLossy ? SEARCHED_BYTES_MAX : UNKNOWN_BYTES_MAX;
    if (this.#searched < most) return;
    this.#race.giveUp();
    this.#dropWindow();
  }

  #tell(lane: number, found: Found): void {
    if (this.#winner === UNDECIDED) this.#race.win(lane, this);
    if (this.#winner !== lane) return;
    if (found.offset > this.#told) this.#tellGap(found.offset);
    const unsent = found.offset + found.length - this.#endsAt;
    if (unsent > 0) { // announced, and cut off by the end: never on the wire
      found.length -= unsent;
      found.missing -= unsent;
    }
    this.#told = found.offset + found.length;
    this.#forgetHoles(this.#told);
    this.rule?.forget(this.#told);
    this.#sink.handleFound(found);
  }

  #tellGap(until: number): void {
    const offset = this.#told;
    const missing = this.#forgetHoles(until);
    this.#told = until;
    this.#sink.handleGap({
      conversation: this.#conversation,
      side: this.side,
      offset,
      length: until - offset,
      missing,
      moment: this.#last,
    });
  }

  #noteHole(offset: number, length: number): void {
    const holes = this.#holes;
    if (holes.length < 2 * HOLES_MAX) holes.push(offset, length);
    else holes[holes.length - 1]! += length;
  }

  /** Forgets the holes that lie before `until`; returns how many bytes were missing there. */
  #forgetHoles(until: number): number {
    const holes = this.#holes;
    if (holes.length === 0) return 0;
    let missing = 0;
    let done = 0;
    for (; done < holes.length && holes[done]! < until; done += 2) {
      const length = Math.min(holes[done + 1]!, until - holes[done]!);
      missing += length;
      if (length < holes[done + 1]!) {
        holes[done]! += length;
        holes[done + 1]! -= length;
        break;
      }
    }
    if (done > 0) holes.splice(0, done);
    return missing;
  }
}
