/**
 * The fallback road where FFI is not allowed or there is no Linux: TCP over Deno.connect and
 * Deno.listen, with the job of a socket of sockets.ts (bytes into and out of the arena, results 0
 * or more, or a negated errno) but by promises. A hop of 64 B costs 10.4 us instead of 7.6 us
 * (bench/io_bench.ts), and allocates.
 *
 * @module
 */
import { arena } from "../mem/arena.ts";
import { assert } from "../mem/assert.ts";
import { Errno, errnoOf } from "./errno.ts";
import type { SocketAddress } from "./socket_address.ts";

/** Pieces are copied together up to this size: Deno has no gathering write. */
const STAGE_BYTES = 64 * 1024;

/** One TCP connection; one read and one write may be under way at a time. */
export class DenoStream {
  readonly #conn: Deno.TcpConn;
  #stage: Uint8Array<ArrayBuffer> | null = null;
  #reading = false;
  #writing = false;

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  /** Connects to a name or an address; a negated errno when refused. */
  static async connect(host: string, port: number): Promise<DenoStream | number> {
    try {
      return new DenoStream(await Deno.connect({ hostname: host, port, transport: "tcp" }));
    } catch (error) {
      return connectErrno(error);
    }
  }

  /** Takes over a connection that a listener accepted. */
  static of(conn: Deno.TcpConn): DenoStream {
    return new DenoStream(conn);
  }

  /**
   * Reads into arena [at, end): the count, or 0 at the end of the stream. The memory must stay
   * taken until the promise settles; {@linkcode close} settles it with `-ECANCELED`.
   */
  async read(at: number, end: number): Promise<number> {
    assert(end > at && !this.#reading, "one read at a time, with room");
    this.#reading = true;
    try {
      return await this.#conn.read(arena.bytes.subarray(at, end)) ?? 0;
    } catch (error) {
      return streamErrno(error);
    } finally {
      this.#reading = false;
    }
  }

  /**
   * Writes pieces of the arena as {@linkcode sendPieces} of sockets.ts does: pairs of offset and
   * length, `count` of them from pair `first`, without the first `skip` bytes. The count may be
   * smaller than what was asked.
   */
  async write(pieces: Int32Array, first: number, count: number, skip: number): Promise<number> {
    assert(!this.#writing, "one write at a time");
    this.#writing = true;
    try {
      return await this.#conn.write(this.#gather(pieces, first, count, skip));
    } catch (error) {
      return streamErrno(error);
    } finally {
      this.#writing = false;
    }
  }

  /** Ends our direction; the peer reads on to the end. */
  async shutdownWrite(): Promise<number> {
    try {
      await this.#conn.closeWrite();
      return 0;
    } catch (error) {
      return streamErrno(error);
    }
  }

  /** Sends small segments at once. */
  setNoDelay(): void {
    this.#conn.setNoDelay(true);
  }

  /** Closes; reads and writes under way end with a negated errno. */
  close(): void {
    closeOnce(this.#conn);
  }

  /** Where the connection is bound. */
  localAddress(into: SocketAddress): number {
    return readAddress(this.#conn.localAddr, into);
  }

  /** The far end. */
  peerAddress(into: SocketAddress): number {
    return readAddress(this.#conn.remoteAddr, into);
  }

  /** A view of one long piece, or a copy of as many pieces as fit into the stage. */
  #gather(
    pieces: Int32Array,
    first: number,
    count: number,
    skip: number,
  ): Uint8Array<ArrayBuffer> {
    const from = pieces[first * 2]! + skip;
    const length = pieces[first * 2 + 1]! - skip;
    if (count === 1 || length >= STAGE_BYTES / 2) return arena.bytes.subarray(from, from + length);
    this.#stage ??= new Uint8Array(STAGE_BYTES);
    let filled = 0;
    let omit = skip;
    for (let i = first; i < first + count && filled < STAGE_BYTES; i++) {
      const start = pieces[i * 2]! + omit;
      const end = Math.min(start + pieces[i * 2 + 1]! - omit, start + STAGE_BYTES - filled);
      this.#stage.set(arena.bytes.subarray(start, end), filled);
      filled += end - start;
      omit = 0;
    }
    return this.#stage.subarray(0, filled);
  }
}

/** A listening TCP socket. */
export class DenoListener {
  readonly #listener: Deno.TcpListener;

  private constructor(listener: Deno.TcpListener) {
    this.#listener = listener;
  }

  /** Listens on a name or an address; port 0 takes any free one. A negated errno when refused. */
  static listen(host: string, port: number): DenoListener | number {
    try {
      return new DenoListener(Deno.listen({ hostname: host, port, transport: "tcp" }));
    } catch (error) {
      return connectErrno(error);
    }
  }

  /** The next connection; `-ECANCELED` once closed. */
  async accept(): Promise<DenoStream | number> {
    try {
      return DenoStream.of(await this.#listener.accept());
    } catch (error) {
      return streamErrno(error);
    }
  }

  /** Stops listening; an accept under way ends. */
  close(): void {
    closeOnce(this.#listener);
  }

  /** Where it listens. */
  localAddress(into: SocketAddress): number {
    return readAddress(this.#listener.addr, into);
  }
}

/** After our own close Deno answers with either of two classes, depending on the moment. */
function streamErrno(error: unknown): number {
  const errno = errnoOf(error);
  return errno === -Errno.Ebadf ? -Errno.Ecanceled : errno;
}

/** A name that does not resolve has no errno of its own: no such host. */
function connectErrno(error: unknown): number {
  if (error instanceof RangeError || error instanceof TypeError) return -Errno.Einval; // the port
  const errno = errnoOf(error);
  return errno === -Errno.Eio ? -Errno.Ehostunreach : errno;
}

function closeOnce(resource: Deno.TcpConn | Deno.TcpListener): void {
  try {
    resource.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error; // closed before
  }
}

function readAddress(address: Deno.Addr, into: SocketAddress): number {
  assert(address.transport === "tcp", `address of ${address.transport}`);
  return into.set(address.hostname, address.port) ? 0 : -Errno.Eio;
}
