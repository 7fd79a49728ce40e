/**
 * `paths_status.ts SOCKET SECONDS`: asks a running path manager how many connections it knows, until
 * there are none or the time is over, and prints what it said last. A program of its own, as the socket
 * answers processes of its network namespace only.
 *
 * @module
 */
import { delay } from "../../src/app/delay.ts";
import { AccessClient } from "../../src/app/access_client.ts";
import { type AccessEvent, PATH_MANAGER } from "../../src/app/paths/access_message.ts";
import { printLine } from "../../src/app/terminal.ts";

const LOOK_MS = 250;
const ANSWER_MS = 10_000;

/** What is printed. */
export interface KnownPaths {
  /** Connections in the tables of the daemon. */
  connections: number;
  subflows: number;
  /** Connections that `paths list` would show. */
  listed: number;
}

if (import.meta.main) {
  const [path, seconds] = Deno.args as [string, string];
  printLine(JSON.stringify(await knownAtLast(path, Number(seconds) * 1000)));
}

async function knownAtLast(path: string, waitMs: number): Promise<KnownPaths> {
  const client = await AccessClient.connect<AccessEvent>(PATH_MANAGER, path);
  try {
    const untilMs = performance.now() + waitMs;
    for (;;) {
      const known = await ask(client);
      const none = known.connections === 0 && known.listed === 0;
      if (none || performance.now() > untilMs) return known;
      await delay(LOOK_MS);
    }
  } finally {
    await client.close();
  }
}

async function ask(client: AccessClient<AccessEvent>): Promise<KnownPaths> {
  const { status } = await client.request("status", {}, ANSWER_MS);
  const { view } = await client.request("view", {}, ANSWER_MS);
  const { connections, subflows } = status as KnownPaths;
  return { connections, subflows, listed: (view as { connections: unknown[] }).connections.length };
}
