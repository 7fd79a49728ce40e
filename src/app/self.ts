/**
 * Starting this program once more: as a script of deno, or as the compiled binary.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

/** A command line of this program as a child process. */
export function selfCommand(
  words: readonly string[],
  options: Omit<Deno.CommandOptions, "args"> = {},
): Deno.Command {
  const [program, ...args] = selfWords(words);
  return new Deno.Command(program!, { ...options, args });
}

/** The words that start it, for another program that starts it. */
export function selfWords(words: readonly string[]): string[] {
  // In one bundled file this module is that file.
  const { url } = import.meta;
  const main = fileURLToPath(url.endsWith("/app/self.ts") ? new URL("../main.ts", url) : url);
  const args = Deno.build.standalone ? [...words] : ["run", "--quiet", "-A", main, ...words];
  return [Deno.execPath(), ...args];
}
