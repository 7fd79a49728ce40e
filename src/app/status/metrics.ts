/**
 * A snapshot as Prometheus text, exposition format 0.0.4, with the names of its conventions: a
 * prefix, base units, `_total` at the end of counters; what every process has is called as all
 * client libraries call it (`process_…`).
 *
 * @module
 */
import { lagOf } from "../standby/standby_table.ts";
import type { StandbyView } from "../standby/standby_view.ts";
import { faults } from "./health.ts";
import { writeOverlays } from "./overlay_metrics.ts";
import type { PortStatus, SessionPath, Snapshot } from "./snapshot.ts";

/** Media type of the text. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

type Labels = Record<string, string>;
type Kind = "counter" | "gauge";

/** How a row of a table becomes a sample: name, kind, help, value. */
type Column<T> = readonly [string, Kind, string, (row: T) => number | undefined];

/** All samples of a snapshot. */
export function metricsText(snapshot: Snapshot): string {
  const { alarms, inputs, name, nowMs, outputs, process, ready, role, sessions } = snapshot;
  const { overlay, spool, standby, startedMs, upstreams, version } = snapshot;
  const text = new Exposition();
  text.table("fairlead", [snapshot], () => ({ version, role, name }), [
    ["build_info", "gauge", "Version, role and name of this box; always 1.", () => 1],
  ]);
  text.table("fairlead", [snapshot], () => ({}), [
    ["ready", "gauge", "Whether messages are taken and passed on or kept.", () => Number(ready)],
    [
      "healthy",
      "gauge",
      "Whether no alarm says that the process does not work.",
      (row) => Number(faults(row).length === 0),
    ],
  ]);
  text.table("fairlead", LEVELS, (level) => ({ level }), [
    [
      "alarms",
      "gauge",
      "Alarms that are not over.",
      (wanted) => alarms.filter(({ level }) => level === wanted).length,
    ],
  ]);
  text.table("fairlead_alarm", alarms, ({ code, level }) => ({ code, level }), [
    ["active", "gauge", "Alarms that are not over, by code.", () => 1],
  ]);
  text.table("fairlead_session", sessions, ({ name }) => ({ session: name }), [
    ["ready", "gauge", "Whether the session stands.", ({ state }) => Number(state === "ready")],
    [
      "state_age_seconds",
      "gauge",
      "Time since the session became what it is.",
      ({ sinceMs }) => Math.max(0, nowMs - sinceMs) / 1000,
    ],
    ["sent_messages_total", "counter", "Messages sent.", (row) => row.messagesSent],
    ["received_messages_total", "counter", "Messages received.", (row) => row.messagesReceived],
    ["sent_bytes_total", "counter", "Bytes sent.", (row) => row.bytesSent],
    ["received_bytes_total", "counter", "Bytes received.", (row) => row.bytesReceived],
    ["unacknowledged_messages", "gauge", "Messages not acknowledged.", (row) => row.unacknowledged],
    [
      "reconnects_total",
      "counter",
      "Connections that took the place of a broken one.",
      (row) => row.reconnects,
    ],
  ]);
  text.table("fairlead_session", sessions, ({ name, state, mode, address }) => ({
    session: name,
    state,
    mode,
    address,
  }), [[
    "info",
    "gauge",
    "State, mode and address of the session; the value counts them.",
    () => 1,
  ]]);
  text.table("fairlead_session", sessions, ({ name }) => ({ session: name }), [[
    "paths",
    "gauge",
    "Paths of the session that are up.",
    ({ paths }) => paths?.filter(({ state }) => state === "established").length,
  ]]);
  text.table("fairlead_session_path", sessions.flatMap(pathsOf), pathLabels, [
    ["sent_bytes_total", "counter", "Bytes sent on this path.", ({ bytesSent }) => bytesSent],
    ["received_bytes_total", "counter", "Bytes received on it.", (row) => row.bytesReceived],
  ]);
  text.table("fairlead_input", inputs ?? [], portLabels("input"), [
    ...PORT_COLUMNS,
    [
      "refused_total",
      "counter",
      "Refused: malformed, too long, not allowed.",
      (row) => row.refused,
    ],
    ["clients", "gauge", "Open connections.", (row) => row.clients],
    ["waiting_clients", "gauge", "Connections that wait for room.", (row) => row.waiting],
  ]);
  text.table("fairlead_output", outputs ?? [], portLabels("output"), [
    ...PORT_COLUMNS,
    [
      "required",
      "gauge",
      "Whether acknowledgements wait for this output.",
      ({ required }) => required === undefined ? undefined : Number(required),
    ],
  ]);
  text.table("fairlead_spool", spool === undefined ? [] : [spool], () => ({}), [
    ["ok", "gauge", "Whether the spool takes messages.", ({ state }) => Number(state === "ok")],
    ["messages", "gauge", "Messages that wait for some hub.", (row) => row.messages],
    ["bytes", "gauge", "Bytes of the messages that wait.", (row) => row.bytes],
    ["limit_bytes", "gauge", "Bytes that may wait.", (row) => row.bytesMax],
    ["oldest_age_seconds", "gauge", "Age of the oldest message.", (row) => row.oldestMs / 1000],
    ["committed_messages_total", "counter", "Messages committed.", (row) => row.committed],
    ["commits_total", "counter", "Transactions committed.", (row) => row.commits],
    ["dropped_messages_total", "counter", "Messages dropped by policy.", (row) => row.dropped],
    ["lost_messages_total", "counter", "Messages lost to a damaged database.", (row) => row.lost],
    [
      "written_bytes_per_message",
      "gauge",
      "Bytes written to disk for a message.",
      (row) => row.bytesWrittenPerMessage,
    ],
  ]);
  text.table("fairlead_spool", spool === undefined ? [] : [spool], ({ place, id, state }) => ({
    place,
    id,
    state,
  }), [["info", "gauge", "Place, id and state of the spool; always 1.", () => 1]]);
  text.table("fairlead_upstream", upstreams ?? [], ({ name }) => ({ upstream: name }), [
    ["waiting_messages", "gauge", "Messages that wait for this hub.", (row) => row.waiting],
    ["sent_messages_total", "counter", "Messages sent to this hub.", (row) => row.sent],
    [
      "acknowledged_messages_total",
      "counter",
      "Messages this hub acknowledged.",
      (row) => row.acknowledged,
    ],
    ["dropped_messages_total", "counter", "Lossy messages dropped.", (row) => row.dropped],
  ]);
  if (standby !== undefined) writeStandby(text, standby);
  if (overlay !== undefined) writeOverlays(text, overlay, nowMs);
  text.table("process", [process], () => ({}), [
    ["resident_memory_bytes", "gauge", "Resident memory size in bytes.", (row) => row.rssBytes],
    ["heap_bytes", "gauge", "Process heap size in bytes.", (row) => row.heapBytes],
    [
      "cpu_seconds_total",
      "counter",
      "Total user and system CPU time spent in seconds.",
      (row) => row.cpuSeconds,
    ],
    ["open_fds", "gauge", "Number of open file descriptors.", (row) => row.openFiles],
    [
      "start_time_seconds",
      "gauge",
      "Start time of the process since unix epoch in seconds.",
      () => startedMs / 1000,
    ],
  ]);
  return text.end();
}

