/**
 * The addresses that go with the active role: given to interfaces when this box takes over, and told
 * to the link, so that neighbours send here at once (RFC 5227 section 3, RFC 4861 section 7.2.6).
 *
 * @module
 */
import { Errno, errnoText } from "../../io/errno.ts";
import { inNamespace } from "../../io/namespace.ts";
import { NetlinkProtocol } from "../../io/netlink_socket.ts";
import { interfaceIndex, PacketSocket } from "../../io/packet_socket.ts";
import { newRegion } from "../../mem/region.ts";
import { ArpOperation, writeGratuitousArp } from "../../wire/arp.ts";
import { Family, parseInet } from "../../wire/inet.ts";
import { AddressScope, InterfaceAddress } from "../../wire/netlink/address.ts";
import { writeDelAddress, writeNewAddress } from "../../wire/netlink/route_address.ts";
import { writeUnsolicitedAdvertisement } from "../../wire/ndp.ts";
import { NetlinkChannel } from "../netlink_channel.ts";

/** One of them. */
export interface VirtualAddress {
  readonly interface: string;
  /** With its prefix: `192.0.2.1/24`, `2001:db8::1/64`. */
  readonly address: string;
}

/** What {@linkcode VirtualAddresses.open} takes. */
export interface VirtualAddressesOptions {
  /** Name of a network namespace; empty is where this program runs. */
  readonly namespace: string;
  readonly addresses: readonly VirtualAddress[];
}

/**
 * When {@linkcode VirtualAddresses.announce} is called again after taking over: a frame may be lost, and a
 * switch may open its port late.
 */
export const ANNOUNCE_AFTER_MS: readonly number[] = [100, 300, 1000, 3000];

/** So many fit into the memory and the time of a takeover. */
export const VIRTUAL_ADDRESSES_MAX = 64;

const FRAME_BYTES = 128;
const ENODEV = 19;
const ENETDOWN = 100;

/** Addresses of this box while it is active. */
export class VirtualAddresses {
  readonly #namespace: string;
  readonly #addresses: readonly { readonly name: string; readonly to: InterfaceAddress }[];
  readonly #texts: readonly string[];
  readonly #channel: NetlinkChannel;
  readonly #frame = newRegion(FRAME_BYTES);

  /**
   * Opens a socket in the namespace; nothing is changed.
   *
   * @throws when an address is none, naming it
   */
  static open(options: VirtualAddressesOptions): VirtualAddresses {
    const { addresses, namespace } = options;
    if (addresses.length > VIRTUAL_ADDRESSES_MAX) {
      throw new Error(
        `Cannot take over addresses as there may be ${VIRTUAL_ADDRESSES_MAX} at most: ` +
          `current value is ${addresses.length}, leave some out`,
      );
    }
    const parsed = addresses.map(parse);
    const channel = inNamespace(
      namespace,
      () => NetlinkChannel.open(NetlinkProtocol.Route, "addresses"),
    );
    return new VirtualAddresses(options, parsed, channel);
  }

  private constructor(
    { addresses, namespace }: VirtualAddressesOptions,
    parsed: readonly InterfaceAddress[],
    channel: NetlinkChannel,
  ) {
    this.#namespace = namespace;
    this.#addresses = addresses.map((each, at) => ({ name: each.interface, to: parsed[at]! }));
    this.#texts = addresses.map(({ address }) => address);
    this.#channel = channel;
  }

  /**
   * Adds all of them, which is fine when they are there already, and announces them once. Returns what
   * failed, a line each; the others are there all the same.
   *
   * @param seconds of {@linkcode keep}
   */
  take(seconds: number): string[] {
    return [...this.keep(seconds), ...this.announce()];
  }

