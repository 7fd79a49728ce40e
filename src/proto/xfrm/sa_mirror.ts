/**
 * The active box's side of the mirror: what its kernel tells of SAs, policies and where they are goes
 * in, records for the standby come out (wire/standby/sa_record.ts). Of each SA only the newest body is
 * kept, so memory is bounded by the number of SAs, however fast they move. What an SA or a policy is
 * goes at once; where SAs are goes in flushes, each of which takes what has moved once.
 *
 * After a dump, what it does not have is gone. Numbers never fall here: an event that was under way
 * while a dump was read is dropped. The order of use is: dump, events, `writePost` after each turn;
 * with a new standby `beginSnapshot` and `writeSnapshot` until it returns 0.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import { AeFlag, type XfrmSaId } from "../../wire/netlink/xfrm.ts";
import type { XfrmAevent } from "../../wire/netlink/xfrm_aevent.ts";
import { PolicyDirection, policyKey, type XfrmPolicy } from "../../wire/netlink/xfrm_policy.ts";
import { addLifetime, type XfrmSa } from "../../wire/netlink/xfrm_sa.ts";
import { type PostWriter, RecordKind } from "../../wire/standby/post.ts";
import {
  POLICY_BODY_BYTES_MAX,
  POLICY_KEY_BYTES_MAX,
  SA_BODY_BYTES_MAX,
  SA_GONE_SIZE,
  SA_HEAD_SIZE,
  SA_STATE_HEAD_SIZE,
  SaHead,
  sameSaBody,
  SaStateHead,
  type Thresholds,
  writePolicyGone,
  writeSaGone,
  writeSaHead,
  writeSaStateHead,
} from "../../wire/standby/sa_record.ts";
import { isLarval, MirroredSa, windowOf } from "./mirrored_sa.ts";
import { KeptBody } from "./sa_body.ts";
import { Directions } from "./sa_direction.ts";
import { SaOrders, type ThresholdOrder } from "./sa_orders.ts";
import { POLICIES_MAX, type SaFigures, SAS_MAX, type SaView } from "./sa_table.ts";
import type { StoredSa } from "./stored_sa.ts";
import { takeoverJump } from "./takeover_jump.ts";
import type { PlannedSa } from "./takeover_plan.ts";

/** States in one call of `writePost`. */
export const STATES_PER_POST = 64;
/** A call ends when its post has so many bytes. */
const POST_BYTES = 128 * 1024;
/** What LTIME_VAL adds to a body of a dump, with padding. */
const LIFETIME_BYTES = 40;
/** Posts on the way whose tickets are remembered; later ones share the last. */
const TICKETS_MAX = 4096;

/** What happened since the mirror was made. */
export interface MirrorCounts {
  /** Events that told where an SA is. */
  events: number;
  /** Events that replaced another one before it was sent. */
  coalesced: number;
  /** Events of SAs that are not known. */
  unknown: number;
  /** Events and dump entries that were older than what was known. */
  late: number;
  /** SAs that are not valid yet. */
  larval: number;
  /** SAs and policies that are not mirrored: too many, or too large. */
  refused: number;
  /** Dumps after the first one, each for what may have been missed. */
  resyncs: number;
  /** SAs that cannot be made to give events. */
  unwatched: number;
}

/** A policy of this box. */
class MirroredPolicy {
  readonly key: string;
  readonly body = new KeptBody();
  dump = 0;
  sent = false;

  constructor(key: string) {
    this.key = key;
  }
}

