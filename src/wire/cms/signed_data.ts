/**
 * Signed messages: CMS SignedData, RFC 5652 section 5, read in the one form that is used here: content of
 * type id-data inside, SHA-256, certificates along with it, one signer named by issuer and serial number,
 * signed attributes. Whatever else the syntax allows is refused, so that no bit of a message is without
 * meaning.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { checkDer } from "../asn1/der_check.ts";
import { DerReader } from "../asn1/der_reader.ts";
import { compareOctets, sameOctets } from "../asn1/octets.ts";
import { Oid } from "../asn1/oid.ts";
import { explicitTag, Tag } from "../asn1/tag.ts";
import { type Certificate, readCertificate } from "../x509/certificate.ts";
import { checkSignature } from "../x509/signature.ts";

/** A signed message whose signature is still to be verified. */
export interface SignedData {
  readonly content: Uint8Array<ArrayBuffer>;
  /** The certificate that the signer is named by. */
  readonly signer: Certificate;
  /** Whatever other certificates came along. */
  readonly others: readonly Certificate[];
  /** What is signed: the attributes as a SET, section 5.4. */
  readonly signedAttributes: Uint8Array<ArrayBuffer>;
  readonly signingTimeMs: number;
  /** What the SHA-256 of the content must be. */
  readonly messageDigest: Uint8Array<ArrayBuffer>;
  readonly signature: Uint8Array<ArrayBuffer>;
}

/** CMSVersion 1 of SignedData and SignerInfo: sections 5.1 and 5.3. */
export const CMS_VERSION = 1;
/** `[0]`: content, certificates, signed attributes. */
export const CMS_TAG_0: number = explicitTag(0);
const CRLS_TAG = explicitTag(1);
/** A signer, a CA between, and its root, which some send too. */
const CERTIFICATES_MAX = 4;
const ATTRIBUTES_MAX = 16;
const PIECES_MAX = 1024;
const SHA256_BYTES = 32;

interface SignerInfo {
  readonly issuer: Uint8Array<ArrayBuffer>;
  readonly serial: Uint8Array<ArrayBuffer>;
  /** With the tag `[0]`. */
  readonly attributes: Uint8Array<ArrayBuffer>;
  readonly said: Attributes;
  /** An object identifier. */
  readonly signatureAlgorithm: string;
  readonly signature: Uint8Array<ArrayBuffer>;
}

interface Attributes {
  signingTimeMs: number;
  messageDigest: Uint8Array<ArrayBuffer>;
}

/** Reads a message that fills `bytes`; a negated `Fault` when it is none. */
export function readSignedData(bytes: Uint8Array<ArrayBuffer>): SignedData | number {
  const checked = checkDer(bytes);
  if (checked < 0) return checked;
  const reader = new DerReader(bytes);
  const data = enterSignedData(reader);
  const version = data.integer("SignedData version");
  if (version !== CMS_VERSION) data.refuse("SignedData version", version, `${CMS_VERSION}`);
  const algorithms = data.enter(Tag.Set, "digestAlgorithms");
  readSha256(algorithms, "digestAlgorithms");
  algorithms.end("digestAlgorithms");
  const content = readContent(data);
  const certificates = data.enter(CMS_TAG_0, "certificates");
  const encoded: Uint8Array<ArrayBuffer>[] = [];
  while (certificates.more) encoded.push(certificates.element(Tag.Sequence, "certificates"));
  if (data.is(CRLS_TAG)) data.refuse("crls", CRLS_TAG, "absent", Fault.Feature);
  const signers = data.enter(Tag.Set, "signerInfos");
  const info = readSignerInfo(signers);
  signers.end("signerInfos, of which one is read,");
  data.end("SignedData");
  if (reader.fault < 0) return reader.fault;
  if (encoded.length > CERTIFICATES_MAX) {
    return fail(Fault.Large, "certificates", -1, encoded.length, `1 to ${CERTIFICATES_MAX}`);
  }
  return withSigner(encoded, info, content);
}

