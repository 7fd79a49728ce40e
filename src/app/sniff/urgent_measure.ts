/**
 * Measures what Linux does with marks at message starts: runs a sender as a process of its own and a
 * receiver in two network namespaces, and captures on the wire between them at the same time.
 *
 * @module
 */
import { inNamespace } from "../../io/namespace.ts";
import { CaptureFilter } from "../../wire/capture/filter.ts";
import { Packet } from "../../wire/capture/packet.ts";
import { TcpSegment } from "../../wire/capture/tcp.ts";
import { Dissector } from "../../proto/capture/dissector.ts";
import { delay } from "../delay.ts";
import { selfCommand } from "../self.ts";
import { LiveCapture } from "./live_capture.ts";
import type { UrgentLab } from "./urgent_lab.ts";
import { type ReceiveReport, UrgentReceiver } from "./urgent_receiver.ts";
import type { SendReport, UrgentMode } from "./urgent_sender.ts";
import { type TraceResult, UrgentTrace } from "./urgent_trace.ts";

/** Messages with pauses, as fast as the link takes them, or that behind 100 Mbit/s. */
export type Traffic = "paced" | "bulk" | "limited";

/** One run. */
export interface Trial {
  readonly mode: UrgentMode;
  readonly size: number;
  readonly traffic: Traffic;
  /** tcp_stdurg of the receiver. */
  readonly standard: boolean;
  /** Whether the receiver keeps urgent bytes in line. */
  readonly inline: boolean;
}

/** What came of it. */
export interface TrialResult extends Trial {
  readonly count: number;
  readonly trace: TraceResult;
  readonly receiver: ReceiveReport;
  readonly sender: SendReport;
  /** Packets that the capture lost: the trace is too low then. */
  readonly drops: number;
}

/** Sizes of messages: a header alone, small ones, a segment, and blocks of 4, 8 and 64 KiB. */
const SIZES: readonly number[] = [48, 560, 1448, 4144, 8240, 65584];
const MODES: readonly UrgentMode[] = ["A", "B", "C"];
const TRAFFICS: readonly Traffic[] = ["paced", "bulk", "limited"];
const PACE_MS = 2;
const PACED_COUNT = 200;
/** What is sent without pauses. */
const BULK_BYTES = 6_000_000;
const BULK_COUNT_MAX = 3000;
/** How long the capture waits for the last packets when the receiver has had all of them. */
const SETTLE_MS = 20;
const TRIAL_MS = 30_000;
const WAIT_MS = 50;
const PACKETS_PER_TURN = 256;

/** All that is worth knowing: a minute or two. */
export function wholePlan(): Trial[] {
  const plan: Trial[] = [];
  for (const standard of [false, true]) {
    for (const traffic of TRAFFICS) {
      for (const size of SIZES) {
        for (const mode of MODES) plan.push({ mode, size, traffic, standard, inline: true });
      }
    }
  }
  for (const size of SIZES) {
    plan.push(unmarked(size));
    for (const traffic of ["paced", "bulk"] as const) {
      for (const mode of MODES) plan.push(ordinary(mode, size, traffic));
    }
  }
  return plan;
}

/** Two sizes and two modes: some ten seconds. */
export function quickPlan(): Trial[] {
  const plan: Trial[] = [];
  const sizes = [560, 8240];
  const modes = ["A", "B"] as const;
  for (const traffic of TRAFFICS) {
    for (const size of sizes) {
      for (const mode of modes) plan.push({ mode, size, traffic, standard: false, inline: true });
    }
  }
  for (const mode of modes) {
    plan.push({ mode, size: 560, traffic: "paced", standard: true, inline: true });
  }
  plan.push(unmarked(8240), ordinary("A", 560, "paced"), ordinary("A", 560, "bulk"));
  return plan;
}

function unmarked(size: number): Trial {
  return { mode: "none", size, traffic: "bulk", standard: false, inline: true };
}

function ordinary(mode: UrgentMode, size: number, traffic: Traffic): Trial {
  return { mode, size, traffic, standard: false, inline: false };
}

