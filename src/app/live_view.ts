/**
 * A few rows at the end of a terminal that are redrawn in place: the cursor goes up over the last
 * frame and each row is overwritten (ECMA-48 CUU, EL, ED). Rows never wrap and never scroll.
 *
 * @module
 */
import { cut } from "./printable.ts";
import { isTerminal, printBytes } from "./terminal.ts";

const REDRAW_MS = 250;
const SIZE_DEFAULT = { columns: 80, rows: 24 };

const CURSOR_HIDE = "\x1b[?25l";
const CURSOR_SHOW = "\x1b[?25h";
const CLEAR_LINE_END = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";
const CLEAR_ALL = "\x1b[H\x1b[2J";
const STYLES = { bold: "\x1b[1m", dim: "\x1b[2m", warn: "\x1b[33m", plain: "" } as const;
const STYLE_END = "\x1b[0m";

const encoder = new TextEncoder();

/** One row; its text holds no control characters. */
export interface Row {
  readonly text: string;
  readonly style?: keyof typeof STYLES;
}

/** What is to be shown on so many rows. */
export type Render = (rows: number) => Row[];

/** True when a live view can be drawn: a terminal that knows the sequences. */
export function canDraw(): boolean {
  return isTerminal() && Deno.env.get("TERM") !== "dumb";
}

/** Draws four times a second from `start` to `stop`. */
export class LiveView {
  readonly #render: Render;
  readonly #colored = !Deno.env.get("NO_COLOR");
  readonly #restore = (): void => printBytes(encoder.encode(CURSOR_SHOW));
  #timer: ReturnType<typeof setInterval> | undefined;
  #drawn = 0;
  #columns = 0;

  /** @param render called for each frame */
  constructor(render: Render) {
    this.#render = render;
  }

  /** Hides the cursor and begins to draw. */
  start(): void {
    globalThis.addEventListener("unload", this.#restore); // also when the end is forced
    printBytes(encoder.encode(CURSOR_HIDE));
    this.draw();
    this.#timer = setInterval(() => this.draw(), REDRAW_MS);
  }

  /** Draws a last frame, which stays, and gives the cursor back. */
  stop(): void {
    clearInterval(this.#timer);
    this.draw();
    this.#restore();
    globalThis.removeEventListener("unload", this.#restore);
  }

  /** Draws a frame over the last one. */
  draw(): void {
    const { columns, rows } = size();
    const lines = this.#render(rows - 1).slice(0, rows - 1);
    let frame = this.#drawn > 0 ? `\x1b[${this.#drawn}A\r` : "\r";
    if (this.#columns !== 0 && columns !== this.#columns) frame = CLEAR_ALL; // rows were rewrapped
    this.#columns = columns;
    for (const { text, style = "plain" } of lines) {
      const shown = cut(text, columns - 1);
      const start = this.#colored ? STYLES[style] : "";
      frame += `${start}${shown}${start === "" ? "" : STYLE_END}${CLEAR_LINE_END}\n`;
    }
    this.#drawn = lines.length;
    printBytes(encoder.encode(frame + CLEAR_BELOW));
  }
}

function size(): { columns: number; rows: number } {
  try {
    const { columns, rows } = Deno.consoleSize();
    return columns > 0 && rows > 0 ? { columns, rows } : SIZE_DEFAULT;
  } catch {
    return SIZE_DEFAULT;
  }
}
