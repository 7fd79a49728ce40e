/** One test per trap of the kernel's interface to path managers; the fake kernel has them all. */
import assert from "node:assert/strict";
import { INTERFACE_DEFAULT, PATH_POLICY_DEFAULTS } from "../../src/proto/mptcp/path_policy.ts";
import { at, connected, Rig, twoLinks } from "./fake_mptcp_kernel.ts";

const ANNOUNCING = { interfaces: [{ ...INTERFACE_DEFAULT, name: "*", announce: true }] };

/** An accepted connection, to which the peer joined over eth1. */
function accepted(rig: Rig): void {
  rig.kernel.connect(1, at("10.9.1.1", 7000), at("10.9.1.2", 40_001), { serverSide: true });
  rig.kernel.peerJoins(1, "10.9.2.1", at("10.9.2.2", 40_002), 4);
  rig.run(100);
}

Deno.test("trap 1: a client is not established before data, and ENOTCONN is waited out", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.1.2", 7000));
  rig.run(10_000);
  assert.deepEqual(rig.takeLog(), []);
  // A dump that says more than the kernel does.
  rig.manager.handleFound(
    rig.kernel.dump().map((one) => ({
      ...one,
      subflows: one.subflows.map((subflow) => ({ ...subflow, fullyEstablished: true })),
    })),
    rig.kernel.nowMs,
  );
  rig.run(8000);
  assert.equal(rig.takeLog().length, 4);
  rig.kernel.data(1);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), ["create 1 10.9.2.1>10.9.1.2:7000"]);
});

Deno.test("trap 2: announcements are paced, and one that is told again is told once", () => {
  const rig = twoLinks(ANNOUNCING);
  for (let host = 10; host < 15; host++) rig.kernel.addAddress(3, `10.9.2.${host}`);
  const connection = connected(rig);
  rig.run(5000);
  assert.equal(connection.peerKnows.size, 6);
  assert.equal(rig.kernel.counters.EchoAddTxDrop, 0);
  rig.takeEvents();
  rig.kernel.peerAnnounces(1, 5, at("10.9.2.2", 7000));
  rig.kernel.peerAnnounces(1, 5, at("::ffff:10.9.2.2", 7000));
  rig.kernel.peerRemoves(1, 9);
  rig.kernel.peerAnnounces(1, 5, at("10.9.2.2", 7000));
  rig.settle();
  const told = rig.takeEvents().filter((event) => event.name === "new_addr");
  assert.equal(told.length, 1);
});

Deno.test("trap 3: removals are paced, and left-overs of the peer's burst are destroyed", () => {
  const rig = twoLinks();
  for (let host = 10; host < 14; host++) rig.kernel.addAddress(3, `10.9.2.${host}`);
  connected(rig);
  rig.takeLog();
  rig.kernel.link(3, "eth1", false);
  rig.run(5000);
  assert.equal(rig.kernel.counters.RmAddrDrop, 0);
  assert.deepEqual(rig.paths(1), ["10.9.1.1>10.9.1.2"]);
  assert.equal(rig.takeLog().filter((line) => line.startsWith("remove")).length, 5);

  const other = twoLinks();
  connected(other);
  for (const id of [4, 5, 6]) other.kernel.peerAnnounces(1, id, at(`10.9.2.${id}`, 7000));
  other.run(1000);
  assert.equal(other.paths(1).length, 8);
  other.takeLog();
  for (const id of [4, 5, 6]) other.kernel.peerRemoves(1, id);
  other.settle();
  assert.deepEqual(other.takeLog(), []);
  other.run(1000);
  assert.equal(other.takeLog().filter((line) => line.startsWith("destroy")).length, 4);
  assert.deepEqual(other.paths(1), ["10.9.1.1>10.9.1.2", "10.9.2.1>10.9.1.2"]);
});

Deno.test("trap 3: the last subflow is kept, though the peer removed its address", () => {
  const rig = new Rig();
  rig.kernel.link(2, "eth0", true, "10.9.1.1");
  connected(rig);
  rig.manager.handleRemoved(1, 0, rig.kernel.nowMs); // and its kernel dropped it
  rig.run(5000);
  assert.deepEqual(rig.takeLog(), []);
  rig.kernel.link(3, "eth1", true, "10.9.2.1");
  rig.run(5000);
  assert.deepEqual(rig.takeLog(), []);
});

