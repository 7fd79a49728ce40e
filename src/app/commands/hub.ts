/**
 * `fairlead hub`: accepts gateways and hands what they bring to outputs. Without outputs: on a
 * terminal a live view, else one line per message on standard output.
 *
 * @module
 */
import { libcAvailable } from "../../io/libc.ts";
import { command, Exit, parseArgs } from "../args.ts";
import { isLoopbackAddress } from "../config/common_config.ts";
import { HUB_SCHEMA, type HubConfig, loadHubConfig } from "../config/hub_config.ts";
import type { Override } from "../config/load_config.ts";
import { compareHubConfigs } from "../config/reload.ts";
import { hubUnit } from "../config/systemd_unit.ts";
import { countText } from "../count_text.ts";
import {
  configuredAuth,
  Daemon,
  DAEMON_FLAGS,
  type DaemonKind,
  overridesOf,
  readAgain,
  type Usable,
  usableConfig,
} from "../daemon.ts";
import { helpText } from "../help.ts";
import { HubService } from "../hub/hub_service.ts";
import { HubSnapshots } from "../hub/hub_snapshot.ts";
import { canDraw, LiveView } from "../live_view.ts";
import { KernelEndpoints } from "../paths/kernel_endpoints.ts";
import { PmType, readPmType } from "../paths/pm_type.ts";
import { SessionPaths } from "../paths/session_paths.ts";
import { RecentMessages } from "../recent_messages.ts";
import { daemonRows } from "../status/daemon_view.ts";
import { statusReport } from "../status/health.ts";
import { Alarms, Journal } from "../status/journal.ts";
import { printLine } from "../terminal.ts";

/** The kernel's own limit. */
const SUBFLOWS_WANTED = 8;

const HUB = command({
  name: "fairlead hub",
  summary: "Accepts gateways and hands what they bring to outputs",
  description:
    "Without outputs: on a terminal a live view, else one line per message on standard output,\n" +
    "TIME GATEWAY TOPIC PAYLOAD, control characters escaped as \\x1b; with --json one object per\n" +
    "message. A message is acknowledged when every output that is required has it. With --state the\n" +
    "hub remembers what it has: nothing comes twice, whoever is killed. Exit codes: 0 stopped; 1\n" +
    "failed; 2 wrong flags or configuration; 130 stopped at once.",
  positionals: [{
    name: "ADDRESS",
    help: "where to listen, v2:HOST:PORT (default v2:127.0.0.1:3300)",
    optional: true,
  }],
  flags: {
    name: { kind: "text", value: "TYPE.ID", short: "n", help: "who we are (default mon.)" },
    mode: {
      kind: "text",
      value: "MODE",
      help: "allow only this mode, crc or secure; unless set, what the gateway asks for",
    },
    output: {
      kind: "text",
      value: "FILE",
      short: "o",
      help: "write messages to this file, rotated at 100 MiB",
    },
    ...DAEMON_FLAGS,
    json: { kind: "boolean", help: "one JSON object per message" },
  },
  examples: [
    ["fairlead hub v2:127.0.0.1:3300", "For gateways of this box"],
    ["fairlead hub v2:0.0.0.0:3300 --keyring hub.keyring", "For those who have a key"],
    [
      "fairlead hub v2:0.0.0.0:3300 -k hub.keyring --state /var/lib/fairlead-hub -o messages.log",
      "Into a file, each message exactly once",
    ],
    ["fairlead hub --config hub.jsonc", "Settings from a file"],
  ],
});

const KIND: DaemonKind<HubConfig> = {
  name: HUB.name,
  schema: HUB_SCHEMA,
  load: loadHubConfig,
  unit: hubUnit,
};

type Flags = ReturnType<typeof parseArgs<typeof HUB.flags>>["flags"];

/** Runs the command; ends at SIGINT or SIGTERM. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(HUB, words);
  if (help) {
    printLine(helpText(HUB));
    return Exit.Ok;
  }
  const overrides = overridesFrom(flags, positionals[0]);
  const usable = await usableConfig(KIND, flags, overrides);
  return typeof usable === "number" ? usable : await runHub(usable, flags, overrides);
}

/** Flags as values that win over the file's. */
function overridesFrom(flags: Flags, address: string | undefined): Override[] {
  const format = flags.json ? "json" : "text";
  const file = flags.output === undefined
    ? undefined
    : { type: "file", path: flags.output, format };
  return overridesOf(flags, [
    ["ADDRESS", "listen", address],
    ["--output", "outputs.file", file],
  ]);
}

