/**
 * One program of a kind in a network namespace: a listening Unix socket with an abstract name. Abstract
 * names belong to a network namespace, and are gone with the process that has one; unix(7). Anybody may
 * take such a name, so that only one held by root or by our own user counts.
 *
 * @module
 */
import { Errno } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import { peerCredentials } from "./peer_credentials.ts";

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC_NONBLOCK = 1 | 0x80000 | 0x800;
const FAMILY_SIZE = 2;
/** Those who have looked; nobody takes them from the queue, and no other program of ours comes so often. */
const BACKLOG = 4096;
/** Names that strangers may hold. */
const NAMES_MAX = 8;

/**
 * Takes `name` in the namespace of this thread: a descriptor to close, `-EADDRINUSE` when another
 * program of ours has it, `-EACCES` when strangers hold all its names.
 */
export function takeNamespaceLock(name: string): number {
  let taken = -Errno.Eacces;
  for (let at = 0; at < NAMES_MAX; at++) {
    const address = abstractAddress(at === 0 ? name : `${name}-${at}`);
    if (taken < 0) {
      taken = listenAt(address);
      if (taken >= 0) continue; // ours; whether one of the others is held is still to be seen
    }
    const holder = holderOf(address);
    if (holder !== 0 && holder !== Deno.uid()) continue;
    if (taken >= 0) libc().close(taken);
    return -Errno.Eaddrinuse;
  }
  return taken;
}

function listenAt(address: Uint8Array<ArrayBuffer>): number {
  const { bind, close, listen, socket } = libc();
  const fd = socket(AF_UNIX, SOCK_STREAM_CLOEXEC_NONBLOCK, 0);
  if (fd < 0) return -errno();
  if (bind(fd, address, address.length) === 0 && listen(fd, BACKLOG) === 0) return fd;
  const result = -errno();
  close(fd);
  return result;
}

/** The user that listens there, -1 when nobody does. */
function holderOf(address: Uint8Array<ArrayBuffer>): number {
  const { close, connect, socket } = libc();
  const fd = socket(AF_UNIX, SOCK_STREAM_CLOEXEC_NONBLOCK, 0);
  if (fd < 0) return -1;
  const connected = connect(fd, address, address.length) === 0;
  const credentials = connected ? peerCredentials(fd) : null;
  close(fd);
  return credentials === null || typeof credentials === "number" ? -1 : credentials.uid;
}

function abstractAddress(name: string): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(name);
  const address = new Uint8Array(FAMILY_SIZE + 1 + text.length); // a NUL in front: abstract
  address[0] = AF_UNIX;
  address.set(text, FAMILY_SIZE + 1);
  return address;
}
