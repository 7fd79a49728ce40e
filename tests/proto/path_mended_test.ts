/** Mistakes of the path manager that were found by an adversary. */
import assert from "node:assert/strict";
import { PathManager } from "../../src/proto/mptcp/path_manager.ts";
import {
  INTERFACE_DEFAULT,
  PATH_POLICY_DEFAULTS,
  type PathPolicy,
} from "../../src/proto/mptcp/path_policy.ts";
import { at, connected, Rig } from "./fake_mptcp_kernel.ts";

const ENETUNREACH = 101;
const COMMANDS_MAX = 5000;

/** A client's connection over the first of `links`, each with one address. */
function client(links: number, policy: Partial<PathPolicy> = {}): PathManager {
  const manager = new PathManager({ ...PATH_POLICY_DEFAULTS, ...policy });
  for (let index = 1; index <= links; index++) {
    manager.handleLink({ index, name: `eth${index}`, up: true, loopback: false }, 0);
    const address = `10.0.${index}.1`;
    manager.handleAddress(
      { index, address, prefixLength: 24, linkLocal: false, usable: true },
      0,
    );
  }
  for (const established of [false, true]) {
    const [local, remote] = [at("10.0.1.1", 40_000), at("192.0.2.1", 7000)];
    const event = { token: 1, established, serverSide: false, denyJoinId0: false, local, remote };
    manager.handleConnection(event, 0);
  }
  return manager;
}

/** Has the kernel refuse every command at once, until there is none or too many; how many. */
function refuseAll(manager: PathManager, nowMs: number): number {
  let count = 0;
  for (let next = manager.pollCommand(); next !== null; next = manager.pollCommand()) {
    if (++count >= COMMANDS_MAX) break;
    manager.handleResult(next.serial, ENETUNREACH, "", nowMs);
  }
  return count;
}

Deno.test("a peer that announces addresses without a way to them is tried each once, then waited for", () => {
  const manager = client(5);
  for (let id = 1; id <= 31; id++) manager.handleAnnounced(1, id, at(`203.0.113.${id}`, 7000), 0);
  const count = refuseAll(manager, 0);
  assert.ok(count <= 5 * 32, `${count} commands at one moment`);
});

Deno.test("a better interface that comes up gets its subflow though the limit is reached", () => {
  const rig = new Rig({
    layout: "primary-backup",
    subflowsMax: 2,
    interfaces: [
      { ...INTERFACE_DEFAULT, name: "wwan0", role: "metered" },
      { ...INTERFACE_DEFAULT, name: "lte0", role: "backup" },
    ],
  });
  rig.kernel.link(2, "wwan0", true, "10.9.1.1");
  rig.kernel.link(3, "lte0", true, "10.9.2.1");
  connected(rig);
  rig.run(1000);
  assert.deepEqual(rig.paths(1), ["10.9.1.1>10.9.1.2*", "10.9.2.1>10.9.1.2"]);
  rig.kernel.link(4, "eth0", true, "10.9.3.1");
  rig.run(10_000);
  assert.ok(rig.paths(1).includes("10.9.3.1>10.9.1.2"), `${rig.paths(1)}`);
});

Deno.test("the number of a join that was allowed and did not come is free again", () => {
  const manager = client(2, { layout: "none" });
  refuseAll(manager, 0);
  assert.ok(!("error" in manager.allowJoin(1, 3, null, 7, 0)));
  const asked = {
    localId: null,
    local: "10.0.2.1",
    localPort: 0,
    remoteId: 0,
    remote: null,
    backup: null,
    subflow: 7,
  };
  const request = manager.addSubflow(1, asked, 120_000);
  assert.ok(!("error" in request), JSON.stringify(request));
});

Deno.test("a better interface whose joins nobody answers costs no subflow that works", () => {
  const manager = client(2, {
    layout: "primary-backup",
    subflowsMax: 2,
    interfaces: [
      { ...INTERFACE_DEFAULT, name: "eth1", role: "metered" },
      { ...INTERFACE_DEFAULT, name: "eth2", role: "backup" },
    ],
  });
  const destroyed: string[] = [];
  const work = (nowMs: number): void => {
    for (let next = manager.pollCommand(); next !== null; next = manager.pollCommand()) {
      manager.handleResult(next.serial, 0, "", nowMs);
      if (next.kind === "destroy") destroyed.push(next.local.address);
      // Only what leaves by the second link gets an answer.
      if (next.kind !== "create" || next.local.address !== "10.0.2.1") continue;
      const [local, remote] = [at("10.0.2.1", 50_000), next.remote];
      const ids = { localId: next.id, remoteId: 0, interfaceIndex: 2 };
      manager.handleSubflow(
        { token: 1, local, remote, ...ids, backup: false, error: 0, resetReason: -1 },
        nowMs,
      );
    }
  };
  work(0);
  manager.handleLink({ index: 3, name: "eth3", up: true, loopback: false }, 1000);
  const third = { index: 3, address: "10.0.3.1", prefixLength: 24 };
  manager.handleAddress({ ...third, linkLocal: false, usable: true }, 1000);
  for (let nowMs = 1000; nowMs < 300_000; nowMs += 500) {
    if (nowMs >= manager.pollDeadline()) manager.handleDeadline(nowMs);
    work(nowMs);
  }
  assert.deepEqual(destroyed, []);
});

Deno.test("an address that was announced with a port comes back with it after its link was lost", () => {
  const manager = new PathManager({ ...PATH_POLICY_DEFAULTS, upDelayMs: 0 });
  const link = (index: number, up: boolean, nowMs: number): void =>
    manager.handleLink({ index, name: `eth${index}`, up, loopback: false }, nowMs);
  for (const index of [1, 2]) {
    link(index, true, 0);
    const address = `10.0.${index}.1`;
    const one = { index, address, prefixLength: 24, linkLocal: false, usable: true };
    manager.handleAddress(one, 0);
  }
  const [local, remote] = [at("10.0.1.1", 7000), at("192.0.2.1", 40_000)];
  for (const established of [false, true]) {
    const event = { token: 1, established, serverSide: true, denyJoinId0: false, local, remote };
    manager.handleConnection(event, 0);
  }
  const announced: string[] = [];
  const work = (nowMs: number): void => {
    if (nowMs >= manager.pollDeadline()) manager.handleDeadline(nowMs);
    for (let next = manager.pollCommand(); next !== null; next = manager.pollCommand()) {
      if (next.kind === "announce") announced.push(`${next.local.address} ${next.local.port}`);
      manager.handleResult(next.serial, 0, "", nowMs);
    }
  };
  work(0);
  assert.ok(!("error" in manager.sendAddr(1, 0, at("10.0.2.1", 7777), 0)));
  work(0);
  const [joined, from] = [at("10.0.2.1", 7777), at("192.0.2.1", 41_000)];
  const ids = { localId: 1, remoteId: 1, interfaceIndex: 0 };
  manager.handleSubflow(
    { token: 1, local: joined, remote: from, ...ids, backup: false, error: 0, resetReason: -1 },
    500,
  );
  link(2, false, 1000);
  for (let nowMs = 1000; nowMs < 2000; nowMs += 100) work(nowMs);
  link(2, true, 2000);
  for (let nowMs = 2000; nowMs < 9000; nowMs += 100) work(nowMs);
  assert.deepEqual(announced, ["10.0.2.1 7777", "10.0.2.1 7777"]);
});
