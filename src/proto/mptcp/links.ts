/**
 * Interfaces and addresses of this host as rtnetlink tells them, and when a link may be used. A
 * link that appears is used at once. One that was lost is used again `upDelayMs` after it came
 * back, and that wait doubles with each further loss within a minute, up to `upDelayMaxMs`; after a
 * quiet minute it is the first again. A name that went and came (a modem that was plugged in again)
 * is the same link.
 *
 * @module
 */
import type { LinkAddress, LinkState } from "./path_events.ts";
import { plainAddress } from "./subnet.ts";

/** A flap counts with the one before it when no more than this lies between. */
const QUIET_MS = 60_000;
const LINKS_MAX = 4096;
const ADDRESSES_MAX = 256;
/** Links that went, whose flaps are remembered. */
const PAST_MAX = 256;

/** How often a link was lost. */
interface Flaps {
  /** Within a minute of each other. */
  count: number;
  /** When it was lost last, -Infinity when never. */
  lostMs: number;
}

/** A network interface with its addresses. */
export class PathLink {
  readonly index: number;
  name: string;
  loopback: boolean;
  up = false;
  /** From when it may be used; Infinity while it is down. */
  usableAtMs = Infinity;
  /** By plain address. */
  readonly addresses: Map<string, LinkAddress> = new Map();
  readonly flaps: Flaps;

  constructor(link: LinkState, flaps: Flaps) {
    this.index = link.index;
    this.name = link.name;
    this.loopback = link.loopback;
    this.flaps = flaps;
  }
}

/** All interfaces of a namespace. */
export class PathLinks {
  readonly #byIndex = new Map<number, PathLink>();
  /** The link that has an address; the first of several. */
  readonly #byAddress = new Map<string, PathLink>();
  readonly #past = new Map<string, Flaps>();
  #upDelayMs: number;
  #upDelayMaxMs: number;
  /** Counts changes, so that what is derived from the links can be kept. */
  version = 0;
  /** Links and addresses that were not taken as there were too many. */
  refused = 0;

  constructor(upDelayMs: number, upDelayMaxMs: number) {
    this.#upDelayMs = upDelayMs;
    this.#upDelayMaxMs = upDelayMaxMs;
  }

  /** Other waits for links that come up from now on. */
  setDelays(upDelayMs: number, upDelayMaxMs: number): void {
    this.#upDelayMs = upDelayMs;
    this.#upDelayMaxMs = upDelayMaxMs;
  }

  /** By index. */
  get all(): ReadonlyMap<number, PathLink> {
    return this.#byIndex;
  }

  /** The link of an index that has this address; without an index any that has it. */
  withAddress(plain: string, index: number): PathLink | null {
    if (index === 0) return this.#byAddress.get(plain) ?? null;
    const link = this.#byIndex.get(index);
    return link !== undefined && link.addresses.has(plain) ? link : null;
  }

  /** Takes a link; returns it when it came up or was lost, null when neither. */
  handleLink(state: LinkState, nowMs: number): PathLink | null {
    let link = this.#byIndex.get(state.index);
    if (link === undefined) {
      if (this.#byIndex.size >= LINKS_MAX) {
        this.refused++;
        return null;
      }
      const flaps = this.#past.get(state.name) ?? { count: 0, lostMs: -Infinity };
      this.#past.delete(state.name);
      link = new PathLink(state, flaps);
      this.#byIndex.set(state.index, link);
      this.version++;
    }
    if (link.name !== state.name || link.loopback !== state.loopback) {
      link.name = state.name;
      link.loopback = state.loopback;
      this.version++;
    }
    if (link.up === state.up) return null;
    if (state.up) this.#rise(link, nowMs);
    else this.#fall(link, nowMs);
    return link;
  }

  /** It is no more. Returns it. */
  handleGone(index: number, nowMs: number): PathLink | null {
    const link = this.#byIndex.get(index);
    if (link === undefined) return null;
    if (link.up) this.#fall(link, nowMs);
    this.#byIndex.delete(index);
    for (const address of [...link.addresses.keys()]) this.#unlink(link, address);
    if (link.flaps.lostMs !== -Infinity) this.#past.set(link.name, link.flaps);
    if (this.#past.size > PAST_MAX) this.#past.delete(this.#past.keys().next().value!);
    this.version++;
    return link;
  }

  /** An address came or changed. Returns whether anything is new. */
  handleAddress(address: LinkAddress): boolean {
    const link = this.#byIndex.get(address.index);
    if (link === undefined) return false; // RTM_NEWLINK comes before, or the next dump has both
    const plain = plainAddress(address.address);
    const before = link.addresses.get(plain);
    if (before !== undefined && before.usable === address.usable) return false;
    if (before === undefined && link.addresses.size >= ADDRESSES_MAX) {
      this.refused++;
      return false;
    }
    link.addresses.set(plain, address);
    if (!this.#byAddress.has(plain)) this.#byAddress.set(plain, link);
    this.version++;
    return true;
  }

  /** An address went. Returns whether it was there. */
  handleAddressGone(index: number, address: string): boolean {
    const link = this.#byIndex.get(index);
    const plain = plainAddress(address);
    if (link === undefined || !link.addresses.has(plain)) return false;
    this.#unlink(link, plain);
    this.version++;
    return true;
  }

  /** When the next link that waits may be used; Infinity when none waits. */
  nextUsableMs(nowMs: number): number {
    let next = Infinity;
    for (const link of this.#byIndex.values()) {
      if (link.usableAtMs > nowMs) next = Math.min(next, link.usableAtMs);
    }
    return next;
  }

  #rise(link: PathLink, nowMs: number): void {
    const { count, lostMs } = link.flaps;
    const doublings = nowMs - lostMs > QUIET_MS ? 0 : Math.min(count, 30);
    const delayMs = Math.min(this.#upDelayMs * 2 ** doublings, this.#upDelayMaxMs);
    link.up = true;
    link.usableAtMs = lostMs === -Infinity ? nowMs : nowMs + delayMs;
    this.version++;
  }

  #fall(link: PathLink, nowMs: number): void {
    const flaps = link.flaps;
    // A link that is lost while it waits is not quiet, however long the wait.
    const quiet = nowMs - flaps.lostMs > QUIET_MS && nowMs >= link.usableAtMs;
    flaps.count = quiet ? 0 : flaps.count + 1;
    flaps.lostMs = nowMs;
    link.up = false;
    link.usableAtMs = Infinity;
    this.version++;
  }

  #unlink(link: PathLink, plain: string): void {
    link.addresses.delete(plain);
    if (this.#byAddress.get(plain) !== link) return;
    this.#byAddress.delete(plain);
    for (const other of this.#byIndex.values()) {
      if (!other.addresses.has(plain)) continue;
      this.#byAddress.set(plain, other);
      return;
    }
  }
}
