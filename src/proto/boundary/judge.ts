/**
 * What each means of finding boundaries is worth, measured: a conversation is followed once as it was
 * captured, which is the truth, and once for each set of means with some of its segments taken away. In
 * the end, what each set found is held against the truth.
 *
 * The draft is judged twice: with the header check that a careful implementation adds, and alone, as its
 * section 3.3 has it, where a pointer is believed by the bit of the byte that it names.
 *
 * @module
 */
import { type Conversation, HoleReason } from "../capture/conversation.ts";
import type { ConversationFollower } from "../capture/conversation_table.ts";
import { Finder, type FinderOptions } from "./finder.ts";
import type { Found, FoundSink, Moment, Side } from "./found.ts";
import { Means } from "./side_decoder.ts";
import { UrgentRule } from "./urgent_rule.ts";

/** Messages of a side, and starts that pointers name, that are compared; what comes later is not. */
const MESSAGES_MAX = 2 ** 22;
/** Those of all finders together. */
const MESSAGES_ALL_MAX = 2 ** 24;
const MESSAGES_MIN = 64;

const NO_NUMBERS = new Float64Array(0);
const NO_FLAGS = new Uint8Array(0);

/** Losses of a side that are remembered one by one. */
const HOLES_MAX = 1_000_000;

/** A set of means, and what it is called. */
export interface MeansSet {
  readonly name: string;
  readonly means: number;
  /** Gives up at the first loss: what a reader does that has no means at all. */
  readonly givesUp?: boolean;
  /** The protocol that it is of use to, where there is one only. */
  readonly only?: "msgr2" | "iscsi";
}

/** The sets that are compared, each with what a length tells after the first means. */
export const MEANS_SETS: readonly MeansSet[] = [
  { name: "nothing: until the first loss", means: Means.Length, givesUp: true },
  { name: "length, over losses within a message", means: Means.Length },
  { name: "length, urgent pointer", means: Means.Length | Means.Urgent },
  { name: "length, chain of headers", means: Means.Length | Means.HeaderChain, only: "iscsi" },
  { name: "length, header digest", means: Means.Length | Means.Digest, only: "iscsi" },
  { name: "length, crc", means: Means.Length | Means.Crc, only: "msgr2" },
  { name: "all without the urgent pointer", means: Means.All & ~Means.Urgent },
  { name: "all", means: Means.All },
];

/** What one set of means made of a stream. */
export interface SetReport {
  readonly name: string;
  /** Messages that it told and that the truth has. */
  readonly told: number;
  /** Of those, messages of which nothing was taken away. */
  readonly whole: number;
  /** Bytes of the stream that they make up. */
  readonly bytes: number;
  /** Messages that it told and that contradict the truth. */
  readonly wrong: number;
}

/** What the draft's rule alone made of a stream. */
export interface DraftReport {
  /** Segments with URG that were left. */
  readonly pointers: number;
  /** Those clamped to 0xffff: they say nothing. */
  readonly clamped: number;
  /** Starts that the rule named, and how many of them the truth has. */
  readonly named: number;
  readonly right: number;
}

/** One direction of a conversation, judged. */
export interface StreamReport {
  readonly src: string;
  readonly dst: string;
  readonly protocol: string;
  readonly bytes: number;
  /** Bytes that were taken away. */
  readonly lost: number;
  /** Messages of the truth, and how many of them were left whole. */
  readonly messages: number;
  readonly whole: number;
  readonly sets: readonly SetReport[];
  readonly draft: DraftReport;
}

/** How segments are taken away. */
export interface Damage {
  /** Share of the segments, 0 to 1; 0 judges the capture's own holes. */
  readonly share: number;
  /** Makes the same choice each time. */
  readonly seed: number;
}

/** Follows one conversation in all these ways. */
export class Judge implements ConversationFollower {
  readonly #conversation: Conversation;
  readonly #damage: Damage;
  readonly #report: (report: StreamReport) => void;
  readonly #truth: Finder;
  readonly #truths = new Messages();
  readonly #finders: readonly Finder[];
  readonly #persistent: readonly Finder[];
  readonly #found: readonly Messages[];
  readonly #streams = [new Stream(), new Stream()] as const;

