/**
 * The text of logins and text requests: `key=value` with a zero byte behind each (RFC 7143
 * section 6.1).
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";

/** Pairs that are looked at in one data segment. */
const PAIRS_MAX = 256;

/** Values that answer a challenge: whoever has them can try passwords at leisure. */
const SECRETS = /^(CHAP_[CR]|SRP_\w+|KRB_\w+|SPKM_\w+)$/;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Writes pairs, each with its zero byte; returns the offset after them. */
export function writeKeys(
  out: Region,
  at: number,
  pairs: readonly (readonly [string, string])[],
): number {
  for (const [key, value] of pairs) {
    const text = encoder.encode(`${key}=${value}\0`);
    out.bytes.set(text, at);
    at += text.length;
  }
  return at;
}

/** Reads the pairs between `at` and `end`; what has no `=` is left out, as is a pair that is cut. */
export function readKeys({ bytes }: Region, at: number, end: number): [string, string][] {
  const pairs: [string, string][] = [];
  while (at < end && pairs.length < PAIRS_MAX) {
    let zero = at;
    while (zero < end && bytes[zero] !== 0) zero++;
    if (zero === end) break;
    const text = decoder.decode(bytes.subarray(at, zero));
    const split = text.indexOf("=");
    if (split > 0) pairs.push([text.slice(0, split), text.slice(split + 1)]);
    at = zero + 1;
  }
  return pairs;
}

/** A pair as it may be shown. */
export function pairText([key, value]: readonly [string, string]): string {
  return `${key}=${SECRETS.test(key) ? "(hidden)" : value}`;
}
