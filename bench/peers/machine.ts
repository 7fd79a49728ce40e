/**
 * What figures depend on beside the programs that are measured: the machine, and whether it was
 * left alone meanwhile. proc_stat(5), proc_pid_stat(5).
 *
 * @module
 */

/** The machine that figures are of. */
export interface Machine {
  cpu: string;
  cores: number;
  kernel: string;
  deno: string;
  date: string;
}

/** Reads what this machine is. */
export function readMachine(): Machine {
  const cpu = /^model name\s*: (.*)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1];
  return {
    cpu: cpu ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    kernel: Deno.osRelease(),
    deno: Deno.version.deno,
    date: new Date().toISOString().slice(0, 10),
  };
}

/** The machine in one line. */
export function machineText({ cpu, cores, kernel, deno, date }: Machine): string {
  return `${cpu}, ${cores} cores, Linux ${kernel}, Deno ${deno}, ${date}`;
}

/** CPU of a process, in microseconds. */
export interface CpuTime {
  /** Of all its threads, user and system. */
  own: number;
  /** Of its children that have ended and been waited for, theirs included. */
  children: number;
}

/** USER_HZ, in which /proc tells CPU, is 100 on every Linux. */
const TICK_MICROSECONDS = 10_000;
/** Fields of /proc/PID/stat, from the third on, which comes after the name in parentheses. */
const UTIME = 14 - 3;
const STIME = 15 - 3;
const CUTIME = 16 - 3;
const CSTIME = 17 - 3;

/** CPU that a process has used so far; it may be 10 ms behind. */
export function cpuTime(pid: number): CpuTime {
  const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
  return {
    own: (fields[UTIME]! + fields[STIME]!) * TICK_MICROSECONDS,
    children: (fields[CUTIME]! + fields[CSTIME]!) * TICK_MICROSECONDS,
  };
}

/** Fields of the first line of /proc/stat. */
const USED = [0, 1, 2]; // user, nice, system
const STEAL = 7;
const FIELDS = 8; // guest time, which follows, is in user already

/**
 * Begins to watch for other programs; what it returns tells the share of all cores that they have
 * used since. A child counts as ours once it has ended, or from the start when its process id is
 * among `running`.
 */
export function watchOthers(running: readonly number[] = []): () => number {
  const before = readUse(running);
  return () => {
    const after = readUse(running);
    const used = after.used - before.used - (after.ours - before.ours);
    const share = used / (after.all - before.all);
    return Math.min(Math.max(share, 0), 1);
  };
}

/**
 * Of all cores and of this process with its children, in microseconds. Interrupts are nobody's:
 * they are what our own sockets cost, too. Stolen time is what other machines of the host took.
 */
function readUse(running: readonly number[]): { used: number; all: number; ours: number } {
  const [line] = Deno.readTextFileSync("/proc/stat").split("\n", 1);
  const times = line!.split(/\s+/).slice(1, 1 + FIELDS).map((ticks) => +ticks * TICK_MICROSECONDS);
  const { own, children } = cpuTime(Deno.pid);
  return {
    used: [...USED, STEAL].reduce((sum, field) => sum + times[field]!, 0),
    all: times.reduce((sum, time) => sum + time),
    ours: running.reduce((sum, pid) => sum + cpuTime(pid).own, own + children),
  };
}
