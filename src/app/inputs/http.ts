/**
 * HTTP as an input of the gateway: RFC 9110. `POST /` and `POST /TOPIC` with one message or many;
 * 202 once all of them are durable, with `{"accepted": N}`.
 *
 *     text/plain               a message for each line
 *     application/x-ndjson     a message for each line, which must be JSON
 *     application/json         a message; an array: one for each element
 *     anything else, or none   a message
 *     ?batch=lines             a message for each line, whatever it is
 *
 * A request is checked whole before its first message is taken. When there is no room for the first
 * one the answer is 503 and nothing was taken. When room ends in the middle it waits; what was
 * taken by then stays taken, so a 503 says by `accepted` how many, and the client sends the rest.
 *
 * A web page of another origin can make a browser of this box send such requests, so they are
 * refused by their Origin (RFC 6454 section 7).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { nowMs } from "../../io/clock.ts";
import { NAME_BYTES_MAX } from "../../wire/gateway/envelope.ts";
import { isTopicName } from "../../wire/mqtt/text.ts";
import { hostText, resolve } from "../address.ts";
import { type Input, type InputCounts, inputCounts, type Intake } from "../gateway/intake.ts";
import { delay } from "../delay.ts";
import { type Batch, BatchError, type BatchForm, cutBatch } from "./http_batch.ts";
import { contentLength, isGzip, readBody, tooLarge } from "./http_body.ts";
import { MemoryBudget } from "./memory_budget.ts";
import { sameSecret, SecretFile } from "./secret_file.ts";

/** Requests at once. */
export const REQUESTS_MAX = 64;
/** Bodies in memory at once; more when one alone may be larger. */
const BODIES_BYTES_MAX = 32 * 1024 * 1024;
const BODY_DEADLINE_MS = 30_000;
/** For room in the middle of a batch. */
const ROOM_DEADLINE_MS = 10_000;
/** For a commit. */
const DURABLE_DEADLINE_MS = 30_000;
/** After the deadline of `stop`: for the answers to those who are turned away by it. */
const FAREWELL_MS = 1000;
/** When to come again after 503. */
const RETRY_AFTER_SECONDS = "1";
const OCTETS = "application/octet-stream";

/** RFC 9110 section 8.3.1: type "/" subtype, both tokens. */
const MEDIA_TYPE = /^[\w!#$%&'*+.^`|~-]{1,64}\/[\w!#$%&'*+.^`|~-]{1,64}$/;
const CHARSET = /;\s*charset="?([^";\s]+)/i;

/** Its part of the configuration. */
export interface HttpOptions {
  readonly listen: string;
  readonly bodyBytesMax: number;
  /** A file with a bearer token, which requests must have (RFC 6750); null: none is asked for. */
  readonly tokenFile: string | null;
  /** Of messages to `/`. */
  readonly topic: string;
}

/**
 * Opens the port.
 *
 * @param bodyDeadlineMs how long a body may take
 * @throws when the port is taken or the token cannot be read, naming the remedy
 */
export async function openHttp(
  name: string,
  options: HttpOptions,
  intake: Intake,
  bodyDeadlineMs: number = BODY_DEADLINE_MS,
): Promise<Input> {
  const { listen, tokenFile } = options;
  const token = tokenFile === null ? null : new SecretFile(tokenFile, parseToken);
  const address = await resolve(listen);
  try {
    return new HttpInput(
      name,
      hostText(address),
      address.port,
      options,
      token,
      intake,
      bodyDeadlineMs,
    );
  } catch (error) {
    const taken = error instanceof Deno.errors.AddrInUse;
    const why = taken ? "another program uses that port" : (error as Error).message;
    throw new Error(`Cannot listen for HTTP on ${listen}: ${why}; set "listen" to another address`);
  }
}

/** What a request is about, once its head was found good. */
interface Head {
  readonly topic: string;
  readonly contentType: string;
  readonly form: BatchForm;
  /** Bytes to reserve for its body. */
  readonly bytes: number;
}

class HttpInput implements Input {
  readonly name: string;
  readonly counts: InputCounts = inputCounts();
  readonly where: string;
  readonly #options: HttpOptions;
  readonly #token: SecretFile<Uint8Array> | null;
  readonly #intake: Intake;
  readonly #bodyDeadlineMs: number;
  readonly #memory: MemoryBudget;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  /** Those under way: aborted when `stop` does not wait for them any longer. */
  readonly #requests = new Set<AbortController>();
  /** When `stop` gives up waiting; before, Infinity. */
  #deadlineMs = Infinity;
  /** Called when no request is under way. */
  #whenIdle: () => void = () => {};
  #trouble = "";

