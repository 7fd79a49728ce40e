/** cephx under flipped bits and cut payloads: nothing authenticates, nothing throws. */
import assert from "node:assert/strict";
import { KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { ConMode } from "../../src/wire/msgr2/auth.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import type { CephxClient } from "../../src/proto/cephx/client.ts";
import { type Outcome, run, type Step, type Tamper, World } from "./pair.ts";

const STEPS: readonly Step[] = ["request", "replyMore", "requestMore", "done"];
const SERVICES = EntityType.Mon | EntityType.Osd;

/** Attempts of each kind, all in secure mode, where payloads are longest. */
const ATTEMPTS = [
  { type: KeyType.Aes, peer: "mon", kind: "aes to a mon" },
  { type: KeyType.Aes256k, peer: "mon", kind: "aes256k to a mon" },
  { type: KeyType.Aes, peer: "osd", kind: "aes to an osd" },
  { type: KeyType.Aes256k, peer: "osd", kind: "aes256k to an osd" },
];

/** Runs one reclaiming or authorizing attempt; `seed` is a client that has its tickets. */
class Range {
  readonly #world: World;
  readonly #peer: string;
  #client: CephxClient;

  constructor(type: number, peer: string) {
    this.#world = new World(type);
    this.#peer = peer;
    this.#client = this.#ticketed();
  }

  /** One attempt with a payload changed on its way. */
  attempt(tamper: Tamper): Outcome {
    const mon = this.#peer === "mon";
    const near = mon ? this.#client.toMon() : this.#client.toService(EntityType.Osd);
    if (near === null || !this.#client.hasTicket(EntityType.Auth)) {
      this.#client = this.#ticketed(); // what was refused has been forgotten
      return this.attempt(tamper);
    }
    return run(near, this.#world.server.attempt(), ConMode.Secure, tamper);
  }

  #ticketed(): CephxClient {
    const client = this.#world.client(World.GATEWAY, undefined, SERVICES);
    assert.equal(
      run(client.toMon(), this.#world.server.attempt(), ConMode.Secure).end,
      "authenticated",
    );
    return client;
  }
}

Deno.test.each(ATTEMPTS)("$kind: no flipped bit authenticates, and none throws", (row) => {
  const range = new Range(row.type, row.peer);
  const lengths = range.attempt((_, payload) => payload).payloads.map(({ length }) => length);
  for (const [index, step] of STEPS.entries()) {
    for (let at = 0; at < lengths[index]!; at++) {
      const outcome = range.attempt((present, payload) => {
        if (present !== step) return payload;
        const flipped = payload.slice();
        flipped[at]! ^= 1 << (at * 5 + index) % 8; // every bit number comes up
        return flipped;
      });
      assert.notEqual(outcome.end, "authenticated", `${step} byte ${at}`);
    }
  }
});

Deno.test.each(ATTEMPTS)("$kind: every bit of what is proved with matters to the server", (row) => {
  const range = new Range(row.type, row.peer);
  const { payloads } = range.attempt((_, payload) => payload);
  // To a mon: both halves of the proof. To an osd: the sealed answer, at the end of the payload;
  // in type 1 its last block but one spoils the last one's numbers, the last one its padding.
  const end = payloads[2]!.length;
  const [from, to] = row.peer === "mon" ? [3, 19] : [end - 32, end];
  for (let bit = from * 8; bit < to * 8; bit++) {
    const outcome = range.attempt((step, payload) => {
      if (step !== "requestMore") return payload;
      const flipped = payload.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      return flipped;
    });
    assert.equal(outcome.end, "server refused", `bit ${bit}`);
    assert.equal(outcome.result, -13);
  }
});

Deno.test.each(ATTEMPTS)("$kind: a payload cut anywhere is refused where it arrives", (row) => {
  const range = new Range(row.type, row.peer);
  const lengths = range.attempt((_, payload) => payload).payloads.map(({ length }) => length);
  for (const [index, step] of STEPS.entries()) {
    const ends = step === "replyMore" || step === "done" ? "client refused" : "server refused";
    for (let length = 0; length < lengths[index]!; length++) {
      const outcome = range.attempt((present, payload) =>
        present === step ? payload.slice(0, length) : payload
      );
      assert.equal(outcome.end, ends, `${step} cut to ${length}`);
      assert.equal(outcome.payloads.length, index + 1);
    }
  }
});

/** mulberry32: the same garbage at each run. */
function garbage(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

Deno.test.each(ATTEMPTS)("$kind: garbage of any length is refused", (row) => {
  const range = new Range(row.type, row.peer);
  const next = garbage(20261121);
  for (let round = 0; round < 400; round++) {
    const step = STEPS[round % 4]!;
    const noise = Uint8Array.from({ length: next() % 200 }, () => next());
    if (round % 8 < 4 && noise.length > 0) noise[0] = row.peer === "mon" ? 10 : 1;
    const outcome = range.attempt((present, payload) => present === step ? noise : payload);
    assert.notEqual(outcome.end, "authenticated");
  }
});

Deno.test("lengths and counts near 2^32 are refused without taking memory", () => {
  const range = new Range(KeyType.Aes, "mon");
  for (const step of STEPS) {
    const { payloads } = range.attempt((_, payload) => payload);
    const length = payloads[STEPS.indexOf(step)]!.length;
    for (let at = 0; at + 4 <= length; at++) {
      const outcome = range.attempt((present, payload) => {
        if (present !== step) return payload;
        const changed = payload.slice();
        changed.fill(0xff, at, at + 4);
        return changed;
      });
      assert.notEqual(outcome.end, "authenticated");
    }
  }
});
