/** The link between two boxes by itself: sessions that begin, break and are refused. */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { type Other, type PairHandler, PairLink } from "../../src/app/standby/pair_link.ts";
import { NAME, openWitness, ownAddress, until } from "./standby_rig.ts";

const text = (value: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(value);

/** A link that remembers what it told. */
class Side implements PairHandler, AsyncDisposable {
  readonly link: PairLink;
  readonly reached: Record<Other, boolean> = { peer: false, witness: false };
  readonly words: string[] = [];
  readonly posts: string[] = [];
  readonly strangers: string[] = [];
  acknowledged = 0;
  forgotten = 0;
  /** What it says of each post. */
  verdict: () => Promise<boolean> | boolean = () => true;

  constructor(name: string = NAME) {
    this.link = new PairLink({ name, auth: authNone(name), handler: this, onEvent: () => {} });
  }

  handleReached(other: Other, reached: boolean): void {
    this.reached[other] = reached;
  }

  handleForgotten(): void {
    this.forgotten++;
    this.acknowledged = 0;
  }

  handleWord(front: Uint8Array<ArrayBuffer>, from: Other): void {
    this.words.push(`${from} ${new TextDecoder().decode(front)}`);
  }

  handleStranger(who: string): void {
    this.strangers.push(who);
  }

  handlePost(front: Uint8Array<ArrayBuffer>): Promise<boolean> | boolean {
    this.posts.push(new TextDecoder().decode(front));
    return this.verdict();
  }

  handleAcknowledged(serial: number): void {
    this.acknowledged = serial;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.link.close();
  }
}

async function pair(): Promise<{ a: Side; b: Side; address: string } & AsyncDisposable> {
  const [first, second] = [ownAddress(), ownAddress()];
  const a = new Side();
  const b = new Side();
  await a.link.open(first, second, null);
  await b.link.open(second, first, null);
  await until("they reach each other", () => a.link.reaches("peer") && b.link.reaches("peer"));
  const dispose = async (): Promise<void> => {
    await a.link.close();
    await b.link.close();
  };
  return { a, b, address: first, [Symbol.asyncDispose]: dispose };
}

Deno.test("words and posts go both ways, and posts are acknowledged by their serial", async () => {
  await using made = await pair();
  const { a, b } = made;
  await until("it is stable", () => a.link.say("peer", text("hello")) && b.words.length > 0);
  const serial = a.link.post(text("one"));
  assert.ok(serial > 0);
  assert.ok(b.link.say("peer", text("back")));
  await until("it is acknowledged", () => a.acknowledged === serial);
  assert.deepEqual(b.posts, ["one"]);
  await until("its word", () => a.words.includes("peer back"));
  assert.equal(a.link.say("witness", text("x")), false);
});

Deno.test("a post is acknowledged only when it is stored", async () => {
  await using made = await pair();
  const { a, b } = made;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  b.verdict = () => promise;
  const serial = a.link.post(text("slow"));
  await until("it is there", () => b.posts.length === 1);
  assert.equal(a.acknowledged, 0);
  resolve(true);
  await until("it is acknowledged", () => a.acknowledged === serial);
});

Deno.test("a post that is refused begins a new session on both sides, many times over", async () => {
  await using made = await pair();
  const { a, b } = made;
  for (let round = 0; round < 20; round++) {
    const { forgotten } = a;
    const refuse = round % 2 === 0
      ? (): boolean => false
      : (): Promise<boolean> => Promise.resolve(false);
    b.verdict = refuse;
    await until("it leaves", () => a.link.post(text("bad")) > 0);
    await until(`round ${round} is forgotten`, () => a.forgotten > forgotten);
    assert.equal(a.acknowledged, 0);
    await until("they are there", () => a.link.reaches("peer") && b.link.reaches("peer"));
    b.verdict = () => true;
    const own = a.words.length;
    await until("b speaks", () => b.link.say("peer", text(`${round}`)));
    await until("a hears it", () => a.words.length > own);
    await until("a post is taken", () => {
      if (a.acknowledged > 0) return true;
      if (a.link.waitingBytes === 0) a.link.post(text("good"));
      return false;
    });
  }
  assert.deepEqual([a.strangers, b.strangers], [[], []]);
});

Deno.test("who comes from an address that is not the other box's is told by name, once per word", async () => {
  await using made = await pair();
  const { a } = made;
  await using third = new Side();
  await third.link.open(ownAddress(), made.address, null);
  await until("it is connected", () => third.link.say("peer", text("hello")));
  await until("it is told", () => a.strangers.length > 0);
  assert.match(a.strangers[0]!, /^client\.pair at v2:127\.0\.0\.1:\d+/);
  assert.deepEqual(a.words.filter((word) => word.endsWith("hello")), []);
  third.link.post(text("post"));
  await until("that too", () => a.strangers.length > 1);
  assert.deepEqual(a.posts, []);
});

Deno.test("a box of another name does not get in", async () => {
  const [first, second] = [ownAddress(), ownAddress()];
  await using a = new Side();
  await using b = new Side("client.other");
  await a.link.open(first, second, null);
  await b.link.open(second, first, null);
  const start = performance.now();
  await until("some time is over", () => performance.now() - start > 500);
  assert.deepEqual([a.link.reaches("peer"), b.link.reaches("peer")], [false, false]);
});

Deno.test("the witness is reached, lost and found again", async () => {
  const state = await Deno.makeTempDir();
  const listen = ownAddress();
  try {
    const first = await openWitness(state, { listen });
    await using a = new Side();
    await a.link.open(ownAddress(), ownAddress(), listen);
    await until("it is reached", () => a.reached.witness);
    await first.close();
    await until("it is lost", () => !a.reached.witness);
    const second = await openWitness(state, { listen });
    await until("it is found", () => a.reached.witness && a.link.reaches("witness"));
    await second.close();
  } finally {
    await Deno.remove(state, { recursive: true });
  }
});
