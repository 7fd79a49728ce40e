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

/**
 * Compression methods by Ceph's numbers.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { CompressionMethod, compressionName } from "@fairlead/fairlead";
 *
 * assert.equal(compressionName(CompressionMethod.Zstd), "zstd");
 * ```
 */
export const CompressionMethod = { None: 0, Snappy: 1, Zlib: 2, Zstd: 3, Lz4: 4 } as const;

const NAMES: readonly string[] = ["none", "snappy", "zlib", "zstd", "lz4"];

/**
 * Bytes of a COMPRESSION_DONE payload.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   COMPRESSION_DONE_SIZE,
 *   CompressionDone,
 *   newRegion,
 *   writeCompressionDone,
 * } from "@fairlead/fairlead";
 *
 * const out = newRegion(COMPRESSION_DONE_SIZE);
 * assert.equal(writeCompressionDone(out, 0, new CompressionDone()), COMPRESSION_DONE_SIZE);
 * ```
 */
export const COMPRESSION_DONE_SIZE = 5;

/**
 * COMPRESSION_REQUEST, from the client.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   CompressionMethod,
 *   CompressionRequest,
 *   compressionRequestBytes,
 * } from "@fairlead/fairlead";
 *
 * const request = new CompressionRequest();
 * request.enabled = true;
 * request.methodCount = 1;
 * request.methods[0] = CompressionMethod.Zstd;
 * assert.equal(compressionRequestBytes(request), 9);
 * ```
 */
export class CompressionRequest {
  /** is_compress: true when the client wants compression. */
  enabled = false;
  /** How many of `methods` are in use. */
  methodCount = 0;
  /** Methods of the client, best first. */
  readonly methods: Int32Array = new Int32Array(AUTH_LIST_MAX);
}

/**
 * COMPRESSION_DONE, from the server.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { CompressionDone, CompressionMethod } from "@fairlead/fairlead";
 *
 * const done = new CompressionDone();
 * assert.equal(done.enabled, false); // what Fairlead answers
 * assert.equal(done.method, CompressionMethod.None);
 * ```
 */
export class CompressionDone {
  /** is_compress: true when frames may be compressed from here on. */
  enabled = false;
  /** One of {@linkcode CompressionMethod}. */
  method = 0;
}

/**
 * `snappy`, `zlib`, …; `method 9` when unknown.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { CompressionMethod, compressionName } from "@fairlead/fairlead";
 *
 * assert.equal(compressionName(CompressionMethod.Snappy), "snappy");
 * assert.equal(compressionName(9), "method 9");
 * ```
 */
export function compressionName(method: number): string {
  return NAMES[method] ?? `method ${method}`;
}

/**
 * Bytes that {@linkcode writeCompressionRequest} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { CompressionRequest, compressionRequestBytes } from "@fairlead/fairlead";
 *
 * assert.equal(compressionRequestBytes(new CompressionRequest()), 5);
 * ```
 */
export function compressionRequestBytes(request: CompressionRequest): number {
  return 1 + listBytes(request.methodCount);
}

/**
 * Writes a COMPRESSION_REQUEST payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   CompressionMethod,
 *   CompressionRequest,
 *   compressionRequestBytes,
 *   newRegion,
 *   writeCompressionRequest,
 * } from "@fairlead/fairlead";
 *
 * const request = new CompressionRequest();
 * request.enabled = true;
 * request.methodCount = 1;
 * request.methods[0] = CompressionMethod.Zstd;
 * const out = newRegion(compressionRequestBytes(request));
 * assert.equal(writeCompressionRequest(out, 0, request), 9);
 * assert.equal(out.bytes.toHex(), "010100000003000000");
 * ```
 */
export function writeCompressionRequest(
  out: Region,
  at: number,
  request: CompressionRequest,
): number {
  out.view.setUint8(at, request.enabled ? 1 : 0);
  return writeList(out, at + 1, request.methods, request.methodCount);
}

/**
 * Reads a COMPRESSION_REQUEST payload; returns the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   CompressionMethod,
 *   compressionName,
 *   CompressionRequest,
 *   newRegion,
 *   readCompressionRequest,
 *   writeCompressionRequest,
 * } from "@fairlead/fairlead";
 *
 * const request = new CompressionRequest();
 * request.enabled = true;
 * request.methodCount = 1;
 * request.methods[0] = CompressionMethod.Zstd;
 * const from = newRegion(16);
 * const end = writeCompressionRequest(from, 0, request);
 * const read = new CompressionRequest();
 * assert.equal(readCompressionRequest(from, 0, end, read), end);
 * assert.equal(compressionName(read.methods[0]!), "zstd");
 * ```
 */
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

/**
 * Writes a COMPRESSION_DONE payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   COMPRESSION_DONE_SIZE,
 *   CompressionDone,
 *   newRegion,
 *   writeCompressionDone,
 * } from "@fairlead/fairlead";
 *
 * const out = newRegion(COMPRESSION_DONE_SIZE);
 * assert.equal(writeCompressionDone(out, 0, new CompressionDone()), COMPRESSION_DONE_SIZE);
 * assert.equal(out.bytes.toHex(), "0000000000");
 * ```
 */
export function writeCompressionDone(out: Region, at: number, done: CompressionDone): number {
  out.view.setUint8(at, done.enabled ? 1 : 0);
  out.view.setUint32(at + 1, done.method, true);
  return at + COMPRESSION_DONE_SIZE;
}

/**
 * Reads a COMPRESSION_DONE payload; returns the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   CompressionDone,
 *   CompressionMethod,
 *   readCompressionDone,
 *   regionOf,
 * } from "@fairlead/fairlead";
 *
 * const from = regionOf(Uint8Array.of(1, 4, 0, 0, 0));
 * const done = new CompressionDone();
 * assert.equal(readCompressionDone(from, 0, 5, done), 5);
 * assert.equal(done.method, CompressionMethod.Lz4);
 * ```
 */
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
