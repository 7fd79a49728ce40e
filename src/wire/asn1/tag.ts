/**
 * Identifier octets: X.690 section 8.1.2, with the numbers of X.680 section 8.4. Only low tag numbers:
 * neither certificates nor signed messages have others.
 *
 * @module
 */

/** The first octet of an element: class, constructed or not, number. */
export const Tag = {
  Boolean: 0x01,
  Integer: 0x02,
  BitString: 0x03,
  OctetString: 0x04,
  Null: 0x05,
  Oid: 0x06,
  Utf8String: 0x0c,
  PrintableString: 0x13,
  Ia5String: 0x16,
  UtcTime: 0x17,
  GeneralizedTime: 0x18,
  /** An OCTET STRING in pieces, which DER does not have and OpenSSL sends when it streams. */
  OctetStringInPieces: 0x24,
  Sequence: 0x30,
  Set: 0x31,
} as const;

/** The bit of a tag that says that elements are inside. */
export const CONSTRUCTED = 0x20;

/** `[number]` in front of a whole element, or in place of the tag of a SEQUENCE or SET. */
export function explicitTag(number: number): number {
  return 0xa0 | number;
}

/** `[number]` in place of the tag of a string. */
export function implicitTag(number: number): number {
  return 0x80 | number;
}
