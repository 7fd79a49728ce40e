/**
 * An XFRM kernel as a function from requests to replies, with what a real one does: thresholds by
 * count and by timer (which tells at once after an idle period, and never starts on an SA that was
 * made without it), lifetimes that lag an event by one packet, legacy and ESN windows, wrong kinds
 * ignored, events lost when nobody reads them.
 */
import assert from "node:assert/strict";
import { newRegion, regionOf } from "../../src/mem/region.ts";
import { Nlmsg, NlmsgFlag, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { AeFlag, XfrmMsg, type XfrmSaId } from "../../src/wire/netlink/xfrm.ts";
import { readAevent, writeAevent, XfrmAevent } from "../../src/wire/netlink/xfrm_aevent.ts";
import { ReplayKind } from "../../src/wire/netlink/xfrm_replay.ts";
import { readSa, SaFlag, writeSa, writeSaDelete, XfrmSa } from "../../src/wire/netlink/xfrm_sa.ts";

export const HZ = 100;
export const PACKET_BYTES = 100;
export const ESRCH = 3;
export const EEXIST = 17;
export const EINVAL = 22;
const HALF = 2 ** 32;

/** What became of a packet. */
export type Verdict = "accepted" | "replayed" | "below the window" | "not authentic";

/** An SA of the kernel; `sa` holds its counters too. */
export class KernelSa {
  readonly sa: XfrmSa;
  maxdiff: number;
  maxageMs: number;
  timerAtMs = Infinity;
  defer = false;
  preOseq = 0;
  preSeq = 0;

  constructor(sa: XfrmSa, maxdiff: number, maxageMs: number, nowMs: number) {
    this.sa = sa;
    this.maxdiff = maxdiff;
    this.maxageMs = maxageMs;
    this.preOseq = sa.replay.oseq;
    this.preSeq = sa.replay.seq;
    if (maxageMs > 0) this.timerAtMs = nowMs + maxageMs;
  }

  get window(): number {
    const { replay, replayWindow } = this.sa;
    return replay.kind === ReplayKind.Esn ? replay.window : replayWindow;
  }
}

export class FakeXfrmKernel {
  readonly sas = new Map<string, KernelSa>();
  /** Messages of the groups, oldest first. */
  readonly events: Uint8Array<ArrayBuffer>[] = [];
  /** A reader that found the queue full has lost the newest ones. */
  overrun = false;
  eventsMax = 256;
  listening = true;
  /** The sysctls: packets, and a timer in ms. */
  rseqth = 2;
  etimeMs = 1000;
  readonly #scratch = newRegion(8192);
  readonly #event = new XfrmAevent();
  readonly #message = new Nlmsg();

  /** Carries out every message; returns a negated errno each. Answers go into `replies`. */
  request(
    bytes: Uint8Array<ArrayBuffer>,
    nowMs: number,
    replies: Uint8Array<ArrayBuffer>[],
  ): number[] {
    const from = regionOf(bytes);
    const results: number[] = [];
    for (let at = 0; at < bytes.length;) {
      at = readNlmsg(from, at, bytes.length, this.#message);
      assert.ok(at > 0);
      const { type } = this.#message;
      if (type === XfrmMsg.NewSa) {
        const sa = new XfrmSa();
        assert.ok(readSa(from, this.#message, sa) >= 0);
        results.push(this.add(sa, nowMs));
      } else if (type === XfrmMsg.DelSa) {
        const sa = new XfrmSa();
        assert.ok(readSa(from, this.#message, sa) >= 0);
        results.push(this.delete(sa.id));
      } else {
        assert.ok(type === XfrmMsg.NewAe || type === XfrmMsg.GetAe);
        const event = new XfrmAevent();
        assert.ok(readAevent(from, this.#message, event) >= 0);
        results.push(type === XfrmMsg.NewAe ? this.#write(event) : this.#get(event, replies));
      }
    }
    return results;
  }

  add(sa: XfrmSa, nowMs: number): number {
    const key = sa.id.key();
    if (this.sas.has(key)) return -EEXIST;
    // The kernel takes lifetimes by their attribute only; what it makes itself is now.
    if (!sa.hasLifetime) {
      sa.bytes = sa.packets = sa.useTime = 0;
      sa.addTime = 1_795_000_000 + Math.floor(nowMs / 1000);
    }
    sa.hasLifetime = false;
    sa.windowDrops = sa.replayDrops = sa.integrityFailed = 0;
    if (sa.replay.kind === ReplayKind.None) {
      assert.equal(sa.flags & SaFlag.Esn, 0);
      sa.replay.kind = ReplayKind.Value;
      sa.replay.words = 1;
      sa.replay.bitmap[0] = 0;
    }
    const packets = sa.replayThreshold < 0 ? this.rseqth : sa.replayThreshold;
    const timerMs = sa.timerThreshold < 0 ? this.etimeMs : sa.timerThreshold * 1000 / HZ;
    sa.replayThreshold = sa.timerThreshold = -1;
    this.sas.set(key, new KernelSa(sa, packets, timerMs, nowMs));
    this.#multicastSa(XfrmMsg.NewSa, sa);
    return 0;
  }

  delete(id: XfrmSaId): number {
    const known = this.sas.get(id.key());
    if (known === undefined) return -ESRCH;
    this.sas.delete(id.key());
    this.#multicastSa(XfrmMsg.DelSa, known.sa);
    return 0;
  }

  /** Entries of a dump. */
  dump(): Uint8Array<ArrayBuffer>[] {
    return Array.from(this.sas.values(), ({ sa }) => this.#saMessage(sa));
  }

  /** Sends a packet; its number, or -1 when the numbers are used up. */
  send(known: KernelSa, nowMs: number): number {
    const { sa } = known;
    const end = sa.replay.kind === ReplayKind.Esn ? Number.MAX_SAFE_INTEGER : HALF;
    if (sa.replay.oseq + 1 >= end) return -1;
    sa.replay.oseq++;
    this.#notify(known, AeFlag.Cr, nowMs);
    this.#count(sa);
    return sa.replay.oseq;
  }

  /** A packet with this number arrives, of which ESN carries the lower half. */
  receive(known: KernelSa, number: number, nowMs: number): Verdict {
    const { sa, window } = known;
    const { replay } = sa;
    const legacy = replay.kind !== ReplayKind.Esn;
    if (window > 0) {
      const guessed = legacy ? number : guess(replay.seq, window, number >>> 0);
      if (guessed <= replay.seq) {
        if (replay.seq - guessed >= window) {
          sa.windowDrops++;
          return "below the window";
        }
        if (this.#bit(known, guessed)) {
          sa.replayDrops++;
          return "replayed";
        }
      }
      if (guessed !== number) {
        sa.integrityFailed++;
        return "not authentic";
      }
      this.#advance(known, number);
      this.#notify(known, AeFlag.Cr, nowMs);
    }
    this.#count(sa);
    return "accepted";
  }

  /** Lets timers fire. */
  tick(nowMs: number): void {
    for (const known of this.sas.values()) {
      if (known.timerAtMs > nowMs) continue;
      known.timerAtMs = Infinity;
      if (this.listening) this.#notify(known, AeFlag.Ce, nowMs);
      else known.defer = true;
    }
  }

  #count(sa: XfrmSa): void {
    sa.bytes += PACKET_BYTES;
    sa.packets++;
    if (sa.useTime === 0) sa.useTime = sa.addTime;
  }

  #bit({ sa, window }: KernelSa, number: number): boolean {
    const { replay } = sa;
    if (replay.kind !== ReplayKind.Esn) {
      return ((replay.bitmap[0]! >>> (replay.seq - number)) & 1) === 1;
    }
    const position = ringPosition(number, window);
    return ((replay.bitmap[position >>> 5]! >>> (position & 31)) & 1) === 1;
  }

  #advance({ sa, window }: KernelSa, number: number): void {
    const { replay } = sa;
    const ahead = number - replay.seq;
    if (replay.kind !== ReplayKind.Esn) {
      if (ahead <= 0) replay.bitmap[0]! |= 1 << -ahead;
      else replay.bitmap[0] = ahead < window ? (replay.bitmap[0]! << ahead) | 1 : 1;
    } else {
      for (let i = 1; i <= Math.min(ahead, window); i++) {
        const position = ringPosition(replay.seq + i, window);
        replay.bitmap[position >>> 5]! &= ~(1 << (position & 31));
      }
      const position = ringPosition(number, window);
      replay.bitmap[position >>> 5]! |= 1 << (position & 31);
    }
    if (ahead > 0) replay.seq = number;
  }

  /** xfrm_replay_notify(). */
  #notify(known: KernelSa, cause: number, nowMs: number): void {
    if (!this.listening) return;
    const { oseq, seq } = known.sa.replay;
    let flag = cause;
    if (cause === AeFlag.Cr) {
      const { maxdiff } = known;
      const below = seq - known.preSeq < maxdiff && oseq - known.preOseq < maxdiff;
      if (maxdiff === 0 || below) {
        if (!known.defer) return;
        flag = AeFlag.Ce;
      }
    }
    if (flag === AeFlag.Ce && oseq === known.preOseq && seq === known.preSeq) {
      known.defer = true;
      return;
    }
    known.preOseq = oseq;
    known.preSeq = seq;
    this.#multicast(this.#aevent(known.sa, flag, 0, 0));
    if (known.maxageMs > 0) {
      if (known.timerAtMs === Infinity) known.defer = false;
      known.timerAtMs = nowMs + known.maxageMs;
    }
  }

  #get(asked: XfrmAevent, replies: Uint8Array<ArrayBuffer>[]): number {
    const known = this.sas.get(asked.id.key());
    if (known === undefined) return -ESRCH;
    const message = this.#aevent(known.sa, asked.flags, known.maxdiff, known.maxageMs);
    replies.push(message);
    return 0;
  }

  #write(event: XfrmAevent): number {
    const known = this.sas.get(event.id.key());
    if (known === undefined) return -ESRCH;
    const { sa } = known;
    const { replay } = event;
    if (replay.kind !== 0 && replay.kind === sa.replay.kind) {
      if (replay.words !== sa.replay.words) return -EINVAL;
      const { window } = sa.replay;
      sa.replay.copy(replay);
      if (replay.kind === ReplayKind.Value) sa.replay.window = window;
    }
    if (event.hasLifetime) {
      sa.bytes = event.bytes;
      sa.packets = event.packets;
      sa.addTime = event.addTime;
      sa.useTime = event.useTime;
    }
    if (event.replayThreshold >= 0) known.maxdiff = event.replayThreshold;
    if (event.timerThreshold >= 0) known.maxageMs = event.timerThreshold * 1000 / HZ; // not armed
    this.#multicast(this.#aevent(sa, AeFlag.Cu, 0, 0));
    return 0;
  }

  #aevent(sa: XfrmSa, flags: number, maxdiff: number, maxageMs: number): Uint8Array<ArrayBuffer> {
    const event = this.#event;
    event.id.copy(sa.id);
    event.saddr.set(sa.saddr);
    event.flags = flags;
    event.replay.copy(sa.replay);
    event.hasLifetime = true;
    event.bytes = sa.bytes;
    event.packets = sa.packets;
    event.addTime = sa.addTime;
    event.useTime = sa.useTime;
    event.replayThreshold = (flags & AeFlag.Rthr) !== 0 ? maxdiff : -1;
    event.timerThreshold = (flags & AeFlag.Ethr) !== 0 ? Math.floor(maxageMs / 100) : -1;
    const end = writeAevent(this.#scratch, 0, 1, 0, event);
    return this.#scratch.bytes.slice(0, end);
  }

  #saMessage(sa: XfrmSa): Uint8Array<ArrayBuffer> {
    const end = writeSa(this.#scratch, 0, 1, XfrmMsg.NewSa, NlmsgFlag.Multi, sa);
    return this.#scratch.bytes.slice(0, end);
  }

  #multicastSa(type: number, sa: XfrmSa): void {
    if (type === XfrmMsg.NewSa) this.#multicast(this.#saMessage(sa));
    else this.#multicast(this.#scratch.bytes.slice(0, writeSaDelete(this.#scratch, 0, 1, sa.id)));
  }

  #multicast(message: Uint8Array<ArrayBuffer>): void {
    if (!this.listening) return;
    if (this.events.length >= this.eventsMax) this.overrun = true;
    else this.events.push(message);
  }
}

/** The upper half that a receiver takes, RFC 4303 appendix A2.2. */
function guess(seq: number, window: number, low: number): number {
  const top = seq >>> 0;
  const high = Math.floor(seq / HALF);
  const bottom = (top - window + 1) >>> 0;
  if (top >= window - 1) return (low < bottom ? high + 1 : high) * HALF + low;
  return (low >= bottom ? high - 1 : high) * HALF + low;
}

function ringPosition(number: number, window: number): number {
  return ((number - 1) >>> 0) % window;
}
