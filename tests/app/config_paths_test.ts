/** The key "paths": its defaults, its mistakes, what is pointless in it, and the policy that it gives. */
import assert from "node:assert/strict";
import { hasForm, LINK_PATTERN, SOCKET_PATH, SUBNET } from "../../src/app/config/forms.ts";
import { loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import { jsonSchema } from "../../src/app/config/json_schema.ts";
import type { Loaded, Override } from "../../src/app/config/load_config.ts";
import {
  pathPolicy,
  PATHS_FILE_SCHEMA,
  PATHS_SCHEMA,
  type PathsConfig,
} from "../../src/app/config/paths_config.ts";
import { loadPathsConfig } from "../../src/app/config/paths_file.ts";
import { printConfig } from "../../src/app/config/print_config.ts";
import { problemText } from "../../src/app/config/problem.ts";
import { INTERFACE_DEFAULT, PATH_POLICY_DEFAULTS } from "../../src/proto/mptcp/path_policy.ts";

/** Runs with a file that is removed afterwards. */
async function withFile<T>(text: string, work: (path: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/c.jsonc`;
    await Deno.writeTextFile(path, text);
    return await work(path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function tell(loaded: Loaded<object>): string[] {
  const problems = loaded.config === null ? loaded.problems : loaded.warnings;
  return problems.map((problem) => problemText(problem).replaceAll(/\S*\/c\.jsonc/g, "c.jsonc"));
}

/** What is told of a gateway's "paths", without the place. */
async function told(paths: unknown): Promise<string[]> {
  const loaded = await loadGatewayConfig(null, [{ path: "paths", value: paths, from: "F" }]);
  return tell(loaded).map((text) => text.replace(/^F: /, ""));
}

async function usable(paths: unknown, overrides: readonly Override[] = []): Promise<PathsConfig> {
  const first = { path: "paths", value: paths, from: "test" };
  const { config } = await loadPathsConfig(null, [first, ...overrides]);
  assert.ok(config !== null);
  return config.paths;
}

Deno.test("a gateway manages no paths unless it is told to", async () => {
  const { config } = await loadGatewayConfig(null);
  assert.equal(config?.paths, false);
  assert.deepEqual(await told(false), []);
  assert.deepEqual(await told({}), []);
});

Deno.test("the defaults are those of the policy, and every rule has all its members", async () => {
  const config = await usable({ interfaces: [{}], connections: [{}], joins: {} });
  assert.deepEqual(config.interfaces, [INTERFACE_DEFAULT]);
  assert.deepEqual(config.connections, [{
    destination: null,
    port: 0,
    layout: "full-mesh",
    subflowsMax: 8,
    interfaces: [],
    joins: "default",
  }]);
  assert.deepEqual(config.joins, {
    default: "accept",
    interfaces: [],
    decide: "set",
    answerMs: 500,
    whenAway: "accept",
  });
  const plain = await usable({});
  assert.deepEqual(pathPolicy(plain), PATH_POLICY_DEFAULTS);
  const { manager, setPmType, socket, namespaces, reconcileSeconds, linkPollMs, joins } = plain;
  assert.deepEqual(
    { manager, setPmType, socket, namespaces, reconcileSeconds, linkPollMs, joins },
    {
      manager: "userspace",
      setPmType: false,
      socket: "/run/fairlead/paths.sock",
      namespaces: [],
      reconcileSeconds: 30,
      linkPollMs: 100,
      joins: false,
    },
  );
});

Deno.test("the policy has what the file says", async () => {
  const rule = { name: "wwan*", subnet: null, role: "metered", priority: 7, subflows: 2 };
  const config = await usable({
    layout: "primary-backup",
    interfaces: [rule],
    connections: [{ destination: "fd00::/8", port: 3300 }, {
      layout: "none",
      interfaces: ["eth0"],
    }],
    subflowsMax: 3,
    announcesMax: 0,
    announceIntervalMs: 1,
    retryFirstMs: 11,
    retryMaxMs: 12,
    upDelayMs: 13,
    upDelayMaxMs: 14,
    joins: { default: "refuse" },
  });
  assert.deepEqual(pathPolicy(config), {
    layout: "primary-backup",
    interfaces: [{ ...rule, announce: false }],
    connections: [
      {
        destination: "fd00::/8",
        port: 3300,
        layout: "primary-backup", // that of "paths"
        subflowsMax: 8,
        interfaces: [],
        joins: "default",
      },
      {
        destination: null,
        port: 0,
        layout: "none",
        subflowsMax: 8,
        interfaces: ["eth0"],
        joins: "default",
      },
    ],
    subflowsMax: 3,
    announcesMax: 0,
    announceIntervalMs: 1,
    retryFirstMs: 11,
    retryMaxMs: 12,
    upDelayMs: 13,
    upDelayMaxMs: 14,
    joins: "default",
  });
});

Deno.test("a subnet has an address of its family, a prefix, and nothing behind it", () => {
  const good = ["0.0.0.0/0", "10.0.0.0/8", "10.9.1.5/32", "10.9.1.4/31", "::/0", "fd00::/8"];
  for (const text of [...good, "fe80::1/128", "2001:db8:8000::/33"]) {
    assert.ok(hasForm(SUBNET, text), text);
  }
  const bad = {
    "10.0.0.1/8": "10.0.0.0/8",
    "10.9.1.5/31": "10.9.1.4/31",
    "10.0.0.1": "10.0.0.1/32",
    "fd09:1::1/64": "fd09:1::/64",
    "FD09::": "fd09::/128",
    "::ffff:10.0.0.0/104": "10.0.0.0/8",
    "10.0.0.0/33": null,
    "fd00::/129": null,
    "10.0.0/8": null,
    "10.0.0.0/": null,
    "10.0.0.0/08": null,
    "10.0.0.0/8/8": null,
    "fe80::1%eth0/64": null,
    "/8": null,
    "": null,
    "eth0": null,
  };
  for (const [text, remedy] of Object.entries(bad)) {
    assert.ok(!hasForm(SUBNET, text), text);
    assert.equal(SUBNET.remedy!(text), remedy, text);
  }
});

Deno.test("names of interfaces have 15 bytes and a socket's path 107", () => {
  for (const name of ["*", "eth0", "*a*", "wwan*", "a".repeat(15), `*${"a".repeat(15)}`, "wg-é"]) {
    assert.ok(hasForm(LINK_PATTERN, name), name);
  }
  for (const name of ["", ".", "..", "a b", "a/b", "eth0:1", "a".repeat(16), "é".repeat(8), "**"]) {
    assert.ok(!hasForm(LINK_PATTERN, name), name);
  }
  assert.ok(hasForm(SOCKET_PATH, `/${"a".repeat(106)}`));
  for (const path of [`/${"a".repeat(107)}`, `/${"é".repeat(54)}`, "/", "/run/", "a", "/\0a", ""]) {
    assert.ok(!hasForm(SOCKET_PATH, path), path);
  }
});

const MISTAKES: readonly { paths: unknown; expected: string[] }[] = [
  {
    paths: true,
    expected: ["Cannot use paths as it must be an object, or false: current value is true"],
  },
  {
    paths: { manger: "kernel" },
    expected: ['Cannot use paths.manger as it is no known key, did you mean "manager"'],
  },
  {
    paths: { interfaces: [{ name: "a-very-long-name", subnet: "10.0.0.1/8", role: "main" }] },
    expected: [
      "Cannot use paths.interfaces[0].name as it must be the name of an interface, 15 bytes at " +
      'most, * for any run of characters, or null: current value is "a-very-long-name"',
      "Cannot use paths.interfaces[0].subnet as it must be ADDRESS/BITS, such as 10.0.0.0/8 or " +
      "fd00::/8, without bits behind the prefix, or null: current value is " +
      '"10.0.0.1/8", did you mean "10.0.0.0/8"',
      'Cannot use paths.interfaces[0].role as it must be "primary", "backup", "metered" or "off": ' +
      'current value is "main"',
    ],
  },
  {
    paths: { namespaces: ["/run/netns/a", "b", "b"], socket: "p.sock" },
    expected: [
      "Cannot use paths.socket as it must be a path from the top, 107 bytes at most, or false: " +
      'current value is "p.sock", did you mean "/run/fairlead/p.sock"',
      "Cannot use paths.namespaces[0] as it must be the name of a network namespace, as ip netns " +
      'list shows it: current value is "/run/netns/a", did you mean "a"',
      'Cannot use paths.namespaces[2] as it stands in the list already: current value is "b", ' +
      "remove it",
    ],
  },
  {
    paths: { interfaces: [{ priority: -1, subflows: 9 }], connections: [{ port: 65536 }] },
    expected: [
      "Cannot use paths.interfaces[0].priority as it must be a whole number from 0 to 65535: " +
      "current value is -1",
      "Cannot use paths.interfaces[0].subflows as it must be a whole number from 1 to 8: current " +
      "value is 9",
      "Cannot use paths.connections[0].port as it must be a whole number from 0 to 65535: current " +
      "value is 65536",
    ],
  },
  {
    paths: { connections: [{ destination: "hub.example", layout: "mesh" }] },
    expected: [
      "Cannot use paths.connections[0].destination as it must be ADDRESS/BITS, such as 10.0.0.0/8 " +
      "or fd00::/8, without bits behind the prefix, or null: current value is " +
      '"hub.example"',
      'Cannot use paths.connections[0].layout as it must be "full-mesh", "primary-backup" or ' +
      '"none": current value is "mesh"',
    ],
  },
  {
    paths: { retryFirstMs: 70_000, upDelayMaxMs: 1999 },
    expected: [
      "Cannot use paths.retryFirstMs as it must be retryMaxMs at most, which is 60000: current " +
      "value is 70000, lower it or raise paths.retryMaxMs",
      "Cannot use paths.upDelayMaxMs as it must be upDelayMs at least, which is 2000: current " +
      "value is 1999, raise it or lower paths.upDelayMs",
    ],
  },
  { paths: { retryFirstMs: 5000, retryMaxMs: 5000, upDelayMs: 0, upDelayMaxMs: 0 }, expected: [] },
  {
    paths: { joins: { default: "interfaces" } },
    expected: [
      'Cannot use paths.joins.default as no interface is named: current value is "interfaces", ' +
      'add paths.joins.interfaces, such as ["eth*"]',
    ],
  },
  {
    paths: { joins: { interfaces: ["eth0"] } },
    expected: [
      'Cannot use paths.joins.interfaces as paths.joins.default is "accept": current value is ' +
      '["eth0"], set that to "interfaces" or leave them out',
    ],
  },
  { paths: { joins: { default: "interfaces", interfaces: ["eth*"] } }, expected: [] },
  {
    paths: { joins: { answerMs: 0, decide: "ask", whenAway: "wait" } },
    expected: [
      'Cannot use paths.joins.decide as it must be "set" or "queue": current value is "ask"',
      "Cannot use paths.joins.answerMs as it must be a whole number from 1 to 10000: current value " +
      "is 0",
      'Cannot use paths.joins.whenAway as it must be "accept" or "refuse": current value is "wait"',
    ],
  },
];

Deno.test("mistakes are told with the present value and the remedy", async () => {
  for (const { paths, expected } of MISTAKES) assert.deepEqual(await told(paths), expected);
});

const hidden = (list: string, index: number, by: number): string =>
  `warning: paths.${list}[${index}] never counts as paths.${list}[${by}] takes all of it: move it up`;

const WARNINGS: readonly { paths: unknown; expected: string[] }[] = [
  {
    paths: { interfaces: [{}, { name: "eth0" }, { subnet: "10.0.0.0/8" }] },
    expected: [hidden("interfaces", 1, 0), hidden("interfaces", 2, 0)],
  },
  {
    paths: {
      interfaces: [
        { name: "eth*", subnet: "10.0.0.0/8" },
        { name: "eth*", subnet: "10.9.0.0/16" },
        { name: "eth0", subnet: "10.0.0.0/8" },
        { name: "eth*1", subnet: "10.0.0.0/9" },
      ],
    },
    expected: [hidden("interfaces", 1, 0), hidden("interfaces", 2, 0), hidden("interfaces", 3, 0)],
  },
  {
    paths: {
      interfaces: [
        { name: "eth0" },
        { name: "eth.", subnet: "10.128.0.0/9" },
        { name: "eth*", subnet: "10.0.0.0/9" },
        { name: "et*", subnet: "::/0" },
        { subnet: "0.0.0.0/0" },
        {},
      ],
    },
    expected: [],
  },
  {
    paths: {
      interfaces: [ // the first two take nothing of these
        { name: "eth0" },
        { name: "*" },
        { name: "eth0", subnet: "169.254.0.0/16" },
        { name: "lo" },
        { subnet: "::/0" },
        { name: "l*" },
        { subnet: "127.0.0.0/8" },
      ],
    },
    expected: [],
  },
  {
    paths: { interfaces: [{ name: "*" }, { subnet: "fd00::/8" }, { name: "wwan*" }] },
    expected: [hidden("interfaces", 1, 0), hidden("interfaces", 2, 0)],
  },
  {
    paths: {
      connections: [
        { destination: "10.0.0.0/8", port: 80 },
        { destination: "10.0.0.0/8" },
        { destination: "10.1.0.0/16", port: 80 },
        { destination: "fd00::/8", port: 80 },
      ],
    },
    expected: [hidden("connections", 2, 0)],
  },
  {
    paths: { interfaces: [{ role: "metered", announce: true }] },
    expected: [
      "warning: Peers that are told of a metered address make subflows to it: leave " +
      "paths.interfaces[0].announce out",
    ],
  },
  {
    paths: { interfaces: [{ role: "off", announce: true }] },
    expected: [
      "warning: paths.interfaces[0].announce is ignored as the role is off: leave one of them out",
    ],
  },
  {
    paths: { layout: "primary-backup" },
    expected: [
      "warning: Nothing is kept as backup as all interfaces have one role and priority: set them in " +
      "paths.interfaces",
    ],
  },
  {
    paths: { connections: [{ layout: "primary-backup" }], interfaces: [{ priority: 5 }] },
    expected: [
      "warning: Nothing is kept as backup as all interfaces have one role and priority: set them in " +
      "paths.interfaces",
    ],
  },
  {
    paths: { layout: "primary-backup", interfaces: [{ name: "wwan0", role: "backup" }] },
    expected: [],
  },
  {
    paths: { layout: "primary-backup", interfaces: [{ name: "eth0", priority: 1 }] },
    expected: [],
  },
  {
    paths: { connections: [{ joins: "refuse" }] },
    expected: [
      "warning: paths.connections[0].joins is ignored as there is no guard: set paths.joins to {}",
    ],
  },
  { paths: { connections: [{ joins: "refuse" }], joins: {} }, expected: [] },
  {
    paths: {
      manager: "kernel",
      interfaces: [{ name: "eth0", subflows: 2 }],
      connections: [{ joins: "refuse" }],
      joins: {},
      retryMaxMs: 60_000,
      subflowsMax: 10,
      announcesMax: 9,
    },
    expected: [
      ...["interfaces[0].subflows", "connections", "retryMaxMs", "joins"].map((key) =>
        `warning: paths.${key} is ignored as the kernel's path manager has no such thing: leave it ` +
        'out, or set paths.manager to "userspace"'
      ),
      "warning: paths.subflowsMax counts as 9 as the kernel's path manager has no more: current " +
      "value is 10, lower it",
      "warning: paths.announcesMax counts as 8 as the kernel's path manager has no more: current " +
      "value is 9, lower it",
    ],
  },
  { paths: { manager: "kernel", subflowsMax: 9 }, expected: [] },
];

