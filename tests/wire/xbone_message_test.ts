/**
 * Messages of the X-Bone control protocol to text and back; those of the document; hostile ones.
 */
import assert from "node:assert/strict";
import { Family, parseInet } from "../../src/wire/inet.ts";
import { TCP_MESSAGE_MAX, UDP_MESSAGE_MAX } from "../../src/wire/xbone/framing.ts";
import type { Body, Invite, Message } from "../../src/wire/xbone/messages.ts";
import { type ReadMessage, readMessage } from "../../src/wire/xbone/read_message.ts";
import { writeMessage } from "../../src/wire/xbone/write_message.ts";
import { anyMessage, anyPlan, anyVisit, CATALOGUE, Chance, messageOf } from "./xbone_samples.ts";

const encoder = new TextEncoder();
const START = "(application overlay)(name lab)(level 0)(epoch 00112233445566aa)";

function read(text: string): ReadMessage {
  return readMessage(encoder.encode(text), TCP_MESSAGE_MAX);
}

function envelope(body: string): string {
  return `(xbonecontrol 1.0 0.1.0 7 ${body})`;
}

function bodyOf(text: string): Body {
  return accepted(text).message.body;
}

function accepted(text: string): ReadMessage & { message: Message } {
  const answer = read(text);
  assert.ok("message" in answer, "refusal" in answer ? answer.refusal : "");
  return answer;
}

function refused(text: string): ReadMessage & { refusal: string } {
  const answer = read(text);
  assert.ok("refusal" in answer, `accepted: ${text.slice(0, 500)}`);
  return answer;
}

for (const { body, text } of CATALOGUE) {
  Deno.test(`${body.verb} has one exact text, which reads back`, () => {
    const whole = `${envelope(text)}\nXBoneEOC\n`;
    assert.equal(writeMessage(messageOf(body)), whole);
    assert.deepEqual(read(whole), { message: messageOf(body), unknownFields: 0 });
    assert.deepEqual(read(envelope(text)), { message: messageOf(body), unknownFields: 0 });
  });
}

Deno.test("the catalogue has every verb", () => {
  assert.equal(new Set(CATALOGUE.map(({ body }) => body.verb)).size, 16);
});

Deno.test("whatever is written reads back the same", () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 1500; seed++) {
    const message = anyMessage(new Chance(seed));
    seen.add(message.body.verb);
    const answer = read(writeMessage(message));
    assert.deepEqual(answer, { message, unknownFields: 0 }, `seed ${seed}`);
  }
  assert.equal(seen.size, 16);
});

Deno.test("the fields of a body may stand in any order", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const chance = new Chance(seed);
    const fields = ["(type host)", "(sub w)", "(hold_ms 5)", ...START.split(/(?<=\))/)];
    const straight = bodyOf(envelope(`(select ${fields.join("")})`));
    for (let at = fields.length - 1; at > 0; at--) {
      const other = chance.next(at + 1);
      [fields[at], fields[other]] = [fields[other]!, fields[at]!];
    }
    assert.deepEqual(bodyOf(envelope(`(select ${fields.join(" ")})`)), straight);
  }
});

Deno.test("every truncated message is refused", () => {
  for (const { text } of CATALOGUE) {
    const whole = envelope(text);
    for (let end = 0; end < whole.length; end++) refused(whole.slice(0, end));
    for (let end = 1; end < "XBoneEOC".length; end++) {
      refused(`${whole}\n${"XBoneEOC".slice(0, end)}`);
    }
  }
});

Deno.test("every flipped bit is refused or gives a message that writes and reads as itself", () => {
  let taken = 0;
  for (const { text } of CATALOGUE) {
    const bytes = encoder.encode(envelope(text));
    for (let at = 0; at < bytes.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        bytes[at]! ^= 1 << bit;
        const answer = readMessage(bytes, UDP_MESSAGE_MAX);
        bytes[at]! ^= 1 << bit;
        if ("refusal" in answer) continue;
        taken++;
        assert.deepEqual(bodyOf(writeMessage(answer.message)), answer.message.body);
      }
    }
  }
  assert.ok(taken > 100);
});

