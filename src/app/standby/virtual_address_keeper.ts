/**
 * The virtual addresses of a box through its roles: taken with the active one, told again while links
 * may be slow, kept alive, and given up (virtual_addresses.ts).
 *
 * With a lease their life in the kernel ends with that, whatever becomes of this program: before it,
 * where they are all that keeps the kernel from sending (egress_guard.ts), and else up to two seconds
 * after it, as the kernel counts that life in whole seconds.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { StandbyConfig } from "../config/standby_config.ts";
import type { Tell } from "./associations.ts";
import type { EgressGuard } from "./egress_guard.ts";
import { ANNOUNCE_AFTER_MS, VirtualAddresses } from "./virtual_addresses.ts";

const KEEP_MS = 300;
/** By so much the kernel may be late to take an address away. */
const LATE_MS = 1000;
/** Of addresses that are taken: the lease is held, and the guard opens after them. */
const TAKE_SECONDS = 1;

/** Takes and gives. */
export class VirtualAddressKeeper {
  readonly #addresses: VirtualAddresses | null;
  readonly #guard: EgressGuard;
  readonly #tell: Tell;
  /** A role that a person gives is kept until a person takes it away. */
  readonly #leased: boolean;
  /** No fence keeps the kernel from sending from them. */
  readonly #alone: boolean;
  #keeping: ReturnType<typeof setInterval> | undefined;
  #announcing: ReturnType<typeof setTimeout>[] = [];
  #taken = false;

  /**
   * @param guard knows until when this box may send
   * @throws when an address is none
   */
  constructor(config: StandbyConfig, guard: EgressGuard, tell: Tell) {
    const { addresses, associations, role } = config;
    this.#guard = guard;
    this.#tell = tell;
    this.#leased = role === "auto";
    this.#alone = associations && !guard.fenced;
    this.#addresses = addresses.length === 0
      ? null
      : VirtualAddresses.open({ namespace: "", addresses });
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
    this.#keeping = setInterval(() => this.#keep(addresses), KEEP_MS);
    return addresses.take(this.#leased ? TAKE_SECONDS : 0);
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

  #keep(addresses: VirtualAddresses): void {
    const leftMs = this.#guard.untilMs - nowMs();
    if (!this.#leased) return this.#keepFor(addresses, 0);
    if (leftMs <= 0) return; // also after this program was stopped for a while
    const seconds = Math.floor((leftMs - LATE_MS) / 1000);
    if (seconds >= 1) this.#keepFor(addresses, seconds);
    else if (!this.#alone) this.#keepFor(addresses, 1);
  }

  #keepFor(addresses: VirtualAddresses, seconds: number): void {
    for (const problem of addresses.keep(seconds)) this.#tell("error", problem);
  }

  #stop(): void {
    clearInterval(this.#keeping);
    for (const timer of this.#announcing) clearTimeout(timer);
    this.#announcing = [];
  }
}
