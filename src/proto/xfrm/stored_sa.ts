/**
 * An SA of the active box as the standby holds it: bodies as they came, and what was read of them.
 * Numbers never fall.
 *
 * @module
 */
import { XfrmSaId } from "../../wire/netlink/xfrm.ts";
import type { XfrmAevent } from "../../wire/netlink/xfrm_aevent.ts";
import type { XfrmSa } from "../../wire/netlink/xfrm_sa.ts";
import type { SaHead, SaStateHead, Thresholds } from "../../wire/standby/sa_record.ts";
import { windowOf } from "./mirrored_sa.ts";
import { KeptBody } from "./sa_body.ts";
import type { Directed } from "./sa_direction.ts";
import { Rate } from "./sa_rate.ts";

/** One row of the store. */
export class StoredSa implements Directed {
  readonly id: XfrmSaId = new XfrmSaId();
  readonly key: string;
  readonly saddr: Uint8Array;
  readonly saDir: number;
  readonly addTime: number;
  /** A ReplayKind, and words of its bitmap: a state of another kind is not this SA's. */
  readonly kind: number;
  readonly words: number;
  /** Body of the NEWSA. */
  readonly body: KeptBody = new KeptBody();
  /** Body of the NEWAE that is newer; none when the NEWSA is. */
  readonly state: KeptBody = new KeptBody();
  /** Packets below `seq` that it tells apart. */
  window: number;
  thresholds: Thresholds = { packets: 0, timerMs: 0 };
  peakIn = 0;
  peakOut = 0;
  oseq: number;
  seq: number;
  bytes: number;
  packets: number;
  useTime: number;
  drops = 0;
  /** When its newest event came to the active box, by this box's clock; -1 is never. */
  eventMs = -1;
  /** The snapshot that had it last. */
  snapshot = 0;
  #states: Rate | null = null;
  #moves: Rate | null = null;
  #movedMs: number;

  constructor(sa: XfrmSa, key: string, nowMs: number) {
    this.id.copy(sa.id);
    this.key = key;
    this.saddr = sa.saddr.slice();
    this.saDir = sa.direction;
    this.addTime = sa.addTime;
    this.kind = sa.replay.kind;
    this.words = sa.replay.words;
    this.window = windowOf(sa);
    this.oseq = sa.replay.oseq;
    this.seq = sa.replay.seq;
    this.bytes = sa.bytes;
    this.packets = sa.packets;
    this.useTime = sa.useTime;
    this.#movedMs = nowMs;
  }

  /** What an Sa record says beside its numbers. */
  takeHead(head: SaHead, sa: XfrmSa): void {
    const { packets, timerMs } = head;
    this.thresholds = { packets, timerMs };
    this.drops = sa.replayDrops + sa.windowDrops;
    this.window = windowOf(sa);
    this.peakIn = Math.max(this.peakIn, head.peakIn);
    this.peakOut = Math.max(this.peakOut, head.peakOut);
  }

  /** What an SaState record says beside them. */
  takeStateHead(head: SaStateHead, nowMs: number): void {
    this.peakIn = Math.max(this.peakIn, head.peakIn);
    this.peakOut = Math.max(this.peakOut, head.peakOut);
    this.eventMs = nowMs - head.ageMs;
    (this.#states ??= new Rate()).add(1, nowMs, nowMs);
  }

  /** Whether numbers are no lower than those held. */
  isNewer(oseq: number, seq: number): boolean {
    return oseq >= this.oseq && seq >= this.seq;
  }

  /** Takes figures, each only upwards. */
  take(figures: XfrmSa | XfrmAevent, nowMs: number): void {
    const { oseq, seq } = figures.replay;
    const moved = Math.max(oseq - this.oseq, 0) + Math.max(seq - this.seq, 0);
    if (moved > 0) {
      (this.#moves ??= new Rate()).add(moved, this.#movedMs, nowMs);
      this.#movedMs = nowMs;
    }
    this.oseq = Math.max(this.oseq, oseq);
    this.seq = Math.max(this.seq, seq);
    this.bytes = Math.max(this.bytes, figures.bytes);
    this.packets = Math.max(this.packets, figures.packets);
    this.useTime = Math.max(this.useTime, figures.useTime);
  }

  /** Records in the last second that told where it is. */
  eventsPerSecond(nowMs: number): number {
    return this.#states?.perSecond(nowMs) ?? 0;
  }

  /** Packets that they told. */
  packetsPerSecond(nowMs: number): number {
    return this.#moves?.perSecond(nowMs) ?? 0;
  }
}