  /**
   * A judge of one conversation; `report` is told of each direction that carried something known.
   *
   * @param options of the truth, and of each set of {@linkcode MEANS_SETS}
   */
  constructor(
    conversation: Conversation,
    damage: Damage,
    options: { readonly truth: FinderOptions; readonly sets: readonly FinderOptions[] },
    report: (report: StreamReport) => void,
  ) {
    this.#conversation = conversation;
    this.#damage = damage;
    this.#report = report;
    this.#truth = new Finder(conversation, options.truth, this.#truths);
    this.#found = options.sets.map(() => new Messages());
    this.#finders = options.sets.map((set, at) => new Finder(conversation, set, this.#found[at]!));
    this.#persistent = this.#finders.filter((_, at) => MEANS_SETS[at]!.givesUp !== true);
  }

  /** In-order bytes: all of them for the truth, most of them for the others. */
  handleBytes(side: Side, at: number, end: number, offset: number, moment: Moment): void {
    this.#truth.handleBytes(side, at, end, offset, moment);
    const stream = this.#streams[side];
    const length = end - at;
    stream.bytes += length;
    if (this.#takesAway(side, offset)) {
      this.#lose(side, offset, length, HoleReason.Acknowledged, moment);
      return;
    }
    for (const finder of this.#live(side)) finder.handleBytes(side, at, end, offset, moment);
    if (stream.lost > 0) stream.draft(at, end, offset);
  }

  /** A hole of the capture: of everybody. */
  handleHole(
    side: Side,
    offset: number,
    length: number,
    reason: HoleReason,
    moment: Moment,
  ): void {
    this.#truth.handleHole(side, offset, length, reason, moment);
    this.#streams[side].bytes += length;
    this.#lose(side, offset, length, reason, moment);
  }

  /** A pointer, unless its segment is taken away. */
  handleUrgent(side: Side, offset: number, length: number, pointer: number, moment: Moment): void {
    this.#truth.handleUrgent(side, offset, length, pointer, moment);
    if (this.#takesAway(side, offset)) return;
    for (const finder of this.#live(side)) {
      finder.handleUrgent(side, offset, length, pointer, moment);
    }
    const stream = this.#streams[side];
    stream.rule.handleUrgent(offset, length, pointer, moment.timeNs);
  }

  /** The end of a side, of everybody. */
  handleEnd(side: Side, offset: number, moment: Moment): void {
    this.#truth.handleEnd(side, offset, moment);
    for (const finder of this.#live(side)) finder.handleEnd(side, offset, moment);
  }

  /** Compares, reports, and gives everything back. */
  close(): void {
    this.#truth.close();
    for (const finder of this.#finders) finder.close();
    const { ends } = this.#conversation;
    for (const side of [0, 1] as const) {
      const truth = this.#truths.sides[side];
      if (truth.count === 0) continue;
      const stream = this.#streams[side];
      const whole = truth.markWhole(stream.holes);
      this.#report({
        src: ends[side],
        dst: ends[side === 0 ? 1 : 0],
        protocol: this.#truths.protocol,
        bytes: stream.bytes,
        lost: stream.lost,
        messages: truth.count,
        whole,
        sets: MEANS_SETS.map(({ name }, at) => truth.compare(name, this.#found[at]!.sides[side])),
        draft: stream.report(truth),
      });
    }
    for (const { sides } of [this.#truths, ...this.#found]) {
      for (const starts of sides) starts.close();
    }
  }

  #lose(side: Side, offset: number, length: number, reason: HoleReason, moment: Moment): void {
    const stream = this.#streams[side];
    stream.lose(offset, length);
    for (const finder of this.#live(side)) {
      finder.handleHole(side, offset, length, reason, moment);
    }
  }

  /** Who still follows a side: all before its first loss, and then who does not give up. */
  #live(side: Side): readonly Finder[] {
    return this.#streams[side].lost === 0 ? this.#finders : this.#persistent;
  }

  /** The same answer for a place each time, whoever asks. */
  #takesAway(side: Side, offset: number): boolean {
    const { seed, share } = this.#damage;
    if (share === 0) return false;
    let mixed = seed ^ Math.imul(this.#conversation.number * 2 + side, 0x9e3779b1);
    mixed = Math.imul(mixed ^ (offset % 0x1_0000_0000), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 0x1_0000_0000 < share;
  }
}

/** What was taken away of one direction, and the draft's rule on what is left. */
class Stream {
  bytes = 0;
  lost = 0;
  /** Offset and length by turns. */
  readonly holes: number[] = [];
  readonly rule = new UrgentRule();
  readonly #named: number[] = [];

  lose(offset: number, length: number): void {
    const { holes } = this;
    this.lost += length;
    const last = holes.length - 2;
    const isNext = last >= 0 && holes[last]! + holes[last + 1]! === offset;
    // With too many of them, what lies between two counts as lost too.
    if (isNext || holes.length >= 2 * HOLES_MAX) holes[last + 1] = offset + length - holes[last]!;
    else holes.push(offset, length);
  }

  draft(at: number, end: number, offset: number): void {
    this.rule.handleBytes(at, end, offset);
    for (let start = this.rule.pollStart(); start >= 0; start = this.rule.pollStart()) {
      if (this.#named.length < MESSAGES_MAX) this.#named.push(start);
    }
  }

  report(truth: Starts): DraftReport {
    const { pointers, clamped } = this.rule.counters;
    const named = [...new Set(this.#named)];
    const right = named.filter((start) => truth.has(start)).length;
    return { pointers, clamped, named: named.length, right };
  }
}

/** The messages that one finder told. */
class Messages implements FoundSink {
  protocol = "";
  readonly sides = [new Starts(), new Starts()] as const;

  handleFound({ length, missing, offset, protocol, side }: Found): void {
    this.protocol = protocol;
    this.sides[side].add(offset, length, missing);
  }

  handleGap(): void {
    // what lies between messages shows by itself
  }
}

/** Messages for which there is room now. */
let messagesKept = 0;

/** Where messages of one direction begin and how long they are, in the order of the stream. */
class Starts {
  count = 0;
  #offsets = NO_NUMBERS;
  #lengths = NO_NUMBERS;
  /** Of the truth: 1 where the message was left whole. */
  #whole = NO_FLAGS;

  add(offset: number, length: number, missing: number): void {
    if (this.count === this.#offsets.length && !this.#grow()) return;
    this.#offsets[this.count] = offset;
    this.#lengths[this.count] = length;
    this.#whole[this.count] = missing === 0 ? 1 : 0;
    this.count++;
  }

  /** Marks what no hole touches; returns how many. Holes are offset and length by turns, in order. */
  markWhole(holes: readonly number[]): number {
    let hole = 0;
    let whole = 0;
    for (let at = 0; at < this.count; at++) {
      const start = this.#offsets[at]!;
      while (hole < holes.length && holes[hole]! + holes[hole + 1]! <= start) hole += 2;
      if (hole < holes.length && holes[hole]! < start + this.#lengths[at]!) this.#whole[at] = 0;
      whole += this.#whole[at]!;
    }
    return whole;
  }

  has(start: number): boolean {
    const at = this.#search(start);
    return at >= 0 && this.#offsets[at] === start;
  }

  compare(name: string, told: Starts): SetReport {
    let right = 0;
    let whole = 0;
    let bytes = 0;
    let wrong = 0;
    for (let index = 0; index < told.count; index++) {
      const start = told.#offsets[index]!;
      const length = told.#lengths[index]!;
      const at = this.#search(start);
      if (at >= 0 && this.#offsets[at] === start && this.#lengths[at] === length) {
        right++;
        bytes += length;
        whole += this.#whole[at]!;
      } else if (this.#overlaps(at, start, start + length)) {
        wrong++;
      }
    }
    return { name, told: right, whole, bytes, wrong };
  }

  /** Whether [start, end) has bytes of a message from `at` on, the last that begins no later. */
  #overlaps(at: number, start: number, end: number): boolean {
    if (at >= 0 && this.#offsets[at]! + this.#lengths[at]! > start) return true;
    return at + 1 < this.count && this.#offsets[at + 1]! < end;
  }

  /** The last message that begins at `start` or before; -1: none does. */
  #search(start: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#offsets[middle]! <= start) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Gives its memory back. */
  close(): void {
    messagesKept -= this.#offsets.length;
    this.count = 0;
    this.#offsets = NO_NUMBERS;
    this.#lengths = NO_NUMBERS;
    this.#whole = NO_FLAGS;
  }

  /** Makes room for more; false when there is none. */
  #grow(): boolean {
    const before = this.#offsets.length;
    const size = Math.max(MESSAGES_MIN, before * 2);
    if (size > MESSAGES_MAX || messagesKept + size - before > MESSAGES_ALL_MAX) return false;
    messagesKept += size - before;
    const grow = <T extends Float64Array | Uint8Array>(from: T, into: T): T => {
      into.set(from);
      return into;
    };
    this.#offsets = grow(this.#offsets, new Float64Array(size));
    this.#lengths = grow(this.#lengths, new Float64Array(size));
    this.#whole = grow(this.#whole, new Uint8Array(size));
    return true;
  }
}
