/**
 * `fairlead doctor`: every check tells a status, why and a remedy; the exit code is the road's, or the
 * configuration's. What the checks say of a box is tried with texts as other boxes have them.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import {
  Capability,
  type Check,
  type Credentials,
  credentialsOf,
  hasCapability,
  mayOpen,
  Permission,
  readText,
} from "../../src/app/check.ts";
import { checkAll, checkFor } from "../../src/app/checks.ts";
import {
  checkFollowed,
  checkPipes,
  checkSerials,
  checkWatchdog,
} from "../../src/app/checks_devices.ts";
import {
  checkAddresses,
  checkCapabilities,
  checkMptcp,
  checkPorts,
} from "../../src/app/checks_network.ts";
import {
  checkGroup,
  checkOverlayRights,
  checkRates,
  checkScripts,
  checkSignatures,
  checkTunnelEsp,
  checkVxlan,
} from "../../src/app/checks_overlay.ts";
import {
  checkJoinGuard,
  checkPathFamily,
  checkPathList,
  checkPathManager,
  checkPathRights,
  checkPaths,
  checkPathSocket,
  checkUplinks,
} from "../../src/app/checks_paths.ts";
import {
  checkAnnouncements,
  checkEsp,
  checkFence,
  checkLink,
  checkPairClock,
  checkStandby,
  checkThresholds,
} from "../../src/app/checks_standby.ts";
import { checkDisk, checkState, checkStorage, placeOf } from "../../src/app/checks_storage.ts";
import {
  checkClock,
  checkCores,
  checkFiles,
  checkInotify,
  checkKernel,
  checkManager,
  checkTime,
} from "../../src/app/checks_system.ts";
import { checkLive, checkUrgent } from "../../src/app/checks_capture.ts";
import type { PathsConfig } from "../../src/app/config/paths_config.ts";
import { loadPathsConfig } from "../../src/app/config/paths_file.ts";
import type { StandbyConfig } from "../../src/app/config/standby_config.ts";
import { loadStandbyConfig } from "../../src/app/config/standby_file.ts";
import { libcAvailable } from "../../src/io/libc.ts";
import { CONNECTIONS_MAX } from "../../src/mem/limits.ts";
import { Fairlead } from "./fairlead.ts";

const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
const NAMES = [
  ...["libc", "epoll", "libcrypto", "IPv6", "/proc", "thermal zones", "open files", "core files"],
  ...[
    "inotify",
    "kernel",
    "MPTCP",
    "mptcp_pm",
    "path manager",
    "sock_diag",
    "uplinks",
    "XFRM",
    "ESP",
    "SA events",
    "fence",
    "announcements",
    "overlay rights",
    "VXLAN",
    "tbf",
    "ESP of tunnels",
    "multicast",
    "setpriv",
    "signatures",
    "capture",
    "urgent data",
    "capabilities",
    "clock",
    "time source",
    "disk",
  ],
  ...["storage", "service manager", "watchdog", "serial lines"],
];

/** Nobody in particular, with one group besides its own. */
const USER: Credentials = { uid: 1000, groups: new Set([1000, 20]), capabilities: 0n };
const ROOT: Credentials = { uid: 0, groups: new Set([0]), capabilities: (1n << 41n) - 1n };

