/**
 * What one box knows of the other: who it is, and what its last word said.
 *
 * @module
 */
import type {
  BoxRole,
  HeartbeatAnswerWord,
  HeartbeatWord,
  HelloWord,
} from "../../wire/standby/words.ts";
import { WORDS_VERSION } from "../../wire/standby/words.ts";
import type { ElectionConfig } from "./orders.ts";

/** True of the roles in which a box has, gets or gives up what it sends with. */
export function isUp(role: BoxRole): boolean {
  return role === "active" || role === "taking" || role === "yielding";
}

/** The other box. */
export class PeerView {
  /** There is a session. */
  open = false;
  /** Its hello was heard on this session. */
  known = false;
  /** It has heard ours. */
  heardUs = false;
  box = "";
  instance = "";
  mode = "";
  role: BoxRole = "starting";
  term = 0;
  /** Term whose state it has; Infinity while it has not said. */
  stateTerm = Infinity;
  carrier = true;
  /** When it last said anything that was new. */
  heardMs = -Infinity;
  /** Number of the last post that it has applied, and of the last that it has sent. */
  holdsNumber = 0;
  sentNumber = 0;
  /** How long a heartbeat and its answer took; -1 before the first. */
  roundTripMs = -1;
  #sentMs = -Infinity;

  /** It has the state of its term: it is active, or holds a whole snapshot. */
  get ready(): boolean {
    return this.stateTerm === this.term;
  }

  /** The session is there, or is gone. */
  session(open: boolean): void {
    this.open = open;
    this.known = false;
    this.heardUs = false;
  }

  /** Returns true when it is a process that was not known. */
  hello(word: HelloWord, ownInstance: string, nowMs: number): boolean {
    const fresh = word.instance !== this.instance || !this.known;
    if (word.instance !== this.instance) {
      this.#sentMs = -Infinity;
      this.holdsNumber = 0;
      this.sentNumber = 0;
    }
    if (fresh) this.stateTerm = Infinity;
    this.known = true;
    this.heardUs = word.heard === ownInstance;
    this.box = word.box;
    this.instance = word.instance;
    this.mode = word.mode;
    this.role = word.role;
    this.term = word.term;
    this.heardMs = nowMs;
    return fresh;
  }

  /** Returns false when it is older than one that was heard. */
  heartbeat(word: HeartbeatWord, nowMs: number): boolean {
    if (!this.known || word.sentMs <= this.#sentMs) return false;
    this.#sentMs = word.sentMs;
    this.heardUs = true; // only who has heard a hello says this
    this.role = word.role;
    this.term = word.term;
    this.stateTerm = word.stateTerm;
    this.carrier = word.carrier;
    this.sentNumber = word.number;
    this.heardMs = nowMs;
    return true;
  }

  /** Returns false when nobody knows who answers. */
  answer(word: HeartbeatAnswerWord, nowMs: number): boolean {
    if (!this.known) return false;
    this.holdsNumber = word.holdsNumber;
    if (word.echoed <= nowMs) this.roundTripMs = nowMs - word.echoed;
    this.heardMs = nowMs;
    return true;
  }

  /** It said something within this time. */
  lives(nowMs: number, withinMs: number): boolean {
    return this.open && this.known && nowMs - this.heardMs < withinMs;
  }

  /** It could take over from us in this term. */
  canTake(term: number, nowMs: number, withinMs: number): boolean {
    const can = this.role === "standby" && this.ready && this.carrier;
    return can && this.term === term && this.lives(nowMs, withinMs);
  }

  /**
   * It is not up and does not have the state of this term, nor one of a later term than ours is of: so
   * nobody has gone on with a later state than ours.
   */
  hasLess(term: number, stateTerm: number, nowMs: number, withinMs: number): boolean {
    const idle = this.role === "standby" || this.role === "starting";
    const less = !this.ready && this.stateTerm <= stateTerm;
    return idle && less && this.term === term && this.lives(nowMs, withinMs);
  }
}

/** Why a box that says hello is none to pair with; empty when it is. */
export function helloFault(own: ElectionConfig, word: HelloWord): string {
  const { group, box, instance, mode } = own;
  if (word.instance === instance) return "Cannot pair with the other box: it is this one";
  if (word.group !== group) {
    return `Cannot pair with ${word.box} as its group is another: ${word.group}, not ${group}`;
  }
  if (word.box === box) {
    return `Cannot pair with the other box as both are called ${box}: give each its own --name`;
  }
  if ((word.mode === "auto") !== (mode === "auto")) {
    return `Cannot pair with ${word.box} as its role is ${word.mode} and ours ${mode}: ` +
      "auto must be said on both boxes or on none";
  }
  return "";
}

/** What a box says first. */
export function helloOf(
  { group, box, instance, mode, leaseMs }: ElectionConfig,
  peer: PeerView,
  role: BoxRole,
  term: number,
): HelloWord {
  const heard = peer.known ? peer.instance : "";
  const who = { word: "hello", version: WORDS_VERSION, group, box, instance } as const;
  return { ...who, heard, role, mode, term, leaseMs };
}
