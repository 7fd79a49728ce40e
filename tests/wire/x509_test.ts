/** Certificates: what is written is read, what RFC 5280 does not allow is refused with its reason. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { SigningKey } from "../../src/io/pki.ts";
import { describeFault } from "../../src/mem/fault.ts";
import { DerReader } from "../../src/wire/asn1/der_reader.ts";
import { element, objectIdentifier, sequence } from "../../src/wire/asn1/der_writer.ts";
import { Oid, oidBytes } from "../../src/wire/asn1/oid.ts";
import { Tag } from "../../src/wire/asn1/tag.ts";
import {
  type Certificate,
  CERTIFICATE_BYTES_MAX,
  readCertificate,
  type WantedCertificate,
  writeCertificate,
  writeTbsCertificate,
} from "../../src/wire/x509/certificate.ts";
import { KeyUsage, noExtensions } from "../../src/wire/x509/extensions.ts";
import { readName, writeName } from "../../src/wire/x509/name.ts";
import { readPem, writePem } from "../../src/wire/x509/pem.ts";
import { checkSignature } from "../../src/wire/x509/signature.ts";
import { CA } from "./cms_vectors.ts";

const KEY = SigningKey.generate();
const SINCE_MS = Date.UTC(2026, 0, 1);
const UNTIL_MS = Date.UTC(2060, 0, 1);

const WANTED: WantedCertificate = {
  serial: Uint8Array.of(0x40, 1, 2, 3),
  issuer: writeName({ commonName: "a CA", organizationalUnit: "" }),
  subject: writeName({ commonName: "west1", organizationalUnit: "node" }),
  notBeforeMs: SINCE_MS,
  notAfterMs: UNTIL_MS,
  spki: KEY.spki,
  node: { extendedKeyUsage: [Oid.EmailProtection], dnsName: "west1", email: "a@b.example" },
  subjectKeyId: Uint8Array.of(1, 2),
  authorityKeyId: Uint8Array.of(3, 4),
};

function make(changes: Partial<WantedCertificate> = {}): Uint8Array<ArrayBuffer> {
  const tbs = writeTbsCertificate({ ...WANTED, ...changes });
  return writeCertificate(tbs, KEY.sign(tbs));
}

function read(der: Uint8Array<ArrayBuffer>): Certificate {
  const certificate = readCertificate(der);
  assert.ok(typeof certificate !== "number", describeFault());
  return certificate;
}

/** The same length, so that all lengths around it stay right. */
function swap(der: Uint8Array, from: Uint8Array, to: Uint8Array): Uint8Array<ArrayBuffer> {
  assert.equal(from.length, to.length);
  const hex = der.toHex();
  assert.ok(hex.includes(from.toHex()));
  return Uint8Array.fromHex(hex.replaceAll(from.toHex(), to.toHex()));
}

Deno.test("a node's certificate is read as it was written, by us and by node:crypto", () => {
  const der = make();
  const certificate = read(der);
  assert.deepEqual(certificate.subjectName, {
    commonName: "west1",
    organizationalUnit: "node",
    email: "",
  });
  assert.equal(certificate.notBeforeMs, SINCE_MS);
  assert.equal(certificate.notAfterMs, UNTIL_MS);
  assert.equal(certificate.isCa, false);
  assert.equal(certificate.keyUsage, KeyUsage.DigitalSignature);
  assert.deepEqual(certificate.extendedKeyUsage, [Oid.EmailProtection]);
  assert.deepEqual(certificate.dnsNames, ["west1"]);
  assert.deepEqual(certificate.emails, ["a@b.example"]);
  assert.deepEqual([...certificate.subjectKeyId, ...certificate.authorityKeyId], [1, 2, 3, 4]);
  assert.equal(certificate.keyKind, "P-256");
  assert.deepEqual(certificate.spki, KEY.spki);
  assert.deepEqual(certificate.raw, der);
  const other = new X509Certificate(der);
  assert.equal(other.serialNumber.toLowerCase(), "40010203");
  assert.equal(other.subjectAltName, "DNS:west1, email:a@b.example");
  assert.equal(other.validToDate.getTime(), UNTIL_MS);
});

