/**
 * Readiness of descriptors: epoll(7), level-triggered unless asked otherwise, and a parked wait
 * on a thread of Deno's pool for when there is nothing to do. A loop calls `wait(0)` while there is
 * work (0.2 us) and `park()` when idle (40 us); it needs no timer.
 *
 * @module
 */
import { assert } from "../mem/assert.ts";
import { Errno, errnoText } from "./errno.ts";
import { errno, type Libc, libc } from "./libc.ts";
import { fixedInts } from "./native.ts";

/** Bits of an interest set and of what became ready; EPOLL* of the kernel. */
export const Ready = {
  /** EPOLLIN: bytes, a connection to accept, or the end of the stream. */
  In: 0x001,
  /** EPOLLOUT: room to send, or connect() is done. */
  Out: 0x004,
  /** EPOLLERR: always reported. */
  Error: 0x008,
  /** EPOLLHUP: always reported. */
  HangUp: 0x010,
  /** EPOLLRDHUP: the peer has ended its direction. */
  PeerClosed: 0x2000,
  /** EPOLLET: report changes only. */
  Edge: 0x80000000 | 0,
} as const;

const EPOLL_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const EFD_CLOEXEC_NONBLOCK = 0x80800;
const POLLIN = 1;

// struct epoll_event is packed on x86-64 (12 bytes) and aligned elsewhere (16), in 32-bit words.
const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4;
const DATA_WORD = EVENT_WORDS - 2;
const WAKE_ID = -1;
const TIMEOUT_MAX = 0x7fffffff;

/** Descriptors reported by one wait unless the constructor is told otherwise. */
export const EVENTS_MAX = 256;

/** One epoll instance and the eventfd that ends its parked wait. */
export class Poller {
  readonly #libc: Libc = libc();
  readonly #epoll: number;
  readonly #wake: number;
  readonly #capacity: number;
  readonly #control = fixedInts(EVENT_WORDS);
  readonly #events: Int32Array<ArrayBuffer>;
  readonly #ids: Int32Array;
  readonly #bits: Int32Array;
  // struct pollfd: fd, then events and revents of 16 bits each.
  readonly #parkedFd = fixedInts(2);
  readonly #counter = fixedInts(2);
  #parked: Promise<void> | null = null;
  #woken = false;
  #closed = false;

