/**
 * A CA and nodes for tests of the overlay: made by what `fairlead overlay keys` uses, in memory and in a
 * directory that is removed again.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type Authority, makeAuthority, makeNode } from "../../src/app/overlay/authority.ts";
import { type Identity, loadIdentity, type Role } from "../../src/app/overlay/identity.ts";
import { SigningKey } from "../../src/io/pki.ts";
import { Oid } from "../../src/wire/asn1/oid.ts";
import {
  type Certificate,
  readCertificate,
  type WantedCertificate,
  writeCertificate,
  writeTbsCertificate,
} from "../../src/wire/x509/certificate.ts";
import { writeName } from "../../src/wire/x509/name.ts";
import { readPem } from "../../src/wire/x509/pem.ts";

/** The moment that certificates of tests are made at: whole seconds. */
export const NOW_MS = Date.UTC(2026, 10, 22, 12);

/** The first certificate of a text in PEM. */
export function certificateOf(pem: string): Certificate {
  const certificate = readCertificate(readPem(pem, "CERTIFICATE")[0]!);
  assert.ok(typeof certificate !== "number", "it is a certificate");
  return certificate;
}

/** One CA, with a directory of its own. */
export class Pki implements Authority, AsyncDisposable {
  readonly dir: string;
  readonly caPem: string;
  readonly certificate: Certificate;
  readonly key: SigningKey;
  readonly #madeMs: number;

  private constructor(dir: string, name: string, madeMs: number) {
    const made = makeAuthority(name, 3650, madeMs);
    this.dir = dir;
    this.caPem = made.certificatePem;
    this.certificate = certificateOf(made.certificatePem);
    this.key = SigningKey.read(made.keyPem);
    this.#madeMs = madeMs;
  }

  static async make(name = "overlay CA", madeMs = NOW_MS): Promise<Pki> {
    const pki = new Pki(await Deno.makeTempDir(), name, madeMs);
    await pki.write("ca.pem", pki.caPem);
    return pki;
  }

  /** Makes a node's files, and loads them as its daemon does. */
  async identity(name: string, role: Role, email = ""): Promise<Identity> {
    const made = makeNode(this, { name, role, email }, 825, this.#madeMs);
    const certificate = await this.write(`${name}.pem`, made.certificatePem);
    const key = await this.write(`${name}.key`, made.keyPem);
    return await loadIdentity({ certificate, key, ca: `${this.dir}/ca.pem` }, this.#madeMs);
  }

  /** A node's certificate that nothing is wrong with, and then what is. */
  issue(changes: Partial<WantedCertificate>, issuer: Authority = this): Authority {
    const key = SigningKey.generate();
    const tbs = writeTbsCertificate({
      serial: Uint8Array.of(1, 2),
      issuer: issuer.certificate.subject,
      subject: writeName({ commonName: "west1", organizationalUnit: "node" }),
      notBeforeMs: NOW_MS - 1000,
      notAfterMs: NOW_MS + 1000,
      spki: key.spki,
      node: { extendedKeyUsage: [Oid.EmailProtection], dnsName: "west1", email: "" },
      subjectKeyId: Uint8Array.of(1),
      authorityKeyId: issuer.certificate.subjectKeyId,
      ...changes,
    });
    const certificate = readCertificate(writeCertificate(tbs, issuer.key.sign(tbs)));
    assert.ok(typeof certificate !== "number", "it is a certificate");
    return { certificate, key };
  }

  /** A file that only its owner reads; returns its path. */
  async write(name: string, text: string): Promise<string> {
    const path = `${this.dir}/${name}`;
    await Deno.writeTextFile(path, text, { mode: 0o600 });
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }
}
