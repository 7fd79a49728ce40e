/**
 * Opcodes of iSCSI and the names of its PDUs: RFC 7143 section 11.2.1.2.
 *
 * @module
 */

/** The six bits of an opcode. */
export const Opcode = {
  // from the initiator
  NopOut: 0x00,
  ScsiCommand: 0x01,
  TaskRequest: 0x02,
  LoginRequest: 0x03,
  TextRequest: 0x04,
  DataOut: 0x05,
  LogoutRequest: 0x06,
  Snack: 0x10,
  // from the target
  NopIn: 0x20,
  ScsiResponse: 0x21,
  TaskResponse: 0x22,
  LoginResponse: 0x23,
  TextResponse: 0x24,
  DataIn: 0x25,
  LogoutResponse: 0x26,
  ReadyToTransfer: 0x31,
  Async: 0x32,
  Reject: 0x3f,
} as const;

/** Opcodes there can be. */
export const OPCODES = 64;

/** Set in the opcode of everything a target sends. */
const TARGET = 0x20;
/** The three opcodes for vendors on each side: 0x1c to 0x1e, 0x3c to 0x3e. */
const VENDOR_FIRST = 0x1c;
const VENDOR_LAST = 0x1e;

const NAMES: readonly string[] = makeNames();

/** Whether a target sends it. */
export function isTargets(opcode: number): boolean {
  return (opcode & TARGET) !== 0;
}

/** Whether it is for vendors to define. */
export function isVendors(opcode: number): boolean {
  const low = opcode & (TARGET - 1);
  return low >= VENDOR_FIRST && low <= VENDOR_LAST;
}

/** A PDU in the words of the RFC: `SCSI Data-In`. */
export function pduName(opcode: number): string {
  return NAMES[opcode] ?? "";
}

function makeNames(): string[] {
  const known: Record<number, string> = {
    [Opcode.NopOut]: "NOP-Out",
    [Opcode.ScsiCommand]: "SCSI Command",
    [Opcode.TaskRequest]: "Task Management Function Request",
    [Opcode.LoginRequest]: "Login Request",
    [Opcode.TextRequest]: "Text Request",
    [Opcode.DataOut]: "SCSI Data-Out",
    [Opcode.LogoutRequest]: "Logout Request",
    [Opcode.Snack]: "SNACK Request",
    [Opcode.NopIn]: "NOP-In",
    [Opcode.ScsiResponse]: "SCSI Response",
    [Opcode.TaskResponse]: "Task Management Function Response",
    [Opcode.LoginResponse]: "Login Response",
    [Opcode.TextResponse]: "Text Response",
    [Opcode.DataIn]: "SCSI Data-In",
    [Opcode.LogoutResponse]: "Logout Response",
    [Opcode.ReadyToTransfer]: "Ready To Transfer",
    [Opcode.Async]: "Asynchronous Message",
    [Opcode.Reject]: "Reject",
  };
  return Array.from({ length: OPCODES }, (_, opcode) => {
    const name = known[opcode];
    if (name !== undefined) return name;
    if (!isVendors(opcode)) return `opcode 0x${opcode.toString(16)}`;
    const number = (opcode & (TARGET - 1)) - VENDOR_FIRST;
    return `Vendor Specific ${isTargets(opcode) ? "T" : "I"}${number}`;
  });
}
