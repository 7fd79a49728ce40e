/** The path manager's life of a connection, and what other programs ask of it. */
import assert from "node:assert/strict";
import type { PathCommand, SubflowEvent } from "../../src/proto/mptcp/path_events.ts";
import { PathManager } from "../../src/proto/mptcp/path_manager.ts";
import { INTERFACE_DEFAULT, PATH_POLICY_DEFAULTS } from "../../src/proto/mptcp/path_policy.ts";
import { at, connected, Rig, subflowEvent, twoLinks } from "./fake_mptcp_kernel.ts";

Deno.test("a client's connection gets a second subflow when it is established", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.1.2", 7000));
  rig.run(500);
  assert.deepEqual(rig.takeLog(), []);
  const land = ["link", "address", "link", "address"];
  assert.deepEqual(rig.takeEvents().map(({ name }) => name), land);
  rig.kernel.data(1);
  rig.run(500);
  assert.deepEqual(rig.takeLog(), ["create 1 10.9.2.1>10.9.1.2:7000"]);
  const [created] = rig.commands;
  assert.equal(created?.kind === "create" && created.interfaceIndex, 3);
  assert.deepEqual(rig.takeEvents().map(({ name }) => name), ["new_connection", "new_subflow"]);
  assert.deepEqual([...rig.manager.connections.get(1)!.subflows.keys()], [0, 1]);
});

Deno.test("an accepted connection gets none, and its announced addresses are announced", () => {
  const rig = twoLinks({
    interfaces: [{ ...INTERFACE_DEFAULT, name: "eth*", announce: true }],
  });
  rig.kernel.connect(1, at("10.9.1.1", 7000), at("10.9.1.2", 40_001), { serverSide: true });
  rig.run(1000);
  assert.deepEqual(rig.takeLog(), ["announce 1 10.9.2.1"]);
});

Deno.test("announced addresses of the peer are joined, its initial one not when it denies that", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.1.2", 7000), { denyJoinId0: true });
  rig.kernel.data(1);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), []);
  rig.kernel.peerAnnounces(1, 5, at("10.9.2.2", 7000));
  rig.run(100);
  // The address of the first subflow keeps the id 0.
  assert.deepEqual(rig.takeLog(), [
    "create 0 10.9.1.1>10.9.2.2:7000",
    "create 1 10.9.2.1>10.9.2.2:7000",
  ]);
});

Deno.test("a lost carrier moves the connection at once: remove, then destroy", () => {
  const rig = twoLinks();
  connected(rig);
  rig.takeLog();
  rig.takeEvents();
  rig.kernel.link(2, "eth0", false);
  rig.settle();
  assert.deepEqual(rig.takeLog(), ["remove 0", "destroy 10.9.1.1>10.9.1.2"]);
  const notes = rig.takeEvents().filter((event) => event.name === "note");
  assert.deepEqual(notes.map((note) => note.name === "note" && note.text), [
    "eth0 lost its carrier: 1 connection moved to other paths",
  ]);
  rig.kernel.link(2, "eth0", true);
  rig.run(1900);
  assert.deepEqual(rig.takeLog(), []);
  rig.run(200);
  assert.deepEqual(rig.takeLog(), ["create 0 10.9.1.1>10.9.1.2:7000"]);
  assert.deepEqual(rig.paths(1), ["10.9.1.1>10.9.1.2", "10.9.2.1>10.9.1.2"]);
});

Deno.test("the last subflow is left alone, and dropped when another one is there", () => {
  const rig = new Rig();
  rig.kernel.link(2, "eth0", true, "10.9.1.1");
  connected(rig);
  rig.kernel.link(2, "eth0", false);
  rig.run(5000);
  assert.deepEqual(rig.takeLog(), []);
  rig.kernel.link(3, "eth1", true, "10.9.2.1");
  rig.run(1000);
  assert.deepEqual(rig.takeLog(), [
    "create 1 10.9.2.1>10.9.1.2:7000",
    "remove 0",
    "destroy 10.9.1.1>10.9.1.2",
  ]);
});

