/** PDUs of a marked sender in whole, split, damaged, joined and foreign streams, through the finder. */
import assert from "node:assert/strict";
import { arena, arenaTaken, give, take } from "../../src/mem/arena.ts";
import { newRegion } from "../../src/mem/region.ts";
import { Finder, FinderTally } from "../../src/proto/boundary/finder.ts";
import { type FoundBy, Moment } from "../../src/proto/boundary/found.ts";
import { IscsiShared } from "../../src/proto/boundary/iscsi_conversation.ts";
import { Means } from "../../src/proto/boundary/side_decoder.ts";
import { Conversation, HoleReason } from "../../src/proto/capture/conversation.ts";
import { writeDraftPdu } from "../../src/wire/iscsi/draft_layout.ts";
import { BHS_SIZE } from "../../src/wire/iscsi/header.ts";
import { Opcode } from "../../src/wire/iscsi/opcode.ts";
import { IscsiSession, IscsiStream, makeRandom } from "../capture/iscsi_streams.ts";
import { sharedBy } from "../capture/msgr2_streams.ts";

const SIZE = 200;
const COUNT = 12;
const LAYOUT = "draft-wakeley-iscsi-msgbndry-00";
const CHAIN_ONLY = Means.Length | Means.HeaderChain;
const URGENT_ONLY = Means.Length | Means.Urgent;

interface Told {
  readonly offset: number;
  readonly length: number;
  readonly missing: number;
  readonly foundBy: FoundBy;
  readonly errors: readonly string[];
  readonly fields: Record<string, unknown>;
  readonly bytes: string;
  readonly begin: number;
  readonly finish: number;
}

interface Options {
  readonly fromStart?: boolean;
  readonly means?: number;
  readonly keepsBytes?: boolean;
  /** Where segments end; SEGMENT bytes each unless given. */
  readonly cuts?: readonly number[];
  /** Bytes [from, to) that were not captured. */
  readonly hole?: readonly [number, number];
  /** Places that pointers name. */
  readonly marks?: readonly number[];
}

interface Result {
  readonly told: readonly Told[];
  /** Bytes of gaps, holes included. */
  readonly gaps: number;
  readonly brokenChains: number;
}

/** Follows one direction; what is told and the gaps lie one behind the other, to the last byte. */
function find(bytes: Uint8Array, options: Options = {}): Result {
  const { cuts = [], fromStart = true, hole = [0, 0], keepsBytes = false, marks = [] } = options;
  const before = arenaTaken();
  const conversation = new Conversation(1, ["10.0.0.1:4000", "10.0.0.2:3260"], [4000, 3260]);
  conversation.fromStart.fill(fromStart);
  const iscsi = new IscsiShared();
  const told: Told[] = [];
  let reached = 0;
  let gaps = 0;
  const finder = new Finder(
    conversation,
    {
      means: options.means ?? Means.All,
      keepsBytes,
      msgr2: sharedBy(null),
      iscsi,
      tally: new FinderTally(),
    },
    {
      handleFound: (found) => {
        assert.deepEqual([found.protocol, found.side], ["iscsi", 0]);
        assert.equal(found.offset, reached);
        reached += found.length;
        const { errors, foundBy, length, missing, offset } = found;
        told.push({
          ...{ offset, length, missing, foundBy },
          errors: [...errors],
          fields: { tag: found.tag, ...found.describe() },
          bytes: arena.bytes.subarray(found.at, found.end).toHex(),
          begin: found.begin.packet,
          finish: found.finish.packet,
        });
      },
      handleGap: ({ length, offset }) => {
        assert.equal(offset, reached);
        reached += length;
        gaps += length;
      },
    },
  );
  const moment = new Moment();
  const places = [...new Set([...cuts, ...hole, bytes.length])].sort((a, b) => a - b);
  let from = 0;
  for (const to of places.filter((place) => place > 0 && place <= bytes.length)) {
    moment.packet++;
    moment.timeNs += 1000;
    if (from >= hole[0] && to <= hole[1]) {
      finder.handleHole(0, from, to - from, HoleReason.Acknowledged, moment);
    } else {
      for (const mark of marks.filter((place) => place > from && place <= to)) {
        finder.handleUrgent(0, from, to - from, mark - from, moment);
      }
      const block = take(to - from);
      arena.bytes.set(bytes.subarray(from, to), block);
      finder.handleBytes(0, block, block + to - from, from, moment);
      arena.bytes.fill(0x05, block, block + to - from);
      give(block);
    }
    from = to;
  }
  finder.handleEnd(0, bytes.length, moment);
  finder.handleEnd(1, 0, moment);
  finder.close();
  assert.equal(arenaTaken(), before);
  if (told.length > 0) assert.equal(reached, bytes.length);
  return { told, gaps, brokenChains: iscsi.counters.brokenChains };
}

