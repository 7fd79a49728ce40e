/**
 * A packet of a capture file costs no memory: under 4 bytes each, measured by V8 itself. In a file of its
 * own, as what other tests do to the same code changes what V8 makes of it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { type ByteSource, CaptureFile } from "../../src/app/sniff/capture_file.ts";
import { Packet } from "../../src/wire/capture/packet.ts";
import { pcapFile, pcapngFile, segment } from "../capture/pcap_builder.ts";

const PEER = { from: "10.0.0.1:5000", to: "10.0.0.2:3260" };

Deno.test("next() allocates nothing for a packet", () => {
  const packets = Array.from({ length: 1000 }, () => segment({ ...PEER, data: "x".repeat(100) }));
  for (const file of [pcapFile(packets), pcapngFile(packets)]) {
    const isPcapng = file[0] === 0x0a;
    const start = isPcapng ? 28 + 32 : 24;
    const endless = repeating(file, start);
    const capture = new CaptureFile("endless", endless, -1);
    const packet = new Packet();
    const run = (count: number): void => {
      for (let index = 0; index < count; index++) capture.next(packet);
    };
    let bytes = Infinity; // the least of three: on a busy machine code is compiled late
    for (let round = 0; round < 3; round++) {
      run(100_000);
      const before = allocated();
      run(300_000);
      bytes = Math.min(bytes, (allocated() - before) / 300_000);
    }
    capture.close();
    assert.ok(bytes < 4, `${bytes} bytes a packet`);
  }
});

/** A file whose packets, from `start` on, come again and again. */
function repeating(bytes: Uint8Array, start: number): ByteSource {
  let at = 0;
  return {
    readSync(into: Uint8Array): number {
      const count = Math.min(into.length, bytes.length - at);
      into.set(bytes.subarray(at, at + count));
      at += count;
      if (at === bytes.length) at = start;
      return count;
    },
    close(): void {},
  };
}

function allocated(): number {
  return (getHeapStatistics() as unknown as { total_allocated_bytes: number })
    .total_allocated_bytes;
}
