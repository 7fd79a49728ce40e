/**
 * Hostile captures against all of `fairlead sniff` but its arguments: whatever the bytes are, nothing
 * throws but a CaptureError, every byte of a recognised stream is told once, lines are lines, and time
 * and memory stay within bounds. All of it from seeds.
 */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { type ByteSource, CaptureError, CaptureFile } from "../../src/app/sniff/capture_file.ts";
import { foundJson, gapJson } from "../../src/app/sniff/found_json.ts";
import { fieldLines, foundLine, gapLine } from "../../src/app/sniff/found_line.ts";
import { Pipeline } from "../../src/app/sniff/pipeline.ts";
import { arenaTaken } from "../../src/mem/arena.ts";
import { U64 } from "../../src/mem/u64.ts";
import { Finder, FinderTally } from "../../src/proto/boundary/finder.ts";
import type { Found, Gap, Side } from "../../src/proto/boundary/found.ts";
import { IscsiShared } from "../../src/proto/boundary/iscsi_conversation.ts";
import { SentBySide, UNANSWERED } from "../../src/proto/boundary/msgr2_replies.ts";
import { Means } from "../../src/proto/boundary/side_decoder.ts";
import type { Conversation } from "../../src/proto/capture/conversation.ts";
import type { ConversationFollower } from "../../src/proto/capture/conversation_table.ts";
import type { Keyring } from "../../src/wire/cephx/keyring.ts";
import { Packet } from "../../src/wire/capture/packet.ts";
import { Opcode } from "../../src/wire/iscsi/opcode.ts";
import { FrameFormat } from "../../src/wire/msgr2/frame.ts";
import { IscsiSession, IscsiStream, makeRandom } from "../capture/iscsi_streams.ts";
import {
  cephxEnds,
  everyTag,
  record,
  sharedBy,
  streamOf,
  StreamWriter,
} from "../capture/msgr2_streams.ts";
import { concat, pcapFile, pcapngFile, segment } from "../capture/pcap_builder.ts";
import { Link, say } from "../proto/link.ts";
import { pattern } from "../wire/frame_model.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Random = (below: number) => number;

const HEADER_SIZE = 24;
const RECORD_SIZE = 16;
// deno-lint-ignore no-control-regex -- these are what must not get through
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/;
const STYLE = { originSeconds: 1_795_228_024, startNs: 0, absolute: true, colored: false };

interface Told {
  readonly conversation: number;
  readonly side: Side;
  readonly offset: number;
  readonly length: number;
  readonly tag: string;
}

interface Result {
  readonly told: readonly Told[];
  readonly pipeline: Pipeline;
  readonly tally: FinderTally;
  readonly ms: number;
  readonly arenaMost: number;
}

/** A finder that notes where streams end. */
class Followed implements ConversationFollower {
  readonly ends: [number, number] = [0, 0];
  constructor(readonly conversation: Conversation, readonly finder: Finder) {}
  handleBytes(...bytes: Parameters<Finder["handleBytes"]>): void {
    this.finder.handleBytes(...bytes);
  }
  handleHole(...hole: Parameters<Finder["handleHole"]>): void {
    this.finder.handleHole(...hole);
  }
  handleUrgent(...urgent: Parameters<Finder["handleUrgent"]>): void {
    this.finder.handleUrgent(...urgent);
  }
  handleEnd(...end: Parameters<Finder["handleEnd"]>): void {
    this.ends[end[0]] = end[1];
    this.finder.handleEnd(...end);
  }
  close(): void {
    this.finder.close();
  }
}

function source(bytes: Uint8Array): ByteSource {
  let at = 0;
  return {
    readSync(into: Uint8Array): number | null {
      const part = bytes.subarray(at, at + into.length);
      into.set(part);
      at += part.length;
      return part.length || null;
    },
    close(): void {},
  };
}

