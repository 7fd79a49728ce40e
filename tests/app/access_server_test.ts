/** The access socket with real sockets: who gets in, what is answered, and clients that misbehave. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { AccessClient } from "../../src/app/access_client.ts";
import {
  type AccessCommand,
  type AccessEvent,
  type AccessGroup,
  parseRequest,
  PATH_MANAGER,
} from "../../src/app/paths/access_message.ts";
import {
  AccessServer,
  type AccessServerOptions,
  type AccessService,
} from "../../src/app/access_server.ts";
import type { PeerCredentials } from "../../src/io/peer_credentials.ts";

const DEADLINE_MS = 20_000;
const LINK: AccessEvent = { event: "link", index: 3, link: "eth0", up: false };

/** Answers with what it was asked, and tells events when the test says so. */
class FakeService implements AccessService<AccessCommand, AccessGroup> {
  readonly listeners = new Map<(event: AccessEvent) => void, readonly string[]>();
  changed = Promise.withResolvers<void>();
  stuck = false;

  request(request: { command: string }): Promise<object> {
    if (request.command === "status") return Promise.reject(new Error("Cannot tell as I will not"));
    if (this.stuck) return new Promise(() => {});
    return Promise.resolve({ asked: request });
  }

  subscribe(groups: readonly string[], listener: (event: AccessEvent) => void): () => void {
    this.listeners.set(listener, groups);
    this.#change();
    return () => {
      this.listeners.delete(listener);
      this.#change();
    };
  }

  tell(event: AccessEvent): void {
    for (const listener of [...this.listeners.keys()]) listener(event);
  }

  #change(): void {
    this.changed.resolve();
    this.changed = Promise.withResolvers();
  }
}

/** A server in a directory of its own; `await using` removes both. */
class Place implements AsyncDisposable {
  readonly directory: string;
  readonly path: string;
  readonly service = new FakeService();
  readonly seen: PeerCredentials[] = [];
  #server: AccessServer<AccessCommand, AccessGroup> | null = null;
  readonly #sockets: Socket[] = [];

  constructor() {
    this.directory = Deno.makeTempDirSync({ prefix: "fairlead-access-" });
    this.path = `${this.directory}/run/paths.sock`;
  }

  get server(): AccessServer<AccessCommand, AccessGroup> {
    return this.#server!;
  }

  static async open(
    options: Partial<AccessServerOptions<AccessCommand, AccessGroup>> = {},
  ): Promise<Place> {
    const place = new Place();
    place.#server = await AccessServer.open({ ...place.options(), ...options });
    return place;
  }

  options(): AccessServerOptions<AccessCommand, AccessGroup> {
    return {
      path: this.path,
      parse: parseRequest,
      serviceOf: (credentials) => {
        this.seen.push(credentials);
        return this.service;
      },
    };
  }

