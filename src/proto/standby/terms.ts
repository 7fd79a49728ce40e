/**
 * The terms that a box knows, and whose state it has: which SAs its kernel may hold, which snapshot
 * lies ready. Stored are the highest term, and the last one that was its own.
 *
 * @module
 */
import type { ElectionStored, Orders, TakeSource } from "./orders.ts";

/** What a box has of which term. */
export class Terms {
  /** The highest one that was heard of. */
  term: number;
  #activeTerm: number;
  /** Term whose state this box has; -1: of none. */
  #stateTerm: number;
  #holdsSnapshot = false;
  /** The kernel may hold SAs that were taken over or mirrored, and holds all of them. */
  #hasSas: boolean;
  #hasAllSas: boolean;
  readonly #orders: Orders;

  constructor(stored: ElectionStored, orders: Orders) {
    this.term = stored.term;
    this.#activeTerm = stored.activeTerm;
    this.#stateTerm = stored.activeTerm;
    this.#hasSas = stored.activeTerm > 0;
    this.#hasAllSas = this.#hasSas;
    this.#orders = orders;
    if (stored.activeTerm < stored.term) this.deleteSas();
  }

  /** True when the state of the last term is here. */
  get ready(): boolean {
    return this.#stateTerm === this.term;
  }

  /** The term whose state is here, whole; 0 when it is of none. */
  get stateTerm(): number {
    return Math.max(0, this.#stateTerm);
  }

  /** Another box has this term, which is higher: what this one has sent with is not to be used. */
  raise(term: number): void {
    this.term = term;
    this.#orders.push({ do: "store", stored: { term, activeTerm: this.#activeTerm } });
    this.deleteSas();
  }

  /** The term is this box's. */
  own(term: number): void {
    if (term !== this.#activeTerm) {
      this.#orders.push({ do: "store", stored: { term, activeTerm: term } });
    }
    this.term = term;
    this.#activeTerm = term;
  }

  /** The next one too, and what is there is gone on with as it is. */
  extend(term: number): void {
    this.own(term);
    this.#stateTerm = term;
  }

  /** Orders what it has to be installed. */
  take(): void {
    const source: TakeSource = this.#hasAllSas
      ? "own"
      : this.#holdsSnapshot
      ? "snapshot"
      : "nothing";
    this.#stateTerm = this.term;
    this.#hasSas = true;
    this.#orders.push({ do: "take", term: this.term, source });
  }

  /** That was done, in this term; false when it was another's. */
  handleTaken(term: number): boolean {
    if (term !== this.term || !this.#hasSas) return false;
    this.#hasAllSas = true;
    return true;
  }

  /** The snapshot is used up, as the kernel has gone on from it. */
  use(): void {
    this.#holdsSnapshot = false;
  }

  /** A snapshot of this term is whole. */
  handleSnapshot(term: number): void {
    if (term > this.term) return;
    this.#stateTerm = term;
    this.#holdsSnapshot = true;
  }

  /** It could not be installed. */
  fail(): void {
    this.deleteSas();
    this.#stateTerm = -1;
    this.#holdsSnapshot = false;
  }

  /** Nothing of what was sent with is left in the kernel. */
  deleteSas(): void {
    if (this.#hasSas) this.#orders.push({ do: "deleteSas" });
    this.#hasSas = false;
    this.#hasAllSas = false;
  }
}
