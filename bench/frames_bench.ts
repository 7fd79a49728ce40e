/**
 * Frames per format and size (encode: a message from the outbox to what sendmsg() takes; decode:
 * from what was received to its checked segments), CRC-32C, and a message from one messenger to
 * another with its acknowledgement, all in memory.
 *
 * @module
 */
import { arena, take } from "../src/mem/arena.ts";
import { assert } from "../src/mem/assert.ts";
import { FRAME_BYTES_MAX } from "../src/mem/limits.ts";
import { U64 } from "../src/mem/u64.ts";
import { NodeCrypto } from "../src/io/crypto.ts";
import { gcmMaker } from "../src/io/libcrypto.ts";
import { crc32c, crc32cRaw } from "../src/wire/crc32c.ts";
import { EntityAddr } from "../src/wire/msgr2/entity_addr.ts";
import { FEATURES_REQUIRED, FEATURES_SUPPORTED } from "../src/wire/msgr2/features.ts";
import { FrameFormat, isSecure, revisionOf } from "../src/wire/msgr2/frame.ts";
import { EntityType } from "../src/wire/msgr2/hello.ts";
import { PRIORITY_DEFAULT } from "../src/wire/msgr2/message.ts";
import { Nonce } from "../src/wire/msgr2/nonce.ts";
import type { Connection } from "../src/proto/msgr2/connection.ts";
import { FrameReader } from "../src/proto/msgr2/frame_reader.ts";
import { FrameWriter } from "../src/proto/msgr2/frame_writer.ts";
import { Messenger, MESSENGER_DEFAULTS } from "../src/proto/msgr2/messenger.ts";
import { Outbox } from "../src/proto/msgr2/outbox.ts";
import { POLICIES, type Policy } from "../src/proto/msgr2/policy.ts";
import { authNone } from "../src/app/auth.ts";

const FORMATS = [
  { name: "msgr2.0-crc", format: FrameFormat.Crc20 },
  { name: "msgr2.1-crc", format: FrameFormat.Crc21 },
  { name: "msgr2.0-secure", format: FrameFormat.Secure20 },
  { name: "msgr2.1-secure", format: FrameFormat.Secure21 },
];
const SIZES = [0, 256, 4096, 65_536];
const CRC_SIZES = [28, 256, 4096, 65_536, 1_048_576];
const KEY = new Uint8Array(16).fill(0x5a);
const NONCE = new Uint8Array(12).fill(0xa5);
const TYPE = 0xfa00;

const aead = gcmMaker();

function sizeText(size: number): string {
  return size < 1024 ? `${size} B` : `${size / 1024} KiB`;
}

/** A writer in a format, with an outbox that feeds it. */
class Encoder {
  readonly writer: FrameWriter;
  readonly #outbox = new Outbox(FRAME_BYTES_MAX);
  readonly #size: number;
  #seq = 0;

  constructor(format: number, size: number) {
    this.#size = size;
    const revision = revisionOf(format);
    this.writer = new FrameWriter(revision);
    assert(this.writer.open(), "the arena has room");
    if (!isSecure(format)) return;
    assert(this.writer.secure(aead.sealer(KEY), new Nonce(NONCE, revision)), "room for sealing");
  }

