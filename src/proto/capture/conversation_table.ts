/**
 * TCP segments of a capture to conversations, by the two addresses and ports that RFC 9293 section
 * 3.3.1 calls a connection; both directions are one conversation. A SYN with another initial sequence
 * number is a new connection on the same ports (RFC 9293 section 3.6.1 lets a host do that). What ended
 * lingers without its memory, as late copies of its segments must not look like a new one.
 *
 * The tables are bounded: when they are full, the conversation that was silent for longest is ended.
 * The usual segment, one of a known conversation and in order, allocates nothing.
 *
 * @module
 */
import { Family, formatInet } from "../../wire/inet.ts";
import { TcpFlag, type TcpSegment } from "../../wire/capture/tcp.ts";
import { Moment, type Side } from "../boundary/found.ts";
import { Conversation, type HoleReason, StreamCounts } from "./conversation.ts";
import { HeldBudget } from "./held_segments.ts";
import { type HeldStreams, TcpStream } from "./tcp_stream.ts";

/** Who is given what a conversation's two sides said, in order. */
export interface ConversationFollower {
  /** In-order bytes of a side, in the arena; valid only during the call. */
  handleBytes(side: Side, at: number, end: number, offset: number, moment: Moment): void;
  /** Bytes that are not in the capture; told once. The moment is that of what comes behind them. */
  handleHole(side: Side, offset: number, length: number, reason: HoleReason, moment: Moment): void;
  /**
   * A segment with URG was seen (in order, ahead of a hole, or once more): its place in the stream,
   * its length and its pointer. Called before its bytes are.
   */
  handleUrgent(side: Side, offset: number, length: number, pointer: number, moment: Moment): void;
  /** FIN, RST, eviction or the end of the capture. Once for each side. */
  handleEnd(side: Side, offset: number, moment: Moment): void;
  /** Both sides have ended: nothing is called after this. */
  close(): void;
}

/** What a table may take. */
export interface TableLimits {
  /** Conversations at once, those that linger included: these take a hundred bytes each. */
  readonly conversations: number;
  /** Those that have not ended: each has somebody who follows it. */
  readonly open: number;
  /** Memory for what waits behind gaps: of one side, and of all. */
  readonly heldBytesPerSide: number;
  readonly heldBytes: number;
  /** Makes the places of conversations in the table something that a stranger cannot foresee. */
  readonly hashSeed: number;
}

const LIMITS: TableLimits = {
  conversations: 65_536,
  open: 8192,
  heldBytesPerSide: 4 * 1024 * 1024,
  heldBytes: 64 * 1024 * 1024,
  hashSeed: 0x2545f491,
};

/** What was counted of a capture's TCP. */
export class TableCounts {
  /** Conversations that began, by SYN or in mid-stream. */
  conversations = 0;
  /** Those that ended by FIN of both sides. */
  finished = 0;
  /** Those that ended by RST. */
  reset = 0;
  /** Those that a SYN with another initial sequence number ended. */
  replaced = 0;
  /** Those that were ended as the table was full. */
  evicted = 0;
  /** Segments without data of no known conversation, and RSTs that cannot be of theirs. */
  straySegments = 0;
  /** Segments of conversations that had ended. */
  lateSegments = 0;
  /** All directions of all conversations. */
  readonly streams: StreamCounts = new StreamCounts();
}

/** Words of a conversation's key: the address of side 0, of side 1, and the two ports. */
const KEY_WORDS = 10;
/** Conversations with the same place in the table: one more, and the oldest of them is ended. */
const CHAIN_MAX = 32;
/** How long the ports of what has ended are taken for the old connection's: Linux's TIME-WAIT. */
const LINGER_NS = 60e9;
/** Deadlines are looked at no more often than this … */
const DEADLINE_STEP_NS = 1e6;
/** … and, as long as segments come, after one of them for so many streams that wait. */
const DEADLINE_STREAMS = 16;
/** Streams of which the one that holds the most makes room. */
const LARGEST_OF = 64;

/** A conversation that has not ended. */
interface Flow {
  readonly conversation: Conversation;
  readonly follower: ConversationFollower;
  readonly streams: readonly [TcpStream, TcpStream];
}

