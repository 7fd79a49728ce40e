/** What the kernel tells of SAs and policies: EXPIRE, ACQUIRE, MAPPING, REPORT, MIGRATE. */
import assert from "node:assert/strict";
import { describeFault, Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { formatInet } from "../../src/wire/inet.ts";
import { Nlmsg, NLMSG_HEADER_SIZE, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { XfrmMode, XfrmMsg, XfrmProto } from "../../src/wire/netlink/xfrm.ts";
import {
  readAcquire,
  readExpire,
  readMapping,
  readMigrate,
  readPolExpire,
  readReport,
  XfrmAcquire,
  XfrmMapping,
  XfrmMigrate,
  XfrmReport,
} from "../../src/wire/netlink/xfrm_event.ts";
import { policyKey, XfrmPolicy } from "../../src/wire/netlink/xfrm_policy.ts";
import { XfrmSa } from "../../src/wire/netlink/xfrm_sa.ts";
import { selectorText } from "../../src/wire/netlink/xfrm_selector.ts";
import { SAS, WRITTEN } from "./xfrm_vectors.ts";

const SELECTOR =
  "src 10.9.1.0/24 dst 10.9.2.0/23 proto udp sport 500 dport 4500/0xff00 ifindex -3 uid 1000";

Deno.test("what ran out is read, and only that", () => {
  const sa = new XfrmSa();
  assert.equal(readWith(SAS.expire, (from, message) => readExpire(from, message, sa)), 0);
  assert.deepEqual([sa.id.spi, sa.hard], [0x7000, true]);
  const policy = new XfrmPolicy();
  const { polExpire } = WRITTEN;
  assert.equal(readWith(polExpire, (from, message) => readPolExpire(from, message, policy)), 0);
  assert.deepEqual([policy.hard, policy.index], [true, 10]);
  assert.equal(
    readWith(SAS.getSaAnswer, (from, message) => readExpire(from, message, sa)),
    -Fault.Field,
  );
  assert.deepEqual([lastFault.field, lastFault.expected], ["nlmsg_type of an event", "EXPIRE"]);
});

Deno.test("an SA that is wanted is read with the policy that wants it", () => {
  const acquire = new XfrmAcquire();
  assert.equal(readWith(SAS.acquire, (from, message) => readAcquire(from, message, acquire)), 0);
  assert.equal(acquire.id.key(), "10.9.0.2 esp 0x00000000");
  assert.equal(formatInet(acquire.id.family, acquire.saddr), "10.9.0.1");
  assert.equal(
    selectorText(acquire.selector),
    "src 10.9.0.1/32 dst 10.9.0.2/32 proto udp sport 51398 dport 9 ifindex 3",
  );
  assert.equal(policyKey(acquire.policy), "out src 10.9.0.1/32 dst 10.9.0.2/32");
  const { priority, index, templateCount, templates, addTime } = acquire.policy;
  assert.deepEqual([priority, index, templateCount, addTime], [100, 1, 1, 1795227433]);
  assert.deepEqual([templates[0]!.proto, templates[0]!.reqid], [XfrmProto.Esp, 9]);
  assert.equal(acquire.seq, 1);
});

Deno.test("the family of an SA that is wanted is that of its template", () => {
  const bytes = Uint8Array.fromHex(SAS.acquire);
  const family = NLMSG_HEADER_SIZE + 280 + 4 + 24;
  assert.equal(bytes[family], 2);
  bytes[family] = 10;
  const acquire = new XfrmAcquire();
  assert.equal(
    readWith(bytes.toHex(), (from, message) => readAcquire(from, message, acquire)),
    0,
  );
  assert.deepEqual([acquire.id.family, acquire.selector.family], [10, 2]);
});

Deno.test("an SA that is wanted has the mark of the policy", () => {
  const acquire = new XfrmAcquire();
  const marked = `${SAS.acquire}0c00150005000000ff000000`;
  const read = (hex: string): number => {
    const from = regionOf(Uint8Array.fromHex(hex));
    from.view.setUint32(0, from.bytes.length, true);
    return readWith(from.bytes.toHex(), (at, message) => readAcquire(at, message, acquire));
  };
  assert.equal(read(marked), 0);
  assert.equal(acquire.id.key(), "10.9.0.2 esp 0x00000000 mark 0x5/0xff");
  assert.equal(read(SAS.acquire), 0);
  assert.equal(acquire.id.key(), "10.9.0.2 esp 0x00000000");
});

Deno.test("a peer that moved is read with its addresses and ports", () => {
  const mapping = new XfrmMapping();
  const { mapping: hex } = WRITTEN;
  assert.equal(readWith(hex, (from, message) => readMapping(from, message, mapping)), 0);
  assert.equal(mapping.id.key(), "10.9.0.1 esp 0x00002000");
  assert.equal(formatInet(2, mapping.oldSaddr), "192.0.2.1");
  assert.equal(formatInet(2, mapping.newSaddr), "192.0.2.2");
  assert.deepEqual([mapping.oldSport, mapping.newSport, mapping.reqid], [4500, 61234, 7]);
});

Deno.test("a packet that was refused is read with its care-of address", () => {
  const report = new XfrmReport();
  const { report: hex } = WRITTEN;
  assert.equal(readWith(hex, (from, message) => readReport(from, message, report)), 0);
  assert.deepEqual([report.proto, report.hasCoaddr], [60, true]);
  assert.equal(selectorText(report.selector), SELECTOR);
  assert.equal(formatInet(10, report.coaddr), "fd00::99");
  const bare = regionOf(Uint8Array.fromHex(hex).slice(0, NLMSG_HEADER_SIZE + 60));
  bare.view.setUint32(0, bare.bytes.length, true);
  assert.equal(
    readWith(bare.bytes.toHex(), (from, message) => readReport(from, message, report)),
    0,
  );
  assert.equal(report.hasCoaddr, false);
});

Deno.test("SAs with new addresses are read from one attribute and from several", () => {
  const migrate = new XfrmMigrate();
  for (const hex of [WRITTEN.migrate, WRITTEN.migrateRequest]) {
    assert.equal(readWith(hex, (from, message) => readMigrate(from, message, migrate)), 0);
    assert.equal(selectorText(migrate.policy.selector), SELECTOR);
    assert.equal(migrate.count, 2);
    const [first, second] = migrate.migrations;
    assert.deepEqual([first!.reqid, second!.reqid], [7, 8]);
    assert.equal(formatInet(first!.oldFamily, first!.oldDaddr), "10.9.0.2");
    assert.equal(formatInet(first!.oldFamily, first!.oldSaddr), "10.9.0.1");
    assert.equal(formatInet(second!.newFamily, second!.newDaddr), "fd00::2");
    assert.equal(formatInet(second!.newFamily, second!.newSaddr), "fd00::1");
    assert.deepEqual([second!.proto, second!.mode], [XfrmProto.Esp, XfrmMode.Tunnel]);
    const { direction, index, type, ifId } = migrate.policy;
    const told = hex === WRITTEN.migrate ? [1, 9, 1, 5] : [0, 0, 0, 0];
    assert.deepEqual([direction, index, type, ifId], told);
  }
});

Deno.test("more new addresses than there can be, and parts of one, are refused", () => {
  const migrate = new XfrmMigrate();
  const told = (...sizes: number[]): number => {
    const from = newRegion(64 + sizes.reduce((sum, size) => sum + 4 + size, 0));
    let at = 64;
    for (const size of sizes) {
      from.view.setUint16(at, 4 + size, true);
      from.view.setUint16(at + 2, 17, true);
      at += 4 + size;
    }
    const message = Object.assign(new Nlmsg(), { type: XfrmMsg.Migrate, at: 0, end: at });
    return readMigrate(from, message, migrate);
  };
  assert.equal(told(76 * 6), 0);
  assert.equal(told(76 * 5, 76), 0);
  assert.equal(migrate.count, 6);
  assert.equal(told(76 * 7), -Fault.Field);
  assert.equal(told(76 * 5, 76 * 2), -Fault.Field);
  assert.equal(told(72), -Fault.Field);
  assert.equal(lastFault.field, "XFRMA_MIGRATE length");
});

Deno.test("a message of another type, and one that is too short, is no event", () => {
  const rows: [string, (from: Region, message: Nlmsg) => number][] = [
    [SAS.acquire, (from, message) => readAcquire(from, message, new XfrmAcquire())],
    [WRITTEN.mapping, (from, message) => readMapping(from, message, new XfrmMapping())],
    [WRITTEN.report, (from, message) => readReport(from, message, new XfrmReport())],
    [WRITTEN.migrateRequest, (from, message) => readMigrate(from, message, new XfrmMigrate())],
    [WRITTEN.polExpire, (from, message) => readPolExpire(from, message, new XfrmPolicy())],
  ];
  for (const [hex, read] of rows) {
    const from = regionOf(Uint8Array.fromHex(hex));
    const message = new Nlmsg();
    readNlmsg(from, 0, from.bytes.length, message);
    const { at } = message;
    message.end = at + 59;
    assert.equal(read(from, message), -Fault.Field);
    assert.match(
      describeFault(at),
      /^Cannot accept xfrm_user\w+ length at offset 0 as it must be /,
    );
    message.type = XfrmMsg.NewSa;
    assert.equal(read(from, message), -Fault.Field);
    assert.equal(lastFault.field, "nlmsg_type of an event");
  }
});

function readWith(hex: string, read: (from: Region, message: Nlmsg) => number): number {
  const from = regionOf(Uint8Array.fromHex(hex));
  const message = new Nlmsg();
  assert.equal(readNlmsg(from, 0, from.bytes.length, message), from.bytes.length);
  return read(from, message);
}
