/**
 * How an overlay does: of its links by the last probes, of its nodes by what they told last. The picture,
 * the status page, metrics and `fairlead top` all count by it.
 *
 * @module
 */
import { countText } from "../count_text.ts";
import type { OverlayLinkView, OverlayNodeView, OverlayView } from "./overlay_view.ts";

/** `unknown`: it was not probed. */
export type LinkHealth = "well" | "lossy" | "dead" | "unknown";

/** `unknown`: it has not told of itself. */
export type NodeHealth = "well" | "silent" | "drifted" | "unknown";

/** How many there are, and how many of these are not as they should be. */
export interface OverlayCounts {
  readonly nodes: number;
  readonly silent: number;
  readonly drifted: number;
  readonly links: number;
  readonly dead: number;
  readonly lossy: number;
  readonly unprobed: number;
  readonly encrypted: number;
}

/** What the last probes of a link say. */
export function linkHealth({ answered, sent }: OverlayLinkView): LinkHealth {
  if (sent === null || answered === null || sent <= 0) return "unknown";
  if (answered <= 0) return "dead";
  return answered < sent ? "lossy" : "well";
}

/** What is known of a node. */
export function nodeHealth({ drift, silent, state }: OverlayNodeView): NodeHealth {
  if (silent) return "silent";
  if (drift.length > 0) return "drifted";
  return state === "" ? "unknown" : "well";
}

/** Counts. */
export function overlayCounts({ links, nodes }: OverlayView): OverlayCounts {
  const health = links.map(linkHealth);
  const of = (wanted: LinkHealth): number => health.filter((each) => each === wanted).length;
  return {
    nodes: nodes.length,
    silent: nodes.filter(({ silent }) => silent).length,
    drifted: nodes.filter((node) => nodeHealth(node) === "drifted").length,
    links: links.length,
    dead: of("dead"),
    lossy: of("lossy"),
    unprobed: of("unknown"),
    encrypted: links.filter(({ encrypted }) => encrypted).length,
  };
}

/** What of it is wrong, in words; none when nothing is. */
export function troubleWords({ dead, drifted, lossy, silent }: OverlayCounts): string[] {
  return [
    ...(silent === 0 ? [] : [`${countText(silent, "node")} silent`]),
    ...(drifted === 0 ? [] : [`${countText(drifted, "node")} drifted`]),
    ...(dead === 0 ? [] : [`${countText(dead, "link")} dead`]),
    ...(lossy === 0 ? [] : [`${countText(lossy, "link")} with losses`]),
  ];
}