/** Every TCP conversation of a capture. */
export class ConversationTable implements HeldStreams {
  readonly #makeFollower: (conversation: Conversation) => ConversationFollower;
  readonly #limits: TableLimits;
  readonly #budget: HeldBudget;
  readonly #counts = new TableCounts();
  /** The first slot of each place, and the next of the same place; -1 for none. */
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  /** By slot: the key, the first sequence number of each side and whether it is known, when it ended. */
  readonly #keys: Int32Array;
  readonly #firsts: Int32Array;
  readonly #firstKnown: Uint8Array;
  readonly #endedNs: Float64Array;
  readonly #flows: (Flow | null)[] = [];
  /** Slots by when they were last heard of: those of conversations, and those that linger. */
  readonly #live: SlotList;
  readonly #lingering: SlotList;
  readonly #free: number[] = [];
  #slots = 0;
  /** The slot of the last segment, and the side that sent the present one. */
  #last = -1;
  #side: Side = 0;
  /** Streams that hold something or wait for the bytes before a FIN. */
  readonly #waiting: TcpStream[] = [];
  #dueNs = Infinity;
  /** Segments that came since then, and where in the list the last one was that made room. */
  #overdue = 0;
  #cursor = -1;
  readonly #now = new Moment();

  /** A table that asks `makeFollower` for somebody to tell of each new conversation. */
  constructor(
    makeFollower: (conversation: Conversation) => ConversationFollower,
    limits: Partial<TableLimits> = {},
  ) {
    this.#makeFollower = makeFollower;
    this.#limits = { ...LIMITS, ...limits };
    const { conversations, heldBytes } = this.#limits;
    this.#budget = new HeldBudget(heldBytes);
    this.#heads = new Int32Array(2 ** Math.ceil(Math.log2(conversations * 2))).fill(-1);
    this.#next = new Int32Array(conversations);
    this.#keys = new Int32Array(conversations * KEY_WORDS);
    this.#firsts = new Int32Array(conversations * 2);
    this.#firstKnown = new Uint8Array(conversations * 2);
    this.#endedNs = new Float64Array(conversations);
    const older = new Int32Array(conversations);
    const newer = new Int32Array(conversations);
    this.#live = new SlotList(older, newer);
    this.#lingering = new SlotList(older, newer);
  }

  /** What was counted so far; the record is made anew at each call. */
  get counters(): TableCounts {
    const all = new TableCounts();
    const { streams, ...counts } = this.#counts;
    Object.assign(all, counts);
    all.streams.add(streams);
    for (const flow of this.#flows) {
      if (flow) { for (const counts of flow.conversation.counts) all.streams.add(counts); }
    }
    return all;
  }

