/** Overlays on the status page, in metrics, in health and in `fairlead top`. */
import assert from "node:assert/strict";
import type { OverlayView } from "../../src/app/overlay/overlay_view.ts";
import { health, statusReport } from "../../src/app/status/health.ts";
import { metricsText } from "../../src/app/status/metrics.ts";
import { openStatus } from "../../src/app/status/server.ts";
import type { Snapshot } from "../../src/app/status/snapshot.ts";
import { topRows } from "../../src/app/status/top_view.ts";
import {
  fakeLink,
  fakeManager,
  fakeOverlay,
  fakeResource,
  inTrouble,
  stacked,
} from "./fake_overlay.ts";
import { HOSTILE_NAME } from "./fake_snapshot.ts";

const TROUBLE = inTrouble(fakeOverlay("ring", 12));

function samplesOf(snapshot: Snapshot): Map<string, number> {
  const lines = metricsText(snapshot).split("\n").filter((line) => /^[a-z]/.test(line));
  const samples = lines.map((line) => /^(.*) (\S+)$/.exec(line)!);
  assert.equal(new Set(samples.map(([, name]) => name)).size, samples.length, "no series twice");
  return new Map(samples.map(([, name, value]) => [name!, Number(value)]));
}

function texts(snapshot: Snapshot): string[] {
  return health(snapshot).problems.map(({ level, text }) => `${level}: ${text}`);
}

Deno.test("health names dead links, silent and drifted boxes, losses and what is left over", () => {
  const view = { ...TROUBLE, orphans: ["gw9"] };
  assert.deepEqual(texts(fakeManager(100, [view])), [
    "error: Overlay field has 1 dead link: r2-r3",
    "warning: Overlay field hears nothing of gw2: look at it, or wait",
    "warning: Overlay field has drifted on gw3: route 10.100.0.1/32 is missing",
    "warning: Overlay field loses packets on r3-r4",
    "warning: Overlay field is left over on gw9, which did not answer: it goes with its lease",
  ]);
  const failure = { phase: "CONFIG", node: "gw3", step: "link", reason: "no such device" };
  const failed = fakeManager(100, [{ ...fakeOverlay("ring", 3), state: "TEARDOWN", failure }]);
  assert.deepEqual(texts(failed), ["error: Overlay field failed in CONFIG at gw3: no such device"]);
  assert.deepEqual(texts(fakeResource(100)), [
    "warning: Overlay lab has drifted here: link vx5 is down",
  ]);
});

Deno.test("what an alarm tells of a silent box is not told twice, and errors stay first", () => {
  const snapshot = fakeManager(100, [TROUBLE]);
  const text = "Node gw2 of overlay field does not answer: look at it, or wait";
  snapshot.alarms.push({ code: "overlay_silent", level: "warning", sinceMs: 5, text });
  const told = texts(snapshot);
  assert.equal(told[0], "error: Overlay field has 1 dead link: r2-r3");
  assert.equal(told.filter((each) => each.includes("gw2")).length, 1);
});

Deno.test("names in a sentence are bounded", () => {
  const view = fakeOverlay("mesh", 12);
  const links = view.links.map((link) => ({ ...link, answered: 0 }));
  const [first] = texts(fakeManager(1, [{ ...view, links }]));
  assert.match(first!, /has 66 dead links: r1-r2, r1-r3, r1-r4, r1-r5 and 62 more$/);
});

Deno.test("a calm daemon says what it waits for or does", () => {
  const sentence = (snapshot: Snapshot): string => health(snapshot).text;
  assert.equal(sentence(fakeManager(1, [])), "All is well: waiting for the first overlay");
  const up = fakeOverlay("ring", 3);
  assert.equal(sentence(fakeManager(1, [up])), "All is well: every overlay is up");
  const forming: OverlayView = { ...up, state: "CONFIG" };
  assert.match(sentence(fakeManager(1, [up, forming])), /^All is well: an overlay is being formed/);
  const rd = fakeResource(1);
  const resource = rd.overlay!.resource!;
  const lent = (overlays: typeof resource.overlays): Snapshot => ({
    ...rd,
    overlay: { role: "rd", overlays: [], resource: { ...resource, overlays } },
  });
  assert.match(sentence(lent([])), /may be invited/);
  assert.match(sentence(lent(resource.overlays.slice(0, 1))), /plays its part/);
});

