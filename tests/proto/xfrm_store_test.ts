/** The standby box's store: what is taken, what never falls, what a takeover writes. */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { SaStore } from "../../src/proto/xfrm/sa_store.ts";
import { SAS_MAX } from "../../src/proto/xfrm/sa_table.ts";
import { takeoverJump } from "../../src/proto/xfrm/takeover_jump.ts";
import {
  jiffiesOf,
  PLAN_MESSAGE_BYTES_MAX,
  type PlannedSa,
  writePlannedSa,
  writePlannedState,
} from "../../src/proto/xfrm/takeover_plan.ts";
import { Nlmsg, NLMSG_HEADER_SIZE, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { XfrmMsg } from "../../src/wire/netlink/xfrm.ts";
import { readAevent, writeAevent, XfrmAevent } from "../../src/wire/netlink/xfrm_aevent.ts";
import { writePolicy, XfrmPolicy } from "../../src/wire/netlink/xfrm_policy.ts";
import { readSa, writeSa, XfrmSa } from "../../src/wire/netlink/xfrm_sa.ts";
import { RecordKind } from "../../src/wire/standby/post.ts";
import {
  SaHead,
  SaStateHead,
  writeSaGone,
  writeSaHead,
  writeSaStateHead,
} from "../../src/wire/standby/sa_record.ts";
import { newSa } from "./xfrm_box.ts";

const HERE = "10.9.0.1";
const THERE = "10.9.0.2";
const KEY = "10.9.0.2 esp 0x00001000";

/** The body of a record in memory of its own. */
type Record = Region;

function saRecord(sa: XfrmSa, peaks = 0): Record {
  sa.addTime ||= 1_795_000_000;
  const message = newRegion(4096);
  const end = writeSa(message, 0, 1, XfrmMsg.NewSa, 0, sa);
  const out = newRegion(4096);
  const head = new SaHead();
  Object.assign(head, { packets: 64, timerMs: 1000, peakIn: peaks, peakOut: peaks });
  const at = writeSaHead(out, 0, head);
  out.bytes.set(message.bytes.subarray(NLMSG_HEADER_SIZE, end), at);
  return regionOf(out.bytes.slice(0, at + end - NLMSG_HEADER_SIZE));
}

function stateRecord(sa: XfrmSa, oseq: number, seq: number, bytes = 0, peakOut = 0): Record {
  const event = new XfrmAevent();
  event.id.copy(sa.id);
  event.replay.copy(sa.replay);
  event.replay.oseq = oseq;
  event.replay.seq = seq;
  event.hasLifetime = true;
  event.bytes = bytes;
  event.addTime = sa.addTime;
  const message = newRegion(1024);
  const end = writeAevent(message, 0, 1, 0, event);
  const out = newRegion(1024);
  const head = new SaStateHead();
  Object.assign(head, { peakOut, ageMs: 5 });
  const at = writeSaStateHead(out, 0, head);
  out.bytes.set(message.bytes.subarray(NLMSG_HEADER_SIZE, end), at);
  return regionOf(out.bytes.slice(0, at + end - NLMSG_HEADER_SIZE));
}

function goneRecord(sa: XfrmSa): Record {
  const out = newRegion(32);
  writeSaGone(out, 0, sa.id);
  return out;
}

function policyRecord(direction: number, destination: XfrmSa | null): Record {
  const policy = new XfrmPolicy();
  policy.direction = direction;
  policy.selector.family = 2;
  if (destination !== null) {
    policy.templateCount = 1;
    const template = policy.templates[0]!;
    template.daddr.set(destination.id.daddr);
    template.family = 2;
    template.proto = 50;
  }
  const out = newRegion(1024);
  const end = writePolicy(out, 0, 1, XfrmMsg.NewPolicy, 0, policy);
  return regionOf(out.bytes.slice(NLMSG_HEADER_SIZE, end));
}

function take(store: SaStore, kind: number, record: Record = newRegion(0), nowMs = 1000): number {
  return store.apply(kind, record, 0, record.bytes.length, nowMs);
}

function snapshot(store: SaStore, ...sas: XfrmSa[]): void {
  assert.equal(take(store, RecordKind.SnapshotBegin), 0);
  for (const sa of sas) assert.equal(take(store, RecordKind.Sa, saRecord(sa)), 0);
  assert.equal(take(store, RecordKind.SnapshotEnd), 0);
}

/** What the kernel would be told by NEWSA. */
function planned(sa: PlannedSa): XfrmSa {
  const out = newRegion(PLAN_MESSAGE_BYTES_MAX);
  const end = writePlannedSa(sa, out, 0, 9, 250);
  assert.ok(end > 0);
  const message = new Nlmsg();
  assert.equal(readNlmsg(out, 0, end, message), end);
  assert.deepEqual([message.type, message.flags, message.sequence], [0x10, 0x605, 9]);
  const into = new XfrmSa();
  assert.ok(readSa(out, message, into) >= 0);
  return into;
}

const LOSSLESS = { inbound: "lossless", detectedAgeMs: 300 } as const;
const STRICT = { inbound: "strict", detectedAgeMs: 300 } as const;

Deno.test("the jump is the count, and the peak rate for as long as nobody was heard", () => {
  const count = { packets: 64, timerMs: 1000 };
  assert.equal(takeoverJump(count, 0, 0), 64);
  assert.equal(takeoverJump({ packets: 2, timerMs: 1000 }, 0, 5000), 64);
  assert.equal(takeoverJump(count, 1000, 300), 64 + 438);
  assert.equal(takeoverJump(count, 100_000, 600), 64 + 81_250);
  // Without a count, what goes within the timer was not told either.
  assert.equal(takeoverJump({ packets: 0, timerMs: 1000 }, 1000, 300), 1688);
  assert.equal(takeoverJump(count, 1000, -5), takeoverJump(count, 1000, 0));
});

Deno.test("numbers never fall, and a record that lowers them is counted", () => {
  const store = new SaStore("hold", [HERE]);
  const sa = newSa(0x1000, HERE, THERE, 32);
  snapshot(store, sa);
  take(store, RecordKind.SaState, stateRecord(sa, 500, 0, 5000));
  take(store, RecordKind.SaState, stateRecord(sa, 400, 0, 4000));
  assert.deepEqual([store.counts.rewound, store.figures()[0]!.oseq], [1, 500]);
  assert.equal(store.figures()[0]!.bytes, 5000);
  take(store, RecordKind.Sa, saRecord(sa)); // of a snapshot that is older
  assert.deepEqual([store.counts.rewound, store.figures()[0]!.oseq], [2, 500]);
  assert.equal(planned(store.plan(LOSSLESS).sas[0]!).replay.oseq, 500 + 64);
});

Deno.test("a second takeover begins where the first one ended, whatever was held meanwhile", () => {
  const store = new SaStore("hold", [HERE]);
  const sa = newSa(0x1000, HERE, THERE, 32, 100);
  snapshot(store, sa);
  assert.equal(store.plan(LOSSLESS).sas[0]!.oseq, 164);
  assert.equal(store.plan(LOSSLESS).sas[0]!.oseq, 228);
  store.handleUsed({ key: KEY, addTime: sa.addTime, oseq: 1000 });
  store.clear();
  assert.deepEqual([store.size, store.complete, store.plan(LOSSLESS).sas.length], [0, false, 0]);
  snapshot(store, sa);
  assert.equal(store.plan(LOSSLESS).sas[0]!.oseq, 1064);
  sa.addTime++; // another key
  snapshot(store, sa);
  assert.equal(store.plan(LOSSLESS).sas[0]!.oseq, 164);
});

Deno.test("ESN carries, and a legacy SA without numbers is refused with its reason", () => {
  const store = new SaStore("hold", [HERE]);
  const esn = newSa(0x1000, HERE, THERE, 128, 2 ** 32 - 10);
  const legacy = newSa(0x1001, HERE, THERE, 32, 2 ** 32 - 65);
  const fits = newSa(0x1002, HERE, THERE, 32, 2 ** 32 - 66);
  snapshot(store, esn, legacy, fits);
  const { sas, refused, complete } = store.plan(LOSSLESS);
  assert.equal(complete, true);
  assert.deepEqual(sas.map(({ oseq }) => oseq), [2 ** 32 + 54, 2 ** 32 - 2]);
  assert.equal(planned(sas[0]!).replay.oseq, 2 ** 32 + 54);
  assert.equal(refused.length, 1);
  assert.equal(refused[0]!.key, "10.9.0.2 esp 0x00001001");
  assert.match(refused[0]!.reason, /^no numbers are left to send .* rekey it$/);
});

Deno.test("inbound is as synced, or in strict mode moved ahead with nothing below", () => {
  for (const window of [32, 128]) {
    const store = new SaStore("hold", [HERE]);
    const sa = newSa(0x1000, THERE, HERE, window, 200);
    sa.replay.oseq = 0;
    sa.replay.bitmap.fill(0x0f0f0f0f, 0, sa.replay.words);
    snapshot(store, sa);
    const lossless = planned(store.plan(LOSSLESS).sas[0]!);
    assert.deepEqual([lossless.replay.oseq, lossless.replay.seq], [0, 200]);
    assert.equal(lossless.replay.bitmap[0], 0x0f0f0f0f);
    const strict = planned(store.plan(STRICT).sas[0]!);
    assert.deepEqual([strict.replay.oseq, strict.replay.seq], [0, 264]);
    for (let i = 0; i < sa.replay.words; i++) assert.equal(strict.replay.bitmap[i], 0xffffffff);
    assert.equal(strict.replay.window, sa.replay.window);
  }
});

Deno.test("a direction is told by the SA, addresses or policies; else it is treated as both", () => {
  const out = newSa(0x1000, HERE, THERE, 32, 10);
  const plans = (local: string[], policies: Record[], sa: XfrmSa): (string | number)[] => {
    const store = new SaStore("hold", local);
    snapshot(store, sa);
    for (const policy of policies) assert.equal(take(store, RecordKind.Policy, policy), 0);
    const [plan] = store.plan(STRICT).sas;
    return [plan!.use, plan!.jump, plan!.jumpIn];
  };
  assert.deepEqual(plans([], [], out), ["both", 64, 64]);
  assert.deepEqual(plans([HERE], [], out), ["out", 64, 0]);
  assert.deepEqual(plans([THERE], [], out), ["in", 0, 64]);
  assert.deepEqual(plans([], [policyRecord(1, out)], out), ["out", 64, 0]);
  assert.deepEqual(plans([], [policyRecord(0, out)], out), ["in", 0, 64]);
  assert.deepEqual(plans([], [policyRecord(2, out)], out), ["in", 0, 64]);
  assert.deepEqual(plans([], [policyRecord(1, out), policyRecord(2, out)], out), ["both", 64, 64]);
  out.direction = 1;
  assert.deepEqual(plans([HERE], [policyRecord(1, out)], out), ["in", 0, 64]);
});

Deno.test("lifetimes and thresholds go on, the timer in jiffies", () => {
  const store = new SaStore("hold", [HERE]);
  const sa = newSa(0x1000, HERE, THERE, 32);
  Object.assign(sa, { bytes: 9000, packets: 90, useTime: 1_795_000_003 });
  snapshot(store, sa);
  take(store, RecordKind.SaState, stateRecord(sa, 100, 0, 8900)); // lags
  const { sas: [plan] } = store.plan(LOSSLESS);
  const made = planned(plan!);
  assert.deepEqual([made.bytes, made.packets, made.hasLifetime], [9000, 90, true]);
  assert.deepEqual([made.addTime, made.useTime], [1_795_000_000, 1_795_000_003]);
  assert.deepEqual([made.replayThreshold, made.timerThreshold], [64, 250]);
  assert.deepEqual(made.aead.key, sa.aead.key);
  assert.deepEqual([jiffiesOf(50, 100), jiffiesOf(1, 100), jiffiesOf(0, 250)], [5, 1, 0]);

  const out = newRegion(PLAN_MESSAGE_BYTES_MAX);
  const message = new Nlmsg();
  const end = writePlannedState(plan!, out, 0, 9, 4711, 100);
  assert.equal(readNlmsg(out, 0, end, message), end);
  assert.deepEqual([message.type, message.flags, message.port], [0x1e, 0x105, 4711]);
  const event = new XfrmAevent();
  assert.ok(readAevent(out, message, event) >= 0);
  assert.deepEqual([event.replay.oseq, event.bytes, event.timerThreshold], [164, 9000, 100]);
  assert.equal(writePlannedSa(plan!, newRegion(500), 0, 1, 100), -Fault.Full);
});

Deno.test("a snapshot replaces what is held when it ends, and one that was cut does not", () => {
  const store = new SaStore("hold", []);
  const [one, two, three] = [1, 2, 3].map((spi) => newSa(spi, HERE, THERE, 32));
  assert.equal(take(store, RecordKind.SnapshotEnd), -Fault.State);
  snapshot(store, one!, two!);
  take(store, RecordKind.SnapshotBegin);
  take(store, RecordKind.Sa, saRecord(three!));
  store.handleLost();
  assert.equal(take(store, RecordKind.SnapshotEnd), -Fault.State);
  assert.equal(store.size, 3);
  snapshot(store, two!, three!);
  assert.deepEqual([...store.ids()].map(({ id }) => id.spi), [2, 3]);
  take(store, RecordKind.SaGone, goneRecord(two!));
  take(store, RecordKind.SaGone, goneRecord(two!));
  assert.equal(store.size, 1);
  take(store, RecordKind.SaState, stateRecord(two!, 1, 0));
  assert.equal(store.counts.unknown, 1);
});

Deno.test("a state of another kind, or of another window, is not its SA's and changes nothing", () => {
  const store = new SaStore("hold", []);
  snapshot(store, newSa(0x1000, HERE, THERE, 32));
  for (const window of [64, 128]) {
    const other = stateRecord(newSa(0x1000, HERE, THERE, window), 900, 0);
    assert.equal(take(store, RecordKind.SaState, other), -Fault.Field);
  }
  assert.equal(store.figures()[0]!.oseq, 0);
});

Deno.test("more SAs than the limit are refused, but for those that a snapshot replaces", () => {
  const store = new SaStore("hold", []);
  const sa = newSa(1, HERE, THERE, 32);
  const record = saRecord(sa);
  const fill = (first: number, count: number): void => {
    for (let spi = first; spi < first + count; spi++) {
      record.view.setUint32(16 + 72, spi);
      assert.equal(take(store, RecordKind.Sa, record), 0);
    }
  };
  take(store, RecordKind.SnapshotBegin);
  fill(1, SAS_MAX);
  take(store, RecordKind.SnapshotEnd);
  record.view.setUint32(16 + 72, 0x1000000);
  assert.equal(take(store, RecordKind.Sa, record), -Fault.Full);
  assert.deepEqual([store.size, store.counts.refused], [SAS_MAX, 1]);
  take(store, RecordKind.SnapshotBegin);
  fill(0x100000, SAS_MAX);
  take(store, RecordKind.SnapshotEnd);
  assert.equal(store.size, SAS_MAX);
  const before = store.plan(LOSSLESS);
  assert.equal(before.sas.length, SAS_MAX);
});

Deno.test("a kernel that is kept up to date is told what is gone first, and the newest of each", () => {
  const store = new SaStore("install", []);
  const sa = newSa(0x1000, HERE, THERE, 32);
  const changes = (): string[] => {
    const kinds: string[] = [];
    for (let next = store.pollChange(); next !== null; next = store.pollChange()) {
      kinds.push(next.kind);
    }
    return kinds;
  };
  snapshot(store, sa);
  take(store, RecordKind.SaState, stateRecord(sa, 10, 0));
  take(store, RecordKind.Policy, policyRecord(1, sa));
  assert.deepEqual(changes(), ["sa", "policy"]);
  take(store, RecordKind.SaState, stateRecord(sa, 20, 0));
  take(store, RecordKind.SaState, stateRecord(sa, 30, 0));
  const change = store.pollChange()!;
  assert.ok(change.kind === "state");
  assert.deepEqual([change.sa.oseq, change.sa.jump], [30, 0]);
  take(store, RecordKind.SaGone, goneRecord(sa));
  take(store, RecordKind.Sa, saRecord(sa));
  assert.deepEqual(changes(), ["saGone", "sa"]);
  const gone = new TextEncoder().encode([...store.policies()][0]!.key);
  take(store, RecordKind.PolicyGone, regionOf(gone));
  assert.deepEqual(changes(), ["policyGone"]);
  assert.deepEqual(changes(), []);
});

Deno.test("every short length and every flipped bit of a record is refused or held harmlessly", () => {
  const esn = newSa(0x1000, HERE, THERE, 128, 7);
  const records: [number, Record][] = [
    [RecordKind.Sa, saRecord(esn)],
    [RecordKind.SaState, stateRecord(esn, 10, 0)],
    [RecordKind.SaGone, goneRecord(esn)],
    [RecordKind.Policy, policyRecord(1, esn)],
    [RecordKind.PolicyGone, regionOf(new TextEncoder().encode("out src 0.0.0.0/0"))],
    [RecordKind.SnapshotBegin, newRegion(0)],
    [99, newRegion(4)],
  ];
  for (const [kind, record] of records) {
    const { length } = record.bytes;
    const store = new SaStore("hold", []);
    for (let end = 0; end < length; end++) {
      const cut = regionOf(record.bytes.slice(0, end)); // a read behind the end throws
      const { size, counts: { records: taken } } = store;
      if (store.apply(kind, cut, 0, end, 1000) >= 0) continue;
      assert.deepEqual([store.size, store.counts.records], [size, taken]);
    }
    for (let bit = 0; bit < length * 8; bit++) {
      const flipped = regionOf(record.bytes.slice());
      flipped.bytes[bit >> 3]! ^= 1 << (bit & 7);
      const one = new SaStore("hold", []);
      assert.equal(take(one, RecordKind.Sa, saRecord(esn)), 0);
      if (take(one, kind, flipped) < 0) {
        assert.equal(one.size, 1);
        assert.equal(one.figures()[0]!.oseq, 7);
        continue;
      }
      const out = newRegion(PLAN_MESSAGE_BYTES_MAX);
      for (const sa of one.plan(STRICT).sas) {
        assert.ok(sa.oseq >= 0 && sa.seq >= 0);
        assert.ok(writePlannedSa(sa, out, 0, 1, 100) > 0);
      }
    }
  }
});
