/** Policies of NETLINK_XFRM: every captured message read, every request written byte for byte. */
import assert from "node:assert/strict";
import { describeFault, Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { formatInet, parseInet } from "../../src/wire/inet.ts";
import { Nlmsg, NLMSG_HEADER_SIZE, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { XfrmMode, XfrmMsg, XfrmProto } from "../../src/wire/netlink/xfrm.ts";
import {
  readSadInfo,
  readSpdInfo,
  SadInfo,
  SpdInfo,
  writeSadInfoGet,
  writeSpdInfoGet,
} from "../../src/wire/netlink/xfrm_info.ts";
import {
  PolicyAction,
  policyActionName,
  PolicyDirection,
  policyDirectionName,
  policyKey,
  readPolicy,
  readPolicyBody,
  readPolicyFlush,
  setPolicyAction,
  USERPOLICY_ID_SIZE,
  USERPOLICY_INFO_SIZE,
  writePolicy,
  writePolicyDelete,
  writePolicyDump,
  writePolicyFlush,
  writePolicyGet,
  XfrmPolicy,
} from "../../src/wire/netlink/xfrm_policy.ts";
import { writeSaBody } from "../../src/wire/netlink/xfrm_sa.ts";
import { written } from "./kernel_message.ts";
import { WRITTEN } from "./xfrm_vectors.ts";

const NEW = 0x605;
const UPDATE = 0x105;
const KEY = "out src 10.9.1.0/24 dst 10.9.2.0/23 proto tcp dport 443 mark 0x5/0xff if_id 9";

Deno.test("a policy with templates, a mark and an interface is written as the kernel took it", () => {
  const policy = outbound();
  const { NewPolicy, UpdPolicy } = XfrmMsg;
  assert.equal(
    written((out, at) => writePolicy(out, at, 109, NewPolicy, NEW, policy)),
    WRITTEN.newPolicy,
  );
  policy.action = PolicyAction.Block;
  policy.priority = 2000;
  assert.equal(
    written((out, at) => writePolicy(out, at, 111, UpdPolicy, UPDATE, policy)),
    WRITTEN.updPolicy,
  );
});

Deno.test("a policy without template or mark is written as the kernel took it", () => {
  const policy = new XfrmPolicy();
  policy.direction = PolicyDirection.Forward;
  Object.assign(policy.selector, { family: 10, ifindex: 1, user: 1000 });
  policy.limits.hardAddSeconds = 1;
  assert.equal(
    written((out, at) => writePolicy(out, at, 112, XfrmMsg.NewPolicy, NEW, policy)),
    WRITTEN.newPolicyInet6,
  );
});

Deno.test("a policy is read from events, answers, a dump and its end", () => {
  const policy = new XfrmPolicy(); // one for all: nothing of one stays in the next
  read(WRITTEN.polExpire, policy);
  const { newPolicyEvent, getPolicyAnswer, updPolicyEvent, delPolicyEvent } = WRITTEN;
  for (const hex of [newPolicyEvent, getPolicyAnswer, updPolicyEvent, delPolicyEvent]) {
    read(hex, policy);
    assert.equal(policyKey(policy), KEY);
    assert.deepEqual([policy.index, policy.flags, policy.share, policy.type], [1, 2, 0, 0]);
    assert.equal(policy.limits.hardBytes, 2 ** 42);
    assert.deepEqual([policy.bytes, policy.addTime, policy.useTime], [0, 1795298132, 0]);
    assert.equal(policy.hard, false);
    assert.equal(policy.templateCount, 2);
    const [first, second] = policy.templates;
    assert.deepEqual([first!.spi, first!.proto, first!.reqid], [0x1000, XfrmProto.Esp, 7]);
    assert.equal(formatInet(first!.family, first!.daddr), "10.9.0.2");
    assert.equal(formatInet(first!.family, first!.saddr), "10.9.0.1");
    assert.deepEqual([first!.mode, first!.optional], [XfrmMode.Tunnel, 0]);
    assert.deepEqual([second!.proto, second!.optional, second!.aalgos], [108, 1, 7]);
    const blocks = hex === updPolicyEvent || hex === delPolicyEvent;
    assert.equal(policyActionName(policy.action), blocks ? "block" : "allow");
    assert.equal(policy.priority, blocks ? 2000 : 1000);
  }
  read(WRITTEN.dumpPolicyEntry, policy);
  assert.equal(policyKey(policy), "fwd src ::/0 dst ::/0 ifindex 1 uid 1000");
  assert.deepEqual([policy.templateCount, policy.index, policy.markMask], [0, 10, 0]);
});

Deno.test("a policy that ran out says whether it is gone", () => {
  const policy = new XfrmPolicy();
  read(WRITTEN.polExpire, policy);
  assert.deepEqual([policy.hard, policy.limits.hardAddSeconds], [true, 1]);
  const soft = Uint8Array.fromHex(WRITTEN.polExpire);
  soft[NLMSG_HEADER_SIZE + USERPOLICY_INFO_SIZE] = 0;
  read(soft.toHex(), policy);
  assert.equal(policy.hard, false);
});

Deno.test("a policy is asked for and ended by selector, direction, mark and interface", () => {
  const policy = new XfrmPolicy();
  read(WRITTEN.newPolicyEvent, policy); // its number is of that kernel
  assert.equal(written((out, at) => writePolicyGet(out, at, 110, policy)), WRITTEN.getPolicy);
  assert.equal(written((out, at) => writePolicyDelete(out, at, 118, policy)), WRITTEN.delPolicy);
  const id = new XfrmPolicy();
  read(WRITTEN.delPolicy, id);
  assert.equal(policyKey(id), KEY);
});

Deno.test("policies are dumped and flushed", () => {
  assert.equal(written((out, at) => writePolicyDump(out, at, 115)), WRITTEN.dumpPolicy);
  assert.equal(written((out, at) => writePolicyFlush(out, at, 119)), WRITTEN.flushPolicy);
  const { from, message } = messageOf(WRITTEN.flushPolicy);
  assert.equal(readPolicyFlush(from, message), 0);
  const typed = messageOf("1c0000001d00000001000000000000000a0010000100000000000000");
  assert.equal(readPolicyFlush(typed.from, typed.message), 1);
  const short = messageOf("140000001d000000010000000000000004001000");
  assert.equal(readPolicyFlush(short.from, short.message), -Fault.Field);
});

Deno.test("a policy of a dump is the body of one that is to be made", () => {
  const { from, message } = messageOf(WRITTEN.getPolicyAnswer);
  const hex = written((out, at) =>
    writeSaBody(out, at, 1, XfrmMsg.NewPolicy, NEW, from, message.at, message.end)
  );
  assert.equal(hex.slice(32), WRITTEN.getPolicyAnswer.slice(32));
  assert.equal(hex.slice(8, 16), "13000506");
});

Deno.test("a body of a policy is made to block, and nothing else in it changes", () => {
  const { from, message } = messageOf(WRITTEN.newPolicyEvent);
  assert.equal(setPolicyAction(from, message.at, message.end, PolicyAction.Block), 0);
  const policy = new XfrmPolicy();
  assert.equal(readPolicyBody(from, message.at, message.end, policy), 0);
  assert.equal(policy.action, PolicyAction.Block);
  assert.equal(setPolicyAction(from, message.at, message.end, PolicyAction.Allow), 0);
  assert.equal(from.bytes.toHex(), WRITTEN.newPolicyEvent);
  const short = message.at + USERPOLICY_INFO_SIZE - 1;
  assert.equal(setPolicyAction(from, message.at, short, PolicyAction.Block), -Fault.Field);
});

Deno.test("every policy that was written is the same after it was read and written again", () => {
  const policy = new XfrmPolicy();
  for (const hex of [WRITTEN.newPolicy, WRITTEN.newPolicyInet6, WRITTEN.updPolicy]) {
    const { type, flags, sequence } = read(hex, policy);
    assert.equal(written((out, at) => writePolicy(out, at, sequence, type, flags, policy)), hex);
  }
});

Deno.test("a policy of the sub type has it in all that is written of it", () => {
  const policy = outbound();
  policy.type = 1;
  policy.markValue = policy.markMask = policy.ifId = 0;
  const back = new XfrmPolicy();
  read(written((out, at) => writePolicy(out, at, 1, XfrmMsg.NewPolicy, NEW, policy)), back);
  assert.equal(policyKey(back), `${KEY.slice(0, KEY.indexOf(" mark"))} type 1`);
  const hex = written((out, at) => writePolicyDelete(out, at, 1, policy));
  assert.equal(hex.slice(2 * (NLMSG_HEADER_SIZE + USERPOLICY_ID_SIZE)), "0a0010000100000000000000");
});

Deno.test("policies of other selectors, marks, interfaces or directions have other keys", () => {
  const keys = new Set<string>();
  const changes: ((policy: XfrmPolicy) => void)[] = [
    () => {},
    (policy) => policy.direction = PolicyDirection.In,
    (policy) => policy.direction = 4, // of a socket
    (policy) => policy.markValue = 6,
    (policy) => policy.markMask = 0xffff,
    (policy) => policy.ifId = 10,
    (policy) => policy.type = 1,
    (policy) => policy.selector.saddr[3] = 1,
    (policy) => policy.selector.daddr[3] = 1,
    (policy) => policy.selector.prefixlenS = 25,
    (policy) => policy.selector.prefixlenD = 24,
    (policy) => policy.selector.proto = 17,
    (policy) => policy.selector.proto = 50,
    (policy) => policy.selector.sport = 1,
    (policy) => policy.selector.sportMask = 0xffff,
    (policy) => policy.selector.dport = 444,
    (policy) => policy.selector.dportMask = 0xff00,
    (policy) => policy.selector.ifindex = 3,
    (policy) => policy.selector.user = 3,
    (policy) => policy.selector.family = 10,
  ];
  for (const change of changes) {
    const policy = outbound();
    change(policy);
    keys.add(policyKey(policy));
  }
  assert.equal(keys.size, changes.length);
  const same = outbound();
  Object.assign(same, { priority: 1, index: 9, action: 1, bytes: 5, templateCount: 0 });
  same.selector.daddr.fill(0xee, 4); // what pads an IPv4 address
  assert.equal(policyKey(same), KEY);
});

Deno.test("directions and actions have names", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6].map(policyDirectionName), [
    "in",
    "out",
    "fwd",
    "socket in",
    "socket out",
    "socket fwd",
    "6",
  ]);
  assert.deepEqual([0, 1, 2].map(policyActionName), ["allow", "block", "2"]);
});

