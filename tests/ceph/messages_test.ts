/** Payloads of Ceph's messages against bytes of real Ceph (vectors.ts), cut and flipped too. */
import assert from "node:assert/strict";
import v8 from "node:v8";
import { describeFault, Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion } from "../../src/mem/region.ts";
import {
  COMMAND,
  COMMAND_REPLY,
  readCommand,
  readCommandReply,
  writeCommand,
  writeCommandReply,
} from "../../src/wire/ceph/command.ts";
import { formatFsid, parseFsid } from "../../src/wire/ceph/fsid.ts";
import {
  MessageType,
  messageTypeName,
  PRIVATE_TYPE_MIN,
} from "../../src/wire/ceph/message_type.ts";
import {
  MON_COMMAND,
  MON_COMMAND_ACK,
  MON_GET_MAP,
  MON_SUBSCRIBE,
  readConfig,
  readMonCommand,
  readMonCommandAck,
  readMonMap,
  readMonSubscribe,
  writeMonCommand,
  writeMonCommandAck,
  writeMonSubscribe,
} from "../../src/wire/ceph/mon.ts";
import {
  PERF_OSD_OP,
  PERF_OSD_OP_REPLY,
  PERF_OSD_OP_REPLY_SIZE,
  PERF_OSD_OP_SIZE,
  writePerfOsdOp,
  writePerfOsdOpReply,
} from "../../src/wire/ceph/osd.ts";
import * as vectors from "./vectors.ts";

const FSID = parseFsid("85059b4d-ed59-4d55-b0f2-ed2942848f68");

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.fromHex(hex);
}

/** All bytes that V8 ever handed out; the field is newer than the types of Deno. */
function allocatedBytes(): number {
  const bytes = Object.entries(v8.getHeapStatistics()).find(([name]) =>
    name === "total_allocated_bytes"
  )?.[1];
  assert.ok(bytes !== undefined);
  return bytes;
}

/** What stands in a u32-counted bufferlist. */
function blobOf(hex: string): Uint8Array {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, hex.length / 2, true);
  return bytesOf(length.toHex() + hex);
}

/** One row drives read, write and every damaged form. */
function row<T>(
  name: string,
  hex: string,
  read: (front: Uint8Array) => T | null,
  write: ((value: T) => Uint8Array) | null,
  value: T,
): Row {
  return {
    name,
    hex,
    value,
    read,
    write: write === null ? null : (): Uint8Array => write(value),
  };
}

interface Row {
  readonly name: string;
  readonly hex: string;
  readonly value: unknown;
  readonly read: (front: Uint8Array) => unknown;
  readonly write: (() => Uint8Array) | null;
}

const writeSubscribe = (
  { wanted, host }: NonNullable<ReturnType<typeof readMonSubscribe>>,
): Uint8Array => writeMonSubscribe(wanted, host);

const ROWS: Row[] = [
  row("MMonCommand", vectors.STATUS_COMMAND, readMonCommand, writeMonCommand, {
    fsid: FSID,
    words: ['{"prefix": "status"}'],
  }),
  row("MCommand", vectors.TELL_VERSION, readCommand, writeCommand, {
    fsid: FSID,
    words: ['{"prefix": "version"}'],
  }),
  row("MCommandReply", vectors.TELL_REFUSED, readCommandReply, writeCommandReply, {
    result: -2,
    status: "error setting 'nosuch_option' to '1': (2) No such file or directory",
  }),
  row("MMonSubscribe", vectors.SUBSCRIBE, readMonSubscribe, writeSubscribe, {
    wanted: [
      { what: "config", start: 0, once: false },
      { what: "monmap", start: 0, once: false },
    ],
    host: "vm",
  }),
  row("MMonSubscribe for one answer", vectors.SUBSCRIBE_ONCE, readMonSubscribe, writeSubscribe, {
    wanted: [{ what: "osdmap", start: 0, once: true }],
    host: "vm",
  }),
  row(
    "MConfig",
    vectors.CONFIG,
    readConfig,
    null,
    new Map([["mon_client_ping_interval", "11.000000"], ["rados_osd_op_timeout", "17"]]),
  ),
];

