/** Records of a spool: round trips, limits, hostile bytes. */
import assert from "node:assert/strict";
import { newRegion, type Region } from "../../src/mem/region.ts";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { crc32c } from "../../src/wire/crc32c.ts";
import {
  PostHead,
  PostRecord,
  PostWriter,
  readPostHead,
  readPostRecord,
  RecordKind,
} from "../../src/wire/standby/post.ts";
import {
  addSpoolRecord,
  NUMBER_MAX,
  readSpoolRecord,
  spoolRecordBytes,
  type SpoolRow,
} from "../../src/wire/standby/spool_record.ts";
import { random } from "../spool/random.ts";

const ID = "00112233445566778899aabbccddeeff";
const BYTES = new TextEncoder().encode("an envelope");

const ROWS: readonly SpoolRow[] = [
  { kind: RecordKind.Spool, spool: ID, generation: 2 ** 40 + 1, own: true },
  { kind: RecordKind.Spool, spool: "ff".repeat(16), generation: 0, own: false },
  {
    kind: RecordKind.SpoolStream,
    stream: 2 ** 32 - 1,
    spool: ID,
    number: 7,
    route: "site/+/grün/#",
    lane: 3,
    next: NUMBER_MAX,
    clock: 12,
    hubs: "hq berlin",
  },
  {
    kind: RecordKind.SpoolStream,
    stream: 0,
    spool: ID,
    number: 0,
    route: "",
    lane: 0,
    next: 1,
    clock: 0,
    hubs: "",
  },
  {
    kind: RecordKind.SpoolEnvelope,
    stream: 1,
    number: 5000,
    count: 4096,
    at: 2 ** 41,
    crc: crc32c(BYTES),
    bytes: BYTES,
  },
  {
    kind: RecordKind.SpoolEnvelope,
    stream: 1,
    number: 1,
    count: 1,
    at: 0,
    crc: 2 ** 32 - 1,
    bytes: new Uint8Array(),
  },
  { kind: RecordKind.SpoolRemoved, stream: 9, after: 4, number: NUMBER_MAX },
  { kind: RecordKind.SpoolCursor, hub: "hq", stream: 4, number: 2 ** 33 },
  { kind: RecordKind.SpoolPosition, input: "log", position: '{"at":"\u{1f600}\ufeff"}' },
  { kind: RecordKind.SpoolPosition, input: "", position: "" },
];

/** The rows' bodies, with where each is. */
function bodies(rows: readonly SpoolRow[]): { from: Region; records: PostRecord[] } {
  const post = new PostWriter();
  post.region.bytes.fill(0xa5);
  for (const row of rows) addSpoolRecord(post, row);
  const bytes = post.take(1, 1);
  const from = newRegion(bytes.length);
  from.bytes.set(bytes);
  const head = new PostHead();
  let at = readPostHead(from, 0, bytes.length, head);
  assert.ok(at > 0);
  const records = Array.from({ length: head.count }, () => {
    const record = new PostRecord();
    at = readPostRecord(from, at, record);
    return record;
  });
  assert.equal(at, bytes.length);
  return { from, records };
}

Deno.test("every row of a spool comes back from its record as it was", () => {
  const { from, records } = bodies(ROWS);
  assert.equal(records.length, ROWS.length);
  for (const [index, { at, end, kind }] of records.entries()) {
    assert.equal(kind, ROWS[index]!.kind);
    assert.ok(end - at <= spoolRecordBytes(ROWS[index]!));
    assert.deepEqual(readSpoolRecord(kind, from, at, end), ROWS[index]);
  }
});

Deno.test("a record that is cut or longer than its row is refused, unless an envelope is", () => {
  const { from, records } = bodies(ROWS);
  for (const { at, end, kind } of records) {
    const least = kind === RecordKind.SpoolEnvelope ? at + 28 : end;
    for (let cut = at; cut < least; cut++) {
      assert.equal(readSpoolRecord(kind, from, at, cut), -Fault.Field, `kind ${kind} at ${cut}`);
    }
  }
  const longer = newRegion(200);
  for (const { at, end, kind } of records.filter(({ kind }) => kind !== RecordKind.SpoolEnvelope)) {
    longer.bytes.set(from.bytes.subarray(at, end));
    assert.equal(readSpoolRecord(kind, longer, 0, end - at + 1), -Fault.Field, `kind ${kind}`);
  }
});

