/**
 * What overlay_steps_test.ts tries where it is root and the network is its own, with three more namespaces,
 * which veth pairs join: `one` and `two` (192.0.2.1 and 192.0.2.2), `one` and `three` (198.51.100.1 and
 * 198.51.100.3). Each case throws when it does not hold.
 *
 *     deno run -A tests/app/overlay_steps_program.ts "NAME OF A CASE"
 *
 * @module
 */
import assert from "node:assert/strict";
import { NodeConfigurer } from "../../src/app/overlay/node/node_configurer.ts";
import { Errno } from "../../src/io/errno.ts";
import { fold, libc } from "../../src/io/libc.ts";
import { inNamespace } from "../../src/io/namespace.ts";
import { PingSocket } from "../../src/io/ping_socket.ts";
import { accept, close, connectTcp, listenTcp, socketError } from "../../src/io/sockets.ts";
import { RouteKernel } from "../../src/app/overlay/node/route_kernel.ts";
import type { NodePlan, PlanLink, Visit } from "../../src/wire/xbone/node_plan.ts";

/** Of the first overlay. */
export const KEY = "demo/1f";
const VNI = 0xa1f2;
const LOWER_MTU = 1400;
const UPPER_MTU = 1300;

function link(name: string, vni: number, more: Partial<PlanLink> = {}): PlanLink {
  return {
    ...{ name, vni, port: 4790, local: "192.0.2.1", remote: "192.0.2.2", mtu: LOWER_MTU },
    ...{ address: "10.100.128.0", peerAddress: "10.100.128.1", peer: "b", peerNode: "two" },
    rateBits: 0,
    ...more,
  };
}

function visit(more: Partial<Visit>): Visit {
  return {
    ...{ name: "a", network: "demo", role: "router", address: "10.100.0.1" },
    prefix: "10.100.0.0/16",
    links: [link("a-b", VNI)],
    routes: [{ to: "10.100.0.2/32", via: "10.100.128.1", link: "a-b" }],
    ...more,
  };
}

/** A plan with nothing but these visits. */
export function planOf(visits: readonly Visit[], more: Partial<NodePlan> = {}): NodePlan {
  return {
    ...{ overlay: "demo", epoch: "1f", node: "one", visits, associations: [], endpoints: [] },
    ...{ names: [], peers: null, script: null, ...more },
  };
}

/** A box that is visited twice, with a rate. */
const TWICE = planOf([
  visit({}),
  visit({
    name: "c",
    role: "host",
    address: "10.100.0.3",
    links: [
      link("b-c", VNI + 1, {
        address: "10.100.128.3",
        peerAddress: "10.100.128.2",
        rateBits: 8_000_000,
      }),
    ],
    routes: [{ to: "10.100.0.2/32", via: "10.100.128.2", link: "b-c" }],
  }),
]);

/** One of two boxes with a network, and one stacked on it. */
function stacked(isOne: boolean): NodePlan {
  const [near, far] = isOne ? [1, 2] : [2, 1];
  const [even, odd] = isOne ? [0, 1] : [1, 0];
  const stack = (net: number, network: string, more: Partial<PlanLink>): Visit =>
    visit({
      name: `${network}${near}`,
      network,
      address: `10.${net}.0.${near}`,
      prefix: `10.${net}.0.0/16`,
      links: [
        link("a-b", VNI + net, {
          address: `10.${net}.128.${even}`,
          peerAddress: `10.${net}.128.${odd}`,
          ...more,
        }),
      ],
      routes: [{ to: `10.${net}.0.${far}/32`, via: `10.${net}.128.${odd}`, link: "a-b" }],
    });
  return planOf([
    stack(100, "demo", { local: `192.0.2.${near}`, remote: `192.0.2.${far}` }),
    stack(101, "demo/up", {
      ...{ local: `10.100.0.${near}`, remote: `10.100.0.${far}`, mtu: UPPER_MTU },
    }),
  ]);
}

