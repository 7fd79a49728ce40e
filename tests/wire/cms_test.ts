/** Signed messages: read as OpenSSL and we write them, and refused in every other form. */
import assert from "node:assert/strict";
import { sha256, SigningKey, verifySignature } from "../../src/io/pki.ts";
import { describeFault } from "../../src/mem/fault.ts";
import {
  element,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  setOf,
  time,
} from "../../src/wire/asn1/der_writer.ts";
import { Oid, oidBytes } from "../../src/wire/asn1/oid.ts";
import { Tag } from "../../src/wire/asn1/tag.ts";
import { CMS_TAG_0, readSignedData, type SignedData } from "../../src/wire/cms/signed_data.ts";
import { writeSignedAttributes, writeSignedData } from "../../src/wire/cms/write_signed_data.ts";
import {
  type Certificate,
  readCertificate,
  writeCertificate,
  writeTbsCertificate,
} from "../../src/wire/x509/certificate.ts";
import { writeName } from "../../src/wire/x509/name.ts";
import { CHAINED, CONTENT, P384, RSA, STREAMED } from "./cms_vectors.ts";

const NOW_MS = Date.UTC(2026, 10, 22);
const KEY = SigningKey.generate();
const SIGNER = certificate();
const TEXT = new TextEncoder().encode("(xbonecontrol)");
const ATTRIBUTES = writeSignedAttributes(sha256(TEXT), NOW_MS);

function certificate(serial = 1): Certificate {
  const name = writeName({ commonName: "west1", organizationalUnit: "node" });
  const tbs = writeTbsCertificate({
    serial: Uint8Array.of(serial),
    issuer: name,
    subject: name,
    notBeforeMs: NOW_MS,
    notAfterMs: NOW_MS,
    spki: KEY.spki,
    node: { extendedKeyUsage: [Oid.EmailProtection], dnsName: "west1", email: "" },
    subjectKeyId: Uint8Array.of(1),
    authorityKeyId: Uint8Array.of(1),
  });
  const read = readCertificate(writeCertificate(tbs, KEY.sign(tbs)));
  assert.ok(typeof read !== "number", describeFault());
  return read;
}

function make(
  attributes: Uint8Array = ATTRIBUTES,
  others: Certificate[] = [],
): Uint8Array<ArrayBuffer> {
  const signature = KEY.sign(attributes);
  return writeSignedData(TEXT, { signedAttributes: attributes, signature, signer: SIGNER, others });
}

function read(der: Uint8Array<ArrayBuffer>): SignedData {
  const message = readSignedData(der);
  assert.ok(typeof message !== "number", describeFault());
  return message;
}

/** The parts of a message with other parts in their place; what is in it is not signed anew. */
interface Parts {
  readonly version?: Uint8Array;
  readonly digests?: Uint8Array;
  readonly content?: Uint8Array;
  readonly certificates?: Uint8Array;
  readonly crls?: readonly Uint8Array[];
  readonly signers?: Uint8Array;
}

const SHA256 = sequence(objectIdentifier(Oid.Sha256));

function signerInfo(more: readonly Uint8Array[] = [], id?: Uint8Array): Uint8Array {
  const attributes = Uint8Array.from(ATTRIBUTES);
  attributes[0] = CMS_TAG_0;
  return sequence(
    integer(1),
    id ?? sequence(SIGNER.issuer, element(Tag.Integer, SIGNER.serial)),
    SHA256,
    attributes,
    sequence(objectIdentifier(Oid.EcdsaWithSha256)),
    octetString(KEY.sign(ATTRIBUTES)),
    ...more,
  );
}

function contentInfo(content: Uint8Array): Uint8Array {
  return sequence(objectIdentifier(Oid.Data), element(CMS_TAG_0, content));
}

function build(parts: Parts): Uint8Array<ArrayBuffer> {
  const data = sequence(
    parts.version ?? integer(1),
    parts.digests ?? setOf(SHA256),
    parts.content ?? contentInfo(octetString(TEXT)),
    parts.certificates ?? element(CMS_TAG_0, SIGNER.raw),
    ...parts.crls ?? [],
    parts.signers ?? element(Tag.Set, signerInfo()),
  );
  return sequence(objectIdentifier(Oid.SignedData), element(CMS_TAG_0, data));
}

