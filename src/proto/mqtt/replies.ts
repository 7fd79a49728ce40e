/**
 * What one MQTT connection is to send: replies that may go now, and acknowledgements of messages
 * that are owed until those are durable. Owed ones leave in the order of their messages
 * (MQTT-4.6.0-2, MQTT-4.6.0-3).
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { newRegion, type Region } from "../../mem/region.ts";
import { FILTERS_MAX } from "../../wire/mqtt/subscribe.ts";
import { writeAcknowledgement } from "../../wire/mqtt/publish.ts";

/** Messages of one connection that wait to be durable: 1024 in 5 ms are 200,000 a second. */
export const OWED_MAX = 1024;

const ACKNOWLEDGEMENT_SIZE = 4;
/** The largest single reply: a SUBACK. */
const REPLY_SIZE_MAX: number = 5 + FILTERS_MAX;
/** Replies that may wait for the peer to read before no more packets are handled. */
const WAITING_BYTES_MAX = 4096;
/** One more reply, and every owed one, fit on top of that. */
const OUTPUT_BYTES: number = WAITING_BYTES_MAX + REPLY_SIZE_MAX + OWED_MAX * ACKNOWLEDGEMENT_SIZE;

/** Two outputs: one is sent while the other is filled. */
export class Replies {
  /** Messages ever that an acknowledgement was owed for. */
  owed = 0;
  /** Those of them that were durable. */
  durable = 0;
  #output = newRegion(OUTPUT_BYTES);
  #spare = newRegion(OUTPUT_BYTES);
  #end = 0;
  readonly #types = new Uint8Array(OWED_MAX);
  readonly #packetIds = new Uint16Array(OWED_MAX);

  /** True while no packet may be handled that needs a reply. */
  get full(): boolean {
    return this.#end > WAITING_BYTES_MAX || this.owed - this.durable === OWED_MAX;
  }

  /** True when there is something to send. */
  get waiting(): boolean {
    return this.#end > 0;
  }

  /** Owes an acknowledgement of the given type. */
  owe(type: number, packetId: number): void {
    assert(this.owed - this.durable < OWED_MAX, "no packet is handled while replies are full");
    const index = this.owed++ % OWED_MAX;
    this.#types[index] = type;
    this.#packetIds[index] = packetId;
  }

  /** The first `count` messages ever owed are durable: their acknowledgements may go. */
  handleDurable(count: number): void {
    assert(count <= this.owed, "only what was owed becomes durable");
    for (; this.durable < count; this.durable++) {
      const index = this.durable % OWED_MAX;
      this.acknowledge(this.#types[index]!, this.#packetIds[index]!);
    }
  }

  /** Sends an acknowledgement now. */
  acknowledge(type: number, packetId: number): void {
    this.write((to, at) => writeAcknowledgement(to, at, type, packetId));
  }

  /** Sends what `writer` writes, at most `REPLY_SIZE_MAX` bytes. */
  write(writer: (to: Region, at: number) => number): void {
    this.#end = writer(this.#output, this.#end);
    assert(this.#end <= OUTPUT_BYTES, "replies fit");
  }

  /** Takes what is to be sent; valid until the next call. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = this.#output;
    const end = this.#end;
    this.#output = this.#spare;
    this.#spare = taken;
    this.#end = 0;
    return taken.bytes.subarray(0, end);
  }
}
