/**
 * A gateway with two uplinks and a hub: its session is one MPTCP connection over both, and outlives the
 * loss of either without a reconnect. With real links, processes and kernel.
 */
import assert from "node:assert/strict";
import { ignoreWithoutLab, MptcpLab } from "./mptcp_lab.ts";
import { until } from "./mptcp_traffic_pair.ts";
import { fairlead } from "./paths_program.ts";
import { Daemon } from "./processes.ts";

const ignore = await ignoreWithoutLab();
const START_MS = 20_000;
const LINES = 400;
const LINE_MS = 10;

interface Status {
  readonly sessions: {
    readonly state: string;
    readonly reconnects: number;
    readonly transport: string;
    readonly connection: string;
    readonly paths?: { readonly link: string; readonly state: string; readonly backup: boolean }[];
  }[];
  readonly paths?: { readonly name: string; readonly state: string }[];
  readonly alarms: { readonly code: string }[];
}

/** A gateway on the near host and a hub on the far one; `await using` ends both. */
class Boxes implements AsyncDisposable {
  readonly #lab: MptcpLab;
  readonly #directory: string;
  readonly gateway: Daemon;
  readonly #hub: Daemon;

  private constructor(lab: MptcpLab, directory: string, gateway: Daemon, hub: Daemon) {
    this.#lab = lab;
    this.#directory = directory;
    this.gateway = gateway;
    this.#hub = hub;
  }

  static async start(lab: MptcpLab, more: object): Promise<Boxes> {
    const directory = Deno.makeTempDirSync({ prefix: "fairlead-uplinks-" });
    const archive = { type: "file", path: `${directory}/archive`, format: "raw" };
    Deno.writeTextFileSync(
      `${directory}/hub.jsonc`,
      JSON.stringify({
        listen: "v2:0.0.0.0:3300",
        state: `${directory}/hub`,
        auth: { method: "none" },
        outputs: { archive },
        status: false,
      }),
    );
    Deno.writeTextFileSync(
      `${directory}/gateway.jsonc`,
      JSON.stringify({
        name: "client.gw1",
        state: `${directory}/gateway`,
        auth: { method: "none" },
        inputs: { lines: { type: "lines", listen: "127.0.0.1:8710", acknowledge: true } },
        hubs: { hq: { addresses: [`v2:${lab.address("far", 1)}:3300`] } },
        ...more,
      }),
    );
    const start = (side: "near" | "far", name: string): Daemon =>
      Daemon.start(
        lab.within(side, fairlead(name, "-c", `${directory}/${name}.jsonc`)),
        `${directory}/${name}.log`,
      );
    const hub = start("far", "hub");
    await hub.until("listens", () => hub.output().includes("v2:0.0.0.0:3300"), START_MS);
    const gateway = start("near", "gateway");
    for (const words of ["Session with hub hq stands", "Stop: Ctrl-C"]) {
      await gateway.until(words, () => gateway.output().includes(words), START_MS);
    }
    return new Boxes(lab, directory, gateway, hub);
  }

  /** What the gateway's status listener says. */
  async status(): Promise<Status> {
    const words = fairlead("top", "--once", "--json");
    return JSON.parse(await this.#lab.must("near", words));
  }

  /** Sends lines one by one, each when the one before is on disk; returns when all are. */
  send(): Daemon {
    const script = `
      const conn = await Deno.connect({ hostname: "127.0.0.1", port: 8710 });
      const bytes = new Uint8Array(4096);
      for (let line = 0; line < ${LINES}; line++) {
        await conn.write(new TextEncoder().encode("line " + line + "\\n"));
        if (await conn.read(bytes) === null) throw new Error("closed");
        await new Promise((resolve) => setTimeout(resolve, ${LINE_MS}));
      }
      conn.close();`;
    Deno.writeTextFileSync(`${this.#directory}/send.ts`, script);
    const argv = [Deno.execPath(), "run", "-A", `${this.#directory}/send.ts`];
    return Daemon.start(this.#lab.within("near", argv), `${this.#directory}/send.log`);
  }

  /** What the hub has put into its file. */
  archive(): string[] {
    try {
      return Deno.readTextFileSync(`${this.#directory}/archive`).split("\n").slice(0, -1);
    } catch {
      return [];
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway.stop("SIGINT");
    await this.#hub.stop("SIGINT");
    await Deno.remove(this.#directory, { recursive: true });
  }
}

Deno.test("a gateway's session outlives the loss of either uplink without a reconnect", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using boxes = await Boxes.start(lab, {
    paths: { setPmType: true, socket: false, upDelayMs: 300 },
  });
  const upLinks = async (): Promise<string[]> => {
    const [session] = (await boxes.status()).sessions;
    return (session!.paths ?? []).filter(({ state }) => state === "established")
      .map(({ link }) => link).sort();
  };
  await until("both links", async () => (await upLinks()).join() === "e1,e2");
  const before = await boxes.status();
  assert.equal(before.sessions[0]!.transport, "mptcp");
  assert.deepEqual(before.paths!.map(({ name, state }) => `${name} ${state}`), ["e1 up", "e2 up"]);
  await using sender = boxes.send();
  for (const link of [1, 2]) {
    await lab.setCarrier("near", link, false);
    await until("the other link", async () => (await upLinks()).join() === `e${3 - link}`);
    await lab.setCarrier("near", link, true);
    await until("both links", async () => (await upLinks()).join() === "e1,e2");
  }
  assert.equal(await sender.exited, 0, sender.output());
  await until("all lines", () => Promise.resolve(boxes.archive().length >= LINES));
  assert.deepEqual(boxes.archive(), Array.from({ length: LINES }, (_, line) => `line ${line}`));
  const [session] = (await boxes.status()).sessions;
  assert.equal(session!.reconnects, 0);
  assert.equal(session!.connection, before.sessions[0]!.connection); // the very same
});

Deno.test("without the right to manage paths a gateway says so, and carries on over one", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using boxes = await Boxes.start(lab, { paths: { socket: false } }); // pm_type is 0
  const { alarms, paths, sessions } = await boxes.status();
  assert.deepEqual(alarms.map(({ code }) => code), ["paths_off"]);
  assert.equal(paths, undefined);
  assert.equal(sessions[0]!.transport, "mptcp");
  assert.match(boxes.gateway.output(), /one path only.*net\.mptcp\.pm_type must be 1/);
});

Deno.test("a gateway on a kernel without MPTCP uses TCP, and says so", { ignore }, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  await lab.must("near", ["sysctl", "-qw", "net.mptcp.enabled=0"]);
  await using boxes = await Boxes.start(lab, {});
  assert.equal((await boxes.status()).sessions[0]!.transport, "tcp");
  assert.match(boxes.gateway.output(), /Sessions use TCP, with one path only, as this kernel/);
});
