/**
 * The two ways a message goes here, each a box and a far end that writes a file: fairlead's gateway
 * and hub, and two mosquitto brokers with a bridge and mosquitto_sub. Both ends can be killed and
 * started again. mosquitto.conf(5), mosquitto_sub(1).
 *
 * @module
 */
import type { NamespacePair } from "../../tests/interop/netns.ts";
import { Daemon, freePort, listens } from "../../tests/interop/processes.ts";
import type { Target } from "./gateway_clients.ts";
import type { Client } from "./gateway_load.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;
const START_DEADLINE_MS = 30_000;

/** Where the two ends stand. */
export interface Ground {
  /** The address that the box reaches the far end by. */
  farAddress: string;
  /** The command line that runs another one beside the box, or at the far end. */
  near(argv: string[]): string[];
  far(argv: string[]): string[];
}

/** Both on this machine's loopback. */
export const LOOPBACK: Ground = {
  farAddress: "127.0.0.1",
  near: (argv) => argv,
  far: (argv) => argv,
};

/** Each in a network namespace. */
export function groundOf(pair: NamespacePair): Ground {
  return {
    farAddress: pair.farAddress,
    near: (argv) => pair.within(pair.near, argv),
    far: (argv) => pair.within(pair.far, argv),
  };
}

/** A box and its far end. */
export interface Pair extends AsyncDisposable {
  readonly name: string;
  /** How it is configured, as far as it matters to what is kept, in one line. */
  readonly settings: string;
  /** Where the box listens, on its loopback. */
  readonly ports: Partial<Record<Client, number>>;
  /** The file at the far end, one message per line. */
  readonly farPath: string;
  /** The box, and all processes of the far end. */
  readonly near: Daemon;
  readonly far: readonly Daemon[];
  startNear(): Promise<void>;
  /** Kills what takes messages at the far end, and starts it again at once. */
  restartFar(): Promise<void>;
  /** Kills the box, and starts it again at once. */
  restartNear(): Promise<void>;
}

// ---- ours

/** A gateway's configuration as it is written; the bench adds to it. */
export interface GatewayFile {
  name: string;
  state: string;
  inputs: Record<string, Record<string, unknown>>;
  hubs: Record<string, { addresses: string[] }>;
  status: { listen: string };
}

/** Everything on disk before it is acknowledged, no keys: as mosquitto has it here. */
export function gatewayFile(
  directory: string,
  ports: Record<Client | "status", number>,
  hub: string,
): GatewayFile {
  const at = (port: number): string => `127.0.0.1:${port}`;
  return {
    name: "client.box",
    state: `${directory}/gateway`,
    inputs: {
      http: { type: "http", listen: at(ports.http) },
      lines: { type: "lines", listen: at(ports.lines), protocols: ["tcp"], acknowledge: true },
      mqtt: { type: "mqtt", listen: at(ports.mqtt) },
    },
    hubs: { far: { addresses: [`v2:${hub}`] } },
    status: { listen: at(ports.status) },
  };
}

/** A hub's configuration as it is written. */
export interface HubFile {
  state: string;
  listen: string;
  auth: { method: string };
  outputs: Record<string, Record<string, unknown>>;
  status: { listen: string };
}

/** One output: the file, with payloads as they came. */
export function hubFile(directory: string, listen: string, statusPort: number): HubFile {
  return {
    state: `${directory}/hub`,
    listen: `v2:${listen}`,
    auth: { method: "none" },
    outputs: {
      far: { type: "file", path: `${directory}/far.log`, format: "raw", rotateBytes: 0 },
    },
    status: { listen: `127.0.0.1:${statusPort}` },
  };
}

/** A gateway and a hub. */
export class FairleadPair implements Pair {
  readonly name = "Fairlead";
  readonly settings = "spool on disk, inputs wait when it is full, one file output, no keys";
  readonly ports: Record<Client | "status" | "hubStatus", number>;
  readonly farPath: string;
  readonly #directory: string;
  readonly #ground: Ground;
  readonly #hubPort = freePort();
  readonly #starts = { gateway: 0, hub: 0 };
  #gateway: Daemon | null = null;
  #hub: Daemon | null = null;