Deno.test("an address that goes takes its subflows along", () => {
  const rig = twoLinks();
  connected(rig);
  rig.takeLog();
  rig.kernel.removeAddress(3, "10.9.2.1");
  rig.run(100);
  assert.deepEqual(rig.takeLog(), ["remove 1", "destroy 10.9.2.1>10.9.1.2"]);
  rig.run(100_000);
  assert.deepEqual(rig.takeLog(), []);
});

Deno.test("the backup is promoted before the lost path is removed", () => {
  const rig = twoLinks({
    layout: "primary-backup",
    interfaces: [
      { ...INTERFACE_DEFAULT, name: "eth0" },
      { ...INTERFACE_DEFAULT, name: "eth1", role: "backup" },
    ],
  });
  connected(rig);
  assert.deepEqual(rig.takeLog(), ["create 1 10.9.2.1>10.9.1.2:7000*"]);
  rig.kernel.link(2, "eth0", false);
  rig.settle();
  assert.deepEqual(rig.takeLog(), ["promote 10.9.2.1", "remove 0", "destroy 10.9.1.1>10.9.1.2"]);
  rig.kernel.link(2, "eth0", true);
  rig.run(5000);
  assert.deepEqual(rig.takeLog(), ["create 0 10.9.1.1>10.9.1.2:7000", "demote 10.9.2.1"]);
});

Deno.test("a server announces an address again whose link was lost and came back", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("10.9.1.1", 7000), at("10.9.1.2", 40_001), { serverSide: true });
  rig.kernel.peerJoins(1, "10.9.2.1", at("10.9.2.2", 40_002), 4);
  rig.run(100);
  rig.kernel.link(3, "eth1", false);
  rig.settle();
  assert.deepEqual(rig.takeLog(), ["remove 1", "destroy 10.9.2.1>10.9.2.2"]);
  rig.kernel.link(3, "eth1", true);
  rig.run(5000);
  assert.deepEqual(rig.takeLog(), ["announce 1 10.9.2.1"]);
  rig.kernel.link(2, "eth0", false);
  rig.kernel.peerJoins(1, "10.9.2.1", at("10.9.2.2", 40_003), 4);
  rig.settle();
  rig.kernel.link(2, "eth0", true);
  rig.run(5000);
  // The initial address has no id to be announced by but a new one.
  assert.deepEqual(rig.takeLog(), [
    "remove 0",
    "destroy 10.9.1.1>10.9.1.2",
    "announce 2 10.9.1.1",
  ]);
});

Deno.test("a path that fails is tried again ever later, and at once when its link changed", () => {
  const rig = twoLinks();
  connected(rig, 1);
  rig.kernel.connections.get(1)!.peer.get("10.9.1.2 7000")!.does = "refuses";
  rig.kernel.closeSubflow(1, 1, 111);
  rig.takeLog();
  const times: number[] = [];
  for (let step = 0; step < 200; step++) {
    rig.run(100);
    if (rig.takeLog().length > 0) times.push((step + 1) * 100);
  }
  assert.deepEqual(times, [1000, 3100, 7100, 15100]);
  rig.kernel.addAddress(2, "10.9.1.9");
  rig.kernel.removeAddress(3, "10.9.2.1");
  rig.kernel.addAddress(3, "10.9.2.1");
  rig.run(20);
  assert.deepEqual(rig.takeLog(), [
    "create 2 10.9.1.9>10.9.1.2:7000",
    "create 1 10.9.2.1>10.9.1.2:7000",
  ]);
});

Deno.test("a peer that says that it prohibits a path is asked much later", () => {
  const rig = twoLinks();
  connected(rig);
  rig.takeLog();
  rig.kernel.closeSubflow(1, 1, 104, 3);
  rig.run(59_000);
  assert.deepEqual(rig.takeLog(), []);
  rig.run(2000);
  assert.deepEqual(rig.takeLog(), ["create 1 10.9.2.1>10.9.1.2:7000"]);
});

