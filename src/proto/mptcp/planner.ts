/**
 * What is to be done for one connection now: compares what it has with what the policy wants, and
 * orders the difference. It looks at the state only, not at what led to it, so that an event that
 * was lost or a command that failed is made good the next time. The order of its steps is the order
 * in which the commands reach the kernel; read the policy in path_manager.ts first.
 *
 * @module
 */
import type { Announced } from "./announce.ts";
import type { Joining, PathConnection, PathSubflow } from "./connection_table.ts";
import { SUBFLOWS_MAX } from "./connection_table.ts";
import {
  allows,
  announceable,
  type Layout,
  order,
  type Source,
  tier,
  wantedPaths,
} from "./layout.ts";
import type { ConnectionPolicy } from "./layout.ts";
import type { PathLinks } from "./links.ts";
import { type Orders, PENDING_MAX } from "./orders.ts";
import type { PathPolicy } from "./path_policy.ts";
import { plainAddress } from "./subnet.ts";

/** A SYN that was sent five times had its chance. */
const JOIN_MS = 32_000;
/** A new subflow that was not ended within it was accepted. */
const SETTLE_MS = 1000;
/** Between two REMOVE_ADDR of one connection when the manager ends. */
const EXIT_INTERVAL_MS = 100;
/** After REMOVE_ADDR the peer closes the subflows itself; what is left then is destroyed. */
export const LEFTOVER_MS = 500;

/** The subflows of a connection, sorted. */
interface Standing {
  readonly policy: ConnectionPolicy;
  /** They can carry data. */
  readonly live: readonly PathSubflow[];
  /** Their link or their address is lost, or the policy does not allow them any more. */
  readonly lost: readonly PathSubflow[];
  /** The best tier among the live ones. */
  readonly bestTier: number;
}

/** Makes the commands of one connection after another. */
export class Planner {
  readonly #links: PathLinks;
  readonly #layout: Layout;
  readonly #orders: Orders;
  #policy: PathPolicy;
  /** When this connection must be looked at again. */
  #nextMs = Infinity;

  constructor(links: PathLinks, layout: Layout, orders: Orders, policy: PathPolicy) {
    this.#links = links;
    this.#layout = layout;
    this.#orders = orders;
    this.#policy = policy;
  }

  /** Another policy from now on. */
  setPolicy(policy: PathPolicy): void {
    this.#policy = policy;
  }

  /** Orders what is to be done; returns when to ask again, Infinity when an event will say. */
  plan(connection: PathConnection, closing: boolean, nowMs: number): number {
    this.#nextMs = Infinity;
    if (!closing) this.#joins(connection, nowMs);
    if (connection.managed) {
      this.#asked(connection, nowMs);
      if (closing) this.#withdrawAll(connection, nowMs);
      else this.#compare(connection, nowMs);
    }
    for (const { deadlineMs } of connection.pending) this.#wake(deadlineMs);
    for (const { deadlineMs } of connection.joining) this.#wake(deadlineMs);
    return this.#nextMs;
  }

  /** The policy of a connection, found once. */
  policyOf(connection: PathConnection): ConnectionPolicy {
    connection.policy ??= this.#layout.connectionPolicy(connection);
    return connection.policy;
  }

  /** Whether a subflow can carry nothing: its link is down, or its address is gone. */
  isDead(subflow: PathSubflow): boolean {
    const link = this.#links.withAddress(subflow.plain, subflow.interfaceIndex);
    if (link !== null) {
      subflow.homeIndex = link.index;
      return !link.up;
    }
    // An address that never was on a link is none of ours to judge (transparent proxies).
    return subflow.homeIndex !== 0;
  }

  /** Whether a path carries data when `bestTier` is the best of those that are there. */
  carries(connection: PathConnection, source: Source | null, bestTier: number): boolean {
    if (source === null) return true;
    const own = tier(this.policyOf(connection).layout, source);
    return own !== Infinity && own <= bestTier;
  }

  /** The best tier among the subflows that are there. */
  bestTier(connection: PathConnection): number {
    return this.#standing(connection, this.policyOf(connection)).bestTier;
  }