Deno.test("random bytes and random pieces of messages never throw", () => {
  const pieces = [
    "(",
    ")",
    "'",
    "\\",
    "#",
    "\n",
    " ",
    "xbonecontrol",
    "1.0",
    "invite",
    "name",
    "é",
  ];
  const words = CATALOGUE.flatMap(({ text }) => text.split(/(?=[()' ])/));
  for (let seed = 1; seed <= 3000; seed++) {
    const chance = new Chance(seed);
    const text = chance.some(() => chance.pick(chance.next(2) === 0 ? pieces : words), 60).join("");
    read(text);
    read(envelope(`(${chance.pick(["invite", "config", "dance"])} ${START}${text})`));
    readMessage(Uint8Array.from(chance.some(() => chance.next(256), 60)), UDP_MESSAGE_MAX);
  }
});

const CREDENTIAL = `(credential (user_name 'Yu-Shun Wang') (user_email yushunwa@isi.edu)
  (auth_type x509) )`;

Deno.test("the Invite of the document is read", () => {
  const { message, unknownFields } = accepted(`(xbonecontrol 1.0 3.2 42
    ${CREDENTIAL}
    (invite # common fields
      (application overlay) (name abone-test) (version 1.5) (level 0)
      (host 2 linux)
      (router 3 freebsd)
      (meta 1)
      # common/application-specific (options
      (routing dynamic)
      (IPsec yes (authentication md5) (encryption des) (encryption 3des))
      (QoS yes)
      (application (name abone) (script http://a.example/s (freebsd http://a.example/f)
        (linux http://a.example/l)))
    ) ) XBoneEOC`) as { message: Message; unknownFields: number };
  assert.deepEqual(message.credential, {
    userName: "Yu-Shun Wang",
    userEmail: "yushunwa@isi.edu",
    authType: "x509",
  });
  assert.equal(message.release, "3.2");
  assert.equal(message.sequence, 42);
  assert.equal(unknownFields, 2); // scripts for each system: a box has the one
  assert.deepEqual(message.body, {
    verb: "invite",
    application: "overlay",
    name: "abone-test",
    version: "1.5",
    level: 0,
    epoch: "0000000000000000",
    host: { count: 2, os: ["linux"] },
    router: { count: 3, os: ["freebsd"] },
    meta: 1,
    subs: [],
    routing: "dynamic",
    encryption: "md5+des+3des",
    qos: true,
    script: { name: "abone", script: "http://a.example/s", sha256: "" },
    ttl: 1,
    replyTo: "",
    path: [],
    holdMs: 120_000,
  });
});

Deno.test("the other messages of the document are read, DELETE by both its names", () => {
  const fields = "(application overlay) (name abone-test) (level 1)";
  const verbs = [
    [`(ack-invite ${fields} (type both) (hostname add.isi.edu) (ipaddr 128.9.160.213))`],
    [`${CREDENTIAL} (select ${fields} (type router))`],
    [`(ack-select ${fields} (type host))`],
    [`${CREDENTIAL} (release ${fields})`],
    [`${CREDENTIAL} (stop ${fields})`],
    [`${CREDENTIAL} (delete ${fields})`, "stop"],
    [`(ack-stop ${fields} )`],
    [`(ack-delete ${fields} )`, "ack-stop"],
    [`(nack-delete ${fields} (reason busy))`, "nack"],
    [`${CREDENTIAL} (dispatch ${fields} (retry 0)
      (create_overlay (name w) (mode control) (node (name a) (role host))))`],
    [`(ack-dispatch ${fields} )`],
  ] as const;
  for (const [text, verb] of verbs) {
    const body = bodyOf(`(xbonecontrol 1.0 3.2 9 ${text} )\r\nXBoneEOC\r\n`);
    assert.equal(body.verb, verb ?? /.*\(([a-z-]+) \(application/s.exec(text)![1]);
    if (body.verb === "nack") assert.equal(body.of, "stop");
  }
});

Deno.test("an address is what parseInet() takes for one", () => {
  const parts = [
    "0",
    "1",
    "9",
    "10",
    "99",
    "100",
    "199",
    "249",
    "250",
    "255",
    "256",
    "300",
    "01",
    "1e1",
    "",
  ];
  for (let seed = 1; seed <= 4000; seed++) {
    const chance = new Chance(seed);
    const count = chance.pick([4, 4, 4, 3, 5]);
    const text = Array.from({ length: count }, () => chance.pick(parts)).join(".");
    const whole = envelope(
      `(ack-invite ${START}(type host)(hostname h)(ipaddr ${chance.pick(["", "::"])}${text}))`,
    );
    const address = /ipaddr ([^)]*)/.exec(whole)![1]!;
    const family = parseInet(address, new Uint8Array(16));
    assert.equal("message" in read(whole), family !== Family.None, address);
  }
});

Deno.test("a duration with a fraction is rounded before it is sent", () => {
  const body = CATALOGUE.find(({ body }) => body.verb === "status")!.body;
  const answer = bodyOf(writeMessage(messageOf({ ...body, waitMs: 1999.7 } as Body)));
  assert.ok(answer.verb === "status" && answer.waitMs === 2000);
});

Deno.test("no more boxes can be pinned than are counted", () => {
  const read = (count: number) => {
    const text = `(xbonecontrol 1.0 x 1 (invite (application overlay)(name lab)(level 0)` +
      `(host 0)(router 0)(meta 1)(sub (name west)(host 0)(router ${count} any (on a b)(else)))))`;
    return readMessage(encoder.encode(text), 1000);
  };
  const good = read(2);
  assert.ok("message" in good && good.message.body.verb === "invite");
  assert.deepEqual(good.message.body.subs[0]!.router, { count: 2, os: ["any"], on: ["a", "b"] });
  assert.equal(good.unknownFields, 1);
  const bad = read(1);
  assert.ok("refusal" in bad);
  assert.match(bad.refusal, /invite sub router as on must name at most 1: current value is b/);
});

Deno.test("IPsec is never taken for less than was asked", () => {
  const invite = (text: string): string =>
    (bodyOf(envelope(`(invite ${START}(host 0)(router 0)(meta 0)${text})`)) as Invite).encryption;
  assert.equal(invite(""), "none");
  assert.equal(invite("(IPsec no)"), "none");
  assert.equal(invite("(IPsec yes)"), "unspecified");
  assert.equal(invite("(IPsec yes (encryption none))"), "unspecified");
  assert.equal(invite("(IPsec yes (authentication md5))"), "md5");
  assert.equal(invite("(IPsec yes (encryption aes-gcm))"), "aes-gcm");
  assert.equal(invite("(IPsec yes (encryption des)(encryption aes-gcm))"), "des+aes-gcm");
});

Deno.test("unknown fields are ignored and counted wherever they stand", () => {
  const text = `(select ${START}(type host)(colour 'red' (deep (er)))loose (sub w (more x)))`;
  const answer = accepted(`${envelope(text).slice(0, -1)} (trailer 1))`);
  assert.equal((answer as { unknownFields: number }).unknownFields, 4);
  assert.deepEqual(answer.message.body, bodyOf(envelope(`(select ${START}(type host)(sub w))`)));
});

const REFUSED: readonly (readonly [string, RegExp])[] = [
  ["", /must have a list at character 0: current value is the end/],
  [
    "(xbonecontroll 1.0 r 1 (stop))",
    /must begin with xbonecontrol: current value is xbonecontroll/,
  ],
  [envelope(""), /body as it must be a list that begins with a verb: current value is nothing/],
  [`(xbonecontrol 1 r 1 (stop ${START}))`, /protocol_version as it must be MAJOR.MINOR: .* is 1$/],
  [`(xbonecontrol 1.0 r (stop ${START}))`, /xbonecontrol seq_no .* current value is a list/],
  [`(xbonecontrol 1.0 r 0 (stop ${START}))`, /seq_no as it must be a number .* current value is 0/],
  [`(xbonecontrol 1.0 r 9007199254740992 (stop ${START}))`, /seq_no .* is 9007199254740992/],
  [`(xbonecontrol 1.0 r 1e3 (stop ${START}))`, /seq_no .* is 1e3/],
  [envelope(`(stop ${START})(stop ${START})`), /xbonecontrol body as it must come once/],
  [envelope(`(stop ${START})(credential)`), /xbonecontrol body as it must come once/],
  [envelope(`(credential (user_name x))(stop ${START})`), /credential user_email as it must be th/],
  [envelope(`(stop ${START}(level 0))`), /Cannot read stop level as it must come once/],
  [envelope(`(stop (name lab)(level 0))`), /stop application as it must be there: .* nothing/],
  [envelope(`(select ${START})`), /Cannot read select type as it must be there/],
  [envelope(`(select ${START}(type both))`), /type as it must be one of host, .* is both/],
  [envelope(`(select ${START}(type host)(hold_ms -1))`), /hold_ms as it must be a number .* is -1/],
  [envelope(`(select ${START}(type host)(sub ''))`), /sub as it must be 1 to 255 printable/],
  [envelope(`(select ${START}(type host)(sub a b))`), /sub as it must be one text: .* is b/],
  [envelope(`(select ${START}(type host)(sub \u202ea))`), /at character/],
  [envelope(`(select ${START}(type host)(sub 'a\u202eb'))`), /sub .* current value is a\?b/],
  [envelope(`(stop (application a)(name b)(level 9))`), /level .* from 0 to 8: .* is 9/],
  [envelope(`(stop (application a)(name b)(level 0)(epoch 0))`), /epoch as .* 16 hex.* is 0/],
  [envelope(`(ack-invite ${START}(type host)(hostname h)(ipaddr 10.0.0.256))`), /ipaddr .*0.256/],
  [envelope(`(invite ${START}(host 513 any)(router 0)(meta 0))`), /host as .* from 0 to 512/],
  [envelope(`(invite ${START}(host 1)(router 0)(meta 0)(reply_to a:1))`), /reply_to .* is a:1/],
  [envelope(`(invite ${START}(host 1)(router 0)(meta 0)(reply_to 10.0.0.1:65536))`), /65536/],
  [envelope(`(release ${START}(keep ${"a ".repeat(513)}))`), /keep as it must be at most 512/],
  [
    envelope(`(ack-config ${START}(digest ${"g".repeat(64)})(generation 1))`),
    /digest as it must be 64 hexadecimal digits: current value is g{64}$/,
  ],
  [envelope(`(nack-config ${START}(reason '${"é".repeat(1025)}'))`), /reason .* at most 1024/],
];

Deno.test("a refusal names the field and its value", () => {
  for (const [text, expected] of REFUSED) assert.match(refused(text).refusal, expected);
});

Deno.test("each mandatory field is needed", () => {
  const missing = (text: string, fields: readonly string[]): void => {
    for (const field of fields) {
      const pattern = new RegExp(`\\(${field} [^()]*\\)`);
      assert.match(
        refused(text.replace(pattern, "")).refusal,
        new RegExp(`${field} as it must be`),
      );
    }
  };
  const text = (verb: Body["verb"]): string =>
    envelope(CATALOGUE.find(({ body }) => body.verb === verb)!.text);
  missing(text("invite"), ["name", "level", "host", "router", "meta"]);
  missing(text("ack-invite"), ["application", "type", "hostname", "ipaddr"]);
  missing(text("dispatch"), ["retry", "mode", "role"]);
  missing(text("ack-dispatch"), ["hostname", "ipaddr", "mtu"]);
  missing(text("config"), ["digest", "generation", "lease_ms", "network", "vni", "remote", "peer"]);
  missing(text("config"), ["spi_in", "entity", "deadline_ms"]);
  missing(text("status"), ["probes", "wait_ms"]);
  missing(text("nack"), ["reason"]);
});

Deno.test("a request that is refused can be answered, an answer cannot", () => {
  const common = {
    sequence: 7,
    application: "overlay",
    name: "lab",
    version: "",
    level: 0,
    epoch: "00112233445566aa",
  };
  const unknown = refused(envelope(`(dance ${START})`));
  assert.match(unknown.refusal, /must be a verb of the protocol: current value is dance/);
  assert.deepEqual(answerable(unknown), { verb: "dance", ...common });
  const other = refused(`(xbonecontrol 2.0 r 7 (delete ${START}))`);
  assert.match(other.refusal, /protocol_version as it must be 1.x: current value is 2.0/);
  assert.deepEqual(answerable(other), { verb: "stop", ...common });
  const script = refused(envelope(`(invite ${START}(application (name a)(script b)))`));
  assert.deepEqual(answerable(script), { verb: "invite", ...common });
  assert.equal(answerable(refused(envelope(`(ack-dance ${START})`))), null);
  assert.equal(answerable(refused(envelope(`(nack-config ${START})`))), null);
  assert.equal(answerable(refused(envelope(`(release ${START}(keep ()))(stop)`))), null);
  assert.equal(answerable(refused(envelope("(select (name lab))"))), null);
  assert.equal(answerable(refused(envelope(`('a dance' ${START})`))), null);
  assert.equal(answerable(refused(envelope(`(${"d".repeat(33)} ${START})`))), null);
});

function answerable(answer: ReadMessage): unknown {
  return "answerable" in answer ? answer.answerable : undefined;
}

Deno.test("no refusal shows a key", () => {
  const config = CATALOGUE.find(({ body }) => body.verb === "config")!.text;
  const key = "ab".repeat(20);
  const hostile = [
    config.replace(key, `${key}c0ffee`),
    config.replace(`(key_in ${key})`, `(key_in ${key})(key_in ${key})`),
    config.replace(`(key_in ${key})`, `(key_in ${key} ${key})`),
    config.replace(`(key_in ${key})`, `(key_in '${key})`),
    config.replace("QUJDREVG", `${key}!`),
    config.replace("QUJDREVG", `${key}'`),
    config.replace("(script (name", "(skript (name").replace("QUJDREVG", `${key}\\`),
  ];
  for (const text of hostile) {
    const { refusal } = refused(envelope(text));
    assert.ok(!/abab|QUJD/.test(refusal), refusal);
  }
});

Deno.test("text for people is cut to one line of its length before it is sent", () => {
  const body = CATALOGUE.find(({ body }) => body.verb === "nack")!.body;
  const nack = (reason: string): Body => {
    const answer = bodyOf(writeMessage(messageOf({ ...body, reason } as Body)));
    assert.equal(answer.verb, "nack");
    return answer;
  };
  const long = nack(`${"x".repeat(1022)}😀😀`);
  assert.ok(long.verb === "nack" && long.reason.length === 1024 && long.reason.endsWith("…"));
  const lines = nack("one\ntwo\u0000\u202e");
  assert.ok(lines.verb === "nack" && lines.reason === "one two  ");
});

Deno.test("a message above its limit is refused before it is read", () => {
  const text = envelope(`(stop ${START})`);
  assert.ok("message" in readMessage(encoder.encode(text), text.length));
  const answer = readMessage(encoder.encode(text), text.length - 1);
  assert.match("refusal" in answer ? answer.refusal : "", /at most \d+ bytes: current value is/);
});

Deno.test("more than 512 of a kind are refused", () => {
  const visit = anyVisit(new Chance(1), 513, 0);
  const config = CATALOGUE.find(({ body }) => body.verb === "config")!.body;
  const plan = { ...anyPlan(new Chance(1)), visits: [visit] };
  const text = writeMessage(messageOf({ ...config, plans: [plan] } as Body));
  assert.match(refused(text).refusal, /config plan visit link as it must be at most 512/);
});

Deno.test("the time to read a CONFIG grows with its bytes, not faster", () => {
  const config = CATALOGUE.find(({ body }) => body.verb === "config")!.body;
  const bytesOf = (boxes: number): Uint8Array => {
    const plans = Array.from({ length: boxes }, (_, index) => ({
      ...anyPlan(new Chance(index + 1)),
      visits: [anyVisit(new Chance(index + 1), 20, 256)],
    }));
    return encoder.encode(writeMessage(messageOf({ ...config, plans } as Body)));
  };
  const small = bytesOf(8);
  const large = bytesOf(64);
  assert.ok(large.length > 1024 * 1024, String(large.length));
  const msPerByte = (bytes: Uint8Array): number => {
    const start = performance.now();
    assert.ok("message" in readMessage(bytes, TCP_MESSAGE_MAX));
    return (performance.now() - start) / bytes.length;
  };
  const best = [Infinity, Infinity];
  // In turns, as other tests run beside this one.
  for (let round = 0; round < 8; round++) {
    best[0] = Math.min(best[0]!, msPerByte(small));
    best[1] = Math.min(best[1]!, msPerByte(large));
  }
  assert.ok(best[1]! < 4 * best[0]!, `${best[1]! / best[0]!} times the time for a byte`);
});
