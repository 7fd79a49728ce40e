/**
 * `deno task interop [--install] [--only PATTERN] [--skip-build]`: says which releases of Ceph are
 * here, gets those that are not when asked to, and runs the tests of this folder one file after
 * the other, those of the overlay beside each other. The last line is `N passed, N failed, N skipped`.
 *
 *   --install       get missing releases from Debian packages; root is needed
 *   --skip-build    with --install: install packages, but make no chroots
 *   --only PATTERN  only files with PATTERN in their name; where there is none, only tests with it
 *
 * With CI=true a missing release counts as failed, except those that `debian_peers.ts` calls
 * optional, which count as skipped. FAIRLEAD_PEERS names the directory for chroots.
 *
 * @module
 */
import { parseArgs } from "node:util";
import {
  cacheDirectory,
  findPeer,
  findUml,
  installPeer,
  installTools,
  installUml,
  type Peer,
  PEER_NAMES,
} from "./debian_peers.ts";
import { installStrongswan } from "./strongswan.ts";

/** What came of a run. */
interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** A file whose process takes longer is ended and counted as failed. */
const FILE_DEADLINE_S = 420;
const KILL_GRACE_S = 5;

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      "install": { type: "boolean", default: false },
      "skip-build": { type: "boolean", default: false },
      "only": { type: "string", default: "" },
    },
  });
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  if (values.install) await installAll(values["skip-build"]);
  for (const name of PEER_NAMES) add(total, tell(await findPeer(name)));
  print(`User-mode Linux: ${await findUml() ?? `not in ${cacheDirectory()}`}`);
  const { files, filter } = await select(values.only);
  for (const file of files.filter((file) => !waits(file))) {
    add(total, await testFile(file, filter, write));
  }
  for (const counts of await Promise.all(files.filter(waits).map((file) => whole(file, filter)))) {
    add(total, counts);
  }
  print(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return total.failed === 0 ? 0 : 1;
}

/** A release that cannot be had is told here and counted when it is found missing. */
async function installAll(skipBuild: boolean): Promise<void> {
  const steps = [
    installTools,
    installUml,
    installStrongswan,
    ...PEER_NAMES.map((name) => installPeer.bind(null, name)),
  ];
  for (const step of steps) {
    const started = performance.now();
    try {
      const said: string[] = [];
      await step({
        chroots: !skipBuild,
        say: (line) => {
          said.push(line);
          print(line);
        },
      });
      if (said.length > 0) print(`Done in ${((performance.now() - started) / 1000).toFixed(0)} s`);
    } catch (error) {
      print(error instanceof Error ? error.message : String(error));
    }
  }
}

/** Says where a release is; a missing one counts, with CI=true as a failure unless optional. */
function tell(peer: Peer): Partial<Counts> {
  const label = `Ceph ${peer.release} (${peer.name}, Debian ${peer.suite})`;
  if (peer.place) {
    print(`${label}: ${peer.place.root ?? "installed on this machine"}`);
    return {};
  }
  const failed = !peer.optional && Deno.env.get("CI") === "true";
  print(`${label}: ${failed ? "FAILED" : "skipped"}, not installed and not in ${cacheDirectory()}`);
  return failed ? { failed: 1 } : { skipped: 1 };
}

async function select(pattern: string): Promise<{ files: string[]; filter: string }> {
  const all: string[] = [];
  for await (const { name } of Deno.readDir(import.meta.dirname!)) {
    if (name.endsWith("_test.ts")) all.push(name);
  }
  all.sort();
  const named = all.filter((name) => name.includes(pattern));
  return named.length > 0 ? { files: named, filter: "" } : { files: all, filter: pattern };
}

/** Files that wait for leases and deadlines more than they work: they run beside each other. */
function waits(file: string): boolean {
  return file.startsWith("overlay_");
}

/** Runs one file beside others: what it prints comes in one piece. */
async function whole(file: string, filter: string): Promise<Counts> {
  let text = "";
  const counts = await testFile(file, filter, (piece) => void (text += piece));
  write(text);
  return counts;
}

/** Runs one file in a process of its own, so that its end cannot take the other counts along. */
async function testFile(
  file: string,
  filter: string,
  say: (text: string) => void,
): Promise<Counts> {
  say(`\n${file}\n`);
  const only = filter === "" ? [] : [`--filter=${filter}`];
  const child = new Deno.Command("timeout", {
    args: [
      ...["--foreground", `--kill-after=${KILL_GRACE_S}`, `${FILE_DEADLINE_S}`],
      ...[Deno.execPath(), "test", "-A", ...only, `${import.meta.dirname}/${file}`],
    ],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const output = await tee(child.stdout, say);
  const { code } = await child.status;
  const counts = readSummary(output);
  if (counts && (code === 0 || counts.failed > 0)) return counts;
  say(`${file}: FAILED, ended with status ${code}\n`);
  return { passed: 0, skipped: 0, ...counts, failed: 1 };
}

/** Passes output on while it comes, and keeps it. */
async function tee(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  say: (text: string) => void,
): Promise<string> {
  let text = "";
  for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
    text += piece;
    say(piece);
  }
  return text;
}

/** Reads `ok | 5 passed (2 steps) | 0 failed | 1 ignored (3s)`, the last such line. */
export function readSummary(output: string): Counts | null {
  const summary = output.split("\n").findLast((line) => /^(ok|FAILED) \| \d+ passed/.test(line));
  if (summary === undefined) return null;
  const count = (word: string): number =>
    Number(new RegExp(`\\| (\\d+) ${word}`).exec(summary)?.[1] ?? 0);
  return { passed: count("passed"), failed: count("failed"), skipped: count("ignored") };
}

function add(total: Counts, more: Partial<Counts>): void {
  total.passed += more.passed ?? 0;
  total.failed += more.failed ?? 0;
  total.skipped += more.skipped ?? 0;
}

function print(line: string): void {
  write(line + "\n");
}

function write(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}
