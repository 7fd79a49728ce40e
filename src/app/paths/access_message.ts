/**
 * What goes over the access socket: JSON, one object a line. Requests carry the commands of the RFC
 * "MPTCP Path Management Generic Netlink API" (2018), "Path Manager Initiated Events", under their
 * names there; events go to the subscribers of its multicast groups. Members are in snake_case, as
 * that document names them; a connection is `0x` and the kernel's token in hexadecimal.
 *
 * @module
 */
import type { DaemonName } from "../access_client.ts";
import type { AccessId, Parsed, Subscribe } from "../access_server.ts";
import { formatToken } from "../../proto/mptcp/connection_table.ts";
import type { PathEvent } from "../../proto/mptcp/path_events.ts";
import { Family, formatInet, parseInet } from "../../wire/inet.ts";
import { nearest } from "../nearest.ts";
import { printable } from "../printable.ts";

/** Whose socket it is. */
export const PATH_MANAGER: DaemonName = {
  who: "the path manager",
  start: "fairlead paths daemon",
};

/** What can be subscribed to: the six groups of the RFC, then what it lacks. */
export const ACCESS_GROUPS = [
  "new_connection",
  "new_addr",
  "join_attempt",
  "new_subflow",
  "subflow_closed",
  "conn_closed",
  "addr_removed",
  "subflow_priority",
  "link",
  "address",
  "listener",
] as const;

/** One of {@linkcode ACCESS_GROUPS}. */
export type AccessGroup = typeof ACCESS_GROUPS[number];

/** An event as subscribers get it. */
export interface AccessEvent {
  readonly event: AccessGroup;
  readonly [member: string]: string | number | boolean | null;
}

/** What another program asks for, checked. Null is what was left out. */
export type AccessRequest =
  | {
    /** ADD_ADDR to the peer. `addressId` 0: any. */
    readonly command: "send_addr";
    readonly token: number;
    readonly addressId: number;
    readonly localAddress: string;
    /** Null: the port of the first subflow. */
    readonly localPort: number | null;
  }
  | {
    /** MP_JOIN to the peer. Of each end there is an id or an address. */
    readonly command: "add_subflow";
    readonly token: number;
    readonly localId: number | null;
    readonly localAddress: string | null;
    /** Null: the port of the first subflow; 0: any. */
    readonly localPort: number | null;
    readonly remoteId: number | null;
    readonly remoteAddress: string | null;
    readonly remotePort: number | null;
    readonly backup: boolean | null;
    readonly subflow: number | null;
  }
  | {
    /** Answers a join_attempt; `allow` is false when it was left out. */
    readonly command: "allow_join";
    readonly token: number;
    readonly remoteId: number;
    readonly localAddress: string | null;
    readonly localPort: number | null;
    readonly allow: boolean;
    readonly backup: boolean | null;
    readonly subflow: number | null;
  }
  | {
    readonly command: "set_backup";
    readonly token: number;
    readonly subflow: number;
    readonly backup: boolean | null;
  }
  | { readonly command: "remove_subflow"; readonly token: number; readonly subflow: number }
  | {
    readonly command: "list_subflows" | "list_remote_addresses" | "list_local_addresses";
    readonly token: number;
  }
  | { readonly command: "list_connections" | "view" | "status" }
  | {
    /** Of a connection, or of the whole namespace where `token` is null. */
    readonly command: "set_policy";
    readonly token: number | null;
    readonly joins: "accept" | "refuse" | "interfaces" | "default";
    /** Names, `*` for any run of characters; empty unless `joins` is `interfaces`. */
    readonly interfaces: readonly string[];
  }
  | Subscribe<AccessGroup>;

/** One that asks for something to be done. */
export type AccessCommand = Exclude<AccessRequest, Subscribe<AccessGroup>>;

