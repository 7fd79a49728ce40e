/** Headers of iSCSI: names, fields both ways, and what cannot be one. */
import assert from "node:assert/strict";
import { newRegion, regionOf } from "../../src/mem/region.ts";
import { ahsFields, headerFields, writeHeader } from "../../src/wire/iscsi/fields.ts";
import { BHS_SIZE, dataBytes, padded } from "../../src/wire/iscsi/header.ts";
import { isAlwaysFinal, layoutOf } from "../../src/wire/iscsi/layout.ts";
import { isTargets, Opcode, OPCODES, pduName } from "../../src/wire/iscsi/opcode.ts";
import { digestOf, digestText, readDigest, writePdu } from "../../src/wire/iscsi/pdu.ts";
import {
  follows,
  isAcceptable,
  isOpening,
  isPlausible,
  Sender,
  SENDERS,
} from "../../src/wire/iscsi/plausible.ts";
import { Cdb } from "../../src/wire/iscsi/scsi.ts";
import { IscsiSession, makeRandom } from "../capture/iscsi_streams.ts";

/** RFC 7143 section 11.2.1.2. */
const NAMES: [number, string][] = [
  [0x00, "NOP-Out"],
  [0x01, "SCSI Command"],
  [0x02, "Task Management Function Request"],
  [0x03, "Login Request"],
  [0x04, "Text Request"],
  [0x05, "SCSI Data-Out"],
  [0x06, "Logout Request"],
  [0x10, "SNACK Request"],
  [0x1c, "Vendor Specific I0"],
  [0x20, "NOP-In"],
  [0x21, "SCSI Response"],
  [0x22, "Task Management Function Response"],
  [0x23, "Login Response"],
  [0x24, "Text Response"],
  [0x25, "SCSI Data-In"],
  [0x26, "Logout Response"],
  [0x31, "Ready To Transfer"],
  [0x32, "Asynchronous Message"],
  [0x3e, "Vendor Specific T2"],
  [0x3f, "Reject"],
];

/** tgt 1.0.85 and libiscsi 1.19 on loopback, captured by tcpdump: first headers of three kinds. */
const REAL = [
  {
    // READ(10) of 8 blocks
    hex: "01c10000 00000000 0001000000000000 00000004 00001000 00000003 00000004" +
      "28000000000000000800000000000000",
    senders: Sender.Initiator,
    fields: {
      opcode: 1,
      "scsicommand.F": true,
      "scsicommand.R": true,
      "scsicommand.W": false,
      "scsicommand.attr": 1,
      initiatortasktag: 4,
      "scsicommand.expecteddatatransferlength": 4096,
      cmdsn: 3,
      expstatsn: 4,
      command: "READ(10)",
      lba: 0,
      blocks: 8,
      lun: "0001000000000000",
    },
  },
  {
    // its data, with the status in it
    hex: "25810000 00001000 0000000000000000 00000004 ffffffff 00000004 00000004" +
      "00000083 00000000 00000000 00000000",
    senders: Sender.Target,
    fields: {
      opcode: 0x25,
      flags: 0x81,
      "scsidata.F": true,
      "scsidata.S": true,
      datasegmentlength: 4096,
      statsn: 4,
      expcmdsn: 4,
      maxcmdsn: 0x83,
      status: "GOOD",
    },
  },
];

function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(hex.replaceAll(" ", "")) as Uint8Array<ArrayBuffer>;
}

/** One of each PDU that a session has. */
function headers(): Map<number, Uint8Array<ArrayBuffer>> {
  const session = new IscsiSession(1);
  session.login();
  session.mix(40);
  session.logout();
  const found = new Map<number, Uint8Array<ArrayBuffer>>();
  for (const stream of session.streams) {
    const bytes = stream.bytes();
    for (const { offset, opcode } of stream.pdus) {
      found.set(opcode, bytes.slice(offset, offset + BHS_SIZE));
    }
  }
  const add = (opcode: number, fields: Parameters<typeof writeHeader>[3]): void => {
    const out = newRegion(BHS_SIZE);
    writeHeader(out, 0, opcode, fields);
    found.set(opcode, out.bytes);
  };
  const task = { initiatortasktag: 5 };
  add(Opcode.TaskRequest, { ...task, I: true, "taskmanfun.function": 1 });
  add(Opcode.TaskResponse, { ...task, "taskmanfun.response": 0 });
  add(Opcode.TextRequest, { ...task, "text.F": true, targettransfertag: 0xffffffff });
  add(Opcode.TextResponse, { ...task, "text.F": true, targettransfertag: 0xffffffff });
  add(Opcode.Snack, { ...task, "snack.type": 1, targettransfertag: 0xffffffff });
  add(Opcode.Async, { initiatortasktag: 0xffffffff, asyncevent: 1 });
  add(Opcode.Reject, {
    initiatortasktag: 0xffffffff,
    "reject.reason": 4,
    datasegmentlength: BHS_SIZE,
  });
  return found;
}

