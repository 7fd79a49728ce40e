/** S-expressions and the ends of messages in a stream: split points, hostile input, bounds. */
import assert from "node:assert/strict";
import { MessageFramer, UDP_MESSAGE_MAX } from "../../src/wire/xbone/framing.ts";
import { isAtom, type Item, readSexpr, SexprWriter } from "../../src/wire/xbone/sexpr.ts";
import { writeMessage } from "../../src/wire/xbone/write_message.ts";
import { anyMessage, CATALOGUE, Chance, messageOf } from "./xbone_samples.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function read(text: string): readonly Item[] | string {
  return readSexpr(encoder.encode(text), UDP_MESSAGE_MAX);
}

/** Messages of a stream that comes in pieces, and why it ended. */
function frames(pieces: readonly Uint8Array[], bytesMax = UDP_MESSAGE_MAX): string[] {
  const framer = new MessageFramer(bytesMax);
  const found: string[] = [];
  for (const piece of pieces) {
    framer.push(piece);
    for (let next = framer.next(); next !== null; next = framer.next()) {
      found.push(decoder.decode(next));
    }
  }
  if (framer.refusal !== null) found.push(framer.refusal);
  return found;
}

const LISTS: readonly (readonly [string, readonly Item[]])[] = [
  ["()", []],
  [" ( ) ", []],
  ["(a b)", ["a", "b"]],
  ["(a(b)(c 'd e')f)", ["a", ["b"], ["c", "d e"], "f"]],
  ["(a # no ) here ' nor here\r\n\tb)# end", ["a", "b"]],
  ["(a#touches\nb)", ["a", "b"]],
  ["('' '\\\\' '\\'' '(#\")')", ["", "\\", "'", '(#")']],
  ["('Zürich 東京 😀')", ["Zürich 東京 😀"]],
  ["(XBoneEOC)", ["XBoneEOC"]],
  ["(a)XBoneEOC", ["a"]],
  ["(a)\r\n# XBoneEOC\r\nXBoneEOC\r\n", ["a"]],
];

Deno.test("lists, texts and comments read as the grammar says", () => {
  for (const [text, list] of LISTS) assert.deepEqual(read(text), list, text);
});

const MALFORMED: readonly (readonly [string, RegExp])[] = [
  ["", /must have a list at character 0: current value is the end of the text/],
  ["a", /must have a list at character 0: current value is U\+0061/],
  ["\ufeff(a)", /must have a list at character 0: current value is U\+FEFF/],
  [
    "(a",
    /must have a blank or a parenthesis behind a text at character 2: current value is the end/,
  ],
  ["(a ", /must have a text, a list or its end at character 3: current value is the end/],
  ["(a))", /must have XBoneEOC at character 3: current value is U\+0029/],
  ["(a) (b)", /must have XBoneEOC at character 4/],
  ["(a)XBoneEOCx", /must have XBoneEOC at character 11/],
  ["(a)xboneeoc", /must have XBoneEOC at character 3/],
  ["('a''b')", /a blank or a parenthesis behind a text at character 4/],
  ["(a'b')", /a blank or a parenthesis behind a text at character 2/],
  ["('a'b)", /a blank or a parenthesis behind a text at character 4/],
  ["('a", /a printable character or the closing quote at character 3: .* the end/],
  ["('a\nb')", /a printable character or the closing quote at character 3: .* U\+000A/],
  ["('a\x7f')", /closing quote at character 3: current value is U\+007F/],
  ["('\\n')", /must have \\\\ or \\' at character 3: current value is U\+006E/],
  ["(a\\b)", /behind a text at character 2: current value is U\+005C/],
  ['("a")', /a text, a list or its end at character 1: current value is U\+0022/],
  ["(é)", /a text, a list or its end at character 1: current value is U\+00E9/],
  ["(\0)", /current value is U\+0000/],
  [`(${"a".repeat(4097)})`, /a text must be at most 4096 characters: .* one of 4097/],
  [`('${"a".repeat(4097)}')`, /a text must be at most 4096 characters: .* one of 4097/],
];

Deno.test("what the grammar does not know is refused with its place", () => {
  for (const [text, expected] of MALFORMED) assert.match(read(text) as string, expected, text);
});

Deno.test("bytes that are not UTF-8 are refused", () => {
  for (const bytes of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0xaf]]) {
    const list = readSexpr(Uint8Array.from([0x28, 0x27, ...bytes, 0x27, 0x29]), 100);
    assert.match(list as string, /Cannot read message as it must be UTF-8: current value is/);
  }
});

Deno.test("lists are 32 deep and no deeper, 10,000 and a million neither", () => {
  assert.equal(typeof read("(".repeat(32) + ")".repeat(32)), "object");
  for (const depth of [33, 10_000]) {
    const text = "(".repeat(depth) + ")".repeat(depth);
    assert.match(read(text) as string, /lists must be at most 32 deep: current value is one more/);
    assert.match(frames([encoder.encode(text)])[0]!, /lists must be at most 32 deep/);
  }
  const million = encoder.encode("(".repeat(1_000_000));
  assert.match(readSexpr(million, 1_000_000) as string, /at most 32 deep/);
});

Deno.test("a message of many millions of items is refused", () => {
  const bytes = encoder.encode(`(${"()".repeat(2_100_000)})`);
  assert.match(readSexpr(bytes, bytes.length) as string, /at most 2097152 items/);
});

