/**
 * What gateway and hub have in common as programs that run for years: the flags that tell about a
 * configuration instead of running it, the status listener, the service manager, the watchdogs, the
 * clock, SIGHUP and the end.
 *
 * @module
 */
import process from "node:process";
import { nowMs } from "../io/clock.ts";
import type { AuthOptions } from "../proto/msgr2/messenger.ts";
import { parseKeyring } from "../wire/cephx/keyring.ts";
import { Exit, UsageError } from "./args.ts";
import { authCephx, authNone, conModes, type ModeName } from "./auth.ts";
import { ClockWatch } from "./clock_watch.ts";
import type { AuthConfig } from "./config/common_config.ts";
import { jsonSchema } from "./config/json_schema.ts";
import type { Loaded, Override } from "./config/load_config.ts";
import { printConfig, printConfigJson } from "./config/print_config.ts";
import { problemText } from "./config/problem.ts";
import type { Reload } from "./config/reload.ts";
import type { ObjectSchema } from "./config/schema.ts";
import type { UnitOptions } from "./config/systemd_unit.ts";
import { countText } from "./count_text.ts";
import { Life, notifySettings } from "./life.ts";
import { onStop } from "./signals.ts";
import { openStatus, type Routes, type StatusServer } from "./status/server.ts";
import type { Alarms, Journal } from "./status/journal.ts";
import type { Snapshot } from "./status/snapshot.ts";
import { printError, printLine } from "./terminal.ts";

/** Spread into the flags of a daemon. */
export const DAEMON_FLAGS = {
  config: {
    kind: "text",
    value: "FILE",
    short: "c",
    help: "configuration, JSON with comments; flags win over it",
  },
  auth: {
    kind: "text",
    value: "METHOD",
    help: "authentication, none or cephx; cephx when a keyring is given",
  },
  keyring: { kind: "text", value: "FILE", short: "k", help: "keyring in ceph-authtool's format" },
  io: { kind: "text", value: "ROAD", help: "sockets: auto, libc or deno" },
  state: { kind: "text", value: "DIR", help: "directory for what must survive a restart" },
  status: {
    kind: "text",
    value: "HOST:PORT",
    help: "where the status page, /metrics, /healthz and /readyz are",
  },
  "no-status": { kind: "boolean", help: "no status listener" },
  check: { kind: "boolean", help: "tell what is wrong with the configuration, and end" },
  schema: { kind: "boolean", help: "print the JSON Schema of the configuration, and end" },
  "print-config": {
    kind: "boolean",
    help: "print the values that count and where each comes from, and end",
  },
  "print-unit": { kind: "boolean", help: "print a systemd unit for this configuration, and end" },
} as const;

/** What {@linkcode usableConfig} looks at. */
export interface ConfigFlags {
  readonly config: string | undefined;
  readonly check: boolean;
  readonly schema: boolean;
  readonly "print-config": boolean;
  readonly "print-unit": boolean;
  readonly json: boolean;
}

/** The parsed values of {@linkcode DAEMON_FLAGS}. */
export interface DaemonFlags extends ConfigFlags {
  readonly auth: string | undefined;
  readonly keyring: string | undefined;
  readonly name: string | undefined;
  readonly mode: string | undefined;
  readonly io: string | undefined;
  readonly state: string | undefined;
  readonly status: string | undefined;
  readonly "no-status": boolean;
}

/** A configuration that runs. */
export interface Usable<T> {
  readonly config: T;
  readonly origins: ReadonlyMap<string, string>;
}

/** What belongs to one kind of daemon. */
export interface DaemonKind<T> {
  /** `fairlead gateway` */
  readonly name: string;
  readonly schema: ObjectSchema;
  load(path: string | null, overrides: readonly Override[]): Promise<Loaded<T>>;
  unit(config: T, options: UnitOptions): string;
}

