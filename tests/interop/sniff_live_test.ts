/**
 * `fairlead sniff --live` beside tcpdump on the same interface of a namespace: it tells as it happens
 * what the other's file tells afterwards, and ends on SIGINT with what the kernel dropped.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import {
  ignoreWithoutCaptures,
  initiate,
  ISCSI_PORT,
  Recording,
  Target,
} from "../capture/captures.ts";
import { NamespacePair } from "./netns.ts";
import { Daemon, must } from "./processes.ts";
import { type Lines, readLines, sniff } from "./sniff_lines.ts";

const ignore = await ignoreWithoutCaptures();
const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
const DEADLINE_MS = 10_000;

/** What does not depend on who captured it: a packet's number does, as other packets count too. */
function told({ gaps, messages }: Lines): unknown[] {
  assert.deepEqual(gaps, []);
  return messages.map(({ errors, fields, length, offset, src, tag }) => {
    const others = Object.entries(fields).filter(([name]) => !/_(frame|packet)$/.test(name));
    return JSON.stringify({ src, offset, length, tag, errors, others });
  }).sort();
}

for (const device of ["lo", "cable0"] as const) {
  Deno.test({ name: `sniff --live ${device} tells what tcpdump captured`, ignore }, async () => {
    const directory = await Deno.makeTempDir({ prefix: "sniff_live_" });
    try {
      await using pair = await NamespacePair.create();
      const { far, farAddress, near } = pair;
      const [where, host] = device === "lo" ? [near, "127.0.0.1"] : [far, farAddress];
      await using target = await Target.start(directory, where, host);
      await target.setDigests(true, true);
      await using recording = await Recording.start(`${directory}/pcap`, near, device, host);
      const live = ["--live", device, "--filter", `port ${ISCSI_PORT}`, "--json"];
      const argv = pair.within(near, [Deno.execPath(), "run", "-A", MAIN, "sniff", ...live]);
      await using daemon = Daemon.start(argv, `${directory}/live`);
      const says = (text: string) => (): boolean => daemon.output().includes(text);
      await daemon.until("the capture has begun", says("Capturing on"), DEADLINE_MS);
      await initiate(pair, host, "both");
      await daemon.until("all was told", says('"tag":"Logout Response"'), DEADLINE_MS);
      await daemon.stop("SIGINT");
      assert.equal(await daemon.exited, 0);
      const output = daemon.output();
      assert.match(output, /^\d+ packets, 0 dropped by the kernel$/m);
      const lines = output.split("\n").filter((line) => line.startsWith("{")).join("\n");
      const expected = await sniff(await recording.end());
      assert.ok(expected.messages.length > 100);
      assert.deepEqual(told(readLines(lines)), told(expected));
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

Deno.test({ name: "sniff --live ends when its interface is removed", ignore }, async () => {
  const directory = await Deno.makeTempDir({ prefix: "sniff_live_" });
  try {
    await using pair = await NamespacePair.create();
    const argv = [Deno.execPath(), "run", "-A", MAIN, "sniff", "--live", "cable0"];
    await using daemon = Daemon.start(pair.within(pair.near, argv), `${directory}/live`);
    const begun = (): boolean => daemon.output().includes("Capturing on");
    await daemon.until("the capture has begun", begun, DEADLINE_MS);
    await must(["ip", "-n", pair.near, "link", "del", "cable0"]);
    assert.equal(await daemon.exited, 1);
    assert.match(daemon.output(), /Cannot capture on cable0 any more: it was removed/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
