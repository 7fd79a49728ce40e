/**
 * Carries a spool's envelopes to one hub: greets it, sends what it does not have as far as the
 * session has room, and tells the spool what was acknowledged. The spool remembers, the session does
 * not: when the hub has forgotten the session, everything starts again from what the hub says it
 * has stored.
 *
 *     connect ──HELLO──> greeting ──WELCOME──> sending ──┐ session over
 *        ^                  └──refused──> refused ──30 s─┤
 *        └──────────────────────────────────────────────┘
 *
 * A hub with several addresses: while a session does not stand for a while, the next one is tried.
 *
 * A session that another box has begun may be adopted: what that box had sent on it is replayed, and
 * HELLO waits until the hub has acknowledged it. Only then does the next WELCOME tell all that the hub
 * has stored; an answer to a HELLO of the other box would tell less, and messages would come twice.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { nowMs } from "../../io/clock.ts";
import { RateLimit } from "../../proto/gateway/rate_limit.ts";
import { Schedule } from "../../proto/gateway/schedule.ts";
import type { Batch } from "../../proto/msgr2/batch.ts";
import { recordFrontAt } from "../../proto/msgr2/outbox.ts";
import type { MessengerEvent } from "../../proto/msgr2/messenger.ts";
import { POLICIES, type Policy } from "../../proto/msgr2/policy.ts";
import { type Session, SessionState } from "../../proto/msgr2/session.ts";
import { PRIORITY_DEFAULT } from "../../wire/msgr2/message.ts";
import { U64 } from "../../mem/u64.ts";
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import {
  GREETING_VERSION,
  greetingJson,
  type Hello,
  HOP_SIZE,
  parseWelcome,
  type Welcome,
  writeHop,
} from "../../wire/gateway/post.ts";
import type { Endpoint } from "../endpoint.ts";
import type { SessionTransport } from "../loop.ts";
import { FairleadType } from "../message_types.ts";
import type { Spool } from "../spool/spool.ts";
import { Stream } from "../spool/stream.ts";
import { resolveAll } from "../address.ts";
import { delay } from "../delay.ts";

/** Acknowledgements are looked for this often while something is not acknowledged. */
const LOOK_MS = 10;
/** The same while messages wait for their rate. */
const LIMITED_MS = 50;
/** How often everything else is looked at: an idle box should sleep. */
const TICK_MS = 1000;
/** A session that does not stand for so long gives way to the hub's next address. */
const FAILOVER_MS = 5000;
/** A hub that refuses is asked again after this. */
const REFUSED_MS = 30_000;
/** A hub that does not answer HELLO is greeted anew in a new session after this. */
const GREETING_MS = 30_000;
/** Wait before unknown names are looked up again. */
const RESOLVE_MS = 5000;
/** Lossy messages that wait for room in the session: more are dropped. */
const LOSSY_BYTES_MAX = 1024 * 1024;
/** Envelopes handed to the session in one go, before others get their turn. */
const ENVELOPES_PER_PUMP = 256;

/** Ends of connections that are remembered. */
const HISTORY_MAX = 10;

/** The hub may forget the session, or end it: the spool knows what is to be sent again. */
export const HUB_POLICY: Policy = { ...POLICIES.losslessClient, reopen: true };

const encoder = new TextEncoder();

/** What a route means to a hub that it names. */
export interface Feed {
  /** One of Priority. */
  readonly priority: number;
  /** 0: no limit. */
  readonly messagesPerSecond: number;
}

/** How a {@linkcode Sender} is made. */
export interface SenderOptions {
  readonly endpoint: Endpoint;
  readonly spool: Spool;
  readonly gateway: string;
  /** Its key in the configuration. */
  readonly hub: string;
  /** `v2:HOST:PORT`, the preferred one first. */
  readonly addresses: readonly string[];
  /** A session with the hub that is taken over, made with {@linkcode HUB_POLICY}. */
  readonly adopted?: Session | null;
  /** What a stream is to this hub; null when it goes to others only. */
  feedOf(stream: Stream): Feed | null;
  /** Something was acknowledged. */
  onAcknowledged(): void;
  /** A sentence for the log. */
  note(text: string): void;
}