/** The mirror. */
export class SaMirror {
  readonly counts: MirrorCounts = {
    events: 0,
    coalesced: 0,
    unknown: 0,
    late: 0,
    larval: 0,
    refused: 0,
    resyncs: 0,
    unwatched: 0,
  };
  readonly #directions: Directions;
  readonly #orders: SaOrders<MirroredSa>;
  readonly #sas = new Map<string, MirroredSa>();
  readonly #policies = new Map<string, MirroredPolicy>();
  /** What the last takeover took. */
  readonly #taken = new Map<string, StoredSa>();
  /** What is to be sent. */
  readonly #changed = new Set<MirroredSa>();
  readonly #moved = new Set<MirroredSa>();
  readonly #gone = new Map<string, XfrmSaId>();
  readonly #policiesChanged = new Set<MirroredPolicy>();
  readonly #policiesGone = new Set<string>();
  /** Dumps so far; `#dumping` while one is read, with what went away meanwhile. */
  #dumps = 0;
  #dumping = false;
  readonly #goneWhileDumping = new Set<string>();
  /** States that the present flush still has to take. */
  #flushLeft = 0;
  #flushAtMs = 0;
  #snapshotSas: Iterator<MirroredSa> | null = null;
  #snapshotPolicies: Iterator<MirroredPolicy> | null = null;
  /** What is written now leaves with this ticket. */
  #ticket = 1;
  #written = false;
  #acked = 0;
  readonly #onTheWay: { ticket: number; seq: number }[] = [];
  readonly #saHead = new SaHead();
  readonly #stateHead = new SaStateHead();

  /** With the thresholds that SAs shall have, and the addresses that both boxes have in turn. */
  constructor(thresholds: Thresholds, localAddresses: readonly string[]) {
    this.#orders = new SaOrders(thresholds);
    this.#directions = new Directions(localAddresses);
  }

  /** SAs that are mirrored. */
  get size(): number {
    return this.#sas.size;
  }

  /** Policies that are mirrored. */
  get policyCount(): number {
    return this.#policies.size;
  }

  /** SAs and policies that wait to be sent. */
  get dirty(): number {
    return this.#changed.size + this.#moved.size + this.#gone.size + this.#policiesChanged.size +
      this.#policiesGone.size;
  }

  /** Their keys and ids: what a box that is no longer active deletes. */
  ids(): Iterable<{ readonly key: string; readonly id: XfrmSaId }> {
    return this.#sas.values();
  }

