/**
 * Every codec of a control frame, driven by one table: captured frames of real Ceph, and payloads
 * made by hand for frames that were not captured.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { U64 } from "../../src/mem/u64.ts";
import { crc32cRaw } from "../../src/wire/crc32c.ts";
import { readAck, writeAck } from "../../src/wire/msgr2/ack.ts";
import * as auth from "../../src/wire/msgr2/auth.ts";
import * as compression from "../../src/wire/msgr2/compression.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { EntityAddrVec } from "../../src/wire/msgr2/entity_addrvec.ts";
import * as features from "../../src/wire/msgr2/features.ts";
import { Hello, helloBytes, readHello, writeHello } from "../../src/wire/msgr2/hello.ts";
import * as ident from "../../src/wire/msgr2/ident.ts";
import * as keepalive from "../../src/wire/msgr2/keepalive.ts";
import { Preamble, PREAMBLE_SIZE, readPreamble } from "../../src/wire/msgr2/preamble.ts";
import * as session from "../../src/wire/msgr2/session.ts";
import { Tag, tagName } from "../../src/wire/msgr2/tag.ts";
import { CONTROL_FRAMES } from "./control_frames.ts";

/** What a codec makes of a payload. */
interface Decoded {
  /** The offset after it, or a negated fault. */
  readonly next: number;
  readonly fields: () => string;
  /** What the codec says it would write. */
  readonly bytes: () => number;
  readonly write: (out: Region, at: number) => number;
}

type Decode = (from: Region, at: number, end: number) => Decoded;

const more = codec(auth.AuthMore, auth.readAuthMore, auth.writeAuthMore, auth.authMoreBytes);
const stamp = codec(
  keepalive.Keepalive,
  keepalive.readKeepalive,
  keepalive.writeKeepalive,
  () => keepalive.KEEPALIVE_SIZE,
);
const CODECS: Record<number, Decode> = {
  [Tag.Hello]: codec(Hello, readHello, writeHello, helloBytes),
  [Tag.AuthRequest]: codec(
    auth.AuthRequest,
    auth.readAuthRequest,
    auth.writeAuthRequest,
    auth.authRequestBytes,
  ),
  [Tag.AuthBadMethod]: codec(
    auth.AuthBadMethod,
    auth.readAuthBadMethod,
    auth.writeAuthBadMethod,
    auth.authBadMethodBytes,
  ),
  [Tag.AuthReplyMore]: more,
  [Tag.AuthRequestMore]: more,
  [Tag.AuthDone]: codec(
    auth.AuthDone,
    auth.readAuthDone,
    auth.writeAuthDone,
    auth.authDoneBytes,
  ),
  [Tag.ClientIdent]: codec(
    ident.ClientIdent,
    ident.readClientIdent,
    ident.writeClientIdent,
    ident.clientIdentBytes,
  ),
  [Tag.ServerIdent]: codec(
    ident.ServerIdent,
    ident.readServerIdent,
    ident.writeServerIdent,
    ident.serverIdentBytes,
  ),
  [Tag.IdentMissingFeatures]: codec(
    ident.IdentMissingFeatures,
    ident.readIdentMissingFeatures,
    ident.writeIdentMissingFeatures,
    () => ident.IDENT_MISSING_FEATURES_SIZE,
  ),
  [Tag.SessionReconnect]: codec(
    session.SessionReconnect,
    session.readSessionReconnect,
    session.writeSessionReconnect,
    session.sessionReconnectBytes,
  ),
  [Tag.SessionReset]: codec(
    session.SessionReset,
    session.readSessionReset,
    session.writeSessionReset,
    () => session.SESSION_RESET_SIZE,
  ),
  [Tag.SessionRetry]: codec(
    session.SessionRetry,
    session.readSessionRetry,
    session.writeSessionRetry,
    () => session.SESSION_RETRY_SIZE,
  ),
  [Tag.SessionRetryGlobal]: codec(
    session.SessionRetryGlobal,
    session.readSessionRetryGlobal,
    session.writeSessionRetryGlobal,
    () => session.SESSION_RETRY_GLOBAL_SIZE,
  ),
  [Tag.SessionReconnectOk]: codec(
    session.SessionReconnectOk,
    session.readSessionReconnectOk,
    session.writeSessionReconnectOk,
    () => session.SESSION_RECONNECT_OK_SIZE,
  ),
  [Tag.Keepalive2]: stamp,
  [Tag.Keepalive2Ack]: stamp,
  [Tag.Ack]: (from, at, end) => {
    const seq = readAck(from, at, end);
    return {
      next: seq < 0 ? seq : at + 8,
      fields: () => `seq=${seq}`,
      bytes: () => 8,
      write: (out, to) => writeAck(out, to, seq),
    };
  },
  [Tag.CompressionRequest]: codec(
    compression.CompressionRequest,
    compression.readCompressionRequest,
    compression.writeCompressionRequest,
    compression.compressionRequestBytes,
  ),
  [Tag.CompressionDone]: codec(
    compression.CompressionDone,
    compression.readCompressionDone,
    compression.writeCompressionDone,
    () => compression.COMPRESSION_DONE_SIZE,
  ),
};