Deno.test("PDUs have the names of RFC 7143", () => {
  for (const [opcode, name] of NAMES) assert.equal(pduName(opcode), name);
  assert.equal(pduName(0x07), "opcode 0x7");
});

for (const { fields, hex, senders } of REAL) {
  Deno.test(`a real header reads as ${pduName(fields.opcode)}`, () => {
    const from = regionOf(bytesOf(hex));
    assert.ok(isPlausible(from, 0, senders));
    assert.ok(!isPlausible(from, 0, Sender.Both & ~senders));
    const found = headerFields(from, 0);
    for (const [name, value] of Object.entries(fields)) assert.equal(found[name], value, name);
  });
}

Deno.test("every field that is written reads back, with all of its bits", () => {
  for (let opcode = 0; opcode < OPCODES; opcode++) {
    for (const field of layoutOf(opcode)) {
      if (field.isAlias || field.name === "opcode") continue;
      const out = newRegion(BHS_SIZE);
      out.bytes.fill(0xa5);
      const most = field.size > 4
        ? new Uint8Array(field.size).fill(0xff)
        : field.size > 1
        ? 2 ** (8 * field.size) - 1
        : 255;
      assert.equal(writeHeader(out, 0, opcode, { [field.name]: most }), BHS_SIZE);
      const found = headerFields(out, 0);
      const value = found[field.name];
      if (typeof most === "object") assert.equal(value, "ff".repeat(field.size));
      else if (typeof value === "boolean") assert.equal(value, true);
      else assert.equal(value, field.size === 1 ? field.mask >> shiftOf(field.mask) : most);
      assert.equal(found["opcode"], opcode);
    }
  }
});

function shiftOf(mask: number): number {
  return 31 - Math.clz32(mask & -mask);
}

Deno.test("fields of a PDU do not overlap, but for other views of them", () => {
  for (let opcode = 0; opcode < OPCODES; opcode++) {
    const seen = new Uint8Array(BHS_SIZE);
    for (const { at, isAlias, mask, name, size } of layoutOf(opcode)) {
      if (isAlias) continue;
      for (let index = at; index < at + size; index++) {
        assert.equal(seen[index]! & mask, 0, `${pduName(opcode)} ${name}`);
        seen[index]! |= mask;
      }
    }
  }
});

Deno.test("a field that a PDU has not cannot be written", () => {
  assert.ok(writeHeader(newRegion(BHS_SIZE), 0, Opcode.NopOut, { r2tsn: 1 }) < 0);
});

Deno.test("every kind of header is plausible for its sender only", () => {
  const all = headers();
  assert.equal(all.size, 18);
  for (const [opcode, bytes] of all) {
    const own = isTargets(opcode) ? Sender.Target : Sender.Initiator;
    const from = regionOf(bytes);
    assert.ok(isPlausible(from, 0, own), pduName(opcode));
    assert.ok(isPlausible(from, 0, Sender.Both), pduName(opcode));
    assert.ok(!isPlausible(from, 0, Sender.Both & ~own), pduName(opcode));
    assert.ok(isAcceptable(from, 0, own));
    assert.equal(SENDERS[bytes[0]!], own);
    const opens = opcode === Opcode.LoginRequest || opcode === Opcode.LoginResponse;
    assert.equal(isOpening(from, 0), opens);
  }
});

