/**
 * The messages of the X-Bone control protocol, "XBone Control Message Format Examples", as values. The
 * text of the protocol lost its bracketed names; what is said here of them is our reading, and what is
 * ours alone is marked "ours".
 *
 * @module
 */
import type { NodePlan } from "./node_plan.ts";

/** What the document calls `protocol_version`. A peer of another major number is refused. */
export const PROTOCOL_VERSION = "1.0";

/** Nodes of an overlay, and so no more of anything of which each node has one. */
export const NODES_MAX = 512;
/** Ends of links at one box. */
export const BOX_LINKS_MAX = 1024;
/** How deep a recursion may go; deeper ones are loops. */
export const LEVEL_MAX = 8;

/** Who a node offers to be, and who it is chosen to be; `both` only in an offer. */
export type NodeType = "host" | "router" | "both" | "meta";

/** On whose behalf a request is made. */
export interface Credential {
  readonly userName: string;
  readonly userEmail: string;
  /** `x509` or `none`. */
  readonly authType: string;
}

/** The fields that every message has. An overlay is identified by its name and its epoch. */
export interface Common {
  /** `application`: what kind of overlay; `overlay` unless the specification says otherwise. */
  readonly application: string;
  readonly name: string;
  /** Of the application; empty when it is not told. */
  readonly version: string;
  /** How deep in a recursion: 0 is the manager that the user asked. */
  readonly level: number;
  /** Ours: 16 hexadecimal digits, chosen at create. */
  readonly epoch: string;
}

/** How many nodes, of which operating systems (`any`, or names). */
export interface Count {
  readonly count: number;
  readonly os: readonly string[];
  /** Ours: boxes that must be among them, by the names of their certificates; none unless set. */
  readonly on?: readonly string[];
}

/** Ours: what a sub-manager is needed for. */
export interface SubNeed {
  /** Its name within the overlay. */
  readonly name: string;
  readonly host: Count;
  readonly router: Count;
  /** Sub-managers below it. */
  readonly subs: readonly SubNeed[];
}

/** Of an application script, as the signed invite names it. */
export interface ScriptName {
  readonly name: string;
  /** A name in the node's own folder, or a URL, which is taken only with a digest. */
  readonly script: string;
  /** SHA-256 in hexadecimal digits; empty for a script of the folder. */
  readonly sha256: string;
}

/** Who has room? Multicast, signed. */
export interface Invite extends Common {
  readonly verb: "invite";
  readonly host: Count;
  readonly router: Count;
  /** How many sub-managers: as many as `subs`. */
  readonly meta: number;
  readonly subs: readonly SubNeed[];
  readonly routing: "static" | "dynamic";
  /** Encryption asked for: `none`, `aes-gcm`. */
  readonly encryption: string;
  readonly qos: boolean;
  readonly script: ScriptName | null;
  readonly ttl: number;
  /** Where answers go: HOST:PORT, empty for where the datagram came from. */
  readonly replyTo: string;
  /** Managers above, the sender last: who finds itself in it must not answer. */
  readonly path: readonly string[];
  /** Milliseconds that a reservation should last; 0 asks only who is there and reserves nothing. */
  readonly holdMs: number;
}

/** An answer to {@linkcode Invite}. Signed; the signer is the node. */
export interface AckInvite extends Common {
  readonly verb: "ack-invite";
  readonly type: NodeType;
  readonly hostname: string;
  /** Where its tunnels end. */
  readonly ipaddr: string;
  /** Ours: TCP port of its control connection. */
  readonly port: number;
  /** `linux` … */
  readonly os: string;
  /** Of the way that tunnels take. */
  readonly mtu: number;
  /** Words: `vxlan`, `esp`, `tbf`, `mptcp`, `script`, `hosts`. */
  readonly capabilities: readonly string[];
  /** Overlays that it could still join. */
  readonly free: number;
  /** Of a sub-manager: names of needs (see {@linkcode SubNeed}) that it can satisfy. */
  readonly guests: readonly string[];
}

/** Be part of it. */
export interface Select extends Common {
  readonly verb: "select";
  readonly type: "host" | "router" | "meta";
  /** Of a sub-manager: the need that it is chosen for; else empty. */
  readonly sub: string;
  /** Milliseconds that the commitment should last without a CONFIG. */
  readonly holdMs: number;
}

/** An answer to {@linkcode Select}. */
export interface AckSelect extends Common {
  readonly verb: "ack-select";
  readonly type: "host" | "router" | "meta";
}

/** Who is reserved and not kept is free again. Multicast, signed, not answered. */
export interface Release extends Common {
  readonly verb: "release";
  /** Names of nodes that are selected. */
  readonly keep: readonly string[];
}

