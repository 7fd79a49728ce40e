/**
 * The look of the status page: a calm panel for one glance, on a phone from 360 px and on a desk,
 * light and dark. All pairs of text and ground reach WCAG 2.1's 4.5 : 1 (success criterion 1.4.3).
 *
 * @module
 */

/** The page's style sheet. */
export const PAGE_STYLE: string = String.raw`
:root {
  color-scheme: light dark;
  --ground: #f4f6f8; --card: #ffffff; --line: #dfe4ea; --text: #17202b; --muted: #566271;
  --in: #0b6e80; --out: #9a4a06; --ok: #17713f; --warn: #8a5300; --error: #b3232c;
  --ok-soft: #e6f4ec; --warn-soft: #fdf3df; --error-soft: #fdeaea; --track: #e6eaef;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f141a; --card: #171e26; --line: #28323d; --text: #e3e9f0; --muted: #9aa8b8;
    --in: #52c3d6; --out: #f0a566; --ok: #5ccf94; --warn: #f0b850; --error: #ff8a8a;
    --ok-soft: #14271e; --warn-soft: #2b2413; --error-soft: #331b1d; --track: #28323d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  -webkit-text-size-adjust: 100%; font-variant-numeric: tabular-nums;
}
[hidden] { display: none !important; }
.page { max-width: 1240px; margin: 0 auto; padding: 20px 24px 40px; }
header { display: flex; flex-wrap: wrap; gap: 6px 16px; align-items: baseline; margin-bottom: 14px; }
h1 { font-size: 22px; line-height: 1.2; margin: 0; font-weight: 650; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 13px; margin: 0; font-weight: 600; color: var(--muted); }
p, ul, ol, figure { margin: 0; padding: 0; }
ul, ol { list-style: none; }
.about { color: var(--muted); flex: 1 1 auto; }
.link { display: inline-flex; align-items: center; gap: 7px; color: var(--muted); font-size: 13px; }
.link::before { content: ""; width: 8px; height: 8px; border-radius: 50%; background: var(--muted); }
[data-link="live"] .link::before { background: var(--ok); }
[data-link="lost"] .link { color: var(--error); font-weight: 600; }
[data-link="lost"] .link::before { background: none; border: 2px solid var(--error); }
[data-link="lost"] main { filter: grayscale(1); opacity: .72; }
[data-link="lost"] .sentence::before { content: "Last known: "; font-weight: 400; }
[data-link="lost"] .mark { visibility: hidden; }
.lost { background: var(--error-soft); color: var(--error); border: 1px solid var(--error);
  border-radius: 10px; padding: 10px 14px; margin-bottom: 14px; font-weight: 600;
  position: sticky; top: 8px; z-index: 1; }
main { display: grid; gap: 14px; grid-template-columns: repeat(12, minmax(0, 1fr)); }
main > * { grid-column: 1 / -1; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 16px; min-width: 0; }
.card > h2 { margin-bottom: 8px; }
.health { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 2px 12px;
  border-left: 5px solid var(--muted); padding: 12px 16px; }
.health .mark { font-size: 20px; line-height: 1.3; font-weight: 700; width: 1.2em; text-align: center; }
.health .sentence { font-size: 18px; line-height: 1.35; font-weight: 600; overflow-wrap: anywhere; }
.health ul { grid-column: 2; }
.health li { margin-top: 6px; overflow-wrap: anywhere; }
.health .since { font-size: 14px; font-weight: 400; white-space: nowrap; color: var(--muted); }
.health[data-level="ok"] { border-color: var(--ok); background: var(--ok-soft); }
.health[data-level="ok"] .mark { color: var(--ok); }
.health[data-level="warning"] { border-color: var(--warn); background: var(--warn-soft); }
.health[data-level="warning"] .mark { color: var(--warn); }
.health[data-level="error"] { border-color: var(--error); background: var(--error-soft); }
.health[data-level="error"] .mark { color: var(--error); }
.health[data-level="warning"] .since, .health[data-level="error"] .since { color: var(--text); }
.charts { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); }
.chart figcaption { display: flex; justify-content: space-between; gap: 8px; align-items: baseline; }
.chart .now { font-size: 24px; font-weight: 600; letter-spacing: -.02em; line-height: 1.3; }
.chart .unit { font-size: 13px; color: var(--muted); font-weight: 400; letter-spacing: 0; }
.chart svg { display: block; width: 100%; height: 56px; margin-top: 4px; overflow: visible; }
.chart .axis { display: flex; justify-content: space-between; color: var(--muted); font-size: 12px;
  border-top: 1px solid var(--line); padding-top: 4px; }
.chart .stroke { fill: none; stroke-width: 1.6; vector-effect: non-scaling-stroke;
  stroke-linejoin: round; }
.chart .area { stroke: none; opacity: .14; }
.chart[data-hue="in"] .stroke { stroke: var(--in); } .chart[data-hue="in"] .area { fill: var(--in); }
.chart[data-hue="out"] .stroke { stroke: var(--out); } .chart[data-hue="out"] .area { fill: var(--out); }
.chart[data-hue="plain"] .stroke { stroke: var(--muted); } .chart[data-hue="plain"] .area { fill: var(--muted); }
#standby-card .chart { border: 0; padding: 0; }
#standby-charts { margin: 14px 0; }
.bar { height: 10px; border-radius: 5px; background: var(--track); overflow: hidden; margin: 8px 0 6px; }
.bar > div { height: 100%; width: 0; background: var(--in); border-radius: 5px; }
.bar[data-level="warning"] > div { background: var(--warn); }
.bar[data-level="error"] > div { background: var(--error); }
.big { font-size: 20px; font-weight: 600; letter-spacing: -.01em; overflow-wrap: anywhere; }
dl { margin: 8px 0 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(128px, 1fr));
  gap: 8px 16px; }
dt { color: var(--muted); font-size: 12px; } dd { margin: 0; overflow-wrap: anywhere; }
.muted, .empty { color: var(--muted); }
table { width: 100%; border-collapse: collapse; }
th { text-align: left; font-size: 12px; font-weight: 500; color: var(--muted); padding: 2px 10px 6px 0;
  border-bottom: 1px solid var(--line); white-space: nowrap; vertical-align: bottom; }
td { padding: 7px 10px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
td:last-child, th:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; }
td:first-child { font-weight: 600; min-width: 90px; }
td.number + td:not(.number), th.number + th:not(.number) { padding-left: 12px; }
td[data-level="ok"] { color: var(--ok); }
td[data-level="warning"] { color: var(--warn); font-weight: 600; }
td[data-level="error"] { color: var(--error); font-weight: 600; }
td.state > span::before { content: "● "; font-size: 10px; position: relative; top: -1px; }
td.state[data-level="warning"] > span::before { content: "▲ "; }
td.state[data-level="error"] > span::before { content: "■ "; }
tr:has(+ .under) td { border-bottom: 0; padding-bottom: 3px; }
.under td:first-child { font-weight: 400; }
.paths { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); }
.paths li { border: 1px solid var(--line); border-radius: 8px; padding: 7px 10px; min-width: 0; }
.paths .path { display: flex; flex-wrap: wrap; gap: 0 8px; align-items: baseline; }
.paths .path strong { font-weight: 600; }
.paths .rtt { margin-left: auto; }
.paths .bar { height: 6px; margin: 5px 0 4px; }
.paths .muted { font-size: 13px; }
.paths .what::before { content: "● "; font-size: 10px; position: relative; top: -1px; }
.paths [data-level="ok"] .what { color: var(--ok); }
.paths [data-level="backup"] .what { color: var(--muted); }
.paths [data-level="backup"] .what::before { content: "○ "; }
.paths [data-level="backup"] .bar > div { background: var(--muted); }
.paths [data-level="warning"] .what { color: var(--warn); font-weight: 600; }
.paths [data-level="warning"] .what::before { content: "▲ "; }
.pictures { display: grid; gap: 14px; margin-top: 14px; }
.pictures img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.log li { display: grid; grid-template-columns: 10em minmax(0, 1fr); gap: 0 10px; padding: 4px 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.log li:last-child { border-bottom: 0; }
.log time { color: var(--muted); font-size: 13px; line-height: 1.65; white-space: nowrap; }
.log { max-height: 22em; overflow-y: auto; }
.log:focus-visible { outline: 2px solid var(--in); outline-offset: 3px; border-radius: 4px; }
footer { margin-top: 16px; color: var(--muted); font-size: 13px; }
@media (min-width: 860px) {
  tbody tr:last-child td { border-bottom: 0; padding-bottom: 2px; }
  #spool-card { grid-column: span 5; } #upstreams-card { grid-column: span 7; }
  #broken-card { grid-column: span 5; } #events-card { grid-column: span 7; }
  #spool-card.alone, #upstreams-card.alone, #events-card.alone { grid-column: 1 / -1; }
}
@media (max-width: 859px) {
  .page { padding: 14px 12px 32px; }
  main, .charts { gap: 10px; }
  .charts { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  #chart-bytes:has(+ [hidden]) { grid-column: 1 / -1; }
  .card { padding: 12px; }
  .chart .now { font-size: 19px; } .chart .unit { font-size: 12px; }
  .chart svg { height: 42px; }
  .log li { grid-template-columns: minmax(0, 1fr); padding: 6px 0; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody { display: block; }
  tr { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 6px 10px;
    padding: 11px 0; border-bottom: 1px solid var(--line); }
  tbody tr:first-child { padding-top: 0; } tbody tr:last-child { border-bottom: 0; padding-bottom: 0; }
  td { display: block; grid-column: span 2; padding: 0; border: 0; order: 2; text-align: left;
    white-space: normal; min-width: 0; }
  td.number, td.number + td:not(.number) { padding-left: 0; text-align: left; }
  td::before { content: attr(data-label); display: block; color: var(--muted); font-weight: 400;
    font-size: 11.5px; line-height: 1.35; white-space: nowrap; }
  td.wide { grid-column: span 4; }
  tr:has(+ .under) { border-bottom: 0; padding-bottom: 7px; }
  tr.under { padding-top: 0; }
  .under td::before { content: none; }
  td:first-child { order: 0; grid-column: 1 / -1; }
  tr:has(td.state) td:first-child { grid-column: span 3; } td.state { order: 1; grid-column: span 3; text-align: right; }
  td:first-child, td.state { font-size: 15px; } td:first-child::before, td.state::before { content: none; }
}
@media (max-width: 350px) { td { grid-column: span 3; } td.wide { grid-column: 1 / -1; } }
@media print { .link, .lost { display: none; } body { background: none; } }
`;
