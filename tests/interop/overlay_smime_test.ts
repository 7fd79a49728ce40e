/**
 * Signed datagrams and certificates of the overlay with Debian's openssl: it verifies what we sign, we
 * verify what it signs, and it makes identities that we load.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type Identity, loadIdentity } from "../../src/app/overlay/identity.ts";
import { SignedDatagrams } from "../../src/app/overlay/signed_datagram.ts";
import { Pki } from "../app/overlay_pki.ts";
import { type Finished, hasProgram, must, run } from "./processes.ts";

const ignore = !(await hasProgram("openssl")) && Deno.env.get("CI") !== "true";
const TEXT = "(xbonecontrol 1.0 0.1.0 7\n (release))XBoneEOC\n";
/** openssl looks at the present, in whole seconds. */
const PRESENT_MS = Math.floor(Date.now() / 1000) * 1000;

/** A CA, a manager, a message in a file. */
class Bench implements AsyncDisposable {
  readonly pki: Pki;
  readonly manager: Identity;

  private constructor(pki: Pki, manager: Identity) {
    this.pki = pki;
    this.manager = manager;
  }

  static async make(): Promise<Bench> {
    const pki = await Pki.make("overlay CA", PRESENT_MS);
    await pki.write("message", TEXT);
    return new Bench(pki, await pki.identity("om1", "manager", "ops@example.net"));
  }

  path(name: string): string {
    return `${this.pki.dir}/${name}`;
  }

  /** What our verifier says of a file that openssl made. */
  async verify(name: string): Promise<ReturnType<SignedDatagrams["verify"]>> {
    const datagram = await Deno.readFile(this.path(name));
    return new SignedDatagrams(this.manager).verify(datagram, Date.now());
  }

  sign(signer: string, words: readonly string[] = [], out = "signed"): Promise<string> {
    return must([
      ...["openssl", "cms", "-sign", "-binary", "-nodetach", "-in", this.path("message")],
      ...["-signer", this.path(`${signer}.pem`), "-inkey", this.path(`${signer}.key`)],
      ...["-outform", "DER", "-out", this.path(out), ...words],
    ]);
  }