/** An override for each flag that was given: those of all daemons, and `more`. */
export function overridesOf(
  flags: DaemonFlags,
  more: readonly (readonly [flag: string, path: string, value: unknown])[],
): Override[] {
  const { status } = flags;
  const values: (readonly [string, string, unknown])[] = [
    ...more,
    ["--auth", "auth.method", flags.auth],
    ["--keyring", "auth.keyring", flags.keyring],
    ["--name", "name", flags.name],
    ["--mode", "auth.mode", flags.mode],
    ["--io", "io", flags.io],
    ["--state", "state", flags.state],
    ["--status", "status", status === undefined ? undefined : { listen: status }],
    ["--no-status", "status", flags["no-status"] ? false : undefined],
  ];
  return values.filter(([, , value]) => value !== undefined).map(([flag, path, value]) => ({
    path,
    value,
    from: `command line ${flag}`,
  }));
}

/**
 * Loads the configuration, or does what a flag asks for instead of running it.
 *
 * @returns the configuration, or the exit code
 */
export async function usableConfig<T extends object>(
  kind: DaemonKind<T>,
  flags: ConfigFlags,
  overrides: readonly Override[],
): Promise<Usable<T> | number> {
  if (flags.schema) {
    printLine(JSON.stringify(jsonSchema(kind.schema, kind.name), null, 2));
    return Exit.Ok;
  }
  const configFile = flags.config ?? null;
  const loaded = await kind.load(configFile, overrides);
  const problems = "problems" in loaded ? loaded.problems : loaded.warnings;
  for (const problem of problems) printError(problemText(problem));
  if ("problems" in loaded) {
    if (flags.check || flags["print-config"]) return Exit.Usage;
    throw new UsageError(
      `Cannot run ${kind.name} as its configuration has ${
        countText(problems.filter(({ level }) => level === "error").length, "mistake")
      }: see above`,
    );
  }
  const { config, origins } = loaded;
  const words = overrides.filter(({ from }) => from.startsWith("command line"));
  if (flags["print-unit"] && words.length > 0) {
    const what = words.map(({ from }) => from.replace(/^command line ?/, "") || "flags").join(", ");
    throw new UsageError(
      `Cannot print a unit with ${what} as it would run without: write what --print-config ` +
        "prints into a file, and give that with --config",
    );
  }
  if (flags["print-config"]) {
    printLine(flags.json ? printConfigJson(config, origins) : printConfig(config, origins));
  } else if (flags["print-unit"]) printLine(kind.unit(config, { configFile }));
  else if (flags.check) printLine(`${configFile ?? "The configuration"} can be used`);
  else return { config, origins };
  return Exit.Ok;
}

/** Authentication as configured. As a server the other end chooses the mode unless one was named. */
export async function configuredAuth(
  { name, auth }: { readonly name: string; readonly auth: AuthConfig },
  origins: ReadonlyMap<string, string>,
  side: "client" | "server",
): Promise<AuthOptions> {
  if (auth.method === "none" || auth.keyring === null) return authNone(name);
  const keyring = parseKeyring(await Deno.readTextFile(auth.keyring));
  const made = authCephx(name, keyring, [auth.mode as ModeName]);
  const named = !(origins.get("auth.mode") ?? "").startsWith("default");
  if (side === "client" || named) return made;
  const modes = conModes(["secure", "crc"]);
  return { ...made, serverModes: (): readonly number[] => modes };
}

/**
 * Reads a configuration again, and says what is taken over and what cannot be.
 *
 * @returns the differences; null when the file is wrong and everything stays as it is
 */
export async function readAgain<T>(
  journal: Journal,
  load: () => Promise<Loaded<T>>,
  compare: (next: T) => Reload<T>,
): Promise<Reload<T> | null> {
  const loaded = await load();
  if ("problems" in loaded) {
    for (const problem of loaded.problems) {
      journal.renew("bad_config", problem.path); // who asks again is answered again
      journal.event("error", "bad_config", problemText(problem), { name: problem.path });
    }
    const text = "Configuration not reloaded: what runs goes on as it is";
    journal.renew("note", text);
    journal.note(text);
    return null;
  }
  const differences = compare(loaded.config);
  const { changes, refused } = differences;
  for (const { path, text } of refused) {
    journal.event("warning", "not_reloaded", text, { name: path });
  }
  for (const { path, text } of changes) journal.event("info", "reloaded", text, { name: path });
  const count = countText(changes.length, "change", "changes");
  journal.note(`Configuration reloaded: ${count}, ${refused.length} not possible while running`);
  return differences;
}

