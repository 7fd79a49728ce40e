/** A box whose peer, or somebody who would like to be it, says what it should not. */
import assert from "node:assert/strict";
import { FairleadType } from "../../src/app/message_types.ts";
import { SyncIn } from "../../src/app/standby/sync_in.ts";
import { SyncVerdict } from "../../src/proto/standby/sync_stream.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { SaStore } from "../../src/proto/xfrm/sa_store.ts";
import { WORD_BYTES_MAX } from "../../src/wire/standby/words.ts";
import { RecordKind } from "../../src/wire/standby/post.ts";
import { newRegion } from "../../src/mem/region.ts";
import { SA_GONE_SIZE, writeSaGone } from "../../src/wire/standby/sa_record.ts";
import { saId } from "../kernel/xfrm_client.ts";
import { Box, newSa } from "../proto/xfrm_box.ts";
import { seeded } from "./fairlead.ts";
import {
  configOf,
  keyringOf,
  NAME,
  ownAddress,
  postOf,
  RigBox,
  secure,
  Stranger,
  until,
} from "./standby_rig.ts";

const { SnapshotBegin, SnapshotEnd } = RecordKind;
const SNAPSHOT = [[SnapshotBegin], [SnapshotEnd]] as [number][];

/** A standby, and somebody in the place of its active box. */
async function scene(
  more: Record<string, unknown> = {},
): Promise<{ box: RigBox; peer: Stranger } & AsyncDisposable> {
  const listen = ownAddress();
  const peerAddress = ownAddress();
  const box = await RigBox.open(configOf({ listen, peer: peerAddress, deadMs: 4000, ...more }));
  const peer = await Stranger.open(listen, { listen: peerAddress });
  return {
    box,
    peer,
    [Symbol.asyncDispose]: async () => {
      await peer[Symbol.asyncDispose]();
      await box[Symbol.asyncDispose]();
    },
  };
}

/** Waits until all that was said was heard, or the session is over. */
async function said({ session }: Stranger): Promise<void> {
  await until("it is heard", () => session.unacknowledged === 0);
}

/** The same when the box knows who is active, and has everything. */
async function wholeScene(): ReturnType<typeof scene> {
  const made = await scene();
  const { box, peer } = made;
  peer.live();
  await until("it knows the active box", () => box.service.election.term === 1);
  assert.ok(peer.post(postOf(1, 1, ...SNAPSHOT)));
  await until("it is ready", () => box.service.election.ready);
  return made;
}

Deno.test("posts and words of a session that is not the other box's count for nothing", async () => {
  await using made = await wholeScene();
  const { box } = made;
  const { bytes } = box.service.in;
  await using other = await Stranger.open(box.service.config.listen);
  other.hello({ box: "mallory", term: 9 });
  other.beat({ term: 9 });
  other.post(postOf(1, 2));
  other.say({ word: "resync", term: 1, why: "x" });
  other.say({ word: "handoverOffer", term: 1, why: "x" });
  other.post(postOf(1, 1, ...SNAPSHOT));
  await said(other);
  assert.equal(box.service.election.term, 1, "its term");
  assert.equal(box.service.election.peer.box, "a");
  assert.equal(box.service.in.bytes, bytes, "nothing is applied");
  assert.equal(box.receiver.holds, 1);
  assert.equal(other.words.length, 0, "nor answered");
  assert.ok(box.service.counts.strangers >= 6, `${box.service.counts.strangers}`);
  assert.ok(made.peer.post(postOf(1, 2)), "the real one is not disturbed");
  await until("its next post", () => box.receiver.holds === 2);
});

Deno.test("somebody else of the keyring does not get in, nor the other box's session", async () => {
  const keyring = keyringOf(NAME, "client.mallory", "client.witness");
  const listen = ownAddress();
  const peer = ownAddress();
  const config = configOf({ listen, peer, deadMs: 4000 });
  await using box = await RigBox.open(config, { auth: secure(keyring) });
  // The real one listens, and so the box dials it; who names its address is somebody else.
  await using real = await Stranger.open(listen, { auth: secure(keyring), listen: peer });
  real.live();
  await until("it knows the active box", () => box.service.election.term === 1);
  const mallory = secure(keyring, "client.mallory");
  await using away = await Stranger.open(listen, { auth: mallory });
  await until("it is refused", () => away.session.lastFault !== "");
  await real[Symbol.asyncDispose]();
  await until("the real one is away", () => !box.service.reaches("peer"));
  await using inPlace = await Stranger.open(listen, { auth: mallory, listen: peer });
  inPlace.hello({ term: 7 });
  await until("it is refused too", () => inPlace.session.lastFault !== "");
  assert.equal(box.service.election.term, 1);
  for (const session of [away.session, inPlace.session]) assert.equal(session.established, false);
});

