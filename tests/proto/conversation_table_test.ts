/**
 * Segments to conversations: sides, ends, port reuse, lingering, limits. The log has the conversation
 * from the second on, side, offset, what was told, and the packet that it came in.
 */
import assert from "node:assert/strict";
import { arenaTaken } from "../../src/mem/arena.ts";
import { TcpFlag } from "../../src/wire/capture/tcp.ts";
import { Host, Rig } from "./segment_rig.ts";

const { Ack, Fin, Rst, Syn } = TcpFlag;

/** Runs `body` and sees that no memory is left behind. */
function rigged(name: string, body: (rig: Rig) => void): void {
  Deno.test(name, () => {
    const rig = new Rig();
    body(rig);
    rig.end();
    assert.equal(rig.leak(), 0);
  });
}

rigged("side 0 sent the SYN, whatever the ports are", (rig) => {
  rig.down(0, "", { flags: Syn });
  rig.up(0, "", { flags: Syn, ack: 0 });
  rig.up(0, "abc", { ack: 0 });
  const [conversation] = rig.conversations;
  assert.deepEqual(conversation!.ends, ["10.0.0.2:3260", "10.0.0.1:40000"]);
  assert.deepEqual(conversation!.ports, [3260, 40000]);
  assert.deepEqual(conversation!.fromStart, [true, true]);
  assert.deepEqual(rig.told(), ["1 0 abc @3"]);
});

rigged("side 0 is who receives the SYN+ACK, and its stream begins there", (rig) => {
  rig.up(0, "", { flags: Syn, ack: 0 });
  rig.down(2, "cd", { ack: 0 });
  rig.down(0, "ab", { ack: 0 });
  assert.deepEqual(rig.conversations[0]!.ports, [3260, 40000]);
  assert.deepEqual(rig.conversations[0]!.fromStart, [true, true]);
  assert.deepEqual(rig.told(), ["0 0 ab @3", "0 2 cd @2"]);
});

rigged("in mid-stream side 0 has the higher port, at equal ports it is the first", (rig) => {
  rig.down(100, "abc");
  assert.deepEqual(rig.conversations[0]!.ports, [40000, 3260]);
  assert.deepEqual(rig.conversations[0]!.fromStart, [false, false]);
  assert.deepEqual(rig.told(), ["1 0 abc @1"]);
  const one = new Host(7, 179, 0);
  const two = new Host(6, 179, 0);
  rig.send(one, two, 5, "x", {});
  rig.send(two, one, 5, "y", {});
  assert.deepEqual(rig.conversations[1]!.ends, ["10.0.0.7:179", "10.0.0.6:179"]);
  assert.deepEqual(rig.told(), ["#2: 0 0 x @2", "#2: 1 0 y @3"]);
});

rigged("IPv6 ends are in brackets, and the same low words are not the same address", (rig) => {
  const make = (words: number[], port: number): Host =>
    Object.assign(new Host(0, port, 0), { words });
  const one = make([0x20010db8, 0, 0, 1], 40000);
  const two = make([0x20010db8, 1, 0, 1], 6800);
  rig.send(one, two, 0, "", { flags: Syn });
  rig.send(make([0x20010db8, 2, 0, 1], 40000), two, 0, "", { flags: Syn });
  assert.deepEqual(rig.conversations.map(({ ends }) => ends[0]), [
    "[2001:db8::1]:40000",
    "[2001:db8:0:2::1]:40000",
  ]);
  assert.equal(rig.conversations[0]!.ends[1], "[2001:db8:0:1::1]:6800");
});

rigged("segments that open nothing are counted", (rig) => {
  rig.up(5, "", { ack: 0 });
  rig.up(5, "", { flags: Fin, ack: 0 });
  rig.up(5, "x", { flags: Rst });
  assert.equal(rig.conversations.length, 0);
  assert.equal(rig.table.counters.straySegments, 3);
});

