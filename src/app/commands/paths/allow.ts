/**
 * `fairlead paths allow`: the RFC's allow_join, the answer to a join_attempt.
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

const ALLOW = command({
  name: "fairlead paths allow",
  summary: "Decides whether an address of a peer may add subflows to a connection",
  description:
    'It needs "joins" in the configuration of the daemon. A join that waits is decided at once, else\n' +
    "the decision holds for the next ones.",
  positionals: [
    CONNECTION_ARGUMENT,
    { name: "ID", help: "remote_address_id of the join_attempt" },
  ],
  flags: {
    refuse: { kind: "boolean", help: "it may not" },
    backup: { kind: "boolean", help: "its subflow shall be a backup" },
    subflow: {
      kind: "number",
      value: "N",
      min: 0,
      max: SUBFLOW_MAX,
      help: "number that its subflow gets; the next one unless given",
    },
    ...DAEMON_ACCESS,
  },
  examples: [["fairlead paths allow 0x1b2c3d4e 2", "Address 2 of the peer may join"]],
});

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(ALLOW, words);
  if (help) {
    printLine(helpText(ALLOW));
    return Exit.Ok;
  }
  const [connection, id] = positionals as [string, string];
  const members = {
    connection: connectionArgument(connection),
    remote_address_id: numberArgument("ID", id, ADDRESS_ID_MAX),
    allow: !flags.refuse,
    ...(flags.backup ? { backup: true } : {}),
    ...(flags.subflow === undefined ? {} : { subflow: flags.subflow }),
  };
  await commandDaemon(flags, "allow_join", members, ({ decided }) => {
    const what = flags.refuse ? "refused" : "allowed";
    return decided === "now" ? `The join is ${what}` : `Joins of address ${id} will be ${what}`;
  });
  return Exit.Ok;
}
