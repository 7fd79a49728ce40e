/** Syslog: the fields of RFC 5424 and RFC 3164, and the frames of RFC 6587. */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { isDate, nearestYear } from "../../src/wire/syslog/calendar.ts";
import { COUNT_BYTES_MAX, FRAME_BYTES_MAX, readFrame } from "../../src/wire/syslog/framing.ts";
import { readSyslog } from "../../src/wire/syslog/message.ts";

const NOW = Date.UTC(2026, 10, 21, 16);
const encoder = new TextEncoder();

/** RFC 5424 section 6.5, examples 1 to 4, and the shortest message there is. */
const IETF = [
  {
    text:
      "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed " +
      "for lonvick on /dev/pts/8",
    facility: 4,
    severity: 2,
    timestamp: "2003-10-11T22:14:15.003Z",
    hostname: "mymachine.example.com",
    appname: "su",
    procid: null,
    msgid: "ID47",
    structured_data: null,
    message: "'su root' failed for lonvick on /dev/pts/8",
  },
  {
    text:
      "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make " +
      "the do-nuts.",
    facility: 20,
    severity: 5,
    timestamp: "2003-08-24T05:14:15.000003-07:00",
    hostname: "192.0.2.1",
    appname: "myproc",
    procid: "8710",
    msgid: null,
    structured_data: null,
    message: "%% It's time to make the do-nuts.",
  },
  {
    text: "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 " +
      '[exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"] \ufeffAn application ' +
      "event log entry...",
    facility: 20,
    severity: 5,
    timestamp: "2003-10-11T22:14:15.003Z",
    hostname: "mymachine.example.com",
    appname: "evntslog",
    procid: null,
    msgid: "ID47",
    structured_data: {
      "exampleSDID@32473": { iut: "3", eventSource: "Application", eventID: "1011" },
    },
    message: "An application event log entry...",
  },
  {
    text: "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 " +
      '[exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"]' +
      '[examplePriority@32473 class="high"]',
    facility: 20,
    severity: 5,
    timestamp: "2003-10-11T22:14:15.003Z",
    hostname: "mymachine.example.com",
    appname: "evntslog",
    procid: null,
    msgid: "ID47",
    structured_data: {
      "exampleSDID@32473": { iut: "3", eventSource: "Application", eventID: "1011" },
      "examplePriority@32473": { class: "high" },
    },
    message: "",
  },
  {
    text: "<0>1 - - - - - -",
    facility: 0,
    severity: 0,
    timestamp: null,
    hostname: null,
    appname: null,
    procid: null,
    msgid: null,
    structured_data: null,
    message: "",
  },
];

Deno.test.each(IETF)("readSyslog() reads RFC 5424: $text", ({ text, ...fields }) => {
  assert.deepEqual(plain(text), {
    ...fields,
    timestamp_text: fields.timestamp,
    format: "rfc5424",
  });
});

Deno.test("structured data: escapes, repeated names, odd ids (RFC 5424 section 6.3)", () => {
  const data = (text: string): unknown => plain(`<13>1 - h a - - ${text} m`).structured_data;
  assert.deepEqual(data('[a b="\\"\\\\\\]"]'), { a: { b: '"\\]' } });
  assert.deepEqual(data('[a b="\\n\\"]'), null); // the quote is escaped: it never ends
  assert.deepEqual(data('[a b="\\n"]'), { a: { b: "\\n" } }); // any other backslash is itself
  assert.deepEqual(data('[a b="x = [y é"]'), { a: { b: "x = [y é" } });
  assert.deepEqual(data('[o ip="1" ip="2" ip="3"]'), { o: { ip: ["1", "2", "3"] } });
  assert.deepEqual(data("[a][b]"), { a: {}, b: {} });
  const polluted = readSyslog('<13>1 - - - - - [__proto__ x="1" __proto__="2"]', NOW);
  assert.equal(({} as { x?: string }).x, undefined);
  assert.equal(
    JSON.stringify(polluted.structured_data),
    '{"__proto__":{"x":"1","__proto__":"2"}}',
  );
});

