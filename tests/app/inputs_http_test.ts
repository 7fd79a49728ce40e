/** The HTTP input over real loopback TCP. */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import type { Input } from "../../src/app/gateway/intake.ts";
import { type HttpOptions, openHttp, REQUESTS_MAX } from "../../src/app/inputs/http.ts";
import { BATCH_MESSAGES_MAX, BatchError, cutBatch } from "../../src/app/inputs/http_batch.ts";
import { nowMs } from "../../src/io/clock.ts";
import { FakeIntake } from "./fake_intake.ts";

const OPTIONS: HttpOptions = {
  listen: "127.0.0.1:0",
  bodyBytesMax: 4 * 1024 * 1024,
  tokenFile: null,
  topic: "http",
};
const TEXT = { "content-type": "text/plain" };
const JSON_TYPE = { "content-type": "application/json" };

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What came back. */
interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // deno-lint-ignore no-explicit-any -- a test asserts what it is
  readonly body: any;
}

/** An input, its intake, and what sends to it; all are closed at the end. */
class Bench implements AsyncDisposable {
  readonly intake: FakeIntake;
  readonly input: Input;
  readonly #client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  readonly #conns: Deno.TcpConn[] = [];
  #stopped = false;

  private constructor(input: Input, intake: FakeIntake) {
    this.input = input;
    this.intake = intake;
  }

  static async open(options: Partial<HttpOptions> = {}, bodyDeadlineMs?: number): Promise<Bench> {
    const intake = new FakeIntake();
    const all = { ...OPTIONS, ...options };
    return new Bench(await openHttp("http", all, intake, bodyDeadlineMs), intake);
  }

  get port(): number {
    return Number(this.input.where.split(":").at(-1));
  }

  async post(
    path: string,
    body: BodyInit,
    headers: Record<string, string> = {},
    method = "POST",
  ): Promise<Answer> {
    const response = await fetch(`http://${this.input.where}${path}`, {
      method,
      headers,
      ...(method === "GET" ? {} : { body }),
      client: this.#client,
    });
    return {
      status: response.status,
      headers: response.headers,
      body: await response.json(),
    };
  }

