/**
 * The path manager as a part of a program: every namespace that the configuration names, their turns, and
 * the access socket. It waits on a thread of its own, so that nothing of it costs while nothing
 * happens.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { Poller, Ready } from "../../io/epoll.ts";
import { namespaceOfProcess } from "../../io/namespace.ts";
import type { PathEvent } from "../../proto/mptcp/path_events.ts";
import { delay } from "../delay.ts";
import type { PathsConfig } from "../config/paths_config.ts";
import { AccessServer, type AccessService } from "../access_server.ts";
import { type AccessCommand, type AccessGroup, parseRequest } from "./access_message.ts";
import { NamespacePaths } from "./namespace_paths.ts";
import { PathsAccess } from "./paths_access.ts";
import type { PathsView } from "./paths_view.ts";

/** How a {@linkcode PathsService} is made. */
export interface PathsServiceOptions {
  readonly config: PathsConfig;
  /** Without an access socket it runs all the same, and says so. */
  readonly socketOptional: boolean;
  /** The program does nothing else: while there is much to do, its own thread waits. */
  readonly dedicated: boolean;
  /** Called with each event and the namespace's name, empty for our own. */
  tell(event: PathEvent, namespace: string): void;
}

interface Space {
  readonly paths: NamespacePaths;
  readonly access: PathsAccess;
  /** Left alone until then: the last turn failed. */
  restUntilMs: number;
}

/** So long after an event the next one is waited for on this thread, which takes 40 us less. */
const ALERT_MS = 1000;
/** Then the rest of the program gets its chance. */
const BLOCK_MS = 10;
/** After a turn that failed. */
const REST_MS = 1000;

/** All namespaces. */
export class PathsService {
  readonly #options: PathsServiceOptions;
  readonly #poller = new Poller();
  readonly #spaces: Space[] = [];
  #server: AccessServer<AccessCommand, AccessGroup> | null = null;
  #running: Promise<void> | null = null;
  #stopped = false;
  /** Deno.exit(), such as after a second Ctrl-C: what was set is put back all the same. */
  readonly #unload = (): void => {
    for (const { paths } of this.#spaces) paths.release();
  };

