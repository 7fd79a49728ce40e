/** What operators say to a manager: every command and mistake of the lines, and its port under attack. */
import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { TEXT_SIZE_MAX } from "../../src/app/config/jsonc.ts";
import { connectOverlay, type OverlayApi } from "../../src/app/overlay/api_client.ts";
import {
  OVERLAY_GROUPS,
  parseOverlayRequest,
  REQUEST_BYTES_MAX,
} from "../../src/app/overlay/api_message.ts";
import { ApiServer } from "../../src/app/overlay/api_server.ts";
import type { Identity } from "../../src/app/overlay/identity.ts";
import type { ManagerService, ProgressListener } from "../../src/app/overlay/manager_service.ts";
import { OverlayAccess } from "../../src/app/overlay/overlay_access.ts";
import { Pki } from "./overlay_pki.ts";
import { until } from "./standby_rig.ts";

const SPEC = JSON.stringify({ name: "field", topology: "ring", routers: 3 });
const PROGRESS = { phase: "CONFIG", node: "gw1", text: "configured", done: 1, of: 3 } as const;

/** What stands for a manager: it notes what it is asked. */
class FakeManager {
  readonly identity = { name: "om1" };
  readonly asked: string[] = [];
  readonly listeners = new Set<ProgressListener>();
  /** A create that is not answered. */
  created = Promise.withResolvers<object>();
  big = "";

  create(spec: { name: string }, hold: boolean, replace: boolean): Promise<object> {
    this.asked.push(`create ${spec.name} ${hold} ${replace}`);
    return this.created.promise;
  }

  destroy(name: string): Promise<string[]> {
    this.asked.push(`destroy ${name}`);
    return Promise.reject(new Error(`Cannot find overlay: current value is "${name}"`));
  }

  cancel(name: string): Promise<string[]> {
    return Promise.resolve([name]);
  }

  discover(): Promise<object[]> {
    this.asked.push("discover");
    return new Promise(() => {});
  }

  list(): string[] {
    return [this.big];
  }

  listen(listener: ProgressListener): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
}

class Rig implements AsyncDisposable {
  readonly #sockets: TLSSocket[] = [];
  readonly #clients: OverlayApi[] = [];

  private constructor(
    readonly pki: Pki,
    readonly manager: FakeManager,
    readonly access: OverlayAccess,
    readonly operator: Identity,
    readonly server: ApiServer,
  ) {}

  static async open(): Promise<Rig> {
    const pki = await Pki.make("overlay CA", Date.now() - 1000);
    const manager = new FakeManager();
    const access = new OverlayAccess(manager as unknown as ManagerService);
    const identity = await pki.identity("om1", "manager");
    const operator = await pki.identity("op1", "operator");
    const server = await ApiServer.open("127.0.0.1:0", identity, access);
    return new Rig(pki, manager, access, operator, server);
  }

  async client(name = "op1", address = this.server.where): Promise<OverlayApi> {
    const { dir } = this.pki;
    const client = await connectOverlay({
      address,
      identity: {
        certificate: `${dir}/${name}.pem`,
        key: `${dir}/${name}.key`,
        ca: `${dir}/ca.pem`,
      },
    });
    this.#clients.push(client);
    return client;
  }

  /** A peer that sends what it likes, and what it hears. */
  async raw(
    { caPem, certificatePem, keyPem }: Identity,
  ): Promise<{ socket: TLSSocket; text(): string }> {
    const port = Number(this.server.where.split(":")[1]);
    const socket = connect({
      ...{ host: "127.0.0.1", port, ca: caPem, cert: certificatePem, key: keyPem },
      checkServerIdentity: () => undefined,
    });
    this.#sockets.push(socket);
    let text = "";
    socket.on("error", () => {});
    socket.on("data", (bytes: Uint8Array) => text += new TextDecoder().decode(bytes));
    await new Promise<void>((resolve) => socket.once("secureConnect", () => resolve()));
    return { socket, text: () => text };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.close();
    const closed = this.#sockets.filter((socket) => !socket.closed).map((socket) =>
      new Promise<void>((resolve) => socket.once("close", () => resolve()))
    );
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
    await this.server.close();
    await this.pki[Symbol.asyncDispose]();
  }
}

