/**
 * Checks of `fairlead doctor`: the kernel and what it tells, limits, the clock, who starts and
 * watches programs. proc_pid_limits(5), core(5), inotify(7), sd_booted(3), sd_notify(3).
 *
 * @module
 */
import { CONNECTIONS_MAX } from "../mem/limits.ts";
import { type Check, infoOf, limited, missing, namesIn, ok, readText } from "./check.ts";

/** Descriptors besides connections: listeners, epoll, files, deno's own. */
const FILES_OTHER = 64;
const KERNEL_WANTED = [5, 6] as const; // MPTCP v1 came with 5.6
const YEAR_MIN = 2026; // older than this program: the clock was never set
const YEAR_MAX = 2099;

/** A followed file has a watcher, and another program of this user may have some. */
const WATCHERS_OTHER = 8;

/** What keeps the time, as the kernel names processes: 15 letters at most. */
const TIMESYNCD = "systemd-timesyn";
const TIME_KEEPERS = [
  ...["chronyd", "ntpd", "ntpd-rs", "ntp-daemon", "openntpd", "phc2sys", "timemaster"],
  ...["VBoxService", "vmtoolsd"],
];

/** Where systemd-timesyncd tells that it has set the clock. */
const TIMESYNC_DONE = "/run/systemd/timesync/synchronized";

/** Whether the readings of this box can be taken. */
export function checkProc(): Check {
  const about = { name: "/proc", why: "the gateway reads load, memory and network", needed: false };
  const gone = ["/proc/loadavg", "/proc/meminfo", "/proc/net/dev"]
    .filter((path) => readText(path) === null);
  if (gone.length === 0) return ok(about, "it can be read");
  const found = `${gone.join(", ")} cannot be read`;
  const remedy = "mount /proc and run deno with -A; until then those readings are left out";
  return gone.length === 3 ? missing(about, found, remedy) : limited(about, found, remedy);
}

/** Whether temperatures can be read. */
export function checkThermal(): Check {
  const about = { name: "thermal zones", why: "the gateway reads temperatures", needed: false };
  const zones = namesIn("/sys/class/thermal").filter((name) =>
    name.startsWith("thermal_zone") && readText(`/sys/class/thermal/${name}/temp`) !== null
  );
  if (zones.length > 0) return ok(about, `${zones.length} of them`);
  return missing(about, "none", "none for a virtual machine; temperatures are left out");
}

/** How many descriptors are allowed; `limits` is the text of /proc/self/limits. */
export function checkFiles(limits: string | null): Check {
  const wanted = CONNECTIONS_MAX + FILES_OTHER;
  const why = `each connection takes a descriptor, ${CONNECTIONS_MAX} at most`;
  const about = { name: "open files", why, needed: false };
  const soft = softLimit(limits, "Max open files");
  if (soft === null) {
    return limited(about, "the limit cannot be read", "ulimit -n tells it on this system");
  }
  const found = `${soft === Infinity ? "unlimited" : soft} allowed`;
  if (soft >= wanted) return ok(about, found);
  const remedy = `ulimit -n ${wanted}, or LimitNOFILE=${wanted} in its systemd unit`;
  return limited(about, found, remedy);
}

/**
 * What a crash leaves on disk. A pattern that begins with `|` hands it to a program instead, whatever
 * the limit is.
 *
 * @param pattern the text of kernel.core_pattern
 */
export function checkCores(limits: string | null, pattern: string | null): Check {
  const why = "what a crash leaves holds keys and messages, and fills the disk";
  const about = { name: "core files", why, needed: false };
  const soft = softLimit(limits, "Max core file size");
  if (pattern?.startsWith("|")) return ok(about, `a program takes them: ${pattern.trim()}`);
  if (soft === 0) return ok(about, "none is written");
  const most = soft === Infinity ? "all memory is" : `up to ${soft} bytes are`;
  const found = soft === null ? "the limit cannot be read" : `${most} written`;
  return limited(about, found, "ulimit -c 0, or LimitCORE=0 in its systemd unit");
}

/**
 * How many files can be followed by events.
 *
 * @param follows how many there are; null: nobody says
 */
