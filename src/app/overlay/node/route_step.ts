/**
 * The step `route`: a route of a visit's table. Besides those of the plan there is one for the link itself,
 * and a last one, which makes the rest of the network unreachable rather than letting it go out by the
 * box's default route.
 *
 * @module
 */
import { Errno } from "../../../io/errno.ts";
import { formatInet, parseInet } from "../../../wire/inet.ts";
import { Route, RouteScope, RouteType } from "../../../wire/netlink/route.ts";
import { KernelRefusal, prefixText, type RouteKernel } from "./route_kernel.ts";
import { parsePrefix } from "./rule_step.ts";
import { OVERLAY_PROTOCOL, type StepKind, type StepRecord } from "./step.ts";

/** After every other one. */
const LAST_METRIC = 0xffffffff;
const NOWHERE = "0.0.0.0";

/** A route. */
export interface RouteRecord extends StepRecord {
  readonly kind: "route";
  readonly table: number;
  readonly to: string;
  /** Empty on the link itself. */
  readonly via: string;
  /** Empty: unreachable. */
  readonly device: string;
  /** Where our own packets come from; empty when it is unreachable. */
  readonly source: string;
}

/** What stands in the journal. */
export function routeRecord(
  table: number,
  to: string,
  via: string,
  device: string,
  source: string,
): RouteRecord {
  const way = device === "" ? "unreachable" : via === "" ? device : `${via} ${device}`;
  const about = `route ${to} (${way}, table ${table})`;
  return { kind: "route", about, table, to, via, device, source };
}

/** The step. */
export function routeStep(kernel: RouteKernel): StepKind<RouteRecord> {
  return {
    kind: "route",
    apply: (record) => {
      const route = wanted(kernel, record);
      if (route === null) throw new Error(`Cannot add ${record.about} as the device is gone`);
      try {
        kernel.addRoute(route);
      } catch (error) {
        if (!(error instanceof KernelRefusal) || error.errno !== Errno.Eexist) throw error;
        if (kernel.find(kernel.routes(record.table, 0), routeText, routeText(route))) return;
        throw new Error(`Cannot add ${record.about} as another one is there: see ip route`);
      }
    },
    undo: (record) => {
      const route = wanted(kernel, record);
      if (route !== null) kernel.deleteRoute(route); // with its device its routes are gone
    },
    drift: (record) => {
      const route = wanted(kernel, record);
      const found = kernel.routes(record.table, 0);
      if (route !== null && kernel.find(found, routeText, routeText(route))) return [];
      const to = destinationText(record);
      const other = found.find((one) =>
        prefixText(one.family, one.destination, one.length) === to &&
        (one.metric === LAST_METRIC) === (record.device === "")
      );
      return [`${record.about}: the route ${other === undefined ? "is missing" : "was changed"}`];
    },
  };
}

/** All that makes a route what it is, to be compared. */
function routeText(route: Route): string {
  const { destination, family, gateway, index, length, metric, protocol, source, table } = route;
  const device = route.type === RouteType.Unreachable ? 0 : index; // the kernel names lo there
  return `${prefixText(family, destination, length)} type ${route.type} via ` +
    `${formatInet(family, gateway)} dev ${device} src ${formatInet(family, source)} metric ` +
    `${metric} table ${table} proto ${protocol}`;
}

/** What a route of our tables is told from others by: table, where to, whether it is the last one. */
export function keyOfRoute({ destination, family, length, metric, table }: Route): string {
  return `${table} ${prefixText(family, destination, length)} ${metric === LAST_METRIC}`;
}

/** The same of one in a journal. */
export function keyOfRecord(record: RouteRecord): string {
  return `${record.table} ${destinationText(record)} ${record.device === ""}`;
}

function destinationText({ about, to }: RouteRecord): string {
  const bytes = new Uint8Array(16);
  const length = parsePrefix(to, bytes, about);
  return `${bytes.subarray(0, 4).join(".")}/${length}`;
}

/** Null when its device is gone. */
function wanted(kernel: RouteKernel, record: RouteRecord): Route | null {
  const { about, device, source, table, to, via } = record;
  const route = new Route();
  route.length = parsePrefix(to, route.destination, about);
  route.table = table;
  route.protocol = OVERLAY_PROTOCOL;
  if (device === "") {
    route.type = RouteType.Unreachable;
    route.metric = LAST_METRIC;
    return route;
  }
  const link = kernel.link(device);
  if (link === null) return null;
  route.type = RouteType.Unicast;
  route.index = link.index;
  route.scope = via === "" ? RouteScope.Link : RouteScope.Universe;
  parseInet(via === "" ? NOWHERE : via, route.gateway);
  parseInet(source, route.source);
  return route;
}
