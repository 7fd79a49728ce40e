/**
 * Hostile netlink: every captured message cut at every byte, with every bit flipped and with wild
 * lengths, and seeded garbage. No decoder throws, none reads before or behind the message, and each
 * attribute moves on. What lies around the message is filled in three ways: one that looks at it
 * answers differently.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, type Region } from "../../src/mem/region.ts";
import { Attribute, readAttribute } from "../../src/wire/netlink/attribute.ts";
import { errorText, NetlinkError, readError } from "../../src/wire/netlink/error.ts";
import { GenericFamily, readFamily } from "../../src/wire/netlink/generic.ts";
import { MptcpEvent, readMptcpEvent } from "../../src/wire/netlink/mptcp_event.ts";
import {
  PmAddress,
  PmLimits,
  PmRequest,
  readEndpoint,
  readLimits,
  readPmRequest,
} from "../../src/wire/netlink/mptcp_pm.ts";
import {
  Nlmsg,
  NLMSG_HEADER_SIZE,
  NlmsgFlag,
  NlmsgType,
  readNlmsg,
} from "../../src/wire/netlink/nlmsg.ts";
import { ERRORS, EVENTS, GET_FAMILY, NEW_FAMILY, REPLIES, REQUESTS } from "./netlink_vectors.ts";

/** Where messages begin in the memory. */
const START = 64;
const MESSAGE_BYTES_MAX = 512;
const SEED = 20261121;

const MESSAGES: readonly Uint8Array[] = [
  GET_FAMILY,
  NEW_FAMILY,
  ...[EVENTS, REQUESTS, REPLIES, ERRORS].flat().map(({ hex }) => hex),
].map((hex) => Uint8Array.fromHex(hex));

/** The same memory with different surroundings. */
const AROUND = [0x00, 0x05, 0xff].map((value) => {
  const region = newRegion(START + MESSAGE_BYTES_MAX + 64);
  return { region, value };
});

const message = new Nlmsg();
const attribute = new Attribute();
const error = new NetlinkError();
const family = new GenericFamily();
const event = new MptcpEvent();
const endpoint = new PmAddress();
const limits = new PmLimits();
const request = new PmRequest();

Deno.test("a message that is cut anywhere is refused or read up to there", () => {
  for (const bytes of MESSAGES) {
    for (let length = 0; length < bytes.length; length++) {
      assert.equal(hostile(bytes.subarray(0, length)), -Fault.Field);
      if (length < NLMSG_HEADER_SIZE) continue;
      const cut = bytes.slice(0, length);
      new DataView(cut.buffer).setUint32(0, length, true); // nlmsg_len says so too
      assert.ok(hostile(cut) > 0);
    }
  }
});

Deno.test("no flipped bit makes a decoder throw, stray or stop", () => {
  for (const bytes of MESSAGES) {
    const flipped = bytes.slice();
    for (let bit = 0; bit < flipped.length * 8; bit++) {
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      hostile(flipped);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
    }
    assert.deepEqual(flipped, bytes);
  }
});

Deno.test("no length of an attribute, of a nest or of a message makes a decoder throw, stray or stop", () => {
  const wild = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 255, 0x7fff, 0xfff0, 0xffff];
  for (const bytes of MESSAGES) {
    for (let at = 0; at + 4 <= bytes.length; at += 4) {
      const changed = bytes.slice();
      const view = new DataView(changed.buffer);
      for (const near of [-8, -5, -4, -1, 1, 4, 5]) {
        view.setUint16(at, bytes[at]! + near, true);
        hostile(changed);
      }
      for (const length of wild) {
        view.setUint16(at, length, true);
        hostile(changed);
      }
      view.setUint32(at, 0xffffffff, true);
      hostile(changed);
    }
  }
});

Deno.test("garbage is refused or skipped", () => {
  const random = generator(SEED);
  let read = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = new Uint8Array(random() % 200);
    for (let index = 0; index < bytes.length; index++) bytes[index] = random();
    if (bytes.length >= NLMSG_HEADER_SIZE && round % 2 === 1) {
      new DataView(bytes.buffer).setUint32(0, bytes.length, true);
    }
    if (hostile(bytes) > 0) read++;
  }
  assert.ok(read > 1000, `seed ${SEED}: ${read}`); // the decoders behind the header were reached
});

