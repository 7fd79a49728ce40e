/**
 * `fairlead standby monitor`: events of the kernel's IPsec as they come.
 *
 * @module
 */
import { XfrmGroup } from "../../../wire/netlink/xfrm.ts";
import { command, Exit, parseArgs, UsageError } from "../../args.ts";
import { helpText } from "../../help.ts";
import { nearest } from "../../nearest.ts";
import { printableJson } from "../../printable.ts";
import { clockText } from "../../recent_messages.ts";
import { onStop } from "../../signals.ts";
import { XfrmMonitor } from "../../standby/xfrm_monitor.ts";
import { xfrmLine } from "../../standby/xfrm_text.ts";
import { printError, printLine } from "../../terminal.ts";

const GROUPS: Readonly<Record<string, number>> = {
  acquire: XfrmGroup.Acquire,
  expire: XfrmGroup.Expire,
  sa: XfrmGroup.Sa,
  policy: XfrmGroup.Policy,
  aevents: XfrmGroup.Aevents,
  report: XfrmGroup.Report,
  migrate: XfrmGroup.Migrate,
  mapping: XfrmGroup.Mapping,
};
const NAMES = Object.keys(GROUPS);

const MONITOR = command({
  name: "fairlead standby monitor",
  summary: "Prints events of the kernel's IPsec as they come",
  description:
    "Every message of XFRM in this network namespace, whoever causes it, with all that it says but keys,\n" +
    "of which there are algorithm and length. It needs CAP_NET_ADMIN and no daemon, and ends with Ctrl-C.\n" +
    "The kernel makes events of the group aevents only while somebody listens to them: the monitor\n" +
    "itself turns them on for all SAs of the namespace, unless a standby daemon has. Times made_s and\n" +
    "used_s are seconds since 1970; a number of an inbound SA is seq, of an outbound one oseq.",
  positionals: [{
    name: "GROUP",
    help: `which ones: ${NAMES.join(", ")}; all unless given`,
    optional: true,
    many: true,
  }],
  flags: { json: { kind: "boolean", help: "print each as a line of JSON" } },
  examples: [
    ["fairlead standby monitor", "Everything"],
    ["fairlead standby monitor sa expire", "SAs that come and go, without masses of aevents"],
    ["fairlead standby monitor aevents --json", "Where SAs are, for a program"],
  ],
});

/** Runs the action; ends at SIGINT or SIGTERM. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(MONITOR, words);
  if (help) {
    printLine(helpText(MONITOR));
    return Exit.Ok;
  }
  const groups = (positionals.length === 0 ? NAMES : positionals).map(groupOf);
  const monitor = XfrmMonitor.open(groups, {
    handleNote: (note) => {
      const now = new Date();
      printLine(
        flags.json
          ? printableJson({ time: now.getTime() / 1000, ...note })
          : `${timeText(now)} ${xfrmLine(note)}`,
      );
    },
    handleGap: (text) => printError(text),
  });
  onStop(() => void monitor.close());
  await monitor.ended;
  await monitor.close();
  return Exit.Ok;
}

/** `09:05:07.123`, local time: events come many in a second. */
function timeText(at: Date): string {
  return `${clockText(at)}.${`${at.getMilliseconds()}`.padStart(3, "0")}`;
}

function groupOf(name: string): number {
  const group = Object.hasOwn(GROUPS, name) ? GROUPS[name] : undefined;
  if (group !== undefined) return group;
  const close = nearest(name, NAMES);
  const hint = close === null ? `one of ${NAMES.join(", ")}` : `did you mean "${close}"`;
  throw new UsageError(
    `Cannot use GROUP as it is unknown: current value is ${JSON.stringify(name)}, ${hint}`,
  );
}
