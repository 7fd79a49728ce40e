/** NFLOG and NFQUEUE: packets as the kernel hands them over, cut and flipped, and the requests. */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { formatInet } from "../../src/wire/inet.ts";
import { JoinAttempt, readJoin } from "../../src/wire/mptcp/join_option.ts";
import {
  NFLOG_PACKET,
  NflogPacket,
  nflogPrefixIs,
  readNflogPacket,
  writeNflogBind,
} from "../../src/wire/netlink/nfnetlink_log.ts";
import {
  NFQUEUE_PACKET,
  NfqueuePacket,
  NfVerdict,
  readNfqueuePacket,
  writeNfqueueBind,
  writeNfqueueVerdict,
} from "../../src/wire/netlink/nfnetlink_queue.ts";
import { Nlmsg, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { assertAllocatesNothing, assertHardy, readWhole, written } from "./kernel_message.ts";
import * as vectors from "./kernel_vectors.ts";

const logged = new NflogPacket();
const queued = new NfqueuePacket();
const join = new JoinAttempt();
const asLogged = (from: Region, message: Nlmsg): number => readNflogPacket(from, message, logged);
const asQueued = (from: Region, message: Nlmsg): number => readNfqueuePacket(from, message, queued);

Deno.test("readNflogPacket() tells prefix, interface and packet", () => {
  const from = regionOf(Uint8Array.fromHex(vectors.NFLOG_INET));
  assert.equal(readWhole(vectors.NFLOG_INET, asLogged).type, NFLOG_PACKET);
  assert.equal(logged.group, 5);
  assert.equal(logged.interfaceIndex, 4);
  assert.equal(nflogPrefixIs(from, logged, "refused"), true);
  for (const other of ["refuse", "refused ", "accepted", ""]) {
    assert.equal(nflogPrefixIs(from, logged, other), false);
  }
  assert.equal(readJoin(from, logged.packetAt, logged.packetEnd, join), 0);
  assert.equal(formatInet(join.family, join.source), "10.9.2.1");
  assert.equal(join.token, 0x3fbd720d);
});

Deno.test("readNflogPacket() reads IPv6 of a table for both", () => {
  const from = regionOf(Uint8Array.fromHex(vectors.NFLOG_INET6));
  readWhole(vectors.NFLOG_INET6, asLogged);
  assert.equal(readJoin(from, logged.packetAt, logged.packetEnd, join), 0);
  assert.equal(formatInet(join.family, join.source), "fd09:2::1");
  assert.equal(formatInet(join.family, join.destination), "fd09:1::2");
});

Deno.test("readNfqueuePacket() tells id, interface and packet", () => {
  const from = regionOf(Uint8Array.fromHex(vectors.NFQUEUE_INET));
  assert.equal(readWhole(vectors.NFQUEUE_INET, asQueued).type, NFQUEUE_PACKET);
  assert.equal(queued.queue, 7);
  assert.equal(queued.id, 1);
  assert.equal(queued.interfaceIndex, 4);
  assert.equal(readJoin(from, queued.packetAt, queued.packetEnd, join), 0);
  assert.equal(join.token, 0xd0a98005);
  assert.equal(join.addressId, 9);
});

Deno.test("a packet without payload, or without id, is a fault", () => {
  const read = (hex: string, reader: (from: Region, message: Nlmsg) => number): number => {
    const from = regionOf(Uint8Array.fromHex(hex));
    const message = new Nlmsg();
    assert.ok(readNlmsg(from, 0, from.bytes.length, message) > 0);
    return reader(from, message);
  };
  const head = "00000000000000000000000002000005";
  assert.equal(read("1400000000040000" + head.slice(8), asLogged), -Fault.Field);
  assert.equal(read("1400000000030000" + head.slice(8), asQueued), -Fault.Field);
});

Deno.test("requests are those that the kernel acknowledged", () => {
  assert.equal(
    written((out, at) => writeNflogBind(out, at, 9, 5, 200)),
    "380000000104050009000000000000000000000505000100010000000a000200000000c802000000" +
      "08000400000000010800050000000001",
  );
  assert.equal(
    written((out, at) => writeNfqueueBind(out, at, 9, 7, 200, 1024, true)),
    "400000000203050009000000000000000000000708000100010000000a000200000000c802000000" +
      "080003000000040008000500000000010800040000000001",
  );
  assert.equal(
    written((out, at) => writeNfqueueVerdict(out, at, 9, 7, 0x10002, NfVerdict.Accept)),
    "20000000010301000900000000000000000000070c0002000000000100010002",
  );
  assert.match(
    written((out, at) => writeNfqueueVerdict(out, at, 9, 7, 1, NfVerdict.Drop)),
    /0c0002000000000000000001$/,
  );
});

Deno.test("every cut and every flipped bit of a packet is survived", () => {
  for (const hex of [vectors.NFLOG_INET, vectors.NFLOG_INET6]) {
    const told = assertHardy(hex, asLogged);
    assert.ok(told.cut > 60);
    assert.ok(told.flipped > 0);
  }
  assert.ok(assertHardy(vectors.NFQUEUE_INET, asQueued).cut > 0);
});

Deno.test("what a reader tells of a packet is inside the message, whatever was flipped", () => {
  const whole = Uint8Array.fromHex(vectors.NFLOG_INET);
  const message = new Nlmsg();
  for (let bit = 0; bit < 8 * whole.length; bit++) {
    const from = regionOf(whole.slice());
    from.bytes[bit >> 3]! ^= 1 << (bit & 7);
    if (readNlmsg(from, 0, from.bytes.length, message) < 0) continue;
    if (asLogged(from, message) < 0) continue;
    const { packetAt, packetEnd, prefixAt, prefixEnd } = logged;
    assert.ok(packetAt >= message.at && packetAt <= packetEnd && packetEnd <= message.end);
    assert.ok(prefixAt <= prefixEnd && prefixEnd <= message.end);
    readJoin(from, packetAt, packetEnd, join);
  }
});

Deno.test("packets, verdicts and requests allocate nothing", () => {
  const out = newRegion(128);
  const log = regionOf(Uint8Array.fromHex(vectors.NFLOG_INET));
  const first = readWhole(vectors.NFLOG_INET, asLogged);
  assertAllocatesNothing(() =>
    readNflogPacket(log, first, logged) + (nflogPrefixIs(log, logged, "refused") ? 1 : 0)
  );
  const queue = regionOf(Uint8Array.fromHex(vectors.NFQUEUE_INET));
  const second = readWhole(vectors.NFQUEUE_INET, asQueued);
  assertAllocatesNothing((index) =>
    readNfqueuePacket(queue, second, queued) +
    writeNfqueueVerdict(out, 0, index, 7, index, NfVerdict.Accept)
  );
});
