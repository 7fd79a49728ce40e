/**
 * What every output counts, at its start.
 *
 * @module
 */
import type { OutputCounts } from "../hub/output.ts";

/** Counts that are all zero. */
export function outputCounts(): OutputCounts {
  return { messages: 0, bytes: 0, dropped: 0, reopened: 0 };
}
