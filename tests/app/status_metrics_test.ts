/** Metrics and health: pure functions of a snapshot, against the rules of the text format. */
import assert from "node:assert/strict";
import { faults, health, statusReport, totals } from "../../src/app/status/health.ts";
import { metricsText } from "../../src/app/status/metrics.ts";
import { Rates } from "../../src/app/status/rates.ts";
import type { Alarm } from "../../src/app/status/snapshot.ts";
import { fakeManager, fakeOverlay, fakeResource } from "./fake_overlay.ts";
import {
  fakeBox,
  fakeGateway,
  fakeHub,
  fakeStandby,
  fakeTrouble,
  HOSTILE_NAME,
} from "./fake_snapshot.ts";

interface Family {
  type: string;
  help: string;
  samples: Map<string, number>;
}

/** Reads the text format 0.0.4 strictly: HELP, TYPE, then all samples of a family, no other line. */
function parse(text: string): Map<string, Family> {
  assert.ok(text.endsWith("\n"), "the last line ends with a line feed");
  const families = new Map<string, Family>();
  let current = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (comment !== null) {
      const [, kind, name, rest] = comment;
      if (kind === "HELP") {
        assert.ok(!families.has(name!), `${name} is told once`);
        families.set(name!, { type: "", help: rest!, samples: new Map() });
        current = name!;
      } else {
        assert.equal(name, current);
        families.get(name!)!.type = rest!;
      }
      continue;
    }
    const sample =
      /^([a-zA-Z_:][a-zA-Z0-9_:]*)((?:\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)+\})?) (\S+)$/
        .exec(line);
    assert.ok(sample !== null, line);
    const [, name, labels, value] = sample;
    assert.equal(name, current, "samples stand below their family's head");
    const { samples } = families.get(name!)!;
    assert.ok(!samples.has(labels!), `${line} comes once`);
    samples.set(labels!, Number(value));
  }
  return families;
}

const SNAPSHOTS = [
  { what: "a gateway", snapshot: fakeGateway(5000) },
  { what: "a gateway in trouble", snapshot: fakeTrouble(5000) },
  { what: "a hub", snapshot: fakeHub(5000) },
  { what: "a box of a pair", snapshot: fakeBox(5000) },
  { what: "a manager of overlays", snapshot: fakeManager(5000, [fakeOverlay("ring", 5)]) },
  { what: "a box that is lent to overlays", snapshot: fakeResource(5000) },
];

Deno.test.each(SNAPSHOTS)("metrics of $what follow format and conventions", ({ snapshot }) => {
  const families = parse(metricsText(snapshot));
  for (const [name, { help, samples, type }] of families) {
    assert.match(name, /^(fairlead|process)_[a-z_]+$/);
    assert.equal(name.endsWith("_total"), type === "counter", name);
    assert.doesNotMatch(name, /_(ms|milliseconds|kib|mib|percent)\b/, name);
    assert.ok(help.endsWith("."), name);
    for (const value of samples.values()) assert.ok(Number.isFinite(value), name);
  }
});

Deno.test("metrics say what the snapshot says, in base units", () => {
  const snapshot = fakeTrouble(5000);
  const families = parse(metricsText(snapshot));
  const value = (name: string, labels = ""): number | undefined =>
    families.get(name)?.samples.get(labels);
  assert.equal(
    value("fairlead_build_info", '{version="0.1.0",role="gateway",name="client.harbour-7"}'),
    1,
  );
  assert.equal(value("fairlead_spool_oldest_age_seconds"), 754);
  assert.equal(value("fairlead_spool_limit_bytes"), 268_435_456);
  assert.equal(value("fairlead_session_ready", '{session="hq"}'), 0);
  assert.equal(value("fairlead_session_ready", '{session="archive"}'), 1);
  assert.equal(value("fairlead_session_state_age_seconds", '{session="hq"}'), 754);
  assert.equal(value("fairlead_session_reconnects_total", '{session="hq"}'), 2);
  assert.equal(value("fairlead_input_up", '{input="meter",type="serial"}'), 0);
  assert.equal(
    value("fairlead_input_dropped_messages_total", '{input="syslog",type="syslog"}'),
    12,
  );
  assert.equal(value("fairlead_upstream_dropped_messages_total", '{upstream="archive"}'), 5120);
  assert.equal(value("fairlead_alarms", '{level="error"}'), 1);
  assert.equal(value("fairlead_alarm_active", '{code="hub_refused",level="error"}'), 1);
  assert.equal(value("process_start_time_seconds"), snapshot.startedMs / 1000);
  assert.equal(value("process_resident_memory_bytes"), snapshot.process.rssBytes);
  const hub = parse(metricsText(fakeHub(5000)));
  assert.equal(
    hub.get("fairlead_output_required")!.samples.get('{output="archive",type="file"}'),
    1,
  );
  for (const name of hub.keys()) assert.doesNotMatch(name, /_(input|spool|upstream)_/);
});

