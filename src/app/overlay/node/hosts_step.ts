/**
 * The step `hosts`: names of the overlay's nodes in the hosts file, hosts(5), as a block between two
 * marks at its end. The file is replaced as a whole where it can be, with its mode and owner; a file that
 * is mounted into a container cannot be renamed over and is written in place, from the first byte that
 * differs: what is added, or taken from the end, leaves all others where they are.
 *
 * @module
 */
import { parseInet } from "../../../wire/inet.ts";
import type { HostName, NodePlan } from "../../../wire/xbone/node_plan.ts";
import type { Orphan, PlannedStep, StepKind, StepRecord } from "./step.ts";

/** hosts(5). */
const HOSTS_FILE = "/etc/hosts";
/** A hosts file that is larger is not touched. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;
const FILE_MODE = 0o644;
/** Of a name: RFC 1035 section 2.3.4. */
const NAME_FORM = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?$/;
/** Of what a mark names; one line, as it ends with it. */
const MARK_FORM = /^[\x21-\x7e]{1,128}$/;

/** Whose block begins. */
const BEGIN_FORM = /^# fairlead overlay (\S+) (\S+) begins$/gm;

/** What stands in the journal. */
export interface HostsRecord extends StepRecord {
  readonly kind: "hosts";
  readonly overlay: string;
  readonly epoch: string;
  readonly names: readonly HostName[];
}

/** The step of a plan; none when it has no names. */
export function hostSteps({ epoch, names, overlay }: NodePlan): PlannedStep[] {
  if (names.length === 0) return [];
  const about = `${names.length} ${names.length === 1 ? "name" : "names"} in the hosts file`;
  const record: HostsRecord = { kind: "hosts", about, overlay, epoch, names };
  return [{ record }];
}

/**
 * The step for a hosts file.
 *
 * @param allowed whether names may be added; what was added before is taken away in any case
 */
export function hostsStep(
  path: string = HOSTS_FILE,
  allowed: boolean = true,
): StepKind<HostsRecord> {
  return {
    kind: "hosts",
    apply(record): void {
      if (!allowed) {
        throw new Error(
          `Cannot add ${record.about} as this box leaves it alone: current value of its own ` +
            'configuration\'s "hosts" is false',
        );
      }
      const wanted = blockOf(record);
      const text = read(path) ?? "";
      if (isAsGiven(text, record)) return;
      const rest = without(text, record);
      const whole = `${rest}${rest === "" || rest.endsWith("\n") ? "" : "\n"}${wanted}`;
      replace(path, text, whole);
    },
    undo(record): void {
      const text = read(path);
      if (text === null) return;
      const rest = without(text, record);
      if (rest !== text) replace(path, text, rest);
    },
    drift(record): string[] {
      const text = read(path);
      if (text === null) return [`${path} is missing`];
      if (blocksIn(text, record).length === 0) {
        return [`${path} lacks the names of ${record.overlay}`];
      }
      if (isAsGiven(text, record)) return [];
      return [`${path} has other names for ${record.overlay} than it was given`];
    },
    orphans(load): Orphan[] {
      const marks = (read(path) ?? "").matchAll(BEGIN_FORM);
      const found = new Map([...marks].map(([mark, overlay, epoch]) => [mark, { overlay, epoch }]));
      for (const record of load()) found.delete(begin(record));
      return [...found.values()].map(({ epoch, overlay }) => {
        const about = `names of ${overlay}, epoch ${epoch} (${path})`;
        const record = {
          kind: "hosts",
          about,
          overlay: overlay!,
          epoch: epoch!,
          names: [],
        } as const;
        return { about, remove: () => this.undo(record) };
      });
    },
  };
}

function begin({ epoch, overlay }: HostsRecord): string {
  return `# fairlead overlay ${overlay} ${epoch} begins`;
}

function end({ epoch, overlay }: HostsRecord): string {
  return `# fairlead overlay ${overlay} ${epoch} ends`;
}

function blockOf(record: HostsRecord): string {
  for (const value of [record.overlay, record.epoch]) {
    if (MARK_FORM.test(value)) continue;
    throw new Error(
      `Cannot name hosts of an overlay as its name must be printable: current value is ${
        JSON.stringify(value)
      }`,
    );
  }
  const lines = record.names.map((host) => lineOf(host));
  return `${[begin(record), ...lines, end(record)].join("\n")}\n`;
}

