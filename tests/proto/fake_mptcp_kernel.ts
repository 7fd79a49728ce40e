/**
 * A kernel with user-space path management, and the peers of its connections, in virtual time: it
 * answers commands as Linux 6.18 does and has the traps that were found there. `Rig` joins it to a
 * manager.
 */
import { plainAddress } from "../../src/proto/mptcp/subnet.ts";
import type {
  ConnectionEvent,
  Endpoint,
  FoundConnection,
  LinkAddress,
  LinkState,
  PathCommand,
  PathEvent,
  SubflowEvent,
} from "../../src/proto/mptcp/path_events.ts";
import { PathManager } from "../../src/proto/mptcp/path_manager.ts";
import { PATH_POLICY_DEFAULTS, type PathPolicy } from "../../src/proto/mptcp/path_policy.ts";

/** Round trip to every peer. */
const RTT_MS = 10;
/** ADD_ADDR and REMOVE_ADDR that follow one another faster than this are dropped. */
const BURST_MS = 50;

const OK = { errno: 0, text: "" };
type Answer = typeof OK;

interface FakeSubflow {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly localId: number;
  readonly remoteId: number;
  readonly interfaceIndex: number;
  backupLocal: boolean;
  backupRemote: boolean;
}

/** What the peer does with a join to one of its addresses. */
export type PeerAddress = "accepts" | "refuses" | "swallows" | "limits";

/** One connection in the kernel. */
export class FakeConnection {
  readonly subflows: FakeSubflow[] = [];
  /** The kernel's list of local addresses, by id. */
  readonly entries = new Map<number, string>();
  /** Those of them that were announced. */
  readonly announced = new Set<number>();
  /** What the peer believes that we have. */
  readonly peerKnows = new Map<number, string>();
  /** Addresses of the peer, `address port`. */
  readonly peer = new Map<string, { readonly id: number; does: PeerAddress }>();
  established: boolean;
  announcedMs = -Infinity;
  removedMs = -Infinity;

  constructor(
    readonly event: ConnectionEvent,
    readonly kernelManaged: boolean,
    readonly v6Only: boolean,
  ) {
    this.established = event.established;
    const { local, remote } = event;
    this.subflows.push({
      local,
      remote,
      localId: 0,
      remoteId: 0,
      interfaceIndex: 0,
      backupLocal: false,
      backupRemote: false,
    });
    this.peer.set(`${plainAddress(remote.address)} ${remote.port}`, { id: 0, does: "accepts" });
  }
}

/** The kernel. */
export class FakeKernel {
  nowMs = 1000;
  readonly links = new Map<number, LinkState>();
  readonly addresses = new Map<string, LinkAddress>();
  readonly connections = new Map<number, FakeConnection>();
  /** Counters of /proc/net/netstat. */
  readonly counters = { EchoAddTxDrop: 0, RmAddrDrop: 0, AddAddrTxDrop: 0, MPJoinRejected: 0 };
  /** Events are lost (ENOBUFS) while it is set. */
  deaf = false;
  lost = 0;
  /** A member of mptcp_pm_events is anywhere on the host. */
  listened = true;
  readonly #queue: ((manager: PathManager) => void)[] = [];
  readonly #timers: { atMs: number; run: () => void }[] = [];
  #port = 40_000;

