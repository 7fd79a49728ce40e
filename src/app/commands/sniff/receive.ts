/**
 * `fairlead sniff receive`: the far end of `fairlead sniff send`, with urgent bytes in line or as an ordinary
 * receiver has them.
 *
 * @module
 */
import { inNamespace } from "../../../io/namespace.ts";
import { command, Exit, parseArgs } from "../../args.ts";
import { countText } from "../../count_text.ts";
import { helpText } from "../../help.ts";
import { onStop } from "../../signals.ts";
import { printableJson } from "../../printable.ts";
import { printError, printLine } from "../../terminal.ts";
import { type ReceiveReport, UrgentReceiver } from "../../sniff/urgent_receiver.ts";
import { tcpEnd } from "../../sniff/urgent_sender.ts";

const RECEIVE = command({
  name: "fairlead sniff receive",
  summary: "Receives what sniff send sends, and tells which message starts had a mark",
  description:
    "Every byte is compared with what was sent. Urgent bytes stay in the stream (SO_OOBINLINE), and reads\n" +
    "stop at marks, for which SIOCATMARK is asked. With net.ipv4.tcp_stdurg=1 marks stand one byte later,\n" +
    "which is taken into account. Marks are counted, never followed. With --no-inline it reads as\n" +
    "ordinary programs do, and tells what the kernel took out of the stream.",
  positionals: [{ name: "[HOST:]PORT", help: "where to listen; every IPv4 address without HOST" }],
  flags: {
    "no-inline": { kind: "boolean", help: "leave urgent bytes out of line, as by default" },
    once: { kind: "boolean", help: "end after the first connection" },
    namespace: {
      kind: "text",
      short: "N",
      value: "NAME",
      help: "listen in a namespace of ip netns",
    },
    json: { kind: "boolean", help: "print a line of JSON for each connection" },
  },
  examples: [
    ["fairlead sniff receive 3260", "One report for each connection, until Ctrl-C"],
    ["fairlead sniff receive 3260 --no-inline --once", "What an ordinary receiver loses"],
  ],
});

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(RECEIVE, words);
  if (help) {
    printLine(helpText(RECEIVE));
    return Exit.Ok;
  }
  const end = tcpEnd("[HOST:]PORT", positionals[0]!, "0.0.0.0");
  const inline = !flags["no-inline"];
  const receiver = inNamespace(flags.namespace ?? "", () => UrgentReceiver.listen(end, inline));
  const stop = new AbortController();
  onStop(() => stop.abort());
  printError(`Listening on ${receiver.address}`);
  let clean = true;
  try {
    do {
      const report = await receiver.serve(stop.signal);
      if (report === null) break;
      clean &&= report.broken === "" && report.lost === 0;
      printLine(flags.json ? printableJson(report) : text(report));
    } while (!flags.once);
  } finally {
    await receiver.close();
  }
  return clean ? Exit.Ok : Exit.Failure;
}

function text(report: ReceiveReport): string {
  const { broken, bytes, lost, marks, messages, named, peer, size, standard } = report;
  const lines = [
    `${peer}: ${countText(bytes, "byte")}, ${countText(messages, "message")} of ${size} bytes, ` +
    (broken === "" ? "every byte as it was sent" : `then broken: ${broken}`),
  ];
  if (!report.inline) {
    lines.push(`  ${countText(lost, "byte")} taken out of the stream as urgent`);
    return lines.join("\n");
  }
  const share = messages === 0 ? 0 : named * 100 / messages;
  lines.push(
    `  ${named} of ${messages} message starts named by a pointer (${share.toFixed(1)} %)`,
    `  marks: ${marks.at} at a start, ${marks.before} one byte before, ${marks.after} one after, ` +
      `${marks.elsewhere} elsewhere; tcp_stdurg=${standard ? 1 : 0}`,
  );
  return lines.join("\n");
}
