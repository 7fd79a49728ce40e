/** JSON with comments: places, every mistake at once, limits, and no text that makes it throw. */
import assert from "node:assert/strict";
import {
  DEPTH_MAX,
  type JsonNode,
  MISTAKES_MAX,
  parseJsonc,
  plainValue,
  TEXT_SIZE_MAX,
} from "../../src/app/config/jsonc.ts";

function valueOf(text: string): unknown {
  const { root, mistakes } = parseJsonc(text);
  assert.deepEqual(mistakes, []);
  return plainValue(root!);
}

function mistakesOf(text: string): string[] {
  return parseJsonc(text).mistakes.map(({ line, column, text }) => `${line}:${column} ${text}`);
}

const SAMPLES: readonly unknown[] = [
  {},
  [],
  "",
  0,
  -0.5e-3,
  1e21,
  true,
  false,
  null,
  { a: { b: [1, "two", null, { c: [] }] }, "": "", "\u{1f600}": 'a"b\\c/d\b\f\n\r\t\u0001\u2028' },
  [[[]], [{}]],
];

Deno.test("what JSON.stringify writes is read as JSON.parse reads it", () => {
  for (const sample of SAMPLES) {
    for (const indent of [0, 2]) {
      const text = JSON.stringify(sample, null, indent);
      assert.deepEqual(valueOf(text), JSON.parse(text));
    }
  }
  assert.equal(valueOf('"\\u00e4\\u00C4\\/"'), "äÄ/");
});

/** The signs of a text, strings and numbers in one piece. */
const PIECES = /"(?:[^"\\]|\\.)*"|[\w.+-]+|[^\s]/g;

Deno.test("comments and white space may stand at every place, a comma before every bracket", () => {
  const text = JSON.stringify(SAMPLES);
  const pieces = text.match(PIECES)!;
  assert.ok(pieces.length > 40);
  const fillers = [" /* a */ ", '// } ] " ,\n', "/**/", "/* // \n */", "\r\n\t", "/*\n*/ // b\n"];
  for (const filler of fillers) {
    for (let at = 0; at <= pieces.length; at++) {
      const filled = [...pieces.slice(0, at), filler, ...pieces.slice(at)].join("");
      assert.deepEqual(valueOf(filled), SAMPLES, filled);
    }
    assert.deepEqual(valueOf(["", ...pieces, ""].join(filler)), SAMPLES);
  }
  const commas = pieces.map((piece, at) =>
    /^[\]}]$/.test(piece) && !/^[[{]$/.test(pieces[at - 1]!) ? `, ${piece}` : piece
  ).join("");
  assert.ok(commas.length > text.length);
  assert.deepEqual(valueOf(commas), SAMPLES);
  assert.deepEqual(valueOf("\ufeff[1]"), [1]);
  assert.deepEqual(valueOf("[1] // the end"), [1]);
});

Deno.test("each value has the line and column where it begins, and each key its own", () => {
  const text = '/* a\n */ {\r\n  "a" : [ 1,\n\t"b" ],\n "c": // d\n null }';
  const places: string[] = [];
  const visit = ({ at, ...node }: JsonNode): void => {
    places.push(`${at.line}:${at.column} ${node.kind}`);
    if (node.kind === "array") node.items.forEach(visit);
    if (node.kind !== "object") return;
    for (const [key, { key: place, value }] of node.members) {
      places.push(`${place.line}:${place.column} ${key}`);
      visit(value);
    }
  };
  visit(parseJsonc(text).root!);
  assert.deepEqual(places, [
    "2:5 object",
    "3:3 a",
    "3:9 array",
    "3:11 number",
    "4:2 string",
    "5:2 c",
    "6:2 null",
  ]);
});

