/** cephx against recorded exchanges with real Ceph: the same bytes from the same random numbers. */
import assert from "node:assert/strict";
import { U64 } from "../../src/mem/u64.ts";
import { CephxClient } from "../../src/proto/cephx/client.ts";
import { challengeKey, open, Usage } from "../../src/proto/cephx/envelope.ts";
import type { Crypto } from "../../src/proto/msgr2/auth.ts";
import { decodeAuthorizeDone, decodeAuthorizer } from "../../src/wire/cephx/authorizer.ts";
import { decodeKey } from "../../src/wire/cephx/crypto_key.ts";
import { decodeIdentity, formatEntityName } from "../../src/wire/cephx/entity_name.ts";
import {
  decodeAuthenticate,
  decodeServerChallenge,
  decodeSessionReply,
  encodeAuthenticate,
  encodeServerChallenge,
} from "../../src/wire/cephx/mon_exchange.ts";
import { decodeServiceTicket } from "../../src/wire/cephx/ticket.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { CAPTURES } from "./captures.ts";
import { crypto } from "./pair.ts";

const ADMIN = { type: EntityType.Client, id: "admin" };

/** The real primitives, with random bytes from a list. */
function replaying(random: { hex: string }): Crypto {
  return {
    randomBytes(count: number): Uint8Array {
      const drawn = Uint8Array.fromHex(random.hex.slice(0, count * 2));
      random.hex = random.hex.slice(count * 2);
      assert.equal(drawn.length, count, "the recording has as many random bytes");
      return drawn;
    },
    hmacSha256: (key, data) => crypto.hmacSha256(key, data),
    hmacSha384: (key, data) => crypto.hmacSha384(key, data),
    aesCbcEncrypt: (key, iv, data, pad) => crypto.aesCbcEncrypt(key, iv, data, pad),
    aesCbcDecrypt: (key, iv, data, pad) => crypto.aesCbcDecrypt(key, iv, data, pad),
  };
}

Deno.test.each([...CAPTURES])(
  "the recorded exchanges with Ceph $release come out the same, byte by byte",
  ({ key, exchanges }) => {
    const random = { hex: "" };
    const client = new CephxClient({
      crypto: replaying(random),
      wallSeconds: () => 1_795_000_000,
      name: ADMIN,
      key: decodeKey(key),
      wantedServices: EntityType.Mon | EntityType.Osd | EntityType.Mgr,
    });
    for (const exchange of exchanges) {
      random.hex = exchange.random;
      const attempt = exchange.peer === "mon" ? client.toMon() : client.toService(EntityType.Osd)!;
      assert.equal(attempt.request().toHex(), exchange.request);
      const more = attempt.handleMore(Uint8Array.fromHex(exchange.replyMore));
      assert.equal(more?.toHex(), exchange.requestMore);
      const globalId = U64.of(exchange.globalId);
      assert(attempt.handleDone(globalId, exchange.mode, Uint8Array.fromHex(exchange.done)));
      const signature = crypto.hmacSha256(attempt.sessionKey, Uint8Array.fromHex(exchange.sent));
      assert.equal(signature.toHex(), exchange.signature);
      assert.equal(attempt.connectionSecret.length, exchange.mode === 2 ? 64 : 0);
      assert.equal(client.globalId.toBigInt(), BigInt(exchange.globalId));
    }
    for (const service of [EntityType.Auth, EntityType.Mon, EntityType.Osd, EntityType.Mgr]) {
      assert(client.hasTicket(service));
    }
    assert(!client.hasTicket(EntityType.Mds));
    assert.equal(client.renewAtSeconds, 1_795_000_000 + 3600 * 3 / 4);
  },
);

/**
 * First connection of `ceph -s` 16.2.15 to its mon, cephx, secure mode; first connection of 20.2.4.
 * Frames from a capture on loopback; AUTH_DONE is cut after the sealed session key, the keys are
 * those of throw-away clusters.
 */
const PACIFIC = {
  key: "AQAyAAFrEjzVLRAA1ETXZJ8RK1mHf7x/pimH7A==",
  banner: "636570682076320a100001000000000000000000000000000000",
  hello: "010124000000080000000000000000000000000000000000000000003fbd6b06080101011c0000000200" +
    "00000000000010000000020033f47f000001000000000000000030054af0",
  authRequest:
    "020126000000080000000000000000000000000000000000000000008c5ee4be02000000010000000200" +
    "0000160000000a080000000500000061646d696e0000000000000000a3ceb8f6",
  authRequestMore:
    "05012800000008000000000000000000000000000000000000000000b83ac75b24000000000103c1dc58" +
    "ed9d6f493a48fd24522a7d5eec01000000000000000000000000200000003ba40c8c",
  sealedSessionKey:
    "773e732d4bd3cfc1bcd3f552ff39c17cd6464b84c47c1e8dda2306d02e8e3467cef72813ce0a0eb43118" +
    "5ea8942a6079",
  serverChallenge: "01f19fb18fc0b8ebde",
  serverSignature: "e397b93ca5e05ee388d4667a6fcf48afaedeb49ffeab0756708c677da17ebafc",
};

