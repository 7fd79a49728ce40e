/** Preambles, message headers and frames of real Ceph, read and written again byte by byte. */
import assert from "node:assert/strict";
import { arena, give, take } from "../../src/mem/arena.ts";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { regionOf } from "../../src/mem/region.ts";
import { CONNECTION_SECRET_SIZE } from "../../src/proto/msgr2/connection.ts";
import { crc32cRaw } from "../../src/wire/crc32c.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { FrameFormat } from "../../src/wire/msgr2/frame.ts";
import { ClientIdent, writeClientIdent } from "../../src/wire/msgr2/ident.ts";
import {
  MESSAGE_FLAGS,
  MESSAGE_HEADER_SIZE,
  MessageHeader,
  PRIORITY_DEFAULT,
  PRIORITY_HIGH,
  readMessageHeader,
  writeMessageHeader,
} from "../../src/wire/msgr2/message.ts";
import {
  Preamble,
  PREAMBLE_SIZE,
  readPreamble,
  segmentCount,
  writePreamble,
} from "../../src/wire/msgr2/preamble.ts";
import { Tag, tagName } from "../../src/wire/msgr2/tag.ts";
import { type CapturedFrame, CRC_FRAMES, SEALED, type SealedDirection } from "./frame_captures.ts";
import { type Bytes, type FrameRead, modelCrc, Receiver, Sender, whole } from "./frame_model.ts";

const wireOf = (frame: CapturedFrame): Bytes => Uint8Array.fromHex(frame.raw);

const CRC_ROWS = CRC_FRAMES.map((frame, index) => ({ frame, title: `${index} ${frame.tag}` }));

Deno.test.each(CRC_ROWS)("$title: the preamble is read and written", ({ frame }) => {
  const wire = wireOf(frame);
  const preamble = new Preamble();
  assert.equal(readPreamble(regionOf(wire), 0, wire.length, preamble, 1 << 20), PREAMBLE_SIZE);
  assert.equal(tagName(preamble.tag), frame.tag);
  assert.equal(preamble.segmentCount, frame.segments.length);
  const [a, b = 0, c = 0, d = 0] = frame.segments;
  assert.deepEqual([...preamble.lengths], [a, b, c, d]);
  assert.equal(segmentCount(b, c, d), frame.segments.length);
  const out = regionOf(new Uint8Array(48).fill(0xa5));
  assert.equal(writePreamble(out, 8, preamble.tag, a!, b, c, d), 8 + PREAMBLE_SIZE);
  assert.deepEqual(out.bytes.slice(8, 40), wire.slice(0, 32));
  assert.ok(out.bytes.subarray(0, 8).every((byte) => byte === 0xa5));
  assert.ok(out.bytes.subarray(40).every((byte) => byte === 0xa5));
});

Deno.test.each(CRC_ROWS)("$title: the frame is read, and written as it was", ({ frame }) => {
  const wire = wireOf(frame);
  if (wire.length < frame.bytes) return; // kept in part: the preamble above, the header below
  const receiver = new Receiver(FrameFormat.Crc21);
  const read = whole(receiver.feed(wire));
  receiver.close();
  assert.equal(read.aborted, false);
  assert.deepEqual(writeAgain(new Sender(FrameFormat.Crc21), read), wire);
});

const HEADERS = [
  { index: 0, seq: 1, ack: 0, tid: 0, type: 5, priority: PRIORITY_DEFAULT, version: 1, compat: 1 },
  { index: 1, seq: 2, ack: 0, tid: 0, type: 15, priority: PRIORITY_DEFAULT, version: 3, compat: 1 },
  { index: 2, seq: 2, ack: 2, tid: 0, type: 62, priority: PRIORITY_HIGH, version: 1, compat: 1 },
  { index: 3, seq: 1, ack: 0, tid: 1, type: 42, priority: 63, version: 8, compat: 3 },
];

Deno.test.each(HEADERS)("message header $index is read and written", (row) => {
  const message = CRC_FRAMES.filter(({ tag }) => tag === "MSG")[row.index]!;
  const wire = wireOf(message);
  const header = new MessageHeader();
  const from = regionOf(wire);
  const end = PREAMBLE_SIZE + MESSAGE_HEADER_SIZE;
  assert.equal(readMessageHeader(from, PREAMBLE_SIZE, end, 0, header), end);
  const { seq, ackSeq, tid, type, priority, version, compatVersion } = header;
  assert.deepEqual([seq, ackSeq, tid.toBigInt()], [row.seq, row.ack, BigInt(row.tid)]);
  assert.deepEqual([type, priority, version, compatVersion], [
    row.type,
    row.priority,
    row.version,
    row.compat,
  ]);
  assert.deepEqual([header.dataPrePadding, header.dataOff, header.flags], [0, 0, MESSAGE_FLAGS]);
  assert.equal(modelCrc(-1, wire.subarray(32, 73)), from.view.getUint32(73, true));
  const out = regionOf(new Uint8Array(64).fill(0xa5));
  const next = writeMessageHeader(
    out,
    3,
    seq,
    tid.lo,
    tid.hi,
    type,
    priority,
    version,
    compatVersion,
    0,
    ackSeq,
  );
  assert.equal(next, 3 + MESSAGE_HEADER_SIZE);
  assert.deepEqual(out.bytes.slice(3, next), wire.slice(32, 73));
  assert.ok(out.bytes.subarray(next).every((byte) => byte === 0xa5));
});

