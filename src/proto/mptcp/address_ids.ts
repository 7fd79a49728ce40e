/**
 * Address ids of this host within one connection: RFC 8684 section 3.4.1, one octet; 0 is the
 * address of the first subflow. An address keeps its id as long as it is used, as the kernel
 * refuses another ("did not match address and id"). An id is not given to another address while a
 * REMOVE_ADDR for it may be under way.
 *
 * @module
 */

const IDS_MAX = 255;
/** A REMOVE_ADDR has been to the peer and back by then. */
const RETIRED_MS = 10_000;

/** Gives ids; addresses are plain. */
export class AddressIds {
  readonly #ids = new Map<string, number>();
  readonly #addresses = new Map<number, string>();
  /** When an id may be given to another address, by id. */
  readonly #retired = new Map<number, number>();
  #last = 0;

  /** The id of an address, -1 when it has none. */
  idOf(address: string): number {
    return this.#ids.get(address) ?? -1;
  }

  /** The address of an id, null when nothing is known. */
  addressOf(id: number): string | null {
    return this.#addresses.get(id) ?? null;
  }

  /** What the kernel said: an event, or a dump. */
  learn(address: string, id: number): void {
    const before = this.#ids.get(address);
    if (before === id) return;
    if (before !== undefined && before > 0) this.#addresses.delete(before);
    const other = this.#addresses.get(id);
    if (other !== undefined) this.#ids.delete(other);
    this.#ids.set(address, id);
    this.#addresses.set(id, address);
  }

  /** The kernel has another id for this address: forget ours, and do not give it to others soon. */
  forget(address: string, nowMs: number): void {
    const id = this.#ids.get(address);
    if (id === undefined || id === 0) return;
    this.#ids.delete(address);
    this.#addresses.delete(id);
    this.#retired.set(id, nowMs + RETIRED_MS);
  }

  /** A REMOVE_ADDR was sent; the address keeps the id. */
  retire(id: number, nowMs: number): void {
    if (id > 0) this.#retired.set(id, nowMs + RETIRED_MS);
  }

  /**
   * The id of an address, given now when it has none; -1 when all are in use. `used` says which
   * must not be taken from their address.
   */
  take(address: string, nowMs: number, used: (id: number) => boolean): number {
    const known = this.idOf(address);
    if (known >= 0) return known;
    return this.#give(address, nowMs, (id) => this.#addresses.has(id)) ??
      this.#give(address, nowMs, used) ?? -1;
  }

  #give(address: string, nowMs: number, taken: (id: number) => boolean): number | null {
    for (let step = 1; step <= IDS_MAX; step++) {
      const id = (this.#last + step - 1) % IDS_MAX + 1;
      if (taken(id) || (this.#retired.get(id) ?? 0) > nowMs) continue;
      this.#retired.delete(id);
      this.#last = id;
      this.learn(address, id);
      return id;
    }
    return null;
  }
}
