/**
 * A FIFO as an input, fifo(7): each line that any program writes to it becomes a message. It is held
 * open for writing too, so it does not end when its writers leave. While there is no room it is not
 * read, the pipe fills (64 KiB), and writers wait in write(2): that is its back-pressure.
 *
 * @module
 */
import { Access, makeFifo, openPath, PathErrno } from "../../io/descriptor.ts";
import { Errno, errnoOf, errnoText } from "../../io/errno.ts";
import { libcAvailable, libcRefusal } from "../../io/libc.ts";
import type { Input, Intake } from "../gateway/intake.ts";
import { DescriptorInput } from "./descriptor_input.ts";

/** Its owner reads and writes, its group writes. */
const MODE = 0o620;

/** The configuration of an input of type `fifo`. */
export interface FifoOptions {
  path: string;
  topic: string;
}

/**
 * Starts reading a FIFO, which is made when it is missing, and made again when it is removed.
 *
 * @throws when it cannot be made, or something else is there, naming the remedy
 */
export function openFifo(name: string, options: FifoOptions, intake: Intake): Input {
  const { path, topic } = options;
  if (!libcAvailable()) throw new Error(`Cannot read ${path} as a FIFO: ${libcRefusal()}`);
  const made = ensureFifo(path);
  if (made < 0) {
    throw new Error(`Cannot make FIFO ${path}: ${errnoText(made)}; ${remedy(made)}`);
  }
  let inode: number | null = null;
  const source = {
    path,
    open: () => {
      const made = ensureFifo(path);
      if (made < 0) return made;
      const fd = openPath(path, Access.Both);
      inode = fifoInode(path);
      return fd;
    },
    same: () => inode !== null && fifoInode(path) === inode,
    remedy: (errno: number) => remedy(errno),
    restIsLine: true, // `printf text > fifo` ends without a newline, and its end is not seen
  };
  return new DescriptorInput(name, topic, source, intake);
}

/** Makes the FIFO unless it is there: 0, or a negated errno; `-EEXIST` for anything else. */
function ensureFifo(path: string): number {
  const made = makeFifo(path, MODE);
  if (made === 0) {
    return chmod(path);
  }
  return made === -PathErrno.Eexist && fifoInode(path) !== null ? 0 : made;
}

/** Whatever the umask is. */
function chmod(path: string): number {
  try {
    Deno.chmodSync(path, MODE);
    return 0;
  } catch (error) {
    return errnoOf(error);
  }
}

function fifoInode(path: string): number | null {
  try {
    const { isFifo, ino } = Deno.statSync(path);
    return isFifo ? ino : null;
  } catch {
    return null; // it is not there
  }
}

function remedy(errno: number): string {
  switch (-errno) {
    case PathErrno.Eexist:
      return "Remove what is there, or give another path";
    case PathErrno.Enoent:
      return "Make its directory, or give another path";
    case Errno.Eacces:
      return "Let this user read and write it, or give another path";
    default:
      return "Give a path where this user may make a FIFO";
  }
}
