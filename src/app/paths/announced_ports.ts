/**
 * Listeners for addresses that are announced with a port of their own: the kernel takes a join only where
 * an MPTCP socket listens. Nobody serves there, so who connects rather than joins is closed.
 *
 * @module
 */
import { Errno } from "../../io/errno.ts";
import { IPPROTO_MPTCP } from "../../io/mptcp_socket.ts";
import { inNamespace } from "../../io/namespace.ts";
import { accept, close, listenTcp } from "../../io/sockets.ts";
import type { Endpoint } from "../../proto/mptcp/path_events.ts";

const BACKLOG = 64;
const LISTENERS_MAX = 64;

interface Listener {
  readonly fd: number;
  /** Connections, by token, and the address ids that they announce it with. */
  readonly users: Set<string>;
}

/** One namespace's. */
export class AnnouncedPorts {
  readonly #namespace: string;
  readonly #listeners = new Map<string, Listener>();

  /** @param namespace where they listen */
  constructor(namespace: string) {
    this.#namespace = namespace;
  }

  /**
   * Listens for a connection's address; 0, or a negated errno. That somebody listens there already is
   * all right: it is then up to them.
   */
  open(token: number, id: number, { address, port }: Endpoint): number {
    const name = `${address} ${port}`;
    const user = `${token} ${id}`;
    const known = this.#listeners.get(name);
    if (known !== undefined) {
      known.users.add(user);
      return 0;
    }
    if (this.#listeners.size >= LISTENERS_MAX) return -Errno.Enobufs;
    const fd = inNamespace(
      this.#namespace,
      () => listenTcp(address, port, BACKLOG, IPPROTO_MPTCP),
    );
    if (fd === -Errno.Eaddrinuse) return 0;
    if (fd < 0) return fd;
    this.#listeners.set(name, { fd, users: new Set([user]) });
    return 0;
  }

  /** A connection has withdrawn an address, or is over (`id` null). */
  release(token: number, id: number | null): void {
    for (const [name, { fd, users }] of this.#listeners) {
      for (const user of users) {
        if (id === null ? user.startsWith(`${token} `) : user === `${token} ${id}`) {
          users.delete(user);
        }
      }
      if (users.size > 0) continue;
      close(fd);
      this.#listeners.delete(name);
    }
  }

  /** Closes who has connected. */
  sweep(): void {
    for (const { fd } of this.#listeners.values()) {
      for (let stranger = accept(fd); stranger >= 0; stranger = accept(fd)) close(stranger);
    }
  }

  /** Ends all of them. */
  close(): void {
    for (const { fd } of this.#listeners.values()) close(fd);
    this.#listeners.clear();
  }
}
