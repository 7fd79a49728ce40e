/** Overlays as text: what is told, and that no name of a peer does anything to a terminal. */
import assert from "node:assert/strict";
import {
  candidateLines,
  lossText,
  overlayLines,
  overlaysLines,
  rateText,
  rttText,
} from "../../src/app/overlay/overlay_table.ts";
import type { Candidate } from "../../src/proto/xbone/machine.ts";
import { fakeLink, fakeNode, fakeOverlay, inTrouble } from "./fake_overlay.ts";

const HOSTILE = "\x1b[31mred\u202e\nnext line  two";

Deno.test("a table of overlays: what is wrong, or a dash", () => {
  assert.deepEqual(overlaysLines([]), ["No overlays"]);
  const well = fakeOverlay("ring", 4);
  const lines = overlaysLines([well, { ...inTrouble(well), name: "harbour", orphans: ["gw9"] }]);
  assert.deepEqual(lines, [
    "OVERLAY  STATE   TOPOLOGY  NODES  LINKS  TROUBLE",
    "field    ACTIVE  ring      4      4      -",
    "harbour  ACTIVE  ring      4      4      1 node silent; 1 node drifted; 1 link dead; left over on gw9",
  ]);
});

Deno.test("an overlay: its nodes, links, managers, and what is wrong", () => {
  const view = inTrouble(fakeOverlay("ring", 4));
  const failure = { phase: "CONFIG", node: "gw2", step: "esp", reason: "no kernel" };
  const lines = overlayLines({
    ...view,
    failure,
    orphans: ["gw3"],
    managers: [{ sub: "west", node: "om2" }],
  });
  assert.match(
    lines[0]!,
    /^Overlay field: ACTIVE, ring, 4 nodes, 4 links, epoch e1f20a, digest 0123456789ab$/,
  );
  const text = lines.join("\n");
  assert.match(text, /\nFailed in CONFIG at gw2, esp: no kernel\n/);
  assert.match(text, /\nLeft over on gw3: it did not answer\n/);
  assert.match(text, /\nSub-overlay west by manager om2\n/);
  assert.match(text, /\nr1 +router +10\.100\.0\.1 +field +gw1 +192\.0\.2\.1 +ACTIVE\n/);
  assert.match(text, /\nr2 .* silent\nr3 .* drifted\n/);
  assert.match(
    text,
    /\nr1-r2 \(esp\) +10\.100\.128\.0 - 10\.100\.128\.1 +1450 +10mbit +0\.35 ms +0 % /,
  );
  assert.match(text, / 100 % /);
  assert.match(text, /\nDrift at r3 \(gw3\): route 10\.100\.0\.1\/32 is missing$/);
});

Deno.test("an overlay that has nothing yet has no tables", () => {
  const { length } = overlayLines({ ...fakeOverlay("ring", 1), nodes: [], links: [] });
  assert.equal(length, 1);
  const told = overlayLines({
    ...fakeOverlay("ring", 1),
    nodes: [{ ...fakeNode(0), state: "", ipaddr: "", node: "" }],
    links: [{
      ...fakeLink("r1", "r2", 1),
      ...{ sent: null, answered: null, rttUs: null, rxBytes: null, txBytes: null, errors: null },
    }],
  });
  assert.match(told.join("\n"), /field +- +- +-\n/);
  assert.match(told.at(-1)!, /^r1-r2 .* 1450 +- +- +- +- +- +-$/);
});

Deno.test("names of peers do nothing to a terminal, and stay in their line and column", () => {
  const view = fakeOverlay("ring", 2);
  const hostile = {
    ...view,
    name: HOSTILE,
    failure: { phase: "CONFIG", node: HOSTILE, step: HOSTILE, reason: HOSTILE },
    orphans: [HOSTILE],
    managers: [{ sub: HOSTILE, node: HOSTILE }],
    nodes: [{ ...fakeNode(0), name: HOSTILE, node: HOSTILE, state: HOSTILE, drift: [HOSTILE] }],
    links: [{ ...fakeLink("r1", "r2", 0), name: HOSTILE }],
  };
  const candidate: Candidate = {
    ...{ node: HOSTILE, host: HOSTILE, port: 265, type: "both", hostname: HOSTILE, os: HOSTILE },
    ...{ mtu: 1500, capabilities: [HOSTILE], free: 8, guests: [] },
  };
  for (
    const lines of [
      overlaysLines([hostile]),
      overlayLines(hostile),
      candidateLines([candidate]),
    ]
  ) {
    for (const line of lines) {
      // deno-lint-ignore no-control-regex -- these are what must not get through
      assert.doesNotMatch(line, /[\x00-\x1f\x7f\u202e]/);
    }
    assert.match(lines.join("\n"), /\\x1b\[31mred\\u\{202e\}\\x0anext line/);
  }
  assert.equal(overlaysLines([hostile]).length, 2);
  assert.equal(candidateLines([candidate]).length, 2);
});

Deno.test("boxes that answer, and that nobody does", () => {
  const box = { type: "both", os: "linux", mtu: 1500, guests: [] } as const;
  const lines = candidateLines([
    {
      ...{ ...box, node: "gw1", host: "192.0.2.1", port: 265, hostname: "gw1.example", free: 7 },
      capabilities: ["vxlan", "esp"],
    },
    {
      ...{ ...box, node: "gw2", host: "2001:db8::1", port: 266, hostname: "", free: 0 },
      capabilities: [],
    },
  ]);
  assert.deepEqual(lines, [
    "BOX  MAY BE  HOST         CONTROL            OS     MTU   FREE  CAN",
    "gw1  both    gw1.example  192.0.2.1:265      linux  1500  7     vxlan,esp",
    "gw2  both    -            [2001:db8::1]:266  linux  1500  0     -",
  ]);
  assert.match(candidateLines([]).join(), /^Nobody answers: is fairlead overlay rd running/);
});

Deno.test("no loss is 0 %, all of it 100 %, and nothing else is either", () => {
  const loss = (sent: number | null, answered: number | null): string =>
    lossText({ ...fakeLink("r1", "r2", 0), sent, answered });
  assert.deepEqual([loss(6, 6), loss(6, 3), loss(6, 0)], ["0 %", "50 %", "100 %"]);
  assert.deepEqual([loss(1000, 999), loss(1000, 1)], ["1 %", "99 %"]);
  assert.deepEqual([loss(0, 0), loss(null, null), loss(3, 5), loss(3, -1)], [
    ...["-", "-", "0 %", "100 %"],
  ]);
  assert.deepEqual([rttText(null), rttText(0), rttText(1234)], ["-", "0.00 ms", "1.23 ms"]);
  assert.deepEqual([0, 999, 64_000, 10_000_000, 2_000_000_000].map(rateText), [
    ...["-", "999bit", "64kbit", "10mbit", "2gbit"],
  ]);
});