Deno.test("an IPv6 socket joins IPv4 addresses in the form of its own", () => {
  const rig = twoLinks();
  rig.kernel.addAddress(3, "fd09:2::1");
  rig.kernel.connect(1, at("::ffff:10.9.1.1", 33_001), at("::ffff:10.9.1.2", 7000));
  rig.kernel.data(1);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), ["create 1 ::ffff:10.9.2.1>::ffff:10.9.1.2:7000"]);
  rig.kernel.peerAnnounces(1, 2, at("fd09:2::2", 7000));
  rig.run(100);
  assert.deepEqual(rig.takeLog(), ["create 2 fd09:2::1>fd09:2::2:7000"]);
});

Deno.test("families that the socket cannot have are not tried again", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("fd09:1::1", 33_001), at("fd09:1::2", 7000), { v6Only: true });
  rig.kernel.data(1);
  rig.kernel.peerAnnounces(1, 2, at("10.9.2.2", 7000));
  rig.run(500_000);
  assert.deepEqual(rig.takeLog().length, 2);
});

Deno.test("running connections are taken over, those of the client's side by their ports", () => {
  const rig = twoLinks();
  rig.kernel.deaf = true;
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.1.2", 7000));
  rig.kernel.data(1);
  rig.kernel.connect(2, at("10.9.1.1", 7000), at("10.9.1.2", 33_002), { serverSide: true });
  rig.resync();
  assert.deepEqual(rig.takeLog(), ["create 1 10.9.2.1>10.9.1.2:7000"]);
  const told = rig.takeEvents().filter((event) => event.name === "new_connection");
  assert.deepEqual(told.map((event) => event.name === "new_connection" && event.found), [
    true,
    true,
  ]);
  assert.equal(rig.manager.connections.get(2)!.serverSide, true);
});

Deno.test("a resync corrects what was missed: subflows, backups, ends", () => {
  const rig = twoLinks();
  connected(rig, 1);
  connected(rig, 2);
  rig.takeEvents();
  rig.kernel.deaf = true;
  rig.kernel.closeSubflow(1, 1);
  rig.kernel.peerSetsBackup(1, 0, true);
  rig.kernel.close(2);
  rig.kernel.deaf = false;
  rig.resync();
  const told = rig.takeEvents().map((event) =>
    event.name + ("token" in event ? ` ${event.token}` : "")
  );
  assert.deepEqual(told, [
    "subflow_closed 2",
    "subflow_closed 2",
    "conn_closed 2",
    "subflow_priority 1",
    "subflow_closed 1",
  ]);
  assert.equal(rig.manager.connections.has(2), false);
});

Deno.test("an event of an unknown token is kept until its connection is found", () => {
  const rig = twoLinks();
  rig.kernel.deaf = true;
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.1.2", 7000));
  rig.kernel.data(1);
  rig.kernel.deaf = false;
  rig.kernel.peerAnnounces(1, 3, at("10.9.2.2", 7000));
  rig.settle();
  assert.equal(rig.manager.wantsFound, true);
  const land = ["link", "address", "link", "address"];
  assert.deepEqual(rig.takeEvents().map(({ name }) => name), land);
  rig.resync();
  assert.equal(rig.manager.wantsFound, false);
  assert.deepEqual(rig.takeEvents().map(({ name }) => name), ["new_connection", "new_addr"]);
  assert.equal(rig.takeLog().length, 3);
});

Deno.test("close() withdraws what was announced, at its pace, and ends nothing", () => {
  const rig = twoLinks({ interfaces: [{ ...INTERFACE_DEFAULT, name: "*", announce: true }] });
  rig.kernel.addAddress(3, "10.9.2.9");
  const connection = connected(rig);
  rig.run(2000);
  assert.deepEqual([...connection.peerKnows.keys()].sort(), [1, 2]);
  rig.takeLog();
  rig.manager.close(rig.kernel.nowMs);
  rig.settle();
  assert.deepEqual(rig.takeLog(), ["remove 1"]);
  rig.run(5000);
  assert.deepEqual(rig.takeLog(), ["remove 2"]);
  assert.equal(rig.manager.pollDeadline(), Infinity);
  assert.equal(connection.peerKnows.size, 0);
  assert.deepEqual(rig.paths(1), ["10.9.1.1>10.9.1.2"]);
});

