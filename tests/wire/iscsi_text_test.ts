/** Text keys, CDBs and sense data that iSCSI carries, and the layout of the draft. */
import assert from "node:assert/strict";
import { newRegion, regionOf } from "../../src/mem/region.ts";
import {
  DRAFT_PDU_BYTES_MAX,
  DraftPdu,
  fromDraftLayout,
  readDraftPdu,
  toDraftLayout,
  writeDraftPdu,
} from "../../src/wire/iscsi/draft_layout.ts";
import { BHS_SIZE } from "../../src/wire/iscsi/header.ts";
import { pairText, readKeys, writeKeys } from "../../src/wire/iscsi/keys.ts";
import { isTargets, pduName } from "../../src/wire/iscsi/opcode.ts";
import { cdbFields, commandName, senseFields, statusName } from "../../src/wire/iscsi/scsi.ts";
import { Reading, readingOf } from "../../src/wire/iscsi/urgent_start.ts";
import { IscsiSession } from "../capture/iscsi_streams.ts";

function cdb(hex: string): Record<string, unknown> {
  const out = newRegion(16);
  out.bytes.set(Uint8Array.fromHex(hex));
  return cdbFields(out, 0);
}

Deno.test("keys are written with a zero byte each, and read back", () => {
  const out = newRegion(64);
  const pairs: [string, string][] = [["HeaderDigest", "CRC32C,None"], ["X-empty", ""]];
  const end = writeKeys(out, 0, pairs);
  assert.equal(new TextDecoder().decode(out.bytes.subarray(0, 25)), "HeaderDigest=CRC32C,None\0");
  assert.deepEqual(readKeys(out, 0, end), pairs);
  assert.deepEqual(readKeys(out, 0, end - 1), pairs.slice(0, 1)); // the last one is cut
});

Deno.test("text that is none, or without end, is read without fault and within bounds", () => {
  const noise = newRegion(8192);
  for (let at = 0; at < noise.bytes.length; at++) noise.bytes[at] = (at * 7919) & 0xff;
  readKeys(noise, 0, noise.bytes.length);
  noise.bytes.fill(0);
  assert.deepEqual(readKeys(noise, 0, noise.bytes.length), []);
  const many = newRegion(8192);
  writeKeys(many, 0, Array.from({ length: 2000 }, () => ["a", "b"] as const));
  assert.ok(readKeys(many, 0, 8000).length <= 256);
});

Deno.test("answers to a challenge are not shown", () => {
  assert.equal(pairText(["CHAP_R", "0x1234"]), "CHAP_R=(hidden)");
  assert.equal(pairText(["SRP_M", "0x1234"]), "SRP_M=(hidden)");
  assert.equal(pairText(["CHAP_N", "someone"]), "CHAP_N=someone");
});

Deno.test("reads and writes tell where and how much", () => {
  const place = (fields: Record<string, unknown>): unknown[] => [
    fields["command"],
    fields["lba"],
    fields["blocks"],
  ];
  assert.deepEqual(place(cdb("081fffff0000")), ["READ(6)", 0x1fffff, 256]);
  assert.deepEqual(place(cdb("2800123456780001000000")), ["READ(10)", 0x12345678, 256]);
  assert.deepEqual(place(cdb("2a00000000010000080000")), ["WRITE(10)", 1, 8]);
  assert.deepEqual(place(cdb("a800ffffffff000000200000")), ["READ(12)", 0xffffffff, 32]);
  assert.deepEqual(place(cdb("88000000000200000001000000100000")), [
    "READ(16)",
    0x200000001,
    16,
  ]);
  assert.deepEqual(place(cdb("8a00ffffffffffffffff000000100000")), [
    "WRITE(16)",
    "0xffffffffffffffff",
    16,
  ]);
});

Deno.test("commands, statuses and senses have their names", () => {
  assert.equal(commandName(0x00), "TEST UNIT READY");
  assert.equal(commandName(0x12), "INQUIRY");
  assert.equal(commandName(0xa0), "REPORT LUNS");
  assert.equal(commandName(0x25), "READ CAPACITY(10)");
  assert.equal(commandName(0x1a), "MODE SENSE(6)");
  assert.equal(commandName(0xff), "CDB 0xff");
  assert.equal(cdb("9e10")["command"], "READ CAPACITY(16)");
  assert.equal(cdb("9e12")["command"], "SERVICE ACTION IN(16)");
  assert.equal(statusName(0x28), "TASK SET FULL");
  assert.equal(statusName(0x77), "status 0x77");
  const fixed = regionOf(Uint8Array.fromHex("700005000000000a000000002400000000"));
  const read = { "sense.key": 5, sense: "ILLEGAL REQUEST" };
  assert.deepEqual(senseFields(fixed, 0, 17), { ...read, "sense.asc": 0x24, "sense.ascq": 0 });
  assert.deepEqual(senseFields(fixed, 0, 8), read);
  const described = regionOf(Uint8Array.fromHex("7206290100000000"));
  assert.equal(senseFields(described, 0, 8)["sense.asc"], 0x29);
  assert.deepEqual(senseFields(fixed, 0, 3), {});
  assert.deepEqual(senseFields(regionOf(new Uint8Array(18)), 0, 18), {});
});

