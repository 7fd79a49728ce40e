/**
 * `fairlead paths monitor`: events of the path manager as they come.
 *
 * @module
 */
import { command, Exit, parseArgs, UsageError } from "../../args.ts";
import { helpText } from "../../help.ts";
import { nearest } from "../../nearest.ts";
import type { AccessClient } from "../../access_client.ts";
import { ACCESS_GROUPS, type AccessEvent, type AccessGroup } from "../../paths/access_message.ts";
import { eventLine } from "../../paths/paths_table.ts";
import { PathsWatch } from "../../paths/paths_watch.ts";
import { printableJson } from "../../printable.ts";
import { clockText } from "../../recent_messages.ts";
import { onStop } from "../../signals.ts";
import { printError, printLine } from "../../terminal.ts";
import { ANSWER_MS, connectDaemon, SOCKET_DEFAULT } from "./common.ts";

const MONITOR = command({
  name: "fairlead paths monitor",
  summary: "Prints events of MPTCP connections and links as they come",
  description:
    "From the daemon, with its numbers of subflows; where there is none, from the kernel, which takes\n" +
    "CAP_NET_ADMIN. It ends with Ctrl-C.",
  positionals: [{
    name: "GROUP",
    help: `which ones: ${ACCESS_GROUPS.join(", ")}; all unless given`,
    optional: true,
    many: true,
  }],
  flags: {
    socket: {
      kind: "text",
      value: "PATH",
      short: "s",
      help: `access socket of the daemon; ${SOCKET_DEFAULT} unless given, if one is there`,
    },
    json: { kind: "boolean", help: "print each as a line of JSON" },
  },
  examples: [
    ["fairlead paths monitor", "Everything"],
    ["fairlead paths monitor new_subflow subflow_closed --json", "Two kinds, for a program"],
  ],
});

/** Runs the action; ends at SIGINT or SIGTERM. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(MONITOR, words);
  if (help) {
    printLine(helpText(MONITOR));
    return Exit.Ok;
  }
  const groups = positionals.length === 0 ? [...ACCESS_GROUPS] : positionals.map(groupOf);
  const show = (event: AccessEvent): void => {
    if (!groups.includes(event.event)) return;
    const now = new Date();
    printLine(
      flags.json
        ? printableJson({ time: now.getTime() / 1000, ...event })
        : eventLine(clockText(now), event),
    );
  };
  const client = await connect(flags.socket);
  if (client === null) {
    const watch = PathsWatch.open("", show);
    printError("No daemon is there: these are the kernel's own events");
    await new Promise<void>((resolve) => onStop(() => resolve()));
    await watch.close();
    return Exit.Ok;
  }
  onStop(() => void client.close());
  for await (const event of client.subscribe(groups, ANSWER_MS)) show(event);
  return Exit.Ok;
}

async function connect(socket: string | undefined): Promise<AccessClient<AccessEvent> | null> {
  try {
    return await connectDaemon(socket ?? SOCKET_DEFAULT);
  } catch (error) {
    if (socket !== undefined) throw error;
    return null;
  }
}

function groupOf(name: string): AccessGroup {
  const group = ACCESS_GROUPS.find((known) => known === name);
  if (group !== undefined) return group;
  const close = nearest(name, ACCESS_GROUPS);
  const hint = close === null ? `one of ${ACCESS_GROUPS.join(", ")}` : `did you mean "${close}"`;
  throw new UsageError(
    `Cannot use GROUP as it is unknown: current value is ${JSON.stringify(name)}, ${hint}`,
  );
}
