/** The picture of paths: what it shows, that it is bounded, and that nobody's text becomes markup. */
import assert from "node:assert/strict";
import { pathsGraph } from "../../src/app/paths/paths_graph.ts";
import type {
  ConnectionView,
  LinkView,
  PathsView,
  SubflowView,
} from "../../src/app/paths/paths_view.ts";

function linkOf(index: number, more: Partial<LinkView> = {}): LinkView {
  return {
    index,
    name: `e${index}`,
    up: true,
    addresses: [`10.9.${index}.1`, `fd09:${index}::1`],
    role: "primary",
    ...more,
  };
}

function subflowOf(link: string, more: Partial<SubflowView> = {}): SubflowView {
  return {
    subflow: 1,
    local: "10.9.1.1:50000",
    remote: "10.9.1.2:5001",
    localId: 0,
    remoteId: 0,
    link,
    state: "established",
    backup: "",
    rttMs: 0.31,
    bytesSent: 750,
    bytesReceived: 0,
    retransmitted: 0,
    ...more,
  };
}

function connectionOf(token: number, subflows: SubflowView[]): ConnectionView {
  return {
    connection: `0x${token.toString(16).padStart(8, "0")}`,
    local: "10.9.1.1:50000",
    remote: "10.9.1.2:5001",
    state: "established",
    serverSide: false,
    uid: 0,
    bytesSent: 1000,
    bytesReceived: 2048,
    subflows,
    remoteAddresses: [],
  };
}

function viewOf(links: LinkView[], connections: ConnectionView[]): PathsView {
  return { namespace: "", pathManager: "userspace", links, connections };
}

const USUAL = viewOf(
  [linkOf(1), linkOf(2, { up: false }), linkOf(3, { role: "metered" })],
  [
    connectionOf(1, [
      subflowOf("e1"),
      subflowOf("e3", { subflow: 2, backup: "local", bytesSent: 250, rttMs: 41.25 }),
      subflowOf("e2", { subflow: 3, bytesSent: 0, retransmitted: 9 }),
    ]),
    connectionOf(2, [subflowOf("e1", { state: "closing" })]),
  ],
);

