/**
 * Standard output and standard error of the commands: whole lines, written synchronously, so
 * that nothing is lost when the process ends.
 *
 * @module
 */

const encoder = new TextEncoder();

/** Writes a line to standard output. A reader that went away (`| head`) ends the process quietly. */
export function printLine(text: string): void {
  writeAll(Deno.stdout, encoder.encode(`${text}\n`));
}

/** Writes a line to standard error. */
export function printError(text: string): void {
  writeAll(Deno.stderr, encoder.encode(`${text}\n`));
}

/** Writes bytes to standard output as they are. */
export function printBytes(bytes: Uint8Array): void {
  writeAll(Deno.stdout, bytes);
}

/** True when a person is looking. */
export function isTerminal(): boolean {
  return Deno.stdout.isTerminal();
}

function writeAll(
  to: { writeSync(bytes: Uint8Array): number },
  bytes: Uint8Array,
): void {
  try {
    for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) Deno.exit(0);
    throw error;
  }
}