Deno.test("every command is read, with what is taken for granted", () => {
  const read = (value: object): unknown => {
    const parsed = parseOverlayRequest(JSON.stringify({ id: 4, ...value }));
    assert.equal(parsed.id, 4);
    return "request" in parsed ? parsed.request : parsed.error;
  };
  const cases: [object, object][] = [
    [{ command: "create", spec: "{}" }, { spec: "{}", hold: false, replace: false }],
    [{ command: "create", spec: "", hold: true, replace: true }, {
      ...{ spec: "", hold: true, replace: true },
    }],
    [{ command: "plan", spec: "{}" }, { spec: "{}" }],
    [{ command: "config", name: "field" }, { name: "field" }],
    [{ command: "cancel", name: "field" }, { name: "field" }],
    [{ command: "destroy", name: "field" }, { name: "field" }],
    [{ command: "status", name: "field" }, { name: "field", probes: 3 }],
    [{ command: "status", name: "field", probes: 0 }, { name: "field", probes: 0 }],
    [{ command: "list" }, {}],
    [{ command: "discover" }, {}],
    [{ command: "subscribe" }, { groups: OVERLAY_GROUPS }],
    [{ command: "subscribe", groups: [] }, { groups: [] }],
  ];
  for (const [value, members] of cases) {
    const { command } = value as { command: string };
    assert.deepEqual(read(value), { command, ...members });
  }
});

Deno.test("every mistake is told with what was said, and nothing unsafe comes back", () => {
  const mistakes: [string, RegExp, (number | null)?][] = [
    ["", /^Cannot read request as it is not JSON: /, null],
    ["{", /not JSON/, null],
    ["[]", /must be a JSON object: current value is \[\]/, null],
    ["null", /must be a JSON object: current value is null/, null],
    ['{"id": -1, "command": "list"}', /^Cannot read id .*: current value is -1/, null],
    ['{"id": "4", "command": "list"}', /Cannot read id/, null],
    ['{"id": 1e300, "command": "list"}', /Cannot read id/, null],
    ['{"id": 4}', /command as it must be one of create, plan, .*: current value is none/],
    ['{"id": 4, "command": "toString"}', /current value is "toString"/],
    ['{"id": 4, "command": "__proto__"}', /must be one of/],
    ['{"id": 4, "command": "list", "name": "field"}', /as it is unknown: current value is "name"/],
    ['{"id": 4, "command": "create"}', /spec as it must be text: current value is none/],
    ['{"id": 4, "command": "create", "spec": {}}', /spec as it must be text/],
    ['{"id": 4, "command": "create", "spec": "", "hold": 1}', /hold as it is no boolean/],
    ['{"id": 4, "command": "create", "spec": "", "replace": "yes"}', /replace as it is no boolean/],
    ['{"id": 4, "command": "plan", "spec": 7}', /spec as it must be text: current value is 7/],
    ['{"id": 4, "command": "destroy"}', /name as it is none: current value is none/],
    ['{"id": 4, "command": "config", "name": ""}', /name as it is none/],
    [`{"id": 4, "command": "cancel", "name": "${"a".repeat(64)}"}`, /name as it is none/],
    ['{"id": 4, "command": "status", "name": 1}', /name as it is none: current value is 1/],
    ['{"id": 4, "command": "status", "name": "f", "probes": 101}', /probes as it must be 0 to 100/],
    ['{"id": 4, "command": "status", "name": "f", "probes": 0.5}', /probes/],
    ['{"id": 4, "command": "status", "name": "f", "probes": "3"}', /probes/],
    ['{"id": 4, "command": "subscribe", "groups": ["all"]}', /groups as they are progress/],
    ['{"id": 4, "command": "subscribe", "groups": "progress"}', /groups as they are progress/],
    ['{"id": 4, "command": "\u202e\\u001b[31m"}', /must be one of/],
  ];
  for (const [line, error, id = 4] of mistakes) {
    const parsed = parseOverlayRequest(line);
    assert.ok("error" in parsed, line);
    assert.match(parsed.error, error);
    assert.equal(parsed.id, id, line);
    // deno-lint-ignore no-control-regex -- these are what must not come back
    assert.doesNotMatch(parsed.error, /[\x00-\x1f\u202e]/);
    assert.ok(parsed.error.length < 400);
  }
});

