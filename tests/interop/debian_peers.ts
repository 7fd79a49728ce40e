/**
 * The releases of Ceph that Debian packages, as peers: where each is found, how it is obtained,
 * and Ceph's own load pair (ceph_perf_msgr_server and ceph_perf_msgr_client) run from them.
 *
 * The release that the machine's own Debian has is installed with apt; the others are unpacked by
 * mmdebstrap into chroots in a cache directory, from the mirror that the machine's apt already
 * uses. Nothing is mounted for longer than a command runs: mounts are made in a mount namespace
 * that ends with it.
 *
 * @module
 */
import { Daemon, freePort, hasProgram, listens, must, run } from "./processes.ts";

/** Where a program runs: a chroot, a network namespace, both or neither. */
export interface Place {
  /** A directory with another Debian; this machine's own root when absent. */
  root?: string;
  /** Name of a network namespace; the present one when absent. */
  netns?: string;
}

/** A release of Ceph, and where it is on this machine. */
export interface Peer {
  /** The name of Ceph's release. */
  name: PeerName;
  /** Its number, such as "16.2". */
  release: string;
  /** The Debian that packages it. */
  suite: string;
  /** Whether tests may be skipped without it even where CI=true. */
  optional: boolean;
  /** Where it runs; null when it is not here. */
  place: Place | null;
}

/** The releases known here. */
export type PeerName = "pacific" | "reef" | "tentacle";

const RELEASES: Record<PeerName, { release: string; suite: string; optional: boolean }> = {
  pacific: { release: "16.2", suite: "bookworm", optional: false },
  reef: { release: "18.2", suite: "trixie", optional: false },
  tentacle: { release: "20.2", suite: "sid", optional: true },
};

/** All names, oldest first. */
export const PEER_NAMES: PeerName[] = ["pacific", "reef", "tentacle"];

const HOST_PACKAGES = ["ceph-common", "ceph-mon", "ceph-osd"];
/** Debian 12's ceph-test holds no messenger tools, so the load pair exists in chroots only. */
const CHROOT_PACKAGES = ["ceph-common", "ceph-mon", "ceph-osd", "ceph-test"];
/** Half of a chroot, and used by no test. */
const LEFT_OUT = [
  "/usr/share/doc/*",
  "/usr/share/man/*",
  "/usr/share/locale/*",
  "/usr/bin/ceph_test_*",
  "/usr/bin/radosgw-admin",
  "/usr/bin/cephfs-*-tool",
];
const APT_DEADLINE_MS = 240_000;
const CHROOT_DEADLINE_MS = 240_000;
/** Written last, so that a chroot whose making was cut short is not taken for one. */
const COMPLETE = ".complete";
const POLICY_PATH = "/usr/sbin/policy-rc.d";
/** Debian policy 9.3.3.1: 101 is "action forbidden by policy". */
const POLICY_FORBIDS = "#!/bin/sh\nexit 101\n";

/** Where chroots are kept; outside of any checkout so that a fresh clone finds them again. */
export function cacheDirectory(): string {
  return Deno.env.get("FAIRLEAD_PEERS") || "/var/cache/fairlead-peers";
}

/** Looks where a release is: installed on this machine, or in a complete chroot. */
export async function findPeer(name: PeerName): Promise<Peer> {
  const { release, suite, optional } = RELEASES[name];
  return { name, release, suite, optional, place: await findPlace(release, suite) };
}

/**
 * Whether tests that need a peer are to be ignored. With CI=true only an optional peer may be
 * missing: tests that need another run, and fail.
 */
export function ignoreWithout(peer: Peer): boolean {
  return peer.place === null && (peer.optional || Deno.env.get("CI") !== "true");
}

/** Where a peer runs; throws when it is not here. */
export function placeOf(peer: Peer): Place {
  if (peer.place) return peer.place;
  throw new Error(`Cannot find Ceph ${peer.release}: run deno task interop --install as root`);
}

