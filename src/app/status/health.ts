/**
 * What a snapshot means: is all well, and if not, what is wrong. Pure functions; the status page,
 * the terminal and the probes of `/healthz` and `/readyz` all tell the same.
 *
 * @module
 */
import { worstSas } from "../standby/standby_table.ts";
import {
  overlayCalm,
  type OverlayLine,
  overlayLinesOf,
  overlayProblems,
  shortenedOverlays,
} from "./overlay_report.ts";
import type { StandbyView } from "../standby/standby_view.ts";
import type { Alarm, PortStatus, SessionStatus, Snapshot } from "./snapshot.ts";

/** Something that is wrong, in a sentence. */
export interface Problem {
  level: "error" | "warning";
  text: string;
  /** Since when, where that is known. */
  sinceMs?: number;
}

/** The whole in one sentence, and all that is wrong, worst first. */
export interface Health {
  level: "ok" | "warning" | "error";
  text: string;
  problems: Problem[];
}

/** Counts of a whole box: what came in, and what was passed on. */
export interface Totals {
  messagesIn: number;
  bytesIn: number;
  messagesOut: number;
  bytesOut: number;
}

/**
 * What `/api/status` answers; of the SAs of a standby it has those that are furthest behind, of an overlay
 * the nodes and links that are not well.
 */
export interface StatusReport extends Snapshot {
  health: Health;
  totals: Totals;
  /** How many SAs there are; 0 without a standby. */
  saCount: number;
  /** A line for each overlay of a manager. */
  overlays: OverlayLine[];
}

/** A pair may have thousands of SAs, and the report goes out each second. */
const SAS_REPORTED = 10;

/** States of a session in which nothing is wrong: there may be nothing to say. */
const CALM_STATES: readonly string[] = ["ready", "standby"];

/** True when nothing is wrong with a session in this state. */
export function isCalm(state: string): boolean {
  return CALM_STATES.includes(state);
}

/** Codes of alarms: what must be written cannot be, or an input or output that was there is not. */
const BROKEN = /^(spool_fails|hub_database|overlay_record|input_closed|output_.+)$/;

/** A snapshot with its meaning. */
export function statusReport(snapshot: Snapshot): StatusReport {
  const { overlay, standby } = snapshot;
  return {
    ...snapshot,
    ...(standby === undefined ? {} : { standby: shortened(standby) }),
    ...(overlay === undefined ? {} : { overlay: shortenedOverlays(overlay) }),
    overlays: overlayLinesOf(overlay),
    saCount: standby?.ipsec?.sas.length ?? 0,
    health: health(snapshot),
    totals: totals(snapshot),
  };
}

function shortened(standby: StandbyView): StandbyView {
  const { ipsec } = standby;
  if (ipsec === null) return standby;
  return { ...standby, ipsec: { ...ipsec, sas: worstSas(ipsec.sas, SAS_REPORTED) } };
}

/** Is all well; the text holds no number that changes by itself, so that it can be read out. */
export function health(snapshot: Snapshot): Health {
  const problems = problemsOf(snapshot);
  const worst = problems[0];
  if (worst === undefined) return { level: "ok", text: calmText(snapshot), problems };
  const { level, text } = worst;
  return { level, text, problems };
}

/** Sums over inputs, outputs and sessions. A gateway has passed on what a hub acknowledged. */
export function totals({ role, sessions, inputs, outputs, upstreams }: Snapshot): Totals {
  const received = sum(sessions, ({ messagesReceived }) => messagesReceived);
  const receivedBytes = sum(sessions, ({ bytesReceived }) => bytesReceived);
  const sent = sum(sessions, ({ messagesSent }) => messagesSent);
  if (role === "hub") {
    return {
      messagesIn: received,
      bytesIn: receivedBytes,
      messagesOut: sum(outputs ?? [], ({ messages }) => messages),
      bytesOut: sum(outputs ?? [], ({ bytes }) => bytes),
    };
  }
  return {
    messagesIn: sum(inputs ?? [], ({ messages }) => messages),
    bytesIn: sum(inputs ?? [], ({ bytes }) => bytes),
    messagesOut: upstreams === undefined ? sent : sum(upstreams, (hub) => hub.acknowledged),
    bytesOut: sum(sessions, ({ bytesSent }) => bytesSent),
  };
}

/**
 * The alarms that mean that this process does not work. Others of level error tell of the far end,
 * of what is over, or of a bound that was reached: who restarts a process because of them loses.
 */
export function faults({ alarms }: Pick<Snapshot, "alarms">): Alarm[] {
  return alarms.filter(({ code, level }) => level === "error" && BROKEN.test(code));
}

function problemsOf(snapshot: Snapshot): Problem[] {
  const { alarms, inputs = [], outputs = [], overlay, ready, sessions } = snapshot;
  // What an alarm tells in its own words is not told twice.
  const told = (what: string): boolean => alarms.some(({ text }) => text.includes(what));
  const problems: Problem[] = [
    ...ranked(alarms, "error"),
    ...ranked(alarms, "warning"),
    ...troubles("Input", inputs.filter(({ trouble }) => !told(trouble))),
    ...troubles("Output", outputs.filter(({ trouble }) => !told(trouble))),
    ...sessions.filter(({ name, state }) => !isCalm(state) && !(state === "refused" && told(name)))
      .map((session) => awayProblem(snapshot, session)),
  ];
  if (overlay !== undefined) {
    const found = overlayProblems(overlay, told);
    const errors = problems.filter(({ level }) => level === "error").length;
    problems.splice(errors, 0, ...found.filter(({ level }) => level === "error"));
    problems.push(...found.filter(({ level }) => level === "warning"));
  }
  if (!ready && problems.length === 0) {
    problems.push({ level: "warning", text: "Not ready: it is starting or stopping" });
  }
  return problems;
}

/** Oldest first: what went wrong first is often why the rest did. */
function ranked(alarms: readonly Alarm[], wanted: Alarm["level"]): Problem[] {
  return alarms.filter(({ level }) => level === wanted)
    .sort((a, b) => a.sinceMs - b.sinceMs)
    .map(({ level, text, sinceMs }) => ({ level, text, sinceMs }));
}

function troubles(what: string, ports: readonly PortStatus[]): Problem[] {
  return ports.filter(({ trouble }) => trouble !== "").map(({ name, required, trouble }) => ({
    level: required === true ? "error" : "warning",
    text: `${what} ${name}: ${trouble}`,
  }));
}

function awayProblem({ role, spool }: Snapshot, session: SessionStatus): Problem {
  const { name, state, sinceMs } = session;
  const kept = role === "gateway" && spool?.state === "ok"
    ? "; messages are kept until it is back"
    : "";
  return { level: "warning", text: `No connection with ${name} (${state})${kept}`, sinceMs };
}

function calmText({ overlay, role, sessions, standby }: Snapshot): string {
  if (overlay !== undefined) return overlayCalm(overlay);
  if (standby !== undefined) {
    if (standby.role !== "active") return "All is well: this box can take over from the other one";
    if (role === "standby") {
      return "All is well: this box is active, and the other one can take over";
    }
  }
  if (role === "gateway") return "All is well: messages are taken and passed on";
  if (sessions.length === 0) return "All is well: waiting for the first gateway";
  return "All is well: messages arrive and are handed on";
}

function sum<T>(rows: readonly T[], count: (row: T) => number): number {
  return rows.reduce((total, row) => total + count(row), 0);
}
