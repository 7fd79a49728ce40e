/**
 * Who this box is, and who others are, by X.509 certificates: the common name is a node's name, the
 * organizational unit its role. What is wrong with a file is told with the file's name and what to do.
 *
 * @module
 */
import { wallSeconds } from "../../io/clock.ts";
import { SigningKey } from "../../io/pki.ts";
import { describeFault } from "../../mem/fault.ts";
import { sameOctets } from "../../wire/asn1/octets.ts";
import { Oid } from "../../wire/asn1/oid.ts";
import { type Certificate, readCertificate } from "../../wire/x509/certificate.ts";
import { readPem } from "../../wire/x509/pem.ts";
import { leafRefusal, PURPOSES, sentence, shown, Trust } from "./trust.ts";

/** What a certificate's owner may be. */
export type Role = "manager" | "node" | "operator";

/** Who a certificate says that its owner is. */
export interface Peer {
  /** The common name. */
  readonly name: string;
  /** The organizational unit. */
  readonly role: Role;
  /** Empty when it has none. */
  readonly email: string;
}

/** Where the parts of an identity are, in PEM. */
export interface IdentityFiles {
  /** The node's certificate, and after it the CA that issued it when that is not among `ca`. */
  readonly certificate: string;
  /** Its private key; nobody but its owner may read it. */
  readonly key: string;
  /** The CAs that are trusted: one or more certificates. */
  readonly ca: string;
}

/** The words that may stand in the organizational unit. */
export const ROLES: readonly Role[] = ["manager", "node", "operator"];

/** Of a TLSSocket of node:tls, what is asked here. */
export interface TlsPeer {
  readonly authorized: boolean;
  readonly authorizationError?: unknown;
  /** An empty object, or null, when it has none. */
  getPeerCertificate(): { readonly raw?: Uint8Array } | null;
}

