/**
 * Either half of Ceph's own load pair against ours: `ceph_perf_msgr_client` against a Fairlead
 * server, `fairlead bench --client` against `ceph_perf_msgr_server`, with Ceph 18.2 and 20.2.
 */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { Endpoint } from "../../src/app/endpoint.ts";
import { arena } from "../../src/mem/arena.ts";
import { U64 } from "../../src/mem/u64.ts";
import { AuthNoneServer } from "../../src/proto/msgr2/auth_none.ts";
import { recordFrontAt } from "../../src/proto/msgr2/outbox.ts";
import { POLICIES, type Policy } from "../../src/proto/msgr2/policy.ts";
import { SessionState } from "../../src/proto/msgr2/session.ts";
import {
  PERF_OSD_OP,
  PERF_OSD_OP_REPLY,
  PERF_OSD_OP_REPLY_SIZE,
  writePerfOsdOpReply,
} from "../../src/wire/ceph/osd.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { findPeer, ignoreWithout, perfClient, perfServer, placeOf } from "./debian_peers.ts";
import { Daemon } from "./processes.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;
const START_MS = 10_000;

/** Answers MOSDOp with MOSDOpReply, as ceph_perf_msgr_server does, and counts. */
class PerfAnswerer {
  requests = 0;
  outOfOrder = 0;
  readonly endpoint: Endpoint;

  constructor(policy: Policy) {
    const none = new AuthNoneServer({ tool: true });
    this.endpoint = new Endpoint({
      entityType: EntityType.Osd,
      gid: U64.of(0),
      auth: { ...authNone("osd.0"), server: () => none.attempt() },
      policyFor: () => policy,
    });
    let last = 0;
    this.endpoint.handle((batch) => {
      for (let index = 0; index < batch.length; index++) {
        assert.equal(batch.type(index), PERF_OSD_OP.type);
        if (batch.seq(index) !== last + 1) this.outOfOrder++;
        last = batch.seq(index);
        this.requests++;
        const session = batch.session(index);
        const record = session.reserve(PERF_OSD_OP_REPLY_SIZE, 0, 0);
        if (session.state === SessionState.Closed) continue; // it does not wait for its answers
        assert.notEqual(record, 0, "the queue holds all answers");
        writePerfOsdOpReply(arena, recordFrontAt(record));
        const { type, version, compatVersion } = PERF_OSD_OP_REPLY;
        session.commit(record, type, 127, version, compatVersion, 0, 0);
      }
    });
  }
}

for (const name of ["reef", "tentacle"] as const) {
  const peer = await findPeer(name);
  const ignore = ignoreWithout(peer);

  for (const bytes of [0, 4096, 1_048_576]) {
    Deno.test({
      name: `${name}: ceph_perf_msgr_client against fairlead bench --server, ${bytes} bytes`,
      ignore,
      async fn(): Promise<void> {
        const directory = await Deno.makeTempDir();
        const argv = [Deno.execPath(), "run", "-A", MAIN, "bench", "--server", "v2:127.0.0.1:0"];
        await using server = Daemon.start([...argv, "--json"], `${directory}/server.out`);
        const bound = (): string => /Listening on (\S+)/.exec(server.output())?.[1] ?? "";
        await server.until("fairlead bench --server listens", () => bound() !== "", START_MS);
        const ops = bytes > 65536 ? 300 : 5000;
        const load = { address: bound(), inFlight: 32, ops, bytes };
        const result = await perfClient(placeOf(peer), load);
        assert.equal(result.ops, ops);
        const ended = (): string => /\{"messages".*\}/.exec(server.output())?.[0] ?? "";
        await server.until("its session has ended", () => ended() !== "", START_MS);
        const { messages, errors } = JSON.parse(ended());
        // The tool leaves without waiting for its last 32 answers, nor for its last requests.
        assert.ok(messages <= ops && messages >= ops - 32, ended());
        assert.equal(errors, 0);
        await Deno.remove(directory, { recursive: true });
      },
    });

    Deno.test({
      name: `${name}: fairlead bench --client against ceph_perf_msgr_server, ${bytes} bytes`,
      ignore,
      async fn(): Promise<void> {
        await using server = await perfServer(placeOf(peer));
        const count = bytes > 65536 ? 300 : 5000;
        const argv = ["bench", "--client", server.address, "--size", `${bytes}`];
        argv.push("--in-flight", "32", "--count", `${count}`, "--mode", "crc", "--json");
        const command = new Deno.Command(Deno.execPath(), { args: ["run", "-A", MAIN, ...argv] });
        const { code, stdout, stderr } = await command.output();
        assert.equal(code, 0, new TextDecoder().decode(stderr));
        const result = JSON.parse(new TextDecoder().decode(stdout));
        assert.equal(result.messages, count);
        assert.equal(result.errors, 0);
        assert.equal(result.size, bytes);
      },
    });
  }

  Deno.test({
    name: `${name}: ceph_perf_msgr_client stays lossless when SERVER_IDENT has flags 0 and a ` +
      "cookie, through ms_inject_socket_failures",
    ignore,
    async fn(): Promise<void> {
      const server = new PerfAnswerer(POLICIES.statefulServer);
      const address = `${await server.endpoint.listen("v2:127.0.0.1:0")}`.replace(/\/0$/, "");
      let resumes = 0;
      server.endpoint.onEvent((event) => {
        if (event.kind === "resume") resumes++;
      });
      const ops = 5000;
      const options = ["--ms_inject_socket_failures=300"];
      const result = await perfClient(placeOf(peer), {
        address,
        inFlight: 32,
        ops,
        bytes: 1000,
        options,
      });
      assert.equal(result.ops, ops);
      assert.ok(resumes > 3, `resumed ${resumes} times`);
      assert.equal(server.outOfOrder, 0);
      // The tool does not wait for its last answers; what it was answered was not asked again.
      assert.ok(server.requests <= ops && server.requests >= ops - 33, `${server.requests}`);
      await server.endpoint.close();
    },
  });
}

const reef = await findPeer("reef");

Deno.test({
  name: "4 KiB, 32 in flight, crc: more requests a second than Ceph's own pair, in one run",
  ignore: ignoreWithout(reef),
  async fn(): Promise<void> {
    await using server = await perfServer(placeOf(reef));
    const ops = 30_000;
    const ceph: number[] = [];
    const ours: number[] = [];
    for (let round = 0; round < 3; round++) {
      const { address } = server;
      const load = { address, inFlight: 32, ops, bytes: 4096 };
      ceph.push((await perfClient(placeOf(reef), load)).opsPerSecond);
      ours.push(await ownPair(4 * ops));
    }
    const [theirs, own] = [median(ceph), median(ours)].map(Math.round);
    const line = `ceph_perf_msgr pair ${theirs}/s, fairlead bench pair ${own}/s\n`;
    await Deno.stderr.write(new TextEncoder().encode(line));
    assert.ok(own! > theirs!, line);
  },
});

/** Requests a second of our two ends, as two processes. */
async function ownPair(count: number): Promise<number> {
  const args = ["run", "-A", MAIN, "bench", "--size", "4096", "--in-flight", "32"];
  args.push("--warmup", "20000", "--count", `${count}`, "--mode", "crc", "--json");
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  const [run] = JSON.parse(new TextDecoder().decode(stdout)).runs;
  return run.messages_per_second;
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
