/**
 * Whole overlay or nothing, whatever is lost and whoever dies: the machines of the X-Bone control protocol
 * in a network of virtual time. The same with the seed's letter, which leaks. Seeds are printed on failure.
 */
import assert from "node:assert/strict";
import type { ManagerProcess, ResourceProcess } from "./xbone_network_processes.ts";
import { Flat } from "./xbone_simulation_flat.ts";
import { type Case, CLEAN, type Outcome, runTrial } from "./xbone_simulation_trial.ts";

/** Multiplies the number of seeds of every case. */
const SCALE = Number(Deno.env.get("FAIRLEAD_XBONE_SCALE") ?? 1);

/** How many seeds are enough to see what comes of a case. */
interface Row extends Case {
  readonly seeds: number;
  /** Some must fail, or none. */
  readonly mustFail?: boolean;
  /** So many percent must become: who is patient with loss finds enough. */
  readonly okMin?: number;
}

const RAIN = { udpLoss: 20, tcpLoss: 5 };
const STORM = { udpLoss: 40, tcpLoss: 30 };
const ONCE = { timers: { selectTries: 1 } };
/** Who dies comes back, sooner or later. */
const CHAOS = {
  udpLoss: 15,
  udpLate: 2,
  tcpLoss: 5,
  applyFails: 10,
  undoFails: 20,
  dies: "any",
  back: true,
  mustFail: true,
} as const;

const SAFE: readonly Row[] = [
  { ...CLEAN, mustFail: false, seeds: 300 },
  { ...CLEAN, name: "UDP loss 20 %, TCP loss 5 %", ...RAIN, okMin: 99, seeds: 600 },
  { ...CLEAN, name: "UDP loss 40 %, TCP loss 30 %", ...STORM, mustFail: true, seeds: 600 },
  { ...CLEAN, name: "same, SELECT is sent once", ...STORM, ...ONCE, mustFail: true, seeds: 600 },
  { ...CLEAN, name: "apply fails 20 %", applyFails: 20, mustFail: true, seeds: 600 },
  { ...CLEAN, name: "apply fails, undo fails 50 %", applyFails: 20, undoFails: 50, seeds: 200 },
  { ...CLEAN, name: "apply takes up to 40 s", applyMs: [20, 40_000], mustFail: true, seeds: 200 },
  { ...CLEAN, name: "manager dies", dies: "manager", mustFail: true, seeds: 600 },
  { ...CLEAN, name: "manager comes back", dies: "manager", back: true, seeds: 600 },
  { ...CLEAN, name: "box dies", dies: "box", mustFail: true, seeds: 600 },
  { ...CLEAN, name: "box comes back", dies: "box", back: true, seeds: 600 },
  { ...CLEAN, name: "any die, come back, all goes wrong", ...CHAOS, seeds: 600 },
  { ...CLEAN, name: "manager is cut off for a time", cutOff: true, mustFail: true, seeds: 200 },
  { ...CLEAN, name: "user cancels", cancelled: true, mustFail: true, seeds: 200 },
  { ...CLEAN, name: "user cancels, all goes wrong", cancelled: true, ...CHAOS, seeds: 200 },
  { ...CLEAN, name: "revisit, all goes wrong", revisit: true, ...CHAOS, seeds: 200 },
  { ...CLEAN, name: "two managers", managers: 2, mustFail: true, seeds: 200 },
  { ...CLEAN, name: "two managers, loss 20/5", managers: 2, ...RAIN, seeds: 200 },
  { ...CLEAN, name: "two managers, all goes wrong", managers: 2, ...CHAOS, seeds: 200 },
  { ...CLEAN, name: "held, user decides", hold: "ready", mustFail: true, seeds: 200 },
  { ...CLEAN, name: "held, all goes wrong", hold: "ready", ...CHAOS, seeds: 200 },
  { ...CLEAN, name: "one level below", levels: 1, mustFail: false, seeds: 150 },
  { ...CLEAN, name: "one level, loss 20/5", levels: 1, ...RAIN, okMin: 95, seeds: 150 },
  { ...CLEAN, name: "one level, loss 40/30", levels: 1, ...STORM, mustFail: true, seeds: 150 },
  { ...CLEAN, name: "one level, apply fails 20 %", levels: 1, applyFails: 20, seeds: 150 },
  { ...CLEAN, name: "one level, manager dies", levels: 1, dies: "manager", seeds: 150 },
  { ...CLEAN, name: "one level, sub-manager dies", levels: 1, dies: "sub", seeds: 150 },
  { ...CLEAN, name: "one level, it comes back", levels: 1, dies: "sub", back: true, seeds: 150 },
  { ...CLEAN, name: "one level, user cancels", levels: 1, cancelled: true, seeds: 150 },
  { ...CLEAN, name: "one level, all hear all boxes", levels: 1, overlap: true, seeds: 150 },
  { ...CLEAN, name: "one level, all goes wrong", levels: 1, overlap: true, ...CHAOS, seeds: 150 },
  { ...CLEAN, name: "one level, two managers", levels: 1, managers: 2, ...CHAOS, seeds: 150 },
  { ...CLEAN, name: "two levels below", levels: 2, mustFail: false, seeds: 120 },
  { ...CLEAN, name: "two levels, loss 20/5", levels: 2, ...RAIN, okMin: 90, seeds: 120 },
  { ...CLEAN, name: "two levels, all goes wrong", levels: 2, ...CHAOS, seeds: 120 },
];