/** Does one run in a laboratory; an abort ends it with an error. */
export async function runTrial(
  lab: UrgentLab,
  trial: Trial,
  signal?: AbortSignal,
): Promise<TrialResult> {
  const { inline, size, standard, traffic } = trial;
  const paced = traffic === "paced";
  const count = paced ? PACED_COUNT : Math.min(BULK_COUNT_MAX, Math.ceil(BULK_BYTES / size));
  await lab.limit(traffic === "limited");
  signal?.throwIfAborted();
  lab.setStandard(standard);
  const receiver = inNamespace(
    lab.far,
    () => UrgentReceiver.listen({ host: lab.address, port: 0 }, inline),
  );
  const { port } = receiver.address;
  const filter = new CaptureFilter(`dst port ${port}`);
  const capture = inNamespace(lab.far, () => LiveCapture.open(lab.device, { filter }));
  const trace = new UrgentTrace(trial.mode, size, count);
  const stop = new AbortController();
  const halt = (): void => stop.abort();
  const timer = setTimeout(halt, TRIAL_MS);
  signal?.addEventListener("abort", halt);
  const recording = record(capture, filter, trace, stop.signal);
  try {
    const sending = send(lab, trial, { count, port }, stop.signal);
    // Without a sender nobody comes.
    sending.catch(halt);
    const serving = receiver.serve(stop.signal);
    const [sent, served] = await Promise.allSettled([sending, serving]);
    if (sent.status === "rejected") throw sent.reason;
    if (served.status === "rejected") throw served.reason;
    if (served.value === null) throw new Error(`Cannot measure: no message within ${TRIAL_MS} ms`);
    await delay(SETTLE_MS);
    stop.abort();
    capture.wake();
    await recording;
    const result = trace.result();
    const { drops } = capture;
    return { ...trial, count, trace: result, receiver: served.value, sender: sent.value, drops };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", halt);
    stop.abort();
    capture.wake();
    await recording;
    await receiver.close();
    await capture.close();
    trace.close();
  }
}

/** Takes what passes until it is stopped, and what is left then. */
async function record(
  capture: LiveCapture,
  filter: CaptureFilter,
  trace: UrgentTrace,
  signal: AbortSignal,
): Promise<void> {
  const dissector = new Dissector();
  const packet = new Packet();
  const segment = new TcpSegment();
  for (;;) {
    const last = signal.aborted;
    let taken = 0;
    while (capture.next(packet)) {
      if (dissector.dissect(packet, segment) && filter.matches(segment)) {
        trace.handleSegment(segment, packet.timeNs);
      }
      if (++taken % PACKETS_PER_TURN === 0) await new Promise<void>((done) => setImmediate(done));
    }
    if (last) return;
    await capture.wait(WAIT_MS);
  }
}

/** Runs `fairlead sniff send` in the sender's namespace. */
async function send(
  lab: UrgentLab,
  { mode, size, traffic }: Trial,
  { count, port }: { readonly count: number; readonly port: number },
  signal: AbortSignal,
): Promise<SendReport> {
  const pace = traffic === "paced" ? PACE_MS : 0;
  const words = ["sniff", "send", `${lab.address}:${port}`, `--mode=${mode}`, `--size=${size}`];
  words.push("--large", `--count=${count}`, `--pace=${pace}`, `--namespace=${lab.near}`, "--json");
  const child = selfCommand(words, { stdin: "null", stdout: "piped", stderr: "piped" }).spawn();
  // It takes SIGTERM for a wish to end well, which needs a receiver.
  const kill = (): void => {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
  };
  signal.addEventListener("abort", kill);
  try {
    const { stderr, stdout, success } = await child.output();
    const decoder = new TextDecoder();
    if (!success) throw new Error(`The sender failed: ${decoder.decode(stderr).trim()}`);
    return JSON.parse(decoder.decode(stdout));
  } finally {
    signal.removeEventListener("abort", kill);
  }
}
