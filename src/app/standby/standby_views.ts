/**
 * Makes the view of a standby daemon, and keeps the last minutes of its lag.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { SaView } from "../../proto/xfrm/sa_table.ts";
import { SyncVerdict } from "../../proto/standby/sync_stream.ts";
import type { Cargo } from "./cargo.ts";
import type { StandbyService } from "./standby_service.ts";
import type { LagPoint, StandbyView } from "./standby_view.ts";

const POINT_MS = 1000;
/** Five minutes. */
const POINTS_MAX = 300;

/** Looks at a service. */
export class StandbyViews {
  readonly #service: StandbyService;
  readonly #cargo: Cargo | null;
  readonly #points: LagPoint[] = [];
  readonly #timer: ReturnType<typeof setInterval>;

  /** @param cargo what goes along with the associations */
  constructor(service: StandbyService, cargo: Cargo | null) {
    this.#service = service;
    this.#cargo = cargo;
    this.#timer = setInterval(() => this.#point(), POINT_MS);
  }

  /** The view of this moment. */
  take(): StandbyView {
    const { config, counts, election, flow: { out }, guard } = this.#service;
    const { receiver } = this.#service.in;
    const now = nowMs();
    const { peer } = election;
    const judged = (verdict: number): number => receiver.counts[verdict]!;
    return {
      group: config.group,
      box: config.box,
      mode: config.role,
      role: election.role,
      term: election.term,
      ready: election.ready,
      split: election.split,
      takeovers: counts.takeovers,
      takeoverMs: counts.takeoverMs,
      takeoverProblems: counts.takeoverProblems,
      peer: {
        address: config.peer,
        box: peer.box,
        reached: this.#service.reaches("peer"),
        role: peer.role,
        term: peer.term,
        roundTripMs: peer.roundTripMs,
        heardMsAgo: Number.isFinite(peer.heardMs) ? now - peer.heardMs : -1,
      },
      witness: config.witness === null ? null : {
        address: config.witness,
        reached: this.#service.reaches("witness"),
        refusal: election.refusal,
        leaseLeftMs: Math.max(0, Number.isFinite(guard.untilMs) ? guard.untilMs - now : 0),
      },
      fence: { there: guard.fenced, open: guard.untilMs > now, dropped: guard.dropped },
      addresses: {
        taken: this.#service.hasAddresses,
        list: config.addresses.map(({ address, interface: name }) => `${address} ${name}`),
      },
      sync: {
        synced: election.role === "active" ? this.#service.flow.isSynced : election.ready,
        sent: out.sent,
        acked: out.acked,
        unackedBytes: out.unackedBytes,
        bytesSent: out.bytes,
        snapshots: out.snapshots,
        held: receiver.holds,
        bytesHeld: this.#service.in.bytes,
        staleTerm: judged(SyncVerdict.StaleTerm) + judged(SyncVerdict.UnknownTerm),
        duplicates: judged(SyncVerdict.Duplicate),
        gaps: judged(SyncVerdict.Gap),
        refused: receiver.bad,
        resyncs: receiver.resyncs,
      },
      ipsec: this.#ipsec(now),
      cargo: this.#cargo?.view ?? null,
      lag: [...this.#points],
    };
  }

  /** Ends looking. */
  close(): void {
    clearInterval(this.#timer);
  }

  #ipsec(now: number): StandbyView["ipsec"] {
    const { associations, config } = this.#service;
    if (associations === null) return null;
    const { kernel, mirror } = associations;
    return {
      sas: this.#sas(now),
      kernelSas: kernel.countSas(),
      policies: mirror.policyCount,
      events: kernel.events,
      overruns: kernel.overruns,
      dumps: mirror.counts.resyncs,
      inbound: config.inbound,
    };
  }

  #sas(now: number): SaView[] {
    const { associations, config, election } = this.#service;
    if (associations === null) return [];
    // How long a takeover takes to be decided, in which the other box may still send.
    const exposedMs = config.role === "auto" ? config.leaseMs : config.deadMs;
    const { mirror, store } = associations;
    return (election.role === "active" ? mirror : store).views(now, exposedMs);
  }

  #point(): void {
    let lagMs = 0;
    let lagPackets = 0;
    let packetsPerSecond = 0;
    for (const sa of this.#sas(nowMs())) {
      lagMs = Math.max(lagMs, sa.lagMs);
      lagPackets += sa.lagPackets;
      packetsPerSecond += sa.packetsPerSecond;
    }
    this.#points.push({ atMs: Date.now(), lagMs, lagPackets, packetsPerSecond });
    if (this.#points.length > POINTS_MAX) this.#points.shift();
  }
}
