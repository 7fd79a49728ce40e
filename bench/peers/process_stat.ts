/**
 * What a process costs, as the kernel tells it: proc_pid_stat(5), proc_pid_status(5), and
 * /proc/PID/task/TID/schedstat, whose first figure is the time on a CPU in nanoseconds.
 *
 * @module
 */

/** Resident memory of a process, in bytes. */
export function rssBytes(pid: number): number {
  const kib = /^VmRSS:\s*(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
  if (kib === undefined) throw new Error(`Cannot find the memory of process ${pid}: it has ended`);
  return Number(kib) * 1024;
}

/** CPU of all threads that a process has now, in microseconds. */
export function cpuMicroseconds(pid: number): number {
  let nanoseconds = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    nanoseconds += Number(
      Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ")[0],
    );
  }
  return nanoseconds / 1000;
}

/** How memory is written: "76.3 MB". */
export function memoryText(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
