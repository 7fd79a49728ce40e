/**
 * The receiving end of gateways: an endpoint that keeps their sessions, and hands each batch to an
 * output before it is acknowledged.
 *
 * @module
 */
import type { Batch } from "../proto/msgr2/batch.ts";
import type { AuthOptions, MessengerEvent } from "../proto/msgr2/messenger.ts";
import type { Session } from "../proto/msgr2/session.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import { addressText } from "./address_text.ts";
import { serverPolicy } from "./connection_flags.ts";
import { Endpoint, type IoRoad } from "./endpoint.ts";
import { printableWord } from "./printable.ts";

/** Larger frames are refused: `fairlead send` has lines of 4 MiB at most, files go in pieces. */
const FRAME_BYTES_MAX = 8 * 1024 * 1024;

/** Takes messages over; it throws when it cannot. */
export interface HubOutput {
  take(batch: Batch): void;
}

/** How a {@linkcode Hub} is made. */
export interface HubOptions {
  /** Where to listen, such as `v2:127.0.0.1:0`. */
  readonly address: string;
  readonly auth: AuthOptions;
  readonly io: IoRoad;
  readonly output: HubOutput;
  onEvent(event: MessengerEvent): void;
}

/** A hub that runs until the process ends, or `close()`. */
export class Hub {
  /** Rejects when the output failed: what it could not take is not acknowledged. */
  readonly failed: Promise<never>;
  /** Messages taken over. */
  received = 0;
  readonly #endpoint: Endpoint;
  #address: EntityAddr | null = null;
  #fail: (error: Error) => void = () => {};

  /** Listens. */
  static async open(options: HubOptions): Promise<Hub> {
    const hub = new Hub(options);
    hub.#address = await hub.#endpoint.listen(options.address);
    return hub;
  }

  private constructor({ auth, io, output, onEvent }: HubOptions) {
    this.failed = new Promise((_resolve, reject) => this.#fail = reject);
    this.failed.catch(() => {}); // whoever waits for it hears it as well
    this.#endpoint = new Endpoint({
      auth,
      io,
      policyFor: () => serverPolicy("lossless"),
      messenger: { frameBytesMax: FRAME_BYTES_MAX },
    });
    this.#endpoint.onEvent(onEvent);
    this.#endpoint.handle((batch) => this.#take(batch, output));
  }

  /** Where it listens, as a person types it. */
  get address(): string {
    return addressText(this.#address!);
  }

  /** Sessions by the names of their peers, printable. */
  sessions(): (readonly [string, Session])[] {
    return [...this.#endpoint.messenger.sessions.values()].map((session) =>
      [printableWord(session.peerName), session] as const
    );
  }

  /** Ends; the last acknowledgements leave, and the gateways keep their sessions for the next hub. */
  close(): Promise<void> {
    return this.#endpoint.close({ tellPeers: false });
  }

  #take(batch: Batch, output: HubOutput): Promise<void> | undefined {
    try {
      output.take(batch);
    } catch (error) {
      this.#fail(new Error(`Cannot write messages out: ${(error as Error).message}`));
      return new Promise(() => {}); // never done: its messages will come again
    }
    this.received += batch.length;
    return undefined;
  }
}
