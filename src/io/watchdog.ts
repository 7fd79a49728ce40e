/**
 * The hardware watchdog: a device that resets the box unless it is written to in time. The kernel's
 * Documentation/watchdog/watchdog-api.rst: any write feeds it; one that contains `V` before the close
 * ends it ("magic close"); a close without leaves it running, so that a dead program is a reset.
 *
 * @module
 */
import { Access, control, openPath, writeBytes } from "./descriptor.ts";
import { fixedInts } from "./native.ts";
import { close } from "./sockets.ts";

const WDIOC_SETTIMEOUT = 0xc0045706;
const WDIOC_GETTIMEOUT = 0x80045707;

/** Asked for; the device answers with what it takes. */
const TIMEOUT_SECONDS = 60;
/** Where a device neither takes nor tells a timeout: shorter than any that is usual. */
const UNKNOWN_SECONDS = 10;

const FOOD = new Uint8Array(1);
const MAGIC = Uint8Array.of(0x56); // V

/** An opened watchdog; from the opening on it counts. */
export class Watchdog {
  /** After so long without `feed()` the box is reset. */
  readonly timeoutMs: number;
  readonly #fd: number;

  private constructor(fd: number, timeoutSeconds: number) {
    this.#fd = fd;
    this.timeoutMs = timeoutSeconds * 1000;
  }

  /** Opens and starts the device; a negated errno when it cannot be. */
  static open(path: string): Watchdog | number {
    const fd = openPath(path, Access.Write);
    if (fd < 0) return fd;
    const seconds = fixedInts(1);
    seconds[0] = TIMEOUT_SECONDS;
    let known = control(fd, WDIOC_SETTIMEOUT, seconds) >= 0;
    if (!known) known = control(fd, WDIOC_GETTIMEOUT, seconds) >= 0;
    return new Watchdog(fd, known && seconds[0]! > 0 ? seconds[0]! : UNKNOWN_SECONDS);
  }

  /** Gives it another `timeoutMs`: 0, or a negated errno. */
  feed(): number {
    return Math.min(0, writeBytes(this.#fd, FOOD));
  }

  /** Stops the watchdog and closes it: 0, or a negated errno of the stop. */
  stop(): number {
    const result = Math.min(0, writeBytes(this.#fd, MAGIC));
    close(this.#fd);
    return result;
  }

  /** Closes it running: unless somebody opens and feeds it again, the box will be reset. */
  abandon(): void {
    close(this.#fd);
  }
}