  /** Other thresholds for all SAs. */
  setDesired(thresholds: Thresholds): void {
    this.#orders.setWanted(thresholds, this.#sas.values());
    for (const sa of this.#sas.values()) this.#changed.add(sa); // the standby jumps by them
  }

  /**
   * This box took these over: they go as fast as the other one had measured, until that is measured
   * here.
   */
  handleTakeover(planned: readonly PlannedSa[]): void {
    this.#taken.clear();
    for (const { key, sa } of planned) {
      this.#taken.set(key, sa);
      this.#sas.get(key)?.takePeaks(sa.peakOut, sa.peakIn);
    }
  }

  /** A dump begins: of all SAs first, then of all policies. */
  beginDump(): void {
    if (this.#dumps > 0) this.counts.resyncs++;
    this.#dumps++;
    this.#dumping = true;
    this.#goneWhileDumping.clear();
  }

  /**
   * A dump ended: what neither it nor an event since its beginning had is gone. What moved meanwhile
   * leaves at once.
   */
  endDump(nowMs: number): void {
    this.#dumping = false;
    this.#goneWhileDumping.clear();
    for (const sa of this.#sas.values()) if (sa.dump !== this.#dumps) this.#remove(sa);
    for (const policy of this.#policies.values()) {
      if (policy.dump !== this.#dumps) this.#removePolicy(policy);
    }
    this.#flushAtMs = Math.min(this.#flushAtMs, nowMs);
  }

  /** An entry of a dump. One that an event said to be gone since the dump began is old. */
  handleDumped(sa: XfrmSa, from: Region, bodyAt: number, bodyEnd: number, nowMs: number): void {
    if (this.#goneWhileDumping.has(sa.id.key())) this.counts.late++;
    else this.handleSa(sa, from, bodyAt, bodyEnd, nowMs);
  }

  /** An SA was made or updated; its body is within `from`. */
  handleSa(sa: XfrmSa, from: Region, bodyAt: number, bodyEnd: number, nowMs: number): void {
    if (isLarval(sa)) {
      this.counts.larval++;
      return;
    }
    const key = sa.id.key();
    let known = this.#sas.get(key);
    // Made anew with the same SPI, and nobody said that the old one was gone.
    if (known !== undefined && known.addTime !== sa.addTime) {
      this.#remove(known);
      known = undefined;
    }
    if (bodyEnd - bodyAt + LIFETIME_BYTES > SA_BODY_BYTES_MAX) {
      if (known !== undefined) known.dump = this.#dumps;
      this.counts.refused++;
      return;
    }
    if (known === undefined) this.#add(sa, key, from, bodyAt, bodyEnd, nowMs);
    else this.#update(known, sa, from, bodyAt, bodyEnd, nowMs);
  }

  /** An SA is gone. */
  handleGone(id: XfrmSaId): void {
    const key = id.key();
    if (this.#dumping) this.#goneWhileDumping.add(key);
    const sa = this.#sas.get(key);
    if (sa !== undefined) this.#remove(sa);
  }

  /** All SAs of a protocol are gone; 255 is all. */
  handleFlush(proto: number): void {
    for (const sa of this.#sas.values()) {
      if (proto === 255 || sa.id.proto === proto) this.handleGone(sa.id);
    }
  }

  /** Where an SA is: an event or an answer, whose body is within `from`. */
  handleAevent(
    event: XfrmAevent,
    from: Region,
    bodyAt: number,
    bodyEnd: number,
    nowMs: number,
  ): void {
    this.counts.events++;
    const sa = this.#sas.get(event.id.key());
    if (sa === undefined) {
      this.counts.unknown++;
      return;
    }
    const { replayThreshold, timerThreshold, flags } = event;
    if (replayThreshold >= 0 && timerThreshold >= 0) {
      this.#orders.handleThresholds(sa, replayThreshold, timerThreshold);
    }
    if ((flags & (AeFlag.Cr | AeFlag.Ce)) !== 0) this.#orders.handleEvent(sa);
    if (bodyEnd - bodyAt > SA_BODY_BYTES_MAX) {
      this.counts.refused++;
      return;
    }
    const total = sa.total;
    const bytes = sa.bytes;
    if (!sa.takeAevent(event, nowMs)) {
      this.counts.late++;
      return;
    }
    if (sa.total === total && sa.bytes === bytes) return;
    sa.state.set(from, bodyAt, bodyEnd);
    sa.lag.handleKnown(sa.total, nowMs);
    if (this.#moved.has(sa) || this.#changed.has(sa)) this.counts.coalesced++;
    this.#moved.add(sa);
  }

  /** A policy was made or updated. Those of single sockets belong to programs of this box. */
  handlePolicy(policy: XfrmPolicy, from: Region, bodyAt: number, bodyEnd: number): void {
    if (policy.direction > PolicyDirection.Forward) return;
    const key = policyKey(policy);
    let known = this.#policies.get(key);
    if (known === undefined) {
      const full = this.#policies.size >= POLICIES_MAX || key.length > POLICY_KEY_BYTES_MAX;
      if (full || bodyEnd - bodyAt > POLICY_BODY_BYTES_MAX) {
        this.counts.refused++;
        return;
      }
      known = new MirroredPolicy(key);
      this.#policies.set(key, known);
    } else if (bodyEnd - bodyAt > POLICY_BODY_BYTES_MAX) {
      this.counts.refused++;
      known.dump = this.#dumps;
      return;
    }
    known.dump = this.#dumps;
    known.body.set(from, bodyAt, bodyEnd);
    this.#directions.setPolicy(key, policy);
    this.#policiesChanged.add(known);
  }

  /** A policy is gone. */
  handlePolicyGone(policy: XfrmPolicy): void {
    const known = this.#policies.get(policyKey(policy));
    if (known !== undefined) this.#removePolicy(known);
  }

  /** All policies of a type are gone. */
  handlePolicyFlush(): void {
    for (const policy of this.#policies.values()) this.#removePolicy(policy);
  }

  /** The next order for the kernel, or null. */
  pollThreshold(nowMs: number): ThresholdOrder | null {
    return this.#orders.poll(nowMs);
  }

  /** The kernel refused an order. */
  handleOrderFailed(id: XfrmSaId, nowMs: number): void {
    const sa = this.#sas.get(id.key());
    if (sa === undefined || !this.#orders.handleFailed(sa, nowMs)) return;
    this.counts.unwatched++;
    this.#changed.add(sa); // the standby jumps by what it has
  }

  /** The next SA that gives no events and is to be asked by GETAE, or null. */
  pollStale(nowMs: number): XfrmSaId | null {
    for (let sa = this.#orders.pollStale(nowMs); sa !== null;) {
      // What an outbound SA sends is told, window or none.
      if (this.#orders.isPolled(sa) || this.#directions.sure(sa) !== "out") return sa.id;
      sa = this.#orders.pollStale(nowMs);
    }
    return null;
  }

  /** When `pollThreshold` or `pollStale` have something; Infinity is never. */
  pollOrderDeadline(): number {
    return this.#orders.pollDeadline();
  }

  /**
   * Writes what has changed, and in a flush, which begins `flushMs` after the one before at the
   * earliest, where SAs are. Returns how many records it wrote: call it until that is 0, and send each
   * post.
   */
  writePost(writer: PostWriter, nowMs: number, flushMs: number): number {
    const before = writer.count;
    const bound = writer.size + POST_BYTES;
    this.#writeGone(writer, bound);
    for (const policy of this.#policiesChanged) {
      if (writer.size >= bound) break;
      this.#writePolicy(writer, policy);
    }
    for (const sa of this.#changed) {
      if (writer.size >= bound) break;
      this.#writeSa(writer, sa, nowMs);
    }
    if (this.#flushLeft === 0 && this.#moved.size > 0 && nowMs >= this.#flushAtMs) {
      this.#flushLeft = this.#moved.size; // what moves again meanwhile is for the next flush
      this.#flushAtMs = nowMs + flushMs;
    }
    let states = 0;
    for (const sa of this.#moved) {
      if (this.#flushLeft === 0 || states === STATES_PER_POST || writer.size >= bound) break;
      states++;
      this.#unmove(sa);
      this.#writeState(writer, sa, nowMs);
    }
    if (this.#moved.size === 0) this.#flushLeft = 0;
    return writer.count - before;
  }

  /** When `writePost` has something to write; Infinity is never. */
  pollDeadline(): number {
    if (this.dirty > this.#moved.size || this.#flushLeft > 0) return 0;
    return this.#moved.size > 0 ? this.#flushAtMs : Infinity;
  }

  /** Everything is to be written for a standby that knows nothing; posts on the way are lost. */
  beginSnapshot(): void {
    this.#gone.clear();
    this.#policiesGone.clear();
    this.#changed.clear();
    this.#policiesChanged.clear();
    this.#moved.clear();
    this.#flushLeft = 0;
    this.#onTheWay.length = 0;
    this.#written = false;
    for (const sa of this.#sas.values()) {
      sa.sent = false;
      sa.lag.handleLost(this.#acked);
    }
    this.#acked = this.#ticket++;
    for (const policy of this.#policies.values()) policy.sent = false;
    this.#snapshotSas = this.#sas.values();
    this.#snapshotPolicies = this.#policies.values();
  }

  /** Writes the next part of the snapshot; returns how many records, 0 after the last one. */
  writeSnapshot(writer: PostWriter, nowMs: number): number {
    const before = writer.count;
    const bound = writer.size + POST_BYTES;
    while (this.#snapshotPolicies !== null && writer.size < bound) {
      const { done, value } = this.#snapshotPolicies.next();
      if (done) this.#snapshotPolicies = null;
      else if (!value.sent) this.#writePolicy(writer, value);
    }
    while (this.#snapshotSas !== null && writer.size < bound) {
      const { done, value } = this.#snapshotSas.next();
      if (done) this.#snapshotSas = null;
      else if (!value.sent) this.#writeSa(writer, value, nowMs);
    }
    return writer.count - before;
  }

  /** What was written so far left as the session's message `seq`. */
  handleSentUpTo(seq: number): void {
    if (!this.#written) return;
    this.#written = false;
    const last = this.#onTheWay.at(-1);
    if (last !== undefined && this.#onTheWay.length >= TICKETS_MAX) {
      last.ticket = this.#ticket;
      last.seq = seq;
    } else {
      this.#onTheWay.push({ ticket: this.#ticket, seq });
    }
    this.#ticket++;
  }

  /** The standby has what left up to the session's message `seq`. */
  handleAcked(seq: number): void {
    let count = 0;
    for (const post of this.#onTheWay) {
      if (post.seq > seq) break;
      this.#acked = post.ticket;
      count++;
    }
    if (count > 0) this.#onTheWay.splice(0, count);
  }

  /** What the kernel has sent with each SA, for whoever must never send it again. */
  *used(): Iterable<{ readonly key: string; readonly addTime: number; readonly oseq: number }> {
    for (const { key, addTime, oseq } of this.#sas.values()) yield { key, addTime, oseq };
  }

  /** Rows of `standby diff`. */
  figures(): SaFigures[] {
    return Array.from(this.#sas.values(), (sa) => {
      const { key, oseq, seq, bytes, packets, addTime } = sa;
      const direction = this.#directions.guess(sa);
      return { key, direction, oseq, seq, bytes, packets, addTime };
    });
  }

  /** Rows of `standby status`, with the jump of a takeover that is decided after `exposedMs`. */
  views(nowMs: number, exposedMs: number): SaView[] {
    return Array.from(this.#sas.values(), (sa) => {
      const { key, oseq, seq, bytes, packets, drops, eventMs } = sa;
      const peakPerSecond = Math.max(sa.peakOut(nowMs), sa.peakIn(nowMs));
      const sinceMs = sa.lag.sinceMs(this.#acked);
      return {
        key,
        direction: this.#directions.guess(sa),
        oseq,
        seq,
        bytes,
        packets,
        lagPackets: sa.lag.packets(this.#acked),
        lagMs: sinceMs === Infinity ? 0 : Math.max(nowMs - sinceMs, 0),
        eventsPerSecond: sa.eventsPerSecond(nowMs),
        packetsPerSecond: sa.packetsPerSecond(nowMs),
        peakPerSecond,
        jump: takeoverJump(this.#orders.of(sa), peakPerSecond, exposedMs),
        lastEventMsAgo: eventMs < 0 ? -1 : Math.max(nowMs - eventMs, 0),
        drops,
        polled: this.#orders.isPolled(sa),
      };
    });
  }

  #add(
    sa: XfrmSa,
    key: string,
    from: Region,
    bodyAt: number,
    bodyEnd: number,
    nowMs: number,
  ): void {
    if (this.#sas.size >= SAS_MAX) {
      this.counts.refused++;
      return;
    }
    const made = new MirroredSa(sa, key, nowMs);
    made.takeSa(sa, nowMs);
    const taken = this.#taken.get(key);
    if (taken?.addTime === sa.addTime) made.takePeaks(taken.peakOut, taken.peakIn);
    made.body.set(from, bodyAt, bodyEnd);
    made.dump = this.#dumps;
    made.lag.handleKnown(made.total, nowMs);
    this.#sas.set(key, made);
    this.#changed.add(made);
    this.#orders.handleNew(made, windowOf(sa) === 0, nowMs);
  }

  #update(
    known: MirroredSa,
    sa: XfrmSa,
    from: Region,
    bodyAt: number,
    bodyEnd: number,
    nowMs: number,
  ): void {
    known.dump = this.#dumps;
    const { total, bytes, body } = known;
    const same = sameSaBody(body.region, 0, body.end, from, bodyAt, bodyEnd);
    const newer = known.takeSa(sa, nowMs);
    if (!newer) this.counts.late++;
    // Older numbers are no loss only while an event's are newer.
    if (!newer && (same || known.state.end === 0)) return;
    if (same && known.total === total && known.bytes === bytes) return;
    body.set(from, bodyAt, bodyEnd);
    if (newer) { // it has what the event has, and more
      known.state.clear();
      this.#unmove(known);
    }
    if (known.total !== total) known.lag.handleKnown(known.total, nowMs);
    this.#changed.add(known);
  }

  #remove(sa: MirroredSa): void {
    this.#sas.delete(sa.key);
    this.#taken.delete(sa.key);
    this.#changed.delete(sa);
    this.#unmove(sa);
    this.#orders.handleGone(sa);
    if (sa.sent) this.#gone.set(sa.key, sa.id);
  }

  #unmove(sa: MirroredSa): void {
    if (this.#moved.delete(sa) && this.#flushLeft > 0) this.#flushLeft--;
  }

  #removePolicy(policy: MirroredPolicy): void {
    this.#policies.delete(policy.key);
    this.#policiesChanged.delete(policy);
    this.#directions.deletePolicy(policy.key);
    if (policy.sent) this.#policiesGone.add(policy.key);
  }

  #writeGone(writer: PostWriter, bound: number): void {
    for (const [key, id] of this.#gone) {
      if (writer.size >= bound) return;
      const at = writer.begin(RecordKind.SaGone, SA_GONE_SIZE);
      writer.end(writeSaGone(writer.region, at, id));
      this.#gone.delete(key);
      this.#written = true;
    }
    for (const key of this.#policiesGone) {
      if (writer.size >= bound) return;
      const at = writer.begin(RecordKind.PolicyGone, key.length);
      writer.end(writePolicyGone(writer.region, at, key));
      this.#policiesGone.delete(key);
      this.#written = true;
    }
  }

  #writePolicy(writer: PostWriter, policy: MirroredPolicy): void {
    const { region, end } = policy.body;
    const at = writer.begin(RecordKind.Policy, end);
    writer.region.bytes.set(region.bytes.subarray(0, end), at);
    writer.end(at + end);
    this.#policiesChanged.delete(policy);
    policy.sent = this.#written = true;
  }

  /** What an SA is, and where it is when that is newer. */
  #writeSa(writer: PostWriter, sa: MirroredSa, nowMs: number): void {
    const { body } = sa;
    const head = this.#saHead;
    const { packets, timerMs } = this.#orders.of(sa);
    head.packets = packets;
    head.timerMs = timerMs;
    head.peakIn = sa.peakIn(nowMs);
    head.peakOut = sa.peakOut(nowMs);
    const at = writer.begin(RecordKind.Sa, SA_HEAD_SIZE + body.end + LIFETIME_BYTES);
    const bodyAt = writeSaHead(writer.region, at, head);
    // Read before, and there is room: it does not fail.
    writer.end(addLifetime(body.region, 0, body.end, writer.region, bodyAt));
    this.#changed.delete(sa);
    sa.sent = true;
    this.#unmove(sa);
    if (sa.state.end > 0) this.#writeState(writer, sa, nowMs);
    else this.#wrote(sa, nowMs);
  }

  #writeState(writer: PostWriter, sa: MirroredSa, nowMs: number): void {
    if (!sa.sent) {
      this.#writeSa(writer, sa, nowMs);
      return;
    }
    const { region, end } = sa.state;
    const head = this.#stateHead;
    head.peakIn = sa.peakIn(nowMs);
    head.peakOut = sa.peakOut(nowMs);
    head.ageMs = sa.eventMs < 0 ? 0 : nowMs - sa.eventMs;
    const at = writer.begin(RecordKind.SaState, SA_STATE_HEAD_SIZE + end);
    const bodyAt = writeSaStateHead(writer.region, at, head);
    writer.region.bytes.set(region.bytes.subarray(0, end), bodyAt);
    writer.end(bodyAt + end);
    this.#wrote(sa, nowMs);
  }

  #wrote(sa: MirroredSa, nowMs: number): void {
    sa.lag.handleWritten(this.#ticket, this.#acked, nowMs);
    this.#written = true;
  }
}