/** Names go into messages, files and shells of others. */
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/;
const EMAIL = /^[A-Za-z0-9.!#$%&*+/=?^_{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}$/;
const FILE_BYTES_MAX = 1024 * 1024;
const ROOTS_MAX = 64;
/** The node's own and one CA between it and the root. */
const OWN_MAX = 2;
const OTHERS_MODE = 0o077;

interface IdentityParts {
  readonly peer: Peer;
  readonly pems: { readonly certificate: string; readonly key: string; readonly ca: string };
  readonly certificates: readonly [Certificate, ...Certificate[]];
  readonly key: SigningKey;
  readonly trust: Trust;
}

/** Who this box is. Printed or put into JSON it shows no key. */
export class Identity implements Peer {
  readonly name: string;
  readonly role: Role;
  readonly email: string;
  readonly certificatePem: string;
  readonly caPem: string;
  readonly certificate: Certificate;
  /** CAs between this certificate and the root. */
  readonly others: readonly Certificate[];
  readonly trust: Trust;
  readonly #key: SigningKey;
  readonly #keyPem: string;

  constructor({ certificates, key, peer, pems, trust }: IdentityParts) {
    const [certificate, ...others] = certificates;
    this.name = peer.name;
    this.role = peer.role;
    this.email = peer.email;
    this.certificatePem = pems.certificate;
    this.caPem = pems.ca;
    this.certificate = certificate;
    this.others = others;
    this.trust = trust;
    this.#key = key;
    this.#keyPem = pems.key;
  }

  /** For node:tls only. */
  get keyPem(): string {
    return this.#keyPem;
  }

  /** ECDSA with SHA-256: an ECDSA-Sig-Value. */
  sign(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    return this.#key.sign(bytes);
  }
}

/**
 * Reads and checks the three files.
 *
 * @throws with the file, its present value and the remedy
 */
export async function loadIdentity(
  files: IdentityFiles,
  nowMs: number = wallSeconds() * 1000,
): Promise<Identity> {
  const caPem = await readText("CA", files.ca);
  const roots = readCertificates("CA", files.ca, caPem, ROOTS_MAX);
  const certificatePem = await readText("certificate", files.certificate);
  const certificates = readCertificates("certificate", files.certificate, certificatePem, OWN_MAX);
  const [certificate, ...others] = certificates;
  const peer = peerOfCertificate(certificate);
  if (typeof peer === "string") {
    throw unusable("certificate", files.certificate, peer, MAKE_ANOTHER);
  }
  const trust = new Trust(roots);
  for (const purpose of Object.keys(PURPOSES)) {
    const why = trust.check(certificate, others, purpose, nowMs);
    if (why === null) continue;
    const remedy = `give the CA that issued it (now ${files.ca}), or ${MAKE_ANOTHER}`;
    throw unusable("certificate", files.certificate, why, remedy);
  }
  if (!certificate.dnsNames.includes(peer.name)) {
    const found = certificate.dnsNames.join(", ") || "none";
    const why = `its subjectAltName must have DNS:${peer.name}: current value is ${found}`;
    throw unusable("certificate", files.certificate, why, MAKE_ANOTHER);
  }
  await checkMode(files.key);
  const keyPem = await readText("key", files.key);
  const key = readKey(files.key, keyPem);
  if (!sameOctets(key.spki, certificate.spki)) {
    const why = `it is not the key of the certificate ${files.certificate}, of ${peer.name}`;
    throw unusable("key", files.key, why, "give the two that were made together");
  }
  const pems = { certificate: certificatePem, key: keyPem, ca: caPem };
  return new Identity({ peer, pems, certificates, key, trust });
}

/**
 * Who is at the other end of TLS, or why that is nobody. That the chain is right is TLS's to say
 * (`requestCert` and `rejectUnauthorized`); but a server that asked for no certificate calls its peer
 * authorized too, so that no certificate is a refusal here.
 */
export function peerOf(socket: TlsPeer): Peer | string {
  const raw = socket.getPeerCertificate()?.raw;
  if (raw === undefined || raw.length === 0) return "the peer showed no certificate";
  if (!socket.authorized) {
    return `the peer's certificate is not trusted: current value is ${socket.authorizationError}`;
  }
  const certificate = readCertificate(new Uint8Array(raw));
  if (typeof certificate === "number") return describeFault();
  if (certificate.isCa) return "the peer's certificate is that of a CA";
  // TLS takes one that tells no purpose for one of all purposes.
  const refusal = leafRefusal(certificate, Oid.ServerAuth) ??
    leafRefusal(certificate, Oid.ClientAuth);
  return refusal ?? peerOfCertificate(certificate);
}

/** Who a certificate names, or why that is nobody here. The chain is not looked at. */
export function peerOfCertificate({ emails, subjectName }: Certificate): Peer | string {
  const { commonName: name, organizationalUnit } = subjectName;
  if (!isName(name)) {
    return sentence(
      "a certificate as its CN must be a name of letters, digits, . _ -",
      shown(name),
    );
  }
  const role = ROLES.find((one) => one === organizationalUnit);
  if (role === undefined) {
    const what = `the certificate of ${name} as its OU must be ${ROLES.join(", ")}`;
    return sentence(what, shown(organizationalUnit));
  }
  const email = emails[0] ?? subjectName.email;
  if (email === "" || isEmail(email)) return { name, role, email };
  return sentence(`the certificate of ${name} as its e-mail address is none`, shown(email));
}

/** Whether a text can be the common name of a certificate. */
export function isName(text: string): boolean {
  return NAME.test(text);
}

/** Whether a text can be an e-mail address in a certificate. */
export function isEmail(text: string): boolean {
  return EMAIL.test(text);
}

/** Certificates in PEM, at least one. Throws with the file's name. */
export function readCertificates(
  what: string,
  path: string,
  pem: string,
  countMax: number,
): [Certificate, ...Certificate[]] {
  const blocks = readPem(pem, "CERTIFICATE");
  const found: Certificate[] = [];
  if (blocks.length > countMax) {
    const why = `it must hold up to ${countMax} certificates: current value is ${blocks.length}`;
    throw unusable(what, path, why, "leave out those that nobody needs");
  }
  for (const [index, block] of blocks.entries()) {
    const read = block === null ? "its base64 is wrong" : readCertificate(block);
    if (typeof read === "object") found.push(read);
    else {
      const why = typeof read === "number" ? describeFault() : read;
      throw unusable(what, path, `its certificate ${index + 1} is none: ${why}`, MAKE_ANOTHER);
    }
  }
  const [first, ...rest] = found;
  if (first !== undefined) return [first, ...rest];
  throw unusable(what, path, "it holds no certificate in PEM", MAKE_ANOTHER);
}

/** A private key in PEM. Throws with the file's name, and with nothing of what is in it. */
export function readKey(path: string, pem: string): SigningKey {
  try {
    return SigningKey.read(pem);
  } catch (error) {
    const why = `it must be a P-256 key that is not encrypted: ${(error as Error).message}`;
    throw unusable("key", path, why, MAKE_ANOTHER);
  }
}

/** The text of a file. Throws with its name and what it is for. */
export async function readText(what: string, path: string): Promise<string> {
  try {
    const { isFile, size } = await Deno.stat(path);
    if (isFile && size <= FILE_BYTES_MAX) return await Deno.readTextFile(path);
  } catch (error) {
    throw unusable(what, path, (error as Error).message, MAKE_ANOTHER);
  }
  throw unusable(what, path, `it must be a file of up to ${FILE_BYTES_MAX} bytes`, MAKE_ANOTHER);
}

/** As ssh does with its keys. Throws with the command that mends it. */
export async function checkMode(path: string): Promise<void> {
  const mode = await Deno.stat(path).then((found) => found.mode, () => null);
  if (mode === null || (mode & OTHERS_MODE) === 0) return; // what is not there is told when it is read
  const now = (mode & 0o7777).toString(8).padStart(4, "0");
  const why = `nobody but its owner may reach it: current mode is ${now}`;
  throw unusable("key", path, why, `run chmod 600 ${path}`);
}

const MAKE_ANOTHER = 'make one with "fairlead overlay keys init" (a CA) or "... keys node NAME"';

function unusable(what: string, path: string, why: string, remedy: string): Error {
  const link = why.startsWith("Cannot") ? ":" : " as";
  return new Error(`Cannot use ${what} ${path}${link} ${why}; ${remedy}`);
}
