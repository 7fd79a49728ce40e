/**
 * A kernel with ESP in a process: user-mode Linux of Debian, booted for one command, with the host's
 * files as its root and Deno inside. The host lets it write in one work directory and nowhere else,
 * whatever root of the guest does: its mounts are shut before it starts (uml_shut.c), it has no
 * capability but to read, no network, and its processes end with it.
 *
 *   deno run -A tests/interop/uml_lab.ts tests/kernel/uml_test.ts   tests, inside
 *   deno run -A tests/interop/uml_lab.ts ip xfrm state              any other command
 *
 * Inside: Linux 6.1, one processor, HZ 100, /tmp read-only, $TMPDIR and $DENO_DIR in memory, $FAIRLEAD_UML
 * the work directory. Of nftables it has the bridge family alone (no inet, ip, ip6, netdev), and it has no
 * MPTCP: what needs those is shown on the host's kernel. UML documentation: Linux
 * Documentation/virt/uml/user_mode_linux_howto_v2.rst.
 *
 * @module
 */
import { relative, resolve } from "node:path";
import { findUml } from "./debian_peers.ts";
import { Daemon, must } from "./processes.ts";
import { readTap, type TapTest } from "./uml_tap.ts";

/** What may be set for a boot. */
export interface UmlOptions {
  /** The guest is ended after so long; 100 s when absent. */
  deadlineMs?: number;
  /** Only tests with this in their name. */
  filter?: string;
}

/** How a guest ended. */
export interface UmlEnd {
  /** The exit status of its command; null when it did not come to it. */
  code: number | null;
  /** What its console said. */
  console: string;
}

/** One test that ran inside. */
export interface UmlTest extends TapTest {
  /** The file it is in, from the top of the checkout. */
  file: string;
}

/** What came of files of tests. */
export interface UmlReport {
  /** All tests, in the order of the files. */
  tests: UmlTest[];
  /** Files that did not end as their tests say, or the guest; each with what there is to read. */
  broken: { what: string; text: string }[];
}

const ROOT = resolve(import.meta.dirname!, "../..");
const DEADLINE_MS = 100_000;
/** A file whose process takes longer inside is ended, so that the others get their turn. */
const FILE_DEADLINE_S = 120;
const MEMORY = "1536M";
const CONSOLE_MAX = 8000;
/** What a kernel says that has nobody to ask about it. */
const NOISE = /^(SELinux|mmapper_init|Failed to initialize ubd|reboot: System halted)/;

/** All at once, as each start of a program costs 50 ms: nothing is loaded on demand inside. */
const MODULES = [
  ...["xfrm_user", "esp4", "esp6", "ah4", "xfrm4_tunnel", "xfrm6_tunnel", "ipv6"],
  // A SA cannot be added without the random numbers of the last three.
  ...["authenc", "authencesn", "cbc", "hmac", "sha256_generic", "echainiv", "gcm", "seqiv", "ctr"],
  ...["ghash_generic", "sha512_generic", "jitterentropy_rng", "drbg"],
  ...["veth", "bridge", "nf_tables", "sch_ingress", "cls_matchall", "act_skbedit"],
];

/** Ends with the guest: unshare(1) kills it when it is killed itself. */
const ISOLATE = [
  ...["unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"],
];

/**
 * Boots a guest that runs a shell script in a work directory, which must be empty; what the script
 * leaves there stays.
 *
 * @throws when there is no user-mode Linux here
 */
export async function runInUml(
  directory: string,
  script: string,
  options: UmlOptions = {},
): Promise<UmlEnd> {
  const peer = await findUml();
  if (peer === null) {
    throw new Error("Cannot boot user-mode Linux: run deno task interop --install as root");
  }
  const compile = (name: string, more: string[]): Promise<string> =>
    must(["cc", "-O2", ...more, "-o", `${directory}/${name}`, `${import.meta.dirname}/${name}.c`]);
  await Promise.all([compile("uml_shim", ["-shared", "-fPIC"]), compile("uml_shut", [])]);
  Deno.copyFileSync(`${import.meta.dirname}/uml_init.sh`, `${directory}/init`);
  Deno.chmodSync(`${directory}/init`, 0o755);
  Deno.writeTextFileSync(`${directory}/modules`, MODULES.join(" "));
  Deno.writeTextFileSync(`${directory}/settings`, settings(peer, directory));
  Deno.writeTextFileSync(`${directory}/command`, `cd ${quote(Deno.cwd())}\n${script}\n`);
  const console = `${directory}/console`;
  await using guest = Daemon.start([
    ...ISOLATE,
    // Process 1 of the new namespace takes no signals, which a kernel sends to itself: a shell is it.
    ...["sh", "-c", '"$@"; exit $?', "sh", `${directory}/uml_shut`, directory],
    ...["setpriv", "--bounding-set=-all,+dac_read_search", "--no-new-privs"],
    ...[
      "env",
      `LD_PRELOAD=${directory}/uml_shim`,
      "TMPDIR=/dev/shm",
      `${peer}/uml/usr/bin/linux.uml`,
    ],
    ...[`mem=${MEMORY}`, "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"],
    ...[`init=${directory}/init`, `uml_dir=${directory}`, "umid=uml"],
    ...["con=null", "con0=null,fd:1", "con1=null"],
  ], console);
  await ended(guest, options.deadlineMs ?? DEADLINE_MS);
  const said = Deno.readTextFileSync(console).split("\n").filter((line) => !NOISE.test(line));
  return { code: readStatus(directory), console: said.join("\n").slice(-CONSOLE_MAX) };
}

