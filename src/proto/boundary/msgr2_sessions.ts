/**
 * The sessions of a capture over all their connections: msgr2 "Message flow handshake". A session
 * is known by the cookie of whoever sent CLIENT_IDENT, which keeps it for life, also when the other
 * end reconnects; a lossy one ends with its connection. One table serves a whole capture.
 *
 * @module
 */
import { SESSIONS_MAX } from "../../mem/limits.ts";
import type { U64 } from "../../mem/u64.ts";

/** Who of the two ends of a session: the one that sent CLIENT_IDENT, or the one that answered. */
export const Role = { Client: 0, Server: 1 } as const;

/** A session. */
export class SeenSession {
  /** From 1, in order of appearance. */
  readonly number: number;
  readonly key: string;
  /** The conversation that carried it last. */
  connection = 0;
  /** The server's cookie as text; empty until SERVER_IDENT. */
  serverCookie = "";
  /** The addresses that each {@linkcode Role} told. */
  readonly addresses: [string, string] = ["", ""];
  /** The highest seq that each {@linkcode Role} sent. */
  readonly sent: Float64Array = new Float64Array(2);

  /** A session that was met in `connection`. */
  constructor(number: number, key: string) {
    this.number = number;
    this.key = key;
  }

  /** A message of a role; true when one with this seq, or a later one, was seen before. */
  noteSeq(role: number, seq: number): boolean {
    if (seq === 0) return false; // they count from 1
    if (seq <= this.sent[role]!) return true;
    this.sent[role] = seq;
    return false;
  }
}

/** All sessions of a capture; of more than SESSIONS_MAX the one not used for longest is forgotten. */
export class Msgr2Sessions {
  readonly #byCookie = new Map<string, SeenSession>();
  #count = 0;

  /** Sessions seen so far, those forgotten included. */
  get count(): number {
    return this.#count;
  }

  /** The session of this client's cookie, made when it is new. */
  meet(clientCookie: U64): SeenSession {
    const key = `${clientCookie}`;
    if (clientCookie.isZero()) return new SeenSession(++this.#count, key); // nobody can resume it
    const known = this.#byCookie.get(key);
    const session = known ?? new SeenSession(++this.#count, key);
    if (known !== undefined) this.#byCookie.delete(key);
    this.#byCookie.set(key, session);
    if (this.#byCookie.size > SESSIONS_MAX) {
      const [oldest] = this.#byCookie.keys();
      this.#byCookie.delete(oldest!);
    }
    return session;
  }

  /** The server's cookie of a session: another one than before means that it starts anew. */
  establish(session: SeenSession, serverCookie: U64): void {
    const cookie = `${serverCookie}`;
    if (session.serverCookie !== "" && session.serverCookie !== cookie) session.sent.fill(0);
    session.serverCookie = cookie;
  }

  /** The session was reset, or was lossy: its cookie means another one from here on. */
  forget(session: SeenSession): void {
    if (this.#byCookie.get(session.key) === session) this.#byCookie.delete(session.key);
  }
}
