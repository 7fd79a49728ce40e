/** What a pair tells, as text: within the width of a terminal, the worst first, hostile names too. */
import assert from "node:assert/strict";
import {
  diffLines,
  isMissing,
  lagOf,
  standbyLines,
  standbyWords,
  worstSas,
} from "../../src/app/standby/standby_table.ts";
import type { StandbyView } from "../../src/app/standby/standby_view.ts";
import { diffSas, type SaFigures, type SaView } from "../../src/proto/xfrm/sa_table.ts";
import { columnsOf } from "../../src/app/printable.ts";
import { fakeBox, fakeSa, fakeStandby } from "./fake_snapshot.ts";
import { Fairlead } from "./fairlead.ts";

const ACTIVE = fakeStandby(1000);
const HELD = fakeBox(1000).standby!;

function withSas(sas: readonly SaView[]): StandbyView {
  return { ...ACTIVE, ipsec: { ...ACTIVE.ipsec!, sas } };
}

/** The lines that begin with a word. */
function fact(view: StandbyView, label: string, columns = 200): string {
  const lines = standbyLines(view, columns, 0);
  return lines.find((line) => line.startsWith(label)) ?? assert.fail(`${label} in ${lines}`);
}

Deno.test("the first lines say who this box is, who the other one is, and what may leave", () => {
  const lines = standbyLines(ACTIVE, 200, 0);
  assert.deepEqual(lines.slice(0, 5), [
    "box       harbour-7 of harbour, active (told auto), term 7, ready",
    "other box harbour-8 at v2:10.9.9.2:6810, standby, term 7, round trip 0.5 ms, heard 80 ms ago",
    "witness   v2:hub.example:6820, reached, lease for 1.2 s more",
    "fence     open, 12 packets kept back",
    "addresses taken, 10.0.0.1/24 eth0, fd00::1/64 eth0",
  ]);
});

Deno.test("what was sent, received and refused is told, and what a gateway carries over", () => {
  const { sent, acked } = ACTIVE.sync;
  const posts = `sync      in step, ${sent} posts sent (`;
  assert.ok(fact(ACTIVE, "sync").startsWith(posts));
  assert.match(
    fact(ACTIVE, "sync"),
    new RegExp(`, ${acked} acknowledged, 912 B on the way, 3 snap`),
  );
  assert.equal(
    fact(ACTIVE, "received"),
    "received  post 0, 0 B, 5 resyncs, 3 gaps, 2 duplicates, 1 of another term, 4 refused",
  );
  assert.match(
    fact(ACTIVE, "IPsec"),
    /^IPsec {5}24 SAs, 25 in the kernel, 36 policies, \d+ events, 1 overrun/,
  );
  assert.equal(
    fact(ACTIVE, "gateway"),
    "gateway   works on this box, sessions sync, 2 sessions, 33 messages in them, spool of 340 messages (39.3 MiB), " +
      "acknowledged after 0.8 ms",
  );
  assert.equal(fact(ACTIVE, "takeovers"), "takeovers 2, the last one in 38 ms");
  assert.ok(!standbyLines(HELD, 200, 0).some((line) => line.startsWith("gateway")));
});

const WORDS: { what: string; view: StandbyView; words: [string, string] }[] = [
  {
    what: "an active box in step",
    view: ACTIVE,
    words: ["active", "harbour-8 has everything (term 7)"],
  },
  {
    what: "an active box alone",
    view: { ...ACTIVE, sync: { ...ACTIVE.sync, synced: false }, peer: { ...ACTIVE.peer, box: "" } },
    words: ["active", "v2:10.9.9.2:6810 could not take over now (term 7)"],
  },
  {
    what: "a standby",
    view: HELD,
    words: ["standby", "holds everything of harbour-7 (term 7)"],
  },
  {
    what: "a standby without a snapshot",
    view: { ...HELD, ready: false },
    words: ["standby", "waits for harbour-7"],
  },
  { what: "a fenced box", view: { ...ACTIVE, role: "fenced" }, words: ["fenced", "term 7"] },
  {
    what: "two boxes of one term",
    view: { ...ACTIVE, role: "fenced", split: true },
    words: ["fenced", "both boxes were active in term 7: promote one of them"],
  },
];

Deno.test.each(WORDS)("standbyWords() says of $what what it is", ({ view, words }) => {
  assert.deepEqual(standbyWords(view), words);
});

Deno.test("a box alone: no witness, no fence, no address, no IPsec, nothing heard", () => {
  const peer = { ...ACTIVE.peer, box: "", reached: false, roundTripMs: -1, heardMsAgo: -1 };
  const lines = standbyLines(
    {
      ...ACTIVE,
      mode: "active",
      peer,
      witness: null,
      fence: { there: false, open: false, dropped: 0 },
      addresses: { taken: false, list: [] },
      ipsec: null,
      cargo: null,
      takeovers: 0,
    },
    200,
    40,
  );
  assert.equal(lines[0], "box       harbour-7 of harbour, active, term 7, ready");
  assert.equal(lines[1], "other box v2:10.9.9.2:6810, not reached");
  assert.equal(lines[2], "witness   none: promote changes roles");
  assert.equal(lines.at(-1), "takeovers none since the start");
  assert.equal(lines.length, 6);
});