  #compare(connection: PathConnection, nowMs: number): void {
    const policy = this.policyOf(connection);
    const standing = this.#standing(connection, policy);
    this.#leftovers(connection, standing, nowMs);
    if (!connection.established || !connection.complete) return;
    this.#priorities(connection, standing, nowMs);
    if (policy.layout === "none") return;
    this.#lost(connection, standing, nowMs);
    this.#limitPeer(connection, standing, nowMs);
    this.#paths(connection, standing, nowMs);
    this.#announcements(connection, policy, nowMs);
  }

  #wake(atMs: number): void {
    if (atMs < this.#nextMs) this.#nextMs = atMs;
  }

  #standing(connection: PathConnection, policy: ConnectionPolicy): Standing {
    const live: PathSubflow[] = [];
    const lost: PathSubflow[] = [];
    let bestTier = Infinity;
    for (const subflow of connection.subflows.values()) {
      if (subflow.leaving) continue;
      const source = this.#layout.source(subflow.plain);
      if (this.isDead(subflow) || source !== null && !allows(policy, source)) {
        lost.push(subflow);
      } else if (subflow.destroyAtMs === Infinity) {
        live.push(subflow);
        if (source !== null) bestTier = Math.min(bestTier, tier(policy.layout, source));
      }
    }
    return { policy, live, lost, bestTier };
  }

  /** The join guard's rule of this connection. */
  #joins(connection: PathConnection, nowMs: number): void {
    if (!connection.complete) return;
    const joins = connection.joinsAsked ?? this.policyOf(connection).joins;
    if (joins === connection.joinsSent) return;
    connection.joinsSent = joins;
    this.#orders.order({ kind: "joins", token: connection.token, joins }, connection, nowMs);
  }

  /** What other programs asked for and had to wait. */
  #asked(connection: PathConnection, nowMs: number): void {
    for (;;) {
      const command = connection.asked[0];
      if (command === undefined) return;
      const pacer = command.kind === "remove" ? connection.removePacer : connection.announcePacer;
      if (!pacer.take(nowMs, this.#policy.announceIntervalMs)) return this.#wake(pacer.nextMs);
      connection.asked.shift();
      if (command.kind === "announce" && !connection.announced.has(command.id)) {
        // It was withdrawn with its link while it waited.
        const { id, local } = command;
        const told = { id, local, asked: true, returned: false, forgotten: false };
        connection.announced.set(id, told);
      }
      if (command.kind === "remove") {
        this.#reannounce(connection, connection.announced.get(command.id), nowMs);
        connection.announced.delete(command.id);
        connection.ids.retire(command.id, nowMs);
        for (const subflow of connection.subflows.values()) {
          if (subflow.localId !== command.id) continue;
          subflow.leaving = true;
          subflow.destroyAtMs = nowMs + LEFTOVER_MS;
        }
      }
      this.#orders.send(command, connection, nowMs);
    }
  }

  /** Subflows that should have been closed by REMOVE_ADDR, the peer's or ours. */
  #leftovers(connection: PathConnection, standing: Standing, nowMs: number): void {
    for (const subflow of connection.subflows.values()) {
      if (subflow.destroyAtMs === Infinity) continue;
      // That which the peer removed is better than nothing.
      if (!subflow.leaving && standing.live.length === 0) subflow.destroyAtMs = Infinity;
      else if (subflow.destroyAtMs > nowMs) this.#wake(subflow.destroyAtMs);
      else this.#destroy(connection, subflow, nowMs);
    }
  }

  /** Who carries data: promotions go before everything else. */
  #priorities(connection: PathConnection, standing: Standing, nowMs: number): void {
    const { live, lost, bestTier, policy } = standing;
    const passive = policy.layout === "none"; // but for what other programs asked for
    let settledTier = Infinity;
    let settlesAtMs = Infinity;
    for (const subflow of live) {
      const atMs = settlesAt(subflow);
      if (atMs <= nowMs) settledTier = Math.min(settledTier, this.#tierOf(subflow, policy));
      else settlesAtMs = Math.min(settlesAtMs, atMs);
    }
    for (const promote of [true, false]) {
      for (const subflow of live) {
        const source = this.#layout.source(subflow.plain);
        if (subflow.backupAsked === null && (passive || source === null)) continue;
        const backup = subflow.backupAsked ?? !this.carries(connection, source, bestTier);
        if (backup === promote) continue;
        // What is better but new may be refused yet: nobody gives way to it before it has lived.
        const early = backup && subflow.backupAsked === null &&
          this.carries(connection, source, settledTier);
        if (early) this.#wake(settlesAtMs);
        else this.#setBackup(connection, subflow, backup, nowMs);
      }
    }
    // A lost one that waits for its REMOVE_ADDR: what goes out leaves it now.
    if (passive || live.length === 0 || connection.removePacer.nextMs <= nowMs) return;
    for (const subflow of lost) this.#setBackup(connection, subflow, true, nowMs);
  }

  #setBackup(
    connection: PathConnection,
    subflow: PathSubflow,
    backup: boolean,
    nowMs: number,
  ): void {
    if (subflow.backupLocal === backup) return;
    if (subflow.setAtMs > nowMs) return this.#wake(subflow.setAtMs);
    if (connection.pending.size >= PENDING_MAX) return;
    subflow.setAtMs = Infinity;
    const { token } = connection;
    const { local, remote } = subflow;
    this.#orders.order(
      { kind: "setBackup", token, local, remote, backup },
      connection,
      nowMs,
      subflow,
    );
  }

  /**
   * Lost paths while others are there: REMOVE_ADDR of their address id, then SUBFLOW_DESTROY.
   * Measured: only both together move the data of both directions within milliseconds, and only in
   * this order, as after SUBFLOW_DESTROY the kernel does not know the id any more.
   */
  #lost(connection: PathConnection, standing: Standing, nowMs: number): void {
    if (standing.live.length === 0) return;
    const ids = new Set(standing.lost.map(({ localId }) => localId));
    for (const id of ids) {
      if (connection.pending.size >= PENDING_MAX) return;
      const shared = standing.live.some(({ localId }) => localId === id);
      if (!shared) {
        const pacer = connection.removePacer;
        if (!pacer.take(nowMs, this.#policy.announceIntervalMs)) return this.#wake(pacer.nextMs);
        this.#remove(connection, id, nowMs);
      }
      for (const subflow of standing.lost) {
        if (subflow.localId !== id) continue;
        // The peer that joined an address of ours must be told when it is back.
        if (connection.serverSide !== false && !shared) connection.withdraw(subflow.plain, 0);
        this.#destroy(connection, subflow, nowMs);
      }
    }
  }

  /** Subflows that are missing, and those that are too many. */
  #paths(connection: PathConnection, standing: Standing, nowMs: number): void {
    const { policy, live } = standing;
    if (connection.serverSide === true) return;
    if (connection.waitUntilMs > nowMs) return this.#wake(connection.waitUntilMs);
    const links = this.#links;
    const wanted = wantedPaths(
      connection,
      policy,
      this.#layout.sources,
      (plain) => links.withAddress(plain, 0) !== null,
    );
    const counts = this.#counts(connection);
    const limit = Math.min(policy.subflowsMax, SUBFLOWS_MAX);
    let room = limit - live.length - connection.joining.size;
    let bestTier = standing.bestTier;
    if (bestTier === Infinity) {
      for (const { source } of wanted) {
        bestTier = Math.min(bestTier, tier(policy.layout, source));
      }
    }
    for (const path of wanted) {
      if ((counts.get(path.key) ?? 0) > path.copy || connection.banned.has(path.key)) continue;
      const notBeforeMs = connection.retries.notBeforeMs(path.key);
      if (notBeforeMs > nowMs) {
        this.#wake(notBeforeMs);
        continue;
      }
      if (connection.pending.size >= PENDING_MAX) break;
      // One more for a better source: the worst one goes when that stands.
      if (room < 0 || (room === 0 && !this.#beatsWorst(standing, path.source))) break;
      const plain = path.source.address;
      const localId = connection.announcedAddress(plain)?.id ??
        connection.ids.take(plain, nowMs, (id) => connection.uses(id));
      if (localId < 0) break;
      room--;
      counts.set(path.key, (counts.get(path.key) ?? 0) + 1);
      const backup = !this.carries(connection, path.source, bestTier);
      this.create(
        connection,
        {
          path: path.key,
          local: path.local,
          remote: path.remote,
          localId,
          backup,
          subflow: -1,
          byPolicy: true,
          backupAsked: null,
          deadlineMs: nowMs + JOIN_MS,
        },
        path.source.link.index,
        nowMs,
      );
    }
    this.#surplus(connection, standing, nowMs);
  }

  #beatsWorst({ live, policy }: Standing, source: Source): boolean {
    const own = tier(policy.layout, source);
    return live.some((subflow) => subflow.byPolicy && this.#tierOf(subflow, policy) > own);
  }

  /** That of a subflow's source; the best for one that has none. */
  #tierOf({ plain }: PathSubflow, { layout }: ConnectionPolicy): number {
    const source = this.#layout.source(plain);
    return source === null ? -1 : tier(layout, source);
  }

  /** How many subflows each path has, with those that are being made. */
  #counts(connection: PathConnection): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { path, leaving } of connection.subflows.values()) {
      if (!leaving) counts.set(path, (counts.get(path) ?? 0) + 1);
    }
    for (const { path } of connection.joining) counts.set(path, (counts.get(path) ?? 0) + 1);
    return counts;
  }

  /** Orders a subflow. */
  create(
    connection: PathConnection,
    joining: Joining,
    interfaceIndex: number,
    nowMs: number,
  ): number {
    connection.joining.add(joining);
    const { token } = connection;
    const { localId: id, local, remote, backup } = joining;
    return this.#orders.order(
      { kind: "create", token, id, local, remote, backup, interfaceIndex },
      connection,
      nowMs,
      null,
      joining,
    );
  }

  /** The policy was told to make fewer: the youngest go. */
  /** The kernel sets no limit to the joins of a peer: the newest go first. */
  #limitPeer(connection: PathConnection, { live, policy }: Standing, nowMs: number): void {
    let excess = live.length - Math.min(policy.subflowsMax, SUBFLOWS_MAX);
    for (let at = live.length - 1; at >= 0 && excess > 0; at--) {
      const subflow = live[at]!;
      if (!subflow.byPeer || connection.pending.size >= PENDING_MAX) continue;
      this.#destroy(connection, subflow, nowMs);
      excess--;
    }
  }

  #surplus(connection: PathConnection, { policy, live }: Standing, nowMs: number): void {
    // A new one that the peer may refuse yet takes nobody's place.
    let excess = -policy.subflowsMax;
    for (const subflow of live) {
      const atMs = settlesAt(subflow);
      if (atMs <= nowMs) excess++;
      else if (live.length > policy.subflowsMax) this.#wake(atMs);
    }
    const seen = new Map<string, number>();
    // The worst ones go; of equal ones those that came last.
    const ordered = live.toSorted((a, b) =>
      order(this.#tierOf(a, policy), this.#tierOf(b, policy))
    );
    const surplus = ordered.filter((subflow) => {
      const count = (seen.get(subflow.path) ?? 0) + 1;
      seen.set(subflow.path, count);
      const copies = this.#layout.source(subflow.plain)?.subflows ?? 1;
      return count > Math.max(copies, 1);
    });
    for (const subflow of [...surplus, ...ordered.toReversed()]) {
      if (!surplus.includes(subflow) && excess <= 0) break;
      if (!subflow.byPolicy || subflow.leaving || connection.pending.size >= PENDING_MAX) continue;
      this.#destroy(connection, subflow, nowMs);
      excess--;
    }
  }

  /** Addresses that the peer should know, and those that it should not know any more. */
  #announcements(connection: PathConnection, policy: ConnectionPolicy, nowMs: number): void {
    for (const announced of connection.announced.values()) {
      if (announced.asked || this.#stillAnnounced(connection, policy, announced)) continue;
      const pacer = connection.removePacer;
      if (!pacer.take(nowMs, this.#policy.announceIntervalMs)) {
        this.#wake(pacer.nextMs);
        break;
      }
      this.#remove(connection, announced.id, nowMs);
    }
    for (const source of this.#layout.sources) {
      const plain = source.address;
      if (!source.usable || !allows(policy, source) || !announceable(connection, plain)) continue;
      if (!source.announce && !connection.withdrawn.has(plain)) continue;
      if (connection.announcedAddress(plain) !== null || this.#isInitial(connection, plain)) {
        continue;
      }
      if (connection.announced.size >= this.#policy.announcesMax) return;
      const notBeforeMs = connection.retries.notBeforeMs(announceKey(plain));
      if (notBeforeMs > nowMs) {
        this.#wake(notBeforeMs);
        continue;
      }
      const pacer = connection.announcePacer;
      if (!pacer.take(nowMs, this.#policy.announceIntervalMs)) return this.#wake(pacer.nextMs);
      this.#announce(connection, source, nowMs);
    }
  }

  /**
   * Id 0 cannot be announced; the peer knows that address while a subflow has it, or will by a
   * join.
   */
  #isInitial(connection: PathConnection, plain: string): boolean {
    if (plain !== plainAddress(connection.local.address)) return false;
    return connection.serverSide === false || connection.uses(0);
  }

  #announce(connection: PathConnection, source: Source, nowMs: number): void {
    const plain = source.address;
    const known = connection.ids.idOf(plain);
    // The initial address has id 0 and is announced under another one.
    const name = known === 0 ? announceKey(plain) : plain;
    const id = connection.ids.take(name, nowMs, (used) => connection.uses(used));
    if (id < 1) return;
    const local = { address: plain, port: connection.withdrawn.get(plain) ?? 0 };
    const returned = connection.withdrawn.delete(plain);
    connection.announced.set(id, { id, local, asked: false, returned, forgotten: false });
    const interfaceIndex = source.link.index;
    const { token } = connection;
    this.#orders.order({ kind: "announce", token, id, local, interfaceIndex }, connection, nowMs);
  }

  /** Whether the policy still wants what it announced. */
  #stillAnnounced(
    connection: PathConnection,
    policy: ConnectionPolicy,
    announced: Announced,
  ): boolean {
    const plain = plainAddress(announced.local.address);
    const source = this.#layout.source(plain);
    if (source === null || !source.link.up || !allows(policy, source)) return false;
    if (source.announce || announced.returned) return true;
    // To withdraw what is in use would close it; that a rule changed is no reason.
    return [...connection.subflows.values()].some(({ localId }) => localId === announced.id);
  }

  /**
   * At exit: what was announced is withdrawn, except where all subflows of a connection hang on it.
   */
  #withdrawAll(connection: PathConnection, nowMs: number): void {
    const subflows = [...connection.subflows.values()].filter(({ leaving }) => !leaving);
    for (const id of connection.announced.keys()) {
      const last = subflows.length > 0 && subflows.every(({ localId }) => localId === id);
      if (last) continue;
      const pacer = connection.exitPacer; // an interval of minutes must not keep the process
      const intervalMs = Math.min(EXIT_INTERVAL_MS, this.#policy.announceIntervalMs);
      if (!pacer.take(nowMs, intervalMs)) return this.#wake(pacer.nextMs);
      this.#remove(connection, id, nowMs);
    }
  }

  #remove(connection: PathConnection, id: number, nowMs: number): void {
    const announced = connection.announced.get(id);
    this.#reannounce(connection, announced, nowMs);
    if (announced !== undefined && (announced.asked || announced.returned)) {
      connection.withdraw(plainAddress(announced.local.address), announced.local.port);
    }
    connection.announced.delete(id);
    connection.ids.retire(id, nowMs);
    this.#orders.order({ kind: "remove", token: connection.token, id }, connection, nowMs);
  }

  /** REMOVE finds only what the kernel remembers. */
  #reannounce(
    connection: PathConnection,
    announced: Announced | undefined,
    nowMs: number,
  ): void {
    if (announced === undefined || !announced.forgotten) return;
    const { id, local } = announced;
    const { token } = connection;
    const index = this.#links.withAddress(plainAddress(local.address), 0)?.index ?? 0;
    this.#orders.order(
      { kind: "announce", token, id, local, interfaceIndex: index },
      connection,
      nowMs,
    );
  }

  #destroy(connection: PathConnection, subflow: PathSubflow, nowMs: number): void {
    subflow.leaving = true;
    subflow.destroyAtMs = Infinity;
    const announced = connection.announcedAddress(subflow.plain);
    if (announced !== null) announced.forgotten = true;
    const { token } = connection;
    const { local, remote } = subflow;
    this.#orders.order({ kind: "destroy", token, local, remote }, connection, nowMs, subflow);
  }
}

/** When a subflow is known to be accepted. */
function settlesAt({ byPolicy, sinceMs }: PathSubflow): number {
  return byPolicy ? sinceMs + SETTLE_MS : 0;
}

/** Under which an announcement is retried, and has its id when the address has 0. */
export function announceKey(plain: string): string {
  return `announce ${plain}`;
}
