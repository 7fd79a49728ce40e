/**
 * `deno run -A bench/sniff_speed.ts [--megabytes 250,1000] [--runs 3]`: how fast `fairlead sniff
 * --stats` reads a capture of iSCSI in segments of 1448 bytes, beside `tshark -Y iscsi -T fields -e
 * iscsi.opcode` on the same file, in turns; and one of msgr2 in mode crc, whose every crc is checked.
 * Both must count the same PDUs. Prints a Markdown table with the memory that each took at most.
 *
 * The captures are written here: PDUs as a disk's reads and writes have them, and a real session of
 * two endpoints, both put into segments with acknowledgements as a wire carries them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Endpoint, POLICIES } from "../mod.ts";
import { printError, printLine } from "../src/app/terminal.ts";
import { Opcode, pduName } from "../src/wire/iscsi/opcode.ts";
import { memoryText } from "./peers/process_stat.ts";
import { median } from "./peers/table.ts";

const MAIN = fileURLToPath(import.meta.resolve("../src/main.ts"));
const SEGMENT_BYTES = 1448;
const PACKET_HEADER_BYTES = 16;
const ETHERNET_BYTES = 14;
const HEADERS_BYTES = ETHERNET_BYTES + 20 + 32; // with timestamps, as Linux sends them
const BUFFER_BYTES = 8 * 1024 * 1024;
const PACKET_NS = 4_000;
const START_SECONDS = 1_700_000_000;
const ISCSI_PORT = 3260;
const MSGR2_PORT = 3300;
const SESSIONS = 4;
const BHS_BYTES = 48;
/** Of reads and writes, in turn. */
const SIZES = [8, 64, 256, 16, 32, 128].map((kib) => kib * 1024);
const WRITES_EVERY = 5;
const DATA_OUT_BYTES = 64 * 1024;
const MESSAGE_TYPE = 0xfa00;
const MESSAGE_SIZES = [4, 64, 16, 1024].map((kib) => kib * 1024);
const RSS_EVERY_MS = 20;

const FIN = 1;
const SYN = 2;
const PSH = 8;
const ACK = 16;

/** Writes a capture file, much faster than a capture is made. */
class CaptureFile implements Disposable {
  /** Bytes so far. */
  bytes = 0;
  readonly #file: Deno.FsFile;
  readonly buffer: Uint8Array<ArrayBuffer> = new Uint8Array(BUFFER_BYTES);
  readonly view: DataView = new DataView(this.buffer.buffer);
  #at = 0;
  #packets = 0;

  constructor(path: string) {
    this.#file = Deno.openSync(path, { create: true, write: true, truncate: true });
    const { view } = this;
    view.setUint32(0, 0xa1b2c3d4, true);
    view.setUint16(4, 2, true);
    view.setUint16(6, 4, true);
    view.setUint32(16, 262_144, true);
    view.setUint32(20, 1, true); // Ethernet
    this.#at = 24;
  }

  /** Room for a packet of `bytes`; returns where it begins. */
  packet(bytes: number): number {
    if (this.#at + PACKET_HEADER_BYTES + bytes > BUFFER_BYTES) this.#flush();
    const { view } = this;
    const at = this.#at;
    const timeNs = this.#packets++ * PACKET_NS;
    view.setUint32(at, START_SECONDS + Math.floor(timeNs / 1e9), true);
    view.setUint32(at + 4, Math.floor(timeNs % 1e9 / 1000), true);
    view.setUint32(at + 8, bytes, true);
    view.setUint32(at + 12, bytes, true);
    this.#at = at + PACKET_HEADER_BYTES + bytes;
    return at + PACKET_HEADER_BYTES;
  }

  [Symbol.dispose](): void {
    this.#flush();
    this.#file.close();
  }

  #flush(): void {
    for (let at = 0; at < this.#at;) at += this.#file.writeSync(this.buffer.subarray(at, this.#at));
    this.bytes += this.#at;
    this.#at = 0;
  }
}

/** One direction of a connection. */
class Direction {
  sequence: number;
  /** Data segments that were not acknowledged. */
  unacknowledged = 0;
  readonly pending: Uint8Array<ArrayBuffer> = new Uint8Array(SEGMENT_BYTES);
  count = 0;

