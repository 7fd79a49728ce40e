/**
 * The kernel's MPTCP as a path manager meets it: its events come in, commands go out. Each event is
 * handed on as it is read, so that what answers it leaves before the next one is looked at.
 *
 * @module
 */
import { Errno, errnoText } from "../../io/errno.ts";
import { inNamespace } from "../../io/namespace.ts";
import { NetlinkProtocol, NetlinkSocket } from "../../io/netlink_socket.ts";
import type {
  ConnectionEvent,
  Endpoint,
  PathCommand,
  SubflowEvent,
} from "../../proto/mptcp/path_events.ts";
import type { PathManager } from "../../proto/mptcp/path_manager.ts";
import { formatInet } from "../../wire/inet.ts";
import {
  MptcpEvent,
  MptcpEventFlag,
  MptcpEventType,
  readMptcpEvent,
} from "../../wire/netlink/mptcp_event.ts";
import {
  PM_EVENTS_GROUP,
  PmAddress,
  PmFlag,
  writeAnnounce,
  writeRemove,
  writeSetFlags,
  writeSubflowCreate,
  writeSubflowDestroy,
} from "../../wire/netlink/mptcp_pm.ts";
import { Nlmsg, readNlmsg } from "../../wire/netlink/nlmsg.ts";
import { type MptcpFamily, openMptcpFamily, putEndpoint } from "./mptcp_family.ts";

/** The kernel doubles it: room for 10,000 events; the usual 208 KiB hold 256. */
const EVENTS_BYTES = 4 * 1024 * 1024;

/** One namespace's. */
export class MptcpKernel {
  readonly #family: MptcpFamily;
  readonly #events: NetlinkSocket;
  readonly #message = new Nlmsg();
  readonly #event = new MptcpEvent();
  readonly #local = new PmAddress();
  readonly #remote = new PmAddress();

  /**
   * Opens both sockets in `namespace`.
   *
   * @throws when it may not listen to the events
   */
  static open(namespace: string): MptcpKernel {
    const family = openMptcpFamily(namespace);
    const opened = inNamespace(namespace, () => NetlinkSocket.open(NetlinkProtocol.Generic));
    const events = typeof opened === "number" ? null : opened;
    const group = family.family.groups.get(PM_EVENTS_GROUP) ?? 0;
    const joined = events === null ? opened as number : events.join(group);
    if (events !== null && joined === 0) {
      events.setReceiveBuffer(EVENTS_BYTES);
      return new MptcpKernel(family, events);
    }
    events?.close();
    family.channel.close();
    const remedy = joined === -Errno.Eperm
      ? ": it needs CAP_NET_ADMIN, run it as root, or in a namespace of your own (unshare -Urn)"
      : "";
    throw new Error(`Cannot listen to the kernel's MPTCP events: ${errnoText(joined)}${remedy}`);
  }

  private constructor(family: MptcpFamily, events: NetlinkSocket) {
    this.#family = family;
    this.#events = events;
  }

  /** Readable when there are events. */
  get fd(): number {
    return this.#events.fd;
  }

  /** What the kernel said about the last command, empty when nothing. */
  get text(): string {
    return this.#family.channel.text;
  }

  /** Hands on one datagram of events: `none` when there is no more, `lost` when some were. */
  drain(manager: PathManager, nowMs: number): "some" | "none" | "lost" {
    const size = this.#events.receive();
    if (size === -Errno.Enobufs || size === -Errno.Emsgsize) return "lost"; // told once
    if (size < 0) return "none";
    const from = this.#events.in;
    for (let at = 0; at < size;) {
      at = readNlmsg(from, at, size, this.#message);
      if (at < 0) return "lost";
      const { end, type } = this.#message;
      if (type !== this.#family.family.id) continue;
      if (readMptcpEvent(from, this.#message.at, end, this.#event) < 0) return "lost";
      handOn(this.#event, manager, nowMs);
    }
    return "some";
  }

  /** Does a command; returns 0 or an errno, positive. */
  execute(command: Exclude<PathCommand, { kind: "joins" }>): number {
    const size = this.#write(command);
    return size < 0 ? Errno.Einval : this.#family.channel.request(size);
  }

  /** Closes both sockets. */
  close(): void {
    this.#events.close();
    this.#family.channel.close();
  }

  #write(command: Exclude<PathCommand, { kind: "joins" }>): number {
    const { channel, family: { id: family } } = this.#family;
    const { out } = channel;
    const local = this.#local;
    const remote = this.#remote;
    const { token } = command;
    if (command.kind === "remove") {
      return writeRemove(out, 0, family, channel.next(), token, command.id);
    }
    if (!putEndpoint(local, command.local)) return -1;
    if (command.kind === "announce") {
      local.id = command.id;
      local.flags = PmFlag.Signal;
      local.interfaceIndex = command.interfaceIndex;
      return writeAnnounce(out, 0, family, channel.next(), token, local);
    }
    if (!putEndpoint(remote, command.remote)) return -1;
    if (command.kind === "destroy") {
      return writeSubflowDestroy(out, 0, family, channel.next(), token, local, remote);
    }
    if (command.kind === "setBackup") {
      local.flags = command.backup ? PmFlag.Backup : 0;
      return writeSetFlags(out, 0, family, channel.next(), token, local, remote);
    }
    local.id = command.id;
    if (command.backup) local.flags = PmFlag.Backup;
    local.interfaceIndex = command.interfaceIndex;
    return writeSubflowCreate(out, 0, family, channel.next(), token, local, remote);
  }
}

function handOn(event: MptcpEvent, manager: PathManager, nowMs: number): void {
  const { token, type } = event;
  switch (type) {
    case MptcpEventType.Created:
    case MptcpEventType.Established:
      return manager.handleConnection(connectionEvent(event), nowMs);
    case MptcpEventType.Closed:
      return manager.handleClosed(token, nowMs);
    case MptcpEventType.Announced:
      return manager.handleAnnounced(token, event.remoteId, remoteOf(event), nowMs);
    case MptcpEventType.Removed:
      return manager.handleRemoved(token, event.remoteId, nowMs);
    case MptcpEventType.SubEstablished:
      return manager.handleSubflow(subflowEvent(event), nowMs);
    case MptcpEventType.SubClosed:
      return manager.handleSubflowClosed(subflowEvent(event), nowMs);
    case MptcpEventType.SubPriority:
      return manager.handleSubflowPriority(subflowEvent(event), nowMs);
    case MptcpEventType.ListenerCreated:
    case MptcpEventType.ListenerClosed:
      return manager.handleListener(localOf(event), type === MptcpEventType.ListenerCreated);
  }
}

function connectionEvent(event: MptcpEvent): ConnectionEvent {
  return {
    token: event.token,
    established: event.type === MptcpEventType.Established,
    serverSide: (event.flags & MptcpEventFlag.ServerSide) !== 0,
    denyJoinId0: (event.flags & MptcpEventFlag.DenyJoinId0) !== 0,
    local: localOf(event),
    remote: remoteOf(event),
  };
}

function subflowEvent(event: MptcpEvent): SubflowEvent {
  return {
    token: event.token,
    local: localOf(event),
    remote: remoteOf(event),
    localId: event.localId,
    remoteId: event.remoteId,
    backup: event.backup !== 0,
    interfaceIndex: event.interfaceIndex,
    error: event.error,
    resetReason: event.resetReason,
  };
}

function localOf({ family, local, localPort }: MptcpEvent): Endpoint {
  return { address: formatInet(family, local), port: localPort };
}

function remoteOf({ family, remote, remotePort }: MptcpEvent): Endpoint {
  return { address: formatInet(family, remote), port: remotePort };
}
