/** Signed datagrams: who may be heard, how long, how often; and that no bit changes what was said. */
import assert from "node:assert/strict";
import { Identity, loadIdentity, type Role } from "../../src/app/overlay/identity.ts";
import { type Authority, makeNode } from "../../src/app/overlay/authority.ts";
import {
  DATAGRAM_BYTES_MAX,
  FRESH_MS,
  ReplayGuard,
  SignedDatagrams,
} from "../../src/app/overlay/signed_datagram.ts";
import { sha256, SigningKey } from "../../src/io/pki.ts";
import { sequence } from "../../src/wire/asn1/der_writer.ts";
import { Oid, oidBytes } from "../../src/wire/asn1/oid.ts";
import { writeSignedAttributes, writeSignedData } from "../../src/wire/cms/write_signed_data.ts";
import type { Certificate, WantedCertificate } from "../../src/wire/x509/certificate.ts";
import { writeName } from "../../src/wire/x509/name.ts";
import { writePem } from "../../src/wire/x509/pem.ts";
import { CA, CHAINED, CONTENT, P384, RSA } from "../wire/cms_vectors.ts";
import { certificateOf, NOW_MS, Pki } from "./overlay_pki.ts";

const TEXT = new TextEncoder().encode("(xbonecontrol 1.0 0.1.0 7 (release))XBoneEOC");

/** A datagram by hand, as somebody makes it who does not keep to the rules. */
function signAs(
  { certificate, key }: Authority,
  others: readonly Certificate[] = [],
  digest = sha256(TEXT),
): Uint8Array {
  const signedAttributes = writeSignedAttributes(digest, NOW_MS);
  const signature = key.sign(signedAttributes);
  return writeSignedData(TEXT, { signedAttributes, signature, signer: certificate, others });
}

function refusalOf(datagrams: SignedDatagrams, datagram: Uint8Array, nowMs = NOW_MS): string {
  const result = datagrams.verify(datagram, nowMs);
  assert.ok("refusal" in result, "it is refused");
  return result.refusal;
}

Deno.test("what one signs another reads, with who it was", async () => {
  await using pki = await Pki.make();
  const manager = new SignedDatagrams(await pki.identity("om1", "manager", "ops@example.net"));
  const node = new SignedDatagrams(await pki.identity("west1", "node"));
  const signer = { name: "om1", role: "manager", email: "ops@example.net" };
  const datagram = manager.sign(TEXT, NOW_MS);
  assert.deepEqual(node.verify(datagram, NOW_MS), { content: TEXT, signer });
  datagram.fill(0); // a socket uses its memory again
  const invite = manager.sign(new Uint8Array(600).fill(65), NOW_MS);
  assert.ok(invite.length < 1472, `an invite of 600 bytes goes in one frame: ${invite.length}`);
});

Deno.test("a flipped bit changes neither content nor signer: every bit of a datagram", async () => {
  await using pki = await Pki.make("C");
  const datagrams = new SignedDatagrams(await pki.identity("w", "node"));
  const content = new TextEncoder().encode("(x)");
  const datagram = datagrams.sign(content, NOW_MS);
  let accepted = 0;
  for (let bit = 0; bit < datagram.length * 8; bit++) {
    const flipped = datagram.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    const result = datagrams.verify(flipped, NOW_MS);
    if ("refusal" in result) {
      assert.match(result.refusal, /^Cannot accept .*: current value is /);
      continue;
    }
    accepted++;
    assert.deepEqual(result.content, content, `bit ${bit}`);
    assert.deepEqual(result.signer, { name: "w", role: "node", email: "" }, `bit ${bit}`);
  }
  assert.equal(accepted, 0, "nothing in it is without meaning");
});

