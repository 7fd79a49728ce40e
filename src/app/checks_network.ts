/**
 * Checks of `fairlead doctor`: addresses, ports, and what the kernel's network offers. ip(7) for
 * privileged ports, the kernel's Documentation/networking/mptcp-sysctl.rst for MPTCP.
 *
 * @module
 */
import { errnoText } from "../io/errno.ts";
import { errno, libc, libcAvailable } from "../io/libc.ts";
import { parseAddress } from "../wire/msgr2/entity_addr.ts";
import {
  Capability,
  type Check,
  type Credentials,
  hasCapability,
  limited,
  missing,
  ok,
} from "./check.ts";

const AF_INET = 2;
const AF_NETLINK = 16;
const SOCK_STREAM = 1;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_MPTCP = 262;
const NETLINK_XFRM = 6;

/** Where the kernel does not tell another one. */
const UNPRIVILEGED_PORT = 1024;

/** Something that listens. */
export interface Listening {
  /** Its key in the configuration. */
  readonly path: string;
  /** `HOST:PORT` */
  readonly address: string;
}

/** Whether IPv6 is there. */
export function checkIpv6(): Check {
  const about = { name: "IPv6", why: "addresses such as v2:[::1]:3300", needed: false };
  const refused = tryListen("::1");
  if (refused === "") return ok(about, "::1 can be listened at");
  const remedy = "sysctl net.ipv6.conf.all.disable_ipv6=0, or use IPv4 addresses";
  return missing(about, refused, remedy);
}

/**
 * Whether MPTCP is there.
 *
 * @param enabled the text of its sysctl
 * @param needed "paths" wants it
 */
export function checkMptcp(enabled: string | null, needed: boolean): Check {
  const why = "a session may then use several uplinks at once";
  const about = { name: "MPTCP", why, needed };
  const closed = needed ? missing : limited;
  if (enabled === null) {
    const remedy = "use a kernel with CONFIG_MPTCP; plain TCP works without";
    return missing(about, "net.mptcp.enabled cannot be read", remedy);
  }
  if (enabled.trim() !== "1") {
    const remedy = "sysctl -w net.mptcp.enabled=1; plain TCP works without";
    return closed(about, `net.mptcp.enabled = ${enabled.trim()}`, remedy);
  }
  const refused = trySocket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
  if (refused === "") return ok(about, "net.mptcp.enabled = 1");
  return closed(about, refused, "plain TCP works without");
}

/** Whether the kernel tells of IPsec associations. */
export function checkXfrm(): Check {
  const why = "a standby box keeps IPsec associations in step by it";
  const about = { name: "XFRM", why, needed: false };
  const refused = tryNetlink(NETLINK_XFRM);
  if (refused === "") return ok(about, "a netlink socket opens");
  const remedy = "modprobe xfrm_user, or a kernel with CONFIG_XFRM_USER; only standby needs it";
  return missing(about, refused, remedy);
}

/** Whether the process may change the network. */
export function checkCapabilities(who: Credentials | null): Check {
  const why = "paths, standby and sniff need CAP_NET_ADMIN and CAP_NET_RAW";
  const about = { name: "capabilities", why, needed: false };
  const remedy = "run as root, or with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in its " +
    "systemd unit; sessions need none";
  if (who === null) return limited(about, "CapEff cannot be read", remedy);
  const wanted = { CAP_NET_ADMIN: Capability.NetAdmin, CAP_NET_RAW: Capability.NetRaw };
  const lacking = Object.entries(wanted).filter(([, bit]) => !hasCapability(who, bit))
    .map(([name]) => name);
  if (lacking.length === 0) return ok(about, "both are there");
  return limited(about, `${lacking.join(" and ")} missing`, remedy);
}

/**
 * Whether low ports can be listened at.
 *
 * @param start the text of net.ipv4.ip_unprivileged_port_start, which counts for IPv6 too
 */
export function checkPorts(
  listening: readonly Listening[],
  who: Credentials | null,
  start: string | null,
): Check {
  const first = start === null ? UNPRIVILEGED_PORT : Number(start);
  const why = `ports below ${first} need CAP_NET_BIND_SERVICE`;
  const about = { name: "ports", why, needed: true };
  const low = listening.filter(({ address }) => {
    const { port } = parseAddress(address);
    return port > 0 && port < first;
  });
  const named = low.map(({ path, address }) => `${path} ${address}`).join(", ");
  if (low.length === 0) return ok(about, "none of them is listened at");
  if (who !== null && hasCapability(who, Capability.NetBindService)) {
    return ok(about, `allowed: ${named}`);
  }
  const remedy =
    `take ports from ${first} on, or AmbientCapabilities=CAP_NET_BIND_SERVICE in its ` +
    "systemd unit (fairlead gateway --print-unit adds it)";
  return missing(about, `CAP_NET_BIND_SERVICE missing for ${named}`, remedy);
}

/** Whether the addresses are this box's: any free port of them is tried. */
export function checkAddresses(listening: readonly Listening[]): Check {
  const why = "only an address of this box can be listened at";
  const about = { name: "addresses", why, needed: true };
  const hosts = [...new Set(listening.map(({ address }) => parseAddress(address).host))];
  const refused = hosts.flatMap((host) => {
    const reason = tryListen(host);
    return reason === "" ? [] : [`${host}: ${reason}`];
  });
  if (refused.length === 0) return ok(about, hosts.join(", "));
  const remedy = "use an address that `ip address` shows, or 0.0.0.0 or [::] for all of them";
  return missing(about, refused.join("; "), remedy);
}

/** Empty when a netlink socket opens, else why not. */
export function tryNetlink(protocol: number): string {
  return trySocket(AF_NETLINK, SOCK_RAW, protocol);
}

/** Empty when an address can be listened at, else why not. */
function tryListen(hostname: string): string {
  try {
    Deno.listen({ hostname, port: 0 }).close();
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

/** Empty when the socket opens, else why not. */
function trySocket(family: number, type: number, protocol: number): string {
  if (!libcAvailable()) return "cannot be tried without libc";
  const fd = libc().socket(family, type | SOCK_CLOEXEC, protocol);
  if (fd < 0) return errnoText(errno());
  libc().close(fd);
  return "";
}