Deno.test("the report has a line for each overlay, and no nodes and links that are well", () => {
  const big = { ...inTrouble(fakeOverlay("mesh", 60)), name: "big" };
  const report = statusReport(fakeManager(9, [TROUBLE, big]));
  assert.deepEqual(report.overlays[0], {
    name: "field",
    state: "ACTIVE",
    topology: "ring",
    sinceMs: TROUBLE.sinceMs,
    counts: {
      ...{ nodes: 12, silent: 1, drifted: 1, links: 12, dead: 1, lossy: 1, unprobed: 1 },
      encrypted: 4,
    },
    trouble: "1 node silent, 1 node drifted, 1 link dead, 1 link with losses",
    progress: "",
  });
  const [field] = report.overlay!.overlays;
  assert.deepEqual(field!.nodes.map(({ name }) => name), ["r2", "r3"]);
  assert.deepEqual(field!.links.map(({ name }) => name), ["r2-r3", "r3-r4", "r4-r5"]);
  assert.ok(JSON.stringify(report).length < 20_000);
});

Deno.test("metrics of a manager: state, counts, and its links in base units", () => {
  const view = { ...stacked(TROUBLE), orphans: ["gw9"] };
  const samples = samplesOf(fakeManager(100, [view, { ...fakeOverlay("star", 3), name: "b" }]));
  const of = (name: string, labels = 'overlay="field"'): number | undefined =>
    samples.get(`fairlead_overlay_${name}{${labels}}`);
  assert.equal(of("state", 'overlay="field",state="ACTIVE"'), 1);
  assert.deepEqual([of("up"), of("failed"), of("nodes"), of("links")], [1, 0, 15, 14]);
  assert.deepEqual([of("nodes_silent"), of("nodes_drifted"), of("orphans")], [1, 1, 1]);
  assert.deepEqual([of("links_dead"), of("links_lossy")], [1, 1]);
  assert.equal(of("nodes", 'overlay="b"'), 3);
  const link = (name: string, of: string): number | undefined =>
    samples.get(`fairlead_overlay_link_${name}{overlay="field",link="${of}"}`);
  assert.equal(link("round_trip_seconds", "r1-r2"), 0.00035);
  assert.equal(link("loss_ratio", "r2-r3"), 1);
  assert.equal(link("round_trip_seconds", "r2-r3"), undefined);
  assert.equal(link("loss_ratio", "r4-r5"), undefined, "it was not probed");
  assert.deepEqual([link("received_bytes_total", "r1-r2"), link("sent_bytes_total", "r1-r2")], [
    ...[9000, 8000],
  ]);
  assert.equal(link("loss_ratio", "west:r1-r3"), 0);
});

Deno.test("a mesh of very many links has bounded series, and says how many have none", () => {
  const samples = samplesOf(fakeManager(1, [fakeOverlay("mesh", 60)]));
  const links = [...samples.keys()].filter((name) => name.includes("_link_loss_ratio{"));
  assert.equal(links.length, 1024);
  assert.equal(samples.get("fairlead_overlay_links_untold"), 1770 - 1024);
});

Deno.test("metrics of a resource daemon: overlays by state, refusals by reason, datagrams", () => {
  const samples = samplesOf(fakeResource(100));
  const of = (name: string): number | undefined => samples.get(`fairlead_overlay_${name}`);
  assert.equal(of('resource_overlays{state="ACTIVE"}'), 2);
  assert.equal(of('resource_overlays{state="UNDO"}'), 0);
  assert.equal(of("resource_drifted"), 1);
  assert.deepEqual([of('refusals_total{reason="acl"}'), of('refusals_total{reason="full"}')], [
    ...[4, 1],
  ]);
  assert.equal(of('datagrams_total{kind="replayed"}'), 2);
  assert.equal(of('connections_total{kind="refused"}'), 1);
  const rd = fakeResource(1);
  const refusals = Object.fromEntries(Array.from({ length: 99 }, (_, at) => [`r${at}`, 1]));
  const many = { ...rd.overlay!, resource: { ...rd.overlay!.resource!, refusals } };
  const reasons = [...samplesOf({ ...rd, overlay: many }).keys()].filter((name) =>
    name.startsWith("fairlead_overlay_refusals_total{")
  );
  assert.equal(reasons.length, 32);
});

