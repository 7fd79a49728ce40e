/** CPU as the kernel tells it: of this process, of its children, and of others. */
import assert from "node:assert/strict";
import { cpuTime, machineText, readMachine, watchOthers } from "../../bench/peers/machine.ts";

const ignore = Deno.build.os !== "linux";
/** The kernel tells CPU in steps of 10 ms. */
const STEP = 10_000;

/** Keeps a CPU busy, however slowly it is given to this process. */
function burn(microseconds: number): void {
  const until = cpuTime(Deno.pid).own + microseconds;
  while (cpuTime(Deno.pid).own < until);
}

Deno.test({
  name: "cpuTime() counts this process, and children once they have ended",
  ignore,
  async fn(): Promise<void> {
    const before = cpuTime(Deno.pid);
    burn(3 * STEP);
    const between = cpuTime(Deno.pid);
    assert.ok(between.own - before.own >= 3 * STEP);
    const script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    await new Deno.Command("sh", { args: ["-c", script] }).output();
    assert.ok(cpuTime(Deno.pid).children - between.children >= STEP);
  },
});

Deno.test({
  name: "watchOthers() leaves out what this process uses, and what it says is running",
  ignore,
  fn(): void {
    const others = watchOthers();
    const withoutOurs = watchOthers([Deno.pid]);
    burn(5 * STEP);
    const share = others();
    assert.ok(share >= 0 && share <= 1);
    // Counted twice, ours makes the others' share smaller.
    assert.ok(withoutOurs() <= share);
  },
});

Deno.test({
  name: "machineText() names the machine in one line",
  ignore,
  fn(): void {
    const text = machineText(readMachine());
    assert.match(text, /^.+, \d+ cores, Linux \S+, Deno \d+\.\d+\.\d+, \d{4}-\d\d-\d\d$/);
  },
});
