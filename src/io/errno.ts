/**
 * Error numbers of Linux (the generic table of the kernel, the same on x86-64 and aarch64), their
 * names and what they mean. Functions of io return them negated, as the kernel does.
 *
 * @module
 */

const TABLE: readonly (readonly [number, string, string])[] = [
  [1, "EPERM", "Operation not permitted"],
  [2, "ENOENT", "No such file or entry"],
  [3, "ESRCH", "No such process or object"],
  [4, "EINTR", "Interrupted by a signal"],
  [5, "EIO", "Input or output failed"],
  [6, "ENXIO", "No such device or address"],
  [7, "E2BIG", "Argument list too long"],
  [9, "EBADF", "Bad file descriptor"],
  [11, "EAGAIN", "Try again later"],
  [12, "ENOMEM", "Out of memory"],
  [13, "EACCES", "Permission denied"],
  [14, "EFAULT", "Bad memory address"],
  [16, "EBUSY", "Device or resource busy"],
  [17, "EEXIST", "Already exists"],
  [19, "ENODEV", "No such device"],
  [20, "ENOTDIR", "Not a directory"],
  [21, "EISDIR", "Is a directory"],
  [22, "EINVAL", "Invalid argument"],
  [23, "ENFILE", "Too many open files in the system"],
  [24, "EMFILE", "Too many open files in this process"],
  [25, "ENOTTY", "Not a terminal"],
  [27, "EFBIG", "File too large"],
  [28, "ENOSPC", "No space left"],
  [29, "ESPIPE", "Cannot seek"],
  [30, "EROFS", "Read-only file system"],
  [32, "EPIPE", "Broken pipe"],
  [33, "EDOM", "Argument out of domain"],
  [34, "ERANGE", "Result out of range"],
  [35, "EDEADLK", "Would deadlock"],
  [36, "ENAMETOOLONG", "Name too long"],
  [38, "ENOSYS", "System call not available"],
  [40, "ELOOP", "Too many symbolic links"],
  [61, "ENODATA", "No data available"],
  [62, "ETIME", "Timer expired"],
  [71, "EPROTO", "Protocol error"],
  [74, "EBADMSG", "Bad message"],
  [75, "EOVERFLOW", "Value too large"],
  [84, "EILSEQ", "Invalid byte sequence"],
  [88, "ENOTSOCK", "Not a socket"],
  [89, "EDESTADDRREQ", "Destination address missing"],
  [90, "EMSGSIZE", "Message too long"],
  [91, "EPROTOTYPE", "Wrong protocol type for this socket"],
  [92, "ENOPROTOOPT", "Protocol option not available"],
  [93, "EPROTONOSUPPORT", "Protocol not supported"],
  [94, "ESOCKTNOSUPPORT", "Socket type not supported"],
  [95, "EOPNOTSUPP", "Operation not supported"],
  [96, "EPFNOSUPPORT", "Protocol family not supported"],
  [97, "EAFNOSUPPORT", "Address family not supported"],
  [98, "EADDRINUSE", "Address already in use"],
  [99, "EADDRNOTAVAIL", "Address not available on this machine"],
  [100, "ENETDOWN", "Network is down"],
  [101, "ENETUNREACH", "Network unreachable"],
  [102, "ENETRESET", "Connection dropped by a network reset"],
  [103, "ECONNABORTED", "Connection aborted"],
  [104, "ECONNRESET", "Connection reset by peer"],
  [105, "ENOBUFS", "No buffer space left"],
  [106, "EISCONN", "Already connected"],
  [107, "ENOTCONN", "Not connected"],
  [108, "ESHUTDOWN", "Sending after shutdown"],
  [110, "ETIMEDOUT", "Connection timed out"],
  [111, "ECONNREFUSED", "Connection refused"],
  [112, "EHOSTDOWN", "Host is down"],
  [113, "EHOSTUNREACH", "No route to host"],
  [114, "EALREADY", "Already in progress"],
  [115, "EINPROGRESS", "In progress"],
  [116, "ESTALE", "Stale handle"],
  [122, "EDQUOT", "Quota exceeded"],
  [125, "ECANCELED", "Canceled"],
  [126, "ENOKEY", "Key not available"],
  [129, "EKEYREJECTED", "Key rejected"],
];

const BY_NUMBER = new Map(TABLE.map(([number, name, text]) => [number, { name, text }]));
const BY_NAME = new Map(TABLE.map(([number, name]) => [name, number]));

/** The numbers that code compares with; positive, as in the kernel's header. */
export const Errno = {
  /** No privilege for it. */
  Eperm: 1,
  /** Nothing has that name. */
  Enoent: 2,
  Esrch: 3,
  /** Interrupted by a signal: repeat. */
  Eintr: 4,
  /** Anything without a better number. */
  Eio: 5,
  /** The descriptor is closed. */
  Ebadf: 9,
  /** Nothing to read now, or no room to write. */
  Eagain: 11,
  /** Not permitted. */
  Eacces: 13,
  Eexist: 17,
  /** An argument that cannot be. */
  Einval: 22,
  /** The peer has closed, and we wrote. */
  Epipe: 32,
  /** A datagram larger than there is room for. */
  Emsgsize: 90,
  /** The listening address is taken. */
  Eaddrinuse: 98,
  /** The address is not one of this machine's. */
  Eaddrnotavail: 99,
  /** The peer aborted before accept. */
  Econnaborted: 103,
  /** The peer reset the connection. */
  Econnreset: 104,
  /** The kernel had no room for what it had to tell. */
  Enobufs: 105,
  /** No connection on this socket. */
  Enotconn: 107,
  /** No answer in time. */
  Etimedout: 110,
  /** Nobody listens there. */
  Econnrefused: 111,
  /** No route to the host, or no such host. */
  Ehostunreach: 113,
  /** connect() goes on in the background. */
  Einprogress: 115,
  /** Ended by our own close. */
  Ecanceled: 125,
} as const;

/**
 * An errno, negated or not, in words and with its name.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 *
 * assert.equal(errnoText(-111), "Connection refused (ECONNREFUSED)");
 * ```
 */
export function errnoText(errno: number): string {
  const number = Math.abs(errno);
  const row = BY_NUMBER.get(number);
  return row === undefined ? `Unknown error (errno ${number})` : `${row.text} (${row.name})`;
}

/** The negated errno of an exception that Deno or node threw for a refused system call. */
export function errnoOf(error: unknown): number {
  if (error instanceof Deno.errors.Interrupted) return -Errno.Ecanceled;
  if (error instanceof Deno.errors.BadResource) return -Errno.Ebadf;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const number = typeof code === "string" ? BY_NAME.get(code) : undefined;
  if (number !== undefined) return -number;
  if (error instanceof Deno.errors.NotCapable) return -Errno.Eacces;
  if (error instanceof Deno.errors.PermissionDenied) return -Errno.Eacces;
  if (error instanceof Deno.errors.TimedOut) return -Errno.Etimedout;
  return -Errno.Eio;
}
