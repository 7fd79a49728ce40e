/**
 * nf_tables over netlink: the kernel's nf_tables.h and nf_tables_compat.h. Messages between a
 * beginning and an end of a batch are done together or not at all. All numbers are in network order.
 * Each writer makes one message and returns where the next one begins; all messages of a batch may
 * carry the same sequence.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import {
  Attribute,
  attributeU32Be,
  beginNest,
  checkSize,
  endNest,
  readAttribute,
  writeText,
  writeU16Be,
  writeU32Be,
  writeU8,
} from "./attribute.ts";
import { beginNfnetlink, NfnlSubsystem, Nfproto, readNfnetlink } from "./nfnetlink.ts";
import { align4, beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";

const BATCH_BEGIN = 16; // NFNL_MSG_BATCH_BEGIN
const BATCH_END = 17; // NFNL_MSG_BATCH_END
const MSG_NEWTABLE = 0; // NFT_MSG_NEWTABLE
const MSG_DELTABLE = 2; // NFT_MSG_DELTABLE
const MSG_NEWCHAIN = 3; // NFT_MSG_NEWCHAIN
const MSG_NEWRULE = 6; // NFT_MSG_NEWRULE
const MSG_GETRULE = 7; // NFT_MSG_GETRULE
const MSG_NEWSET = 9; // NFT_MSG_NEWSET
const MSG_NEWSETELEM = 12; // NFT_MSG_NEWSETELEM
const MSG_DELSETELEM = 14; // NFT_MSG_DELSETELEM
const MSG_NEWGEN = 15; // NFT_MSG_NEWGEN
const MSG_GETGEN = 16; // NFT_MSG_GETGEN

/** Bytes of what begins a batch, and of what ends it. */
const BATCH_MARK_BYTES = 20;
const GEN_ID = 1; // NFTA_GEN_ID

const LIST_ELEM = 1; // NFTA_LIST_ELEM
const TABLE_NAME = 1; // NFTA_TABLE_NAME
const TABLE_FLAGS = 2; // NFTA_TABLE_FLAGS
const TABLE_F_OWNER = 2; // NFT_TABLE_F_OWNER
const CHAIN_TABLE = 1; // NFTA_CHAIN_TABLE
const CHAIN_NAME = 3; // NFTA_CHAIN_NAME
const CHAIN_HOOK = 4; // NFTA_CHAIN_HOOK
const CHAIN_POLICY = 5; // NFTA_CHAIN_POLICY
const CHAIN_TYPE = 7; // NFTA_CHAIN_TYPE
const HOOK_HOOKNUM = 1; // NFTA_HOOK_HOOKNUM
const HOOK_PRIORITY = 2; // NFTA_HOOK_PRIORITY
const RULE_TABLE = 1; // NFTA_RULE_TABLE
const RULE_CHAIN = 2; // NFTA_RULE_CHAIN
const RULE_EXPRESSIONS = 4; // NFTA_RULE_EXPRESSIONS
const SET_TABLE = 1; // NFTA_SET_TABLE
const SET_NAME = 2; // NFTA_SET_NAME
const SET_FLAGS = 3; // NFTA_SET_FLAGS
const SET_KEY_TYPE = 4; // NFTA_SET_KEY_TYPE
const SET_KEY_LEN = 5; // NFTA_SET_KEY_LEN
const SET_ID = 10; // NFTA_SET_ID
const SET_USERDATA = 13; // NFTA_SET_USERDATA
const SET_TIMEOUT = 0x10; // NFT_SET_TIMEOUT, in SET_FLAGS
const ELEM_LIST_TABLE = 1; // NFTA_SET_ELEM_LIST_TABLE
const ELEM_LIST_SET = 2; // NFTA_SET_ELEM_LIST_SET
const ELEM_LIST_ELEMENTS = 3; // NFTA_SET_ELEM_LIST_ELEMENTS
const ELEM_KEY = 1; // NFTA_SET_ELEM_KEY
const ELEM_TIMEOUT = 4; // NFTA_SET_ELEM_TIMEOUT
const DATA_VALUE = 1; // NFTA_DATA_VALUE
const DATA_VERDICT = 2; // NFTA_DATA_VERDICT
const VERDICT_CODE = 1; // NFTA_VERDICT_CODE
const VERDICT_CHAIN = 2; // NFTA_VERDICT_CHAIN
const EXPR_NAME = 1; // NFTA_EXPR_NAME
const EXPR_DATA = 2; // NFTA_EXPR_DATA
const COUNTER_PACKETS = 2; // NFTA_COUNTER_PACKETS

