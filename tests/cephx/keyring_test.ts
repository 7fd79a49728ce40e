/** Keyrings in ceph-authtool's format, and the keys in them. */
import assert from "node:assert/strict";
import { decodeKey, encodeKey, generateKey, KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { formatEntityName } from "../../src/wire/cephx/entity_name.ts";
import { formatKeyring, Keyring, parseKeyring } from "../../src/wire/cephx/keyring.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { crypto } from "./pair.ts";

/** Keys of throw-away clusters: 16.2.15 and 20.2.4. */
const AES = "AQAyAAFrEjzVLRAA1ETXZJ8RK1mHf7x/pimH7A==";
const AES256K = "AgBZAgFrNN7GAiAASYXBm5XleWAG9IR8FmGt6lD/LKCUcP1mEQxw+cMwxzg=";
const GW1 = { type: EntityType.Client, id: "gw1" };

/** ceph-authtool 16.2.15 wrote this, with --cap osd 'allow command "foo bar"'. */
const BY_AUTHTOOL = `[mon.]
	key = ${AES}
	caps mon = "allow *"
[client.gw1]
	key = ${AES}
	caps mon = "allow r"
	caps osd = "allow command \\"foo bar\\""
[osd.0]
	key = ${AES256K}
`;

Deno.test("parseKeyring() and formatKeyring() are inverse for what ceph-authtool writes", () => {
  const keyring = parseKeyring(BY_AUTHTOOL);
  assert.equal(keyring.size, 3);
  assert.equal(keyring.get(GW1)?.caps?.get("osd"), 'allow command "foo bar"');
  assert.equal(formatKeyring(keyring.entries()), BY_AUTHTOOL);
  const names = [...keyring.entries()].map(({ name }) => formatEntityName(name));
  assert.deepEqual(names, ["mon.", "client.gw1", "osd.0"]);
});

Deno.test("decodeKey() takes both types apart as Ceph put them together", () => {
  const aes = decodeKey(AES);
  assert.equal(aes.type, KeyType.Aes);
  assert.equal(aes.createdSeconds, 0x6b010032);
  assert.equal(aes.createdNanoseconds, 0x2dd53c12);
  assert.equal(aes.secret.toHex(), "d444d7649f112b59877fbc7fa62987ec");
  assert.equal(encodeKey(aes), AES);
  const aes256k = decodeKey(AES256K);
  assert.equal(aes256k.type, KeyType.Aes256k);
  assert.equal(aes256k.secret.length, 32);
  assert.equal(encodeKey(aes256k), AES256K);
});

Deno.test("generateKey() makes keys that Ceph would take", () => {
  for (const type of [KeyType.Aes, KeyType.Aes256k]) {
    const key = generateKey(crypto, type, 1_795_000_000.25);
    assert.equal(key.createdSeconds, 1_795_000_000);
    assert.equal(key.createdNanoseconds, 250_000_000);
    assert.deepEqual(decodeKey(encodeKey(key)), key);
    assert.notDeepEqual(generateKey(crypto, type, 0).secret, key.secret);
    assert(encodeKey(key).startsWith(type === KeyType.Aes ? "AQ" : "Ag"));
  }
});

/** Ceph 16.2.15 reads each of these the same, but where it says so. */
const LENIENT = [
  { what: "no spaces", lines: `[client.gw1]\nkey=${AES}\ncaps mon=allow r\n` },
  {
    what: "many spaces",
    lines: ` [ client.gw1 ] \n\t key \t=  ${AES}\t\n caps   mon = allow r \n`,
  },
  {
    what: "comments",
    lines: `# a\n; b\n\n[client.gw1] # c\nkey=${AES} ; d\ncaps mon = "allow r" # e`,
  },
  { what: "underscores", lines: `[client.gw1]\nkey = ${AES}\ncaps_mon = allow r` },
  { what: "quotes", lines: `[client.gw1]\nkey = "${AES}"\ncaps mon = 'allow r'\n` },
  { what: "lines of Windows", lines: `[client.gw1]\r\nkey = ${AES}\r\ncaps mon = "allow r"\r\n` },
  {
    what: "words of others",
    lines: `[client.gw1]\nauid = 5\nkey=${AES}\ncaps mon = allow r\nx = y`,
  },
  { what: "[global]", lines: `[global]\nkey = x\n[client.gw1]\nkey=${AES}\ncaps mon = allow r` },
  {
    what: "a section in parts",
    lines: `[client.gw1]\nkey=${AES}\n[client.gw1]\ncaps mon = allow r`,
  },
  { what: "no value", lines: `[client.gw1]\nkey =\nkey=${AES}\ncaps mon = allow r\ncaps osd =\n` },
];

Deno.test.each(LENIENT)("parseKeyring() reads a file with $what", ({ lines }) => {
  const expected = `[client.gw1]\n\tkey = ${AES}\n\tcaps mon = "allow r"\n`;
  assert.equal(formatKeyring(parseKeyring(lines).entries()), expected);
});

Deno.test("parseKeyring() keeps # and ; in quotes, and a backslash that escapes nothing", () => {
  const text = `[client.gw1]\nkey=${AES}\ncaps osd = "allow *; x#y\\z \\\\ \\"q\\""\n`;
  const caps = parseKeyring(text).get(GW1)?.caps;
  assert.equal(caps?.get("osd"), 'allow *; x#y\\z \\ "q"');
  const again = parseKeyring(formatKeyring(parseKeyring(text).entries()));
  assert.deepEqual(again.get(GW1)?.caps, caps);
});

const WRONG = [
  { text: "key = x", error: "Cannot read keyring line 1 as it must stand below a [type.id]" },
  { text: "[client.gw1\n", error: "Cannot read keyring line 1 as it must be [type.id]" },
  { text: "\n[gw1]", error: "Cannot read keyring line 2: Cannot parse entity name" },
  {
    text: "[client.a]\nsecretsecret",
    error: "Cannot read keyring line 2 as it must be word = value",
  },
  {
    text: `[client.a]\nkey = "${AES}`,
    error: "Cannot read keyring line 2 as its value must end with its quote",
  },
  {
    text: "[client.a]\ncaps mon = x",
    error: "Cannot read keyring line 1 as section [client.a] must have a line key = …",
  },
  { text: "[client.a]\nkey = !", error: "Cannot read keyring line 2: Cannot read key" },
];

Deno.test.each(WRONG)("parseKeyring() refuses: $error", ({ text, error }) => {
  assert.throws(() => parseKeyring(text), (thrown: Error) => {
    assert(thrown.message.startsWith(error), thrown.message);
    assert(!thrown.message.includes("secretsecret") && !thrown.message.includes(AES));
    return true;
  });
});

const WRONG_KEYS = [
  { text: "not base64!", error: "Cannot read key as it must be base64: AQ… or Ag…" },
  { text: "", error: "Cannot accept keyring key type" },
  { text: "AAAAAAAAAAAAAAAA", error: "Cannot accept keyring key type" },
  { text: "AwAyAAFrEjzVLRAA1ETXZJ8RK1mHf7x/pimH7A==", error: "Cannot accept keyring key type" },
  { text: "AQAyAAFrEjzVLSAA1ETXZJ8RK1mHf7x/pimH7A==", error: "Cannot accept keyring key length" },
  { text: "AQAyAAFrEjzVLRAA1ETXZJ8RK1mHf7x/pimH", error: "Cannot accept keyring key secret" },
  { text: "AQAyAAFrEjzVLRAA1ETXZJ8RK1mHf7x/pimH7AAA", error: "Cannot read key as nothing may" },
];

Deno.test.each(WRONG_KEYS)("decodeKey() refuses $text", ({ text, error }) => {
  assert.throws(() => decodeKey(text), (thrown: Error) => thrown.message.startsWith(error));
});

Deno.test("a Keyring adds, replaces and removes by name", () => {
  const keyring = new Keyring();
  const key = decodeKey(AES);
  keyring.set({ name: GW1, key });
  keyring.set({ name: { type: EntityType.Osd, id: "gw1" }, key });
  keyring.set({ name: GW1, key: decodeKey(AES256K) });
  assert.equal(keyring.size, 2);
  assert.equal(keyring.get(GW1)?.key.type, KeyType.Aes256k);
  assert(keyring.delete(GW1));
  assert(!keyring.delete(GW1));
  assert.equal(keyring.get(GW1), undefined);
});
