/**
 * What the machines of the X-Bone control protocol share: timers, what they put out, what they are
 * handed. A machine is one overlay on one side: {@linkcode Manager} asks ("For GUI/OM"), a responder is
 * asked ("For RD"). Both are pure: time comes as a parameter, messages as values.
 *
 * @module
 */
import type {
  AckStatus,
  Body,
  Count,
  Invite,
  NodeState,
  PinnedNode,
  Release,
  ScriptName,
  SubSpec,
} from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";

/** Milliseconds, and how often. The names are those of the state tables. */
export interface Timers {
  /** Of one ring of the discovery. */
  readonly inviteMs: number;
  /** TTL of the rings. */
  readonly rings: readonly number[];
  /** INVITEs in a ring: datagrams get lost. */
  readonly invitesPerRing: number;
  readonly selectMs: number;
  readonly selectTries: number;
  /** Times the levels below. */
  readonly dispatchMs: number;
  readonly dispatchTries: number;
  /** How long a held overlay waits for its user. */
  readonly userMs: number;
  readonly configMs: number;
  readonly configTries: number;
  /** Of one round of probes over all links. */
  readonly probeMs: number;
  readonly probeTries: number;
  readonly deleteMs: number;
  readonly deleteTries: number;
  /** Between tries for nodes that did not answer DELETE, until `deleteForgetMs`. */
  readonly deleteAgainMs: number;
  readonly deleteForgetMs: number;
  readonly refreshMs: number;
  /** 0 for no lease. */
  readonly leaseMs: number;
  /** The most that a responder grants, whatever is asked. */
  readonly holdMsMax: number;
  /** 0 for no limit. */
  readonly leaseMsMax: number;
}

/** Those of the state tables. */
export const TIMERS: Timers = {
  inviteMs: 1000,
  rings: [1, 4, 16],
  invitesPerRing: 2,
  selectMs: 2000,
  selectTries: 3,
  dispatchMs: 15_000,
  dispatchTries: 2,
  userMs: 60_000,
  configMs: 10_000,
  configTries: 3,
  probeMs: 2000,
  probeTries: 5,
  deleteMs: 2000,
  deleteTries: 3,
  deleteAgainMs: 30_000,
  deleteForgetMs: 3_600_000,
  refreshMs: 10_000,
  leaseMs: 60_000,
  holdMsMax: 600_000,
  leaseMsMax: 3_600_000,
};

/** Where a node's control connection goes. */
export interface Reach {
  /** The name in its certificate. */
  readonly node: string;
  readonly host: string;
  readonly port: number;
}

/** What a manager is to form. */
export interface Order {
  readonly name: string;
  readonly application: string;
  readonly version: string;
  readonly epoch: string;
  /** 0 for the user's own manager. */
  readonly level: number;
  /** Managers above. */
  readonly path: readonly string[];
  /** Whom it needs. Of a sub-manager the names are made up until DISPATCH tells them. */
  readonly need: SubSpec;
  readonly revisit: boolean;
  readonly routing: "static" | "dynamic";
  readonly encryption: string;
  readonly qos: boolean;
  readonly script: ScriptName | null;
  /** `ready`: wait for the user before CONFIG; `phases`: a sub-manager waits after each phase. */
  readonly hold: "none" | "ready" | "phases";
  /** Overlay is provisional until every link was probed. */
  readonly probe: boolean;
  /** Whatever its owner wants back after a restart; JSON. */
  readonly memo: unknown;
  /** A sub-manager's own guests must be held at least so long; 0 at level 0. */
  readonly holdMs: number;
}

/** What a manager must remember: written before what follows from it is sent. No keys. */
export interface ManagerRecord {
  readonly state: ManagerState;
  readonly order: Order;
  /** Everybody who was sent SELECT. */
  readonly selected: readonly (Reach & {
    readonly type: "host" | "router" | "meta";
    /** The need of a sub-manager. */
    readonly sub: string;
  })[];
  readonly pinned: readonly PinnedNode[];
  /** Without keys; empty before CONFIG. */
  readonly plans: readonly NodePlan[];
  readonly generation: number;
  /** True while not everybody is known to have the keys of this generation. */
  readonly rekeying?: boolean;
  readonly leaseMs: number;
}

/** States of the diagram "For GUI/OM". ACK is READY here; GATHERED and SELECTED are where a sub-manager waits. */
export type ManagerState =
  | "IDLE"
  | "DISCOVERY"
  | "GATHERED"
  | "WAIT_RD"
  | "SELECTED"
  | "WAIT_OM"
  | "READY"
  | "CONFIG"
  | "CONFIGURED"
  | "PROBE"
  | "ACTIVE"
  | "TEARDOWN";

/** States of the diagram "For RD". */
export type ResponderState =
  | "IDLE"
  | "GATHER"
  | "RESERVE"
  | "COMMITTING"
  | "COMMITTED"
  | "CONFIGURE"
  | "ACTIVE"
  | "UNDO";

/** Why an overlay failed. */
export interface Failure {
  /** In which state. */
  readonly phase: string;
  /** The node that refused or was silent; empty when it is none of them. */
  readonly node: string;
  /** Of a configuration; else empty. */
  readonly step: string;
  /** A sentence. */
  readonly reason: string;
}