/** Messages of `size` bytes, numbered from `first` on. */
function stream(size = SIZE, count = COUNT, first = 0): Uint8Array {
  const out = newRegion(size * count);
  for (let index = 0; index < count; index++) {
    writeDraftPdu(out, index * size, size, (first + index) >>> 0);
  }
  return out.bytes;
}

/** The cuts of segments that are `bytes` long. */
function every(bytes: number, until: number): number[] {
  return Array.from({ length: Math.floor(until / bytes) }, (_, index) => (index + 1) * bytes);
}

/** A pointer names the byte behind the first of each message, as Linux sends it. */
function marksOf(size = SIZE, count = COUNT): number[] {
  return Array.from({ length: count }, (_, index) => index * size + 1);
}

/** What is told is a message of the stream that begins at `shift`, whatever is missing of it. */
function assertTrue({ told }: Result, shift = 0, size = SIZE, first = 0): void {
  for (const { errors, fields, length, missing, offset } of told) {
    assert.equal((offset + shift) % size, 0, `false message at ${offset}`);
    assert.equal(length, size);
    assert.equal(fields["datasn"], ((offset + shift) / size + first) >>> 0);
    assert.equal(errors.length > 0, missing > 0);
  }
}

Deno.test("a whole stream is told PDU by PDU, with its fields by RFC 7143", () => {
  const bytes = stream();
  const { gaps, told } = find(bytes, { keepsBytes: true });
  assert.equal(gaps, 0);
  assert.equal(told.length, COUNT);
  for (const [index, one] of told.entries()) {
    assert.equal(one.foundBy, index === 0 ? "start" : "length");
    assert.deepEqual([one.offset, one.length, one.missing], [index * SIZE, SIZE, 0]);
    assert.deepEqual(one.errors, []);
    assert.equal(one.bytes, bytes.subarray(index * SIZE, (index + 1) * SIZE).toHex());
    assert.deepEqual(one.fields, {
      tag: "SCSI Data-Out",
      layout: LAYOUT,
      opcode: Opcode.DataOut,
      flags: 0x80,
      totalahslength: 0,
      datasegmentlength: SIZE - BHS_SIZE,
      "scsidata.F": true,
      lun: "0000000000000000",
      initiatortasktag: 1,
      targettransfertag: 0xffffffff,
      expstatsn: 1,
      datasn: index,
      bufferOffset: 0,
    });
  }
});

Deno.test("every split tells the same", () => {
  for (const size of [48, 52, SIZE]) {
    const bytes = stream(size, 4);
    const whole = find(bytes, { keepsBytes: true }).told.map((
      { offset, bytes },
    ) => [offset, bytes]);
    assert.equal(whole.length, 4);
    for (let cut = 1; cut < bytes.length; cut++) {
      const { told } = find(bytes, { keepsBytes: true, cuts: [cut] });
      assert.deepEqual(told.map(({ offset, bytes }) => [offset, bytes]), whole);
      // A message ends with the segment that has its last byte.
      for (const { finish, length, offset } of told) {
        assert.equal(finish, offset + length <= cut ? 1 : 2, `${offset}, cut at ${cut}`);
      }
      assert.equal(find(bytes, { cuts: [cut] }).told.length, 4);
    }
    for (const piece of [1, 2, 3, 47, 48, 49]) {
      const { told } = find(bytes, { keepsBytes: true, cuts: every(piece, bytes.length) });
      assert.deepEqual(told.map(({ offset, bytes }) => [offset, bytes]), whole);
      for (const fromStart of [true, false]) {
        const { told } = find(bytes, { fromStart, cuts: every(piece, bytes.length) });
        assert.deepEqual(told.map(({ offset }) => offset), whole.map(([offset]) => offset));
      }
    }
  }
});

Deno.test("a hole within one PDU does not unlock, whatever other means there are", () => {
  const bytes = stream();
  const at = 3 * SIZE;
  const holes: [number, number][] = [[at + 48, at + 60], [at + 60, at + SIZE - 1], [
    at + 90,
    at + SIZE,
  ]];
  for (const hole of holes) {
    const cuts = [at + 48, ...every(1000, bytes.length)];
    const result = find(bytes, { hole, means: Means.Length, cuts });
    assertTrue(result);
    assert.equal(result.told.length, COUNT);
    assert.equal(result.gaps, 0);
    const bytesLost = hole[1] - hole[0];
    assert.deepEqual(result.told.filter(({ missing }) => missing > 0).map((one) => one.errors), [
      [`hole: ${bytesLost} bytes were not captured`],
    ]);
    assert.ok(result.told.slice(1).every(({ foundBy }) => foundBy === "length"));
  }
});

