/** The ladder diagram: what is kept for it, what it shows, that it is bounded and well-formed. */
import assert from "node:assert/strict";
import { Timeline } from "../../src/app/sniff/timeline.ts";
import { timelineSvg } from "../../src/app/sniff/timeline_svg.ts";
import { Conversation } from "../../src/proto/capture/conversation.ts";
import { CEPH, foundOf, type FoundParts, gapOf, ISCSI } from "./sniff_found.ts";

const ORIGIN = 1_790_000_000;
const MS = 1_000_000;
const AGAIN = new Conversation(3, ["10.9.1.1:50001", "10.9.1.2:6800"], [50001, 6800]);

/** A timeline of these messages, a millisecond apart unless they say when. */
function timelineOf(session: number, messages: readonly FoundParts[]): Timeline {
  const timeline = new Timeline(session);
  messages.forEach((message, index) =>
    timeline.handleFound(foundOf({ beginNs: index * MS, packet: index + 1, ...message }))
  );
  return timeline;
}

/** Labels by the number of their connection. */
function labelsOf(timeline: Timeline): Record<number, string[]> {
  const { connections } = timeline.view();
  return Object.fromEntries(
    connections.map(({ events, number }) => [
      number,
      events.map(({ label }) => label.replace(/ · .*/, "")),
    ]),
  );
}

