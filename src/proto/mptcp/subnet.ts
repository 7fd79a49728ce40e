/**
 * Addresses as a path manager compares them: in a subnet, and IPv4 behind the `::ffff:` of an IPv6
 * socket (RFC 4291 section 2.5.5.2) as the IPv4 address that it is.
 *
 * @module
 */
import { Family, parseInet } from "../../wire/inet.ts";

/** `10.0.0.0/8`, read. */
export interface Subnet {
  readonly family: number;
  readonly bytes: Uint8Array;
  readonly prefixLength: number;
}

const MAPPED = "::ffff:";
const scratch: Uint8Array = new Uint8Array(16);

/** Reads `ADDRESS/LENGTH`, or an address alone as all of its bits; null when it is neither. */
export function parseSubnet(text: string): Subnet | null {
  const slash = text.indexOf("/");
  const bytes = new Uint8Array(16);
  const family = parseInet(slash < 0 ? text : text.slice(0, slash), bytes);
  if (family === Family.None) return null;
  const bits = family === Family.Inet ? 32 : 128;
  const length = slash < 0 ? `${bits}` : text.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length) || Number(length) > bits) return null;
  return { family, bytes, prefixLength: Number(length) };
}

/** Whether an address, in either form, is in a subnet. */
export function inSubnet(subnet: Subnet, address: string): boolean {
  if (parseInet(plainAddress(address), scratch) !== subnet.family) return false;
  const whole = subnet.prefixLength >> 3;
  for (let at = 0; at < whole; at++) if (scratch[at] !== subnet.bytes[at]) return false;
  const rest = subnet.prefixLength & 7;
  return rest === 0 || ((scratch[whole]! ^ subnet.bytes[whole]!) >> (8 - rest)) === 0;
}

/** The IPv4 address of a v4-mapped one; any other as it is. */
export function plainAddress(address: string): string {
  return address.startsWith(MAPPED) && address.includes(".")
    ? address.slice(MAPPED.length)
    : address;
}

/** Whether a plain address is IPv4. */
export function isInet(plain: string): boolean {
  return !plain.includes(":");
}

/** A plain address in the form of a socket: v4-mapped when the socket is an IPv6 one. */
export function socketForm(plain: string, socketAddress: string): string {
  return socketAddress.includes(":") && isInet(plain) ? MAPPED + plain : plain;
}

/** Whether a text is an address at all. */
export function isAddress(text: string): boolean {
  return parseInet(text, scratch) !== Family.None;
}

/** 127.0.0.0/8 and ::1, plain. */
export function isLoopback(plain: string): boolean {
  return plain.startsWith("127.") || plain === "::1";
}

/** fe80::/10 and 169.254.0.0/16, plain. */
export function isLinkLocal(plain: string): boolean {
  return /^fe[89ab]/i.test(plain) || plain.startsWith("169.254.");
}

/** Whether a name fits a pattern in which `*` stands for any run of characters. */
export function fitsName(pattern: string, name: string): boolean {
  const parts = pattern.split("*");
  const first = parts[0]!;
  if (parts.length === 1) return pattern === name;
  const last = parts[parts.length - 1]!;
  if (!name.startsWith(first)) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.length - last.length >= at && name.endsWith(last);
}
