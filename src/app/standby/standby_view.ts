/**
 * What a standby daemon tells about itself: the source of `fairlead standby status`, of the status
 * page's section and of `/metrics`. Times are in ms; counters count from the start of the process.
 * No key is in it.
 *
 * @module
 */
import type { SaView } from "../../proto/xfrm/sa_table.ts";
import type { CargoView } from "./cargo.ts";

/** How far the standby was behind, once a second. */
export interface LagPoint {
  /** Ms since 1970. */
  readonly atMs: number;
  /** Since when the SA that is longest behind has been so. */
  readonly lagMs: number;
  /** Packets of all SAs. */
  readonly lagPackets: number;
  readonly packetsPerSecond: number;
}

/** One box. */
export interface StandbyView {
  readonly group: string;
  readonly box: string;
  /** What it was told to be. */
  readonly mode: "active" | "standby" | "auto";
  /** What it is: `active`, `standby`, `taking`, `yielding`, `fenced`, `starting`. */
  readonly role: string;
  readonly term: number;
  /** It has the state of its term, so that it could take over. */
  readonly ready: boolean;
  /** Two boxes were active in one term: an operator decides. */
  readonly split: boolean;
  readonly takeovers: number;
  readonly takeoverMs: number;
  readonly takeoverProblems: readonly string[];
  readonly peer: {
    readonly address: string;
    readonly box: string;
    readonly reached: boolean;
    readonly role: string;
    readonly term: number;
    /** -1 before it was measured. */
    readonly roundTripMs: number;
    readonly heardMsAgo: number;
  };
  readonly witness: {
    readonly address: string;
    readonly reached: boolean;
    /** Why it has refused last; empty when it has granted. */
    readonly refusal: string;
    /** What is left of the lease; 0 without one. */
    readonly leaseLeftMs: number;
  } | null;
  readonly fence: {
    /** The kernel has one. */
    readonly there: boolean;
    readonly open: boolean;
    readonly dropped: number;
  };
  readonly addresses: { readonly taken: boolean; readonly list: readonly string[] };
  /** Posts of the active box, as seen from here. */
  readonly sync: {
    /** The other box has all there is, but for what is on its way. */
    readonly synced: boolean;
    readonly sent: number;
    readonly acked: number;
    readonly unackedBytes: number;
    readonly bytesSent: number;
    readonly snapshots: number;
    readonly held: number;
    readonly bytesHeld: number;
    readonly staleTerm: number;
    readonly duplicates: number;
    readonly gaps: number;
    readonly refused: number;
    readonly resyncs: number;
  };
  readonly ipsec: {
    readonly sas: readonly SaView[];
    /** SAs that this kernel has, with those that are only reserved; -1 when it does not tell. */
    readonly kernelSas: number;
    readonly policies: number;
    readonly events: number;
    /** Times that the kernel had to drop events, after each of which all was read anew. */
    readonly overruns: number;
    readonly dumps: number;
    readonly inbound: string;
  } | null;
  readonly cargo: CargoView | null;
  readonly lag: readonly LagPoint[];
}
