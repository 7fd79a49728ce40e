/**
 * A witness that listens: `fairlead standby witness`, and a hub with "witness". It has sessions of its
 * own, so that messages that wait for a disk never keep a lease waiting.
 *
 * @module
 */
import type { AuthOptions, MessengerEvent } from "../../proto/msgr2/messenger.ts";
import { POLICIES } from "../../proto/msgr2/policy.ts";
import { addressText } from "../address_text.ts";
import { Endpoint } from "../endpoint.ts";
import { FairleadType } from "../message_types.ts";
import { makeStateDirectory } from "../state_directory.ts";
import { WitnessDesk } from "./witness_desk.ts";

/** Words are short. */
const FRAME_BYTES_MAX = 256 * 1024;

/** How a {@linkcode WitnessServer} is made. */
export interface WitnessServerOptions {
  /** `v2:0.0.0.0:6820` */
  readonly listen: string;
  readonly auth: AuthOptions;
  /** Where its promises are kept. */
  readonly state: string;
  /** A sentence for the log. */
  note(text: string): void;
  onEvent(event: MessengerEvent): void;
}

/** The open listener. */
export class WitnessServer {
  readonly desk: WitnessDesk;
  /** As a person types it. */
  readonly address: string;
  readonly #endpoint: Endpoint;

  /**
   * Listens.
   *
   * @throws when the address or the directory cannot be used, or what it has promised is damaged
   */
  static async open(options: WitnessServerOptions): Promise<WitnessServer> {
    const { auth, listen, note, onEvent, state } = options;
    await makeStateDirectory(state);
    const desk = new WitnessDesk(state, note);
    const endpoint = new Endpoint({
      auth,
      policyFor: () => POLICIES.statefulServer,
      messenger: { frameBytesMax: FRAME_BYTES_MAX, anyTarget: true },
    });
    endpoint.onEvent(onEvent);
    endpoint.handle((batch) => {
      for (let index = 0; index < batch.length; index++) {
        if (batch.type(index) === FairleadType.Standby) {
          desk.handleWord(batch.front(index), batch.session(index));
        } else desk.badWords++;
      }
    });
    try {
      const address = addressText(await endpoint.listen(listen));
      return new WitnessServer(desk, endpoint, address);
    } catch (error) {
      await endpoint.close();
      throw error;
    }
  }

  private constructor(desk: WitnessDesk, endpoint: Endpoint, address: string) {
    this.desk = desk;
    this.#endpoint = endpoint;
    this.address = address;
  }

  /** Ends; boxes look for it again. */
  async close(): Promise<void> {
    await this.#endpoint.close({ tellPeers: false });
  }
}
