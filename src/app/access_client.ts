/**
 * A client of a daemon's access socket: commands to it and events from it, a line of JSON each way.
 *
 * @module
 */
import { linesOf, LineTooLong } from "./lines.ts";
import { printable } from "./printable.ts";

/** A view of thousands of connections is one line. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
/** Events that nobody has taken; beyond it no more is read, and the daemon counts us as slow. */
const EVENTS_MAX = 4096;
/** What is shown of an answer that is none. */
const SHOWN_MAX = 80;

interface Waiting {
  resolve(answer: Record<string, unknown>): void;
  reject(error: Error): void;
}

/** Who is asked. */
export interface DaemonName {
  /** In a sentence: `the path manager`. */
  readonly who: string;
  /** What starts one: `fairlead paths daemon`. */
  readonly start: string;
}

/** What every event has; the rest are members of its own. */
export interface AccessEventLine {
  readonly event: string;
}

/** Nobody listens at the socket. */
export class NoDaemon extends Error {
  override name = "NoDaemon";
}

/** One connection. */
export class AccessClient<Event extends AccessEventLine> {
  readonly #conn: Deno.UnixConn;
  readonly #daemon: DaemonName;
  readonly #path: string;
  readonly #waiting = new Map<number, Waiting>();
  readonly #events: Event[] = [];
  #lastId = 0;
  #end: Error | null = null;
  /** Ends the wait of who takes events, and of the reader when there were too many. */
  #changed = Promise.withResolvers<void>();
  readonly #reading: Promise<void>;
  #closed = false;

  /**
   * Connects to the daemon whose socket is at `path`.
   *
   * @throws when there is no daemon, or it may not be asked, with the remedy
   */
  static async connect<Event extends AccessEventLine>(
    daemon: DaemonName,
    path: string,
  ): Promise<AccessClient<Event>> {
    try {
      return new AccessClient(await Deno.connect({ transport: "unix", path }), daemon, path);
    } catch (error) {
      throw connectError(daemon, path, error);
    }
  }

  private constructor(conn: Deno.UnixConn, daemon: DaemonName, path: string) {
    this.#conn = conn;
    this.#daemon = daemon;
    this.#path = path;
    this.#reading = this.#read();
  }

  /**
   * Gives a command; the members of its answer.
   *
   * @param members as they stand on the line
   * @throws with what the daemon says when it refuses, and when it does not answer in time
   */
  async request(
    command: string,
    members: object,
    deadlineMs: number,
  ): Promise<Record<string, unknown>> {
    if (this.#end !== null) throw this.#end;
    const id = ++this.#lastId;
    const { promise, ...waiting } = Promise.withResolvers<Record<string, unknown>>();
    this.#waiting.set(id, waiting);
    const timer = setTimeout(() => {
      waiting.reject(this.#error(`it has not answered ${command} within ${deadlineMs} ms`));
    }, deadlineMs);
    try {
      // A daemon that turns us away has said why before it closed: the reader brings it.
      this.#write(`${JSON.stringify({ id, command, ...members })}\n`).catch(() => {});
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /**
   * Subscribes, and yields events until {@linkcode close}.
   *
   * @throws when the daemon ends
   */
  async *subscribe(
    groups: readonly string[],
    deadlineMs: number,
  ): AsyncGenerator<Event> {
    await this.request("subscribe", { groups }, deadlineMs);
    while (true) {
      const event = this.#events.shift();
      if (event !== undefined) {
        if (this.#events.length === EVENTS_MAX - 1) this.#change();
        yield event;
        continue;
      }
      if (this.#closed) return;
      if (this.#end !== null) throw this.#end;
      await this.#changed.promise;
    }
  }

  /** Ends the connection, and its subscription. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#conn.close();
      this.#change();
    }
    await this.#reading;
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const line of linesOf(chunksOf(this.#conn), ANSWER_BYTES_MAX)) {
        this.#take(decoder.decode(line));
        while (this.#events.length >= EVENTS_MAX && !this.#closed) await this.#changed.promise;
      }
      this.#fail(this.#error("it has ended the connection, see its log"));
    } catch (error) {
      const why = error instanceof LineTooLong
        ? `it sent a line of more than ${ANSWER_BYTES_MAX} bytes`
        : (error as Error).message;
      this.#fail(this.#error(why));
    }
  }

  #take(line: string): void {
    const value = objectOf(line);
    if (value === null) {
      throw new Error(`it sent what is no JSON object: ${printable(line.slice(0, SHOWN_MAX))}`);
    }
    if (typeof value.event === "string") {
      this.#events.push(value as unknown as Event);
      if (this.#events.length === 1) this.#change();
      return;
    }
    const failure = value.ok === true ? null : new Error(printable(`${value.error}`));
    // Without our number it is about the connection: the daemon turns us away.
    if (typeof value.id !== "number" && failure !== null) return this.#fail(failure);
    const waiting = this.#waiting.get(Number(value.id));
    if (failure === null) waiting?.resolve(value);
    else waiting?.reject(failure);
  }

  /** The first reason is the one that counts. */
  #fail(error: Error): void {
    this.#end ??= error;
    for (const waiting of this.#waiting.values()) waiting.reject(this.#end);
    this.#change();
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  async #write(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
  }

  #error(why: string): Error {
    const { who } = this.#daemon;
    return new Error(`Cannot ask ${who} as ${why}: current value is "${this.#path}"`);
  }
}

async function* chunksOf(conn: Deno.UnixConn): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(64 * 1024);
  for (let count = await conn.read(bytes); count !== null; count = await conn.read(bytes)) {
    yield bytes.slice(0, count);
  }
}

function objectOf(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
    return value as Record<string, unknown>;
  } catch {
    return null;
  }
}

function connectError({ start, who }: DaemonName, path: string, error: unknown): Error {
  const text = (why: string, remedy: string): Error =>
    new Error(`Cannot reach ${who} as ${why}: current value is "${path}", ${remedy}`);
  const isAbsent = error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.ConnectionRefused || error instanceof Deno.errors.NotADirectory;
  if (isAbsent) {
    return new NoDaemon(text("no daemon is there", `start one with ${start}`).message);
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return text("its socket is another user's", "ask as the user that runs the daemon");
  }
  return text((error as Error).message, "see the daemon's log");
}
