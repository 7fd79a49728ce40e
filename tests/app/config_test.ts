/** The configurations of gateway and hub: every mistake at once, defaults, origins, overrides. */
import assert from "node:assert/strict";
import { type GatewayConfig, loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import { loadHubConfig } from "../../src/app/config/hub_config.ts";
import { TEXT_SIZE_MAX } from "../../src/app/config/jsonc.ts";
import type { Loaded, Override } from "../../src/app/config/load_config.ts";
import { printConfig, printConfigJson } from "../../src/app/config/print_config.ts";
import { PROBLEMS_MAX, problemText } from "../../src/app/config/problem.ts";

const KEY = "AQCdT9BmAAAAABAAjv8HrVDVbhPBXCeXTQo0Xg==";

/** A directory with a configuration and what it names. */
class Scratch implements AsyncDisposable {
  readonly path: string;

  static async make(): Promise<Scratch> {
    return new Scratch(await Deno.makeTempDir());
  }

  private constructor(path: string) {
    this.path = path;
  }

  /** Writes a file; returns its path. */
  async write(name: string, text: string | Uint8Array, mode = 0o600): Promise<string> {
    const path = `${this.path}/${name}`;
    const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    await Deno.writeFile(path, bytes);
    await Deno.chmod(path, mode);
    return path;
  }

  /** What is told of a text, without the directory. */
  async told(
    load: typeof loadGatewayConfig | typeof loadHubConfig,
    text: string,
  ): Promise<string[]> {
    const path = await this.write("c.jsonc", text);
    const loaded: Loaded<object> = await load(path);
    const problems = loaded.config === null ? loaded.problems : loaded.warnings;
    return problems.map((problem) => problemText(problem).replaceAll(`${this.path}/`, ""));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

function configOf<T>(loaded: Loaded<T>): T {
  assert.ok(loaded.config !== null, JSON.stringify(loaded));
  return loaded.config;
}

const TYPES =
  '"lines", "syslog", "http", "file", "serial", "fifo", "stdin", "readings", "statsd" or "mqtt"';

type Mistakes = readonly (readonly [string, ...string[]])[];

function rows(mistakes: Mistakes): { text: string; expected: string[] }[] {
  return mistakes.map(([text, ...expected]) => ({ text, expected }));
}

/** A gateway's text, and all that is told of it. */
const GATEWAY_MISTAKES: Mistakes = [
  ["{}"],
  ['{ "$schema": "gateway.schema.json" }'],
  ["[]", "c.jsonc:1:1: Cannot use it as it must be an object: current value is []"],
  ["", "c.jsonc:1:1: Cannot read a value: current text is the end of the file"],
  [
    '{ "nmae": "client.a" }',
    'c.jsonc:1:3: Cannot use nmae as it is no known key, did you mean "name"',
  ],
  [
    '{ "log": { "a b": 1 } }',
    'c.jsonc:1:12: Cannot use log["a b"] as it is no known key: use "format"',
  ],
  [
    '{ "log": { "__proto__": 1 } }',
    'c.jsonc:1:12: Cannot use log.__proto__ as it is no known key: use "format"',
  ],
  [
    '{ "name": "gw1" }',
    "c.jsonc:1:11: Cannot use name as it must be TYPE.ID, such as client.gw1, with TYPE mon, mds, " +
    'osd, client or mgr: current value is "gw1", did you mean "client.gw1"',
  ],
  [
    '{ "drainSeconds": "5", "io": "libC", "log": { "format": 7 } }',
    "c.jsonc:1:19: Cannot use drainSeconds as it must be a whole number from 0 to 3600: " +
    'current value is "5", write 5 without quotes',
    'c.jsonc:1:30: Cannot use io as it must be "auto", "libc" or "deno": current value is "libC", ' +
    'did you mean "libc"',
    'c.jsonc:1:57: Cannot use log.format as it must be "text" or "json": current value is 7',
  ],
  ...["-1", "3601", "0.5", "1e99", "true", "[]", "{}"].map((value) =>
    [
      `{ "drainSeconds": ${value} }`,
      "c.jsonc:1:19: Cannot use drainSeconds as it must be a whole number from 0 to 3600: " +
      `current value is ${value === "1e99" ? "1e+99" : value}`,
    ] as const
  ),
  [
    '{ "drainSeconds": null }',
    "c.jsonc:1:19: Cannot use drainSeconds as it must be a whole number from 0 to 3600: " +
    "current value is null, leave it out for the default",
  ],
  [
    '{ "state": 5 }',
    "c.jsonc:1:12: Cannot use state as it must be a path, or null: current value is 5",
  ],
  [
    '{ "state": "a\\u0000b" }',
    'c.jsonc:1:12: Cannot use state as it must be a path, or null: current value is "a\\u0000b"',
  ],
  [
    '{ "status": true }',
    "c.jsonc:1:13: Cannot use status as it must be an object, or false: current value is true",
  ],
  ['{ "status": false, "watchdog": null, "state": null }'],
  [
    '{ "inputs": [] }',
    "c.jsonc:1:13: Cannot use inputs as it must be an object: current value is []",
  ],
  [
    '{ "inputs": { "a": { "type": "htp" }, "b": { "listen": 5 }, "c": 7 } }',
    `c.jsonc:1:30: Cannot use inputs.a.type as it must be ${TYPES}: current value is "htp", ` +
    'did you mean "http"',
    `c.jsonc:1:44: Cannot use inputs.b as "type" is missing: add it, ${TYPES}`,
    "c.jsonc:1:66: Cannot use inputs.c as it must be an object: current value is 7",
  ],
  [
    '{ "inputs": { "My Input": { "type": "stdin" } } }',
    'c.jsonc:1:15: Cannot use inputs["My Input"] as its name must be 1 to 32 of a-z, 0-9, _ and -: ' +
    'current value is "My Input", did you mean "my-input"',
  ],
  [
    '{ "inputs": { "a": { "type": "lines", "acknowledge": "true", "protocols": "tcp" } } }',
    "c.jsonc:1:54: Cannot use inputs.a.acknowledge as it must be true or false: " +
    'current value is "true", write true without quotes',
    "c.jsonc:1:75: Cannot use inputs.a.protocols as it must be a list of 1 to 2 items: " +
    'current value is "tcp", write ["tcp"]',
  ],
  [
    '{ "inputs": { "a": { "type": "lines", "protocols": [] },\n' +
    '"b": { "type": "syslog", "protocols": ["udp", "udp", "sctp"] } } }',
    "c.jsonc:1:52: Cannot use inputs.a.protocols as it must have 1 to 2 items: current number is 0",
    "c.jsonc:2:39: Cannot use inputs.b.protocols as it must have 1 to 2 items: current number is 3",
    "c.jsonc:2:47: Cannot use inputs.b.protocols[1] as it stands in the list already: " +
    'current value is "udp", remove it',
  ],
  [
    '{ "inputs": { "a": { "type": "http", "listen": "8712" },\n' +
    ' "b": { "type": "http", "listen": "tcp://[::1]:80" },\n' +
    ' "c": { "type": "http", "listen": "localhost:65536" },\n' +
    ' "d": { "type": "http", "listen": "[::g]:80" } } }',
    ...[
      'c.jsonc:1:48: Cannot use inputs.a.listen as IT: current value is "8712", ' +
      'did you mean "127.0.0.1:8712"',
      'c.jsonc:2:35: Cannot use inputs.b.listen as IT: current value is "tcp://[::1]:80", ' +
      'did you mean "[::1]:80"',
      'c.jsonc:3:35: Cannot use inputs.c.listen as IT: current value is "localhost:65536"',
      'c.jsonc:4:35: Cannot use inputs.d.listen as IT: current value is "[::g]:80"',
    ].map((text) => text.replace("IT", "it must be HOST:PORT, IPv6 in brackets, PORT up to 65535")),
  ],
  [
    '{ "inputs": { "a": { "type": "stdin", "topic": "a/+" }, "b": { "type": "mqtt", "topicPrefix": "#" } } }',
    "c.jsonc:1:48: Cannot use inputs.a.topic as it must be a topic: no + and #, 1 to 1024 bytes: " +
    'current value is "a/+"',
    "c.jsonc:1:95: Cannot use inputs.b.topicPrefix as it must be the front of a topic: no + and #, " +
    '512 bytes at most: current value is "#"',
  ],
  [
    '{ "inputs": { "a": { "type": "file" }, "b": { "type": "serial", "parity": "mark" } } }',
    'c.jsonc:1:20: Cannot use inputs.a as "path" is missing: add it, the file to follow',
    "c.jsonc:1:20: Cannot use inputs.a as its position must be kept over a restart: " +
    'add "state", a directory such as /var/lib/fairlead',
    'c.jsonc:1:45: Cannot use inputs.b as "path" is missing: add it, the device',
    'c.jsonc:1:75: Cannot use inputs.b.parity as it must be "none", "even" or "odd": ' +
    'current value is "mark"',
  ],
  [
    '{ "spool": { "place": "disk", "bytesMax": 1, "whenFull": "drop" } }',
    "c.jsonc:1:23: Cannot use spool.place as there is no directory for it: " +
    'current value is "disk", add "state", a directory such as /var/lib/fairlead',
    "c.jsonc:1:43: Cannot use spool.bytesMax as it must be a whole number from 65536 to " +
    "1099511627776: current value is 1",
    'c.jsonc:1:58: Cannot use spool.whenFull as it must be "block", "drop-oldest" or ' +
    '"drop-newest": current value is "drop"',
  ],
  [
    '{ "hubs": { "hq": { "addresses": ["v1:h:6789", "h", "http://h:80", "v2:h:3300", "h:3300"] }, "b": {} } }',
    ...[
      'c.jsonc:1:35: Cannot use hubs.hq.addresses[0] as IT: current value is "v1:h:6789", ' +
      'did you mean "v2:h:6789"',
      'c.jsonc:1:48: Cannot use hubs.hq.addresses[1] as IT: current value is "h", ' +
      'did you mean "v2:h:3300"',
      'c.jsonc:1:53: Cannot use hubs.hq.addresses[2] as IT: current value is "http://h:80", ' +
      'did you mean "v2:h:80"',
    ].map((text) =>
      text.replace("IT", "it must be v2:HOST:PORT, IPv6 in brackets, PORT up to 65535")
    ),
    'c.jsonc:1:99: Cannot use hubs.b as "addresses" is missing: add it, its addresses',
  ],
  [
    '{ "hubs": { "hq": { "addresses": ["v2:h:1"] } },\n "routes": [\n' +
    '{ "topic": "a/#", "to": ["hp", "constructor"] },\n{ "topic": "a#", "to": ["hq"] },\n{ "to": "hq" }] }',
    "c.jsonc:2:12: warning: Messages that match no route are dropped: " +
    'end "routes" with one for topic "#"',
    'c.jsonc:3:26: Cannot use routes[0].to[0] as it must be a key of "hubs": current value is "hp", ' +
    'did you mean "hq"',
    'c.jsonc:3:32: Cannot use routes[0].to[1] as it must be a key of "hubs": ' +
    'current value is "constructor", add "constructor" to "hubs"',
    "c.jsonc:4:12: Cannot use routes[1].topic as it must be a topic filter: + is a whole level, " +
    '# the last level: current value is "a#"',
    'c.jsonc:5:1: Cannot use routes[2] as "topic" is missing: add it, topic filter of MQTT 3.1.1',
    "c.jsonc:5:9: Cannot use routes[2].to as it must be a list of 1 to 16 items: " +
    'current value is "hq", write ["hq"]',
  ],
  [
    '{ "hubs": { "hq": { "addresses": ["v2:h:1"] } }, "routes": [\n' +
    '{ "topic": "#", "to": ["hq"] }, { "topic": "a", "to": ["hq"] }] }',
    "c.jsonc:2:33: warning: No message gets to routes[1] as routes[0] takes all: move it up",
  ],
  [
    '{ "hubs": { "hq": { "addresses": ["v2:h:1"] } }, "routes": [\n' +
    '{ "topic": "a", "to": ["hq"] }, { "topic": "#", "to": ["hq"] }] }',
  ],
  [
    '{ "inputs": { "a": { "type": "lines", "listen": "127.0.0.1:1000" },\n' +
    '"b": { "type": "http", "listen": "0.0.0.0:1000" },\n' +
    '"c": { "type": "statsd", "listen": "[::0]:1000" },\n' +
    '"d": { "type": "mqtt", "listen": "[::1]:1000" },\n' +
    '"e": { "type": "mqtt", "listen": "127.0.0.1:0" }, "f": { "type": "mqtt", "listen": "127.0.0.1:0" } },\n' +
    '"status": { "listen": "[::1]:1000" } }',
    "c.jsonc:2:34: Cannot use inputs.b.listen as inputs.a.listen listens there with tcp too: " +
    'current value is "0.0.0.0:1000", take another port',
    "c.jsonc:2:34: warning: Everybody who reaches 0.0.0.0:1000 can send to inputs.b: add tokenFile",
    "c.jsonc:3:36: Cannot use inputs.c.listen as inputs.a.listen listens there with udp too: " +
    'current value is "[::0]:1000", take another port',
    "c.jsonc:6:23: Cannot use status.listen as inputs.d.listen listens there with tcp too: " +
    'current value is "[::1]:1000", take another port',
  ],
  [
    '{ "inputs": { "a": { "type": "fifo", "path": "/p" }, "b": { "type": "fifo", "path": "/p" },\n' +
    '"c": { "type": "stdin" }, "d": { "type": "stdin" } } }',
    "c.jsonc:1:59: Cannot use inputs.b as inputs.a reads /p already: remove one of them",
    "c.jsonc:2:32: Cannot use inputs.d as inputs.c reads standard input already: remove one of them",
  ],
  [
    '{ "auth": { "method": "cephx" } }',
    'c.jsonc:1:23: Cannot use auth.method as it needs a key: current value is "cephx", ' +
    "add auth.keyring or --keyring FILE (fairlead keyring create makes one)",
  ],
  [
    '{ "auth": { "mode": "secure" } }',
    'c.jsonc:1:21: Cannot use auth.mode as it needs a key: current value is "secure", ' +
    "add auth.keyring or --keyring FILE, and leave auth.method out",
  ],
  [
    '{ "watchdog": "/dev/nothing-is-here" }',
    "c.jsonc:1:15: warning: The watchdog will not be used: No such file or directory '/dev/nothing-is-here'",
  ],
  [
    '{ "watchdog": "/etc/passwd" }',
    "c.jsonc:1:15: Cannot use watchdog as it must be a device such as /dev/watchdog, or null: " +
    'current value is "/etc/passwd"',
  ],
  ['{ "watchdog": "/dev/null" }'],
  [
    '{\n "name": 1,\n name: 2,\n "log": { "format": xml },\n "stat": null\n}',
    "c.jsonc:2:10: Cannot use name as it must be TYPE.ID, such as client.gw1, with TYPE mon, mds, " +
    "osd, client or mgr: current value is 1",
    'c.jsonc:3:2: Cannot read "name" as a key must stand in double quotes',
    'c.jsonc:3:2: Cannot use "name" twice: it stands in line 2 too, remove one',
    'c.jsonc:4:21: Cannot read "xml" as a value: put texts in double quotes',
    'c.jsonc:5:2: Cannot use stat as it is no known key, did you mean "state"',
  ],
];

Deno.test.each(rows(GATEWAY_MISTAKES))(
  "a gateway's $text is told all its mistakes",
  async ({ text, expected }) => {
    await using scratch = await Scratch.make();
    assert.deepEqual(await scratch.told(loadGatewayConfig, text), expected);
  },
);

const HUB_MISTAKES: Mistakes = [
  ["{}"],
  [
    '{ "listen": "0.0.0.0:3300" }',
    "c.jsonc:1:13: Cannot use listen as others can reach it and there is no keyring: " +
    'current value is "0.0.0.0:3300", add auth.keyring or --keyring FILE; to let everybody in, ' +
    'auth.method "none" or --auth none',
  ],
  ['{ "listen": "v2:[::1]:3300" }'],
  ['{ "listen": "v2:0.0.0.0:3300", "auth": { "method": "none" } }'],
  [
    '{ "listen": "v2:127.0.0.1:8721" }',
    "c.jsonc:1:1: Cannot use status.listen as listen listens there with tcp too: " +
    'current value is "127.0.0.1:8721", take another port',
  ],
  [
    '{ "state": "/s", "outputs": { "a": { "type": "file", "path": "/l" },\n' +
    '"b": { "type": "file", "path": "/l", "topic": "a/#/b", "keep": -1 },\n' +
    '"c": { "type": "sse" }, "d": { "type": "tpc" } }, "status": false }',
    "c.jsonc:2:32: Cannot use outputs.b.path as outputs.a writes that file too: " +
    'current value is "/l", give another file',
    "c.jsonc:2:47: Cannot use outputs.b.topic as it must be a topic filter: + is a whole level, " +
    '# the last level: current value is "a/#/b"',
    "c.jsonc:2:64: Cannot use outputs.b.keep as it must be a whole number from 0 to 10000: " +
    "current value is -1",
    "c.jsonc:3:6: Cannot use outputs.c as the status listener serves it: " +
    "current value of status is false",
    'c.jsonc:3:40: Cannot use outputs.d.type as it must be "file", "stdout", "sse", "tcp", "udp" or ' +
    '"forward": current value is "tpc", did you mean "tcp"',
  ],
  [
    '{ "outputs": { "a": { "type": "forward", "addresses": ["v2:h:1"] } } }',
    "c.jsonc:1:21: warning: After a restart outputs.a may get messages twice, as there is no state: " +
    'add "state", a directory such as /var/lib/fairlead-hub',
  ],
];

Deno.test.each(rows(HUB_MISTAKES))(
  "a hub's $text is told all its mistakes",
  async ({ text, expected }) => {
    await using scratch = await Scratch.make();
    assert.deepEqual(await scratch.told(loadHubConfig, text), expected);
  },
);

Deno.test("files with secrets must be there, hold what they should, and be closed to others", async () => {
  await using scratch = await Scratch.make();
  const keyring = await scratch.write("gw.keyring", `[client.gw1]\n\tkey = ${KEY}\n`, 0o644);
  const broken = await scratch.write("broken.keyring", "[client.gw1\n");
  const token = await scratch.write("token", "secret\n");
  const told = (auth: object, more: object = {}): Promise<string[]> =>
    scratch.told(loadGatewayConfig, JSON.stringify({ name: "client.gw1", auth, ...more }));
  assert.deepEqual(await told({ keyring }), [
    "c.jsonc:1:40: warning: Everybody on this box can read auth.keyring: " +
    "current mode of gw.keyring is 0644, use chmod o-r gw.keyring",
  ]);
  await Deno.chmod(keyring, 0o640);
  assert.deepEqual(await told({ keyring }), []);
  assert.deepEqual(await told({ keyring }, { name: "client.gw2" }), [
    "c.jsonc:1:9: Cannot use name as keyring gw.keyring must have its key: " +
    'current value is "client.gw2", add it with fairlead keyring add',
  ]);
  const forwards = {
    name: "mon.",
    outputs: { up: { type: "forward", addresses: ["v2:hq:1"] } },
    state: scratch.path,
    auth: { keyring },
  };
  assert.match(
    (await scratch.told(loadHubConfig, JSON.stringify(forwards)))[0]!,
    /Cannot use name as keyring gw\.keyring must have its key: current value is "mon\."/,
  );
  assert.deepEqual(await told({ keyring: `${scratch.path}/none` }), [
    "c.jsonc:1:40: Cannot use auth.keyring as it must be a file that can be read: " +
    "No such file or directory 'none'",
  ]);
  assert.match(
    (await told({ keyring: broken }))[0]!,
    /^c\.jsonc:1:40: Cannot use auth\.keyring as "broken\.keyring" is no keyring: Cannot read /,
  );
  const inputs = {
    a: { type: "http", listen: "0.0.0.0:80", tokenFile: token },
    b: { type: "mqtt", passwordFile: scratch.path },
  };
  const [told1, ...others] = await told({}, { inputs });
  assert.match(
    told1!,
    /^c\.jsonc:\S+ Cannot use inputs\.b\.passwordFile as it must be a file that/,
  );
  assert.deepEqual(others, []);
});

Deno.test("a file that is missing, too large, or no text is told in one line", async () => {
  await using scratch = await Scratch.make();
  const told = async (path: string): Promise<string[]> => {
    const loaded = await loadGatewayConfig(path);
    return (loaded.config === null ? loaded.problems : []).map(problemText);
  };
  const missing = `${scratch.path}/none`;
  assert.match((await told(missing)).join(), /none: Cannot read the configuration: No such file/);
  const large = await scratch.write("large", " ".repeat(TEXT_SIZE_MAX + 1));
  assert.deepEqual(await told(large), [
    `${large}: Cannot read more than ${TEXT_SIZE_MAX} bytes: give another file`,
  ]);
  const latin = await scratch.write("latin", new Uint8Array([0x22, 0xe4, 0x22]));
  assert.deepEqual(await told(latin), [
    `${latin}: Cannot read the configuration: it must be UTF-8`,
  ]);
  assert.equal((await told(scratch.path)).length, 1);
});

Deno.test("a megabyte of mistakes is answered soon, with the first hundred and the number of others", async () => {
  await using scratch = await Scratch.make();
  const keys = Array.from({ length: 60_000 }, (_, index) => `"key${index}":[]`).join(",\n");
  const startMs = performance.now();
  const told = await scratch.told(loadGatewayConfig, `{${keys}}`);
  assert.ok(performance.now() - startMs < 10_000);
  assert.equal(told.length, PROBLEMS_MAX + 1);
  assert.match(
    told[0]!,
    /^c\.jsonc:1:2: Cannot use key0 as it is no known key: use "name", "state",/,
  );
  assert.equal(told.at(-1), "c.jsonc: There are 59900 more problems: mend these first");
});

Deno.test("without a file there are defaults, everything listens on loopback, the spool is in RAM", async () => {
  const gateway = configOf(await loadGatewayConfig(null));
  assert.deepEqual(gateway, {
    name: "client.fairlead",
    state: null,
    drainSeconds: 5,
    auth: { keyring: null, method: "none", mode: "crc" },
    io: "auto",
    transport: "auto",
    paths: false,
    standby: false,
    inputs: {},
    spool: {
      place: "ram",
      bytesMax: 268435456,
      ageMaxSeconds: 0,
      whenFull: "block",
      commitIntervalMs: 5,
    },
    hubs: {},
    routes: [],
    status: { listen: "127.0.0.1:8711" },
    log: { format: "text" },
    watchdog: null,
  });
  assert.deepEqual(configOf(await loadHubConfig(null)), {
    name: "mon.",
    listen: "v2:127.0.0.1:3300",
    state: null,
    auth: { keyring: null, method: "none", mode: "crc" },
    io: "auto",
    transport: "auto",
    outputs: {},
    status: { listen: "127.0.0.1:8721" },
    witness: false,
    log: { format: "text" },
    drainSeconds: 5,
    watchdog: null,
  });
  const inputs = Object.fromEntries(
    ["lines", "syslog", "http", "statsd", "mqtt"].map((type) => [type, { type }]),
  );
  const config = configOf(
    await loadGatewayConfig(null, [{ path: "inputs", value: inputs, from: "test" }]),
  );
  for (const input of Object.values(config.inputs)) {
    assert.ok("listen" in input && input.listen.startsWith("127.0.0.1:"), JSON.stringify(input));
  }
});

Deno.test("what is left out follows from the rest: place, method, mode, topic", async () => {
  await using scratch = await Scratch.make();
  const keyring = await scratch.write("k", `[client.a]\n\tkey = ${KEY}\n`);
  const load = async (value: object): Promise<GatewayConfig> => {
    const path = await scratch.write("c.jsonc", JSON.stringify({ name: "client.a", ...value }));
    return configOf(await loadGatewayConfig(path));
  };
  assert.equal((await load({ state: "/s" })).spool.place, "disk");
  assert.equal((await load({ state: "/s", spool: { place: "ram" } })).spool.place, "ram");
  assert.deepEqual((await load({ auth: { keyring } })).auth, {
    keyring,
    method: "cephx",
    mode: "secure",
  });
  assert.equal((await load({ auth: { keyring, mode: "crc" } })).auth.mode, "crc");
  assert.equal((await load({ auth: { keyring, method: "none" } })).auth.mode, "crc");
  const { inputs } = await load({
    inputs: { a: { type: "stdin" }, b: { type: "fifo", path: "p", topic: "t" } },
  });
  assert.deepEqual(inputs, {
    a: { type: "stdin", topic: "a" },
    b: { type: "fifo", path: "p", topic: "t" },
  });
});

Deno.test("names such as __proto__ are names like others", async () => {
  const inputs = JSON.parse('{ "__proto__": { "type": "stdin" } }');
  const config = configOf(
    await loadGatewayConfig(null, [{ path: "inputs", value: inputs, from: "test" }]),
  );
  assert.deepEqual(Object.entries(config.inputs), [
    ["__proto__", { type: "stdin", topic: "__proto__" }],
  ]);
  assert.equal(Object.getPrototypeOf(config.inputs), Object.prototype);
});

Deno.test("overrides win over the file, make what is on their way, and take away", async () => {
  await using scratch = await Scratch.make();
  const path = await scratch.write(
    "c.jsonc",
    '{\n "hubs": { "hq": { "addresses": ["v2:a:1"] } },\n' +
      ' "inputs": { "lines": { "type": "lines" }, "in": { "type": "stdin" } },\n "drainSeconds": 7 }',
  );
  const overrides: Override[] = [
    { path: "hubs", value: { hub: { addresses: ["v2:b:2"] } }, from: "command line --hub" },
    { path: "inputs.lines.listen", value: "127.0.0.1:1", from: "command line --listen" },
    { path: "inputs.in", value: undefined, from: "command line --no-stdin" },
    { path: "inputs.none.listen", value: undefined, from: "command line --no-listen" },
    { path: "spool.bytesMax", value: 65536, from: "command line --queue" },
  ];
  const loaded = await loadGatewayConfig(path, overrides);
  const config = configOf(loaded);
  assert.deepEqual(config.hubs, { hub: { addresses: ["v2:b:2"] } });
  assert.deepEqual(Object.keys(config.inputs), ["lines"]);
  assert.deepEqual(config.spool.bytesMax, 65536);
  assert.ok(loaded.config !== null);
  const origin = (at: string): string | undefined => loaded.origins.get(at)?.replace(path, "FILE");
  assert.equal(origin("hubs.hub.addresses"), "command line --hub");
  assert.equal(origin("inputs.lines.listen"), "command line --listen");
  assert.equal(origin("inputs.lines.type"), "file FILE:3");
  assert.equal(origin("inputs.lines.topic"), "default, the input's name");
  assert.equal(origin("spool.bytesMax"), "command line --queue");
  assert.equal(origin("spool.whenFull"), "default");
  assert.equal(origin("spool.place"), "default, as there is no state");
  assert.equal(origin("drainSeconds"), "file FILE:4");
});

Deno.test("what is wrong with an override is told with the flag's name, after the file's", async () => {
  await using scratch = await Scratch.make();
  const path = await scratch.write("c.jsonc", '{ "drainSeconds": -1, "log": 5 }');
  const loaded = await loadGatewayConfig(path, [
    { path: "name", value: "gw", from: "command line --name" },
    { path: "hubs.hub.addresses", value: ["h"], from: "command line --hub" },
    { path: "log.format", value: "json", from: "command line --json" },
  ]);
  assert.ok(loaded.config === null);
  const told = loaded.problems.map((problem) =>
    problemText(problem).replace(path, "FILE").replace(/ as .*/, "")
  );
  assert.deepEqual(told, [
    "FILE:1:19: Cannot use drainSeconds",
    "FILE:1:30: Cannot use log",
    "command line --name: Cannot use name",
    "command line --hub: Cannot use hubs.hub.addresses[0]",
  ]);
});

/** Everything in one file. */
function sample(keyring: string): string {
  return `// A gateway
{
  "name": "client.gw1",
  "state": "/var/lib/fairlead",
  "auth": { "keyring": ${JSON.stringify(keyring)} },
  "inputs": {
    "lines": { "type": "lines", "listen": "127.0.0.1:8710", "protocols": ["tcp"] },
    "log": { "type": "file", "path": "/var/log/messages", },
  },
  "spool": { "whenFull": "drop-oldest" },
  "hubs": { "hq": { "addresses": ["v2:hub.example:3300", "v2:hub2.example:3300"] } },
  "routes": [{ "topic": "sensors/#", "to": ["hq"], /* first */ "priority": "high" }],
  "status": false,
}
`;
}

Deno.test("the effective configuration is printed with where each value came from", async () => {
  await using scratch = await Scratch.make();
  const keyring = await scratch.write("k", `[client.gw1]\n\tkey = ${KEY}\n`);
  const path = await scratch.write("c.jsonc", sample(keyring));
  const loaded = await loadGatewayConfig(path);
  assert.ok(loaded.config !== null);
  const text = printConfig(loaded.config, loaded.origins);
  assert.equal(text.replaceAll(`${scratch.path}/`, ""), EFFECTIVE);
  // It is a configuration itself, and means the same.
  const again = await loadGatewayConfig(await scratch.write("again.jsonc", text));
  assert.deepEqual(configOf(again), loaded.config);
  const json = JSON.parse(printConfigJson(loaded.config, loaded.origins));
  assert.deepEqual(json.config, loaded.config);
  assert.equal(json.origins["routes[0].priority"], `file ${path}:12`);
});

const EFFECTIVE = `{
  "name": "client.gw1", // file c.jsonc:3
  "state": "/var/lib/fairlead", // file c.jsonc:4
  "drainSeconds": 5, // default
  "auth": {
    "keyring": "k", // file c.jsonc:5
    "method": "cephx", // default, as a keyring is given
    "mode": "secure" // default, as a keyring is given
  },
  "io": "auto", // default
  "transport": "auto", // default
  "paths": false, // default
  "standby": false, // default
  "inputs": {
    "lines": {
      "type": "lines", // file c.jsonc:7
      "listen": "127.0.0.1:8710", // file c.jsonc:7
      "protocols": ["tcp"], // file c.jsonc:7
      "acknowledge": false, // default
      "topic": "lines" // default, the input's name
    },
    "log": {
      "type": "file", // file c.jsonc:8
      "path": "/var/log/messages", // file c.jsonc:8
      "from": "end", // default
      "topic": "log" // default, the input's name
    }
  },
  "spool": {
    "place": "disk", // default, as state is given
    "bytesMax": 268435456, // default
    "ageMaxSeconds": 0, // default
    "whenFull": "drop-oldest", // file c.jsonc:10
    "commitIntervalMs": 5 // default
  },
  "hubs": {
    "hq": {
      "addresses": ["v2:hub.example:3300", "v2:hub2.example:3300"] // file c.jsonc:11
    }
  },
  "routes": [
    {
      "topic": "sensors/#", // file c.jsonc:12
      "to": ["hq"], // file c.jsonc:12
      "priority": "high", // file c.jsonc:12
      "policy": "lossless", // default
      "messagesPerSecond": 0 // default
    }
  ],
  "status": false, // file c.jsonc:13
  "log": {
    "format": "text" // default
  },
  "watchdog": null // default
}`;

Deno.test("a valid file with random changes always gets an answer, and never a crash", async () => {
  await using scratch = await Scratch.make();
  const keyring = await scratch.write("k", `[client.gw1]\n\tkey = ${KEY}\n`);
  const text = sample(keyring);
  const bits = [...'{}[]:,"\\/*\n', "null", "true", "-1", '"type"', '"http"', "[[", "\u0000", "é"];
  let random = 7;
  const next = (below: number): number => {
    random = (random * 1103515245 + 12345) & 0x7fffffff;
    return (random >> 8) % below;
  };
  let good = 0;
  for (let round = 0; round < 600; round++) {
    let changed = text;
    for (let changes = next(2) + 1; changes > 0; changes--) {
      const at = next(changed.length);
      const put = next(3) === 0 ? changed.slice(next(at + 1), at) : bits[next(bits.length)]!;
      changed = changed.slice(0, at) + put + changed.slice(at + next(next(2) * 12 + 1));
    }
    const path = await scratch.write("c.jsonc", changed);
    for (const load of [loadGatewayConfig, loadHubConfig]) {
      const loaded: Loaded<object> = await load(path);
      if (loaded.config === null) {
        assert.ok(loaded.problems.some(({ level }) => level === "error"), changed);
        for (const { text } of loaded.problems) assert.match(text, /^[A-Z].*[^.]$/s, changed);
      } else {
        good++;
        assert.ok(printConfig(loaded.config, loaded.origins).length > 100);
      }
    }
  }
  assert.ok(good > 10, `${good}`);
});
