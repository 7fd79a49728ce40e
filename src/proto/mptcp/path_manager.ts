/**
 * The path manager: which addresses are announced and which subflows are made, kept as backups and
 * ended, for all MPTCP connections of a network namespace. RFC 8684 says what the options mean, the
 * `mptcp_pm` family of Linux what can be asked of the kernel. It is pure: what happened goes in by
 * `handle*`, with the time; what is to be done comes out by `pollCommand()`, what is to be told by
 * `pollEvent()`; drain both after each input, then call `handleDeadline()` at `pollDeadline()`.
 *
 * Read this before touching it. The policy, in the order of a connection's life:
 *
 * ```text
 *  SUB_*, ANNOUNCED of a     CREATED, found      ESTABLISHED, found joinable
 *  token never heard of     .-------------> Created ------------> Established
 *        ------> Partial ---'                  |                    |    | "userspace PM
 *                   |                          |                    |    v  not selected"
 *                   |                          |                    | Observed
 *                   v                          v                    v    v
 *                 Gone:   CLOSED, "invalid token", or not found any more
 * ```
 *
 * | state | fields | what is done |
 * |---|---|---|
 * | Partial | not complete | it is remembered and asked about (`wantsFound`) |
 * | Created | complete, not established | nothing: the kernel answers ENOTCONN |
 * | Established | established, managed | all below |
 * | Observed | not managed | events are told; the kernel's own manager has it |
 *
 * 1. **Begin.** The client's kernel says ESTABLISHED when the first data was acknowledged. A
 *    connection that was there before the manager is found by sock_diag; who opened it is told by
 *    its ports.
 * 2. **Make.** Who opened the connection makes subflows, as a server cannot reach a client behind
 *    NAT and both sides would make each twice. Every usable source (layout.ts) joins every address
 *    of the peer of its family: that of the first subflow, unless the peer denies it, and those
 *    announced. Each has an address id of its own; the address of the first subflow keeps id 0,
 *    which the kernel takes for joins too, also after it was removed (measured). Each is bound to
 *    its device.
 * 3. **Announce.** Addresses whose rule says so, one per interval.
 * 4. **Order.** Sources of the best tier that is alive carry data, all other subflows are backups.
 *    The present one is demoted when a better one has lived for a second: before, the peer may
 *    refuse it.
 * 5. **Lose.** When a link or an address is lost, connections with another live subflow act at
 *    once: promote, then REMOVE_ADDR and SUBFLOW_DESTROY of what was lost. The last subflow is left
 *    alone, as it may live again; it is dropped when another one is there.
 * 6. **Return.** A link that came back is used after its wait (links.ts). A server announces an
 *    address that it had removed, as its peer cannot know otherwise.
 * 7. **Retry.** A path that fails is tried again with back-off, later still when the peer says why
 *    it refuses; ENOTCONN waits for the connection; "families mismatch" is final. A change of the
 *    link starts afresh.
 * 8. **Obey.** What the peer removes is forgotten, its left-over subflows are destroyed. What other
 *    programs ask for is done and not undone (requests.ts).
 * 9. **End.** CLOSED ends all subflows. MP_FASTCLOSE gives no event: what a dump does not have is
 *    gone.
 * 10. **Exit.** `close()` withdraws what was announced and leaves subflows as they are, so that
 *     traffic goes on.
 *
 * Events touch one connection; only those of links and of the policy touch all. What must be looked
 * at is marked, and its commands are made (planner.ts) when they are polled.
 *
 * @module
 */
import { type PathConnection, pathOf } from "./connection_table.ts";
import { Layout, type Source } from "./layout.ts";
import { type PathLink, PathLinks } from "./links.ts";
import { Orders, Tidings } from "./orders.ts";
import type {
  ConnectionEvent,
  Endpoint,
  FoundConnection,
  LinkAddress,
  LinkState,
  PathCommand,
  PathEvent,
  Request,
  SubflowEvent,
} from "./path_events.ts";
import type { PathPolicy } from "./path_policy.ts";
import { LEFTOVER_MS, Planner } from "./planner.ts";
import { isSame, Registry } from "./registry.ts";
import { Requests, type SubflowRequest } from "./requests.ts";
import { Results } from "./results.ts";
import { plainAddress } from "./subnet.ts";

/** A subflow that lived no longer was not accepted. */
const AT_ONCE_MS = 1000;
/** Linux errno. */
const EPERM = 1;
const EINVAL = 22;
const ETIMEDOUT = 110;