Deno.test("what has no effect is told, and stops nothing", async () => {
  for (const { paths, expected } of WARNINGS) {
    assert.deepEqual(await told(paths), expected, JSON.stringify(paths));
    assert.ok(await usable(paths));
  }
});

Deno.test("a mistake in one rule does not hide what is wrong with another", async () => {
  const texts = await told({
    interfaces: [{ name: "a b" }, { subnet: "x" }, {}, { name: "c" }, null],
    joins: { default: 5, interfaces: ["d"] },
  });
  assert.equal(texts.filter((text) => text.startsWith("Cannot use")).length, 4);
  assert.deepEqual(texts.filter((text) => text.startsWith("warning")), [
    hidden("interfaces", 3, 2),
  ]);
});

const GATEWAY = `// A gateway
{
  "auth": { "keyring": "/nonexistent/keyring" },
  "inputs": { "log": { "type": "file", "path": "/nonexistent/log" } },
  "paths": {
    "layout": "none",
    "connections": [{ "port": 3300 }]
  }
}`;

Deno.test("the daemon takes the paths of a gateway's file, whose keys and devices it cannot see", async () => {
  const flags = [
    { path: "paths.namespaces", value: ["a", "b"], from: "command line --namespace" },
    { path: "paths.socket", value: "/tmp/p.sock", from: "command line --socket" },
  ];
  const loaded = await withFile(GATEWAY, (path) => loadPathsConfig(path, flags));
  assert.ok(loaded.config !== null, JSON.stringify(loaded));
  const { config: { paths }, origins, warnings } = loaded;
  assert.deepEqual(warnings, []);
  assert.deepEqual(Object.keys(loaded.config), ["paths"]);
  assert.deepEqual([paths.layout, paths.connections[0]?.layout], ["none", "none"]);
  assert.deepEqual([paths.namespaces, paths.socket], [["a", "b"], "/tmp/p.sock"]);
  assert.match(origins.get("paths.layout")!, /^file .*c\.jsonc:6$/);
  assert.equal(origins.get("paths.connections[0].layout"), 'default, as that of "paths" is');
  assert.equal(origins.get("paths.namespaces"), "command line --namespace");
  assert.ok([...origins.keys()].every((key) => key.startsWith("paths.")));
});