rigged("late copies of what has ended open nothing, a SYN does", (rig) => {
  rig.open();
  rig.up(0, "abc");
  rig.shut(3, 0);
  rig.told();
  rig.up(0, "abc");
  rig.up(3, "", { flags: Fin, ack: 0 });
  rig.up(0, "", { flags: Syn });
  assert.deepEqual(rig.told(), []);
  // The last acknowledgement of shut() came when both had ended.
  assert.equal(rig.table.counters.lateSegments, 4);
  assert.equal(rig.table.counters.finished, 1);
  rig.client.isn += 100_000;
  rig.open();
  rig.up(0, "new");
  assert.equal(rig.conversations.length, 2);
  assert.deepEqual(rig.told().map((line) => line.replace(/ @.*/, "")), ["#2: 0 0 new"]);
});

rigged("after a minute the ports are another connection's, also without a SYN", (rig) => {
  rig.open();
  rig.shut(0, 0);
  rig.told();
  rig.nowMs += 60_000;
  rig.up(7, "late");
  assert.equal(rig.conversations.length, 1);
  rig.nowMs += 1;
  rig.up(7, "other");
  assert.deepEqual(rig.told(), ["#2: 0 0 other @8"]);
});

rigged("a SYN with another number on known ports ends the old conversation", (rig) => {
  rig.open();
  rig.up(2, "cd");
  rig.client.isn = 77;
  rig.open();
  rig.up(0, "new");
  assert.deepEqual(rig.told(), [
    "0 0 hole 2 ended @4",
    "0 2 cd @4",
    "0 4 end @5",
    "1 0 end @5",
    "close",
    "#2: 0 0 new @8",
  ]);
  assert.equal(rig.table.counters.replaced, 1);
});

rigged("a SYN+ACK with another number is a new connection whose SYN was not captured", (rig) => {
  rig.open();
  rig.shut(0, 0);
  rig.client.isn = 99_000;
  rig.server.isn = 123_000;
  rig.down(0, "", { flags: Syn, ack: 0 });
  rig.up(0, "abc", { ack: 0 });
  assert.deepEqual(rig.told().slice(3), ["#2: 0 0 abc @8"]);
  assert.deepEqual(rig.conversations[1]!.fromStart, [true, true]);
  assert.deepEqual(rig.conversations[1]!.ports, [40000, 3260]);
});

rigged("SYN and SYN+ACK once more are retransmissions", (rig) => {
  rig.up(0, "", { flags: Syn });
  rig.up(0, "", { flags: Syn });
  rig.down(0, "", { flags: Syn, ack: 0 });
  rig.down(0, "", { flags: Syn, ack: 0 });
  rig.up(0, "abc", { ack: 0 });
  rig.up(0, "", { flags: Syn });
  rig.up(3, "d", { ack: 0 });
  assert.deepEqual(rig.told(), ["0 0 abc @5", "0 3 d @7"]);
  assert.equal(rig.conversations.length, 1);
  const [up, down] = rig.conversations[0]!.counts;
  assert.equal(up.retransmittedSegments, 2);
  assert.equal(down.retransmittedSegments, 1);
});

rigged("a SYN that was recorded after the first bytes belongs to them", (rig) => {
  rig.up(0, "abc", { ack: 0 });
  rig.up(0, "", { flags: Syn });
  rig.down(0, "", { flags: Syn, ack: 0 });
  rig.up(3, "d", { ack: 0 });
  assert.equal(rig.conversations.length, 1);
  assert.deepEqual(rig.conversations[0]!.fromStart, [true, true]);
  assert.deepEqual(rig.told(), ["0 0 abc @1", "0 3 d @4"]);
});

rigged("both sides may open at once", (rig) => {
  rig.up(0, "", { flags: Syn });
  rig.down(0, "", { flags: Syn });
  rig.up(0, "", { flags: Syn, ack: 0 });
  rig.down(0, "", { flags: Syn, ack: 0 });
  rig.up(0, "abc", { ack: 0 });
  rig.down(0, "xyz", { ack: 3 });
  assert.deepEqual(rig.told(), ["0 0 abc @5", "1 0 xyz @6"]);
  assert.deepEqual(rig.conversations[0]!.fromStart, [true, true]);
});

