/**
 * The two halves of a load. Requests: a client that keeps some in flight, or sends them at a rate,
 * and a server that answers each; their messages are those of ceph_perf_msgr_client and
 * ceph_perf_msgr_server (wire/ceph/osd.ts). One way: lines as a gateway sends them, which get
 * acknowledgements and no answers. All run inside of the loop and allocate nothing per message.
 *
 * @module
 */
import { arena } from "../mem/arena.ts";
import type { Batch } from "../proto/msgr2/batch.ts";
import { recordFrontAt } from "../proto/msgr2/outbox.ts";
import { SharedData } from "../proto/msgr2/shared_data.ts";
import { type OutMessage, type Session, SessionState } from "../proto/msgr2/session.ts";
import {
  PERF_OSD_OP,
  PERF_OSD_OP_REPLY,
  PERF_OSD_OP_REPLY_SIZE,
  PERF_OSD_OP_SIZE,
  writePerfOsdOp,
  writePerfOsdOpReply,
} from "../wire/ceph/osd.ts";
import { PRIORITY_DEFAULT } from "../wire/msgr2/message.ts";
import type { Endpoint } from "./endpoint.ts";
import { Histogram } from "./histogram.ts";
import { FairleadType } from "./message_types.ts";

/** Latencies are counted in tenths of a microsecond. */
const TENTHS_PER_MS = 10_000;
/** Requests share their data from here on (measured). */
const SHARED_BYTES_MIN = 1024;
/** How often a paced load looks what is due; the timers of Deno take a millisecond at least. */
const PACE_MS = 1;
/** What lines are made of: "x". */
const LINE_BYTE = 0x78;

/** A load on one or several sessions, from the side that sends. */
export interface Load {
  /** Messages that have come to their end: answered, or acknowledged. */
  readonly answered: number;
  /** Messages that were no answer. */
  readonly errors: number;
  /** Tenths of a microsecond for each message; empty when that is not known. */
  readonly latencies: Histogram;
  /**
   * Sends everything; resolves when all is answered.
   *
   * @param failed rejects when the rest will never be
   */
  run(failed: Promise<never>): Promise<void>;
  /** Takes what arrives. */
  handle(batch: Batch): void;
}

/** What one session of a load does. */
interface Lane {
  readonly session: Session;
  /** Messages that it has to send. */
  readonly total: number;
  sent: number;
}

interface RequestLane extends Lane {
  answered: number;
  /** When the requests in flight were sent. */
  readonly sentMs: Float64Array;
}

/** The part of `total` messages that falls to a session. */
function share(total: number, sessions: number, index: number): number {
  return Math.floor(total / sessions) + (index < total % sessions ? 1 : 0);
}

/** Sends requests, `inFlight` of them unanswered on each session at any time. */
export class RequestLoad implements Load {
  readonly latencies: Histogram = new Histogram();
  answered = 0;
  errors = 0;
  readonly #size: number;
  readonly #data: number | SharedData;
  readonly #inFlight: number;
  readonly #total: number;
  readonly #lanes = new Map<Session, RequestLane>();
  readonly #finished = Promise.withResolvers<void>();
  #lane: RequestLane;

  /** Sends nothing before {@linkcode run}. */
  constructor(sessions: readonly Session[], size: number, inFlight: number, total: number) {
    this.#size = size;
    this.#data = requestData(size);
    this.#inFlight = inFlight;
    this.#total = total;
    for (const [index, session] of sessions.entries()) {
      const own = share(total, sessions.length, index);
      const sentMs = new Float64Array(inFlight);
      this.#lanes.set(session, { session, total: own, sent: 0, answered: 0, sentMs });
    }
    this.#lane = this.#lanes.get(sessions[0]!)!;
  }

