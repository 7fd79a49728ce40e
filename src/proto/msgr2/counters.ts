/**
 * What a messenger counts: why connections ended, what was refused, what was odd.
 *
 * @module
 */
import type { CloseReason } from "./connection.ts";

/**
 * Counts since the start of the process; they only grow.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Counters } from "@fairlead/fairlead";
 *
 * const counters = new Counters();
 * counters.count("silent");
 * assert.equal(counters.closed.get("silent"), 1);
 * ```
 */
export class Counters {
  /** Ended connections by reason. */
  readonly closed: Map<string, number> = new Map();
  /** Connections refused because too many were open. */
  refusedConnections = 0;
  /** Sessions refused because too many were open. */
  refusedSessions = 0;
  /** AUTH_BAD_METHOD sent. */
  badMethods = 0;
  /** IDENT_MISSING_FEATURES sent. */
  missingFeatures = 0;
  /** Frames that their sender aborted. */
  aborted = 0;
  /** Messages that had been received before. */
  duplicates = 0;
  /** Messages whose number was not the next one. */
  gaps = 0;
  /** Sessions that the peer had forgotten. */
  remoteResets = 0;
  /** Messages dropped by such a reset. */
  messagesDropped = 0;
  /** Sessions that nobody came back to. */
  expiredSessions = 0;
  /** Events that nobody took in time. */
  eventsDropped = 0;

  /** Counts an ended connection. */
  count(reason: CloseReason | ""): void {
    this.closed.set(reason, (this.closed.get(reason) ?? 0) + 1);
  }
}