/** Finds the signer's certificate: section 5.3, issuerAndSerialNumber. */
function withSigner(
  encoded: readonly Uint8Array<ArrayBuffer>[],
  info: SignerInfo,
  content: Uint8Array<ArrayBuffer>,
): SignedData | number {
  const others: Certificate[] = [];
  let signer: Certificate | null = null;
  for (const one of encoded) {
    const certificate = readCertificate(one);
    if (typeof certificate === "number") return certificate;
    if (signer === null && isNamed(certificate, info)) signer = certificate;
    else others.push(certificate);
  }
  if (signer === null) {
    return fail(Fault.Auth, "certificates", -1, encoded.length, "with that of the signer in it");
  }
  const wanted = signer.keyKind === "RSA"
    ? [Oid.RsaEncryption, Oid.RsaWithSha256] // RFC 3370 section 3.2 and RFC 5754 section 3.2
    : [Oid.EcdsaWithSha256];
  if (!wanted.some((oid) => oid === info.signatureAlgorithm)) {
    const field = `SignerInfo signatureAlgorithm ${info.signatureAlgorithm}`;
    return fail(Fault.Feature, field, -1, 0, `${wanted.join(" or ")} for a ${signer.keyKind} key`);
  }
  const fault = checkSignature(info.signature, signer.keyKind);
  if (fault < 0) return fault;
  const signedAttributes = info.attributes.slice();
  signedAttributes[0] = Tag.Set; // section 5.4: not [0], which stands in the message
  const { messageDigest, signingTimeMs } = info.said;
  const { signature } = info;
  return { content, signer, others, signedAttributes, signingTimeMs, messageDigest, signature };
}

function isNamed({ issuer, serial }: Certificate, info: SignerInfo): boolean {
  return sameOctets(issuer, info.issuer) && sameOctets(serial, info.serial);
}

/** ContentInfo: section 3. */
function enterSignedData(reader: DerReader): DerReader {
  const info = reader.enter(Tag.Sequence, "ContentInfo");
  expectOid(info, "ContentInfo contentType", Oid.SignedData);
  const wrapper = info.enter(CMS_TAG_0, "ContentInfo content");
  info.end("ContentInfo");
  const data = wrapper.enter(Tag.Sequence, "SignedData");
  wrapper.end("ContentInfo content");
  return data;
}

/** EncapsulatedContentInfo: section 5.2. */
function readContent(data: DerReader): Uint8Array<ArrayBuffer> {
  const info = data.enter(Tag.Sequence, "encapContentInfo");
  expectOid(info, "eContentType", Oid.Data);
  const wrapper = info.enter(CMS_TAG_0, "eContent, which may not be detached,");
  info.end("encapContentInfo");
  const whole = !wrapper.is(Tag.OctetStringInPieces);
  const content = whole ? wrapper.content(Tag.OctetString, "eContent") : readPieces(wrapper);
  wrapper.end("eContent");
  return content;
}

/** An OCTET STRING in pieces, none of which is in pieces again. */
function readPieces(wrapper: DerReader): Uint8Array<ArrayBuffer> {
  const reader = wrapper.enter(Tag.OctetStringInPieces, "eContent");
  const pieces: Uint8Array[] = [];
  while (reader.more) {
    if (pieces.length === PIECES_MAX) {
      reader.refuse("eContent pieces", PIECES_MAX + 1, `up to ${PIECES_MAX}`, Fault.Large);
    }
    pieces.push(reader.content(Tag.OctetString, "eContent piece"));
  }
  const content = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    content.set(piece, at);
    at += piece.length;
  }
  return content;
}

