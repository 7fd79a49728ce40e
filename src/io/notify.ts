/**
 * The service manager's notification socket: datagrams of `NAME=value` lines to an AF_UNIX address
 * that is a path or, with a leading `@`, an abstract name; sd_notify(3), unix(7).
 *
 * @module
 */
import { Errno } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import { close } from "./sockets.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC_NONBLOCK = 2 | 0x80000 | 0x800;
const MSG_NOSIGNAL = 0x4000;
const CLOCK_MONOTONIC = 1;

const PATH = 2;
const PATH_BYTES_MAX = 107; // sun_path has 108, the last one is 0

/**
 * The sockaddr_un of `/path` or `@name`; null when it is neither, or longer than a socket address
 * can be (systemd also knows `vsock:`, for virtual machines).
 */
export function unixAddress(text: string): Uint8Array<ArrayBuffer> | null {
  const abstract = text.startsWith("@");
  if (!abstract && !text.startsWith("/")) return null;
  const name = new TextEncoder().encode(text);
  if (name.length < 2 || name.length > PATH_BYTES_MAX || name.includes(0)) return null;
  // The length tells where an abstract name ends; a path has a 0 behind it.
  const bytes = new Uint8Array(PATH + name.length + (abstract ? 0 : 1));
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, true);
  bytes.set(name, PATH);
  if (abstract) bytes[PATH] = 0;
  return bytes;
}

/** A datagram socket that sends to one address. */
export class Notifier {
  readonly #fd: number;
  readonly #address: Uint8Array<ArrayBuffer>;

  private constructor(fd: number, address: Uint8Array<ArrayBuffer>) {
    this.#fd = fd;
    this.#address = address;
  }

  /** For NOTIFY_SOCKET's value; a negated errno when it cannot be. */
  static open(socket: string): Notifier | number {
    const address = unixAddress(socket);
    if (address === null) return -Errno.Einval;
    const fd = libc().socket(AF_UNIX, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0);
    return fd < 0 ? -errno() : new Notifier(fd, address);
  }

  /**
   * Sends one datagram: 0, or a negated errno; `-EAGAIN` while the manager's queue is full. The
   * address is given each time, as the manager may have made its socket anew.
   */
  send(text: string): number {
    const bytes = new TextEncoder().encode(text);
    const address = this.#address;
    const sent = libc().sendto(
      this.#fd,
      bytes,
      bytes.length,
      MSG_NOSIGNAL,
      address,
      address.length,
    );
    return sent < 0 ? -errno() : 0;
  }

  /** Gives the descriptor back. */
  close(): void {
    close(this.#fd);
  }
}

/** CLOCK_MONOTONIC in microseconds: what `MONOTONIC_USEC=` beside `RELOADING=1` tells. */
export function monotonicMicros(): number {
  const timespec = new BigInt64Array(2);
  libc().clock_gettime(CLOCK_MONOTONIC, new Uint8Array(timespec.buffer));
  return Number(timespec[0]! * 1_000_000n + timespec[1]! / 1000n);
}