/** How a missing release is obtained. */
export interface InstallOptions {
  /** Whether chroots may be made; without them only this machine's own release can be had. */
  chroots: boolean;
  /** Is told what takes long. */
  say: (line: string) => void;
}

/** Installs a release that is not here; throws when it cannot be had. */
export async function installPeer(name: PeerName, options: InstallOptions): Promise<void> {
  const { release, suite, place } = await findPeer(name);
  if (place) return;
  if (Deno.uid() !== 0) throw new Error(`Cannot install Ceph ${release}: root is needed`);
  await installTools(options);
  const { codename, mirror } = await readSystem();
  if (suite === codename) {
    options.say(`Installing Ceph ${release} from ${codename}`);
    await installPackages(HOST_PACKAGES);
  } else if (options.chroots) {
    options.say(`Unpacking Ceph ${release} from ${suite} into ${cacheDirectory()}`);
    await makeChroot(suite, mirror);
  }
}

/** The command line that runs another one in a place. */
export function within(place: Place, argv: string[]): string[] {
  const inRoot = place.root ? [...ENTER_ROOT, place.root, temporaryDirectory(), ...argv] : argv;
  return place.netns ? ["ip", "netns", "exec", place.netns, ...inRoot] : inRoot;
}

/**
 * Enters a chroot with /proc, /dev and the directory for temporary files where the programs of
 * this machine see them. The mounts belong to the new namespace and go with it.
 */
const ENTER_ROOT = [
  ...["unshare", "--mount", "sh", "-ec"],
  `root=$0 temporary=$1
  shift
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mkdir -p "$root$temporary"
  mount --bind "$temporary" "$root$temporary"
  exec chroot "$root" "$@"`,
];

/** What Ceph's load server is to be. */
export interface PerfServerOptions {
  /** A free one when absent. */
  port?: number;
  /** Threads that answer requests; 1 when absent. */
  threads?: number;
  /** More options, such as "--ms_async_op_threads=1". */
  options?: string[];
}

/** A running ceph_perf_msgr_server; auth none and crc are all it speaks. */
export interface PerfServer extends AsyncDisposable {
  /** Its address, such as "v2:127.0.0.1:13400". */
  address: string;
  /** Its port. */
  port: number;
  /** Its process id. */
  pid: number;
}

/** What Ceph's load client is to do. */
export interface PerfClientOptions {
  /** The server's address, such as "v2:127.0.0.1:13400". */
  address: string;
  /** Connections, each with its own thread; 1 when absent. */
  jobs?: number;
  /** Requests in flight on each; 1 when absent. */
  inFlight?: number;
  /** Requests on each. */
  ops: number;
  /** Bytes of data in each. */
  bytes: number;
  /** More options. */
  options?: string[];
  /** 60 s when absent. */
  deadlineMs?: number;
}

/** What Ceph's load client measured. */
export interface PerfResult {
  /** Requests answered, of all jobs. */
  ops: number;
  /** How long it took, without the handshake. */
  microseconds: number;
  /** Requests a second. */
  opsPerSecond: number;
}

const PERF_START_DEADLINE_MS = 10_000;

/** Starts Ceph's load server in a place. */
export async function perfServer(
  place: Place,
  options: PerfServerOptions = {},
): Promise<PerfServer> {
  const directory = await makePerfDirectory();
  const port = options.port ?? freePort();
  const address = `v2:127.0.0.1:${port}`;
  const daemon = Daemon.start(
    within(place, [
      ...["env", `LD_PRELOAD=${directory}/nosleep.so`, "ceph_perf_msgr_server", address],
      ...[`${options.threads ?? 1}`, "0", `--keyring=${directory}/keyring`],
      ...(options.options ?? []),
    ]),
    `${directory}/server.out`,
  );
  const stop = async (): Promise<void> => {
    await daemon.stop();
    await Deno.remove(directory, { recursive: true });
  };
  try {
    const up = (): boolean => listens(daemon.pid, port);
    await daemon.until("ceph_perf_msgr_server listens", up, PERF_START_DEADLINE_MS);
  } catch (error) {
    await stop();
    throw error;
  }
  return { address, port, pid: daemon.pid, [Symbol.asyncDispose]: stop };
}

