/**
 * What a client and a monitor of Ceph say to each other once their session stands: front segments
 * of MMonCommand (50) and its ack (51), MMonSubscribe (15), MMonMap (4) and MConfig (62), as
 * Ceph 16.2, 18.2 and 20.2 put them on the wire. Commands come by hand, so whole arrays go in and
 * out. A reader returns null for bytes it refuses; `describeFault()` then says which field.
 *
 * @module
 */
import { Fault } from "../../mem/fault.ts";
import { regionOf } from "../../mem/region.ts";
import { U64 } from "../../mem/u64.ts";
import { PayloadReader, PayloadWriter } from "../cephx/payload.ts";
import { EntityAddrVec, readEntityAddrVec } from "../msgr2/entity_addrvec.ts";
import {
  type Command,
  type CommandReply,
  readCommandFields,
  readReplyFields,
  readWords,
  writeCommandFields,
  writeReplyFields,
  writeWords,
} from "./command.ts";
import { FSID_SIZE } from "./fsid.ts";
import { type MessageKind, MessageType } from "./message_type.ts";

/** A command to the monitors; its input travels in the data segment. */
export const MON_COMMAND: MessageKind = {
  type: MessageType.MonCommand,
  version: 1,
  compatVersion: 1,
};
/** The answer to a command; its output travels in the data segment. */
export const MON_COMMAND_ACK: MessageKind = {
  type: MessageType.MonCommandAck,
  version: 1,
  compatVersion: 1,
};
/** Asks for the monitor map; the front is empty. */
export const MON_GET_MAP: MessageKind = {
  type: MessageType.MonGetMap,
  version: 1,
  compatVersion: 1,
};
/** Asks for maps now and whenever they change. */
export const MON_SUBSCRIBE: MessageKind = {
  type: MessageType.MonSubscribe,
  version: 3,
  compatVersion: 1,
};

/** CEPH_SUBSCRIBE_ONETIME: one answer, then the subscription ends. */
export const SUBSCRIBE_ONETIME = 1;

/** The monmap encoding that 14 and later understand: decoders of an older one are refused. */
const MONMAP_COMPAT = 6;

/** What came of a command. */
export interface MonCommandAck extends CommandReply {
  /** The command that this answers. */
  readonly words: readonly string[];
}

/** One map a client asks for. */
export interface Subscription {
  /** `monmap`, `config`, `osdmap`, `mgrmap`, … */
  readonly what: string;
  /** The first epoch wanted, 0 for the newest. */
  readonly start: number;
  /** True for one answer only. */
  readonly once: boolean;
}

/** A monitor of the cluster. */
export interface MonInfo {
  readonly name: string;
  readonly addrs: EntityAddrVec;
}

/** The monitors of a cluster. */
export interface MonMap {
  readonly fsid: Uint8Array;
  readonly epoch: number;
  /** In the order of their ranks. */
  readonly mons: readonly MonInfo[];
}

/** Writes an MMonCommand. */
export function writeMonCommand(command: Command): Uint8Array {
  const out = new PayloadWriter();
  writePaxosHead(out);
  writeCommandFields(out, command);
  return out.done();
}

/** Reads an MMonCommand. */
export function readMonCommand(front: Uint8Array): Command | null {
  const from = new PayloadReader(front, "mon_command");
  readPaxosHead(from);
  const command = readCommandFields(from);
  return from.failed ? null : command;
}

/** Writes an MMonCommandAck. */
export function writeMonCommandAck(ack: MonCommandAck): Uint8Array {
  const out = new PayloadWriter();
  writePaxosHead(out);
  writeReplyFields(out, ack);
  writeWords(out, ack.words);
  return out.done();
}

/** Reads an MMonCommandAck. */
export function readMonCommandAck(front: Uint8Array): MonCommandAck | null {
  const from = new PayloadReader(front, "mon_command_ack");
  readPaxosHead(from);
  const reply = readReplyFields(from);
  const words = readWords(from, "cmd");
  return from.failed ? null : { ...reply, words };
}

/** Writes an MMonSubscribe; `host` is the name of the box that asks, for the monitor's log. */
export function writeMonSubscribe(wanted: readonly Subscription[], host: string): Uint8Array {
  const out = new PayloadWriter().u32(wanted.length);
  for (const { what, start, once } of wanted) {
    out.text(what).u64(U64.of(start)).u8(once ? SUBSCRIBE_ONETIME : 0);
  }
  return out.text(host).done();
}

