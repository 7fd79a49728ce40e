/** The other end of the notification socket, over libc as ours is. */
import assert from "node:assert/strict";
import { readBytes } from "../../src/io/descriptor.ts";
import { libc } from "../../src/io/libc.ts";
import { unixAddress } from "../../src/io/notify.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK = 2 | 0x800;

/** A datagram socket bound to `/path` or `@name`. */
export function receiver(text: string): number {
  const address = unixAddress(text)!;
  const fd = libc().socket(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0);
  assert.ok(fd >= 0);
  assert.equal(libc().bind(fd, address, address.length), 0);
  return fd;
}

/** The next datagram; empty when there is none. */
export function textOf(fd: number): string {
  const bytes = new Uint8Array(4096);
  const count = readBytes(fd, bytes);
  return count < 0 ? "" : new TextDecoder().decode(bytes.subarray(0, count));
}
