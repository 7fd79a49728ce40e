/**
 * Paths of one network namespace: what the kernel and the links tell goes into a path manager, what it
 * wants is done, and what is new is told. All work is in {@linkcode NamespacePaths.turn}, which never waits.
 *
 *     events of mptcp_pm ──┐                    ┌── commands ──> mptcp_pm, join guard
 *     links, addresses   ──┼──> PathManager ────┤
 *     dumps of sock_diag ──┘                    └── events ──> subscribers, log
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { Errno, errnoText } from "../../io/errno.ts";
import { LinkCarrier } from "../../io/link_carrier.ts";
import { inNamespace, namespaceOf } from "../../io/namespace.ts";
import { takeNamespaceLock } from "../../io/namespace_lock.ts";
import { close } from "../../io/sockets.ts";
import { EndpointKeeper, ENDPOINTS_MAX } from "../../proto/mptcp/endpoint_keeper.ts";
import type { PathCommand, PathEvent } from "../../proto/mptcp/path_events.ts";
import { PathManager } from "../../proto/mptcp/path_manager.ts";
import type { PathPolicy } from "../../proto/mptcp/path_policy.ts";
import { fitsName, plainAddress } from "../../proto/mptcp/subnet.ts";
import { pathPolicy, type PathsConfig } from "../config/paths_config.ts";
import { delay } from "../delay.ts";
import { AnnouncedPorts } from "./announced_ports.ts";
import { JoinGuard, type JoinsDefault } from "./join_guard.ts";
import { KernelEndpoints, type Limits } from "./kernel_endpoints.ts";
import { viewOf } from "./kernel_view.ts";
import { LinkMonitor } from "./link_monitor.ts";
import { MptcpKernel } from "./mptcp_kernel.ts";
import type { PathsView } from "./paths_view.ts";
import { PmTypeKeeper } from "./pm_type.ts";
import { SocketDump } from "./socket_dump.ts";

/** Commands done in one turn; the rest waits for the next. */
const COMMANDS_PER_TURN = 256;
/** Name of the lock. */
const LOCK = "fairlead-paths";
/** The kernel's own. */
const LIMIT_MAX = 8;
/** Between two looks at all connections, when events were lost. */
const PAUSE_MS = 200;
/** Datagrams of events read in one turn; a gateway's sessions are on the same thread. */
const EVENTS_PER_TURN = 64;
/** Commands whose result somebody waits for: each client of the access socket has one. */
const RESULTS_MAX = 256;
/** After a link event the kernel holds back the next ones for up to a second. */
const LATE_MS = 1100;
/** How often links are asked meanwhile. */
const BUSY_POLL_MS = 5;
/** For the withdrawal of what was announced. */
const CLOSE_MS = 8000;
/** Endpoints change without an event; the kernel's manager is looked at so often. */
const ENDPOINTS_MS = 5000;

/** How a {@linkcode NamespacePaths} is made. */
export interface NamespaceOptions {
  /** Name of the namespace, empty for our own. */
  readonly namespace: string;
  readonly config: PathsConfig;
  /** True while somebody has subscribed to join attempts. */
  decides(): boolean;
  /** Called with each event. */
  tell(event: PathEvent): void;
}

/** What it has done, for status and for tests. */
export interface PathCounters {
  events: number;
  commands: number;
  refused: number;
  /** Times that events were lost and all was read again. */
  resyncs: number;
}

/** One namespace. */
export class NamespacePaths {
  readonly namespace: string;
  /** As programs in it see it. */
  readonly inode: number | null;
  readonly manager: PathManager;
  readonly guard: JoinGuard | null;
  readonly counters: PathCounters = { events: 0, commands: 0, refused: 0, resyncs: 0 };
  readonly #kernel: MptcpKernel;
  readonly #links: LinkMonitor;
  readonly #sockets: SocketDump;
  readonly #endpoints: KernelEndpoints | null;
  readonly #keeper = new EndpointKeeper();
  readonly #carrier: LinkCarrier;
  readonly #ports: AnnouncedPorts;
  readonly #names = new Map<string, Uint8Array>();
  readonly #tell: (event: PathEvent) => void;
  readonly #lock: number;
  readonly #pmType: PmTypeKeeper;
  readonly #results = new Map<number, (refusal: string) => void>();
  #limits: { readonly before: Limits; readonly raised: Limits } | null = null;
  /** Links that are there at the start are no news. */
  #opened = false;
  #config: PathsConfig;
  #policy: PathPolicy;
  #reconcileAtMs = 0;
  #resyncAtMs = Infinity;
  #resyncedAtMs = -Infinity;
  #endpointsAtMs = 0;
  #released = false;
  #pollAtMs = 0;
  /** From then on the kernel tells a lost carrier at once again. */
  #quietAtMs = 0;

