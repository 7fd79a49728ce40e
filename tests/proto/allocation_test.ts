/**
 * "Encoders write into preallocated memory at an offset and allocate nothing; decoders read in
 * place": heap bytes per frame, over a million frames or more of each format. Garbage counts too.
 */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { gcmMaker } from "../../src/io/libcrypto.ts";
import { arena, give, take } from "../../src/mem/arena.ts";
import { FrameReader } from "../../src/proto/msgr2/frame_reader.ts";
import { FrameWriter } from "../../src/proto/msgr2/frame_writer.ts";
import { Outbox } from "../../src/proto/msgr2/outbox.ts";
import { readAck, writeAck } from "../../src/wire/msgr2/ack.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { isSecure } from "../../src/wire/msgr2/frame.ts";
import {
  ClientIdent,
  readClientIdent,
  readServerIdent,
  ServerIdent,
  writeClientIdent,
  writeServerIdent,
} from "../../src/wire/msgr2/ident.ts";
import { Keepalive, readKeepalive, writeKeepalive } from "../../src/wire/msgr2/keepalive.ts";
import { MessageHeader, readMessageHeader } from "../../src/wire/msgr2/message.ts";
import { Nonce } from "../../src/wire/msgr2/nonce.ts";
import {
  readSessionReconnect,
  SessionReconnect,
  writeSessionReconnect,
} from "../../src/wire/msgr2/session.ts";
import { Tag } from "../../src/wire/msgr2/tag.ts";
import { FORMATS, KEY, NONCE } from "../wire/frame_model.ts";
import { Link } from "./link.ts";

const BYTES_MAX = 4;
/** Of a few batches: the first ones may also count what V8 needs to compile the path, up to 1 MB. */
const BATCHES_MAX = 6;
/** A page of V8: what one look at the heap adds at most. */
const LOOK_BYTES_MAX = 256 * 1024;
const FRAMES = 1_000_000;
/** Sealing, opening and copying large frames take their time. */
const FRAMES_SLOW = 240_000;
const FRAMES_LARGE = 40_000;
/** Messages of a round between two connections; the ACK of their batch is one more frame. */
const MESSAGES = 8;

/** Bytes ever allocated on the heap. */
function allocated(): number {
  const statistics = getHeapStatistics() as unknown as Record<string, number>;
  const bytes = statistics["total_allocated_bytes"]; // newer than the types of Deno
  assert.ok(bytes !== undefined && bytes > 0);
  return bytes;
}

/**
 * Holds heap bytes per frame under the limit; a call of `job` makes `each` frames. Returns how
 * many calls there were. Looking at the heap adds the rest of V8's allocation area each time: what
 * two looks in a row differ by is taken off.
 */
function checkHeap(frames: number, each: number, job: (round: number) => void): number {
  const rounds = Math.floor(frames / each);
  let least = Infinity;
  for (let batch = 1; batch <= BATCHES_MAX; batch++) {
    const before = allocated();
    for (let round = 0; round < rounds; round++) job(round);
    const after = allocated();
    const looking = Math.min(allocated() - after, LOOK_BYTES_MAX);
    least = Math.min(least, (after - before - looking) / (rounds * each));
    if (least < BYTES_MAX) return batch * rounds;
  }
  assert.fail(`${least} bytes of heap per frame`);
}

/** A writer and a reader of one format; the frame goes from the one's memory to the other's. */
class Wire {
  readonly writer: FrameWriter = new FrameWriter(0);
  readonly reader: FrameReader = new FrameReader(0);
  readonly outbox: Outbox = new Outbox(1 << 20);
  readonly at: number = take(16_384);
  failures = 0;

  constructor(format: number) {
    this.writer.setRevision(format & 1);
    this.reader.setRevision(format & 1);
    assert.ok(this.writer.open());
    if (!isSecure(format)) return;
    const maker = gcmMaker();
    assert.ok(this.writer.secure(maker.sealer(KEY), new Nonce(NONCE, format & 1)));
    this.reader.secure(maker.opener(KEY), new Nonce(NONCE, format & 1));
  }

  /** Carries what was written and reads it; returns where the first segment is. */
  carry(tag: number): number {
    const { gather } = this.writer;
    const { pieces } = gather;
    let end = this.at;
    for (let index = gather.first; index < gather.end; index++) {
      const from = pieces[index * 2]!;
      const length = pieces[index * 2 + 1]!;
      arena.bytes.copyWithin(end, from, from + length);
      end += length;
    }
    gather.sent(gather.bytes);
    if (this.reader.read(this.at, end, 1 << 20) !== end) this.failures++;
    if (this.reader.preamble.tag !== tag) this.failures++;
    return this.reader.parts.at[0]!;
  }

  close(): void {
    this.writer.close();
    this.reader.close();
    this.outbox.close();
    give(this.at);
  }
}

