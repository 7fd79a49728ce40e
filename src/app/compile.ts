/**
 * `deno task compile`: binaries for Linux in dist/, and the proof that they are ours. A compilation
 * with a wrong base runtime ends without an error and yields something else (a REPL, or a binary for
 * another processor), so each binary is looked at and run before it may stay.
 *
 * @module
 */
import { arch, platform } from "node:os";
import { fileURLToPath } from "node:url";
import { command, Exit, parseArgs, UsageError } from "./args.ts";
import { helpText } from "./help.ts";
import { type Smoke, smokeTest } from "./smoke.ts";
import { printError, printLine } from "./terminal.ts";
import { versionText } from "./version.ts";

const SMOKE_SECONDS = 10;
/** A build that fetches its base runtime over a slow line. */
const BUILD_MS = 900_000;
/** A step of the proof, on a processor or on one that is emulated. */
const STEP_MS = 20_000;
const STEP_EMULATED_MS = 180_000;

/** A processor. `machine` is e_machine of its binaries, elf(5). */
interface Target {
  readonly name: string;
  readonly triple: string;
  readonly machine: number;
  /** As node:os calls it. */
  readonly arch: string;
  /** The dynamic linker that its binaries ask for; what an emulator must find. */
  readonly linker: string;
  /** Where a cross compiler's packages put it. */
  readonly sysroot: string;
}

const TARGETS: readonly Target[] = [
  {
    name: "x86_64",
    triple: "x86_64-unknown-linux-gnu",
    machine: 62,
    arch: "x64",
    linker: "/lib64/ld-linux-x86-64.so.2",
    sysroot: "/usr/x86_64-linux-gnu",
  },
  {
    name: "aarch64",
    triple: "aarch64-unknown-linux-gnu",
    machine: 183,
    arch: "arm64",
    linker: "/lib/ld-linux-aarch64.so.1",
    sysroot: "/usr/aarch64-linux-gnu",
  },
];

const COMPILE = command({
  name: "deno task compile",
  summary: "Builds fairlead for Linux, and runs what it built",
  description:
    "A binary that fails its proof (--version, a gateway that carries a line) is removed." +
    "\nFor another processor than this one, qemu-user runs it; without, it is built and not run.",
  flags: {
    target: { kind: "list", value: "ARCH", help: "x86_64 or aarch64, repeatable (default both)" },
    "smoke-seconds": {
      kind: "number",
      value: "SECONDS",
      min: 1,
      max: 3600,
      default: SMOKE_SECONDS,
      help: "how long the gateway runs",
    },
  },
  examples: [["deno task compile --target aarch64", "For a 64-bit Raspberry Pi"]],
});

/** Where things are on the machine that builds. */
export interface Workshop {
  /** The deno that compiles. */
  readonly deno: string;
  /** Where the binaries go. */
  readonly directory: string;
  /** Where emulators are looked for. */
  readonly path: readonly string[];
  /** QEMU_LD_PREFIX: where the libraries for an emulator are; null: in the usual places. */
  readonly libraries: string | null;
  /** This machine, as node:os calls it: `linux`, `x64`. */
  readonly platform: string;
  readonly arch: string;
  /** Tells what was made. */
  printLine(text: string): void;
  /** Tells what went wrong. */
  printError(text: string): void;
}

/** Builds and proves; returns the exit code. */
export async function compile(words: readonly string[], workshop: Workshop): Promise<number> {
  const { help, flags } = parseArgs(COMPILE, words);
  if (help) {
    workshop.printLine(helpText(COMPILE));
    return Exit.Ok;
  }
  const targets = chosen(flags.target);
  await Deno.mkdir(workshop.directory, { recursive: true });
  let code: number = Exit.Ok;
  for (const target of targets) {
    const binary = `${workshop.directory}/fairlead-${target.name}`;
    await remove(binary); // an old one must not be taken for the new one
    try {
      await build(target, binary, workshop);
      workshop.printLine(await prove(target, binary, flags["smoke-seconds"] * 1000, workshop));
    } catch (error) {
      workshop.printError((error as Error).message);
      await remove(binary);
      code = Exit.Failure;
    }
  }
  return code;
}

function chosen(names: readonly string[]): readonly Target[] {
  const known = TARGETS.map(({ name }) => name);
  for (const name of names) {
    if (known.includes(name)) continue;
    throw new UsageError(
      `Cannot use --target as it must be ${known.join(" or ")}: current value is ` +
        JSON.stringify(name),
    );
  }
  return names.length === 0 ? TARGETS : TARGETS.filter(({ name }) => names.includes(name));
}

