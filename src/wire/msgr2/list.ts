/**
 * `list<__le32>` with its __le32 count in front, as AUTH_REQUEST, AUTH_BAD_METHOD and
 * COMPRESSION_REQUEST carry it: msgr2 "Authentication". At most AUTH_LIST_MAX items.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { AUTH_LIST_MAX } from "../../mem/limits.ts";
import type { Region } from "../../mem/region.ts";

/** Bytes of a list of `count` items. */
export function listBytes(count: number): number {
  return 4 + 4 * count;
}

/** Writes the first `count` of `items`; returns the offset after them. */
export function writeList(out: Region, at: number, items: Int32Array, count: number): number {
  out.view.setUint32(at, count, true);
  for (let index = 0; index < count; index++) {
    out.view.setInt32(at + 4 + 4 * index, items[index]!, true);
  }
  return at + listBytes(count);
}

/**
 * Reads a list into `items`; returns how many there were, or a negated {@linkcode Fault}. The
 * offset after it is `at + listBytes(count)`.
 */
export function readList(
  from: Region,
  at: number,
  end: number,
  field: string,
  items: Int32Array,
): number {
  if (end - at < 4) return fail(Fault.Field, field, at, end - at, "4 bytes or more");
  const count = from.view.getUint32(at, true);
  if (count > AUTH_LIST_MAX) return fail(Fault.Large, field, at, count, `${AUTH_LIST_MAX} at most`);
  if (end - at < listBytes(count)) {
    return fail(Fault.Field, field, at, count, "a count within the segment");
  }
  for (let index = 0; index < count; index++) {
    items[index] = from.view.getInt32(at + 4 + 4 * index, true);
  }
  return count;
}
