/**
 * Messages on their way to the application: a bounded list of places in receive buffers. The
 * bytes stay where they arrived until the batch is done; only then are the messages counted as
 * taken over, and acknowledged. msgr2 "Message exchange", TAG_ACK.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { BATCH_MESSAGES_MAX } from "../../mem/limits.ts";
import { U64 } from "../../mem/u64.ts";
import type { FrameParts } from "../../wire/msgr2/frame.ts";
import type { MessageHeader } from "../../wire/msgr2/message.ts";
import type { Preamble } from "../../wire/msgr2/preamble.ts";
import type { Connection } from "./connection.ts";
import type { Session } from "./session.ts";

const WORDS = 12;
const TYPE = 0;
const PRIORITY = 1;
const VERSION = 2;
const COMPAT_VERSION = 3;
const TID_LO = 4;
const TID_HI = 5;
const FRONT_AT = 6;
const FRONT_BYTES = 7;
const MIDDLE_AT = 8;
const MIDDLE_BYTES = 9;
const DATA_AT = 10;
const DATA_BYTES = 11;

/**
 * A bounded list of received messages; index them from 0 to `length`.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Batch, Endpoint, POLICIES, U64 } from "@fairlead/fairlead";
 *
 * const hub = new Endpoint();
 * const box = new Endpoint();
 * const session = await box.connect(await hub.listen("v2:127.0.0.1:0"), POLICIES.losslessClient);
 * session.send({ type: 0xfa01, front: Uint8Array.of(1, 2), tid: U64.of(7) });
 * const received = await new Promise((resolve) =>
 *   hub.handle((batch: Batch) => {
 *     assert.equal(batch.type(0), 0xfa01);
 *     assert.equal(batch.tid(0), 7n);
 *     resolve(batch.front(0).slice()); // the view ends with the batch, so a copy
 *   })
 * );
 * assert.deepEqual(received, Uint8Array.of(1, 2));
 * await box.close();
 * await hub.close();
 * ```
 */
export class Batch {
  /** Messages in it. */
  length = 0;
  readonly #words = new Int32Array(BATCH_MESSAGES_MAX * WORDS);
  readonly #seqs = new Float64Array(BATCH_MESSAGES_MAX);
  readonly #connections: (Connection | null)[] = new Array(BATCH_MESSAGES_MAX).fill(null);
  readonly #sessions: (Session | null)[] = new Array(BATCH_MESSAGES_MAX).fill(null);

  /** True when no further message fits. */
  get full(): boolean {
    return this.length === BATCH_MESSAGES_MAX;
  }

  /** The session that message `index` came on. */
  session(index: number): Session {
    return this.#sessions[this.#check(index)]!;
  }

  /** The connection whose buffer holds message `index`. */
  connection(index: number): Connection {
    return this.#connections[this.#check(index)]!;
  }

  /** True when a message of this session is in it. */
  has(session: Session): boolean {
    for (let index = 0; index < this.length; index++) {
      if (this.#sessions[index] === session) return true;
    }
    return false;
  }

  /** Number of message `index` in its session. */
  seq(index: number): number {
    return this.#seqs[this.#check(index)]!;
  }

  /** Message type. */
  type(index: number): number {
    return this.#word(index, TYPE);
  }

  /** Message priority. */
  priority(index: number): number {
    return this.#word(index, PRIORITY);
  }

  /** Version of the payload's encoding. */
  version(index: number): number {
    return this.#word(index, VERSION);
  }

  /** Oldest version whose decoder reads the payload. */
  compatVersion(index: number): number {
    return this.#word(index, COMPAT_VERSION);
  }

  /** Low half of the transaction id. */
  tidLo(index: number): number {
    return this.#word(index, TID_LO);
  }

  /** High half of the transaction id. */
  tidHi(index: number): number {
    return this.#word(index, TID_HI);
  }

  /** The transaction id as a BigInt. */
  tid(index: number): bigint {
    const tid = new U64();
    tid.set(this.tidLo(index), this.tidHi(index));
    return tid.toBigInt();
  }

  /** Arena offset of the front segment. */
  frontAt(index: number): number {
    return this.#word(index, FRONT_AT);
  }

  /** Length of the front segment in bytes. */
  frontBytes(index: number): number {
    return this.#word(index, FRONT_BYTES);
  }

  /** Arena offset of the middle segment. */
  middleAt(index: number): number {
    return this.#word(index, MIDDLE_AT);
  }

  /** Length of the middle segment in bytes. */
  middleBytes(index: number): number {
    return this.#word(index, MIDDLE_BYTES);
  }

  /** Arena offset of the data segment, after its padding. */
  dataAt(index: number): number {
    return this.#word(index, DATA_AT);
  }

  /** Length of the data segment in bytes, without its padding. */
  dataBytes(index: number): number {
    return this.#word(index, DATA_BYTES);
  }

  /** The front segment: a view, valid until the batch is done. */
  front(index: number): Uint8Array<ArrayBuffer> {
    const at = this.frontAt(index);
    return arena.bytes.subarray(at, at + this.frontBytes(index));
  }

  /** The middle segment: a view, valid until the batch is done. */
  middle(index: number): Uint8Array<ArrayBuffer> {
    const at = this.middleAt(index);
    return arena.bytes.subarray(at, at + this.middleBytes(index));
  }

  /** The data segment: a view, valid until the batch is done. */
  data(index: number): Uint8Array<ArrayBuffer> {
    const at = this.dataAt(index);
    return arena.bytes.subarray(at, at + this.dataBytes(index));
  }

  /** Appends a message; the caller has looked at `full`. */
  push(
    connection: Connection,
    session: Session,
    header: MessageHeader,
    preamble: Preamble,
    parts: FrameParts,
  ): void {
    const { lengths, segmentCount } = preamble;
    const index = this.length++;
    const words = this.#words;
    const at = index * WORDS;
    this.#connections[index] = connection;
    this.#sessions[index] = session;
    this.#seqs[index] = header.seq;
    words[at + TYPE] = header.type;
    words[at + PRIORITY] = header.priority;
    words[at + VERSION] = header.version;
    words[at + COMPAT_VERSION] = header.compatVersion;
    words[at + TID_LO] = header.tid.lo;
    words[at + TID_HI] = header.tid.hi;
    words[at + FRONT_AT] = segmentCount > 1 ? parts.at[1]! : 0;
    words[at + FRONT_BYTES] = lengths[1]!;
    words[at + MIDDLE_AT] = segmentCount > 2 ? parts.at[2]! : 0;
    words[at + MIDDLE_BYTES] = lengths[2]!;
    words[at + DATA_AT] = segmentCount > 3 ? parts.at[3]! + header.dataPrePadding : 0;
    words[at + DATA_BYTES] = lengths[3]! - header.dataPrePadding;
  }

  /** Empties the list, and lets go of what it pointed to. */
  clear(): void {
    this.#connections.fill(null, 0, this.length);
    this.#sessions.fill(null, 0, this.length);
    this.length = 0;
  }

  #word(index: number, word: number): number {
    return this.#words[this.#check(index) * WORDS + word]!;
  }

  #check(index: number): number {
    if (index >= 0 && index < this.length) return index;
    throw new RangeError(
      `Cannot read message as its index must be 0 to ${this.length - 1}: current value is ${index}`,
    );
  }
}