/** Not captured: payloads made by hand from the field table, values as 16.2.15 answered probes. */
const BY_HAND = [
  {
    name: "AUTH_BAD_METHOD of a mon that allows only none and crc",
    tag: Tag.AuthBadMethod,
    payload: "02000000 a1ffffff 01000000 01000000 01000000 01000000",
    fields: "method=2 result=-95 methods=[1] modes=[1]",
  },
  {
    name: "AUTH_BAD_METHOD without any list",
    tag: Tag.AuthBadMethod,
    payload: "01000000 f3ffffff 00000000 00000000",
    fields: "method=1 result=-13 methods=[] modes=[]",
  },
  {
    name: "IDENT_MISSING_FEATURES of 16.2.15 to a client with MSG_ADDR2 alone",
    tag: Tag.IdentMissingFeatures,
    payload: "0000044220000104",
    fields: "features=0x401002042040000",
  },
  {
    name: "RECONNECT_RETRY_GLOBAL",
    tag: Tag.SessionRetryGlobal,
    payload: "ffffffff ffff1f00",
    fields: "globalSeq=9007199254740991",
  },
  {
    name: "RESET_SESSION that keeps the queue",
    tag: Tag.SessionReset,
    payload: "00",
    fields: "full=false",
  },
  {
    name: "COMPRESSION_REQUEST with several methods",
    tag: Tag.CompressionRequest,
    payload: "01 03000000 03000000 01000000 04000000",
    fields: "enabled=true methods=[3,1,4]",
  },
  {
    name: "HELLO to an IPv6 peer",
    tag: Tag.Hello,
    payload: "08 010101 28000000 02000000 00000000 1c000000 0a00 0ce4 00000000" +
      "20010db8000000000000000000000001 00000000",
    fields: "entityType=8 peerAddr=v2:[2001:db8::1]:3300/0",
  },
  {
    name: "RECONNECT of a peer with two addresses",
    tag: Tag.SessionReconnect,
    payload: "02 02000000" +
      "010101 1c000000 02000000 00000000 10000000 0200 0ce4 7f000001 0000000000000000" +
      "010101 1c000000 01000000 00000000 10000000 0200 1a85 7f000001 0000000000000000" +
      "0100000000000000 ffffffffffffffff 0200000000000000 0300000000000000 0400000000000000",
    fields: "addrs=[v2:127.0.0.1:3300/0,v1:127.0.0.1:6789/0] clientCookie=0x1 " +
      "serverCookie=0xffffffffffffffff globalSeq=2 connectSeq=3 messageSeq=4",
  },
];