const HOST_ENDIAN = 1; // enum byteorder of nft(8)
const BIG_ENDIAN = 2;

const CREATE = NlmsgFlag.Request | NlmsgFlag.Create;

/** NFT_REG_VERDICT: where a verdict goes. */
const REG_VERDICT = 0;
/** NFT_REG32_00, a word of the registers; the next numbers are the words after it. */
export const NFT_REGISTER = 8;

/**
 * What a set's key is to nft(8), its enum datatypes: bytes are shown as those of a link-layer address,
 * `11:22:33:44` (1.0.6 cannot show an integer in every place, and aborts).
 */
export const NftKeyType = { Family: 2, Bytes: 6, Ifname: 41 } as const;

/** Where a chain sees packets: NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING. */
export const NftHook = { Input: 1, Output: 3, Postrouting: 4 } as const;

/** Verdicts: NF_DROP, NF_ACCEPT, NFT_JUMP. */
const NftVerdict = { Drop: 0, Accept: 1, Jump: -3 } as const;

/** Begins a batch. */
export function writeNftBatchBegin(out: Region, at: number, sequence: number): number {
  return writeBatchMark(out, at, sequence, BATCH_BEGIN);
}

/** Ends a batch: now it is done. */
export function writeNftBatchEnd(out: Region, at: number, sequence: number): number {
  return writeBatchMark(out, at, sequence, BATCH_END);
}

/**
 * Makes one batch of two: what ends the first one at `middle` and begins the second one there goes.
 * Returns its end.
 */
export function joinNftBatches(out: Region, middle: number, end: number): number {
  out.bytes.copyWithin(middle - BATCH_MARK_BYTES, middle + BATCH_MARK_BYTES, end);
  return end - 2 * BATCH_MARK_BYTES;
}

/** Asks for the generation: a number that each batch of anybody changes. It is no part of a batch. */
export function writeNftGenerationRequest(out: Region, at: number, sequence: number): number {
  const { Ack, Request } = NlmsgFlag;
  const { Tables } = NfnlSubsystem;
  return endNlmsg(
    out,
    at,
    beginNfnetlink(out, at, sequence, Tables, MSG_GETGEN, Request | Ack, Nfproto.Unspec, 0),
  );
}

/** Reads the answer; a negated {@linkcode Fault} when it is none. */
export function readNftGeneration(from: Region, message: Nlmsg): number {
  if (message.type !== ((NfnlSubsystem.Tables << 8) | MSG_NEWGEN)) {
    return fail(Fault.Field, "nf_tables answer", message.at, message.type & 255, "NFT_MSG_NEWGEN");
  }
  let at = readNfnetlink(message);
  while (at >= 0 && at < message.end) {
    at = readAttribute(from, at, message.end, attribute);
    if (at >= 0 && attribute.type === GEN_ID) return attributeU32Be(from, attribute);
  }
  return at < 0 ? at : fail(Fault.Field, "NFTA_GEN_ID", message.at, 0, "there");
}

/** Adds a table for IPv4 and IPv6; an owned one dies with the socket, and nobody else may change it. */
export function writeNftTable(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  owned: boolean,
): number {
  let end = begin(out, at, sequence, MSG_NEWTABLE, CREATE);
  end = writeText(out, end, TABLE_NAME, table);
  end = writeU32Be(out, end, TABLE_FLAGS, owned ? TABLE_F_OWNER : 0);
  return endNlmsg(out, at, end);
}

