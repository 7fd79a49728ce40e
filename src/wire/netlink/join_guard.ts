/**
 * The guard that judges MP_JOIN before the kernel does, as nf_tables batches (nftables.ts). A SYN with a TCP
 * option of kind 30 (RFC 8684 section 3) goes through three chains:
 *
 * - `input`: SYN without ACK, with such an option: `options`
 * - `options`: an MP_CAPABLE that the kernel takes for one (section 3.1) is accepted: beside it the kernel
 *   does not join; an MP_JOIN of 12 bytes (section 3.2): `joins`; anything else is struck out, which
 *   leaves TCP, and refused when there is one more, as it would hide an MP_JOIN
 * - `joins`: token . address id in `allowed`: accepted; token in `refused`: refused; in `accepted`:
 *   accepted; else the default
 *
 * Every attempt is logged to an NFLOG group, with its verdict as the prefix. Rules see the first option
 * of a kind only: a second MP_JOIN behind one that is accepted is not seen here, and told by the events of
 * the kernel.
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
  NFT_REGISTER,
  NftKeyType,
  writeNftAccept,
  writeNftBatchBegin,
  writeNftBatchEnd,
  writeNftChain,
  writeNftEqual,
  writeNftInputChain,
  writeNftJump,
  writeNftLog,
  writeNftLookup,
  writeNftMask,
  writeNftMeta,
  writeNftQueue,
  writeNftQueueTarget,
  writeNftReset,
  writeNftSet,
  writeNftTable,
  writeNftTableDelete,
  writeNftTcpOption,
  writeNftTcpOptionPresent,
  writeNftTcpOptionStrip,
  writeNftTransport,
} from "./nftables.ts";

/** What becomes of an MP_JOIN that no set names. */
export const GuardDefault = {
  Accept: 0,
  Refuse: 1,
  /** Accepted when it comes in by an interface of `links`, else refused. */
  Links: 2,
  /** Waits in an NFQUEUE. */
  Queue: 3,
} as const;

/** The prefixes of the log. */
export const GuardPrefix = {
  Accepted: "accepted",
  Refused: "refused",
  Waiting: "waiting",
} as const;

/** What a guard is made of. */
export interface Guard {
  /** Name of its table. */
  readonly table: string;
  /** The table dies with the socket that wrote it; else it stays until it is deleted. */
  readonly owned: boolean;
  /** NFLOG group of the attempts. */
  readonly logGroup: number;
  /** One of {@linkcode GuardDefault}. */
  readonly default: number;
  /** Of {@linkcode GuardDefault}.Queue: its number. */
  readonly queue: number;
  /** Accept when nobody listens to the queue; else drop, and the peer tries again. */
  readonly bypass: boolean;
  /** Kernel without CONFIG_NFT_QUEUE (it answers ENOENT): by xt_NFQUEUE. */
  readonly queueByTarget: boolean;
}

// Names that are no words of nft(8), so that it can be asked for them.
const ACCEPT = "accepted";
const REFUSE = "refused";
const ALLOW = "allowed";
const DENY = "denied";
const LINKS = "links";
const INPUT = "input";
const OPTION = "options";
const JOIN = "joins";

const TOKEN_BYTES = 4;
const ADDRESS_BYTES = 8; // token, address id padded to a word
const NAME_BYTES = 16; // IFNAMSIZ
const KIND_MPTCP = 30; // TCPOPT_MPTCP
const SYN = 0x02;
const SYN_ACK = 0x12;
const META_IIFNAME = 6; // NFT_META_IIFNAME
const META_L4PROTO = 16; // NFT_META_L4PROTO
const TCP = 6; // IPPROTO_TCP

/** Tokens that one message may carry: its list has a length of 16 bits. */
export const GUARD_TOKENS_MAX = 2048;

/** Bytes that {@linkcode writeGuard} may take. */
export const GUARD_BYTES_MAX = 6144;

/** Bytes that {@linkcode writeGuardTokens} may take with `count` tokens. */
export function guardTokensBytes(count: number): number {
  return 256 + 20 * count;
}

/**
 * Writes the batch that makes a guard, in place of a table of that name, with empty sets. Its answer is the
 * acknowledgement of the last rule, after the errors of others if there are any.
 */
