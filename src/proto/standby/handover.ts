/**
 * Handovers in the making, from both sides: see election.ts.
 *
 * @module
 */
import type {
  HandoverAskWord,
  HandoverDoneWord,
  HandoverRefusedWord,
} from "../../wire/standby/words.ts";
import type { Orders } from "./orders.ts";

/** How long a handover may take before whoever asked is told no. */
export const HANDOVER_MS = 5000;
/** The box that yields gives up earlier than the one that waits for it. */
export const YIELD_MS = 3000;

/** Who wants a takeover. */
export type Wisher = "operator" | "start" | "offer";
/** Whose answer it waits for. */
export type WishStage = "none" | "peer" | "witness" | "taking";

/** A takeover that this box asks for: one at a time. */
export class Wish {
  /** `none`: there is no wish. */
  stage: WishStage = "none";
  by: Wisher = "operator";
  force = false;
  /** When whoever wants it is told no. */
  untilMs = Infinity;
  #serial = 0;
  readonly #instance: string;
  readonly #orders: Orders;

  constructor(instance: string, orders: Orders) {
    this.#instance = instance;
    this.#orders = orders;
  }

  /** Somebody wants it. */
  begin(by: Wisher, force: boolean): void {
    this.by = by;
    this.force = force;
  }

  /** True while it is somebody's. */
  isOf(by: Wisher): boolean {
    return this.stage !== "none" && this.by === by;
  }

  /** Asks the other box. */
  askPeer(term: number, nowMs: number): HandoverAskWord {
    this.#wait("peer", nowMs + HANDOVER_MS);
    return { word: "handoverAsk", term, instance: this.#instance, serial: ++this.#serial };
  }

  /** Asks the witness. */
  askWitness(nowMs: number): void {
    this.#wait("witness", nowMs + HANDOVER_MS);
  }

  /** The term is there: waits until it is used. */
  take(): void {
    if (this.stage !== "none") this.#wait("taking", Infinity);
  }

  /** True of an answer to the last ask of the other box. */
  isAnswer({ instance, serial }: HandoverDoneWord | HandoverRefusedWord): boolean {
    return this.stage === "peer" && instance === this.#instance && serial === this.#serial;
  }

  /** It came true. */
  done(term: number): void {
    const told = this.isOf("operator");
    this.#wait("none", Infinity);
    if (told) this.#orders.push({ do: "promoted", term });
  }

  /** It does not. */
  refuse(why: string): void {
    const told = this.isOf("operator");
    this.#wait("none", Infinity);
    if (told) this.#orders.refuse(`Cannot promote as ${why}`);
  }

  #wait(stage: WishStage, untilMs: number): void {
    this.stage = stage;
    this.untilMs = untilMs;
  }
}

/** Who asked, and which of its asks it was. */
export type Asker = Pick<HandoverAskWord, "instance" | "serial">;

/** A handover that is being done. */
export interface Yield {
  readonly asker: Asker | null;
  /** It goes on to standby whether the other box can take over or not. */
  readonly demoted: boolean;
  readonly untilMs: number;
}
