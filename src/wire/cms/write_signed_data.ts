/**
 * Writes a signed message: CMS SignedData, RFC 5652 section 5, with ECDSA and SHA-256, and nothing in
 * it that could be left out.
 *
 * @module
 */
import {
  element,
  integer,
  integerOf,
  objectIdentifier,
  octetString,
  sequence,
  setOf,
  time,
} from "../asn1/der_writer.ts";
import { Oid } from "../asn1/oid.ts";
import { Tag } from "../asn1/tag.ts";
import type { Certificate } from "../x509/certificate.ts";
import { writeEcdsaWithSha256 } from "../x509/signature.ts";
import { CMS_TAG_0, CMS_VERSION } from "./signed_data.ts";

/** What is put around the content. */
export interface SignedParts {
  /** As {@linkcode writeSignedAttributes} made them. */
  readonly signedAttributes: Uint8Array;
  /** An ECDSA-Sig-Value over them. */
  readonly signature: Uint8Array;
  readonly signer: Certificate;
  /** CAs between the signer and the root. */
  readonly others: readonly Certificate[];
}

/** The SET that is to be signed: section 5.4. */
export function writeSignedAttributes(
  messageDigest: Uint8Array,
  signingTimeMs: number,
): Uint8Array<ArrayBuffer> {
  return setOf(
    attribute(Oid.ContentType, objectIdentifier(Oid.Data)),
    attribute(Oid.SigningTime, time(signingTimeMs)),
    attribute(Oid.MessageDigest, octetString(messageDigest)),
  );
}

/** The whole message. */
export function writeSignedData(
  content: Uint8Array,
  { others, signature, signedAttributes, signer }: SignedParts,
): Uint8Array<ArrayBuffer> {
  const sha256 = sequence(objectIdentifier(Oid.Sha256));
  const attributes = Uint8Array.from(signedAttributes);
  attributes[0] = CMS_TAG_0;
  const signerInfo = sequence(
    integer(CMS_VERSION),
    sequence(signer.issuer, integerOf(signer.serial)),
    sha256,
    attributes,
    writeEcdsaWithSha256(),
    octetString(signature),
  );
  const certificates = setOf(signer.raw, ...others.map(({ raw }) => raw));
  certificates[0] = CMS_TAG_0;
  const data = sequence(
    integer(CMS_VERSION),
    setOf(sha256),
    sequence(objectIdentifier(Oid.Data), element(CMS_TAG_0, octetString(content))),
    certificates,
    element(Tag.Set, signerInfo),
  );
  return sequence(objectIdentifier(Oid.SignedData), element(CMS_TAG_0, data));
}

function attribute(type: string, value: Uint8Array): Uint8Array<ArrayBuffer> {
  return sequence(objectIdentifier(type), element(Tag.Set, value));
}
