/**
 * When a kernel tells where an SA is: thresholds by count and by timer, and what their events hold. The
 * document is the kernel's Documentation/networking/xfrm_sync; where the kernel does otherwise, the
 * name of the test says it.
 */
import assert from "node:assert/strict";
import { delay } from "../../src/app/delay.ts";
import { AeFlag, XfrmAttribute } from "../../src/wire/netlink/xfrm.ts";
import { writeAevent, writeAeventGet } from "../../src/wire/netlink/xfrm_aevent.ts";
import { aeventAttributes, aeventOf, type Heard, XfrmClient, XfrmListener } from "./xfrm_client.ts";
import { Fixture, type Watched } from "./xfrm_fixture.ts";

const fixture = await Fixture.create();
const { client, lab } = fixture;
const { Cr, Ce, Cu, Rthr, Ethr } = AeFlag;
const HZ = 100;
/** A period of the timers here, and so long that one is over. */
const PERIOD_JIFFIES = 30;
const PERIOD_MS = 1000 * PERIOD_JIFFIES / HZ;
const OVER_MS = 1.7 * PERIOD_MS;
/** A port that no socket has. */
const WRITER = 0x12345678;

/** Flags and the last number received of each event. */
function told(watched: Watched): [flags: number, seq: number][] {
  return watched.take().map(({ event }) => [event.flags, event.replay.seq]);
}

Deno.test("ETIMER_THRESH is written in jiffies and read in units of 100 ms, where the document says ms", async () => {
  using watched = await fixture.watch("in", {});
  const readBack = (timerThreshold: number): number => {
    assert.equal(client.write(Object.assign(aeventOf(watched.id), { timerThreshold })), 0);
    return client.aevent(watched.id, Ethr).timerThreshold;
  };
  assert.deepEqual([50, 29, 10, 9].map(readBack), [5, 2, 1, 0]);
  assert.equal(10_000_000 / readBack(1_000_000), HZ, "so HZ can be measured");
});

Deno.test("a timer of 30 jiffies is 300 ms", async () => {
  using watched = await fixture.watch("in", { jiffies: PERIOD_JIFFIES });
  await delay(OVER_MS);
  watched.traffic.in(1);
  assert.deepEqual(told(watched), [[Ce, 1]], "the first after idle starts the timer");
  const started = performance.now();
  watched.traffic.in(1);
  assert.deepEqual(told(watched), []);
  const [first] = await watched.listener.wait(1);
  const took = performance.now() - started;
  assert.equal(first!.event.flags, Ce);
  assert.ok(took > 0.7 * PERIOD_MS && took < 3 * PERIOD_MS, `${took} ms`);
});

Deno.test("events are made while somebody listens in this namespace, and no history is kept", async () => {
  const watched = await fixture.watch("in", { count: 1 });
  using traffic = watched.traffic;
  watched.listener[Symbol.dispose]();
  using elsewhere = new XfrmListener(lab.names.standby);
  assert.equal(traffic.in(3), 3);
  using late = new XfrmListener(lab.names.active);
  assert.deepEqual(late.take(), []);
  assert.equal(traffic.in(1), 1);
  assert.deepEqual(late.take().map(({ event }) => [event.flags, event.replay.seq]), [[Cr, 4]]);
  assert.deepEqual(elsewhere.take(), []);
});

Deno.test("a count of 5 tells each 5 packets received, and never the last 4", async () => {
  using watched = await fixture.watch("in", { count: 5 });
  watched.traffic.in(4);
  assert.deepEqual(told(watched), []);
  watched.traffic.in(1);
  assert.deepEqual(told(watched), [[Cr, 5]]);
  watched.traffic.in(14);
  assert.deepEqual(told(watched), [[Cr, 10], [Cr, 15]]);
  await delay(OVER_MS);
  assert.deepEqual(told(watched), []);
  assert.equal(client.aevent(watched.id).replay.seq, 19);
});

Deno.test("a count of 5 tells each 5 packets sent", async () => {
  using watched = await fixture.watch("out", { count: 5 });
  assert.equal(watched.traffic.out(12), 12);
  assert.deepEqual(watched.take().map(({ event }) => [event.flags, event.replay.oseq]), [
    [Cr, 5],
    [Cr, 10],
  ]);
});