Deno.test("any reserved bit that is set makes a header implausible, and still acceptable", () => {
  for (const [opcode, bytes] of headers()) {
    const covered = new Uint8Array(BHS_SIZE);
    for (const { at, isAlias, mask, size } of layoutOf(opcode)) {
      if (!isAlias) { for (let index = at; index < at + size; index++) covered[index]! |= mask; }
    }
    if (isAlwaysFinal(opcode)) covered[1]! |= 0x80;
    let reserved = 0;
    for (let bit = 0; bit < BHS_SIZE * 8; bit++) {
      const flag = 1 << (bit & 7);
      if ((covered[bit >> 3]! & flag) !== 0) continue;
      reserved++;
      const changed = bytes.slice();
      changed[bit >> 3]! |= flag;
      const from = regionOf(changed);
      assert.ok(!isPlausible(from, 0, Sender.Both), `${pduName(opcode)} bit ${bit}`);
      if (bit >= 16) assert.ok(isAcceptable(from, 0, Sender.Both));
    }
    assert.ok(reserved > 0, pduName(opcode));
  }
});

Deno.test("zeros, ones, text and noise are hardly ever plausible", () => {
  for (const fill of [0, 0x20, 0x41, 0xff]) {
    const from = regionOf(new Uint8Array(BHS_SIZE).fill(fill));
    assert.ok(!isPlausible(from, 0, Sender.Both));
    // A receiver would take "AAAA" for a SCSI Command; the next header must then be there.
    assert.equal(isAcceptable(from, 0, Sender.Both), fill === 0x41);
  }
  const random = makeRandom(9);
  const noise = new Uint8Array(200_000);
  for (let at = 0; at < noise.length; at++) noise[at] = random(256);
  const from = regionOf(noise);
  let count = 0;
  for (let at = 0; at + BHS_SIZE <= noise.length; at++) {
    if (isPlausible(from, at, Sender.Both)) count++;
  }
  assert.ok(count <= 2, `${count} of 200000`);
});

Deno.test("an all-zero NOP-Out never passes, nor one whose tags contradict each other", () => {
  const out = newRegion(BHS_SIZE);
  const test = (fields: Parameters<typeof writeHeader>[3]): boolean => {
    writeHeader(out, 0, Opcode.NopOut, fields);
    return isPlausible(out, 0, Sender.Initiator);
  };
  out.bytes.fill(0);
  assert.ok(!isPlausible(out, 0, Sender.Initiator));
  assert.ok(!test({})); // both tags 0: neither a ping nor an answer
  assert.ok(!test({ initiatortasktag: 1, targettransfertag: 2 }));
  assert.ok(!test({ initiatortasktag: 0xffffffff, targettransfertag: 0xffffffff }));
  assert.ok(test({ I: true, initiatortasktag: 0xffffffff, targettransfertag: 0xffffffff }));
  assert.ok(test({ initiatortasktag: 0, targettransfertag: 0xffffffff }));
  assert.ok(test({ initiatortasktag: 0xffffffff, targettransfertag: 7 }));
});

Deno.test("flags and lengths that contradict each other are refused", () => {
  const out = newRegion(BHS_SIZE);
  const test = (opcode: number, fields: Parameters<typeof writeHeader>[3]): boolean => {
    writeHeader(out, 0, opcode, fields);
    return isPlausible(out, 0, Sender.Both);
  };
  const write = { "scsicommand.F": true, "scsicommand.W": true, initiatortasktag: 1 };
  const length = "scsicommand.expecteddatatransferlength";
  assert.ok(test(Opcode.ScsiCommand, { ...write, [length]: 512, datasegmentlength: 512 }));
  assert.ok(!test(Opcode.ScsiCommand, { ...write, [length]: 512, datasegmentlength: 513 }));
  assert.ok(!test(Opcode.ScsiCommand, { initiatortasktag: 1 })); // no writes, so it is final
  assert.ok(!test(Opcode.ScsiCommand, { ...write, [length]: 1, initiatortasktag: 0xffffffff }));
  assert.ok(!test(Opcode.ScsiCommand, { "scsicommand.F": true, initiatortasktag: 1, [length]: 1 }));
  assert.ok(!test(Opcode.LoginRequest, { I: true, "login.T": true, initiatortasktag: 1 }));
  assert.ok(
    !test(Opcode.LoginRequest, {
      I: true,
      initiatortasktag: 1,
      datasegmentlength: 8193,
    }),
  );
  const order = { initiatortasktag: 1, targettransfertag: 1 };
  assert.ok(!test(Opcode.ReadyToTransfer, order));
  assert.ok(test(Opcode.ReadyToTransfer, { ...order, desireddatalength: 1 }));
  const data = { initiatortasktag: 1, "scsidata.S": true };
  assert.ok(!test(Opcode.DataIn, data));
  assert.ok(test(Opcode.DataIn, { ...data, "scsidata.F": true }));
  assert.ok(!test(Opcode.DataIn, { initiatortasktag: 1, "scsidata.readresidualcount": 1 }));
  assert.ok(!test(Opcode.ScsiResponse, { initiatortasktag: 1, "scsiresponse.status": 3 }));
});