  /** A connection that sends just this. */
  async dial(head: string, body: Uint8Array = new Uint8Array()): Promise<Deno.TcpConn> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
    this.#conns.push(conn);
    const bytes = encoder.encode(head.replaceAll("\n", "\r\n"));
    for (const part of [bytes, body]) {
      for (let at = 0; at < part.length;) at += await conn.write(part.subarray(at));
    }
    return conn;
  }

  async stop(graceMs = 2000): Promise<void> {
    this.#stopped = true;
    await this.input.stop(nowMs() + graceMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const conn of this.#conns) conn.close();
    this.intake.setFailing(false);
    this.intake.setRoom(Infinity);
    this.intake.release();
    if (!this.#stopped) await this.stop();
    this.#client.close();
    await until("the end of all requests", () => this.input.counts.clients === 0);
    assert.equal(this.input.counts.waiting, 0);
  }
}

function zipped(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(gzipSync(text));
}

/** The status line of an answer. */
async function statusOf(conn: Deno.TcpConn): Promise<number> {
  let text = "";
  const bytes = new Uint8Array(4096);
  while (!text.includes("\r\n")) {
    const count = await conn.read(bytes);
    if (count === null) return 0;
    text += decoder.decode(bytes.subarray(0, count));
  }
  return Number(text.split(" ")[1]);
}

async function until(what: string, check: () => boolean): Promise<void> {
  const deadlineMs = nowMs() + 5000;
  while (!check()) {
    assert.ok(nowMs() < deadlineMs, `Cannot wait any longer for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function withFile(text: string, job: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, text);
    await job(path);
  } finally {
    await Deno.remove(path);
  }
}

interface Form {
  readonly what: string;
  readonly type: string;
  readonly query?: string;
  readonly body: string;
  readonly texts: readonly string[];
  readonly contentType: string;
}

const FORMS: readonly Form[] = [
  {
    what: "lines",
    type: "text/plain; charset=UTF-8",
    body: "one\r\ntwo\n\nfour",
    texts: ["one", "two", "", "four"],
    contentType: "text/plain",
  },
  {
    what: "lines of JSON, blank ones left out",
    type: "application/x-ndjson",
    body: '{"a":1}\n \r\n[2]\n3\n',
    texts: ['{"a":1}', "[2]", "3"],
    contentType: "application/json",
  },
  {
    what: "one JSON message",
    type: "application/json",
    body: ' {"a": 1.0,\n"b": 12345678901234567890}\n',
    texts: [' {"a": 1.0,\n"b": 12345678901234567890}\n'],
    contentType: "application/json",
  },
  {
    what: "a JSON array, its elements as they were written",
    type: "Application/JSON",
    body: ' [ {"a": [1, 2], "b": "],\\"["} ,\n1.0, "x,y" , [], [[3]],null ] ',
    texts: ['{"a": [1, 2], "b": "],\\"["}', "1.0", '"x,y"', "[]", "[[3]]", "null"],
    contentType: "application/json",
  },
  { what: "an empty array", type: "application/json", body: "[ ]", texts: [], contentType: "" },
  {
    what: "JSON with batch=lines",
    type: "application/json",
    query: "?batch=lines",
    body: "[1,2]\n{}\n",
    texts: ["[1,2]", "{}"],
    contentType: "application/json",
  },
  {
    what: "bytes as they are",
    type: "application/octet-stream",
    body: "one\ntwo\n",
    texts: ["one\ntwo\n"],
    contentType: "application/octet-stream",
  },
  {
    what: "another type with batch=lines",
    type: "text/csv; header=absent",
    query: "?batch=lines",
    body: "1,2\n3,4\n",
    texts: ["1,2", "3,4"],
    contentType: "text/csv",
  },
];
Deno.test.each(FORMS)(
  "a body is cut into $what",
  async ({ body, contentType, query, texts, type }) => {
    await using bench = await Bench.open();
    const answer = await bench.post(`/${query ?? ""}`, body, { "content-type": type });
    assert.deepEqual([answer.status, answer.body], [202, { accepted: texts.length }]);
    assert.deepEqual(bench.intake.texts, texts);
    for (const message of bench.intake.messages) {
      assert.deepEqual([message.topic, message.contentType], ["http", contentType]);
    }
    assert.equal(bench.input.counts.messages, texts.length);
    assert.equal(bench.input.counts.refused, 0);
  },
);

Deno.test("the path is the topic, percent-decoded, and nothing else is made of it", async () => {
  await using bench = await Bench.open();
  const bytes = encoder.encode("x");
  for (
    const path of ["/a/b", "/gr%C3%B6%C3%9Fe/%20", "/a/../b", "/a//", "//a?batch=lines", "/%2F"]
  ) {
    const head = `POST ${path} HTTP/1.1\nHost: x\nContent-Length: 1\n\n`;
    assert.equal(await statusOf(await bench.dial(head, bytes)), 202, path);
  }
  assert.deepEqual(
    bench.intake.messages.map(({ topic }) => topic),
    ["a/b", "größe/ ", "a/../b", "a//", "/a", "/"],
  );
  for (const path of ["/%2B", "/a/%23", "/%00", "/%ff", "/%", `/${"x".repeat(1025)}`]) {
    const head = `POST ${path} HTTP/1.1\nHost: x\nContent-Length: 1\n\n`;
    assert.equal(await statusOf(await bench.dial(head, bytes)), 400, path);
  }
});

interface Refused {
  readonly what: string;
  readonly body: string;
  readonly headers: Record<string, string>;
  readonly status: number;
  readonly path?: string;
  readonly method?: string;
  readonly error?: RegExp;
}

const REFUSED: readonly Refused[] = [
  { what: "an empty body", body: "", headers: TEXT, status: 400 },
  { what: "broken JSON", body: '{"a":', headers: JSON_TYPE, status: 400 },
  { what: "JSON that is no UTF-8", body: '"\xff"', headers: JSON_TYPE, status: 400 },
  {
    what: "a broken line",
    body: "{}\n{}\nnope\n{}",
    headers: { "content-type": "application/x-ndjson" },
    status: 400,
    error: /line 3 /,
  },
  {
    what: "another charset",
    body: "x",
    headers: { "content-type": "text/plain; charset=latin1" },
    status: 415,
  },
  { what: "no media type", body: "x", headers: { "content-type": "text" }, status: 415 },
  { what: "another coding", body: "x", headers: { "content-encoding": "br" }, status: 415 },
  { what: "no gzip", body: "x", headers: { "content-encoding": "gzip" }, status: 400 },
  { what: "another batch", path: "/?batch=all", body: "x", headers: TEXT, status: 400 },
  { what: "another method", body: "x", headers: TEXT, method: "PUT", status: 405 },
  { what: "a GET", body: "", headers: {}, method: "GET", status: 405 },
  {
    what: "a page of another origin",
    body: "x",
    headers: { ...TEXT, origin: "http://evil.example" },
    status: 403,
  },
  { what: "a line of 64 KiB and one", body: "x".repeat(65_537), headers: TEXT, status: 413 },
  { what: "65,537 lines", body: "\n".repeat(65_537), headers: TEXT, status: 413 },
];
Deno.test.each(REFUSED)(
  "$what is refused with $status, and nothing is taken",
  async ({ body, error, headers, method, path, status }) => {
    await using bench = await Bench.open();
    const bytes = Uint8Array.from(body, (char) => char.charCodeAt(0));
    const answer = await bench.post(path ?? "/", bytes, headers, method);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.match(answer.body.error, error ?? /^Cannot /);
    assert.equal(answer.headers.get("allow"), status === 405 ? "POST" : null);
    assert.deepEqual(bench.intake.messages, []);
    assert.equal(bench.input.counts.refused, 1);
  },
);

Deno.test("a body without a length is refused with 411, a broken length with 400", async () => {
  await using bench = await Bench.open();
  assert.equal(await statusOf(await bench.dial("POST / HTTP/1.1\nHost: x\n\n")), 411);
  const broken = "POST / HTTP/1.1\nHost: x\nContent-Length: -1\n\n";
  assert.equal(await statusOf(await bench.dial(broken)), 400);
});

Deno.test("bodyBytesMax bounds what was told, what comes, and what is inflated", async () => {
  await using bench = await Bench.open({ bodyBytesMax: 1000 });
  assert.equal((await bench.post("/", "x".repeat(1000))).status, 202);
  const told = "POST / HTTP/1.1\nHost: x\nContent-Length: 1001\n\n"; // and not a byte of it
  assert.equal(await statusOf(await bench.dial(told)), 413);
  const chunk = encoder.encode(`3e8\r\n${"x".repeat(1000)}\r\n1\r\nx\r\n0\r\n\r\n`);
  const chunked = "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n";
  assert.equal(await statusOf(await bench.dial(chunked, chunk)), 413);
  const gzip = { "content-encoding": "gzip" };
  assert.equal((await bench.post("/", zipped("x".repeat(1000)), gzip)).status, 202);
  const bomb = await bench.post("/", zipped("x".repeat(900_000)), gzip);
  assert.equal(bomb.status, 413);
  assert.match(bomb.body.error, /1000 bytes or less inflated/);
  assert.equal((await bench.post("/", zipped("x").subarray(0, 15), gzip)).status, 400);
  assert.deepEqual(bench.intake.texts, ["x".repeat(1000), "x".repeat(1000)]);
});

Deno.test("a chunked body is the same at every split point", async () => {
  await using bench = await Bench.open();
  const body = "one\ntwo\r\nthree";
  const head = "POST / HTTP/1.1\nHost: x\nContent-Type: text/plain\nTransfer-Encoding: chunked\n\n";
  for (let at = 1; at < body.length; at++) {
    const chunks = [body.slice(0, at), body.slice(at)].map((part) =>
      `${part.length.toString(16)}\r\n${part}\r\n`
    );
    const conn = await bench.dial(head, encoder.encode(chunks[0]!));
    await conn.write(encoder.encode(`${chunks[1]}0\r\n\r\n`));
    assert.equal(await statusOf(conn), 202);
    assert.deepEqual(bench.intake.texts.splice(-3), ["one", "two", "three"], `split at ${at}`);
  }
});

Deno.test("202 comes only when the messages are durable", async () => {
  await using bench = await Bench.open();
  bench.intake.hold();
  let answered = false;
  const answering = bench.post("/", "x").then((answer) => {
    answered = true;
    return answer;
  });
  await bench.intake.asked(1);
  assert.deepEqual(bench.intake.texts, ["x"]);
  bench.intake.setRoom(0);
  assert.equal((await bench.post("/", "y")).status, 503); // a whole round trip later
  assert.equal(answered, false);
  bench.intake.release();
  assert.equal((await answering).status, 202);
});

Deno.test("no room is 503 with Retry-After, and nothing was taken", async () => {
  await using bench = await Bench.open();
  bench.intake.setRoom(0);
  const answer = await bench.post("/", "a\nb", TEXT);
  assert.equal(answer.status, 503);
  assert.equal(answer.headers.get("retry-after"), "1");
  assert.equal(answer.body.accepted, 0);
  assert.equal(bench.input.counts.refused, 1);
  assert.equal(bench.input.counts.dropped, 0, "its sender knows");
});

Deno.test("a batch that meets no room in its middle waits, when that helps", async () => {
  await using bench = await Bench.open();
  bench.intake.setRoom(2);
  const answering = bench.post("/", "a\nb\nc\nd", TEXT);
  await bench.intake.refused(2);
  assert.equal(bench.input.counts.waiting, 1);
  bench.intake.setRoom(5);
  assert.deepEqual((await answering).body, { accepted: 4 });
  assert.deepEqual(bench.intake.texts, ["a", "b", "c", "d"]);
});

Deno.test("a batch that was taken in part says how many, once these are durable", async () => {
  await using bench = await Bench.open();
  bench.intake.waits = false;
  bench.intake.setRoom(2);
  const answer = await bench.post("/", "a\nb\nc\nd", TEXT);
  assert.equal(answer.status, 503);
  assert.equal(answer.body.accepted, 2);
  assert.match(answer.body.error, /room for 2 of 4 messages/);
  assert.equal(bench.intake.durables, 1);
});

Deno.test("a spool that fails is 503, and trouble until it works again", async () => {
  await using bench = await Bench.open();
  const { durable } = bench.intake;
  bench.intake.durable = () => Promise.reject(new Error("disk is gone"));
  const answer = await bench.post("/", "x");
  assert.deepEqual([answer.status, answer.body.accepted], [503, 0]);
  assert.equal(bench.input.trouble, "Cannot store messages on disk: disk is gone");
  bench.intake.durable = durable;
  assert.equal((await bench.post("/", "x")).status, 202);
  assert.equal(bench.input.trouble, "");
});

Deno.test("requests without the token are refused before their body is read", async () => {
  await withFile("first token \nnot this one\n", async (tokenFile) => {
    await using bench = await Bench.open({ tokenFile });
    const answer = async (authorization: string): Promise<number> =>
      (await bench.post("/", "x", { authorization })).status;
    assert.equal(await answer("Bearer first token"), 202);
    assert.equal(await answer("bearer  first token"), 202, "RFC 9110 section 11.1");
    for (const wrong of ["Bearer first", "Bearer first token2", "Basic first token", "Bearer "]) {
      assert.equal(await answer(wrong), 401, wrong);
    }
    const none = await bench.post("/", "x");
    assert.equal(none.status, 401);
    assert.equal(none.headers.get("www-authenticate"), 'Bearer realm="fairlead"');
    const early = "POST / HTTP/1.1\nHost: x\nContent-Length: 100\n\n";
    assert.equal(await statusOf(await bench.dial(early)), 401);
    await Deno.writeTextFile(tokenFile, "other\n");
    assert.equal(await answer("Bearer first token"), 401);
    assert.equal(await answer("Bearer other"), 202);
    await Deno.writeTextFile(tokenFile, "");
    assert.equal(await answer("Bearer other"), 202, "what was read last counts on");
    assert.match(bench.input.trouble, /its first line must be a token: it is empty/);
    assert.equal(await answer("Bearer "), 401);
  });
});

Deno.test("a body that does not come in time is refused with 408", async () => {
  await using bench = await Bench.open({}, 50);
  const head = "POST / HTTP/1.1\nHost: x\nContent-Length: 10\n\n";
  assert.equal(await statusOf(await bench.dial(head, encoder.encode("12345"))), 408);
  assert.equal(bench.input.counts.refused, 1);
});

Deno.test("a body that breaks off takes nothing, and the input lives", async () => {
  await using bench = await Bench.open();
  const conn = await bench.dial("POST / HTTP/1.1\nHost: x\nContent-Length: 10\n\n12345");
  await until("the request", () => bench.input.counts.clients === 1);
  conn.closeWrite();
  await until("its end", () => bench.input.counts.refused === 1);
  assert.equal((await bench.post("/", "x")).status, 202);
  assert.deepEqual(bench.intake.texts, ["x"]);
});

Deno.test("one request more than there may be at once is refused with 503", async () => {
  await using bench = await Bench.open();
  const head = "POST / HTTP/1.1\nHost: x\nContent-Length: 1\n\n";
  const conns = [];
  for (let count = 0; count < REQUESTS_MAX; count++) conns.push(await bench.dial(head));
  await until("all requests", () => bench.input.counts.clients === REQUESTS_MAX);
  const late = await bench.post("/", "late");
  assert.deepEqual([late.status, late.headers.get("retry-after")], [503, "1"]);
  await conns[0]!.write(encoder.encode("x"));
  assert.equal(await statusOf(conns[0]!), 202);
  assert.equal((await bench.post("/", "now")).status, 202);
});

Deno.test("bodies under way share 32 MiB", async () => {
  await using bench = await Bench.open();
  const head = `POST / HTTP/1.1\nHost: x\nContent-Length: ${4 * 1024 * 1024}\n\n`;
  for (let count = 0; count < 8; count++) await bench.dial(head);
  await until("all requests", () => bench.input.counts.clients === 8);
  const late = await bench.post("/", "late");
  assert.equal(late.status, 503);
  assert.match(late.body.error, /memory/);
});

Deno.test("stop waits for what is under way, and takes nothing more", async () => {
  await using bench = await Bench.open();
  bench.intake.hold();
  const answering = bench.post("/", "x");
  await bench.intake.asked(1);
  const head = "POST / HTTP/1.1\nHost: x\nContent-Length: 10\n\n12345";
  const slow = await bench.dial(head);
  await until("both requests", () => bench.input.counts.clients === 2);
  const stopping = bench.stop();
  assert.equal((await bench.post("/", "late")).status, 503);
  await slow.write(encoder.encode("67890"));
  await bench.intake.asked(2);
  bench.intake.release();
  assert.equal((await answering).status, 202);
  assert.equal(await statusOf(slow), 202);
  await stopping;
  await assert.rejects(Deno.connect({ hostname: "127.0.0.1", port: bench.port }));
  assert.deepEqual(bench.intake.texts, ["x", "1234567890"]);
});

Deno.test("stop ends by its deadline when nothing becomes durable", async () => {
  await using bench = await Bench.open();
  bench.intake.hold();
  const answering = bench.post("/", "x");
  await bench.intake.asked(1);
  const slow = await bench.dial("POST / HTTP/1.1\nHost: x\nContent-Length: 10\n\n12345");
  await until("both requests", () => bench.input.counts.clients === 2);
  const startMs = nowMs();
  await bench.stop(100);
  assert.ok(nowMs() - startMs < 3000, `${nowMs() - startMs} ms`);
  assert.equal((await answering).status, 503);
  assert.equal(await statusOf(slow), 408);
});

Deno.test("options that cannot be used are refused with a remedy", async () => {
  await using bench = await Bench.open();
  const open = (options: Partial<HttpOptions>): Promise<Input> =>
    openHttp("x", { ...OPTIONS, ...options }, bench.intake);
  const taken = open({ listen: bench.input.where });
  await assert.rejects(taken, /another program uses that port; set "listen"/);
  await assert.rejects(open({ tokenFile: "/nonexistent/file" }), /Cannot read \/nonexistent/);
});

Deno.test("cutting an array agrees with JSON.parse, whatever is in it", () => {
  const pieces = ["[", "]", "{", "}", ",", '"', "\\", "a", "1", ":", " ", "é", "\n"];
  let state = 1;
  const next = (below: number): number => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
  const value = (depth: number): unknown => {
    const kind = next(depth > 3 ? 2 : 4);
    const text = Array.from({ length: next(6) }, () => pieces[next(pieces.length)]).join("");
    if (kind === 0) return text;
    if (kind === 1) return next(2) === 0 ? next(1000) / 8 : null;
    const values = Array.from({ length: next(4) }, () => value(depth + 1));
    return kind === 2 ? values : Object.fromEntries(values.map((one, at) => [text + at, one]));
  };
  for (let round = 0; round < 500; round++) {
    const values = Array.from({ length: next(5) }, () => value(0));
    const text = JSON.stringify(values, null, next(3));
    const batch = cutBatch(encoder.encode(text), "json");
    const cut = Array.from({ length: batch.count }, (_, index) => batch.message(index));
    assert.deepEqual(cut.map((part) => JSON.parse(decoder.decode(part))), values, text);
  }
});

Deno.test("the number of messages and the size of one are bounded", () => {
  const statusOfCut = (body: Uint8Array, form: "json" | "whole" | "lines"): number => {
    try {
      cutBatch(body, form);
      return 202;
    } catch (error) {
      assert.ok(error instanceof BatchError);
      return error.status;
    }
  };
  const many = (count: number): Uint8Array => encoder.encode(`[${Array(count).fill("1")}]`);
  assert.equal(statusOfCut(many(BATCH_MESSAGES_MAX), "json"), 202);
  assert.equal(statusOfCut(many(BATCH_MESSAGES_MAX + 1), "json"), 413);
  const large = 4 * 1024 * 1024;
  assert.equal(statusOfCut(new Uint8Array(large), "whole"), 202);
  assert.equal(statusOfCut(new Uint8Array(large + 1), "whole"), 413);
  assert.equal(statusOfCut(encoder.encode(`["${"x".repeat(large)}"]`), "json"), 413);
  assert.equal(statusOfCut(encoder.encode("x".repeat(65_536) + "\r\n"), "lines"), 202);
});
