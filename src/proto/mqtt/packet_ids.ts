/**
 * The packet identifiers of QoS 2 messages that were taken and not released yet: MQTT 3.1.1 section
 * 4.3.3, method B. One bit for each of the 65,536, so that no client can make it grow.
 *
 * @module
 */

const IDS = 65536;

/** A set of packet identifiers. */
export class PacketIds {
  readonly #bits = new Uint8Array(IDS / 8);

  /** True when it is in the set. */
  has(packetId: number): boolean {
    return (this.#bits[packetId >> 3]! & 1 << (packetId & 7)) !== 0;
  }

  /** Puts it in. */
  add(packetId: number): void {
    this.#bits[packetId >> 3]! |= 1 << (packetId & 7);
  }

  /** Takes it out. */
  delete(packetId: number): void {
    this.#bits[packetId >> 3]! &= ~(1 << (packetId & 7));
  }
}
