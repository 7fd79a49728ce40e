/**
 * Metrics of overlays: of a manager by overlay and link, of a resource daemon by state and reason. Names
 * and rules as in metrics.ts.
 *
 * @module
 */
import { linkHealth, overlayCounts } from "../overlay/overlay_health.ts";
import type {
  OverlayDaemonView,
  OverlayLinkView,
  OverlayView,
  ResourceDaemonView,
} from "../overlay/overlay_view.ts";
import type { Exposition } from "./metrics.ts";

/** Links that have series of their own, of all overlays: a mesh has very many. */
const LINKS_MAX = 1024;
/** Words that refusals are counted by. */
const REASONS_MAX = 32;
const RESOURCE_STATES = [
  ...["GATHER", "RESERVE", "COMMITTING", "COMMITTED", "CONFIGURE", "ACTIVE", "UNDO"],
] as const;

/** Adds them. */
export function writeOverlays(
  text: Exposition,
  { overlays, resource }: OverlayDaemonView,
  nowMs: number,
): void {
  writeManaged(text, overlays, nowMs);
  writeLinks(text, overlays);
  if (resource !== null) writeResource(text, resource);
}

function writeManaged(text: Exposition, overlays: readonly OverlayView[], nowMs: number): void {
  text.table("fairlead_overlay", overlays, ({ name, state }) => ({ overlay: name, state }), [
    ["state", "gauge", "State of the overlay; always 1.", () => 1],
  ]);
  const rows = overlays.map((view) => ({ view, counts: overlayCounts(view) }));
  text.table("fairlead_overlay", rows, ({ view }) => ({ overlay: view.name }), [
    ["up", "gauge", "Whether the overlay is up.", ({ view }) => Number(view.state === "ACTIVE")],
    ["failed", "gauge", "Whether it did not become.", ({ view }) => Number(view.failure !== null)],
    [
      "age_seconds",
      "gauge",
      "Time since the overlay was asked for.",
      ({ view }) => Math.max(0, nowMs - view.sinceMs) / 1000,
    ],
    ["nodes", "gauge", "Virtual nodes.", ({ counts }) => counts.nodes],
    ["nodes_silent", "gauge", "Nodes that did not answer lately.", ({ counts }) => counts.silent],
    ["nodes_drifted", "gauge", "Nodes that lack something.", ({ counts }) => counts.drifted],
    ["links", "gauge", "Virtual links.", ({ counts }) => counts.links],
    ["links_dead", "gauge", "Links that answered no probe.", ({ counts }) => counts.dead],
    ["links_lossy", "gauge", "Links that lost some probes.", ({ counts }) => counts.lossy],
    ["links_encrypted", "gauge", "Links that are encrypted.", ({ counts }) => counts.encrypted],
    [
      "orphans",
      "gauge",
      "Nodes that did not answer when it was undone.",
      ({ view }) => view.orphans.length,
    ],
  ]);
}

interface NamedLink extends OverlayLinkView {
  readonly overlay: string;
}

function writeLinks(text: Exposition, overlays: readonly OverlayView[]): void {
  const links = overlays.flatMap(({ links, name }) =>
    links.map((link): NamedLink => ({ ...link, overlay: name }))
  );
  const told = links.slice(0, LINKS_MAX);
  text.table("fairlead_overlay", links.length > told.length ? [links] : [], () => ({}), [[
    "links_untold",
    "gauge",
    "Links without series of their own, as there are too many.",
    ({ length }) => length - told.length,
  ]]);
  text.table("fairlead_overlay_link", told, ({ name, overlay }) => ({ overlay, link: name }), [
    [
      "round_trip_seconds",
      "gauge",
      "Round trip of the last probes.",
      ({ rttUs }) => rttUs === null ? undefined : rttUs / 1_000_000,
    ],
    ["loss_ratio", "gauge", "Share of the last probes that was lost.", lossOf],
    ["received_bytes_total", "counter", "Bytes received.", ({ rxBytes }) => rxBytes ?? undefined],
    ["sent_bytes_total", "counter", "Bytes sent.", ({ txBytes }) => txBytes ?? undefined],
    ["errors_total", "counter", "Packets with errors.", ({ errors }) => errors ?? undefined],
  ]);
}

function lossOf(link: NamedLink): number | undefined {
  const { answered, sent } = link;
  return linkHealth(link) === "unknown" ? undefined : 1 - answered! / sent!;
}

function writeResource(text: Exposition, view: ResourceDaemonView): void {
  const { connections, datagrams, overlays, refusals } = view;
  text.table("fairlead_overlay_resource", RESOURCE_STATES, (state) => ({ state }), [[
    "overlays",
    "gauge",
    "Overlays that this box is part of, by state.",
    (wanted) => overlays.filter(({ state }) => state === wanted).length,
  ]]);
  text.table("fairlead_overlay_resource", [overlays], () => ({}), [[
    "drifted",
    "gauge",
    "Overlays of which something is missing on this box.",
    (all) => all.filter(({ drift }) => drift.length > 0).length,
  ]]);
  const reasons = Object.entries(refusals).slice(0, REASONS_MAX);
  text.table("fairlead_overlay", reasons, ([reason]) => ({ reason }), [[
    "refusals_total",
    "counter",
    "Invitations that were refused, by reason.",
    ([, count]) => count,
  ]]);
  text.table("fairlead_overlay", Object.entries(datagrams), ([kind]) => ({ kind }), [[
    "datagrams_total",
    "counter",
    "Signed datagrams, by what became of them.",
    ([, count]) => count,
  ]]);
  text.table("fairlead_overlay", Object.entries(connections), ([kind]) => ({ kind }), [[
    "connections_total",
    "counter",
    "Control connections and their requests, by what became of them.",
    ([, count]) => count,
  ]]);
}