/** Preamble, then the length of the payload: 36 bytes before, 4 bytes of crc behind. */
function payloadOf(frame: string): Uint8Array {
  return Uint8Array.fromHex(frame).slice(36, -4);
}

Deno.test("the mon's AUTH_SIGNATURE of a captured ceph -s follows from its keyring", () => {
  const key = decodeKey(PACIFIC.key);
  const opened = open(
    crypto,
    key,
    Usage.TicketSessionKey,
    Uint8Array.fromHex(PACIFIC.sealedSessionKey),
    "ticket",
  );
  const { sessionKey, validitySeconds } = decodeServiceTicket(opened!)!;
  assert.equal(validitySeconds, 259_200);
  assert.equal(sessionKey.type, 1);
  const sent = PACIFIC.banner + PACIFIC.hello + PACIFIC.authRequest + PACIFIC.authRequestMore;
  const signature = crypto.hmacSha256(sessionKey.secret, Uint8Array.fromHex(sent));
  assert.equal(signature.toHex(), PACIFIC.serverSignature);
});

Deno.test("decodeIdentity() reads the AUTH_REQUEST of a captured ceph -s", () => {
  // method, one mode and the length stand before the payload.
  const identity = decodeIdentity(Uint8Array.fromHex(PACIFIC.authRequest).slice(48, -4))!;
  assert.equal(identity.mode, 10);
  assert.equal(formatEntityName(identity.name), "client.admin");
  assert(identity.globalId.isZero());
});

/** Challenge and answer of captured connections; `challengeKey` was the value Ceph sent. */
const CHALLENGES = [
  {
    release: "16.2.15",
    key: PACIFIC.key,
    replyMore: PACIFIC.serverChallenge,
    requestMore: PACIFIC.authRequestMore,
    challengeKey: "0xec5e7d2a5224fd48",
  },
  {
    release: "20.2.4",
    key: "AgBZAgFrNN7GAiAASYXBm5XleWAG9IR8FmGt6lD/LKCUcP1mEQxw+cMwxzg=",
    replyMore: "016fafe923dec21fe9",
    requestMore:
      "05012800000008000000000000000000000000000000000000000000b83ac75b24000000000103390f72" +
      "431f2bb5a90d591596bb79be5e0100000000000000000000000020000000f9d2ad08",
    challengeKey: "0x5ebe79bb9615590d",
  },
];

Deno.test.each(CHALLENGES)("challengeKey() is the one that Ceph $release sent", (row) => {
  const replyMore = Uint8Array.fromHex(row.replyMore);
  const serverChallenge = decodeServerChallenge(replyMore)!;
  assert.equal(encodeServerChallenge(serverChallenge).toHex(), row.replyMore);
  const requestMore = payloadOf(row.requestMore);
  const request = decodeAuthenticate(requestMore)!;
  assert.equal(encodeAuthenticate(request).toHex(), requestMore.toHex());
  assert.equal(request.otherKeys, EntityType.Auth);
  assert.equal(request.oldTicket.blob.length, 0);
  assert.equal(request.key.toString(), row.challengeKey);
  const key = decodeKey(row.key);
  assert(challengeKey(crypto, key, serverChallenge, request.clientChallenge).equals(request.key));
});

Deno.test("payloads of Ceph are as long as the reference says, and no field is left", () => {
  const [first, osd, reclaim, osdSecure] = CAPTURES[0]!.exchanges;
  const authorizer = decodeAuthorizer(Uint8Array.fromHex(osd!.request))!;
  assert.equal(authorizer.ticket.blob.length, 112);
  assert.equal(authorizer.sealedAuthorize.length, 32);
  assert.equal(authorizer.service, EntityType.Osd);
  assert.equal(osd!.replyMore.length / 2, 32);
  assert.equal(decodeAuthorizeDone(Uint8Array.fromHex(osd!.done))!.length, 32);
  assert.equal(decodeAuthorizeDone(Uint8Array.fromHex(osdSecure!.done))!.length, 96);
  const anew = decodeSessionReply(Uint8Array.fromHex(first!.done))!;
  assert.equal(anew.sealedSecret.length, 16);
  assert.deepEqual(anew.tickets.map(({ service, wrapped }) => [service, wrapped]), [[32, false]]);
  assert.deepEqual(anew.extraTickets.map(({ service }) => service), [1, 4, 16]);
  const again = decodeSessionReply(Uint8Array.fromHex(reclaim!.done))!;
  assert.equal(again.sealedSecret.length, 80);
  assert.deepEqual(again.tickets.map(({ service, wrapped }) => [service, wrapped]), [[32, true]]);
});