Deno.test("attributes at random, nested at random, are refused or read", () => {
  const random = generator(SEED);
  let whole = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = new Uint8Array(MESSAGE_BYTES_MAX);
    const view = new DataView(bytes.buffer);
    view.setUint16(4, random() % 4 === 0 ? random() % 4 : 28, true);
    view.setUint16(6, random() % 4 === 0 ? NlmsgFlag.AckTlvs | NlmsgFlag.Capped : 0, true);
    bytes[16] = 1 + random() % 16;
    const end = randomAttributes(random, bytes, 20, 200, 0);
    view.setUint32(0, end, true);
    hostile(bytes.subarray(0, end));
    if (readMptcpEvent(AROUND[0]!.region, START + 16, START + end, event) > 0) whole++;
  }
  assert.ok(whole > 100, `seed ${SEED}: ${whole}`);
});

/**
 * Reads a datagram with everything there is, in every surrounding; returns where its first message
 * ends, or the fault. Answers must not depend on what lies around it.
 */
function hostile(bytes: Uint8Array): number {
  let first = "";
  let status = 0;
  const end = START + bytes.length;
  for (const { region, value } of AROUND) {
    region.bytes.fill(value);
    region.bytes.set(bytes, START);
    status = readNlmsg(region, START, end, message);
    const said = readAll(region, end);
    if (first === "") first = said;
    if (said !== first) assert.equal(said, first, bytes.toHex());
  }
  return status;
}

function readAll(from: Region, end: number): string {
  let said = "";
  let count = 0;
  for (let at = START; at < end; count++) {
    assert.ok(count <= MESSAGE_BYTES_MAX / NLMSG_HEADER_SIZE);
    at = readNlmsg(from, at, end, message);
    if (at < 0) {
      said += `${fault(at)};`;
      break;
    }
    assert.ok(message.at <= message.end && message.end <= end);
    said += readMessage(from);
  }
  // A payload is read whatever its header says.
  message.at = Math.min(START + NLMSG_HEADER_SIZE, end);
  message.end = end;
  message.type = NlmsgType.Error;
  message.flags = NlmsgFlag.AckTlvs;
  return said + readMessage(from);
}

/** What every decoder says of a message, with what it read where it read it whole. */
function readMessage(from: Region): string {
  const { at, end } = message;
  walk(from, at, end, 0);
  let said = "";
  let status = readError(from, message, error);
  said += status < 0 ? fault(status) : `${error.error} ${error.offset} ${errorText(from, error)}`;
  status = readFamily(from, at, end, family);
  said += status < 0 ? fault(status) : `${family.id} ${family.name} ${[...family.groups]}`;
  status = readMptcpEvent(from, at, end, event);
  said += status < 0 ? fault(status) : `${event.token} ${event.local} ${event.remote}` +
    `${event.localPort} ${event.localId} ${event.remoteId} ${event.flags} ${event.resetReason}`;
  status = readEndpoint(from, at, end, endpoint);
  said += status < 0 ? fault(status) : `${endpoint.address} ${endpoint.flags} ${endpoint.port}`;
  status = readLimits(from, at, end, limits);
  said += status < 0 ? fault(status) : `${limits.addresses} ${limits.subflows}`;
  status = readPmRequest(from, at, end, request);
  said += status < 0 ? fault(status) : `${request.token} ${request.localId} ${request.local.id}` +
    `${request.local.address} ${request.remote.address} ${request.remote.flags}`;
  return said;
}

/** Every attribute moves on and lies within what holds it; all are taken for nests. */
function walk(from: Region, at: number, end: number, depth: number): void {
  while (at < end) {
    const next = readAttribute(from, at, end, attribute);
    if (next < 0) return;
    assert.ok(next > at && next <= end);
    assert.ok(attribute.at === at + 4 && attribute.end >= attribute.at && attribute.end <= end);
    if (depth < 4) walk(from, attribute.at, attribute.end, depth + 1);
    at = next;
  }
}

function fault(status: number): string {
  assert.ok(status === -Fault.Field || status === -Fault.Large);
  return `${lastFault.field} ${lastFault.at} ${lastFault.value}`;
}

/** Writes attributes of types up to 20 up to `end`, mostly of right lengths; returns where they end. */
function randomAttributes(
  random: () => number,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
  depth: number,
): number {
  const view = new DataView(bytes.buffer);
  while (at < end && random() % 12 !== 0) {
    const type = random() % 20;
    view.setUint16(at + 2, type, true);
    let next = at + 4 + [4, 4, 4, 16, 1, 2][random() % 6]!;
    for (let index = at + 4; index < next; index++) bytes[index] = random() % 12;
    if (depth < 3 && random() % 4 === 0) {
      next = randomAttributes(random, bytes, at + 4, end, depth + 1);
    }
    view.setUint16(at, random() % 40 === 0 ? random() % 64 : next - at, true);
    at = (next + 3) & ~3;
  }
  return at;
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
