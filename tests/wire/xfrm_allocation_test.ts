/**
 * What is read and written for every event of every SA allocates nothing: under 4 bytes a call once
 * it is compiled, measured by V8 itself.
 *
 * @module
 */
import assert from "node:assert/strict";
import { newRegion } from "../../src/mem/region.ts";
import { Nlmsg, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { XfrmMsg } from "../../src/wire/netlink/xfrm.ts";
import {
  readAevent,
  writeAevent,
  writeAeventBody,
  writeAeventGet,
  XfrmAevent,
} from "../../src/wire/netlink/xfrm_aevent.ts";
import { readPolicy, writePolicy, XfrmPolicy } from "../../src/wire/netlink/xfrm_policy.ts";
import {
  addLifetime,
  readSa,
  writeSa,
  writeSaBody,
  writeSaGet,
  XfrmSa,
} from "../../src/wire/netlink/xfrm_sa.ts";
import { assertAllocatesNothing } from "./kernel_message.ts";
import { AEVENTS, SAS, WRITTEN } from "./xfrm_vectors.ts";

const OUT = 8192;
const SLOT = 1024;
const memory = newRegion(OUT * 2);

Deno.test("readAevent() of events and answers of both kinds allocates nothing", () => {
  const event = new XfrmAevent();
  const messages = load([
    AEVENTS.eventTimer,
    AEVENTS.eventEsn,
    WRITTEN.answerAeInet6,
    WRITTEN.answerAeAll,
    AEVENTS.answerAePad,
    AEVENTS.answerAeDirection,
  ]);
  assertAllocatesNothing((index) => {
    const message = messages[index % messages.length]!;
    return readAevent(memory, message, event) === 0 ? index & 1 : 0.5;
  });
});

Deno.test("readSa() of answers, events and a dump allocates nothing", () => {
  const sa = new XfrmSa();
  const messages = load([
    SAS.getSaAnswer,
    SAS.dumpSaEntry,
    WRITTEN.newSaAllAnswer,
    SAS.expire,
    SAS.allocSpiAnswer,
    WRITTEN.updSaEvent,
  ]);
  assertAllocatesNothing((index) => {
    const message = messages[index % messages.length]!;
    return readSa(memory, message, sa) === 0 ? index & 1 : 0.5;
  });
});

Deno.test("readPolicy() allocates nothing", () => {
  const policy = new XfrmPolicy();
  const messages = load([
    WRITTEN.newPolicyEvent,
    WRITTEN.delPolicyEvent,
    WRITTEN.dumpPolicyEntry,
    WRITTEN.polExpire,
  ]);
  assertAllocatesNothing((index) => {
    const message = messages[index % messages.length]!;
    return readPolicy(memory, message, policy) === 0 ? index & 1 : 0.5;
  });
});

Deno.test("SAs and policies are written without allocating", () => {
  const [all, inet6, answer] = load([WRITTEN.newSaAll, WRITTEN.newSaInet6, WRITTEN.newPolicy]);
  const marked = new XfrmSa();
  const esn = new XfrmSa();
  const policy = new XfrmPolicy();
  assert.equal(readSa(memory, all!, marked), 0);
  assert.equal(readSa(memory, inet6!, esn), 0);
  assert.equal(readPolicy(memory, answer!, policy), 0);
  assertAllocatesNothing((index) => {
    let end = writeSa(memory, OUT, index, XfrmMsg.NewSa, 0x605, marked);
    end = writeSa(memory, end, index, XfrmMsg.NewSa, 0x605, esn);
    end = writeSaGet(memory, end, index, marked.id);
    return writePolicy(memory, end, index, XfrmMsg.NewPolicy, 0x605, policy);
  });
});

Deno.test("values and opaque bodies are written without allocating", () => {
  const [all, esn, entry] = load([WRITTEN.newAeAll, AEVENTS.eventEsn, SAS.dumpSaEntry]);
  const event = new XfrmAevent();
  assert.equal(readAevent(memory, all!, event), 0);
  assertAllocatesNothing((index) => {
    event.replay.oseq = 2 ** 31 + index;
    let end = writeAevent(memory, OUT, index, 0xfedcba98, event);
    end = writeAeventGet(memory, end, index, 0xfedcba98, event.id, 9);
    end = writeAeventBody(memory, end, index, 0xfedcba98, memory, esn!.at, esn!.end);
    end = writeSaBody(memory, end, index, XfrmMsg.NewSa, 0x605, memory, entry!.at, entry!.end);
    return addLifetime(memory, entry!.at, entry!.end, memory, end);
  });
});

/** Puts messages below {@linkcode OUT}; returns their headers. */
function load(vectors: readonly string[]): Nlmsg[] {
  return vectors.map((hex, index) => {
    const bytes = Uint8Array.fromHex(hex);
    const start = index * SLOT;
    assert.ok(bytes.length <= SLOT && start + SLOT <= OUT);
    memory.bytes.set(bytes, start);
    const message = new Nlmsg();
    assert.ok(readNlmsg(memory, start, start + bytes.length, message) > 0);
    return message;
  });
}
