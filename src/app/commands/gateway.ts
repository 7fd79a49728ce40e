/**
 * `fairlead gateway`: takes messages from this box's inputs, keeps them in a spool and carries them
 * to hubs. Without hubs it has one of its own on loopback and shows what arrives there.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { addressText } from "../address_text.ts";
import { command, Exit, parseArgs, UsageError } from "../args.ts";
import { GATEWAY_SCHEMA, type GatewayConfig, loadGatewayConfig } from "../config/gateway_config.ts";
import type { StandbyConfig } from "../config/standby_config.ts";
import { loadHubConfig } from "../config/hub_config.ts";
import type { Override } from "../config/load_config.ts";
import { problemText } from "../config/problem.ts";
import { compareGatewayConfigs } from "../config/reload.ts";
import { gatewayUnit } from "../config/systemd_unit.ts";
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
import { Gateway } from "../gateway/gateway.ts";
import { GatewayPaths } from "../gateway/gateway_paths.ts";
import { GatewaySnapshots } from "../gateway/gateway_snapshot.ts";
import { PairedGateway } from "../gateway/paired_gateway.ts";
import { helpText } from "../help.ts";
import { HubService } from "../hub/hub_service.ts";
import { canDraw, LiveView } from "../live_view.ts";
import { SessionPaths } from "../paths/session_paths.ts";
import { RecentMessages } from "../recent_messages.ts";
import { onEarlyStop } from "../signals.ts";
import { statusReport } from "../status/health.ts";
import { Alarms, Journal } from "../status/journal.ts";
import type { Snapshot } from "../status/snapshot.ts";
import { printLine } from "../terminal.ts";
import { daemonRows } from "../status/daemon_view.ts";

const MIB = 1024 * 1024;
const TICK_MS = 1000;

const GATEWAY = command({
  name: "fairlead gateway",
  summary: "Carries this box's messages to hubs, and loses none",
  description:
    "Without --config: lines sent to --listen over UDP and TCP, and this box's readings. Without a hub:\n" +
    "one of its own on loopback shows what arrives, as a live view on a terminal, else one line per\n" +
    "message on standard output, TIME GATEWAY TOPIC PAYLOAD. With --state messages wait on disk and\n" +
    "survive a restart, else in memory. While there is no room, TCP waits, UDP lines are dropped and\n" +
    "counted. SIGHUP reads --config again. The first Ctrl-C drains, a second one ends at once.\n" +
    "Exit codes: 0 stopped, and nothing is lost; 1 failed, or messages in memory were not\n" +
    "acknowledged; 2 wrong flags or configuration; 130 stopped at once.",
  flags: {
    hub: {
      kind: "text",
      value: "ADDR",
      help: "v2:HOST:PORT of the hub; unless set, one of its own",
    },
    "hub-port": {
      kind: "number",
      value: "PORT",
      min: 0,
      max: 65535,
      help: "port of the embedded hub on 127.0.0.1; any free one unless set",
    },
    listen: {
      kind: "text",
      value: "HOST:PORT",
      help: "where lines are taken, UDP and TCP; 127.0.0.1:8710 without --config",
    },
    "no-listen": { kind: "boolean", help: "take no lines" },
    "no-readings": { kind: "boolean", help: "send no readings of this box" },
    queue: {
      kind: "number",
      value: "MIB",
      min: 1,
      max: 1_048_576,
      help: "most that may wait for hubs, in MiB (default 256)",
    },
    drain: {
      kind: "number",
      value: "SECONDS",
      min: 0,
      max: 3600,
      help: "how long a stop waits for what is not acknowledged (default 5)",
    },
    name: {
      kind: "text",
      value: "TYPE.ID",
      short: "n",
      help: "who we are (default client.fairlead)",
    },
    mode: { kind: "text", value: "MODE", help: "crc or secure; secure when there is a key" },
    ...DAEMON_FLAGS,
    "new-spool-id": {
      kind: "boolean",
      help: "give the spool a new id: after its state directory was copied or put back",
    },
    json: {
      kind: "boolean",
      help: "embedded hub: one JSON object per message; else one per second with all counts",
    },
  },
  examples: [
    ["fairlead gateway", "With an embedded hub; then: echo hello | nc -u -w0 127.0.0.1 8710"],
    [
      "fairlead gateway --hub v2:hub.example:3300 --keyring gw1.keyring --name client.gw1",
      "To a hub elsewhere, encrypted",
    ],
    ["fairlead gateway --config gateway.jsonc --check", "Tells every mistake in a file"],
    ["fairlead gateway --config gateway.jsonc", "As a box runs it"],
  ],
});

const KIND: DaemonKind<GatewayConfig> = {
  name: GATEWAY.name,
  schema: GATEWAY_SCHEMA,
  load: loadGatewayConfig,
  unit: gatewayUnit,
};

type Flags = ReturnType<typeof parseArgs<typeof GATEWAY.flags>>["flags"];

/** Runs the command; ends at SIGINT or SIGTERM, after draining. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(GATEWAY, words);
  if (help) {
    printLine(helpText(GATEWAY));
    return Exit.Ok;
  }
  if (flags.hub !== undefined && flags["hub-port"] !== undefined) {
    throw new UsageError(
      "Cannot use --hub-port together with --hub as there is no embedded hub then: leave one out",
    );
  }
  const overrides = overridesFrom(flags);
  const usable = await usableConfig(KIND, flags, overrides);
  return typeof usable === "number" ? usable : await runGateway(usable, flags, overrides);
}

/** Flags as values that win over the file's. */
function overridesFrom(flags: Flags): Override[] {
  const withoutFile: Override[] = flags.config !== undefined ? [] : [
    { path: "inputs.lines", value: { type: "lines" }, from: "default" },
    { path: "inputs.readings", value: { type: "readings" }, from: "default" },
  ];
  const lines = flags.listen === undefined ? undefined : { type: "lines", listen: flags.listen };
  const hubs = flags.hub === undefined ? undefined : { main: { addresses: [flags.hub] } };
  const given = overridesOf(flags, [
    ["--hub", "hubs", hubs],
    ["--listen", "inputs.lines", lines],
    ["--queue", "spool.bytesMax", flags.queue === undefined ? undefined : flags.queue * MIB],
    ["--drain", "drainSeconds", flags.drain],
  ]);
  const without: Override[] = [
    ...(flags["no-listen"] ? ["inputs.lines"] : []),
    ...(flags["no-readings"] ? ["inputs.readings"] : []),
  ].map((path) => ({ path, value: undefined, from: "command line" }));
  return [...withoutFile, ...given, ...without];
}

