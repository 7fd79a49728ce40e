/**
 * Network namespaces: network_namespaces(7), setns(2), ip-netns(8). A socket belongs to the namespace in which
 * it was made, for ever; so a thread enters one only to make sockets, and comes back at once. Nothing
 * asynchronous may be started inside: other threads stay where they are.
 *
 * @module
 */
import { assert } from "../mem/assert.ts";
import { Access, openPath } from "./descriptor.ts";
import { Errno, errnoText } from "./errno.ts";
import { fold, libc } from "./libc.ts";

const CLONE_NEWNET = 0x40000000;
const OWN = "/proc/thread-self/ns/net";
/** Where ip-netns(8) keeps the named ones. */
const NAMED = "/run/netns";

/**
 * Runs `inside` in the namespace called `name`, or where we are when it is empty.
 *
 * @throws when the namespace is missing or must not be entered, naming the remedy
 */
export function inNamespace<T>(name: string, inside: () => T): T {
  if (name === "") return inside();
  const home = openPath(OWN, Access.Read);
  if (home < 0) throw new Error(`Cannot open ${OWN}: ${errnoText(home)}`);
  try {
    enter(name);
    try {
      return inside();
    } finally {
      const back = libc().setns(home, CLONE_NEWNET);
      assert(back === 0, `cannot come back from network namespace ${name}`); // nothing here is ours
    }
  } finally {
    libc().close(home);
  }
}

/** What tells namespaces apart, as programs in one see it: the inode; null when it cannot be seen. */
export function namespaceOf(name: string): number | null {
  return inodeOf(name === "" ? "/proc/self/ns/net" : `${NAMED}/${name}`);
}

/** The same of a process; null when it is gone or is not ours to see. */
export function namespaceOfProcess(pid: number): number | null {
  return inodeOf(`/proc/${pid}/ns/net`);
}

function inodeOf(path: string): number | null {
  try {
    return Deno.statSync(path).ino;
  } catch {
    return null;
  }
}

function enter(name: string): void {
  const fd = openPath(`${NAMED}/${name}`, Access.Read);
  if (fd === -Errno.Enoent) {
    throw new Error(
      `Cannot enter network namespace as it does not exist: current value is "${name}", ` +
        "see ip netns list",
    );
  }
  if (fd < 0) throw new Error(`Cannot enter network namespace ${name}: ${errnoText(fd)}`);
  const entered = fold(libc().setns(fd, CLONE_NEWNET));
  libc().close(fd);
  if (entered === 0) return;
  const remedy = entered === -Errno.Eperm ? ", it needs CAP_SYS_ADMIN: run it as root" : "";
  throw new Error(`Cannot enter network namespace ${name}: ${errnoText(entered)}${remedy}`);
}
