/**
 * What a capture holds, counted while it is read: kinds of messages, sizes, rates, latencies,
 * conversations, means, errors, gaps. Memory does not grow with the capture, and a message allocates
 * nothing after the first of its kind and conversation.
 *
 * @module
 */
import type { Conversation } from "../../proto/capture/conversation.ts";
import { type Found, FoundBy, type FoundSink, type Gap } from "../../proto/boundary/found.ts";
import { Histogram } from "../histogram.ts";
import { RateTrack } from "./rate_track.ts";

/** Kinds that are told apart; the rest is one kind. */
const KINDS_MAX = 256;
/** Conversations that are told apart at a time; the smaller half of them is added up then. */
const CONVERSATIONS_MAX = 4096;
const CONVERSATIONS_TOLD = 20;
const ERROR_KINDS_MAX = 64;
const ERROR_CHARACTERS_MAX = 160;
/** Latencies are counted in tenths of a microsecond. */
const NS_PER_TICK = 100;
const NS_PER_SECOND = 1e9;

const OTHER_TAG = "other kinds";
const OTHER_ERRORS = "other errors";
const MEANS: readonly FoundBy[] = Object.values(FoundBy);

/** Percentiles of whole numbers. */
export interface Spread {
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** Messages of one tag and type. */
export interface KindReport {
  readonly tag: string;
  readonly type: string;
  readonly messages: number;
  readonly bytes: number;
  /** Shares of the protocol's messages and bytes, 0 to 1. */
  readonly messages_share: number;
  readonly bytes_share: number;
  readonly with_errors: number;
  readonly size: Spread;
}

/** Messages of one protocol. */
export interface ProtocolReport {
  readonly protocol: string;
  readonly messages: number;
  readonly bytes: number;
  readonly size: Spread;
  /** Most bytes first. */
  readonly kinds: readonly KindReport[];
}

/** How long answers of one kind took. */
export interface LatencyReport {
  readonly answers: string;
  readonly protocol: string;
  readonly tag: string;
  readonly type: string;
  readonly count: number;
  /** Seconds. */
  readonly latency: Spread;
}

/** One direction of a conversation. */
export interface DirectionReport {
  readonly messages: number;
  /** Of messages, what was not captured of them included. */
  readonly bytes: number;
  /** Of messages, as far as captured. */
  readonly assigned: number;
  /** Of no message. */
  readonly unassigned: number;
  readonly holes: number;
}

/** A conversation; null ends are those of many small ones. */
export interface ConversationReport {
  readonly ends: readonly [string, string] | null;
  /** From the first end to the second, and back. */
  readonly directions: readonly [DirectionReport, DirectionReport];
}

/** Numbers by name, as other parts of a pipeline count them. */
export type Counters = Readonly<Record<string, number>>;

/** What the pipeline knows besides messages. */
export interface CaptureCounters {
  /** Nanoseconds since the origin of the first and the last packet; null: those of messages count. */
  readonly span: { readonly firstNs: number; readonly lastNs: number } | null;
  /** Packets and what became of them. */
  readonly capture: Counters;
  /** Retransmissions, overlaps that differ, evictions. */
  readonly tcp: Counters;
  /** Segments with URG, clamped pointers, bytes an ordinary receiver would have lost. */
  readonly urgent: Counters;
}

/** All of it. */
export interface StatsReport {
  readonly seconds: number;
  readonly messages: number;
  readonly bytes: number;
  readonly messages_per_second: number;
  readonly bytes_per_second: number;
  readonly peak: {
    readonly at: number;
    readonly seconds: number;
    readonly messages: number;
    readonly bytes: number;
  };
  /** Bytes of messages over time, in equal steps. */
  readonly steps: readonly number[];
  readonly protocols: readonly ProtocolReport[];
  readonly latencies: readonly LatencyReport[];
  readonly conversations: readonly ConversationReport[];
  readonly conversations_total: number;
  /** Messages by the means that found them. */
  readonly found_by: Readonly<Record<string, number>>;
  readonly messages_with_errors: number;
  readonly errors: readonly { readonly error: string; readonly count: number }[];
  /** Bytes that no message has, in so many gaps, and how many of them were not captured. */
  readonly gaps: number;
  readonly unassigned: number;
  readonly unassigned_missing: number;
  /** Messages with holes, and how many of their bytes were not captured. */
  readonly messages_with_holes: number;
  readonly message_bytes_missing: number;
  readonly capture: Counters;
  readonly tcp: Counters;
  readonly urgent: Counters;
}

/** Counts everything that is told. */
export class SniffStats implements FoundSink {
  readonly #kinds: Kind[] = [];
  #kind: Kind | null = null;
  readonly #protocols = [new Amount(), new Amount()] as const;
  readonly #conversations = new Map<number, Talk>();
  #talk = new Talk(null);
  readonly #others = new Talk(null);
  #conversationsTotal = 0;
  #foldedMax = 0;
  readonly #means = new Float64Array(MEANS.length);
  readonly #rates = new RateTrack();
  readonly #errors = new Map<string, number>();
  #firstNs = Infinity;
  #lastNs = -Infinity;
  #withErrors = 0;
  #withHoles = 0;
  #messageMissing = 0;
  #gaps = 0;
  #unassigned = 0;
  #unassignedMissing = 0;

