/**
 * What all of NETLINK_XFRM has in common: the kernel's xfrm.h, its messages, groups, attributes and
 * flags, and what identifies an SA (struct xfrm_usersa_id with struct xfrm_mark). Numbers are in host
 * order but for SPIs and ports; IPv4 addresses are the first four bytes of sixteen.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family, formatInet } from "../inet.ts";
import {
  type Attribute,
  ATTRIBUTE_HEADER_SIZE,
  checkSize,
  readAttribute,
  writeU8,
} from "./attribute.ts";
import { align4 } from "./nlmsg.ts";

/** XFRM_MSG_*: `nlmsg_type`. */
export const XfrmMsg = {
  NewSa: 0x10,
  DelSa: 0x11,
  GetSa: 0x12,
  NewPolicy: 0x13,
  DelPolicy: 0x14,
  GetPolicy: 0x15,
  AllocSpi: 0x16,
  Acquire: 0x17,
  Expire: 0x18,
  UpdPolicy: 0x19,
  UpdSa: 0x1a,
  PolExpire: 0x1b,
  FlushSa: 0x1c,
  FlushPolicy: 0x1d,
  NewAe: 0x1e,
  GetAe: 0x1f,
  Report: 0x20,
  Migrate: 0x21,
  NewSadInfo: 0x22,
  GetSadInfo: 0x23,
  NewSpdInfo: 0x24,
  GetSpdInfo: 0x25,
  Mapping: 0x26,
  SetDefault: 0x27,
  GetDefault: 0x28,
} as const;

/** XFRMNLGRP_*: what NETLINK_ADD_MEMBERSHIP takes. */
export const XfrmGroup = {
  Acquire: 1,
  Expire: 2,
  Sa: 3,
  Policy: 4,
  Aevents: 5,
  Report: 6,
  Migrate: 7,
  Mapping: 8,
} as const;

/** XFRMA_*. */
export const XfrmAttribute = {
  AlgAuth: 1,
  AlgCrypt: 2,
  AlgComp: 3,
  Encap: 4,
  Tmpl: 5,
  Sa: 6,
  Policy: 7,
  LtimeVal: 9,
  ReplayVal: 10,
  ReplayThresh: 11,
  EtimerThresh: 12,
  Coaddr: 14,
  Lastused: 15,
  PolicyType: 16,
  Migrate: 17,
  AlgAead: 18,
  Kmaddress: 19,
  AlgAuthTrunc: 20,
  Mark: 21,
  Tfcpad: 22,
  ReplayEsnVal: 23,
  SaExtraFlags: 24,
  Proto: 25,
  /** Empty: some kernels align 64-bit values with it. */
  Pad: 27,
  OffloadDev: 28,
  SetMark: 29,
  SetMarkMask: 30,
  IfId: 31,
  MtimerThresh: 32,
  SaDir: 33,
  NatKeepaliveInterval: 34,
  SaPcpu: 35,
} as const;

/** XFRM_AE_*: what a GETAE asks for, and why an event came. */
export const AeFlag = {
  /** XFRM_AE_RTHR: the replay threshold is asked for. */
  Rthr: 0x01,
  /** XFRM_AE_RVAL: the replay value; always answered. */
  Rval: 0x02,
  /** XFRM_AE_LVAL: the lifetime value; always answered. */
  Lval: 0x04,
  /** XFRM_AE_ETHR: the timer threshold is asked for. */
  Ethr: 0x08,
  /** XFRM_AE_CR: the count of packets was reached. */
  Cr: 0x10,
  /** XFRM_AE_CE: the timer ran out. */
  Ce: 0x20,
  /** XFRM_AE_CU: somebody wrote to the SA. */
  Cu: 0x40,
} as const;

/** `proto` of an SA, of which IPSEC_PROTO_ANY is every one. */
export const XfrmProto = { Esp: 50, Ah: 51, Comp: 108, Any: 255 } as const;

/** XFRM_MODE_*. */
export const XfrmMode = { Transport: 0, Tunnel: 1, Beet: 4 } as const;

/** XFRM_SA_DIR_*: what an SA is for, when whoever made it said so. */
export const XfrmSaDir = { None: 0, In: 1, Out: 2 } as const;