Deno.test("message header: numbers above 2^32, limits of every field, what is refused", () => {
  const out = regionOf(new Uint8Array(64));
  const header = new MessageHeader();
  const far = 2 ** 53 - 1;
  writeMessageHeader(out, 0, far, -1, -2, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, far - 1);
  assert.equal(readMessageHeader(out, 0, 41, 0, header), 41);
  assert.deepEqual([header.seq, header.ackSeq], [far, far - 1]);
  assert.equal(header.tid.toBigInt(), 0xfffffffeffffffffn);
  const { type, priority, version, compatVersion, dataOff } = header;
  assert.ok([type, priority, version, compatVersion, dataOff].every((v) => v === 0xffff));
  for (let length = 0; length < 41; length++) {
    assert.equal(readMessageHeader(out, 0, length, 0, header), -Fault.Field);
  }
  assert.equal(readMessageHeader(out, 0, 45, 0, header), 41, "a longer header of a later version");
  out.view.setUint32(22, 7, true);
  assert.equal(readMessageHeader(out, 0, 41, 6, header), -Fault.Field);
  assert.equal(lastFault.field, "MESSAGE data_pre_padding_len");
  assert.equal(readMessageHeader(out, 0, 41, 7, header), 41);
  assert.equal(header.dataPrePadding, 7);
  for (const at of [0, 28]) {
    out.view.setUint32(at + 4, 2 ** 21, true);
    assert.equal(readMessageHeader(out, 0, 41, 7, header), -Fault.Field);
    assert.equal(lastFault.at, at);
    out.view.setUint32(at + 4, 0, true);
  }
});

Deno.test("preamble: every short length, every flipped bit, what is out of range", () => {
  const from = regionOf(wireOf(CRC_FRAMES[0]!).slice(0, 32));
  const into = new Preamble();
  for (let end = 0; end < 32; end++) {
    assert.equal(readPreamble(from, 0, end, into, 1 << 20), -Fault.Short);
  }
  for (let bit = 0; bit < 256; bit++) {
    from.bytes[bit >>> 3]! ^= 1 << (bit & 7);
    assert.equal(readPreamble(from, 0, 32, into, 1 << 20), -Fault.Checksum, `bit ${bit}`);
    from.bytes[bit >>> 3]! ^= 1 << (bit & 7);
  }
  const altered = (change: (view: DataView) => void, bytesMax = 1 << 20): [number, string] => {
    const copy = regionOf(from.bytes.slice());
    change(copy.view);
    copy.view.setInt32(28, crc32cRaw(0, copy.bytes, 0, 28), true);
    const next = readPreamble(copy, 0, 32, into, bytesMax);
    return [next, next < 0 ? `${lastFault.field} @${lastFault.at} ${lastFault.value}` : ""];
  };
  assert.deepEqual(altered(() => {}), [32, ""]);
  const count = "preamble segment count @1";
  assert.deepEqual(altered((v) => v.setUint8(1, 0)), [-Fault.Field, `${count} 0`]);
  assert.deepEqual(altered((v) => v.setUint8(1, 5)), [-Fault.Field, `${count} 5`]);
  const last = "preamble last segment length @20 0";
  assert.deepEqual(altered((v) => v.setUint8(1, 4)), [-Fault.Field, last]);
  assert.deepEqual(altered((v) => v.setUint8(26, 1)), [-Fault.Field, "preamble flags @26 1"]);
  assert.deepEqual(
    altered((v) => v.setUint8(27, 9)),
    [32, ""],
    "the reserved byte is not looked at",
  );
  const large = (value: number): string => `preamble segment lengths @2 ${value}`;
  const fourGiB = 2 ** 32 - 1;
  assert.deepEqual(altered((v) => v.setUint32(2, fourGiB, true)), [-Fault.Large, large(fourGiB)]);
  assert.deepEqual(altered(() => {}, 36), [32, ""]);
  assert.deepEqual(altered(() => {}, 35), [-Fault.Large, large(36)]);
  const wide = altered((v) => {
    v.setUint8(1, 4);
    for (let index = 0; index < 4; index++) v.setUint32(2 + index * 6, 0x40000000, true);
  }, 2 ** 31 - 1);
  assert.deepEqual(wide, [-Fault.Large, `preamble segment lengths @8 ${2 ** 31}`], "no overflow");
  const advice = altered((v) => {
    v.setUint16(6, 3, true);
    v.setUint32(20, 77, true); // behind the last segment: not looked at
  });
  assert.deepEqual([advice[0], into.lengths[3]], [32, 0]);
});