  /**
   * Opens all, takes over the connections that are there, and begins to manage.
   *
   * @throws with the remedy when a namespace, a privilege or MPTCP itself is missing
   */
  static async open(options: PathsServiceOptions): Promise<PathsService> {
    const service = new PathsService(options);
    try {
      const { namespaces, socket } = options.config;
      // The socket first: where another daemon has it, nothing is touched.
      if (socket !== false) {
        const serviceOf = (
          { pid }: { pid: number },
        ): AccessService<AccessCommand, AccessGroup> | string => service.#serviceOf(pid);
        try {
          service.#server = await AccessServer.open<AccessCommand, AccessGroup>({
            path: socket,
            parse: parseRequest,
            serviceOf,
          });
        } catch (error) {
          if (!options.socketOptional) throw error;
          const text = (error as Error).message;
          options.tell({ name: "note", level: "warning", text }, "");
        }
      }
      for (const namespace of namespaces.length === 0 ? [""] : namespaces) {
        service.#openSpace(namespace);
      }
    } catch (error) {
      await service.close();
      throw error;
    }
    service.#running = service.#run();
    return service;
  }

  private constructor(options: PathsServiceOptions) {
    this.#options = options;
    globalThis.addEventListener("unload", this.#unload);
  }

  /** The managed namespaces. */
  get namespaces(): readonly NamespacePaths[] {
    return this.#spaces.map(({ paths }) => paths);
  }

  /** What is known of all of them. */
  views(): PathsView[] {
    return this.#spaces.map(({ paths }) => paths.view());
  }

  /** Takes over a changed configuration. */
  reload(config: PathsConfig): void {
    for (const { paths } of this.#spaces) {
      try {
        paths.reload(config, nowMs());
      } catch (error) {
        this.#warn(`Not all of "paths" is taken over: ${(error as Error).message}`, paths);
      }
    }
    this.#poller.wake();
  }

  /** Takes back what was announced and set, and ends; connections go on. */
  async close(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    await this.#server?.close();
    this.#poller.wake();
    await this.#running;
    for (const { paths } of this.#spaces) {
      for (const fd of paths.descriptors) this.#poller.remove(fd);
    }
    await Promise.all(this.#spaces.map(async ({ paths }) => {
      try {
        await paths.close();
      } catch (error) {
        this.#warn(`Not all is put back: ${(error as Error).message}`, paths);
      }
    }));
    globalThis.removeEventListener("unload", this.#unload);
    await this.#poller.close();
  }

  #openSpace(namespace: string): void {
    let access: PathsAccess | null = null;
    const paths = NamespacePaths.open({
      namespace,
      config: this.#options.config,
      decides: () => access?.decides ?? false,
      tell: (event) => {
        access?.tell(event);
        this.#options.tell(event, namespace);
      },
    }, nowMs());
    const wake = (): void => this.#poller.wake();
    access = new PathsAccess(paths, wake, () => this.#server?.counts ?? null);
    for (const fd of paths.descriptors) this.#poller.add(fd, 0, Ready.In);
    this.#spaces.push({ paths, access, restUntilMs: 0 });
  }

  /** A process may only meet connections of the network namespace that it is in. */
  #serviceOf(pid: number): AccessService<AccessCommand, AccessGroup> | string {
    const inode = namespaceOfProcess(pid);
    if (inode === null) return `the network namespace of process ${pid} cannot be seen`;
    for (const { access, paths } of this.#spaces) if (paths.inode === inode) return access;
    return "it serves processes of the network namespaces that it manages: run it in one of them " +
      "(ip netns exec NAME)";
  }

  async #run(): Promise<void> {
    let events = 0;
    let alertUntilMs = 0;
    while (!this.#stopped) {
      const now = nowMs();
      let more = false;
      for (const space of this.#spaces) if (this.#turn(space, now)) more = true;
      const seen = this.#spaces.reduce((sum, { paths }) => sum + paths.counters.events, 0);
      if (seen !== events) alertUntilMs = now + ALERT_MS;
      events = seen;
      // Clients are served by the rest of the program, which waits while this thread does.
      const alone = this.#options.dedicated && (this.#server?.clients ?? 0) === 0;
      const alert = alone && now < alertUntilMs;
      if (more || alert) await new Promise<void>((resolve) => setImmediate(resolve));
      if (!more) await this.#wait(now, alert);
    }
  }

  /** What is readable is found by the turn: this only waits, and takes the wake-ups. */
  async #wait(now: number, alert: boolean): Promise<void> {
    const deadlines = this.#spaces.map(({ paths, restUntilMs }) =>
      Math.max(paths.deadlineMs, restUntilMs)
    );
    const waitMs = Math.max(0, Math.min(...deadlines) - nowMs());
    // What rests stays readable.
    if (this.#spaces.some(({ restUntilMs }) => restUntilMs > now)) await delay(waitMs);
    else if (alert) {
      this.#poller.wait(Math.min(BLOCK_MS, waitMs));
      return;
    } else await this.#poller.park(waitMs);
    if (!this.#stopped) this.#poller.wait(0);
  }

  /** What the kernel refuses to tell now it may tell later: the program goes on. */
  #turn(space: Space, now: number): boolean {
    if (space.restUntilMs > now) return false;
    try {
      return space.paths.turn(now);
    } catch (error) {
      space.restUntilMs = now + REST_MS;
      this.#warn(`Paths are looked at again in 1 s: ${(error as Error).message}`, space.paths);
      return false;
    }
  }

  #warn(text: string, { namespace }: NamespacePaths): void {
    this.#options.tell({ name: "note", level: "warning", text }, namespace);
  }
}