/** Bytes of struct xfrm_usersa_id. */
export const USERSA_ID_SIZE = 24;
/** Bytes of an address, whatever its family. */
export const ADDRESS_SIZE = 16;

/** Offsets in struct xfrm_usersa_id. */
const ID_SPI = 16;
const ID_FAMILY = 20;
const ID_PROTO = 22;

const MARK_SIZE = 8;

const MESSAGE_NAMES: readonly string[] = [
  "NEWSA",
  "DELSA",
  "GETSA",
  "NEWPOLICY",
  "DELPOLICY",
  "GETPOLICY",
  "ALLOCSPI",
  "ACQUIRE",
  "EXPIRE",
  "UPDPOLICY",
  "UPDSA",
  "POLEXPIRE",
  "FLUSHSA",
  "FLUSHPOLICY",
  "NEWAE",
  "GETAE",
  "REPORT",
  "MIGRATE",
  "NEWSADINFO",
  "GETSADINFO",
  "NEWSPDINFO",
  "GETSPDINFO",
  "MAPPING",
  "SETDEFAULT",
  "GETDEFAULT",
];
const PROTO_NAMES: Readonly<Record<number, string>> = {
  43: "route2",
  50: "esp",
  51: "ah",
  60: "hao",
  108: "comp",
  255: "any",
};
const MODE_NAMES: readonly string[] = ["transport", "tunnel", "ro", "in_trigger", "beet", "iptfs"];
const SA_DIR_NAMES: readonly string[] = ["-", "in", "out"];

/** The name of a message without XFRM_MSG_: `NEWSA`. */
export function xfrmMessageName(type: number): string {
  return MESSAGE_NAMES[type - XfrmMsg.NewSa] ?? `message ${type}`;
}

/** The name of a protocol as ip-xfrm(8) spells it: `esp`. */
export function xfrmProtoName(proto: number): string {
  return PROTO_NAMES[proto] ?? `${proto}`;
}

/** The name of a mode: `tunnel`. */
export function xfrmModeName(mode: number): string {
  return MODE_NAMES[mode] ?? `${mode}`;
}

/** The name of an {@linkcode XfrmSaDir}, `-` for none. */
export function xfrmSaDirName(direction: number): string {
  return SA_DIR_NAMES[direction] ?? `${direction}`;
}

/** The name of an address family: `inet`. */
export function xfrmFamilyName(family: number): string {
  return family === Family.Inet ? "inet" : family === Family.Inet6 ? "inet6" : `${family}`;
}

/** Why an event came: `replay`, `timer`, `update`; `answer` of one that was asked for. */
export function aeventCauseName(flags: number): string {
  if ((flags & AeFlag.Cu) !== 0) return "update";
  if ((flags & AeFlag.Cr) !== 0) return "replay";
  return (flags & AeFlag.Ce) !== 0 ? "timer" : "answer";
}

/** An SPI as ip-xfrm(8) writes it: `0x00001000`. */
export function spiText(spi: number): string {
  return `0x${spi.toString(16).padStart(8, "0")}`;
}

/** ` mark 0x5/0xff`, nothing when there is none. */
export function markText(value: number, mask: number): string {
  if (value === 0 && mask === 0) return "";
  return ` mark 0x${value.toString(16)}/0x${mask.toString(16)}`;
}

/** What the kernel finds an SA by. */
export class XfrmSaId {
  /** IPv4 in the first four bytes; the kernel says nothing of the others. */
  readonly daddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  spi = 0;
  /** A {@linkcode Family}. */
  family = 0;
  /** An {@linkcode XfrmProto}. */
  proto = 0;
  /** No mark when this and its mask are 0. */
  markValue = 0;
  markMask = 0;

  /** Takes another's value. */
  copy(other: XfrmSaId): void {
    this.daddr.set(other.daddr);
    this.spi = other.spi;
    this.family = other.family;
    this.proto = other.proto;
    this.markValue = other.markValue;
    this.markMask = other.markMask;
  }

  /** The same SA has the same text: `10.9.0.2 esp 0x00001000 mark 0x5/0xff`. */
  key(): string {
    const { daddr, spi, family, proto, markValue, markMask } = this;
    const address = formatInet(family, daddr);
    return `${address} ${xfrmProtoName(proto)} ${spiText(spi)}${markText(markValue, markMask)}`;
  }
}