  /**
   * Opens the sockets, sets pm_type when it may, and takes over the connections that are there.
   *
   * @throws with the remedy when the kernel has no MPTCP, pm_type is another, or a privilege is missing
   */
  static open(options: NamespaceOptions, nowMs: number): NamespacePaths {
    const { config, namespace } = options;
    const lock = takeLock(namespace);
    let pmType: PmTypeKeeper | null = null;
    try {
      pmType = PmTypeKeeper.open(namespace, config);
      return new NamespacePaths(options, lock, pmType, nowMs);
    } catch (error) {
      pmType?.restore();
      close(lock);
      throw error;
    }
  }

  private constructor(
    options: NamespaceOptions,
    lock: number,
    pmType: PmTypeKeeper,
    nowMs: number,
  ) {
    const { config, decides, namespace, tell } = options;
    this.namespace = namespace;
    this.inode = namespaceOf(namespace);
    this.#tell = tell;
    this.#lock = lock;
    this.#pmType = pmType;
    this.#config = config;
    this.#policy = this.#policyOf(config);
    this.manager = new PathManager(this.#policy);
    this.#ports = new AnnouncedPorts(namespace);
    const kernelKeeps = config.manager === "kernel";
    const opened: { close(): void }[] = [];
    const keep = <T extends { close(): void }>(made: T): T => {
      opened.push(made);
      return made;
    };
    try {
      this.#kernel = keep(MptcpKernel.open(namespace));
      this.#links = keep(LinkMonitor.open(namespace));
      this.#sockets = keep(SocketDump.open(namespace));
      this.#endpoints = kernelKeeps ? keep(KernelEndpoints.open(namespace)) : null;
      this.#carrier = keep(inNamespace(namespace, () => new LinkCarrier()));
      const { joins } = config;
      this.guard = kernelKeeps || joins === false
        ? null
        : keep(JoinGuard.open({ namespace, config: joins, decides, tell }));
      if (this.#endpoints !== null) this.#raiseLimits(this.#endpoints);
      this.#readLinks(nowMs);
      this.#resync(nowMs);
    } catch (error) {
      for (const one of opened) one.close();
      throw error;
    }
    this.#guardLinks();
    this.#finish(nowMs);
    this.#opened = true;
  }

  /** What to wait for: each is readable when there is work. */
  get descriptors(): readonly number[] {
    return [this.#links.fd, this.#kernel.fd, ...(this.guard?.descriptors ?? [])];
  }

  /** When {@linkcode turn} is due though nothing is readable. */
  get deadlineMs(): number {
    const polls = this.#polls ? this.#pollAtMs : Infinity;
    const endpoints = this.#endpoints === null ? Infinity : this.#endpointsAtMs;
    return Math.min(
      this.manager.pollDeadline(),
      this.#reconcileAtMs,
      this.#resyncAtMs,
      this.guard?.deadlineMs ?? Infinity,
      polls,
      endpoints,
    );
  }

  /** Reads what is there, does what is due; true when something was left for another turn. */
  turn(nowMs: number): boolean {
    if (this.#polls && nowMs >= this.#pollAtMs) this.#pollLinks(nowMs);
    const links = this.#links.drain(this.manager, nowMs); // first: a lost carrier is urgent
    if (links === "lost") this.#readLinks(nowMs);
    if (links !== "none") {
      this.#quietAtMs = nowMs + LATE_MS;
      this.#pollAtMs = nowMs;
      this.#execute(nowMs);
      this.#guardLinks();
      this.#endpointsAtMs = nowMs;
    }
    let more = true;
    for (let count = 0; count < EVENTS_PER_TURN; count++) {
      const drained = this.#kernel.drain(this.manager, nowMs);
      if (drained === "none") {
        more = false;
        break;
      }
      if (drained === "lost") this.#resyncAtMs = Math.max(nowMs, this.#resyncedAtMs + PAUSE_MS);
      this.counters.events++;
      if (this.#execute(nowMs)) return true;
    }
    this.guard?.drain(nowMs);
    this.#ports.sweep();
    if (this.manager.wantsFound && this.#resyncAtMs === Infinity) {
      this.#resyncAtMs = nowMs + PAUSE_MS;
    }
    if (nowMs >= this.#resyncAtMs || nowMs >= this.#reconcileAtMs) this.#resync(nowMs);
    if (nowMs >= this.manager.pollDeadline()) {
      this.manager.handleDeadline(nowMs);
      this.#endpointsAtMs = nowMs; // a link that was back may be used now
    }
    if (this.#endpoints !== null && nowMs >= this.#endpointsAtMs) this.#keepEndpoints(nowMs);
    return this.#finish(nowMs) || more;
  }

  /** Takes over a changed configuration; manager, pm_type and guard stay as they are. */
  reload(config: PathsConfig, nowMs: number): void {
    this.#config = config;
    this.#policy = this.#policyOf(config);
    this.manager.setPolicy(this.#policy, nowMs);
    if (this.#endpoints !== null) this.#raiseLimits(this.#endpoints);
    if (config.joins !== false) this.guard?.reload(config.joins);
    this.#guardLinks();
    this.#endpointsAtMs = nowMs;
    this.#finish(nowMs);
  }

  /** After a request of another program to the manager: does it at once. */
  finishRequest(nowMs: number): void {
    this.#finish(nowMs);
  }

  /** Another default of who may join; null: the configuration's. */
  setJoins(joins: JoinsDefault | null): void {
    this.guard?.setDefault(joins);
    this.#guardLinks();
  }

  /** What the kernel says of a command when its turn has come: its refusal, or empty. */
  resultOf(serial: number): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#results.set(serial, resolve);
    if (this.#results.size > RESULTS_MAX) {
      const [oldest, forget] = this.#results.entries().next().value!;
      this.#results.delete(oldest);
      forget("it was never its turn");
    }
    return promise;
  }

  /** Addresses that a connection has given to the kernel, by id. */
  localAddresses(token: number): object[] {
    const endpoints = KernelEndpoints.open(this.namespace);
    try {
      return endpoints.localAddresses(token).map(({ address, id }) => ({
        local_address_id: id,
        local_address: address,
      }));
    } finally {
      endpoints.close();
    }
  }

  /** All that is known, as `paths list` shows it. */
  view(): PathsView {
    const connections = this.#sockets.read() ?? [];
    return viewOf(this.namespace, this.#links.read(), connections, this.manager);
  }

  /** Takes back what was announced and set, and closes all; connections go on. */
  async close(): Promise<void> {
    const untilMs = nowMs() + CLOSE_MS;
    this.manager.close(nowMs());
    for (;;) {
      const now = nowMs();
      if (this.turn(now)) continue;
      const nextMs = this.manager.pollDeadline(); // removals take turns
      if (nextMs > untilMs) break;
      await delay(Math.max(0, nextMs - nowMs()));
    }
    this.release();
  }

  /**
   * The last part of {@linkcode close}, which takes no time: for a process that is ended at once. What
   * cannot be put back keeps nothing else from being put back.
   */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    const endpoints = this.#endpoints;
    const steps = [
      (): void => this.#releaseEndpoints(),
      (): void => this.guard?.close(),
      (): void => this.#pmType.restore(),
      ...[endpoints, this.#ports, this.#carrier, this.#sockets, this.#links, this.#kernel].map(
        (one) => (): void => one?.close(),
      ),
      (): void => void close(this.#lock),
    ];
    for (const step of steps) {
      try {
        step();
      } catch (error) {
        const text = `Not all is put back: ${(error as Error).message}`;
        this.#tell({ name: "note", level: "warning", text });
      }
    }
  }

  #releaseEndpoints(): void {
    const endpoints = this.#endpoints;
    if (endpoints === null) return;
    for (const change of this.#keeper.release(endpoints.list())) endpoints.apply(change);
    this.#restoreLimits(endpoints);
  }

  /** Links are asked while there is something to lose; see {@linkcode LinkCarrier}. */
  get #polls(): boolean {
    return this.#config.linkPollMs > 0 && this.manager.connections.size > 0;
  }

  #policyOf(config: PathsConfig): PathPolicy {
    // The kernel's own manager takes no commands: what it does is only watched.
    const policy = pathPolicy(config);
    return config.manager === "kernel" ? { ...policy, layout: "none", connections: [] } : policy;
  }

  #pollLinks(nowMs: number): void {
    const { linkPollMs } = this.#config;
    const busy = nowMs < this.#quietAtMs;
    this.#pollAtMs = nowMs + (busy ? Math.min(BUSY_POLL_MS, linkPollMs) : linkPollMs);
    for (const { index, name, up } of this.manager.links.values()) {
      if (!up || this.#carrier.has(this.#nameBytes(name)) !== false) continue;
      this.manager.handleLink({ index, name, up: false, loopback: false }, nowMs);
      this.#endpointsAtMs = nowMs;
    }
  }

  #nameBytes(name: string): Uint8Array {
    let bytes = this.#names.get(name);
    if (bytes === undefined) this.#names.set(name, bytes = new TextEncoder().encode(name));
    return bytes;
  }

  #readLinks(nowMs: number): void {
    const { addresses, links } = this.#links.read();
    this.manager.handleLinks(links, addresses, nowMs);
    for (const name of this.#names.keys()) {
      if (!links.some((link) => link.name === name)) this.#names.delete(name);
    }
  }

  /** All connections there are: events may have been lost, and an aborted connection gives none. */
  #resync(nowMs: number): void {
    if (this.#resyncAtMs !== Infinity) this.counters.resyncs++;
    this.#resyncAtMs = Infinity;
    this.#resyncedAtMs = nowMs;
    this.#reconcileAtMs = nowMs + this.#config.reconcileSeconds * 1000;
    const found = this.#sockets.find();
    if (found === null) this.#resyncAtMs = nowMs + PAUSE_MS;
    else this.manager.handleFound(found, nowMs);
    this.#readLinks(nowMs);
    this.guard?.check();
    const text = this.#pmType.check();
    if (text !== "") this.#tell({ name: "note", level: "warning", text });
  }

  /** Commands and events; true when commands are left. */
  #finish(nowMs: number): boolean {
    const left = this.#execute(nowMs);
    this.#tellEvents();
    return left;
  }

  #execute(nowMs: number): boolean {
    for (let done = 0; done < COMMANDS_PER_TURN; done++) {
      const command = this.manager.pollCommand();
      if (command === null) return false;
      this.#do(command, nowMs);
    }
    return true;
  }

  #do(command: PathCommand, nowMs: number): void {
    this.counters.commands++;
    let errno = 0;
    let text = "";
    if (command.kind === "joins") this.guard?.setConnection(command.token, command.joins);
    else {
      const announces = command.kind === "announce" && command.local.port !== 0;
      if (announces) errno = -this.#ports.open(command.token, command.id, command.local);
      if (errno === 0) {
        errno = this.#kernel.execute(command);
        text = this.#kernel.text;
      }
      if (command.kind === "remove" || (announces && errno !== 0)) {
        this.#ports.release(command.token, command.id);
      }
    }
    if (errno !== 0) this.counters.refused++;
    const waiting = this.#results.get(command.serial);
    if (waiting !== undefined) {
      this.#results.delete(command.serial);
      const said = text === "" ? "" : `: ${text}`;
      waiting(errno === 0 ? "" : `${errnoText(errno)}${said}`);
    }
    this.manager.handleResult(command.serial, errno, text, nowMs);
  }

  #tellEvents(): void {
    for (let event = this.manager.pollEvent(); event !== null; event = this.manager.pollEvent()) {
      if (event.name === "conn_closed") {
        this.guard?.forget(event.token);
        this.#ports.release(event.token, null);
      }
      // Who was let in before the start is not judged again.
      if (event.name === "new_subflow" && this.#opened) this.#evict(event);
      const land = event.name === "link" || event.name === "address";
      if (this.#opened || !land) this.#tell(event);
    }
  }

  /**
   * Ends a subflow that the peer made against the guard's rules: the table was away, or a SYN had two
   * MP_JOIN options, of which a rule sees only the first.
   */
  #evict({ local, remote, remoteId, token }: Extract<PathEvent, { name: "new_subflow" }>): void {
    const { guard } = this;
    const connection = this.manager.connections.get(token);
    // What we have made ourselves comes from another port than that which is listened at.
    if (guard === null || connection === undefined || local.port !== connection.local.port) return;
    if (connection.serverSide !== true) return;
    const plain = plainAddress(local.address);
    const link = [...this.manager.links.values()].find(({ addresses }) => addresses.has(plain));
    if (!guard.refuses(token, remoteId, link?.name ?? "")) return;
    guard.counters.evicted++;
    this.#kernel.execute({ kind: "destroy", serial: 0, token, local, remote });
  }

  #guardLinks(): void {
    const { guard } = this;
    if (guard === null) return;
    const names = [...this.manager.links.values()].map(({ name }) => name);
    guard.setLinks(
      names.filter((name) => guard.patterns.some((pattern) => fitsName(pattern, name))).sort(),
    );
  }

  #raiseLimits(endpoints: KernelEndpoints): void {
    const before = this.#limits?.before ?? endpoints.limits();
    const { announcesMax, subflowsMax } = this.#config;
    const raised = {
      subflows: Math.max(before.subflows, Math.min(LIMIT_MAX, subflowsMax - 1)),
      addAddrs: Math.max(before.addAddrs, Math.min(LIMIT_MAX, announcesMax)),
    };
    if (endpoints.setLimits(raised) === 0) this.#limits = { before, raised };
  }

