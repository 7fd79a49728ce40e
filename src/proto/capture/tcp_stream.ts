/**
 * One direction of a TCP connection in a capture: segments in, the stream's bytes and holes out, in
 * order (RFC 9293 section 3.4: sequence numbers are compared modulo 2^32). Who captures is no
 * receiver: it cannot ask for what it has not seen, copies of a segment may differ, packets may be
 * recorded in another order than they were sent in, and what was acknowledged has existed although it
 * is not there.
 *
 * Bytes that are next go to the follower where they lie. Bytes ahead of a gap are held until the gap
 * is filled or given up. A gap is given up, and told as a hole, when the other side has acknowledged
 * it for a while, when too much waits behind it, when nothing happens for long, or at the end.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { TcpFlag, type TcpSegment } from "../../wire/capture/tcp.ts";
import { Moment, type Side } from "../boundary/found.ts";
import { type Conversation, HoleReason, type StreamCounts } from "./conversation.ts";
import type { ConversationFollower } from "./conversation_table.ts";
import { Held, type HeldBudget, HeldSegments } from "./held_segments.ts";

/** The acknowledgement alone proves no hole, as captures can be re-ordered: it must be so old … */
const ACKNOWLEDGED_NS = 100e6;
/**
 * … or so many segments must have been captured since, of either side: more than captures are out of
 * order by, and few enough that requests behind the gap are mostly told before their answers.
 */
const ACKNOWLEDGED_SEGMENTS = 24;
/** A gap that nobody acknowledges is given up after this time without progress. */
const STALLED_NS = 10e9;
/** The same where the other side, which could acknowledge it, was never captured. */
const STALLED_ALONE_NS = 1e9;
/** The largest window there is (RFC 7323 section 2.3): what lies further ahead is of no connection. */
const AHEAD_MAX = 2 ** 30;
/** A SYN that was recorded late belongs to a stream that began so many bytes behind it at most. */
const REORDERED_BYTES_MAX = 64 * 1024;
/** Places of urgent bytes that are remembered, so that each is counted once. */
const URGENT_PLACES = 64;
/** RFC 9293 section 3.8.5 has 16 bits for the pointer; Linux says this when they do not suffice. */
const URGENT_CLAMP = 0xffff;

const UNUSUAL = TcpFlag.Syn | TcpFlag.Fin | TcpFlag.Urg;

/** Whom a stream asks when all streams together hold as much as they may. */
export interface HeldStreams {
  /** The stream that holds the most, null when none holds anything. */
  largest(): TcpStream | null;
}

/** The moment of what was held, while it is told. */
const then = new Moment();

/** One direction of a conversation. */
export class TcpStream {
  readonly #conversation: Conversation;
  readonly #side: Side;
  readonly #counts: StreamCounts;
  readonly #follower: ConversationFollower;
  readonly #others: HeldStreams;
  readonly #held: HeldSegments;
  /** The place of its conversation in the table. */
  readonly slot: number;
  /** Its place in the table's list of waiting streams, -1 when it is not there. */
  place = -1;
  /** Whether something waits behind a gap. */
  waiting = false;
  /** When handleDeadline() has something to do, if nothing happens before. */
  dueNs = Infinity;
  /** Whether its end was told. */
  ended = false;
  /** Whether the sequence number of its first byte is known. */
  #based = false;
  /** In order, nothing held, no end in sight. */
  #plain = true;
  /** Offset of the next byte, and its sequence number, signed. */
  #expected = 0;
  #sequence = 0;
  /** Offset of its first byte that nobody has acknowledged, as far as known. */
  #acknowledged = 0;
  /** While its first byte is not known: the newest acknowledgement of the other side, if there is one. */
  #earlyAcknowledged = 0;
  #earlyAcknowledgedIsThere = false;
  /** Offset of its end, from a FIN, -1 while there was none; and when that was captured. */
  #fin = -1;
  #finTimeNs = 0;
  #finPacket = 0;
  /** Where the present gap ends, and since when nothing has come into it. */
  #gapEnd = 0;
  #gapNs = 0;
  /** What was expected then. */
  #gapExpected = 0;
  /** What had been acknowledged at that time, which is Infinity when the gap is not; segments since. */
  #marked = 0;
  #markedNs = Infinity;
  #segmentsSince = 0;
  /** Bytes of the present segment that had been seen before, and how many of them differ. */
  #repeated = 0;
  #differing = 0;
  /** Places of urgent bytes, a ring. */
  #urgentPlaces: number[] | null = null;
  #urgentCount = 0;
  #urgentHighest = -1;

