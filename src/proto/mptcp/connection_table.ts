/**
 * What a path manager knows of connections and their subflows. A subflow has a number within its
 * connection, counted from 0 for the first one, unless who asked for it chose another; the kernel
 * has none, and names a subflow by its addresses and ports.
 *
 * @module
 */
import { AddressIds } from "./address_ids.ts";
import { type Announced, Pacer } from "./announce.ts";
import type { Timed } from "./deadlines.ts";
import { type ConnectionPolicy, pathKey } from "./layout.ts";
import type { Endpoint, FoundSubflow, PathCommand, SubflowEvent } from "./path_events.ts";
import { Retries } from "./retry.ts";
import { isInet, plainAddress } from "./subnet.ts";

/** Subflows of one connection; the kernel's own limit is less. */
export const SUBFLOWS_MAX = 64;
/** Addresses of one peer. */
export const REMOTES_MAX = 32;
/** Joins that are expected, and paths that are not to be made, of one connection. */
const MEMORIES_MAX = 64;
/** A join that was allowed is waited for so long. */
const ALLOWED_MS = 60_000;

/** A subflow. */
export class PathSubflow {
  readonly id: number;
  local: Endpoint;
  remote: Endpoint;
  localId: number;
  remoteId: number;
  /** Asked by this side; the kernel does not tell it in events. */
  backupLocal = false;
  backupRemote = false;
  /** Of the device that it is bound to, 0 for none. */
  interfaceIndex: number;
  readonly sinceMs: number;
  /** The path that it takes. */
  readonly path: string;
  /** The link that has its address, 0 while none has. */
  homeIndex = 0;
  /** Made by the policy, which may take it away. */
  byPolicy = false;
  /** Made by the peer, and nobody here has asked for it. */
  byPeer = false;
  /** What another program wants, null for what the policy says. */
  backupAsked: boolean | null = null;
  /** Its end was ordered. */
  leaving = false;
  /** It is destroyed then, when it is still there. */
  destroyAtMs = Infinity;
  /** The next order for it may go then: one is under way, or the last one failed. */
  setAtMs = 0;

  constructor(id: number, event: SubflowEvent | FoundSubflow, nowMs: number) {
    this.id = id;
    this.local = event.local;
    this.remote = event.remote;
    this.localId = event.localId;
    this.remoteId = event.remoteId;
    this.interfaceIndex = event.interfaceIndex;
    this.sinceMs = nowMs;
    this.path = pathOf(event.local, event.remote);
  }

  /** Its local address, plain. */
  get plain(): string {
    return plainAddress(this.local.address);
  }
}

/** A subflow that was ordered and is not there yet. */
export interface Joining {
  readonly path: string;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly localId: number;
  readonly backup: boolean;
  /** Number that it gets. */
  readonly subflow: number;
  readonly byPolicy: boolean;
  readonly backupAsked: boolean | null;
  /** No answer by then: it failed. */
  readonly deadlineMs: number;
}

/** A command that was handed out. */
export interface Pending {
  readonly command: PathCommand;
  readonly connection: PathConnection;
  readonly subflow: PathSubflow | null;
  readonly joining: Joining | null;
  readonly deadlineMs: number;
}

/** What the subflow that comes by a join shall be. */
interface Allowed {
  readonly backup: boolean | null;
  readonly subflow: number | null;
  readonly untilMs: number;
}

