/** `fairlead probe` against our own endpoints, and against listeners that are no msgr2 peers. */
import assert from "node:assert/strict";
import { authCephx, type ModeName } from "../../src/app/auth.ts";
import { Endpoint, type EndpointOptions } from "../../src/app/endpoint.ts";
import { probe, type ProbeOptions, type ProbeReport } from "../../src/app/prober.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { generateKey, KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { formatKeyring, Keyring } from "../../src/wire/cephx/keyring.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { Fairlead } from "./fairlead.ts";

const NAME = { type: EntityType.Client, id: "box" };

function keyringOf(type: number = KeyType.Aes): Keyring {
  return new Keyring([{ name: NAME, key: generateKey(new NodeCrypto(), type, 0) }]);
}

/** An endpoint that listens, until the test ends. */
class Server implements AsyncDisposable {
  private constructor(readonly endpoint: Endpoint, readonly address: EntityAddr) {}

  static async start(options: EndpointOptions): Promise<Server> {
    const endpoint = new Endpoint(options);
    return new Server(endpoint, await endpoint.listen("v2:127.0.0.1:0"));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.endpoint.close();
  }
}

function probed(target: EntityAddr, options: Partial<ProbeOptions> = {}): Promise<ProbeReport> {
  return probe({
    target,
    timeoutMs: 5000,
    name: "client.box",
    keyring: null,
    modes: ["secure", "crc"],
    mons: [],
    io: "auto",
    ...options,
  });
}

Deno.test("probe() learns everything of a peer that lets everybody in", async () => {
  await using server = await Server.start({ entityType: EntityType.Mon });
  const report = await probed(server.address);
  const { seen_as, identity, rtt_ms, rtt_min_ms, ...rest } = report;
  assert.deepEqual(rest, {
    address: `${server.address}`,
    supported_features: "0x8000000000000003",
    required_features: "0x0",
    revision: "2.1",
    entity: "mon",
    methods: ["none"],
    modes: ["crc"],
    method: "none",
    mode: "crc",
  });
  assert.match(seen_as!, /^(v2|any):127\.0\.0\.1:\d+\/0$/);
  const { features, global_seq, ...ident } = identity!;
  assert.deepEqual(ident, {
    addrs: `${server.address}`,
    gid: "18446744073709551615",
    supported_features: "0x3f01cfbffffdffff",
    required_features: "0x800000000000000",
    flags: ["lossy"],
    cookie: "0x0",
  });
  assert.ok(features.includes("MSG_ADDR2"));
  assert.ok(global_seq > 0);
  assert.ok(rtt_min_ms! > 0 && rtt_min_ms! <= rtt_ms!);
});

Deno.test("probe() works over Deno's own sockets and tells a peer of msgr2.0", async () => {
  await using server = await Server.start({ io: "deno", messenger: { revision1: false } });
  const report = await probed(server.address, { io: "deno" });
  assert.equal(report.error, undefined);
  assert.equal(report.revision, "2.0");
  assert.equal(report.supported_features, "0x8000000000000002");
  assert.equal(report.entity, "client");
  assert.ok(report.rtt_ms! > 0);
});

const MODE_LISTS: { server: ModeName[]; client: ModeName[]; mode: ModeName }[] = [
  { server: ["secure", "crc"], client: ["secure", "crc"], mode: "secure" },
  { server: ["secure", "crc"], client: ["crc"], mode: "crc" },
  { server: ["crc"], client: ["secure", "crc"], mode: "crc" },
];

Deno.test.each(MODE_LISTS)("probe() with a key gets in by cephx in $mode mode", async (row) => {
  const keyring = keyringOf();
  await using server = await Server.start({ auth: authCephx("client.box", keyring, row.server) });
  const report = await probed(server.address, { keyring, modes: row.client });
  assert.equal(report.error, undefined);
  assert.deepEqual(report.methods, ["cephx"]);
  assert.deepEqual(report.modes!.toSorted(), row.server.toSorted());
  assert.equal(report.method, "cephx");
  assert.equal(report.mode, row.mode);
  assert.ok(report.identity !== undefined && report.rtt_ms! > 0);
});

Deno.test("probe() without a key, or with a wrong one, tells what it learnt and why it stopped", async () => {
  const auth = authCephx("client.box", keyringOf(KeyType.Aes256k), ["secure"]);
  await using server = await Server.start({ auth, entityType: EntityType.Mon });
  for (const keyring of [null, keyringOf(KeyType.Aes256k)]) {
    const report = await probed(server.address, { keyring });
    assert.deepEqual(report.methods, ["cephx"]);
    assert.deepEqual(report.modes, ["secure"]);
    assert.equal(report.entity, "mon");
    assert.equal(report.revision, "2.1");
    assert.equal(report.rtt_ms, undefined);
    const wanted = keyring === null
      ? "Stopped before authentication as the peer allows cephx only: " +
        "give --keyring FILE and --name TYPE.ID"
      : "Peer refused the credentials for cephx (EACCES): check the name and the key in the keyring";
    assert.equal(report.error, wanted);
  }
});

Deno.test("probe() asks for a monitor when an OSD wants a ticket", async () => {
  const keyring = keyringOf();
  const auth = authCephx("client.box", keyring, ["crc"]);
  await using server = await Server.start({ auth, entityType: EntityType.Osd });
  const report = await probed(server.address, { keyring });
  assert.equal(report.entity, "osd");
  assert.equal(
    report.error,
    "Stopped before authentication as the peer allows cephx only: " +
      "give --mon ADDR for a ticket, as this is osd",
  );
});

