/**
 * Packets that go on while boxes come and go: at a rate, both ways through one tunnel, from both boxes
 * whoever is active, as programs behind a gateway know nothing of it. What comes to the peer is counted
 * by the box that it came from.
 *
 * @module
 */
import assert from "node:assert/strict";
import { delay } from "../../src/app/delay.ts";
import { type Box, takeEsp, type Tunnel, type XfrmLab } from "../interop/xfrm_lab.ts";
import { type EspPacket, type LabTap, LabUdp } from "../interop/uml_sockets.ts";

const TICK_MS = 10;
const PORT = 5000;
/** After a pause of this program no more than so much at once. */
const BURST_MAX = 60;
const FLOW_DEADLINE_MS = 10_000;
/** What comes a little later belongs to it. */
const STEADY_MS = 200;
const BOXES = ["active", "standby"] as const;

/** ESP that left one box within a tick. */
export interface Sent {
  /** Ms since 1970. */
  readonly atMs: number;
  readonly box: Box;
  readonly packets: EspPacket[];
}

/** One way of the load. */
export interface Way {
  sent: number;
  arrived: number;
  /** The longest time in which nothing arrived. */
  gapMs: number;
}

/** What a change cost. */
export interface Cost {
  /** The longest time in which nothing arrived at the peer. */
  readonly outMs: number;
  /** The same at the gateway. */
  readonly inMs: number;
  /** Packets to the peer that did not arrive, of all boxes that sent. */
  readonly lostOut: number;
  /** The same to the gateway. */
  readonly lostIn: number;
}

/** A load; it ends when it is disposed of. */
export class Load implements Disposable {
  /** To the peer; what both boxes have sent counts. */
  readonly out: Way = { sent: 0, arrived: 0, gapMs: 0 };
  /** To the gateway. */
  readonly in: Way = { sent: 0, arrived: 0, gapMs: 0 };
  /** ESP to the peer, oldest first. */
  readonly esp: Sent[] = [];
  /** By performance.now(). */
  readonly startedMs: number = performance.now();
  /** Packets of each that sends. */
  perSecond: number;
  /** Who sends to the peer. */
  from: readonly Box[] = BOXES;
  readonly #lab: XfrmLab;
  readonly #tunnel: Tunnel;
  readonly #sockets: Record<Box | "peer", LabUdp>;
  readonly #tap: LabTap;
  readonly #macs: Record<Box, Uint8Array>;
  readonly #timer: ReturnType<typeof setInterval>;
  #lastMs = performance.now();
  #owed = 0;
  #resting = false;
  #outAtMs = performance.now();
  #inAtMs = performance.now();

  /** Begins at once; both boxes must have the tunnel's inner address. */
  constructor(lab: XfrmLab, tunnel: Tunnel, packetsPerSecond: number) {
    this.#lab = lab;
    this.#tunnel = tunnel;
    this.perSecond = packetsPerSecond;
    const mark = tunnel.mark ?? 0;
    const inner = lab.inner(tunnel, "gateway");
    this.#sockets = {
      active: new LabUdp(lab.names.active, inner, PORT, mark),
      standby: new LabUdp(lab.names.standby, inner, PORT, mark),
      peer: new LabUdp(lab.names.peer, lab.inner(tunnel, "peer"), PORT),
    };
    this.#tap = lab.tap("peer");
    const mac = (box: Box): Uint8Array => Uint8Array.fromHex(lab.mac(box).replaceAll(":", ""));
    this.#macs = { active: mac("active"), standby: mac("standby") };
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** Runs `change`, and until packets pass both ways again: what it cost. */
  async during(change: () => Promise<unknown>): Promise<Cost> {
    await this.rest();
    const { in: inward, out } = this;
    out.gapMs = inward.gapMs = 0;
    const lostIn = inward.sent - inward.arrived;
    const lostOut = out.sent - out.arrived;
    await change();
    const [before, beforeIn] = [out.arrived, inward.arrived];
    const deadline = performance.now() + FLOW_DEADLINE_MS;
    while (out.arrived === before || inward.arrived === beforeIn) {
      assert.ok(performance.now() < deadline, "packets pass both ways");
      await delay(TICK_MS);
    }
    await delay(STEADY_MS);
    await this.rest();
    return {
      outMs: out.gapMs,
      inMs: inward.gapMs,
      lostOut: out.sent - out.arrived - lostOut,
      lostIn: inward.sent - inward.arrived - lostIn,
    };
  }

  /** Takes what has arrived by now. */
  look(): void {
    const now = performance.now();
    const { active, peer, standby } = this.#sockets;
    this.#outAtMs = arrived(this.out, peer.drain(), this.#outAtMs, now);
    this.#inAtMs = arrived(this.in, active.drain() + standby.drain(), this.#inAtMs, now);
    const atMs = Date.now();
    // In the order of the wire: a takeover may have happened since the last look.
    for (const packet of takeEsp(this.#tap)) {
      const box = BOXES.find((one) =>
        this.#macs[one].every((byte, at) => packet.frame[6 + at] === byte)
      );
      if (box === undefined) continue;
      const last = this.esp.at(-1);
      if (last?.atMs === atMs && last.box === box) last.packets.push(packet);
      else this.esp.push({ atMs, box, packets: [packet] });
    }
  }

  /** Stops sending, and counts what was on the way. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.look();
    for (const socket of Object.values(this.#sockets)) socket[Symbol.dispose]();
    this.#tap[Symbol.dispose]();
  }

  /** Waits for what is on its way; nothing is sent meanwhile. */
  async rest(): Promise<void> {
    this.#resting = true;
    await delay(2 * TICK_MS);
    this.look();
    this.#resting = false;
  }

  #tick(): void {
    if (this.#resting) return;
    const now = performance.now();
    this.#owed += (now - this.#lastMs) * this.perSecond / 1000;
    this.#lastMs = now;
    const count = Math.min(BURST_MAX, Math.floor(this.#owed));
    this.#owed = Math.min(BURST_MAX, this.#owed - count);
    const there = this.#lab.inner(this.#tunnel, "peer");
    for (const box of this.from) this.out.sent += this.#sockets[box].send(there, PORT, count);
    const here = this.#lab.inner(this.#tunnel, "gateway");
    this.in.sent += this.#sockets.peer.send(here, PORT, count);
    this.look();
  }
}

/** Fails when a number was sent twice with an SA, or after a higher one, whichever box it was. */
export function assertNumbersRise({ esp }: Load): void {
  const last = new Map<number, number>();
  for (const { atMs, box, packets } of esp) {
    for (const { sequence, spi } of packets) {
      const before = last.get(spi) ?? 0;
      const where = `${box} at ${new Date(atMs).toISOString()}`;
      assert.ok(sequence > before, `${where} sends ${sequence} of ${spi} after ${before}`);
      last.set(spi, sequence);
    }
  }
}

/** Packets that arrived at the peer, per second. */
export function rate({ out, startedMs }: Load): number {
  return Math.round(out.arrived * 1000 / (performance.now() - startedMs));
}

function arrived(way: Way, count: number, lastMs: number, now: number): number {
  if (count === 0) return lastMs;
  way.arrived += count;
  way.gapMs = Math.max(way.gapMs, now - lastMs);
  return now;
}
