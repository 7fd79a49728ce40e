/** Links as a path manager sees them: when they may be used, and the ids of addresses. */
import assert from "node:assert/strict";
import { AddressIds } from "../../src/proto/mptcp/address_ids.ts";
import { DeadlineHeap, type Timed } from "../../src/proto/mptcp/deadlines.ts";
import { PathLinks } from "../../src/proto/mptcp/links.ts";
import { Retries } from "../../src/proto/mptcp/retry.ts";
import { fitsName, inSubnet, parseSubnet, plainAddress } from "../../src/proto/mptcp/subnet.ts";
import { connected, Rig, twoLinks } from "./fake_mptcp_kernel.ts";

function eth0(up: boolean): { index: number; name: string; up: boolean; loopback: boolean } {
  return { index: 2, name: "eth0", up, loopback: false };
}

/** After how long a link may be used when it comes up at `nowMs`. */
function waitMs(links: PathLinks, nowMs: number): number {
  links.handleLink(eth0(true), nowMs);
  return links.all.get(2)!.usableAtMs - nowMs;
}

Deno.test("a link is used at once when it appears, also when it appeared without carrier", () => {
  const links = new PathLinks(2000, 60_000);
  assert.equal(waitMs(links, 5), 0);
  const later = new PathLinks(2000, 60_000);
  later.handleLink(eth0(false), 5);
  assert.equal(later.all.get(2)!.usableAtMs, Infinity);
  assert.equal(waitMs(later, 500), 0);
});

Deno.test("the wait doubles while a link flaps, up to the last, and starts again after a quiet time", () => {
  const links = new PathLinks(2000, 15_000);
  let nowMs = 0;
  waitMs(links, nowMs);
  const waits: number[] = [];
  for (let flap = 0; flap < 6; flap++) {
    links.handleLink(eth0(false), nowMs += 1000);
    waits.push(waitMs(links, nowMs += 1000));
  }
  assert.deepEqual(waits, [2000, 4000, 8000, 15_000, 15_000, 15_000]);
  links.handleLink(eth0(false), nowMs += 61_000);
  assert.equal(waitMs(links, nowMs += 1000), 2000);
  links.handleLink(eth0(false), nowMs += 1000);
  // A quiet minute without carrier counts as well.
  assert.equal(waitMs(links, nowMs += 61_000), 2000);
});

Deno.test("a link that was plugged in again is the same link, by its name", () => {
  const links = new PathLinks(2000, 60_000);
  waitMs(links, 0);
  links.handleGone(2, 1000);
  links.handleLink({ ...eth0(true), index: 9 }, 2000);
  assert.equal(links.all.get(9)!.usableAtMs, 4000);
});

Deno.test("links and addresses are bounded, and what nobody knows is ignored", () => {
  const links = new PathLinks(2000, 60_000);
  for (let index = 1; index <= 4100; index++) {
    links.handleLink({ index, name: `veth${index}`, up: true, loopback: false }, 0);
  }
  assert.equal(links.all.size, 4096);
  const address = { prefixLength: 24, linkLocal: false, usable: true };
  for (let host = 0; host < 300; host++) {
    links.handleAddress({ ...address, index: 1, address: `10.0.${host >> 8}.${host & 255}` });
  }
  assert.equal(links.all.get(1)!.addresses.size, 256);
  assert.equal(links.refused, 4 + 44);
  assert.equal(links.handleAddress({ ...address, index: 9999, address: "10.1.1.1" }), false);
  assert.equal(links.handleAddressGone(1, "10.250.0.1"), false);
  assert.equal(links.handleGone(9999, 0), null);
});

