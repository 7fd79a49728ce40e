/**
 * How many system calls messages cost, counted where libc is called: two endpoints over loopback
 * in one process, whose loops take turns, so that the counts hardly differ between runs. Bounds
 * are about one and a half times what was counted. Most waits are those of a loop that spins until
 * the other one has its turn; without work it looks ten times before it gives it. The parked wait
 * of an idle loop is not counted: it is made on another thread, when there is nothing to do.
 */
import assert from "node:assert/strict";
import { Endpoint } from "../../src/app/endpoint.ts";
import { libc } from "../../src/io/libc.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";

const MESSAGES = 1000;
/** Rounds of that many messages, after one that is not counted. */
const ROUNDS = 5;
const TYPE = 0xfa00;
const REQUEST_BYTES = 4096;
const ANSWER_BYTES = 64;

/** Calls of one end. */
interface Calls {
  sendmsg: number;
  readv: number;
  epoll_wait: number;
  /** Any other call. */
  other: number;
}

type Call = (...words: unknown[]) => number;

/** Two endpoints with one session, and the calls that each has made. */
class Pair implements AsyncDisposable {
  readonly calls: { hub: Calls; box: Calls } = { hub: noCalls(), box: noCalls() };
  readonly hub: Endpoint;
  readonly box: Endpoint;
  readonly #libc = libc() as unknown as Record<string, Call>;
  readonly #real: [string, Call][] = [];
  /** Whose descriptor it is. */
  readonly #owners = new Map<unknown, Calls>();
  #maker = this.calls.hub;

  constructor() {
    for (const [name, { value, writable }] of descriptors(this.#libc)) {
      if (!writable) continue; // the parked wait
      this.#real.push([name, value!]);
      this.#libc[name] = (...words) => this.#count(name, words, value!(...words));
    }
    this.hub = new Endpoint({ io: "libc" });
    this.#maker = this.calls.box;
    this.box = new Endpoint({ io: "libc" });
  }

  async connect(): Promise<Session> {
    const address = await this.hub.listen("v2:127.0.0.1:0");
    const session = await this.box.connect(address, POLICIES.losslessClient);
    await this.box.established(session);
    return session;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.box.close();
    await this.hub.close();
    for (const [name, real] of this.#real) this.#libc[name] = real;
  }

  #count(name: string, words: unknown[], result: number): number {
    if (name === "epoll_create1" || name === "eventfd") this.#owners.set(result, this.#maker);
    if (name === "accept4") this.#owners.set(result, this.calls.hub);
    if (name === "connect") this.#owners.set(words[0], this.calls.box);
    const calls = this.#owners.get(words[0]);
    if (calls === undefined) return result;
    if (name === "sendmsg" || name === "readv" || name === "epoll_wait") calls[name]++;
    else calls.other++;
    return result;
  }
}

function descriptors(of: Record<string, Call>): [string, TypedPropertyDescriptor<Call>][] {
  return Object.entries(Object.getOwnPropertyDescriptors(of));
}

function noCalls(): Calls {
  return { sendmsg: 0, readv: 0, epoll_wait: 0, other: 0 };
}

/** Holds what was called for each 1000 messages under the bounds. */
function check(end: string, calls: Calls, before: Calls, messages: number, most: Calls): void {
  const names = Object.keys(most) as (keyof Calls)[];
  const each = noCalls();
  for (const name of names) each[name] = (calls[name] - before[name]) * 1000 / messages;
  const within = names.every((name) => each[name] <= most[name]);
  assert.ok(within, `${end}, calls for 1000 messages: ${JSON.stringify(each)}`);
}

/** Counted: 4 sends of 256 pieces, 2 reads of 256 KiB; for 4 KiB 8 and 17; an ACK for each read. */
const STREAMS = [
  {
    size: 256,
    box: { sendmsg: 6, readv: 5, epoll_wait: 33, other: 0 },
    hub: { sendmsg: 3, readv: 3, epoll_wait: 33, other: 0 },
  },
  {
    size: 4096,
    box: { sendmsg: 12, readv: 12, epoll_wait: 120, other: 0 },
    hub: { sendmsg: 26, readv: 26, epoll_wait: 220, other: 0 },
  },
];

Deno.test.each(STREAMS)("a stream of $size bytes: one call moves many messages", async (stream) => {
  await using pair = new Pair();
  const session = await pair.connect();
  pair.hub.handle(() => {});
  let before = structuredClone(pair.calls);
  for (let round = 0; round <= ROUNDS; round++) {
    for (let index = 0; index < MESSAGES; index++) queue(session, stream.size);
    await pair.box.flushed(session);
    if (round === 0) before = structuredClone(pair.calls);
  }
  check("sender", pair.calls.box, before.box, ROUNDS * MESSAGES, stream.box);
  check("receiver", pair.calls.hub, before.hub, ROUNDS * MESSAGES, stream.hub);
});

/** Counted: one send, one read and 11 waits at each end; with 33, 30 sends and reads at each end. */
const LOADS = [
  {
    inFlight: 1,
    box: { sendmsg: 1000, readv: 1000, epoll_wait: 12_000, other: 0 },
    hub: { sendmsg: 1000, readv: 1000, epoll_wait: 12_000, other: 0 },
  },
  {
    inFlight: 33,
    box: { sendmsg: 45, readv: 45, epoll_wait: 400, other: 0 },
    hub: { sendmsg: 45, readv: 45, epoll_wait: 400, other: 0 },
  },
];

Deno.test.each(LOADS)("requests of 4 KiB, $inFlight in flight, and answers", async (load) => {
  await using pair = new Pair();
  const session = await pair.connect();
  pair.hub.handle((batch) => {
    for (let index = 0; index < batch.length; index++) queue(batch.session(index), ANSWER_BYTES);
  });
  const { box } = pair;
  let answered = 0;
  const counted = async (from: number): Promise<{ calls: typeof pair.calls; answered: number }> =>
    await new Promise((resolve) => {
      box.handle((batch) => {
        answered += batch.length;
        if (answered >= from) resolve({ calls: structuredClone(pair.calls), answered });
        for (let index = 0; index < batch.length; index++) queue(session, REQUEST_BYTES);
      });
    });
  for (let index = 0; index < load.inFlight; index++) queue(session, REQUEST_BYTES);
  const before = await counted(MESSAGES);
  const after = await counted((ROUNDS + 1) * MESSAGES);
  const messages = after.answered - before.answered;
  check("client", after.calls.box, before.calls.box, messages, load.box);
  check("server", after.calls.hub, before.calls.hub, messages, load.hub);
});

function queue(session: Session, bytes: number): void {
  const record = session.reserve(0, 0, bytes);
  assert.notEqual(record, 0, "the queue has room");
  session.commit(record, TYPE, 127, 1, 1, 0, 0);
}
