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
 * - Ready is who has the state of the last term: it was active in it, or holds a whole snapshot of it.
 *   Nobody else takes over, unless forced, or neither of the two is ready and both say so.
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
  PeerWord,
} from "../../wire/standby/words.ts";
import { type Asker, HANDOVER_MS, Wish, type Wisher, type Yield, YIELD_MS } from "./handover.ts";
import { LeaseKeeper } from "./lease_keeper.ts";
import type { ElectionAction, ElectionConfig, ElectionCounters, ElectionStored } from "./orders.ts";
import {
  electionFault,
  newCounters,
  Orders,
  splitText,
  UNREACHABLE,
  unreadyText,
} from "./orders.ts";
import { helloFault, helloOf, isUp, PeerView } from "./peer_view.ts";
import { Terms } from "./terms.ts";

/** A takeover that takes longer has failed. */
const TAKE_MS = 30_000;
/** A first start with the role active waits so many times deadMs for the other box. */
const FIRST_START_DEADS = 5;

/** One box. */
export class Election {
  /** Numbers of the last post sent and applied: the owner sets them. */
  sentNumber = 0;
  heldNumber = 0;
  readonly peer: PeerView = new PeerView();
  readonly counters: ElectionCounters = newCounters();
  readonly #config: ElectionConfig;
  readonly #lease: LeaseKeeper;
  readonly #orders: Orders = new Orders();
  #role: BoxRole = "starting";
  readonly #terms: Terms;
  /** Two boxes were active in one term: an operator decides. */
  #split = false;
  #carrier = true;
  #witnessOpen = false;
  /** An active box was heard at this time. */
  #activeHeardMs: number;
  #heartbeatAtMs: number;
  #startUntilMs: number;
  #takeByMs = Infinity;
  /** Both boxes say since then that they have nothing. */
  #emptySinceMs = Infinity;
  readonly #wish: Wish;
  /** Whom it yields to. */
  #yield: Yield | null = null;
  #offerAtMs = Infinity;
  #demoteByMs = Infinity;
  /** It has yielded, or promised not to take the next term: no start by itself. */
  #promised = false;
  #peerAwayTold = false;

  /**
   * @param stored what was kept by {@linkcode ElectionAction} `store`; zeros when there is nothing
   * @throws {Error} what is wrong with the configuration, and what to do
   */
  constructor(config: ElectionConfig, stored: ElectionStored, nowMs: number) {
    const fault = electionFault(config);
    if (fault !== "") throw new Error(fault);
    this.#config = config;
    this.#lease = new LeaseKeeper(config);
    this.#wish = new Wish(config.instance, this.#orders);
    // The box that is not preferred waits twice as long, so that they do not ask at once.
    const patience = config.mode === "active" ? FIRST_START_DEADS : config.preferred ? 1 : 2;
    this.#startUntilMs = nowMs + patience * config.deadMs;
    this.#activeHeardMs = this.#startUntilMs - config.deadMs;
    this.#heartbeatAtMs = nowMs;
    this.#orders.push({ do: "block" });
    this.#terms = new Terms(stored, this.#orders);
  }

  /** What it is now. */
  get role(): BoxRole {
    return this.#role;
  }

  /** The highest term that it knows: its own when it is active. */
  get term(): number {
    return this.#terms.term;
  }

  /** True when it has the state of its term. */
  get ready(): boolean {
    return this.#terms.ready;
  }

  /** True after two boxes were active in one term, until an operator has decided. */
  get split(): boolean {
    return this.#split;
  }

  /** Until when it may send; -Infinity when it may not, Infinity without a witness. */
  get leaseUntilMs(): number {
    return this.#lease.untilMs;
  }

  /** Why the witness has refused the last time; empty when it has granted. */
  get refusal(): string {
    return this.#lease.refusal;
  }

  /** Takes the next action; null when there is none. */
  pollAction(): ElectionAction | null {
    return this.#orders.poll();
  }

  /** What `store` gave is on the disk. */
  handleStored(): void {
    this.#orders.handleStored();
  }

