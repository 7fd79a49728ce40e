/**
 * Distinguished names: RFC 5280 section 4.1.2.4. Of a name only the common name, the organizational unit
 * and the e-mail address are taken out; names are compared as their bytes, which is stricter than RFC
 * 5280 section 7.1 and what issuers that copy their own subject satisfy.
 *
 * @module
 */
import type { DerReader } from "../asn1/der_reader.ts";
import { element, objectIdentifier, sequence, utf8String } from "../asn1/der_writer.ts";
import { Oid } from "../asn1/oid.ts";
import { Tag } from "../asn1/tag.ts";

/** What is taken out of a name; empty for what it does not have. */
export interface Name {
  readonly commonName: string;
  readonly organizationalUnit: string;
  readonly email: string;
}

/** Attributes in one name. */
const ATTRIBUTES_MAX = 32;
/** ub-common-name and its likes are 64 characters, an e-mail address 255. */
const VALUE_BYTES_MAX = 512;
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Reads what is inside of a Name. */
export function readName(reader: DerReader, field: string): Name {
  const values = new Map<string, string>();
  for (let count = 0; reader.more; count++) {
    if (count === ATTRIBUTES_MAX) reader.refuse(`${field} attributes`, count, `below ${count}`);
    const set = reader.enter(Tag.Set, `${field} RelativeDistinguishedName`);
    while (set.more) {
      const pair = set.enter(Tag.Sequence, `${field} AttributeTypeAndValue`);
      const type = pair.oid(`${field} attribute type`);
      if (type === Oid.CommonName || type === Oid.OrganizationalUnitName) {
        if (values.has(type)) pair.refuse(`${field} attributes of type ${type}`, 2, "1");
        values.set(type, readText(pair, `${field} value of ${type}`));
      } else if (type === Oid.EmailAddress) {
        values.set(type, readText(pair, `${field} emailAddress`));
      } else pair.skip(`${field} attribute value`);
      pair.end(`${field} AttributeTypeAndValue`);
    }
  }
  return {
    commonName: values.get(Oid.CommonName) ?? "",
    organizationalUnit: values.get(Oid.OrganizationalUnitName) ?? "",
    email: values.get(Oid.EmailAddress) ?? "",
  };
}

/** A Name of an organizational unit, unless it is empty, and a common name. */
export function writeName(
  { commonName, organizationalUnit }: Pick<Name, "commonName" | "organizationalUnit">,
): Uint8Array<ArrayBuffer> {
  const parts = [
    [Oid.OrganizationalUnitName, organizationalUnit],
    [Oid.CommonName, commonName],
  ] as const;
  return sequence(
    ...parts.filter(([, value]) => value !== "").map(([type, value]) =>
      element(Tag.Set, sequence(objectIdentifier(type), utf8String(value)))
    ),
  );
}

function readText(reader: DerReader, field: string): string {
  const tag = [Tag.Utf8String, Tag.PrintableString, Tag.Ia5String].find((one) => reader.is(one));
  const octets = reader.content(tag ?? Tag.Utf8String, field);
  if (octets.length > VALUE_BYTES_MAX) {
    reader.refuse(`${field} bytes`, octets.length, `up to ${VALUE_BYTES_MAX}`);
    return "";
  }
  try {
    return decoder.decode(octets);
  } catch {
    reader.refuse(`${field} bytes`, octets.length, "UTF-8");
    return "";
  }
}
