/**
 * Events of MPTCP connections straight from the kernel, for who only wants to see them: a path manager that
 * manages nothing.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { Poller, Ready } from "../../io/epoll.ts";
import { PathManager } from "../../proto/mptcp/path_manager.ts";
import { PATH_POLICY_DEFAULTS } from "../../proto/mptcp/path_policy.ts";
import { type AccessEvent, accessEvent } from "./access_message.ts";
import { LinkMonitor } from "./link_monitor.ts";
import { MptcpKernel } from "./mptcp_kernel.ts";
import { SocketDump } from "./socket_dump.ts";

/** Listens until it is closed. */
export class PathsWatch {
  readonly #manager = new PathManager({ ...PATH_POLICY_DEFAULTS, layout: "none" });
  readonly #kernel: MptcpKernel;
  readonly #links: LinkMonitor;
  readonly #sockets: SocketDump;
  readonly #poller = new Poller();
  readonly #show: (event: AccessEvent) => void;
  readonly #running: Promise<void>;
  #stopped = false;

  /**
   * Begins to listen in `namespace`.
   *
   * @throws with the remedy when it may not
   */
  static open(namespace: string, show: (event: AccessEvent) => void): PathsWatch {
    const kernel = MptcpKernel.open(namespace);
    return new PathsWatch(kernel, namespace, show);
  }

  private constructor(kernel: MptcpKernel, namespace: string, show: (event: AccessEvent) => void) {
    this.#kernel = kernel;
    this.#show = show;
    this.#links = LinkMonitor.open(namespace);
    this.#sockets = SocketDump.open(namespace);
    this.#poller.add(kernel.fd, 0, Ready.In);
    this.#poller.add(this.#links.fd, 0, Ready.In);
    this.#readAll();
    this.#running = this.#run();
  }

  /** Ends listening. */
  async close(): Promise<void> {
    this.#stopped = true;
    this.#poller.wake();
    await this.#running;
    await this.#poller.close();
    this.#kernel.close();
    this.#links.close();
    this.#sockets.close();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#poller.wait(0);
      const now = nowMs();
      let lost = this.#links.drain(this.#manager, now) === "lost";
      for (;;) {
        const drained = this.#kernel.drain(this.#manager, now);
        if (drained === "none") break;
        if (drained === "lost") lost = true;
        this.#tell();
      }
      if (lost) this.#readAll();
      if (now >= this.#manager.pollDeadline()) this.#manager.handleDeadline(now);
      this.#tell();
      await this.#poller.park(this.#manager.pollDeadline() - nowMs());
    }
  }

  #readAll(): void {
    const now = nowMs();
    const { addresses, links } = this.#links.read();
    this.#manager.handleLinks(links, addresses, now);
    const found = this.#sockets.find();
    if (found !== null) this.#manager.handleFound(found, now);
    this.#tell();
  }

  #tell(): void {
    while (this.#manager.pollCommand() !== null); // of a manager that manages nothing: none
    for (let next = this.#manager.pollEvent(); next !== null; next = this.#manager.pollEvent()) {
      const event = accessEvent(next);
      if (event !== null) this.#show(event);
    }
  }
}
