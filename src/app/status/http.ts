/**
 * A small HTTP/1.1 server for the status listener: GET and HEAD, one request for each connection,
 * RFC 9112. `Deno.serve` has no limit on connections and no deadline for a request's head (a
 * client that sends half a line stays for ever), and a box that runs for years needs both.
 *
 * @module
 */

/** Answers a request. */
export type Handler = (request: Request) => Response | Promise<Response>;

/** Connections at a time; the next one is answered 503. */
const CONNECTIONS_MAX = 64;
/** Of these, streams of events: there is always room for a probe and for a scrape. */
const STREAMS_MAX = 48;
const HEAD_BYTES_MAX = 16 * 1024;
interface Deadlines {
  readonly headMs: number;
  readonly writeMs: number;
}

/** For the head of a request, and for a client to take a piece of an answer. */
const DEADLINES: Deadlines = { headMs: 10_000, writeMs: 15_000 };
/** After the answer: what the client still sends is read, as a reset would take the answer along. */
const LINGER_MS = 1000;
const LINGER_BYTES_MAX = 64 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What can be wrong with a request before anybody looks at what it asks for. */
class BadRequest extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Listens, and answers until it is closed. */
export class HttpServer {
  /** Connections closed because there were too many, or a deadline passed. */
  refused = 0;
  readonly #listener: Deno.TcpListener;
  readonly #handler: Handler;
  readonly #deadlines: Deadlines;
  readonly #open = new Set<Deno.TcpConn>();
  readonly #work = new Set<Promise<void>>();
  readonly #accepting: Promise<void>;
  #streams = 0;
  #closed = false;

  /** @param listener is closed by `close()` */
  constructor(listener: Deno.TcpListener, handler: Handler, deadlines: Deadlines = DEADLINES) {
    this.#deadlines = deadlines;
    this.#listener = listener;
    this.#handler = handler;
    this.#accepting = this.#accept();
  }

  /** Where it listens. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    if (!this.#closed) this.#listener.close();
    this.#closed = true;
    for (const conn of this.#open) close(conn);
    await this.#accepting;
    await Promise.all(this.#work);
  }

  async #accept(): Promise<void> {
    for (;;) {
      let conn: Deno.TcpConn;
      try {
        conn = await this.#listener.accept();
      } catch {
        if (this.#closed) return;
        await new Promise((resolve) => setTimeout(resolve, 100)); // out of descriptors
        continue;
      }
      const work = this.#serve(conn).finally(() => this.#work.delete(work));
      this.#work.add(work);
    }
  }

  async #serve(conn: Deno.TcpConn): Promise<void> {
    this.#open.add(conn);
    try {
      if (this.#open.size > CONNECTIONS_MAX) {
        this.refused++;
        await this.#write(conn, plain(503, "Too many connections: close one, or try again later"));
      } else await this.#exchange(conn);
    } catch {
      // the client went away, or a deadline closed the connection
    } finally {
      close(conn);
      this.#open.delete(conn);
    }
  }

  async #exchange(conn: Deno.TcpConn): Promise<void> {
    let method = "GET";
    let answer: Response;
    try {
      const head = parseHead(await this.#readHead(conn));
      method = head.method;
      answer = method === "GET" || method === "HEAD"
        ? await this.#handler(new Request(head.url, { method, headers: head.headers }))
        : plain(405, "Only GET and HEAD are answered here", { allow: "GET, HEAD" });
    } catch (error) {
      if (!(error instanceof BadRequest)) throw error;
      answer = plain(error.status, error.message);
    }
    const isStream = answer.headers.get("content-type")?.startsWith("text/event-stream");
    if (method === "HEAD") {
      await answer.body?.cancel(); // a stream is no longer filled
      await this.#write(conn, answer, false);
    } else if (isStream) await this.#stream(conn, answer);
    else await this.#write(conn, answer);
    await linger(conn);
  }

  async #readHead(conn: Deno.TcpConn): Promise<string> {
    const bytes = new Uint8Array(HEAD_BYTES_MAX);
    let length = 0;
    const late = setTimeout(() => {
      this.refused++;
      close(conn);
    }, this.#deadlines.headMs);
    try {
      while (length < bytes.length) {
        const count = await conn.read(bytes.subarray(length));
        if (count === null) throw new Error("Closed");
        length += count;
        const text = decoder.decode(bytes.subarray(0, length));
        const end = /\r?\n\r?\n/.exec(text);
        if (end !== null) return text.slice(0, end.index);
      }
    } finally {
      clearTimeout(late);
    }
    throw new BadRequest(431, `The head of a request must fit into ${HEAD_BYTES_MAX} bytes`);
  }

  /** Writes a whole answer. */
  async #write(conn: Deno.TcpConn, answer: Response, withBody = true): Promise<void> {
    const body = withBody ? await answer.bytes() : new Uint8Array(0);
    if (withBody) answer.headers.set("content-length", `${body.length}`);
    const head = headBytes(answer);
    const bytes = new Uint8Array(head.length + body.length);
    bytes.set(head);
    bytes.set(body, head.length);
    await this.#send(conn, bytes);
  }

  async #stream(conn: Deno.TcpConn, answer: Response): Promise<void> {
    if (this.#streams >= STREAMS_MAX) {
      await answer.body!.cancel();
      await this.#write(conn, plain(503, "Too many streams: close one, or try again later"));
      return;
    }
    this.#streams++;
    const reader = answer.body!.getReader();
    // A viewer sends nothing more: whatever comes but bytes is its end.
    const gone = drain(conn, Infinity).then(() => reader.cancel(), () => reader.cancel());
    try {
      await this.#send(conn, headBytes(answer));
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        await this.#send(conn, value);
      }
    } finally {
      this.#streams--;
      await reader.cancel().catch(() => {}); // the one who fills it may have ended it in error
      close(conn);
      await gone.catch(() => {});
    }
  }

  async #send(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
    const late = setTimeout(() => {
      this.refused++;
      close(conn);
    }, this.#deadlines.writeMs);
    try {
      for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    } finally {
      clearTimeout(late);
    }
  }
}

