/**
 * `fairlead paths subflow`: the RFC's add_subflow, an MP_JOIN to the peer of a connection.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { printLine } from "../../terminal.ts";
import {
  commandDaemon,
  CONNECTION_ARGUMENT,
  connectionArgument,
  DAEMON_ACCESS,
  numberArgument,
  SUBFLOW_MAX,
} from "./common.ts";

const ADDRESS_ID_MAX = 255;

const SUBFLOW = command({
  name: "fairlead paths subflow",
  summary: "Adds a subflow to a connection (MP_JOIN)",
  description:
    "LOCAL and REMOTE are addresses, or address ids that the connection knows. What comes of it is told by\n" +
    "paths monitor: new_subflow, or subflow_closed with an error.",
  positionals: [
    CONNECTION_ARGUMENT,
    { name: "LOCAL", help: "address or address id of this host" },
    { name: "REMOTE", help: "address or address id of the peer; 0 unless given", optional: true },
  ],
  flags: {
    "local-port": {
      kind: "number",
      value: "PORT",
      min: 0,
      max: 65535,
      default: 0,
      help: "0 for any",
    },
    "remote-port": {
      kind: "number",
      value: "PORT",
      min: 1,
      max: 65535,
      help: "that of the first subflow unless given",
    },
    id: {
      kind: "number",
      value: "ID",
      min: 1,
      max: ADDRESS_ID_MAX,
      help: "address id that LOCAL gets",
    },
    subflow: {
      kind: "number",
      value: "N",
      min: 0,
      max: SUBFLOW_MAX,
      help: "number that it gets; the next one unless given",
    },
    backup: { kind: "boolean", help: "as a backup" },
    "no-backup": { kind: "boolean", help: "not as a backup, whatever its link is used for" },
    ...DAEMON_ACCESS,
  },
  examples: [
    ["fairlead paths subflow 0x1b2c3d4e 10.9.2.1", "From 10.9.2.1 to the peer's first address"],
    ["fairlead paths subflow 0x1b2c3d4e 10.9.2.1 10.9.2.2 --backup", "To another one, in reserve"],
  ],
});

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(SUBFLOW, words);
  if (help) {
    printLine(helpText(SUBFLOW));
    return Exit.Ok;
  }
  const [connection, local, remote = "0"] = positionals as [string, string, string | undefined];
  const members = {
    connection: connectionArgument(connection),
    ...end("local", local),
    ...end("remote", remote),
    local_port: flags["local-port"],
    ...(flags.id === undefined ? {} : { local_address_id: flags.id }),
    ...(flags["remote-port"] === undefined ? {} : { remote_port: flags["remote-port"] }),
    ...(flags.subflow === undefined ? {} : { subflow: flags.subflow }),
    ...(flags.backup ? { backup: true } : flags["no-backup"] ? { backup: false } : {}),
  };
  await commandDaemon(
    flags,
    "add_subflow",
    members,
    ({ subflow }) => `Subflow ${subflow} is asked`,
  );
  return Exit.Ok;
}

function end(side: "local" | "remote", text: string): object {
  if (/[.:]/.test(text)) return { [`${side}_address`]: text };
  return { [`${side}_address_id`]: numberArgument(side.toUpperCase(), text, ADDRESS_ID_MAX) };
}
