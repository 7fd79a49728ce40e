/**
 * Answers boxes that ask for a lease (proto/standby/witness.ts), in a hub or in a program of its own.
 * What an answer says is on the disk before it leaves.
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
  parseWord,
  TERM_MAX,
  writeWord,
} from "../../wire/standby/words.ts";
import { FairleadType } from "../message_types.ts";
import { DurableFile } from "./durable_file.ts";

/** What a lease is worth while its holder says nothing new is told once, not each time. */
export type WitnessTell = (text: string) => void;

/** The witness of some pairs. */
export class WitnessDesk {
  /** Words that made no sense. */
  badWords = 0;
  /** Why the disk does not have what was granted last: until it has, nobody is answered. */
  trouble = "";
  readonly witness: Witness;
  readonly #file: DurableFile;
  readonly #tell: WitnessTell;
  #saved = true;
  readonly #stored = new Map<string, WitnessGroup>();

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
    if (word.word === "leaseGive") {
      const given = this.witness.handleGive(word, now);
      if (given === null) return;
      this.#stored.set(given.group, given);
      this.#save();
      this.#tell(`${word.box} gives back the lease of ${word.group} (term ${word.term})`);
    } else if (word.word === "leaseAsk") {
      const { answer, store } = this.witness.handleAsk(word, now);
      if (store !== null) {
        const before = this.#stored.get(store.group)?.term ?? 0;
        this.#stored.set(store.group, store);
        this.#saved = false;
        if (store.term > before) {
          this.#tell(`${store.box} is active in ${store.group} (term ${store.term})`);
        }
      }
      if (!this.#saved) this.#save();
      if (!this.#saved || from.state !== SessionState.Ready) return;
      from.send({ type: FairleadType.Standby, front: writeWord(answer) });
    } else this.badWords++;
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

function groupsOf(value: unknown): WitnessGroup[] {
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

function isGroup(value: unknown): value is WitnessGroup {
  const { box, group, instance, leaseMs, term } = (value ?? {}) as Partial<WitnessGroup>;
  return isBoxName(group) && (box === "" || isBoxName(box)) && typeof instance === "string" &&
    isWithin(term, 0, TERM_MAX) && isWithin(leaseMs, LEASE_MS_MIN, LEASE_MS_MAX);
}

function isWithin(value: unknown, least: number, most: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
}