export function checkInotify(instances: string | null, follows: number | null): Check {
  const why = "a followed file is read as it grows; without, once a second";
  const about = { name: "inotify", why, needed: false };
  const remedy = (wanted: number): string =>
    `sysctl -w fs.inotify.max_user_instances=${wanted}; until then files are polled`;
  const wanted = (follows ?? 1) + WATCHERS_OTHER;
  if (instances === null) {
    const found = "fs.inotify.max_user_instances cannot be read";
    return missing(about, found, "use a kernel with CONFIG_INOTIFY_USER; files are polled");
  }
  const found = `${instances.trim()} instances for each user`;
  return Number(instances) >= wanted ? ok(about, found) : limited(about, found, remedy(wanted));
}

/** Whether the kernel is new enough; `release` as uname(2) tells it. */
export function checkKernel(release: string): Check {
  const why = "MPTCP and the events of paths came with Linux 5.6 and later";
  const about = { name: "kernel", why, needed: false };
  const found = `${Deno.build.os} ${release}`;
  const remedy = `use Linux ${KERNEL_WANTED.join(".")} or later for paths and standby`;
  const [major = 0, minor = 0] = release.split(".").map((word) => parseInt(word, 10));
  const [wantedMajor, wantedMinor] = KERNEL_WANTED;
  const enough = major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
  return Deno.build.os === "linux" && enough ? ok(about, found) : limited(about, found, remedy);
}

/** Whether the clock was ever set. */
export function checkClock(now: Date): Check {
  const why = "cephx tickets, messages and readings carry the time";
  const about = { name: "clock", why, needed: false };
  const found = now.toISOString();
  const year = now.getUTCFullYear();
  if (year >= YEAR_MIN && year <= YEAR_MAX) return ok(about, found);
  return limited(about, found, "set it by NTP (timedatectl set-ntp true) or by hand (date -s)");
}

/**
 * Whether something keeps the clock right.
 *
 * @param programs names of running processes
 * @param synchronised systemd-timesyncd says that it has set the clock
 */
export function checkTime(programs: readonly string[], synchronised: boolean): Check {
  const why = "a clock that nobody sets drifts, and times of messages with it";
  const about = { name: "time source", why, needed: false };
  if (synchronised) return ok(about, "systemd-timesyncd has set the clock");
  const keeper = programs.find((name) => TIME_KEEPERS.includes(name));
  if (keeper !== undefined) return ok(about, `${keeper} runs`);
  if (programs.includes(TIMESYNCD)) {
    const remedy = "timedatectl timesync-status tells its server; let UDP port 123 through";
    return limited(about, "systemd-timesyncd runs, and has not set the clock yet", remedy);
  }
  const remedy = "install chrony, or timedatectl set-ntp true; a virtual machine may have its " +
    "time from its host";
  return limited(about, "no program that sets the clock is seen running", remedy);
}

/** Names of the processes that can be seen. */
export function runningPrograms(): string[] {
  return namesIn("/proc").filter((name) => /^\d+$/.test(name))
    .map((pid) => readText(`/proc/${pid}/comm`)?.trim() ?? "");
}

/** True when systemd-timesyncd has set the clock since the start of the box. */
export function timeSynchronised(): boolean {
  return infoOf(TIMESYNC_DONE) !== null;
}

/**
 * Who starts this program again when it ends.
 *
 * @param socket NOTIFY_SOCKET of the environment
 * @param booted systemd started this box
 */
export function checkManager(socket: string | undefined, booted: boolean): Check {
  const why = "it starts the gateway again, and ends one that hangs";
  const about = { name: "service manager", why, needed: false };
  if (socket !== undefined && socket !== "") {
    const there = socket.startsWith("@") || infoOf(socket) !== null;
    if (there) return ok(about, `it listens at NOTIFY_SOCKET ${socket}`);
    const remedy = "let the manager set it: Type=notify in its systemd unit";
    return limited(about, `nothing is at NOTIFY_SOCKET ${socket}`, remedy);
  }
  if (booted) {
    return ok(about, "systemd runs this box; its socket is there when it starts the gateway");
  }
  const remedy =
    "have it started by systemd (fairlead gateway --print-unit), or by another program " +
    "that starts it again, such as procd or runit";
  return limited(about, "systemd does not run this box", remedy);
}

/** The soft limit of a line of /proc/self/limits; null when it is not there. */
function softLimit(limits: string | null, name: string): number | null {
  const line = limits?.split("\n").find((line) => line.startsWith(name));
  const soft = line?.slice(name.length).trim().split(/\s+/)[0];
  if (soft === undefined || !/^(\d+|unlimited)$/.test(soft)) return null;
  return soft === "unlimited" ? Infinity : Number(soft);
}
