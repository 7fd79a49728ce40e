/**
 * Which subflows a connection should have, and which of them carry data: the policy read into a
 * form that can be asked, and joined with the links as they are.
 *
 * An address of this host that takes part is a source. It has a tier, and lower is better:
 *
 * | role | full-mesh | primary-backup |
 * |---|---|---|
 * | primary | 0 | its priority |
 * | backup | 2^32 + its priority | the same |
 * | metered | never better than another | the same |
 * | off | not used | not used |
 *
 * The sources of the best tier that has a live subflow carry data; the subflows of all others are
 * backups (MP_PRIO and the B flag of MP_JOIN: RFC 8684 section 3.3.8). Metered ones always are:
 * when nothing else is left MPTCP sends on backups anyway.
 *
 * @module
 */
import type { PathConnection } from "./connection_table.ts";
import type { PathLink, PathLinks } from "./links.ts";
import type { Endpoint } from "./path_events.ts";
import {
  type ConnectionRule,
  INTERFACE_DEFAULT,
  type InterfaceRule,
  type PathLayout,
  type PathPolicy,
  type PathRole,
} from "./path_policy.ts";
import {
  fitsName,
  inSubnet,
  isInet,
  isLinkLocal,
  isLoopback,
  parseSubnet,
  socketForm,
  type Subnet,
} from "./subnet.ts";

/** Addresses that take part; a full mesh of more would not fit any connection. */
const SOURCES_MAX = 256;
const BACKUP_TIER = 2 ** 32;
/** Paths that are looked at for one connection; many of them may fail. */
const WANTED_MAX = 512;

/** An address of this host with what the policy says of it. */
export interface Source {
  /** Plain: not v4-mapped. */
  readonly address: string;
  readonly link: PathLink;
  readonly role: PathRole;
  readonly priority: number;
  readonly announce: boolean;
  readonly subflows: number;
  /** New subflows may be made from it now. */
  readonly usable: boolean;
}

/** What the policy says of one connection. */
export interface ConnectionPolicy {
  readonly layout: PathLayout;
  readonly subflowsMax: number;
  /** Patterns of names; empty for all. */
  readonly interfaces: readonly string[];
  readonly joins: "accept" | "refuse" | "default";
}

/** A subflow that a connection should have. */
export interface WantedPath {
  readonly key: string;
  readonly source: Source;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** Which one of several over the same path, from 0. */
  readonly copy: number;
}

/** Names a path within a connection: from a plain local address to a peer's address and port. */
export function pathKey(local: string, remote: string, remotePort: number): string {
  return `${local}|${remote}|${remotePort}`;
}

/** The policy and the links together. */
export class Layout {
  #policy: PathPolicy;
  #interfaces: { rule: InterfaceRule; subnet: Subnet | null }[] = [];
  #connections: { rule: ConnectionRule; subnet: Subnet | null }[] = [];
  #sources: Map<string, Source> = new Map();
  #ordered: Source[] = [];
  #version = -1;
  #untilMs = 0;

  constructor(policy: PathPolicy) {
    this.#policy = policy;
    this.setPolicy(policy);
  }

  /** Another policy from now on. A rule with a subnet that cannot be read holds for nothing. */
  setPolicy(policy: PathPolicy): void {
    this.#policy = policy;
    this.#interfaces = policy.interfaces
      .map((rule) => ({ rule, subnet: rule.subnet === null ? null : parseSubnet(rule.subnet) }))
      .filter(({ rule, subnet }) => rule.subnet === null || subnet !== null);
    this.#connections = policy.connections
      .map((rule) => ({
        rule,
        subnet: rule.destination === null ? null : parseSubnet(rule.destination),
      }))
      .filter(({ rule, subnet }) => rule.destination === null || subnet !== null);
    this.#version = -1;
  }

  /** Brings the sources up to date, when links changed or one may be used by now. */
  refresh(links: PathLinks, nowMs: number): void {
    if (this.#version === links.version && nowMs < this.#untilMs) return;
    this.#version = links.version;
    this.#untilMs = links.nextUsableMs(nowMs);
    this.#sources = new Map();
    for (const link of links.all.values()) {
      for (const [plain, { linkLocal, usable }] of link.addresses) {
        if (this.#sources.size >= SOURCES_MAX || this.#sources.has(plain)) continue;
        const rule = this.#interfaceRule(link, plain, linkLocal || isLinkLocal(plain));
        if (rule === null) continue;
        const { role, priority, announce } = rule;
        this.#sources.set(plain, {
          address: plain,
          link,
          role,
          priority,
          announce: announce && role !== "off",
          subflows: rule.subflows,
          usable: role !== "off" && usable && link.up && nowMs >= link.usableAtMs,
        });
      }
    }
    this.#ordered = [...this.#sources.values()].sort((a, b) => a.link.index - b.link.index);
  }

