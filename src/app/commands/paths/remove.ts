/**
 * `fairlead paths remove`: the RFC's remove_subflow, a REMOVE_ADDR to the peer of a connection.
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

const REMOVE = command({
  name: "fairlead paths remove",
  summary: "Removes a subflow, which our policy does not make again (REMOVE_ADDR)",
  positionals: [CONNECTION_ARGUMENT, { name: "SUBFLOW", help: "its number in paths list" }],
  flags: DAEMON_ACCESS,
  examples: [["fairlead paths remove 0x1b2c3d4e 1", "The others carry its data"]],
});

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(REMOVE, words);
  if (help) {
    printLine(helpText(REMOVE));
    return Exit.Ok;
  }
  const [connection, text] = positionals as [string, string];
  const subflow = numberArgument("SUBFLOW", text, SUBFLOW_MAX);
  const members = { connection: connectionArgument(connection), subflow };
  await commandDaemon(flags, "remove_subflow", members, () => `Subflow ${subflow} is removed`);
  return Exit.Ok;
}
