/**
 * Who of two boxes is active: one box's part. Read first: the fencing rules in the diagram below,
 * and witness.ts. It knows no clock, disk or socket: what happens comes in by `handle*`, what is to
 * be done leaves by {@linkcode Election.pollAction}.
 *
 *     starting ──(role active) the other has promised──┐   ┌── granted, stored, or forced
 *        │ another is active, or the wait is over        v   v
 *     standby ──silent for deadMs, or told to; ready──> [ask] ──────────────────────> taking
 *        ^                                                                             │ taken
 *        ├── done told, lease given ── yielding <── the other asks, demoted ── active <┘
 *        │                                └ it goes away: taking                 v lease runs out,
 *        └── a higher term: block, delete the SAs <── (every role)            fenced  two of a term
 *                                             taking <── the lease again ──────┘
 *
 * - A term is of one box. Whoever hears of a higher one than its own stops at once, and deletes what
 *   it sent with, as another box has gone on with it.
 * - In `auto` a term is a lease of the witness. It is counted from when it was asked for, and ends
 *   here an eighth earlier than there: that is for clocks of different rates.
 * - Without a witness the next term is taken only when the other box has promised not to: it has
 *   yielded, or was not active. A promise cancels what the promising box has asked for itself; so
 *   of two boxes that promise each other, only the one that asked later goes on. `force` does without,
 *   and then two boxes can be active in one term: both stop when they hear of it.
 * - An active box whose standby does not follow may go on alone only in a term of which the standby has
 *   nothing: {@linkcode Election.handleAlone} moves on to such a term, without a change of role.
 * - Ready is who has the state of the last term: it was active in it, or holds a whole snapshot of it.
 *   Nobody else takes over, unless forced, or neither of the two is ready, both say so, and the
 *   other has the state of no later term: then nobody was active in the terms after that.
 *
 * @module
 */
import type {
  BoxRole,
  HandoverAskWord,
  HandoverDoneWord,
  HandoverOfferWord,
  HandoverRefusedWord,
  HeartbeatAnswerWord,
  HeartbeatWord,
  HelloWord,
  LeaseAnswerWord,
} from "../../wire/standby/words.ts";
import { BEHIND, HandoverDesk } from "./handover_desk.ts";
import type { LeaseAsked } from "./lease_keeper.ts";
import type { ElectionAction, ElectionConfig, ElectionCounters, ElectionStored } from "./orders.ts";
import { electionFault, splitText } from "./orders.ts";
import { helloFault, helloOf, isUp, type PeerView } from "./peer_view.ts";
import { RoleKeeper, TAKE_MS } from "./role_keeper.ts";

/** A first start with the role active waits so many times deadMs for the other box. */
const FIRST_START_DEADS = 5;

/** One box. */
export class Election {
  /** Number of the last post applied: the owner sets it. */
  heldNumber = 0;
  readonly #config: ElectionConfig;
  readonly #desk: HandoverDesk;
  readonly #keeper: RoleKeeper;
  #witnessOpen = false;
  /** An active box was heard at this time. */
  #activeHeardMs: number;
  #startUntilMs: number;
  /** Both boxes say since then that they have nothing of this term. */
  #emptySinceMs = Infinity;
  #peerAwayTold = false;

  /**
   * @param stored what was kept by {@linkcode ElectionAction} `store`; zeros when there is nothing
   * @throws {Error} what is wrong with the configuration, and what to do
   */
  constructor(config: ElectionConfig, stored: ElectionStored, nowMs: number) {
    const fault = electionFault(config);
    if (fault !== "") throw new Error(fault);
    this.#config = config;
    this.#keeper = new RoleKeeper(config, stored, nowMs);
    this.#desk = new HandoverDesk(this.#keeper);
    // The box that is not preferred waits twice as long, so that they do not ask at once.
    const patience = config.mode === "active" ? FIRST_START_DEADS : config.preferred ? 1 : 2;
    this.#startUntilMs = nowMs + patience * config.deadMs;
    this.#activeHeardMs = this.#startUntilMs - config.deadMs;
  }

  /** What is known of the other box. */
  get peer(): PeerView {
    return this.#keeper.peer;
  }

  /** What was counted. */
  get counters(): ElectionCounters {
    return this.#keeper.counters;
  }

