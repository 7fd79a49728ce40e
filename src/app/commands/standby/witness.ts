/**
 * `fairlead standby witness`: lets one box of each pair be active at a time, by leases that are on its
 * disk. A hub with "witness" does the same.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import {
  CONNECTION_FLAGS,
  connectionSettings,
  refuseOpenListener,
  securityText,
} from "../../connection_flags.ts";
import { resolve } from "../../address.ts";
import { helpText } from "../../help.ts";
import { onStop } from "../../signals.ts";
import { Journal } from "../../status/journal.ts";
import { WitnessServer } from "../../standby/witness_server.ts";
import { printLine } from "../../terminal.ts";

const WITNESS = command({
  name: "fairlead standby witness",
  summary: "Lets one box of each pair be active at a time",
  description:
    "It runs on a third machine that both boxes reach, and grants the active role as a lease. What it has\n" +
    "granted is on its disk before it says so; after a restart it grants nothing to another box for as\n" +
    "long as a lease may still run. It carries no messages and no keys of theirs.",
  positionals: [{
    name: "ADDRESS",
    help: "where to listen, v2:HOST:PORT",
    optional: true,
  }],
  flags: {
    ...CONNECTION_FLAGS,
    state: {
      kind: "text",
      value: "DIR",
      default: "/var/lib/fairlead-witness",
      help: "directory for what it has promised",
    },
    json: { kind: "boolean", help: "log lines of JSON" },
  },
  examples: [
    [
      "fairlead standby witness v2:0.0.0.0:6820 --keyring /etc/fairlead/keyring",
      "For the boxes that have a key",
    ],
  ],
});

const ADDRESS_DEFAULT = "v2:127.0.0.1:6820";

/** Runs the action; ends at SIGINT or SIGTERM. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(WITNESS, words);
  if (help) {
    printLine(helpText(WITNESS));
    return Exit.Ok;
  }
  const listen = positionals[0] ?? ADDRESS_DEFAULT;
  const settings = await connectionSettings(flags, "server");
  refuseOpenListener(await resolve(listen), flags, settings);
  const journal = new Journal({ format: flags.json ? "json" : "text" });
  const stopped = new Promise<void>((resolve) => onStop(() => resolve()));
  const server = await WitnessServer.open({
    listen,
    auth: settings.auth,
    state: flags.state,
    note: (text) => journal.note(text),
    onEvent: (event) => journal.noteEvent(event, null),
  });
  journal.note(`Witness at ${server.address} (${securityText(settings, settings.mode)})`);
  await stopped;
  await server.close();
  journal.note("Stopped: boxes stay what they are until their leases end");
  journal.flush(true);
  return Exit.Ok;
}