interface InFlight {
  /** Null for what is not in the spool. */
  readonly stream: Stream | null;
  readonly number: number;
  readonly count: number;
}

type State = "connecting" | "greeting" | "sending" | "refused";

/** The sending end towards one hub. */
export class Sender {
  /** Messages handed to the session, and acknowledged by the hub. */
  sent = 0;
  acknowledged = 0;
  /** Lossy messages dropped. */
  dropped = 0;
  /** Why the hub takes nothing; empty when it does. */
  refusal = "";
  /** When the present state began. */
  sinceMs = 0;
  /** How its last connections ended, newest last. */
  readonly history: { atMs: number; text: string }[] = [];
  readonly #options: SenderOptions;
  readonly #schedule = new Schedule();
  readonly #limits = new Map<string, RateLimit>();
  readonly #sentUpTo = new Map<Stream, number>();
  readonly #lossy: Stream;
  #lossyBytes = 0;
  #session: Session | null = null;
  #targets: EntityAddr[] = [];
  #target = 0;
  #dialedMs = 0;
  #state: State = "connecting";
  /** Cookie of the session that was greeted: a session that was reset has another one. */
  readonly #greeted = new U64();
  #welcomed = new Set<string>();
  /** Spools whose HELLO is not answered: a WELCOME for any other is late, and says old numbers. */
  #asked = new Set<string>();
  #inFlight: InFlight[] = [];
  #acked = 0;
  #scheduled = 0;
  #waiting = false;
  readonly #timer: ReturnType<typeof setInterval>;
  #look: ReturnType<typeof setTimeout> | undefined;
  /** Something waits only for its rate. */
  #limited = false;
  #closed = false;

