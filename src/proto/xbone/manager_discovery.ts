/**
 * Phase I of the X-Bone control protocol, "Invite": INVITE in rings of growing TTL, and who answered.
 *
 * @module
 */
import type { AckInvite, Count } from "../../wire/xbone/messages.ts";
import type { Candidate, Order, Placement, Shortage, Timers } from "./machine.ts";
import { discoveryMs, inviteHoldMs, lastRingTicks, levelsBelow, ringMs } from "./manager_timing.ts";
import type { Outbox } from "./manager_outbox.ts";
import { needOf, place } from "./placement.ts";

/** So many boxes are remembered, and so many reasons of those that refused. */
const CANDIDATES_MAX = 4096;
const REFUSALS_MAX = 16;

/** One discovery. */
export class Discovery {
  readonly #outbox: Outbox;
  readonly #timers: Timers;
  readonly #order: Order;
  readonly #path: readonly string[];
  readonly #levels: number;
  readonly #candidates = new Map<string, Candidate>();
  readonly #refusals = new Map<string, string>();
  #ring = 0;
  /** T_INV of this ring that are left, the present one too. */
  #ticks = 0;
  #tickAtMs = Infinity;
  #endAtMs = 0;
  /** INVITEs of this ring that are left, and the next of them. */
  #invites = 0;
  #inviteAtMs = Infinity;

  /** @param node our own name */
  constructor(outbox: Outbox, timers: Timers, order: Order, node: string) {
    this.#outbox = outbox;
    this.#timers = timers;
    this.#order = order;
    this.#path = [...order.path, node];
    this.#levels = levelsBelow(order.need);
  }

  /** Who answered; the same box counts once. */
  get candidates(): readonly Candidate[] {
    return [...this.#candidates.values()];
  }

  /** How many they are. */
  get count(): number {
    return this.#candidates.size;
  }

  /** How far INVITE went. */
  get ttl(): number {
    return this.#timers.rings[this.#ring] ?? 1;
  }

  /** The first ring. */
  start(nowMs: number): void {
    this.#endAtMs = nowMs + discoveryMs(this.#timers, this.#order.need);
    this.#openRing(nowMs);
  }

  /** ACK-INVITE; false when there is no room for another box. */
  handleAnswer(from: string, body: AckInvite): boolean {
    if (!this.#candidates.has(from) && this.#candidates.size >= CANDIDATES_MAX) return false;
    const { type, hostname, ipaddr, port, os, mtu, capabilities, free, guests } = body;
    this.#candidates.set(from, {
      ...{ node: from, host: ipaddr, port },
      ...{ type, hostname, os, mtu, capabilities, free, guests },
    });
    return true;
  }

  /** NACK-INVITE: told when there are too few. */
  handleRefusal(from: string, reason: string): void {
    if (this.#refusals.size < REFUSALS_MAX) this.#refusals.set(from, reason);
  }

  /** Null while it goes on; else who plays what, or what is missing after the last ring. */
  handleDeadline(nowMs: number): Placement | Shortage | null {
    if (nowMs >= this.#tickAtMs) {
      const { need, revisit } = this.#order;
      const found = place(need, this.candidates, revisit);
      const last = --this.#ticks === 0 && this.#ring === this.#timers.rings.length - 1;
      if (!("missing" in found) || last) {
        this.#tickAtMs = Infinity;
        this.#inviteAtMs = Infinity;
        return found;
      }
      if (this.#ticks === 0) {
        this.#ring++;
        this.#openRing(nowMs);
      } else this.#openTick(nowMs);
    } else if (nowMs >= this.#inviteAtMs) this.#invite(nowMs);
    return null;
  }

  /** Infinity when it is over. */
  pollDeadline(): number {
    return Math.min(this.#tickAtMs, this.#inviteAtMs);
  }

  /** What is missing, and what boxes said that refused. */
  reason({ missing }: Shortage): string {
    const refused = [...this.#refusals].map(([node, reason]) => `${node}: ${reason}`);
    const said = refused.length === 0 ? "" : `; refused by ${refused.join(", ")}`;
    const rings = this.#timers.rings.join(", ");
    return `${missing.join("; ")}${said}; INVITE went with TTL ${rings}`;
  }

  #openRing(nowMs: number): void {
    const last = this.#ring === this.#timers.rings.length - 1;
    this.#ticks = last ? lastRingTicks(this.#timers, this.#order.need) : 1;
    this.#openTick(nowMs);
  }

  /** INVITE goes out in each T_INV: the one answer of a node that was slow may have been lost. */
  #openTick(nowMs: number): void {
    this.#tickAtMs = nowMs + ringMs(this.#timers, this.#levels);
    this.#invites = this.#timers.invitesPerRing;
    this.#invite(nowMs);
  }

  #invite(nowMs: number): void {
    const { need, routing, encryption, qos, script } = this.#order;
    const { host, router, subs } = needOf(need);
    const leftMs = Math.max(0, this.#endAtMs - nowMs);
    this.#outbox.multicast({
      ...this.#outbox.common,
      verb: "invite",
      ...{ host: short(host), router: short(router), meta: subs.length, subs },
      ...{ routing, encryption, qos, script },
      ttl: this.ttl,
      replyTo: "",
      path: this.#path,
      holdMs: inviteHoldMs(this.#timers, this.#order, leftMs),
    }, this.ttl);
    this.#invites--;
    const apartMs = ringMs(this.#timers, this.#levels) / this.#timers.invitesPerRing;
    this.#inviteAtMs = this.#invites > 0 ? nowMs + apartMs : Infinity;
  }
}

/** Without our own pins, which are looked for among the answers: datagrams are to be short. */
function short({ count, os }: Count): Count {
  return { count, os };
}
