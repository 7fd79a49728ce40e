/**
 * Two messengers and the bytes between them, moved arena to arena without an allocation: for
 * tests that count bytes, operations or heap. Connections are made as often as one is wanted;
 * nothing is watched. For scenarios see pair.ts.
 *
 * @module
 */
import assert from "node:assert/strict";
import { authCephx, authNone } from "../../src/app/auth.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { gcmMaker } from "../../src/io/libcrypto.ts";
import { arena } from "../../src/mem/arena.ts";
import { U64 } from "../../src/mem/u64.ts";
import { type Connection, Phase } from "../../src/proto/msgr2/connection.ts";
import {
  Messenger,
  MESSENGER_DEFAULTS,
  type MessengerOptions,
} from "../../src/proto/msgr2/messenger.ts";
import { POLICIES, type Policy } from "../../src/proto/msgr2/policy.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { generateKey, KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { FEATURES_REQUIRED, FEATURES_SUPPORTED } from "../../src/wire/msgr2/features.ts";
import { FrameFormat } from "../../src/wire/msgr2/frame.ts";
import { EntityType, parseEntityName } from "../../src/wire/msgr2/hello.ts";

const CLIENT = "client.gw1";
const SERVER = "mon.";
const SERVER_ADDRESS = "v2:10.0.0.9:3300/0";
const CLIENT_ADDRESS = "v2:10.0.0.1:5000/0";

/** More bytes than ever wait; a small integer, as Infinity would be boxed. */
const ANY = 0x3fffffff;

/** What of a link a test chooses. */
export interface LinkOptions {
  readonly format: number;
  readonly clientPolicy?: Policy;
  readonly serverPolicy?: Policy;
  /** For both ends. */
  readonly options?: Partial<MessengerOptions>;
}

/** A client, a server, and the connection between them. */
export class Link {
  readonly client: Messenger;
  readonly server: Messenger;
  /** The session, at the client's end. */
  readonly session: Session;
  now = 1000;
  /** What the server's application has taken over, as texts, when it is asked to keep them. */
  readonly received: string[] = [];
  /** False: batches of the server are done without being looked at. */
  keeps = true;
  /** Messages the server has taken over. */
  taken = 0;
  /** Connections made. */
  connections = 0;
  /** Where the next byte that client to server carries is lost with the connection; -1: nowhere. */
  cutAfter = -1;
  #near: Connection | null = null;
  #far: Connection | null = null;

  constructor({ format, clientPolicy, serverPolicy, options }: LinkOptions) {
    const secure = format >= FrameFormat.Secure20;
    const keyring = new Keyring();
    const crypto = new NodeCrypto();
    for (const name of [CLIENT, SERVER]) {
      const key = generateKey(crypto, KeyType.Aes, 0);
      keyring.set({ name: parseEntityName(name), key });
    }
    const make = (name: string, entityType: number): Messenger =>
      new Messenger({
        ...MESSENGER_DEFAULTS,
        entityType,
        gid: U64.of(-1),
        nonce: 7,
        features: { supported: FEATURES_SUPPORTED, required: FEATURES_REQUIRED },
        revision1: (format & 1) === 1,
        policyFor: (): Policy => serverPolicy ?? POLICIES.statefulServer,
        auth: secure ? authCephx(name, keyring, ["secure"]) : authNone(name),
        aead: gcmMaker(),
        crypto,
        ...options,
      });
    this.client = make(CLIENT, EntityType.Client);
    this.server = make(SERVER, EntityType.Mon);
    this.server.addrs.addrs[0]!.copy(EntityAddr.parse(SERVER_ADDRESS));
    this.server.addrs.count = 1;
    const target = EntityAddr.parse(SERVER_ADDRESS);
    this.session = this.client.connect(target, clientPolicy ?? POLICIES.losslessClient, this.now)!;
  }

  /** The client's connection. */
  get near(): Connection {
    return this.#near!;
  }

  /** The server's connection. */
  get far(): Connection {
    return this.#far!;
  }

  /** The server's end of the session. */
  get serverSession(): Session {
    return [...this.server.sessions.values()][0]!;
  }

  /** Moves everything until nothing moves. */
  settle(): void {
    for (let turn = 0; this.turn(); turn++) assert.ok(turn < 100_000, "it comes to rest");
  }

  /** Connects and waits until messages flow. */
  ready(): void {
    this.settle();
    assert.equal(this.near.phase, Phase.Ready);
    assert.equal(this.far.phase, Phase.Ready);
    for (const messenger of [this.client, this.server]) while (messenger.pollEvent() !== null);
  }

  /** Lets time pass up to a deadline that is due, and settles. */
  advance(ms: number): void {
    this.now += ms;
    this.client.handleDeadline(this.now);
    this.server.handleDeadline(this.now);
    this.settle();
  }

