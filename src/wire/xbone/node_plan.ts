/**
 * What a box becomes in an overlay: the body of CONFIG, which the X-Bone control protocol names but does
 * not give a form. Two layers, as X-Bone has them: a tunnel for each virtual link (VXLAN, RFC 7348), and
 * addresses and routes on top, in a table of their own for each visit.
 *
 * @module
 */

/** One end of a virtual link. */
export interface PlanLink {
  /** Unique in the overlay: `a-b`. */
  readonly name: string;
  /** VXLAN network identifier: one for each link, 24 bits. */
  readonly vni: number;
  /** UDP port of the tunnel. */
  readonly port: number;
  /** Where the tunnel ends here, and there. */
  readonly local: string;
  readonly remote: string;
  readonly mtu: number;
  /** On the link, here and there: the two of a /31 (RFC 3021). */
  readonly address: string;
  readonly peerAddress: string;
  /** The virtual node at the other end, and the box that plays it. */
  readonly peer: string;
  readonly peerNode: string;
  /** Bits per second; 0 is no limit. */
  readonly rateBits: number;
}

/** A static route of a visit's table. */
export interface PlanRoute {
  /** With its length: `10.100.0.7/32`. */
  readonly to: string;
  /** The other end of the link that it goes over. */
  readonly via: string;
  readonly link: string;
}

/** A virtual node on this box. The same box may be visited more than once: "revisitation". */
export interface Visit {
  /** `r1`, `west/r1`. */
  readonly name: string;
  /** The network that it belongs to: the overlay, or one that is stacked below (`field/west`). */
  readonly network: string;
  /** A router forwards. */
  readonly role: "host" | "router";
  /** Its own address, of /32. */
  readonly address: string;
  /** Of the whole network: `10.100.0.0/16`. */
  readonly prefix: string;
  readonly links: readonly PlanLink[];
  readonly routes: readonly PlanRoute[];
}

/** ESP in transport mode between two boxes, for the tunnels of one port (RFC 3884). */
export interface Association {
  readonly local: string;
  readonly remote: string;
  /** UDP port of the tunnels that are protected. */
  readonly port: number;
  readonly spiIn: number;
  readonly spiOut: number;
  /** AES-128-GCM: key and salt, 40 hexadecimal digits. Empty where keys are left out. */
  readonly keyIn: string;
  readonly keyOut: string;
}

/** A line of the hosts file. */
export interface HostName {
  readonly address: string;
  readonly name: string;
}

/** An application script: `SCRIPT start` at the end, `SCRIPT stop` when it is undone. */
export interface PlanScript {
  readonly name: string;
  /** A name in the node's folder, or a URL. */
  readonly script: string;
  /** SHA-256 in hexadecimal digits; needed with a URL. */
  readonly sha256: string;
  /** How long it may take. */
  readonly deadlineMs: number;
}

/** An MPTCP endpoint for the box's sessions, ip-mptcp(8). */
export interface PlanEndpoint {
  readonly address: string;
  /** `subflow`, `signal`, `backup`. */
  readonly flags: readonly string[];
}

/** A key of a keyring. */
export interface PlanKey {
  /** `client.gw1`. */
  readonly entity: string;
  /** Base64, as in a keyring. Empty where keys are left out. */
  readonly key: string;
}

/** What a Fairlead on this box is to be. */
export interface PlanPeers {
  readonly role: "hub" | "gateway";
  readonly entity: string;
  /** Where the hub listens: `v2:10.100.0.1:3300`. */
  readonly hub: string;
  readonly keys: readonly PlanKey[];
}

/** All of it. Steps are taken in this order, and undone in the reverse one. */
export interface NodePlan {
  /** The overlay's name and epoch. */
  readonly overlay: string;
  readonly epoch: string;
  /** The box. */
  readonly node: string;
  /** Lower networks first. */
  readonly visits: readonly Visit[];
  readonly associations: readonly Association[];
  readonly endpoints: readonly PlanEndpoint[];
  readonly names: readonly HostName[];
  readonly peers: PlanPeers | null;
  readonly script: PlanScript | null;
}
