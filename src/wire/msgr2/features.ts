/**
 * CEPH_FEATURE_* bits, as CLIENT_IDENT, SERVER_IDENT and IDENT_MISSING_FEATURES carry them: msgr2
 * "Message flow handshake". Not to be confused with the banner's CEPH_MSGR2_* bits. What we say
 * decides how a peer encodes what it sends, and whether it talks to us.
 *
 * @module
 */
import { U64 } from "../../mem/u64.ts";

/** Bit numbers by name, those that tell releases apart or that a peer may insist on. */
const BITS: Readonly<Record<number, string>> = {
  2: "SERVER_NAUTILUS",
  9: "PGID64",
  11: "PGPOOL3",
  13: "OSDENC",
  15: "MONENC",
  16: "SERVER_OCTOPUS",
  18: "CRUSH_TUNABLES",
  21: "SERVER_LUMINOUS",
  25: "CRUSH_TUNABLES2",
  28: "SERVER_MIMIC",
  30: "OSDHASHPSPOOL",
  36: "CRUSH_V2",
  39: "OSDMAP_ENC",
  41: "CRUSH_TUNABLES3",
  42: "MSGR_KEEPALIVE2",
  48: "CRUSH_V4",
  49: "SERVER_SQUID",
  50: "SERVER_TENTACLE",
  56: "NEW_OSDOP_ENCODING",
  57: "SERVER_JEWEL",
  58: "CRUSH_TUNABLES5",
  59: "MSG_ADDR2",
  60: "OSD_RECOVERY_DELETES",
  61: "CEPHX_V2",
};

/**
 * What we advertise: all that a 16.2.15 monitor or OSD requires is in it; 16.2.15 itself says
 * 0x3f01cfbdfffdffff, 20.2.4 says 0x3f07fffffffdffff.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   featureNames,
 *   FEATURES_REQUIRED,
 *   FEATURES_SUPPORTED,
 *   missingFeatures,
 *   U64,
 * } from "@fairlead/fairlead";
 *
 * assert.equal(missingFeatures(FEATURES_REQUIRED, FEATURES_SUPPORTED, new U64()), false);
 * assert.ok(featureNames(FEATURES_SUPPORTED).includes("MSGR_KEEPALIVE2"));
 * ```
 */
export const FEATURES_SUPPORTED: Readonly<U64> = U64.of(0x3f01cfbffffdffffn);

/**
 * What we insist on: MSG_ADDR2, without which a peer would not write entity_addrvec_t.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { featureNames, FEATURES_REQUIRED } from "@fairlead/fairlead";
 *
 * assert.deepEqual(featureNames(FEATURES_REQUIRED), ["MSG_ADDR2"]);
 * ```
 */
export const FEATURES_REQUIRED: Readonly<U64> = U64.of(1n << 59n);

/**
 * Puts the bits of `required` that are not in `supported` into `into`; true when there are any.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { missingFeatures, U64 } from "@fairlead/fairlead";
 *
 * const missing = new U64();
 * assert.equal(missingFeatures(U64.of(0b111), U64.of(0b101), missing), true);
 * assert.equal(missing.toBigInt(), 0b010n);
 * ```
 */
export function missingFeatures(
  required: Readonly<U64>,
  supported: Readonly<U64>,
  into: U64,
): boolean {
  into.set(required.lo & ~supported.lo, required.hi & ~supported.hi);
  return !into.isZero();
}

/**
 * The names of the bits that are set, lowest first; `bit 7` where it has none here.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { featureNames, U64 } from "@fairlead/fairlead";
 *
 * assert.deepEqual(featureNames(U64.of((1n << 59n) | (1n << 7n))), ["bit 7", "MSG_ADDR2"]);
 * ```
 */
export function featureNames(features: Readonly<U64>): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    const half = bit < 32 ? features.lo : features.hi;
    if ((half >>> (bit & 31)) & 1) names.push(BITS[bit] ?? `bit ${bit}`);
  }
  return names;
}