Deno.test("count and timer together: an event has CR or CE, never both and nothing else", async () => {
  using watched = await fixture.watch("in", { count: 3, jiffies: PERIOD_JIFFIES });
  watched.traffic.in(7);
  assert.deepEqual(told(watched), [[Cr, 3], [Cr, 6]]);
  await delay(OVER_MS);
  assert.deepEqual(told(watched), [[Ce, 7]]);
  await delay(OVER_MS);
  assert.deepEqual(told(watched), [], "nothing changed");
});

Deno.test("the document's exception: the first packet after an idle period is told at once", async () => {
  using watched = await fixture.watch("in", { count: 10, jiffies: PERIOD_JIFFIES });
  await delay(OVER_MS);
  watched.traffic.in(1);
  assert.deepEqual(told(watched), [[Ce, 1]]);
  watched.traffic.in(8);
  assert.deepEqual(told(watched), []);
  await delay(OVER_MS);
  assert.deepEqual(told(watched), [[Ce, 9]]);
});

Deno.test("with a timer alone there is one event in a period, however many packets", async () => {
  using watched = await fixture.watch("in", { jiffies: PERIOD_JIFFIES });
  watched.traffic.in(100);
  assert.deepEqual(told(watched), []);
  await delay(OVER_MS);
  assert.deepEqual(told(watched), [[Ce, 100]]);
});

Deno.test("a timer that is set later never fires until a count was reached once", async () => {
  using watched = await fixture.watch("in", {});
  const write = (changes: { replayThreshold?: number; timerThreshold?: number }): void =>
    assert.equal(client.write(Object.assign(aeventOf(watched.id), changes)), 0, client.text);
  write({ timerThreshold: PERIOD_JIFFIES });
  watched.traffic.in(5);
  await delay(OVER_MS);
  assert.deepEqual(told(watched), [[Cu, 0]]);
  write({ replayThreshold: 1 });
  watched.traffic.in(1);
  write({ replayThreshold: 0 });
  assert.deepEqual(told(watched), [[Cu, 5], [Cr, 6], [Cu, 6]]);
  watched.traffic.in(5);
  await delay(OVER_MS);
  assert.deepEqual(told(watched), [[Ce, 11]]);
});

Deno.test("an SA with window 0 gives no event of what it receives, though it counts bytes", async () => {
  using watched = await fixture.watch("in", { count: 1, jiffies: PERIOD_JIFFIES }, { window: 0 });
  assert.equal(watched.traffic.in(5), 5);
  await delay(OVER_MS);
  assert.deepEqual(told(watched), []);
  const { packets, replay } = client.aevent(watched.id);
  assert.deepEqual([packets, replay.seq], [5, 0]);
});

Deno.test("the lifetime of a count's event lags by one packet; an answer is exact", async () => {
  using watched = await fixture.watch("in", { count: 4 });
  watched.traffic.in(4);
  const { event } = watched.take()[0]!;
  const exact = client.aevent(watched.id);
  assert.deepEqual([event.packets, exact.packets], [3, 4]);
  assert.equal(event.bytes * 4, exact.bytes * 3);
});

Deno.test("an event has replay and lifetime values, with empty PAD between; an answer what was asked for", async () => {
  using watched = await fixture.watch("in", { count: 1 });
  watched.traffic.in(1);
  const { ReplayVal, Pad, LtimeVal, ReplayThresh, EtimerThresh } = XfrmAttribute;
  assert.deepEqual(aeventAttributes(watched.take()[0]!), [ReplayVal, Pad, LtimeVal]);
  for (const [flags, more] of [[0, []], [Rthr, [ReplayThresh]], [Ethr, [EtimerThresh]]] as const) {
    const heard: Heard[] = [];
    assert.equal(
      client.request(
        (out, sequence) => writeAeventGet(out, 0, sequence, 0, watched.id, flags),
        heard,
      ),
      0,
    );
    assert.deepEqual(aeventAttributes(heard[0]!), [ReplayVal, Pad, LtimeVal, ...more]);
  }
});

