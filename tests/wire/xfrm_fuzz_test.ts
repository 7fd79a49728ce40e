/**
 * Hostile NETLINK_XFRM: every captured message cut at every byte, with every bit flipped and with wild
 * lengths, and seeded garbage. No reader throws, none looks beside the message, none takes a bitmap, a
 * key or a list beyond what its record holds.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { Nlmsg, NLMSG_HEADER_SIZE, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { XfrmMsg } from "../../src/wire/netlink/xfrm.ts";
import {
  readAevent,
  readAeventBody,
  writeAeventBody,
  XfrmAevent,
} from "../../src/wire/netlink/xfrm_aevent.ts";
import { KEY_BYTES_MAX } from "../../src/wire/netlink/xfrm_algorithm.ts";
import {
  readAcquire,
  readMapping,
  readMigrate,
  readReport,
  XfrmAcquire,
  XfrmMapping,
  XfrmMigrate,
  XfrmReport,
} from "../../src/wire/netlink/xfrm_event.ts";
import { readSadInfo, readSpdInfo, SadInfo, SpdInfo } from "../../src/wire/netlink/xfrm_info.ts";
import {
  policyKey,
  readPolicy,
  readPolicyBody,
  readPolicyFlush,
  setPolicyAction,
  XfrmPolicy,
} from "../../src/wire/netlink/xfrm_policy.ts";
import {
  addLifetime,
  readSa,
  readSaBody,
  readSaFlush,
  writeSa,
  XfrmSa,
} from "../../src/wire/netlink/xfrm_sa.ts";
import { assertHardy } from "./kernel_message.ts";
import { AEVENTS, SAS, WRITTEN } from "./xfrm_vectors.ts";

const SEED = 20261122;
const MESSAGES: readonly string[] = Object.values({ ...AEVENTS, ...SAS, ...WRITTEN });

const sa = new XfrmSa();
const event = new XfrmAevent();
const policy = new XfrmPolicy();
const acquire = new XfrmAcquire();
const mapping = new XfrmMapping();
const report = new XfrmReport();
const migrate = new XfrmMigrate();
const sad = new SadInfo();
const spd = new SpdInfo();
const out = newRegion(128 * 1024);

Deno.test("a message that is cut anywhere, or has any bit flipped, is refused or read", () => {
  for (const hex of MESSAGES) {
    if (parseInt(hex.slice(0, 2), 16) % 4 === 0) assertHardy(hex, readTyped);
  }
});

Deno.test("any reader takes any message", () => {
  for (const hex of MESSAGES) {
    const bytes = Uint8Array.fromHex(hex);
    for (let type = XfrmMsg.NewSa; type <= XfrmMsg.GetDefault; type++) {
      bytes[4] = type;
      const from = regionOf(bytes);
      const message = new Nlmsg();
      readNlmsg(from, 0, bytes.length, message);
      assert.ok(readTyped(from, message) <= 0);
      readBodies(from, message.at, message.end);
    }
  }
});

Deno.test("a struct that is cut, and an attribute longer than its message, are refused", () => {
  let seen = 0;
  for (const hex of MESSAGES) {
    const whole = Uint8Array.fromHex(hex);
    const head = HEADS[whole[4]!];
    if (head === undefined || whole.length < NLMSG_HEADER_SIZE + head) continue;
    seen++;
    const end = NLMSG_HEADER_SIZE + head;
    const from = newRegion(end + 4);
    from.bytes.set(whole.subarray(0, end));
    from.view.setUint16(end, 200, true);
    const message = new Nlmsg();
    const read = (size: number): number => {
      from.view.setUint32(0, size, true);
      assert.equal(readNlmsg(from, 0, size, message), size);
      return readTyped(from, message);
    };
    assert.equal(read(end - 1), -Fault.Field, hex);
    assert.equal(read(end), 0, hex);
    assert.equal(read(end + 1), -Fault.Field, hex);
    assert.equal(read(end + 4), -Fault.Field, hex);
  }
  assert.ok(seen > 50, `${seen}`);
});

Deno.test("no length of an attribute makes a reader throw or stop", () => {
  for (const hex of MESSAGES) {
    const bytes = Uint8Array.fromHex(hex);
    const from = regionOf(bytes);
    const message = new Nlmsg();
    for (let at = NLMSG_HEADER_SIZE; at + 4 <= bytes.length; at += 4) {
      const before = from.view.getUint16(at, true);
      for (const length of [0, 3, 4, 5, before - 4, before - 1, before + 1, before + 4, 0xffff]) {
        from.view.setUint16(at, length & 0xffff, true);
        readNlmsg(from, 0, bytes.length, message);
        readTyped(from, message);
        readBodies(from, message.at, message.end);
      }
      from.view.setUint16(at, before, true);
    }
    assert.equal(bytes.toHex(), hex);
  }
});

Deno.test("attributes at random, of right and wrong lengths, are refused or read", () => {
  const random = generator(SEED);
  const sizes = [0, 1, 2, 4, 8, 12, 16, 24, 32, 40, 64, 72, 76, 88, 128, 224, 600];
  let whole = 0;
  for (let round = 0; round < 6000; round++) {
    const from = newRegion(2048);
    const { bytes, view } = from;
    const { Expire, PolExpire, Acquire, DelSa } = XfrmMsg;
    const type = random() % 3 === 0
      ? [Expire, PolExpire, Acquire, DelSa][random() % 4]!
      : XfrmMsg.NewSa + random() % 25;
    const start = HEADS[type] ?? 4;
    let at = NLMSG_HEADER_SIZE + start;
    // Small numbers: a head that is right in most of its fields.
    for (let i = NLMSG_HEADER_SIZE; i < at; i++) bytes[i] = random() % 8 === 0 ? random() % 256 : 0;
    for (const family of [20, 212]) view.setUint16(NLMSG_HEADER_SIZE + family, 2, true);
    while (at < 1200 && random() % 8 !== 0) {
      const size = sizes[random() % sizes.length]!;
      view.setUint16(at, 4 + size + (random() % 30 === 0 ? random() % 9 - 4 : 0), true);
      view.setUint16(at + 2, random() % 38, true);
      for (let i = at + 4; i < at + 4 + size; i++) bytes[i] = random() % 3 === 0 ? random() % 9 : 0;
      at = (at + 4 + size + 3) & ~3;
    }
    view.setUint32(0, at, true);
    view.setUint16(4, type, true);
    const message = new Nlmsg();
    assert.equal(readNlmsg(from, 0, at, message), at);
    if (readTyped(from, message) === 0) whole++;
    readBodies(from, message.at, message.end);
  }
  assert.ok(whole > 300, `seed ${SEED}: ${whole}`); // attributes behind heads were reached
});

Deno.test("garbage is refused or read", () => {
  const random = generator(SEED);
  for (let round = 0; round < 6000; round++) {
    const bytes = new Uint8Array(random() % 700);
    for (let i = 0; i < bytes.length; i++) bytes[i] = random();
    const from = regionOf(bytes);
    const message = new Nlmsg();
    if (bytes.length >= NLMSG_HEADER_SIZE) {
      from.view.setUint32(0, bytes.length, true);
      from.view.setUint16(4, XfrmMsg.NewSa + random() % 25, true);
    }
    if (readNlmsg(from, 0, bytes.length, message) < 0) continue;
    readTyped(from, message);
    readBodies(from, random() % (bytes.length + 1), bytes.length);
  }
});

/** Bytes before the attributes. */
const HEADS: Readonly<Record<number, number>> = {
  [XfrmMsg.NewSa]: 224,
  [XfrmMsg.UpdSa]: 224,
  [XfrmMsg.DelSa]: 24,
  [XfrmMsg.Expire]: 232,
  [XfrmMsg.NewPolicy]: 168,
  [XfrmMsg.UpdPolicy]: 168,
  [XfrmMsg.DelPolicy]: 64,
  [XfrmMsg.PolExpire]: 176,
  [XfrmMsg.NewAe]: 48,
  [XfrmMsg.GetAe]: 48,
  [XfrmMsg.Acquire]: 280,
  [XfrmMsg.Mapping]: 64,
  [XfrmMsg.Report]: 60,
  [XfrmMsg.Migrate]: 64,
  [XfrmMsg.NewSadInfo]: 4,
  [XfrmMsg.NewSpdInfo]: 4,
};

