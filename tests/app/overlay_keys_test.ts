/** `fairlead overlay keys`, the identities that are loaded from its files, and mutual TLS with them. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type TLSSocket } from "node:tls";
import { UsageError } from "../../src/app/args.ts";
import { run } from "../../src/app/commands/overlay/keys.ts";
import { type Identity, loadIdentity, type Peer, peerOf } from "../../src/app/overlay/identity.ts";
import { PURPOSES } from "../../src/app/overlay/trust.ts";
import { writePem } from "../../src/wire/x509/pem.ts";
import { Fairlead } from "./fairlead.ts";
import { NOW_MS, Pki } from "./overlay_pki.ts";

async function scratch(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir();
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

function modeOf(path: string): number {
  return Deno.statSync(path).mode! & 0o777;
}

Deno.test("init and node make files that a daemon loads, and tell what to copy where", async () => {
  await using directory = await scratch();
  const dir = `${directory.path}/keys`;
  const made = await Fairlead.run(
    "overlay",
    "keys",
    "init",
    "--dir",
    dir,
    "--name",
    "Test CA",
    "--days",
    "30",
  );
  assert.equal(made.code, 0, made.stderr);
  assert.equal(made.stdout, "");
  assert.match(made.stderr, /^Made \S+ca\.pem and \S+ca\.key: Test CA, ca, until \d{4}-/);
  assert.match(
    made.stderr,
    /Next, for each box: fairlead overlay keys node NAME --dir \S+\nKeep \S+ca\.key here/,
  );
  const node = await Fairlead.run(
    "overlay",
    "keys",
    "node",
    "om1",
    "--dir",
    dir,
    "--role",
    "manager",
    "--email",
    "a@b.example",
    "--json",
  );
  assert.equal(node.code, 0, node.stderr);
  assert.equal(node.stderr, "");
  const told = JSON.parse(node.stdout);
  assert.deepEqual(Object.keys(told), [
    "certificate",
    "key",
    "ca",
    "name",
    "role",
    "email",
    "expires",
  ]);
  const { certificate, key, ca } = told;
  const identity = await loadIdentity({ certificate, key, ca });
  assert.deepEqual([identity.name, identity.role, identity.email], [
    "om1",
    "manager",
    "a@b.example",
  ]);
  assert.deepEqual([key, `${dir}/ca.key`, dir].map(modeOf), [0o600, 0o600, 0o700]);
  const leaf = new X509Certificate(await Deno.readTextFile(certificate));
  const authority = new X509Certificate(await Deno.readTextFile(ca));
  assert.ok(leaf.verify(authority.publicKey) && leaf.checkIssued(authority));
  assert.equal(
    leaf.validToDate.getTime(),
    authority.validToDate.getTime(),
    "not longer than its CA",
  );
  const shown = await Fairlead.run("overlay", "keys", "show", "--dir", dir);
  assert.match(
    shown.stdout,
    /^Test CA {2}ca {7}until \S+Z\nom1 {6}manager {2}until \S+Z {2}a@b\.example\n$/,
  );
  for (const { stderr, stdout } of [made, node, shown]) {
    assert.doesNotMatch(stdout + stderr, /PRIVATE|BEGIN/);
  }
  const left = [...Deno.readDirSync(dir)].map(({ name }) => name).sort();
  assert.deepEqual(left, ["ca.key", "ca.pem", "om1.key", "om1.pem"], "nothing half written");
});

Deno.test("nothing is overwritten without --force, and a CA lost takes its nodes with it", async () => {
  await using directory = await scratch();
  const { path } = directory;
  const dir = ["--json", "--dir", path];
  assert.equal(await run(["init", ...dir]), 0);
  assert.equal(await run(["node", "west1", ...dir]), 0);
  const before = await Deno.readTextFile(`${path}/west1.pem`);
  await assert.rejects(
    run(["node", "west1", ...dir]),
    /west1\.key as it exists already: give --force .*or another NAME/,
  );
  await assert.rejects(
    run(["init", ...dir]),
    /ca\.key as it exists already: give --force .*worthless, or another --dir/,
  );
  assert.equal(await Deno.readTextFile(`${path}/west1.pem`), before);
  assert.equal(await run(["node", "west1", "--force", ...dir]), 0);
  assert.notEqual(await Deno.readTextFile(`${path}/west1.pem`), before);
  assert.equal(await run(["init", "--force", ...dir]), 0);
  const files = {
    certificate: `${path}/west1.pem`,
    key: `${path}/west1.key`,
    ca: `${path}/ca.pem`,
  };
  await assert.rejects(
    loadIdentity(files),
    /west1\.pem: .*its issuer is no CA that is trusted here.*; give the CA that issued it/,
  );
});

/** Words that are wrong, and what is said. */
const WRONG = [
  { words: ["make"], why: /ACTION as it must be init, node or show: current value is "make"/ },
  { words: ["node"], why: /NAME is missing/ },
  {
    words: ["node", "West1"],
    why: /NAME as it must be .*small letters.*: current value is "West1"/,
  },
  { words: ["node", "ca"], why: /not "ca"/ },
  { words: ["node", "../west1"], why: /NAME as it must be/ },
  { words: ["node", "-a"], why: /no flag -a/ },
  { words: ["node", "a".repeat(64)], why: /1 to 63/ },
  { words: ["node", "west1", "--email", "a b@c"], why: /--email as it must be an e-mail address/ },
  {
    words: ["node", "west1", "--role", "king"],
    why: /--role as it must be manager or node or operator/,
  },
  { words: ["node", "west1", "--days", "0"], why: /--days as it must be a whole number from 1/ },
  { words: ["init", "west1"], why: /NAME is for node only/ },
  { words: ["init", "--name", "a\nb"], why: /--name as it must be 1 to 64/ },
  {
    words: ["node", "west1", "--dir", "/nowhere"],
    why: /there is no \/nowhere\/ca\.pem: run "fairlead overlay keys init"/,
  },
  { words: ["show", "--dir", "/nowhere"], why: /there is no \/nowhere/ },
];