Deno.test("an API-Reply, an API-Error and events come over mutual TLS", async () => {
  await using rig = await Rig.open();
  const client = await rig.client();
  assert.deepEqual(await client.request("list"), { manager: "om1", overlays: [""] });
  assert.deepEqual(await client.request("cancel", { name: "field" }), { orphans: ["field"] });
  await assert.rejects(client.request("destroy", { name: "x" }), /Cannot find overlay: .*"x"/);
  await assert.rejects(client.request("dance"), /command as it must be one of/);
  await assert.rejects(
    client.request("create", { spec: "{" }),
    /Cannot use the specification: SPEC/,
  );
  const events: object[] = [];
  await client.follow((event) => void events.push(event));
  const created = client.request("create", { spec: SPEC, hold: true });
  await until("it is asked", () => rig.manager.asked.length === 2);
  assert.equal(rig.manager.asked[1], "create field true false");
  for (const listener of rig.manager.listeners) listener("field", PROGRESS);
  rig.manager.created.resolve({ unchanged: false });
  assert.deepEqual(await created, { unchanged: false });
  assert.deepEqual(events, [{ event: "progress", overlay: "field", ...PROGRESS }]);
});

Deno.test("a client that goes away in the middle of a create leaves nothing behind", async () => {
  await using rig = await Rig.open();
  const client = await rig.client();
  await client.follow(() => {});
  const created = client.request("create", { spec: SPEC });
  await until("it is asked", () => rig.manager.asked.length === 1);
  assert.equal(rig.manager.listeners.size, 1);
  await client.close();
  await assert.rejects(created, /Cannot ask the overlay manager as it ended the connection/);
  await assert.rejects(client.request("list"), /Cannot ask the overlay manager/);
  await until("it is forgotten", () => rig.manager.listeners.size === 0);
  rig.manager.created.reject(new Error("it did not become")); // nobody is told; nothing falls over
  const next = await rig.client();
  assert.equal((await next.request("list")).manager, "om1");
});

Deno.test("a node may not ask, and is told so; who has no certificate hears nothing", async () => {
  await using rig = await Rig.open();
  await rig.pki.identity("gw1", "node");
  const client = await rig.client("gw1");
  await assert.rejects(client.request("list"), /gw1 is a node, and only operators and managers/);
  await assert.rejects(client.request("list"), /gw1 is a node/);
  await rig.pki.identity("om2", "manager");
  assert.equal((await (await rig.client("om2")).request("list")).manager, "om1");
  await using foreign = await Pki.make("other CA", Date.now() - 1000);
  await foreign.identity("op1", "operator");
  const { dir } = foreign;
  await assert.rejects(
    connectOverlay({
      address: rig.server.where,
      identity: { certificate: `${dir}/op1.pem`, key: `${dir}/op1.key`, ca: `${dir}/ca.pem` },
    }),
    /Cannot reach the overlay manager as .*: current value is 127.0.0.1:\d+, start one with/,
  );
  await until("both are counted", () => rig.server.refused === 2);
  await assert.rejects(rig.client("op1", "127.0.0.1:1"), /ECONNREFUSED|refused/);
});

Deno.test("a specification as long as one may be comes through both doors", async () => {
  await using rig = await Rig.open();
  const spec = SPEC + "\n".repeat(TEXT_SIZE_MAX - SPEC.length); // two bytes each in a text of JSON
  const socket = `${rig.pki.dir}/socket`;
  const server = await rig.access.open(socket);
  const local = await connectOverlay({ socket });
  const remote = await rig.client();
  rig.manager.created.resolve({});
  for (const client of [local, remote]) await client.request("create", { spec });
  assert.deepEqual(rig.manager.asked, Array(2).fill("create field false false"));
  await local.close();
  await server.close();
});