  /** When something happens next. */
  get nextMs(): number {
    return Math.min(Infinity, ...this.#timers.map(({ atMs }) => atMs));
  }

  /** Lets time pass up to `nowMs`. */
  advance(nowMs: number): void {
    for (;;) {
      this.#timers.sort((a, b) => a.atMs - b.atMs);
      const first = this.#timers[0];
      if (first === undefined || first.atMs > nowMs) break;
      this.#timers.shift();
      this.nowMs = Math.max(this.nowMs, first.atMs);
      first.run();
    }
    this.nowMs = Math.max(this.nowMs, nowMs);
  }

  later(ms: number, run: () => void): void {
    this.#timers.push({ atMs: this.nowMs + ms, run });
  }

  /** Hands the events over. */
  deliver(manager: PathManager): boolean {
    const events = this.#queue.splice(0);
    for (const event of events) event(manager);
    return events.length > 0;
  }

  tell(event: (manager: PathManager, nowMs: number) => void): void {
    const { nowMs } = this;
    if (this.deaf) this.lost++;
    else this.#queue.push((manager) => event(manager, nowMs));
  }

  /** Adds or changes a link; rtnetlink is never deaf here. */
  link(index: number, name: string, up: boolean, ...addresses: string[]): void {
    const state = { index, name, up, loopback: name === "lo" };
    this.links.set(index, state);
    const { nowMs } = this;
    this.#queue.push((manager) => manager.handleLink(state, nowMs));
    for (const address of addresses) this.addAddress(index, address);
  }

  addAddress(index: number, address: string): void {
    const linkLocal = address.startsWith("fe80");
    const one = { index, address, prefixLength: 24, linkLocal, usable: true };
    this.addresses.set(address, one);
    const { nowMs } = this;
    this.#queue.push((manager) => manager.handleAddress(one, nowMs));
  }

  removeAddress(index: number, address: string): void {
    this.addresses.delete(address);
    const { nowMs } = this;
    this.#queue.push((manager) => manager.handleAddressGone(index, address, nowMs));
  }

  /** A connection begins: CREATED, and on the server ESTABLISHED. */
  connect(
    token: number,
    local: Endpoint,
    remote: Endpoint,
    options: {
      serverSide?: boolean;
      denyJoinId0?: boolean;
      kernelManaged?: boolean;
      v6Only?: boolean;
    } = {},
  ): FakeConnection {
    const { serverSide = false, denyJoinId0 = false, kernelManaged = false } = options;
    const event = { token, established: serverSide, serverSide, denyJoinId0, local, remote };
    const connection = new FakeConnection(event, kernelManaged, options.v6Only ?? false);
    this.connections.set(token, connection);
    this.tell((manager, nowMs) =>
      manager.handleConnection({ ...event, established: false }, nowMs)
    );
    if (serverSide) this.tell((manager, nowMs) => manager.handleConnection(event, nowMs));
    return connection;
  }

  /** Data was acknowledged: a client's connection is established only now. */
  data(token: number): void {
    const connection = this.connections.get(token)!;
    if (connection.established) return;
    connection.established = true;
    const event = { ...connection.event, established: true };
    this.tell((manager, nowMs) => manager.handleConnection(event, nowMs));
  }

  /** close(2). */
  close(token: number): void {
    this.connections.delete(token);
    this.tell((manager, nowMs) => manager.handleClosed(token, nowMs));
  }

  /** MP_FASTCLOSE: no event at all. */
  abort(token: number): void {
    this.connections.delete(token);
  }

  peerAnnounces(token: number, id: number, remote: Endpoint, does: PeerAddress = "accepts"): void {
    const connection = this.connections.get(token)!;
    connection.peer.set(`${plainAddress(remote.address)} ${remote.port}`, { id, does });
    this.tell((manager, nowMs) => manager.handleAnnounced(token, id, remote, nowMs));
  }

  /** REMOVE_ADDR of the peer; of a burst only the first closes subflows. */
  peerRemoves(token: number, id: number): void {
    const connection = this.connections.get(token)!;
    for (const [key, address] of connection.peer) {
      if (address.id === id) connection.peer.delete(key);
    }
    this.tell((manager, nowMs) => manager.handleRemoved(token, id, nowMs));
    const burst = this.nowMs - connection.removedMs < BURST_MS;
    connection.removedMs = this.nowMs;
    if (burst) this.counters.RmAddrDrop++;
    else this.#closeWhere(token, (subflow) => subflow.remoteId === id);
  }

  /** MP_JOIN of the peer; a local address without an id gets one by itself. */
  peerJoins(
    token: number,
    local: string,
    remote: Endpoint,
    remoteId: number,
    backup = false,
  ): void {
    const connection = this.connections.get(token)!;
    if (!this.listened) {
      this.counters.MPJoinRejected++;
      return;
    }
    const initial = plainAddress(connection.event.local.address);
    let localId = local === initial ? 0 : this.#idOf(connection, local);
    if (localId < 0) {
      localId = 1;
      while (connection.entries.has(localId)) localId++;
      connection.entries.set(localId, local);
    }
    const { port } = connection.event.local;
    this.#establish(token, {
      local: { address: local, port },
      remote,
      localId,
      remoteId,
      interfaceIndex: 0,
      backupLocal: false,
      backupRemote: backup,
    });
  }

  peerSetsBackup(token: number, at: number, backup: boolean): void {
    const subflow = this.connections.get(token)!.subflows[at]!;
    subflow.backupRemote = backup;
    const event = subflowEvent(token, subflow);
    this.tell((manager, nowMs) => manager.handleSubflowPriority(event, nowMs));
  }

  /** One subflow ends. */
  closeSubflow(token: number, at: number, error = 0, resetReason = -1): void {
    const [subflow] = this.connections.get(token)!.subflows.splice(at, 1);
    const event = { ...subflowEvent(token, subflow!), error, resetReason };
    this.tell((manager, nowMs) => manager.handleSubflowClosed(event, nowMs));
  }

  /** sock_diag. */
  dump(): FoundConnection[] {
    return [...this.connections].map(([token, { event, established, subflows }]) => ({
      token,
      local: event.local,
      remote: event.remote,
      subflows: subflows.map((subflow) => ({ ...subflow, fullyEstablished: established })),
    }));
  }

  /** What the kernel answers. */
  command(command: PathCommand): Answer {
    if (command.kind === "joins") return OK;
    const connection = this.connections.get(command.token);
    if (connection === undefined) return einval("invalid token");
    if (connection.kernelManaged) return einval("userspace PM not selected");
    switch (command.kind) {
      case "announce":
        return this.#announce(connection, command.id, command.local);
      case "remove":
        return this.#remove(command.token, connection, command.id);
      case "create":
        return this.#create(connection, command);
      case "destroy":
        return this.#destroy(connection, command);
      case "setBackup": {
        const found = connection.subflows.find((one) => fits(one, command.local, command.remote));
        if (found === undefined) return einval("subflow not found");
        found.backupLocal = command.backup;
        return OK;
      }
    }
  }

  #announce(connection: FakeConnection, id: number, local: Endpoint): Answer {
    if (id === 0) return einval("invalid addr id");
    const wrong = this.#mismatch(connection, local.address, id);
    if (wrong !== null) return wrong;
    connection.entries.set(id, plainAddress(local.address));
    connection.announced.add(id);
    const burst = this.nowMs - connection.announcedMs < BURST_MS;
    connection.announcedMs = this.nowMs;
    if (burst) this.counters.EchoAddTxDrop++;
    if (local.address.includes(":") && local.port !== 0) this.counters.AddAddrTxDrop++;
    else connection.peerKnows.set(id, plainAddress(local.address));
    return OK;
  }

  #remove(token: number, connection: FakeConnection, id: number): Answer {
    const used = connection.subflows.some(({ localId }) => localId === id);
    const known = id === 0 ? used : connection.entries.has(id) &&
      (used || connection.announced.has(id));
    if (!known) return einval(`address with id ${id} not found`);
    connection.entries.delete(id);
    connection.announced.delete(id);
    connection.peerKnows.delete(id);
    const burst = this.nowMs - connection.removedMs < BURST_MS;
    connection.removedMs = this.nowMs;
    if (burst) this.counters.RmAddrDrop++;
    else {
      // The peer's FIN does not come over a dead link.
      this.later(RTT_MS, () => {
        this.#closeWhere(token, (one) => one.localId === id && this.#alive(one));
      });
    }
    return OK;
  }

  #create(
    connection: FakeConnection,
    command: PathCommand & { kind: "create" },
  ): Answer {
    const { token, id, local, remote, backup, interfaceIndex } = command;
    const plain = plainAddress(local.address);
    if (!connection.established) return this.#forget(connection, plain, 107);
    const wrong = this.#mismatch(connection, local.address, id);
    if (wrong !== null) return wrong;
    const inet6 = connection.event.local.address.includes(":");
    const families = [plain, plainAddress(remote.address)].map((one) => one.includes(":"));
    if (families[0] !== families[1] || families[0] && !inet6 || !families[0] && connection.v6Only) {
      return einval("families mismatch");
    }
    const address = this.addresses.get(plain);
    if (address === undefined) return this.#forget(connection, plain, 99);
    if (interfaceIndex !== 0 && !this.links.has(interfaceIndex)) {
      return this.#forget(connection, plain, 19);
    }
    if (!this.links.get(address.index)!.up) return this.#forget(connection, plain, 101);
    connection.entries.set(id, plain);
    const peer = connection.peer.get(`${plainAddress(remote.address)} ${remote.port}`);
    const subflow: FakeSubflow = {
      local: { address: local.address, port: local.port === 0 ? this.#port++ : local.port },
      remote,
      localId: id,
      remoteId: peer?.id ?? 0,
      interfaceIndex,
      backupLocal: backup,
      backupRemote: false,
    };
    const does = !this.listened && peer?.does === "accepts" ? "limits" : peer?.does ?? "swallows";
    if (does === "swallows") this.later(3000, () => this.#joinFailed(token, subflow, 113));
    else if (does === "refuses") this.later(RTT_MS, () => this.#joinFailed(token, subflow, 111));
    else {
      this.later(RTT_MS, () => {
        if (!this.#alive(subflow)) {
          return this.later(3000, () => this.#joinFailed(token, subflow, 113));
        }
        this.#establish(token, subflow);
        // A refused join was established for a moment, and says no reason.
        if (does === "limits") {
          this.later(1, () => this.#closeWhere(token, (one) => one === subflow));
        }
      });
    }
    return OK;
  }

  #destroy(connection: FakeConnection, command: PathCommand & { kind: "destroy" }): Answer {
    const { token, local, remote } = command;
    if (local.port === 0) return einval("missing local port");
    if (remote.port === 0) return einval("missing remote port");
    const found = connection.subflows.find((one) => fits(one, local, remote));
    if (found === undefined) return { errno: 3, text: "subflow not found" };
    this.#forget(connection, plainAddress(local.address), 0);
    this.#closeWhere(token, (one) => one === found);
    return OK;
  }

  /** A failed create and each destroy make the kernel forget the address, and not the peer. */
  #forget(connection: FakeConnection, plain: string, errno: number): Answer {
    const id = this.#idOf(connection, plain);
    connection.entries.delete(id);
    connection.announced.delete(id);
    return errno === 0 ? OK : { errno, text: `connect error: -${errno}` };
  }

  #mismatch(connection: FakeConnection, address: string, id: number): Answer | null {
    const plain = plainAddress(address);
    const known = this.#idOf(connection, plain);
    const other = connection.entries.get(id);
    return (known >= 0 && known !== id) || (other !== undefined && other !== plain)
      ? einval("did not match address and id")
      : null;
  }

  #idOf(connection: FakeConnection, plain: string): number {
    for (const [id, address] of connection.entries) if (address === plain) return id;
    return -1;
  }

  #alive(subflow: FakeSubflow): boolean {
    const address = this.addresses.get(plainAddress(subflow.local.address));
    return address !== undefined && this.links.get(address.index)!.up;
  }

  #establish(token: number, subflow: FakeSubflow): void {
    const connection = this.connections.get(token);
    if (connection === undefined) return;
    connection.subflows.push(subflow);
    const event = subflowEvent(token, subflow);
    this.tell((manager, nowMs) => manager.handleSubflow(event, nowMs));
  }

  #joinFailed(token: number, subflow: FakeSubflow, error: number): void {
    if (!this.connections.has(token)) return;
    const event = { ...subflowEvent(token, subflow), error };
    this.tell((manager, nowMs) => manager.handleSubflowClosed(event, nowMs));
  }

  #closeWhere(token: number, which: (subflow: FakeSubflow) => boolean): void {
    const connection = this.connections.get(token);
    if (connection === undefined) return;
    for (let at = connection.subflows.length - 1; at >= 0; at--) {
      if (which(connection.subflows[at]!)) this.closeSubflow(token, at);
    }
  }
}

