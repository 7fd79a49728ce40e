/**
 * A peer made by hand against one end of the session machine: it says what a test wants, byte by
 * byte or frame by frame (msgr2.1-crc), and keeps what the machine answered.
 *
 * @module
 */
import { arena } from "../../src/mem/arena.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { U64 } from "../../src/mem/u64.ts";
import { type Connection, Phase } from "../../src/proto/msgr2/connection.ts";
import { AuthMode, encodeIdentity } from "../../src/wire/cephx/entity_name.ts";
import { writeAck } from "../../src/wire/msgr2/ack.ts";
import {
  AuthDone,
  AuthMethod,
  AuthRequest,
  ConMode,
  writeAuthDone,
  writeAuthRequest,
} from "../../src/wire/msgr2/auth.ts";
import { Banner, BANNER_SIZE, writeBanner } from "../../src/wire/msgr2/banner.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { FEATURES_REQUIRED, FEATURES_SUPPORTED } from "../../src/wire/msgr2/features.ts";
import {
  finishControlCrc,
  finishMessageHead,
  frameBytes,
  FrameFormat,
  segmentCrc,
  writeMessageEpilogue,
} from "../../src/wire/msgr2/frame.ts";
import { EntityType, Hello, writeHello } from "../../src/wire/msgr2/hello.ts";
import {
  ClientIdent,
  CONNECT_LOSSY,
  ServerIdent,
  writeClientIdent,
  writeServerIdent,
} from "../../src/wire/msgr2/ident.ts";
import { MESSAGE_HEADER_SIZE, writeMessageHeader } from "../../src/wire/msgr2/message.ts";
import { Preamble, PREAMBLE_SIZE, readPreamble } from "../../src/wire/msgr2/preamble.ts";
import { SessionReconnect, writeSessionReconnect } from "../../src/wire/msgr2/session.ts";
import { Tag, tagName } from "../../src/wire/msgr2/tag.ts";
import type { Node } from "./pair.ts";

const FORMAT = FrameFormat.Crc21;
const ROOM = 4096;

/** A frame the machine sent. */
export interface Answer {
  readonly tag: string;
  /** Segment 0 starts at 0. */
  readonly payload: Region;
  /** Bytes of segment 0. */
  readonly length: number;
}

/** What of an ident differs from a good one. */
export interface IdentChange {
  readonly address?: string;
  readonly target?: EntityAddr;
  readonly gid?: U64;
  readonly globalSeq?: number;
  readonly supported?: U64;
  readonly required?: U64;
  readonly lossy?: boolean;
  readonly cookie?: U64;
  readonly noAddress?: boolean;
}

/** A frame of one segment in msgr2.1-crc. */
export function controlFrame(
  tag: number,
  write: (out: Region, at: number) => number = (_out, at) => at,
): Uint8Array<ArrayBuffer> {
  const region = newRegion(ROOM);
  const end = finishControlCrc(FORMAT, region, 0, tag, write(region, PREAMBLE_SIZE));
  return region.bytes.slice(0, end);
}

/** A MESSAGE with a front of `front` bytes in msgr2.1-crc. */
export function messageFrame(
  seq: number,
  front: Uint8Array,
  { ackSeq = 0, aborted = false }: { ackSeq?: number; aborted?: boolean } = {},
): Uint8Array<ArrayBuffer> {
  const region = newRegion(ROOM + front.length);
  const { length } = front;
  writeMessageHeader(region, PREAMBLE_SIZE, seq, 0, 0, 0xfa00, 127, 1, 1, 0, ackSeq);
  const head = MESSAGE_HEADER_SIZE;
  const at = finishMessageHead(FORMAT, region, 0, Tag.Message, head, length, 0, 0);
  region.bytes.set(front, at);
  const crc = segmentCrc(region, at, at + length);
  const end = writeMessageEpilogue(
    FORMAT,
    region,
    at + length,
    0,
    length,
    crc,
    0,
    0,
    0,
    0,
    aborted,
  );
  return region.bytes.slice(0, end);
}

/** The other end of one connection of a node. */
export class RawPeer {
  readonly connection: Connection;
  /** Frames that were received, in order. */
  readonly answers: Answer[] = [];
  #received = new Uint8Array(0);
  readonly #node: Node;

