/**
 * Ceph's own load client against a server that is a pair: through kill -9 of whichever box is active it
 * stays lossless, as SERVER_IDENT has flags 0 and a cookie. Needs root, ip(8) and Ceph 18.2; with
 * CI=true it fails without them.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { findPeer, ignoreWithout, perfClient, placeOf } from "./debian_peers.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import type { PerfServed } from "./standby_perf_server.ts";
import {
  BOXES,
  type BoxName,
  otherOf,
  say,
  StandbySite,
  until,
  untilActive,
  VIRTUAL_ADDRESS,
} from "./standby_site.ts";

const SERVER = fileURLToPath(import.meta.resolve("./standby_perf_server.ts"));
const PORT = 6900;
const KILLS = 5;
const IN_FLIGHT = 32;
const OPS = 200_000;
const BYTES = 1000;
/** Requests between a takeover and the next kill. */
const SPACING = 3000;
const CLIENT_MS = 75_000;

const reef = await findPeer("reef");

/** What a box has said, in all its lives. */
function served(site: StandbySite, box: BoxName): PerfServed[] {
  return site.said(box).split("\n").filter((line) => line.startsWith("{") && line.endsWith("}"))
    .map((line) => JSON.parse(line));
}

Deno.test({
  name:
    `reef: ceph_perf_msgr_client goes on through ${KILLS} times kill -9 of the server's active ` +
    "box: each request is taken once and answered once",
  ignore: ignoreWithout(reef) || await ignoreWithoutNamespaces(),
  async fn(): Promise<void> {
    await using site = await StandbySite.create({ ownWitness: true });
    await site.startWitness();
    const program = { path: SERVER, words: [`v2:${VIRTUAL_ADDRESS}:${PORT}`] };
    for (const box of BOXES) site.startBox(box, program);
    let active = await site.untilPaired();
    const place = { ...placeOf(reef), netns: site.namespace("hub") };
    let ended = false;
    const client = perfClient(place, {
      address: `v2:${VIRTUAL_ADDRESS}:${PORT}`,
      inFlight: IN_FLIGHT,
      ops: OPS,
      bytes: BYTES,
      deadlineMs: CLIENT_MS,
    }).finally(() => ended = true);
    client.catch(() => {}); // it is awaited below
    const requests = (): number => served(site, active).at(-1)?.requests ?? 0;
    let kills = 0;
    for (; kills < KILLS && !ended; kills++) {
      const from = requests();
      await until("it has served some", () => ended || requests() > from + SPACING);
      if (ended) break;
      active = await site.untilPaired();
      await site.daemon(active).stop("SIGKILL");
      await untilActive(site, otherOf(active));
      site.startBox(active, program);
      active = otherOf(active);
    }
    const { microseconds, ops, opsPerSecond } = await client;
    assert.equal(ops, OPS);
    assert.equal(kills, KILLS, "it ran long enough");
    const lines = BOXES.flatMap((box) => served(site, box));
    assert.ok(lines.every(({ outOfOrder }) => outOfOrder === 0), "each request once, in order");
    const taken = lines.filter(({ what }) => what === "taken");
    assert.equal(taken.length, KILLS);
    for (const { answers, requests } of taken) assert.equal(answers, requests, "of what was taken");
    await until("its last requests are taken", () => requests() >= OPS - IN_FLIGHT - 1);
    const last = served(site, active).at(-1)!;
    assert.equal(last.answers, last.requests);
    // The tool does not wait for its last answers, nor for its last requests.
    assert.ok(last.requests <= OPS, `${last.requests}`);
    await say(
      `ceph_perf_msgr_client: ${ops} requests in ${(microseconds / 1e6).toFixed(1)} s through ` +
        `${kills} takeovers, ${Math.round(opsPerSecond)}/s`,
    );
  },
});
