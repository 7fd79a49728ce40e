/**
 * What an embedding program uses: one entity with its sessions, over libc sockets or over Deno's
 * own. Messages come as batches of views; saying `done()` (or asking for the next batch) is what
 * lets an ACK go out, so a message is acknowledged when the program has taken it over.
 *
 * @module
 */
import { assert } from "../mem/assert.ts";
import { U64 } from "../mem/u64.ts";
import { nowMs } from "../io/clock.ts";
import { NodeCrypto } from "../io/crypto.ts";
import { Errno, errnoText } from "../io/errno.ts";
import { libcAvailable, libcRefusal } from "../io/libc.ts";
import { gcmMaker } from "../io/libcrypto.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import { FEATURES_REQUIRED, FEATURES_SUPPORTED } from "../wire/msgr2/features.ts";
import { EntityType } from "../wire/msgr2/hello.ts";
import type { Batch } from "../proto/msgr2/batch.ts";
import {
  type AuthOptions,
  Messenger,
  MESSENGER_DEFAULTS,
  type MessengerEvent,
  type MessengerOptions,
} from "../proto/msgr2/messenger.ts";
import type { Outbox } from "../proto/msgr2/outbox.ts";
import { POLICIES, type Policy } from "../proto/msgr2/policy.ts";
import { type OutMessage, type Session, SessionState } from "../proto/msgr2/session.ts";
import { hostText, resolve } from "./address.ts";
import { addressText } from "./address_text.ts";
import { authNone } from "./auth.ts";
import { DenoLoop } from "./deno_loop.ts";
import { Loop, type Road, type SessionTransport, type TcpOnly, type Transport } from "./loop.ts";

/** Which sockets carry the bytes. */
export type IoRoad = "auto" | "libc" | "deno";

/** How an {@linkcode Endpoint} is made; everything has a default. */
export interface EndpointOptions {
  /** EntityType of this end: a client, unless it wants to be taken for something else. */
  readonly entityType?: number;
  /** Numeric part of a daemon's name; 2^64 - 1 for a client. */
  readonly gid?: U64;
  /** Authentication; method none with the name `client.anonymous` unless set. */
  readonly auth?: AuthOptions;
  /** Policy for peers that connect; keeps their sessions (stateful server) unless set. */
  readonly policyFor?: (peerType: number) => Policy;
  /** Sockets: libc where FFI is allowed, else Deno's. */
  readonly io?: IoRoad;
  /**
   * Protocol of the sockets: `tcp` unless set. `auto` is MPTCP where the kernel has it, `mptcp` fails
   * where it has none; with both a peer that speaks only TCP is served by TCP.
   */
  readonly transport?: Transport;
  /** Hears once, with the reason, that `auto` has to do without MPTCP. */
  readonly onTcpOnly?: TcpOnly;
  /** What has another box hold the same sessions; absent where none does. */
  readonly mirrored?: Mirrored;
  /** Everything else of the messenger: deadlines and limits. */
  readonly messenger?: Partial<
    Pick<MessengerOptions, keyof typeof MESSENGER_DEFAULTS | "nonceOperations" | "features">
  >;
}

/** What ties an endpoint to the standby of a pair. */
export interface Mirrored {
  /** False: nothing is read or sent, as another box may have the sessions by now. */
  mayRun(): boolean;
  /** Called after each turn's batches: what changed is to be written for the standby. */
  afterTurn(): void;
}

/** Deno's own sockets are read when they like. */
const NOT_MIRRORED =
  "Cannot have another box hold the sessions with io=deno: run where FFI is allowed, with --io=libc";

/** Batches handled in one turn before sockets get their share again. */
const BATCHES_PER_TURN = 8;
/** How long a writer waits when the arena is full. */
const STARVED_MS = 20;
/** How long `close()` waits for last bytes to leave. */
const CLOSE_MS = 1000;