Deno.test("a policy that is read again adds and takes away", () => {
  const rig = twoLinks();
  connected(rig);
  rig.takeLog();
  const off = { ...INTERFACE_DEFAULT, name: "eth1", role: "off" as const };
  rig.manager.setPolicy({ ...PATH_POLICY_DEFAULTS, interfaces: [off] }, rig.kernel.nowMs);
  rig.run(1000);
  assert.deepEqual(rig.takeLog(), ["remove 1", "destroy 10.9.2.1>10.9.1.2"]);
  const twice = { ...INTERFACE_DEFAULT, name: "eth1", subflows: 2 };
  rig.manager.setPolicy({ ...PATH_POLICY_DEFAULTS, interfaces: [twice] }, rig.kernel.nowMs);
  rig.run(1000);
  assert.equal(rig.takeLog().length, 2);
  rig.manager.setPolicy(PATH_POLICY_DEFAULTS, rig.kernel.nowMs);
  rig.run(1000);
  assert.deepEqual(rig.takeLog(), ["destroy 10.9.2.1>10.9.1.2"]);
});

Deno.test("when priorities change, the promoted one is told before the demoted one", () => {
  const rig = twoLinks({ layout: "primary-backup" });
  connected(rig);
  rig.run(2000);
  const turn = (best: string): string[] => {
    rig.takeLog();
    const interfaces = [{ ...INTERFACE_DEFAULT, name: best, priority: 1 }];
    const policy = { ...PATH_POLICY_DEFAULTS, layout: "primary-backup" as const, interfaces };
    rig.manager.setPolicy(policy, rig.kernel.nowMs);
    rig.run(100);
    return rig.takeLog();
  };
  assert.deepEqual(turn("eth1"), ["demote 10.9.1.1"]);
  assert.deepEqual(turn("eth0"), ["promote 10.9.1.1", "demote 10.9.2.1"]);
  assert.deepEqual(turn("eth1"), ["promote 10.9.2.1", "demote 10.9.1.1"]);
});

Deno.test("joins of a connection get the rule of it, and lose it at its end", () => {
  const rig = twoLinks({
    connections: [{
      destination: "10.9.1.0/24",
      port: 0,
      layout: "none",
      subflowsMax: 8,
      interfaces: [],
      joins: "refuse",
    }],
  });
  connected(rig);
  assert.deepEqual(rig.takeLog(), ["joins refuse"]);
  assert.ok("serial" in rig.manager.setJoins(1, "accept", rig.kernel.nowMs));
  rig.settle();
  rig.kernel.close(1);
  rig.settle();
  assert.deepEqual(rig.takeLog(), ["joins accept", "joins default"]);
});

Deno.test("add_subflow makes what it says under the number it says, and it is kept", () => {
  const rig = twoLinks({ layout: "none" });
  connected(rig);
  const { manager, kernel } = rig;
  const request = manager.addSubflow(1, {
    localId: 9,
    local: "10.9.2.1",
    localPort: 0,
    remoteId: 0,
    remote: null,
    backup: true,
    subflow: 7,
  }, kernel.nowMs);
  assert.equal("subflow" in request && request.subflow, 7);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), ["create 9 10.9.2.1>10.9.1.2:7000*"]);
  assert.deepEqual([...manager.connections.get(1)!.subflows.keys()], [0, 7]);
  // The policy would make it a carrier.
  manager.setPolicy(PATH_POLICY_DEFAULTS, kernel.nowMs);
  rig.run(1000);
  assert.deepEqual(rig.takeLog(), []);
  manager.setBackup(1, 7, null, kernel.nowMs);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), ["promote 10.9.2.1"]);
});

