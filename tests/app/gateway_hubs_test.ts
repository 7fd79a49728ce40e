/**
 * Gateways and hubs as processes: routes, fan-out, failover, forwarding, reload, and spools that are
 * refused.
 */
import assert from "node:assert/strict";
import { CuttingRelay, Fairlead, group } from "./fairlead.ts";

const LISTENING = /Listening on (\S+) /;
const STATUS = /Status: (\S+)$/;

/** A temporary directory with configurations and what runs from them. */
class Place implements AsyncDisposable {
  readonly directory = Deno.makeTempDirSync();
  readonly #running: Fairlead[] = [];

  path(name: string): string {
    return `${this.directory}/${name}`;
  }

  write(name: string, config: unknown): string {
    Deno.writeTextFileSync(this.path(name), JSON.stringify(config));
    return this.path(name);
  }

  start(command: string, config: unknown, ...words: string[]): Fairlead {
    const file = this.write(`${command}${this.#running.length}.json`, config);
    const started = Fairlead.start(command, "--config", file, ...words);
    this.#running.push(started);
    return started;
  }

  /** A hub with a file of its own: where it listens, and the file. */
  async hub(name: string, more: Record<string, unknown> = {}, address = "v2:127.0.0.1:0"): Promise<{
    hub: Fairlead;
    address: string;
    file: string;
  }> {
    const file = this.path(`${name}.out`);
    const hub = this.start("hub", {
      listen: address,
      state: this.path(`${name}.state`),
      outputs: { all: { type: "file", path: file, format: "raw", ...more } },
      status: false,
    });
    return { hub, address: group(await hub.err.line(LISTENING), LISTENING), file };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#running) await one[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** The gateway part that most of these have in common. */
function box(place: Place, hubs: Record<string, string[]>, more: object = {}): object {
  return {
    name: "client.gw1",
    state: place.path("gw1.state"),
    inputs: { http: { type: "http", listen: "127.0.0.1:0" } },
    hubs: Object.fromEntries(
      Object.entries(hubs).map(([name, addresses]) => [name, { addresses }]),
    ),
    status: { listen: "127.0.0.1:0" },
    ...more,
  };
}

const HTTP = /http \((127\.0\.0\.1:\d+)\)/;

async function started(gateway: Fairlead): Promise<{ http: string; status: string }> {
  const http = group(await gateway.err.line(HTTP), HTTP);
  return { http, status: group(await gateway.err.line(STATUS), STATUS) };
}

async function post(http: string, topic: string, lines: readonly string[]): Promise<void> {
  const response = await fetch(`http://${http}/${topic}`, {
    method: "POST",
    headers: { "content-type": "text/plain" },
    body: lines.join("\n"),
  });
  assert.equal(response.status, 202, await response.text());
}

async function until(what: string, ready: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!await ready()) {
    assert.ok(performance.now() < deadline, `Never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

function linesOf(file: string): string[] {
  try {
    return Deno.readTextFileSync(file).split("\n").slice(0, -1);
  } catch {
    return [];
  }
}

function range(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, at) => `line ${from + at}`);
}

// deno-lint-ignore no-explicit-any -- a report of another process, looked into here and there
async function report(status: string): Promise<any> {
  return await (await fetch(`${status}api/status`)).json();
}

Deno.test("routes: fan-out to two hubs, one topic to one of them, an unmatched one to none", async () => {
  await using place = new Place();
  const [east, west] = [await place.hub("east"), await place.hub("west")];
  const gateway = place.start(
    "gateway",
    box(place, { east: [east.address], west: [west.address] }, {
      routes: [
        { topic: "both/#", to: ["east", "west"] },
        { topic: "east/+", to: ["east"], priority: "low", messagesPerSecond: 100_000 },
      ],
    }),
  );
  const { http, status } = await started(gateway);
  await post(http, "both/a/b", range(0, 100));
  await post(http, "east/x", range(100, 200));
  await post(http, "nowhere", ["lost on purpose"]);
  await until(
    "everything is there",
    () => linesOf(east.file).length === 200 && linesOf(west.file).length === 100,
  );
  assert.deepEqual(linesOf(west.file), range(0, 100));
  assert.deepEqual(new Set(linesOf(east.file)), new Set(range(0, 200)));
  await until("the spool is empty", async () => (await report(status)).spool.messages === 0);
  gateway.kill("SIGTERM");
  assert.equal(await gateway.end(), 0);
});

Deno.test("a hub behind a port forward is reached by an address that it does not know", async () => {
  await using place = new Place();
  const { address, file } = await place.hub("hq");
  await using forward = new CuttingRelay();
  forward.start(Number(address.split(":").at(-1)), () => 6000); // and cut again and again
  const gateway = place.start("gateway", box(place, { hq: [`v2:127.0.0.1:${forward.port}`] }));
  const { http } = await started(gateway);
  for (let at = 0; at < 1000; at += 100) await post(http, "a", range(at, at + 100));
  await until("all are there", () => linesOf(file).length >= 1000);
  assert.deepEqual(linesOf(file), range(0, 1000));
  assert.ok(forward.cuts > 0);
});

Deno.test("a lossy route drops while its hub is away, and goes on when it is back", async () => {
  await using place = new Place();
  const { hub, address, file } = await place.hub("hq");
  const gateway = place.start(
    "gateway",
    box(place, { hq: [address] }, {
      routes: [{ topic: "live", to: ["hq"], policy: "lossy" }, { topic: "#", to: ["hq"] }],
    }),
  );
  const { http, status } = await started(gateway);
  await until("it is connected", async () => (await report(status)).sessions[0].state === "ready");
  await post(http, "live", ["seen"]);
  // Acknowledged, not only written: what a hub has not stored when it is killed is cut off again.
  await until("it is stored", async () => (await report(status)).upstreams[0].acknowledged === 1);
  assert.deepEqual(linesOf(file), ["seen"]);
  hub.kill("SIGKILL");
  await hub.end();
  await until("the cut is seen", async () => (await report(status)).sessions[0].state !== "ready");
  await post(http, "live", ["not seen"]);
  await post(http, "kept", ["kept"]);
  const again = await place.hub("hq", {}, address);
  await until("the kept one arrives", () => linesOf(again.file).includes("kept"));
  await post(http, "live", ["seen again"]);
  await until("it goes on", () => linesOf(file).includes("seen again"));
  assert.deepEqual(linesOf(file).sort(), ["kept", "seen", "seen again"]);
  assert.equal((await report(status)).upstreams[0].dropped, 1);
});

Deno.test("a hub that does not answer gives way to the next address, and nothing is lost", async () => {
  await using place = new Place();
  const [first, second] = [await place.hub("first"), await place.hub("second")];
  const gateway = place.start("gateway", box(place, { hq: [first.address, second.address] }));
  const { http, status } = await started(gateway);
  await post(http, "a", range(0, 50));
  await until(
    "the first has acknowledged them",
    async () => (await report(status)).upstreams[0].acknowledged === 50,
  );
  first.hub.kill("SIGKILL");
  await post(http, "a", range(50, 100));
  await gateway.err.line(/Hub hq does not answer at .*: trying the next address/);
  await until("the second has the rest", () => linesOf(second.file).length >= 50);
  assert.deepEqual(linesOf(second.file), range(50, 100));
});

Deno.test("a hub forwards exactly once, also when it is killed in between", async () => {
  await using place = new Place();
  const far = await place.hub("far");
  const near = (address: string): Fairlead =>
    place.start("hub", {
      name: "client.near",
      listen: address,
      state: place.path("near.state"),
      outputs: { up: { type: "forward", addresses: [far.address] } },
      status: false,
    });
  let hub = near("v2:127.0.0.1:0");
  const address = group(await hub.err.line(LISTENING), LISTENING);
  const gateway = place.start("gateway", box(place, { near: [address] }));
  const { http } = await started(gateway);
  for (let round = 0; round < 5; round++) {
    await post(http, "a", range(round * 200, round * 200 + 100));
    hub.kill("SIGKILL");
    await post(http, "a", range(round * 200 + 100, round * 200 + 200));
    await hub.end();
    hub = near(address);
    await hub.err.line(LISTENING);
  }
  await until("all are there", () => linesOf(far.file).length >= 1000);
  assert.deepEqual(linesOf(far.file), range(0, 1000));
});

Deno.test("SIGHUP takes over inputs, hubs, routes and bounds, and says what stays", async () => {
  await using place = new Place();
  const [one, two] = [await place.hub("one"), await place.hub("two")];
  const gateway = place.start("gateway", box(place, { one: [one.address] }));
  const { http, status } = await started(gateway);
  const file = place.path("gateway2.json");
  await post(http, "a", ["first"]);
  await until("it arrives", () => linesOf(one.file).includes("first"));
  Deno.writeTextFileSync(file, '{ "inputs": {'); // not even JSON
  gateway.kill("SIGHUP");
  await gateway.err.line(/Configuration not reloaded: what runs goes on as it is/);
  place.write(
    "gateway2.json",
    box(place, { two: [two.address] }, {
      name: "client.other",
      inputs: {
        http: { type: "http", listen: "127.0.0.1:0" },
        more: { type: "lines", listen: "127.0.0.1:0", protocols: ["tcp"] },
      },
      spool: { bytesMax: 1_000_000 },
    }),
  );
  gateway.kill("SIGHUP");
  await gateway.err.line(/Cannot change name while running .*"client\.gw1", restart to use/);
  await gateway.err.line(/Configuration reloaded: \d+ changes, 1 not possible while running/);
  const after = await report(status);
  assert.equal(after.spool.bytesMax, 1_000_000);
  assert.deepEqual(after.inputs.map(({ name }: { name: string }) => name), ["http", "more"]);
  await post(http, "a", ["second"]);
  await until("the new hub has it", () => linesOf(two.file).includes("second"));
  assert.ok(!linesOf(one.file).includes("second"));
});

Deno.test("a hub takes over changed outputs at SIGHUP; messages wait for one that cannot be opened", async () => {
  await using place = new Place();
  const { hub, address, file } = await place.hub("hq");
  const gateway = place.start("gateway", box(place, { hq: [address] }));
  const { http } = await started(gateway);
  await post(http, "a", ["first"]);
  await until("it arrives", () => linesOf(file).includes("first"));
  const config = (path: string): object => ({
    listen: "v2:127.0.0.1:0",
    state: place.path("hq.state"),
    outputs: { all: { type: "file", path, format: "raw" } },
    status: false,
  });
  place.write("hub0.json", config(`${file}/not-a-directory/x`));
  hub.kill("SIGHUP");
  await hub.err.line(/Output all is closed/);
  await post(http, "a", ["second"]);
  await hub.err.line(/takes nothing, so nothing is acknowledged/);
  place.write("hub0.json", config(`${file}2`));
  hub.kill("SIGHUP");
  await until("nothing was lost", () => linesOf(`${file}2`).includes("second"));
  assert.deepEqual(linesOf(file), ["first"]);
});

Deno.test("a copied state directory: the second live box is refused with an alarm, the first goes on", async () => {
  await using place = new Place();
  const { hub, address, file } = await place.hub("hq");
  const config = box(place, { hq: [address] });
  const gateway = place.start("gateway", config);
  const { http } = await started(gateway);
  await post(http, "a", ["from the first"]);
  await until("it arrives", () => linesOf(file).includes("from the first"));
  const copy = place.path("copy.state");
  Deno.mkdirSync(copy);
  for (const name of ["spool.db", "spool.db-wal"]) {
    Deno.copyFileSync(place.path(`gw1.state/${name}`), `${copy}/${name}`);
  }
  const twin = place.start("gateway", { ...config, state: copy });
  const { http: twinHttp, status } = await started(twin);
  await twin.err.line(/Another live box sends with the spool id/);
  await hub.err.line(/Another live box sends with the spool id/);
  await post(twinHttp, "a", ["from the twin"]); // kept, not lost
  await post(http, "a", ["again from the first"]);
  await until("the first goes on", () => linesOf(file).includes("again from the first"));
  await until(
    "there is an alarm",
    async () => JSON.stringify((await report(status)).alarms).includes("hub_refuses"),
  );
  const { sessions, spool } = await report(status);
  assert.equal(sessions[0].state, "refused");
  assert.ok(spool.messages >= 1);
  twin.kill("SIGTERM");
  await twin.end();
  const renewed = place.start("gateway", { ...config, state: copy }, "--new-spool-id");
  await until("with a new id it is let in", () => linesOf(file).includes("from the twin"));
  renewed.kill("SIGTERM");
  assert.equal(await renewed.end(), 0);
});

Deno.test("a state directory put back from a backup is refused: its numbers went back", async () => {
  await using place = new Place();
  const { hub, address, file } = await place.hub("hq");
  const config = box(place, { hq: [address] });
  const run = async (lines: readonly string[]): Promise<void> => {
    const gateway = place.start("gateway", config);
    const { http } = await started(gateway);
    await post(http, "a", lines);
    await until("they arrive", () => lines.every((line) => linesOf(file).includes(line)));
    gateway.kill("SIGTERM");
    assert.equal(await gateway.end(), 0);
  };
  await run(range(0, 10));
  Deno.copyFileSync(place.path("gw1.state/spool.db"), place.path("backup.db"));
  await run(range(10, 20));
  await run(range(20, 30));
  Deno.copyFileSync(place.path("backup.db"), place.path("gw1.state/spool.db"));
  const back = place.start("gateway", config);
  const { http } = await started(back);
  await hub.err.line(/went back: .*put back from a backup\? .*--new-spool-id/);
  await back.err.line(/Hub hq refuses/);
  await post(http, "a", ["kept"]);
  back.kill("SIGTERM");
  assert.equal(await back.end(), 0);
  const renewed = place.start("gateway", config, "--new-spool-id");
  await until("with a new id it is let in", () => linesOf(file).includes("kept"));
  renewed.kill("SIGTERM");
  assert.equal(await renewed.end(), 0);
  assert.deepEqual(linesOf(file), [...range(0, 30), "kept"]);
});

Deno.test("a damaged spool: set aside, an alarm says what is lost, the box goes on", async () => {
  await using place = new Place();
  Deno.mkdirSync(place.path("gw1.state"));
  Deno.writeTextFileSync(place.path("gw1.state/spool.db"), "no database".repeat(1000));
  const { address, file } = await place.hub("hq");
  const gateway = place.start("gateway", box(place, { hq: [address] }));
  await gateway.err.line(/The spool was damaged .*set aside as .*an unknown number is lost/);
  const { http, status } = await started(gateway);
  await post(http, "a", ["goes on"]);
  await until("it arrives", () => linesOf(file).includes("goes on"));
  assert.match(JSON.stringify((await report(status)).alarms), /spool_damaged/);
});

Deno.test("after a long backlog of one topic, others are not kept waiting for its end", async () => {
  await using place = new Place();
  const { hub, address, file } = await place.hub("hq");
  hub.kill("SIGKILL");
  await hub.end();
  const gateway = place.start("gateway", box(place, { hq: [address] }));
  const { http } = await started(gateway);
  const backlog = 30_000;
  for (let at = 0; at < backlog; at += 10_000) {
    await post(http, "loud", range(at, at + 10_000).map((line) => line.padEnd(200)));
  }
  const fresh = Array.from({ length: 8 }, (_, at) => `fresh${at}`);
  for (const topic of fresh) await post(http, topic, [topic]);
  await place.hub("hq", {}, address);
  await until("all are there", () => linesOf(file).length === backlog + fresh.length);
  const lines = linesOf(file);
  const places = fresh.map((topic) => lines.indexOf(topic));
  const soon = places.filter((at) => at < backlog / 4).length;
  // One or two of them may share the lane of the loud one.
  assert.ok(soon >= 5, `fresh messages stand at ${places} of ${lines.length}`);
  const loud = lines.filter((line) => line.startsWith("line "));
  assert.deepEqual(loud.map((line) => Number(line.split(" ")[1])), [...range(0, backlog).keys()]);
});