  /** One round; false when nothing moved. */
  turn(): boolean {
    let moved = this.#open();
    if (this.#send(this.client, this.#near, this.#far, true)) moved = true;
    if (this.#send(this.server, this.#far, this.#near, false)) moved = true;
    if (this.#take(this.server)) moved = true;
    if (this.#take(this.client)) moved = true;
    if (this.#closed()) moved = true;
    return moved;
  }

  /** Both ends see the connection break. */
  cut(): void {
    const [near, far] = [this.#near, this.#far];
    this.#near = null;
    this.#far = null;
    near?.handleEnd("cut", this.now);
    far?.handleEnd("cut", this.now);
  }

  /** Moves exactly `count` bytes from the client to the server, or what there is. */
  carry(count: number): number {
    const { near, far } = this;
    let left = count;
    while (left > 0 && near.phase !== Phase.Closed && near.pollTransmit(this.now)) {
      const moved = move(near, far, left, this.now);
      if (moved === 0) break;
      left -= moved;
    }
    return count - left;
  }

  /** Ends both. */
  close(): void {
    this.cut();
    for (const messenger of [this.client, this.server]) {
      for (const session of [...messenger.sessions.values()]) messenger.close(session, this.now);
      for (const connection of [...messenger.connections.values()]) {
        connection.close("local", "over", this.now);
      }
      this.#take(messenger);
      while (messenger.pollClosed() !== null);
    }
  }

  #open(): boolean {
    const dialled = this.client.pollOpen(this.now);
    if (dialled === null) return false;
    this.connections++;
    const here = EntityAddr.parse(CLIENT_ADDRESS);
    this.#near = dialled;
    this.#far = this.server.accept(here, dialled.peer, this.now)!;
    dialled.local.copy(here);
    this.#near.handleConnected(this.now);
    this.#far.handleConnected(this.now);
    return true;
  }

  #send(
    messenger: Messenger,
    from: Connection | null,
    to: Connection | null,
    out: boolean,
  ): boolean {
    let moved = false;
    for (let c = messenger.pollDirty(); c !== null; c = messenger.pollDirty()) {
      if (c !== from || to === null) continue;
      while (c.phase !== Phase.Closed && c.pollTransmit(this.now)) {
        const most = out && this.cutAfter >= 0 ? this.cutAfter : ANY;
        const count = move(c, to, most, this.now);
        if (out && this.cutAfter >= 0) this.cutAfter -= count;
        if (count > 0) moved = true;
        if (out && this.cutAfter === 0) {
          this.cutAfter = -1;
          this.cut();
          return true;
        }
        if (count === 0) {
          messenger.markDirty(c);
          return moved;
        }
      }
    }
    return moved;
  }

  #take(messenger: Messenger): boolean {
    const batch = messenger.takeBatch();
    if (batch === null) return false;
    if (messenger === this.server) {
      this.taken += batch.length;
      for (let index = 0; this.keeps && index < batch.length; index++) {
        this.received.push(new TextDecoder().decode(batch.front(index)));
      }
    }
    messenger.done(batch, this.now);
    return true;
  }

  #closed(): boolean {
    let moved = false;
    for (let c = this.client.pollClosed(); c !== null; c = this.client.pollClosed()) {
      moved = true;
      if (c === this.#near) this.#hangUp(this.#far);
    }
    for (let c = this.server.pollClosed(); c !== null; c = this.server.pollClosed()) {
      moved = true;
      if (c === this.#far) this.#hangUp(this.#near);
    }
    return moved;
  }

  /** One end closed: the other sees the end of the stream. */
  #hangUp(other: Connection | null): void {
    this.#near = null;
    this.#far = null;
    other?.handleEnd("", this.now);
  }
}

/** Moves up to `most` bytes; returns how many. Allocates nothing. */
function move(from: Connection, to: Connection, most: number, nowMs: number): number {
  const { gather } = from.writer;
  let moved = 0;
  while (gather.bytes > 0 && moved < most && to.phase < Phase.Draining) {
    const room = to.stalled ? 0 : to.makeRoom();
    const at = gather.pieces[gather.first * 2]! + gather.skip;
    const piece = gather.pieces[gather.first * 2 + 1]! - gather.skip;
    const count = Math.min(piece, room, most - moved);
    if (count <= 0) break;
    arena.bytes.copyWithin(to.receiveAt, at, at + count);
    moved += count;
    from.handleSent(count, nowMs);
    to.handleReceived(count, nowMs);
    if (from.phase === Phase.Closed) break;
  }
  return moved;
}

/** Sends a text from the client; returns its serial. */
export function say(link: Link, text: string): number {
  return link.session.send({ type: 0xfa00, front: new TextEncoder().encode(text) });
}