  /** Number of the last post sent: the owner sets it. */
  get sentNumber(): number {
    return this.#keeper.sentNumber;
  }

  set sentNumber(number: number) {
    this.#keeper.sentNumber = number;
  }

  /** What it is now. */
  get role(): BoxRole {
    return this.#keeper.role;
  }

  /** The highest term that it knows: its own when it is active. */
  get term(): number {
    return this.#keeper.term;
  }

  /**
   * The term that is on the disk, which follows {@linkcode term}. What the other box does not have may
   * be acknowledged while this box is active and has begun no snapshot in this term or a later one.
   */
  get storedTerm(): number {
    return this.#keeper.orders.storedTerm;
  }

  /** True when it has the state of its term. */
  get ready(): boolean {
    return this.#keeper.terms.ready;
  }

  /** True after two boxes were active in one term, until an operator has decided. */
  get split(): boolean {
    return this.#keeper.split;
  }

  /** Until when it may send; -Infinity when it may not, Infinity without a witness. */
  get leaseUntilMs(): number {
    return this.#keeper.lease.untilMs;
  }

  /** Why the witness has refused the last time; empty when it has granted. */
  get refusal(): string {
    return this.#keeper.lease.refusal;
  }

  /** Takes the next action; null when there is none. */
  pollAction(): ElectionAction | null {
    return this.#keeper.orders.poll();
  }

  /** What `store` gave is on the disk. */
  handleStored(): void {
    this.#keeper.orders.handleStored();
  }

