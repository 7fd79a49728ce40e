/** What the boxes of a pair and their witness say: every member is checked. */
import assert from "node:assert/strict";
import {
  isBoxName,
  LEASE_MS_MAX,
  parseWord,
  SAD_PAGE_MAX,
  type StandbyWord,
  TERM_MAX,
  WORD_BYTES_MAX,
  writeWord,
} from "../../src/wire/standby/words.ts";

const A = "0123456789abcdef".repeat(2);
const HANDOVER = { term: 7, instance: A, serial: 3 };
const ENTRY = {
  id: "10.9.0.2 esp 0x00001000",
  form: "rfc4106(gcm(aes)) tunnel window 128",
  oseq: 2 ** 40,
  seq: 5,
  bytes: 6,
  packets: 7,
  addTime: 1_790_000_000,
};
const WORDS: readonly StandbyWord[] = [
  {
    word: "hello",
    version: 1,
    group: "edge",
    box: "edge-1",
    instance: A,
    heard: "",
    role: "starting",
    mode: "auto",
    term: 0,
    leaseMs: 2000,
  },
  {
    word: "heartbeat",
    term: 7,
    role: "active",
    number: 9,
    sentMs: 12.5,
    leaseLeftMs: 1700.25,
    stateTerm: 6,
    carrier: false,
  },
  { word: "heartbeatAnswer", term: 7, role: "standby", echoed: 12.5, holdsNumber: 9 },
  { word: "resync", term: 7, why: "a gap" },
  { word: "handoverAsk", ...HANDOVER },
  { word: "handoverDone", ...HANDOVER, number: 9 },
  { word: "handoverRefused", ...HANDOVER, why: "no" },
  { word: "handoverOffer", term: 7, why: "a carrier" },
  { word: "sadAsk", serial: 1, from: 128 },
  { word: "sadAnswer", serial: 1, from: 128, total: 129, entries: [ENTRY] },
  {
    word: "leaseAsk",
    group: "edge",
    box: "edge-1",
    instance: A,
    term: 7,
    exact: true,
    next: false,
    leaseMs: 2 ** 40,
    serial: 4,
  },
  {
    word: "leaseAnswer",
    serial: 4,
    granted: false,
    term: 8,
    leaseMs: 2000,
    holder: "",
    leftMs: 0,
    why: "edge-2 has the lease",
  },
  { word: "leaseGive", group: "edge", box: "edge-1", instance: A, term: 8, serial: 5 },
];

function parse(json: unknown): StandbyWord | string | null {
  return parseWord(new TextEncoder().encode(JSON.stringify(json)));
}

Deno.test.each([...WORDS])("$word is read as it was written, without what is not known", (word) => {
  assert.deepEqual(parseWord(writeWord(word)), word);
  assert.deepEqual(parse({ ...word, later: [1, 2], __proto__: 3 }), word);
});

Deno.test.each([...WORDS])("$word says which member is missing or wrong", (word) => {
  for (const name of Object.keys(word)) {
    if (name === "word") continue;
    const { [name]: _, ...without } = word as unknown as Record<string, unknown>;
    const missing = parse(without);
    if (name === "leaseLeftMs") assert.equal(typeof missing, "object");
    else assert.match(String(missing), new RegExp(`^STANDBY ${word.word} ${name} must be `));
    for (const wrong of [null, {}, [[]], -1, "\u0000", "x".repeat(600), 1e300]) {
      const said = parse({ ...word, [name]: wrong });
      assert.match(String(said), new RegExp(`^STANDBY ${word.word} ${name} must be `));
    }
  }
});

Deno.test("a word of a later version is null, and a front that is none says so", () => {
  assert.equal(parse({ word: "sing" }), null);
  assert.equal(parse({ word: "toString" }), null);
  assert.equal(parse({ word: "__proto__" }), null);
  assert.equal(parse({ word: 7 }), "STANDBY word must be a text");
  for (const none of [[], 1, "hello", null]) {
    assert.equal(parse(none), "STANDBY front must be a JSON object");
  }
  for (const bytes of [[], [0xff, 0xfe], [0x7b], [0x7b, 0x7d, 0x7d]]) {
    assert.equal(parseWord(new Uint8Array(bytes)), "STANDBY front must be a JSON object");
  }
  assert.match(String(parseWord(new Uint8Array(WORD_BYTES_MAX + 1))), /65536 bytes at most/);
});

Deno.test("limits: terms, leases, names, pages", () => {
  const [hello, beat] = WORDS;
  assert.equal(typeof parse({ ...hello, term: TERM_MAX }), "object");
  assert.match(String(parse({ ...hello, term: TERM_MAX + 1 })), /term must be/);
  assert.match(String(parse({ ...hello, version: 2 })), /version must be 1/);
  assert.match(String(parse({ ...hello, instance: A.toUpperCase() })), /32 hex digits/);
  assert.match(String(parse({ ...beat, leaseLeftMs: LEASE_MS_MAX + 1 })), /leaseLeftMs must be/);
  assert.equal(isBoxName("a".repeat(128)), true);
  for (const name of ["", "a".repeat(129), "a b", "-a", "a/b", "ä", 7]) {
    assert.equal(isBoxName(name), false);
  }
  const page = (count: number): unknown => ({
    word: "sadAnswer",
    serial: 1,
    from: 0,
    total: 9,
    entries: new Array(count).fill(ENTRY),
  });
  assert.equal(typeof parse(page(SAD_PAGE_MAX)), "object");
  assert.match(String(parse(page(SAD_PAGE_MAX + 1))), /entries must be a list of 128/);
  const bad = { word: "sadAnswer", serial: 1, from: 0, total: 9, entries: [{ ...ENTRY, seq: -1 }] };
  assert.match(String(parse(bad)), /entries must be/);
});

Deno.test("no change of a byte makes a word that breaks a rule", () => {
  for (const word of WORDS) {
    const front = writeWord(word);
    for (let at = 0; at < front.length; at++) {
      for (const flip of [1, 0x20, 0x80]) {
        const changed = front.slice();
        changed[at]! ^= flip;
        const read = parseWord(changed);
        if (read === null || typeof read === "string") continue;
        assert.deepEqual(parseWord(writeWord(read)), read);
      }
    }
  }
});
