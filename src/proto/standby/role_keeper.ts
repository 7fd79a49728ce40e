/**
 * The role of a box, and what changes with it: its term, its lease, its fence. Each method is one
 * arrow of the diagram in election.ts, which is to be read first: what decides on it is there, and
 * in handover_desk.ts.
 *
 * @module
 */
import type { BoxRole, PeerWord } from "../../wire/standby/words.ts";
import { HANDOVER_MS, Wish, type Yield } from "./handover.ts";
import { LeaseKeeper } from "./lease_keeper.ts";
import type { ElectionConfig, ElectionCounters, ElectionStored } from "./orders.ts";
import { newCounters, Orders } from "./orders.ts";
import { isUp, PeerView } from "./peer_view.ts";
import { Terms } from "./terms.ts";

/** A takeover that takes longer has failed. */
export const TAKE_MS = 30_000;

/** What a box is, has and knows. */
export class RoleKeeper {
  /** Number of the last post that was sent. */
  sentNumber = 0;
  role: BoxRole = "starting";
  /** Two boxes were active in one term: an operator decides. */
  split = false;
  carrier = true;
  /** It has yielded, or promised not to take the next term: no start by itself. */
  promised = false;
  /** The other box does not follow: the witness is asked for the next term. */
  alone = false;
  heartbeatAtMs: number;
  takeByMs = Infinity;
  demoteByMs = Infinity;
  /** Whom it yields to. */
  yields: Yield | null = null;
  readonly config: ElectionConfig;
  readonly counters: ElectionCounters = newCounters();
  readonly lease: LeaseKeeper;
  readonly orders: Orders;
  readonly peer: PeerView = new PeerView();
  readonly terms: Terms;
  readonly wish: Wish;

  constructor(config: ElectionConfig, stored: ElectionStored, nowMs: number) {
    this.config = config;
    this.heartbeatAtMs = nowMs;
    this.lease = new LeaseKeeper(config);
    this.orders = new Orders(stored.term);
    this.orders.push({ do: "block" });
    this.terms = new Terms(stored, this.orders);
    this.wish = new Wish(config.instance, this.orders);
  }

  /** The highest term that it knows. */
  get term(): number {
    return this.terms.term;
  }

  /** True in the roles in which it has, gets or gives up what it sends with. */
  get isUp(): boolean {
    return isUp(this.role);
  }

  /** Says something to the other box. */
  tell(word: PeerWord): void {
    if (this.peer.open) this.orders.push({ do: "tellPeer", word });
  }

  /** The term is this box's. */
  grant(term: number, untilMs: number, nowMs: number): void {
    this.counters.takeovers++;
    this.terms.own(term);
    this.split = false;
    this.promised = false;
    this.wish.take();
    this.lease.untilMs = untilMs;
    this.take(nowMs);
  }

  /** Goes on in its term from behind the closed fence. */
  take(nowMs: number): void {
    this.role = "taking";
    this.takeByMs = nowMs + TAKE_MS;
    this.heartbeatAtMs = nowMs;
    this.terms.take();
  }

  /** Everything stands. */
  activate(nowMs: number): void {
    this.role = "active";
    this.takeByMs = Infinity;
    this.terms.use();
    this.heartbeatAtMs = nowMs;
    this.orders.push({ do: "openFence", untilMs: this.lease.untilMs });
    this.wish.done(this.term);
  }

  /** Goes on as what it is, in a term of its own that the other box has no state of. */
  goAlone(term: number): void {
    this.alone = false;
    this.terms.extend(term);
    this.orders.say(`Going on alone in term ${term}: what the other box holds is behind from here`);
  }

  /** It could not take over. */
  failTake(why: string, nowMs: number): void {
    this.orders.push({ do: "block" });
    this.terms.fail();
    this.giveLease(this.term);
    this.lease.holdUntilMs = nowMs + HANDOVER_MS;
    this.orders.say(`Cannot take over in term ${this.term}: ${why}`);
    this.wish.refuse(why);
    this.stand();
  }

  /** Stops sending and keeps what it sent with, as nobody has gone on with it. */
  fence(why: string): void {
    if (this.yields !== null) this.refuseAsker("its lease has run out");
    this.#down("fenced");
    this.orders.push({ do: "block" });
    this.orders.say(`Stopped sending: ${why}`);
    this.wish.refuse(why);
  }

  /** Becomes standby. */
  stand(): void {
    this.#down("standby");
    this.orders.push({ do: "becomeStandby" });
  }

  /** Ends the lease early. */
  giveLease(term: number): void {
    if (this.config.mode !== "auto") return;
    this.orders.push({ do: "tellWitness", word: this.lease.give(term) });
  }

  /** The box that it yields to gets nothing. */
  refuseAsker(why: string): void {
    const asker = this.yields?.asker;
    if (asker) this.tell({ word: "handoverRefused", term: this.term, ...asker, why });
  }

  #down(role: BoxRole): void {
    this.role = role;
    this.alone = false;
    this.lease.untilMs = -Infinity;
    this.takeByMs = Infinity;
    this.demoteByMs = Infinity;
    this.yields = null;
  }
}
