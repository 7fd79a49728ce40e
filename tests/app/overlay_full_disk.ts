/**
 * Runs a machine whose record does not fit on the disk, until there is room again: a program of its own, in a
 * mount namespace of its own.
 *
 * @module
 */
import { MachineRunner } from "../../src/app/overlay/machine_runner.ts";
import { RecordStore } from "../../src/app/overlay/record_store.ts";
import { fakePorts, release, Scripted } from "./overlay_scripted.ts";

const [state] = Deno.args;
const records = await RecordStore.open(state!);
records.write("kept/1", { state: "ACTIVE" });
const filler = `${state}/filler`;
try {
  for (let size = 4096;; size += 4096) Deno.writeFileSync(filler, new Uint8Array(size));
} catch {
  // it is full
}
const print = (text: string): unknown =>
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
const over = Promise.withResolvers<void>();
const runner = new MachineRunner({
  ...fakePorts(),
  records,
  multicast: () => print("sent"),
  trouble: (text) => {
    print(`trouble: ${text}`);
    if (text === null) over.resolve();
  },
});
const machine = new Scripted();
machine.outputs.push(
  { kind: "journal", key: "field/1", record: { plans: "x".repeat(8000) } },
  { kind: "multicast", body: release(1), ttl: 1 },
);
runner.add(machine);
print(`kept: ${JSON.stringify([...records.load().keys()])}`);
Deno.removeSync(filler);
await over.promise;
runner.close();
print(`then: ${JSON.stringify([...records.load().keys()].sort())}`);
