/**
 * Checks of `fairlead doctor`: whether the paths of MPTCP connections can be managed here. The kernel's
 * Documentation/networking/mptcp-sysctl.rst, netlink(7), capabilities(7).
 *
 * @module
 */
import { dirname } from "node:path";
import { inNamespace } from "../io/namespace.ts";
import { NetlinkProtocol } from "../io/netlink_socket.ts";
import { isLinkLocal, isLoopback } from "../proto/mptcp/subnet.ts";
import {
  type About,
  Capability,
  type Check,
  type Credentials,
  hasCapability,
  infoOf,
  limited,
  mayOpen,
  missing,
  ok,
  Permission,
  readText,
} from "./check.ts";
import { checkMptcp, tryNetlink } from "./checks_network.ts";
import { coversInterface } from "./config/paths_check.ts";
import type { JoinsConfig, PathsConfig } from "./config/paths_config.ts";

const CAP_SYS_PTRACE = 19;
const CAP_SYS_ADMIN = 21;
const QUEUES = "/proc/net/netfilter/nfnetlink_queue";
const LOGS = "/proc/net/netfilter/nfnetlink_log";

/** RFC 2863 section 3.1.12, ifOperStatus, as sysfs has it. */
const DOWN = /^(down|lowerlayerdown|notpresent)/;

/** An address of an interface. */
export interface Uplink {
  readonly name: string;
  readonly address: string;
  /** False when its interface is known to be without carrier. */
  readonly carrier: boolean;
}

/** Looks at what "paths" needs; null: nobody says, and nothing is needed. */
export function checkPaths(config: PathsConfig | null, who: Credentials | null): Check[] {
  const names = config === null || config.namespaces.length === 0 ? [""] : config.namespaces;
  return [
    ...names.flatMap((name) => checkNamespace(name, config, who)),
    ...(config === null ? [] : [checkPathRights(config, who)]),
    ...(config === null || config.socket === false ? [] : [checkPathSocket(config.socket, who)]),
  ];
}

/** All that is another one in each network namespace. */
function checkNamespace(
  name: string,
  config: PathsConfig | null,
  who: Credentials | null,
): Check[] {
  if (name === "") return checkHere(config, who, true);
  try {
    const checks = inNamespace(name, () => [
      checkMptcp(readText("/proc/sys/net/mptcp/enabled"), true),
      ...checkHere(config, who, false),
    ]);
    return checks.map((check) => ({ ...check, name: `${check.name} in ${name}` }));
  } catch (error) {
    const why = '"paths" names it';
    const remedy = `ip netns add ${name}, or take it from paths.namespaces; to look at it, be root`;
    return [
      missing({ name: `namespace ${name}`, why, needed: true }, (error as Error).message, remedy),
    ];
  }
}

/** @param own sysfs tells of our own namespace only */
function checkHere(config: PathsConfig | null, who: Credentials | null, own: boolean): Check[] {
  const joins = config?.joins ?? false;
  const pmType = readText("/proc/sys/net/mptcp/pm_type");
  return [
    checkPathFamily(pmType, tryNetlink(NetlinkProtocol.Generic), config),
    checkPathManager(pmType, config, who),
    checkPathList(
      tryNetlink(NetlinkProtocol.SockDiag),
      readText("/proc/net/protocols"),
      config !== null,
    ),
    ...(joins === false ? [] : [
      checkJoinGuard(joins, tryNetlink(NetlinkProtocol.Netfilter), infoOf(QUEUES), infoOf(LOGS)),
    ]),
    checkUplinks(uplinks(own), config),
  ];
}

/**
 * Whether paths can be commanded. The family mptcp_pm came with Linux 5.6, its commands for programs
 * with 5.19, as did net.mptcp.pm_type.
 *
 * @param refused why no socket of generic netlink opens; empty when one does
 */