  private constructor(node: Node, connection: Connection) {
    this.#node = node;
    this.connection = connection;
    connection.handleConnected(node.net.now);
    this.collect();
  }

  /** Connects to a node that listens; null when it refuses. */
  static client(node: Node, from = "v2:10.9.9.9:4000"): RawPeer | null {
    const peer = EntityAddr.parse(from);
    const connection = node.messenger.accept(peer, node.address!, node.net.now);
    return connection === null ? null : new RawPeer(node, connection);
  }

  /** Accepts what a node opens. */
  static server(node: Node): RawPeer | null {
    const connection = node.messenger.pollOpen(node.net.now);
    return connection === null ? null : new RawPeer(node, connection);
  }

  /** Tags of the frames received. */
  get tags(): string[] {
    return this.answers.map(({ tag }) => tag);
  }

  /** The last frame received. */
  get last(): Answer | undefined {
    return this.answers.at(-1);
  }

  /** True once the machine has closed, or is about to. */
  get closed(): boolean {
    return this.connection.phase >= Phase.Draining;
  }

  /** Bytes as they are; returns how many the machine took. */
  bytes(bytes: Uint8Array): number {
    const { connection } = this;
    const { now } = this.#node.net;
    let at = 0;
    while (at < bytes.length && connection.phase < Phase.Draining) {
      const room = connection.stalled ? 0 : connection.makeRoom();
      const count = Math.min(room, bytes.length - at);
      if (count === 0) break;
      arena.bytes.set(bytes.subarray(at, at + count), connection.receiveAt);
      connection.handleReceived(count, now);
      at += count;
    }
    return at;
  }

  /** Bytes, and then the answers to them. */
  say(...frames: Uint8Array[]): this {
    for (const frame of frames) this.bytes(frame);
    this.#node.net.settle();
    this.collect();
    return this;
  }

  /** Takes what the machine has to send. */
  collect(): void {
    const { connection } = this;
    const { now } = this.#node.net;
    while (connection.phase !== Phase.Closed && connection.pollTransmit(now)) {
      const { pieces, first, end, skip } = connection.writer.gather;
      let count = 0;
      for (let index = first; index < end; index++) {
        const at = pieces[index * 2]! + (index === first ? skip : 0);
        const after = pieces[index * 2]! + pieces[index * 2 + 1]!;
        this.#append(arena.bytes.subarray(at, after));
        count += after - at;
      }
      connection.handleSent(count, now);
    }
    this.#parse();
  }

