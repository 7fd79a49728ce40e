/**
 * Associations around a tunnel, in a kernel that has both: VXLAN between two namespaces, ESP on the wire
 * between them, and nothing in clear. Runs in user-mode Linux, see tests/interop/uml_lab.ts.
 */
import assert from "node:assert/strict";
import {
  type AssociationRecord,
  associationStep,
  associationSteps,
  espCapable,
  type ProtectionRecord,
  protectionStep,
  protectionSteps,
} from "../../src/app/overlay/node/association_step.ts";
import {
  type EndpointRecord,
  endpointStep,
  endpointSteps,
} from "../../src/app/overlay/node/endpoint_step.ts";
import { NodeConfigurer } from "../../src/app/overlay/node/node_configurer.ts";
import type { StepKind, StepRecord } from "../../src/app/overlay/node/step.ts";
import { probeLinks } from "../../src/app/overlay/link_probe.ts";
import { delay } from "../../src/app/delay.ts";
import { inNamespace } from "../../src/io/namespace.ts";
import { PacketSocket } from "../../src/io/packet_socket.ts";
import type { NodePlan } from "../../src/wire/xbone/node_plan.ts";
import { findUml } from "../interop/debian_peers.ts";
import { must } from "../interop/processes.ts";

assert.ok(Deno.env.get("FAIRLEAD_UML"), "runs in user-mode Linux: see tests/interop/uml_lab.ts");

const PORT = 4790;
const SIDES = [
  { name: "a", base: "192.0.2.1", other: "192.0.2.2", inner: "10.200.0.0", peer: "10.200.0.1" },
  { name: "b", base: "192.0.2.2", other: "192.0.2.1", inner: "10.200.0.1", peer: "10.200.0.0" },
] as const;
type Side = typeof SIDES[number];
const [A, B] = SIDES;
const UDP = 17;
const ESP = 50;
/** Of the overlay that is made by its plans as a whole. */
const WHOLE_PORT = 4791;
const VNI = 4242;
const WAIT_MS = 5000;
const LOST_MS = 300;

await build();

async function build(): Promise<void> {
  const root = await findUml();
  await must([`${root}/kmod/sbin/modprobe`, "-d", root!, "vxlan"]);
  for (const { name } of SIDES) {
    await must(["ip", "netns", "add", name]);
    await must(["ip", "-n", name, "link", "set", "lo", "up"]);
  }
  const veth = ["type", "veth", "peer", "name", "base0", "netns", "b"];
  await must(["ip", "-n", "a", "link", "add", "base0", ...veth]);
  for (const { base, inner, name, other } of SIDES) {
    const ip = (...words: string[]): Promise<string> => must(["ip", "-n", name, ...words]);
    await ip("address", "add", `${base}/30`, "dev", "base0");
    await ip("link", "set", "base0", "up");
    const ends = ["local", base, "remote", other, "dstport", `${PORT}`, "dev", "base0"];
    await ip("link", "add", "xb0", "mtu", "1400", "type", "vxlan", "id", "77", ...ends);
    await ip("address", "add", `${inner}/31`, "dev", "xb0");
    await ip("link", "set", "xb0", "up");
  }
}

/** Keys of a generation: from a to b, and back. */
function keysOf(generation: number): [string, string] {
  return [`${generation}a`.repeat(20), `${generation}b`.repeat(20)];
}

function planOf(
  side: Side,
  generation: number,
  epoch = "00a1b2c3d4e5f607",
  port = PORT,
): NodePlan {
  const [toB, toA] = keysOf(generation);
  const [spiToB, spiToA] = [0x1000 + generation, 0x2000 + generation];
  const [local, remote] = [side.base, side.other];
  const out = side === A ? { keyOut: toB, spiOut: spiToB } : { keyOut: toA, spiOut: spiToA };
  const into = side === A ? { keyIn: toA, spiIn: spiToA } : { keyIn: toB, spiIn: spiToB };
  const associations = [{ local, remote, port, ...into, ...out }];
  const [visits, endpoints, names] = [[], [], []];
  return {
    ...{ overlay: "field", epoch, node: side.name, visits, associations, endpoints, names },
    ...{ peers: null, script: null },
  };
}

function stepOf(
  side: Side,
  generation: number,
  epoch?: string,
): { record: AssociationRecord; secret: unknown } {
  const [step, ...more] = associationSteps(planOf(side, generation, epoch));
  assert.deepEqual(more, []);
  return { record: step!.record as AssociationRecord, secret: step!.secret };
}