const TOKEN = /^0x([0-9a-f]{1,8})$/i;
const PORT_MAX = 0xffff;
const ADDRESS_ID_MAX = 0xff;
const SUBFLOW_MAX = 0xffffffff;
/** IFNAMSIZ without the final 0. */
const INTERFACE_NAME_MAX = 15;
const INTERFACES_MAX = 64;
const JOINS = ["accept", "refuse", "interfaces", "default"] as const;
/** What is shown of a value that is wrong. */
const SHOWN_MAX = 80;

/** The checkers of the commands; each takes what its command may have. */
const COMMANDS: Readonly<Record<AccessRequest["command"], (from: Members) => AccessRequest>> = {
  send_addr: (from) => ({
    command: "send_addr",
    token: from.token(),
    addressId: from.addressId("address_id") ?? 0,
    localAddress: from.needed("local_address", from.address("local_address")),
    localPort: from.port("local_port"),
  }),
  add_subflow: (from) => {
    const token = from.token();
    const local = from.end("local");
    const remote = from.end("remote");
    return {
      command: "add_subflow",
      token,
      localId: local.id,
      localAddress: local.address,
      localPort: local.port,
      remoteId: remote.id,
      remoteAddress: remote.address,
      remotePort: remote.port,
      backup: from.flag("backup"),
      subflow: from.subflow(),
    };
  },
  allow_join: (from) => ({
    command: "allow_join",
    token: from.token(),
    remoteId: from.needed("remote_address_id", from.addressId("remote_address_id")),
    localAddress: from.address("local_address"),
    localPort: from.port("local_port"),
    allow: from.flag("allow") ?? false,
    backup: from.flag("backup"),
    subflow: from.subflow(),
  }),
  set_backup: (from) => ({
    command: "set_backup",
    token: from.token(),
    subflow: from.needed("subflow", from.subflow()),
    backup: from.flag("backup"),
  }),
  remove_subflow: (from) => ({
    command: "remove_subflow",
    token: from.token(),
    subflow: from.needed("subflow", from.subflow()),
  }),
  list_connections: () => ({ command: "list_connections" }),
  list_subflows: (from) => ({ command: "list_subflows", token: from.token() }),
  list_remote_addresses: (from) => ({ command: "list_remote_addresses", token: from.token() }),
  list_local_addresses: (from) => ({ command: "list_local_addresses", token: from.token() }),
  set_policy: (from) => from.policy(),
  subscribe: (from) => ({ command: "subscribe", groups: from.groups() }),
  view: () => ({ command: "view" }),
  status: () => ({ command: "status" }),
};

/** Reads and checks one line of a client. */
export function parseRequest(line: string): Parsed<AccessRequest> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    const why = (error as Error).message;
    return { id: null, error: `Cannot read request as it is not JSON: ${printable(why)}` };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const text = `Cannot read request as it must be a JSON object: ${current(value)}`;
    return { id: null, error: text };
  }
  const members = new Members(value as Record<string, unknown>);
  let id: AccessId = null;
  try {
    id = members.id();
    const command = COMMANDS[members.command()];
    const request = command(members);
    members.finish();
    return { id, request };
  } catch (error) {
    if (error instanceof Refusal) return { id, error: error.message };
    throw error;
  }
}