Deno.test.each(ROWS)(
  "$name of real Ceph is read and written the same",
  ({ hex, read, write, value }) => {
    assert.deepEqual(read(bytesOf(hex)), value);
    assert.deepEqual(read(bytesOf(`${hex}00`)), value, "a newer version may add fields");
    if (write !== null) assert.equal(write().toHex(), hex);
  },
);

Deno.test("MMonCommandAck of real Ceph is read; its head has the map's version, ours has 0", () => {
  const ack = readMonCommandAck(bytesOf(vectors.POOL_GET_ACK));
  assert.deepEqual(ack, {
    result: -2,
    status: "unrecognized pool 'nosuch'",
    words: ['{"prefix": "osd pool get", "pool": "nosuch", "var": "size"}'],
  });
  assert.equal(writeMonCommandAck(ack!).toHex().slice(2), vectors.POOL_GET_ACK.slice(2));
});

interface Addresses {
  readonly name: string;
  readonly map: Uint8Array;
  readonly fsid: string;
  readonly epoch: number;
  readonly mons: readonly string[];
}

const OTHER_FSID = "0e6bbf0c-6d6f-4b8e-9a77-3f1f2d1c0a55";
const A = "a [v2:10.1.2.3:3300/0,v1:10.1.2.3:6789/0]";
const C = "c v2:[fd00::5]:3300/0";
const MAPS: Addresses[] = [
  {
    name: "one monitor, 16.2 on the wire",
    map: bytesOf(vectors.MON_MAP),
    fsid: formatFsid(FSID),
    epoch: 1,
    mons: ["m0 v2:127.0.0.1:14300/0"],
  },
  {
    name: "three monitors, 16.2",
    map: blobOf(vectors.MONMAP_16),
    fsid: OTHER_FSID,
    epoch: 0,
    mons: [A, "b [v2:10.1.2.4:3300/0,v1:10.1.2.4:6789/0]", C],
  },
  { name: "18.2", map: blobOf(vectors.MONMAP_18), fsid: OTHER_FSID, epoch: 0, mons: [A, C] },
  { name: "20.2", map: blobOf(vectors.MONMAP_20), fsid: OTHER_FSID, epoch: 0, mons: [A, C] },
  {
    name: "only the old protocol",
    map: blobOf(vectors.MONMAP_V1),
    fsid: OTHER_FSID,
    epoch: 0,
    mons: ["a v1:10.1.2.3:6789/0"],
  },
];

Deno.test.each(MAPS)("readMonMap() reads $name", ({ map, fsid, epoch, mons }) => {
  const read = readMonMap(map);
  assert.ok(read !== null);
  assert.equal(formatFsid(read.fsid), fsid);
  assert.equal(read.epoch, epoch);
  assert.deepEqual(read.mons.map(({ name, addrs }) => `${name} ${addrs}`), mons);
});

Deno.test("readMonMap() refuses encodings it does not know and says which", () => {
  const old = blobOf(vectors.MONMAP_16);
  old[4] = 5;
  assert.equal(readMonMap(old), null);
  assert.equal(lastFault.code, Fault.Feature);
  assert.match(
    describeFault(),
    /^Cannot accept mon_map struct_v .* must be 6 or more: current value is 5/,
  );
  const future = blobOf(vectors.MONMAP_16);
  future[5] = 11;
  assert.equal(readMonMap(future), null);
  assert.match(describeFault(), /^Cannot accept mon_map struct_compat .* must be 6 at most/);
});

const READERS: { name: string; front: Uint8Array; read: (front: Uint8Array) => unknown }[] = [
  ...ROWS.map(({ name, hex, read }) => ({ name, front: bytesOf(hex), read })),
  { name: "MMonCommandAck", front: bytesOf(vectors.POOL_GET_ACK), read: readMonCommandAck },
  ...MAPS.map(({ name, map }) => ({ name: `MMonMap, ${name}`, front: map, read: readMonMap })),
];

Deno.test.each(READERS)(
  "$name: every shorter front is refused with a named field",
  ({ front, read }) => {
    for (let end = 0; end < front.length; end++) {
      lastFault.field = "";
      assert.equal(read(front.slice(0, end)), null, `length ${end}`);
      assert.match(lastFault.field, /^\w+ \w/, `length ${end}`);
    }
  },
);

