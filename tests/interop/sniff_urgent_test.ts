/**
 * Marks at message starts between two network namespaces: what always holds, at the receiver and on the
 * wire; and `fairlead sniff measure`, which measures the rest.
 */
import assert from "node:assert/strict";
import { UrgentLab } from "../../src/app/sniff/urgent_lab.ts";
import { runTrial, type Trial, type TrialResult } from "../../src/app/sniff/urgent_measure.ts";
import { standardUrgent } from "../../src/io/urgent_socket.ts";
import { Fairlead } from "../app/fairlead.ts";
import { Recording } from "../capture/captures.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import { hasProgram, run } from "./processes.ts";
import { sniff } from "./sniff_lines.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;
const ignore = await ignoreWithoutNamespaces();
/** A busy machine reads a mark too late now and then; the wire shows them all the same. */
const ATTEMPTS = 5;

/** Runs a trial in a laboratory; what holds of each is looked at here. */
async function trial(
  lab: UrgentLab,
  given: Partial<Trial>,
): Promise<TrialResult> {
  const result = await runTrial(lab, {
    mode: "A",
    size: 560,
    traffic: "paced",
    standard: false,
    inline: true,
    ...given,
  });
  const { count, inline, receiver, sender, size, standard, trace } = result;
  assert.equal(result.drops, 0);
  assert.equal(receiver.standard, standard);
  assert.equal(receiver.bytes + receiver.lost, count * size);
  assert.equal(sender.bytes, count * size);
  assert.equal(trace.unclamped.wrong <= sender.cut + 1, true, "no false start but of cut calls");
  if (inline) {
    assert.deepEqual([receiver.broken, receiver.messages, receiver.lost], ["", count, 0]);
    // Marks stand where the setting puts them, and nowhere else.
    const { after, at, before, elsewhere } = receiver.marks;
    assert.ok(elsewhere <= sender.cut, `${elsewhere} elsewhere`);
    const early = result.mode === "B";
    assert.equal(early ? after : before, 0);
    assert.equal(standard ? (early ? before : at) : (early ? at : after), 0);
  }
  return result;
}

/** Until `holds`, as another program may take the processor from the receiver. */
async function attempts(
  lab: UrgentLab,
  given: Partial<Trial>,
  holds: (result: TrialResult) => boolean,
): Promise<void> {
  const seen: unknown[] = [];
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const result = await trial(lab, given);
    if (holds(result)) return;
    seen.push(result.receiver, result.trace);
  }
  assert.fail(`${JSON.stringify(given)}: ${JSON.stringify(seen)}`);
}

async function withLab(job: (lab: UrgentLab) => Promise<void>): Promise<void> {
  const lab = UrgentLab.plan();
  try {
    await lab.build();
    await job(lab);
  } finally {
    await lab.remove();
  }
}

Deno.test("with pauses every message start is named, with both settings of tcp_stdurg", {
  ignore,
}, async () => {
  await withLab(async (lab) => {
    const home = standardUrgent();
    for (const standard of [false, true]) {
      for (const [mode, least] of [["A", 100], ["C", 100], ["B", 95]] as const) {
        await attempts(lab, { mode, standard }, ({ receiver, trace }) => {
          const share = trace.named * 100 / trace.starts;
          return share >= least && receiver.named * 100 / trace.starts >= 50;
        });
      }
    }
    assert.equal(standardUrgent(), home, "our own namespace stays as it is");
  });
});

Deno.test("an ordinary receiver loses one byte of each message that comes alone", {
  ignore,
}, async () => {
  await withLab(async (lab) => {
    await attempts(lab, { inline: false }, ({ count, receiver }) => receiver.lost === count);
    const { receiver } = await trial(lab, { inline: false, traffic: "bulk" });
    assert.ok(receiver.lost > 0);
    assert.notEqual(receiver.broken, "");
    const unmarked = await trial(lab, { inline: false, traffic: "bulk", mode: "none" });
    assert.deepEqual([unmarked.receiver.lost, unmarked.receiver.broken], [0, ""]);
  });
});