interface Waiter {
  readonly session: Session;
  readonly what: "writable" | "flushed" | "established";
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface Watch {
  readonly session: Session;
  readonly onAcknowledged: () => void;
  unacknowledged: number;
  acknowledged: number;
}

interface Accepting {
  readonly resolve: (session: Session) => void;
  readonly reject: (error: Error) => void;
}

/**
 * One entity on the network: it listens, connects and sends, and hands over in batches what was
 * received. Sockets and clock are included.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Endpoint, POLICIES } from "@fairlead/fairlead";
 *
 * const hub = new Endpoint();
 * const address = await hub.listen("v2:127.0.0.1:0");
 * const box = new Endpoint();
 * const session = await box.connect(`${address}`, POLICIES.losslessClient);
 * session.send({ type: 0xfa00, front: new TextEncoder().encode("hello") });
 * for await (const batch of hub) {
 *   assert.equal(new TextDecoder().decode(batch.front(0)), "hello");
 *   break; // the batch is done: the box gets its acknowledgement
 * }
 * await box.flushed(session);
 * await box.close();
 * await hub.close();
 * ```
 */
export class Endpoint implements AsyncIterable<Batch> {
  /** The machine behind it, for counters and state. */
  readonly messenger: Messenger;
  /** Which sockets carry the bytes: `libc` or `deno`. */
  readonly io: "libc" | "deno";
  readonly #road: Road;
  readonly #waiters: Waiter[] = [];
  readonly #watches: Watch[] = [];
  #handler: ((batch: Batch) => void | Promise<void>) | null = null;
  #onEvent: ((event: MessengerEvent) => void) | null = null;
  readonly #accepting: Accepting[] = [];
  readonly #mirrored: Mirrored | null;
  #held: Batch | null = null;
  #next: ((result: IteratorResult<Batch>) => void) | null = null;
  #closed = false;

  /** Takes its memory and starts; sockets are opened by `listen` and `connect`. */
  constructor(options: EndpointOptions = {}) {
    const crypto = new NodeCrypto();
    const nonce = crypto.randomBytes(4);
    this.#mirrored = options.mirrored ?? null;
    this.messenger = new Messenger({
      ...MESSENGER_DEFAULTS,
      features: { supported: FEATURES_SUPPORTED, required: FEATURES_REQUIRED },
      ...options.messenger,
      entityType: options.entityType ?? EntityType.Client,
      gid: options.gid ?? U64.of(-1),
      nonce: new DataView(nonce.buffer, nonce.byteOffset).getUint32(0, true),
      policyFor: options.policyFor ?? ((): Policy => POLICIES.statefulServer),
      auth: options.auth ?? authNone("client.anonymous"),
      aead: gcmMaker(),
      crypto,
      journal: this.#mirrored !== null,
    });
    this.io = pickRoad(options.io ?? "auto");
    if (this.io === "deno" && this.#mirrored !== null) throw new Error(NOT_MIRRORED);
    const deliver = (): boolean => this.#deliver();
    const transport = options.transport ?? "tcp";
    const onTcpOnly = options.onTcpOnly ?? ((): void => {});
    if (this.io === "deno") refuseMptcp(transport, onTcpOnly);
    this.#road = this.io === "libc"
      ? new Loop(this.messenger, deliver, transport, onTcpOnly)
      : new DenoLoop(this.messenger, deliver);
    this.messenger.onWork = (): void => this.#road.wake();
    if (this.#mirrored !== null) {
      const { mayRun } = this.#mirrored;
      this.messenger.mayRun = mayRun;
    }
    this.#road.run().catch((error) => {
      // A broken invariant: nothing can be trusted any more, so the process must not go on.
      queueMicrotask(() => {
        throw error;
      });
    });
  }

  /**
   * Accepts sessions at an address such as `v2:127.0.0.1:3300` or `v2:[::1]:0`.
   *
   * @returns the address with the port that was bound
   * @throws when the address is in use, not of this box, or no address
   */
  async listen(address: string): Promise<EntityAddr> {
    const wanted = await resolve(address);
    const bound = this.#road.listen(hostText(wanted), wanted.port);
    if (typeof bound === "number") {
      const remedy = bound === -Errno.Eaddrinuse
        ? ", another program uses that port: give another one"
        : "";
      throw new Error(`Cannot listen on ${addressText(wanted)}: ${errnoText(bound)}${remedy}`);
    }
    wanted.port = bound.port;
    const { addrs } = this.messenger;
    assert(addrs.count < addrs.addrs.length, "no more listening addresses than an addrvec holds");
    addrs.addrs[addrs.count]!.copy(wanted);
    addrs.count++;
    return wanted;
  }

  /**
   * Opens a session with whoever listens at `address`. It is made in the background and made
   * again when it breaks, as `policy` says; messages can be queued at once.
   *
   * @throws when the address cannot be resolved, or too many sessions are open
   */
  async connect(address: string | EntityAddr, policy: Policy): Promise<Session> {
    const target = typeof address === "string" ? await resolve(address) : address;
    const session = this.messenger.connect(target, policy, nowMs());
    if (session === null) {
      throw new Error(
        `Cannot connect to ${target} as too many sessions are open: current value is ` +
          `${this.messenger.sessions.size}`,
      );
    }
    return session;
  }

