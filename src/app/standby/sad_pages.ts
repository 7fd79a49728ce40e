/**
 * The SAs of the other box, asked for page by page: `fairlead standby diff`.
 *
 * @module
 */
import type { SaFigures } from "../../proto/xfrm/sa_table.ts";
import {
  type PeerWord,
  SAD_PAGE_MAX,
  type SadAnswerWord,
  type SadAskWord,
  type SadEntry,
} from "../../wire/standby/words.ts";

/** A page takes no longer. */
const PAGE_MS = 3000;

interface Asking {
  readonly serial: number;
  readonly found: SadEntry[];
  resolve(entries: SadEntry[]): void;
  reject(error: Error): void;
  timer: ReturnType<typeof setTimeout>;
}

/** Asks and answers. */
export class SadPages {
  readonly #say: (word: PeerWord) => boolean;
  #serial = 0;
  #asking: Asking | null = null;

  /** @param say false: the other box would not hear it */
  constructor(say: (word: PeerWord) => boolean) {
    this.#say = say;
  }

  /**
   * All of them.
   *
   * @throws when the other box does not answer
   */
  async ask(): Promise<SaFigures[]> {
    this.fail("it was asked again");
    const { promise, ...settle } = Promise.withResolvers<SadEntry[]>();
    const serial = ++this.#serial;
    this.#asking = { serial, found: [], ...settle, timer: this.#timer() };
    this.#askPage(this.#asking);
    const entries = await promise;
    return entries.map(({ addTime, bytes, form, id, oseq, packets, seq }) => ({
      key: id,
      direction: form === "in" || form === "out" ? form : "both",
      oseq,
      seq,
      bytes,
      packets,
      addTime,
    }));
  }

  /** The other box asks. */
  answer({ from, serial }: SadAskWord, figures: readonly SaFigures[]): void {
    const entries = figures.slice(from, from + SAD_PAGE_MAX).map(({ direction, key, ...rest }) => ({
      id: key,
      form: direction,
      ...rest,
    }));
    this.#say({ word: "sadAnswer", serial, from, total: figures.length, entries });
  }

  /** A page came. */
  handleAnswer({ entries, from, serial, total }: SadAnswerWord): void {
    const asking = this.#asking;
    if (asking === null || asking.serial !== serial || from !== asking.found.length) return;
    asking.found.push(...entries);
    clearTimeout(asking.timer);
    if (entries.length === 0 || asking.found.length >= total) {
      this.#asking = null;
      return asking.resolve(asking.found);
    }
    asking.timer = this.#timer();
    this.#askPage(asking);
  }

  /** It will not answer. */
  fail(why: string): void {
    const asking = this.#asking;
    this.#asking = null;
    if (asking === null) return;
    clearTimeout(asking.timer);
    asking.reject(new Error(`Cannot compare with the other box: ${why}`));
  }

  #timer(): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.fail(`it has not answered within ${PAGE_MS} ms`), PAGE_MS);
  }

  #askPage({ found, serial }: Asking): void {
    if (!this.#say({ word: "sadAsk", serial, from: found.length })) {
      this.fail("it cannot be reached");
    }
  }
}
