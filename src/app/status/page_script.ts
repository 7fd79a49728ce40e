/**
 * What the status page does: looks at `/api/events`, falls back to asking `/api/status`, keeps
 * the rates of five minutes, and shows it all. Whatever came over a network becomes text nodes
 * and never markup; it runs under a policy that allows no other script.
 *
 * @module
 */

import { OVERLAY_SCRIPT } from "./page_overlay_script.ts";

/** The page's script. */
export const PAGE_SCRIPT: string = String.raw`
"use strict";
(() => {
  const KEEP_MS = 300000;
  const GAP_MS = 12000;
  const LOST_MS = 4000;
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);

  // ---- words and numbers
  const whole = new Intl.NumberFormat("en");
  const count = (value) => whole.format(Math.round(value));
  const short = (value) => {
    if (value >= 1e9) return (value / 1e9).toFixed(1) + " G";
    if (value >= 1e6) return (value / 1e6).toFixed(1) + " M";
    if (value >= 1e4) return (value / 1e3).toFixed(1) + " k";
    return value >= 100 || value === 0 ? count(value) : value.toFixed(1);
  };
  const bytes = (value) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = 0;
    while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit++; }
    return (unit === 0 ? Math.round(value) : value.toFixed(1)) + " " + units[unit];
  };
  const age = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min";
    const pair = (big, bigUnit, small, smallUnit) =>
      Math.floor(s / big) + bigUnit + (s % big < small ? "" : " " + Math.floor(s % big / small) + smallUnit);
    return s < 86400 ? pair(3600, " h", 60, " min") : pair(86400, " d", 3600, " h");
  };
  const two = (value) => String(value).padStart(2, "0");
  const clock = (ms) => {
    const at = new Date(ms);
    const day = at.getFullYear() + "-" + two(at.getMonth() + 1) + "-" + two(at.getDate());
    const time = two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds());
    return at.toDateString() === new Date().toDateString() ? time : day + " " + time;
  };

  // ---- the document: only what differs is written, so that a selection and the focus stay
  const setText = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const setData = (node, key, value) => {
    if (node.dataset[key] !== value) node.dataset[key] = value;
  };
  const make = (name, className) => {
    const node = document.createElement(name);
    if (className) node.className = className;
    return node;
  };
  const resize = (parent, length, create) => {
    while (parent.children.length > length) parent.lastElementChild.remove();
    while (parent.children.length < length) parent.append(create());
  };
  const show = (id, wanted) => { byId(id).hidden = !wanted; };

  /** What stands under a row: a sentence, or its paths with the share of the bytes of each. */
  const showUnder = (line, said, span) => {
    if (line.firstChild === null) {
      const cell = make("td");
      cell.setAttribute("role", "cell");
      cell.append(make("span", "muted"), make("ul", "paths"));
      line.append(cell);
    }
    const cell = line.firstChild;
    cell.colSpan = span;
    setText(cell.firstChild, said.text);
    cell.firstChild.hidden = said.text === "";
    const parent = cell.lastChild;
    parent.setAttribute("aria-label", said.label);
    parent.hidden = said.parts.length === 0;
    resize(parent, said.parts.length, () => {
      const item = make("li");
      const head = make("p", "path");
      head.append(make("strong"), " ", make("span", "what"), " ", make("span", "rtt"));
      const bar = make("div", "bar");
      bar.setAttribute("aria-hidden", "true");
      bar.append(make("div"));
      item.append(head, bar, make("p", "muted"), make("p", "muted"));
      return item;
    });
    said.parts.forEach((part, index) => {
      const item = parent.children[index];
      setData(item, "level", part.level);
      const [head, bar, counts, ends] = item.children;
      setText(head.children[0], part.name);
      setText(head.children[1], part.what);
      setText(head.children[2], part.rtt);
      bar.firstChild.style.width = (part.share * 100).toFixed(1) + "%";
      setText(counts, part.counts);
      setText(ends, part.ends);
    });
  };

  /**
   * A column: heading, number or text, and what a row says: text, or a text with a level. What
   * 'under' says of a row, if anything, has a line of its own beneath it.
   */
  const fill = (id, columns, rows, emptyText, under) => {
    const table = byId(id);
    const heads = table.tHead.rows[0];
    resize(heads, columns.length, () => {
      const head = make("th");
      head.scope = "col";
      head.setAttribute("role", "columnheader");
      return head;
    });
    columns.forEach((column, index) => {
      const head = heads.children[index];
      setText(head, column.title);
      head.className = column.number ? "number" : "";
    });
    const body = table.tBodies[0];
    const lines = rows.flatMap((row) => {
      const said = under ? under(row) : null;
      return said === null ? [{ row, said }] : [{ row, said: null }, { row, said }];
    });
    resize(body, lines.length, () => {
      const row = make("tr");
      row.setAttribute("role", "row");
      return row;
    });
    lines.forEach(({ row, said }, at) => {
      const line = body.children[at];
      const kind = said === null ? "" : "under";
      if (line.className !== kind) {
        line.className = kind;
        line.replaceChildren();
      }
      if (said !== null) {
        showUnder(line, said, columns.length);
        return;
      }
      resize(line, columns.length, () => {
        const cell = make("td");
        cell.setAttribute("role", "cell");
        cell.append(make("span"));
        return cell;
      });
      columns.forEach((column, index) => {
        const cell = line.children[index];
        const said = column.get(row);
        const text = typeof said === "string" ? said : said.text;
        setText(cell.firstChild, text);
        setData(cell, "label", column.title);
        const level = typeof said === "string" ? "" : said.level;
        if (level) setData(cell, "level", level); else delete cell.dataset.level;
        cell.className = column.number ? "number" : column.kind;
      });
    });
    table.hidden = rows.length === 0;
    setText(table.nextElementSibling, rows.length === 0 ? emptyText : "");
    table.nextElementSibling.hidden = rows.length !== 0;
  };

  const list = (id, rows) => {
    const parent = byId(id);
    resize(parent, rows.length, () => {
      const item = make("li");
      item.append(make("time"), make("span"));
      return item;
    });
    rows.forEach((row, index) => {
      const item = parent.children[index];
      setText(item.firstChild, clock(row.atMs));
      const stamp = new Date(row.atMs);
      item.firstChild.dateTime = isNaN(stamp) ? "" : stamp.toISOString();
      setText(item.lastChild, row.text);
    });
  };

  const facts = (id, pairs) => {
    const parent = byId(id);
    resize(parent, pairs.length, () => {
      const pair = make("div");
      pair.append(make("dt"), make("dd"));
      return pair;
    });
    pairs.forEach((pair, index) => {
      setText(parent.children[index].firstChild, pair[0]);
      setText(parent.children[index].lastChild, pair[1]);
    });
  };

  // ---- rates: differences of counters over the box's own time
  let last = null;
  const points = [];
  const seconds = (report) => {
    if (last === null || last.startedMs !== report.startedMs) return 0;
    const passed = (report.nowMs - last.nowMs) / 1000;
    return passed > 0 && passed < 600 ? passed : 0;
  };
  const rateOf = (now, before, passed) => passed > 0 ? Math.max(0, now - before) / passed : 0;
  const rates = new Map();
  const keepRates = (kind, rows, value, passed) => {
    for (const row of rows || []) {
      const key = kind + " " + row.name;
      const known = rates.get(key);
      const rate = known && passed > 0 ? rateOf(value(row), known.value, passed) : null;
      rates.set(key, { value: value(row), rate });
    }
  };
  const rate = (kind) => ({
    title: "Rate", number: true,
    get: (row) => {
      const known = rates.get(kind + " " + row.name);
      return known && known.rate !== null ? short(known.rate) + "/s" : "–";
    },
  });
  const sampled = (report) => {
    const passed = seconds(report);
    if (last !== null && passed > 0 && passed < 0.5) return;
    if (rates.size > 2000) rates.clear();
    keepRates("session", report.sessions, (row) => row.messagesSent + row.messagesReceived, passed);
    keepRates("input", report.inputs, (row) => row.messages, passed);
    keepRates("output", report.outputs, (row) => row.messages, passed);
    if (passed > 0) {
      const now = report.totals;
      const before = last.totals;
      points.push({
        atMs: performance.now(),
        messagesIn: rateOf(now.messagesIn, before.messagesIn, passed),
        messagesOut: rateOf(now.messagesOut, before.messagesOut, passed),
        bytesOut: report.role === "hub"
          ? rateOf(now.bytesIn, before.bytesIn, passed)
          : rateOf(now.bytesOut, before.bytesOut, passed),
        waiting: report.spool ? report.spool.messages : 0,
      });
    }
    last = { startedMs: report.startedMs, nowMs: report.nowMs, totals: report.totals };
    while (points.length > 0 && performance.now() - points[0].atMs > KEEP_MS) points.shift();
  };

  // ---- charts
  /** Draws what 'source' has: points with the time of each, and the time that is now. */
  const chart = (id, key, unit, format, smooth, source) => {
    const figure = byId(id);
    const svg = figure.querySelector("svg");
    const area = document.createElementNS(SVG, "path");
    const stroke = document.createElementNS(SVG, "path");
    area.setAttribute("class", "area");
    stroke.setAttribute("class", "stroke");
    svg.replaceChildren(area, stroke);
    return () => {
      const { points, now } = source();
      const peak = points.reduce((most, point) => Math.max(most, point[key]), 0);
      const x = (point) => (300 - (now - point.atMs) / 1000).toFixed(1);
      const y = (point) => (58 - 54 * point[key] / (peak || 1)).toFixed(1);
      let line = "";
      let shape = "";
      let start = null;
      points.forEach((point, index) => {
        const before = points[index - 1];
        const isNew = before === undefined || point.atMs - before.atMs > GAP_MS;
        line += (isNew ? "M" : "L") + x(point) + " " + y(point);
        if (isNew) {
          if (start !== null) shape += "L" + x(before) + " 60Z";
          shape += "M" + x(point) + " 60";
          start = point;
        }
        shape += "L" + x(point) + " " + y(point);
      });
      if (points.length > 0) shape += "L" + x(points[points.length - 1]) + " 60Z";
      stroke.setAttribute("d", line);
      area.setAttribute("d", shape);
      const newest = points.slice(smooth ? -3 : -1);
      const mean = newest.reduce((sum, point) => sum + point[key], 0) / (newest.length || 1);
      const [value, ownUnit] = format(mean);
      setText(figure.querySelector(".value"), points.length === 0 ? "–" : value);
      setText(figure.querySelector(".unit"), ownUnit + unit);
      const [peakValue, peakUnit] = format(peak);
      setText(figure.querySelector(".peak"), "peak " + peakValue + peakUnit);
    };
  };
  const plain = (value) => [short(value), ""];
  const sized = (value) => {
    const [number, unit] = bytes(value).split(" ");
    return [number, " " + unit];
  };
  const counted = (value) => [value < 1e4 ? count(value) : short(value), ""];
  const sampledHere = () => ({ points, now: performance.now() });
  /** Points that the box keeps itself, in its own time. */
  let lag = { points: [], now: 0 };
  const timed = (value) => value < 10000 ? [count(value), " ms"] : [short(value / 1000), " s"];
  const charts = [
    chart("chart-in", "messagesIn", "/s", plain, true, sampledHere),
    chart("chart-out", "messagesOut", "/s", plain, true, sampledHere),
    chart("chart-bytes", "bytesOut", "/s", sized, true, sampledHere),
    chart("chart-waiting", "waiting", "", counted, false, sampledHere),
    chart("chart-lag", "lagMs", "", timed, false, () => lag),
    chart("chart-behind", "lagPackets", "", counted, false, () => lag),
  ];

  // ---- the parts
  const calm = ["ready", "standby"];
  const number = (title, get) => ({ title, number: true, get });
  const text = (title, get, kind) => ({ title, get, kind: kind || "text" });
  const dropped = number("Dropped", (row) =>
    row.dropped > 0 ? { text: count(row.dropped), level: "warning" } : "0");
  const trouble = text("State", (row) => row.trouble === ""
    ? { text: "ok", level: "ok" }
    : { text: row.trouble, level: row.required ? "error" : "warning" }, "state");

  const showHealth = (report) => {
    const health = report.health;
    setData(byId("health"), "level", health.level);
    setText(byId("mark"), { ok: "✓", warning: "!", error: "✕" }[health.level] || "?");
    setText(byId("sentence"), health.text);
    const sinceText = (one) => one && one.sinceMs ? "for " + age(report.nowMs - one.sinceMs) : "";
    setText(byId("sentence-since"), sinceText(health.problems[0]));
    const more = health.problems.slice(1);
    const parent = byId("problems");
    resize(parent, more.length, () => {
      const item = make("li");
      const since = make("span", "since");
      since.setAttribute("aria-hidden", "true");
      item.append(make("span"), " ", since);
      return item;
    });
    more.forEach((one, index) => {
      const item = parent.children[index];
      setText(item.firstChild, one.text);
      setText(item.lastChild, sinceText(one));
    });
    parent.hidden = more.length === 0;
  };

  const showSpool = (spool) => {
    show("spool-card", spool);
    show("chart-waiting", spool);
    if (!spool) return;
    const share = spool.bytesMax > 0 ? Math.min(1, spool.bytes / spool.bytesMax) : 0;
    const level = spool.state !== "ok" ? "error" : share > 0.8 ? "warning" : "ok";
    setData(byId("spool-bar"), "level", level);
    byId("spool-bar").firstElementChild.style.width = (share * 100).toFixed(2) + "%";
    const meter = byId("spool-bar");
    meter.setAttribute("aria-valuenow", String(Math.round(share * 100)));
    setText(byId("spool-count"), count(spool.messages) + (spool.messages === 1 ? " message waits" : " messages wait"));
    setText(byId("spool-share"), bytes(spool.bytes) + " of " + bytes(spool.bytesMax) + " (" +
      (share * 100).toFixed(share < 0.1 ? 1 : 0) + " %)" + (spool.state === "ok" ? "" : ", " + spool.state));
    facts("spool-facts", [
      ["Oldest", spool.messages === 0 ? "none" : age(spool.oldestMs)],
      ["Kept", spool.place === "disk" ? "on disk" : "in memory"],
      ["Committed", count(spool.committed)],
      ["Dropped", count(spool.dropped)],
      ["Lost to damage", count(spool.lost)],
      ["Written per message", spool.place === "disk" ? bytes(spool.bytesWrittenPerMessage) : "nothing"],
    ]);
  };

  const pathsUnder = (row) => {
    const paths = row.paths || [];
    if (paths.length === 0) {
      const reason = row.transport && row.transport.startsWith("tcp: ");
      return reason ? { label: "", text: "One path: " + row.transport.slice(5), parts: [] } : null;
    }
    const traffic = (path) => path.bytesSent + path.bytesReceived;
    const all = paths.reduce((sum, path) => sum + traffic(path), 0);
    return {
      label: "Paths of " + row.name,
      text: "",
      parts: paths.map((path) => {
        const up = path.state === "established";
        const share = all > 0 ? traffic(path) / all : 0;
        return {
          name: path.link || "no interface",
          what: up ? path.backup ? "backup" : "active" : path.state,
          level: up ? path.backup ? "backup" : "ok" : "warning",
          rtt: up ? path.rttMs.toFixed(path.rttMs < 10 ? 1 : 0) + " ms" : "",
          share,
          counts: bytes(path.bytesSent) + " sent, " + bytes(path.bytesReceived) + " received, " +
            Math.round(share * 100) + " %",
          ends: path.local + " → " + path.remote,
        };
      }),
    };
  };

  const showTables = (report) => {
    const hub = report.role === "hub";
    // A box that is only one of a pair, or lends itself to overlays, carries no messages.
    const carries = report.role === "gateway" || hub;
    show("rates", carries);
    show("sessions-card", carries);
    setText(byId("sessions-title"), hub ? "Sessions with gateways" : "Sessions with hubs");
    fill("sessions", [
      text(hub ? "Gateway" : "Hub", (row) => row.name),
      text("State", (row) => ({
        text: row.state + " for " + age(report.nowMs - row.sinceMs),
        level: calm.includes(row.state) ? "ok" : row.state === "refused" ? "error" : "warning",
      }), "state"),
      rate("session"),
      number("Sent", (row) => count(row.messagesSent)),
      number("Received", (row) => count(row.messagesReceived)),
      number("Traffic", (row) => bytes(row.bytesSent + row.bytesReceived)),
      number("Unacknowledged", (row) => count(row.unacknowledged)),
      number("Reconnects", (row) => count(row.reconnects)),
      text("Mode", (row) => row.transport && row.mode
        ? row.mode + ", " + row.transport.split(":")[0]
        : row.mode),
      text("Address", (row) => row.address, "wide"),
    ], report.sessions, hub ? "No gateway has come yet" : "No hub is configured", pathsUnder);
    show("upstreams-card", report.upstreams);
    fill("upstreams", [
      text("Hub", (row) => row.name),
      number("Waiting", (row) => count(row.waiting)),
      number("Sent", (row) => count(row.sent)),
      number("Acknowledged", (row) => count(row.acknowledged)),
      dropped,
    ], report.upstreams || [], "No hub is configured");
    show("inputs-card", report.inputs);
    fill("inputs", [
      text("Input", (row) => row.name),
      text("Type", (row) => row.type),
      trouble,
      rate("input"),
      number("Messages", (row) => count(row.messages)),
      number("Bytes", (row) => bytes(row.bytes)),
      dropped,
      number("Refused", (row) => row.refused === undefined ? "–" : count(row.refused)),
      number("Clients", (row) => row.clients === undefined ? "–" : count(row.clients) +
        (row.waiting ? " (" + count(row.waiting) + " wait)" : "")),
      text("Where", (row) => row.where, "wide"),
    ], report.inputs || [], "No input is configured");
    show("outputs-card", report.outputs);
    fill("outputs", [
      text("Output", (row) => row.name),
      text("Type", (row) => row.type),
      trouble,
      rate("output"),
      number("Messages", (row) => count(row.messages)),
      number("Bytes", (row) => bytes(row.bytes)),
      dropped,
      text("Required", (row) => row.required === undefined ? "–" : row.required ? "yes" : "no"),
      text("Where", (row) => row.where, "wide"),
    ], report.outputs || [], "No output is configured");
    show("paths-card", report.paths);
    fill("paths", [
      text("Path", (row) => row.name),
      text("State", (row) => row.state),
      text("", (row) => row.text, "wide"),
    ], report.paths || [], "No path yet");
  };

  const milliseconds = (ms) => {
    if (ms < 0) return "–";
    return ms < 1000 ? (ms > 0 && ms < 10 ? ms.toFixed(1) : count(ms)) + " ms" : age(ms);
  };
  const standbySentence = (view) => {
    const other = view.peer.box || view.peer.address;
    if (view.split) return "Both boxes were active in one term: promote one of them";
    if (view.role === "active") {
      return "Active: " + other + (view.sync.synced ? " has everything" : " could not take over now");
    }
    if (view.role !== "standby") return view.role;
    return view.ready ? "Standby: holds everything of " + other : "Standby: waits for " + other;
  };
  const standbyFacts = (view, saCount) => {
    const { addresses, cargo, fence, ipsec, peer, sync, witness } = view;
    const rows = [
      ["Role", view.role + (view.mode === view.role ? "" : " (told " + view.mode + ")")],
      ["Term", count(view.term)],
      ["Other box", peer.box || peer.address],
      ["It is", peer.reached ? peer.role || "reached" : "not reached"],
      ["Round trip", peer.reached ? milliseconds(peer.roundTripMs) : "–"],
      ["In step", sync.synced ? "yes" : "no"],
      ["On the way", bytes(sync.unackedBytes)],
      ["Witness", witness === null ? "none" : witness.reached ? "reached" : "not reached"],
    ];
    if (witness !== null) {
      rows.push(["Lease", witness.leaseLeftMs > 0 ? milliseconds(witness.leaseLeftMs) + " left" : "none"]);
    }
    if (witness !== null && witness.refusal !== "") rows.push(["Refused last", witness.refusal]);
    if (ipsec !== null) {
      const gate = fence.open ? "open" : "closed";
      rows.push(["Fence", fence.there ? gate + ", " + count(fence.dropped) + " kept back" : "none"]);
    }
    if (addresses.list.length > 0) {
      rows.push(["Addresses", (addresses.taken ? "taken: " : "not taken: ") + addresses.list.join(", ")]);
    }
    if (ipsec !== null) {
      const here = ipsec.kernelSas < 0 ? "" : " (" + count(ipsec.kernelSas) + " in the kernel)";
      rows.push(["SAs", count(saCount) + here], ["Policies", count(ipsec.policies)]);
      rows.push(["Events dropped", count(ipsec.overruns) + (ipsec.overruns === 1 ? " time" : " times")]);
    }
    rows.push(["Resyncs", count(sync.resyncs)], ["Refused posts", count(sync.refused)]);
    rows.push(["Takeovers", view.takeovers === 0 ? "none" : count(view.takeovers) + ", last in " +
      milliseconds(view.takeoverMs)]);
    if (view.takeoverProblems.length > 0) rows.push(["It could not", view.takeoverProblems.join("; ")]);
    if (cargo !== null) {
      rows.push(["Gateway", cargo.running ? "works here" : "held"]);
      rows.push(["Sessions", count(cargo.sessions) + ", " + cargo.mode]);
      rows.push(["Spool there", count(cargo.spoolMessages) + ", " + bytes(cargo.spoolBytes)]);
      rows.push(["Added latency", milliseconds(cargo.addedLatencyMs)]);
    }
    return rows;
  };
  const showStandby = (report) => {
    const view = report.standby;
    show("standby-card", view);
    if (!view) return;
    setText(byId("standby"), standbySentence(view));
    facts("standby-facts", standbyFacts(view, report.saCount));
    lag = { points: view.lag, now: report.nowMs };
    show("standby-charts", view.ipsec);
    show("sas-title", view.ipsec && view.ipsec.sas.length > 0);
    fill("sas", [
      text("SA", (row) => row.key),
      text("Use", (row) => row.direction),
      number("Number", (row) => row.direction === "both"
        ? count(row.oseq) + " / " + count(row.seq)
        : count(row.direction === "out" ? row.oseq : row.seq)),
      number("Packets behind", (row) => count(row.lagPackets)),
      number("For", (row) => milliseconds(row.lagMs)),
      number("Jump", (row) => count(row.jump)),
      number("Last event", (row) => milliseconds(row.lastEventMsAgo)),
      number("Packets", (row) => short(row.packetsPerSecond) + "/s"),
      number("Events", (row) => row.polled ? "asked" : short(row.eventsPerSecond) + "/s"),
      number("Replays", (row) => row.drops > 0 ? { text: count(row.drops), level: "warning" } : "0"),
    ], view.ipsec ? view.ipsec.sas : [], view.ipsec ? "No SA" : "IPsec is not kept in step");
  };

${OVERLAY_SCRIPT}
  const showLogs = (report) => {
    const broken = report.sessions.flatMap((session) =>
      session.history.map((one) => ({ atMs: one.atMs, text: session.name + ": " + one.text })));
    broken.sort((a, b) => b.atMs - a.atMs);
    list("broken", broken.slice(0, 30));
    show("broken-card", broken.length > 0);
    list("events", report.events.slice().reverse());
    show("events-card", report.events.length > 0);
  };

  const showReport = (report) => {
    const trouble = report.health.level === "ok" ? "" : "(!) ";
    const title = trouble + report.name + " – Fairlead " + report.role;
    if (document.title !== title) document.title = title;
    setText(byId("name"), report.name);
    setText(byId("about"), report.role + " · version " + report.version + " · up " +
      age(report.nowMs - report.startedMs) + (report.ready ? "" : " · not ready"));
    setText(byId("bytes-title"), report.role === "hub" ? "Bytes from gateways" : "Bytes to hubs");
    sampled(report);
    showHealth(report);
    showSpool(report.spool);
    showTables(report);
    showLogs(report);
    showStandby(report);
    showOverlays(report);
    const alone = (id, other) => byId(id).classList.toggle("alone", byId(other).hidden);
    alone("spool-card", "upstreams-card");
    alone("upstreams-card", "spool-card");
    alone("events-card", "broken-card");
    const own = report.process;
    setText(byId("process"), "Memory " + bytes(own.rssBytes) + " (heap " + bytes(own.heapBytes) +
      ") · CPU " + count(own.cpuSeconds) + " s · " + count(own.openFiles) + " open files");
    for (const draw of charts) draw();
    byId("waiting-screen").hidden = true;
    byId("content").hidden = false;
  };

  // ---- the way to the box
  let stream = null;
  let timer = 0;
  let polls = 0;
  let seenMs = -1;
  const startedMs = performance.now();

  const seen = (json) => {
    showReport(JSON.parse(json));
    seenMs = performance.now();
    showLink();
  };
  const showLink = () => {
    const since = performance.now() - (seenMs < 0 ? startedMs : seenMs);
    const isHidden = document.visibilityState === "hidden";
    const lost = since > LOST_MS + (isHidden ? 120000 : 0);
    const state = lost ? "lost" : seenMs < 0 ? "waiting" : "live";
    setData(document.body, "link", state);
    const said = lost
      ? seenMs < 0 ? "no answer" : "last seen " + age(since) + " ago"
      : seenMs < 0 ? "connecting" : "live";
    setText(byId("link"), said);
    byId("lost").hidden = !lost;
    setText(byId("lost-text"), lost ? "The connection to the box is lost: what is shown is old" : "");
    setText(byId("lost-age"), lost && seenMs >= 0 ? ", last seen " + age(since) + " ago" : "");
  };
  const look = () => {
    stream = new EventSource("api/events");
    stream.onmessage = (event) => seen(event.data);
    stream.onerror = () => fallBack();
  };
  const fallBack = () => {
    if (stream !== null) stream.close();
    stream = null;
    clearTimeout(timer);
    polls = 0;
    timer = setTimeout(poll, 1000);
  };
  const poll = async () => {
    try {
      const answer = await fetch("api/status", { cache: "no-store", signal: AbortSignal.timeout(4000) });
      if (!answer.ok) throw new Error(String(answer.status));
      seen(await answer.text());
      polls++;
    } catch {
      polls = 0;
    }
    const isHidden = document.visibilityState === "hidden";
    if (polls >= 5 && !isHidden) look();
    else timer = setTimeout(poll, isHidden ? 5000 : 1000);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") {
      // A browser has few connections for one host: a page that nobody sees gives its own back.
      fallBack();
    } else if (stream === null) {
      clearTimeout(timer);
      polls = 4;
      poll();
    }
  });
  setInterval(() => {
    showLink();
    if (stream !== null && performance.now() - Math.max(seenMs, startedMs) > 6000) fallBack();
  }, 1000);
  look();
})();
`;
