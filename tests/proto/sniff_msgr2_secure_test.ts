/** Secure mode in a capture: opened with the keyring, named as shut without; holes and large frames. */
import assert from "node:assert/strict";
import { arenaTaken } from "../../src/mem/arena.ts";
import { U64 } from "../../src/mem/u64.ts";
import { Means } from "../../src/proto/boundary/side_decoder.ts";
import type { Keyring } from "../../src/wire/cephx/keyring.ts";
import { type Bytes, FORMATS, pattern } from "../wire/frame_model.ts";
import {
  cephxEnds,
  Feeder,
  type FeederOptions,
  type Placed,
  placesOf,
  record,
  type Sent,
  sharedBy,
  type Told,
} from "../capture/msgr2_streams.ts";
import { Link, say } from "./link.ts";

const SECURE_FORMATS = FORMATS.slice(2);

interface Recorded {
  readonly sent: Sent[];
  readonly keyring: Keyring;
  /** All messages of side 0. */
  readonly placed: Placed[];
  /** The whole stream of side 0. */
  readonly bytes: Bytes;
}

function recordSecure(format: number, job: (link: Link) => void): Recorded {
  const { keyring, auth } = cephxEnds("secure");
  const outboxBytesMax = 64 * 1024 * 1024;
  const link = new Link({ format, options: { auth, outboxBytesMax } });
  const sent = record((connection) => connection.messenger === link.client, () => {
    link.ready();
    job(link);
    link.settle();
  });
  link.close();
  const told = replay(sent, [], { shared: sharedBy(keyring) });
  const parts = sent.filter(({ side }) => side === 0);
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.bytes.length, 0));
  parts.reduce((at, part) => {
    bytes.set(part.bytes, at);
    return at + part.bytes.length;
  }, 0);
  return { sent, keyring, placed: placesOf(told, 0), bytes };
}

/** Plays a connection as it was, with a part of side 0 missing. */
function replay(
  sent: readonly Sent[],
  holes: readonly (readonly [number, number])[],
  options: FeederOptions,
): Told[] {
  const feeder = new Feeder(options);
  let at = 0;
  for (const { side, bytes } of sent) {
    if (side === 1) {
      feeder.feed(1, bytes);
      continue;
    }
    const end = at + bytes.length;
    let from = at;
    for (const [offset, length] of holes) {
      const first = Math.max(offset, from);
      const last = Math.min(offset + length, end);
      if (first >= last) continue;
      if (first > from) feeder.feed(0, bytes.slice(from - at, first - at));
      feeder.hole(0, last - first);
      from = last;
    }
    if (from < end) feeder.feed(0, bytes.slice(from - at));
    at = end;
  }
  return feeder.end();
}

function chat(link: Link): void {
  for (let index = 0; index < 6; index++) {
    link.session.send({ type: 0xfa01, tid: U64.of(index + 1), front: pattern(30 + index * 90, 1) });
    say(link, "more");
    link.settle();
  }
}

Deno.test.each(SECURE_FORMATS)(
  "$name: without a keyring AUTH_DONE says how to read on, and the rest is left",
  (it) => {
    const before = arenaTaken();
    const { sent } = recordSecure(it.format, chat);
    const told = replay(sent, [], { shared: sharedBy(null) });
    const last = told.filter(({ side }) => side === 1).at(-1)!;
    assert.equal(last.tag, "AUTH_DONE");
    assert.deepEqual(last.errors, ["secure mode: give --keyring FILE to read what follows"]);
    assert.ok(told.every(({ mode }) => mode === "crc"));
    assert.equal(told.filter(({ errors }) => errors.length > 0).length, 1);
    assert.equal(arenaTaken(), before);
  },
);

Deno.test.each(SECURE_FORMATS)(
  "$name: a keyring that has not the key is named as the reason",
  (it) => {
    const { sent } = recordSecure(it.format, chat);
    const told = replay(sent, [], { shared: sharedBy(cephxEnds("secure").keyring) });
    const done = told.find(({ tag }) => tag === "AUTH_DONE")!;
    assert.equal(done.errors.length, 1);
    assert.match(done.errors[0]!, /^secure mode: .+/);
    assert.ok(told.every(({ mode }) => mode === "crc"));
  },
);

Deno.test.each(SECURE_FORMATS)(
  "$name: with the keyring frames have their fields, and their plaintext",
  (it) => {
    const { sent, keyring } = recordSecure(it.format, chat);
    const told = replay(sent, [], { shared: sharedBy(keyring) });
    const request = told.find(({ tag }) => tag === "AUTH_REQUEST")!;
    assert.equal((request.fields.auth as Record<string, unknown>).entity, "client.gw1");
    const sealed = told.filter(({ mode }) => mode === "secure");
    assert.equal(sealed[0]!.tag, "AUTH_SIGNATURE");
    const messages = sealed.filter(({ tag, side }) => tag === "MSG" && side === 0);
    assert.equal(messages.length, 12);
    assert.deepEqual(
      messages.map(({ fields }) => fields.seq),
      messages.map((_, index) => index + 1),
    );
    const front = pattern(30, 1);
    assert.ok(indexOf(messages[0]!.bytes, front) > 0, "the front stands in the bytes");
    const secrets = JSON.stringify(told.map(({ fields }) => fields));
    assert.equal(/"(secret|key|session_key)"/.test(secrets), false);
  },
);

