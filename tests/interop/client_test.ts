/**
 * Fairlead as a client of real Ceph clusters: every combination of revision, method and mode;
 * commands, tickets, keepalives, monitors that go away; and the commands `probe` and `ceph`.
 */
import assert from "node:assert/strict";
import { Fairlead } from "../app/fairlead.ts";
import { resolve } from "../../src/app/address.ts";
import { authCephx, authNone, type ModeName } from "../../src/app/auth.ts";
import { DaemonClient } from "../../src/app/daemon_client.ts";
import { Dispatcher } from "../../src/app/dispatcher.ts";
import type { EndpointOptions } from "../../src/app/endpoint.ts";
import { MonClient, Refused } from "../../src/app/mon_client.ts";
import type { CommandOutcome } from "../../src/app/pending_commands.ts";
import { probe, type ProbeReport } from "../../src/app/prober.ts";
import type { AuthOptions } from "../../src/proto/msgr2/messenger.ts";
import { formatFsid } from "../../src/wire/ceph/fsid.ts";
import { parseKeyring } from "../../src/wire/cephx/keyring.ts";
import { AuthMethod, ConMode } from "../../src/wire/msgr2/auth.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { CephCluster } from "./ceph_cluster.ts";
import { findPeer, ignoreWithout, PEER_NAMES, placeOf } from "./debian_peers.ts";

const TIMEOUT_MS = 30_000;
/** config-key values are limited to 64 KiB. */
const VALUE_BYTES = 60_000;
const VALUES = 20;

/** A client of a cluster with a dispatcher of its own. */
class Client implements AsyncDisposable {
  private constructor(readonly dispatcher: Dispatcher, readonly mon: MonClient) {}

  static async connect(cluster: CephCluster, options: EndpointOptions): Promise<Client> {
    const dispatcher = new Dispatcher(options);
    const mons = await Promise.all(cluster.monAddrs.map(resolve));
    const client = new Client(dispatcher, clientOf(dispatcher, mons));
    try {
      await client.mon.connect();
    } catch (error) {
      await dispatcher.close();
      throw error;
    }
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.mon.close();
    await this.dispatcher.close();
  }
}

function clientOf(dispatcher: Dispatcher, mons: EntityAddr[]): MonClient {
  return new MonClient(dispatcher, { mons, timeoutMs: TIMEOUT_MS, host: "box" });
}

async function cephx(cluster: CephCluster, ...modes: ModeName[]): Promise<AuthOptions> {
  const keyring = parseKeyring(await Deno.readTextFile(cluster.adminKeyring));
  return authCephx("client.admin", keyring, modes, EntityType.Osd);
}

const command = (prefix: string, fields: Record<string, unknown> = {}): string[] => [
  JSON.stringify({ prefix, format: "json", ...fields }),
];

function json(outcome: CommandOutcome): Record<string, unknown> {
  assert.equal(outcome.result, 0, outcome.status);
  return JSON.parse(new TextDecoder().decode(outcome.output));
}

/** Stores and fetches values of a megabyte and more in all: large frames in both directions. */
async function exchangeLarge(mon: MonClient): Promise<void> {
  const expected: Record<string, string> = {};
  const set: Promise<CommandOutcome>[] = [];
  for (let index = 0; index < VALUES; index++) {
    const key = `fairlead/${index}`;
    const value = `${index}`.padEnd(VALUE_BYTES, String.fromCharCode(97 + index));
    expected[key] = value;
    set.push(mon.command(command("config-key set", { key }), new TextEncoder().encode(value)));
  }
  for (const outcome of await Promise.all(set)) assert.equal(outcome.result, 0, outcome.status);
  const dump = await mon.command(command("config-key dump", { key: "fairlead/" }));
  assert.ok(dump.output.length > 1_000_000, `${dump.output.length}`);
  assert.deepEqual(json(dump), expected);
}

const CLUSTERS = [
  { auth: "none", mode: "crc" },
  { auth: "cephx", mode: "crc" },
  { auth: "cephx", mode: "secure" },
] as const;