async function runGateway(
  usable: Usable<GatewayConfig>,
  flags: Flags,
  overrides: readonly Override[],
): Promise<number> {
  const { config } = usable;
  const drawn = canDraw() && !flags.json && flags.config === undefined;
  const journal = new Journal({ format: config.log.format });
  journal.quiet = drawn;
  const alarms = new Alarms(journal);
  let opened: GatewayPaths | null = null;
  const started = onEarlyStop(async () => await opened?.close());
  const paths = opened = await GatewayPaths.open(config.paths, journal, alarms);
  try {
    const around = { alarms, drawn, journal, paths, started };
    const { standby } = config;
    return standby === false
      ? await carry(usable, flags, overrides, around)
      : await carryPaired(usable, standby, flags, overrides, around);
  } finally {
    await paths.close();
  }
}

/** What a gateway runs with. */
interface Around {
  readonly journal: Journal;
  readonly alarms: Alarms;
  readonly paths: GatewayPaths;
  /** It has a live view on the terminal. */
  readonly drawn: boolean;
  /** To be called once signals end it in order. */
  started(): void;
}

async function carry(
  { config, origins }: Usable<GatewayConfig>,
  flags: Flags,
  overrides: readonly Override[],
  { alarms, drawn, journal, paths, started }: Around,
): Promise<number> {
  const embedded = Object.keys(config.hubs).length === 0;
  const recent = drawn && embedded ? new RecentMessages() : null;
  const hub = embedded ? await openEmbedded(config, origins, flags, recent, journal) : null;
  const hubs = hub === null ? config.hubs : { embedded: { addresses: [hub.hub.address] } };
  const auth = await configuredAuth(config, origins, "client");
  const sessionPaths = new SessionPaths();
  const gateway = await Gateway.open({
    config: { ...config, hubs },
    auth,
    journal,
    alarms,
    newSpoolId: flags["new-spool-id"],
    pathsOf: (token) => sessionPaths.of(token),
  });
  const snapshots = new GatewaySnapshots(gateway, journal, alarms);
  const snapshot = (): Snapshot => ({ ...snapshots.take(), ...paths.snapshot });
  const daemon = await Daemon.start({
    journal,
    alarms,
    watchdog: config.watchdog,
    status: config.status === false ? null : config.status.listen,
    statusOptional: flags.config === undefined && flags.status === undefined,
    routes: new Map(),
    snapshot,
    reload: flags.config === undefined
      ? null
      : () => reload(gateway, paths, flags.config!, overrides, journal),
  });
  started();
  if (!drawn) introduce(gateway, hub, daemon, journal);
  const view = drawn
    ? new LiveView(daemonRows(() => statusReport(snapshot()), daemon.statusUrl, recent))
    : null;
  view?.start();
  const tick = flags.json && !embedded
    ? setInterval(() => printLine(JSON.stringify(statusReport(snapshot()))), TICK_MS)
    : undefined;
  let left = 0;
  try {
    const failures = hub === null ? [gateway.failed] : [gateway.failed, hub.hub.failed, hub.gone];
    await Promise.race([daemon.stopped, ...failures]);
    const waiting = [...gateway.senders.values()].reduce((sum, one) => sum + one.waiting, 0);
    if (waiting > 0) {
      const open = countText(waiting, "message is", "messages are");
      journal.note(`Draining: ${open} not acknowledged yet, Ctrl-C again ends at once`);
    }
    left = await gateway.stop(daemon.stopping(gateway.config.drainSeconds));
  } catch (error) {
    view?.stop();
    await daemon.close(false);
    throw error;
  }
  clearInterval(tick);
  view?.stop();
  journal.quiet = false;
  journal.flush(true); // what was held back comes before the last words
  const kept = config.spool.place === "disk" && gateway.commits.trouble === null;
  conclude(gateway, left, kept, journal);
  await hub?.close(nowMs());
  await daemon.close(true);
  gateway.close();
  return left === 0 || kept ? Exit.Ok : Exit.Failure;
}

