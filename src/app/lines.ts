/**
 * Lines out of a stream of bytes. A line is bytes, not text: what is between two newlines is
 * carried as it is.
 *
 * @module
 */

const NEWLINE = 10;

/**
 * Yields the lines of `source` without their newlines; a last line without one counts too. A
 * line is valid until the next one is asked for.
 *
 * @throws when a line is longer than `bytesMax`
 */
export async function* linesOf(
  source: AsyncIterable<Uint8Array<ArrayBuffer>>,
  bytesMax: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let pieces: Uint8Array<ArrayBuffer>[] = [];
  let waiting = 0;
  for await (const chunk of source) {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      const end = chunk.subarray(from, at);
      check(waiting + end.length, bytesMax);
      yield waiting === 0 ? end : joined([...pieces, end], waiting + end.length);
      pieces = [];
      waiting = 0;
      from = at + 1;
    }
    if (from === chunk.length) continue;
    pieces.push(chunk.slice(from));
    waiting += chunk.length - from;
    check(waiting, bytesMax);
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

function check(bytes: number, bytesMax: number): void {
  if (bytes <= bytesMax) return;
  throw new Error(
    `Cannot send a line as it must have ${bytesMax} bytes at most: it has ${bytes} or more, ` +
      "send it with --file",
  );
}
