/** Streams of iSCSI made by hand: both directions of a session with logins, reads, writes and pings. */
import { newRegion } from "../../src/mem/region.ts";
import type { FieldValue } from "../../src/wire/iscsi/fields.ts";
import { writeKeys } from "../../src/wire/iscsi/keys.ts";
import { Opcode } from "../../src/wire/iscsi/opcode.ts";
import { type PduParts, writePdu } from "../../src/wire/iscsi/pdu.ts";
import { Cdb } from "../../src/wire/iscsi/scsi.ts";

const RESERVED_TAG = 0xffffffff;

/** A PDU of a stream, as it must be told. */
export interface Pdu {
  readonly opcode: number;
  readonly offset: number;
  readonly length: number;
}

/** Which digests a session has. */
export interface Digests {
  readonly header: boolean;
  readonly data: boolean;
}

/** One direction that is being written. */
export class IscsiStream {
  readonly pdus: Pdu[] = [];
  readonly #parts: Uint8Array[] = [];
  readonly #digests: Digests;
  #length = 0;

  /** A stream whose PDUs but logins have these digests. */
  constructor(digests: Digests = { header: false, data: false }) {
    this.#digests = digests;
  }

  /** Adds a PDU. */
  add(opcode: number, fields: Record<string, FieldValue>, parts: PduParts = {}): void {
    const isLogin = opcode === Opcode.LoginRequest || opcode === Opcode.LoginResponse;
    const out = newRegion(2048 + (parts.data?.length ?? 0));
    const end = writePdu(out, 0, opcode, fields, {
      headerDigest: this.#digests.header && !isLogin,
      dataDigest: this.#digests.data && !isLogin,
      ...parts,
    });
    if (end < 0) throw new Error(`Cannot write PDU ${opcode}`);
    this.pdus.push({ opcode, offset: this.#length, length: end });
    this.#parts.push(out.bytes.subarray(0, end));
    this.#length += end;
  }

  /** All bytes. */
  bytes(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }
}

/** A number generator that replays: xorshift of 32 bits. */
export function makeRandom(seed: number): (below: number) => number {
  let state = (seed ^ 0x9e3779b9) | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Text of a login. */
export function keysOf(pairs: readonly (readonly [string, string])[]): Uint8Array {
  const out = newRegion(4096);
  return out.bytes.slice(0, writeKeys(out, 0, pairs));
}

/** Both directions of a session: side 0 is the initiator. */
export class IscsiSession {
  readonly streams: readonly [IscsiStream, IscsiStream];
  readonly #random: (below: number) => number;
  readonly #digests: Digests;
  #task = 0x10;
  #cmdSn = 0x1001;
  #statSn = 0x77001;

  /** A session before its login. */
  constructor(seed: number, digests: Digests = { header: false, data: false }) {
    this.#random = makeRandom(seed);
    this.#digests = digests;
    this.streams = [new IscsiStream(digests), new IscsiStream(digests)];
  }

  /** One exchange of logins into the full feature phase, for a new session or one with a TSIH. */
  login(tsih = 0, given = 7): void {
    const name = (on: boolean): string => on ? "CRC32C" : "None";
    const stage = { "login.T": true, "login.csg": 1, "login.nsg": 3 };
    const isid = Uint8Array.of(0x80, 0, 0, 1, 2, 3);
    this.#send(Opcode.LoginRequest, { ...stage, I: true, isid, tsih, initiatortasktag: 9 }, {
      data: keysOf([
        ["InitiatorName", "iqn.2000-09.org.example:initiator"],
        ["TargetName", "iqn.2000-09.org.example:disk"],
        ["HeaderDigest", "CRC32C,None"],
        ["DataDigest", "CRC32C,None"],
      ]),
    });
    this.#answer(Opcode.LoginResponse, { ...stage, isid, tsih: given, initiatortasktag: 9 }, {
      data: keysOf([
        ["HeaderDigest", name(this.#digests.header)],
        ["DataDigest", name(this.#digests.data)],
        ["TargetPortalGroupTag", "1"],
      ]),
    });
  }

  /** A read of `bytes`, in Data-In of at most `burst`, its status in the last one or by itself. */
  read(bytes: number, burst = 65536, collapsed = false): void {
    const initiatortasktag = this.#command(Cdb.Read10, bytes, { "scsicommand.R": true });
    let datasn = 0;
    for (let done = 0; done < bytes; done += burst) {
      const isLast = done + burst >= bytes;
      this.#respond(
        Opcode.DataIn,
        {
          "scsidata.F": isLast,
          "scsidata.S": isLast && collapsed,
          initiatortasktag,
          targettransfertag: RESERVED_TAG,
          datasn: datasn++,
          bufferOffset: done,
        },
        { data: this.#data(Math.min(burst, bytes - done)) },
        isLast && collapsed,
      );
    }
    if (!collapsed) this.#answer(Opcode.ScsiResponse, { initiatortasktag });
  }

  /** A write of `bytes`, `immediate` of them with the command, the rest asked for by R2T. */
  write(bytes: number, immediate = 0, burst = 65536): void {
    const initiatortasktag = this.#command(Cdb.Write10, bytes, { "scsicommand.W": true }, {
      data: this.#data(immediate),
    });
    const targettransfertag = this.#random(0x7fffffff);
    if (immediate < bytes) {
      this.#respond(Opcode.ReadyToTransfer, {
        initiatortasktag,
        targettransfertag,
        bufferOffset: immediate,
        desireddatalength: bytes - immediate,
      });
    }
    let datasn = 0;
    for (let done = immediate; done < bytes; done += burst) {
      this.streams[0].add(Opcode.DataOut, {
        "scsidata.F": done + burst >= bytes,
        initiatortasktag,
        targettransfertag,
        expstatsn: this.#statSn,
        datasn: datasn++,
        bufferOffset: done,
      }, { data: this.#data(Math.min(burst, bytes - done)) });
    }
    this.#answer(Opcode.ScsiResponse, { initiatortasktag });
  }

  /** A command without data that fails, with sense data. */
  fail(): void {
    const initiatortasktag = this.#command(Cdb.TestUnitReady, 0, {});
    const sense = new Uint8Array(20);
    sense.set([0, 18, 0x70, 0, 0x06, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x29, 0]);
    this.#answer(Opcode.ScsiResponse, { initiatortasktag, "scsiresponse.status": 2 }, {
      data: sense,
    });
  }

  /** A ping of the initiator, with its answer. */
  ping(bytes = 0): void {
    const initiatortasktag = this.#task++;
    const data = this.#data(bytes);
    const fields = { initiatortasktag, targettransfertag: RESERVED_TAG };
    this.#send(Opcode.NopOut, { ...fields, I: true }, { data });
    this.#answer(Opcode.NopIn, fields, { data });
  }

  /** The end of the session. */
  logout(): void {
    const initiatortasktag = this.#task++;
    this.#send(Opcode.LogoutRequest, { initiatortasktag });
    this.#answer(Opcode.LogoutResponse, { initiatortasktag, time2wait: 2, time2retain: 20 });
  }

  /** `count` exchanges of many kinds and sizes. */
  mix(count: number): void {
    for (let index = 0; index < count; index++) {
      const bytes = 512 * (1 + this.#random(64));
      switch (this.#random(6)) {
        case 0:
          this.read(bytes, 8192, this.#random(2) === 1);
          break;
        case 1:
          this.write(bytes, 0, 8192);
          break;
        case 2:
          this.write(bytes, Math.min(bytes, 4096), 16384);
          break;
        case 3:
          this.fail();
          break;
        case 4:
          this.ping(this.#random(64));
          break;
        default:
          this.read(512, 8192);
      }
    }
  }

  #command(
    opcode: number,
    bytes: number,
    direction: Record<string, FieldValue>,
    parts: PduParts = {},
  ): number {
    const initiatortasktag = this.#task++;
    const cdb = new Uint8Array(16);
    cdb[0] = opcode;
    new DataView(cdb.buffer).setUint32(2, this.#random(0x10000000));
    new DataView(cdb.buffer).setUint16(7, bytes / 512);
    this.#send(Opcode.ScsiCommand, {
      ...direction,
      "scsicommand.F": true,
      "scsicommand.attr": 1,
      lun: Uint8Array.of(0, 1),
      initiatortasktag,
      "scsicommand.expecteddatatransferlength": bytes,
      cdb,
    }, parts);
    this.#cmdSn++;
    return initiatortasktag;
  }

  #send(opcode: number, fields: Record<string, FieldValue>, parts: PduParts = {}): void {
    const numbers = { cmdsn: this.#cmdSn, expstatsn: this.#statSn };
    this.streams[0].add(opcode, { ...fields, ...numbers }, parts);
  }

  #answer(opcode: number, fields: Record<string, FieldValue>, parts: PduParts = {}): void {
    this.#respond(opcode, fields, parts, true);
  }

  #respond(
    opcode: number,
    fields: Record<string, FieldValue>,
    parts: PduParts = {},
    hasStatus = false,
  ): void {
    this.streams[1].add(opcode, {
      ...fields,
      statsn: this.#statSn,
      expcmdsn: this.#cmdSn,
      maxcmdsn: this.#cmdSn + 64,
    }, parts);
    if (hasStatus) this.#statSn++;
  }

  /** Bytes as disks have them: some zero, some text, some of chance. */
  #data(bytes: number): Uint8Array {
    const data = new Uint8Array(bytes);
    const kind = this.#random(3);
    for (let at = 0; kind > 0 && at < bytes; at++) {
      data[at] = kind === 1 ? 0x20 + this.#random(0x60) : this.#random(256);
    }
    return data;
  }
}
