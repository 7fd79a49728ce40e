/**
 * `fairlead paths backup`: the RFC's set_backup, an MP_PRIO to the peer of a connection.
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

const BACKUP = command({
  name: "fairlead paths backup",
  summary: "Makes a subflow a backup, or no longer one (MP_PRIO)",
  positionals: [CONNECTION_ARGUMENT, { name: "SUBFLOW", help: "its number in paths list" }],
  flags: {
    off: { kind: "boolean", help: "no longer a backup" },
    default: { kind: "boolean", help: "what the policy says of its link" },
    ...DAEMON_ACCESS,
  },
  examples: [["fairlead paths backup 0x1b2c3d4e 1", "Only used when nothing else works"]],
});

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(BACKUP, words);
  if (help) {
    printLine(helpText(BACKUP));
    return Exit.Ok;
  }
  const [connection, text] = positionals as [string, string];
  const subflow = numberArgument("SUBFLOW", text, SUBFLOW_MAX);
  const members = {
    connection: connectionArgument(connection),
    subflow,
    ...(flags.default ? {} : { backup: !flags.off }),
  };
  await commandDaemon(flags, "set_backup", members, () => {
    const what = flags.default ? "as the policy says" : flags.off ? "no backup" : "a backup";
    return `Subflow ${subflow} is ${what}`;
  });
  return Exit.Ok;
}