/** A connection. */
export class PathConnection implements Timed {
  readonly token: number;
  local: Endpoint;
  remote: Endpoint;
  /** Null: found without its beginning, and not clear from its ports. */
  serverSide: boolean | null = null;
  denyJoinId0 = false;
  established = false;
  /** False: the kernel's own path manager has it, nothing can be ordered. */
  managed = true;
  readonly subflows: Map<number, PathSubflow> = new Map();
  /** Addresses of the peer by its id; that of the first subflow has id 0. */
  readonly remotes: Map<number, Endpoint[]> = new Map();
  readonly announced: Map<number, Announced> = new Map();
  readonly ids: AddressIds = new AddressIds();
  readonly retries: Retries = new Retries();
  /** Subscribers know of it. */
  told = false;
  /** Its own addresses are known; not when the first thing heard of it was a later event. */
  complete = false;
  /** It was there before the manager. */
  found = false;
  policy: ConnectionPolicy | null = null;
  readonly joining: Set<Joining> = new Set();
  readonly pending: Set<Pending> = new Set();
  /** Announcements and removals that other programs asked for, which wait for their turn. */
  readonly asked: PathCommand[] = [];
  readonly announcePacer: Pacer = new Pacer();
  readonly removePacer: Pacer = new Pacer();
  readonly exitPacer: Pacer = new Pacer();
  /** Plain addresses that were removed when their link was lost: announced when it is back. */
  readonly withdrawn: Map<string, number> = new Map();
  /** Paths that another program took away. */
  readonly banned: Set<string> = new Set();
  /** Nothing is made before: the kernel said that it is not connected. */
  waitUntilMs = 0;
  waits = 0;
  joinsAsked: "accept" | "refuse" | "default" | null = null;
  joinsSent: "accept" | "refuse" | "default" = "default";
  deadlineMs = Infinity;
  place = -1;
  readonly #byEndpoints = new Map<string, PathSubflow>();
  readonly #allowed = new Map<number, Allowed>();
  /** 0 is for the first one, which may become known later. */
  #nextSubflow = 1;
  #remoteCount = 0;

  constructor(token: number, local: Endpoint, remote: Endpoint) {
    this.token = token;
    this.local = local;
    this.remote = remote;
  }

  /** Its own addresses became known. */
  complement(local: Endpoint, remote: Endpoint, denyJoinId0: boolean): void {
    this.local = local;
    this.remote = remote;
    this.denyJoinId0 = denyJoinId0;
    this.complete = true;
    this.ids.learn(plainAddress(local.address), 0);
    if (!this.remotes.has(0)) this.addRemote(0, remote);
  }

