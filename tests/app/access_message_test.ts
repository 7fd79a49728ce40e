/** Requests and events of the access socket: what is read, what is refused and how, the seed's names. */
import assert from "node:assert/strict";
import { formatToken } from "../../src/proto/mptcp/connection_table.ts";
import {
  ACCESS_GROUPS,
  accessEvent,
  parseConnection,
  parseRequest,
} from "../../src/app/paths/access_message.ts";
import type { Endpoint, PathEvent } from "../../src/proto/mptcp/path_events.ts";

const TOKEN = 0x388844a2;
const CONNECTION = "0x388844a2";

const READ: { text: string; request: unknown }[] = [
  {
    text: `{"command":"send_addr","connection":"${CONNECTION}","address_id":7,` +
      `"local_address":"10.9.2.1","local_port":0}`,
    request: {
      command: "send_addr",
      token: TOKEN,
      addressId: 7,
      localAddress: "10.9.2.1",
      localPort: 0,
    },
  },
  {
    text: `{"command":"send_addr","connection":"${CONNECTION}","local_address":"FD09:0::1"}`,
    request: {
      command: "send_addr",
      token: TOKEN,
      addressId: 0,
      localAddress: "fd09::1",
      localPort: null,
    },
  },
  {
    text: `{"command":"add_subflow","connection":"${CONNECTION}","local_address_id":2,` +
      `"local_address":"10.9.2.1","local_port":0,"remote_address_id":0,` +
      `"remote_address":"::ffff:10.9.1.2","remote_port":5001,"backup":false,"subflow":7}`,
    request: {
      command: "add_subflow",
      token: TOKEN,
      localId: 2,
      localAddress: "10.9.2.1",
      localPort: 0,
      remoteId: 0,
      remoteAddress: "::ffff:10.9.1.2",
      remotePort: 5001,
      backup: false,
      subflow: 7,
    },
  },
  {
    text: `{"command":"add_subflow","connection":"${CONNECTION}","local_address_id":2,` +
      `"remote_address_id":3}`,
    request: {
      command: "add_subflow",
      token: TOKEN,
      localId: 2,
      localAddress: null,
      localPort: null,
      remoteId: 3,
      remoteAddress: null,
      remotePort: null,
      backup: null,
      subflow: null,
    },
  },
  {
    text: `{"command":"allow_join","connection":"${CONNECTION}","remote_address_id":3}`,
    request: {
      command: "allow_join",
      token: TOKEN,
      remoteId: 3,
      localAddress: null,
      localPort: null,
      allow: false,
      backup: null,
      subflow: null,
    },
  },
  {
    text: `{"command":"set_backup","connection":"${CONNECTION}","subflow":2,"backup":true}`,
    request: { command: "set_backup", token: TOKEN, subflow: 2, backup: true },
  },
  {
    text: `{"command":"remove_subflow","connection":"0x1","subflow":4294967295}`,
    request: { command: "remove_subflow", token: 1, subflow: 4294967295 },
  },
  ...["list_connections", "view", "status"].map((command) => ({
    text: `{"command":"${command}","id":null}`,
    request: { command },
  })),
  ...["list_subflows", "list_remote_addresses", "list_local_addresses"].map((command) => ({
    text: `{"command":"${command}","connection":"${CONNECTION}"}`,
    request: { command, token: TOKEN },
  })),
  {
    text: `{"command":"set_policy","joins":"interfaces","interfaces":["wwan*","eth0"]}`,
    request: {
      command: "set_policy",
      token: null,
      joins: "interfaces",
      interfaces: ["wwan*", "eth0"],
    },
  },
  {
    text: `{"command":"set_policy","connection":"${CONNECTION}","joins":"refuse"}`,
    request: { command: "set_policy", token: TOKEN, joins: "refuse", interfaces: [] },
  },
  {
    text: `{"command":"subscribe","groups":["new_addr","link","new_addr"]}`,
    request: { command: "subscribe", groups: ["new_addr", "link"] },
  },
];

Deno.test.each(READ)("parseRequest() reads $text", ({ text, request }) => {
  assert.deepEqual(parseRequest(text), { id: null, request });
});

Deno.test("parseRequest() gives the id back, also with an error behind it", () => {
  assert.deepEqual(parseRequest('{"id":9,"command":"view"}'), {
    id: 9,
    request: { command: "view" },
  });
  const wrong = parseRequest('{"command":"remove_subflow","subflow":"2","id":9}');
  assert.equal(wrong.id, 9);
  assert.ok("error" in wrong);
});

