/**
 * CRC-32C (Castagnoli), the checksum of msgr2 frames ("Frame format": preamble crc and segment
 * crc) and of iSCSI digests: RFC 3720 section 12.1 and appendix B.4. Reflected polynomial
 * 0x82f63b78.
 *
 * Two conventions: Ceph's ({@linkcode crc32cRaw}) takes the seed as it is and has no final xor,
 * so that runs can be chained; RFC 3720's ({@linkcode crc32c}) starts from all ones and inverts
 * the result.
 *
 * @module
 */

const POLYNOMIAL = 0x82f63b78;

const TABLE = makeTable();

/**
 * CRC of bytes[at, end) in Ceph's convention: `crc` is the seed as it is (-1 for segments, 0 for
 * the preamble), nothing is xored at the end. The result is signed, so it stays a small integer.
 */
export function crc32cRaw(
  crc: number,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
): number {
  for (let index = at; index < end; index++) {
    crc = TABLE[(crc ^ bytes[index]!) & 255]! ^ (crc >>> 8);
  }
  return crc | 0;
}

/**
 * The finished CRC-32C as RFC 3720 has it, unsigned; `crc` is the result for the bytes before.
 *
 * @example
 * ```ts
 * import { crc32c } from "@fairlead/fairlead";
 *
 * crc32c(new TextEncoder().encode("123456789")); // 0xe3069283
 * ```
 */
export function crc32c(bytes: Uint8Array<ArrayBuffer>, crc = 0): number {
  return ~crc32cRaw(~crc, bytes, 0, bytes.length) >>> 0;
}

/** One entry a byte: the remainder of that byte followed by 32 zero bits. */
function makeTable(): Int32Array {
  const table = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
    table[byte] = crc;
  }
  return table;
}
