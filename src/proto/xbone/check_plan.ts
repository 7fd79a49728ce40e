/**
 * What a box refuses of a plan before it takes the first step of it: step [8] of the X-Bone control
 * protocol, "receive config commands". A manager is let in by its certificate, and is believed nothing:
 * what it names ends in the kernel, in the hosts file and on a command line.
 *
 * @module
 */
import { Family, parseInet } from "../../wire/inet.ts";
import type {
  Association,
  NodePlan,
  PlanLink,
  PlanPeers,
  PlanScript,
  Visit,
} from "../../wire/xbone/node_plan.ts";
import { BOX_LINKS_MAX, NODES_MAX } from "../../wire/xbone/messages.ts";
import { inPrefix, overlap, type Prefix, readPrefix, readQuad } from "./addresses.ts";

/** MPTCP_PM_ADDR_MAX of the kernel. */
export const ENDPOINTS_MAX = 8;
/** What an IPv4 host must be able to take: RFC 791 section 3.1. */
export const MTU_MIN = 576;
/** RFC 4303 section 2.1: 1 to 255 are reserved. */
export const SPI_MIN = 256;
/** Below are services of the box, which no tunnel may take the packets of. */
export const TUNNEL_PORT_MIN = 1024;
const MTU_MAX = 65_535;
const VNI_MAX = 0xffffff;
const SPI_MAX = 0xffffffff;
const RATE_BITS_MAX = 1e12;
const SCRIPT_MS_MAX = 3_600_000;
const BOX_NAME_MAX = 255;

/** Of overlays, nodes and sub-overlays: what a name in the DNS can be made of (RFC 1123). */
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?";
/** With its sub-overlays; a link's name and the overlay's fit together in an interface's alias. */
const NODE_NAME_MAX = 63;
const OVERLAY_NAME = new RegExp(`^${LABEL}$`);
const PATH = `${LABEL}(?:/${LABEL}){0,8}`;
const NODE_NAME = new RegExp(`^${PATH}$`);
/** `a-west/r1`, and of a network that is stacked below: `west:r1-r2`. */
const LINK_NAME = new RegExp(`^(?:${PATH}:)?${PATH}-${PATH}$`);
const BOX_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;
const EPOCH = /^[0-9a-f]{16}$/;
const GCM_KEY = /^[0-9a-f]{40}$/i;
const FLAGS = ["subflow", "signal", "backup"];
const ENTITY = /^client\.[A-Za-z0-9._/-]{1,255}$/;
const KEYRING_KEY = /^[A-Za-z0-9+/]{16,256}={0,2}$/;
/** A plain file of the folder: nothing hidden, no way out. */
const SCRIPT_FILE = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const SCRIPT_URL = /^https?:\/\/[!-~]{1,2000}$/;

/**
 * The first thing for which `node` refuses the plan, as a sentence; null when there is none.
 *
 * @param beside plans of other overlays that the box has; keys may be left out of them
 */
export function checkPlan(
  plan: NodePlan,
  node: string,
  beside: readonly NodePlan[] = [],
): string | null {
  for (const refusal of refusals(plan, node)) return refusal;
  for (const other of beside) {
    for (const refusal of clashes(plan, other)) return refusal;
  }
  return null;
}

/** True for what may be the name of an overlay, of a node within its network, or of a sub-overlay. */
export function isLabel(name: string): boolean {
  return OVERLAY_NAME.test(name);
}

/** True for what may be the whole name of a node: `west/r1`. */
export function isNodeName(name: string): boolean {
  return name.length <= NODE_NAME_MAX && NODE_NAME.test(name);
}

/** Domains under which others have names: those of countries, and the most used of all others. */
const PUBLIC_DOMAINS = new Set([
  ...["app", "arpa", "bank", "biz", "cloud", "com", "dev", "edu", "gov", "info", "int", "local"],
  ...["localhost", "mil", "name", "net", "online", "org", "pro", "shop", "site", "store", "xyz"],
]);

/**
 * True when hosts entries that end in it could be somebody's in the DNS. It is no list of all domains: what
 * bounds the harm is that every address is private and the overlay's.
 */