Deno.test("too many templates, and parts of one, are refused", () => {
  const policy = new XfrmPolicy();
  const told = (size: number): number => {
    const from = newRegion(USERPOLICY_INFO_SIZE + 4 + size);
    from.view.setUint16(USERPOLICY_INFO_SIZE, 4 + size, true);
    from.view.setUint16(USERPOLICY_INFO_SIZE + 2, 5, true);
    return readPolicyBody(from, 0, from.bytes.length, policy);
  };
  for (const count of [0, 1, 6]) {
    assert.equal(told(count * 64), 0);
    assert.equal(policy.templateCount, count);
  }
  for (const size of [1, 63, 65, 7 * 64]) {
    assert.equal(told(size), -Fault.Field, `${size}`);
    assert.equal(lastFault.field, "XFRMA_TMPL length");
  }
  policy.templateCount = 7;
  const out = newRegion(1024);
  assert.throws(() => writePolicy(out, 0, 1, XfrmMsg.NewPolicy, NEW, policy), /6 templates/);
});

Deno.test("attributes that are too short are refused, those not known are skipped", () => {
  const policy = new XfrmPolicy();
  const told = (type: number, size: number): number => {
    const from = newRegion(USERPOLICY_INFO_SIZE + 4 + ((size + 3) & ~3));
    from.view.setUint16(USERPOLICY_INFO_SIZE, 4 + size, true);
    from.view.setUint16(USERPOLICY_INFO_SIZE + 2, type, true);
    return readPolicyBody(from, 0, from.bytes.length, policy);
  };
  for (const [type, size] of [[7, 168], [16, 1], [21, 8], [31, 4]] as const) {
    assert.equal(told(type, size - 1), -Fault.Field);
    assert.equal(lastFault.field, `length of attribute ${type}`);
    assert.equal(told(type, size), 0);
  }
  for (const type of [0, 8, 27, 28, 36, 1000]) assert.equal(told(type, 3), 0);
});

