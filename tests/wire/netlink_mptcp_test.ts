/** The family `mptcp_pm`: requests byte for byte as the kernel took them, answers, and events. */
import assert from "node:assert/strict";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { Family, formatInet, parseInet } from "../../src/wire/inet.ts";
import {
  beginNest,
  endNest,
  writeBytes,
  writeU16,
  writeU16Be,
  writeU32,
  writeU8,
} from "../../src/wire/netlink/attribute.ts";
import { beginGeneric } from "../../src/wire/netlink/generic.ts";
import {
  MptcpEvent,
  MptcpEventFlag,
  MptcpEventType,
  readMptcpEvent,
} from "../../src/wire/netlink/mptcp_event.ts";
import {
  PM_EVENTS_GROUP,
  PM_FAMILY,
  PM_REQUEST_BYTES,
  PmAddress,
  PmCommand,
  PmFlag,
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
import {
  endNlmsg,
  Nlmsg,
  NLMSG_HEADER_SIZE,
  NlmsgFlag,
  readNlmsg,
} from "../../src/wire/netlink/nlmsg.ts";
import { EVENTS, type NetlinkFields, NEW_FAMILY, REPLIES, REQUESTS } from "./netlink_vectors.ts";

/** The family's number on the machine of the vectors. */
const FAMILY = 28;
/** A request that no program would send: what the kernel says to a command without attributes. */
const EMPTY = "SUBFLOW_CREATE error: empty";

Deno.test("every captured request is the same after it was read and written", () => {
  for (const { label, hex } of REQUESTS) {
    if (label === EMPTY) continue;
    const { from, message } = messageOf(hex);
    const request = new PmRequest();
    assert.equal(readPmRequest(from, message.at, message.end, request), message.end, label);
    const out = filled(256);
    const end = writeAgain(out, 8, message, request);
    assert.equal(out.bytes.subarray(8, end).toHex(), hex, label);
    assert.equal(out.bytes[end], 0xa5, label);
    assert.ok(end - 8 <= PM_REQUEST_BYTES, label);
  }
});

Deno.test("what a captured request holds is read", () => {
  const request = new PmRequest();
  for (const { label, hex, fields } of REQUESTS) {
    const { from, message } = messageOf(hex);
    assert.equal(readPmRequest(from, message.at, message.end, request), message.end, label);
    const found = requestFields(request) as Record<string, unknown>;
    for (const [name, value] of Object.entries(fields)) {
      assert.equal(found[name], value, `${label}: ${name}`);
    }
    const command = label.split(" ")[0]!.toLowerCase().replaceAll("_", "");
    const name = Object.entries(PmCommand).find(([, number]) => number === request.command)![0];
    assert.equal(name.toLowerCase(), command);
  }
});

Deno.test("the captured requests hold every command, and both forms of SET_FLAGS and GET_ADDR", () => {
  const found = new Set<string>();
  for (const { hex } of REQUESTS) {
    const { from, message } = messageOf(hex);
    const request = new PmRequest();
    readPmRequest(from, message.at, message.end, request);
    found.add(`${request.command}`);
    found.add(`${request.command} ${request.token === 0 ? "endpoint" : "connection"}`);
  }
  for (const command of Object.values(PmCommand)) assert.ok(found.has(`${command}`), `${command}`);
  for (const command of [PmCommand.SetFlags, PmCommand.GetAddr]) {
    assert.ok(found.has(`${command} endpoint`) && found.has(`${command} connection`));
  }
});

Deno.test("the longest request there is fills PM_REQUEST_BYTES", () => {
  const local = addressOf("fd09:2::1", { id: 255, port: 65535, flags: 63, interfaceIndex: 7 });
  const remote = addressOf("fd09:2::2", { id: 254, port: 1, flags: 0, interfaceIndex: 8 });
  const out = filled(256);
  const end = writeSubflowCreate(out, 0, FAMILY, 1, 0xffffffff, local, remote);
  assert.equal(end, PM_REQUEST_BYTES);
  const request = new PmRequest();
  assert.equal(readPmRequest(out, NLMSG_HEADER_SIZE, end, request), end);
  assert.equal(request.token, 0xffffffff);
  assert.deepEqual([request.local, request.remote], [local, remote]);
});

Deno.test("an IPv4 peer of an IPv6 socket keeps its mapped form", () => {
  const local = addressOf("::ffff:10.9.2.1", { port: 48907 });
  const remote = addressOf("::ffff:10.9.2.2", { port: 6001 });
  const out = filled(256);
  const end = writeSubflowDestroy(out, 0, FAMILY, 1, 5, local, remote);
  const request = new PmRequest();
  readPmRequest(out, NLMSG_HEADER_SIZE, end, request);
  assert.equal(request.local.family, Family.Inet6);
  assert.equal(formatInet(request.remote.family, request.remote.address), "::ffff:10.9.2.2");
});

Deno.test("endpoint 0 is deleted by id and address", () => {
  const out = filled(256);
  const endpoint = addressOf("10.9.2.1", { id: 0 });
  const end = writeDeleteEndpoint(out, 0, FAMILY, 1, endpoint);
  const request = new PmRequest();
  assert.equal(readPmRequest(out, NLMSG_HEADER_SIZE, end, request), end);
  assert.deepEqual(request.local, endpoint);
});

Deno.test("an answer to GET_ADDR is read, from a dump as alone", () => {
  const endpoint = new PmAddress();
  let count = 0;
  for (const { label, hex, fields } of REPLIES) {
    if (!label.startsWith("GET_ADDR")) continue;
    const { from, message } = messageOf(hex);
    assert.equal(readEndpoint(from, message.at, message.end, endpoint), message.end, label);
    assert.deepEqual(without(addressFields(endpoint)), fields, label);
    count++;
  }
  assert.equal(count, 7);
});

Deno.test("an answer to GET_LIMITS is read", () => {
  const { hex, fields } = REPLIES.find(({ label }) => label.startsWith("GET_LIMITS"))!;
  const { from, message } = messageOf(hex);
  const limits = new PmLimits();
  assert.equal(readLimits(from, message.at, message.end, limits), message.end);
  assert.deepEqual({ ...limits }, fields);
});

Deno.test("an answer that lacks what was asked for is refused", () => {
  const { from, message } = messageOf("140000001c00000001000000000000000301000000000000");
  assert.equal(readEndpoint(from, message.at, message.end, new PmAddress()), -Fault.Field);
  assert.equal(lastFault.field, "MPTCP_PM_ATTR_ADDR");
  for (const only of [{ addresses: 2, subflows: -1 }, { addresses: -1, subflows: 2 }]) {
    const out = filled(64);
    const end = writeSetLimits(out, 0, FAMILY, 1, only);
    assert.equal(readLimits(out, NLMSG_HEADER_SIZE, end, new PmLimits()), -Fault.Field);
  }
  const out = filled(256);
  for (const address of [addressOf("10.9.2.1", {}), Object.assign(new PmAddress(), { id: 3 })]) {
    const end = writeAddEndpoint(out, 0, FAMILY, 1, address);
    assert.equal(readEndpoint(out, NLMSG_HEADER_SIZE, end, new PmAddress()), -Fault.Field);
  }
});

Deno.test("nothing of the address that was read before stays in the record", () => {
  const endpoint = addressOf("fd09:2::1", { id: 9, port: 5, flags: 4, interfaceIndex: 3 });
  const { hex } = REPLIES.find(({ fields }) => fields.local === "10.9.2.1")!;
  const { from, message } = messageOf(hex);
  readEndpoint(from, message.at, message.end, endpoint);
  assert.equal(endpoint.address.toHex(), "0a090201" + "00".repeat(12));
  assert.deepEqual([endpoint.port, endpoint.interfaceIndex], [0, 0]);
});

Deno.test("every captured event is read whole", () => {
  const event = new MptcpEvent();
  for (const { label, hex, fields } of EVENTS) {
    const { from, message } = messageOf(hex);
    assert.equal(message.type, FAMILY);
    assert.equal(readMptcpEvent(from, message.at, message.end, event), message.end, label);
    const wanted = { ...fields };
    // ANNOUNCED has no attribute for the family: the form of the address tells it.
    if (event.type === MptcpEventType.Announced) {
      Object.assign(wanted, { family: fields.remote!.includes(":") ? Family.Inet6 : Family.Inet });
    }
    if (wanted.backup === 0) delete (wanted as { backup?: number }).backup;
    assert.deepEqual(without(eventFields(event)), wanted, label);
    const name = label.split(" ")[0]!.replaceAll("_", "").toLowerCase();
    const type = Object.entries(MptcpEventType).find(([, number]) => number === event.type)![0];
    assert.equal(type.toLowerCase(), name);
  }
});

Deno.test("every captured event is the same after it was read and written", () => {
  for (const { label, hex } of EVENTS) {
    const { from, message } = messageOf(hex);
    const event = new MptcpEvent();
    readMptcpEvent(from, message.at, message.end, event);
    const out = filled(256);
    const end = writeEvent(out, event);
    assert.equal(out.bytes.subarray(0, end).toHex(), hex, label);
  }
});

Deno.test("an event's attributes may come in any order, and unknown ones among them", () => {
  const out = filled(256);
  let at = beginGeneric(out, 0, FAMILY, 0, 0, MptcpEventType.Removed, 1);
  at = writeU32(out, at, 200, 9);
  at = writeU8(out, at, 4, 7);
  at = writeU32(out, at, 14, 9); // MPTCP_ATTR_TIMEOUT
  at = writeU32(out, at, 1, 0xfedcba98);
  const event = new MptcpEvent();
  assert.equal(readMptcpEvent(out, NLMSG_HEADER_SIZE, at, event), at);
  assert.deepEqual([event.token, event.remoteId, event.localId], [0xfedcba98, 7, -1]);
});

Deno.test("a subflow that the peer reset tells why, and to which device it was bound", () => {
  const out = filled(256);
  let at = beginGeneric(out, 0, FAMILY, 0, 0, MptcpEventType.SubClosed, 1);
  at = writeU32(out, at, 1, 5);
  at = writeBytes(out, at, 5, Uint8Array.of(10, 9, 1, 1), 4);
  at = writeBytes(out, at, 7, Uint8Array.of(10, 9, 1, 2), 4);
  at = writeU8(out, writeU8(out, at, 3, 1), 4, 2);
  at = writeU8(out, at, 12, 104);
  at = writeU32(out, writeU32(out, writeU32(out, at, 15, 3), 16, 5), 17, 1);
  const event = new MptcpEvent();
  assert.equal(readMptcpEvent(out, NLMSG_HEADER_SIZE, at, event), at);
  assert.equal(event.family, Family.Inet);
  assert.deepEqual([event.error, event.interfaceIndex], [104, 3]);
  assert.deepEqual([event.resetReason, event.resetFlags], [5, 1]);
});

Deno.test("a kernel that tells the server side only by the older attribute is understood", () => {
  const read = (serverSide: number | null, flags: number | null): number => {
    const out = filled(256);
    let at = beginGeneric(out, 0, FAMILY, 0, 0, MptcpEventType.Created, 1);
    if (serverSide !== null) at = writeU8(out, at, 18, serverSide);
    if (flags !== null) at = writeU16(out, at, 13, flags);
    at = writeU32(out, at, 1, 5);
    at = writeBytes(out, at, 5, new Uint8Array(4), 4);
    at = writeBytes(out, at, 7, new Uint8Array(4), 4);
    const event = new MptcpEvent();
    assert.equal(readMptcpEvent(out, NLMSG_HEADER_SIZE, at, event), at);
    return event.flags;
  };
  const { DenyJoinId0, ServerSide } = MptcpEventFlag;
  assert.equal(read(null, null), 0);
  assert.equal(read(0, null), 0);
  assert.equal(read(1, null), ServerSide);
  assert.equal(read(1, DenyJoinId0), ServerSide | DenyJoinId0);
  assert.equal(read(null, ServerSide | DenyJoinId0), ServerSide | DenyJoinId0);
});

Deno.test("an event without what it is about is refused", () => {
  const whole: Record<number, number[]> = {
    [MptcpEventType.Created]: [1, 5, 7],
    [MptcpEventType.Established]: [1, 5, 7],
    [MptcpEventType.Closed]: [1],
    [MptcpEventType.Announced]: [1, 4, 7],
    [MptcpEventType.Removed]: [1, 4],
    [MptcpEventType.SubEstablished]: [1, 3, 4, 5, 7],
    [MptcpEventType.SubClosed]: [1, 3, 4, 5, 7],
    [MptcpEventType.SubPriority]: [1, 3, 4, 5, 7],
    [MptcpEventType.ListenerCreated]: [5],
    [MptcpEventType.ListenerClosed]: [5],
  };
  const read = (type: number, attributes: readonly number[]): number => {
    const out = filled(256);
    let at = beginGeneric(out, 0, FAMILY, 0, 0, type, 1);
    for (const attribute of attributes) at = writeU32(out, at, attribute, 1);
    const status = readMptcpEvent(out, NLMSG_HEADER_SIZE, at, new MptcpEvent());
    return status === at ? 0 : status;
  };
  for (const type of Object.values(MptcpEventType)) {
    const attributes = whole[type]!;
    assert.equal(read(type, attributes), 0, `${type}`);
    for (const left of attributes) {
      assert.equal(read(type, attributes.filter((one) => one !== left)), -Fault.Field, `${type}`);
      assert.equal(lastFault.value, left);
    }
  }
  assert.equal(read(99, []), 0); // what a later kernel tells is for the caller to skip
});

Deno.test("addresses of two families in one record are refused", () => {
  const out = filled(256);
  const mixed: [number, number][] = [[5, 8], [6, 7], [7, 6]];
  for (const [first, second] of mixed) {
    let at = beginGeneric(out, 0, FAMILY, 0, 0, MptcpEventType.Created, 1);
    for (const type of [first, second]) {
      at = writeBytes(out, at, type, new Uint8Array(16), type % 2 === 1 ? 4 : 16);
    }
    assert.equal(readMptcpEvent(out, NLMSG_HEADER_SIZE, at, new MptcpEvent()), -Fault.Field);
    assert.equal(lastFault.expected, "that of the addresses");
  }
  for (const family of [0, 1, 10]) {
    const nest = beginGeneric(out, 0, FAMILY, 0, 0, PmCommand.GetAddr, 1);
    let at = writeU16(out, beginNest(out, nest, 1), 1, family);
    at = endNest(out, nest, writeBytes(out, at, 3, new Uint8Array(4), 4));
    assert.equal(readEndpoint(out, NLMSG_HEADER_SIZE, at, new PmAddress()), -Fault.Field);
    assert.equal(lastFault.field, "family");
  }
});

Deno.test("an attribute that is too short is refused in events and in answers", () => {
  const widths = new Map([
    [1, 4],
    [2, 2],
    [3, 1],
    [4, 1],
    [5, 4],
    [6, 16],
    [7, 4],
    [8, 16],
    [9, 2],
    [10, 2],
    [11, 1],
    [12, 1],
    [13, 2],
    [15, 4],
    [16, 4],
    [17, 4],
    [18, 1],
  ]);
  const out = filled(256);
  for (const [type, width] of widths) {
    for (let size = 0; size < width; size++) {
      const at = beginGeneric(out, 0, FAMILY, 0, 0, MptcpEventType.Closed, 1);
      const end = writeBytes(out, at, type, new Uint8Array(16), size);
      assert.equal(readMptcpEvent(out, NLMSG_HEADER_SIZE, end, new MptcpEvent()), -Fault.Field);
      assert.equal(lastFault.field, `length of attribute ${type}`);
    }
  }
  for (const [type, width] of [[1, 2], [2, 1], [3, 4], [4, 16], [5, 2], [6, 4], [7, 4]] as const) {
    for (let size = 0; size < width; size++) {
      const nest = beginGeneric(out, 0, FAMILY, 0, 0, PmCommand.GetAddr, 1);
      const inner = beginNest(out, nest, 1);
      const end = endNest(out, nest, writeBytes(out, inner, type, new Uint8Array(16), size));
      assert.equal(readEndpoint(out, NLMSG_HEADER_SIZE, end, new PmAddress()), -Fault.Field);
      assert.equal(lastFault.field, `length of attribute ${type}`);
    }
  }
});

Deno.test("the names of the family and of its group are those that nlctrl tells", () => {
  const text = new TextDecoder("latin1").decode(Uint8Array.fromHex(NEW_FAMILY));
  assert.ok(text.includes(`${PM_FAMILY}\0`) && text.includes(`${PM_EVENTS_GROUP}\0`));
});

Deno.test("flags have the numbers that the captured endpoints have", () => {
  const full = REPLIES.find(({ fields }) => fields.localId === 6)!;
  assert.equal(full.fields.flags, PmFlag.Subflow | PmFlag.Fullmesh);
  const announced = REQUESTS.find(({ label }) => label.startsWith("ANNOUNCE v4 announce"))!;
  assert.equal(announced.fields.flags, PmFlag.Signal);
  const backup = REQUESTS.find(({ label }) => label === "SET_FLAGS v4 set backup")!;
  assert.equal(backup.fields.flags, PmFlag.Backup);
});

/** Writes what was read by the writer that its command belongs to. */
function writeAgain(out: Region, at: number, message: Nlmsg, request: PmRequest): number {
  const { type, sequence, flags } = message;
  const { token, local, remote, limits, localId } = request;
  switch (request.command) {
    case PmCommand.AddAddr:
      return writeAddEndpoint(out, at, type, sequence, local);
    case PmCommand.DelAddr:
      return writeDeleteEndpoint(out, at, type, sequence, local);
    case PmCommand.GetAddr:
      return (flags & NlmsgFlag.Dump) === NlmsgFlag.Dump
        ? writeDumpEndpoints(out, at, type, sequence, token)
        : writeGetEndpoint(out, at, type, sequence, token, local.id);
    case PmCommand.FlushAddrs:
      return writeFlushEndpoints(out, at, type, sequence);
    case PmCommand.SetLimits:
      return writeSetLimits(out, at, type, sequence, limits);
    case PmCommand.GetLimits:
      return writeGetLimits(out, at, type, sequence);
    case PmCommand.SetFlags:
      return token === 0
        ? writeSetEndpointFlags(out, at, type, sequence, local)
        : writeSetFlags(out, at, type, sequence, token, local, remote);
    case PmCommand.Announce:
      return writeAnnounce(out, at, type, sequence, token, local);
    case PmCommand.Remove:
      return writeRemove(out, at, type, sequence, token, localId);
    case PmCommand.SubflowCreate:
      return writeSubflowCreate(out, at, type, sequence, token, local, remote);
    case PmCommand.SubflowDestroy:
      return writeSubflowDestroy(out, at, type, sequence, token, local, remote);
  }
  throw new Error(`Cannot write command as it has no writer: current value is ${request.command}`);
}

/** Writes an event as the kernel does: which attributes, in which order. */
function writeEvent(out: Region, event: MptcpEvent): number {
  const { type, family, local, remote } = event;
  const inet = family === Family.Inet;
  const size = inet ? 4 : 16;
  const announced = type === MptcpEventType.Announced;
  const listener = type === MptcpEventType.ListenerCreated ||
    type === MptcpEventType.ListenerClosed;
  let at = beginGeneric(out, 0, FAMILY, 0, 0, type, 1);
  if (!listener) at = writeU32(out, at, 1, event.token);
  if ((event.flags & MptcpEventFlag.ServerSide) !== 0) at = writeU8(out, at, 18, 1);
  if (event.flags !== 0) at = writeU16(out, at, 13, event.flags);
  if (announced || type === MptcpEventType.Removed) at = writeU8(out, at, 4, event.remoteId);
  if (announced) {
    at = writeU16Be(out, at, 10, event.remotePort);
    at = writeBytes(out, at, inet ? 7 : 8, remote, size);
  } else if (listener) {
    at = writeU16Be(out, writeU16(out, at, 2, family), 9, event.localPort);
    at = writeBytes(out, at, inet ? 5 : 6, local, size);
  } else if (family !== Family.None) {
    at = writeBytes(out, writeU16(out, at, 2, family), inet ? 5 : 6, local, size);
    at = writeBytes(out, at, inet ? 7 : 8, remote, size);
    at = writeU16Be(out, writeU16Be(out, at, 9, event.localPort), 10, event.remotePort);
    at = writeU8(out, writeU8(out, at, 3, event.localId), 4, event.remoteId);
    if (type >= MptcpEventType.SubEstablished) at = writeU8(out, at, 11, event.backup);
    if (event.error !== 0) at = writeU8(out, at, 12, event.error);
  }
  return endNlmsg(out, 0, at);
}

function requestFields(request: PmRequest): NetlinkFields {
  const { command, token, local, remote, limits, localId } = request;
  const there = addressFields(remote);
  return {
    token,
    ...addressFields(local),
    ...(command === PmCommand.Remove ? { localId } : {}),
    remote: there.local,
    remotePort: there.localPort,
    remoteId: there.localId,
    ...limits,
  };
}

function addressFields({ family, address, id, port, flags, interfaceIndex }: PmAddress): {
  family: number;
  local: string;
  localId: number;
  localPort: number;
  flags: number;
  interfaceIndex: number;
} {
  const local = formatInet(family, address);
  return { family, local, localId: id, localPort: port, flags, interfaceIndex };
}

function eventFields(event: MptcpEvent): Record<string, number | string> {
  const { type: _, local, remote, resetReason, resetFlags, ...numbers } = event;
  assert.deepEqual([resetReason, resetFlags], [-1, -1]);
  return {
    ...numbers,
    local: formatInet(event.family, local),
    remote: formatInet(event.family, remote),
  };
}

/** Leaves out what a message has no attribute for: what holds its initial value, and no address. */
function without(fields: Record<string, number | string>): Record<string, number | string> {
  const { family } = fields;
  const listener = fields.localId === -1 && fields.remotePort === 0;
  const announced = fields.localPort === 0 && fields.localId === -1;
  return Object.fromEntries(
    Object.entries(fields).filter(([name, value]) => {
      if (name === "remote" && listener || name === "local" && announced) return false;
      if (name === "localId" || name === "remoteId") return value !== -1;
      return family === 0 && value === "-" ? false : value !== 0;
    }),
  );
}

function addressOf(text: string, members: Partial<PmAddress>): PmAddress {
  const address = Object.assign(new PmAddress(), members);
  address.family = parseInet(text, address.address);
  return address;
}

function messageOf(hex: string): { from: Region; message: Nlmsg } {
  const from = regionOf(Uint8Array.fromHex(hex));
  const message = new Nlmsg();
  readNlmsg(from, 0, from.bytes.length, message);
  return { from, message };
}

/** Memory where a byte that nobody wrote is seen. */
function filled(size: number): Region {
  const region = newRegion(size);
  region.bytes.fill(0xa5);
  return region;
}