Deno.test("the daemon has all defaults without paths, and flags win over those", async () => {
  const flags = [{ path: "paths.layout", value: "none", from: "command line --layout" }];
  const expected = { ...await usable({}), layout: "none" };
  for (const text of ["{}", '{ "paths": false }', '{ "paths": {} }', '{ "drainSeconds": 7 }']) {
    const { config } = await withFile(text, (path) => loadPathsConfig(path, flags));
    assert.deepEqual(config?.paths, expected, text);
  }
  const { config } = await loadPathsConfig(null);
  assert.deepEqual(config?.paths, await usable({}));
});

Deno.test("the daemon tells mistakes of the file and of flags, and a mistyped key", async () => {
  const flags = [{ path: "paths.layout", value: "mesh", from: "command line --layout" }];
  for (
    const [text, first] of [
      [
        '{ "pahts": {} }',
        'c.jsonc:1:3: Cannot use pahts as it is no known key, did you mean "paths"',
      ],
      [
        '{ "paths": { "subflowsMax": 0 } }',
        "c.jsonc:1:29: Cannot use paths.subflowsMax as it must be",
      ],
      [
        '{ "paths": { "joins": { "default": "interfaces" } } }',
        "c.jsonc:1:36: Cannot use paths.joins",
      ],
    ] as const
  ) {
    const texts = tell(await withFile(text, (path) => loadPathsConfig(path, flags)));
    assert.equal(texts.length, 2, text);
    assert.ok(texts[0]!.startsWith(first), texts[0]);
    assert.ok(texts[1]!.startsWith("command line --layout: Cannot use paths.layout as"), texts[1]);
  }
  const off = await withFile('{ "paths": false }', (path) => loadPathsConfig(path, flags));
  assert.equal(off.config, null);
  assert.equal((await loadPathsConfig("/nonexistent/c.jsonc")).config, null);
});