Deno.test("a message that is about no policy is refused", () => {
  const { from, message } = messageOf(WRITTEN.newSaAllEvent);
  assert.equal(readPolicy(from, message, new XfrmPolicy()), -Fault.Field);
  assert.equal(lastFault.field, "nlmsg_type of a policy");
});

Deno.test("SAs and policies are counted", () => {
  assert.equal(written((out, at) => writeSadInfoGet(out, at, 116)), WRITTEN.getSadInfo);
  assert.equal(written((out, at) => writeSpdInfoGet(out, at, 117)), WRITTEN.getSpdInfo);
  const sad = new SadInfo();
  const sadAnswer = messageOf(WRITTEN.newSadInfo);
  assert.equal(readSadInfo(sadAnswer.from, sadAnswer.message, sad), 0);
  assert.deepEqual({ ...sad }, { count: 1, buckets: 8, bucketsMax: 1048576 });
  const spd = new SpdInfo();
  const spdAnswer = messageOf(WRITTEN.newSpdInfo);
  assert.equal(readSpdInfo(spdAnswer.from, spdAnswer.message, spd), 0);
  assert.deepEqual([spd.incnt, spd.outcnt, spd.fwdcnt, spd.buckets], [0, 1, 0, 7]);
  assert.deepEqual([spd.inscnt, spd.outscnt, spd.fwdscnt], [0, 0, 0]);
});