  /** A key of a kind, and a certificate for it that openssl issues. */
  async issue(name: string, role: string, key: readonly string[], issuer = "ca"): Promise<void> {
    const [command = "", ...words] = key;
    await must(["openssl", command, "-out", this.path(`${name}.key`), ...words]);
    await Deno.chmod(this.path(`${name}.key`), 0o600);
    await this.pki.write(
      `${name}.cnf`,
      "basicConstraints=critical,CA:" + (role === "ca" ? "TRUE,pathlen:0\n" : "FALSE\n") +
        "keyUsage=critical," + (role === "ca" ? "keyCertSign\n" : "digitalSignature\n") +
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n" +
        (role === "ca" ? "" : "extendedKeyUsage=serverAuth,clientAuth,emailProtection\n" +
          `subjectAltName=DNS:${name},email:${name}@example.net\n`),
    );
    const request = await must([
      ...["openssl", "req", "-new", "-key", this.path(`${name}.key`)],
      ...["-subj", `/OU=${role}/CN=${name}`],
    ]);
    await this.pki.write(`${name}.csr`, request);
    const sign = issuer === "" ? ["-key", this.path(`${name}.key`)] : [
      ...["-CA", this.path(`${issuer}.pem`), "-CAkey", this.path(`${issuer}.key`)],
    ];
    await must([
      ...["openssl", "x509", "-req", "-days", "30", "-in", this.path(`${name}.csr`)],
      ...[...sign, "-extfile", this.path(`${name}.cnf`), "-out", this.path(`${name}.pem`)],
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pki[Symbol.asyncDispose]();
  }
}

const P256 = ["ecparam", "-genkey", "-noout", "-name", "prime256v1"];
const P384 = ["ecparam", "-genkey", "-noout", "-name", "secp384r1"];
const RSA = ["genrsa", "2048"];

function refusedWith({ code, stderr }: Finished, why: RegExp): void {
  assert.notEqual(code, 0);
  assert.match(stderr, why);
}

Deno.test({
  name: "openssl verifies what we sign, by cms and by smime, and refuses it when it was changed",
  ignore,
  async fn(): Promise<void> {
    await using bench = await Bench.make();
    await using foreign = await Pki.make("another CA", PRESENT_MS);
    const signed = new SignedDatagrams(bench.manager).sign(new TextEncoder().encode(TEXT));
    await Deno.writeFile(bench.path("ours"), signed);
    for (const command of ["cms", "smime"]) {
      const argv = [
        ...["openssl", command, "-verify", "-inform", "DER", "-CAfile", bench.path("ca.pem")],
        ...["-signer", bench.path("said"), "-in"],
      ];
      assert.equal(await must([...argv, bench.path("ours")]), TEXT);
      const subject = await must([
        "openssl",
        "x509",
        "-noout",
        "-subject",
        "-in",
        bench.path("said"),
      ]);
      assert.match(subject, /OU ?= ?manager, CN ?= ?om1/);
      const flipped = signed.slice();
      flipped[flipped.length - 20]! ^= 1;
      await Deno.writeFile(bench.path("flipped"), flipped);
      refusedWith(await run([...argv, bench.path("flipped")]), /[Vv]erification failure/);
      const other = argv.with(6, `${foreign.dir}/ca.pem`);
      refusedWith(await run([...other, bench.path("ours")]), /certificate verify error/);
    }
  },
});

Deno.test({
  name: "openssl finds our certificates right for TLS and for mail, by its strict rules",
  ignore,
  async fn(): Promise<void> {
    await using bench = await Bench.make();
    const argv = ["openssl", "verify", "-x509_strict", "-CAfile", bench.path("ca.pem")];
    for (
      const words of [
        ["-purpose", "sslserver", "-verify_hostname", "om1"],
        ["-purpose", "sslclient"],
        ["-purpose", "smimesign", "-verify_email", "ops@example.net"],
      ]
    ) {
      assert.match(await must([...argv, ...words, bench.path("om1.pem")]), /om1\.pem: OK/);
    }
    const ca = ["-check_ss_sig", "-purpose", "any", bench.path("ca.pem")];
    assert.match(await must([...argv, ...ca]), /ca\.pem: OK/);
    const ofCertificate = ["openssl", "x509", "-noout", "-pubkey", "-in", bench.path("om1.pem")];
    const ofKey = ["openssl", "pkey", "-pubout", "-in", bench.path("om1.key")];
    assert.equal(await must(ofCertificate), await must(ofKey));
  },
});

const SIGNERS = [
  { kind: "P-256", key: P256 },
  { kind: "P-384", key: P384 },
  { kind: "RSA-2048", key: RSA },
];

for (const { key, kind } of SIGNERS) {
  Deno.test({
    name: `we verify what openssl signs with ${kind}, with and without its extras`,
    ignore,
    async fn(): Promise<void> {
      await using bench = await Bench.make();
      await bench.pki.write("ca.key", bench.pki.key.writePem());
      await bench.issue("west1", "node", key);
      for (const words of [[], ["-nosmimecap"], ["-certfile", bench.path("ca.pem")]]) {
        await bench.sign("west1", words);
        const result = await bench.verify("signed");
        assert.ok("content" in result, JSON.stringify(result));
        assert.equal(new TextDecoder().decode(result.content), TEXT);
        assert.deepEqual(result.signer, {
          name: "west1",
          role: "node",
          email: "west1@example.net",
        });
      }
      await must([
        ...["openssl", "smime", "-sign", "-binary", "-nodetach", "-in", bench.path("message")],
        ...["-signer", bench.path("west1.pem"), "-inkey", bench.path("west1.key"), "-md", "sha256"],
        ...["-outform", "DER", "-out", bench.path("smime")],
      ]);
      assert.ok("content" in await bench.verify("smime"));
    },
  });
}

/** Ways of openssl that are not ours. */
const OTHERWISE = [
  { words: ["-stream"], why: /DER length .* definite/ },
  { words: ["-md", "sha512"], why: /digestAlgorithms 2\.16\.840\.1\.101\.3\.4\.2\.3/ },
  { words: ["-md", "sha1"], why: /digestAlgorithms 1\.3\.14\.3\.2\.26/ },
  { words: ["-nocerts"], why: /certificates/ },
  { words: ["-noattr"], why: /signedAttrs tag/ },
  { words: ["-keyid"], why: /version/ },
  { words: ["-econtent_type", "1.2.3"], why: /version|eContentType 1\.2\.3/ },
];

for (const { why, words } of OTHERWISE) {
  Deno.test({
    name: `what openssl signs with ${words.join(" ")} is refused with its reason`,
    ignore,
    async fn(): Promise<void> {
      await using bench = await Bench.make();
      await bench.sign("om1", words);
      const result = await bench.verify("signed");
      assert.ok("refusal" in result);
      assert.match(result.refusal, why);
    },
  });
}

Deno.test({
  name: "an identity of openssl's own CA is loaded, over a CA between too, and speaks with itself",
  ignore,
  async fn(): Promise<void> {
    await using bench = await Bench.make();
    await must([
      ...[
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-nodes",
      ],
      ...["-keyout", bench.path("root.key"), "-out", bench.path("root.pem"), "-subj", "/CN=root"],
    ]);
    await bench.issue("between", "ca", P256, "root");
    await bench.issue("west2", "operator", P256, "between");
    const own = await Deno.readTextFile(bench.path("west2.pem"));
    const certificate = await bench.pki.write(
      "chain.pem",
      own + await Deno.readTextFile(bench.path("between.pem")),
    );
    const files = { certificate, key: bench.path("west2.key"), ca: bench.path("root.pem") };
    const datagrams = new SignedDatagrams(await loadIdentity(files));
    const content = new TextEncoder().encode(TEXT);
    const signed = datagrams.sign(content);
    const signer = { name: "west2", role: "operator", email: "west2@example.net" };
    assert.deepEqual(datagrams.verify(signed, Date.now()), { content, signer });
    await Deno.writeFile(bench.path("ours"), signed);
    const verify = ["openssl", "cms", "-verify", "-inform", "DER", "-in", bench.path("ours")];
    assert.equal(await must([...verify, "-CAfile", bench.path("root.pem")]), TEXT);
    await assert.rejects(
      loadIdentity({ ...files, certificate: bench.path("west2.pem") }),
      /its issuer is no CA that is trusted here/,
    );
  },
});
