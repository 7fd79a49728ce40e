/**
 * A hub's output that hands messages on to another hub, exactly once: they are kept in a spool in the
 * hub's own database, committed with the numbers that brought them, and a sender carries them on.
 * Envelopes keep the name, spool and number that the first gateway gave; on this hop they are numbered
 * anew.
 *
 * @module
 */
import { newRegion, type Region } from "../../mem/region.ts";
import {
  envelopeHeadBytes,
  envelopeMessageBytes,
  finishEnvelope,
  NAME_BYTES_MAX,
  writeEnvelopeHead,
  writeEnvelopeMessage,
} from "../../wire/gateway/envelope.ts";
import { outputCounts } from "../outputs/counts.ts";
import type { Spool } from "../spool/spool.ts";
import type { Output, OutputCounts, Received } from "./output.ts";

/** An envelope is closed when it has so many bytes. */
const ENVELOPE_BYTES = 64 * 1024;
/** Messages of one origin keep their order: each has one of so many lanes. */
const LANES = 16;
const NO_SPOOL = "00".repeat(16);
const encoder = new TextEncoder();

/** Messages of one origin with consecutive numbers, of one round. */
interface Run {
  readonly gateway: string;
  readonly spool: string;
  readonly stream: number;
  readonly lane: number;
  readonly first: number;
  next: number;
  region: Region;
  end: number;
}

/** Puts messages into the hub's spool. */
export class ForwardOutput implements Output {
  readonly name: string;
  readonly required: boolean;
  readonly counts: OutputCounts = outputCounts();
  readonly where: string;
  readonly trouble = "";
  readonly #spool: Spool;
  #run: Run | null = null;
  readonly #texts = new Map<string, Uint8Array>();

  /** @param addresses of the other hub, for people */
  constructor(name: string, required: boolean, addresses: readonly string[], spool: Spool) {
    this.name = name;
    this.required = required;
    this.where = addresses.join(", ");
    this.#spool = spool;
  }

  take(message: Received): void {
    if (!this.required && this.#spool.stuffed) {
      this.counts.dropped++;
      return;
    }
    let run = this.#run;
    if (run === null || !follows(run, message)) {
      this.#end();
      this.#run = run = this.#begin(message);
    }
    const topic = this.#bytes(message.topic);
    const contentType = this.#bytes(message.contentType);
    const { payload } = message;
    makeRoom(run, envelopeMessageBytes(topic.length, contentType.length, payload.length));
    run.end = writeEnvelopeMessage(
      run.region,
      run.end,
      message.arrivalMs,
      topic,
      contentType,
      payload,
    );
    run.next++;
    this.counts.messages++;
    this.counts.bytes += payload.length;
  }

  flush(): Promise<void> {
    this.#end();
    if (this.required && this.#spool.stuffed) {
      return Promise.reject(new Error(`what waits for ${this.where} has no more room`));
    }
    return Promise.resolve();
  }

  position(): null {
    return null; // the spool is stored in the same transaction
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #begin({ gateway, number, spool, stream }: Received): Run {
    const head = {
      spool: Uint8Array.fromHex(spool === "" ? NO_SPOOL : spool),
      stream,
      gateway: this.#bytes(gateway),
    };
    const region = newRegion(Math.max(4096, envelopeHeadBytes(head)));
    const end = writeEnvelopeHead(region, 0, head);
    const lane = laneOf(`${gateway} ${spool} ${stream}`);
    return { gateway, spool, stream, lane, first: number, next: number, region, end };
  }

  #end(): void {
    const run = this.#run;
    if (run === null) return;
    this.#run = null;
    const count = run.next - run.first;
    finishEnvelope(run.region, 0, run.end, run.first, count);
    const stream = this.#spool.stream(this.name, run.lane, [this.name]);
    this.#spool.appendEnvelope(stream, run.region.bytes.subarray(0, run.end), count);
  }

  #bytes(text: string): Uint8Array {
    let bytes = this.#texts.get(text);
    if (bytes === undefined) {
      bytes = encoder.encode(text).subarray(0, NAME_BYTES_MAX); // broken UTF-8 grows
      if (this.#texts.size >= 1000) this.#texts.clear();
      this.#texts.set(text, bytes);
    }
    return bytes;
  }
}

function follows(run: Run, { gateway, number, spool, stream }: Received): boolean {
  return number === run.next && stream === run.stream && spool === run.spool &&
    gateway === run.gateway && run.end < ENVELOPE_BYTES;
}

function makeRoom(run: Run, bytes: number): void {
  if (run.end + bytes <= run.region.bytes.length) return;
  const larger = newRegion(2 * (run.end + bytes));
  larger.bytes.set(run.region.bytes.subarray(0, run.end));
  run.region = larger;
}

function laneOf(origin: string): number {
  let hash = 0;
  for (let index = 0; index < origin.length; index++) {
    hash = (hash * 31 + origin.charCodeAt(index)) | 0;
  }
  return (hash >>> 0) % LANES;
}
