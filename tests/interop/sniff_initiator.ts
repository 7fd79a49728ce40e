/**
 * A small iSCSI initiator, to make captures of what libiscsi's tools never send: writes with
 * immediate data, R2T and Data-Out, both digests, NOP and logout. RFC 7143 sections 11 and 13,
 * SBC-3 READ(10) and WRITE(10). A program of its own, so that it can run inside a namespace:
 *
 *     deno run -A tests/interop/sniff_initiator.ts HOST PORT TARGET DIGESTS ROUNDS
 *
 * DIGESTS is `none`, `header`, `data` or `both`. It exits with 0 when all data came back right.
 *
 * @module
 */
import assert from "node:assert/strict";
import { crc32c } from "../../src/wire/crc32c.ts";

const BHS_BYTES = 48;
const BLOCK_BYTES = 512;
const NO_TAG = 0xffffffff;
const IMMEDIATE = 0x40;
const FINAL = 0x80;
/** What this end takes in one Data-In. */
const RECV_MAX = 16384;
/** Commands in flight. */
const DEPTH = 4;

const CHECK_CONDITION = 2;

const NOP_OUT = 0x00;
const SCSI_COMMAND = 0x01;
const LOGIN = 0x03;
const DATA_OUT = 0x05;
const LOGOUT = 0x06;
const NOP_IN = 0x20;
const SCSI_RESPONSE = 0x21;
const LOGIN_RESPONSE = 0x23;
const DATA_IN = 0x25;
const LOGOUT_RESPONSE = 0x26;
const R2T = 0x31;

/** A PDU as received. */
interface Pdu {
  readonly opcode: number;
  readonly header: DataView;
  readonly data: Uint8Array;
}

interface Task {
  /** What a write still has to send, and a read has got. */
  readonly data: Uint8Array<ArrayBuffer>;
  /** Resolves with the status of SCSI. */
  readonly done: PromiseWithResolvers<number>;
}