  /** All of them, in the order of their links. */
  get sources(): readonly Source[] {
    return this.#ordered;
  }

  /** What the policy says of an address; null when nothing. */
  source(plain: string): Source | null {
    return this.#sources.get(plain) ?? null;
  }

  /** What the policy says of a connection: the first rule whose conditions hold, or the policy. */
  connectionPolicy(connection: PathConnection): ConnectionPolicy {
    const { local, remote, serverSide } = connection;
    for (const { rule, subnet } of this.#connections) {
      const port = serverSide === true ? local.port : remote.port;
      if (rule.port !== 0 && rule.port !== port) continue;
      if (subnet !== null && !inSubnet(subnet, remote.address)) continue;
      const joins = rule.joins === "default" ? this.#policy.joins : rule.joins;
      return { ...rule, joins };
    }
    const { layout, subflowsMax, joins } = this.#policy;
    return { layout, subflowsMax, interfaces: [], joins };
  }

  /** The rule that holds for an address; null when it takes no part. */
  #interfaceRule(link: PathLink, plain: string, linkLocal: boolean): InterfaceRule | null {
    for (const { rule, subnet } of this.#interfaces) {
      if (rule.name !== null && !fitsName(rule.name, link.name)) continue;
      if (subnet !== null && !inSubnet(subnet, plain)) continue;
      // What works only within the host or the link takes part when a rule means just it.
      const named = rule.name !== null && rule.name !== "*";
      if (link.loopback && !named && subnet === null) continue;
      if (linkLocal && subnet === null) continue;
      return rule;
    }
    return link.loopback || linkLocal ? null : INTERFACE_DEFAULT;
  }
}

/** Whether a connection may use a source at all. */
export function allows(policy: ConnectionPolicy, source: Source): boolean {
  if (source.role === "off") return false;
  return policy.interfaces.length === 0 ||
    policy.interfaces.some((pattern) => fitsName(pattern, source.link.name));
}

/** How good a source is; Infinity for one that never carries data while another can. */
export function tier(layout: PathLayout, source: Source): number {
  if (source.role === "backup") return BACKUP_TIER + source.priority;
  if (source.role !== "primary") return Infinity;
  return layout === "primary-backup" ? source.priority : 0;
}

/**
 * The subflows that a connection should have, most useful first: one from each source to the peer's
 * first address, better tiers first, then to its other addresses, then second ones over the same
 * paths.
 */
export function wantedPaths(
  connection: PathConnection,
  policy: ConnectionPolicy,
  sources: readonly Source[],
  isOwn: (plain: string) => boolean,
): WantedPath[] {
  const inet6 = connection.local.address.includes(":");
  const usable = sources
    .filter((source) => source.usable && allows(policy, source))
    .sort((a, b) => order(tier(policy.layout, a), tier(policy.layout, b)));
  const copies = usable.reduce((most, { subflows }) => Math.max(most, subflows), 0);
  const copiesMax = Math.min(copies, policy.subflowsMax);
  const targets = connection.targets();
  const wanted: WantedPath[] = [];
  for (let copy = 0; copy < copiesMax; copy++) {
    for (const { plain, port } of targets) {
      for (const source of usable) {
        if (copy >= source.subflows || wanted.length >= WANTED_MAX) continue;
        if (!joinable(source, plain, inet6, isOwn)) continue;
        wanted.push({
          key: pathKey(source.address, plain, port),
          source,
          local: { address: socketForm(source.address, connection.local.address), port: 0 },
          remote: { address: socketForm(plain, connection.local.address), port },
          copy,
        });
      }
    }
  }
  return wanted;
}

/** Whether an address of ours can be announced on a connection. */
export function announceable(connection: PathConnection, plain: string): boolean {
  // An IPv4 socket knows no IPv6; a peer has no use for what is only ours.
  return isInet(plain) || connection.local.address.includes(":");
}

/** Whether there can be a way from a source to an address of the peer. */
function joinable(
  source: Source,
  remote: string,
  inet6: boolean,
  isOwn: (plain: string) => boolean,
): boolean {
  if (isInet(source.address) !== isInet(remote)) return false;
  if (!isInet(remote) && !inet6) return false;
  if (isLoopback(source.address) !== isLoopback(remote)) return false;
  if (isLinkLocal(source.address) !== isLinkLocal(remote)) return false;
  return source.link.loopback || !isOwn(remote);
}

/** Compares tiers, of which several may be Infinity. */
export function order(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
