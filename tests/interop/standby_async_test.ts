/**
 * A pair of gateways with sessions "async": a takeover may lose messages that were acknowledged, no more
 * than was said, and doubles none. Needs root and ip(8); with CI=true it fails without them.
 */
import assert from "node:assert/strict";
import { ignoreWithoutNamespaces } from "./netns.ts";
import {
  BOXES,
  figures,
  lostOf,
  otherOf,
  say,
  sleep,
  StandbySite,
  untilActive,
  untilDrained,
} from "./standby_site.ts";

const KILLS = 5;
const MESSAGES = 200;
/** Shorter than deadMs, or the active box goes on alone. */
const AWAY_MS = 200;

Deno.test({
  name:
    `async: with ${MESSAGES} messages allowed, a takeover loses so many at most, which were on ` +
    "their way when the active box died; nothing is doubled",
  ignore: await ignoreWithoutNamespaces(),
  async fn(): Promise<void> {
    await using site = await StandbySite.create({
      ownWitness: true,
      standby: () => ({
        sessions: "async",
        asyncMessages: MESSAGES,
        heartbeatMs: 100,
        deadMs: 800,
        leaseMs: 1000,
      }),
    });
    await Promise.all([site.startWitness(), site.startHub()]);
    for (const box of BOXES) site.startBox(box);
    const sender = site.startSender(32);
    for (let kill = 0; kill < KILLS; kill++) {
      const active = await site.untilPaired();
      await sender.more(300);
      const standby = otherOf(active);
      // What is acknowledged now is on this box only, as neither the hub nor the other box takes it.
      await site.daemon("hub").stop("SIGKILL");
      await site.setCable(standby, false);
      await sleep(AWAY_MS);
      await site.setCable(active, false); // or its kernel would still send what it has
      await site.daemon(active).stop("SIGKILL");
      await site.setCable(standby, true);
      await site.startHub();
      await untilActive(site, standby);
      await sender.more(1);
      await site.setCable(active, true);
      site.startBox(active);
    }
    const last = await site.untilPaired();
    const report = await sender.stop();
    await untilDrained(site, last);
    const numbers = await site.numbers();
    const seen = new Set(numbers);
    assert.equal(numbers.length, seen.size, `${numbers.length - seen.size} came twice`);
    assert.ok(numbers.every((number, at) => at === 0 || numbers[at - 1]! < number), "out of order");
    const lost = report.acknowledged.filter(([from, to]) => to > from)
      .map((range) => lostOf([range], seen).length);
    await say(
      `async, ${MESSAGES} messages: ${KILLS} takeovers lost ${lost.join(", ")}; ` +
        `gap ${figures(report.gapsMs)}`,
    );
    assert.ok(lost.every((count) => count <= MESSAGES), `${lost}`);
    assert.ok(lost.some((count) => count > 0), "some were on their way: else this shows nothing");
    assert.equal(lost.at(-1), 0, "without a takeover nothing is lost");
  },
});
