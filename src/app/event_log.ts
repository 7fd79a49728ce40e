/**
 * What happens to sessions, told in sentences: on standard error, or in the rows of a live view.
 * What a stranger on the network can cause is told once a second at most, with a count.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";
import type { MessengerEvent } from "../proto/msgr2/messenger.ts";
import { addressText } from "./address_text.ts";
import { conModeName } from "../wire/msgr2/auth.ts";
import { printable, printableWord } from "./printable.ts";
import { clockText } from "./recent_messages.ts";
import { refusalText } from "./session_text.ts";
import { printError } from "./terminal.ts";

const ENTRIES_MAX = 20;
/** The same trouble is told again after this. */
const REPEAT_MS = 60_000;
/** Between two notes about connections that never became a session. */
const DROPPED_MS = 1000;

/** Keeps the last notes; prints each one too unless it is quiet. */
export class EventLog {
  /** With a live view on the terminal nothing is printed between its rows. */
  quiet = false;
  readonly #entries: string[] = [];
  readonly #told = new Map<string, { text: string; atMs: number }>();
  #droppedMs = -DROPPED_MS;
  #dropped = 0;

  /** Notes a sentence; it may hold anything. */
  note(text: string): void {
    const safe = printable(addressText(text));
    this.#entries.push(`${clockText(new Date())} ${safe}`);
    if (this.#entries.length > ENTRIES_MAX) this.#entries.shift();
    if (!this.quiet) printError(safe);
  }

  /** The last notes, newest last. */
  entries(count: number): string[] {
    return count <= 0 ? [] : this.#entries.slice(-count);
  }

  /** Notes an event of an endpoint; `who` names the other end where the event cannot. */
  noteEvent(event: MessengerEvent, who: string | null): void {
    const { kind, session } = event;
    const name = who ?? printableWord(session?.peerName ?? "-");
    switch (kind) {
      case "connect":
      case "accept":
        this.#told.delete(name);
        this.note(`Session with ${name} stands${this.#details(event, who)}`);
        return;
      case "resume":
        this.#told.delete(name);
        this.note(`Session with ${name} goes on after a new connection`);
        return;
      case "fault":
        this.#noteTrouble(
          name,
          `No connection with ${name}: ${event.text || "the peer closed it"}`,
        );
        return;
      case "refused":
        this.#noteTrouble(name, `Session with ${name} is refused: ${refusalText(event)}`);
        return;
      case "remoteReset":
      case "reset":
        this.note(`Session with ${name} is over: ${event.text}`);
        return;
      case "dropped":
        this.#noteDropped(event.text);
        return;
      case "authenticated":
        return;
    }
  }

  #details({ connection, session }: MessengerEvent, who: string | null): string {
    const mode = connection === null ? "" : ` (${conModeName(connection.mode)})`;
    const from = who === null && connection !== null ? `, from ${connection.peer}` : "";
    const count = session?.unacknowledged ?? 0;
    return `${mode}${from}${count === 0 ? "" : `, ${count} unacknowledged`}`;
  }

  #noteTrouble(name: string, text: string): void {
    const now = nowMs();
    const told = this.#told.get(name);
    if (told !== undefined && told.text === text && now - told.atMs < REPEAT_MS) return;
    if (this.#told.size > 1000) this.#told.clear();
    this.#told.set(name, { text, atMs: now });
    this.note(text);
  }

  #noteDropped(text: string): void {
    const now = nowMs();
    if (now - this.#droppedMs < DROPPED_MS) {
      this.#dropped++;
      return;
    }
    const more = this.#dropped > 0 ? ` (and ${this.#dropped} more)` : "";
    this.#droppedMs = now;
    this.#dropped = 0;
    this.note(`Connection dropped: ${text}${more}`);
  }
}