/** Splits a connection_secret: key, nonce of the acceptor, nonce of the connector. */
function secrets(row: SealedDirection): { key: Bytes; nonce: Bytes } {
  const secret = Uint8Array.fromHex(row.connectionSecret);
  assert.equal(secret.length, CONNECTION_SECRET_SIZE);
  const at = row.byConnector ? 28 : 16;
  return { key: secret.slice(0, 16), nonce: secret.slice(at, at + 12) };
}

/** The nonce after `operations` of revision 1. */
function later(nonce: Bytes, operations: number): Bytes {
  const copy = nonce.slice();
  const view = new DataView(copy.buffer);
  view.setBigUint64(4, BigInt.asUintN(64, view.getBigUint64(4, true) + BigInt(operations)), true);
  return copy;
}

/** GCM operations of a msgr2.1 frame. */
function operationsOf({ segments }: CapturedFrame): number {
  return 1 + (segments[0]! > 48 ? 1 : 0) + (segments.length > 1 ? 1 : 0);
}

Deno.test.each([...SEALED])(
  "secure frames of real Ceph, $name, are opened and sealed again",
  (row) => {
    const { key, nonce } = secrets(row);
    let operations = 0;
    let opened = 0;
    for (const frame of row.frames) {
      const wire = wireOf(frame);
      const start = later(nonce, operations);
      operations += operationsOf(frame);
      if (wire.length < frame.bytes) continue;
      const receiver = new Receiver(FrameFormat.Secure21, key, start);
      const read = whole(receiver.feed(wire));
      receiver.close();
      assert.equal(tagName(read.tag), frame.tag);
      assert.equal(read.aborted, false);
      const lengths = read.segments.map((segment) => segment.length);
      assert.deepEqual(lengths.slice(0, frame.segments.length), frame.segments);
      assert.deepEqual(writeAgain(new Sender(FrameFormat.Secure21, key, start), read), wire);
      opened++;
    }
    // The others were kept in part: the test below seals those of the first row.
    assert.equal(opened, [2, 3, 3, 4][SEALED.indexOf(row)]);
  },
);

Deno.test("a whole secure conversation is sealed in one go, nonces and all", () => {
  const [row] = SEALED;
  const { key, nonce } = secrets(row!);
  const sender = new Sender(FrameFormat.Secure21, key, nonce);
  const signature = Uint8Array.fromHex(
    "1c7f4f6cf8d6059fe6213cc2bb66add3c9c3e5b16ee4712d4ae2fd64d7e431fd",
  );
  const front = Uint8Array.fromHex( // what: config from 0, monmap from 0; hostname vm
    "0200000006000000636f6e66696700000000000000000006000000" +
      "6d6f6e6d6170000000000000000000" + "02000000766d",
  );
  const wires = [
    sender.control(Tag.AuthSignature, signature),
    sender.control(Tag.ClientIdent, clientIdent()),
    sender.message({ seq: 1, type: 5, front: new Uint8Array(0) }),
    sender.message({ seq: 2, type: 15, version: 3, front }),
  ];
  assert.deepEqual(wires.map((wire) => wire.length), row!.frames.map((frame) => frame.bytes));
  for (const [index, frame] of row!.frames.entries()) {
    const kept = wireOf(frame);
    assert.deepEqual(wires[index]!.slice(0, kept.length), kept, frame.tag);
  }
  sender.close();
  const receiver = new Receiver(FrameFormat.Secure21, key, nonce);
  const tags = wires.map((wire) => tagName(whole(receiver.feed(wire)).tag));
  assert.deepEqual(tags, row!.frames.map(({ tag }) => tag));
  receiver.close();
});

/** The payload of the captured CLIENT_IDENT of 16.2.15, from its printed fields. */
function clientIdent(): Bytes {
  const ident = new ClientIdent();
  ident.addrs.count = 1;
  ident.addrs.addrs[0]!.copy(EntityAddr.parse("any:127.0.0.1:0/1047916877"));
  ident.target.copy(EntityAddr.parse("v2:127.0.0.1:13300/0"));
  ident.gid.setBigInt(2n ** 64n - 1n);
  ident.globalSeq = 1;
  ident.supported.setBigInt(0x3f01cfbdfffdffffn);
  ident.required.setBigInt(0x800000000000000n);
  ident.cookie.setBigInt(0x15f22930c3145354n);
  const at = take(1024);
  const end = writeClientIdent(arena, at, ident);
  const payload = arena.bytes.slice(at, end);
  give(at);
  return payload;
}

/** Writes a frame that was read, by the real writer. */
function writeAgain(sender: Sender, read: FrameRead): Bytes {
  const [first, front, middle, data] = read.segments;
  let wire: Bytes;
  if (read.tag === Tag.Message) {
    const header = new MessageHeader();
    readMessageHeader(regionOf(first!), 0, first!.length, data!.length, header);
    wire = sender.message({
      seq: header.seq,
      ackSeq: header.ackSeq,
      type: header.type,
      priority: header.priority,
      version: header.version,
      compatVersion: header.compatVersion,
      tidLo: header.tid.lo,
      front: front!,
      middle: middle!,
      data: data!,
    });
  } else wire = sender.control(read.tag, first!);
  sender.close();
  return wire;
}
