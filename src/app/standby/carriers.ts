/**
 * Whether the interfaces that a box needs have carrier: without one of them it had better not be the
 * active box. Asked rather than told, see io/link_carrier.ts.
 *
 * @module
 */
import { LinkCarrier } from "../../io/link_carrier.ts";

const LOOK_MS = 100;

/** Watches interfaces. */
export class Carriers {
  readonly #names: readonly Uint8Array[];
  readonly #link = new LinkCarrier();
  readonly #timer: ReturnType<typeof setInterval> | undefined;
  #up = true;

  /** Calls `onChange` when one has lost its carrier, and when all have it again. */
  constructor(interfaces: readonly string[], onChange: (up: boolean) => void) {
    const encoder = new TextEncoder();
    this.#names = interfaces.map((name) => encoder.encode(name));
    if (interfaces.length === 0) return;
    this.#timer = setInterval(() => {
      const up = this.#names.every((name) => this.#link.has(name) === true);
      if (up === this.#up) return;
      this.#up = up;
      onChange(up);
    }, LOOK_MS);
  }

  /** True while all have it. */
  get up(): boolean {
    return this.#up;
  }

  /** Ends watching. */
  close(): void {
    clearInterval(this.#timer);
    this.#link.close();
  }
}
