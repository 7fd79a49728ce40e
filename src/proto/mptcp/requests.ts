/**
 * What other programs ask a path manager for: send_addr, add_subflow, allow_join, set_backup and
 * remove_subflow of the RFC "MPTCP Path Management Generic Netlink API" (2018). A request is
 * checked here, so that its error says what is wrong; what the kernel says to it comes with the
 * result of its serial. The policy does not undo what was asked for.
 *
 * @module
 */
import {
  formatEndpoint,
  formatToken,
  type Joining,
  type PathConnection,
  pathOf,
  type PathSubflow,
  SUBFLOWS_MAX,
} from "./connection_table.ts";
import { announceable, type Layout } from "./layout.ts";
import type { PathLinks } from "./links.ts";
import type { Orders } from "./orders.ts";
import type { Endpoint, Request } from "./path_events.ts";
import type { Planner } from "./planner.ts";
import { isAddress, isInet, plainAddress, socketForm } from "./subnet.ts";

/** Requests of one connection that wait for their turn. */
const ASKED_MAX = 32;
/** Commands that wait for the kernel, of all connections. */
const QUEUE_MAX = 4096;
/** Announced by other programs on one connection. */
const ANNOUNCED_MAX = 64;
const JOIN_MS = 32_000;
const SUBFLOW_NUMBER_MAX = 2 ** 31 - 1;

/** What `addSubflow()` takes. */
export interface SubflowRequest {
  /** 1 to 255, 0 for the address of the first subflow; null: that of the address, or a free one. */
  readonly localId: number | null;
  /** Null: the address that has the id already. */
  readonly local: string | null;
  readonly localPort: number;
  readonly remoteId: number;
  /** Null: the address that was announced with the id. */
  readonly remote: Endpoint | null;
  /** Null: what the role of the interface says. */
  readonly backup: boolean | null;
  /** Number of the new subflow; null for the next one. */
  readonly subflow: number | null;
}

/** Checks requests and orders what they want. */
export class Requests {
  readonly #connections: ReadonlyMap<number, PathConnection>;
  readonly #links: PathLinks;
  readonly #layout: Layout;
  readonly #planner: Planner;
  readonly #orders: Orders;

  constructor(
    connections: ReadonlyMap<number, PathConnection>,
    links: PathLinks,
    layout: Layout,
    planner: Planner,
    orders: Orders,
  ) {
    this.#connections = connections;
    this.#links = links;
    this.#layout = layout;
    this.#planner = planner;
    this.#orders = orders;
  }

  /** ADD_ADDR; it may have to wait for its turn. */
  sendAddr(token: number, id: number, local: Endpoint, nowMs: number): Request {
    const action = "announce an address";
    const connection = this.#connection(token, action);
    if ("error" in connection) return connection;
    const plain = plainAddress(local.address);
    const wrong = wrongId(id) ?? wrongEndpoint(local);
    if (wrong !== null) return refuse(action, wrong);
    if (!announceable(connection, plain)) {
      return refuse(action, `the connection is an IPv4 one: current value is ${local.address}`);
    }
    const port = local.port === connection.local.port ? 0 : local.port;
    if (port !== 0 && !isInet(plain)) {
      return refuse(
        action,
        "an IPv6 address with a port does not fit beside TCP timestamps: " +
          `current value is ${port}; leave the port out`,
      );
    }
    if (connection.announced.size >= ANNOUNCED_MAX || connection.asked.length >= ASKED_MAX) {
      return refuse(
        action,
        `too many are announced: current value is ${connection.announced.size}`,
      );
    }
    const taken = id === 0
      ? connection.ids.take(plain, nowMs, (used) => connection.uses(used))
      : this.#claim(connection, plain, id);
    if (typeof taken === "string") return refuse(action, taken);
    if (taken < 1) {
      return refuse(action, `it is the address of the first subflow, or no id is free: ${plain}`);
    }
    const serial = this.#orders.reserve();
    const at = { address: plain, port };
    const interfaceIndex = this.#links.withAddress(plain, 0)?.index ?? 0;
    connection.asked.push({
      kind: "announce",
      serial,
      token,
      id: taken,
      local: at,
      interfaceIndex,
    });
    connection.withdrawn.delete(plain);
    const announced = { id: taken, local: at, asked: true, returned: false, forgotten: false };
    connection.announced.set(taken, announced);
    return { serial, subflow: -1 };
  }