Deno.test("a signing time counts for a minute before and after", async () => {
  await using pki = await Pki.make();
  const datagrams = new SignedDatagrams(await pki.identity("west1", "node"));
  const datagram = datagrams.sign(TEXT, NOW_MS);
  for (const late of [-FRESH_MS, 0, FRESH_MS]) {
    assert.ok("content" in datagrams.verify(datagram, NOW_MS + late));
  }
  for (const late of [-FRESH_MS - 1, FRESH_MS + 1]) {
    assert.match(
      refusalOf(datagrams, datagram, NOW_MS + late),
      /its signingTime must be within 60 s of .* compare the clocks .* value is 2026-11-22T12:00:00Z/,
    );
  }
  const narrow = new SignedDatagrams(await pki.identity("west2", "node"), 5000);
  assert.match(refusalOf(narrow, datagram, NOW_MS + 6000), /within 5 s/);
});

const TIMES = [
  {
    what: "not valid yet",
    nowMs: 0,
    since: 30_000,
    until: 90_000,
    why: /not valid before .*notBefore/,
  },
  { what: "expired", since: -90_000, until: -1000, why: /expired at .*notAfter/ },
];

Deno.test.each(TIMES)(
  "a signer whose certificate is $what is refused",
  async ({ since, until, why }) => {
    await using pki = await Pki.make();
    const datagrams = new SignedDatagrams(await pki.identity("om1", "manager"));
    const times = { notBeforeMs: NOW_MS + since, notAfterMs: NOW_MS + until };
    assert.match(refusalOf(datagrams, signAs(pki.issue(times))), why);
  },
);

Deno.test("a CA that expired signs for nobody", async () => {
  await using pki = await Pki.make();
  const datagrams = new SignedDatagrams(await pki.identity("om1", "manager"));
  const laterMs = pki.certificate.notAfterMs + 1000;
  const node = pki.issue({ notBeforeMs: NOW_MS, notAfterMs: laterMs * 2 });
  const signedAttributes = writeSignedAttributes(sha256(TEXT), laterMs);
  const signature = node.key.sign(signedAttributes);
  const parts = { signedAttributes, signature, signer: node.certificate, others: [] };
  const refusal = refusalOf(datagrams, writeSignedData(TEXT, parts), laterMs);
  assert.match(refusal, /the CA "overlay CA" as it expired at/);
});

/** What is wrong with the signer's certificate. */
const STRANGE: readonly { what: string; changes: Partial<WantedCertificate>; why: RegExp }[] = [
  {
    what: "for TLS only",
    changes: { node: { extendedKeyUsage: [Oid.ServerAuth], dnsName: "west1", email: "" } },
    why: /its extKeyUsage must have emailProtection: current value is serverAuth/,
  },
  {
    what: "without a role",
    changes: { subject: writeName({ commonName: "west1", organizationalUnit: "" }) },
    why: /its OU must be manager, node, operator: current value is ""/,
  },
  {
    what: "with a role that is none",
    changes: { subject: writeName({ commonName: "west1", organizationalUnit: "king" }) },
    why: /its OU must be .*: current value is "king"/,
  },
  {
    what: "without a name",
    changes: { subject: writeName({ commonName: "", organizationalUnit: "node" }) },
    why: /its CN must be a name/,
  },
  {
    what: "with a name that does not stay in one line",
    changes: { subject: writeName({ commonName: "a\nb\u202e", organizationalUnit: "node" }) },
    why: /its CN must be a name .*: current value is "a\\nb\?"$/,
  },
  { what: "of a CA", changes: { node: null }, why: /basicConstraints cA must be FALSE/ },
];

Deno.test.each(STRANGE)(
  "a signer with a certificate $what is refused",
  async ({ changes, why }) => {
    await using pki = await Pki.make();
    const datagrams = new SignedDatagrams(await pki.identity("om1", "manager"));
    assert.match(refusalOf(datagrams, signAs(pki.issue(changes))), why);
  },
);

