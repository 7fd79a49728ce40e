/** sock_diag: requests, connections and subflows as the kernel tells them, cut and flipped. */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { MptcpInfo, MptcpInfoFlag, readMptcpInfo } from "../../src/wire/mptcp/socket_info.ts";
import { Family, formatInet } from "../../src/wire/inet.ts";
import type { Nlmsg } from "../../src/wire/netlink/nlmsg.ts";
import {
  DiagConnection,
  DiagSubflow,
  readConnection,
  readSubflow,
  SOCK_DIAG_BY_FAMILY,
  SubflowFlag,
  TcpState,
  writeConnectionDump,
  writeSubflowDump,
} from "../../src/wire/netlink/sock_diag.ts";
import { assertAllocatesNothing, assertHardy, readWhole, written } from "./kernel_message.ts";
import * as vectors from "./kernel_vectors.ts";

/** Bytes of mptcp_info, and room to grow. */
const INFO_BYTES = 128;

const connection = new DiagConnection();
const subflow = new DiagSubflow();
const asConnection = (from: Region, message: Nlmsg): number =>
  readConnection(from, message, connection);
const asSubflow = (from: Region, message: Nlmsg): number => readSubflow(from, message, subflow);

Deno.test("writeConnectionDump() asks for what the reference's request asks for, but listeners", () => {
  assert.equal(
    written((out, at) => writeConnectionDump(out, at, 7, Family.Inet)),
    "500000001400010307000000" + "00000000" + "02ff0200" + "3ffbffff" + "00".repeat(48) +
      "0800030006010000",
  );
});

Deno.test("writeSubflowDump() asks for TCP sockets with their information", () => {
  assert.equal(
    written((out, at) => writeSubflowDump(out, at, 8, Family.Inet6)),
    "480000001400010308000000" + "00000000" + "0a060200" + "3ffbffff" + "00".repeat(48),
  );
});

Deno.test("readConnection() reads token, addresses and counters", () => {
  const message = readWhole(vectors.CONNECTION, asConnection);
  assert.equal(message.type, SOCK_DIAG_BY_FAMILY);
  assert.equal(formatInet(connection.family, connection.source), "10.9.1.1");
  assert.equal(formatInet(connection.family, connection.destination), "10.9.1.2");
  assert.equal(connection.sourcePort, 59842);
  assert.equal(connection.destinationPort, 7001);
  assert.equal(connection.state, TcpState.Established);
  assert.equal(connection.interfaceIndex, 0);
  assert.equal(connection.uid, 0);
  assert.equal(connection.inode, 1701251);
  assert.equal(connection.cgroupId, 1);
  const { info } = connection;
  assert.equal(info.token, 0xc45d01d2);
  assert.equal(info.flags, MptcpInfoFlag.RemoteKeyReceived);
  assert.equal(info.extraSubflows, 1);
  assert.equal(info.subflowsTotal, 2);
  assert.equal(info.retransmits, 0);
  assert.equal(info.bytesRetransmitted, 0);
  assert.equal(info.bytesSent, 20000);
  assert.equal(info.bytesReceived, 14000);
  assert.equal(info.bytesAcked, 20000);
});

Deno.test("readConnection() gives an IPv4 peer of an IPv6 socket in its mapped form", () => {
  readWhole(vectors.CONNECTION_MAPPED, asConnection);
  assert.equal(connection.family, Family.Inet6);
  assert.equal(formatInet(connection.family, connection.destination), "::ffff:10.9.1.1");
  readWhole(vectors.CONNECTION_INET6, asConnection);
  assert.equal(formatInet(connection.family, connection.source), "fd09:1::2");
  assert.equal(connection.info.bytesAcked, 13300);
});

Deno.test("readSubflow() reads the first subflow: fully established, no remote token", () => {
  readWhole(vectors.SUBFLOW_FIRST, asSubflow);
  const { McapRem, McapLoc, FullyEstablished, Connected } = SubflowFlag;
  assert.equal(subflow.isMptcp, true);
  assert.equal(subflow.flags, McapRem | McapLoc | FullyEstablished | Connected);
  assert.equal(subflow.localToken, 0xc45d01d2);
  assert.equal(subflow.remoteToken, 0);
  assert.equal(subflow.inode, 1701251);
  assert.equal(subflow.rttUs, 25);
  assert.equal(subflow.congestionWindow, 30);
  assert.equal(subflow.unacknowledged, 0);
  assert.equal(subflow.retransmits, 0);
  assert.equal(subflow.bytesSent, 20000);
  assert.equal(subflow.bytesAcked, 20001); // with the SYN
  assert.equal(subflow.bytesReceived, 14000);
});