  private constructor(directory: string, ground: Ground) {
    this.#directory = directory;
    this.#ground = ground;
    this.farPath = `${directory}/far.log`;
    this.ports = {
      http: freePort(),
      lines: freePort(),
      mqtt: freePort(),
      status: freePort(),
      hubStatus: freePort(),
    };
  }

  /**
   * Starts both in an empty directory.
   *
   * @param change what both are configured with, when it is to be more
   */
  static async start(
    directory: string,
    ground: Ground,
    change: (gateway: GatewayFile, hub: HubFile) => void = () => {},
  ): Promise<FairleadPair> {
    const pair = new FairleadPair(directory, ground);
    const far = `${ground.farAddress}:${pair.#hubPort}`;
    const gateway = gatewayFile(directory, pair.ports, far);
    const hub = hubFile(directory, far, pair.ports.hubStatus);
    change(gateway, hub);
    await Deno.writeTextFile(`${directory}/gateway.json`, JSON.stringify(gateway));
    await Deno.writeTextFile(`${directory}/hub.json`, JSON.stringify(hub));
    return await started(pair, () => pair.#startHub());
  }

  get near(): Daemon {
    return this.#gateway!;
  }

  get far(): readonly Daemon[] {
    return [this.#hub!];
  }

  async startNear(): Promise<void> {
    const argv = this.#ground.near(this.#argv("gateway"));
    this.#gateway = Daemon.start(argv, this.#outputPath("gateway"));
    await untilListens(this.#gateway, "the gateway", this.ports.mqtt);
  }

  async restartNear(): Promise<void> {
    await this.near.stop("SIGKILL");
    await this.startNear();
  }

  async restartFar(): Promise<void> {
    await this.#hub!.stop("SIGKILL");
    await this.#startHub();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#gateway?.stop();
    await this.#hub?.stop();
  }

  async #startHub(): Promise<void> {
    this.#hub = Daemon.start(this.#ground.far(this.#argv("hub")), this.#outputPath("hub"));
    await untilListens(this.#hub, "the hub", this.#hubPort);
  }

  #argv(role: "gateway" | "hub"): string[] {
    const config = `${this.#directory}/${role}.json`;
    return [Deno.execPath(), "run", "-A", MAIN, role, "--config", config];
  }

  /** What each process said is kept. */
  #outputPath(role: "gateway" | "hub"): string {
    return `${this.#directory}/${role}.${this.#starts[role]++}.out`;
  }
}

// ---- mosquitto

/** When mosquitto writes what it holds to its disk: all of it each time. */
export type Saving = "each second" | "on each change";

const SAVING: Record<Saving, string[]> = {
  "each second": ["autosave_interval 1", "autosave_on_changes false"],
  "on each change": ["autosave_interval 1", "autosave_on_changes true"],
};

/** What makes a broker keep as much as mosquitto can. */
function keeping(saving: Saving): string[] {
  return [
    "persistence true",
    ...SAVING[saving],
    "queue_qos0_messages false",
    "max_queued_messages 0",
    "max_inflight_messages 1000", // of 20 (the default), 1000 and 0 the fastest that kept the order
  ];
}

const BRIDGE: readonly string[] = [
  "topic # out 1",
  "cleansession false",
  "restart_timeout 1",
  "keepalive_interval 5",
];

/** The configuration of a broker, and of its bridge when it has one. */
export function mosquittoConf(
  directory: string,
  listen: { address: string; port: number },
  saving: Saving,
  bridge: { address: string; port: number } | null,
): string {
  return [
    `listener ${listen.port} ${listen.address}`,
    "allow_anonymous true",
    "user root", // not that of the package, whose directory this is not
    `persistence_location ${directory}/`,
    ...keeping(saving),
    "set_tcp_nodelay true",
    ...(bridge === null ? [] : [
      "connection bridge",
      `address ${bridge.address}:${bridge.port}`,
      ...BRIDGE,
      "notifications false",
    ]),
    "",
  ].join("\n");
}

/** Two brokers with a bridge between them, and mosquitto_sub, which lives on when its broker ends. */
export class MosquittoPair implements Pair {
  readonly name: string;
  readonly settings: string;
  readonly ports: { mqtt: number };
  readonly farPath: string;
  readonly #directory: string;
  readonly #ground: Ground;
  readonly #farPort = freePort();
  #starts = 0;
  #box: Daemon | null = null;
  #broker: Daemon | null = null;
  #subscriber: Daemon | null = null;

