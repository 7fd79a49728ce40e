/**
 * The layout of `fairlead top`: what the status page shows, in rows of a terminal. What matters
 * most comes first, as a small terminal cuts the rest. The report came over a network: every text
 * of it is made printable.
 *
 * @module
 */
import { countText } from "../count_text.ts";
import type { Row } from "../live_view.ts";
import { cut, printable, printableWord } from "../printable.ts";
import { bytesText } from "../readings.ts";
import { clockText } from "../recent_messages.ts";
import { standbyLines, standbyWords } from "../standby/standby_table.ts";
import { isCalm, type StatusReport } from "./health.ts";
import { rateKey, type RatesNow } from "./rates.ts";
import type {
  PortStatus,
  SessionPath,
  SessionStatus,
  SpoolStatus,
  UpstreamStatus,
} from "./snapshot.ts";

const NAME_COLUMNS = 18;
const PROBLEMS_SHOWN = 5;
const EVENTS_SHOWN = 5;
const SAS_SHOWN = 5;
/** What a table of SAs is laid out for; the terminal cuts the rest. */
const SA_COLUMNS = 100;

/** All rows of a report. */
export function topRows(report: StatusReport, rates: RatesNow | null): Row[] {
  const { events, inputs, outputs, process, sessions, spool, upstreams } = report;
  const rows: Row[] = [titleRow(report), ...healthRows(report)];
  // A box that is only one of a pair, or lends itself to overlays, carries no messages.
  const carries = report.role === "gateway" || report.role === "hub";
  if (carries) rows.push(rateRow(rates));
  if (spool !== undefined) rows.push(spoolRow(spool));
  if (carries) rows.push({ text: "" }, ...sessionRows(report, sessions, rates));
  if (upstreams !== undefined) rows.push({ text: "" }, ...upstreamRows(upstreams));
  if (inputs !== undefined) rows.push({ text: "" }, ...portRows("input", inputs, rates));
  if (outputs !== undefined) rows.push({ text: "" }, ...portRows("output", outputs, rates));
  rows.push(...pathRows(report), ...standbyRows(report), ...overlayRows(report));
  if (events.length > 0) rows.push({ text: "" }, { text: "LAST EVENTS", style: "bold" });
  for (const { atMs, text } of events.slice(-EVENTS_SHOWN)) {
    rows.push({ text: `${clockText(new Date(atMs))} ${text}` });
  }
  rows.push({
    text: `memory ${bytesText(process.rssBytes)} (heap ${bytesText(process.heapBytes)}), CPU ${
      process.cpuSeconds.toFixed(0)
    } s, ${countText(process.openFiles, "open file")}`,
    style: "dim",
  });
  return rows.map((row) => ({ ...row, text: printable(row.text) }));
}

function titleRow({ name, nowMs, role, startedMs, version }: StatusReport): Row {
  const text = `${printableWord(name)}  fairlead ${role} ${version}  up ${
    upText(Math.max(0, nowMs - startedMs))
  }`;
  return { text, style: "bold" };
}

function healthRows({ health, nowMs }: StatusReport): Row[] {
  const { level, problems, text } = health;
  const since = (ms: number | undefined): string =>
    ms === undefined ? "" : ` (for ${ageText(nowMs - ms)})`;
  if (problems.length === 0) {
    return [{ text: text, style: level === "ok" ? "plain" : "warn" }];
  }
  const rows = problems.slice(0, PROBLEMS_SHOWN).map((problem): Row => ({
    text: `${problem.level.toUpperCase()}: ${problem.text}${since(problem.sinceMs)}`,
    style: "warn",
  }));
  const more = problems.length - rows.length;
  return more === 0 ? rows : [...rows, { text: `... and ${more} more`, style: "warn" }];
}

function rateRow(rates: RatesNow | null): Row {
  if (rates === null) return { text: "rates follow with the next look", style: "dim" };
  const { bytesIn, bytesOut, messagesIn, messagesOut } = rates.totals;
  return {
    text: `in ${rateText(messagesIn)} messages/s, ${bytesText(bytesIn)}/s; ` +
      `out ${rateText(messagesOut)} messages/s, ${bytesText(bytesOut)}/s`,
  };
}