/** One box of a pair: the gateway runs while this is the active one. */
async function carryPaired(
  { config, origins }: Usable<GatewayConfig>,
  standby: StandbyConfig,
  flags: Flags,
  overrides: readonly Override[],
  { alarms, journal, paths, started }: Around,
): Promise<number> {
  const sessionPaths = new SessionPaths();
  const paired = await PairedGateway.open({
    config,
    auth: await configuredAuth(config, origins, "client"),
    journal,
    alarms,
    newSpoolId: flags["new-spool-id"],
    pathsOf: (token) => sessionPaths.of(token),
  }, standby);
  const daemon = await Daemon.start({
    journal,
    alarms,
    watchdog: config.watchdog,
    status: config.status === false ? null : config.status.listen,
    statusOptional: flags.config === undefined && flags.status === undefined,
    routes: new Map(),
    snapshot: () => ({ ...paired.snapshot(), ...paths.snapshot }),
    reload: flags.config === undefined
      ? null
      : () => reload(paired, paths, flags.config!, overrides, journal),
  });
  started();
  const { box, group, peer } = standby;
  journal.note(`Box ${box} of ${group}: the other one is at ${peer} (${config.auth.mode})`);
  if (daemon.statusUrl !== null) journal.note(`Status: ${daemon.statusUrl}`);
  try {
    await Promise.race([daemon.stopped, paired.failed]);
  } catch (error) {
    await daemon.close(false);
    throw error;
  }
  const left = await paired.close(daemon.stopping(paired.config.drainSeconds));
  const count = countText(left, "message waits", "messages wait");
  journal.note(left === 0 ? "Stopped" : `Stopped: ${count} in the spool for the next start`);
  await daemon.close(true);
  return Exit.Ok;
}

/** The embedded hub. */
async function openEmbedded(
  config: GatewayConfig,
  origins: ReadonlyMap<string, string>,
  flags: Flags,
  recent: RecentMessages | null,
  journal: Journal,
): Promise<HubService> {
  const format = flags.json ? "json" : "text";
  const from = "the gateway";
  const loaded = await loadHubConfig(null, [
    { path: "listen", value: `v2:127.0.0.1:${flags["hub-port"] ?? 0}`, from: "--hub-port" },
    { path: "auth", value: config.auth, from },
    { path: "io", value: config.io, from },
    { path: "transport", value: config.transport, from },
    { path: "status", value: false, from },
    { path: "outputs", value: recent === null ? { stdout: { type: "stdout", format } } : {}, from },
  ]);
  if (loaded.config === null) throw new Error(loaded.problems.map(problemText).join("\n"));
  const silent = new Journal({ print: () => {} }); // the gateway's side tells the same
  try {
    return await HubService.open({
      config: loaded.config,
      auth: await configuredAuth(loaded.config, origins, "server"),
      journal: silent,
      alarms: new Alarms(journal),
      view: recent,
    });
  } catch (error) {
    const { message } = error as Error;
    throw new Error(message.replace(/: give another one$/, ": give another one with --hub-port"));
  }
}