Deno.test("remove_subflow removes the address of a last subflow, and it is not made again", () => {
  const rig = twoLinks({ interfaces: [{ ...INTERFACE_DEFAULT, name: "eth1", subflows: 2 }] });
  connected(rig);
  rig.takeLog();
  rig.manager.removeSubflow(1, 1, rig.kernel.nowMs);
  rig.run(100);
  rig.manager.removeSubflow(1, 2, rig.kernel.nowMs);
  rig.run(200_000);
  assert.deepEqual(rig.takeLog().slice(0, 2), ["destroy 10.9.2.1>10.9.1.2", "remove 1"]);
  assert.deepEqual(rig.paths(1), ["10.9.1.1>10.9.1.2"]);
});

Deno.test("set_backup wins over the policy", () => {
  const rig = twoLinks();
  connected(rig);
  rig.takeLog();
  rig.manager.setBackup(1, 1, true, rig.kernel.nowMs);
  rig.run(10_000);
  assert.deepEqual(rig.takeLog(), ["demote 10.9.2.1"]);
  const told = rig.takeEvents().filter((event) => event.name === "subflow_priority");
  assert.deepEqual(told.map((event) => event.name === "subflow_priority" && event.by), ["local"]);
});

Deno.test("send_addr announces, also two of them one after the other", () => {
  const rig = twoLinks();
  const connection = connected(rig);
  rig.kernel.addAddress(3, "10.9.2.7");
  rig.takeLog();
  const { manager, kernel } = rig;
  assert.ok("serial" in manager.sendAddr(1, 0, at("10.9.2.1", 0), kernel.nowMs));
  assert.ok("serial" in manager.sendAddr(1, 77, at("10.9.2.8", 9000), kernel.nowMs));
  rig.run(1000);
  assert.deepEqual([...connection.peerKnows], [[1, "10.9.2.1"], [77, "10.9.2.8"]]);
  assert.equal(kernel.counters.EchoAddTxDrop, 0);
});

Deno.test("allow_join gives the subflow that comes a number and a priority", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("10.9.1.1", 7000), at("10.9.1.2", 40_001), { serverSide: true });
  rig.settle();
  rig.manager.allowJoin(1, 4, true, 12, rig.kernel.nowMs);
  rig.kernel.peerJoins(1, "10.9.2.1", at("10.9.2.2", 40_002), 4);
  rig.run(100);
  assert.deepEqual([...rig.manager.connections.get(1)!.subflows.keys()], [0, 12]);
  assert.deepEqual(rig.takeLog(), ["demote 10.9.2.1"]);
});

