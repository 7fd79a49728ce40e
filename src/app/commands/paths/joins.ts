/**
 * `fairlead paths joins`: who may add subflows when nobody is asked, which the RFC's reviewers wanted.
 *
 * @module
 */
import { command, Exit, parseArgs, UsageError } from "../../args.ts";
import { helpText } from "../../help.ts";
import { printLine } from "../../terminal.ts";
import { commandDaemon, connectionArgument, DAEMON_ACCESS } from "./common.ts";

const RULES = ["accept", "refuse", "interfaces", "default"];

const JOINS = command({
  name: "fairlead paths joins",
  summary: "Sets who may add subflows, until the daemon ends",
  description: 'It needs "joins" in the configuration of the daemon.',
  positionals: [{
    name: "RULE",
    help: "accept, refuse, interfaces (with --interface), or default: as configured",
  }],
  flags: {
    connection: { kind: "text", value: "CONNECTION", help: "the rule of this connection only" },
    interface: { kind: "list", value: "NAME", help: "joins that come in here are accepted" },
    ...DAEMON_ACCESS,
  },
  examples: [
    ["fairlead paths joins refuse", "Nobody, but for connections with a rule of their own"],
    ["fairlead paths joins interfaces --interface 'eth*'", "Only over these"],
    ["fairlead paths joins accept --connection 0x1b2c3d4e", "The peer of this connection"],
  ],
});

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(JOINS, words);
  if (help) {
    printLine(helpText(JOINS));
    return Exit.Ok;
  }
  const [joins] = positionals as [string];
  if (!RULES.includes(joins)) {
    throw new UsageError(
      `Cannot use RULE as it must be ${RULES.join(", ")}: current value is ${
        JSON.stringify(joins)
      }`,
    );
  }
  const { connection } = flags;
  const members = {
    joins,
    ...(connection === undefined ? {} : { connection: connectionArgument(connection) }),
    ...(joins === "interfaces" ? { interfaces: flags.interface } : {}),
  };
  const whose = connection === undefined ? "Joins" : `Joins of ${connection}`;
  await commandDaemon(flags, "set_policy", members, () => `${whose}: ${joins}`);
  return Exit.Ok;
}
