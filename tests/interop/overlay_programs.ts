/**
 * Programs on the hosts of {@linkcode OverlayLab}.
 *
 * @module
 */
import type { OverlayLab } from "./overlay_lab.ts";
import { Daemon, type Finished } from "./processes.ts";

/** How long a program may take to become what is waited for. */
export const READY_MS = 20_000;

/** Runs a program of ours on a host; what it prints. */
export async function program(
  where: OverlayLab,
  host: string,
  text: string,
  ...words: string[]
): Promise<Finished> {
  return await where.on(host, [...deno(where, text), ...words], { deadlineMs: READY_MS });
}

/** The command line that runs a text as a program. */
export function deno(where: OverlayLab, text: string): string[] {
  const path = `${where.directory}/${crypto.randomUUID()}.ts`;
  Deno.writeTextFileSync(path, text);
  return [Deno.execPath(), "run", "-A", "--no-check", path];
}

/** Runs a program on a host until it is disposed of. */
export function serve(where: OverlayLab, host: string, argv: string[]): Daemon {
  const log = `${where.directory}/${crypto.randomUUID()}.log`;
  return Daemon.start(["ip", "netns", "exec", where.namespace(host), ...argv], log);
}

/** Waits until it has printed something of this form. */
export async function said(daemon: Daemon, pattern: RegExp): Promise<RegExpExecArray> {
  await daemon.until(`${pattern}`, () => pattern.test(daemon.output()), READY_MS);
  return pattern.exec(daemon.output())!;
}