const SUBFLOW = `"command":"add_subflow","connection":"${CONNECTION}"`;
const REFUSED: { text: string; error: RegExp }[] = [
  { text: "", error: /not JSON/ },
  { text: "{", error: /not JSON/ },
  { text: "\u001b[2J", error: /not JSON[ -~]*$/ },
  { text: "[1]", error: /must be a JSON object: current value is \[1\]/ },
  { text: "null", error: /current value is null/ },
  { text: "{}", error: /command is needed/ },
  { text: '{"command":7}', error: /command is unknown: current value is 7$/ },
  { text: '{"command":"toString"}', error: /command is unknown/ },
  { text: '{"command":"__proto__"}', error: /command is unknown/ },
  {
    text: '{"command":"add_subflw"}',
    error: /current value is "add_subflw", did you mean "add_subflow"\?/,
  },
  { text: '{"command":"view","id":"x"}', error: /id must be a whole number/ },
  { text: '{"command":"view","id":-1}', error: /id must be a whole number/ },
  {
    text: '{"command":"view","conection":1}',
    error: /Cannot do view as conection is unknown: current value is 1/,
  },
  {
    text: `{${SUBFLOW},"local_address_id":1,"remote_address_id":1,"backp":true}`,
    error: /backp is unknown: current value is true, did you mean "backup"\?/,
  },
  { text: '{"command":"list_subflows"}', error: /connection is needed/ },
  {
    text: '{"command":"list_subflows","connection":7}',
    error: /connection must be a text such as "0x388844a2": current value is 7/,
  },
  ...["", "0x", "0x0", "0x123456789", "388844a2", "0xg"].map((connection) => ({
    text: `{"command":"list_subflows","connection":"${connection}"}`,
    error: /connection must be/,
  })),
  { text: `{${SUBFLOW},"remote_address_id":1}`, error: /local_address_id or local_address is/ },
  { text: `{${SUBFLOW},"local_address_id":1}`, error: /remote_address_id or remote_address is/ },
  {
    text: `{${SUBFLOW},"local_address_id":256,"remote_address_id":1}`,
    error: /local_address_id must be a whole number, 0 to 255: current value is 256/,
  },
  {
    text: `{${SUBFLOW},"local_address_id":1.5,"remote_address_id":1}`,
    error: /local_address_id must be a whole number/,
  },
  {
    text: `{${SUBFLOW},"local_address":"10.9.2.300","remote_address_id":1}`,
    error: /local_address must be an IPv4 or IPv6 address: current value is "10.9.2.300"/,
  },
  {
    text: `{${SUBFLOW},"local_address_id":1,"remote_address_id":1,"remote_port":65536}`,
    error: /remote_port must be a whole number, 0 to 65535/,
  },
  {
    text: `{${SUBFLOW},"local_address_id":1,"remote_address_id":1,"backup":1}`,
    error: /backup must be true or false: current value is 1/,
  },
  {
    text: `{"command":"allow_join","connection":"${CONNECTION}"}`,
    error: /remote_address_id is needed/,
  },
  { text: `{"command":"set_backup","connection":"${CONNECTION}"}`, error: /subflow is needed/ },
  { text: `{"command":"send_addr","connection":"${CONNECTION}"}`, error: /local_address is/ },
  { text: '{"command":"set_policy"}', error: /joins is needed/ },
  { text: '{"command":"set_policy","joins":"acept"}', error: /did you mean "accept"\?/ },
  { text: '{"command":"set_policy","joins":"interfaces"}', error: /interfaces is needed/ },
  {
    text: '{"command":"set_policy","joins":"interfaces","interfaces":["sixteen-letters!"]}',
    error: /interfaces must hold names/,
  },
  {
    text: '{"command":"set_policy","joins":"accept","interfaces":["eth0"]}',
    error: /interfaces needs joins "interfaces"/,
  },
  {
    text: `{"command":"set_policy","connection":"0x1","joins":"interfaces","interfaces":["a"]}`,
    error: /for one connection/,
  },
  { text: '{"command":"subscribe"}', error: /groups is needed/ },
  { text: '{"command":"subscribe","groups":[]}', error: /list of 1 to 11 texts/ },
  { text: '{"command":"subscribe","groups":[1]}', error: /list of 1 to 11 texts/ },
  {
    text: '{"command":"subscribe","groups":["new_subflows"]}',
    error: /current value is "new_subflows", did you mean "new_subflow"\?/,
  },
];

Deno.test.each(REFUSED)("parseRequest() refuses $text", ({ text, error }) => {
  const parsed = parseRequest(text);
  assert.ok("error" in parsed, JSON.stringify(parsed));
  assert.match(parsed.error, error);
  assert.match(parsed.error, /^Cannot /);
});