function protectionOf(side: Side, epoch?: string): ProtectionRecord {
  const [record, ...more] = protectionSteps(planOf(side, 1, epoch));
  assert.deepEqual(more, []);
  return record!;
}

function applyBoth(generation: number): void {
  for (const side of SIDES) {
    const { record, secret } = stepOf(side, generation);
    protectionStep(side.name).apply(protectionOf(side));
    associationStep(side.name).apply(record, secret);
  }
}

function undoBoth(generation: number): void {
  for (const side of SIDES) {
    associationStep(side.name).undo(stepOf(side, generation).record);
    protectionStep(side.name).undo(protectionOf(side));
  }
}

/** Of both steps. */
function driftOf(side: Side, generation: number): readonly string[] {
  return [
    ...protectionStep(side.name).drift(protectionOf(side)),
    ...associationStep(side.name).drift(stepOf(side, generation).record),
  ];
}

async function pings({ inner, name, peer }: Side, probes: number, waitMs: number): Promise<number> {
  const link = { link: "a-b", device: "xb0", address: inner, peerAddress: peer };
  const [answer] = await inNamespace(name, () => probeLinks([link], probes, waitMs));
  assert.equal(answer!.sent, probes);
  return answer!.answered;
}

/** What comes to the base of b meanwhile: packets of ESP, and those of a tunnel's port in clear. */
async function onTheWire(body: () => Promise<void>, port = PORT): Promise<Seen> {
  const socket = inNamespace("b", () => PacketSocket.open("base0", 0x0800));
  assert.ok(socket instanceof PacketSocket, `errno ${socket}`);
  const seen = { esp: 0, clear: 0 };
  try {
    await body();
    const bytes = new Uint8Array(2048);
    while (socket.receive(bytes) > 0) {
      const [protocol, dport] = [bytes[23]!, bytes[36]! << 8 | bytes[37]!];
      if (protocol === ESP) seen.esp++;
      else if (protocol === UDP && dport === port) seen.clear++;
    }
  } finally {
    socket.close();
  }
  return seen;
}

interface Seen {
  esp: number;
  clear: number;
}

async function xfrm(side: Side, what: "state" | "policy"): Promise<string> {
  return (await must(["ip", "-n", side.name, "xfrm", what])).trim();
}

async function received(side: Side): Promise<number> {
  const [link] = JSON.parse(await must(["ip", "-n", side.name, "-j", "-s", "link", "show", "xb0"]));
  return link.stats64.rx.packets;
}

async function isClean(): Promise<void> {
  for (const side of SIDES) {
    assert.deepEqual([await xfrm(side, "state"), await xfrm(side, "policy")], ["", ""], side.name);
  }
}

Deno.test("the kernel has ESP, and asking leaves nothing", async () => {
  assert.equal(espCapable("a"), true);
  await isClean();
});

Deno.test("with associations a tunnel's packets are ESP, and undoing leaves nothing", async () => {
  const before = await onTheWire(async () => assert.equal(await pings(A, 3, WAIT_MS), 3));
  assert.ok(before.clear >= 3, "in clear before");
  applyBoth(1);
  for (const side of SIDES) assert.deepEqual(driftOf(side, 1), []);
  const seen = await onTheWire(async () => {
    assert.equal(await pings(A, 5, WAIT_MS), 5);
    assert.equal(await pings(B, 5, WAIT_MS), 5);
  });
  assert.equal(seen.clear, 0, "nothing in clear");
  assert.ok(seen.esp >= 10);
  assert.match(await xfrm(A, "state"), /mode transport[^]*flag esn/);
  undoBoth(1);
  await isClean();
  undoBoth(1);
  assert.equal(await pings(A, 3, WAIT_MS), 3, "in clear again");
});

