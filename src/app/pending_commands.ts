/**
 * Commands that wait for their answers, by transaction id. Each has a deadline of its own.
 *
 * @module
 */

/** What a daemon answered to a command. */
export interface CommandOutcome {
  /** 0, or a negative errno. */
  readonly result: number;
  /** Text for a person, often empty. */
  readonly status: string;
  /** What the command is about. */
  readonly output: Uint8Array;
}

/** A command on its way. */
export interface PendingCommand {
  readonly tid: number;
  /** `{"prefix": …}` */
  readonly words: readonly string[];
  readonly input: Uint8Array;
}

interface Waiting extends PendingCommand {
  readonly timer: ReturnType<typeof setTimeout> | undefined;
  resolve(outcome: CommandOutcome): void;
  reject(error: Error): void;
}

/** Commands of one client that are not answered yet. */
export class PendingCommands {
  readonly #waiting = new Map<number, Waiting>();
  #lastTid = 0;

  /** How many wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /**
   * Adds a command and hands it to `send`.
   *
   * @param timeoutMs 0 waits without end
   * @param lateText makes the error's text when the deadline has passed
   */
  add(
    words: readonly string[],
    input: Uint8Array,
    timeoutMs: number,
    lateText: () => string,
    send: (command: PendingCommand) => void,
  ): Promise<CommandOutcome> {
    const tid = ++this.#lastTid;
    return new Promise((resolve, reject) => {
      const late = (): void => this.reject(tid, new Error(lateText()));
      const timer = timeoutMs > 0 ? setTimeout(late, timeoutMs) : undefined;
      const waiting = { tid, words, input, timer, resolve, reject };
      this.#waiting.set(tid, waiting);
      send(waiting);
    });
  }

  /** The commands that wait, oldest first. */
  all(): Iterable<PendingCommand> {
    return [...this.#waiting.values()];
  }

  /** An answer came; one that nobody waits for (any more) is dropped. */
  resolve(tid: number, outcome: CommandOutcome): void {
    this.#take(tid)?.resolve(outcome);
  }

  /** A command failed without an answer. */
  reject(tid: number, error: Error): void {
    this.#take(tid)?.reject(error);
  }

  /** All commands failed. */
  rejectAll(error: Error): void {
    for (const tid of [...this.#waiting.keys()]) this.reject(tid, error);
  }

  #take(tid: number): Waiting | undefined {
    const waiting = this.#waiting.get(tid);
    this.#waiting.delete(tid);
    if (waiting !== undefined) clearTimeout(waiting.timer);
    return waiting;
  }
}
