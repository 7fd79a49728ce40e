/**
 * Boxes for overlays: a network namespace for each, all on one bridge, with `fairlead overlay rd` in each and
 * managers in others. Multicast, tunnels and kills are real. ip-netns(8), veth(4), bridge(8).
 *
 * @module
 */
import assert from "node:assert/strict";
import type { OverlayView } from "../../src/app/overlay/overlay_view.ts";
import { Daemon, type Finished, must, run, type RunOptions } from "./processes.ts";
import { fairlead } from "./paths_program.ts";

const READY_MS = 60_000;
/** The switch that every box hangs on. */
const BRIDGE = "br0";
/** Nothing that leases or teardowns do takes longer. */
const CLEAN_MS = 25_000;
/** The group of the top level; sub-managers have others. */
export const GROUP = "239.255.2.65:2650";
const CONTROL_PORT = 2651;

/** Timers small enough for a test, large enough for two busy cores. */
export const LAB_TIMERS: Readonly<Record<string, number>> = {
  invite: 500,
  select: 1500,
  dispatch: 6000,
  user: 20_000,
  config: 3000,
  probe: 1500,
  delete: 1200,
  refresh: 1000,
  lease: 6000,
};

/** How a box runs its daemon. */
export interface BoxOptions {
  /** Members of its configuration on top of what every one has. */
  readonly config?: object;
}

/** What a namespace has that an overlay may have touched, as iproute2 tells it. */
export interface KernelState {
  readonly links: unknown;
  readonly addresses: unknown;
  readonly routes: string;
  readonly rules: string;
  readonly qdiscs: string;
  readonly forwarding: string;
}

/** The laboratory; `await using` removes it. */
export class OverlayLab implements AsyncDisposable {
  readonly directory: string;
  readonly #id = crypto.randomUUID().slice(0, 6);
  readonly #hosts: string[] = [];
  readonly #daemons = new Map<string, Daemon>();
  #starts = 0;

  private constructor() {
    this.directory = Deno.makeTempDirSync({ prefix: "fairlead-overlay-" });
  }