export function isPublicDomain(label: string): boolean {
  return PUBLIC_DOMAINS.has(label) || /^(?:[a-z]{2}|xn--.*)$/.test(label);
}

function* refusals(plan: NodePlan, node: string): Generator<string> {
  if (plan.node !== node) {
    yield cannot("take the plan", `it must be for ${node}`, plan.node);
  }
  if (!isLabel(plan.overlay)) {
    yield cannot("take the overlay's name", "it must be a DNS label of 32 at most", plan.overlay);
  }
  if (!EPOCH.test(plan.epoch)) {
    yield cannot("take the epoch", "it must be 16 hexadecimal digits", plan.epoch);
  }
  yield* countRefusals(plan);
  for (const visit of plan.visits) yield* visitRefusals(visit, plan);
  yield* networkRefusals(plan.visits);
  yield* tunnelRefusals(plan.visits.flatMap(({ links }) => links));
  yield* undergroundRefusals(plan.visits);
  yield* associationRefusals(plan);
  yield* endpointRefusals(plan);
  yield* nameRefusals(plan);
  if (plan.peers !== null) yield* peersRefusals(plan.peers, plan.visits);
  if (plan.script !== null) yield* scriptRefusals(plan.script);
}

function* countRefusals(plan: NodePlan): Generator<string> {
  const { visits, associations, endpoints, names, peers } = plan;
  yield* within("visits", visits.length, 1, NODES_MAX);
  const links = visits.reduce((sum, visit) => sum + visit.links.length, 0);
  yield* within("links", links, 0, BOX_LINKS_MAX);
  for (const { name, routes } of visits) {
    yield* within(`routes of ${shown(name)}`, routes.length, 0, NODES_MAX);
  }
  yield* within("associations", associations.length, 0, BOX_LINKS_MAX);
  yield* within("MPTCP endpoints", endpoints.length, 0, ENDPOINTS_MAX);
  yield* within("names", names.length, 0, NODES_MAX);
  yield* within("keys", peers?.keys.length ?? 0, 0, NODES_MAX);
}

function* visitRefusals(visit: Visit, plan: NodePlan): Generator<string> {
  const { name, network, role, address, links, routes } = visit;
  if (!isNodeName(name)) {
    const why = `it must be DNS labels with / between, ${NODE_NAME_MAX} at most`;
    yield cannot("take a node's name", why, name);
  }
  const whole = network === plan.overlay || network.startsWith(`${plan.overlay}/`);
  if (!whole || !NODE_NAME.test(network)) {
    yield cannot(`take the network of ${name}`, `it must be of ${plan.overlay}`, network);
  }
  if (role !== "host" && role !== "router") {
    yield cannot(`take the role of ${name}`, "it must be host or router", role);
  }
  const prefix = readPrefix(visit.prefix);
  if (prefix === null) {
    yield cannot(`take the prefix of ${name}`, "it must be private IPv4, /8 to /29", visit.prefix);
    return;
  }
  if (!inPrefix(prefix, readQuad(address))) {
    yield cannot(`take the address of ${name}`, `it must be in ${visit.prefix}`, address);
  }
  const byName = new Map<string, PlanLink>();
  for (const link of links) {
    yield* linkRefusals(link, prefix);
    if (byName.has(link.name)) yield cannot("take the link", "there are two of it", link.name);
    byName.set(link.name, link);
  }
  const targets = new Set<string>();
  for (const { to, via, link } of routes) {
    const [target, bits] = to.split("/");
    if (!inPrefix(prefix, readQuad(target!)) || bits !== "32" || target === address) {
      yield cannot(`take a route of ${name}`, `it must lead to one other of ${visit.prefix}`, to);
    }
    if (targets.has(to)) yield cannot(`take a route of ${name}`, "there are two of it", to);
    targets.add(to);
    const over = byName.get(link);
    if (over === undefined) {
      yield cannot(`take the route to ${to}`, `${name} must have its link`, link);
    } else if (via !== over.peerAddress) {
      const why = `it must go via ${over.peerAddress}, the other end of ${link}`;
      yield cannot(`take the route to ${to}`, why, via);
    }
  }
}

