/**
 * The connections of a path manager from their first event to their end: what is entered, what
 * subscribers are told, what is forgotten. Subscribers hear of a connection when it is established,
 * and then of all that it has; from there on of each change, and of the end of every subflow, also
 * when the kernel tells only that of the connection.
 *
 * @module
 */
import { guessServerSide, PathConnection, type PathSubflow } from "./connection_table.ts";
import { DeadlineHeap } from "./deadlines.ts";
import type { Orders, Tidings } from "./orders.ts";
import type {
  Endpoint,
  FoundConnection,
  FoundSubflow,
  PathEvent,
  SubflowEvent,
} from "./path_events.ts";
import type { PathPolicy } from "./path_policy.ts";
import type { Planner } from "./planner.ts";
import { plainAddress } from "./subnet.ts";

const CONNECTIONS_MAX = 65_536;

/**
 * RFC 8684 section 3.6: lack of resources, administratively prohibited, unacceptable performance,
 * middlebox.
 */
const PATIENT_REASONS: readonly number[] = [2, 3, 5, 6];

/** The failures of one local address are told so often. */
const NOTED_MS = 60_000;
const NOTED_MAX = 256;
/** Why a subflow could not be made, by Linux errno, with the remedy. */
const REASONS: Readonly<Record<number, string>> = {
  0: "the peer ended it at once, its limit of subflows may be reached (fairlead paths limits " +
    "--subflows 8 there)",
  101: "no route, each uplink needs one of its own (ip route get TO from FROM)",
  110: "no answer",
  111: "refused, nobody listens at that address or the peer does not let it join",
  113:
    "nobody answers on that link, each uplink needs a route of its own (ip route get TO from FROM)",
};

/** All connections. */
export class Registry {
  readonly connections: Map<number, PathConnection> = new Map();
  /** Connections that must be looked at. */
  readonly marked: Set<PathConnection> = new Set();
  readonly deadlines: DeadlineHeap<PathConnection> = new DeadlineHeap();
  readonly #planner: Planner;
  readonly #orders: Orders;
  readonly #tidings: Tidings;
  /** Of retries. */
  policy: PathPolicy;
  /** A connection is known by half. */
  wantsFound = false;
  refusedConnections = 0;
  refusedSubflows = 0;
  /** When a failure of a local address was told. */
  readonly #noted = new Map<string, number>();

  constructor(planner: Planner, orders: Orders, tidings: Tidings, policy: PathPolicy) {
    this.#planner = planner;
    this.#orders = orders;
    this.#tidings = tidings;
    this.policy = policy;
  }