  /** Namespaces for these names, joined by a bridge, and an authority. */
  static async create(names: readonly string[]): Promise<OverlayLab> {
    const lab = new OverlayLab();
    try {
      const hub = lab.namespace("switch");
      await lab.#batch([
        `netns add ${hub}`,
        `-n ${hub} link add ${BRIDGE} type bridge mcast_snooping 0`,
        `-n ${hub} link set ${BRIDGE} up`,
      ]);
      for (const name of names) await lab.add(name);
      await must(fairlead("overlay", "keys", "init", "--dir", `${lab.directory}/keys`));
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
    return lab;
  }

  /** One more host on the bridge. */
  async add(name: string): Promise<void> {
    this.#hosts.push(name);
    const own = this.namespace(name);
    const hub = this.namespace("switch");
    const port = `p${this.#hosts.length}`;
    await this.#batch([
      `netns add ${own}`,
      `-n ${own} link add eth0 type veth peer name ${port} netns ${hub}`,
      `-n ${hub} link set ${port} master ${BRIDGE} up`,
      `-n ${own} link set lo up`,
      // No address of IPv6 appears by itself while a test compares what is there.
      `-n ${own} link set eth0 addrgenmode none`,
      `-n ${own} address add ${this.address(name)}/16 dev eth0`,
      `-n ${own} link set eth0 up`,
      `-n ${own} route add 239.0.0.0/8 dev eth0`,
    ]);
  }

  /** Name of a host's namespace. */
  namespace(name: string): string {
    return `fl-${this.#id}-${name}`;
  }

  /** Of its only interface. */
  address(name: string): string {
    const at = this.#hosts.indexOf(name);
    assert.ok(at >= 0, `${name} is a host of the laboratory`);
    return `10.77.${Math.floor(at / 200)}.${(at % 200) + 1}`;
  }

  /** Certificates for these names. */
  async keys(names: readonly string[], role: "node" | "manager" | "operator"): Promise<void> {
    for (const name of names) {
      const words = ["overlay", "keys", "node", name, "--role", role];
      await must(fairlead(...words, "--dir", `${this.directory}/keys`));
    }
  }

  /** Paths of a certificate, as configurations name them. */
  identity(name: string): { certificate: string; key: string; ca: string } {
    const keys = `${this.directory}/keys`;
    return { certificate: `${keys}/${name}.pem`, key: `${keys}/${name}.key`, ca: `${keys}/ca.pem` };
  }

  /** Starts resource daemons, all at once, and waits until they listen. */
  async startBoxes(names: readonly string[], options: BoxOptions = {}): Promise<void> {
    for (const name of names) {
      const state = `${this.directory}/${name}`;
      this.#write(name, {
        identity: this.identity(name),
        listen: `0.0.0.0:${CONTROL_PORT}`,
        group: GROUP,
        interface: this.address(name),
        hosts: `${state}.hosts`,
        state,
        refusals: true,
        ...options.config,
      });
      if (!exists(`${state}.hosts`)) {
        Deno.writeTextFileSync(`${state}.hosts`, "127.0.0.1 localhost\n");
      }
      this.#start(name, ["overlay", "rd", "--config", `${state}.jsonc`]);
    }
    for (const name of names) await this.#ready(name, /Node \S+: control/);
  }

  /** Starts a manager, and waits until it can be asked. */
  async startManager(name: string, config: object = {}): Promise<void> {
    const state = `${this.directory}/${name}`;
    this.#write(name, {
      identity: this.identity(name),
      listen: `0.0.0.0:${CONTROL_PORT}`,
      group: GROUP,
      interface: this.address(name),
      socket: this.socket(name),
      state,
      rings: [1],
      timers: LAB_TIMERS,
      ...config,
    });
    this.#start(name, ["overlay", "om", "--config", `${state}.jsonc`]);
    await this.#ready(name, /Manager \S+/);
  }

  /** A manager's access socket. */
  socket(name: string): string {
    return `${this.directory}/${name}.sock`;
  }

  /** Runs an action that asks a manager in the background; its standard error line by line. */
  follow(manager: string, onLine: (line: string) => void, ...words: string[]): Promise<Finished> {
    return followed(
      fairlead("overlay", ...words, "--socket", this.socket(manager)),
      onLine,
    );
  }

  /** Runs an action that asks a manager. */
  async ask(manager: string, ...words: string[]): Promise<Finished> {
    return await run(fairlead("overlay", ...words, "--socket", this.socket(manager)), {
      deadlineMs: 90_000,
    });
  }

  /** Writes a specification; its path. */
  spec(name: string, spec: object): string {
    const path = `${this.directory}/${name}.spec.json`;
    Deno.writeTextFileSync(path, JSON.stringify(spec));
    return path;
  }

  /** Runs a command on a host. */
  async on(name: string, argv: string[], options: RunOptions = {}): Promise<Finished> {
    return await run(["ip", "netns", "exec", this.namespace(name), ...argv], options);
  }

  /** What a daemon has printed. */
  said(name: string): string {
    return this.#daemons.get(name)!.output();
  }

  /** Ends a daemon with SIGKILL. */
  async kill(name: string): Promise<void> {
    await this.#daemons.get(name)!.stop();
  }

  /** Starts a daemon again with the configuration that it had. */
  async restart(name: string, kind: "rd" | "om"): Promise<void> {
    await this.#daemons.get(name)![Symbol.asyncDispose]();
    this.#start(name, ["overlay", kind, "--config", `${this.directory}/${name}.jsonc`]);
    await this.#ready(name, kind === "rd" ? /Node \S+: control/ : /Manager \S+/);
  }

  /** Everything that an overlay could leave behind on a host. */
  async state(name: string): Promise<KernelState> {
    const own = this.namespace(name);
    const json = async (...words: string[]): Promise<Record<string, unknown>[]> =>
      JSON.parse((await must(["ip", "-n", own, "-j", "-d", ...words])) || "[]");
    const links = await json("link");
    const addresses = await json("address");
    return {
      links: links.map(({ ifname, ifalias, mtu }) => ({ ifname, ifalias, mtu })),
      addresses: addresses.map(({ ifname, addr_info }) => ({
        ifname,
        addresses: (addr_info as { family: string; local: string }[])
          .filter(({ family }) => family === "inet").map(({ local }) => local),
      })),
      routes: await must(["ip", "-n", own, "route", "show", "table", "all"]),
      rules: await must(["ip", "-n", own, "rule", "show"]),
      qdiscs: await must(["tc", "-n", own, "qdisc", "show"]),
      forwarding: (await must([
        ...["ip", "netns", "exec", own, "sysctl", "-n", "net.ipv4.ip_forward"],
      ])).trim(),
    };
  }

  /** States of all these hosts. */
  async states(names: readonly string[]): Promise<Map<string, KernelState>> {
    const states = new Map<string, KernelState>();
    for (const name of names) states.set(name, await this.state(name));
    return states;
  }

  /** Removes every namespace and every file. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const daemon of this.#daemons.values()) await daemon[Symbol.asyncDispose]();
    for (const name of [...this.#hosts, "switch"]) {
      await run(["ip", "netns", "delete", this.namespace(name)]);
    }
    await Deno.remove(this.directory, { recursive: true });
  }

  async #batch(lines: readonly string[]): Promise<void> {
    for (const line of lines) await must(["ip", ...line.split(" ")]);
  }

  #write(name: string, config: object): void {
    Deno.writeTextFileSync(`${this.directory}/${name}.jsonc`, JSON.stringify(config, null, 2));
  }

  #start(name: string, words: string[]): void {
    const argv = ["ip", "netns", "exec", this.namespace(name), ...fairlead(...words)];
    this.#daemons.set(name, Daemon.start(argv, `${this.directory}/${name}.log${this.#starts++}`));
  }

  async #ready(name: string, pattern: RegExp): Promise<void> {
    const daemon = this.#daemons.get(name)!;
    await daemon.until(`${name} is ready`, () => pattern.test(daemon.output()), READY_MS);
  }
}

/** A laboratory with certificates for these boxes and managers. */
export async function lab(
  boxes: readonly string[],
  managers: readonly string[],
): Promise<OverlayLab> {
  const made = await OverlayLab.create([...boxes, ...managers]);
  await made.keys(boxes, "node");
  await made.keys(managers, "manager");
  return made;
}

