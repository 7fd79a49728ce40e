/** Messages for the tests of outputs. */
import type { Received } from "../../src/app/hub/output.ts";

export const SPOOL = "00112233445566778899aabbccddeeff";

/** A message; what is not given is always the same. */
export function received(payload: string | Uint8Array, fields: Partial<Received> = {}): Received {
  return {
    gateway: "client.gw1",
    spool: SPOOL,
    stream: 0,
    number: 1,
    topic: "log",
    contentType: "text/plain",
    arrivalMs: Date.UTC(2026, 10, 21, 16, 0, 1, 7),
    payload: typeof payload === "string" ? new TextEncoder().encode(payload) : payload,
    ...fields,
  };
}

/** Resolves when a condition holds; fails after ten seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`Not in ten seconds: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