/** SIGHUP: takes over what can change, and says what cannot. */
async function reload(
  gateway: Pick<Gateway, "config" | "reload">,
  paths: GatewayPaths,
  path: string,
  overrides: readonly Override[],
  journal: Journal,
): Promise<void> {
  const differences = await readAgain(
    journal,
    () => loadGatewayConfig(path, overrides),
    (next) => compareGatewayConfigs(gateway.config, next),
  );
  if (differences === null) return;
  await paths.reload(differences.config.paths);
  await gateway.reload(differences.config, differences.changes);
}

/** Says what goes where, how to send a line, where the status page is, and how to stop. */
function introduce(
  gateway: Gateway,
  hub: HubService | null,
  daemon: Daemon,
  journal: Journal,
): void {
  const { config, inputs, spool } = gateway;
  const from = [...inputs.values()].map(({ input }) => `${input.name} (${input.where})`).join(", ");
  const to = hub !== null
    ? `the embedded hub at ${hub.hub.address}`
    : Object.entries(config.hubs).map(([name, { addresses }]) =>
      `hub ${name} at ${addresses.map(addressText).join(" or ")}`
    ).join(" and ");
  journal.note(`Gateway ${config.name}: ${from || "no input"} -> ${to} (${config.auth.mode})`);
  const { messages } = spool;
  const kept = messages === 0 ? "" : `, ${countText(messages, "message")} of the last run in it`;
  journal.note(
    config.spool.place === "disk"
      ? `Spool: ${config.state}/spool.db${kept}`
      : "Spool: in memory; --state DIR keeps it on disk",
  );
  for (const { input, type } of inputs.values()) {
    if (type !== "lines") continue;
    const [host, port] = input.where.split(/:(?=\d+$)/);
    const { protocols } = config.inputs[input.name] as { protocols: readonly string[] };
    if (protocols.includes("udp")) {
      journal.note(`Try UDP: echo hello | nc -u -w0 ${host} ${port}`);
    }
    if (protocols.includes("tcp")) journal.note(`Try TCP: echo hello | nc -w1 ${host} ${port}`);
  }
  if (daemon.statusUrl !== null) journal.note(`Status: ${daemon.statusUrl}`);
  journal.note("Stop: Ctrl-C");
}

/** The last words. */
function conclude(
  { commits, config, inputs, senders, spool }: Gateway,
  left: number,
  kept: boolean,
  journal: Journal,
): void {
  const one = senders.size === 1;
  const acknowledged = [...senders.values()].reduce((sum, sender) => sum + sender.acknowledged, 0);
  const by = one ? "the hub" : "the hubs";
  if (left === 0) {
    const count = countText(acknowledged, "message was", "messages were");
    journal.note(`Stopped: all ${count} acknowledged by ${by}`);
  } else if (kept) {
    const count = countText(left, "message waits", "messages wait");
    journal.note(`Stopped: ${count} in the spool for the next start`);
  } else {
    const count = countText(left, "message was", "messages were");
    journal.note(`Stopped: ${count} not acknowledged by ${by} within ${config.drainSeconds} s`);
  }
  if (commits.trouble !== null) {
    const { message } = commits.trouble;
    journal.event("error", "spool_fails", `What came last is not in the spool: ${message}`);
  }
  const lost = [
    ...[...inputs.values()].map(({ input: { counts, name } }) =>
      counts.dropped + counts.refused === 0
        ? ""
        : `${name} ${counts.dropped} dropped and ${counts.refused} refused`
    ),
    spool.dropped === 0 ? "" : `spool ${spool.dropped} dropped`,
    spool.lost === 0 ? "" : `spool ${spool.lost} lost to damage`,
  ].filter((text) => text !== "");
  if (lost.length > 0) journal.note(`Not carried: ${lost.join(", ")}`);
}
