/** How a capture is read: one connection as tcpdump 4.99.3 wrote it, and files that are damaged. */
import assert from "node:assert/strict";
import { readJoins } from "../../bench/peers/paths_capture.ts";

/** `tcpdump -i any -y LINUX_SLL2 --time-stamp-precision=nano -w`, Linux 6.18, of port 7000. */
const HEADER = "4d3cb2a1020004000000000000000000a000000014010000";
/** The first SYN of a connection: it names no key. */
const SYN =
  "a7e8016b9b0dd92954000000540000000800000000000065000104065e76d0f584430000450000400ecb4000" +
  "400695c6c6120101c6120901da0a1b5855fed18300000000b002faf096590000020405b40402080a9461c168" +
  "000000000103030a1e040101";
/** SYN/ACK with the server's key 923b74a8bfc30491. */
const SYN_ACK =
  "a7e8016b567ad9295c0000005c0000000800000000000065000100069661ffd97a1c00004500004800004000" +
  "3f06a589c6120901c61201011b58da0a34105d4555fed184d012fe8896610000020405b40402080ac83e26d1" +
  "9461c1680103030a1e0c0101923b74a8bfc30491";
/** The acknowledgement of the first byte. */
const DATA_ACK =
  "a7e8016bad44da2954000000540000000800000000000065000100069661ffd97a1c00004500004015514000" +
  "3f069040c6120901c61201011b58da0a34105d4655fed185b010003f965900000101080ac83e26d19461c168" +
  "1e0c2003a094cf9893b0c0e7";
/** The SYN of the second subflow: token d23fc51f. */
const JOIN =
  "a7e8016b9b83db295c0000005c0000000800000000000066000104061adba0822879000045000048e4894000" +
  "4006beffc6120201c6120901e18b1b587078d07100000000d002faf097610000020405b40402080af9fbc413" +
  "000000000103030a1e0c1002d23fc51f769c36ba";

const PORT = 7000;
/** Bytes from the start of a packet's record: its header of pcap, SLL2, IPv4, TCP, four options. */
const RECORD_HEADER = 16;

function captureOf(...records: string[]): Uint8Array {
  return Uint8Array.fromHex([HEADER, ...records].join(""));
}

Deno.test("readJoins() takes the time from the first data that is acknowledged to the join", () => {
  const [delayUs, ...others] = readJoins(captureOf(SYN, SYN_ACK, DATA_ACK, JOIN), PORT);
  assert.deepEqual(others, []);
  // tcpdump -r says .702170 and .702251
  assert.ok(Math.abs(delayUs! - 81.6) < 0.1, `${delayUs}`);
});

Deno.test("a join counts once, and a connection without one is told as such", () => {
  const twice = readJoins(captureOf(SYN_ACK, DATA_ACK, JOIN, JOIN, DATA_ACK), PORT);
  assert.deepEqual(twice, readJoins(captureOf(SYN_ACK, DATA_ACK, JOIN), PORT));
  assert.deepEqual(readJoins(captureOf(SYN_ACK, DATA_ACK), PORT), [null]);
  assert.deepEqual(readJoins(captureOf(SYN_ACK, JOIN), PORT), [null]);
  assert.deepEqual(readJoins(captureOf(DATA_ACK, JOIN), PORT), []);
});

Deno.test("a later connection may have the port of an earlier one", () => {
  const other = SYN_ACK.replace("923b74a8bfc30491", "923b74a8bfc30492");
  assert.notEqual(other, SYN_ACK);
  const [first, second] = readJoins(captureOf(SYN_ACK, DATA_ACK, JOIN, other, DATA_ACK), PORT);
  assert.ok(first !== null && second === null);
  assert.equal(readJoins(captureOf(SYN_ACK, SYN_ACK), PORT).length, 1);
});

Deno.test("a join with another token belongs to none of the connections", () => {
  assert.ok(JOIN.includes("d23fc51f"));
  const other = JOIN.replace("d23fc51f", "d23fc51e");
  assert.deepEqual(readJoins(captureOf(SYN_ACK, DATA_ACK, other), PORT), [null]);
});

Deno.test("traffic of other ports is left out", () => {
  const all = captureOf(SYN, SYN_ACK, DATA_ACK, JOIN);
  assert.deepEqual(readJoins(all, 7001), []);
});

Deno.test("a capture that ends anywhere is read up to there", () => {
  const all = captureOf(SYN, SYN_ACK, DATA_ACK, JOIN);
  for (let end = HEADER.length / 2; end < all.length; end++) {
    assert.ok(readJoins(all.slice(0, end), PORT).every((delayUs) => delayUs === null), `${end}`);
  }
});

Deno.test("a capture with any byte of a packet changed is read without an exception", () => {
  const from = (HEADER.length + SYN_ACK.length) / 2 + RECORD_HEADER;
  const to = (HEADER.length + SYN_ACK.length + DATA_ACK.length) / 2;
  for (let at = from; at < to; at++) {
    for (const value of [0x00, 0x01, 0x7f, 0xff]) {
      const all = captureOf(SYN_ACK, DATA_ACK, JOIN);
      all[at] = value;
      assert.equal(readJoins(all, PORT).length, 1);
    }
  }
});

Deno.test("what is no capture with nanoseconds of all interfaces is refused", () => {
  const refused = /Cannot read a capture as it must be pcap with nanoseconds and SLL2/;
  for (const wrong of ["", HEADER.slice(0, 46), HEADER.replace("4d3cb2a1", "d4c3b2a1")]) {
    assert.throws(() => readJoins(Uint8Array.fromHex(wrong), PORT), refused);
  }
  const ethernet = HEADER.replace(/14010000$/, "01000000");
  assert.throws(() => readJoins(Uint8Array.fromHex(ethernet), PORT), refused);
});