const CAPTURED = CONTROL_FRAMES.map((row) => {
  const bytes = Uint8Array.fromHex(row.frame);
  const payload = bytes.slice(PREAMBLE_SIZE, Math.max(PREAMBLE_SIZE, bytes.length - 4));
  return { ...row, name: `${tagName(row.tag)} of ${row.origin}`, payload: payload.toHex() };
});
const VECTORS = [...CAPTURED, ...BY_HAND].filter((row) => CODECS[row.tag] !== undefined);

Deno.test.each(CAPTURED)("preamble and crc of $name, seed -1 for the payload", (row) => {
  const region = regionOf(Uint8Array.fromHex(row.frame));
  const preamble = new Preamble();
  assert.equal(readPreamble(region, 0, PREAMBLE_SIZE, preamble, 1024), PREAMBLE_SIZE);
  assert.equal(preamble.tag, row.tag);
  assert.equal(preamble.lengths[0], row.payload.length / 2);
  if (row.payload === "") return; // WAIT: no payload, no crc
  const end = PREAMBLE_SIZE + preamble.lengths[0]!;
  assert.equal(crc32cRaw(-1, region.bytes, PREAMBLE_SIZE, end), region.view.getInt32(end, true));
  if (row.tag !== Tag.AuthSignature) return; // the one without a codec: nothing but its bytes
  assert.equal(preamble.lengths[0], auth.AUTH_SIGNATURE_SIZE);
  assert.equal(`signature=${row.payload}`, row.fields);
});

Deno.test.each(VECTORS)("the codec of $name reads and writes it", (row) => {
  const payload = fromHex(row.payload);
  const decode = CODECS[row.tag]!;
  const decoded = decode(regionOf(payload), 0, payload.length);
  assert.equal(decoded.next, payload.length);
  assert.equal(decoded.fields(), row.fields);
  assert.equal(decoded.bytes(), payload.length);

  const out = newRegion(payload.length + 8);
  out.bytes.fill(0xa5);
  assert.equal(decoded.write(out, 5), 5 + payload.length);
  assert.equal(out.bytes.toHex(), "a5a5a5a5a5" + payload.toHex() + "a5a5a5");

  const again = decode(out, 5, out.bytes.length); // three trailing bytes are left alone
  assert.equal(again.next, 5 + payload.length);
  assert.equal(again.fields(), row.fields);
});

Deno.test.each(VECTORS)("the codec of $name refuses every shorter payload", (row) => {
  const payload = fromHex(row.payload);
  for (let length = 0; length < payload.length; length++) {
    // Memory that ends with the payload: a read behind it throws.
    const { next } = CODECS[row.tag]!(regionOf(payload.slice(0, length)), 0, length);
    assert.equal(next, -Fault.Field, `${length} bytes`);
    assert.ok(lastFault.at <= length, lastFault.field);
  }
});

Deno.test.each(VECTORS)("the codec of $name takes every flipped bit without a throw", (row) => {
  const payload = fromHex(row.payload);
  const out = newRegion(4096);
  for (let bit = 0; bit < payload.length * 8; bit++) {
    payload[bit >> 3]! ^= 1 << (bit & 7);
    const decoded = CODECS[row.tag]!(regionOf(payload), 0, payload.length);
    if (decoded.next < 0) assert.ok([Fault.Field, Fault.Large].includes(-decoded.next as 3 | 4));
    else {
      assert.ok(decoded.next <= payload.length);
      const end = decoded.write(out, 0);
      assert.equal(end, decoded.bytes());
      assert.equal(CODECS[row.tag]!(out, 0, end).fields(), decoded.fields());
    }
    payload[bit >> 3]! ^= 1 << (bit & 7);
  }
});

Deno.test("counters of 2^53 and above are refused", () => {
  const bytes = fromHex("0000000000002000");
  const counted = [Tag.Ack, Tag.SessionRetry, Tag.SessionRetryGlobal, Tag.SessionReconnectOk];
  for (const tag of counted) {
    assert.equal(CODECS[tag]!(regionOf(bytes), 0, 8).next, -Fault.Field);
    assert.equal(lastFault.expected, "below 2^53");
    assert.equal(lastFault.value, 2 ** 53);
  }
});

