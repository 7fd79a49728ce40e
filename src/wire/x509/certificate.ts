/**
 * X.509 certificates of version 3: RFC 5280 section 4.1. Read as far as a chain of one or two levels
 * needs; written as far as a small CA needs.
 *
 * @module
 */
import { checkDer } from "../asn1/der_check.ts";
import { DerReader } from "../asn1/der_reader.ts";
import { bitString, element, integer, integerOf, sequence, time } from "../asn1/der_writer.ts";
import { sameOctets } from "../asn1/octets.ts";
import { explicitTag, Tag } from "../asn1/tag.ts";
import {
  type Extensions,
  EXTENSIONS_TAG,
  readExtensions,
  type WantedExtensions,
  writeExtensions,
} from "./extensions.ts";
import { type Name, readName } from "./name.ts";
import {
  checkSignature,
  type KeyKind,
  readKeyKind,
  readSignatureAlgorithm,
  type SignatureAlgorithm,
  writeEcdsaWithSha256,
} from "./signature.ts";

/** What a certificate says. Byte arrays lie in its own bytes. */
export interface Certificate extends Readonly<Extensions> {
  /** All of it. */
  readonly raw: Uint8Array<ArrayBuffer>;
  /** What is signed. */
  readonly tbs: Uint8Array<ArrayBuffer>;
  /** The octets of the serial number. */
  readonly serial: Uint8Array<ArrayBuffer>;
  /** The Names as they are encoded. */
  readonly issuer: Uint8Array<ArrayBuffer>;
  readonly subject: Uint8Array<ArrayBuffer>;
  readonly subjectName: Name;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** SubjectPublicKeyInfo. */
  readonly spki: Uint8Array<ArrayBuffer>;
  readonly keyKind: KeyKind;
  readonly signatureAlgorithm: SignatureAlgorithm;
  readonly signature: Uint8Array<ArrayBuffer>;
}

/** What is written into a certificate of our own. */
export interface WantedCertificate extends WantedExtensions {
  /** Octets of a positive number, the first from 1 to 127. */
  readonly serial: Uint8Array;
  /** Names as they are encoded. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly spki: Uint8Array;
}

/** Ours have less than 700. */
export const CERTIFICATE_BYTES_MAX = 8192;
const VERSION_3 = 2;
const VERSION_TAG = explicitTag(0);
/** RFC 5280 section 4.1.2.2. */
const SERIAL_OCTETS_MAX = 20;

/** Reads a certificate that fills `bytes`; a negated `Fault` when it is none. */
export function readCertificate(bytes: Uint8Array<ArrayBuffer>): Certificate | number {
  const reader = new DerReader(bytes);
  if (bytes.length > CERTIFICATE_BYTES_MAX) {
    reader.refuse("Certificate bytes", bytes.length, `up to ${CERTIFICATE_BYTES_MAX}`);
    return reader.fault;
  }
  const checked = checkDer(bytes);
  if (checked < 0) return checked;
  const outer = reader.enter(Tag.Sequence, "Certificate");
  const tbs = outer.element(Tag.Sequence, "tbsCertificate");
  const signatureAlgorithm = outer.element(Tag.Sequence, "signatureAlgorithm");
  const signature = outer.bitOctets("signatureValue");
  outer.end("Certificate");
  const body = outer.wrapped(tbs).enter(Tag.Sequence, "tbsCertificate");
  const fields = readBody(body);
  const { algorithm } = fields;
  if (body.fault < 0) return body.fault;
  if (!sameOctets(fields.algorithmBytes, signatureAlgorithm)) {
    body.refuse("signatureAlgorithm", 0, "that of tbsCertificate (RFC 5280 section 4.1.1.2)");
    return body.fault;
  }
  const kind = algorithm.kind === "RSA" ? "RSA" : "P-256";
  const fault = checkSignature(signature, kind);
  if (fault < 0) return fault;
  return { ...fields.said, raw: bytes, tbs, signatureAlgorithm: algorithm, signature };
}

interface Body {
  readonly said: Omit<Certificate, "raw" | "tbs" | "signatureAlgorithm" | "signature">;
  readonly algorithm: SignatureAlgorithm;
  readonly algorithmBytes: Uint8Array;
}

function readBody(body: DerReader): Body {
  const version = body.enter(VERSION_TAG, "version");
  const number = version.integer("version");
  if (number !== VERSION_3) body.refuse("version", number, `${VERSION_3}, which is v3`);
  version.end("version");
  const serial = body.integerOctets("serialNumber");
  if (serial.length > SERIAL_OCTETS_MAX || serial[0]! >= 0x80) {
    body.refuse("serialNumber octets", serial.length, "up to 20, positive");
  }
  const algorithmBytes = body.element(Tag.Sequence, "tbsCertificate signature");
  const algorithm = readSignatureAlgorithm(body.wrapped(algorithmBytes), "signatureAlgorithm");
  const issuer = body.element(Tag.Sequence, "issuer");
  readName(body.wrapped(issuer).enter(Tag.Sequence, "issuer"), "issuer");
  const validity = body.enter(Tag.Sequence, "validity");
  const notBeforeMs = validity.time("notBefore");
  const notAfterMs = validity.time("notAfter");
  validity.end("validity");
  const subject = body.element(Tag.Sequence, "subject");
  const subjectName = readName(body.wrapped(subject).enter(Tag.Sequence, "subject"), "subject");
  const spki = body.element(Tag.Sequence, "subjectPublicKeyInfo");
  const info = body.wrapped(spki).enter(Tag.Sequence, "subjectPublicKeyInfo");
  const keyKind = readKeyKind(info, "subjectPublicKeyInfo");
  info.end("subjectPublicKeyInfo");
  const extensions = readExtensions(body.enter(EXTENSIONS_TAG, "extensions"));
  body.end("tbsCertificate");
  return {
    said: {
      ...extensions,
      serial,
      issuer,
      subject,
      subjectName,
      notBeforeMs,
      notAfterMs,
      spki,
      keyKind,
    },
    algorithm,
    algorithmBytes,
  };
}

/** A TBSCertificate that is to be signed with ECDSA and SHA-256. */
export function writeTbsCertificate(wanted: WantedCertificate): Uint8Array<ArrayBuffer> {
  return sequence(
    element(VERSION_TAG, integer(VERSION_3)),
    integerOf(wanted.serial),
    writeEcdsaWithSha256(),
    wanted.issuer,
    sequence(time(wanted.notBeforeMs), time(wanted.notAfterMs)),
    wanted.subject,
    wanted.spki,
    element(EXTENSIONS_TAG, writeExtensions(wanted)),
  );
}

/** The certificate of a TBSCertificate and its signature, an ECDSA-Sig-Value. */
export function writeCertificate(tbs: Uint8Array, signature: Uint8Array): Uint8Array<ArrayBuffer> {
  return sequence(tbs, writeEcdsaWithSha256(), bitString(signature));
}
