/**
 * The snapshot as a stream of server-sent events (WHATWG HTML, "Server-sent events"): one each
 * second to all who look; while nobody looks nothing is made.
 *
 * @module
 */

/** Viewers at a time. */
const VIEWERS_MAX = 16;
const INTERVAL_MS = 1000;
/** Events that wait for a slow viewer; the next ones pass it by. */
const WAITING_MAX = 2;

const encoder = new TextEncoder();

type Viewer = ReadableStreamDefaultController<Uint8Array>;

/** Hands the same text to all viewers. */
export class Feed {
  readonly #render: () => string;
  readonly #viewers = new Set<Viewer>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param render makes the data of an event, without line feeds */
  constructor(render: () => string) {
    this.#render = render;
  }

  /** A stream for one more viewer; null when too many look already. */
  open(): ReadableStream<Uint8Array> | null {
    if (this.#viewers.size >= VIEWERS_MAX) return null;
    const first = this.#event();
    let viewer: Viewer;
    return new ReadableStream<Uint8Array>({
      start: (controller): void => {
        viewer = controller;
        this.#viewers.add(viewer);
        viewer.enqueue(first);
        this.#timer ??= setInterval(() => this.#tick(), INTERVAL_MS);
      },
      cancel: (): void => this.#forget(viewer),
    }, { highWaterMark: WAITING_MAX });
  }

  /** Ends all streams. */
  close(): void {
    for (const viewer of this.#viewers) {
      this.#forget(viewer);
      viewer.close();
    }
  }

  #tick(): void {
    let event: Uint8Array;
    try {
      event = this.#event();
    } catch {
      this.close(); // they ask /api/status then, which says what is wrong
      return;
    }
    for (const viewer of this.#viewers) {
      if ((viewer.desiredSize ?? 0) > 0) viewer.enqueue(event);
    }
  }

  #event(): Uint8Array {
    return encoder.encode(`data: ${this.#render()}\n\n`);
  }

  #forget(viewer: Viewer): void {
    this.#viewers.delete(viewer);
    if (this.#viewers.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
