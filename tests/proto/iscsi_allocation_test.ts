/**
 * A PDU of a captured stream of iSCSI costs next to no memory. In a file of its own, as what other tests do
 * to the same code changes what V8 makes of it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { arena, give, take } from "../../src/mem/arena.ts";
import { Moment, type Side } from "../../src/proto/boundary/found.ts";
import { IscsiConversation, IscsiShared } from "../../src/proto/boundary/iscsi_conversation.ts";
import { Means, type SideContext } from "../../src/proto/boundary/side_decoder.ts";
import { Conversation } from "../../src/proto/capture/conversation.ts";
import { IscsiSession } from "../capture/iscsi_streams.ts";

const SEGMENT = 1448;

Deno.test("a PDU costs no memory that has to be collected", () => {
  const session = new IscsiSession(23);
  session.login();
  for (let count = 0; count < 20_000; count++) session.read(512, 512, true);
  const conversation = new Conversation(1, ["a:1", "b:2"], [1, 2]);
  conversation.fromStart[0] = true;
  conversation.fromStart[1] = true;
  let count = 0;
  const context = (side: Side): SideContext => ({
    conversation,
    side,
    means: Means.All,
    keepsBytes: false,
    urgent: { names: () => false },
    first: new Moment(),
    last: new Moment(),
    tell: () => count++,
  });
  const places = session.streams.map((stream) => {
    const bytes = stream.bytes();
    const at = take(bytes.length);
    arena.bytes.set(bytes, at);
    return { at, length: bytes.length };
  });
  const pass = (): void => {
    const decoders = new IscsiConversation([context(0), context(1)], new IscsiShared());
    for (const side of [0, 1] as const) {
      const { at, length } = places[side]!;
      let wanted = 0;
      for (let end = SEGMENT; end <= length; end += SEGMENT) {
        if (wanted >= end) continue;
        wanted = decoders.sides[side].handleBytes(at + wanted, at + end, wanted);
      }
    }
  };
  let each = Infinity; // the least of some passes: on a busy machine code is compiled late
  for (let round = 0; round < 5; round++) {
    pass();
    count = 0;
    const before = allocatedBytes();
    pass();
    each = Math.min(each, (allocatedBytes() - before) / count);
  }
  for (const { at } of places) give(at);
  assert.ok(count > 39_000);
  assert.ok(each < 16, `${each} bytes for each PDU`);
});

function allocatedBytes(): number {
  return (getHeapStatistics() as unknown as { total_allocated_bytes: number })
    .total_allocated_bytes;
}
