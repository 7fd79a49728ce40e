/**
 * Two or more messengers back to back in virtual time: bytes move through memory, connections can
 * be cut, held or fed in pieces, and every frame can be watched. No sockets, no clock.
 *
 * @module
 */
import { arena } from "../../src/mem/arena.ts";
import { type Region, regionOf } from "../../src/mem/region.ts";
import { U64 } from "../../src/mem/u64.ts";
import { gcmMaker } from "../../src/io/libcrypto.ts";
import { authNone } from "../../src/app/auth.ts";
import type { Batch } from "../../src/proto/msgr2/batch.ts";
import type { Connection } from "../../src/proto/msgr2/connection.ts";
import { Phase } from "../../src/proto/msgr2/connection.ts";
import {
  type AuthOptions,
  Messenger,
  MESSENGER_DEFAULTS,
  type MessengerOptions,
} from "../../src/proto/msgr2/messenger.ts";
import { POLICIES, type Policy } from "../../src/proto/msgr2/policy.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { BANNER_SIZE } from "../../src/wire/msgr2/banner.ts";
import { frameBytes, revisionOf } from "../../src/wire/msgr2/frame.ts";
import { Preamble, PREAMBLE_SIZE, readPreamble } from "../../src/wire/msgr2/preamble.ts";
import { FEATURES_REQUIRED, FEATURES_SUPPORTED } from "../../src/wire/msgr2/features.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import {
  ClientIdent,
  readClientIdent,
  readServerIdent,
  ServerIdent,
} from "../../src/wire/msgr2/ident.ts";
import { readSessionReconnect, SessionReconnect } from "../../src/wire/msgr2/session.ts";
import { Tag, tagName } from "../../src/wire/msgr2/tag.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";

/** How a node of the net is made. */
export interface NodeOptions {
  readonly address?: string;
  readonly entityType?: number;
  readonly policy?: Policy;
  readonly auth?: AuthOptions;
  readonly options?: Partial<MessengerOptions>;
}

/** A messenger and what it told and received. */
export class Node {
  messenger: Messenger;
  readonly address: EntityAddr | null;
  /** Kinds of events, signs of life left out. */
  readonly events: string[] = [];
  readonly received: string[] = [];
  /** False: batches are left untouched, as by a busy application. */
  takes = true;
  /** A batch that was taken and is not done yet, while {@linkcode holds}. */
  held: Batch | null = null;
  /** True: batches are taken, and done only by {@linkcode done}. */
  holds = false;
  readonly #options: NodeOptions;

  constructor(readonly name: string, readonly net: Net, options: NodeOptions) {
    this.#options = options;
    this.address = options.address === undefined ? null : EntityAddr.parse(options.address);
    this.messenger = this.#make();
  }

  #make(): Messenger {
    const options = this.#options;
    const messenger = new Messenger({
      ...MESSENGER_DEFAULTS,
      entityType: options.entityType ?? EntityType.Client,
      gid: U64.of(-1),
      nonce: this.net.random(2 ** 31),
      features: { supported: FEATURES_SUPPORTED, required: FEATURES_REQUIRED },
      policyFor: (): Policy => options.policy ?? POLICIES.statefulServer,
      auth: options.auth ?? authNone(`client.${this.name}`),
      aead: gcmMaker(),
      crypto: new NodeCrypto(),
      ...options.options,
    });
    if (this.address !== null) {
      messenger.addrs.addrs[0]!.copy(this.address);
      messenger.addrs.count = 1;
    }
    return messenger;
  }

  /** The process dies and comes back: connections are cut, a new messenger knows nothing. */
  restart(): void {
    this.stop();
    this.messenger = this.#make();
  }

  /** The process ends for good; memory is given back. */
  stop(): void {
    this.net.drop(this.messenger);
    dispose(this.messenger, this.held, this.net.now);
    this.held = null;
  }

  /** The application takes the held batch over. */
  done(): void {
    const batch = this.held;
    this.held = null;
    if (batch !== null) this.messenger.done(batch, this.net.now);
    this.net.settle();
  }

  /** Opens a session to another node. */
  connect(to: Node, policy: Policy = POLICIES.losslessClient): Session {
    return this.messenger.connect(to.address!, policy, this.net.now)!;
  }

  /** The only session. */
  get session(): Session {
    return [...this.messenger.sessions.values()][0]!;
  }
}