  /** One message into the gather list; the payload's bytes are as they were. */
  encode(): void {
    const outbox = this.#outbox;
    const record = outbox.reserve(0, 0, this.#size);
    outbox.commit(record, TYPE, PRIORITY_DEFAULT, 1, 1, 0, 0);
    assert(this.writer.canMessage(), "the writer is idle");
    this.writer.message(record, ++this.#seq, 0);
    outbox.moveToSent(record, this.#seq);
  }

  /** Takes it as sent and acknowledged. */
  forget(): void {
    this.writer.gather.clear();
    this.#outbox.acknowledge(this.#seq);
  }
}

/** Copies what waits in a gather list to [at, limit); returns the offset after it. */
function copyGathered(writer: FrameWriter, at: number, limit: number): number {
  const { pieces, first, end, skip } = writer.gather;
  for (let index = first; index < end && at < limit; index++) {
    const done = index === first ? skip : 0;
    const from = pieces[index * 2]! + done;
    const count = Math.min(pieces[index * 2 + 1]! - done, limit - at);
    arena.bytes.copyWithin(at, from, from + count);
    at += count;
  }
  return at;
}

for (const size of SIZES) {
  for (const { name, format } of FORMATS) {
    const encoder = new Encoder(format, size);
    const options = { group: `encode ${sizeText(size)}`, baseline: format === FrameFormat.Crc20 };
    Deno.bench(`encode ${name}, ${sizeText(size)}`, options, () => {
      encoder.encode();
      encoder.forget();
    });
  }
}

for (const size of SIZES) {
  for (const { name, format } of FORMATS) {
    const encoder = new Encoder(format, size);
    const pristine = take(size + 4096);
    encoder.encode();
    const end = copyGathered(encoder.writer, pristine, pristine + size + 4096);
    encoder.forget();
    const reader = new FrameReader(revisionOf(format));
    const options = { group: `decode ${sizeText(size)}`, baseline: format === FrameFormat.Crc20 };
    if (!isSecure(format)) {
      Deno.bench(`decode ${name}, ${sizeText(size)}`, options, () => {
        assert(reader.read(pristine, end, FRAME_BYTES_MAX) === end, "the frame is whole");
      });
      continue;
    }
    // Opening replaces the bytes and steps the nonce: both are set back each time.
    const at = take(size + 4096);
    const opener = aead.opener(KEY);
    const after = at + end - pristine;
    Deno.bench(`decode ${name}, ${sizeText(size)}`, options, () => {
      arena.bytes.copyWithin(at, pristine, end);
      reader.secure(opener, new Nonce(NONCE, revisionOf(format)));
      assert(reader.read(at, after, FRAME_BYTES_MAX) === after, "the frame is whole");
    });
  }
}

const crcAt = take(CRC_SIZES.at(-1)!);
const table = new Int32Array(256).map((_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = (byte >>> 1) ^ (byte & 1 ? 0x82f63b78 : 0);
  return byte;
});

/** What there was before the kernel: a table, a byte at a time. */
function crcByTable(crc: number, at: number, end: number): number {
  const { bytes } = arena;
  for (let index = at; index < end; index++) {
    crc = table[(crc ^ bytes[index]!) & 255]! ^ (crc >>> 8);
  }
  return crc;
}

for (const size of CRC_SIZES) {
  const group = `crc32c ${sizeText(size)}`;
  Deno.bench(`a byte table, ${sizeText(size)}`, { group, baseline: true }, () => {
    crcByTable(-1, crcAt, crcAt + size);
  });
  Deno.bench(`crc32cRaw(), ${sizeText(size)}`, { group }, () => {
    crc32cRaw(-1, arena.bytes, crcAt, crcAt + size);
  });
  const view = arena.bytes.slice(crcAt, crcAt + size);
  Deno.bench(`crc32c() of another array, ${sizeText(size)}`, { group }, () => {
    crc32c(view);
  });
}

/** Two messengers with a wire of memory between them. */
class Pair {
  readonly client = newMessenger();
  readonly server = newMessenger();
  readonly session;
  readonly #near: Connection;
  readonly #far: Connection;

  constructor() {
    const address = EntityAddr.parse("v2:127.0.0.1:3300");
    this.server.addrs.count = 1;
    this.server.addrs.addrs[0]!.copy(address);
    this.session = this.client.connect(address, POLICIES.losslessClient, 0)!;
    this.#near = this.client.pollOpen(0)!;
    this.#far = this.server.accept(EntityAddr.parse("v2:127.0.0.1:40000"), address, 0)!;
    this.#near.handleConnected(0);
    this.#far.handleConnected(0);
    this.settle();
    assert(this.session.established, "the session stands");
  }

  /** Carries bytes until nobody has any, and takes over what arrives. */
  settle(): void {
    for (;;) {
      const there = this.#carry(this.client, this.#near, this.#far);
      const batch = this.server.takeBatch();
      if (batch !== null) this.server.done(batch, 0);
      const back = this.#carry(this.server, this.#far, this.#near);
      if (!there && !back && batch === null) return;
    }
  }

  #carry(messenger: Messenger, from: Connection, to: Connection): boolean {
    let moved = false;
    while (messenger.pollDirty() !== null) {
      while (from.pollTransmit(0)) {
        if (to.makeRoom() <= 0) { // full of messages that are not taken over yet
          messenger.markDirty(from);
          return true;
        }
        const count = copyGathered(from.writer, to.receiveAt, to.receiveEnd) - to.receiveAt;
        from.handleSent(count, 0);
        to.handleReceived(count, 0);
        moved = true;
      }
    }
    return moved;
  }
}

function newMessenger(): Messenger {
  return new Messenger({
    ...MESSENGER_DEFAULTS,
    entityType: EntityType.Client,
    gid: U64.of(-1),
    nonce: 1,
    features: { supported: FEATURES_SUPPORTED, required: FEATURES_REQUIRED },
    policyFor: (): Policy => POLICIES.statefulServer,
    auth: authNone("client.bench"),
    aead,
    crypto: new NodeCrypto(),
  });
}

for (const size of [256, 4096]) {
  const pair = new Pair();
  const message = { type: TYPE, data: new Uint8Array(size) };
  const group = `session ${sizeText(size)}`;
  Deno.bench(`message and its ACK, ${sizeText(size)}`, { group, baseline: true }, () => {
    pair.session.send(message);
    pair.settle();
    assert(pair.session.unacknowledged === 0, "it is acknowledged");
  });
  Deno.bench(`32 messages and their ACK, ${sizeText(size)}`, { group }, () => {
    for (let count = 0; count < 32; count++) pair.session.send(message);
    pair.settle();
    assert(pair.session.unacknowledged === 0, "they are acknowledged");
  });
}