/** What begins like RFC 5424 and is not. */
const MALFORMED_IETF = [
  "<13>1 2003-10-11T22:14:15.003Z",
  "<13>1 2003-10-11T22:14:15.003Z h a p m",
  "<13>1 2003-10-11T22:14:15.003Z h a p m ",
  "<13>1 2003-10-11T22:14:15.003Z h  p m - x",
  "<13>1 2003-10-11T22:14:15.003Z h a p m -x",
  "<13>1 2003-10-11T22:14:15.003Z h a p m [] x",
  "<13>1 2003-10-11T22:14:15.003Z h a p m [a b] x",
  "<13>1 2003-10-11T22:14:15.003Z h a p m [a b=c] x",
  '<13>1 2003-10-11T22:14:15.003Z h a p m [a b="c"',
  '<13>1 2003-10-11T22:14:15.003Z h a p m [a b="]"] x',
  '<13>1 2003-10-11T22:14:15.003Z h a p m [a ="c"] x',
  "<13>1 2003-10-11T22:14:15.003Z h a p m [a][a] x",
  "<13>1 2003-10-11T22:14:15.003Z h a p m [a]x",
  "<13>1 2003-08-24T05:14:15.000000003-07:00 h a p m - x", // section 6.2.3.1, example 5
  "<13>1 2003-10-11t22:14:15z h a p m - x",
  "<13>1 2003-10-11T22:14:60Z h a p m - x",
  "<13>1 2003-02-29T22:14:15Z h a p m - x",
  "<13>1 2003-13-01T22:14:15Z h a p m - x",
  "<13>1 2003-10-11T24:00:00Z h a p m - x",
  "<13>1 2003-10-11T22:14:15 h a p m - x",
  "<13>1 2003-10-11T22:14:15+24:00 h a p m - x",
];

Deno.test("a malformed message of RFC 5424 is kept whole, with its facility and severity", () => {
  for (const text of MALFORMED_IETF) {
    const { format, message, facility, severity, timestamp, hostname } = readSyslog(text, NOW);
    assert.deepEqual(
      { format, message, facility, severity, timestamp, hostname },
      { format: "raw", message: text, facility: 1, severity: 5, timestamp: null, hostname: null },
      text,
    );
  }
});

/** RFC 3164 section 5.4 and what senders make of it. */
const BSD = [
  {
    text: "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
    wanted: ["2026-10-11T22:14:15", "mymachine", "su", null],
    message: "'su root' failed for lonvick on /dev/pts/8",
  },
  {
    // Section 5.4, example 2, as a relay passes it on: no word of it is a TAG.
    text: "<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!",
    wanted: ["2027-02-05T17:32:18", "10.0.0.99", null, null],
    message: "Use the BFG!",
  },
  {
    text: "<22>Nov 21 06:07:08 mail postfix/smtpd[123]: connect from [::1]",
    wanted: ["2026-11-21T06:07:08", "mail", "postfix/smtpd", "123"],
    message: "connect from [::1]",
  },
  {
    text: "<13>Nov 21 06:07:08 cron[7]: no host in it",
    wanted: ["2026-11-21T06:07:08", null, "cron", "7"],
    message: "no host in it",
  },
  {
    text: "<13>Nov 21 06:07:08 tag: x",
    wanted: ["2026-11-21T06:07:08", null, "tag", null],
    message: "x",
  },
  {
    text: "<13>Nov 21 2019 06:07:08.123 router %LINK-3-UPDOWN: down",
    wanted: ["2019-11-21T06:07:08.123", "router", "%LINK-3-UPDOWN", null],
    message: "down",
  },
  {
    text: "<13>2026-11-21T06:07:08.123456+01:00 host app[1]: x",
    wanted: ["2026-11-21T06:07:08.123456+01:00", "host", "app", "1"],
    message: "x",
  },
  { text: "<13>Nov 21 06:07:08", wanted: ["2026-11-21T06:07:08", null, null, null], message: "" },
  {
    text: "<13>Nov 21 06:07:08 fe80::1 a: x",
    wanted: ["2026-11-21T06:07:08", "fe80::1", "a", null],
    message: "x",
  },
];

