/**
 * `fairlead listen`: prints what `fairlead send` sends, and keeps the files it sends. A message
 * is acknowledged only after it was written.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { Batch } from "../../proto/msgr2/batch.ts";
import type { MessengerEvent } from "../../proto/msgr2/messenger.ts";
import type { Policy } from "../../proto/msgr2/policy.ts";
import { type Session, SessionState } from "../../proto/msgr2/session.ts";
import { addressText } from "../address_text.ts";
import { command, Exit, parseArgs } from "../args.ts";
import {
  CONNECTION_FLAGS,
  connectionSettings,
  POLICY_FLAG,
  refuseOpenListener,
  securityText,
  serverPolicy,
} from "../connection_flags.ts";
import { countText } from "../count_text.ts";
import { Endpoint } from "../endpoint.ts";
import { Journal } from "../status/journal.ts";
import { FileIntake } from "../file_intake.ts";
import { helpText } from "../help.ts";
import { FairleadType } from "../message_types.ts";
import { listenArgument } from "../name_argument.ts";
import { onStop } from "../signals.ts";
import { printable, printableBytes } from "../printable.ts";
import { isTerminal, printBytes, printError, printLine } from "../terminal.ts";

const LISTEN = command({
  name: "fairlead listen",
  summary: "Receives what send sends",
  description: "Prints each message's payload as a line on standard output. Files that send " +
    "--file sends\ngo to FILE, or under their own names into DIR/, in the place of one that is " +
    "there; they are\nNAME.part until they are whole.",
  positionals: [{ name: "ADDR", help: "where to listen: v2:HOST:PORT; port 0 takes a free one" }],
  flags: {
    output: { kind: "text", value: "FILE|DIR/", short: "o", help: "where files go" },
    count: {
      kind: "number",
      value: "N",
      min: 1,
      max: Number.MAX_SAFE_INTEGER,
      help: "end after N messages; a whole file counts as one",
    },
    advertise: {
      kind: "text",
      value: "ADDR",
      help: "the address that senders use, where a relay or NAT makes it another one",
    },
    ...POLICY_FLAG,
    ...CONNECTION_FLAGS,
  },
  examples: [
    ["fairlead listen v2:127.0.0.1:3300", "Lines from this box"],
    ["fairlead listen v2:0.0.0.0:3300 -k hub.keyring -o incoming/", "Files from those with a key"],
  ],
});

/** How long acknowledgements may take to leave at the end. */
const FAREWELL_MS = 10_000;
/** How long senders get to end their sessions themselves. */
const LINGER_MS = 1000;
const NEWLINE = 10;

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { help, flags, positionals } = parseArgs(LISTEN, words);
  if (help) {
    printLine(helpText(LISTEN));
    return Exit.Ok;
  }
  const settings = await connectionSettings(flags, "server");
  const wanted = await listenArgument("ADDR", positionals[0]!);
  refuseOpenListener(wanted, flags, settings);
  const advertised = flags.advertise === undefined
    ? null
    : await listenArgument("--advertise", flags.advertise);
  const receiver = new Receiver(flags.output, flags.count ?? Infinity);
  const endpoint = new Endpoint({
    auth: settings.auth,
    io: settings.io,
    policyFor: (): Policy => serverPolicy(flags.policy),
  });
  try {
    const bound = await endpoint.listen(`${wanted}`);
    if (advertised !== null) {
      const { addrs } = endpoint.messenger;
      addrs.addrs[addrs.count]!.copy(advertised);
      addrs.count++;
    }
    const finished = receive(endpoint, receiver);
    onStop(() => receiver.stop());
    printError(`Listening on ${addressText(bound)} (${securityText(settings, settings.mode)})`);
    printError("Stop: Ctrl-C");
    await finished;
    await farewell(endpoint, receiver.reached);
    return receiver.failures === 0 ? Exit.Ok : Exit.Failure;
  } finally {
    receiver.close();
    await endpoint.close();
  }
}

/** Hands batches to the receiver until it has enough, or is stopped. */
function receive(endpoint: Endpoint, receiver: Receiver): Promise<void> {
  return new Promise((resolve, reject) => {
    const never = new Promise<void>(() => {}); // what is left of a batch is not taken over
    receiver.stop = resolve;
    endpoint.onEvent((event) => receiver.handleEvent(event));
    endpoint.handle((batch) => {
      try {
        const taken = receiver.take(batch, (session) => endpoint.disconnect(session));
        if (!receiver.reached) return;
        acknowledge(endpoint, batch, taken);
        resolve();
      } catch (error) {
        reject(error); // standard output takes no more
      }
      return never;
    });
  });
}

/** Acknowledges the first `count` messages of a batch that is not done as a whole. */
function acknowledge(endpoint: Endpoint, batch: Batch, count: number): void {
  for (let index = 0; index < count; index++) {
    const session = batch.session(index);
    const { connection } = session;
    if (batch.connection(index).epoch !== session.epoch) continue;
    session.takenSeq = batch.seq(index);
    if (!session.lossy && connection !== null) endpoint.messenger.markDirty(connection);
  }
}

