/**
 * What keeps a box from sending with keys that are the other box's by now, also when its program was
 * killed: the fence (fence.ts) where the kernel can have one; else that it loses the addresses that the
 * tunnels begin at, as the kernel sends nothing from an address that it does not have. Those it takes
 * away by the second only, so that a lease must be longer.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { errnoText } from "../../io/errno.ts";
import type { StandbyConfig } from "../config/standby_config.ts";
import type { Tell } from "./associations.ts";
import { Fence } from "./fence.ts";

/** The kernel counts the life of an address in seconds, and takes it away up to a second late. */
const ADDRESS_LEASE_MS_MIN = 3000;

/** The fence of one box, when it has one. */
export class EgressGuard {
  /** Until when something may leave, for the status; -Infinity while it may not. */
  untilMs = -Infinity;
  readonly #fence: Fence | null;
  readonly #tell: Tell;

  /**
   * Puts up a closed fence.
   *
   * @throws in role auto, when there can be none: a program that dies would leave the kernel sending
   */
  static open(config: StandbyConfig, tell: Tell): EgressGuard {
    const { addresses, associations, group, leaseMs, role } = config;
    if (!associations) return new EgressGuard(null, tell);
    try {
      return new EgressGuard(Fence.install({ namespace: "", group }), tell);
    } catch (error) {
      const why = (error as Error).message;
      if (role === "auto" && (addresses.length === 0 || leaseMs < ADDRESS_LEASE_MS_MIN)) {
        throw new Error(
          `${why}. Without it the kernel goes on sending when this program dies, also after the ` +
            "other box has taken over. Role auto runs without it only where all tunnels begin at " +
            `"standby.addresses" and "standby.leaseMs" is ${ADDRESS_LEASE_MS_MIN} or more`,
        );
      }
      const kept = role === "auto"
        ? "Instead, addresses are given up by the kernel when this program dies"
        : "A box whose program is killed goes on sending: stop it by hand";
      tell("warning", `${why}. ${kept}`);
      return new EgressGuard(null, tell);
    }
  }

  private constructor(fence: Fence | null, tell: Tell) {
    this.#fence = fence;
    this.#tell = tell;
  }

  /** True when the kernel can end the sending by itself. */
  get fenced(): boolean {
    return this.#fence !== null;
  }

  /** Packets that it has kept back. */
  get dropped(): number {
    return this.#fence?.dropped() ?? 0;
  }

  /** Lets packets leave until then; Infinity is until {@linkcode shut}. */
  open(untilMs: number): void {
    this.untilMs = untilMs;
    if (this.#fence === null) return;
    const now = nowMs();
    const errno = untilMs === Infinity
      ? this.#fence.openWithoutEnd()
      : this.#fence.open(now, untilMs - now);
    if (errno !== 0) {
      this.#tell("error", `Cannot open the fence: ${this.#fence.text || errnoText(-errno)}`);
    }
  }

  /** Nothing leaves from now on. */
  shut(): void {
    this.untilMs = -Infinity;
    const errno = this.#fence?.close() ?? 0;
    if (errno !== 0) {
      this.#tell("error", `Cannot close the fence: ${this.#fence!.text || errnoText(-errno)}`);
    }
  }

  /** The end of the program: the fence stays as it is, closed or until its lease is over. */
  detach(): void {
    this.#fence?.detach();
  }

  /** The same where there is nothing to be kept back: the fence goes, too. */
  remove(): void {
    this.#fence?.remove();
  }
}