  constructor(sequence: number) {
    this.sequence = sequence;
  }
}

/** A TCP connection in a capture: what each side writes leaves in full segments. */
class Connection {
  readonly #file: CaptureFile;
  readonly #ports: readonly [number, number];
  readonly #sides: readonly [Direction, Direction];

  constructor(file: CaptureFile, port: number, number: number) {
    this.#file = file;
    this.#ports = [40_000 + number, port];
    this.#sides = [new Direction(0xfff00000 + number * 77), new Direction(number * 1_000_003)];
    this.#segment(0, SYN, 0);
    this.#segment(1, SYN | ACK, 0);
    this.#segment(0, ACK, 0);
  }

  /** A side writes bytes; the last of them may wait for more. */
  write(side: 0 | 1, bytes: Uint8Array, at = 0, end = bytes.length): void {
    const direction = this.#sides[side];
    while (at < end) {
      const count = Math.min(end - at, SEGMENT_BYTES - direction.count);
      direction.pending.set(bytes.subarray(at, at + count), direction.count);
      direction.count += count;
      at += count;
      if (direction.count === SEGMENT_BYTES) this.#segment(side, ACK, SEGMENT_BYTES);
    }
  }

  /** What waits leaves. */
  push(side: 0 | 1): void {
    const { count } = this.#sides[side];
    if (count > 0) this.#segment(side, ACK | PSH, count);
  }

  /** Both sides end. */
  end(): void {
    for (const side of [0, 1] as const) {
      this.push(side);
      this.#segment(side, FIN | ACK, 0);
    }
    this.#segment(0, ACK, 0);
  }

  #segment(side: 0 | 1, flags: number, dataBytes: number): void {
    const own = this.#sides[side];
    const other = this.#sides[side === 0 ? 1 : 0];
    const { buffer, view } = this.#file;
    const at = this.#file.packet(HEADERS_BYTES + dataBytes);
    buffer.fill(0, at, at + HEADERS_BYTES);
    view.setUint8(at + 5, 2 - side);
    view.setUint8(at + 11, 1 + side);
    view.setUint16(at + 12, 0x0800);
    const ip = at + ETHERNET_BYTES;
    view.setUint8(ip, 0x45);
    view.setUint16(ip + 2, HEADERS_BYTES - ETHERNET_BYTES + dataBytes);
    view.setUint16(ip + 6, 0x4000);
    view.setUint8(ip + 8, 64);
    view.setUint8(ip + 9, 6);
    view.setUint32(ip + 12, 0xc0000201 + side); // 192.0.2.1 and 192.0.2.2
    view.setUint32(ip + 16, 0xc0000202 - side);
    const tcp = ip + 20;
    view.setUint16(tcp, this.#ports[side]);
    view.setUint16(tcp + 2, this.#ports[side === 0 ? 1 : 0]!);
    view.setUint32(tcp + 4, own.sequence);
    if ((flags & ACK) !== 0) view.setUint32(tcp + 8, other.sequence);
    view.setUint8(tcp + 12, 0x80);
    view.setUint8(tcp + 13, flags);
    view.setUint16(tcp + 14, 0xffff);
    view.setUint32(tcp + 20, 0x0101080a);
    buffer.set(own.pending.subarray(0, dataBytes), at + HEADERS_BYTES);
    own.sequence = (own.sequence + dataBytes + ((flags & (SYN | FIN)) !== 0 ? 1 : 0)) >>> 0;
    own.count = 0;
    other.unacknowledged = 0;
    if (dataBytes === 0) return;
    own.unacknowledged++;
    if (own.unacknowledged === 2) this.#segment(side === 0 ? 1 : 0, ACK, 0);
  }
}

/** A session of iSCSI that reads and writes without end. */
class Session {
  readonly #connection: Connection;
  readonly #header = new Uint8Array(BHS_BYTES);
  readonly #view = new DataView(this.#header.buffer);
  readonly #content: Uint8Array;
  readonly #counts: Record<number, number>;
  #task = 1;
  #cmdSn = 1;
  #statSn = 1;

