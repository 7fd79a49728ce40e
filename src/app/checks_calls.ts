/**
 * Checks of `fairlead doctor`: what is called through FFI.
 *
 * @module
 */
import { errnoText } from "../io/errno.ts";
import { errno, libc, libcAvailable, libcRefusal } from "../io/libc.ts";
import { libcryptoAvailable, libcryptoRefusal } from "../io/libcrypto.ts";
import { type Check, limited, missing, ok } from "./check.ts";

const EPOLL_CLOEXEC = 0o2000000;

/** Whether libc can be called. */
export function checkLibc(needed: boolean): Check {
  const why = "the main road's sockets, serial devices, pipes and watchdogs are called through FFI";
  const about = { name: "libc", why, needed };
  if (libcAvailable()) return ok(about, "libc.so.6 opens");
  const remedy = Deno.build.os === "linux"
    ? "run on glibc with --allow-ffi, or use --io=deno, which is slower"
    : "use --io=deno, which is slower";
  return missing(about, libcRefusal(), remedy);
}

/** Whether sockets can be waited for. */
export function checkEpoll(needed: boolean): Check {
  const about = { name: "epoll", why: "the main road waits for its sockets by it", needed };
  const remedy = "use --io=deno, which is slower";
  if (!libcAvailable()) return missing(about, "no libc", remedy);
  const fd = libc().epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return missing(about, errnoText(errno()), remedy);
  libc().close(fd);
  return ok(about, "an instance opens");
}

/** Whether ciphers can be had from OpenSSL. */
export function checkLibcrypto(): Check {
  const why = "secure mode is 5 to 20 times faster with it than with node:crypto";
  const about = { name: "libcrypto", why, needed: false };
  if (libcryptoAvailable()) return ok(about, "libcrypto.so.3 opens");
  const remedy = "install OpenSSL 3 (libssl3); until then node:crypto is used";
  return limited(about, libcryptoRefusal(), remedy);
}