/** Reads a message with the reader of its type; 0, or a negated fault. */
function readTyped(from: Region, message: Nlmsg): number {
  const status = readOne(from, message);
  if (status < 0) assert.ok(status === -Fault.Field || status === -Fault.Large, `${status}`);
  bounded();
  return Math.min(status, 0);
}

function readOne(from: Region, message: Nlmsg): number {
  switch (message.type) {
    case XfrmMsg.NewSa:
    case XfrmMsg.UpdSa:
    case XfrmMsg.DelSa:
    case XfrmMsg.Expire:
      return readSa(from, message, sa);
    case XfrmMsg.NewAe:
    case XfrmMsg.GetAe:
      return readAevent(from, message, event);
    case XfrmMsg.NewPolicy:
    case XfrmMsg.UpdPolicy:
    case XfrmMsg.DelPolicy:
    case XfrmMsg.PolExpire:
      return readPolicy(from, message, policy);
    case XfrmMsg.Acquire:
      return readAcquire(from, message, acquire);
    case XfrmMsg.Mapping:
      return readMapping(from, message, mapping);
    case XfrmMsg.Report:
      return readReport(from, message, report);
    case XfrmMsg.Migrate:
      return readMigrate(from, message, migrate);
    case XfrmMsg.NewSadInfo:
      return readSadInfo(from, message, sad);
    case XfrmMsg.NewSpdInfo:
      return readSpdInfo(from, message, spd);
    case XfrmMsg.FlushSa:
      return readSaFlush(from, message);
    case XfrmMsg.FlushPolicy:
      return readPolicyFlush(from, message);
  }
  return -Fault.Field;
}

