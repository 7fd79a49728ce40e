/**
 * What leaves a mirrored messenger, and when: step by step, by the frames on the wire. The records
 * go to a store by hand, so that each step between can be seen.
 */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { arenaTaken } from "../../src/mem/arena.ts";
import type { Batch } from "../../src/proto/msgr2/batch.ts";
import { Outbox } from "../../src/proto/msgr2/outbox.ts";
import { POLICIES, type Policy } from "../../src/proto/msgr2/policy.ts";
import { type Session, SessionState } from "../../src/proto/msgr2/session.ts";
import type { SessionJournal } from "../../src/proto/msgr2/session_journal.ts";
import { SessionStore } from "../../src/proto/msgr2/session_store.ts";
import { PostWriter, RecordKind } from "../../src/wire/standby/post.ts";
import { applyPost } from "./mirror.ts";
import { Net, type Node, say } from "./pair.ts";

const HUB = "v2:10.0.9.1:3300";

/** A peer that takes everything at once, and a box that is mirrored by hand. */
class Bench {
  readonly net: Net = new Net();
  readonly peer: Node;
  box: Node;
  readonly store = new SessionStore();
  readonly dials: boolean;
  readonly #taken = arenaTaken();
  readonly #writer = new PostWriter();

  constructor(dials = false, policy: Policy = POLICIES.statefulServer) {
    this.dials = dials;
    const { net } = this;
    const auth = authNone("client.peer");
    const options = { nonce: dials ? 0 : 11 };
    this.peer = net.node("peer", { ...(dials ? { address: HUB } : {}), auth, options });
    this.box = this.newBox(policy);
  }

  newBox(policy: Policy = POLICIES.statefulServer): Node {
    const box = this.net.node("box", {
      ...(this.dials ? {} : { address: HUB }),
      policy,
      auth: authNone("client.box"),
      options: { journal: true },
    });
    box.takes = false;
    return box;
  }

  get journal(): SessionJournal {
    return this.box.messenger.journal!;
  }

  get near(): Session {
    return this.peer.session;
  }

  get far(): Session {
    return this.box.session;
  }

  /** Closes the gates, and the standby has everything. */
  mirror(): void {
    this.journal.gate();
    this.journal.release(this.snapshot());
    this.net.settle();
  }