  /** Resolves with the next session that a peer opens here; those before the call are not told. */
  accept(): Promise<Session> {
    return new Promise((resolve, reject) => this.#accepting.push({ resolve, reject }));
  }

  /**
   * Queues a message, and waits while the session's queue is full. Returns its serial, by which it
   * can be revoked. `session.send()` does the same without a promise and returns 0 when full.
   *
   * @throws when the session ends before the message fits
   */
  async send(session: Session, message: OutMessage): Promise<number> {
    for (;;) {
      const serial = session.send(message);
      if (serial > 0) return serial;
      await this.writable(session);
    }
  }

  /**
   * Calls `handler` with each batch, inside the loop: the shortest way, no promise is made. The
   * batch is done when it returns, or when the promise it returns settles.
   */
  handle(handler: (batch: Batch) => void | Promise<void>): void {
    this.#handler = handler;
    this.#road.wake();
  }

  /** Calls `handler` with what happens to sessions and connections. */
  onEvent(handler: (event: MessengerEvent) => void): void {
    this.#onEvent = handler;
    this.#road.wake();
  }

  /** Says that a batch is taken over: its views end, its messages are acknowledged. */
  done(batch: Batch): void {
    if (this.#held === batch) this.#held = null;
    this.messenger.done(batch, nowMs());
    this.#road.wake();
  }

  /** Batches, one at a time; asking for the next one says that the last one is done. */
  [Symbol.asyncIterator](): AsyncIterator<Batch> {
    return {
      next: (): Promise<IteratorResult<Batch>> => this.#nextBatch(),
      return: (): Promise<IteratorResult<Batch>> => {
        if (this.#held !== null) this.done(this.#held);
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  /** Resolves when the session stands; rejects when it was refused or closed. */
  established(session: Session): Promise<void> {
    return this.#wait(session, "established");
  }

  /** Resolves when the session takes messages again (half its queue is free). */
  writable(session: Session): Promise<void> {
    // Not our queue is full but the memory of all sessions: nobody tells when it is not.
    if (session.outbox.starved) return new Promise((resolve) => setTimeout(resolve, STARVED_MS));
    return this.#wait(session, "writable");
  }

  /** Resolves when the peer has acknowledged everything; on a lossy session when it is sent. */
  flushed(session: Session): Promise<void> {
    return this.#wait(session, "flushed");
  }

  /** Calls `handler`, inside the loop, when the peer has acknowledged more of a session. */
  watchAcknowledged(session: Session, handler: () => void): void {
    this.#watches.push({ session, onAcknowledged: handler, unacknowledged: 0, acknowledged: 0 });
  }

  /** What carries a session at the moment, asked of the kernel; null while nothing does. */
  transportOf({ connection }: Session): SessionTransport | null {
    return connection === null ? null : this.#road.transportOf(connection);
  }

  /** Something that it waits for has come: a turn soon. */
  wake(): void {
    this.#road.wake();
  }

  /** Ends a session: CLOSE where the peer knows it. What it had queued is dropped. */
  disconnect(session: Session): void {
    this.messenger.close(session, nowMs());
    this.#road.wake();
  }

  /**
   * Ends all sessions and the loop; the iterator ends too. A batch that is not done is not
   * acknowledged: its messages will come again.
   *
   * @param options `tellPeers: false` ends without CLOSE: peers keep their sessions and come back,
   * which is what a hub wants that will be started again
   */
  async close(options: { readonly tellPeers?: boolean } = {}): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#road.closeListeners();
    for (const session of this.messenger.sessions.values()) {
      this.messenger.close(session, nowMs(), options.tellPeers ?? true);
    }
    this.messenger.giveBack();
    this.#held = null;
    this.#road.wake();
    // What may not run has no last bytes: another box has the sessions by now.
    const deadline = this.#mirrored?.mayRun() === false ? 0 : nowMs() + CLOSE_MS;
    while (this.messenger.connections.size > 0 && nowMs() < deadline) {
      this.#road.wake();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    for (const connection of this.messenger.connections.values()) {
      connection.close("local", "Closed here", nowMs());
    }
    await this.#road.stop();
    this.#checkWaiters();
    for (const { reject } of this.#accepting) reject(new Error("The endpoint was closed"));
    this.#accepting.length = 0;
    this.#next?.({ done: true, value: undefined });
    this.#next = null;
  }

  #nextBatch(): Promise<IteratorResult<Batch>> {
    if (this.#held !== null) this.done(this.#held);
    if (this.#closed) return Promise.resolve({ done: true, value: undefined });
    const batch = this.messenger.takeBatch();
    if (batch !== null) {
      this.#held = batch;
      return Promise.resolve({ done: false, value: batch });
    }
    return new Promise((resolve) => this.#next = resolve);
  }

  /** Batches, events and waiters; the loop calls it in each turn. */
  #deliver(): boolean {
    const worked = this.#deliverAll();
    this.#mirrored?.afterTurn();
    return worked;
  }

  #deliverAll(): boolean {
    let worked = false;
    const { messenger } = this;
    for (let event = messenger.pollEvent(); event !== null; event = messenger.pollEvent()) {
      this.#refuseWaiters(event);
      if (event.kind === "accept") this.#accepting.shift()?.resolve(event.session!);
      this.#onEvent?.(event);
      worked = true;
    }
    if (this.#deliverBatches()) worked = true;
    if (this.#watches.length > 0) this.#checkWatches();
    if (this.#waiters.length > 0) this.#checkWaiters();
    return worked;
  }

  #deliverBatches(): boolean {
    const { messenger } = this;
    if (this.#next !== null) {
      const batch = messenger.takeBatch();
      if (batch === null) return false;
      const next = this.#next;
      this.#next = null;
      this.#held = batch;
      next({ done: false, value: batch });
      return true;
    }
    const handler = this.#handler;
    if (handler === null) return false;
    let count = 0;
    while (count < BATCHES_PER_TURN) {
      const batch = messenger.takeBatch();
      if (batch === null) break;
      count++;
      const pending = handler(batch);
      if (pending instanceof Promise) {
        pending.then(() => this.done(batch));
        break;
      }
      messenger.done(batch, nowMs());
    }
    return count > 0;
  }

  #wait(session: Session, what: Waiter["what"]): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = { session, what, resolve, reject };
      if (!settle(waiter)) this.#waiters.push(waiter);
    });
  }

  /** Told by the number acknowledged, or in a new session by what is left. */
  #checkWatches(): void {
    let kept = 0;
    for (const watch of this.#watches) {
      const { ackedSeq, state, unacknowledged } = watch.session;
      if (ackedSeq !== watch.acknowledged || unacknowledged < watch.unacknowledged) {
        watch.onAcknowledged();
      }
      watch.acknowledged = ackedSeq;
      watch.unacknowledged = unacknowledged;
      if (state !== SessionState.Closed) this.#watches[kept++] = watch;
    }
    this.#watches.length = kept;
  }

  #checkWaiters(): void {
    let kept = 0;
    for (const waiter of this.#waiters) {
      if (!settle(waiter)) this.#waiters[kept++] = waiter;
    }
    this.#waiters.length = kept;
  }

  #refuseWaiters(event: MessengerEvent): void {
    if (event.kind !== "refused") return;
    for (const waiter of this.#waiters) {
      if (waiter.session === event.session) waiter.reject(new Error(event.text));
    }
  }
}

/** Settles a waiter when what it waits for has come, or cannot come any more. */
function settle(waiter: Waiter): boolean {
  const { session, what } = waiter;
  if (session.state === SessionState.Closed) {
    if (what === "flushed" && session.dropped === 0) {
      waiter.resolve();
      return true;
    }
    const text = session.lastFault || "it was closed here";
    waiter.reject(new Error(`Session with ${session.peerAddrs} is over: ${text}`));
    return true;
  }
  const reached = what === "established"
    ? session.state === SessionState.Ready
    : what === "flushed"
    ? session.unacknowledged === 0
    : hasRoom(session.outbox);
  if (reached) waiter.resolve();
  return reached;
}

/** Half the share is free, and as much as the last refused message wanted. */
function hasRoom({ bytes, bytesMax, wanted }: Outbox): boolean {
  return bytes === 0 || (bytes <= bytesMax / 2 && bytes + wanted <= bytesMax);
}

/** Deno's own sockets are of TCP. */
function refuseMptcp(transport: Transport, onTcpOnly: TcpOnly): void {
  if (transport === "auto") {
    onTcpOnly("Sessions use TCP, with one path only, as io=deno has no MPTCP");
  }
  if (transport !== "mptcp") return;
  throw new Error(
    "Cannot use transport=mptcp as Deno's own sockets have no MPTCP: current value of io is deno, " +
      "use --io=libc",
  );
}

function pickRoad(io: IoRoad): "libc" | "deno" {
  if (io === "deno") return "deno";
  if (libcAvailable()) return "libc";
  if (io === "auto") return "deno";
  throw new Error(
    `Cannot use io=libc as FFI is not available (${libcRefusal()}): allow it (--allow-ffi) or ` +
      "use --io=deno",
  );
}
