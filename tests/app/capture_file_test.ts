/** Capture files read in chunks of any size and written with comments: splits, damage, pipes, memory. */
import assert from "node:assert/strict";
import { arena, arenaTaken } from "../../src/mem/arena.ts";
import { type ByteSource, CaptureError, CaptureFile } from "../../src/app/sniff/capture_file.ts";
import { CaptureWriter } from "../../src/app/sniff/capture_writer.ts";
import { Packet } from "../../src/wire/capture/packet.ts";
import { COMMENT_BYTES_MAX } from "../../src/wire/capture/pcapng_writer.ts";
import {
  BUILT_SECONDS,
  type BuiltPacket,
  concat,
  pcapFile,
  pcapngBlock,
  pcapngFile,
  segment,
} from "../capture/pcap_builder.ts";

const PEER = { from: "10.0.0.1:5000", to: "10.0.0.2:3260" };
const PACKETS: readonly BuiltPacket[] = ["", "a", "bc", "def", "0123456789"].map((data, index) => ({
  ip: segment({ ...PEER, seq: index, data }),
  timeNs: index * 1_000_000_123,
  comments: ["one", "two"].slice(0, index % 3),
}));

/** Bytes that come `stepBytes` at a time at most, as from a pipe. */
function source(
  bytes: Uint8Array,
  stepBytes = Infinity,
): ByteSource & { closed: number } {
  let at = 0;
  return {
    closed: 0,
    readSync(into: Uint8Array): number | null {
      const part = bytes.subarray(at, at + Math.min(into.length, stepBytes));
      into.set(part);
      at += part.length;
      return part.length === 0 ? null : part.length;
    },
    close(): void {
      this.closed++;
    },
  };
}

interface ReadFile {
  readonly packets: readonly string[];
  readonly notes: readonly string[];
  readonly error: string;
  readonly done: number;
}

/** Reads all there is; anything but a CaptureError is thrown. */
function readAll(bytes: Uint8Array, chunkBytes?: number, stepBytes?: number): ReadFile {
  const before = arenaTaken();
  const from = source(bytes, stepBytes);
  const packets: string[] = [];
  let capture: CaptureFile | null = null;
  let error = "";
  try {
    capture = new CaptureFile("x.pcap", from, -1, chunkBytes);
    const packet = new Packet();
    while (capture.next(packet)) {
      assert.equal(packet.number, packets.length + 1);
      assert.ok(packet.end - packet.at <= packet.originalBytes);
      const hex = arena.bytes.slice(packet.at, packet.end).toHex();
      packets.push(`${packet.timeNs} ${packet.linkType} ${packet.originalBytes} ${hex}`);
    }
    assert.equal(capture.next(packet), false);
  } catch (thrown) {
    if (!(thrown instanceof CaptureError)) throw thrown;
    error = thrown.message;
  }
  const done = capture?.bytesDone ?? 0;
  capture?.close();
  capture?.close();
  assert.equal(from.closed, 1);
  assert.equal(arenaTaken(), before);
  return { packets, notes: capture?.notes ?? [], error, done };
}

const FILES = [
  { name: "pcap", file: pcapFile(PACKETS, { nanoseconds: true }) },
  { name: "pcap, big endian", file: pcapFile(PACKETS, { bigEndian: true }) },
  { name: "pcapng", file: pcapngFile(PACKETS) },
  {
    name: "pcapng of two sections, with a block that is skipped",
    file: concat(
      pcapngFile(PACKETS.slice(0, 2)),
      pcapngBlock(0x0bad, new Uint8Array(100)),
      pcapngFile(PACKETS.slice(2), { bigEndian: true }),
      pcapngBlock(0x0bad, new Uint8Array(10), true),
    ),
  },
];

Deno.test.each(FILES)("chunks of every size give the same packets: $name", ({ file }) => {
  const whole = readAll(file);
  assert.equal(whole.packets.length, PACKETS.length);
  assert.deepEqual([whole.notes, whole.error, whole.done], [[], "", file.length]);
  for (let chunkBytes = 1; chunkBytes <= file.length + 1; chunkBytes++) {
    assert.deepEqual(readAll(file, chunkBytes), whole, `chunks of ${chunkBytes}`);
  }
  assert.deepEqual(readAll(file, 64, 1), whole, "a byte at a time");
  assert.deepEqual(readAll(file, undefined, 7), whole, "short reads");
});

