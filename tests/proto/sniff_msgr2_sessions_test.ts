/** Sessions over their connections, what answers what, and what is sent twice. */
import assert from "node:assert/strict";
import { arena } from "../../src/mem/arena.ts";
import { U64 } from "../../src/mem/u64.ts";
import { SESSIONS_MAX } from "../../src/mem/limits.ts";
import type { Msgr2Shared } from "../../src/proto/boundary/msgr2_conversation.ts";
import { SentBySide, UNANSWERED } from "../../src/proto/boundary/msgr2_replies.ts";
import { Msgr2Sessions, Role } from "../../src/proto/boundary/msgr2_sessions.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import {
  Feeder,
  joined,
  placesOf,
  record,
  type Sent,
  sharedBy,
  streamOf,
  StreamWriter,
  type Told,
} from "../capture/msgr2_streams.ts";
import { FrameFormat } from "../../src/wire/msgr2/frame.ts";
import {
  ClientIdent,
  ServerIdent,
  writeClientIdent,
  writeServerIdent,
} from "../../src/wire/msgr2/ident.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import {
  SessionReconnect,
  writeSessionReconnect,
  writeSessionReset,
} from "../../src/wire/msgr2/session.ts";
import { Keepalive, writeKeepalive } from "../../src/wire/msgr2/keepalive.ts";
import { writeAck } from "../../src/wire/msgr2/ack.ts";
import { Tag } from "../../src/wire/msgr2/tag.ts";
import { Link, say } from "./link.ts";
import { Net, say as sayOn } from "./pair.ts";

/** Plays connections one after the other, numbered from `number` on. */
function playAll(sent: readonly Sent[], shared: Msgr2Shared = sharedBy(null)): Told[][] {
  const count = 1 + Math.max(...sent.map(({ connection }) => connection));
  return Array.from({ length: count }, (_, connection) => {
    const feeder = new Feeder({ shared, number: connection + 1 });
    feeder.play(sent, connection);
    return feeder.end();
  });
}

function messagesOf(told: readonly Told[]): Told[] {
  return told.filter(({ tag }) => tag === "MSG");
}

Deno.test("a session keeps its number when it reconnects, and what is sent twice is marked", () => {
  const link = new Link({ format: FrameFormat.Crc21 });
  let lost: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  const sent = record((connection) => connection.messenger === link.client, () => {
    link.ready();
    say(link, "one");
    link.settle();
    say(link, "two");
    say(link, "three");
    link.near.pollTransmit(link.now);
    const { pieces, end } = link.near.writer.gather;
    lost = joined(Array.from({ length: end }, (_, index) => {
      const at = pieces[2 * index]!;
      return arena.bytes.slice(at, at + pieces[2 * index + 1]!);
    }));
    link.cut();
    link.advance(1000);
    say(link, "four");
    link.settle();
  });
  link.close();
  // Captured beside the client, and lost on the way behind.
  const next = sent.findIndex(({ connection }) => connection === 1);
  sent.splice(next, 0, { connection: 0, side: 0, bytes: lost });
  const [first, second] = playAll(sent) as [Told[], Told[]];
  const established = [...first, ...second].filter(({ tag }) =>
    ["CLIENT_IDENT", "SERVER_IDENT", "RECONNECT", "RECONNECT_OK", "MSG", "ACK"].includes(tag)
  );
  assert.ok(established.every(({ session }) => session === 1));
  const reconnect = second.find(({ tag }) => tag === "RECONNECT")!;
  assert.equal(reconnect.fields.continues_connection, 1);
  const seqs = [...messagesOf(first), ...messagesOf(second)].map(({ fields }) =>
    `${fields.seq}${fields.repeated === true ? " again" : ""}`
  );
  assert.deepEqual(seqs, ["1", "2", "3", "2 again", "3 again", "4"]);
  const marked = [...first, ...second].filter(({ fields }) => fields.repeated === true);
  assert.ok(marked.every(({ tag }) => tag === "MSG"));
  const firstSeqs = messagesOf(first).map(({ fields }) => fields.seq);
  for (const { fields } of messagesOf(second)) {
    assert.equal(fields.repeated === true, firstSeqs.includes(fields.seq));
  }
});