  /** Enters a connection; null when there are too many. */
  open(token: number, local: Endpoint, remote: Endpoint): PathConnection | null {
    if (this.connections.size >= CONNECTIONS_MAX) {
      if (this.refusedConnections++ === 0) {
        this.#tidings.note(
          "warning",
          "Cannot manage more connections as there are too many: " +
            `current value is ${CONNECTIONS_MAX}; the others keep the paths that they have`,
        );
      }
      return null;
    }
    const connection = new PathConnection(token, local, remote);
    this.connections.set(token, connection);
    return connection;
  }

  /** The connection of an event; entered by half when its beginning was not heard. */
  heard(token: number): PathConnection | null {
    const known = this.connections.get(token);
    if (known !== undefined) return known;
    this.wantsFound = true;
    const nowhere = { address: "", port: 0 };
    const connection = this.open(token, nowhere, nowhere);
    if (connection !== null) connection.found = true;
    return connection;
  }

  /** Enters the first subflow. */
  addFirst(connection: PathConnection, nowMs: number): void {
    const { token, local, remote } = connection;
    if (connection.find(local, remote) !== null) return;
    const first: SubflowEvent = {
      token,
      local,
      remote,
      localId: 0,
      remoteId: 0,
      backup: false,
      interfaceIndex: 0,
      error: 0,
      resetReason: -1,
    };
    const subflow = connection.add(first, connection.number(0, nowMs), nowMs);
    if (subflow !== null) this.#planner.isDead(subflow); // finds its link
  }

  /** It may be acted upon, and is told of. */
  establish(connection: PathConnection): void {
    connection.established = true;
    connection.waitUntilMs = 0;
    connection.waits = 0;
    if (connection.told) return;
    connection.told = true;
    const { token, local, remote, found } = connection;
    const first = connection.subflows.get(0);
    const backup = first !== undefined && (first.backupLocal || first.backupRemote);
    const serverSide = connection.serverSide === true;
    this.#tidings.tell({ name: "new_connection", token, local, remote, serverSide, backup, found });
    for (const subflow of connection.subflows.values()) {
      if (subflow !== first) this.#tellSubflow(connection, subflow);
    }
    for (const [remoteId, endpoints] of connection.remotes) {
      if (remoteId === 0) continue;
      for (const endpoint of endpoints) {
        this.tell(connection, { name: "new_addr", token, remoteId, remote: endpoint });
      }
    }
  }

  /** Tells of a connection that subscribers know. */
  tell(connection: PathConnection, event: PathEvent): void {
    if (connection.told) this.#tidings.tell(event);
  }

  #takeFound(found: FoundConnection, nowMs: number): void {
    const { token, local, remote } = found;
    let connection = this.connections.get(token) ?? null;
    if (connection?.complete === true && !isSame(connection, local, remote)) {
      this.drop(connection, true, nowMs);
      connection = null;
    }
    if (connection === null) {
      connection = this.open(token, local, remote);
      if (connection === null) return;
      connection.found = true;
    }
    // One that has no subflow left, and so no mark, must have been established.
    const bare = connection.complete && found.subflows.length === 0;
    if (!connection.complete) {
      connection.complement(local, remote, connection.denyJoinId0);
      connection.serverSide = guessServerSide(local, remote);
    }
    const there = new Set<PathSubflow>();
    for (const one of found.subflows) {
      const subflow = this.#takeFoundSubflow(connection, one, nowMs);
      if (subflow !== null) there.add(subflow);
    }
    for (const subflow of [...connection.subflows.values()]) {
      if (!there.has(subflow)) this.closeSubflow(connection, subflow, 0, -1, nowMs);
    }
    const established = bare || found.subflows.some(({ fullyEstablished }) => fullyEstablished);
    if (established && !connection.established) this.establish(connection);
    this.marked.add(connection);
  }

  #takeFoundSubflow(
    connection: PathConnection,
    found: FoundSubflow,
    nowMs: number,
  ): PathSubflow | null {
    const { local, remote } = found;
    const first = isSame(connection, local, remote);
    let subflow = connection.find(local, remote);
    if (subflow === null && first) {
      this.addFirst(connection, nowMs);
      subflow = connection.find(local, remote);
    }
    if (subflow === null) {
      if (!found.fullyEstablished) return null; // its event will come
      subflow = this.join(connection, found, found.backupRemote, nowMs);
      if (subflow === null) return null;
    }
    subflow.localId = found.localId;
    subflow.remoteId = found.remoteId;
    if (found.interfaceIndex !== 0) subflow.interfaceIndex = found.interfaceIndex;
    this.setRemoteBackup(connection, subflow, found.backupRemote);
    const busy = [...connection.pending].some((pending) => pending.subflow === subflow);
    if (busy) return subflow;
    this.setLocalBackup(connection, subflow, found.backupLocal);
    // Its end was ordered and did not come.
    if (subflow.leaving && subflow.destroyAtMs === Infinity) subflow.destroyAtMs = nowMs;
    return subflow;
  }

  #tellSubflow(connection: PathConnection, subflow: PathSubflow): void {
    const { local, remote, localId, remoteId } = subflow;
    this.tell(connection, {
      name: "new_subflow",
      token: connection.token,
      subflow: subflow.id,
      local,
      remote,
      localId,
      remoteId,
      backup: subflow.backupLocal || subflow.backupRemote,
    });
  }

  /** Enters a subflow that came: by an order of ours, or by the peer. */
  join(
    connection: PathConnection,
    event: SubflowEvent | FoundSubflow,
    backupRemote: boolean,
    nowMs: number,
  ): PathSubflow | null {
    const joining = connection.takeJoining(event.local, event.remote);
    const allowed = joining === null ? connection.takeAllowed(event.remoteId, nowMs) : null;
    const chosen = joining !== null && joining.subflow >= 0 ? joining.subflow : allowed?.subflow;
    const number = connection.number(chosen ?? null, nowMs);
    const free = number >= 0 ? number : connection.number(null, nowMs);
    const subflow = connection.add(event, free, nowMs);
    if (subflow === null) {
      this.refusedSubflows++;
      return null;
    }
    subflow.backupRemote = backupRemote;
    const found = "backupLocal" in event && event.backupLocal;
    subflow.backupLocal = joining?.backup ?? found;
    subflow.byPolicy = joining?.byPolicy ?? false;
    subflow.byPeer = joining === null && allowed === null && !("backupLocal" in event);
    subflow.backupAsked = joining?.backupAsked ?? allowed?.backup ?? null;
    this.#planner.isDead(subflow); // finds its link
    this.#tellSubflow(connection, subflow);
    return subflow;
  }

  /** The peer's wish. */
  setRemoteBackup(connection: PathConnection, subflow: PathSubflow, backup: boolean): void {
    if (subflow.backupRemote === backup) return;
    subflow.backupRemote = backup;
    const { token } = connection;
    const { id } = subflow;
    this.tell(connection, { name: "subflow_priority", token, subflow: id, backup, by: "peer" });
  }

  /** Our own. */
  setLocalBackup(connection: PathConnection, subflow: PathSubflow, backup: boolean): void {
    if (subflow.backupLocal === backup) return;
    subflow.backupLocal = backup;
    const { token } = connection;
    const { id } = subflow;
    this.tell(connection, { name: "subflow_priority", token, subflow: id, backup, by: "local" });
  }

  /** A subflow ended. */
  closeSubflow(
    connection: PathConnection,
    subflow: PathSubflow,
    error: number,
    resetReason: number,
    nowMs: number,
  ): void {
    connection.drop(subflow);
    const { token } = connection;
    const { id } = subflow;
    this.tell(connection, { name: "subflow_closed", token, subflow: id, error, resetReason });
    if (subflow.leaving) return;
    const livedMs = nowMs - subflow.sinceMs;
    this.fail(connection, subflow.path, subflow.local, livedMs, resetReason, nowMs);
  }

  /** Says why there is no subflow from an address, once in a while; `errno` 0: it was ended at once. */
  noteFailure(local: Endpoint, remote: Endpoint, errno: number, nowMs: number): void {
    const from = plainAddress(local.address);
    if ((this.#noted.get(from) ?? -Infinity) > nowMs - NOTED_MS) return;
    this.#noted.delete(from);
    if (this.#noted.size >= NOTED_MAX) this.#noted.delete(this.#noted.keys().next().value!);
    this.#noted.set(from, nowMs);
    const to = plainAddress(remote.address);
    const why = REASONS[errno]?.replace("TO", to).replace("FROM", from) ?? `errno ${errno}`;
    this.#tidings.note("warning", `No subflow from ${from} to ${to}: ${why}`);
  }

  /** A path is tried again later. */
  fail(
    connection: PathConnection,
    path: string,
    local: Endpoint,
    livedMs: number,
    resetReason: number,
    nowMs: number,
  ): void {
    const { retryFirstMs, retryMaxMs } = this.policy;
    const firstMs = PATIENT_REASONS.includes(resetReason) ? retryMaxMs : retryFirstMs;
    const plain = plainAddress(local.address);
    connection.retries.fail(path, plain, livedMs, nowMs, firstMs, retryMaxMs);
    this.marked.add(connection);
  }

  /** All connections that there are: what is not among them is gone, what is not known is entered. */
  reconcile(found: readonly FoundConnection[], nowMs: number): void {
    this.wantsFound = false;
    const tokens = new Set(found.map(({ token }) => token));
    for (const connection of [...this.connections.values()]) {
      if (!tokens.has(connection.token)) this.drop(connection, true, nowMs);
    }
    for (const one of found) this.#takeFound(one, nowMs);
  }

  /** A connection ended; `found`: it was not told, but is not there any more. */
  drop(connection: PathConnection, found: boolean, nowMs: number): void {
    const { token } = connection;
    for (const { id } of connection.subflows.values()) {
      this.tell(connection, {
        name: "subflow_closed",
        token,
        subflow: id,
        error: 0,
        resetReason: -1,
      });
    }
    this.tell(connection, { name: "conn_closed", token, found });
    // Whoever asked is answered by the kernel: "invalid token".
    for (const command of connection.asked) this.#orders.send(command, connection, nowMs);
    if (connection.joinsSent !== "default") {
      this.#orders.order({ kind: "joins", token, joins: "default" }, connection, nowMs);
    }
    this.#orders.forget(connection);
    this.connections.delete(token);
    this.marked.delete(connection);
    this.deadlines.set(connection, Infinity);
  }
}

/** Whether these are a connection's own addresses. */
export function isSame(connection: PathConnection, local: Endpoint, remote: Endpoint): boolean {
  return connection.local.port === local.port && connection.remote.port === remote.port &&
    plainAddress(connection.local.address) === plainAddress(local.address) &&
    plainAddress(connection.remote.address) === plainAddress(remote.address);
}