Deno.test("what is written is read", () => {
  const message = read(make());
  assert.deepEqual(message.content, TEXT);
  assert.deepEqual(message.signer.raw, SIGNER.raw);
  assert.equal(message.signingTimeMs, NOW_MS);
  assert.deepEqual(message.messageDigest, sha256(TEXT));
  assert.deepEqual(message.signedAttributes, ATTRIBUTES);
  assert.ok(verifySignature(SIGNER.spki, "sha256", message.signedAttributes, message.signature));
  assert.deepEqual(
    read(make(ATTRIBUTES, [certificate(2)])).others.map(({ serial }) => [...serial]),
    [[2]],
  );
});

const FROM_OPENSSL = [
  { what: "RSA-2048", der: RSA, signer: "rsa1", others: 0 },
  { what: "P-384", der: P384, signer: "p384", others: 0 },
  { what: "P-256 with a CA between", der: CHAINED, signer: "p256", others: 1 },
];

Deno.test.each(FROM_OPENSSL)(
  "a message that OpenSSL signed with $what is read",
  ({ der, signer, others }) => {
    const message = read(der);
    assert.equal(new TextDecoder().decode(message.content), CONTENT);
    assert.equal(message.signer.subjectName.commonName, signer);
    assert.equal(message.others.length, others);
    assert.deepEqual(message.messageDigest, sha256(message.content));
    const { signature, signedAttributes } = message;
    assert.ok(verifySignature(message.signer.spki, "sha256", signedAttributes, signature));
    signedAttributes[20]! ^= 1;
    assert.ok(!verifySignature(message.signer.spki, "sha256", signedAttributes, signature));
  },
);

