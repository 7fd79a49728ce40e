/**
 * A session with whichever monitor of a cluster answers, for as long as the program needs one:
 * hunts over all monitors, comes back when the one in use goes away, and sends commands that had no
 * answer again. Ceph documentation, "Monitor Config Reference"; the messages are in wire/ceph/mon.ts.
 *
 *     hunting ──(one of the attempts is let in)──► subscribed ──(MMonMap)──► in session
 *        ▲                                             │                        │
 *        └────────────────(the session ends)───────────┴────────────────────────┘
 *
 * @module
 */
import { describeFault } from "../mem/fault.ts";
import { U64 } from "../mem/u64.ts";
import type { Batch } from "../proto/msgr2/batch.ts";
import type { MessengerEvent } from "../proto/msgr2/messenger.ts";
import { POLICIES } from "../proto/msgr2/policy.ts";
import type { Session } from "../proto/msgr2/session.ts";
import { MessageType } from "../wire/ceph/message_type.ts";
import {
  MON_COMMAND,
  MON_SUBSCRIBE,
  type MonMap,
  readMonCommandAck,
  readMonMap,
  writeMonCommand,
  writeMonSubscribe,
} from "../wire/ceph/mon.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import type { Dispatcher, Receiver } from "./dispatcher.ts";
import { type CommandOutcome, type PendingCommand, PendingCommands } from "./pending_commands.ts";

/** How a {@linkcode MonClient} is made. */
export interface MonClientOptions {
  /** Monitors to start with; those of the cluster's map are added. */
  readonly mons: readonly EntityAddr[];
  /** How long `connect()` and each command may take; 0 waits without end. */
  readonly timeoutMs: number;
  /** The name of this box, for the monitor's log. */
  readonly host: string;
}

/** An attempt that is not through after this gets company: mon_client_hunt_interval is 3 s. */
const HUNT_STAGGER_MS = 1000;
/** Attempts at once: mon_client_hunt_parallel. */
const HUNT_PARALLEL = 3;
/** First and longest wait when every monitor failed. */
const ROUND_MS = 200;
const ROUND_MS_MAX = 3000;

const CLOSED = "Cannot go on with the monitors as the client was closed";
const NO_BYTES = new Uint8Array(0);

/** A client of the monitors. */
export class MonClient implements Receiver {
  /** The cluster's monitors, once known. */
  monMap: MonMap | null = null;
  /** Sessions that stood so far. */
  sessions = 0;
  readonly #dispatcher: Dispatcher;
  readonly #options: MonClientOptions;
  readonly #pending = new PendingCommands();
  readonly #attempts = new Set<Session>();
  readonly #faults = new Map<string, string>();
  #mons: EntityAddr[];
  #toTry: EntityAddr[] = [];
  #session: Session | null = null;
  #roundMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #connecting: PromiseWithResolvers<MonMap> | null = null;
  #refusal: Error | null = null;
  #closed = false;

  /** Knows the monitors; nothing is opened before the first `connect()` or command. */
  constructor(dispatcher: Dispatcher, options: MonClientOptions) {
    this.#dispatcher = dispatcher;
    this.#options = options;
    this.#mons = [...options.mons];
  }

  /** The session in use, or null while hunting. */
  get session(): Session | null {
    return this.#session;
  }

