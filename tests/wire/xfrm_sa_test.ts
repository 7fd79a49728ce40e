/** SAs of NETLINK_XFRM: every captured message read, and every request written byte for byte. */
import assert from "node:assert/strict";
import { describeFault, Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { formatInet, parseInet } from "../../src/wire/inet.ts";
import { NetlinkError, readError } from "../../src/wire/netlink/error.ts";
import { Nlmsg, NLMSG_HEADER_SIZE, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import {
  AeFlag,
  aeventCauseName,
  spiText,
  xfrmFamilyName,
  XfrmGroup,
  xfrmMessageName,
  XfrmMode,
  xfrmModeName,
  XfrmMsg,
  XfrmProto,
  xfrmProtoName,
  XfrmSaDir,
  xfrmSaDirName,
  XfrmSaId,
} from "../../src/wire/netlink/xfrm.ts";
import { XfrmAlgorithm } from "../../src/wire/netlink/xfrm_algorithm.ts";
import { ReplayKind, XfrmReplay } from "../../src/wire/netlink/xfrm_replay.ts";
import {
  addLifetime,
  readSa,
  readSaBody,
  readSaFlush,
  SaFlag,
  setThresholds,
  UDP_ENCAP_ESPINUDP,
  USERSA_INFO_SIZE,
  writeAllocSpi,
  writeSa,
  writeSaBody,
  writeSaDelete,
  writeSaDump,
  writeSaFlush,
  writeSaGet,
  XfrmSa,
} from "../../src/wire/netlink/xfrm_sa.ts";
import { written } from "./kernel_message.ts";
import { AEVENTS, SAS, WRITTEN } from "./xfrm_vectors.ts";

const NEW = 0x605;
const UPDATE = 0x105;
const GCM = "rfc4106(gcm(aes))";

Deno.test("an SA with GCM and thresholds is written as the kernel took it", () => {
  const sa = peerSa(0x1000);
  sa.replayWindow = 32;
  sa.aead.set(GCM, counted(20), 128);
  sa.replayThreshold = 10;
  sa.timerThreshold = 50;
  assert.equal(written((out, at) => writeSa(out, at, 1, XfrmMsg.NewSa, NEW, sa)), SAS.newSa);
});

Deno.test("an SA with replay values, lifetime and thresholds is written as the kernel took it", () => {
  const sa = peerSa(0x6000);
  sa.replayWindow = 32;
  sa.aead.set(GCM, counted(20), 128);
  Object.assign(sa.replay, { kind: ReplayKind.Value, oseq: 1234, seq: 77, words: 1 });
  sa.replay.bitmap[0] = 0xff;
  sa.hasLifetime = true;
  Object.assign(sa, { bytes: 111, packets: 22, addTime: 1795228509, useTime: 1795228559 });
  sa.replayThreshold = 10;
  sa.timerThreshold = 50;
  assert.equal(written((out, at) => writeSa(out, at, 1, XfrmMsg.NewSa, NEW, sa)), SAS.newSaState);
});

Deno.test("an SA with ESN is written as the kernel took it", () => {
  const sa = peerSa(0x1000);
  sa.flags = SaFlag.Esn;
  sa.aead.set(GCM, counted(20), 128);
  Object.assign(sa.replay, { kind: ReplayKind.Esn, window: 128, words: 4 });
  sa.replayThreshold = 10;
  sa.timerThreshold = 50;
  assert.equal(written((out, at) => writeSa(out, at, 1, XfrmMsg.NewSa, NEW, sa)), SAS.newSaEsn);
});

Deno.test("an SA with a cipher and a truncated check value is written as the kernel took it", () => {
  const sa = peerSa(0x1000);
  sa.replayWindow = 32;
  sa.auth.set("hmac(sha256)", Uint8Array.from([...counted(20), ...counted(12)]), 128);
  sa.crypt.set("cbc(aes)", counted(16), 0);
  sa.replayThreshold = 10;
  sa.timerThreshold = 50;
  assert.equal(written((out, at) => writeSa(out, at, 1, XfrmMsg.NewSa, NEW, sa)), SAS.newSaCbc);
});

Deno.test("an update is written as the kernel took it", () => {
  const sa = peerSa(0x6000);
  sa.replayWindow = 16;
  sa.aead.set(GCM, Uint8Array.from(counted(20), (byte) => byte + 0x40), 128);
  Object.assign(sa.replay, { kind: ReplayKind.Value, oseq: 1, seq: 1, words: 1 });
  sa.replay.bitmap[0] = 1;
  sa.hasLifetime = true;
  sa.bytes =
    sa.packets =
    sa.addTime =
    sa.useTime =
      1;
  sa.replayThreshold = 99;
  assert.equal(written((out, at) => writeSa(out, at, 1, XfrmMsg.UpdSa, UPDATE, sa)), SAS.updSa);
});

Deno.test("an SA with every property that the kernel knows is written and read back", () => {
  const sa = fullSa();
  assert.equal(
    written((out, at) => writeSa(out, at, 100, XfrmMsg.NewSa, NEW, sa)),
    WRITTEN.newSaAll,
  );
  const { record } = read(WRITTEN.newSaAllAnswer);
  assert.equal(record.id.key(), "10.9.0.2 esp 0x00001000 mark 0x5/0xff");
  assert.deepEqual({ ...record.limits }, { ...sa.limits });
  assert.deepEqual([record.bytes, record.packets], [2 ** 33 + 5, 22]);
  assert.deepEqual([record.addTime, record.useTime], [1795300000, 1795300050]);
  assert.deepEqual({ ...record.encap }, { ...sa.encap });
  assert.deepEqual([record.setMark, record.setMarkMask, record.ifId], [0x12, 0xff, 9]);
  assert.deepEqual([record.extraFlags, record.tfcpad, record.mode], [1, 100, XfrmMode.Tunnel]);
  assert.deepEqual([record.flags, record.reqid, record.cpu], [SaFlag.AfUnspec, 7, -1]);
  assert.equal(keyOf(record.aead), counted(20).toHex());
  assert.deepEqual([record.hasLifetime, record.replayThreshold], [false, -1]);
});

Deno.test("the event of an SA that was made says what its answer says", () => {
  const event = WRITTEN.newSaAllEvent.slice(32);
  assert.equal(event, WRITTEN.newSaAllAnswer.slice(32));
});

Deno.test("an IPv6 SA with numbers above 2^32 is written, and read from a dump and from its end", () => {
  const sa = inet6Sa();
  assert.equal(
    written((out, at) => writeSa(out, at, 104, XfrmMsg.NewSa, NEW, sa)),
    WRITTEN.newSaInet6,
  );
  for (const hex of [WRITTEN.dumpSaInet6, WRITTEN.delSaInet6Event]) {
    const { record } = read(hex);
    assert.equal(record.id.key(), "fd00::2 esp 0xfedcba98");
    assert.equal(formatInet(10, record.saddr), "fd00::1");
    assert.deepEqual([record.replay.kind, record.replay.window, record.replay.words], [2, 256, 8]);
    assert.deepEqual([record.replay.oseq, record.replay.seq], [2 ** 33 + 7, 5 * 2 ** 32 + 3]);
    assert.ok(record.replay.bitmap.subarray(0, 8).every((word) => word === 0xffffffff));
    assert.deepEqual({ ...record.selector }, { ...sa.selector });
    assert.ok(record.hasCoaddr);
    assert.equal(formatInet(10, record.coaddr), "fd00::99");
    assert.deepEqual([record.auth.name, record.auth.icvBits], ["hmac(sha256)", 128]);
    assert.deepEqual([keyOf(record.crypt), record.crypt.icvBits], [counted(32).toHex(), 0]);
  }
});

Deno.test("an SA is read from an answer with the drops that it counted", () => {
  const { record, message } = read(SAS.getSaAnswer);
  assert.equal(message.type, XfrmMsg.NewSa);
  assert.equal(record.id.key(), "10.9.0.1 esp 0x00002000");
  assert.deepEqual([record.replayDrops, record.windowDrops, record.integrityFailed], [1, 0, 0]);
  assert.deepEqual([record.bytes, record.packets, record.replayWindow], [5328, 110, 32]);
  assert.deepEqual([record.replay.kind, record.replay.oseq, record.replay.seq], [1, 0, 110]);
  assert.equal(record.replay.bitmap[0], 0xffffffff);
  assert.deepEqual({ ...record.limits }, NO_LIMITS);
});

Deno.test("of the two forms of a check value the one with its length is read", () => {
  for (const hex of [SAS.getSaCbcAnswer, SAS.delSaEvent]) {
    const { record } = read(hex);
    assert.deepEqual([record.auth.name, record.auth.icvBits], ["hmac(sha256)", 128]);
    assert.deepEqual([record.auth.keyBits, record.crypt.keyBits], [256, 128]);
    assert.deepEqual([record.aead.name, record.crypt.name], ["", "cbc(aes)"]);
    assert.equal(record.lastUsed, 1795228625);
  }
});

Deno.test("the dump of an SA says what was written of it", () => {
  const { record, message } = read(SAS.dumpSaEntry);
  assert.equal(message.flags, 2);
  assert.deepEqual([record.replay.oseq, record.replay.seq, record.replay.bitmap[0]], [
    1234,
    77,
    255,
  ]);
  assert.deepEqual([record.bytes, record.packets], [111, 22]);
  assert.deepEqual([record.addTime, record.useTime], [1795228509, 1795228559]);
});

Deno.test("the end of an SA is read with the SA, a request to end it with its id", () => {
  const larval = read(SAS.delSaLarvalEvent).record;
  assert.equal(larval.id.key(), "10.9.0.2 esp 0x00001000");
  assert.deepEqual([larval.limits.hardAddSeconds, larval.reqid], [30, 7]);
  const { record } = read(SAS.delSa);
  assert.equal(record.id.key(), "10.9.0.1 esp 0x00002000");
  assert.deepEqual([record.bytes, record.replay.kind], [0, ReplayKind.None]);
});

Deno.test("an SA that ran out says whether it is gone", () => {
  const { record } = read(SAS.expire);
  assert.equal(record.id.key(), "10.9.0.2 esp 0x00007000");
  assert.deepEqual([record.hard, record.limits.hardAddSeconds, record.bytes], [true, 3600, 5]);
  const soft = Uint8Array.fromHex(SAS.expire);
  soft[NLMSG_HEADER_SIZE + USERSA_INFO_SIZE] = 0;
  assert.equal(read(soft.toHex()).record.hard, false);
});

Deno.test("an update of an SA is read", () => {
  const { record, message } = read(WRITTEN.updSaEvent);
  assert.equal(message.type, XfrmMsg.UpdSa);
  assert.equal(record.limits.hardBytes, 2 ** 41);
});

Deno.test("a larval SA is asked for and read", () => {
  const sa = peerSa(0);
  assert.equal(
    written((out, at) => writeAllocSpi(out, at, 2, sa, 0x1000, 0x1000)),
    SAS.allocSpi,
  );
  const { record } = read(SAS.allocSpiAnswer);
  assert.equal(record.id.key(), "10.9.0.2 esp 0x00001000");
  assert.deepEqual([record.limits.hardAddSeconds, record.replay.kind], [30, ReplayKind.Value]);
  assert.equal(record.aead.name, "");
});

Deno.test("a larval SA has a mark and an if_id", () => {
  const sa = new XfrmSa();
  sa.id.family = parseInet("fd00::2", sa.id.daddr);
  parseInet("fd00::1", sa.saddr);
  Object.assign(sa.id, { proto: XfrmProto.Esp, markValue: 1, markMask: 15 });
  sa.ifId = 3;
  assert.equal(
    written((out, at) => writeAllocSpi(out, at, 108, sa, 0x100, 0x1ff)),
    WRITTEN.allocSpiInet6,
  );
  const { record } = read(WRITTEN.allocSpiInet6Answer);
  assert.deepEqual([record.id.key(), record.ifId], ["fd00::2 esp 0x00000180 mark 0x1/0xf", 3]);
});

Deno.test("SAs are asked for, ended and flushed", () => {
  const { id } = read(SAS.getSaAnswer).record;
  assert.equal(written((out, at) => writeSaGet(out, at, 1, id)), SAS.getSa);
  assert.equal(written((out, at) => writeSaDelete(out, at, 1, id)), SAS.delSa);
  assert.equal(written((out, at) => writeSaDump(out, at, 1)), SAS.dumpSa);
  assert.equal(
    written((out, at) => writeSaDump(out, at, 114, XfrmProto.Comp)),
    WRITTEN.dumpSaComp,
  );
  assert.equal(
    written((out, at) => writeSaFlush(out, at, 121, XfrmProto.Any)),
    WRITTEN.flushSa,
  );
  const { from, message } = messageOf(WRITTEN.flushSaEvent);
  assert.equal(readSaFlush(from, message), XfrmProto.Any);
  message.end = message.at;
  assert.equal(readSaFlush(from, message), -Fault.Field);
});

Deno.test("every SA that was written is the same after it was read and written again", () => {
  const { newSa, newSaState, newSaEsn, newSaCbc, updSa } = SAS;
  const { newSaAll, newSaInet6 } = WRITTEN;
  const record = new XfrmSa(); // one for all: nothing of one stays in the next
  for (const hex of [newSaAll, newSa, newSaInet6, newSaState, newSaEsn, updSa, newSaCbc, newSa]) {
    const { from, message } = messageOf(hex);
    assert.equal(readSa(from, message, record), 0);
    const { type, flags, sequence } = message;
    assert.equal(written((out, at) => writeSa(out, at, sequence, type, flags, record)), hex);
  }
});

Deno.test("what newer kernels have is written and read back", () => {
  const sa = peerSa(1);
  sa.comp.set("deflate", new Uint8Array(0), 0);
  sa.auth.set("digest_null", new Uint8Array(0), 0);
  sa.mtimerThreshold = 60;
  sa.direction = XfrmSaDir.In;
  sa.natKeepaliveInterval = 20;
  sa.cpu = 3;
  sa.offloadIfindex = 2;
  sa.offloadFlags = 4;
  sa.seq = 0xfffffffe;
  sa.integrityFailed = 0xffffffff;
  const hex = written((out, at) => writeSa(out, at, 1, XfrmMsg.NewSa, NEW, sa));
  assert.ok(hex.includes("0c001c00" + "02000000" + "04000000")); // struct xfrm_user_offload
  const { record } = read(hex);
  for (
    const name of [
      "mtimerThreshold",
      "direction",
      "natKeepaliveInterval",
      "cpu",
      "offloadIfindex",
      "offloadFlags",
      "seq",
      "integrityFailed",
    ] as const
  ) assert.equal(record[name], sa[name], name);
  assert.deepEqual([record.comp.name, record.auth.name], ["deflate", "digest_null"]);
  assert.equal(written((out, at) => writeSa(out, at, 1, XfrmMsg.NewSa, NEW, record)), hex);
});

Deno.test("attributes that are not known, and those that only align, are skipped", () => {
  const from = withAttribute(SAS.getSaAnswer, 27, "");
  const record = new XfrmSa();
  assert.equal(readSaBody(from, NLMSG_HEADER_SIZE, from.bytes.length, record), 0);
  for (const type of [0, 8, 13, 26, 36, 63, 64, 1000]) {
    const later = withAttribute(SAS.getSaAnswer, type, "0102030405");
    assert.equal(readSaBody(later, NLMSG_HEADER_SIZE, later.bytes.length, record), 0, `${type}`);
    assert.equal(record.replay.seq, 110);
  }
});

Deno.test("an output mark without a mask is of all bits", () => {
  const from = withAttribute(SAS.getSaAnswer, 29, "12000000");
  const record = new XfrmSa();
  assert.equal(readSaBody(from, NLMSG_HEADER_SIZE, from.bytes.length, record), 0);
  assert.deepEqual([record.setMark, record.setMarkMask], [0x12, 0xffffffff]);
});

Deno.test("attributes that are too short are refused by their number", () => {
  const sizes: Record<number, number> = {
    1: 68,
    2: 68,
    3: 68,
    4: 24,
    6: 224,
    9: 32,
    10: 12,
    11: 4,
    12: 4,
    14: 16,
    15: 8,
    18: 72,
    20: 72,
    21: 8,
    22: 4,
    23: 24,
    24: 4,
    28: 8,
    29: 4,
    30: 4,
    31: 4,
    32: 4,
    33: 1,
    34: 4,
    35: 4,
  };
  const record = new XfrmSa();
  for (const [type, size] of Object.entries(sizes)) {
    const from = withAttribute(SAS.getSaAnswer, Number(type), "00".repeat(size - 1));
    assert.equal(
      readSaBody(from, NLMSG_HEADER_SIZE, from.bytes.length, record),
      -Fault.Field,
      type,
    );
    assert.deepEqual([lastFault.field, lastFault.value], [`length of attribute ${type}`, size - 1]);
  }
});

Deno.test("a window, numbers and a bitmap that cannot be are refused by name", () => {
  const esn = (words: number, oseqHigh: number, seqHigh: number, window: number): string => {
    const value = newRegion(24 + 8);
    [words, 0, 0, oseqHigh, seqHigh, window].forEach((field, index) =>
      value.view.setUint32(4 * index, field, true)
    );
    return value.bytes.toHex();
  };
  const record = new XfrmSa();
  const told = (hex: string): string => {
    const from = withAttribute(SAS.getSaAnswer, 23, hex);
    const status = readSaBody(from, NLMSG_HEADER_SIZE, from.bytes.length, record);
    return status === 0 ? "" : lastFault.field;
  };
  assert.equal(told(esn(2, 0x1fffff, 0x1fffff, 64)), "");
  assert.deepEqual([record.replay.oseq, record.replay.seq], [
    0x1fffff * 2 ** 32,
    0x1fffff * 2 ** 32,
  ]);
  assert.equal(told(esn(0, 0, 0, 0)), ""); // of an SA for sending, since 6.10
  assert.equal(told(esn(3, 0, 0, 0)), "REPLAY_ESN_VAL bmp_len");
  assert.equal(told(esn(0xffffffff, 0, 0, 0)), "REPLAY_ESN_VAL bmp_len");
  assert.equal(told(esn(129, 0, 0, 0) + "00".repeat(600)), "REPLAY_ESN_VAL bmp_len");
  assert.equal(told(esn(2, 0x200000, 0, 0)), "REPLAY_ESN_VAL oseq_hi");
  assert.equal(told(esn(2, 0, 0xffffffff, 0)), "REPLAY_ESN_VAL seq_hi");
  assert.equal(told(esn(2, 0, 0, 65)), "REPLAY_ESN_VAL replay_window");
});

Deno.test("a key that is longer than its attribute, and a name that is none, are refused", () => {
  const record = new XfrmSa();
  const algorithm = (change: (bytes: Uint8Array, view: DataView) => void): number => {
    const from = regionOf(Uint8Array.fromHex(SAS.newSa));
    const at = NLMSG_HEADER_SIZE + USERSA_INFO_SIZE + 4;
    change(from.bytes.subarray(at), new DataView(from.bytes.buffer, at));
    return readSaBody(from, NLMSG_HEADER_SIZE, from.bytes.length, record);
  };
  assert.equal(algorithm(() => {}), 0);
  assert.equal(algorithm((_, view) => view.setUint32(64, 161, true)), -Fault.Field);
  assert.equal(lastFault.field, "alg_key_len");
  assert.equal(algorithm((_, view) => view.setUint32(64, 4097, true)), -Fault.Large);
  assert.equal(algorithm((bytes) => bytes[0] = 0), -Fault.Field);
  assert.equal(lastFault.field, "alg_name");
  assert.equal(algorithm((bytes) => bytes.fill(0x61, 0, 64)), -Fault.Field);
  assert.equal(algorithm((bytes) => bytes[3] = 0x0a), -Fault.Field);
  assert.equal(algorithm(() => {}), 0);
  assert.equal(record.aead.name, GCM);
});

Deno.test("a counter that is no safe integer is refused, a limit is none then", () => {
  const from = regionOf(Uint8Array.fromHex(SAS.getSaAnswer));
  const end = from.bytes.length;
  const record = new XfrmSa();
  from.view.setUint32(NLMSG_HEADER_SIZE + 96 + 4, 0x200000, true);
  assert.equal(readSaBody(from, NLMSG_HEADER_SIZE, end, record), 0);
  assert.equal(record.limits.softBytes, Infinity);
  for (
    const [at, field] of [[160, "bytes"], [168, "packets"], [176, "add_time"], [184, "use_time"]]
  ) {
    const high = NLMSG_HEADER_SIZE + Number(at) + 4;
    from.view.setUint32(high, 0x200000, true);
    assert.equal(readSaBody(from, NLMSG_HEADER_SIZE, end, record), -Fault.Field);
    assert.equal(lastFault.field, `xfrm_lifetime_cur ${field}`);
    from.view.setUint32(high, 0, true);
  }
});

Deno.test("a family that no SA has, and a message that is about no SA, are refused", () => {
  const from = regionOf(Uint8Array.fromHex(SAS.getSaAnswer));
  from.view.setUint16(NLMSG_HEADER_SIZE + 212, 7, true);
  assert.equal(
    readSaBody(from, NLMSG_HEADER_SIZE, from.bytes.length, new XfrmSa()),
    -Fault.Field,
  );
  assert.equal(
    describeFault(NLMSG_HEADER_SIZE),
    "Cannot accept xfrm family at offset 212 as it must be 2 (AF_INET) or 10 (AF_INET6): " +
      "current value is 7 (field out of range)",
  );
  const { from: policy, message } = messageOf(WRITTEN.newPolicyEvent);
  assert.equal(readSa(policy, message, new XfrmSa()), -Fault.Field);
  assert.equal(lastFault.field, "nlmsg_type of an SA");
});

Deno.test("an SA of a dump, with its counters as an attribute, is the SA that is to be made", () => {
  const entry = messageOf(SAS.dumpSaEntry);
  const out = newRegion(1024);
  out.bytes.fill(0xa5);
  const { at, end } = entry.message;
  const stop = addLifetime(entry.from, at, end, out, 8);
  assert.equal(stop, 8 + (end - at) + 36);
  // The counters as SAS.newSaState has them.
  const counters = SAS.newSaState.slice(2 * 352, 2 * 388);
  assert.ok(counters.startsWith("240009006f000000"));
  const body = SAS.dumpSaEntry.slice(32) + counters;
  assert.equal(out.bytes.subarray(8, stop).toHex(), body);
  assert.equal(out.bytes[stop], 0xa5);
  const thresholds = setThresholds(out, stop, 10, 50);
  const hex = written((to, start) =>
    writeSaBody(to, start, 1, XfrmMsg.NewSa, NEW, out, 8, thresholds)
  );
  assert.equal(hex.slice(0, 32), SAS.newSaState.slice(0, 32));
  assert.equal(hex.slice(32), body + "08000b000a00000008000c0032000000");
  const made = read(hex).record;
  const asked = read(SAS.newSaState).record;
  assert.deepEqual([made.bytes, made.hasLifetime], [asked.bytes, true]);
  assert.deepEqual([made.replayThreshold, made.timerThreshold], [10, 50]);
  assert.equal(made.id.key(), asked.id.key());
});

Deno.test("what is made of a dump makes the same SA in a kernel that lacks it", () => {
  const { from, message } = messageOf(WRITTEN.dumpSaInet6);
  const body = newRegion(1024);
  const end = setThresholds(body, addLifetime(from, message.at, message.end, body, 0), 3, 70);
  assert.equal(
    written((out, at) => writeSaBody(out, at, 201, XfrmMsg.NewSa, NEW, body, 0, end, 99)),
    WRITTEN.newSaOpaque,
  );
  assert.equal(WRITTEN.newSaOpaqueEvent.slice(32), WRITTEN.dumpSaInet6.slice(32));
});

Deno.test("a body that has its counters as an attribute is copied as it is", () => {
  const { from, message } = messageOf(SAS.newSaState);
  const out = newRegion(512);
  const end = addLifetime(from, message.at, message.end, out, 0);
  assert.equal(out.bytes.subarray(0, end).toHex(), SAS.newSaState.slice(32));
});

Deno.test("the last attribute of a body is padded before another one follows", () => {
  const whole = withAttribute(SAS.getSaAnswer, 33, "02");
  const out = newRegion(512);
  out.bytes.fill(0xa5);
  const cut = whole.bytes.length - 3;
  const end = addLifetime(whole, NLMSG_HEADER_SIZE, cut, out, 0);
  const record = new XfrmSa();
  assert.equal(readSaBody(out, 0, end, record), 0);
  assert.deepEqual([record.direction, record.bytes, record.hasLifetime], [2, 5328, true]);
});

Deno.test("counters are added only where there is room and to what is a body", () => {
  const { from, message } = messageOf(SAS.dumpSaEntry);
  const { at, end } = message;
  const size = end - at + 36;
  assert.equal(addLifetime(from, at, end, newRegion(size - 1), 0), -Fault.Full);
  assert.equal(addLifetime(from, at, end, newRegion(size), 0), size);
  assert.equal(addLifetime(from, at, at + 223, newRegion(size), 0), -Fault.Field);
  assert.equal(addLifetime(from, at, end - 1, newRegion(size), 0), -Fault.Field);
});

Deno.test("a body may begin anywhere", () => {
  const bytes = Uint8Array.fromHex(WRITTEN.delSaInet6Event).subarray(40 + 4, 40 + 4 + 224);
  const answer = Uint8Array.fromHex(SAS.getSaCbcAnswer);
  const odd = Uint8Array.fromHex("08000000"); // an attribute of four bytes
  const direction = Uint8Array.fromHex("0500210002000000");
  assert.equal(bytes.length, 224);
  for (let offset = 0; offset < 8; offset++) {
    const from = newRegion(2048);
    from.bytes.set(answer.subarray(NLMSG_HEADER_SIZE), offset);
    let end = offset + answer.length - NLMSG_HEADER_SIZE;
    from.bytes.set(direction, end);
    end += direction.length;
    from.bytes.set(odd, end);
    from.bytes.set(odd, end + 4);
    const record = new XfrmSa();
    assert.equal(readSaBody(from, offset, end + 8, record), 0, `${offset}`);
    assert.deepEqual([record.direction, record.replay.seq], [XfrmSaDir.Out, 1]);
    const out = newRegion(2048);
    const stop = addLifetime(from, offset, end, out, offset);
    assert.equal(readSaBody(out, offset, stop, record), 0);
    assert.deepEqual([record.hasLifetime, record.packets], [true, 1]);
  }
});

Deno.test("a body is written with the port that answers repeat", () => {
  const body = regionOf(Uint8Array.of(1, 2, 3, 4, 5));
  assert.equal(
    written((out, at) => writeSaBody(out, at, 9, XfrmMsg.NewPolicy, 5, body, 1, 5, 0x01020304)),
    "14000000130005000900000004030201" + "02030405",
  );
});

Deno.test("an SA is told from others by address, protocol, SPI and mark, not by what pads an address", () => {
  const id = new XfrmSaId();
  id.family = parseInet("10.9.0.2", id.daddr);
  Object.assign(id, { spi: 0x1000, proto: XfrmProto.Esp });
  const other = new XfrmSaId();
  other.copy(id);
  other.daddr.fill(0xee, 4);
  assert.equal(id.key(), "10.9.0.2 esp 0x00001000");
  assert.equal(other.key(), id.key());
  other.markMask = 0xff;
  assert.equal(other.key(), "10.9.0.2 esp 0x00001000 mark 0x0/0xff");
  other.proto = XfrmProto.Ah;
  assert.equal(other.key(), "10.9.0.2 ah 0x00001000 mark 0x0/0xff");
});

Deno.test("no key is shown by what shows an SA", () => {
  const sa = fullSa();
  const shown = `${JSON.stringify(sa)} ${Deno.inspect(sa, { depth: 9, showHidden: true })}`;
  assert.ok(shown.includes(GCM));
  assert.ok(!/1, 2, 3|"2":3|0102030|2: 3/.test(shown), shown);
});

Deno.test("no key stays in memory when the next SA has none", () => {
  const record = new XfrmSa();
  const { from, message } = messageOf(SAS.newSa);
  readSa(from, message, record);
  assert.equal(keyOf(record.aead), counted(20).toHex());
  const larval = messageOf(SAS.allocSpiAnswer);
  readSa(larval.from, larval.message, record);
  assert.ok(record.aead.key.every((byte) => byte === 0));
  assert.deepEqual([record.aead.name, record.aead.keyBits], ["", 0]);
});

Deno.test("a key or a name that is too long for an SA is a mistake of ours", () => {
  const algorithm = new XfrmAlgorithm();
  assert.throws(() => algorithm.set("x".repeat(64), counted(1), 0), /alg_name/);
  assert.throws(() => algorithm.set("x", new Uint8Array(513), 0), /alg_key/);
});

Deno.test("a replay state is copied with the words that count", () => {
  const { replay } = read(WRITTEN.newSaInet6).record;
  const copy = new XfrmReplay();
  copy.bitmap.fill(7);
  copy.copy(replay);
  assert.deepEqual([copy.oseq, copy.seq, copy.window], [replay.oseq, replay.seq, 256]);
  assert.deepEqual([...copy.bitmap.subarray(6, 10)], [0xffffffff, 0xffffffff, 7, 7]);
  copy.clear();
  assert.deepEqual([copy.kind, copy.words], [ReplayKind.None, 0]);
});

Deno.test("messages, protocols, modes and causes have names", () => {
  assert.deepEqual(
    Object.values(XfrmMsg).map(xfrmMessageName),
    Object.keys(XfrmMsg).map((name) => name.toUpperCase()),
  );
  assert.equal(xfrmMessageName(0x29), "message 41");
  assert.equal(xfrmMessageName(2), "message 2");
  assert.deepEqual(Object.values(XfrmProto).map(xfrmProtoName), ["esp", "ah", "comp", "any"]);
  assert.equal(xfrmProtoName(17), "17");
  assert.deepEqual(Object.values(XfrmMode).map(xfrmModeName), ["transport", "tunnel", "beet"]);
  assert.equal(xfrmModeName(200), "200");
  assert.deepEqual(Object.values(XfrmSaDir).map(xfrmSaDirName), ["-", "in", "out"]);
  assert.deepEqual([2, 10, 0].map(xfrmFamilyName), ["inet", "inet6", "0"]);
  assert.equal(spiText(0xfedcba98), "0xfedcba98");
  const { Cr, Ce, Cu, Rthr, Rval, Lval, Ethr } = AeFlag;
  assert.deepEqual([Cr, Ce, Cu, Rthr | Rval | Lval | Ethr].map(aeventCauseName), [
    "replay",
    "timer",
    "update",
    "answer",
  ]);
  assert.equal(UDP_ENCAP_ESPINUDP, 2);
  assert.deepEqual(Object.values(SaFlag), [1, 2, 4, 8, 16, 32, 64, 128]);
  assert.deepEqual(Object.values(XfrmGroup), [1, 2, 3, 4, 5, 6, 7, 8]);
});

Deno.test("an acknowledgement of this family is read as any other", () => {
  const { from, message } = messageOf(AEVENTS.ack);
  const error = new NetlinkError();
  assert.ok(readError(from, message, error) > 0);
  assert.equal(error.error, 0);
});

const NO_LIMITS = {
  softBytes: Infinity,
  hardBytes: Infinity,
  softPackets: Infinity,
  hardPackets: Infinity,
  softAddSeconds: 0,
  hardAddSeconds: 0,
  softUseSeconds: 0,
  hardUseSeconds: 0,
};

/** An SA to the peer. */
function peerSa(spi: number): XfrmSa {
  const sa = new XfrmSa();
  sa.id.family = parseInet("10.9.0.2", sa.id.daddr);
  parseInet("10.9.0.1", sa.saddr);
  sa.id.spi = spi;
  sa.id.proto = XfrmProto.Esp;
  sa.reqid = 7;
  return sa;
}

function fullSa(): XfrmSa {
  const sa = peerSa(0x1000);
  Object.assign(sa.id, { markValue: 5, markMask: 0xff });
  sa.mode = XfrmMode.Tunnel;
  sa.flags = SaFlag.AfUnspec;
  sa.replayWindow = 32;
  sa.aead.set(GCM, counted(20), 128);
  Object.assign(sa.encap, { type: UDP_ENCAP_ESPINUDP, sport: 4500, dport: 4501 });
  parseInet("192.0.2.9", sa.encap.oa);
  Object.assign(sa, { ifId: 9, setMark: 0x12, setMarkMask: 0xff, extraFlags: 1, tfcpad: 100 });
  Object.assign(sa, { replayThreshold: 10, timerThreshold: 50, hasLifetime: true });
  Object.assign(sa, { bytes: 2 ** 33 + 5, packets: 22 });
  Object.assign(sa, { addTime: 1795300000, useTime: 1795300050 });
  Object.assign(sa.replay, { kind: ReplayKind.Value, words: 1, oseq: 1234, seq: 77 });
  sa.replay.bitmap[0] = 0xff;
  Object.assign(sa.limits, {
    softBytes: 2 ** 39 + 1,
    hardBytes: 2 ** 40,
    hardPackets: 1e9,
    softAddSeconds: 360000000,
    hardAddSeconds: 360000001,
    softUseSeconds: 360000000,
    hardUseSeconds: 360000009,
  });
  return sa;
}

function inet6Sa(): XfrmSa {
  const sa = new XfrmSa();
  sa.id.family = parseInet("fd00::2", sa.id.daddr);
  parseInet("fd00::1", sa.saddr);
  Object.assign(sa.id, { spi: 0xfedcba98, proto: XfrmProto.Esp });
  sa.flags = SaFlag.Esn;
  sa.auth.set("hmac(sha256)", counted(32), 128);
  sa.crypt.set("cbc(aes)", counted(32), 0);
  Object.assign(sa.replay, { kind: ReplayKind.Esn, words: 8, window: 256 });
  Object.assign(sa.replay, { oseq: 2 ** 33 + 7, seq: 2 ** 32 * 5 + 3 });
  sa.replay.bitmap.fill(0xffffffff, 0, 8);
  Object.assign(sa, { hasLifetime: true, addTime: 1795300000, hasCoaddr: true });
  parseInet("fd00::99", sa.coaddr);
  const { selector } = sa;
  selector.family = parseInet("fd00::2", selector.daddr);
  parseInet("fd00::1", selector.saddr);
  Object.assign(selector, { prefixlenD: 128, prefixlenS: 64, proto: 17 });
  Object.assign(selector, { dport: 500, dportMask: 0xffff, sport: 4500, sportMask: 0xff00 });
  return sa;
}

/** 01 02 03 … */
function counted(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, index) => index + 1);
}

function keyOf({ key, keyBits }: XfrmAlgorithm): string {
  return key.subarray(0, keyBits / 8).toHex();
}

function messageOf(hex: string): { from: Region; message: Nlmsg } {
  const from = regionOf(Uint8Array.fromHex(hex));
  const message = new Nlmsg();
  assert.equal(readNlmsg(from, 0, from.bytes.length, message), from.bytes.length);
  return { from, message };
}

function read(hex: string): { record: XfrmSa; message: Nlmsg } {
  const { from, message } = messageOf(hex);
  const record = new XfrmSa();
  assert.equal(readSa(from, message, record), 0, describeFault());
  return { record, message };
}

/** The message with one more attribute, padded. */
function withAttribute(hex: string, type: number, value: string): Region {
  const bytes = Uint8Array.fromHex(hex);
  const size = value.length / 2;
  const from = newRegion(bytes.length + 4 + ((size + 3) & ~3));
  from.bytes.set(bytes);
  from.view.setUint16(bytes.length, 4 + size, true);
  from.view.setUint16(bytes.length + 2, type, true);
  from.bytes.set(Uint8Array.fromHex(value), bytes.length + 4);
  from.view.setUint32(0, from.bytes.length, true);
  return from;
}