  /** Counts a message. */
  handleFound(found: Found): void {
    const { begin, errors, finish, length, missing } = found;
    this.#protocols[found.protocol === "msgr2" ? 0 : 1].add(length);
    const kind = this.#kindOf(found);
    kind.add(length);
    if (found.latencyNs >= 0) kind.addLatency(found.answers, found.latencyNs);
    const { directions } = this.#talkOf(found.conversation);
    const direction = directions[found.side];
    direction.messages++;
    direction.bytes += length;
    direction.missing += missing;
    this.#means[meansIndex(found.foundBy)]! += 1;
    this.#rates.add(begin.timeNs, length);
    if (begin.timeNs < this.#firstNs) this.#firstNs = begin.timeNs;
    if (finish.timeNs > this.#lastNs) this.#lastNs = finish.timeNs;
    if (missing > 0) {
      direction.holes++;
      this.#withHoles++;
      this.#messageMissing += missing;
    }
    if (errors.length > 0) {
      kind.withErrors++;
      this.#withErrors++;
      for (let index = 0; index < errors.length; index++) this.#addError(errors[index]!);
    }
  }

  /** Counts bytes that belong to no message. */
  handleGap({ conversation, length, missing, moment, side }: Gap): void {
    const direction = this.#talkOf(conversation).directions[side];
    direction.unassigned += length;
    if (missing > 0) direction.holes++;
    this.#gaps++;
    this.#unassigned += length;
    this.#unassignedMissing += missing;
    if (moment.timeNs < this.#firstNs) this.#firstNs = moment.timeNs;
    if (moment.timeNs > this.#lastNs) this.#lastNs = moment.timeNs;
  }

  /** What was counted so far. */
  report({ capture, span, tcp, urgent }: CaptureCounters): StatsReport {
    const [msgr2, iscsi] = this.#protocols;
    const messages = msgr2.count + iscsi.count;
    const bytes = msgr2.bytes + iscsi.bytes;
    const firstNs = span?.firstNs ?? this.#firstNs;
    const lastNs = span?.lastNs ?? this.#lastNs;
    const seconds = lastNs > firstNs ? (lastNs - firstNs) / NS_PER_SECOND : 0;
    const peak = this.#rates.peak();
    return {
      seconds,
      messages,
      bytes,
      messages_per_second: seconds > 0 ? messages / seconds : 0,
      bytes_per_second: seconds > 0 ? bytes / seconds : 0,
      peak: { ...peak, seconds: this.#rates.slotSeconds },
      steps: this.#rates.steps(60),
      protocols: this.#protocolReports(),
      latencies: this.#kinds.flatMap(latencyReports).sort((a, b) => b.count - a.count),
      conversations: this.#conversationReports(),
      conversations_total: this.#conversationsTotal,
      found_by: Object.fromEntries(MEANS.map((means, index) => [means, this.#means[index]!])),
      messages_with_errors: this.#withErrors,
      errors: [...this.#errors].map(([error, count]) => ({ error, count }))
        .sort((a, b) => b.count - a.count),
      gaps: this.#gaps,
      unassigned: this.#unassigned,
      unassigned_missing: this.#unassignedMissing,
      messages_with_holes: this.#withHoles,
      message_bytes_missing: this.#messageMissing,
      capture,
      tcp,
      urgent,
    };
  }

  /** Kinds are few, names are the same strings again and again: comparing beats hashing. */
  #kindOf({ protocol, tag, type }: Found): Kind {
    let kind = this.#kind;
    if (kind !== null && kind.type === type && kind.tag === tag && kind.protocol === protocol) {
      return kind;
    }
    const kinds = this.#kinds;
    for (let index = 0; index < kinds.length; index++) {
      kind = kinds[index]!;
      if (kind.tag !== tag || kind.type !== type || kind.protocol !== protocol) continue;
      // Nearer to the front each time: what comes often is found early.
      if (index > 0) [kinds[index - 1], kinds[index]] = [kind, kinds[index - 1]!];
      return this.#kind = kind;
    }
    if (kinds.length >= KINDS_MAX) return this.#otherKind(protocol);
    kinds.push(kind = new Kind(protocol, tag, type));
    return this.#kind = kind;
  }

  #otherKind(protocol: string): Kind {
    for (const kind of this.#kinds) {
      if (kind.tag === OTHER_TAG && kind.protocol === protocol) return kind;
    }
    const kind = new Kind(protocol, OTHER_TAG, "");
    this.#kinds.push(kind);
    return kind;
  }

  #talkOf(conversation: Conversation): Talk {
    if (this.#talk.conversation === conversation) return this.#talk;
    let talk = this.#conversations.get(conversation.number);
    if (talk === undefined) {
      if (this.#conversations.size >= CONVERSATIONS_MAX) this.#fold();
      // One that was added up and speaks again is not counted twice.
      if (conversation.number > this.#foldedMax) this.#conversationsTotal++;
      talk = new Talk(conversation);
      this.#conversations.set(conversation.number, talk);
    }
    return this.#talk = talk;
  }

  /** The smaller half of all conversations becomes one. */
  #fold(): void {
    const bySize = [...this.#conversations].sort(([, a], [, b]) => b.bytes() - a.bytes());
    for (const [number, talk] of bySize.slice(CONVERSATIONS_MAX / 2)) {
      this.#others.addAll(talk);
      this.#conversations.delete(number);
      this.#foldedMax = Math.max(this.#foldedMax, number);
    }
    this.#talk = this.#others;
  }

  #addError(error: string): void {
    const cutText = error.length > ERROR_CHARACTERS_MAX
      ? error.slice(0, ERROR_CHARACTERS_MAX)
      : error;
    const kind = cutText.replaceAll(/\b(0x[0-9a-f]+|\d+)\b/gi, "N");
    const counted = this.#errors.get(kind);
    if (counted !== undefined) this.#errors.set(kind, counted + 1);
    else if (this.#errors.size < ERROR_KINDS_MAX) this.#errors.set(kind, 1);
    else this.#errors.set(OTHER_ERRORS, (this.#errors.get(OTHER_ERRORS) ?? 0) + 1);
  }

  #protocolReports(): ProtocolReport[] {
    const all = (["msgr2", "iscsi"] as const).map((protocol, index) => {
      const amount = this.#protocols[index]!;
      const kinds = this.#kinds.filter((kind) => kind.protocol === protocol)
        .map((kind) => kindReport(kind, amount)).sort((a, b) => b.bytes - a.bytes);
      const { bytes, count } = amount;
      return { protocol, messages: count, bytes, size: amount.spread(), kinds };
    });
    return all.filter(({ messages }) => messages > 0);
  }

  #conversationReports(): ConversationReport[] {
    const bySize = [...this.#conversations.values()].sort((a, b) => b.bytes() - a.bytes());
    const told = bySize.slice(0, CONVERSATIONS_TOLD).map(conversationReport);
    const rest = bySize.slice(CONVERSATIONS_TOLD);
    if (rest.length === 0 && this.#others.bytes() === 0) return told;
    const others = new Talk(null);
    for (const talk of [this.#others, ...rest]) others.addAll(talk);
    return [...told, conversationReport(others)];
  }
}

/** Counts of something with a size. */
class Amount {
  count = 0;
  bytes = 0;
  readonly #sizes = new Histogram();
  #min = Infinity;
  #max = 0;

  add(length: number): void {
    this.count++;
    this.bytes += length;
    this.#sizes.add(length);
    if (length < this.#min) this.#min = length;
    if (length > this.#max) this.#max = length;
  }

  spread(): Spread {
    return spreadOf(this.#sizes, this.#min, this.#max, 1);
  }
}

class Kind extends Amount {
  readonly protocol: string;
  readonly tag: string;
  readonly type: string;
  withErrors = 0;
  readonly latencies: Latency[] = [];

  constructor(protocol: string, tag: string, type: string) {
    super();
    this.protocol = protocol;
    this.tag = tag;
    this.type = type;
  }

  /** What is answered has a few names only. */
  addLatency(answers: string, latencyNs: number): void {
    const { latencies } = this;
    for (let index = 0; index < latencies.length; index++) {
      if (latencies[index]!.answers === answers) return latencies[index]!.add(latencyNs);
    }
    const latency = new Latency(answers);
    latencies.push(latency);
    latency.add(latencyNs);
  }
}

class Latency {
  readonly answers: string;
  readonly histogram = new Histogram();
  minNs = Infinity;
  maxNs = 0;

  constructor(answers: string) {
    this.answers = answers;
  }

  add(latencyNs: number): void {
    this.histogram.add(latencyNs / NS_PER_TICK);
    if (latencyNs < this.minNs) this.minNs = latencyNs;
    if (latencyNs > this.maxNs) this.maxNs = latencyNs;
  }
}

class Direction {
  messages = 0;
  bytes = 0;
  missing = 0;
  unassigned = 0;
  holes = 0;
}

class Talk {
  readonly conversation: Conversation | null;
  readonly directions = [new Direction(), new Direction()] as const;

  constructor(conversation: Conversation | null) {
    this.conversation = conversation;
  }

  bytes(): number {
    const [there, back] = this.directions;
    return there.bytes + there.unassigned + back.bytes + back.unassigned;
  }

  addAll(other: Talk): void {
    for (const side of [0, 1] as const) {
      const into = this.directions[side];
      const from = other.directions[side];
      into.messages += from.messages;
      into.bytes += from.bytes;
      into.missing += from.missing;
      into.unassigned += from.unassigned;
      into.holes += from.holes;
    }
  }
}

function meansIndex(foundBy: FoundBy): number {
  switch (foundBy) {
    case "start":
      return 0;
    case "length":
      return 1;
    case "crc":
      return 2;
    case "header-chain":
      return 3;
    case "digest":
      return 4;
    case "urgent":
      return 5;
  }
}

/** A bucket's middle may lie beyond the values that are known exactly. */
function spreadOf(histogram: Histogram, min: number, max: number, scale: number): Spread {
  if (histogram.count === 0) return { min: 0, p50: 0, p90: 0, p99: 0, max: 0 };
  const at = (share: number): number =>
    Math.min(max, Math.max(min, Math.round(histogram.percentile(share) * scale)));
  return { min, p50: at(0.5), p90: at(0.9), p99: at(0.99), max };
}

function kindReport(kind: Kind, all: Amount): KindReport {
  return {
    tag: kind.tag,
    type: kind.type,
    messages: kind.count,
    bytes: kind.bytes,
    messages_share: all.count > 0 ? kind.count / all.count : 0,
    bytes_share: all.bytes > 0 ? kind.bytes / all.bytes : 0,
    with_errors: kind.withErrors,
    size: kind.spread(),
  };
}

function latencyReports({ latencies, protocol, tag, type }: Kind): LatencyReport[] {
  return latencies.map(({ answers, histogram, maxNs, minNs }) => {
    const ns = spreadOf(histogram, minNs, maxNs, NS_PER_TICK);
    const latency = {
      min: ns.min / NS_PER_SECOND,
      p50: ns.p50 / NS_PER_SECOND,
      p90: ns.p90 / NS_PER_SECOND,
      p99: ns.p99 / NS_PER_SECOND,
      max: ns.max / NS_PER_SECOND,
    };
    return { answers, protocol, tag, type, count: histogram.count, latency };
  });
}

function conversationReport({ conversation, directions }: Talk): ConversationReport {
  const [there, back] = directions;
  return {
    ends: conversation?.ends ?? null,
    directions: [directionReport(there), directionReport(back)],
  };
}

function directionReport(direction: Direction): DirectionReport {
  const { bytes, holes, messages, missing, unassigned } = direction;
  return { messages, bytes, assigned: bytes - missing, unassigned, holes };
}
