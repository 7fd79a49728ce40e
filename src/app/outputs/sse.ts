/**
 * Messages as server-sent events: WHATWG HTML section 9.2. Each event has its number as id and the
 * JSON line of format.ts as data. The last of them are kept, so that a client that comes again with
 * `Last-Event-ID` goes on where it was: at-least-once for as long as they are kept. Clients read from
 * what is kept at their own pace; one that is overtaken is closed, and comes again if it wants.
 * Numbers begin with the time of the start, so that those of another process are never taken for ours.
 *
 * @module
 */
import { isTopicFilter, matchesFilter } from "../../proto/gateway/topic_filter.ts";
import type { Output, OutputCounts, Received } from "../hub/output.ts";
import { outputCounts } from "./counts.ts";
import { MessageBuffer } from "./format.ts";

/** Kept for those who come again. */
const KEPT_BYTES_MAX = 16 * 1024 * 1024;
const KEPT_MAX = 65536;
const CLIENTS_MAX = 64;
/** Behind by so much when nothing moves for a heartbeat: closed. */
const BEHIND_BYTES_MAX = 1024 * 1024;
/** Written at once; as much may wait in a client's stream. */
const CHUNK_BYTES = 64 * 1024;
/** Section 9.2.7: proxies drop connections that are quiet. */
const HEARTBEAT_MS = 15_000;
/** What a client waits before it comes again. */
const RETRY_MS = 2000;

const encoder = new TextEncoder();
const DATA = encoder.encode("\nevent: message\ndata: ");
const EVENT_END = encoder.encode("\n");
/** Section 9.2.5: UTF-8, and no other charset can be given. */
const HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  "x-accel-buffering": "no",
} as const;

/** How it is configured. */
export interface SseOptions {
  readonly type: "sse";
  readonly required: boolean;
}

interface Kept {
  readonly topic: string;
  readonly bytes: Uint8Array;
  /** Bytes of all events up to this one. */
  readonly total: number;
}

interface Client {
  readonly filter: string | null;
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
  /** Number of the next event that it gets, if it is for it. */
  next: number;
  /** `next` at the last heartbeat. */
  seen: number;
}

/** The events and those who read them; {@linkcode SseOutput.handler} answers one request. */
export class SseOutput implements Output {
  readonly name: string;
  readonly required: boolean;
  readonly counts: OutputCounts = outputCounts();
  readonly where: string;
  /** Clients closed because they were too slow, and refused because there were too many. */
  slow = 0;
  refused = 0;
  readonly #line = new MessageBuffer("json");
  /** Event N is at N % KEPT_MAX. */
  readonly #kept: (Kept | undefined)[] = new Array(KEPT_MAX);
  #first = Date.now() * 1000;
  #next = this.#first;
  #total = 0;
  readonly #clients = new Set<Client>();
  readonly #heartbeatMs: number;
  #heartbeat: ReturnType<typeof setInterval> | undefined;
  #feeding = false;
  #closed = false;

  constructor(name: string, options: SseOptions, heartbeatMs: number = HEARTBEAT_MS) {
    this.name = name;
    this.required = options.required;
    this.where = `/stream/${name}`;
    this.#heartbeatMs = heartbeatMs;
  }

  /** It has no trouble: it waits for those who come. */
  get trouble(): string {
    return "";
  }

  /** Clients that read now. */
  get clients(): number {
    return this.#clients.size;
  }

