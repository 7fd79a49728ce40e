/**
 * Two network namespaces joined by a cable (veth), for tests that cut connections: ss -K ends
 * every socket that its filter names, so it is let loose only where nothing but the test lives.
 * ip-netns(8), veth(4), ss(8).
 *
 * @module
 */
import { type Finished, must, run, type RunOptions } from "./processes.ts";

/** Addresses of the two ends, from the block for documentation of RFC 5737. */
const NEAR_ADDRESS = "192.0.2.1";
const FAR_ADDRESS = "192.0.2.2";
const PREFIX_LENGTH = 30;

/** A pair of namespaces; `await using` removes it. */
export class NamespacePair implements AsyncDisposable {
  /** Name of one namespace. */
  readonly near: string;
  /** Name of the other. */
  readonly far: string;
  /** Address of the near end of the cable; loopback works in both. */
  readonly nearAddress = NEAR_ADDRESS;
  /** Address of the far end of the cable. */
  readonly farAddress = FAR_ADDRESS;

  private constructor(id: string) {
    this.near = `fairlead-${id}-near`;
    this.far = `fairlead-${id}-far`;
  }

  /** Makes a pair; root is needed. */
  static async create(): Promise<NamespacePair> {
    const pair = new NamespacePair(crypto.randomUUID().slice(0, 8));
    const { near, far } = pair;
    try {
      await must(["ip", "netns", "add", near]);
      await must(["ip", "netns", "add", far]);
      await must([
        ...["ip", "-n", near, "link", "add", "cable0", "type", "veth"],
        ...["peer", "name", "cable0", "netns", far],
      ]);
      for (const [name, address] of [[near, NEAR_ADDRESS], [far, FAR_ADDRESS]] as const) {
        await must(["ip", "-n", name, "address", "add", `${address}/${PREFIX_LENGTH}`, ...CABLE]);
        await must(["ip", "-n", name, "link", "set", "cable0", "up"]);
        await must(["ip", "-n", name, "link", "set", "lo", "up"]);
      }
    } catch (error) {
      await pair.remove();
      throw error;
    }
    return pair;
  }

  /** The command line that runs another one inside a namespace. */
  within(name: string, argv: string[]): string[] {
    return ["ip", "netns", "exec", this.#own(name), ...argv];
  }

  /** Runs a command inside a namespace to its end. */
  async run(name: string, argv: string[], options: RunOptions = {}): Promise<Finished> {
    return await run(this.within(name, argv), options);
  }

  /** Ends all established connections from or to a port inside a namespace; says how many. */
  async cut(name: string, port: number): Promise<number> {
    const filter = `( sport = :${port} or dport = :${port} )`;
    const ss = ["ss", "-H", "-K", "-t", "-n", "state", "established", filter];
    const ended = await must(this.within(name, ss));
    return ended.split("\n").filter((line) => line !== "").length;
  }

  /** Pulls the cable out, or puts it back: packets are lost, sockets live on. */
  async setCable(plugged: boolean): Promise<void> {
    await must(["ip", "-n", this.near, "link", "set", "cable0", plugged ? "up" : "down"]);
  }

  /** Removes both namespaces, and the cable with them. */
  async remove(): Promise<void> {
    for (const name of [this.near, this.far]) await run(["ip", "netns", "delete", name]);
  }

  /** Removes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  #own(name: string): string {
    if (name === this.near || name === this.far) return name;
    throw new Error(`Cannot enter a namespace that is not of this pair: ${name}`);
  }
}

const CABLE = ["dev", "cable0"];

/**
 * Whether tests that need a pair are to be ignored: they need root, iproute2 and a kernel that
 * allows it. With CI=true they run, and fail.
 */
export async function ignoreWithoutNamespaces(): Promise<boolean> {
  return Deno.env.get("CI") !== "true" && !await canMakeNamespaces();
}

/** Whether pairs can be made here. */
export async function canMakeNamespaces(): Promise<boolean> {
  if (Deno.uid() !== 0) return false;
  try {
    await (await NamespacePair.create()).remove();
    return true;
  } catch {
    return false;
  }
}