Deno.test("requests that cannot be are answered with what is wrong", () => {
  const rig = twoLinks();
  connected(rig);
  rig.kernel.connect(2, at("10.9.1.1", 33_009), at("10.9.1.2", 7000));
  rig.settle();
  const { manager, kernel: { nowMs } } = rig;
  const wish = {
    localId: 9,
    local: null,
    localPort: 0,
    remoteId: 0,
    remote: null,
    backup: null,
    subflow: null,
  };
  const errors: [unknown, RegExp][] = [
    [manager.sendAddr(5, 0, at("10.9.2.1", 0), nowMs), /no such connection: .* is 0x00000005/],
    [manager.sendAddr(1, 256, at("10.9.2.1", 0), nowMs), /must be 0 to 255: current value is 256/],
    [manager.sendAddr(1, 3, at("nowhere", 0), nowMs), /current value is nowhere:0/],
    [manager.sendAddr(1, 3, at("10.9.2.1", 0), nowMs), /has the local address id 1 already/],
    [manager.sendAddr(1, 1, at("10.9.2.9", 0), nowMs), /10.9.2.1 has this local address id/],
    [manager.sendAddr(1, 3, at("fd09::1", 0), nowMs), /connection is an IPv4 one/],
    [manager.sendAddr(1, 0, at("10.9.1.1", 0), nowMs), /address of the first subflow/],
    [manager.addSubflow(2, wish, nowMs), /not established/],
    [manager.addSubflow(1, wish, nowMs), /no such local address id is known: current value is 9/],
    [manager.addSubflow(1, { ...wish, localId: 1, remoteId: 8 }, nowMs), /remote address id .* 8/],
    [manager.addSubflow(1, { ...wish, localId: 1, subflow: 1 }, nowMs), /number is taken/],
    [manager.addSubflow(1, { ...wish, localId: 1, subflow: -1 }, nowMs), /must be 0 to/],
    [manager.addSubflow(1, { ...wish, local: "fd09::1" }, nowMs), /of one family/],
    [manager.setBackup(1, 44, true, nowMs), /no such subflow: current value is 44/],
    [manager.removeSubflow(1, 44, nowMs), /no such subflow/],
    [manager.allowJoin(1, -1, null, null, nowMs), /must be 0 to 255/],
    [manager.allowJoin(1, 4, null, 0, nowMs), /number is taken/],
    [manager.setJoins(9, "accept", nowMs), /no such connection/],
  ];
  for (const [answer, expected] of errors) {
    assert.match((answer as { error: string }).error, expected);
    assert.match((answer as { error: string }).error, /^Cannot .* as /);
  }
});

Deno.test("the kernel's own connections are observed only", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.1.2", 7000), { kernelManaged: true });
  rig.kernel.data(1);
  rig.run(100_000);
  assert.equal(rig.takeLog().length, 1);
  assert.equal(rig.manager.connections.get(1)!.managed, false);
  const answer = rig.manager.setBackup(1, 0, true, rig.kernel.nowMs);
  assert.match("error" in answer ? answer.error : "", /kernel's own path manager/);
});

Deno.test("a denied command is told once, with the remedy", () => {
  const rig = twoLinks();
  rig.fail = () => ({ errno: 1, text: "" });
  connected(rig, 1);
  connected(rig, 2);
  rig.run(100_000);
  const notes = rig.takeEvents().filter((event) => event.name === "note");
  assert.equal(notes.length, 1);
  assert.ok(rig.takeLog().length < 30);
});

Deno.test("a burst of two thousand connections: two thousand second subflows, and empty tables", () => {
  const rig = twoLinks();
  rig.settle();
  for (let token = 1; token <= 2000; token++) {
    rig.kernel.connect(token, at("10.9.1.1", 30_000 + token), at("10.9.1.2", 7000));
    rig.kernel.data(token);
  }
  rig.manager.pollCommand(); // nothing yet
  while (rig.kernel.deliver(rig.manager));
  let created = 0;
  for (let command = rig.manager.pollCommand(); command; command = rig.manager.pollCommand()) {
    if (command.kind === "create") created++;
    const { errno, text } = rig.kernel.command(command);
    rig.manager.handleResult(command.serial, errno, text, rig.kernel.nowMs);
  }
  assert.equal(created, 2000);
  rig.kernel.advance(rig.kernel.nowMs + 50);
  while (rig.kernel.deliver(rig.manager));
  for (const { subflows } of rig.manager.connections.values()) assert.equal(subflows.size, 2);
  for (let token = 1; token <= 2000; token++) {
    if (token % 2 === 0) rig.kernel.close(token);
    else rig.kernel.abort(token);
  }
  while (rig.kernel.deliver(rig.manager));
  rig.manager.handleFound(rig.kernel.dump(), rig.kernel.nowMs);
  assert.equal(rig.manager.connections.size, 0);
  assert.equal(rig.manager.pollDeadline(), Infinity);
});

