/**
 * The banner, the only thing on a connection that is not a frame: msgr2 "Banner". The document
 * knows one feature bit, REVISION_1; real Ceph 17 and newer adds COMPRESSION.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { BANNER_PAYLOAD_BYTES_MAX } from "../../mem/limits.ts";
import type { Region } from "../../mem/region.ts";
import { U64 } from "../../mem/u64.ts";

/**
 * What every msgr2 peer says first.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Banner, BANNER_PREFIX, BANNER_SIZE, newRegion, writeBanner } from "@fairlead/fairlead";
 *
 * const out = newRegion(BANNER_SIZE);
 * writeBanner(out, 0, new Banner());
 * assert.equal(new TextDecoder().decode(out.bytes.subarray(0, 8)), BANNER_PREFIX);
 * ```
 */
export const BANNER_PREFIX = "ceph v2\n";

const LENGTH = BANNER_PREFIX.length;
const PAYLOAD = LENGTH + 2;
const SUPPORTED = PAYLOAD;
const REQUIRED = PAYLOAD + 8;
const PAYLOAD_SIZE = 16;

/**
 * Bytes of a banner as it is written.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Banner, BANNER_SIZE, newRegion, writeBanner } from "@fairlead/fairlead";
 *
 * assert.equal(writeBanner(newRegion(BANNER_SIZE), 0, new Banner()), BANNER_SIZE);
 * ```
 */
export const BANNER_SIZE: number = PAYLOAD + PAYLOAD_SIZE;

/**
 * Low half, CEPH_MSGR2_FEATURE_REVISION_1: frames of msgr2.1.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Banner, MSGR2_FEATURE_REVISION_1 } from "@fairlead/fairlead";
 *
 * const banner = new Banner();
 * banner.supported.set(MSGR2_FEATURE_REVISION_1, 0);
 * assert.equal(`${banner.supported}`, "0x1");
 * ```
 */
export const MSGR2_FEATURE_REVISION_1 = 1;
/**
 * Low half, CEPH_MSGR2_FEATURE_COMPRESSION: COMPRESSION_REQUEST and COMPRESSION_DONE follow.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Banner, MSGR2_FEATURE_COMPRESSION, MSGR2_FEATURE_REVISION_1 } from "@fairlead/fairlead";
 *
 * const banner = new Banner();
 * banner.supported.set(MSGR2_FEATURE_REVISION_1 | MSGR2_FEATURE_COMPRESSION, 0);
 * assert.equal(`${banner.supported}`, "0x3"); // what Ceph 17 and newer says
 * ```
 */
export const MSGR2_FEATURE_COMPRESSION = 2;
/**
 * High half, bit 63, ours: the peer understands TAG_CLOSE, on which real Ceph would close.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Banner, FAIRLEAD_CLOSE, MSGR2_FEATURE_REVISION_1 } from "@fairlead/fairlead";
 *
 * const banner = new Banner();
 * banner.supported.set(MSGR2_FEATURE_REVISION_1, FAIRLEAD_CLOSE);
 * assert.equal(`${banner.supported}`, "0x8000000000000001");
 * ```
 */
export const FAIRLEAD_CLOSE: number = 0x80000000 | 0;

/** The msgr1 banner is "ceph v027": up to here it is the same. */
const MSGR1_PREFIX = "ceph v0";
const SHOWN_BYTES = 9;

/**
 * A banner, the first bytes each way: two fields of CEPH_MSGR2_* bits, which are not the
 * CEPH_FEATURE_* bits of the idents. msgr2 "Banner".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Banner, MSGR2_FEATURE_REVISION_1 } from "@fairlead/fairlead";
 *
 * const banner = new Banner();
 * banner.supported.set(MSGR2_FEATURE_REVISION_1, 0);
 * assert.ok(banner.required.isZero());
 * ```
 */
export class Banner {
  /** peer_supported_features. */
  readonly supported: U64 = new U64();
  /** peer_required_features. */
  readonly required: U64 = new U64();
}

/**
 * Writes a banner; returns the offset after its {@linkcode BANNER_SIZE} bytes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Banner, BANNER_SIZE, newRegion, writeBanner } from "@fairlead/fairlead";
 *
 * const banner = new Banner();
 * banner.supported.set(1, 0);
 * const out = newRegion(BANNER_SIZE);
 * assert.equal(writeBanner(out, 0, banner), BANNER_SIZE);
 * assert.equal(out.bytes.toHex(), "636570682076320a" + "1000" + "01" + "00".repeat(15));
 * ```
 */