Deno.test("a kernel that cannot stop by itself is told where there is IPsec", () => {
  const view = { ...ACTIVE, fence: { there: false, open: false, dropped: 0 } };
  assert.match(fact(view, "fence"), /^fence {5}none: the kernel goes on sending when /);
});

Deno.test("what an operator has to know stands out: no lease, a refusal, a problem of the takeover", () => {
  const witness = { ...ACTIVE.witness!, reached: false, leaseLeftMs: 0, refusal: "another has it" };
  const view = {
    ...ACTIVE,
    role: "fenced",
    ready: false,
    witness,
    takeoverProblems: ["SA 5: EEXIST"],
  };
  assert.match(fact(view, "box"), /fenced \(told auto\), term 7, not ready$/);
  assert.match(
    fact(view, "witness"),
    /not reached, no lease: nothing may leave, refused last: anoth/,
  );
  assert.match(fact(view, "takeovers"), /38 ms, SA 5: EEXIST$/);
  assert.match(fact({ ...HELD, witness }, "witness"), /not reached, no lease, refused last/);
  assert.match(fact({ ...HELD }, "fence"), /^fence {5}closed: no ESP leaves, /);
});

Deno.test("a row for each SA: the number that matters, how far behind, and who gives no events", () => {
  const out = fakeSa(0, 100);
  const both = {
    ...fakeSa(1, 100),
    direction: "both",
    oseq: 5,
    seq: 9,
    lastEventMsAgo: -1,
  } as const;
  const asked = { ...fakeSa(3, 100), polled: true };
  const lines = standbyLines(withSas([out, both, asked]), 100, 40);
  const table = lines.slice(lines.indexOf("") + 1);
  assert.match(table[0]!, /^SA +USE +OSEQ\/SEQ +LAG +FOR +JUMP +LAST +PKT\/S +EVENT\/S +DROPS$/);
  assert.match(table[1]!, /^10\.9\.3\.1 esp 0x00001003 +in .* +4 +13 ms +0 +40 ms +103 +asked +0$/);
  assert.match(
    table[2]!,
    new RegExp(
      `^10\\.9\\.0\\.2 esp 0x00001000 +out +${out.oseq} +1 +10 ms +256 +40 ms +100 +10 +0$`,
    ),
  );
  assert.match(table[3]!, /^10\.9\.1\.1 esp 0x00001001 +both +5\/9 +0 +0 +0 +- +101 +10 +0$/);
  assert.equal(table.length, 4);
});

Deno.test("a thousand SAs are cut to those furthest behind, and the rest is counted", () => {
  const sas = Array.from({ length: 1000 }, (_, index) => fakeSa(index, 100));
  const lines = standbyLines(withSas(sas), 100, 40);
  const rows = lines.filter((line) => line.includes(" esp "));
  assert.equal(rows.length, 40);
  assert.match(rows[0]!, /^10\.9\.999\.1 /); // 1000 packets
  assert.equal(lines.at(-1), "and 960 more SAs: fairlead standby status --all");
  assert.equal(
    standbyLines(withSas(sas), 100, Infinity).filter((x) => x.includes(" esp ")).length,
    1000,
  );
  assert.ok(!standbyLines(withSas(sas), 100, 1000).at(-1)!.startsWith("and"));
  // A report has the worst only, and says how many there were.
  const report = standbyLines(withSas(worstSas(sas, 10)), 100, 5, 1000);
  assert.equal(report.at(-1), "and 995 more SAs: fairlead standby status --all");
  assert.ok(report.some((line) => line.includes("1000 SAs, ")));
});

Deno.test("worstSas() changes nothing, and keeps the order of equal ones; lagOf() sums packets", () => {
  const sas = [0, 1, 2, 3, 4, 5].map((index) => fakeSa(index, 100));
  const before = JSON.stringify(sas);
  const order = worstSas(sas, 6).map(({ key }) => key.split(" ")[0]);
  assert.deepEqual(order, ["10.9.3.1", "10.9.0.2", "10.9.5.1", "10.9.1.1", "10.9.2.2", "10.9.4.2"]);
  assert.equal(JSON.stringify(sas), before);
  assert.deepEqual(lagOf(sas), { packets: 5, ms: 13 });
  assert.deepEqual(lagOf([]), { packets: 0, ms: 0 });
});

