/**
 * Checks of `fairlead doctor`: whether this box can be part of overlays. ip-link(8) for VXLAN, tc-tbf(8),
 * ip-xfrm(8), setpriv(1), capabilities(7). What is made to try it is taken away again.
 *
 * @module
 */
import { libcAvailable } from "../io/libc.ts";
import {
  type About,
  Capability,
  type Check,
  type Credentials,
  hasCapability,
  infoOf,
  limited,
  missing,
  ok,
} from "./check.ts";
import { parseAddress } from "../wire/msgr2/entity_addr.ts";
import { GROUP_SCHEMA } from "./config/overlay_common_config.ts";
import { espCapable } from "./overlay/node/association_step.ts";
import { capabilitiesOf } from "./overlay/node/node_check.ts";
import { RouteKernel, type Underlay } from "./overlay/node/route_kernel.ts";

const SETPRIV = "/usr/bin/setpriv";
const AS_ROOT = "run fairlead overlay rd as root";

/** What trying something gave: a value, or why it could not be tried. */
export type Tried<T> = { readonly value: T } | { readonly reason: string };

/** Looks at what a resource daemon needs. */
export function checkOverlay(who: Credentials | null, timeKept: boolean): Check[] {
  const mayTry = who !== null && hasCapability(who, Capability.NetAdmin) && libcAvailable();
  const denied = { reason: "cannot be tried without CAP_NET_ADMIN" };
  const devices = mayTry ? tried(() => withKernel(capabilitiesOf)) : denied;
  const group = GROUP_SCHEMA.default;
  return [
    checkOverlayRights(who),
    checkVxlan(devices),
    checkRates(devices),
    checkTunnelEsp(mayTry ? tried(() => espCapable("")) : denied),
    checkGroup(
      group,
      libcAvailable()
        ? tried(() => withKernel((kernel) => kernel.underlay(parseAddress(group).host)))
        : { reason: "cannot be tried without libc" },
    ),
    checkScripts(infoOf(SETPRIV)?.isFile === true, who),
    checkSignatures(timeKept),
  ];
}

/** Whether the process may change links and files of root. */
export function checkOverlayRights(who: Credentials | null): Check {
  const why = "a resource daemon makes tunnels, addresses and routes, and writes host names";
  const about = { name: "overlay rights", why, needed: false };
  if (who === null) return limited(about, "CapEff cannot be read", AS_ROOT);
  if (!hasCapability(who, Capability.NetAdmin)) {
    return limited(about, "CAP_NET_ADMIN missing", `${AS_ROOT}; managers need no rights`);
  }
  if (who.uid === 0) return ok(about, "root with CAP_NET_ADMIN");
  const remedy = `${AS_ROOT}, or give "hosts" a file that its user may write`;
  return limited(about, "CAP_NET_ADMIN, but not root: /etc/hosts is not ours", remedy);
}

/** Whether tunnels can be made. */
export function checkVxlan(devices: Tried<readonly string[]>): Check {
  const about = { name: "VXLAN", why: "links of overlays are such tunnels", needed: false };
  if ("reason" in devices) return untried(about, devices.reason);
  if (devices.value.includes("vxlan")) return ok(about, "a device was made and taken away");
  const remedy = "modprobe vxlan, or a kernel with CONFIG_VXLAN; without it this box cannot be " +
    "part of overlays";
  return missing(about, "the kernel makes no such device", remedy);
}

/** Whether the rate of a link can be limited. */
export function checkRates(devices: Tried<readonly string[]>): Check {
  const about = { name: "tbf", why: "it limits the rate of links that have one", needed: false };
  if ("reason" in devices) return untried(about, devices.reason);
  if (devices.value.includes("tbf")) return ok(about, "a link's rate was limited");
  const remedy = "modprobe sch_tbf, or a kernel with CONFIG_NET_SCH_TBF; overlays with rates do " +
    "without this box until then";
  return limited(about, "a link's rate cannot be limited", remedy);
}

/** Whether tunnels can be encrypted. */
export function checkTunnelEsp(esp: Tried<boolean>): Check {
  const why = "it encrypts the tunnels of overlays that want it";
  const about = { name: "ESP of tunnels", why, needed: false };
  if ("reason" in esp) return untried(about, esp.reason);
  if (esp.value) return ok(about, "an association was made and taken away");
  const remedy =
    "modprobe esp4 xfrm_user, or a kernel with CONFIG_INET_ESP and CONFIG_CRYPTO_GCM; " +
    "encrypted overlays do without this box until then";
  return limited(about, "an association of ESP with AES-GCM is refused", remedy);
}

/** Whether invitations to the group leave, and arrive where tunnels end. */
export function checkGroup(group: string, way: Tried<Underlay>): Check {
  const why = "managers invite by multicast; nodes that are named need none";
  const about = { name: "multicast", why, needed: false };
  if ("value" in way && way.value.device !== "lo") {
    const { device, mtu, source } = way.value;
    return ok(about, `${group} leaves by ${device} from ${source}, MTU ${mtu}`);
  }
  const found = "reason" in way ? way.reason : `${group} leaves by lo only`;
  const remedy =
    'ip route add 239.0.0.0/8 dev DEVICE, or give "address" to the resource daemon and ' +
    "name it to the manager with --node";
  return limited(about, found, remedy);
}

/** Whether scripts can be run with less than our rights. */
export function checkScripts(there: boolean, who: Credentials | null): Check {
  const why = "scripts of overlays, where they are allowed, run as a user of their own by it";
  const about = { name: "setpriv", why, needed: false };
  if (!there) {
    const remedy = "install util-linux; without it no script is run";
    return limited(about, `${SETPRIV} is not there`, remedy);
  }
  if (who?.uid === 0) return ok(about, SETPRIV);
  return limited(about, `${SETPRIV} is there, but only root may become another user`, AS_ROOT);
}

/** Whether the clock is as good as signatures need it. */
export function checkSignatures(timeKept: boolean): Check {
  const why = "invitations are signed with the time, and heard only while they are fresh";
  const about = { name: "signatures", why, needed: false };
  if (timeKept) return ok(about, "the clock is kept right");
  const remedy =
    "enable systemd-timesyncd or chrony on every box: where clocks differ much, no box " +
    "answers";
  return limited(about, "nothing keeps the clock right", remedy);
}

function untried(about: About, reason: string): Check {
  return limited(about, reason, AS_ROOT);
}

function tried<T>(work: () => T): Tried<T> {
  try {
    return { value: work() };
  } catch (error) {
    return { reason: (error as Error).message };
  }
}

function withKernel<T>(work: (kernel: RouteKernel) => T): T {
  const kernel = RouteKernel.open("");
  try {
    return work(kernel);
  } finally {
    kernel.close();
  }
}