/** Deletes a table with all that is in it; `ack` asks for an answer. */
export function writeNftTableDelete(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  ack: boolean,
): number {
  const flags = NlmsgFlag.Request | (ack ? NlmsgFlag.Ack : 0);
  const end = begin(out, at, sequence, MSG_DELTABLE, flags);
  return endNlmsg(out, at, writeText(out, end, TABLE_NAME, table));
}

/** Adds a set; `id` is for the batch. The elements of a `timed` one may have a timeout. */
export function writeNftSet(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  set: string,
  id: number,
  keyType: number,
  keyBytes: number,
  timed: boolean = false,
): number {
  let end = begin(out, at, sequence, MSG_NEWSET, CREATE);
  end = writeText(out, end, SET_TABLE, table);
  end = writeText(out, end, SET_NAME, set);
  end = writeU32Be(out, end, SET_FLAGS, timed ? SET_TIMEOUT : 0);
  end = writeU32Be(out, end, SET_KEY_TYPE, keyType);
  end = writeU32Be(out, end, SET_KEY_LEN, keyBytes);
  end = writeU32Be(out, end, SET_ID, id);
  const { view } = out; // for nft(8): type, length, then NFTNL_UDATA_SET_KEYBYTEORDER
  view.setUint16(end, 4 + 6, true);
  view.setUint16(end + 2, SET_USERDATA, true);
  view.setUint16(end + 4, 4 << 8, true);
  view.setUint16(end + 6, keyType === NftKeyType.Bytes ? BIG_ENDIAN : HOST_ENDIAN, true);
  view.setUint32(end + 8, 0, true);
  return endNlmsg(out, at, end + 12);
}

/** Adds a chain that rules jump to. */
export function writeNftChain(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  chain: string,
): number {
  let end = begin(out, at, sequence, MSG_NEWCHAIN, CREATE);
  end = writeText(out, end, CHAIN_TABLE, table);
  end = writeText(out, end, CHAIN_NAME, chain);
  return endNlmsg(out, at, end);
}

/** Adds a chain that sees what comes in for this host, and accepts what no rule judges. */
export function writeNftInputChain(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  chain: string,
): number {
  return writeNftHookChain(out, at, sequence, table, chain, NftHook.Input, 0);
}

/**
 * Adds a chain that sees packets at `hook`, one of {@linkcode NftHook}, after those of lower priority,
 * and accepts what no rule judges.
 */
export function writeNftHookChain(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  chain: string,
  hook: number,
  priority: number,
): number {
  let end = begin(out, at, sequence, MSG_NEWCHAIN, CREATE);
  end = writeText(out, end, CHAIN_TABLE, table);
  end = writeText(out, end, CHAIN_NAME, chain);
  const nest = end;
  end = beginNest(out, nest, CHAIN_HOOK);
  end = writeU32Be(out, end, HOOK_HOOKNUM, hook);
  end = writeU32Be(out, end, HOOK_PRIORITY, priority);
  endNest(out, nest, end);
  end = writeU32Be(out, end, CHAIN_POLICY, NftVerdict.Accept);
  end = writeText(out, end, CHAIN_TYPE, "filter");
  return endNlmsg(out, at, end);
}

/**
 * Begins a rule at the end of a chain; returns where its expressions begin. {@linkcode endNftRule}
 * ends it.
 */
export function beginNftRule(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  chain: string,
  ack: boolean,
): number {
  const flags = CREATE | NlmsgFlag.Append | (ack ? NlmsgFlag.Ack : 0);
  let end = begin(out, at, sequence, MSG_NEWRULE, flags);
  end = writeText(out, end, RULE_TABLE, table);
  end = writeText(out, end, RULE_CHAIN, chain);
  return beginNest(out, end, RULE_EXPRESSIONS);
}

/** Ends the rule that began at `at` and whose expressions began at `expressions`. */
export function endNftRule(out: Region, at: number, expressions: number, end: number): number {
  return endNlmsg(out, at, endNest(out, expressions - 4, end));
}