function outbound(): XfrmPolicy {
  const policy = new XfrmPolicy();
  policy.direction = PolicyDirection.Out;
  const { selector } = policy;
  selector.family = parseInet("10.9.1.0", selector.saddr);
  parseInet("10.9.2.0", selector.daddr);
  Object.assign(selector, { prefixlenS: 24, prefixlenD: 23, proto: 6, dport: 443 });
  selector.dportMask = 0xffff;
  Object.assign(policy, { priority: 1000, markValue: 5, markMask: 0xff, ifId: 9, flags: 2 });
  policy.limits.hardBytes = 2 ** 42;
  policy.templateCount = 2;
  const [first, second] = policy.templates;
  first!.family = parseInet("10.9.0.2", first!.daddr);
  parseInet("10.9.0.1", first!.saddr);
  Object.assign(first!, { proto: XfrmProto.Esp, mode: XfrmMode.Tunnel, reqid: 7, spi: 0x1000 });
  Object.assign(second!, { family: 2, proto: XfrmProto.Comp, optional: 1, aalgos: 7 });
  return policy;
}

function messageOf(hex: string): { from: Region; message: Nlmsg } {
  const from = regionOf(Uint8Array.fromHex(hex));
  const message = new Nlmsg();
  assert.equal(readNlmsg(from, 0, from.bytes.length, message), from.bytes.length);
  return { from, message };
}

function read(hex: string, into: XfrmPolicy): Nlmsg {
  const { from, message } = messageOf(hex);
  assert.equal(readPolicy(from, message, into), 0, describeFault());
  return message;
}