Deno.test("two sessions have two numbers, and a lossy one a new number each time", () => {
  const net = new Net();
  const server = net.node("s", { address: "v2:10.0.0.9:3300/0", policy: POLICIES.statelessServer });
  const client = net.node("c");
  const sent = record((connection) => connection.messenger === client.messenger, () => {
    const session = client.connect(server, POLICIES.lossyClient);
    net.settle();
    sayOn(session, "one");
    net.settle();
    net.cut();
    net.advance(2000);
    const again = client.connect(server, POLICIES.lossyClient);
    net.settle();
    sayOn(again, "two");
    net.settle();
  });
  client.stop();
  server.stop();
  const told = playAll(sent);
  const numbers = told.map((connection) => messagesOf(connection)[0]?.session ?? 0);
  assert.deepEqual([...new Set(numbers)].filter((it) => it > 0), [1, 2]);
  assert.ok(told.flat().every(({ fields }) => fields.repeated === undefined));
});

const CLIENT_ADDRESS = "v2:10.0.0.1:5000/1";
const SERVER_ADDRESS = "v2:10.0.0.9:3300/2";

function clientIdent(stream: StreamWriter, cookie: bigint): StreamWriter {
  const ident = new ClientIdent();
  ident.addrs.count = 1;
  ident.addrs.addrs[0]!.copy(EntityAddr.parse(CLIENT_ADDRESS));
  ident.cookie.setBigInt(cookie);
  return stream.control(Tag.ClientIdent, (to) => writeClientIdent(to, 0, ident));
}

function serverIdent(stream: StreamWriter, cookie: bigint): StreamWriter {
  const ident = new ServerIdent();
  ident.addrs.count = 1;
  ident.addrs.addrs[0]!.copy(EntityAddr.parse(SERVER_ADDRESS));
  ident.cookie.setBigInt(cookie);
  return stream.control(Tag.ServerIdent, (to) => writeServerIdent(to, 0, ident));
}

function reconnect(stream: StreamWriter, address: string, cookie: bigint): StreamWriter {
  const frame = new SessionReconnect();
  frame.addrs.count = 1;
  frame.addrs.addrs[0]!.copy(EntityAddr.parse(address));
  frame.clientCookie.setBigInt(cookie);
  frame.serverCookie.setBigInt(2n);
  return stream.control(Tag.SessionReconnect, (to) => writeSessionReconnect(to, 0, frame));
}

function start(): StreamWriter {
  return new StreamWriter(1).banner();
}

/** One connection: all of the one side that matters first, then the other's. */
function connection(
  shared: Msgr2Shared,
  number: number,
  ...parts: readonly (readonly [0 | 1, StreamWriter])[]
): Told[] {
  const feeder = new Feeder({ shared, number });
  for (const [side, stream] of parts) feeder.feed(side, stream.bytes);
  return feeder.end();
}

function frames(): StreamWriter {
  return new StreamWriter(1);
}

Deno.test("the end that accepted may reconnect: each keeps its own seqs", () => {
  const shared = sharedBy(null);
  connection(
    shared,
    1,
    [0, clientIdent(start(), 1n)],
    [1, serverIdent(start(), 2n)],
    [0, frames().message({ seq: 1 }).message({ seq: 2 })],
    [1, frames().message({ seq: 1 })],
  );
  const told = connection(
    shared,
    7,
    [0, reconnect(start(), SERVER_ADDRESS, 1n)], // now it is the one that connects
    [1, start().control(Tag.SessionReconnectOk, (to) => writeAck(to, 0, 1))],
    [0, frames().message({ seq: 1 }).message({ seq: 2 })],
    [1, frames().message({ seq: 2 }).message({ seq: 3 })],
  );
  const marks = messagesOf(told).map(({ side, fields, session }) =>
    `${session} ${side} ${fields.seq} ${fields.repeated === true}`
  );
  assert.deepEqual(marks, ["1 0 1 true", "1 0 2 false", "1 1 2 true", "1 1 3 false"]);
  assert.equal(told.find(({ tag }) => tag === "RECONNECT")!.fields.continues_connection, 1);
});