Deno.test("a CA's certificate says so, and that no CA is below it", () => {
  const certificate = read(make({ node: null }));
  assert.equal(certificate.isCa, true);
  assert.equal(certificate.pathLength, 0);
  assert.equal(certificate.keyUsage, KeyUsage.KeyCertSign | KeyUsage.CrlSign);
  assert.equal(certificate.extendedKeyUsage, null);
});

Deno.test("a CA of OpenSSL on P-384 is read, with a time behind 2050", () => {
  const certificate = read(CA);
  assert.equal(certificate.keyKind, "P-384");
  assert.deepEqual(certificate.signatureAlgorithm, { kind: "ECDSA", hash: "sha384" });
  assert.equal(certificate.isCa, true);
  assert.equal(certificate.pathLength, Infinity);
  assert.equal(certificate.notAfterMs, new X509Certificate(CA).validToDate.getTime());
  assert.equal(certificate.subjectKeyId.length, 20);
});

Deno.test("a certificate cut anywhere, or with a byte more, is none", () => {
  const der = make();
  for (let size = 0; size < der.length; size++) {
    assert.ok(typeof readCertificate(der.slice(0, size)) === "number", `${size} bytes`);
  }
  assert.equal(typeof readCertificate(Uint8Array.from([...der, 0])), "number");
  assert.match(describeFault(), /bytes behind the element/);
});

const sha512 = oidBytes("1.2.840.10045.4.3.4");
const REFUSED = [
  {
    what: "version 2",
    der: swap(make(), Uint8Array.of(0xa0, 3, 2, 1, 2), Uint8Array.of(0xa0, 3, 2, 1, 1)),
    why: /version .* 2, which is v3: current value is 1/,
  },
  {
    what: "SHA-512",
    der: swap(make(), oidBytes(Oid.EcdsaWithSha256), sha512),
    why: /signatureAlgorithm 1\.2\.840\.10045\.4\.3\.4 .* SHA-256 or SHA-384/,
  },
  {
    what: "another curve",
    der: swap(make(), oidBytes(Oid.P256), oidBytes("1.2.840.10045.3.1.6")),
    why: /subjectPublicKeyInfo 1\.2\.840\.10045\.3\.1\.6 .* P-256, P-384 or RSA/,
  },
  {
    what: "a compressed point",
    der: swap(make(), KEY.spki.subarray(25, 29), Uint8Array.of(0, 2, ...KEY.spki.subarray(27, 29))),
    why: /subjectPublicKeyInfo point bytes .* uncompressed/,
  },
  {
    what: "an unknown critical extension",
    der: swap(make(), oidBytes(Oid.BasicConstraints), oidBytes("2.5.29.30")),
    why: /critical extension 2\.5\.29\.30/,
  },
  {
    what: "an extension twice",
    der: swap(make(), oidBytes(Oid.SubjectKeyIdentifier), oidBytes(Oid.AuthorityKeyIdentifier)),
    why: /extensions 2\.5\.29\.35|authorityKeyIdentifier tag/,
  },
  {
    what: "a negative serial number",
    der: make({ serial: Uint8Array.of(0x80, 1) }),
    why: /serialNumber octets .* positive/,
  },
  {
    what: "a long serial number",
    der: make({ serial: new Uint8Array(21).fill(1) }),
    why: /serialNumber octets .* up to 20/,
  },
  {
    what: "a control character in a name",
    der: make({ node: { ...WANTED.node!, dnsName: "a\n" } }),
    why: /dNSName .* printable ASCII: current value is 10/,
  },
  {
    what: "a 31st of February",
    der: swap(make(), new TextEncoder().encode("260101"), new TextEncoder().encode("260231")),
    why: /notBefore octets/,
  },
  {
    what: "too many bytes",
    der: new Uint8Array(CERTIFICATE_BYTES_MAX + 1),
    why: /Certificate bytes .* up to 8192/,
  },
];

