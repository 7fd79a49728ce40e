/**
 * Does what the machines of an overlay put out, in its order, and wakes them at their deadlines. A record
 * that the disk does not take holds back all that comes behind it, as nobody may be asked for what a restart
 * would forget; it is tried again until it is written. What is undone is undone all the same.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { ManagerEvent, Output, Reach } from "../../proto/xbone/machine.ts";
import type { Body, LinkState } from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";
import type { RecordStore } from "./record_store.ts";

/** Between tries of a machine whose record the disk does not take, or that has failed. */
const AGAIN_MS = 500;
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
    mend: boolean,
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
  /** A sentence about the disk; null when it takes records again. */
  trouble(text: string | null): void;
  /** A mistake of our own: what was being done is not, and everything else goes on. */
  failed(error: Error): void;
}

/** What is known of a machine. */
interface Turn {
  /** The record that waits for the disk, if one does. */
  waiting: Output | null;
  /** It is left alone until then. */
  notBeforeMs: number;
}

/** All machines of a program. */
export class MachineRunner {
  readonly #ports: RunnerPorts;
  readonly #machines = new Map<Driven, Turn>();
  /** Keys of records that the disk has not taken. */
  readonly #unwritten = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pumping = false;
  #again = false;
  #closed = false;

  constructor(ports: RunnerPorts) {
    this.#ports = ports;
  }

  /** Runs it from now on. */
  add(machine: Driven): void {
    this.#machines.set(machine, { waiting: null, notBeforeMs: -Infinity });
    this.pump();
  }

  /** Forgets it. */
  remove(machine: Driven): void {
    this.#machines.delete(machine);
  }

  /** Tells a machine something, and does all that follows from it. What it throws is told. */
  call(act: (nowMs: number) => void): void {
    if (this.#closed) return;
    try {
      act(nowMs());
    } catch (error) {
      this.#ports.failed(error as Error);
    }
    this.pump();
  }

  /** Does what is to be done now. */
  pump(): void {
    this.#again = true;
    if (this.#pumping || this.#closed) return;
    this.#pumping = true;
    while (this.#again) {
      this.#again = false;
      const now = nowMs();
      for (const [machine, turn] of [...this.#machines]) {
        if (turn.notBeforeMs > now) continue;
        try {
          this.#run(machine, turn, now);
        } catch (error) {
          turn.notBeforeMs = now + AGAIN_MS; // what fails at once again must not keep all busy
          this.#ports.failed(error as Error);
        }
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

  /** A machine whose record waits is not woken either: nothing that it wants can be done. */
  #run(machine: Driven, turn: Turn, now: number): void {
    if (turn.waiting !== null && !this.#try(machine, turn, turn.waiting, now)) return;
    if (machine.pollDeadline() <= now) machine.handleDeadline(now);
    for (let output = machine.pollOutput(); output !== null; output = machine.pollOutput()) {
      if (this.#closed || !this.#try(machine, turn, output, now)) return;
    }
  }

  #try(machine: Driven, turn: Turn, output: Output, now: number): boolean {
    let done = true;
    try {
      done = this.#do(machine, output);
    } catch (error) {
      this.#ports.failed(error as Error);
    }
    turn.waiting = done ? null : output;
    if (done) return true;
    turn.notBeforeMs = now + AGAIN_MS;
    this.#machines.set(machine, turn); // one that was forgotten is kept until this is written
    return false;
  }

  #do(machine: Driven, output: Output): boolean {
    const ports = this.#ports;
    switch (output.kind) {
      case "journal":
        return this.#record(output.key, output.record) || output.ending === true;
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
    } catch (error) {
      this.#unwritten.add(key);
      this.#ports.trouble(
        `The record of overlay ${key} cannot be written, so that it waits: ` +
          `${(error as Error).message}`,
      );
      return false;
    }
    if (this.#unwritten.delete(key) && this.#unwritten.size === 0) this.#ports.trouble(null);
    return true;
  }

  #send(machine: Driven, to: Reach, body: Body, waitMs: number): void {
    Promise.try(() => this.#ports.request(to, body, waitMs)).then(
      (answer) => this.call((now) => machine.handleAnswer(to.node, answer, now)),
      (error: Error) =>
        this.call((now) => machine.handleUnreachable(to.node, body, error.message, now)),
    );
  }

  #configure(
    machine: Driven,
    output: Extract<Output, { kind: "apply" | "rekey" | "undo" | "check" }>,
  ): void {
    const { box } = this.#ports;
    const { box: handlers } = machine;
    if (box === undefined || handlers === undefined) return; // a manager has no box of its own
    const { key } = output;
    const reasonOf = (error: unknown): string => (error as Error).message;
    if (output.kind === "apply" || output.kind === "rekey") {
      const { generation, plan } = output;
      Promise.try(() => box.apply(plan, generation, output.kind === "rekey"))
        .catch((error) => ({ step: "", reason: reasonOf(error) }))
        .then((failure) => this.call((now) => handlers.handleApplied(key, failure, now)));
    } else if (output.kind === "undo") {
      Promise.try(() => box.undo(key)).catch((error) => [reasonOf(error)])
        .then((left) => this.call((now) => handlers.handleUndone(key, left, now)));
    } else {
      const { mend, probes, ticket, waitMs } = output;
      Promise.try(() => box.check(key, probes, waitMs, mend))
        .catch((error) => ({ drift: [reasonOf(error)], links: [] }))
        .then(({ drift, links }) =>
          this.call((now) => handlers.handleChecked(key, ticket, drift, links, now))
        );
    }
  }

  #sleep(): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    let at = Infinity;
    for (const [machine, { notBeforeMs, waiting }] of this.#machines) {
      const nextMs = waiting !== null ? notBeforeMs : Math.max(notBeforeMs, machine.pollDeadline());
      at = Math.min(at, nextMs);
    }
    if (at === Infinity) return;
    const ms = Math.min(SLEEP_MS_MAX, Math.max(0, at - nowMs()));
    this.#timer = setTimeout(() => this.pump(), ms);
  }
}

/** A sentence about a mistake of our own, with the place where it happened. */
export function failedText({ message, stack }: Error): string {
  const place = stack?.split("\n").find((line) => /^\s+at /.test(line))?.trim() ?? "nowhere";
  return `Mistake in this program: ${message} (${place}); everything else goes on, please report it`;
}