Deno.test("headers follow each other when their numbers go on, over the wrap too", () => {
  const a = newRegion(BHS_SIZE);
  const b = newRegion(BHS_SIZE);
  const test = (before: number, after: number): boolean => {
    const fields = { initiatortasktag: 1, targettransfertag: 0xffffffff };
    writeHeader(a, 0, Opcode.NopOut, { ...fields, expstatsn: before });
    writeHeader(b, 0, Opcode.NopOut, { ...fields, expstatsn: after });
    return follows(b, 0, a, 0);
  };
  assert.ok(test(100, 100) && test(100, 101) && test(0xffffffff, 3) && test(3, 0xffffffff));
  assert.ok(!test(100, 0x40000000) && !test(0, 0x80000000));
  writeHeader(b, 0, Opcode.NopIn, { expcmdsn: 100 });
  assert.ok(!follows(b, 0, a, 0));
});

Deno.test("a PDU is its header, digests over each part, and data padded with zeros", () => {
  const out = newRegion(256);
  out.bytes.fill(0xa5);
  const data = Uint8Array.of(1, 2, 3, 4, 5);
  const end = writePdu(out, 4, Opcode.NopOut, { initiatortasktag: 1 }, {
    data,
    headerDigest: true,
    dataDigest: true,
  });
  assert.equal(end, 4 + BHS_SIZE + 4 + 8 + 4);
  assert.equal(dataBytes(out, 4), 5);
  assert.equal(readDigest(out, 52), digestOf(out.bytes, 4, 52));
  assert.deepEqual([...out.bytes.subarray(56, 64)], [1, 2, 3, 4, 5, 0, 0, 0]);
  assert.equal(readDigest(out, 64), digestOf(out.bytes, 56, 64));
  assert.equal(out.bytes[end], 0xa5);
  assert.deepEqual([0, 1, 4, 5].map(padded), [0, 4, 4, 8]);
});

Deno.test("digests are those of RFC 3720 appendix B.4", () => {
  const zeros = newRegion(36);
  assert.equal(digestOf(zeros.bytes, 0, 32), 0x8a9136aa);
  zeros.bytes.set([0xaa, 0x36, 0x91, 0x8a], 32); // as it is printed there
  assert.equal(readDigest(zeros, 32), 0x8a9136aa);
  // An iSCSI SCSI Read (10) Command PDU.
  const read = bytesOf(
    "01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018" +
      "28000000 00000000 02000000 00000000",
  );
  assert.equal(read[32], Cdb.Read10);
  assert.equal(digestOf(read, 0, BHS_SIZE), 0xd9963a56);
});

Deno.test("additional segments are told as far as they are there and hold together", () => {
  const ahs = Uint8Array.of(0, 5, 2, 0, 0, 0, 0x20, 0, 0, 4, 1, 0, 0xaa, 0xbb, 0xcc, 0);
  const out = newRegion(256);
  const command = { "scsicommand.F": true, initiatortasktag: 1 };
  const end = writePdu(out, 0, Opcode.ScsiCommand, command, { ahs });
  assert.equal(end, BHS_SIZE + 16);
  assert.deepEqual(ahsFields(out, 0, end), {
    "ahs.bidir.length": 0x2000,
    "ahs.extended_cdb": "aabbcc",
  });
  for (let cut = BHS_SIZE; cut < end; cut++) ahsFields(out, 0, cut);
  const random = makeRandom(3);
  for (let round = 0; round < 2000; round++) {
    for (let at = BHS_SIZE; at < end; at++) out.bytes[at] = random(256);
    ahsFields(out, 0, end);
  }
});

Deno.test("a digest is shown as Wireshark 4.0 shows it: its bytes as they travel", () => {
  assert.equal(digestText(0xc3ee5061), "0x6150eec3");
  assert.equal(digestText(1), "0x01000000");
});
