/**
 * `deno task compile`: only what was proved to be ours stays; and the proof itself. The compilers and
 * emulators are scripts, but for the compilation with deno itself as its base.
 */
import assert from "node:assert/strict";
import { arch } from "node:os";
import { fileURLToPath } from "node:url";
import { UsageError } from "../../src/app/args.ts";
import { compile, type Workshop } from "../../src/app/compile.ts";
import { type Smoke, smokeTest } from "../../src/app/smoke.ts";
import { versionText } from "../../src/app/version.ts";

const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
const DENO = Deno.execPath();
/** e_machine of aarch64, elf(5). */
const AARCH64 = 183;
const OURS = versionText().replace(/[^ ]+\)$/, "aarch64)");

/** A folder with tools, and what compile() said. */
class Shop implements AsyncDisposable {
  readonly folder: string;
  readonly said: string[] = [];
  readonly complained: string[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(): Promise<Shop> {
    return new Shop(await Deno.makeTempDir());
  }

  /** Makes a shell script; returns its path. */
  async tool(name: string, ...lines: string[]): Promise<string> {
    const path = `${this.folder}/${name}`;
    await Deno.writeTextFile(path, ["#!/bin/sh", ...lines, ""].join("\n"), { mode: 0o755 });
    return path;
  }

  /** A deno whose compilation is an ELF header and nothing behind it. */
  async compiler(machine: number): Promise<string> {
    const octal = machine.toString(8).padStart(3, "0");
    const header =
      `\\177ELF\\002\\001\\001\\000\\000\\000\\000\\000\\000\\000\\000\\000\\003\\000\\${octal}\\000`;
    return await this.tool(
      "deno",
      'while [ "$1" != --output ]; do shift; done',
      `printf '${header}' > "$2"`,
    );
  }

  /** An emulator for aarch64 with its libraries. */
  async emulator(...lines: string[]): Promise<void> {
    await Deno.mkdir(`${this.folder}/lib`);
    await Deno.writeTextFile(`${this.folder}/lib/ld-linux-aarch64.so.1`, "");
    await this.tool("qemu-aarch64-static", ...lines);
  }

  /** Runs it on a machine that has an x86-64 processor. */
  async compile(deno: string, words: string[], over: Partial<Workshop> = {}): Promise<number> {
    return await compile(words, {
      deno,
      directory: `${this.folder}/dist`,
      path: ["/nonexistent", this.folder],
      libraries: this.folder,
      platform: "linux",
      arch: "x64",
      printLine: (text) => this.said.push(text),
      printError: (text) => this.complained.push(text),
      ...over,
    });
  }

  /** What stayed. */
  built(): string[] {
    return [...Deno.readDirSync(`${this.folder}/dist`)].map(({ name }) => name).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

Deno.test("a base runtime that cannot be fetched is told, with exit 1 and nothing built", async () => {
  await using shop = await Shop.open();
  const deno = await shop.tool(
    "deno",
    "echo 'error: error sending request for url (dns error: no such host)' >&2",
    "printf '\\nStack backtrace:\\n   0: noise\\n' >&2",
    "exit 1",
  );
  assert.equal(await shop.compile(deno, []), 1);
  assert.equal(shop.complained.length, 2); // one for each processor
  assert.match(
    shop.complained[0]!,
    /dns error.*\nCannot compile for x86_64 .*cannot be fetched: /s,
  );
  assert.match(shop.complained[1]!, /\nCannot compile for aarch64 .*cannot be fetched: /s);
  assert.ok(!shop.complained.join("").includes("noise"));
  assert.deepEqual([shop.said, shop.built()], [[], []]);
});

Deno.test("a compiler that fails for another reason is told with its exit code", async () => {
  await using shop = await Shop.open();
  const deno = await shop.tool("deno", "echo 'error: Module not found' >&2", "exit 3");
  assert.equal(await shop.compile(deno, ["--target", "x86_64"]), 1);
  assert.deepEqual(shop.complained, [
    "error: Module not found\nCannot compile for x86_64: deno compile ended with exit code 3",
  ]);
});

Deno.test("with deno itself as the base, a REPL and another processor's are found and removed", async () => {
  await using shop = await Shop.open();
  const deno = await shop.tool("deno", `DENORT_BIN='${DENO}' exec '${DENO}' "$@"`);
  assert.equal(await shop.compile(deno, ["--smoke-seconds=1"], { arch: arch() }), 1);
  const [own, other] = arch() === "x64" ? ["x86_64", "aarch64"] : ["aarch64", "x86_64"];
  const complaints = shop.complained.join("\n");
  assert.match(complaints, new RegExp(`fairlead-${own} as its --version must be .*"deno `));
  const wrong = `fairlead-${other} as it must be a binary for ${other}: current value is ${own};`;
  assert.ok(complaints.includes(wrong), complaints);
  assert.deepEqual([shop.said, shop.built()], [[], []]);
});

Deno.test("without an emulator another processor's binary is built, not run", async () => {
  await using shop = await Shop.open();
  const deno = await shop.compiler(AARCH64);
  assert.equal(await shop.compile(deno, ["--target=aarch64"]), 0);
  assert.match(shop.said[0]!, /built, not run: no qemu-aarch64 or qemu-aarch64-static here/);
  assert.deepEqual([shop.complained, shop.built()], [[], ["fairlead-aarch64"]]);
});

Deno.test("an emulator without libraries is told: built, not run", async () => {
  await using shop = await Shop.open();
  const deno = await shop.compiler(AARCH64);
  await shop.emulator("exit 1");
  const libraries = `${shop.folder}/dist`;
  assert.equal(await shop.compile(deno, ["--target=aarch64"], { libraries }), 0);
  assert.match(shop.said[0]!, /built, not run: .* has no \/lib\/ld-linux-aarch64\.so\.1/);
});

Deno.test("what is no binary at all is removed", async () => {
  await using shop = await Shop.open();
  const deno = await shop.tool(
    "deno",
    'while [ "$1" != --output ]; do shift; done',
    "printf short > $2",
  );
  assert.equal(await shop.compile(deno, ["--target=aarch64"]), 1);
  assert.match(shop.complained[0]!, /must be a binary for aarch64: current value is e_machine -1/);
  assert.deepEqual(shop.built(), []);
});

Deno.test("under an emulator a gateway is run: its size and start are told, and it stays", async () => {
  await using shop = await Shop.open();
  const deno = await shop.compiler(AARCH64);
  await shop.emulator(
    `[ "$1" = -L ] && [ "$3" = '${shop.folder}/dist/fairlead-aarch64' ] || exit 9`,
    "shift 3",
    `[ "$1" = --version ] && echo '${OURS}' && exit`,
    `exec '${DENO}' run --quiet -A '${MAIN}' "$@"`,
  );
  const code = await shop.compile(deno, ["--target=aarch64", "--smoke-seconds=1"]);
  assert.deepEqual([code, shop.complained], [0, []]);
  assert.match(
    shop.said[0]!,
    /fairlead-aarch64: 0 MB, fairlead .*aarch64\); its gateway takes lines after \d+ ms, and ran 1 s under .*qemu-aarch64-static$/,
  );
  assert.deepEqual(shop.built(), ["fairlead-aarch64"]);
});

Deno.test("a binary whose gateway fails is removed, with exit 1", async () => {
  await using shop = await Shop.open();
  const deno = await shop.compiler(AARCH64);
  await shop.emulator("shift 3", `[ "$1" = --version ] && echo '${OURS}' && exit`, "echo no >&2");
  assert.equal(await shop.compile(deno, ["--target=aarch64"]), 1);
  assert.match(shop.complained[0]!, /its gateway must say where it takes lines; it printed: no/);
  assert.deepEqual([shop.said, shop.built()], [[], []]);
});

Deno.test("a processor that is not known is refused before anything is built", async () => {
  await using shop = await Shop.open();
  const unknown = shop.compile("/nonexistent", ["--target=aarch64", "--target=mips"]);
  await assert.rejects(unknown, (error: Error) => {
    assert.ok(error instanceof UsageError);
    assert.match(error.message, /--target as it must be x86_64 or aarch64: .* is "mips"$/);
    return true;
  });
});

/** A program that is nearly a gateway; its first word says what is wrong with it. */
const NEARLY = `
const [wrong, word] = Deno.args;
if (word === "--version") {
  console.log(wrong === "version" ? "deno 1.0" : "it is us");
  Deno.exit(wrong === "code" ? 1 : 0);
}
if (wrong === "silent") Deno.exit(0);
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
Deno.addSignalListener("SIGINT", () => {
  if (wrong !== "deaf") Deno.exit(wrong === "dirty" ? 3 : 0);
});
console.error("Gateway: lines (127.0.0.1:" + listener.addr.port + ") -> hub");
const conn = await listener.accept();
const bytes = new Uint8Array(1000);
const line = new TextDecoder().decode(bytes.subarray(0, await conn.read(bytes)));
if (wrong === "swallow") Deno.exit(0);
console.log("now client.x lines " + line.trim());
if (wrong === "early") Deno.exit(0);
await listener.accept();
`;

Deno.test("the proof tells what is wrong with a program that is nearly a gateway", async (t) => {
  const folder = await Deno.makeTempDir();
  const script = `${folder}/nearly.ts`;
  await Deno.writeTextFile(script, NEARLY);
  const prove = async (wrong: string, runMs: number, stepMs = 20_000): Promise<Smoke> => {
    const program = [DENO, "run", "--quiet", "-A", script, wrong];
    return await smokeTest({ program, version: "it is us", runMs, stepMs });
  };
  const cases: readonly (readonly [wrong: string, runMs: number, told: RegExp, stepMs?: number])[] =
    [
      ["version", 1, /its --version must be "it is us": current value is "deno 1\.0"$/],
      ["code", 1, /its --version must be "it is us": current value is exit code 1; it printed: it/],
      ["silent", 1, /must say where it takes lines; it printed nothing$/],
      ["swallow", 1, /must print the line that was sent to it; it printed: Gateway: lines/],
      ["early", 60_000, /must run for 60 s; it printed: .*smoke /s],
      ["dirty", 1, /must end with 0 at SIGINT, and not with 3;/],
      ["deaf", 1, /must end with 0 at SIGINT, and not with 137;/, 5000],
    ];
  for (const [wrong, runMs, told, stepMs] of cases) {
    await t.step(wrong, async () => {
      await assert.rejects(prove(wrong, runMs, stepMs), { message: told });
    });
  }
  await t.step("and nothing of one that is all right", async () => {
    const startedMs = performance.now();
    const { startMs } = await prove("nothing", 500);
    const tookMs = performance.now() - startedMs;
    assert.ok(startMs > 0 && startMs < tookMs && tookMs >= 500, `${startMs} of ${tookMs}`);
  });
  await Deno.remove(folder, { recursive: true });
});
