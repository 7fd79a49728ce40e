/**
 * What a takeover writes to the kernel for each SA: RFC 4303 sections 3.3.3 (a number is never sent
 * twice) and 3.4.3 (the window of numbers received).
 *
 * - Outbound, always: the highest number that either box is known to have sent, and the jump. With
 *   ESN it carries into the upper half. An SA with 32 bits that has no numbers left is not taken over.
 * - Inbound `lossless`: as synced. A packet that the other box accepted after its last record is
 *   accepted once more: at most a threshold's worth, and what came in the time not heard.
 * - Inbound `strict`: the highest number received and the jump, and all below it taken as received: no
 *   packet is accepted twice, and packets are lost until the peer's numbers have passed the jump.
 *
 * All ones is all ones for the ring of an ESN bitmap, wherever it begins. An SA that may be either
 * direction gets both. Lifetimes go on: bytes, packets, the times of addition and first use.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { beginNlmsg, endNlmsg, NLMSG_HEADER_SIZE, NlmsgFlag } from "../../wire/netlink/nlmsg.ts";
import { XfrmMsg, type XfrmSaId } from "../../wire/netlink/xfrm.ts";
import { readAeventBody, writeAevent, XfrmAevent } from "../../wire/netlink/xfrm_aevent.ts";
import { ReplayKind, type XfrmReplay } from "../../wire/netlink/xfrm_replay.ts";
import { readSaBody, XfrmSa } from "../../wire/netlink/xfrm_sa.ts";
import {
  SA_BODY_BYTES_MAX,
  TAKEOVER_BYTES_MAX,
  writeTakeoverSa,
} from "../../wire/standby/sa_record.ts";
import type { SaUse } from "./sa_table.ts";
import type { StoredSa } from "./stored_sa.ts";
import { takeoverJump } from "./takeover_jump.ts";

/** The first number that a counter of 32 bits cannot hold. */
const LEGACY_END = 2 ** 32;
/** That of 64 bits, as far as a number here is exact. */
const ESN_END = 2 ** 53;
const ALL_ONES = 0xffffffff;
/** Room that one message takes at most. */
export const PLAN_MESSAGE_BYTES_MAX: number = NLMSG_HEADER_SIZE + SA_BODY_BYTES_MAX +
  TAKEOVER_BYTES_MAX;

/** How to treat what was received after the last record. */
export type InboundMode = "lossless" | "strict";

/** An SA as it will be. */
export interface PlannedSa {
  readonly key: string;
  readonly id: XfrmSaId;
  /** What it is for; "both" is treated as both. */
  readonly use: SaUse;
  readonly oseq: number;
  readonly seq: number;
  /** What was added to the highest number sent, 0 when it does not send. */
  readonly jump: number;
  /** What was added to the highest number received. */
  readonly jumpIn: number;
  readonly sa: StoredSa;
}

/** An SA that is not taken over. */
export interface RefusedSa {
  readonly key: string;
  readonly reason: string;
}

/**
 * Plans one SA: from the highest number that was `used`; the peaks are those of the fastest SA. Numbers
 * to send are plenty, so that is what all jump by. Numbers to receive that are jumped are packets lost:
 * there it is the SA's own, unless there is none or no count limits what was not told.
 */
export function planSa(
  sa: StoredSa,
  use: SaUse,
  used: number,
  inbound: InboundMode,
  exposedMs: number,
  peakOut: number,
  peakIn: number,
): PlannedSa | RefusedSa {
  const { key, id, kind, thresholds } = sa;
  const jump = use === "in" ? 0 : takeoverJump(thresholds, peakOut, exposedMs);
  // Without a window it does not look at numbers, and a jump would close nothing.
  const strict = inbound === "strict" && use !== "out" && sa.window > 0;
  const measured = thresholds.packets > 0 && sa.peakIn > 0;
  const fastest = measured ? sa.peakIn : peakIn;
  const jumpIn = strict ? takeoverJump(thresholds, fastest, exposedMs) : 0;
  const oseq = use === "in" ? sa.oseq : Math.max(sa.oseq, used) + jump;
  const seq = sa.seq + jumpIn;
  const end = kind === ReplayKind.Esn ? ESN_END : LEGACY_END;
  // The last number itself is never sent: the kernel takes it for an overflow.
  if (oseq >= end - 1) return { key, reason: exhausted("send", oseq, end) };
  if (seq >= end) return { key, reason: exhausted("receive", seq, end) };
  return { key, id, use, oseq, seq, jump, jumpIn, sa };
}

