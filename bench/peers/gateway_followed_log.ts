/**
 * A log file that a program writes and logrotate moves aside: at a size it is renamed and a new one is
 * begun; the two before it are kept.
 *
 * @module
 */
import { delay } from "../../src/app/delay.ts";
import type { Load } from "./gateway_clients.ts";
import { writeMessage } from "./gateway_messages.ts";

const ROTATE_BYTES = 256 * 1024;
const WRITE_MS = 20;
const MESSAGES_MAX = 1024;
const LF = 0x0a;

/** One such log. */
export class FollowedLog {
  /** The file that is written. */
  readonly path: string;
  #size = 0;

  /** @param path of a file that is not there */
  constructor(path: string) {
    this.path = path;
  }

  /** Writes a load; what is in the file counts as acknowledged. */
  async write({ ledger, pace, sizeBytes }: Load): Promise<void> {
    const bytes = new Uint8Array(MESSAGES_MAX * (sizeBytes + 1));
    while (!pace.over) {
      await delay(WRITE_MS);
      const count = pace.take(MESSAGES_MAX);
      const first = ledger.begin(count);
      let end = 0;
      for (let id = first; id < first + count; id++) {
        end = writeMessage(bytes, end, ledger.source, id, sizeBytes);
        bytes[end++] = LF;
      }
      await Deno.writeFile(this.path, bytes.subarray(0, end), { append: true });
      for (let id = first; id < first + count; id++) ledger.acknowledge(id);
      this.#size += end;
      if (this.#size >= ROTATE_BYTES) await this.#rotate();
    }
  }

  async #rotate(): Promise<void> {
    await Deno.rename(`${this.path}.1`, `${this.path}.2`).catch(() => {}); // there may be none
    await Deno.rename(this.path, `${this.path}.1`);
    this.#size = 0;
  }
}
