/**
 * What becomes of packets when the second box goes on, with the programs as they are run: the standby is
 * promoted by an operator after the active box's program was killed and its cables cut. RFC 4303 section
 * 3.4.3 (anti-replay), section 3.3.3 (numbers must not cycle).
 */
import assert from "node:assert/strict";
import { run } from "../interop/processes.ts";
import { takeEsp, type Tunnel } from "../interop/xfrm_lab.ts";
import { type EspPacket, LabUdp } from "../interop/uml_sockets.ts";
import { type Pair, report, StandbyBoxes } from "./standby_boxes.ts";
import { XfrmClient } from "./xfrm_client.ts";

const boxes = await StandbyBoxes.create();
const { lab } = boxes;
const addresses = await boxes.letBoxesHaveGateway();
const clients = {
  active: new XfrmClient(lab.names.active),
  standby: new XfrmClient(lab.names.standby),
};
const KINDS: Partial<Tunnel>[] = [
  {},
  { cipher: "cbc" },
  { esn: true, window: 128 },
  { version: 6 },
  { version: 6, cipher: "cbc", esn: true, window: 64 },
];
/** Packets after the last record. */
const LATE = 40;
const SOON = 10;
/** Of a datagram of the laboratory, with its headers. */
const PACKET_BYTES = 64;
/** Where a gateway's program listens in the laboratory. */
const LAB_PORT = 4000;

/** Sends packets of before to the standby: how many it refused as old. */
function replay(packets: readonly EspPacket[]): number {
  using tap = lab.tap("standby");
  const before = lab.sequenceErrors("standby");
  for (const packet of packets) lab.replay(tap, packet, "standby");
  return lab.sequenceErrors("standby") - before;
}

Deno.test.each([{ apply: "hold" }, { apply: "install" }] as const)(
  "$apply: old packets are refused, fresh ones pass both ways, counters and times go on",
  async ({ apply }) => {
    const made = await boxes.fresh(KINDS);
    await using pair = await boxes.startPair({ addresses, apply });
    using tap = lab.tap("active");
    for (const tunnel of made) {
      using traffic = lab.traffic(tunnel);
      assert.deepEqual([traffic.out(50), traffic.in(50)], [50, 50]);
    }
    const old = takeEsp(tap).filter(({ spi }) => spi >> 12 === 2);
    assert.equal(old.length, 50 * made.length);
    await boxes.untilSynced(pair.active);
    const states = await boxes.listed("active", "state");
    const policies = await boxes.listed("active", "policy");
    const held = apply === "install" ? made.length * 2 : 0;
    assert.equal(clients.standby.dump().length, held);

    await boxes.lose(pair.active);
    await pair.standby.promote(true);
    assert.deepEqual(await boxes.listed("standby", "state"), states);
    assert.deepEqual(await boxes.listed("standby", "policy"), policies);
    {
      using sink = new LabUdp(lab.names.standby, lab.inner(made[0]!, "gateway"), LAB_PORT);
      assert.equal(replay(old), old.length);
      assert.equal(sink.drain(), 0);
    }
    const before = lab.sequenceErrors("peer");
    for (const tunnel of made) {
      using traffic = lab.traffic(tunnel, "standby");
      assert.deepEqual([traffic.out(10), traffic.in(10)], [10, 10], JSON.stringify(tunnel));
      for (const way of ["out", "in"] as const) {
        const id = boxes.id(tunnel, way);
        const was = clients.active.sa(id);
        const is = clients.standby.sa(id);
        assert.equal(is.bytes, was.bytes + was.bytes / 5, id.key());
        assert.equal(is.packets, 60, id.key());
        assert.equal(is.addTime, was.addTime, id.key());
      }
    }
    assert.equal(lab.sequenceErrors("peer"), before);
    report(
      `${apply}: takeover of ${made.length * 2} SAs: ${
        (await pair.standby.status()).takeoverMs
      } ms`,
    );
  },
);

Deno.test("lossless: what came after the last record is taken once more, and nothing is lost", async () => {
  const made = await boxes.fresh([{}, { esn: true, window: 128 }]);
  await using pair = await boxes.startPair({ addresses });
  const late = await receiveLate(pair, made);
  await boxes.lose(pair.active);
  await pair.standby.promote(true);
  assert.equal(replay(late), 0, "the hole");
  assert.equal(replay(late), late.length, "but not twice");
  for (const tunnel of made) {
    using traffic = lab.traffic(tunnel, "standby");
    assert.equal(traffic.in(20), 20);
  }
});

