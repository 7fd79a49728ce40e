/**
 * Handovers, from both sides: this box wants to be active and asks, or the other one does, or this box
 * would rather not be it. What it comes to is done by role_keeper.ts; the rules are in election.ts.
 *
 *     promote ──> ask the other ──promised──> (auto: ask the witness) ──> taking
 *     asked   ──> active: block, flush, promise; taking, or going on alone: no; else: promise
 *     demoted, or no carrier ──> offer; the other asks if it can; a demoted box stops in any case
 *
 * @module
 */
import type {
  HandoverAskWord,
  HandoverDoneWord,
  HandoverOfferWord,
  HandoverRefusedWord,
} from "../../wire/standby/words.ts";
import { type Asker, HANDOVER_MS, type Wisher, YIELD_MS } from "./handover.ts";
import { UNREACHABLE, unreadyText } from "./orders.ts";
import type { RoleKeeper } from "./role_keeper.ts";

/**
 * A forced box goes so many terms ahead: the other one may have gone on alone in the next one, and must
 * stop when it hears of this.
 */
const FORCED_TERMS = 2;
/** Why a handover fails that was begun. */
export const BEHIND = "the other box does not take the last records";

/** Asks, promises and offers. */
export class HandoverDesk {
  #offerAtMs = Infinity;
  readonly #keeper: RoleKeeper;

  constructor(keeper: RoleKeeper) {
    this.#keeper = keeper;
  }

  /** When something is due. */
  get deadlineMs(): number {
    const { demoteByMs, role, wish, yields } = this.#keeper;
    const offerAtMs = role === "active" ? this.#offerAtMs : Infinity;
    return Math.min(demoteByMs, wish.untilMs, yields?.untilMs ?? Infinity, offerAtMs);
  }

