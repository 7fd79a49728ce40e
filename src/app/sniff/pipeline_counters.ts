/**
 * What a pipeline counted besides messages, as statistics and remarks have it.
 *
 * @module
 */
import { HoleReason } from "../../proto/capture/conversation.ts";
import { linkTypeName } from "../../wire/capture/link_layer.ts";
import { countText } from "../count_text.ts";
import type { Pipeline } from "./pipeline.ts";
import type { CaptureCounters } from "./sniff_stats.ts";

/** Everything, under the names that are shown. */
export function captureCounters(
  { dissector, iscsi, table, tally }: Pipeline,
  dropped: number,
  firstNs: number,
  lastNs: number,
): CaptureCounters {
  const { fragments, fragmentsDropped, malformed, notTcp, packets, segments, short, unknownLink } =
    dissector.counters;
  const { conversations, evicted, lateSegments, streams: counts } = table.counters;
  const holes = Object.values(HoleReason).map((reason) => [
    `holes${reason[0]!.toUpperCase()}${reason.slice(1)}`,
    counts.holes[reason].count,
  ]);
  return {
    span: packets > 0 ? { firstNs, lastNs } : null,
    capture: {
      packets,
      segments,
      notTcp,
      malformed,
      short,
      fragments,
      fragmentsDropped,
      unknownLink,
      dropped,
      recognised: tally.recognised,
      notRecognised: tally.unrecognised,
      ...iscsi.counters,
    },
    tcp: {
      conversations,
      evicted,
      retransmittedSegments: counts.retransmittedSegments,
      retransmittedBytes: counts.retransmittedBytes,
      outOfOrder: counts.outOfOrderSegments,
      early: counts.earlySegments,
      far: counts.farSegments,
      stray: counts.straySegments,
      late: lateSegments,
      conflicts: counts.conflicts,
      ...Object.fromEntries(holes),
    },
    urgent: {
      segments: counts.urgentSegments,
      clamped: counts.urgentClamped,
      lostBytes: counts.urgentBytesLost,
    },
  };
}

/** What who reads the capture should know. */
export function pipelineNotes({ dissector, tally }: Pipeline): string[] {
  const notes: string[] = [];
  const { packets, segments, unknownLinkTypes } = dissector.counters;
  for (const [linkType, count] of unknownLinkTypes) {
    notes.push(`${countText(count, "packet")} of link type ${linkTypeName(linkType)} not read`);
  }
  if (packets === 0) notes.push("The capture has no packets");
  else if (segments === 0) notes.push("The capture has no segments of TCP");
  if (tally.unrecognised > 0) {
    notes.push(
      `${
        countText(tally.unrecognised, "conversation")
      } in which nothing of msgr2 or iSCSI was found`,
    );
  }
  return notes;
}
