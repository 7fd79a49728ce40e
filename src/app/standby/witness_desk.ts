/**
 * Answers boxes that ask for a lease (proto/standby/witness.ts), in a hub or in a program of its own.
 * What an answer says is on the disk before it leaves. A group belongs to the entity that asked for it
 * first: another one with a key of this witness gets no lease of it.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { type Session, SessionState } from "../../proto/msgr2/session.ts";
import { Witness, type WitnessGroup } from "../../proto/standby/witness.ts";
import {
  isBoxName,
  LEASE_MS_MAX,
  LEASE_MS_MIN,
  type LeaseAnswerWord,
  type LeaseAskWord,
  parseWord,
  TERM_MAX,
  writeWord,
} from "../../wire/standby/words.ts";
import { FairleadType } from "../message_types.ts";
import { DurableFile } from "./durable_file.ts";

/** For the log: who got a lease, and what ails the disk; a renewal is not told. */
export type WitnessTell = (text: string) => void;

/** What the disk has of a group. */
interface StoredGroup extends WitnessGroup {
  /** Who both boxes are, TYPE.ID. */
  readonly owner: string;
}

/** The witness of some pairs. */
export class WitnessDesk {
  /** Words that made no sense. */
  badWords = 0;
  /** Words for the group of another entity. */
  strangers = 0;
  /** Why the disk does not have what was granted last: until it has, nobody is answered. */
  trouble = "";
  readonly witness: Witness;
  readonly #file: DurableFile;
  readonly #tell: WitnessTell;
  #saved = true;
  readonly #stored = new Map<string, StoredGroup>();

  /**
   * Reads what it has promised.
   *
   * @param directory where that is kept: a witness that forgets could let two boxes send
   * @throws when it is damaged
   */
  constructor(directory: string, tell: WitnessTell) {
    this.#file = new DurableFile(`${directory}/witness.json`);
    this.#tell = tell;
    for (const group of groupsOf(this.#file.read())) this.#stored.set(group.group, group);
    this.witness = new Witness([...this.#stored.values()], nowMs());
  }

  /** Answers a word that came on a session. */
  handleWord(front: Uint8Array, from: Session): void {
    const word = parseWord(front);
    if (word === null || typeof word === "string") {
      this.badWords++;
      return;
    }
    const now = nowMs();
    if (word.word !== "leaseGive" && word.word !== "leaseAsk") {
      this.badWords++;
      return;
    }
    const owner = this.#stored.get(word.group)?.owner ?? from.peerName;
    if (owner !== from.peerName) {
      this.strangers++;
      if (word.word === "leaseAsk") this.#answer(from, refusalOf(word, owner));
    } else if (word.word === "leaseGive") {
      const given = this.witness.handleGive(word, now);
      if (given === null) return;
      this.#stored.set(given.group, { ...given, owner });
      this.#save();
      this.#tell(`${word.box} gives back the lease of ${word.group} (term ${word.term})`);
    } else {
      const { answer, store } = this.witness.handleAsk(word, now);
      if (store !== null) {
        const before = this.#stored.get(store.group)?.term ?? 0;
        this.#stored.set(store.group, { ...store, owner });
        this.#saved = false;
        if (store.term > before) {
          this.#tell(`${store.box} is active in ${store.group} (term ${store.term})`);
        }
      }
      if (!this.#saved) this.#save();
      if (this.#saved) this.#answer(from, answer);
    }
  }

  #answer(to: Session, answer: LeaseAnswerWord): void {
    if (to.state !== SessionState.Ready) return;
    to.send({ type: FairleadType.Standby, front: writeWord(answer) });
  }

  #save(): void {
    try {
      this.#file.write({ groups: [...this.#stored.values()] });
      this.#saved = true;
      this.trouble = "";
    } catch (error) {
      this.#saved = false;
      const { message } = error as Error;
      if (message === this.trouble) return;
      this.trouble = message;
      this.#tell(`No lease is granted or renewed, as it cannot be stored: ${message}`);
    }
  }
}

function refusalOf({ group, serial }: LeaseAskWord, owner: string): LeaseAnswerWord {
  const why = `${group} is a pair of ${owner}: give this pair a "group" of its own`;
  const nothing = { term: 0, leaseMs: 0, holder: "", leftMs: 0 };
  return { word: "leaseAnswer", serial, granted: false, ...nothing, why };
}

function groupsOf(value: unknown): StoredGroup[] {
  if (value === null) return [];
  const { groups } = value as { readonly groups?: unknown };
  if (Array.isArray(groups) && groups.every(isGroup)) {
    if (new Set(groups.map(({ group }) => group)).size === groups.length) return groups;
  }
  throw new Error(
    "Cannot use witness.json of the state directory as it holds no groups: remove it, and let no box " +
      "be started before the longest lease is over",
  );
}

function isGroup(value: unknown): value is StoredGroup {
  const { box, group, instance, leaseMs, owner, term } = (value ?? {}) as Partial<StoredGroup>;
  return isBoxName(group) && typeof owner === "string" && (box === "" || isBoxName(box)) &&
    typeof instance === "string" &&
    isWithin(term, 0, TERM_MAX) && isWithin(leaseMs, LEASE_MS_MIN, LEASE_MS_MAX);
}

function isWithin(value: unknown, least: number, most: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
}
