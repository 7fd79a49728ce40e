/**
 * What of a path manager's events belongs into the log: links, what went wrong, and what the manager has to
 * say; not each subflow of a thousand connections.
 *
 * @module
 */
import type { PathEvent } from "../../proto/mptcp/path_events.ts";
import { countText } from "../count_text.ts";
import type { Journal } from "../status/journal.ts";
import type { NamespacePaths } from "./namespace_paths.ts";

/** Writes to a journal. */
export class PathsLog {
  readonly #journal: Journal;

  /** @param journal where the lines go */
  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** What is managed from now on. */
  ready(namespaces: readonly NamespacePaths[]): void {
    for (const { manager, namespace } of namespaces) {
      const where = namespace === "" ? "" : ` in namespace ${namespace}`;
      const links = [...manager.links.values()].filter(({ up }) => up).map(({ name }) => name);
      const count = countText(manager.connections.size, "connection is", "connections are");
      this.#journal.note(
        `Paths ready${where}: ${links.join(", ") || "no link is up"}; ${count} there`,
      );
    }
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
