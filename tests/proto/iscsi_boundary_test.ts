/** PDUs of iSCSI in whole, cut, split, damaged and hostile streams. */
import assert from "node:assert/strict";
import { arena, give, take } from "../../src/mem/arena.ts";
import { type Found, type FoundBy, Moment, type Side } from "../../src/proto/boundary/found.ts";
import { IscsiConversation, IscsiShared } from "../../src/proto/boundary/iscsi_conversation.ts";
import { Means, type SideContext } from "../../src/proto/boundary/side_decoder.ts";
import { Conversation } from "../../src/proto/capture/conversation.ts";
import { Opcode, pduName } from "../../src/wire/iscsi/opcode.ts";
import {
  type Digests,
  IscsiSession,
  IscsiStream,
  makeRandom,
  type Pdu,
} from "../capture/iscsi_streams.ts";

const NONE: Digests = { header: false, data: false };
const BOTH: Digests = { header: true, data: true };
const SEGMENT = 1448;

/** What was told of one PDU. */
interface Told {
  readonly side: Side;
  readonly tag: string;
  readonly type: string;
  readonly offset: number;
  readonly length: number;
  readonly missing: number;
  readonly foundBy: FoundBy;
  readonly session: number;
  readonly answers: string;
  readonly latencyNs: number;
  readonly errors: readonly string[];
  readonly fields: Record<string, unknown>;
  readonly begin: number;
  readonly finish: number;
  readonly bytes: string;
}

interface Options {
  readonly fromStart?: boolean;
  readonly means?: number;
  readonly keepsBytes?: boolean;
  readonly names?: (side: Side, offset: number) => boolean;
  readonly shared?: IscsiShared;
  readonly describes?: boolean;
}

/** Gives bytes to the decoders of a conversation as a finder does, and holds them to the contract. */
class Driver {
  readonly told: Told[] = [];
  readonly conversation: IscsiConversation;
  now = 0;
  readonly #lanes: readonly [Lane, Lane];

  constructor(options: Options = {}) {
    const { fromStart = true } = options;
    const ends = new Conversation(1, ["10.0.0.1:1024", "10.0.0.2:3260"], [1024, 3260]);
    ends.fromStart[0] = fromStart;
    ends.fromStart[1] = fromStart;
    this.#lanes = [new Lane(), new Lane()];
    const contexts = [this.#context(ends, 0, options), this.#context(ends, 1, options)] as const;
    this.conversation = new IscsiConversation(contexts, options.shared ?? new IscsiShared());
  }

  /** Bytes of a side from `offset` on. */
  give(side: Side, bytes: Uint8Array, offset: number): void {
    const lane = this.#lanes[side];
    this.now++;
    lane.last.timeNs = this.now * 1000;
    lane.last.packet = this.now;
    if (lane.kept.length === 0) {
      lane.keptFrom = offset;
      lane.first.copy(lane.last);
    }
    const reached = offset + bytes.length;
    if (lane.wanted >= reached) return;
    const window = new Uint8Array(lane.kept.length + bytes.length);
    window.set(lane.kept);
    window.set(bytes, lane.kept.length);
    const skipped = Math.max(0, lane.wanted - lane.keptFrom);
    const from = lane.keptFrom + skipped;
    const at = take(window.length + 64) + 64;
    arena.bytes.set(window.subarray(skipped), at);
    const decoder = this.conversation.sides[side];
    const wanted = decoder.handleBytes(at, at + window.length - skipped, from);
    assert.ok(wanted >= from, `needs ${wanted}, was given bytes from ${from} on`);
    arena.bytes.fill(0xa5, at, at + window.length);
    give(at - 64);
    lane.wanted = wanted;
    lane.kept = wanted < reached ? window.slice(wanted - lane.keptFrom) : new Uint8Array(0);
    if (wanted > lane.keptFrom) lane.first.copy(lane.last);
    lane.keptFrom = wanted;
  }

  hole(side: Side, offset: number, length: number): void {
    const lane = this.#lanes[side];
    this.now++;
    lane.last.timeNs = this.now * 1000;
    lane.last.packet = this.now;
    lane.kept = new Uint8Array(0);
    lane.wanted = this.conversation.sides[side].handleHole(offset, length);
    assert.ok(lane.wanted >= offset + length);
  }

  end(side: Side, offset: number): void {
    this.conversation.sides[side].handleEnd(offset);
    this.conversation.sides[side].close();
  }

  of(side: Side): Told[] {
    return this.told.filter((one) => one.side === side);
  }

  #context(conversation: Conversation, side: Side, options: Options): SideContext {
    const { describes = true, keepsBytes = false, means = Means.All, names } = options;
    const lane = this.#lanes[side];
    return {
      conversation,
      side,
      means,
      keepsBytes,
      urgent: { names: (offset) => names?.(side, offset) ?? false },
      first: lane.first,
      last: lane.last,
      tell: (found) => this.#tell(found, lane, describes),
    };
  }

