/** What a gateway tells of lines that are durable: their number so far, a line each. */

/** Calls `told` with each number that the gateway writes, until the connection ends. */
export async function readCounts(
  conn: Deno.TcpConn,
  told: (count: number) => void,
): Promise<void> {
  const buffer = new Uint8Array(4096);
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) return;
      const lines = `${rest}${decoder.decode(buffer.subarray(0, count))}`.split("\n");
      rest = lines.pop()!;
      for (const line of lines) told(Number(line));
    }
  } catch {
    // the connection broke: what was told counts
  }
}