/** A kernel and a manager of it. */
export class Rig {
  readonly kernel: FakeKernel = new FakeKernel();
  readonly manager: PathManager;
  readonly events: PathEvent[] = [];
  /** All commands so far, and as words. */
  readonly commands: PathCommand[] = [];
  readonly log: string[] = [];
  /** Makes a command fail in place of the kernel. */
  fail: (command: PathCommand) => Answer | null = () => null;

  constructor(policy: Partial<PathPolicy> = {}) {
    this.manager = new PathManager({ ...PATH_POLICY_DEFAULTS, ...policy });
  }

  /** Everything that can be done now. */
  settle(): void {
    for (let turn = 0;; turn++) {
      if (turn > 10_000) throw new Error("The manager does not come to rest");
      const { kernel, manager } = this;
      const delivered = kernel.deliver(manager);
      const command = manager.pollCommand();
      if (command !== null) {
        this.commands.push(command);
        this.log.push(describe(command));
        const { errno, text } = this.fail(command) ?? kernel.command(command);
        manager.handleResult(command.serial, errno, text, kernel.nowMs);
      }
      for (let event = manager.pollEvent(); event !== null; event = manager.pollEvent()) {
        this.events.push(event);
      }
      if (!delivered && command === null) return;
    }
  }

  /** Lets time pass, deadline by deadline. */
  run(ms: number): void {
    const untilMs = this.kernel.nowMs + ms;
    this.settle();
    for (let turn = 0;; turn++) {
      if (turn > 100_000) throw new Error("The manager is never done");
      const nextMs = Math.min(this.kernel.nextMs, this.manager.pollDeadline(), untilMs);
      this.kernel.advance(nextMs);
      if (this.manager.pollDeadline() <= this.kernel.nowMs) {
        this.manager.handleDeadline(this.kernel.nowMs);
      }
      this.settle();
      if (
        nextMs >= untilMs && this.manager.pollDeadline() > untilMs && this.kernel.nextMs > untilMs
      ) {
        return;
      }
    }
  }

