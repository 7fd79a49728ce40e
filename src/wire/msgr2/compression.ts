/**
 * COMPRESSION_REQUEST and COMPRESSION_DONE, between AUTH_SIGNATURE and the idents when both
 * banners carry the COMPRESSION bit. Not in the msgr2 document; real Ceph 17 and newer, observed
 * on 18.2.7 and 20.2.4, which compress only between two OSDs.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { AUTH_LIST_MAX } from "../../mem/limits.ts";
import type { Region } from "../../mem/region.ts";
import { listBytes, readList, writeList } from "./list.ts";

/** Compression methods by Ceph's numbers. */
export const CompressionMethod = { None: 0, Snappy: 1, Zlib: 2, Zstd: 3, Lz4: 4 } as const;

const NAMES: readonly string[] = ["none", "snappy", "zlib", "zstd", "lz4"];

/** Bytes of a COMPRESSION_DONE payload. */
export const COMPRESSION_DONE_SIZE = 5;

/** COMPRESSION_REQUEST, from the client. */
export class CompressionRequest {
  /** is_compress: true when the client wants compression. */
  enabled = false;
  /** How many of `methods` are in use. */
  methodCount = 0;
  /** Methods of the client, best first. */
  readonly methods: Int32Array = new Int32Array(AUTH_LIST_MAX);
}

/** COMPRESSION_DONE, from the server. */
export class CompressionDone {
  /** is_compress: true when frames may be compressed from here on. */
  enabled = false;
  /** One of {@linkcode CompressionMethod}. */
  method = 0;
}

/** `snappy`, `zlib`, …; `method 9` when unknown. */
export function compressionName(method: number): string {
  return NAMES[method] ?? `method ${method}`;
}

/** Bytes that {@linkcode writeCompressionRequest} writes. */
export function compressionRequestBytes(request: CompressionRequest): number {
  return 1 + listBytes(request.methodCount);
}

/** Writes a COMPRESSION_REQUEST payload; returns the offset after it. */
export function writeCompressionRequest(
  out: Region,
  at: number,
  request: CompressionRequest,
): number {
  out.view.setUint8(at, request.enabled ? 1 : 0);
  return writeList(out, at + 1, request.methods, request.methodCount);
}

/** Reads a COMPRESSION_REQUEST payload; returns the offset after it, or a negated fault. */
export function readCompressionRequest(
  from: Region,
  at: number,
  end: number,
  into: CompressionRequest,
): number {
  if (end - at < 1) {
    return fail(Fault.Field, "COMPRESSION_REQUEST length", at, end - at, "5 or more");
  }
  const count = readList(from, at + 1, end, "COMPRESSION_REQUEST methods", into.methods);
  if (count < 0) return count;
  into.enabled = from.view.getUint8(at) !== 0;
  into.methodCount = count;
  return at + 1 + listBytes(count);
}

/** Writes a COMPRESSION_DONE payload; returns the offset after it. */
export function writeCompressionDone(out: Region, at: number, done: CompressionDone): number {
  out.view.setUint8(at, done.enabled ? 1 : 0);
  out.view.setUint32(at + 1, done.method, true);
  return at + COMPRESSION_DONE_SIZE;
}

/** Reads a COMPRESSION_DONE payload; returns the offset after it, or a negated fault. */
export function readCompressionDone(
  from: Region,
  at: number,
  end: number,
  into: CompressionDone,
): number {
  if (end - at < COMPRESSION_DONE_SIZE) {
    return fail(Fault.Field, "COMPRESSION_DONE length", at, end - at, "5 or more");
  }
  into.enabled = from.view.getUint8(at) !== 0;
  into.method = from.view.getUint32(at + 1, true);
  return at + COMPRESSION_DONE_SIZE;
}
