/**
 * Links flap, connections come and go, events are lost, commands fail, other programs ask: in
 * virtual time, from seeds that are printed when they fail. Afterwards, when all is quiet, every
 * connection has the layout of the policy, and when all connections are gone nothing is left of
 * them.
 */
import assert from "node:assert/strict";
import { plainAddress } from "../../src/proto/mptcp/subnet.ts";
import { INTERFACE_DEFAULT, type PathPolicy } from "../../src/proto/mptcp/path_policy.ts";
import type { Endpoint } from "../../src/proto/mptcp/path_events.ts";
import { at, Rig } from "./fake_mptcp_kernel.ts";

const LINKS = [
  { index: 2, name: "eth0", address: "10.9.1.1" },
  { index: 3, name: "eth1", address: "10.9.2.1" },
  { index: 4, name: "wlan0", address: "10.9.3.1" },
  { index: 5, name: "wwan0", address: "10.9.4.1" },
];
const POLICIES: readonly Partial<PathPolicy>[] = [
  { subflowsMax: 4 },
  {
    layout: "primary-backup",
    interfaces: [
      { ...INTERFACE_DEFAULT, name: "eth*", priority: 1, announce: true },
      { ...INTERFACE_DEFAULT, name: "wlan*", role: "backup", announce: true },
      { ...INTERFACE_DEFAULT, name: "wwan*", role: "metered" },
    ],
  },
  {
    interfaces: [
      { ...INTERFACE_DEFAULT, name: "eth1", subflows: 2 },
      { ...INTERFACE_DEFAULT, name: "wlan*", role: "backup" },
      { ...INTERFACE_DEFAULT, name: "wwan*", role: "metered" },
    ],
    subflowsMax: 12,
  },
];
/** Failures that a kernel gives now and then. */
const REFUSALS = [
  { errno: 101, text: "connect error: -101" },
  { errno: 98, text: "connect error: -98" },
  { errno: 107, text: "connect error: -107" },
  { errno: 12, text: "" },
];

/** Chance from a seed. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 2_654_435 + 1;
  }

  below(limit: number): number {
    this.#state = (this.#state * 48_271) % 2_147_483_647;
    return this.#state % limit;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

/** What must hold at any time. */
function holds(rig: Rig, subflowsMax: number): void {
  for (const [token, connection] of rig.kernel.connections) {
    const known = rig.manager.connections.get(token);
    if (known === undefined) continue;
    assert.ok(known.pending.size <= 16 + 64);
    assert.ok(known.joining.size <= subflowsMax);
    assert.ok(known.announced.size <= 64);
    assert.ok(known.asked.length <= 32);
    // Those of incoming joins are the kernel's own choice.
    if (connection.event.serverSide) continue;
    const byId = new Map<number, string>();
    for (const { local, localId } of connection.subflows) {
      const plain = plainAddress(local.address);
      assert.equal(byId.get(localId) ?? plain, plain, `two addresses have the id ${localId}`);
      byId.set(localId, plain);
    }
  }
}

/** What must hold when nothing happened for a while. */
function converged(rig: Rig, policy: Partial<PathPolicy>, asked: ReadonlySet<number>): void {
  const sources = LINKS.filter(({ index }) => rig.kernel.links.get(index)!.up);
  const primaries = policy.interfaces === undefined ? LINKS : LINKS.slice(0, 2);
  const subflowsMax = policy.subflowsMax ?? 8;
  for (const [token, { subflows, event, established, peer }] of rig.kernel.connections) {
    const known = rig.manager.connections.get(token)!;
    assert.equal(known.subflows.size, subflows.length, `subflows of ${token}`);
    if (!established) continue;
    const isLive = (local: string): boolean =>
      sources.some(({ address }) => address === plainAddress(local));
    if (subflows.some(({ local }) => isLive(local.address))) {
      for (const { local } of subflows) {
        assert.ok(isLive(local.address), `a dead subflow of ${token} is left`);
      }
    }
    if (asked.has(token)) continue;
    if (!event.serverSide) {
      assert.ok(subflows.length <= subflowsMax, `too many subflows of ${token}`);
      const copies = (name: string): number =>
        policy.interfaces?.find((rule) => rule.name === name)?.subflows ?? 1;
      // What the peer announced while nobody listened is not known.
      const targets = known.targets().filter(({ plain, port }) => peer.has(`${plain} ${port}`));
      const isTarget = ({ address }: Endpoint): boolean =>
        targets.some(({ plain }) => plain === plainAddress(address));
      const wanted = sources.reduce((sum, { name }) => sum + copies(name), 0) * targets.length;
      assert.equal(
        subflows.filter(({ local, remote }) => isLive(local.address) && isTarget(remote)).length,
        Math.min(wanted, subflowsMax),
        `subflows of ${token}: ${rig.paths(token)}`,
      );
    }
    const isPrimary = (local: string): boolean =>
      primaries.some(({ address }) => address === plainAddress(local));
    const primary = subflows.some(({ local }) => isLive(local.address) && isPrimary(local.address));
    for (const { local, backupLocal } of subflows) {
      if (primary) assert.equal(backupLocal, !isPrimary(local.address), `${rig.paths(token)}`);
      else if (plainAddress(local.address) === "10.9.4.1" && isLive("10.9.4.1")) {
        assert.ok(backupLocal);
      }
    }
  }
}

