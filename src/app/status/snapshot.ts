/**
 * What a gateway or a hub tells about itself: one plain object, the source of the status page, of
 * `/metrics`, of `fairlead top` and of `--json`. Counters count from the start of the process; times
 * are ms since 1970; a member that does not apply is absent.
 *
 * @module
 */
import type { OverlayDaemonView } from "../overlay/overlay_view.ts";
import type { StandbyView } from "../standby/standby_view.ts";

/** Something that an operator should know about until it is over. */
export interface Alarm {
  /** A word for programs: `spool_full`, `hub_refused`, `clock_jump`. */
  code: string;
  /** `error`: work stands still or something was lost. `warning`: it may soon. */
  level: "error" | "warning";
  sinceMs: number;
  /** One sentence with the remedy. */
  text: string;
}

/** One path of a session: a subflow of its MPTCP connection. */
export interface SessionPath {
  /** Interface that has the local address; empty when none has. */
  link: string;
  /** `ADDRESS:PORT`, `[ADDRESS]:PORT`. */
  local: string;
  remote: string;
  /** Of the subflow's TCP connection: `established`, `closing`, …: words of ss(8). */
  state: string;
  /** Carries data only when no other path can. */
  backup: boolean;
  rttMs: number;
  bytesSent: number;
  bytesReceived: number;
}

/** Tells the paths of an MPTCP connection by the kernel's token; none when it is not known. */
export type PathsOf = (token: number) => SessionPath[];

/** A session with a hub, or of a gateway. */
export interface SessionStatus {
  /** Name of the peer: its key in the configuration, or its authenticated name. */
  name: string;
  /** `ready`, `connecting`, …: the session's own word; `refused` when the peer wants no messages. */
  state: string;
  mode: string;
  address: string;
  /** `mptcp`, `tcp`, or why it is TCP though MPTCP was offered; absent without a connection. */
  transport?: string;
  /** The kernel's token of its MPTCP connection: `0x1b2c3d4e`. */
  connection?: string;
  /** Paths of that connection, where somebody tells them. */
  paths?: SessionPath[];
  /** When it became what it is now. */
  sinceMs: number;
  messagesSent: number;
  messagesReceived: number;
  bytesSent: number;
  bytesReceived: number;
  unacknowledged: number;
  reconnects: number;
  /** Its last connections that broke, newest last, ten at most. */
  history: { atMs: number; text: string }[];
}

/** An input of a gateway, or an output of a hub. */
export interface PortStatus {
  name: string;
  type: string;
  where: string;
  /** Empty when all is well. */
  trouble: string;
  messages: number;
  bytes: number;
  dropped: number;
  /** Inputs only. */
  refused?: number;
  clients?: number;
  waiting?: number;
  /** Outputs only. */
  required?: boolean;
}

/** Where messages wait. */
export interface SpoolStatus {
  /** `disk` or `ram`. */
  place: string;
  id: string;
  state: "ok" | "full" | "failed";
  /** Messages that wait for some hub, and their bytes. */
  messages: number;
  bytes: number;
  bytesMax: number;
  /** Age of the oldest one; 0 when it is empty. */
  oldestMs: number;
  committed: number;
  dropped: number;
  /** Lost to a damaged database. */
  lost: number;
  /** Bytes written to disk for each message committed; 0 in memory. */
  bytesWrittenPerMessage: number;
  commits: number;
}

/** A hub that messages go to. */
export interface UpstreamStatus {
  name: string;
  /** Messages that wait for it. */
  waiting: number;
  sent: number;
  acknowledged: number;
  /** Lossy ones that were dropped. */
  dropped: number;
}

/** All of it. */
export interface Snapshot {
  role: "gateway" | "hub" | "standby" | "overlay";
  name: string;
  version: string;
  nowMs: number;
  startedMs: number;
  /** `/readyz`: takes messages and can pass them on or keep them. */
  ready: boolean;
  alarms: Alarm[];
  sessions: SessionStatus[];
  inputs?: PortStatus[];
  outputs?: PortStatus[];
  spool?: SpoolStatus;
  upstreams?: UpstreamStatus[];
  /** Paths of the path manager, when it runs, and the other box of a pair. */
  paths?: { name: string; state: string; text: string }[];
  standby?: StandbyView;
  /** A resource daemon or a manager of overlays. */
  overlay?: OverlayDaemonView;
  /** The last events, newest last, fifty at most. */
  events: { atMs: number; text: string }[];
  process: { rssBytes: number; heapBytes: number; cpuSeconds: number; openFiles: number };
}