  /**
   * Resolves with the monitor map when a monitor has let us in.
   *
   * @throws when none does in time, or one refuses who we are
   */
  async connect(): Promise<MonMap> {
    if (this.#closed) throw new Error(CLOSED);
    if (this.#session !== null && this.monMap !== null) return this.monMap;
    this.#refusal = null;
    this.#connecting ??= Promise.withResolvers<MonMap>();
    const waiting = this.#connecting;
    const { timeoutMs } = this.#options;
    const late = (): void => this.#failConnect(new Error(this.#lateText()));
    const timer = timeoutMs > 0 ? setTimeout(late, timeoutMs) : undefined;
    this.#hunt();
    try {
      return await waiting.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Runs a command, such as `{"prefix": "status"}`; a command whose session breaks is sent again on
   * the next one, so it may run twice.
   *
   * @throws when there is no answer in time; an error of the cluster's is a result, not an exception
   */
  command(words: readonly string[], input: Uint8Array = NO_BYTES): Promise<CommandOutcome> {
    const { timeoutMs } = this.#options;
    return this.#pending.add(words, input, timeoutMs, () => this.#lateText(), (command) => {
      this.#refusal = null;
      if (this.#closed) this.#pending.reject(command.tid, new Error(CLOSED));
      else if (this.#session === null) this.#hunt();
      else this.#send(command);
    });
  }

  /** Ends the session; what waits for an answer fails. The dispatcher is its owner's to close. */
  close(): void {
    this.#closed = true;
    this.#stopHunting();
    if (this.#session !== null) this.#dispatcher.disconnect(this.#session);
    this.#session = null;
    this.#fail(new Error(CLOSED));
  }

  /** The dispatcher brings a message. */
  handleMessage(batch: Batch, index: number): void {
    const type = batch.type(index);
    if (type === MessageType.MonMap) this.#handleMonMap(batch.front(index));
    else if (type === MessageType.MonCommandAck) {
      const ack = readMonCommandAck(batch.front(index));
      const tid = batch.tidLo(index);
      if (ack === null) {
        this.#pending.reject(tid, new Error(describeFault()));
      } else {
        const output = batch.data(index).slice();
        this.#pending.resolve(tid, { result: ack.result, status: ack.status, output });
      }
    }
  }

  /** The dispatcher brings an event. */
  handleEvent(event: MessengerEvent, session: Session): void {
    switch (event.kind) {
      case "connect":
        this.#handleConnect(session);
        break;
      case "refused":
        this.#handleRefused(event, session);
        break;
      case "fault":
      case "reset":
        this.#handleFault(event, session);
        break;
    }
  }

  #handleConnect(session: Session): void {
    this.#attempts.delete(session);
    this.#stopHunting();
    this.#session = session;
    this.sessions++;
    this.#roundMs = 0;
    this.#faults.clear();
    const wanted = [{ what: "monmap", start: 0, once: false }];
    session.send({ ...MON_SUBSCRIBE, front: writeMonSubscribe(wanted, this.#options.host) });
    if (this.monMap !== null) this.#handleInSession(this.monMap);
  }

  #handleMonMap(front: Uint8Array): void {
    const map = readMonMap(front);
    if (map === null) {
      this.#fail(new Error(describeFault()));
      return;
    }
    const isFirst = this.monMap === null;
    this.monMap = map;
    const found = map.mons.map(({ addrs }) => addrs.v2()).filter((addr) => addr !== null);
    this.#mons = [...this.#options.mons];
    for (const addr of found) {
      if (!this.#mons.some((known) => known.equals(addr))) this.#mons.push(addr);
    }
    if (isFirst && this.#session !== null) this.#handleInSession(map);
  }

  #handleInSession(map: MonMap): void {
    this.#connecting?.resolve(map);
    this.#connecting = null;
    for (const command of this.#pending.all()) this.#send(command);
  }

  /** Who we are is no other monitor's opinion either: trying on would only lock us out. */
  #handleRefused(event: MessengerEvent, session: Session): void {
    const text = event.text;
    this.#attempts.delete(session);
    this.#dispatcher.disconnect(session);
    this.#stopHunting();
    this.#fail(new Refused(`${session.target}: ${text}`));
  }

  #handleFault(event: MessengerEvent, session: Session): void {
    this.#faults.set(`${session.target}`, event.text);
    this.#dispatcher.disconnect(session);
    if (session === this.#session) {
      this.#session = null;
      this.#hunt();
    } else if (this.#attempts.delete(session)) {
      this.#tryNext();
    }
  }

  /** Starts a round over all monitors, unless one is under way. */
  #hunt(): void {
    if (this.#closed || this.#session !== null || this.#timer !== undefined) return;
    if (this.#attempts.size > 0) return;
    this.#toTry = shuffled(this.#mons);
    this.#tryNext();
  }

  /** One more attempt, and a timer for the one after it. */
  #tryNext(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#closed || this.#session !== null || this.#refusal !== null) return;
    const target = this.#attempts.size < HUNT_PARALLEL ? this.#toTry.shift() : undefined;
    if (target !== undefined) {
      const session = this.#dispatcher.open(target, POLICIES.lossyClient, this);
      if (session === null) this.#faults.set(`${target}`, "Too many sessions are open");
      else this.#attempts.add(session);
    }
    if (this.#toTry.length > 0) {
      this.#timer = setTimeout(() => this.#tryNext(), HUNT_STAGGER_MS);
    } else if (this.#attempts.size === 0) {
      this.#roundMs = Math.min(Math.max(this.#roundMs * 2, ROUND_MS), ROUND_MS_MAX);
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#hunt();
      }, this.#roundMs);
    }
  }

  #stopHunting(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#toTry = [];
    for (const attempt of this.#attempts) this.#dispatcher.disconnect(attempt);
    this.#attempts.clear();
  }

  #send({ tid, words, input }: PendingCommand): void {
    const { monMap } = this;
    if (monMap === null || this.#session === null) return; // sent once the map is here
    const front = writeMonCommand({ fsid: monMap.fsid, words });
    const message = { ...MON_COMMAND, front, data: input, tid: U64.of(tid) };
    if (this.#session.send(message) > 0) return;
    const text = `Cannot send command as it must fit into the session's queue: current value is ` +
      `${front.length + input.length} bytes`;
    this.#pending.reject(tid, new Error(text));
  }

  #failConnect(error: Error): void {
    this.#connecting?.reject(error);
    this.#connecting = null;
    if (this.#pending.size === 0 && this.#session === null) this.#stopHunting();
  }

  #fail(error: Error): void {
    this.#refusal = error;
    this.#failConnect(error);
    this.#pending.rejectAll(error);
  }

  #lateText(): string {
    const { timeoutMs } = this.#options;
    if (this.#session !== null) {
      return `Cannot wait longer for an answer of ${this.#session.target}: current value is ` +
        `${timeoutMs} ms, give more with --timeout`;
    }
    const known = this.#mons.map((mon) => {
      const fault = this.#faults.get(`${mon}`) ?? "no answer yet";
      return fault.includes(`${mon}`) ? fault : `${mon}: ${fault}`;
    });
    return `Cannot reach a monitor within ${timeoutMs} ms: ${known.join("; ")}`;
  }
}

/** A monitor refused who we are. */
export class Refused extends Error {
  override name = "Refused";
}

/** Clients of one cluster spread over its monitors. */
function shuffled(mons: readonly EntityAddr[]): EntityAddr[] {
  const all = [...mons];
  for (let index = all.length - 1; index > 0; index--) {
    const other = Math.floor(Math.random() * (index + 1));
    [all[index], all[other]] = [all[other]!, all[index]!];
  }
  return all;
}