  /** Takes a segment; it and its bytes are valid only during the call. */
  handleSegment(segment: TcpSegment, moment: Moment): void {
    this.#take(segment, moment);
    // Afterwards: it may be what was waited for.
    if (moment.timeNs < this.#dueNs) return;
    if (++this.#overdue * DEADLINE_STREAMS < this.#waiting.length) return;
    this.handleDeadline(moment.timeNs);
  }

  /** Gives up the gaps that are due by then. handleSegment() does so itself as time goes by. */
  handleDeadline(nowNs: number): void {
    this.#dueNs = Infinity;
    this.#overdue = 0;
    this.#now.timeNs = nowNs;
    for (let left = this.#waiting.length; left > 0; left = Math.min(left, this.#waiting.length)) {
      const stream = this.#waiting[--left]!;
      if (stream.dueNs <= nowNs) stream.handleDeadline(nowNs);
      this.#list(stream);
      if (stream.ended) this.#finish(stream.slot, this.#now);
    }
    this.#dueNs = Math.max(this.#dueNs, nowNs + DEADLINE_STEP_NS);
  }

  /** The capture ends: tells what is held, and ends every conversation. */
  end(moment: Moment): void {
    for (let slot = this.#live.oldest; slot >= 0; slot = this.#live.oldest) {
      this.#close(slot, moment);
    }
  }

  /**
   * The stream that holds the most of some, others each time: to look at all of very many for each
   * segment would take too long. Null when none of all holds anything.
   */
  largest(): TcpStream | null {
    const waiting = this.#waiting;
    let found: TcpStream | null = null;
    let bytes = 0;
    for (let count = 1; count <= waiting.length; count++) {
      if (++this.#cursor >= waiting.length) this.#cursor = 0;
      const stream = waiting[this.#cursor]!;
      if (stream.heldBytes > bytes) {
        bytes = stream.heldBytes;
        found = stream;
      }
      if (count >= LARGEST_OF && found !== null) break;
    }
    return found;
  }

  #take(segment: TcpSegment, moment: Moment): void {
    const { flags } = segment;
    let slot = this.#find(segment);
    if (slot < 0 || (flags & TcpFlag.Syn) !== 0 || this.#flows[slot] === null) {
      slot = this.#resolve(slot, segment, moment);
      if (slot < 0) return;
    }
    this.#live.touch(slot);
    this.#last = slot;
    const flow = this.#flows[slot]!;
    const side = this.#side;
    const stream = flow.streams[side];
    const other = flow.streams[1 - side]!;
    if ((flags & TcpFlag.Rst) !== 0) {
      this.#handleReset(slot, flow, side, segment, moment);
      return;
    }
    if ((flags & TcpFlag.Ack) !== 0) {
      other.handleAcknowledgment(segment.acknowledgment, moment.timeNs);
    }
    stream.handleSegment(segment, moment);
    if (stream.waiting || stream.place >= 0) this.#list(stream);
    if (other.waiting) this.#list(other);
    if (stream.ended) this.#finish(slot, moment);
  }

  /** For a segment that is not of a known and open conversation, or has SYN: its slot, or -1. */
  #resolve(found: number, segment: TcpSegment, moment: Moment): number {
    const { flags } = segment;
    const isSyn = (flags & TcpFlag.Syn) !== 0;
    let slot = found;
    if (slot >= 0 && this.#isOver(slot, segment, moment.timeNs)) {
      if (this.#flows[slot] !== null) {
        this.#counts.replaced++;
        this.#close(slot, moment);
      }
      this.#forget(slot);
      slot = -1;
    }
    if (slot >= 0 && this.#flows[slot] === null) {
      this.#counts.lateSegments++;
      return -1;
    }
    if (slot < 0) {
      if ((flags & TcpFlag.Rst) !== 0 || !isSyn && segment.dataBytes === 0) {
        this.#counts.straySegments++;
        return -1;
      }
      slot = this.#open(segment, moment);
    }
    if (isSyn) this.#noteSyn(slot, segment);
    return slot;
  }

  /** Whether what `slot` has is another connection than the segment's. */
  #isOver(slot: number, segment: TcpSegment, nowNs: number): boolean {
    const flow = this.#flows[slot];
    if ((segment.flags & TcpFlag.Syn) === 0) {
      return flow === null && nowNs - this.#endedNs[slot]! > LINGER_NS;
    }
    const side = this.#side;
    const first = (segment.sequence + 1) | 0;
    const index = slot * 2 + side;
    if (this.#firstKnown[index] === 1) return this.#firsts[index] !== first;
    return !flow || !flow.streams[side].mayBegin(first);
  }

  /** Remembers where the streams begin that a SYN tells of. */
  #noteSyn(slot: number, segment: TcpSegment): void {
    const side = this.#side;
    this.#noteFirst(slot, side, (segment.sequence + 1) | 0);
    const flow = this.#flows[slot]!;
    if ((segment.flags & TcpFlag.Ack) === 0 || this.#firstKnown[slot * 2 + 1 - side] === 1) return;
    // What a SYN+ACK acknowledges is the other side's SYN: its first byte is the next.
    const other = segment.acknowledgment | 0;
    flow.streams[1 - side]!.begin(other);
    this.#noteFirst(slot, 1 - side, other);
  }

  #noteFirst(slot: number, side: number, first: number): void {
    this.#firsts[slot * 2 + side] = first;
    this.#firstKnown[slot * 2 + side] = 1;
    const { conversation, streams } = this.#flows[slot]!;
    if (streams[side as Side].beginsAt(first)) conversation.fromStart[side as Side] = true;
  }

  #handleReset(slot: number, flow: Flow, side: Side, segment: TcpSegment, moment: Moment): void {
    if (!flow.streams[side].isNear(segment.sequence | 0)) {
      this.#counts.straySegments++;
      return;
    }
    flow.conversation.counts[side].segments++;
    this.#counts.reset++;
    this.#close(slot, moment);
  }

