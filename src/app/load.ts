/**
 * The two halves of a load: a client that keeps requests in flight, a server that answers each.
 * Their messages are those of ceph_perf_msgr_client and ceph_perf_msgr_server (wire/ceph/osd.ts).
 * Both run inside of the loop and allocate nothing per message.
 *
 * @module
 */
import { arena } from "../mem/arena.ts";
import type { Batch } from "../proto/msgr2/batch.ts";
import { recordFrontAt } from "../proto/msgr2/outbox.ts";
import { type Session, SessionState } from "../proto/msgr2/session.ts";
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

/** Latencies are counted in tenths of a microsecond. */
const TENTHS_PER_MS = 10_000;

/** Sends `total` requests, `inFlight` of them unanswered at any time. */
export class LoadClient {
  /** Tenths of a microsecond from request to answer. */
  readonly latencies: Histogram = new Histogram();
  /** Answers so far. */
  answered = 0;
  /** Messages that were no answer. */
  errors = 0;
  readonly #session: Session;
  readonly #size: number;
  readonly #inFlight: number;
  readonly #total: number;
  readonly #sentMs: Float64Array;
  #sent = 0;

  /** Sends nothing before {@linkcode pump}. */
  constructor(session: Session, size: number, inFlight: number, total: number) {
    this.#session = session;
    this.#size = size;
    this.#inFlight = inFlight;
    this.#total = total;
    this.#sentMs = new Float64Array(inFlight);
  }

  /** True once every request has its answer. */
  get done(): boolean {
    return this.answered === this.#total;
  }

  /** Takes answers (they come in the order of the requests) and sends the next requests. */
  handle(batch: Batch): void {
    const now = performance.now();
    for (let index = 0; index < batch.length; index++) {
      if (batch.type(index) !== PERF_OSD_OP_REPLY.type || this.answered === this.#sent) {
        this.errors++;
        continue;
      }
      const sentMs = this.#sentMs[this.answered % this.#inFlight]!;
      this.latencies.add((now - sentMs) * TENTHS_PER_MS);
      this.answered++;
    }
    this.pump(now);
  }

  /**
   * Sends as many requests as may be in flight. Their data is whatever the arena holds there,
   * zeros or earlier requests: as with Ceph's tool nobody looks at it, and filling it would be
   * measured.
   */
  pump(now: number): void {
    const session = this.#session;
    while (this.#sent < this.#total && this.#sent - this.answered < this.#inFlight) {
      const record = session.reserve(PERF_OSD_OP_SIZE, 0, this.#size);
      if (record === 0) {
        if (this.#sent > this.answered) return; // the next answer makes room
        throw new Error(
          `Cannot send a request of ${this.#size} bytes as there is no memory for it: use a ` +
            "smaller --size",
        );
      }
      writePerfOsdOp(arena, recordFrontAt(record), this.#size);
      const { type, version, compatVersion } = PERF_OSD_OP;
      this.#sentMs[this.#sent % this.#inFlight] = now;
      this.#sent++;
      session.commit(record, type, PRIORITY_DEFAULT, version, compatVersion, 0, 0);
    }
  }
}

/** Answers requests, and counts them per session. */
export class LoadServer {
  readonly #endpoint: Endpoint;
  readonly #tallies = new Map<Session, Tally>();
  #last: Session | null = null;
  #tally: Tally = newTally();

  /** @param endpoint whose sessions get answers */
  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  /** Answers a batch; a promise when an answer had to wait for room. */
  handle(batch: Batch): void | Promise<void> {
    for (let index = 0; index < batch.length; index++) {
      if (!this.#answer(batch, index)) return this.#answerRest(batch, index);
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
  #answer(batch: Batch, index: number): boolean {
    const session = batch.session(index);
    if (session.state === SessionState.Closed) return true;
    if (session !== this.#last) this.#turnTo(session);
    if (batch.type(index) !== PERF_OSD_OP.type) {
      this.#tally.errors++;
      return true;
    }
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

  async #answerRest(batch: Batch, from: number): Promise<void> {
    for (let index = from; index < batch.length; index++) {
      while (!this.#answer(batch, index)) {
        try {
          await this.#endpoint.writable(batch.session(index));
        } catch {
          continue; // the session is over: #answer passes it over
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

/** What one session's client asked for. */
export interface Tally {
  /** Requests answered. */
  messages: number;
  /** Their data. */
  bytes: number;
  /** Messages that were no request. */
  errors: number;
}

function newTally(): Tally {
  return { messages: 0, bytes: 0, errors: 0 };
}
