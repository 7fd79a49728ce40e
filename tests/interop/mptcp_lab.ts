/**
 * Two network namespaces joined by several cables (veth), for tests of MPTCP against the real kernel:
 * links can be taken down, lose their carrier, or swallow packets without a word. IPv4 addresses are
 * 10.9.N.1 and 10.9.N.2, IPv6 addresses fd09:N::1 and fd09:N::2, on links that are called e1, e2, ...
 * ip-netns(8), veth(4), nft(8), Linux Documentation/networking/mptcp-sysctl.rst.
 *
 * @module
 */
import { delay } from "../../src/app/delay.ts";
import { type Finished, must, run, type RunOptions } from "./processes.ts";

/** One of the two hosts. */
export type Side = "near" | "far";

/** Who manages paths: net.mptcp.pm_type. */
export type Manager = "kernel" | "userspace";

/** How a {@linkcode MptcpLab} is made. */
export interface MptcpLabOptions {
  /** How many links; 2 unless set. */
  readonly links?: number;
  /** The kernel's unless set. */
  readonly manager?: Partial<Record<Side, Manager>>;
}

/** Of links: veth, so that both ends are known by number, and by different ones. */
const INDEX: Record<Side, number> = { near: 100, far: 200 };
const HOST: Record<Side, number> = { near: 1, far: 2 };
const SIDES = ["near", "far"] as const;
const LINKS_DEFAULT = 2;
const LINKS_MAX = 64;
const LOOK_MS = 100;
const BLACKHOLE = "blackhole";

/** A pair of namespaces; `await using` removes it. */
export class MptcpLab implements AsyncDisposable {
  /** Names of the namespaces. */
  readonly names: Readonly<Record<Side, string>>;
  /** How many links there are; they count from 1. */
  readonly links: number;

  private constructor(links: number) {
    const id = crypto.randomUUID().slice(0, 8);
    this.names = { near: `fairlead-${id}-near`, far: `fairlead-${id}-far` };
    this.links = links;
  }

  /** Makes one; root is needed. */
  static async create(options: MptcpLabOptions = {}): Promise<MptcpLab> {
    const { links = LINKS_DEFAULT, manager = {} } = options;
    if (links < 1 || links > LINKS_MAX) throw new Error(`Cannot make a lab of ${links} links`);
    const lab = new MptcpLab(links);
    try {
      for (const side of SIDES) await must(["ip", "netns", "add", lab.names[side]]);
      for (const side of SIDES) {
        // IPv6 addresses outlive a link that is taken down, as IPv4 ones do.
        await lab.must(side, ["sysctl", "-qw", "net.ipv6.conf.all.keep_addr_on_down=1"]);
        await lab.setManager(side, manager[side] ?? "kernel");
      }
      for (const side of SIDES) await lab.#batch(side, lab.#setUp(side));
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
    return lab;
  }

  /** IPv4 address of one end of a link. */
  address(side: Side, link: number): string {
    return `10.9.${this.#checked(link)}.${HOST[side]}`;
  }

  /** IPv6 address of one end of a link. */
  address6(side: Side, link: number): string {
    return `fd09:${this.#checked(link)}::${HOST[side]}`;
  }

  /** Index of one end of a link. */
  index(side: Side, link: number): number {
    return INDEX[side] + this.#checked(link);
  }

  /** Name of a link, the same at both ends. */
  link(link: number): string {
    return `e${this.#checked(link)}`;
  }

  /** The command line that runs another one on a host. */
  within(side: Side, argv: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.names[side], ...argv];
  }

  /** Runs a command on a host to its end. */
  async run(side: Side, argv: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return await run(this.within(side, argv), options);
  }

  /** The same; its standard output, or it throws. */
  async must(side: Side, argv: readonly string[], options: RunOptions = {}): Promise<string> {
    return await must(this.within(side, argv), options);
  }

  /** Says who manages the paths of connections that a host gets from now on. */
  async setManager(side: Side, manager: Manager): Promise<void> {
    const value = manager === "kernel" ? 0 : 1;
    await this.must(side, ["sysctl", "-qw", `net.mptcp.pm_type=${value}`]);
  }

