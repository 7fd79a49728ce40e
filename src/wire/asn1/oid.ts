/**
 * Object identifiers that certificates and signed messages name: RFC 5280 appendix A, RFC 5480,
 * RFC 5652 section 11, RFC 5758, RFC 8017 appendix C; and their octets, X.690 section 8.19.
 *
 * @module
 */

/** By the names that the documents give them. */
export const Oid = {
  CommonName: "2.5.4.3",
  OrganizationalUnitName: "2.5.4.11",
  EmailAddress: "1.2.840.113549.1.9.1",

  SubjectKeyIdentifier: "2.5.29.14",
  KeyUsage: "2.5.29.15",
  SubjectAltName: "2.5.29.17",
  BasicConstraints: "2.5.29.19",
  AuthorityKeyIdentifier: "2.5.29.35",
  ExtendedKeyUsage: "2.5.29.37",
  ServerAuth: "1.3.6.1.5.5.7.3.1",
  ClientAuth: "1.3.6.1.5.5.7.3.2",
  EmailProtection: "1.3.6.1.5.5.7.3.4",

  EcPublicKey: "1.2.840.10045.2.1",
  P256: "1.2.840.10045.3.1.7",
  P384: "1.3.132.0.34",
  RsaEncryption: "1.2.840.113549.1.1.1",
  EcdsaWithSha256: "1.2.840.10045.4.3.2",
  EcdsaWithSha384: "1.2.840.10045.4.3.3",
  RsaWithSha256: "1.2.840.113549.1.1.11",
  RsaWithSha384: "1.2.840.113549.1.1.12",
  Sha256: "2.16.840.1.101.3.4.2.1",

  SignedData: "1.2.840.113549.1.7.2",
  Data: "1.2.840.113549.1.7.1",
  ContentType: "1.2.840.113549.1.9.3",
  MessageDigest: "1.2.840.113549.1.9.4",
  SigningTime: "1.2.840.113549.1.9.5",
} as const;

/** Arcs of one identifier. */
const ARCS_MAX = 20;
const ARC_MAX = 2 ** 31;
/** Below 0 and 1 there are 40 arcs each; X.690 section 8.19.4 joins the first two. */
const SECOND_ARCS = 40;

/** The octets after tag and length. */
export function oidBytes(oid: string): Uint8Array<ArrayBuffer> {
  const [first = 0, second = 0, ...rest] = oid.split(".").map(Number);
  const octets: number[] = [];
  for (const arc of [first * SECOND_ARCS + second, ...rest]) {
    const digits = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      digits.unshift(0x80 | (left & 0x7f));
    }
    octets.push(...digits);
  }
  return Uint8Array.from(octets);
}

/** The identifier in dotted form; null when the octets are none, or not the shortest. */
export function oidText(octets: Uint8Array): string | null {
  const arcs: number[] = [];
  let arc = 0;
  let begun = false;
  for (const octet of octets) {
    if (!begun && octet === 0x80) return null; // X.690 section 8.19.2: no leading zeros
    arc = arc * 128 + (octet & 0x7f);
    if (arc > ARC_MAX || arcs.length > ARCS_MAX) return null;
    begun = (octet & 0x80) !== 0;
    if (begun) continue;
    arcs.push(arc);
    arc = 0;
  }
  const joined = arcs[0];
  if (joined === undefined || begun) return null;
  const first = Math.min(2, Math.floor(joined / SECOND_ARCS));
  return [first, joined - first * SECOND_ARCS, ...arcs.slice(1)].join(".");
}
