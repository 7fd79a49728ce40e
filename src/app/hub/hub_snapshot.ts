/**
 * What a hub tells about itself: a {@linkcode Snapshot} of its parts.
 *
 * @module
 */
import type { Session } from "../../proto/msgr2/session.ts";
import { addressText } from "../address_text.ts";
import {
  senderStatus,
  sessionStatus,
  transportStatus,
  upstreamStatus,
} from "../gateway/gateway_snapshot.ts";
import type { Alarms, Journal } from "../status/journal.ts";
import { faults } from "../status/health.ts";
import { processStatus } from "../status/process_stat.ts";
import type { PortStatus, SessionStatus, Snapshot } from "../status/snapshot.ts";
import { VERSION } from "../version.ts";
import type { HubService } from "./hub_service.ts";

/** Sessions told at most: a page with thousands of rows helps nobody. */
const SESSIONS_MAX = 256;

/** Makes snapshots of one hub. */
export class HubSnapshots {
  readonly #service: HubService;
  readonly #journal: Journal;
  readonly #alarms: Alarms;
  readonly #startedMs = Date.now();
  readonly #since = new WeakMap<Session, { state: string; atMs: number }>();

  /** @param service what to tell about */
  constructor(service: HubService, journal: Journal, alarms: Alarms) {
    this.#service = service;
    this.#journal = journal;
    this.#alarms = alarms;
  }

  /** How it is now. */
  take(): Snapshot {
    const { config, hub, pathsOf, senders } = this.#service;
    const forwarding = [...senders.values()];
    return {
      role: "hub",
      name: config.name,
      version: VERSION,
      nowMs: Date.now(),
      startedMs: this.#startedMs,
      ready: faults({ alarms: this.#alarms.list() }).length === 0,
      alarms: this.#alarms.list(),
      sessions: [
        ...hub.sessions().slice(0, SESSIONS_MAX).map(([name, session]) =>
          this.#session(name, session)
        ),
        ...forwarding.map((sender) => senderStatus(sender, pathsOf)),
      ],
      outputs: this.#outputs(),
      ...(forwarding.length > 0 ? { upstreams: forwarding.map(upstreamStatus) } : {}),
      events: this.#journal.events(),
      process: processStatus(),
    };
  }

  #session(name: string, session: Session): SessionStatus {
    const { lastFault, stateName } = session;
    let since = this.#since.get(session);
    if (since === undefined || since.state !== stateName) {
      since = { state: stateName, atMs: Date.now() };
      this.#since.set(session, since);
    }
    return {
      ...sessionStatus(name, session),
      address: addressText(session.connection?.peer ?? session.peerAddrs),
      ...transportStatus(this.#service.hub.transportOf(session), this.#service.pathsOf),
      sinceMs: since.atMs,
      history: lastFault === "" ? [] : [{ atMs: since.atMs, text: lastFault }],
    };
  }

  #outputs(): PortStatus[] {
    return [...this.#service.outputs].map(([name, { output, type }]) => ({
      name,
      type,
      where: output.where,
      trouble: output.trouble,
      messages: output.counts.messages,
      bytes: output.counts.bytes,
      dropped: output.counts.dropped,
      required: output.required,
    }));
  }
}