/** The machine; see the head of this file. */
export class PathManager {
  readonly #links: PathLinks;
  readonly #layout: Layout;
  readonly #orders: Orders = new Orders();
  readonly #tidings: Tidings = new Tidings();
  readonly #planner: Planner;
  readonly #requests: Requests;
  readonly #registry: Registry;
  readonly #results: Results;
  #nowMs = 0;
  /** When the next link may be used. */
  #usableAtMs = Infinity;
  #closing = false;
  #denied = false;

  constructor(policy: PathPolicy) {
    this.#links = new PathLinks(policy.upDelayMs, policy.upDelayMaxMs);
    this.#layout = new Layout(policy);
    this.#planner = new Planner(this.#links, this.#layout, this.#orders, policy);
    this.#registry = new Registry(this.#planner, this.#orders, this.#tidings, policy);
    this.#results = new Results(this.#registry);
    this.#requests = new Requests(
      this.connections,
      this.#links,
      this.#layout,
      this.#planner,
      this.#orders,
    );
  }

  /** Addresses of this host that take part, with what the policy says of them. */
  get sources(): readonly Source[] {
    this.#layout.refresh(this.#links, this.#nowMs);
    return this.#layout.sources;
  }

  /** By token. */
  get connections(): ReadonlyMap<number, PathConnection> {
    return this.#registry.connections;
  }

  /** By index. */
  get links(): ReadonlyMap<number, PathLink> {
    return this.#links.all;
  }

  /** Events that nobody polled in time. */
  get droppedEvents(): number {
    return this.#tidings.dropped;
  }

  /** Connections that are not managed as there are too many. */
  get refusedConnections(): number {
    return this.#registry.refusedConnections;
  }

  /** Subflows that are not known as their connection has too many. */
  get refusedSubflows(): number {
    return this.#registry.refusedSubflows;
  }

  /** A connection is known by half: `handleFound()` soon would help. */
  get wantsFound(): boolean {
    return this.#registry.wantsFound;
  }

  /** MPTCP_EVENT_CREATED, MPTCP_EVENT_ESTABLISHED. */
  handleConnection(event: ConnectionEvent, nowMs: number): void {
    this.#nowMs = nowMs;
    const { token, local, remote } = event;
    let connection = this.connections.get(token) ?? null;
    if (connection?.complete === true && !isSame(connection, local, remote)) {
      // Its end was not told, and its token is used again.
      this.#registry.drop(connection, true, nowMs);
      connection = null;
    }
    connection ??= this.#registry.open(token, local, remote);
    if (connection === null) return;
    if (!connection.complete) {
      connection.complement(local, remote, event.denyJoinId0);
      this.#registry.addFirst(connection, nowMs);
    }
    connection.denyJoinId0 = event.denyJoinId0;
    if (connection.serverSide !== event.serverSide) connection.policy = null;
    connection.serverSide = event.serverSide;
    if (event.established) this.#registry.establish(connection);
    this.#registry.marked.add(connection);
  }

  /** MPTCP_EVENT_CLOSED. */
  handleClosed(token: number, nowMs: number): void {
    this.#nowMs = nowMs;
    const connection = this.connections.get(token);
    if (connection !== undefined) this.#registry.drop(connection, false, nowMs);
  }

  /** MPTCP_EVENT_ANNOUNCED; the kernel tells it again when the echo was lost. */
  handleAnnounced(token: number, remoteId: number, remote: Endpoint, nowMs: number): void {
    this.#nowMs = nowMs;
    const connection = this.#registry.heard(token);
    if (connection === null || !connection.addRemote(remoteId, remote)) return;
    const plain = plainAddress(remote.address);
    for (const { address } of this.#layout.sources) {
      connection.retries.forget(
        pathOf({ address, port: 0 }, { address: plain, port: remote.port }),
      );
    }
    this.#registry.tell(connection, { name: "new_addr", token, remoteId, remote });
    this.#registry.marked.add(connection);
  }

  /** MPTCP_EVENT_REMOVED. Of a burst the peer's kernel closes the subflows of the first only. */
  handleRemoved(token: number, remoteId: number, nowMs: number): void {
    this.#nowMs = nowMs;
    const connection = this.#registry.heard(token);
    if (connection === null) return;
    connection.removeRemote(remoteId);
    for (const subflow of connection.subflows.values()) {
      if (subflow.remoteId === remoteId) subflow.destroyAtMs = nowMs + LEFTOVER_MS;
    }
    this.#registry.tell(connection, { name: "addr_removed", token, remoteId });
    this.#registry.marked.add(connection);
  }

  /** MPTCP_EVENT_SUB_ESTABLISHED. */
  handleSubflow(event: SubflowEvent, nowMs: number): void {
    this.#nowMs = nowMs;
    const connection = this.#registry.heard(event.token);
    if (connection === null || isNowhere(event.local)) return;
    this.#registry.marked.add(connection);
    const known = connection.find(event.local, event.remote);
    if (known === null) {
      this.#registry.join(connection, event, event.backup, nowMs);
      return;
    }
    known.localId = event.localId;
    known.remoteId = event.remoteId;
    known.interfaceIndex = event.interfaceIndex;
    this.#registry.setRemoteBackup(connection, known, event.backup);
  }

  /** MPTCP_EVENT_SUB_CLOSED; also of one that was ordered and refused. */
  handleSubflowClosed(event: SubflowEvent, nowMs: number): void {
    this.#nowMs = nowMs;
    const connection = this.#registry.heard(event.token);
    if (connection === null) return;
    this.#registry.marked.add(connection);
    const { token, local, remote, error, resetReason } = event;
    const subflow = connection.find(local, remote);
    if (subflow !== null) {
      const refused = subflow.byPolicy && !subflow.leaving && nowMs - subflow.sinceMs < AT_ONCE_MS;
      if (refused) this.#registry.noteFailure(local, remote, error, nowMs);
      this.#registry.closeSubflow(connection, subflow, error, resetReason, nowMs);
      return;
    }
    const joining = connection.takeJoining(local, remote);
    if (joining === null) return;
    this.#registry.fail(connection, joining.path, joining.local, 0, resetReason, nowMs);
    if (joining.byPolicy) return this.#registry.noteFailure(local, remote, error, nowMs);
    const number = joining.subflow;
    this.#registry.tell(connection, {
      name: "subflow_closed",
      token,
      subflow: number,
      error,
      resetReason,
    });
  }

  /** MPTCP_EVENT_SUB_PRIORITY: only the peer's wish; our own is invisible. */
  handleSubflowPriority(event: SubflowEvent, nowMs: number): void {
    this.#nowMs = nowMs;
    const connection = this.#registry.heard(event.token);
    const subflow = connection?.find(event.local, event.remote) ?? null;
    if (connection === null || subflow === null) return;
    this.#registry.setRemoteBackup(connection, subflow, event.backup);
  }

  /** All connections there are: at the start, after events were lost, and from time to time. */
  handleFound(found: readonly FoundConnection[], nowMs: number): void {
    this.#nowMs = nowMs;
    this.#registry.reconcile(found, nowMs);
  }

  /** RTM_NEWLINK. */
  handleLink(state: LinkState, nowMs: number): void {
    this.#nowMs = nowMs;
    const version = this.#links.version;
    const changed = this.#links.handleLink(state, nowMs);
    if (changed !== null) this.#linkTurned(changed, nowMs);
    if (this.#links.version !== version) this.#landChanged(nowMs);
  }

  /** RTM_DELLINK. */
  handleLinkGone(index: number, nowMs: number): void {
    this.#nowMs = nowMs;
    const wasUp = this.#links.all.get(index)?.up === true;
    const link = this.#links.handleGone(index, nowMs);
    if (link === null) return;
    if (wasUp) this.#linkTurned(link, nowMs);
    this.#landChanged(nowMs);
  }

  /** RTM_NEWADDR. */
  handleAddress(address: LinkAddress, nowMs: number): void {
    this.#nowMs = nowMs;
    const known = this.#links.all.get(address.index)?.addresses.has(plainAddress(address.address));
    if (!this.#links.handleAddress(address)) return;
    if (!known) this.#tellAddress(address.index, address.address, true);
    this.#startAfresh([plainAddress(address.address)]);
    this.#landChanged(nowMs);
  }

  /** RTM_DELADDR. */
  handleAddressGone(index: number, address: string, nowMs: number): void {
    this.#nowMs = nowMs;
    if (!this.#links.handleAddressGone(index, address)) return;
    this.#tellAddress(index, address, false);
    this.#landChanged(nowMs);
  }

  /** MPTCP_EVENT_LISTENER_CREATED and LISTENER_CLOSED: only told. */
  handleListener(local: Endpoint, open: boolean): void {
    this.#tidings.tell({ name: "listener", local, open });
  }

  /** All links and addresses there are. */
  handleLinks(
    links: readonly LinkState[],
    addresses: readonly LinkAddress[],
    nowMs: number,
  ): void {
    const indexes = new Set(links.map(({ index }) => index));
    for (const index of [...this.#links.all.keys()]) {
      if (!indexes.has(index)) this.handleLinkGone(index, nowMs);
    }
    for (const link of links) this.handleLink(link, nowMs);
    const there = new Set(addresses.map((one) => `${one.index} ${plainAddress(one.address)}`));
    for (const link of this.#links.all.values()) {
      for (const plain of [...link.addresses.keys()]) {
        if (!there.has(`${link.index} ${plain}`)) this.handleAddressGone(link.index, plain, nowMs);
      }
    }
    for (const address of addresses) this.handleAddress(address, nowMs);
  }

  /**
   * What the kernel answered to a command: 0 or an errno, and the text of the extended
   * acknowledgement.
   */
  handleResult(serial: number, errno: number, text: string, nowMs: number): void {
    this.#nowMs = nowMs;
    const pending = this.#orders.take(serial);
    if (pending === null) return;
    const { connection, command } = pending;
    this.#registry.marked.add(connection);
    if (command.kind === "joins") return;
    if (errno === 0) return this.#results.done(pending, nowMs);
    if (errno === EINVAL && text.includes("invalid token")) {
      return this.#registry.drop(connection, true, nowMs);
    }
    if (errno === EINVAL && text.includes("userspace PM not selected")) {
      connection.managed = false;
      connection.joining.clear();
      connection.announced.clear();
      return;
    }
    if (errno === EPERM && !this.#denied) {
      this.#denied = true;
      this.#tidings.note(
        "warning",
        "Cannot manage paths as the kernel denies it: current value is EPERM; " +
          "CAP_NET_ADMIN is needed",
      );
    }
    this.#results.refused(pending, errno, text, nowMs);
  }

  /** Call at or after `pollDeadline()`. */
  handleDeadline(nowMs: number): void {
    this.#nowMs = nowMs;
    if (nowMs >= this.#usableAtMs) {
      for (const link of this.#links.all.values()) {
        const became = link.usableAtMs <= nowMs && link.usableAtMs >= this.#usableAtMs;
        if (became) this.#startAfresh(link.addresses.keys());
      }
      this.#landChanged(nowMs);
    }
    for (
      let connection = this.#registry.deadlines.take(nowMs);
      connection !== null;
      connection = this.#registry.deadlines.take(nowMs)
    ) {
      for (const pending of [...connection.pending]) {
        if (pending.deadlineMs > nowMs) continue;
        this.handleResult(pending.command.serial, ETIMEDOUT, "no answer", nowMs);
      }
      for (const joining of [...connection.joining]) {
        if (joining.deadlineMs > nowMs) continue;
        connection.joining.delete(joining);
        this.#registry.fail(connection, joining.path, joining.local, 0, -1, nowMs);
      }
      this.#registry.marked.add(connection);
    }
  }

  /** When to call `handleDeadline()`, once the commands are drained; Infinity means never. */
  pollDeadline(): number {
    return Math.min(this.#registry.deadlines.nextMs, this.#usableAtMs);
  }

  /** The next command to the kernel; null when there is none. */
  pollCommand(): PathCommand | null {
    for (;;) {
      const command = this.#orders.poll();
      if (command !== null) return command;
      const connection = this.#registry.marked.values().next().value;
      if (connection === undefined) return null;
      this.#registry.marked.delete(connection);
      if (this.connections.get(connection.token) !== connection) continue;
      this.#layout.refresh(this.#links, this.#nowMs);
      const nextMs = this.#planner.plan(connection, this.#closing, this.#nowMs);
      this.#registry.deadlines.set(connection, Math.max(nextMs, this.#nowMs));
    }
  }

  /** The next event for subscribers; null when there is none. */
  pollEvent(): PathEvent | null {
    return this.#tidings.poll();
  }

  /** Another policy: what it does not want is undone, unless another program asked for it. */
  setPolicy(policy: PathPolicy, nowMs: number): void {
    this.#registry.policy = policy;
    this.#links.setDelays(policy.upDelayMs, policy.upDelayMaxMs);
    this.#layout.setPolicy(policy);
    this.#planner.setPolicy(policy);
    for (const connection of this.connections.values()) {
      connection.policy = null;
      connection.retries.clear();
    }
    this.#nowMs = nowMs;
    this.#landChanged(nowMs);
  }

  /** Withdraws what was announced, at the usual pace, until `pollDeadline()` is Infinity. */
  close(nowMs: number): void {
    this.#closing = true;
    this.#nowMs = nowMs;
    this.#usableAtMs = Infinity;
    for (const connection of this.connections.values()) this.#registry.marked.add(connection);
  }

  /** send_addr; `id` 0 for any. */
  sendAddr(token: number, id: number, local: Endpoint, nowMs: number): Request {
    this.#layout.refresh(this.#links, nowMs);
    return this.#marking(token, nowMs, this.#requests.sendAddr(token, id, local, nowMs));
  }

  /** add_subflow. */
  addSubflow(token: number, asked: SubflowRequest, nowMs: number): Request {
    this.#layout.refresh(this.#links, nowMs);
    return this.#marking(token, nowMs, this.#requests.addSubflow(token, asked, nowMs));
  }

  /** set_backup; null for what the policy says. */
  setBackup(token: number, subflow: number, backup: boolean | null, nowMs: number): Request {
    this.#layout.refresh(this.#links, nowMs);
    return this.#marking(token, nowMs, this.#requests.setBackup(token, subflow, backup, nowMs));
  }

  /** remove_subflow. */
  removeSubflow(token: number, subflow: number, nowMs: number): Request {
    return this.#marking(token, nowMs, this.#requests.removeSubflow(token, subflow, nowMs));
  }

  /** allow_join: what the subflow that comes from this address id of the peer shall be. */
  allowJoin(
    token: number,
    remoteId: number,
    backup: boolean | null,
    subflow: number | null,
    nowMs: number,
  ): Request {
    return this.#requests.allowJoin(token, remoteId, backup, subflow, nowMs);
  }

  /** What the guard does with joins of one connection. */
  setJoins(token: number, joins: "accept" | "refuse" | "default", nowMs: number): Request {
    return this.#marking(token, nowMs, this.#requests.setJoins(token, joins, nowMs));
  }

  #marking(token: number, nowMs: number, request: Request): Request {
    this.#nowMs = nowMs;
    const connection = this.connections.get(token);
    if (connection !== undefined) this.#registry.marked.add(connection);
    return request;
  }

  /** A link came up or was lost: tells of it, and of what it means. */
  #linkTurned(link: PathLink, nowMs: number): void {
    const { index, name, up } = link;
    this.#tidings.tell({ name: "link", index, link: name, up });
    if (!up) return this.#noteLoss(link);
    this.#startAfresh(link.addresses.keys());
    const waitMs = link.usableAtMs - nowMs;
    if (waitMs <= 0) return;
    const flaps = link.flaps.count > 0;
    this.#tidings.note(
      flaps ? "warning" : "info",
      `${name} ${flaps ? "flaps" : "is back"}: it is used again in ${waitMs / 1000} s`,
    );
  }

  #noteLoss(link: PathLink): void {
    let moved = 0;
    let stranded = 0;
    for (const { subflows } of this.connections.values()) {
      let hit = false;
      let other = false;
      for (const subflow of subflows.values()) {
        if (subflow.homeIndex === link.index) hit = true;
        else if (!this.#planner.isDead(subflow)) other = true;
      }
      if (hit && other) moved++;
      else if (hit) stranded++;
    }
    if (moved + stranded === 0) return;
    const to = `${moved} ${moved === 1 ? "connection" : "connections"} moved to other paths`;
    const fate = this.links.has(link.index) ? "lost its carrier" : "is gone";
    this.#tidings.note(
      stranded === 0 ? "info" : "warning",
      `${link.name} ${fate}: ${to}${
        stranded === 0 ? "" : `, ${stranded} without another wait for it`
      }`,
    );
  }

  /** Paths from these addresses may be tried at once. */
  #startAfresh(addresses: Iterable<string>): void {
    const plain = [...addresses];
    for (const { retries } of this.connections.values()) {
      for (const address of plain) retries.retryAddress(address);
    }
  }

  #tellAddress(index: number, address: string, there: boolean): void {
    const link = this.#links.all.get(index)?.name ?? "";
    this.#tidings.tell({ name: "address", index, link, address, there });
  }

  /** Links, addresses or the policy changed: all connections are looked at. */
  #landChanged(nowMs: number): void {
    this.#usableAtMs = this.#closing ? Infinity : this.#links.nextUsableMs(nowMs);
    for (const connection of this.connections.values()) this.#registry.marked.add(connection);
  }
}

/** 0.0.0.0 and ::, which older kernels tell when the first subflow went. */
function isNowhere({ address }: Endpoint): boolean {
  return address === "0.0.0.0" || address === "::";
}