/** Asks for the rules of a table, {@linkcode NFT_RULE} each; it is no part of a batch. */
export function writeNftRuleDump(
  out: Region,
  at: number,
  sequence: number,
  table: string,
): number {
  const flags = NlmsgFlag.Request | NlmsgFlag.Dump;
  const end = begin(out, at, sequence, MSG_GETRULE, flags);
  return endNlmsg(out, at, writeText(out, end, RULE_TABLE, table));
}

/** The type of a message that tells a rule. */
export const NFT_RULE: number = (NfnlSubsystem.Tables << 8) | MSG_NEWRULE;

/** Packets that the counters of a rule have counted, 0 without any; or a negated {@linkcode Fault}. */
export function readNftRulePackets(from: Region, message: Nlmsg): number {
  let packets = 0;
  let at = readNfnetlink(message);
  while (at >= 0 && at < message.end) {
    at = readAttribute(from, at, message.end, attribute);
    if (at < 0) return at;
    if (attribute.type !== RULE_EXPRESSIONS) continue;
    const { end } = attribute;
    for (let next = attribute.at; next < end;) {
      next = readAttribute(from, next, end, attribute);
      if (next < 0) return next;
      const counted = readCounter(from, attribute.at, attribute.end);
      if (counted < 0) return counted;
      packets += counted;
    }
  }
  return at < 0 ? at : packets;
}

/** Deletes all elements of a set. */
export function writeNftFlush(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  set: string,
): number {
  let end = begin(out, at, sequence, MSG_DELSETELEM, NlmsgFlag.Request | NlmsgFlag.Ack);
  end = writeText(out, end, ELEM_LIST_TABLE, table);
  return endNlmsg(out, at, writeText(out, end, ELEM_LIST_SET, set));
}

/**
 * Begins a list of elements to be added to a set, or removed; returns where they begin.
 * {@linkcode endNftElements} ends it. The answer is asked for.
 */
export function beginNftElements(
  out: Region,
  at: number,
  sequence: number,
  table: string,
  set: string,
  remove: boolean,
): number {
  const flags = NlmsgFlag.Request | NlmsgFlag.Ack | (remove ? 0 : NlmsgFlag.Create);
  let end = begin(out, at, sequence, remove ? MSG_DELSETELEM : MSG_NEWSETELEM, flags);
  end = writeText(out, end, ELEM_LIST_TABLE, table);
  end = writeText(out, end, ELEM_LIST_SET, set);
  return beginNest(out, end, ELEM_LIST_ELEMENTS);
}

/** Ends the list that began at `elements` in the message that began at `at`. */
export function endNftElements(out: Region, at: number, elements: number, end: number): number {
  return endNlmsg(out, at, endNest(out, elements - 4, end));
}

/** Bytes that an element takes beside its key. */
const ELEMENT_HEAD_BYTES = 12;

/** Begins an element whose key has `bytes` bytes, cleared; returns where the key is. */
export function beginNftElement(out: Region, at: number, bytes: number): number {
  const key = beginNest(out, beginNest(out, at, LIST_ELEM), ELEM_KEY);
  out.view.setUint16(key, 4 + bytes, true);
  out.view.setUint16(key + 2, DATA_VALUE, true);
  const value = key + 4;
  out.bytes.fill(0, value, align4(value + bytes));
  return value;
}

/**
 * Ends the element whose key is at `key`; returns where the next one begins. With a timeout the kernel
 * takes it away by itself; 0 is for ever.
 */
export function endNftElement(
  out: Region,
  key: number,
  bytes: number,
  timeoutMs: number = 0,
): number {
  let end = align4(key + bytes);
  endNest(out, key - 8, end);
  if (timeoutMs > 0) {
    const { view } = out;
    view.setUint16(end, 12, true);
    view.setUint16(end + 2, ELEM_TIMEOUT, true);
    view.setUint32(end + 4, 0); // a timeout of 49 days is no timeout
    view.setUint32(end + 8, timeoutMs);
    end += 12;
  }
  return endNest(out, key - ELEMENT_HEAD_BYTES, end);
}