  /**
   * Makes an epoll instance that reports up to `capacity` descriptors at a time.
   *
   * @throws when the kernel gives no descriptor
   */
  constructor(capacity: number = EVENTS_MAX) {
    this.#capacity = capacity;
    this.#events = fixedInts(capacity * EVENT_WORDS);
    this.#ids = new Int32Array(capacity);
    this.#bits = new Int32Array(capacity);
    this.#epoll = this.#libc.epoll_create1(EPOLL_CLOEXEC);
    if (this.#epoll < 0) throw new Error(`Cannot make a poller: ${errnoText(errno())}`);
    this.#wake = this.#libc.eventfd(0, EFD_CLOEXEC_NONBLOCK);
    if (this.#wake < 0) {
      const text = errnoText(errno());
      this.#libc.close(this.#epoll);
      throw new Error(`Cannot make a poller: ${text}`);
    }
    const added = this.#change(EPOLL_CTL_ADD, this.#wake, WAKE_ID, Ready.In);
    assert(added === 0, `eventfd refused by epoll: ${added}`);
    this.#parkedFd[0] = this.#epoll;
    this.#parkedFd[1] = POLLIN;
  }

  /** Watches `fd` for `events`, bits of {@linkcode Ready}; reports it as `id`, 0 or more. */
  add(fd: number, id: number, events: number): number {
    assert(id >= 0, "a poller id is 0 or more");
    return this.#change(EPOLL_CTL_ADD, fd, id, events);
  }

  /** Changes the interest set or the id of a watched descriptor. */
  change(fd: number, id: number, events: number): number {
    assert(id >= 0, "a poller id is 0 or more");
    return this.#change(EPOLL_CTL_MOD, fd, id, events);
  }

  /** Ends watching; call it before the descriptor is closed. */
  remove(fd: number): number {
    return this.#change(EPOLL_CTL_DEL, fd, 0, 0);
  }

  /**
   * Collects what is ready, blocking this thread up to `timeoutMs` (-1: without end).
   *
   * @returns how many descriptors are ready, see {@linkcode ready} and {@linkcode events}; or a
   * negated errno. A signal counts as nothing ready.
   */
  wait(timeoutMs: number): number {
    assert(!this.#closed, "wait on a closed poller");
    const events = this.#events;
    const count = this.#libc.epoll_wait(this.#epoll, events, this.#capacity, timeoutMs);
    if (count < 0) return errno() === Errno.Eintr ? 0 : -errno();
    let ready = 0;
    for (let i = 0; i < count; i++) {
      const id = events[i * EVENT_WORDS + DATA_WORD]!;
      if (id === WAKE_ID) {
        this.#libc.read(this.#wake, this.#counter, 8);
        continue;
      }
      this.#ids[ready] = id;
      this.#bits[ready] = events[i * EVENT_WORDS]!;
      ready++;
    }
    return ready;
  }

  /** The id of the `index`-th descriptor that the last {@linkcode wait} found ready. */
  ready(index: number): number {
    return this.#ids[index]!;
  }

  /** What it is ready for, bits of {@linkcode Ready}. */
  events(index: number): number {
    return this.#bits[index]!;
  }

  /**
   * Waits on another thread until a descriptor is ready, {@linkcode wake} is called or
   * `timeoutMs` has passed (Infinity: without end); then call `wait(0)`. It may end early. A
   * second call while parked ends the first wait, and both get its promise.
   */
  park(timeoutMs: number): Promise<void> {
    assert(!this.#closed, "park of a closed poller");
    if (this.#parked !== null) {
      this.wake();
      return this.#parked;
    }
    if (this.#woken) {
      this.#woken = false;
      return Promise.resolve();
    }
    this.#parked = this.#park(timeoutMs);
    return this.#parked;
  }

  /** True while a parked wait is under way. */
  get parked(): boolean {
    return this.#parked !== null;
  }

  /** Ends the parked wait; when there is none, the next one ends at once. */
  wake(): void {
    if (this.#parked === null) {
      this.#woken = true;
      return;
    }
    this.#counter[0] = 1;
    this.#counter[1] = 0;
    this.#libc.write(this.#wake, this.#counter, 8); // EAGAIN: already woken 2^64 times
  }

  /** Ends a parked wait and gives the descriptors back once it has ended. */
  async close(): Promise<void> {
    if (this.#closed) return;
    const parked = this.#parked;
    if (parked !== null) this.wake();
    this.#closed = true;
    // A descriptor closed under a waiting thread could be given to somebody else meanwhile.
    if (parked !== null) await parked;
    this.#libc.close(this.#wake);
    this.#libc.close(this.#epoll);
  }

  /** poll(2) of the epoll descriptor itself takes no event away, not even an edge. */
  async #park(timeoutMs: number): Promise<void> {
    const whole = Math.max(0, Math.min(Math.ceil(timeoutMs), TIMEOUT_MAX));
    await this.#libc.poll_parked(this.#parkedFd, 1, timeoutMs === Infinity ? -1 : whole);
    this.#parked = null;
  }

  #change(operation: number, fd: number, id: number, events: number): number {
    this.#control[0] = events;
    this.#control[DATA_WORD] = id;
    return this.#libc.epoll_ctl(this.#epoll, operation, fd, this.#control) < 0 ? -errno() : 0;
  }
}

/** Gives this processor to another runnable thread: sched_yield(2), 0.3 us when there is none. */
export function yieldProcessor(): void {
  libc().sched_yield();
}
