/**
 * Network interfaces and their addresses, as they are and as they change: rtnetlink(7).
 *
 * @module
 */
import { Errno, errnoText } from "../../io/errno.ts";
import { inNamespace } from "../../io/namespace.ts";
import { NetlinkProtocol, NetlinkSocket } from "../../io/netlink_socket.ts";
import type { Region } from "../../mem/region.ts";
import type { LinkAddress, LinkState } from "../../proto/mptcp/path_events.ts";
import type { PathManager } from "../../proto/mptcp/path_manager.ts";
import { Family, formatInet } from "../../wire/inet.ts";
import {
  AddressFlag,
  AddressScope,
  InterfaceAddress,
  readAddress,
  writeAddressDump,
} from "../../wire/netlink/address.ts";
import { Link, LinkFlag, readLink, writeLinkRequest } from "../../wire/netlink/link.ts";
import { Nlmsg, readNlmsg } from "../../wire/netlink/nlmsg.ts";
import { RtmType, RtnlGroup } from "../../wire/netlink/rtnetlink.ts";
import { NetlinkChannel } from "../netlink_channel.ts";

const EVENTS_BYTES = 1024 * 1024;
const UP = LinkFlag.Up | LinkFlag.LowerUp;
const UNUSABLE = AddressFlag.Tentative | AddressFlag.DadFailed | AddressFlag.Deprecated;

/** All links and addresses at one moment. */
export interface LinksFound {
  readonly links: LinkState[];
  readonly addresses: LinkAddress[];
}

/** One namespace's. */
export class LinkMonitor {
  readonly #channel: NetlinkChannel;
  readonly #events: NetlinkSocket;
  readonly #message = new Nlmsg();
  readonly #link = new Link();
  readonly #address = new InterfaceAddress();

  /** Opens both sockets in `namespace`. */
  static open(namespace: string): LinkMonitor {
    return inNamespace(namespace, () => {
      const channel = NetlinkChannel.open(NetlinkProtocol.Route, "links");
      const events = NetlinkSocket.open(NetlinkProtocol.Route);
      if (typeof events === "number") {
        channel.close();
        throw new Error(`Cannot listen to changes of links: ${errnoText(events)}`);
      }
      events.setReceiveBuffer(EVENTS_BYTES);
      for (const group of [RtnlGroup.Link, RtnlGroup.Inet4Address, RtnlGroup.Inet6Address]) {
        events.join(group);
      }
      return new LinkMonitor(channel, events);
    });
  }

  private constructor(channel: NetlinkChannel, events: NetlinkSocket) {
    this.#channel = channel;
    this.#events = events;
  }

  /** Readable when something has changed. */
  get fd(): number {
    return this.#events.fd;
  }

  /**
   * Everything there is now.
   *
   * @throws when it cannot be read
   */
  read(): LinksFound {
    const channel = this.#channel;
    let links: LinkState[] = [];
    let addresses: LinkAddress[] = [];
    let errno = channel.dump(
      () => writeLinkRequest(channel.out, 0, channel.next(), 0),
      (from, message) => {
        const link = this.#readLink(from, message);
        if (link !== null) links.push(link);
      },
      () => links = [],
    );
    errno ||= channel.dump(
      () => writeAddressDump(channel.out, 0, channel.next(), Family.None),
      (from, message) => {
        const address = this.#readAddress(from, message);
        if (address !== null) addresses.push(address);
      },
      () => addresses = [],
    );
    if (errno !== 0) throw new Error(`Cannot read links and addresses: ${errnoText(errno)}`);
    return { links, addresses };
  }

  /** Hands on all changes that wait: `none` when there are none, `lost` when all must be read. */
  drain(manager: PathManager, nowMs: number): "some" | "none" | "lost" {
    let result: "some" | "none" | "lost" = "none";
    for (;;) {
      const size = this.#events.receive();
      if (size === -Errno.Enobufs || size === -Errno.Emsgsize) {
        result = "lost";
        continue;
      }
      if (size < 0) return result;
      if (result === "none") result = "some";
      for (let at = 0; at < size;) {
        at = readNlmsg(this.#events.in, at, size, this.#message);
        if (at < 0) break;
        // It may be there once more, with another prefix: only all addresses tell.
        if (this.#message.type === RtmType.DelAddress) result = "lost";
        else this.#handOn(manager, nowMs);
      }
    }
  }

  /** Closes both sockets. */
  close(): void {
    this.#events.close();
    this.#channel.close();
  }

  #handOn(manager: PathManager, nowMs: number): void {
    const from = this.#events.in;
    const message = this.#message;
    const { type } = message;
    if (type === RtmType.NewLink || type === RtmType.DelLink) {
      const link = this.#readLink(from, message);
      if (link === null) return;
      if (type === RtmType.NewLink) manager.handleLink(link, nowMs);
      else manager.handleLinkGone(link.index, nowMs);
    } else if (type === RtmType.NewAddress) {
      const found = this.#readAddress(from, message);
      if (found !== null) manager.handleAddress(found, nowMs);
    }
  }

  #readLink(from: Region, message: Nlmsg): LinkState | null {
    const link = this.#link;
    if (readLink(from, message, link) < 0 || link.family !== 0 || link.name === "") return null;
    return {
      index: link.index,
      name: link.name,
      up: (link.flags & UP) === UP,
      loopback: (link.flags & LinkFlag.Loopback) !== 0,
    };
  }

  #readAddress(from: Region, message: Nlmsg): LinkAddress | null {
    const found = this.#address;
    if (readAddress(from, message, found) < 0) return null;
    const { family, flags, index, local, prefixLength, scope } = found;
    if (family !== Family.Inet && family !== Family.Inet6) return null;
    return {
      index,
      address: formatInet(family, local),
      prefixLength,
      linkLocal: scope === AddressScope.Link,
      usable: (flags & UNUSABLE) === 0,
    };
  }
}