  raw(): Raw {
    const socket = connect({ path: this.path, allowHalfOpen: true });
    this.#sockets.push(socket);
    return new Raw(socket);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.#server?.close();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** A client without manners. */
class Raw {
  readonly socket: Socket;
  readonly ended: Promise<string>;
  #text = "";
  #changed = Promise.withResolvers<void>();

  constructor(socket: Socket) {
    this.socket = socket;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.ended = promise;
    socket.on("data", (bytes: Uint8Array) => {
      this.#text += new TextDecoder().decode(bytes);
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    });
    socket.on("error", () => {});
    socket.on("end", () => resolve(this.#text));
    socket.on("close", () => resolve(this.#text));
  }

  /** Whole lines so far, when there are `count`. */
  async lines(count: number): Promise<Record<string, unknown>[]> {
    while (this.#text.split("\n").length <= count) await this.#changed.promise;
    return this.#text.split("\n").slice(0, -1).map((each) => JSON.parse(each));
  }
}

Deno.test("the socket is its owner's alone, its directory is made, its file goes with it", async () => {
  await using place = await Place.open();
  const { mode, isSocket } = await Deno.stat(place.path);
  assert.ok(isSocket);
  assert.equal(mode! & 0o777, 0o600);
  await place.server.close();
  await assert.rejects(Deno.stat(place.path), Deno.errors.NotFound);
});

Deno.test("a client gets its answer, and the kernel says who it is", async () => {
  await using place = await Place.open();
  const client = await AccessClient.connect(PATH_MANAGER, place.path);
  const answer = await client.request("set_backup", {
    connection: "0x388844a2",
    subflow: 2,
    backup: true,
  }, DEADLINE_MS);
  assert.deepEqual(answer, {
    id: 1,
    ok: true,
    asked: { command: "set_backup", token: 0x388844a2, subflow: 2, backup: true },
  });
  assert.deepEqual(place.seen, [{ pid: Deno.pid, uid: Deno.uid(), gid: Deno.gid() }]);
  await client.close();
});

Deno.test("a refused request says why, and the client goes on", async () => {
  await using place = await Place.open();
  const client = await AccessClient.connect(PATH_MANAGER, place.path);
  await assert.rejects(client.request("status", {}, DEADLINE_MS), /Cannot tell as I will not/);
  await assert.rejects(
    client.request("set_backup", { connection: "0x1" }, DEADLINE_MS),
    /subflow is needed/,
  );
  assert.equal((await client.request("view", {}, DEADLINE_MS)).ok, true);
  assert.equal(place.server.counts.failed, 2);
  await client.close();
});

Deno.test("a service that never answers is answered for", async () => {
  await using place = await Place.open({ answerMs: 20 });
  place.service.stuck = true;
  const client = await AccessClient.connect(PATH_MANAGER, place.path);
  await assert.rejects(client.request("view", {}, DEADLINE_MS), /within 20 ms/);
  await client.close();
});

Deno.test("a client does not wait for ever for a server that does not answer", async () => {
  await using place = await Place.open();
  place.service.stuck = true;
  const client = await AccessClient.connect(PATH_MANAGER, place.path);
  await assert.rejects(client.request("view", {}, 20), /not answered view within 20 ms/);
  await client.close();
});

Deno.test("a program of another namespace is told so and turned away", async () => {
  await using place = await Place.open({ serviceOf: () => "you are of another network namespace" });
  const client = await AccessClient.connect(PATH_MANAGER, place.path);
  await assert.rejects(
    client.request("view", {}, DEADLINE_MS),
    /Cannot use the access socket as you are of another network namespace/,
  );
  await client.close();
  assert.equal(place.server.counts.refused, 1);
  assert.equal(place.server.clients, 0);
});

Deno.test("subscribers get events between answers, until they close", async () => {
  await using place = await Place.open();
  const client = await AccessClient.connect(PATH_MANAGER, place.path);
  const events = client.subscribe(["link", "new_addr"], DEADLINE_MS);
  const first = events.next();
  await place.service.changed.promise;
  assert.deepEqual([...place.service.listeners.values()], [["link", "new_addr"]]);
  place.service.tell(LINK);
  assert.deepEqual((await first).value, LINK);
  const answer = client.request("view", {}, DEADLINE_MS);
  place.service.tell({ ...LINK, up: true });
  assert.equal((await answer).ok, true);
  assert.deepEqual((await events.next()).value, { ...LINK, up: true });
  const last = events.next();
  const gone = place.service.changed.promise;
  await client.close();
  assert.equal((await last).done, true);
  await gone;
  assert.equal(place.service.listeners.size, 0);
  assert.equal(place.server.counts.events, 2);
});

Deno.test("a subscriber hears that the daemon ended", async () => {
  await using place = await Place.open();
  const client = await AccessClient.connect(PATH_MANAGER, place.path);
  const events = client.subscribe(["link"], DEADLINE_MS);
  const next = assert.rejects(events.next(), /ended the connection/);
  await place.service.changed.promise;
  await place.server.close();
  await next;
  await assert.rejects(client.request("view", {}, DEADLINE_MS), /ended the connection/);
  await client.close();
});

Deno.test("who subscribes twice has one subscription", async () => {
  await using place = await Place.open();
  const raw = place.raw();
  raw.socket.write('{"command":"subscribe","groups":["link"]}\n');
  raw.socket.write('{"command":"subscribe","groups":["new_addr"]}\n');
  await raw.lines(2);
  assert.deepEqual([...place.service.listeners.values()], [["new_addr"]]);
});

Deno.test("the file of a dead daemon is replaced", async () => {
  await using place = await Place.open();
  await Deno.rename(place.path, `${place.path}.kept`);
  await place.server.close();
  await Deno.rename(`${place.path}.kept`, place.path);
  const again = await AccessServer.open(place.options());
  const client = await AccessClient.connect(PATH_MANAGER, place.path);
  assert.equal((await client.request("view", {}, DEADLINE_MS)).ok, true);
  await client.close();
  await again.close();
});

Deno.test("a living daemon's socket is left to it", async () => {
  await using place = await Place.open();
  await assert.rejects(
    AccessServer.open(place.options()),
    /another daemon listens there: current value is ".*paths\.sock", stop the other one/,
  );
  const client = await AccessClient.connect(PATH_MANAGER, place.path);
  assert.equal((await client.request("view", {}, DEADLINE_MS)).ok, true);
  await client.close();
});

Deno.test("a path that is no socket, too long or below a file is refused with the remedy", async () => {
  await using place = await Place.open();
  const { directory } = place;
  await Deno.writeTextFile(`${directory}/file`, "mine");
  const open = (path: string): Promise<AccessServer<AccessCommand, AccessGroup>> =>
    AccessServer.open({ ...place.options(), path });
  await assert.rejects(open(`${directory}/file`), /something else is there.*choose another/);
  assert.equal(await Deno.readTextFile(`${directory}/file`), "mine");
  await assert.rejects(open(`${directory}/file/x.sock`), /^OpenError: Cannot open access socket/);
  await assert.rejects(open(`${directory}/${"x".repeat(120)}`), /107 bytes at most/);
});

Deno.test("a client without a daemon is told to start one", async () => {
  await using place = await Place.open();
  await assert.rejects(
    AccessClient.connect(PATH_MANAGER, `${place.directory}/none.sock`),
    /no daemon is there.*start one with fairlead paths daemon/,
  );
  await Deno.rename(place.path, `${place.path}.kept`);
  await place.server.close();
  await assert.rejects(
    AccessClient.connect(PATH_MANAGER, `${place.path}.kept`),
    /no daemon is there/,
  );
});

Deno.test("garbage is answered line by line, and the next request is done", async () => {
  await using place = await Place.open();
  const raw = place.raw();
  raw.socket.write(new Uint8Array([0xff, 0xfe, 0x0a]));
  raw.socket.write('\n{"command":"vieww","id":3}\r\n\u0000\n');
  raw.socket.write('{"command":"view","id":4}\n');
  const answers = await raw.lines(5);
  assert.deepEqual(answers.map(({ ok }) => ok), [false, false, false, false, true]);
  assert.match(`${answers[0]!.error}`, /UTF-8/);
  assert.equal(answers[2]!.id, 3);
  assert.equal(answers[4]!.id, 4);
});

Deno.test("a request may come in any pieces", async () => {
  await using place = await Place.open();
  const raw = place.raw();
  const text = '{"command":"view","id":1}\n';
  raw.socket.setNoDelay(true);
  for (const character of text + text) {
    await new Promise((resolve) => raw.socket.write(character, resolve));
  }
  assert.equal((await raw.lines(2)).length, 2);
});

Deno.test.each([{ what: "a line of 1 MB", end: "\n" }, { what: "a line without end", end: "" }])(
  "$what closes its client, with the reason",
  async ({ end }) => {
    await using place = await Place.open();
    const raw = place.raw();
    raw.socket.write("x".repeat(1_000_000) + end);
    assert.match(await raw.ended, /a line has 65536 bytes at most/);
    assert.equal(place.server.counts.tooLong, 1);
  },
);

Deno.test("a line of 64 KiB is read, one more byte is not", async () => {
  await using place = await Place.open();
  const start = '{"command":"view"';
  const whole = `${start}${" ".repeat(65_536 - start.length - 1)}}\n`;
  const raw = place.raw();
  raw.socket.write(whole);
  assert.equal((await raw.lines(1))[0]!.ok, true);
  raw.socket.write(` ${whole}`);
  assert.match(await raw.ended, /65536 bytes at most/);
});

Deno.test("who subscribes and does not read is dropped and counted", async () => {
  await using place = await Place.open();
  const raw = place.raw();
  raw.socket.write('{"command":"subscribe","groups":["link"]}\n');
  await raw.lines(1);
  raw.socket.pause();
  const event = { ...LINK, link: "x".repeat(1000) };
  for (let sent = 0; sent < 5000 && place.service.listeners.size > 0; sent++) {
    place.service.tell(event);
    if (sent % 100 === 99) await new Promise(setImmediate);
  }
  assert.equal(place.service.listeners.size, 0);
  assert.equal(place.server.counts.slow, 1);
});

Deno.test("who asks and does not read is not read from", async () => {
  await using place = await Place.open({ idleMs: 300 });
  const raw = place.raw();
  raw.socket.pause();
  const request = `{"command":"set_policy","joins":"interfaces","interfaces":${
    JSON.stringify(new Array(64).fill("fifteen-letters"))
  }}\n`;
  raw.socket.write(request.repeat(10_000));
  const closed = new Promise((resolve) => raw.socket.once("close", resolve));
  while (place.server.counts.idle === 0) await new Promise(setImmediate);
  raw.socket.resume();
  await closed;
  assert.ok(place.server.counts.requests < 5000, `${place.server.counts.requests}`);
});

Deno.test("who says nothing is closed, who subscribed is not", async () => {
  await using place = await Place.open({ idleMs: 500 });
  const subscriber = place.raw();
  subscriber.socket.write('{"command":"subscribe","groups":["link"]}\n');
  await subscriber.lines(1);
  const raw = place.raw();
  assert.equal(await raw.ended, "");
  const other = place.raw();
  other.socket.write("no newline");
  assert.equal(await other.ended, "");
  assert.equal(place.server.counts.idle, 2);
  place.service.tell(LINK);
  assert.deepEqual((await subscriber.lines(2))[1], LINK);
});

Deno.test("client 65 is told why it is turned away", async () => {
  await using place = await Place.open();
  const raws = Array.from({ length: 65 }, () => place.raw());
  const said = await Promise.race(raws.map(({ ended }) => ended));
  assert.match(said, /64 clients are connected already/);
  assert.equal(place.server.clients, 64);
  assert.equal(place.server.counts.refused, 1);
  const gone = new Promise((resolve) => raws[0]!.socket.once("close", resolve));
  raws[0]!.socket.end();
  await gone;
  while (place.server.clients === 64) await new Promise(setImmediate);
  const next = place.raw();
  next.socket.write('{"command":"view"}\n');
  assert.equal((await next.lines(1))[0]!.ok, true);
});

Deno.test("who ends its direction gets its answers first, also for a last line without end", async () => {
  await using place = await Place.open();
  const raw = place.raw();
  raw.socket.end('{"command":"view","id":1}\n{"command":"view","id":2}');
  const said = await raw.ended;
  assert.deepEqual(said.trim().split("\n").map((each) => JSON.parse(each).id), [1, 2]);
});

Deno.test("a client that vanishes while it is answered harms nobody", async () => {
  await using place = await Place.open();
  for (let count = 0; count < 20; count++) {
    const raw = place.raw();
    raw.socket.write('{"command":"view"}\n'.repeat(count * 10), () => raw.socket.destroy());
    await raw.ended;
  }
  const client = await AccessClient.connect(PATH_MANAGER, place.path);
  assert.equal((await client.request("view", {}, DEADLINE_MS)).ok, true);
  await client.close();
});

Deno.test("a client takes no line that is no object from who pretends to be a daemon", async () => {
  await using place = await Place.open();
  const path = `${place.directory}/other.sock`;
  const listener = Deno.listen({ transport: "unix", path });
  for (const said of ["nonsense\n", "[]\n", '{"id":77,"ok":true}\n', ""]) {
    const client = await AccessClient.connect(PATH_MANAGER, path);
    const conn = await listener.accept();
    const answer = assert.rejects(
      client.request("view", {}, DEADLINE_MS),
      /no JSON object|ended|reset/,
    );
    await conn.write(new TextEncoder().encode(said));
    if (!/nonsense|\[/.test(said)) conn.close();
    await answer;
    await client.close();
    if (/nonsense|\[/.test(said)) conn.close();
  }
  listener.close();
});

Deno.test("what the client writes is what the server reads", () => {
  const line = JSON.stringify({ id: 1, command: "subscribe", groups: ["link"] });
  assert.deepEqual(parseRequest(line), {
    id: 1,
    request: { command: "subscribe", groups: ["link"] },
  });
});
