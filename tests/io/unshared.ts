/** Runs tests' cases in a network namespace of their own, as processes: libc's namespace is a thread's. */
import assert from "node:assert/strict";

const DEADLINE_MS = 60_000;

/**
 * Runs a command where the network is its own, and it is root, after the shell's `prepare`; `null`: it
 * cannot be.
 */
export async function unshared(
  prepare: string,
  command: readonly string[],
): Promise<Deno.CommandOutput | null> {
  try {
    return await new Deno.Command("unshare", {
      args: ["-Urn", "sh", "-c", `${prepare} exec "$@"`, "sh", ...command],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      signal: AbortSignal.timeout(DEADLINE_MS),
    }).output();
  } catch {
    return null; // no such program
  }
}

/**
 * A test for each case, which runs `program` with the case's name.
 *
 * @param isThere whether such a namespace can be had; with CI=true the tests run, and fail, anyhow
 */
export function testUnshared(
  program: string,
  names: readonly string[],
  prepare: string,
  isThere: boolean,
): void {
  for (const name of names) {
    Deno.test({
      name,
      ignore: !isThere && Deno.env.get("CI") !== "true",
      fn: async () => {
        const path = new URL(program).pathname;
        const command = [Deno.execPath(), "run", "-A", "--no-check", path, name];
        const done = await unshared(prepare, command);
        assert.ok(done !== null, "there is no unshare(1)");
        assert.equal(done.code, 0, new TextDecoder().decode(done.stderr));
      },
    });
  }
}