/**
 * Waits until acknowledgements have left, then until senders that have nothing more to send have
 * ended their sessions.
 */
async function farewell(endpoint: Endpoint, linger: boolean): Promise<void> {
  const { sessions } = endpoint.messenger;
  const acknowledged = (): boolean => sessions.values().every(isAcknowledged);
  if (!await until(acknowledged, FAREWELL_MS)) {
    printError("Some senders are away: they do not know yet that their messages arrived");
  } else if (linger) await until(() => sessions.size === 0, LINGER_MS);
}

function isAcknowledged(session: Session): boolean {
  if (session.lossy || session.takenSeq === session.ackSentSeq) {
    return (session.connection?.writer.gather.bytes ?? 0) === 0;
  }
  return session.state === SessionState.Closed;
}

async function until(condition: () => boolean, limitMs: number): Promise<boolean> {
  const deadline = nowMs() + limitMs;
  while (!condition()) {
    if (nowMs() >= deadline) return false;
    await new Promise<void>((resolve) => setTimeout(resolve, 1));
  }
  return true;
}

/** Writes messages to where they belong. */
class Receiver {
  /** Files that could not be taken. */
  failures = 0;
  /** Ends the receiving. */
  stop: () => void = () => {};
  readonly #log = new Journal({ times: false });
  readonly #intake: FileIntake | null;
  /** Sessions that were ended here: what they still sent is not taken. */
  readonly #refused = new WeakSet<Session>();
  #left: number;
  /** A terminal must not obey what a stranger sends; a pipe gets the bytes as they are. */
  readonly #escapes = isTerminal();
  #out = new Uint8Array(64 * 1024);
  #used = 0;

  constructor(output: string | undefined, count: number) {
    this.#intake = output === undefined ? null : new FileIntake(output);
    this.#left = count;
  }

  /** True once there were as many messages as were asked for. */
  get reached(): boolean {
    return this.#left === 0;
  }

  /** Writes the batch, up to the number that was asked for; returns how many that are. */
  take(batch: Batch, disconnect: (session: Session) => void): number {
    let index = 0;
    for (; index < batch.length && this.#left > 0; index++) {
      const session = batch.session(index);
      if (this.#refused.has(session)) continue;
      try {
        this.#takeOne(batch, index, session);
      } catch (error) {
        this.failures++;
        printError(printable((error as Error).message));
        this.#lost(session);
        this.#refused.add(session);
        disconnect(session); // without an acknowledgement, so that the sender fails too
      }
    }
    if (this.#used > 0) printBytes(this.#out.subarray(0, this.#used));
    this.#used = 0;
    return index;
  }

  /** Tells the operator who comes and goes. */
  handleEvent(event: MessengerEvent): void {
    this.#log.noteEvent(event, null);
    if (event.kind === "reset") this.#lost(event.session!);
  }

  /** Closes what is open. */
  close(): void {
    this.#intake?.close();
  }

  #takeOne(batch: Batch, index: number, session: Session): void {
    const type = batch.type(index);
    const isFile = type === FairleadType.FileHead || type === FairleadType.FileData ||
      type === FairleadType.FileEnd;
    if (!isFile) {
      this.#line(batch, index);
      this.#left--;
      return;
    }
    const intake = this.#intake;
    if (intake === null) {
      throw new Error(
        `Cannot take a file from ${session.peerName} as no place was given: listen with -o DIR/`,
      );
    }
    if (type === FairleadType.FileHead) intake.begin(session, batch.front(index));
    else if (type === FairleadType.FileData) intake.data(session, batch, index);
    else {
      const { path, size, replaced } = intake.end(session, batch.front(index));
      const note = replaced ? ", replaced the file that was there" : "";
      printError(printable(`Received ${path}: ${countText(size, "byte")}${note}`));
      this.#left--;
    }
  }

  #line(batch: Batch, index: number): void {
    this.#append(batch.front(index));
    this.#append(batch.middle(index));
    this.#append(batch.data(index));
    this.#grow(1);
    this.#out[this.#used++] = NEWLINE;
  }

  #append(segment: Uint8Array): void {
    const bytes = this.#escapes ? printableBytes(segment) : segment;
    this.#grow(bytes.length);
    this.#out.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  #grow(count: number): void {
    if (this.#used + count <= this.#out.length) return;
    const larger = new Uint8Array(2 ** Math.ceil(Math.log2(this.#used + count)));
    larger.set(this.#out.subarray(0, this.#used));
    this.#out = larger;
  }

  #lost(session: Session): void {
    const kept = this.#intake?.drop(session) ?? null;
    if (kept !== null) printError(printable(`${kept} is not whole: its session is over`));
  }
}