  #tell(found: Found, lane: Lane, describes: boolean): void {
    assert.equal(found.protocol, "iscsi");
    assert.ok(found.offset >= lane.told, `tells ${found.offset} after ${lane.told}`);
    assert.ok(found.length >= 48 && found.missing >= 0 && found.missing < found.length);
    lane.told = found.offset + found.length;
    this.told.push({
      side: found.side,
      tag: found.tag,
      type: found.type,
      offset: found.offset,
      length: found.length,
      missing: found.missing,
      foundBy: found.foundBy,
      session: found.session,
      answers: found.answers,
      latencyNs: found.latencyNs,
      errors: [...found.errors],
      fields: describes ? found.describe() : {},
      begin: found.begin.packet,
      finish: found.finish.packet,
      bytes: arena.bytes.subarray(found.at, found.end).toHex(),
    });
  }
}

class Lane {
  readonly first = new Moment();
  readonly last = new Moment();
  kept: Uint8Array = new Uint8Array(0);
  keptFrom = 0;
  wanted = 0;
  told = 0;
}

/** Gives both directions by turns, in pieces, from `offsets` on, without what lies in `holes`. */
function run(
  session: IscsiSession,
  options: Options = {},
  piece = SEGMENT,
  from: readonly [number, number] = [0, 0],
  lost: (side: Side, offset: number) => boolean = () => false,
): Driver {
  const driver = new Driver(options);
  const streams = session.streams.map((stream) => stream.bytes());
  const next = [...from];
  // The later a PDU is in its stream, the later it is given: shares of both streams go together.
  while (next.some((offset, side) => offset < streams[side]!.length)) {
    const shares = next.map((offset, side) => offset / streams[side]!.length);
    const side: Side = shares[0]! <= shares[1]! ? 0 : 1;
    const offset = next[side]!;
    const bytes = streams[side]!.subarray(offset, offset + piece);
    if (lost(side, offset)) driver.hole(side, offset, bytes.length);
    else driver.give(side, bytes, offset - from[side]!);
    next[side] = offset + bytes.length;
  }
  for (const side of [0, 1] as const) driver.end(side, streams[side]!.length - from[side]!);
  return driver;
}

function places(pdus: readonly Pdu[]): string[] {
  return pdus.map(({ length, offset, opcode }) => `${offset} ${length} ${pduName(opcode)}`);
}

function told(driver: Driver, side: Side, shift = 0): string[] {
  return driver.of(side).map(({ length, offset, tag }) => `${offset + shift} ${length} ${tag}`);
}

/** Everything told is a PDU of the session; returns the share of the PDUs that was told. */
function assertTrue(
  driver: Driver,
  session: IscsiSession,
  from: readonly [number, number] = [0, 0],
): number {
  let count = 0;
  let all = 0;
  for (const side of [0, 1] as const) {
    const truth = new Set(places(session.streams[side].pdus));
    const found = told(driver, side, from[side]);
    for (const one of found) assert.ok(truth.has(one), `false message: side ${side}, ${one}`);
    count += found.length;
    all += truth.size;
  }
  return count / all;
}

function make(seed: number, digests: Digests, count: number): IscsiSession {
  const session = new IscsiSession(seed, digests);
  session.login();
  session.mix(count);
  session.logout();
  return session;
}