/** Ends everything of a messenger at once. */
function dispose(messenger: Messenger, held: Batch | null, nowMs: number): void {
  for (const connection of [...messenger.connections.values()]) {
    connection.close("local", "stopped", nowMs);
  }
  for (const session of [...messenger.sessions.values()]) messenger.close(session, nowMs);
  if (held !== null) messenger.done(held, nowMs);
  for (let batch = messenger.takeBatch(); batch !== null; batch = messenger.takeBatch()) {
    messenger.done(batch, nowMs);
  }
}

/** Sends a text as a message. */
export function say(session: Session, text: string, priority?: number): number {
  const front = new TextEncoder().encode(text);
  return session.send({ type: 0xfa00, front, ...(priority === undefined ? {} : { priority }) });
}

/** One direction of a connection, and the way back. */
interface Pipe {
  readonly from: Connection;
  readonly to: Connection;
  readonly node: Node;
  readonly queue: Uint8Array[];
  /** Nothing passes any more. */
  cut: boolean;
  /** Nothing passes for now. */
  held: boolean;
  /** The sender has closed: the end comes after what is in the queue. */
  ended: boolean;
}

/** What a fault rule looks at. */
export interface FrameSeen {
  /** Node that sends. */
  readonly by: Node;
  readonly tag: string;
  /** How often this node has sent this tag. */
  readonly count: number;
}

/**
 * What happens to a frame: "pass"; "cut" and "cutRead" lose it with its connection, noticed by the
 * sender or by the receiver first; "cutAfter" delivers it and then cuts; "cutSender" and
 * "cutReceiver" lose it, and only that end notices, while the other end's connection goes silent;
 * "hold" keeps it, and what follows it, until `net.release()`.
 */
export type Verdict =
  | "pass"
  | "cut"
  | "cutRead"
  | "cutAfter"
  | "cutSender"
  | "cutReceiver"
  | "hold";

/** The network between nodes; time passes only when told. */
export class Net {
  now = 1000;
  readonly nodes: Node[] = [];
  readonly pipes: Pipe[] = [];
  /** Frames seen, as `name TAG`. */
  readonly log: string[] = [];
  /** The message flow handshake as the seed draws it, cookies by letters: `c client_ident(a)`. */
  readonly drawn: string[] = [];
  /** Asked for every frame that is sent, as long as frames can be told apart (crc mode). */
  rule: (frame: FrameSeen) => Verdict = () => "pass";
  /** False: new connections are refused. */
  reachable = true;
  /** True when a new connection between these two is to be refused. */
  refuses: (from: Node, to: Node) => boolean = () => false;
  /** Changes bytes on the wire; what it gives back arrives. */
  noise: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes;
  /** The largest piece handed over at once. */
  pieceBytes = Infinity;
  #seed: number;
  readonly #counts = new Map<string, number>();
  readonly #cookies = new Map<string, string>();

  constructor(seed = 1) {
    this.#seed = seed >>> 0;
  }