/** Runs Ceph's load client in a place, against its own server or against another. */
export async function perfClient(place: Place, options: PerfClientOptions): Promise<PerfResult> {
  const directory = await makePerfDirectory();
  try {
    // The tool waits while more than the given number are in flight, so one less is said here.
    const depth = (options.inFlight ?? 1) - 1;
    const counts = [options.jobs ?? 1, depth, options.ops, 0, options.bytes].map(String);
    const output = await must(
      within(place, [
        ...["env", `LD_PRELOAD=${directory}/nosleep.so`, "ceph_perf_msgr_client"],
        ...[options.address, ...counts, `--keyring=${directory}/keyring`],
        ...(options.options ?? []),
      ]),
      { deadlineMs: options.deadlineMs ?? 60_000 },
    );
    return readPerfResult(output);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function readPerfResult(output: string): PerfResult {
  const result = /Total op (\d+) run time (\d+)\s*us/.exec(output);
  if (!result) throw new Error(`Cannot find the result of ceph_perf_msgr_client in: ${output}`);
  const ops = Number(result[1]);
  const microseconds = Number(result[2]);
  return { ops, microseconds, opsPerSecond: ops / (microseconds / 1e6) };
}

/**
 * Both ends of the pair call usleep() with their think time for every message on the messenger's
 * own thread. usleep(0) sleeps as long as the kernel's timer slack, 74 us here, and so hides what
 * the messenger costs: 5,000 messages a second instead of 80,000.
 */
const NOSLEEP_SOURCE = `
struct timespec { long seconds, nanoseconds; };
int nanosleep(const struct timespec *, struct timespec *);
int usleep(unsigned us) {
  struct timespec t = { us / 1000000, us % 1000000 * 1000L };
  return us ? nanosleep(&t, 0) : 0;
}
`;

/** A directory with what the pair needs: the preload, and a keyring file, which may be empty. */
async function makePerfDirectory(): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "ceph_perf_" });
  try {
    await Deno.writeTextFile(`${directory}/keyring`, "");
    const output = `${directory}/nosleep.so`;
    await must(["cc", "-shared", "-fPIC", "-nostdlib", "-O2", "-o", output, "-x", "c", "-"], {
      stdin: NOSLEEP_SOURCE,
    });
  } catch (error) {
    await Deno.remove(directory, { recursive: true });
    throw error;
  }
  return directory;
}

