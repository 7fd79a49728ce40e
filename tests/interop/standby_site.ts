/**
 * Two gateways of a pair, their hub, which is their witness too, and whoever sends to them: each box in a
 * network namespace of its own, all on one bridge. ip-netns(8), veth(4).
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { AccessClient } from "../../src/app/access_client.ts";
import { STANDBY_DAEMON } from "../../src/app/standby/standby_message.ts";
import type { StandbyView } from "../../src/app/standby/standby_view.ts";
import { Daemon, must, run } from "./processes.ts";
import type { SenderReport } from "./standby_sender.ts";

const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
const SENDER = fileURLToPath(import.meta.resolve("./standby_sender.ts"));

/** Addresses of the hub, the boxes, and of whichever box is active (RFC 5737). */
export const HUB_ADDRESS = "192.0.2.1";
/** Where each box is. */
export const BOX_ADDRESSES = { a: "192.0.2.11", b: "192.0.2.12" } as const;
/** Where the active one is. */
export const VIRTUAL_ADDRESS = "192.0.2.100";
/** The boxes. */
export type BoxName = keyof typeof BOX_ADDRESSES;
/** Both of them. */
export const BOXES: readonly BoxName[] = ["a", "b"];
const START_MS = 20_000;
const POLL_MS = 10;
const LINES_PORT = 8710;
const HUB_PORT = 3300;
const WITNESS_PORT = 6820;
/** Where the boxes hear each other. */
export const PAIR_PORT = 6810;

/** What is not the same in all tests. */
export interface SiteChanges {
  /** The witness is a program of its own, so that the hub can be away alone. */
  readonly ownWitness?: boolean;
  /** More of a box's "standby". */
  standby?(box: BoxName): Readonly<Record<string, unknown>>;
}

/** Waits without an event to wait for: what is looked at happens in another process. */
export async function until(
  what: string,
  ready: () => boolean | Promise<boolean>,
  deadlineMs = START_MS,
): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!(await ready())) {
    if (performance.now() > deadline) {
      throw new Error(`Cannot wait until ${what}: not within ${deadlineMs} ms`);
    }
    await sleep(POLL_MS);
  }
}

/** Waits. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** All of them; `await using` removes everything. */
export class StandbySite implements AsyncDisposable {
  readonly directory: string;
  readonly #changes: SiteChanges;
  readonly #id = crypto.randomUUID().slice(0, 8);
  readonly #daemons = new Map<string, Daemon>();
  #outputs: string[] = [];
  #starts = 0;

  /** Makes the namespaces and the configurations; root is needed. */
  static async create(changes: SiteChanges = {}): Promise<StandbySite> {
    const site = new StandbySite(await Deno.makeTempDir({ prefix: "standby_" }), changes);
    try {
      await site.#makeNetwork();
      const keyring = site.path("keyring");
      await must([Deno.execPath(), "run", "-A", MAIN, "keyring", "create", keyring, "client.gw1"]);
      await site.#write("hub", site.#hubConfig());
      for (const box of BOXES) await site.#write(box, site.#boxConfig(box));
    } catch (error) {
      await site[Symbol.asyncDispose]();
      throw error;
    }
    return site;
  }

  private constructor(directory: string, changes: SiteChanges) {
    this.directory = directory;
    this.#changes = changes;
  }

  path(name: string): string {
    return `${this.directory}/${name}`;
  }

  /** Name of the namespace of the hub or a box. */
  namespace(of: "hub" | BoxName): string {
    return `fairlead-${this.#id}-${of}`;
  }

  /** The command line that runs another one in a namespace. */
  within(of: "hub" | BoxName, argv: string[]): string[] {
    return ["ip", "netns", "exec", this.namespace(of), ...argv];
  }

  /** Starts a program of the tests in a namespace. */
  start(of: "hub" | BoxName, argv: string[]): Daemon {
    return Daemon.start(this.within(of, argv), this.path(`out${this.#starts++}.txt`));
  }

  async startHub(): Promise<void> {
    const hub = this.#startProgram("hub", ["hub", "--config", this.path("hub.json")]);
    await hub.until("the hub listens", () => /Listening/.test(hub.output()), START_MS);
  }

  async startWitness(): Promise<void> {
    const files = ["--keyring", this.path("keyring"), "--state", this.path("state-witness")];
    const words = ["standby", "witness", `v2:${HUB_ADDRESS}:${WITNESS_PORT}`, ...files];
    const witness = this.#startProgram("witness", words);
    await witness.until("the witness listens", () => /v2:192/.test(witness.output()), START_MS);
  }

  /** Starts a box, or another program with its configuration. */
  startBox(box: BoxName, program?: { readonly path: string; readonly words: string[] }): void {
    const config = this.path(`${box}.json`);
    if (program === undefined) this.#startProgram(box, ["gateway", "--config", config]);
    else this.#startProgram(box, [config, ...program.words], program.path);
  }