Deno.test.each(BSD)("readSyslog() reads RFC 3164: $text", ({ text, wanted, message }) => {
  const read = plain(text);
  assert.deepEqual([read.timestamp, read.hostname, read.appname, read.procid], wanted);
  assert.equal(read.message, message);
  assert.equal(read.format, "rfc3164");
  assert.ok(text.includes(`>${read.timestamp_text}`));
  assert.equal(read.structured_data, null);
});

Deno.test("a message without a time is all content (RFC 3164 section 4.3.2)", () => {
  for (
    const content of [
      "",
      "hello",
      "1 error found",
      "1 ",
      "10 x",
      "Nov 21 06:07:08x",
      "Nov 31 06:07:08 h a: x",
      "Feb 29 06:07:08 h a: x", // neither 2025 nor 2026 nor 2027 has one
      "Nov 21 24:00:00 h a: x",
      "Foo 21 06:07:08 h a: x",
      "nov 21 06:07:08 h a: x",
      "Nov  0 06:07:08 h a: x",
      "Nov 21 06:07 h a: x",
    ]
  ) {
    const read = plain(`<191>${content}`);
    assert.equal(read.message, content);
    assert.equal(read.format, "rfc3164", content);
    assert.equal(read.timestamp ?? read.hostname ?? read.appname, null);
    assert.deepEqual([read.facility, read.severity], [23, 7]);
  }
});

Deno.test("what has no valid PRI is raw", () => {
  for (
    const text of [
      "",
      "x",
      "<",
      "<>x",
      "<192>x",
      "<00>x",
      "<013>x",
      "<1234>x",
      "<-1>x",
      "<a>",
      " <13>x",
    ]
  ) {
    const read = plain(text);
    assert.deepEqual([read.format, read.message], ["raw", text]);
    assert.deepEqual([read.facility, read.severity], [null, null]);
  }
});

/** The clock of the box, the date of the message, the year that is meant. */
const YEARS = [
  { now: Date.UTC(2026, 11, 31, 23, 59), month: 1, day: 1, year: 2027 }, // its clock is ahead
  { now: Date.UTC(2027, 0, 1), month: 12, day: 31, year: 2026 }, // it was under way at midnight
  { now: Date.UTC(2027, 0, 1), month: 1, day: 1, year: 2027 },
  { now: Date.UTC(2026, 5, 15), month: 1, day: 1, year: 2026 },
  { now: Date.UTC(2026, 5, 15), month: 12, day: 1, year: 2026 },
  { now: Date.UTC(2028, 0, 5), month: 2, day: 29, year: 2028 },
  { now: Date.UTC(2029, 0, 5), month: 2, day: 29, year: 2028 },
  { now: Date.UTC(2027, 11, 5), month: 2, day: 29, year: 2028 },
  { now: Date.UTC(2030, 0, 5), month: 2, day: 29, year: 0 },
  { now: 0, month: 12, day: 31, year: 1969 },
  { now: -1, month: 1, day: 1, year: 1970 },
];

Deno.test.each(YEARS)("nearestYear() of $month/$day at $now is $year", (row) => {
  assert.equal(nearestYear(row.month, row.day, row.now), row.year);
});

Deno.test("nearestYear() of today is this year, on every day of forty years", () => {
  for (let day = 0; day < 40 * 366; day++) {
    const date = new Date(Date.UTC(1995, 0, 1 + day));
    const [year, month, dayOfMonth] = [
      date.getUTCFullYear(),
      date.getUTCMonth() + 1,
      date.getUTCDate(),
    ];
    assert.ok(isDate(year, month, dayOfMonth));
    assert.equal(nearestYear(month, dayOfMonth, date.getTime()), year);
  }
});

Deno.test("isDate() knows the leap years", () => {
  const leap = [2000, 2024, 2400].map((year) => isDate(year, 2, 29));
  const none = [1900, 2023, 2100].map((year) => isDate(year, 2, 29));
  assert.deepEqual([...leap, ...none], [true, true, true, false, false, false]);
  assert.ok(!isDate(2024, 0, 1) && !isDate(2024, 13, 1) && !isDate(2024, 4, 31));
});