Deno.test("trap 4: an address that the kernel forgot is announced again before it is removed", () => {
  for (const how of ["create", "destroy"]) {
    const rig = twoLinks(ANNOUNCING);
    const connection = connected(rig);
    assert.equal(connection.peerKnows.get(1), "10.9.2.1");
    if (how === "destroy") {
      rig.kernel.peerAnnounces(1, 2, at("10.9.2.2", 7000));
      rig.run(1000);
      const second = [...rig.manager.connections.get(1)!.subflows.values()]
        .filter(({ localId }) => localId === 1);
      rig.manager.removeSubflow(1, second[0]!.id, rig.kernel.nowMs);
    } else {
      rig.fail = ({ kind }) => {
        if (kind !== "create") return null;
        connection.entries.delete(1);
        connection.announced.delete(1);
        return { errno: 101, text: "connect error: -101" };
      };
      rig.kernel.closeSubflow(1, 1);
    }
    rig.run(2000);
    assert.equal(connection.announced.has(1), false, how);
    rig.takeLog();
    rig.kernel.link(3, "eth1", false);
    rig.run(1000);
    assert.deepEqual(rig.takeLog().slice(0, 2), ["announce 1 10.9.2.1", "remove 1"], how);
    assert.equal(connection.peerKnows.has(1), false, how);
  }
});

Deno.test("trap 4: an address of which the policy ended a subflow is announced before it is removed", () => {
  const rule = { ...INTERFACE_DEFAULT, name: "eth1", announce: true };
  const rig = twoLinks({ interfaces: [{ ...rule, subflows: 2 }] });
  const connection = connected(rig);
  rig.run(1000);
  rig.takeLog();
  rig.manager.setPolicy({ ...PATH_POLICY_DEFAULTS, interfaces: [rule] }, rig.kernel.nowMs);
  rig.run(1000);
  rig.kernel.link(3, "eth1", false);
  rig.run(1000);
  assert.deepEqual(rig.takeLog(), [
    "destroy 10.9.2.1>10.9.1.2",
    "announce 1 10.9.2.1",
    "remove 1",
    "destroy 10.9.2.1>10.9.1.2",
  ]);
  assert.equal(connection.peerKnows.size, 0);
});

Deno.test("trap 5: every address but the initial one has an id of its own", () => {
  const rig = twoLinks();
  for (let host = 10; host < 14; host++) rig.kernel.addAddress(3, `10.9.2.${host}`);
  connected(rig);
  const ids = rig.commands.map((command) => command.kind === "create" ? command.id : -1);
  assert.deepEqual(ids, [1, 2, 3, 4, 5]);
});

Deno.test("trap 6: an id that the kernel gave by itself is kept when the address is announced", () => {
  const rig = twoLinks(ANNOUNCING);
  rig.kernel.addAddress(3, "10.9.2.7");
  rig.kernel.connect(1, at("10.9.1.1", 7000), at("10.9.1.2", 40_001), { serverSide: true });
  rig.kernel.peerJoins(1, "10.9.2.7", at("10.9.2.2", 40_002), 4);
  rig.run(1000);
  assert.deepEqual(rig.takeLog(), ["announce 2 10.9.2.1", "announce 1 10.9.2.7"]);
});

Deno.test("trap 6: an id that was not known is given up for another one", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.1.2", 7000));
  rig.kernel.connections.get(1)!.entries.set(1, "10.9.7.7");
  rig.kernel.data(1);
  rig.run(2000);
  assert.deepEqual(rig.takeLog(), [
    "create 1 10.9.2.1>10.9.1.2:7000",
    "create 2 10.9.2.1>10.9.1.2:7000",
  ]);
  assert.equal(rig.paths(1).length, 2);
});