Deno.test.each(FORMATS)("$name: control frames", ({ format }) => {
  const wire = new Wire(format);
  const { writer } = wire;
  const stamp = new Keepalive();
  const clientIdent = new ClientIdent();
  const serverIdent = new ServerIdent();
  const reconnect = new SessionReconnect();
  for (const { addrs } of [clientIdent, serverIdent, reconnect]) {
    addrs.count = 2;
    addrs.addrs[0]!.copy(EntityAddr.parse("v2:192.0.2.7:3300/4000000000"));
    addrs.addrs[1]!.copy(EntityAddr.parse("v2:[2001:db8::7]:3300/9"));
  }
  clientIdent.target.copy(EntityAddr.parse("v2:127.0.0.1:6800/6733"));
  clientIdent.supported.setBigInt(0x3f01cfbdfffdffffn);
  checkHeap(isSecure(format) ? FRAMES_SLOW : FRAMES, 6, (round) => {
    writer.endControl(Tag.Ack, writeAck(arena, writer.beginControl(), round));
    let at = wire.carry(Tag.Ack);
    if (readAck(arena, at, at + 8) !== round) wire.failures++;
    stamp.seconds = 1_795_228_024 + round;
    stamp.nanoseconds = 999_999_999 - round;
    writer.endControl(Tag.Keepalive2, writeKeepalive(arena, writer.beginControl(), stamp));
    at = wire.carry(Tag.Keepalive2);
    if (readKeepalive(arena, at, at + 8, stamp) < 0) wire.failures++;
    if (stamp.seconds !== 1_795_228_024 + round) wire.failures++;
    writer.endControl(Tag.Keepalive2Ack, writeKeepalive(arena, writer.beginControl(), stamp));
    at = wire.carry(Tag.Keepalive2Ack);
    clientIdent.globalSeq = round;
    let end = writeClientIdent(arena, writer.beginControl(), clientIdent);
    writer.endControl(Tag.ClientIdent, end);
    at = wire.carry(Tag.ClientIdent);
    end = at + wire.reader.preamble.lengths[0]!;
    if (readClientIdent(arena, at, end, clientIdent) !== end) wire.failures++;
    end = writeServerIdent(arena, writer.beginControl(), serverIdent);
    writer.endControl(Tag.ServerIdent, end);
    at = wire.carry(Tag.ServerIdent);
    end = at + wire.reader.preamble.lengths[0]!;
    if (readServerIdent(arena, at, end, serverIdent) !== end) wire.failures++;
    reconnect.messageSeq = round;
    end = writeSessionReconnect(arena, writer.beginControl(), reconnect);
    writer.endControl(Tag.SessionReconnect, end);
    at = wire.carry(Tag.SessionReconnect);
    end = at + wire.reader.preamble.lengths[0]!;
    if (readSessionReconnect(arena, at, end, reconnect) !== end) wire.failures++;
    if (reconnect.messageSeq !== round || clientIdent.globalSeq !== round) wire.failures++;
  });
  assert.equal(wire.failures, 0);
  wire.close();
});

const SIZES = FORMATS.flatMap(({ format, name }) =>
  [0, 256, 4096].map((size) => ({ format, size, name }))
);

Deno.test.each(SIZES)("$name: messages of $size bytes", ({ format, size }) => {
  const wire = new Wire(format);
  const { outbox, writer, reader } = wire;
  const header = new MessageHeader();
  checkHeap(isSecure(format) || size > 256 ? FRAMES_SLOW : FRAMES, 1, (round) => {
    const seq = round + 1;
    const record = outbox.reserve(size, 0, 0);
    outbox.commit(record, 0xfa00, 127, 1, 1, round, -1);
    if (!writer.canMessage()) wire.failures++;
    writer.message(outbox.peek(), seq, round);
    outbox.moveToSent(record, seq);
    const at = wire.carry(Tag.Message);
    const end = at + reader.preamble.lengths[0]!;
    if (readMessageHeader(arena, at, end, 0, header) < 0) wire.failures++;
    if (header.seq !== seq || header.ackSeq !== round || header.tid.lo !== round) wire.failures++;
    if (reader.preamble.lengths[1] !== size || outbox.acknowledge(seq) !== 1) wire.failures++;
  });
  assert.equal(wire.failures, 0);
  wire.close();
});

/** A million frames of each format, and whatever takes another road. */
const PAIR_SIZES = FORMATS.flatMap(({ format, name }) => [
  { format, name, size: 0, frames: FRAMES_SLOW },
  { format, name, size: 64, frames: FRAMES },
  { format, name, size: 4096, frames: FRAMES_SLOW },
  { format, name, size: 65_536, frames: FRAMES_LARGE },
]);

Deno.test.each(PAIR_SIZES)(
  "$name: two connections, messages of $size bytes",
  ({ format, size, frames }) => {
    const link = new Link({ format });
    link.keeps = false;
    link.ready();
    const { session } = link;
    let failures = 0;
    const before = link.taken;
    const rounds = checkHeap(frames, MESSAGES + 1, (round) => {
      for (let index = 0; index < MESSAGES; index++) {
        const record = session.reserve(size, 0, 0);
        if (session.commit(record, 0xfa00, 127, 1, 1, round, 0) === 0) failures++;
      }
      while (link.turn());
      if (session.unacknowledged !== 0) failures++;
    });
    assert.equal(failures, 0);
    assert.equal(link.taken - before, rounds * MESSAGES);
    link.close();
  },
);
