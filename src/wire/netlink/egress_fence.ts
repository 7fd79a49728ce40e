/**
 * The fence that keeps a box from sending with the keys of its security associations while another box
 * may, as nf_tables batches (nftables.ts): RFC 4303 section 2.2 lets each sequence number go out once.
 * The kernel goes on when the program that watches it is dead, so what lets packets pass are set
 * elements with a timeout, which the kernel takes away by itself.
 *
 * - `transform` sees, at the last moment before it, what the kernel is about to transform, whatever comes
 *   of it (ESP, AH, UDP on any port, in hardware): `fence`
 * - `output` sees the packets of this host, and what the kernel has made of others by then: ESP, AH, and
 *   ESP in UDP (RFC 3948 section 2.1: port 4500, and no zero SPI as IKE has there): `fence`. So
 *   nothing that waited for its cipher leaves late. Transit is not seen here, as the keys are others'.
 * - `fence`: accepted while `lease` has the packet's family, IPv4 or IPv6; else counted and dropped
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import {
  beginNftElement,
  beginNftElements,
  beginNftRule,
  endNftElement,
  endNftElements,
  endNftRule,
  NftHook,
  NftKeyType,
  writeNftAccept,
  writeNftBatchBegin,
  writeNftBatchEnd,
  writeNftChain,
  writeNftCounter,
  writeNftDrop,
  writeNftEqual,
  writeNftFlush,
  writeNftHookChain,
  writeNftJump,
  writeNftLookup,
  writeNftMeta,
  writeNftSet,
  writeNftTable,
  writeNftTableDelete,
  writeNftTransformed,
  writeNftTransport,
  writeNftUnequal,
} from "./nftables.ts";

/** A timeout of {@linkcode writeFence}: the fence is closed. */
export const FENCE_CLOSED = -1;
/** The fence is open until it is closed. */
export const FENCE_ENDLESS = 0;

/** Rules that a fence has. */
export const FENCE_RULES = 7;

/** Bytes that {@linkcode writeFence} may take. */
export const FENCE_BYTES_MAX = 4096;

// Names that are no words of nft(8), so that it can be asked for them.
const LEASE = "lease";
const FENCE = "fence";
const TRANSFORM = "transform";
const OUTPUT = "out";

const PRIORITY = 300; // after NF_IP_PRI_NAT_SRC, which may choose what transforms a packet
const META_NFPROTO = 15; // NFT_META_NFPROTO
const META_L4PROTO = 16; // NFT_META_L4PROTO
const UDP = 17;
const ESP = 50;
const AH = 51;
const UDP_HEADER_SIZE = 8;
const NAT_PORT = 4500;

/**
 * Writes the batch that makes a fence, in place of a table of that name: {@linkcode FENCE_CLOSED}, open
 * for so many milliseconds, or {@linkcode FENCE_ENDLESS}. Its answer is the acknowledgement of the last
 * message that asks for one, after the errors of others if there are any.
 */
export function writeFence(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  timeoutMs: number,
): number {
  let end = writeTable(out, writeNftBatchBegin(out, at, sequence), sequence, table);
  if (timeoutMs !== FENCE_CLOSED) end = writeLease(out, end, sequence, table, timeoutMs);
  return writeNftBatchEnd(out, end, sequence);
}

/** Writes the batch that makes a fence and takes it away again: the kernel says whether it could. */
export function writeFenceProbe(out: Region, at: number, sequence: number, table: string): number {
  let end = writeTable(out, writeNftBatchBegin(out, at, sequence), sequence, table);
  end = writeNftTableDelete(out, end, sequence, table, true);
  return writeNftBatchEnd(out, end, sequence);
}

/**
 * Writes the batch that gives the lease another timeout, as with {@linkcode writeFence}. Elements are
 * deleted and added, as kernels before 6.12 do not renew them; a batch is one step, so no packet
 * finds the set empty between.
 */
