/**
 * What this process takes of the box: memory, processor time, open files, and what it wrote to disk
 * (proc_pid_io(5): what was sent to the storage layer, the wear of a flash disk).
 *
 * @module
 */
import process from "node:process";
import type { Snapshot } from "./snapshot.ts";

/** As the snapshot has it. */
export function processStatus(): Snapshot["process"] {
  const { heapUsed, rss } = Deno.memoryUsage();
  const { system, user } = process.cpuUsage();
  return {
    rssBytes: rss,
    heapBytes: heapUsed,
    cpuSeconds: (system + user) / 1e6,
    openFiles: countFiles(),
  };
}

/** Bytes that this process had written to disks; 0 where the system does not tell. */
export function writtenBytes(): number {
  try {
    const text = Deno.readTextFileSync("/proc/self/io");
    const value = (name: string): number =>
      Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(text)?.[1] ?? 0);
    return Math.max(0, value("write_bytes") - value("cancelled_write_bytes"));
  } catch {
    return 0;
  }
}

function countFiles(): number {
  try {
    return [...Deno.readDirSync("/proc/self/fd")].length;
  } catch {
    return 0;
  }
}
