/** The witness as it listens: whom it believes, what a restart and a damaged disk change. */
import assert from "node:assert/strict";
import type { LeaseAnswerWord } from "../../src/wire/standby/words.ts";
import { keyringOf, openWitness, ownAddress, secure, Stranger, until } from "./standby_rig.ts";

const LEASE_MS = 400;
const A = "a".repeat(32);
const B = "b".repeat(32);
let serial = 0;

interface Asked {
  readonly box?: string;
  readonly instance?: string;
  readonly term?: number;
  readonly serial?: number;
  readonly group?: string;
}

function ask(client: Stranger, more: Asked = {}): number {
  const own = more.serial ?? ++serial;
  const rest = { group: "lab", box: "a", instance: A, term: 0, exact: false, next: false };
  client.say({ word: "leaseAsk", ...rest, leaseMs: LEASE_MS, ...more, serial: own });
  return own;
}

function give(client: Stranger, term: number, more: Asked = {}): void {
  const rest = { group: "lab", box: "a", instance: A, serial: ++serial };
  client.say({ word: "leaseGive", ...rest, term, ...more });
}

/** Asks, and waits for the answer. */
async function answer(client: Stranger, more: Asked = {}): Promise<LeaseAnswerWord> {
  const own = ask(client, more);
  const find = (): LeaseAnswerWord | undefined =>
    client.words.findLast((word): word is LeaseAnswerWord =>
      word.word === "leaseAnswer" && word.serial === own
    );
  await until(`an answer to ${own}`, () => find() !== undefined);
  return find()!;
}

/** Asks until it is granted. */
async function granted(client: Stranger, more: Asked = {}): Promise<LeaseAnswerWord> {
  for (let rounds = 0; rounds < 500; rounds++) {
    const got = await answer(client, more);
    if (got.granted) return got;
    await new Promise<void>((resolve) => setTimeout(resolve, 10));
  }
  throw new assert.AssertionError({ message: "it is never granted" });
}

async function withState(work: (state: string) => Promise<void>): Promise<void> {
  const state = await Deno.makeTempDir();
  try {
    await work(state);
  } finally {
    await Deno.remove(state, { recursive: true });
  }
}

Deno.test("a lease is the holder's: nobody else's name or instance renews it or gives it back", () =>
  withState(async (state) => {
    await using witness = disposable(await openWitness(state));
    await using client = await Stranger.open(witness.it.address);
    const first = await granted(client);
    assert.equal(first.term, 1);
    assert.equal((await answer(client, { box: "b", instance: B })).granted, false);
    assert.equal((await answer(client, { box: "a", instance: B })).granted, false, "a's name");
    assert.equal((await answer(client, { box: "b", instance: A })).granted, false, "a's instance");
    give(client, 1, { box: "b" });
    give(client, 1, { instance: B });
    give(client, 2);
    give(client, 1, { group: "other" });
    give(client, 1, { serial: 1 });
    await until("they are stale", () => witness.it.desk.witness.counters.stale === 5);
    const refused = await answer(client, { box: "b", instance: B });
    assert.equal(refused.granted, false);
    assert.equal(refused.holder, "a");
    const replayed = await answer(client, { serial: 1, box: "b", instance: B });
    assert.equal(replayed.granted, false);
  }));

Deno.test("a witness that was started again grants nothing to others for a whole lease", () =>
  withState(async (state) => {
    const listen = ownAddress();
    {
      await using witness = disposable(await openWitness(state, { listen }));
      await using client = await Stranger.open(witness.it.address);
      assert.equal((await granted(client)).term, 1);
    }
    await using witness = disposable(await openWitness(state, { listen }));
    const started = performance.now();
    await using client = await Stranger.open(witness.it.address);
    const refused = await answer(client, { box: "b", instance: B });
    assert.equal(refused.granted, false);
    assert.equal(refused.holder, "a");
    const next = await granted(client, { box: "b", instance: B });
    assert.equal(next.term, 2);
    assert.ok(performance.now() - started >= LEASE_MS * 0.9, "not before the lease may be over");
  }));