Deno.test.each(REFUSED)("a certificate with $what is refused", ({ der, why }) => {
  const result = readCertificate(der);
  assert.ok(typeof result === "number" && result < 0);
  assert.match(describeFault(), why);
});

Deno.test("both places that tell the algorithm must agree", () => {
  const der = make();
  const at = der.toHex().lastIndexOf(oidBytes(Oid.EcdsaWithSha256).toHex()) / 2;
  der[at + 7] = 3; // ecdsa-with-SHA384
  assert.ok(typeof readCertificate(der) === "number");
  assert.match(describeFault(), /signatureAlgorithm .* that of tbsCertificate/);
});

Deno.test("a certificate without extensions is refused, and none say nothing", () => {
  assert.equal(noExtensions().isCa, false);
  assert.equal(noExtensions().keyUsage, null);
  const tbs = writeTbsCertificate(WANTED);
  const reader = new DerReader(tbs).enter(Tag.Sequence, "tbs");
  const parts: Uint8Array[] = [];
  for (const tag of [0xa0, 0x02, 0x30, 0x30, 0x30, 0x30, 0x30]) {
    parts.push(reader.element(tag, "x"));
  }
  const bare = sequence(...parts);
  assert.equal(typeof readCertificate(writeCertificate(bare, KEY.sign(bare))), "number");
  assert.match(describeFault(), /extensions .* there/);
});

Deno.test("a name with the same attribute twice, or no UTF-8, is refused", () => {
  const cn = (value: Uint8Array): Uint8Array =>
    element(Tag.Set, sequence(objectIdentifier(Oid.CommonName), element(Tag.Utf8String, value)));
  for (
    const [parts, why] of [
      [[cn(Uint8Array.of(65)), cn(Uint8Array.of(66))], /attributes of type 2\.5\.4\.3 .* 1/],
      [[cn(Uint8Array.of(0xff))], /UTF-8/],
      [[cn(new Uint8Array(513))], /up to 512/],
    ] as const
  ) {
    const reader = new DerReader(sequence(...parts));
    readName(reader.enter(Tag.Sequence, "subject"), "subject");
    assert.ok(reader.fault < 0);
    assert.match(describeFault(), why);
  }
});

Deno.test("a signature is a pair of positive numbers in the shortest form, and nothing more", () => {
  const signature = KEY.sign(new Uint8Array(1));
  assert.equal(checkSignature(signature, "P-256"), 0);
  for (
    const hex of [
      "30060201010201ff",
      "3007020200010201 01",
      "3003020101",
      "300902010102010102010 1",
    ]
  ) {
    assert.ok(checkSignature(Uint8Array.fromHex(hex.replaceAll(" ", "")), "P-256") < 0, hex);
  }
  assert.ok(checkSignature(Uint8Array.from([...signature, 0]), "P-384") < 0);
});

Deno.test("PEM goes there and back, text around it is skipped, wrong base64 is told", () => {
  const der = make();
  const pem = writePem("CERTIFICATE", der);
  assert.ok(pem.split("\n").every((line) => line.length <= 64));
  const text = `subject=west1\n${pem}\n${writePem("PRIVATE KEY", Uint8Array.of(1))}${
    pem.replaceAll("\n", "\r\n")
  }`;
  assert.deepEqual(readPem(text, "CERTIFICATE"), [der, der]);
  assert.deepEqual(readPem(pem.replace(/\n..../, "\nAA=A"), "CERTIFICATE"), [null]);
  assert.deepEqual(readPem("-----BEGIN CERTIFICATE-----\nAAAA", "CERTIFICATE"), []);
});
