/**
 * What a manager tells of an overlay: for `overlay status`, its graph, the status page and metrics. Times are
 * ms since 1970.
 *
 * @module
 */
import type { Failure, ManagerState } from "../../proto/xbone/machine.ts";
import type { ResponderView } from "../../proto/xbone/responder.ts";
import type { DatagramCounts } from "./control_datagrams.ts";
import type { ControlServerCounts } from "./control_server.ts";

/** A virtual node, and the box that plays it. */
export interface OverlayNodeView {
  /** `r1`, `west/r1`. */
  readonly name: string;
  readonly role: "host" | "router";
  readonly address: string;
  /** The network that it belongs to. */
  readonly network: string;
  /** The box, and where its tunnels end. */
  readonly node: string;
  readonly hostname: string;
  readonly ipaddr: string;
  /** State of its responder; empty before it was told. */
  readonly state: string;
  /** It has not answered lately. */
  readonly silent: boolean;
  readonly drift: readonly string[];
}

/** A virtual link. Counters are those of its first end; null before they were asked for. */
export interface OverlayLinkView {
  readonly name: string;
  /** Names of the two virtual nodes. */
  readonly ends: readonly [string, string];
  readonly addresses: readonly [string, string];
  readonly vni: number;
  readonly port: number;
  readonly mtu: number;
  readonly rateBits: number;
  readonly encrypted: boolean;
  readonly network: string;
  /** Of the last probes, of the ends that told of them together. */
  readonly sent: number | null;
  readonly answered: number | null;
  readonly rttUs: number | null;
  readonly rxBytes: number | null;
  readonly txBytes: number | null;
  readonly rxPackets: number | null;
  readonly txPackets: number | null;
  readonly errors: number | null;
}

/** Something that happened while it was formed. */
export interface OverlayProgress {
  readonly phase: ManagerState;
  readonly node: string;
  readonly text: string;
  readonly done: number;
  readonly of: number;
}

/** An overlay. */
export interface OverlayView {
  readonly name: string;
  readonly epoch: string;
  readonly state: ManagerState;
  /** Of its specification. */
  readonly digest: string;
  readonly topology: string;
  readonly sinceMs: number;
  readonly probedMs: number | null;
  readonly nodes: readonly OverlayNodeView[];
  readonly links: readonly OverlayLinkView[];
  /** Sub-managers, by the sub-overlays that they have. */
  readonly managers: readonly { readonly sub: string; readonly node: string }[];
  readonly failure: Failure | null;
  /** Nodes that did not answer DELETE. */
  readonly orphans: readonly string[];
  readonly progress: OverlayProgress | null;
}

/** What a resource daemon tells about itself. */
export interface ResourceDaemonView {
  readonly node: string;
  readonly control: string;
  /** Where tunnels end. */
  readonly address: string;
  readonly capabilities: readonly string[];
  readonly overlays: readonly ResponderView[];
  readonly datagrams: DatagramCounts;
  readonly connections: ControlServerCounts;
  /** Invitations that were refused, by reason. */
  readonly refusals: Readonly<Record<string, number>>;
}

/** An overlay's daemon as the status page has it. */
export interface OverlayDaemonView {
  readonly role: "rd" | "om";
  /** Of an RD; else null. */
  readonly resource: ResourceDaemonView | null;
  /** Of an OM. */
  readonly overlays: readonly OverlayView[];
}
