/**
 * The steps `link` and `up`. A virtual link is a VXLAN device (RFC 7348) that is made down, with its MTU,
 * as the kernel would leave 1500 without a lower device; and without one, so that its packets follow
 * the routes of a lower overlay. It comes up later, when what protects it is there; only then is
 * forwarding set, for this device alone.
 *
 * @module
 */
import { Errno } from "../../../io/errno.ts";
import { Family, formatInet, parseInet } from "../../../wire/inet.ts";
import { LinkFlag } from "../../../wire/netlink/link.ts";
import { Vxlan } from "../../../wire/netlink/vxlan.ts";
import type { PlanLink } from "../../../wire/xbone/node_plan.ts";
import { KernelRefusal, type RouteKernel } from "./route_kernel.ts";
import type { StepKind, StepRecord } from "./step.ts";

/** All our devices' names begin so; the rest is the VNI. */
const DEVICE_PREFIX = "xb";
const ALIAS_PREFIX = "xb:";
/** IFALIASZ - 1. */
const ALIAS_MAX = 255;
/** `rp_filter`: 1 drops what comes by another way than ours goes. */
const STRICT = 1;

/** A device, and who is at its ends. */
export interface LinkRecord extends StepRecord {
  readonly kind: "link";
  /** Of the plan: `a-b`. */
  readonly link: string;
  readonly device: string;
  readonly alias: string;
  readonly vni: number;
  readonly port: number;
  readonly local: string;
  readonly remote: string;
  readonly mtu: number;
  readonly address: string;
  readonly peerAddress: string;
}

/** The device comes up. */
export interface UpRecord extends StepRecord {
  readonly kind: "up";
  readonly device: string;
  readonly alias: string;
  readonly vni: number;
  readonly forwarding: boolean;
  /** The box is visited more than once: a packet may come back that it sent itself. */
  readonly revisited: boolean;
}

/** `xb00a1f2`. */
export function deviceOf(vni: number): string {
  return `${DEVICE_PREFIX}${vni.toString(16).padStart(6, "0")}`;
}

/** `xb:demo:a-b`: ASCII, as the kernel keeps bytes. */
export function aliasOf(overlay: string, link: string): string {
  return `${ALIAS_PREFIX}${overlay}:${link}`.replaceAll(/[^\x21-\x7e]/g, "_").slice(0, ALIAS_MAX);
}

/** Whether a device is some overlay's: marked, or made by us and not marked before we were killed. */
export function isOurs({ alias, kind, name, vni }: Vxlan): boolean {
  if (kind !== "vxlan") return false;
  return alias === "" ? name === deviceOf(vni) : alias.startsWith(ALIAS_PREFIX);
}

/** What stands in the journal for a link. */
export function linkRecord(overlay: string, link: PlanLink): LinkRecord {
  const { address, local, mtu, name, peerAddress, port, remote, vni } = link;
  const device = deviceOf(vni);
  return {
    kind: "link",
    about: `link ${name} (${device})`,
    link: name,
    device,
    alias: aliasOf(overlay, name),
    ...{ vni, port, local, remote, mtu, address, peerAddress },
  };
}

/** What stands in the journal for its coming up. */
export function upRecord(
  { alias, device, link, vni }: LinkRecord,
  forwarding: boolean,
  revisited: boolean,
): UpRecord {
  const about = `link ${link} up (${device})`;
  return { kind: "up", about, device, alias, vni, forwarding, revisited };
}

/** The step `link`. */
export function linkStep(kernel: RouteKernel): StepKind<LinkRecord> {
  return {
    kind: "link",
    apply: (record) => {
      const made = own(kernel, record);
      if (made === null) create(kernel, record);
      const link = made ?? own(kernel, record);
      if (link === null) throw new Error(`Cannot make ${record.about} as it vanished at once`);
      if (link.alias === "") kernel.setAlias(link.index, record.alias);
    },
    undo: (record) => {
      const link = own(kernel, record) ?? renamed(kernel, record);
      if (link !== null) kernel.deleteLink(link.index);
    },
    drift: (record) => {
      const link = kernel.link(record.device);
      if (link === null) return [`${record.about}: the device is missing`];
      const lines: string[] = [];
      const compare = (what: string, found: unknown, wanted: unknown): void => {
        if (found !== wanted) lines.push(`${record.about}: ${what} is ${found}, not ${wanted}`);
      };
      compare("kind", link.kind, "vxlan");
      if (lines.length > 0) return lines;
      compare("VNI", link.vni, record.vni);
      compare("port", link.port, record.port);
      compare("local end", formatInet(link.family, link.local), canonical(record.local));
      compare("remote end", formatInet(link.family, link.remote), canonical(record.remote));
      compare("mtu", link.mtu, record.mtu);
      compare("alias", link.alias, record.alias);
      return lines;
    },
  };
}