/** The event as subscribers get it; null for one that belongs to no group. */
export function accessEvent(event: PathEvent): AccessEvent | null {
  switch (event.name) {
    case "new_connection":
      return {
        event: event.name,
        connection: formatToken(event.token),
        local_address: event.local.address,
        local_port: event.local.port,
        remote_address: event.remote.address,
        remote_port: event.remote.port,
        backup: event.backup,
        server_side: event.serverSide,
        found: event.found,
      };
    case "new_addr":
      return {
        event: event.name,
        connection: formatToken(event.token),
        remote_address_id: event.remoteId,
        remote_address: event.remote.address,
        remote_port: event.remote.port,
      };
    case "addr_removed":
      return {
        event: event.name,
        connection: formatToken(event.token),
        remote_address_id: event.remoteId,
      };
    case "join_attempt":
      return {
        event: event.name,
        connection: formatToken(event.token),
        local_address_id: orNull(event.localId),
        local_address: event.local.address,
        local_port: event.local.port,
        remote_address_id: event.remoteId,
        remote_address: event.remote.address,
        remote_port: event.remote.port,
        backup: event.backup,
        verdict: event.verdict,
      };
    case "new_subflow":
      return {
        event: event.name,
        connection: formatToken(event.token),
        subflow: event.subflow,
        local_address_id: event.localId,
        local_address: event.local.address,
        local_port: event.local.port,
        remote_address_id: event.remoteId,
        remote_address: event.remote.address,
        remote_port: event.remote.port,
        backup: event.backup,
      };
    case "subflow_closed":
      return {
        event: event.name,
        connection: formatToken(event.token),
        subflow: event.subflow,
        error: event.error,
        reset_reason: orNull(event.resetReason),
      };
    case "subflow_priority":
      return {
        event: event.name,
        connection: formatToken(event.token),
        subflow: event.subflow,
        backup: event.backup,
        by: event.by,
      };
    case "conn_closed":
      return {
        event: event.name,
        connection: formatToken(event.token),
        found: event.found,
      };
    case "link":
      return { event: event.name, index: event.index, link: event.link, up: event.up };
    case "address": {
      const { address, index, link, name, there } = event;
      return { event: name, index, link, address, there };
    }
    case "listener": {
      const { local, name, open } = event;
      return { event: name, local_address: local.address, local_port: local.port, open };
    }
    case "note":
      return null;
  }
}

/** The token of a connection that was typed, or null when it is none. */
export function parseConnection(text: string): number | null {
  const match = TOKEN.exec(text);
  const token = match === null ? 0 : parseInt(match[1]!, 16);
  return token === 0 ? null : token; // the kernel gives no token 0
}

function orNull(value: number): number | null {
  return value < 0 ? null : value;
}

/** A request that cannot be done, with what its sender is told. */
class Refusal extends Error {
  override name = "Refusal";
}

/** Takes the members out of a request one by one, so that what is left is unknown. */
class Members {
  readonly #from: Record<string, unknown>;
  readonly #known: string[] = [];
  #command = "request";

  constructor(from: Record<string, unknown>) {
    this.#from = from;
  }

  id(): AccessId {
    return this.#whole("id", 0, Number.MAX_SAFE_INTEGER);
  }

