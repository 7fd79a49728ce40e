/**
 * Whether a network interface has carrier, asked rather than told: ETHTOOL_GLINK, netdevice(7). The
 * kernel tells by netlink too, but holds that back for up to a second when another link has changed
 * within the last one.
 *
 * @module
 */
import { type Libc, libc } from "./libc.ts";
import { fixedInts, putAddress } from "./native.ts";

const AF_INET_DGRAM = [2, 2 | 0x80000] as const;
const SIOCETHTOOL = 0x8946;
const ETHTOOL_GLINK = 0x0a;
const NAME_SIZE = 16;
const IFREQ_SIZE = 40;

/** Asks in the network namespace in which it was made. */
export class LinkCarrier {
  readonly #libc: Libc = libc();
  readonly #fd: number;
  readonly #value = fixedInts(2); // struct ethtool_value
  readonly #request = fixedInts(IFREQ_SIZE / 4); // struct ifreq: name, pointer
  readonly #name = new Uint8Array(this.#request.buffer, 0, NAME_SIZE);

  /** Opens the socket that ioctl(2) wants. */
  constructor() {
    this.#fd = this.#libc.socket(...AF_INET_DGRAM, 0);
    putAddress(this.#request, NAME_SIZE / 4, this.#value);
  }

  /** True, false, or null where the interface does not tell (or is gone). */
  has(name: Uint8Array): boolean | null {
    this.#name.fill(0);
    this.#name.set(name.subarray(0, NAME_SIZE - 1));
    this.#value[0] = ETHTOOL_GLINK;
    this.#value[1] = 0;
    if (this.#libc.ioctl(this.#fd, SIOCETHTOOL, this.#request) < 0) return null;
    return this.#value[1] !== 0;
  }

  /** Closes the socket. */
  close(): void {
    if (this.#fd >= 0) this.#libc.close(this.#fd);
  }
}
