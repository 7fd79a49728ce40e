/**
 * A stretch of memory with the two views that codecs need. Codecs take a region and offsets and
 * never make views of their own.
 *
 * @module
 */

/** Memory with its byte and field views; both start at the same byte. */
export interface Region {
  /** For copying, filling and checksums. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** For fields; little-endian unless the specification says otherwise. */
  readonly view: DataView<ArrayBuffer>;
}

/**
 * A region over `bytes`, without a copy.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { regionOf } from "@fairlead/fairlead";
 *
 * const { bytes, view } = regionOf(Uint8Array.of(0x34, 0x12));
 * assert.equal(view.getUint16(0, true), 0x1234);
 * bytes[0] = 0;
 * assert.equal(view.getUint16(0, true), 0x1200);
 * ```
 */
export function regionOf(bytes: Uint8Array<ArrayBuffer>): Region {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/**
 * A region of its own with `size` zero bytes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { newRegion } from "@fairlead/fairlead";
 *
 * const out = newRegion(8);
 * out.view.setUint32(4, 1, true);
 * assert.equal(out.bytes.toHex(), "0000000001000000");
 * ```
 */
export function newRegion(size: number): Region {
  return regionOf(new Uint8Array(size));
}