Deno.test.each(WRONG)("keys $words is refused", async ({ words, why }) => {
  await assert.rejects(
    run(words),
    (error: Error) => error instanceof UsageError && why.test(error.message),
  );
});

/** Files of a node, of which one is to be wrong. */
async function filesOf(
  pki: Pki,
  name = "west1",
): Promise<{ certificate: string; key: string; ca: string }> {
  await pki.identity(name, "node");
  return {
    certificate: `${pki.dir}/${name}.pem`,
    key: `${pki.dir}/${name}.key`,
    ca: `${pki.dir}/ca.pem`,
  };
}

Deno.test("an identity that cannot be used is told with file, value and remedy", async () => {
  await using pki = await Pki.make();
  const files = await filesOf(pki);
  const other = await filesOf(pki, "west2");
  const text = await pki.write("text.pem", "hello");
  const broken = await pki.write(
    "broken.pem",
    (await Deno.readTextFile(files.certificate)).replace(/\nMI/, "\nMA"),
  );
  const none = `${pki.dir}/none`;
  const lateMs = NOW_MS + 826 * 86_400_000;
  const rows: readonly [Partial<typeof files>, number, RegExp][] = [
    [
      { certificate: none },
      NOW_MS,
      /Cannot use certificate \S+none as No such file.*; make one with "fairlead/,
    ],
    [
      { certificate: text },
      NOW_MS,
      /certificate \S+text\.pem as it holds no certificate in PEM; make/,
    ],
    [
      { certificate: broken },
      NOW_MS,
      /broken\.pem as its certificate 1 is none: Cannot accept DER/,
    ],
    [
      { certificate: files.ca },
      NOW_MS,
      /ca\.pem: Cannot .* its CN must be a name of letters.*"overlay CA"/,
    ],
    [
      { ca: files.certificate },
      NOW_MS,
      /west1\.pem: .*issuer is no CA that is trusted here: current value is "west1"; give the CA/,
    ],
    [{ ca: pki.dir }, NOW_MS, /Cannot use CA \S+ as it must be a file/],
    [
      { key: other.key },
      NOW_MS,
      /west2\.key as it is not the key of the certificate \S+west1\.pem, of west1; give the two/,
    ],
    [
      { key: files.certificate },
      NOW_MS,
      /west1\.pem as it must be a P-256 key .*: it holds no private key in PEM/,
    ],
    [{}, lateMs, /west1\.pem: .*it expired at 2029-\S+ \(notAfter\): current value is 2029/],
    [{}, NOW_MS - 7_200_000, /west1\.pem: .*not valid before .*\(notBefore\)/],
  ];
  for (const [change, nowMs, why] of rows) {
    await assert.rejects(loadIdentity({ ...files, ...change }, nowMs), why);
  }
});

Deno.test("a key that others may read is refused, with the command that mends it", async () => {
  await using pki = await Pki.make();
  const files = await filesOf(pki);
  for (const mode of [0o640, 0o604, 0o610]) {
    await Deno.chmod(files.key, mode);
    const now = mode.toString(8).padStart(4, "0");
    const why = new RegExp(
      `west1\\.key as nobody .*: current mode is ${now}; run chmod 600 \\S+west1\\.key`,
    );
    await assert.rejects(loadIdentity(files, NOW_MS), why);
  }
  await Deno.chmod(files.key, 0o400);
  assert.equal((await loadIdentity(files, NOW_MS)).name, "west1");
});

Deno.test("an encrypted key is refused, and nothing of it is in the message", async () => {
  await using pki = await Pki.make();
  const files = await filesOf(pki);
  const pem = await Deno.readTextFile(files.key);
  const key = await pki.write("locked.key", pem.replaceAll("PRIVATE", "ENCRYPTED PRIVATE"));
  const error = await loadIdentity({ ...files, key }, NOW_MS).catch((thrown: Error) => thrown);
  assert.ok(error instanceof Error);
  assert.match(error.message, /locked\.key as .*: it is encrypted; make one/);
  assert.ok(!error.message.includes(pem.split("\n")[1]!.slice(0, 12)));
});

