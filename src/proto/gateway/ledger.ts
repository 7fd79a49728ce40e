/**
 * What a hub knows of the numbers of its gateways: for each gateway and spool id how often that spool
 * was opened, who holds it now, and the last number of each stream. A number that goes on is taken
 * once; one that goes back is refused, never dropped in silence: it means a spool that was put back
 * to an older state, or two live boxes with one id.
 *
 *     HELLO ──greet()──> holder: its POSTs are checked by numbers
 *       │                   └── another HELLO: the holder is silent or gone ──> changes hands
 *       └── refused: held by a live box, or older than what was seen
 *
 * The numbers are stored by whoever owns this, in one transaction with what the messages became.
 *
 * @module
 */
import type { Hello, Welcome } from "../../wire/gateway/post.ts";
import { GREETING_VERSION } from "../../wire/gateway/post.ts";

/**
 * Spools that are remembered of one gateway: a box without a disk has a new one at each start. The
 * one that was greeted least lately is forgotten for another.
 */
const SPOOLS_PER_GATEWAY_MAX = 256;
/** Of all gateways together: without authentication names are free. */
const SPOOLS_MAX = 65_536;
/** Streams of one spool: 256 routes with eight lanes, and some of former routes. */
const STREAMS_OF_SPOOL_MAX = 4096;

/** What is stored of a spool. */
export interface LedgerSpool {
  readonly gateway: string;
  readonly spool: string;
  generation: number;
  /** Last numbers by stream. */
  readonly last: Map<number, number>;
  /** Whatever brings its POSTs: compared, never looked into. */
  holder: unknown;
}

/** What is to be done with a POST. */
export const Verdict = {
  /** Its messages are new. */
  Take: 1,
  /** Numbers went back: nothing of it is taken, and its bringer is not to be trusted. */
  Back: 2,
  /** Its bringer did not say HELLO for this spool, or has lost it to another. */
  Stranger: 3,
} as const;

/** The numbers of a hub. */
export class Ledger {
  /** In the order of their last greeting. */
  readonly #spools = new Map<string, LedgerSpool>();
  readonly #forgotten: LedgerSpool[] = [];

  /** Puts back what was stored, in the order of greeting. */
  restore(gateway: string, spool: string, generation: number): void {
    this.#spools.set(keyOf(gateway, spool), newSpool(gateway, { spool, generation }));
  }

  /** Spools that were forgotten since the last call. */
  takeForgotten(): LedgerSpool[] {
    return this.#forgotten.splice(0);
  }

  /** The spool of a HELLO, when it is known. */
  find(gateway: string, spool: string): LedgerSpool | null {
    return this.#spools.get(keyOf(gateway, spool)) ?? null;
  }

  /**
   * Answers a HELLO.
   *
   * @param gateway the peer's authenticated name: who has the key, whatever HELLO says
   * @param bringer what the POSTs will come on
   * @param held true when another bringer holds the spool and has just shown that it lives
   */
  greet(gateway: string, hello: Hello, bringer: unknown, held: boolean): Welcome {
    const known = this.find(gateway, hello.spool);
    if (known !== null && known.holder !== bringer && held) {
      return refusal(
        hello,
        "two_boxes",
        `Another live box sends with the spool id ${hello.spool} of ${gateway}: a copied state ` +
          "directory? Stop one of them, or give it a spool of its own (fairlead gateway --new-spool-id)",
      );
    }
    const back = known === null ? "" : wentBack(known, hello);
    if (back !== "") {
      return refusal(
        hello,
        "went_back",
        `Spool ${hello.spool} of ${gateway} went back: ${back}. Was its state directory put back ` +
          "from a backup? Give it a new id (fairlead gateway --new-spool-id)",
      );
    }
    if (known === null && !this.#makeRoom(gateway)) {
      const text = `${SPOOLS_PER_GATEWAY_MAX} boxes send as ${gateway}, or ${SPOOLS_MAX} in all: ` +
        "give each box a name of its own";
      return refusal(hello, "too_many_spools", text);
    }
    const streams = new Set(known?.last.keys());
    for (const { stream } of hello.streams) streams.add(stream);
    if (streams.size > STREAMS_OF_SPOOL_MAX) {
      const text = `Spool ${hello.spool} has more than ${STREAMS_OF_SPOOL_MAX} streams`;
      return refusal(hello, "too_many_streams", text);
    }
    if (known !== null) this.#spools.delete(keyOf(gateway, hello.spool)); // and behind all others again
    const spool = known ?? newSpool(gateway, hello);
    this.#spools.set(keyOf(gateway, hello.spool), spool);
    spool.generation = hello.generation;
    spool.holder = bringer;
    const last: { stream: number; number: number }[] = [];
    for (const { stream, oldest } of hello.streams) {
      const stored = spool.last.get(stream) ?? 0;
      // What the gateway does not have any more was acknowledged elsewhere, or dropped by its bounds.
      if (oldest - 1 > stored) spool.last.set(stream, oldest - 1);
      last.push({ stream, number: Math.max(stored, oldest - 1) });
    }
    return { version: GREETING_VERSION, spool: hello.spool, last };
  }

