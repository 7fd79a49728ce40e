/** Which subflows a policy makes of links, addresses of the peer and rules. */
import assert from "node:assert/strict";
import { PathConnection } from "../../src/proto/mptcp/connection_table.ts";
import { Layout } from "../../src/proto/mptcp/layout.ts";
import {
  type ConnectionRule,
  INTERFACE_DEFAULT,
  type InterfaceRule,
  PATH_POLICY_DEFAULTS,
} from "../../src/proto/mptcp/path_policy.ts";
import { at, connected, Rig, twoLinks } from "./fake_mptcp_kernel.ts";

function rule(name: string, more: Partial<InterfaceRule> = {}): InterfaceRule {
  return { ...INTERFACE_DEFAULT, name, ...more };
}

function connectionRule(more: Partial<ConnectionRule>): ConnectionRule {
  return {
    destination: null,
    port: 0,
    layout: "full-mesh",
    subflowsMax: 8,
    interfaces: [],
    joins: "default",
    ...more,
  };
}

/** Four links, each with one address; the peer has two. */
function fourLinks(policy: Parameters<typeof twoLinks>[0]): Rig {
  const rig = twoLinks(policy);
  rig.kernel.link(4, "wlan0", true, "10.9.3.1");
  rig.kernel.link(5, "wwan0", true, "10.9.4.1");
  return rig;
}

Deno.test("full mesh: every address to every address, the first ones first", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.1.2", 7000));
  rig.kernel.peerAnnounces(1, 2, at("10.9.2.2", 7000));
  rig.kernel.peerAnnounces(1, 3, at("fd09::2", 7000));
  rig.kernel.data(1);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), [
    "create 1 10.9.2.1>10.9.1.2:7000",
    "create 0 10.9.1.1>10.9.2.2:7000",
    "create 1 10.9.2.1>10.9.2.2:7000",
  ]);
});

Deno.test("several subflows per path, and never more than the limit", () => {
  const rig = twoLinks({ interfaces: [rule("*", { subflows: 4 })], subflowsMax: 5 });
  connected(rig);
  assert.deepEqual(rig.paths(1), [
    "10.9.1.1>10.9.1.2",
    "10.9.1.1>10.9.1.2",
    "10.9.1.1>10.9.1.2",
    "10.9.2.1>10.9.1.2",
    "10.9.2.1>10.9.1.2",
  ]);
});

Deno.test("roles: backup and metered subflows are made as backups, off ones not at all", () => {
  const rig = fourLinks({
    interfaces: [
      rule("eth1", { role: "backup" }),
      rule("wlan*", { role: "off" }),
      rule("wwan*", { role: "metered" }),
    ],
  });
  connected(rig);
  assert.deepEqual(rig.takeLog(), [
    "create 1 10.9.2.1>10.9.1.2:7000*",
    "create 2 10.9.4.1>10.9.1.2:7000*",
  ]);
  // The backup is promoted when no primary is there; the metered one never is.
  rig.kernel.link(2, "eth0", false);
  rig.run(100);
  rig.kernel.link(3, "eth1", false);
  rig.run(1000);
  assert.deepEqual(rig.takeLog(), [
    "promote 10.9.2.1",
    "remove 0",
    "destroy 10.9.1.1>10.9.1.2",
    "demote 10.9.2.1",
    "remove 1",
    "destroy 10.9.2.1>10.9.1.2",
  ]);
  assert.deepEqual(rig.paths(1), ["10.9.4.1>10.9.1.2*"]);
});

Deno.test("primary and backup: those of the best priority carry, and the next when they are lost", () => {
  const rig = fourLinks({
    layout: "primary-backup",
    interfaces: [
      rule("eth0", { priority: 10 }),
      rule("eth1", { priority: 10 }),
      rule("wlan0", { priority: 20 }),
      rule("wwan0", { role: "backup", priority: 1 }),
    ],
  });
  connected(rig);
  assert.deepEqual(rig.paths(1), [
    "10.9.1.1>10.9.1.2",
    "10.9.2.1>10.9.1.2",
    "10.9.3.1>10.9.1.2*",
    "10.9.4.1>10.9.1.2*",
  ]);
  const lose = (index: number, name: string): string[] => {
    rig.kernel.link(index, name, false);
    rig.run(1000);
    return rig.paths(1);
  };
  assert.deepEqual(lose(2, "eth0"), [
    "10.9.2.1>10.9.1.2",
    "10.9.3.1>10.9.1.2*",
    "10.9.4.1>10.9.1.2*",
  ]);
  assert.deepEqual(lose(3, "eth1"), ["10.9.3.1>10.9.1.2", "10.9.4.1>10.9.1.2*"]);
  assert.deepEqual(lose(4, "wlan0"), ["10.9.4.1>10.9.1.2"]);
  rig.kernel.link(2, "eth0", true);
  rig.run(10_000);
  assert.deepEqual(rig.paths(1), ["10.9.1.1>10.9.1.2", "10.9.4.1>10.9.1.2*"]);
});

