/**
 * Links, addresses, rules, routes and rates of one network namespace, read and changed by rtnetlink(7).
 *
 * @module
 */
import { Errno, errnoText } from "../../../io/errno.ts";
import { inNamespace } from "../../../io/namespace.ts";
import { NetlinkProtocol } from "../../../io/netlink_socket.ts";
import type { Region } from "../../../mem/region.ts";
import { Family, formatInet, parseInet } from "../../../wire/inet.ts";
import { InterfaceAddress, readAddress, writeAddressDump } from "../../../wire/netlink/address.ts";
import { writeLinkRequest } from "../../../wire/netlink/link.ts";
import {
  writeDelLink,
  writeLinkAlias,
  writeLinkInet,
  writeLinkState,
} from "../../../wire/netlink/link_change.ts";
import type { Nlmsg } from "../../../wire/netlink/nlmsg.ts";
import {
  isRoot,
  Qdisc,
  readQdisc,
  writeDelQdisc,
  writeNewTbf,
  writeQdiscDump,
} from "../../../wire/netlink/qdisc.ts";
import {
  readRoute,
  Route,
  writeDelRoute,
  writeNewRoute,
  writeRouteDump,
  writeRouteLookup,
} from "../../../wire/netlink/route.ts";
import { writeDelAddress, writeTaggedAddress } from "../../../wire/netlink/route_address.ts";
import {
  readRule,
  Rule,
  writeDelRule,
  writeNewRule,
  writeRuleDump,
} from "../../../wire/netlink/rule.ts";
import { readVxlan, Vxlan, writeNewVxlan, writeVxlanRequest } from "../../../wire/netlink/vxlan.ts";
import { NetlinkChannel } from "../../netlink_channel.ts";

const ENODEV = 19;

/** Which way a packet leaves. */
export interface Underlay {
  readonly device: string;
  readonly mtu: number;
  /** Our own address there. */
  readonly source: string;
}

/** An errno that is no trouble, as what was asked for is so already. */
type Allowed = readonly number[];

/** One socket for all of it. */
export class RouteKernel {
  readonly #channel: NetlinkChannel;
  readonly #namespace: string;
  /** What was read while nothing changes; null: always ask. */
  #known: Map<string, unknown[]> | null = null;
  /** Of lists in it, by what they are looked through for. */
  readonly #indexes = new WeakMap<readonly unknown[], Map<string, unknown>>();

  /**
   * Opens it in the namespace of that name; empty is where this program runs.
   *
   * @throws when there is none, with the remedy
   */
  static open(namespace: string): RouteKernel {
    return inNamespace(
      namespace,
      () => new RouteKernel(NetlinkChannel.open(NetlinkProtocol.Route, "routes"), namespace),
    );
  }

  private constructor(channel: NetlinkChannel, namespace: string) {
    this.#channel = channel;
    this.#namespace = namespace;
  }

  /**
   * The one with that text among what was read. While nothing changes the same list is given again, and its
   * texts are made once: each of a thousand routes is looked for.
   *
   * @param textOf the same for the same list
   */
  find<T>(list: readonly T[], textOf: (one: T) => string, text: string): T | undefined {
    if (this.#known === null) return list.find((one) => textOf(one) === text);
    let index = this.#indexes.get(list) as Map<string, T> | undefined;
    if (index === undefined) {
      index = new Map(list.map((one) => [textOf(one), one]));
      this.#indexes.set(list, index);
    }
    return index.get(text);
  }

  /** Asks the kernel for each thing once only while `work` runs, which must change nothing. */
  still<T>(work: () => T): T {
    this.#known = new Map();
    try {
      return work();
    } finally {
      this.#known = null;
    }
  }

  /** Closes the socket. */
  close(): void {
    this.#channel.close();
  }

  /** `net.ipv4.conf.all.NAME`, which counts for every interface; 0 when it cannot be read. */
  confOfAll(name: string): number {
    return inNamespace(this.#namespace, () => {
      try {
        return Number(Deno.readTextFileSync(`/proc/sys/net/ipv4/conf/all/${name}`));
      } catch {
        return 0;
      }
    });
  }