function spoolRow(spool: SpoolStatus): Row {
  const { bytes, bytesMax, dropped, lost, messages, oldestMs, state } = spool;
  const share = bytesMax > 0 ? Math.min(1, bytes / bytesMax) : 0;
  const filled = Math.round(share * 20);
  const text = `spool [${"#".repeat(filled).padEnd(20, ".")}] ${bytesText(bytes)} of ${
    bytesText(bytesMax)
  }, ${countText(messages, "message")}, oldest ${
    ageText(oldestMs)
  }, ${dropped} dropped, ${lost} lost`;
  return state === "ok" ? { text } : { text: `${text}, ${state}`, style: "warn" };
}

function sessionRows(
  { nowMs, role }: StatusReport,
  sessions: readonly SessionStatus[],
  rates: RatesNow | null,
): Row[] {
  const rows = sessions.flatMap((row): Row[] => [{
    text: line(row.name, [
      row.state.padEnd(10),
      ageText(nowMs - row.sinceMs).padStart(10),
      rateCell(rates, rateKey("session", row.name)),
      `${row.messagesSent}`.padStart(11),
      `${row.messagesReceived}`.padStart(11),
      `${row.unacknowledged}`.padStart(8),
      `${row.reconnects}`.padStart(6),
      printableWord(row.mode).padEnd(6),
      carriedText(row),
    ]),
    style: isCalm(row.state) ? "plain" : "warn",
  }, ...(row.paths ?? []).map(sessionPathRow)]);
  const heading = line(role === "hub" ? "GATEWAY" : "SESSION", [
    "STATE".padEnd(10),
    "FOR".padStart(10),
    "MSG/S".padStart(8),
    "SENT".padStart(11),
    "RECEIVED".padStart(11),
    "UNACKED".padStart(8),
    "RECONN".padStart(6),
    "MODE".padEnd(6),
    "ADDRESS",
  ]);
  return table(heading, rows);
}

/** Where it goes, and over what. */
function carriedText({ address, connection, transport }: SessionStatus): string {
  const over = connection === undefined ? transport : `${transport} ${connection}`;
  return over === undefined ? printableWord(address) : `${printableWord(address)}  ${over}`;
}

function sessionPathRow(path: SessionPath): Row {
  const { backup, bytesReceived, bytesSent, link, local, remote, rttMs, state } = path;
  const up = state === "established";
  return {
    text: "  " + line(link, [
      (up ? backup ? "backup" : "active" : state).padEnd(10),
      `${rttMs.toFixed(1)} ms`.padStart(10),
      `${bytesText(bytesSent)} sent, ${bytesText(bytesReceived)} received,`,
      `${printableWord(local)} -> ${printableWord(remote)}`,
    ], NAME_COLUMNS - 2),
    style: up ? "plain" : "warn",
  };
}

function upstreamRows(upstreams: readonly UpstreamStatus[]): Row[] {
  const cells = (words: readonly string[]): string[] => words.map((word) => word.padStart(13));
  return table(
    line("HUB", cells(["WAITING", "SENT", "ACKNOWLEDGED", "DROPPED"])),
    upstreams.map(({ acknowledged, dropped, name, sent, waiting }) => ({
      text: line(name, cells([waiting, sent, acknowledged, dropped].map((count) => `${count}`))),
    })),
  );
}

function portRows(
  kind: "input" | "output",
  ports: readonly PortStatus[],
  rates: RatesNow | null,
): Row[] {
  const heading = line(kind.toUpperCase(), [
    "TYPE".padEnd(8),
    "MSG/S".padStart(8),
    "MESSAGES".padStart(11),
    "BYTES".padStart(10),
    "DROPPED".padStart(8),
    "WHERE",
  ]);
  return table(
    heading,
    ports.map((row): Row => ({
      text: line(row.name, [
        printableWord(row.type).padEnd(8),
        rateCell(rates, rateKey(kind, row.name)),
        `${row.messages}`.padStart(11),
        bytesText(row.bytes).padStart(10),
        `${row.dropped}`.padStart(8),
        row.trouble === "" ? row.where : `${row.trouble} (${row.where})`,
      ]),
      style: row.trouble === "" ? "plain" : "warn",
    })),
  );
}

