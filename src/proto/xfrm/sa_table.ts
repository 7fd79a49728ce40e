/**
 * What the two boxes show of their SAs: rows of `standby status`, and of `standby diff`, which lays
 * the figures of both beside each other. Nothing here has keys.
 *
 * @module
 */

/** SAs that a box mirrors; more are refused and counted. */
export const SAS_MAX = 16_384;
/** Policies that a box mirrors. */
export const POLICIES_MAX = 16_384;

/** What an SA is for; "both" when nothing says. */
export type SaUse = "out" | "in" | "both";

/** An SA as `standby status` shows it. */
export interface SaView {
  /** `10.9.0.2 esp 0x00001000`. */
  readonly key: string;
  readonly direction: SaUse;
  /** Highest number sent. */
  readonly oseq: number;
  /** Highest number received. */
  readonly seq: number;
  readonly bytes: number;
  readonly packets: number;
  /** Packets that the kernel is known to be ahead of what the standby has acknowledged. */
  readonly lagPackets: number;
  /** Since when it has been ahead; 0 when it is not. */
  readonly lagMs: number;
  readonly eventsPerSecond: number;
  readonly packetsPerSecond: number;
  /** The most of a tenth of a second within the last ten. */
  readonly peakPerSecond: number;
  /** What a takeover now would add to the number sent. */
  readonly jump: number;
  /** -1 when there was none. */
  readonly lastEventMsAgo: number;
  /** Packets that the kernel refused as replayed or out of the window, when last dumped. */
  readonly drops: number;
  /** It gives no events and is asked instead. */
  readonly polled: boolean;
}

/** What `standby diff` compares. */
export interface SaFigures {
  readonly key: string;
  readonly direction: SaUse;
  readonly oseq: number;
  readonly seq: number;
  readonly bytes: number;
  readonly packets: number;
  readonly addTime: number;
}

/** An SA on both sides; null where it is missing. */
export interface SaDifference {
  readonly key: string;
  readonly here: SaFigures | null;
  readonly there: SaFigures | null;
  /** Names of figures that differ: empty when all are equal; "missing" when a side has none. */
  readonly differs: readonly string[];
}

const COMPARED = ["oseq", "seq", "bytes", "packets", "addTime"] as const;

/** Every SA of either side, those of `here` first. */
export function diffSas(here: readonly SaFigures[], there: readonly SaFigures[]): SaDifference[] {
  const others = new Map(there.map((figures) => [figures.key, figures]));
  const rows: SaDifference[] = here.map((figures) => {
    const other = others.get(figures.key) ?? null;
    others.delete(figures.key);
    return { key: figures.key, here: figures, there: other, differs: differences(figures, other) };
  });
  for (const figures of others.values()) {
    rows.push({ key: figures.key, here: null, there: figures, differs: ["missing"] });
  }
  return rows;
}

function differences(here: SaFigures, there: SaFigures | null): readonly string[] {
  if (there === null) return ["missing"];
  return COMPARED.filter((name) => here[name] !== there[name]);
}
