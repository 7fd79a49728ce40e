/**
 * What a gateway tells about itself: rows of its live view, counts for programs, and a note when
 * its queue fills up or has room again.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";
import { countText } from "./count_text.ts";
import type { EventLog } from "./event_log.ts";
import type { Hub } from "./hub.ts";
import { inputHints, type Inputs } from "./inputs.ts";
import type { Row } from "./live_view.ts";
import { printableWord } from "./printable.ts";
import { bytesText, type Readings } from "./readings.ts";
import type { RecentMessages } from "./recent_messages.ts";
import { SessionTable } from "./session_table.ts";
import { statusRows, upText } from "./status_view.ts";
import type { Uplink } from "./uplink.ts";

const HUB_SESSIONS_SHOWN = 3;

/** The parts of a gateway. */
export interface GatewayParts {
  readonly name: string;
  readonly target: string;
  readonly hub: Hub | null;
  readonly uplink: Uplink;
  readonly inputs: Inputs | null;
  readonly readings: Readings | null;
  readonly recent: RecentMessages | null;
  readonly log: EventLog;
}

/** Counts of a gateway as `--json` prints them. */
export interface GatewayCounts {
  state: string;
  accepted: number;
  unacknowledged: number;
  queue_bytes: number;
  queue_full: boolean;
  reconnects: number;
  udp_lines: number;
  udp_dropped: number;
  tcp_lines: number;
  tcp_clients: number;
  tcp_waiting: number;
  lines_too_long: number;
  readings: number;
  readings_dropped: number;
}

/** Reads the parts, and tells. */
export class GatewayStatus {
  readonly #parts: GatewayParts;
  readonly #table = new SessionTable();
  readonly #startMs = nowMs();
  #toldFull = false;
  #droppedBefore = 0;

  /** @param parts what to tell about */
  constructor(parts: GatewayParts) {
    this.#parts = parts;
  }

  /** Looks at the counts: call it about once a second. */
  async update(): Promise<void> {
    const { inputs, log, uplink } = this.#parts;
    await inputs?.update();
    const { unacknowledged, outbox } = uplink.session;
    if (uplink.full && !this.#toldFull) {
      this.#toldFull = true;
      log.note(
        `Queue to the hub is full (${countText(unacknowledged, "message")}, ${
          bytesText(outbox.bytes)
        }): ` +
          "UDP lines are dropped, TCP waits",
      );
    } else if (!uplink.full && this.#toldFull) {
      this.#toldFull = false;
      log.note(
        `Queue to the hub has room again: ${
          countText(
            this.#dropped - this.#droppedBefore,
            "UDP line was dropped",
            "UDP lines were dropped",
          )
        }`,
      );
      this.#droppedBefore = this.#dropped;
    }
  }

  /** Rows of the live view. */
  rows(rows: number): Row[] {
    const { hub, inputs, log, name, recent, target, uplink } = this.#parts;
    const sessions = [
      [hub === null ? printableWord(name) : "gateway", uplink.session] as const,
      ...(hub?.sessions() ?? []).slice(0, HUB_SESSIONS_SHOWN).map(([peer, session]) =>
        [`hub: ${peer}`, session] as const
      ),
    ];
    return statusRows({
      title: `fairlead gateway  to ${hub === null ? "hub" : "embedded hub"} ${target}  up ${
        upText(nowMs() - this.#startMs)
      }`,
      hints: [...inputHints(inputs), "Stop: Ctrl-C"],
      table: this.#table.rows(sessions, sessions.length),
      notes: this.#notes(),
      recent,
      log,
    }, rows);
  }

  /** All counts. */
  counts(): GatewayCounts {
    const { inputs, readings, uplink } = this.#parts;
    const { session } = uplink;
    return {
      state: session.stateName,
      accepted: uplink.accepted,
      unacknowledged: session.unacknowledged,
      queue_bytes: session.outbox.bytes,
      queue_full: uplink.full,
      reconnects: session.reconnects,
      udp_lines: inputs?.udpLines ?? 0,
      udp_dropped: this.#dropped,
      tcp_lines: inputs?.tcpLines ?? 0,
      tcp_clients: inputs?.clients ?? 0,
      tcp_waiting: inputs?.waitingClients ?? 0,
      lines_too_long: inputs?.tooLong ?? 0,
      readings: readings?.sent ?? 0,
      readings_dropped: readings?.dropped ?? 0,
    };
  }

  /** What never reached the queue, in a sentence; empty when nothing was lost. */
  lossText(): string {
    const { inputs, readings } = this.#parts;
    const parts = [
      [this.#dropped, "UDP line was dropped", "UDP lines were dropped"],
      [inputs?.tooLong ?? 0, "line was longer than 64 KiB", "lines were longer than 64 KiB"],
      [inputs?.tcpRefused ?? 0, "TCP connection was refused", "TCP connections were refused"],
      [
        inputs?.tcpBroken ?? 0,
        "TCP connection broke off within a line",
        "TCP connections broke off within a line",
      ],
      [readings?.dropped ?? 0, "reading was dropped", "readings were dropped"],
    ] as const;
    const lost = parts.filter(([count]) => count > 0).map(([count, one, many]) =>
      countText(count, one, many)
    );
    return lost.length === 0 ? "" : `Not taken: ${lost.join(", ")}`;
  }

  /** Dropped by us and by the kernel. */
  get #dropped(): number {
    const { inputs } = this.#parts;
    return inputs === null ? 0 : inputs.udpDropped + inputs.udpMissed;
  }

  #notes(): Row[] {
    const { inputs, uplink } = this.#parts;
    const counts = this.counts();
    const { outbox } = uplink.session;
    const parts = [
      `queue ${bytesText(outbox.bytes)} of ${bytesText(outbox.bytesMax)}`,
      ...(inputs === null ? [] : [
        `UDP ${counts.udp_lines} lines, ${counts.udp_dropped} dropped`,
        `TCP ${counts.tcp_lines} lines, ${counts.tcp_clients} clients, ${counts.tcp_waiting} waiting`,
      ]),
      `readings ${counts.readings}`,
    ];
    const lost = this.lossText();
    return [
      { text: parts.join("; "), style: uplink.full ? "warn" : "plain" },
      ...(lost === "" ? [] : [{ text: lost, style: "warn" } as const]),
    ];
  }
}