  #restoreLimits(endpoints: KernelEndpoints): void {
    if (this.#limits === null) return;
    const { before, raised } = this.#limits;
    const now = endpoints.limits();
    const ours = now.subflows === raised.subflows && now.addAddrs === raised.addAddrs;
    if (ours) endpoints.setLimits(before);
  }

  #keepEndpoints(nowMs: number): void {
    this.#endpointsAtMs = nowMs + ENDPOINTS_MS;
    const endpoints = this.#endpoints!;
    const policy = pathPolicy(this.#config);
    const changes = this.#keeper.reconcile(policy, this.manager.sources, endpoints.list());
    for (const change of changes) {
      const errno = endpoints.apply(change);
      if (errno === 0) this.#keeper.handleDone(change);
      const { address } = change.endpoint;
      const said = errno === 0 ? "" : `: ${errnoText(errno)} ${endpoints.text}`;
      const text = `Endpoint ${address}: ${change.kind}${said}`;
      this.#tell({ name: "note", level: errno === 0 ? "info" : "warning", text });
    }
    const { left } = this.#keeper;
    if (left.length === 0) return;
    const text = `No endpoint for ${left.join(", ")}: the kernel takes ${ENDPOINTS_MAX}, give ` +
      '"interfaces" that are not needed the role "off"';
    this.#tell({ name: "note", level: "warning", text });
  }
}

/** Two managers of one namespace would make everything twice. */
function takeLock(namespace: string): number {
  const lock = inNamespace(namespace, () => takeNamespaceLock(LOCK));
  if (lock >= 0) return lock;
  const where = namespace === "" ? "" : ` of network namespace ${namespace}`;
  if (lock !== -Errno.Eaddrinuse) {
    throw new Error(`Cannot lock paths${where}: ${errnoText(lock)}, see ss -xap for @${LOCK}`);
  }
  throw new Error(
    `Cannot manage paths${where} as another Fairlead does already: stop it, or leave "paths" out of ` +
      "one configuration (ss -xap names the process that has @fairlead-paths)",
  );
}
