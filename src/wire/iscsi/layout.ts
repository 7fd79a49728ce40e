/**
 * Where each field of each PDU lies in its basic header segment: RFC 7143 sections 11.3 to 11.19.
 * Names are those of Wireshark without `iscsi.`, so that both can be compared (it has none for `lun`,
 * `cdb` and `snack.tag`); what no field covers is reserved and zero.
 *
 * @module
 */
import { Opcode } from "./opcode.ts";

/** A field of a basic header segment. */
export interface Field {
  readonly name: string;
  /** Offset in the header. */
  readonly at: number;
  /** Bytes: 1 to 4 are a number, big-endian; more are bytes. */
  readonly size: number;
  /** Of a field of one byte: its bits. */
  readonly mask: number;
  /** Another view of bytes that the RFC reserves or gives to other fields: covers nothing. */
  readonly isAlias: boolean;
}

const COMMON = [
  bits("opcode", 0, 0x3f),
  alias(bytes("flags", 1, 1)),
  number("totalahslength", 4, 1),
  number("datasegmentlength", 5, 3),
];

const IMMEDIATE = bits("I", 0, 0x40);
const LUN = bytes("lun", 8, 8);
const TASK = number("initiatortasktag", 16, 4);
const TRANSFER = number("targettransfertag", 20, 4);
const EXP_STAT_SN = number("expstatsn", 28, 4);
const COMMAND_NUMBERS = [number("cmdsn", 24, 4), EXP_STAT_SN];
const STATUS_NUMBERS = [
  number("statsn", 24, 4),
  number("expcmdsn", 28, 4),
  number("maxcmdsn", 32, 4),
];
const SESSION = [bytes("isid", 8, 6), number("tsih", 14, 2)];
const LOGIN_FLAGS = [
  bits("login.T", 1, 0x80),
  bits("login.C", 1, 0x40),
  bits("login.csg", 1, 0x0c),
  bits("login.nsg", 1, 0x03),
];
const TEXT_FLAGS = [bits("text.F", 1, 0x80), bits("text.C", 1, 0x40)];
const CID = number("cid", 20, 2);
const DATA_SN = number("datasn", 36, 4);
const BUFFER_OFFSET = number("bufferOffset", 40, 4);

