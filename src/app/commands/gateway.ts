/**
 * `fairlead gateway`: carries this box's readings, and lines that other programs send it, through
 * one lossless session to a hub. Without --hub it has one of its own on loopback and shows what
 * arrives there, as `fairlead hub` does.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { resolveAll } from "../address.ts";
import { addressText, hostPort } from "../address_text.ts";
import { command, Exit, parseArgs, UsageError } from "../args.ts";
import { CONFIG_FLAG, withConfig } from "../config_file.ts";
import {
  clientPolicy,
  CONNECTION_FLAGS,
  type ConnectionSettings,
  connectionSettings,
} from "../connection_flags.ts";
import { countText } from "../count_text.ts";
import { Endpoint } from "../endpoint.ts";
import { EventLog } from "../event_log.ts";
import { GatewayStatus } from "../gateway_status.ts";
import { helpText } from "../help.ts";
import { Hub, type HubOutput } from "../hub.ts";
import { inputHints, Inputs } from "../inputs.ts";
import { canDraw, LiveView } from "../live_view.ts";
import { FairleadType } from "../message_types.ts";
import { MessagePrinter } from "../message_printer.ts";
import { checkAddress, hostPortArgument } from "../name_argument.ts";
import { Readings } from "../readings.ts";
import { RecentMessages } from "../recent_messages.ts";
import { dialNext } from "../session_text.ts";
import { onStop } from "../signals.ts";
import { printLine } from "../terminal.ts";
import { delay, Uplink } from "../uplink.ts";

const MIB = 1024 * 1024;
const TICK_MS = 1000;
/** Wait before the hub's name is looked up again. */
const RESOLVE_MS = 5000;

const GATEWAY = command({
  name: "fairlead gateway",
  summary: "Carries this box's readings and lines to a hub, and loses none",
  description:
    "Without --hub: an embedded hub on loopback shows what arrives, as a live view on a terminal,\n" +
    "else one line per message on standard output: NAME TYPE PAYLOAD (see fairlead hub --help).\n" +
    "Each line sent to --listen over UDP or TCP becomes one message; a line has 64 KiB at most. While\n" +
    "the queue is full, TCP waits, UDP lines are dropped and counted. While the hub is away everything\n" +
    "waits in the queue. The first Ctrl-C drains, a second one ends at once.",
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
      default: "127.0.0.1:8710",
      help: "where lines are taken, UDP and TCP",
    },
    "no-listen": { kind: "boolean", help: "take no lines" },
    "no-readings": { kind: "boolean", help: "send no readings of this box" },
    queue: {
      kind: "number",
      value: "MIB",
      min: 1,
      max: 256,
      default: 16,
      help: "most that may wait for the hub, in MiB",
    },
    drain: {
      kind: "number",
      value: "SECONDS",
      min: 0,
      max: 3600,
      default: 5,
      help: "how long a stop waits for what is not acknowledged",
    },
    ...CONNECTION_FLAGS,
    json: {
      kind: "boolean",
      help: "embedded hub: one JSON object per message; with --hub: one per second with all counts",
    },
    ...CONFIG_FLAG,
  },
  examples: [
    ["fairlead gateway", "With an embedded hub; then: echo hello | nc -u -w0 127.0.0.1 8710"],
    [
      "fairlead gateway --hub v2:hub.example:3300 --keyring gw1.keyring --name client.gw1",
      "To a hub elsewhere, encrypted",
    ],
    ["fairlead gateway --config gateway.json", "Settings from a file"],
  ],
});

