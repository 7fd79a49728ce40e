/**
 * What becomes of packets when a second box goes on with an SA: from nothing, from where the first box
 * was, or from a record that is some packets old, with and without a jump ahead. RFC 4303 section 3.4.3
 * and appendix A (anti-replay), section 3.3.3 (numbers must not cycle).
 */
import assert from "node:assert/strict";
import { ReplayKind } from "../../src/wire/netlink/xfrm_replay.ts";
import type { XfrmSa } from "../../src/wire/netlink/xfrm_sa.ts";
import type { EspPacket, LabTap } from "../interop/uml_sockets.ts";
import { takeEsp, type Tunnel, type TunnelTraffic } from "../interop/xfrm_lab.ts";
import { aeventOf, saIn, XfrmClient } from "./xfrm_client.ts";
import { Fixture } from "./xfrm_fixture.ts";

const fixture = await Fixture.create();
const { client, lab } = fixture;
const peer = new XfrmClient(lab.names.peer);
const standby = new XfrmClient(lab.names.standby);
/** Packets after the last record, and how far is jumped. */
const LATE = 40;
const JUMP = 64;
const CYCLE = 2 ** 32;

const KINDS: { what: string; changes: Partial<Tunnel> }[] = [
  { what: "AES-GCM", changes: {} },
  { what: "AES-CBC with HMAC", changes: { cipher: "cbc" } },
  { what: "ESN", changes: { esn: true, window: 128 } },
  { what: "IPv6", changes: { version: 6 } },
];

/** How a record is changed when the second box takes it. */
interface Changes {
  out?: (sa: XfrmSa) => void;
  in?: (sa: XfrmSa) => void;
}

/** A tunnel on the active box, which the standby can take over. */
class Takeover implements AsyncDisposable {
  readonly tunnel: Tunnel;
  readonly before: TunnelTraffic;
  /** What goes to and from the active box. */
  readonly tap: LabTap = lab.tap("active");
  #after: TunnelTraffic | null = null;

  static async prepare(changes: Partial<Tunnel>): Promise<Takeover> {
    return new Takeover(await fixture.tunnel(changes));
  }

  private constructor(tunnel: Tunnel) {
    this.tunnel = tunnel;
    this.before = lab.traffic(tunnel);
  }

  /** Traffic through the second box. */
  get after(): TunnelTraffic {
    return this.#after!;
  }

  /** ESP that came to the active box since the last call, oldest first. */
  came(): EspPacket[] {
    const spi = lab.spi(this.tunnel, "in");
    return takeEsp(this.tap).filter((packet) => packet.spi === spi);
  }

  /** Both SAs as the active box has them now. */
  record(): Record<"out" | "in", XfrmSa> {
    const sas = client.dump().map(saIn);
    const find = (way: "out" | "in"): XfrmSa =>
      sas.find(({ id }) => id.key() === fixture.id(this.tunnel, way).key())!;
    return { out: find("out"), in: find("in") };
  }

  /** Makes both SAs at the standby, which gets the gateway's address. */
  async take(record: Record<"out" | "in", XfrmSa>, changes: Changes = {}): Promise<void> {
    for (const way of ["out", "in"] as const) {
      const sa = record[way];
      sa.hasLifetime = true;
      changes[way]?.(sa);
      assert.equal(standby.add(sa), 0, standby.text);
    }
    await lab.ip("standby", [
      ...lab.policyLines(this.tunnel, "gateway"),
      ...lab.routeLines(this.tunnel, "gateway"),
    ]);
    await lab.giveGateway("standby");
    this.#after = lab.traffic(this.tunnel, "standby");
  }

