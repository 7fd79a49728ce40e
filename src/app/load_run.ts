/**
 * The sending end of a load: opens its sessions, runs loads over them, and says why when one
 * cannot come to its end.
 *
 * @module
 */
import type { MessengerEvent } from "../proto/msgr2/messenger.ts";
import { Phase } from "../proto/msgr2/phase.ts";
import { POLICIES } from "../proto/msgr2/policy.ts";
import type { Session } from "../proto/msgr2/session.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Load } from "./load.ts";

/** Sessions that are opened at once: half of the handshakes that a server has under way. */
const OPENED_AT_ONCE = 256;

/** What sessions are wanted. */
interface Wanted {
  readonly sessions: number;
  /** Refuse a server that keeps no sessions. */
  readonly lossless: boolean;
}

/** Runs loads over its sessions, and ends them when one breaks or nothing is answered any more. */
export class LoadRun {
  /** Those that are open. */
  readonly sessions: Session[] = [];
  readonly #endpoint: Endpoint;
  readonly #timeoutMs: number;
  readonly #failed: Promise<never>;
  #reject: (error: Error) => void = () => {};
  #answered: () => number = () => 0;

  /** @param timeoutSeconds give up after this long without an answer */
  constructor(endpoint: Endpoint, timeoutSeconds: number) {
    this.#endpoint = endpoint;
    this.#timeoutMs = timeoutSeconds * 1000;
    this.#failed = new Promise((_resolve, reject) => this.#reject = reject);
    this.#failed.catch(() => {}); // it may come when nobody waits any more
    endpoint.onEvent((event) => this.#handleEvent(event));
  }

  /** Opens the sessions, as Ceph's client: lossless, until SERVER_IDENT makes them lossy. */
  async open(address: string, { lossless, sessions }: Wanted): Promise<void> {
    // Two entities have one lossless session; several are told apart by their connections.
    const policy = { ...POLICIES.losslessClient, registered: sessions === 1 };
    while (this.sessions.length < sessions) {
      const opened: Promise<void>[] = [];
      const next = Math.min(this.sessions.length + OPENED_AT_ONCE, sessions);
      while (this.sessions.length < next) {
        const session = await this.#endpoint.connect(address, policy);
        this.sessions.push(session);
        opened.push(this.#endpoint.established(session));
      }
      await this.#race(Promise.all(opened));
    }
    const lossy = this.sessions.find((session) => session.lossy);
    if (lossless && lossy !== undefined) {
      throw new Error(
        `Cannot bench losslessly as ${lossy.target} keeps no sessions: start it with ` +
          "--policy lossless",
      );
    }
  }

  /** Runs one load to its end. */
  async load(load: Load): Promise<void> {
    this.#answered = (): number => load.answered;
    this.#endpoint.handle((batch) => load.handle(batch));
    await this.#race(load.run(this.#failed));
  }

  /** Waits for `wanted`, for a failure, or until there was no answer for too long. */
  async #race(wanted: Promise<unknown>): Promise<void> {
    let seen = this.#answered();
    const timer = setInterval(() => {
      const answered = this.#answered();
      if (answered === seen) {
        const text = `Gave up as there was no answer for ${this.#timeoutMs / 1000} s`;
        const why = this.sessions.find(({ lastFault }) => lastFault !== "")?.lastFault;
        this.#reject(new Error(`${text}: ${why ?? `${seen} answers came`}`));
      }
      seen = answered;
    }, this.#timeoutMs);
    try {
      await Promise.race([wanted, this.#failed]);
    } finally {
      clearInterval(timer);
    }
  }

  #handleEvent({ connection, kind, session, text }: MessengerEvent): void {
    if (session === null) return;
    const { established, target } = session;
    const several = this.sessions.length > 1 && !session.lossy;
    const met = connection !== null && connection.lastPhase >= Phase.Ident;
    const hint = several && met ? `: was it told --sessions ${this.sessions.length} too?` : "";
    if (kind === "refused" || (kind === "fault" && !established)) {
      this.#reject(new Error(`Cannot bench ${target}: ${text}${hint}`));
    } else if (kind === "reset" || kind === "remoteReset") {
      const answers = `${this.#answered()} answers`;
      this.#reject(new Error(`Session with ${target} is over after ${answers}: ${text}${hint}`));
    }
  }
}