async function findPlace(release: string, suite: string): Promise<Place | null> {
  const version = await run(["ceph-mon", "--version"]);
  const tools = await run(["sh", "-c", "command -v ceph ceph-osd ceph-authtool monmaptool rados"]);
  if (version.stdout.startsWith(`ceph version ${release}.`) && tools.code === 0) return {};
  const root = `${cacheDirectory()}/${suite}`;
  return await exists(`${root}/${COMPLETE}`) ? { root } : null;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Where user-mode Linux is kept: nothing of it is installed. */
function umlRoot(): string {
  return `${cacheDirectory()}/user-mode-linux`;
}

/** Its kernel with modules, modprobe(8) to load them, and a poweroff(8) that needs no init. */
const UML_PACKAGES: Record<string, string> = {
  "user-mode-linux": "uml",
  "kmod": "kmod",
  "busybox-static": "busybox",
};

/** Where user-mode Linux is unpacked; null when it is not here. */
export async function findUml(): Promise<string | null> {
  return await exists(`${umlRoot()}/${COMPLETE}`) ? umlRoot() : null;
}

/** Whether tests in user-mode Linux are to be ignored; with CI=true they run, and fail. */
export async function ignoreWithoutUml(): Promise<boolean> {
  return Deno.env.get("CI") !== "true" && (Deno.uid() !== 0 || await findUml() === null);
}

/** Unpacks user-mode Linux from packages of this machine's Debian when it is not here. */
export async function installUml(options: InstallOptions): Promise<void> {
  if (await findUml() !== null) return;
  if (Deno.uid() !== 0) throw new Error("Cannot unpack user-mode Linux: root is needed");
  options.say(`Unpacking user-mode Linux into ${umlRoot()}`);
  const partial = `${umlRoot()}.partial`;
  for (const path of [umlRoot(), partial]) await removeTree(path);
  await Deno.mkdir(`${partial}/lib`, { recursive: true });
  // apt gives up its rights to a user who may not write here.
  const apt = ["apt-get", "-o", "APT::Sandbox::User=root"];
  await must([...apt, "-o", "DPkg::Lock::Timeout=240", "update"], { deadlineMs: APT_DEADLINE_MS });
  for (const [name, folder] of Object.entries(UML_PACKAGES)) {
    await must(["sh", "-ec", 'cd "$0"; "$@"', partial, ...apt, "download", name], {
      deadlineMs: APT_DEADLINE_MS,
    });
    await must([
      "sh",
      "-ec",
      'cd "$0"; dpkg -x "$1"_*.deb "$2"; rm "$1"_*.deb',
      partial,
      name,
      folder,
    ]);
  }
  await Deno.symlink("../uml/usr/lib/uml/modules", `${partial}/lib/modules`);
  await Deno.remove(`${partial}/kmod/sbin/modprobe`).catch(() => {});
  await Deno.symlink("../bin/kmod", `${partial}/kmod/sbin/modprobe`);
  await Deno.writeTextFile(`${partial}/${COMPLETE}`, "");
  await Deno.rename(partial, umlRoot());
}

/** Programs that the harness needs, and the packages that a bare machine may lack them from. */
const TOOLS: Record<string, string[]> = {
  cc: ["gcc", "libc6-dev"],
  chromium: ["chromium"],
  editcap: ["wireshark-common"],
  ethtool: ["ethtool"],
  ip: ["iproute2"],
  "iscsi-perf": ["libiscsi-bin"],
  mmdebstrap: ["mmdebstrap"],
  mosquitto: ["mosquitto"],
  mosquitto_pub: ["mosquitto-clients"],
  mount: ["mount"],
  nft: ["nftables"],
  openssl: ["openssl"],
  ping: ["iputils-ping"],
  strace: ["strace"],
  sysctl: ["procps"],
  tcpdump: ["tcpdump"],
  tgtd: ["tgt"],
  tshark: ["tshark"],
};

/** Installs what the harness itself needs and is not here. */
export async function installTools(options: InstallOptions): Promise<void> {
  const packages = await missingTools();
  if (packages.length === 0 || Deno.uid() !== 0) return;
  options.say(`Installing ${packages.join(", ")}`);
  await installPackages(packages);
}

async function missingTools(): Promise<string[]> {
  const packages: string[] = [];
  for (const [program, from] of Object.entries(TOOLS)) {
    if (!await hasProgram(program)) packages.push(...from);
  }
  return packages;
}

async function makeChroot(suite: string, mirror: string): Promise<void> {
  const root = `${cacheDirectory()}/${suite}`;
  const partial = `${root}.partial`;
  await Deno.mkdir(cacheDirectory(), { recursive: true });
  for (const path of [root, partial]) await removeTree(path);
  await must(
    [
      // What it mounts in there goes with it, so that removing the directory is always safe.
      ...["unshare", "--mount"],
      ...["mmdebstrap", "--variant=apt", `--include=${CHROOT_PACKAGES.join(",")}`],
      '--aptopt=APT::Install-Recommends "false"',
      // A mirror that lags, or a clock that is ahead; signatures are checked all the same.
      '--aptopt=Acquire::Check-Valid-Until "false"',
      ...LEFT_OUT.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
      ...[suite, partial, mirror],
    ],
    { deadlineMs: CHROOT_DEADLINE_MS },
  );
  await Deno.writeTextFile(`${partial}/${COMPLETE}`, "");
  await Deno.rename(partial, root);
}

async function removeTree(path: string): Promise<void> {
  if (await exists(path)) await Deno.remove(path, { recursive: true });
}

/** Installs packages, with the start of services forbidden for the while. */
export async function installPackages(packages: string[]): Promise<void> {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const apt = ["apt-get", "-o", "DPkg::Lock::Timeout=240", "-y"];
  const previous = await readPolicy();
  try {
    await Deno.writeTextFile(POLICY_PATH, POLICY_FORBIDS);
    await Deno.chmod(POLICY_PATH, 0o755);
    await must([...apt, "update"], { deadlineMs: APT_DEADLINE_MS, env });
    await must([...apt, "install", "--no-install-recommends", ...packages], {
      deadlineMs: APT_DEADLINE_MS,
      env,
    });
  } finally {
    if (previous) {
      await Deno.writeTextFile(POLICY_PATH, previous.text);
      await Deno.chmod(POLICY_PATH, previous.mode);
    } else {
      await Deno.remove(POLICY_PATH);
    }
  }
}

async function readPolicy(): Promise<{ text: string; mode: number } | null> {
  if (!await exists(POLICY_PATH)) return null;
  const mode = (await Deno.stat(POLICY_PATH)).mode ?? 0o755;
  return { text: await Deno.readTextFile(POLICY_PATH), mode: mode & 0o777 };
}

/** The name of this machine's Debian, and where its apt gets packages from. */
async function readSystem(): Promise<{ codename: string; mirror: string }> {
  const release = await Deno.readTextFile("/etc/os-release");
  const field = (name: string): string =>
    new RegExp(`^${name}="?([^"\n]*)`, "m").exec(release)?.[1] ?? "";
  const codename = field("VERSION_CODENAME");
  if (field("ID") !== "debian") {
    throw new Error(`Cannot install peers as this needs Debian: this is ${field("ID")}`);
  }
  const mirror = findMirror(await readAptSources(), codename);
  if (!mirror) throw new Error(`Cannot find a mirror of ${codename} in the sources of apt`);
  return { codename, mirror };
}

async function readAptSources(): Promise<string[]> {
  const texts: string[] = [];
  const main = "/etc/apt/sources.list";
  if (await exists(main)) texts.push(await Deno.readTextFile(main));
  const directory = `${main}.d`;
  if (!await exists(directory)) return texts;
  for (const { name } of Deno.readDirSync(directory)) {
    if (/\.(list|sources)$/.test(name)) texts.push(await Deno.readTextFile(`${directory}/${name}`));
  }
  return texts;
}

/**
 * The first address that offers component main of a suite, from the texts of apt's sources in
 * either form: one line each, or stanzas (sources.list(5), "One-Line-Style" and "DEB822-Style").
 */
export function findMirror(texts: string[], suite: string): string | null {
  for (const text of texts) {
    const lines = text.split("\n").filter((line) => !line.startsWith("#"));
    for (const line of lines) {
      const words = /^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)$/.exec(line);
      if (words && words[2] === suite && words[3]!.split(/\s+/).includes("main")) return words[1]!;
    }
    for (const stanza of lines.join("\n").split(/\n\s*\n/)) {
      const values = (name: string): string[] =>
        new RegExp(`^${name}:(.*(?:\n[ \t].*)*)`, "mi").exec(stanza)?.[1]?.trim().split(/\s+/) ??
          [];
      if (/^Enabled:\s*no/mi.test(stanza) || !values("Types").includes("deb")) continue;
      if (!values("Suites").includes(suite) || !values("Components").includes("main")) continue;
      const address = values("URIs")[0];
      if (address) return address;
    }
  }
  return null;
}

function temporaryDirectory(): string {
  return Deno.env.get("TMPDIR") || "/tmp";
}