  /**
   * Gives them their lifetime anew, and those that are gone; returns what failed.
   *
   * @param seconds after which the kernel takes them away by itself, so that a box whose program was
   *     killed stops answering for them, up to a second late; 0 for never
   */
  keep(seconds: number): string[] {
    return this.#each(
      "add",
      (out, sequence, to) => writeNewAddress(out, 0, sequence, to, seconds),
    );
  }

  /** Takes them away, which is fine when they are gone already; returns what failed. */
  give(): string[] {
    return this.#each("remove", (out, sequence, to) => writeDelAddress(out, 0, sequence, to));
  }

  /**
   * Tells the links of all of them; returns what failed. Links that are no Ethernet have nobody to be
   * told.
   */
  announce(): string[] {
    const sockets = new Map<string, { socket: PacketSocket | number; router: boolean }>();
    const problems: string[] = [];
    for (const [at, { name, to }] of this.#addresses.entries()) {
      let open = sockets.get(name);
      if (open === undefined) {
        open = inNamespace(this.#namespace, () => ({
          socket: PacketSocket.open(name, 0),
          router: forwards(name),
        }));
        sockets.set(name, open);
      }
      const { router, socket } = open;
      const errno = typeof socket === "number" ? socket : this.#tell(socket, to, router);
      if (errno < 0) problems.push(problem("announce", this.#texts[at]!, name, -errno));
    }
    for (const { socket } of sockets.values()) if (typeof socket !== "number") socket.close();
    return problems;
  }

  /** Closes the socket; the addresses stay. */
  close(): void {
    this.#channel.close();
  }

  #each(
    verb: "add" | "remove",
    write: (out: NetlinkChannel["out"], sequence: number, to: InterfaceAddress) => number,
  ): string[] {
    const problems: string[] = [];
    const indexes = inNamespace(
      this.#namespace,
      () => this.#addresses.map(({ name }) => interfaceIndex(name)),
    );
    for (const [at, { name, to }] of this.#addresses.entries()) {
      to.index = indexes[at]!;
      const channel = this.#channel;
      const errno = to.index < 0
        ? -to.index
        : channel.request(write(channel.out, channel.next(), to));
      const gone = errno === Errno.Eaddrnotavail || errno === ENODEV;
      if (errno === 0 || (verb === "remove" && gone)) continue;
      const said = to.index < 0 ? "" : channel.text;
      problems.push(problem(verb, this.#texts[at]!, name, errno, said));
    }
    return problems;
  }

  /** Sends what neighbours of a family learn from; 0 or more, or a negated errno. */
  #tell(socket: PacketSocket, { family, local }: InterfaceAddress, router: boolean): number {
    const { ethernet, hardware } = socket;
    if (!ethernet) return 0;
    const { bytes } = this.#frame;
    if (family === Family.Inet6) {
      const size = writeUnsolicitedAdvertisement(this.#frame, 0, hardware, local, router);
      return socket.send(bytes, size);
    }
    let sent = 0;
    for (const operation of [ArpOperation.Request, ArpOperation.Reply]) {
      if (sent < 0) break;
      const size = writeGratuitousArp(this.#frame, 0, operation, hardware, local);
      sent = socket.send(bytes, size);
    }
    return sent;
  }
}

function parse({ address, interface: name }: VirtualAddress): InterfaceAddress {
  const into = new InterfaceAddress();
  const [text = "", prefix = "", ...rest] = address.split("/");
  into.family = parseInet(text, into.local);
  into.prefixLength = Number(prefix);
  into.scope = AddressScope.Universe;
  const most = into.family === Family.Inet ? 32 : 128;
  const whole = /^[0-9]{1,3}$/.test(prefix) && into.prefixLength >= 1 && into.prefixLength <= most;
  if (into.family !== Family.None && rest.length === 0 && whole) return into;
  throw new Error(
    `Cannot take over an address of ${name} as it must be one with its prefix, such as ` +
      `192.0.2.1/24 or 2001:db8::1/64: current value is "${address}"`,
  );
}

/** Whether this box is a router by an interface, as neighbours of it must be told. */
function forwards(name: string): boolean {
  try {
    return Deno.readTextFileSync(`/proc/sys/net/ipv6/conf/${name}/forwarding`).trim() !== "0";
  } catch {
    return false; // no IPv6, or no such interface
  }
}

function problem(verb: string, address: string, name: string, errno: number, said = ""): string {
  const text = said === "" ? "" : `: ${said}`;
  const remedy = REMEDIES[errno]?.replace("NAME", name) ?? "";
  return `Cannot ${verb} ${address} on ${name}: ${errnoText(errno)}${text}${remedy}`;
}

const REMEDIES: Readonly<Record<number, string>> = {
  [Errno.Eperm]: ", it needs CAP_NET_ADMIN and CAP_NET_RAW: run it as root",
  [ENODEV]: ", see ip link for the names that there are",
  [ENETDOWN]: ", the interface is down: ip link set NAME up",
};