Deno.test("an initial subflow over a metered link becomes a backup, over an off one it is ended", () => {
  const metered = twoLinks({ interfaces: [rule("eth0", { role: "metered" })] });
  connected(metered);
  assert.deepEqual(metered.paths(1), ["10.9.1.1>10.9.1.2*", "10.9.2.1>10.9.1.2"]);
  const off = twoLinks({ interfaces: [rule("eth0", { role: "off" })] });
  connected(off);
  assert.deepEqual(off.paths(1), ["10.9.2.1>10.9.1.2"]);
});

Deno.test("the first connection rule whose conditions hold is it", () => {
  const layout = new Layout({
    ...PATH_POLICY_DEFAULTS,
    joins: "accept",
    connections: [
      connectionRule({ destination: "10.9.0.0/16", port: 7000, subflowsMax: 2 }),
      connectionRule({ destination: "10.0.0.0/8", layout: "none", joins: "refuse" }),
      connectionRule({ destination: "not a subnet", subflowsMax: 99 }),
      connectionRule({ port: 443, interfaces: ["eth*"] }),
    ],
  });
  const policy = (address: string, port: number, serverSide = false): string => {
    const [ours, theirs] = serverSide ? [port, 40_000] : [40_000, port];
    const connection = new PathConnection(1, at("10.1.1.1", ours), at(address, theirs));
    connection.serverSide = serverSide;
    const found = layout.connectionPolicy(connection);
    return `${found.layout} ${found.subflowsMax} ${found.interfaces} ${found.joins}`;
  };
  assert.equal(policy("10.9.1.2", 7000), "full-mesh 2  accept");
  assert.equal(policy("10.9.1.2", 7001), "none 8  refuse");
  assert.equal(policy("::ffff:10.9.1.2", 7000), "full-mesh 2  accept");
  assert.equal(policy("8.8.8.8", 443), "full-mesh 8 eth* accept");
  assert.equal(policy("8.8.8.8", 443, true), "full-mesh 8 eth* accept");
  assert.equal(policy("8.8.8.8", 80), "full-mesh 8  accept");
});

Deno.test("a connection rule names the interfaces, and none makes nothing", () => {
  const rig = fourLinks({
    connections: [
      connectionRule({ port: 7001, layout: "none" }),
      connectionRule({ interfaces: ["eth0", "wl*"] }),
    ],
  });
  connected(rig);
  assert.deepEqual(rig.paths(1), ["10.9.1.1>10.9.1.2", "10.9.3.1>10.9.1.2"]);
  rig.takeLog();
  rig.kernel.connect(2, at("10.9.1.1", 33_002), at("10.9.1.2", 7001));
  rig.kernel.data(2);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), []);
});

Deno.test("rules by subnet; loopback and link-local take part only when a rule means them", () => {
  const rig = new Rig({ interfaces: [rule("*", { subnet: "10.9.2.0/24", role: "off" })] });
  rig.kernel.link(1, "lo", true, "127.0.0.1");
  rig.kernel.link(2, "eth0", true, "10.9.1.1", "10.9.2.1", "fe80::1", "169.254.7.7", "10.9.3.1");
  connected(rig);
  assert.deepEqual(rig.takeLog(), ["create 1 10.9.3.1>10.9.1.2:7000"]);
  rig.kernel.connect(2, at("127.0.0.1", 33_002), at("127.0.0.1", 7000));
  rig.kernel.data(2);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), []);
  const meant = new Rig({ interfaces: [rule("lo")] });
  meant.kernel.link(1, "lo", true, "127.0.0.1", "127.0.0.2");
  meant.kernel.link(2, "eth0", true, "10.9.1.1");
  meant.kernel.connect(2, at("127.0.0.1", 33_002), at("127.0.0.1", 7000));
  meant.kernel.data(2);
  meant.run(100);
  assert.deepEqual(meant.takeLog(), ["create 1 127.0.0.2>127.0.0.1:7000"]);
});

Deno.test("an address of our own is joined from no other link", () => {
  const rig = twoLinks();
  rig.kernel.connect(1, at("10.9.1.1", 33_001), at("10.9.2.1", 7000));
  rig.kernel.data(1);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), []);
});

Deno.test("an address that may not be used yet is waited for", () => {
  const rig = new Rig();
  rig.kernel.link(2, "eth0", true, "10.9.1.1");
  rig.kernel.link(3, "eth1", true);
  connected(rig);
  const { manager, kernel } = rig;
  const address = { index: 3, address: "10.9.2.1", prefixLength: 24, linkLocal: false };
  kernel.addresses.set("10.9.2.1", { ...address, usable: true });
  manager.handleAddress({ ...address, usable: false }, kernel.nowMs);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), []);
  manager.handleAddress({ ...address, usable: true }, kernel.nowMs);
  rig.run(100);
  assert.deepEqual(rig.takeLog(), ["create 1 10.9.2.1>10.9.1.2:7000"]);
});

Deno.test("announcements are limited in number", () => {
  const rig = twoLinks({ interfaces: [rule("*", { announce: true })], announcesMax: 3 });
  for (let host = 10; host < 20; host++) rig.kernel.addAddress(3, `10.9.2.${host}`);
  rig.kernel.connect(1, at("10.9.1.1", 7000), at("10.9.1.2", 40_001), { serverSide: true });
  rig.run(10_000);
  assert.deepEqual(rig.takeLog(), [
    "announce 1 10.9.2.1",
    "announce 2 10.9.2.10",
    "announce 3 10.9.2.11",
  ]);
});