Deno.test("behind a rate limit the marks collapse, and most pointers are clamped", {
  ignore,
}, async () => {
  await withLab(async (lab) => {
    for (const mode of ["A", "B"] as const) {
      const paced = await trial(lab, { mode, size: 8240 });
      const { receiver, trace } = await trial(lab, { mode, size: 8240, traffic: "limited" });
      const share = trace.named / trace.starts;
      assert.ok(share < 0.5 * paced.trace.named / paced.trace.starts, `mode ${mode}: ${share}`);
      assert.ok(trace.clamped > trace.urgent / 2, `${trace.clamped} of ${trace.urgent}`);
      // Who follows clamped pointers finds more places that are none than message starts.
      assert.ok(trace.everyPointer.wrong > trace.everyPointer.found);
      assert.ok(receiver.named / trace.starts < 0.5);
      const rate = receiver.bytes * 8 / receiver.seconds;
      assert.ok(rate < 150e6, `${rate} bit/s`);
    }
  });
});

Deno.test("as fast as it goes, every byte arrives, and marks cost segments", {
  ignore,
}, async () => {
  await withLab(async (lab) => {
    for (const mode of ["A", "B", "C"] as const) await trial(lab, { mode, traffic: "bulk" });
    const size = 65584;
    const marked = await trial(lab, { size, traffic: "bulk" });
    const unmarked = await trial(lab, { size, traffic: "bulk", mode: "none" });
    assert.equal(unmarked.trace.urgent, 0);
    assert.equal(unmarked.receiver.named, 0);
    const { segments } = unmarked.trace;
    assert.ok(marked.trace.segments > 2 * segments, `${marked.trace.segments} for ${segments}`);
  });
});

/** With CI=true tests with a capture run, and fail without it. */
const ignoreCaptures = ignore || !(Deno.env.get("CI") === "true" || await hasProgram("tcpdump"));
const SENDER = "192.0.2.1";
const LOST_PERCENT = 5;
const SIZE = 4144;

/** The last line of `sniff boundaries --json`. */
interface BoundariesTotal {
  readonly messages: number;
  readonly whole: number;
  readonly sets: readonly {
    readonly name: string;
    readonly told: number;
    readonly whole: number;
    readonly wrong: number;
  }[];
  readonly draft: { readonly named: number; readonly right: number };
}

/** Captures a trial: every byte must be a message's; returns what a loss of segments leaves. */
async function boundaries(
  lab: UrgentLab,
  path: string,
  traffic: Trial["traffic"],
): Promise<BoundariesTotal> {
  await using recording = await Recording.start(path, lab.far, lab.device, SENDER);
  const { count } = await trial(lab, { size: SIZE, traffic });
  await recording.end();
  const { gaps, messages, remarks } = await sniff(path);
  assert.deepEqual([gaps, remarks], [[], ""]);
  assert.equal(messages.length, count);
  for (const [index, { errors, fields, found_by, length, offset, tag }] of messages.entries()) {
    const { datasn, layout } = fields;
    assert.deepEqual([offset, length, datasn], [index * SIZE, SIZE, index]);
    assert.deepEqual([found_by, errors], [index === 0 ? "start" : "length", []]);
    assert.deepEqual([tag, layout], ["SCSI Data-Out", "draft-wakeley-iscsi-msgbndry-00"]);
  }
  const drop = ["--drop", `${LOST_PERCENT}`, "--seed", "1"];
  const { code, stderr, stdout } = await Fairlead.run(
    "sniff",
    "boundaries",
    path,
    ...drop,
    "--json",
  );
  assert.equal(code, 0, stderr);
  const total = JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as BoundariesTotal;
  assert.equal(total.messages, count);
  assert.ok(total.whole < count, "something was lost");
  for (const { name, wrong } of total.sets) assert.equal(wrong, 0, name);
  return total;
}