  /** Keeps the list of streams that wait, and the time when the first of them is due. */
  #list(stream: TcpStream): void {
    if (stream.waiting) {
      if (stream.place < 0) stream.place = this.#waiting.push(stream) - 1;
      if (stream.dueNs < this.#dueNs) this.#dueNs = stream.dueNs;
    } else if (stream.place >= 0) {
      const last = this.#waiting.pop()!;
      if (last !== stream) {
        this.#waiting[stream.place] = last;
        last.place = stream.place;
      }
      stream.place = -1;
    }
  }

  /** Closes a conversation whose sides have both ended by FIN. */
  #finish(slot: number, moment: Moment): void {
    const { streams } = this.#flows[slot]!;
    if (!streams[0].ended || !streams[1].ended) return;
    this.#counts.finished++;
    this.#close(slot, moment);
  }

  #open(segment: TcpSegment, moment: Moment): number {
    const { addresses, sourcePort, destinationPort, flags } = segment;
    const isSyn = (flags & TcpFlag.Syn) !== 0;
    const isAnswer = isSyn && (flags & TcpFlag.Ack) !== 0;
    // In mid-stream: a client's port is usually the higher one.
    const isReversed = isSyn ? isAnswer : sourcePort < destinationPort;
    this.#side = isReversed ? 1 : 0;
    const head = this.#headOf(addresses, 0, 4, sourcePort, destinationPort);
    this.#makeRoom(head, moment);
    const slot = this.#free.pop() ?? this.#slots++;
    const from = isReversed ? 4 : 0;
    const ports = isReversed
      ? [destinationPort, sourcePort] as const
      : [sourcePort, destinationPort] as const;
    const keys = this.#keys.subarray(slot * KEY_WORDS, (slot + 1) * KEY_WORDS);
    for (let word = 0; word < 8; word++) keys[word] = addresses[(word + from) & 7]!;
    keys.set(ports, 8);
    this.#firstKnown.fill(0, slot * 2, slot * 2 + 2);
    this.#next[slot] = this.#heads[head]!;
    this.#heads[head] = slot;
    this.#live.add(slot);
    const ends = [endText(keys, 0, ports[0]), endText(keys, 4, ports[1])] as const;
    const number = ++this.#counts.conversations;
    const conversation = new Conversation(number, ends, ports);
    if (isSyn) conversation.fromStart[0] = true;
    if (isAnswer) conversation.fromStart[1] = true;
    const follower = this.#makeFollower(conversation);
    const { heldBytesPerSide } = this.#limits;
    const stream = (side: Side): TcpStream =>
      new TcpStream(conversation, side, follower, this, this.#budget, heldBytesPerSide, slot);
    this.#flows[slot] = { conversation, follower, streams: [stream(0), stream(1)] };
    return slot;
  }

  /** Sees to it that a slot is free, and that the place has not too many of them. */
  #makeRoom(head: number, moment: Moment): void {
    let length = 0;
    let oldest = -1;
    for (let slot = this.#heads[head]!; slot >= 0; slot = this.#next[slot]!) {
      length++;
      oldest = slot;
    }
    const isFull = this.#free.length === 0 && this.#slots === this.#limits.conversations;
    if (length >= CHAIN_MAX) this.#evict(oldest, moment);
    else if (isFull) {
      this.#evict(this.#lingering.oldest >= 0 ? this.#lingering.oldest : this.#live.oldest, moment);
    }
    if (this.#live.count >= this.#limits.open) this.#evict(this.#live.oldest, moment);
  }

  #evict(slot: number, moment: Moment): void {
    if (this.#flows[slot] !== null) {
      this.#counts.evicted++;
      this.#close(slot, moment);
    }
    this.#forget(slot);
  }

  /** Ends a conversation; its slot lingers. */
  #close(slot: number, moment: Moment): void {
    const { conversation, follower, streams } = this.#flows[slot]!;
    for (const stream of streams) {
      stream.end(moment);
      this.#list(stream);
    }
    follower.close();
    for (const counts of conversation.counts) this.#counts.streams.add(counts);
    this.#flows[slot] = null;
    this.#endedNs[slot] = moment.timeNs;
    this.#live.remove(slot);
    this.#lingering.add(slot);
  }

  /** Frees the slot of what has ended. */
  #forget(slot: number): void {
    const at = slot * KEY_WORDS;
    const keys = this.#keys;
    const head = this.#headOf(keys, at, at + 4, keys[at + 8]!, keys[at + 9]!);
    const next = this.#next[slot]!;
    let before = this.#heads[head]!;
    if (before === slot) this.#heads[head] = next;
    else {
      while (this.#next[before] !== slot) before = this.#next[before]!;
      this.#next[before] = next;
    }
    this.#lingering.remove(slot);
    this.#free.push(slot);
    if (this.#last === slot) this.#last = -1;
  }

  /** The slot of a segment's conversation, -1 for none; and which side sent it. */
  #find(segment: TcpSegment): number {
    const last = this.#last;
    if (last >= 0 && this.#matches(last, segment)) return last;
    const { addresses, sourcePort, destinationPort } = segment;
    let slot = this.#heads[this.#headOf(addresses, 0, 4, sourcePort, destinationPort)]!;
    while (slot >= 0 && !this.#matches(slot, segment)) slot = this.#next[slot]!;
    return slot;
  }

  #matches(slot: number, segment: TcpSegment): boolean {
    const { addresses, sourcePort, destinationPort } = segment;
    const keys = this.#keys;
    const at = slot * KEY_WORDS;
    const port = keys[at + 8]!;
    const otherPort = keys[at + 9]!;
    if (
      sourcePort === port && destinationPort === otherPort && isAddress(keys, at, addresses, 0) &&
      isAddress(keys, at + 4, addresses, 4)
    ) {
      this.#side = 0;
      return true;
    }
    if (
      sourcePort === otherPort && destinationPort === port && isAddress(keys, at, addresses, 4) &&
      isAddress(keys, at + 4, addresses, 0)
    ) {
      this.#side = 1;
      return true;
    }
    return false;
  }

  /** The place of a conversation between two ends, whichever comes first. */
  #headOf(words: Int32Array, one: number, two: number, port: number, otherPort: number): number {
    const { hashSeed } = this.#limits;
    const sum = hashEnd(hashSeed, words, one, port) + hashEnd(hashSeed, words, two, otherPort);
    const mixed = Math.imul((sum ^ (sum >>> 15)) | 0, 0x2c1b3c6d);
    return (mixed ^ (mixed >>> 13)) & (this.#heads.length - 1);
  }
}

