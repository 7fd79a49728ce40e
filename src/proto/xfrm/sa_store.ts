/**
 * The standby box's side of the mirror: records of SAs and policies go in
 * (wire/standby/sa_record.ts), and at a takeover comes out what to write to the kernel
 * (takeover_plan.ts). A record is taken whole or not at all, and numbers never fall. A snapshot is
 * merged into what is held; at its end, what it did not have is gone, so a takeover in the middle of
 * one still has everything that is known.
 *
 * The highest number that was ever sent with a key outlives snapshots and changes of role: kept by the
 * SA's id and the time it was made, which together mean one key (a kernel makes no second SA of an
 * id in the same second but after a delete; should that happen, the jump is only larger than needed).
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { XfrmSaId } from "../../wire/netlink/xfrm.ts";
import { readAeventBody, XfrmAevent } from "../../wire/netlink/xfrm_aevent.ts";
import { policyKey, readPolicyBody, XfrmPolicy } from "../../wire/netlink/xfrm_policy.ts";
import { readSaBody, XfrmSa } from "../../wire/netlink/xfrm_sa.ts";
import { RecordKind } from "../../wire/standby/post.ts";
import {
  checkPolicyRecord,
  POLICY_KEY_BYTES_MAX,
  readPolicyGone,
  readSaGone,
  readSaHead,
  readSaStateHead,
  SaHead,
  SaStateHead,
} from "../../wire/standby/sa_record.ts";
import { isLarval } from "./mirrored_sa.ts";
import { KeptBody } from "./sa_body.ts";
import { Directions } from "./sa_direction.ts";
import { POLICIES_MAX, type SaFigures, SAS_MAX, type SaView } from "./sa_table.ts";
import { StoredSa } from "./stored_sa.ts";
import { takeoverJump } from "./takeover_jump.ts";
import {
  type InboundMode,
  type PlannedSa,
  planSa,
  presentSa,
  type RefusedSa,
} from "./takeover_plan.ts";

/** Keys whose highest number is remembered, held or not. */
const USED_MAX: number = 4 * SAS_MAX;

/** What happened since the store was made. */
export interface StoreCounts {
  /** Records that were taken. */
  records: number;
  /** Records that lowered a number, which was not lowered. */
  rewound: number;
  /** States of SAs that are not held. */
  unknown: number;
  /** SAs and policies above the limit. */
  refused: number;
  /** Snapshots that ended. */
  snapshots: number;
}

/** A policy as it is held; its body is from 0 to `body.end`. */
export interface StoredPolicy {
  readonly key: string;
  readonly body: KeptBody;
  /** A PolicyDirection. */
  readonly direction: number;
  /** A PolicyAction. */
  readonly action: number;
}

/** How a takeover is to be done. */
export interface TakeoverOptions {
  readonly inbound: InboundMode;
  /** Since the active box was last heard, by record or heartbeat, with half a round trip added. */
  readonly detectedAgeMs: number;
}

/** What a takeover writes. */
export interface TakeoverPlan {
  readonly sas: readonly PlannedSa[];
  readonly refused: readonly RefusedSa[];
  /** False: no snapshot ever ended, so there may be SAs that are not held. */
  readonly complete: boolean;
}

/** What a standby that keeps its kernel up to date is to do next. */
export type StoreChange =
  | { readonly kind: "sa" | "state"; readonly sa: PlannedSa }
  | { readonly kind: "saGone"; readonly id: XfrmSaId }
  | { readonly kind: "policy"; readonly policy: StoredPolicy }
  | { readonly kind: "policyGone"; readonly policy: StoredPolicy };

interface HeldPolicy extends StoredPolicy {
  snapshot: number;
}

/** The store. */
export class SaStore {
  readonly counts: StoreCounts = { records: 0, rewound: 0, unknown: 0, refused: 0, snapshots: 0 };
  readonly #directions: Directions;
  readonly #install: boolean;
  readonly #sas = new Map<string, StoredSa>();
  readonly #policies = new Map<string, HeldPolicy>();
  /** The highest number sent by key and time of addition, the longest untouched first. */
  readonly #used = new Map<string, number>();
  /** Snapshots so far. */
  #snapshot = 0;
  #inSnapshot = false;
  #complete = false;
  #recordMs = -1;
  /** For a kernel that is kept up to date; the value tells that the SA itself changed. */
  readonly #changes = new Map<StoredSa, boolean>();
  readonly #gone = new Map<string, XfrmSaId>();
  readonly #policyChanges = new Set<HeldPolicy>();
  readonly #policiesGone = new Map<string, HeldPolicy>();
  readonly #saHead = new SaHead();
  readonly #stateHead = new SaStateHead();
  readonly #sa = new XfrmSa();
  readonly #event = new XfrmAevent();
  readonly #policy = new XfrmPolicy();
  readonly #id = new XfrmSaId();

