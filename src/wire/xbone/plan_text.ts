/**
 * A node's plan as text: the body of CONFIG, `(plan (node NAME)(visit …)…)`, for which the X-Bone
 * control protocol has no example. The form is ours, in the manner of its other messages.
 *
 * @module
 */
import type {
  Association,
  HostName,
  NodePlan,
  PlanEndpoint,
  PlanKey,
  PlanLink,
  PlanPeers,
  PlanRoute,
  PlanScript,
  Visit,
} from "./node_plan.ts";
import { ADDRESS, type Form, hex, HUB, name, number, PREFIX, secret, texts, word } from "./form.ts";
import { BOX_LINKS_MAX, NODES_MAX } from "./messages.ts";
import { list, many, needed, optional, record, row } from "./record.ts";

/** The most of a duration in milliseconds: what timers can wait. */
export const MS_MAX = 2 ** 31 - 1;
/** The largest number that is exact. */
export const COUNT_MAX = Number.MAX_SAFE_INTEGER;
/** What may be the way of a tunnel: IPv4's least to the loopback device's. */
export const MTU: Form<number> = number(68, 65_536);
/** A TCP or UDP port. */
export const PORT: Form<number> = number(1, 65_535);
/** Of an overlay. */
export const EPOCH: Form<string> = hex(16);
/** SHA-256. */
export const DIGEST: Form<string> = hex(64);
/** A script's name in a folder, or its URL. */
export const SCRIPT: Form<string> = name(2048);
/** Names of two nodes with their sub-overlays, and what joins them. */
export const LINK_NAME: Form<string> = name(600);

const LINKS_MAX = 512;
const ROUTES_MAX = 1024;
const NAMES_MAX = 2048;

const LINK = record<PlanLink>({
  name: needed("name", LINK_NAME),
  vni: needed("vni", number(0, 0xffffff)),
  port: needed("port", PORT),
  local: needed("local", ADDRESS),
  remote: needed("remote", ADDRESS),
  mtu: needed("mtu", MTU),
  address: needed("address", ADDRESS),
  peerAddress: needed("peer_address", ADDRESS),
  peer: needed("peer", name()),
  peerNode: needed("peer_node", name()),
  rateBits: optional("rate_bits", number(0, COUNT_MAX), 0),
});

const VISIT = record<Visit>({
  name: needed("name", name()),
  network: needed("network", name()),
  role: needed("role", word(["host", "router"])),
  address: needed("address", ADDRESS),
  prefix: needed("prefix", PREFIX),
  links: many("link", LINK, LINKS_MAX),
  routes: many("route", row<PlanRoute>({ to: PREFIX, via: ADDRESS, link: LINK_NAME }), ROUTES_MAX),
});

const GCM_KEY = secret(/^(?:[0-9a-fA-F]{40})?$/, "40 hexadecimal digits, or none");

const ASSOCIATION = record<Association>({
  local: needed("local", ADDRESS),
  remote: needed("remote", ADDRESS),
  port: needed("port", PORT),
  // RFC 4303 section 2.1: up to 255 they are reserved.
  spiIn: needed("spi_in", number(256, 0xffffffff)),
  spiOut: needed("spi_out", number(256, 0xffffffff)),
  keyIn: optional("key_in", GCM_KEY, ""),
  keyOut: optional("key_out", GCM_KEY, ""),
});

const ENDPOINT = record<PlanEndpoint>({
  address: needed("address", ADDRESS),
  flags: list("flags", texts(word(["subflow", "signal", "backup"]), 3)),
});

const HOST_NAME = row<HostName>({ address: ADDRESS, name: name() });

const KEY = row<PlanKey>({
  entity: name(),
  key: secret(/^(?:[A-Za-z0-9+/]{4,256}={0,2})?$/, "base64, or none"),
});

const PEERS = record<PlanPeers>({
  role: needed("role", word(["hub", "gateway"])),
  entity: needed("entity", name()),
  hub: needed("hub", HUB),
  keys: many("key", KEY, NODES_MAX),
});

const PLAN_SCRIPT = record<PlanScript>({
  name: needed("name", name()),
  script: needed("script", SCRIPT),
  sha256: optional("sha256", DIGEST, ""),
  deadlineMs: needed("deadline_ms", number(0, MS_MAX)),
});

/** The plan of one box. */
export const NODE_PLAN: Form<NodePlan> = record<NodePlan>({
  overlay: needed("overlay", name()),
  epoch: needed("epoch", EPOCH),
  node: needed("node", name()),
  visits: many("visit", VISIT, NODES_MAX),
  associations: many("association", ASSOCIATION, BOX_LINKS_MAX),
  endpoints: many("endpoint", ENDPOINT, NODES_MAX),
  names: many("host_name", HOST_NAME, NAMES_MAX),
  peers: optional<PlanPeers | null>("peers", PEERS, null),
  script: optional<PlanScript | null>("script", PLAN_SCRIPT, null),
});

/** A word of a node about itself or its parts: `linux`, `vxlan`, `WAIT_RD`. */
export const WORD: Form<string> = name(32);