Deno.test("a hole over a header is mended by a chain of three, or by two and a pointer", () => {
  const bytes = stream();
  const at = 3 * SIZE;
  const cuts = [at, at + 48, ...every(70, bytes.length)];
  const holes: [number, number][] = [
    [at, at + 10], // the first bytes of a header
    [at + 10, at + 48],
    [at - 20, at + 20], // the end of one PDU and a header
    [at - 20, at + SIZE], // over a whole PDU
    [at, at + SIZE],
    [at - 160, at + SIZE + 60],
  ];
  for (const hole of holes) {
    const next = Math.ceil(hole[1] / SIZE); // the first whole PDU behind the hole
    const chain = find(bytes, { hole, means: CHAIN_ONLY, cuts });
    const urgent = find(bytes, { hole, means: URGENT_ONLY, cuts, marks: marksOf() });
    const both = find(bytes, { hole, cuts, marks: marksOf() });
    const before = Math.floor(hole[0] / SIZE) + (hole[0] % SIZE >= 48 ? 1 : 0);
    for (
      const [result, foundBy] of [[chain, "header-chain"], [urgent, "urgent"], [both, "urgent"]]
    ) {
      const { told } = result as Result;
      assertTrue(result as Result);
      assert.equal(told.length, before + COUNT - next);
      assert.equal(told[before]!.offset, next * SIZE);
      assert.deepEqual(told.slice(before).map((one) => one.foundBy), [
        foundBy,
        ...Array.from({ length: COUNT - next - 1 }, () => "length"),
      ]);
    }
    for (const means of [Means.Length, URGENT_ONLY]) {
      const { told } = find(bytes, { hole, means, cuts });
      assert.equal(told.length, before, "no means, or no pointers");
    }
  }
});

Deno.test("holes between the headers of a chain are told of its PDUs", () => {
  const bytes = stream();
  const cuts = every(50, bytes.length);
  const hole: [number, number] = [150, 190];
  const { told } = find(bytes, { fromStart: false, hole, means: CHAIN_ONLY, cuts });
  assert.equal(told.length, COUNT);
  assert.deepEqual([told[0]!.foundBy, told[0]!.missing], ["header-chain", 40]);
  assert.deepEqual(told[0]!.errors, ["hole: 40 bytes were not captured"]);
});

Deno.test("a hole at any place and of any length invents nothing", () => {
  const random = makeRandom(5);
  const bytes = stream();
  for (let round = 0; round < 400; round++) {
    const from = random(bytes.length);
    const hole: [number, number] = [from, Math.min(bytes.length, from + 1 + random(2 * SIZE))];
    const cuts = every(1 + random(300), bytes.length);
    for (const means of [Means.All, CHAIN_ONLY, URGENT_ONLY, Means.Length, Means.HeaderChain]) {
      const marks = random(2) === 0 ? marksOf() : [];
      assertTrue(find(bytes, { hole, cuts, means, marks, keepsBytes: random(2) === 0 }));
    }
  }
});

Deno.test("a capture that joins anywhere finds the next PDUs, also where numbers wrap", () => {
  const first = 0xffff_fffa;
  const bytes = stream(SIZE, COUNT, first);
  const marks = marksOf();
  for (let from = 1; from < 2 * SIZE + 1; from += 3) {
    const rest = bytes.subarray(from);
    const shifted = marks.map((mark) => mark - from);
    const next = Math.ceil(from / SIZE);
    const cuts = every(100, rest.length);
    const chain = find(rest, { fromStart: false, cuts, means: CHAIN_ONLY });
    const urgent = find(rest, { fromStart: false, cuts, means: URGENT_ONLY, marks: shifted });
    for (const [result, foundBy] of [[chain, "header-chain"], [urgent, "urgent"]] as const) {
      assertTrue(result, from, SIZE, first);
      assert.equal(result.told.length, COUNT - next);
      assert.equal(result.told[0]!.foundBy, foundBy);
    }
    assert.equal(find(rest, { fromStart: false, cuts, means: Means.Length }).told.length, 0);
  }
});

Deno.test("headers that do not follow each other prove nothing", () => {
  const same = newRegion(COUNT * SIZE);
  for (let index = 0; index < COUNT; index++) writeDraftPdu(same, index * SIZE, SIZE, 7);
  assert.equal(find(same.bytes, { fromStart: false, marks: marksOf() }).told.length, 0);
  const two = stream(SIZE, 2);
  assert.equal(find(two, { fromStart: false, means: CHAIN_ONLY }).told.length, 0);
  assert.equal(find(two, { fromStart: false, marks: [SIZE + 1] }).told.length, 0);
  assert.equal(find(two, { fromStart: false, marks: [1] }).told.length, 2);
});