const LEVELS = ["error", "warning"] as const;

const PORT_COLUMNS: readonly Column<PortStatus>[] = [
  ["up", "gauge", "Whether it has no trouble.", ({ trouble }) => Number(trouble === "")],
  ["messages_total", "counter", "Messages taken.", (row) => row.messages],
  ["bytes_total", "counter", "Payload bytes taken.", (row) => row.bytes],
  ["dropped_messages_total", "counter", "Messages dropped.", (row) => row.dropped],
];

interface NamedPath extends SessionPath {
  readonly session: string;
}

function pathsOf({ name, paths = [] }: Snapshot["sessions"][number]): NamedPath[] {
  return paths.map((path) => ({ ...path, session: name }));
}

/** Without ports: each new subflow has another one, and would begin another series. */
function pathLabels({ link, local, remote, session }: NamedPath): Labels {
  const host = (end: string): string => end.replace(/:\d+$/, "");
  return { session, link, local: host(local), remote: host(remote) };
}

function portLabels(key: string): (row: PortStatus) => Labels {
  return ({ name, type }) => ({ [key]: name, type });
}

/** Of a pair: nothing has a label for each SA, of which there may be thousands. */
function writeStandby(text: Exposition, standby: StandbyView): void {
  const { box, cargo, group, ipsec, role, witness } = standby;
  const alone = (): Labels => ({});
  text.table("fairlead_standby", [standby], () => ({ group, box, role }), [
    ["role", "gauge", "What this box is, by role; always 1.", () => 1],
  ]);
  text.table("fairlead_standby", [standby], alone, [
    ["active", "gauge", "Whether this box is the active one.", () => Number(role === "active")],
    [
      "term",
      "gauge",
      "Term of the pair; each change of the active box raises it.",
      (row) => row.term,
    ],
    ["ready", "gauge", "Whether this box has the state of its term.", (row) => Number(row.ready)],
    ["split", "gauge", "Whether both boxes were active in one term.", (row) => Number(row.split)],
    ["synced", "gauge", "Whether the standby has everything.", ({ sync }) => Number(sync.synced)],
    ["takeovers_total", "counter", "Takeovers by this box.", (row) => row.takeovers],
    ["takeover_seconds", "gauge", "Time of the last takeover.", (row) => row.takeoverMs / 1000],
    ["takeover_problems", "gauge", "What it could not do.", (row) => row.takeoverProblems.length],
    [
      "peer_reached",
      "gauge",
      "Whether the other box is reached.",
      ({ peer }) => Number(peer.reached),
    ],
    [
      "peer_round_trip_seconds",
      "gauge",
      "Round trip to the other box.",
      ({ peer }) => peer.roundTripMs < 0 ? undefined : peer.roundTripMs / 1000,
    ],
    [
      "addresses_taken",
      "gauge",
      "Whether this box has the addresses of the active role.",
      ({ addresses }) => addresses.list.length === 0 ? undefined : Number(addresses.taken),
    ],
    ["sent_posts_total", "counter", "Posts sent to the standby.", ({ sync }) => sync.sent],
    ["acknowledged_posts_total", "counter", "Posts that it has.", ({ sync }) => sync.acked],
    ["sent_bytes_total", "counter", "Bytes of posts sent.", ({ sync }) => sync.bytesSent],
    ["unacknowledged_bytes", "gauge", "Bytes on their way to it.", ({ sync }) => sync.unackedBytes],
    ["snapshots_total", "counter", "Snapshots sent to it.", ({ sync }) => sync.snapshots],
    ["received_bytes_total", "counter", "Bytes of posts received.", ({ sync }) => sync.bytesHeld],
    ["resyncs_total", "counter", "Snapshots that were asked for.", ({ sync }) => sync.resyncs],
    ["gaps_total", "counter", "Posts before which some were missing.", ({ sync }) => sync.gaps],
    ["duplicates_total", "counter", "Posts that had come before.", ({ sync }) => sync.duplicates],
    ["stale_posts_total", "counter", "Posts of another term.", ({ sync }) => sync.staleTerm],
    ["refused_posts_total", "counter", "Posts that made no sense.", ({ sync }) => sync.refused],
  ]);
  text.table("fairlead_standby_witness", witness === null ? [] : [witness], alone, [
    ["reached", "gauge", "Whether the witness is reached.", ({ reached }) => Number(reached)],
    ["lease_seconds", "gauge", "What is left of the lease.", (row) => row.leaseLeftMs / 1000],
  ]);
  text.table("fairlead_standby", ipsec === null ? [] : [standby], alone, [
    ["fence", "gauge", "Whether the kernel has a fence.", ({ fence }) => Number(fence.there)],
    ["fence_open", "gauge", "Whether ESP may leave this box.", ({ fence }) => Number(fence.open)],
    [
      "fence_dropped_packets_total",
      "counter",
      "Packets that the fence kept back.",
      ({ fence }) => fence.dropped,
    ],
  ]);
  text.table("fairlead_standby", ipsec === null ? [] : [ipsec], alone, [
    ["sas", "gauge", "Security associations kept in step.", ({ sas }) => sas.length],
    [
      "kernel_sas",
      "gauge",
      "Security associations of this kernel, with those that are only reserved.",
      ({ kernelSas }) => kernelSas < 0 ? undefined : kernelSas,
    ],
    ["policies", "gauge", "Policies kept in step.", ({ policies }) => policies],
    [
      "lag_packets",
      "gauge",
      "Packets of all associations that the standby does not know of.",
      ({ sas }) => lagOf(sas).packets,
    ],
    [
      "lag_seconds",
      "gauge",
      "How long the association that is longest behind has been so.",
      ({ sas }) => lagOf(sas).ms / 1000,
    ],
    ["events_total", "counter", "Events of the kernel's IPsec.", ({ events }) => events],
    ["overruns_total", "counter", "Times that the kernel dropped events.", (row) => row.overruns],
    ["dumps_total", "counter", "Times that all was read anew.", ({ dumps }) => dumps],
  ]);
  text.table("fairlead_standby", cargo === null ? [] : [cargo], () => ({}), [
    [
      "gateway_running",
      "gauge",
      "Whether the gateway works on this box.",
      (row) => Number(row.running),
    ],
    ["sessions", "gauge", "Sessions that a takeover carries over.", ({ sessions }) => sessions],
    ["session_messages", "gauge", "Messages in them.", ({ messages }) => messages],
    [
      "spool_messages",
      "gauge",
      "Messages of the spool that are carried over.",
      (row) => row.spoolMessages,
    ],
    ["spool_bytes", "gauge", "Bytes of those.", ({ spoolBytes }) => spoolBytes],
    [
      "added_latency_seconds",
      "gauge",
      "Time that acknowledgements of the other box took lately.",
      ({ addedLatencyMs }) => addedLatencyMs / 1000,
    ],
  ]);
}