/** Runs files of tests in one guest, one process for each. */
export async function testInUml(files: string[], options: UmlOptions = {}): Promise<UmlReport> {
  const directory = Deno.makeTempDirSync({ prefix: "fairlead-uml-" });
  try {
    const paths = files.map((file) => resolve(file));
    const script = paths.map((path, index) => testScript(directory, path, index, options.filter));
    const end = await runInUml(directory, script.join("\n"), options);
    const report: UmlReport = { tests: [], broken: [] };
    paths.forEach((path, index) => collect(report, directory, path, index));
    if (end.code !== 0) report.broken.push({ what: "the guest", text: end.console });
    return report;
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

function testScript(directory: string, path: string, index: number, filter = ""): string {
  const deno = [Deno.execPath(), "test", "-A", "--no-check", "--reporter=tap"];
  const argv = ["timeout", "--kill-after=2", `${FILE_DEADLINE_S}`, ...deno];
  if (filter !== "") argv.push(`--filter=${filter}`);
  const out = quote(`${directory}/${index}`);
  return `${[...argv, path].map(quote).join(" ")} >${out}.tap 2>${out}.log; echo $? >${out}.status`;
}

/** A file may fail without a test that says so: it does not load, or does not end. */
function collect(report: UmlReport, directory: string, path: string, index: number): void {
  const file = relative(ROOT, path);
  const out = `${directory}/${index}`;
  const tests = readTap(readIfThere(`${out}.tap`));
  report.tests.push(...tests.map((test) => ({ file, ...test })));
  const status = readIfThere(`${out}.status`).trim();
  const failed = tests.some(({ outcome }) => outcome === "failed");
  if (status === "0" && tests.length > 0 || status === "1" && failed) return;
  const said = readIfThere(`${out}.log`).slice(-CONSOLE_MAX);
  const what = `${file}: status ${status || "unknown"} after ${tests.length} tests`;
  report.broken.push({ what, text: said });
}

/** The environment of everything inside; the host's is not handed on. */
function settings(peer: string, directory: string): string {
  const deno = Deno.execPath().replace(/\/[^/]*$/, "");
  const lines = {
    PATH: `${deno}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
    HOME: "/dev/shm/home",
    TMPDIR: "/dev/shm",
    DENO_DIR: "/dev/shm/deno",
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
    LC_ALL: "C",
    CI: Deno.env.get("CI") ?? "",
    FAIRLEAD_UML: directory,
  };
  const text = Object.entries(lines).map(([name, value]) => `export ${name}=${quote(value)}`);
  return [`peer=${quote(peer)}`, ...text, ""].join("\n");
}

async function ended(guest: Daemon, deadlineMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, deadlineMs));
  await Promise.race([guest.exited, late]);
  clearTimeout(timer);
  if (!guest.running) return;
  // With process 1 of a namespace end all others, and unshare(1) when the last one is gone.
  const path = `/proc/${guest.pid}/task/${guest.pid}/children`;
  for (const pid of Deno.readTextFileSync(path).trim().split(" ")) {
    Deno.kill(Number(pid), "SIGKILL");
  }
  await guest.exited;
}

function readStatus(directory: string): number | null {
  const text = readIfThere(`${directory}/status`).trim();
  return text === "" ? null : Number(text);
}

function readIfThere(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(args: string[]): Promise<number> {
  const files = args.filter((arg) => arg.endsWith("_test.ts"));
  const filter = args.find((arg) => arg.startsWith("--filter="))?.slice("--filter=".length);
  if (files.length > 0) return print(await testInUml(files, { filter }));
  const directory = Deno.makeTempDirSync({ prefix: "fairlead-uml-" });
  try {
    const end = await runInUml(directory, args.map(quote).join(" "));
    write(`${end.console}\n`);
    return end.code ?? 125;
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

function print({ tests, broken }: UmlReport): number {
  for (const { file, name, outcome, text } of tests) {
    write(`${outcome} ${file}: ${name}\n${text === "" ? "" : `${text}\n`}`);
  }
  for (const { what, text } of broken) write(`broken ${what}\n${text}\n`);
  return broken.length > 0 || tests.some(({ outcome }) => outcome === "failed") ? 1 : 0;
}

function write(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}
