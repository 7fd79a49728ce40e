/**
 * Fairlead as a lossless peer of a real monitor, which keeps the session, connects back and
 * answers RECONNECT; with connections cut by us, by the kernel and by Ceph's own fault injection.
 */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { Endpoint } from "../../src/app/endpoint.ts";
import { U64 } from "../../src/mem/u64.ts";
import { AuthNoneClient, NoneTarget } from "../../src/proto/msgr2/auth_none.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { type Session, SessionState } from "../../src/proto/msgr2/session.ts";
import { parseFsid } from "../../src/wire/ceph/fsid.ts";
import { MessageType } from "../../src/wire/ceph/message_type.ts";
import { MON_COMMAND, writeMonCommand } from "../../src/wire/ceph/mon.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { CephCluster } from "./ceph_cluster.ts";
import { findPeer, ignoreWithout } from "./debian_peers.ts";

const pacific = await findPeer("pacific");
const ignore = ignoreWithout(pacific);
const DEADLINE_MS = 60_000;

/** An endpoint that a monitor takes for another monitor. */
function monEndpoint(): Endpoint {
  const name = { type: EntityType.Mon, id: "" };
  const client = new AuthNoneClient({ name, target: NoneTarget.Service });
  return new Endpoint({
    entityType: EntityType.Mon,
    gid: U64.of(7),
    auth: { ...authNone("mon."), client: () => client },
    policyFor: () => POLICIES.losslessPeerReuse,
  });
}

/** Listens on the next free port below or above another. */
async function listenBeside(endpoint: Endpoint, port: number, step: number): Promise<void> {
  for (let next = port + step;; next += step) {
    try {
      await endpoint.listen(`v2:127.0.0.1:${next}`);
      return;
    } catch (error) {
      if (Math.abs(next - port) > 100) throw error;
    }
  }
}

/** What came back, in order: tids of command acks, and how many pings. */
class Answers {
  readonly tids: number[] = [];
  pings = 0;
  readonly resumed: Record<"here" | "there", number> = { here: 0, there: 0 };

  constructor(endpoint: Endpoint) {
    endpoint.onEvent((event) => {
      if (event.kind !== "resume") return;
      this.resumed[event.connection!.accepted ? "there" : "here"]++;
    });
    endpoint.handle((batch) => {
      for (let index = 0; index < batch.length; index++) {
        if (batch.type(index) === MessageType.MonCommandAck) this.tids.push(batch.tidLo(index));
        if (batch.type(index) === MessageType.Ping) this.pings++;
      }
    });
  }
}

async function until(what: string, reached: () => boolean): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!reached()) {
    assert.ok(Date.now() < deadline, `waited ${DEADLINE_MS} ms until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Sends commands with tids `from` to `to`, and a ping after each. */
async function sendAll(
  endpoint: Endpoint,
  session: Session,
  fsid: string,
  from: number,
  to: number,
): Promise<void> {
  const front = writeMonCommand({ fsid: parseFsid(fsid), words: ['{"prefix":"fsid"}'] });
  for (let tid = from; tid <= to; tid++) {
    while (session.send({ ...MON_COMMAND, front, tid: U64.of(tid) }) === 0) {
      await endpoint.writable(session);
    }
    session.send({ type: MessageType.Ping });
    if (tid % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

function assertInOrder(answers: Answers, count: number): void {
  assert.deepEqual(answers.tids, Array.from({ length: count }, (_, index) => index + 1));
  assert.equal(answers.pings, count);
}

Deno.test({
  name: "a real mon keeps a lossless session with us, and answers RECONNECT after a cut",
  ignore,
  async fn() {
    await using cluster = await CephCluster.start({ auth: "none" });
    const endpoint = monEndpoint();
    await endpoint.listen("v2:127.0.0.1:0");
    const answers = new Answers(endpoint);
    const session = await endpoint.connect(cluster.monAddrs[0]!, POLICIES.losslessPeerReuse);
    await endpoint.established(session);
    assert.equal(session.lossy, false, "SERVER_IDENT flags 0");
    assert.equal(session.serverCookie.isZero(), false, "SERVER_IDENT cookie");
    await sendAll(endpoint, session, cluster.fsid, 1, 10);
    await until("10 answers", () => answers.tids.length >= 10 && answers.pings >= 10);
    session.connection!.close("cut", "cut by the test", 0);
    await sendAll(endpoint, session, cluster.fsid, 11, 20);
    await until("20 answers", () => answers.tids.length >= 20 && answers.pings >= 20);
    assertInOrder(answers, 20);
    assert.ok(session.reconnects >= 1, "the session went on, it was not made anew");
    assert.equal(session.duplicates, 0);
    await endpoint.close();
  },
});

// In a race the lower address dials, so one order of ports makes us reconnect, the other the mon.
for (const step of [-1, 1]) {
  const winner = step < 0 ? "we dial" : "the mon dials";
  Deno.test({
    name:
      `ms_inject_socket_failures, ${winner}: thousands of messages, none lost, doubled or out of order`,
    ignore,
    async fn() {
      const extra = "ms_inject_socket_failures = 60\nms_inject_internal_delays = 0.0005\n";
      await using cluster = await CephCluster.start({ auth: "none", extra });
      const endpoint = monEndpoint();
      await listenBeside(endpoint, cluster.monPorts[0]!, step);
      const answers = new Answers(endpoint);
      const session = await endpoint.connect(cluster.monAddrs[0]!, POLICIES.losslessPeerReuse);
      const count = 1500;
      await sendAll(endpoint, session, cluster.fsid, 1, count);
      await until("all answers", () => answers.tids.length >= count && answers.pings >= count);
      assertInOrder(answers, count);
      const { here, there } = answers.resumed;
      assert.ok(here + there > 10, `cut often: ${here} times resumed by us, ${there} by the mon`);
      assert.ok(step < 0 ? here > 0 : there > 0, `${here} resumed by us, ${there} by the mon`);
      assert.equal(endpoint.messenger.counters.gaps, 0);
      await endpoint.close();
    },
  });
}

Deno.test({
  name: "a mon that is killed and comes back has forgotten the session: reset, and a new one",
  ignore,
  async fn() {
    await using cluster = await CephCluster.start({ auth: "none" });
    const endpoint = monEndpoint();
    await endpoint.listen("v2:127.0.0.1:0");
    const answers = new Answers(endpoint);
    const session = await endpoint.connect(cluster.monAddrs[0]!, POLICIES.losslessPeerReuse);
    await sendAll(endpoint, session, cluster.fsid, 1, 1);
    await until("an answer", () => answers.tids.length === 1);
    await cluster.killMon(0);
    await until("the fault", () => session.state !== SessionState.Ready);
    await cluster.startMon(0);
    session.send({ type: MessageType.Ping });
    await until("a new session", () => session.state === SessionState.Ready);
    assert.equal(endpoint.messenger.counters.remoteResets, 1, "RESET_SESSION full");
    await sendAll(endpoint, session, cluster.fsid, 2, 2);
    await until("another answer", () => answers.tids.length === 2);
    await endpoint.close();
  },
});
