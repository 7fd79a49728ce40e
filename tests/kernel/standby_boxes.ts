/**
 * The two boxes of a gateway as they are run: `fairlead standby run` in two namespaces of a laboratory,
 * perhaps `fairlead standby witness` beside the peer, each with a file of configuration and a key. The
 * boxes have a cable of their own between them, so that it can be cut alone.
 *
 * @module
 */
import assert from "node:assert/strict";
import { AccessClient } from "../../src/app/access_client.ts";
import type { StandbyConfig } from "../../src/app/config/standby_config.ts";
import { delay } from "../../src/app/delay.ts";
import { STANDBY_DAEMON, type StandbyEvent } from "../../src/app/standby/standby_message.ts";
import type { StandbyView } from "../../src/app/standby/standby_view.ts";
import type { SaDifference } from "../../src/proto/xfrm/sa_table.ts";
import { Daemon, must } from "../interop/processes.ts";
import type { XfrmSaId } from "../../src/wire/netlink/xfrm.ts";
import { type Box, type Direction, type Tunnel, XfrmLab } from "../interop/xfrm_lab.ts";
import { saId } from "./xfrm_client.ts";

/** Changes to the key "standby" of a box's file. */
export type Settings = Partial<StandbyConfig>;
/** What can be cut: all cables of a box, or the one between the boxes. */
export type Cable = Box | "between";

const FAIRLEAD = [Deno.execPath(), "run", "-A", "--no-check", "src/main.ts"];
const NAME = "client.pair";
const PORT = 6810;
const WITNESS_PORT = 6820;
const NUMBER: Record<Box, number> = { active: 11, standby: 12 };
/** The first start has to read all modules, on one processor with two others. */
const START_MS = 30_000;
const ANSWER_MS = 20_000;
const REACH_MS = 20_000;
const LOOK_MS = 20;
const SYNCED_MS = 3000;
const BOXES = ["active", "standby"] as const;

/** The other one of two. */
export function otherBox(box: Box): Box {
  return box === "active" ? "standby" : "active";
}

/** A figure that was measured, for whoever reads the output. */
export function report(text: string): void {
  const line = new TextEncoder().encode(`# ${text}\n`);
  Deno.stderr.writeSync(line);
}

/** Two boxes and a peer; the programs are started one by one. */
export class StandbyBoxes implements AsyncDisposable {
  readonly lab: XfrmLab;
  /** Files of the boxes. */
  readonly directory: string;
  readonly #settings: Settings;
  #files = 0;
  #pairs = 0;
  #tunnels = 0;

  private constructor(lab: XfrmLab, directory: string, settings: Settings) {
    this.lab = lab;
    this.directory = directory;
    this.#settings = settings;
  }

  /** Makes a laboratory and a key; `settings` are those of both boxes. */
  static async create(settings: Settings = {}): Promise<StandbyBoxes> {
    const directory = await Deno.makeTempDir({ prefix: "standby_boxes_" });
    const lab = await XfrmLab.create();
    const boxes = new StandbyBoxes(lab, directory, settings);
    try {
      await boxes.#build();
    } catch (error) {
      await boxes[Symbol.asyncDispose]();
      throw error;
    }
    return boxes;
  }

  /** Addresses that go with the active role: the gateway's. The laboratory has them no more. */
  async letBoxesHaveGateway(): Promise<StandbyConfig["addresses"]> {
    await this.#takeGateway("active");
    return [
      { interface: "e0", address: `${this.lab.gateway(4)}/24` },
      { interface: "e0", address: `${this.lab.gateway(6)}/64` },
    ];
  }