/** meta: loads what is known of the packet, NFT_META_*, into the first register. */
export function writeNftMeta(out: Region, at: number, key: number): number {
  let end = beginExpression(out, at, "meta");
  end = writeU32Be(out, end, 1, NFT_REGISTER); // NFTA_META_DREG
  end = writeU32Be(out, end, 2, key); // NFTA_META_KEY
  return endExpression(out, at, "meta", end);
}

/** rt: loads 1 into the first register when the kernel is about to transform the packet, else 0. */
export function writeNftTransformed(out: Region, at: number): number {
  let end = beginExpression(out, at, "rt");
  end = writeU32Be(out, end, 1, NFT_REGISTER); // NFTA_RT_DREG
  end = writeU32Be(out, end, 2, 4); // NFTA_RT_KEY: NFT_RT_XFRM
  return endExpression(out, at, "rt", end);
}

/** payload: loads bytes of the transport header into the first register. */
export function writeNftTransport(out: Region, at: number, offset: number, bytes: number): number {
  let end = beginExpression(out, at, "payload");
  end = writeU32Be(out, end, 1, NFT_REGISTER); // NFTA_PAYLOAD_DREG
  end = writeU32Be(out, end, 2, 2); // NFTA_PAYLOAD_BASE: NFT_PAYLOAD_TRANSPORT_HEADER
  end = writeU32Be(out, end, 3, offset); // NFTA_PAYLOAD_OFFSET
  end = writeU32Be(out, end, 4, bytes); // NFTA_PAYLOAD_LEN
  return endExpression(out, at, "payload", end);
}

/**
 * exthdr: loads bytes of the first TCP option of `kind` into a register; the rule does not match when
 * they are not there.
 */
export function writeNftTcpOption(
  out: Region,
  at: number,
  kind: number,
  offset: number,
  bytes: number,
  register: number,
): number {
  return writeExthdr(out, at, kind, offset, bytes, register, 0);
}

/** exthdr: loads 1 into the first register when there is a TCP option of `kind`, else 0. */
export function writeNftTcpOptionPresent(out: Region, at: number, kind: number): number {
  return writeExthdr(out, at, kind, 0, 1, NFT_REGISTER, 1); // NFT_EXTHDR_F_PRESENT
}

/** exthdr: overwrites the first TCP option of `kind`, if there is one, with no-operations. */
export function writeNftTcpOptionStrip(out: Region, at: number, kind: number): number {
  let end = beginExpression(out, at, "exthdr");
  end = writeU8(out, end, 2, kind); // NFTA_EXTHDR_TYPE
  end = writeU32Be(out, end, 6, 1); // NFTA_EXTHDR_OP: NFT_EXTHDR_OP_TCPOPT
  return endExpression(out, at, "exthdr", end);
}

/** bitwise: the first register, of `bytes` bytes, with a mask. */
export function writeNftMask(out: Region, at: number, mask: number, bytes: number): number {
  let end = beginExpression(out, at, "bitwise");
  end = writeU32Be(out, end, 1, NFT_REGISTER); // NFTA_BITWISE_SREG
  end = writeU32Be(out, end, 2, NFT_REGISTER); // NFTA_BITWISE_DREG
  end = writeU32Be(out, end, 3, bytes); // NFTA_BITWISE_LEN
  end = writeData(out, end, 4, mask, bytes); // NFTA_BITWISE_MASK
  end = writeData(out, end, 5, 0, bytes); // NFTA_BITWISE_XOR
  return endExpression(out, at, "bitwise", end);
}

/** cmp: the rule goes on when the first register, of `bytes` bytes, equals `value`. */
export function writeNftEqual(out: Region, at: number, value: number, bytes: number): number {
  return writeCompare(out, at, 0, value, bytes); // NFT_CMP_EQ
}

/** cmp: the rule goes on when the first register, of `bytes` bytes, is something else. */
export function writeNftUnequal(out: Region, at: number, value: number, bytes: number): number {
  return writeCompare(out, at, 1, value, bytes); // NFT_CMP_NEQ
}

/** counter: counts packets that come so far. */
export function writeNftCounter(out: Region, at: number): number {
  return endExpression(out, at, "counter", beginExpression(out, at, "counter"));
}

