/**
 * The check for what can only be false when Fairlead itself is wrong. It stays on in production:
 * a box that stops and restarts is better than one that goes on with broken state.
 *
 * @module
 */

/** Throws when `condition` is false; `message` says which invariant broke. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`Invariant broken: ${message}`);
}
