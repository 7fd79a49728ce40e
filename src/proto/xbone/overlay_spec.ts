/**
 * What a user asks for: the overlay specification, OVL of the X-Bone control protocol's diagrams, after it
 * was checked and filled.
 *
 * @module
 */
import type { SubNode } from "../../wire/xbone/messages.ts";
import type { PlanScript } from "../../wire/xbone/node_plan.ts";

/** How the nodes of a network are joined, in the order in which they stand. */
export type Topology = "linear" | "ring" | "star" | "tree" | "mesh" | "custom";

/** A virtual link of a custom topology, or a limit for one of another. */
export interface SpecLink {
  /** Names of two nodes: `a`, `west/r1`, or of a sub-overlay, which stands for its border. */
  readonly ends: readonly [string, string];
  /** Bits per second; 0 is the overlay's. */
  readonly rateBits: number;
}

/** A network: nodes, sub-overlays, and how they are joined. */
export interface SpecNetwork {
  readonly topology: Topology;
  /** Children of a node of a tree. */
  readonly fanout: number;
  readonly nodes: readonly SubNode[];
  readonly links: readonly SpecLink[];
  readonly subs: readonly SpecSub[];
}

/** A share of the overlay that another manager finds nodes for. */
export interface SpecSub extends SpecNetwork {
  readonly name: string;
  /**
   * `control`: its nodes and links are part of the overlay, and where the topology names it, its border
   * stands for it. `stacked`: a network of its own below; all its nodes are nodes of the overlay too, and
   * links between two of them ride on that network.
   */
  readonly mode: "control" | "stacked";
  /** The node that stands for it in the network above; its first router unless set. */
  readonly border: string;
  /** Of its addresses when it is stacked: `10.101.0.0/16`. */
  readonly prefix: string;
}

/** The whole of it. */
export interface OverlaySpec extends SpecNetwork {
  readonly name: string;
  readonly application: string;
  readonly version: string;
  /** Of all addresses: `10.100.0.0/16`. */
  readonly prefix: string;
  readonly routing: "static" | "dynamic";
  /** Of `dynamic`; empty when none is named. */
  readonly routingDaemon: string;
  readonly encryption: "none" | "aes-gcm";
  /** Of every link; 0 is no limit. */
  readonly rateBits: number;
  /** UDP port of the tunnels; 0: 4789, and one of the overlay's own when it is encrypted. */
  readonly port: number;
  /** Hosts entries on every node: NAME.OVERLAY. */
  readonly names: boolean;
  /** A box may play more than one node. */
  readonly revisit: boolean;
  /** Flags of an MPTCP endpoint at each visit's address; empty for none. */
  readonly mptcp: readonly string[];
  /** Which node is the hub of the others' gateways; null for none. */
  readonly peers: { readonly hub: string; readonly port: number } | null;
  readonly script: PlanScript | null;
}
