/** Gratuitous ARP: as the kernel announces an address, both forms, cut and flipped. */
import assert from "node:assert/strict";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, regionOf } from "../../src/mem/region.ts";
import {
  Arp,
  ARP_FRAME_SIZE,
  ArpOperation,
  EtherType,
  readArp,
  writeEthernet,
  writeGratuitousArp,
} from "../../src/wire/arp.ts";
import { assertAllocatesNothing } from "./kernel_message.ts";

/**
 * Linux 6.18.44 with arp_notify=1 when 10.9.0.100 was added to 02:00:00:00:00:01, by tcpdump 4.99.3
 * (2026-11).
 */
const CAPTURED = "ffffffffffff0200000000010806000108000604" +
  "00010200000000010a0900640000000000000a090064";
/** RFC 5944 section 4.6: the same as a reply, its target's hardware address that of the sender. */
const REPLY = "ffffffffffff0200000000010806000108000604" +
  "00020200000000010a0900640200000000010a090064";

const HARDWARE = Uint8Array.fromHex("020000000001");
const ADDRESS = Uint8Array.of(10, 9, 0, 100);
const { Reply, Request } = ArpOperation;

function frame(operation: number): string {
  const out = newRegion(ARP_FRAME_SIZE + 8);
  out.bytes.fill(0xa5);
  assert.equal(writeGratuitousArp(out, 4, operation, HARDWARE, ADDRESS), 4 + ARP_FRAME_SIZE);
  assert.equal(out.bytes.subarray(0, 4).toHex() + out.bytes.subarray(-4).toHex(), "a5".repeat(8));
  return out.bytes.subarray(4, 4 + ARP_FRAME_SIZE).toHex();
}

Deno.test.each([
  { form: "request", operation: Request, hex: CAPTURED },
  { form: "reply", operation: Reply, hex: REPLY },
])("writeGratuitousArp() as a $form is what readArp() reads", ({ operation, hex }) => {
  assert.equal(frame(operation), hex);
  const arp = new Arp();
  assert.equal(readArp(regionOf(Uint8Array.fromHex(hex)), 0, ARP_FRAME_SIZE, arp), ARP_FRAME_SIZE);
  assert.equal(arp.operation, operation);
  assert.deepEqual(arp.sender, ADDRESS);
  assert.deepEqual(arp.target, ADDRESS);
  assert.deepEqual(arp.senderHardware, HARDWARE);
  assert.deepEqual(arp.targetHardware, operation === Reply ? HARDWARE : new Uint8Array(6));
});

Deno.test("readArp() takes a frame that was padded to the least of Ethernet", () => {
  const padded = Uint8Array.fromHex(CAPTURED + "00".repeat(18));
  assert.equal(readArp(regionOf(padded), 0, 60, new Arp()), ARP_FRAME_SIZE);
});

Deno.test("readArp() refuses what is short, and what is not ARP for IPv4 over Ethernet", () => {
  const whole = Uint8Array.fromHex(CAPTURED);
  for (let length = 0; length < whole.length; length++) {
    const cut = regionOf(whole.slice(0, length));
    assert.equal(readArp(cut, 0, length, new Arp()), -Fault.Short);
  }
  for (
    const [at, field] of [[12, "EtherType"], [14, "ar$hrd"], [16, "ar$hrd"], [18, "ar$hln"], [
      19,
      "ar$hln",
    ]] as const
  ) {
    const bytes = whole.slice();
    bytes[at]! ^= 1;
    assert.equal(readArp(regionOf(bytes), 0, bytes.length, new Arp()), -Fault.Field);
    assert.equal(lastFault.field, field);
  }
});

Deno.test("writeEthernet() puts the destination first", () => {
  const out = newRegion(14);
  assert.equal(writeEthernet(out, 0, HARDWARE, new Uint8Array(6).fill(9), EtherType.Inet6), 14);
  assert.equal(out.bytes.toHex(), "02000000000109090909090986dd");
});

Deno.test("an announcement by ARP allocates nothing", () => {
  const out = newRegion(64);
  assertAllocatesNothing((index) => writeGratuitousArp(out, 0, 1 + (index & 1), HARDWARE, ADDRESS));
});
