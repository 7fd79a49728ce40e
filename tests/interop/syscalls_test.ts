/**
 * How many system calls the two processes of `fairlead bench` make for their messages, counted by
 * strace(1) in the kernel. It slows both, so batches differ from run to run: bounds are about
 * twice what was counted. tests/app/syscalls_test.ts counts closer, in one process.
 */
import assert from "node:assert/strict";
import { must, run } from "./processes.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;
const COUNTED = "sendmsg,readv,epoll_wait";
/** What `bench` sends before it counts. */
const WARM_UP = 3000;
/** Calls of both processes that make no message: handshakes, ends. */
const OTHER_MAX = 100;

const traces = (await run(["strace", "-o", "/dev/null", "true"])).code === 0;

/** Counted: 276, 276, 375 for each 1000; with one in flight 2000, 2000 and 6000 to 7000. */
const LOADS = [
  { inFlight: 33, messages: 20_000, most: { sendmsg: 600, readv: 600, epoll_wait: 1500 } },
  { inFlight: 1, messages: 5000, most: { sendmsg: 2000, readv: 2000, epoll_wait: 80_000 } },
];

for (const { inFlight, messages, most } of LOADS) {
  Deno.test({
    name: `system calls of both ends, requests of 4 KiB, ${inFlight} in flight`,
    ignore: !traces && Deno.env.get("CI") !== "true",
    async fn(): Promise<void> {
      const path = await Deno.makeTempFile();
      const bench = [Deno.execPath(), "run", "-A", MAIN, "bench", "--size=4096", "--mode=crc"];
      await must([
        ...["strace", "-f", "-c", "-e", `trace=${COUNTED}`, "-o", path],
        ...[...bench, `--in-flight=${inFlight}`, `--count=${messages}`, "--json"],
      ], { deadlineMs: 60_000 });
      const table = await Deno.readTextFile(path);
      await Deno.remove(path);
      for (const [name, bound] of Object.entries(most)) {
        const calls = callsOf(name, table);
        const each = (calls - OTHER_MAX) * 1000 / (messages + WARM_UP);
        assert.ok(calls > 0 && each <= bound, `${name}: ${each} for 1000 messages\n${table}`);
      }
    },
  });
}

/** `% time, seconds, usecs/call, calls, errors, syscall`; errors may be empty. */
function callsOf(name: string, table: string): number {
  const line = table.split("\n").find((line) => line.endsWith(` ${name}`)) ?? "";
  return Number(line.trim().split(/\s+/)[3] ?? 0);
}