Deno.test.each(FILES)("a file cut anywhere ends clean, with a note: $name", ({ file }) => {
  const whole = readAll(file);
  let clean = 0;
  for (let size = 24; size < file.length; size++) {
    const { packets, notes, error } = readAll(file.subarray(0, size));
    assert.equal(error, "");
    assert.deepEqual(packets, whole.packets.slice(0, packets.length));
    assert.ok(notes.length <= 1);
    if (notes.length === 0) clean++;
    else assert.match(notes[0]!, /^The file ends within a packet or a block: \d+ bytes behind/);
  }
  // Only where a record ends is there nothing to note.
  assert.ok(clean >= PACKETS.length && clean < 20, `${clean}`);
});

Deno.test.each(FILES)("a flipped bit gives packets or one clear error: $name", ({ file }) => {
  let errors = 0;
  for (let bit = 0; bit < file.length * 8; bit++) {
    const bytes = Uint8Array.from(file);
    bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
    const { error } = readAll(bytes, 64);
    if (error === "") continue;
    errors++;
    assert.match(
      error,
      /^Cannot read capture x\.pcap as .+ at offset \d+ must be .+: current value is /,
    );
  }
  assert.ok(errors > 32);
});

Deno.test("an error says file, offset, value and what to do", () => {
  const file = pcapFile(PACKETS);
  const second = 24 + 16 + 54;
  new DataView(file.buffer).setUint32(second + 8, 0x7fffffff, true);
  const { packets, error } = readAll(file);
  assert.equal(packets.length, 1);
  assert.equal(
    error,
    `Cannot read capture x.pcap as Captured Packet Length at offset ${second + 8} must be 262144 ` +
      "or less: current value is 2147483647 (0x7fffffff). The 1 packets before it were read",
  );
});

Deno.test("what is no capture is refused: text, gzip, nothing", () => {
  const text = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  assert.match(
    readAll(text).error,
    /^Cannot read capture x\.pcap as the word at offset 0 must be 0x/,
  );
  assert.match(readAll(new Uint8Array(0)).error, /its size at offset 0 must be 24 bytes or more/);
  const gzip = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0);
  assert.match(readAll(gzip).error, /gunzip -c x\.pcap \| fairlead sniff -$/);
});

Deno.test("a block of 60 MiB is skipped in the memory of any other", () => {
  const body = 60 * 1024 * 1024;
  const head = Uint8Array.of(0xad, 0x0b, 0, 0, 0, 0, 0, 0);
  new DataView(head.buffer).setUint32(4, body + 12, true);
  const file = concat(pcapngFile([PACKETS[0]!]), head, new Uint8Array(body), head.subarray(4));
  const rest = pcapngFile([PACKETS[1]!]);
  assert.equal(readAll(concat(file, rest)).packets.length, 2);
  assert.equal(readAll(file.subarray(0, file.length - 1)).notes.length, 1);
});

Deno.test("what was found before a pipe is read again can be told first", () => {
  const file = pcapFile(PACKETS, { nanoseconds: true });
  const packet = new Packet();
  for (const [sizeBytes, expected] of [[-1, [3, 5]], [file.length, []]] as const) {
    const size = pcapFile(PACKETS.slice(0, 3), { nanoseconds: true }).length;
    const capture = new CaptureFile("in", source(file, size), sizeBytes);
    const told: number[] = [];
    let packets = 0;
    capture.onWait = () => told.push(packets);
    while (capture.next(packet)) packets++;
    capture.close();
    assert.deepEqual(told, expected);
  }
});