/** A virtual node of a sub-overlay, before anybody plays it. */
export interface SubNode {
  /** Within the sub-overlay. */
  readonly name: string;
  readonly role: "host" | "router";
  readonly os: readonly string[];
  /** The box that must play it; empty for any. */
  readonly on: string;
}

/** What a sub-manager is to find nodes for: `create_overlay`. */
export interface SubSpec {
  readonly name: string;
  /** `control`: a share of the overlay's nodes; `stacked`: a network of its own below. */
  readonly mode: "control" | "stacked";
  readonly nodes: readonly SubNode[];
  readonly subs: readonly SubSpec[];
}

/** Pin down this sub-overlay. */
export interface Dispatch extends Common {
  readonly verb: "dispatch";
  readonly retry: number;
  readonly createOverlay: SubSpec;
}

/** Ours: who plays a virtual node. */
export interface PinnedNode {
  /** With the names of sub-overlays in front: `west/r1`. */
  readonly name: string;
  /** The box: its certificate's name. */
  readonly node: string;
  readonly hostname: string;
  readonly ipaddr: string;
  readonly mtu: number;
  readonly capabilities: readonly string[];
}

/** An answer to {@linkcode Dispatch}: everything below is pinned down. */
export interface AckDispatch extends Common {
  readonly verb: "ack-dispatch";
  readonly nodes: readonly PinnedNode[];
}

/** Become this. An RD gets its own plan, a sub-manager those of everybody below. */
export interface Config extends Common {
  readonly verb: "config";
  /** SHA-256 in hexadecimal digits over the plans without their keys. */
  readonly digest: string;
  /** Grows when only the keys are new. */
  readonly generation: number;
  /** Milliseconds without REFRESH after which the node takes everything down; 0 for never. */
  readonly leaseMs: number;
  readonly plans: readonly NodePlan[];
}

/** An answer to {@linkcode Config}. */
export interface AckConfig extends Common {
  readonly verb: "ack-config";
  readonly digest: string;
  readonly generation: number;
}

/** Ours: the overlay is still wanted. */
export interface Refresh extends Common {
  readonly verb: "refresh";
}

/** What a node is at. */
export interface NodeState {
  readonly node: string;
  /** State of its responder: `ACTIVE`. */
  readonly state: string;
  /** What is not as it was configured, a line each. */
  readonly drift: readonly string[];
  /** True after a restart: keys are gone and must be sent anew. */
  readonly rekey: boolean;
}

/** An answer to {@linkcode Refresh}; of a sub-manager for all below. */
export interface AckRefresh extends Common {
  readonly verb: "ack-refresh";
  readonly nodes: readonly NodeState[];
}

/** Ours: try every link. */
export interface Status extends Common {
  readonly verb: "status";
  /** Echo requests over each link; 0 asks for counters only. */
  readonly probes: number;
  /** Milliseconds to wait for answers. */
  readonly waitMs: number;
}

/** How a link does, seen from one end. */
export interface LinkState {
  readonly node: string;
  readonly link: string;
  readonly sent: number;
  readonly answered: number;
  /** Median in microseconds; 0 when none was answered. */
  readonly rttUs: number;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly errors: number;
}

/** An answer to {@linkcode Status}; of a sub-manager for all below. */
export interface AckStatus extends Common {
  readonly verb: "ack-status";
  readonly nodes: readonly NodeState[];
  readonly links: readonly LinkState[];
}

/** Away with it: DELETE of the diagrams. */
export interface Stop extends Common {
  readonly verb: "stop";
}

/** An answer to {@linkcode Stop}: nothing is left. */
export interface AckStop extends Common {
  readonly verb: "ack-stop";
}

/** Ours: `nack-` and the verb that is refused. */
export interface Nack extends Common {
  readonly verb: "nack";
  /** `invite`, `select`, `dispatch`, `config`, `refresh`, `status`, `stop`, or one that is unknown. */
  readonly of: string;
  /** The node that refuses: it may be below the one that answers. */
  readonly node: string;
  /** Which step failed; empty unless a CONFIG failed. */
  readonly step: string;
  readonly reason: string;
}

/** Any of them. */
export type Body =
  | Invite
  | AckInvite
  | Select
  | AckSelect
  | Release
  | Dispatch
  | AckDispatch
  | Config
  | AckConfig
  | Refresh
  | AckRefresh
  | Status
  | AckStatus
  | Stop
  | AckStop
  | Nack;

/** `(xbonecontrol …)`: one message. */
export interface Message {
  /** `protocol_version`: {@linkcode PROTOCOL_VERSION}. */
  readonly protocol: string;
  /** `release_version`: of the program. */
  readonly release: string;
  /** `seq_no`: grows with every message of a sender; an answer repeats that of the request. */
  readonly sequence: number;
  readonly credential: Credential | null;
  readonly body: Body;
}