  /** A direction of which nothing was captured yet. */
  constructor(
    conversation: Conversation,
    side: Side,
    follower: ConversationFollower,
    others: HeldStreams,
    budget: HeldBudget,
    bytesMax: number,
    slot: number,
  ) {
    this.#conversation = conversation;
    this.#side = side;
    this.#counts = conversation.counts[side];
    this.#follower = follower;
    this.#others = others;
    this.#held = new HeldSegments(budget, bytesMax);
    this.slot = slot;
  }

  /** Bytes of memory that it holds. */
  get heldBytes(): number {
    return this.#held.bytes;
  }

  /** Its first byte has this sequence number. Nothing when another was taken as the first before. */
  begin(sequence: number): void {
    if (this.#based) return;
    this.#based = true;
    this.#sequence = sequence | 0;
  }

  /** Whether a SYN that makes `sequence` its first byte may belong to it, recorded late or again. */
  mayBegin(sequence: number): boolean {
    if (!this.#based && !this.#earlyAcknowledgedIsThere) return true;
    const seen = this.#based ? this.#sequence - this.#expected : this.#earlyAcknowledged;
    const bytes = (seen - sequence) | 0;
    return bytes >= 0 && bytes <= REORDERED_BYTES_MAX;
  }

  /** Whether `sequence` is its first byte's, as far as known. */
  beginsAt(sequence: number): boolean {
    return !this.#based || ((this.#sequence - this.#expected - sequence) | 0) === 0;
  }

  /** Whether `sequence` can be of this connection at all. */
  isNear(sequence: number): boolean {
    return !this.#based || Math.abs((sequence - this.#sequence) | 0) <= AHEAD_MAX;
  }

  /** Takes a segment of this direction. */
  handleSegment(segment: TcpSegment, moment: Moment): void {
    const { flags, dataAt, dataBytes } = segment;
    const counts = this.#counts;
    counts.segments++;
    counts.bytes += dataBytes;
    const unusual = flags & UNUSUAL;
    // A SYN takes one sequence number, in front of the first byte.
    const first = (segment.sequence + ((flags & TcpFlag.Syn) === 0 ? 0 : 1)) | 0;
    const begins = !this.#based;
    if (begins) {
      if (unusual === 0 && dataBytes === 0) return;
      this.begin(first);
    }
    const ahead = (first - this.#sequence) | 0;
    if (unusual === 0 && ahead === 0 && this.#plain && segment.dataEnd - dataAt === dataBytes) {
      if (dataBytes > 0) this.#deliver(dataAt, dataBytes, moment);
      return;
    }
    this.#handleUnusual(segment, ahead, begins, moment);
  }

  /** The other side has acknowledged everything before this sequence number. */
  handleAcknowledgment(acknowledgment: number, nowNs: number): void {
    if (!this.#based) {
      this.#earlyAcknowledged = acknowledgment | 0;
      this.#earlyAcknowledgedIsThere = true;
      return;
    }
    if (this.waiting && ++this.#segmentsSince >= ACKNOWLEDGED_SEGMENTS) {
      this.#giveAcknowledged(nowNs);
    }
    const ahead = (acknowledgment - this.#sequence) | 0;
    if (ahead <= 0 || ahead > AHEAD_MAX) return;
    const offset = this.#expected + ahead;
    if (offset <= this.#acknowledged) return;
    this.#acknowledged = offset;
    if (this.waiting) this.#mark(nowNs);
  }

  /** Gives up the gaps that are due. */
  handleDeadline(nowNs: number): void {
    if (nowNs >= this.#markedNs + ACKNOWLEDGED_NS) this.#giveAcknowledged(nowNs);
    while (this.waiting && nowNs >= this.#gapNs + this.#patienceNs()) {
      this.#giveGap(HoleReason.Stalled);
      this.#settle(nowNs);
    }
    if (this.waiting) this.#mark(nowNs);
  }

  /** Makes room for other streams: gives up gaps until it holds half as much. */
  giveHalf(nowNs: number): void {
    const wanted = this.#held.bytes / 2;
    do this.#giveGap(this.#forcedReason()); while (this.#held.bytes > wanted);
    this.#settle(nowNs);
  }

  /** The connection or the capture ends. */
  end(moment: Moment): void {
    if (this.ended) return;
    while (this.#held.count > 0 || this.#fin > this.#expected) this.#giveGap(HoleReason.Ended);
    const missing = this.#acknowledged - this.#expected;
    // A FIN that was not captured takes a sequence number too: one alone is no byte.
    if (this.#fin < 0 && missing > 1) this.#hole(missing, HoleReason.Ended, moment);
    this.waiting = false;
    this.ended = true;
    this.#follower.handleEnd(this.#side, this.#expected, moment);
  }

  #handleUnusual(segment: TcpSegment, ahead: number, begins: boolean, moment: Moment): void {
    const { flags, dataBytes } = segment;
    const counts = this.#counts;
    if (ahead > AHEAD_MAX) {
      counts.farSegments++;
      return;
    }
    const offset = this.#expected + ahead;
    const end = offset + dataBytes;
    if ((flags & TcpFlag.Urg) !== 0) this.#noteUrgent(offset, segment, moment);
    // A keepalive probe (RFC 9293 section 3.8.4), or a SYN once more.
    const isProbe = ahead === -1 && dataBytes <= 1 && (flags & (TcpFlag.Syn | TcpFlag.Fin)) === 0;
    if (isProbe || (flags & TcpFlag.Syn) !== 0 && dataBytes === 0 && !begins) {
      counts.retransmittedSegments++;
      counts.retransmittedBytes += dataBytes;
      if (isProbe) return;
    }
    if ((flags & TcpFlag.Fin) !== 0) this.#noteFin(end, moment);
    const stop = this.#fin < 0 ? end : Math.min(end, this.#fin);
    if (dataBytes > 0) this.#handleData(segment, offset, stop, moment);
    if (end > stop) {
      counts.straySegments++;
      counts.strayBytes += end - Math.max(stop, offset);
    }
    this.#settle(moment.timeNs);
    if (this.#segmentsSince >= ACKNOWLEDGED_SEGMENTS) this.#giveAcknowledged(moment.timeNs);
  }

  /** The bytes of a segment that begins at `offset`, up to that of `stop`. */
  #handleData(segment: TcpSegment, offset: number, stop: number, moment: Moment): void {
    const { dataAt, dataBytes } = segment;
    const counts = this.#counts;
    const start = Math.max(offset, 0);
    if (offset < 0) {
      counts.earlySegments++;
      counts.earlyBytes += Math.min(dataBytes, -offset);
    }
    if (start >= stop) return;
    if (start > this.#expected) {
      counts.outOfOrderSegments++;
      this.#segmentsSince++;
    }
    const captured = Math.min(segment.dataEnd - dataAt, dataBytes);
    const cut = Math.min(Math.max(offset + captured, start), stop);
    this.#repeated = 0;
    this.#differing = 0;
    if (start < cut) this.#fill(dataAt + (start - offset), start, cut, moment);
    if (cut < stop) this.#fill(-1, cut, stop, moment);
    if (this.#repeated > 0) {
      counts.retransmittedSegments++;
      counts.retransmittedBytes += this.#repeated;
    }
    if (this.#differing > 0) {
      counts.conflicts++;
      counts.conflictBytes += this.#differing;
    }
    this.#drain();
  }

  /**
   * Puts the bytes that lie from `at` on (-1: the snap length cut them off) into the stream from `offset`
   * to `end`, where nothing was seen before: what was seen first stays.
   */
  #fill(at: number, offset: number, end: number, moment: Moment): void {
    const held = this.#held;
    let from = offset;
    // The piece that was passed last: what follows lies in the next one, as a rule.
    let passed = -1;
    while (from < end) {
      const lies = at < 0 ? -1 : at + (from - offset);
      if (from < this.#expected) {
        const seen = Math.min(end, this.#expected) - from;
        this.#repeated += seen;
        from += seen;
        continue;
      }
      let index = 0;
      if (from > this.#expected) index = passed < 0 ? held.find(from) : passed + 1;
      passed = -1;
      const next = index < held.count ? held.offsetOf(index) : Infinity;
      const stop = Math.min(end, next);
      if (next <= from) {
        const seen = Math.min(end, held.endOf(index)) - from;
        this.#compare(index, lies, from, seen);
        if (from === this.#expected) this.#deliverHeld();
        else {
          this.#repeated += seen;
          from += seen;
          passed = index;
        }
      } else if (from === this.#expected) {
        if (lies < 0) this.#hole(stop - from, HoleReason.Snap, moment);
        else this.#deliver(lies, stop - from, moment);
        from = stop;
      } else {
        const answer = held.put(index, lies, from, stop - from, moment);
        // Making room may move what is expected: look again.
        if (answer === Held.Kept) from = stop;
        else this.#makeRoom(answer, from, moment);
      }
    }
  }

  /** Counts the bytes that differ from those of a held piece. */
  #compare(index: number, at: number, offset: number, length: number): void {
    const held = this.#held.atOf(index);
    if (at < 0 || held < 0) return;
    const { bytes } = arena;
    const other = held + (offset - this.#held.offsetOf(index));
    for (let byte = 0; byte < length; byte++) {
      if (bytes[at + byte] !== bytes[other + byte]) this.#differing++;
    }
  }

  /** Nothing more can be held: some stream must give up a gap, this one that before `offset`. */
  #makeRoom(answer: number, offset: number, moment: Moment): void {
    const largest = answer === Held.AllFull ? this.#others.largest() : this;
    if (largest !== null && largest !== this) largest.giveHalf(moment.timeNs);
    else if (this.#held.count > 0 && this.#held.offsetOf(0) <= offset) {
      this.#giveGap(this.#forcedReason());
    } else this.#hole(offset - this.#expected, HoleReason.Full, moment);
  }

  /** Why a gap is given up for want of memory: if it was acknowledged, that is what made it a hole. */
  #forcedReason(): HoleReason {
    const isAcknowledged = this.#acknowledged >= this.#presentGapEnd();
    return isAcknowledged ? HoleReason.Acknowledged : HoleReason.Full;
  }

  #noteFin(end: number, moment: Moment): void {
    const { count } = this.#held;
    const seen = count > 0 ? this.#held.endOf(count - 1) : this.#expected;
    if (this.#fin >= 0 || end < seen) return;
    this.#fin = end;
    this.#finTimeNs = moment.timeNs;
    this.#finPacket = moment.packet;
  }

  #noteUrgent(offset: number, segment: TcpSegment, moment: Moment): void {
    const { urgentPointer, dataBytes } = segment;
    const counts = this.#counts;
    counts.urgentSegments++;
    if (urgentPointer === URGENT_CLAMP) counts.urgentClamped++;
    else {
      // BSD's meaning, which Linux has: the byte before the one that is pointed to; 0 stays 0 there.
      const place = offset + Math.max(urgentPointer - 1, 0);
      if (place >= 0 && this.#isNewUrgent(place)) counts.urgentBytesLost++;
    }
    if (offset >= 0 && !this.ended) {
      this.#follower.handleUrgent(this.#side, offset, dataBytes, urgentPointer, moment);
    }
  }

  #isNewUrgent(place: number): boolean {
    const places = this.#urgentPlaces ??= [];
    if (place <= this.#urgentHighest) {
      if (places.includes(place)) return false;
      // Places further back than what is remembered were counted, as far as anybody knows.
      const isFull = this.#urgentCount >= URGENT_PLACES;
      if (isFull && places.every((known) => place < known)) return false;
    } else this.#urgentHighest = place;
    places[this.#urgentCount++ % URGENT_PLACES] = place;
    return true;
  }

  #deliver(at: number, length: number, moment: Moment): void {
    const offset = this.#expected;
    this.#expected = offset + length;
    this.#sequence = (this.#sequence + length) | 0;
    this.#follower.handleBytes(this.#side, at, at + length, offset, moment);
  }

  #hole(length: number, reason: HoleReason, moment: Moment): void {
    const offset = this.#expected;
    this.#expected = offset + length;
    this.#sequence = (this.#sequence + length) | 0;
    const count = this.#counts.holes[reason];
    count.count++;
    count.bytes += length;
    this.#follower.handleHole(this.#side, offset, length, reason, moment);
  }

  /** Tells the first held piece, which is next. */
  #deliverHeld(): void {
    const held = this.#held;
    const length = held.endOf(0) - this.#expected;
    const at = held.atOf(0);
    held.readMoment(0, then);
    if (at < 0) this.#hole(length, HoleReason.Snap, then);
    else this.#deliver(at, length, then);
    held.shift();
  }

  #drain(): void {
    const held = this.#held;
    while (held.count > 0 && held.offsetOf(0) === this.#expected) this.#deliverHeld();
  }

  /** Tells the present gap as a hole, and what was held behind it. */
  #giveGap(reason: HoleReason): void {
    this.#readGapMoment();
    this.#hole(this.#presentGapEnd() - this.#expected, reason, then);
    this.#drain();
  }

  /** Gives up the gaps that had been acknowledged at the mark, and marks what is by now. */
  #giveAcknowledged(nowNs: number): void {
    while (this.#isWaiting() && this.#presentGapEnd() <= this.#marked) {
      this.#giveGap(HoleReason.Acknowledged);
    }
    this.#markedNs = Infinity;
    this.#settle(nowNs);
  }

  #isWaiting(): boolean {
    return this.#held.count > 0 || this.#fin > this.#expected;
  }

  #presentGapEnd(): number {
    return this.#held.count > 0 ? this.#held.offsetOf(0) : this.#fin;
  }