Deno.test("readSubflow() reads a joined backup that is bound to a device", () => {
  readWhole(vectors.SUBFLOW_SECOND, asSubflow);
  const { JoinRem, JoinLoc, BkupLoc, FullyEstablished, Connected } = SubflowFlag;
  assert.equal(formatInet(subflow.family, subflow.source), "10.9.2.1");
  assert.equal(subflow.interfaceIndex, 3);
  assert.equal(subflow.flags, JoinRem | JoinLoc | BkupLoc | FullyEstablished | Connected);
  assert.equal(subflow.flags & SubflowFlag.BkupRem, 0);
  assert.equal(subflow.localId, 1);
  assert.equal(subflow.remoteId, 0);
  assert.equal(subflow.localToken, 0xc45d01d2);
  assert.equal(subflow.remoteToken, 0x145313ba);
});

Deno.test("readSubflow() leaves nothing of the socket before", () => {
  readWhole(vectors.SUBFLOW_SECOND, asSubflow);
  const plain = Uint8Array.fromHex(vectors.SUBFLOW_SECOND).slice(0, 16 + 72);
  plain[0] = plain.length;
  plain[1] = 0;
  readWhole(plain.toHex(), asSubflow);
  assert.equal(subflow.isMptcp, false);
  assert.deepEqual(
    [subflow.flags, subflow.localToken, subflow.remoteToken, subflow.localId, subflow.rttUs],
    [0, 0, 0, 0, 0],
  );
});

Deno.test("a socket with another upper layer is no subflow", () => {
  const tls = vectors.SUBFLOW_SECOND.replace("6d70746370000000", "746c730000000000");
  assert.notEqual(tls, vectors.SUBFLOW_SECOND);
  readWhole(tls, asSubflow);
  assert.equal(subflow.isMptcp, false);
});

Deno.test("readMptcpInfo() reads what an older and shorter structure has", () => {
  const whole = newRegion(INFO_BYTES);
  whole.bytes.fill(1);
  const info = new MptcpInfo();
  for (let bytes = 0; bytes <= INFO_BYTES; bytes++) {
    const from = regionOf(whole.bytes.slice(0, bytes));
    const read = readMptcpInfo(from, 0, bytes, info);
    assert.equal(read, bytes < 16 ? -Fault.Field : 0);
    if (read < 0) continue;
    assert.equal(info.token, 0x01010101);
    assert.equal(info.flags & MptcpInfoFlag.Fallback, MptcpInfoFlag.Fallback);
    assert.equal(info.retransmits !== 0, bytes >= 48);
    assert.equal(info.subflowsTotal !== 0, bytes >= 81);
  }
});

Deno.test("counters that no number can hold are 0", () => {
  const from = newRegion(96);
  from.bytes.fill(0xff, 56, 64);
  from.view.setUint32(64, 5, true);
  from.view.setUint32(68, 1, true);
  const info = new MptcpInfo();
  assert.equal(readMptcpInfo(from, 0, 96, info), 0);
  assert.equal(info.bytesSent, 0);
  assert.equal(info.bytesReceived, 2 ** 32 + 5);
});

Deno.test("every cut and every flipped bit of an answer is survived", () => {
  for (const hex of [vectors.CONNECTION, vectors.CONNECTION_MAPPED, vectors.CONNECTION_INET6]) {
    const told = assertHardy(hex, asConnection);
    assert.ok(told.cut > 72, `${told.cut}`);
    assert.ok(told.flipped > 0);
  }
  for (const hex of [vectors.SUBFLOW_FIRST, vectors.SUBFLOW_SECOND]) {
    const told = assertHardy(hex, asSubflow);
    assert.ok(told.cut > 72, `${told.cut}`);
    assert.ok(told.flipped > 0);
  }
});

Deno.test("requests and answers of sock_diag allocate nothing", () => {
  const out = newRegion(128);
  const from = regionOf(Uint8Array.fromHex(vectors.CONNECTION));
  const message = readWhole(vectors.CONNECTION, asConnection);
  assertAllocatesNothing((index) =>
    writeConnectionDump(out, 0, index, Family.Inet) + readConnection(from, message, connection)
  );
  const other = regionOf(Uint8Array.fromHex(vectors.SUBFLOW_SECOND));
  const second = readWhole(vectors.SUBFLOW_SECOND, asSubflow);
  assertAllocatesNothing((index) =>
    writeSubflowDump(out, 0, index, Family.Inet) + readSubflow(other, second, subflow)
  );
});
