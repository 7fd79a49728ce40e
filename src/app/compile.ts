/**
 * `deno task compile`: one binary in dist/, and the proof that it is ours. A compilation with a
 * wrong base runtime ends without an error and yields something else, so the binary is run.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { Exit } from "./args.ts";
import { printError, printLine } from "./terminal.ts";
import { versionText } from "./version.ts";

/** Compiles and proves; returns the exit code. */
async function compile(): Promise<number> {
  const main = fileURLToPath(new URL("../main.ts", import.meta.url));
  const directory = fileURLToPath(new URL("../../dist/", import.meta.url));
  const name = Deno.build.os === "windows" ? "fairlead.exe" : "fairlead";
  const binary = `${directory}${name}`;
  await Deno.mkdir(directory, { recursive: true });
  await Deno.remove(binary).catch(() => {}); // an old one must not be taken for the new one
  const compiled = await new Deno.Command(Deno.execPath(), {
    args: ["compile", "--quiet", "-A", "--output", binary, main],
    stdin: "null",
    stdout: "inherit",
    stderr: "piped",
  }).output();
  const told = new TextDecoder().decode(compiled.stderr).trim();
  if (told !== "") printError(told);
  if (!compiled.success) {
    const offline = /denort|download|dns|error sending request|fetch/i.test(told);
    printError(
      offline
        ? "Cannot compile as deno's base runtime (denort) cannot be fetched: connect once to " +
          "where deno gets it, or set DENORT_BIN to a denort of the same version"
        : `Cannot compile: deno compile ended with exit code ${compiled.code}`,
    );
    return Exit.Failure;
  }
  const version = await versionOf(binary);
  if (version !== versionText()) {
    printError(
      `Cannot use ${binary} as its --version must be "${versionText()}": current value is ` +
        `"${version}"; DENORT_BIN may name something that is no denort of this version`,
    );
    await Deno.remove(binary);
    return Exit.Failure;
  }
  const { size } = await Deno.stat(binary);
  printLine(`${binary}: ${version}, ${Math.round(size / 1e6)} MB`);
  return Exit.Ok;
}

/** What the binary prints; a REPL in its place ends at once as its input is empty. */
async function versionOf(binary: string): Promise<string> {
  const { stdout } = await new Deno.Command(binary, {
    args: ["--version"],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout).trim();
}

if (import.meta.main) Deno.exit(await compile());
