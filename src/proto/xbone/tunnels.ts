/**
 * The tunnels of an overlay whose nodes are pinned down: VXLAN (RFC 7348) between two boxes, or between
 * two addresses of a network below, with the largest packet that fits; where wanted, inside ESP.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { Family, parseInet } from "../../wire/inet.ts";
import type { PinnedNode } from "../../wire/xbone/messages.ts";
import { linkAddresses, nodeAddress } from "./addresses.ts";
import type { Blueprint } from "./blueprint.ts";
import { MTU_MIN } from "./check_plan.ts";
import type { OverlaySpec } from "./overlay_spec.ts";
import type { Ways } from "./static_routes.ts";
import type { LaidLink, Network } from "./topology.ts";

/** IANA's for VXLAN. */
const VXLAN_PORT = 4789;
/** Of encrypted overlays: below what Linux hands out by itself, each its own, so that ESP finds it. */
const OWN_PORT_FIRST = 20_000;
const OWN_PORTS = 10_000;
const VNIS = 0x1000000;

const INET_BYTES = 20;
const INET6_BYTES = 40;
/** UDP, VXLAN, and the Ethernet header of what is inside. */
const VXLAN_BYTES = 8 + 8 + 14;
/** RFC 4303 and RFC 4106: SPI and sequence number, IV, ICV. */
const ESP_BYTES = 8 + 8 + 16;
/** Length of the padding and next header; what is encrypted is a multiple of four with them. */
const ESP_TRAILER_BYTES = 2;
const ESP_ALIGNMENT = 4;

/** One end of a tunnel. */
export interface TunnelEnd {
  readonly node: string;
  readonly pinned: PinnedNode;
  /** Where it ends. */
  readonly local: string;
  /** On the link. */
  readonly address: string;
}

/** A virtual link on its boxes. */
export interface Tunnel {
  readonly link: LaidLink;
  readonly vni: number;
  readonly port: number;
  readonly mtu: number;
  readonly encrypted: boolean;
  readonly ends: readonly [TunnelEnd, TunnelEnd];
}

/** Lays the tunnels of all networks, the links' order kept, lower networks first. */
export function layTunnels(
  { layout, prefixes, ways }: Blueprint,
  spec: OverlaySpec,
  epoch: string,
  pinned: ReadonlyMap<string, PinnedNode>,
): Map<Network, Tunnel[]> {
  const port = portOf(spec, epoch);
  const vnis = vnisOf(epoch);
  const laid = new Map<Network, Tunnel[]>();
  const addressIn = (network: Network, node: string): string =>
    nodeAddress(prefixes.get(network)!, ways.get(network)!.index.get(node)!);
  for (const network of layout.networks) {
    const tunnels = network.links.map((link, index): Tunnel => {
      const { over } = link;
      const addresses = linkAddresses(prefixes.get(network)!, index);
      const ends = link.ends.map((node, at): TunnelEnd => {
        const box = pinned.get(node)!;
        const local = over === null ? box.ipaddr : addressIn(over, node);
        return { node, pinned: box, local, address: addresses[at]! };
      }) as [TunnelEnd, TunnelEnd];
      // What rides on another network is protected by that one's tunnels, hop by hop.
      const encrypted = over === null && spec.encryption !== "none";
      const mtu = over === null
        ? linkMtu(Math.min(...ends.map((end) => end.pinned.mtu)), ends[0].local, encrypted)
        : linkMtu(
          carriedMtu(ends, spec.routing, laid.get(over)!, ways.get(over)!),
          ends[0].local,
          false,
        );
      return { link, vni: vnis.next().value, port, mtu, encrypted, ends };
    });
    laid.set(network, tunnels);
  }
  return laid;
}

/** Why a tunnel cannot be, and whose box it is about; null when it can. */
export function tunnelRefusal(tunnel: Tunnel): { node: string; reason: string } | null {
  const { link: { name, over }, ends: [a, b], mtu } = tunnel;
  const boxes = `${a.pinned.node} has ${a.local}, ${b.pinned.node} has ${b.local}`;
  if (a.pinned.node === b.pinned.node) {
    const reason = `Cannot make link ${name} as ${a.node} and ${b.node} are both played by ` +
      `${a.pinned.node}: place one elsewhere`;
    return { node: a.pinned.node, reason };
  }
  for (const { pinned, local } of tunnel.ends) {
    if (familyOf(local) !== Family.None) continue;
    const reason = `Cannot make link ${name} as ${pinned.node} must have an address: ` +
      `current value is ${JSON.stringify(local)}`;
    return { node: pinned.node, reason };
  }
  if (familyOf(a.local) !== familyOf(b.local) || a.local === b.local) {
    const reason = `Cannot make link ${name} as both ends must have addresses of their own, ` +
      `both IPv4 or both IPv6: ${boxes}`;
    return { node: b.pinned.node, reason };
  }
  if (mtu >= MTU_MIN) return null;
  const least = a.pinned.mtu <= b.pinned.mtu ? a.pinned : b.pinned;
  const way = over === null
    ? `the MTU of ${least.node} is ${least.mtu}`
    : `it rides on ${over.name}`;
  const reason = `Cannot make link ${name} as its MTU must be ${MTU_MIN} at least: it would be ` +
    `${mtu}, as ${way}`;
  return { node: over === null ? least.node : "", reason };
}

/** The largest packet inside, where packets of `underlay` bytes are the largest outside. */
export function linkMtu(underlay: number, address: string, encrypted: boolean): number {
  const room = underlay - (address.includes(":") ? INET6_BYTES : INET_BYTES);
  if (!encrypted) return room - VXLAN_BYTES;
  const protectedRoom = room - ESP_BYTES;
  return protectedRoom - protectedRoom % ESP_ALIGNMENT - ESP_TRAILER_BYTES - VXLAN_BYTES;
}

/** The UDP port of an overlay's tunnels. */
function portOf({ port, encryption }: OverlaySpec, epoch: string): number {
  if (port !== 0) return port;
  if (encryption === "none") return VXLAN_PORT;
  return OWN_PORT_FIRST + parseInt(epoch.slice(-4), 16) % OWN_PORTS;
}

/** All numbers but 0, each once: an odd step meets every one of a power of two. */
function* vnisOf(epoch: string): Generator<number, never> {
  const step = parseInt(epoch.slice(6, 12), 16) | 1;
  let vni = parseInt(epoch.slice(0, 6), 16);
  for (;;) {
    if (vni !== 0) yield vni;
    vni = (vni + step) % VNIS;
  }
}

/** The smallest of the links that packets take below, there and back; any, when a daemon decides. */
function carriedMtu(
  ends: readonly TunnelEnd[],
  routing: OverlaySpec["routing"],
  tunnels: readonly Tunnel[],
  { index, path }: Ways,
): number {
  const [a, b] = ends.map(({ node }) => index.get(node)!);
  const links = routing === "dynamic" ? [...tunnels.keys()] : [...path(a!, b!)!, ...path(b!, a!)!];
  assert(links.length > 0, "a link rides on a network without links");
  return Math.min(...links.map((link) => tunnels[link]!.mtu));
}

function familyOf(address: string): number {
  return parseInet(address, new Uint8Array(16));
}
