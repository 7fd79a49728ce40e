/**
 * The step `script`: an application script, which X-Bone calls application deployment. It is off unless
 * the box's own configuration allows it. What runs is a copy that nobody but us can write, made after its
 * hash was compared: from a local folder, or, with a hash, from a URL. It runs as a user of its own by
 * setpriv(1), without capabilities and without a way to new ones, in an empty directory, and as a group of
 * processes that is killed at its deadline. What it leaves in the background is its own to stop.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { NodePlan } from "../../../wire/xbone/node_plan.ts";
import { delay } from "../../delay.ts";
import { printable } from "../../printable.ts";
import { DurableFile } from "../../standby/durable_file.ts";
import type { PlannedStep, StepKind, StepRecord } from "./step.ts";

/** What a script may be as long as. */
const SCRIPT_BYTES_MAX = 1024 * 1024;
/** How much of what it says is told: its last words. */
const OUTPUT_BYTES_MAX = 2048;
/** What is still in the pipes when it has ended is there at once. */
const DRAIN_MS = 200;
/** A name in the folder: no separator, not hidden. */
const NAME_FORM = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const HASH_FORM = /^[0-9a-f]{64}$/;
/** Of what a directory is called after. */
const OVERLAY_FORM = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** Group and others may write. */
const OTHERS_WRITE = 0o022;
const SETPRIV = "/usr/bin/setpriv";
const BARE = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups"];
/** It ends with us. */
const BOUND = "--pdeathsig=KILL";
const BOOT_ID = "/proc/sys/kernel/random/boot_id";
const PATH = "/usr/local/bin:/usr/bin:/bin";

/** What the box's own configuration allows. */
export interface ScriptPolicy {
  /** Where local scripts are; null: there are none. */
  readonly folder: string | null;
  /** Who runs them: a name or a number, not root. */
  readonly user: string;
  /** A name or a number; "" is the user's own. */
  readonly group: string;
  /** Whether scripts may be fetched, which takes a hash. */
  readonly urls: boolean;
  /** The longest that one may take. */
  readonly deadlineMsMax: number;
}

/** What stands in the journal. */
export interface ScriptRecord extends StepRecord {
  readonly kind: "script";
  readonly script: string;
  /** In hexadecimal digits; "" when it is not said. */
  readonly sha256: string;
  readonly deadlineMs: number;
  readonly overlay: string;
  readonly epoch: string;
  readonly node: string;
  readonly visits: readonly { readonly name: string; readonly address: string }[];
}

/** What is known of a copy once it may have run. */
interface Begun {
  readonly sha256: string;
  readonly uid: number;
  readonly gid: number;
  /** What it was granted; `stop` is, too. */
  readonly deadlineMs: number;
  /** During which run of the kernel it was started; "" before `start` has ended well. */
  readonly started: string;
}

/** The step of a plan; none when it has no script. */
export function scriptSteps({ epoch, node, overlay, script, visits }: NodePlan): PlannedStep[] {
  if (script === null) return [];
  const record: ScriptRecord = {
    kind: "script",
    about: `script ${script.name}`,
    script: script.script,
    sha256: script.sha256,
    deadlineMs: script.deadlineMs,
    ...{ overlay, epoch, node },
    visits: visits.map(({ address, name }) => ({ name, address })),
  };
  return [{ record }];
}

/**
 * The step.
 *
 * @param work where copies are kept; their user must be able to get there, and nothing be mounted noexec
 */
export function scriptStep(policy: ScriptPolicy, work: string): StepKind<ScriptRecord> {
  return {
    kind: "script",
    async apply(record): Promise<void> {
      const place = placeOf(work, record);
      if (readBegun(place)?.started === bootId()) return;
      const deadlineMs = deadlineOf(record, policy);
      const bytes = await contentOf(record, policy, deadlineMs);
      const user = userOf(policy);
      const sha256 = hashOf(bytes);
      checkHash(record, sha256);
      prepare(work, place, bytes, user);
      checkReach(record, place, user);
      writeBegun(place, { sha256, ...user, deadlineMs, started: "" });
      await runScript("start", record, place, user, deadlineMs);
      writeBegun(place, { sha256, ...user, deadlineMs, started: bootId() });
    },
    async undo(record): Promise<void> {
      if (!isNamed(record)) return; // it was refused
      const place = placeOf(work, record);
      const begun = readBegun(place);
      if (begun !== null) {
        const changed = changeOf(place, record, begun);
        if (changed !== "") throw new Error(`Cannot stop ${record.about} as ${changed}`);
        await runScript("stop", record, place, begun, begun.deadlineMs);
      }
      removeIfThere(place);
    },
    drift(record): string[] {
      const place = placeOf(work, record);
      const begun = readBegun(place);
      if (begun?.started !== bootId()) {
        return [`${record.about} was not started since this box was`];
      }
      const changed = changeOf(place, record, begun);
      return changed === "" ? [] : [`${record.about}: ${changed}`];
    },
  };
}

