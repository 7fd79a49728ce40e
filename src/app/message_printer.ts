/**
 * Received messages on standard output, for programs to read. One line each, all lines of a batch
 * in one write, before the batch is acknowledged:
 *
 *     NAME TYPE PAYLOAD
 *
 * NAME is the peer's authenticated name (`client.gw1`; blanks escaped). TYPE is `line`, `reading`,
 * `file_head`, `file_data`, `file_end`, or the number as `0x00f0`. PAYLOAD, the rest of the line,
 * is the front segment where it is text: as it is, but control characters and what is not UTF-8
 * are escaped (printable.ts). For `file_data` and foreign types it is the size: `4096 bytes`.
 *
 * As JSON, one object a line: `name`, `type`, `seq` (number in the session), and `payload`: a text
 * for a line, the value for JSON; or `payload_base64` for bytes that are neither.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Batch } from "../proto/msgr2/batch.ts";
import type { Session } from "../proto/msgr2/session.ts";
import { carriesJson, FairleadType, messageTypeName } from "./message_types.ts";
import { printableBytes, printableJson, printableWord } from "./printable.ts";
import { printBytes } from "./terminal.ts";

/** A write is made when so much has come together, and at the end of each batch. */
const BUFFER_BYTES = 64 * 1024;
const LF = 0x0a;

const encoder = new TextEncoder();
const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Prints the messages of batches. */
export class MessagePrinter {
  readonly #json: boolean;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #used = 0;
  /** The last prefix: most messages follow one of the same session and type. */
  #prefix = encoder.encode("");
  #prefixSession: Session | null = null;
  #prefixType = -1;

  /** @param json objects instead of `NAME TYPE PAYLOAD` */
  constructor(json: boolean) {
    this.#json = json;
  }

  /** Prints all messages of a batch; throws when standard output cannot be written to. */
  take(batch: Batch): void {
    for (let index = 0; index < batch.length; index++) {
      if (this.#json) this.#add(encoder.encode(jsonText(batch, index)));
      else {
        this.#addPrefix(batch, index);
        this.#add(payloadBytes(batch, index));
      }
      this.#end();
    }
    this.#flush();
  }

  #addPrefix(batch: Batch, index: number): void {
    const session = batch.session(index);
    const type = batch.type(index);
    if (session !== this.#prefixSession || type !== this.#prefixType) {
      this.#prefix = encoder.encode(`${printableWord(session.peerName)} ${messageTypeName(type)} `);
      this.#prefixSession = session;
      this.#prefixType = type;
    }
    this.#add(this.#prefix);
  }

  #add(bytes: Uint8Array): void {
    if (this.#used + bytes.length + 1 > BUFFER_BYTES) this.#flush();
    if (bytes.length + 1 > BUFFER_BYTES) {
      printBytes(bytes);
      return;
    }
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  #end(): void {
    this.#buffer[this.#used++] = LF;
  }

  #flush(): void {
    if (this.#used > 0) printBytes(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }
}

function payloadBytes(batch: Batch, index: number): Uint8Array {
  const type = batch.type(index);
  if (type === FairleadType.Line || carriesJson(type)) return printableBytes(batch.front(index));
  const bytes = batch.frontBytes(index) + batch.middleBytes(index) + batch.dataBytes(index);
  return encoder.encode(`${bytes} bytes`);
}

function jsonText(batch: Batch, index: number): string {
  const type = batch.type(index);
  const head = {
    name: batch.session(index).peerName,
    type: messageTypeName(type),
    seq: batch.seq(index),
  };
  const bytes = type === FairleadType.FileData ? batch.data(index) : batch.front(index);
  const text = type === FairleadType.Line || carriesJson(type) ? decode(bytes) : null;
  if (text === null) {
    return printableJson({ ...head, payload_base64: Buffer.from(bytes).toString("base64") });
  }
  return printableJson({ ...head, payload: carriesJson(type) ? parsed(text) : text });
}

function decode(bytes: Uint8Array<ArrayBuffer>): string | null {
  try {
    return strictDecoder.decode(bytes);
  } catch {
    return null;
  }
}

/** JSON's value; the text itself when it is none. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
