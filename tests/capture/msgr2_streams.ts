/**
 * Byte streams of msgr2 connections for tests of what reads captures: recorded between two
 * messengers, or put together frame by frame from the model of tests/wire/frame_model.ts; and a
 * feeder that gives them to a conversation's decoders as the stream finder does, piece by piece,
 * with holes, and writes down what they tell.
 *
 * @module
 */
import assert from "node:assert/strict";
import { authCephx } from "../../src/app/auth.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { gcmMaker } from "../../src/io/libcrypto.ts";
import { arena, give, take } from "../../src/mem/arena.ts";
import { newRegion, type Region } from "../../src/mem/region.ts";
import { type Found, type FoundBy, Moment, type Side } from "../../src/proto/boundary/found.ts";
import { KeyChest } from "../../src/proto/boundary/key_chest.ts";
import {
  Msgr2Conversation,
  type Msgr2Shared,
} from "../../src/proto/boundary/msgr2_conversation.ts";
import { Msgr2Sessions } from "../../src/proto/boundary/msgr2_sessions.ts";
import {
  Means,
  type SideContext,
  type UrgentStarts,
} from "../../src/proto/boundary/side_decoder.ts";
import { Conversation } from "../../src/proto/capture/conversation.ts";
import type { AuthOptions } from "../../src/proto/msgr2/messenger.ts";
import { Connection } from "../../src/proto/msgr2/connection.ts";
import { generateKey, KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { Banner, BANNER_SIZE, writeBanner } from "../../src/wire/msgr2/banner.ts";
import { writeMonSubscribe } from "../../src/wire/ceph/mon.ts";
import { writeAck } from "../../src/wire/msgr2/ack.ts";
import {
  AuthBadMethod,
  AuthDone,
  AuthMethod,
  AuthMore,
  AuthRequest,
  ConMode,
  writeAuthBadMethod,
  writeAuthDone,
  writeAuthMore,
  writeAuthRequest,
} from "../../src/wire/msgr2/auth.ts";
import {
  CompressionDone,
  CompressionMethod,
  CompressionRequest,
  writeCompressionDone,
  writeCompressionRequest,
} from "../../src/wire/msgr2/compression.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { EntityType, Hello, parseEntityName, writeHello } from "../../src/wire/msgr2/hello.ts";
import {
  ClientIdent,
  IdentMissingFeatures,
  ServerIdent,
  writeClientIdent,
  writeIdentMissingFeatures,
  writeServerIdent,
} from "../../src/wire/msgr2/ident.ts";
import { Keepalive, writeKeepalive } from "../../src/wire/msgr2/keepalive.ts";
import {
  SessionReconnect,
  writeSessionReconnect,
  writeSessionReset,
} from "../../src/wire/msgr2/session.ts";
import { MESSAGE_HEADER_SIZE, writeMessageHeader } from "../../src/wire/msgr2/message.ts";
import { Tag, tagName } from "../../src/wire/msgr2/tag.ts";
import { type Bytes, modelFrame, pattern, type PlainFrame } from "../wire/frame_model.ts";

/** What a side sent in one go. */
export interface Sent {
  /** Connection, from 0. */
  readonly connection: number;
  readonly side: Side;
  readonly bytes: Bytes;
}

/** A message as the one who wrote the stream knows it. */
export interface Placed {
  readonly tag: string;
  readonly offset: number;
  readonly length: number;
}

/** A message as it was told. */
export interface Told extends Placed {
  readonly side: Side;
  readonly type: string;
  readonly missing: number;
  readonly foundBy: FoundBy;
  readonly revision: string;
  readonly mode: string;
  readonly session: number;
  readonly answers: string;
  readonly latencyNs: number;
  readonly errors: readonly string[];
  readonly fields: Record<string, unknown>;
  /** The bytes it was said to lie at; empty when it was not kept. */
  readonly bytes: Bytes;
}

/** Runs `job` and writes down every byte that a connection of `client` or another end receives. */
export function record(isClient: (connection: Connection) => boolean, job: () => void): Sent[] {
  const sent: Sent[] = [];
  const known: [Connection[], Connection[]] = [[], []];
  const original = Connection.prototype.handleReceived;
  Connection.prototype.handleReceived = function (count: number, nowMs: number): void {
    const receives: Side = isClient(this) ? 0 : 1;
    const list = known[receives];
    if (!list.includes(this)) list.push(this);
    const bytes = arena.bytes.slice(this.receiveAt, this.receiveAt + count);
    sent.push({ connection: list.indexOf(this), side: receives === 0 ? 1 : 0, bytes });
    original.call(this, count, nowMs);
  };
  try {
    job();
  } finally {
    Connection.prototype.handleReceived = original;
  }
  return sent;
}

/** A keyring for both ends of a recorded connection, and the cephx made of it. */
export function cephxEnds(mode: "crc" | "secure"): { keyring: Keyring; auth: AuthOptions } {
  const keyring = new Keyring();
  const crypto = new NodeCrypto();
  for (const name of ["client.gw1", "mon."]) {
    const key = generateKey(crypto, KeyType.Aes, 0);
    keyring.set({ name: parseEntityName(name), key });
  }
  return { keyring, auth: authCephx("client.gw1", keyring, [mode]) };
}

/** What conversations of a capture share, with the keys of a keyring or without. */
export function sharedBy(keyring: Keyring | null): Msgr2Shared {
  return {
    sessions: new Msgr2Sessions(),
    chest: keyring === null ? null : new KeyChest(new NodeCrypto(), keyring),
    maker: gcmMaker(),
  };
}

/** All bytes of one side of one connection. */
export function streamOf(sent: readonly Sent[], connection: number, side: Side): Bytes {
  return joined(
    sent.filter((it) => it.connection === connection && it.side === side).map((it) => it.bytes),
  );
}

/** A stream of frames that is written by hand. */
export class StreamWriter {
  readonly placed: Placed[] = [];
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  /** Frames in one of FrameFormat's two crc formats. */
  constructor(readonly format: number) {}

  get length(): number {
    return this.#length;
  }

  get bytes(): Bytes {
    return joined(this.#parts);
  }

  banner(features = 1): this {
    const banner = new Banner();
    banner.supported.set(features, 0);
    const out = newRegion(BANNER_SIZE);
    writeBanner(out, 0, banner);
    return this.#add("BANNER", out.bytes);
  }

  frame(frame: PlainFrame): this {
    return this.#add(tagName(frame.tag), modelFrame(this.format, frame, null));
  }

  /** A control frame whose payload `write` puts at offset 0 of a region and returns the end of. */
  control(tag: number, write: (out: Region) => number = () => 0): this {
    const out = newRegion(1024);
    return this.frame({ tag, segments: [out.bytes.slice(0, write(out))] });
  }

  message(options: MessageOptions): this {
    return this.frame(messageFrame(options));
  }

  /** Bytes that are no frame. */
  raw(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    this.#length += bytes.length;
    return this;
  }

  #add(tag: string, bytes: Uint8Array): this {
    this.placed.push({ tag, offset: this.#length, length: bytes.length });
    return this.raw(bytes);
  }
}

/** A message that is written by hand. */
export interface MessageOptions {
  readonly seq: number;
  readonly tid?: number;
  readonly type?: number;
  readonly front?: Bytes;
  readonly middle?: Bytes;
  readonly data?: Bytes;
  readonly aborted?: boolean;
  readonly late?: number;
}

/** A MSG frame in the clear. */
export function messageFrame(options: MessageOptions): PlainFrame {
  const header = newRegion(MESSAGE_HEADER_SIZE);
  const { seq, tid = 0, type = 0xfa00 } = options;
  writeMessageHeader(header, 0, seq, tid, 0, type, 127, 3, 2, 0, 0);
  const none = new Uint8Array(0);
  const { front = none, middle = none, data = none } = options;
  return {
    tag: Tag.Message,
    segments: [header.bytes, front, middle, data],
    ...(options.aborted === undefined ? {} : { aborted: options.aborted }),
    ...(options.late === undefined ? {} : { late: options.late }),
  };
}

/** What a feeder is made with. */
export interface FeederOptions {
  readonly means?: number;
  readonly keepsBytes?: boolean;
  readonly fromStart?: boolean;
  readonly number?: number;
  readonly shared?: Msgr2Shared;
  /** Starts that pointers name, for both sides. */
  readonly urgent?: UrgentStarts;
}

/** How much the feeder's window may hold. */
const BLOCK_BYTES: number = 32 * 1024 * 1024;

/** Gives streams to the decoders of one conversation as the finder does. */
export class Feeder {
  readonly told: Told[] = [];
  readonly conversation: Conversation;
  readonly decoder: Msgr2Conversation;
  /** The most that had to be kept to be given again. */
  keptMax = 0;
  timeNs = 0;
  readonly #block: number = take(BLOCK_BYTES);
  readonly #lanes: [LaneState, LaneState];

  constructor(options: FeederOptions = {}) {
    const { fromStart = true, number = 1, shared = sharedBy(null) } = options;
    this.conversation = new Conversation(number, ["10.0.0.1:5000", "10.0.0.9:3300"], [5000, 3300]);
    this.conversation.fromStart.fill(fromStart);
    const context = (side: Side): SideContext => ({
      conversation: this.conversation,
      side,
      means: options.means ?? Means.All,
      keepsBytes: options.keepsBytes ?? false,
      urgent: options.urgent ?? { names: () => false },
      first: this.#lanes[side].first,
      last: this.#lanes[side].last,
      tell: (found) => this.#tell(found),
    });
    const lane = (): LaneState => ({
      first: new Moment(),
      last: new Moment(),
      window: new Uint8Array(0),
      start: 0,
      reached: 0,
      wanted: 0,
      told: 0,
    });
    this.#lanes = [lane(), lane()];
    this.decoder = new Msgr2Conversation([context(0), context(1)], shared);
  }

  /** The next bytes of a side, as one segment. */
  feed(side: Side, bytes: Bytes): void {
    const lane = this.#lanes[side];
    this.timeNs += 1000;
    lane.last.timeNs = this.timeNs;
    lane.last.packet++;
    lane.reached += bytes.length;
    if (lane.wanted >= lane.reached) return;
    if (lane.window.length === 0) {
      lane.first.copy(lane.last);
      lane.start = lane.reached - bytes.length;
    }
    const whole = lane.window.length === 0 ? bytes : joined([lane.window, bytes]);
    const from = Math.max(lane.wanted, lane.start);
    const given = whole.subarray(from - lane.start);
    const at = this.#block + from % 7;
    arena.bytes.set(given, at);
    const wanted = this.decoder.sides[side].handleBytes(at, at + given.length, from);
    assert.ok(wanted >= from, `bytes from ${wanted} on are wanted, of ${from} and on`);
    arena.bytes.fill(0xa5, at, at + given.length);
    lane.window = wanted >= lane.reached ? new Uint8Array(0) : whole.slice(wanted - lane.start);
    if (wanted > lane.start) lane.first.copy(lane.last);
    lane.start = wanted;
    lane.wanted = wanted;
    this.keptMax = Math.max(this.keptMax, lane.window.length);
  }

  /** Bytes of a side that never come. */
  hole(side: Side, length: number): void {
    const lane = this.#lanes[side];
    lane.window = new Uint8Array(0);
    lane.wanted = this.decoder.sides[side].handleHole(lane.reached, length);
    lane.reached += length;
    assert.ok(lane.wanted >= lane.reached, "bytes of a hole are not wanted");
  }

  /** A whole stream in pieces of `pieceBytes`, without what `holes` (offset, length) takes out. */
  feedAll(
    side: Side,
    stream: Bytes,
    pieceBytes: number = stream.length,
    holes: readonly (readonly [number, number])[] = [],
  ): void {
    let at = 0;
    for (const [offset, length] of [...holes, [stream.length, 0] as const]) {
      for (; at < offset; at = Math.min(offset, at + pieceBytes)) {
        this.feed(side, stream.subarray(at, Math.min(offset, at + pieceBytes)));
      }
      if (length > 0) this.hole(side, length);
      at = offset + length;
    }
  }

  /** Plays what was recorded of one connection. */
  play(sent: readonly Sent[], connection: number): void {
    for (const it of sent) if (it.connection === connection) this.feed(it.side, it.bytes);
  }

  /** Ends both sides and gives the memory back. */
  end(): Told[] {
    for (const side of [0, 1] as const) {
      this.decoder.sides[side].handleEnd(this.#lanes[side].reached);
    }
    return this.close();
  }

  close(): Told[] {
    for (const side of this.decoder.sides) side.close();
    give(this.#block);
    return this.told;
  }

  #tell(found: Found): void {
    const lane = this.#lanes[found.side];
    assert.ok(found.offset >= lane.told, `offsets grow: ${found.offset} after ${lane.told}`);
    lane.told = found.offset + found.length;
    assert.equal(found.protocol, "msgr2");
    const { side, tag, type, offset, length, missing, foundBy, revision, mode } = found;
    const { session, answers, latencyNs } = found;
    assert.ok(found.begin.timeNs <= found.finish.timeNs);
    this.told.push({
      side,
      tag,
      type,
      offset,
      length,
      missing,
      foundBy,
      revision,
      mode,
      session,
      answers,
      latencyNs,
      errors: [...found.errors],
      fields: found.describe(),
      bytes: arena.bytes.slice(found.at, found.end),
    });
  }
}

interface LaneState {
  readonly first: Moment;
  readonly last: Moment;
  window: Bytes;
  start: number;
  reached: number;
  wanted: number;
  told: number;
}

/** What was told, as far as the writer of a stream knows it. */
export function placesOf(told: readonly Told[], side: Side): Placed[] {
  return told.filter((it) => it.side === side)
    .map(({ tag, offset, length }) => ({ tag, offset, length }));
}

/** Bytes one after the other. */
export function joined(parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A stream with a frame of every tag, and messages of all shapes; not what a real side would say. */
export function everyTag(format: number, banner = true): StreamWriter {
  const out = new StreamWriter(format);
  if (banner) out.banner(format & 1);
  const address = EntityAddr.parse("v2:192.0.2.7:3300/4000000000");
  const hello = new Hello();
  hello.entityType = EntityType.Mon;
  hello.peerAddr.copy(address);
  const request = new AuthRequest();
  request.method = AuthMethod.Cephx;
  request.modeCount = 2;
  request.modes.set([ConMode.Secure, ConMode.Crc]);
  request.payload = SECRET;
  const bad = new AuthBadMethod();
  bad.method = AuthMethod.None;
  bad.result = -95;
  bad.methodCount = 1;
  bad.methods[0] = AuthMethod.Cephx;
  const more = new AuthMore();
  more.payload = SECRET;
  const done = new AuthDone();
  done.globalId.setBigInt(4107n);
  done.mode = ConMode.Crc;
  const client = new ClientIdent();
  client.addrs.count = 1;
  client.addrs.addrs[0]!.copy(address);
  client.target.copy(address);
  client.gid.setBigInt(2n ** 64n - 1n);
  client.globalSeq = 3;
  client.supported.setBigInt(0x3f01cfbdfffdffffn);
  client.cookie.setBigInt(77n);
  const server = new ServerIdent();
  server.addrs.count = 1;
  server.addrs.addrs[0]!.copy(address);
  server.cookie.setBigInt(78n);
  const missing = new IdentMissingFeatures();
  missing.features.setBigInt(1n << 59n);
  const reconnect = new SessionReconnect();
  reconnect.clientCookie.setBigInt(77n);
  reconnect.serverCookie.setBigInt(78n);
  reconnect.connectSeq = 5;
  reconnect.messageSeq = 6;
  const stamp = new Keepalive();
  stamp.seconds = 1_700_000_000;
  stamp.nanoseconds = 42;
  const compress = new CompressionRequest();
  compress.enabled = true;
  compress.methodCount = 1;
  compress.methods[0] = CompressionMethod.Zstd;
  return out
    .control(Tag.Hello, (to) => writeHello(to, 0, hello))
    .control(Tag.AuthRequest, (to) => writeAuthRequest(to, 0, request))
    .control(Tag.AuthBadMethod, (to) => writeAuthBadMethod(to, 0, bad))
    .control(Tag.AuthReplyMore, (to) => writeAuthMore(to, 0, more))
    .control(Tag.AuthRequestMore, (to) => writeAuthMore(to, 0, more))
    .control(Tag.AuthDone, (to) => writeAuthDone(to, 0, done))
    .control(Tag.AuthSignature, () => 32)
    .control(Tag.CompressionRequest, (to) => writeCompressionRequest(to, 0, compress))
    .control(Tag.CompressionDone, (to) => writeCompressionDone(to, 0, new CompressionDone()))
    .control(Tag.ClientIdent, (to) => writeClientIdent(to, 0, client))
    .control(Tag.Wait)
    .control(Tag.ServerIdent, (to) => writeServerIdent(to, 0, server))
    .control(Tag.IdentMissingFeatures, (to) => writeIdentMissingFeatures(to, 0, missing))
    .control(Tag.SessionReconnect, (to) => writeSessionReconnect(to, 0, reconnect))
    .control(Tag.SessionReconnectOk, (to) => writeAck(to, 0, 9))
    .message({ seq: 1, tid: 7 })
    .message({ seq: 2, front: pattern(150, 1) })
    .message({ seq: 3, data: pattern(300, 2) })
    .message({ seq: 4, front: pattern(33, 3), middle: pattern(50, 4), data: pattern(90, 5) })
    .message({ seq: 5, front: new Uint8Array(60), data: new Uint8Array(100), aborted: true })
    .message({ seq: 6, type: 15, front: writeMonSubscribe(WANTED, "box") as Bytes })
    .control(Tag.Keepalive2, (to) => writeKeepalive(to, 0, stamp))
    .control(Tag.Keepalive2Ack, (to) => writeKeepalive(to, 0, stamp))
    .control(Tag.Ack, (to) => writeAck(to, 0, 4))
    .control(Tag.SessionRetry, (to) => writeAck(to, 0, 11))
    .control(Tag.SessionRetryGlobal, (to) => writeAck(to, 0, 12))
    .control(Tag.SessionReset, (to) => writeSessionReset(to, 0, { full: true }))
    .control(Tag.Close);
}

/** Bytes that must never be told. */
export const SECRET: Bytes = new TextEncoder().encode("do-not-tell-this-secret-payload");

const WANTED = [{ what: "monmap", start: 3, once: true }];