Deno.test("the writer quotes what must be, and nothing else", () => {
  const writer = new SexprWriter();
  writer.open("a");
  for (
    const text of ["", "b", "c d", "it's", "\\", "(", ")", "#", '"', "é", "~!$&*+,-./:;<=>?@[]^_`"]
  ) {
    writer.text(text);
  }
  writer.open("e");
  writer.close();
  writer.open("f");
  writer.close();
  writer.text("g");
  writer.close();
  const text =
    "(a '' b 'c d' 'it\\'s' '\\\\' '(' ')' '#' '\"' 'é' ~!$&*+,-./:;<=>?@[]^_` (e)(f) g)";
  assert.equal(String(writer), text);
  assert.ok(isAtom("XBoneEOC") && !isAtom("") && !isAtom("a b") && !isAtom("a\n"));
});

const MESSAGES = CATALOGUE.map(({ body }) => writeMessage(messageOf(body)));
const CONTENTS = MESSAGES.map((text) => text.slice(0, text.lastIndexOf("\nXBoneEOC")));

Deno.test("messages follow each other in a stream", () => {
  assert.deepEqual(frames([encoder.encode(MESSAGES.join(""))]), CONTENTS);
});

/** What stands between messages in a stream, and what only looks like an end. */
const STREAM =
  "# XBoneEOC ' (\r\n(a 'XBoneEOC \\' )' # ) XBoneEOC '\n(XBoneEOC))XBoneEOC(b)\t# ( \n" +
  " XBoneEOC\r\n\n(c '\\\\')XBoneEOC(d";
const STREAM_FRAMES = ["(a 'XBoneEOC \\' )' # ) XBoneEOC '\n(XBoneEOC))", "(b)", "(c '\\\\')"];

Deno.test("a stream cut at any two places gives the same messages", () => {
  const good = encoder.encode(STREAM);
  const bad = encoder.encode(`${STREAM.slice(0, -2)}(d)Xbone (e)XBoneEOC`);
  const refusal = "Cannot read stream of messages as a message must end with XBoneEOC: " +
    "current value is byte 98";
  for (let first = 0; first <= bad.length; first++) {
    for (let second = first; second <= bad.length; second++) {
      const cut = (bytes: Uint8Array): Uint8Array[] => [
        bytes.subarray(0, first),
        bytes.subarray(first, second),
        bytes.subarray(second),
      ];
      if (second <= good.length) assert.deepEqual(frames(cut(good)), STREAM_FRAMES);
      assert.deepEqual(frames(cut(bad)), [...STREAM_FRAMES, refusal]);
    }
  }
});

Deno.test("a stream byte by byte gives what it gives at once, whatever is in it", () => {
  const pieces = ["(", ")", "'", "\\", "#", "\n", " ", "a", "XBoneEOC", "(a)XBoneEOC", "\0", "é"];
  for (let seed = 1; seed <= 1000; seed++) {
    const chance = new Chance(seed);
    const text = chance.some(() => chance.pick([...pieces, "(b 'c') XBoneEOC"]), 40).join("");
    const bytes = encoder.encode(text);
    const single = Array.from(bytes, (byte) => Uint8Array.of(byte));
    assert.deepEqual(frames(single, 30), frames([bytes], 30), `seed ${seed}`);
  }
});

Deno.test("every message that we write is cut out of a stream whole", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const chance = new Chance(seed);
    const texts = Array.from({ length: 5 }, () => writeMessage(anyMessage(chance)));
    const stream = encoder.encode(texts.join(""));
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < stream.length;) {
      const end = at + 1 + chance.next(400);
      pieces.push(stream.subarray(at, end));
      at = end;
    }
    const expected = texts.map((text) => text.slice(0, -"\nXBoneEOC\n".length));
    assert.deepEqual(frames(pieces, 1 << 20), expected, `seed ${seed}`);
  }
});

Deno.test("the terminator counts as soon as it is there, before any line end", () => {
  const framer = new MessageFramer(100);
  framer.push(encoder.encode("(a)XBoneEO"));
  assert.equal(framer.next(), null);
  framer.push(encoder.encode("C"));
  assert.equal(decoder.decode(framer.next()!), "(a)");
  assert.equal(framer.next(), null);
});

Deno.test("a refusal stays, and what came before it can be taken", () => {
  const framer = new MessageFramer(100);
  framer.push(encoder.encode("(a)XBoneEOC x"));
  const refusal = /Cannot read stream of messages as a message must begin with \(: .* byte 120$/;
  assert.match(framer.refusal!, refusal);
  framer.push(encoder.encode("(b)XBoneEOC"));
  assert.equal(decoder.decode(framer.next()!), "(a)");
  assert.equal(framer.next(), null);
  assert.match(framer.refusal!, refusal);
});

Deno.test("a message, a comment and blanks without end are refused at the limit", () => {
  for (const endless of ["(", "('", "#", " ", "(a)", "(a) "]) {
    const framer = new MessageFramer(1000);
    framer.push(encoder.encode(endless));
    let pushed = 0;
    for (; framer.refusal === null && pushed < 10_000; pushed += 10) {
      framer.push(encoder.encode(endless === "(a)" ? "\n\n\n\n\n\n\n\n\n\n" : "          "));
    }
    assert.ok(pushed <= 1020, `${endless} ${pushed}`);
    assert.match(
      framer.refusal!,
      /a message must be at most 1000 bytes: current value is 1013 and/,
    );
  }
  const fits = `(${"a".repeat(998)})`;
  assert.deepEqual(frames([encoder.encode(`${fits}\r\nXBoneEOC\r\n`)], 1000), [fits]);
});
