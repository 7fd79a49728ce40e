/** A box of a pair in virtual time: a kernel, a mirror for when it is active, a store for when not. */
import assert from "node:assert/strict";
import { describeFault } from "../../src/mem/fault.ts";
import { newRegion, regionOf } from "../../src/mem/region.ts";
import { OrderKind } from "../../src/proto/xfrm/sa_orders.ts";
import { SaMirror } from "../../src/proto/xfrm/sa_mirror.ts";
import { SaStore } from "../../src/proto/xfrm/sa_store.ts";
import {
  type InboundMode,
  jiffiesOf,
  PLAN_MESSAGE_BYTES_MAX,
  type PlannedSa,
  writePlannedSa,
  writePlannedState,
} from "../../src/proto/xfrm/takeover_plan.ts";
import { Nlmsg, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { parseInet } from "../../src/wire/inet.ts";
import { AeFlag, XfrmMsg } from "../../src/wire/netlink/xfrm.ts";
import {
  readAevent,
  writeAevent,
  writeAeventGet,
  XfrmAevent,
} from "../../src/wire/netlink/xfrm_aevent.ts";
import { ReplayKind } from "../../src/wire/netlink/xfrm_replay.ts";
import { readSa, SaFlag, writeSaDelete, XfrmSa } from "../../src/wire/netlink/xfrm_sa.ts";
import {
  PostHead,
  PostRecord,
  PostWriter,
  readPostHead,
  readPostRecord,
  RecordKind,
} from "../../src/wire/standby/post.ts";
import type { Thresholds } from "../../src/wire/standby/sa_record.ts";
import { FakeXfrmKernel, HZ, type KernelSa } from "./fake_xfrm_kernel.ts";

export const FLUSH_MS = 20;

/** An SA with GCM; `window` above 32 makes its numbers ESN. */
export function newSa(spi: number, from: string, to: string, window: number, start = 0): XfrmSa {
  const sa = new XfrmSa();
  sa.id.spi = spi;
  sa.id.proto = 50;
  sa.id.family = parseInet(to, sa.id.daddr);
  parseInet(from, sa.saddr);
  sa.mode = 1;
  sa.reqid = 7;
  sa.aead.set("rfc4106(gcm(aes))", Uint8Array.from({ length: 20 }, (_, i) => spi + i), 128);
  sa.replay.oseq = sa.replay.seq = start;
  sa.replay.kind = window > 32 ? ReplayKind.Esn : ReplayKind.Value;
  sa.replay.words = window > 32 ? Math.ceil(window / 32) : 1;
  sa.replay.window = window > 32 ? window : 0;
  sa.replayWindow = window > 32 ? 0 : window;
  if (window > 32) sa.flags |= SaFlag.Esn;
  return sa;
}

export class Box {
  kernel: FakeXfrmKernel = new FakeXfrmKernel();
  mirror: SaMirror;
  readonly store: SaStore;
  readonly #thresholds: Thresholds;
  readonly #local: readonly string[];
  readonly #writer = new PostWriter();
  readonly #out = newRegion(PLAN_MESSAGE_BYTES_MAX);
  readonly #message = new Nlmsg();
  readonly #sa = new XfrmSa();
  readonly #event = new XfrmAevent();
  readonly #replies: Uint8Array<ArrayBuffer>[] = [];
  #number = 0;

  constructor(thresholds: Thresholds, local: readonly string[], apply: "hold" | "install") {
    this.#thresholds = thresholds;
    this.#local = local;
    this.mirror = new SaMirror(thresholds, local);
    this.store = new SaStore(apply, local);
  }

  /** Begins to be active. */
  follow(nowMs: number): void {
    this.mirror = new SaMirror(this.#thresholds, this.#local);
    this.kernel.listening = true;
    this.#dump(nowMs);
  }

  /** Stops to be: what it sent is remembered, its SAs are deleted. */
  yield(nowMs: number): void {
    for (const used of this.mirror.used()) this.store.handleUsed(used);
    for (const { sa } of [...this.kernel.sas.values()]) {
      assert.deepEqual(this.#request(writeSaDelete(this.#out, 0, 1, sa.id), nowMs), [0]);
    }
    this.kernel.events.length = 0;
    this.store.clear();
  }

  /** What the daemon does when its descriptors are ready. */
  turn(nowMs: number): void {
    this.kernel.tick(nowMs);
    const { events } = this.kernel;
    const overrun = this.kernel.overrun;
    this.kernel.overrun = false;
    for (const bytes of events) this.#read(bytes, nowMs);
    events.length = 0;
    if (overrun) this.#dump(nowMs);
    this.#order(nowMs);
  }

  /** Posts of a snapshot, with its marks. */
  snapshot(nowMs: number): Uint8Array<ArrayBuffer>[] {
    const posts: Uint8Array<ArrayBuffer>[] = [];
    this.mirror.beginSnapshot();
    this.#writer.mark(RecordKind.SnapshotBegin);
    while (this.mirror.writeSnapshot(this.#writer, nowMs) > 0) posts.push(this.#take());
    this.#writer.mark(RecordKind.SnapshotEnd);
    posts.push(this.#take());
    return posts;
  }

  /** Posts of what has changed. */
  posts(nowMs: number): Uint8Array<ArrayBuffer>[] {
    const posts: Uint8Array<ArrayBuffer>[] = [];
    while (this.mirror.writePost(this.#writer, nowMs, FLUSH_MS) > 0) posts.push(this.#take());
    return posts;
  }

  /** Takes a post of the other box. */
  take(post: Uint8Array<ArrayBuffer>, nowMs: number): void {
    const from = regionOf(post);
    const head = new PostHead();
    const record = new PostRecord();
    let at = readPostHead(from, 0, post.length, head);
    assert.ok(at > 0);
    for (let i = 0; i < head.count; i++) {
      at = readPostRecord(from, at, record);
      const applied = this.store.apply(record.kind, from, record.at, record.end, nowMs);
      assert.equal(applied, 0, describeFault());
    }
  }

  /** With `install`: brings the kernel to what is held. */
  install(nowMs: number): void {
    this.kernel.listening = false;
    for (let change = this.store.pollChange(); change !== null; change = this.store.pollChange()) {
      if (change.kind === "sa") this.put(change.sa, nowMs);
      else if (change.kind === "state") this.set(change.sa, nowMs);
      else if (change.kind === "saGone") {
        this.#request(writeSaDelete(this.#out, 0, 1, change.id), nowMs);
      }
    }
  }

  /** Takes over; returns what was planned. */
  takeOver(
    inbound: InboundMode,
    detectedAgeMs: number,
    apply: "hold" | "install",
    nowMs: number,
  ): readonly PlannedSa[] {
    if (apply === "install") this.install(nowMs);
    const { sas, refused, complete } = this.store.plan({ inbound, detectedAgeMs });
    assert.deepEqual(refused, []);
    assert.equal(complete, true);
    for (const planned of sas) {
      if (apply === "install") this.set(planned, nowMs);
      else this.put(planned, nowMs);
    }
    this.follow(nowMs);
    this.mirror.handleTakeover(sas);
    return sas;
  }

  /** NEWSA; what is there is deleted and made anew. */
  put(planned: PlannedSa, nowMs: number): void {
    if (this.kernel.sas.has(planned.key)) {
      this.#request(writeSaDelete(this.#out, 0, 1, planned.id), nowMs);
    }
    const end = writePlannedSa(planned, this.#out, 0, 1, HZ);
    assert.ok(end > 0, describeFault());
    assert.deepEqual(this.#request(end, nowMs), [0]);
  }

  /** NEWAE. */
  set(planned: PlannedSa, nowMs: number): void {
    const end = writePlannedState(planned, this.#out, 0, 1, 4711, HZ);
    assert.ok(end > 0, describeFault());
    assert.deepEqual(this.#request(end, nowMs), [0]);
  }

  kernelSa(key: string): KernelSa {
    return this.kernel.sas.get(key)!;
  }

  #take(): Uint8Array<ArrayBuffer> {
    const post = this.#writer.take(1, ++this.#number).slice();
    this.mirror.handleSentUpTo(this.#number);
    return post;
  }

  #dump(nowMs: number): void {
    this.mirror.beginDump();
    for (const bytes of this.kernel.dump()) {
      const from = regionOf(bytes);
      readNlmsg(from, 0, bytes.length, this.#message);
      assert.ok(readSa(from, this.#message, this.#sa) >= 0);
      this.mirror.handleDumped(this.#sa, from, this.#message.at, this.#message.end, nowMs);
    }
    this.mirror.endDump(nowMs);
  }

  #read(bytes: Uint8Array<ArrayBuffer>, nowMs: number): void {
    const from = regionOf(bytes);
    const message = this.#message;
    assert.ok(readNlmsg(from, 0, bytes.length, message) > 0);
    if (message.type === XfrmMsg.NewAe) {
      assert.ok(readAevent(from, message, this.#event) >= 0);
      this.mirror.handleAevent(this.#event, from, message.at, message.end, nowMs);
      return;
    }
    assert.ok(readSa(from, message, this.#sa) >= 0);
    if (message.type === XfrmMsg.DelSa) this.mirror.handleGone(this.#sa.id);
    else this.mirror.handleSa(this.#sa, from, message.at, message.end, nowMs);
  }

  #order(nowMs: number): void {
    const write = new XfrmAevent();
    for (;;) {
      const order = this.mirror.pollThreshold(nowMs);
      if (order === null) break;
      const { kind, id, packets, timerMs } = order;
      let end = 0;
      if (kind === OrderKind.Ask) {
        end = writeAeventGet(this.#out, 0, 1, 4711, id, AeFlag.Rthr | AeFlag.Ethr);
      } else {
        write.id.copy(id);
        write.replayThreshold = packets;
        write.timerThreshold = jiffiesOf(timerMs, HZ);
        end = writeAevent(this.#out, 0, 1, 4711, write);
      }
      if (this.#request(end, nowMs)[0] !== 0) this.mirror.handleOrderFailed(id, nowMs);
    }
    for (let id = this.mirror.pollStale(nowMs); id !== null; id = this.mirror.pollStale(nowMs)) {
      this.#request(writeAeventGet(this.#out, 0, 1, 4711, id, 0), nowMs);
    }
    for (const reply of this.#replies.splice(0)) this.#read(reply, nowMs);
  }

  #request(end: number, nowMs: number): number[] {
    return this.kernel.request(this.#out.bytes.slice(0, end), nowMs, this.#replies);
  }
}