Deno.test("every PDU goes to the draft's layout and back, with its retry bit", () => {
  const session = new IscsiSession(1);
  session.login();
  session.mix(40);
  session.logout();
  for (const stream of session.streams) {
    const bytes = stream.bytes();
    for (const { offset, opcode } of stream.pdus) {
      for (const retry of [false, true]) {
        const header = regionOf(bytes.slice(offset, offset + BHS_SIZE));
        toDraftLayout(header, 0, retry);
        const [first, second] = header.bytes;
        assert.equal(first! & 0x80, 0);
        assert.equal(second! & 0x80, 0x80);
        assert.equal((first! & 0x20) !== 0, retry);
        assert.equal((first! & 0x40) !== 0, isTargets(opcode));
        assert.equal(readingOf(first!), Reading.Rfc1122);
        assert.equal(readingOf(second!), Reading.Bsd);
        assert.equal(fromDraftLayout(header, 0), retry ? 1 : 0);
        const before = bytes.subarray(offset, offset + BHS_SIZE).toHex();
        assert.equal(header.bytes.toHex(), before, pduName(opcode));
      }
    }
  }
});

Deno.test("what is not of the draft's layout is refused", () => {
  for (const first of ["80", "05"]) {
    const header = regionOf(Uint8Array.fromHex(first + "7f".repeat(47)));
    assert.ok(fromDraftLayout(header, 0) < 0);
  }
});

Deno.test("a generated PDU has its size and its number, and reads back", () => {
  const out = newRegion(DRAFT_PDU_BYTES_MAX + 8);
  const found = new DraftPdu();
  for (const size of [48, 52, 560, 1448, DRAFT_PDU_BYTES_MAX]) {
    out.bytes.fill(0xa5);
    const end = writeDraftPdu(out, 4, size, 0xdeadbeef);
    assert.equal(end, 4 + size);
    assert.equal(out.bytes[end], 0xa5);
    assert.equal(readDraftPdu(out, 4, end, found), end);
    assert.equal(found.size, size);
    assert.equal(found.sequence, 0xdeadbeef);
    for (let cut = 4; cut < 4 + BHS_SIZE; cut++) assert.ok(readDraftPdu(out, 4, cut, found) < 0);
  }
  for (const size of [0, 44, 50, 1 << 25]) assert.ok(writeDraftPdu(out, 0, size, 1) < 0);
  out.bytes.fill(0);
  assert.ok(readDraftPdu(out, 0, 100, found) < 0);
});

/** Bytes 0 and 1 by RFC 7143, and with the bits where draft_layout.ts draws them. */
const MOVED = [
  { what: "SCSI Command, immediate, final, read, ACA", rfc: [0x41, 0xc4], draft: [0x01, 0xdc] },
  { what: "SCSI Command, not final, write", rfc: [0x01, 0x21], draft: [0x01, 0xa1] },
  {
    what: "Task Management, immediate, LOGICAL UNIT RESET",
    rfc: [0x42, 0x85],
    draft: [0x02, 0xa5],
  },
  { what: "Login Request, which is always immediate", rfc: [0x43, 0x87], draft: [0x03, 0x97] },
  { what: "SNACK, whose opcode has bit 4", rfc: [0x10, 0x80], draft: [0x10, 0x80] },
  { what: "SCSI Data-In of a target, not final", rfc: [0x25, 0x00], draft: [0x45, 0x80] },
  { what: "Reject", rfc: [0x3f, 0x80], draft: [0x5f, 0x80] },
];

Deno.test.each(MOVED)("the draft's first two bytes of a $what", ({ draft, rfc }) => {
  for (const retry of [false, true]) {
    const out = newRegion(48);
    out.bytes.set(rfc);
    toDraftLayout(out, 0, retry);
    assert.deepEqual([...out.bytes.subarray(0, 2)], [draft[0]! | (retry ? 0x20 : 0), draft[1]]);
    assert.equal(fromDraftLayout(out, 0), retry ? 1 : 0);
    assert.deepEqual([...out.bytes.subarray(0, 2)], rfc);
  }
});
