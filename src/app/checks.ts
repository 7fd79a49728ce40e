/**
 * What `fairlead doctor` looks at. Each check tells one thing of this box: whether it is there,
 * why it matters, and the remedy when it is not.
 *
 * @module
 */
import { statfsSync } from "node:fs";
import { errnoText } from "../io/errno.ts";
import { errno, libc, libcAvailable, libcRefusal } from "../io/libc.ts";
import { libcryptoAvailable, libcryptoRefusal } from "../io/libcrypto.ts";
import { CONNECTIONS_MAX } from "../mem/limits.ts";
import type { IoRoad } from "./endpoint.ts";
import { bytesText } from "./progress.ts";

/** `ok`: all of it. `limited`: it works, less well. `missing`: it does not. */
export type Status = "ok" | "limited" | "missing";

/** One thing of this box. */
export interface Check {
  readonly name: string;
  readonly status: Status;
  /** What was found. */
  readonly found: string;
  /** Why it matters. */
  readonly why: string;
  /** What to do; empty when it is ok. */
  readonly remedy: string;
  /** True when the main road cannot be taken without it. */
  readonly needed: boolean;
}

const AF_INET = 2;
const AF_NETLINK = 16;
const SOCK_STREAM = 1;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_MPTCP = 262;
const NETLINK_XFRM = 6;
const EPOLL_CLOEXEC = 0o2000000;

const CAP_NET_ADMIN = 12;
const CAP_NET_RAW = 13;

/** Descriptors besides connections: listeners, epoll, files, deno's own. */
const FILES_OTHER = 64;
const KERNEL_WANTED = [5, 6] as const; // MPTCP v1 came with 5.6
const YEAR_MIN = 2026; // older than this program: the clock was never set
const YEAR_MAX = 2099;
const DISK_WANTED_BYTES = 256 * 1024 * 1024;
const DISK_NEEDED_BYTES = 16 * 1024 * 1024;

/** Looks at everything; `io` is the road the operator wants to take. */
export function checkAll(io: IoRoad): Check[] {
  const ffiNeeded = io !== "deno";
  return [
    checkLibc(ffiNeeded),
    checkEpoll(ffiNeeded),
    checkLibcrypto(),
    checkIpv6(),
    checkProc(),
    checkThermal(),
    checkFiles(),
    checkKernel(),
    checkMptcp(),
    checkXfrm(),
    checkCapabilities(),
    checkClock(),
    checkDisk(),
  ];
}

function checkLibc(needed: boolean): Check {
  const about = { name: "libc", why: "the main road's sockets are called through FFI", needed };
  if (libcAvailable()) return { ...about, status: "ok", found: "libc.so.6 opens", remedy: "" };
  const found = libcRefusal();
  const remedy = Deno.build.os === "linux"
    ? "run on glibc with --allow-ffi, or use --io=deno, which is slower"
    : "use --io=deno, which is slower";
  return { ...about, status: "missing", found, remedy };
}

function checkEpoll(needed: boolean): Check {
  const about = { name: "epoll", why: "the main road waits for its sockets by it", needed };
  const remedy = "use --io=deno, which is slower";
  if (!libcAvailable()) return { ...about, status: "missing", found: "no libc", remedy };
  const fd = libc().epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return { ...about, status: "missing", found: errnoText(errno()), remedy };
  libc().close(fd);
  return { ...about, status: "ok", found: "an instance opens", remedy: "" };
}

function checkLibcrypto(): Check {
  const why = "secure mode is 5 to 20 times faster with it than with node:crypto";
  const about = { name: "libcrypto", why, needed: false };
  if (libcryptoAvailable()) {
    return { ...about, status: "ok", found: "libcrypto.so.3 opens", remedy: "" };
  }
  const remedy = "install OpenSSL 3 (libssl3); until then node:crypto is used";
  return { ...about, status: "limited", found: libcryptoRefusal(), remedy };
}

function checkIpv6(): Check {
  const about = { name: "IPv6", why: "addresses such as v2:[::1]:3300", needed: false };
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return { ...about, status: "ok", found: "::1 can be listened at", remedy: "" };
  } catch (error) {
    const remedy = "sysctl net.ipv6.conf.all.disable_ipv6=0, or use IPv4 addresses";
    return { ...about, status: "missing", found: (error as Error).message, remedy };
  }
}

function checkProc(): Check {
  const about = { name: "/proc", why: "the gateway reads load, memory and network", needed: false };
  const missing = ["/proc/loadavg", "/proc/meminfo", "/proc/net/dev"]
    .filter((path) => readText(path) === null);
  if (missing.length === 0) return { ...about, status: "ok", found: "it can be read", remedy: "" };
  const found = `${missing.join(", ")} cannot be read`;
  const remedy = "mount /proc and run deno with -A; until then those readings are left out";
  return { ...about, status: missing.length === 3 ? "missing" : "limited", found, remedy };
}

function checkThermal(): Check {
  const about = { name: "thermal zones", why: "the gateway reads temperatures", needed: false };
  let zones = 0;
  try {
    for (const { name } of Deno.readDirSync("/sys/class/thermal")) {
      if (!name.startsWith("thermal_zone")) continue;
      if (readText(`/sys/class/thermal/${name}/temp`) !== null) zones++;
    }
  } catch {
    // no such directory: no zones
  }
  if (zones > 0) return { ...about, status: "ok", found: `${zones} of them`, remedy: "" };
  const remedy = "none for a virtual machine; temperatures are left out";
  return { ...about, status: "missing", found: "none", remedy };
}

