/**
 * How often a payload is copied in this process between a sender's `reserve()` and the receiver's
 * batch, two endpoints over loopback: never; once where `send()` takes an array. Counted apart is
 * what a receive buffer moves to its bottom, the first part of a frame whose rest found no room
 * behind it. What the kernel copies is not counted.
 */
import assert from "node:assert/strict";
import { Endpoint } from "../../src/app/endpoint.ts";
import { arena } from "../../src/mem/arena.ts";
import { ReceiveBuffer } from "../../src/mem/receive_buffer.ts";
import { recordDataAt } from "../../src/proto/msgr2/outbox.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";

const TYPE = 0xfa00;
const PAYLOAD_BYTES = 32 * 1024 * 1024;

/** Bytes that one call copied: of what it was called on, with which words, and what it made. */
type CopiedBytes = (on: Uint8Array, words: unknown[], made: ArrayBufferView) => number;

/** Counts bytes copied by the methods that copy between arrays, until it is disposed of. */
class Copies {
  /** By whom ever, but for receive buffers. */
  copied = 0;
  /** Within receive buffers, or from one to the next. */
  moved = 0;
  #moving = false;
  readonly #replaced: [object, string, unknown][] = [];

  constructor() {
    const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
    this.#count(typedArray, "set", (_on, [from]) => (from as Uint8Array).length);
    this.#count(typedArray, "copyWithin", (on, [_to, from, end]) => {
      return (end as number ?? on.length) - (from as number);
    });
    this.#count(typedArray, "slice", (_on, _words, made) => made.byteLength);
    this.#count(ArrayBuffer.prototype, "slice", (_on, _words, made) => made.byteLength);
    this.#replace(ReceiveBuffer.prototype, "makeRoom", (call) => {
      this.#moving = true;
      const room = call();
      this.#moving = false;
      return room;
    });
  }

  [Symbol.dispose](): void {
    for (const [of, name, method] of this.#replaced) Reflect.set(of, name, method);
  }

  #count(of: object, name: string, copied: CopiedBytes): void {
    this.#replace(of, name, (call, on, words) => {
      const made = call();
      if (on instanceof Int32Array) return made; // a gather list's own, no payload
      const bytes = copied(on as Uint8Array, words, made as ArrayBufferView);
      if (this.#moving) this.moved += bytes;
      else this.copied += bytes;
      return made;
    });
  }

  #replace(
    of: object,
    name: string,
    by: (call: () => unknown, on: unknown, words: unknown[]) => unknown,
  ): void {
    const method = Reflect.get(of, name);
    Reflect.set(of, name, function (this: unknown, ...words: unknown[]): unknown {
      return by(() => Reflect.apply(method, this, words), this, words);
    });
    this.#replaced.push([of, name, method]);
  }
}

/** Queues one message; false when there is no room. */
type Send = (session: Session, index: number) => boolean;

function writeInPlace(size: number): Send {
  return (session, index) => {
    const record = session.reserve(0, 0, size);
    if (record === 0) return false;
    arena.view.setUint32(recordDataAt(record), index, true);
    session.commit(record, TYPE, 127, 1, 1, 0, 0);
    return true;
  };
}

function sendArray(size: number): Send {
  const data = new Uint8Array(size);
  const view = new DataView(data.buffer);
  return (session, index) => {
    view.setUint32(0, index, true);
    return session.send({ type: TYPE, data }) !== 0;
  };
}

/** Bytes copied, and moved, for each byte of payload once buffers have found their size. */
async function count(size: number, send: Send): Promise<{ copied: number; moved: number }> {
  const [hub, box] = [new Endpoint(), new Endpoint()];
  let received = 0;
  let wrong = 0;
  hub.handle((batch) => {
    for (let index = 0; index < batch.length; index++) {
      if (arena.view.getUint32(batch.dataAt(index), true) !== received++) wrong++;
      if (batch.dataBytes(index) !== size) wrong++;
    }
  });
  const session = await box.connect(await hub.listen("v2:127.0.0.1:0"), POLICIES.losslessClient);
  await box.established(session);
  const messages = PAYLOAD_BYTES / size;
  let sent = 0;
  const stream = async (): Promise<void> => {
    for (const end = sent + messages; sent < end; sent++) {
      while (!send(session, sent)) await box.writable(session);
    }
    await box.flushed(session);
  };
  await stream();
  using copies = new Copies();
  await stream();
  await box.close();
  await hub.close();
  assert.deepEqual([received, wrong], [2 * messages, 0]);
  return { copied: copies.copied / PAYLOAD_BYTES, moved: copies.moved / PAYLOAD_BYTES };
}

/** Counted: moves of 0.0011 and 0.010 of the payload, and none of large frames. */
const SIZES = [
  { size: 256, movedMax: 0.0015 },
  { size: 4096, movedMax: 0.0125 },
  { size: 65_536, movedMax: 0.05 },
  { size: 1_048_576, movedMax: 0.05 },
];

Deno.test.each(SIZES)("$size bytes written in place are not copied", async ({ size, movedMax }) => {
  const { copied, moved } = await count(size, writeInPlace(size));
  assert.equal(copied, 0, `${copied} copies`);
  assert.ok(moved <= movedMax, `${moved} times the payload moved in receive buffers`);
});

Deno.test.each(SIZES)("send() copies $size bytes once", async ({ size, movedMax }) => {
  const { copied, moved } = await count(size, sendArray(size));
  assert.equal(copied, 1, `${copied} copies`);
  assert.ok(moved <= movedMax, `${moved} times the payload moved in receive buffers`);
});