/** By the letter of the seed: commitments without an end, SELECT sent once and no DELETE after it, no lease. */
const LITERAL: readonly Row[] = [
  {
    ...CLEAN,
    name: "seed's letter, loss 40/30",
    ...STORM,
    onlyRelease: true,
    timers: { selectTries: 1, leaseMs: 0, leaseMsMax: 0, holdMsMax: 1e12 },
    seeds: 300,
  },
  {
    ...CLEAN,
    name: "no lease, manager dies",
    dies: "manager",
    timers: { leaseMs: 0, leaseMsMax: 0 },
    seeds: 300,
  },
];

interface Tally {
  ok: number;
  failed: number;
  untold: number;
  left: number;
  inactive: number;
  degraded: number;
}

function tally(row: Row, check: (outcome: Outcome, seed: number) => void): Tally {
  const sum: Tally = { ok: 0, failed: 0, untold: 0, left: 0, inactive: 0, degraded: 0 };
  for (let seed = 1; seed <= row.seeds * SCALE; seed++) {
    const outcome = runTrial(row, seed, false);
    sum.ok += outcome.ok;
    sum.failed += outcome.failed;
    sum.untold += outcome.untold;
    sum.degraded += outcome.degraded;
    if (outcome.left.length > 0) sum.left++;
    if (outcome.inactive.length > 0) sum.inactive++;
    check(outcome, seed);
  }
  return sum;
}

const HEAD = ["case", "OK", "failed", "untold", "degraded", "leaves state", "inactive"];

