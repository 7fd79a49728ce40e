/**
 * The access socket of a daemon: other programs give it commands and hear its events, a line of JSON
 * each way, in the words of whoever opens it. The RFC "MPTCP Path Management Generic Netlink API" (2018)
 * asks for privilege and one namespace, section "Security" and its review: here the socket belongs to
 * its owner alone (0600), and the kernel says who is at the other end. unix(7).
 *
 * @module
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { errnoText } from "../io/errno.ts";
import { fileInfo } from "../io/files.ts";
import { type PeerCredentials, peerCredentials } from "../io/peer_credentials.ts";
import { LINE_BYTES_MAX, LineBuffer } from "./line_buffer.ts";
import { printableJson } from "./printable.ts";

/** A request's number, which its answer carries. */
export type AccessId = number | null;

/** A client wants to hear events. */
export interface Subscribe<Group> {
  readonly command: "subscribe";
  readonly groups: readonly Group[];
}

/** A line of a client that was read, or why not; the id is there when it could be made out. */
export type Parsed<Request> =
  & { readonly id: AccessId }
  & ({ readonly request: Request } | { readonly error: string });

/** What a client may reach. */
export interface AccessService<Request extends { command: string }, Group> {
  /** Does it; members of the answer. An error's message is told to the client. */
  request(request: Request): Promise<object>;
  /** Brings events of these groups until what it returns is called. */
  subscribe(groups: readonly Group[], listener: (event: object) => void): () => void;
}

/** How an {@linkcode AccessServer} is made. */
export interface AccessServerOptions<Request extends { command: string }, Group> {
  readonly path: string;
  /** Reads and checks one line of a client. */
  parse(line: string): Parsed<Request | Subscribe<Group>>;
  /** Who connects, and what they get; a text refuses them. */
  serviceOf(credentials: PeerCredentials): AccessService<Request, Group> | string;
  /** Without a request and without a subscription a client is closed; 10 minutes unless set. */
  readonly idleMs?: number;
  /** How long a request may take; 10 s unless set. */
  readonly answerMs?: number;
  /** How long a request may be; 64 KiB unless set. */
  readonly requestBytesMax?: number;
}

/** What happened at the access socket since it was opened. */
export interface AccessCounts {
  accepted: number;
  requests: number;
  /** Requests that were answered with an error. */
  failed: number;
  events: number;
  /** Clients that were turned away: too many, of another namespace, unknown to the kernel. */
  refused: number;
  /** Clients that were closed because they sent an endless line, … */
  tooLong: number;
  /** … did not read their events, … */
  slow: number;
  /** … or said nothing. */
  idle: number;
}

const CLIENTS_MAX = 64;
/** Events that one client has not read; answers are asked for one by one and come on top. */
const EVENT_BYTES_MAX = 1024 * 1024;
const IDLE_MS = 600_000;
const ANSWER_MS = 10_000;
const SOCKET_MODE = 0o600;
const DIRECTORY_MODE = 0o755;
/** sockaddr_un without the final 0. */
const PATH_BYTES_MAX = 107;
/** How long somebody else's socket may take to answer whether it lives. */
const PROBE_MS = 2000;
/** How long a client that was ended may take to end its direction. */
const LINGER_MS = 2000;

const decoder = new TextDecoder("utf-8", { fatal: true });