  /** A whole number below `limit` from the seed (xorshift32). */
  random(limit: number): number {
    let x = this.#seed || 0x9e3779b9;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#seed = x >>> 0;
    return Math.floor((this.#seed / 2 ** 32) * limit);
  }

  node(name: string, options: NodeOptions = {}): Node {
    const node = new Node(name, this, options);
    this.nodes.push(node);
    return node;
  }

  /** Runs until nothing moves at this moment. */
  settle(turns = 10_000): void {
    for (let turn = 0; turn < turns; turn++) if (!this.#turn()) return;
    throw new Error("the net does not come to rest");
  }

  /** Runs a few turns only, so that connections are caught half way. */
  run(turns: number): void {
    for (let turn = 0; turn < turns; turn++) this.#turn();
  }

  /** Lets time pass, deadline by deadline. */
  advance(ms: number): void {
    const end = this.now + ms;
    this.settle();
    for (let stuck = 0; stuck < 1000;) {
      const next = Math.min(...this.nodes.map((node) => node.messenger.pollDeadline()));
      if (next > end) break;
      stuck = next > this.now ? 0 : stuck + 1;
      this.now = Math.max(this.now, Math.ceil(next));
      for (const node of this.nodes) node.messenger.handleDeadline(this.now);
      this.settle();
    }
    this.now = end;
    this.settle();
  }

  /** Cuts every connection of a node, as a cable would: both ends see an error. */
  cut(node?: Node, settles = true): void {
    for (const pipe of [...this.pipes]) {
      if (node !== undefined && pipe.node !== node) continue;
      this.#break(pipe);
    }
    if (settles) this.settle();
  }

  /** Stalls one direction of a random connection until `release`. */
  stall(): void {
    if (this.pipes.length > 0) this.pipes[this.random(this.pipes.length)]!.held = true;
  }

  /** A random connection goes silent, and only one of its ends is told. */
  breakHalf(): void {
    if (this.pipes.length === 0) return;
    const pipe = this.pipes[this.random(this.pipes.length)]!;
    this.#mute(pipe);
    pipe.from.handleEnd("cut", this.now);
  }

  /** Lets held frames go on. */
  release(): void {
    for (const pipe of this.pipes) pipe.held = false;
    this.settle();
  }

  /** Cuts all connections of a messenger without a further word from it. */
  drop(messenger: Messenger): void {
    for (const pipe of [...this.pipes]) {
      if (pipe.from.messenger !== messenger) continue;
      this.#break(pipe);
      this.#forget(pipe.from);
    }
  }

  #break(pipe: Pipe): void {
    this.#mute(pipe);
    pipe.from.handleEnd("cut", this.now);
    pipe.to.handleEnd("cut", this.now);
  }

  #turn(): boolean {
    let moved = false;
    for (const node of this.nodes) {
      const { messenger } = node;
      for (let c = messenger.pollOpen(this.now); c !== null; c = messenger.pollOpen(this.now)) {
        this.#open(node, c);
        moved = true;
      }
      for (let e = messenger.pollEvent(); e !== null; e = messenger.pollEvent()) {
        if (e.kind !== "alive") node.events.push(e.kind);
        moved = true;
      }
      if (node.takes && this.#take(node)) moved = true;
      for (let c = messenger.pollDirty(); c !== null; c = messenger.pollDirty()) {
        if (this.#send(node, c)) moved = true;
      }
      for (let c = messenger.pollClosed(); c !== null; c = messenger.pollClosed()) {
        this.#closed(c);
        moved = true;
      }
    }
    for (const pipe of [...this.pipes]) if (this.#carry(pipe)) moved = true;
    return this.#end() || moved;
  }

  #take(node: Node): boolean {
    let moved = false;
    for (let b = node.messenger.takeBatch(); b !== null; b = node.messenger.takeBatch()) {
      for (let index = 0; index < b.length; index++) {
        node.received.push(new TextDecoder().decode(b.front(index)));
      }
      moved = true;
      if (node.holds) {
        node.held = b;
        return true;
      }
      node.messenger.done(b, this.now);
    }
    return moved;
  }

  #open(node: Node, connection: Connection): void {
    const server = this.nodes.find((other) => other.address?.equals(connection.peer));
    if (server === undefined || !this.reachable || this.refuses(node, server)) {
      connection.handleEnd("Connection refused (ECONNREFUSED)", this.now);
      return;
    }
    const client = EntityAddr.parse(`v2:10.0.0.${this.nodes.indexOf(node) + 1}:5000/0`);
    if (node.address !== null) client.copy(node.address); // a listener dials from its own host
    client.port = 5000;
    const accepted = server.messenger.accept(client, server.address!, this.now);
    if (accepted === null) {
      connection.handleEnd("", this.now);
      return;
    }
    connection.local.copy(client);
    this.pipes.push({
      from: connection,
      to: accepted,
      node,
      queue: [],
      cut: false,
      held: false,
      ended: false,
    });
    this.pipes.push({
      from: accepted,
      to: connection,
      node: server,
      queue: [],
      cut: false,
      held: false,
      ended: false,
    });
    connection.handleConnected(this.now);
    accepted.handleConnected(this.now);
  }

  #send(node: Node, connection: Connection): boolean {
    const pipe = this.pipes.find((other) => other.from === connection);
    if (pipe === undefined || pipe.cut) return false;
    let moved = false;
    while (connection.phase !== Phase.Closed && connection.pollTransmit(this.now)) {
      const { gather } = connection.writer;
      const { pieces, first, end, skip } = gather;
      const parts: Uint8Array[] = [];
      for (let index = first; index < end; index++) {
        const at = pieces[index * 2]! + (index === first ? skip : 0);
        parts.push(arena.bytes.slice(at, pieces[index * 2]! + pieces[index * 2 + 1]!));
      }
      const bytes = concat(parts);
      connection.handleSent(bytes.length, this.now);
      moved = true;
      if (!this.#watch(node, pipe, bytes)) return true;
    }
    return moved;
  }

  /** Applies the rule to the frames in `bytes`, as far as they can be read (crc mode). */
  #watch(node: Node, pipe: Pipe, bytes: Uint8Array<ArrayBuffer>): boolean {
    let at = 0;
    while (at < bytes.length) {
      const left = bytes.subarray(at);
      const length = frameLength(pipe, left);
      if (length === 0 || length > left.length) {
        pipe.queue.push(bytes.slice(at));
        return true;
      }
      const tag = left[0] === 0x63 ? "BANNER" : tagName(left[0]!);
      const key = `${node.name} ${tag}`;
      const count = (this.#counts.get(key) ?? 0) + 1;
      this.#counts.set(key, count);
      this.log.push(key);
      const verdict = this.rule({ by: node, tag, count });
      const frame = bytes.slice(at, at + length);
      this.#draw(node, frame, verdict);
      if (verdict === "cut") {
        this.#deliverAll(pipe);
        this.#break(pipe);
        return false;
      }
      if (verdict === "cutRead") {
        this.#deliverAll(pipe);
        this.#mute(pipe);
        pipe.to.handleEnd("cut", this.now);
        pipe.from.handleEnd("cut", this.now);
        return false;
      }
      if (verdict === "cutSender" || verdict === "cutReceiver") {
        this.#deliverAll(pipe);
        this.#mute(pipe);
        (verdict === "cutSender" ? pipe.from : pipe.to).handleEnd("cut", this.now);
        return false;
      }
      if (verdict === "hold") pipe.held = true;
      pipe.queue.push(frame);
      if (verdict === "cutAfter") {
        this.#deliverAll(pipe);
        this.#break(pipe);
        return false;
      }
      at += length;
    }
    return true;
  }

  /** Notes a frame of the message flow handshake in the seed's words. */
  #draw(node: Node, frame: Uint8Array<ArrayBuffer>, verdict: Verdict): void {
    const words = handshakeWords(frame, (cookie) => this.#letter(cookie));
    const lost = verdict.startsWith("cut") && verdict !== "cutAfter";
    if (words !== "") this.drawn.push(`${node.name} ${words}${lost ? " X" : ""}`);
  }

  /** a, b, c for cookies in their order of appearance; - for none. */
  #letter(cookie: U64): string {
    if (cookie.isZero()) return "-";
    const key = cookie.toString();
    const letter = this.#cookies.get(key) ?? String.fromCharCode(97 + this.#cookies.size);
    this.#cookies.set(key, letter);
    return letter;
  }

  /** The letter of a cookie that was seen. */
  letter(cookie: U64): string {
    return this.#letter(cookie);
  }

  /** Both directions of a connection carry nothing any more, and nobody is told. */
  #mute(pipe: Pipe): void {
    for (const other of this.pipes) {
      if (other !== pipe && other.from !== pipe.to) continue;
      other.cut = true;
      other.queue.length = 0;
    }
  }

