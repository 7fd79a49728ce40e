/**
 * The third party of a pair in role `auto`: grants the term as a lease, to one box at a time. What is
 * said must survive a restart, so whoever owns it stores what {@linkcode Witness.handleAsk} gives it
 * before the answer leaves.
 *
 *     free ──ask: term + 1──> held ──ask of the holder: the same term, longer──> held
 *      ^                       │   with next: its own term + 1, which ends the state of the other box
 *      │                       │ another asks: refused, with what is left
 *      │<──── given back ──────┤
 *      │<──── lease over ──────┘   the holder may still renew it, until another has the next term
 *
 * A witness that was restarted does not know how long ago it granted a lease, so it counts the one of
 * the stored holder from its start. A holder is one run of a process: a box that was restarted is
 * another claimant, as is a second box with the same name.
 *
 * @module
 */
import type { LeaseAnswerWord, LeaseAskWord, LeaseGiveWord } from "../../wire/standby/words.ts";
import { LEASE_MS_MAX, LEASE_MS_MIN, TERM_MAX } from "../../wire/standby/words.ts";

/** Pairs of one witness. */
export const GROUPS_MAX = 256;

/** What is stored of a group. */
export interface WitnessGroup {
  readonly group: string;
  /** Empty when the lease was given back. */
  readonly box: string;
  readonly instance: string;
  /** The last one that was granted. */
  readonly term: number;
  /** The longest lease that the holder was granted in it. */
  readonly leaseMs: number;
}

/** An answer, and what has to be on the disk before it leaves. */
export interface WitnessReply {
  readonly answer: LeaseAnswerWord;
  /** null when nothing has changed that must survive. */
  readonly store: WitnessGroup | null;
}

/** A group as it is in memory. */
interface Lease {
  state: WitnessGroup;
  endMs: number;
  /** The last run of a process that was heard as holder, and its last serial. */
  instance: string;
  serial: number;
}

/** Grants leases. */
export class Witness {
  /** What was counted. */
  readonly counters = { granted: 0, renewed: 0, refused: 0, given: 0, stale: 0 };
  readonly #startMs: number;
  readonly #leases = new Map<string, Lease>();

  /** @param stored what was stored, in any order */
  constructor(stored: readonly WitnessGroup[], nowMs: number) {
    this.#startMs = nowMs;
    for (const state of stored) {
      const { group, instance } = state;
      const endMs = state.box === "" ? nowMs : nowMs + state.leaseMs;
      this.#leases.set(group, { state, endMs, instance, serial: -1 });
    }
  }

  /** Every group, and how long its lease still runs. */
  *groups(nowMs: number): Generator<WitnessGroup & { readonly leftMs: number }> {
    for (const lease of this.#leases.values()) {
      yield { ...lease.state, leftMs: leftOf(lease, nowMs) };
    }
  }

  /** Answers a box. The lease counts from `nowMs`, whenever the answer leaves. */
  handleAsk(ask: LeaseAskWord, nowMs: number): WitnessReply {
    const known = this.#leases.get(ask.group);
    const why = this.#whyNot(ask, known, nowMs);
    return why === "" ? this.#grant(ask, known, nowMs) : this.#refuse(ask, known, why, nowMs);
  }

  /** Ends a lease at once; returns what to store, or null when it is not the holder's. */
  handleGive(give: LeaseGiveWord, nowMs: number): WitnessGroup | null {
    const lease = this.#leases.get(give.group);
    const holds = lease !== undefined && lease.state.box === give.box &&
      lease.state.instance === give.instance && lease.state.term === give.term;
    if (!holds || give.serial <= lease.serial) {
      this.counters.stale++;
      return null;
    }
    this.counters.given++;
    lease.serial = give.serial;
    lease.endMs = nowMs;
    lease.state = { ...lease.state, box: "", instance: "" };
    return lease.state;
  }

