/**
 * ceph.conf, mon_host and search paths. Expected values marked "16.2" are what ceph-conf and
 * `monmaptool --generate` of Ceph 16.2.15 answered for the same text.
 */
import assert from "node:assert/strict";
import {
  CephConf,
  confMons,
  confPaths,
  type ConfReader,
  formatMonAddress,
  keyringPaths,
  parseCephConf,
  parseMonHost,
} from "../../src/app/ceph_conf.ts";
import { type Environment, loadCephSettings } from "../../src/app/ceph_settings.ts";

const ADMIN: ConfReader = {
  cluster: "t",
  type: "client",
  id: "admin",
  host: "box",
  pid: 42,
  home: "/root",
};

const WHOLE = `; comment
# comment
[global]
fsid=0e6bbf0c-6d6f-4b8e-9a77-3f1f2d1c0a55  ; trailing
mon host = 10.0.0.1, 10.0.0.2 # trailing
  log file = /var/log/$cluster-$name.$type.$id
keyring = "/etc/x y/k" ; q
a_b-c d = 1
admin socket = a\\
b
dup = one
dup = two
esc = a\\;b\\#c
empty =
mon_host  =  v2:1.2.3.4:3300
[client]
keyring = /c/$name.keyring
[client.admin]
mon-host = 9.9.9.9
[client.other]
host = h
[mon.a]
host = foo
`;

/** 16.2 for client.admin, file called t.conf; mon_host apart, which names another section's here. */
const WHOLE_VALUES = [
  { key: "fsid", value: "0e6bbf0c-6d6f-4b8e-9a77-3f1f2d1c0a55" },
  { key: "log file", value: "/var/log/t-client.admin.client.admin" },
  { key: "log-file", value: "/var/log/t-client.admin.client.admin" },
  { key: "mon_host", value: "9.9.9.9" },
  { key: "keyring", value: "/c/client.admin.keyring" },
  { key: "a b c-d", value: "1" },
  { key: "admin_socket", value: "ab" },
  { key: "dup", value: "two" },
  { key: "esc", value: "a;b#c" },
  { key: "empty", value: "" },
  { key: "host", value: null },
];

Deno.test.each(WHOLE_VALUES)("parseCephConf() reads $key", ({ key, value }) => {
  assert.equal(parseCephConf(WHOLE, "t.conf").value(key, ADMIN), value);
});

/** One [global] line and the value of its option: all 16.2, but for the last three. */
const LINES = [
  { line: "keyring = 'xy'", value: "xy" },
  { line: 'keyring = "a \\" b\\n"', value: 'a " bn' },
  { line: "keyring = it's", value: "it's" },
  { line: "keyring = a\\\n   b", value: "a   b" },
  { line: "keyring = a#b;c", value: "a" },
  { line: 'keyring = a "b" c', value: 'a "b" c' },
  { line: "keyring = v\r", value: "v" },
  { line: "keyring = a\\b", value: "ab" },
  { line: "keyring = a \\\\ b", value: "a \\ b" },
  { line: "keyring = a  b", value: "a  b" },
  { line: "keyring = a = b", value: "a = b" },
  { line: "keyring = a # c \\\nother = k", value: "a" },
  { line: "keyring = ${cluster}-$namex", value: "t-$namex" },
  { line: "keyring = a-$unknown-b", value: "a-$unknown-b" },
  { line: "keyring = ${cluster}-$$x", value: "t-$$x" },
  { line: "keyring = $keyring_x$type.${type}s$id", value: "$keyring_xclient.clientsadmin" },
  { line: "mon_host = h1\nkeyring = $mon_host", value: "h1" },
  { line: "mon--host = 5\nkeyring = g", value: "g" },
  { line: "[client.admin]\nkeyring =\n[global]\nkeyring = g", value: "" },
  { line: "[CLIENT]\nkeyring = up", value: null },
  { line: "Keyring = up", value: null },
  { line: "keyring = $host.$pid.$home", value: "box.42./root" },
  { line: 'keyring = "a # b" ; c', value: "a # b" },
  { line: "[ client.admin ] # c\nkeyring = g", value: "g" },
];

Deno.test.each(LINES)("parseCephConf() reads $line", ({ line, value }) => {
  assert.equal(parseCephConf(`[global]\n${line}\n`, "t.conf").value("keyring", ADMIN), value);
});

const WRONG_LINES = [
  {
    text: "[global]\nlog file\n",
    says: 'line 2 as it must be [section], key = value or a comment: current value is "log file"',
  },
  {
    text: "a = 1\n[global]",
    says: 'line 1 as it must be inside a [section]: current value is "a = 1"',
  },
  {
    text: "[global\na = 2",
    says: 'line 1 as it must be [section], key = value or a comment: current value is "[global"',
  },
  {
    text: "[glob=al\na = 2",
    says: 'line 1 as it must be [section], key = value or a comment: current value is "[glob=al"',
  },
  {
    text: "[global]\n = y",
    says: 'line 2 as it must be [section], key = value or a comment: current value is "= y"',
  },
  {
    text: '[global]\n\nk = "open',
    says: 'line 3 as it must be closed with ": current value is "k = \\"open"',
  },
  {
    text: '[global]\nk = "a" junk',
    says:
      'line 2 as it must be empty or a comment behind the closing quote: current value is "k = \\"a\\" junk"',
  },
];