function simulate(seed: number): void {
  const dice = new Dice(seed);
  const policy = POLICIES[seed % POLICIES.length]!;
  const rig = new Rig({ ...policy, upDelayMs: 500, retryMaxMs: 4000 });
  const { kernel, manager } = rig;
  for (const { index, name, address } of LINKS) kernel.link(index, name, true, address);
  rig.settle();
  let quiet = false;
  rig.fail = ({ kind }) => !quiet && kind !== "remove" && dice.chance(5) ? dice.of(REFUSALS) : null;
  const asked = new Set<number>();
  let token = 0;
  const connect = (): void => {
    const inet6 = dice.chance(20) ? "::ffff:" : "";
    const local = `${inet6}${dice.of(LINKS).address}`;
    const serverSide = dice.chance(30);
    const [ours, theirs] = serverSide ? [7000, 40_000 + token] : [33_000 + token, 7000];
    kernel.connect(++token, at(local, ours), at(`${inet6}10.9.1.2`, theirs), { serverSide });
    if (dice.chance(80)) kernel.data(token);
  };
  const steps: ((one: number) => void)[] = [
    connect,
    connect,
    (one) => kernel.data(one),
    (one) => kernel.close(one),
    (one) => kernel.abort(one),
    () => {
      const { index, name } = dice.of(LINKS);
      kernel.link(index, name, !kernel.links.get(index)!.up);
    },
    () => {
      const { index, address } = dice.of(LINKS);
      if (kernel.addresses.has(address)) kernel.removeAddress(index, address);
      else kernel.addAddress(index, address);
    },
    (one) => {
      const { subflows } = kernel.connections.get(one)!;
      if (subflows.length > 0) kernel.closeSubflow(one, dice.below(subflows.length), 104);
    },
    (one) => {
      const connection = kernel.connections.get(one)!;
      if (connection.event.serverSide) return;
      kernel.peerAnnounces(one, 5, at("10.9.1.3", 7000));
    },
    (one) => kernel.peerRemoves(one, 5),
    (one) => {
      const { event } = kernel.connections.get(one)!;
      if (!event.serverSide) return;
      kernel.peerJoins(one, dice.of(LINKS).address, at("10.9.9.9", 50_000 + dice.below(9999)), 7);
    },
    () => kernel.deaf = true,
    () => {
      kernel.deaf = false;
      rig.resync();
    },
    (one) => {
      asked.add(one);
      const number = dice.of([...manager.connections.get(one)?.subflows.keys() ?? [], 0]);
      const { nowMs } = kernel;
      if (dice.chance(30)) manager.removeSubflow(one, number, nowMs);
      else if (dice.chance(50)) manager.setBackup(one, number, dice.chance(50), nowMs);
      else manager.sendAddr(one, 0, at(dice.of(LINKS).address, 0), nowMs);
    },
  ];
  for (let step = 0; step < 400; step++) {
    const tokens = [...kernel.connections.keys()];
    if (tokens.length === 0) connect();
    else dice.of(steps)(dice.of(tokens));
    rig.run(dice.below(400));
    holds(rig, policy.subflowsMax ?? 8);
  }
  quiet = true;
  kernel.deaf = false;
  for (const { index, address } of LINKS) {
    if (!kernel.addresses.has(address)) kernel.addAddress(index, address);
  }
  for (let turn = 0; turn < 3; turn++) {
    rig.resync();
    rig.run(200_000);
  }
  converged(rig, policy, asked);
  for (const one of kernel.connections.keys()) {
    if (dice.chance(50)) kernel.close(one);
    else kernel.abort(one);
  }
  rig.resync();
  rig.run(200_000);
  assert.equal(manager.connections.size, 0);
  assert.equal(manager.pollDeadline(), Infinity);
  assert.equal(manager.pollCommand(), null);
  assert.equal(manager.droppedEvents, 0);
}

Deno.test("whatever happens, a quiet network has the layout of the policy", () => {
  for (let seed = 1; seed <= 120; seed++) {
    try {
      simulate(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
});

Deno.test("the same inputs give the same commands", () => {
  const run = (): string[] => {
    const rig = new Rig(POLICIES[1]);
    for (const { index, name, address } of LINKS) rig.kernel.link(index, name, true, address);
    for (let token = 1; token <= 20; token++) {
      rig.kernel.connect(token, at("10.9.1.1", 33_000 + token), at("10.9.1.2", 7000));
      rig.kernel.data(token);
    }
    rig.run(1000);
    rig.kernel.link(2, "eth0", false);
    rig.run(10_000);
    return rig.takeLog();
  };
  assert.deepEqual(run(), run());
});
