/** MonClient and DaemonClient against endpoints of our own that play monitors and OSDs. */
import assert from "node:assert/strict";
import { authCephx } from "../../src/app/auth.ts";
import { DaemonClient } from "../../src/app/daemon_client.ts";
import { Dispatcher } from "../../src/app/dispatcher.ts";
import { Endpoint, type EndpointOptions } from "../../src/app/endpoint.ts";
import { MonClient, Refused } from "../../src/app/mon_client.ts";
import type { CommandOutcome } from "../../src/app/pending_commands.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { newRegion } from "../../src/mem/region.ts";
import { U64 } from "../../src/mem/u64.ts";
import type { Batch } from "../../src/proto/msgr2/batch.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { COMMAND_REPLY, readCommand, writeCommandReply } from "../../src/wire/ceph/command.ts";
import { MessageType } from "../../src/wire/ceph/message_type.ts";
import { MON_COMMAND_ACK, readMonCommand, writeMonCommandAck } from "../../src/wire/ceph/mon.ts";
import { generateKey, KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { PayloadWriter } from "../../src/wire/cephx/payload.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import {
  EntityAddrVec,
  entityAddrVecBytes,
  writeEntityAddrVec,
} from "../../src/wire/msgr2/entity_addrvec.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";

const FSID = Uint8Array.from({ length: 16 }, (_, index) => index);

/** MMonMap, struct_v 9. */
function monMap(mons: readonly EntityAddr[]): Uint8Array {
  const body = new PayloadWriter().raw(FSID).u32(1).u64(U64.of(0)).u64(U64.of(0));
  for (let features = 0; features < 2; features++) body.u16(0x0101).blob(new Uint8Array(8));
  body.u32(mons.length);
  mons.forEach((address, index) => {
    const addrs = new EntityAddrVec();
    addrs.count = 1;
    addrs.addrs[0]!.copy(address);
    const region = newRegion(entityAddrVecBytes(addrs));
    writeEntityAddrVec(region, 0, addrs);
    const info = new PayloadWriter().text(`m${index}`).raw(region.bytes).done();
    body.text(`m${index}`).u16(0x0105).blob(info);
  });
  body.u32(mons.length);
  mons.forEach((_, index) => body.text(`m${index}`));
  const map = new PayloadWriter().u8(9).u8(6).blob(body.done()).done();
  return new PayloadWriter().blob(map).done();
}

/** A monitor: gives the map, and answers commands with their own text, or not at all. */
class FakeMon implements AsyncDisposable {
  readonly commands: string[] = [];
  subscriptions = 0;
  mute = false;
  mons: EntityAddr[] = [];
  readonly #endpoint: Endpoint;

  private constructor(endpoint: Endpoint, readonly address: EntityAddr) {
    this.#endpoint = endpoint;
    this.mons = [address];
    endpoint.handle((batch) => {
      for (let index = 0; index < batch.length; index++) this.#answer(batch, index);
    });
  }

  static async start(port = 0, options: EndpointOptions = {}): Promise<FakeMon> {
    const policyFor = (): typeof POLICIES.statelessServer => POLICIES.statelessServer;
    const endpoint = new Endpoint({ entityType: EntityType.Mon, policyFor, ...options });
    return new FakeMon(endpoint, await endpoint.listen(`v2:127.0.0.1:${port}`));
  }

  stop(): Promise<void> {
    return this.#endpoint.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #answer(batch: Batch, index: number): void {
    const session = batch.session(index);
    if (batch.type(index) === MessageType.MonSubscribe) {
      this.subscriptions++;
      session.send({ type: MessageType.MonMap, front: monMap(this.mons) });
      return;
    }
    const { fsid, words } = readMonCommand(batch.front(index))!;
    assert.deepEqual(fsid, FSID);
    this.commands.push(words.join(" "));
    if (this.mute) return;
    const tid = new U64();
    tid.set(batch.tidLo(index), batch.tidHi(index));
    const front = writeMonCommandAck({ result: -22, status: "as told", words });
    const data = new TextEncoder().encode(words.join(" ") + batch.data(index).length);
    session.send({ ...MON_COMMAND_ACK, tid, front, data });
  }
}

/** A client of monitors with a dispatcher of its own. */
class Client implements AsyncDisposable {
  readonly dispatcher: Dispatcher;
  readonly mon: MonClient;

