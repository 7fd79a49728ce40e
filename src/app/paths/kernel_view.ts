/**
 * Puts together what is known of paths: connections as the kernel has them, the links of this host, and what
 * only a path manager knows, when there is one.
 *
 * @module
 */
import {
  formatEndpoint,
  formatToken,
  type PathConnection,
} from "../../proto/mptcp/connection_table.ts";
import type { PathManager } from "../../proto/mptcp/path_manager.ts";
import { plainAddress } from "../../proto/mptcp/subnet.ts";
import { TcpState } from "../../wire/netlink/sock_diag.ts";
import { LinkMonitor, type LinksFound } from "./link_monitor.ts";
import type { ConnectionView, LinkView, PathsView, SubflowView } from "./paths_view.ts";
import { PmType, readPmType } from "./pm_type.ts";
import { type DumpedConnection, type DumpedSubflow, SocketDump } from "./socket_dump.ts";

/** Names of states as ss(8) has them. */
const STATES: Readonly<Record<number, string>> = {
  [TcpState.Established]: "established",
  [TcpState.SynSent]: "syn-sent",
  [TcpState.SynReceived]: "syn-recv",
  [TcpState.FinWait1]: "fin-wait-1",
  [TcpState.FinWait2]: "fin-wait-2",
  [TcpState.TimeWait]: "time-wait",
  [TcpState.Close]: "close",
  [TcpState.CloseWait]: "close-wait",
  [TcpState.LastAck]: "last-ack",
  [TcpState.Closing]: "closing",
};

/** The view of a namespace, asking the kernel alone. */
export function kernelView(namespace: string): PathsView {
  const links = LinkMonitor.open(namespace);
  const sockets = SocketDump.open(namespace);
  try {
    return viewOf(namespace, links.read(), sockets.read() ?? [], null);
  } finally {
    links.close();
    sockets.close();
  }
}

/** A view from its parts; `manager` is null where there is none. */
export function viewOf(
  namespace: string,
  { addresses, links }: LinksFound,
  connections: readonly DumpedConnection[],
  manager: PathManager | null,
): PathsView {
  const names = new Map(links.map(({ index, name }) => [index, name]));
  const owners = new Map(
    addresses.map(({ address, index }) => [address, names.get(index) ?? ""]),
  );
  const pmType = readPmType(namespace);
  return {
    namespace,
    pathManager: pmType === null ? "none" : pmType === PmType.Kernel ? "kernel" : "userspace",
    links: links.map(({ index, name, up }): LinkView => ({
      index,
      name,
      up,
      addresses: addresses.filter((one) => one.index === index).map((one) =>
        `${one.address}/${one.prefixLength}`
      ),
      role: manager?.sources.find(({ link }) => link.index === index)?.role ?? "",
    })),
    connections: connections.map((connection) =>
      connectionView(connection, manager?.connections.get(connection.token), owners)
    ),
  };
}

function connectionView(
  connection: DumpedConnection,
  managed: PathConnection | undefined,
  owners: ReadonlyMap<string, string>,
): ConnectionView {
  const { fallback, state, token } = connection;
  const remotes = [...managed?.remotes ?? []].flatMap(([id, endpoints]) =>
    endpoints.map(({ address }) => ({ id, address }))
  );
  return {
    connection: formatToken(token),
    local: formatEndpoint(connection.local),
    remote: formatEndpoint(connection.remote),
    state: fallback ? "fallback" : STATES[state] ?? `${state}`,
    serverSide: managed?.serverSide ?? null,
    uid: connection.uid,
    bytesSent: connection.bytesSent,
    bytesReceived: connection.bytesReceived,
    subflows: connection.subflows.map((subflow) => subflowView(subflow, managed, owners))
      .sort((a, b) =>
        a.localId - b.localId || a.remoteId - b.remoteId || (a.local < b.local ? -1 : 1)
      ),
    remoteAddresses: remotes,
  };
}

function subflowView(
  subflow: DumpedSubflow,
  managed: PathConnection | undefined,
  owners: ReadonlyMap<string, string>,
): SubflowView {
  const { backupLocal, backupRemote, local, remote, state } = subflow;
  return {
    subflow: managed?.find(local, remote)?.id ?? null,
    local: formatEndpoint(local),
    remote: formatEndpoint(remote),
    localId: subflow.localId,
    remoteId: subflow.remoteId,
    link: owners.get(plainAddress(local.address)) ?? "",
    state: STATES[state] ?? `${state}`,
    backup: backupLocal ? (backupRemote ? "both" : "local") : backupRemote ? "remote" : "",
    rttMs: subflow.rttMs,
    bytesSent: subflow.bytesSent,
    bytesReceived: subflow.bytesReceived,
    retransmitted: subflow.retransmitted,
  };
}