/** One of three boxes of the chain a - b - c - d, of which `one` plays a and c. */
function chained(box: "one" | "two" | "three"): NodePlan {
  const ends = { one: "192.0.2.1", two: "192.0.2.2", three: "198.51.100.3" };
  const end = (name: string, of: number, near: number, far: keyof typeof ends): PlanLink =>
    link(name, VNI + of, {
      ...{ local: far === "three" ? "198.51.100.1" : ends[box], remote: ends[far] },
      address: `10.100.128.${2 * of + near}`,
      peerAddress: `10.100.128.${2 * of + 1 - near}`,
    });
  const node = (at: number, links: readonly PlanLink[], way: (to: number) => number): Visit =>
    visit({
      name: "abcd"[at - 1]!,
      address: `10.100.0.${at}`,
      links,
      routes: [1, 2, 3, 4].filter((to) => to !== at).map((to) => {
        const { name, peerAddress } = links[way(to)]!;
        return { to: `10.100.0.${to}/32`, via: peerAddress, link: name };
      }),
    });
  if (box === "one") {
    return planOf([
      node(1, [end("a-b", 0, 0, "two")], () => 0),
      node(3, [end("b-c", 1, 1, "two"), end("c-d", 2, 0, "three")], (to) => to < 3 ? 0 : 1),
    ]);
  }
  if (box === "two") {
    const links = [end("a-b", 0, 1, "one"), end("b-c", 1, 0, "one")];
    return planOf([node(2, links, (to) => to < 2 ? 0 : 1)]);
  }
  const last = { ...end("c-d", 2, 1, "one"), remote: "198.51.100.1" };
  return planOf([node(4, [last], () => 0)]);
}

/** Opens one on a directory. */
export function configurer(stateDirectory: string, namespace = ""): Promise<NodeConfigurer> {
  return NodeConfigurer.open({ stateDirectory, namespace, kinds: [], esp: () => false });
}

