/**
 * What the actions of `fairlead overlay` have in common: how they reach the manager, and the flags of its
 * daemons.
 *
 * @module
 */
import { UsageError } from "../../args.ts";
import { OVERLAY_SOCKET } from "../../config/overlay_manager_config.ts";
import { TEXT_SIZE_MAX } from "../../config/jsonc.ts";
import type { Override } from "../../config/load_config.ts";
import { Daemon } from "../../daemon.ts";
import { problemText } from "../../config/problem.ts";
import { connectOverlay, type OverlayApi } from "../../overlay/api_client.ts";
import type { OverlayDaemonView } from "../../overlay/overlay_view.ts";
import { readSpec } from "../../overlay/spec.ts";
import type { Alarms, Journal } from "../../status/journal.ts";
import { processStatus } from "../../status/process_stat.ts";
import { VERSION } from "../../version.ts";
import { printError } from "../../terminal.ts";

/** Spread into the flags of an action that asks the manager. */
export const OVERLAY_ACCESS = {
  socket: {
    kind: "text",
    value: "PATH",
    short: "s",
    default: OVERLAY_SOCKET,
    help: "access socket of the manager on this box",
  },
  om: {
    kind: "text",
    value: "HOST:PORT",
    help: "API of a manager elsewhere, with --certificate, --key and --ca of an operator",
  },
  certificate: { kind: "text", value: "FILE", help: "certificate to show to --om" },
  key: { kind: "text", value: "FILE", help: "its key" },
  ca: { kind: "text", value: "FILE", help: "authority that --om must be of" },
  json: { kind: "boolean", help: "print JSON" },
} as const;

/** Spread into the flags of the daemons. */
export const OVERLAY_DAEMON_FLAGS = {
  config: {
    kind: "text",
    value: "FILE",
    short: "c",
    help: "configuration, JSON with comments; flags win over it",
  },
  certificate: { kind: "text", value: "FILE", help: "certificate of this node" },
  key: { kind: "text", value: "FILE", help: "its key" },
  ca: { kind: "text", value: "FILE", help: "certificates of the authority that all nodes trust" },
  listen: { kind: "text", value: "HOST:PORT", help: "control port; 0.0.0.0:265 unless set" },
  group: {
    kind: "text",
    value: "ADDRESS:PORT",
    help: "multicast group of invitations; 239.255.2.65:265 unless set",
  },
  interface: { kind: "text", value: "ADDRESS", help: "the interface that the group is on" },
  state: { kind: "text", value: "DIR", help: "directory for what must survive a restart" },
  status: { kind: "text", value: "HOST:PORT", help: "where the status page is; none unless set" },
  check: { kind: "boolean", help: "tell what is wrong with the configuration, and end" },
  schema: { kind: "boolean", help: "print the JSON Schema of the configuration, and end" },
  "print-config": {
    kind: "boolean",
    help: "print the values that count and where each comes from, and end",
  },
  "print-unit": { kind: "boolean", help: "print a systemd unit for this configuration, and end" },
  json: { kind: "boolean", help: "log lines of JSON; --print-config as JSON" },
} as const;

/** The parsed values that say where the manager is. */
export interface AccessFlags {
  readonly socket: string;
  readonly om: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  readonly ca: string | undefined;
}

/** Connects to the manager, calls `ask`, and ends the connection. */
export async function withManager<T>(
  flags: AccessFlags,
  ask: (api: OverlayApi) => Promise<T>,
): Promise<T> {
  const { ca, certificate, key, om, socket } = flags;
  if (om === undefined) return await asked(await connectOverlay({ socket }), ask);
  if (ca === undefined || certificate === undefined || key === undefined) {
    throw new UsageError(
      "Cannot ask --om without a certificate: give --certificate, --key and --ca, as fairlead " +
        "overlay keys node NAME --role operator makes them",
    );
  }
  const api = await connectOverlay({ address: om, identity: { ca, certificate, key } });
  return await asked(api, ask);
}

async function asked<T>(api: OverlayApi, ask: (api: OverlayApi) => Promise<T>): Promise<T> {
  try {
    return await ask(api);
  } finally {
    await api.close();
  }
}

/** A specification that can be used; its mistakes are told here, and null is returned. */
export async function specText(path: string): Promise<{ text: string; name: string } | null> {
  const source = path === "-" ? "standard input" : path;
  const text = await textOf(path).catch((error: Error) => {
    printError(`Cannot read ${source}: ${error.message}`);
    return null;
  });
  if (text === null) return null;
  const read = readSpec(text, source);
  if (read.spec !== null) return { text, name: read.spec.name };
  for (const problem of read.problems) printError(problemText(problem));
  return null;
}

/** A file that may be a pipe, and no more of it than a specification can have. */
async function textOf(path: string): Promise<string> {
  using file = path === "-" ? null : await Deno.open(path);
  const from = file ?? Deno.stdin;
  const bytes = new Uint8Array(TEXT_SIZE_MAX + 1);
  let size = 0;
  while (size < bytes.length) {
    const count = await from.read(bytes.subarray(size));
    if (count === null) break;
    size += count;
  }
  if (size > TEXT_SIZE_MAX) throw new Error(`it has more than ${TEXT_SIZE_MAX} bytes`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, size));
  } catch {
    throw new Error("it must be UTF-8");
  }
}

/** An override for each flag of {@linkcode OVERLAY_DAEMON_FLAGS} that was given, and `more`. */
export function daemonOverrides(
  flags: {
    readonly certificate: string | undefined;
    readonly key: string | undefined;
    readonly ca: string | undefined;
    readonly listen: string | undefined;
    readonly group: string | undefined;
    readonly interface: string | undefined;
    readonly state: string | undefined;
    readonly status: string | undefined;
  },
  more: readonly (readonly [flag: string, path: string, value: unknown])[],
): Override[] {
  const { ca, certificate, group, key, listen, state, status } = flags;
  const values: (readonly [string, string, unknown])[] = [
    ...more,
    ["--certificate", "identity.certificate", certificate],
    ["--key", "identity.key", key],
    ["--ca", "identity.ca", ca],
    ["--listen", "listen", listen],
    ["--group", "group", group],
    ["--interface", "interface", flags.interface],
    ["--state", "state", state],
    ["--status", "status", status === undefined ? undefined : { listen: status }],
  ];
  return values.filter(([, , value]) => value !== undefined).map(([flag, path, value]) => ({
    path,
    value,
    from: `command line ${flag}`,
  }));
}

/** What a daemon of overlays is, beside its service. */
export interface OverlayDaemonOptions {
  readonly journal: Journal;
  readonly alarms: Alarms;
  readonly name: string;
  readonly status: false | { readonly listen: string };
  view(): OverlayDaemonView;
}

/** Starts what all daemons have: status page, service manager, signals. */
export async function startDaemon(options: OverlayDaemonOptions): Promise<Daemon> {
  const { alarms, journal, name, status, view } = options;
  const startedMs = Date.now();
  return await Daemon.start({
    journal,
    alarms,
    watchdog: null,
    status: status === false ? null : status.listen,
    statusOptional: false,
    routes: new Map(),
    snapshot: () => ({
      role: "overlay",
      name,
      version: VERSION,
      nowMs: Date.now(),
      startedMs,
      ready: true,
      alarms: alarms.list(),
      sessions: [],
      overlay: view(),
      events: journal.events(),
      process: processStatus(),
    }),
    reload: null,
  });
}