  constructor(mons: EntityAddr[], timeoutMs = 10_000, options: EndpointOptions = {}) {
    this.dispatcher = new Dispatcher(options);
    this.mon = new MonClient(this.dispatcher, { mons, timeoutMs, host: "box" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.mon.close();
    await this.dispatcher.close();
  }
}

const text = ({ output }: CommandOutcome): string => new TextDecoder().decode(output);

/** A port that was free just now, and is closed. */
function closedAddress(): EntityAddr {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return EntityAddr.parse(`v2:127.0.0.1:${port}`);
}

Deno.test("a command goes out with its input and its answer comes back by its tid", async () => {
  await using mon = await FakeMon.start();
  await using client = new Client([mon.address]);
  assert.deepEqual((await client.mon.connect()).fsid, FSID);
  const [first, second] = await Promise.all([
    client.mon.command(["one"], new Uint8Array(70_000)),
    client.mon.command(["two"]),
  ]);
  assert.deepEqual([text(first!), text(second!)], ["one70000", "two0"]);
  assert.equal(first!.result, -22);
  assert.equal(first!.status, "as told");
});

Deno.test("a command needs no connect() before it", async () => {
  await using mon = await FakeMon.start();
  await using client = new Client([mon.address]);
  assert.equal(text(await client.mon.command(["early"])), "early0");
});

Deno.test("hunting passes over closed ports and joins a silent one with the next", async () => {
  const silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    await using mon = await FakeMon.start();
    const quiet = EntityAddr.parse(`v2:127.0.0.1:${silent.addr.port}`);
    await using client = new Client([closedAddress(), quiet, closedAddress(), mon.address]);
    await client.mon.connect();
    assert.equal(`${client.mon.session!.target}`, `${mon.address}`);
  } finally {
    silent.close();
  }
});

Deno.test("without a monitor, connect() and commands fail in time and name each one", async () => {
  const closed = closedAddress();
  await using client = new Client([closed], 300);
  const wanted = new Error(
    `Cannot reach a monitor within 300 ms: Cannot connect to ${closed}: ` +
      "Connection refused (ECONNREFUSED)",
  );
  await assert.rejects(client.mon.connect(), wanted);
  await assert.rejects(client.mon.command(["x"]), wanted);
});

Deno.test("a monitor that comes up while we hunt is found", async () => {
  const address = closedAddress();
  await using client = new Client([address]);
  const connected = client.mon.connect();
  await using _mon = await FakeMon.start(address.port);
  assert.equal((await connected).mons.length, 1);
});

Deno.test("a monitor that restarts gets the commands again that it had not answered", async () => {
  const before = await FakeMon.start();
  before.mute = true;
  await using client = new Client([before.address]);
  await client.mon.connect();
  const answer = client.mon.command(["again"]);
  await client.dispatcher.endpoint.flushed(client.mon.session!);
  await before.stop();
  await using after = await FakeMon.start(before.address.port);
  assert.equal(text(await answer), "again0");
  assert.deepEqual(after.commands, ["again"]);
  assert.equal(after.subscriptions, 1);
  assert.equal(client.mon.sessions, 2);
});

Deno.test("a monitor of the map takes over when the one that was named goes away", async () => {
  const first = await FakeMon.start();
  await using second = await FakeMon.start();
  first.mons = [first.address, second.address];
  second.mons = first.mons;
  await using client = new Client([first.address]);
  await client.mon.connect();
  await first.stop();
  assert.equal(text(await client.mon.command(["other"])), "other0");
  assert.deepEqual(second.commands, ["other"]);
});

Deno.test("a monitor that never answers is told after the deadline", async () => {
  await using mon = await FakeMon.start();
  mon.mute = true;
  await using client = new Client([mon.address], 200);
  await client.mon.connect();
  await assert.rejects(
    client.mon.command(["x"]),
    new Error(
      `Cannot wait longer for an answer of ${mon.address}: current value is 200 ms, ` +
        "give more with --timeout",
    ),
  );
});

Deno.test("a wrong key ends the hunt at once, with the monitor's name", async () => {
  const name = { type: EntityType.Client, id: "box" };
  const keyring = (): Keyring =>
    new Keyring([{ name, key: generateKey(new NodeCrypto(), KeyType.Aes, 0) }]);
  await using mon = await FakeMon.start(0, { auth: authCephx("client.box", keyring(), ["crc"]) });
  const auth = authCephx("client.box", keyring(), ["crc"]);
  await using client = new Client([mon.address, closedAddress()], 10_000, { auth });
  await assert.rejects(client.mon.connect(), (error: unknown) => {
    assert.ok(error instanceof Refused);
    assert.match(error.message, /^v2:127\.0\.0\.1:\d+\/0: Peer refused the credentials for cephx/);
    return true;
  });
});

Deno.test("close() fails what waits, and a later command too", async () => {
  await using mon = await FakeMon.start();
  mon.mute = true;
  await using client = new Client([mon.address]);
  await client.mon.connect();
  const waiting = client.mon.command(["x"]);
  client.mon.close();
  await assert.rejects(waiting, /the client was closed/);
  await assert.rejects(client.mon.command(["y"]), /the client was closed/);
  await assert.rejects(client.mon.connect(), /the client was closed/);
});

/** An OSD that answers MCommand with its words. */
async function fakeOsd(answers: boolean): Promise<{ endpoint: Endpoint; address: EntityAddr }> {
  const endpoint = new Endpoint({ entityType: EntityType.Osd });
  const sessions: Session[] = [];
  endpoint.handle((batch) => {
    for (let index = 0; index < batch.length; index++) {
      const session = batch.session(index);
      sessions.push(session);
      if (!answers) {
        endpoint.disconnect(session);
        continue;
      }
      const tid = new U64();
      tid.set(batch.tidLo(index), batch.tidHi(index));
      const { words } = readCommand(batch.front(index))!;
      const data = new TextEncoder().encode(words.join(" "));
      const front = writeCommandReply({ result: 0, status: "" });
      session.send({ ...COMMAND_REPLY, tid, front, data });
    }
  });
  return { endpoint, address: await endpoint.listen("v2:127.0.0.1:0/77") };
}

Deno.test("a daemon answers a command; one that goes away fails it", async () => {
  const dispatcher = new Dispatcher({});
  const good = await fakeOsd(true);
  const bad = await fakeOsd(false);
  try {
    const options = { fsid: FSID, timeoutMs: 10_000 };
    const osd = new DaemonClient(dispatcher, { ...options, name: "osd.0", address: good.address });
    assert.equal(text(await osd.command(["version"])), "version");
    const gone = new DaemonClient(dispatcher, { ...options, name: "osd.1", address: bad.address });
    await assert.rejects(
      gone.command(["version"]),
      /^Error: Cannot run command on osd\.1 at v2:127\.0\.0\.1:\d+\/77: Peer said CLOSE$/,
    );
    await bad.endpoint.close();
    await assert.rejects(gone.command(["version"]), /Connection refused \(ECONNREFUSED\)$/);
    osd.close();
  } finally {
    await dispatcher.close();
    await good.endpoint.close();
    await bad.endpoint.close();
  }
});
