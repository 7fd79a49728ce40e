/**
 * A small CA and the certificates of nodes, for those who have no other: RFC 5280, keys on P-256, one
 * level. What is made satisfies OpenSSL and node:tls.
 *
 * @module
 */
import { randomSerial, sha256, SigningKey } from "../../io/pki.ts";
import {
  type Certificate,
  type WantedCertificate,
  writeCertificate,
  writeTbsCertificate,
} from "../../wire/x509/certificate.ts";
import { writeName } from "../../wire/x509/name.ts";
import { writePem } from "../../wire/x509/pem.ts";
import type { Peer } from "./identity.ts";
import { PURPOSES } from "./trust.ts";

/** A certificate and its key, as files have them. */
export interface MadePair {
  readonly certificatePem: string;
  readonly keyPem: string;
}

/** What signs: a CA's certificate and its key. */
export interface Authority {
  readonly certificate: Certificate;
  readonly key: SigningKey;
}

const DAY_MS = 86_400_000;
/** A box whose clock is behind takes part all the same. */
const BACKDATED_MS = 3_600_000;
/** 62 bits that nobody guesses; short, as it is in each signed datagram twice. */
const SERIAL_OCTETS = 8;
/** RFC 5280 section 4.2.1.2 lets a CA choose how it makes them; short for the same reason. */
const KEY_ID_OCTETS = 8;

/** A CA that signs itself. */
export function makeAuthority(name: string, days: number, nowMs: number): MadePair {
  const key = SigningKey.generate();
  const subject = writeName({ commonName: name, organizationalUnit: "" });
  const subjectKeyId = keyId(key.spki);
  return issue(key, key, {
    issuer: subject,
    subject,
    notBeforeMs: nowMs - BACKDATED_MS,
    notAfterMs: nowMs + days * DAY_MS,
    node: null,
    subjectKeyId,
    authorityKeyId: subjectKeyId,
  });
}

/** A node's certificate, which does not outlive that of the CA. */
export function makeNode(
  { certificate, key: authorityKey }: Authority,
  { email, name, role }: Peer,
  days: number,
  nowMs: number,
): MadePair {
  const key = SigningKey.generate();
  return issue(key, authorityKey, {
    issuer: certificate.subject,
    subject: writeName({ commonName: name, organizationalUnit: role }),
    notBeforeMs: Math.max(nowMs - BACKDATED_MS, certificate.notBeforeMs),
    notAfterMs: Math.min(nowMs + days * DAY_MS, certificate.notAfterMs),
    node: { extendedKeyUsage: Object.keys(PURPOSES), dnsName: name, email },
    subjectKeyId: keyId(key.spki),
    authorityKeyId: certificate.subjectKeyId,
  });
}

function issue(
  key: SigningKey,
  authorityKey: SigningKey,
  wanted: Omit<WantedCertificate, "serial" | "spki">,
): MadePair {
  const serial = randomSerial(SERIAL_OCTETS);
  const tbs = writeTbsCertificate({ ...wanted, serial, spki: key.spki });
  const certificate = writeCertificate(tbs, authorityKey.sign(tbs));
  return { certificatePem: writePem("CERTIFICATE", certificate), keyPem: key.writePem() };
}

function keyId(spki: Uint8Array): Uint8Array {
  return sha256(spki).subarray(0, KEY_ID_OCTETS);
}