/** Reads a capture as the command does, and holds what is told against all that must be true. */
function sniff(
  bytes: Uint8Array,
  { keyring = null, prints = true, keepsBytes = false }: {
    readonly keyring?: Keyring | null;
    readonly prints?: boolean;
    readonly keepsBytes?: boolean;
  } = {},
): Result {
  const taken = arenaTaken();
  const told: Told[] = [];
  const reached = new Map<string, number>();
  const followed: Followed[] = [];
  const tally = new FinderTally();
  const tile = (
    tag: string,
    { conversation, side, offset, length, missing }: Found | Gap,
  ): void => {
    const key = `${conversation.number} ${side}`;
    assert.equal(offset, reached.get(key) ?? 0, `${tag} begins where the one before ended`);
    assert.ok(Number.isSafeInteger(length) && length > 0, `${tag} has ${length} bytes`);
    assert.ok(missing >= 0 && missing <= length, `${missing} of ${length} are missing`);
    reached.set(key, offset + length);
    told.push({ conversation: conversation.number, side, offset, length, tag });
  };
  const sink = {
    handleFound(found: Found): void {
      tile(found.tag, found);
      if (!prints) return;
      checkJson(foundJson(found, STYLE.originSeconds, keepsBytes ? 1024 : 0), found.length);
      for (const line of [foundLine(found, STYLE), ...fieldLines(found)]) {
        assert.doesNotMatch(line, CONTROL);
      }
    },
    handleGap(gap: Gap): void {
      tile("gap", gap);
      checkJson(gapJson(gap, STYLE.originSeconds), gap.length);
      assert.doesNotMatch(gapLine(gap, STYLE), CONTROL);
    },
  };
  const options = {
    means: Means.All,
    keepsBytes,
    msgr2: sharedBy(keyring),
    iscsi: new IscsiShared(),
    tally,
  };
  const pipeline = new Pipeline(null, (conversation) => {
    const one = new Followed(conversation, new Finder(conversation, options, sink));
    if (prints) followed.push(one);
    return one;
  });
  const startMs = performance.now();
  let file: CaptureFile | null = null;
  try {
    file = new CaptureFile("capture", source(bytes), bytes.length);
    const packet = new Packet();
    while (file.next(packet)) pipeline.handlePacket(packet);
  } catch (error) {
    if (!(error instanceof CaptureError)) throw error;
    assert.doesNotMatch(error.message, CONTROL);
  }
  const arenaMost = arenaTaken() - taken;
  pipeline.end();
  file?.close();
  const ms = performance.now() - startMs;
  assert.equal(arenaTaken(), taken, "what was taken of the arena is given back");
  const recognised = new Set(told.map(({ conversation }) => conversation));
  for (const { conversation: { number }, ends } of followed) {
    if (!recognised.has(number)) continue;
    for (const side of [0, 1] as const) {
      assert.equal(
        reached.get(`${number} ${side}`) ?? 0,
        ends[side],
        "a stream is told to its end",
      );
    }
  }
  return { told, pipeline, tally, ms, arenaMost };
}

function checkJson(line: string, length: number): void {
  assert.doesNotMatch(line, CONTROL);
  assert.equal(JSON.parse(line).length, length);
}

// Captures that are as they should be.

const PEER = { from: "10.0.0.1:50000", to: "10.0.0.2:3260" };

