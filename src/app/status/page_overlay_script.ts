/**
 * What the status page does for overlays, as a part of the page's script: tables, and pictures that are
 * asked for one at a time. A picture is shown as an image, in which no script runs.
 *
 * @module
 */

/** Stands inside the page's script, whose words it uses. */
export const OVERLAY_SCRIPT: string = String.raw`
  // ---- overlays
  const PICTURES_MAX = 16;
  const PICTURE_MS = 2000;
  const pictures = new Map();
  let drawing = false;
  const overlayState = (row) => ({
    text: row.state.toLowerCase() + " for " + age(row.heldMs),
    level: row.state === "ACTIVE" ? row.level || "ok" : "warning",
  });
  const pictureOf = (figure, row) => {
    const link = figure.firstChild;
    link.href = "api/overlay.svg?name=" + encodeURIComponent(row.name);
    link.firstChild.alt = "Picture of overlay " + row.name + ": " + row.state + ", " + row.topology +
      ", " + row.counts.nodes + " nodes, " + row.counts.links + " links" +
      (row.trouble === "" ? "" : ", " + row.trouble);
  };
  const drawNext = async (names) => {
    if (drawing || document.visibilityState === "hidden") return;
    const drawnMs = (name) => pictures.has(name) ? pictures.get(name).atMs : -PICTURE_MS;
    const due = names.filter((name) => performance.now() - drawnMs(name) >= PICTURE_MS)
      .sort((a, b) => drawnMs(a) - drawnMs(b));
    if (due.length === 0) return;
    drawing = true;
    const name = due[0];
    try {
      const answer = await fetch("api/overlay.svg?name=" + encodeURIComponent(name),
        { cache: "no-store", signal: AbortSignal.timeout(4000) });
      const svg = answer.ok ? await answer.text() : "";
      const at = names.indexOf(name);
      const figure = byId("pictures").children[at];
      const known = pictures.get(name);
      if (svg !== "" && figure && figure.dataset.name === name) {
        if (!known || known.svg !== svg || figure.hidden) {
          figure.querySelector("img").src = "data:image/svg+xml," + encodeURIComponent(svg);
          figure.hidden = false;
        }
      }
      pictures.set(name, { svg, atMs: performance.now() });
    } catch {
      pictures.set(name, { svg: "", atMs: performance.now() });
    }
    drawing = false;
    if (names.some((each) => !pictures.has(each))) drawNext(names);
  };
  const showPictures = (rows) => {
    const shown = rows.slice(0, PICTURES_MAX);
    const parent = byId("pictures");
    resize(parent, shown.length, () => {
      const figure = make("figure");
      const link = make("a");
      link.append(make("img"));
      figure.append(link);
      figure.hidden = true;
      return figure;
    });
    shown.forEach((row, index) => {
      const figure = parent.children[index];
      if (figure.dataset.name !== row.name) {
        figure.dataset.name = row.name;
        figure.hidden = true;
        pictures.delete(row.name);
      }
      pictureOf(figure, row);
    });
    const names = shown.map((row) => row.name);
    for (const name of pictures.keys()) if (!names.includes(name)) pictures.delete(name);
    drawNext(names);
  };
  const showOverlays = (report) => {
    const daemon = report.overlay;
    show("overlays-card", daemon && daemon.role === "om");
    show("lent-card", daemon && daemon.resource);
    if (!daemon) return;
    const held = (row) => ({ ...row, heldMs: report.nowMs - row.sinceMs });
    const dash = (value) => value === 0 ? "0" : { text: count(value), level: "warning" };
    fill("overlays", [
      text("Overlay", (row) => row.name),
      text("State", overlayState, "state"),
      text("Topology", (row) => row.topology),
      number("Nodes", (row) => count(row.counts.nodes)),
      number("Silent", (row) => dash(row.counts.silent)),
      number("Drifted", (row) => dash(row.counts.drifted)),
      number("Links", (row) => count(row.counts.links)),
      number("Dead", (row) => dash(row.counts.dead)),
      number("Encrypted", (row) => count(row.counts.encrypted)),
      text("Trouble", (row) => row.trouble || row.progress || "none", "wide"),
    ], report.overlays.map((row) => ({ ...held(row), level: row.trouble === "" ? "ok" : "warning" })),
    "No overlay is formed");
    showPictures(report.overlays);
    if (!daemon.resource) return;
    const lent = daemon.resource;
    fill("lent", [
      text("Overlay", (row) => row.name),
      text("State", overlayState, "state"),
      text("Manager", (row) => row.manager),
      text("Plays", (row) => row.type),
      text("Lease", (row) => typeof row.untilMs === "number"
        ? age(row.untilMs - report.nowMs) + " left"
        : "no end"),
      text("Drift", (row) => row.drift.length === 0
        ? "none"
        : { text: row.drift.slice(0, 3).join("; ") + (row.drift.length > 3
          ? " and " + count(row.drift.length - 3) + " more" : ""), level: "warning" }, "wide"),
    ], lent.overlays.map((row) => ({ ...held(row), level: row.drift.length === 0 ? "ok" : "warning" })),
    "This box is part of no overlay");
    const refused = Object.entries(lent.refusals).map(([why, times]) => why + " " + count(times));
    facts("lent-facts", [
      ["Control", lent.control],
      ["Tunnels end at", lent.address],
      ["Can", lent.capabilities.join(", ") || "nothing"],
      ["Datagrams", count(lent.datagrams.received) + " received, " + count(lent.datagrams.sent) + " sent"],
      ["Not ours", count(lent.datagrams.unsigned) + " unsigned, " + count(lent.datagrams.replayed) +
        " replayed, " + count(lent.datagrams.limited) + " too many"],
      ["Refused", refused.join(", ") || "none"],
    ]);
  };
`;