/** 16.2 refuses each of these too. */
Deno.test.each(WRONG_LINES)("parseCephConf() refuses a file: $says", ({ text, says }) => {
  assert.throws(() => parseCephConf(text, "x.conf"), { message: `Cannot parse x.conf ${says}` });
});

Deno.test("CephConf ends options that refer to each other in a circle", () => {
  const conf = parseCephConf("[global]\na = x$b\nb = y$a\n", "t.conf");
  assert.match(conf.value("a", ADMIN)!, /^xyxyxy[xy]*\$[ab]$/);
});

Deno.test("parseCephConf() ends for every cut of a file, with a result or with its own error", () => {
  for (let end = 0; end <= WHOLE.length; end++) {
    try {
      parseCephConf(WHOLE.slice(0, end), "t.conf");
    } catch (error) {
      assert.match((error as Error).message, /^Cannot parse t\.conf line \d+ /);
    }
  }
});

/** 16.2, its v1 addresses left out. */
const MON_HOSTS = [
  { text: "10.0.0.1", mons: ["v2:10.0.0.1:3300/0"] },
  {
    text: "10.0.0.1,10.0.0.2 10.0.0.3;10.0.0.4",
    mons: ["v2:10.0.0.1:3300/0", "v2:10.0.0.2:3300/0", "v2:10.0.0.3:3300/0", "v2:10.0.0.4:3300/0"],
  },
  { text: "v2:10.0.0.1:3300,v1:10.0.0.1:6789", mons: ["v2:10.0.0.1:3300/0"] },
  {
    text: "[v2:10.0.0.1:3300,v1:10.0.0.1:6789] [v2:10.0.0.2:3300]",
    mons: ["v2:10.0.0.1:3300/0", "v2:10.0.0.2:3300/0"],
  },
  {
    text: "[v2:10.0.0.1:3300,v1:10.0.0.1:6789],[v2:10.0.0.2:3300/7,v1:10.0.0.2:6789/0]",
    mons: ["v2:10.0.0.1:3300/0", "v2:10.0.0.2:3300/7"],
  },
  { text: "10.0.0.1:1234", mons: ["v2:10.0.0.1:1234/0"] },
  { text: "v2:10.0.0.1", mons: ["v2:10.0.0.1:3300/0"] },
  { text: "[fd00::1]", mons: ["v2:[fd00::1]:3300/0"] },
  { text: "[fd00::1]:3301", mons: ["v2:[fd00::1]:3301/0"] },
  {
    text: "[v2:[fd00::1]:3300,v1:[fd00::1]:6789],[fd00::2]",
    mons: ["v2:[fd00::1]:3300/0", "v2:[fd00::2]:3300/0"],
  },
  { text: "fd00::1", mons: ["v2:[fd00::1]:3300/0"] },
  { text: "fd00::1/5", mons: ["v2:[fd00::1]:3300/5"] },
  { text: "localhost:3300", mons: ["v2:localhost:3300/0"] },
  { text: "10.0.0.1/5", mons: ["v2:10.0.0.1:3300/5"] },
  {
    text: "[10.0.0.1:3300,10.0.0.1:6789]",
    mons: ["v2:10.0.0.1:3300/0", "v2:10.0.0.1:6789/0"],
  },
  { text: "10.0.0.1,", mons: ["v2:10.0.0.1:3300/0"] },
  { text: "any:10.0.0.1:3300", mons: ["v2:10.0.0.1:3300/0"] },
  { text: "[10.0.0.1]", mons: ["v2:10.0.0.1:3300/0"] },
  {
    text: "mon-1.example, mon-2.example",
    mons: ["v2:mon-1.example:3300/0", "v2:mon-2.example:3300/0"],
  },
];

Deno.test.each(MON_HOSTS)("parseMonHost() reads $text", ({ text, mons }) => {
  assert.deepEqual(parseMonHost(text).map(formatMonAddress), mons);
});

const WRONG_MON_HOSTS = [
  { text: "10.0.0.1:6789", says: /^Cannot use mon_host as it must hold at least one v2 address/ },
  { text: "v1:10.0.0.1", says: /^Cannot use mon_host as it must hold at least one v2 address/ },
  { text: " , ", says: /^Cannot use mon_host / },
  { text: "a:b", says: /^Cannot parse mon_host as .*: current value is a:b$/ },
  { text: "a:70000", says: /^Cannot parse mon_host as / },
  { text: "a:0", says: /^Cannot parse mon_host as / },
  { text: "a/4294967296", says: /^Cannot parse mon_host as / },
  { text: "[v2:a:3300", says: /^Cannot parse mon_host as / },
  { text: "v2:", says: /^Cannot parse mon_host as / },
];

