/**
 * An intake for the tests of inputs: it keeps what it takes, has as much room as it is told, can
 * fail, and can hold back what `durable()` waits for.
 */
import type { Intake } from "../../src/app/gateway/intake.ts";

/** What `room()` waits for at the longest: a moment. */
const MOMENT_MS = 5;
/** What `until()` waits for at the longest. */
const CONDITION_MS = 20_000;

const decoder = new TextDecoder();

/** A message as it was offered. */
export interface Taken {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly text: string;
  readonly contentType: string;
}

/** Takes everything until it is told otherwise. */
export class FakeIntake implements Intake {
  /** Set false for a spool that drops what comes when it is full. */
  waits = true;
  readonly messages: Taken[] = [];
  /** Offers that were not taken. */
  refusals = 0;
  /** Calls of `durable()`. */
  durables = 0;
  /** What `setPosition` stored, and how many messages had been taken by then. */
  readonly positions: { position: string; messages: number }[] = [];
  #position: string | null;
  #room = Infinity;
  #failing = false;
  #held = false;
  readonly #roomWaiters = new Set<() => void>();
  #durableWaiters: (() => void)[] = [];
  /** Resolve what a test waits for; true when done. */
  #checks: (() => boolean)[] = [];

  /** @param position as if stored by an earlier process */
  constructor(position: string | null = null) {
    this.#position = position;
  }

  /** The payloads as text. */
  get texts(): string[] {
    return this.messages.map(({ text }) => text);
  }

  /** The payloads as the JSON that they are. */
  // deno-lint-ignore no-explicit-any -- a test asserts what it is
  get values(): any[] {
    return this.messages.map(({ text }) => JSON.parse(text));
  }

  offer(topic: string, payload: Uint8Array, contentType: string): boolean {
    if (this.#failing || this.#room < 1) {
      this.refusals++;
      this.#wake();
      return false;
    }
    this.#room--;
    const copy = payload.slice();
    this.messages.push({ topic, payload: copy, text: decoder.decode(copy), contentType });
    this.#wake();
    return true;
  }

  room(): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#roomWaiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, MOMENT_MS);
      this.#roomWaiters.add(done);
    });
  }

  durable(): Promise<void> {
    this.durables++;
    this.#wake();
    if (!this.#held && !this.#failing) return Promise.resolve();
    return new Promise((resolve) => this.#durableWaiters.push(resolve));
  }

  position(): string | null {
    return this.#position;
  }

  setPosition(position: string): void {
    this.#position = position;
    this.positions.push({ position, messages: this.messages.length });
    this.#wake();
  }

  /** From now on there is room for so many messages more. */
  setRoom(messages: number): void {
    this.#room = messages;
    for (const done of [...this.#roomWaiters]) done();
  }

  /** While it fails nothing is taken and nothing becomes durable. */
  setFailing(failing: boolean): void {
    this.#failing = failing;
    if (!failing) this.setRoom(this.#room);
    this.#settle();
  }

  /** `durable()` waits from now on, until `release()`. */
  hold(): void {
    this.#held = true;
  }

  /** What was offered is durable now, and what will be offered at once. */
  release(): void {
    this.#held = false;
    this.#settle();
  }

  /** What was offered by now is durable; what comes later is held. */
  releaseOnce(): void {
    const waiters = this.#durableWaiters;
    this.#durableWaiters = [];
    for (const resolve of waiters) resolve();
  }

  /** Resolves when so many messages were taken. */
  taken(count: number): Promise<void> {
    return this.#until(() => this.messages.length, count);
  }

  /** Resolves when so many offers were refused. */
  refused(count: number): Promise<void> {
    return this.#until(() => this.refusals, count);
  }

  /** Resolves when `durable()` was called so many times. */
  asked(count: number): Promise<void> {
    return this.#until(() => this.durables, count);
  }

  /** Resolves when so many positions were stored. */
  positioned(count: number): Promise<void> {
    return this.#until(() => this.positions.length, count);
  }

  #until(value: () => number, count: number): Promise<void> {
    if (value() >= count) return Promise.resolve();
    return new Promise((resolve) => {
      this.#checks.push(() => {
        if (value() < count) return false;
        resolve();
        return true;
      });
    });
  }

  #wake(): void {
    this.#checks = this.#checks.filter((check) => !check());
  }

  #settle(): void {
    if (!this.#held && !this.#failing) this.releaseOnce();
  }
}

/** Resolves when it holds; for what tells nobody that it changed, such as counts. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + CONDITION_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`Never became true: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