  /**
   * Tunnels with numbers that no other has, and nothing else in any kernel: what boxes have left that
   * were killed is taken away.
   */
  async fresh(kinds: readonly Partial<Tunnel>[]): Promise<Tunnel[]> {
    for (const host of ["peer", ...BOXES] as const) {
      await this.lab.ip(host, ["xfrm state flush", "xfrm policy flush"]);
    }
    for (const box of BOXES) {
      await this.setCable(box, true);
      await this.#takeGateway(box);
    }
    const made = kinds.map((kind) => ({ ...kind, number: ++this.#tunnels }));
    await this.addTunnels(made);
    return made;
  }

  /** Kills the program of a box and cuts its cables; for how long its kernel went on in between. */
  async lose(box: BoxProcess): Promise<number> {
    const killedMs = performance.now();
    box.signal("SIGKILL");
    await this.setCable(box.box, false);
    const cutMs = performance.now();
    await box.stop();
    return cutMs - killedMs;
  }

  /** Puts a lost box back, the program first: one that was dead did not go on sending. */
  async putBack(pair: Pair, box: Box, settings: Settings): Promise<void> {
    pair.replace(await this.start(box, settings));
    // One that lost its power has no packets that wait for a neighbour, already with their numbers.
    await this.lab.must(box, ["ip", "neigh", "flush", "dev", "e0"]);
    await this.setCable(box, true);
    await pair.of(box).until("it has everything", ({ ready, role }) => ready && role === "standby");
    await pair.of(otherBox(box)).until("it is followed", ({ sync }) => sync.synced);
  }

  /** Waits until the standby has what the active box's kernel has. */
  async untilSynced(active: BoxProcess): Promise<void> {
    const deadline = performance.now() + SYNCED_MS;
    for (;;) {
      const rows = await active.diff();
      if (rows.length > 0 && rows.every(({ differs }) => differs.length === 0)) return;
      assert.ok(performance.now() < deadline, JSON.stringify(rows));
      await delay(LOOK_MS);
    }
  }

  /** Both boxes have what is behind them, whoever is active; SAs and policies are on the active one. */
  async addTunnels(tunnels: readonly Tunnel[]): Promise<void> {
    await this.lab.addTunnels(tunnels);
    await this.lab.ip(
      "standby",
      tunnels.flatMap((tunnel) => this.lab.routeLines(tunnel, "gateway")),
    );
  }

  /** An SA of a tunnel. */
  id(tunnel: Tunnel, way: Direction): XfrmSaId {
    const version = tunnel.version ?? 4;
    const daddr = way === "out" ? this.lab.own("peer", version) : this.lab.gateway(version);
    const mask = tunnel.mark === undefined ? 0 : 0xff;
    return saId(daddr, this.lab.spi(tunnel, way), tunnel.mark ?? 0, mask);
  }

  /** What ip(8) lists of SAs or policies, an entry each, without what moves. */
  async listed(box: Box, what: "state" | "policy"): Promise<string[]> {
    const text = await this.lab.must(box, ["ip", "xfrm", what]);
    return text.split(/\n(?=src )/)
      .map((entry) => entry.split("\n").filter((line) => !MOVES.test(line)).join("\n").trim())
      .filter((entry) => entry !== "" && !entry.includes("socket ")).sort();
  }

  /** Starts a box and waits until it can be asked. */
  async start(box: Box, settings: Settings = {}): Promise<BoxProcess> {
    const socket = `${this.directory}/${box}.sock`;
    const file = `${this.directory}/${box}-${++this.#files}`;
    const listen = (of: Box): string => `v2:10.8.0.${NUMBER[of]}:${PORT}`;
    await Deno.writeTextFile(
      `${file}.json`,
      JSON.stringify({
        name: NAME,
        auth: { keyring: `${this.directory}/keyring` },
        state: `${this.directory}/${box}-state-${this.#pairs}`,
        status: false,
        standby: {
          role: box,
          box,
          listen: listen(box),
          peer: listen(otherBox(box)),
          socket,
          ...this.#settings,
          ...settings,
        },
      }),
    );
    const argv = [...FAIRLEAD, "standby", "run", "--config", `${file}.json`];
    const daemon = Daemon.start(this.lab.within(box, argv), `${file}.log`);
    try {
      await daemon.until(`${box} can be asked`, () => saysBox.test(daemon.output()), START_MS);
      return new BoxProcess(
        box,
        daemon,
        await AccessClient.connect<StandbyEvent>(STANDBY_DAEMON, socket),
      );
    } catch (error) {
      await daemon.stop();
      throw error;
    }
  }

  /** Starts both, which remember nothing, and waits until the standby has everything. */
  async startPair(
    settings: Settings = {},
    own: Partial<Record<Box, Settings>> = {},
  ): Promise<Pair> {
    this.#pairs++;
    const started = await Promise.allSettled([
      ...BOXES.map((box) => this.start(box, { ...settings, ...own[box] })),
    ]);
    const pair = new Pair(started.flatMap((each) => each.status === "fulfilled" ? each.value : []));
    try {
      for (const each of started) if (each.status === "rejected") throw each.reason;
      await pair.active.until("it is active", ({ role }) => role === "active");
      await pair.active.until("the standby has everything", ({ sync }) => sync.synced);
      await pair.standby.until("it has everything", ({ ready }) => ready);
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
    return pair;
  }

  /** Where the witness is, for `settings.witness`. */
  get witness(): string {
    return `v2:${this.lab.own("peer", 4)}:${WITNESS_PORT}`;
  }

  /** Starts the witness, which ends with this program, and waits until it listens. */
  async startWitness(): Promise<void> {
    const { directory } = this;
    const argv = [...FAIRLEAD, "standby", "witness", this.witness];
    const flags = ["--keyring", `${directory}/keyring`, "--name", NAME, "--state"];
    const log = `${directory}/witness.log`;
    const within = ["ip", "netns", "exec", this.lab.names.peer];
    const daemon = Daemon.start([...within, ...argv, ...flags, `${directory}/witness`], log);
    await daemon.until("it listens", () => daemon.output().includes("Witness at"), START_MS);
  }

  /** Cuts a cable at the switch, or mends it: the ends see no carrier. */
  async setCable(cable: Cable, up: boolean): Promise<void> {
    const ports = cable === "between" ? ["bactive"] : [cable, `b${cable}`];
    const lines = ports.map((port) => `link set ${port} ${up ? "up" : "down"}`);
    await must(["ip", "-n", this.lab.names.switch, "-batch", "-"], { stdin: lines.join("\n") });
  }

  /** Removes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }

  async #takeGateway(from: Box): Promise<void> {
    for (const address of [`${this.lab.gateway(4)}/24`, `${this.lab.gateway(6)}/64`]) {
      await this.lab.run(from, ["ip", "address", "delete", address, "dev", "e0"]);
    }
  }

  async #build(): Promise<void> {
    const { lab } = this;
    const hub = lab.names.switch;
    const cables = BOXES.map((box) =>
      `link add b${box} netns ${hub} type veth peer name b0 netns ${lab.names[box]}`
    );
    await must(["ip", "-batch", "-"], { stdin: cables.join("\n") });
    const lines = [
      "link add br1 type bridge forward_delay 0 mcast_snooping 0",
      "link set br1 up",
      ...BOXES.flatMap((box) => [`link set b${box} master br1`, `link set b${box} up`]),
    ];
    await must(["ip", "-n", hub, "-batch", "-"], { stdin: lines.join("\n") });
    for (const box of BOXES) {
      await lab.ip(box, [`address add 10.8.0.${NUMBER[box]}/24 dev b0`, "link set b0 up"]);
    }
    await must([...FAIRLEAD, "keyring", "create", `${this.directory}/keyring`, NAME]);
  }
}

/** Numbers and windows. */
const MOVES = /anti-replay|seq-hi|oseq|replay_window|^\t {1,2}[0-9a-f]{8}/;

/** The line after which the access socket is open. */
const saysBox = /^\S+ Box \S+ of /m;

/** A running box; `await using` ends it by SIGKILL. */
export class BoxProcess implements AsyncDisposable {
  /** Which namespace it is in. */
  readonly box: Box;
  readonly #daemon: Daemon;
  readonly #client: AccessClient<StandbyEvent>;

  /** For {@linkcode StandbyBoxes.start}. */
  constructor(box: Box, daemon: Daemon, client: AccessClient<StandbyEvent>) {
    this.box = box;
    this.#daemon = daemon;
    this.#client = client;
  }

  /** The process id. */
  get pid(): number {
    return this.#daemon.pid;
  }

  /** What it has logged. */
  log(): string {
    return this.#daemon.output();
  }

  /** Ms since 1970 at which a line was logged, the last one that has such a text. */
  loggedAt(text: string): number {
    const lines = this.log().split("\n").filter((line) => line.includes(text));
    const last = lines.at(-1);
    if (last === undefined) throw new Error(`Cannot find ${text} in ${this.log()}`);
    return Date.parse(last.split(" ")[0]!);
  }

  /** What it tells about itself. */
  async status(): Promise<StandbyView> {
    return (await this.#ask("status")).status as StandbyView;
  }

  /** The SAs of both boxes. */
  async diff(): Promise<SaDifference[]> {
    return (await this.#ask("diff")).sas as SaDifference[];
  }

  /** Makes it the active one; its term. */
  async promote(force = false): Promise<number> {
    return (await this.#ask("promote", { force })).term as number;
  }

  /** Makes it the standby. */
  async demote(): Promise<void> {
    await this.#ask("demote");
  }

  /** Waits until its status is as wanted. */
  async until(
    what: string,
    wanted: (view: StandbyView) => boolean,
    deadlineMs = REACH_MS,
  ): Promise<StandbyView> {
    const deadline = performance.now() + deadlineMs;
    for (;;) {
      const view = await this.status();
      if (wanted(view)) return view;
      if (performance.now() > deadline) {
        const { ipsec: _, lag: __, ...rest } = view;
        throw new Error(
          `${this.box}: not within ${deadlineMs} ms: ${what}: ${
            JSON.stringify(rest)
          }\n${this.log()}`,
        );
      }
      await delay(LOOK_MS);
    }
  }

  /** Sends a signal to it. */
  signal(signal: Deno.Signal): void {
    Deno.kill(this.pid, signal);
  }

  /** Ends it at once, or in order by another signal. */
  async stop(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    await this.#daemon.stop(signal);
    await this.#client.close();
  }

  /** Ends it at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #ask(command: string, members: object = {}): Promise<Record<string, unknown>> {
    return await this.#client.request(command, members, ANSWER_MS);
  }
}

/** Both boxes; each may be replaced by one that was started anew. */
export class Pair implements AsyncDisposable {
  readonly #boxes = new Map<Box, BoxProcess>();

  /** With those that are there. */
  constructor(boxes: readonly BoxProcess[]) {
    for (const each of boxes) this.#boxes.set(each.box, each);
  }

  /** The one in namespace `active`, whatever its role. */
  get active(): BoxProcess {
    return this.of("active");
  }

  /** The one in namespace `standby`, whatever its role. */
  get standby(): BoxProcess {
    return this.of("standby");
  }

  /** The one in a namespace. */
  of(box: Box): BoxProcess {
    return this.#boxes.get(box)!;
  }

  /** Has another one in its place, which was ended before. */
  replace(by: BoxProcess): void {
    this.#boxes.set(by.box, by);
  }

  /** Ends both at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#boxes.values()) await each[Symbol.asyncDispose]();
  }
}