/** Both directions of a connection in segments of some sizes, as packets of a pcap. */
function packetsOf(
  streams: readonly [Uint8Array, Uint8Array],
  random: Random,
  from = PEER.from,
  urgent = false,
): Bytes[] {
  const ends = [{ from, to: PEER.to }, { from: PEER.to, to: from }] as const;
  const first = [random(0xffff_ffff), random(0xffff_ffff)];
  const at: [number, number] = [0, 0];
  const seq = (side: Side): number => (first[side]! + 1 + at[side]) >>> 0;
  const made: Bytes[] = [
    segment({ ...ends[0], seq: first[0]!, flags: "S" }),
    segment({ ...ends[1], seq: first[1]!, ack: seq(0), flags: "SA" }),
  ];
  while (at[0] < streams[0].length || at[1] < streams[1].length) {
    const side: Side = random(2) === 0 ? 0 : 1;
    const bytes = Math.min(1 + random(1448), streams[side].length - at[side]);
    if (bytes === 0) continue;
    const data = streams[side].subarray(at[side], at[side] + bytes);
    const ack = seq(side === 0 ? 1 : 0);
    const pointer = urgent && random(3) === 0 ? { urgent: random(bytes + 8), flags: "AU" } : {};
    made.push(segment({ ...ends[side], seq: seq(side), ack, data, ...pointer }));
    at[side] += bytes;
  }
  made.push(segment({ ...ends[0], seq: seq(0), ack: seq(1), flags: "FA" }));
  at[0]++;
  made.push(segment({ ...ends[1], seq: seq(1), ack: seq(0), flags: "FA" }));
  return made;
}

function iscsiStreams(seed: number, digests = false, count = 12): readonly [Bytes, Bytes] {
  const session = new IscsiSession(seed, { header: digests, data: digests });
  session.login();
  session.mix(count);
  session.logout();
  return [session.streams[0].bytes(), session.streams[1].bytes()];
}

function messages(format: number, out: StreamWriter): Bytes {
  for (let seq = 1; seq < 12; seq++) {
    out.message({ seq, tid: seq, front: pattern(seq * 40, seq), data: pattern(seq * 700, seq) });
  }
  return concat(out.bytes, new StreamWriter(format).bytes);
}

function msgr2Streams(format: number): readonly [Bytes, Bytes] {
  const server = new StreamWriter(format).banner(format === FrameFormat.Crc21 ? 1 : 0);
  return [messages(format, everyTag(format)), messages(format, server)];
}

function secureStreams(): { readonly streams: readonly [Bytes, Bytes]; readonly keyring: Keyring } {
  const { keyring, auth } = cephxEnds("secure");
  const link = new Link({ format: FrameFormat.Secure21, options: { auth } });
  const sent = record((connection) => connection.messenger === link.client, () => {
    link.ready();
    for (let count = 0; count < 12; count++) {
      say(link, "a word");
      link.session.send({ type: 0xfa01, front: pattern(900 * count, 1), data: pattern(50, 2) });
      link.settle();
    }
  });
  link.close();
  return { streams: [streamOf(sent, 0, 0), streamOf(sent, 0, 1)], keyring };
}

// Damage.

function recordsOf(file: Bytes): Bytes[] {
  const records: Bytes[] = [];
  const view = new DataView(file.buffer);
  for (let at = HEADER_SIZE; at < file.length;) {
    const end = at + RECORD_SIZE + view.getUint32(at + 8, true);
    records.push(file.slice(at, end));
    at = end;
  }
  return records;
}

const FRONT = RECORD_SIZE + 14 + 20; // of TCP

