/** Records of SAs and policies: bytes, round trips, and everything cut short or flipped. */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { NLMSG_HEADER_SIZE } from "../../src/wire/netlink/nlmsg.ts";
import { XfrmSaId } from "../../src/wire/netlink/xfrm.ts";
import { XfrmReplay } from "../../src/wire/netlink/xfrm_replay.ts";
import { readSaBody, XfrmSa } from "../../src/wire/netlink/xfrm_sa.ts";
import {
  checkPolicyRecord,
  POLICY_KEY_BYTES_MAX,
  readPolicyGone,
  readSaGone,
  readSaHead,
  readSaStateHead,
  SA_BODY_BYTES_MAX,
  SA_GONE_SIZE,
  SA_HEAD_SIZE,
  SA_STATE_HEAD_SIZE,
  SaHead,
  sameSaBody,
  SaStateHead,
  TAKEOVER_BYTES_MAX,
  writePolicyGone,
  writeSaGone,
  writeSaHead,
  writeSaStateHead,
  writeTakeoverSa,
} from "../../src/wire/standby/sa_record.ts";

/** First entry of `ip xfrm state` as the kernel dumps it: Linux 6.12.117, GCM, window 32. */
const DUMPED = Uint8Array.fromHex(
  "600100001000020001000000c427a1a2" + "00".repeat(40) + "0200" + "00".repeat(14) +
    "0a090002000000000000000000000000000060003200" + "0000" + "0a090001" + "00".repeat(12) +
    "ff".repeat(32) + "00".repeat(32) +
    "6f0000000000000016000000000000005d03016b000000008f03016b00000000" + "00".repeat(12) +
    "000000000700000002000020" + "0000000000000000" +
    "60001200726663343130362867636d28616573292900" + "00".repeat(46) +
    "a0000000800000000102030405060708090a0b0c0d0e0f1011121314" +
    "10000a00d20400004d000000ff000000",
);
const AT = NLMSG_HEADER_SIZE;

function dumped(): Region {
  return regionOf(DUMPED.slice());
}

function id(): XfrmSaId {
  const made = new XfrmSaId();
  made.daddr.set([10, 9, 0, 2, 0xa5, 0xa5]); // what follows IPv4 is anything
  made.spi = 0x1000;
  made.family = 2;
  made.proto = 50;
  made.markValue = 5;
  made.markMask = 0xff;
  return made;
}

Deno.test("an SaGone is 32 bytes, without what follows an IPv4 address", () => {
  const out = newRegion(SA_GONE_SIZE + 6);
  out.bytes.fill(0xa5);
  assert.equal(writeSaGone(out, 3, id()), 3 + SA_GONE_SIZE);
  assert.equal(
    out.bytes.subarray(3, 35).toHex(),
    "0a09000200000000000000000000000000100000020032000500000" + "0ff000000",
  );
  const into = new XfrmSaId();
  assert.equal(readSaGone(out, 3, 35, into), 35);
  assert.equal(into.key(), "10.9.0.2 esp 0x00001000 mark 0x5/0xff");
});

Deno.test("an SaGone of another length, family or reserved byte is refused", () => {
  const out = newRegion(64);
  writeSaGone(out, 0, id());
  for (let end = 0; end < 64; end++) {
    const read = readSaGone(out, 0, end, new XfrmSaId());
    assert.equal(read, end === SA_GONE_SIZE ? end : -Fault.Field);
  }
  out.bytes[20] = 3;
  assert.equal(readSaGone(out, 0, 32, new XfrmSaId()), -Fault.Field);
  out.bytes[20] = 10;
  assert.equal(readSaGone(out, 0, 32, new XfrmSaId()), 32);
  out.bytes[23] = 1;
  assert.equal(readSaGone(out, 0, 32, new XfrmSaId()), -Fault.Field);
});

Deno.test("heads of Sa and SaState keep their figures within 32 bits", () => {
  const out = newRegion(SA_BODY_BYTES_MAX + 64);
  const head = new SaHead();
  Object.assign(head, { packets: 64, timerMs: 1000, peakIn: 1.2, peakOut: 2 ** 40 });
  assert.equal(writeSaHead(out, 0, head), SA_HEAD_SIZE);
  const read = new SaHead();
  assert.equal(readSaHead(out, 0, SA_HEAD_SIZE + 224, read), SA_HEAD_SIZE);
  assert.deepEqual({ ...read }, { packets: 64, timerMs: 1000, peakIn: 2, peakOut: 2 ** 32 - 1 });

  const state = new SaStateHead();
  Object.assign(state, { peakIn: 7, peakOut: 8, ageMs: -3 });
  assert.equal(writeSaStateHead(out, 0, state), SA_STATE_HEAD_SIZE);
  const readState = new SaStateHead();
  assert.equal(readSaStateHead(out, 0, SA_STATE_HEAD_SIZE + 48, readState), SA_STATE_HEAD_SIZE);
  assert.deepEqual({ ...readState }, { peakIn: 7, peakOut: 8, ageMs: 0 });
});

