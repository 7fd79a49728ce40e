/**
 * `fairlead sniff send`: messages whose starts are marked by urgent data, for trying in a laboratory what
 * the document proposes.
 *
 * @module
 */
import { inNamespace } from "../../../io/namespace.ts";
import { DRAFT_PDU_BYTES_MAX } from "../../../wire/iscsi/draft_layout.ts";
import { BHS_SIZE } from "../../../wire/iscsi/header.ts";
import { command, Exit, parseArgs, UsageError } from "../../args.ts";
import { countText } from "../../count_text.ts";
import { helpText } from "../../help.ts";
import { bytesText } from "../../progress.ts";
import { onStop } from "../../signals.ts";
import { printableJson } from "../../printable.ts";
import { printLine } from "../../terminal.ts";
import { MESSAGE_BYTES_MAX } from "../../sniff/urgent_check.ts";
import { tcpEnd, type UrgentMode, UrgentSender } from "../../sniff/urgent_sender.ts";

const SEND = command({
  name: "fairlead sniff send",
  summary: "Sends messages whose starts are marked by TCP's urgent pointer",
  description:
    "Messages have the bit layout of draft-wakeley-iscsi-msgbndry-00. Linux marks the last byte of a call,\n" +
    "and its pointer names the byte after it: with mode A the first byte of a message goes alone and\n" +
    "marked, with B the whole message is marked, so that the pointer names the next one, C is A with\n" +
    "MSG_MORE. An ordinary receiver loses marked bytes: give it fairlead sniff receive.",
  positionals: [{ name: "HOST:PORT", help: "numeric address of a receiver" }],
  flags: {
    mode: {
      kind: "text",
      short: "m",
      value: "MODE",
      choices: ["A", "B", "C", "none"],
      default: "A",
      help: "how message starts are marked",
    },
    size: {
      kind: "number",
      short: "s",
      value: "BYTES",
      min: BHS_SIZE,
      max: MESSAGE_BYTES_MAX,
      default: 560,
      help: "bytes of a message, a multiple of 4",
    },
    large: {
      kind: "boolean",
      help: `allow more than the ${DRAFT_PDU_BYTES_MAX} bytes that the document's advice comes to`,
    },
    count: {
      kind: "number",
      short: "c",
      value: "N",
      min: 1,
      max: 10_000_000,
      default: 1000,
      help: "messages",
    },
    pace: {
      kind: "number",
      short: "p",
      value: "MS",
      min: 0,
      max: 60_000,
      default: 0,
      help: "wait after each message; 0 sends as fast as it goes",
    },
    namespace: {
      kind: "text",
      short: "N",
      value: "NAME",
      help: "send from a namespace of ip netns",
    },
    json: { kind: "boolean", help: "print JSON" },
  },
  examples: [
    ["fairlead sniff send 192.0.2.2:3260 --count 300 --pace 2", "300 messages, marked by mode A"],
    ["fairlead sniff send 192.0.2.2:3260 --mode B --size 4144", "As fast as it goes"],
  ],
});

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(SEND, words);
  if (help) {
    printLine(helpText(SEND));
    return Exit.Ok;
  }
  const { count, json, large, namespace, pace, size } = flags;
  const end = tcpEnd("HOST:PORT", positionals[0]!);
  checkSize(size, large);
  const stop = new AbortController();
  onStop(() => stop.abort());
  const sender = await inNamespace(namespace ?? "", () => UrgentSender.connect(end));
  try {
    const mode = flags.mode as UrgentMode;
    const report = await sender.send({ mode, size, count, paceMs: pace }, stop.signal);
    printLine(json ? printableJson(report) : text(report));
    return report.messages === count ? Exit.Ok : Exit.Failure;
  } finally {
    await sender.close();
  }
}

function checkSize(size: number, large: boolean): void {
  if (size % 4 !== 0) {
    throw new UsageError(
      `Cannot use --size as it must be a multiple of 4: current value is ${size}`,
    );
  }
  if (size <= DRAFT_PDU_BYTES_MAX || large) return;
  throw new UsageError(
    `Cannot use --size as it must be ${DRAFT_PDU_BYTES_MAX} at most, a few segments as the document ` +
      `advises: current value is ${size}, or give --large`,
  );
}

function text(report: Awaited<ReturnType<UrgentSender["send"]>>): string {
  const { bytes, cut, messages, mode, seconds, size } = report;
  const rate = seconds > 0 ? `, ${bytesText(bytes / seconds)}/s` : "";
  const partly = cut === 0
    ? ""
    : `\n${countText(cut, "mark")} where no message begins, as the kernel took a call in part`;
  const marked = mode === "none" ? "not marked" : `mode ${mode}`;
  return `Sent ${countText(messages, "message")} of ${size} bytes, ${marked}, in ` +
    `${seconds.toFixed(3)} s${rate}${partly}`;
}
