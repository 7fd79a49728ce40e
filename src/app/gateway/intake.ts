/**
 * What stands between inputs and the spool: an input offers messages, is told to wait when there is
 * no room, and asks when what it offered is on disk before it acknowledges anything itself.
 *
 * @module
 */

/** Where an input hands its messages to. */
export interface Intake {
  /**
   * True when `offer` refuses only for a while, so that an input whose protocol can wait should:
   * `room()`, and offer again. False when what is refused is to be counted as dropped.
   */
  readonly waits: boolean;

  /**
   * Takes a message; its bytes are copied. False when it was not taken: no room, or the spool fails.
   *
   * @param contentType a media type such as `text/plain`, `application/json`
   */
  offer(topic: string, payload: Uint8Array, contentType: string): boolean;

  /** Resolves when `offer` may succeed again, or a moment has passed. */
  room(): Promise<void>;

  /** Resolves when all that was offered before is on disk; with a spool in memory at once. */
  durable(): Promise<void>;

  /** Where to go on reading, as last stored; null at the first start. */
  position(): string | null;

  /** Stores where to go on, in one transaction with what was offered before this call. */
  setPosition(position: string): void;
}

/** What an input counts; the names are those of its status. */
export interface InputCounts {
  /** Messages taken. */
  messages: number;
  /** Their payload bytes. */
  bytes: number;
  /** Messages lost because there was no room and the protocol cannot wait. */
  dropped: number;
  /** Input that was refused: malformed, too long, not authorized, too many connections. */
  refused: number;
  /** Open connections. */
  clients: number;
  /** Connections that wait for room. */
  waiting: number;
}

/** A running input. */
export interface Input {
  /** Its key in the configuration. */
  readonly name: string;
  readonly counts: InputCounts;
  /** Where it listens or reads, for people: `127.0.0.1:8710`, a path. */
  readonly where: string;
  /** The last thing that went wrong, empty when nothing is wrong now. */
  readonly trouble: string;
  /** Takes what has arrived already, then closes; what is held is offered until `deadlineMs`. */
  stop(deadlineMs: number): Promise<void>;
}

/** Counts that are all zero. */
export function inputCounts(): InputCounts {
  return { messages: 0, bytes: 0, dropped: 0, refused: 0, clients: 0, waiting: 0 };
}
