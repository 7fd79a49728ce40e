/**
 * What a standby holds of sessions, and what becomes of it: epochs, resets, snapshots, posts in
 * parts, takeovers in both roles, and records that do not fit.
 */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, type Region } from "../../src/mem/region.ts";
import { SESSIONS_MAX } from "../../src/mem/limits.ts";
import type { Outbox } from "../../src/proto/msgr2/outbox.ts";
import { recordSeq } from "../../src/proto/msgr2/outbox.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { SessionStore } from "../../src/proto/msgr2/session_store.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { PostWriter, RecordKind } from "../../src/wire/standby/post.ts";
import {
  SessionMessage,
  SessionNumbers,
  SessionRecord,
  writeSessionGone,
  writeSessionMessage,
  writeSessionNumbers,
  writeSessionRecord,
} from "../../src/wire/standby/session_record.ts";
import { applyPost, Mirror } from "./mirror.ts";
import { Net, type Node, say } from "./pair.ts";

const HUB = "v2:10.0.9.1:3300";
const KEEPS = { ...POLICIES.losslessClient, requeue: true };

/** A gateway that is mirrored at once, towards a hub. */
class World {
  readonly net: Net = new Net();
  readonly hub: Node;
  box: Node;
  mirror: Mirror;
  readonly session: Session;

  constructor() {
    this.hub = this.net.node("hub", { address: HUB, auth: authNone("client.hub") });
    this.box = this.newBox(7);
    this.mirror = new Mirror(this.box.messenger.journal!, () => 0);
    this.session = this.box.connect(this.hub, KEEPS);
    this.settle();
  }

  newBox(nonce: number): Node {
    const options = { journal: true, nonce };
    return this.net.node("box", { auth: authNone("client.box"), options });
  }

  settle(): void {
    for (let turn = 0; turn < 20; turn++) {
      this.net.settle();
      this.mirror.write(this.net.now);
      this.mirror.deliver(this.net.now);
    }
  }

  /** Time passes, with the standby awake. */
  advance(ms: number): void {
    for (const end = this.net.now + ms; this.net.now < end;) {
      this.net.advance(10);
      this.settle();
    }
  }

  takeOver(): number {
    this.net.nodes.splice(this.net.nodes.indexOf(this.box), 1);
    this.box.stop();
    this.box = this.newBox(8);
    const count = this.mirror.store.adoptInto(this.box.messenger, this.net.now);
    this.mirror = new Mirror(this.box.messenger.journal!, () => 0);
    return count;
  }

  close(): void {
    for (const node of [...this.net.nodes]) node.stop();
  }
}

/** Numbers of the messages that are owed. */
function owed(outbox: Outbox): number[] {
  const seqs: number[] = [];
  for (let at = outbox.nextNumbered(0); at !== 0; at = outbox.nextNumbered(at)) {
    seqs.push(recordSeq(at));
  }
  return seqs;
}

Deno.test("a gateway's standby dials with RECONNECT, as who the gateway was", () => {
  const world = new World();
  for (let cuts = 0; cuts < 2; cuts++) {
    world.net.cut();
    world.advance(300);
  }
  world.hub.takes = false;
  for (const text of ["1", "2"]) say(world.session, text);
  world.settle();
  say(world.hub.session, "to the box");
  world.settle();
  const before = `${world.hub.session.peerAddrs}`;
  world.net.log.length = 0;
  assert.equal(world.takeOver(), 1);
  world.hub.takes = true;
  world.advance(50);
  assert.deepEqual(world.hub.received, ["1", "2"]);
  assert.equal(`${world.box.session.ownAddrs}`, before);
  assert.match(before, /\/7$/);
  assert.equal(world.hub.messenger.sessions.size, 1);
  assert.equal(world.box.session.takenSeq, 1);
  assert.equal(world.box.session.unacknowledged, 0);
  const retries = world.net.log.filter((line) => /RETRY|RESET|IDENT/.test(line));
  assert.deepEqual(retries, [], "numbers are above those of before");
  world.close();
});

Deno.test("after a reset messages that are sent again are counted anew, here and at the standby", () => {
  const world = new World();
  for (const text of ["1", "2", "3"]) say(world.session, text);
  world.settle();
  world.hub.takes = false;
  for (const text of ["4", "5"]) say(world.session, text);
  world.settle();
  assert.deepEqual(owed(world.session.outbox), [4, 5]);
  world.hub.restart();
  world.net.reachable = false;
  say(world.session, "6");
  world.advance(300);
  assert.deepEqual(owed(world.session.outbox), [4, 5, 6]);
  world.net.reachable = true;
  world.advance(2000);
  assert.equal(world.session.epoch, 2);
  assert.deepEqual(owed(world.session.outbox), [1, 2, 3]);
  assert.equal(world.mirror.store.messages, 3);
  say(world.session, "7");
  world.settle();
  world.takeOver();
  assert.deepEqual(owed(world.box.session.outbox), [1, 2, 3, 4]);
  world.hub.received.length = 0;
  world.hub.takes = true;
  world.advance(300);
  assert.deepEqual(world.hub.received, ["4", "5", "6", "7"]);
  world.close();
});