/** The open socket. */
export class AccessServer<Request extends { command: string }, Group> {
  /** See {@linkcode AccessCounts}. */
  readonly counts: Readonly<AccessCounts>;
  readonly #counts: AccessCounts = {
    accepted: 0,
    requests: 0,
    failed: 0,
    events: 0,
    refused: 0,
    tooLong: 0,
    slow: 0,
    idle: 0,
  };
  readonly #server: Server;
  readonly #options: AccessServerOptions<Request, Group>;
  /** Of our socket's file: another daemon may have put its own there. */
  readonly #inode: number;
  readonly #clients = new Set<Client<Request, Group>>();

  /**
   * Opens it; the file of a daemon that died is replaced, and its directory is made.
   *
   * @throws when the path cannot be used or a living daemon has it
   */
  static async open<Request extends { command: string }, Group>(
    options: AccessServerOptions<Request, Group>,
  ): Promise<AccessServer<Request, Group>> {
    const { path } = options;
    if (new TextEncoder().encode(path).length > PATH_BYTES_MAX) {
      throw refusal(path, `it must have ${PATH_BYTES_MAX} bytes at most`, "choose a shorter one");
    }
    const directory = path.slice(0, path.lastIndexOf("/"));
    try {
      if (directory !== "") await Deno.mkdir(directory, { recursive: true, mode: DIRECTORY_MODE });
      await clear(path);
      const server = createServer({ allowHalfOpen: true });
      await listen(server, path);
      return new AccessServer(server, options, await inodeOf(path));
    } catch (error) {
      if (error instanceof OpenError) throw error;
      const remedy = error instanceof Deno.errors.PermissionDenied ||
          (error as NodeJS.ErrnoException).code === "EACCES"
        ? "run as root, or choose another one"
        : "choose another one";
      throw refusal(path, (error as Error).message, remedy);
    }
  }

  private constructor(
    server: Server,
    options: AccessServerOptions<Request, Group>,
    inode: number,
  ) {
    this.#inode = inode;
    this.counts = this.#counts;
    this.#server = server;
    this.#options = options;
    server.on("error", () => this.#counts.refused++); // no descriptor is left for one more
    server.on("connection", (socket: Socket) => this.#take(socket));
  }

  /** Clients that are connected. */
  get clients(): number {
    return this.#clients.size;
  }

  /** Ends every client, and removes the file. */
  async close(): Promise<void> {
    const { path } = this.#options;
    const successor = await inodeOf(path) !== this.#inode;
    const aside = `${path}.${this.#inode}`;
    // Closing removes whatever has the name.
    if (successor) await rename(path, aside);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const client of this.#clients) client.end();
    await closed;
    if (successor) await rename(aside, path);
  }

  #take(socket: Socket): void {
    socket.on("error", () => socket.destroy()); // a client that is gone is no error of ours
    const service = this.#clients.size < CLIENTS_MAX
      ? this.#serviceOf(socket)
      : `${CLIENTS_MAX} clients are connected already, close one`;
    if (typeof service === "string") {
      this.#counts.refused++;
      const error = `Cannot use the access socket as ${service}`;
      socket.end(line({ ok: false, error }), () => socket.destroy());
      return;
    }
    this.#counts.accepted++;
    const client = new Client(socket, service, this.#counts, this.#options);
    this.#clients.add(client);
    socket.on("close", () => this.#clients.delete(client));
  }

  #serviceOf(socket: Socket): AccessService<Request, Group> | string {
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    const credentials = peerCredentials(fd);
    if (typeof credentials === "number") {
      return `the kernel does not say who asks: ${errnoText(credentials)}`;
    }
    return this.#options.serviceOf(credentials);
  }
}

/** One connection. Requests are done one after the other, so that answers never pile up. */
class Client<Request extends { command: string }, Group> {
  readonly #socket: Socket;
  readonly #service: AccessService<Request, Group>;
  readonly #counts: AccessCounts;
  readonly #parse: (line: string) => Parsed<Request | Subscribe<Group>>;
  readonly #answerMs: number;
  readonly #idleMs: number;
  readonly #requestBytesMax: number;
  readonly #lines: LineBuffer;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #unsubscribe: (() => void) | null = null;
  #eventBytes = 0;

  constructor(
    socket: Socket,
    service: AccessService<Request, Group>,
    counts: AccessCounts,
    options: AccessServerOptions<Request, Group>,
  ) {
    this.#socket = socket;
    this.#service = service;
    this.#counts = counts;
    this.#parse = (line): Parsed<Request | Subscribe<Group>> => options.parse(line);
    this.#answerMs = options.answerMs ?? ANSWER_MS;
    this.#requestBytesMax = options.requestBytesMax ?? LINE_BYTES_MAX;
    this.#lines = new LineBuffer(this.#requestBytesMax);
    this.#idleMs = options.idleMs ?? IDLE_MS;
    this.#rearm();
    let done = Promise.resolve();
    socket.on("data", (bytes: Uint8Array) => {
      socket.pause();
      done = this.#take(bytes).then(() => void socket.resume());
    });
    socket.on("end", () => {
      done.then(() => this.#last());
    });
    socket.on("close", () => this.#release());
  }

  /** Ends it once what was said has been sent. */
  end(): void {
    if (this.#ended) return;
    this.#socket.end(() => this.#socket.destroy());
    this.#release();
  }

  get #ended(): boolean {
    return this.#socket.destroyed || this.#socket.writableEnded;
  }

  async #take(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#ended;) {
      const room = this.#lines.room();
      const piece = bytes.subarray(at, at + room.length);
      room.set(piece);
      this.#lines.filled(piece.length);
      at += piece.length;
      for (let next = this.#lines.next(); next !== null; next = this.#lines.next()) {
        await this.#handle(next);
      }
      if (this.#lines.tooLong > 0) return this.#endTooLong();
    }
  }

  /** A client that ends its direction is done, but for its answers. */
  async #last(): Promise<void> {
    const rest = this.#lines.rest();
    if (rest !== null) await this.#handle(rest);
    this.end();
  }

  async #handle(bytes: Uint8Array): Promise<void> {
    if (this.#ended) return;
    this.#rearm();
    this.#counts.requests++;
    let text: string;
    try {
      text = decoder.decode(bytes);
    } catch {
      return await this.#fail(null, "Cannot read request as it must be UTF-8");
    }
    const parsed = this.#parse(text);
    if ("error" in parsed) return await this.#fail(parsed.id, parsed.error);
    try {
      const members = await this.#do(parsed.request);
      await this.#tell({ ...own(parsed.id), ok: true, ...members });
    } catch (error) {
      await this.#fail(parsed.id, (error as Error).message);
    }
    this.#rearm();
  }

  #do(request: Request | Subscribe<Group>): Promise<object> {
    if (!isSubscribe(request)) return this.#inTime(this.#service.request(request));
    const { groups } = request;
    this.#unsubscribe?.();
    this.#unsubscribe = this.#service.subscribe(groups, (event) => this.#event(event));
    return Promise.resolve({ groups });
  }

  async #inTime(answer: Promise<object>): Promise<object> {
    const ms = this.#answerMs;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new Error(`Cannot answer as the kernel has not within ${ms} ms, ask again`);
      timer = setTimeout(() => reject(error), ms);
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #event(event: object): void {
    if (this.#ended) return;
    if (this.#eventBytes > EVENT_BYTES_MAX) {
      this.#counts.slow++;
      this.#socket.destroy();
      this.#release();
      return;
    }
    const text = line(event);
    this.#eventBytes += text.length;
    this.#counts.events++;
    this.#socket.write(text, () => this.#eventBytes -= text.length);
  }

  async #fail(id: AccessId, error: string): Promise<void> {
    this.#counts.failed++;
    await this.#tell({ ...own(id), ok: false, error });
  }

  /** Returns when the client has taken it: who does not read is not read from. */
  #tell(answer: object): Promise<void> {
    return new Promise((resolve) => {
      if (this.#ended) return resolve();
      const done = (): void => {
        this.#socket.off("close", done);
        resolve();
      };
      this.#socket.on("close", done);
      this.#socket.write(line(answer), done);
    });
  }

  /** What still comes is thrown away for a while: a reset would take the answer with it. */
  #endTooLong(): void {
    this.#counts.tooLong++;
    const error = `Cannot read request as a line has ${this.#requestBytesMax} bytes at most: ` +
      "current value is longer";
    this.#socket.end(line({ ok: false, error }));
    this.#release();
  }

  #rearm(): void {
    clearTimeout(this.#idle);
    if (this.#ended) return;
    this.#idle = setTimeout(() => {
      if (this.#unsubscribe !== null) return;
      this.#counts.idle++;
      this.#socket.destroy();
    }, this.#idleMs);
  }

  /** No event goes out any more; a client that does not let go is let go. */
  #release(): void {
    clearTimeout(this.#idle);
    this.#unsubscribe?.();
    this.#unsubscribe = null;
    if (this.#socket.destroyed) return;
    this.#idle = setTimeout(() => this.#socket.destroy(), LINGER_MS);
  }
}

function isSubscribe<Request extends { command: string }, Group>(
  request: Request | Subscribe<Group>,
): request is Subscribe<Group> {
  return request.command === "subscribe";
}

/** 0 when nothing is there. */
async function inodeOf(path: string): Promise<number> {
  try {
    return (await Deno.lstat(path)).ino ?? 0;
  } catch {
    return 0;
  }
}

async function rename(from: string, to: string): Promise<void> {
  try {
    await Deno.rename(from, to);
  } catch {
    // It is gone: nothing is to be kept.
  }
}

/** Why the socket cannot be opened, in whole sentences. */
class OpenError extends Error {
  override name = "OpenError";
}

function refusal(path: string, why: string, remedy: string): OpenError {
  return new OpenError(
    `Cannot open access socket as ${why}: current value is "${path}", ${remedy}`,
  );
}

/** Takes the file of a dead daemon away. */
async function clear(path: string): Promise<void> {
  const found = await fileInfo(path);
  if (found === null) return;
  if (!found.isSocket) throw refusal(path, "something else is there", "choose another one");
  if (await answers(path)) {
    const remedy = 'stop the other one, or set "socket" to another path';
    throw refusal(path, "another daemon listens there", remedy);
  }
  await Deno.remove(path);
}

/** Whether somebody listens: ECONNREFUSED says that nobody does, silence that the queue is full. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const settle = (lives: boolean): void => {
      clearTimeout(timer);
      probe.destroy();
      resolve(lives);
    };
    const timer = setTimeout(() => settle(true), PROBE_MS);
    probe.on("connect", () => settle(true));
    probe.on("error", (error: NodeJS.ErrnoException) => settle(error.code !== "ECONNREFUSED"));
  });
}

/** bind() happens before listen() returns, so that the file never has another mode. */
function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve();
    });
    const before = Deno.umask(0o777 & ~SOCKET_MODE);
    try {
      server.listen(path);
    } finally {
      Deno.umask(before);
    }
  });
}

/** The client's own number, when it gave one. */
function own(id: AccessId): object {
  return id === null ? {} : { id };
}

function line(value: object): string {
  return `${printableJson(value)}\n`;
}