/** All that takes a body without a header. */
function readBodies(from: Region, at: number, end: number): void {
  if (readSaBody(from, at, end, sa) === 0) {
    bounded();
    sa.id.key();
    assert.ok(writeSa(out, 0, 1, XfrmMsg.NewSa, 5, sa) > 0);
    const stop = addLifetime(from, at, end, out, 0);
    assert.ok(stop >= end - at && stop <= end - at + 3 + 36);
    assert.equal(readSaBody(out, 0, stop, sa), 0);
    assert.ok(sa.hasLifetime);
  } else bounded();
  if (readAeventBody(from, at, end, event) === 0) {
    const stop = writeAeventBody(out, 0, 1, 0, from, at, end);
    assert.ok(stop > 0 && stop <= NLMSG_HEADER_SIZE + end - at + 3);
  }
  if (readPolicyBody(from, at, end, policy) === 0) {
    policyKey(policy);
    const { action } = policy;
    assert.equal(setPolicyAction(from, at, end, action), 0);
  }
}

function bounded(): void {
  for (const { words, window, oseq, seq } of [sa.replay, event.replay]) {
    assert.ok(words <= 128 && window <= words * 32);
    assert.ok(Number.isSafeInteger(oseq) && Number.isSafeInteger(seq));
  }
  for (const { keyBits, name } of [sa.aead, sa.auth, sa.crypt, sa.comp]) {
    assert.ok(keyBits <= KEY_BYTES_MAX * 8 && /^[!-~]{0,63}$/.test(name));
  }
  assert.ok(policy.templateCount <= 6 && acquire.policy.templateCount <= 6 && migrate.count <= 6);
  for (const { bytes, packets, addTime, useTime } of [sa, event, policy]) {
    for (const value of [bytes, packets, addTime, useTime]) assert.ok(Number.isSafeInteger(value));
  }
}

/** Numbers below 2^32 from a seed: xorshift32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