Deno.test("what comes in clear is refused, and told as drift where it comes from", async () => {
  applyBoth(1);
  try {
    assert.equal(await pings(A, 3, WAIT_MS), 3);
    const selector = ["src", A.base, "dst", A.other, "proto", "udp", "dport", `${PORT}`];
    await must(["ip", "-n", "a", "xfrm", "policy", "delete", "dir", "out", ...selector]);
    const before = await received(B);
    const seen = await onTheWire(async () => assert.equal(await pings(A, 3, LOST_MS), 0));
    assert.ok(seen.clear >= 3, "they came to the box");
    assert.equal(await received(B), before, "and not into the tunnel");
    const { record, secret } = stepOf(A, 1);
    assert.deepEqual(driftOf(A, 1), [
      `protection 192.0.2.1 - 192.0.2.2 (UDP port ${PORT}): policy out is missing`,
    ]);
    protectionStep("a").apply(protectionOf(A));
    associationStep("a").apply(record, secret);
    assert.equal(await pings(A, 3, WAIT_MS), 3, "SAs that are there go on with their numbers");
    await must(["ip", "-n", "b", "xfrm", "state", "flush"]);
    assert.match(driftOf(B, 1).join(), /SA 0x00001001 to .*SA/);
    assert.equal(await pings(A, 3, LOST_MS), 0);
  } finally {
    undoBoth(1);
  }
  await isClean();
});

Deno.test("other keys are taken while packets flow; what received before ends by itself", async () => {
  applyBoth(1);
  const pinged = pings(A, 60, WAIT_MS);
  for (const generation of [2, 3]) {
    await delay(300);
    for (const side of SIDES) {
      const { record, secret } = stepOf(side, generation);
      associationStep(side.name).rekey(stepOf(side, generation - 1).record, record, secret);
    }
  }
  const answered = await pinged;
  assert.ok(answered >= 57, `${answered} of 60`);
  assert.equal(await pings(B, 3, WAIT_MS), 3);
  for (const side of SIDES) {
    assert.deepEqual(driftOf(side, 3), []);
    const states = await must(["ip", "-s", "-n", side.name, "xfrm", "state"]);
    const old = side === A ? "0x00002002" : "0x00001002";
    assert.match(
      states,
      new RegExp(`spi ${old}[^]*?expire add: soft 0\\(sec\\), hard 3\\d\\(sec\\)`),
    );
    const gone = side === A ? "0x00001002" : "0x00002002";
    assert.ok(!states.includes(gone), "what was sent with before is gone at once");
  }
  undoBoth(3);
  await isClean();
});