  /** A session with the other box is there. */
  handlePeerOpen(nowMs: number): void {
    this.#during(nowMs, () => {
      this.peer.session(true);
      this.#heartbeatAtMs = nowMs;
    });
  }

  /** It is gone. */
  handlePeerGone(nowMs: number): void {
    this.#during(nowMs, () => {
      this.peer.session(false);
      if (this.#wish.stage === "peer") this.#peerSilent("the session with it is gone", nowMs);
      if (this.#role === "yielding") this.#yieldFailed(nowMs);
    });
  }

  /** The other box says who it is. */
  handlePeerHello(word: HelloWord, nowMs: number): void {
    this.#during(nowMs, () => {
      const fault = helloFault(this.#config, word);
      if (fault !== "") {
        this.peer.known = false;
        this.#orders.refuse(fault);
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
        this.#tell({
          word: "heartbeatAnswer",
          term: this.term,
          role: this.#role,
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
      this.#lease.askAtMs = nowMs;
    });
  }

  /** It is gone: what is left of the lease is all there is until it is back. */
  handleWitnessGone(nowMs: number): void {
    this.#during(nowMs, () => {
      if (this.#witnessOpen && isUp(this.#role)) {
        const leftMs = Math.max(0, Math.round(this.#lease.untilMs - nowMs));
        this.#orders.say(`The witness is gone: sending ends in ${leftMs} ms unless it is back`);
      }
      this.#witnessOpen = false;
    });
  }

  /** The witness has answered. */
  handleLeaseAnswer(answer: LeaseAnswerWord, nowMs: number): void {
    this.#during(nowMs, () => {
      const sentAtMs = this.#lease.sentAt(answer);
      if (sentAtMs === null) this.counters.strayLeases++;
      else if (answer.granted) this.#granted(answer, sentAtMs, nowMs);
      else this.#leaseRefused(answer, nowMs);
    });
  }

  /** The operator, or another program, wants this box to be active. */
  handlePromote(how: { readonly force: boolean }, nowMs: number): void {
    this.#during(nowMs, () => this.#promote(how.force, nowMs));
  }

  /** Another program wants this box not to be active, such as keepalived. */
  handleDemote(nowMs: number): void {
    this.#during(nowMs, () => {
      if (this.#role === "active" && this.#demoteByMs === Infinity) {
        const offered = this.#offer("it was told to be standby", nowMs);
        this.#demoteByMs = nowMs + (offered ? HANDOVER_MS : 0);
      }
    });
  }

  /** An interface that is watched has lost its carrier, or all of them have it again. */
  handleCarrier(up: boolean, nowMs: number): void {
    this.#during(nowMs, () => {
      if (up) this.#offerAtMs = Infinity;
      else if (this.#carrier) this.#offerAtMs = nowMs;
      this.#carrier = up;
    });
  }

  /** A snapshot of this term is whole, and increments have been applied since. */
  handleSnapshot(term: number, nowMs: number): void {
    this.#during(nowMs, () => {
      if (!isUp(this.#role) && this.#role !== "fenced") this.#terms.handleSnapshot(term);
    });
  }

  /** What `take` of this term asked for is done: everything stands behind the closed fence. */
  handleTaken(term: number, nowMs: number): void {
    this.#during(nowMs, () => {
      if (this.#terms.handleTaken(term) && this.#role === "taking") this.#nowActive(nowMs);
    });
  }

  /** It could not be done. */
  handleTakeFailed(term: number, why: string, nowMs: number): void {
    this.#during(nowMs, () => {
      if (term === this.term && this.#role === "taking") this.#takeFailed(why, nowMs);
    });
  }

  /** What `block` asked for is done. */
  handleBlocked(nowMs: number): void {
    this.#during(nowMs, () => {
      this.#orders.blocks = Math.max(0, this.#orders.blocks - 1);
      const blocked = this.#orders.blocks === 0;
      if (blocked && this.#role === "yielding") this.#orders.push({ do: "flush" });
    });
  }

  /** What `flush` asked for is done: the other box has the last post, which has this number. */
  handleFlushed(number: number, nowMs: number): void {
    this.#during(nowMs, () => {
      if (this.#role === "yielding") this.#yielded(number, nowMs);
    });
  }

  /** The other box wants to be active. */
  handleHandoverAsk(word: HandoverAskWord, nowMs: number): void {
    this.#during(nowMs, () => {
      this.#adopt(word.term, nowMs);
      if (!this.peer.known) this.counters.strayWords++;
      else this.#answerAsk(word, nowMs);
    });
  }

  /** The other box does not send any more. */
  handleHandoverDone(word: HandoverDoneWord, nowMs: number): void {
    this.#during(nowMs, () => {
      this.#adopt(word.term, nowMs);
      if (word.term === this.term && this.#wish.isAnswer(word)) this.#mayTake(nowMs);
      else this.counters.strayWords++;
    });
  }

  /** The other box does not yield. */
  handleHandoverRefused(word: HandoverRefusedWord, nowMs: number): void {
    this.#during(nowMs, () => {
      this.#adopt(word.term, nowMs);
      if (this.#wish.isAnswer(word)) this.#peerSilent(word.why, nowMs);
      else this.counters.strayWords++;
    });
  }

  /** The active box would rather not be it. */
  handleHandoverOffer(word: HandoverOfferWord, nowMs: number): void {
    this.#during(nowMs, () => {
      this.#adopt(word.term, nowMs);
      const can = this.#role === "standby" && this.ready && this.#carrier && this.peer.known;
      if (word.term === this.term && can && this.#wish.stage === "none") {
        this.#askPeer("offer", false, nowMs);
      } else if (word.term < this.term) this.counters.staleTerms++;
    });
  }

  /** Call at or after {@linkcode pollDeadline}. */
  handleDeadline(nowMs: number): void {
    this.#during(nowMs, () => {});
  }

  /** When to call {@linkcode handleDeadline}; Infinity means never. */
  pollDeadline(): number {
    const { untilMs } = this.#wish;
    let next = Math.min(
      this.#takeByMs,
      this.#demoteByMs,
      untilMs,
      this.#yield?.untilMs ?? Infinity,
    );
    if (this.peer.open) next = Math.min(next, this.#heartbeatAtMs);
    if (isUp(this.#role)) next = Math.min(next, this.#lease.untilMs);
    if (this.#role === "starting") next = Math.min(next, this.#startUntilMs);
    if (this.#role === "active") next = Math.min(next, this.#offerAtMs);
    return Math.min(next, this.#nextAskMs());
  }

  /** An input, between what has run out and what is due. */
  #during(nowMs: number, input: () => void): void {
    this.#enter(nowMs);
    input();
    this.#settle(nowMs);
  }

  /** A lease that has run out ends everything before anything else is looked at. */
  #enter(nowMs: number): void {
    if (isUp(this.#role) && nowMs >= this.#lease.untilMs) {
      this.counters.fenced++;
      this.#fence("its lease has run out, and the witness has not granted more of it");
    }
  }

  /** Whatever is due. */
  #settle(nowMs: number): void {
    if (nowMs >= this.#wish.untilMs) this.#wishTimedOut(nowMs);
    if (this.#yield !== null && nowMs >= this.#yield.untilMs) this.#yieldFailed(nowMs);
    if (nowMs >= this.#takeByMs) this.#takeFailed(`it took more than ${TAKE_MS} ms`, nowMs);
    if (nowMs >= this.#demoteByMs && this.#role === "active") this.#beginYield(null, nowMs);
    this.#watchEmptiness(nowMs);
    if (this.#role === "starting") this.#start(nowMs);
    if (this.#role === "active") this.#whileActive(nowMs);
    if (nowMs >= this.#nextAskMs()) {
      const word = this.#lease.ask(this.term, this.ready, nowMs);
      this.#orders.push({ do: "tellWitness", word });
    }
    if (this.peer.open && nowMs >= this.#heartbeatAtMs) this.#beat(nowMs);
  }

  #start(nowMs: number): void {
    const { mode, deadMs } = this.#config;
    if (mode !== "active") {
      const heard = mode === "standby" && this.peer.known;
      if (heard || nowMs >= this.#startUntilMs) this.#nowStandby();
      return;
    }
    const over = nowMs >= this.#startUntilMs;
    if (over) this.#startUntilMs = nowMs + deadMs; // and looks again
    if (this.#promised) this.#nowStandby();
    else if (this.#wish.stage !== "none") return;
    else if (this.peer.lives(nowMs, deadMs)) {
      if (!this.ready) this.#orders.sayWaiting(`its state is older than term ${this.term}`);
      else if (nowMs >= this.#lease.askAtMs) this.#askPeer("start", false, nowMs);
    } else if (over && this.term === 0) this.#grant(1, Infinity, nowMs);
    else if (over) this.#orders.sayWaiting("the other box cannot be asked whether it is active");
  }

  #whileActive(nowMs: number): void {
    const away = !this.peer.lives(nowMs, this.#config.deadMs);
    if (away !== this.#peerAwayTold) {
      this.#peerAwayTold = away;
      this.#orders.say(away ? "The standby is away: going on without it" : "The standby is there");
    }
    if (this.#carrier || nowMs < this.#offerAtMs) return;
    const offered = this.#offer("a watched interface has no carrier", nowMs);
    this.#offerAtMs = nowMs + (offered ? HANDOVER_MS : this.#config.deadMs);
  }

  /** Returns false when the other box could not take over. */
  #offer(why: string, nowMs: number): boolean {
    const can = this.peer.canTake(this.term, nowMs, this.#config.deadMs);
    if (can) this.#tell({ word: "handoverOffer", term: this.term, why });
    return can;
  }

  #sayHello(): void {
    this.#tell(helloOf(this.#config, this.peer, this.#role, this.term));
  }

  #beat(nowMs: number): void {
    this.#heartbeatAtMs = nowMs + this.#config.heartbeatMs;
    if (!this.peer.known || !this.peer.heardUs) return this.#sayHello();
    const leftMs = this.#lease.untilMs - nowMs;
    this.#tell({
      word: "heartbeat",
      term: this.term,
      role: this.#role,
      number: this.sentNumber,
      sentMs: nowMs,
      ...(leftMs >= 0 && leftMs < Infinity ? { leaseLeftMs: leftMs } : {}),
      ready: this.ready,
      carrier: this.#carrier,
    });
  }

  /** The other box has this role in this term. */
  #hear(term: number, role: BoxRole, nowMs: number): void {
    this.#adopt(term, nowMs);
    if (term < this.term) {
      this.counters.staleTerms++;
      return;
    }
    if (isUp(this.#role)) {
      if (isUp(role) || role === "fenced") this.#splitFound();
    } else if (isUp(role)) {
      this.#activeHeardMs = nowMs;
      if (this.#role === "starting") this.#nowStandby();
    }
  }

  #splitFound(): void {
    this.#split = true;
    this.#fence(splitText(this.peer.box, this.term));
  }

  /** A higher term is another box's: stop at once. */
  #adopt(term: number, nowMs: number): void {
    if (term <= this.term) return;
    const stops = isUp(this.#role) || this.#role === "fenced";
    if (stops) {
      this.#orders.push({ do: "block" });
      this.#orders.say(`Term ${term} is heard, ours was ${this.term}: standby from here on`);
    }
    this.#terms.raise(term);
    this.#lease.forget();
    this.#activeHeardMs = nowMs;
    this.#split = false;
    this.#wish.refuse(`term ${term} is of another box`);
    if (stops || this.#role === "starting") this.#nowStandby();
  }

  #nowStandby(): void {
    this.#down("standby");
    this.#orders.push({ do: "becomeStandby" });
  }

  #down(role: BoxRole): void {
    this.#role = role;
    this.#lease.untilMs = -Infinity;
    this.#takeByMs = Infinity;
    this.#demoteByMs = Infinity;
    this.#yield = null;
  }

  /** Stops sending and keeps what it sent with, as nobody has gone on with it. */
  #fence(why: string): void {
    if (this.#yield !== null) this.#refuseAsker("its lease has run out");
    this.#down("fenced");
    this.#orders.push({ do: "block" });
    this.#orders.say(`Stopped sending: ${why}`);
    this.#wish.refuse(why);
  }

  /** When the witness is to be asked: Infinity when it is not. */
  #nextAskMs(): number {
    if (this.#config.mode !== "auto" || !this.#witnessOpen) return Infinity;
    if (isUp(this.#role) || this.#wish.stage === "witness") return this.#lease.askAtMs;
    const atMs = Math.max(this.#lease.askAtMs, this.#lease.holdUntilMs);
    if (this.#role === "fenced") return this.#split ? Infinity : atMs;
    if (this.#role !== "standby" || !this.#carrier) return Infinity;
    const silentMs = Math.max(atMs, this.#activeHeardMs + this.#config.deadMs);
    if (this.ready) return silentMs;
    const patience = this.#config.preferred ? 1 : 3;
    return Math.max(silentMs, this.#emptySinceMs + patience * this.#config.deadMs);
  }

  /** Nothing can be lost when neither box has anything. */
  #watchEmptiness(nowMs: number): void {
    const peerIsEmpty = this.peer.isEmpty(this.term, nowMs, this.#config.deadMs);
    if (this.ready || this.#role !== "standby" || !peerIsEmpty) this.#emptySinceMs = Infinity;
    else if (this.#emptySinceMs === Infinity) this.#emptySinceMs = nowMs;
  }

  #giveLease(term: number): void {
    if (this.#config.mode !== "auto") return;
    this.#orders.push({ do: "tellWitness", word: this.#lease.give(term) });
  }

  #granted(answer: LeaseAnswerWord, sentAtMs: number, nowMs: number): void {
    const untilMs = this.#lease.endOf(answer, sentAtMs);
    if (answer.term < this.term || untilMs <= nowMs) {
      this.counters.strayLeases++;
      return;
    }
    this.#lease.refusal = "";
    if (isUp(this.#role) && answer.term === this.term) {
      this.#lease.untilMs = Math.max(this.#lease.untilMs, untilMs);
      if (this.#role === "active") {
        this.#orders.push({ do: "openFence", untilMs: this.#lease.untilMs });
      }
      return;
    }
    if (isUp(this.#role)) this.#fence(`the witness counts from term ${answer.term} on`);
    const wanted = this.#wish.stage === "witness" ||
      nowMs - this.#activeHeardMs >= this.#config.deadMs;
    if (this.#role === "fenced" || (this.#role === "standby" && wanted)) {
      this.#grant(answer.term, untilMs, nowMs);
    } else this.#giveLease(answer.term);
  }

  #leaseRefused(answer: LeaseAnswerWord, nowMs: number): void {
    if (answer.why !== this.#lease.refusal && isUp(this.#role)) {
      this.#orders.say(`The witness does not renew the lease: ${answer.why}`);
    }
    this.#lease.refusal = answer.why;
    this.#adopt(answer.term, nowMs);
    const soon = this.#wish.stage === "witness";
    const rival = this.peer.lives(nowMs, this.#config.deadMs) && !isUp(this.peer.role);
    const later = rival && !soon && !this.#config.preferred;
    if (!isUp(this.#role)) this.#lease.refused(answer, soon, later, nowMs);
  }

  /** The term is this box's. */
  #grant(term: number, untilMs: number, nowMs: number): void {
    this.counters.takeovers++;
    this.#terms.own(term);
    this.#split = false;
    this.#promised = false;
    this.#wish.take();
    this.#lease.untilMs = untilMs;
    this.#take(nowMs);
  }

  #take(nowMs: number): void {
    this.#role = "taking";
    this.#takeByMs = nowMs + TAKE_MS;
    this.#heartbeatAtMs = nowMs;
    this.#terms.take();
  }

  #nowActive(nowMs: number): void {
    this.#role = "active";
    this.#takeByMs = Infinity;
    this.#terms.use();
    this.#heartbeatAtMs = nowMs;
    this.#peerAwayTold = false;
    this.#offerAtMs = this.#carrier ? Infinity : nowMs;
    this.#orders.push({ do: "openFence", untilMs: this.#lease.untilMs });
    this.#wish.done(this.term);
  }

  #takeFailed(why: string, nowMs: number): void {
    this.#orders.push({ do: "block" });
    this.#terms.fail();
    this.#giveLease(this.term);
    this.#lease.holdUntilMs = nowMs + HANDOVER_MS;
    this.#orders.say(`Cannot take over in term ${this.term}: ${why}`);
    this.#wish.refuse(why);
    this.#nowStandby();
  }

  #promote(force: boolean, nowMs: number): void {
    const refuse = (why: string): void => this.#orders.refuse(`Cannot promote as ${why}`);
    if (isUp(this.#role)) return refuse(`this box is ${this.#role} in term ${this.term} already`);
    if (this.#wish.isOf("operator")) return refuse("it is being done already");
    if (!this.ready && !force) return refuse(unreadyText(this.term));
    if (this.peer.lives(nowMs, this.#config.deadMs)) this.#askPeer("operator", force, nowMs);
    else if (this.#config.mode === "auto") {
      this.#wish.begin("operator", force);
      this.#wish.askWitness(nowMs);
      this.#lease.askAtMs = nowMs;
    } else if (force) this.#grant(this.term + 1, Infinity, nowMs);
    else refuse(UNREACHABLE);
  }

  #askPeer(by: Wisher, force: boolean, nowMs: number): void {
    this.#wish.begin(by, force);
    this.#tell(this.#wish.askPeer(this.term, nowMs));
  }

  #mayTake(nowMs: number): void {
    if (this.#config.mode !== "auto") return this.#grant(this.term + 1, Infinity, nowMs);
    this.#wish.askWitness(nowMs);
    this.#lease.askAtMs = nowMs;
  }

  #wishTimedOut(nowMs: number): void {
    if (this.#wish.stage === "peer") {
      this.#peerSilent(`it has not answered in ${HANDOVER_MS} ms`, nowMs);
    } else this.#wish.refuse(`the witness has not granted it: ${this.refusal || "no answer"}`);
  }

  /** The other box does not promise anything. */
  #peerSilent(why: string, nowMs: number): void {
    if (this.#wish.force && this.#config.mode !== "auto") {
      this.#grant(this.term + 1, Infinity, nowMs);
      return;
    }
    this.#lease.askAtMs = nowMs + HANDOVER_MS;
    this.#wish.refuse(`the other box does not hand over: ${why}`);
  }

  #answerAsk(word: HandoverAskWord, nowMs: number): void {
    const { instance, serial } = word;
    const refuse = (why: string): void =>
      this.#tell({ word: "handoverRefused", term: this.term, instance, serial, why });
    if (word.term < this.term) {
      this.counters.staleTerms++;
      refuse(`its term ${word.term} is old: it is ${this.term} now`);
    } else if (this.#role === "taking") refuse("it is taking over itself");
    else if (this.#role === "active") this.#beginYield({ instance, serial }, nowMs);
    else if (this.#yield !== null) this.#yield = { ...this.#yield, asker: { instance, serial } };
    else if (this.#wish.stage !== "none" && this.#config.box < this.peer.box) {
      refuse("it is being promoted itself");
    } else this.#promise(word, 0, nowMs);
  }

  /** From here on the next term is the other box's, unless it is asked again. */
  #promise({ instance, serial }: Asker, number: number, nowMs: number): void {
    this.#wish.refuse("the other box is being promoted");
    this.#promised = true;
    this.#lease.forget();
    this.#lease.holdUntilMs = nowMs + HANDOVER_MS;
    this.#tell({ word: "handoverDone", term: this.term, instance, serial, number });
  }

  #beginYield(asker: Asker | null, nowMs: number): void {
    const demoted = this.#demoteByMs !== Infinity;
    this.#role = "yielding";
    this.#yield = { asker, demoted, untilMs: nowMs + YIELD_MS };
    this.#demoteByMs = Infinity;
    this.#orders.push({ do: "block" });
  }

  /** Nothing leaves any more, and the other box has everything. */
  #yielded(number: number, nowMs: number): void {
    const asker = this.#yield?.asker;
    this.#giveLease(this.term);
    this.#promised = true;
    this.#lease.holdUntilMs = nowMs + HANDOVER_MS;
    if (asker) this.#promise(asker, number, nowMs);
    this.#orders.say(`Handed over after term ${this.term}`);
    this.#nowStandby();
  }

  /** The other box did not take everything. */
  #yieldFailed(nowMs: number): void {
    if (this.#yield?.demoted) return this.#yielded(this.sentNumber, nowMs);
    this.#refuseAsker("it has not taken the last records in time");
    this.#yield = null;
    this.#orders.say("Cannot hand over as the other box does not take the last records");
    this.#take(nowMs);
  }

  #refuseAsker(why: string): void {
    const asker = this.#yield?.asker;
    if (asker) this.#tell({ word: "handoverRefused", term: this.term, ...asker, why });
  }

  #tell(word: PeerWord): void {
    if (this.peer.open) this.#orders.push({ do: "tellPeer", word });
  }
}
