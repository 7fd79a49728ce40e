/**
 * Fairlead as a lossless peer of a real monitor, which keeps the session, connects back and
 * answers RECONNECT; with connections cut by us, by the kernel and by Ceph's own fault injection.
 */
import assert from "node:assert/strict";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { SessionState } from "../../src/proto/msgr2/session.ts";
import { MessageType } from "../../src/wire/ceph/message_type.ts";
import { CephCluster } from "./ceph_cluster.ts";
import { findPeer, ignoreWithout } from "./debian_peers.ts";
import { Answers, listenBeside, monEndpoint, sendAll, until } from "./mon_peer.ts";
import { canMakeNamespaces, NamespacePair } from "./netns.ts";

const pacific = await findPeer("pacific");
const ignore = ignoreWithout(pacific);
// In CI a missing means is a failure, not a skip.
const noNamespaces = Deno.env.get("CI") !== "true" && !(await canMakeNamespaces());

function assertInOrder(answers: Answers, count: number): void {
  assert.deepEqual(answers.tids, Array.from({ length: count }, (_, index) => index + 1));
  assert.equal(answers.pings, count);
}

Deno.test({
  name: "a real mon keeps a lossless session with us, and answers RECONNECT after a cut",
  ignore,
  async fn(): Promise<void> {
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
    async fn(): Promise<void> {
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
  async fn(): Promise<void> {
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

Deno.test({
  name: "ss -K cuts the sockets under a session with a mon: none lost, doubled or out of order",
  ignore: ignore || noNamespaces,
  async fn(): Promise<void> {
    await using pair = await NamespacePair.create();
    await using cluster = await CephCluster.start({ auth: "none", place: { netns: pair.near } });
    const program = new URL("./mon_peer.ts", import.meta.url).pathname;
    const count = 5000;
    const argv = [Deno.execPath(), "run", "-A", program];
    const monPort = cluster.monPorts[0]!;
    const ownPort = monPort + 1;
    argv.push(cluster.monAddrs[0]!, cluster.fsid, `${count}`, `${ownPort}`);
    let running = true;
    const finished = pair.run(pair.near, argv, { deadlineMs: 90_000 }).finally(() =>
      running = false
    );
    let cuts = 0;
    while (running) {
      for (const port of [monPort, ownPort]) cuts += await pair.cut(pair.near, port);
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    const { code, stdout, stderr } = await finished;
    assert.equal(code, 0, stderr);
    const { tids, pings, gaps, reconnects } = JSON.parse(stdout);
    assert.deepEqual(tids, Array.from({ length: count }, (_, index) => index + 1));
    assert.equal(pings, count);
    assert.equal(gaps, 0);
    assert.ok(reconnects > 3, `${cuts} sockets cut, ${reconnects} reconnects`);
  },
});