/** The step `up`. */
export function upStep(kernel: RouteKernel): StepKind<UpRecord> {
  return {
    kind: "up",
    apply: (record) => {
      const link = own(kernel, record);
      if (link === null) throw new Error(`Cannot bring up ${record.device} as it is gone`);
      refuseStrict(kernel, record);
      link.forwarding = Number(record.forwarding);
      link.rpFilter = 0;
      link.acceptLocal = Number(record.revisited);
      kernel.setInet(link);
      kernel.setUp(link.index, true);
    },
    undo: (record) => {
      const link = own(kernel, record);
      if (link !== null) kernel.setUp(link.index, false);
    },
    drift: (record) => {
      const link = own(kernel, record);
      if (link === null) return []; // told of by its step `link`
      const lines: string[] = [];
      if ((link.flags & LinkFlag.Up) === 0) lines.push(`${record.about}: the device is down`);
      const compare = (what: string, found: number, wanted: boolean): void => {
        if (found === -1 || found === Number(wanted)) return; // the kernel does not say, or so it is
        lines.push(`${record.about}: ${what} is ${found}, not ${Number(wanted)}`);
      };
      compare("forwarding", link.forwarding, record.forwarding);
      compare("accept_local", link.acceptLocal, record.revisited);
      if (kernel.confOfAll("rp_filter") === STRICT || link.rpFilter === STRICT) {
        lines.push(`${record.about}: rp_filter is 1, which may drop what comes by another way`);
      }
      return lines;
    },
  };
}

/** IPv6 may be written in many ways. */
function canonical(text: string): string {
  const bytes = new Uint8Array(16);
  return formatInet(parseInet(text, bytes), bytes);
}

/** The greater one of all's and the device's counts: ip-sysctl. */
function refuseStrict(kernel: RouteKernel, { device }: UpRecord): void {
  if (kernel.confOfAll("rp_filter") !== STRICT) return;
  throw new Error(
    `Cannot route over ${device} as net.ipv4.conf.all.rp_filter drops what comes by another way ` +
      "than ours goes: current value is 1, set it to 0 or 2",
  );
}

/** The device, when it is this record's: nobody else's is ever touched. */
export function own(
  kernel: RouteKernel,
  { alias, device, vni }: Pick<LinkRecord, "alias" | "device" | "vni">,
): Vxlan | null {
  const link = kernel.link(device);
  if (link === null || link.kind !== "vxlan" || link.vni !== vni) return null;
  return link.alias === "" || link.alias === alias ? link : null;
}

/** The device under a name that somebody gave it; the mark is still ours. */
function renamed(kernel: RouteKernel, { alias, device, vni }: LinkRecord): Vxlan | null {
  return kernel.links().find((link) =>
    link.kind === "vxlan" && link.vni === vni && link.alias === alias && link.name !== device
  ) ?? null;
}

function create(kernel: RouteKernel, record: LinkRecord): void {
  const { about, device, local, mtu, port, remote, vni } = record;
  const wanted = new Vxlan();
  wanted.name = device;
  wanted.mtu = mtu;
  wanted.vni = vni;
  wanted.port = port;
  wanted.family = parseInet(remote, wanted.remote);
  if (wanted.family === Family.None || parseInet(local, wanted.local) !== wanted.family) {
    throw new Error(
      `Cannot make ${about} as its ends must be two addresses of one family: current value is ` +
        `${local} and ${remote}`,
    );
  }
  try {
    kernel.addVxlan(wanted);
  } catch (error) {
    if (!(error instanceof KernelRefusal) || error.errno !== Errno.Eexist) throw error;
    throw new Error(
      `Cannot make ${about} as another device has this name, or VNI ${vni} at UDP port ${port}: ` +
        "see ip -d link show type vxlan, and form the overlay again",
    );
  }
}