/** What a manager tells its owner. */
export type ManagerEvent =
  /** A phase is done and it waits: GATHERED, SELECTED, READY, CONFIGURED; or it is ACTIVE. */
  | { readonly event: "reached"; readonly state: ManagerState }
  /** It does not become. What was selected is being deleted. */
  | { readonly event: "failed"; readonly failure: Failure }
  /** Nothing of it is left but on these nodes, which did not answer. */
  | { readonly event: "gone"; readonly orphans: readonly string[] }
  /** A node that was an orphan has answered at last. */
  | { readonly event: "cleaned"; readonly node: string }
  /** These never answered, and their leases have long been over: they are not tried any more. */
  | { readonly event: "forgotten"; readonly nodes: readonly string[] }
  /** For people: a node did its part in a phase, or will be tried again. */
  | {
    readonly event: "progress";
    readonly phase: ManagerState;
    readonly node: string;
    readonly text: string;
    /** Nodes that are through, of how many. */
    readonly done: number;
    readonly of: number;
  }
  /** States of nodes came with ACK-REFRESH; `silent` did not answer. */
  | { readonly event: "refreshed"; readonly nodes: readonly NodeState[] }
  | { readonly event: "silent"; readonly node: string }
  /** An answer to {@linkcode Manager.status}, all nodes' together. */
  | { readonly event: "status"; readonly status: Pick<AckStatus, "nodes" | "links"> };

/** What comes out of a machine; to be done in this order. */
export type Output =
  /** Signed datagram to the group. */
  | { readonly kind: "multicast"; readonly body: Invite | Release; readonly ttl: number }
  /** Request over mutual TLS; an answer, or that there is none, comes back as a call. */
  | { readonly kind: "send"; readonly to: Reach; readonly body: Body; readonly waitMs: number }
  /** To the request with this ticket. */
  | { readonly kind: "answer"; readonly ticket: number; readonly body: Body }
  /** Signed datagram to who invited. */
  | { readonly kind: "answer-invite"; readonly to: string; readonly body: Body }
  /** Must be on disk before anything behind it is done; null removes it. */
  | {
    readonly kind: "journal";
    readonly key: string;
    readonly record: unknown;
    /**
     * It is being undone: what is behind it does not wait for a disk that takes nothing, as the record that
     * is there still leads to the same end, if only by the lease.
     */
    readonly ending?: true;
  }
  /** Configure the box; ends with `handleApplied`. */
  | {
    readonly kind: "apply";
    readonly key: string;
    readonly plan: NodePlan;
    readonly generation: number;
  }
  /** Only the keys are new; ends with `handleApplied` too. */
  | {
    readonly kind: "rekey";
    readonly key: string;
    readonly plan: NodePlan;
    readonly generation: number;
  }
  /** Undo it; also stops an apply after its present step. Ends with `handleUndone`. */
  | { readonly kind: "undo"; readonly key: string }
  /** Look at the box; ends with `handleChecked`. */
  | {
    readonly kind: "check";
    readonly key: string;
    readonly ticket: number;
    readonly probes: number;
    readonly waitMs: number;
    /** After a restart: what is gone is made again first, but for keys. */
    readonly mend: boolean;
  }
  | { readonly kind: "event"; readonly key: string; readonly event: ManagerEvent };

/** `NAME/EPOCH`: what identifies an overlay in journals. */
export function overlayKey(name: string, epoch: string): string {
  return `${name}/${epoch}`;
}

/** What a responder grants: whoever asks for no lease gets the longest. */
export function grantedLeaseMs(askedMs: number, { leaseMsMax }: Timers): number {
  if (leaseMsMax === 0) return askedMs;
  return askedMs === 0 ? leaseMsMax : Math.min(askedMs, leaseMsMax);
}

/** A node that answered INVITE, as it may be chosen. */
export interface Candidate extends Reach {
  readonly type: "host" | "router" | "both" | "meta";
  readonly hostname: string;
  readonly os: string;
  readonly mtu: number;
  readonly capabilities: readonly string[];
  readonly free: number;
  readonly guests: readonly string[];
}

/** Who plays what. */
export interface Placement {
  /** For each node of the need, in its order, the box; one box more than once only with `revisit`. */
  readonly nodes: readonly { readonly slot: string; readonly candidate: Candidate }[];
  /** For each sub-overlay its manager. */
  readonly subs: readonly { readonly sub: string; readonly candidate: Candidate }[];
}

/** What is missing, a line each: `2 of 4 routers (linux) answered`. */
export interface Shortage {
  readonly missing: readonly string[];
}

/** What turns pinned nodes into plans: {@linkcode Design}, or a sub-manager's order from above. */
export interface Designer {
  /** A plan for every box that plays a node, or why there is none. Keys are fresh each time. */
  design(pinned: readonly PinnedNode[]): readonly NodePlan[] | Failure;
  /** The same plans with fresh keys. */
  rekey(plans: readonly NodePlan[]): readonly NodePlan[];
}

/** What both sides are handed. */
export interface MachineTools {
  /** The name in our own certificate. */
  readonly node: string;
  readonly timers: Timers;
  /** SHA-256 of a text, in hexadecimal digits. */
  readonly sha256: (text: string) => string;
}

/** Of a box that is asked. */
export interface Offer {
  readonly type: "host" | "router" | "both" | "meta";
  readonly hostname: string;
  readonly ipaddr: string;
  readonly port: number;
  readonly os: string;
  readonly mtu: number;
  readonly capabilities: readonly string[];
  readonly overlaysMax: number;
  /** An INVITE that is refused is answered with the reason; unless it is set, with silence. */
  readonly tellsRefusals?: boolean;
}

/** Who may do what: null allows, a text refuses and says why. `overlays` are those it has here already. */
export type Acl = (manager: string, body: Body, overlays: number) => string | null;

/** Of a need that any operating system will do for. */
export const ANY_OS: Count["os"] = ["any"];
