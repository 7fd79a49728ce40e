/**
 * What of a path manager's events belongs into the log: links, what went wrong, and what the manager has to
 * say; not each subflow of a thousand connections.
 *
 * @module
 */
import type { PathEvent } from "../../proto/mptcp/path_events.ts";
import type { Journal } from "../status/journal.ts";

/** Writes to a journal. */
export class PathsLog {
  readonly #journal: Journal;

  /** @param journal where the lines go */
  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** An event of a namespace, whose name is empty for our own. */
  tell(event: PathEvent, namespace: string): void {
    const where = namespace === "" ? "" : `${namespace}: `;
    if (event.name === "note") {
      this.#journal.event(event.level, "paths", `${where}${event.text}`, { name: namespace });
    } else if (event.name === "link") {
      const text = `${where}Link ${event.link} is ${event.up ? "up" : "down"}`;
      this.#journal.event("info", "link", text, { name: `${where}${event.link}`, up: event.up });
    }
  }
}
