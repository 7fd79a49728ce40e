/**
 * The one Deno.dlopen of libc. It is opened on first use, so that importing this file needs no
 * permission; {@linkcode libcAvailable} tells which road a process can take. Narrowed types stand
 * beside their C meaning. {@linkcode fold} makes their results what the functions of io answer.
 *
 * @module
 */
import { fixedInts, locateArena } from "./native.ts";

const LIBRARY = "libc.so.6";

/** Sizes are `u32` for size_t and `i32` for ssize_t: no call here moves 2 GiB. */
const SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  readv: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  sendmsg: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  recv: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  recvmmsg: { parameters: ["i32", "buffer", "u32", "i32", "buffer"], result: "i32" },
  setns: { parameters: ["i32", "i32"], result: "i32" },
  sendto: { parameters: ["i32", "buffer", "u32", "i32", "buffer", "u32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" }, // a mode follows only for O_CREAT
  ioctl: { parameters: ["i32", "u32", "buffer"], result: "i32" }, // unsigned long: 32 bits are used
  mkfifo: { parameters: ["buffer", "u32"], result: "i32" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  sched_yield: { parameters: [], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  // nfds_t is unsigned long. Runs on a thread of Deno's pool: its errno stays there.
  poll_parked: {
    name: "poll",
    parameters: ["buffer", "u32", "i32"],
    result: "i32",
    nonblocking: true,
  },
  if_nametoindex: { parameters: ["buffer"], result: "u32" },
} as const;

/** The functions of libc that io calls. */
export type Libc = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

let symbols: Libc | null = null;
let refusal = "";
let errnoCell = fixedInts(1);

/** True when libc can be called: Linux with glibc, and FFI allowed. Never asks the operator. */
export function libcAvailable(): boolean {
  if (symbols !== null) return true;
  if (refusal !== "") return false;
  refusal = tryOpen();
  return refusal === "";
}

/**
 * The functions of libc.
 *
 * @throws with the remedy when they cannot be had
 */
export function libc(): Libc {
  if (symbols !== null) return symbols;
  if (libcAvailable()) return symbols!;
  throw new Error(`Cannot call libc through FFI: ${refusal}`);
}

/** Why {@linkcode libcAvailable} is false, with the remedy; empty when it is true. */
export function libcRefusal(): string {
  return libcAvailable() ? "" : refusal;
}

/** The errno of the last failed call; errno lives at one address per thread. */
export function errno(): number {
  return errnoCell[0]!;
}

/** 0 or more as it is, -1 as the negated errno. */
export function fold(result: number): number {
  return result < 0 ? -errno() : result;
}

/** A text as C has it. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

function tryOpen(): string {
  if (Deno.build.os !== "linux") {
    return `it needs Linux, use --io=deno: current system is ${Deno.build.os}`;
  }
  const { state } = Deno.permissions.querySync({ name: "ffi" });
  if (state !== "granted") {
    return `allow it with --allow-ffi, or use --io=deno: current permission is ${state}`;
  }
  try {
    const opened = Deno.dlopen(LIBRARY, SYMBOLS).symbols;
    const cell = opened.__errno_location()!;
    errnoCell = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(cell, 4));
    locateArena();
    symbols = opened;
    return "";
  } catch (error) {
    return `${LIBRARY} does not open, use --io=deno: ${(error as Error).message}`;
  }
}