for (const digests of [NONE, BOTH, { header: true, data: false }, { header: false, data: true }]) {
  const kind = `header digest ${digests.header}, data digest ${digests.data}`;

  Deno.test(`a whole session is told PDU by PDU: ${kind}`, () => {
    const session = make(1, digests, 40);
    const driver = run(session);
    for (const side of [0, 1] as const) {
      assert.deepEqual(told(driver, side), places(session.streams[side].pdus));
      assert.equal(driver.of(side)[0]!.foundBy, "start");
      assert.ok(driver.of(side).slice(1).every(({ foundBy }) => foundBy === "length"));
      assert.deepEqual(driver.of(side).flatMap(({ errors }) => errors), []);
    }
  });

  Deno.test(`pieces of every size tell the same: ${kind}`, () => {
    const session = make(2, digests, 6);
    const whole = run(session, {}, 1 << 20);
    for (const piece of [1, 2, 3, 5, 7, 47, 48, 49, 51, 52, 53, 100, 4096]) {
      const driver = run(session, {}, piece);
      for (const side of [0, 1] as const) assert.deepEqual(told(driver, side), told(whole, side));
      assert.deepEqual(driver.told.flatMap(({ errors }) => errors), []);
    }
  });

  Deno.test(`a capture that joins anywhere finds its PDUs and nothing else: ${kind}`, () => {
    const session = make(3, digests, 60);
    const random = makeRandom(33);
    for (let round = 0; round < 60; round++) {
      const from = session.streams.map((stream) => random(stream.bytes().length)) as [
        number,
        number,
      ];
      assertTrue(run(session, { fromStart: false }, SEGMENT, from), session, from);
    }
  });

  Deno.test(`2 % of lost segments cost few PDUs and give no false one: ${kind}`, () => {
    let share = 0;
    for (let seed = 1; seed <= 8; seed++) {
      const session = make(seed, digests, 100);
      const random = makeRandom(seed * 7);
      const driver = run(session, {}, SEGMENT, [0, 0], () => random(50) === 0);
      share += assertTrue(driver, session) / 8;
    }
    assert.ok(share > 0.85, `told ${share} of the PDUs`);
  });
}

Deno.test("the search finds more than 95 % after the place where a capture joins", () => {
  const session = make(5, NONE, 400);
  const from: [number, number] = [session.streams[0].pdus[10]!.offset + 5, 77];
  const share = assertTrue(run(session, { fromStart: false }, SEGMENT, from), session, from);
  assert.ok(share > 0.95, `told ${share} of the PDUs`);
});

Deno.test("three headers prove a chain, of which the first is found by it", () => {
  const session = make(6, NONE, 10);
  const { pdus } = session.streams[0];
  const from: [number, number] = [pdus[2]!.offset - 20, 0];
  const found = run(session, { fromStart: false }, SEGMENT, from).of(0);
  assert.equal(found[0]!.offset, 20);
  assert.deepEqual(found.slice(0, 3).map(({ foundBy }) => foundBy), [
    "header-chain",
    "length",
    "length",
  ]);
});

Deno.test("one header with its digest is proof, unless digests are not to be used", () => {
  const session = make(7, BOTH, 10);
  const { pdus } = session.streams[0];
  const from: [number, number] = [pdus[2]!.offset - 20, 0];
  const found = run(session, { fromStart: false }, SEGMENT, from).of(0);
  assert.equal(found[0]!.offset, 20);
  assert.equal(found[0]!.foundBy, "digest");
  const means = Means.All & ~Means.Digest;
  const chained = run(session, { fromStart: false, means }, SEGMENT, from);
  assert.equal(chained.of(0)[0]!.foundBy, "header-chain");
  assertTrue(chained, session, from);
});

Deno.test("two headers are proof when a pointer names the first", () => {
  const session = make(8, NONE, 10);
  const { pdus } = session.streams[0];
  const from: [number, number] = [pdus[2]!.offset - 20, 0];
  const names = (side: Side, offset: number): boolean => side === 0 && offset === 20;
  // Without chains only the pointer can prove anything.
  const means = Means.Length | Means.Urgent;
  const driver = run(session, { fromStart: false, means, names }, SEGMENT, from);
  assert.equal(driver.of(0)[0]!.foundBy, "urgent");
  assert.equal(driver.of(0)[0]!.offset, 20);
  assert.equal(driver.of(1).length, 0);
  const unnamed = run(session, { fromStart: false, means }, SEGMENT, from);
  assert.equal(unnamed.told.length, 0);
  const off = run(session, { fromStart: false, means: Means.Length, names }, SEGMENT, from);
  assert.equal(off.told.length, 0);
});

Deno.test("without lengths every PDU is found anew", () => {
  const session = make(9, NONE, 60);
  const driver = run(session, { means: Means.All & ~Means.Length });
  assertTrue(driver, session);
  assert.ok(driver.told.length > 10);
  assert.ok(driver.told.every(({ foundBy }) => foundBy !== "length"));
});

