/**
 * SIGINT and SIGTERM: the first one drains, a later one ends at once. npx hands a Ctrl-C on that
 * the terminal has delivered already, so the same signal may come twice within a millisecond: a
 * second one counts only after a while.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";

/** A signal that comes sooner than this after the first one is its echo. */
const ECHO_MS = 500;
/** What a process ends with when it was forced to: 128 + SIGINT, as shells have it. */
const EXIT_FORCED = 130;

const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM"];

/** Calls `drain` at the first signal; one that comes 500 ms or more later ends the process. */
export function onStop(drain: () => void): void {
  let firstMs = -1;
  const handle = (): void => {
    if (firstMs < 0) {
      firstMs = nowMs();
      drain();
    } else if (nowMs() - firstMs >= ECHO_MS) Deno.exit(EXIT_FORCED);
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, handle);
}

/**
 * Until the function that it returns is called, a signal has `end` put everything back, and ends the
 * process: for a start that may take long.
 */
export function onEarlyStop(end: () => Promise<void>): () => void {
  const handle = (): void => void end().finally(() => Deno.exit(EXIT_FORCED));
  const ignore = (): void => {}; // of SIGHUP: there is nothing yet to be read again
  const hangup = Deno.build.os !== "windows";
  for (const signal of SIGNALS) Deno.addSignalListener(signal, handle);
  if (hangup) Deno.addSignalListener("SIGHUP", ignore);
  return () => {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, handle);
    if (hangup) Deno.removeSignalListener("SIGHUP", ignore);
  };
}
