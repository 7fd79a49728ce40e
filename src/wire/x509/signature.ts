/**
 * Which keys and signatures are accepted, and how they are written: RFC 5480 (keys on curves), RFC 5758
 * (ECDSA with SHA-2), RFC 8017 appendix A (RSA).
 *
 * @module
 */
import { Fault } from "../../mem/fault.ts";
import { DerReader } from "../asn1/der_reader.ts";
import { objectIdentifier, sequence } from "../asn1/der_writer.ts";
import { Oid } from "../asn1/oid.ts";
import { Tag } from "../asn1/tag.ts";

/** A kind of key. */
export type KeyKind = "P-256" | "P-384" | "RSA";

/** How a certificate is signed. */
export interface SignatureAlgorithm {
  readonly kind: "ECDSA" | "RSA";
  readonly hash: "sha256" | "sha384";
}

const ALGORITHMS: Readonly<Record<string, SignatureAlgorithm>> = {
  [Oid.EcdsaWithSha256]: { kind: "ECDSA", hash: "sha256" },
  [Oid.EcdsaWithSha384]: { kind: "ECDSA", hash: "sha384" },
  [Oid.RsaWithSha256]: { kind: "RSA", hash: "sha256" },
  [Oid.RsaWithSha384]: { kind: "RSA", hash: "sha384" },
};
const NONE: SignatureAlgorithm = { kind: "ECDSA", hash: "sha256" };

const RSA_BYTES_MIN = 256;
const RSA_BYTES_MAX = 1024;
/** An uncompressed point: a byte and two coordinates. */
const POINT_BYTES = { "P-256": 65, "P-384": 97 } as const;
const UNCOMPRESSED = 4;

/** Reads the AlgorithmIdentifier of a certificate's signature. */
export function readSignatureAlgorithm(reader: DerReader, field: string): SignatureAlgorithm {
  const identifier = reader.enter(Tag.Sequence, field);
  const oid = identifier.oid(`${field} algorithm`);
  const found = ALGORITHMS[oid];
  if (found === undefined) {
    identifier.refuse(`${field} ${oid}`, 0, "ECDSA or RSA with SHA-256 or SHA-384", Fault.Feature);
    return NONE;
  }
  if (found.kind === "RSA") identifier.null(`${field} parameters`); // RFC 4055 section 5
  identifier.end(field); // RFC 5758 section 3.2: no parameters
  return found;
}

/** ecdsa-with-SHA256. */
export function writeEcdsaWithSha256(): Uint8Array<ArrayBuffer> {
  return sequence(objectIdentifier(Oid.EcdsaWithSha256));
}

/** Reads what is inside of a SubjectPublicKeyInfo. */
export function readKeyKind(reader: DerReader, field: string): KeyKind {
  const identifier = reader.enter(Tag.Sequence, `${field} algorithm`);
  const algorithm = identifier.oid(`${field} algorithm`);
  if (algorithm === Oid.RsaEncryption) {
    identifier.null(`${field} parameters`);
    identifier.end(`${field} algorithm`);
    readRsaKey(reader, field);
    return "RSA";
  }
  const curve = algorithm === Oid.EcPublicKey ? identifier.oid(`${field} curve`) : "";
  identifier.end(`${field} algorithm`);
  if (curve !== Oid.P256 && curve !== Oid.P384) {
    const name = `${field} ${curve || algorithm}`;
    identifier.refuse(name, 0, "P-256, P-384 or RSA", Fault.Feature);
    return "P-256";
  }
  const kind = curve === Oid.P256 ? "P-256" : "P-384";
  const point = reader.bitOctets(`${field} point`);
  const size = POINT_BYTES[kind];
  if (point.length !== size || point[0] !== UNCOMPRESSED) {
    reader.refuse(`${field} point bytes`, point.length, `${size}, uncompressed`);
  }
  return kind;
}

/** Whether a signature has the form that it must have; ECDSA's has one in DER only. */
export function checkSignature(signature: Uint8Array<ArrayBuffer>, kind: KeyKind): number {
  if (kind === "RSA") return 0; // node:crypto compares all of its bytes
  const reader = new DerReader(signature);
  const pair = reader.enter(Tag.Sequence, "ECDSA-Sig-Value");
  for (const field of ["ECDSA-Sig-Value r", "ECDSA-Sig-Value s"]) {
    const first = pair.integerOctets(field)[0] ?? 0;
    if (first >= 0x80) pair.refuse(field, first, "not negative");
  }
  pair.end("ECDSA-Sig-Value");
  reader.end("ECDSA-Sig-Value");
  return reader.fault;
}

function readRsaKey(reader: DerReader, field: string): void {
  const outer = reader.wrapped(reader.bitOctets(`${field} RSAPublicKey`));
  const key = outer.enter(Tag.Sequence, `${field} RSAPublicKey`);
  const { length } = key.integerOctets(`${field} modulus`);
  key.integer(`${field} publicExponent`);
  key.end(`${field} RSAPublicKey`);
  if (length <= RSA_BYTES_MIN || length > RSA_BYTES_MAX + 1) { // one octet is the sign
    key.refuse(`${field} modulus bytes`, length - 1, `${RSA_BYTES_MIN} to ${RSA_BYTES_MAX}`);
  }
}