const MISTAKES: readonly (readonly [string, readonly string[]])[] = [
  ["", ["1:1 Cannot read a value: current text is the end of the file"]],
  ["// a", ["1:5 Cannot read a value: current text is the end of the file"]],
  ["}", [
    '1:1 Cannot read a value: current text is "}"',
    '1:1 Cannot read what follows the end of the value: current text is "}"',
  ]],
  ["1 2", ['1:3 Cannot read what follows the end of the value: current text is "2"']],
  ['{"a":1', ['1:7 Cannot find the "}" of what opens in line 1']],
  ["[1,\n", ['2:1 Cannot find the "]" of what opens in line 1']],
  ['{"a":[1}', [
    '1:8 Cannot close what opens in line 1 with "}": "]" must',
    '1:9 Cannot find the "}" of what opens in line 1',
  ]],
  ['{"a" 1}', ['1:6 Cannot read the value of "a" as ":" must stand before it']],
  ['{"a":}', ['1:6 Cannot read a value: current text is "}"']],
  ['{"a":,"b":1}', ['1:6 Cannot read a value: current text is ","']],
  ['{"a":1 "b":2}', ['1:8 Cannot read "\\"" as a comma must stand before it']],
  ["[1 2]", ['1:4 Cannot read "2" as a comma must stand before it']],
  ["[,]", ["1:2 Cannot read a comma where a value must stand: remove it"]],
  ["[1,,2]", ["1:4 Cannot read a comma where a value must stand: remove it"]],
  ["{a:1}", ['1:2 Cannot read "a" as a key must stand in double quotes']],
  ["{'a':1}", ["1:2 Cannot read single quotes: put texts in double quotes"]],
  ["[yes]", ['1:2 Cannot read "yes" as a value: put texts in double quotes']],
  ["[True, NaN]", [
    '1:2 Cannot read "True" as a value: put texts in double quotes',
    '1:8 Cannot read "NaN" as a value: put texts in double quotes',
  ]],
  ...["+1", "01", ".5", "1.", "0x10", "1e", "-.5", "1_000"].map((number) =>
    [
      `[${number}]`,
      [`1:2 Cannot read number "${number}" as it must be decimal, without + or leading zeros`],
    ] as const
  ),
  ['["a\n]', ["1:2 Cannot find the end of the text that begins here: put a quote after it"]],
  ['["a\tb"]', ["1:4 Cannot read a control character in a text: write \\u0009"]],
  ['["C:\\dir\\u12"]', [
    '1:5 Cannot read escape "\\\\d": write a backslash as "\\\\"',
    '1:9 Cannot read escape "\\\\u": write a backslash as "\\\\"',
  ]],
  ["[1 /* a", ["1:4 Cannot find the end of the comment that begins here: put */ after it"]],
  ["[1 / 2]", [
    '1:4 Cannot read "/" as a comma must stand before it',
    '1:4 Cannot read a value: current text is "/"',
    '1:6 Cannot read "2" as a comma must stand before it',
  ]],
  ['{"a":1,\n"a":2}', ['2:1 Cannot use "a" twice: it stands in line 1 too, remove one']],
  ['{"\\u0061":1,"a":2}', ['1:13 Cannot use "a" twice: it stands in line 1 too, remove one']],
  ['{\n  a: 1\n  "b" 01,\n  "c": [yes],,\n  "c": 2\n}', [
    '2:3 Cannot read "a" as a key must stand in double quotes',
    '3:3 Cannot read "\\"" as a comma must stand before it',
    '3:7 Cannot read the value of "b" as ":" must stand before it',
    '3:7 Cannot read number "01" as it must be decimal, without + or leading zeros',
    '4:9 Cannot read "yes" as a value: put texts in double quotes',
    "4:14 Cannot read a comma where a value must stand: remove it",
    '5:3 Cannot use "c" twice: it stands in line 4 too, remove one',
  ]],
];

Deno.test.each(MISTAKES)("in %j every mistake is told with its place", (text, expected) => {
  assert.deepEqual(mistakesOf(text), expected);
});

Deno.test("of two equal keys the first counts, and __proto__ is a key like any other", () => {
  assert.deepEqual(plainValue(parseJsonc('{"a":1,"a":2}').root!), { a: 1 });
  const value = valueOf('{"__proto__":{"x":1},"constructor":2}') as Record<string, unknown>;
  assert.deepEqual(Object.keys(value), ["__proto__", "constructor"]);
  assert.equal(value.x, undefined);
});

Deno.test("depth, size and the number of mistakes are bounded", () => {
  const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);
  assert.deepEqual(mistakesOf(nested(DEPTH_MAX)), []);
  assert.deepEqual(mistakesOf(nested(DEPTH_MAX + 1)), [
    `1:${DEPTH_MAX + 1} Cannot read more than ${DEPTH_MAX} brackets within each other`,
  ]);
  assert.equal(mistakesOf("[".repeat(TEXT_SIZE_MAX)).length, 1);
  assert.deepEqual(mistakesOf(`"${"a".repeat(TEXT_SIZE_MAX - 2)}"`), []);
  assert.deepEqual(mistakesOf(" ".repeat(TEXT_SIZE_MAX + 1)), [
    `1:1 Cannot read more than ${TEXT_SIZE_MAX} characters: current size is ${TEXT_SIZE_MAX + 1}`,
  ]);
  assert.equal(mistakesOf("[" + ",".repeat(1000)).length, MISTAKES_MAX);
});

Deno.test("whatever the text, there is an answer: a value that JSON.parse agrees with, or mistakes", () => {
  const signs = [
    ..."{}[]:,\"'\\/* \n\r\t01-+.eEtrufalsn",
    "//",
    "/*",
    "*/",
    "true",
    '"a"',
    "[",
    "]",
    "[1,]",
    '{"b":',
    "\ud800",
    "é",
    "\0",
  ];
  let random = 20240607;
  const next = (below: number): number => {
    random = (random * 1103515245 + 12345) & 0x7fffffff;
    return (random >> 8) % below;
  };
  let valid = 0;
  for (let round = 0; round < 20_000; round++) {
    const text = Array.from({ length: next(2) * 16 + next(8) }, () => signs[next(signs.length)])
      .join("");
    const { root, mistakes } = parseJsonc(text);
    if (mistakes.length === 0) {
      valid++;
      const plain = text.replaceAll(
        /"(?:[^"\\]|\\.)*"|\/\*[^]*?\*\/|\/\/.*/g,
        (token) => token.startsWith("/") ? " " : token,
      );
      const strict = plain.replaceAll(
        /"(?:[^"\\]|\\.)*"|,(?=\s*[\]}])/g,
        (token) => token === "," ? "" : token,
      );
      assert.deepEqual(plainValue(root!), JSON.parse(strict), JSON.stringify(text));
    } else {
      assert.throws(() => JSON.parse(text), SyntaxError, JSON.stringify(text));
    }
  }
  assert.ok(valid > 100, `${valid}`);
});
