/**
 * What is looked at before a box is configured: what its kernel can, whether a plan would take something
 * away from somebody else, which tables of routes are free.
 *
 * @module
 */
import { Family } from "../../../wire/inet.ts";
import { Vxlan } from "../../../wire/netlink/vxlan.ts";
import type { NodePlan } from "../../../wire/xbone/node_plan.ts";
import { deviceOf } from "./link_step.ts";
import { tryRate } from "./rate_step.ts";
import { prefixText, type RouteKernel } from "./route_kernel.ts";
import { parsePrefix } from "./rule_step.ts";
import { OVERLAY_PROTOCOL } from "./step.ts";
import type { StepJournal } from "./step_journal.ts";

/** RT_TABLE_MAIN: where the box's own routes are. */
const MAIN_TABLE = 254;
/** The first table of ours. */
const TABLE_MIN = 19_900;
const VNI_COUNT = 2 ** 24;
/** A port that nobody listens at for long: the probe's device is never up. */
const PROBE_PORT = 4789;
const PROBE_MTU = 1400;

/** `vxlan` and `tbf`, as far as they are there. */
export function capabilitiesOf(kernel: RouteKernel): string[] {
  const probe = new Vxlan();
  probe.vni = crypto.getRandomValues(new Uint32Array(1))[0]! % VNI_COUNT;
  probe.name = deviceOf(probe.vni);
  probe.mtu = PROBE_MTU;
  probe.port = PROBE_PORT;
  probe.family = Family.Inet;
  probe.local.set([127, 0, 0, 1]);
  probe.remote.set([127, 0, 0, 2]);
  if (!succeeds(() => kernel.addVxlan(probe))) return [];
  const link = kernel.link(probe.name);
  if (link === null) return [];
  try {
    return succeeds(() => tryRate(kernel, link.index)) ? ["vxlan", "tbf"] : ["vxlan"];
  } finally {
    kernel.deleteLink(link.index);
  }
}

/** Why a plan cannot be here beside what is here; null when it can. */
export function collision(
  kernel: RouteKernel,
  { overlay, peers, visits }: NodePlan,
  journals: readonly StepJournal[],
): string | null {
  const hasPeers = (journal: StepJournal): boolean =>
    journal.head.overlay === overlay && journal.open().some(([, { kind }]) => kind === "peers");
  if (peers !== null && journals.some(hasPeers)) {
    return `Cannot write files for Fairlead as another overlay ${overlay} of this box has them: ` +
      "destroy it, or give this one another name";
  }
  const names = new Set(kernel.links().map(({ name }) => name));
  const links = visits.flatMap((visit) => visit.links);
  const taken = links.find(({ vni }) => names.has(deviceOf(vni)));
  if (taken !== undefined) {
    return `Cannot make link ${taken.name} as there is a device ${deviceOf(taken.vni)} already: ` +
      "another overlay has this VNI, form it again";
  }
  const addresses = kernel.addresses();
  const routes = kernel.routes(MAIN_TABLE, 0).map(({ destination, family, length }) =>
    prefixText(family, destination, length)
  );
  for (const { prefix } of visits) {
    const wanted = rangeOf(prefix);
    for (const { head } of journals) {
      const other = head.networks.find((network) => overlap(rangeOf(network.prefix), wanted));
      if (other !== undefined) {
        return `Cannot use ${prefix} as overlay ${head.overlay} has ${other.prefix} on this box: ` +
          "give one of them another prefix";
      }
    }
    for (const { family, local, prefixLength, protocol } of addresses) {
      const text = prefixText(family, local, prefixLength);
      if (!overlap(rangeOf(text), wanted)) continue;
      const whose = protocol === OVERLAY_PROTOCOL ? "an overlay that no journal knows has" : "has";
      return `Cannot use ${prefix} as this box ${whose} address ${text}: give the overlay another ` +
        "prefix" + (protocol === OVERLAY_PROTOCOL ? ", or remove its orphans" : "");
    }
    // A wider one stays the way to all but the overlay.
    const led = routes.find((route) => isWithin(rangeOf(route), wanted));
    if (led !== undefined) {
      return `Cannot use ${prefix} as this box has a route to ${led}, which would lead into the ` +
        "overlay: give the overlay another prefix";
    }
  }
  return null;
}

/** So many tables that no journal has, and that have neither routes nor rules. */
export function freeTables(
  kernel: RouteKernel,
  count: number,
  journals: readonly StepJournal[],
): number[] {
  const used = new Set(journals.flatMap(({ head }) => head.networks.map(({ table }) => table)));
  for (const { table } of kernel.rules()) used.add(table);
  const free: number[] = [];
  for (let table = TABLE_MIN; free.length < count; table++) {
    if (!used.has(table) && kernel.routes(table, 0).length === 0) free.push(table);
  }
  return free;
}

/** First and last address, as numbers. */
function rangeOf(prefix: string): [first: number, last: number] {
  const bytes = new Uint8Array(16);
  const length = parsePrefix(prefix, bytes, `network ${prefix}`);
  const size = 2 ** (32 - length);
  const address = new DataView(bytes.buffer).getUint32(0);
  const first = address - address % size;
  return [first, first + size - 1];
}

function overlap([a, b]: [number, number], [c, d]: [number, number]): boolean {
  return a <= d && c <= b;
}

function isWithin([a, b]: [number, number], [c, d]: [number, number]): boolean {
  return a >= c && b <= d;
}

function succeeds(work: () => void): boolean {
  try {
    work();
    return true;
  } catch {
    return false;
  }
}