Deno.test.each([{ full: true, next: 2 }, { full: false, next: 1 }])(
  "after RESET_SESSION with full $full the same cookie means session $next",
  ({ full, next }) => {
    const shared = sharedBy(null);
    connection(shared, 1, [0, clientIdent(start(), 1n)], [1, serverIdent(start(), 2n)]);
    const told = connection(
      shared,
      2,
      [0, reconnect(start(), CLIENT_ADDRESS, 1n)],
      [1, start().control(Tag.SessionReset, (to) => writeSessionReset(to, 0, { full }))],
      [0, clientIdent(frames(), 1n)],
      [1, serverIdent(frames(), 3n)],
      [0, frames().message({ seq: 1 })],
    );
    const sessions = told.filter(({ session }) => session > 0)
      .map(({ tag, session }) => `${tag} ${session}`);
    assert.deepEqual(sessions, [
      "RECONNECT 1",
      "RESET_SESSION 1",
      `CLIENT_IDENT ${next}`,
      `SERVER_IDENT ${next}`,
      `MSG ${next}`,
    ]);
  },
);

Deno.test("a SERVER_IDENT that was lost and comes again with another cookie starts the seqs anew", () => {
  const shared = sharedBy(null);
  connection(
    shared,
    1,
    [0, clientIdent(start(), 1n)],
    [1, serverIdent(start(), 2n).message({ seq: 1 })],
  );
  const told = connection(
    shared,
    2,
    [0, clientIdent(start(), 1n)],
    [1, serverIdent(start(), 3n).message({ seq: 1 })],
  );
  const [message] = messagesOf(told);
  assert.equal(message!.session, 1);
  assert.equal(message!.fields.repeated, undefined);
});

Deno.test("a lossy session ends with its connection, even when its cookie comes again", () => {
  const shared = sharedBy(null);
  const numbers = [1, 2].map((number) => {
    const told = connection(
      shared,
      number,
      [0, clientIdent(start(), 5n)],
      [1, serverIdent(start(), 0n)],
      [0, frames().message({ seq: 1 })],
    );
    const [message] = messagesOf(told);
    assert.equal(message!.fields.repeated, undefined);
    return message!.session;
  });
  assert.deepEqual(numbers, [1, 2]);
});

Deno.test("joined in the middle, no session is invented and nothing is marked", () => {
  const feeder = new Feeder({ fromStart: false });
  feeder.feed(0, frames().message({ seq: 5 }).message({ seq: 5 }).bytes);
  const told = feeder.end();
  assert.ok(told.every(({ session, fields }) => session === 0 && fields.repeated === undefined));
});

Deno.test("ACK, KEEPALIVE2_ACK and a tid answer what the other side sent, once", () => {
  const stamp = new Keepalive();
  stamp.seconds = 9;
  const told = connection(
    sharedBy(null),
    1,
    [
      0,
      start().message({ seq: 1, tid: 70 }).message({ seq: 2, tid: 71 })
        .control(Tag.Keepalive2, (to) => writeKeepalive(to, 0, stamp)),
    ],
    [
      1,
      start().control(Tag.Ack, (to) => writeAck(to, 0, 2))
        .control(Tag.Ack, (to) => writeAck(to, 0, 2))
        .control(Tag.Ack, (to) => writeAck(to, 0, 3))
        .control(Tag.Keepalive2Ack, (to) => writeKeepalive(to, 0, stamp))
        .control(Tag.Keepalive2Ack, (to) => writeKeepalive(to, 0, stamp))
        .message({ seq: 1, tid: 71 })
        .message({ seq: 2, tid: 71 })
        .message({ seq: 3, tid: 99 })
        .message({ seq: 4 }),
    ],
    [0, frames().message({ seq: 3, tid: 99 }).message({ seq: 4, tid: 70 })],
  );
  const answers = told.filter(({ tag }) => tag !== "BANNER").map(({ tag, answers, latencyNs }) =>
    `${tag} ${answers} ${latencyNs}`
  );
  assert.deepEqual(answers, [
    "MSG  -1",
    "MSG  -1",
    "KEEPALIVE2  -1",
    "ACK ack 1000",
    "ACK  -1",
    "ACK  -1",
    "KEEPALIVE2_ACK keepalive 1000",
    "KEEPALIVE2_ACK  -1",
    "MSG tid 1000",
    "MSG  -1",
    "MSG  -1",
    "MSG  -1",
    "MSG tid 1000",
    "MSG  -1",
  ]);
});