  /** The operator wants this box to be active. */
  promote(force: boolean, nowMs: number): void {
    const { config, lease, orders, peer, role, term, terms, wish } = this.#keeper;
    const refuse = (why: string): void => orders.refuse(`Cannot promote as ${why}`);
    if (this.#keeper.isUp) return refuse(`this box is ${role} in term ${term} already`);
    if (wish.isOf("operator")) return refuse("it is being done already");
    if (!terms.ready && !force) return refuse(unreadyText(term));
    if (peer.lives(nowMs, config.deadMs)) this.askPeer("operator", force, nowMs);
    else if (config.mode === "auto") {
      wish.begin("operator", force);
      wish.askWitness(nowMs);
      lease.askAtMs = nowMs;
    } else if (force) this.#force(nowMs);
    else refuse(UNREACHABLE);
  }

  /** This box shall not be active. */
  demote(nowMs: number): void {
    if (this.#keeper.role !== "active" || this.#keeper.demoteByMs !== Infinity) return;
    const offered = this.#offer("it was told to be standby", nowMs);
    this.#keeper.demoteByMs = nowMs + (offered ? HANDOVER_MS : 0);
  }

  /** An interface that is watched has lost its carrier, or all have it again. */
  handleCarrier(up: boolean, nowMs: number): void {
    if (up) this.#offerAtMs = Infinity;
    else if (this.#keeper.carrier) this.#offerAtMs = nowMs;
    this.#keeper.carrier = up;
  }

  /** This box has become active. */
  handleActive(nowMs: number): void {
    this.#offerAtMs = this.#keeper.carrier ? Infinity : nowMs;
  }

  /** The session with the other box is gone. */
  handlePeerGone(nowMs: number): void {
    const { role, wish } = this.#keeper;
    if (wish.stage === "peer") this.#peerSilent("the session with it is gone", nowMs);
    if (role === "yielding") this.yieldFailed(BEHIND, nowMs);
  }

  /** Whatever is due. */
  handleDeadline(nowMs: number): void {
    const { demoteByMs, wish, yields } = this.#keeper;
    if (nowMs >= wish.untilMs) this.#wishTimedOut(nowMs);
    if (yields !== null && nowMs >= yields.untilMs) this.yieldFailed(BEHIND, nowMs);
    if (nowMs >= demoteByMs && this.#keeper.role === "active") this.#beginYield(null, nowMs);
  }

  /** Offers again while there is no carrier. */
  whileActive(nowMs: number): void {
    if (this.#keeper.carrier || nowMs < this.#offerAtMs) return;
    const offered = this.#offer("a watched interface has no carrier", nowMs);
    this.#offerAtMs = nowMs + (offered ? HANDOVER_MS : this.#keeper.config.deadMs);
  }

  /** Asks the other box for the next term. */
  askPeer(by: Wisher, force: boolean, nowMs: number): void {
    const { term, wish } = this.#keeper;
    wish.begin(by, force);
    this.#keeper.tell(wish.askPeer(term, nowMs));
  }

  /** The other box wants to be active. */
  handleAsk(word: HandoverAskWord, nowMs: number): void {
    const { instance, serial } = word;
    const { alone, config, counters, peer, role, term, wish, yields } = this.#keeper;
    const refuse = (why: string): void =>
      this.#keeper.tell({ word: "handoverRefused", term, instance, serial, why });
    if (word.term < term) {
      counters.staleTerms++;
      refuse(`its term ${word.term} is old: it is ${term} now`);
    } else if (role === "taking") refuse("it is taking over itself");
    else if (alone) refuse("it is going on alone, as the box that asks did not follow");
    else if (role === "active") this.#beginYield({ instance, serial }, nowMs);
    else if (yields !== null) this.#keeper.yields = { ...yields, asker: { instance, serial } };
    else if (wish.stage !== "none" && config.box < peer.box) {
      refuse("it is being promoted itself");
    } else this.#promise(word, 0, nowMs);
  }

  /** The other box does not send any more. */
  handleDone(word: HandoverDoneWord, nowMs: number): void {
    const { config, counters, lease, term, wish } = this.#keeper;
    if (word.term !== term || !wish.isAnswer(word)) counters.strayWords++;
    else if (config.mode !== "auto") this.#keeper.grant(term + 1, Infinity, nowMs);
    else {
      wish.askWitness(nowMs);
      lease.askAtMs = nowMs;
    }
  }

  /** The other box does not yield. */
  handleRefused(word: HandoverRefusedWord, nowMs: number): void {
    const { lease, wish } = this.#keeper;
    if (!wish.isAnswer(word)) this.#keeper.counters.strayWords++;
    else {
      // Force is for a box that is not there: this one is, and may be sending.
      lease.askAtMs = nowMs + HANDOVER_MS;
      wish.refuse(`the other box does not hand over: ${word.why}`);
    }
  }

  /** The active box would rather not be it. */
  handleOffer(word: HandoverOfferWord, nowMs: number): void {
    const { carrier, counters, peer, role, term, terms, wish } = this.#keeper;
    const can = role === "standby" && terms.ready && carrier && peer.known;
    if (word.term === term && can && wish.stage === "none") this.askPeer("offer", false, nowMs);
    else if (word.term < term) counters.staleTerms++;
  }

  /** Nothing leaves any more, and the other box has everything. */
  yielded(number: number, nowMs: number): void {
    const { lease, orders, term, yields } = this.#keeper;
    this.#keeper.giveLease(term);
    this.#keeper.promised = true;
    lease.holdUntilMs = nowMs + HANDOVER_MS;
    if (yields?.asker) this.#promise(yields.asker, number, nowMs);
    orders.say(`Handed over after term ${term}`);
    this.#keeper.stand();
  }

  /** The other box did not take everything; a demoted box stops all the same. */
  yieldFailed(why: string, nowMs: number): void {
    const { orders, sentNumber, yields } = this.#keeper;
    if (yields?.demoted) return this.yielded(sentNumber, nowMs);
    this.#keeper.refuseAsker(why);
    this.#keeper.yields = null;
    orders.say(`Cannot hand over as ${why}`);
    this.#keeper.take(nowMs);
  }

  /** Returns false when the other box could not take over. */
  #offer(why: string, nowMs: number): boolean {
    const { alone, config, peer, term } = this.#keeper;
    const can = !alone && peer.canTake(term, nowMs, config.deadMs);
    if (can) this.#keeper.tell({ word: "handoverOffer", term, why });
    return can;
  }

  /** From here on the next term is the other box's, unless it is asked again. */
  #promise({ instance, serial }: Asker, number: number, nowMs: number): void {
    const { lease, term, wish } = this.#keeper;
    wish.refuse("the other box is being promoted");
    this.#keeper.promised = true;
    lease.forget();
    lease.holdUntilMs = nowMs + HANDOVER_MS;
    this.#keeper.tell({ word: "handoverDone", term, instance, serial, number });
  }

  #beginYield(asker: Asker | null, nowMs: number): void {
    const demoted = this.#keeper.demoteByMs !== Infinity;
    this.#keeper.role = "yielding";
    this.#keeper.alone = false;
    this.#keeper.yields = { asker, demoted, untilMs: nowMs + YIELD_MS };
    this.#keeper.demoteByMs = Infinity;
    this.#keeper.orders.push({ do: "block" });
  }

  #wishTimedOut(nowMs: number): void {
    const { lease, wish } = this.#keeper;
    if (wish.stage === "peer") {
      this.#peerSilent(`it has not answered in ${HANDOVER_MS} ms`, nowMs);
    } else {
      lease.forget(); // whoever was told no is not told yes later
      wish.refuse(`the witness has not granted it: ${lease.refusal || "no answer"}`);
    }
  }

  /** The other box does not promise anything. */
  #peerSilent(why: string, nowMs: number): void {
    const { config, lease, wish } = this.#keeper;
    if (wish.force && config.mode !== "auto") return this.#force(nowMs);
    lease.askAtMs = nowMs + HANDOVER_MS;
    wish.refuse(`the other box does not hand over: ${why}`);
  }

  #force(nowMs: number): void {
    this.#keeper.grant(this.#keeper.term + FORCED_TERMS, Infinity, nowMs);
  }
}
