/**
 * A session with one daemon of a cluster, such as an OSD, and commands over it (MCommand): what
 * `ceph tell osd.0 …` does. The daemon is shown an authorizer, so a monitor must have given the
 * dispatcher's cephx client a ticket first. The messages are in wire/ceph/command.ts.
 *
 * @module
 */
import { describeFault } from "../mem/fault.ts";
import { U64 } from "../mem/u64.ts";
import type { Batch } from "../proto/msgr2/batch.ts";
import type { MessengerEvent } from "../proto/msgr2/messenger.ts";
import { POLICIES } from "../proto/msgr2/policy.ts";
import type { Session } from "../proto/msgr2/session.ts";
import { COMMAND, readCommandReply, writeCommand } from "../wire/ceph/command.ts";
import { MessageType } from "../wire/ceph/message_type.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import type { Dispatcher, Receiver } from "./dispatcher.ts";
import { type CommandOutcome, type PendingCommand, PendingCommands } from "./pending_commands.ts";

/** How a {@linkcode DaemonClient} is made. */
export interface DaemonClientOptions {
  /** `osd.0`, for errors. */
  readonly name: string;
  /** With the daemon's nonce: another process at the same port is not meant. */
  readonly address: EntityAddr;
  /** The cluster's id. */
  readonly fsid: Uint8Array;
  /** How long each command may take; 0 waits without end. */
  readonly timeoutMs: number;
}

const NO_BYTES = new Uint8Array(0);

/** A client of one daemon. A session that ends fails what waits; the next command opens another. */
export class DaemonClient implements Receiver {
  readonly #dispatcher: Dispatcher;
  readonly #options: DaemonClientOptions;
  readonly #pending = new PendingCommands();
  #session: Session | null = null;

  /** Knows the address; nothing is opened before the first command. */
  constructor(dispatcher: Dispatcher, options: DaemonClientOptions) {
    this.#dispatcher = dispatcher;
    this.#options = options;
  }

  /** The session in use, or null. */
  get session(): Session | null {
    return this.#session;
  }

  /**
   * Runs a command, such as `{"prefix": "version"}`.
   *
   * @throws when there is no answer; an error of the daemon's is a result, not an exception
   */
  command(words: readonly string[], input: Uint8Array = NO_BYTES): Promise<CommandOutcome> {
    const { timeoutMs } = this.#options;
    const lateText = (): string => this.#failure(`no answer within ${timeoutMs} ms`);
    return this.#pending.add(words, input, timeoutMs, lateText, (command) => this.#send(command));
  }

  /** Ends the session; what waits for an answer fails. */
  close(): void {
    this.#end("the client was closed");
  }

  /** The dispatcher brings a message. */
  handleMessage(batch: Batch, index: number): void {
    if (batch.type(index) !== MessageType.CommandReply) return;
    const tid = batch.tidLo(index);
    const reply = readCommandReply(batch.front(index));
    if (reply === null) this.#pending.reject(tid, new Error(this.#failure(describeFault())));
    else this.#pending.resolve(tid, { ...reply, output: batch.data(index).slice() });
  }

  /** The dispatcher brings an event. */
  handleEvent(event: MessengerEvent): void {
    if (event.kind !== "connect") this.#end(event.text);
  }

  #send({ tid, words, input }: PendingCommand): void {
    const { address, fsid } = this.#options;
    this.#session ??= this.#dispatcher.open(address, POLICIES.lossyClient, this);
    const front = writeCommand({ fsid, words });
    const message = { ...COMMAND, front, data: input, tid: U64.of(tid) };
    const serial = this.#session?.send(message) ?? 0;
    if (serial > 0) return;
    const why = `no room for a command of ${front.length + input.length} bytes`;
    this.#pending.reject(tid, new Error(this.#failure(why)));
  }

  #end(why: string): void {
    if (this.#session !== null) this.#dispatcher.disconnect(this.#session);
    this.#session = null;
    this.#pending.rejectAll(new Error(this.#failure(why)));
  }

  #failure(why: string): string {
    return `Cannot run command on ${this.#options.name} at ${this.#options.address}: ${why}`;
  }
}