/** Runs the command; ends at SIGINT or SIGTERM, after draining. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(GATEWAY, await withConfig(GATEWAY, words));
  if (help) {
    printLine(helpText(GATEWAY));
    return Exit.Ok;
  }
  if (flags.hub !== undefined && flags["hub-port"] !== undefined) {
    throw new UsageError(
      "Cannot use --hub-port together with --hub as there is no embedded hub then: leave one out",
    );
  }
  if (flags.hub !== undefined) checkAddress("--hub", flags.hub);
  const listen = flags["no-listen"] ? null : await hostPortArgument("--listen", flags.listen);
  const settings = await connectionSettings(flags, "client");
  const drawn = canDraw() && !flags.json;
  const log = new EventLog();
  log.quiet = drawn;
  const recent = drawn && flags.hub === undefined ? new RecentMessages() : null;
  const output = recent ?? new MessagePrinter(flags.json);
  const hub = flags.hub !== undefined
    ? null
    : await openHub(settings, flags["hub-port"] ?? 0, output);
  const target = flags.hub ?? hub!.address;
  const endpoint = new Endpoint({
    auth: settings.auth,
    io: settings.io,
    messenger: { outboxBytesMax: flags.queue * MIB },
  });
  const targets = await resolveHub(target, log);
  const uplink = await Uplink.open(endpoint, targets[0]!, {
    ...clientPolicy("lossless"),
    reopen: true,
  });
  endpoint.onEvent((event) => {
    log.noteEvent(event, `hub ${target}`);
    if (event.kind === "fault") dialNext(uplink.session, targets);
  });
  const inputs = listen === null ? null : await Inputs.open(listen, {
    offer: (line) => uplink.offer(FairleadType.Line, line),
    room: () => uplink.room(),
  });
  const readings = flags["no-readings"]
    ? null
    : new Readings((reading) => uplink.offer(FairleadType.Reading, reading));
  const name = flags.name;
  const status = new GatewayStatus({ name, target, hub, uplink, inputs, readings, recent, log });
  const stopped = new Promise<void>((stop) => onStop(stop));
  if (!drawn) introduce(log, hub, target, settings, inputs, flags["no-readings"]);
  const view = drawn ? new LiveView((rows) => status.rows(rows)) : null;
  view?.start();
  const tick = setInterval(async () => {
    await status.update();
    if (flags.json && hub === null) printLine(JSON.stringify(status.counts()));
  }, TICK_MS);
  readings?.start();
  let left = 0;
  try {
    await Promise.race([stopped, ...(hub === null ? [] : [hub.failed])]);
    left = await drain(uplink, inputs, readings, log, nowMs() + flags.drain * 1000);
    clearInterval(tick);
  } finally {
    view?.stop();
  }
  log.quiet = false;
  log.note(
    left === 0
      ? `Stopped: all ${
        countText(uplink.accepted, "message was", "messages were")
      } acknowledged by the hub`
      : `Stopped: ${
        countText(left, "message was", "messages were")
      } not acknowledged by the hub within ${flags.drain} s`,
  );
  const lost = status.lossText();
  if (lost !== "") log.note(lost);
  await endpoint.close();
  await hub?.close();
  return left === 0 ? Exit.Ok : Exit.Failure;
}

/** The embedded hub. */
async function openHub(
  { auth, io }: ConnectionSettings,
  port: number,
  output: HubOutput,
): Promise<Hub> {
  try {
    return await Hub.open({
      address: `v2:127.0.0.1:${port}`,
      auth,
      io,
      output,
      onEvent: () => {}, // the gateway's side tells the same
    });
  } catch (error) {
    throw new Error(`${(error as Error).message} with --hub-port`);
  }
}

/** The hub's addresses; a name may be unknown while the box's own network is still coming up. */
async function resolveHub(target: string, log: EventLog): Promise<EntityAddr[]> {
  for (let tries = 0;; tries++) {
    try {
      return await resolveAll(target);
    } catch (error) {
      if (tries === 0) log.note(`${(error as Error).message}; trying again until it is known`);
      await delay(RESOLVE_MS);
    }
  }
}

/** Takes nothing new, and waits for the hub; returns how many messages it did not acknowledge. */
async function drain(
  uplink: Uplink,
  inputs: Inputs | null,
  readings: Readings | null,
  log: EventLog,
  deadlineMs: number,
): Promise<number> {
  readings?.stop();
  await inputs?.stop(deadlineMs);
  const waiting = uplink.session.unacknowledged;
  if (waiting > 0) {
    const open = countText(waiting, "message is", "messages are");
    log.note(`Draining: ${open} not acknowledged yet, Ctrl-C again ends at once`);
  }
  return await uplink.drain(deadlineMs) + (inputs?.waitingLines ?? 0);
}

/** Says what goes where, where to send a line, and how to stop. */
function introduce(
  log: EventLog,
  hub: Hub | null,
  target: string,
  settings: ConnectionSettings,
  inputs: Inputs | null,
  noReadings: boolean,
): void {
  const what = [
    ...(noReadings ? [] : ["this box's readings every second"]),
    ...(inputs === null ? [] : [`lines sent to ${hostPort(inputs.host, inputs.port)}`]),
  ].join(" and ") || "nothing, as --no-readings and --no-listen say,";
  const verb = noReadings && inputs === null ? "goes" : "go";
  const kind = hub === null ? "hub" : "embedded hub";
  log.note(`Gateway: ${what} ${verb} to the ${kind} at ${addressText(target)} (${settings.mode})`);
  for (const hint of inputHints(inputs)) log.note(hint);
  log.note("Stop: Ctrl-C");
}