  #append(bytes: Uint8Array): void {
    const joined = new Uint8Array(this.#received.length + bytes.length);
    joined.set(this.#received);
    joined.set(bytes, this.#received.length);
    this.#received = joined;
  }

  #parse(): void {
    const preamble = new Preamble();
    for (;;) {
      const bytes = this.#received;
      if (bytes.length < BANNER_SIZE) return;
      if (bytes[0] === 0x63) {
        this.answers.push({ tag: "BANNER", payload: regionOf(bytes), length: BANNER_SIZE });
        this.#received = bytes.slice(BANNER_SIZE);
        continue;
      }
      if (readPreamble(regionOf(bytes), 0, bytes.length, preamble, Infinity) < 0) return;
      const { lengths } = preamble;
      const size = frameBytes(FORMAT, lengths[0]!, lengths[1]!, lengths[2]!, lengths[3]!);
      if (bytes.length < size) return;
      const payload = regionOf(bytes.slice(PREAMBLE_SIZE, size));
      this.answers.push({ tag: tagName(preamble.tag), payload, length: lengths[0]! });
      this.#received = bytes.slice(size);
    }
  }

  /** Bytes of a banner; msgr2.1 without compression unless told otherwise. */
  static banner(supported = U64.of(1), required = U64.of(0)): Uint8Array {
    const banner = new Banner();
    banner.supported.copy(supported);
    banner.required.copy(required);
    const region = newRegion(BANNER_SIZE);
    writeBanner(region, 0, banner);
    return region.bytes;
  }

  /** HELLO. */
  static hello(entityType: number = EntityType.Client): Uint8Array {
    const hello = new Hello();
    hello.entityType = entityType;
    hello.peerAddr.copy(EntityAddr.parse("v2:10.0.1.1:3300"));
    return controlFrame(Tag.Hello, (out, at) => writeHello(out, at, hello));
  }

  /** AUTH_REQUEST. */
  static authRequest(
    method: number = AuthMethod.None,
    modes: readonly number[] = [ConMode.Crc],
    payload: Uint8Array = IDENTITY,
  ): Uint8Array {
    const request = new AuthRequest();
    request.method = method;
    request.modeCount = modes.length;
    modes.forEach((mode, index) => request.modes[index] = mode);
    request.payload = payload;
    return controlFrame(Tag.AuthRequest, (out, at) => writeAuthRequest(out, at, request));
  }

  /** AUTH_DONE. */
  static authDone(): Uint8Array {
    const done = new AuthDone();
    done.globalId.set(4711, 0);
    done.mode = ConMode.Crc;
    return controlFrame(Tag.AuthDone, (out, at) => writeAuthDone(out, at, done));
  }

  /** AUTH_SIGNATURE of method none: zeros. */
  static signature(first = 0): Uint8Array {
    return controlFrame(Tag.AuthSignature, (out, at) => {
      out.bytes[at] = first;
      return at + 32;
    });
  }

  /** CLIENT_IDENT. */
  clientIdent(change: IdentChange = {}): Uint8Array {
    const ident = new ClientIdent();
    fillIdent(ident, change);
    ident.target.copy(change.target ?? this.#node.address!);
    return controlFrame(Tag.ClientIdent, (out, at) => writeClientIdent(out, at, ident));
  }

  /** SERVER_IDENT; its address is the one that was dialled. */
  serverIdent(change: IdentChange = {}): Uint8Array {
    const ident = new ServerIdent();
    fillIdent(ident, { address: `${this.connection.peer}`, ...change });
    return controlFrame(Tag.ServerIdent, (out, at) => writeServerIdent(out, at, ident));
  }

  /** RECONNECT. */
  static reconnect(change: Partial<SessionReconnect> & { address?: string } = {}): Uint8Array {
    const reconnect = new SessionReconnect();
    reconnect.addrs.add(EntityAddr.parse(change.address ?? CLIENT_ADDRESS));
    if (change.clientCookie !== undefined) reconnect.clientCookie.copy(change.clientCookie);
    if (change.serverCookie !== undefined) reconnect.serverCookie.copy(change.serverCookie);
    reconnect.globalSeq = change.globalSeq ?? 1;
    reconnect.connectSeq = change.connectSeq ?? 1;
    reconnect.messageSeq = change.messageSeq ?? 0;
    return controlFrame(
      Tag.SessionReconnect,
      (out, at) => writeSessionReconnect(out, at, reconnect),
    );
  }

  /** ACK. */
  static ack(seq: number): Uint8Array {
    return controlFrame(Tag.Ack, (out, at) => writeAck(out, at, seq));
  }

  /** Everything up to (and without) the ident, as a client. */
  authenticate(entityType: number = EntityType.Client): this {
    return this.say(
      RawPeer.banner(),
      RawPeer.hello(entityType),
      RawPeer.authRequest(),
      RawPeer.signature(),
    );
  }

  /** A whole session, as a client. */
  establish(change: IdentChange = {}): this {
    return this.authenticate().say(this.clientIdent(change));
  }

  /** A whole session, as a server. */
  welcome(change: IdentChange = {}): this {
    return this.say(
      RawPeer.banner(),
      RawPeer.hello(EntityType.Osd),
      RawPeer.authDone(),
      RawPeer.signature(),
    ).say(this.serverIdent(change));
  }
}

const CLIENT_ADDRESS = "any:10.9.9.9:0/77";
const IDENTITY: Uint8Array = encodeIdentity({
  mode: AuthMode.Mon,
  name: { type: EntityType.Client, id: "raw" },
  globalId: new U64(),
});

function fillIdent(ident: ServerIdent, change: IdentChange): void {
  if (!change.noAddress) ident.addrs.add(EntityAddr.parse(change.address ?? CLIENT_ADDRESS));
  ident.gid.copy(change.gid ?? U64.of(-1));
  ident.globalSeq = change.globalSeq ?? 1;
  ident.supported.copy(change.supported ?? FEATURES_SUPPORTED);
  ident.required.copy(change.required ?? FEATURES_REQUIRED);
  ident.flags.set(change.lossy === true ? CONNECT_LOSSY : 0, 0);
  ident.cookie.copy(change.cookie ?? (change.lossy === true ? new U64() : U64.of(0xc00c1e)));
}