  /** MP_JOIN. */
  addSubflow(token: number, asked: SubflowRequest, nowMs: number): Request {
    const action = "add a subflow";
    const connection = this.#connection(token, action);
    if ("error" in connection) return connection;
    const wrong = wrongId(asked.localId ?? 0) ?? wrongId(asked.remoteId) ?? this.#busy() ??
      wrongNumber(asked.subflow);
    if (wrong !== null) return refuse(action, wrong);
    if (!connection.established) {
      return refuse(
        action,
        "the connection is not established: current value is created; send data",
      );
    }
    if (connection.subflows.size + connection.joining.size >= SUBFLOWS_MAX) {
      return refuse(action, `there are too many: current value is ${connection.subflows.size}`);
    }
    const local = this.#local(connection, asked);
    if (typeof local === "string") return refuse(action, local);
    const remote = asked.remote ?? connection.remotes.get(asked.remoteId)?.[0] ?? null;
    if (remote === null) {
      return refuse(
        action,
        `no such remote address id is known: current value is ${asked.remoteId}`,
      );
    }
    const bad = wrongEndpoint(local) ?? wrongEndpoint(remote);
    if (bad !== null) return refuse(action, bad);
    const plain = plainAddress(local.address);
    if (isInet(plain) !== isInet(plainAddress(remote.address))) {
      return refuse(action, `both addresses must be of one family: current value is ${plain}`);
    }
    const localId = asked.localId === null
      ? connection.ids.take(plain, nowMs, (used) => connection.uses(used))
      : this.#claim(connection, plain, asked.localId);
    if (typeof localId === "string") return refuse(action, localId);
    if (localId < 0) return refuse(action, "no local address id is free: remove an address first");
    const number = connection.number(asked.subflow, nowMs);
    if (number < 0) return refuse(action, `the number is taken: current value is ${asked.subflow}`);
    const source = this.#layout.source(plain);
    const joining: Joining = {
      path: pathOf(local, remote),
      local: { address: socketForm(plain, connection.local.address), port: local.port },
      remote: {
        address: socketForm(plainAddress(remote.address), connection.local.address),
        port: remote.port === 0 ? connection.remote.port : remote.port,
      },
      localId,
      backup: asked.backup ??
        !this.#planner.carries(connection, source, this.#planner.bestTier(connection)),
      subflow: number,
      byPolicy: false,
      backupAsked: asked.backup,
      deadlineMs: nowMs + JOIN_MS,
    };
    const path = pathOf(joining.local, joining.remote);
    connection.banned.delete(path);
    const index = this.#links.withAddress(plain, 0)?.index ?? 0;
    const serial = this.#planner.create(connection, { ...joining, path }, index, nowMs);
    return { serial, subflow: number };
  }

