/**
 * What is known of paths at one moment: the one object behind `paths list`, `paths graph`, `--json` and the
 * status page.
 *
 * @module
 */

/** All of one network namespace. */
export interface PathsView {
  /** Name of the namespace (`ip netns`), empty for our own. */
  namespace: string;
  /** `userspace`, `kernel` or `none` (no MPTCP): net.mptcp.pm_type. */
  pathManager: "userspace" | "kernel" | "none";
  links: LinkView[];
  connections: ConnectionView[];
}

/** A network interface with its addresses. */
export interface LinkView {
  index: number;
  name: string;
  up: boolean;
  addresses: string[];
  /** `primary`, `backup`, `metered`, `off`; empty when no daemon was asked. */
  role: string;
}

/** An MPTCP connection. */
export interface ConnectionView {
  /** `0x1b2c3d4e`: the kernel's token; unique on the host while the connection lives. */
  connection: string;
  /** `ADDRESS:PORT`, `[ADDRESS]:PORT`. */
  local: string;
  remote: string;
  /** `established`, `closing`, …: words of ss(8). */
  state: string;
  serverSide: boolean | null;
  /** Owner of the socket. */
  uid: number;
  /** Bytes of the whole connection. */
  bytesSent: number;
  bytesReceived: number;
  subflows: SubflowView[];
  /** Addresses that the peer announced; only a daemon knows. */
  remoteAddresses: { id: number; address: string }[];
}

/** A subflow of a connection. */
export interface SubflowView {
  /** The daemon's number; null when no daemon was asked. */
  subflow: number | null;
  local: string;
  remote: string;
  localId: number;
  remoteId: number;
  /** Interface that has the local address; empty when none has. */
  link: string;
  state: string;
  /** Who asked that it is a backup. */
  backup: "" | "local" | "remote" | "both";
  rttMs: number;
  bytesSent: number;
  bytesReceived: number;
  retransmitted: number;
}
