/**
 * What a gateway tells about itself: a {@linkcode Snapshot} of its parts.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { conModeName } from "../../wire/msgr2/auth.ts";
import { formatToken } from "../../proto/mptcp/connection_table.ts";
import type { Session } from "../../proto/msgr2/session.ts";
import { addressText } from "../address_text.ts";
import type { SessionTransport } from "../loop.ts";
import type { Alarms, Journal } from "../status/journal.ts";
import { processStatus, writtenBytes } from "../status/process_stat.ts";
import type {
  PathsOf,
  PortStatus,
  SessionStatus,
  Snapshot,
  SpoolStatus,
  UpstreamStatus,
} from "../status/snapshot.ts";
import { VERSION } from "../version.ts";
import type { Gateway } from "./gateway.ts";
import type { Sender } from "./sender.ts";

/** Makes snapshots of one gateway. */
export class GatewaySnapshots {
  readonly #gateway: Gateway;
  readonly #journal: Journal;
  readonly #alarms: Alarms;
  readonly #startedMs = Date.now();
  readonly #writtenBefore = writtenBytes();

  /** @param gateway what to tell about */
  constructor(gateway: Gateway, journal: Journal, alarms: Alarms) {
    this.#gateway = gateway;
    this.#journal = journal;
    this.#alarms = alarms;
  }

  /** How it is now. */
  take(): Snapshot {
    const gateway = this.#gateway;
    const senders = [...gateway.senders.values()];
    return {
      role: "gateway",
      name: gateway.config.name,
      version: VERSION,
      nowMs: Date.now(),
      startedMs: this.#startedMs,
      ready: gateway.commits.trouble === null && !gateway.spool.full,
      alarms: this.#alarms.list(),
      sessions: senders.map((sender) => senderStatus(sender, gateway.pathsOf)),
      inputs: this.#inputs(),
      spool: this.#spool(),
      upstreams: senders.map(upstreamStatus),
      events: this.#journal.events(),
      process: processStatus(),
    };
  }

  #inputs(): PortStatus[] {
    return [...this.#gateway.inputs].map(([name, { input, type }]) => ({
      name,
      type,
      where: input.where,
      trouble: input.trouble,
      ...input.counts,
    }));
  }

  #spool(): SpoolStatus {
    const { commits, config, lostAtStart, spool } = this.#gateway;
    const { committedMessages } = spool;
    const onDisk = config.spool.place === "disk";
    const written = onDisk ? writtenBytes() - this.#writtenBefore : 0;
    return {
      place: config.spool.place,
      id: spool.id,
      state: commits.trouble !== null ? "failed" : spool.full ? "full" : "ok",
      messages: spool.messages,
      bytes: spool.bytes,
      bytesMax: config.spool.bytesMax,
      oldestMs: spool.oldestMs(),
      committed: committedMessages,
      dropped: spool.dropped,
      lost: spool.lost + lostAtStart,
      bytesWrittenPerMessage: committedMessages === 0 ? 0 : written / committedMessages,
      commits: commits.count,
    };
  }
}

/** A session, as its sender knows it. */
export function senderStatus(sender: Sender, pathsOf: PathsOf | null): SessionStatus {
  const { history, name, session, sinceMs, state } = sender;
  const address = session === null
    ? ""
    : addressText(session.connection?.peer ?? session.peerAddrs);
  return {
    ...sessionStatus(name, session),
    // A session without a connection goes on where it was: its own word tells that.
    state: state === "sending" ? session?.stateName ?? state : state,
    address,
    ...transportStatus(sender.transport, pathsOf),
    sinceMs: Date.now() - (nowMs() - sinceMs),
    history: [...history],
  };
}

/** A session's counts; all zero when there is none. */
export function sessionStatus(
  name: string,
  session: Session | null,
): Omit<SessionStatus, "address" | "history" | "sinceMs"> {
  const connection = session?.connection ?? null;
  return {
    name,
    state: session?.stateName ?? "connecting",
    mode: connection === null ? "" : conModeName(connection.mode),
    messagesSent: session?.messagesSent ?? 0,
    messagesReceived: session?.messagesReceived ?? 0,
    bytesSent: session?.bytesSent ?? 0,
    bytesReceived: session?.bytesReceived ?? 0,
    unacknowledged: session?.unacknowledged ?? 0,
    reconnects: session?.reconnects ?? 0,
  };
}

/** What carries a session, and by which paths; nothing while nothing carries it. */
export function transportStatus(
  carried: SessionTransport | null,
  pathsOf: PathsOf | null,
): Pick<SessionStatus, "transport" | "connection" | "paths"> {
  if (carried === null) return {};
  const { fallback, token, transport } = carried;
  if (transport === "tcp") return { transport: fallback ? "tcp: the peer has no MPTCP" : "tcp" };
  const paths = pathsOf?.(token) ?? [];
  const connection = formatToken(token);
  // A session that stands has a path: none at all means that nobody could tell.
  return { transport, connection, ...(paths.length === 0 ? {} : { paths }) };
}

/** What a sender has done. */
export function upstreamStatus(sender: Sender): UpstreamStatus {
  const { acknowledged, dropped, name, sent, waiting } = sender;
  return { name, waiting, sent, acknowledged, dropped };
}
