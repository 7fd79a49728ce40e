/**
 * The two messages of Ceph's load pair, ceph_perf_msgr_client and ceph_perf_msgr_server: an MOSDOp
 * (42, encoding 8) with one write to "object-name", whose bytes are the data segment, and the
 * MOSDOpReply (43, encoding 8) without ops that answers it. Fronts equal byte for byte what the
 * pair of Ceph 18.2 sends; each is built once and then copied, so writing allocates nothing.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { newRegion, type Region } from "../../mem/region.ts";
import { type MessageKind, MessageType } from "./message_type.ts";

/** The request. */
export const PERF_OSD_OP: MessageKind = { type: MessageType.OsdOp, version: 8, compatVersion: 3 };
/** The answer. */
export const PERF_OSD_OP_REPLY: MessageKind = {
  type: MessageType.OsdOpReply,
  version: 8,
  compatVersion: 2,
};

/** Bytes of the request's front segment. */
export const PERF_OSD_OP_SIZE = 220;
/** Bytes of the answer's front segment. */
export const PERF_OSD_OP_REPLY_SIZE = 102;

/** CEPH_OSD_OP_WRITE */
const OP_WRITE = 0x2201;
const OBJECT_NAME = "object-name";

// MOSDOp 8, offsets in the front
const SPG = 0; //                 u8 1, u8 1, u32 18, pg_t, i8 shard
const REQID = 36; //              after u32 hash, u32 osdmap_epoch, u32 flags
const LOCATOR = 99; //            after three trace ids, u32 client_inc, utime mtime
const OBJECT = 133; //            u32 length and the name
const OPS = 148; //               u16 count
const OP = 150; //                ceph_osd_op: u16 op, u32 flags, extent
const OP_EXTENT_LENGTH = 164; //  u64
const SNAPID = 188; //            u64, then u64 snap_seq and u32 count of snaps
const RETRY_ATTEMPT = 208; //     i32
const FEATURES = 212; //          u64, those of the sender's connection

// MOSDOpReply 8, offsets in the front
const REPLY_PG = 4; //            after an empty object name
const REPLY_RETRY_ATTEMPT = 53; // after flags, result, version, osdmap_epoch and no ops

const request = newRegion(PERF_OSD_OP_SIZE);
const reply = newRegion(PERF_OSD_OP_REPLY_SIZE);
fillRequest();
fillReply();

/** Writes the request's front for `dataBytes` in the data segment; returns the offset after it. */
export function writePerfOsdOp(out: Region, at: number, dataBytes: number): number {
  out.bytes.set(request.bytes, at);
  out.view.setUint32(at + OP_EXTENT_LENGTH, dataBytes, true);
  return at + PERF_OSD_OP_SIZE;
}

/** Writes the answer's front; returns the offset after it. */
export function writePerfOsdOpReply(out: Region, at: number): number {
  out.bytes.set(reply.bytes, at);
  return at + PERF_OSD_OP_REPLY_SIZE;
}

function fillRequest(): void {
  const { view, bytes } = request;
  const spgBody = writeVersion(SPG, 1, 1, 18);
  view.setInt8(writePg(request, spgBody), -1); // NO_SHARD
  writeVersion(REQID, 2, 2, 21);
  const locatorBody = writeVersion(LOCATOR, 6, 3, 28);
  view.setInt32(locatorBody + 8, -1, true); // preferred, after i64 pool; key and namespace empty
  view.setBigInt64(locatorBody + 20, -1n, true); // hash: not given
  view.setUint32(OBJECT, OBJECT_NAME.length, true);
  const named = new TextEncoder().encodeInto(OBJECT_NAME, bytes.subarray(OBJECT + 4));
  assert(OBJECT + 4 + named.written === OPS, "the object's name ends where the ops begin");
  view.setUint16(OPS, 1, true);
  view.setUint16(OP, OP_WRITE, true);
  view.setBigInt64(SNAPID, -2n, true); // CEPH_NOSNAP
  view.setInt32(RETRY_ATTEMPT, -1, true);
  view.setBigUint64(FEATURES, 0x3f01cfbffffdffffn, true);
}

function fillReply(): void {
  writePg(reply, REPLY_PG);
  reply.view.setInt32(REPLY_RETRY_ATTEMPT, -1, true);
}

/** Writes struct_v, struct_compat and the length of what follows; returns where that begins. */
function writeVersion(at: number, version: number, compat: number, length: number): number {
  const { view } = request;
  view.setUint8(at, version);
  view.setUint8(at + 1, compat);
  view.setUint32(at + 2, length, true);
  return at + 6;
}

/** pg_t of pool 0, seed 0: u8 1, u64 pool, u32 seed, i32 preferred. */
function writePg(out: Region, at: number): number {
  out.view.setUint8(at, 1);
  out.view.setInt32(at + 13, -1, true);
  return at + 17;
}