Deno.test("who has no key, or another one, does not get in", async () => {
  const config = configOf();
  await using box = await RigBox.open(config, { auth: secure(keyringOf(NAME)) });
  await using wrong = await Stranger.open(config.listen, {
    auth: secure(keyringOf(NAME)),
    listen: config.peer,
  });
  wrong.hello({ term: 5 });
  await until("it is refused", () => wrong.session.lastFault !== "");
  await using none = await Stranger.open(config.listen);
  none.hello({ term: 5 });
  await until("it is refused as well", () => none.session.lastFault !== "");
  assert.equal(box.service.election.term, 0);
  assert.equal(box.service.reaches("peer"), false);
});

Deno.test("a box of another group or of our own name is told why, and not listened to", async () => {
  await using made = await scene();
  const { box, peer } = made;
  peer.hello({ group: "other", term: 5 });
  peer.beat({ term: 6 });
  peer.post(postOf(5, 1, ...SNAPSHOT));
  await until("the group is told", () => box.told.some((text) => /group is another/.test(text)));
  await until("the post ended the session", () => box.service.counts.strangers === 1);
  await until("there is a new one", () => box.service.reaches("peer"));
  peer.hello({ box: "b", term: 5 });
  peer.beat({ term: 6 });
  await until("the name is told", () => box.told.some((text) => /both are called b/.test(text)));
  peer.hello({ mode: "auto", term: 5 });
  await until("the mode is told", () => box.told.some((text) => /auto must be said/.test(text)));
  await said(peer);
  const { election } = box.service;
  assert.equal(election.peer.known, false);
  assert.equal(election.term, 0, "no term of a stranger is taken on");
  assert.equal(box.service.in.bytes, 0);
});

Deno.test("a post of who has not said hello, or said a wrong one, is not applied", async () => {
  await using made = await scene({ deadMs: 200 });
  const { box, peer } = made;
  await box.is("standby");
  peer.post(postOf(0, 1, ...SNAPSHOT));
  await until("it is counted", () => box.service.counts.strangers === 1);
  await until("the session begins anew", () => box.service.reaches("peer"));
  peer.hello({ group: "other", term: 0 });
  peer.post(postOf(0, 1, ...SNAPSHOT));
  await until("it is counted again", () => box.service.counts.strangers >= 2);
  assert.equal(box.service.in.bytes, 0);
  assert.equal(box.receiver.holds, 0);
});

