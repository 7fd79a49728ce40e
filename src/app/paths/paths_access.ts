/**
 * Does what other programs ask for through the access socket, in the namespace that they are in.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import {
  formatToken,
  type PathConnection,
  type PathSubflow,
} from "../../proto/mptcp/connection_table.ts";
import type { Endpoint, PathEvent, Request } from "../../proto/mptcp/path_events.ts";
import type { AccessCounts, AccessService } from "../access_server.ts";
import type { AccessCommand, AccessEvent, AccessGroup } from "./access_message.ts";
import { accessEvent } from "./access_message.ts";
import type { NamespacePaths } from "./namespace_paths.ts";

type Listener = (event: AccessEvent) => void;

/** One namespace's side of the access socket. */
export class PathsAccess implements AccessService<AccessCommand, AccessGroup> {
  readonly #paths: NamespacePaths;
  readonly #wake: () => void;
  readonly #counts: () => AccessCounts | null;
  readonly #listeners = new Map<Listener, ReadonlySet<AccessGroup>>();

  /**
   * @param wake has the namespace's turn come soon: its deadlines may have changed
   * @param counts what the socket has seen, for the status; null while there is none
   */
  constructor(paths: NamespacePaths, wake: () => void, counts: () => AccessCounts | null) {
    this.#paths = paths;
    this.#wake = wake;
    this.#counts = counts;
  }

  /** True when somebody waits for join attempts. */
  get decides(): boolean {
    for (const groups of this.#listeners.values()) if (groups.has("join_attempt")) return true;
    return false;
  }

  subscribe(groups: readonly AccessGroup[], listener: Listener): () => void {
    this.#listeners.set(listener, new Set(groups));
    return () => void this.#listeners.delete(listener);
  }

  /** Passes an event on to who subscribed to its group. */
  tell(event: PathEvent): void {
    if (this.#listeners.size === 0) return;
    const told = accessEvent(event);
    if (told === null) return;
    for (const [listener, groups] of this.#listeners) {
      if (groups.has(told.event)) listener(told);
    }
  }

  async request(request: AccessCommand): Promise<object> {
    const answer = this.#do(request);
    this.#wake();
    return await answer;
  }

  #do(request: AccessCommand): object | Promise<object> {
    const { manager } = this.#paths;
    const now = nowMs();
    switch (request.command) {
      case "send_addr": {
        const { addressId, localAddress, localPort, token } = request;
        const local = { address: localAddress, port: localPort ?? 0 };
        return this.#done(manager.sendAddr(token, addressId, local, now));
      }
      case "add_subflow": {
        const { token, backup, subflow } = request;
        const first = this.#connection(token);
        return this.#done(manager.addSubflow(token, {
          localId: request.localId,
          local: request.localAddress,
          localPort: request.localPort ?? first.local.port,
          remoteId: request.remoteId ?? 0,
          remote: endpoint(request.remoteAddress, request.remotePort ?? first.remote.port),
          backup,
          subflow,
        }, now));
      }
      case "allow_join": {
        const { allow, backup, remoteId, subflow, token } = request;
        this.#connection(token);
        const { guard } = this.#paths;
        if (guard === null) {
          throw new Error(
            'Cannot decide about joins as they are not guarded: set "joins" of "paths", such as ' +
              '{"default": "refuse"}',
          );
        }
        const made = allow ? manager.allowJoin(token, remoteId, backup, subflow, now) : null;
        if (made !== null && "error" in made) throw new Error(made.error);
        return { decided: guard.decide(token, remoteId, allow) };
      }
      case "set_backup":
        return this.#done(manager.setBackup(request.token, request.subflow, request.backup, now));
      case "remove_subflow":
        return this.#done(manager.removeSubflow(request.token, request.subflow, now));
      case "list_connections":
        return { connections: [...manager.connections.values()].map(connectionMembers) };
      case "list_subflows": {
        const { subflows } = this.#connection(request.token);
        return { subflows: [...subflows.values()].map(subflowMembers) };
      }
      case "list_remote_addresses":
        return { addresses: remoteAddresses(this.#connection(request.token)) };
      case "list_local_addresses":
        this.#connection(request.token);
        return { addresses: this.#paths.localAddresses(request.token) };
      case "set_policy":
        return this.#setPolicy(request);
      case "view":
        return { view: this.#paths.view() };
      case "status":
        return { status: this.#status() };
    }
  }

  #setPolicy(
    { interfaces, joins, token }: Extract<AccessCommand, { command: "set_policy" }>,
  ): object {
    const { guard, manager } = this.#paths;
    if (token !== null) {
      if (joins === "interfaces") {
        throw new Error("Cannot set joins of one connection by interface");
      }
      return this.#done(manager.setJoins(token, joins, nowMs()));
    }
    if (guard === null) {
      throw new Error('Cannot set who may join as joins are not guarded: set "joins" of "paths"');
    }
    this.#paths.setJoins(joins === "default" ? null : { default: joins, interfaces });
    return {};
  }

  #status(): object {
    const { counters, guard, manager, namespace } = this.#paths;
    let subflows = 0;
    for (const connection of manager.connections.values()) subflows += connection.subflows.size;
    return {
      namespace,
      connections: manager.connections.size,
      subflows,
      ...counters,
      dropped_events: manager.droppedEvents,
      refused_connections: manager.refusedConnections,
      refused_subflows: manager.refusedSubflows,
      access: this.#counts(),
      joins: guard?.counters ?? null,
      subscribers: this.#listeners.size,
    };
  }

  /** Has the kernel do it, and says what it said; announcements take turns. */
  async #done(request: Request): Promise<object> {
    if ("error" in request) throw new Error(request.error);
    const result = this.#paths.resultOf(request.serial);
    this.#paths.finishRequest(nowMs());
    const refusal = await result;
    if (refusal !== "") throw new Error(`Cannot do that as the kernel refuses: ${refusal}`);
    return request.subflow < 0 ? {} : { subflow: request.subflow };
  }

  #connection(token: number): PathConnection {
    const connection = this.#paths.manager.connections.get(token);
    if (connection !== undefined) return connection;
    throw new Error(
      `Cannot find connection: current value is ${formatToken(token)}, see "list_connections"`,
    );
  }
}

function endpoint(address: string | null, port: number): Endpoint | null {
  return address === null ? null : { address, port };
}

function connectionMembers({ token, local, remote, serverSide, subflows }: PathConnection): object {
  return {
    connection: formatToken(token),
    local_address: local.address,
    local_port: local.port,
    remote_address: remote.address,
    remote_port: remote.port,
    server_side: serverSide,
    subflows: subflows.size,
  };
}

function subflowMembers(subflow: PathSubflow): object {
  return {
    subflow: subflow.id,
    local_address_id: subflow.localId,
    local_address: subflow.local.address,
    local_port: subflow.local.port,
    remote_address_id: subflow.remoteId,
    remote_address: subflow.remote.address,
    remote_port: subflow.remote.port,
    backup: subflow.backupLocal || subflow.backupRemote,
  };
}

/** Those that the peer announced, and those that subflows have. */
function remoteAddresses({ remotes, subflows }: PathConnection): object[] {
  const found = new Map<string, object>();
  const put = (id: number, { address, port }: Endpoint): void => {
    found.set(`${id} ${address}`, {
      remote_address_id: id,
      remote_address: address,
      remote_port: port,
    });
  };
  for (const { remote, remoteId } of subflows.values()) put(remoteId, remote);
  for (const [id, endpoints] of remotes) for (const remote of endpoints) put(id, remote);
  return [...found.values()];
}
