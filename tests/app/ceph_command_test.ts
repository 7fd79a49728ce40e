/**
 * Words to commands. The descriptions are some of those that a monitor of Ceph 16.2.15 answers to
 * get_command_descriptions, but "osd set-group", which has a range with two ends; the expected
 * commands are those that Ceph's own tool of that release makes of the same words.
 */
import assert from "node:assert/strict";
import {
  CommandFloat,
  commandText,
  InvalidCommand,
  matchCommand,
  parseDescriptions,
  usageOf,
} from "../../src/app/ceph_command.ts";

const JSON_TEXT = JSON.stringify({
  cmd000: { sig: ["status"], help: "show cluster status", module: "mon", perm: "r", flags: 0 },
  cmd001: {
    sig: [
      ...["osd", "tree"],
      { name: "epoch", range: "0", req: "false", type: "CephInt" },
      {
        n: "N",
        name: "states",
        req: "false",
        strings: "up|down|in|out|destroyed",
        type: "CephChoices",
      },
    ],
  },
  cmd002: { sig: ["osd", "out", { n: "N", name: "ids", type: "CephString" }] },
  cmd003: {
    sig: [
      ...["osd", "pool", "create"],
      { name: "pool", type: "CephPoolname" },
      { name: "pg_num", range: "0", req: "false", type: "CephInt" },
      { name: "pgp_num", range: "0", req: "false", type: "CephInt" },
      {
        name: "pool_type",
        req: "false",
        strings: "replicated|erasure",
        type: "CephChoices",
      },
      {
        goodchars: "[A-Za-z0-9-_.]",
        name: "erasure_code_profile",
        req: "false",
        type: "CephString",
      },
      { name: "rule", req: "false", type: "CephString" },
      { name: "bulk", req: "false", type: "CephBool" },
      { name: "target_size_ratio", range: "0.0", req: "false", type: "CephFloat" },
    ],
  },
  cmd004: {
    sig: [
      ...["osd", "pool", "rm"],
      { name: "pool", type: "CephPoolname" },
      { name: "pool2", req: "false", type: "CephPoolname" },
      { name: "yes_i_really_really_mean_it", req: "false", type: "CephBool" },
    ],
  },
  cmd005: {
    sig: [
      ...["osd", "reweight"],
      { name: "id", type: "CephOsdName" },
      { name: "weight", range: "0.0", type: "CephFloat" },
    ],
  },
  cmd006: {
    sig: [
      ...["auth", "add"],
      { name: "entity", type: "CephString" },
      { n: "N", name: "caps", req: "false", type: "CephString" },
    ],
  },
  cmd007: { sig: ["pg", "map", { name: "pgid", type: "CephPgid" }] },
  cmd008: { sig: ["config", "get", { name: "who", type: "CephString" }] },
  cmd009: { sig: ["config", "get-all"] },
  cmd010: { sig: ["osd", "set-group", { name: "level", range: "1|3", type: "CephInt" }] },
});

const DESCRIPTIONS = parseDescriptions(JSON_TEXT);

const COMMANDS = [
  { line: "status", json: { prefix: "status" } },
  { line: "osd tree", json: { prefix: "osd tree" } },
  { line: "osd tree 5 up in", json: { prefix: "osd tree", epoch: 5, states: ["up", "in"] } },
  { line: "osd tree down", json: { prefix: "osd tree", states: ["down"] } },
  { line: "osd out 0 1 2", json: { prefix: "osd out", ids: ["0", "1", "2"] } },
  {
    line: "osd pool create p 8",
    json: { prefix: "osd pool create", pool: "p", pg_num: 8 },
  },
  {
    line: "osd pool create p 8 replicated --bulk",
    json: {
      prefix: "osd pool create",
      pool: "p",
      pg_num: 8,
      pool_type: "replicated",
      bulk: true,
    },
  },
  {
    line: "osd pool create --pg-num 8 --pool=p --target_size_ratio 0.5",
    json: {
      prefix: "osd pool create",
      pool: "p",
      pg_num: 8,
      target_size_ratio: new CommandFloat(0.5),
    },
  },
  {
    line: "osd pool rm p p --yes-i-really-really-mean-it",
    json: {
      prefix: "osd pool rm",
      pool: "p",
      pool2: "p",
      yes_i_really_really_mean_it: true,
    },
  },
  {
    line: "osd reweight osd.3 0.5",
    json: { prefix: "osd reweight", id: 3, weight: new CommandFloat(0.5) },
  },
  {
    line: "osd reweight 3 1",
    json: { prefix: "osd reweight", id: 3, weight: new CommandFloat(1) },
  },
  { line: "pg map 1.a0", json: { prefix: "pg map", pgid: "1.a0" } },
  {
    line: "auth add client.x mon allow",
    json: { prefix: "auth add", entity: "client.x", caps: ["mon", "allow"] },
  },
  { line: "config get-all", json: { prefix: "config get-all" } },
];

