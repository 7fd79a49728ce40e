/**
 * What the status page and `fairlead top` tell of overlays: a line for each, what is wrong in sentences, and
 * of nodes and links only those that are not well, as the report goes out each second.
 *
 * @module
 */
import { countText } from "../count_text.ts";
import {
  linkHealth,
  nodeHealth,
  type OverlayCounts,
  overlayCounts,
  troubleWords,
} from "../overlay/overlay_health.ts";
import type { OverlayDaemonView, OverlayView } from "../overlay/overlay_view.ts";
import type { Problem } from "./health.ts";

/** An overlay in a line. */
export interface OverlayLine {
  readonly name: string;
  readonly state: string;
  readonly topology: string;
  readonly sinceMs: number;
  readonly counts: OverlayCounts;
  /** Empty when nothing is wrong. */
  readonly trouble: string;
  /** What it does while it is formed or undone; else empty. */
  readonly progress: string;
}

/** Of an overlay, in the report; the counts are of all. */
const TOLD_MAX = 10;
/** Names in a sentence. */
const NAMES_MAX = 4;

/** A line for each overlay of a manager. */
export function overlayLinesOf(daemon: OverlayDaemonView | undefined): OverlayLine[] {
  return (daemon?.overlays ?? []).map((view) => {
    const { failure, name, orphans, progress, sinceMs, state, topology } = view;
    const counts = overlayCounts(view);
    const trouble = [
      ...(failure === null ? [] : [`failed in ${failure.phase}`]),
      ...troubleWords(counts),
      ...(orphans.length === 0 ? [] : [`left over on ${namesText(orphans)}`]),
    ].join(", ");
    const isMoving = state !== "ACTIVE" && state !== "IDLE" && progress !== null;
    const text = isMoving ? `${progress.done} of ${progress.of}: ${progress.text}` : "";
    return { name, state, topology, sinceMs, counts, trouble, progress: text };
  });
}

/** The same with no nodes and links but some of those that are not well. */
export function shortenedOverlays(daemon: OverlayDaemonView): OverlayDaemonView {
  return {
    ...daemon,
    overlays: daemon.overlays.map((view) => ({
      ...view,
      nodes: view.nodes.filter((node) => nodeHealth(node) !== "well").slice(0, TOLD_MAX),
      links: view.links.filter((link) => linkHealth(link) !== "well").slice(0, TOLD_MAX),
    })),
  };
}

/**
 * What is wrong.
 *
 * @param told whether an alarm says so in its own words
 */
export function overlayProblems(
  { overlays, resource }: OverlayDaemonView,
  told: (what: string) => boolean,
): Problem[] {
  const problems = overlays.flatMap((view) => problemsOf(view, told));
  for (const { drift, name, reason, state } of resource?.overlays ?? []) {
    if (drift.length > 0) problems.push(warning(`Overlay ${name} has drifted here: ${drift[0]}`));
    if (state === "UNDO") {
      problems.push(warning(`Overlay ${name} is being undone here${reason && `: ${reason}`}`));
    }
  }
  return problems.sort((a, b) => Number(b.level === "error") - Number(a.level === "error"));
}

/** When nothing is wrong. */
export function overlayCalm({ overlays, resource, role }: OverlayDaemonView): string {
  if (role === "rd") {
    return (resource?.overlays.length ?? 0) === 0
      ? "All is well: this box may be invited into overlays"
      : "All is well: this box plays its part in overlays";
  }
  if (overlays.length === 0) return "All is well: waiting for the first overlay";
  return overlays.every(({ state }) => state === "ACTIVE")
    ? "All is well: every overlay is up"
    : "All is well: an overlay is being formed, held or undone";
}

function problemsOf(view: OverlayView, told: (what: string) => boolean): Problem[] {
  const { failure, links, name, nodes, orphans } = view;
  const problems: Problem[] = [];
  if (failure !== null) {
    const where = failure.node === "" ? "" : ` at ${failure.node}`;
    problems.push({
      level: "error",
      text: `Overlay ${name} failed in ${failure.phase}${where}: ${failure.reason}`,
    });
  }
  const dead = links.filter((link) => linkHealth(link) === "dead").map((link) => link.name);
  if (dead.length > 0) {
    const text = `Overlay ${name} has ${countText(dead.length, "dead link")}: ${namesText(dead)}`;
    problems.push({ level: "error", text });
  }
  const silent = unique(nodes.filter((node) => node.silent).map(({ node }) => node))
    .filter((node) => !told(`Node ${node} of overlay ${name}`));
  if (silent.length > 0) {
    problems.push(
      warning(`Overlay ${name} hears nothing of ${namesText(silent)}: look at it, or wait`),
    );
  }
  const drifted = unique(nodes.filter(({ drift }) => drift.length > 0).map(({ node }) => node));
  if (drifted.length > 0) {
    const [line] = nodes.find(({ drift }) => drift.length > 0)!.drift;
    problems.push(warning(`Overlay ${name} has drifted on ${namesText(drifted)}: ${line}`));
  }
  const lossy = links.filter((link) => linkHealth(link) === "lossy").map((link) => link.name);
  if (lossy.length > 0) {
    problems.push(warning(`Overlay ${name} loses packets on ${namesText(lossy)}`));
  }
  if (orphans.length > 0) {
    problems.push(
      warning(
        `Overlay ${name} is left over on ${namesText(orphans)}, which did not answer: it goes ` +
          "with its lease",
      ),
    );
  }
  return problems;
}

function warning(text: string): Problem {
  return { level: "warning", text };
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}

/** `a, b and 3 more` */
function namesText(names: readonly string[]): string {
  const more = names.length - NAMES_MAX;
  const shown = names.slice(0, NAMES_MAX).join(", ");
  return more > 0 ? `${shown} and ${more} more` : shown;
}