/** Section 5.3. */
function readSignerInfo(signers: DerReader): SignerInfo {
  const info = signers.enter(Tag.Sequence, "SignerInfo");
  const version = info.integer("SignerInfo version");
  if (version !== CMS_VERSION) info.refuse("SignerInfo version", version, `${CMS_VERSION}`);
  const id = info.enter(Tag.Sequence, "issuerAndSerialNumber");
  const issuer = id.element(Tag.Sequence, "issuerAndSerialNumber issuer");
  const serial = id.integerOctets("issuerAndSerialNumber serialNumber");
  id.end("issuerAndSerialNumber");
  readSha256(info, "SignerInfo digestAlgorithm");
  const attributes = info.element(CMS_TAG_0, "signedAttrs");
  const said = readAttributes(info.wrapped(attributes).enter(CMS_TAG_0, "signedAttrs"));
  const algorithm = info.enter(Tag.Sequence, "SignerInfo signatureAlgorithm");
  const signatureAlgorithm = algorithm.oid("SignerInfo signatureAlgorithm");
  const isRsa = signatureAlgorithm.startsWith(RSA_ARC);
  if (isRsa) algorithm.null("SignerInfo signatureAlgorithm parameters");
  algorithm.end("SignerInfo signatureAlgorithm");
  const signature = info.content(Tag.OctetString, "SignerInfo signature");
  info.end("SignerInfo, which may have no unsignedAttrs,");
  return { issuer, serial, attributes, said, signatureAlgorithm, signature };
}

/** PKCS #1. */
const RSA_ARC = Oid.RsaEncryption.slice(0, -1);

/** Section 11. Attributes that are not known here are signed like the others, and mean nothing. */
function readAttributes(set: DerReader): Attributes {
  const said: Attributes = { signingTimeMs: NaN, messageDigest: new Uint8Array(0) };
  const seen = new Set<string>();
  let last: Uint8Array | null = null;
  while (set.more) {
    const whole = set.element(Tag.Sequence, "signedAttrs attribute");
    // Section 5.4: what is signed is DER, so it is in order.
    if (last !== null && compareOctets(last, whole) >= 0) {
      set.refuse("signedAttrs attribute", seen.size, "in the order of DER");
    }
    last = whole;
    const attribute = set.wrapped(whole).enter(Tag.Sequence, "signedAttrs attribute");
    const type = attribute.oid("signedAttrs attrType");
    if (seen.has(type)) set.refuse(`signedAttrs ${type}`, 2, "1", Fault.Field);
    if (seen.size === ATTRIBUTES_MAX) {
      set.refuse("signedAttrs", seen.size + 1, `up to ${ATTRIBUTES_MAX}`, Fault.Large);
    }
    seen.add(type);
    const values = attribute.enter(Tag.Set, "signedAttrs attrValues");
    attribute.end("signedAttrs attribute");
    if (readAttribute(type, values, said)) values.end(`signedAttrs attrValues of ${type}`);
  }
  for (const type of [Oid.ContentType, Oid.MessageDigest, Oid.SigningTime]) {
    if (!seen.has(type)) set.refuse(`signedAttrs ${type}`, 0, "there", Fault.Short);
  }
  return said;
}

/** True when it is one that has one value. */
function readAttribute(type: string, values: DerReader, said: Attributes): boolean {
  if (type === Oid.ContentType) expectOid(values, "signedAttrs contentType", Oid.Data);
  else if (type === Oid.SigningTime) said.signingTimeMs = values.time("signingTime");
  else if (type === Oid.MessageDigest) {
    said.messageDigest = values.content(Tag.OctetString, "messageDigest");
    const { length } = said.messageDigest;
    if (length !== SHA256_BYTES) values.refuse("messageDigest bytes", length, `${SHA256_BYTES}`);
  } else return false;
  return true;
}

/** RFC 5754 section 2: parameters absent, or NULL from older ones. */
function readSha256(reader: DerReader, field: string): void {
  const identifier = reader.enter(Tag.Sequence, field);
  expectOid(identifier, field, Oid.Sha256);
  if (identifier.is(Tag.Null)) identifier.null(`${field} parameters`);
  identifier.end(field);
}

function expectOid(reader: DerReader, field: string, wanted: string): void {
  const oid = reader.oid(field);
  if (oid !== wanted) reader.refuse(`${field} ${oid}`, 0, wanted, Fault.Feature);
}