function* linkRefusals(link: PlanLink, prefix: Prefix): Generator<string> {
  const { name, local, remote, address, peerAddress } = link;
  if (name.length > 2 * NODE_NAME_MAX + 1 || !LINK_NAME.test(name)) {
    yield cannot("take a link's name", "it must be those of two nodes with - between", name);
  }
  yield* ranged(`VNI of ${name}`, link.vni, 1, VNI_MAX);
  yield* ranged(`port of ${name}`, link.port, TUNNEL_PORT_MIN, 65_535);
  yield* ranged(`MTU of ${name}`, link.mtu, MTU_MIN, MTU_MAX);
  yield* ranged(`rate of ${name}`, link.rateBits, 0, RATE_BITS_MAX);
  yield* pairRefusals(name, local, remote);
  const [here, there] = [readQuad(address), readQuad(peerAddress)];
  // The two of a /31 differ in the last bit only: 10.0.0.0 and .1, never .1 and .2.
  const joined = here >= 0 && (here % 2 === 0 ? here + 1 : here - 1) === there;
  if (!joined || !inPrefix(prefix, here)) {
    const why = "they must be the two of a /31 in the network's prefix";
    yield cannot(`take the addresses of ${name}`, why, `${address} and ${peerAddress}`);
  }
  if (!isNodeName(link.peer)) {
    yield cannot(`take the peer of ${name}`, "it must be a node's name", link.peer);
  }
  if (link.peerNode.length > BOX_NAME_MAX || !BOX_NAME.test(link.peerNode)) {
    yield cannot(`take the peer's box of ${name}`, "it must be its certificate's", link.peerNode);
  }
}

/** Where a tunnel ends. */
function* pairRefusals(name: string, local: string, remote: string): Generator<string> {
  const families = [local, remote].map(unicastFamily);
  if (families[0] === Family.None || families[0] !== families[1] || local === remote) {
    const why = "they must be two addresses of hosts, both IPv4 or both IPv6";
    yield cannot(`take the tunnel of ${name}`, why, `${local} and ${remote}`);
  }
}

/** {@linkcode Family} of an address that one box can have; None for any other. */
function unicastFamily(address: string): number {
  const bytes = new Uint8Array(16);
  const family = parseInet(address, bytes);
  const [first] = bytes;
  if (family === Family.Inet) return first === 0 || first! >= 224 ? Family.None : family;
  return first === 0xff || bytes.every((byte) => byte === 0) ? Family.None : family;
}

function* networkRefusals(visits: readonly Visit[]): Generator<string> {
  const prefixes = new Map<string, Prefix>();
  const seen = new Set<string>();
  for (const { name, network, prefix, address } of visits) {
    for (const key of [`${network} ${name}`, address]) {
      if (seen.has(key)) yield cannot("take the visits", "one is there twice", key);
      seen.add(key);
    }
    const mine = readPrefix(prefix)!;
    const known = prefixes.get(network);
    if (known !== undefined && (known.base !== mine.base || known.bits !== mine.bits)) {
      yield cannot(`take the visits of ${network}`, "it must have one prefix", prefix);
    }
    for (const [other, theirs] of prefixes) {
      if (other !== network && overlap(theirs, mine)) {
        yield cannot(`take the prefix of ${network}`, `${other} must not overlap with it`, prefix);
      }
    }
    prefixes.set(network, mine);
  }
}

function* tunnelRefusals(links: readonly PlanLink[]): Generator<string> {
  const vnis = new Set<number>();
  const addresses = new Set<string>();
  for (const { name, vni, address } of links) {
    if (vnis.has(vni)) yield cannot(`take the VNI of ${name}`, "another link has it", vni);
    if (addresses.has(address)) {
      yield cannot(`take the address of ${name}`, "another link has it", address);
    }
    vnis.add(vni);
    addresses.add(address);
  }
}