  #deliverAll(pipe: Pipe): void {
    while (pipe.queue.length > 0 && pipe.to.phase !== Phase.Closed && this.#carry(pipe)) {
      /* on */
    }
  }

  #carry(pipe: Pipe): boolean {
    const { to, queue } = pipe;
    if (queue.length === 0 || pipe.cut || pipe.held) return false;
    if (to.phase >= Phase.Draining) {
      queue.length = 0;
      return false;
    }
    const head = queue[0]!;
    const room = to.stalled ? 0 : to.makeRoom();
    const count = Math.min(head.length, room, this.pieceBytes);
    if (count <= 0) return false;
    const arriving = this.noise(head.subarray(0, count));
    arena.bytes.set(arriving, to.receiveAt);
    if (count === head.length) queue.shift();
    else queue[0] = head.subarray(count);
    if (arriving.length > 0) to.handleReceived(arriving.length, this.now);
    return true;
  }

  /** One side closed: the other reads what is under way, then the end. */
  #closed(connection: Connection): void {
    for (let index = this.pipes.length - 1; index >= 0; index--) {
      const pipe = this.pipes[index]!;
      if (pipe.from === connection) pipe.ended = true;
      if (pipe.to === connection) this.pipes.splice(index, 1);
    }
  }

  /** Tells the end of streams whose bytes have all arrived. */
  #end(): boolean {
    let moved = false;
    for (const pipe of [...this.pipes]) {
      if (!pipe.ended || pipe.held || pipe.queue.length > 0) continue;
      this.pipes.splice(this.pipes.indexOf(pipe), 1);
      if (!pipe.cut) pipe.to.handleEnd("", this.now);
      moved = true;
    }
    return moved;
  }

  #forget(connection: Connection): void {
    for (let index = this.pipes.length - 1; index >= 0; index--) {
      const { from, to } = this.pipes[index]!;
      if (from === connection || to === connection) this.pipes.splice(index, 1);
    }
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Length of the frame at the front of unsealed bytes; 0 when it cannot be told (it is sealed). */
function frameLength(pipe: Pipe, bytes: Uint8Array<ArrayBuffer>): number {
  if (bytes[0] === 0x63) return BANNER_SIZE;
  const preamble = new Preamble();
  if (bytes.length < PREAMBLE_SIZE) return 0;
  if (readPreamble(regionOf(bytes), 0, PREAMBLE_SIZE, preamble, Infinity) < 0) return 0;
  const { lengths } = preamble;
  return frameBytes(
    revisionOf(pipe.from.writer.format), // before AUTH_SIGNATURE even a secure connection is crc
    lengths[0]!,
    lengths[1]!,
    lengths[2]!,
    lengths[3]!,
  );
}