async function build(target: Target, binary: string, workshop: Workshop): Promise<void> {
  const main = fileURLToPath(new URL("../main.ts", import.meta.url));
  const { code, success, stderr } = await new Deno.Command(workshop.deno, {
    args: ["compile", "--quiet", "-A", "--target", target.triple, "--output", binary, main],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "inherit",
    stderr: "piped",
    signal: AbortSignal.timeout(BUILD_MS),
  }).output();
  const told = new TextDecoder().decode(stderr).split("\nStack backtrace")[0]!.trim();
  if (!success) {
    const offline = /denort|download|\bdns\b|error sending request/i.test(told);
    throw new Error(
      offline
        ? `${told}\nCannot compile for ${target.name} as deno's base runtime (denort) cannot be ` +
          "fetched: connect once to where deno gets it, or set DENORT_BIN to a denort of the same " +
          "version and processor"
        : `${told}\nCannot compile for ${target.name}: deno compile ended with exit code ${code}`,
    );
  }
  if (told !== "") workshop.printError(told);
}

/** Looks at a binary and runs it; returns what there is to tell of it. */
async function prove(
  target: Target,
  binary: string,
  runMs: number,
  workshop: Workshop,
): Promise<string> {
  const machine = await machineOf(binary);
  if (machine !== target.machine) {
    const found = TARGETS.find((other) => other.machine === machine)?.name;
    throw new Error(
      `Cannot use ${binary} as it must be a binary for ${target.name}: current value is ` +
        `${found ?? `e_machine ${machine}`}; unset DENORT_BIN, or set it to a denort for it`,
    );
  }
  const { size } = await Deno.stat(binary);
  const built = `${binary}: ${Math.round(size / 1e6)} MB`;
  const native = workshop.platform === "linux" && workshop.arch === target.arch;
  const emulator = native ? [] : emulatorFor(target, workshop);
  if (typeof emulator === "string") return `${built}, built, not run: ${emulator}`;
  const version = versionText().replace(/[^ ]+\)$/, `${target.name})`);
  const smoke = await smokeOf({
    program: [...emulator, binary],
    version,
    runMs,
    stepMs: native ? STEP_MS : STEP_EMULATED_MS,
  });
  const by = native ? "" : ` under ${emulator[0]}`;
  const start = `its gateway takes lines after ${Math.round(smoke.startMs)} ms`;
  return `${built}, ${version}; ${start}, and ran ${runMs / 1000} s${by}`;
}

async function smokeOf(options: Parameters<typeof smokeTest>[0]): Promise<Smoke> {
  try {
    return await smokeTest(options);
  } catch (error) {
    const hint = "DENORT_BIN may name something that is no denort of this version";
    throw new Error(`${(error as Error).message}\n${hint}`);
  }
}

/** e_machine of an ELF file, elf(5); -1 of anything else. */
async function machineOf(path: string): Promise<number> {
  using file = await Deno.open(path);
  const header = new Uint8Array(20);
  for (let at = 0; at < header.length;) {
    const count = await file.read(header.subarray(at));
    if (count === null) return -1;
    at += count;
  }
  const view = new DataView(header.buffer);
  return view.getUint32(0) === 0x7f454c46 ? view.getUint16(18, true) : -1;
}

/** The words in front of a binary for another processor, or why it cannot be run. */
function emulatorFor(target: Target, { path, libraries }: Workshop): string[] | string {
  const names = [`qemu-${target.name}`, `qemu-${target.name}-static`];
  const found = path.flatMap((directory) => names.map((name) => `${directory}/${name}`))
    .find(isFile);
  if (found === undefined) {
    return `no ${names.join(" or ")} here, install qemu-user to have it run`;
  }
  const sysroots = libraries === null ? ["", target.sysroot] : [libraries];
  const sysroot = sysroots.find((sysroot) => isFile(`${sysroot}${target.linker}`));
  if (sysroot !== undefined) return [found, "-L", sysroot === "" ? "/" : sysroot];
  return `${found} has no ${target.linker}, install libc6 for it, or set QEMU_LD_PREFIX`;
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

async function remove(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function main(): Promise<number> {
  try {
    return await compile(Deno.args, {
      deno: Deno.execPath(),
      directory: fileURLToPath(new URL("../../dist", import.meta.url)),
      path: (Deno.env.get("PATH") ?? "").split(":"),
      libraries: Deno.env.get("QEMU_LD_PREFIX") ?? null,
      platform: platform(),
      arch: arch(),
      printLine,
      printError,
    });
  } catch (error) {
    printError((error as Error).message);
    return error instanceof UsageError ? Exit.Usage : Exit.Failure;
  }
}

if (import.meta.main) Deno.exit(await main());