/** How a {@linkcode Daemon} is made. */
export interface DaemonOptions {
  readonly journal: Journal;
  readonly alarms: Alarms;
  readonly watchdog: string | null;
  /** `HOST:PORT`; null for no status listener. */
  readonly status: string | null;
  /** A status listener that cannot be opened is told and left out. */
  readonly statusOptional: boolean;
  readonly routes: Routes;
  snapshot(): Snapshot;
  /** SIGHUP; null when nothing can be reloaded. */
  readonly reload: (() => Promise<void>) | null;
}

/** A program that runs until it is told to stop. */
export class Daemon {
  /** Resolves at the first SIGINT or SIGTERM. */
  readonly stopped: Promise<void>;
  readonly #options: DaemonOptions;
  readonly #life: Life;
  readonly #clock: ClockWatch;
  readonly #status: StatusServer | null;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #hangup = (): void => void this.#reload();
  #reloading = false;
  /** SIGHUP came since the last reload began. */
  #asked = false;

  /** Opens the status listener and tells the service manager. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    return new Daemon(options, await openStatusOf(options));
  }

  private constructor(options: DaemonOptions, status: StatusServer | null) {
    this.#options = options;
    this.#status = status;
    const { alarms, journal, watchdog } = options;
    this.stopped = new Promise((stop) => onStop(stop));
    this.#life = Life.start({
      notify: notifySettings((name) => Deno.env.get(name), process.pid),
      watchdog,
      healthy: () => true, // the timer that asks runs on the loop that does the work
    });
    this.#clock = new ClockWatch((ms) => {
      const way = ms > 0 ? "forward" : "back";
      const text = `The clock jumped ${way} by ${Math.abs(ms / 1000).toFixed(0)} s: times of ` +
        "messages follow it, ages and deadlines do not";
      journal.event("warning", "clock_jump", text, { ms: Math.round(ms) });
    });
    this.#timer = setInterval(() => {
      const { trouble } = this.#life;
      if (trouble === "") alarms.clear("service_manager");
      else alarms.raise("service_manager", "warning", trouble);
    }, 1000);
    if (Deno.build.os !== "windows") Deno.addSignalListener("SIGHUP", this.#hangup);
    this.#life.ready();
  }

  /** Where the status page is, as a URL; null when there is none. */
  get statusUrl(): string | null {
    return this.#status === null ? null : `http://${this.#status.where}/`;
  }

  /** Draining begins: `deadlineMs` is when it ends. */
  stopping(seconds: number): number {
    this.#life.stopping();
    return nowMs() + seconds * 1000;
  }

  /** Ends all of it; `clean` when the program ends as it was asked to. */
  async close(clean: boolean): Promise<void> {
    clearInterval(this.#timer);
    this.#clock.stop();
    if (Deno.build.os !== "windows") Deno.removeSignalListener("SIGHUP", this.#hangup);
    this.#life.close(clean);
    await this.#status?.close();
    this.#options.journal.flush(true);
  }

  async #reload(): Promise<void> {
    const { journal, reload } = this.#options;
    if (reload === null) {
      journal.note("SIGHUP: there is no configuration file to read again");
      return;
    }
    this.#asked = true;
    if (this.#reloading) return; // and it is done once more
    this.#reloading = true;
    this.#life.reloading();
    while (this.#asked) {
      this.#asked = false;
      try {
        await reload();
      } catch (error) {
        journal.event("error", "reload_failed", `Reload failed: ${(error as Error).message}`);
      }
    }
    this.#life.ready();
    this.#reloading = false;
  }
}

async function openStatusOf(
  { journal, routes, snapshot, status, statusOptional }: DaemonOptions,
): Promise<StatusServer | null> {
  if (status === null) return null;
  try {
    return await openStatus(status, snapshot, routes);
  } catch (error) {
    if (!statusOptional) throw error;
    journal.note(`No status page: ${(error as Error).message}`);
    return null;
  }
}
