/**
 * A pair of gateways of which one is away for a while: the other one goes on, has it all copied when it is
 * back, and until then nobody goes on with less. Needs root and ip(8); with CI=true it fails without.
 */
import assert from "node:assert/strict";
import { Database } from "../../src/io/database.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import {
  BOXES,
  checkLines,
  lostOf,
  otherOf,
  say,
  sleep,
  StandbySite,
  until,
  untilActive,
  untilDrained,
} from "./standby_site.ts";

const BACKLOG_BYTES = 20e6;
const LINE_BYTES = 4000;
/** Three leases and some: whoever would take over has done so by then. */
const LONG_MS = 2000;
const MEASURE_MS = 1500;

const ignore = await ignoreWithoutNamespaces();

async function startAll(site: StandbySite): Promise<void> {
  await Promise.all([site.startWitness(), site.startHub()]);
  for (const box of BOXES) site.startBox(box);
}

Deno.test({
  name:
    "a standby that is away does not hold the active one up, and gets a backlog of 20 MB when it " +
    "is back; then a takeover loses nothing",
  ignore,
  async fn(): Promise<void> {
    await using site = await StandbySite.create({ ownWitness: true });
    await startAll(site);
    const active = await site.untilPaired();
    const standby = otherOf(active);
    const sender = site.startSender(32, LINE_BYTES);
    await sender.more(500);
    await site.daemon("hub").stop("SIGKILL");
    const { pid } = site.daemon(standby);
    Deno.kill(pid, "SIGSTOP");
    await sender.more(500);
    await until("the backlog is long", async () => {
      return (await site.status(active))!.cargo!.spoolBytes > BACKLOG_BYTES;
    });
    await until("it is told", () => /No other box could take over/.test(site.said(active)));
    const { term } = (await site.status(active))!;
    assert.ok(term > 1, "it has moved on to a term that the other box knows nothing of");
    Deno.kill(pid, "SIGCONT");
    const backMs = performance.now();
    assert.equal(await site.untilPaired(), active);
    const copiedMs = performance.now() - backMs;
    const { cargo } = (await site.status(standby))!;
    assert.ok(cargo!.spoolBytes > BACKLOG_BYTES);
    await site.daemon(active).stop("SIGKILL");
    await untilActive(site, standby);
    await sender.more(100);
    const report = await sender.stop();
    await site.startHub();
    await untilDrained(site, standby);
    await say(
      `backlog of ${Math.round(cargo!.spoolBytes / 1e6)} MB copied in ${
        Math.round(copiedMs)
      } ms; ` +
        `gap of the takeover ${Math.round(report.gapsMs[0]!)} ms; while the standby was stopped ` +
        `the slowest line took ${Math.round(report.worstMs)} ms`,
    );
    await checkLines(site, report);
  },
});

Deno.test({
  name:
    "a standby that comes back alone does not go on with what it had, until the other box is back " +
    "or somebody forces it; what nobody else has is kept then",
  ignore,
  async fn(): Promise<void> {
    await using site = await StandbySite.create({ ownWitness: true });
    await startAll(site);
    const one = await site.untilPaired();
    const other = otherOf(one);
    const first = site.startSender(32);
    await first.more(500);
    await site.daemon(other).stop("SIGKILL");
    await first.more(500); // which the other box does not have
    await site.daemon(one).stop("SIGKILL");
    site.startBox(other);
    await until("it runs", async () => (await site.status(other))?.role === "standby");
    await sleep(LONG_MS);
    const back = (await site.status(other))!;
    assert.equal(back.role, "standby");
    assert.equal(back.ready, false);
    await assert.rejects(site.command(other, "promote"), /Cannot promote/);
    site.startBox(one);
    assert.equal(await site.untilPaired(), one, "who has everything goes on");
    await first.more(100);
    const report = await first.stop();
    await untilDrained(site, one);
    await checkLines(site, report);

    // Again, with the hub away, and then by force.
    await site.daemon("hub").stop("SIGKILL");
    await site.daemon(other).stop("SIGKILL");
    await until("it is alone", () => site.said(one).includes("The standby is away"));
    const alone = site.startSender(32);
    await alone.more(500);
    const kept = await alone.stop();
    await site.daemon(one).stop("SIGKILL");
    site.startBox(other);
    await until("it runs", async () => (await site.status(other))?.role === "standby");
    await site.command(other, "promote", { force: true });
    await untilActive(site, other);
    site.startBox(one);
    assert.equal(await site.untilPaired(), other);
    const name = /(\d+) messages are kept aside in (\S+\.db)/.exec(site.said(one));
    assert.ok(name !== null, site.said(one));
    const database = await Database.open(name[2]!, "");
    const { count } = database.prepare("SELECT sum(count) AS count FROM envelopes").get() as {
      count: number;
    };
    database.close();
    const lost = lostOf(kept.acknowledged, new Set());
    assert.equal(count, Number(name[1]));
    assert.ok(count >= lost.length, `${count} of ${lost.length} acknowledged ones`);
  },
});

Deno.test({
  name: "what a standby costs: lines a second and time of a line, with it and without",
  ignore,
  async fn(): Promise<void> {
    await using site = await StandbySite.create({ ownWitness: true });
    await startAll(site);
    const active = await site.untilPaired();
    const measure = async (window: number): Promise<string> => {
      const sender = site.startSender(window);
      await sender.more(100);
      await sleep(MEASURE_MS);
      const { count, p50Ms, p99Ms, seconds } = await sender.stop();
      const rate = Math.round(count / seconds);
      return `${rate}/s, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`;
    };
    const paired = [await measure(1), await measure(64), await measure(1024)];
    const { addedLatencyMs } = (await site.status(active))!.cargo!;
    await site.daemon(otherOf(active)).stop("SIGKILL");
    await until("it is alone", () => site.said(active).includes("The standby is away"));
    const alone = [await measure(1), await measure(64), await measure(1024)];
    await say(
      `one line at a time: ${paired[0]} with a standby, ${alone[0]} without; ` +
        `64 at a time: ${paired[1]} and ${alone[1]}; 1024 at a time: ${paired[2]} and ${
          alone[2]
        }; ` +
        `added latency as the status has it: ${addedLatencyMs.toFixed(2)} ms`,
    );
    assert.ok(addedLatencyMs < 100, `${addedLatencyMs} ms`);
  },
});
