/** The journal and the alarms: formats, limits, hostile text. Time is the test's own. */
import assert from "node:assert/strict";
import { Alarms, Journal, type JournalOptions } from "../../src/app/status/journal.ts";
import type { MessengerEvent } from "../../src/proto/msgr2/messenger.ts";
import { HOSTILE_NAME } from "./fake_snapshot.ts";

/** A journal that writes into an array, with a clock that is moved by hand. */
function opened(options: JournalOptions = {}): {
  journal: Journal;
  lines: string[];
  pass(ms: number): void;
} {
  const lines: string[] = [];
  let now = 1000;
  const journal = new Journal({
    times: false,
    ...options,
    print: (line) => lines.push(line),
    nowMs: () => now,
  });
  return { journal, lines, pass: (ms) => now += ms };
}

Deno.test("text is the sentence, with RFC 3339 time when wanted", () => {
  const plain = opened();
  plain.journal.event("warning", "spool_filling", "The spool is 80 % full", { bytes: 5 });
  assert.deepEqual(plain.lines, ["The spool is 80 % full"]);
  const timed = opened({ times: true });
  timed.journal.note("Listening");
  assert.match(timed.lines[0]!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z Listening$/);
});

Deno.test("JSON is one object a line: time, level, event, text, then the fields", () => {
  const { journal, lines } = opened({ format: "json" });
  journal.event("error", "hub_refused", "Hub hq refuses", { name: "hq", attempts: 3, level: "x" });
  const line = JSON.parse(lines[0]!);
  assert.deepEqual(Object.keys(line), ["time", "level", "event", "text", "name", "attempts"]);
  assert.deepEqual({ ...line, time: 0 }, {
    time: 0,
    level: "error",
    event: "hub_refused",
    text: "Hub hq refuses",
    name: "hq",
    attempts: 3,
  });
  assert.ok(!Number.isNaN(Date.parse(line.time)));
});

const FORMATS = ["text", "json"] as const;

Deno.test.each(FORMATS)("control characters never leave as they are: %s", (format) => {
  const { journal, lines } = opened({ format });
  const evil = `${HOSTILE_NAME}\n2026 forged line\u001b[2J\r\u009b\u202e\u2028`;
  journal.event("info", "note", evil, { name: evil });
  assert.equal(lines.length, 1);
  // deno-lint-ignore no-control-regex -- these are what must not be there
  assert.doesNotMatch(lines[0]!, /[\x00-\x1f\x7f-\x9f\u202e\u2028]/);
  if (format === "json") assert.equal(JSON.parse(lines[0]!).name, evil);
});

Deno.test("a sentence of a peer is cut", () => {
  const { journal, lines } = opened();
  journal.note("x".repeat(100_000));
  assert.ok(lines[0]!.length <= 1001);
});

Deno.test("the same sentence is told again after a minute, with how often it came", () => {
  const { journal, lines, pass } = opened();
  for (let count = 0; count < 50; count++) {
    journal.event("warning", "session_fault", "No connection with hq", { name: "hq" });
    pass(1000);
  }
  assert.deepEqual(lines, ["No connection with hq"]);
  pass(10_000);
  journal.event("warning", "session_fault", "No connection with hq", { name: "hq" });
  assert.deepEqual(lines.slice(1), ["No connection with hq (and 49 more)"]);
});

Deno.test("one code tells five different sentences in ten seconds, JSON counts the rest as more", () => {
  const { journal, lines, pass } = opened({ format: "json" });
  for (let port = 0; port < 1000; port++) {
    journal.event("info", "connection_dropped", `Connection dropped: 10.0.0.1:${port}`);
  }
  assert.equal(lines.length, 5);
  pass(10_000);
  journal.event("info", "connection_dropped", "Connection dropped: 10.0.0.1:7");
  assert.equal(JSON.parse(lines[5]!).more, 995);
});

Deno.test("codes and names are limited apart, and all together too", () => {
  const { journal, lines } = opened();
  for (let name = 0; name < 5000; name++) {
    journal.event("info", "session_up", `Session with ${name} stands`, { name: `${name}` });
  }
  assert.equal(lines.length, 100);
});

