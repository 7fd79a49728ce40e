/**
 * What a process has written to disks, as the kernel tells it: proc_pid_io(5).
 *
 * @module
 */

/** Bytes that a process had written to the storage layer, less what was taken back. */
export function writtenBytes(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/io`);
  const value = (name: string): number =>
    Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  return value("write_bytes") - value("cancelled_write_bytes");
}
