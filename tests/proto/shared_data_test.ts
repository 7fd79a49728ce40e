/** Data that many messages carry: sent from one place, kept as long as a message may need it. */
import assert from "node:assert/strict";
import { arena, arenaTaken } from "../../src/mem/arena.ts";
import { SEAL_STAGING_BYTES } from "../../src/mem/limits.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { SharedData } from "../../src/proto/msgr2/shared_data.ts";
import { FORMATS, pattern } from "../wire/frame_model.ts";
import { Link } from "./link.ts";

/** Around the padding, the inline part, and what is sealed ahead. */
const SIZES = [0, 1, 15, 16, 17, 5000, SEAL_STAGING_BYTES - 100, 3 * SEAL_STAGING_BYTES + 1];

interface Taken {
  readonly front: Uint8Array;
  readonly middle: Uint8Array;
  readonly data: Uint8Array;
}

/** Moves everything, and keeps what the server takes over. */
function collect(link: Link): Taken[] {
  const taken: Taken[] = [];
  const { server } = link;
  const takeBatch = server.takeBatch.bind(server);
  server.takeBatch = (): ReturnType<typeof takeBatch> => {
    const batch = takeBatch();
    for (let index = 0; batch !== null && index < batch.length; index++) {
      const [front, middle] = [batch.front(index).slice(), batch.middle(index).slice()];
      taken.push({ front, middle, data: batch.data(index).slice() });
    }
    return batch;
  };
  link.settle();
  server.takeBatch = takeBatch;
  return taken;
}

function queue(session: Session, front: number, middle: number, data: SharedData): number {
  const serial = session.send({
    type: 0xfa00,
    front: pattern(front, 1),
    middle: pattern(middle, 2),
    data,
  });
  assert.ok(serial > 0);
  return serial;
}

Deno.test.each(FORMATS)("$name: shared data of every size arrives whole", ({ format }) => {
  const start = arenaTaken();
  const link = new Link({ format });
  link.ready();
  for (const size of SIZES) {
    const bytes = pattern(size, 3);
    const data = SharedData.of(bytes);
    for (const [front, middle] of [[0, 0], [20, 0], [0, 33], [48, 16], [200_000, 5]]) {
      queue(link.session, front!, middle!, data);
      queue(link.session, front!, 0, data);
      const taken = collect(link);
      const expected = { front: pattern(front!, 1), middle: pattern(middle!, 2), data: bytes };
      assert.deepEqual(taken, [expected, { ...expected, middle: pattern(0, 2) }]);
    }
    data.release();
  }
  link.close();
  assert.equal(arenaTaken(), start);
});

Deno.test.each(FORMATS)("$name: a replay finds released data where it was", ({ format }) => {
  const start = arenaTaken();
  const bytes = pattern(100_000, 4);
  for (let cut = 1; cut < 250_000; cut += 7_919) {
    const link = new Link({ format });
    link.ready();
    const data = SharedData.of(bytes);
    queue(link.session, 10, 0, data);
    queue(link.session, 0, 0, data);
    data.release();
    link.carry(cut);
    link.cut();
    link.now += 10_000;
    const taken = collect(link);
    const late = cut > 200_400 ? 0 : cut > 100_200 ? 1 : 2;
    assert.ok(taken.length >= late, `cut after ${cut} bytes: ${taken.length} messages`);
    for (const message of taken) assert.deepEqual(message.data, bytes);
    assert.equal(link.server.counters.duplicates, 0);
    link.close();
  }
  assert.equal(arenaTaken(), start);
});

Deno.test("its memory goes back with the last of its holders, in any order", () => {
  const link = new Link({ format: FORMATS[1]!.format });
  link.ready();
  const start = arenaTaken();
  const first = SharedData.of(pattern(9000, 1));
  assert.equal(arenaTaken() - start, 16384);
  queue(link.session, 0, 0, first);
  link.settle();
  first.release();
  first.release();
  const second = SharedData.of(pattern(9000, 2));
  queue(link.session, 0, 0, second);
  second.release();
  assert.throws(() => queue(link.session, 0, 0, second), /Invariant broken: .*released/);
  link.settle();
  const third = SharedData.of(pattern(9000, 3));
  assert.equal(link.session.revoke(queue(link.session, 0, 0, third)), true);
  third.release();
  const kept = arenaTaken() - start; // the queue's own block
  assert.ok(kept <= 32768, `${kept}`);
  link.close();
});

Deno.test("its crc is computed once: a change afterwards is a broken frame", () => {
  const link = new Link({ format: FORMATS[1]!.format });
  link.ready();
  const data = SharedData.of(pattern(5000, 5));
  queue(link.session, 0, 0, data);
  assert.equal(collect(link).length, 1);
  arena.bytes[data.at] = arena.bytes[data.at]! ^ 1;
  queue(link.session, 0, 0, data);
  const { far } = link;
  link.turn();
  assert.match(far.closeText, /crc/);
  link.close();
});

Deno.test.each(FORMATS)("$name: half sent it is not taken back, waiting it is", ({ format }) => {
  const link = new Link({ format });
  link.ready();
  const data = SharedData.of(pattern(600_000, 6));
  const begun = queue(link.session, 0, 0, data);
  const waiting = queue(link.session, 0, 0, data);
  assert.equal(link.carry(1000), 1000);
  assert.equal(link.session.revoke(begun), false);
  assert.equal(link.session.revoke(waiting), true);
  assert.equal(collect(link).length, 1);
  data.release();
  link.close();
});