Deno.test("probe() tells a wrong nonce from other reasons", async () => {
  await using server = await Server.start({});
  const target = new EntityAddr();
  target.copy(server.address);
  target.nonce = 4711;
  const report = await probed(target);
  assert.deepEqual(report.methods, ["none"]);
  assert.match(report.error!, /during ident: it wants its whole address, with the nonce/);
});

/** A TCP port whose connections get these bytes, and are closed behind them or not. */
class Listener implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open: Deno.TcpConn[] = [];
  readonly #work: Promise<void>;
  readonly address: EntityAddr;

  constructor(bytes: Uint8Array<ArrayBuffer> | null, closes: boolean) {
    this.address = EntityAddr.parse(`v2:127.0.0.1:${this.#listener.addr.port}`);
    this.#work = this.#serve(bytes, closes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#work;
    for (const conn of this.#open) conn.close();
  }

  async #serve(bytes: Uint8Array<ArrayBuffer> | null, closes: boolean): Promise<void> {
    try {
      for await (const conn of this.#listener) {
        if (bytes !== null) await conn.write(bytes);
        if (closes) conn.close();
        else this.#open.push(conn);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }
}

const ascii = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(text, (letter) => letter.charCodeAt(0));

/** Banners: prefix, u16 16, u64 supported, u64 required. */
const REQUIRES_BIT_40 = ascii("ceph v2\n\x10\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0");
const PLAIN_BANNER = ascii("ceph v2\n\x10\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");

const STRANGERS = [
  { what: "an SSH server", bytes: ascii("SSH-2.0-OpenSSH_9.2\r\n"), error: /it is no msgr2 peer/ },
  {
    what: "a msgr1 monitor",
    bytes: ascii("ceph v027\0\0\0\0"),
    error: /it speaks msgr1 only: give its v2 address/,
  },
  {
    what: "a silent port",
    bytes: null,
    error: /it says nothing, so it is no msgr2 peer: .* it stopped at banner/,
  },
  { what: "a port that closes", bytes: null, closes: true, error: /during banner/ },
  {
    what: "a banner that is cut",
    bytes: PLAIN_BANNER.slice(0, 20),
    closes: true,
    error: /during banner/,
  },
  {
    what: "a peer that requires what nobody has",
    bytes: REQUIRES_BIT_40,
    error: /banner peer_required_features 0x10000000000/,
    learnt: { supported_features: "0x3", required_features: "0x10000000000", revision: "2.1" },
  },
  {
    what: "a peer that closes in hello",
    bytes: PLAIN_BANNER,
    closes: true,
    error: /during hello/,
    learnt: { supported_features: "0x1", required_features: "0x0", revision: "2.1" },
  },
  {
    what: "a peer that hangs in hello",
    bytes: PLAIN_BANNER,
    error: /did not finish within 150 ms: it stopped at hello/,
    learnt: { supported_features: "0x1", required_features: "0x0", revision: "2.1" },
  },
  {
    what: "garbage in hello",
    bytes: ascii(String.fromCharCode(...PLAIN_BANNER) + "x".repeat(100)),
    error: /preamble crc/i,
    learnt: { supported_features: "0x1", required_features: "0x0", revision: "2.1" },
  },
];

Deno.test.each(STRANGERS)("probe() of $what says so", async ({ bytes, closes, error, learnt }) => {
  await using listener = new Listener(bytes, closes === true);
  const report = await probed(listener.address, { timeoutMs: 150 });
  assert.match(report.error!, error);
  const { error: _, address, ...rest } = report;
  assert.equal(address, `${listener.address}`);
  assert.deepEqual(rest, learnt ?? {});
});

Deno.test("fairlead probe --json prints one object and exits 0; a closed port is exit 1", async () => {
  const server = await Server.start({});
  try {
    const { code, stdout, stderr } = await Fairlead.run("probe", `${server.address}`, "--json");
    assert.equal(stderr, "");
    assert.equal(code, 0);
    assert.deepEqual((JSON.parse(stdout) as ProbeReport).methods, ["none"]);
  } finally {
    await server.endpoint.close();
  }
  const closed = await Fairlead.run("probe", `${server.address}`, "--json");
  assert.equal(closed.code, 1);
  assert.deepEqual(JSON.parse(closed.stdout), {
    address: `${server.address}`,
    error: `Cannot connect to ${server.address}: Connection refused (ECONNREFUSED)`,
  });
});

Deno.test("fairlead probe prints a table, and takes the only name of a keyring", async () => {
  const keyring = keyringOf();
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, formatKeyring(keyring.entries()));
    await using server = await Server.start({
      auth: authCephx("client.box", keyring, ["secure"]),
    });
    const ended = await Fairlead.run("probe", `${server.address}`, "-k", path);
    assert.equal(ended.stderr, "");
    assert.equal(ended.code, 0);
    assert.match(ended.stdout, /^revision {12}msgr2\.1$/m);
    assert.match(ended.stdout, /^let in by {11}cephx in secure mode$/m);
    assert.match(ended.stdout, /^round trip {10}[\d.]+ ms \(at best [\d.]+ ms\)$/m);
    const other = await Fairlead.run("probe", `${server.address}`, "-k", path, "-n", "client.x");
    assert.equal(other.code, 2);
    assert.match(other.stderr, /must hold its key: it has client\.box, give --name/);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("fairlead probe refuses a v1 address", async () => {
  const old = await Fairlead.run("probe", "v1:127.0.0.1:6789");
  assert.equal(old.code, 2);
  assert.match(
    old.stderr,
    /^Cannot use ADDR as msgr1 is not supported: .*, give v2:127\.0\.0\.1:6789/,
  );
});