/** A command that must have ended well. */
export function ok(finished: Finished): Finished {
  assert.equal(finished.code, 0, finished.stdout + finished.stderr);
  return finished;
}

/** An overlay as its manager tells it, with its links probed. */
export async function view(where: OverlayLab, manager: string, name: string): Promise<OverlayView> {
  const { stdout } = ok(await where.ask(manager, "status", name, "--json"));
  return JSON.parse(stdout).overlay;
}

/** Every link is pinged from its first end, and every node of a network from its first one. */
export async function pingAll(where: OverlayLab, overlay: OverlayView): Promise<void> {
  const boxOf = new Map(overlay.nodes.map(({ name, node }) => [name, node]));
  for (const { addresses: [near, far], ends: [end] } of overlay.links) {
    ok(await where.on(boxOf.get(end)!, ["ping", "-c1", "-W2", "-I", near, far]));
  }
  for (const { address, network } of overlay.nodes) {
    const first = overlay.nodes.find((node) => node.network === network)!;
    ok(await where.on(first.node, ["ping", "-c1", "-W2", "-I", first.address, address]));
  }
}

/** Waits until the boxes are as they were. */
export async function becomesClean(
  where: OverlayLab,
  before: Awaited<ReturnType<OverlayLab["states"]>>,
): Promise<void> {
  const deadline = performance.now() + CLEAN_MS;
  for (const [name, state] of before) {
    for (;;) {
      const now = await where.state(name);
      if (JSON.stringify(now) === JSON.stringify(state)) break;
      if (performance.now() > deadline) assert.deepEqual(now, state, `${name} is as it was`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

/** Applies a specification, and kills a daemon when the first line of a phase is told. */
export async function killedIn(
  where: OverlayLab,
  phase: string,
  victim: string,
  spec: string,
): Promise<{ applied: Finished; seen: boolean }> {
  let killed: Promise<void> | null = null;
  const onLine = (line: string): void => {
    if (line.startsWith(`${phase} `)) killed ??= where.kill(victim);
  };
  const applied = await where.follow("om", onLine, "apply", spec);
  await killed;
  return { applied, seen: killed !== null };
}

/** Runs a command to its end, and hands over each line of its standard error as it comes. */
async function followed(argv: string[], onLine: (line: string) => void): Promise<Finished> {
  const child = new Deno.Command("timeout", {
    args: ["--kill-after=2", "90", ...argv],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stdout = new Response(child.stdout).text();
  let stderr = "";
  let rest = "";
  for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
    stderr += text;
    const lines = `${rest}${text}`.split("\n");
    rest = lines.pop()!;
    for (const line of lines) onLine(line);
  }
  const { code } = await child.status;
  return { code, stdout: await stdout, stderr };
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
