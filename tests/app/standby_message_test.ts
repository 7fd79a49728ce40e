/** What is said at the socket of a standby daemon: every command, and lines that are none. */
import assert from "node:assert/strict";
import {
  parseStandbyRequest,
  STANDBY_DAEMON,
  STANDBY_GROUPS,
  STANDBY_SOCKET,
} from "../../src/app/standby/standby_message.ts";
import { STANDBY_SCHEMA } from "../../src/app/config/standby_config.ts";

const READ: { text: string; request: unknown }[] = [
  { text: '{"command":"status"}', request: { command: "status" } },
  { text: '{"command":"diff"}', request: { command: "diff" } },
  { text: '{"command":"demote"}', request: { command: "demote" } },
  { text: '{"command":"promote"}', request: { command: "promote", force: false } },
  { text: '{"command":"promote","force":true}', request: { command: "promote", force: true } },
  { text: '{"command":"subscribe"}', request: { command: "subscribe", groups: ["role"] } },
  {
    text: ' {"command":"subscribe","groups":["role"]} ',
    request: { command: "subscribe", groups: ["role"] },
  },
  { text: '{"command":"subscribe","groups":[]}', request: { command: "subscribe", groups: [] } },
];

Deno.test.each(READ)("$text is a request, with its number and without", ({ request, text }) => {
  assert.deepEqual(parseStandbyRequest(text), { id: null, request });
  const numbered = text.replace("{", '{"id":7,');
  assert.deepEqual(parseStandbyRequest(numbered), { id: 7, request });
});

const REFUSED: { text: string; error: RegExp }[] = [
  { text: "", error: /^Cannot read request as it is not JSON: / },
  { text: "{", error: /^Cannot read request as it is not JSON: / },
  { text: "null", error: /must be a JSON object: current value is null$/ },
  { text: "[]", error: /must be a JSON object: current value is \[\]$/ },
  { text: '"status"', error: /must be a JSON object: current value is "status"$/ },
  { text: "{}", error: /^Cannot read command as it must be status, .*: current value is none$/ },
  { text: '{"command":"stop"}', error: /must be .* or subscribe: current value is "stop"$/ },
  { text: '{"command":["status"]}', error: /current value is \["status"\]$/ },
  {
    text: '{"command":"status","force":true}',
    error: /as it is unknown: current value is "force"$/,
  },
  {
    text: '{"command":"promote","forced":1}',
    error: /as it is unknown: current value is "forced"$/,
  },
  {
    text: '{"command":"promote","force":1}',
    error: /^Cannot read force as .*: current value is 1$/,
  },
  { text: '{"command":"promote","force":"yes"}', error: /true or false: current value is "yes"$/ },
  {
    text: '{"command":"subscribe","groups":"role"}',
    error: /^Cannot read groups as they are role: /,
  },
  { text: '{"command":"subscribe","groups":["sas"]}', error: /current value is \["sas"\]$/ },
  {
    text: '{"command":"demote","groups":[]}',
    error: /as it is unknown: current value is "groups"$/,
  },
  { text: '{"id":-1,"command":"status"}', error: /^Cannot read id as it must be a whole number: / },
  { text: '{"id":1.5,"command":"status"}', error: /whole number: current value is 1\.5$/ },
  { text: '{"id":"1","command":"status"}', error: /whole number: current value is "1"$/ },
  { text: '{"id":9007199254740992,"command":"status"}', error: /^Cannot read id / },
];

Deno.test.each(REFUSED)("$text is refused, and says why", ({ error, text }) => {
  const parsed = parseStandbyRequest(text);
  assert.ok("error" in parsed);
  assert.match(parsed.error, error);
  assert.equal(parsed.id, null);
});

Deno.test("a refusal repeats the number of its request", () => {
  const parsed = parseStandbyRequest('{"id":3,"command":"stop"}');
  assert.ok("error" in parsed);
  assert.equal(parsed.id, 3);
});

Deno.test("what a client sends is shown short, and without a control character", () => {
  const evil = "\u001b[2J\n\u202e".repeat(1000);
  for (const request of [{ command: evil }, { command: "promote", force: evil }, { [evil]: 1 }]) {
    const parsed = parseStandbyRequest(JSON.stringify(request));
    assert.ok("error" in parsed);
    // deno-lint-ignore no-control-regex -- they must not get through
    assert.doesNotMatch(parsed.error, /[\x00-\x1f\u202e]/);
    assert.ok(parsed.error.length < 700, `${parsed.error.length}`);
  }
});

Deno.test("members of an object's kind are no commands", () => {
  for (const command of ["toString", "constructor", "__proto__"]) {
    assert.ok("error" in parseStandbyRequest(JSON.stringify({ command })), command);
  }
  assert.ok("error" in parseStandbyRequest('{"command":"status","__proto__":1}'));
});

Deno.test("the socket is where the configuration has it unless it is said otherwise", () => {
  assert.equal(STANDBY_SOCKET, STANDBY_SCHEMA.of.keys.socket.default);
  assert.equal(STANDBY_DAEMON.start, "fairlead standby run");
  assert.deepEqual(STANDBY_GROUPS, ["role"]);
});