  /** The interface of that name; null when there is none. */
  link(name: string): Vxlan | null {
    if (this.#known !== null) return this.links().find((one) => one.name === name) ?? null;
    let found: Vxlan | null = null;
    this.#ask(
      (out, sequence) => writeVxlanRequest(out, 0, sequence, name),
      `read interface ${name}`,
      [ENODEV],
      (from, message) => {
        const link = new Vxlan();
        if (readVxlan(from, message, link) === 0) found = link;
      },
    );
    return found;
  }

  /** All interfaces. */
  links(): Vxlan[] {
    return this.#dump(
      () => new Vxlan(),
      (out, sequence) => writeLinkRequest(out, 0, sequence, 0),
      readVxlan,
      "interfaces",
    );
  }

  /** Makes a tunnel's device, down. */
  addVxlan(device: Vxlan): void {
    this.#ask((out, at) => writeNewVxlan(out, 0, at, device), `make device ${device.name}`);
  }

  /** Names whose it is. */
  setAlias(index: number, alias: string): void {
    this.#ask((out, at) => writeLinkAlias(out, 0, at, index, alias), `mark device ${alias}`);
  }

  /** Sets what IPv4 does with what comes in: `forwarding`, `rpFilter`, `acceptLocal`. */
  setInet(link: Vxlan): void {
    this.#ask((out, at) => writeLinkInet(out, 0, at, link), `set forwarding of ${link.name}`);
  }

  /** Up, or down; one that is gone is down. */
  setUp(index: number, up: boolean): void {
    const allowed = up ? [] : [ENODEV];
    this.#ask((out, at) => writeLinkState(out, 0, at, index, up), "bring a device up", allowed);
  }

  /** Deletes it; gone already is fine. */
  deleteLink(index: number): void {
    this.#ask((out, at) => writeDelLink(out, 0, at, index), "delete a device", [ENODEV]);
  }

  /** All addresses of a {@linkcode Family}; None is both. */
  addresses(family: number = Family.Inet): InterfaceAddress[] {
    return this.#dump(
      () => new InterfaceAddress(),
      (out, sequence) => writeAddressDump(out, 0, sequence, family),
      readAddress,
      `addresses of family ${family}`,
    );
  }

  /** Gives an interface one that it does not have. */
  addAddress(address: InterfaceAddress): void {
    this.#ask(
      (out, at) => writeTaggedAddress(out, 0, at, address),
      `give address ${formatInet(address.family, address.local)}`,
    );
  }

  /** Takes it away; gone already is fine. */
  deleteAddress(address: InterfaceAddress): void {
    this.#ask(
      (out, at) => writeDelAddress(out, 0, at, address),
      `take away address ${formatInet(address.family, address.local)}`,
      [Errno.Eaddrnotavail, ENODEV],
    );
  }

  /** Those of one table, or with 0 of all; of one protocol, or with 0 of all. */
  routes(table: number, protocol: number): Route[] {
    return this.#dump(
      () => new Route(),
      (out, sequence) => writeRouteDump(out, 0, sequence, Family.Inet, table, protocol),
      readRoute,
      `routes of table ${table}, protocol ${protocol}`,
      [Errno.Enoent],
    );
  }

  /** Adds one that is not there. */
  addRoute(route: Route): void {
    this.#ask((out, at) => writeNewRoute(out, 0, at, route), `add a route to ${routeText(route)}`);
  }

  /** Takes it away; gone already is fine. */
  deleteRoute(route: Route): void {
    this.#ask(
      (out, at) => writeDelRoute(out, 0, at, route),
      `take away the route to ${routeText(route)}`,
      [Errno.Esrch, ENODEV],
    );
  }

  /** All rules of IPv4. */
  rules(): Rule[] {
    return this.#dump(
      () => new Rule(),
      (out, sequence) => writeRuleDump(out, 0, sequence, Family.Inet),
      readRule,
      "rules",
    );
  }

  /** Adds one that is not there. */
  addRule(rule: Rule): void {
    this.#ask((out, at) => writeNewRule(out, 0, at, rule), `add a rule for table ${rule.table}`);
  }

  /** Takes it away; gone already is fine. */
  deleteRule(rule: Rule): void {
    this.#ask(
      (out, at) => writeDelRule(out, 0, at, rule),
      `take away a rule for table ${rule.table}`,
      [Errno.Enoent],
    );
  }

  /** What is at the root of the interface; null for what the kernel has there by itself. */
  rate(index: number): Qdisc | null {
    const all = this.#dump(
      () => new Qdisc(),
      (out, sequence) => writeQdiscDump(out, 0, sequence),
      readQdisc,
      "rates",
    );
    return all.find((one) => one.index === index && isRoot(one) && one.kind === "tbf") ?? null;
  }

  /** Limits what the interface sends. */
  addRate(qdisc: Qdisc, burstBytes: number): void {
    this.#ask((out, at) => writeNewTbf(out, 0, at, qdisc, burstBytes), "limit the rate");
  }

  /** Takes the limit away; gone already is fine. */
  deleteRate(index: number): void {
    const allowed = [Errno.Enoent, Errno.Einval, ENODEV];
    this.#ask((out, at) => writeDelQdisc(out, 0, at, index), "take away a rate", allowed);
  }

  /**
   * Which way packets to an address leave: of one of our own, the interface that has it.
   *
   * @throws when none does
   */
  underlay(address: string): Underlay {
    const destination = new Uint8Array(16);
    const family = parseInet(address, destination);
    if (family === Family.None) {
      throw new Error(`Cannot find the way to ${address} as it is no address`);
    }
    const route = new Route();
    let found = false;
    this.#ask(
      (out, at) => writeRouteLookup(out, 0, at, family, destination, null),
      `find the way to ${address}`,
      [],
      (from, message) => found = readRoute(from, message, route) === 0,
    );
    const own = this.#ownerOf(family, destination);
    const index = own ?? route.index;
    const link = this.links().find((one) => one.index === index);
    if (!found || link === undefined) {
      throw new Error(`Cannot find the way to ${address}: no route`);
    }
    const source = own === null ? formatInet(family, route.source) : address;
    if (/^(::|0\.0\.0\.0|fe80:.*)$/.test(source)) {
      throw new Error(`Cannot find the way to ${address}: ${link.name} has no address for others`);
    }
    const mtu = own === null && route.mtu > 0 ? route.mtu : link.mtu;
    return { device: link.name, mtu, source };
  }

  #ownerOf(family: number, address: Uint8Array): number | null {
    const same = this.addresses(family).find(({ local }) =>
      local.every((byte, at) => byte === address[at])
    );
    return same?.index ?? null;
  }

  #ask(
    write: (out: Region, sequence: number) => number,
    what: string,
    allowed: Allowed = [],
    onMessage: ((from: Region, message: Nlmsg) => void) | null = null,
  ): void {
    const channel = this.#channel;
    this.#refuse(channel.request(write(channel.out, channel.next()), onMessage), what, allowed);
  }

  #dump<T>(
    make: () => T,
    write: (out: Region, sequence: number) => number,
    read: (from: Region, message: Nlmsg, into: T) => number,
    what: string,
    allowed: Allowed = [],
  ): T[] {
    const known = this.#known?.get(what);
    if (known !== undefined) return known as T[];
    const channel = this.#channel;
    let found: T[] = [];
    const errno = channel.dump(
      () => write(channel.out, channel.next()),
      (from, message) => {
        const one = make();
        if (read(from, message, one) === 0) found.push(one);
      },
      () => found = [],
    );
    this.#refuse(errno, `read ${what}`, allowed);
    this.#known?.set(what, found);
    return found;
  }

  #refuse(errno: number, what: string, allowed: Allowed): void {
    if (errno === 0 || allowed.includes(errno)) return;
    const { text } = this.#channel;
    const said = text === "" ? errnoText(errno) : `${text} (${errnoText(errno)})`;
    const remedy = errno === Errno.Eperm ? ", it needs CAP_NET_ADMIN: run it as root" : "";
    throw new KernelRefusal(errno, `Cannot ${what}: ${said}${remedy}`);
  }
}

/** The kernel said no. */
export class KernelRefusal extends Error {
  /** Positive. */
  readonly errno: number;

  constructor(errno: number, message: string) {
    super(message);
    this.errno = errno;
  }
}

/** `10.100.0.7/32`. */
export function prefixText(family: number, address: Uint8Array, length: number): string {
  return `${formatInet(family, address)}/${length}`;
}

function routeText({ destination, family, length }: Route): string {
  return prefixText(family, destination, length);
}