const HOSTILE: readonly (readonly [string, number, (body: Region) => void])[] = [
  ["SPOOL generation", 0, ({ view }) => view.setUint32(20, 0xffffffff, true)],
  ["SPOOL own", 0, ({ view }) => view.setUint8(24, 2)],
  ["SPOOL_STREAM next", 2, ({ bytes }) => bytes.fill(0, 28, 36)],
  ["SPOOL_STREAM clock", 2, ({ bytes }) => bytes.fill(0xff, 36, 44)],
  ["SPOOL_STREAM route", 2, ({ view }) => view.setUint32(44, 0xffffffff, true)],
  ["SPOOL_STREAM route", 2, ({ view }) => view.setUint8(50, 0xff)],
  ["SPOOL_ENVELOPE count", 4, ({ view }) => view.setUint32(4, 0, true)],
  ["SPOOL_ENVELOPE count", 4, ({ view }) => view.setUint32(4, 4097, true)],
  ["SPOOL_ENVELOPE number", 4, ({ view }) => view.setUint32(8, 4095, true)],
  ["SPOOL_ENVELOPE number", 4, ({ bytes }) => bytes.fill(0xff, 8, 16)],
  ["SPOOL_ENVELOPE at", 4, ({ bytes }) => bytes.fill(0xff, 16, 24)],
  ["SPOOL_REMOVED after", 6, ({ bytes }) => bytes.fill(0xff, 4, 12)],
  ["SPOOL_REMOVED number", 6, ({ bytes }) => bytes.fill(0xff, 12, 20)],
  ["SPOOL_REMOVED number", 6, ({ bytes }) => bytes.fill(0, 12, 20)],
  ["SPOOL_CURSOR number", 7, ({ bytes }) => bytes.fill(0xff, 4, 12)],
  ["SPOOL_POSITION input", 8, ({ view }) => view.setUint32(0, 4000, true)],
];

for (const [field, index, spoil] of HOSTILE) {
  Deno.test(`a hostile ${field} is named`, () => {
    const { from, records } = bodies(ROWS);
    const { at, end, kind } = records[index]!;
    const body = newRegion(end - at);
    body.bytes.set(from.bytes.subarray(at, end));
    spoil(body);
    assert.equal(readSpoolRecord(kind, body, 0, end - at), -Fault.Field);
    assert.equal(lastFault.field, field);
  });
}

Deno.test("an envelope, or a text, larger than any is refused", () => {
  const size = 28 + 8 * 1024 * 1024 + 1;
  const from = newRegion(size);
  from.view.setUint32(4, 1, true);
  from.view.setUint32(8, 1, true);
  assert.equal(readSpoolRecord(RecordKind.SpoolEnvelope, from, 0, size), -Fault.Large);
  assert.notEqual(typeof readSpoolRecord(RecordKind.SpoolEnvelope, from, 0, size - 1), "number");
  from.view.setUint32(0, size - 8, true);
  assert.equal(readSpoolRecord(RecordKind.SpoolPosition, from, 0, size), -Fault.Field);
});

Deno.test("a kind that is none of a spool is refused", () => {
  assert.equal(readSpoolRecord(RecordKind.Sa, newRegion(100), 0, 100), -Fault.Field);
  assert.equal(lastFault.field, "SPOOL kind");
});

Deno.test("any bytes are read or refused, and what is read is in its bounds", () => {
  const next = random(20_001);
  const { from, records } = bodies(ROWS);
  let taken = 0;
  for (let round = 0; round < 30_000; round++) {
    const { at, end, kind } = records[next(records.length)]!;
    const size = Math.max(0, end - at + (next(4) === 0 ? next(9) - 4 : 0));
    const body = newRegion(size);
    body.bytes.set(from.bytes.subarray(at, at + size));
    for (let flips = next(4); flips > 0 && size > 0; flips--) body.bytes[next(size)] = next(256);
    const row = readSpoolRecord(kind, body, 0, size);
    if (typeof row === "number") continue;
    taken++;
    assert.equal(row.kind, kind);
    for (const value of Object.values(row)) {
      if (typeof value === "number") assert.ok(Number.isSafeInteger(value) && value >= 0);
    }
    const again = bodies([row]);
    const record = again.records[0]!;
    assert.deepEqual(readSpoolRecord(kind, again.from, record.at, record.end), row);
  }
  assert.ok(taken > 1000 && taken < 29_000, `${taken}`);
});