Deno.test("an address that is on two links is found while one has it", () => {
  const links = new PathLinks(0, 0);
  const address = { prefixLength: 24, linkLocal: false, usable: true, address: "10.0.0.1" };
  links.handleLink(eth0(true), 0);
  links.handleLink({ ...eth0(true), index: 3, name: "eth1" }, 0);
  links.handleAddress({ ...address, index: 2 });
  links.handleAddress({ ...address, index: 3 });
  assert.equal(links.withAddress("10.0.0.1", 0)?.index, 2);
  assert.equal(links.withAddress("10.0.0.1", 3)?.index, 3);
  links.handleAddressGone(2, "10.0.0.1");
  assert.equal(links.withAddress("10.0.0.1", 0)?.index, 3);
  assert.equal(links.withAddress("10.0.0.1", 2), null);
});

Deno.test("a flapping link is told of, and its subflows are made once it is stable", () => {
  const rig = twoLinks();
  connected(rig);
  rig.takeLog();
  for (let flap = 0; flap < 3; flap++) {
    rig.kernel.link(3, "eth1", false);
    rig.run(300);
    rig.kernel.link(3, "eth1", true);
    rig.run(300);
  }
  assert.deepEqual(rig.takeLog(), ["remove 1", "destroy 10.9.2.1>10.9.1.2"]);
  const notes = rig.takeEvents().flatMap((event) => event.name === "note" ? [event.text] : []);
  assert.deepEqual(notes, [
    "eth1 lost its carrier: 1 connection moved to other paths",
    "eth1 is back: it is used again in 2 s",
    "eth1 flaps: it is used again in 4 s",
    "eth1 flaps: it is used again in 8 s",
  ]);
  rig.run(7600);
  assert.deepEqual(rig.takeLog(), []);
  rig.run(200);
  assert.deepEqual(rig.takeLog(), ["create 1 10.9.2.1>10.9.1.2:7000"]);
});

Deno.test("a dump of links tells what went while nobody listened", () => {
  const rig = twoLinks();
  connected(rig);
  rig.takeLog();
  const { manager, kernel } = rig;
  const addresses = [...kernel.addresses.values()];
  manager.handleLinks([kernel.links.get(2)!], addresses, kernel.nowMs);
  kernel.links.set(3, { ...kernel.links.get(3)!, up: false });
  rig.run(100);
  assert.deepEqual(rig.takeLog(), ["remove 1", "destroy 10.9.2.1>10.9.1.2"]);
  assert.equal(manager.links.size, 1);
  manager.handleLinks([kernel.links.get(2)!], [], kernel.nowMs);
  assert.equal(manager.links.get(2)!.addresses.size, 0);
});

Deno.test("connections without another path are counted in the note", () => {
  const rig = new Rig();
  rig.kernel.link(2, "eth0", true, "10.9.1.1");
  connected(rig, 1);
  connected(rig, 2);
  rig.kernel.link(2, "eth0", false);
  rig.settle();
  const note = rig.takeEvents().find((event) => event.name === "note");
  assert.ok(note?.name === "note");
  assert.equal(note.level, "warning");
  assert.match(note.text, /0 connections moved to other paths, 2 without another wait for it$/);
});

Deno.test("ids: one per address, none twice, a removed one is not given to another soon", () => {
  const ids = new AddressIds();
  const none = (): boolean => false;
  ids.learn("10.0.0.1", 0);
  assert.equal(ids.take("10.0.0.1", 0, none), 0);
  assert.equal(ids.take("10.0.0.2", 0, none), 1);
  ids.learn("10.0.0.9", 2);
  assert.equal(ids.take("10.0.0.3", 0, none), 3);
  assert.equal(ids.take("10.0.0.2", 0, none), 1);
  ids.forget("10.0.0.2", 0);
  assert.equal(ids.take("10.0.0.2", 0, none), 4);
  for (let host = 1; host <= 251; host++) {
    assert.ok(ids.take(`10.1.0.${host}`, 0, none) > 4);
  }
  ids.retire(2, 0);
  assert.equal(ids.take("10.2.0.1", 0, (id) => id !== 1 && id !== 2), -1);
  assert.equal(ids.take("10.2.0.9", 10_001, (id) => id !== 2), 1);
  assert.equal(ids.take("10.2.0.1", 10_001, (id) => id !== 2), 2);
  assert.equal(ids.idOf("10.0.0.9"), -1);
  assert.equal(ids.addressOf(2), "10.2.0.1");
});