Deno.test("tables are bounded: connections, addresses of a peer, subflows, events", () => {
  const manager = new PathManager(PATH_POLICY_DEFAULTS);
  const event = {
    token: 0,
    established: true,
    serverSide: true,
    denyJoinId0: false,
    local: at("10.9.1.1", 7000),
    remote: at("10.9.1.2", 40_001),
  };
  for (let token = 0; token < 65_536 + 5; token++) {
    manager.handleConnection({ ...event, token }, 0);
  }
  assert.equal(manager.connections.size, 65_536);
  assert.equal(manager.refusedConnections, 5);
  assert.ok(manager.droppedEvents > 0);
  for (let id = 1; id < 100; id++) manager.handleAnnounced(7, id, at(`10.9.9.${id}`, 1), 0);
  assert.equal(manager.connections.get(7)!.targets().length, 32);
  for (let port = 1; port < 200; port++) {
    const subflow = {
      local: event.local,
      remote: at("10.9.1.9", port),
      localId: 0,
      remoteId: 3,
      interfaceIndex: 0,
      backupLocal: false,
      backupRemote: false,
    };
    manager.handleSubflow(subflowEvent(7, subflow), 0);
  }
  assert.equal(manager.connections.get(7)!.subflows.size, 64);
  assert.equal(manager.refusedSubflows, 199 - 63);
});

Deno.test("why an address has no subflow is told once in a while, with the remedy", () => {
  const manager = new PathManager(PATH_POLICY_DEFAULTS);
  for (const index of [1, 2]) {
    manager.handleLink({ index, name: `e${index}`, up: true, loopback: false }, 0);
    const address = `10.9.${index}.1`;
    manager.handleAddress(
      { index, address, prefixLength: 24, linkLocal: false, usable: true },
      0,
    );
  }
  const local = { address: "10.9.1.1", port: 40_000 };
  const remote = { address: "10.9.9.9", port: 7000 };
  const told = (): string[] => {
    const texts: string[] = [];
    for (let event = manager.pollEvent(); event !== null; event = manager.pollEvent()) {
      if (event.name === "note") texts.push(event.text);
    }
    return texts;
  };
  const established = (token: number, nowMs: number): void => {
    const base = { token, serverSide: false, denyJoinId0: false, local, remote };
    manager.handleConnection({ ...base, established: false }, nowMs);
    manager.handleConnection({ ...base, established: true }, nowMs);
  };
  established(1, 0);
  const command = manager.pollCommand()!;
  assert.equal(command.kind, "create");
  manager.handleResult(command.serial, 101, "connect error: -101", 0);
  assert.match(told().join(), /^No subflow from 10\.9\.2\.1 to 10\.9\.9\.9: no route, each uplink/);
  established(2, 10);
  manager.handleResult(manager.pollCommand()!.serial, 101, "connect error: -101", 10);
  assert.deepEqual(told(), []);
  established(3, 70_000);
  const join = manager.pollCommand()!;
  assert.ok(join.kind === "create");
  manager.handleResult(join.serial, 0, "", 70_000);
  const subflow = {
    token: join.token,
    local: { ...join.local, port: 50_000 },
    remote,
    localId: join.id,
    remoteId: 0,
    backup: false,
    interfaceIndex: 2,
    error: 0,
    resetReason: -1,
  };
  manager.handleSubflow(subflow, 70_000);
  manager.handleSubflowClosed(subflow, 70_001);
  assert.match(told().join(), /the peer ended it at once, its limit of subflows may be reached/);
});