Deno.test.each(READERS)("$name: a flipped bit never throws", ({ front, read }) => {
  for (let bit = 0; bit < front.length * 8; bit++) {
    const flipped = front.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    lastFault.field = "";
    if (read(flipped) === null) assert.notEqual(lastFault.field, "", `bit ${bit}`);
  }
});

Deno.test("a count that lies ends with the bytes", () => {
  const front = bytesOf(vectors.TELL_VERSION);
  front.fill(0xff, 16, 20);
  assert.equal(readCommand(front), null);
  assert.match(describeFault(), /^Cannot accept command cmd /);
});

const PERF = [
  {
    name: "writePerfOsdOp()",
    hex: vectors.PERF_OP,
    size: PERF_OSD_OP_SIZE,
    write: (out: ReturnType<typeof newRegion>, at: number): number => writePerfOsdOp(out, at, 64),
  },
  {
    name: "writePerfOsdOpReply()",
    hex: vectors.PERF_OP_REPLY,
    size: PERF_OSD_OP_REPLY_SIZE,
    write: writePerfOsdOpReply,
  },
];

Deno.test.each(PERF)(
  "$name equals Ceph's load pair and touches nothing else",
  ({ hex, size, write }) => {
    const out = newRegion(size + 10);
    out.bytes.fill(0xa5);
    assert.equal(write(out, 5), 5 + size);
    assert.equal(out.bytes.toHex(), `a5a5a5a5a5${hex}a5a5a5a5a5`);
  },
);

Deno.test.each(PERF)("$name allocates nothing", ({ size, write }) => {
  const out = newRegion(size);
  const rounds = 200_000;
  const run = (): void => {
    for (let i = 0; i < rounds; i++) write(out, 0);
  };
  run();
  // V8 itself adds up to 0.7 MB to a measurement now and then, so the least of five counts.
  let each = Infinity;
  for (let batch = 0; batch < 5 && each >= 4; batch++) {
    const before = allocatedBytes();
    run();
    each = Math.min(each, (allocatedBytes() - before) / rounds);
  }
  assert.ok(each < 4, `${each} bytes a call`);
});

Deno.test("writePerfOsdOp() tells the length of the data", () => {
  const out = newRegion(PERF_OSD_OP_SIZE);
  writePerfOsdOp(out, 0, 0x01020304);
  assert.equal(out.view.getBigUint64(164, true), 0x01020304n);
});

Deno.test("messages are announced with the versions real Ceph announces", () => {
  const kinds = [
    { kind: MON_COMMAND, header: [50, 1, 1] },
    { kind: MON_COMMAND_ACK, header: [51, 1, 1] },
    { kind: MON_GET_MAP, header: [5, 1, 1] },
    { kind: MON_SUBSCRIBE, header: [15, 3, 1] },
    { kind: COMMAND, header: [97, 1, 1] },
    { kind: COMMAND_REPLY, header: [98, 1, 1] },
    { kind: PERF_OSD_OP, header: [42, 8, 3] },
    { kind: PERF_OSD_OP_REPLY, header: [43, 8, 2] },
  ];
  for (const { kind, header } of kinds) {
    assert.deepEqual([kind.type, kind.version, kind.compatVersion], header);
  }
});

Deno.test("messageTypeName() names Ceph's types, ours, and the rest by number", () => {
  const names = [
    [4, "mon_map"],
    [50, "mon_command"],
    [51, "mon_command_ack"],
    [43, "osd_op_reply"],
    [130, "osd_pg_notify2"],
    [0x704, "mgr_map"],
    [PRIVATE_TYPE_MIN + 1, "private 0xfa01"],
    [3, "type 3"],
  ] as const;
  for (const [type, name] of names) assert.equal(messageTypeName(type), name);
  const types = Object.values(MessageType);
  assert.equal(new Set(types).size, types.length, "no number twice");
  assert.ok(Math.max(...types) < PRIVATE_TYPE_MIN);
});

Deno.test("parseFsid() refuses what is no UUID", () => {
  assert.equal(formatFsid(parseFsid(OTHER_FSID.toUpperCase())), OTHER_FSID);
  for (const text of ["", "0e6bbf0c", `${OTHER_FSID}0`, OTHER_FSID.replaceAll("-", "")]) {
    assert.throws(() => parseFsid(text), { message: /^Cannot parse fsid as it must be a UUID/ });
  }
});