/** Slots by when they were last heard of; two lists share the links, as no slot is in both. */
class SlotList {
  readonly #older: Int32Array;
  readonly #newer: Int32Array;
  oldest = -1;
  count = 0;
  #newest = -1;

  constructor(older: Int32Array, newer: Int32Array) {
    this.#older = older;
    this.#newer = newer;
  }

  add(slot: number): void {
    this.count++;
    this.#older[slot] = this.#newest;
    this.#newer[slot] = -1;
    if (this.#newest >= 0) this.#newer[this.#newest] = slot;
    else this.oldest = slot;
    this.#newest = slot;
  }

  remove(slot: number): void {
    this.count--;
    const older = this.#older[slot]!;
    const newer = this.#newer[slot]!;
    if (older >= 0) this.#newer[older] = newer;
    else this.oldest = newer;
    if (newer >= 0) this.#older[newer] = older;
    else this.#newest = older;
  }

  touch(slot: number): void {
    if (slot === this.#newest) return;
    this.remove(slot);
    this.add(slot);
  }
}

function isAddress(words: Int32Array, at: number, others: Int32Array, from: number): boolean {
  return words[at] === others[from] && words[at + 1] === others[from + 1] &&
    words[at + 2] === others[from + 2] && words[at + 3] === others[from + 3];
}

function hashEnd(seed: number, words: Int32Array, at: number, port: number): number {
  let hash = Math.imul(seed ^ port, 0x297a2d39);
  for (let word = at; word < at + 4; word++) {
    hash = Math.imul(hash ^ (hash >>> 15) ^ words[word]!, 0x2c1b3c6d);
  }
  return hash ^ (hash >>> 12);
}

/** `ip:port`, IPv6 in brackets. */
function endText(words: Int32Array, at: number, port: number): string {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (let word = 0; word < 4; word++) view.setInt32(word * 4, words[at + word]!);
  const isInet = words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0xffff;
  if (isInet) return `${formatInet(Family.Inet, bytes.subarray(12))}:${port}`;
  return `[${formatInet(Family.Inet6, bytes)}]:${port}`;
}
