/**
 * From a captured packet to its TCP segment: link layer, IP, fragments put together, TCP header. Nothing
 * is allocated for a packet, and whatever its bytes are, it is counted and the next one follows.
 *
 * @module
 */
import { Fault } from "../../mem/fault.ts";
import { arena } from "../../mem/arena.ts";
import {
  IpPacket,
  PROTOCOL_TCP,
  readIpv4,
  readIpv6,
  skipExtensions,
} from "../../wire/capture/ip.ts";
import {
  ETHER_TYPE_IPV4,
  ETHER_TYPE_IPV6,
  LinkHeader,
  readLinkHeader,
} from "../../wire/capture/link_layer.ts";
import type { Packet } from "../../wire/capture/packet.ts";
import { readTcp, type TcpSegment } from "../../wire/capture/tcp.ts";
import { Fragments } from "./fragments.ts";

/** Link types that are told by their number; a capture that names more is hostile. */
const UNKNOWN_LINK_TYPES_MAX = 64;

/** What became of the packets. */
export class DissectorCounters {
  packets = 0;
  /** Those that carried a segment of TCP. */
  segments = 0;
  /** Other protocols. */
  notTcp = 0;
  /** Headers that cannot be. */
  malformed = 0;
  /** Packets of which too little was captured to see the header of TCP. */
  short = 0;
  /** Fragments of IP that may carry TCP, those of datagrams that became whole among them. */
  fragments = 0;
  fragmentsDropped = 0;
  /** Packets of link types that are not read. */
  unknownLink = 0;
  /** How many packets of each of those, by the number of its LINKTYPE_ value. */
  readonly unknownLinkTypes: Map<number, number> = new Map();
}

/** Finds the segments of TCP in packets. */
export class Dissector {
  readonly counters: DissectorCounters = new DissectorCounters();
  readonly #link = new LinkHeader();
  readonly #ip = new IpPacket();
  readonly #fragments = new Fragments();

  /**
   * Reads a packet whose bytes lie in the arena; true: `into` holds its segment, of a datagram that the
   * packet made whole where it is a fragment. Its bytes are valid until the next call.
   */
  dissect(packet: Packet, into: TcpSegment): boolean {
    const { counters } = this;
    const { at, end } = packet;
    counters.packets++;
    const networkAt = readLinkHeader(arena, at, end, packet.linkType, this.#link);
    if (networkAt < 0) return this.#refuse(networkAt, packet);
    const wireBytes = packet.originalBytes - (networkAt - at);
    const { etherType } = this.#link;
    const ip = this.#ip;
    let fault = 0;
    if (etherType === ETHER_TYPE_IPV4) {
      fault = readIpv4(arena, networkAt, end, wireBytes, ip, into.addresses);
    } else if (etherType === ETHER_TYPE_IPV6) {
      fault = readIpv6(arena, networkAt, end, wireBytes, ip, into.addresses);
    } else {
      counters.notTcp++;
      return false;
    }
    if (fault < 0) return this.#refuse(fault, packet);
    if (ip.isFragment && !this.#reassemble(packet, into)) return false;
    if (ip.protocol !== PROTOCOL_TCP) {
      counters.notTcp++;
      return false;
    }
    fault = readTcp(arena, ip.at, ip.end, ip.payloadBytes, into);
    if (fault < 0) return this.#refuse(fault, packet);
    counters.segments++;
    return true;
  }

  /** Gives back what it took of the arena. */
  close(): void {
    this.#fragments.close();
    this.counters.fragmentsDropped = this.#fragments.dropped;
  }

  /** Takes a fragment; true: the IP packet is now the whole datagram. */
  #reassemble(packet: Packet, into: TcpSegment): boolean {
    const { counters } = this;
    const ip = this.#ip;
    const fragments = this.#fragments;
    if (ip.version === 4 && ip.protocol !== PROTOCOL_TCP) {
      counters.notTcp++;
      return false;
    }
    counters.fragments++;
    const isWhole = fragments.handleFragment(ip, into.addresses, packet.timeNs);
    counters.fragmentsDropped = fragments.dropped;
    if (!isWhole) return false;
    ip.at = fragments.at;
    ip.end = fragments.end;
    ip.payloadBytes = ip.end - ip.at;
    ip.protocol = fragments.protocol;
    if (ip.version === 4) return true;
    const fault = skipExtensions(arena, ip);
    if (fault < 0) return this.#refuse(fault, packet);
    if (!ip.isFragment) return true;
    counters.malformed++; // a fragment within a datagram that was put together
    return false;
  }

  #refuse(fault: number, { linkType, at, end, originalBytes }: Packet): boolean {
    const { counters } = this;
    if (fault === -Fault.Feature) {
      counters.unknownLink++;
      const { unknownLinkTypes } = counters;
      const count = unknownLinkTypes.get(linkType);
      if (count !== undefined || unknownLinkTypes.size < UNKNOWN_LINK_TYPES_MAX) {
        unknownLinkTypes.set(linkType, (count ?? 0) + 1);
      }
    } else if (fault === -Fault.Short && originalBytes > end - at) {
      counters.short++;
    } else {
      counters.malformed++;
    }
    return false;
  }
}