function lineOf({ address, name }: HostName): string {
  if (parseInet(address, new Uint8Array(16)) === 0) {
    throw new Error(
      `Cannot name a host as its address is none: current value is ${JSON.stringify(address)}`,
    );
  }
  if (NAME_FORM.test(name)) return `${address}\t${name}`;
  throw new Error(
    `Cannot name a host as names are letters, digits, dots and hyphens: current value is ${
      JSON.stringify(name)
    }`,
  );
}

/** Where the blocks of this overlay are: one, unless somebody copied it. */
function blocksIn(text: string, record: HostsRecord): [at: number, end: number][] {
  const [first, last] = [`${begin(record)}\n`, end(record)];
  const blocks: [number, number][] = [];
  for (let at = lineAt(text, first, 0); at >= 0;) {
    const closing = lineAt(text, last, at);
    // Without its end nobody knows what is ours: the mark itself is.
    let after = closing < 0 ? at + first.length : closing + last.length;
    if (closing >= 0 && text[after] === "\n") after++;
    blocks.push([at, after]);
    at = lineAt(text, first, after);
  }
  return blocks;
}

function isAsGiven(text: string, record: HostsRecord): boolean {
  const blocks = blocksIn(text, record);
  return blocks.length === 1 && text.slice(...blocks[0]!) === blockOf(record);
}

/** Where a line that begins so is, from `from` on; -1 when there is none. */
function lineAt(text: string, start: string, from: number): number {
  for (let at = text.indexOf(start, from); at >= 0; at = text.indexOf(start, at + 1)) {
    if (at === 0 || text[at - 1] === "\n") return at;
  }
  return -1;
}

function without(text: string, record: HostsRecord): string {
  let rest = "";
  let from = 0;
  for (const [at, after] of blocksIn(text, record)) {
    rest += text.slice(from, at);
    from = after;
  }
  return rest + text.slice(from);
}

function read(path: string): string | null {
  try {
    const { isFile, size } = Deno.statSync(path);
    if (!isFile || size > FILE_BYTES_MAX) {
      throw new Error(
        `Cannot change ${path} as it must be a file of up to ${FILE_BYTES_MAX} bytes: current ` +
          `size is ${size}`,
      );
    }
    return decode(Deno.readFileSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** A character for each byte, so that what is not UTF-8 stays what it is. */
function decode(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return text;
}

function encode(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function replace(path: string, before: string, after: string): void {
  const target = infoOf(path) === null ? path : Deno.realPathSync(path); // a link stays one
  if (!replaceWhole(target, encode(after))) writeInPlace(target, before, after);
}

/** False when the file can only be written in place. */
function replaceWhole(path: string, bytes: Uint8Array): boolean {
  const beside = `${path}.fairlead-new`;
  const old = infoOf(path);
  try {
    removeIfThere(beside);
    using file = Deno.openSync(beside, { write: true, createNew: true, mode: FILE_MODE });
    writeAll(file, bytes);
    if (old !== null) {
      Deno.chownSync(beside, old.uid, old.gid);
      if (old.mode !== null) Deno.chmodSync(beside, old.mode & 0o7777);
    }
    file.syncSync();
    Deno.renameSync(beside, path);
    return true;
  } catch (error) {
    if (infoOf(beside) !== null) removeIfThere(beside);
    if (old !== null && isPinned(error)) return false;
    throw error;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** A mount point cannot be renamed over, and the directory around it may be read-only. */
function isPinned(error: unknown): boolean {
  if (error instanceof Deno.errors.Busy || error instanceof Deno.errors.NotCapable) return true;
  const code = error instanceof Error && "code" in error ? error.code : "";
  return ["EBUSY", "EROFS", "EXDEV", "EACCES", "EPERM"].includes(String(code));
}

function writeInPlace(path: string, before: string, after: string): void {
  let same = 0;
  while (same < before.length && same < after.length && before[same] === after[same]) same++;
  using file = Deno.openSync(path, { read: true, write: true });
  try {
    file.seekSync(same, Deno.SeekMode.Start);
    writeAll(file, encode(after.slice(same)));
    file.truncateSync(after.length);
  } catch (error) {
    // Of a full disk: what was there takes no more room than before.
    file.seekSync(same, Deno.SeekMode.Start);
    writeAll(file, encode(before.slice(same)));
    file.truncateSync(before.length);
    throw error;
  }
  file.syncSync();
}

function writeAll(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}

function infoOf(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
