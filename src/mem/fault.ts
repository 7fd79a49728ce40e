/**
 * What decoders and machines answer when a peer is wrong: a negated code, and one record that
 * tells which field, where and what value. Nothing is allocated until somebody asks for the text.
 *
 * @module
 */

/**
 * Codes of what can be wrong with bytes from a peer. Functions return them negated.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fault, Hello, newRegion, readHello } from "@fairlead/fairlead";
 *
 * assert.equal(readHello(newRegion(8), 0, 0, new Hello()), -Fault.Field);
 * ```
 */
export const Fault = {
  /** More bytes are needed: an answer, not an error. */
  Short: 1,
  /** A checksum or an authentication tag does not match. */
  Checksum: 2,
  /** A field holds a value that its specification does not allow. */
  Field: 3,
  /** A length is above the limit that was set for it. */
  Large: 4,
  /** A frame that does not belong into the present state. */
  State: 5,
  /** The peer requires a feature that is missing here, or lacks one required here. */
  Feature: 6,
  /** Authentication failed. */
  Auth: 7,
  /** A bounded queue or memory is full. */
  Full: 8,
  /** A deadline passed. */
  Deadline: 9,
  /** The stream ended or was cut. */
  Closed: 10,
} as const;

const NAMES: Record<number, string> = {
  [Fault.Short]: "more bytes needed",
  [Fault.Checksum]: "checksum mismatch",
  [Fault.Field]: "field out of range",
  [Fault.Large]: "over the limit",
  [Fault.State]: "unexpected in this state",
  [Fault.Feature]: "feature missing",
  [Fault.Auth]: "authentication failed",
  [Fault.Full]: "full",
  [Fault.Deadline]: "deadline passed",
  [Fault.Closed]: "connection closed",
};

/**
 * The last fault told to {@linkcode fail}: valid until the next one.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Hello, lastFault, newRegion, readHello } from "@fairlead/fairlead";
 *
 * readHello(newRegion(8), 0, 0, new Hello());
 * assert.equal(lastFault.field, "HELLO length");
 * assert.equal(lastFault.expected, "1 or more");
 * ```
 */
export const lastFault = { code: 0, field: "", at: 0, value: 0, expected: "" };

/**
 * Records a fault and returns its negated code.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { fail, Fault, lastFault } from "@fairlead/fairlead";
 *
 * assert.equal(fail(Fault.Auth, "token", -1, 3, "the one that was issued"), -Fault.Auth);
 * assert.equal(lastFault.value, 3);
 * ```
 *
 * @param code one of {@linkcode Fault}
 * @param field the field's name as the specification spells it, with its frame: `"HELLO entity_type"`
 * @param at offset of the field in the memory that was read, -1 when it has none
 * @param value the value found (unsigned 32-bit, or a safe integer)
 * @param expected what it had to be: `"1 to 4"`
 */
export function fail(
  code: number,
  field: string,
  at: number,
  value: number,
  expected: string,
): number {
  lastFault.code = code;
  lastFault.field = field;
  lastFault.at = at;
  lastFault.value = value;
  lastFault.expected = expected;
  return -code;
}

/**
 * The last fault as a sentence; `start` is where the frame began, so that the offset counts from there.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { describeFault, Hello, newRegion, readHello } from "@fairlead/fairlead";
 *
 * readHello(newRegion(8), 0, 0, new Hello());
 * assert.equal(
 *   describeFault(),
 *   "Cannot accept HELLO length at offset 0 as it must be 1 or more: current value is 0 " +
 *     "(field out of range)",
 * );
 * ```
 */
export function describeFault(start = 0): string {
  const { code, field, at, value, expected } = lastFault;
  const where = at < 0 ? "" : ` at offset ${at - start}`;
  return `Cannot accept ${field}${where} as it must be ${expected}: current value is ${value} (${
    faultName(code)
  })`;
}

/**
 * A fault code (negated or not) in words.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fault, faultName } from "@fairlead/fairlead";
 *
 * assert.equal(faultName(-Fault.Checksum), "checksum mismatch");
 * ```
 */
export function faultName(code: number): string {
  return NAMES[Math.abs(code)] ?? `fault ${Math.abs(code)}`;
}