/** The messages left whole that a set of means tells, of each that there is. */
function wholeShare({ sets, whole }: BoundariesTotal, name: string): number {
  return sets.find((set) => set.name === name)!.whole / whole;
}

Deno.test("marks that are paced mend what lengths cannot, those behind a rate limit hardly", {
  ignore: ignoreCaptures,
}, async () => {
  const directory = await Deno.makeTempDir({ prefix: "sniff_urgent_" });
  try {
    await withLab(async (lab) => {
      const length = "length, over losses within a message";
      const urgent = "length, urgent pointer";
      const paced = await boundaries(lab, `${directory}/paced.pcap`, "paced");
      const { named, right } = paced.draft;
      assert.ok(named >= paced.messages / 2 && right >= named * 0.9, `${right} of ${named}`);
      const gain = wholeShare(paced, urgent) - wholeShare(paced, length);
      assert.ok(gain > 0.5, JSON.stringify(paced.sets));

      const limited = await boundaries(lab, `${directory}/limited.pcap`, "limited");
      const little = wholeShare(limited, urgent) - wholeShare(limited, length);
      assert.ok(little < 0.3, JSON.stringify(limited.sets));
      assert.ok(limited.draft.right < limited.messages * 0.3, JSON.stringify(limited.draft));
      for (const total of [paced, limited]) assert.ok(wholeShare(total, "all") > 0.9);
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("measure prints its results, and leaves nothing behind", { ignore }, async () => {
  const before = await namespaces();
  const argv = [Deno.execPath(), "run", "-A", MAIN, "sniff", "measure", "--quick", "--json"];
  const started = performance.now();
  const { code, stderr, stdout } = await run(argv, { deadlineMs: 60_000 });
  assert.equal(code, 0, stderr);
  assert.ok(performance.now() - started < 40_000);
  const { kernel, results } = JSON.parse(stdout) as { kernel: string; results: TrialResult[] };
  assert.equal(kernel, Deno.osRelease());
  assert.ok(results.length >= 15);
  for (const { count, inline, receiver, traffic, trace } of results) {
    if (inline) assert.deepEqual([receiver.messages, receiver.broken], [count, ""]);
    if (inline && traffic === "paced") assert.ok(trace.named >= 0.95 * trace.starts);
  }
  assert.deepEqual(await namespaces(), before);
});

const INTERRUPTIONS = [
  { when: "while it builds", senders: 0 },
  { when: "while it measures", senders: 1 },
];

Deno.test.each(INTERRUPTIONS)("measure that is interrupted $when leaves nothing behind", {
  ignore,
}, async ({ senders }) => {
  const before = await namespaces();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "sniff", "measure"],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const deadline = performance.now() + 20_000;
  const begun = async (): Promise<boolean> => {
    const made = (await namespaces()).filter((name) => !before.includes(name));
    return made.length > senders && (await processesIn(made)) >= senders;
  };
  while (!await begun()) {
    assert.ok(performance.now() < deadline, "it did not begin");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  child.kill("SIGINT");
  const { code } = await child.status;
  assert.equal(code, 130);
  assert.deepEqual(await namespaces(), before);
});

/** How many processes speak from these namespaces, as ss(8) sees it. */
async function processesIn(names: readonly string[]): Promise<number> {
  let count = 0;
  for (const name of names) {
    const { stdout } = await run([
      "ip",
      "netns",
      "exec",
      name,
      "ss",
      "-Htn",
      "state",
      "established",
    ]);
    if (stdout.trim() !== "") count++;
  }
  return count;
}

/** Laboratories that are there now: other tests have none. */
async function namespaces(): Promise<string[]> {
  const { stdout } = await run(["ip", "netns", "list"]);
  return stdout.split("\n").filter((line) => line.startsWith("fairlead-urgent-"))
    .map((line) => line.split(" ")[0]!).sort();
}
