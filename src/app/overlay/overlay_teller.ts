/**
 * What a manager tells operators of its overlays: log lines and alarms for what its machines tell, and why
 * something cannot be done.
 *
 * @module
 */
import type { Failure, ManagerEvent } from "../../proto/xbone/machine.ts";
import { REFUSED } from "../../proto/xbone/manager_upkeep.ts";
import type { NodeState } from "../../wire/xbone/messages.ts";
import type { Alarms, Journal } from "../status/journal.ts";
import type { OverlayEntry } from "./overlay_entry.ts";

/** Tells. */
export class OverlayTeller {
  readonly #journal: Journal;
  readonly #alarms: Alarms;

  constructor(journal: Journal, alarms: Alarms) {
    this.#journal = journal;
    this.#alarms = alarms;
  }

  /** An event of an overlay's machine, which its entry has taken. */
  tell(entry: OverlayEntry, event: ManagerEvent): void {
    const journal = this.#journal;
    const { name } = entry.manager.record.order;
    switch (event.event) {
      case "reached":
        if (event.state === "ACTIVE") journal.note(`Overlay ${name} is up: every link was probed`);
        break;
      case "failed":
        journal.event("error", "overlay_failed", failureText(name, event.failure), { name });
        break;
      case "gone":
        this.#gone(entry, name, event.orphans);
        break;
      case "forgotten":
        journal.event(
          "warning",
          "overlay_forgotten",
          `Overlay ${name}: ${
            event.nodes.join(", ")
          } never answered, and are not asked any more; ` +
            "fairlead overlay orphans on such a box shows whether something is left",
          { name },
        );
        break;
      case "cleaned":
        journal.note(`Overlay ${name}: node ${event.node} is clean at last`);
        break;
      case "silent":
        entry.alarmed.add(event.node);
        this.#alarms.raise(
          "overlay_silent",
          "warning",
          `Node ${event.node} of overlay ${name} does not answer: look at it, or wait`,
          `${name}/${event.node}`,
        );
        break;
      case "refreshed":
        for (const each of event.nodes) this.#refreshed(entry, name, each);
        break;
    }
  }

  #refreshed(entry: OverlayEntry, name: string, { node, state }: NodeState): void {
    const alarms = this.#alarms;
    for (const each of [node, ...entry.managersOf(node)]) {
      alarms.clear("overlay_silent", `${name}/${each}`);
    }
    if (state !== REFUSED) return alarms.clear("overlay_lost", `${name}/${node}`);
    entry.alarmed.add(node);
    const remedy = "fairlead overlay apply with the same specification forms it again";
    alarms.raise(
      "overlay_lost",
      "error",
      `Node ${node} has nothing of overlay ${name} any more: ${remedy}`,
      `${name}/${node}`,
    );
  }

  #gone({ alarmed }: OverlayEntry, name: string, orphans: readonly string[]): void {
    for (const node of alarmed) {
      this.#alarms.clear("overlay_silent", `${name}/${node}`);
      this.#alarms.clear("overlay_lost", `${name}/${node}`);
    }
    if (orphans.length === 0) {
      return this.#journal.note(`Overlay ${name} is gone: nothing is left of it`);
    }
    this.#journal.event(
      "warning",
      "overlay_orphans",
      `Overlay ${name} is gone, but ${orphans.join(", ")} did not answer: it is tried on, and ` +
        "undone there at the latest when the lease is over",
      { name },
    );
  }
}

/** A sentence: who refused what, and why. */
export function failureText(
  name: string,
  { node, phase, reason, step }: Failure,
): string {
  const who = node === "" ? "" : `node ${node}: `;
  const at = step === "" ? "" : `${step}: `;
  const what = phase === "ACTIVE" ? "Cannot keep overlay" : "Cannot form overlay";
  return `${what} ${name} in ${phase} as ${who}${at}${reason}`;
}

/** Why an overlay cannot be formed while this one of its name is there. */
export function inTheWay({ manager, memo }: OverlayEntry, digest: string): string {
  const { record: { order: { name } }, state } = manager;
  if (memo.digest === digest && state === "READY") {
    return `Cannot form overlay ${name} as it is reserved already: fairlead overlay config ${name} ` +
      `goes on with it, fairlead overlay cancel ${name} gives it up`;
  }
  if (memo.digest === digest) {
    return `Cannot form overlay ${name} as it is being formed or ended: current state is ${state}, ` +
      `see fairlead overlay status ${name}`;
  }
  return `Cannot form overlay ${name} as another one of that name is there: its digest is ` +
    `${memo.digest.slice(0, 12)}, this one's ${
      digest.slice(0, 12)
    }; add --replace, which destroys it ` +
    "first, or take another name";
}