/** An answer of one line. */
export function plain(
  status: number,
  text: string,
  headers: Record<string, string> = {},
): Response {
  return new Response(`${text}\n`, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", ...headers },
  });
}

/** RFC 9112 sections 3 (request line), 3.2 (one Host), 5 (fields, no folded lines). */
function parseHead(text: string): { method: string; url: URL; headers: Headers } {
  const [first = "", ...lines] = text.replace(/^(\r?\n)+/, "").split(/\r?\n/);
  const parts = /^([A-Z]{1,16}) (\S+) HTTP\/1\.([01])$/.exec(first);
  if (parts === null) throw new BadRequest(400, "Cannot read the request line");
  const [, method, target, minor] = parts;
  const headers = new Headers();
  let hosts = 0;
  try {
    for (const line of lines) {
      const field = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*$/.exec(line);
      if (field === null) throw new BadRequest(400, "Cannot read a header field");
      const [, name, value] = field;
      if (name!.toLowerCase() === "host") hosts++;
      headers.append(name!, value!);
    }
    if (hosts > 1 || (hosts === 0 && minor === "1")) {
      throw new BadRequest(400, `There must be one Host: ${hosts} are there`);
    }
    // In absolute form the target's authority counts, section 3.2.2; else Host's.
    const base = `http://${headers.get("host") || "localhost"}/`;
    const url = target!.startsWith("/")
      ? new URL(target!.replace(/^\/+/, "/"), base)
      : new URL(target!);
    if (url.protocol !== "http:") throw new BadRequest(400, "Cannot read the request's target");
    if (!target!.startsWith("/")) headers.set("host", url.host);
    return { method: method!, url, headers };
  } catch (error) {
    if (error instanceof BadRequest) throw error;
    throw new BadRequest(400, "Cannot read the request"); // no URL, or no header value
  }
}

function headBytes({ status, headers }: Response): Uint8Array {
  const fields = [...headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const date = new Date().toUTCString();
  return encoder.encode(
    `HTTP/1.1 ${status} ${
      REASONS[status] ?? "-"
    }\r\n${fields}date: ${date}\r\nconnection: close\r\n\r\n`,
  );
}

const REASONS: Record<number, string> = {
  200: "OK",
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** Says that no more comes, and takes what is under way, RFC 9112 section 9.6. */
async function linger(conn: Deno.TcpConn): Promise<void> {
  const late = setTimeout(() => close(conn), LINGER_MS);
  try {
    await conn.closeWrite();
    await drain(conn, LINGER_BYTES_MAX);
  } finally {
    clearTimeout(late);
  }
}

async function drain(conn: Deno.TcpConn, bytesMax: number): Promise<void> {
  const scrap = new Uint8Array(4096);
  for (let taken = 0; taken < bytesMax;) {
    const count = await conn.read(scrap);
    if (count === null) return;
    taken += count;
  }
}

function close(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch {
    // closed already
  }
}