  /** MP_PRIO; null gives the decision back to the policy. */
  setBackup(token: number, number: number, backup: boolean | null, nowMs: number): Request {
    const action = "set the priority of a subflow";
    const connection = this.#connection(token, action);
    if ("error" in connection) return connection;
    const subflow = this.#subflow(connection, number, action);
    if ("error" in subflow) return subflow;
    const wrong = this.#busy();
    if (wrong !== null) return refuse(action, wrong);
    subflow.backupAsked = backup;
    const source = this.#layout.source(subflow.plain);
    const wanted = backup ??
      !this.#planner.carries(connection, source, this.#planner.bestTier(connection));
    subflow.setAtMs = Infinity;
    const { local, remote } = subflow;
    const serial = this.#orders.order(
      { kind: "setBackup", token, local, remote, backup: wanted },
      connection,
      nowMs,
      subflow,
    );
    return { serial, subflow: number };
  }

  /**
   * REMOVE_ADDR when it is the last subflow of its address id, else the end of this subflow only.
   * The policy does not make this path again.
   */
  removeSubflow(token: number, number: number, nowMs: number): Request {
    const action = "remove a subflow";
    const connection = this.#connection(token, action);
    if ("error" in connection) return connection;
    const subflow = this.#subflow(connection, number, action);
    if ("error" in subflow) return subflow;
    if (subflow.leaving) {
      return refuse(action, `it is being removed already: current value is ${number}`);
    }
    const id = subflow.localId;
    const last = [...connection.subflows.values()]
      .every((other) => other === subflow || other.localId !== id || other.leaving);
    const full = this.#busy() ??
      (connection.asked.length >= ASKED_MAX
        ? `too many requests wait: current value is ${connection.asked.length}`
        : null);
    if (full !== null) return refuse(action, full);
    subflow.leaving = true;
    connection.ban(subflow.path);
    if (last && id > 0) {
      const serial = this.#orders.reserve();
      connection.asked.push({ kind: "remove", serial, token, id });
      return { serial, subflow: number };
    }
    const announced = connection.announcedAddress(subflow.plain);
    if (announced !== null) announced.forgotten = true;
    const { local, remote } = subflow;
    const serial = this.#orders.order(
      { kind: "destroy", token, local, remote },
      connection,
      nowMs,
      subflow,
    );
    return { serial, subflow: number };
  }

  /** What the subflow that comes shall be. Serial 0: it is done, no result will come. */
  allowJoin(
    token: number,
    remoteId: number,
    backup: boolean | null,
    subflow: number | null,
    nowMs: number,
  ): Request {
    const action = "allow a join";
    const connection = this.#connection(token, action);
    if ("error" in connection) return connection;
    const wrong = wrongId(remoteId) ?? wrongNumber(subflow);
    if (wrong !== null) return refuse(action, wrong);
    const number = connection.number(subflow, nowMs);
    if (number < 0) return refuse(action, `the number is taken: current value is ${subflow}`);
    connection.allow(remoteId, backup, number, nowMs);
    return { serial: 0, subflow: number };
  }

  /** The join guard's rule of one connection. */
  setJoins(token: number, joins: "accept" | "refuse" | "default", nowMs: number): Request {
    const connection = this.#connections.get(token);
    if (connection === undefined) return unknown(token, "set what becomes of joins");
    const wrong = this.#busy();
    if (wrong !== null) return refuse("set what becomes of joins", wrong);
    connection.joinsAsked = joins;
    connection.joinsSent = joins;
    const serial = this.#orders.order({ kind: "joins", token, joins }, connection, nowMs);
    return { serial, subflow: -1 };
  }

  #connection(token: number, action: string): PathConnection | { readonly error: string } {
    const connection = this.#connections.get(token);
    if (connection === undefined) return unknown(token, action);
    if (connection.managed) return connection;
    return refuse(
      action,
      `the kernel's own path manager has the connection: current value is ${formatToken(token)}; ` +
        "set net.mptcp.pm_type to 1 and connect again",
    );
  }

  #subflow(
    connection: PathConnection,
    number: number,
    action: string,
  ): PathSubflow | { readonly error: string } {
    return connection.subflows.get(number) ??
      refuse(action, `the connection has no such subflow: current value is ${number}`);
  }

  #local(
    connection: PathConnection,
    { local, localId, localPort }: SubflowRequest,
  ): Endpoint | string {
    const address = local ?? connection.announced.get(localId ?? 0)?.local.address ??
      connection.ids.addressOf(localId ?? 0);
    if (address !== null) return { address, port: localPort };
    return `no such local address id is known: current value is ${localId}; name the address too`;
  }

  /** Gives an id to an address, unless either has another already. */
  #claim(connection: PathConnection, plain: string, id: number): number | string {
    const known = connection.ids.idOf(plain);
    if (known === id) return id;
    if (known >= 0 && connection.uses(known)) {
      return `${plain} has the local address id ${known} already: current value is ${id}`;
    }
    if (id === 0) return `only the first subflow's address has the id 0: current value is ${plain}`;
    const other = connection.ids.addressOf(id);
    if (other !== null && connection.uses(id)) {
      return `${other} has this local address id: current value is ${id}`;
    }
    connection.ids.learn(plain, id);
    return id;
  }

  #busy(): string | null {
    const { length } = this.#orders;
    return length < QUEUE_MAX ? null : `too many commands wait: current value is ${length}`;
  }
}

function unknown(token: number, action: string): { readonly error: string } {
  return refuse(
    action,
    `there is no such connection: current value is ${
      formatToken(token)
    }; list_connections names them`,
  );
}

function refuse(action: string, reason: string): { readonly error: string } {
  return { error: `Cannot ${action} as ${reason}` };
}

function wrongId(id: number): string | null {
  return Number.isInteger(id) && id >= 0 && id <= 255
    ? null
    : `an address id must be 0 to 255: current value is ${id}`;
}

function wrongNumber(number: number | null): string | null {
  if (number === null) return null;
  return Number.isInteger(number) && number >= 0 && number <= SUBFLOW_NUMBER_MAX
    ? null
    : `a subflow's number must be 0 to ${SUBFLOW_NUMBER_MAX}: current value is ${number}`;
}

function wrongEndpoint(endpoint: Endpoint): string | null {
  const { address, port } = endpoint;
  if (isAddress(address) && Number.isInteger(port) && port >= 0 && port <= 65535) return null;
  return `an address or its port is none: current value is ${formatEndpoint(endpoint)}`;
}