export function checkPathFamily(
  pmType: string | null,
  refused: string,
  config: PathsConfig | null,
): Check {
  const why = "events and commands of paths go through it";
  const about = { name: "mptcp_pm", why, needed: config !== null };
  const remedy = "use Linux 5.19 or later with CONFIG_MPTCP; sessions stay on one path without";
  if (refused !== "") return missing(about, `generic netlink: ${refused}`, remedy);
  if (pmType !== null) return ok(about, "the kernel takes commands of programs");
  const found = "there is no net.mptcp.pm_type, so that the kernel takes no commands of programs";
  return missing(about, found, remedy);
}

/** Whether the manager that is wanted gets the connections; `pmType` is the text of its sysctl. */
export function checkPathManager(
  pmType: string | null,
  config: PathsConfig | null,
  who: Credentials | null,
): Check {
  const why = "a connection keeps the manager that net.mptcp.pm_type names when it is made";
  const about = { name: "path manager", why, needed: config !== null };
  const manager = config?.manager ?? "userspace";
  const wanted = manager === "userspace" ? "1" : "0";
  if (pmType === null) {
    return deny(about, "net.mptcp.pm_type cannot be read", "use Linux 5.19 or later");
  }
  const found = `net.mptcp.pm_type = ${pmType.trim()}`;
  if (pmType.trim() === wanted) return ok(about, found);
  const sysctl = `sysctl -w net.mptcp.pm_type=${wanted} before connections are made`;
  if (config?.setPmType !== true) {
    return deny(
      about,
      `${found}, ${manager} needs ${wanted}`,
      `${sysctl}, or "setPmType": true in "paths"`,
    );
  }
  if (who !== null && hasCapability(who, Capability.NetAdmin)) {
    return ok(about, `${found}, it is set to ${wanted} at the start`);
  }
  return deny(about, `${found}, and setting it to ${wanted} needs CAP_NET_ADMIN`, sysctl);
}

/**
 * Whether connections can be listed.
 *
 * @param protocols the text of /proc/net/protocols
 */
export function checkPathList(refused: string, protocols: string | null, needed: boolean): Check {
  const why = "connections that are there already are found by it, and those that ended untold";
  const about = { name: "sock_diag", why, needed };
  if (refused !== "") {
    return missing(about, refused, "modprobe inet_diag, or a kernel with CONFIG_INET_DIAG");
  }
  if (protocols !== null && !/^MPTCP(v6)?\s/m.test(protocols)) {
    const remedy = "use a kernel with CONFIG_MPTCP and CONFIG_INET_MPTCP_DIAG";
    return missing(about, "/proc/net/protocols has no MPTCP", remedy);
  }
  return ok(about, "a netlink socket opens, and there is MPTCP to list");
}

/** Whether joins can be guarded. */
export function checkJoinGuard(
  joins: JoinsConfig,
  refused: string,
  queues: unknown,
  logs: unknown,
): Check {
  const why = "nftables holds back subflows that peers want to add";
  const about = { name: "join guard", why, needed: true };
  if (refused !== "") {
    return missing(about, refused, 'use a kernel with CONFIG_NF_TABLES, or "joins": false');
  }
  if (joins.decide === "queue" && queues === null) {
    const remedy = "modprobe nfnetlink_queue, or a kernel with CONFIG_NETFILTER_NETLINK_QUEUE, " +
      'or "decide": "set"';
    return missing(about, `${QUEUES} is not there`, remedy);
  }
  if (logs === null) {
    const remedy = "modprobe nfnetlink_log, or a kernel with CONFIG_NETFILTER_NETLINK_LOG";
    return limited(about, `${LOGS} is not there: what is refused is not told`, remedy);
  }
  return ok(about, "netfilter's netlink socket opens");
}

