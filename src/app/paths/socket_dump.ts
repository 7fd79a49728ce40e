/**
 * MPTCP connections with their subflows as they are, whoever made them: sock_diag(7). It takes no
 * privilege.
 *
 * @module
 */
import { inNamespace } from "../../io/namespace.ts";
import { NetlinkProtocol } from "../../io/netlink_socket.ts";
import type { FoundConnection, FoundSubflow } from "../../proto/mptcp/path_events.ts";
import { Family, formatInet } from "../../wire/inet.ts";
import { MptcpInfoFlag } from "../../wire/mptcp/socket_info.ts";
import {
  DiagConnection,
  DiagSubflow,
  readConnection,
  readSubflow,
  SubflowFlag,
  TcpState,
  writeConnectionDump,
  writeSubflowDump,
} from "../../wire/netlink/sock_diag.ts";
import { NetlinkChannel } from "../netlink_channel.ts";

/** A connection, with what only people want to know. */
export interface DumpedConnection extends FoundConnection {
  readonly state: number;
  readonly uid: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Some program holds its socket; not one that was closed and still sends what it has. */
  readonly held: boolean;
  /** It is plain TCP: the peer has no MPTCP. */
  readonly fallback: boolean;
  readonly subflows: readonly DumpedSubflow[];
}

/** A subflow. */
export interface DumpedSubflow extends FoundSubflow {
  readonly state: number;
  readonly rttMs: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly retransmitted: number;
}

const FAMILIES = [Family.Inet, Family.Inet6];

/** One namespace's. */
export class SocketDump {
  readonly #channel: NetlinkChannel;
  readonly #connection = new DiagConnection();
  readonly #subflow = new DiagSubflow();

  /** Opens a socket in `namespace`. */
  static open(namespace: string): SocketDump {
    return new SocketDump(
      inNamespace(namespace, () => NetlinkChannel.open(NetlinkProtocol.SockDiag, "sockets")),
    );
  }

  private constructor(channel: NetlinkChannel) {
    this.#channel = channel;
  }

  /** All connections; null when the kernel does not tell. */
  read(): DumpedConnection[] | null {
    const subflows = new Map<number, DumpedSubflow[]>();
    const connections = new Map<number, DumpedConnection>();
    // Connections first: a subflow that is made meanwhile is one more, not one without connection.
    for (const family of FAMILIES) {
      if (!this.#readConnections(family, connections, subflows)) return null;
    }
    if (connections.size === 0) return [];
    for (const family of FAMILIES) if (!this.#readSubflows(family, subflows)) return null;
    return [...connections.values()];
  }

  /** Those that can have several subflows, and whose end the kernel has not told. */
  find(): FoundConnection[] | null {
    const found = this.read();
    if (found === null) return null;
    return found.filter(({ fallback, held, state, token }) =>
      token !== 0 && !fallback && state !== TcpState.SynSent &&
      (held || state === TcpState.Established) // one that waits to be accepted is not held
    ).map((connection) => ({
      ...connection,
      // Those that were ended may take minutes to be gone when their link is.
      subflows: connection.subflows.filter(({ state }) => state === TcpState.Established),
    }));
  }

  /** Closes the socket. */
  close(): void {
    this.#channel.close();
  }

  #readConnections(
    family: number,
    connections: Map<number, DumpedConnection>,
    subflows: Map<number, DumpedSubflow[]>,
  ): boolean {
    const channel = this.#channel;
    const found = this.#connection;
    const errno = channel.dump(
      () => writeConnectionDump(channel.out, 0, channel.next(), family),
      (from, message) => {
        if (readConnection(from, message, found) < 0) return;
        const { info, inode, state, uid } = found;
        const own: DumpedSubflow[] = [];
        // Connections that fell back have no token: each gets a key of its own.
        const key = info.token === 0 ? -1 - connections.size : info.token;
        subflows.set(key, own);
        connections.set(key, {
          token: info.token,
          ...endsOf(found),
          state,
          uid,
          bytesSent: info.bytesSent,
          bytesReceived: info.bytesReceived,
          held: inode !== 0,
          fallback: (info.flags & MptcpInfoFlag.Fallback) !== 0,
          subflows: own,
        });
      },
      () => {},
    );
    return errno === 0;
  }

  #readSubflows(family: number, subflows: Map<number, DumpedSubflow[]>): boolean {
    const channel = this.#channel;
    const found = this.#subflow;
    const errno = channel.dump(
      () => writeSubflowDump(channel.out, 0, channel.next(), family),
      (from, message) => {
        if (readSubflow(from, message, found) < 0 || !found.isMptcp) return;
        const { flags } = found;
        subflows.get(found.localToken)?.push({
          ...endsOf(found),
          localId: found.localId,
          remoteId: found.remoteId,
          backupLocal: (flags & SubflowFlag.BkupLoc) !== 0,
          backupRemote: (flags & SubflowFlag.BkupRem) !== 0,
          fullyEstablished: (flags & SubflowFlag.FullyEstablished) !== 0,
          interfaceIndex: found.interfaceIndex,
          state: found.state,
          rttMs: found.rttUs / 1000,
          bytesSent: found.bytesSent,
          bytesReceived: found.bytesReceived,
          retransmitted: found.retransmits,
        });
      },
      () => {
        for (const own of subflows.values()) {
          for (let at = own.length - 1; at >= 0; at--) {
            if (own[at]!.local.address.includes(":") === (family === Family.Inet6)) {
              own.splice(at, 1);
            }
          }
        }
      },
    );
    return errno === 0;
  }
}

function endsOf(
  { destination, destinationPort, family, source, sourcePort }: DiagConnection | DiagSubflow,
): Pick<FoundSubflow, "local" | "remote"> {
  return {
    local: { address: formatInet(family, source), port: sourcePort },
    remote: { address: formatInet(family, destination), port: destinationPort },
  };
}
