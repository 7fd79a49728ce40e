/**
 * The gateway box from end to end, with real processes: whatever is killed, cut or filled up, each
 * message that was durable arrives in the hub's file once, in order.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { ignoreWithoutNamespaces, NamespacePair } from "./netns.ts";
import { Daemon, must } from "./processes.ts";
import type { Durable, LoadReport } from "./gateway_load.ts";

const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
const LOAD = fileURLToPath(import.meta.resolve("./gateway_load.ts"));
const HUB_PORT = 3300;
const HTTP_PORT = 8712;
const TCP_PORT = 8710;
const STATUS_PORT = 8711;
const DISK_MIB = 48;
/** Of each of three sources. */
const PER_SECOND = 1000;
const GATEWAY_KILLS = 20;
const HUB_KILLS = 4;
const CABLE_OUT_S = 60;
const START_MS = 20_000;
const DRAIN_MS = 120_000;

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A pair of boxes in namespaces of their own, and the load on one of them. */
class Site implements AsyncDisposable {
  readonly pair: NamespacePair;
  readonly directory: string;
  gateway: Daemon | null = null;
  hub: Daemon | null = null;
  #load: Deno.ChildProcess | null = null;
  #starts = 0;

  private constructor(pair: NamespacePair, directory: string) {
    this.pair = pair;
    this.directory = directory;
  }

