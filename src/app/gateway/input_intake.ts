/**
 * What an input of a gateway offers its messages to: finds their way and gathers them in the spool.
 *
 * @module
 */
import type { Commits } from "../spool/commits.ts";
import type { Spool } from "../spool/spool.ts";
import { NAME_BYTES_MAX, PAYLOAD_BYTES_MAX } from "../../wire/gateway/envelope.ts";
import type { Intake } from "./intake.ts";
import type { Way } from "./router.ts";

const encoder = new TextEncoder();
/** Content types that are remembered as bytes. */
const CONTENT_TYPES_MAX = 256;

/** What intakes share. */
export interface IntakeTarget {
  readonly spool: Spool;
  readonly commits: Commits;
  /** Messages that no route takes, or that are larger than any may be. */
  unrouted: number;
  way(topic: string): Way | null;
  /** A message that is not kept. */
  offerLossy(
    hubs: readonly string[],
    arrivalMs: number,
    topic: Uint8Array,
    contentType: Uint8Array,
    payload: Uint8Array,
  ): void;
}

/** One input's intake. */
export class InputIntake implements Intake {
  readonly #target: IntakeTarget;
  readonly #input: string;
  readonly #contentTypes = new Map<string, Uint8Array>();

  /** @param input its key in the configuration: positions are stored under it */
  constructor(target: IntakeTarget, input: string) {
    this.#target = target;
    this.#input = input;
  }

  get waits(): boolean {
    return this.#target.spool.waits;
  }

  offer(topic: string, payload: Uint8Array, contentType: string): boolean {
    const target = this.#target;
    if (target.commits.trouble !== null) return false;
    const way = target.way(topic);
    if (
      way === null || payload.length > PAYLOAD_BYTES_MAX || way.topic.length > NAME_BYTES_MAX
    ) {
      target.unrouted++;
      return true; // it would never be taken: it is counted, and nobody waits for it
    }
    const type = this.#contentType(contentType);
    const arrivalMs = Date.now();
    if (way.stream === null) {
      target.offerLossy(way.hubs, arrivalMs, way.topic, type, payload);
      return true;
    }
    if (!target.spool.append(way.stream, arrivalMs, way.topic, type, payload)) return false;
    target.commits.touch();
    return true;
  }

  room(): Promise<void> {
    return this.#target.commits.room();
  }

  durable(): Promise<void> {
    return this.#target.commits.durable();
  }

  position(): string | null {
    return this.#target.spool.position(this.#input);
  }

  setPosition(position: string): void {
    this.#target.spool.setPosition(this.#input, position);
    this.#target.commits.touch();
  }

  #contentType(contentType: string): Uint8Array {
    let bytes = this.#contentTypes.get(contentType);
    if (bytes === undefined) {
      bytes = encoder.encode(contentType).subarray(0, NAME_BYTES_MAX);
      if (this.#contentTypes.size >= CONTENT_TYPES_MAX) this.#contentTypes.clear();
      this.#contentTypes.set(contentType, bytes);
    }
    return bytes;
  }
}
