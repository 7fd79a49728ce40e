/**
 * The virtual addresses of a box through its roles: taken with the active one, told again while links
 * may be slow, kept alive, and given up (virtual_addresses.ts).
 *
 * @module
 */
import type { StandbyConfig } from "../config/standby_config.ts";
import type { Tell } from "./associations.ts";
import { addressSeconds } from "./egress_guard.ts";
import { ANNOUNCE_AFTER_MS, VirtualAddresses } from "./virtual_addresses.ts";

const KEEP_MS = 300;

/** Takes and gives. */
export class VirtualAddressKeeper {
  readonly #addresses: VirtualAddresses | null;
  readonly #tell: Tell;
  #keeping: ReturnType<typeof setInterval> | undefined;
  #announcing: ReturnType<typeof setTimeout>[] = [];
  #taken = false;

  /** @throws when an address is none */
  constructor({ addresses, leaseMs, role }: StandbyConfig, tell: Tell) {
    this.#tell = tell;
    this.#addresses = addresses.length === 0 ? null : VirtualAddresses.open({
      namespace: "",
      addresses,
      // A role that a person gives is kept until a person takes it away.
      lifetimeSeconds: role === "auto" ? addressSeconds(leaseMs) : 0,
    });
  }

  /** True while this box has them. */
  get taken(): boolean {
    return this.#taken;
  }

  /** Takes them; what failed, a line each. */
  take(): string[] {
    if (this.#addresses === null) return [];
    const addresses = this.#addresses;
    this.#stop();
    this.#taken = true;
    this.#announcing = ANNOUNCE_AFTER_MS.map((ms) => setTimeout(() => addresses.announce(), ms));
    this.#keeping = setInterval(() => {
      for (const problem of addresses.keep()) this.#tell("error", problem);
    }, KEEP_MS);
    return addresses.take();
  }

  /** Gives them up. */
  give(): void {
    this.#stop();
    this.#taken = false;
    for (const problem of this.#addresses?.give() ?? []) this.#tell("error", problem);
  }

  /** The end of the program. A box that is active keeps them: no other one has taken over. */
  close(): void {
    this.#stop();
    this.#addresses?.close();
  }

  #stop(): void {
    clearInterval(this.#keeping);
    for (const timer of this.#announcing) clearTimeout(timer);
    this.#announcing = [];
  }
}
