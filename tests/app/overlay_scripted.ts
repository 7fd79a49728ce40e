/**
 * A machine that puts out what a test says, and ports that do nothing: for tests of the runner.
 *
 * @module
 */
import type { Driven, RunnerPorts } from "../../src/app/overlay/machine_runner.ts";
import type { Output } from "../../src/proto/xbone/machine.ts";
import type { Body, Release } from "../../src/wire/xbone/messages.ts";

/** Some message. */
export function release(epoch: number): Release {
  const common = { application: "overlay", name: "field", version: "", level: 0 };
  return { ...common, verb: "release", keep: [], epoch: `${epoch}`.padStart(16, "0") };
}

/** One machine. */
export class Scripted implements Driven {
  readonly outputs: Output[] = [];
  /** What it was told, a word each. */
  readonly told: string[] = [];
  deadline = Infinity;
  /** Called instead of only being noted. */
  react: (what: string) => void = () => {};
  readonly box = {
    handleApplied: (key: string, failure: { reason: string } | null): void =>
      this.#tell(`applied ${key} ${failure?.reason ?? "well"}`),
    handleUndone: (key: string, left: readonly string[]): void =>
      this.#tell(`undone ${key} ${left.join()}`),
    handleChecked: (key: string, ticket: number, drift: readonly string[]): void =>
      this.#tell(`checked ${key} ${ticket} ${drift.join()}`),
  };

  pollOutput(): Output | null {
    return this.outputs.shift() ?? null;
  }

  pollDeadline(): number {
    return this.deadline;
  }

  handleDeadline(): void {
    this.deadline = Infinity;
    this.#tell("deadline");
  }

  handleAnswer(from: string, body: Body): void {
    this.#tell(`answer ${from} ${body.verb}`);
  }

  handleUnreachable(node: string, _request: Body, reason: string): void {
    this.#tell(`unreachable ${node} ${reason}`);
  }

  #tell(what: string): void {
    this.told.push(what);
    this.react(what);
  }
}

/** All but the records. */
export function fakePorts(): Omit<RunnerPorts, "records"> {
  return {
    multicast: () => {},
    unicast: () => {},
    request: () => Promise.reject(new Error("nobody is there")),
    answer: () => {},
    tell: () => {},
    trouble: () => {},
    failed: () => {},
  };
}