Deno.test("an update is told to all who listen, the writer too, with its port and sequence", async () => {
  using watched = await fixture.watch("in", {});
  using other = new XfrmListener(lab.names.active);
  let written = 0;
  const errno = client.request((out, sequence) => {
    written = sequence;
    return writeAevent(
      out,
      0,
      sequence,
      WRITER,
      Object.assign(aeventOf(watched.id), { replayThreshold: 9 }),
    );
  });
  assert.equal(errno, 0);
  for (const listener of [watched.listener, other]) {
    const heard = listener.take().map(({ event, port, sequence }) => [event.flags, port, sequence]);
    assert.deepEqual(heard, [[Cu, WRITER, written]]);
  }
  const answers: Heard[] = [];
  client.request(
    (out, sequence) => writeAeventGet(out, 0, sequence, WRITER, watched.id, 0),
    answers,
  );
  assert.equal(answers[0]!.port, WRITER, "so an update of another looks like an answer");
});

Deno.test("nlmsg_pid of a threshold's event is undefined: it names no writer", async () => {
  using watched = await fixture.watch("in", { count: 1 });
  client.write(Object.assign(aeventOf(watched.id), { replayThreshold: 1 }), WRITER);
  watched.traffic.in(1);
  const [update, reached] = watched.take();
  assert.deepEqual([update!.event.flags, reached!.event.flags], [Cu, Cr]);
  assert.equal(update!.port, WRITER);
  assert.notEqual(reached!.port, WRITER);
});

Deno.test("one attribute is enough for an update, where the document wants two", async () => {
  using watched = await fixture.watch("in", { count: 7, jiffies: 30 });
  assert.equal(client.write(Object.assign(aeventOf(watched.id), { replayThreshold: 8 })), 0);
  const { replayThreshold, timerThreshold } = client.aevent(watched.id, Rthr | Ethr);
  assert.deepEqual([replayThreshold, timerThreshold], [8, 3]);
});

Deno.test("thresholds of the system are for SAs made after, and an SA's own win", async () => {
  const thresholds = (tunnel: { number: number }): number[] => {
    const { replayThreshold, timerThreshold } = client.aevent(
      fixture.id(tunnel, "in"),
      Rthr | Ethr,
    );
    return [replayThreshold, timerThreshold];
  };
  const before = await fixture.tunnel();
  assert.deepEqual(thresholds(before), [2, 10], "the document's defaults: 2 packets, 1 s");
  lab.setSysctl("active", "core/xfrm_aevent_etime", 5);
  lab.setSysctl("active", "core/xfrm_aevent_rseqth", 7);
  try {
    const after = await fixture.tunnel();
    assert.deepEqual([thresholds(before), thresholds(after)], [[2, 10], [7, 5]]);
    fixture.remake(fixture.id(after, "in"), { count: 3, jiffies: 40 });
    assert.deepEqual(thresholds(after), [3, 4]);
  } finally {
    lab.setSysctl("active", "core/xfrm_aevent_etime", 10);
    lab.setSysctl("active", "core/xfrm_aevent_rseqth", 2);
  }
  using peer = new XfrmClient(lab.names.peer);
  assert.equal(peer.aevent(fixture.id(before, "in"), Rthr).replayThreshold, 2, "another namespace");
});

Deno.test("a listener that is too slow loses the newest events, and is told so", async () => {
  using watched = await fixture.watch("out", { count: 1 });
  assert.equal(watched.traffic.out(1000), 1000);
  const { heard, lost } = watched.listener.takeAll();
  assert.equal(lost, 1);
  assert.ok(heard.length > 100 && heard.length < 500, `${heard.length}`);
  const [first] = heard;
  assert.equal(first!.body.view.getUint32(48 + 4, true), 1, "oseq of the first");
  const last = heard.at(-1)!.body.view.getUint32(48 + 4, true);
  assert.equal(last, heard.length, "none is missing between");
  assert.equal(client.aevent(watched.id).replay.oseq, 1000, "a question has the rest");
  watched.traffic.out(1);
  assert.equal(watched.take().length, 1, "and events go on");
});