/** A tunnel leads into a network only where it rides on it: else its own packets would go round in it. */
function* undergroundRefusals(visits: readonly Visit[]): Generator<string> {
  const networks = new Map(visits.map(({ network, prefix }) => [network, readPrefix(prefix)!]));
  const own = new Set(visits.map(({ network, address }) => `${network} ${readQuad(address)}`));
  for (const { network: above, links } of visits) {
    for (const { name, local, remote } of links) {
      const [here, there] = [readQuad(local), readQuad(remote)];
      for (const [network, prefix] of networks) {
        if (!inPrefix(prefix, here) && !inPrefix(prefix, there)) continue;
        if (network !== above && own.has(`${network} ${here}`) && inPrefix(prefix, there)) continue;
        const why = `it must be outside of the prefix of ${network}, or between nodes of it`;
        yield cannot(`take the tunnel of ${name}`, why, `${local} and ${remote}`);
      }
    }
  }
}

function* associationRefusals({ associations, visits }: NodePlan): Generator<string> {
  const tunnels = new Set(
    visits.flatMap(({ links }) =>
      links.map(({ local, remote, port }) => pairText({ local, remote, port }))
    ),
  );
  const seen = new Set<string>();
  const spis = new Set<number>();
  for (const one of associations) {
    const pair = pairText(one);
    if (!tunnels.has(pair)) {
      yield cannot("take an association", "it must protect a tunnel of the plan", pair);
    }
    if (seen.has(pair)) yield cannot("take an association", "there are two of it", pair);
    seen.add(pair);
    yield* ranged(`SPI of ${pair}`, one.spiIn, SPI_MIN, SPI_MAX);
    yield* ranged(`SPI of ${pair}`, one.spiOut, SPI_MIN, SPI_MAX);
    if (spis.has(one.spiIn)) {
      yield cannot(`take the SPI of ${pair}`, "another association has it", one.spiIn);
    }
    spis.add(one.spiIn);
    if (!GCM_KEY.test(one.keyIn) || !GCM_KEY.test(one.keyOut) || one.keyIn === one.keyOut) {
      yield `Cannot take the keys of ${pair} as they must be two, of 40 hexadecimal digits each`;
    }
  }
}

function pairText({ local, remote, port }: Pick<Association, "local" | "remote" | "port">): string {
  return `${local} to ${remote} port ${port}`;
}

function* endpointRefusals({ endpoints, visits }: NodePlan): Generator<string> {
  const own = new Set(visits.map(({ address }) => address));
  for (const { address, flags } of endpoints) {
    if (!own.delete(address)) {
      yield cannot("take an MPTCP endpoint", "it must be at a visit's address, once", address);
    }
    const known = flags.every((flag) => FLAGS.includes(flag));
    if (!known || new Set(flags).size !== flags.length) {
      yield cannot(`take the flags of ${address}`, `they must be of ${FLAGS.join(", ")}`, flags);
    }
  }
}

/** Names of the overlay only: a manager must not say who somebody else is. */
function* nameRefusals({ names, overlay, visits }: NodePlan): Generator<string> {
  if (names.length > 0 && isPublicDomain(overlay)) {
    yield cannot("take names", "the overlay must not be called as a domain of the world", overlay);
  }
  const prefixes = visits.map(({ prefix }) => readPrefix(prefix)!);
  const seen = new Set<string>();
  for (const { address, name } of names) {
    const labels = name.split(".");
    const ours = labels.length >= 2 && labels.at(-1) === overlay && labels.every(isLabel);
    if (!ours) yield cannot("take a name", `it must be labels and .${overlay}`, name);
    if (seen.has(name)) yield cannot("take a name", "there are two of it", name);
    seen.add(name);
    if (!prefixes.some((prefix) => inPrefix(prefix, readQuad(address)))) {
      yield cannot(`take the address of ${name}`, "it must be in the overlay's prefix", address);
    }
  }
}

function* peersRefusals(
  { role, entity, hub, keys }: PlanPeers,
  visits: readonly Visit[],
): Generator<string> {
  if (role !== "hub" && role !== "gateway") {
    yield cannot("take the peers", "the role must be hub or gateway", role);
  }
  const where = /^v2:([0-9.]+):([0-9]{1,5})$/.exec(hub);
  const port = Number(where?.[2] ?? 0);
  const address = readQuad(where?.[1] ?? "");
  if (address < 0 || port < 1 || port > 65_535) {
    yield cannot("take the hub", "it must be v2:ADDRESS:PORT", hub);
  }
  const isHere = visits.some((visit) => readQuad(visit.address) === address);
  const isThere = visits.some(({ prefix }) => inPrefix(readPrefix(prefix)!, address));
  if (!(role === "hub" ? isHere : isThere)) {
    const why = role === "hub" ? "it must be at a visit's address" : "it must be in the overlay";
    yield cannot("take the hub", why, hub);
  }
  const seen = new Set<string>();
  for (const { entity: name, key } of keys) {
    if (!ENTITY.test(name) || seen.has(name)) {
      yield cannot("take a key", "each must be of another client.NAME", name);
    }
    seen.add(name);
    if (!KEYRING_KEY.test(key)) yield `Cannot take the key of ${name} as it must be base64`;
  }
  if (!seen.has(entity)) yield cannot("take the peers", "the box's own key must be there", entity);
}

