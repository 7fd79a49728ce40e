/** The JSON Schemas: they agree with the checks, with the defaults and with the documentation's files. */
import assert from "node:assert/strict";
import { GATEWAY_SCHEMA, loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import { HUB_SCHEMA, loadHubConfig } from "../../src/app/config/hub_config.ts";
import { jsonSchema } from "../../src/app/config/json_schema.ts";
import { loadManagerConfig, MANAGER_SCHEMA } from "../../src/app/config/overlay_manager_config.ts";
import {
  loadResourceConfig,
  RESOURCE_SCHEMA,
} from "../../src/app/config/overlay_resource_config.ts";
import { Pki } from "./overlay_pki.ts";

type Json = Record<string, unknown>;

const GATEWAY = jsonSchema(GATEWAY_SCHEMA, "Fairlead gateway");
const HUB = jsonSchema(HUB_SCHEMA, "Fairlead hub");
const RD = jsonSchema(RESOURCE_SCHEMA, "Fairlead overlay rd");
const OM = jsonSchema(MANAGER_SCHEMA, "Fairlead overlay om");

/** The keywords of JSON Schema 2020-12 that are used, and what each asks; others are a mistake. */
const KEYWORDS: Record<string, (rule: never, value: unknown, schema: Json) => boolean> = {
  $schema: () => true,
  title: () => true,
  description: (rule: string) => rule.endsWith("."),
  default: () => true,
  type: (rule: string, value) =>
    rule === "integer"
      ? Number.isInteger(value)
      : rule === "array"
      ? Array.isArray(value)
      : rule === "object"
      ? isObject(value)
      : rule === (value === null ? "null" : typeof value),
  const: (rule: unknown, value) => rule === value,
  enum: (rule: unknown[], value) => rule.includes(value),
  pattern: (rule: string, value) => typeof value !== "string" || new RegExp(rule, "u").test(value),
  minimum: (rule: number, value) => typeof value !== "number" || value >= rule,
  maximum: (rule: number, value) => typeof value !== "number" || value <= rule,
  items: (rule: Json, value) => !Array.isArray(value) || value.every((item) => valid(rule, item)),
  minItems: (rule: number, value) => !Array.isArray(value) || value.length >= rule,
  maxItems: (rule: number, value) => !Array.isArray(value) || value.length <= rule,
  uniqueItems: (rule: boolean, value) =>
    !rule || !Array.isArray(value) || new Set(value).size === value.length,
  properties: (rule: Record<string, Json>, value) =>
    !isObject(value) ||
    Object.entries(value).every(([key, member]) =>
      !Object.hasOwn(rule, key) || valid(rule[key]!, member)
    ),
  required: (rule: string[], value) =>
    !isObject(value) || rule.every((key) => Object.hasOwn(value, key)),
  additionalProperties: (rule: Json | false, value, schema) =>
    !isObject(value) ||
    Object.entries(value).filter(([key]) => !Object.hasOwn(schema.properties ?? {}, key))
      .every(([, member]) => rule !== false && valid(rule, member)),
  propertyNames: (rule: Json, value) =>
    !isObject(value) || Object.keys(value).every((key) => valid(rule, key)),
  maxProperties: (rule: number, value) => !isObject(value) || Object.keys(value).length <= rule,
  oneOf: (rule: Json[], value) => rule.filter((one) => valid(one, value)).length === 1,
  anyOf: (rule: Json[], value) => rule.some((one) => valid(one, value)),
};

function valid(schema: Json, value: unknown): boolean {
  return Object.entries(schema).every(([keyword, rule]) => {
    assert.ok(Object.hasOwn(KEYWORDS, keyword), keyword);
    return KEYWORDS[keyword]!(rule as never, value, schema);
  });
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Every schema within a schema. */
function* within(schema: unknown): Generator<Json> {
  if (Array.isArray(schema)) { for (const inner of schema) yield* within(inner); }
  if (!isObject(schema)) return;
  yield schema;
  for (const [keyword, inner] of Object.entries(schema)) {
    if (keyword === "properties") yield* within(Object.values(inner as Json)); // keys are names
    else if (keyword !== "default") yield* within(inner);
  }
}

/** The inputs and the rest of a file that has everything; no key or secret, which must exist. */
const GATEWAY_FILE = {
  $schema: "gateway.schema.json",
  name: "client.gw1",
  state: "/var/lib/fairlead",
  drainSeconds: 5,
  auth: { keyring: null, method: "none", mode: "crc" },
  io: "auto",
  transport: "auto",
  paths: {
    manager: "userspace",
    setPmType: false,
    socket: "/run/fairlead/paths.sock",
    namespaces: ["blue"],
    layout: "primary-backup",
    interfaces: [{
      name: "wwan*",
      subnet: "10.0.0.0/8",
      role: "metered",
      priority: 200,
      announce: false,
      subflows: 1,
    }],
    connections: [{
      destination: "fd00::/8",
      port: 3300,
      layout: "full-mesh",
      subflowsMax: 4,
      interfaces: ["eth*"],
      joins: "refuse",
    }],
    subflowsMax: 8,
    announcesMax: 8,
    announceIntervalMs: 200,
    retryFirstMs: 1000,
    retryMaxMs: 60000,
    upDelayMs: 2000,
    upDelayMaxMs: 60000,
    reconcileSeconds: 30,
    linkPollMs: 100,
    joins: {
      default: "interfaces",
      interfaces: ["eth*"],
      decide: "set",
      answerMs: 500,
      whenAway: "accept",
    },
  },
  standby: {
    role: "auto",
    box: "gw-a",
    group: "harbour",
    listen: "v2:10.9.9.1:6810",
    peer: "v2:10.9.9.2:6810",
    witness: "v2:hub.example:6820",
    preferred: true,
    heartbeatMs: 150,
    deadMs: 600,
    leaseMs: 1500,
    associations: true,
    inbound: "lossless",
    apply: "hold",
    thresholdPackets: 64,
    thresholdMs: 100,
    sessions: "sync",
    asyncMessages: 1000,
    asyncMs: 1000,
    addresses: [{ interface: "eth0", address: "203.0.113.9/24" }],
    watch: ["eth0"],
    socket: "/run/fairlead/standby.sock",
  },
  inputs: {
    lines: {
      type: "lines",
      listen: "127.0.0.1:8710",
      protocols: ["udp", "tcp"],
      acknowledge: false,
      topic: "lines",
    },
    syslog: {
      type: "syslog",
      listen: "127.0.0.1:5514",
      protocols: ["udp", "tcp"],
      topic: "syslog",
      parse: true,
    },
    http: {
      type: "http",
      listen: "127.0.0.1:8712",
      bodyBytesMax: 4194304,
      tokenFile: null,
      topic: "http",
    },
    log: { type: "file", path: "/var/log/messages", from: "end", topic: "log" },
    meter: {
      type: "serial",
      path: "/dev/ttyUSB0",
      baud: 9600,
      dataBits: 8,
      parity: "none",
      stopBits: 1,
      topic: "meter",
    },
    pipe: { type: "fifo", path: "/run/fairlead/in", topic: "pipe" },
    stdin: { type: "stdin", topic: "stdin" },
    box: { type: "readings", intervalSeconds: 1, topic: "readings" },
    statsd: { type: "statsd", listen: "127.0.0.1:8125", protocols: ["udp"], topic: "statsd" },
    mqtt: { type: "mqtt", listen: "127.0.0.1:1883", topicPrefix: "", passwordFile: null },
  },
  spool: {
    place: "disk",
    bytesMax: 268435456,
    ageMaxSeconds: 0,
    whenFull: "block",
    commitIntervalMs: 5,
  },
  hubs: { hq: { addresses: ["v2:hub.example:3300", "v2:hub2.example:3300"] } },
  routes: [{
    topic: "sensors/#",
    to: ["hq"],
    priority: "high",
    policy: "lossless",
    messagesPerSecond: 0,
  }],
  status: { listen: "127.0.0.1:8711" },
  log: { format: "text" },
  watchdog: null,
};

const HUB_FILE = {
  name: "mon.",
  listen: "v2:127.0.0.1:3300",
  state: "/var/lib/fairlead-hub",
  auth: { keyring: null, method: "none", mode: "crc" },
  io: "auto",
  transport: "auto",
  outputs: {
    archive: {
      type: "file",
      path: "/var/log/fairlead/messages.log",
      format: "text",
      rotateBytes: 104857600,
      rotateSeconds: 0,
      keep: 10,
      topic: "#",
      required: true,
    },
    screen: { type: "stdout", format: "text", topic: "#", required: false },
    live: { type: "sse", topic: "#", required: false },
    next: { type: "tcp", address: "127.0.0.1:9000", format: "text", topic: "#", required: false },
    siem: { type: "udp", address: "127.0.0.1:514", format: "text", topic: "#", required: false },
    up: { type: "forward", addresses: ["v2:hq:3300"], topic: "#", required: true },
  },
  status: { listen: "127.0.0.1:8721" },
  witness: { listen: "v2:127.0.0.1:6820" },
  log: { format: "text" },
  drainSeconds: 5,
  watchdog: null,
};

const pki = await Pki.make("overlay CA", Date.now() - 1000);
await pki.identity("gw1", "node");
await pki.identity("om1", "manager");
Deno.test.afterAll(() => pki[Symbol.asyncDispose]());

function identityOf(name: string): { certificate: string; key: string; ca: string } {
  const { dir } = pki;
  return { certificate: `${dir}/${name}.pem`, key: `${dir}/${name}.key`, ca: `${dir}/ca.pem` };
}

const RD_FILE = {
  identity: identityOf("gw1"),
  listen: "0.0.0.0:265",
  group: "239.255.2.65:265",
  interface: "192.0.2.1",
  address: "192.0.2.1",
  role: "both",
  overlays: 8,
  acl: [{ manager: "om-*", access: "deploy", overlays: 2 }],
  leaseSeconds: 3600,
  routing: null,
  script: { folder: "/etc/fairlead/scripts", urls: true, user: "nobody", deadlineSeconds: 30 },
  hosts: "/etc/hosts",
  refusals: true,
  state: "/var/lib/fairlead/overlay-rd",
  status: { listen: "127.0.0.1:8731" },
  log: { format: "text" },
};

const OM_FILE = {
  identity: identityOf("om1"),
  listen: "0.0.0.0:265",
  group: "239.255.2.65:265",
  interface: "192.0.2.1",
  nodes: ["192.0.2.7:265"],
  rings: [1, 4, 16],
  above: "239.255.2.66:265",
  acl: [{ manager: "hq-*", access: "deploy", overlays: 2 }],
  api: "0.0.0.0:2165",
  socket: "/run/fairlead/overlay.sock",
  timers: {
    invite: 1000,
    select: 2000,
    dispatch: 15000,
    user: 60000,
    config: 10000,
    probe: 2000,
    delete: 2000,
    refresh: 10000,
    lease: 60000,
  },
  state: "/var/lib/fairlead/overlay-om",
  status: { listen: "127.0.0.1:8732" },
  log: { format: "text" },
};

/** `least` is the shortest file that can be used. */
const KINDS = [
  { kind: "gateway", schema: GATEWAY, file: GATEWAY_FILE, load: loadGatewayConfig, least: {} },
  { kind: "hub", schema: HUB, file: HUB_FILE, load: loadHubConfig, least: {} },
  {
    ...{ kind: "resource daemon", schema: RD, file: RD_FILE, load: loadResourceConfig },
    least: { identity: identityOf("gw1") },
  },
  {
    ...{ kind: "manager", schema: OM, file: OM_FILE, load: loadManagerConfig },
    least: { identity: identityOf("om1") },
  },
];

/** True when a file with this value could be used, by our own checks. */
async function usable(
  load: (typeof KINDS)[number]["load"],
  value: Json,
): Promise<boolean> {
  const overrides = Object.entries(value).filter(([key]) => key !== "$schema")
    .map(([path, value]) => ({ path, value, from: "test" }));
  return (await load(null, overrides)).config !== null;
}

Deno.test.each(KINDS)(
  "a $kind's schema is of draft 2020-12, closed, and described",
  ({ schema }) => {
    assert.equal(schema.$schema, "https://json-schema.org/draft/2020-12/schema");
    const all = [...within(schema)];
    assert.ok(all.length > 30, `${all.length}`);
    for (const inner of all) {
      if (inner.type === "object" && inner.oneOf === undefined) {
        assert.ok(inner.additionalProperties !== undefined, JSON.stringify(inner));
      }
      if (!isObject(inner.properties)) continue;
      for (const [key, property] of Object.entries(inner.properties)) {
        if (key !== "type") assert.ok(isObject(property) && property.description, key);
      }
    }
  },
);

Deno.test.each(KINDS)("in a $kind's schema every default is valid", ({ least, schema }) => {
  let count = 0;
  for (const inner of within(schema)) {
    if (!Object.hasOwn(inner, "default")) continue;
    count++;
    assert.ok(valid(inner, inner.default), JSON.stringify(inner));
  }
  assert.ok(count > 15);
  assert.ok(valid(schema, least));
});

Deno.test.each(KINDS)(
  "a $kind's file with every key is valid, and is what defaults make of less",
  async ({ schema, file, load }) => {
    assert.ok(valid(schema, file));
    const path = await Deno.makeTempFile();
    await Deno.writeTextFile(path, JSON.stringify(file));
    const { config } = await load(path);
    await Deno.remove(path);
    const { $schema: _, ...rest } = file as typeof GATEWAY_FILE;
    assert.deepEqual(config, rest);
    assert.ok(valid(schema, config), "the effective values are a valid file");
  },
);

/** Values that are wrong somewhere, whatever they stand for. */
const WRONG: readonly unknown[] = [null, true, false, -1, 0.5, "", "#x", "\0", [], [[]], {}, {
  x: 1,
}];

/** Every copy of `value` with one thing changed, added or left out. */
function* changed(value: unknown): Generator<unknown> {
  yield* WRONG;
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      yield value.toSpliced(index, 1);
      yield [...value, item];
      for (const other of changed(item)) yield value.with(index, other);
    }
  } else if (isObject(value)) {
    yield { ...value, unknown: 1 };
    for (const [key, member] of Object.entries(value)) {
      const { [key]: _, ...rest } = value;
      yield rest;
      yield { ...rest, [`${key} `]: member };
      for (const other of changed(member)) yield { ...value, [key]: other };
    }
  }
}

Deno.test.each(KINDS)(
  "whatever a $kind's schema refuses our checks refuse",
  async ({ schema, file, load }) => {
    const counts = { both: 0, neither: 0, oursOnly: 0 };
    for (const value of changed(file)) {
      if (!isObject(value) || "$schema" in value && typeof value.$schema !== "string") continue;
      const ours = await usable(load, value);
      const theirs = valid(schema, value);
      assert.ok(theirs || !ours, JSON.stringify(value));
      if (ours) counts.both++;
      else if (theirs) counts.oursOnly++;
      else counts.neither++;
    }
    // What only our checks refuse are contradictions between keys.
    assert.ok(counts.both > 20 && counts.neither > 300, JSON.stringify(counts));
    assert.ok(counts.oursOnly < counts.neither / 10, JSON.stringify(counts));
  },
);