Deno.test("a hole within a PDU is told, wherever it is, and a hole over its end loses no more", () => {
  const session = new IscsiSession(10);
  session.login();
  session.read(3000);
  session.read(512);
  session.ping();
  session.ping();
  session.ping();
  session.ping();
  const { pdus } = session.streams[1];
  const bytes = session.streams[1].bytes();
  const data = pdus[1]!;
  for (let begin = data.offset; begin < data.offset + data.length; begin += 7) {
    for (const length of [1, 40, 900, 2500]) {
      const driver = new Driver();
      driver.give(1, bytes.subarray(0, begin), 0);
      driver.hole(1, begin, length);
      driver.give(1, bytes.subarray(begin + length), begin + length);
      driver.end(1, bytes.length);
      assertTrue(driver, session);
      const at = driver.of(1).find(({ offset }) => offset === data.offset);
      const end = data.offset + data.length;
      const missing = Math.min(begin + length, end) - begin;
      if (begin < data.offset + 48) assert.equal(at, undefined);
      else {
        assert.equal(at!.missing, missing);
        assert.deepEqual(at!.errors, [`hole: ${missing} bytes were not captured`]);
        if (begin + length <= end) {
          assert.equal(driver.of(1).length, pdus.length);
          assert.ok(driver.of(1).slice(1).every(({ foundBy }) => foundBy === "length"));
        }
      }
    }
  }
});

Deno.test("a stream that ends within a PDU tells it with what is missing", () => {
  const session = new IscsiSession(11);
  session.login();
  session.read(3000);
  const bytes = session.streams[1].bytes();
  const data = session.streams[1].pdus[1]!;
  const driver = new Driver();
  driver.give(1, bytes.subarray(0, data.offset + 148), 0);
  driver.end(1, data.offset + 148);
  assert.equal(driver.of(1)[1]!.missing, data.length - 148);
});

Deno.test("requests and answers are paired, with the time between them", () => {
  const session = new IscsiSession(12);
  session.login();
  session.read(1024, 512);
  session.read(512, 512, true);
  session.write(4096, 0, 2048);
  session.ping();
  session.fail();
  session.logout();
  const driver = new Driver();
  for (const side of [0, 1] as const) {
    const bytes = session.streams[side].bytes();
    for (let at = 0; at < bytes.length; at += 48) {
      driver.give(side, bytes.subarray(at, at + 48), at);
    }
  }
  const answers = driver.of(1).map(({ answers, fields, tag, type }) =>
    `${tag}|${type}|${answers}|${fields["request"] ?? ""}`
  );
  assert.deepEqual(answers, [
    "Login Response||task|Login Request",
    "SCSI Data-In|READ(10)||",
    "SCSI Data-In|READ(10)||",
    "SCSI Response|READ(10)|task|SCSI Command",
    "SCSI Data-In|READ(10)|task|SCSI Command",
    "Ready To Transfer|WRITE(10)||",
    "SCSI Response|WRITE(10)|task|SCSI Command",
    "NOP-In||task|NOP-Out",
    "SCSI Response|TEST UNIT READY|task|SCSI Command",
    "Logout Response||task|Logout Request",
  ]);
  for (const one of driver.of(1)) {
    if (one.answers === "") assert.equal(one.latencyNs, -1);
    else {
      const request = driver.of(0).find(({ offset, tag }) =>
        offset === one.fields["request_offset"] && tag === one.fields["request"]
      )!;
      assert.equal(one.fields["request_frame"], request.finish);
      assert.equal(one.latencyNs, (one.begin - request.begin) * 1000);
    }
  }
  const failed = driver.of(1)[8]!.fields;
  assert.equal(failed["status"], "CHECK CONDITION");
  assert.equal(failed["sense"], "UNIT ATTENTION");
  assert.equal(failed["sense.asc"], 0x29);
});

Deno.test("after a loss no answer is paired with a ping whose own answer may be lost", () => {
  const [out, back] = [new IscsiStream(), new IscsiStream()];
  const nobody = 0xffffffff;
  const numbers = { cmdsn: 1, expstatsn: 1 };
  const pong = { I: true, initiatortasktag: nobody, targettransfertag: 5, ...numbers };
  for (let count = 0; count < 4; count++) {
    out.add(Opcode.NopOut, {
      I: true,
      initiatortasktag: count,
      targettransfertag: nobody,
      ...numbers,
    });
  }
  for (let count = 0; count < 4; count++) out.add(Opcode.NopOut, pong);
  for (let count = 0; count < 4; count++) {
    back.add(Opcode.NopIn, {
      initiatortasktag: nobody,
      targettransfertag: 5,
      statsn: 1,
      expcmdsn: 1,
      maxcmdsn: 9,
    });
  }
  for (const isLost of [false, true]) {
    const driver = new Driver();
    const [first, second] = [out.bytes().subarray(0, 4 * 48), out.bytes().subarray(4 * 48)];
    driver.give(0, first, 0);
    driver.give(1, back.bytes(), 0);
    if (isLost) driver.hole(0, first.length, 48);
    driver.give(0, second, first.length + (isLost ? 48 : 0));
    const answers = driver.of(0).map(({ answers }) => answers).filter((each) => each !== "");
    assert.deepEqual(answers, isLost ? [] : ["task"]);
  }
});