  take(message: Received): void {
    if (this.#closed) return;
    this.#line.add(message);
    const id = encoder.encode(`id: ${this.#next}`);
    const line = this.#line.view(); // with its LF, and no other line end
    const bytes = new Uint8Array(id.length + DATA.length + line.length + EVENT_END.length);
    bytes.set(id);
    bytes.set(DATA, id.length);
    bytes.set(line, id.length + DATA.length);
    bytes.set(EVENT_END, bytes.length - EVENT_END.length);
    this.#line.drop(line.length);
    this.#keep(message.topic, bytes);
    this.counts.messages++;
    this.counts.bytes += bytes.length;
    if (this.#clients.size > 0 && !this.#feeding) {
      this.#feeding = true;
      queueMicrotask(() => this.#feedAll()); // a round in one go
    }
  }

  /** Those who are connected go on by `Last-Event-ID`: there is nothing to wait for. */
  flush(): Promise<void> {
    return Promise.resolve();
  }

  position(): null {
    return null;
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const client of this.#clients) client.controller.close();
    this.#clients.clear();
    clearInterval(this.#heartbeat);
    return Promise.resolve();
  }

  /**
   * Answers `GET /stream/NAME`, with `?topic=FILTER` to see only some topics.
   *
   * @returns the stream; 400, 405 or 503 when there is none
   */
  handler(request: Request): Response {
    if (request.method !== "GET") {
      return refusal(405, "Cannot stream as the method must be GET", { allow: "GET" });
    }
    const filter = new URL(request.url).searchParams.get("topic");
    if (filter !== null && !isTopicFilter(filter)) {
      return refusal(400, "Cannot stream as topic must be a filter such as sensors/# or +/log");
    }
    if (this.#closed || this.#clients.size >= CLIENTS_MAX) {
      this.refused++;
      const why = this.#closed ? "the hub stops" : `${CLIENTS_MAX} clients read already`;
      return refusal(503, `Cannot stream as ${why}: come again`, { "retry-after": "5" });
    }
    const next = this.#resume(request.headers.get("last-event-id"));
    return new Response(this.#stream(filter, next), { headers: HEADERS });
  }

  #stream(filter: string | null, next: number): ReadableStream<Uint8Array> {
    let client: Client;
    return new ReadableStream<Uint8Array>({
      start: (controller): void => {
        client = { filter, controller, next: Math.max(next, this.#first), seen: -1 };
        this.#clients.add(client);
        if (this.#clients.size === 1) {
          this.#heartbeat = setInterval(() => this.#beat(), this.#heartbeatMs);
        }
        const gone = client.next > next ? ": some events are no longer kept\n" : "";
        controller.enqueue(encoder.encode(
          `${gone}retry: ${RETRY_MS}\nid: ${client.next - 1}\n\n`,
        ));
      },
      pull: (): void => this.#feed(client),
      cancel: (): void => this.#leave(client),
    }, new ByteLengthQueuingStrategy({ highWaterMark: CHUNK_BYTES }));
  }

  /** Number of the first event for a client; one that was never here gets what comes from now on. */
  #resume(lastEventId: string | null): number {
    if (lastEventId === null) return this.#next;
    const last = /^[0-9]{1,16}$/.test(lastEventId) ? Number(lastEventId) : NaN;
    // From the future: a process with another clock has given it, so all of ours are new.
    return last < this.#next ? last + 1 : this.#first;
  }

  #keep(topic: string, bytes: Uint8Array): void {
    this.#total += bytes.length;
    this.#kept[this.#next++ % KEPT_MAX] = { topic, bytes, total: this.#total };
    while (
      this.#next - this.#first > KEPT_MAX ||
      this.#next - this.#first > 1 && this.#behind(this.#first) > KEPT_BYTES_MAX
    ) {
      const index = this.#first++ % KEPT_MAX;
      if (this.#next - this.#first < KEPT_MAX) this.#kept[index] = undefined;
    }
  }

  /** Bytes of the events from this number on. */
  #behind(number: number): number {
    if (number === this.#next) return 0;
    const { bytes, total } = this.#kept[number % KEPT_MAX]!;
    return this.#total - total + bytes.length;
  }

  #feedAll(): void {
    this.#feeding = false;
    for (const client of this.#clients) this.#feed(client);
  }

  /** Gives a client what it has room for. */
  #feed(client: Client): void {
    if (!this.#clients.has(client)) return;
    if (client.next < this.#first) {
      this.#cutOff(client);
      return;
    }
    while ((client.controller.desiredSize ?? 0) > 0) {
      const chunk = this.#nextChunk(client);
      if (chunk === null) return;
      client.controller.enqueue(chunk);
    }
  }

  #nextChunk(client: Client): Uint8Array | null {
    const events: Uint8Array[] = [];
    let size = 0;
    while (client.next < this.#next && size < CHUNK_BYTES) {
      const { topic, bytes } = this.#kept[client.next++ % KEPT_MAX]!;
      if (client.filter !== null && !matchesFilter(client.filter, topic)) continue;
      events.push(bytes);
      size += bytes.length;
    }
    if (events.length === 0) return null;
    const chunk = new Uint8Array(size);
    let at = 0;
    for (const bytes of events) {
      chunk.set(bytes, at);
      at += bytes.length;
    }
    return chunk;
  }

  /** A comment with the number, also for those whose topic is quiet; the stuck ones are closed. */
  #beat(): void {
    for (const client of this.#clients) {
      const stuck = (client.controller.desiredSize ?? 0) <= 0;
      if (!stuck) {
        this.#feed(client);
        const text = `: still here\nid: ${client.next - 1}\n\n`;
        client.controller.enqueue(encoder.encode(text));
      } else if (client.next === client.seen && this.#behind(client.next) > BEHIND_BYTES_MAX) {
        this.#cutOff(client);
      }
      client.seen = client.next;
    }
  }

  /** Breaks the connection, so that what waits in it is not kept for a client that does not read. */
  #cutOff(client: Client): void {
    this.slow++;
    this.#leave(client);
    client.controller.error(new Error("Cannot go on streaming as the client reads too slowly"));
  }

  #leave(client: Client): void {
    this.#clients.delete(client);
    if (this.#clients.size === 0) clearInterval(this.#heartbeat);
  }
}

function refusal(status: number, text: string, headers: Record<string, string> = {}): Response {
  return new Response(`${text}\n`, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", ...headers },
  });
}