Deno.test("retries double up to the last, and remember a bounded number of paths", () => {
  const retries = new Retries();
  const waits = [0, 0, 0, 0, 20_000].map((lived) => retries.fail("a", "x", lived, 0, 1000, 5000));
  assert.deepEqual(waits, [1000, 2000, 4000, 5000, 1000]);
  retries.giveUp("b", "x");
  retries.retryAddress("x");
  assert.equal(retries.notBeforeMs("a"), 0);
  assert.equal(retries.notBeforeMs("b"), Infinity);
  for (let path = 0; path < 2000; path++) retries.fail(`p${path}`, "y", 0, 0, 1000, 5000);
  assert.equal(retries.notBeforeMs("p0"), 0);
  assert.equal(retries.notBeforeMs("p1999"), 1000);
});

Deno.test("the heap gives deadlines in their order, however they are moved", () => {
  const heap = new DeadlineHeap<Timed & { id: number }>();
  const all = Array.from({ length: 200 }, (_, id) => ({ id, deadlineMs: Infinity, place: -1 }));
  let state = 7;
  const random = (): number => (state = (state * 48_271) % 2_147_483_647);
  for (let step = 0; step < 3000; step++) {
    const one = all[random() % all.length]!;
    heap.set(one, random() % 5 === 0 ? Infinity : random() % 1000);
    const earliest = Math.min(...all.map(({ deadlineMs }) => deadlineMs));
    assert.equal(heap.nextMs, earliest);
  }
  const left = all.filter(({ deadlineMs }) => deadlineMs !== Infinity).length;
  let last = 0;
  let count = 0;
  for (;;) {
    const nextMs = heap.nextMs;
    if (heap.take(1000) === null) break;
    assert.ok(nextMs >= last);
    last = nextMs;
    count++;
  }
  assert.equal(count, left);
});

const SUBNETS = [
  { subnet: "10.0.0.0/8", address: "10.255.1.2", within: true },
  { subnet: "10.0.0.0/8", address: "11.0.0.1", within: false },
  { subnet: "10.0.0.0/8", address: "::ffff:10.1.1.1", within: true },
  { subnet: "192.168.4.0/22", address: "192.168.7.255", within: true },
  { subnet: "192.168.4.0/22", address: "192.168.8.0", within: false },
  { subnet: "0.0.0.0/0", address: "8.8.8.8", within: true },
  { subnet: "0.0.0.0/0", address: "fd00::1", within: false },
  { subnet: "fd00::/7", address: "fd09:1::1", within: true },
  { subnet: "fd09:1::1", address: "fd09:1::1", within: true },
  { subnet: "fd09:1::1", address: "fd09:1::2", within: false },
  { subnet: "::/0", address: "not an address", within: false },
];
Deno.test.each(SUBNETS)("$address in $subnet: $within", ({ subnet, address, within }) => {
  assert.equal(inSubnet(parseSubnet(subnet)!, address), within);
});

Deno.test("what is no subnet is none", () => {
  for (
    const text of ["", "/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "x/8", "::/129", "1/"]
  ) {
    assert.equal(parseSubnet(text), null, text);
  }
  assert.equal(plainAddress("::ffff:a01:203"), "::ffff:a01:203");
});

Deno.test("names fit patterns with stars", () => {
  const fit = [["*", ""], ["wwan*", "wwan0"], ["*0", "wwan0"], ["w*n*", "wwan0"], ["a*a", "aa"]];
  for (const [pattern, name] of fit) assert.ok(fitsName(pattern!, name!), `${pattern} ${name}`);
  const not = [["wwan", "wwan0"], ["a*a", "a"], ["*1", "eth0"], ["eth*", "weth0"], ["", "x"]];
  for (const [pattern, name] of not) assert.ok(!fitsName(pattern!, name!), `${pattern} ${name}`);
});