  run(): Promise<void> {
    const now = performance.now();
    for (const lane of this.#lanes.values()) this.#pump(lane, now);
    return this.#finished.promise;
  }

  /** Takes answers (they come in the order of the requests) and sends the next requests. */
  handle(batch: Batch): void {
    try {
      this.#handle(batch, performance.now());
    } catch (error) {
      this.#finished.reject(error);
    }
    if (this.answered === this.#total) this.#finished.resolve();
  }

  #handle(batch: Batch, now: number): void {
    let lane = this.#lane;
    for (let index = 0; index < batch.length; index++) {
      const session = batch.session(index);
      if (session !== lane.session) {
        this.#pump(lane, now);
        lane = this.#lanes.get(session)!;
      }
      if (batch.type(index) !== PERF_OSD_OP_REPLY.type || lane.answered === lane.sent) {
        this.errors++;
        continue;
      }
      const sentMs = lane.sentMs[lane.answered % this.#inFlight]!;
      this.latencies.add((now - sentMs) * TENTHS_PER_MS);
      lane.answered++;
      this.answered++;
    }
    this.#pump(lane, now);
    this.#lane = lane;
  }

  /** Sends as many requests as may be in flight. */
  #pump(lane: RequestLane, now: number): void {
    while (lane.sent < lane.total && lane.sent - lane.answered < this.#inFlight) {
      if (!sendRequest(lane.session, this.#data, this.#size)) {
        if (lane.sent > lane.answered) return; // the next answer makes room
        throw new Error(
          `Cannot send a request of ${this.#size} bytes as there is no memory for it: use a ` +
            "smaller --size",
        );
      }
      lane.sentMs[lane.sent % this.#inFlight] = now;
      lane.sent++;
    }
  }
}

/** A session's place in the plan of a paced load. */
interface PacedLane {
  /** Where in the first round it stands. */
  readonly index: number;
  answered: number;
}

/**
 * Sends requests at a rate, whether or not there are answers. Latencies count from when a request
 * was due, so a stall of either side shows in all the requests that it kept waiting ("coordinated
 * omission" hides them).
 */
export class PacedLoad implements Load {
  readonly latencies: Histogram = new Histogram();
  answered = 0;
  errors = 0;
  readonly #sessions: readonly Session[];
  readonly #size: number;
  readonly #data: number | SharedData;
  readonly #total: number;
  readonly #apartMs: number;
  readonly #lanes = new Map<Session, PacedLane>();
  readonly #finished = Promise.withResolvers<void>();
  #startMs = 0;
  #sent = 0;

  /**
   * Sends nothing before {@linkcode run}.
   *
   * @param rate requests per second on each session; the sessions take turns, evenly spread
   */
  constructor(sessions: readonly Session[], size: number, rate: number, total: number) {
    this.#sessions = sessions;
    this.#size = size;
    this.#data = requestData(size);
    this.#total = total;
    this.#apartMs = 1000 / rate / sessions.length;
    for (const [index, session] of sessions.entries()) {
      this.#lanes.set(session, { index, answered: 0 });
    }
  }

  async run(failed: Promise<never>): Promise<void> {
    this.#startMs = performance.now();
    const timer = setInterval(() => this.#pump(performance.now()), PACE_MS);
    try {
      await Promise.race([this.#finished.promise, failed]);
    } finally {
      clearInterval(timer);
    }
  }

  /** Takes answers; on each session they come in the order of the requests. */
  handle(batch: Batch): void {
    const now = performance.now();
    const { length } = this.#sessions;
    for (let index = 0; index < batch.length; index++) {
      const lane = this.#lanes.get(batch.session(index))!;
      const request = lane.answered * length + lane.index;
      if (batch.type(index) !== PERF_OSD_OP_REPLY.type || request >= this.#sent) {
        this.errors++;
        continue;
      }
      this.latencies.add((now - this.#dueMs(request)) * TENTHS_PER_MS);
      lane.answered++;
      this.answered++;
    }
    this.#pump(now);
    if (this.answered === this.#total) this.#finished.resolve();
  }

  #dueMs(request: number): number {
    return this.#startMs + request * this.#apartMs;
  }

  /** Sends what is due; where there is no room the rest is sent late, and its latency tells. */
  #pump(now: number): void {
    while (this.#sent < this.#total && this.#dueMs(this.#sent) <= now) {
      const session = this.#sessions[this.#sent % this.#sessions.length]!;
      if (!sendRequest(session, this.#data, this.#size)) return;
      this.#sent++;
    }
  }
}

/**
 * Sends lines that get no answer, and keeps the queues full; done when all are acknowledged. A
 * promise is made for each half of a queue, none for a message.
 */
export class OneWayLoad implements Load {
  readonly latencies: Histogram = new Histogram();
  errors = 0;
  readonly #endpoint: Endpoint;
  readonly #lanes: Lane[];
  readonly #line: OutMessage;

  /** Sends nothing before {@linkcode run}. */
  constructor(endpoint: Endpoint, sessions: readonly Session[], size: number, total: number) {
    this.#endpoint = endpoint;
    this.#line = { type: FairleadType.Line, front: new Uint8Array(size).fill(LINE_BYTE) };
    this.#lanes = sessions.map((session, index) => ({
      session,
      total: share(total, sessions.length, index),
      sent: 0,
    }));
  }

  /** Messages acknowledged. */
  get answered(): number {
    return this.#lanes.reduce((sum, { session, sent }) => sum + sent - session.unacknowledged, 0);
  }

  async run(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => this.#drive(lane)));
  }

  /** Nothing is expected. */
  handle(batch: Batch): void {
    this.errors += batch.length;
  }

  async #drive(lane: Lane): Promise<void> {
    const { session, total } = lane;
    while (lane.sent < total) {
      lane.sent += sendLines(session, this.#line, total - lane.sent);
      if (lane.sent < total) await this.#endpoint.writable(session);
    }
    await this.#endpoint.flushed(session);
  }
}

/**
 * The data of every request: as with Ceph's tool always the same bytes, whose crc is computed once.
 * Short data is cheaper in the request itself; there it is whatever the arena holds, as nobody
 * looks at it.
 */
function requestData(size: number): number | SharedData {
  if (size < SHARED_BYTES_MIN) return size;
  const data = new SharedData(size);
  arena.bytes.fill(0, data.at, data.at + size);
  return data;
}

/** Sends a request; false when there is no room. */
function sendRequest(session: Session, data: number | SharedData, size: number): boolean {
  const record = session.reserve(PERF_OSD_OP_SIZE, 0, data);
  if (record === 0) return false;
  writePerfOsdOp(arena, recordFrontAt(record), size);
  const { type, version, compatVersion } = PERF_OSD_OP;
  session.commit(record, type, PRIORITY_DEFAULT, version, compatVersion, 0, 0);
  return true;
}

/** Sends a line up to `most` times while there is room; returns how often. */
function sendLines(session: Session, line: OutMessage, most: number): number {
  let count = 0;
  while (count < most && session.send(line) > 0) count++;
  return count;
}

/** Answers requests, takes lines over without a word, and counts both per session. */
export class LoadServer {
  readonly #endpoint: Endpoint;
  readonly #tallies = new Map<Session, Tally>();
  #last: Session | null = null;
  #tally: Tally = newTally();

  /** @param endpoint whose sessions get answers */
  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  /** Takes a batch; a promise when an answer had to wait for room. */
  handle(batch: Batch): void | Promise<void> {
    for (let index = 0; index < batch.length; index++) {
      if (!this.#take(batch, index)) return this.#takeRest(batch, index);
    }
  }

  /** What a session had, once it is over. */
  take(session: Session): Tally {
    const tally = this.#tallies.get(session) ?? newTally();
    this.#tallies.delete(session);
    if (this.#last === session) this.#last = null;
    return tally;
  }

  /** False when there is no room for the answer. */
  #take(batch: Batch, index: number): boolean {
    const session = batch.session(index);
    if (session !== this.#last) this.#turnTo(session);
    switch (batch.type(index)) {
      case FairleadType.Line:
        this.#tally.messages++;
        this.#tally.bytes += batch.frontBytes(index);
        return true;
      case PERF_OSD_OP.type:
        return session.state === SessionState.Closed || this.#answer(session, batch, index);
      default:
        this.#tally.errors++;
        return true;
    }
  }

  #answer(session: Session, batch: Batch, index: number): boolean {
    const record = session.reserve(PERF_OSD_OP_REPLY_SIZE, 0, 0);
    if (record === 0) return false;
    writePerfOsdOpReply(arena, recordFrontAt(record));
    const { type, version, compatVersion } = PERF_OSD_OP_REPLY;
    const priority = batch.priority(index);
    const tidLo = batch.tidLo(index);
    const tidHi = batch.tidHi(index);
    session.commit(record, type, priority, version, compatVersion, tidLo, tidHi);
    this.#tally.messages++;
    this.#tally.bytes += batch.dataBytes(index);
    return true;
  }

  async #takeRest(batch: Batch, from: number): Promise<void> {
    for (let index = from; index < batch.length; index++) {
      while (!this.#take(batch, index)) {
        try {
          await this.#endpoint.writable(batch.session(index));
        } catch {
          continue; // the session is over: #take passes it over
        }
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    }
  }

  #turnTo(session: Session): void {
    let tally = this.#tallies.get(session);
    if (tally === undefined) {
      tally = newTally();
      this.#tallies.set(session, tally);
    }
    this.#last = session;
    this.#tally = tally;
  }
}

/** What one session's client sent. */
export interface Tally {
  /** Requests answered, or lines taken over. */
  messages: number;
  /** Their data. */
  bytes: number;
  /** Messages that were neither. */
  errors: number;
}

function newTally(): Tally {
  return { messages: 0, bytes: 0, errors: 0 };
}