const LAYOUTS: Readonly<Record<number, readonly Field[]>> = {
  [Opcode.NopOut]: [IMMEDIATE, LUN, TASK, TRANSFER, ...COMMAND_NUMBERS],
  [Opcode.ScsiCommand]: [
    IMMEDIATE,
    bits("scsicommand.F", 1, 0x80),
    bits("scsicommand.R", 1, 0x40),
    bits("scsicommand.W", 1, 0x20),
    bits("scsicommand.attr", 1, 0x07),
    LUN,
    TASK,
    number("scsicommand.expecteddatatransferlength", 20, 4),
    ...COMMAND_NUMBERS,
    bytes("cdb", 32, 16),
  ],
  [Opcode.TaskRequest]: [
    IMMEDIATE,
    bits("taskmanfun.function", 1, 0x7f),
    LUN,
    TASK,
    number("taskmanfun.referencedtasktag", 20, 4),
    ...COMMAND_NUMBERS,
    number("refcmdsn", 32, 4),
    number("expdatasn", 36, 4),
  ],
  [Opcode.LoginRequest]: [
    IMMEDIATE,
    ...LOGIN_FLAGS,
    number("versionmax", 2, 1),
    number("versionmin", 3, 1),
    ...SESSION,
    TASK,
    CID,
    ...COMMAND_NUMBERS,
  ],
  [Opcode.TextRequest]: [IMMEDIATE, ...TEXT_FLAGS, LUN, TASK, TRANSFER, ...COMMAND_NUMBERS],
  [Opcode.DataOut]: [
    bits("scsidata.F", 1, 0x80),
    LUN,
    TASK,
    TRANSFER,
    EXP_STAT_SN,
    DATA_SN,
    BUFFER_OFFSET,
  ],
  [Opcode.LogoutRequest]: [
    IMMEDIATE,
    bits("logout.reason", 1, 0x7f),
    TASK,
    CID,
    ...COMMAND_NUMBERS,
  ],
  [Opcode.Snack]: [
    bits("snack.type", 1, 0x0f),
    LUN,
    TASK,
    TRANSFER,
    EXP_STAT_SN,
    number("snack.begrun", 40, 4),
    number("snack.runlength", 44, 4),
  ],
  [Opcode.NopIn]: [LUN, TASK, TRANSFER, ...STATUS_NUMBERS],
  [Opcode.ScsiResponse]: [
    bits("scsiresponse.o", 1, 0x10),
    bits("scsiresponse.u", 1, 0x08),
    bits("scsiresponse.O", 1, 0x04),
    bits("scsiresponse.U", 1, 0x02),
    number("scsiresponse.response", 2, 1),
    number("scsiresponse.status", 3, 1),
    TASK,
    number("snack.tag", 20, 4),
    ...STATUS_NUMBERS,
    number("expdatasn", 36, 4),
    number("scsiresponse.bidireadresidualcount", 40, 4),
    number("scsiresponse.residualcount", 44, 4),
  ],
  [Opcode.TaskResponse]: [number("taskmanfun.response", 2, 1), TASK, ...STATUS_NUMBERS],
  [Opcode.LoginResponse]: [
    ...LOGIN_FLAGS,
    number("versionmax", 2, 1),
    number("versionactive", 3, 1),
    ...SESSION,
    TASK,
    ...STATUS_NUMBERS,
    number("login.status", 36, 2),
  ],
  [Opcode.TextResponse]: [...TEXT_FLAGS, LUN, TASK, TRANSFER, ...STATUS_NUMBERS],
  [Opcode.DataIn]: [
    bits("scsidata.F", 1, 0x80),
    bits("scsidata.A", 1, 0x40),
    bits("scsidata.O", 1, 0x04),
    bits("scsidata.U", 1, 0x02),
    bits("scsidata.S", 1, 0x01),
    number("scsiresponse.status", 3, 1),
    LUN,
    TASK,
    TRANSFER,
    ...STATUS_NUMBERS,
    DATA_SN,
    BUFFER_OFFSET,
    number("scsidata.readresidualcount", 44, 4),
  ],
  [Opcode.LogoutResponse]: [
    number("logout.response", 2, 1),
    TASK,
    ...STATUS_NUMBERS,
    number("time2wait", 40, 2),
    number("time2retain", 42, 2),
  ],
  [Opcode.ReadyToTransfer]: [
    LUN,
    TASK,
    TRANSFER,
    ...STATUS_NUMBERS,
    number("r2tsn", 36, 4),
    BUFFER_OFFSET,
    number("desireddatalength", 44, 4),
  ],
  [Opcode.Async]: [
    LUN,
    TASK,
    ...STATUS_NUMBERS,
    number("asyncevent", 36, 1),
    number("eventvendorcode", 37, 1),
    number("parameter1", 38, 2),
    number("parameter2", 40, 2),
    number("parameter3", 42, 2),
  ],
  [Opcode.Reject]: [number("reject.reason", 2, 1), TASK, ...STATUS_NUMBERS, DATA_SN],
};

/** PDUs whose bit 7 of byte 1 says whether they are the last of several, or change the stage. */
const FINAL_OR_NOT: readonly number[] = [
  Opcode.ScsiCommand,
  Opcode.LoginRequest,
  Opcode.TextRequest,
  Opcode.DataOut,
  Opcode.LoginResponse,
  Opcode.TextResponse,
  Opcode.DataIn,
];

/** Whether the final bit of a PDU is always one. */
export function isAlwaysFinal(opcode: number): boolean {
  return LAYOUTS[opcode] !== undefined && !FINAL_OR_NOT.includes(opcode);
}

/** The fields of a PDU in the order of its bytes; of an unknown or a vendor's one only the common. */
export function layoutOf(opcode: number): readonly Field[] {
  return PLACED[opcode] ?? COMMON;
}

const PLACED: Readonly<Record<number, readonly Field[]>> = Object.fromEntries(
  Object.entries(LAYOUTS).map(([opcode, own]) => [
    opcode,
    [...COMMON, ...own].sort((a, b) => a.at - b.at || b.mask - a.mask),
  ]),
);

function bits(name: string, at: number, mask: number): Field {
  return { name, at, size: 1, mask, isAlias: false };
}

function number(name: string, at: number, size: number): Field {
  return { name, at, size, mask: 0xff, isAlias: false };
}

function bytes(name: string, at: number, size: number): Field {
  return { name, at, size, mask: 0xff, isAlias: false };
}

function alias(field: Field): Field {
  return { ...field, isAlias: true };
}
