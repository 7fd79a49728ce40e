/**
 * How the box knows that this program lives: the service manager is told what it does (sd_notify(3))
 * and fed with WATCHDOG=1 (sd_watchdog_enabled(3)), the hardware watchdog is fed if there is one.
 * Both are fed by timers of the main loop, so a loop that stands still starves them; and neither is
 * once the program has called itself unhealthy for three intervals in a row.
 *
 * @module
 */
import { Errno, errnoText } from "../io/errno.ts";
import { libcAvailable, libcRefusal } from "../io/libc.ts";
import { monotonicMicros, Notifier } from "../io/notify.ts";
import { Watchdog } from "../io/watchdog.ts";

/** Unhealthy for so many intervals: no more food. */
const UNHEALTHY_MAX = 3;
/** Notifications that the manager's queue had no place for; they are sent again. */
const UNSENT_MAX = 8;
const RESEND_MS = 500;
const STATUS_LENGTH_MAX = 500;

/** What a service manager gives a service in its environment. */
export interface NotifySettings {
  /** NOTIFY_SOCKET. */
  socket: string;
  /** WATCHDOG_USEC where it is meant for this process, in ms; 0: no watchdog. */
  watchdogMs: number;
}

/** What is tied together. */
export interface LifeOptions {
  /** Null when no service manager listens. */
  notify: NotifySettings | null;
  /** Path of a hardware watchdog; null when none is to be fed. */
  watchdog: string | null;
  /** Asked before every feeding, on the main loop. */
  healthy: () => boolean;
}

/**
 * NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of an environment; null without the first.
 *
 * @param pid ours: a watchdog for another process is not ours to feed
 */
export function notifySettings(
  environment: (name: string) => string | undefined,
  pid: number,
): NotifySettings | null {
  const socket = environment("NOTIFY_SOCKET") ?? "";
  if (socket === "") return null;
  const micros = environment("WATCHDOG_USEC") ?? "";
  const forPid = environment("WATCHDOG_PID") ?? "";
  const ours = forPid === "" || forPid === String(pid);
  return { socket, watchdogMs: ours && /^\d{1,15}$/.test(micros) ? Number(micros) / 1000 : 0 };
}

/** Started with the program, closed at its end. */
export class Life {
  /** What goes wrong with the two; empty when nothing does. */
  get trouble(): string {
    return [this.#notifyTrouble, this.#watchdogTrouble].filter((text) => text !== "").join("; ");
  }

  readonly #healthy: () => boolean;
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  #notifier: Notifier | null = null;
  #watchdog: Watchdog | null = null;
  #unsent: string[] = [];
  #notifyTrouble = "";
  #watchdogTrouble = "";

  /** Starts feeding; what cannot be opened is told by `trouble`, the program runs without. */
  static start(options: LifeOptions): Life {
    const life = new Life(options.healthy);
    if (options.notify !== null) life.#openNotifier(options.notify);
    if (options.watchdog !== null) life.#openWatchdog(options.watchdog);
    return life;
  }

  private constructor(healthy: () => boolean) {
    this.#healthy = healthy;
  }

  /** READY=1: started, or reloaded. */
  ready(): void {
    this.#notify("READY=1");
  }

  /** RELOADING=1: reading the configuration anew; `ready()` ends it. */
  reloading(): void {
    if (this.#notifier === null) return;
    this.#notify(`RELOADING=1\nMONOTONIC_USEC=${monotonicMicros()}`);
  }

  /** STOPPING=1: draining. Both watchdogs are still fed. */
  stopping(): void {
    this.#notify("STOPPING=1");
  }

  /** One line for `systemctl status`. */
  status(text: string): void {
    // deno-lint-ignore no-control-regex -- a line end in it would begin another assignment
    const line = text.replace(/[\x00-\x1f\x7f]+/g, " ").slice(0, STATUS_LENGTH_MAX);
    this.#notify(`STATUS=${line}`);
  }

  /**
   * Ends all of it.
   *
   * @param clean true stops the hardware watchdog; false leaves it running, so that the box is reset
   * unless the program comes back in time
   */
  close(clean: boolean): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#resend();
    this.#notifier?.close();
    this.#notifier = null;
    if (clean) this.#watchdog?.stop();
    else this.#watchdog?.abandon();
    this.#watchdog = null;
  }

  #openNotifier({ socket, watchdogMs }: NotifySettings): void {
    if (!libcAvailable()) {
      this.#notifyTrouble = `Cannot tell the service manager anything: ${libcRefusal()}`;
      return;
    }
    const opened = Notifier.open(socket);
    if (typeof opened === "number") {
      this.#notifyTrouble = opened === -Errno.Einval
        ? `Cannot use NOTIFY_SOCKET as it must be a path or @name: current value is ${socket}`
        : `Cannot open NOTIFY_SOCKET ${socket}: ${errnoText(opened)}`;
      return;
    }
    this.#notifier = opened;
    this.#timers.push(setInterval(() => this.#resend(), RESEND_MS));
    if (watchdogMs > 0) this.#feed(watchdogMs / 2, () => this.#notify("WATCHDOG=1"));
  }

  #openWatchdog(path: string): void {
    if (!libcAvailable()) {
      this.#watchdogTrouble = `Cannot feed ${path}: ${libcRefusal()}`;
      return;
    }
    const opened = Watchdog.open(path);
    if (typeof opened === "number") {
      this.#watchdogTrouble =
        `Cannot open watchdog ${path}: ${errnoText(opened)}; this user must ` +
        "be allowed to write it, and nobody else may have it (systemd has, with RuntimeWatchdogSec=)";
      return;
    }
    this.#watchdog = opened;
    const feed = (): void => {
      const result = opened.feed();
      this.#watchdogTrouble = result < 0 ? `Cannot feed ${path}: ${errnoText(result)}` : "";
    };
    feed();
    this.#feed(opened.timeoutMs / 3, feed);
  }

  /** Calls `feed` at every interval, unless unhealthy for too long. */
  #feed(intervalMs: number, feed: () => void): void {
    let unhealthy = 0;
    this.#timers.push(setInterval(() => {
      unhealthy = this.#isHealthy() ? 0 : unhealthy + 1;
      if (unhealthy < UNHEALTHY_MAX) feed();
    }, Math.max(1, Math.floor(intervalMs))));
  }

  #isHealthy(): boolean {
    try {
      return this.#healthy();
    } catch {
      return false;
    }
  }

  #notify(text: string): void {
    if (this.#notifier === null) return;
    // Of what waits, the newest of a kind counts: a hundred states are not told one by one.
    const kind = text.slice(0, text.indexOf("=") + 1);
    this.#unsent = this.#unsent.filter((other) => !other.startsWith(kind));
    if (this.#unsent.length === UNSENT_MAX) this.#unsent.shift();
    this.#unsent.push(text);
    this.#resend();
  }

  /** In order, as READY=1 after RELOADING=1 is another thing than before it. */
  #resend(): void {
    while (this.#notifier !== null && this.#unsent.length > 0) {
      const result = this.#notifier.send(this.#unsent[0]!);
      this.#notifyTrouble = result < 0
        ? `Cannot tell the service manager anything: ${errnoText(result)}`
        : "";
      if (result < 0) return;
      this.#unsent.shift();
    }
  }
}
