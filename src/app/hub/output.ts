/**
 * Where a hub hands messages to. The hub works in rounds: every message of a round is taken by the
 * outputs that its topic selects, then those that are required are flushed, then the numbers of the
 * messages and the outputs' positions are stored in one transaction, and only then is the round
 * acknowledged. After a crash an output is opened with the position of the last round stored.
 *
 * @module
 */

/** A message as it arrived; valid during the call that hands it over. */
export interface Received {
  /** Name of the gateway where it entered: `client.gw1`. */
  gateway: string;
  /** Id of that gateway's spool, 32 hex digits. */
  spool: string;
  /** Its stream in that spool, and its number there: with the spool id they name it for ever. */
  stream: number;
  number: number;
  topic: string;
  contentType: string;
  /** When it entered the gateway, ms since 1970 by the gateway's clock. */
  arrivalMs: number;
  payload: Uint8Array;
}

/** What an output counts. */
export interface OutputCounts {
  messages: number;
  bytes: number;
  /** Messages that it lost: only outputs that are not required lose any. */
  dropped: number;
  /** Connections, files opened: whatever it has made again. */
  reopened: number;
}

/** A running output. */
export interface Output {
  /** Its key in the configuration. */
  readonly name: string;
  /** The acknowledgement waits for its `flush`. */
  readonly required: boolean;
  readonly counts: OutputCounts;
  /** Where it writes, for people: a path, an address. */
  readonly where: string;
  /** The last thing that went wrong, empty when nothing is wrong now. */
  readonly trouble: string;

  /** Takes a message; its bytes are copied or written. Never throws. */
  take(message: Received): void;

  /**
   * Resolves when all that was taken is as safe as this output makes it: on disk, in the hands of
   * the next program. Rejects when it cannot be: the round is then not acknowledged, and the hub
   * calls `flush` again after a while until it can.
   */
  flush(): Promise<void>;

  /** What is to be stored with the round's numbers; null when it needs nothing. */
  position(): string | null;

  /** Ends; what was not flushed will come again. */
  close(): Promise<void>;
}
