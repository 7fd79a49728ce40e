/**
 * Writes terms into a directory that it fills up: a program of its own, in a mount namespace of its own.
 *
 * @module
 */
import { TermFile } from "../../src/app/standby/term_file.ts";

const [state] = Deno.args;
const terms = new TermFile(state!);
terms.write({ term: 3, activeTerm: 3 });
const filler = `${state}/filler`;
try {
  for (let size = 4096;; size += 4096) Deno.writeFileSync(filler, new Uint8Array(size));
} catch {
  // it is full
}
const print = (text: string): unknown =>
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
try {
  terms.write({ term: 4, activeTerm: 4 });
  print("full: it is not");
} catch (error) {
  print(`full: ${(error as Error).message}`);
}
print(`kept: ${JSON.stringify(terms.read())}`);
Deno.removeSync(filler);
terms.write({ term: 4, activeTerm: 4 });
print(`then: ${JSON.stringify(terms.read())}`);