  static async create(): Promise<Site> {
    const site = new Site(await NamespacePair.create(), await Deno.makeTempDir());
    const disk = site.disk;
    await Deno.mkdir(disk);
    await must(["mount", "-t", "tmpfs", "-o", `size=${DISK_MIB}m`, "tmpfs", disk]);
    await Deno.writeTextFile(site.path("gateway.json"), JSON.stringify(site.#gatewayConfig()));
    await Deno.writeTextFile(site.path("hub.json"), JSON.stringify(site.#hubConfig()));
    return site;
  }

  /** The small disk of the gateway. */
  get disk(): string {
    return this.path("disk");
  }

  path(name: string): string {
    return `${this.directory}/${name}`;
  }

  async startGateway(): Promise<void> {
    this.gateway = this.#start(this.pair.near, "gateway");
    await this.gateway.until("the gateway runs", () => this.gatewayStatus(), START_MS);
  }

  async startHub(): Promise<void> {
    this.hub = this.#start(this.pair.far, "hub");
    await this.hub.until("the hub listens", () => /Listening/.test(this.hub!.output()), START_MS);
  }

  async startLoad(): Promise<void> {
    const words = [HTTP_PORT, TCP_PORT, this.path("grows.log"), PER_SECOND].map(String);
    const argv = this.pair.within(this.pair.near, [Deno.execPath(), "run", "-A", LOAD, ...words]);
    this.#load = new Deno.Command(argv[0]!, {
      args: argv.slice(1),
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    await sleep(500);
  }

  async endLoad(): Promise<LoadReport> {
    const load = this.#load!;
    await load.stdin.close();
    const { stdout } = await load.output();
    this.#load = null;
    return JSON.parse(new TextDecoder().decode(stdout));
  }

  /** True when the gateway answers; `text` of its status otherwise asked for. */
  async gatewayStatus(): Promise<boolean> {
    return (await this.status()) !== null;
  }

  /** The gateway's status, null while it does not answer. */
  // deno-lint-ignore no-explicit-any -- a report of another process, looked into here and there
  async status(): Promise<any> {
    const url = `http://127.0.0.1:${STATUS_PORT}/api/status`;
    const script = `console.log(await (await fetch("${url}")).text())`;
    const { code, stdout } = await this.pair.run(
      this.pair.near,
      [Deno.execPath(), "eval", script],
      { deadlineMs: START_MS },
    );
    return code === 0 ? JSON.parse(stdout) : null;
  }

  /** Whatever the hub wrote, the older file first. */
  async lines(): Promise<string[]> {
    const names = [...Deno.readDirSync(this.directory)].map(({ name }) => name)
      .filter((name) => name.startsWith("out.log"));
    const age = (name: string): number => Number(name.split(".")[2] ?? 0);
    names.sort((a, b) => age(b) - age(a));
    const texts = await Promise.all(names.map((name) => Deno.readTextFile(this.path(name))));
    return texts.join("").split("\n").slice(0, -1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway?.stop();
    await this.hub?.stop();
    this.#load?.kill("SIGKILL");
    await this.#load?.output();
    await this.pair.remove();
    await must(["umount", this.disk]);
    await Deno.remove(this.directory, { recursive: true });
  }

  #start(namespace: string, command: string): Daemon {
    const words = [command, "--config", this.path(`${command}.json`)];
    const argv = this.pair.within(namespace, [Deno.execPath(), "run", "-A", MAIN, ...words]);
    return Daemon.start(argv, this.path(`${command}${this.#starts++}.out`));
  }

  #gatewayConfig(): unknown {
    return {
      name: "client.gw1",
      state: `${this.disk}/state`,
      inputs: {
        http: { type: "http", listen: `127.0.0.1:${HTTP_PORT}` },
        tcp: {
          type: "lines",
          listen: `127.0.0.1:${TCP_PORT}`,
          protocols: ["tcp"],
          acknowledge: true,
        },
        file: { type: "file", path: this.path("grows.log"), from: "start" },
      },
      hubs: { hq: { addresses: [`v2:${this.pair.farAddress}:${HUB_PORT}`] } },
      status: { listen: `127.0.0.1:${STATUS_PORT}` },
    };
  }

  #hubConfig(): unknown {
    return {
      listen: `v2:${this.pair.farAddress}:${HUB_PORT}`,
      state: this.path("hub"),
      auth: { method: "none" },
      outputs: {
        all: {
          type: "file",
          path: this.path("out.log"),
          format: "raw",
          rotateBytes: 10_000_000,
          keep: 100,
        },
      },
      status: false,
    };
  }
}

/** Checks one source: durable ones are there, none is there twice, and they are in order. */
function checkSource(name: string, numbers: readonly number[], { sent, durable }: Durable): void {
  const seen = new Set(numbers);
  assert.equal(numbers.length, seen.size, `${name}: ${numbers.length - seen.size} came twice`);
  const sorted = numbers.every((number, at) => at === 0 || numbers[at - 1]! < number);
  assert.ok(sorted, `${name}: out of order`);
  const lost: number[] = [];
  let count = 0;
  for (const [from, to] of durable) {
    for (let number = from; number < to; number++) {
      count++;
      if (!seen.has(number)) lost.push(number);
    }
  }
  assert.deepEqual(lost.slice(0, 10), [], `${name}: ${lost.length} of ${count} durable are lost`);
  assert.ok(count > 0.2 * sent, `${name}: only ${count} of ${sent} became durable`);
}

Deno.test({
  name: "three inputs at load through kill -9, a restarted hub, a cut cable and a full disk: " +
    "every durable message arrives once, in order",
  ignore: await ignoreWithoutNamespaces(),
  fn: async () => {
    await using site = await Site.create();
    await site.startHub();
    await site.startGateway();
    await site.startLoad();
    let seed = 20261121;
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed % below;
    };
    for (let kill = 0; kill < GATEWAY_KILLS; kill++) {
      await sleep(100 + random(1200));
      await site.gateway!.stop("SIGKILL");
      if (kill % (GATEWAY_KILLS / HUB_KILLS) === 2) {
        await site.hub!.stop("SIGKILL");
        await site.startHub();
      }
      await site.startGateway();
    }
    await site.pair.setCable(false);
    await sleep(CABLE_OUT_S * 1000 / 3);
    const ballast = `${site.disk}/ballast`;
    await fillUp(ballast);
    await sleep(CABLE_OUT_S * 1000 / 3);
    const full = await site.status();
    assert.equal(full.spool.state, "failed", "a full disk is told");
    assert.match(JSON.stringify(full.alarms), /spool_fails.*free some space/);
    await site.gateway!.stop("SIGKILL"); // with the disk full
    await site.startGateway();
    await Deno.remove(ballast);
    await sleep(CABLE_OUT_S * 1000 / 3);
    await site.pair.setCable(true);
    await sleep(3000);
    const report = await site.endLoad();
    await site.gateway!.until("the spool is empty", async () => {
      const status = await site.status();
      return status?.spool.messages === 0 && status.upstreams[0].waiting === 0 &&
        status.inputs.every(({ waiting }: { waiting: number }) => waiting === 0);
    }, DRAIN_MS);
    await sleep(3000); // the end of the file
    await site.gateway!.stop("SIGTERM");
    await site.hub!.stop("SIGTERM");
    const numbers = new Map<string, number[]>([["http", []], ["tcp", []], ["file", []]]);
    for (const line of await site.lines()) {
      const [source, number] = line.split(" ", 2);
      numbers.get(source!)!.push(Number(number));
    }
    for (const source of ["http", "tcp", "file"] as const) {
      checkSource(source, numbers.get(source)!, report[source]);
    }
  },
});

/** Writes until the disk is full. */
async function fillUp(path: string): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true });
  const block = new Uint8Array(65_536);
  try {
    for (;;) if (await file.write(block) < block.length) await file.write(block);
  } catch {
    // no space left
  }
}
