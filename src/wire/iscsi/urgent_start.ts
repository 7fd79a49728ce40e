/**
 * What an urgent pointer says of the start of a message: draft-wakeley-iscsi-msgbndry-00 section 3.3.
 * Bit 7 of a message's first byte is clear and that of its second is set, which tells two readings of
 * the pointer apart: RFC 1122 (the last byte of urgent data) and BSD (the byte behind it).
 *
 * @module
 */

/** An implementation names at least this far when the field is too small: it names no byte. */
export const POINTER_CLAMPED = 0xffff;

const BIT_7 = 0x80;

/** What a sender takes the pointer for. */
export const Reading = {
  /** The pointer names the urgent byte itself. */
  Rfc1122: "rfc1122",
  /** The pointer names the byte behind the urgent one. */
  Bsd: "bsd",
} as const;

/** One of {@linkcode Reading}. */
export type Reading = (typeof Reading)[keyof typeof Reading];

/** Which reading the byte that the pointer names speaks for. */
export function readingOf(byte: number): Reading {
  return (byte & BIT_7) === 0 ? Reading.Rfc1122 : Reading.Bsd;
}
