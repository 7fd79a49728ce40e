/**
 * `fairlead overlay orphans`: what carries an overlay's marks on this box and belongs to none.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { openOrphans } from "../../overlay/node/open_node.ts";
import { printableJson } from "../../printable.ts";
import { printError, printLine } from "../../terminal.ts";

const ORPHANS = command({
  name: "fairlead overlay orphans",
  summary: "Shows what carries an overlay's marks on this box and belongs to none",
  description:
    "Links whose alias begins with xb:, addresses, routes and rules of protocol 199, and blocks of the hosts\n" +
    "file, that no journal of the resource daemon knows: left by a box whose journals were lost. Exit code 1\n" +
    "when there are some.",
  flags: {
    state: {
      kind: "text",
      value: "DIR",
      default: "/var/lib/fairlead/overlay-rd",
      help: "state directory of the resource daemon",
    },
    hosts: { kind: "text", value: "FILE", default: "/etc/hosts", help: "its file of host names" },
    remove: { kind: "boolean", help: "remove them" },
    json: { kind: "boolean", help: "print JSON" },
  },
  examples: [
    ["fairlead overlay orphans", "Nothing is changed"],
    ["fairlead overlay orphans --remove", "After they were looked at"],
  ],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(ORPHANS, words);
  if (help) {
    printLine(helpText(ORPHANS));
    return Exit.Ok;
  }
  const node = await openOrphans(flags.state, flags.hosts);
  const orphans = node.orphans();
  const left = flags.remove ? node.removeOrphans() : orphans;
  node.close();
  if (flags.json) printLine(printableJson({ orphans, left }));
  else if (orphans.length === 0) {
    printLine("Nothing here carries the marks of an overlay without one");
  } else for (const line of orphans) printLine(line);
  if (flags.remove && left.length > 0) printError(`Cannot remove ${left.join(", ")}`);
  return left.length === 0 ? Exit.Ok : Exit.Failure;
}