/** As it was synced, for a standby that has its SAs in the kernel. */
export function presentSa(sa: StoredSa, use: SaUse): PlannedSa {
  const { key, id, oseq, seq } = sa;
  return { key, id, use, oseq, seq, jump: 0, jumpIn: 0, sa };
}

/**
 * Writes the NEWSA of a planned SA, its timer in jiffies; returns the message's end, or a negated
 * {@linkcode Fault}, `Full` when `out` has not PLAN_MESSAGE_BYTES_MAX left.
 */
export function writePlannedSa(
  planned: PlannedSa,
  out: Region,
  at: number,
  sequence: number,
  jiffiesPerSecond: number,
): number {
  const { body, thresholds } = planned.sa;
  const replay = plannedReplay(planned, out, at);
  if (replay === null) return -Fault.Full;
  const { Request, Ack, Create, Exclusive } = NlmsgFlag;
  const flags = Request | Ack | Create | Exclusive;
  const start = beginNlmsg(out, at, XfrmMsg.NewSa, flags, sequence);
  const { packets } = thresholds;
  const timer = jiffiesOf(thresholds.timerMs, jiffiesPerSecond);
  const { region, end } = body;
  const next = writeTakeoverSa(region, 0, end, replay, planned.sa, packets, timer, out, start);
  return next < 0 ? next : endNlmsg(out, at, next);
}

/**
 * Writes the NEWAE that brings an SA of this kernel to where it is planned; `port` is this socket's,
 * by which its own event is known. Returns as {@linkcode writePlannedSa} does.
 */
export function writePlannedState(
  planned: PlannedSa,
  out: Region,
  at: number,
  sequence: number,
  port: number,
  jiffiesPerSecond: number,
): number {
  const { thresholds, bytes, packets, addTime, useTime, saddr } = planned.sa;
  const replay = plannedReplay(planned, out, at);
  if (replay === null) return -Fault.Full;
  write.id.copy(planned.id);
  write.saddr.set(saddr);
  write.replay.copy(replay);
  write.hasLifetime = true;
  write.bytes = bytes;
  write.packets = packets;
  write.addTime = addTime;
  write.useTime = useTime;
  write.replayThreshold = thresholds.packets;
  write.timerThreshold = jiffiesOf(thresholds.timerMs, jiffiesPerSecond);
  return writeAevent(out, at, sequence, port, write);
}

/** A timer as the kernel takes it: no less than one when there is one. */
export function jiffiesOf(timerMs: number, jiffiesPerSecond: number): number {
  return Math.ceil(timerMs * jiffiesPerSecond / 1000);
}

/** Its replay state with the planned numbers; null when there is no room for a message. */
function plannedReplay(planned: PlannedSa, out: Region, at: number): XfrmReplay | null {
  const room = out.bytes.length - at;
  if (room < PLAN_MESSAGE_BYTES_MAX) {
    fail(Fault.Full, "batch", at, room, `${PLAN_MESSAGE_BYTES_MAX} bytes or more`);
    return null;
  }
  const { body, state } = planned.sa;
  // Both were read when they came.
  if (state.end > 0) readAeventBody(state.region, 0, state.end, event);
  else readSaBody(body.region, 0, body.end, held);
  const { replay } = state.end > 0 ? event : held;
  if (replay.kind === ReplayKind.None) {
    replay.kind = ReplayKind.Value;
    replay.words = 1;
    replay.bitmap[0] = 0;
  }
  replay.oseq = planned.oseq;
  replay.seq = planned.seq;
  if (planned.jumpIn > 0) replay.bitmap.fill(ALL_ONES, 0, replay.words);
  return replay;
}

function exhausted(verb: string, number: number, end: number): string {
  return `no numbers are left to ${verb} with this key, as they must be below ${end}: ` +
    `the next one would be ${number + 1}; let its IKE daemon rekey it`;
}

const event = new XfrmAevent();
const held = new XfrmSa();
const write = new XfrmAevent();