/** Throws where tags do not nest or text is not escaped; returns the names of the elements. */
function elementsOf(svg: string): string[] {
  const open: string[] = [];
  const names: string[] = [];
  let at = 0;
  for (const match of svg.matchAll(/<(\/?)([a-z]+)((?: [a-zA-Z:-]+="[^"<>]*")*)(\/?)>/g)) {
    assert.doesNotMatch(svg.slice(at, match.index), /[<>]|&(?!amp;|lt;|gt;|quot;)/);
    at = match.index + match[0].length;
    if (match[1] === "/") assert.equal(open.pop(), match[2]);
    else {
      names.push(match[2]!);
      if (match[4] === "") open.push(match[2]!);
    }
  }
  assert.equal(svg.slice(at), "\n");
  assert.deepEqual(open, []);
  return names;
}

function linesOf(svg: string): { kind: string; width: number; told: string }[] {
  const found = svg.matchAll(
    /<path class="line (\w+)" stroke-width="([\d.]+)" d="[^"]+"><title>([^<]*)</g,
  );
  return [...found].map(([, kind, width, told]) => ({
    kind: kind!,
    width: Number(width),
    told: told!,
  }));
}

Deno.test("a subflow is a line: solid, dashed or red, as wide as its share", () => {
  const lines = linesOf(pathsGraph(USUAL));
  assert.deepEqual(lines.map(({ kind, width }) => [kind, width]), [
    ["active", 6.4],
    ["dead", 8],
    ["dead", 1.5],
    ["backup", 3.1],
  ]);
  assert.equal(
    lines[3]!.told,
    "e3: 10.9.1.1:50000 to 10.9.1.2:5001, #2  rtt 41.3 ms  25 %  backup (local)",
  );
});

Deno.test("the picture is well-formed, has a title and a description, and no script", () => {
  const svg = pathsGraph(USUAL);
  const names = elementsOf(svg);
  assert.deepEqual(names.slice(0, 4), ["svg", "title", "desc", "style"]);
  assert.match(svg, /role="img" aria-labelledby="paths-title paths-desc"/);
  assert.match(
    svg,
    /3 links, 1 down; 2 connections with 4 subflows: 1 active, 1 backup, 2 closing or dead\./,
  );
  assert.match(svg, /prefers-color-scheme:dark/);
  assert.ok(!names.includes("script"));
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
});

Deno.test("the same view gives the same bytes", () => {
  assert.equal(pathsGraph(structuredClone(USUAL)), pathsGraph(USUAL));
});

Deno.test("links show name, addresses, state and role", () => {
  const svg = pathsGraph(USUAL);
  for (const said of ["e1  up  primary", "e2  down  primary", "e3  up  metered", "fd09:2::1"]) {
    assert.ok(svg.includes(`>${said}</text>`), said);
  }
  const many = Array.from({ length: 7 }, (_, at) => `10.0.0.${at}`);
  const crowded = pathsGraph(viewOf([linkOf(1, { addresses: many, role: "" })], []));
  assert.ok(crowded.includes(">10.0.0.3</text>") && !crowded.includes("10.0.0.4"));
  assert.ok(crowded.includes(">and 3 more</text>"));
  assert.ok(pathsGraph(viewOf([linkOf(1, { addresses: [] })], [])).includes(">no address<"));
});

Deno.test("the longest peer of IPv6 is shown whole", () => {
  const remote = "[2001:db89:1234:5678:9abc:def0:1234:5678]:50000";
  const svg = pathsGraph(viewOf([], [{ ...connectionOf(1, []), remote, serverSide: true }]));
  assert.ok(svg.includes(`>&lt;- ${remote}</text>`), svg);
});

Deno.test("nothing at all makes a picture too", () => {
  const svg = pathsGraph({ namespace: "", pathManager: "none", links: [], connections: [] });
  elementsOf(svg);
  assert.match(svg, /No MPTCP connections/);
  assert.match(svg, /no MPTCP here/);
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
});

Deno.test("50 connections over 40 links are bounded, and the rest is counted", () => {
  const links = Array.from({ length: 40 }, (_, at) => linkOf(at));
  const connections = Array.from(
    { length: 50 },
    (_, at) => connectionOf(at, Array.from({ length: 12 }, () => subflowOf("e39"))),
  );
  const svg = pathsGraph(viewOf(links, connections));
  elementsOf(svg);
  assert.match(svg, />and 24 more links</);
  assert.match(svg, />and 30 more connections</);
  assert.match(svg, />and 4 more subflows</);
  assert.equal(linesOf(svg).length, 160);
  assert.match(svg, />e39 {2}up/); // it carries them all
  assert.match(svg, /50 connections with 600 subflows/);
});

Deno.test("boxes stay inside of the picture and do not cover each other", () => {
  const many = Array.from({ length: 20 }, (_, at) => connectionOf(at, [subflowOf("e1")]));
  for (const view of [USUAL, viewOf([linkOf(1)], many), viewOf([linkOf(1), linkOf(2)], [])]) {
    const svg = pathsGraph(view);
    const height = Number(/viewBox="0 0 \d+ (\d+)"/.exec(svg)![1]);
    const boxes = [...svg.matchAll(/class="box" x="(\d+)" y="([\d.]+)" \w+="\d+" height="(\d+)"/g)]
      .map(([, x, y, tall]) => ({ x: Number(x), y: Number(y), end: Number(y) + Number(tall) }));
    assert.equal(boxes.length, view.links.length + view.connections.length);
    for (const [index, box] of boxes.entries()) {
      const above = boxes[index - 1];
      if (above?.x === box.x) assert.ok(box.y >= above.end + 16 - 0.1);
      assert.ok(box.y >= 76 && box.end <= height - 40, `${box.y} to ${box.end} of ${height}`);
    }
  }
});

Deno.test("a subflow of no known link gets one", () => {
  const svg = pathsGraph(viewOf([linkOf(1)], [connectionOf(1, [subflowOf(""), subflowOf("e7")])]));
  assert.equal(linesOf(svg).length, 2);
  assert.match(svg, />other</);
  assert.match(linesOf(svg)[0]!.told, /^no link: /);
});

Deno.test("a connection without subflows says so", () => {
  assert.match(pathsGraph(viewOf([linkOf(1)], [connectionOf(1, [])])), />no subflow</);
});

const HOSTILE = [
  "</text><script>alert(1)</script>",
  '" onload="alert(1)',
  "&lt;&amp;&#60;]]>",
  "\u0000\u0008\u001b\u202e\ufffe\uffff\ud800",
  "x".repeat(5000),
];

Deno.test.each(HOSTILE.map((name) => ({ name })))("no name becomes markup: $name", ({ name }) => {
  const link = linkOf(1, { name, addresses: [name], role: name });
  const subflow = subflowOf(name, {
    local: name,
    remote: name,
    state: name,
    rttMs: NaN,
    bytesSent: Infinity,
  });
  const connection = { ...connectionOf(1, [subflow]), connection: name, remote: name, state: name };
  const svg = pathsGraph({ ...viewOf([link], [connection]), namespace: name });
  const names = elementsOf(svg);
  assert.ok(!names.includes("script"));
  assert.doesNotMatch(svg, / onload="/);
  // deno-lint-ignore no-control-regex -- XML has no place for them
  assert.doesNotMatch(svg, /[\x00-\x09\x0b-\x1f\ufffe\uffff\u202e]|[\ud800-\udfff]/);
});