Deno.test("indefinite lengths, as OpenSSL streams, are refused", () => {
  assert.equal(typeof readSignedData(STREAMED), "number");
  assert.match(describeFault(), /DER length at offset 1 as it must be definite \(X\.690/);
});

Deno.test("content in pieces of definite length is put together", () => {
  const pieces = element(
    Tag.OctetStringInPieces,
    octetString(TEXT.subarray(0, 5)),
    octetString(TEXT.subarray(5)),
  );
  assert.deepEqual(read(build({ content: contentInfo(pieces) })).content, TEXT);
});

Deno.test("a message cut anywhere, or with a byte more, is none", () => {
  const der = make();
  for (let size = 0; size < der.length; size++) {
    assert.ok(typeof readSignedData(der.slice(0, size)) === "number", `${size} bytes`);
  }
  assert.equal(typeof readSignedData(Uint8Array.from([...der, 0])), "number");
});

function attribute(type: string, ...values: Uint8Array[]): Uint8Array {
  return sequence(objectIdentifier(type), setOf(...values));
}

const CONTENT_TYPE = attribute(Oid.ContentType, objectIdentifier(Oid.Data));
const SIGNING_TIME = attribute(Oid.SigningTime, time(NOW_MS));
const DIGEST = attribute(Oid.MessageDigest, octetString(sha256(TEXT)));
const sha512 = sequence(objectIdentifier("2.16.840.1.101.3.4.2.3"));
const nestedPieces = element(
  Tag.OctetStringInPieces,
  element(Tag.OctetStringInPieces, octetString(TEXT)),
);
const keyId = element(0x80, new Uint8Array(20));
const two = element(Tag.Set, signerInfo(), signerInfo());
const manyPieces = element(Tag.OctetStringInPieces, ...Array(1025).fill(octetString(TEXT)));

const REFUSED = [
  {
    what: "version 3",
    der: build({ version: integer(3) }),
    why: /SignedData version .* 1: current value is 3/,
  },
  {
    what: "SHA-512",
    der: build({ digests: setOf(sha512) }),
    why: /digestAlgorithms 2\.16\.840\.1\.101\.3\.4\.2\.3/,
  },
  {
    what: "two digests",
    der: build({ digests: setOf(SHA256, sha512) }),
    why: /end of digestAlgorithms/,
  },
  { what: "no digest", der: build({ digests: setOf() }), why: /digestAlgorithms .* there/ },
  {
    what: "detached content",
    der: build({ content: sequence(objectIdentifier(Oid.Data)) }),
    why: /eContent, which may not be detached/,
  },
  {
    what: "content of another type",
    der: build({
      content: sequence(objectIdentifier(Oid.SignedData), element(CMS_TAG_0, octetString(TEXT))),
    }),
    why: /eContentType 1\.2\.840\.113549\.1\.7\.2/,
  },
  {
    what: "pieces in pieces",
    der: build({ content: contentInfo(nestedPieces) }),
    why: /eContent piece tag/,
  },
  {
    what: "a thousand pieces and more",
    der: build({ content: contentInfo(manyPieces) }),
    why: /eContent pieces .* up to 1024/,
  },
  {
    what: "no certificate",
    der: build({ certificates: element(CMS_TAG_0) }),
    why: /certificates .* with that of the signer/,
  },
  {
    what: "another's certificate",
    der: build({ certificates: element(CMS_TAG_0, certificate(9).raw) }),
    why: /certificates .* with that of the signer/,
  },
  {
    what: "five certificates",
    der: build({ certificates: element(CMS_TAG_0, ...Array(5).fill(SIGNER.raw)) }),
    why: /certificates .* 1 to 4: current value is 5/,
  },
  {
    what: "no certificate at all",
    der: build({ certificates: new Uint8Array(0) }),
    why: /certificates tag/,
  },
  {
    what: "revocation lists",
    der: build({ crls: [element(0xa1, sequence())] }),
    why: /crls .* absent/,
  },
  { what: "no signer", der: build({ signers: element(Tag.Set) }), why: /SignerInfo .* there/ },
  {
    what: "two signers",
    der: build({ signers: two }),
    why: /end of signerInfos, of which one is read/,
  },
  {
    what: "a signer by key",
    der: build({ signers: element(Tag.Set, signerInfo([], keyId)) }),
    why: /issuerAndSerialNumber tag/,
  },
  {
    what: "unsigned attributes",
    der: build({ signers: element(Tag.Set, signerInfo([element(0xa1)])) }),
    why: /SignerInfo, which may have no unsignedAttrs/,
  },
  {
    what: "no signing time",
    der: make(setOf(CONTENT_TYPE, DIGEST)),
    why: /signedAttrs 1\.2\.840\.113549\.1\.9\.5 .* there/,
  },
  {
    what: "no digest attribute",
    der: make(setOf(CONTENT_TYPE, SIGNING_TIME)),
    why: /signedAttrs 1\.2\.840\.113549\.1\.9\.4 .* there/,
  },
  {
    what: "no content type",
    der: make(setOf(DIGEST, SIGNING_TIME)),
    why: /signedAttrs 1\.2\.840\.113549\.1\.9\.3 .* there/,
  },
  {
    what: "attributes out of order",
    der: make(element(Tag.Set, DIGEST, SIGNING_TIME, CONTENT_TYPE)),
    why: /in the order of DER/,
  },
  {
    what: "an attribute twice",
    der: make(setOf(CONTENT_TYPE, DIGEST, SIGNING_TIME, attribute(Oid.SigningTime, time(0)))),
    why: /signedAttrs 1\.2\.840\.113549\.1\.9\.5 .* 1/,
  },
  {
    what: "two signing times",
    der: make(setOf(CONTENT_TYPE, DIGEST, attribute(Oid.SigningTime, time(0), time(1000)))),
    why: /end of signedAttrs attrValues of/,
  },
  {
    what: "another content type",
    der: make(
      setOf(attribute(Oid.ContentType, objectIdentifier(Oid.SignedData)), DIGEST, SIGNING_TIME),
    ),
    why: /signedAttrs contentType 1\.2\.840\.113549\.1\.7\.2/,
  },
  {
    what: "a short digest",
    der: make(
      setOf(
        CONTENT_TYPE,
        SIGNING_TIME,
        attribute(Oid.MessageDigest, octetString(new Uint8Array(20))),
      ),
    ),
    why: /messageDigest bytes .* 32: current value is 20/,
  },
  {
    what: "17 attributes",
    der: make(setOf(...Array.from({ length: 17 }, (_, index) => attribute(`1.2.3.${index}`)))),
    why: /signedAttrs .* up to 16/,
  },
];

Deno.test.each(REFUSED)("a message with $what is refused", ({ der, why }) => {
  const result = readSignedData(der);
  assert.ok(typeof result === "number" && result < 0);
  assert.match(describeFault(), why);
});

Deno.test("a message says what kind of signature its key makes", () => {
  const hex = make().toHex();
  const at = hex.lastIndexOf(oidBytes(Oid.EcdsaWithSha256).toHex()) / 2;
  const der = Uint8Array.fromHex(hex);
  der[at + 7] = 3; // with SHA-384
  assert.equal(typeof readSignedData(der), "number");
  assert.match(describeFault(), /signatureAlgorithm 1\.2\.840\.10045\.4\.3\.3 .* for a P-256 key/);
});

Deno.test("what is nested too deep is refused, wherever it is", () => {
  let deep = new Uint8Array(0);
  for (let depth = 0; depth < 200; depth++) deep = sequence(deep);
  for (const der of [deep, make(setOf(attribute("1.2.3", deep)))]) {
    assert.equal(typeof readSignedData(der), "number");
    assert.match(describeFault(), /DER depth .* up to 24/);
  }
});