Deno.test("an endless line is refused with a reason, garbage with one each", async () => {
  await using rig = await Rig.open();
  const endless = await rig.raw(rig.operator);
  const closed = new Promise<void>((resolve) => endless.socket.once("close", () => resolve()));
  endless.socket.write("a".repeat(REQUEST_BYTES_MAX + 10));
  await closed;
  assert.match(
    endless.text(),
    /"API-Error":\{"message":"Cannot read request as a line has 2101248 b/,
  );
  const garbage = await rig.raw(rig.operator);
  garbage.socket.write('hello\n\xff\xfe\n{"id":5,"command":"list"}\n');
  await until("all is answered", () => garbage.text().split("\n").length === 4);
  const [first, second, third] = garbage.text().trim().split("\n").map((line) => JSON.parse(line));
  assert.match(first["API-Error"].message, /not JSON/);
  assert.match(second["API-Error"].message, /not JSON/);
  assert.deepEqual(third, { id: 5, "API-Reply": { manager: "om1", overlays: [""] } });
});

Deno.test("a client has sixteen requests at once, and who does not read is let go", async () => {
  await using rig = await Rig.open();
  const eager = await rig.raw(rig.operator);
  const line = (id: number, command: string): string => `${JSON.stringify({ id, command })}\n`;
  for (let id = 0; id < 18; id++) eager.socket.write(line(id, "discover"));
  await until("two are refused", () => eager.text().split("\n").length === 3);
  assert.match(eager.text(), /"id":17,"API-Error":.*16 requests of this client/);
  assert.equal(rig.manager.asked.length, 16);
  rig.manager.big = "x".repeat(1_000_000);
  const deaf = await rig.raw(rig.operator);
  await deaf.socket.write('{"command":"subscribe"}\n');
  await until("it follows", () => rig.manager.listeners.size === 1);
  // In one turn, so that nothing of it can be read in between.
  deaf.socket.write(Array.from({ length: 8 }, (_, id) => line(id, "list")).join(""));
  await until("it is let go", () => rig.manager.listeners.size === 0);
});

Deno.test("a manager that answers nonsense is an error, whatever it says", async () => {
  await using rig = await Rig.open();
  const { caPem, certificatePem, keyPem } = await rig.pki.identity("om2", "manager");
  const cases: [string, RegExp][] = [
    ["hello\n", /it sent what is no JSON object/],
    ["null\n", /it sent what is no JSON object/],
    ["7\n", /it sent what is no JSON object/],
    ['{"id":1}\n', /no API-Reply/],
    ['{"id":1,"API-Reply":7}\n', /no API-Reply/],
    ['{"id":1,"API-Error":null}\n', /no API-Reply/],
    ['{"id":1,"API-Error":{"message":"\\u001b[31m no"}}\n', /^\\x1b\[31m no$/],
    ['{"API-Error":{"message":"go away"}}\n', /as go away: current value is/],
  ];
  let next = "";
  const sockets = new Set<TLSSocket>();
  const server = createServer(
    { cert: certificatePem, key: keyPem, ca: caPem, requestCert: true },
    (socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("data", () => void socket.write(next));
    },
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const [text, error] of cases) {
    next = text;
    const client = await rig.client("op1", address);
    await assert.rejects(client.request("list"), ({ message }: Error) => {
      assert.match(message, error);
      return true;
    });
  }
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
});

Deno.test("the access socket is its owner's alone, says the same, and takes large specifications", async () => {
  await using rig = await Rig.open();
  const path = `${rig.pki.dir}/run/overlay.sock`;
  const access = await rig.access.open(path);
  assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
  const client = await connectOverlay({ socket: path });
  assert.deepEqual(await client.request("list"), { manager: "om1", overlays: [""] });
  await assert.rejects(client.request("destroy", { name: "x" }), /Cannot find overlay/);
  const created = [client, await rig.client()].map((each) =>
    each.request("create", { spec: `${SPEC} // ${"a comment ".repeat(20_000)}` })
  );
  await until("both came", () => rig.manager.asked.length === 3);
  rig.manager.created.resolve({ unchanged: false });
  for (const each of created) assert.deepEqual(await each, { unchanged: false });
  await client.close();
  await access.close();
  await assert.rejects(connectOverlay({ socket: path }), /fairlead overlay om/);
});
