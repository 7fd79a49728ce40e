/**
 * Who is at the other end of a Unix socket: SO_PEERCRED, unix(7). The kernel noted it when the other
 * end connected.
 *
 * @module
 */
import { errno, libc } from "./libc.ts";
import { fixedInts } from "./native.ts";

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const UCRED_SIZE = 12;

/** struct ucred. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

const ucred = fixedInts(3);
const length = fixedInts(1);

/** The credentials of the peer of a connected Unix socket, or a negated errno. */
export function peerCredentials(fd: number): PeerCredentials | number {
  length[0] = UCRED_SIZE;
  if (libc().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred, length) < 0) return -errno();
  return { pid: ucred[0]!, uid: ucred[1]!, gid: ucred[2]! };
}