Deno.test("metrics of a pair tell role, lag and what was refused, without a label for each SA", () => {
  const families = parse(metricsText(fakeGateway(5000)));
  const value = (name: string, labels = ""): number | undefined =>
    families.get(`fairlead_standby_${name}`)?.samples.get(labels);
  assert.equal(value("role", '{group="harbour",box="harbour-7",role="active"}'), 1);
  assert.deepEqual([value("active"), value("term"), value("synced"), value("sas")], [1, 7, 1, 24]);
  // SAs 0, 3, … 21 are behind by one packet more than their number.
  assert.deepEqual([value("lag_packets"), value("lag_seconds")], [92, 0.031]);
  assert.deepEqual([value("overruns_total"), value("resyncs_total")], [1, 5]);
  assert.deepEqual([value("refused_posts_total"), value("takeovers_total")], [4, 2]);
  assert.deepEqual([value("fence_open"), value("fence_dropped_packets_total")], [1, 12]);
  assert.deepEqual([value("witness_reached"), value("witness_lease_seconds")], [1, 1.2]);
  assert.equal(value("peer_round_trip_seconds"), 0.0005);
  assert.equal(value("added_latency_seconds"), 0.0008);
  for (const [name, { samples }] of families) {
    if (name.startsWith("fairlead_standby_")) assert.equal(samples.size, 1, name);
  }
  const box = parse(metricsText(fakeBox(5000)));
  assert.deepEqual([...box.get("fairlead_standby_active")!.samples.values()], [0]);
  assert.ok(!box.has("fairlead_standby_spool_messages"), "there is no gateway");
  assert.ok(!parse(metricsText(fakeHub(5000))).has("fairlead_standby_term"));
});

Deno.test("a pair without IPsec, witness or addresses has no metrics of those", () => {
  const standby = { ...fakeStandby(1), ipsec: null, witness: null };
  const peer = { ...standby.peer, roundTripMs: -1 };
  const addresses = { taken: false, list: [] };
  const text = metricsText({ ...fakeBox(1), standby: { ...standby, peer, addresses } });
  const families = parse(text);
  assert.ok(families.has("fairlead_standby_term"));
  for (const name of ["sas", "lag_packets", "fence", "witness_reached", "addresses_taken"]) {
    assert.ok(!families.has(`fairlead_standby_${name}`), name);
  }
  assert.ok(!families.has("fairlead_standby_peer_round_trip_seconds"), "it was not measured");
});

