/**
 * What goes into and comes out of a {@linkcode PathManager}: what the kernel, the links and other programs say,
 * what the kernel shall do, and what subscribers are told under the names of the RFC "MPTCP Path
 * Management Generic Netlink API" (2018). Addresses are texts as wire/inet.ts writes them, in the form that
 * the kernel uses for the socket: the IPv4 peer of an IPv6 socket is `::ffff:10.0.0.1`.
 *
 * @module
 */

/** An address with a port; port 0 where any will do. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** MPTCP_EVENT_CREATED and MPTCP_EVENT_ESTABLISHED. */
export interface ConnectionEvent {
  readonly token: number;
  readonly established: boolean;
  readonly serverSide: boolean;
  /** The peer asks that its initial address is not joined: MPTCP_PM_EV_FLAG_DENY_JOIN_ID0. */
  readonly denyJoinId0: boolean;
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/** MPTCP_EVENT_SUB_ESTABLISHED, SUB_CLOSED and SUB_PRIORITY. */
export interface SubflowEvent {
  readonly token: number;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly localId: number;
  readonly remoteId: number;
  /** What the peer asked for; what this side asked for is not in it. */
  readonly backup: boolean;
  /** Of the device that the socket is bound to, 0 when it is not bound. */
  readonly interfaceIndex: number;
  /** Of SUB_CLOSED: errno, 0 without. */
  readonly error: number;
  /** Of SUB_CLOSED: why the peer reset it, -1 when it did not say. */
  readonly resetReason: number;
}

/** A connection as it is found by sock_diag, with its subflows. */
export interface FoundConnection {
  readonly token: number;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly subflows: readonly FoundSubflow[];
}

/** A subflow as it is found by sock_diag. */
export interface FoundSubflow {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly localId: number;
  readonly remoteId: number;
  readonly backupLocal: boolean;
  readonly backupRemote: boolean;
  /** It may be joined to: the connection is established. */
  readonly fullyEstablished: boolean;
  readonly interfaceIndex: number;
}

/** A network interface: RTM_NEWLINK. */
export interface LinkState {
  readonly index: number;
  readonly name: string;
  /** Administratively up, and with carrier: IFF_UP and IFF_LOWER_UP. */
  readonly up: boolean;
  readonly loopback: boolean;
}

/** An address of this host: RTM_NEWADDR. */
export interface LinkAddress {
  readonly index: number;
  readonly address: string;
  readonly prefixLength: number;
  /** RT_SCOPE_LINK. */
  readonly linkLocal: boolean;
  /** Not tentative, not failed duplicate detection, not deprecated. */
  readonly usable: boolean;
}

/** What the kernel shall do; `serial` is for {@linkcode PathManager.handleResult}. */
export type PathCommand =
  | {
    /** MPTCP_PM_CMD_ANNOUNCE: ADD_ADDR to the peer. `port` 0: the port of the first subflow. */
    readonly kind: "announce";
    readonly serial: number;
    readonly token: number;
    readonly id: number;
    readonly local: Endpoint;
    readonly interfaceIndex: number;
  }
  | {
    /** MPTCP_PM_CMD_REMOVE: REMOVE_ADDR to the peer. */
    readonly kind: "remove";
    readonly serial: number;
    readonly token: number;
    readonly id: number;
  }
  | {
    /** MPTCP_PM_CMD_SUBFLOW_CREATE: MP_JOIN to the peer. */
    readonly kind: "create";
    readonly serial: number;
    readonly token: number;
    readonly id: number;
    readonly local: Endpoint;
    readonly remote: Endpoint;
    readonly backup: boolean;
    /** The device that it is bound to, 0 for none. */
    readonly interfaceIndex: number;
  }
  | {
    /** MPTCP_PM_CMD_SUBFLOW_DESTROY. */
    readonly kind: "destroy";
    readonly serial: number;
    readonly token: number;
    readonly local: Endpoint;
    readonly remote: Endpoint;
  }
  | {
    /** MPTCP_PM_CMD_SET_FLAGS: MP_PRIO to the peer. */
    readonly kind: "setBackup";
    readonly serial: number;
    readonly token: number;
    readonly local: Endpoint;
    readonly remote: Endpoint;
    readonly backup: boolean;
  }
  | {
    /** What the guard does with this connection's MP_JOIN: a rule of its own, or none ("default"). */
    readonly kind: "joins";
    readonly serial: number;
    readonly token: number;
    readonly joins: "accept" | "refuse" | "default";
  };

/** What subscribers are told. `token` is the seed's connection id within a network namespace. */
export type PathEvent =
  | {
    readonly name: "new_connection";
    readonly token: number;
    readonly local: Endpoint;
    readonly remote: Endpoint;
    readonly serverSide: boolean;
    /** Priority of the first subflow. */
    readonly backup: boolean;
    /** It was there before the manager. */
    readonly found: boolean;
  }
  | {
    readonly name: "new_addr";
    readonly token: number;
    readonly remoteId: number;
    readonly remote: Endpoint;
  }
  | { readonly name: "addr_removed"; readonly token: number; readonly remoteId: number }
  | {
    readonly name: "join_attempt";
    readonly token: number;
    /** -1 while the kernel has not given it one. */
    readonly localId: number;
    readonly local: Endpoint;
    readonly remoteId: number;
    readonly remote: Endpoint;
    readonly backup: boolean;
    /** What was done; `waiting` when an allow_join is waited for. */
    readonly verdict: "accepted" | "refused" | "waiting";
  }
  | {
    readonly name: "new_subflow";
    readonly token: number;
    /** The seed's subflow id: numbered by the manager, or chosen by who asked for it. */
    readonly subflow: number;
    readonly local: Endpoint;
    readonly remote: Endpoint;
    readonly localId: number;
    readonly remoteId: number;
    readonly backup: boolean;
  }
  | {
    readonly name: "subflow_closed";
    readonly token: number;
    readonly subflow: number;
    readonly error: number;
    readonly resetReason: number;
  }
  | {
    readonly name: "subflow_priority";
    readonly token: number;
    readonly subflow: number;
    readonly backup: boolean;
    readonly by: "peer" | "local";
  }
  | {
    readonly name: "conn_closed";
    readonly token: number;
    /** No event told: it was found missing (MP_FASTCLOSE gives none). */
    readonly found: boolean;
  }
  | { readonly name: "link"; readonly index: number; readonly link: string; readonly up: boolean }
  | {
    readonly name: "address";
    readonly index: number;
    readonly link: string;
    readonly address: string;
    /** False: it went. */
    readonly there: boolean;
  }
  | {
    /** MPTCP_EVENT_LISTENER_CREATED and LISTENER_CLOSED: any program's. */
    readonly name: "listener";
    readonly local: Endpoint;
    readonly open: boolean;
  }
  | {
    /** A sentence for the log. */
    readonly name: "note";
    readonly level: "info" | "warning";
    readonly text: string;
  };

/** The answer to a request of another program. */
export type Request =
  | { readonly serial: number; readonly subflow: number }
  | { readonly error: string };