/** lookup: the rule goes on when a set has what begins at the first register. */
export function writeNftLookup(out: Region, at: number, set: string): number {
  let end = beginExpression(out, at, "lookup");
  end = writeText(out, end, 1, set); // NFTA_LOOKUP_SET
  end = writeU32Be(out, end, 2, NFT_REGISTER); // NFTA_LOOKUP_SREG
  return endExpression(out, at, "lookup", end);
}

/** log: a copy of the packet to an NFLOG group, with a text. */
export function writeNftLog(out: Region, at: number, group: number, prefix: string): number {
  let end = beginExpression(out, at, "log");
  end = writeU16Be(out, end, 1, group); // NFTA_LOG_GROUP
  end = writeText(out, end, 2, prefix); // NFTA_LOG_PREFIX
  return endExpression(out, at, "log", end);
}

/** reject: answers with a TCP reset. */
export function writeNftReset(out: Region, at: number): number {
  let end = beginExpression(out, at, "reject");
  end = writeU32Be(out, end, 1, 1); // NFTA_REJECT_TYPE: NFT_REJECT_TCP_RST
  end = writeU8(out, end, 2, 0); // NFTA_REJECT_ICMP_CODE
  return endExpression(out, at, "reject", end);
}

/** immediate: accepts the packet. */
export function writeNftAccept(out: Region, at: number): number {
  return writeVerdict(out, at, NftVerdict.Accept, "");
}

/** immediate: drops the packet. */
export function writeNftDrop(out: Region, at: number): number {
  return writeVerdict(out, at, NftVerdict.Drop, "");
}

/** immediate: goes on in another chain. */
export function writeNftJump(out: Region, at: number, chain: string): number {
  return writeVerdict(out, at, NftVerdict.Jump, chain);
}

/** queue: waits for a verdict; without a listener it is accepted when `bypass`, else dropped. */
export function writeNftQueue(out: Region, at: number, queue: number, bypass: boolean): number {
  let end = beginExpression(out, at, "queue");
  end = writeU16Be(out, end, 1, queue); // NFTA_QUEUE_NUM
  end = writeU16Be(out, end, 2, 1); // NFTA_QUEUE_TOTAL
  end = writeU16Be(out, end, 3, bypass ? 1 : 0); // NFTA_QUEUE_FLAGS: NFT_QUEUE_FLAG_BYPASS
  return endExpression(out, at, "queue", end);
}

/**
 * target: the same by xt_NFQUEUE revision 3, for kernels without CONFIG_NFT_QUEUE; struct
 * xt_NFQ_info_v3 is in host order.
 */
export function writeNftQueueTarget(
  out: Region,
  at: number,
  queue: number,
  bypass: boolean,
): number {
  let end = beginExpression(out, at, "target");
  end = writeText(out, end, 1, "NFQUEUE"); // NFTA_TARGET_NAME
  end = writeU32Be(out, end, 2, 3); // NFTA_TARGET_REV
  const { view } = out;
  view.setUint16(end, 4 + 8, true); // NFTA_TARGET_INFO, XT_ALIGN'ed to eight bytes
  view.setUint16(end + 2, 3, true);
  view.setUint16(end + 4, queue, true);
  view.setUint16(end + 6, 1, true); // queues_total
  view.setUint16(end + 8, bypass ? 1 : 0, true); // NFQ_FLAG_BYPASS
  view.setUint16(end + 10, 0, true);
  return endExpression(out, at, "target", end + 12);
}

function writeBatchMark(out: Region, at: number, sequence: number, type: number): number {
  const end = beginNlmsg(out, at, type, NlmsgFlag.Request, sequence);
  out.view.setUint8(end, Nfproto.Unspec);
  out.view.setUint8(end + 1, 0);
  out.view.setUint16(end + 2, NfnlSubsystem.Tables);
  return endNlmsg(out, at, end + 4);
}

function begin(out: Region, at: number, sequence: number, message: number, flags: number): number {
  return beginNfnetlink(
    out,
    at,
    sequence,
    NfnlSubsystem.Tables,
    message,
    flags,
    Nfproto.Inet,
    0,
  );
}