Deno.test("strict: nothing is taken again, and packets are lost up to the jump", async () => {
  const made = await boxes.fresh([{}, { esn: true, window: 128 }]);
  await using pair = await boxes.startPair({ addresses, inbound: "strict" });
  const late = await receiveLate(pair, made);
  await boxes.lose(pair.active);
  await pair.standby.promote(true);
  assert.equal(replay(late), late.length);
  for (const tunnel of made) {
    const id = boxes.id(tunnel, "in");
    const jump = clients.standby.aevent(id).replay.seq - SOON;
    using traffic = lab.traffic(tunnel, "standby");
    assert.equal(traffic.in(jump + 10), LATE + 10, `${jump - LATE} are lost`);
    report(`strict: ${LATE} packets after the last record, jump ${jump}, ${jump - LATE} lost`);
  }
});

/** Packets that come before a record, and packets after it; the latter. */
async function receiveLate(pair: Pair, made: readonly Tunnel[]): Promise<EspPacket[]> {
  using tap = lab.tap("active");
  for (const tunnel of made) {
    using traffic = lab.traffic(tunnel);
    assert.equal(traffic.in(SOON), SOON);
  }
  await boxes.untilSynced(pair.active);
  pair.active.signal("SIGSTOP");
  takeEsp(tap);
  for (const tunnel of made) {
    using traffic = lab.traffic(tunnel);
    assert.equal(traffic.in(LATE), LATE);
  }
  return takeEsp(tap);
}

Deno.test("a limit of bytes is reached after a takeover as if there had been none", async () => {
  const [tunnel] = await boxes.fresh([{ more: ["limit", "byte-hard", `${PACKET_BYTES * 100}`] }]);
  await using pair = await boxes.startPair({ addresses });
  {
    using traffic = lab.traffic(tunnel!);
    assert.equal(traffic.out(60), 60);
  }
  await boxes.untilSynced(pair.active);
  await boxes.lose(pair.active);
  await pair.standby.promote(true);
  using traffic = lab.traffic(tunnel!, "standby");
  assert.equal(traffic.out(60), 40);
});

Deno.test("without a witness nobody is promoted who cannot ask; two that were forced both stop", async () => {
  const [tunnel] = await boxes.fresh([{}]);
  await using pair = await boxes.startPair({ addresses });
  const { active, standby } = pair;
  await boxes.setCable("between", false);
  await standby.until("the other box is silent", ({ peer }) => peer.heardMsAgo > 1000);
  const socket = `${boxes.directory}/standby.sock`;
  const words = [
    "run",
    "-A",
    "--no-check",
    "src/main.ts",
    "standby",
    "promote",
    "--socket",
    socket,
  ];
  const { code, stderr } = await run([Deno.execPath(), ...words]);
  assert.equal(code, 1, stderr);
  assert.match(stderr, /Cannot promote as .*--force/);
  report(stderr.trim());
  assert.equal((await standby.status()).role, "standby");

  await active.demote();
  await active.until("it is standby", ({ role }) => role === "standby");
  await Promise.all([active.promote(true), standby.promote(true)]);
  // Each goes on to a term of which the other has nothing.
  const { term } = await active.until("it is alone", ({ term }) => term > 2);
  await standby.until("it has the same term", (view) => view.term === term);
  await boxes.setCable("between", true);
  for (const each of [active, standby]) {
    const view = await each.until("it has stopped", ({ role }) => role === "fenced");
    assert.ok(view.split);
    assert.match(each.log(), /Stopped sending: /);
    using traffic = lab.traffic(tunnel!, each.box);
    assert.equal(traffic.out(5), 0);
  }
  await standby.until("it can ask", ({ peer }) => peer.reached);
  await standby.promote();
  await active.until(
    "it has everything",
    ({ ready, role, split }) => ready && role === "standby" && !split,
  );
  using traffic = lab.traffic(tunnel!, "standby");
  assert.deepEqual([traffic.out(5), traffic.in(5)], [5, 5]);
});
