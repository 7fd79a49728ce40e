/**
 * Commands and events of `mptcp_pm` allocate nothing, written and read: under 2 bytes a call
 * once they are compiled, measured by V8 itself.
 *
 * @module
 */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { arena, take } from "../../src/mem/arena.ts";
import { parseInet } from "../../src/wire/inet.ts";
import { NetlinkError, readError } from "../../src/wire/netlink/error.ts";
import { MptcpEvent, readMptcpEvent } from "../../src/wire/netlink/mptcp_event.ts";
import {
  PmAddress,
  PmLimits,
  PmRequest,
  readEndpoint,
  readLimits,
  readPmRequest,
  writeAddEndpoint,
  writeAnnounce,
  writeDeleteEndpoint,
  writeDumpEndpoints,
  writeFlushEndpoints,
  writeGetEndpoint,
  writeGetLimits,
  writeRemove,
  writeSetEndpointFlags,
  writeSetFlags,
  writeSetLimits,
  writeSubflowCreate,
  writeSubflowDestroy,
} from "../../src/wire/netlink/mptcp_pm.ts";
import { Nlmsg, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { ERRORS, EVENTS, type NetlinkVector, REPLIES, REQUESTS } from "./netlink_vectors.ts";

const CALLS = 250_000;
/** Of {@linkcode CALLS} each: code is compiled, and made anew for other callers, in the first ones. */
const ROUNDS = 12;
/** The measurement itself takes up to 256 KiB a round: what is left of the page that is allocated in. */
const BYTES_MAX = 2;
const FAMILY = 28;
/** Above 2^31, as half of all tokens are. */
const TOKEN = 0xfedcba98;
const at = take(4096);

const local = new PmAddress();
local.family = parseInet("fd09:2::1", local.address);
local.id = 11;
local.port = 48907;
local.flags = 4;
local.interfaceIndex = 2;
const remote = new PmAddress();
remote.family = parseInet("10.9.2.2", remote.address);
remote.port = 6001;
const limits = Object.assign(new PmLimits(), { addresses: 3, subflows: 4 });

const COMMANDS: Record<string, (sequence: number) => number> = {
  writeAnnounce: (sequence) => writeAnnounce(arena, at, FAMILY, sequence, TOKEN, local),
  writeRemove: (sequence) => writeRemove(arena, at, FAMILY, sequence, TOKEN, 7),
  writeSubflowCreate: (sequence) =>
    writeSubflowCreate(arena, at, FAMILY, sequence, TOKEN, local, remote),
  writeSubflowDestroy: (sequence) =>
    writeSubflowDestroy(arena, at, FAMILY, sequence, TOKEN, local, remote),
  writeSetFlags: (sequence) => writeSetFlags(arena, at, FAMILY, sequence, TOKEN, local, remote),
  writeSetEndpointFlags: (sequence) => writeSetEndpointFlags(arena, at, FAMILY, sequence, local),
  writeAddEndpoint: (sequence) => writeAddEndpoint(arena, at, FAMILY, sequence, local),
  writeDeleteEndpoint: (sequence) => writeDeleteEndpoint(arena, at, FAMILY, sequence, local),
  writeFlushEndpoints: (sequence) => writeFlushEndpoints(arena, at, FAMILY, sequence),
  writeGetEndpoint: (sequence) => writeGetEndpoint(arena, at, FAMILY, sequence, TOKEN, 7),
  writeDumpEndpoints: (sequence) => writeDumpEndpoints(arena, at, FAMILY, sequence, TOKEN),
  writeSetLimits: (sequence) => writeSetLimits(arena, at, FAMILY, sequence, limits),
  writeGetLimits: (sequence) => writeGetLimits(arena, at, FAMILY, sequence),
};

Deno.test.each(Object.keys(COMMANDS).map((name) => ({ name })))(
  "$name() allocates nothing",
  ({ name }) => {
    const write = COMMANDS[name]!;
    const message = new Nlmsg();
    perCall((index) => {
      readNlmsg(arena, at, write(index), message);
      return message.sequence;
    });
  },
);

Deno.test("readMptcpEvent() of every captured event allocates nothing", () => {
  const event = new MptcpEvent();
  readAll(EVENTS, (message) => readMptcpEvent(arena, message.at, message.end, event));
});

Deno.test("readPmRequest() of every captured request allocates nothing", () => {
  const request = new PmRequest();
  readAll(REQUESTS, (message) => readPmRequest(arena, message.at, message.end, request));
});

Deno.test("readEndpoint() and readLimits() of every captured answer allocate nothing", () => {
  const endpoint = new PmAddress();
  const found = new PmLimits();
  const [limited, addressed] = [true, false].map((is) =>
    REPLIES.filter(({ label }) => label.startsWith("GET_LIMITS") === is)
  );
  readAll(addressed!, (message) => readEndpoint(arena, message.at, message.end, endpoint));
  readAll(limited!, (message) => readLimits(arena, message.at, message.end, found));
});

Deno.test("readError() of every captured answer allocates nothing", () => {
  const error = new NetlinkError();
  readAll(ERRORS, (message) => readError(arena, message, error));
});

/** Reads all of them in turn, again and again. */
function readAll(vectors: readonly NetlinkVector[], read: (message: Nlmsg) => number): void {
  const starts: number[] = [];
  const area = take(vectors.length * 512);
  for (const [index, { hex }] of vectors.entries()) {
    const start = area + index * 512;
    const bytes = Uint8Array.fromHex(hex);
    arena.bytes.set(bytes, start);
    starts.push(start);
  }
  const message = new Nlmsg();
  perCall((index) => {
    const start = starts[index % starts.length]!;
    const next = readNlmsg(arena, start, start + arena.view.getUint32(start, true), message);
    return next > 0 && read(message) === message.end ? index : -1;
  });
}

/** Runs `call` until a round allocates nothing; its result must be what it got. */
function perCall(call: (index: number) => number): void {
  let bytes = Infinity;
  for (let round = 0; round < ROUNDS && bytes >= BYTES_MAX; round++) {
    const before = allocated();
    let wrong = 0;
    for (let index = 0; index < CALLS; index++) if (call(index) !== index) wrong++;
    bytes = (allocated() - before) / CALLS;
    assert.equal(wrong, 0);
  }
  assert.ok(bytes < BYTES_MAX, `${bytes} bytes a call`);
}

function allocated(): number {
  return (getHeapStatistics() as unknown as { total_allocated_bytes: number })
    .total_allocated_bytes;
}
