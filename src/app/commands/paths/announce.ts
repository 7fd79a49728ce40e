/**
 * `fairlead paths announce`: the RFC's send_addr, an ADD_ADDR to the peer of a connection.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { printLine } from "../../terminal.ts";
import { commandDaemon, CONNECTION_ARGUMENT, connectionArgument, DAEMON_ACCESS } from "./common.ts";

const ANNOUNCE = command({
  name: "fairlead paths announce",
  summary: "Tells the peer of a connection of an address of this host (ADD_ADDR)",
  positionals: [
    CONNECTION_ARGUMENT,
    { name: "ADDRESS", help: "an address at which this host can be reached" },
  ],
  flags: {
    id: {
      kind: "number",
      value: "ID",
      min: 0,
      max: 255,
      default: 0,
      help: "its address id; 0 for any free one",
    },
    port: {
      kind: "number",
      value: "PORT",
      min: 0,
      max: 65535,
      default: 0,
      help: "another port than that of the first subflow; the daemon listens there",
    },
    ...DAEMON_ACCESS,
  },
  examples: [["fairlead paths announce 0x1b2c3d4e 10.9.2.1", "The peer may join this address"]],
});

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(ANNOUNCE, words);
  if (help) {
    printLine(helpText(ANNOUNCE));
    return Exit.Ok;
  }
  const [connection, address] = positionals as [string, string];
  const members = {
    connection: connectionArgument(connection),
    address_id: flags.id,
    local_address: address,
    ...(flags.port === 0 ? {} : { local_port: flags.port }),
  };
  await commandDaemon(flags, "send_addr", members, () => `${address} is announced`);
  return Exit.Ok;
}