/** Whether there is more than one path to choose from. */
export function checkUplinks(links: readonly Uplink[], config: PathsConfig | null): Check {
  const why = "a session outlives an uplink only where there is another one";
  const about = { name: "uplinks", why, needed: false };
  const used = links.filter((link) =>
    !isLoopback(link.address) && !isLinkLocal(link.address) && roleOf(link, config) !== "off"
  );
  const namesOf = (carrier: boolean): string[] => [
    ...new Set(used.filter((link) => link.carrier === carrier).map(({ name }) => name)),
  ];
  const [up, down] = [namesOf(true), namesOf(false)];
  const dead = down.length === 0 ? "" : `, without carrier: ${down.join(", ")}`;
  const found = `${up.length === 0 ? "none" : up.join(", ")}${dead}`;
  if (up.length > 1) return ok(about, found);
  const remedy = down.length > 0
    ? "plug it in, or switch it on (ip link set NAME up)"
    : `give another interface an address${config === null ? "" : ', and a role in "interfaces"'}`;
  return limited(about, up.length === 1 ? `only ${found}` : found, remedy);
}

/** Whether the process has the rights. */
export function checkPathRights(
  { namespaces, socket }: PathsConfig,
  who: Credentials | null,
): Check {
  const why = "events and commands of paths are for CAP_NET_ADMIN only";
  const about = { name: "path rights", why, needed: true };
  const unit = "(fairlead gateway --print-unit adds it)";
  if (who === null) {
    const remedy = `run as root, or with AmbientCapabilities=CAP_NET_ADMIN in its unit ${unit}`;
    return limited(about, "CapEff cannot be read", remedy);
  }
  const lacking = [
    ...(hasCapability(who, Capability.NetAdmin) ? [] : ["CAP_NET_ADMIN"]),
    ...(namespaces.length === 0 || hasCapability(who, CAP_SYS_ADMIN) ? [] : ["CAP_SYS_ADMIN"]),
  ];
  const remedy = (names: string): string =>
    `run as root, or with AmbientCapabilities=${names} in its unit ${unit}`;
  if (lacking.length > 0) {
    const enters = lacking.includes("CAP_SYS_ADMIN") ? ", to enter namespaces" : "";
    return missing(about, `${lacking.join(" and ")} missing${enters}`, remedy(lacking.join(" ")));
  }
  if (socket !== false && who.uid !== 0 && !hasCapability(who, CAP_SYS_PTRACE)) {
    const found = "CAP_SYS_PTRACE missing: programs of other users, root too, are not let in";
    return limited(about, found, remedy("CAP_NET_ADMIN CAP_SYS_PTRACE"));
  }
  return ok(about, "all are there");
}

/** Whether the socket for other programs can be made. */
export function checkPathSocket(path: string, who: Credentials | null): Check {
  const about = { name: "path socket", why: "other programs ask there", needed: true };
  const directory = dirname(path);
  const info = infoOf(directory);
  const remedy = `install -d -o USER ${directory}, or RuntimeDirectory= in its systemd unit ` +
    "(fairlead gateway --print-unit adds it)";
  if (info === null) return limited(about, `${directory} is not there`, remedy);
  if (!info.isDirectory) return missing(about, `${directory} is no directory`, remedy);
  if (who !== null && !mayOpen(info, Permission.Write, who)) {
    return missing(about, `${directory} cannot be written to`, remedy);
  }
  return ok(about, path);
}

/** What may be otherwise is missing where it is needed. */
function deny(about: About, found: string, remedy: string): Check {
  return about.needed ? missing(about, found, remedy) : limited(about, found, remedy);
}

function uplinks(own: boolean): Uplink[] {
  return Deno.networkInterfaces().map(({ name, address }) => ({
    name,
    address,
    carrier: !own || !DOWN.test(readText(`/sys/class/net/${name}/operstate`) ?? ""),
  }));
}

function roleOf({ name, address }: Uplink, config: PathsConfig | null): string {
  const subnet = `${address}/${address.includes(":") ? 128 : 32}`;
  const rule = config?.interfaces.find((rule) => coversInterface(rule, { name, subnet }));
  return rule?.role ?? "primary";
}