  /** sock_diag is read. */
  resync(): void {
    this.settle();
    this.manager.handleFound(this.kernel.dump(), this.kernel.nowMs);
    this.settle();
  }

  /** The commands since the last time, as words. */
  takeLog(): string[] {
    return this.log.splice(0);
  }

  /** Names of the events of one token since the last time. */
  takeEvents(): PathEvent[] {
    return this.events.splice(0);
  }

  /** `local>remote` of the kernel's subflows, with * for our backups. */
  paths(token: number): string[] {
    return this.kernel.connections.get(token)!.subflows
      .map(({ local, remote, backupLocal }) =>
        `${local.address}>${remote.address}${backupLocal ? "*" : ""}`
      ).sort();
  }
}

/** Two links, eth0 and eth1, and a connection over the first one to 10.9.1.2:7000. */
export function twoLinks(policy: Partial<PathPolicy> = {}): Rig {
  const rig = new Rig(policy);
  rig.kernel.link(2, "eth0", true, "10.9.1.1");
  rig.kernel.link(3, "eth1", true, "10.9.2.1");
  return rig;
}

/** A client's connection that is established. */
export function connected(rig: Rig, token = 1, port = 33_000 + token): FakeConnection {
  const connection = rig.kernel.connect(token, at("10.9.1.1", port), at("10.9.1.2", 7000));
  rig.kernel.data(token);
  rig.run(100);
  return connection;
}

