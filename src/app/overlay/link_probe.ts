/**
 * The end-to-end probe of an overlay's links: echoes from here to the other end of each, over the link's
 * own interface. Only when all have answered is an overlay more than provisional.
 *
 * @module
 */
import { PingSocket, waitForPings } from "../../io/ping_socket.ts";

/** Between two echoes of a link: not all in the burst that a queue drops. */
const SPACING_MS = 20;
/** An id of 16 bits and a nonce of 64. */
const NONCE_BYTES = 10;
/** Of one link: numbers of echoes have 16 bits, and nobody waits for so many. */
const PROBES_MAX = 1000;

/** One end of a link that is to be probed. */
export interface ProbedLink {
  readonly link: string;
  /** Its interface here. */
  readonly device: string;
  /** On the link, here and there. */
  readonly address: string;
  readonly peerAddress: string;
}

/** How a link answered. */
export interface LinkAnswer {
  readonly link: string;
  /** Fewer than asked for when the interface is missing or down. */
  readonly sent: number;
  readonly answered: number;
  /** Median in microseconds; 0 when none was answered. */
  readonly rttUs: number;
}

/**
 * Sends `probes` echoes over each link, all links at once; ends when all are answered, or after `waitMs`.
 * Its sockets belong to the network namespace in which it is called.
 */
export async function probeLinks(
  links: readonly ProbedLink[],
  probes: number,
  waitMs: number,
): Promise<LinkAnswer[]> {
  const runs = links.map((link) => new LinkRun(link));
  await probeAll(runs, Math.min(probes, PROBES_MAX), waitMs);
  return runs.map((run) => run.answer);
}

async function probeAll(runs: LinkRun[], probes: number, waitMs: number): Promise<void> {
  const startMs = performance.now();
  const endMs = startMs + waitMs;
  const spacingMs = Math.min(SPACING_MS, waitMs / (probes + 1));
  try {
    for (const run of runs) run.open();
    let round = 0;
    for (let nowMs = startMs; nowMs < endMs; nowMs = performance.now()) {
      while (round < probes && nowMs >= startMs + round * spacingMs) {
        for (const run of runs) run.send(round);
        round++;
      }
      for (const run of runs) run.receive();
      const open = runs.filter((run) => run.isWaiting);
      if (round === probes && open.length === 0) return;
      const nextMs = round < probes ? startMs + round * spacingMs : endMs;
      const leftMs = Math.ceil(Math.max(0, Math.min(nextMs, endMs) - performance.now()));
      await waitForPings(open.flatMap(({ socket }) => socket ?? []), leftMs);
    }
    for (const run of runs) run.receive();
  } finally {
    for (const run of runs) run.close();
  }
}

/** One link while it is probed. */
class LinkRun {
  socket: PingSocket | null = null;
  readonly #link: ProbedLink;
  /** When each was sent, -1 once it is answered. */
  readonly #sentMs: number[] = [];
  readonly #rttsUs: number[] = [];
  #sent = 0;

  constructor(link: ProbedLink) {
    this.#link = link;
  }

  get isWaiting(): boolean {
    return this.#rttsUs.length < this.#sent;
  }

  get answer(): LinkAnswer {
    const rtts = this.#rttsUs.toSorted((a, b) => a - b);
    const rttUs = rtts[rtts.length >> 1] ?? 0;
    return { link: this.#link.link, sent: this.#sent, answered: rtts.length, rttUs };
  }

  open(): void {
    const { address, device, peerAddress } = this.#link;
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const socket = PingSocket.open(device, address, peerAddress, nonce);
    if (typeof socket !== "number") this.socket = socket;
  }

  send(sequence: number): void {
    this.#sentMs[sequence] = -1;
    const nowMs = performance.now();
    if (this.socket === null || this.socket.send(sequence) < 0) return;
    this.#sentMs[sequence] = nowMs;
    this.#sent++;
  }

  receive(): void {
    if (this.socket === null) return;
    for (let number = this.socket.receive(); number >= 0; number = this.socket.receive()) {
      const sentMs = this.#sentMs[number] ?? -1;
      if (sentMs < 0) continue; // it was answered before
      this.#sentMs[number] = -1;
      this.#rttsUs.push(Math.max(1, Math.round((performance.now() - sentMs) * 1000)));
    }
  }

  close(): void {
    this.socket?.close();
    this.socket = null;
  }
}