  /** A process by its name; throws when it was not started. */
  daemon(of: "hub" | BoxName): Daemon {
    return this.#daemons.get(of)!;
  }

  /** All that the hub, or a box, has said, in all its lives. */
  said(of: "hub" | BoxName): string {
    return this.#outputs.filter((path) => path.includes(`/${of}-`))
      .map((path) => Deno.readTextFileSync(path)).join("");
  }

  /** A box's status; null while it does not answer. */
  async status(box: BoxName): Promise<StandbyView | null> {
    try {
      const client = await AccessClient.connect(STANDBY_DAEMON, this.path(`${box}.sock`));
      try {
        const { status } = await client.request("status", {}, START_MS);
        return status as StandbyView;
      } finally {
        await client.close();
      }
    } catch {
      return null;
    }
  }

  /** Asks a box for something. */
  async command(box: BoxName, command: string, members: object = {}): Promise<void> {
    const client = await AccessClient.connect(STANDBY_DAEMON, this.path(`${box}.sock`));
    try {
      await client.request(command, members, START_MS);
    } finally {
      await client.close();
    }
  }

  /** Which box is active and runs its gateway; null while none does. */
  async active(): Promise<BoxName | null> {
    for (const box of BOXES) {
      const status = await this.status(box);
      if (status?.role === "active" && status.cargo?.running === true) return box;
    }
    return null;
  }

  /** Waits until one box is active and the other could take over; the active one. */
  async untilPaired(deadlineMs = START_MS): Promise<BoxName> {
    let found: BoxName | null = null;
    let last: readonly (StandbyView | null)[] = [];
    try {
      await until("one box is active and the other ready", async () => {
        last = await Promise.all(BOXES.map((box) => this.status(box)));
        const active = last.findIndex((one) => one?.role === "active" && one.sync.synced);
        if (active < 0) return false;
        const other = last[1 - active];
        found = BOXES[active]!;
        return other?.role === "standby" && other.ready && other.term === last[active]!.term;
      }, deadlineMs);
    } catch (error) {
      const roles = last.map((one) => `${one?.role} ${one?.term} ready ${one?.ready}`).join(", ");
      const said = BOXES.map((box) => this.said(box).slice(-1500)).join("\n--\n");
      throw new Error(`${(error as Error).message}: ${roles}\n${said}`);
    }
    return found!;
  }

  /** Starts a sender of lines to the virtual address. */
  startSender(window: number, bytes = 64): Sender {
    const words = [VIRTUAL_ADDRESS, ...[LINES_PORT, window, bytes].map(String)];
    return new Sender(this.start("hub", [Deno.execPath(), "run", "-A", SENDER, ...words]));
  }

  /** Pulls a box's cable out, or puts it back. */
  async setCable(box: BoxName, plugged: boolean): Promise<void> {
    const state = plugged ? "up" : "down";
    await must(["ip", "-n", this.namespace("hub"), "link", "set", `port-${box}`, state]);
  }

  /** Numbers of the lines in the hub's file. */
  async numbers(): Promise<number[]> {
    const text = await Deno.readTextFile(this.path("out.log"));
    return text.split("\n").slice(0, -1).map((line) => parseInt(line, 10));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const daemon of this.#daemons.values()) await daemon.stop();
    for (const of of ["hub", ...BOXES] as const) {
      await run(["ip", "netns", "delete", this.namespace(of)]);
    }
    if (Deno.env.get("FAIRLEAD_KEEP") === undefined) {
      await Deno.remove(this.directory, { recursive: true });
    }
  }

