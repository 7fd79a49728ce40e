/**
 * Makes this box what plans say, and undoes it: "form the configuration commands to each node" of the X-Bone
 * control protocol, steps [7] and [8]. Each step is in the journal before it acts. What failed or was
 * cancelled stays as it is until it is undone.
 *
 * @module
 */
import { overlayKey } from "../../../proto/xbone/machine.ts";
import type { NodePlan } from "../../../wire/xbone/node_plan.ts";
import { makeStateDirectory } from "../../state_directory.ts";
import { addressStep } from "./address_step.ts";
import { associationSteps } from "./association_step.ts";
import { type LinkRecord, linkStep, upStep } from "./link_step.ts";
import { MarkedThings, ofKind, recordsOf } from "./marked_things.ts";
import { capabilitiesOf, collision, freeTables } from "./node_check.ts";
import { planSteps } from "./plan_steps.ts";
import { rateStep } from "./rate_step.ts";
import { RouteKernel } from "./route_kernel.ts";
import { routeStep } from "./route_step.ts";
import { ruleStep } from "./rule_step.ts";
import type { Orphan, PlannedStep, StepKind, StepRecord } from "./step.ts";
import { type JournalHead, StepJournal } from "./step_journal.ts";

/** Then others get their turn: a request to stop, for one. */
const STEPS_PER_TURN = 16;

/** What {@linkcode NodeConfigurer.open} takes. */
export interface NodeConfigurerOptions {
  /** For the journals; made unless it is there. */
  readonly stateDirectory: string;
  /** Name of a network namespace; empty is where this program runs. */
  readonly namespace: string;
  /** Those that are not of rtnetlink: `protection`, `association`, `endpoint` … */
  readonly kinds: readonly StepKind<StepRecord>[];
  /** Whether the kernel has what associations need. */
  readonly esp: () => boolean;
}

/** Why a configuration failed. */
export interface StepFailure {
  readonly step: string;
  readonly reason: string;
}

/** A virtual link as it is now. */
export interface LinkCounters {
  readonly link: string;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly errors: number;
}

/** A virtual link as it is probed. */
export interface LinkEnds {
  readonly link: string;
  readonly device: string;
  readonly address: string;
  readonly peerAddress: string;
}

/** All overlays of a box. */
export class NodeConfigurer {
  readonly #kernel: RouteKernel;
  readonly #directory: string;
  readonly #kinds: ReadonlyMap<string, StepKind<StepRecord>>;
  /** Kinds that are of rtnetlink. */
  readonly #own: ReadonlySet<string>;
  readonly #esp: () => boolean;
  readonly #journals: Map<string, StepJournal>;
  readonly #marked: MarkedThings;
  /** What is being done for a key; the next thing begins when it is over. */
  readonly #work = new Map<string, Promise<unknown>>();
  readonly #cancelled = new Set<string>();

  /**
   * Reads the journals; nothing is changed.
   *
   * @throws when one is damaged, or there is no such namespace
   */
  static async open(options: NodeConfigurerOptions): Promise<NodeConfigurer> {
    const directory = `${options.stateDirectory}/steps`;
    await makeStateDirectory(directory);
    const journals = StepJournal.load(directory);
    return new NodeConfigurer(options, directory, journals, RouteKernel.open(options.namespace));
  }

  private constructor(
    { esp, kinds }: NodeConfigurerOptions,
    directory: string,
    journals: Map<string, StepJournal>,
    kernel: RouteKernel,
  ) {
    this.#directory = directory;
    this.#journals = journals;
    this.#kernel = kernel;
    this.#esp = esp;
    const own = [linkStep, upStep, addressStep, ruleStep, routeStep, rateStep]
      .map((make): StepKind<StepRecord> => make(kernel));
    this.#own = new Set(own.map(({ kind }) => kind));
    this.#kinds = new Map([...own, ...kinds].map((kind) => [kind.kind, kind]));
    this.#marked = new MarkedThings(kernel, () => StepJournal.load(directory));
  }

  /** Closes the socket. What is configured stays. */
  close(): void {
    this.#kernel.close();
  }