  /** When what ends the present gap was captured. */
  #readGapMoment(): void {
    if (this.#held.count > 0) return this.#held.readMoment(0, then);
    then.timeNs = this.#finTimeNs;
    then.packet = this.#finPacket;
  }

  /** After everything that may have moved what is expected: says what is waited for, and how long. */
  #settle(nowNs: number): void {
    this.waiting = this.#isWaiting();
    this.#plain = !this.waiting && this.#fin < 0;
    if (this.waiting) {
      const gapEnd = this.#presentGapEnd();
      if (gapEnd !== this.#gapEnd) {
        this.#gapEnd = gapEnd;
        this.#readGapMoment();
        this.#gapNs = then.timeNs;
        this.#gapExpected = this.#expected;
      } else if (this.#gapExpected !== this.#expected) {
        this.#gapExpected = this.#expected;
        this.#gapNs = nowNs;
      }
      this.#mark(nowNs);
      return;
    }
    this.#markedNs = Infinity;
    this.#segmentsSince = 0;
    this.dueNs = Infinity;
    if (this.#fin !== this.#expected || this.ended) return;
    this.ended = true;
    this.#readGapMoment();
    this.#follower.handleEnd(this.#side, this.#expected, then);
  }

  /** Marks the time when the present gap is first seen acknowledged, and says when it is due. */
  #mark(nowNs: number): void {
    if (this.#markedNs === Infinity || this.#gapEnd > this.#marked) {
      const isAcknowledged = this.#acknowledged >= this.#gapEnd;
      this.#marked = this.#acknowledged;
      this.#markedNs = isAcknowledged ? nowNs : Infinity;
      this.#segmentsSince = 0;
    }
    this.dueNs = Math.min(this.#markedNs + ACKNOWLEDGED_NS, this.#gapNs + this.#patienceNs());
  }

  #patienceNs(): number {
    const otherWasSeen = this.#conversation.counts[1 - this.#side]!.segments > 0;
    return otherWasSeen ? STALLED_NS : STALLED_ALONE_NS;
  }
}