/** Reads an MMonSubscribe. */
export function readMonSubscribe(
  front: Uint8Array,
): { wanted: Subscription[]; host: string } | null {
  const from = new PayloadReader(front, "mon_subscribe");
  const wanted: Subscription[] = [];
  for (let left = from.u32("what"); left > 0 && !from.failed; left--) {
    const what = from.text("what");
    const start = Number(from.u64("start").toBigInt());
    wanted.push({ what, start, once: (from.u8("flags") & SUBSCRIBE_ONETIME) !== 0 });
  }
  const host = from.text("hostname");
  return from.failed ? null : { wanted, host };
}

/**
 * Reads an MMonMap. Maps of Ceph 14 and later are understood; what newer versions append to them,
 * and what a client does not need (features, election strategy, crush locations), is skipped.
 */
export function readMonMap(front: Uint8Array): MonMap | null {
  const outer = new PayloadReader(front, "mon_map");
  const map = outer.blob("monmap");
  if (outer.failed) return null;
  const from = new PayloadReader(map, "mon_map");
  const version = from.u8("struct_v");
  const compat = from.u8("struct_compat");
  if (version < MONMAP_COMPAT) {
    from.refuse(Fault.Feature, "struct_v", version, `${MONMAP_COMPAT} or more`);
  } else if (compat > MONMAP_COMPAT) {
    from.refuse(Fault.Feature, "struct_compat", compat, `${MONMAP_COMPAT} at most`);
  }
  const body = from.blob("struct_len");
  return from.failed ? null : readMonMapBody(new PayloadReader(body, "mon_map"));
}

/** Reads an MConfig: options the cluster wants this client to use. */
export function readConfig(front: Uint8Array): Map<string, string> | null {
  const from = new PayloadReader(front, "config");
  const options = new Map<string, string>();
  for (let left = from.u32("config"); left > 0 && !from.failed; left--) {
    const name = from.text("config");
    options.set(name, from.text("config"));
  }
  return from.failed ? null : options;
}

/** The head of every message that goes through a monitor's paxos services. */
function writePaxosHead(out: PayloadWriter): void {
  out.u32(0).u32(0); // version
  out.u16(0xffff); // deprecated_session_mon, -1
  out.u32(0).u32(0); // deprecated_session_mon_tid
}

function readPaxosHead(from: PayloadReader): void {
  from.u64("version");
  from.u16("deprecated_session_mon");
  from.u64("deprecated_session_mon_tid");
}

/** A versioned part whose contents do not matter here: u8 version, u8 compat, u32 length, bytes. */
function skipPart(from: PayloadReader, field: string): void {
  from.u16(field);
  from.blob(field);
}

function readMonMapBody(from: PayloadReader): MonMap | null {
  const fsid = from.raw(FSID_SIZE, "fsid");
  const epoch = from.u32("epoch");
  from.u64("last_changed");
  from.u64("created");
  skipPart(from, "persistent_features");
  skipPart(from, "optional_features");
  const byName = new Map<string, MonInfo>();
  for (let left = from.u32("mon_info"); left > 0 && !from.failed; left--) {
    const key = from.text("mon_info key");
    from.u16("mon_info struct_v");
    const bytes = from.blob("mon_info");
    if (from.failed) return null;
    const mon = readMonInfo(bytes);
    if (mon === null) return null;
    byName.set(key, mon);
  }
  const ranks = readWords(from, "ranks");
  if (from.failed) return null;
  const mons: MonInfo[] = [];
  for (const name of ranks) {
    const mon = byName.get(name);
    if (mon !== undefined) mons.push(mon);
  }
  return { fsid, epoch, mons };
}

/** mon_info_t: the name and the addresses; priority, weight and crush location are left alone. */
function readMonInfo(bytes: Uint8Array): MonInfo | null {
  const from = new PayloadReader(bytes, "mon_map");
  const name = from.text("mon_info name");
  if (from.failed) return null;
  const rest = regionOf(Uint8Array.from(from.raw(from.left, "mon_info public_addrs")));
  const addrs = new EntityAddrVec();
  return readEntityAddrVec(rest, 0, rest.bytes.length, addrs) < 0 ? null : { name, addrs };
}