Deno.test("a group is its first owner's: another entity of the keyring gets no lease of it", () =>
  withState(async (state) => {
    const keyring = keyringOf("client.pair", "client.other");
    const listen = ownAddress();
    for (const start of ["first", "second"]) {
      await using witness = disposable(await openWitness(state, { auth: secure(keyring), listen }));
      const { desk } = witness.it;
      const open = (name: string): Promise<Stranger> =>
        Stranger.open(witness.it.address, { auth: secure(keyring, name) });
      await using owner = await open("client.pair");
      await using other = await open("client.other");
      if (start === "first") assert.equal((await granted(owner)).term, 1);
      const refused = await answer(other);
      assert.equal(refused.granted, false);
      assert.match(refused.why, /lab is a pair of client\.pair/);
      assert.equal(refused.holder, "");
      give(other, 1);
      await until("it is a stranger", () => desk.strangers === 2);
      assert.ok((await granted(owner)).term >= 1);
    }
  }));

Deno.test("words that are none, or no witness's, are counted and not answered", () =>
  withState(async (state) => {
    await using witness = disposable(await openWitness(state));
    await using client = await Stranger.open(witness.it.address);
    await granted(client);
    const { length } = client.words;
    const { desk } = witness.it;
    const before = desk.badWords;
    client.raw(new TextEncoder().encode("{"));
    client.hello();
    client.say({ word: "leaseAnswer", serial: 1 });
    client.say({ word: "leaseAsk" });
    client.say({ word: "later" });
    client.raw(new Uint8Array(70_000));
    client.raw(new Uint8Array(8), 0x7777);
    client.post(new Uint8Array(24));
    await until("they are counted", () => desk.badWords === before + 8);
    assert.equal(client.words.length, length);
    assert.equal((await answer(client)).granted, true);
  }));

Deno.test("who is not in the keyring gets no lease", () =>
  withState(async (state) => {
    await using witness = disposable(
      await openWitness(state, { auth: secure(keyringOf("client.pair")) }),
    );
    await using client = await Stranger.open(witness.it.address, {
      auth: secure(keyringOf("client.pair")),
    });
    ask(client);
    await until("it is refused", () => client.session.lastFault !== "");
    assert.equal(client.words.length, 0);
    assert.deepEqual([...witness.it.desk.witness.groups(0)], []);
  }));

Deno.test("a file that is damaged, or holds something else, stops the start with the remedy", () =>
  withState(async (state) => {
    const path = `${state}/witness.json`;
    const group = {
      group: "lab",
      owner: "client.pair",
      box: "a",
      instance: A,
      term: 1,
      leaseMs: 400,
    };
    for (
      const text of [
        "",
        "{",
        "null5",
        "[]",
        "{}",
        '{"groups":5}',
        '{"groups":[{}]}',
        JSON.stringify({ groups: [{ ...group, owner: undefined }] }),
        JSON.stringify({ groups: [{ ...group, term: -1 }] }),
        JSON.stringify({ groups: [{ ...group, leaseMs: -5 }] }),
        JSON.stringify({ groups: [{ ...group, leaseMs: 1e12 }] }),
        JSON.stringify({ groups: [group, group] }),
      ]
    ) {
      await Deno.writeTextFile(path, text);
      await assert.rejects(openWitness(state), /Cannot use .*witness\.json/, text);
    }
    await Deno.remove(path);
    await Deno.mkdir(path);
    await assert.rejects(openWitness(state), /Cannot read .*witness\.json/);
  }));

Deno.test("what the disk does not take is not granted, also when it is asked for again", () =>
  withState(async (state) => {
    const notes: string[] = [];
    await using witness = disposable(await openWitness(state, { notes }));
    await using client = await Stranger.open(witness.it.address);
    assert.equal((await granted(client)).term, 1);
    const before = await Deno.readTextFile(`${state}/witness.json`);
    // A directory in its place takes no file, whoever writes it.
    await Deno.mkdir(`${state}/witness.json.new`);
    const { length } = client.words;
    give(client, 1);
    const other = { box: "b", instance: B };
    const serials = [ask(client, other), ask(client, other), ask(client, other)];
    await until("it is told", () => notes.some((note) => /cannot be stored/.test(note)));
    await until("all is heard", () => client.session.unacknowledged === 0);
    assert.equal(client.words.length, length, "nobody is answered");
    assert.equal(await Deno.readTextFile(`${state}/witness.json`), before);
    assert.equal(notes.filter((note) => /cannot be stored/.test(note)).length, 1, "told once");
    await Deno.remove(`${state}/witness.json.new`);
    const got = await granted(client, other);
    assert.equal(got.term, 2);
    assert.match(await Deno.readTextFile(`${state}/witness.json`), /"term":2/);
    assert.equal(serials.length, 3);
  }));

/** `await using` for what closes. */
function disposable<T extends { close(): Promise<void> }>(it: T): { it: T } & AsyncDisposable {
  return { it, [Symbol.asyncDispose]: () => it.close() };
}