function beginExpression(out: Region, at: number, name: string): number {
  const end = writeText(out, beginNest(out, at, LIST_ELEM), EXPR_NAME, name);
  return beginNest(out, end, EXPR_DATA);
}

function endExpression(out: Region, at: number, name: string, end: number): number {
  endNest(out, at + 4 + align4(4 + name.length + 1), end);
  return endNest(out, at, end);
}

function writeExthdr(
  out: Region,
  at: number,
  kind: number,
  offset: number,
  bytes: number,
  register: number,
  flags: number,
): number {
  let end = beginExpression(out, at, "exthdr");
  end = writeU32Be(out, end, 1, register); // NFTA_EXTHDR_DREG
  end = writeU8(out, end, 2, kind); // NFTA_EXTHDR_TYPE
  end = writeU32Be(out, end, 3, offset); // NFTA_EXTHDR_OFFSET
  end = writeU32Be(out, end, 4, bytes); // NFTA_EXTHDR_LEN
  end = writeU32Be(out, end, 5, flags); // NFTA_EXTHDR_FLAGS
  end = writeU32Be(out, end, 6, 1); // NFTA_EXTHDR_OP: NFT_EXTHDR_OP_TCPOPT
  return endExpression(out, at, "exthdr", end);
}

function writeCompare(
  out: Region,
  at: number,
  operator: number,
  value: number,
  bytes: number,
): number {
  let end = beginExpression(out, at, "cmp");
  end = writeU32Be(out, end, 1, NFT_REGISTER); // NFTA_CMP_SREG
  end = writeU32Be(out, end, 2, operator); // NFTA_CMP_OP
  end = writeData(out, end, 3, value, bytes); // NFTA_CMP_DATA
  return endExpression(out, at, "cmp", end);
}

/** What an expression has counted; 0 when it is no counter. */
function readCounter(from: Region, at: number, end: number): number {
  let counts = false;
  while (at < end) {
    at = readAttribute(from, at, end, inner);
    if (at < 0) return at;
    if (inner.type === EXPR_NAME) counts = attributeIs(from, inner, "counter");
    if (inner.type !== EXPR_DATA || !counts) continue;
    return readPackets(from, inner.at, inner.end);
  }
  return 0;
}

function readPackets(from: Region, at: number, end: number): number {
  while (at < end) {
    at = readAttribute(from, at, end, inner);
    if (at < 0) return at;
    if (inner.type !== COUNTER_PACKETS) continue;
    const short = checkSize(inner, 8);
    if (short < 0) return short;
    const { view } = from;
    return view.getUint32(inner.at) * 2 ** 32 + view.getUint32(inner.at + 4);
  }
  return 0;
}

function attributeIs({ bytes }: Region, { at, end }: Attribute, text: string): boolean {
  if (end - at !== text.length + 1) return false;
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** A value of one to four bytes, in network order, as a nest. */
function writeData(out: Region, at: number, type: number, value: number, bytes: number): number {
  const data = beginNest(out, at, type);
  out.view.setUint16(data, 4 + bytes, true);
  out.view.setUint16(data + 2, DATA_VALUE, true);
  out.view.setUint32(data + 4, value << (32 - 8 * bytes)); // padded behind, as bytes of memory
  return endNest(out, at, data + 8);
}

function writeVerdict(out: Region, at: number, code: number, chain: string): number {
  let end = beginExpression(out, at, "immediate");
  end = writeU32Be(out, end, 1, REG_VERDICT); // NFTA_IMMEDIATE_DREG
  const data = end;
  const verdict = beginNest(out, data, 2); // NFTA_IMMEDIATE_DATA
  end = beginNest(out, verdict, DATA_VERDICT);
  end = writeU32Be(out, end, VERDICT_CODE, code);
  if (chain !== "") end = writeText(out, end, VERDICT_CHAIN, chain);
  endNest(out, verdict, end);
  endNest(out, data, end);
  return endExpression(out, at, "immediate", end);
}

const attribute = new Attribute();
const inner = new Attribute();