Deno.test("a certificate that lacks a purpose, or its own name for TLS, is told", async () => {
  await using pki = await Pki.make();
  const files = await filesOf(pki);
  const extendedKeyUsage = Object.keys(PURPOSES);
  for (
    const [node, why] of [
      [
        { extendedKeyUsage, dnsName: "west2", email: "" },
        /must have DNS:west1: current value is west2/,
      ],
      [
        { extendedKeyUsage: extendedKeyUsage.slice(1), dnsName: "west1", email: "" },
        /have serverAuth/,
      ],
    ] as const
  ) {
    const { certificate, key } = pki.issue({ node });
    await pki.write("west1.pem", writePem("CERTIFICATE", certificate.raw));
    await pki.write("west1.key", key.writePem());
    await assert.rejects(loadIdentity(files, NOW_MS), why);
  }
});

/** What either end of TLS is given. */
interface TlsOptions {
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
  readonly requestCert?: boolean;
  readonly rejectUnauthorized?: boolean;
}

interface Met {
  /** What each end says of the other; null when it came to nothing. */
  readonly atServer: Peer | string | null;
  readonly atClient: Peer | string | null;
}

/** One TLS connection between a server and a client. */
async function meet(server: TlsOptions, client: TlsOptions): Promise<Met> {
  const listening: Server = createServer(server);
  const found: { atServer: Met["atServer"]; atClient: Met["atClient"] } = {
    atServer: null,
    atClient: null,
  };
  const sockets: TLSSocket[] = [];
  const served = new Promise<void>((resolve) => {
    listening.on("tlsClientError", () => resolve());
    listening.on("secureConnection", (socket: TLSSocket) => {
      sockets.push(socket);
      socket.on("error", () => {});
      found.atServer = peerOf(socket);
      socket.end("x");
      resolve();
    });
  });
  listening.listen(0, "127.0.0.1");
  await once(listening, "listening");
  const { port } = listening.address() as AddressInfo;
  const socket = connect({ host: "127.0.0.1", port, servername: "west1", ...client });
  socket.on("error", () => {});
  socket.on("secureConnect", () => found.atClient = peerOf(socket));
  socket.resume();
  await Promise.all([served, once(socket, "close").catch(() => {})]);
  for (const one of sockets) one.destroy();
  await new Promise<void>((resolve) => listening.close(() => resolve()));
  return found;
}

function tlsOf({ caPem, certificatePem, keyPem }: Identity): TlsOptions {
  return {
    ca: caPem,
    cert: certificatePem,
    key: keyPem,
    requestCert: true,
    rejectUnauthorized: true,
  };
}

Deno.test("both ends of TLS know each other by their certificates, and strangers do not come in", async () => {
  await using pki = await Pki.make("overlay CA", Date.now());
  await using foreign = await Pki.make("overlay CA", Date.now());
  const node = await pki.identity("west1", "node");
  const manager = await pki.identity("om1", "manager", "a@b.example");
  const met = await meet(tlsOf(node), tlsOf(manager));
  assert.deepEqual(met.atServer, { name: "om1", role: "manager", email: "a@b.example" });
  assert.deepEqual(met.atClient, { name: "west1", role: "node", email: "" });
  const stranger = { ...tlsOf(await foreign.identity("om2", "manager")), ca: pki.caPem };
  assert.equal((await meet(tlsOf(node), stranger)).atServer, null, "a foreign CA");
  assert.equal((await meet(tlsOf(node), { ca: pki.caPem })).atServer, null, "no certificate");
  const careless = { ...tlsOf(node), requestCert: false };
  assert.equal(
    (await meet(careless, { ca: pki.caPem })).atServer,
    "the peer showed no certificate",
  );
});

Deno.test("a peer that TLS does not trust, or without a certificate for it, is nobody", async () => {
  const none = { authorized: true, getPeerCertificate: () => ({}) };
  assert.equal(peerOf(none), "the peer showed no certificate");
  assert.equal(
    peerOf({ ...none, getPeerCertificate: () => null }),
    "the peer showed no certificate",
  );
  const raw = Uint8Array.of(0x30, 0);
  const wrong = { authorized: true, getPeerCertificate: () => ({ raw }) };
  assert.match(peerOf(wrong) as string, /^Cannot accept tbsCertificate/);
  const untrusted = {
    authorized: false,
    authorizationError: "CERT_X",
    getPeerCertificate: () => ({ raw }),
  };
  assert.equal(peerOf(untrusted), "the peer's certificate is not trusted: current value is CERT_X");
  await using pki = await Pki.make();
  const forMail = pki.issue({}).certificate;
  const mail = { authorized: true, getPeerCertificate: () => ({ raw: forMail.raw }) };
  assert.match(peerOf(mail) as string, /extKeyUsage must have serverAuth.*emailProtection/);
});
