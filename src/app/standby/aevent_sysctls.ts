/**
 * The two thresholds that the kernel gives to every new SA: xfrm_sync.txt section 3. The files are
 * called net.core.xfrm_aevent_etime and xfrm_aevent_rseqth, without the "sysctl_" of that document, and
 * belong to a network namespace. What is set here is put back at the end.
 *
 * @module
 */

const TIMER = "/proc/sys/net/core/xfrm_aevent_etime";
const PACKETS = "/proc/sys/net/core/xfrm_aevent_rseqth";
/** Unit of the first one: XFRM_AE_ETIME. */
const TIMER_UNIT_MS = 100;

/** Thresholds of SAs that are made from now on. */
export interface AeventThresholds {
  /** 0: events only by time. */
  readonly packets: number;
  /** 0: events only by packets. */
  readonly timerMs: number;
}

/** The values now; null where this kernel has no XFRM. */
export function readAeventSysctls(): AeventThresholds | null {
  try {
    return { packets: readNumber(PACKETS), timerMs: readNumber(TIMER) * TIMER_UNIT_MS };
  } catch {
    return null;
  }
}

/** Has them as wanted until it is closed. */
export class AeventSysctls {
  readonly #before: readonly (readonly [path: string, value: number])[];

  /**
   * Sets them in the network namespace that we are in; times are rounded up to 100 ms.
   *
   * @throws when they must not be written, with the remedy
   */
  static set({ packets, timerMs }: AeventThresholds): AeventSysctls {
    const wanted = [[PACKETS, packets], [TIMER, Math.ceil(timerMs / TIMER_UNIT_MS)]] as const;
    const before: (readonly [string, number])[] = [];
    try {
      for (const [path, value] of wanted) {
        before.push([path, readNumber(path)]);
        Deno.writeTextFileSync(path, `${value}`);
      }
    } catch (error) {
      const why = (error as Error).message;
      throw new Error(`Cannot set thresholds of new SAs: ${why}, it needs root and XFRM_USER`);
    }
    return new AeventSysctls(before);
  }

  private constructor(before: readonly (readonly [string, number])[]) {
    this.#before = before;
  }

  /** Puts back what there was. */
  restore(): void {
    for (const [path, value] of this.#before) {
      try {
        Deno.writeTextFileSync(path, `${value}`);
      } catch {
        // The namespace is gone, and its values with it.
      }
    }
  }
}

function readNumber(path: string): number {
  return Number(Deno.readTextFileSync(path).trim());
}