function isNamed({ epoch, overlay }: ScriptRecord): boolean {
  return OVERLAY_FORM.test(overlay) && OVERLAY_FORM.test(epoch);
}

function placeOf(work: string, record: ScriptRecord): string {
  const { epoch, overlay } = record;
  if (isNamed(record)) return `${work}/${overlay}.${epoch}`;
  throw new Error(
    `Cannot run a script as its overlay's name must be letters, digits, dots and hyphens: ` +
      `current value is ${JSON.stringify(overlay)} and ${JSON.stringify(epoch)}`,
  );
}

function deadlineOf({ about, deadlineMs }: ScriptRecord, { deadlineMsMax }: ScriptPolicy): number {
  if (Number.isInteger(deadlineMs) && deadlineMs > 0) return Math.min(deadlineMs, deadlineMsMax);
  throw new Error(
    `Cannot run ${about} as its deadline must be 1 ms or more: current value is ${deadlineMs}`,
  );
}

/** The script, checked for where it comes from; its hash is for the caller to compare. */
async function contentOf(
  record: ScriptRecord,
  { folder, urls }: ScriptPolicy,
  deadlineMs: number,
): Promise<Uint8Array> {
  const { about, script, sha256 } = record;
  if (sha256 !== "" && !HASH_FORM.test(sha256)) {
    throw new Error(
      `Cannot run ${about} as its sha256 must be 64 hexadecimal digits: current value is ${
        JSON.stringify(sha256)
      }`,
    );
  }
  if (/^https?:\/\//.test(script)) {
    if (!urls) {
      throw new Error(
        `Cannot run ${about} as this box fetches no scripts: current value is ${
          JSON.stringify(script)
        }, its own configuration may allow it`,
      );
    }
    if (sha256 !== "") return await fetchScript(about, script, deadlineMs);
    throw new Error(
      `Cannot run ${about} as a script from a URL needs its SHA-256: current value is ${
        JSON.stringify(script)
      } without one`,
    );
  }
  if (folder === null) {
    throw new Error(
      `Cannot run ${about} as this box allows no scripts: its own configuration may name a folder`,
    );
  }
  if (NAME_FORM.test(script)) return readLocal(about, folder, script);
  throw new Error(
    `Cannot run ${about} as it must be a name in the box's folder, or a URL: current value is ${
      JSON.stringify(script)
    }`,
  );
}

function readLocal(about: string, folder: string, name: string): Uint8Array {
  const path = `${folder}/${name}`;
  let real = "";
  try {
    real = Deno.realPathSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`Cannot run ${about} as this box has no such script: current value is ${path}`);
  }
  if (real.slice(0, real.lastIndexOf("/")) !== Deno.realPathSync(folder)) {
    throw new Error(`Cannot run ${about} as ${path} leads out of the folder: it is ${real}`);
  }
  checkOwned(about, folder, Deno.statSync(folder));
  using file = Deno.openSync(real);
  const info = file.statSync();
  if (!info.isFile) throw new Error(`Cannot run ${about} as ${path} is no file`);
  checkOwned(about, path, info);
  checkSize(about, info.size);
  const bytes = new Uint8Array(info.size);
  for (let at = 0; at < bytes.length;) {
    const count = file.readSync(bytes.subarray(at));
    if (count === null) throw new Error(`Cannot run ${about} as ${path} is being changed`);
    at += count;
  }
  return bytes;
}

/** Only root or we may be able to change what is run. */
function checkOwned(about: string, path: string, { mode, uid }: Deno.FileInfo): void {
  if (mode !== null && (mode & OTHERS_WRITE) !== 0) {
    throw new Error(
      `Cannot run ${about} as others can write ${path}: current mode is ${
        modeText(mode)
      }, use chmod go-w ${path}`,
    );
  }
  if (uid === 0 || uid === Deno.uid()) return;
  throw new Error(`Cannot run ${about} as ${path} must be root's: current owner is ${uid}`);
}