  /** Looks at a POST of `count` messages that ends with `number`. */
  check(
    known: LedgerSpool | null,
    bringer: unknown,
    stream: number,
    number: number,
    count: number,
  ): number {
    if (known === null || known.holder !== bringer) return Verdict.Stranger;
    const last = known.last.get(stream);
    if (last === undefined && known.last.size >= STREAMS_OF_SPOOL_MAX) return Verdict.Stranger;
    return number - count < (last ?? 0) ? Verdict.Back : Verdict.Take;
  }

  /** The messages of a POST are stored now, or will be in the same transaction as this number. */
  store(known: LedgerSpool, stream: number, number: number): void {
    known.last.set(stream, number);
  }

  /** Spools of a gateway whose holders are `gone`, as far as a moment tells, are held no more. */
  releaseGone(gateway: string, gone: (holder: unknown) => boolean): void {
    for (const spool of this.#spools.values()) {
      if (spool.gateway === gateway && spool.holder !== null && gone(spool.holder)) {
        spool.holder = null;
      }
    }
  }

  /** Whoever holds spools is gone. */
  release(bringer: unknown): void {
    for (const spool of this.#spools.values()) {
      if (spool.holder === bringer) spool.holder = null;
    }
  }

  /** Forgets a spool that nobody holds when there are too many; false when all are held. */
  #makeRoom(gateway: string): boolean {
    if (this.#spools.size >= SPOOLS_MAX) return false;
    const own = [...this.#spools.values()].filter((spool) => spool.gateway === gateway);
    if (own.length < SPOOLS_PER_GATEWAY_MAX) return true;
    const oldest = own.find(({ holder }) => holder === null);
    if (oldest === undefined) return false;
    this.#spools.delete(keyOf(gateway, oldest.spool));
    this.#forgotten.push(oldest);
    return true;
  }
}

function newSpool(
  gateway: string,
  { generation, spool }: Pick<Hello, "generation" | "spool">,
): LedgerSpool {
  return { gateway, spool, generation, last: new Map(), holder: null };
}

/** How a spool shows that it is older than what was seen of it; empty when it does not. */
function wentBack(known: LedgerSpool, hello: Hello): string {
  if (hello.generation < known.generation) {
    return `it was opened ${hello.generation} times, and ${known.generation} were seen`;
  }
  for (const { stream, next } of hello.streams) {
    const last = known.last.get(stream) ?? 0;
    if (last >= next) return `stream ${stream} has numbered ${next - 1}, and ${last} was stored`;
  }
  return "";
}

function refusal(hello: Hello, code: string, text: string): Welcome {
  return {
    version: GREETING_VERSION,
    spool: hello.spool,
    last: [],
    refused: { code, text },
  };
}

function keyOf(gateway: string, spool: string): string {
  return `${spool} ${gateway}`;
}