Deno.test("an error of parseRequest() shows little of a long value, and no control character", () => {
  const parsed = parseRequest(JSON.stringify({ command: "\u001b[2J".repeat(10_000) }));
  assert.ok("error" in parsed);
  assert.ok(parsed.error.length < 300, parsed.error);
  const member = parseRequest(JSON.stringify({ command: "view", ["\u202e".repeat(50_000)]: 1 }));
  assert.ok("error" in member);
  // deno-lint-ignore no-control-regex -- they must not get through
  assert.doesNotMatch(parsed.error + member.error, /[\x00-\x1f\u202e]/);
});

Deno.test.each([{ open: "[", close: "]" }, { open: '{"a":', close: "}" }])(
  "a value of $open nested as deep as a line allows is refused like any other",
  ({ open, close }) => {
    const deep = (depth: number): string =>
      `${open.repeat(depth)}${open === "[" ? "" : "1"}${close.repeat(depth)}`;
    for (const depth of [1, 100, 5000, 10_000, 32_000]) {
      for (const name of ["x", "id", "connection", "groups"]) {
        const parsed = parseRequest(`{"command":"subscribe","${name}":${deep(depth)}}`);
        assert.ok("error" in parsed, `${depth}`);
        assert.ok(parsed.error.length < 300, parsed.error);
      }
    }
  },
);

Deno.test("connections are texts that come back as they went", () => {
  assert.equal(formatToken(TOKEN), CONNECTION);
  assert.equal(formatToken(0xfffffffe | 0), "0xfffffffe");
  assert.equal(parseConnection(formatToken(0xfffffffe)), 0xfffffffe);
  assert.equal(formatToken(1), "0x00000001");
});

const local: Endpoint = { address: "10.9.1.1", port: 5001 };
const remote: Endpoint = { address: "10.9.1.2", port: 50000 };
const token = TOKEN;
const LOCAL = { local_address: "10.9.1.1", local_port: 5001 };
const REMOTE = { remote_address: "10.9.1.2", remote_port: 50000 };
const EVENTS: { event: PathEvent; members: object }[] = [
  {
    event: {
      name: "new_connection",
      token,
      local,
      remote,
      serverSide: true,
      backup: false,
      found: false,
    },
    members: { ...LOCAL, ...REMOTE, backup: false, server_side: true, found: false },
  },
  {
    event: { name: "new_addr", token, remoteId: 7, remote },
    members: { remote_address_id: 7, ...REMOTE },
  },
  { event: { name: "addr_removed", token, remoteId: 7 }, members: { remote_address_id: 7 } },
  {
    event: {
      name: "join_attempt",
      token,
      localId: -1,
      local,
      remoteId: 3,
      remote,
      backup: true,
      verdict: "waiting",
    },
    members: {
      local_address_id: null,
      ...LOCAL,
      remote_address_id: 3,
      ...REMOTE,
      backup: true,
      verdict: "waiting",
    },
  },
  {
    event: {
      name: "new_subflow",
      token,
      subflow: 2,
      local,
      remote,
      localId: 4,
      remoteId: 0,
      backup: false,
    },
    members: {
      subflow: 2,
      local_address_id: 4,
      ...LOCAL,
      remote_address_id: 0,
      ...REMOTE,
      backup: false,
    },
  },
  {
    event: { name: "subflow_closed", token, subflow: 2, error: 111, resetReason: -1 },
    members: { subflow: 2, error: 111, reset_reason: null },
  },
  {
    event: { name: "subflow_priority", token, subflow: 2, backup: true, by: "peer" },
    members: { subflow: 2, backup: true, by: "peer" },
  },
  { event: { name: "conn_closed", token, found: true }, members: { found: true } },
];

Deno.test.each(EVENTS)("accessEvent() gives $event.name its members", ({ event, members }) => {
  assert.deepEqual(accessEvent(event), {
    event: event.name,
    connection: CONNECTION,
    ...members,
  });
});

Deno.test("accessEvent() knows links, addresses and listeners, has no group for notes, and a group for all else", () => {
  const link = accessEvent({ name: "link", index: 3, link: "eth0", up: false });
  assert.deepEqual(link, { event: "link", index: 3, link: "eth0", up: false });
  const address = accessEvent({
    name: "address",
    index: 3,
    link: "eth0",
    address: "10.0.0.1",
    there: true,
  });
  const members = { index: 3, link: "eth0", address: "10.0.0.1", there: true };
  assert.deepEqual(address, { event: "address", ...members });
  const local = { address: "0.0.0.0", port: 7000 };
  const listener = accessEvent({ name: "listener", local, open: true });
  const told = { event: "listener", local_address: "0.0.0.0", local_port: 7000, open: true };
  assert.deepEqual(listener, told);
  assert.equal(accessEvent({ name: "note", level: "info", text: "x" }), null);
  const names = [...EVENTS.map(({ event }) => event.name), "link", "address", "listener"];
  assert.deepEqual(names.toSorted(), [...ACCESS_GROUPS].toSorted());
});