function pathRows({ paths }: StatusReport): Row[] {
  if (paths === undefined) return [];
  const rows: Row[] = paths.map(({ name, state, text }) => ({
    text: line(name, [state.padEnd(10), text]),
  }));
  return [{ text: "" }, ...table(line("PATH", ["STATE"]), rows)];
}

function standbyRows({ saCount, standby }: StatusReport): Row[] {
  if (standby === undefined) return [];
  const [state, text] = standbyWords(standby);
  const lines = standbyLines(standby, SA_COLUMNS, SAS_SHOWN, saCount);
  return [
    { text: "" },
    { text: line("STANDBY", [state, text]), style: "bold" },
    ...lines.filter((text) => text !== "").map((text): Row => ({ text })),
  ];
}

function overlayRows({ nowMs, overlay, overlays }: StatusReport): Row[] {
  if (overlay === undefined) return [];
  const rows: Row[] = [];
  if (overlay.role === "om") {
    const heading = line("OVERLAY", [
      ...["STATE".padEnd(10), "FOR".padStart(8), "TOPOLOGY".padEnd(8)],
      ...["NODES".padStart(6), "LINKS".padStart(6), "TROUBLE"],
    ]);
    const body = overlays.map(({ counts, name, progress, sinceMs, state, topology, trouble }) => ({
      text: line(name, [
        ...[state.padEnd(10), ageText(nowMs - sinceMs).padStart(8)],
        printableWord(topology).padEnd(8),
        ...[`${counts.nodes}`.padStart(6), `${counts.links}`.padStart(6)],
        trouble || progress || "-",
      ]),
      style: trouble === "" ? "plain" : "warn",
    } as const));
    rows.push({ text: "" }, ...table(heading, body));
  }
  if (overlay.resource !== null) {
    const heading = line("LENT", [
      ...["STATE".padEnd(10), "FOR".padStart(8), "LEASE".padStart(8)],
      ...["MANAGER".padEnd(NAME_COLUMNS), "DRIFT"],
    ]);
    const body = overlay.resource.overlays.map((row) => ({
      text: line(row.name, [
        ...[row.state.padEnd(10), ageText(nowMs - row.sinceMs).padStart(8)],
        (Number.isFinite(row.untilMs) ? ageText(row.untilMs - nowMs) : "no end").padStart(8),
        cut(printableWord(row.manager), NAME_COLUMNS).padEnd(NAME_COLUMNS),
        row.drift[0] ?? "-",
      ]),
      style: row.drift.length === 0 ? "plain" : "warn",
    } as const));
    rows.push({ text: "" }, ...table(heading, body));
  }
  return rows;
}

function table(heading: string, rows: Row[]): Row[] {
  const body: Row[] = rows.length === 0 ? [{ text: "none yet", style: "dim" }] : rows;
  return [{ text: heading, style: "bold" }, ...body];
}

function line(name: string, cells: readonly string[], columns = NAME_COLUMNS): string {
  return [cut(printableWord(name), columns).padEnd(columns), ...cells].join(" ");
}

function rateCell(rates: RatesNow | null, key: string): string {
  const rate = rates?.rows.get(key);
  return (rate === undefined ? "-" : rateText(rate)).padStart(8);
}

function rateText(rate: number): string {
  return rate.toFixed(rate < 10 ? 1 : 0);
}

/** `12 s`, `4 min`, `5 h`, `3 d`. */
function ageText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** `0:00:12`, `3 d 4:05:06`. */
function upText(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const days = Math.floor(seconds / 86_400);
  const two = (value: number): string => `${value % 60}`.padStart(2, "0");
  const clock = `${Math.floor(seconds / 3600) % 24}:${two(Math.floor(seconds / 60))}:${
    two(seconds)
  }`;
  return days > 0 ? `${days} d ${clock}` : clock;
}
