/**
 * Overlays that do not exist: for tests of what shows one.
 *
 * @module
 */
import type {
  OverlayDaemonView,
  OverlayLinkView,
  OverlayNodeView,
  OverlayView,
} from "../../src/app/overlay/overlay_view.ts";
import type { Snapshot } from "../../src/app/status/snapshot.ts";
import { fakeGateway } from "./fake_snapshot.ts";

type Pair = readonly [number, number];

/** A node `r1`, `r2` … on box `gw1`, `gw2` … */
export function fakeNode(at: number, network = "field"): OverlayNodeView {
  return {
    name: `r${at + 1}`,
    role: at % 4 === 3 ? "host" : "router",
    address: `10.100.0.${at + 1}`,
    network,
    node: `gw${at + 1}`,
    hostname: `gw${at + 1}.example`,
    ipaddr: `192.0.2.${at + 1}`,
    state: "ACTIVE",
    silent: false,
    drift: [],
  };
}

/** A link of which all probes were answered. */
export function fakeLink(a: string, b: string, at: number, network = "field"): OverlayLinkView {
  return {
    name: `${a}-${b}`,
    ends: [a, b],
    addresses: [`10.100.128.${2 * at}`, `10.100.128.${2 * at + 1}`],
    vni: 7_000_000 + at,
    port: 4789,
    mtu: 1450,
    rateBits: at % 2 === 0 ? 10_000_000 : 0,
    encrypted: at % 3 === 0,
    network,
    sent: 6,
    answered: 6,
    rttUs: 350 + 13 * at,
    rxBytes: 9000 + at,
    txBytes: 8000 + at,
    rxPackets: 90,
    txPackets: 80,
    errors: 0,
  };
}

/** An overlay of so many nodes of a topology, in which nothing is wrong. */
export function fakeOverlay(topology: string, count: number): OverlayView {
  const nodes = Array.from({ length: count }, (_, at) => fakeNode(at));
  const links = pairsOf(topology, count).map(([a, b], at) =>
    fakeLink(`r${a + 1}`, `r${b + 1}`, at)
  );
  return {
    name: "field",
    epoch: "e1f20a",
    state: "ACTIVE",
    digest: "0123456789abcdef".repeat(4),
    topology,
    sinceMs: 1_772_352_000_000,
    probedMs: 1_772_352_001_000,
    nodes,
    links,
    managers: [],
    failure: null,
    orphans: [],
    progress: null,
  };
}

/** The same with a silent node, one that drifted, a dead link and one that loses. */
export function inTrouble(view: OverlayView): OverlayView {
  const nodes = view.nodes.map((node, at) => {
    if (at === 1) return { ...node, silent: true };
    return at === 2 ? { ...node, drift: ["route 10.100.0.1/32 is missing"] } : node;
  });
  const links = view.links.map((link, at): OverlayLinkView => {
    if (at === 1) return { ...link, answered: 0, rttUs: null };
    if (at === 2) return { ...link, answered: 4 };
    return at === 3 ? { ...link, sent: null, answered: null, rttUs: null } : link;
  });
  return { ...view, nodes, links };
}

/** A network of three that carries a link of the overlay. */
export function stacked(view: OverlayView): OverlayView {
  const network = "field/west";
  const names = ["r1", "r2", "r3"];
  const nodes = names.map((_, at) => ({
    ...fakeNode(at, network),
    address: `10.101.0.${at + 1}`,
  }));
  const links = [
    { ...fakeLink("r1", "r3", 90, network), name: "west:r1-r3" },
    { ...fakeLink("r3", "r2", 91, network), name: "west:r3-r2" },
  ];
  return { ...view, nodes: [...nodes, ...view.nodes], links: [...links, ...view.links] };
}

/** A manager with these overlays, `seconds` after its start. */
export function fakeManager(seconds: number, overlays: readonly OverlayView[]): Snapshot {
  return daemon(seconds, "om", { role: "om", resource: null, overlays });
}

/** A resource daemon that is part of two overlays. */
export function fakeResource(seconds: number): Snapshot {
  const { nowMs } = fakeGateway(seconds);
  return daemon(seconds, "gw1", {
    role: "rd",
    overlays: [],
    resource: {
      node: "gw1",
      control: "192.0.2.1:2165",
      address: "192.0.2.1",
      capabilities: ["vxlan", "tbf", "esp"],
      overlays: [
        {
          key: "field e1",
          name: "field",
          epoch: "e1",
          manager: "om.example",
          state: "ACTIVE",
          type: "router",
          level: 0,
          sinceMs: nowMs - 3_600_000,
          untilMs: nowMs + 95_000,
          digest: "0123456789abcdef".repeat(4),
          generation: 1,
          drift: [],
          reason: "",
        },
        {
          key: "lab e9",
          name: "lab",
          epoch: "e9",
          manager: "om.example",
          state: "ACTIVE",
          type: "host",
          level: 1,
          sinceMs: nowMs - 60_000,
          untilMs: Infinity,
          digest: "",
          generation: 0,
          drift: ["link vx5 is down"],
          reason: "",
        },
      ],
      datagrams: {
        received: 40,
        sent: 12,
        unsigned: 3,
        replayed: 2,
        malformed: 1,
        unknownFields: 0,
        limited: 5,
        unsent: 0,
      },
      connections: {
        accepted: 9,
        requests: 8,
        answers: 8,
        refused: 1,
        malformed: 0,
        unknownFields: 0,
      },
      refusals: { acl: 4, full: 1 },
    },
  });
}

function daemon(seconds: number, name: string, overlay: OverlayDaemonView): Snapshot {
  const { events, nowMs, process, startedMs, version } = fakeGateway(seconds);
  return {
    role: "overlay",
    name,
    version,
    nowMs,
    startedMs,
    ready: true,
    alarms: [],
    sessions: [],
    overlay,
    events,
    process,
  };
}

function pairsOf(topology: string, count: number): Pair[] {
  const all = Array.from({ length: count }, (_, at) => at);
  switch (topology) {
    case "ring":
      return all.map((at) => [at, (at + 1) % count] as const);
    case "linear":
      return all.slice(1).map((at) => [at - 1, at] as const);
    case "star":
      return all.slice(1).map((at) => [0, at] as const);
    case "tree":
      return all.slice(1).map((at) => [Math.floor((at - 1) / 2), at] as const);
    default:
      return all.flatMap((a) => all.slice(a + 1).map((b) => [a, b] as const));
  }
}