const DAMAGES: readonly ((records: Bytes[], random: Random) => Bytes[])[] = [
  function flipsBits(records, random): Bytes[] {
    for (let left = 20; left > 0; left--) {
      const one = records[random(records.length)]!;
      if (one.length > RECORD_SIZE) {
        one[RECORD_SIZE + random(one.length - RECORD_SIZE)]! ^= 1 << random(8);
      }
    }
    return records;
  },
  function loses(records, random): Bytes[] {
    return records.filter(() => random(12) > 0);
  },
  function losesMany(records, random): Bytes[] {
    return records.toSpliced(random(records.length), random(40));
  },
  function repeats(records, random): Bytes[] {
    return records.flatMap((one) => random(6) > 0 ? [one] : [one, one.slice()]);
  },
  function reorders(records, random): Bytes[] {
    for (let at = 0; at + 4 < records.length; at++) {
      const other = at + random(4);
      [records[at], records[other]] = [records[other]!, records[at]!];
    }
    return records;
  },
  function cuts(records, random): Bytes[] {
    return records.map((one) => {
      const kept = one.slice(0, RECORD_SIZE + random(one.length - RECORD_SIZE + 1));
      if (random(4) > 0) return one;
      new DataView(kept.buffer).setUint32(8, kept.length - RECORD_SIZE, true);
      return kept;
    });
  },
  function playsTwice(records): Bytes[] {
    return [...records, ...records.map((one) => one.slice())];
  },
  function points(records, random): Bytes[] {
    for (const one of records) {
      if (random(3) > 0 || one.length < FRONT + 20) continue;
      one[FRONT + 13]! |= 0x20;
      one[FRONT + 18] = random(2) * 255;
      one[FRONT + 19] = random(256);
    }
    return records;
  },
  function movesTime(records, random): Bytes[] {
    for (const one of records) {
      if (random(10) === 0) {
        new DataView(one.buffer).setUint32(4 * random(2), random(2 ** 32), true);
      }
    }
    return records;
  },
  function changesSequences(records, random): Bytes[] {
    for (const one of records) {
      if (random(20) > 0 || one.length < FRONT + 20) continue;
      new DataView(one.buffer).setUint32(FRONT + 4 * (1 + random(2)), random(2 ** 32));
    }
    return records;
  },
];

function damaged(file: Bytes, random: Random): Bytes {
  let records = recordsOf(file);
  for (let left = 1 + random(3); left > 0 && records.length > 0; left--) {
    records = DAMAGES[random(DAMAGES.length)]!(records, random);
  }
  const made = concat(file.subarray(0, HEADER_SIZE), ...records);
  if (random(5) === 0) made[random(made.length)]! ^= 1 << random(8);
  return made;
}

