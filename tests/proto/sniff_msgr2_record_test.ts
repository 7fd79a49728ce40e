/** What two of our own messengers say to each other is read from a capture, in all four formats. */
import assert from "node:assert/strict";
import { arenaTaken } from "../../src/mem/arena.ts";
import { isSecure } from "../../src/wire/msgr2/frame.ts";
import {
  cephxEnds,
  Feeder,
  record,
  type Sent,
  sharedBy,
  type Told,
} from "../capture/msgr2_streams.ts";
import { FORMATS, pattern } from "../wire/frame_model.ts";
import { Link, say } from "./link.ts";
import { U64 } from "../../src/mem/u64.ts";
import type { Keyring } from "../../src/wire/cephx/keyring.ts";

function recordLink(
  format: number,
  job: (link: Link) => void,
): { sent: Sent[]; keyring: Keyring | null } {
  const ends = isSecure(format) ? cephxEnds("secure") : null;
  const link = new Link({ format, ...(ends === null ? {} : { options: { auth: ends.auth } }) });
  const sent = record((connection) => connection.messenger === link.client, () => {
    link.ready();
    job(link);
    link.settle();
  });
  link.close();
  return { sent, keyring: ends?.keyring ?? null };
}

/** `0 HELLO`, one line a message. */
function lines(told: readonly Told[]): string[] {
  return told.map(({ side, tag, errors }) => [`${side} ${tag}`, ...errors].join(": "));
}

Deno.test.each(FORMATS)("$name: a connection is told from its first byte to its last", (it) => {
  const before = arenaTaken();
  const { sent, keyring } = recordLink(it.format, (link) => {
    say(link, "one");
    link.settle();
    link.session.send({
      type: 0xfa01,
      tid: U64.of(9),
      front: pattern(2000, 1),
      data: pattern(9000, 2),
    });
    link.near.sendKeepalive(1_700_000_000, 5);
    link.client.markDirty(link.near);
    link.settle();
    link.serverSession.send({ type: 0xfa02, tid: U64.of(9), middle: pattern(30, 3) });
  });
  const feeder = new Feeder({ shared: sharedBy(keyring) });
  feeder.play(sent, 0);
  const told = feeder.end();
  const secure = isSecure(it.format);
  const text = lines(told);
  assert.ok(text.every((line) => !line.includes(":")), text.join("\n"));
  for (const side of [0, 1] as const) {
    const own = told.filter((message) => message.side === side);
    let at = 0;
    for (const { offset, length } of own) {
      assert.equal(offset, at);
      at += length;
    }
    const bytes = sent.filter((piece) => piece.side === side)
      .reduce((sum, piece) => sum + piece.bytes.length, 0);
    assert.equal(at, bytes, "no byte is left over");
  }
  const messages = told.filter(({ tag }) => tag === "MSG");
  assert.deepEqual(messages.map(({ type }) => type), [
    "private 0xfa00",
    "private 0xfa01",
    "private 0xfa02",
  ]);
  assert.ok(messages.every(({ mode }) => mode === (secure ? "secure" : "crc")));
  assert.ok(told.every(({ revision }, index) => index === 0 || revision === `2.${it.format & 1}`));
  assert.equal(messages[2]!.answers, "tid");
  assert.ok(messages[2]!.latencyNs > 0);
  assert.deepEqual(messages.map(({ session }) => session), [1, 1, 1]);
  assert.equal(told.find(({ tag }) => tag === "KEEPALIVE2_ACK")!.answers, "keepalive");
  assert.ok(told.some(({ tag, answers }) => tag === "ACK" && answers === "ack"));
  assert.equal(arenaTaken(), before);
});
