/**
 * One laboratory for all tests of a file, which ends with the guest, and SAs in it that are made anew
 * with thresholds of their own.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  type Box,
  type Direction,
  type Tunnel,
  type TunnelTraffic,
  XfrmLab,
} from "../interop/xfrm_lab.ts";
import type { XfrmSaId } from "../../src/wire/netlink/xfrm.ts";
import {
  type HeardAevent,
  saId,
  saIn,
  withLifetime,
  XfrmClient,
  XfrmListener,
} from "./xfrm_client.ts";

/** A tunnel of the laboratory with one of its SAs looked at. */
export interface Watched extends Disposable {
  /** The tunnel. */
  tunnel: Tunnel;
  /** What is looked at. */
  id: XfrmSaId;
  /** Datagrams through it. */
  traffic: TunnelTraffic;
  /** Events of the active box. */
  listener: XfrmListener;
  /** Events of this SA that wait. */
  take(): HeardAevent[];
}

/** Thresholds of an SA: packets, and jiffies as the kernel takes them. */
export interface Thresholds {
  /** XFRMA_REPLAY_THRESH. */
  count?: number;
  /** XFRMA_ETIMER_THRESH. */
  jiffies?: number;
}

/** A laboratory with a client on the active box. */
export class Fixture {
  /** The laboratory. */
  readonly lab: XfrmLab;
  /** Requests to the active box. */
  readonly client: XfrmClient;
  #tunnels = 0;

  private constructor(lab: XfrmLab) {
    this.lab = lab;
    this.client = new XfrmClient(lab.names.active);
  }

  /** Makes one; nothing removes it but the end of the guest. */
  static async create(): Promise<Fixture> {
    return new Fixture(await XfrmLab.create());
  }

  /** What identifies an SA of a tunnel. */
  id(tunnel: Tunnel, direction: Direction): XfrmSaId {
    const version = tunnel.version ?? 4;
    const daddr = direction === "out" ? this.lab.own("peer", version) : this.lab.gateway(version);
    const mask = tunnel.mark === undefined ? 0 : 0xff;
    return saId(daddr, this.lab.spi(tunnel, direction), tunnel.mark ?? 0, mask);
  }

  /** Makes a tunnel with a number that no other has. */
  async tunnel(changes: Partial<Tunnel> = {}): Promise<Tunnel> {
    const tunnel = { number: ++this.#tunnels, ...changes };
    await this.lab.addTunnels([tunnel]);
    return tunnel;
  }

  /** Makes a tunnel whose one SA has these thresholds, 0 unless set, and listens to its events. */
  async watch(
    direction: Direction,
    thresholds: Thresholds,
    changes: Partial<Tunnel> = {},
  ): Promise<Watched> {
    const tunnel = await this.tunnel(changes);
    const id = this.id(tunnel, direction);
    const traffic = this.lab.traffic(tunnel);
    const listener = new XfrmListener(this.lab.names.active);
    this.remake(id, thresholds);
    const take = (): HeardAevent[] =>
      listener.take().filter(({ event }) => event.id.key() === id.key());
    const dispose = (): void => {
      traffic[Symbol.dispose]();
      listener[Symbol.dispose]();
    };
    return { tunnel, id, traffic, listener, take, [Symbol.dispose]: dispose };
  }

  /** Deletes an SA and makes it anew from what a dump said of it. */
  remake(id: XfrmSaId, { count = 0, jiffies = 0 }: Thresholds = {}): void {
    const body = this.client.dump().find((body) => saIn(body).id.key() === id.key());
    assert.ok(body, id.key());
    assert.equal(this.client.delete(id), 0, this.client.text);
    assert.equal(this.client.addBody(withLifetime(body, count, jiffies)), 0, this.client.text);
  }

  /** A socket for traffic through a tunnel at a box. */
  traffic(tunnel: Tunnel, box: Box = "active"): TunnelTraffic {
    return this.lab.traffic(tunnel, box);
  }
}