  command(): AccessRequest["command"] {
    const value = this.needed("command", this.#take("command"));
    if (typeof value === "string" && Object.hasOwn(COMMANDS, value)) {
      this.#command = value;
      return value as AccessRequest["command"];
    }
    const names = Object.keys(COMMANDS);
    throw new Refusal(
      `Cannot do request as command is unknown: ${current(value)}${meant(value, names)}`,
    );
  }

  token(): number {
    return this.needed("connection", this.#connection());
  }

  addressId(name: string): number | null {
    return this.#whole(name, 0, ADDRESS_ID_MAX);
  }

  port(name: string): number | null {
    return this.#whole(name, 0, PORT_MAX);
  }

  subflow(): number | null {
    return this.#whole("subflow", 0, SUBFLOW_MAX);
  }

  flag(name: string): boolean | null {
    const value = this.#take(name);
    if (value === null || typeof value === "boolean") return value;
    throw this.#wrong(name, "must be true or false", value);
  }

  /** In the form that the kernel uses: wire/inet.ts. */
  address(name: string): string | null {
    const value = this.#take(name);
    if (value === null) return null;
    const bytes = new Uint8Array(16);
    const family = typeof value === "string" ? parseInet(value, bytes) : Family.None;
    if (family !== Family.None) return formatInet(family, bytes);
    throw this.#wrong(name, "must be an IPv4 or IPv6 address", value);
  }

  /** One end of a subflow: by id, by address or both. */
  end(
    side: "local" | "remote",
  ): { id: number | null; address: string | null; port: number | null } {
    const id = this.addressId(`${side}_address_id`);
    const address = this.address(`${side}_address`);
    if (id === null && address === null) {
      throw new Refusal(
        `Cannot do ${this.#command} as ${side}_address_id or ${side}_address is needed: ` +
          "current value is none",
      );
    }
    return { id, address, port: this.port(`${side}_port`) };
  }

  policy(): AccessRequest {
    const token = this.#connection();
    const joins = this.needed("joins", this.#take("joins"));
    const known = JOINS.find((word) => word === joins);
    if (known === undefined) {
      const text = `must be one of ${JOINS.join(", ")}`;
      throw this.#wrong("joins", text, joins, meant(joins, JOINS));
    }
    if (known === "interfaces" && token !== null) {
      const text = 'must be "accept", "refuse" or "default" for one connection';
      throw this.#wrong("joins", text, joins, ", leave out connection");
    }
    const names = this.#take("interfaces");
    if (known !== "interfaces") {
      if (names !== null) throw this.#wrong("interfaces", 'needs joins "interfaces"', names);
      return { command: "set_policy", token, joins: known, interfaces: [] };
    }
    const interfaces = this.#texts("interfaces", names, INTERFACES_MAX);
    const long = interfaces.find((name) => name === "" || name.length > INTERFACE_NAME_MAX);
    if (long !== undefined) {
      const text = `must hold names of 1 to ${INTERFACE_NAME_MAX} characters`;
      throw this.#wrong("interfaces", text, long);
    }
    return { command: "set_policy", token, joins: known, interfaces };
  }

  groups(): AccessGroup[] {
    const names = this.#texts("groups", this.#take("groups"), ACCESS_GROUPS.length);
    const groups = names.map((name) => {
      const group = ACCESS_GROUPS.find((known) => known === name);
      if (group !== undefined) return group;
      throw this.#wrong("groups", "names an unknown group", name, meant(name, ACCESS_GROUPS));
    });
    return [...new Set(groups)];
  }

  /** A value that must not be left out. */
  needed<Value>(name: string, value: Value | null): Value {
    if (value !== null) return value;
    throw new Refusal(`Cannot do ${this.#command} as ${name} is needed: current value is none`);
  }

  /** Refuses what no one took. */
  finish(): void {
    const unknown = Object.keys(this.#from).find((name) => !this.#known.includes(name));
    if (unknown === undefined) return;
    throw this.#wrong(
      shown(unknown),
      "is unknown",
      this.#from[unknown],
      meant(unknown, this.#known),
    );
  }

  #connection(): number | null {
    const value = this.#take("connection");
    if (value === null) return null;
    const token = typeof value === "string" ? parseConnection(value) : null;
    if (token !== null) return token;
    throw this.#wrong("connection", 'must be a text such as "0x388844a2"', value);
  }

  #whole(name: string, least: number, most: number): number | null {
    const value = this.#take(name);
    if (value === null) return null;
    if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) {
      return value as number;
    }
    throw this.#wrong(name, `must be a whole number, ${least} to ${most}`, value);
  }

  #texts(name: string, value: unknown, most: number): string[] {
    const list = this.needed(name, value);
    const isRight = Array.isArray(list) && list.length >= 1 && list.length <= most &&
      list.every((each) => typeof each === "string");
    if (isRight) return list;
    throw this.#wrong(name, `must be a list of 1 to ${most} texts`, list);
  }

  /** Null stands for what was left out, written or not. */
  #take(name: string): unknown {
    this.#known.push(name);
    return Object.hasOwn(this.#from, name) ? this.#from[name] : null;
  }

  #wrong(name: string, why: string, value: unknown, remedy = ""): Refusal {
    return new Refusal(`Cannot do ${this.#command} as ${name} ${why}: ${current(value)}${remedy}`);
  }
}

function current(value: unknown): string {
  return `current value is ${shown(JSON.stringify(value))}`;
}

function shown(text: string): string {
  return printable(text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text);
}

function meant(value: unknown, words: Iterable<string>): string {
  const near = typeof value === "string" ? nearest(value.slice(0, SHOWN_MAX), words) : null;
  return near === null ? "" : `, did you mean "${near}"?`;
}
