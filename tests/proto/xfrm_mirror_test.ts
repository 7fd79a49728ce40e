/** The active box's mirror: what is sent when, what is kept, what the kernel is told. */
import assert from "node:assert/strict";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { SaMirror, STATES_PER_POST } from "../../src/proto/xfrm/sa_mirror.ts";
import { OrderKind } from "../../src/proto/xfrm/sa_orders.ts";
import { Rate } from "../../src/proto/xfrm/sa_rate.ts";
import { diffSas, SAS_MAX, type SaView } from "../../src/proto/xfrm/sa_table.ts";
import { Nlmsg, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { AeFlag, XfrmMsg } from "../../src/wire/netlink/xfrm.ts";
import { readAevent, writeAevent, XfrmAevent } from "../../src/wire/netlink/xfrm_aevent.ts";
import { writePolicy, XfrmPolicy } from "../../src/wire/netlink/xfrm_policy.ts";
import { readSa, writeSa, XfrmSa } from "../../src/wire/netlink/xfrm_sa.ts";
import {
  PostHead,
  PostRecord,
  PostWriter,
  readPostHead,
  readPostRecord,
  RecordKind,
} from "../../src/wire/standby/post.ts";
import { FakeXfrmKernel } from "./fake_xfrm_kernel.ts";
import { Box, newSa } from "./xfrm_box.ts";

const HERE = "10.9.0.1";
const THERE = "10.9.0.2";
const FLUSH_MS = 20;
const NAMES = new Map(Object.entries(RecordKind).map(([name, kind]) => [kind as number, name]));

/** A mirror that is fed without a kernel. */
class Rig {
  readonly mirror = new SaMirror({ packets: 64, timerMs: 1000 }, []);
  readonly writer = new PostWriter();
  readonly #out = newRegion(4096);
  readonly #message = new Nlmsg();
  readonly #sa = new XfrmSa();
  readonly #event = new XfrmAevent();

  sa(sa: XfrmSa, nowMs: number, dump = false): void {
    sa.addTime ||= 1_795_000_000;
    const from = this.#written(writeSa(this.#out, 0, 1, XfrmMsg.NewSa, 0, sa));
    assert.ok(readSa(from, this.#message, this.#sa) >= 0);
    const { at, end } = this.#message;
    if (dump) this.mirror.handleDumped(this.#sa, from, at, end, nowMs);
    else this.mirror.handleSa(this.#sa, from, at, end, nowMs);
  }

  /** An event that the SA has sent so much. */
  sent(sa: XfrmSa, oseq: number, nowMs: number, flags: number = AeFlag.Cr): void {
    const event = new XfrmAevent();
    event.id.copy(sa.id);
    event.flags = flags;
    event.replay.copy(sa.replay);
    event.replay.oseq = oseq;
    this.event(event, nowMs);
  }

  event(event: XfrmAevent, nowMs: number): void {
    const from = this.#written(writeAevent(this.#out, 0, 1, 0, event));
    assert.ok(readAevent(from, this.#message, this.#event) >= 0);
    const { at, end } = this.#message;
    this.mirror.handleAevent(this.#event, from, at, end, nowMs);
  }

  policy(policy: XfrmPolicy): void {
    const end = writePolicy(this.#out, 0, 1, XfrmMsg.NewPolicy, 0, policy);
    const from = this.#written(end);
    this.mirror.handlePolicy(policy, from, this.#message.at, this.#message.end);
  }

  /** Kinds of records of the next post. */
  post(nowMs: number): string[] {
    this.mirror.writePost(this.writer, nowMs, FLUSH_MS);
    return this.#kinds();
  }

  snapshotPost(nowMs: number): string[] {
    this.mirror.writeSnapshot(this.writer, nowMs);
    return this.#kinds();
  }

  view(nowMs: number): SaView {
    return this.mirror.views(nowMs, 0)[0]!;
  }

  #kinds(): string[] {
    const from = regionOf(this.writer.take(1, 1));
    const head = new PostHead();
    const record = new PostRecord();
    const kinds: string[] = [];
    let at = readPostHead(from, 0, from.bytes.length, head);
    for (let i = 0; i < head.count; i++) {
      at = readPostRecord(from, at, record);
      kinds.push(NAMES.get(record.kind)!);
    }
    return kinds;
  }

  #written(end: number): Region {
    const from = regionOf(this.#out.bytes.slice(0, end));
    assert.ok(readNlmsg(from, 0, end, this.#message) > 0);
    return from;
  }
}

function outbound(spi: number): XfrmSa {
  return newSa(spi, HERE, THERE, 32);
}

Deno.test("an SA leaves at once, where it is in flushes, and only the newest", () => {
  const rig = new Rig();
  const sa = outbound(0x1000);
  rig.sa(sa, 1000);
  assert.equal(rig.mirror.pollDeadline(), 0);
  assert.deepEqual(rig.post(1000), ["Sa"]);
  assert.equal(rig.mirror.pollDeadline(), Infinity);
  rig.sent(sa, 64, 1001);
  assert.deepEqual(rig.post(1001), ["SaState"]);
  for (let i = 2; i < 10; i++) rig.sent(sa, 64 * i, 1000 + i);
  assert.equal(rig.mirror.pollDeadline(), 1021);
  assert.deepEqual(rig.post(1020), []);
  assert.deepEqual(rig.post(1021), ["SaState"]);
  assert.deepEqual(rig.post(1041), []);
  assert.deepEqual([rig.mirror.counts.events, rig.mirror.counts.coalesced], [9, 7]);
});

Deno.test("a flush takes 64 states a post, and each that moved once", () => {
  const rig = new Rig();
  const sas = Array.from({ length: 150 }, (_, i) => outbound(0x1000 + i));
  for (const sa of sas) rig.sa(sa, 1000);
  while (rig.post(1000).length > 0);
  for (const sa of sas) rig.sent(sa, 10, 1001);
  assert.equal(rig.post(1001).length, STATES_PER_POST);
  for (const sa of sas) rig.sent(sa, 20, 1002); // within the flush
  assert.equal(rig.post(1002).length, STATES_PER_POST);
  assert.equal(rig.post(1002).length, 22);
  assert.deepEqual(rig.post(1002), []);
  assert.equal(rig.mirror.dirty, 64); // those of the first post
  assert.equal(rig.post(1021).length, STATES_PER_POST);
});

Deno.test("an SA that came and went between two posts is not sent, one that was sent is gone", () => {
  const rig = new Rig();
  const sa = outbound(0x1000);
  rig.sa(sa, 1000);
  rig.mirror.handleGone(sa.id);
  assert.deepEqual(rig.post(1000), []);
  rig.sa(sa, 1000);
  rig.post(1000);
  rig.sent(sa, 5, 1001);
  rig.mirror.handleGone(sa.id);
  rig.sent(sa, 6, 1001);
  assert.equal(rig.mirror.counts.unknown, 1);
  rig.sa(sa, 1002);
  assert.deepEqual(rig.post(1002), ["SaGone", "Sa"]);
});

Deno.test("an SPI that is only reserved is not mirrored until it has a key", () => {
  const rig = new Rig();
  const larval = outbound(0x1000);
  larval.aead.clear();
  rig.sa(larval, 1000);
  assert.deepEqual([rig.mirror.size, rig.mirror.counts.larval], [0, 1]);
  rig.sa(outbound(0x1000), 1001);
  assert.equal(rig.mirror.size, 1);
});

Deno.test("what a dump does not have is gone, but not what an event had meanwhile", () => {
  const rig = new Rig();
  const [stays, goes, comes, dies] = [1, 2, 3, 4].map((spi) => outbound(spi)) as [
    XfrmSa,
    XfrmSa,
    XfrmSa,
    XfrmSa,
  ];
  rig.mirror.beginDump();
  for (const sa of [stays, goes, dies]) rig.sa(sa, 1000, true);
  rig.mirror.endDump(1000);
  rig.post(1000);
  rig.mirror.beginDump();
  rig.sa(comes, 1001);
  rig.mirror.handleGone(dies.id);
  rig.sa(stays, 1001, true);
  rig.sa(dies, 1001, true); // as it was when the kernel wrote it
  rig.mirror.endDump(1001);
  assert.deepEqual([...rig.mirror.ids()].map(({ id }) => id.spi), [1, 3]);
  assert.deepEqual(rig.post(1001), ["SaGone", "SaGone", "Sa"]);
  assert.deepEqual([rig.mirror.counts.resyncs, rig.mirror.counts.late], [1, 1]);
  assert.ok(goes.id.spi === 2);
});

Deno.test("a dump sends again what has moved or changed, and numbers never fall", () => {
  const rig = new Rig();
  const sa = outbound(0x1000);
  rig.sa(sa, 1000);
  rig.post(1000);
  rig.sa(sa, 1001, true);
  assert.deepEqual(rig.post(1001), []);
  rig.sent(sa, 500, 1002);
  rig.sa(sa, 1003, true); // it was read before the event
  assert.deepEqual([rig.mirror.counts.late, rig.view(1003).oseq], [1, 500]);
  assert.deepEqual(rig.post(1003), ["SaState"]);
  rig.sent(sa, 400, 1004);
  assert.equal(rig.view(1004).oseq, 500);
  sa.replay.oseq = 600;
  rig.sa(sa, 1005, true);
  assert.deepEqual(rig.post(1100), ["Sa"]);
  sa.limits.hardBytes = 5000; // an UPDSA
  rig.sa(sa, 1101);
  assert.deepEqual(rig.post(1101), ["Sa"]);
  sa.addTime++; // made anew
  sa.replay.oseq = 0;
  rig.sa(sa, 1102);
  assert.deepEqual(rig.post(1102), ["SaGone", "Sa"]);
  assert.equal(rig.view(1102).oseq, 0);
});

Deno.test("policies leave at once, those of sockets never", () => {
  const rig = new Rig();
  const policy = new XfrmPolicy();
  policy.direction = 1;
  policy.selector.family = 2;
  rig.policy(policy);
  assert.deepEqual(rig.post(1000), ["Policy"]);
  policy.direction = 4;
  rig.policy(policy);
  assert.equal(rig.mirror.policyCount, 1);
  policy.direction = 1;
  rig.mirror.handlePolicyGone(policy);
  assert.deepEqual(rig.post(1000), ["PolicyGone"]);
});

Deno.test("lag is what the standby has not acknowledged, in packets and ms", () => {
  const rig = new Rig();
  const sa = outbound(0x1000);
  rig.sa(sa, 1000);
  rig.post(1000);
  rig.mirror.handleSentUpTo(10);
  rig.mirror.handleAcked(10);
  assert.deepEqual([rig.view(1500).lagPackets, rig.view(1500).lagMs], [0, 0]);
  rig.sent(sa, 64, 2000);
  rig.post(2000);
  rig.mirror.handleSentUpTo(11);
  rig.sent(sa, 128, 2010);
  assert.deepEqual([rig.view(2015).lagPackets, rig.view(2015).lagMs], [128, 15]);
  rig.post(2020);
  rig.mirror.handleSentUpTo(12);
  rig.mirror.handleAcked(11);
  assert.deepEqual([rig.view(2030).lagPackets, rig.view(2030).lagMs], [64, 20]);
  rig.mirror.handleAcked(12);
  assert.deepEqual([rig.view(2040).lagPackets, rig.view(2040).lagMs], [0, 0]);
  rig.sent(sa, 192, 3000);
  rig.post(3000);
  rig.mirror.handleSentUpTo(13);
  rig.mirror.beginSnapshot(); // it never came
  assert.deepEqual([rig.view(3005).lagPackets, rig.view(3005).lagMs], [64, 5]);
  assert.deepEqual(rig.snapshotPost(3005), ["Sa", "SaState"]);
  rig.mirror.handleSentUpTo(1);
  rig.mirror.handleAcked(1);
  assert.equal(rig.view(3010).lagPackets, 0);
});

Deno.test("a snapshot has everything once, in parts, while things change", () => {
  const rig = new Rig();
  const sas = Array.from({ length: 2000 }, (_, i) => outbound(0x1000 + i));
  for (const sa of sas) rig.sa(sa, 1000);
  rig.mirror.beginSnapshot();
  assert.equal(rig.mirror.dirty, 0);
  const first = rig.snapshotPost(1000);
  assert.ok(first.length > 100 && first.length < 1000);
  rig.mirror.handleGone(sas[0]!.id); // it was in the first part
  rig.mirror.handleGone(sas[1999]!.id);
  rig.sent(sas[1998]!, 10, 1001);
  assert.deepEqual(rig.post(1001), ["SaGone", "Sa", "SaState"]);
  let count = first.length;
  for (let kinds = rig.snapshotPost(1002); kinds.length > 0; kinds = rig.snapshotPost(1002)) {
    assert.ok(kinds.every((kind) => kind === "Sa"));
    count += kinds.length;
  }
  assert.equal(count, 1998); // the one that moved was written with what moved
});

Deno.test("ten thousand SAs that all move make one record each, in posts of 64", () => {
  const rig = new Rig();
  const sas = Array.from({ length: 10_000 }, (_, i) => ({ spi: i }));
  const sa = outbound(1);
  for (const { spi } of sas) {
    sa.id.spi = spi + 1;
    rig.sa(sa, 1000);
  }
  while (rig.post(1000).length > 0);
  const events = 3;
  for (let i = 1; i <= events; i++) {
    for (const { spi } of sas) {
      sa.id.spi = spi + 1;
      rig.sent(sa, 64 * i, 1001 + i);
    }
  }
  assert.equal(rig.mirror.dirty, 10_000);
  let posts = 0;
  let states = 0;
  let kinds = rig.post(1005);
  for (; kinds.length > 0; kinds = rig.post(1005)) {
    posts++;
    states += kinds.length;
  }
  assert.deepEqual([posts, states], [157, 10_000]);
  assert.equal(rig.mirror.counts.coalesced, 10_000 * (events - 1));
});

Deno.test("more SAs than the limit are refused and counted, and there is room again", () => {
  const rig = new Rig();
  const sa = outbound(1);
  for (let spi = 1; spi <= SAS_MAX + 5; spi++) {
    sa.id.spi = spi;
    rig.sa(sa, 1000);
  }
  assert.deepEqual([rig.mirror.size, rig.mirror.counts.refused], [SAS_MAX, 5]);
  rig.mirror.handleFlush(51);
  assert.equal(rig.mirror.size, SAS_MAX);
  rig.mirror.handleFlush(255);
  assert.deepEqual([rig.mirror.size, rig.mirror.dirty], [0, 0]);
  rig.sa(sa, 1000);
  assert.equal(rig.mirror.size, 1);
});

Deno.test("an SA without a timer gets a count of one first, one with the right thresholds nothing", () => {
  const rows = [
    { packets: 0, timer: 0, orders: ["prime", "set"] },
    { packets: 2, timer: 0, orders: ["prime", "set"] },
    { packets: 2, timer: 50, orders: ["prime", "set"] },
    { packets: 2, timer: 10, orders: ["set"] },
    { packets: 64, timer: 10, orders: [] },
  ];
  for (const { packets, timer, orders } of rows) {
    const rig = new Rig();
    const sa = outbound(0x1000);
    rig.sa(sa, 1000);
    assert.equal(rig.mirror.pollThreshold(1000)!.kind, OrderKind.Ask);
    const answer = new XfrmAevent();
    answer.id.copy(sa.id);
    answer.replay.copy(sa.replay);
    answer.replayThreshold = packets;
    answer.timerThreshold = timer;
    rig.event(answer, 1001);
    const given: string[] = [];
    for (let nowMs = 1001; nowMs < 1010; nowMs++) {
      const order = rig.mirror.pollThreshold(nowMs);
      if (order?.kind === OrderKind.Prime) {
        assert.deepEqual([order.packets, order.timerMs], [1, 1000]);
        given.push("prime");
        assert.equal(rig.mirror.pollThreshold(nowMs), null);
        rig.sent(sa, 1, nowMs);
      } else if (order?.kind === OrderKind.Set) {
        assert.deepEqual([order.packets, order.timerMs], [64, 1000]);
        given.push("set");
      }
    }
    assert.deepEqual(given, orders);
  }
});

Deno.test("orders that fail or are not answered end, and the SA is asked instead", () => {
  const rig = new Rig();
  const sa = outbound(0x1000);
  rig.sa(sa, 1000);
  let orders = 0;
  for (let nowMs = 1000; nowMs < 20_000; nowMs += 100) {
    if (rig.mirror.pollThreshold(nowMs) !== null) orders++;
  }
  assert.equal(orders, 5);
  assert.equal(rig.view(20_000).polled, true);
  assert.equal(rig.mirror.pollStale(20_000)!.spi, 0x1000);
  assert.equal(rig.mirror.pollStale(20_999), null);
  assert.equal(rig.mirror.pollOrderDeadline(), 21_000);
  assert.equal(rig.mirror.pollStale(21_000)!.spi, 0x1000);
});

Deno.test("an inbound SA without a window is asked every second, an outbound one is not", () => {
  const kernel = new FakeXfrmKernel();
  const box = new Box({ packets: 10, timerMs: 1000 }, [HERE], "hold");
  box.kernel = kernel;
  kernel.add(newSa(0x1000, HERE, THERE, 0), 0);
  kernel.add(newSa(0x2000, THERE, HERE, 0), 0);
  box.follow(0);
  box.turn(0);
  const inbound = box.kernelSa("10.9.0.1 esp 0x00002000");
  for (let i = 1; i <= 500; i++) assert.equal(kernel.receive(inbound, i, i), "accepted");
  assert.equal(kernel.events.length, 0);
  const bytes = (nowMs: number): number[] => {
    box.turn(nowMs);
    return box.mirror.views(nowMs, 0).map((view) => view.bytes);
  };
  assert.deepEqual(bytes(999), [0, 0]);
  assert.deepEqual(bytes(1000), [0, 50_000]);
});

Deno.test("lost events bring a dump, which has what they told", () => {
  const box = new Box({ packets: 1, timerMs: 0 }, [], "hold");
  box.kernel.add(newSa(0x1000, HERE, THERE, 32), 0);
  box.follow(0);
  for (let nowMs = 0; nowMs < 5; nowMs++) box.turn(nowMs);
  const sa = box.kernelSa("10.9.0.2 esp 0x00001000");
  for (let i = 0; i < 1000; i++) box.kernel.send(sa, 10);
  assert.equal(box.kernel.overrun, true);
  box.turn(11);
  const view = box.mirror.views(11, 0)[0]!;
  assert.deepEqual([view.oseq, view.bytes], [1000, 100_000]);
  assert.equal(box.mirror.counts.resyncs, 1);
});

Deno.test("a rate is spread over the time that it took, and its peak lasts ten seconds", () => {
  const rate = new Rate();
  rate.add(1000, 10_000, 11_000);
  assert.ok(Math.abs(rate.perSecond(11_000) - 1000) < 100);
  assert.ok(rate.peakPerSecond(11_000) < 1001);
  rate.add(100, 11_000, 11_010);
  assert.ok(Math.abs(rate.peakPerSecond(11_050) - 1909) < 1);
  assert.equal(Math.round(rate.peakPerSecond(20_900)), 1909);
  assert.equal(rate.perSecond(20_900), 0);
  assert.equal(rate.peakPerSecond(21_100), 0);
  rate.add(50, 0, 1_000_000); // no more than it remembers
  assert.ok(Math.abs(rate.perSecond(1_000_000) - 5) < 0.001);
});

Deno.test("a diff has every SA of either side and names what differs", () => {
  const figures = {
    direction: "out",
    oseq: 1,
    seq: 0,
    bytes: 100,
    packets: 1,
    addTime: 5,
  } as const;
  const here = [{ ...figures, key: "a" }, { ...figures, key: "b" }];
  const there = [{ ...figures, key: "b", oseq: 2, bytes: 0 }, { ...figures, key: "c" }];
  assert.deepEqual(diffSas(here, there).map(({ key, differs }) => [key, ...differs]), [
    ["a", "missing"],
    ["b", "oseq", "bytes"],
    ["c", "missing"],
  ]);
});