function tell(cells: readonly (string | number)[]): void {
  const [name, ...numbers] = cells;
  const line = String(name).padEnd(38) + numbers.map((cell) => String(cell).padStart(13)).join("");
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

Deno.test("the whole overlay becomes, or nothing of it is left anywhere, whatever is lost and whoever dies", () => {
  tell(HEAD);
  for (const row of SAFE) {
    const { ok, failed, untold, degraded, left, inactive } = tally(row, (outcome, seed) => {
      const what = [...outcome.left, ...outcome.inactive, ...outcome.misled].join("; ");
      if (what === "") return;
      const { trace } = runTrial(row, seed, true);
      throw new Error(`${row.name}, seed ${seed}: ${what}\n${trace.slice(-80).join("\n")}`);
    });
    tell([row.name, ok, failed, untold, degraded, left, inactive]);
    const okMin = (row.okMin ?? 1) * row.seeds * SCALE / 100;
    assert.ok(ok >= okMin, `${row.name}: too little goes well`);
    if (row.mustFail === false) assert.equal(failed + untold + degraded, 0, row.name);
    else if (row.mustFail) assert.ok(failed + untold > 0, `${row.name}: nothing goes wrong`);
  }
});

Deno.test("the seed's letter leaks in the same simulation", () => {
  for (const row of LITERAL) {
    const { ok, failed, untold, degraded, left, inactive } = tally(row, () => {});
    tell([row.name, ok, failed, untold, degraded, left, inactive]);
    assert.ok(left > 0, `${row.name}: nothing is left behind`);
  }
});

Deno.test("a box that comes back without its keys is given new ones, and so is everybody else", () => {
  let rekeyed = 0;
  for (let seed = 1; seed <= 200 * SCALE; seed++) {
    const lossy = seed % 3 === 0 ? { udpLoss: 20, tcpLoss: 10 } : {};
    const weather = { ...lossy, udpMs: [1, 30], tcpMs: [1, 20] } as const;
    const flat = new Flat(seed, 4, seed % 2 === 0 ? 2 : 0, weather, [20, 400]);
    const { net, manager, boxes, sub } = flat;
    net.run(60_000, () => manager.stories.get(flat.key)!.reached.includes("ACTIVE"));
    if (manager.manager(flat.key)!.state !== "ACTIVE") continue;
    const before = flat.generations();
    assert.equal(new Set(before).size, 1, `seed ${seed}: ${before}`);
    const victims = [net.dice.of(boxes)];
    if (net.dice.chance(30)) victims.push(net.dice.of(boxes));
    for (const victim of [...victims, ...others(net.dice.below(4), manager, sub)]) {
      net.after(net.dice.below(20_000), () => {
        victim.kill();
        net.after(net.dice.below(20_000), () => victim.restart());
      });
    }
    net.run(net.nowMs + 200_000);
    const after = flat.generations();
    assert.equal(new Set(after).size, 1, `seed ${seed}: ${before} then ${after}`);
    assert.ok(after[0]! > before[0]!, `seed ${seed}: ${before} then ${after}`);
    rekeyed++;
  }
  assert.ok(rekeyed > 150 * SCALE, `${rekeyed} overlays were formed`);
});

/** Who dies too. */
function others(
  which: number,
  manager: ManagerProcess,
  sub: ResourceProcess | null,
): (ManagerProcess | ResourceProcess)[] {
  if (which === 0) return [manager];
  return which === 1 && sub !== null ? [sub] : [];
}

Deno.test("the time and the messages that an overlay takes grow no faster than its nodes", () => {
  tell(["nodes of a ring", "seconds", "undiscovered", "messages"]);
  const rows = [3, 6, 12, 25, 50, 100].map((nodes) => {
    const flat = new Flat(1, nodes, 0, { udpMs: [1, 1], tcpMs: [1, 1] }, [50, 50]);
    const { net, manager } = flat;
    const story = manager.stories.get(flat.key)!;
    net.run(600_000, () => story.gone || story.reached.includes("ACTIVE"));
    assert.ok(story.reached.includes("ACTIVE"), `${nodes} nodes: ${story.failure}`);
    const messages = flat.messagesUntilActive;
    const formMs = story.activeAtMs - flat.selectAtMs;
    tell([nodes, (story.activeAtMs / 1000).toFixed(2), (formMs / 1000).toFixed(2), messages]);
    return { nodes, formMs, messages };
  });
  rows.slice(1).forEach(({ nodes, formMs, messages }, at) => {
    const fewer = rows[at]!;
    const factor = nodes / fewer.nodes;
    assert.ok(formMs <= fewer.formMs * factor * 1.1, `${nodes} nodes take ${formMs} ms`);
    assert.ok(
      messages <= fewer.messages * factor * 1.1,
      `${nodes} nodes take ${messages} messages`,
    );
  });
});