Deno.test("the CA itself is no signer, and neither is who another CA of the same name knows", async () => {
  await using pki = await Pki.make();
  await using foreign = await Pki.make();
  const datagrams = new SignedDatagrams(await pki.identity("om1", "manager"));
  const self = {
    subject: writeName({ commonName: "ca", organizationalUnit: "manager" }),
    node: null,
  };
  assert.match(refusalOf(datagrams, signAs(pki.issue(self))), /cA must be FALSE/);
  const stranger = new SignedDatagrams(await foreign.identity("west1", "node"));
  const refusal = refusalOf(datagrams, stranger.sign(TEXT, NOW_MS));
  assert.match(refusal, /its issuer is no CA that is trusted here: current value is "overlay CA"/);
  // With the key identifier of our CA it is the signature that tells.
  const changes = { authorityKeyId: pki.certificate.subjectKeyId };
  assert.match(
    refusalOf(datagrams, signAs(foreign.issue(changes))),
    /its signature is not that of its issuer/,
  );
  // The key of one node with the certificate of another.
  const mixed = { certificate: pki.issue({}).certificate, key: SigningKey.generate() };
  assert.match(refusalOf(datagrams, signAs(mixed)), /signature must be that of the signer's key/);
  const wrongDigest = signAs(pki.issue({}), [], sha256(new Uint8Array(1)));
  assert.match(refusalOf(datagrams, wrongDigest), /messageDigest must be the SHA-256/);
});

Deno.test("a node is no CA for others, and a CA of one level has none below it", async () => {
  await using pki = await Pki.make();
  const datagrams = new SignedDatagrams(await pki.identity("om1", "manager"));
  const node = pki.issue({
    subject: writeName({ commonName: "evil", organizationalUnit: "node" }),
  });
  const below = pki.issue({}, node);
  assert.match(
    refusalOf(datagrams, signAs(below, [node.certificate])),
    /the CA "evil" as basicConstraints cA/,
  );
  const between = pki.issue({ node: null });
  const deeper = pki.issue({}, between);
  assert.match(
    refusalOf(datagrams, signAs(deeper, [between.certificate])),
    /pathLen must be 1 or more: current value is 0/,
  );
});

Deno.test("what OpenSSL signed is read: RSA, P-384, and a CA between that comes along", async () => {
  await using pki = await Pki.make();
  const made = makeNode(pki, { name: "om1", role: "manager", email: "" }, 1, NOW_MS);
  const files = {
    certificate: await pki.write("om1.pem", made.certificatePem),
    key: await pki.write("om1.key", made.keyPem),
    ca: await pki.write(
      "both.pem",
      `the other one\n${writePem("CERTIFICATE", CA)}and ours\n${pki.caPem}`,
    ),
  };
  const datagrams = new SignedDatagrams(await loadIdentity(files, NOW_MS));
  const signedMs = Date.UTC(2026, 10, 22, 4, 19, 45);
  const expected: readonly [Uint8Array, string, Role][] = [
    [RSA, "rsa1", "node"],
    [P384, "p384", "manager"],
    [CHAINED, "p256", "operator"],
  ];
  for (const [der, name, role] of expected) {
    const result = datagrams.verify(der, signedMs);
    assert.ok("content" in result, (result as { refusal?: string }).refusal);
    assert.equal(new TextDecoder().decode(result.content), CONTENT);
    assert.deepEqual(result.signer, { name, role, email: "" });
    const at = der.length - 20; // in the signature
    const flipped = der.map((octet, index) => index === at ? octet ^ 1 : octet);
    assert.ok("refusal" in datagrams.verify(flipped, signedMs));
  }
  const alone = new SignedDatagrams(await pki.identity("om2", "manager"));
  assert.match(refusalOf(alone, RSA, signedMs), /no CA that is trusted here/);
});

Deno.test("rubbish, what is too large, too deep or of another digest is refused with its reason", async () => {
  await using pki = await Pki.make();
  const datagrams = new SignedDatagrams(await pki.identity("west1", "node"));
  const datagram = datagrams.sign(TEXT, NOW_MS);
  for (let size = 0; size < datagram.length; size += 7) {
    assert.match(refusalOf(datagrams, datagram.slice(0, size)), /^Cannot accept /);
  }
  let deep = new Uint8Array(0);
  for (let depth = 0; depth < 10_000; depth++) deep = sequence(deep);
  assert.match(refusalOf(datagrams, deep), /DER depth/);
  const large = new Uint8Array(DATAGRAM_BYTES_MAX + 1);
  assert.match(refusalOf(datagrams, large), /bytes must be up to 65507: current value is 65508/);
  assert.throws(
    () => datagrams.sign(large),
    /Cannot sign a message as a datagram has 65507 bytes at most/,
  );
  const hex = datagram.toHex().replaceAll(
    oidBytes(Oid.Sha256).toHex(),
    oidBytes("2.16.840.1.101.3.4.2.3").toHex(),
  );
  assert.match(
    refusalOf(datagrams, Uint8Array.fromHex(hex)),
    /digestAlgorithms 2\.16\.840\.1\.101\.3\.4\.2\.3/,
  );
});

Deno.test("an identity shows no key, whoever prints it", async () => {
  await using pki = await Pki.make();
  const identity = await pki.identity("west1", "node");
  assert.ok(identity instanceof Identity);
  const secret = identity.keyPem.split("\n")[1]!;
  assert.ok(secret.length > 40);
  for (const text of [Deno.inspect(identity, { depth: 9 }), JSON.stringify(identity)]) {
    assert.ok(!text.includes(secret));
    assert.ok(text.includes("west1"));
  }
  assert.deepEqual(certificateOf(identity.certificatePem).raw, identity.certificate.raw);
});

const EPOCH = "0123456789abcdef";
const invite = { epoch: EPOCH, verb: "invite" };

Deno.test("a message is heard once, in whatever order they come", () => {
  const guard = new ReplayGuard();
  for (const sequence of [5, 3, 9, 4]) assert.equal(guard.check("om1", invite, sequence, 0), null);
  assert.match(
    guard.check("om1", invite, 3, FRESH_MS)!,
    /heard before: current value is sequence 3 of epoch 0123/,
  );
  assert.equal(guard.check("om1", { ...invite, verb: "ack-invite" }, 3, 0), null, "an answer");
  assert.equal(
    guard.check("om1", { ...invite, epoch: "f".repeat(16) }, 3, 0),
    null,
    "another epoch",
  );
  assert.equal(guard.check("om2", invite, 3, 0), null, "another signer");
  assert.deepEqual(guard.counts, { replayed: 1, full: 0 });
});

Deno.test("a message is remembered until its signing time is too old, not longer", () => {
  const guard = new ReplayGuard({ freshMs: 1000, signersMax: 2, sequencesMax: 2 });
  assert.equal(guard.check("om1", invite, 1, 0), null);
  assert.ok(guard.check("om1", invite, 1, 2000), "signed a second ahead, it would still be fresh");
  assert.equal(guard.check("om1", invite, 1, 2001), null, "refused by its signing time anyway");
});

Deno.test("a full memory refuses and never forgets early, and one signer takes no room of another", () => {
  const guard = new ReplayGuard({ freshMs: 1000, signersMax: 2, sequencesMax: 2 });
  assert.equal(guard.check("om1", invite, 1, 0), null);
  assert.equal(guard.check("om1", invite, 2, 10), null);
  assert.match(
    guard.check("om1", invite, 3, 20)!,
    /no more can be remembered: current value is 2 messages/,
  );
  assert.equal(guard.check("om2", invite, 3, 20), null);
  assert.match(
    guard.check("om3", invite, 1, 20)!,
    /no more can be remembered: current value is 2 signers/,
  );
  assert.ok(guard.check("om1", invite, 1, 30), "the first is still known");
  assert.deepEqual(guard.counts, { replayed: 1, full: 2 });
  assert.equal(guard.check("om1", invite, 3, 2005), null, "the first has gone");
  assert.equal(guard.check("om3", invite, 1, 2021), null, "om2 has gone");
});