Deno.test("data that was asked for names its R2T", () => {
  const session = new IscsiSession(13);
  session.login();
  session.write(4096, 0, 2048);
  const driver = new Driver();
  const [out, back] = session.streams;
  driver.give(0, out.bytes().subarray(0, out.pdus[2]!.offset), 0);
  driver.give(1, back.bytes(), 0);
  driver.give(0, out.bytes().subarray(out.pdus[2]!.offset), out.pdus[2]!.offset);
  const order = driver.of(1).find(({ tag }) => tag === "Ready To Transfer")!;
  const data = driver.of(0).filter(({ tag }) => tag === "SCSI Data-Out");
  assert.equal(data.length, 2);
  for (const { fields } of data) {
    assert.equal(fields["r2t_offset"], order.offset);
    assert.equal(fields["r2t_frame"], order.begin);
  }
});

Deno.test("a second connection of a session has its number, another login a new one", () => {
  const shared = new IscsiShared();
  const numbers = [[0, 7], [7, 7], [0, 8]].map(([tsih, given]) => {
    const session = new IscsiSession(14);
    session.login(tsih, given);
    session.ping();
    const driver = new Driver({ shared });
    for (const index of [0, 1]) {
      for (const side of [0, 1] as const) {
        const { pdus } = session.streams[side];
        const from = pdus[index]!.offset;
        const bytes = session.streams[side].bytes().subarray(from, pdus[index + 1]?.offset);
        driver.give(side, bytes, from);
      }
    }
    assert.equal(new Set(driver.told.map(({ session }) => session)).size, 1);
    return driver.told[0]!.session;
  });
  assert.deepEqual(numbers, [1, 1, 2]);
});

Deno.test("wrong digests are errors, and the PDU counts when the next one is there", () => {
  const session = make(15, BOTH, 10);
  const { pdus } = session.streams[1];
  const index = pdus.findIndex(({ opcode, length }) => opcode === Opcode.DataIn && length > 200);
  const pdu = pdus[index]!;
  for (
    const [place, error] of [[44, "header digest"], [49, "header digest"], [100, "data digest"]]
  ) {
    const bytes = session.streams[1].bytes();
    bytes[pdu.offset + Number(place)]! ^= 0x10;
    const driver = new Driver();
    driver.give(0, session.streams[0].bytes(), 0);
    for (let at = 0; at < bytes.length; at += SEGMENT) {
      driver.give(1, bytes.subarray(at, at + SEGMENT), at);
    }
    driver.end(1, bytes.length);
    assert.deepEqual(told(driver, 1), places(pdus), String(place));
    assert.match(driver.of(1)[index]!.errors[0]!, new RegExp(`^${error} 0x`));
    assert.deepEqual(driver.of(1).flatMap(({ errors }) => errors).length, 1);
  }
});

Deno.test("a length that was damaged breaks the chain, and the search goes on behind it", () => {
  const session = make(16, NONE, 60);
  const bytes = session.streams[1].bytes();
  const { pdus } = session.streams[1];
  bytes[pdus[10]!.offset + 7]! ^= 0x40;
  const driver = new Driver();
  for (let at = 0; at < bytes.length; at += SEGMENT) {
    driver.give(1, bytes.subarray(at, at + SEGMENT), at);
  }
  const truth = new Set(places(pdus));
  const wrong = told(driver, 1).filter((one) => !truth.has(one));
  assert.ok(wrong.length <= 1, wrong.join()); // the damaged one itself
  assert.ok(driver.of(1).length > pdus.length - 5);
});

Deno.test("bytes are kept when they are asked for, whatever the pieces", () => {
  const session = make(17, BOTH, 8);
  for (const piece of [10, SEGMENT, 1 << 20]) {
    const driver = run(session, { keepsBytes: true }, piece);
    for (const side of [0, 1] as const) {
      const bytes = session.streams[side].bytes();
      for (const one of driver.of(side)) {
        assert.equal(one.bytes, bytes.subarray(one.offset, one.offset + one.length).toHex());
      }
    }
  }
});