  /** A number for a subflow: the chosen one, or the next; -1 when the chosen one is taken. */
  number(chosen: number | null, nowMs: number): number {
    if (chosen === null) {
      while (this.#numberTaken(this.#nextSubflow, nowMs)) this.#nextSubflow++;
      return this.#nextSubflow++;
    }
    return this.#numberTaken(chosen, nowMs) ? -1 : chosen;
  }

  /** Enters a subflow; null when there are too many. */
  add(event: SubflowEvent | FoundSubflow, number: number, nowMs: number): PathSubflow | null {
    if (this.subflows.size >= SUBFLOWS_MAX) return null;
    const subflow = new PathSubflow(number, event, nowMs);
    this.subflows.set(number, subflow);
    this.#byEndpoints.set(endpointsKey(event.local, event.remote), subflow);
    if (event.localId > 0 || subflow.plain === plainAddress(this.local.address)) {
      this.ids.learn(subflow.plain, event.localId);
    }
    return subflow;
  }

  /** The subflow between two endpoints, in whichever form; null when there is none. */
  find(local: Endpoint, remote: Endpoint): PathSubflow | null {
    return this.#byEndpoints.get(endpointsKey(local, remote)) ?? null;
  }

  /** Forgets a subflow. */
  drop(subflow: PathSubflow): void {
    this.subflows.delete(subflow.id);
    this.#byEndpoints.delete(endpointsKey(subflow.local, subflow.remote));
  }

  /** Takes the order that led to a subflow out; null when there was none. */
  takeJoining(local: Endpoint, remote: Endpoint): Joining | null {
    const path = pathOf(local, remote);
    let any: Joining | null = null;
    for (const joining of this.joining) {
      if (joining.path !== path) continue;
      if (joining.local.port !== 0 && joining.local.port !== local.port) continue;
      // A fixed port is the better match.
      if (any === null || joining.local.port !== 0) any = joining;
    }
    if (any !== null) this.joining.delete(any);
    return any;
  }

  /** Enters an address of the peer; false when it is known already or there are too many. */
  addRemote(id: number, remote: Endpoint): boolean {
    const known = this.remotes.get(id) ?? [];
    const plain = plainAddress(remote.address);
    const same = (other: Endpoint): boolean =>
      other.port === remote.port && plainAddress(other.address) === plain;
    if (known.some(same) || this.#remoteCount >= REMOTES_MAX) return false;
    this.#remoteCount++;
    known.push(remote);
    this.remotes.set(id, known);
    return true;
  }

  /** Forgets the addresses of an id. */
  removeRemote(id: number): void {
    this.#remoteCount -= this.remotes.get(id)?.length ?? 0;
    this.remotes.delete(id);
  }

  /** The addresses of the peer that may be joined, plain, each once, in the order of their ids. */
  targets(): { readonly plain: string; readonly port: number }[] {
    const seen = new Set<string>();
    const targets: { plain: string; port: number }[] = [];
    for (const id of [...this.remotes.keys()].sort((a, b) => a - b)) {
      if (id === 0 && this.denyJoinId0) continue;
      for (const { address, port } of this.remotes.get(id)!) {
        const plain = plainAddress(address);
        const key = `${plain} ${port}`;
        if (seen.has(key)) continue;
        seen.add(key);
        targets.push({ plain, port });
      }
    }
    return targets;
  }

  /** Remembers what the subflow of a join shall be. */
  allow(remoteId: number, backup: boolean | null, subflow: number | null, nowMs: number): void {
    this.#allowed.delete(remoteId);
    this.#allowed.set(remoteId, { backup, subflow, untilMs: nowMs + ALLOWED_MS });
    if (this.#allowed.size > MEMORIES_MAX) {
      this.#allowed.delete(this.#allowed.keys().next().value!);
    }
  }

  /** What was said of a join that came now; null when nothing was. */
  takeAllowed(remoteId: number, nowMs: number): Allowed | null {
    const allowed = this.#allowed.get(remoteId);
    this.#allowed.delete(remoteId);
    return allowed === undefined || allowed.untilMs < nowMs ? null : allowed;
  }

  /** A path is not to be made again by the policy. */
  ban(path: string): void {
    this.banned.add(path);
    if (this.banned.size > MEMORIES_MAX) this.banned.delete(this.banned.keys().next().value!);
  }

  /** An address of ours is to be announced when its link is back, with the port that it had. */
  withdraw(plain: string, port: number): void {
    if (!this.withdrawn.has(plain) || port !== 0) this.withdrawn.set(plain, port);
    if (this.withdrawn.size > MEMORIES_MAX) {
      this.withdrawn.delete(this.withdrawn.keys().next().value!);
    }
  }

  /** Whether an address id of ours is in use. */
  uses(id: number): boolean {
    if (this.announced.has(id)) return true;
    for (const subflow of this.subflows.values()) if (subflow.localId === id) return true;
    for (const joining of this.joining) if (joining.localId === id) return true;
    return false;
  }

  /** What was announced of an address; null when nothing was. */
  announcedAddress(plain: string): Announced | null {
    for (const announced of this.announced.values()) {
      if (plainAddress(announced.local.address) === plain) return announced;
    }
    return null;
  }

  #numberTaken(number: number, nowMs: number): boolean {
    if (this.subflows.has(number)) return true;
    for (const joining of this.joining) if (joining.subflow === number) return true;
    for (const { subflow, untilMs } of this.#allowed.values()) {
      if (subflow === number && untilMs > nowMs) return true;
    }
    return false;
  }
}

/**
 * Whether a connection that was found was accepted here, from its ports: a listener has a port
 * below those that Linux gives to who connects (32768 and up). Two high ports are taken as ours to
 * join from: when that is wrong, the joins are refused and are tried ever more seldom.
 */
export function guessServerSide(local: Endpoint, remote: Endpoint): boolean | null {
  if (local.port >= EPHEMERAL_PORT) return false;
  return remote.port >= EPHEMERAL_PORT ? true : null;
}

const EPHEMERAL_PORT = 32768;

/** The path of a subflow. */
export function pathOf(local: Endpoint, remote: Endpoint): string {
  return pathKey(plainAddress(local.address), plainAddress(remote.address), remote.port);
}

/** An endpoint as people write it. */
export function formatEndpoint({ address, port }: Endpoint): string {
  return isInet(address) ? `${address}:${port}` : `[${address}]:${port}`;
}

/** `0x388844a2`, as people see a token. */
export function formatToken(token: number): string {
  return `0x${(token >>> 0).toString(16).padStart(8, "0")}`;
}

function endpointsKey(local: Endpoint, remote: Endpoint): string {
  return `${plainAddress(local.address)} ${local.port} ${
    plainAddress(remote.address)
  } ${remote.port}`;
}