Deno.test("after a reset that drops what was queued the standby drops it too", () => {
  const net = new Net();
  const hub = net.node("hub", { address: HUB, auth: authNone("client.hub") });
  const options = { journal: true };
  const box = net.node("box", { auth: authNone("client.box"), options });
  const mirror = new Mirror(box.messenger.journal!, () => 0);
  const settle = (): void => {
    for (let turn = 0; turn < 200; turn++) {
      net.advance(10);
      mirror.write(net.now);
      mirror.deliver(net.now);
    }
  };
  const session = box.connect(hub);
  settle();
  hub.takes = false;
  for (const text of ["1", "2", "3"]) say(session, text);
  settle();
  assert.equal(mirror.store.messages, 3);
  hub.restart();
  net.cut();
  settle();
  assert.equal(session.epoch, 2);
  assert.equal(mirror.store.messages, 0);
  say(session, "4");
  settle();
  assert.equal(mirror.store.messages, 1);
  assert.deepEqual(owed(session.outbox), [1]);
  assert.equal(mirror.store.bytes > 0, true);
  for (const node of net.nodes) node.stop();
});

Deno.test("a standby that has a part of a write goes on from the write before", () => {
  const world = new World();
  const store = new SessionStore();
  const journal = world.box.messenger.journal!;
  const writer = new PostWriter();
  const posts: Uint8Array<ArrayBuffer>[] = [];
  const flush = (): void => void posts.push(writer.take(1, 1).slice());
  writer.mark(RecordKind.SnapshotBegin);
  journal.snapshot(writer, flush);
  writer.mark(RecordKind.SnapshotEnd);
  flush();
  assert.equal(applyPost(store, posts.pop()!), 0);
  const data = new Uint8Array(700 * 1024).fill(7);
  for (let index = 0; index < 4; index++) world.session.send({ type: 0xfa00, data });
  journal.write(writer, flush);
  flush();
  assert.equal(posts.length, 3);
  assert.equal(applyPost(store, posts[0]!), 0);
  assert.equal(store.messages, 2);
  assert.ok(store.bytes > 2 * data.length);
  const other = world.newBox(9);
  assert.equal(store.adoptInto(other.messenger, world.net.now), 1);
  assert.equal(other.session.unacknowledged, 0);
  assert.equal(other.session.outSeq, 0);
  world.close();
});

Deno.test("everything of a message survives: segments, type, versions, priority, tid", () => {
  const world = new World();
  world.hub.takes = false;
  world.session.send({
    type: 0xfa07,
    front: Uint8Array.of(1, 2, 3),
    middle: new Uint8Array(33).fill(4),
    data: new Uint8Array(4097).fill(5),
    priority: 200,
    version: 9,
    compatVersion: 8,
  });
  world.settle();
  world.takeOver();
  world.advance(50);
  const batch = world.hub.messenger.takeBatch()!;
  const index = batch.length - 1;
  assert.deepEqual([...batch.front(index)], [1, 2, 3]);
  assert.deepEqual([...batch.middle(index)], new Array(33).fill(4));
  assert.deepEqual([...batch.data(index)], new Array(4097).fill(5));
  assert.equal(batch.type(index), 0xfa07);
  assert.equal(batch.priority(index), 200);
  assert.equal(batch.version(index), 9);
  assert.equal(batch.compatVersion(index), 8);
  world.hub.messenger.done(batch, world.net.now);
  world.close();
});

/** A store under test, and records for it. */
class Bench {
  readonly store = new SessionStore();
  readonly out: Region = newRegion(8192);
  readonly record = new SessionRecord();
  readonly message = new SessionMessage();
  readonly numbers = new SessionNumbers();

  constructor() {
    this.record.session = 1;
    this.record.epoch = 1;
    this.record.peerAddrs.add(EntityAddr.parse("v2:10.0.0.1:1/2"));
    this.message.session = 1;
    this.numbers.session = 1;
    this.numbers.epoch = 1;
    this.store.begin();
    assert.equal(this.tell(), 0);
    this.store.end();
  }

  tell(): number {
    const end = writeSessionRecord(this.out, 0, this.record);
    return this.store.apply(RecordKind.Session, this.out, 0, end);
  }

  say(seq: number): number {
    this.message.seq = seq;
    const end = writeSessionMessage(this.out, 0, this.message);
    return this.store.apply(RecordKind.SessionMessage, this.out, 0, end);
  }

  count(takenSeq: number, ackedSeq: number, outSeq: number): number {
    Object.assign(this.numbers, { takenSeq, ackedSeq, outSeq });
    const end = writeSessionNumbers(this.out, 0, this.numbers);
    return this.store.apply(RecordKind.SessionNumbers, this.out, 0, end);
  }

