/**
 * Does what the machines of an overlay put out, in its order, and wakes them at their deadlines. A record
 * that the disk does not take holds back all that comes behind it, as nobody may be asked for what a restart
 * would forget; it is tried again until it is written.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { ManagerEvent, Output, Reach } from "../../proto/xbone/machine.ts";
import type { Body, LinkState } from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";
import type { RecordStore } from "./record_store.ts";

const RECORD_AGAIN_MS = 1000;
/** setTimeout takes no more; a machine has nothing to do for so long. */
const SLEEP_MS_MAX = 60_000;

/** A machine as the runner sees it. */
export interface Driven {
  pollOutput(): Output | null;
  pollDeadline(): number;
  handleDeadline(nowMs: number): void;
  handleAnswer(from: string, body: Body, nowMs: number): void;
  handleUnreachable(node: string, request: Body, reason: string, nowMs: number): void;
  /** Absent where no box is configured. */
  readonly box?: {
    handleApplied(
      key: string,
      failure: { step: string; reason: string } | null,
      nowMs: number,
    ): void;
    handleUndone(key: string, left: readonly string[], nowMs: number): void;
    handleChecked(
      key: string,
      ticket: number,
      drift: readonly string[],
      links: readonly LinkState[],
      nowMs: number,
    ): void;
  };
}

/** What is configured: this box. */
export interface Box {
  apply(
    plan: NodePlan,
    generation: number,
    keysOnly: boolean,
  ): Promise<{ step: string; reason: string } | null>;
  /** What is left. */
  undo(key: string): Promise<readonly string[]>;
  check(
    key: string,
    probes: number,
    waitMs: number,
  ): Promise<{ drift: readonly string[]; links: readonly LinkState[] }>;
}

/** Where outputs go. */
export interface RunnerPorts {
  readonly records: RecordStore;
  /** Absent where no box is configured. */
  readonly box?: Box;
  multicast(body: Body, ttl: number): void;
  /** To HOST:PORT. */
  unicast(to: string, body: Body): void;
  request(to: Reach, body: Body, waitMs: number): Promise<Body>;
  answer(ticket: number, body: Body): void;
  tell(key: string, event: ManagerEvent): void;
  /** A sentence about trouble of our own; null when it is over. */
  trouble(text: string | null): void;
}

/** All machines of a program. */
export class MachineRunner {
  readonly #ports: RunnerPorts;
  /** With the output that waits for the disk. */
  readonly #machines = new Map<Driven, Output | null>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pumping = false;
  #again = false;
  #closed = false;
  #troubled = false;

  constructor(ports: RunnerPorts) {
    this.#ports = ports;
  }

  /** Runs it from now on. */
  add(machine: Driven): void {
    this.#machines.set(machine, null);
    this.pump();
  }

  /** Forgets it. */
  remove(machine: Driven): void {
    this.#machines.delete(machine);
  }

  /** Does what is to be done now; to be called after each `handle…`. */
  pump(): void {
    this.#again = true;
    if (this.#pumping || this.#closed) return;
    this.#pumping = true;
    while (this.#again) {
      this.#again = false;
      const now = nowMs();
      for (const machine of [...this.#machines.keys()]) {
        if (machine.pollDeadline() <= now) machine.handleDeadline(now);
        this.#drain(machine);
      }
    }
    this.#pumping = false;
    this.#sleep();
  }

  /** No machine is woken any more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #drain(machine: Driven): void {
    let output = this.#machines.get(machine) ?? machine.pollOutput();
    for (; output !== null; output = machine.pollOutput()) {
      if (this.#closed) return;
      if (this.#do(machine, output)) {
        if (this.#machines.has(machine)) this.#machines.set(machine, null);
        continue;
      }
      this.#machines.set(machine, output);
      return;
    }
  }

  #do(machine: Driven, output: Output): boolean {
    const ports = this.#ports;
    switch (output.kind) {
      case "journal":
        return this.#record(output.key, output.record);
      case "multicast":
        ports.multicast(output.body, output.ttl);
        return true;
      case "answer-invite":
        ports.unicast(output.to, output.body);
        return true;
      case "answer":
        ports.answer(output.ticket, output.body);
        return true;
      case "event":
        ports.tell(output.key, output.event);
        return true;
      case "send":
        this.#send(machine, output.to, output.body, output.waitMs);
        return true;
      default:
        this.#configure(machine, output);
        return true;
    }
  }

  #record(key: string, record: unknown): boolean {
    try {
      this.#ports.records.write(key, record);
      if (this.#troubled) this.#ports.trouble(null);
      this.#troubled = false;
      return true;
    } catch (error) {
      this.#troubled = true;
      this.#ports.trouble(
        `The record of overlay ${key} cannot be written, so that it waits: ` +
          `${(error as Error).message}`,
      );
      return false;
    }
  }

  #send(machine: Driven, to: Reach, body: Body, waitMs: number): void {
    this.#ports.request(to, body, waitMs).then(
      (answer) => machine.handleAnswer(to.node, answer, nowMs()),
      (error: Error) => machine.handleUnreachable(to.node, body, error.message, nowMs()),
    ).then(() => this.pump());
  }

  #configure(
    machine: Driven,
    output: Extract<Output, { kind: "apply" | "rekey" | "undo" | "check" }>,
  ): void {
    const { box } = this.#ports;
    const { box: handlers } = machine;
    if (box === undefined || handlers === undefined) return; // a manager has no box of its own
    const { key } = output;
    const done = (): void => this.pump();
    const reasonOf = (error: unknown): string => (error as Error).message;
    if (output.kind === "apply" || output.kind === "rekey") {
      box.apply(output.plan, output.generation, output.kind === "rekey").catch((error) => ({
        step: "",
        reason: reasonOf(error),
      })).then((failure) => handlers.handleApplied(key, failure, nowMs())).then(done);
    } else if (output.kind === "undo") {
      box.undo(key).catch((error) => [reasonOf(error)])
        .then((left) => handlers.handleUndone(key, left, nowMs())).then(done);
    } else {
      box.check(key, output.probes, output.waitMs).catch((error) => ({
        drift: [reasonOf(error)],
        links: [],
      })).then(({ drift, links }) =>
        handlers.handleChecked(key, output.ticket, drift, links, nowMs())
      ).then(done);
    }
  }

  #sleep(): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    let at = Infinity;
    for (const [machine, waiting] of this.#machines) {
      at = Math.min(at, machine.pollDeadline());
      if (waiting !== null) at = Math.min(at, nowMs() + RECORD_AGAIN_MS);
    }
    if (at === Infinity) return;
    const ms = Math.min(SLEEP_MS_MAX, Math.max(0, at - nowMs()));
    this.#timer = setTimeout(() => this.pump(), ms);
  }
}
