/**
 * The programs of iproute2, for laboratories of our own namespaces: ip(8), tc(8). What configures a box of
 * somebody's goes by netlink.
 *
 * @module
 */

const COMMAND_MS = 10_000;

/**
 * Runs ip(8).
 *
 * @throws with what it says when it refuses
 */
export async function ip(words: readonly string[]): Promise<void> {
  await tool("ip", words);
}

/**
 * Runs one of them.
 *
 * @throws with what it says when it refuses
 */
export async function tool(program: string, words: readonly string[]): Promise<void> {
  let done: Deno.CommandOutput;
  try {
    done = await new Deno.Command(program, {
      args: [...words],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      env: { LC_ALL: "C" },
      signal: AbortSignal.timeout(COMMAND_MS),
    }).output();
  } catch (error) {
    const remedy = error instanceof Deno.errors.NotFound ? ": install iproute2" : "";
    throw new Error(`Cannot run ${program}${remedy || `: ${(error as Error).message}`}`);
  }
  if (done.success) return;
  const said = new TextDecoder().decode(done.stderr).trim();
  throw new Error(
    `Cannot make a laboratory by ${program} ${words.join(" ")}, run it as root: ${said}`,
  );
}