export function at(address: string, port: number): Endpoint {
  return { address, port };
}

export function subflowEvent(token: number, subflow: FakeSubflow): SubflowEvent {
  const { local, remote, localId, remoteId, backupRemote, interfaceIndex } = subflow;
  return {
    token,
    local,
    remote,
    localId,
    remoteId,
    backup: backupRemote,
    interfaceIndex,
    error: 0,
    resetReason: -1,
  };
}

/** A command in a few words. */
export function describe(command: PathCommand): string {
  switch (command.kind) {
    case "announce":
      return `announce ${command.id} ${command.local.address}`;
    case "remove":
      return `remove ${command.id}`;
    case "create": {
      const { id, local, remote, backup } = command;
      return `create ${id} ${local.address}>${remote.address}:${remote.port}${backup ? "*" : ""}`;
    }
    case "destroy":
      return `destroy ${command.local.address}>${command.remote.address}`;
    case "setBackup":
      return `${command.backup ? "demote" : "promote"} ${command.local.address}`;
    case "joins":
      return `joins ${command.joins}`;
  }
}

/** The form of the addresses must be the reported one: a v4-mapped subflow is not found by IPv4. */
function fits(subflow: FakeSubflow, local: Endpoint, remote: Endpoint): boolean {
  const port = (have: number, given: number): boolean => given === 0 || have === given;
  return subflow.local.address === local.address && subflow.remote.address === remote.address &&
    port(subflow.local.port, local.port) && port(subflow.remote.port, remote.port);
}

function einval(text: string): Answer {
  return { errno: 22, text };
}
