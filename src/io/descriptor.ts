/**
 * Descriptors of things that have a path and are no regular file: terminals, FIFOs, devices. None of
 * them blocks. Every function answers 0 or more, or a negated errno as the kernel does. open(2),
 * read(2), write(2), mkfifo(3), ioctl(2).
 *
 * @module
 */
import { Errno } from "./errno.ts";
import { cString, fold, libc } from "./libc.ts";

const O_NOCTTY_NONBLOCK_CLOEXEC = 0x100 | 0x800 | 0x80000;

/** `access` of {@linkcode openPath}. */
export const Access = {
  /** O_RDONLY. */
  Read: 0,
  /** O_WRONLY. */
  Write: 1,
  /** O_RDWR. A FIFO opened so never ends, as a writer is always there: ourselves; fifo(7). */
  Both: 2,
} as const;

/** What opening something by its path is refused with, beside {@linkcode Errno}. */
export const PathErrno = {
  /** Nothing is there, or its directory is missing. */
  Enoent: 2,
  /** Somebody else has it. */
  Ebusy: 16,
  /** Something is there already. */
  Eexist: 17,
  /** It is no terminal. */
  Enotty: 25,
} as const;

/** Opens what is at `path`; it never becomes the controlling terminal. */
export function openPath(path: string, access: number): number {
  return fold(libc().open(cString(path), access | O_NOCTTY_NONBLOCK_CLOEXEC));
}

/** Reads into `bytes`: the count, 0 at the end, or `-EAGAIN` when there is nothing now. */
export function readBytes(fd: number, bytes: Uint8Array<ArrayBuffer>): number {
  for (;;) {
    const count = fold(libc().read(fd, bytes, bytes.length));
    if (count !== -Errno.Eintr) return count;
  }
}

/** Writes `bytes`: how many were taken, or `-EAGAIN`. */
export function writeBytes(fd: number, bytes: Uint8Array<ArrayBuffer>): number {
  for (;;) {
    const count = fold(libc().write(fd, bytes, bytes.length));
    if (count !== -Errno.Eintr) return count;
  }
}

/** Makes a FIFO; `mode` is cut by the process's umask. */
export function makeFifo(path: string, mode: number): number {
  return fold(libc().mkfifo(cString(path), mode));
}

/** An ioctl whose argument is the address of `argument`; null where it has none. */
export function control(
  fd: number,
  request: number,
  argument: Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer> | null,
): number {
  return fold(libc().ioctl(fd, request, argument));
}