Deno.test("a hostile name is one escaped label", () => {
  const snapshot = fakeHub(10);
  snapshot.sessions[0]!.name = `${HOSTILE_NAME}\n# TYPE evil counter\nevil 1`;
  const families = parse(metricsText(snapshot));
  assert.ok(!families.has("evil"));
  const [labels] = [...families.get("fairlead_session_ready")!.samples.keys()];
  const escaped = /^\{session="(.*)"\}$/.exec(labels!)![1]!;
  const name = escaped.replace(/\\([\\"n])/g, (_all, one) => one === "n" ? "\n" : one);
  assert.equal(name, snapshot.sessions[0]!.name);
});

Deno.test("two sessions of one name are one series with the sum of both", () => {
  const snapshot = fakeHub(10);
  for (const session of snapshot.sessions) session.name = "client.same";
  const { samples } = parse(metricsText(snapshot)).get("fairlead_session_received_messages_total")!;
  const sum = snapshot.sessions.reduce((all, one) => all + one.messagesReceived, 0);
  assert.deepEqual([...samples], [['{session="client.same"}', sum]]);
});

Deno.test("numbers that are none are written as the format has them", () => {
  const snapshot = fakeGateway(10);
  snapshot.process.cpuSeconds = NaN;
  snapshot.process.heapBytes = Infinity;
  const text = metricsText(snapshot);
  assert.match(text, /^process_cpu_seconds_total NaN$/m);
  assert.match(text, /^process_heap_bytes \+Inf$/m);
});

Deno.test("all is well in one sentence, without a number that would change by itself", () => {
  for (const seconds of [1, 1000]) {
    assert.deepEqual(health(fakeGateway(seconds)), {
      level: "ok",
      text: "All is well: messages are taken and passed on",
      problems: [],
    });
  }
  assert.match(health(fakeBox(1)).text, /^All is well: this box can take over/);
  const active = { ...fakeBox(1), standby: fakeStandby(1) };
  assert.match(health(active).text, /^All is well: this box is active, and the other one can/);
  // A gateway that is held for the other box takes no messages.
  const held = { ...fakeGateway(1), standby: fakeBox(1).standby! };
  assert.match(health(held).text, /^All is well: this box can take over/);
  const { sessions: _, ...empty } = fakeHub(1);
  assert.match(health({ ...empty, sessions: [] }).text, /waiting for the first gateway/);
});

Deno.test("the worst and oldest problem is the sentence, and all are listed worst first", () => {
  const { level, problems, text } = health(fakeTrouble(5000));
  assert.equal(level, "error");
  assert.match(text, /^Hub hq refuses .* add client\.harbour-7 to its keyring$/);
  assert.deepEqual(problems.map((one) => [one.level, one.text.slice(0, 12)]), [
    ["error", "Hub hq refus"],
    ["warning", "The spool is"],
    ["warning", "Input meter:"],
    ["warning", "No connectio"],
  ]);
});

Deno.test("trouble of a required output is an error, of another a warning", () => {
  const snapshot = fakeHub(10);
  snapshot.outputs![1]!.trouble = "Nobody listens";
  assert.deepEqual([health(snapshot).level, health(snapshot).text], [
    "warning",
    "Output live: Nobody listens",
  ]);
  snapshot.outputs![0]!.trouble = "Disk is full";
  assert.deepEqual([health(snapshot).level, health(snapshot).text], [
    "error",
    "Output archive: Disk is full",
  ]);
});

Deno.test("a report has the worst SAs of a pair, and says how many there are", () => {
  const report = statusReport(fakeGateway(100));
  const { sas } = report.standby!.ipsec!;
  assert.deepEqual([sas.length, report.saCount], [10, 24]);
  const behind = sas.map(({ lagPackets }) => lagPackets);
  assert.deepEqual(behind, [22, 19, 16, 13, 10, 7, 4, 1, 0, 0]);
  assert.equal(statusReport(fakeHub(100)).saCount, 0);
  const alone = { ...fakeBox(1), standby: { ...fakeStandby(1), ipsec: null } };
  assert.deepEqual([statusReport(alone).saCount, statusReport(alone).standby!.ipsec], [0, null]);
});

Deno.test("an active box whose standby is away is a warning by its alarm", () => {
  const alarm = {
    code: "standby_away",
    level: "warning",
    sinceMs: 0,
    text: "No other box could take over",
  } as const;
  const { level, text } = health({ ...fakeBox(1), alarms: [alarm] });
  assert.deepEqual([level, text], ["warning", alarm.text]);
});

Deno.test("not ready without a reason is told", () => {
  const snapshot = fakeGateway(1);
  snapshot.ready = false;
  assert.equal(health(snapshot).level, "warning");
});

const ERRORS = [
  { code: "spool_fails", breaks: true },
  { code: "hub_database", breaks: true },
  { code: "overlay_record", breaks: true },
  { code: "output_archive", breaks: true },
  { code: "standby_fenced", breaks: false },
  { code: "standby_split", breaks: false },
  { code: "input_closed", breaks: true },
  { code: "hub_refuses", breaks: false },
  { code: "gateway_refused", breaks: false },
  { code: "spool_full", breaks: false },
  { code: "spool_damaged", breaks: false },
];

Deno.test.each(ERRORS)("an error $code means that the process is broken: $breaks", ({
  breaks,
  code,
}) => {
  const found = (level: Alarm["level"]): number =>
    faults({ ...fakeGateway(1), alarms: [{ code, level, sinceMs: 0, text: "x" }] }).length;
  assert.equal(found("error"), breaks ? 1 : 0);
  assert.equal(found("warning"), 0);
});

Deno.test("what an alarm tells in its own words is not told twice", () => {
  const snapshot = fakeTrouble(10);
  snapshot.sessions[0]!.state = "refused";
  const text = `Input meter is closed: ${snapshot.inputs![3]!.trouble}`;
  snapshot.alarms.push({ code: "input_closed", level: "error", sinceMs: 0, text });
  assert.deepEqual(health(snapshot).problems.map((one) => one.text.slice(0, 12)), [
    "Input meter ",
    "Hub hq refus",
    "The spool is",
  ]);
});

Deno.test("totals of a gateway are its inputs and what hubs acknowledged; of a hub the reverse", () => {
  const gateway = fakeGateway(100);
  const sum = (rows: { messages: number }[]): number =>
    rows.reduce((all, { messages }) => all + messages, 0);
  assert.equal(totals(gateway).messagesIn, sum(gateway.inputs!));
  const acknowledged = gateway.upstreams!.reduce((all, hub) => all + hub.acknowledged, 0);
  assert.equal(totals(gateway).messagesOut, acknowledged);
  const hub = fakeHub(100);
  assert.equal(totals(hub).messagesOut, sum(hub.outputs!));
  assert.equal(totals(hub).bytesIn, hub.sessions.reduce((all, one) => all + one.bytesReceived, 0));
});

Deno.test("rates are differences over the box's own time, and start afresh with the box", () => {
  const at = (seconds: number): ReturnType<typeof statusReport> =>
    statusReport(fakeGateway(seconds));
  const rates = new Rates();
  rates.take(at(100));
  assert.equal(rates.now, null, "one look tells no rate");
  rates.take(at(104));
  const perSecond = (at(104).totals.messagesIn - at(100).totals.messagesIn) / 4;
  assert.equal(rates.now!.totals.messagesIn, perSecond);
  const lines = (at(104).inputs![0]!.messages - at(100).inputs![0]!.messages) / 4;
  assert.equal(rates.now!.rows.get("input lines"), lines);
  rates.take(at(104.2));
  assert.equal(rates.now!.totals.messagesIn, perSecond, "two looks at once are one");
  rates.take(at(90));
  assert.equal(rates.now, null, "the clock went back");
  rates.take(at(92));
  assert.ok(rates.now !== null);
  rates.take({ ...at(95), startedMs: at(95).startedMs + 1 });
  assert.equal(rates.now, null, "another process");
});
