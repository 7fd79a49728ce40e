/**
 * A load on nats-server over its own text protocol (docs.nats.io, "Client Protocol"): run with
 * `publish PORT COUNT SIZE` or `subscribe PORT COUNT SIZE`, each as a process of its own. Both
 * write and read large pieces, so that the server is what is measured. They print the moment at
 * which they began, or had everything, in milliseconds since 1970.
 *
 * @module
 */
import { printLine } from "../../src/app/terminal.ts";

const SUBJECT = "lines";
const CHUNK_BYTES = 256 * 1024;
const LINE_BYTE = "x";
const encoder = new TextEncoder();
const decoder = new TextDecoder();

if (import.meta.main) {
  const [what, ...numbers] = Deno.args;
  const [port, count, size] = numbers.map(Number) as [number, number, number];
  await (what === "publish" ? publish : subscribe)(port, count, size);
}

async function publish(port: number, count: number, size: number): Promise<void> {
  using socket = await connect(port);
  const message = encoder.encode(`PUB ${SUBJECT} ${size}\r\n${LINE_BYTE.repeat(size)}\r\n`);
  const each = Math.min(count, Math.max(1, Math.floor(CHUNK_BYTES / message.length)));
  const chunk = new Uint8Array(each * message.length);
  for (let index = 0; index < each; index++) chunk.set(message, index * message.length);
  const startedMs = epochMs();
  for (let left = count; left > 0; left -= each) {
    await write(socket, chunk.subarray(0, Math.min(left, each) * message.length));
  }
  await pong(socket);
  printLine(`${startedMs}`);
}

/** All messages have one length on the wire: after the first one bytes tell how many came. */
async function subscribe(port: number, count: number, size: number): Promise<void> {
  using socket = await connect(port);
  await write(socket, encoder.encode(`SUB ${SUBJECT} 1\r\n`));
  await pong(socket);
  printLine("subscribed");
  const header = `MSG ${SUBJECT} 1 ${size}\r\n`;
  const wanted = count * (header.length + size + 2);
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (let bytes = 0; bytes < wanted;) {
    const got = await socket.read(chunk);
    if (got === null) throw new Error(`The server hung up after ${bytes} of ${wanted} bytes`);
    if (bytes === 0) {
      const text = decoder.decode(chunk.subarray(0, Math.min(got, header.length)));
      if (!header.startsWith(text)) throw new Error(`Cannot count messages that begin ${text}`);
    }
    bytes += got;
  }
  printLine(`${epochMs()}`);
}

async function connect(port: number): Promise<Deno.TcpConn> {
  const socket = await Deno.connect({ hostname: "127.0.0.1", port });
  socket.setNoDelay(true);
  await write(socket, encoder.encode('CONNECT {"verbose":false}\r\n'));
  await pong(socket);
  return socket;
}

/** Everything before it was taken by the server. */
async function pong(socket: Deno.TcpConn): Promise<void> {
  await write(socket, encoder.encode("PING\r\n"));
  const chunk = new Uint8Array(4096);
  for (let text = ""; !text.includes("PONG\r\n");) {
    const got = await socket.read(chunk);
    if (got === null || text.includes("-ERR")) throw new Error(`The server refused: ${text}`);
    text += decoder.decode(chunk.subarray(0, got));
  }
}

async function write(socket: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
}

function epochMs(): number {
  return performance.timeOrigin + performance.now();
}