/** One session with one connection. */
export class Initiator {
  readonly #conn: Deno.TcpConn;
  readonly #tasks = new Map<number, Task>();
  #buffered: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #headerDigest = false;
  #dataDigest = false;
  #sendMax = 8192;
  #tag = 1;
  #cmdSn = 1;
  #expStatSn = 0;
  #writing: Promise<void> = Promise.resolve();

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  /** Connects and logs in, in one step and without authentication. */
  static async login(
    host: string,
    port: number,
    target: string,
    digests: { header: boolean; data: boolean },
  ): Promise<Initiator> {
    const conn = await Deno.connect({ hostname: host, port });
    conn.setNoDelay();
    const initiator = new Initiator(conn);
    const digest = (wanted: boolean): string => wanted ? "CRC32C" : "None";
    const text = [
      "InitiatorName=iqn.2001-04.com.example:fairlead",
      `TargetName=${target}`,
      "SessionType=Normal",
      `HeaderDigest=${digest(digests.header)}`,
      `DataDigest=${digest(digests.data)}`,
      "InitialR2T=Yes",
      "ImmediateData=Yes",
      `MaxRecvDataSegmentLength=${RECV_MAX}`,
      "MaxBurstLength=65536",
      "FirstBurstLength=8192",
      "",
    ].join("\0");
    const header = initiator.#header(LOGIN | IMMEDIATE, 0x87); // transit from operational to full
    header.setUint32(8, 0x80000000 | Math.floor(Math.random() * 0xffffff)); // ISID: random
    await initiator.#write(header, new TextEncoder().encode(text));
    const { opcode, header: answer, data } = (await initiator.#read())!;
    assert.equal(opcode, LOGIN_RESPONSE);
    assert.equal(answer.getUint16(36), 0, "the login succeeds");
    const keys = new Map(
      new TextDecoder().decode(data).split("\0").map((pair) => pair.split("=") as [string, string]),
    );
    initiator.#expStatSn = answer.getUint32(24) + 1;
    initiator.#sendMax = Number(keys.get("MaxRecvDataSegmentLength") ?? 8192);
    initiator.#headerDigest = keys.get("HeaderDigest") === "CRC32C";
    initiator.#dataDigest = keys.get("DataDigest") === "CRC32C";
    assert.equal(initiator.#headerDigest, digests.header);
    assert.equal(initiator.#dataDigest, digests.data);
    return initiator;
  }

  /** Answers what the target sends; resolves when it ends the connection. */
  async run(): Promise<void> {
    for (let pdu = await this.#read(); pdu !== null; pdu = await this.#read()) {
      await this.#handle(pdu);
      if (pdu.opcode === LOGOUT_RESPONSE) break;
    }
    this.#conn.close();
  }

  /** WRITE(10) with the first bytes as immediate data. */
  async write(block: number, data: Uint8Array<ArrayBuffer>): Promise<void> {
    const immediate = data.subarray(0, Math.min(data.length, this.#sendMax, 8192));
    assert.equal(await this.#command(0x2a, 0x20, block, data, immediate), 0, "GOOD");
  }

  /** READ(10). */
  async read(block: number, bytes: number): Promise<Uint8Array> {
    const data = new Uint8Array(bytes);
    assert.equal(await this.#command(0x28, 0x40, block, data, new Uint8Array(0)), 0, "GOOD");
    return data;
  }

  /** TEST UNIT READY; the first answer of a session is that the unit was powered on. */
  async test(): Promise<number> {
    return await this.#command(0, 0, 0, new Uint8Array(0), new Uint8Array(0));
  }

  /** A ping with some data, which comes back. */
  async nop(data: Uint8Array<ArrayBuffer>): Promise<void> {
    const header = this.#header(NOP_OUT | IMMEDIATE, FINAL);
    header.setUint32(20, NO_TAG);
    await this.#exchange(header, data, new Uint8Array(0));
  }

  /** Ends the session; `run()` resolves when the target has answered. */
  async logout(): Promise<void> {
    await this.#exchange(this.#header(LOGOUT | IMMEDIATE, FINAL), new Uint8Array(0), null);
  }

  async #command(
    code: number,
    direction: number,
    block: number,
    data: Uint8Array<ArrayBuffer>,
    immediate: Uint8Array<ArrayBuffer>,
  ): Promise<number> {
    const header = this.#header(SCSI_COMMAND, FINAL | direction | 1); // simple task attribute
    header.setUint16(8, 1); // LUN 1
    header.setUint32(20, data.length);
    header.setUint8(32, code);
    header.setUint32(34, block);
    header.setUint16(39, data.length / BLOCK_BYTES);
    this.#cmdSn++;
    return await this.#exchange(header, immediate, data);
  }

  async #exchange(
    header: DataView<ArrayBuffer>,
    sent: Uint8Array<ArrayBuffer>,
    data: Uint8Array<ArrayBuffer> | null,
  ): Promise<number> {
    const done = Promise.withResolvers<number>();
    this.#tasks.set(header.getUint32(16), { data: data ?? new Uint8Array(0), done });
    await this.#write(header, sent);
    return await done.promise;
  }

  async #handle({ opcode, header, data }: Pdu): Promise<void> {
    const tag = header.getUint32(16);
    const task = this.#tasks.get(tag);
    const hasStatus = opcode !== R2T && (opcode !== DATA_IN || (header.getUint8(1) & 1) !== 0);
    if (hasStatus && tag !== NO_TAG) this.#expStatSn = (header.getUint32(24) + 1) >>> 0;
    if (opcode === NOP_IN && tag === NO_TAG) return await this.#answerPing(header);
    assert.ok(task, `the target answers a task that is none: opcode ${opcode}`);
    if (opcode === DATA_IN) task.data.set(data, header.getUint32(40));
    if (opcode === R2T) return await this.#sendData(tag, task, header);
    if (!hasStatus) return;
    this.#tasks.delete(tag);
    task.done.resolve(opcode === SCSI_RESPONSE || opcode === DATA_IN ? header.getUint8(3) : 0);
  }

  async #answerPing(header: DataView): Promise<void> {
    const answer = this.#header(NOP_OUT | IMMEDIATE, FINAL);
    answer.setUint32(16, NO_TAG);
    answer.setUint32(20, header.getUint32(20));
    await this.#write(answer, new Uint8Array(0));
  }

  /** Answers an R2T: the bytes it asks for, in as many Data-Out as the target's limit makes. */
  async #sendData(tag: number, task: Task, r2t: DataView): Promise<void> {
    const begin = r2t.getUint32(40);
    const end = begin + r2t.getUint32(44);
    let sequence = 0;
    for (let at = begin; at < end; at += this.#sendMax) {
      const part = task.data.subarray(at, Math.min(end, at + this.#sendMax));
      const header = this.#header(DATA_OUT, at + part.length === end ? FINAL : 0);
      header.setUint16(8, 1);
      header.setUint32(16, tag);
      header.setUint32(20, r2t.getUint32(20));
      header.setUint32(24, 0);
      header.setUint32(36, sequence++);
      header.setUint32(40, at);
      await this.#write(header, part);
    }
  }

  #header(opcode: number, flags: number): DataView<ArrayBuffer> {
    const header = new DataView(new ArrayBuffer(BHS_BYTES));
    header.setUint8(0, opcode);
    header.setUint8(1, flags);
    header.setUint32(16, this.#tag++);
    header.setUint32(24, this.#cmdSn);
    header.setUint32(28, this.#expStatSn);
    return header;
  }

  /** Writes a PDU at once; PDUs do not mix. */
  #write(header: DataView<ArrayBuffer>, data: Uint8Array<ArrayBuffer>): Promise<void> {
    header.setUint32(4, data.length); // no additional header segments: the first byte is 0
    const head = new Uint8Array(header.buffer);
    const parts = [head];
    if (this.#headerDigest) parts.push(digest(head));
    if (data.length > 0) {
      const padded = new Uint8Array((data.length + 3) & ~3);
      padded.set(data);
      parts.push(padded);
      if (this.#dataDigest) parts.push(digest(padded));
    }
    const bytes = join(parts);
    this.#writing = this.#writing.then(async () => {
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
    });
    return this.#writing;
  }

  async #read(): Promise<Pdu | null> {
    const head = await this.#take(BHS_BYTES);
    if (head === null) return null;
    const header = new DataView(head.buffer, head.byteOffset, BHS_BYTES);
    if (this.#headerDigest) assert.deepEqual(await this.#take(4), digest(head));
    const length = header.getUint32(4) & 0xffffff;
    const padded = (await this.#take((length + 3) & ~3))!;
    if (this.#dataDigest && length > 0) assert.deepEqual(await this.#take(4), digest(padded));
    return { opcode: header.getUint8(0) & 0x3f, header, data: padded.subarray(0, length) };
  }

  async #take(count: number): Promise<Uint8Array<ArrayBuffer> | null> {
    while (this.#buffered.length < count) {
      const chunk = new Uint8Array(65536);
      const got = await this.#conn.read(chunk);
      if (got === null) return null;
      this.#buffered = join([this.#buffered, chunk.subarray(0, got)]);
    }
    const taken = this.#buffered.slice(0, count);
    this.#buffered = this.#buffered.subarray(count);
    return taken;
  }
}

function digest(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const four = new DataView(new ArrayBuffer(4));
  four.setUint32(0, crc32c(bytes), true);
  return new Uint8Array(four.buffer);
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Blocks that are all different, half of them zero, as disks have them. */
function content(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at++) {
    data[at] = (at >> 10) & 1 ? 0 : (at * 31 + seed * 17 + (at >> 8)) & 0xff;
  }
  return data;
}

/** Writes, reads back, pings: `rounds` times with a few commands in flight. */
async function work(initiator: Initiator, rounds: number): Promise<void> {
  const sizes = [512, 4096, 16384, 65536];
  assert.equal(await initiator.test(), CHECK_CONDITION);
  assert.equal(await initiator.test(), 0);
  for (let round = 0; round < rounds; round++) {
    await Promise.all(Array.from({ length: DEPTH }, async (_, lane) => {
      const bytes = sizes[(round + lane) % sizes.length]!;
      const block = lane * 1024 + (round % 4) * 128;
      const data = content(bytes, round * DEPTH + lane);
      await initiator.write(block, data);
      assert.deepEqual(await initiator.read(block, bytes), data);
    }));
    if (round % 8 === 0) await initiator.nop(content(round % 3 === 0 ? 13 : 200, round));
  }
}

if (import.meta.main) {
  const [host, port, target, digests, rounds] = Deno.args as [
    string,
    string,
    string,
    string,
    string,
  ];
  const header = digests === "header" || digests === "both";
  const data = digests === "data" || digests === "both";
  const initiator = await Initiator.login(host, Number(port), target, { header, data });
  const running = initiator.run();
  await work(initiator, Number(rounds));
  await initiator.logout();
  await running;
}
