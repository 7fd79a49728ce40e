/**
 * How far a takeover moves an SA's numbers ahead, so that none is used twice: the kernel tells where
 * an SA is when a count of packets is reached, and the box that did is not heard for a while before
 * the other takes over. RFC 4303 section 3.3.3: a number is never sent twice with one key.
 *
 *     jump = packets that were not told + peak rate x time not heard x 1.25, 64 at least
 *
 * @module
 */
import type { Thresholds } from "../../wire/standby/sa_record.ts";

/** A jump is never less. */
export const JUMP_MIN = 64;
/** How much faster than ever measured an SA may have been. */
const RATE_MARGIN = 1.25;
/** Events wait so long for a flush, at most, before they leave. */
const FLUSH_MS = 50;

/**
 * The jump of an SA that went `peakPerSecond` at most and was not heard of for `exposedMs`. Without a
 * count, what was not told is what goes within the timer.
 */
export function takeoverJump(
  { packets, timerMs }: Thresholds,
  peakPerSecond: number,
  exposedMs: number,
): number {
  const silentMs = Math.max(exposedMs, 0) + FLUSH_MS + (packets > 0 ? 0 : timerMs);
  return Math.max(JUMP_MIN, packets + Math.ceil(peakPerSecond * silentMs / 1000 * RATE_MARGIN));
}
