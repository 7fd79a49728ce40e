/**
 * A managed host with two uplinks, and a server with one address behind a router: three network
 * namespaces, so that an uplink can lose its carrier while nobody tells the far end. Addresses are of
 * the block for benchmarks, RFC 2544 appendix C.2.2. ip-netns(8), ip-rule(8), veth(4).
 *
 * @module
 */
import { delay } from "../../src/app/delay.ts";
import { Daemon, listens, must } from "../../tests/interop/processes.ts";

/** The two uplinks of the managed host. */
export const UPLINKS = ["up1", "up2"] as const;

/** One of them. */
export type Uplink = (typeof UPLINKS)[number];

/** The address of the managed host on each. */
export const NEAR_ADDRESSES: Record<Uplink, string> = { up1: "198.18.1.1", up2: "198.18.2.1" };
/** The only address of the server. */
export const FAR_ADDRESS = "198.18.9.1";
/** Where the server listens. */
export const PORT = 7000;

const WAIT_MS = 10_000;

/**
 * Each link has ends of two different indexes: of a pair with equal ones the kernel does not count a
 * loss of carrier as urgent, and tells it up to a second late.
 */
const LINKS = (road: string, far: string): string => `
link add up1 index 101 type veth peer name road1 index 201 netns ${road}
link add up2 index 102 type veth peer name road2 index 202 netns ${road}
link set lo up
link set up1 up
link set up2 up
link add road9 index 109 netns ${road} type veth peer name far9 index 209 netns ${far}
address add 198.18.1.1/24 dev up1
address add 198.18.2.1/24 dev up2
route add default via 198.18.1.2 dev up1 metric 100
route add default via 198.18.2.2 dev up2 metric 200
route add default via 198.18.1.2 dev up1 table 101
route add default via 198.18.2.2 dev up2 table 102
rule add from 198.18.1.1 lookup 101
rule add from 198.18.2.1 lookup 102
`;

/** Where the link of an uplink is gone, packets vanish: no ICMP tells the server. */
const ROAD = `
address add 198.18.1.2/24 dev road1
address add 198.18.2.2/24 dev road2
address add 198.18.9.2/24 dev road9
link set lo up
link set road1 up
link set road2 up
link set road9 up
route add blackhole 198.18.1.0/24 metric 4000
route add blackhole 198.18.2.0/24 metric 4000
`;

const FAR = `
address add 198.18.9.1/24 dev far9
link set lo up
link set far9 up
route add default via 198.18.9.2 dev far9
`;

/** The three namespaces; `await using` removes them. */
export class PathsLab implements AsyncDisposable {
  /** Name of the managed host's namespace. */
  readonly near: string;
  /** Name of the server's. */
  readonly far: string;
  readonly #road: string;

  private constructor(id: string) {
    this.near = `fairlead-${id}-near`;
    this.#road = `fairlead-${id}-road`;
    this.far = `fairlead-${id}-far`;
  }

  /** Makes them; root is needed. */
  static async create(): Promise<PathsLab> {
    const lab = new PathsLab(crypto.randomUUID().slice(0, 8));
    globalThis.addEventListener("unload", lab.#remove); // an interrupted bench exits at once
    try {
      const [near, road, far] = lab.#names;
      for (const name of lab.#names) await must(["ip", "netns", "add", name]);
      // Links are made from the near namespace, whose ip-netns(8) finds the two others by name.
      for (const [name, batch] of [[near, LINKS(road, far)], [road, ROAD], [far, FAR]] as const) {
        await must(["ip", "-n", name, "-batch", "-"], { stdin: batch });
      }
      await must(["ip", "netns", "exec", road, "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
    return lab;
  }

  get #names(): readonly [string, string, string] {
    return [this.near, this.#road, this.far];
  }

  /** The command line that runs another one on the managed host. */
  onNear(argv: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.near, ...argv];
  }

  /** The same on the server. */
  onFar(argv: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.far, ...argv];
  }

  /** Which path manager new connections of the managed host get: net.mptcp.pm_type. */
  async setManager(manager: "kernel" | "userspace"): Promise<void> {
    const value = manager === "kernel" ? 0 : 1;
    await must(this.onNear(["sysctl", "-qw", `net.mptcp.pm_type=${value}`]));
  }

  /** Starts the load as a server, and waits until it listens. */
  async startListener(load: string, words: readonly string[], outputPath: string): Promise<Daemon> {
    const daemon = Daemon.start(this.onFar([load, "listen", `${PORT}`, ...words]), outputPath);
    try {
      await daemon.until("the load listens", () => listens(daemon.pid, PORT), WAIT_MS);
    } catch (error) {
      await daemon.stop();
      throw error;
    }
    return daemon;
  }

  /** How many established subflows start from the second uplink. */
  async secondSubflows(): Promise<number> {
    const filter = ["state", "established", "src", NEAR_ADDRESSES.up2];
    const text = await must(this.onNear(["ss", "-Hnt", ...filter]));
    return text.split("\n").filter((line) => line !== "").length;
  }

  /** The uplink that carries most now. */
  async busyUplink(): Promise<Uplink> {
    const before = await this.#bytes();
    await delay(BUSY_MS);
    const after = await this.#bytes();
    const grown = (name: Uplink): number => after[name]! - before[name]!;
    return grown("up1") > grown("up2") ? "up1" : "up2";
  }

  /** Takes the carrier from an uplink. */
  async unplug(uplink: Uplink): Promise<void> {
    const end = uplink === "up1" ? "road1" : "road2";
    await must(["ip", "-n", this.#road, "link", "set", end, "down"]);
  }

  async #bytes(): Promise<Record<string, number>> {
    return bytesByLink(await must(["ip", "-n", this.near, "-s", "-j", "link", "show"]));
  }

  /** Removes them, and the links with them. */
  [Symbol.asyncDispose](): Promise<void> {
    globalThis.removeEventListener("unload", this.#remove);
    this.#remove();
    return Promise.resolve();
  }

  readonly #remove = (): void => {
    for (const name of this.#names) {
      new Deno.Command("ip", { args: ["netns", "delete", name], stderr: "null" }).outputSync();
    }
  };
}

const BUSY_MS = 200;

/** What ip-link(8) -s -j says: bytes of each interface, both ways together. */
export function bytesByLink(text: string): Record<string, number> {
  const links: { ifname: string; stats64: { rx: Count; tx: Count } }[] = JSON.parse(text);
  return Object.fromEntries(
    links.map(({ ifname, stats64 }) => [ifname, stats64.rx.bytes + stats64.tx.bytes]),
  );
}

interface Count {
  bytes: number;
}