  /** @param options what it works with */
  constructor(options: SenderOptions) {
    this.#options = options;
    const { gateway, spool } = options;
    const lossy = { id: 0, spool: spool.id, number: 0, route: "", lane: 0, next: 1, hubs: [] };
    this.#lossy = new Stream(lossy, encoder.encode(gateway));
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#session = options.adopted ?? null;
    if (this.#session === null) this.#dial();
    else this.#adopt(this.#session);
  }

  /** Its name. */
  get name(): string {
    return this.#options.hub;
  }

  /** The session, when one was made. */
  get session(): Session | null {
    return this.#session;
  }

  /** What carries the session at the moment; null while nothing does. */
  get transport(): SessionTransport | null {
    return this.#session === null ? null : this.#options.endpoint.transportOf(this.#session);
  }

  /** Where it is: `connecting`, `greeting`, `sending`, `refused`. */
  get state(): State {
    return this.#state;
  }

  /** Messages in the spool that the hub does not have. */
  get waiting(): number {
    let count = 0;
    for (const stream of this.#options.spool.streams) {
      if (this.#options.feedOf(stream) === null) continue;
      count += Math.max(0, this.#options.spool.waiting(stream, this.#options.hub));
    }
    return count;
  }

  /** Routes changed: priorities and limits are asked for anew. */
  reroute(): void {
    this.#limits.clear();
    this.#schedule.clear();
    this.#scheduled = 0;
    this.pump();
  }

  /** Takes a message that is worth sending only now; it is dropped when it cannot be. */
  offerLossy(
    arrivalMs: number,
    topic: Uint8Array,
    contentType: Uint8Array,
    payload: Uint8Array,
  ): void {
    const ready = this.#state === "sending" && this.#session?.state === SessionState.Ready;
    if (!ready || this.#lossyBytes > LOSSY_BYTES_MAX) {
      this.dropped++;
      return;
    }
    this.#lossyBytes += this.#lossy.append(arrivalMs, topic, contentType, payload);
    this.pump();
  }

  /** Sends what there is and there is room for. */
  pump(): void {
    const session = this.#session;
    if (session === null || this.#closed || session.state === SessionState.Closed) return;
    if (!session.clientCookie.equals(this.#greeted)) {
      this.#forget();
      if (session.state !== SessionState.Ready) this.#setState("connecting");
      else if (session.unacknowledged === 0) this.#greet(session);
      else this.#lookIn(LOOK_MS); // what another box had sent
      return;
    }
    this.#takeAcknowledged(session);
    this.#limited = false;
    this.#send(session);
    if (this.#inFlight.length > this.#acked) this.#lookIn(LOOK_MS);
    else if (this.#limited) this.#lookIn(LIMITED_MS);
  }

  #lookIn(ms: number): void {
    this.#look ??= setTimeout(() => {
      this.#look = undefined;
      this.pump();
    }, ms);
  }

  #send(session: Session): void {
    if (this.#state !== "sending" || this.#waiting) return;
    this.#schedulePriorities();
    if (!this.#sendLossy(session)) return;
    const now = nowMs();
    const streams = this.#options.spool.streams;
    for (let count = 0; count < ENVELOPES_PER_PUMP; count++) {
      const index = this.#schedule.next((at) => this.#isReady(streams[at]!, now));
      if (index < 0) return;
      if (!this.#sendNext(session, streams[index]!)) return;
    }
    setImmediate(() => this.pump());
  }

  /** A WELCOME came. */
  handleWelcome(batch: Batch, index: number): void {
    if (batch.session(index) !== this.#session) return;
    const welcome = parseWelcome(greetingJson(batch.front(index)));
    if (typeof welcome === "string") {
      this.#options.note(`Hub ${this.name} answered something else: ${welcome}`);
      return;
    }
    this.#welcome(welcome);
    this.pump();
  }

  /** Something happened to our session: one that is over for good is made anew. */
  handleEvent({ kind, session, text }: MessengerEvent): void {
    if (session !== this.#session || this.#closed) return;
    if (kind === "fault" || kind === "reset" || kind === "remoteReset" || kind === "refused") {
      this.history.push({ atMs: Date.now(), text });
      if (this.history.length > HISTORY_MAX) this.history.shift();
    }
    if (kind === "connect" || kind === "resume") this.pump();
    if (kind !== "reset") return;
    this.#session = null;
    this.#setState("connecting");
    this.#dial();
  }

  /** Waits until the hub has everything, or the deadline; returns how many messages it has not. */
  async drain(deadlineMs: number): Promise<number> {
    while (nowMs() < deadlineMs) {
      this.pump();
      if (this.waiting === 0 && this.#inFlight.length === this.#acked) break;
      await delay(LOOK_MS);
    }
    return this.waiting;
  }

  /** Ends; what was not acknowledged stays in the spool. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#look);
    if (this.#session !== null) this.#options.endpoint.disconnect(this.#session);
    this.#session = null;
  }

  // ---- the session

  async #dial(): Promise<void> {
    const { endpoint, note } = this.#options;
    if (this.#targets.length === 0) {
      const targets = await this.#resolve();
      if (this.#closed) return;
      if (targets.length === 0) {
        setTimeout(() => this.#closed || this.#dial(), RESOLVE_MS);
        return;
      }
      this.#targets = targets;
      this.#target = 0;
    }
    this.#dialedMs = nowMs();
    try {
      this.#session = await endpoint.connect(this.#targets[this.#target]!, HUB_POLICY);
    } catch (error) {
      note(`Hub ${this.name}: ${(error as Error).message}`);
      setTimeout(() => this.#closed || this.#dial(), RESOLVE_MS);
    }
  }

  /** What the hub's addresses lead to; it is told when that is nowhere. */
  async #resolve(): Promise<EntityAddr[]> {
    const targets: EntityAddr[] = [];
    const unknown: string[] = [];
    for (const address of this.#options.addresses) {
      try {
        targets.push(...await resolveAll(address));
      } catch (error) {
        unknown.push((error as Error).message);
      }
    }
    if (targets.length === 0 && !this.#closed) {
      this.#options.note(`Hub ${this.name}: ${unknown[0]}; trying again until it is known`);
    }
    return targets;
  }

  /** Finds out which of the hub's addresses an adopted session has: for when it does not stand. */
  async #adopt(session: Session): Promise<void> {
    this.#dialedMs = nowMs();
    const targets = await this.#resolve();
    if (session !== this.#session || this.#targets.length > 0) return; // it is over, and was dialled
    this.#targets = targets;
    this.#target = targets.findIndex((one) => session.target?.equals(one) ?? false);
  }

  /** The next address, when the present one does not answer. */
  #failOver(session: Session, now: number): void {
    if (session.state === SessionState.Ready) {
      this.#dialedMs = now;
      return;
    }
    if (now - this.#dialedMs < FAILOVER_MS) return;
    const others = this.#targets.filter((_, index) => index !== this.#target);
    if (others.length === 0) return;
    const { endpoint, note } = this.#options;
    this.#target = (this.#target + 1) % this.#targets.length;
    const names = `${session.peerAddrs}`;
    if (this.#target === 0) this.#targets = []; // names may lead elsewhere by now
    note(`Hub ${this.name} does not answer at ${names}: trying the next address`);
    this.#session = null;
    this.#setState("connecting");
    endpoint.disconnect(session);
    this.#dial();
  }

  #tick(): void {
    const session = this.#session;
    const now = nowMs();
    if (session === null) return;
    this.#failOver(session, now);
    const since = now - this.sinceMs;
    const late = (this.#state === "refused" && since > REFUSED_MS) ||
      (this.#state === "greeting" && since > GREETING_MS);
    if (late && session.state === SessionState.Ready) this.#sayHello(session);
    this.pump();
  }

  #setState(state: State): void {
    if (state === this.#state) return;
    this.#state = state;
    this.sinceMs = nowMs();
  }

  // ---- greeting

  /**
   * The session is another one, or was reset: its queue is empty, which must not be taken for
   * acknowledgements of what was in it.
   */
  #forget(): void {
    this.#inFlight = [];
    this.#acked = 0;
    this.#waiting = false;
    this.#sentUpTo.clear();
    this.#welcomed.clear();
  }

  #greet(session: Session): void {
    this.#greeted.copy(session.clientCookie);
    this.#sayHello(session);
  }

  #sayHello(session: Session): void {
    const { gateway, spool } = this.#options;
    const spools = new Set([spool.id]);
    for (const stream of spool.streams) if (stream.messages > 0) spools.add(stream.spool);
    this.#welcomed = new Set();
    this.#asked = spools;
    this.sinceMs = nowMs();
    this.#setState("greeting");
    for (const id of [...spools]) {
      const hello: Hello = {
        version: GREETING_VERSION,
        gateway,
        spool: id,
        generation: spool.generation(id),
        streams: spool.streams.filter((stream) => stream.spool === id).map((stream) => ({
          stream: stream.number,
          oldest: this.#oldest(stream),
          next: stream.durable + 1,
        })),
      };
      const front = encoder.encode(JSON.stringify(hello));
      if (session.send({ type: FairleadType.Hello, front }) === 0) return;
      this.#inFlight.push({ stream: null, number: 0, count: 0 });
    }
  }

  /** Number of the first message that this hub can still get. */
  #oldest(stream: Stream): number {
    const cursor = stream.cursors.get(this.#options.hub) ?? 0;
    return Math.min(Math.max(cursor, stream.gone), stream.durable) + 1;
  }

  #welcome(welcome: Welcome): void {
    const { hub, note, onAcknowledged, spool } = this.#options;
    if (!this.#asked.delete(welcome.spool)) return;
    if (welcome.refused !== undefined) {
      const { text } = welcome.refused;
      if (text !== this.refusal) note(`Hub ${this.name} refuses messages: ${text}`);
      this.refusal = text;
      this.#setState("refused");
      return;
    }
    const last = new Map(welcome.last.map(({ stream, number }) => [stream, number]));
    for (const stream of spool.streams) {
      if (stream.spool !== welcome.spool) continue;
      const stored = Math.min(last.get(stream.number) ?? 0, stream.durable);
      const before = Math.max(stream.cursors.get(hub) ?? 0, stream.gone);
      this.acknowledged += Math.max(0, stored - before);
      spool.acknowledge(stream, hub, stored);
      this.#sentUpTo.set(stream, Math.max(stored, stream.cursors.get(hub) ?? 0));
    }
    onAcknowledged();
    this.#welcomed.add(welcome.spool);
    this.refusal = "";
    // All at once: what was salvaged goes before what came later.
    if (this.#asked.size === 0) this.#setState("sending");
  }

  // ---- sending

  #takeAcknowledged(session: Session): void {
    const { hub, onAcknowledged, spool } = this.#options;
    const acked = this.#inFlight.length - session.unacknowledged;
    if (acked <= this.#acked) return;
    for (; this.#acked < acked; this.#acked++) {
      const { stream, number, count } = this.#inFlight[this.#acked]!;
      this.acknowledged += count;
      if (stream !== null) spool.acknowledge(stream, hub, number);
    }
    if (this.#acked * 2 > this.#inFlight.length) {
      this.#inFlight.splice(0, this.#acked);
      this.#acked = 0;
    }
    onAcknowledged();
  }

  /** Streams that came since the last look are given their turn. */
  #schedulePriorities(): void {
    const { feedOf, spool } = this.#options;
    for (; this.#scheduled < spool.streams.length; this.#scheduled++) {
      const stream = spool.streams[this.#scheduled]!;
      const feed = feedOf(stream);
      if (feed === null) continue;
      this.#schedule.add(this.#scheduled, feed.priority);
      if (feed.messagesPerSecond > 0 && !this.#limits.has(stream.route)) {
        this.#limits.set(stream.route, new RateLimit(feed.messagesPerSecond, nowMs()));
      }
    }
  }

  #isReady(stream: Stream, now: number): boolean {
    if (!this.#welcomed.has(stream.spool)) return false;
    if (this.#upTo(stream) >= stream.durable) return false;
    const allowed = this.#limits.get(stream.route)?.allows(now) ?? true;
    if (!allowed) this.#limited = true;
    return allowed;
  }

  #upTo(stream: Stream): number {
    return this.#sentUpTo.get(stream) ?? stream.cursors.get(this.#options.hub) ?? 0;
  }

  /** Sends a stream's next envelope; false when the session has no room. */
  #sendNext(session: Session, stream: Stream): boolean {
    const stored = this.#options.spool.read(stream, this.#upTo(stream));
    if (stored === null) {
      this.#sentUpTo.set(stream, stream.durable); // the rest was dropped by a bound
      return true;
    }
    const { envelope, number, count } = stored;
    if (!this.#post(session, stream, number, envelope)) return false;
    this.#inFlight.push({ stream, number, count });
    this.#sentUpTo.set(stream, number);
    this.#limits.get(stream.route)?.take(count);
    this.sent += count;
    return true;
  }

  #sendLossy(session: Session): boolean {
    if (!this.#lossy.pending) return true;
    for (const { bytes, number, count } of this.#lossy.waiting()) {
      if (this.#post(session, this.#lossy, number, bytes)) {
        this.#inFlight.push({ stream: null, number: 0, count });
        this.sent += count;
      } else this.dropped += count;
    }
    this.#lossy.taken();
    this.#lossyBytes = 0;
    return !this.#waiting;
  }

  #post(session: Session, stream: Stream, number: number, envelope: Uint8Array): boolean {
    const record = session.reserve(HOP_SIZE + envelope.length, 0, 0);
    if (record === 0) {
      this.#waitForRoom(session);
      return false;
    }
    const at = writeHop(arena, recordFrontAt(record), stream.spoolId, stream.number, number);
    arena.bytes.set(envelope, at);
    session.commit(record, FairleadType.Post, PRIORITY_DEFAULT, 1, 1, 0, 0);
    return true;
  }

  async #waitForRoom(session: Session): Promise<void> {
    this.#waiting = true;
    try {
      await this.#options.endpoint.writable(session);
    } catch {
      // The session is over: the next one begins anew.
    }
    if (session !== this.#session) return;
    this.#waiting = false;
    this.pump();
  }
}