Deno.test("lists above their limit are refused by their count", () => {
  const bytes = fromHex("01000000 11000000" + "01000000".repeat(17) + "00000000");
  const { next } = CODECS[Tag.AuthRequest]!(regionOf(bytes), 0, bytes.length);
  assert.equal(next, -Fault.Large);
  assert.deepEqual(
    [lastFault.field, lastFault.at, lastFault.value, lastFault.expected],
    ["AUTH_REQUEST num_preferred_modes", 4, 17, "16 at most"],
  );
});

Deno.test("names of methods, modes, compressions and tags", () => {
  assert.deepEqual([1, 2, 4, 9].map(auth.authMethodName), ["none", "cephx", "gss", "method 9"]);
  assert.deepEqual([1, 2, 9].map(auth.conModeName), ["crc", "secure", "mode 9"]);
  assert.deepEqual([1, 4, 9].map(compression.compressionName), ["snappy", "lz4", "method 9"]);
  assert.equal(tagName(Tag.SessionReconnect), "RECONNECT");
  assert.equal(tagName(99), "tag 99");
  for (const tag of Object.values(Tag)) assert.match(tagName(tag), /^[A-Z2_]+$/);
});

Deno.test("missingFeatures() and featureNames() tell what is missing", () => {
  const missing = new U64();
  // SERVER_IDENT of 16.2.15 requires 0xc01020042040000; 16.2.15 answered the probe with this.
  const required = U64.of(0x0c01020042040000n);
  assert.ok(features.missingFeatures(required, features.FEATURES_REQUIRED, missing));
  assert.equal(missing.toString(), "0x401020042040000");
  assert.deepEqual(features.featureNames(missing), [
    ...["CRUSH_TUNABLES", "CRUSH_TUNABLES2", "OSDHASHPSPOOL", "CRUSH_TUNABLES3", "CRUSH_V4"],
    "CRUSH_TUNABLES5",
  ]);
  assert.ok(!features.missingFeatures(required, features.FEATURES_SUPPORTED, missing));
  assert.ok(missing.isZero());
  assert.deepEqual(features.featureNames(features.FEATURES_REQUIRED), ["MSG_ADDR2"]);
  assert.deepEqual(features.featureNames(U64.of(0x8000000080000000n)), ["bit 31", "bit 63"]);
});

function codec<X extends object>(
  make: new () => X,
  read: (from: Region, at: number, end: number, into: X) => number,
  write: (out: Region, at: number, x: X) => number,
  bytes: (x: X) => number,
): Decode {
  return (from, at, end) => {
    const x = new make();
    const next = read(from, at, end, x);
    if (next >= 0 && "payload" in x) {
      const located = x as unknown as auth.AuthPayload;
      located.payload = auth.copyPayload(from, located);
    }
    return {
      next,
      fields: () => showFields(x),
      bytes: () => bytes(x),
      write: (out, to) => write(out, to, x),
    };
  };
}

/** The fields of a record as `name=value`, lists as long as their counts say. */
function showFields(record: object): string {
  const fields = record as Record<string, unknown>;
  const shown: string[] = [];
  for (const [key, value] of Object.entries(fields)) {
    if (value instanceof U64 || value instanceof EntityAddr || value instanceof EntityAddrVec) {
      shown.push(`${key}=${value}`);
    } else if (value instanceof Int32Array) {
      const count = fields[key.replace(/s$/, "Count")] as number;
      shown.push(`${key}=[${value.subarray(0, count)}]`);
    } else if (value instanceof Uint8Array) shown.push(`${key}=${value.toHex()}`);
    else if (!/(Count|At|Bytes)$/.test(key)) shown.push(`${key}=${value}`);
  }
  return shown.join(" ");
}

function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(hex.replaceAll(" ", ""));
}