rigged("a refused connection ends", (rig) => {
  rig.up(0, "", { flags: Syn });
  rig.send(rig.server, rig.client, -1 - rig.server.isn, "", { flags: Rst, ack: 0 });
  assert.deepEqual(rig.told(), ["0 0 end @2", "1 0 end @2", "close"]);
});

rigged("a connection of a port with itself is one side", (rig) => {
  rig.send(rig.client, rig.client, 0, "abc", {});
  rig.send(rig.client, rig.client, 3, "def", {});
  assert.deepEqual(rig.told(), ["0 0 abc @1", "0 3 def @2"]);
});

Deno.test("at the limit the conversation that was silent for longest is ended", () => {
  const rig = new Rig({ conversations: 3 });
  const hosts = Array.from({ length: 5 }, (_, index) => new Host(10 + index, 50_000, 0));
  for (const host of hosts.slice(0, 3)) rig.send(host, rig.server, 0, "a", {});
  rig.send(hosts[0]!, rig.server, 3, "d", {});
  rig.send(hosts[3]!, rig.server, 0, "a", {});
  assert.equal(rig.table.counters.evicted, 1);
  assert.deepEqual(rig.told().slice(3), [
    "#2: 0 1 end @5",
    "#2: 1 0 end @5",
    "#2: close",
    "#4: 0 0 a @5",
  ]);
  // What has ended goes first, and is not counted.
  rig.send(hosts[3]!, rig.server, 1, "", { flags: Rst });
  rig.send(hosts[4]!, rig.server, 0, "a", {});
  rig.send(hosts[0]!, rig.server, 1, "bc", {});
  assert.equal(rig.table.counters.evicted, 1);
  assert.deepEqual(rig.told().slice(3), ["#5: 0 0 a @7", "0 1 bc @8", "0 3 d @4"]);
  rig.end();
  assert.equal(rig.leak(), 0);
});

Deno.test("the table stays bounded and right through many more conversations than it holds", () => {
  const rig = new Rig({ conversations: 64 });
  for (let index = 0; index < 5000; index++) {
    const host = new Host(1 + index % 900, 1024 + index, index);
    rig.send(host, rig.server, 0, "", { flags: Syn });
    rig.send(host, rig.server, 1, "b", {});
    if (index % 3 === 0) rig.send(host, rig.server, 0, "a", {});
    if (index % 7 === 0) rig.send(host, rig.server, 2, "", { flags: Rst });
    assert.ok(arenaTaken() - rig.before <= 64 * 4096);
  }
  rig.end();
  assert.equal(rig.log.filter((line) => line.endsWith("close")).length, 5000);
  const { conversations, evicted, reset, streams } = rig.table.counters;
  assert.equal(conversations, 5000);
  assert.equal(reset, 715);
  assert.ok(evicted > 4000 && evicted <= 5000 - 715);
  assert.equal(streams.segments, 5000 * 2 + 1667 + 715);
  assert.equal(streams.holes.ended.count, 5000 - 1667);
  assert.equal(rig.leak(), 0);
});

Deno.test("neighbouring addresses and ports do not meet in one place of the table", () => {
  const rig = new Rig({ conversations: 8192 });
  for (let index = 0; index < 8192; index++) {
    const host = new Host(1 + (index >> 10), 32_768 + (index & 1023), 0);
    rig.send(host, rig.server, 0, "a", {});
  }
  assert.equal(rig.table.counters.evicted, 0);
  rig.end();
  assert.equal(rig.leak(), 0);
});

Deno.test("counters sum what has ended and what is open", () => {
  const rig = new Rig();
  rig.open();
  rig.up(0, "abc");
  rig.up(0, "abc");
  rig.abort(3);
  rig.client.port++;
  rig.open();
  rig.up(0, "de", { flags: Ack });
  const { streams, conversations, reset } = rig.table.counters;
  assert.equal(conversations, 2);
  assert.equal(reset, 1);
  assert.equal(streams.segments, 10);
  assert.equal(streams.bytes, 8);
  assert.equal(streams.retransmittedBytes, 3);
  rig.end();
  assert.equal(rig.table.counters.streams.bytes, 8);
  assert.equal(rig.leak(), 0);
});