function indexOf(bytes: Bytes, part: Bytes): number {
  for (let at = 0; at + part.length <= bytes.length; at++) {
    if (part.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -1;
}

Deno.test.each(SECURE_FORMATS)("$name: after a hole the next frame is found by its nonce", (it) => {
  const before = arenaTaken();
  const { sent, keyring, placed, bytes } = recordSecure(it.format, chat);
  const first = placed.findIndex(({ tag }) => tag === "CLIENT_IDENT");
  const from = placed[first]!.offset;
  for (const length of [1, 40, 150, 700]) {
    for (let at = from; at + length < bytes.length; at += 17) {
      const told = replay(sent, [[at, length]], { shared: sharedBy(keyring) })
        .filter(({ side }) => side === 0);
      const whole = told.filter(({ missing }) => missing === 0);
      const expected = placed.filter((place) =>
        place.offset + place.length <= at || place.offset >= at + length
      );
      const what = `a hole of ${length} at ${at}`;
      assert.deepEqual(placesOf(whole, 0), expected, what);
      assert.ok(whole.every(({ errors }) => errors.length === 0), what);
      for (const damaged of told) {
        if (damaged.missing === 0) continue;
        assert.deepEqual(damaged.errors, [`hole: ${length} bytes were not captured`]);
        assert.ok(placed.some(({ offset }) => offset === damaged.offset));
      }
      assert.ok(told.every(({ foundBy }) => ["start", "length", "crc"].includes(foundBy)));
    }
  }
  assert.equal(arenaTaken(), before);
});

Deno.test.each(SECURE_FORMATS)("$name: without crc nothing is found behind a loss", (it) => {
  const { sent, keyring, placed } = recordSecure(it.format, chat);
  const first = placed.findIndex(({ tag }) => tag === "CLIENT_IDENT");
  const hole = [placed[first]!.offset + 3, 10] as const;
  const told = replay(sent, [hole], { shared: sharedBy(keyring), means: Means.Length });
  assert.deepEqual(placesOf(told, 0), placed.slice(0, first));
});

Deno.test.each(SECURE_FORMATS)("$name: each frame is found by its tag alone", (it) => {
  const { sent, keyring, placed } = recordSecure(it.format, chat);
  const told = replay(sent, [], { shared: sharedBy(keyring), means: Means.Crc });
  assert.deepEqual(placesOf(told, 0), placed);
});

Deno.test.each(SECURE_FORMATS)("$name: a changed byte spoils its frame and no other", (it) => {
  const { sent, keyring, placed } = recordSecure(it.format, chat);
  const message = placed.findLast(({ tag, length }) => tag === "MSG" && length > 400)!;
  let at = 0;
  const wrong = sent.map(({ connection, side, bytes }) => {
    const copy = bytes.slice();
    if (side === 0) {
      const index = message.offset + message.length - 40 - at;
      if (index >= 0 && index < copy.length) copy[index]! ^= 1;
      at += bytes.length;
    }
    return { connection, side, bytes: copy };
  });
  const told = replay(wrong, [], { shared: sharedBy(keyring) }).filter(({ side }) => side === 0);
  const sound = told.filter(({ errors }) => errors.length === 0);
  assert.deepEqual(placesOf(sound, 0), placed.filter((place) => place !== message));
});

Deno.test.each(SECURE_FORMATS)(
  "$name: a frame too large to be opened is told, and the next is read",
  (it) => {
    const bytes = 16 * 1024 * 1024 + 1;
    const { sent, keyring, placed } = recordSecure(it.format, (link) => {
      link.session.send({ type: 0xfa01, data: new Uint8Array(bytes) });
      link.settle();
      say(link, "behind");
    });
    const large = placed.find(({ tag }) => tag === "MSG")!;
    assert.ok(large.length > bytes);
    for (const holes of [[], [[large.offset + 5_000_000, 100_000] as const]]) {
      const told = replay(sent, holes, { shared: sharedBy(keyring) });
      assert.deepEqual(placesOf(told, 0), placed);
      const { errors, missing } = told.find(({ tag }) => tag === "MSG")!;
      assert.equal(missing, holes.length * 100_000);
      assert.match(errors[0]!, /16777216 at most to be opened/);
      assert.equal(told.filter((message) => message.errors.length > 0).length, 1);
    }
  },
);

Deno.test.each(SECURE_FORMATS)("$name: sealed bytes of the client wait for AUTH_DONE", (it) => {
  const { sent, keyring, placed } = recordSecure(it.format, chat);
  const done = sent.findIndex(({ side, bytes }) => side === 1 && bytes[0] === 6);
  assert.ok(done > 0);
  // What the client sends next is seen before AUTH_DONE is.
  const next = sent.findIndex(({ side }, index) => index > done && side === 0);
  const order = [...sent];
  const [early] = order.splice(next, 1);
  order.splice(done, 0, early!);
  const told = replay(order, [], { shared: sharedBy(keyring) });
  assert.deepEqual(placesOf(told, 0), placed);
});
