/**
 * The status page: one HTML document that needs nothing else from anywhere.
 *
 * @module
 */
import { PAGE_SCRIPT } from "./page_script.ts";
import { PAGE_STYLE } from "./page_style.ts";

export { PAGE_SCRIPT, PAGE_STYLE };

/** A line led through a ring. */
const ICON = "data:image/svg+xml," + encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" ' +
    'rx="7" fill="#0b6e80"/><circle cx="16" cy="16" r="7" fill="none" stroke="#fff" ' +
    'stroke-width="3"/><path d="M2 23 16 16 30 9" fill="none" stroke="#f0a566" ' +
    'stroke-width="3"/></svg>',
);

/** The document. */
export const PAGE: string = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Fairlead</title>
<link rel="icon" href="${ICON}">
<style>${PAGE_STYLE}</style>
</head>
<body data-link="waiting">
<div class="page">
<header>
  <h1 id="name">Fairlead</h1>
  <p class="about" id="about"></p>
  <p class="link" id="link">connecting</p>
</header>
<div class="lost" id="lost" hidden><span role="status" id="lost-text"></span><span id="lost-age"
  aria-hidden="true"></span></div>
<p class="card" id="waiting-screen">Waiting for the first answer of the box.</p>
<noscript><p class="card">This page shows live figures by a script. Without one, read
  <a href="metrics">metrics</a> or <a href="api/status">status</a>, or run
  <code>fairlead top</code>.</p></noscript>
<main id="content" hidden>
<section class="card health" id="health" aria-label="Health" aria-live="polite">
  <span class="mark" id="mark" aria-hidden="true"></span>
  <p class="sentence"><span id="sentence"></span> <span class="since" id="sentence-since"
    aria-hidden="true"></span></p>
  <ul id="problems" hidden></ul>
</section>
<section class="charts" id="rates" aria-label="Rates of the last five minutes">
${chart("chart-in", "in-title", "Messages in", "in")}
${chart("chart-out", "out-title", "Messages out", "out")}
${chart("chart-bytes", "bytes-title", "Bytes", "plain")}
${chart("chart-waiting", "waiting-title", "Waiting", "plain")}
</section>
<section class="card" id="spool-card" aria-labelledby="spool-title" hidden>
  <h2 id="spool-title">Spool</h2>
  <p class="big" id="spool-count"></p>
  <div class="bar" id="spool-bar" role="meter" aria-label="Share of the spool in use" aria-valuemin="0"
    aria-valuemax="100" aria-valuenow="0"><div></div></div>
  <p class="muted" id="spool-share"></p>
  <dl id="spool-facts"></dl>
</section>
${tableCard("upstreams", "Delivery to hubs")}
${tableCard("sessions", "Sessions")}
${tableCard("inputs", "Inputs")}
${tableCard("outputs", "Outputs")}
${tableCard("paths", "Paths")}
<section class="card" id="standby-card" aria-labelledby="standby-title" hidden>
  <h2 id="standby-title">Standby</h2>
  <p class="big" id="standby"></p>
  <dl id="standby-facts"></dl>
  <div class="charts" id="standby-charts">
${chart("chart-lag", "lag-title", "Standby behind by", "in")}
${chart("chart-behind", "behind-title", "Packets behind", "out")}
  </div>
  <h2 id="sas-title">Furthest behind</h2>
${table("sas")}
</section>
<section class="card" id="overlays-card" aria-labelledby="overlays-title" hidden>
  <h2 id="overlays-title">Overlays</h2>
${table("overlays")}
  <div class="pictures" id="pictures"></div>
</section>
<section class="card" id="lent-card" aria-labelledby="lent-title" hidden>
  <h2 id="lent-title">Overlays of this box</h2>
${table("lent")}
  <dl id="lent-facts"></dl>
</section>
${logCard("broken", "Connections that broke")}
${logCard("events", "Last events")}
</main>
<footer id="process"></footer>
</div>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`;

function chart(id: string, titleId: string, title: string, hue: string): string {
  return `<figure class="card chart" id="${id}" data-hue="${hue}">
  <figcaption><h2 id="${titleId}">${title}</h2></figcaption>
  <p class="now"><span class="value">–</span><span class="unit"></span></p>
  <svg viewBox="0 0 300 60" preserveAspectRatio="none" aria-hidden="true"></svg>
  <p class="axis"><span>5 min</span><span class="peak"></span></p>
</figure>`;
}

function tableCard(id: string, title: string): string {
  return `<section class="card" id="${id}-card" aria-labelledby="${id}-title">
  <h2 id="${id}-title">${title}</h2>
${table(id)}
</section>`;
}

/** Roles are written out, as a table that is laid out in blocks loses its own in some browsers. */
function table(id: string): string {
  return `  <table id="${id}" role="table" aria-labelledby="${id}-title"><thead role="rowgroup"><tr
    role="row"></tr></thead><tbody role="rowgroup"></tbody></table>
  <p class="empty" hidden></p>`;
}

function logCard(id: string, title: string): string {
  return `<section class="card" id="${id}-card" aria-labelledby="${id}-title" hidden>
  <h2 id="${id}-title">${title}</h2>
  <ol class="log" id="${id}" tabindex="0" aria-labelledby="${id}-title"></ol>
</section>`;
}