Deno.test("words that are none are counted, and the box goes on", async () => {
  await using made = await wholeScene();
  const { box, peer } = made;
  const text = (value: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(value);
  const bad = [
    text(""),
    text("{"),
    text("[]"),
    text("null"),
    text('{"word":5}'),
    text('{"word":"hello"}'),
    text('{"word":"heartbeat","term":-1}'),
    text(`{"word":"heartbeat","term":1e400}`),
    text('{"word":"sadAnswer","serial":1,"from":0,"total":1,"entries":[{"id":"\\u001b[31m"}]}'),
    text(`{"word":"resync","term":1,"why":"${"x".repeat(WORD_BYTES_MAX)}"}`),
    text(`${'{"a":'.repeat(8000)}1${"}".repeat(8000)}`),
    new Uint8Array([0xff, 0xfe]),
  ];
  const before = box.service.counts.badWords;
  for (const front of bad) assert.ok(peer.raw(front));
  const unknown = ["constructor", "__proto__", "toString", "later"];
  for (const word of unknown) assert.ok(peer.raw(text(JSON.stringify({ word }))));
  const ask = { group: "lab", box: "a", instance: peer.instance, term: 1, serial: 1 };
  peer.say({ word: "leaseAsk", ...ask, exact: true, next: false, leaseMs: 1200 });
  peer.say({ word: "leaseGive", ...ask });
  await said(peer);
  assert.equal(box.service.counts.badWords - before, bad.length);
  assert.equal(box.service.counts.unknownWords, unknown.length + 2);
  peer.raw(text("x"), 0x7777);
  peer.post(postOf(1, 2));
  await until("a good post", () => box.receiver.holds === 2);
  for (const line of box.told) assert.doesNotMatch(line, /\p{Cc}/u, "what is logged is one line");
});

Deno.test("seeded rubbish in place of words and posts ends nothing", async () => {
  await using made = await wholeScene();
  const { box, peer } = made;
  const below = seeded(20_261);
  const words = peer.words.map((word) => new TextEncoder().encode(JSON.stringify(word)));
  const snapshot = postOf(1, 1, ...SNAPSHOT);
  for (let round = 0; round < 3000; round++) {
    const isPost = below(4) === 0;
    const front = (isPost ? snapshot : words[below(words.length)]!).slice();
    for (let flips = 1 + below(4); flips > 0; flips--) front[below(front.length)]! ^= 1 << below(8);
    const cut = below(5) === 0 ? front.subarray(0, below(front.length + 1)) : front;
    while (!peer.raw(cut, isPost ? FairleadType.Sync : FairleadType.Standby)) {
      await new Promise<void>((resolve) => setTimeout(resolve, 5));
    }
  }
  const { election } = box.service;
  await until("it follows again", () => {
    peer.post(postOf(election.term, 1, ...SNAPSHOT));
    return box.service.reaches("peer");
  });
  assert.equal(box.role, "standby");
});

Deno.test("stale, unknown and repeated numbers are counted, and a gap brings a new session", async () => {
  await using made = await wholeScene();
  const { box, peer } = made;
  const { counts } = box.receiver;
  const { bytes } = box.service.in;
  peer.post(postOf(1, 1, ...SNAPSHOT));
  await until("it came before", () => counts[SyncVerdict.Duplicate] === 1);
  assert.ok(box.service.reaches("peer"), "what is here may be acknowledged twice");
  const verdicts = [
    [postOf(0, 2), SyncVerdict.StaleTerm],
    [postOf(2, 2), SyncVerdict.UnknownTerm],
    [postOf(1, 3), SyncVerdict.Gap],
    [postOf(1, 2), SyncVerdict.Waiting],
  ] as const;
  for (const [post, verdict] of verdicts) {
    const sessions = peer.connects;
    peer.post(post);
    await until(`verdict ${verdict}`, () => counts[verdict]! > 0);
    await until("the session ends", () => peer.connects > sessions);
    await until("they know each other", () => box.service.election.peer.known);
  }
  assert.equal(box.service.in.bytes, bytes);
  assert.ok(peer.post(postOf(1, 1, ...SNAPSHOT)));
  await until("it takes a new snapshot", () => box.receiver.holds === 1);
});

Deno.test("records that this box has no use for make a post refused", async () => {
  for (const kind of [RecordKind.Sa, RecordKind.Policy, RecordKind.Session, RecordKind.Spool, 99]) {
    await using made = await wholeScene();
    const { box, peer } = made;
    const { bytes } = box.service.in;
    peer.post(postOf(1, 2, [RecordKind.SnapshotBegin], [kind, new Uint8Array(64)]));
    await until(`kind ${kind} is counted`, () => box.receiver.bad === 1);
    assert.equal(box.service.in.bytes, bytes);
    assert.equal(box.receiver.holds, 0, "it waits for a snapshot");
  }
});

Deno.test("ten thousand tiny posts are taken; one of 33 MiB is not, and a new snapshot mends it", async () => {
  await using made = await wholeScene();
  const { box, peer } = made;
  for (let number = 2; number <= 10_001; number++) {
    while (!peer.post(postOf(1, number))) await peer.endpoint.writable(peer.session);
  }
  await until("all of them", () => box.receiver.holds === 10_001);
  const large = new Uint8Array(33 * 1024 * 1024);
  large.set(postOf(1, 10_002));
  assert.ok(peer.post(large));
  await until("it is refused", () => box.receiver.bad === 1);
  await until("they know each other again", () => box.service.election.peer.known);
  peer.post(postOf(1, 1, ...SNAPSHOT));
  await until("it takes a new snapshot", () => box.receiver.holds === 1);
});

Deno.test("a box that is active takes no posts, whatever their term", async () => {
  const config = configOf({ role: "active", deadMs: 4000 });
  await using box = await RigBox.open(config);
  await using peer = await Stranger.open(config.listen, { listen: config.peer });
  const term = (): number => box.service.election.term;
  box.service.promote(true).catch(() => {});
  await box.is("active");
  peer.live({ role: "standby", mode: "standby", term: term() });
  await until("they know each other", () => box.service.election.peer.known);
  peer.post(postOf(term(), 1, ...SNAPSHOT));
  await said(peer);
  assert.equal(box.service.in.bytes, 0);
  assert.equal(box.receiver.wholeTerm, -1);
  assert.equal(box.role, "active");
});

Deno.test("what only a witness may say is not believed of the other box", async () => {
  const state = await Deno.makeTempDir();
  try {
    const listen = ownAddress();
    const peer = ownAddress();
    const witness = ownAddress();
    await using silent = await Stranger.open(listen, { listen: witness, dials: false });
    const config = configOf({ role: "auto", listen, peer, witness, deadMs: 1000 });
    await using box = await RigBox.open(config, { state });
    await using other = await Stranger.open(listen, { listen: peer });
    other.live({ role: "standby", mode: "auto", term: 0 });
    await until("they know each other", () => box.service.election.peer.known);
    other.hello({ role: "active", mode: "auto", term: 1 });
    other.post(postOf(1, 1, ...SNAPSHOT));
    await until("it asks the witness", () => silent.words.some(({ word }) => word === "leaseAsk"));
    const answer = { granted: true, leaseMs: 1200, holder: "b", leftMs: 1200, why: "" };
    for (let serial = 0; serial < 64; serial++) {
      other.say({ word: "leaseAnswer", serial, term: 9, ...answer });
    }
    await said(other);
    assert.notEqual(box.role, "active");
    assert.ok(box.service.election.term < 9);
    assert.deepEqual(box.roles.filter((role) => role === "active"), []);
  } finally {
    await Deno.remove(state, { recursive: true });
  }
});

Deno.test("what only the other box may say is not believed of the witness", async () => {
  const state = await Deno.makeTempDir();
  try {
    const listen = ownAddress();
    const peer = ownAddress();
    const witness = ownAddress();
    await using liar = await Stranger.open(listen, { listen: witness, dials: false });
    const from: Session[] = [];
    liar.endpoint.accept().then((session) => from.push(session));
    const config = configOf({ role: "auto", listen, peer, witness });
    await using box = await RigBox.open(config, { state });
    await until("it comes", () => from.length === 1);
    liar.session = from[0]!;
    liar.hello({ mode: "auto", term: 8 });
    liar.beat({ term: 8 });
    liar.post(postOf(0, 1, ...SNAPSHOT));
    await until("the post is counted", () => box.service.counts.strangers >= 3);
    liar.say({ word: "handoverAsk", term: 8, instance: liar.instance, serial: 1 });
    await until("all is counted", () => box.service.counts.strangers >= 4);
    assert.equal(box.service.election.term, 0);
    assert.equal(box.service.in.bytes, 0);
  } finally {
    await Deno.remove(state, { recursive: true });
  }
});

/** A store behind posts, and posts of an active box with some SAs. */
function storeScene(
  count = 3,
): { sync: SyncIn; store: SaStore; snapshot: Uint8Array<ArrayBuffer>[] } {
  const active = new Box({ packets: 64, timerMs: 100 }, ["10.9.0.1"], "hold");
  for (let index = 0; index < count; index++) {
    const sa = newSa(0x1000 + index, "10.9.0.1", "10.9.0.2", 0, 100 + index);
    active.kernel.add(sa, 0);
  }
  active.follow(0);
  const snapshot = active.snapshot(0);
  const store = new SaStore("hold", ["10.9.0.1"]);
  const sync = new SyncIn({ store, cargo: null, tell: () => {} });
  sync.receiver.setTerm(1);
  return { sync, store, snapshot };
}

Deno.test("a bad record in a post of SAs: nothing of the post is applied, and a snapshot mends it", () => {
  const { snapshot, store, sync } = storeScene();
  let wholes = 0;
  for (const post of snapshot) assert.equal(sync.take(post, 1, () => wholes++), true);
  assert.equal(wholes, 1);
  assert.equal(store.size, 3);
  const before = JSON.stringify(store.figures());
  const next = snapshot.length + 1;
  const gone = newRegion(SA_GONE_SIZE);
  assert.ok(writeSaGone(gone, 0, saId("10.9.0.2", 0x1000)) > 0);
  const good: [number, Uint8Array] = [RecordKind.SaGone, gone.bytes];
  const bads = [
    [good, [RecordKind.SaGone, gone.bytes.subarray(1)]],
    [good, [RecordKind.SnapshotEnd]],
    [good, [RecordKind.SnapshotBegin]],
    [good, [RecordKind.SnapshotEnd, new Uint8Array(4)]],
    [good, [RecordKind.Session, new Uint8Array(64)]],
  ] as [number, Uint8Array?][][];
  for (const records of bads) {
    const bad = sync.receiver.bad;
    assert.equal(sync.take(postOf(1, next, ...records), 2, () => wholes++), false);
    assert.equal(sync.receiver.bad, bad + 1);
    assert.equal(JSON.stringify(store.figures()), before, "not even the record before it");
    assert.equal(wholes, 1);
    for (const post of snapshot) assert.equal(sync.take(post, 3, () => {}), true);
  }
  for (const records of [[good], [[RecordKind.SnapshotEnd]]] as [number, Uint8Array?][][]) {
    sync.receiver.expectSnapshot();
    assert.equal(sync.take(postOf(1, 1, ...records), 2, () => wholes++), false);
    assert.equal(JSON.stringify(store.figures()), before, "no snapshot without its beginning");
  }
  assert.equal(sync.receiver.wholeTerm, 1, "what is held is still of use");
  for (const post of snapshot) assert.equal(sync.take(post, 3, () => wholes++), true);
  assert.equal(wholes, 2);
  assert.equal(JSON.stringify(store.figures()), before);
});

Deno.test("every bit of a snapshot of SAs that is flipped: refused whole, or a snapshot", () => {
  const { snapshot } = storeScene(1);
  const [post] = snapshot;
  let refused = 0;
  for (let bit = 0; bit < post!.length * 8; bit += 1) {
    const { store, sync } = storeScene(0);
    const flipped = post!.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    const taken = sync.take(flipped, 1, () => {});
    if (taken === true) continue;
    refused++;
    assert.equal(store.size, 0, `bit ${bit}`);
    assert.equal(sync.bytes, 0);
  }
  assert.ok(refused > 100, `${refused}`);
});

Deno.test("a snapshot that never ends, and never stops to grow, is held within bounds", () => {
  const { store, sync } = storeScene(0);
  const active = new Box({ packets: 64, timerMs: 100 }, ["10.9.0.1"], "hold");
  for (let index = 0; index < 2000; index++) {
    active.kernel.add(newSa(0x1000 + index, "10.9.0.1", "10.9.0.2", 0), 0);
  }
  active.follow(0);
  const posts = active.snapshot(0).slice(0, -1);
  assert.ok(posts.length > 1);
  let number = 0;
  for (let round = 0; round < 5; round++) {
    for (const post of round === 0 ? posts : posts.slice(1)) {
      new DataView(post.buffer).setBigUint64(16, BigInt(++number), true);
      assert.equal(sync.take(post, number, () => assert.fail("it never ends")), true);
    }
  }
  assert.ok(store.size <= 2000);
  assert.equal(sync.receiver.wholeTerm, -1);
  assert.equal(store.complete, false);
});

Deno.test("the status of ten thousand SAs is an answer of some megabytes, made within a second", () => {
  const { store, sync } = storeScene(0);
  const active = new Box({ packets: 64, timerMs: 100 }, ["10.9.0.1"], "hold");
  for (let index = 0; index < 10_000; index++) {
    active.kernel.add(newSa(0x1000 + index, "10.9.0.1", "10.9.0.2", 0), 0);
  }
  active.follow(0);
  for (const post of active.snapshot(0)) sync.take(post, 1, () => {});
  assert.equal(store.size, 10_000);
  const start = performance.now();
  const text = JSON.stringify(store.views(2, 600));
  const took = performance.now() - start;
  assert.ok(text.length < 8 * 1024 * 1024, `${text.length}`);
  assert.ok(took < 1000, `${took} ms`);
});