  #whyNot(ask: LeaseAskWord, known: Lease | undefined, nowMs: number): string {
    const { box, leaseMs, term } = ask;
    if (leaseMs < LEASE_MS_MIN || leaseMs > LEASE_MS_MAX) {
      return `a lease must be ${LEASE_MS_MIN} to ${LEASE_MS_MAX} ms: ${leaseMs} were asked for`;
    }
    if (known === undefined) {
      if (this.#leases.size >= GROUPS_MAX) return `this witness has ${GROUPS_MAX} groups already`;
      // It may have granted a lease before its state was lost.
      const waitMs = Math.ceil(this.#startMs + leaseMs - nowMs);
      return waitMs > 0 ? "the witness was started less than a lease ago" : "";
    }
    if (ask.instance === known.instance && ask.serial <= known.serial) {
      this.counters.stale++;
      return "a later word of this box was heard before";
    }
    if (isHolder(ask, known) && term <= known.state.term) return "";
    if (Math.max(term, known.state.term) >= TERM_MAX) return "the terms have run out";
    if (isHolder(ask, known)) return "";
    const { state } = known;
    if (leftOf(known, nowMs) > 0) {
      return state.box === box
        ? `another process called ${box} has the lease: two boxes with one name, or the one ` +
          "before a restart"
        : `${state.box} has the lease`;
    }
    if (ask.exact && term < state.term) {
      return `term ${state.term} was granted since, and this box has the state of an earlier one`;
    }
    return "";
  }

  #grant(ask: LeaseAskWord, known: Lease | undefined, nowMs: number): WitnessReply {
    const { group, box, instance, serial } = ask;
    const before = known?.state;
    const holds = known !== undefined && isHolder(ask, known) && ask.term <= known.state.term;
    const raises = holds && ask.next && ask.term === known.state.term && ask.term < TERM_MAX;
    const renews = holds && !raises;
    const term = renews ? known.state.term : Math.max(ask.term, before?.term ?? 0) + 1;
    // A shorter ask does not shorten what was granted before, which the holder may still count on.
    const endMs = Math.max(holds ? known.endMs : 0, nowMs + ask.leaseMs);
    const leaseMs = holds ? Math.max(known.state.leaseMs, ask.leaseMs) : ask.leaseMs;
    const state = { group, box, instance, term, leaseMs };
    const changed = !renews || leaseMs !== known.state.leaseMs;
    this.#leases.set(group, { state, endMs, instance, serial });
    if (renews) this.counters.renewed++;
    else this.counters.granted++;
    return {
      answer: {
        word: "leaseAnswer",
        serial,
        granted: true,
        term,
        leaseMs: ask.leaseMs,
        holder: box,
        leftMs: ask.leaseMs,
        why: "",
      },
      store: changed ? state : null,
    };
  }

  #refuse(ask: LeaseAskWord, known: Lease | undefined, why: string, nowMs: number): WitnessReply {
    this.counters.refused++;
    const waitMs = known === undefined
      ? Math.max(0, this.#startMs + ask.leaseMs - nowMs)
      : leftOf(known, nowMs);
    const lastTerm = known?.state.term ?? 0;
    // A holder hears of a term of its own by a grant only: otherwise it would take it for another's.
    const own = known !== undefined && isHolder(ask, known);
    return {
      answer: {
        word: "leaseAnswer",
        serial: ask.serial,
        granted: false,
        term: own ? Math.min(ask.term, lastTerm) : lastTerm,
        leaseMs: known?.state.leaseMs ?? 0,
        holder: known?.state.box ?? "",
        leftMs: Math.min(waitMs, LEASE_MS_MAX),
        why,
      },
      store: null,
    };
  }
}

function isHolder(ask: LeaseAskWord, { state }: Lease): boolean {
  return state.box === ask.box && state.instance === ask.instance;
}

function leftOf(lease: Lease, nowMs: number): number {
  return lease.state.box === "" ? 0 : Math.max(0, lease.endMs - nowMs);
}