Deno.test("trap 7: a priority names both ports, and so one subflow", () => {
  const rig = twoLinks({ interfaces: [{ ...INTERFACE_DEFAULT, name: "eth1", subflows: 2 }] });
  connected(rig);
  rig.manager.setBackup(1, 2, true, rig.kernel.nowMs);
  rig.run(100);
  assert.deepEqual(rig.paths(1).filter((path) => path.endsWith("*")).length, 1);
  for (const command of rig.commands) {
    if (command.kind !== "setBackup" && command.kind !== "destroy") continue;
    assert.ok(command.local.port > 0 && command.remote.port > 0);
  }
});

Deno.test("trap 8: our own priority is remembered, as no event tells it", () => {
  const rig = twoLinks({
    layout: "primary-backup",
    interfaces: [{ ...INTERFACE_DEFAULT, name: "eth1", role: "backup" }],
  });
  connected(rig);
  const second = rig.manager.connections.get(1)!.subflows.get(1)!;
  assert.deepEqual([second.backupLocal, second.backupRemote], [true, false]);
  rig.kernel.peerSetsBackup(1, 1, true);
  rig.settle();
  assert.deepEqual([second.backupLocal, second.backupRemote], [true, true]);
  // Somebody else changed it; sock_diag says so, and the policy is restored.
  rig.kernel.connections.get(1)!.subflows[1]!.backupLocal = false;
  rig.takeLog();
  rig.resync();
  assert.deepEqual(rig.takeLog(), ["demote 10.9.2.1"]);
});

Deno.test("trap 9: a connection that was aborted is found missing, or told by invalid token", () => {
  const rig = twoLinks();
  connected(rig, 1);
  connected(rig, 2);
  rig.takeEvents();
  rig.kernel.abort(1);
  rig.resync();
  assert.deepEqual(rig.takeEvents().at(-1), { name: "conn_closed", token: 1, found: true });
  rig.kernel.abort(2);
  rig.kernel.link(3, "eth1", false);
  rig.run(100);
  assert.deepEqual(rig.takeEvents().at(-1), { name: "conn_closed", token: 2, found: true });
  assert.equal(rig.manager.connections.size, 0);
  assert.equal(rig.manager.pollDeadline(), Infinity);
});

Deno.test("trap 9: a token that is used again is another connection", () => {
  const rig = twoLinks();
  connected(rig, 1, 33_001);
  rig.kernel.abort(1);
  connected(rig, 1, 33_777);
  const names = rig.takeEvents().map(({ name }) => name);
  assert.equal(names.filter((name) => name === "new_connection").length, 2);
  assert.equal(names.filter((name) => name === "conn_closed").length, 1);
  assert.equal(rig.manager.connections.get(1)!.local.port, 33_777);
});

Deno.test("trap 10: CLOSED of a connection that fell back to TCP is ignored", () => {
  const rig = twoLinks();
  rig.settle();
  rig.takeEvents();
  rig.manager.handleClosed(77, rig.kernel.nowMs);
  rig.settle();
  assert.deepEqual(rig.takeEvents(), []);
  assert.equal(rig.manager.connections.size, 0);
});

Deno.test("trap 11: links and addresses that go are seen without an event of MPTCP", () => {
  const rig = twoLinks();
  connected(rig);
  rig.takeLog();
  rig.manager.handleLinkGone(3, rig.kernel.nowMs);
  rig.settle();
  assert.deepEqual(rig.takeLog(), ["remove 1", "destroy 10.9.2.1>10.9.1.2"]);
  const note = rig.takeEvents().findLast((event) => event.name === "note");
  assert.equal(
    note?.name === "note" && note.text,
    "eth1 is gone: 1 connection moved to other paths",
  );
});

Deno.test("trap 12: after events were lost everything is as if they had come", () => {
  const rig = twoLinks();
  rig.settle();
  rig.kernel.deaf = true;
  for (let token = 1; token <= 300; token++) {
    rig.kernel.connect(token, at("10.9.1.1", 33_000 + token), at("10.9.1.2", 7000));
    rig.kernel.data(token);
  }
  assert.equal(rig.kernel.lost, 600);
  rig.kernel.deaf = false;
  rig.resync();
  rig.run(1000);
  for (let token = 1; token <= 300; token++) assert.equal(rig.paths(token).length, 2);
});