export function writeFenceLease(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  timeoutMs: number,
): number {
  let end = writeNftBatchBegin(out, at, sequence);
  end = writeNftFlush(out, end, sequence, table, LEASE);
  if (timeoutMs !== FENCE_CLOSED) end = writeLease(out, end, sequence, table, timeoutMs);
  return writeNftBatchEnd(out, end, sequence);
}

/** Writes the batch that takes the fence away: everything passes. */
export function writeFenceDelete(
  out: Region,
  at: number,
  sequence: number,
  table: string,
): number {
  let end = writeNftBatchBegin(out, at, sequence);
  end = writeNftTableDelete(out, end, sequence, table, true);
  return writeNftBatchEnd(out, end, sequence);
}

function writeTable(out: Region, at: number, sequence: number, table: string): number {
  let end = writeNftTable(out, at, sequence, table, false); // it must be there to be deleted
  end = writeNftTableDelete(out, end, sequence, table, false);
  end = writeNftTable(out, end, sequence, table, false);
  end = writeNftSet(out, end, sequence, table, LEASE, 1, NftKeyType.Family, 1, true);
  end = writeNftChain(out, end, sequence, table, FENCE);
  end = writeFenceRules(out, end, sequence, table);
  const { Output, Postrouting } = NftHook;
  end = writeNftHookChain(out, end, sequence, table, TRANSFORM, Postrouting, PRIORITY);
  end = writeTransformRule(out, end, sequence, table);
  end = writeNftHookChain(out, end, sequence, table, OUTPUT, Output, PRIORITY);
  return writeOutputRules(out, end, sequence, table);
}

function writeLease(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  timeoutMs: number,
): number {
  const elements = beginNftElements(out, at, sequence, table, LEASE, false);
  let end = elements;
  for (const family of FAMILIES) {
    const key = beginNftElement(out, end, 1);
    out.view.setUint8(key, family);
    end = endNftElement(out, key, 1, timeoutMs);
  }
  return endNftElements(out, at, elements, end);
}

function writeFenceRules(out: Region, at: number, sequence: number, table: string): number {
  let rule = beginNftRule(out, at, sequence, table, FENCE, false);
  let end = writeNftMeta(out, rule, META_NFPROTO);
  end = writeNftLookup(out, end, LEASE);
  const next = endNftRule(out, at, rule, writeNftAccept(out, end));

  rule = beginNftRule(out, next, sequence, table, FENCE, false);
  end = writeNftCounter(out, rule);
  return endNftRule(out, next, rule, writeNftDrop(out, end));
}

function writeTransformRule(out: Region, at: number, sequence: number, table: string): number {
  const rule = beginNftRule(out, at, sequence, table, TRANSFORM, false);
  let end = writeNftTransformed(out, rule);
  end = writeNftEqual(out, end, 1, 1);
  return endNftRule(out, at, rule, writeNftJump(out, end, FENCE));
}

function writeOutputRules(out: Region, at: number, sequence: number, table: string): number {
  let next = at;
  for (const protocol of TRANSFORMED) {
    const rule = beginNftRule(out, next, sequence, table, OUTPUT, false);
    let end = writeNftMeta(out, rule, META_L4PROTO);
    end = writeNftEqual(out, end, protocol, 1);
    next = endNftRule(out, next, rule, writeNftJump(out, end, FENCE));
  }
  for (const offset of PORTS) {
    const rule = beginNftRule(out, next, sequence, table, OUTPUT, offset === PORTS[1]);
    let end = writeNftMeta(out, rule, META_L4PROTO);
    end = writeNftEqual(out, end, UDP, 1);
    end = writeNftTransport(out, end, offset, 2);
    end = writeNftEqual(out, end, NAT_PORT, 2);
    end = writeNftTransport(out, end, UDP_HEADER_SIZE, 4);
    end = writeNftUnequal(out, end, 0, 4);
    next = endNftRule(out, next, rule, writeNftJump(out, end, FENCE));
  }
  return next;
}

/** NFPROTO_IPV4, NFPROTO_IPV6. */
const FAMILIES = [2, 10] as const;
const TRANSFORMED = [ESP, AH] as const;
/** Where the ports of a UDP header are: source, destination. */
const PORTS = [0, 2] as const;