Deno.test("another overlay on the same port is refused, and its undoing takes nothing away", async () => {
  applyBoth(1);
  const other = stepOf(A, 4, "ffffffffffffffff");
  const step = associationStep("a");
  const protection = protectionOf(A, "ffffffffffffffff");
  assert.throws(() => protectionStep("a").apply(protection), /somebody else's policy/);
  protectionStep("a").undo(protection);
  step.undo(other.record);
  assert.deepEqual(driftOf(A, 1), []);
  assert.equal(await pings(A, 3, WAIT_MS), 3);
  const taken = { ...other.record, port: PORT + 1, spiIn: stepOf(A, 1).record.spiIn };
  assert.throws(() => step.apply(taken, other.secret), /Cannot add SA 0x00002001 of association/);
  step.undo(taken);
  assert.deepEqual(driftOf(A, 1), []);
  undoBoth(1);
  await isClean();
});

Deno.test("what others have in the kernel stays", async () => {
  const gcm = ["aead", "rfc4106(gcm(aes))", `0x${"01".repeat(20)}`, "128"];
  const ends = ["src", A.base, "dst", A.other];
  const sa = [...ends, "proto", "esp", "spi", "0x9999", "reqid", "5", "mode", "transport", ...gcm];
  await must(["ip", "-n", "a", "xfrm", "state", "add", ...sa]);
  const template = ["tmpl", "proto", "esp", "mode", "transport", "reqid", "5"];
  const policy = [...ends, "proto", "tcp", "dir", "out", ...template];
  await must(["ip", "-n", "a", "xfrm", "policy", "add", ...policy]);
  const before = [await xfrm(A, "state"), await xfrm(A, "policy")];
  applyBoth(1);
  undoBoth(1);
  assert.deepEqual([await xfrm(A, "state"), await xfrm(A, "policy")], before);
  await must(["ip", "-n", "a", "xfrm", "state", "flush"]);
  await must(["ip", "-n", "a", "xfrm", "policy", "flush"]);
  await isClean();
});

Deno.test("what goes into the journal has no key, and a wrong key is not repeated", () => {
  const { record, secret } = stepOf(A, 1);
  for (const key of keysOf(1)) {
    assert.ok(JSON.stringify(secret).includes(key));
    assert.ok(!JSON.stringify(record).includes(key.slice(0, 8)));
  }
  const step = associationStep("a");
  for (const wrong of [undefined, {}, { keyIn: "abc", keyOut: "5".repeat(40) }]) {
    assert.throws(() => step.apply(record, wrong), (error: Error) => {
      assert.match(error.message, /40 hexadecimal digits/);
      return !error.message.includes("abc") && !error.message.includes("555");
    });
  }
});

Deno.test("where the kernel has no MPTCP an endpoint is refused, and to undo it is fine", () => {
  const endpoints = [{ address: "10.100.0.1", flags: ["subflow"] }];
  const [planned] = endpointSteps({ ...planOf(A, 1), endpoints });
  const record = planned!.record as EndpointRecord;
  const step = endpointStep("a");
  assert.throws(() => step.apply(record), /the kernel has no "mptcp_pm"/);
  step.undo(record);
});

/** The plan of a box with one link, as a manager sends it. */
function wholePlanOf(side: Side, generation: number): NodePlan {
  const [own, other] = side === A ? ["10.100.0.1", "10.100.0.2"] : ["10.100.0.2", "10.100.0.1"];
  const [address, via] = side === A
    ? ["10.100.255.0", "10.100.255.1"]
    : ["10.100.255.1", "10.100.255.0"];
  const peer = side === A ? "b" : "a";
  const link = {
    ...{ name: "a-b", vni: VNI, port: WHOLE_PORT, local: side.base, remote: side.other, mtu: 1400 },
    ...{ address, peerAddress: via, peer, peerNode: peer, rateBits: 0 },
  };
  const visit = {
    ...{ name: side.name, network: "field", role: "host" as const, address: own },
    ...{ prefix: "10.100.0.0/16", links: [link] },
    routes: [{ to: `${other}/32`, via, link: "a-b" }],
  };
  return { ...planOf(side, generation, undefined, WHOLE_PORT), visits: [visit] };
}

/** Everything of the kernel that an overlay may change. */
async function everything(side: Side): Promise<string> {
  const asked = [["-d", "link"], ["address"], ["route", "show", "table", "all"], ["rule"]];
  const said = await Promise.all(asked.map((what) => must(["ip", "-n", side.name, ...what])));
  return [...said, await xfrm(side, "state"), await xfrm(side, "policy")].join("\n");
}

async function wholePings(box: NodeConfigurer, side: Side, probes: number): Promise<number> {
  const links = box.links("field/00a1b2c3d4e5f607");
  const [answer] = await inNamespace(side.name, () => probeLinks(links, probes, WAIT_MS));
  return answer!.answered;
}

Deno.test("a box made by its plan sends nothing in clear, and its journal has no key", async () => {
  const state = Deno.makeTempDirSync();
  const before = await Promise.all(SIDES.map(everything));
  const key = "field/00a1b2c3d4e5f607";
  const boxes = await Promise.all(SIDES.map(({ name }) =>
    NodeConfigurer.open({
      stateDirectory: `${state}/${name}`,
      namespace: name,
      kinds: [protectionStep(name), associationStep(name)] as unknown as StepKind<StepRecord>[],
      esp: () => espCapable(name),
    })
  ));
  try {
    assert.ok(boxes.every((box) => box.capabilities().includes("esp")));
    const seen = await onTheWire(async () => {
      for (const [index, side] of SIDES.entries()) {
        assert.equal(await boxes[index]!.apply(wholePlanOf(side, 1), 1), null);
      }
      const pinged = wholePings(boxes[0]!, A, 60);
      await delay(300);
      for (const [index, side] of SIDES.entries()) {
        assert.equal(await boxes[index]!.rekey(wholePlanOf(side, 2), 2), null);
      }
      const answered = await pinged;
      assert.ok(answered >= 50, `${answered} of 60`);
    }, WHOLE_PORT);
    assert.equal(seen.clear, 0, "nothing in clear, from the first packet on");
    assert.ok(seen.esp >= 50);
    assert.match(await xfrm(A, "state"), /spi 0x00001002/);
    for (const box of boxes) assert.deepEqual(box.drift(key), []);
    const journals = await must(["sh", "-c", 'cat "$0"/*/steps/*', state]);
    assert.match(journals, /"kind":"association"/);
    for (const secret of [...keysOf(1), ...keysOf(2)]) {
      assert.ok(!journals.includes(secret.slice(0, 8)));
    }
    for (const box of boxes) assert.deepEqual(await box.undo(key), []);
    assert.deepEqual(await Promise.all(SIDES.map(everything)), before);
  } finally {
    for (const box of boxes) {
      await box.undo(key);
      box.close();
    }
    Deno.removeSync(state, { recursive: true });
  }
});
