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

/** A region over `bytes`, without a copy. */
export function regionOf(bytes: Uint8Array<ArrayBuffer>): Region {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/** A region of its own with `size` zero bytes. */
export function newRegion(size: number): Region {
  return regionOf(new Uint8Array(size));
}
