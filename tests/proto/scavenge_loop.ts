/**
 * What scavenge_test.ts runs under `--trace-gc --expose-gc`: two messengers back to back, the same
 * number of turns first without frames and then with them. V8 writes its lines through a buffer of
 * its own, so only its own lines tell the phases apart: a collection asked for stands between two.
 * The argument is the frame format.
 *
 * @module
 */
import { assert } from "../../src/mem/assert.ts";
import { isSecure } from "../../src/wire/msgr2/frame.ts";
import { Link } from "./link.ts";

/** Messages of a round; their ACK is one more frame. */
const MESSAGES = 8;
const FRAMES = 1_000_000;
const ROUNDS = Math.ceil(FRAMES / (MESSAGES + 1));
/** V8 has compiled the path by then; what that takes is not counted. */
const WARM_UP_ROUNDS = ROUNDS / 4;
const SIZE = 64;
/** The last message of a round: libcrypto gets this much by another road. */
const SIZE_LONG = 4096;

const link = new Link({ format: Number(Deno.args[0]) });
link.keeps = false;
link.ready();
assert(isSecure(link.near.writer.format) === isSecure(Number(Deno.args[0])), "the format stands");
run(WARM_UP_ROUNDS, true);
run(WARM_UP_ROUNDS, false);
mark();
run(ROUNDS, false);
mark();
run(ROUNDS, true);
mark();
assert(link.taken === (WARM_UP_ROUNDS + ROUNDS) * MESSAGES, "every message arrived");

function run(rounds: number, frames: boolean): void {
  for (let round = 0; round < rounds; round++) {
    for (let index = 0; frames && index < MESSAGES; index++) queue(index);
    while (link.turn());
  }
}

function queue(index: number): void {
  const { session } = link;
  const record = session.reserve(0, 0, index === MESSAGES - 1 ? SIZE_LONG : SIZE);
  session.commit(record, 0xfa00, 127, 1, 1, index, 0);
}

/** A line of V8 that says `testing`. */
function mark(): void {
  (globalThis as unknown as { gc(options: { type: "minor" }): void }).gc({ type: "minor" });
}