  constructor(connection: Connection, content: Uint8Array, counts: Record<number, number>) {
    this.#connection = connection;
    this.#content = content;
    this.#counts = counts;
    this.#begin(Opcode.LoginRequest | 0x40, 0x87);
    this.#view.setUint32(24, this.#cmdSn);
    this.#pdu(
      0,
      keysOf(
        "InitiatorName=iqn.2001-04.com.example:bench",
        "TargetName=iqn.2001-04.com.example:disk",
        "SessionType=Normal",
        "HeaderDigest=None",
        "DataDigest=None",
        "MaxRecvDataSegmentLength=262144",
      ),
    );
    this.#connection.push(0);
    this.#begin(Opcode.LoginResponse, 0x87);
    this.#numbers();
    this.#view.setUint16(14, 1); // TSIH
    this.#pdu(1, keysOf("HeaderDigest=None", "DataDigest=None"));
    this.#connection.push(1);
    this.#task++;
  }

  /** READ(10): one Data-In, which has the status too for every other command. */
  read(bytes: number): void {
    this.#command(0x28, 0x40, bytes, new Uint8Array(0));
    const hasStatus = this.#task % 2 === 0;
    this.#begin(Opcode.DataIn, hasStatus ? 0x81 : 0x80);
    if (hasStatus) this.#numbers();
    else this.#window();
    this.#view.setUint32(20, 0xffffffff);
    this.#pdu(1, this.#part(bytes));
    if (!hasStatus) this.#response();
    this.#connection.push(1);
    this.#task++;
  }

  /** WRITE(10): immediate data, R2T, Data-Out, response. */
  write(bytes: number): void {
    const immediate = Math.min(bytes, 8192);
    this.#command(0x2a, 0x20, bytes, this.#part(immediate));
    if (bytes > immediate) {
      this.#begin(Opcode.ReadyToTransfer, 0x80);
      this.#window();
      this.#view.setUint32(20, this.#task);
      this.#view.setUint32(24, this.#statSn);
      this.#view.setUint32(40, immediate);
      this.#view.setUint32(44, bytes - immediate);
      this.#pdu(1, new Uint8Array(0));
      this.#connection.push(1);
    }
    let sequence = 0;
    for (let at = immediate; at < bytes; at += DATA_OUT_BYTES) {
      const count = Math.min(DATA_OUT_BYTES, bytes - at);
      this.#begin(Opcode.DataOut, at + count === bytes ? 0x80 : 0);
      this.#view.setUint32(20, this.#task);
      this.#view.setUint32(28, this.#statSn);
      this.#view.setUint32(36, sequence++);
      this.#view.setUint32(40, at);
      this.#pdu(0, this.#part(count));
    }
    this.#connection.push(0);
    this.#response();
    this.#connection.push(1);
    this.#task++;
  }

  #command(code: number, direction: number, bytes: number, immediate: Uint8Array): void {
    this.#begin(Opcode.ScsiCommand, 0x81 | direction);
    const view = this.#view;
    view.setUint32(20, bytes);
    view.setUint32(24, this.#cmdSn++);
    view.setUint32(28, this.#statSn);
    view.setUint8(32, code);
    view.setUint32(34, this.#task * 512);
    view.setUint16(39, bytes / 512);
    this.#pdu(0, immediate);
    this.#connection.push(0);
  }

  #response(): void {
    this.#begin(Opcode.ScsiResponse, 0x80);
    this.#numbers();
    this.#pdu(1, new Uint8Array(0));
  }

  #begin(opcode: number, flags: number): void {
    this.#header.fill(0);
    this.#header[0] = opcode;
    this.#header[1] = flags;
    this.#view.setUint32(16, this.#task);
  }

  #numbers(): void {
    this.#view.setUint32(24, this.#statSn++);
    this.#window();
  }

  #window(): void {
    this.#view.setUint32(28, this.#cmdSn);
    this.#view.setUint32(32, this.#cmdSn + 128);
  }

  #pdu(side: 0 | 1, data: Uint8Array): void {
    this.#view.setUint32(4, data.length);
    const opcode = this.#header[0]! & 0x3f;
    this.#counts[opcode] = (this.#counts[opcode] ?? 0) + 1;
    this.#connection.write(side, this.#header);
    this.#connection.write(side, data);
  }

  #part(bytes: number): Uint8Array {
    const at = this.#task * 64 % (this.#content.length - bytes);
    return this.#content.subarray(at, at + bytes);
  }
}