function checkSize(about: string, size: number): void {
  if (size > 0 && size <= SCRIPT_BYTES_MAX) return;
  throw new Error(
    `Cannot run ${about} as a script has 1 to ${SCRIPT_BYTES_MAX} bytes: current value is ${size}`,
  );
}

async function fetchScript(about: string, url: string, deadlineMs: number): Promise<Uint8Array> {
  try {
    const signal = AbortSignal.timeout(deadlineMs);
    const response = await fetch(url, { signal, redirect: "error", credentials: "omit" });
    if (response.status !== 200 || response.body === null) {
      await response.body?.cancel();
      throw new Error(`the server said ${response.status}`);
    }
    const bytes = new Uint8Array(SCRIPT_BYTES_MAX);
    let size = 0;
    for await (const piece of response.body) { // leaving the loop ends the transfer
      if (size + piece.length > bytes.length) {
        throw new Error(`it has more than ${SCRIPT_BYTES_MAX} bytes`);
      }
      bytes.set(piece, size);
      size += piece.length;
    }
    checkSize(about, size);
    return bytes.slice(0, size);
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`Cannot fetch ${about} from ${url}: ${printable(message)}`);
  }
}

function checkHash({ about, sha256 }: ScriptRecord, found: string): void {
  if (sha256 === "" || sha256 === found) return;
  throw new Error(
    `Cannot run ${about} as its SHA-256 must be ${sha256}: current value is ${found}`,
  );
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Makes the copy and an empty directory to run in. */
function prepare(
  work: string,
  place: string,
  bytes: Uint8Array,
  { gid, uid }: { uid: number; gid: number },
): void {
  Deno.mkdirSync(work, { recursive: true, mode: 0o711 });
  removeIfThere(place);
  Deno.mkdirSync(place);
  Deno.chmodSync(place, 0o711);
  Deno.writeFileSync(`${place}/script`, bytes, { createNew: true, mode: 0o500 });
  Deno.chmodSync(`${place}/script`, 0o555);
  Deno.mkdirSync(`${place}/run`, { mode: 0o700 });
  Deno.chownSync(`${place}/run`, uid, gid);
}

/** The script's user must get to its copy: into every directory above it. */
function checkReach(
  { about }: ScriptRecord,
  place: string,
  user: { uid: number; gid: number },
): void {
  for (
    let path = Deno.realPathSync(place);
    path !== "";
    path = path.slice(0, path.lastIndexOf("/"))
  ) {
    const { gid, mode, uid } = Deno.statSync(path);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if (mode === null || (mode & bit) !== 0) continue;
    throw new Error(
      `Cannot run ${about} as its user must be able to get into ${path}: current mode is ${
        modeText(mode)
      }, use chmod a+x ${path}`,
    );
  }
}

function modeText(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}

/** What is wrong with the copy; empty when nothing is. */
function changeOf(place: string, { sha256 }: ScriptRecord, begun: Begun): string {
  let found = "";
  try {
    found = hashOf(Deno.readFileSync(`${place}/script`));
  } catch (error) {
    return `its copy cannot be read: ${(error as Error).message}`;
  }
  if (found === begun.sha256 && (sha256 === "" || sha256 === found)) return "";
  return `its copy ${place}/script was changed: current SHA-256 is ${found}`;
}

function readBegun(place: string): Begun | null {
  let text = "";
  try {
    text = Deno.readTextFileSync(`${place}/begun.json`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
  const { deadlineMs, gid, sha256, started, uid } = parseBegun(text);
  const numbers = [uid, gid, deadlineMs];
  if (numbers.every((number) => Number.isInteger(number) && number! > 0)) {
    const known = { uid: uid!, gid: gid!, deadlineMs: deadlineMs! };
    return { ...known, sha256: `${sha256}`, started: typeof started === "string" ? started : "" };
  }
  throw new Error(`Cannot use ${place}/begun.json as it is damaged: remove ${place}`);
}

/** Another one after each reboot: random(4). */
function bootId(): string {
  return Deno.readTextFileSync(BOOT_ID).trim();
}

/** Nothing of it when it is no JSON. */
function parseBegun(text: string): Partial<Begun> {
  try {
    return Object(JSON.parse(text)) as Partial<Begun>;
  } catch {
    return {};
  }
}

function writeBegun(place: string, begun: Begun): void {
  new DurableFile(`${place}/begun.json`).write(begun);
}

/** Runs it to its end; what it says is told when it fails. */
async function runScript(
  action: "start" | "stop",
  record: ScriptRecord,
  place: string,
  { gid, uid }: { uid: number; gid: number },
  deadlineMs: number,
): Promise<void> {
  const child = spawn(record, {
    args: [...BARE, BOUND, `--reuid=${uid}`, `--regid=${gid}`, "--", `${place}/script`, action],
    cwd: `${place}/run`,
    clearEnv: true,
    env: environmentOf(record, place),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: true, // a session, and so a group, of its own
  });
  const words = new LastWords();
  const readers = [child.stdout.getReader(), child.stderr.getReader()];
  const read = Promise.all(readers.map((reader) => words.take(reader)));
  const end = new AbortController();
  const late = delay(deadlineMs, end.signal).then(() => null);
  const status = await Promise.race([child.status, late]);
  if (status?.success !== true) killGroup(child.pid);
  await child.status;
  end.abort();
  if (status?.success !== true) await drain(read);
  // A process that goes on in the background may hold the pipes.
  for (const reader of readers) await reader.cancel();
  await read;
  if (status?.success === true) return;
  const how = status === null
    ? `did not end within ${deadlineMs} ms and was killed`
    : status.signal === null
    ? `ended with ${status.code}`
    : `was ended by ${status.signal}`;
  throw new Error(`Cannot ${action} ${record.about} as it ${how}: it said "${words.text}"`);
}

function spawn(
  { about }: ScriptRecord,
  options: Deno.CommandOptions & { stdout: "piped"; stderr: "piped" },
): Deno.ChildProcess {
  try {
    return new Deno.Command(SETPRIV, options).spawn();
  } catch (error) {
    throw new Error(
      `Cannot run ${about} as ${SETPRIV} does not start, it is in util-linux: ` +
        (error as Error).message,
    );
  }
}

async function drain(read: Promise<unknown>): Promise<void> {
  const end = new AbortController();
  await Promise.race([read, delay(DRAIN_MS, end.signal)]);
  end.abort();
}

/** All processes that it started, but for those that made a group of their own. */
function killGroup(pid: number): void {
  try {
    Deno.kill(-pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function environmentOf(record: ScriptRecord, place: string): Record<string, string> {
  const { epoch, node, overlay, visits } = record;
  return {
    PATH,
    HOME: `${place}/run`,
    LC_ALL: "C.UTF-8",
    OVERLAY: overlay,
    EPOCH: epoch,
    NODE: node,
    VISIT: visits[0]?.name ?? "",
    ADDRESS: visits[0]?.address ?? "",
    /** All of them: `r1=10.100.0.1 r2=10.100.0.2`. */
    VISITS: visits.map(({ address, name }) => `${name}=${address}`).join(" "),
  };
}

/** The last bytes of what comes from pipes, which are read to their ends so that nobody waits. */
class LastWords {
  #bytes = new Uint8Array(0);

  async take(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const both = new Uint8Array(this.#bytes.length + value.length);
      both.set(this.#bytes);
      both.set(value, this.#bytes.length);
      this.#bytes = both.slice(-OUTPUT_BYTES_MAX);
    }
  }

  get text(): string {
    return printable(new TextDecoder().decode(this.#bytes).trim());
  }
}

/** The numbers of who runs scripts: passwd(5), group(5). */
function userOf({ group, user }: ScriptPolicy): { uid: number; gid: number } {
  const found = lookUp("/etc/passwd", user);
  const uid = found === null ? numberOf(user) : Number(found[2]);
  const byGroup = group === "" ? found?.[3] : lookUp("/etc/group", group)?.[2] ?? group;
  const gid = numberOf(byGroup ?? "");
  for (const [what, value, number] of [["user", user, uid], ["group", group, gid]] as const) {
    if (Number.isInteger(number) && number > 0) continue;
    throw new Error(
      `Cannot run scripts as their ${what} must be one of this box, and not root: current value ` +
        `is ${JSON.stringify(value)}`,
    );
  }
  return { uid, gid };
}

function numberOf(text: string): number {
  return /^[0-9]{1,10}$/.test(text) ? Number(text) : NaN;
}

function lookUp(path: string, name: string): string[] | null {
  const rows = Deno.readTextFileSync(path).split("\n").map((line) => line.split(":"));
  return rows.find((row) => row[0] === name && name !== "") ?? null;
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