  /** Sends packets that the active box had to the standby; says how many it refused as old. */
  replay(packets: readonly EspPacket[]): number {
    using tap = lab.tap("standby");
    const before = lab.sequenceErrors("standby");
    for (const packet of packets) lab.replay(tap, packet, "standby");
    return lab.sequenceErrors("standby") - before;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.tap[Symbol.dispose]();
    this.before[Symbol.dispose]();
    if (this.#after === null) return;
    this.#after[Symbol.dispose]();
    await lab.giveGateway("active");
  }
}

function forget(sa: XfrmSa): void {
  sa.replay.oseq = sa.replay.seq = 0;
  sa.replay.bitmap.fill(0);
}

const jumpOut = (sa: XfrmSa): void => {
  sa.replay.oseq += JUMP;
};

/** Nothing that may have come before is taken again. */
function jumpIn(sa: XfrmSa): void {
  sa.replay.seq += JUMP;
  sa.replay.bitmap.fill(0xffffffff);
}

Deno.test.each(KINDS)(
  "$what: a box that knows nothing takes old packets again, and its own are refused",
  async ({ changes }) => {
    await using row = await Takeover.prepare(changes);
    assert.deepEqual([row.before.out(50), row.before.in(5)], [50, 5]);
    const old = row.came();
    await row.take(row.record(), { out: forget, in: forget });
    assert.equal(row.replay(old), 0, "the hole");
    const before = lab.sequenceErrors("peer");
    assert.equal(row.after.out(60), 10, "until its numbers have passed those of the first box");
    assert.equal(lab.sequenceErrors("peer") - before, 50);
  },
);

Deno.test.each(KINDS)(
  "$what: a box with the last record refuses old packets; fresh ones pass, counters go on",
  async ({ changes }) => {
    await using row = await Takeover.prepare(changes);
    assert.deepEqual([row.before.out(50), row.before.in(50)], [50, 50]);
    const old = row.came();
    const record = row.record();
    const { bytes, addTime, replayDrops } = record.in;
    await row.take(record);
    assert.equal(row.replay(old.slice(-20)), 20);
    const before = lab.sequenceErrors("peer");
    assert.deepEqual([row.after.out(10), row.after.in(10)], [10, 10]);
    assert.equal(lab.sequenceErrors("peer"), before);
    const after = standby.sa(fixture.id(row.tunnel, "in"));
    assert.equal(after.bytes, bytes + bytes / 5);
    assert.equal(after.addTime, addTime);
    assert.equal(after.replayDrops, replayDrops + 20);
  },
);

Deno.test.each(KINDS)(
  "$what: from an old record without a jump the peer refuses as many as are missing",
  async ({ changes }) => {
    await using row = await Takeover.prepare(changes);
    row.before.out(10);
    const record = row.record();
    assert.equal(row.before.out(LATE), LATE);
    await row.take(record);
    const before = lab.sequenceErrors("peer");
    assert.equal(row.after.out(LATE + 5), 5);
    assert.equal(lab.sequenceErrors("peer") - before, LATE);
  },
);

Deno.test.each(KINDS)(
  "$what: from an old record with a jump the peer refuses none",
  async ({ changes }) => {
    await using row = await Takeover.prepare(changes);
    row.before.out(10);
    const record = row.record();
    assert.equal(row.before.out(LATE), LATE);
    await row.take(record, { out: jumpOut });
    const before = lab.sequenceErrors("peer");
    assert.equal(row.after.out(20), 20);
    assert.equal(lab.sequenceErrors("peer"), before);
    const { oseq } = standby.aevent(fixture.id(row.tunnel, "out")).replay;
    assert.equal(oseq, 10 + JUMP + 20);
  },
);

Deno.test.each(KINDS)(
  "$what: lossless, what came after the record is taken once more, and nothing is lost",
  async ({ changes }) => {
    await using row = await Takeover.prepare(changes);
    row.before.in(10);
    const record = row.record();
    row.came();
    assert.equal(row.before.in(LATE), LATE);
    const late = row.came();
    assert.equal(late.length, LATE);
    await row.take(record);
    assert.equal(row.replay(late), 0);
    assert.equal(row.replay(late), LATE, "but not twice");
    assert.equal(row.after.in(20), 20);
  },
);

Deno.test.each(KINDS)(
  "$what: strict, nothing is taken again, and packets are lost up to the jump",
  async ({ changes }) => {
    await using row = await Takeover.prepare(changes);
    row.before.in(10);
    const record = row.record();
    row.came();
    assert.equal(row.before.in(LATE), LATE);
    const late = row.came();
    await row.take(record, { in: jumpIn });
    assert.equal(row.replay(late), LATE);
    assert.equal(row.after.in(JUMP), LATE, `${JUMP - LATE} are lost`);
  },
);

Deno.test("a second takeover from the same record with the same jump is refused by the peer", async () => {
  await using row = await Takeover.prepare({});
  row.before.out(10);
  const record = row.record();
  await row.take(record, { out: jumpOut });
  assert.equal(row.after.out(30), 30);
  const id = fixture.id(row.tunnel, "out");
  const highest = standby.aevent(id).replay.oseq;
  assert.equal(standby.delete(id), 0);
  assert.equal(standby.add(record.out), 0);
  assert.equal(row.after.out(5), 0, "its numbers were used");
  assert.equal(standby.delete(id), 0);
  record.out.replay.oseq = highest + JUMP;
  assert.equal(standby.add(record.out), 0);
  assert.equal(row.after.out(5), 5, "the jump begins at the highest that was ever used");
});

Deno.test("with ESN a jump carries into the upper half", async () => {
  await using row = await Takeover.prepare({ esn: true, window: 128 });
  const start = CYCLE - 20;
  for (const [box, way] of [[client, "oseq"], [peer, "seq"]] as const) {
    const event = box.aevent(fixture.id(row.tunnel, "out"));
    event.replay[way] = start;
    assert.equal(box.write(event), 0, box.text);
  }
  assert.equal(row.before.out(10), 10);
  const record = row.record();
  assert.equal(record.out.replay.oseq, CYCLE - 10);
  await row.take(record, { out: jumpOut });
  assert.equal(row.after.out(5), 5);
  assert.equal(peer.aevent(fixture.id(row.tunnel, "out")).replay.seq, CYCLE - 10 + JUMP + 5);
});

Deno.test("without ESN numbers end at 2^32 - 1: nothing is sent after, and the kernel counts it", async () => {
  await using row = await Takeover.prepare({});
  const event = aeventOf(fixture.id(row.tunnel, "out"));
  Object.assign(event.replay, { kind: ReplayKind.Value, oseq: CYCLE - 5 });
  assert.equal(client.write(event), 0);
  const before = lab.statistics("active").XfrmOutStateSeqError!;
  assert.equal(row.before.out(10), 4);
  assert.equal(lab.statistics("active").XfrmOutStateSeqError! - before, 6);
});
