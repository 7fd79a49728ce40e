/**
 * The extensions of a certificate that say what it is for: RFC 5280 section 4.2.1. A critical extension
 * that is none of them is refused, as section 4.2 asks for.
 *
 * @module
 */
import { Fault } from "../../mem/fault.ts";
import type { DerReader } from "../asn1/der_reader.ts";
import {
  bitString,
  booleanTrue,
  element,
  integer,
  objectIdentifier,
  octetString,
  sequence,
} from "../asn1/der_writer.ts";
import { Oid } from "../asn1/oid.ts";
import { explicitTag, implicitTag, Tag } from "../asn1/tag.ts";

/** Bits of keyUsage as {@linkcode DerReader.namedBits} has them: section 4.2.1.3. */
export const KeyUsage = {
  DigitalSignature: 0x8000,
  KeyCertSign: 0x0400,
  CrlSign: 0x0200,
} as const;

/** What the extensions say. */
export interface Extensions {
  isCa: boolean;
  /** Certificates of CAs that may follow; Infinity when it is not said. */
  pathLength: number;
  /** Bits of {@linkcode KeyUsage}; null when it is not said. */
  keyUsage: number | null;
  /** Object identifiers; null when it is not said. */
  extendedKeyUsage: string[] | null;
  /** dNSName entries of subjectAltName. */
  dnsNames: string[];
  /** rfc822Name entries of subjectAltName. */
  emails: string[];
  /** Empty when it is not said. */
  subjectKeyId: Uint8Array<ArrayBuffer>;
  /** The keyIdentifier; empty when it is not said. */
  authorityKeyId: Uint8Array<ArrayBuffer>;
}

/** What a certificate of our own has. */
export interface WantedExtensions {
  /** Null for a CA that signs nodes only, else what a node is for. */
  readonly node: {
    readonly extendedKeyUsage: readonly string[];
    readonly dnsName: string;
    /** Empty for none. */
    readonly email: string;
  } | null;
  readonly subjectKeyId: Uint8Array;
  readonly authorityKeyId: Uint8Array;
}

const EXTENSIONS_MAX = 32;
const NAMES_MAX = 64;
/** GeneralName: section 4.2.1.6. */
const RFC822_NAME = implicitTag(1);
const DNS_NAME = implicitTag(2);
const KEY_IDENTIFIER = implicitTag(0);
const EMPTY = new Uint8Array(0);

/** Of a certificate that has none. */
export function noExtensions(): Extensions {
  return {
    isCa: false,
    pathLength: Infinity,
    keyUsage: null,
    extendedKeyUsage: null,
    dnsNames: [],
    emails: [],
    subjectKeyId: EMPTY,
    authorityKeyId: EMPTY,
  };
}

/** Reads what is inside of `[3]`. */
export function readExtensions(outer: DerReader): Extensions {
  const into = noExtensions();
  const seen = new Set<string>();
  const list = outer.enter(Tag.Sequence, "extensions");
  while (list.more) {
    const extension = list.enter(Tag.Sequence, "extension");
    const oid = extension.oid("extension extnID");
    const critical = extension.is(Tag.Boolean) && extension.boolean(`extension ${oid} critical`);
    const content = extension.content(Tag.OctetString, `extension ${oid} extnValue`);
    extension.end(`extension ${oid}`);
    if (seen.has(oid)) extension.refuse(`extensions ${oid}`, 2, "1");
    if (seen.size === EXTENSIONS_MAX) extension.refuse("extensions", seen.size + 1, "up to 32");
    seen.add(oid);
    const read = READERS[oid];
    if (read !== undefined) {
      const value = extension.wrapped(content);
      read(value, into);
      value.end(`extension ${oid} extnValue`);
    } else if (critical) {
      extension.refuse(`critical extension ${oid}`, 1, "one that is known here", Fault.Feature);
    }
  }
  outer.end("extensions");
  return into;
}

