/**
 * An SA of this box as it is mirrored: the newest body of each kind, and how fast it moves.
 *
 * @module
 */
import { XfrmSaId } from "../../wire/netlink/xfrm.ts";
import type { XfrmAevent } from "../../wire/netlink/xfrm_aevent.ts";
import { ReplayKind } from "../../wire/netlink/xfrm_replay.ts";
import type { XfrmSa } from "../../wire/netlink/xfrm_sa.ts";
import type { Directed } from "./sa_direction.ts";
import { KeptBody } from "./sa_body.ts";
import { SaLag } from "./sa_lag.ts";
import { Watched } from "./sa_orders.ts";
import { Rate, RATE_MS } from "./sa_rate.ts";

/** One row of the mirror. */
export class MirroredSa extends Watched implements Directed {
  readonly key: string;
  readonly saddr: Uint8Array;
  readonly saDir: number;
  readonly addTime: number;
  /** The newest body of a NEWSA. */
  readonly body: KeptBody = new KeptBody();
  /** The newest body of a NEWAE; none when that of the NEWSA is newer. */
  readonly state: KeptBody = new KeptBody();
  readonly lag: SaLag = new SaLag();
  oseq = 0;
  seq = 0;
  bytes = 0;
  packets = 0;
  drops = 0;
  /** When it moved last, as far as is known. */
  movedMs: number;
  /** When the last event came; -1 is never. */
  eventMs = -1;
  /** The dump that had it last. */
  dump = 0;
  /** The standby was sent it. */
  sent = false;
  #sending: Rate | null = null;
  #receiving: Rate | null = null;
  #events: Rate | null = null;
  /** How fast it went with the other box, until it has moved here for as long as rates are kept. */
  #peakOutBefore = 0;
  #peakInBefore = 0;
  #beforeUntilMs = Infinity;

  constructor(sa: XfrmSa, key: string, nowMs: number) {
    const id = new XfrmSaId();
    id.copy(sa.id);
    super(id);
    this.key = key;
    this.saddr = sa.saddr.slice();
    this.saDir = sa.direction;
    this.addTime = sa.addTime;
    this.oseq = sa.replay.oseq;
    this.seq = sa.replay.seq;
    this.movedMs = nowMs;
  }

  /** Takes the figures of an SA; false when they are older than what is known. */
  takeSa(sa: XfrmSa, nowMs: number): boolean {
    this.drops = sa.replayDrops + sa.windowDrops;
    return this.#take(sa.replay.oseq, sa.replay.seq, sa, nowMs);
  }

  /** Takes those of an event; false when they are older. */
  takeAevent(event: XfrmAevent, nowMs: number): boolean {
    this.eventMs = nowMs;
    (this.#events ??= new Rate()).add(1, nowMs, nowMs);
    // Its packets and bytes lack the one that made it: they only ever raise what is known.
    return this.#take(event.replay.oseq, event.replay.seq, event, nowMs);
  }

  /** Numbers sent and received: one of them, as an SA has one direction. */
  get total(): number {
    return this.oseq + this.seq;
  }

  /** Packets that it sent at the most in a tenth of a second, per second. */
  peakOut(nowMs: number): number {
    const before = nowMs < this.#beforeUntilMs ? this.#peakOutBefore : 0;
    return Math.max(this.#sending?.peakPerSecond(nowMs) ?? 0, before);
  }

  /** The same of those received. */
  peakIn(nowMs: number): number {
    const before = nowMs < this.#beforeUntilMs ? this.#peakInBefore : 0;
    return Math.max(this.#receiving?.peakPerSecond(nowMs) ?? 0, before);
  }

  /** The other box, from which it was taken over, had measured that. */
  takePeaks(peakOut: number, peakIn: number): void {
    this.#peakOutBefore = peakOut;
    this.#peakInBefore = peakIn;
    this.#beforeUntilMs = Infinity;
  }

  /** Packets in the last second. */
  packetsPerSecond(nowMs: number): number {
    return (this.#sending?.perSecond(nowMs) ?? 0) + (this.#receiving?.perSecond(nowMs) ?? 0);
  }

  /** Events in the last second. */
  eventsPerSecond(nowMs: number): number {
    return this.#events?.perSecond(nowMs) ?? 0;
  }

  #take(
    oseq: number,
    seq: number,
    { bytes, packets }: { readonly bytes: number; readonly packets: number },
    nowMs: number,
  ): boolean {
    if (oseq < this.oseq || seq < this.seq) return false;
    const sent = oseq - this.oseq;
    const received = seq - this.seq;
    if (sent > 0) (this.#sending ??= new Rate()).add(sent, this.movedMs, nowMs);
    if (received > 0) (this.#receiving ??= new Rate()).add(received, this.movedMs, nowMs);
    if (sent + received > 0) {
      this.movedMs = nowMs;
      this.#beforeUntilMs = Math.min(this.#beforeUntilMs, nowMs + RATE_MS);
    }
    this.oseq = oseq;
    this.seq = seq;
    this.bytes = Math.max(this.bytes, bytes);
    this.packets = Math.max(this.packets, packets);
    return true;
  }
}

/** Packets below the newest number that an SA tells apart; 0: it does not look at numbers at all. */
export function windowOf({ replay, replayWindow }: XfrmSa): number {
  return replay.kind === ReplayKind.Esn ? replay.window : replayWindow;
}

/** An SPI that was only reserved has no algorithm; nor has what the kernel makes for IPCOMP. */
export function isLarval({ aead, auth, crypt, comp }: XfrmSa): boolean {
  return aead.name === "" && auth.name === "" && crypt.name === "" && comp.name === "";
}