Deno.test("captures that were damaged in any way are told to their ends, within their time", () => {
  const random = makeRandom(7);
  const { streams, keyring } = secureStreams();
  const captures: readonly (readonly [string, Bytes, Keyring | null])[] = [
    ["iscsi", pcapFile(packetsOf(iscsiStreams(1), random)), null],
    ["digests", pcapFile(packetsOf(iscsiStreams(2, true), random)), null],
    ["marked", pcapFile(packetsOf(iscsiStreams(3), random, PEER.from, true)), null],
    ["2.0", pcapFile(packetsOf(msgr2Streams(FrameFormat.Crc20), random)), null],
    ["2.1", pcapFile(packetsOf(msgr2Streams(FrameFormat.Crc21), random)), null],
    ["secure", pcapFile(packetsOf(streams, random)), keyring],
    ["closed", pcapFile(packetsOf(streams, random)), null],
  ];
  for (const [name, file, keys] of captures) {
    const { told, tally } = sniff(file, { keyring: keys });
    assert.equal(tally.recognised, 1, name);
    assert.ok(told.length > 20 || name === "closed", `${name} tells ${told.length} messages`);
    for (let seed = 1; seed <= 16; seed++) {
      const made = damaged(file, makeRandom(seed * 7919));
      try {
        const { ms } = sniff(made, { keyring: keys, keepsBytes: seed % 2 === 0 });
        assert.ok(ms < 3000, `${ms} ms for ${made.length} bytes`);
      } catch (error) {
        throw new Error(`${name}, seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
  }
});

Deno.test("a side that ended before its protocol was known is told all the same", () => {
  const [there, back] = iscsiStreams(4);
  const data = back.subarray(0, 30);
  const answer = { from: PEER.to, to: PEER.from };
  const { told } = sniff(pcapFile([
    segment({ ...PEER, seq: 99, flags: "S" }),
    segment({ ...answer, seq: 199, ack: 100, flags: "SA" }),
    segment({ ...answer, seq: 200, ack: 100, data }),
    segment({ ...answer, seq: 230, ack: 100, flags: "FA" }),
    segment({ ...PEER, seq: 100, ack: 231, data: there.subarray(0, 1400) }),
  ]));
  assert.deepEqual(told.filter(({ side }) => side === 1).map(({ tag, length }) => [tag, length]), [
    ["gap", 30],
  ]);
});

Deno.test("the same file a hundred times costs no more than once", () => {
  const random = makeRandom(3);
  const file = pcapFile(packetsOf(iscsiStreams(5, false, 4), random));
  const once = sniff(file);
  const records = file.subarray(HEADER_SIZE);
  const parts = new Array<Uint8Array>(100).fill(records);
  const often = sniff(concat(file.subarray(0, HEADER_SIZE), ...parts), { prints: false });
  const { conversations, replaced } = often.pipeline.table.counters;
  // The ports are the same and so are the numbers: copies of what has ended are late, not new.
  assert.deepEqual([conversations, replaced], [1, 0]);
  assert.equal(often.told.length, once.told.length);
});

Deno.test("what peers call themselves neither ends a line nor moves a cursor", () => {
  const hostile = "iqn\x1b[2J\r\nInjected: \u202e\u2028\u0085\x7f\xff\ud800😀".repeat(9);
  const stream = new IscsiStream();
  const text = new TextEncoder().encode(`InitiatorName=${hostile}\0a\nb=\u001b]0;x\u0007\0=\0`);
  const fields = { "login.T": true, "login.csg": 1, "login.nsg": 3, I: true, initiatortasktag: 9 };
  stream.add(Opcode.LoginRequest, fields, { data: text });
  for (let cut = 1; cut < 60; cut++) { // every way to cut a character in two
    const data = concat(text.subarray(0, text.length - cut), Uint8Array.of(0xf0, 0x9f));
    stream.add(Opcode.TextRequest, { "text.F": true, I: true, initiatortasktag: cut }, { data });
  }
  const { told } = sniff(
    pcapFile(packetsOf([stream.bytes(), new Uint8Array(0)], makeRandom(1))),
    { keepsBytes: true },
  );
  assert.equal(told.length, 60);
});

Deno.test("times that no clock has are numbers of JSON all the same", () => {
  const stream = iscsiStreams(6)[0];
  for (let seed = 1; seed <= 40; seed++) {
    const random = makeRandom(seed);
    const packets = [{ ip: segment({ ...PEER, seq: 99, flags: "S" }) }];
    for (let at = 0; at < stream.length; at += 700) {
      packets.push({ ip: segment({ ...PEER, seq: 100 + at, data: stream.slice(at, at + 700) }) });
    }
    const resolution = random(2) === 0 ? 9 : random(256);
    const offsetSeconds = (random(2 ** 31) - 2 ** 30) * random(2 ** 22);
    const file = pcapngFile(packets, { interfaces: [{ resolution, offsetSeconds }] });
    const view = new DataView(file.buffer);
    for (let at = 0; at < file.length; at += view.getUint32(at + 4, true)) {
      if (view.getUint32(at, true) !== 6 || random(2) === 0) continue;
      for (const word of [12, 16]) view.setUint32(at + word, random(2 ** 32), true);
    }
    assert.ok(sniff(file).told.length > 10, `seed ${seed}`);
  }
});

// Time and memory.

/** A capture without link layer whose segments cost little to make. */
class Flood {
  #bytes: Bytes = new Uint8Array(1 << 20);
  #end = HEADER_SIZE;

  constructor() {
    this.#bytes.set(pcapFile([], { linkType: 101 }));
  }

  get bytes(): Bytes {
    return this.#bytes.slice(0, this.#end);
  }

  /** A segment of a flow; `claimed` is what it has on the wire, of which `data` was captured. */
  add(flow: number, side: Side, seq: number, data: Uint8Array, parts: {
    readonly claimed?: number;
    readonly flags?: number;
    readonly pointer?: number;
    readonly seconds?: number;
  } = {}): void {
    const { claimed = data.length, flags = 0x10, pointer = 0, seconds = 1000 } = parts;
    const size = 40 + data.length;
    if (this.#end + RECORD_SIZE + size > this.#bytes.length) {
      this.#bytes = concat(this.#bytes, new Uint8Array(this.#bytes.length));
    }
    const view = new DataView(this.#bytes.buffer, this.#end);
    view.setUint32(0, seconds, true);
    view.setUint32(8, size, true);
    view.setUint32(12, 40 + claimed, true);
    view.setUint16(16, 0x4500);
    view.setUint16(18, 40 + claimed);
    view.setUint16(24, 0x4006);
    view.setUint32(28, side === 0 ? 0x0a00_0001 + (flow >>> 12) : 0x0b00_0001);
    view.setUint32(32, side === 0 ? 0x0b00_0001 : 0x0a00_0001 + (flow >>> 12));
    view.setUint16(36 + 2 * side, 10_000 + (flow & 0xfff));
    view.setUint16(38 - 2 * side, 3260);
    view.setUint32(40, seq);
    view.setUint16(48, 0x5000 | flags);
    view.setUint16(54, pointer);
    this.#bytes.set(data, this.#end + 56);
    this.#end += RECORD_SIZE + size;
  }
}

/** Bytes of memory that were allocated so far, those that are free again included. */
function allocated(): number {
  return (getHeapStatistics() as unknown as { total_allocated_bytes: number })
    .total_allocated_bytes;
}

/** Half of it is free again at once: names, and what a decoder is made with. */
const CONVERSATION_BYTES_MAX = 32_000;
const ONE = Uint8Array.of(1);

Deno.test("a conversation of two segments takes bounded memory, however they look", () => {
  const flows = 3000;
  const random = Uint8Array.from({ length: 100 }, (_, at) => at * 167);
  const looks: readonly ((flood: Flood, flow: number) => void)[] = [
    (flood, flow) => {
      for (const side of [0, 1] as const) flood.add(flow, side, 1, random);
    },
    (flood, flow) => {
      for (const side of [0, 1] as const) {
        flood.add(flow, side, 1, random, { flags: 0x30, pointer: 9 });
      }
    },
    (flood, flow) => {
      for (const seq of [1, 200]) flood.add(flow, 0, seq, random);
    },
  ];
  for (const look of looks) {
    const flood = new Flood();
    for (let flow = 0; flow < flows; flow++) look(flood, flow);
    const { bytes } = flood;
    const before = allocated();
    const { pipeline } = sniff(bytes, { prints: false });
    const each = (allocated() - before) / flows;
    assert.equal(pipeline.table.counters.conversations, flows);
    assert.ok(each < CONVERSATION_BYTES_MAX, `${each} bytes for each of ${flows} conversations`);
  }
});

Deno.test("of too many conversations at once the silent ones make room and may come back", () => {
  const flood = new Flood();
  const part = new Uint8Array(60);
  for (let flow = 0; flow < 9000; flow++) flood.add(flow, 0, 1, part);
  flood.add(0, 0, 61, part);
  const { pipeline, arenaMost } = sniff(flood.bytes, { prints: false });
  const { conversations, evicted, lateSegments } = pipeline.table.counters;
  assert.deepEqual([conversations, evicted, lateSegments], [9001, 9001 - 8192, 0]);
  assert.ok(arenaMost < 64 * 1024 * 1024, `${arenaMost} bytes of the arena`);
});

/** Each was once a way to keep the reader busy for seconds with every megabyte. */
const FLOODS: Readonly<Record<string, (flood: Flood) => void>> = {
  "segments that claim to be all the pieces that are held": (flood) => {
    flood.add(1, 0, 0, ONE);
    for (let at = 0; at < 4000; at++) flood.add(1, 0, 10 + at, ONE);
    for (let left = 6000; left > 0; left--) flood.add(1, 0, 10, ONE, { claimed: 4000 });
  },
  "more gaps than there is memory": (flood) => {
    for (let flow = 0; flow < 8000; flow++) {
      flood.add(flow, 0, 0, ONE);
      flood.add(flow, 1, 0, ONE);
      flood.add(flow, 0, 10, ONE);
      flood.add(flow, 1, 10, ONE);
    }
    for (let left = 6000; left > 0; left--) flood.add(left, 0, 20 + left, new Uint8Array(1400));
  },
  "times that go forth and back while all wait": (flood) => {
    for (let flow = 0; flow < 8000; flow++) {
      for (const side of [0, 1] as const) {
        flood.add(flow, side, 0, ONE, { seconds: 5000 });
        flood.add(flow, side, 10, new Uint8Array(0), { seconds: 5000, flags: 0x11 });
      }
    }
    for (let at = 1; at < 6000; at++) {
      flood.add(9000, 0, 20 * at, ONE, { seconds: 1000 });
      flood.add(9000, 0, 20 * at + 10, ONE, { seconds: 4000 });
    }
  },
  "headers at every fourth byte that lead far": (flood) => {
    const data = new Uint8Array(1400);
    for (let at = 0; at < data.length; at += 4) data.set([1, 0xa0], at);
    for (let at = 0; at < 500; at++) flood.add(1, 0, at * data.length, data);
  },
  "a pointer in each segment, and a hole before each": (flood) => {
    for (let at = 1; at < 8000; at++) {
      flood.add(1, 0, at * 100, new Uint8Array(20), {
        flags: 0x30,
        pointer: at & 0xff,
        seconds: 20 * at,
      });
    }
  },
};

for (const [name, make] of Object.entries(FLOODS)) {
  Deno.test(`a flood is read in its time: ${name}`, () => {
    const flood = new Flood();
    make(flood);
    const { bytes } = flood;
    const { ms } = sniff(bytes, { prints: false });
    assert.ok(ms < 3000 * bytes.length / 1e6, `${ms} ms for ${bytes.length} bytes`);
  });
}

Deno.test("headers that lead far do not hide those that lead to each other", () => {
  const stream = new IscsiStream();
  for (let at = 0; at < 40; at++) {
    const fields = {
      "scsidata.F": true,
      initiatortasktag: at,
      targettransfertag: at,
      expstatsn: at,
    };
    stream.add(Opcode.DataOut, fields, { data: new Uint8Array(512) });
  }
  const noise = new Uint8Array(8000);
  for (let at = 0; at < noise.length; at += 4) noise.set([1, 0xa0], at);
  const real = stream.bytes();
  const flood = new Flood();
  const bytes = concat(noise, real);
  for (let at = 0; at < bytes.length; at += 1000) {
    flood.add(1, 0, at, bytes.subarray(at, at + 1000));
  }
  const { told } = sniff(flood.bytes);
  const starts = new Map(stream.pdus.map(({ offset, length }) => [noise.length + offset, length]));
  const found = told.filter(({ tag }) => tag !== "gap");
  for (const { length, offset } of found) assert.equal(length, starts.get(offset));
  assert.ok(found.length >= 30, `${found.length} of 40 PDUs`);
});

Deno.test("what waits for an answer is found again, whether few or many wait", () => {
  const sent = new SentBySide();
  for (let seq = 1; seq <= 1024; seq++) {
    sent.noteSeq(seq, seq * 10);
    sent.noteTid(U64.of(seq), seq * 20);
  }
  for (let seq = 1; seq <= 1024; seq++) {
    assert.equal(sent.takeSeq(seq), seq * 10);
    assert.equal(sent.takeSeq(seq), UNANSWERED);
    assert.equal(sent.takeTid(U64.of(seq)), seq * 20);
  }
});
