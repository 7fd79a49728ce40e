/**
 * `fairlead hub`: accepts gateways and shows what they bring. On a terminal a live view, else one
 * line per message (message_printer.ts has the form).
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { AuthOptions } from "../../proto/msgr2/messenger.ts";
import { command, Exit, parseArgs } from "../args.ts";
import { conModes } from "../auth.ts";
import { CONFIG_FLAG, withConfig } from "../config_file.ts";
import {
  CONNECTION_FLAGS,
  type ConnectionSettings,
  connectionSettings,
  refuseOpenListener,
  securityText,
} from "../connection_flags.ts";
import { EventLog } from "../event_log.ts";
import { countText } from "../count_text.ts";
import { helpText } from "../help.ts";
import { Hub } from "../hub.ts";
import { canDraw, LiveView } from "../live_view.ts";
import { MessagePrinter } from "../message_printer.ts";
import { listenArgument } from "../name_argument.ts";
import { RecentMessages } from "../recent_messages.ts";
import { SessionTable } from "../session_table.ts";
import { onStop } from "../signals.ts";
import { statusRows, upText } from "../status_view.ts";
import { printLine } from "../terminal.ts";

const SESSIONS_SHOWN = 12;

const HUB = command({
  name: "fairlead hub",
  summary: "Accepts gateways and shows what they bring",
  description:
    "On a terminal: a live view. Else one line per message on standard output, NAME TYPE PAYLOAD,\n" +
    "written before the message is acknowledged; control characters are escaped as \\x1b. With\n" +
    "--json one object per message. A hub that is started again has forgotten the sessions: gateways\n" +
    "make new ones and send what was not acknowledged once more.",
  positionals: [{
    name: "ADDRESS",
    help: "where to listen, v2:HOST:PORT (default v2:127.0.0.1:3300)",
    optional: true,
  }],
  flags: {
    ...CONNECTION_FLAGS,
    mode: {
      ...CONNECTION_FLAGS.mode,
      help: "allow only this mode; unless set, what the gateway asks for",
    },
    json: { kind: "boolean", help: "one JSON object per message" },
    ...CONFIG_FLAG,
  },
  examples: [
    ["fairlead hub v2:127.0.0.1:3300", "For gateways of this box"],
    ["fairlead hub v2:0.0.0.0:3300 --keyring hub.keyring", "For those who have a key"],
    ["fairlead hub --config hub.json | grep ' line '", "Settings from a file, lines only"],
  ],
});

const ADDRESS_DEFAULT = "v2:127.0.0.1:3300";

/** Runs the command; ends at SIGINT or SIGTERM. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(HUB, await withConfig(HUB, words));
  if (help) {
    printLine(helpText(HUB));
    return Exit.Ok;
  }
  const settings = await connectionSettings(flags, "server");
  const wanted = await listenArgument("ADDRESS", positionals[0] ?? ADDRESS_DEFAULT);
  refuseOpenListener(wanted, flags, settings);
  const stopped = new Promise<void>((stop) => onStop(stop));
  const log = new EventLog();
  const recent = canDraw() && !flags.json ? new RecentMessages() : null;
  log.quiet = recent !== null;
  const hub = await Hub.open({
    address: `${wanted}`,
    auth: hubAuth(settings, flags.mode),
    io: settings.io,
    output: recent ?? new MessagePrinter(flags.json),
    onEvent: (event) => log.noteEvent(event, null),
  });
  if (recent === null) {
    log.note(`Listening on ${hub.address} (${security(settings, flags.mode)})`);
    log.note("Stop: Ctrl-C");
  }
  const view = recent === null
    ? null
    : new LiveView(render(hub, settings, flags.mode, recent, log));
  view?.start();
  try {
    await Promise.race([stopped, hub.failed]);
  } finally {
    view?.stop();
  }
  await hub.close();
  log.quiet = false;
  log.note(`Stopped: ${countText(hub.received, "message was", "messages were")} received`);
  return Exit.Ok;
}

/** A hub with a keyring lets the gateway choose the mode, unless --mode says which. */
export function hubAuth(settings: ConnectionSettings, mode: string | undefined): AuthOptions {
  if (settings.method === "none" || mode !== undefined) return settings.auth;
  const modes = conModes(["secure", "crc"]);
  return { ...settings.auth, serverModes: (): readonly number[] => modes };
}

function security(settings: ConnectionSettings, mode: string | undefined): string {
  return securityText(settings, settings.method === "none" ? "crc" : mode ?? "secure or crc");
}

function render(
  hub: Hub,
  settings: ConnectionSettings,
  mode: string | undefined,
  recent: RecentMessages,
  log: EventLog,
): (rows: number) => ReturnType<typeof statusRows> {
  const table = new SessionTable();
  const startMs = nowMs();
  return (rows) =>
    statusRows({
      title: `fairlead hub  ${hub.address}  ${security(settings, mode)}  up ${
        upText(nowMs() - startMs)
      }`,
      hints: ["Stop: Ctrl-C"],
      table: table.rows(hub.sessions(), Math.min(SESSIONS_SHOWN, Math.floor(rows / 3))),
      notes: [{ text: `${countText(hub.received, "message")} received`, style: "dim" }],
      recent,
      log,
    }, rows);
}