/** Keys of a login, padded as PDUs are. */
function keysOf(...pairs: string[]): Uint8Array {
  const text = new TextEncoder().encode(pairs.map((pair) => `${pair}\0`).join(""));
  const padded = new Uint8Array((text.length + 3) & ~3);
  padded.set(text);
  return padded;
}

/** Writes a capture of iSCSI; returns how many PDUs of each opcode it has. */
function writeIscsi(path: string, bytes: number): Record<number, number> {
  using file = new CaptureFile(path);
  const counts: Record<number, number> = {};
  const content = new Uint8Array(1024 * 1024);
  for (let at = 0; at < content.length; at += 65_536) {
    crypto.getRandomValues(content.subarray(at, at + 65_536));
  }
  const connections = Array.from(
    { length: SESSIONS },
    (_, number) => new Connection(file, ISCSI_PORT, number),
  );
  const sessions = connections.map((connection) => new Session(connection, content, counts));
  for (let task = 0; file.bytes < bytes; task++) {
    const session = sessions[task % SESSIONS]!;
    const size = SIZES[(task * 7 + (task >> 3)) % SIZES.length]!;
    if (task % WRITES_EVERY === 0) session.write(size);
    else session.read(size);
  }
  for (const connection of connections) connection.end();
  return counts;
}

/** Writes a capture of a session of two endpoints; returns how many messages it carried. */
async function writeMsgr2(path: string, bytes: number): Promise<number> {
  using file = new CaptureFile(path);
  const hub = new Endpoint({ messenger: { anyTarget: true } });
  const box = new Endpoint();
  hub.handle(() => {});
  const { port } = await hub.listen("v2:127.0.0.1:0");
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const session = await box.connect(`v2:127.0.0.1:${listener.addr.port}`, POLICIES.losslessClient);
  const near = await listener.accept();
  const far = await Deno.connect({ hostname: "127.0.0.1", port });
  const connection = new Connection(file, MSGR2_PORT, 0);
  const carry = async (from: Deno.TcpConn, to: Deno.TcpConn, side: 0 | 1): Promise<void> => {
    const chunk = new Uint8Array(256 * 1024);
    for (;;) {
      const count = await from.read(chunk).catch(() => null);
      if (count === null) return;
      connection.write(side, chunk, 0, count);
      connection.push(side);
      for (let at = 0; at < count;) at += await to.write(chunk.subarray(at, count));
    }
  };
  const carrying = [carry(near, far, 0), carry(far, near, 1)];
  const data = crypto.getRandomValues(new Uint8Array(65_536));
  const contents = MESSAGE_SIZES.map((size) => {
    const content = new Uint8Array(size);
    for (let at = 0; at < size; at += data.length) content.set(data.subarray(0, size - at), at);
    return content;
  });
  let messages = 0;
  const header = new Uint8Array(64);
  while (file.bytes < bytes) {
    const content = contents[messages % contents.length]!;
    await box.send(session, { type: MESSAGE_TYPE, front: header, data: content });
    messages++;
    if (messages % 64 === 0) await box.flushed(session);
  }
  await box.flushed(session);
  connection.end();
  await box.close();
  await hub.close();
  for (const conn of [near, far]) conn.close();
  await Promise.all(carrying);
  listener.close();
  return messages;
}

/** What a run of a program cost. */
interface Cost {
  readonly stdout: string;
  readonly seconds: number;
  /** Resident memory at most. */
  readonly peakBytes: number;
}

async function measure(argv: readonly string[]): Promise<Cost> {
  const started = performance.now();
  const [program, ...args] = argv;
  const child = new Deno.Command(program!, { args, stdout: "piped", stderr: "null" }).spawn();
  let peakBytes = 0;
  const watch = setInterval(() => peakBytes = peakOf(child.pid) || peakBytes, RSS_EVERY_MS);
  const output = new Response(child.stdout).text();
  const { code } = await child.status;
  clearInterval(watch);
  const seconds = (performance.now() - started) / 1000;
  const stdout = await output;
  assert.equal(code, 0, `${argv.join(" ")}: status ${code}`);
  return { stdout, seconds, peakBytes };
}