for (const name of PEER_NAMES) {
  const peer = await findPeer(name);
  const ignore = ignoreWithout(peer);
  for (const { auth, mode } of CLUSTERS) {
    Deno.test(
      { name: `${peer.name}: msgr2.0 and 2.1 with a mon, ${auth}, ${mode}`, ignore },
      async (t) => {
        await using cluster = await CephCluster.start({ auth, mode, place: placeOf(peer) });
        for (const revision1 of [false, true]) {
          for (const io of ["libc", "deno"] as const) {
            await t.step(`msgr2.${revision1 ? 1 : 0} over ${io}`, async () => {
              const credentials = auth === "none"
                ? authNone("client.admin")
                : await cephx(cluster, "secure", "crc");
              await using client = await Client.connect(cluster, {
                auth: credentials,
                io,
                messenger: { revision1 },
              });
              const { mon } = client;
              assert.equal(formatFsid(mon.monMap!.fsid), cluster.fsid);
              const connection = mon.session!.connection!;
              assert.equal(connection.reader.format & 1, revision1 ? 1 : 0);
              assert.equal(connection.mode, mode === "secure" ? ConMode.Secure : ConMode.Crc);
              assert.equal(
                connection.authMethod,
                auth === "none" ? AuthMethod.None : AuthMethod.Cephx,
              );
              assert.equal(json(await mon.command(command("status"))).fsid, cluster.fsid);
              await exchangeLarge(mon);
              assert.equal(mon.sessions, 1, "one session did it all");
              assert.equal(mon.session!.connection, connection);
            });
          }
        }
      },
    );
  }

  Deno.test({ name: `${peer.name}: a cluster with cephx and an OSD`, ignore }, async (t) => {
    await using cluster = await CephCluster.start({
      mode: "secure crc",
      osds: 1,
      place: placeOf(peer),
    });
    const wrongKeyring = `${cluster.directory}/wrong.keyring`;
    const keyType = cluster.adminKey.startsWith("Ag") ? "aes256k" : "aes";
    const made = await Fairlead.run(
      ...["keyring", "create", wrongKeyring, "client.admin", "--key-type", keyType],
    );
    assert.equal(made.code, 0, made.stderr);

    for (const mode of ["crc", "secure"] as const) {
      await t.step(`an OSD takes our authorizer, ${mode}`, async () => {
        await using client = await Client.connect(cluster, { auth: await cephx(cluster, mode) });
        const { dispatcher, mon } = client;
        const address = await osdAddress(mon);
        const { fsid } = mon.monMap!;
        const name = "osd.0";
        const osd = new DaemonClient(dispatcher, { name, address, fsid, timeoutMs: TIMEOUT_MS });
        const version = json(await osd.command(command("version")));
        assert.equal(version.version, cluster.release);
        const connection = osd.session!.connection!;
        assert.equal(connection.peerType, EntityType.Osd);
        assert.equal(connection.authMethod, AuthMethod.Cephx);
        assert.equal(connection.mode, mode === "secure" ? ConMode.Secure : ConMode.Crc);
        assert.equal(`${connection.globalId}`, `${mon.session!.connection!.globalId}`);
        const refused = await osd.command(command("no such command"));
        assert.equal(refused.result, -22);
        assert.equal(mon.sessions, 1);
        osd.close();
      });
    }

    await t.step(
      "a second connection of one client keeps its global_id by its ticket",
      async () => {
        const auth = await cephx(cluster, "secure");
        await using client = await Client.connect(cluster, { auth });
        const [target] = await Promise.all(cluster.monAddrs.map(resolve));
        const first = client.mon.session!.connection!.globalId.toBigInt();
        assert.ok(first > 0n);
        const again = clientOf(client.dispatcher, [target!]);
        await again.connect();
        const connection = again.session!.connection!;
        assert.equal(connection.globalId.toBigInt(), first);
        assert.equal(connection.badMethods, 0, "the mon refuses a reclaim without the ticket");
        again.close();
        await using other = await Client.connect(cluster, { auth: await cephx(cluster, "secure") });
        assert.notEqual(other.mon.session!.connection!.globalId.toBigInt(), first);
      },
    );

    await t.step("a wrong key is refused at once, with the monitor's name", async () => {
      const keyring = parseKeyring(await Deno.readTextFile(wrongKeyring));
      const auth = authCephx("client.admin", keyring, ["secure"]);
      await assert.rejects(Client.connect(cluster, { auth }), (error: unknown) => {
        assert.ok(error instanceof Refused);
        assert.match(error.message, /Peer refused the credentials for cephx \(EACCES\)/);
        assert.ok(error.message.startsWith(cluster.monAddrs[0]!), error.message);
        return true;
      });
    });

    await t.step("keepalives are answered; a mon that stops breathing is given up", async () => {
      const messenger = { keepaliveMs: 40, deadMs: 400 };
      const auth = await cephx(cluster, "secure");
      await using client = await Client.connect(cluster, { auth, messenger });
      const { mon } = client;
      const connection = mon.session!.connection!;
      await until("three answers", () => connection.keepaliveAcks >= 3);
      assert.equal(mon.session!.connection, connection);
      Deno.kill(cluster.monPid(0), "SIGSTOP");
      try {
        await until("the session is given up", () => mon.session === null);
        assert.match(connection.closeText, /^Peer was silent for \d+ ms$/);
      } finally {
        Deno.kill(cluster.monPid(0), "SIGCONT");
      }
      assert.equal(json(await mon.command(command("status"))).fsid, cluster.fsid);
      assert.ok(mon.sessions >= 2);
    });

    await t.step("a mon restarts under us: the session and the command come back", async () => {
      await using client = await Client.connect(cluster, { auth: await cephx(cluster, "secure") });
      const { mon } = client;
      const before = mon.session!.connection!.globalId.toBigInt();
      await cluster.killMon(0);
      await until("the session ends", () => mon.session === null);
      const answer = mon.command(command("status"));
      await cluster.startMon(0);
      assert.equal(json(await answer).fsid, cluster.fsid);
      assert.equal(mon.sessions, 2);
      assert.equal(mon.session!.connection!.globalId.toBigInt(), before, "reclaimed");
    });

    await t.step("probe() of the mon and of the OSD learns everything", async () => {
      const keyring = parseKeyring(await Deno.readTextFile(cluster.adminKeyring));
      await using client = await Client.connect(cluster, { auth: await cephx(cluster, "crc") });
      const [mon] = await Promise.all(cluster.monAddrs.map(resolve));
      const osd = await osdAddress(client.mon);
      const rows = [
        { entity: "mon", target: mon!, mons: [] },
        { entity: "osd", target: osd, mons: [mon!] },
      ];
      for (const { entity, target, mons } of rows) {
        const report = await probe({
          ...{ target, mons, keyring, name: "client.admin", timeoutMs: TIMEOUT_MS, io: "auto" },
          modes: ["secure", "crc"],
        });
        assert.equal(report.error, undefined);
        assert.equal(report.entity, entity);
        assert.equal(report.revision, "2.1");
        assert.equal(report.supported_features, peer.name === "pacific" ? "0x1" : "0x3");
        assert.equal(report.required_features, "0x0");
        assert.deepEqual(report.methods, ["cephx"]);
        assert.deepEqual(report.modes!.toSorted(), ["crc", "secure"]);
        assert.match(report.seen_as!, /127\.0\.0\.1:\d+/);
        assert.equal(report.identity!.addrs, `${target}`);
        assert.ok(report.identity!.features.includes("SERVER_OCTOPUS"));
        assert.ok(report.rtt_ms! > 0 && report.rtt_ms! < 1000);
      }
    });

    await t.step("fairlead probe without a key tells methods and modes, and exits 1", async () => {
      const { code, stdout } = await Fairlead.run("probe", cluster.monAddrs[0]!, "--json");
      const report = JSON.parse(stdout) as ProbeReport;
      assert.equal(code, 1);
      assert.deepEqual(report.methods, ["cephx"]);
      assert.equal(report.entity, "mon");
      assert.match(report.error!, /^Stopped before authentication/);
    });

    const login = [
      ...["ceph", "--mon", cluster.monAddrs[0]!, "--name", "client.admin"],
      ...["--keyring", cluster.adminKeyring],
    ];

    await t.step("fairlead ceph status prints what Ceph's own tool prints", async () => {
      const { code, stdout, stderr } = await Fairlead.run(...login, "status");
      assert.equal(code, 0, stderr);
      assert.match(stdout, new RegExp(`^ {2}cluster:\n {4}id: {5}${cluster.fsid}\n`));
    });

    await t.step("fairlead ceph --json gives JSON alone, in either mode", async () => {
      for (const mode of ["crc", "secure"]) {
        const words = [...login, "--mode", mode, "--json", "osd", "tree"];
        const { code, stdout, stderr } = await Fairlead.run(...words);
        assert.equal(code, 0);
        assert.equal(stderr, "");
        const { nodes } = JSON.parse(stdout);
        assert.ok(nodes.some(({ name }: { name: string }) => name === "osd.0"));
      }
    });

    const COMMANDS: { words: string[]; code: number; stdout?: RegExp; stderr?: RegExp }[] = [
      { words: ["osd", "pool", "create", "p", "8"], code: 0, stderr: /^pool 'p' created\n$/ },
      { words: ["osd", "pool", "ls"], code: 0, stdout: /^p\n$/ },
      { words: ["df"], code: 0, stdout: /RAW STORAGE/ },
      {
        words: ["auth", "ls"],
        code: 0,
        stdout: /^client\.admin$/m,
        stderr: /^(installed auth entries:\n)?$/,
      },
      { words: ["osd", "reweight", "osd.0", "1"], code: 0, stderr: /^reweighted osd\.0 to 1/ },
      { words: ['{"prefix": "mon stat"}'], code: 0, stdout: /quorum 0 m0/ },
      {
        words: ["tell", "osd.0", "version", "-f", "json"],
        code: 0,
        stdout: new RegExp(`"release":"${peer.name}"`),
      },
      {
        words: ["tell", "mon.m0", "version"],
        code: 0,
        stdout: new RegExp(`"release": "${peer.name}"`),
      },
      { words: ["tell", "osd.9", "version"], code: 1, stderr: /cluster has no such OSD/ },
      {
        words: ["osd", "pool", "get", "nosuch", "size"],
        code: 2,
        stderr: /\(ENOENT\), unrecognized pool 'nosuch'/,
      },
      {
        words: ["osd", "pool", "rm", "p", "p", "--yes-i-really-really-mean-it"],
        code: 0,
        stderr: /^pool 'p' removed\n$/,
      },
      { words: ["osd", "pool", "rm", "p"], code: 0, stderr: /pool 'p' does not exist/ },
      { words: ["osd", "pool", "create"], code: 22, stderr: /<pool> is missing, usage:/ },
      { words: ["nosuch"], code: 22, stderr: /cluster has no such command/ },
      {
        words: ['{"prefix": "nosuch"}'],
        code: 22,
        stderr: /\(EINVAL\), command not known/,
      },
    ];
    for (const { words, code, stdout, stderr } of COMMANDS) {
      await t.step(`fairlead ceph ${words.join(" ")} ends with ${code}`, async () => {
        const ended = await Fairlead.run(...login, ...words);
        assert.equal(ended.code, code, ended.stderr);
        assert.match(ended.stdout, stdout ?? /^$/);
        assert.match(ended.stderr, stderr ?? /^$/);
      });
    }

    await t.step("fairlead ceph reads -c, -i and writes -o", async () => {
      const base = ["ceph", "-c", cluster.conf, "-k", cluster.adminKeyring];
      const [from, to] = [`${cluster.directory}/in`, `${cluster.directory}/out`];
      const bytes = Uint8Array.from({ length: VALUE_BYTES }, (_, index) => index % 251);
      await Deno.writeFile(from, bytes);
      const put = await Fairlead.run(...base, "config-key", "set", "fairlead/file", "-i", from);
      assert.equal(put.code, 0, put.stderr);
      const got = await Fairlead.run(...base, "config-key", "get", "fairlead/file", "-o", to);
      assert.equal(got.code, 0, got.stderr);
      assert.equal(got.stdout, "");
      assert.deepEqual(await Deno.readFile(to), bytes);
    });

    await t.step("fairlead ceph tells a wrong key, by name and keyring", async () => {
      const { code, stdout, stderr } = await Fairlead.run(
        ...["ceph", "-m", cluster.monAddrs[0]!, "-k", wrongKeyring, "status"],
      );
      assert.equal(code, 1);
      assert.equal(stdout, "");
      assert.ok(
        stderr.startsWith(
          `Cannot authenticate as client.admin with the key of ${wrongKeyring}: ` +
            `${cluster.monAddrs[0]}/0: Peer refused the credentials for cephx (EACCES)`,
        ),
        stderr,
      );
    });
  });

  Deno.test(
    { name: `${peer.name}: the loss of one of three mons is bridged`, ignore },
    async () => {
      await using cluster = await CephCluster.start({
        auth: "none",
        mons: 3,
        place: placeOf(peer),
      });
      await using client = await Client.connect(cluster, { auth: authNone("client.admin") });
      const { mon } = client;
      assert.equal(mon.monMap!.mons.length, 3);
      const port = mon.session!.target!.port;
      const inUse = cluster.monPorts.indexOf(port);
      const quorum = async (): Promise<boolean> => {
        const status = json(await mon.command(command("quorum_status")));
        return (status.quorum as number[]).length === 3;
      };
      await until("all three are in the quorum", quorum);
      await cluster.killMon(inUse);
      assert.equal(json(await mon.command(command("status"))).fsid, cluster.fsid);
      assert.notEqual(mon.session!.target!.port, port);
    },
  );
}

async function osdAddress(mon: MonClient): Promise<EntityAddr> {
  const { osds } = json(await mon.command(command("osd dump")));
  const [osd] = osds as { public_addrs: { addrvec: { addr: string; nonce: number }[] } }[];
  const { addr, nonce } = osd!.public_addrs.addrvec[0]!;
  return EntityAddr.parse(`v2:${addr}/${nonce}`);
}

async function until(
  what: string,
  reached: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + TIMEOUT_MS;
  while (!await reached()) {
    assert.ok(Date.now() < deadline, `waited ${TIMEOUT_MS} ms until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