function checkFiles(): Check {
  const wanted = CONNECTIONS_MAX + FILES_OTHER;
  const why = `each connection takes a descriptor, ${CONNECTIONS_MAX} at most`;
  const about = { name: "open files", why, needed: false };
  const line = /^Max open files\s+(?<soft>\S+)/m.exec(readText("/proc/self/limits") ?? "");
  const soft = line?.groups?.soft;
  if (soft === undefined) {
    const remedy = "ulimit -n tells it on this system";
    return { ...about, status: "limited", found: "the limit cannot be read", remedy };
  }
  const count = soft === "unlimited" ? Infinity : Number(soft);
  if (count >= wanted) return { ...about, status: "ok", found: `${soft} allowed`, remedy: "" };
  const remedy = `ulimit -n ${wanted}, or LimitNOFILE=${wanted} in its systemd unit`;
  return { ...about, status: "limited", found: `${soft} allowed`, remedy };
}

function checkKernel(): Check {
  const why = "MPTCP and the events of paths came with Linux 5.6 and later";
  const about = { name: "kernel", why, needed: false };
  const release = Deno.osRelease();
  const found = `${Deno.build.os} ${release}`;
  const remedy = `use Linux ${KERNEL_WANTED.join(".")} or later for paths and standby`;
  if (Deno.build.os !== "linux") return { ...about, status: "limited", found, remedy };
  const [major = 0, minor = 0] = release.split(".").map((word) => parseInt(word, 10));
  const [wantedMajor, wantedMinor] = KERNEL_WANTED;
  const enough = major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
  if (enough) return { ...about, status: "ok", found, remedy: "" };
  return { ...about, status: "limited", found, remedy };
}

function checkMptcp(): Check {
  const why = "a session may then use several uplinks at once";
  const about = { name: "MPTCP", why, needed: false };
  const enabled = readText("/proc/sys/net/mptcp/enabled")?.trim();
  if (enabled === undefined) {
    const remedy = "use a kernel with CONFIG_MPTCP; plain TCP works without";
    return { ...about, status: "missing", found: "net.mptcp.enabled cannot be read", remedy };
  }
  const opened = trySocket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
  if (enabled === "1" && opened === "") {
    return { ...about, status: "ok", found: "net.mptcp.enabled = 1", remedy: "" };
  }
  const found = enabled === "1" ? opened : `net.mptcp.enabled = ${enabled}`;
  const remedy = enabled === "1"
    ? "plain TCP works without"
    : "sysctl -w net.mptcp.enabled=1; plain TCP works without";
  return { ...about, status: "limited", found, remedy };
}

function checkXfrm(): Check {
  const why = "a standby box keeps IPsec associations in step by it";
  const about = { name: "XFRM", why, needed: false };
  const refused = trySocket(AF_NETLINK, SOCK_RAW, NETLINK_XFRM);
  if (refused === "") {
    return { ...about, status: "ok", found: "a netlink socket opens", remedy: "" };
  }
  const remedy = "modprobe xfrm_user, or a kernel with CONFIG_XFRM_USER; only standby needs it";
  return { ...about, status: "missing", found: refused, remedy };
}

function checkCapabilities(): Check {
  const why = "paths, standby and sniff need CAP_NET_ADMIN and CAP_NET_RAW";
  const about = { name: "capabilities", why, needed: false };
  const hex = /^CapEff:\s*(?<hex>[0-9a-f]+)$/m.exec(readText("/proc/self/status") ?? "");
  const remedy = "run as root, or with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in its " +
    "systemd unit; sessions need none";
  if (hex === null) {
    return { ...about, status: "limited", found: "CapEff cannot be read", remedy };
  }
  const effective = BigInt(`0x${hex.groups!.hex}`);
  const lacking = Object.entries({ CAP_NET_ADMIN, CAP_NET_RAW })
    .filter(([, bit]) => (effective >> BigInt(bit) & 1n) === 0n)
    .map(([name]) => name);
  if (lacking.length === 0) return { ...about, status: "ok", found: "both are there", remedy: "" };
  return { ...about, status: "limited", found: `${lacking.join(" and ")} missing`, remedy };
}

function checkClock(): Check {
  const why = "cephx tickets and readings carry the time";
  const about = { name: "clock", why, needed: false };
  const now = new Date();
  const found = now.toISOString();
  const year = now.getUTCFullYear();
  if (year >= YEAR_MIN && year <= YEAR_MAX) return { ...about, status: "ok", found, remedy: "" };
  const remedy = "set it by NTP (timedatectl set-ntp true) or by hand (date -s)";
  return { ...about, status: "limited", found, remedy };
}

function checkDisk(): Check {
  const why = "received files and spools are written here";
  const about = { name: "disk", why, needed: false };
  try {
    const { bavail, bsize } = statfsSync(".");
    const free = bavail * bsize;
    const found = `${bytesText(free)} free in ${Deno.cwd()}`;
    if (free >= DISK_WANTED_BYTES) return { ...about, status: "ok", found, remedy: "" };
    const status = free >= DISK_NEEDED_BYTES ? "limited" : "missing";
    return { ...about, status, found, remedy: "free some, or work in another directory" };
  } catch (error) {
    const remedy = "allow --allow-read and --allow-sys";
    return { ...about, status: "limited", found: (error as Error).message, remedy };
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

function readText(path: string): string | null {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return null;
  }
}
