/**
 * The messages that go over TCP, "XBone Control Message Format Examples": Select, Dispatch, Delete
 * (`stop`) and their answers; and those without an example there: Config, Refresh, Status, and
 * refusals.
 *
 * @module
 */
import { COMMON, HOLD_MS, OS, type Unspoken } from "./discovery_text.ts";
import { ADDRESS, type Form, freeText, name, number, texts, word, YES_NO } from "./form.ts";
import type {
  AckConfig,
  AckDispatch,
  AckRefresh,
  AckSelect,
  AckStatus,
  Common,
  Config,
  Dispatch,
  LinkState,
  Nack,
  NodeState,
  PinnedNode,
  Select,
  Status,
  SubNode,
  SubSpec,
} from "./messages.ts";
import { COUNT_MAX, DIGEST, LINK_NAME, MS_MAX, MTU, NODE_PLAN, WORD } from "./plan_text.ts";
import { NODES_MAX } from "./messages.ts";
import { type Field, lazy, list, many, needed, optional, record } from "./record.ts";

const PROBES_MAX = 10_000;
const LINK_STATES_MAX = 65_536;
const DRIFT_LINES_MAX = 64;

const TYPE: Field<Select["type"]> = needed("type", word(["host", "router", "meta"]));

/** Nothing but what every body has: refresh, stop, ack-stop. */
export const PLAIN: Form<Common> = record<Common>(COMMON);

/** Be part of it. */
export const SELECT: Form<Unspoken<Select>> = record<Unspoken<Select>>({
  ...COMMON,
  type: TYPE,
  sub: optional("sub", name(), ""),
  holdMs: HOLD_MS,
});

/** An answer to it. */
export const ACK_SELECT: Form<Unspoken<AckSelect>> = record<Unspoken<AckSelect>>({
  ...COMMON,
  type: TYPE,
});

const SUB_NODE = record<SubNode>({
  name: needed("name", name()),
  role: needed("role", word(["host", "router"])),
  os: list("os", OS),
  on: optional("on", name(), ""),
});

const SUB_SPEC: Form<SubSpec> = record<SubSpec>({
  name: needed("name", name()),
  mode: needed("mode", word(["control", "stacked"])),
  nodes: many("node", SUB_NODE, NODES_MAX),
  subs: many("sub", lazy(() => SUB_SPEC), NODES_MAX),
});

/** Pin down this sub-overlay. */
export const DISPATCH: Form<Unspoken<Dispatch>> = record<Unspoken<Dispatch>>({
  ...COMMON,
  retry: needed("retry", number(0, COUNT_MAX)),
  createOverlay: needed("create_overlay", SUB_SPEC),
});

const PINNED_NODE = record<PinnedNode>({
  name: needed("name", name()),
  node: needed("node", name()),
  hostname: needed("hostname", name()),
  ipaddr: needed("ipaddr", ADDRESS),
  mtu: needed("mtu", MTU),
  capabilities: list("capabilities", texts(WORD, 32)),
});

/** An answer to it. */
export const ACK_DISPATCH: Form<Unspoken<AckDispatch>> = record<Unspoken<AckDispatch>>({
  ...COMMON,
  nodes: many("node", PINNED_NODE, NODES_MAX),
});

const CONFIGURATION = {
  digest: needed("digest", DIGEST),
  generation: needed("generation", number(0, COUNT_MAX)),
};

/** Become this. */
export const CONFIG: Form<Unspoken<Config>> = record<Unspoken<Config>>({
  ...COMMON,
  ...CONFIGURATION,
  leaseMs: needed("lease_ms", number(0, MS_MAX)),
  plans: many("plan", NODE_PLAN, NODES_MAX),
});

/** An answer to it. */
export const ACK_CONFIG: Form<Unspoken<AckConfig>> = record<Unspoken<AckConfig>>({
  ...COMMON,
  ...CONFIGURATION,
});

const NODE_STATE = record<NodeState>({
  node: needed("node", name()),
  state: needed("state", WORD),
  drift: many("drift", freeText(512), DRIFT_LINES_MAX),
  rekey: optional("rekey", YES_NO, false),
});

/** What the nodes are at. */
export const ACK_REFRESH: Form<Unspoken<AckRefresh>> = record<Unspoken<AckRefresh>>({
  ...COMMON,
  nodes: many("node", NODE_STATE, NODES_MAX),
});

/** Try every link. */
export const STATUS: Form<Unspoken<Status>> = record<Unspoken<Status>>({
  ...COMMON,
  probes: needed("probes", number(0, PROBES_MAX)),
  waitMs: needed("wait_ms", number(0, MS_MAX)),
});

const LINK_STATE = record<LinkState>({
  node: needed("node", name()),
  link: needed("link", LINK_NAME),
  sent: counter("sent"),
  answered: counter("answered"),
  rttUs: counter("rtt_us"),
  rxBytes: counter("rx_bytes"),
  txBytes: counter("tx_bytes"),
  rxPackets: counter("rx_packets"),
  txPackets: counter("tx_packets"),
  errors: counter("errors"),
});

/** An answer to it. */
export const ACK_STATUS: Form<Unspoken<AckStatus>> = record<Unspoken<AckStatus>>({
  ...COMMON,
  nodes: many("node", NODE_STATE, NODES_MAX),
  links: many("link", LINK_STATE, LINK_STATES_MAX),
});

/** A refusal; what it refuses is part of its head. */
export const NACK: Form<Omit<Nack, "verb" | "of">> = record<Omit<Nack, "verb" | "of">>({
  ...COMMON,
  node: optional("node", name(), ""),
  step: optional("step", freeText(256), ""),
  reason: needed("reason", freeText(1024)),
});

function counter(name: string): Field<number> {
  return optional(name, number(0, COUNT_MAX), 0);
}
