/**
 * Lines out of a stream of bytes. A line is bytes, not text: what is between two newlines is
 * carried as it is.
 *
 * @module
 */

const NEWLINE = 10;

/** A line that cannot be one message. */
export class LineTooLong extends Error {
  override name = "LineTooLong";

  /** @param number the line's, from 1 */
  constructor(number: number, bytesMax: number) {
    super(
      `Cannot send line ${number} as it must have ${bytesMax} bytes at most: it has more, send ` +
        "it with --file",
    );
  }
}

/**
 * Yields the lines of `source` without their newlines; a last line without one counts too. A
 * line is valid until the next one is asked for.
 *
 * @throws LineTooLong when a line is longer than `bytesMax`
 */
export async function* linesOf(
  source: AsyncIterable<Uint8Array<ArrayBuffer>>,
  bytesMax: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let pieces: Uint8Array<ArrayBuffer>[] = [];
  let waiting = 0;
  let number = 1;
  for await (const chunk of source) {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      const end = chunk.subarray(from, at);
      if (waiting + end.length > bytesMax) throw new LineTooLong(number, bytesMax);
      yield waiting === 0 ? end : joined([...pieces, end], waiting + end.length);
      pieces = [];
      waiting = 0;
      number++;
      from = at + 1;
    }
    if (from === chunk.length) continue;
    pieces.push(chunk.slice(from));
    waiting += chunk.length - from;
    if (waiting > bytesMax) throw new LineTooLong(number, bytesMax);
  }
  if (waiting > 0) yield joined(pieces, waiting);
}

function joined(pieces: Uint8Array[], bytes: number): Uint8Array<ArrayBuffer> {
  const line = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    line.set(piece, at);
    at += piece.length;
  }
  return line;
}