/** Families of samples; each is told once, its samples beside each other. */
export class Exposition {
  readonly #lines: string[] = [];

  /** A family for each column, a sample for each row that has a value. */
  table<T>(
    prefix: string,
    rows: readonly T[],
    labels: (row: T) => Labels,
    columns: readonly Column<T>[],
  ): void {
    for (const [name, kind, help, value] of columns) {
      const samples = new Map<string, number>();
      for (const row of rows) {
        const count = value(row);
        if (count === undefined) continue;
        // Two sessions may have one name, but a series that comes twice spoils the whole scrape.
        const key = labelText(labels(row));
        samples.set(key, (samples.get(key) ?? 0) + count);
      }
      if (samples.size > 0) this.#family(`${prefix}_${name}`, kind, help, samples);
    }
  }

  end(): string {
    return `${this.#lines.join("\n")}\n`;
  }

  #family(name: string, kind: Kind, help: string, samples: Map<string, number>): void {
    this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`);
    for (const [labels, value] of samples) this.#lines.push(`${name}${labels} ${number(value)}`);
  }
}

/** `{a="b"}`; a value's backslash, quote and line feed are escaped, nothing else may be. */
function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) =>
    `${name}="${value.replace(/[\\"\n]/g, (one) => one === "\n" ? "\\n" : `\\${one}`)}"`
  );
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function number(value: number): string {
  if (Number.isFinite(value)) return `${value}`;
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}