Deno.test("readSyslog() takes hostile lengths in time that grows with them", () => {
  const long = 60_000;
  const texts = [
    `<13>1 - - - - - ${"[a]".repeat(long / 3)}`,
    `<13>1 - - - - - [a${' b="c"'.repeat(long / 6)}`,
    `<13>1 - - - - - [a b="${"\\".repeat(long)}`,
    `<13>1 - - - - - [a b="${'\\"'.repeat(long / 2)}"] x`,
    `<13>Nov 21 06:07:08 h ${"a".repeat(long)}`,
    `<13>Nov 21 06:07:08 h a[${"b".repeat(long)}`,
    `<13>Nov 21 06:07:08 ${" ".repeat(long)}`,
    `<13>1 ${" ".repeat(long)}`,
    `<${"1".repeat(long)}>`,
  ];
  const before = performance.now();
  for (const text of texts) {
    for (let round = 0; round < 5; round++) assert.notEqual(readSyslog(text, NOW), null);
  }
  assert.ok(performance.now() - before < 5000);
});

Deno.test("readFrame() finds counted frames and lines, at every length that has come", () => {
  const text = "5 <13>a" + "<14>b\r\n" + "12 <13>x\n<14>y " + "\n" + "<15>c\n";
  const bytes = encoder.encode(text);
  const wanted = ["<13>a", "<14>b", "<13>x\n<14>y ", "", "<15>c"];
  for (let end = 0; end <= bytes.length; end++) {
    const found: string[] = [];
    const place = { start: 0, end: 0 };
    let at = 0;
    for (let next = readFrame(bytes, at, end, place); next > 0;) {
      found.push(text.slice(place.start, place.end));
      at = next;
      next = readFrame(bytes, at, end, place);
      if (next < 0) assert.equal(next, -Fault.Short);
    }
    assert.deepEqual(found, wanted.slice(0, found.length));
    if (end === bytes.length) assert.equal(found.length, wanted.length);
  }
});

/** RFC 6587 section 3.4.1: MSG-LEN = NONZERO-DIGIT *DIGIT, then SP. */
const COUNTS = [
  { text: "0 x", fault: Fault.Field },
  { text: "05 <13>a", fault: Fault.Field },
  { text: "5<13>a", fault: Fault.Field },
  { text: "5\n<13>a", fault: Fault.Field },
  { text: "2026-11-21 x\n", fault: Fault.Field },
  { text: "65537 x", fault: Fault.Large },
  { text: "99999999999999999999999999 x", fault: Fault.Large },
  { text: "655360", fault: Fault.Large },
  { text: "65536 x", fault: Fault.Short },
  { text: "65536", fault: Fault.Short },
  { text: "1", fault: Fault.Short },
  { text: "1 ", fault: Fault.Short },
  { text: "<13>x", fault: Fault.Short },
];

Deno.test.each(COUNTS)("readFrame() of '$text' is fault $fault", ({ text, fault }) => {
  const bytes = encoder.encode(text);
  assert.equal(readFrame(bytes, 0, bytes.length, { start: 0, end: 0 }), -fault);
});

Deno.test("readFrame() takes a frame as long as the limit", () => {
  const bytes = encoder.encode(`${FRAME_BYTES_MAX} ${"x".repeat(FRAME_BYTES_MAX)}`);
  assert.equal(bytes.length, COUNT_BYTES_MAX + FRAME_BYTES_MAX);
  const place = { start: 0, end: 0 };
  assert.equal(readFrame(bytes, 0, bytes.length, place), bytes.length);
  assert.equal(place.end - place.start, FRAME_BYTES_MAX);
  assert.equal(readFrame(bytes, 0, bytes.length - 1, place), -Fault.Short);
});

/** As its JSON says it. */
// deno-lint-ignore no-explicit-any -- a test asserts what it is
function plain(text: string): any {
  return JSON.parse(JSON.stringify(readSyslog(text, NOW)));
}
