/**
 * A pair of gateways with a hub that is their witness too, as real processes in network namespaces: a box
 * that is killed loses nothing that was acknowledged, and doubles nothing. Needs root and ip(8); with
 * CI=true it fails without them.
 */
import assert from "node:assert/strict";
import { ignoreWithoutNamespaces } from "./netns.ts";
import {
  BOXES,
  checkLines,
  figures,
  otherOf,
  say,
  StandbySite,
  untilActive,
  untilDrained,
} from "./standby_site.ts";

const KILLS = 20;
const PAUSES = 5;
const WINDOW = 64;
const RESUMED = "Session with hub hq goes on after a new connection";
const BEGUN = "Session with hub hq stands";

function count(text: string, words: string): number {
  return text.split(words).length - 1;
}

Deno.test({
  name: `${KILLS} times kill -9 of the active box under load: every acknowledged line is in the ` +
    "hub's file once, in order, and no session is reset",
  ignore: await ignoreWithoutNamespaces(),
  async fn(): Promise<void> {
    await using site = await StandbySite.create();
    await site.startHub();
    for (const box of BOXES) site.startBox(box);
    await site.untilPaired();
    const sender = site.startSender(WINDOW);
    await sender.more(1000);
    const latencies: number[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      const active = await site.untilPaired();
      await sender.more(1 + Math.floor(Math.random() * 500));
      latencies.push((await site.status(active))!.cargo!.addedLatencyMs);
      await site.daemon(active).stop("SIGKILL");
      await untilActive(site, otherOf(active));
      await sender.more(1);
      site.startBox(active);
    }
    const last = await site.untilPaired();
    const report = await sender.stop();
    await untilDrained(site, last);
    const resumed = BOXES.map((box) => count(site.said(box), RESUMED));
    const begun = BOXES.map((box) => count(site.said(box), BEGUN));
    await say(
      `${KILLS} takeovers: gap ${figures(report.gapsMs)}; ` +
        `${report.count} lines acknowledged, ${Math.round(report.count / report.seconds)}/s; ` +
        `p50 ${report.p50Ms.toFixed(1)} ms; added latency ${figures(latencies)}`,
    );
    await checkLines(site, report);
    assert.ok(resumed[0]! + resumed[1]! >= KILLS, `${resumed} takeovers went on with the session`);
    assert.equal(begun[0]! + begun[1]!, 1, "and only the first box began one");
    assert.ok(BOXES.every((box) => !/hub hq.*(forgot|is over)/.test(site.said(box))));
  },
});

Deno.test({
  name:
    `${PAUSES} times the active box is stopped until the other one has gone on, and wakes then: ` +
    "nothing that it still says counts",
  ignore: await ignoreWithoutNamespaces(),
  async fn(): Promise<void> {
    await using site = await StandbySite.create();
    await site.startHub();
    for (const box of BOXES) site.startBox(box);
    const sender = site.startSender(WINDOW);
    for (let pause = 0; pause < PAUSES; pause++) {
      const active = await site.untilPaired();
      await sender.more(500);
      const { pid } = site.daemon(active);
      Deno.kill(pid, "SIGSTOP");
      await untilActive(site, otherOf(active));
      Deno.kill(pid, "SIGCONT");
      await sender.more(500);
    }
    const last = await site.untilPaired();
    const report = await sender.stop();
    await untilDrained(site, last);
    await say(`${PAUSES} boxes stopped: gap ${figures(report.gapsMs)}`);
    await checkLines(site, report);
    assert.ok(BOXES.every((box) => !site.said(box).includes("kept aside")));
  },
});

Deno.test({
  name: "handed over by promote, by demote and by SIGTERM under load: nothing is lost or doubled",
  ignore: await ignoreWithoutNamespaces(),
  async fn(): Promise<void> {
    await using site = await StandbySite.create();
    await site.startHub();
    for (const box of BOXES) site.startBox(box);
    const sender = site.startSender(WINDOW);
    const ways = ["promote", "demote", "SIGTERM", "promote", "demote", "SIGTERM"] as const;
    for (const way of ways) {
      const active = await site.untilPaired();
      await sender.more(500);
      if (way === "promote") await site.command(otherOf(active), "promote");
      else if (way === "demote") await site.command(active, "demote");
      else {
        await site.daemon(active).stop("SIGTERM");
        site.startBox(active);
      }
      await untilActive(site, otherOf(active));
    }
    const last = await site.untilPaired();
    await sender.more(500);
    const report = await sender.stop();
    await untilDrained(site, last);
    await say(`${ways.length} handovers: gap ${figures(report.gapsMs)}`);
    await checkLines(site, report);
    const begun = BOXES.map((box) => count(site.said(box), BEGUN));
    assert.equal(begun[0]! + begun[1]!, 1, "all went on with the session that the first one began");
  },
});