Deno.test("keys of a login are told, and answers to a challenge are hidden", () => {
  const session = new IscsiSession(18);
  session.login();
  const driver = run(session);
  assert.ok((driver.of(0)[0]!.fields["keyvalue"] as string[]).includes("HeaderDigest=CRC32C,None"));
});

Deno.test("data in between is not asked for", () => {
  const session = new IscsiSession(19);
  session.login();
  session.read(256 * 1024, 256 * 1024);
  const [, target] = session.streams;
  const bytes = target.bytes();
  const driver = new Driver();
  const { length, offset } = target.pdus[1]!;
  driver.give(1, bytes.subarray(0, offset + 48), 0);
  const decoder = driver.conversation.sides[1];
  const at = take(64);
  arena.bytes.fill(0xff, at, at + 10);
  assert.equal(decoder.handleBytes(at, at + 10, offset + 48), offset + length - 1);
  give(at);
});

Deno.test("a hole in data of which it is not known whether a digest follows is bridged", () => {
  for (const digests of [{ header: true, data: true }, { header: true, data: false }]) {
    const session = new IscsiSession(22, digests);
    session.read(4096);
    session.ping();
    session.ping();
    const bytes = session.streams[1].bytes();
    const driver = new Driver({ fromStart: false });
    driver.give(1, bytes.subarray(0, 1000), 0); // the header digest is proof, data is not known of
    driver.hole(1, 1000, 500);
    driver.give(1, bytes.subarray(1500), 1500);
    assert.deepEqual(told(driver, 1), places(session.streams[1].pdus));
    assert.equal(driver.of(1)[0]!.missing, 500);
    const over = new Driver({ fromStart: false });
    over.give(1, bytes.subarray(0, 1000), 0);
    over.hole(1, 1000, session.streams[1].pdus[1]!.offset - 1000 + 10);
    over.end(1, bytes.length);
    assert.deepEqual(over.told, []); // its length is not known for sure
  }
});

Deno.test("zeros, text and noise are no PDUs", () => {
  const random = makeRandom(20);
  const fills = [() => 0, () => 0x20 + random(0x60), () => random(256), () => random(3) * 0x20];
  for (const fill of fills) {
    const bytes = new Uint8Array(300_000);
    for (let at = 0; at < bytes.length; at++) bytes[at] = fill();
    for (const fromStart of [true, false]) {
      const driver = new Driver({ fromStart });
      for (let at = 0; at < bytes.length; at += SEGMENT) {
        driver.give(0, bytes.subarray(at, at + SEGMENT), at);
      }
      driver.end(0, bytes.length);
      assert.equal(driver.told.length, 0);
    }
  }
});

Deno.test("streams that were changed anywhere neither throw nor tell overlapping PDUs", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = makeRandom(seed * 13);
    const session = make(seed, seed % 2 === 0 ? NONE : BOTH, 20);
    const driver = new Driver({ fromStart: seed % 3 !== 0, keepsBytes: seed % 5 === 0 });
    for (const side of [0, 1] as const) {
      const bytes = session.streams[side].bytes();
      for (let count = random(30); count > 0; count--) bytes[random(bytes.length)] = random(256);
      for (let at = 0; at < bytes.length;) {
        const length = Math.min(1 + random(3000), bytes.length - at);
        if (random(12) === 0) driver.hole(side, at, length);
        else driver.give(side, bytes.subarray(at, at + length), at);
        at += length;
      }
      driver.end(side, bytes.length);
    }
  }
});

Deno.test("headers everywhere keep the search within its bounds", () => {
  const session = new IscsiSession(21);
  session.ping();
  const header = session.streams[0].bytes().subarray(0, 48);
  const bytes = new Uint8Array(200_000);
  for (let at = 0; at + 48 <= bytes.length; at += 48) {
    bytes.set(header, at);
    // Each leads somewhere else, and no two agree.
    new DataView(bytes.buffer).setUint32(at + 4, 100_000 + at);
    new DataView(bytes.buffer).setUint32(at + 28, at * 1_000_003);
  }
  const driver = new Driver({ fromStart: false });
  for (let at = 0; at < bytes.length; at += SEGMENT) {
    driver.give(0, bytes.subarray(at, at + SEGMENT), at);
  }
  assert.equal(driver.told.length, 0);
});
