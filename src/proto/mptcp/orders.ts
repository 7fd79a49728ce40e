/**
 * Commands on their way to the kernel, and what their results are for; and what subscribers are
 * told. Both queues are bounded: a connection's commands are made when the queue is empty, so that
 * it holds those of one connection and what other programs asked for; events that nobody takes are
 * dropped and counted.
 *
 * @module
 */
import type { Joining, PathConnection, PathSubflow, Pending } from "./connection_table.ts";
import type { PathCommand, PathEvent } from "./path_events.ts";

/** A command without its serial. */
export type Draft = PathCommand extends infer C ? C extends PathCommand ? Omit<C, "serial"> : never
  : never;

/** Commands of one connection that wait for their results; more are made when these came. */
export const PENDING_MAX = 16;
/** The kernel answers at once; a result that is missing by then is taken as a failure. */
const PENDING_MS = 30_000;
const EVENTS_MAX = 16_384;

/** A queue whose front is taken without moving the rest. */
class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | null {
    const item = this.#items[this.#head];
    if (item === undefined) return null;
    this.#head++;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head >= 1024) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}

/** Commands to the kernel. */
export class Orders {
  readonly #queue = new Fifo<PathCommand>();
  readonly #pending = new Map<number, Pending>();
  #serial = 0;

  /** Commands that were not taken yet. */
  get length(): number {
    return this.#queue.length;
  }

  /** A serial for a command that goes later. */
  reserve(): number {
    return ++this.#serial;
  }

  /** Queues a command and remembers what it is for. */
  order(
    draft: Draft,
    connection: PathConnection,
    nowMs: number,
    subflow: PathSubflow | null = null,
    joining: Joining | null = null,
  ): number {
    const serial = this.reserve();
    this.send({ ...draft, serial }, connection, nowMs, subflow, joining);
    return serial;
  }

  /** Queues a command that has its serial. */
  send(
    command: PathCommand,
    connection: PathConnection,
    nowMs: number,
    subflow: PathSubflow | null = null,
    joining: Joining | null = null,
  ): void {
    const pending = { command, connection, subflow, joining, deadlineMs: nowMs + PENDING_MS };
    this.#pending.set(command.serial, pending);
    connection.pending.add(pending);
    this.#queue.push(command);
  }

  /** What a result is for; null when it is too late or was never asked for. */
  take(serial: number): Pending | null {
    const pending = this.#pending.get(serial);
    if (pending === undefined) return null;
    this.#pending.delete(serial);
    pending.connection.pending.delete(pending);
    return pending;
  }

  /** The connection is gone: no result matters. */
  forget(connection: PathConnection): void {
    for (const { command } of connection.pending) this.#pending.delete(command.serial);
    connection.pending.clear();
  }

  /** The next command; null when there is none. */
  poll(): PathCommand | null {
    return this.#queue.shift();
  }
}

/** What subscribers are told. */
export class Tidings {
  readonly #queue = new Fifo<PathEvent>();
  /** Events that nobody took in time. */
  dropped = 0;

  /** Queues an event. */
  tell(event: PathEvent): void {
    if (this.#queue.length >= EVENTS_MAX) this.dropped++;
    else this.#queue.push(event);
  }

  /** Queues a sentence for the log. */
  note(level: "info" | "warning", text: string): void {
    this.tell({ name: "note", level, text });
  }

  /** The next event; null when there is none. */
  poll(): PathEvent | null {
    return this.#queue.shift();
  }
}