Deno.test("a length that leads to no header is counted, and the search begins there", () => {
  const bytes = stream();
  bytes[4 * SIZE] = 0x45;
  const result = find(bytes);
  assertTrue(result);
  assert.equal(result.brokenChains, 1);
  assert.equal(result.gaps, SIZE);
  assert.equal(result.told.length, COUNT - 1);
  assert.equal(result.told[4]!.foundBy, "header-chain");
});

Deno.test("a stream that ends within a PDU tells what there is of it", () => {
  const bytes = stream(SIZE, 3).subarray(0, 3 * SIZE - 30);
  const { told } = find(bytes);
  assert.equal(told.length, 3);
  assert.deepEqual([told[2]!.length, told[2]!.missing], [SIZE - 30, 0]);
  assert.deepEqual(told[2]!.errors, ["the stream ends 30 bytes before the end of this PDU"]);
});

Deno.test("a header that the sender would not write is none, in any of its bits", () => {
  const whole = stream(SIZE, 3);
  for (let bit = 0; bit < BHS_SIZE * 8; bit++) {
    const at = bit >> 3;
    if ((at >= 5 && at < 8) || (at >= 36 && at < 40)) continue; // its length and its number
    const bytes = whole.slice();
    bytes[at]! ^= 1 << (bit & 7);
    assert.equal(find(bytes).told.length, 0, `bit ${bit}`);
  }
  const large = newRegion(1024 * 1024 + 4);
  writeDraftPdu(large, 0, large.bytes.length, 0);
  assert.equal(find(large.bytes).told.length, 0);
});

Deno.test("real iSCSI is never taken for it, whole, cut or with holes", () => {
  const random = makeRandom(9);
  for (let seed = 1; seed < 6; seed++) {
    const session = new IscsiSession(seed, { header: seed % 2 === 0, data: seed % 3 === 0 });
    session.login();
    session.mix(40);
    for (const side of [0, 1] as const) {
      const bytes = session.streams[side].bytes();
      for (let round = 0; round < 4; round++) {
        const from = round === 0 ? 0 : random(bytes.length);
        const rest = bytes.subarray(from);
        const hole: [number, number] = [random(rest.length), rest.length];
        const cuts = every(1448, rest.length);
        const result = find(rest, {
          ...{ fromStart: from === 0 && side === 0, cuts },
          ...(round === 1 ? {} : { hole: [hole[0], Math.min(hole[0] + 700, rest.length)] }),
        });
        assert.ok(result.told.every(({ fields }) => fields["layout"] === undefined));
        if (round === 0 && side === 0) assert.ok(result.told.length > 0);
      }
    }
  }
});

Deno.test("nor is it taken for real iSCSI", () => {
  const random = makeRandom(10);
  const bytes = stream(560, 100);
  for (let round = 0; round < 40; round++) {
    const from = random(20_000);
    const rest = bytes.subarray(from);
    const at = random(rest.length - 3000);
    const hole = [at, at + 1 + random(2000)] as const;
    const { told } = find(rest, { fromStart: false, hole, cuts: every(1448, rest.length) });
    assert.ok(told.length > 0);
    assert.ok(told.every(({ fields }) => fields["layout"] === LAYOUT));
  }
});

Deno.test("a stream that begins as iSCSI stays iSCSI, even if its data are such PDUs", () => {
  const session = new IscsiSession(2);
  session.login();
  const login = session.streams[0];
  const out = new IscsiStream();
  out.add(Opcode.NopOut, { I: true, initiatortasktag: 1, targettransfertag: 0xffffffff }, {
    data: stream(),
  });
  const bytes = Uint8Array.from([...login.bytes(), ...out.bytes(), ...out.bytes()]);
  const { told } = find(bytes, {
    cuts: every(300, bytes.length),
    marks: every(SIZE, bytes.length),
  });
  assert.equal(told.length, 3);
  assert.ok(told.every(({ fields }) => fields["layout"] === undefined));
});

Deno.test("random bytes are nothing, even with headers among them", () => {
  const random = makeRandom(11);
  const bytes = new Uint8Array(100_000).map(() => random(256));
  for (let at = 0; at + 50 < bytes.length; at += 50 + random(400)) bytes.set([0x05, 0x90], at);
  for (const fromStart of [true, false]) {
    const marks = every(300, bytes.length);
    const cuts = every(1448, bytes.length);
    assert.equal(find(bytes, { fromStart, cuts, marks }).told.length, 0);
  }
  // Many headers that lead nowhere: only the newest are kept.
  const pieces = newRegion(60_000);
  for (let at = 0; at + 48 <= 60_000; at += 48) {
    writeDraftPdu(pieces, at, 48, at);
    pieces.view.setUint32(at + 4, 4 * (1 + random(10_000)));
  }
  const { told } = find(pieces.bytes, { fromStart: false, cuts: every(1000, 60_000) });
  assert.equal(told.length, 0);
});
