/** The records about msgr2 sessions: layout, round trips, every short length. */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, type Region } from "../../src/mem/region.ts";
import { U64 } from "../../src/mem/u64.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import {
  PolicyBit,
  readSessionGone,
  readSessionMessage,
  readSessionNumbers,
  readSessionRecord,
  SESSION_GONE_SIZE,
  SESSION_MESSAGE_HEAD_SIZE,
  SESSION_NUMBERS_SIZE,
  SESSION_RECORD_BYTES_MAX,
  SessionMessage,
  SessionNumbers,
  SessionRecord,
  writeSessionGone,
  writeSessionMessage,
  writeSessionNumbers,
  writeSessionRecord,
} from "../../src/wire/standby/session_record.ts";

/** Memory that is full of something else. */
function dirty(): Region {
  const out = newRegion(SESSION_RECORD_BYTES_MAX);
  out.bytes.fill(0xa5);
  return out;
}

function session(): SessionRecord {
  const record = new SessionRecord();
  record.session = 0xfffffff0;
  record.policy = PolicyBit.Standby | PolicyBit.Resetcheck | PolicyBit.Registered;
  record.established = true;
  record.hasTarget = true;
  record.target.copy(EntityAddr.parse("v2:[fe80::1]:3300"));
  record.own.add(EntityAddr.parse("any:10.0.0.7:0/4000000000"));
  record.peerAddrs.add(EntityAddr.parse("v2:10.0.0.1:3300"));
  record.peerAddrs.add(EntityAddr.parse("v1:10.0.0.1:6789"));
  record.peerType = 8;
  record.peerName = "client.grün";
  record.peerGid.copy(U64.of(-1));
  record.supported.copy(U64.of(0x3f01cfbdfffdffffn));
  record.required.copy(U64.of(1));
  record.clientCookie.copy(U64.of(0x0102030405060708n));
  record.serverCookie.copy(U64.of(9));
  record.epoch = 3;
  record.kept = 2;
  record.lastSeq = 2 ** 40;
  return record;
}

Deno.test("SESSION keeps every field", () => {
  const out = dirty();
  const record = session();
  const end = writeSessionRecord(out, 5, record);
  const read = new SessionRecord();
  assert.equal(readSessionRecord(out, 5, end, read), end);
  assert.deepEqual(`${read.own} ${read.peerAddrs}`, `${record.own} ${record.peerAddrs}`);
  for (const vec of [read.own, read.peerAddrs, record.own, record.peerAddrs]) vec.count = 0;
  const plain = ({ own: _own, peerAddrs: _peer, ...rest }: SessionRecord): unknown => rest;
  assert.deepEqual(plain(read), plain(record));
});

Deno.test("SESSION without target, addresses and name", () => {
  const out = dirty();
  const end = writeSessionRecord(out, 0, new SessionRecord());
  const read = session();
  assert.equal(readSessionRecord(out, 0, end, read), end);
  assert.equal(read.hasTarget, false);
  assert.equal(read.own.count, 0);
  assert.equal(read.peerName, "");
});

Deno.test("SESSION cut off anywhere before its name is refused", () => {
  const out = dirty();
  const record = session();
  const whole = writeSessionRecord(out, 0, record);
  const name = new TextEncoder().encode(record.peerName).length;
  for (let end = 0; end < whole - name; end++) {
    assert.ok(readSessionRecord(out, 0, end, new SessionRecord()) < 0, `${end} bytes`);
  }
});

Deno.test("SESSION refuses a name that is no text or too long, and a target its flags deny", () => {
  const out = dirty();
  const end = writeSessionRecord(out, 0, session());
  out.bytes[end - 1] = 0xff;
  assert.equal(readSessionRecord(out, 0, end, new SessionRecord()), -Fault.Field);
  assert.equal(readSessionRecord(out, 0, end + 1100, new SessionRecord()), -Fault.Large);
  out.bytes[end - 1] = 0x6e;
  out.bytes[5] = 1;
  assert.equal(readSessionRecord(out, 0, end, new SessionRecord()), -Fault.Field);
});

Deno.test("SESSION_MESSAGE keeps every field, and its segments fill the record", () => {
  const out = dirty();
  const message = new SessionMessage();
  message.session = 7;
  message.type = 0xfa00;
  message.priority = 196;
  message.version = 2;
  message.compatVersion = 1;
  message.seq = 2 ** 33;
  message.tid.copy(U64.of(5));
  message.frontBytes = 3;
  message.middleBytes = 0;
  message.dataBytes = 17;
  message.at = writeSessionMessage(out, 4, message);
  assert.equal(message.at, 4 + SESSION_MESSAGE_HEAD_SIZE);
  const read = new SessionMessage();
  const end = message.at + 20;
  assert.equal(readSessionMessage(out, 4, end, read), end);
  assert.deepEqual(read, message);
  assert.equal(
    out.bytes.toHex().slice(8, 8 + 80),
    [
      "07000000", // session
      "00fa" + "c400" + "0200" + "0100", // type, priority, version, compat version
      "0000000002000000", // seq
      "0500000000000000", // tid
      "03000000" + "00000000" + "11000000", // front, middle, data
    ].join(""),
  );
  for (let short = 4; short < end; short++) {
    assert.equal(readSessionMessage(out, 4, short, read), -Fault.Field);
  }
  assert.equal(readSessionMessage(out, 4, end + 1, read), -Fault.Field);
});

Deno.test("SESSION_NUMBERS and SESSION_GONE keep every field and have one length", () => {
  const out = dirty();
  const numbers = new SessionNumbers();
  Object.assign(numbers, { session: 1, epoch: 2, takenSeq: 3, ackedSeq: 4, outSeq: 2 ** 50 });
  Object.assign(numbers, { connectSeq: 6, peerGlobalSeq: 7, globalSeq: 8 });
  assert.equal(writeSessionNumbers(out, 0, numbers), SESSION_NUMBERS_SIZE);
  const read = new SessionNumbers();
  assert.equal(readSessionNumbers(out, 0, SESSION_NUMBERS_SIZE, read), SESSION_NUMBERS_SIZE);
  assert.deepEqual(read, numbers);
  for (let end = 0; end < 70; end++) {
    if (end === SESSION_NUMBERS_SIZE) continue;
    assert.equal(readSessionNumbers(out, 0, end, read), -Fault.Field);
  }
  for (let at = 8; at < SESSION_NUMBERS_SIZE; at += 8) {
    out.bytes[at + 7] = 0xff; // 2^53 and above
    assert.equal(readSessionNumbers(out, 0, SESSION_NUMBERS_SIZE, read), -Fault.Field);
    out.bytes[at + 7] = 0;
  }
  assert.equal(writeSessionGone(out, 0, 0xffffffff), SESSION_GONE_SIZE);
  assert.equal(readSessionGone(out, 0, SESSION_GONE_SIZE), 0xffffffff);
  assert.equal(readSessionGone(out, 0, 3), -Fault.Field);
  assert.equal(readSessionGone(out, 0, 5), -Fault.Field);
});