  #startProgram(
    of: "hub" | "witness" | BoxName,
    words: readonly string[],
    program: string = MAIN,
  ): Daemon {
    const path = this.path(`${of}-${this.#starts++}.txt`);
    const place = of === "witness" ? "hub" : of;
    const argv = this.within(place, [Deno.execPath(), "run", "-A", program, ...words]);
    const daemon = Daemon.start(argv, path);
    this.#outputs.push(path);
    this.#daemons.set(of, daemon);
    return daemon;
  }

  async #makeNetwork(): Promise<void> {
    const hub = this.namespace("hub");
    await must(["ip", "netns", "add", hub]);
    const ip = (...words: string[]): Promise<string> => must(["ip", "-n", hub, ...words]);
    await ip("link", "set", "lo", "up");
    await ip("link", "add", "bridge0", "type", "bridge");
    await ip("address", "add", `${HUB_ADDRESS}/24`, "dev", "bridge0");
    await ip("link", "set", "bridge0", "up");
    for (const box of BOXES) {
      const name = this.namespace(box);
      await must(["ip", "netns", "add", name]);
      const far = ["peer", "name", "cable0", "netns", name];
      await ip("link", "add", `port-${box}`, "type", "veth", ...far);
      await ip("link", "set", `port-${box}`, "master", "bridge0", "up");
      const inBox = (...words: string[]): Promise<string> => must(["ip", "-n", name, ...words]);
      await inBox("link", "set", "lo", "up");
      await inBox("address", "add", `${BOX_ADDRESSES[box]}/24`, "dev", "cable0");
      await inBox("link", "set", "cable0", "up");
    }
  }

  async #write(name: string, config: unknown): Promise<void> {
    await Deno.writeTextFile(this.path(`${name}.json`), JSON.stringify(config));
  }

  #boxConfig(box: BoxName): unknown {
    const other = box === "a" ? "b" : "a";
    return {
      name: "client.gw1",
      state: this.path(`state-${box}`),
      auth: { keyring: this.path("keyring") },
      inputs: {
        lines: {
          type: "lines",
          listen: `0.0.0.0:${LINES_PORT}`,
          protocols: ["tcp"],
          acknowledge: true,
        },
      },
      hubs: { hq: { addresses: [`v2:${HUB_ADDRESS}:${HUB_PORT}`] } },
      transport: "tcp",
      status: false,
      standby: {
        role: "auto",
        box,
        preferred: box === "a",
        listen: `v2:${BOX_ADDRESSES[box]}:${PAIR_PORT}`,
        peer: `v2:${BOX_ADDRESSES[other]}:${PAIR_PORT}`,
        witness: `v2:${HUB_ADDRESS}:${WITNESS_PORT}`,
        heartbeatMs: 50,
        deadMs: 200,
        leaseMs: 400,
        associations: false,
        addresses: [{ interface: "cable0", address: `${VIRTUAL_ADDRESS}/24` }],
        socket: this.path(`${box}.sock`),
        ...this.#changes.standby?.(box),
      },
    };
  }

  #hubConfig(): unknown {
    return {
      listen: `v2:${HUB_ADDRESS}:${HUB_PORT}`,
      state: this.path("state-hub"),
      auth: { keyring: this.path("keyring") },
      outputs: { all: { type: "file", path: this.path("out.log"), format: "raw" } },
      witness: this.#changes.ownWitness === true
        ? false
        : { listen: `v2:${HUB_ADDRESS}:${WITNESS_PORT}` },
      status: false,
    };
  }
}

/** A sender that runs. */
export class Sender {
  readonly #daemon: Daemon;

  constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  /** Lines acknowledged so far. */
  get count(): number {
    return Number(/(\d+)\n$/.exec(this.#daemon.output())?.[1] ?? 0);
  }

  /** Waits until so many more are acknowledged. */
  async more(count: number, deadlineMs = START_MS): Promise<void> {
    const wanted = this.count + count;
    await this.#daemon.until(
      `${count} more lines are acknowledged`,
      () => this.count >= wanted,
      deadlineMs,
    );
  }

  /** Ends it; what it has seen. */
  async stop(): Promise<SenderReport> {
    await this.#daemon.stop("SIGTERM");
    return JSON.parse(this.#daemon.output().trimEnd().split("\n").at(-1)!);
  }
}

/** The other one. */
export function otherOf(box: BoxName): BoxName {
  return box === "a" ? "b" : "a";
}

/** Every acknowledged line is there, none is there twice, and they are in order. */
export async function checkLines(
  site: StandbySite,
  { acknowledged, sent }: SenderReport,
): Promise<void> {
  const numbers = await site.numbers();
  const seen = new Set(numbers);
  assert.equal(numbers.length, seen.size, `${numbers.length - seen.size} came twice`);
  assert.ok(numbers.every((number, at) => at === 0 || numbers[at - 1]! < number), "out of order");
  assert.ok(numbers.every((number) => number < sent));
  const lost = lostOf(acknowledged, seen);
  assert.deepEqual(lost.slice(0, 10), [], `${lost.length} acknowledged ones are lost`);
}

/** Acknowledged numbers that are not there. */
export function lostOf(acknowledged: SenderReport["acknowledged"], seen: Set<number>): number[] {
  const lost: number[] = [];
  for (const [from, to] of acknowledged) {
    for (let number = from; number < to; number++) if (!seen.has(number)) lost.push(number);
  }
  return lost;
}

/** Waits until a box is active and runs its gateway. */
export async function untilActive(site: StandbySite, box: BoxName): Promise<void> {
  await until(`box ${box} is active`, async () => {
    const status = await site.status(box);
    return status?.role === "active" && status.cargo?.running === true;
  });
}

/** Waits until the hub has all that the box has. */
export async function untilDrained(site: StandbySite, box: BoxName): Promise<void> {
  await until("the spool is empty", async () => {
    return (await site.status(box))?.cargo?.spoolMessages === 0;
  });
}

/** The least, the most and the median. */
export function figures(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b).map(Math.round);
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
  return `${sorted[0]} to ${sorted.at(-1)} ms, median ${at(0.5)} ms`;
}

/** Says what was measured. */
export async function say(text: string): Promise<void> {
  await Deno.stderr.write(new TextEncoder().encode(`${text}\n`));
}