const READERS: Readonly<Record<string, (value: DerReader, into: Extensions) => void>> = {
  [Oid.BasicConstraints](value, into): void {
    const constraints = value.enter(Tag.Sequence, "basicConstraints");
    if (constraints.is(Tag.Boolean)) into.isCa = constraints.boolean("basicConstraints cA");
    if (constraints.more) into.pathLength = constraints.integer("basicConstraints pathLen");
    constraints.end("basicConstraints");
  },
  [Oid.KeyUsage](value, into): void {
    into.keyUsage = value.namedBits("keyUsage");
  },
  [Oid.ExtendedKeyUsage](value, into): void {
    const purposes = value.enter(Tag.Sequence, "extKeyUsage");
    const found: string[] = [];
    while (purposes.more) found.push(purposes.oid("extKeyUsage KeyPurposeId"));
    if (found.length > NAMES_MAX) value.refuse("extKeyUsage purposes", found.length, "up to 64");
    into.extendedKeyUsage = found;
  },
  [Oid.SubjectAltName](value, into): void {
    const names = value.enter(Tag.Sequence, "subjectAltName");
    for (let count = 0; names.more; count++) {
      if (count === NAMES_MAX) names.refuse("subjectAltName names", count + 1, "up to 64");
      if (names.is(DNS_NAME)) into.dnsNames.push(ascii(names, DNS_NAME, "dNSName"));
      else if (names.is(RFC822_NAME)) into.emails.push(ascii(names, RFC822_NAME, "rfc822Name"));
      else names.skip("subjectAltName GeneralName");
    }
  },
  [Oid.SubjectKeyIdentifier](value, into): void {
    into.subjectKeyId = value.content(Tag.OctetString, "subjectKeyIdentifier");
  },
  [Oid.AuthorityKeyIdentifier](value, into): void {
    const parts = value.enter(Tag.Sequence, "authorityKeyIdentifier");
    if (parts.is(KEY_IDENTIFIER)) {
      into.authorityKeyId = parts.content(KEY_IDENTIFIER, "authorityKeyIdentifier");
    }
    while (parts.more) parts.skip("authorityKeyIdentifier");
  },
};

function ascii(reader: DerReader, tag: number, field: string): string {
  const octets = reader.content(tag, `subjectAltName ${field}`);
  const strange = octets.find((octet) => octet < 0x21 || octet > 0x7e);
  if (strange !== undefined) reader.refuse(`subjectAltName ${field}`, strange, "printable ASCII");
  return new TextDecoder().decode(octets);
}

/** The extensions of a CA's or a node's certificate, for `[3]`. */
export function writeExtensions(
  { authorityKeyId, node, subjectKeyId }: WantedExtensions,
): Uint8Array<ArrayBuffer> {
  const identifiers = [
    extension(Oid.SubjectKeyIdentifier, octetString(subjectKeyId)),
    extension(Oid.AuthorityKeyIdentifier, sequence(element(KEY_IDENTIFIER, authorityKeyId))),
  ];
  if (node === null) {
    return sequence(
      // No CA below it.
      extension(Oid.BasicConstraints, sequence(booleanTrue(), integer(0)), true),
      extension(Oid.KeyUsage, usage(KeyUsage.KeyCertSign | KeyUsage.CrlSign), true),
      ...identifiers,
    );
  }
  const encoder = new TextEncoder();
  const names = [element(DNS_NAME, encoder.encode(node.dnsName))];
  if (node.email !== "") names.push(element(RFC822_NAME, encoder.encode(node.email)));
  return sequence(
    extension(Oid.BasicConstraints, sequence(), true),
    extension(Oid.KeyUsage, usage(KeyUsage.DigitalSignature), true),
    extension(Oid.ExtendedKeyUsage, sequence(...node.extendedKeyUsage.map(objectIdentifier))),
    extension(Oid.SubjectAltName, sequence(...names)),
    ...identifiers,
  );
}

function extension(oid: string, value: Uint8Array, critical = false): Uint8Array<ArrayBuffer> {
  const flag = critical ? [booleanTrue()] : [];
  return sequence(objectIdentifier(oid), ...flag, octetString(value));
}

/** The named bits, of which only the first eight are used here. */
function usage(bits: number): Uint8Array<ArrayBuffer> {
  const octet = bits >>> 8;
  return bitString(Uint8Array.of(octet), 31 - Math.clz32(octet & -octet));
}

/** `[3]`, for the end of a TBSCertificate. */
export const EXTENSIONS_TAG: number = explicitTag(3);