/** What has a mark. */
export interface Marked {
  markValue: number;
  markMask: number;
}

/** Reads struct xfrm_usersa_id, whose length the caller has checked; 0, or a negated Fault. */
export function readSaId(from: Region, at: number, into: XfrmSaId): number {
  const { view } = from;
  copyAddress(from, at, into.daddr);
  into.spi = view.getUint32(at + ID_SPI);
  into.family = view.getUint16(at + ID_FAMILY, true);
  into.proto = view.getUint8(at + ID_PROTO);
  into.markValue = into.markMask = 0; // come in an attribute
  return checkFamily(into.family, at + ID_FAMILY);
}

/** Writes struct xfrm_usersa_id; returns the offset after it. */
export function writeSaId(out: Region, at: number, id: XfrmSaId): number {
  const { view } = out;
  putAddress(out, at, id.daddr);
  view.setUint32(at + ID_SPI, id.spi);
  view.setUint16(at + ID_FAMILY, id.family, true);
  view.setUint16(at + ID_PROTO, id.proto, true); // and the padding
  return at + USERSA_ID_SIZE;
}

/** Reads the value of XFRMA_MARK; 0, or a negated {@linkcode Fault}. */
export function readMark(from: Region, attribute: Attribute, into: Marked): number {
  if (checkSize(attribute, MARK_SIZE) < 0) return -Fault.Field;
  into.markValue = from.view.getUint32(attribute.at, true);
  into.markMask = from.view.getUint32(attribute.at + 4, true);
  return 0;
}

/** Writes XFRMA_MARK when there is a mark; returns where the next attribute begins. */
export function writeMark(out: Region, at: number, marked: Marked): number {
  const { markValue, markMask } = marked;
  if (markValue === 0 && markMask === 0) return at;
  const value = beginXfrmAttribute(out, at, XfrmAttribute.Mark, MARK_SIZE);
  out.view.setUint32(value, markValue, true);
  out.view.setUint32(value + 4, markMask, true);
  return value + MARK_SIZE;
}

/** Writes XFRMA_PROTO, which a dump of SAs can be limited to. */
export function writeProto(out: Region, at: number, proto: number): number {
  return writeU8(out, at, XfrmAttribute.Proto, proto);
}

/**
 * Reads the attribute at `at` as {@linkcode readAttribute} does, of a message that may begin
 * anywhere: bodies that came in a post are not aligned to what the memory begins with.
 */
export function readXfrmAttribute(from: Region, at: number, end: number, into: Attribute): number {
  const read = readAttribute(from, at, end, into);
  if (read < 0) return read;
  const next = at + align4(into.end - at);
  return end - next < ATTRIBUTE_HEADER_SIZE ? end : next;
}

/** Writes the header of an attribute of `size` bytes, a multiple of four; returns where they are. */
export function beginXfrmAttribute(out: Region, at: number, type: number, size: number): number {
  out.view.setUint16(at, ATTRIBUTE_HEADER_SIZE + size, true);
  out.view.setUint16(at + 2, type, true);
  return at + ATTRIBUTE_HEADER_SIZE;
}

/** Copies sixteen bytes to the start of `into`. */
export function copyAddress({ bytes }: Region, at: number, into: Uint8Array): void {
  for (let i = 0; i < ADDRESS_SIZE; i++) into[i] = bytes[at + i]!;
}

/** Writes sixteen bytes. */
export function putAddress({ bytes }: Region, at: number, address: Uint8Array): void {
  for (let i = 0; i < ADDRESS_SIZE; i++) bytes[at + i] = address[i]!;
}

/** 0, or a negated {@linkcode Fault} when a family is none that SAs have. */
export function checkFamily(family: number, at: number): number {
  if (family === Family.Inet || family === Family.Inet6) return 0;
  return fail(Fault.Field, "xfrm family", at, family, "2 (AF_INET) or 10 (AF_INET6)");
}

/** 0, or a negated {@linkcode Fault} when the struct named `field` has less than `size` bytes. */
export function checkStruct(
  field: string,
  at: number,
  end: number,
  size: number,
  expected: string,
): number {
  return end - at < size ? fail(Fault.Field, field, at, end - at, expected) : 0;
}
