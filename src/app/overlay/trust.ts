/**
 * Whether a certificate is one of ours: a chain of one or two levels to a CA that is trusted, RFC 5280
 * section 6 as far as such chains need it. Nothing is revoked by lists: a certificate ends with its
 * validity, and a node is shut out by the access list.
 *
 * @module
 */
import { sha256, verifySignature } from "../../io/pki.ts";
import { sameOctets } from "../../wire/asn1/octets.ts";
import { Oid } from "../../wire/asn1/oid.ts";
import type { Certificate } from "../../wire/x509/certificate.ts";
import { KeyUsage } from "../../wire/x509/extensions.ts";

/** What a certificate must be made for, and how it is called. */
export const PURPOSES: Readonly<Record<string, string>> = {
  [Oid.ServerAuth]: "serverAuth",
  [Oid.ClientAuth]: "clientAuth",
  [Oid.EmailProtection]: "emailProtection",
};

/** Chains that were found right, by digest. */
const KNOWN_MAX = 1024;
const SHOWN_MAX = 80;

/** The CAs that are trusted. */
export class Trust {
  readonly #roots: readonly Certificate[];
  /** Of the signatures that were verified: certificate and issuer. */
  readonly #known = new Set<string>();

  constructor(roots: readonly Certificate[]) {
    this.#roots = roots;
  }

  /**
   * Null when `leaf` is issued for `purpose` by one of the CAs, or by a CA among `others` that one of
   * them issued; else why not.
   */
  check(
    leaf: Certificate,
    others: readonly Certificate[],
    purpose: string,
    nowMs: number,
  ): string | null {
    const name = nameOf(leaf);
    const own = leafRefusal(leaf, purpose) ?? timeRefusal(name, leaf, nowMs);
    if (own !== null) return own;
    let why: string | null = null;
    for (const root of issuersOf(leaf, this.#roots)) {
      const refusal = this.#issuerRefusal(name, leaf, root, 0, nowMs);
      if (refusal === null) return null;
      why ??= refusal;
    }
    for (const between of issuersOf(leaf, others)) {
      const refusal = this.#issuerRefusal(name, leaf, between, 0, nowMs);
      why ??= refusal;
      if (refusal !== null) continue;
      const nameBetween = `the CA ${shown(between.subjectName.commonName)}`;
      for (const root of issuersOf(between, this.#roots)) {
        const refusalOfRoot = this.#issuerRefusal(nameBetween, between, root, 1, nowMs);
        if (refusalOfRoot === null) return null;
        why ??= refusalOfRoot;
      }
    }
    const trusted = this.#roots.map(({ subjectName }) => shown(subjectName.commonName)).join(", ");
    return why ?? sentence(`${name} as its issuer is no CA that is trusted here`, trusted);
  }

  /** Whether `issuer` may issue, and issued; `below` CAs stand between it and the leaf. */
  #issuerRefusal(
    name: string,
    issued: Certificate,
    issuer: Certificate,
    below: number,
    nowMs: number,
  ): string | null {
    const nameOfIssuer = `the CA ${shown(issuer.subjectName.commonName)}`;
    const { isCa, keyUsage, pathLength } = issuer;
    if (!isCa) return sentence(`${nameOfIssuer} as basicConstraints cA must be TRUE`, "FALSE");
    if (keyUsage !== null && (keyUsage & KeyUsage.KeyCertSign) === 0) {
      return sentence(`${nameOfIssuer} as its keyUsage must have keyCertSign`, bits(keyUsage));
    }
    if (pathLength < below) {
      return sentence(`${nameOfIssuer} as its pathLen must be ${below} or more`, `${pathLength}`);
    }
    const late = timeRefusal(nameOfIssuer, issuer, nowMs);
    if (late !== null || this.#isIssued(issued, issuer)) return late;
    const shownSignature = issued.signature.subarray(0, 8).toHex();
    return sentence(`${name} as its signature is not that of its issuer`, `${shownSignature}...`);
  }

  #isIssued(issued: Certificate, issuer: Certificate): boolean {
    const key = `${sha256(issued.raw).toBase64()}${sha256(issuer.raw).toBase64()}`;
    if (this.#known.has(key)) return true;
    const { signature, signatureAlgorithm: { hash, kind }, tbs } = issued;
    if ((kind === "RSA") !== (issuer.keyKind === "RSA")) return false;
    if (!verifySignature(issuer.spki, hash, tbs, signature)) return false;
    if (this.#known.size === KNOWN_MAX) this.#known.clear();
    this.#known.add(key);
    return true;
  }
}

/** By name, and by key identifier where both tell it. */
function issuersOf(issued: Certificate, among: readonly Certificate[]): Certificate[] {
  const { authorityKeyId, issuer } = issued;
  return among.filter(({ subject, subjectKeyId }) =>
    sameOctets(subject, issuer) &&
    (authorityKeyId.length === 0 || subjectKeyId.length === 0 ||
      sameOctets(authorityKeyId, subjectKeyId))
  );
}

function nameOf({ subjectName }: Certificate): string {
  return `the certificate of ${shown(subjectName.commonName)}`;
}

/** Why a certificate is not made for `purpose`, whoever issued it; null when it is. */
export function leafRefusal(leaf: Certificate, purpose: string): string | null {
  const { extendedKeyUsage, isCa, keyUsage } = leaf;
  const name = nameOf(leaf);
  if (isCa) return sentence(`${name} as basicConstraints cA must be FALSE`, "TRUE, a CA");
  if (keyUsage !== null && (keyUsage & KeyUsage.DigitalSignature) === 0) {
    return sentence(`${name} as its keyUsage must have digitalSignature`, bits(keyUsage));
  }
  if (extendedKeyUsage?.includes(purpose)) return null;
  const found = extendedKeyUsage?.map((oid) => PURPOSES[oid] ?? oid).join(", ") || "none";
  return sentence(`${name} as its extKeyUsage must have ${PURPOSES[purpose] ?? purpose}`, found);
}

function timeRefusal(
  name: string,
  { notAfterMs, notBeforeMs }: Certificate,
  nowMs: number,
): string | null {
  if (nowMs < notBeforeMs) {
    const since = `${name} as it is not valid before ${timeText(notBeforeMs)} (notBefore)`;
    return sentence(since, timeText(nowMs));
  }
  if (nowMs <= notAfterMs) return null;
  return sentence(`${name} as it expired at ${timeText(notAfterMs)} (notAfter)`, timeText(nowMs));
}

/** Why a certificate is not accepted. */
export function sentence(what: string, value: string): string {
  return `Cannot accept ${what}: current value is ${value}`;
}

function bits(keyUsage: number): string {
  return `0x${keyUsage.toString(16).padStart(4, "0")}`;
}

/** A moment for people; whole seconds. */
export function timeText(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? "never" : date.toISOString().replace(".000Z", "Z");
}

/** What a stranger wrote: quoted, in one line, not long. */
export function shown(text: string): string {
  const short = text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}...` : text;
  return JSON.stringify(short).replaceAll(/[^\x20-\x7e]/g, "?");
}