Deno.test("flush() tells what was held back when nothing follows", () => {
  const { journal, lines, pass } = opened();
  for (let count = 0; count < 4; count++) journal.event("warning", "clock", "The clock jumped");
  journal.flush();
  assert.equal(lines.length, 1, "it may come again soon");
  pass(60_000);
  journal.flush();
  journal.flush();
  assert.deepEqual(lines.slice(1), ["The clock jumped (and 2 more)"]);
  journal.event("warning", "clock", "The clock jumped");
  journal.flush(true);
  assert.deepEqual(lines.slice(2), ["The clock jumped"], "at the end nothing is held back");
});

Deno.test("the last fifty events are kept, also while nothing is printed", () => {
  const { journal, lines, pass } = opened();
  journal.quiet = true;
  for (let count = 0; count < 70; count++) {
    journal.note(`Event ${count}`);
    pass(10_000);
  }
  assert.deepEqual(lines, []);
  assert.equal(journal.events().length, 50);
  assert.equal(journal.events().at(-1)!.text, "Event 69");
  assert.match(journal.entries(1)[0]!, /^\d\d:\d\d:\d\d Event 69$/);
  assert.deepEqual(journal.entries(0), []);
});

Deno.test("an alarm is told once when raised and once when over", () => {
  const { journal, lines } = opened();
  const alarms = new Alarms(journal);
  for (let count = 0; count < 10; count++) {
    alarms.raise("spool_full", "error", `The spool is full: ${count} messages wait`);
  }
  assert.deepEqual(lines, ["The spool is full: 0 messages wait"]);
  const [alarm] = alarms.list();
  assert.equal(alarm!.text, "The spool is full: 9 messages wait", "the list has the newest text");
  assert.ok(alarm!.sinceMs <= Date.now());
  alarms.clear("spool_full");
  alarms.clear("spool_full");
  assert.equal(lines.length, 2);
  assert.match(lines[1]!, /^Over after 0 s: The spool is full: 9 messages wait$/);
  assert.deepEqual(alarms.list(), []);
});

Deno.test("an alarm that is over and comes again is news, one that becomes worse too", () => {
  const { journal, lines } = opened();
  const alarms = new Alarms(journal);
  alarms.raise("spool", "warning", "The spool fills up");
  alarms.clear("spool");
  alarms.raise("spool", "warning", "The spool fills up");
  alarms.raise("spool", "error", "The spool is full");
  alarms.raise("spool", "warning", "The spool fills up");
  assert.equal(lines.length, 4);
  assert.equal(lines[3], "The spool is full");
});

Deno.test("one code may be raised for several names; a hundred alarms are kept", () => {
  const { journal } = opened();
  const alarms = new Alarms(journal);
  alarms.raise("hub_refused", "error", "Hub a refuses", "a");
  alarms.raise("hub_refused", "error", "Hub b refuses", "b");
  alarms.clear("hub_refused", "a");
  assert.deepEqual(alarms.list().map(({ text }) => text), ["Hub b refuses"]);
  for (let name = 0; name < 500; name++) alarms.raise("input", "warning", "No", `${name}`);
  assert.equal(alarms.list().length, 100);
});

Deno.test("an alarm's text is safe for a terminal", () => {
  const alarms = new Alarms(opened().journal);
  alarms.raise("hub_refused", "error", "It says \u001b[2J");
  assert.equal(alarms.list()[0]!.text, "It says \\x1b[2J");
});

Deno.test("events of an endpoint: a fault is told once until the session stood again", () => {
  const { journal, lines } = opened({ format: "json" });
  const event = (kind: MessengerEvent["kind"], text = ""): MessengerEvent =>
    ({ kind, text, connection: null, session: null }) as unknown as MessengerEvent;
  journal.noteEvent(event("fault", "ECONNREFUSED"), "hq");
  journal.noteEvent(event("fault", "ECONNREFUSED"), "hq");
  journal.noteEvent(event("connect"), "hq");
  journal.noteEvent(event("authenticated"), "hq");
  journal.noteEvent(event("fault", "ECONNREFUSED"), "hq");
  journal.noteEvent(event("dropped", "bad banner"), null);
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)).map(({ event, level, text }) => [event, level, text]),
    [
      ["session_fault", "warning", "No connection with hq: ECONNREFUSED"],
      ["session_up", "info", "Session with hq stands"],
      ["session_fault", "warning", "No connection with hq: ECONNREFUSED"],
      ["connection_dropped", "info", "Connection dropped: bad banner"],
    ],
  );
});
