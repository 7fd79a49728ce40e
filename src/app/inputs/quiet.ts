/**
 * What an input does first when it is stopped: it takes what has arrived already.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { delay } from "../delay.ts";

/** What the kernel holds already has come when nothing did for so long. */
const QUIET_MS = 50;
/** No longer than this, should somebody go on sending. */
const QUIET_WAIT_MS = 500;

/** Waits until nothing arrives any more: connections in the backlog, bytes in the kernel. */
export async function untilQuiet(arrived: () => number, deadlineMs: number): Promise<void> {
  const untilMs = Math.min(nowMs() + QUIET_WAIT_MS, deadlineMs);
  let before = -1;
  while (before !== arrived() && nowMs() < untilMs) {
    before = arrived();
    await delay(QUIET_MS);
  }
}