Deno.test("records without room for their netlink body, or with too large a one, are refused", () => {
  const from = newRegion(SA_BODY_BYTES_MAX + 64);
  for (let end = 0; end < SA_HEAD_SIZE + 224; end++) {
    assert.equal(readSaHead(from, 0, end, new SaHead()), -Fault.Field);
  }
  for (let end = 0; end < SA_STATE_HEAD_SIZE + 48; end++) {
    assert.equal(readSaStateHead(from, 0, end, new SaStateHead()), -Fault.Field);
  }
  for (let end = 0; end < 168; end++) assert.equal(checkPolicyRecord(0, end), -Fault.Field);
  assert.equal(checkPolicyRecord(0, 168), 0);
  const most = SA_HEAD_SIZE + SA_BODY_BYTES_MAX;
  assert.equal(readSaHead(from, 0, most, new SaHead()), SA_HEAD_SIZE);
  assert.equal(readSaHead(from, 0, most + 1, new SaHead()), -Fault.Large);
  const mostState = SA_STATE_HEAD_SIZE + SA_BODY_BYTES_MAX;
  assert.equal(readSaStateHead(from, 0, mostState + 1, new SaStateHead()), -Fault.Large);
  assert.equal(checkPolicyRecord(0, 4097), -Fault.Large);
});

Deno.test("a PolicyGone is printable ASCII of a bounded length", () => {
  const out = newRegion(POLICY_KEY_BYTES_MAX + 8);
  const key = "out src 10.1.0.0/16 dst 10.2.0.0/16 mark 0x5/0xff";
  const end = writePolicyGone(out, 3, key);
  assert.equal(readPolicyGone(out, 3, end), key);
  assert.equal(readPolicyGone(out, 3, 3), null);
  out.bytes[5] = 0x1b;
  assert.equal(readPolicyGone(out, 3, end), null);
  out.bytes.fill(0x41);
  assert.equal(readPolicyGone(out, 0, POLICY_KEY_BYTES_MAX)?.length, POLICY_KEY_BYTES_MAX);
  assert.equal(readPolicyGone(out, 0, POLICY_KEY_BYTES_MAX + 1), null);
});

Deno.test("bodies are the same SA when only what packets move differs", () => {
  const one = dumped();
  const end = DUMPED.length;
  for (let at = AT; at < end; at++) {
    const other = dumped();
    other.bytes[at]! ^= 1;
    // curlft and stats, and the value of REPLAY_VAL.
    const moving = (at >= AT + 160 && at < AT + 204) || at >= end - 12;
    // A length or a type of an attribute that no longer fits is another SA, or ends the walk.
    const same = sameSaBody(one, AT, end, other, AT, end);
    if (at < AT + 224 || moving) assert.equal(same, moving, `byte ${at - AT}`);
    else if (at < end - 16) assert.equal(same, false, `byte ${at - AT}`);
  }
  assert.equal(sameSaBody(one, AT, end, one, AT, end - 16), true); // REPLAY_VAL moves
  assert.equal(sameSaBody(one, AT, end, one, AT, AT + 224), false);
});

function takeover(from: Region, end: number, replay: XfrmReplay): XfrmSa {
  const out = newRegion(end + TAKEOVER_BYTES_MAX);
  out.bytes.fill(0xa5);
  const lifetime = { bytes: 5000, packets: 50, addTime: 1_795_000_000, useTime: 1_795_000_001 };
  const stop = writeTakeoverSa(from, AT, end, replay, lifetime, 64, 100, out, 0);
  assert.ok(stop > 0 && stop % 4 === 0);
  const sa = new XfrmSa();
  assert.ok(readSaBody(out, 0, stop, sa) >= 0);
  return sa;
}

Deno.test("a takeover's body has the SA's keys, and new numbers, lifetime and thresholds", () => {
  const replay = new XfrmReplay();
  Object.assign(replay, { kind: 1, oseq: 1298, seq: 141, words: 1 });
  replay.bitmap[0] = 0xffffffff;
  const sa = takeover(dumped(), DUMPED.length, replay);
  assert.equal(sa.id.key(), "10.9.0.2 esp 0x00006000");
  assert.equal(sa.aead.name, "rfc4106(gcm(aes))");
  assert.equal(sa.aead.key[19], 0x14);
  assert.deepEqual([sa.replay.oseq, sa.replay.seq, sa.replay.bitmap[0]], [1298, 141, 0xffffffff]);
  assert.deepEqual([sa.hasLifetime, sa.bytes, sa.packets], [true, 5000, 50]);
  assert.deepEqual([sa.addTime, sa.useTime], [1_795_000_000, 1_795_000_001]);
  assert.deepEqual([sa.replayThreshold, sa.timerThreshold], [64, 100]);
});

Deno.test("ESN carries into the upper half", () => {
  const replay = new XfrmReplay();
  Object.assign(replay, { kind: 2, oseq: 2 ** 32 + 5, seq: 2 ** 33 + 7, words: 4, window: 128 });
  const sa = takeover(dumped(), DUMPED.length, replay);
  assert.equal(sa.replay.kind, 2);
  assert.deepEqual([sa.replay.oseq, sa.replay.seq], [2 ** 32 + 5, 2 ** 33 + 7]);
  assert.deepEqual([sa.replay.words, sa.replay.window], [4, 128]);
});

Deno.test("a body whose attributes do not fit makes no takeover's body", () => {
  const from = dumped();
  from.view.setUint16(AT + 224, 0xffff, true);
  const out = newRegion(4096);
  const lifetime = { bytes: 0, packets: 0, addTime: 1, useTime: 0 };
  const replay = new XfrmReplay();
  assert.equal(
    writeTakeoverSa(from, AT, DUMPED.length, replay, lifetime, 0, 0, out, 0),
    -Fault.Field,
  );
});