  /** `hold` keeps all in memory, `install` also tells what this kernel shall have now. */
  constructor(apply: "hold" | "install", localAddresses: readonly string[]) {
    this.#install = apply === "install";
    this.#directions = new Directions(localAddresses);
  }

  /** SAs held. */
  get size(): number {
    return this.#sas.size;
  }

  /** True when a snapshot has ended: nothing that the active box had is missing. */
  get complete(): boolean {
    return this.#complete;
  }

  /** When the last record came; -1 is never. */
  get recordMs(): number {
    return this.#recordMs;
  }

  /** Policies held, in the order in which they came. */
  policies(): Iterable<StoredPolicy> {
    return this.#policies.values();
  }

  /** Keys and ids of all SAs. */
  ids(): Iterable<{ readonly key: string; readonly id: XfrmSaId }> {
    return this.#sas.values();
  }

  /** Whether a record could be taken; changes nothing. 0, or a negated {@linkcode Fault}. */
  check(kind: number, from: Region, at: number, end: number): number {
    switch (kind) {
      case RecordKind.SnapshotBegin:
      case RecordKind.SnapshotEnd:
        return at === end ? 0 : fail(Fault.Field, "snapshot mark length", at, end - at, "0");
      case RecordKind.Sa:
        return this.#readSa(from, at, end);
      case RecordKind.SaState:
        return this.#readState(from, at, end);
      case RecordKind.SaGone: {
        const read = readSaGone(from, at, end, this.#id);
        return read < 0 ? read : 0;
      }
      case RecordKind.Policy:
        return this.#readPolicy(from, at, end);
      case RecordKind.PolicyGone:
        return readPolicyGone(from, at, end) === null ? -Fault.Field : 0;
    }
    return fail(Fault.Field, "SYNC record kind", at, kind, "one of SAs and policies");
  }

  /** Takes a record; 0, or a negated {@linkcode Fault} when it changed nothing. */
  apply(kind: number, from: Region, at: number, end: number, nowMs: number): number {
    const checked = this.check(kind, from, at, end);
    if (checked < 0) return checked;
    const applied = this.#apply(kind, from, at, end, nowMs);
    if (applied < 0) return applied;
    this.counts.records++;
    this.#recordMs = nowMs;
    return 0;
  }

  /** The session was lost within a snapshot, which will begin anew. */
  handleLost(): void {
    this.#inSnapshot = false;
  }

  /** What is held belongs to a past in which this box was active: only numbers used are kept. */
  clear(): void {
    this.#inSnapshot = this.#complete = false;
    this.#sas.clear();
    for (const key of this.#policies.keys()) this.#directions.deletePolicy(key);
    this.#policies.clear();
    this.#changes.clear();
    this.#gone.clear();
    this.#policyChanges.clear();
    this.#policiesGone.clear();
  }

  /** This box has sent that number with an SA: told when it stops to be active. */
  handleUsed({ key, addTime, oseq }: { key: string; addTime: number; oseq: number }): void {
    this.#use(key, addTime, oseq);
  }

  /**
   * What a takeover now writes for each SA. Numbers that it plans count as used from here on: a second
   * plan begins where this one ended.
   */
  plan(options: TakeoverOptions): TakeoverPlan {
    const { inbound, detectedAgeMs } = options;
    // An SA that has only begun to move may be as fast as the fastest one was.
    let peakOut = 0;
    let peakIn = 0;
    for (const sa of this.#sas.values()) {
      peakOut = Math.max(peakOut, sa.peakOut);
      peakIn = Math.max(peakIn, sa.peakIn);
    }
    const sas: PlannedSa[] = [];
    const refused: RefusedSa[] = [];
    for (const sa of this.#sas.values()) {
      const use = this.#directions.sure(sa);
      const used = this.#used.get(usedKey(sa.key, sa.addTime)) ?? 0;
      const planned = planSa(sa, use, used, inbound, detectedAgeMs, peakOut, peakIn);
      if ("reason" in planned) {
        refused.push(planned);
        continue;
      }
      sas.push(planned);
      if (planned.jump > 0) this.#use(sa.key, sa.addTime, planned.oseq);
    }
    return { sas, refused, complete: this.complete };
  }

  /** With `install`: what this kernel is to be told next, or null. What is gone comes first. */
  pollChange(): StoreChange | null {
    for (const [key, id] of this.#gone) {
      this.#gone.delete(key);
      return { kind: "saGone", id };
    }
    for (const [key, policy] of this.#policiesGone) {
      this.#policiesGone.delete(key);
      return { kind: "policyGone", policy };
    }
    for (const [sa, whole] of this.#changes) {
      this.#changes.delete(sa);
      const planned = presentSa(sa, this.#directions.sure(sa));
      return { kind: whole ? "sa" : "state", sa: planned };
    }
    for (const policy of this.#policyChanges) {
      this.#policyChanges.delete(policy);
      return { kind: "policy", policy };
    }
    return null;
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
      const peakPerSecond = Math.max(sa.peakOut, sa.peakIn);
      return {
        key,
        direction: this.#directions.guess(sa),
        oseq,
        seq,
        bytes,
        packets,
        lagPackets: 0, // what the active box knows better is not known here
        lagMs: 0,
        eventsPerSecond: sa.eventsPerSecond(nowMs),
        packetsPerSecond: sa.packetsPerSecond(nowMs),
        peakPerSecond,
        jump: takeoverJump(sa.thresholds, peakPerSecond, exposedMs),
        lastEventMsAgo: eventMs === -1 ? -1 : Math.max(nowMs - eventMs, 0),
        drops,
        polled: false,
      };
    });
  }

  #apply(kind: number, from: Region, at: number, end: number, nowMs: number): number {
    switch (kind) {
      case RecordKind.SnapshotBegin:
        this.#snapshot++;
        this.#inSnapshot = true;
        return 0;
      case RecordKind.SnapshotEnd:
        return this.#endSnapshot(at);
      case RecordKind.Sa:
        return this.#takeSa(from, end, nowMs);
      case RecordKind.SaState:
        return this.#takeState(from, end, nowMs);
      case RecordKind.SaGone: {
        const sa = this.#sas.get(this.#id.key());
        if (sa !== undefined) this.#remove(sa);
        return 0;
      }
      case RecordKind.Policy:
        return this.#takePolicy(from, at, end);
    }
    const policy = this.#policies.get(readPolicyGone(from, at, end)!);
    if (policy !== undefined) this.#removePolicy(policy);
    return 0;
  }