  private constructor(directory: string, ground: Ground, saving: Saving) {
    this.name = `mosquitto saving ${saving}`;
    this.settings = [...keeping(saving), ...BRIDGE].join(", ");
    this.#directory = directory;
    this.#ground = ground;
    this.farPath = `${directory}/far.log`;
    this.ports = { mqtt: freePort() };
  }

  /** Starts all three in an empty directory. */
  static async start(directory: string, ground: Ground, saving: Saving): Promise<MosquittoPair> {
    const pair = new MosquittoPair(directory, ground, saving);
    const far = { address: ground.farAddress, port: pair.#farPort };
    const near = { address: "127.0.0.1", port: pair.ports.mqtt };
    for (const [role, at, to] of [["near", near, far], ["far", far, null]] as const) {
      await Deno.mkdir(`${directory}/${role}`);
      const conf = mosquittoConf(`${directory}/${role}`, at, saving, to);
      await Deno.writeTextFile(`${directory}/${role}.conf`, conf);
    }
    return await started(pair, async () => {
      await pair.#startBroker();
      await pair.#startSubscriber();
    });
  }

  get near(): Daemon {
    return this.#box!;
  }

  get far(): readonly Daemon[] {
    return [this.#broker!, this.#subscriber!];
  }

  async startNear(): Promise<void> {
    const argv = this.#ground.near(["mosquitto", "-c", `${this.#directory}/near.conf`]);
    this.#box = Daemon.start(argv, `${this.#directory}/near.${this.#starts++}.out`);
    await untilListens(this.#box, "mosquitto at the box", this.ports.mqtt);
  }

  async restartNear(): Promise<void> {
    await this.near.stop("SIGKILL");
    await this.startNear();
  }

  async restartFar(): Promise<void> {
    await this.#broker!.stop("SIGKILL");
    await this.#startBroker();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#box?.stop();
    await this.#subscriber?.stop();
    await this.#broker?.stop();
  }

  async #startBroker(): Promise<void> {
    const argv = this.#ground.far(["mosquitto", "-c", `${this.#directory}/far.conf`]);
    this.#broker = Daemon.start(argv, `${this.#directory}/far.${this.#starts++}.out`);
    await untilListens(this.#broker, "mosquitto at the far end", this.#farPort);
  }

  /** Its session is kept, like the bridge's; its file is what it prints. */
  async #startSubscriber(): Promise<void> {
    const argv = this.#ground.far([
      ...["mosquitto_sub", "-h", this.#ground.farAddress, "-p", `${this.#farPort}`],
      ...["-t", "#", "-q", "1", "-c", "-i", "archive", "-k", "5"],
    ]);
    const printing = ["sh", "-c", 'exec "$@" >"$0" 2>/dev/null', this.farPath, ...argv];
    this.#subscriber = Daemon.start(printing, `${this.#directory}/subscriber.out`);
    const subscribed = (): boolean => this.#broker!.output().includes("archive");
    await this.#subscriber.until("mosquitto_sub is connected", subscribed, START_DEADLINE_MS);
  }
}

// ---- both

async function started<P extends Pair>(pair: P, startFar: () => Promise<void>): Promise<P> {
  try {
    await startFar();
    await pair.startNear();
    return pair;
  } catch (error) {
    await pair[Symbol.asyncDispose]();
    throw error;
  }
}

async function untilListens(daemon: Daemon, what: string, port: number): Promise<void> {
  const ready = (): boolean => listens(daemon.pid, port);
  await daemon.until(`${what} listens`, ready, START_DEADLINE_MS);
}

/** Where a client finds the box. */
export function targetOf(pair: Pair, client: Client): Target {
  return { hostname: "127.0.0.1", port: pair.ports[client]! };
}
