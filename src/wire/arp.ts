/**
 * Announcements of an IPv4 address by ARP: RFC 826 in frames of Ethernet, and the two forms that hosts
 * learn from without having asked, RFC 5227 section 3 (a request for one's own address, which every
 * host must take) and RFC 5944 section 4.6 (a reply, for those that take only these).
 *
 * @module
 */
import { fail, Fault } from "../mem/fault.ts";
import type { Region } from "../mem/region.ts";

/** Bytes of a hardware address of Ethernet. */
export const HARDWARE_BYTES = 6;
/** Bytes of a frame's header. */
export const ETHERNET_HEADER_SIZE = 14;
/** Bytes of an ARP frame; what carries it pads it. */
export const ARP_FRAME_SIZE = 42;

/** What a frame carries. */
export const EtherType = { Arp: 0x0806, Inet6: 0x86dd } as const;

/** `ar$op`. */
export const ArpOperation = { Request: 1, Reply: 2 } as const;

/** Offsets in a frame. */
const SOURCE = 6;
const TYPE = 12;
const HARDWARE = 14; // ar$hrd
const OPERATION = 20; // ar$op
const SENDER_HARDWARE = 22; // ar$sha
const SENDER = 28; // ar$spa
const TARGET_HARDWARE = 32; // ar$tha
const TARGET = 38; // ar$tpa

/** Ethernet, IPv4, and the lengths of their addresses. */
const KIND = [0x00010800, 0x0604] as const;

/** What an ARP frame says. */
export class Arp {
  /** One of {@linkcode ArpOperation}. */
  operation = 0;
  readonly senderHardware: Uint8Array = new Uint8Array(HARDWARE_BYTES);
  readonly sender: Uint8Array = new Uint8Array(4);
  readonly targetHardware: Uint8Array = new Uint8Array(HARDWARE_BYTES);
  readonly target: Uint8Array = new Uint8Array(4);
}

/**
 * Writes the header of a frame from `source` to `destination`; returns where what it carries begins.
 */
export function writeEthernet(
  out: Region,
  at: number,
  destination: Uint8Array,
  source: Uint8Array,
  type: number,
): number {
  copy(out, at, destination, HARDWARE_BYTES);
  copy(out, at + SOURCE, source, HARDWARE_BYTES);
  out.view.setUint16(at + TYPE, type);
  return at + ETHERNET_HEADER_SIZE;
}

/**
 * Writes the frame that tells everybody on the link that the IPv4 `address` is at `hardware`: as a
 * request its target's hardware address is empty (RFC 5227 section 1.1), as a reply it is our own.
 * Returns its end.
 */
export function writeGratuitousArp(
  out: Region,
  at: number,
  operation: number,
  hardware: Uint8Array,
  address: Uint8Array,
): number {
  const { bytes, view } = out;
  writeEthernet(out, at, BROADCAST, hardware, EtherType.Arp);
  view.setUint32(at + HARDWARE, KIND[0]);
  view.setUint16(at + HARDWARE + 4, KIND[1]);
  view.setUint16(at + OPERATION, operation);
  copy(out, at + SENDER_HARDWARE, hardware, HARDWARE_BYTES);
  copy(out, at + SENDER, address, 4);
  if (operation === ArpOperation.Reply) copy(out, at + TARGET_HARDWARE, hardware, HARDWARE_BYTES);
  else bytes.fill(0, at + TARGET_HARDWARE, at + TARGET_HARDWARE + HARDWARE_BYTES);
  copy(out, at + TARGET, address, 4);
  return at + ARP_FRAME_SIZE;
}

/** Reads an ARP frame for IPv4; returns its end, or a negated {@linkcode Fault}. */
export function readArp(from: Region, at: number, end: number, into: Arp): number {
  if (end - at < ARP_FRAME_SIZE) return fail(Fault.Short, "ARP length", at, end - at, "42 or more");
  const { bytes, view } = from;
  const type = view.getUint16(at + TYPE);
  if (type !== EtherType.Arp) return fail(Fault.Field, "EtherType", at + TYPE, type, "0x0806");
  const kind = view.getUint32(at + HARDWARE);
  if (kind !== KIND[0]) return fail(Fault.Field, "ar$hrd", at + HARDWARE, kind, "Ethernet, IPv4");
  const lengths = view.getUint16(at + HARDWARE + 4);
  if (lengths !== KIND[1]) return fail(Fault.Field, "ar$hln", at + HARDWARE, lengths, "6 and 4");
  into.operation = view.getUint16(at + OPERATION);
  for (let i = 0; i < HARDWARE_BYTES; i++) {
    into.senderHardware[i] = bytes[at + SENDER_HARDWARE + i]!;
    into.targetHardware[i] = bytes[at + TARGET_HARDWARE + i]!;
  }
  for (let i = 0; i < 4; i++) {
    into.sender[i] = bytes[at + SENDER + i]!;
    into.target[i] = bytes[at + TARGET + i]!;
  }
  return at + ARP_FRAME_SIZE;
}

function copy({ bytes }: Region, at: number, from: Uint8Array, size: number): void {
  for (let i = 0; i < size; i++) bytes[at + i] = from[i]!;
}

const BROADCAST = new Uint8Array(HARDWARE_BYTES).fill(0xff);
