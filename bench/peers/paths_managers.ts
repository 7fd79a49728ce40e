/**
 * The path managers that are held against each other, each started in the namespace of a managed host
 * with two uplinks, each told as little as makes a second subflow: mptcpd 0.12 with the plugins of Debian
 * and ours (no shipped plugin creates one), the kernel's own manager with an endpoint, Fairlead as it is.
 * mptcpd(8), ip-mptcp(8).
 *
 * @module
 */
import { installPackages } from "../../tests/interop/debian_peers.ts";
import { Daemon, must, run } from "../../tests/interop/processes.ts";
import { NEAR_ADDRESSES, type PathsLab } from "./paths_lab.ts";
import type { KnownPaths } from "./paths_status.ts";
import { compilePlugin, PLUGIN_ADDRESS, PLUGIN_NAME, PLUGIN_READY } from "./paths_programs.ts";

/** A manager that can be started. */
export interface Manager {
  name: string;
  /** `directory` is empty, and of this start only. */
  start(lab: PathsLab, directory: string): Promise<RunningManager>;
}

/** One that runs. */
export interface RunningManager extends AsyncDisposable {
  /** Its process; null when it is the kernel. */
  pid: number | null;
  /**
   * How many connections it knows: waits until there are none, or the deadline passes; null when it
   * cannot be asked.
   */
  left(deadlineMs: number): Promise<number | null>;
}

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;
const STATUS = new URL("./paths_status.ts", import.meta.url).pathname;
const STATUS_MS = 30_000;
const MPTCPD = "/usr/libexec/mptcpd";
const READY_MS = 20_000;

/** Each thing that is needed, as a shell asks for it, and the packages that have it. */
const NEEDED: readonly (readonly [string, readonly string[]])[] = [
  ["command -v gcc && test -e /usr/include/stdio.h", ["gcc", "libc6-dev"]],
  ["command -v ip && command -v ss", ["iproute2"]],
  ["command -v sysctl", ["procps"]],
  ["command -v tcpdump", ["tcpdump"]],
  [`test -x ${MPTCPD}`, ["mptcpd"]],
  ["test -e /usr/lib/*/mptcpd/sspi.so", ["mptcpd-plugins"]],
  ["test -e /usr/include/mptcpd/plugin.h", ["libmptcpd3-dev"]],
];

/** Installs what is missing, without starting its services; throws when that is not allowed. */
export async function installManagers(say: (line: string) => void): Promise<void> {
  const missing: string[] = [];
  for (const [test, packages] of NEEDED) {
    if ((await run(["sh", "-c", test])).code !== 0) missing.push(...packages);
  }
  if (missing.length === 0) return;
  const names = missing.join(" ");
  if (Deno.uid() !== 0) throw new Error(`Cannot find ${names}: run apt-get install ${names}`);
  say(`installing ${names}`);
  await installPackages(missing);
}

/** mptcpd as Debian ships it, and a plugin of ours that makes the second subflow. */
export const MPTCPD_MANAGER: Manager = {
  name: "mptcpd",
  start: async (lab, directory) => {
    await lab.setManager("userspace");
    await compilePlugin(directory);
    const triple = (await must(["gcc", "-print-multiarch"])).trim();
    await Deno.copyFile(`/usr/lib/${triple}/mptcpd/sspi.so`, `${directory}/sspi.so`);
    const plugins = ["--path-manager", PLUGIN_NAME, "--load-plugins", `${PLUGIN_NAME},sspi`];
    return await startDaemon(
      lab.onNear([MPTCPD, "--plugin-dir", directory, ...plugins]),
      `${directory}/mptcpd.out`,
      PLUGIN_READY,
      { [PLUGIN_ADDRESS]: NEAR_ADDRESSES.up2 },
    );
  },
};

/** The kernel's own manager, with the second address as an endpoint. */
export const KERNEL_MANAGER: Manager = {
  name: "in-kernel",
  start: async (lab) => {
    await lab.setManager("kernel");
    const mptcp = ["ip", "-n", lab.near, "mptcp"];
    await must([...mptcp, "limits", "set", "subflows", "2", "add_addr_accepted", "2"]);
    await must([...mptcp, "endpoint", "add", NEAR_ADDRESSES.up2, "dev", "up2", "subflow"]);
    return {
      pid: null,
      left: () => Promise.resolve(null),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  },
};

/** Fairlead without a configuration. */
export const FAIRLEAD_MANAGER: Manager = {
  name: "Fairlead",
  start: async (lab, directory) => {
    const socket = `${directory}/paths.sock`;
    const deno = [Deno.execPath(), "run", "-A"];
    const running = await startDaemon(
      lab.onNear([...deno, MAIN, "paths", "daemon", "--set-pm-type", "--socket", socket]),
      `${directory}/fairlead.out`,
      "ready",
    );
    const left = async (deadlineMs: number): Promise<number> => {
      const argv = lab.onNear([...deno, STATUS, socket, `${deadlineMs / 1000}`]);
      const said = await must(argv, { deadlineMs: deadlineMs + STATUS_MS });
      const { connections, listed }: KnownPaths = JSON.parse(said);
      return Math.max(connections, listed);
    };
    return { ...running, left };
  },
};

async function startDaemon(
  argv: string[],
  outputPath: string,
  wanted: string,
  env: Record<string, string> = {},
): Promise<RunningManager> {
  const daemon = Daemon.start(argv, outputPath, env);
  const stop = (): Promise<void> => daemon.stop("SIGTERM");
  try {
    const said = (): boolean => daemon.output().includes(wanted);
    await daemon.until(`it says ${wanted}`, said, READY_MS);
  } catch (error) {
    await stop();
    throw error;
  }
  const left = (): Promise<null> => Promise.resolve(null);
  return { pid: daemon.pid, left, [Symbol.asyncDispose]: stop };
}