/** Throws where tags do not nest or text is not escaped; returns the names of the elements. */
function elementsOf(svg: string): string[] {
  const open: string[] = [];
  const names: string[] = [];
  let at = 0;
  for (const match of svg.matchAll(/<(\/?)([a-zA-Z]+)((?: [a-zA-Z:-]+="[^"<>]*")*)(\/?)>/g)) {
    const between = svg.slice(at, match.index);
    if (open.at(-1) !== "style") assert.doesNotMatch(between, /[<>]|&(?!amp;|lt;|gt;|quot;)/);
    at = match.index + match[0].length;
    if (match[1] === "/") assert.equal(open.pop(), match[2]);
    else {
      names.push(match[2]!);
      if (match[4] === "") open.push(match[2]!);
    }
  }
  assert.equal(svg.slice(at), "");
  assert.deepEqual(open, []);
  return names;
}

const RECONNECTED: readonly FoundParts[] = [
  { tag: "HELLO", side: 1 },
  { tag: "CLIENT_IDENT", session: 1 },
  { tag: "HELLO", conversation: ISCSI }, // of somebody else
  { tag: "CLIENT_IDENT", conversation: ISCSI, session: 2 },
  { type: "osd_op", session: 1, fields: { seq: 1, tid: 5 }, finishNs: 6 * MS, length: 100_000 },
  { type: "osd_op_reply", side: 1, session: 1, answers: "tid", latencyNs: MS, fields: { seq: 1 } },
  { tag: "HELLO", conversation: AGAIN },
  { tag: "RECONNECT", conversation: AGAIN, session: 1 },
  { tag: "ACK", conversation: AGAIN, side: 1, session: 1, errors: ["crc is wrong"] },
];

Deno.test("the first session is drawn with all its connections and their handshakes", () => {
  const timeline = timelineOf(0, RECONNECTED);
  assert.equal(timeline.view().session, 1);
  assert.deepEqual(labelsOf(timeline), {
    1: ["HELLO", "CLIENT_IDENT", "MSG osd_op seq 1 tid 5", "MSG osd_op_reply seq 1"],
    3: ["HELLO", "RECONNECT", "ACK"],
  });
});

Deno.test("a chosen session is drawn and no other", () => {
  assert.deepEqual(labelsOf(timelineOf(2, RECONNECTED)), { 2: ["HELLO", "CLIENT_IDENT"] });
  assert.deepEqual(labelsOf(timelineOf(7, RECONNECTED)), {});
});

Deno.test("a conversation without a session is drawn alone", () => {
  const pdus = [{}, {}, { conversation: CEPH }].map((more) => ({
    tag: "SCSI Command",
    conversation: ISCSI,
    ...more,
  }));
  const timeline = timelineOf(0, pdus);
  assert.equal(timeline.view().session, 0);
  assert.deepEqual(labelsOf(timeline), { 2: ["SCSI Command", "SCSI Command"] });
});

Deno.test("gaps are kept with their conversation", () => {
  const timeline = timelineOf(0, [{ session: 1 }]);
  timeline.handleGap(gapOf({ timeNs: 5 * MS }));
  timeline.handleGap(gapOf({ conversation: ISCSI }));
  assert.deepEqual(labelsOf(timeline), {
    1: ["MSG", "1448 bytes not assigned (1448 not captured)"],
  });
});

Deno.test("kinds have their colours", () => {
  const tags = ["BANNER", "AUTH_DONE", "SERVER_IDENT", "RECONNECT_WAIT", "Login Request", "MSG"];
  tags.push("SCSI Command", "SCSI Data-In", "ACK", "Ready To Transfer", "KEEPALIVE2_ACK", "NOP-In");
  const timeline = timelineOf(0, tags.map((tag) => ({ tag })));
  assert.deepEqual(timeline.view().connections[0]!.events.map(({ kind }) => kind), [
    ...["handshake", "handshake", "handshake", "handshake", "handshake", "message"],
    ...["message", "message", "ack", "ack", "keepalive", "keepalive"],
  ]);
});

Deno.test("the picture is well-formed, says what it shows, and has no script", () => {
  const timeline = timelineOf(0, RECONNECTED);
  timeline.handleGap(gapOf({ timeNs: 9_000 * MS }));
  const svg = timelineSvg(timeline, ORIGIN);
  const names = elementsOf(svg);
  assert.deepEqual(names.slice(0, 4), ["svg", "title", "desc", "style"]);
  assert.ok(!names.includes("script"));
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
  assert.match(svg, /prefers-color-scheme:dark/);
  for (
    const said of [
      ">Session 1</text>",
      "7 messages, 2 connections, 9.00 s from 2026-09-21 14:13:20.000000 UTC, 1 gap, " +
      "1 message with errors",
      ">10.9.1.1:50000</text>",
      ">10.9.1.1:50001</text>",
      ">MSG osd_op_reply seq 1 · 128 B · after 1.00 ms</text>",
      "ACK · 128 B · crc is wrong",
      "1448 bytes not assigned (1448 not captured)",
      "of silence</text>",
      "the session goes on over another connection",
      "<title>1.00 ms until MSG osd_op_reply",
      "packet 5, offset 0\n    seq: 1\n    tid: 5</title>",
    ]
  ) assert.ok(svg.includes(said), said);
});

Deno.test("the same messages give the same bytes", () => {
  const draw = (): string => timelineSvg(timelineOf(0, RECONNECTED), ORIGIN);
  assert.equal(draw(), draw());
});

Deno.test("time goes down, each message has a row, and long silence is short", () => {
  const times = [0, 0, 0, 1, 2, 3, 1000, 1001, 60_000_000];
  const timeline = timelineOf(0, times.map((ms) => ({ beginNs: ms * MS })));
  const svg = timelineSvg(timeline, ORIGIN);
  const rows = [...svg.matchAll(/<path class="a a-message"[^>]* d="M230 ([\d.]+)L890 ([\d.]+)"/g)]
    .map(([, from, to]) => [Number(from), Number(to)] as const);
  assert.equal(rows.length, times.length);
  rows.forEach(([from, to], index) => {
    assert.ok(to > from);
    if (index > 0) assert.ok(from >= rows[index - 1]![0] + 26);
  });
  assert.ok(rows.at(-1)![0] < 700);
  assert.match(svg, /997 ms of silence/);
  assert.match(svg, /59999 s of silence/);
});

Deno.test("a large message is an arrow from its first byte to its last", () => {
  const timeline = timelineOf(0, [
    { tag: "HELLO", finishNs: 2 * MS },
    { tag: "ACK", side: 1 },
    { tag: "ACK", side: 1 },
  ]);
  const svg = timelineSvg(timeline, ORIGIN);
  const [, from, to] = /a-handshake" stroke[^>]* d="M230 ([\d.]+)L890 ([\d.]+)"/.exec(svg)!;
  assert.ok(Number(to) - Number(from) > 26);
});

Deno.test("an empty timeline is a picture that says so", () => {
  const svg = timelineSvg(new Timeline(4), ORIGIN);
  elementsOf(svg);
  assert.ok(svg.includes("No message of it was found"));
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
});

Deno.test("a million hostile messages: the first are drawn, the rest is counted, 2 MB at most", () => {
  const timeline = new Timeline(0);
  const hostile = `</text><script>alert("&")</script>\x1b[31m\u202e\ufffe\ud800\u0000`;
  const found = foundOf({
    tag: hostile,
    type: hostile.repeat(100),
    session: 1,
    fields: { seq: "\"<&'>".repeat(1000), tid: hostile, deep: { [hostile]: [hostile] } },
    errors: Array.from({ length: 9 }, () => '"'.repeat(10_000)),
  });
  for (let index = 0; index < 1_000_000; index++) {
    found.begin.timeNs = found.finish.timeNs = index * MS;
    timeline.handleFound(found);
  }
  const view = timeline.view();
  assert.equal(view.connections[0]!.events.length, 2000);
  assert.equal(view.leftOut, 998_000);
  const svg = timelineSvg(timeline, ORIGIN);
  assert.ok(new TextEncoder().encode(svg).length < 2_000_000, `${svg.length}`);
  assert.ok(!elementsOf(svg).includes("script"));
  // deno-lint-ignore no-control-regex -- these are what must not get through
  assert.doesNotMatch(svg, /[\x00-\x09\x0b-\x1f\u202e\ufffe]/);
  assert.ok(svg.includes("998000 more events not drawn"));
});

Deno.test("conversations of others cost no memory, and connections are bounded", () => {
  const timeline = new Timeline(1);
  for (let number = 1; number <= 1000; number++) {
    const conversation = new Conversation(number, [`10.0.0.1:${number}`, "10.0.0.2:1"], [
      number,
      1,
    ]);
    const hello = foundOf({ conversation, tag: "HELLO" });
    for (let index = 0; index < 70; index++) timeline.handleFound(hello);
  }
  assert.deepEqual(timeline.view().connections, []);
  for (let number = 20_001; number <= 20_100; number++) {
    const conversation = new Conversation(number, [`10.0.0.1:${number}`, "10.0.0.2:1"], [
      number,
      1,
    ]);
    timeline.handleFound(foundOf({ conversation, session: 1 }));
  }
  const { connections, leftOut } = timeline.view();
  assert.equal(connections.length, 64);
  assert.equal(leftOut, 36);
  elementsOf(timelineSvg(timeline, ORIGIN));
});