  snapshot(): number {
    this.#writer.mark(RecordKind.SnapshotBegin);
    const mark = this.journal.snapshot(this.#writer, () => this.apply());
    this.#writer.mark(RecordKind.SnapshotEnd);
    this.apply();
    return mark;
  }

  apply(): void {
    const post = this.#writer.take(1, 1).slice();
    assert.equal(applyPost(this.store, post), 0);
  }

  /** Writes what changed, and the standby has it; returns the mark. */
  write(): number {
    const mark = this.journal.write(this.#writer, () => this.apply());
    this.apply();
    this.net.settle();
    return mark;
  }

  release(mark: number): void {
    this.journal.release(mark);
    this.net.settle();
  }

  /** Writes and releases until nothing is left. */
  sync(): void {
    this.net.settle();
    for (let turns = 0; this.journal.dirty; turns++) {
      assert.ok(turns < 20, "it comes to rest");
      this.release(this.write());
    }
  }

  /** A session that stands, known to the standby. */
  stand(): void {
    this.dials ? this.box.connect(this.peer) : this.peer.connect(this.box);
    this.mirror();
    this.sync();
    assert.equal(this.far.state, SessionState.Ready);
    assert.equal(this.near.state, SessionState.Ready);
    this.net.log.length = 0;
  }

  take(): Batch {
    this.net.settle();
    return this.box.messenger.takeBatch()!;
  }

  done(batch: Batch): void {
    this.box.messenger.done(batch, this.net.now);
    this.net.settle();
  }

  /** How often the box has sent this frame since the log was emptied. */
  sent(tag: "ACK" | "CLIENT_IDENT" | "MSG" | "RECONNECT_OK" | "SERVER_IDENT"): number {
    return this.net.log.filter((line) => line === `box ${tag}`).length;
  }

  /** The box dies, its standby goes on with what it has. */
  takeOver(): number {
    this.net.nodes.splice(this.net.nodes.indexOf(this.box), 1);
    this.box.stop();
    this.box = this.newBox();
    return this.store.adoptInto(this.box.messenger, this.net.now);
  }

  close(): void {
    for (const node of this.net.nodes) node.stop();
    assert.equal(arenaTaken(), this.#taken, "memory is given back");
  }
}

Deno.test("SERVER_IDENT leaves when the standby has the session", () => {
  const bench = new Bench();
  bench.mirror();
  bench.peer.connect(bench.box);
  bench.net.settle();
  assert.equal(bench.sent("SERVER_IDENT"), 0);
  const mark = bench.write();
  assert.equal(bench.store.sessions, 1);
  assert.equal(bench.sent("SERVER_IDENT"), 0);
  bench.release(mark);
  assert.equal(bench.sent("SERVER_IDENT"), 1);
  assert.deepEqual(bench.peer.events, ["connect"]);
  bench.close();
});

Deno.test("CLIENT_IDENT and what follows SERVER_IDENT leave when the standby has the cookies", () => {
  const bench = new Bench(true);
  bench.mirror();
  const session = bench.box.connect(bench.peer);
  bench.net.settle();
  const cookie = bench.write();
  assert.equal(bench.store.sessions, 1);
  assert.equal(bench.sent("CLIENT_IDENT"), 0);
  bench.release(cookie);
  assert.equal(bench.sent("CLIENT_IDENT"), 1);
  assert.equal(session.state, SessionState.Ready);
  say(session, "first");
  const cookies = bench.write();
  assert.equal(bench.sent("MSG"), 0);
  bench.release(cookies);
  assert.deepEqual(bench.peer.received, ["first"]);
  bench.close();
});

Deno.test("a message leaves when its record is released, by priority among those of one write", () => {
  const bench = new Bench();
  bench.stand();
  say(bench.far, "low", 63);
  say(bench.far, "high", 196);
  bench.net.settle();
  assert.equal(bench.sent("MSG"), 0);
  const mark = bench.write();
  say(bench.far, "highest", 255);
  bench.net.settle();
  assert.equal(bench.store.messages, 2);
  assert.equal(bench.sent("MSG"), 0);
  bench.release(mark);
  assert.deepEqual(bench.peer.received, ["high", "low"]);
  bench.sync();
  assert.deepEqual(bench.peer.received, ["high", "low", "highest"]);
  assert.equal(bench.store.messages, 0, "what the peer has acknowledged is not held");
  assert.equal(bench.store.bytes, 0);
  bench.close();
});

Deno.test("what was taken over is acknowledged when the standby knows", () => {
  const bench = new Bench();
  bench.stand();
  say(bench.near, "question");
  bench.done(bench.take());
  assert.equal(bench.sent("ACK"), 0);
  const mark = bench.write();
  assert.equal(bench.near.unacknowledged, 1);
  bench.release(mark);
  assert.equal(bench.sent("ACK"), 1);
  assert.equal(bench.near.unacknowledged, 0);
  bench.close();
});

Deno.test("the ack_seq of a message is no higher than what the standby knows", () => {
  const bench = new Bench();
  bench.stand();
  say(bench.near, "one");
  const first = bench.take();
  say(bench.far, "answer");
  bench.done(first);
  const mark = bench.write();
  say(bench.near, "two");
  bench.done(bench.take());
  const later = bench.write();
  bench.release(mark);
  assert.deepEqual(bench.peer.received, ["answer"]);
  assert.equal(bench.near.unacknowledged, 1);
  bench.release(later);
  assert.equal(bench.near.unacknowledged, 0);
  bench.close();
});

Deno.test("RECONNECT_OK tells what the standby knows, doubles are known by what was received", () => {
  const bench = new Bench();
  bench.stand();
  say(bench.near, "one");
  bench.done(bench.take());
  bench.net.cut();
  bench.net.advance(300);
  assert.equal(bench.sent("RECONNECT_OK"), 1);
  assert.equal(bench.far.ackSentSeq, 0);
  assert.equal(bench.far.duplicates, 1);
  assert.equal(bench.box.messenger.takeBatch(), null);
  bench.sync();
  assert.equal(bench.near.unacknowledged, 0);
  bench.close();
});

Deno.test("RECONNECT_OK never tells less than was acknowledged while the standby was away", () => {
  const bench = new Bench();
  bench.stand();
  bench.journal.releaseAll();
  for (const text of ["one", "two"]) say(bench.near, text);
  bench.done(bench.take());
  assert.equal(bench.near.unacknowledged, 0);
  bench.journal.gate();
  bench.net.cut();
  bench.net.advance(300);
  assert.equal(bench.sent("RECONNECT_OK"), 1);
  assert.equal(bench.far.ackSentSeq, 2);
  bench.close();
});

Deno.test("a question and its answer go to the standby in one post, once the batch is done", () => {
  const bench = new Bench();
  bench.stand();
  say(bench.near, "one");
  const batch = bench.take();
  say(bench.far, "answer");
  assert.equal(bench.journal.dirty, false);
  bench.done(batch);
  assert.equal(bench.journal.dirty, true);
  bench.write();
  assert.equal(bench.takeOver(), 1);
  assert.equal(bench.far.takenSeq, 1);
  assert.equal(bench.far.unacknowledged, 1);
  bench.net.advance(300);
  assert.deepEqual(bench.peer.received, ["answer"]);
  assert.equal(bench.near.unacknowledged, 0);
  bench.close();
});

Deno.test("what belongs to a batch that is done does not wait for the next one", () => {
  const bench = new Bench();
  bench.stand();
  say(bench.near, "one");
  const first = bench.take();
  say(bench.near, "two");
  bench.net.settle();
  say(bench.far, "answer 1");
  bench.done(first);
  const second = bench.take();
  say(bench.far, "answer 2");
  assert.equal(bench.journal.dirty, true);
  bench.release(bench.write());
  assert.deepEqual(bench.peer.received, ["answer 1"]);
  assert.equal(bench.near.unacknowledged, 1);
  bench.done(second);
  bench.sync();
  assert.deepEqual(bench.peer.received, ["answer 1", "answer 2"]);
  bench.close();
});

Deno.test("a snapshot waits for a batch that began before the gates closed", () => {
  const bench = new Bench();
  bench.stand();
  bench.journal.releaseAll();
  say(bench.near, "one");
  const batch = bench.take();
  say(bench.far, "half an answer");
  bench.journal.gate();
  assert.equal(bench.snapshot(), 0);
  assert.equal(bench.journal.dirty, false);
  bench.done(batch);
  assert.equal(bench.near.unacknowledged, 1);
  bench.release(bench.snapshot());
  assert.equal(bench.near.unacknowledged, 0);
  bench.close();
});

Deno.test("while the standby is away everything leaves, and nothing is recorded", () => {
  const bench = new Bench();
  bench.stand();
  say(bench.far, "held");
  bench.write();
  assert.equal(bench.sent("MSG"), 0);
  bench.journal.releaseAll();
  bench.net.settle();
  assert.equal(bench.sent("MSG"), 1);
  say(bench.far, "free");
  bench.net.settle();
  assert.equal(bench.sent("MSG"), 2);
  assert.equal(bench.journal.dirty, false);
  assert.equal(bench.journal.gated, false);
  bench.close();
});

Deno.test("with a window messages and acknowledgements run ahead by so many", () => {
  const bench = new Bench();
  bench.journal.window = 2;
  bench.mirror();
  bench.peer.connect(bench.box);
  bench.net.settle();
  assert.equal(bench.sent("SERVER_IDENT"), 1);
  for (let index = 0; index < 5; index++) {
    say(bench.far, `${index}`);
    say(bench.near, `${index}`);
  }
  bench.done(bench.take());
  assert.equal(bench.near.unacknowledged, 3);
  const mark = bench.write();
  assert.deepEqual(bench.peer.received, ["0", "1"]);
  assert.equal(bench.near.unacknowledged, 3);
  bench.release(mark);
  assert.equal(bench.peer.received.length, 5);
  assert.equal(bench.near.unacknowledged, 0);
  bench.close();
});

Deno.test("a message can be taken back until it is recorded", () => {
  const bench = new Bench();
  bench.stand();
  const [gone, kept] = [say(bench.far, "gone"), say(bench.far, "kept")];
  assert.equal(bench.far.revoke(gone), true);
  const mark = bench.write();
  assert.equal(bench.far.revoke(kept), false);
  bench.release(mark);
  assert.deepEqual(bench.peer.received, ["kept"]);
  bench.close();
});

Deno.test("lossy and unregistered sessions are neither recorded nor held back", () => {
  for (
    const policy of [POLICIES.statelessServer, { ...POLICIES.statefulServer, registered: false }]
  ) {
    const bench = new Bench(false, policy);
    bench.mirror();
    bench.peer.connect(bench.box);
    bench.net.settle();
    assert.equal(bench.far.gate, null);
    assert.equal(bench.journal.dirty, false);
    say(bench.far, "at once");
    bench.net.settle();
    assert.deepEqual(bench.peer.received, ["at once"]);
    bench.close();
  }
});

Deno.test("a session that its server calls lossy is taken back from the standby", () => {
  const bench = new Bench(true);
  const { messenger } = bench.peer;
  Object.assign(messenger.options, { policyFor: () => POLICIES.statelessServer });
  bench.box.connect(bench.peer);
  bench.mirror();
  say(bench.far, "at once");
  bench.sync();
  assert.equal(bench.far.lossy, true);
  assert.equal(bench.far.gate, null);
  assert.deepEqual(bench.peer.received, ["at once"]);
  assert.equal(bench.store.sessions, 0);
  assert.equal(bench.store.messages, 0);
  bench.close();
});

Deno.test("the end of a session is recorded, whoever ends it", () => {
  for (const who of ["peer", "box"] as const) {
    const bench = new Bench();
    bench.stand();
    say(bench.far, "never");
    bench.write();
    assert.equal(bench.store.messages, 1);
    bench[who].messenger.close(bench[who].session, bench.net.now);
    bench.net.settle();
    bench.sync();
    assert.deepEqual(bench.peer.received, []);
    assert.equal(bench.store.sessions, 0);
    assert.equal(bench.store.messages, 0);
    bench.close();
  }
});

Deno.test("a peer that acknowledges what waits for its record is refused", () => {
  const bench = new Bench();
  bench.stand();
  say(bench.far, "waits");
  bench.write();
  assert.equal(bench.far.outSeq, 1);
  bench.near.takenSeq = 1; // the peer claims a message that it cannot have
  bench.peer.messenger.markDirty(bench.near.connection!);
  bench.net.settle();
  assert.match(bench.far.lastFault, /0 at most, the last one sent/);
  bench.close();
});

Deno.test("without a journal a session has no gate", () => {
  const net = new Net();
  const [hub, box] = [net.node("hub", { address: HUB }), net.node("box")];
  const session = box.connect(hub);
  net.settle();
  assert.equal(box.messenger.journal, null);
  assert.equal(session.gate, null);
  assert.equal(session.ownAddrs, null);
  for (const node of net.nodes) node.stop();
});

Deno.test("an ACK says what the standby knows, also when more was taken over since", () => {
  const bench = new Bench();
  bench.stand();
  say(bench.near, "one");
  bench.done(bench.take());
  const mark = bench.write();
  say(bench.near, "two");
  bench.done(bench.take());
  bench.release(mark);
  assert.equal(bench.sent("ACK"), 1);
  assert.equal(bench.near.unacknowledged, 1);
  bench.close();
});

Deno.test("releases of numbers before a reset open nothing after it", () => {
  const bench = new Bench(true);
  bench.box.connect(bench.peer, { ...POLICIES.losslessClient, requeue: true });
  bench.mirror();
  bench.sync();
  for (const text of ["1", "2", "3"]) say(bench.far, text);
  bench.sync();
  const late: number[] = [bench.write()];
  for (const text of ["4", "5"]) say(bench.far, text);
  late.push(bench.write());
  bench.peer.restart();
  bench.net.settle();
  bench.net.advance(1000);
  late.push(bench.write()); // cookies of CLIENT_IDENT
  bench.release(late[2]!);
  bench.net.settle();
  assert.equal(bench.far.epoch, 2);
  bench.net.log.length = 0;
  say(bench.far, "6");
  bench.net.settle();
  assert.equal(bench.sent("MSG"), 0);
  const ident = bench.write();
  bench.release(late[2]!);
  assert.equal(bench.sent("MSG"), 0);
  bench.release(ident);
  assert.equal(bench.sent("MSG"), 3);
  say(bench.far, "7");
  const last = bench.write();
  assert.equal(bench.sent("MSG"), 3);
  bench.release(last);
  assert.deepEqual(bench.peer.received.slice(-4), ["4", "5", "6", "7"]);
  bench.close();
});

Deno.test("a peer that restarts gets nothing by releases of what was for its predecessor", () => {
  const bench = new Bench();
  bench.stand();
  for (const text of ["1", "2"]) say(bench.far, text);
  bench.write();
  bench.peer.restart();
  bench.peer.connect(bench.box);
  bench.net.settle();
  assert.equal(bench.far.epoch, 2);
  const ident = bench.write();
  assert.equal(bench.store.messages, 0, "what was for the predecessor is dropped");
  say(bench.far, "new");
  const last = bench.write();
  bench.release(ident);
  assert.equal(bench.near.state, SessionState.Ready);
  assert.equal(bench.sent("MSG"), 0);
  bench.release(last);
  assert.deepEqual(bench.peer.received, ["new"]);
  bench.close();
});

Deno.test("an outbox numbers replays first, then by priority, and hands each over once", () => {
  const outbox = new Outbox(1024 * 1024);
  const put = (priority: number): number => {
    const record = outbox.reserve(5, 0, 0);
    outbox.commit(record, 0xfa00, priority, 1, 1, 0, 0);
    return record;
  };
  const [low, high] = [put(63), put(200)];
  outbox.moveToSent(outbox.peek(), 1);
  outbox.moveToSent(outbox.peek(), 2);
  outbox.requeue();
  outbox.renumber();
  const late = put(127);
  const highest = put(255);
  assert.equal(outbox.number(0), 4);
  const order: number[] = [];
  for (let at = outbox.nextNumbered(0); at !== 0; at = outbox.nextNumbered(at)) order.push(at);
  assert.deepEqual(order, [high, low, highest, late]);
  assert.equal(outbox.written, 0);
  assert.equal(outbox.takeUnwritten(), high);
  assert.equal(outbox.takeUnwritten(), low);
  assert.equal(outbox.written, 2);
  outbox.moveToSent(outbox.peek(), 1);
  assert.equal(outbox.nextNumbered(high), low);
  const last = put(1);
  assert.equal(outbox.number(4), 5);
  for (const record of [highest, late, last, 0]) assert.equal(outbox.takeUnwritten(), record);
  outbox.requeue();
  assert.equal(outbox.discardReplays(4), 4);
  assert.equal(outbox.recount(), 1);
  assert.equal(outbox.written, 1);
  assert.equal(outbox.clear(), 1);
  put(1);
  assert.equal(outbox.number(0), 1);
  outbox.close();
});
