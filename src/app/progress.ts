/**
 * A progress line on standard error, redrawn in place while a person is looking.
 *
 * @module
 */

const REDRAW_MS = 100;
const BAR_WIDTH = 24;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;
const encoder = new TextEncoder();

/** One line that tells how far something is. */
export class Progress {
  readonly #total: number | null;
  readonly #unit: string;
  readonly #startedMs = performance.now();
  readonly #shown: boolean;
  #drawnMs = 0;

  /**
   * @param total what `done` grows to; null when that is not known
   * @param unit `bytes`, or what is counted
   */
  constructor(total: number | null, unit: string, shown: boolean = Deno.stderr.isTerminal()) {
    this.#total = total;
    this.#unit = unit;
    this.#shown = shown;
  }

  /** Draws, ten times a second at most. */
  update(done: number): void {
    const now = performance.now();
    if (!this.#shown || now - this.#drawnMs < REDRAW_MS) return;
    this.#drawnMs = now;
    this.#write(`\r\x1b[2K${this.text(done, now - this.#startedMs)}`);
  }

  /** Draws the last state and leaves the line. */
  end(done: number): void {
    if (!this.#shown) return;
    this.#write(`\r\x1b[2K${this.text(done, performance.now() - this.#startedMs)}\n`);
  }

  /** The line after `elapsedMs`. */
  text(done: number, elapsedMs: number): string {
    const rate = elapsedMs > 0 ? done / (elapsedMs / 1000) : 0;
    const told = `${this.#amount(done)}, ${this.#amount(rate)}/s`;
    const total = this.#total;
    if (total === null || total === 0) return told;
    const share = Math.min(done / total, 1);
    const filled = Math.round(share * BAR_WIDTH);
    const bar = "#".repeat(filled).padEnd(BAR_WIDTH, ".");
    const percent = `${Math.floor(share * 100)}`.padStart(3);
    const eta = rate > 0 ? `, ETA ${clockText((total - done) / rate)}` : "";
    return `[${bar}] ${percent} % ${told}${done < total ? eta : ""}`;
  }

  #amount(value: number): string {
    return this.#unit === "bytes" ? bytesText(value) : `${Math.round(value)} ${this.#unit}`;
  }

  #write(text: string): void {
    Deno.stderr.writeSync(encoder.encode(text));
  }
}

/** `3.2 MiB` */
export function bytesText(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** `1:05` or `2:01:05` */
function clockText(seconds: number): string {
  const whole = Math.ceil(seconds);
  const minutes = Math.floor(whole / 60);
  const two = (value: number): string => `${value}`.padStart(2, "0");
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}