export function writeBanner(out: Region, at: number, banner: Banner): number {
  for (let index = 0; index < BANNER_PREFIX.length; index++) {
    out.bytes[at + index] = BANNER_PREFIX.charCodeAt(index);
  }
  out.view.setUint16(at + LENGTH, PAYLOAD_SIZE, true);
  banner.supported.write(out, at + SUPPORTED);
  return banner.required.write(out, at + REQUIRED);
}

/**
 * Reads a banner from a stream: `-Fault.Short` until it is all there, but a wrong prefix is told
 * at its first wrong byte, since a peer of another protocol may send nothing more. A longer
 * payload is skipped, as real Ceph does.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   Banner,
 *   BANNER_SIZE,
 *   Fault,
 *   newRegion,
 *   readBanner,
 *   writeBanner,
 * } from "@fairlead/fairlead";
 *
 * const from = newRegion(BANNER_SIZE);
 * writeBanner(from, 0, new Banner());
 * const banner = new Banner();
 * assert.equal(readBanner(from, 0, 5, banner), -Fault.Short);
 * assert.equal(readBanner(from, 0, BANNER_SIZE, banner), BANNER_SIZE);
 * ```
 */
export function readBanner(from: Region, at: number, end: number, into: Banner): number {
  const { bytes, view } = from;
  const prefixEnd = Math.min(end, at + BANNER_PREFIX.length);
  for (let index = at; index < prefixEnd; index++) {
    if (bytes[index] !== BANNER_PREFIX.charCodeAt(index - at)) {
      return wrongPrefix(bytes, at, end, index);
    }
  }
  if (end - at < PAYLOAD) return -Fault.Short;
  const length = view.getUint16(at + LENGTH, true);
  if (length < PAYLOAD_SIZE) {
    return fail(Fault.Field, "banner payload length", at + LENGTH, length, "16 or more");
  }
  if (length > BANNER_PAYLOAD_BYTES_MAX) {
    const most = `${BANNER_PAYLOAD_BYTES_MAX} at most`;
    return fail(Fault.Large, "banner payload length", at + LENGTH, length, most);
  }
  if (end - at < PAYLOAD + length) return -Fault.Short;
  into.supported.read(from, at + SUPPORTED);
  into.required.read(from, at + REQUIRED);
  return at + PAYLOAD + length;
}

function wrongPrefix(bytes: Uint8Array, at: number, end: number, wrong: number): number {
  const shown = bytes.subarray(at, Math.min(end, at + SHOWN_BYTES));
  const found = String.fromCharCode(...shown);
  const field = `banner prefix ${JSON.stringify(found).replace(/[^ -~]/g, "?")}`;
  const expected = JSON.stringify(BANNER_PREFIX) +
    (found.startsWith(MSGR1_PREFIX) ? ", not that of msgr1" : "");
  return fail(Fault.Field, field, wrong, bytes[wrong]!, expected);
}

/**
 * What two banners agree on: the revision that both speak, 0 or 1, or `-Fault.Feature` when the
 * peer requires what we lack. "If the remote party advertises required features we don't support,
 * we can disconnect."
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { agreeRevision, Banner, Fault, MSGR2_FEATURE_REVISION_1 } from "@fairlead/fairlead";
 *
 * const [own, peer] = [new Banner(), new Banner()];
 * own.supported.set(MSGR2_FEATURE_REVISION_1, 0);
 * assert.equal(agreeRevision(own, peer), 0);
 * assert.equal(agreeRevision(own, own), 1);
 * peer.required.set(8, 0);
 * assert.equal(agreeRevision(own, peer), -Fault.Feature);
 * ```
 */
export function agreeRevision(own: Banner, peer: Banner): number {
  const lo = peer.required.lo & ~own.supported.lo;
  const hi = peer.required.hi & ~own.supported.hi;
  if ((lo | hi) !== 0) {
    const missing = new U64();
    missing.set(lo, hi);
    const field = `banner peer_required_features ${missing}`;
    return fail(Fault.Feature, field, -1, lo >>> 0, `within ours, ${own.supported}`);
  }
  return peer.supported.lo & own.supported.lo & MSGR2_FEATURE_REVISION_1;
}
