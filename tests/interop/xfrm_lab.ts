/**
 * A gateway of two boxes and its peer in network namespaces, joined by a switch, for a kernel with ESP:
 * tunnels between 10.1.N.1 behind the gateway and 10.2.N.1 behind the peer (fd01:N::1 and fd02:N::1),
 * whose outer addresses are 10.9.0.1 and 10.9.0.2 (fd09::1 and fd09::2). The gateway's address is on one
 * box at a time; the boxes' own are 10.9.0.11 and 10.9.0.12. ip-xfrm(8), Linux
 * Documentation/networking/xfrm_proc.rst.
 *
 * @module
 */
import { NetlinkChannel } from "../../src/app/netlink_channel.ts";
import { inNamespace } from "../../src/io/namespace.ts";
import { NetlinkProtocol } from "../../src/io/netlink_socket.ts";
import { type Finished, must, run, type RunOptions } from "./processes.ts";
import { type EspPacket, espPackets, frameTo, LabTap, LabUdp, settle } from "./uml_sockets.ts";

/** Who has a namespace. */
export type Host = "peer" | "active" | "standby";
/** Of the two boxes of the gateway. */
export type Box = "active" | "standby";
/** Version of IP, inside and outside. */
export type Version = 4 | 6;
/** Which way an SA goes, as the gateway sees it. */
export type Direction = "out" | "in";

/** A pair of SAs with policies, at both ends. */
export interface Tunnel {
  /** 1 to 250: the third number of its inner addresses, and of its SPIs. */
  number: number;
  /** 4 when absent. */
  version?: Version;
  /** AES-GCM when absent; "cbc" is AES-CBC with HMAC-SHA-256. */
  cipher?: "gcm" | "cbc";
  /** Extended sequence numbers; they need a window that is given. */
  esn?: boolean;
  /** The replay window; 32 when absent. */
  window?: number;
  /** Both SAs of the gateway have this mark, and its traffic must. */
  mark?: number;
  /** More words for `ip xfrm state add` at the gateway. */
  more?: string[];
}

const HOSTS = ["peer", "active", "standby"] as const;
const HOST_NUMBER: Record<Host, number> = { peer: 2, active: 11, standby: 12 };
const GATEWAY_NUMBER = 1;
const LINK = "e0";
const PORT = 4000;
/** Who has not arrived after this will not: the way is a few calls within one kernel. */
const ARRIVAL_MS = 100;
const BURST = 50;

/** Namespaces `peer`, `active`, `standby` and a switch; `await using` removes them. */
export class XfrmLab implements AsyncDisposable {
  /** Names of the namespaces. */
  readonly names: Readonly<Record<Host | "switch", string>>;
  readonly #batches: Partial<Record<Host, IpBatch>> = {};

  private constructor() {
    const id = crypto.randomUUID().slice(0, 8);
    const named = [...HOSTS, "switch" as const].map((host) => [host, `fairlead-${id}-${host}`]);
    this.names = Object.fromEntries(named);
  }

  /** Makes one; root is needed. The gateway's addresses are on the active box. */
  static async create(): Promise<XfrmLab> {
    const lab = new XfrmLab();
    try {
      await lab.#build();
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
    return lab;
  }

  async #build(): Promise<void> {
    const hub = this.names.switch;
    const cables = HOSTS.map((host) =>
      `link add ${host} netns ${hub} type veth peer name ${LINK} netns ${this.names[host]} ` +
      `address ${this.mac(host)}`
    );
    await batch([...Object.values(this.names).map((name) => `netns add ${name}`), ...cables]);
    await batch([
      "link add br0 type bridge forward_delay 0 mcast_snooping 0",
      "link set br0 up",
      ...HOSTS.flatMap((host) => [`link set ${host} master br0`, `link set ${host} up`]),
    ], hub);
    for (const host of HOSTS) {
      await this.ip(host, [
        "link set lo up",
        `link set ${LINK} up`,
        `address add ${this.own(host, 4)}/24 dev ${LINK}`,
        `address add ${this.own(host, 6)}/64 dev ${LINK} nodad`,
        ...(host === "active" ? this.#gatewayLines("add") : []),
      ]);
    }
    await this.#knowGateway("active");
  }

  /** An address of a host that is its own. */
  own(host: Host, version: Version): string {
    return outer(version, HOST_NUMBER[host]);
  }

  /** The address of the gateway, which the peer knows. */
  gateway(version: Version): string {
    return outer(version, GATEWAY_NUMBER);
  }

  /** The hardware address of a host. */
  mac(host: Host): string {
    return `02:00:00:00:09:${HOST_NUMBER[host].toString(16).padStart(2, "0")}`;
  }

  /** The SPI of an SA. */
  spi(tunnel: Tunnel, direction: Direction): number {
    return (direction === "out" ? 0x1000 : 0x2000) + tunnel.number;
  }

  /** The inner address at one end of a tunnel. */
  inner(tunnel: Tunnel, end: "gateway" | "peer"): string {
    const side = end === "gateway" ? 1 : 2;
    return tunnel.version === 6
      ? `fd0${side}:${tunnel.number}::1`
      : `10.${side}.${tunnel.number}.1`;
  }

  /** The command line that runs another one in a namespace. */
  within(host: Host | "switch", argv: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.names[host], ...argv];
  }

