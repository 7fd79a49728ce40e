/** Codes and sentences for what a peer does wrong, and the check for what we do wrong. */
import assert from "node:assert/strict";
import { assert as invariant } from "../../src/mem/assert.ts";
import { describeFault, fail, Fault, faultName, lastFault } from "../../src/mem/fault.ts";

Deno.test("fail() keeps the field and returns the negated code", () => {
  assert.equal(fail(Fault.Field, "HELLO entity_type", 108, 77, "1 to 32"), -Fault.Field);
  const { code, field, at, value, expected } = lastFault;
  assert.deepEqual([code, field, at, value, expected], [
    Fault.Field,
    "HELLO entity_type",
    108,
    77,
    "1 to 32",
  ]);
});

Deno.test("describeFault() says what, where, what was expected and what is there", () => {
  fail(Fault.Field, "HELLO entity_type", 108, 77, "1 to 32");
  const text = describeFault(100);
  assert.match(text, /^Cannot accept HELLO entity_type at offset 8 as it must be 1 to 32: /);
  assert.match(text, /current value is 77/);
  fail(Fault.Large, "frame", -1, 2 ** 40, "64 MiB at most");
  assert.doesNotMatch(describeFault(), /offset/);
  assert.match(describeFault(), /current value is 1099511627776/);
});

Deno.test("every code has a name of its own, either sign", () => {
  const codes = Object.values(Fault);
  assert.equal(new Set(codes).size, codes.length);
  const names = codes.map((code) => faultName(code));
  assert.equal(new Set(names).size, names.length);
  for (const [index, code] of codes.entries()) {
    assert.ok(code > 0);
    assert.equal(faultName(-code), names[index]);
    assert.doesNotMatch(names[index]!, /^fault \d/);
  }
  assert.equal(faultName(-99), "fault 99");
});

Deno.test("a broken invariant throws, a held one does not", () => {
  invariant(true, "never said");
  assert.throws(() => invariant(false, "water is wet"), /^Error: Invariant broken: water is wet$/);
});