Deno.test("traps 13 and 14: a refused join is tried again with back-off until it is accepted", () => {
  const rig = twoLinks();
  rig.kernel.listened = false;
  connected(rig);
  rig.run(20_000);
  assert.equal(rig.takeLog().length, 5);
  rig.kernel.listened = true;
  rig.run(20_000);
  assert.equal(rig.takeLog().length, 1);
  assert.equal(rig.paths(1).length, 2);
});

Deno.test("trap 15: the initial address of a peer that denies it is not joined", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.1.2", 7000), { denyJoinId0: true });
  rig.kernel.data(1);
  rig.run(10_000);
  assert.deepEqual(rig.takeLog(), []);
});

Deno.test("trap 16: IPv6 is announced without a port", () => {
  const rig = twoLinks(ANNOUNCING);
  rig.kernel.addAddress(3, "fd09:2::1");
  rig.kernel.connect(1, at("fd09:1::1", 7000), at("fd09:1::2", 40_001), { serverSide: true });
  rig.run(1000);
  const { manager, kernel } = rig;
  const refused = manager.sendAddr(1, 0, at("fd09:2::1", 9000), kernel.nowMs);
  assert.match("error" in refused ? refused.error : "", /leave the port out/);
  assert.ok("serial" in manager.sendAddr(1, 0, at("fd09:2::1", 7000), kernel.nowMs));
  rig.run(1000);
  assert.equal(kernel.counters.AddAddrTxDrop, 0);
});

Deno.test("trap 17: a subflow is named in the form in which the kernel told it", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("::ffff:10.9.1.1", 33_001), at("::ffff:10.9.1.2", 7000));
  rig.kernel.data(1);
  rig.run(100);
  rig.kernel.link(2, "eth0", false);
  rig.run(100);
  assert.deepEqual(rig.paths(1), ["::ffff:10.9.2.1>::ffff:10.9.1.2"]);
});

Deno.test("trap 18: a connection without any subflow gets new ones", () => {
  const rig = twoLinks();
  connected(rig);
  rig.kernel.closeSubflow(1, 1);
  rig.kernel.closeSubflow(1, 0);
  rig.settle();
  assert.equal(rig.manager.connections.get(1)!.subflows.size, 0);
  rig.run(2000);
  assert.equal(rig.paths(1).length, 2);
});

Deno.test("trap 19: the end of a subflow that never was changes nothing", () => {
  const rig = twoLinks();
  connected(rig);
  rig.takeLog();
  rig.takeEvents();
  const nowhere = {
    token: 1,
    local: at("0.0.0.0", 0),
    remote: at("0.0.0.0", 0),
    localId: 0,
    remoteId: 0,
    backup: false,
    interfaceIndex: 0,
    error: 0,
    resetReason: -1,
  };
  rig.manager.handleSubflowClosed(nowhere, rig.kernel.nowMs);
  rig.manager.handleSubflow(nowhere, rig.kernel.nowMs);
  rig.run(10_000);
  assert.deepEqual(rig.takeEvents(), []);
  assert.deepEqual(rig.takeLog(), []);
});

Deno.test("subflows over a dead link are destroyed though the peer's answer cannot come", () => {
  const rig = twoLinks();
  accepted(rig);
  rig.kernel.link(3, "eth1", false);
  rig.run(100);
  assert.deepEqual(rig.paths(1), ["10.9.1.1>10.9.1.2"]);
  assert.equal(rig.manager.connections.get(1)!.subflows.size, 1);
});

Deno.test("an answer that never comes is a failure after a while", () => {
  const rig = twoLinks();
  rig.settle();
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.1.2", 7000));
  rig.kernel.data(1);
  rig.kernel.deliver(rig.manager);
  assert.equal(rig.manager.pollCommand()?.kind, "create");
  assert.equal(rig.manager.pollCommand(), null); // its result is lost
  rig.run(29_000);
  assert.deepEqual(rig.takeLog(), []);
  rig.run(3000);
  assert.deepEqual(rig.takeLog(), ["create 1 10.9.2.1>10.9.1.2:7000"]);
  rig.manager.handleResult(999_999, 0, "", rig.kernel.nowMs);
  rig.manager.handleResult(1, 22, "invalid token", rig.kernel.nowMs);
  assert.equal(rig.manager.connections.size, 1);
});
