/**
 * One stream of a spool: messages of one route and lane, numbered without gaps in the order they
 * came. Those that are not written yet are gathered here into envelopes, in memory that is reused.
 *
 * @module
 */
import { newRegion, type Region } from "../../mem/region.ts";
import {
  ENVELOPE_MESSAGES_MAX,
  type EnvelopeHead,
  envelopeHeadBytes,
  envelopeMessageBytes,
  finishEnvelope,
  writeEnvelopeHead,
  writeEnvelopeMessage,
} from "../../wire/gateway/envelope.ts";

/** An envelope is closed when it has so many bytes: a message larger than that has its own. */
const ENVELOPE_BYTES = 64 * 1024;

/** An envelope that waits to be written. */
export interface Sealed {
  readonly bytes: Uint8Array;
  /** Number of its last message. */
  readonly number: number;
  readonly count: number;
}

/** Numbers that name no message: those above `after`, up to `number`. */
export interface Hole {
  readonly after: number;
  readonly number: number;
}

/** A stream. */
export class Stream {
  /** Row in the database. */
  readonly id: number;
  /** The spool it is numbered in, as hex: ours, or one whose rest was salvaged. */
  readonly spool: string;
  /** Its number in that spool. */
  readonly number: number;
  /** The filter of the route that feeds it; empty when it was salvaged. */
  readonly route: string;
  /** Names of the hubs that are to have its messages. */
  hubs: readonly string[];
  readonly lane: number;
  /** Number that the next message gets. */
  next: number;
  /** Number of the last message that is written, and of the last one that is on the disk. */
  written: number;
  durable: number;
  /** Number of the last message that was deleted, as far as known. */
  gone = 0;
  /** Above `gone`, in order, as they were when the spool was opened. */
  holes: readonly Hole[] = [];
  /** Messages and bytes that are stored. */
  messages = 0;
  bytes = 0;
  /** What each hub has acknowledged. */
  readonly cursors = new Map<string, number>();
  /** Hubs whose cursor moved since it was stored. */
  readonly moved = new Set<string>();
  readonly #head: EnvelopeHead;
  #region: Region;
  #end = 0;
  #count = 0;
  #sealed: Sealed[] = [];

  constructor(
    { id, spool, number, route, lane, next, hubs }: {
      id: number;
      spool: string;
      number: number;
      route: string;
      lane: number;
      next: number;
      hubs: readonly string[];
    },
    gateway: Uint8Array,
  ) {
    this.id = id;
    this.spool = spool;
    this.number = number;
    this.route = route;
    this.lane = lane;
    this.next = next;
    this.hubs = hubs;
    this.written = next - 1;
    this.durable = next - 1;
    this.#head = { spool: Uint8Array.fromHex(spool), stream: number, gateway };
    this.#region = newRegion(0);
  }

  /** The spool's id as bytes. */
  get spoolId(): Uint8Array {
    return this.#head.spool;
  }

  /** True when something waits to be written. */
  get pending(): boolean {
    return this.#count > 0 || this.#sealed.length > 0;
  }

  /** Gathers a message; returns how many bytes it takes. */
  append(
    arrivalMs: number,
    topic: Uint8Array,
    contentType: Uint8Array,
    payload: Uint8Array,
  ): number {
    const bytes = envelopeMessageBytes(topic.length, contentType.length, payload.length);
    const full = this.#end + bytes > ENVELOPE_BYTES || this.#count === ENVELOPE_MESSAGES_MAX;
    if (full && this.#count > 0) this.#seal();
    this.#makeRoom(this.#end + envelopeHeadBytes(this.#head) + bytes);
    if (this.#count === 0) this.#end = writeEnvelopeHead(this.#region, 0, this.#head);
    this.#end = writeEnvelopeMessage(
      this.#region,
      this.#end,
      arrivalMs,
      topic,
      contentType,
      payload,
    );
    this.#count++;
    this.next++;
    return bytes;
  }

  /** Gathers an envelope that is complete already, as a hub does that forwards. */
  appendSealed(envelope: Uint8Array, count: number): void {
    this.next += count;
    this.#sealed.push({ bytes: envelope.slice(), number: this.next - 1, count });
  }

  /** What waits to be written; it stays until {@linkcode taken}. */
  waiting(): readonly Sealed[] {
    if (this.#count > 0) this.#seal();
    return this.#sealed;
  }

  /** What was waiting has been written. */
  taken(): void {
    this.#sealed = [];
    this.written = this.next - 1;
  }

  #seal(): void {
    finishEnvelope(this.#region, 0, this.#end, this.next - this.#count, this.#count);
    const bytes = this.#region.bytes.slice(0, this.#end);
    this.#sealed.push({ bytes, number: this.next - 1, count: this.#count });
    this.#end = 0;
    this.#count = 0;
  }

  #makeRoom(bytes: number): void {
    const { length } = this.#region.bytes;
    if (bytes <= length && (length <= 2 * ENVELOPE_BYTES || this.#end > 0)) return;
    const larger = newRegion(Math.max(2 * this.#end, bytes, 4096));
    larger.bytes.set(this.#region.bytes.subarray(0, this.#end));
    this.#region = larger;
  }
}