  constructor(
    name: string,
    hostname: string,
    port: number,
    options: HttpOptions,
    token: SecretFile<Uint8Array> | null,
    intake: Intake,
    bodyDeadlineMs: number,
  ) {
    this.name = name;
    this.#options = options;
    this.#token = token;
    this.#intake = intake;
    this.#bodyDeadlineMs = bodyDeadlineMs;
    this.#memory = new MemoryBudget(Math.max(BODIES_BYTES_MAX, 2 * options.bodyBytesMax));
    this.#server = Deno.serve({
      hostname,
      port,
      onListen: () => {},
    }, (request) => this.#handle(request));
    const { addr } = this.#server;
    this.where = `${
      addr.hostname.includes(":") ? `[${addr.hostname}]` : addr.hostname
    }:${addr.port}`;
  }

  get trouble(): string {
    return this.#token === null || this.#token.trouble === "" ? this.#trouble : this.#token.trouble;
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#deadlineMs = deadlineMs;
    // First they end, then the server: its shutdown breaks off the bodies that are under way.
    const idle = Promise.withResolvers<void>();
    this.#whenIdle = idle.resolve;
    if (this.#requests.size === 0) idle.resolve();
    if (!await endsBy(idle.promise, deadlineMs)) {
      for (const request of this.#requests) request.abort();
    }
    await endsBy(this.#server.shutdown(), nowMs() + FAREWELL_MS);
  }

  async #handle(request: Request): Promise<Response> {
    const over = new AbortController();
    this.#requests.add(over);
    this.counts.clients++;
    try {
      if (this.#deadlineMs < Infinity) throw busy("the gateway stops");
      if (this.counts.clients > REQUESTS_MAX) throw busy(`${REQUESTS_MAX} requests are under way`);
      const head = this.#readHead(request);
      if (!this.#memory.take(head.bytes)) {
        throw busy("the bodies of others fill the memory for them");
      }
      try {
        return await this.#take(request, head, over.signal);
      } finally {
        this.#memory.give(head.bytes);
      }
    } catch (error) {
      this.counts.refused++;
      return answer(error);
    } finally {
      this.counts.clients--;
      this.#requests.delete(over);
      if (this.#requests.size === 0) this.#whenIdle();
    }
  }

  /** All that can be refused without reading the body. */
  #readHead(request: Request): Head {
    if (request.method !== "POST") {
      throw new BatchError(405, `Cannot take ${request.method}: only POST is taken`);
    }
    const { pathname, search } = split(request.url);
    this.#authorize(request);
    const { bodyBytesMax } = this.#options;
    const length = contentLength(request);
    if (length === null && !request.headers.has("transfer-encoding")) {
      throw new BatchError(411, "Cannot take a body as its Content-Length is missing");
    }
    if (length !== null && length > bodyBytesMax) throw tooLarge(bodyBytesMax, "as sent");
    const topic = pathname === "/" ? this.#options.topic : topicOf(pathname);
    const type = contentTypeOf(request);
    const form = formOf(type, search);
    const contentType = form === "json-lines" ? "application/json" : type;
    const bytes = (length ?? bodyBytesMax) + (isGzip(request) ? bodyBytesMax : 0);
    return { topic, contentType, form, bytes };
  }

  #authorize(request: Request): void {
    const origin = request.headers.get("origin");
    if (origin !== null && origin !== `http://${request.headers.get("host")}`) {
      throw new BatchError(403, "Cannot take requests of a web page of another origin");
    }
    if (this.#token === null) return;
    const credentials = request.headers.get("authorization") ?? "";
    const [, given] = /^Bearer +(.*)$/i.exec(credentials) ?? [];
    const token = this.#token.value;
    if (given === undefined || !sameSecret(Buffer.from(given), token)) {
      throw new BatchError(401, "Cannot take requests without the token of tokenFile");
    }
  }

  async #take(request: Request, head: Head, over: AbortSignal): Promise<Response> {
    const { bodyBytesMax } = this.#options;
    const body = await readBody(request, bodyBytesMax, this.#bodyDeadlineMs, over);
    if (body.length === 0) throw new BatchError(400, "Cannot take a message as the body is empty");
    const batch = cutBatch(body, head.form);
    const accepted = await this.#offerAll(batch, head);
    if (accepted === 0 && batch.count > 0) throw busy("there is no room for its messages");
    await this.#durable(accepted, over);
    if (accepted === batch.count) return Response.json({ accepted }, { status: 202 });
    throw busy(`there was room for ${accepted} of ${batch.count} messages`, accepted);
  }

  /** Returns how many were taken. */
  async #offerAll(batch: Batch, head: Head): Promise<number> {
    const { counts } = this;
    let accepted = 0;
    while (accepted < batch.count) {
      const message = batch.message(accepted);
      const taken = this.#intake.offer(head.topic, message, head.contentType) ||
        accepted > 0 && await this.#offerLater(message, head);
      if (!taken) break;
      accepted++;
      counts.messages++;
      counts.bytes += message.length;
    }
    return accepted;
  }

  /** In the middle of a batch: better to wait than to leave it half done. */
  async #offerLater(message: Uint8Array, head: Head): Promise<boolean> {
    const untilMs = nowMs() + ROOM_DEADLINE_MS;
    this.counts.waiting++;
    let taken = false;
    while (!taken && this.#intake.waits && nowMs() < Math.min(untilMs, this.#deadlineMs)) {
      await this.#intake.room();
      taken = this.#intake.offer(head.topic, message, head.contentType);
    }
    this.counts.waiting--;
    return taken;
  }

  async #durable(accepted: number, over: AbortSignal): Promise<void> {
    const timer = new AbortController();
    over.addEventListener("abort", () => timer.abort());
    try {
      const late = delay(DURABLE_DEADLINE_MS, timer.signal).then(() => {
        throw new Error("it takes too long");
      });
      late.catch(() => {}); // nobody may wait any longer
      await Promise.race([this.#intake.durable(), late]);
      this.#trouble = "";
    } catch (error) {
      this.#trouble = `Cannot store messages on disk: ${(error as Error).message}`;
      throw busy(`${accepted} messages were taken and are not on disk`, 0);
    } finally {
      timer.abort();
    }
  }
}

/** False when it took longer. */
async function endsBy(end: Promise<void>, deadlineMs: number): Promise<boolean> {
  const timer = new AbortController();
  const ended = await Promise.race([
    end.then(() => true),
    delay(Math.max(0, deadlineMs - nowMs()), timer.signal).then(() => false),
  ]);
  timer.abort();
  return ended;
}

/** A 503 that says how many messages were taken all the same. */
class Busy extends BatchError {
  readonly accepted: number;

  constructor(message: string, accepted: number) {
    super(503, message);
    this.accepted = accepted;
  }
}

function busy(why: string, accepted = 0): Busy {
  return new Busy(`Cannot take request as ${why}: send what is left again later`, accepted);
}

function answer(error: unknown): Response {
  const { message } = error as Error;
  const status = error instanceof BatchError ? error.status : 500;
  const headers = new Headers();
  if (status === 405) headers.set("allow", "POST"); // RFC 9110 section 15.5.6
  if (status === 401) headers.set("www-authenticate", 'Bearer realm="fairlead"'); // RFC 6750 section 3
  if (status === 415) headers.set("accept-encoding", "gzip, identity"); // RFC 9110 section 12.5.3
  if (!(error instanceof Busy)) return Response.json({ error: message }, { status, headers });
  headers.set("retry-after", RETRY_AFTER_SECONDS);
  return Response.json({ accepted: error.accepted, error: message }, { status, headers });
}

/** Path and query as they were sent: URL would take `.` and `..` for directories. */
function split(url: string): { pathname: string; search: URLSearchParams } {
  const [, pathname = "/", query = ""] = /^[a-z]+:\/\/[^/?]*([^?]*)(?:\?(.*))?$/is.exec(url) ?? [];
  return { pathname: pathname === "" ? "/" : pathname, search: new URLSearchParams(query) };
}

function topicOf(pathname: string): string {
  let topic = "";
  try {
    topic = decodeURIComponent(pathname.slice(1));
  } catch {
    // the same answer as for any other wrong path
  }
  if (isTopicName(topic) && Buffer.byteLength(topic) <= NAME_BYTES_MAX) return topic;
  throw new BatchError(
    400,
    `Cannot use path as a topic as it must be percent-encoded UTF-8 of ${NAME_BYTES_MAX} bytes or ` +
      "less, without +, # and U+0000",
  );
}

function contentTypeOf(request: Request): string {
  const text = request.headers.get("content-type") ?? OCTETS;
  const mediaType = text.split(";")[0]!.trim().toLowerCase();
  if (!MEDIA_TYPE.test(mediaType)) throw new BatchError(415, "Cannot read Content-Type");
  const charset = CHARSET.exec(text)?.[1] ?? "utf-8";
  if (/^(utf-8|us-ascii)$/i.test(charset)) return mediaType;
  throw new BatchError(415, "Cannot take text as its charset must be UTF-8");
}

function formOf(contentType: string, search: URLSearchParams): BatchForm {
  const batch = search.get("batch");
  if (batch !== null && batch !== "lines") {
    throw new BatchError(400, "Cannot use query as batch must be lines, or left out");
  }
  switch (contentType) {
    case "application/json":
      return batch === null ? "json" : "json-lines";
    case "application/x-ndjson":
      return "json-lines";
    case "text/plain":
      return "lines";
    default:
      return batch === null ? "whole" : "lines";
  }
}

/** The first line of the file. */
function parseToken(text: string, path: string): Uint8Array {
  const token = text.split(/\r?\n/)[0]!.trim();
  if (token !== "") return new TextEncoder().encode(token);
  throw new Error(`Cannot use ${path} as its first line must be a token: it is empty`);
}