export function writeGuard(out: Region, at: number, sequence: number, guard: Guard): number {
  const { table, owned } = guard;
  let end = writeNftBatchBegin(out, at, sequence);
  end = writeNftTable(out, end, sequence, table, owned); // it must be there to be deleted
  end = writeNftTableDelete(out, end, sequence, table, false);
  end = writeNftTable(out, end, sequence, table, owned);
  const { Bytes, Ifname } = NftKeyType;
  end = writeNftSet(out, end, sequence, table, ACCEPT, 1, Bytes, TOKEN_BYTES);
  end = writeNftSet(out, end, sequence, table, REFUSE, 2, Bytes, TOKEN_BYTES);
  end = writeNftSet(out, end, sequence, table, ALLOW, 3, Bytes, ADDRESS_BYTES);
  end = writeNftSet(out, end, sequence, table, LINKS, 4, Ifname, NAME_BYTES);
  end = writeNftSet(out, end, sequence, table, DENY, 5, Bytes, ADDRESS_BYTES);
  end = writeNftInputChain(out, end, sequence, table, INPUT);
  end = writeNftChain(out, end, sequence, table, OPTION);
  end = writeNftChain(out, end, sequence, table, JOIN);
  end = writeInputRule(out, end, sequence, table);
  end = writeOptionRules(out, end, sequence, guard);
  end = writeJoinRules(out, end, sequence, guard);
  return writeNftBatchEnd(out, end, sequence);
}

/** Writes the batch that deletes the table. */
export function writeGuardDelete(
  out: Region,
  at: number,
  sequence: number,
  table: string,
): number {
  let end = writeNftBatchBegin(out, at, sequence);
  end = writeNftTableDelete(out, end, sequence, table, true);
  return writeNftBatchEnd(out, end, sequence);
}

/**
 * Writes the batch that adds the first `count` tokens, at most {@linkcode GUARD_TOKENS_MAX}, to those that
 * are accepted or refused, or removes them: ENOENT, and nothing is done, when one is not there.
 */
export function writeGuardTokens(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  set: "accept" | "refuse",
  remove: boolean,
  tokens: Uint32Array,
  count: number,
): number {
  const message = writeNftBatchBegin(out, at, sequence);
  const name = set === "accept" ? ACCEPT : REFUSE;
  const elements = beginNftElements(out, message, sequence, table, name, remove);
  let end = elements;
  for (let i = 0; i < count; i++) {
    const key = beginNftElement(out, end, TOKEN_BYTES);
    out.view.setUint32(key, tokens[i]!);
    end = endNftElement(out, key, TOKEN_BYTES);
  }
  end = endNftElements(out, message, elements, end);
  return writeNftBatchEnd(out, end, sequence);
}

/** Writes the batch that allows joins of one address id to one connection, or takes that back. */
export function writeGuardAllow(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  remove: boolean,
  token: number,
  addressId: number,
): number {
  return writeAddress(out, at, sequence, table, ALLOW, remove, token, addressId);
}

/** The same for joins that are refused, whatever else says. */
export function writeGuardDeny(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  remove: boolean,
  token: number,
  addressId: number,
): number {
  return writeAddress(out, at, sequence, table, DENY, remove, token, addressId);
}

/** Writes the batch that adds an interface, by name, to `links`, or removes it. */
export function writeGuardLink(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  remove: boolean,
  name: string,
): number {
  const message = writeNftBatchBegin(out, at, sequence);
  const elements = beginNftElements(out, message, sequence, table, LINKS, remove);
  const key = beginNftElement(out, elements, NAME_BYTES);
  const length = Math.min(name.length, NAME_BYTES - 1);
  for (let i = 0; i < length; i++) out.bytes[key + i] = name.charCodeAt(i);
  let end = endNftElement(out, key, NAME_BYTES);
  end = endNftElements(out, message, elements, end);
  return writeNftBatchEnd(out, end, sequence);
}

function writeAddress(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  set: string,
  remove: boolean,
  token: number,
  addressId: number,
): number {
  const message = writeNftBatchBegin(out, at, sequence);
  const elements = beginNftElements(out, message, sequence, table, set, remove);
  const key = beginNftElement(out, elements, ADDRESS_BYTES);
  out.view.setUint32(key, token);
  out.view.setUint8(key + 4, addressId);
  let end = endNftElement(out, key, ADDRESS_BYTES);
  end = endNftElements(out, message, elements, end);
  return writeNftBatchEnd(out, end, sequence);
}

function writeInputRule(out: Region, at: number, sequence: number, table: string): number {
  const rule = beginNftRule(out, at, sequence, table, INPUT, false);
  let end = writeNftMeta(out, rule, META_L4PROTO);
  end = writeNftEqual(out, end, TCP, 1);
  end = writeNftTransport(out, end, 13, 1); // the flags
  end = writeNftMask(out, end, SYN_ACK, 1);
  end = writeNftEqual(out, end, SYN, 1);
  end = writeNftTcpOptionPresent(out, end, KIND_MPTCP);
  end = writeNftEqual(out, end, 1, 1);
  return endNftRule(out, at, rule, writeNftJump(out, end, OPTION));
}

