/**
 * What a terminal line and a FIFO have in common: a descriptor that does not block, is read line by
 * line while there is room, and is opened again with growing pauses when it breaks. It waits in an
 * epoll of its own (../../io/epoll.ts): a line is taken when it comes, and nothing runs while none
 * does; a timed read would cost 50 wake-ups a second on a box that mostly waits.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { readBytes } from "../../io/descriptor.ts";
import { Poller, Ready } from "../../io/epoll.ts";
import { Errno, errnoText } from "../../io/errno.ts";
import { close } from "../../io/sockets.ts";
import { type Input, type InputCounts, inputCounts, type Intake } from "../gateway/intake.ts";
import { LineBuffer } from "../line_buffer.ts";

/** A parked wait ends after so long, to look whether the thing at the path is still ours. */
const PARK_MS = 1000;
/** Reads after which others get their turn. */
const READS_PER_TURN = 16;
const RETRY_MS = 250;
const RETRY_MAX_MS = 5000;

const TEXT = "text/plain";

/** Where the descriptor comes from. */
export interface DescriptorSource {
  readonly path: string;
  /** Opens it: the descriptor, or a negated errno. */
  open(): number;
  /** False when what is at the path is not what was opened. */
  same(): boolean;
  /** What to do about a negated errno of `open`; begins with a capital letter. */
  remedy(errno: number): string;
  /** True when bytes without a newline at the end are a line, false when they are damage. */
  readonly restIsLine: boolean;
}

/** Lines of a descriptor, as an input. */
export class DescriptorInput implements Input {
  readonly name: string;
  readonly counts: InputCounts = inputCounts();
  readonly where: string;
  trouble = "";
  readonly #topic: string;
  readonly #source: DescriptorSource;
  readonly #intake: Intake;
  readonly #poller = new Poller(1);
  readonly #lines = new LineBuffer();
  #stopping = false;
  #deadlineMs = Infinity;
  #tooLong = 0;
  readonly #done: Promise<void>;

  /** Starts reading; a source that does not open is tried again. */
  constructor(name: string, topic: string, source: DescriptorSource, intake: Intake) {
    this.name = name;
    this.where = source.path;
    this.#topic = topic;
    this.#source = source;
    this.#intake = intake;
    this.#done = this.#run();
  }

  /** Takes what has come, then closes; what is held is offered until `deadlineMs`. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    this.#deadlineMs = deadlineMs;
    this.#poller.wake();
    await this.#done;
  }

  async #run(): Promise<void> {
    for (let pauseMs = RETRY_MS; !this.#stopping;) {
      const fd = this.#source.open();
      if (fd < 0) {
        this.trouble = `Cannot open ${this.#source.path}: ${errnoText(fd)}. ` +
          `${this.#source.remedy(fd)}; it is tried again`;
      } else {
        this.trouble = "";
        const before = this.counts.messages;
        const ended = await this.#pump(fd);
        close(fd);
        await this.#takeRest();
        if (this.counts.messages > before) pauseMs = RETRY_MS;
        if (!this.#stopping) this.trouble = lostText(this.#source.path, ended);
      }
      if (this.#stopping) break;
      await this.#poller.park(pauseMs);
      this.#poller.wait(0);
      pauseMs = Math.min(pauseMs * 2, RETRY_MAX_MS);
    }
    await this.#poller.close();
  }

  /** Reads until it ends (0), breaks (a negated errno) or the input is stopped (0). */
  async #pump(fd: number): Promise<number> {
    const added = this.#poller.add(fd, 0, Ready.In);
    if (added < 0) return added;
    let result = 0;
    for (let reads = 1;; reads++) {
      result = readBytes(fd, this.#lines.room());
      if (result === -Errno.Eagain) {
        if (this.#stopping || !this.#source.same()) break;
        await this.#poller.park(PARK_MS);
        this.#poller.wait(0);
        continue;
      }
      if (result <= 0) break;
      this.#lines.filled(result);
      if (!await this.#takeLines()) break;
      if (reads % READS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    this.#poller.remove(fd);
    return Math.min(result, 0);
  }

  /** Offers every whole line that was read; false when the deadline of the stop has passed. */
  async #takeLines(): Promise<boolean> {
    for (let line = this.#lines.next(); line !== null; line = this.#lines.next()) {
      if (await this.#take(line)) continue;
      this.counts.dropped += 1 + this.#lines.waiting;
      return false;
    }
    this.#countTooLong();
    return nowMs() < this.#deadlineMs;
  }

  async #takeRest(): Promise<void> {
    const rest = this.#lines.rest();
    this.#countTooLong();
    if (rest === null) return;
    if (!this.#source.restIsLine) this.counts.refused++;
    else if (!await this.#take(rest)) this.counts.dropped++;
  }

  /** Waits for room; meanwhile nothing is read. False when the deadline of the stop has passed. */
  async #take(line: Uint8Array): Promise<boolean> {
    while (!this.#intake.offer(this.#topic, line, TEXT)) {
      if (!this.#intake.waits) {
        this.counts.dropped++;
        return true;
      }
      if (nowMs() >= this.#deadlineMs) return false;
      this.counts.waiting = 1;
      await this.#intake.room();
      this.counts.waiting = 0;
    }
    this.counts.messages++;
    this.counts.bytes += line.length;
    return true;
  }

  #countTooLong(): void {
    this.counts.refused += this.#lines.tooLong - this.#tooLong;
    this.#tooLong = this.#lines.tooLong;
  }
}

function lostText(path: string, ended: number): string {
  const why = ended === 0 || ended === -Errno.Eagain ? "it has gone" : errnoText(ended);
  return `Cannot read ${path}: ${why}. It is opened again as soon as it is back`;
}