  end(session: number): number {
    const end = writeSessionGone(this.out, 0, session);
    return this.store.apply(RecordKind.SessionGone, this.out, 0, end);
  }
}

const BAD: readonly { name: string; tell: (bench: Bench) => number; fault: number }[] = [
  { name: "a message twice", tell: (b) => b.say(1) || b.say(1), fault: Fault.Field },
  {
    name: "a message of an unknown session",
    tell: (b) => {
      b.message.session = 9;
      return b.say(1);
    },
    fault: Fault.Field,
  },
  { name: "an end of an unknown session", tell: (b) => b.end(9), fault: Fault.Field },
  {
    name: "numbers of an unknown session",
    tell: (b) => {
      b.numbers.session = 9;
      return b.count(0, 0, 0);
    },
    fault: Fault.Field,
  },
  {
    name: "numbers of another epoch",
    tell: (b) => {
      b.numbers.epoch = 2;
      return b.count(0, 0, 0);
    },
    fault: Fault.Field,
  },
  {
    name: "taken backwards",
    tell: (b) => b.count(5, 0, 0) || b.count(4, 0, 0),
    fault: Fault.Field,
  },
  { name: "acked above out", tell: (b) => b.count(0, 2, 1), fault: Fault.Field },
  {
    name: "acked backwards",
    tell: (b) => b.count(0, 2, 3) || b.count(0, 1, 3),
    fault: Fault.Field,
  },
  {
    name: "out below the last message",
    tell: (b) => b.say(5) || b.count(0, 0, 4),
    fault: Fault.Field,
  },
  { name: "out backwards", tell: (b) => b.count(0, 0, 4) || b.count(0, 0, 3), fault: Fault.Field },
  {
    name: "more kept than held",
    tell: (b) => {
      b.record.kept = 1;
      b.record.lastSeq = 1;
      return b.tell();
    },
    fault: Fault.Field,
  },
  {
    name: "no address",
    tell: (b) => {
      b.record.peerAddrs.count = 0;
      return b.tell();
    },
    fault: Fault.Field,
  },
  {
    name: "another kind",
    tell: (b) => b.store.apply(RecordKind.Sa, b.out, 0, 4),
    fault: Fault.Field,
  },
  {
    name: "one session too many",
    tell: (b) => {
      for (b.record.session = 2; b.record.session <= SESSIONS_MAX; b.record.session++) b.tell();
      return b.tell();
    },
    fault: Fault.Full,
  },
];

Deno.test.each(BAD)(
  "$name is refused, and nothing can be adopted until the next snapshot",
  (bad) => {
    const bench = new Bench();
    assert.equal(bench.store.complete, true);
    assert.equal(bad.tell(bench), -bad.fault);
    assert.equal(bench.store.refused, 1);
    assert.equal(bench.store.complete, false);
    const box = new Net().node("box");
    assert.equal(bench.store.adoptInto(box.messenger, 0), 0);
    bench.store.begin();
    bench.store.end();
    assert.equal(bench.store.complete, true);
    assert.equal(bench.store.sessions, 0);
  },
);

Deno.test("what is held stays until a new snapshot is whole", () => {
  const bench = new Bench();
  assert.equal(bench.say(1), 0);
  bench.store.begin();
  assert.equal(bench.store.messages, 1);
  bench.store.end();
  assert.equal(bench.store.messages, 0);
  assert.equal(bench.store.sessions, 0);
});

Deno.test("bytes by chance are refused, and the store lives", () => {
  const { store, out } = new Bench();
  let x = 12345;
  const random = (): number => (x = Math.imul(x, 1103515245) + 12345 >>> 0) >>> 8;
  for (let round = 0; round < 20_000; round++) {
    const size = random() % 160;
    for (let at = 0; at < size; at++) out.bytes[at] = random() % 4 === 0 ? random() : 0;
    out.bytes[0] = 1;
    store.apply(32 + random() % 4, out, 0, size);
    assert.ok(store.messages >= 0 && store.bytes >= 0);
  }
  assert.ok(store.refused > 1000);
});

Deno.test("a session whose messages find no room is refused as a whole", () => {
  const bench = new Bench();
  bench.message.frontBytes = 4000;
  for (let seq = 1; seq <= 20; seq++) {
    bench.message.seq = seq;
    const end = writeSessionMessage(bench.out, 0, bench.message) + 4000;
    assert.equal(bench.store.apply(RecordKind.SessionMessage, bench.out, 0, end), 0);
  }
  bench.message.frontBytes = 0;
  assert.equal(bench.count(0, 0, 20), 0);
  const box = new Net().node("box", { options: { outboxBytesMax: 40_000 } });
  assert.equal(bench.store.adoptInto(box.messenger, 0), 0);
  assert.equal(box.messenger.counters.refusedSessions, 1);
  assert.equal(box.messenger.sessions.size, 0);
});