Deno.test.each(WRONG_MON_HOSTS)("parseMonHost() refuses $text", ({ text, says }) => {
  assert.throws(() => parseMonHost(text), { message: says });
});

Deno.test("confMons() takes mon addr of the monitors' sections when there is no mon_host", () => {
  const conf = parseCephConf("[mon.a]\nmon addr = 10.0.0.1:3300\n[mon.b]\nmon addr=b\n", "t.conf");
  assert.deepEqual(confMons(conf, ADMIN).map(formatMonAddress), [
    "v2:10.0.0.1:3300/0",
    "v2:b:3300/0",
  ]);
  assert.deepEqual(confMons(new CephConf(new Map()), ADMIN), []);
});

/** Seen with strace on `rados` and in the defaults of ceph-conf, 16.2. */
Deno.test("confPaths() and keyringPaths() are the usual ones", () => {
  assert.deepEqual(confPaths("ceph", "/root"), [
    "/etc/ceph/ceph.conf",
    "/root/.ceph/ceph.conf",
    "ceph.conf",
  ]);
  assert.deepEqual(keyringPaths(new CephConf(new Map()), { ...ADMIN, cluster: "foo" }), [
    "/etc/ceph/foo.client.admin.keyring",
    "/etc/ceph/foo.keyring",
    "/etc/ceph/keyring",
    "/etc/ceph/keyring.bin",
  ]);
  const conf = parseCephConf("[global]\nkeyring = /a/$name, /b\n", "t.conf");
  assert.deepEqual(keyringPaths(conf, ADMIN), ["/a/client.admin", "/b"]);
});

/** A scratch directory with files, and an environment that sees only it. */
function withFiles(
  files: Record<string, string>,
  run: (root: string, environment: Environment) => void,
): void {
  const root = Deno.makeTempDirSync();
  try {
    for (const [name, text] of Object.entries(files)) {
      Deno.writeTextFileSync(`${root}/${name}`, text);
    }
    run(root, { variables: { CEPH_CONF: `${root}/site2.conf` }, host: "box", pid: 1 });
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

Deno.test("loadCephSettings() reads configuration and keyring from where the environment says", () => {
  withFiles({
    "site2.conf":
      "[global]\nmon_host = [v2:10.0.0.1:3300/0]\nkeyring = ROOT/$cluster.k\nms_mon_client_mode = secure\n",
    "site2.k": "[client.gw1]\n",
  }, (root, environment) => {
    const text = Deno.readTextFileSync(`${root}/site2.conf`).replace("ROOT", root);
    Deno.writeTextFileSync(`${root}/site2.conf`, text);
    const settings = loadCephSettings({ name: "client.gw1" }, environment);
    assert.equal(settings.confPath, `${root}/site2.conf`);
    assert.deepEqual(settings.mons, [{ type: 2, host: "10.0.0.1", port: 3300, nonce: 0 }]);
    assert.deepEqual(settings.keyring, { path: `${root}/site2.k`, text: "[client.gw1]\n" });
    assert.equal(settings.option("ms mon client mode"), "secure");
    assert.equal(settings.option("nosuch"), null);
    assert.equal(settings.key, null);
  });
});

Deno.test("loadCephSettings() lets the command line win", () => {
  withFiles(
    { "site2.conf": "[global]\nmon_host = a\nkey = AQ==\n", "k": "text" },
    (root, environment) => {
      assert.equal(loadCephSettings({ name: "client.x" }, environment).key, "AQ==");
      const choice = { name: "client.x", mon: "b:3301", keyring: `${root}/k` };
      const settings = loadCephSettings(choice, environment);
      assert.deepEqual(settings.mons, [{ type: 2, host: "b", port: 3301, nonce: 0 }]);
      assert.equal(settings.keyring?.text, "text");
      assert.equal(settings.key, null);
    },
  );
});

Deno.test("loadCephSettings() says what is missing", () => {
  withFiles({ "empty.conf": "", "dir.conf": "" }, (root, environment) => {
    const load = (choice: Omit<Parameters<typeof loadCephSettings>[0], "name">): unknown =>
      loadCephSettings({ name: "client.x", ...choice }, environment);
    assert.throws(() => load({}), {
      message: /^Cannot find a monitor as .*: none of .*site2\.conf exists$/,
    });
    assert.throws(() => load({ conf: `${root}/empty.conf` }), {
      message: /^Cannot find a monitor as .*empty\.conf$/,
    });
    assert.throws(() => load({ conf: `${root}/no.conf` }), {
      message: /^Cannot read the configuration /,
    });
    assert.throws(() => load({ mon: "a", keyring: `${root}/no` }), {
      message: /^Cannot read the keyring /,
    });
    assert.throws(() => load({ conf: root }), {
      message: /^Cannot read .* as it must be a readable file/,
    });
    assert.throws(() => loadCephSettings({ name: "admin" }, environment), {
      message: /^Cannot use name /,
    });
    assert.equal(loadCephSettings({ name: "client.x", mon: "a" }, environment).confPath, null);
  });
});