/** Everything as large as it can get. */
const WIDE: SaView = {
  ...fakeSa(0, 100),
  key: "2001:db8:1111:2222:3333:4444:5555:6666 esp 0xffffffff mark 0xffffffff/0xffffffff",
  direction: "both",
  oseq: 2 ** 40,
  seq: 2 ** 40,
  lagPackets: 1_000_000,
  lagMs: 123_456,
  jump: 1_000_000,
  packetsPerSecond: 1_000_000,
};

Deno.test.each([{ columns: 80 }, { columns: 100 }, { columns: 200 }])(
  "no line is wider than $columns columns, and an SPI is kept before its address",
  ({ columns }) => {
    const ipv6 = {
      ...fakeSa(2, 100),
      key: "2001:db8:1111:2222:3333:4444:5555:6666 esp 0x00001000",
    };
    for (const sas of [[WIDE], [ipv6], [fakeSa(1, 100)]]) {
      for (const line of standbyLines(withSas(sas), columns, 40)) {
        assert.ok(columnsOf(line) <= columns, `${columnsOf(line)}: ${line}`);
      }
    }
    const row = standbyLines(withSas([ipv6]), columns, 40).at(-1)!;
    assert.match(
      row,
      columns < 200 ? /^2001:[0-9a-f:]+~[0-9a-f:]+ esp 0x00001000 / : /:6666 esp 0x/,
    );
  },
);

Deno.test("hostile names leave one line each, without a control character", () => {
  const evil = "x\u001b[2J\n\u202e";
  const peer = { ...ACTIVE.peer, box: evil, role: evil };
  const witness = { ...ACTIVE.witness!, refusal: evil };
  const sas = [{ ...fakeSa(1, 1), key: evil }];
  const view = { ...withSas(sas), peer, witness, takeoverProblems: [evil] };
  const lines = [...standbyLines(view, 100, 40), ...standbyWords(view)];
  // deno-lint-ignore no-control-regex -- they must not get through
  for (const line of lines) assert.doesNotMatch(line, /[\x00-\x1f\u202e]/);
});

function figures(index: number, more: Partial<SaFigures> = {}): SaFigures {
  const { bytes, direction, key, oseq, packets, seq } = fakeSa(index, 100);
  return { key, direction, oseq, seq, bytes, packets, addTime: 1_770_000_000, ...more };
}

Deno.test("a diff has what is missing first, then what differs, and sums it up", () => {
  const here = [figures(0), figures(1), figures(2), figures(4)];
  const there = [
    figures(0),
    figures(1, { seq: 7 }),
    figures(2, { addTime: 1_770_000_003 }),
    figures(3),
  ];
  const lines = diffLines("harbour-7", diffSas(here, there), 100, 40);
  assert.match(lines[0]!, /^SA +USE +OSEQ\/SEQ +THERE +PACKETS +THERE +BYTES +THERE$/);
  const { bytes, oseq, packets, seq } = here[1]!;
  assert.deepEqual(lines.slice(1, 3).map((line) => line.split(/\s+/).slice(0, 3).join(" ")), [
    "10.9.4.2 esp 0x00001004",
    "10.9.3.1 esp 0x00001003",
  ]);
  assert.match(lines[1]!, / out +\d+ +- +\d+ +- +\d+ +- +missing there$/);
  assert.match(lines[2]!, / in +- +\d+ +- +\d+ +- +\d+ +missing here$/);
  assert.equal(oseq, 0);
  const moved = `in +${seq} +7 +${packets} +${packets} +${bytes} +${bytes}$`;
  assert.match(lines[3]!, new RegExp(moved));
  assert.match(lines[4]!, / made 3 s apart$/);
  assert.match(lines[5]!, / equal$/);
  assert.deepEqual(lines.slice(6), [
    "",
    "Box harbour-7: 3 SAs on both boxes, 2 of them with other figures, 1 missing there, 1 missing here",
  ]);
  for (const line of lines) assert.ok(columnsOf(line) <= 100, line);
});

Deno.test("a diff of equal boxes, of empty ones, and of a thousand SAs", () => {
  const many = Array.from({ length: 1000 }, (_, index) => figures(index));
  const equal = diffSas(many, many);
  assert.ok(!equal.some(isMissing));
  const lines = diffLines("a", equal, 100, 40);
  assert.equal(lines.length, 44);
  assert.deepEqual(lines.slice(-3), [
    "and 960 more SAs: --all shows them",
    "",
    "Box a: 1000 SAs on both boxes",
  ]);
  assert.deepEqual(diffLines("a", [], 100, 40), ["Box a: 0 SAs on both boxes"]);
  assert.ok(diffSas(many, many.slice(1)).some(isMissing));
});

Deno.test.each([{ action: "status" }, { action: "diff" }])(
  "standby $action without a daemon says the remedy, and ends with 1",
  async ({ action }) => {
    const { code, stderr, stdout } = await Fairlead.run(
      "standby",
      action,
      "-s",
      "/nonexistent/s.sock",
    );
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /the standby daemon.*fairlead standby run/);
  },
);
