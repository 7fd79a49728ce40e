/**
 * Paths as text: connections and their subflows in the manner of ss(8), events in the manner of
 * `ip mptcp monitor` (ip-mptcp(8)) with all their members.
 *
 * @module
 */
import { columnsOf, printable, printableWord } from "../printable.ts";
import { bytesText } from "../readings.ts";
import { countText } from "../count_text.ts";
import type { AccessEvent } from "./access_message.ts";
import type { ConnectionView, PathsView, SubflowView } from "./paths_view.ts";

const HEADER = [
  "CONNECTION",
  "IDS",
  "LINK",
  "LOCAL",
  "REMOTE",
  "STATE",
  "BACKUP",
  "RTT",
  "SENT",
  "RECEIVED",
  "RETRANSMITTED",
];
const GAP = "  ";
const NONE = "-";
const INDENT = "  ";

/**
 * `fairlead paths list`: a table with a header where it fits into `columns`, else the same without
 * alignment, which names what the header would.
 */
export function pathsLines(view: PathsView, columns: number): string[] {
  const lines = view.namespace === "" ? [] : [`Namespace ${printable(view.namespace)}`];
  if (view.pathManager === "none") {
    lines.push("No MPTCP here: the kernel has none, or net.mptcp.enabled is 0");
  }
  if (view.connections.length === 0) return [...lines, "No MPTCP connections"];
  const table = tableLines(view.connections);
  const fits = table.every((line) => columnsOf(line) <= columns);
  return [...lines, ...(fits ? table : view.connections.flatMap(plainLines))];
}

/** `fairlead paths monitor`: one event; `time` in front as it is given. */
export function eventLine(time: string, { event, ...members }: AccessEvent): string {
  const { connection, ...others } = members;
  const words = [printableWord(event)];
  if (connection !== undefined) words.push(printableWord(`${connection}`));
  const shown = new Set<string>();
  for (const [name, value] of Object.entries(others)) {
    if (shown.has(name) || value === null) continue;
    const side = /^(local|remote)_address$/.exec(name)?.[1];
    const port = side === undefined ? undefined : others[`${side}_port`];
    if (side === undefined || port === undefined || port === null) {
      words.push(`${printableWord(name)}=${printableWord(`${value}`)}`);
      continue;
    }
    const host = printableWord(`${value}`);
    words.push(`${side}=${host.includes(":") ? `[${host}]` : host}:${printableWord(`${port}`)}`);
    shown.add(`${side}_port`);
  }
  return `${time} ${words.join(" ")}`;
}

function tableLines(connections: readonly ConnectionView[]): string[] {
  const rows = [HEADER];
  /** What belongs to a row without columns of its own. */
  const tails = [""];
  for (const connection of connections) {
    const { bytesReceived, bytesSent, local, remote, state } = connection;
    rows.push([
      printableWord(connection.connection),
      NONE,
      NONE,
      printableWord(local),
      printableWord(remote),
      printableWord(state),
      NONE,
      NONE,
      bytesText(bytesSent),
      bytesText(bytesReceived),
      NONE,
    ]);
    tails.push(connectionTail(connection));
    for (const subflow of connection.subflows) {
      rows.push([
        `${INDENT}${subflowName(subflow)}`,
        `${subflow.localId}:${subflow.remoteId}`,
        printableWord(subflow.link),
        printableWord(subflow.local),
        printableWord(subflow.remote),
        printableWord(subflow.state),
        printableWord(subflow.backup),
        rttText(subflow.rttMs),
        bytesText(subflow.bytesSent),
        bytesText(subflow.bytesReceived),
        `${subflow.retransmitted}`,
      ]);
      tails.push("");
    }
  }
  const widths = HEADER.map((_, at) => Math.max(...rows.map((row) => columnsOf(row[at]!))));
  return rows.map((row, index) => {
    const cells = row.map((cell, at) => cell + " ".repeat(widths[at]! - columnsOf(cell)));
    return [...cells, tails[index]!].join(GAP).trimEnd();
  });
}

function plainLines(connection: ConnectionView): string[] {
  const { bytesReceived, bytesSent, local, remote, state } = connection;
  const first = [
    printableWord(connection.connection),
    `${printableWord(local)} -> ${printableWord(remote)}`,
    printableWord(state),
    `sent ${bytesText(bytesSent)}`,
    `received ${bytesText(bytesReceived)}`,
    connectionTail(connection),
  ];
  const subflows = connection.subflows.map((subflow) =>
    INDENT + [
      subflowName(subflow),
      `ids ${subflow.localId}:${subflow.remoteId}`,
      `link ${printableWord(subflow.link)}`,
      `${printableWord(subflow.local)} -> ${printableWord(subflow.remote)}`,
      printableWord(subflow.state),
      ...(subflow.backup === "" ? [] : [`backup ${subflow.backup}`]),
      `rtt ${rttText(subflow.rttMs)}`,
      `sent ${bytesText(subflow.bytesSent)}`,
      `received ${bytesText(subflow.bytesReceived)}`,
      `retransmitted ${subflow.retransmitted}`,
    ].join(GAP)
  );
  return [first.join(GAP), ...subflows];
}

/** What there is of a connection alone. */
function connectionTail({ remoteAddresses, serverSide, subflows, uid }: ConnectionView): string {
  const words = [`uid ${uid}`];
  if (serverSide !== null) words.unshift(serverSide ? "accepted" : "connected");
  if (subflows.length === 0) words.push("no subflow");
  if (remoteAddresses.length > 0) {
    const told = remoteAddresses.map(({ address, id }) => `${id} ${printableWord(address)}`);
    words.push(`${countText(told.length, "address", "addresses")} of the peer: ${told.join(", ")}`);
  }
  return words.join(", ");
}

function subflowName({ subflow }: SubflowView): string {
  return subflow === null ? NONE : `${subflow}`;
}

function rttText(ms: number): string {
  if (!Number.isFinite(ms)) return "?";
  return `${
    ms < 10 ? Number(ms.toFixed(2)) : ms < 100 ? Number(ms.toFixed(1)) : Math.round(ms)
  } ms`;
}