  /** A session with the other box is there. */
  handlePeerOpen(nowMs: number): void {
    this.#during(nowMs, () => {
      this.peer.session(true);
      this.#keeper.heartbeatAtMs = nowMs;
    });
  }

  /** It is gone. */
  handlePeerGone(nowMs: number): void {
    this.#during(nowMs, () => {
      this.peer.session(false);
      this.#desk.handlePeerGone(nowMs);
    });
  }

  /** The other box says who it is. */
  handlePeerHello(word: HelloWord, nowMs: number): void {
    this.#during(nowMs, () => {
      const fault = helloFault(this.#config, word);
      if (fault !== "") {
        this.peer.known = false;
        this.#keeper.orders.refuse(fault);
      } else {
        const fresh = this.peer.hello(word, this.#config.instance, nowMs);
        if (fresh || !this.peer.heardUs) this.#sayHello();
        this.#hear(word.term, word.role, nowMs);
      }
    });
  }

  /** The other box lives. */
  handleHeartbeat(word: HeartbeatWord, nowMs: number): void {
    this.#during(nowMs, () => {
      if (this.peer.heartbeat(word, nowMs)) {
        this.#hear(word.term, word.role, nowMs);
        this.#keeper.tell({
          word: "heartbeatAnswer",
          term: this.term,
          role: this.role,
          echoed: word.sentMs,
          holdsNumber: this.heldNumber,
        });
      } else this.counters.strayWords++;
    });
  }

  /** It has heard ours. */
  handleHeartbeatAnswer(word: HeartbeatAnswerWord, nowMs: number): void {
    this.#during(nowMs, () => {
      if (this.peer.answer(word, nowMs)) this.#adopt(word.term, nowMs);
      else this.counters.strayWords++;
    });
  }

  /** A session with the witness is there. */
  handleWitnessOpen(nowMs: number): void {
    this.#during(nowMs, () => {
      this.#witnessOpen = true;
      this.#keeper.lease.askAtMs = nowMs;
    });
  }

  /** It is gone: what is left of the lease is all there is until it is back. */
  handleWitnessGone(nowMs: number): void {
    this.#during(nowMs, () => {
      if (this.#witnessOpen && this.#keeper.isUp) {
        const leftMs = Math.max(0, Math.round(this.leaseUntilMs - nowMs));
        const text = `The witness is gone: sending ends in ${leftMs} ms unless it is back`;
        this.#keeper.orders.say(text);
      }
      this.#witnessOpen = false;
    });
  }

  /** The witness has answered. */
  handleLeaseAnswer(answer: LeaseAnswerWord, nowMs: number): void {
    this.#during(nowMs, () => {
      const asked = this.#keeper.lease.asked(answer);
      if (asked === null) this.counters.strayLeases++;
      else if (answer.granted) this.#granted(answer, asked, nowMs);
      else this.#leaseRefused(answer, nowMs);
    });
  }

  /** The operator, or another program, wants this box to be active. */
  handlePromote(how: { readonly force: boolean }, nowMs: number): void {
    this.#during(nowMs, () => this.#desk.promote(how.force, nowMs));
  }

  /** Another program wants this box not to be active, such as keepalived. */
  handleDemote(nowMs: number): void {
    this.#during(nowMs, () => this.#desk.demote(nowMs));
  }

  /** An interface that is watched has lost its carrier, or all of them have it again. */
  handleCarrier(up: boolean, nowMs: number): void {
    this.#during(nowMs, () => this.#desk.handleCarrier(up, nowMs));
  }

  /**
   * The other box does not follow: what it has must not be gone on with. This box moves on to the next
   * term, as its witness grants or at once without one; {@linkcode storedTerm} tells when. Nothing
   * happens unless this box is active; it may be said again and again while the other box is away and
   * the term is not yet a later one than that of the last snapshot which was begun.
   */
  handleAlone(nowMs: number): void {
    this.#during(nowMs, () => {
      if (this.role !== "active" || this.#keeper.alone || this.storedTerm !== this.term) return;
      if (this.#config.mode !== "auto") return this.#keeper.goAlone(this.term + 1);
      this.#keeper.alone = true;
      this.#keeper.lease.askAtMs = nowMs;
    });
  }

  /** A snapshot of this term is whole, and increments have been applied since. */
  handleSnapshot(term: number, nowMs: number): void {
    this.#during(nowMs, () => {
      if (!this.#keeper.isUp && this.role !== "fenced") this.#keeper.terms.handleSnapshot(term);
    });
  }

  /** What `take` of this term asked for is done: everything stands behind the closed fence. */
  handleTaken(term: number, nowMs: number): void {
    this.#during(nowMs, () => {
      if (!this.#keeper.terms.handleTaken(term) || this.role !== "taking") return;
      this.#keeper.activate(nowMs);
      this.#desk.handleActive(nowMs);
      this.#peerAwayTold = false;
    });
  }

  /** It could not be done. */
  handleTakeFailed(term: number, why: string, nowMs: number): void {
    this.#during(nowMs, () => {
      if (term === this.term && this.role === "taking") this.#keeper.failTake(why, nowMs);
    });
  }

  /** What `block` asked for is done. */
  handleBlocked(nowMs: number): void {
    this.#during(nowMs, () => {
      const { orders } = this.#keeper;
      orders.blocks = Math.max(0, orders.blocks - 1);
      if (orders.blocks === 0 && this.role === "yielding") orders.push({ do: "flush" });
    });
  }

  /** What `flush` asked for is done: the other box has the last post, which has this number. */
  handleFlushed(number: number, nowMs: number): void {
    this.#during(nowMs, () => {
      if (this.role === "yielding") this.#desk.yielded(number, nowMs);
    });
  }

  /** The other box wants to be active. */
  handleHandoverAsk(word: HandoverAskWord, nowMs: number): void {
    this.#during(nowMs, () => {
      this.#adopt(word.term, nowMs);
      if (!this.peer.known) this.counters.strayWords++;
      else this.#desk.handleAsk(word, nowMs);
    });
  }

  /** The other box does not send any more. */
  handleHandoverDone(word: HandoverDoneWord, nowMs: number): void {
    this.#during(nowMs, () => {
      this.#adopt(word.term, nowMs);
      this.#desk.handleDone(word, nowMs);
    });
  }

  /** The other box does not yield. */
  handleHandoverRefused(word: HandoverRefusedWord, nowMs: number): void {
    this.#during(nowMs, () => {
      this.#adopt(word.term, nowMs);
      this.#desk.handleRefused(word, nowMs);
    });
  }

  /** The active box would rather not be it. */
  handleHandoverOffer(word: HandoverOfferWord, nowMs: number): void {
    this.#during(nowMs, () => {
      this.#adopt(word.term, nowMs);
      this.#desk.handleOffer(word, nowMs);
    });
  }

  /** Call at or after {@linkcode pollDeadline}. */
  handleDeadline(nowMs: number): void {
    this.#during(nowMs, () => {});
  }

  /** When to call {@linkcode handleDeadline}; Infinity means never. */
  pollDeadline(): number {
    let next = Math.min(this.#keeper.takeByMs, this.#desk.deadlineMs, this.#nextAskMs());
    if (this.peer.open) next = Math.min(next, this.#keeper.heartbeatAtMs);
    if (this.#keeper.isUp) next = Math.min(next, this.leaseUntilMs);
    if (this.role === "starting") next = Math.min(next, this.#startUntilMs);
    return next;
  }

  /** An input, between what has run out and what is due. */
  #during(nowMs: number, input: () => void): void {
    this.#enter(nowMs);
    input();
    this.#settle(nowMs);
  }

  /** A lease that has run out ends everything before anything else is looked at. */
  #enter(nowMs: number): void {
    if (this.#keeper.isUp && nowMs >= this.leaseUntilMs) {
      this.counters.fenced++;
      this.#keeper.fence("its lease has run out, and the witness has not granted more of it");
    }
  }

  /** Whatever is due. */
  #settle(nowMs: number): void {
    const { lease, orders, takeByMs } = this.#keeper;
    this.#desk.handleDeadline(nowMs);
    if (nowMs >= takeByMs) this.#keeper.failTake(`it took more than ${TAKE_MS} ms`, nowMs);
    this.#watchEmptiness(nowMs);
    if (this.role === "starting") this.#start(nowMs);
    if (this.role === "active") this.#whileActive(nowMs);
    if (nowMs >= this.#nextAskMs()) {
      const { alone, wish } = this.#keeper;
      // Also a forced box that is ready: were it behind, it would send with numbers that were used.
      const exact = this.ready || wish.stage !== "witness" || !wish.force;
      const word = lease.ask(this.term, { exact, next: alone }, nowMs);
      orders.push({ do: "tellWitness", word });
    }
    if (this.peer.open && nowMs >= this.#keeper.heartbeatAtMs) this.#beat(nowMs);
  }

  #start(nowMs: number): void {
    const { mode, deadMs } = this.#config;
    const { lease, orders, promised, wish } = this.#keeper;
    if (mode !== "active") {
      const heard = mode === "standby" && this.peer.known;
      if (heard || nowMs >= this.#startUntilMs) this.#keeper.stand();
      return;
    }
    const over = nowMs >= this.#startUntilMs;
    if (over) this.#startUntilMs = nowMs + deadMs; // and looks again
    if (promised) this.#keeper.stand();
    else if (wish.stage !== "none") return;
    else if (this.peer.lives(nowMs, deadMs)) {
      if (!this.ready) orders.sayWaiting(`its state is older than term ${this.term}`);
      else if (nowMs >= lease.askAtMs) this.#desk.askPeer("start", false, nowMs);
    } else if (over && this.term === 0) this.#keeper.grant(1, Infinity, nowMs);
    else if (over) orders.sayWaiting("the other box cannot be asked whether it is active");
  }

  #whileActive(nowMs: number): void {
    const away = !this.peer.lives(nowMs, this.#config.deadMs);
    if (away !== this.#peerAwayTold) {
      this.#peerAwayTold = away;
      const text = away ? "The standby is away: going on without it" : "The standby is there";
      this.#keeper.orders.say(text);
    }
    this.#desk.whileActive(nowMs);
  }

  #sayHello(): void {
    this.#keeper.tell(helloOf(this.#config, this.peer, this.role, this.term));
  }

  #beat(nowMs: number): void {
    this.#keeper.heartbeatAtMs = nowMs + this.#config.heartbeatMs;
    if (!this.peer.known || !this.peer.heardUs) return this.#sayHello();
    const leftMs = this.leaseUntilMs - nowMs;
    this.#keeper.tell({
      word: "heartbeat",
      term: this.term,
      role: this.role,
      number: this.sentNumber,
      sentMs: nowMs,
      ...(leftMs >= 0 && leftMs < Infinity ? { leaseLeftMs: leftMs } : {}),
      stateTerm: this.#keeper.terms.stateTerm,
      carrier: this.#keeper.carrier,
    });
  }

  /** The other box has this role in this term. */
  #hear(term: number, role: BoxRole, nowMs: number): void {
    this.#adopt(term, nowMs);
    if (term < this.term) {
      this.counters.staleTerms++;
      return;
    }
    if (this.#keeper.isUp) {
      if (isUp(role) || role === "fenced") this.#splitFound();
    } else if (isUp(role)) {
      this.#activeHeardMs = nowMs;
      if (this.role === "starting") this.#keeper.stand();
    }
  }

  #splitFound(): void {
    this.#keeper.split = true;
    this.#keeper.fence(splitText(this.peer.box, this.term));
  }

  /** A higher term is another box's: stop at once. */
  #adopt(term: number, nowMs: number): void {
    if (term <= this.term) return;
    const { lease, orders, terms, wish } = this.#keeper;
    const stops = this.#keeper.isUp || this.role === "fenced";
    if (stops) {
      orders.push({ do: "block" });
      orders.say(`Term ${term} is heard, ours was ${this.term}: standby from here on`);
    }
    terms.raise(term);
    lease.forget();
    this.#activeHeardMs = nowMs;
    this.#keeper.split = false;
    wish.refuse(`term ${term} is of another box`);
    if (stops || this.role === "starting") this.#keeper.stand();
  }

  /** When the witness is to be asked: Infinity when it is not. */
  #nextAskMs(): number {
    if (this.#config.mode !== "auto" || !this.#witnessOpen) return Infinity;
    const { carrier, lease, split, wish } = this.#keeper;
    if (this.#keeper.isUp || wish.stage === "witness") return lease.askAtMs;
    const atMs = Math.max(lease.askAtMs, lease.holdUntilMs);
    if (this.role === "fenced") return split ? Infinity : atMs;
    if (this.role !== "standby" || !carrier) return Infinity;
    const silentMs = Math.max(atMs, this.#activeHeardMs + this.#config.deadMs);
    if (this.ready) return silentMs;
    const patience = this.#config.preferred ? 1 : 3;
    return Math.max(silentMs, this.#emptySinceMs + patience * this.#config.deadMs);
  }

  /** Nothing can be lost when neither box has anything that the other has not. */
  #watchEmptiness(nowMs: number): void {
    const { stateTerm } = this.#keeper.terms;
    const peerHasLess = this.peer.hasLess(this.term, stateTerm, nowMs, this.#config.deadMs);
    if (this.ready || this.role !== "standby" || !peerHasLess) this.#emptySinceMs = Infinity;
    else if (this.#emptySinceMs === Infinity) this.#emptySinceMs = nowMs;
  }

  #granted(answer: LeaseAnswerWord, { next, sentAtMs }: LeaseAsked, nowMs: number): void {
    const { lease, orders } = this.#keeper;
    const untilMs = lease.endOf(answer, sentAtMs);
    if (answer.term < this.term || untilMs <= nowMs) {
      this.counters.strayLeases++;
      return;
    }
    lease.refusal = "";
    const raised = next && answer.term > this.term;
    if (raised && (this.role === "active" || this.role === "yielding")) {
      this.#keeper.goAlone(answer.term);
    }
    if (this.#keeper.isUp && answer.term === this.term) {
      lease.untilMs = Math.max(lease.untilMs, untilMs);
      if (this.role === "active") orders.push({ do: "openFence", untilMs: lease.untilMs });
      if (raised && this.role === "yielding") this.#desk.yieldFailed(BEHIND, nowMs);
      return;
    }
    if (this.#keeper.isUp) this.#keeper.fence(`the witness counts from term ${answer.term} on`);
    const wanted = this.#keeper.wish.stage === "witness" ||
      nowMs - this.#activeHeardMs >= this.#config.deadMs;
    if (this.role === "fenced" || (this.role === "standby" && wanted)) {
      this.#keeper.grant(answer.term, untilMs, nowMs);
    } else this.#keeper.giveLease(answer.term);
  }

  #leaseRefused(answer: LeaseAnswerWord, nowMs: number): void {
    const { lease, orders, wish } = this.#keeper;
    if (answer.why !== lease.refusal && this.#keeper.isUp) {
      orders.say(`The witness does not renew the lease: ${answer.why}`);
    }
    lease.refusal = answer.why;
    this.#adopt(answer.term, nowMs);
    const soon = wish.stage === "witness";
    const rival = this.peer.lives(nowMs, this.#config.deadMs) && !isUp(this.peer.role);
    const later = rival && !soon && !this.#config.preferred;
    if (!this.#keeper.isUp) lease.refused(answer, soon, later, nowMs);
  }
}