  /** The link that carries most now, both ways together; the traffic is looked at for 100 ms. */
  async busiest(): Promise<number> {
    const before = await this.#bytes();
    await delay(LOOK_MS);
    const grown = (await this.#bytes()).map((bytes, index) => bytes - before[index]!);
    return grown.indexOf(Math.max(...grown)) + 1;
  }

  /** Takes one end of a link down or up; the other end loses or finds its carrier. */
  async setLink(side: Side, link: number, up: boolean): Promise<void> {
    await this.#batch(side, [`link set ${this.link(link)} ${up ? "up" : "down"}`]);
  }

  /** Pulls a cable out of a host, or puts it back: the host's link stays up, without carrier. */
  async setCarrier(side: Side, link: number, plugged: boolean): Promise<void> {
    await this.setLink(side === "near" ? "far" : "near", link, plugged);
  }

  /** Whether a host's link is up and has carrier: IFF_LOWER_UP. */
  async hasCarrier(side: Side, link: number): Promise<boolean> {
    const show = ["ip", "-n", this.names[side], "-j", "link", "show", this.link(link)];
    const [shown]: { flags: string[] }[] = JSON.parse(await must(show));
    return shown!.flags.includes("LOWER_UP");
  }

  /** Swallows all packets of a link, both ways, or no more: nobody notices but by waiting. */
  async setBlackhole(link: number, swallows: boolean): Promise<void> {
    const table = `${BLACKHOLE}${this.#checked(link)}`;
    const name = this.link(link);
    // Declared before it is deleted, as one cannot delete what is not there.
    const rules = `table netdev ${table} {}\ndelete table netdev ${table}\n` +
      (swallows
        ? `table netdev ${table} {
          chain in { type filter hook ingress device "${name}" priority 0; policy drop; }
          chain out { type filter hook egress device "${name}" priority 0; policy drop; }
        }\n`
        : "");
    await this.must("near", ["nft", "-f", "-"], { stdin: rules });
  }

  /** Established subflows of a host, as `ADDRESS:PORT ADDRESS:PORT`: ss(8) by ULP. */
  async subflows(side: Side): Promise<string[]> {
    const text = await this.must(side, ["ss", "-HntiO", "state", "established"]);
    return text.split("\n").filter((line) => line.includes("tcp-ulp-mptcp"))
      .map((line) => line.trim().split(/\s+/).slice(2, 4).join(" ").replaceAll(/%\w+/g, ""));
  }

  /** Removes both namespaces, and the links with them. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const side of SIDES) await run(["ip", "netns", "delete", this.names[side]]);
  }

  /** Of each link, at the near end. */
  async #bytes(): Promise<number[]> {
    const show = ["ip", "-n", this.names.near, "-s", "-j", "link", "show"];
    const shown: { ifname: string; stats64: Record<"rx" | "tx", { bytes: number }> }[] = JSON
      .parse(await must(show));
    const bytes = new Map(
      shown.map(({ ifname, stats64 }) => [ifname, stats64.rx.bytes + stats64.tx.bytes]),
    );
    return Array.from({ length: this.links }, (_, index) => bytes.get(this.link(index + 1))!);
  }

  #setUp(side: Side): string[] {
    const lines = ["link set lo up"];
    for (let link = 1; link <= this.links; link++) {
      const name = this.link(link);
      if (side === "near") {
        // Of a pair with equal indexes the kernel tells the loss of the carrier up to 1 s late.
        lines.push(
          `link add ${name} index ${this.index("near", link)} type veth ` +
            `peer name ${name} index ${this.index("far", link)} netns ${this.names.far}`,
        );
      }
      lines.push(
        `address add ${this.address(side, link)}/24 dev ${name}`,
        `address add ${this.address6(side, link)}/64 dev ${name} nodad`,
        `link set ${name} up`,
      );
    }
    return lines;
  }

  async #batch(side: Side, lines: readonly string[]): Promise<void> {
    await must(["ip", "-n", this.names[side], "-batch", "-"], { stdin: lines.join("\n") });
  }

  #checked(link: number): number {
    if (Number.isInteger(link) && link >= 1 && link <= this.links) return link;
    throw new Error(`Cannot use a link that the lab does not have: ${link} of ${this.links}`);
  }
}

/**
 * Whether tests that need a lab are to be ignored: they need root, iproute2, nft and MPTCP. With
 * CI=true they run, and fail.
 */
export async function ignoreWithoutLab(): Promise<boolean> {
  return Deno.env.get("CI") !== "true" && !await canMakeLab();
}

async function canMakeLab(): Promise<boolean> {
  if (Deno.uid() !== 0) return false;
  try {
    await using lab = await MptcpLab.create({ links: 1 });
    await lab.setBlackhole(1, false);
    return true;
  } catch {
    return false;
  }
}