function writeOptionRules(out: Region, at: number, sequence: number, guard: Guard): number {
  const { table } = guard;
  let rule = beginNftRule(out, at, sequence, table, OPTION, false);
  let end = writeNftTcpOption(out, rule, KIND_MPTCP, 0, 4, NFT_REGISTER);
  end = writeNftMask(out, end, 0x00ffff41, 4); // length, subtype and version, flags B and H
  end = writeNftEqual(out, end, 0x00040101, 4); // MP_CAPABLE of 4 bytes, version 1, H
  end = writeNftAccept(out, end);
  let next = endNftRule(out, at, rule, end);

  rule = beginNftRule(out, next, sequence, table, OPTION, false);
  end = writeNftTcpOption(out, rule, KIND_MPTCP, 0, 4, NFT_REGISTER);
  end = writeNftMask(out, end, 0x00fff000, 4); // length, subtype
  end = writeNftEqual(out, end, 0x000c1000, 4); // MP_JOIN of 12 bytes
  end = writeNftJump(out, end, JOIN);
  next = endNftRule(out, next, rule, end);

  rule = beginNftRule(out, next, sequence, table, OPTION, false);
  end = writeNftTcpOptionStrip(out, rule, KIND_MPTCP);
  end = writeNftTcpOptionPresent(out, end, KIND_MPTCP);
  end = writeNftEqual(out, end, 0, 1);
  next = endNftRule(out, next, rule, writeNftAccept(out, end));

  return writeRefuse(out, next, sequence, guard, OPTION, false);
}

function writeJoinRules(out: Region, at: number, sequence: number, guard: Guard): number {
  const { table, logGroup } = guard;
  const { Accepted, Refused } = GuardPrefix;
  let rule = beginNftRule(out, at, sequence, table, JOIN, false);
  let end = writeAddressIn(out, rule, DENY);
  end = writeNftLog(out, end, logGroup, Refused);
  let next = endNftRule(out, at, rule, writeNftReset(out, end));

  rule = beginNftRule(out, next, sequence, table, JOIN, false);
  end = writeAddressIn(out, rule, ALLOW);
  end = writeNftLog(out, end, logGroup, Accepted);
  next = endNftRule(out, next, rule, writeNftAccept(out, end));

  rule = beginNftRule(out, next, sequence, table, JOIN, false);
  end = writeTokenIn(out, rule, REFUSE);
  end = writeNftLog(out, end, logGroup, Refused);
  next = endNftRule(out, next, rule, writeNftReset(out, end));

  rule = beginNftRule(out, next, sequence, table, JOIN, false);
  end = writeTokenIn(out, rule, ACCEPT);
  end = writeNftLog(out, end, logGroup, Accepted);
  next = endNftRule(out, next, rule, writeNftAccept(out, end));

  return writeDefault(out, next, sequence, guard);
}

function writeAddressIn(out: Region, at: number, set: string): number {
  let end = writeNftTcpOption(out, at, KIND_MPTCP, 4, 4, NFT_REGISTER); // the token
  end = writeNftTcpOption(out, end, KIND_MPTCP, 3, 1, NFT_REGISTER + 1); // the address id
  return writeNftLookup(out, end, set);
}

function writeTokenIn(out: Region, at: number, set: string): number {
  const end = writeNftTcpOption(out, at, KIND_MPTCP, 4, 4, NFT_REGISTER);
  return writeNftLookup(out, end, set);
}

function writeDefault(out: Region, at: number, sequence: number, guard: Guard): number {
  const { table, logGroup, queue, bypass } = guard;
  if (guard.default === GuardDefault.Refuse) {
    return writeRefuse(out, at, sequence, guard, JOIN, true);
  }
  const queued = guard.default === GuardDefault.Queue;
  const listed = guard.default === GuardDefault.Links;
  const rule = beginNftRule(out, at, sequence, table, JOIN, !listed);
  let end = rule;
  if (listed) end = writeNftLookup(out, writeNftMeta(out, end, META_IIFNAME), LINKS);
  end = writeNftLog(out, end, logGroup, queued ? GuardPrefix.Waiting : GuardPrefix.Accepted);
  if (!queued) end = writeNftAccept(out, end);
  else if (guard.queueByTarget) end = writeNftQueueTarget(out, end, queue, bypass);
  else end = writeNftQueue(out, end, queue, bypass);
  end = endNftRule(out, at, rule, end);
  return listed ? writeRefuse(out, end, sequence, guard, JOIN, true) : end;
}

function writeRefuse(
  out: Region,
  at: number,
  sequence: number,
  { table, logGroup }: Guard,
  chain: string,
  ack: boolean,
): number {
  const rule = beginNftRule(out, at, sequence, table, chain, ack);
  const end = writeNftLog(out, rule, logGroup, GuardPrefix.Refused);
  return endNftRule(out, at, rule, writeNftReset(out, end));
}