Deno.test("top has rows for overlays, and none for messages", () => {
  const shown = (snapshot: Snapshot): string =>
    topRows(JSON.parse(JSON.stringify(statusReport(snapshot))), null)
      .map(({ text }) => text).join("\n");
  const manager = shown(fakeManager(90_000, [TROUBLE]));
  assert.match(manager, /^OVERLAY +STATE +FOR TOPOLOGY +NODES +LINKS TROUBLE$/m);
  assert.match(manager, /^field +ACTIVE +25 h ring +12 +12 1 node silent, 1 node drifted, 1 link/m);
  assert.doesNotMatch(manager, /messages\/s|SESSION|rates follow|^LENT/m);
  const box = shown(fakeResource(90_000));
  assert.match(box, /^LENT +STATE +FOR +LEASE MANAGER +DRIFT$/m);
  assert.match(box, /^field +ACTIVE +1 h +1 min om\.example +-$/m);
  assert.match(box, /^lab +ACTIVE +1 min +no end om\.example +link vx5 is down$/m);
  assert.match(shown(fakeManager(1, [])), /^none yet$/m);
});

Deno.test("the listener draws the overlay that is named, under a policy that allows its style", async () => {
  const hostile = { ...fakeOverlay("ring", 3), name: HOSTILE_NAME };
  const server = await openStatus("127.0.0.1:0", () => fakeManager(1, [TROUBLE, hostile]));
  try {
    const get = (name: string): Promise<Response> =>
      fetch(`http://${server.where}/api/overlay.svg?name=${encodeURIComponent(name)}`);
    const answer = await get("field");
    assert.equal(answer.headers.get("content-type"), "image/svg+xml");
    const svg = await answer.text();
    assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" class="overlay"/);
    const style = /<style>([^]*?)<\/style>/.exec(svg)![1]!;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(style));
    const policy = answer.headers.get("content-security-policy")!;
    assert.ok(policy.includes(`'sha256-${new Uint8Array(digest).toBase64()}'`));
    assert.doesNotMatch(policy, /unsafe|img-src [^;]*(self|\*)/);
    const other = await get(HOSTILE_NAME);
    assert.equal(other.status, 200);
    assert.doesNotMatch(await other.text(), /<img/);
    for (const name of ["", "fiel", "../status"]) {
      const none = await get(name);
      assert.equal(none.status, 404);
      assert.match(await none.text(), /^No overlay has this name/);
    }
  } finally {
    await server.close();
  }
});

Deno.test("a listener of a box without overlays of its own has no such pictures", async () => {
  const server = await openStatus("127.0.0.1:0", () => fakeResource(1));
  try {
    const answer = await fetch(`http://${server.where}/api/overlay.svg?name=field`);
    assert.equal(answer.status, 404);
    await answer.text();
  } finally {
    await server.close();
  }
});

Deno.test("a hostile name of a link is one escaped label", () => {
  const links = [fakeLink("r1", "r2", 1), { ...fakeLink("r2", "r3", 2), name: HOSTILE_NAME }];
  const lines = metricsText(fakeManager(1, [{ ...fakeOverlay("ring", 3), links }])).split("\n");
  const line = lines.find((each) =>
    each.startsWith("fairlead_overlay_link_loss") && each.includes("<")
  );
  assert.match(
    line!,
    /^fairlead_overlay_link_loss_ratio\{overlay="field",link="(?:[^"\\]|\\.)*"\} 0$/,
  );
});