/** A frame of the message flow handshake as the seed writes it, "" for any other. */
function handshakeWords(
  frame: Uint8Array<ArrayBuffer>,
  letter: (cookie: U64) => string,
): string {
  const region: Region = regionOf(frame);
  if (frame.length < 32 || frame[0] === 0x63) return "";
  const at = 32;
  const end = at + region.view.getUint32(2, true);
  switch (frame[0]) {
    case Tag.ClientIdent: {
      const ident = new ClientIdent();
      readClientIdent(region, at, end, ident);
      return `client_ident(${letter(ident.cookie)})`;
    }
    case Tag.ServerIdent: {
      const ident = new ServerIdent();
      readServerIdent(region, at, end, ident);
      return `server_ident(${letter(ident.cookie)})`;
    }
    case Tag.SessionReconnect: {
      const reconnect = new SessionReconnect();
      readSessionReconnect(region, at, end, reconnect);
      return `reconnect(${letter(reconnect.clientCookie)},${letter(reconnect.serverCookie)})`;
    }
    case Tag.SessionReconnectOk:
      return "reconnect_ok";
    case Tag.SessionReset:
      return `reset_session(${frame[at] === 1 ? "T" : "F"})`;
    case Tag.SessionRetry:
      return "retry_session";
    case Tag.SessionRetryGlobal:
      return "retry_global";
    case Tag.Wait:
      return "wait";
    case Tag.IdentMissingFeatures:
      return "ident_missing_features";
  }
  return "";
}
