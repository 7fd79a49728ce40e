/** `fairlead keyring`: files that ceph-authtool reads too, never overwritten, never half written. */
import assert from "node:assert/strict";
import { Fairlead } from "./fairlead.ts";

async function scratch(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir();
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

async function hasAuthtool(): Promise<boolean> {
  try {
    await new Deno.Command("ceph-authtool", { args: ["--help"] }).output();
    return true;
  } catch {
    return false;
  }
}

Deno.test("create makes a file of mode 0600 and refuses to overwrite", async () => {
  await using directory = await scratch();
  const path = `${directory.path}/hub.keyring`;
  const created = await Fairlead.run("keyring", "create", path, "client.gw1");
  assert.equal(created.code, 0, created.stderr);
  const text = await Deno.readTextFile(path);
  assert.match(text, /^\[client\.gw1\]\n\tkey = AQ[A-Za-z0-9+/]{34}[A-Za-z0-9+/=]{2}==\n$/);
  if (Deno.build.os !== "windows") assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
  const again = await Fairlead.run("keyring", "create", path, "client.gw2");
  assert.equal(again.code, 1);
  assert.match(again.stderr, /exists already: use "keyring add"/);
  assert.equal(await Deno.readTextFile(path), text);
});

Deno.test("add keeps the others and the mode, replaces only when told, leaves nothing beside", async () => {
  await using directory = await scratch();
  const path = `${directory.path}/hub.keyring`;
  await Fairlead.run("keyring", "create", path, "client.gw1", "--cap", "mon=allow r");
  const first = await Deno.readTextFile(path);
  const added = await Fairlead.run(
    ...["keyring", "add", path, "client.gw2", "--key-type", "aes256k"],
    ...["--cap", "mon=allow *", '--cap=osd=allow rw pool="p 1"'],
  );
  assert.equal(added.code, 0, added.stderr);
  const text = await Deno.readTextFile(path);
  assert.ok(text.startsWith(first));
  assert.match(text, /\[client\.gw2\]\n\tkey = Ag\S+\n\tcaps mon = "allow \*"\n\tcaps osd = .*\n$/);
  const refused = await Fairlead.run("keyring", "add", path, "client.gw1");
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /has its key already: give --replace/);
  assert.equal(await Deno.readTextFile(path), text);
  const told = await Fairlead.run("keyring", "add", path, "client.gw1", "--replace");
  assert.match(told.stderr, /^Key and caps of client\.gw1 in \S+ are replaced\n$/);
  const replaced = await Deno.readTextFile(path);
  assert.notEqual(replaced.split("\n")[1], first.split("\n")[1]);
  assert.equal(replaced.match(/^\[/gm)?.length, 2);
  assert.deepEqual([...Deno.readDirSync(directory.path)].map(({ name }) => name), ["hub.keyring"]);
  if (Deno.build.os !== "windows") assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
});

Deno.test("add refuses a file that is no keyring, and leaves it alone", async () => {
  await using directory = await scratch();
  const path = `${directory.path}/notes.txt`;
  await Deno.writeTextFile(path, "not a keyring\n");
  const { code, stderr } = await Fairlead.run("keyring", "add", path, "client.gw1");
  assert.equal(code, 2);
  assert.match(stderr, /^Cannot read keyring \S+notes\.txt line 1 as it must stand below/);
  const missing = await Fairlead.run("keyring", "add", `${path}.none`, "client.gw1");
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /as it does not exist: use "keyring create"/);
  const empty = `${directory.path}/empty`;
  await Deno.writeTextFile(empty, "");
  const shown = await Fairlead.run("keyring", "show", empty);
  assert.deepEqual(shown, { code: 0, stdout: "", stderr: `No keys in ${empty}\n` });
  assert.equal(await Deno.readTextFile(path), "not a keyring\n");
});

Deno.test("show tells names and caps, and keys only with --secret", async () => {
  await using directory = await scratch();
  const path = `${directory.path}/hub.keyring`;
  await Fairlead.run("keyring", "create", path, "client.gw1", "--cap", "mon=allow r");
  const text = await Deno.readTextFile(path);
  const key = /key = (\S+)/.exec(text)![1]!;
  const plain = await Fairlead.run("keyring", "show", path);
  assert.match(plain.stdout, /^client\.gw1: aes, made \d{4}-.*, mon "allow r"\n$/);
  const json = await Fairlead.run("keyring", "show", path, "client.gw1", "--json");
  assert.ok(!`${plain.stdout}${json.stdout}`.includes(key));
  const { entries } = JSON.parse(json.stdout);
  const { created, ...rest } = entries[0];
  assert.deepEqual(rest, { name: "client.gw1", key_type: "aes", caps: { mon: "allow r" } });
  assert.ok(Math.abs(Date.parse(created) - Date.now()) < 60_000);
  assert.equal((await Fairlead.run("keyring", "show", path, "--secret")).stdout, text);
  const secret = await Fairlead.run("keyring", "show", path, "--secret", "--json");
  assert.equal(JSON.parse(secret.stdout).entries[0].key, key);
  const nobody = await Fairlead.run("keyring", "show", path, "client.gw9");
  assert.equal(nobody.code, 1);
  assert.match(nobody.stderr, /Cannot show client\.gw9 as .* has client\.gw1 only/);
});

Deno.test.each([
  { words: ["create", "x.keyring"], why: /NAME is missing/ },
  { words: ["create", "x.keyring", "gw1"], why: /must be TYPE\.ID/ },
  { words: ["create", "x.keyring", "client."], why: /must be TYPE\.ID, .* is "client\."/ },
  { words: ["create", "x.keyring", "client.a]b"], why: /must have no spaces, brackets/ },
  { words: ["make", "x.keyring", "client.a"], why: /must be create, add or show/ },
  { words: ["add", "x.keyring", "client.a", "--cap", "mon"], why: /must be SERVICE=TEXT/ },
  { words: ["add", "x.keyring", "client.a", "--key-type", "des"], why: /aes or aes256k/ },
])("keyring $words ends with exit 2 and the reason", async ({ words, why }) => {
  const { code, stderr } = await Fairlead.run("keyring", ...words);
  assert.equal(code, 2);
  assert.match(stderr, why);
});

Deno.test("ceph-authtool reads it", { ignore: !(await hasAuthtool()) }, async () => {
  await using directory = await scratch();
  const path = `${directory.path}/hub.keyring`;
  await Fairlead.run("keyring", "create", path, "client.gw1");
  await Fairlead.run("keyring", "add", path, "client.gw2", "--cap", 'mon=allow command "status"');
  const list = await new Deno.Command("ceph-authtool", { args: ["-l", path] }).output();
  assert.ok(list.success);
  assert.equal(new TextDecoder().decode(list.stdout), await Deno.readTextFile(path));
});