async function runHub(
  { config, origins }: Usable<HubConfig>,
  flags: Flags,
  overrides: readonly Override[],
): Promise<number> {
  const shown = Object.keys(config.outputs).length === 0;
  const drawn = shown && canDraw() && !flags.json;
  const journal = new Journal({ format: config.log.format });
  journal.quiet = drawn;
  const alarms = new Alarms(journal);
  const recent = drawn ? new RecentMessages() : null;
  const format = flags.json ? "json" : "text";
  const stdout = { type: "stdout", format, topic: "#", required: true } as const;
  const outputs = shown && !drawn ? { stdout } : config.outputs;
  const auth = await configuredAuth(config, origins, "server");
  const sessionPaths = new SessionPaths();
  const service = await HubService.open({
    config: { ...config, outputs },
    auth,
    journal,
    alarms,
    view: recent,
    pathsOf: (token) => sessionPaths.of(token),
  });
  const snapshots = new HubSnapshots(service, journal, alarms);
  const daemon = await Daemon.start({
    journal,
    alarms,
    watchdog: config.watchdog,
    status: config.status === false ? null : config.status.listen,
    statusOptional: flags.config === undefined && flags.status === undefined,
    routes: service.routes,
    snapshot: () => snapshots.take(),
    reload: flags.config === undefined
      ? null
      : () => reload(service, flags.config!, overrides, journal),
  });
  const { hub } = service;
  if (!drawn) {
    const { method, mode } = config.auth;
    const named = !(origins.get("auth.mode") ?? "").startsWith("default");
    const modes = method === "none" ? "crc" : named ? mode : "secure or crc";
    const who = method === "none" ? "no authentication" : "cephx";
    journal.note(`Listening on ${hub.address} (${who}, ${modes})`);
    noteSubflowLimit(config, journal);
    if (daemon.statusUrl !== null) journal.note(`Status: ${daemon.statusUrl}`);
    journal.note("Stop: Ctrl-C");
  }
  const view = drawn
    ? new LiveView(daemonRows(() => statusReport(snapshots.take()), daemon.statusUrl, recent))
    : null;
  view?.start();
  try {
    await Promise.race([daemon.stopped, hub.failed, service.gone]);
  } catch (error) {
    view?.stop();
    await daemon.close(false);
    throw error;
  }
  view?.stop();
  const left = await service.close(daemon.stopping(config.drainSeconds));
  journal.quiet = false;
  journal.flush(true); // what was held back comes before the last words
  journal.note(`Stopped: ${countText(hub.received, "message was", "messages were")} received`);
  if (hub.refused > 0) {
    const count = countText(hub.refused, "message was", "messages were");
    journal.note(`Not handed on: ${count} refused`);
  }
  if (left > 0) {
    journal.note(`${countText(left, "message waits", "messages wait")} to be forwarded`);
  }
  await daemon.close(true);
  return Exit.Ok;
}

/** SIGHUP: takes over what can change, and says what cannot. */
async function reload(
  service: HubService,
  path: string,
  overrides: readonly Override[],
  journal: Journal,
): Promise<void> {
  const differences = await readAgain(
    journal,
    () => loadHubConfig(path, overrides),
    (next) => compareHubConfigs(service.config, next),
  );
  if (differences !== null) await service.reload(differences.config, differences.changes);
}

/** Gateways with several uplinks may want more subflows than the kernel's own manager takes. */
function noteSubflowLimit({ listen, transport }: HubConfig, journal: Journal): void {
  if (transport === "tcp" || isLoopbackAddress(listen) || !libcAvailable()) return;
  if (readPmType("") !== PmType.Kernel) return;
  try {
    const endpoints = KernelEndpoints.open("");
    const { subflows } = endpoints.limits();
    endpoints.close();
    if (subflows >= SUBFLOWS_WANTED) return;
    journal.note(
      `Gateways may use ${subflows} subflows beside the first of a session: for more, ` +
        `fairlead paths limits --subflows ${SUBFLOWS_WANTED}`,
    );
  } catch {
    // A kernel without the family: sessions have one path.
  }
}