Deno.test("what --print-config shows is a file that gives the same", async () => {
  const value = {
    interfaces: [{ name: "eth0", priority: 10, announce: true }, {
      name: "wwan*",
      role: "metered",
    }],
    connections: [{ destination: "10.0.0.0/8", interfaces: ["eth0"], joins: "refuse" }],
    joins: { default: "interfaces", interfaces: ["eth*"], decide: "queue" },
    namespaces: ["blue"],
  };
  const loaded = await loadPathsConfig(null, [{ path: "paths", value, from: "test" }]);
  assert.ok(loaded.config !== null);
  const text = printConfig(loaded.config, loaded.origins);
  assert.match(text, /"namespaces": \["blue"\], \/\/ test$/m);
  assert.match(text, /"linkPollMs": 100, \/\/ default$/m);
  const again = await withFile(text, (path) => loadPathsConfig(path));
  assert.deepEqual(again.config, loaded.config);
  const asGateway = await withFile(text, (path) => loadGatewayConfig(path));
  assert.deepEqual(asGateway.config?.paths, loaded.config.paths);
});

Deno.test("the JSON Schema has every key, described, as the gateway's has them", () => {
  const { properties } = jsonSchema(PATHS_FILE_SCHEMA, "Fairlead paths") as {
    properties: { paths: { default: unknown; anyOf: [unknown, Record<string, unknown>] } };
  };
  assert.equal(properties.paths.default, false);
  const [off, table] = properties.paths.anyOf;
  assert.deepEqual(off, { const: false });
  const keys = table.properties as Record<string, { description: string }>;
  assert.deepEqual(Object.keys(keys), Object.keys(PATHS_SCHEMA.of.keys));
  for (const [key, { description }] of Object.entries(keys)) {
    assert.match(description, /\.$/, key);
  }
});
