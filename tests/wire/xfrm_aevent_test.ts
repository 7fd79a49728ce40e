/** NEWAE and GETAE: every captured one, and where the kernel is not what its first document says. */
import assert from "node:assert/strict";
import { describeFault, Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { formatInet, parseInet } from "../../src/wire/inet.ts";
import { errorText, NetlinkError, readError } from "../../src/wire/netlink/error.ts";
import { align4, Nlmsg, NLMSG_HEADER_SIZE, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import {
  AeFlag,
  aeventCauseName,
  XfrmAttribute,
  XfrmProto,
  XfrmSaDir,
  XfrmSaId,
} from "../../src/wire/netlink/xfrm.ts";
import {
  AEVENT_ID_SIZE,
  readAevent,
  readAeventBody,
  writeAevent,
  writeAeventBody,
  writeAeventGet,
  XfrmAevent,
} from "../../src/wire/netlink/xfrm_aevent.ts";
import { ReplayKind } from "../../src/wire/netlink/xfrm_replay.ts";
import { written } from "./kernel_message.ts";
import { AEVENTS, SAS, WRITTEN } from "./xfrm_vectors.ts";

Deno.test("the state of an SA is asked for with its thresholds", () => {
  const id = idOf("10.9.0.1", 0x2000);
  const { Rthr, Ethr } = AeFlag;
  assert.equal(written((out, at) => writeAeventGet(out, at, 1, 0, id, Rthr | Ethr)), AEVENTS.getAe);
  const larval = idOf("10.9.0.2", 0x1000);
  assert.equal(
    written((out, at) => writeAeventGet(out, at, 5, 0, larval, Rthr | Ethr)),
    SAS.getAeLarval,
  );
  const unknown = idOf("10.9.0.2", 0x2000);
  assert.equal(
    written((out, at) => writeAeventGet(out, at, 8, 0, unknown, 0)),
    AEVENTS.getAeUnknown,
  );
});

Deno.test("a GETAE of an SA with a mark has it, though the document has no attributes there", () => {
  const id = idOf("10.9.0.2", 0x100);
  id.markValue = 5;
  id.markMask = 0xffffffff;
  assert.equal(written((out, at) => writeAeventGet(out, at, 3, 0, id, 0)), AEVENTS.getAeMark);
  const { event } = read(AEVENTS.answerAeMark);
  assert.equal(event.id.key(), "10.9.0.2 esp 0x00000100 mark 0x5/0xff"); // the SA's own mask
});

Deno.test("an answer has values, and the thresholds that were asked for", () => {
  const { event, message } = read(AEVENTS.answerAe);
  assert.deepEqual([message.sequence, message.flags, message.port], [1, 0, 0]);
  assert.equal(event.id.key(), "10.9.0.1 esp 0x00002000");
  assert.equal(formatInet(2, event.saddr), "10.9.0.2");
  assert.deepEqual([event.flags, event.reqid], [AeFlag.Rthr | AeFlag.Ethr, 7]);
  assert.equal(aeventCauseName(event.flags), "answer");
  const { kind, oseq, seq, window, words } = event.replay;
  assert.deepEqual([kind, oseq, seq, window, words], [ReplayKind.Value, 0, 102, 0, 1]);
  assert.equal(event.replay.bitmap[0], 0xffffffff);
  assert.ok(event.hasLifetime);
  assert.deepEqual([event.bytes, event.packets], [4928, 102]);
  assert.deepEqual([event.addTime, event.useTime], [1795228584, 1795228584]);
  assert.deepEqual([event.replayThreshold, event.timerThreshold], [10, 2]);
});

Deno.test("the timer's threshold is written in jiffies and read in 100 ms, not milliseconds", () => {
  // 50 were written to both: HZ is 250 here and 100 there.
  assert.equal(read(AEVENTS.answerAe).event.timerThreshold, 2);
  assert.equal(read(AEVENTS.answerAePad).event.timerThreshold, 5);
});

Deno.test("thresholds that were not asked for are not there, those of a larval SA are 0", () => {
  const { event } = read(AEVENTS.answerAeMark);
  assert.deepEqual([event.replayThreshold, event.timerThreshold], [-1, -1]);
  const larval = read(SAS.answerAeLarval).event;
  assert.deepEqual([larval.replayThreshold, larval.timerThreshold], [0, 0]);
  assert.deepEqual([larval.replay.oseq, larval.bytes, larval.useTime], [0, 0, 0]);
});

Deno.test("an attribute that only aligns is skipped", () => {
  const { event } = read(AEVENTS.answerAePad);
  assert.deepEqual([event.replay.seq, event.bytes, event.replayThreshold], [102, 4928, 10]);
});

Deno.test("an event says why it came, and of a threshold it lacks the last packet", () => {
  const timer = read(AEVENTS.eventTimer).event;
  assert.deepEqual([timer.flags, aeventCauseName(timer.flags)], [AeFlag.Ce, "timer"]);
  assert.deepEqual([timer.replay.seq, timer.packets], [1, 0]);
  const esn = read(AEVENTS.eventEsn).event;
  assert.deepEqual([esn.flags, aeventCauseName(esn.flags)], [AeFlag.Cr, "replay"]);
  assert.deepEqual([esn.replay.seq, esn.packets], [10, 9]);
  const update = read(AEVENTS.eventUpdate).event;
  assert.deepEqual([update.flags, aeventCauseName(update.flags)], [AeFlag.Cu, "update"]);
});

Deno.test("the port of an event may be garbage", () => {
  const { event, message } = read(AEVENTS.eventTimerPad);
  assert.equal(message.port, 0x60097632);
  assert.deepEqual([event.replay.seq, event.bytes], [1, 64]);
});

Deno.test("the numbers of an SA with ESN come in the other attribute", () => {
  const { replay } = read(AEVENTS.eventEsn).event;
  const { kind, oseq, seq, window, words } = replay;
  assert.deepEqual([kind, oseq, seq, window, words], [ReplayKind.Esn, 0, 10, 128, 4]);
  assert.deepEqual([...replay.bitmap.subarray(0, 5)], [0x3ff, 0, 0, 0, 0]);
  const high = read(WRITTEN.answerAeInet6).event;
  assert.deepEqual([high.replay.oseq, high.replay.seq], [2 ** 33 + 7, 5 * 2 ** 32 + 3]);
  assert.deepEqual([high.replay.window, high.replay.words], [256, 8]);
});

Deno.test("values are written as the kernel took them", () => {
  const event = new XfrmAevent();
  event.id.copy(idOf("10.9.0.1", 0x2000));
  Object.assign(event.replay, { kind: ReplayKind.Value, seq: 102, words: 1 });
  event.replay.bitmap[0] = 0xffffffff;
  Object.assign(event, { hasLifetime: true, bytes: 4928, packets: 102 });
  event.addTime = event.useTime = 1795228584;
  assert.equal(written((out, at) => writeAevent(out, at, 1, 0, event)), AEVENTS.newAe);
});

Deno.test("only what is there is written", () => {
  const event = new XfrmAevent();
  event.id.copy(idOf("10.9.0.2", 0x1000));
  assert.equal(written((out, at) => writeAevent(out, at, 14, 0, event)), AEVENTS.newAeEmpty);
  Object.assign(event.replay, { kind: ReplayKind.Value, oseq: 5, seq: 6, words: 1 });
  event.replay.bitmap[0] = 7;
  assert.equal(written((out, at) => writeAevent(out, at, 16, 0, event)), AEVENTS.newAeLarval);
  event.replay.clear();
  Object.assign(event.replay, { kind: ReplayKind.Esn, window: 64, words: 2 });
  event.replay.bitmap.fill(0);
  assert.equal(written((out, at) => writeAevent(out, at, 1, 0, event)), AEVENTS.newAeOtherEsn);
});

Deno.test("thresholds and a mark are written, and the port is what answers and events repeat", () => {
  const { event, message } = read(WRITTEN.newAeAll);
  assert.deepEqual([event.replayThreshold, event.timerThreshold], [11, 100]);
  assert.deepEqual([event.replay.oseq, event.bytes, event.useTime], [5000, 99, 0]);
  assert.equal(message.port, 4242);
  assert.equal(written((out, at) => writeAevent(out, at, 103, 4242, event)), WRITTEN.newAeAll);
  const caused = read(WRITTEN.eventUpdateAll);
  assert.deepEqual([caused.message.port, caused.message.sequence], [4242, 103]);
  assert.deepEqual([caused.event.flags, caused.event.replay.oseq], [AeFlag.Cu, 5000]);
  assert.equal(caused.event.ifId, 9);
  const { Rthr, Ethr } = AeFlag;
  assert.equal(
    written((out, at) => writeAeventGet(out, at, 102, 4242, event.id, Rthr | Ethr)),
    WRITTEN.getAeAll,
  );
  const answer = read(WRITTEN.answerAeAll);
  assert.equal(answer.message.port, 4242);
  assert.deepEqual([answer.event.replayThreshold, answer.event.timerThreshold], [10, 5]);
  assert.equal(answer.event.id.key(), "10.9.0.2 esp 0x00001000 mark 0x5/0xff");
});

Deno.test("the body of an event is written to its SA as it is, by another header", () => {
  const events = [
    AEVENTS.eventTimer,
    AEVENTS.eventTimerPad,
    AEVENTS.eventEsn,
    AEVENTS.eventUpdate,
    AEVENTS.answerAe,
    AEVENTS.answerAePad,
    AEVENTS.answerAeMark,
    WRITTEN.eventUpdateAll,
    WRITTEN.answerAeInet6,
  ];
  for (const hex of events) {
    const { from, message } = messageOf(hex);
    const again = written((out, at) =>
      writeAeventBody(out, at, 0x77, 0x10203, from, message.at, message.end)
    );
    assert.equal(again, `${hex.slice(0, 12)}05017700000003020100${hex.slice(32)}`);
  }
});

Deno.test("a kernel took the body of an event", () => {
  const { from, message } = messageOf(WRITTEN.eventUpdateAll);
  assert.equal(
    written((out, at) => writeAeventBody(out, at, 202, 77, from, message.at, message.end)),
    WRITTEN.newAeOpaque,
  );
});

Deno.test("the direction and the CPU of an event are left out when it is written to its SA", () => {
  const { from, message } = messageOf(AEVENTS.answerAeDirection);
  assert.equal(read(AEVENTS.answerAeDirection).event.direction, XfrmSaDir.Out);
  const size = message.end - message.at;
  const body = newRegion(size + 16);
  for (const cpu of ["", "0800230003000000"]) {
    body.bytes.set(from.bytes.subarray(message.at, message.end));
    body.bytes.set(Uint8Array.fromHex(cpu), size);
    const hex = written((out, at) =>
      writeAeventBody(out, at, 1, 0, body, 0, size + cpu.length / 2)
    );
    const event = read(hex).event;
    assert.deepEqual([event.direction, event.replay.oseq], [XfrmSaDir.None, 5]);
    assert.equal(hex.slice(32), AEVENTS.answerAeDirection.slice(32, -16));
  }
});

Deno.test("the kernel refuses a direction in a NEWAE, and only what is left out is missing", () => {
  const { from, message } = messageOf(WRITTEN.newAeDirection);
  assert.deepEqual(refusal(WRITTEN.errorDirection), [22, "Invalid attribute SA_DIR"]);
  assert.equal(
    written((out, at) => writeAeventBody(out, at, 4, 5, from, message.at, message.end)),
    WRITTEN.newAeStripped,
  );
  assert.deepEqual(refusal(WRITTEN.errorStripped), [22, "SA must be in VALID state"]);
});

Deno.test("the body of an event may begin anywhere, and is refused when it is none", () => {
  const bytes = Uint8Array.fromHex(AEVENTS.answerAeDirection).subarray(NLMSG_HEADER_SIZE);
  const event = new XfrmAevent();
  for (let offset = 0; offset < 5; offset++) {
    const from = newRegion(256);
    from.bytes.set(bytes, offset);
    assert.equal(readAeventBody(from, offset, offset + bytes.length, event), 0);
    assert.deepEqual([event.direction, event.replay.oseq], [XfrmSaDir.Out, 5]);
    const hex = written((out, at) =>
      writeAeventBody(out, at, 1, 0, from, offset, offset + bytes.length)
    );
    assert.equal(hex.slice(32), AEVENTS.answerAeDirection.slice(32, -16));
    const out = newRegion(256);
    const end = offset + AEVENT_ID_SIZE;
    assert.equal(writeAeventBody(out, 0, 1, 0, from, offset, end - 1), -Fault.Field);
    assert.equal(writeAeventBody(out, 0, 1, 0, from, offset, end + 5), -Fault.Field);
  }
});

Deno.test("the 28 bytes of the first document are refused here as by the kernel", () => {
  const { from, message } = messageOf(AEVENTS.getAeShort);
  assert.equal(message.end - message.at, 28);
  assert.equal(readAevent(from, message, new XfrmAevent()), -Fault.Field);
  assert.equal(
    describeFault(),
    "Cannot accept xfrm_aevent_id length at offset 16 as it must be 48 or more: " +
      "current value is 28 (field out of range)",
  );
  assert.deepEqual(refusal(AEVENTS.errorShort), [22, "Invalid header length"]);
});

Deno.test("what the kernel refuses is read with its reason", () => {
  assert.deepEqual(refusal(AEVENTS.errorUnknown), [3, ""]);
  assert.deepEqual(refusal(AEVENTS.errorNoReplace), [22, "NLM_F_REPLACE flag is required"]);
  assert.deepEqual(refusal(AEVENTS.errorEmpty), [22, "Missing required attribute for AE"]);
  assert.deepEqual(refusal(AEVENTS.errorLarval), [22, "SA must be in VALID state"]);
  assert.deepEqual(refusal(AEVENTS.errorShortReplay), [34, "Attribute failed policy validation"]);
  assert.deepEqual(refusal(AEVENTS.errorOtherEsn), [
    22,
    "New ESN size doesn't match the existing SA's ESN size",
  ]);
});

Deno.test("a replay value that is too short is refused here too", () => {
  const { from, message } = messageOf(AEVENTS.newAeShortReplay);
  assert.equal(readAevent(from, message, new XfrmAevent()), -Fault.Field);
  assert.deepEqual([lastFault.field, lastFault.value], ["length of attribute 10", 8]);
});

Deno.test("attributes that are too short are refused by their number", () => {
  const sizes = { 9: 32, 10: 12, 11: 4, 12: 4, 21: 8, 23: 24, 31: 4, 33: 1 };
  for (const [type, size] of Object.entries(sizes)) {
    const from = newRegion(AEVENT_ID_SIZE + 4 + align4(size - 1));
    from.view.setUint16(20, 2, true);
    from.view.setUint16(AEVENT_ID_SIZE, 4 + size - 1, true);
    from.view.setUint16(AEVENT_ID_SIZE + 2, Number(type), true);
    const status = readAeventBody(from, 0, from.bytes.length, new XfrmAevent());
    assert.equal(status, -Fault.Field, type);
    assert.deepEqual([lastFault.field, lastFault.value], [`length of attribute ${type}`, size - 1]);
  }
});

Deno.test("attributes of later kernels are skipped", () => {
  const bytes = Uint8Array.fromHex(AEVENTS.eventTimer);
  const from = newRegion(bytes.length + 8);
  from.bytes.set(bytes);
  from.bytes.set([8, 0, 99, 0, 1, 2, 3, 4], bytes.length);
  const event = new XfrmAevent();
  assert.equal(readAeventBody(from, NLMSG_HEADER_SIZE, from.bytes.length, event), 0);
  assert.equal(event.replay.seq, 1);
});

Deno.test("nothing of an event stays in the next one", () => {
  const event = new XfrmAevent();
  for (const hex of [AEVENTS.answerAe, AEVENTS.eventEsn, AEVENTS.answerAeDirection]) {
    const { from, message } = messageOf(hex);
    readAevent(from, message, event);
  }
  const { from, message } = messageOf(AEVENTS.getAeUnknown);
  assert.equal(readAevent(from, message, event), 0);
  const fresh = new XfrmAevent();
  readAevent(from, message, fresh);
  event.replay.bitmap.fill(0);
  assert.deepEqual(event, fresh);
  assert.deepEqual([event.hasLifetime, event.bytes, event.addTime], [false, 0, 0]);
  assert.deepEqual([event.direction, event.replayThreshold, event.replay.kind], [0, -1, 0]);
});

Deno.test("another message, or one about a family that no SA has, is no event", () => {
  const { from, message } = messageOf(SAS.getSaAnswer);
  assert.equal(readAevent(from, message, new XfrmAevent()), -Fault.Field);
  assert.equal(lastFault.field, "nlmsg_type of an aevent");
  const event = regionOf(Uint8Array.fromHex(AEVENTS.eventTimer));
  event.view.setUint16(NLMSG_HEADER_SIZE + 20, 0, true);
  const { length } = event.bytes;
  assert.equal(readAeventBody(event, NLMSG_HEADER_SIZE, length, new XfrmAevent()), -Fault.Field);
  assert.equal(lastFault.field, "xfrm family");
});

Deno.test("the attributes have the numbers of the document and the kernel", () => {
  const { LtimeVal, ReplayVal, ReplayThresh, EtimerThresh } = XfrmAttribute;
  assert.deepEqual([LtimeVal, ReplayVal, ReplayThresh, EtimerThresh], [9, 10, 11, 12]);
  assert.deepEqual(Object.values(AeFlag), [1, 2, 4, 8, 16, 32, 64]);
});

function idOf(address: string, spi: number): XfrmSaId {
  const id = new XfrmSaId();
  id.family = parseInet(address, id.daddr);
  id.spi = spi;
  id.proto = XfrmProto.Esp;
  return id;
}

function messageOf(hex: string): { from: Region; message: Nlmsg } {
  const from = regionOf(Uint8Array.fromHex(hex));
  const message = new Nlmsg();
  assert.equal(readNlmsg(from, 0, from.bytes.length, message), from.bytes.length);
  return { from, message };
}

function read(hex: string): { event: XfrmAevent; message: Nlmsg } {
  const { from, message } = messageOf(hex);
  const event = new XfrmAevent();
  assert.equal(readAevent(from, message, event), 0, describeFault());
  return { event, message };
}

function refusal(hex: string): [number, string] {
  const { from, message } = messageOf(hex);
  const error = new NetlinkError();
  assert.ok(readError(from, message, error) > 0);
  return [error.error, errorText(from, error)];
}