/** VmHWM, the highest that the resident memory was; 0 when the process has ended. */
function peakOf(pid: number): number {
  try {
    const status = Deno.readTextFileSync(`/proc/${pid}/status`);
    return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** What is needed of `sniff --stats --json`. */
interface Stats {
  readonly messages_with_errors: number;
  readonly unassigned: number;
  readonly protocols: readonly {
    readonly kinds: readonly { readonly tag: string; readonly messages: number }[];
  }[];
}

function countTags(stdout: string): Record<string, number> {
  const report = JSON.parse(stdout) as Stats;
  assert.equal(report.messages_with_errors, 0);
  assert.equal(report.unassigned, 0);
  const counts: Record<string, number> = {};
  for (const { kinds } of report.protocols) {
    for (const { messages, tag } of kinds) counts[tag] = (counts[tag] ?? 0) + messages;
  }
  return counts;
}

function countOpcodes(stdout: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [word] of stdout.matchAll(/\w+/g)) {
    const tag = pduName(Number(word));
    counts[tag] = (counts[tag] ?? 0) + 1;
  }
  return counts;
}

function sniffOf(path: string): Promise<Cost> {
  return measure([Deno.execPath(), "run", "-A", MAIN, "sniff", path, "--stats", "--json"]);
}

function secondsOf(costs: readonly Cost[]): number {
  return median(costs.map(({ seconds }) => seconds));
}

function peakOfAll(costs: readonly Cost[]): string {
  return memoryText(Math.max(...costs.map(({ peakBytes }) => peakBytes)));
}

async function benchIscsi(path: string, megabytes: number, runs: number): Promise<string> {
  const written = writeIscsi(path, megabytes * 1e6);
  const expected = Object.fromEntries(
    Object.entries(written).map(([opcode, count]) => [pduName(Number(opcode)), count]),
  );
  const ours: Cost[] = [];
  const theirs: Cost[] = [];
  for (let run = 0; run < runs; run++) {
    const tshark = [
      "tshark",
      "-n",
      "-r",
      path,
      "-Y",
      "iscsi",
      "-T",
      "fields",
      "-e",
      "iscsi.opcode",
    ];
    theirs.push(await measure(tshark));
    ours.push(await sniffOf(path));
    assert.deepEqual(countOpcodes(theirs.at(-1)!.stdout), expected);
    assert.deepEqual(countTags(ours.at(-1)!.stdout), expected);
  }
  const { size } = await Deno.stat(path);
  const [their, our] = [secondsOf(theirs), secondsOf(ours)];
  const cells = [
    `iSCSI ${(size / 1e6).toFixed(0)} MB`,
    `${their.toFixed(2)} s`,
    `${our.toFixed(2)} s`,
    `${(their / our).toFixed(1)}x`,
    `${(size / 1e6 / our).toFixed(0)} MB/s`,
    peakOfAll(theirs),
    peakOfAll(ours),
  ];
  return `| ${cells.join(" | ")} |`;
}

async function benchMsgr2(path: string, megabytes: number, runs: number): Promise<string> {
  const messages = await writeMsgr2(path, megabytes * 1e6);
  const ours: Cost[] = [];
  for (let run = 0; run < runs; run++) {
    ours.push(await sniffOf(path));
    assert.equal(countTags(ours.at(-1)!.stdout).MSG, messages);
  }
  const { size } = await Deno.stat(path);
  const our = secondsOf(ours);
  const cells = [
    `msgr2 crc ${(size / 1e6).toFixed(0)} MB`,
    "-",
    `${our.toFixed(2)} s`,
    "-",
    `${(size / 1e6 / our).toFixed(0)} MB/s`,
    "-",
    peakOfAll(ours),
  ];
  return `| ${cells.join(" | ")} |`;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      megabytes: { type: "string", default: "250,1000" },
      runs: { type: "string", default: "3" },
    },
  });
  const directory = await Deno.makeTempDir({ prefix: "fairlead_sniff_speed_" });
  const rows: string[] = [];
  try {
    for (const bench of [benchIscsi, benchMsgr2]) {
      for (const megabytes of values.megabytes.split(",").map(Number)) {
        printError(`${bench.name} ${megabytes} MB`);
        rows.push(await bench(`${directory}/capture.pcap`, megabytes, Number(values.runs)));
        await Deno.remove(`${directory}/capture.pcap`);
      }
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  printLine("| capture | tshark | fairlead | ratio | fairlead | peak tshark | peak fairlead |");
  printLine("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
  for (const row of rows) printLine(row);
}
