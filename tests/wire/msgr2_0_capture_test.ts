/**
 * Whole msgr2.0 conversations with a real monitor, both ways of each read by one reader and
 * written again by one writer. msgr2 "Frame format" and "Post-auth frame format", revision 0.
 */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { regionOf } from "../../src/mem/region.ts";
import { gcmMaker } from "../../src/io/libcrypto.ts";
import { AuthBadMethod, readAuthBadMethod } from "../../src/wire/msgr2/auth.ts";
import { FrameFormat } from "../../src/wire/msgr2/frame.ts";
import { MessageHeader, readMessageHeader } from "../../src/wire/msgr2/message.ts";
import { Nonce } from "../../src/wire/msgr2/nonce.ts";
import { Tag, tagName } from "../../src/wire/msgr2/tag.ts";
import captured from "../vectors/msgr2_0.json" with { type: "json" };
import { type Bytes, concat, type FrameRead, Receiver, Sender, whole } from "./frame_model.ts";

interface Connection {
  readonly name: string;
  /** The secret of AUTH_SIGNATURE. */
  readonly session_key?: string;
  readonly connection_secret?: string;
  readonly frames: readonly Frame[];
}

interface Frame {
  readonly from: string;
  readonly tag: string;
  readonly note: string;
  readonly raw: string;
}

const CONNECTIONS: readonly Connection[] = captured.connections;
const DIRECTIONS = CONNECTIONS.flatMap((connection) =>
  ["client", "server"].map((from) => ({ name: connection.name, connection, from }))
);

/** Frames of one side, without its banner. */
function framesOf({ frames }: Connection, from: string): Frame[] {
  return frames.filter((frame) => frame.from === from && frame.tag !== "BANNER");
}

/** The key and the nonce of one side, once it seals. */
function cipherOf(connection: Connection, from: string): { key: Bytes; nonce: Nonce } | null {
  if (connection.connection_secret === undefined) return null;
  const secret = Uint8Array.fromHex(connection.connection_secret);
  const at = from === "client" ? 28 : 16;
  return { key: secret.slice(0, 16), nonce: new Nonce(secret.slice(at, at + 12), 0) };
}

Deno.test.each(DIRECTIONS)("$name: what the $from sent is read and written", (row) => {
  const { connection, from } = row;
  const receiver = new Receiver(FrameFormat.Crc20);
  const sender = new Sender(FrameFormat.Crc20);
  for (const { tag, raw } of framesOf(connection, from)) {
    if (tag === "AUTH_SIGNATURE") {
      const forReader = cipherOf(connection, from);
      const forWriter = cipherOf(connection, from);
      if (forReader && forWriter) {
        receiver.reader.secure(gcmMaker().opener(forReader.key), forReader.nonce);
        assert.ok(sender.writer.secure(gcmMaker().sealer(forWriter.key), forWriter.nonce));
      }
    }
    const wire = Uint8Array.fromHex(raw);
    const read = whole(receiver.feed(wire));
    assert.equal(tagName(read.tag), tag);
    assert.deepEqual([read.bytes, read.aborted], [wire.length, false]);
    assert.deepEqual(writeAgain(sender, read), wire, tag);
  }
  receiver.close();
  sender.close();
});

Deno.test.each(DIRECTIONS)("$name: the $from's signature covers all it received", (row) => {
  const { frames, session_key: sessionKey } = row.connection;
  const receiver = new Receiver(FrameFormat.Crc20);
  const cipher = cipherOf(row.connection, row.from);
  if (cipher) receiver.reader.secure(gcmMaker().opener(cipher.key), cipher.nonce);
  const own = frames.find(({ from, tag }) => from === row.from && tag === "AUTH_SIGNATURE");
  const read = whole(receiver.feed(Uint8Array.fromHex(own!.raw)));
  receiver.close();
  const before = frames.slice(0, frames.findIndex(({ tag }) => tag === "AUTH_SIGNATURE"));
  const received = concat(
    before.filter(({ from }) => from !== row.from).map(({ raw }) => Uint8Array.fromHex(raw)),
  );
  const expected = sessionKey === undefined
    ? new Uint8Array(32)
    : createHmac("sha256", Uint8Array.fromHex(sessionKey)).update(received).digest();
  assert.deepEqual(read.segments[0], Uint8Array.from(expected));
});

/** What the monitor said, as printed by the program that recorded it. */
const REFUSALS = CONNECTIONS.flatMap(({ name, frames }) =>
  frames.filter(({ tag }) => tag === "AUTH_BAD_METHOD").map((frame) => ({ name, frame }))
);

Deno.test.each(REFUSALS)("$name: AUTH_BAD_METHOD, $frame.note", ({ frame }) => {
  const receiver = new Receiver(FrameFormat.Crc20);
  const [payload] = whole(receiver.feed(Uint8Array.fromHex(frame.raw))).segments;
  receiver.close();
  const into = new AuthBadMethod();
  assert.equal(readAuthBadMethod(regionOf(payload!), 0, payload!.length, into), payload!.length);
  const methods = into.methods.subarray(0, into.methodCount);
  const modes = into.modes.subarray(0, into.modeCount);
  const fields = `method ${into.method}, result ${into.result}`;
  assert.equal(
    `${fields}, allowed methods [${methods}], allowed modes [${modes}]`,
    frame.note,
  );
});

function writeAgain(sender: Sender, read: FrameRead): Bytes {
  const [first, front, middle, data] = read.segments;
  if (read.tag !== Tag.Message) return sender.control(read.tag, first!);
  const header = new MessageHeader();
  readMessageHeader(regionOf(first!), 0, first!.length, data!.length, header);
  const { seq, ackSeq, type, priority, version, compatVersion, tid } = header;
  return sender.message({
    ...{ seq, ackSeq, type, priority, version, compatVersion, tidLo: tid.lo },
    ...{ front: front!, middle: middle!, data: data! },
  });
}