/** Runs with a directory that is removed afterwards. */
async function inFolder(work: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The status of a check, and that it tells a remedy when it should. */
function status({ name, status, remedy }: Check): string {
  assert.equal(remedy === "", status === "ok", name);
  return status;
}

Deno.test("each check has a status, a finding, a reason, and a remedy unless it is ok", () => {
  const checks = checkAll("auto");
  assert.deepEqual(checks.map(({ name }) => name), NAMES);
  for (const { name, status, found, why, remedy } of checks) {
    assert.match(status, /^(ok|limited|missing)$/, name);
    assert.ok(found.length > 0 && why.length > 0, name);
    assert.equal(remedy === "", status === "ok", name);
  }
});

Deno.test("the main road needs libc and epoll; --io=deno needs nothing", () => {
  const needed = (checks: Check[]): string[] =>
    checks.filter((check) => check.needed).map(({ name }) => name);
  assert.deepEqual(needed(checkAll("auto")), ["libc", "epoll"]);
  assert.deepEqual(needed(checkAll("deno")), []);
});

Deno.test("doctor --json is one object, and its ok is the exit code", async () => {
  const { code, stdout } = await Fairlead.run("doctor", "--json");
  const report = JSON.parse(stdout);
  assert.equal(report.ok, libcAvailable());
  assert.equal(code, report.ok ? 0 : 1);
  assert.deepEqual(report.checks.map(({ name }: Check) => name), NAMES);
});

Deno.test("without FFI it tells the remedy: exit 1, and exit 0 with --io=deno", async () => {
  const doctor = async (...words: string[]): Promise<Deno.CommandOutput> =>
    await new Deno.Command(Deno.execPath(), {
      args: ["run", "-R", "-S", "-N", "-E", "--no-prompt", MAIN, "doctor", ...words],
      env: { NO_COLOR: "1" },
    }).output();
  const closed = await doctor();
  assert.equal(closed.code, 1);
  assert.match(new TextDecoder().decode(closed.stdout), /missing {2}libc .*--allow-ffi/);
  assert.equal((await doctor("--io=deno")).code, 0);
});

/** As the kernel writes it, proc_pid_status(5); without the lines that nobody reads here. */
const STATUS = `Name:\tdeno
Pid:\t7
Uid:\t1000\t1001\t1000\t1001
Gid:\t100\t101\t100\t101
FDSize:\t256
Groups:\t20 27 
NStgid:\t7
CapInh:\t0000000000000000
CapPrm:\t0000000000000400
CapEff:\t0000000000001400
`;

Deno.test("who we are is read from /proc/self/status: the effective ids, groups, capabilities", () => {
  const who = credentialsOf(STATUS)!;
  assert.equal(who.uid, 1001);
  assert.deepEqual([...who.groups], [101, 20, 27]);
  assert.ok(hasCapability(who, Capability.NetBindService));
  assert.ok(hasCapability(who, Capability.NetAdmin));
  assert.ok(!hasCapability(who, Capability.NetRaw));
  assert.deepEqual([...credentialsOf(STATUS.replace("20 27 ", ""))!.groups], [101]);
  for (const status of [null, "", "Uid:\t1", STATUS.replace("CapEff", "CapBnd")]) {
    assert.equal(credentialsOf(status), null);
  }
});

Deno.test("the owner's bits count for the owner, the group's for members, else the others'", () => {
  const guarded = (mode: number, uid: number, gid: number): boolean =>
    mayOpen({ mode, uid, gid }, Permission.ReadWrite, USER);
  assert.ok(guarded(0o600, 1000, 0));
  assert.ok(!guarded(0o066, 1000, 20)); // the owner is not asked as a member of the group
  assert.ok(guarded(0o660, 0, 20));
  assert.ok(!guarded(0o640, 0, 20));
  assert.ok(!guarded(0o660, 0, 5));
  assert.ok(guarded(0o666, 0, 5));
  assert.ok(mayOpen({ mode: 0, uid: 5, gid: 5 }, Permission.ReadWrite, ROOT));
  assert.ok(!mayOpen({ mode: null, uid: null, gid: null }, Permission.Write, USER));
});

Deno.test("limits: descriptors for every connection, no core file unless a program takes it", () => {
  const limits = (name: string, soft: number | string): string =>
    `Limit                     Soft Limit           Hard Limit           Units     \n` +
    `Max cpu time              unlimited            unlimited            seconds   \n` +
    `${name.padEnd(25)} ${`${soft}`.padEnd(20)} unlimited            units     \n`;
  const files = (soft: number | string): Check => checkFiles(limits("Max open files", soft));
  assert.equal(status(files(1024)), "limited");
  assert.match(files(1024).remedy, /LimitNOFILE=\d+/);
  assert.equal(status(files(CONNECTIONS_MAX)), "limited");
  assert.equal(status(files(CONNECTIONS_MAX + 64)), "ok");
  assert.equal(files("unlimited").found, "unlimited allowed");
  assert.equal(status(checkFiles(null)), "limited");
  const core = limits("Max core file size", "unlimited");
  assert.match(checkCores(core, "core\n").found, /^all memory is written/);
  assert.equal(status(checkCores(core, "core\n")), "limited");
  assert.equal(status(checkCores(core, "|/usr/lib/systemd/systemd-coredump %P\n")), "ok");
  assert.equal(status(checkCores(limits("Max core file size", 4096), null)), "limited");
  assert.equal(status(checkCores(limits("Max core file size", 0), "core\n")), "ok");
  assert.equal(status(checkCores("", null)), "limited");
});

Deno.test("inotify: an instance for each followed file and some for others", () => {
  assert.equal(status(checkInotify("128\n", 64)), "ok");
  assert.equal(status(checkInotify("16\n", 12)), "limited");
  assert.match(checkInotify("16\n", 12).remedy, /max_user_instances=20/);
  assert.equal(status(checkInotify("16\n", null)), "ok");
  assert.equal(status(checkInotify(null, null)), "missing");
});

Deno.test("kernel, clock, and what keeps the clock right", () => {
  if (Deno.build.os === "linux") {
    assert.equal(status(checkKernel("5.6.0")), "ok");
    assert.equal(status(checkKernel("6.1.0-rpi7-rpi-v8")), "ok");
  }
  assert.equal(status(checkKernel("5.4.0-generic")), "limited");
  assert.equal(status(checkKernel("nonsense")), "limited");
  assert.equal(status(checkClock(new Date("1970-01-01T00:02:00Z"))), "limited");
  assert.equal(status(checkClock(new Date("2030-05-01T00:00:00Z"))), "ok");
  assert.equal(status(checkClock(new Date("2112-01-01T00:00:00Z"))), "limited");
  assert.equal(checkTime(["init", "chronyd"], false).found, "chronyd runs");
  assert.equal(status(checkTime(["systemd-timesyn"], true)), "ok");
  assert.match(checkTime(["systemd-timesyn"], false).found, /has not set the clock yet/);
  assert.equal(status(checkTime(["systemd-timesyn", "ntpd"], false)), "ok");
  assert.equal(status(checkTime(["init", "deno"], false)), "limited");
});

Deno.test("the service manager's socket must be there when the environment names it", async () => {
  assert.equal(status(checkManager(undefined, true)), "ok");
  assert.match(checkManager("", false).remedy, /--print-unit/);
  assert.equal(status(checkManager(undefined, false)), "limited");
  assert.equal(status(checkManager("@fairlead", false)), "ok");
  await inFolder((folder) => {
    assert.match(checkManager(`${folder}/notify`, true).found, /^nothing is at NOTIFY_SOCKET/);
    Deno.writeTextFileSync(`${folder}/notify`, "");
    assert.equal(status(checkManager(`${folder}/notify`, true)), "ok");
  });
});

Deno.test("MPTCP and capabilities: switched off, not there, or not ours", () => {
  assert.equal(status(checkMptcp(null, false)), "missing");
  assert.match(checkMptcp("0\n", false).remedy, /sysctl -w net\.mptcp\.enabled=1/);
  assert.equal(status(checkCapabilities(ROOT)), "ok");
  assert.equal(checkCapabilities(USER).found, "CAP_NET_ADMIN and CAP_NET_RAW missing");
  const admin = { ...USER, capabilities: 1n << 12n };
  assert.equal(checkCapabilities(admin).found, "CAP_NET_RAW missing");
  assert.equal(status(checkCapabilities(null)), "limited");
});

Deno.test("overlays: rights, tunnels, rates, ESP, a way to the group, scripts, a kept clock", () => {
  const admin = { ...USER, capabilities: 1n << 12n };
  assert.equal(status(checkOverlayRights(ROOT)), "ok");
  assert.match(checkOverlayRights(admin).found, /not root/);
  assert.equal(status(checkOverlayRights(USER)), "limited");
  assert.equal(status(checkOverlayRights(null)), "limited");
  const denied = { reason: "cannot be tried without CAP_NET_ADMIN" };
  assert.equal(status(checkVxlan({ value: ["vxlan", "tbf"] })), "ok");
  assert.match(checkVxlan({ value: [] }).remedy, /^modprobe vxlan/);
  assert.equal(status(checkVxlan({ value: [] })), "missing");
  assert.equal(checkVxlan(denied).found, denied.reason);
  assert.equal(status(checkRates({ value: ["vxlan", "tbf"] })), "ok");
  assert.equal(status(checkRates({ value: ["vxlan"] })), "limited");
  assert.equal(status(checkTunnelEsp({ value: true })), "ok");
  assert.match(checkTunnelEsp({ value: false }).remedy, /^modprobe esp4/);
  const way = { device: "eth0", mtu: 1500, source: "192.0.2.7" };
  const group = "239.255.2.65:265";
  assert.equal(
    checkGroup(group, { value: way }).found,
    `${group} leaves by eth0 from 192.0.2.7, MTU 1500`,
  );
  assert.equal(status(checkGroup(group, { value: { ...way, device: "lo" } })), "limited");
  assert.equal(status(checkGroup(group, { reason: "no route" })), "limited");
  assert.equal(status(checkScripts(true, ROOT)), "ok");
  assert.match(checkScripts(true, USER).found, /only root/);
  assert.match(checkScripts(false, ROOT).remedy, /util-linux/);
  assert.equal(status(checkSignatures(true)), "ok");
  assert.equal(status(checkSignatures(false)), "limited");
});

Deno.test("looking at what the kernel offers to overlays leaves no device behind", () => {
  const devices = (): string[] =>
    (readText("/proc/net/dev") ?? "").match(/\bxb[0-9a-z]+(?=:)/g) ?? [];
  const before = new Set(devices());
  checkAll("auto");
  // Other tests may try it at this moment: their devices are gone at the second look.
  const left = devices().filter((name) => !before.has(name));
  checkAll("auto");
  assert.deepEqual(devices().filter((name) => left.includes(name)), []);
});

Deno.test("a port below the kernel's first free one needs its capability", () => {
  const syslog = { path: "inputs.syslog.listen", address: "[::]:514" };
  const others = [{ path: "a", address: "127.0.0.1:1024" }, { path: "b", address: "127.0.0.1:0" }];
  const ports = (who: Credentials | null, start: string | null): Check =>
    checkPorts([...others, syslog], who, start);
  const closed = ports(USER, "1024\n");
  assert.equal(status(closed), "missing");
  assert.ok(closed.needed);
  assert.equal(closed.found, "CAP_NET_BIND_SERVICE missing for inputs.syslog.listen [::]:514");
  assert.equal(status(ports(null, null)), "missing");
  assert.equal(status(ports(USER, "514\n")), "ok");
  assert.equal(status(ports({ ...USER, capabilities: 1n << 10n }, null)), "ok");
  assert.match(ports(USER, "1025\n").found, /a 127\.0\.0\.1:1024, inputs\.syslog\.listen/);
  assert.equal(status(checkPorts(others, USER, null)), "ok");
});

Deno.test("an address that is not this box's is told, once", () => {
  const listening = ["127.0.0.1:1", "192.0.2.1:2", "192.0.2.1:3"] // RFC 5737: nobody has it
    .map((address) => ({ path: "x", address }));
  const { found, status, needed } = checkAddresses(listening);
  assert.equal(status, "missing");
  assert.ok(needed);
  assert.equal(found.split("192.0.2.1").length, 2);
  assert.equal(checkAddresses([{ path: "x", address: "127.0.0.1:1" }]).status, "ok");
});

const MIB = 1024 * 1024;

Deno.test("a disk must have room, also for what the spool may grow to", () => {
  const disk = (freeBytes: number, spoolBytes = 0): Check =>
    checkDisk("/state", { type: 0xef53, freeBytes, device: 2049 }, spoolBytes);
  assert.equal(status(disk(1024 * MIB)), "ok");
  assert.equal(status(disk(100 * MIB)), "limited");
  assert.equal(status(disk(10 * MIB)), "missing");
  assert.match(disk(1024 * MIB, 2048 * MIB).remedy, /lower spool\.bytesMax/);
  assert.equal(status(disk(2048 * MIB, 2048 * MIB)), "ok");
  assert.equal(status(checkDisk("/state", null, 0)), "limited");
});

Deno.test("memory and other boxes are no place for a spool; flash is named", () => {
  const storage = (type: number, device = 0x801): Check =>
    checkStorage("/state", { type, freeBytes: 0, device });
  assert.match(storage(0x01021994).found, /in memory \(tmpfs\): a restart empties it/);
  assert.equal(status(storage(0x01021994)), "limited");
  assert.equal(status(storage(0x858458f6 | 0)), "limited"); // a signed 32-bit f_type
  assert.match(storage(0x6969).found, /on another box \(NFS\)/);
  assert.match(storage(0x24051905).found, /on flash \(UBIFS\)/);
  assert.match(storage(0xef53, (179 << 8) + 2).found, /on flash \(an SD card or eMMC\)/);
  assert.match(storage(0xef53, (31 << 8) + 4).found, /on flash \(raw flash\)/);
  assert.equal(storage(0xef53).found, "/state is on a disk");
  assert.equal(status(checkStorage("/state", null)), "limited");
});

Deno.test("a state directory can be written to or made, and nothing stays of the trial", async () => {
  await inFolder((folder) => {
    assert.equal(status(checkState(folder)), "ok");
    const deep = checkState(`${folder}/var/lib`);
    assert.equal(status(deep), "ok");
    assert.match(deep.found, /, where .*\/var\/lib will be made, can be written to$/);
    assert.deepEqual([...Deno.readDirSync(folder)], []);
    Deno.writeTextFileSync(`${folder}/file`, "");
    const wrong = checkState(`${folder}/file`);
    assert.equal(status(wrong), "missing");
    assert.ok(wrong.needed);
    assert.notEqual(placeOf(`${folder}/not/there`), null);
  });
});

Deno.test("a watchdog is a device that can be written to; only a named one is needed", async () => {
  assert.equal(checkWatchdog("/dev/null", ROOT).status, "ok"); // a device, and it is not opened
  assert.equal(checkWatchdog("/dev/null", USER).status, "ok");
  const absent = checkWatchdog("/dev/nonexistent", ROOT);
  assert.deepEqual([status(absent), absent.needed], ["missing", true]);
  assert.equal(checkWatchdog(null, ROOT).needed, false);
  await inFolder((folder) => {
    Deno.writeTextFileSync(`${folder}/file`, "");
    assert.match(checkWatchdog(`${folder}/file`, ROOT).found, /is no device$/);
  });
});

Deno.test("serial lines: unplugged, of another group, or ours", async () => {
  const absent = checkSerials(["/dev/nonexistent"], ROOT);
  assert.deepEqual([status(absent), absent.needed], ["missing", true]);
  await inFolder((folder) => {
    const line = `${folder}/ttyUSB0`;
    Deno.writeTextFileSync(line, "");
    Deno.chmodSync(line, 0o640);
    const { uid, gid } = Deno.statSync(line);
    const owner = { uid: uid!, groups: new Set([gid!]), capabilities: 0n };
    assert.equal(status(checkSerials([line], owner)), "ok");
    const closed = checkSerials([line], { ...owner, uid: uid! + 1 });
    assert.equal(status(closed), "missing");
    assert.match(closed.found, /^\/.*\/ttyUSB0 belongs to \d+:\S+ with mode 0640$/);
    assert.match(closed.remedy, /^usermod -aG \S+ USER .* SupplementaryGroups=/);
    assert.equal(status(checkSerials([line], null)), "ok"); // the kernel will tell
  });
});

Deno.test("files and pipes of inputs: there, not there yet, or something else", async () => {
  await inFolder((folder) => {
    const [file, later] = [`${folder}/log`, `${folder}/later`];
    Deno.writeTextFileSync(file, "");
    assert.equal(status(checkFollowed([file])), "ok");
    const waiting = checkFollowed([file, later]);
    assert.deepEqual([status(waiting), waiting.found], ["limited", `${later} not there yet`]);
    assert.equal(checkFollowed([folder]).found, `${folder} is no file`);
    assert.equal(status(checkPipes([later], ROOT)), "ok");
    assert.equal(checkPipes([file], ROOT).found, `${file} is no pipe`);
    assert.equal(checkPipes([`${folder}/no/pipe`], ROOT).found, `${folder}/no is not there`);
    Deno.chmodSync(folder, 0o700);
    const { uid } = Deno.statSync(folder);
    const stranger = { ...USER, uid: uid! + 1, groups: new Set<number>() };
    assert.match(checkPipes([later], stranger).found, /belongs to .* with mode 0700$/);
  });
});

async function pathsOf(value: Record<string, unknown>): Promise<PathsConfig> {
  const { config } = await loadPathsConfig(null, [{ path: "paths", value, from: "test" }]);
  assert.ok(config !== null);
  return config.paths;
}

const ADMIN: Credentials = { ...USER, capabilities: 1n << 12n };

Deno.test("paths: a kernel that takes commands, and the manager that is wanted", async () => {
  const config = await pathsOf({});
  assert.equal(status(checkMptcp("0\n", true)), "missing");
  assert.equal(status(checkPathFamily("0\n", "", null)), "ok");
  assert.equal(status(checkPathFamily(null, "", config)), "missing");
  const family = checkPathFamily("0\n", "EPROTONOSUPPORT", config);
  assert.deepEqual([status(family), family.needed], ["missing", true]);
  const manager = (text: string | null, config: PathsConfig | null, who = ADMIN): Check =>
    checkPathManager(text, config, who);
  assert.equal(status(manager("1\n", config)), "ok");
  assert.equal(status(manager("0\n", null)), "limited");
  assert.equal(status(manager(null, config)), "missing");
  const kernel = manager("0\n", config);
  assert.equal(status(kernel), "missing");
  assert.equal(kernel.found, "net.mptcp.pm_type = 0, userspace needs 1");
  assert.match(kernel.remedy, /^sysctl -w net\.mptcp\.pm_type=1 .*"setPmType": true/);
  const setting = await pathsOf({ setPmType: true });
  assert.match(manager("0\n", setting).found, /it is set to 1 at the start$/);
  assert.equal(status(manager("0\n", setting, USER)), "missing");
  const wantsKernel = await pathsOf({ manager: "kernel" });
  assert.equal(status(manager("0\n", wantsKernel)), "ok");
  assert.match(manager("1\n", wantsKernel).remedy, /pm_type=0/);
  const protocols = "protocol  size\nMPTCPv6   2064\nMPTCP     1936\n";
  assert.equal(status(checkPathList("", protocols, true)), "ok");
  assert.equal(status(checkPathList("", "protocol  size\nTCP 1\n", true)), "missing");
  assert.equal(status(checkPathList("EPROTONOSUPPORT", protocols, true)), "missing");
});

Deno.test("paths: rights for the network, for namespaces, and to see who asks", async () => {
  const config = await pathsOf({});
  assert.equal(checkPathRights(config, USER).found, "CAP_NET_ADMIN missing");
  assert.equal(status(checkPathRights(config, USER)), "missing");
  assert.match(checkPathRights(config, ADMIN).found, /^CAP_SYS_PTRACE missing/);
  assert.equal(status(checkPathRights(config, ADMIN)), "limited");
  assert.equal(status(checkPathRights(config, null)), "limited");
  assert.equal(status(checkPathRights(config, ROOT)), "ok");
  const closed = await pathsOf({ socket: false });
  assert.equal(status(checkPathRights(closed, ADMIN)), "ok");
  const many = await pathsOf({ namespaces: ["a"], socket: false });
  assert.equal(checkPathRights(many, ADMIN).found, "CAP_SYS_ADMIN missing, to enter namespaces");
  const both = checkPathRights(many, USER);
  assert.match(both.remedy, /AmbientCapabilities=CAP_NET_ADMIN CAP_SYS_ADMIN /);
});

Deno.test("paths: what a guard of joins needs depends on how it decides", async () => {
  const guard = async (decide: string, refused = "", queue = true, log = true): Promise<Check> => {
    const { joins } = await pathsOf({ joins: { decide } });
    assert.ok(joins !== false);
    return checkJoinGuard(joins, refused, queue ? {} : null, log ? {} : null);
  };
  assert.equal(status(await guard("set")), "ok");
  assert.equal(status(await guard("set", "", false)), "ok");
  assert.equal(status(await guard("queue", "", false)), "missing");
  assert.equal(status(await guard("set", "", true, false)), "limited");
  assert.equal(status(await guard("set", "EPROTONOSUPPORT")), "missing");
});

Deno.test("paths: uplinks are what rules leave, without loopback and link-local", async () => {
  const link = (name: string, address: string, carrier = true): {
    name: string;
    address: string;
    carrier: boolean;
  } => ({ name, address, carrier });
  const eth0 = [link("eth0", "10.0.0.2"), link("eth0", "fd00::2"), link("eth0", "fe80::2")];
  const lo = [link("lo", "127.0.0.1"), link("lo", "::1")];
  const local = [link("eth1", "169.254.0.9"), link("eth2", "febf::1")];
  assert.equal(checkUplinks([], null).found, "none");
  const one = checkUplinks([...lo, ...eth0, ...local], null);
  assert.deepEqual([status(one), one.found], ["limited", "only eth0"]);
  const wwan = link("wwan0", "100.64.0.2");
  assert.equal(checkUplinks([...lo, ...eth0, wwan], null).found, "eth0, wwan0");
  assert.equal(status(checkUplinks([...lo, ...eth0, wwan], null)), "ok");
  const off = await pathsOf({ interfaces: [{ name: "ww*", role: "off" }] });
  assert.equal(checkUplinks([...eth0, wwan], off).found, "only eth0");
  const network = await pathsOf({
    interfaces: [{ subnet: "100.64.0.0/10", role: "backup" }, { name: "wwan0", role: "off" }],
  });
  assert.equal(checkUplinks([...eth0, wwan], network).found, "eth0, wwan0");
  const dead = checkUplinks([...eth0, { ...wwan, carrier: false }], null);
  assert.deepEqual([status(dead), dead.found], ["limited", "only eth0, without carrier: wwan0"]);
});

Deno.test("paths: the socket's directory is there and ours, or is made by systemd", async () => {
  await inFolder((folder) => {
    assert.equal(status(checkPathSocket(`${folder}/p.sock`, ROOT)), "ok");
    const later = checkPathSocket(`${folder}/run/p.sock`, ROOT);
    assert.equal(status(later), "limited");
    assert.match(later.remedy, /^install -d -o USER .*\/run, or RuntimeDirectory=/);
    Deno.writeTextFileSync(`${folder}/file`, "");
    assert.equal(status(checkPathSocket(`${folder}/file/p.sock`, ROOT)), "missing");
    Deno.chmodSync(folder, 0o700);
    const { uid } = Deno.statSync(folder);
    const stranger = { ...USER, uid: uid! + 1, groups: new Set<number>() };
    assert.equal(status(checkPathSocket(`${folder}/p.sock`, stranger)), "missing");
  });
});

Deno.test("paths: a configuration needs them; a namespace that is not there is told", async () => {
  const names = (checks: Check[]): string[] => checks.map(({ name }) => name);
  const here = checkPaths(await pathsOf({ joins: {} }), USER);
  assert.deepEqual(names(here), [
    ...["mptcp_pm", "path manager", "sock_diag", "join guard", "uplinks"],
    ...["path rights", "path socket"],
  ]);
  assert.deepEqual(names(here.filter(({ needed }) => !needed)), ["uplinks"]);
  assert.ok(checkPaths(null, USER).every(({ needed }) => !needed));
  const elsewhere = checkPaths(
    await pathsOf({ namespaces: ["fairlead-none"], socket: false }),
    USER,
  );
  assert.deepEqual(names(elsewhere), ["namespace fairlead-none", "path rights"]);
  assert.equal(status(elsewhere[0]!), "missing");
});

async function standbyOf(value: Record<string, unknown>): Promise<StandbyConfig> {
  const addresses = { listen: "v2:127.0.0.1:0", peer: "v2:127.0.0.1:6810" };
  const { config } = await loadStandbyConfig(null, [
    { path: "standby", value: { role: "active", ...addresses, ...value }, from: "test" },
    { path: "state", value: "/var/lib/fairlead", from: "test" },
  ]);
  assert.ok(config !== null);
  return config.standby;
}

Deno.test("standby: ESP is there when only the key of an SA is wrong", () => {
  const esp = (errno: number, text = ""): Check => checkEsp({ errno, text }, true);
  assert.equal(status(esp(22)), "ok"); // EINVAL
  const away = esp(93, "Requested type not found");
  assert.deepEqual([status(away), away.needed], ["missing", true]);
  assert.match(away.found, /\(EPROTONOSUPPORT\), Requested type not found$/);
  assert.match(away.remedy, /^modprobe esp4 esp6/);
  assert.equal(status(esp(38)), "missing"); // ENOSYS: no AES-GCM
  const denied = esp(1); // EPERM: nobody knows
  assert.equal(status(denied), "limited");
  assert.match(denied.found, /cannot be tried without CAP_NET_ADMIN/);
});

Deno.test("standby: thresholds of new SAs are told, and must be set", () => {
  const now = { packets: 2, timerMs: 1000 };
  assert.match(checkThresholds(now, true, true).found, /etime = 1000 ms, .*rseqth = 2 packets/);
  assert.equal(status(checkThresholds(now, true, true)), "ok");
  assert.equal(status(checkThresholds(now, false, true)), "missing");
  assert.match(checkThresholds(now, false, true).remedy, /ProtectKernelTunables=no/);
  assert.equal(status(checkThresholds(now, false, false)), "limited");
  assert.equal(status(checkThresholds(null, true, false)), "missing");
});

Deno.test("standby: only role auto without addresses cannot do without the fence", async () => {
  const witness = { role: "auto", witness: "v2:127.0.0.1:6820" };
  const addresses = [{ interface: "lo", address: "10.0.0.1/24" }];
  const alone = await standbyOf(witness);
  const fence = (config: StandbyConfig | null): Check => checkFence("no nf_tables", config);
  assert.equal(status(checkFence(null, alone)), "ok");
  assert.deepEqual([status(fence(alone)), fence(alone).needed], ["missing", true]);
  assert.equal(status(fence(await standbyOf({ ...witness, addresses }))), "limited");
  assert.equal(status(fence(await standbyOf({}))), "limited");
  assert.deepEqual([status(fence(null)), fence(null).needed], ["limited", false]);
});

Deno.test("standby: announcements are needed where addresses move, links where they are named", () => {
  assert.equal(status(checkAnnouncements("", true)), "ok");
  assert.equal(status(checkAnnouncements("EPERM", true)), "missing");
  assert.equal(status(checkAnnouncements("EPERM", false)), "limited");
  assert.equal(status(checkLink("standby.watch[0]", "eth0", 2)), "ok");
  const absent = checkLink("standby.watch[0]", "eth9", -19);
  assert.deepEqual([status(absent), absent.needed], ["missing", true]);
  assert.match(absent.why, /standby\.watch\[0\] names it/);
});

Deno.test("standby: the clock is one of two, and this box sees its own", () => {
  assert.equal(status(checkPairClock(true)), "ok");
  assert.equal(status(checkPairClock(false)), "limited");
  assert.match(checkPairClock(false).why, /both boxes must have the same$/);
});

Deno.test("standby: what is looked at depends on the configuration", async () => {
  const names = (checks: Check[]): string[] => checks.map(({ name }) => name);
  const plain = checkStandby(null, true);
  assert.deepEqual(names(plain), ["ESP", "SA events", "fence", "announcements"]);
  assert.ok(plain.every(({ needed }) => !needed));
  const sessions = checkStandby(await standbyOf({ associations: false }), true);
  assert.deepEqual(names(sessions), ["announcements", "pair clock"]);
});

Deno.test({
  name: "standby: interfaces that are not there are told by their key",
  ignore: !libcAvailable(),
  async fn(): Promise<void> {
    const config = await standbyOf({
      associations: false,
      addresses: [{ interface: "fairlead-none", address: "10.0.0.1/24" }],
      watch: ["lo"],
    });
    const [, , address, watched] = checkStandby(config, true);
    assert.deepEqual([status(address!), address!.needed], ["missing", true]);
    assert.match(address!.why, /^standby\.addresses\[0\] names it$/);
    assert.equal(status(watched!), "ok");
  },
});

Deno.test("standby: doctor looks at where a configuration's box listens for the other one", async () => {
  await inFolder(async (folder) => {
    const file = `${folder}/gateway.jsonc`;
    const standby = {
      role: "active",
      listen: "v2:192.0.2.1:6810", // RFC 5737: nobody has it
      peer: "v2:127.0.0.1:6810",
      associations: false,
    };
    const hubs = { hq: { addresses: ["v2:192.0.2.2:3300"] } };
    await Deno.writeTextFile(file, JSON.stringify({ state: folder, standby, hubs, status: false }));
    const checks = await checkFor(file, "auto");
    const addresses = checks.find(({ name }) => name === "addresses")!;
    assert.equal(addresses.status, "missing");
    assert.match(addresses.found, /^192\.0\.2\.1: /);
    assert.ok(checks.some(({ name }) => name === "pair clock"));
    // A box that is only one of a pair has the same file without hubs.
    await Deno.writeTextFile(file, JSON.stringify({ standby, status: false }));
    const alone = await checkFor(file, "auto");
    assert.match(alone[0]!.found, /can be used by fairlead standby run$/);
    assert.equal(alone.find(({ name }) => name === "addresses")!.status, "missing");
    await Deno.writeTextFile(file, JSON.stringify({ standby, inputs: { a: 1 }, status: false }));
    const [wrong] = await checkFor(file, "auto");
    assert.deepEqual([wrong!.name, wrong!.status], ["configuration", "missing"]);
  });
});

Deno.test("a configuration says what is needed", async () => {
  await inFolder(async (folder) => {
    const file = `${folder}/gateway.jsonc`;
    const config = {
      state: `${folder}/state`,
      io: "deno",
      inputs: {
        lines: { type: "lines", listen: "127.0.0.1:0" },
        meter: { type: "serial", path: `${folder}/ttyUSB0` },
        log: { type: "file", path: `${folder}/log` },
        pipe: { type: "fifo", path: `${folder}/pipe` },
      },
      status: false,
    };
    await Deno.writeTextFile(file, JSON.stringify(config));
    const checks = await checkFor(file, "auto");
    const found = (name: string): Check => checks.find((check) => check.name === name)!;
    assert.match(found("configuration").found, /can be used: 4 inputs, 0 hubs$/);
    assert.deepEqual(
      checks.filter(({ needed }) => needed).map(({ name }) => name),
      ["configuration", "libc", "ports", "addresses", "state", "serial lines", "files", "pipes"],
    );
    assert.equal(found("ports").status, "ok");
    assert.match(found("state").found, /state will be made, can be written to$/);
    assert.match(found("disk").found, new RegExp(`free in ${RegExp.escape(config.state)}`));
    assert.equal(found("files").status, "limited");
    assert.equal(found("serial lines").status, "missing");
    const onLibc = await checkFor(file, "libc"); // the operator's road wins
    assert.ok(onLibc.find(({ name }) => name === "epoll")!.needed);
  });
});

Deno.test("doctor --config: exit 1 for what is needed and missing, each mistake is a line", async () => {
  await inFolder(async (folder) => {
    const file = `${folder}/gateway.jsonc`;
    const doctor = async (config: unknown): Promise<{ code: number; lines: string[] }> => {
      await Deno.writeTextFile(file, JSON.stringify(config));
      const { code, stdout } = await Fairlead.run("doctor", "--io=deno", "--config", file);
      return { code, lines: stdout.trimEnd().split("\n") };
    };
    const plain = await doctor({ inputs: { box: { type: "readings" } }, status: false });
    assert.equal(plain.code, 0, plain.lines.join("\n"));
    assert.equal(plain.lines.at(-1), `A gateway with ${file} can run here`);
    const wrong = await doctor({ inputs: { box: { type: "reading" } }, colour: 1, status: false });
    assert.equal(wrong.code, 1);
    assert.equal(wrong.lines.filter((line) => line.startsWith("missing  configuration")).length, 2);
    assert.match(wrong.lines.at(-1)!, /cannot run here as it should, it needs configuration$/);
    const absent = await doctor({ watchdog: "/dev/nonexistent", status: false });
    assert.equal(absent.code, 1);
    assert.match(absent.lines.at(-1)!, /it needs (libc, )?watchdog$/);
  });
});

Deno.test("capture: a packet socket, and how urgent pointers are read", () => {
  assert.equal(status(checkLive("")), "ok");
  const refused = checkLive("EPERM");
  assert.equal(status(refused), "limited");
  assert.match(refused.remedy, /CAP_NET_RAW/);
  assert.equal(status(checkUrgent("0")), "ok");
  assert.equal(status(checkUrgent("1")), "limited");
  assert.match(checkUrgent("1").found, /one byte late/);
  assert.equal(status(checkUrgent("")), "limited");
});