  #endSnapshot(at: number): number {
    if (!this.#inSnapshot) return fail(Fault.State, "SnapshotEnd", at, 0, "after its beginning");
    this.#inSnapshot = false;
    this.#complete = true;
    this.counts.snapshots++;
    for (const sa of this.#sas.values()) if (sa.snapshot !== this.#snapshot) this.#remove(sa);
    for (const policy of this.#policies.values()) {
      if (policy.snapshot !== this.#snapshot) this.#removePolicy(policy);
    }
    return 0;
  }

  /** Where the netlink body began in the record that was read last. */
  #bodyAt = 0;

  #readSa(from: Region, at: number, end: number): number {
    const sa = this.#sa;
    const bodyAt = readSaHead(from, at, end, this.#saHead);
    if (bodyAt < 0) return bodyAt;
    const read = readSaBody(from, bodyAt, end, sa);
    if (read < 0) return read;
    if (isLarval(sa)) return fail(Fault.Field, "Sa record algorithms", bodyAt, 0, "1 or more");
    this.#bodyAt = bodyAt;
    return 0;
  }

  #readState(from: Region, at: number, end: number): number {
    const event = this.#event;
    const bodyAt = readSaStateHead(from, at, end, this.#stateHead);
    if (bodyAt < 0) return bodyAt;
    const read = readAeventBody(from, bodyAt, end, event);
    if (read < 0) return read;
    this.#bodyAt = bodyAt;
    return 0;
  }

  #readPolicy(from: Region, at: number, end: number): number {
    const checked = checkPolicyRecord(at, end);
    if (checked < 0) return checked;
    const read = readPolicyBody(from, at, end, this.#policy);
    if (read < 0) return read;
    const { length } = policyKey(this.#policy);
    if (length <= POLICY_KEY_BYTES_MAX) return 0;
    return fail(Fault.Large, "Policy key", at, length, `${POLICY_KEY_BYTES_MAX} at most`);
  }

  /** Takes the Sa record that was read. */
  #takeSa(from: Region, end: number, nowMs: number): number {
    const sa = this.#sa;
    const { oseq, seq, kind, words } = sa.replay;
    const key = sa.id.key();
    let held = this.#sas.get(key);
    // Another key, or another kind of numbers: a new SA.
    const other = held !== undefined &&
      (held.addTime !== sa.addTime || held.kind !== kind || held.words !== words);
    if (other) {
      this.#remove(held!);
      held = undefined;
    }
    if (held === undefined) {
      // Within a snapshot there are those that it will replace, too.
      const most = this.#inSnapshot ? 2 * SAS_MAX : SAS_MAX;
      if (this.#sas.size >= most) {
        this.counts.refused++;
        return fail(Fault.Full, "SAs", -1, this.#sas.size, `below ${most}`);
      }
      held = new StoredSa(sa, key, nowMs);
      this.#sas.set(key, held);
    } else if (held.isNewer(oseq, seq)) {
      held.state.clear(); // the body has what it has, and more
    } else {
      this.counts.rewound++;
      // Its numbers are too old to start from, and the only ones held: they stay as they are.
      if (held.state.end === 0) return this.#touch(held);
    }
    held.body.set(from, this.#bodyAt, end);
    held.takeHead(this.#saHead, sa);
    held.take(sa, nowMs);
    this.#use(key, held.addTime, held.oseq);
    this.#change(held, true);
    return this.#touch(held);
  }

  /** Takes the SaState record that was read. */
  #takeState(from: Region, end: number, nowMs: number): number {
    const event = this.#event;
    const held = this.#sas.get(event.id.key());
    if (held === undefined) {
      this.counts.unknown++;
      return 0;
    }
    const { oseq, seq, kind, words } = event.replay;
    if (held.kind !== kind || held.words !== words) {
      return fail(Fault.Field, "SaState replay kind", this.#bodyAt, kind, "that of its SA");
    }
    if (held.isNewer(oseq, seq)) {
      held.state.set(from, this.#bodyAt, end);
      held.takeStateHead(this.#stateHead, nowMs);
    } else {
      this.counts.rewound++;
      // A window that ends lower would let packets in again; a higher one is the newer.
      if (seq > held.seq) held.state.set(from, this.#bodyAt, end);
    }
    held.take(event, nowMs);
    this.#use(held.key, held.addTime, held.oseq);
    this.#change(held, false);
    return 0;
  }

  #takePolicy(from: Region, at: number, end: number): number {
    const policy = this.#policy;
    const key = policyKey(policy);
    const known = this.#policies.get(key);
    const most = this.#inSnapshot ? 2 * POLICIES_MAX : POLICIES_MAX;
    if (known === undefined && this.#policies.size >= most) {
      this.counts.refused++;
      return fail(Fault.Full, "policies", -1, this.#policies.size, `below ${most}`);
    }
    const body = new KeptBody();
    body.set(from, at, end);
    const { direction, action } = policy;
    const held = { key, body, direction, action, snapshot: this.#snapshot };
    this.#policies.set(key, held);
    this.#directions.setPolicy(key, policy);
    if (known !== undefined) this.#policyChanges.delete(known);
    if (this.#install) this.#policyChanges.add(held);
    return 0;
  }

  #touch(held: StoredSa): number {
    held.snapshot = this.#snapshot;
    return 0;
  }

  #remove(sa: StoredSa): void {
    this.#sas.delete(sa.key);
    this.#changes.delete(sa);
    if (this.#install) this.#gone.set(sa.key, sa.id);
  }

  #removePolicy(policy: HeldPolicy): void {
    this.#policies.delete(policy.key);
    this.#directions.deletePolicy(policy.key);
    this.#policyChanges.delete(policy);
    if (this.#install) this.#policiesGone.set(policy.key, policy);
  }

  #change(sa: StoredSa, whole: boolean): void {
    if (this.#install) this.#changes.set(sa, whole || this.#changes.get(sa) === true);
  }

  /** Remembers a number as sent; when there are too many, the longest untouched goes. */
  #use(key: string, addTime: number, oseq: number): void {
    const name = usedKey(key, addTime);
    const before = this.#used.get(name) ?? 0;
    if (oseq === 0 && before === 0) return;
    this.#used.delete(name);
    this.#used.set(name, Math.max(before, oseq));
    if (this.#used.size <= USED_MAX) return;
    for (const oldest of this.#used.keys()) {
      this.#used.delete(oldest);
      return;
    }
  }
}

function usedKey(key: string, addTime: number): string {
  return `${key} ${addTime}`;
}
