/**
 * Octets compared: the order of a SET OF, X.690 section 11.6.
 *
 * @module
 */

/** Below, at or above 0; a shorter one is taken with zeros behind it. */
export function compareOctets(left: Uint8Array, right: Uint8Array): number {
  const size = Math.max(left.length, right.length);
  for (let i = 0; i < size; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Whether both are the same, in length too. Not for secrets: how long it takes tells where they differ. */
export function sameOctets(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && compareOctets(left, right) === 0;
}