Deno.test("what was damaged answers nothing and changes nothing", () => {
  const stream = clientIdent(start(), 1n);
  const { bytes } = stream;
  bytes[bytes.length - 10]! ^= 1; // in its payload
  const feeder = new Feeder();
  feeder.feed(1, start().bytes);
  feeder.feed(0, bytes);
  feeder.feed(0, frames().message({ seq: 1 }).bytes);
  const told = feeder.end();
  assert.equal(told.length, 4);
  assert.match(told[2]!.errors[0]!, /^crc of segment 0/);
  assert.ok(told.every(({ session }) => session === 0));
});

Deno.test("the table of sessions forgets the one not used for longest", () => {
  const sessions = new Msgr2Sessions();
  for (let cookie = 1; cookie <= SESSIONS_MAX; cookie++) sessions.meet(U64.of(cookie));
  assert.equal(sessions.meet(U64.of(1)).number, 1);
  sessions.meet(U64.of(SESSIONS_MAX + 1)); // takes the place of 2
  assert.equal(sessions.meet(U64.of(1)).number, 1);
  assert.equal(sessions.meet(U64.of(2)).number, SESSIONS_MAX + 2);
  const lossy = sessions.meet(new U64());
  assert.notEqual(sessions.meet(new U64()).number, lossy.number);
  assert.equal(lossy.noteSeq(Role.Client, 4), false);
  assert.equal(lossy.noteSeq(Role.Server, 4), false);
  assert.equal(lossy.noteSeq(Role.Client, 3), true);
  assert.equal(lossy.noteSeq(Role.Client, 0), false);
  assert.equal(sessions.count, SESSIONS_MAX + 4);
});

Deno.test("the tables of answers keep the newest, however many there are", () => {
  const sent = new SentBySide();
  assert.equal(sent.takeSeq(0), UNANSWERED);
  assert.equal(sent.takeTid(new U64()), UNANSWERED);
  for (let seq = 1; seq <= 5000; seq++) {
    sent.noteSeq(seq, seq * 10);
    sent.noteTid(U64.of(seq), seq * 10);
    sent.noteStamp(seq, 0, seq * 10);
    sent.noteStamp(seq, 999_999_999, seq * 10 + 1);
  }
  assert.equal(sent.takeSeq(5000), 50_000);
  assert.equal(sent.takeSeq(5000), UNANSWERED);
  assert.equal(sent.takeSeq(1), UNANSWERED);
  assert.equal(sent.takeTid(U64.of(4990)), 49_900);
  assert.equal(sent.takeTid(U64.of(4990)), UNANSWERED);
  assert.equal(sent.takeTid(U64.of(3)), UNANSWERED);
  assert.equal(sent.takeStamp(4999, 0), 49_990);
  assert.equal(sent.takeStamp(4999, 1), UNANSWERED);
  assert.equal(sent.takeSeq(0), UNANSWERED);
});

Deno.test("a recorded stream is what its sender sent", () => {
  const link = new Link({ format: FrameFormat.Crc20 });
  const sent = record((connection) => connection.messenger === link.client, () => link.ready());
  link.close();
  const feeder = new Feeder();
  feeder.feedAll(1, streamOf(sent, 0, 1), 50);
  const tags = placesOf(feeder.end(), 1).map(({ tag }) => tag);
  const last = tags.pop();
  assert.deepEqual(tags.slice(0, 4), ["BANNER", "HELLO", "AUTH_DONE", "AUTH_SIGNATURE"]);
  assert.equal(last, "SERVER_IDENT");
});