  /** What this kernel can: `vxlan`, `tbf`, `esp`; it is tried, with a device that is gone afterwards. */
  capabilities(): string[] {
    return [...capabilitiesOf(this.#kernel), ...(this.#esp() ? ["esp"] : [])];
  }

  /** Overlays of which something may be here. */
  keys(): string[] {
    return [...this.#journals.keys()];
  }

  /**
   * Takes all steps of a plan; null when all are taken.
   *
   * @param onStep is told before each one
   */
  apply(
    plan: NodePlan,
    generation: number,
    onStep: ((about: string, done: number, of: number) => void) | null = null,
  ): Promise<StepFailure | null> {
    const key = overlayKey(plan.overlay, plan.epoch);
    this.#cancelled.delete(key);
    return this.#inTurn(key, () => this.#apply(key, plan, generation, onStep));
  }

  /** Stops an {@linkcode apply} after its present step; it fails, and is to be undone. */
  cancel(key: string): void {
    this.#cancelled.add(key);
  }

  /** Undoes all that was begun, the last step first; returns what could not be, a line each. */
  undo(key: string): Promise<string[]> {
    this.cancel(key);
    return this.#inTurn(key, () => this.#undo(key));
  }

  /** Takes the keys of a plan in the place of those there are; null when all are taken. */
  rekey(plan: NodePlan, generation: number): Promise<StepFailure | null> {
    const key = overlayKey(plan.overlay, plan.epoch);
    return this.#inTurn(key, () => this.#rekey(key, plan, generation));
  }

  /**
   * Takes the steps again of what was complete and is not as it was, as after a reboot; null when it is
   * there again, but for keys, which are written down nowhere.
   */
  mend(key: string): Promise<StepFailure | null> {
    return this.#inTurn(key, () => this.#mend(key));
  }

  /** What is not as it was configured, a line each. */
  drift(key: string): string[] {
    const journal = this.#journals.get(key);
    if (journal === undefined) return ["nothing is configured"];
    const lines = journal.generation === 0 ? ["the configuration was never completed"] : [];
    return this.#kernel.still(() => {
      for (const [, record] of journal.open()) {
        try {
          lines.push(...this.#kindOf(record).drift(record));
        } catch (error) {
          lines.push(`${record.about}: ${(error as Error).message}`);
        }
      }
      return [...lines, ...this.#marked.foreignRoutes(journal)];
    });
  }

  /** What went over the links, as far as their devices are there. */
  counters(key: string): LinkCounters[] {
    return this.#links(key).flatMap(({ device, link }) => {
      const found = this.#kernel.link(device);
      if (found === null) return [];
      const { errors, rxBytes, rxPackets, txBytes, txPackets } = found;
      return [{ link, rxBytes, txBytes, rxPackets, txPackets, errors }];
    });
  }

  /** Where the links end. */
  links(key: string): LinkEnds[] {
    return this.#links(key).map(({ address, device, link, peerAddress }) => ({
      ...{ link, device, address, peerAddress },
    }));
  }

  /** What carries our marks and is in no journal, a line each. */
  orphans(): string[] {
    return this.#orphans().map(({ about }) => about);
  }

  /** Removes those; returns what could not be. */
  removeOrphans(): string[] {
    return this.#orphans().flatMap(({ about, remove }) => {
      try {
        remove();
        return [];
      } catch (error) {
        return [`${about}: ${(error as Error).message}`];
      }
    });
  }

  #orphans(): Orphan[] {
    const others = [...this.#kinds.values()].flatMap((kind) =>
      kind.orphans?.(() =>
        ofKind(recordsOf([...StepJournal.load(this.#directory).values()]), kind.kind)
      ) ?? []
    );
    return [...this.#marked.orphans(), ...others];
  }

  async #apply(
    key: string,
    plan: NodePlan,
    generation: number,
    onStep: ((about: string, done: number, of: number) => void) | null,
  ): Promise<StepFailure | null> {
    let about = "check";
    try {
      if (this.#journals.has(key)) {
        throw new Error(
          `Cannot configure ${key} as something of it is here: it must be undone first`,
        );
      }
      const reason = collision(this.#kernel, plan, [...this.#journals.values()]);
      if (reason !== null) return { step: about, reason };
      const tables = freeTables(this.#kernel, plan.visits.length, [...this.#journals.values()]);
      const steps = planSteps(plan, tables);
      for (const { record } of steps) this.#kindOf(record);
      about = "journal";
      const journal = StepJournal.create(this.#directory, headOf(key, plan, tables));
      this.#journals.set(key, journal);
      let journaled = 0;
      for (const [done, { record, secret }] of steps.entries()) {
        about = record.about;
        if (this.#cancelled.has(key)) return { step: about, reason: "It was cancelled before" };
        onStep?.(about, done, steps.length);
        if (done === journaled) journaled += this.#begin(journal, steps.slice(done));
        await this.#kindOf(record).apply(record, secret);
        if (done % STEPS_PER_TURN === 0) await nextTurn();
      }
      about = "journal";
      journal.complete(generation);
      return null;
    } catch (error) {
      return { step: about, reason: (error as Error).message };
    }
  }

  /**
   * Writes down the next step, or several at once where all are the kernel's own: the disk takes
   * milliseconds for each time, and undoing what was never done costs nothing. Returns how many.
   */
  #begin(journal: StepJournal, steps: readonly PlannedStep[]): number {
    const other = steps.findIndex(({ record }) => !this.#own.has(record.kind));
    const same = other < 0 ? steps.length : other;
    const count = Math.max(1, Math.min(same, STEPS_PER_TURN));
    journal.begin(...steps.slice(0, count).map(({ record }) => record));
    return count;
  }

  async #undo(key: string): Promise<string[]> {
    const journal = this.#journals.get(key);
    if (journal === undefined) {
      this.#cancelled.delete(key);
      return [];
    }
    const left: string[] = [];
    for (const [index, record] of journal.open().reverse()) {
      try {
        await this.#kindOf(record).undo(record);
        journal.undone(index);
        await nextTurn(); // the kernel takes up to 50 ms to delete a device
      } catch (error) {
        left.push(`${record.about}: ${(error as Error).message}`);
      }
    }
    if (left.length > 0) return left;
    journal.remove();
    this.#journals.delete(key);
    this.#cancelled.delete(key);
    return left;
  }

  async #rekey(key: string, plan: NodePlan, generation: number): Promise<StepFailure | null> {
    const journal = this.#journals.get(key);
    let about = "rekey";
    try {
      if (journal === undefined || journal.generation === 0) {
        throw new Error(`Cannot take new keys for ${key} as it is not configured here`);
      }
      for (const step of associationSteps(plan)) {
        about = step.record.about;
        await this.#exchange(journal, step);
      }
      journal.complete(generation);
      return null;
    } catch (error) {
      return { step: about, reason: (error as Error).message };
    }
  }

  async #mend(key: string): Promise<StepFailure | null> {
    const journal = this.#journals.get(key);
    if (journal === undefined || journal.generation === 0) return null;
    let about = "check";
    try {
      if (this.drift(key).length === 0) return null;
      for (const [index, record] of journal.open()) {
        about = record.about;
        if (this.#cancelled.has(key)) return { step: about, reason: "It was cancelled before" };
        const kind = this.#kindOf(record);
        if (kind.rekey === undefined) await kind.apply(record);
        if (index % STEPS_PER_TURN === 0) await nextTurn();
      }
      return null;
    } catch (error) {
      return { step: about, reason: (error as Error).message };
    }
  }

  /** Both records are in the journal until the new keys are in the kernel. */
  async #exchange(journal: StepJournal, { record, secret }: PlannedStep): Promise<void> {
    const kind = this.#kindOf(record);
    const same = journal.open().filter(([, old]) =>
      old.kind === record.kind && old.about === record.about
    );
    const last = same.at(-1);
    if (last === undefined || kind.rekey === undefined) {
      throw new Error(`Cannot take new keys for ${record.about} as it was not configured with any`);
    }
    const next = journal.begin(record);
    try {
      await kind.rekey(last[1], record, secret);
    } catch (error) {
      journal.undone(next); // it is as before
      throw error;
    }
    for (const [index] of same) journal.undone(index);
  }

  #links(key: string): LinkRecord[] {
    const records = this.#journals.get(key)?.open() ?? [];
    return records.flatMap(([, one]) => one.kind === "link" ? [one as LinkRecord] : []);
  }

  #kindOf({ about, kind }: StepRecord): StepKind<StepRecord> {
    const found = this.#kinds.get(kind);
    if (found !== undefined) return found;
    throw new Error(
      `Cannot take or undo ${about} as this box is not configured for it: current value is ${kind}`,
    );
  }

  #inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#work.get(key) ?? Promise.resolve();
    const done = before.then(work);
    const settled = done.then(() => {}, () => {}).then(() => {
      if (this.#work.get(key) === settled) this.#work.delete(key);
    });
    this.#work.set(key, settled);
    return done;
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function headOf(
  key: string,
  { epoch, overlay, visits }: NodePlan,
  tables: readonly number[],
): JournalHead {
  const networks = visits.map(({ name, network, prefix }, at) => ({
    ...{ visit: name, network, prefix, table: tables[at]! },
  }));
  return { key, overlay, epoch, networks };
}