Deno.test("open() reads a file and says why it cannot", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/a.pcapng`;
    const interfaces = [{ name: "eth0", snap: 9000 }];
    const file = pcapngFile(PACKETS, { interfaces });
    await Deno.writeFile(path, file);
    const capture = CaptureFile.open(path);
    const packet = new Packet();
    assert.equal(capture.bytesTotal, file.length);
    assert.equal(capture.originSeconds, 0);
    assert.ok(capture.next(packet));
    assert.equal(capture.originSeconds, BUILT_SECONDS);
    assert.equal(capture.format, "pcapng");
    assert.deepEqual([capture.interfaces[0]!.name, capture.interfaces[0]!.snapLength], [
      "eth0",
      9000,
    ]);
    // The file grows while it is read.
    const last = pcapngFile(PACKETS.slice(0, -1), { interfaces }).length;
    await Deno.writeFile(path, file.subarray(last), { append: true });
    while (capture.next(packet));
    capture.close();
    assert.equal(packet.number, PACKETS.length + 1);
    assert.equal(capture.bytesTotal, file.length + file.length - last);
    assert.deepEqual(capture.notes, []);
    assert.throws(() => CaptureFile.open(directory), /it is a directory/);
    assert.throws(() => CaptureFile.open(`${path}.no`), /must be a readable file: No such file/);
    await Deno.writeTextFile(path, "no capture");
    assert.throws(() => CaptureFile.open(path), CaptureError);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** What a writer wrote, in memory. */
function sink(stepBytes = Infinity): {
  writeSync(bytes: Uint8Array): number;
  close(): void;
  bytes(): Uint8Array<ArrayBuffer>;
} {
  const parts: Uint8Array[] = [];
  return {
    writeSync(bytes: Uint8Array): number {
      const part = bytes.slice(0, stepBytes);
      parts.push(part);
      return part.length;
    },
    close(): void {},
    bytes: () => concat(...parts),
  };
}

/** Copies captures into one, with comments at every packet. */
function copy(
  files: readonly Uint8Array[],
  comments: (number: number) => readonly string[],
  stepBytes?: number,
): Uint8Array<ArrayBuffer> {
  const before = arenaTaken();
  const to = sink(stepBytes);
  const writer = new CaptureWriter("out.pcapng", to);
  for (const file of files) {
    const capture = new CaptureFile("in", source(file), -1, 64);
    writer.begin(capture);
    const packet = new Packet();
    while (capture.next(packet)) writer.write(packet, comments(packet.number));
    capture.close();
  }
  writer.close();
  writer.close();
  assert.equal(arenaTaken(), before);
  const bytes = to.bytes();
  assert.equal(writer.bytesWritten, bytes.length);
  return bytes;
}

Deno.test("what is written is read again: times, lengths, interfaces, flags", () => {
  const packets = [
    { ip: segment(PEER), timeNs: 1, flags: 2, interface: 1 },
    { ip: segment({ ...PEER, data: "abc" }), timeNs: -5, originalBytes: 1500 },
    { ip: segment(PEER), timeNs: 4_294_967_296_123, interface: 1 },
  ];
  const interfaces = [{ linkType: 101, snap: 96 }, { linkType: 113, name: "any" }];
  const file = pcapngFile(packets, { interfaces });
  const pcap = pcapFile(PACKETS, { nanoseconds: true });
  const expected = [...readAll(file).packets, ...readAll(pcap).packets];
  for (const stepBytes of [Infinity, 100]) {
    const written = copy([file, pcap], () => [], stepBytes);
    assert.deepEqual(readAll(written).packets, expected);
    assert.equal(readAll(written).error, "");
    const capture = new CaptureFile("x", source(written), -1);
    const packet = new Packet();
    capture.next(packet);
    assert.equal(packet.flags, 2);
    while (capture.next(packet));
    const names = capture.interfaces.map(({ name, snapLength }) => `${name} ${snapLength}`);
    assert.deepEqual(names, ["any 262144", " 96", " 262144"]);
    capture.close();
  }
});

Deno.test("the packet that was written last takes more comments, wherever the disk is slow", () => {
  for (const stepBytes of [Infinity, 7]) {
    const to = sink(stepBytes);
    const writer = new CaptureWriter("out.pcapng", to);
    const file = pcapFile(PACKETS);
    const capture = new CaptureFile("in", source(file), -1, 64);
    writer.amend(["before all"]);
    writer.begin(capture);
    const packet = new Packet();
    while (capture.next(packet)) writer.write(packet, ["first"]);
    capture.close();
    writer.amend([]);
    writer.amend(["second", "third"]);
    writer.amend(["too late"]);
    writer.close();
    const bytes = to.bytes();
    assert.equal(writer.bytesWritten, bytes.length);
    assert.deepEqual(readAll(bytes).packets, readAll(file).packets);
    const text = new TextDecoder("latin1").decode(bytes);
    assert.match(text.slice(text.lastIndexOf("first")), /^first.*second.*third/s);
    assert.equal(text.split("second").length, 2);
    assert.ok(!text.includes("before all") && !text.includes("too late"));
  }
});

Deno.test("comments are bounded to 60 KiB a packet and cut between characters", () => {
  const long = "é".repeat(40 * 1024);
  const written = copy([pcapFile(PACKETS)], () => ["first", long, "never"]);
  const text = new TextDecoder("utf-8", { fatal: false }).decode(written);
  assert.ok(!text.includes("never"));
  assert.equal(text.split("first").length - 1, PACKETS.length);
  const kept = text.split("é").length - 1;
  assert.equal(kept, PACKETS.length * (COMMENT_BYTES_MAX - 4 - 8 - 4) / 2);
  assert.equal(readAll(written).packets.length, PACKETS.length);
});

Deno.test("a packet of 256 KiB with all its comments fits, and a larger one is refused", () => {
  const frame = new Uint8Array(256 * 1024).fill(7);
  const file = pcapFile([{ frame }, { frame }, { frame }]);
  const written = copy([file, file], () => ["c".repeat(COMMENT_BYTES_MAX)]);
  assert.equal(readAll(written).packets.length, 6);
  const larger = pcapFile([{ frame: new Uint8Array(256 * 1024 + 1) }], { snap: 2 ** 30 });
  assert.match(readAll(larger).error, /must be 262144 or less: current value is 262145/);
});

Deno.test("a copy of nothing is a capture without packets", () => {
  const { error, packets } = readAll(copy([], () => []));
  assert.equal(error, "");
  assert.deepEqual(packets, []);
});

Deno.test("a writer says why it cannot", () => {
  assert.throws(() => CaptureWriter.create("/nowhere/at/all"), /^Error: Cannot write capture/);
  const before = arenaTaken();
  const full = {
    writeSync(): number {
      throw new Error("No space left on device");
    },
    close(): void {},
  };
  const writer = new CaptureWriter("full", full);
  writer.begin({ interfaces: [], originSeconds: 0 });
  assert.throws(() => writer.close(), /Cannot write capture full .*No space left/);
  assert.equal(arenaTaken(), before);
});

Deno.test({
  name: "tshark reads the comments",
  ignore: !hasTshark(),
  async fn(): Promise<void> {
    const directory = await Deno.makeTempDir();
    try {
      const path = `${directory}/a.pcapng`;
      const from = `${directory}/a.pcap`;
      await Deno.writeFile(from, pcapFile(PACKETS, { nanoseconds: true }));
      const writer = CaptureWriter.create(path);
      const capture = CaptureFile.open(from);
      const packet = new Packet();
      writer.begin(capture);
      while (capture.next(packet)) {
        writer.write(packet, [`packet ${packet.number}`, "häßlich", ""]);
      }
      capture.close();
      writer.close();
      const fields = ["frame.comment", "frame.time_epoch", "tcp.seq_raw"].flatMap((f) => ["-e", f]);
      const { stdout } = await new Deno.Command("tshark", {
        args: ["-r", path, "-T", "fields", "-E", "aggregator=|", ...fields],
        stderr: "null",
      }).output();
      const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
      assert.deepEqual(
        lines,
        PACKETS.map((_, index) =>
          `packet ${index + 1}|häßlich|\t${BUILT_SECONDS + index}.` +
          `${String(123 * index).padStart(9, "0")}\t${index}`
        ),
      );
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});

/** A user's box may lack it; where all peers must be there it may not. */
function hasTshark(): boolean {
  if (Deno.env.get("CI") === "true") return true;
  try {
    return new Deno.Command("tshark", { args: ["--version"] }).outputSync().success;
  } catch {
    return false;
  }
}