function* scriptRefusals({ name, script, sha256, deadlineMs }: PlanScript): Generator<string> {
  if (!isLabel(name)) yield cannot("take the script's name", "it must be a DNS label", name);
  if (sha256 !== "" && !/^[0-9a-f]{64}$/.test(sha256)) {
    yield cannot(`take script ${name}`, "SHA-256 must be 64 hexadecimal digits", sha256);
  }
  if (SCRIPT_URL.test(script)) {
    if (sha256 === "") yield cannot(`take script ${name}`, "a URL needs its SHA-256", script);
  } else if (!SCRIPT_FILE.test(script)) {
    yield cannot(`take script ${name}`, "it must be a file's name, or a URL", script);
  }
  yield* ranged(`deadline of script ${name}`, deadlineMs, 1, SCRIPT_MS_MAX);
}

/** What two overlays on one box cannot both have. */
function* clashes(plan: NodePlan, other: NodePlan): Generator<string> {
  const theirs = `overlay ${other.overlay} is on this box and has`;
  if (other.overlay === plan.overlay) {
    yield cannot("take the overlay", "one of its name is on this box", plan.overlay);
  }
  for (const { prefix } of plan.visits) {
    const read = readPrefix(prefix)!;
    const clash = other.visits.find((visit) => overlap(readPrefix(visit.prefix)!, read));
    if (clash !== undefined) {
      yield cannot("take the prefix", `${theirs} ${clash.prefix}, use another`, prefix);
    }
  }
  const [ours, others] = [plan, other].map(({ visits }) => visits.flatMap(({ links }) => links));
  for (const { prefix } of plan.visits) {
    const read = readPrefix(prefix)!;
    for (const { local, remote } of others!) {
      if (![local, remote].some((end) => inPrefix(read, readQuad(end)))) continue;
      yield cannot("take the prefix", `${theirs} a tunnel to ${remote}, use another`, prefix);
    }
  }
  const taken = new Set(others!.map(({ vni, port }) => `${vni} ${port}`));
  for (const { name, vni, port } of ours!) {
    if (taken.has(`${vni} ${port}`)) yield cannot(`take the VNI of ${name}`, `${theirs} it`, vni);
  }
  // An association takes all tunnels of its port between its addresses, whosever they are.
  const pairs = [others!, plan.associations, ours!, other.associations].map((list) =>
    new Set(list.map(pairText))
  );
  for (const [tunnels, associations] of [pairs.slice(0, 2), pairs.slice(2)]) {
    for (const pair of associations!) {
      if (!tunnels!.has(pair)) continue;
      yield cannot("protect tunnels", `${theirs} some of the same port, use another`, pair);
    }
  }
  const spis = new Set(other.associations.map(({ spiIn }) => spiIn));
  for (const one of plan.associations) {
    if (spis.has(one.spiIn)) yield cannot("take an SPI", `${theirs} it`, one.spiIn);
  }
}

function* ranged(what: string, value: number, min: number, max: number): Generator<string> {
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    yield cannot(`take the ${what}`, `it must be ${min} to ${max}`, value);
  }
}

function* within(what: string, count: number, min: number, max: number): Generator<string> {
  if (count < min || count > max) {
    yield cannot(`take the ${what}`, `there must be ${min} to ${max}`, count);
  }
}

function cannot(action: string, reason: string, value: unknown): string {
  return `Cannot ${action} as ${reason}: current value is ${shown(value)}`;
}

/** In one line, and short, whatever it is. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