  /** Runs a command in a namespace to its end. */
  async run(host: Host, argv: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return await run(this.within(host, argv), options);
  }

  /** The same; its standard output, or it throws. */
  async must(host: Host, argv: readonly string[], options: RunOptions = {}): Promise<string> {
    return await must(this.within(host, argv), options);
  }

  /** Runs lines of ip(8) in a namespace. */
  async ip(host: Host, lines: readonly string[]): Promise<void> {
    await (this.#batches[host] ??= new IpBatch(this.names[host])).run(lines);
  }

  /** Runs `inside` in a namespace; nothing asynchronous may begin there. */
  inside<T>(host: Host | "switch", inside: () => T): T {
    return inNamespace(this.names[host], inside);
  }

  /** A socket for requests to XFRM of a host; close it. */
  channel(host: Host): NetlinkChannel {
    return this.inside(host, () => NetlinkChannel.open(NetlinkProtocol.Xfrm, "xfrm"));
  }

  /** Makes both ends of tunnels: SAs, policies, inner addresses and routes; on one box. */
  async addTunnels(tunnels: readonly Tunnel[], box: Box = "active"): Promise<void> {
    await this.ip("peer", tunnels.flatMap((tunnel) => this.endLines(tunnel, "peer")));
    await this.ip(box, tunnels.flatMap((tunnel) => this.endLines(tunnel, "gateway")));
  }

  /** Lines of ip(8) for one end of a tunnel. */
  endLines(tunnel: Tunnel, end: "gateway" | "peer"): string[] {
    const states = (["out", "in"] as const).map((way) =>
      `xfrm state add ${this.state(tunnel, way, end)}`
    );
    return [...states, ...this.policyLines(tunnel, end), ...this.routeLines(tunnel, end)];
  }

  /** What follows `ip xfrm state add` for an SA; `direction` as the gateway sees it. */
  state(tunnel: Tunnel, direction: Direction, end: "gateway" | "peer" = "gateway"): string {
    const { esn = false, window = 32, mark, more = [] } = tunnel;
    const spi = this.spi(tunnel, direction);
    const words = [
      ...[...this.#outerWords(tunnel, direction), "proto", "esp", "spi", `${spi}`],
      ...["reqid", `${tunnel.number}`, "mode", "tunnel", "replay-window", `${window}`],
      ...(esn ? ["flag", "esn"] : []),
      ...keyWords(tunnel.cipher ?? "gcm", spi),
      ...(mark !== undefined && end === "gateway" ? ["mark", `${mark}`, "mask", "0xff"] : []),
      ...(end === "gateway" ? more : []),
    ];
    return words.join(" ");
  }

  /** Lines of ip(8) for the policies at one end. */
  policyLines(tunnel: Tunnel, end: "gateway" | "peer"): string[] {
    const [here, there] = end === "gateway"
      ? ["gateway", "peer"] as const
      : ["peer", "gateway"] as const;
    const length = tunnel.version === 6 ? 128 : 32;
    const mark = tunnel.mark !== undefined && end === "gateway"
      ? ` mark ${tunnel.mark} mask 0xff`
      : "";
    return (["out", "in"] as const).map((way) => {
      const [from, to] = way === "out" ? [here, there] : [there, here];
      const direction = (end === "gateway") === (way === "out") ? "out" : "in";
      return `xfrm policy add src ${this.inner(tunnel, from)}/${length} ` +
        `dst ${this.inner(tunnel, to)}/${length} dir ${way}${mark} tmpl ` +
        `${
          this.#outerWords(tunnel, direction).join(" ")
        } proto esp reqid ${tunnel.number} mode tunnel`;
    });
  }

  /** Lines of ip(8) for the inner address at one end and the route to the other. */
  routeLines(tunnel: Tunnel, end: "gateway" | "peer"): string[] {
    const version = tunnel.version ?? 4;
    const here = this.inner(tunnel, end);
    const there = this.inner(tunnel, end === "gateway" ? "peer" : "gateway");
    const via = end === "gateway" ? this.own("peer", version) : this.gateway(version);
    const length = version === 6 ? 128 : 32;
    return [
      `address add ${here}/${length} dev lo${version === 6 ? " nodad" : ""}`,
      `route add ${there}/${length} via ${via} dev ${LINK} src ${here}`,
    ];
  }

  /** Moves the gateway's addresses to a box, and tells the peer. */
  async giveGateway(to: Box): Promise<void> {
    await this.ip(to === "active" ? "standby" : "active", this.#gatewayLines("delete"));
    await this.ip(to, this.#gatewayLines("add"));
    await this.#knowGateway(to);
  }

  /** A socket for traffic through a tunnel. */
  traffic(tunnel: Tunnel, box: Box = "active"): TunnelTraffic {
    return new TunnelTraffic(this, tunnel, box);
  }

  /** What passes between a host and the switch. */
  tap(host: Host): LabTap {
    return new LabTap(this.names.switch, host);
  }

  /** Sends a packet that was seen before to a host, whoever it was for. */
  replay(tap: LabTap, packet: EspPacket, host: Host): void {
    tap.put(frameTo(packet.frame, this.mac(host)));
    settle();
  }

  /** Marks every packet that comes to a host, as SAs with a mark want it. */
  async markIncoming(host: Host, mark: number): Promise<void> {
    const device = ["dev", LINK];
    await this.must(host, ["tc", "qdisc", "add", ...device, "ingress"]);
    const action = ["matchall", "action", "skbedit", "mark", `${mark}`];
    await this.must(host, ["tc", "filter", "add", ...device, "ingress", ...action]);
  }

  /** Counters of /proc/net/xfrm_stat. */
  statistics(host: Host): Record<string, number> {
    const text = this.inside(host, () => Deno.readTextFileSync("/proc/thread-self/net/xfrm_stat"));
    const rows = text.trim().split("\n").map((line) => line.split(/\s+/));
    return Object.fromEntries(rows.map(([name, count]) => [name!, Number(count)]));
  }

  /** How often a host refused a packet for its sequence number. */
  sequenceErrors(host: Host): number {
    return this.statistics(host).XfrmInStateSeqError!;
  }

  /** Writes a variable of the kernel for a host; `name` such as `core/xfrm_aevent_etime`. */
  setSysctl(host: Host, name: string, value: number): void {
    this.inside(host, () => Deno.writeTextFileSync(`/proc/sys/net/${name}`, `${value}`));
  }

  /** Removes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const batch of Object.values(this.#batches)) await batch[Symbol.asyncDispose]();
    for (const name of Object.values(this.names)) await run(["ip", "netns", "delete", name]);
  }

  #outerWords(tunnel: Tunnel, direction: Direction): string[] {
    const version = tunnel.version ?? 4;
    const ends = [this.gateway(version), this.own("peer", version)];
    const [from, to] = direction === "out" ? ends : ends.reverse();
    return ["src", from!, "dst", to!];
  }

  #gatewayLines(verb: "add" | "delete"): string[] {
    return [
      `address ${verb} ${this.gateway(4)}/24 dev ${LINK}`,
      `address ${verb} ${this.gateway(6)}/64 dev ${LINK}${verb === "add" ? " nodad" : ""}`,
    ];
  }

  /** As after an ARP reply: a later one replaces it. */
  async #knowGateway(box: Box): Promise<void> {
    await this.ip(
      "peer",
      ([4, 6] as const).map((version) =>
        `neigh replace ${this.gateway(version)} lladdr ${this.mac(box)} dev ${LINK} nud reachable`
      ),
    );
    await this.ip(
      box,
      ([4, 6] as const).map((version) =>
        `neigh replace ${this.own("peer", version)} lladdr ${
          this.mac("peer")
        } dev ${LINK} nud reachable`
      ),
    );
  }
}

/** Datagrams through one tunnel, both ways, and what came of them. */
export class TunnelTraffic implements Disposable {
  readonly #lab: XfrmLab;
  readonly #tunnel: Tunnel;
  readonly #gateway: LabUdp;
  readonly #peer: LabUdp;
  readonly #peerPort: number;

  constructor(lab: XfrmLab, tunnel: Tunnel, box: Box) {
    this.#lab = lab;
    this.#tunnel = tunnel;
    const mark = tunnel.mark ?? 0;
    this.#gateway = new LabUdp(lab.names[box], lab.inner(tunnel, "gateway"), PORT, mark);
    this.#peerPort = box === "active" ? PORT : PORT + 1;
    this.#peer = new LabUdp(lab.names.peer, lab.inner(tunnel, "peer"), this.#peerPort);
  }

  /** Sends from the gateway; says how many arrived at the peer. */
  out(count = 1, bytes?: number): number {
    const to = this.#lab.inner(this.#tunnel, "peer");
    return inBursts(count, this.#peer, (burst) => {
      this.#gateway.send(to, this.#peerPort, burst, bytes);
    });
  }

  /** Sends from the peer; says how many arrived at the gateway. */
  in(count = 1, bytes?: number): number {
    const to = this.#lab.inner(this.#tunnel, "gateway");
    return inBursts(count, this.#gateway, (burst) => this.#peer.send(to, PORT, burst, bytes));
  }

  /** Closes the sockets. */
  [Symbol.dispose](): void {
    this.#gateway[Symbol.dispose]();
    this.#peer[Symbol.dispose]();
  }
}

/** Waits for each burst to arrive, so that no queue of the kernel gets too long. */
function inBursts(count: number, receiver: LabUdp, send: (count: number) => void): number {
  let arrived = 0;
  receiver.drain();
  for (let left = count; left > 0; left -= BURST) {
    const burst = Math.min(left, BURST);
    send(burst);
    arrived += receiver.await(burst, ARRIVAL_MS);
  }
  return arrived;
}

/** Takes the ESP packets that passed. */
export function takeEsp(tap: LabTap): EspPacket[] {
  return espPackets(tap.take());
}

function outer(version: Version, number: number): string {
  return version === 4 ? `10.9.0.${number}` : `fd09::${number}`;
}

/** Keys of their own for each SA. */
function keyWords(cipher: "gcm" | "cbc", spi: number): string[] {
  const key = (bytes: number): string =>
    `0x${
      Uint8Array.from({ length: bytes }, (_, i) => (spi * 7 + (spi >> 12) * 31 + i * 13) & 0xff)
        .toHex()
    }`;
  if (cipher === "gcm") return ["aead", "'rfc4106(gcm(aes))'", key(20), "128"];
  return ["enc", "'cbc(aes)'", key(16), "auth-trunc", "'hmac(sha256)'", key(32), "128"];
}

async function batch(lines: readonly string[], namespace?: string): Promise<void> {
  const where = namespace === undefined ? [] : ["-n", namespace];
  await must(["ip", ...where, "-batch", "-"], { stdin: lines.join("\n") });
}

/** An ip(8) that stays: to start one takes 150 ms in user-mode Linux, a line takes 1 ms. */
class IpBatch implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #in: WritableStreamDefaultWriter<Uint8Array>;
  readonly #out: ReadableStreamDefaultReader<string>;
  readonly #errors: Promise<string>;

  constructor(namespace: string) {
    this.#child = new Deno.Command("stdbuf", {
      args: ["-oL", "ip", "-n", namespace, "-batch", "-"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#in = this.#child.stdin.getWriter();
    this.#out = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#errors = new Response(this.#child.stderr).text();
  }

  /** Runs lines to their end; throws when one fails, after which there is no other. */
  async run(lines: readonly string[]): Promise<void> {
    const text = [...lines, DONE_LINE, ""].join("\n");
    await this.#in.write(new TextEncoder().encode(text)).catch(() => {}); // it says why below
    for (let said = ""; !DONE.test(said);) {
      const { done, value } = await this.#out.read();
      if (done) throw new Error(`Cannot run ip: ${await this.#errors}${lines.join("\n")}`);
      said += value;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#in.close().catch(() => {}); // it may have ended
    await this.#out.cancel();
    await this.#errors;
    await this.#child.status;
  }
}

/** Its answer shows that all lines before were run; no other line here is answered. */
const DONE_LINE = "link show lo";
const DONE = /link\/loopback.*\n/;