Deno.test("nobody gives way to a better subflow that the peer ends at once", () => {
  const manager = new PathManager({
    ...PATH_POLICY_DEFAULTS,
    layout: "primary-backup",
    interfaces: [{ ...INTERFACE_DEFAULT, name: "e2", role: "backup" }],
  });
  for (const index of [1, 2]) {
    manager.handleLink({ index, name: `e${index}`, up: true, loopback: false }, 0);
    const found = { index, prefixLength: 24, linkLocal: false, usable: true };
    manager.handleAddress({ ...found, address: `10.9.${index}.1` }, 0);
  }
  const commands = (): PathCommand[] => {
    const all: PathCommand[] = [];
    for (let next = manager.pollCommand(); next !== null; next = manager.pollCommand()) {
      manager.handleResult(next.serial, 0, "", 0);
      all.push(next);
    }
    return all;
  };
  const local = { address: "10.9.2.1", port: 40_000 };
  const remote = { address: "10.9.9.9", port: 7000 };
  const base = { token: 1, serverSide: false, denyJoinId0: false, local, remote };
  manager.handleConnection({ ...base, established: true }, 0);
  const join = (nowMs: number, port: number): SubflowEvent => {
    manager.handleDeadline(nowMs);
    const [create] = commands();
    assert.ok(create?.kind === "create" && create.local.address === "10.9.1.1");
    const event = {
      token: 1,
      local: { ...create.local, port },
      remote,
      localId: create.id,
      remoteId: 0,
      backup: false,
      interfaceIndex: 1,
      error: 0,
      resetReason: -1,
    };
    manager.handleSubflow(event, nowMs);
    return event;
  };
  const refused = join(1, 50_001);
  assert.deepEqual(commands(), []);
  manager.handleSubflowClosed(refused, 2);
  assert.deepEqual(commands(), []);
  join(5000, 50_002);
  assert.deepEqual(commands(), []);
  assert.equal(manager.pollDeadline(), 6000);
  manager.handleDeadline(6000);
  const [demotion] = commands();
  assert.ok(demotion?.kind === "setBackup" && demotion.backup);
  assert.equal(demotion.local.address, "10.9.2.1");
});

Deno.test("at the limit a better subflow takes a place only once it has lived", () => {
  const manager = new PathManager({
    ...PATH_POLICY_DEFAULTS,
    subflowsMax: 2,
    interfaces: ["e2", "e3"].map((name) => ({ ...INTERFACE_DEFAULT, name, role: "backup" })),
  });
  const up = (index: number, nowMs: number): void => {
    manager.handleLink({ index, name: `e${index}`, up: true, loopback: false }, nowMs);
    const found = { index, prefixLength: 24, linkLocal: false, usable: true };
    manager.handleAddress({ ...found, address: `10.9.${index}.1` }, nowMs);
  };
  const remote = { address: "10.9.9.9", port: 7000 };
  const take = (nowMs: number): PathCommand[] => {
    const all: PathCommand[] = [];
    for (let next = manager.pollCommand(); next !== null; next = manager.pollCommand()) {
      manager.handleResult(next.serial, 0, "", nowMs);
      all.push(next);
    }
    return all;
  };
  const stand = (command: PathCommand | undefined, port: number, nowMs: number): SubflowEvent => {
    assert.ok(command?.kind === "create");
    const { id, interfaceIndex, local } = command;
    const event = {
      token: 1,
      local: { ...local, port },
      remote,
      localId: id,
      remoteId: 0,
      backup: false,
      interfaceIndex,
      error: 0,
      resetReason: -1,
    };
    manager.handleSubflow(event, nowMs);
    return event;
  };
  up(2, 0);
  up(3, 0);
  const local = { address: "10.9.2.1", port: 40_000 };
  const base = { token: 1, serverSide: false, denyJoinId0: false, local, remote };
  manager.handleConnection({ ...base, established: true }, 0);
  stand(take(0)[0], 50_001, 0);
  assert.deepEqual(take(0), []);
  up(1, 5000);
  const refused = stand(take(5000)[0], 50_002, 5000);
  assert.deepEqual(take(5000), []);
  manager.handleSubflowClosed(refused, 5001);
  assert.deepEqual(take(5001), []);
  manager.handleDeadline(7000);
  stand(take(7000)[0], 50_003, 7000);
  assert.deepEqual(take(7000), []);
  manager.handleDeadline(8000);
  const after = take(8000);
  const [ended, ...more] = after.filter(({ kind }) => kind === "destroy");
  assert.ok(ended?.kind === "destroy" && more.length === 0, JSON.stringify(after));
  assert.equal(ended.local.address, "10.9.3.1");
});