function run(command: string, ...args: string[]): string {
  const { stderr, stdout, success } = new Deno.Command(command, { args }).outputSync();
  assert.ok(success, `${command} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

const ip = (...args: string[]): string => run("ip", ...args);

/** All that ip(8) and tc(8) tell, but for counters. */
function snapshot(): string {
  return [
    ip("-details", "link"),
    ip("address"),
    ip("-4", "route", "show", "table", "all"),
    ip("-6", "route", "show", "table", "all"),
    ip("rule"),
    run("tc", "qdisc"),
  ].join("\n");
}

/** What a call answers when it is no longer "try again". */
async function answered(call: () => number): Promise<number> {
  const untilMs = Date.now() + 5000;
  for (;;) {
    const answer = call();
    if (answer !== -Errno.Eagain) return answer;
    assert.ok(Date.now() < untilMs, "no answer came");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function journalPath(directory: string): string {
  const [file] = [...Deno.readDirSync(`${directory}/steps`)];
  return `${directory}/steps/${file!.name}`;
}

async function withDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ dir: "/run" });
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Cases for who administers the namespace. */
export const CASES: Readonly<Record<string, () => Promise<void>>> = {
  "a plan is applied, is as it should be, and is undone without a trace": () =>
    withDirectory(async (directory) => {
      const before = snapshot();
      const node = await configurer(directory);
      assert.deepEqual(node.capabilities(), ["vxlan", "tbf"]);
      assert.equal(snapshot(), before);
      const told: string[] = [];
      assert.equal(await node.apply(TWICE, 1, (about) => told.push(about)), null);
      assert.equal(told[0], "link a-b (xb00a1f2)");
      assert.equal(told.at(-1), "rate 8000000 bit/s (xb00a1f3)");
      assert.deepEqual(node.drift(KEY), []);
      assert.deepEqual(node.orphans(), []);
      assert.deepEqual(node.keys(), [KEY]);
      assert.deepEqual(node.links(KEY)[1], {
        ...{ link: "b-c", device: "xb00a1f3" },
        ...{ address: "10.100.128.3", peerAddress: "10.100.128.2" },
      });
      assert.deepEqual(node.counters(KEY).map(({ link: name }) => name), ["a-b", "b-c"]);
      const details = ip("-details", "link", "show", "xb00a1f2");
      assert.match(details, /mtu 1400 .*vxlan id 41458 remote 192.0.2.2 local 192.0.2.1 .*4790/s);
      assert.match(details, /nolearning ttl 64 .*udpcsum.*alias xb:demo:a-b/s);
      const forwarding = (name: string): string =>
        Deno.readTextFileSync(`/proc/sys/net/ipv4/conf/${name}/forwarding`).trim();
      assert.deepEqual(["all", "xb00a1f2", "xb00a1f3"].map(forwarding), ["0", "1", "0"]);
      // Revisitation: the same destination goes by the table of who sends.
      assert.match(ip("route", "get", "10.100.0.2"), /dev xb00a1f2 .*src 10.100.0.1/);
      assert.match(ip("route", "get", "10.100.0.2", "from", "10.100.0.3"), /dev xb00a1f3/);
      const lost = new Deno.Command("ip", { args: ["route", "get", "10.100.9.9"] }).outputSync();
      assert.match(new TextDecoder().decode(lost.stderr), /unreachable|No route/);
      // Somebody else cannot be here beside it.
      const again = await node.apply(TWICE, 1);
      assert.match(again!.reason, /must be undone first/);
      const other = await node.apply({ ...TWICE, epoch: "2f" }, 1);
      assert.match(other!.reason, /another overlay has this VNI/);
      const apart = planOf([visit({ links: [], routes: [] })], { epoch: "3f" });
      assert.match((await node.apply(apart, 1))!.reason, /overlay demo has 10.100.0.0\/16/);
      assert.deepEqual(node.keys(), [KEY]);
      assert.deepEqual(await node.undo(KEY), []);
      assert.equal(snapshot(), before);
      assert.deepEqual([...Deno.readDirSync(`${directory}/steps`)], []);
      assert.deepEqual(await node.undo(KEY), []);
      node.close();
    }),

  "what a reboot takes from a box is made again by its journal": () =>
    withDirectory(async (directory) => {
      const clean = snapshot();
      let node = await configurer(directory);
      assert.equal(await node.apply(TWICE, 1), null);
      const told = (): string =>
        ip("-4", "route", "show", "table", "all") + ip("rule") + ip("-4", "-brief", "address");
      const before = told();
      for (const device of ["xb00a1f2", "xb00a1f3"]) ip("link", "delete", device);
      for (const priority of ip("rule").matchAll(/^19\d+/gm)) {
        ip("rule", "delete", "priority", priority[0]);
      }
      ip("route", "flush", "table", "all", "proto", "199");
      ip("address", "flush", "dev", "lo", "scope", "global");
      assert.equal(snapshot(), clean);
      node.close();
      node = await configurer(directory);
      assert.ok(node.drift(KEY).length > 10);
      assert.equal(await node.mend(KEY), null);
      assert.deepEqual(node.drift(KEY), []);
      assert.equal(told(), before);
      ip("link", "delete", "xb00a1f3");
      ip("link", "add", "xb00a1f3", "type", "vxlan", "id", "9", "dstport", "4791");
      const failure = await node.mend(KEY);
      assert.match(failure!.reason, /another device has this name/);
      ip("link", "delete", "xb00a1f3");
      assert.deepEqual(await node.undo(KEY), []);
      assert.equal(snapshot(), clean);
      node.close();
    }),

  "a box that is killed before, in or after any step leaves nothing": () =>
    withDirectory(async (directory) => {
      const before = snapshot();
      let node = await configurer(directory);
      assert.equal(await node.apply(TWICE, 1), null);
      const whole = Deno.readTextFileSync(journalPath(directory)).split("\n").slice(0, -1);
      const count = whole.length - 2; // without the first line and the last
      assert.deepEqual(await node.undo(KEY), []);
      for (let killed = 0; killed < count; killed++) {
        const failure = await node.apply(TWICE, 1, (_, done) => {
          if (done === killed) throw new Error("killed");
        });
        assert.equal(failure!.reason, "killed");
        // What was written: several steps, no more than that step, or half of its line.
        const line = `${whole[killed + 1]!}\n`;
        const done = `${whole.slice(0, killed + 1).join("\n")}\n`;
        const path = journalPath(directory);
        if (killed % 3 === 1) Deno.writeTextFileSync(path, done + line);
        if (killed % 3 === 2) Deno.writeTextFileSync(path, done + line.slice(0, line.length >> 1));
        node.close();
        node = await configurer(directory);
        assert.deepEqual(await node.undo(KEY), [], `killed at step ${killed}`);
        assert.equal(snapshot(), before, `killed at step ${killed}: ${line}`);
      }
      node.close();
    }),

  "a network rides on another one, by rules of the one below": () =>
    withDirectory(async (directory) => {
      const one = await configurer(`${directory}/one`, "one");
      const two = await configurer(`${directory}/two`, "two");
      assert.equal(await one.apply(stacked(true), 1), null);
      assert.equal(await two.apply(stacked(false), 1), null);
      for (const { address, device, peerAddress } of one.links(KEY)) {
        const nonce = crypto.getRandomValues(new Uint8Array(10));
        const ping = inNamespace("one", () => PingSocket.open(device, address, peerAddress, nonce));
        assert.ok(ping instanceof PingSocket);
        assert.ok(ping.send(7) > 0);
        assert.equal(await answered(() => ping.receive()), 7);
        ping.close();
      }
      // Many segments as large as its MTU allows, to a node of the upper network.
      const listening = inNamespace("two", () => listenTcp("10.101.0.2", 7000, 1));
      const sending = inNamespace("one", () => connectTcp("10.101.0.2", 7000));
      const receiving = await answered(() => accept(listening));
      assert.equal(socketError(sending), 0);
      const chunk = new Uint8Array(16 * UPPER_MTU);
      assert.equal(libc().write(sending, chunk, chunk.length), chunk.length);
      for (let rest = chunk.length; rest > 0;) {
        rest -= await answered(() => fold(libc().recv(receiving, chunk, rest, 0)));
      }
      for (const fd of [listening, sending, receiving]) close(fd);
      assert.deepEqual([...one.drift(KEY), ...two.drift(KEY)], []);
      const [lower, upper] = one.counters(KEY);
      assert.ok(upper!.rxPackets >= 3 && lower!.rxPackets > upper!.rxPackets);
      assert.ok(lower!.txBytes > upper!.txBytes && upper!.txBytes > chunk.length);
      assert.deepEqual([lower!.errors, upper!.errors], [0, 0]);
      const kernel = RouteKernel.open("one");
      assert.deepEqual(kernel.underlay("192.0.2.2"), {
        ...{ device: "left0", mtu: 1500, source: "192.0.2.1" },
      });
      assert.equal(kernel.underlay("192.0.2.1").device, "left0");
      assert.throws(() => kernel.underlay("203.0.113.1"), /Cannot find the way to 203.0.113.1/);
      ip("-n", "one", "address", "add", "2001:db8::1/64", "dev", "left0", "nodad");
      for (const address of ["2001:db8::2", "2001:db8::1", "ff0e::265"]) {
        assert.deepEqual(kernel.underlay(address), {
          ...{ device: "left0", mtu: 1500, source: "2001:db8::1" },
        });
      }
      ip("-n", "one", "address", "del", "2001:db8::1/64", "dev", "left0");
      assert.throws(() => kernel.underlay("ff0e::265"), /left[01] has no address for others/);
      kernel.close();
      for (const node of [one, two]) {
        assert.deepEqual(await node.undo(KEY), []);
        node.close();
      }
    }),

  "a box that is visited twice passes on what it sent itself": () =>
    withDirectory(async (directory) => {
      const boxes = ["one", "two", "three"] as const;
      const nodes = await Promise.all(boxes.map((box) => configurer(`${directory}/${box}`, box)));
      for (const [at, node] of nodes.entries()) {
        assert.equal(await node.apply(chained(boxes[at]!), 1), null);
      }
      const [one] = nodes;
      const listening = inNamespace("three", () => listenTcp("10.100.0.4", 7000, 1));
      const sending = inNamespace("one", () => connectTcp("10.100.0.4", 7000));
      const receiving = await answered(() => accept(listening));
      assert.equal(socketError(sending), 0);
      for (const fd of [listening, sending, receiving]) close(fd);
      // From a it went to b, and through c, which is the same box.
      const sent = new Map(one!.counters(KEY).map((each) => [each.link, each]));
      assert.ok(sent.get("a-b")!.txPackets > 1 && sent.get("b-c")!.rxPackets > 1);
      for (const node of nodes) {
        assert.deepEqual(node.drift(KEY), []);
        assert.deepEqual(await node.undo(KEY), []);
        node.close();
      }
    }),

  "what is changed by others is drift, what is nobody's are orphans": () =>
    withDirectory(async (directory) => {
      const before = snapshot();
      const node = await configurer(directory);
      assert.equal(await node.apply(TWICE, 1), null);
      const drifts = (expected: RegExp): void => assert.match(node.drift(KEY).join("\n"), expected);
      ip("link", "set", "xb00a1f2", "mtu", "1000", "alias", "mine");
      drifts(/a-b .xb00a1f2.: mtu is 1000, not 1400\n.*alias is mine, not xb:demo:a-b/);
      ip("link", "set", "xb00a1f2", "mtu", "1400", "alias", "xb:demo:a-b");
      ip("route", "add", "10.100.7.0/24", "dev", "xb00a1f2", "table", "19900");
      drifts(/^table 19900: a foreign route to 10.100.7.0\/24 .protocol 3.$/);
      ip("route", "del", "10.100.7.0/24", "table", "19900");
      const to = ["10.100.0.2", "table", "19900", "proto", "199"];
      ip("route", "change", ...to, "dev", "xb00a1f2");
      drifts(/^route 10.100.0.2\/32 .*: the route was changed$/);
      ip("route", "del", ...to);
      drifts(/^route 10.100.0.2\/32 .*: the route is missing$/);
      ip("address", "del", "10.100.0.1/32", "dev", "lo");
      drifts(/^address 10.100.0.1\/32 .lo.: the address is missing$/m);
      ip("rule", "del", "iif", "xb00a1f2", "priority", "19100");
      drifts(/^rule iif xb00a1f2 .table 19900.: the rule is missing$/m);
      run("tc", "qdisc", "del", "dev", "xb00a1f3", "root");
      drifts(/^rate 8000000 bit\/s .xb00a1f3.: the rate is not limited$/m);
      ip("link", "set", "xb00a1f3", "down");
      drifts(/^link b-c up .xb00a1f3.: the device is down$/m);
      Deno.writeTextFileSync("/proc/sys/net/ipv4/conf/xb00a1f2/forwarding", "0");
      drifts(/: forwarding is 0, not 1$/m);
      ip("link", "del", "xb00a1f3");
      drifts(/^link b-c .xb00a1f3.: the device is missing$/m);
      assert.deepEqual(node.counters(KEY).map(({ link: name }) => name), ["a-b"]);
      // The journal is lost.
      Deno.removeSync(journalPath(directory));
      const late = await configurer(directory);
      const orphans = late.orphans().join("\n");
      for (const kind of [/^rule 19/m, /^route 10/m, /^address 10/m, /^device xb.*demo:a-b/m]) {
        assert.match(orphans, kind);
      }
      const refused = await late.apply(planOf([visit({ links: [], routes: [] })]), 1);
      assert.match(refused!.reason, /remove its orphans/);
      assert.deepEqual(late.removeOrphans(), []);
      assert.deepEqual(late.orphans(), []);
      assert.equal(snapshot(), before);
      // Who has a journal of what is gone has nothing to undo.
      assert.deepEqual(await node.undo(KEY), []);
      for (const each of [node, late]) each.close();
    }),

  "a device is known by its mark, not by its name": () =>
    withDirectory(async (directory) => {
      const before = snapshot();
      const node = await configurer(directory);
      assert.equal(await node.apply(TWICE, 1), null);
      // One of ours has got another name, and somebody else's has the name of another one of ours.
      ip("link", "set", "xb00a1f2", "down");
      ip("link", "set", "xb00a1f2", "name", "renamed");
      ip("link", "del", "xb00a1f3");
      ip("link", "add", "xb00a1f3", "type", "vxlan", "id", "9", "dstport", "4791");
      const tbf = ["tbf", "rate", "8mbit", "burst", "10k", "limit", "10k"];
      run("tc", "qdisc", "add", "dev", "xb00a1f3", "root", ...tbf);
      const theirs = (): string => run("tc", "qdisc", "show", "dev", "xb00a1f3");
      const rate = theirs();
      assert.match(rate, /tbf/);
      assert.deepEqual(await node.undo(KEY), []);
      assert.equal(theirs(), rate);
      ip("link", "del", "xb00a1f3");
      assert.equal(snapshot(), before);
      node.close();
    }),

  "what is somebody else's is neither taken nor undone": () =>
    withDirectory(async (directory) => {
      const node = await configurer(directory);
      ip("address", "add", "10.100.0.9/24", "dev", "lo");
      assert.match((await node.apply(TWICE, 1))!.reason, /this box has address 10.100.0.9\/24/);
      ip("address", "del", "10.100.0.9/24", "dev", "lo");
      ip("route", "add", "blackhole", "10.100.7.0/24");
      assert.match((await node.apply(TWICE, 1))!.reason, /this box has a route to 10.100.7.0\/24/);
      ip("route", "del", "blackhole", "10.100.7.0/24");
      // Wider than the overlay: the box goes on to reach all others by it.
      ip("route", "add", "blackhole", "10.0.0.0/8");
      // The same VNI and port under another name: the kernel says it.
      const ends = ["local", "192.0.2.1", "remote", "192.0.2.2", "dstport", "4790"];
      ip("link", "add", "theirs", "type", "vxlan", "id", String(VNI), ...ends);
      const before = snapshot();
      const failure = await node.apply(TWICE, 1);
      assert.equal(failure!.step, "link a-b (xb00a1f2)");
      assert.match(failure!.reason, /another device has this name, or VNI 41458 at UDP port 4790/);
      assert.match(node.drift(KEY).join("\n"), /^the configuration was never completed$/m);
      assert.deepEqual(await node.undo(KEY), []);
      assert.equal(snapshot(), before);
      ip("link", "del", "theirs");
      Deno.writeTextFileSync("/proc/sys/net/ipv4/conf/all/rp_filter", "1");
      assert.match((await node.apply(TWICE, 1))!.reason, /all.rp_filter .* set it to 0 or 2/);
      Deno.writeTextFileSync("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
      assert.deepEqual(await node.undo(KEY), []);
      // Cancelled after its present step; undo() waits for that.
      const applied = node.apply(TWICE, 1, (_, done) => done === 4 ? node.cancel(KEY) : undefined);
      const undone = node.undo(KEY);
      assert.match((await applied)!.reason, /cancelled/);
      assert.deepEqual(await undone, []);
      assert.deepEqual(node.keys(), []);
      ip("route", "del", "blackhole", "10.0.0.0/8");
      node.close();
    }),
};

if (import.meta.main) {
  const name = Deno.args[0] ?? "";
  const work = CASES[name];
  if (work === undefined) {
    throw new Error(`Cannot find a case as there is none of this name: ${name}`);
  }
  await work();
}
