/**
 * Addresses of an overlay's network, IPv4: every node has one from the first half of the network's
 * prefix, every link two (RFC 3021) from its second half. The document leaves them to the manager.
 *
 * @module
 */
import { Family, parseInet } from "../../wire/inet.ts";

/** Shorter prefixes would take more than one network's worth, longer ones have no room for a link. */
const PREFIX_BITS_MIN = 8;
const PREFIX_BITS_MAX = 29;

/** Networks that are nobody's in particular: RFC 1918, RFC 6598 (100.64/10) and RFC 2544 (198.18/15). */
const PRIVATE: readonly [base: number, bits: number][] = [
  [0x0a000000, 8],
  [0xac100000, 12],
  [0xc0a80000, 16],
  [0x64400000, 10],
  [0xc6120000, 15],
];

/** A network's addresses. */
export interface Prefix {
  /** The first of them. */
  readonly base: number;
  readonly bits: number;
  /** How many. */
  readonly size: number;
}

/** What a network takes of its prefix. */
export interface Need {
  readonly nodes: number;
  readonly links: number;
}

const scratch: Uint8Array = new Uint8Array(16);

/** An IPv4 address as a number; -1 when the text is none. */
export function readQuad(text: string): number {
  if (parseInet(text, scratch) !== Family.Inet) return -1;
  return scratch[0]! * 0x1000000 + (scratch[1]! << 16 | scratch[2]! << 8 | scratch[3]!);
}

/** The text of an IPv4 address. */
export function quadText(quad: number): string {
  return [quad >>> 24, quad >>> 16 & 255, quad >>> 8 & 255, quad & 255].join(".");
}

/**
 * Reads `10.100.0.0/16`; null when it is none that a network can have. Only private ones can: every box of
 * an overlay sends what is for its prefix into it, and must not be led away from somebody outside.
 */
export function readPrefix(text: string): Prefix | null {
  const match = /^([0-9.]{7,15})\/([1-9][0-9]?)$/.exec(text);
  if (match === null) return null;
  const [base, bits] = [readQuad(match[1]!), Number(match[2])];
  const size = 2 ** (32 - bits);
  if (base < 0 || bits < PREFIX_BITS_MIN || bits > PREFIX_BITS_MAX || base % size !== 0) {
    return null;
  }
  const isPrivate = PRIVATE.some(([first, length]) => {
    return bits >= length && base >= first && base < first + 2 ** (32 - length);
  });
  return isPrivate ? { base, bits, size } : null;
}

/** Whether an IPv4 address is in a prefix; -1 is in none. */
export function inPrefix({ base, size }: Prefix, quad: number): boolean {
  return quad >= base && quad < base + size;
}

/** Whether two prefixes have an address in common. */
export function overlap(a: Prefix, b: Prefix): boolean {
  return inPrefix(a, b.base) || inPrefix(b, a.base);
}

/** Of the node that stands at `index`. */
export function nodeAddress({ base }: Prefix, index: number): string {
  return quadText(base + 1 + index);
}

/** Of the two ends of the link that stands at `index`. */
export function linkAddresses({ base, size }: Prefix, index: number): [string, string] {
  const first = base + size / 2 + 2 * index;
  return [quadText(first), quadText(first + 1)];
}

/** What a prefix must at least be, `/20`, when it is too small; else null. */
export function bitsNeeded({ size }: Prefix, { nodes, links }: Need): string | null {
  const half = Math.max(nodes + 1, links * 2, 1);
  if (half <= size / 2) return null;
  return `/${31 - Math.ceil(Math.log2(half))}`;
}