Deno.test.each(COMMANDS)("matchCommand() reads $line", ({ line, json }) => {
  assert.deepEqual(matchCommand(DESCRIPTIONS, line.split(" ")), json);
});

const WRONG = [
  {
    line: "stat",
    text: 'Cannot run "stat" as the cluster has no such command: did you mean "status"',
  },
  { line: "xyzzy plugh", text: 'Cannot run "xyzzy plugh" as the cluster has no such command' },
  {
    line: "osd pool create",
    text: 'Cannot run "osd pool create" as <pool> is missing, usage:\n' +
      "  osd pool create <pool> [<pg_num:int>] [<pgp_num:int>] [replicated|erasure] " +
      "[<erasure_code_profile>] [<rule>] [--bulk] [<target_size_ratio:float>]",
  },
  {
    line: "osd reweight 0 heavy",
    text: 'Cannot run "osd reweight" as <weight> must be a number, 0 or more: ' +
      'current value is "heavy", usage:\n  osd reweight <id:id|osd.id> <weight:float>',
  },
  {
    line: "osd set-group 4",
    text:
      'Cannot run "osd set-group" as <level> must be a whole number, 1 or more and 3 at most: ' +
      'current value is "4", usage:\n  osd set-group <level:int>',
  },
  {
    line: "osd set-group --level x",
    text:
      'Cannot run "osd set-group" as --level must be a whole number, 1 or more and 3 at most: ' +
      'current value is "x", usage:\n  osd set-group <level:int>',
  },
  {
    line: "status now",
    text:
      'Cannot run "status" as "now" is one word too many or none of its choices, usage:\n  status',
  },
];

Deno.test.each(WRONG)("matchCommand() refuses $line", ({ line, text }) => {
  assert.throws(() => matchCommand(DESCRIPTIONS, line.split(" ")), (error: unknown) => {
    assert.ok(error instanceof InvalidCommand);
    assert.equal(error.message, text);
    return true;
  });
});

Deno.test("matchCommand() lists a family's commands when a word of it is unknown", () => {
  assert.throws(
    () => matchCommand(DESCRIPTIONS, ["pg", "completely-different"]),
    /no such command, near it are:\n {2}pg map <pgid:pgid>$/,
  );
});

Deno.test("commandText() tells whole floats from integers, which a monitor does not mix up", () => {
  const json = matchCommand(DESCRIPTIONS, ["osd", "reweight", "osd.3", "1"]);
  assert.equal(commandText(json), '{"prefix": "osd reweight", "id": 3, "weight": 1.0}');
  const half = commandText({ prefix: "x", list: [new CommandFloat(0.5), "a"], flag: true });
  assert.equal(half, '{"prefix": "x", "list": [0.5, "a"], "flag": true}');
});

Deno.test("parseDescriptions() refuses what is none", () => {
  for (const text of ["[]", "3", '{"cmd000": {}}', '{"cmd000": {"sig": [3]}}']) {
    assert.throws(() => parseDescriptions(text), /^Error: Cannot read command descriptions/);
  }
});

Deno.test("usageOf() shows lists and flags", () => {
  assert.equal(usageOf(DESCRIPTIONS[1]!), "osd tree [<epoch:int>] [up|down|in|out|destroyed...]");
});
