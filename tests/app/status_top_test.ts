/** `fairlead top`: its rows, and the command against real and wrong listeners. */
import assert from "node:assert/strict";
import { statusReport } from "../../src/app/status/health.ts";
import { Rates } from "../../src/app/status/rates.ts";
import { openStatus } from "../../src/app/status/server.ts";
import { topRows } from "../../src/app/status/top_view.ts";
import { fakeBox, fakeGateway, fakeHub, fakeTrouble, HOSTILE_NAME } from "./fake_snapshot.ts";

const TOP = import.meta.resolve("../../src/app/commands/top.ts");

/** Runs the command in a process of its own. */
async function top(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  const script = `import { run } from ${JSON.stringify(TOP)};
    try { Deno.exit(await run(${JSON.stringify(words)})); }
    catch (error) { console.error(error.message); Deno.exit(error.name === "UsageError" ? 2 : 1); }`;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", "--ext=ts", script],
    env: { NO_COLOR: "1" },
    signal: AbortSignal.timeout(30_000),
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** All rows as one text. */
function shown(snapshot: ReturnType<typeof fakeGateway>): string {
  return topRows(statusReport(snapshot), null).map(({ text }) => text).join("\n");
}

Deno.test("rows tell name, health, spool, sessions, inputs, paths and events", () => {
  const text = shown(fakeTrouble(90_000));
  const wanted = [
    /^client\.harbour-7 {2}fairlead gateway 0\.1\.0 {2}up 1 d 1:00:00$/m,
    /^ERROR: Hub hq refuses this gateway .* \(for 12 min\)$/m,
    /^spool \[#{18}\.\.\] 227\.4 MiB of 256\.0 MiB, 912344 messages, oldest 12 min/m,
    /^hq +connecting +12 min +- +\d+ +0 +33 +2 secure v2:10\.0\.0\.5:3300$/m,
    /^meter +serial .* Cannot open \/dev\/ttyUSB0: no such device \(\/dev\/ttyUSB0\)$/m,
    /^wwan0 +backup/m,
    /^STANDBY +active harbour-8 has everything \(term 7\)$/m,
    /^witness +v2:hub\.example:6820, reached, lease for 1\.2 s more$/m,
    /^10\.9\.21\.1 esp 0x00001015 +in +\d+ +22 +31 ms/m,
    /^and 19 more SAs: fairlead standby status --all$/m,
    /No connection with hq: No answer for 20 s$/m,
  ];
  for (const pattern of wanted) assert.match(text, pattern);
});

Deno.test("a box that is only one of a pair has rows for that, and none for messages", () => {
  const text = shown(fakeBox(90_000));
  assert.match(text, /^harbour-8 {2}fairlead standby 0\.1\.0 {2}up/);
  assert.match(text, /^STANDBY +standby holds everything of harbour-7 \(term 7\)$/m);
  assert.match(text, /^other box harbour-7 at v2:10\.9\.9\.1:6810, active, term 7/m);
  assert.doesNotMatch(text, /messages\/s|SESSION|rates follow/);
});

Deno.test("what is wrong has another style, a calm session has not", () => {
  const style = (start: string): string | undefined =>
    topRows(statusReport(fakeTrouble(90_000)), null).find(({ text }) => text.startsWith(start))
      ?.style;
  assert.equal(style("ERROR"), "warn");
  assert.equal(style("hq "), "warn");
  assert.equal(style("meter "), "warn");
  assert.equal(style("archive "), "plain");
  const hub = topRows(statusReport(fakeHub(10)), null);
  assert.equal(hub.find(({ text }) => text.startsWith("client.quay-1"))!.style, "plain");
});

Deno.test("rates come from two looks", () => {
  const rates = new Rates();
  rates.take(statusReport(fakeGateway(100)));
  rates.take(statusReport(fakeGateway(110)));
  const rows = topRows(statusReport(fakeGateway(110)), rates.now).map(({ text }) => text);
  const perSecond = Math.round(rates.now!.totals.messagesIn);
  assert.ok(rows.some((text) => text.startsWith(`in ${perSecond} messages/s`)), rows.join("\n"));
  assert.ok(rows.some((text) => /^lines +lines +\d{3} +\d+/.test(text)), rows.join("\n"));
});

Deno.test("no text of the report reaches the terminal as it is", () => {
  const evil = `${HOSTILE_NAME}\u001b]0;owned\u0007\n\u202e`;
  const report = JSON.parse(
    JSON.stringify(statusReport(fakeTrouble(10))),
    (_key, value) => typeof value === "string" && value !== "gateway" ? evil : value,
  );
  for (const { text } of topRows(report, null)) {
    // deno-lint-ignore no-control-regex -- these are what must not be there
    assert.doesNotMatch(text, /[\x00-\x08\x0a-\x1f\x7f-\x9f\u202e]/);
  }
});

Deno.test("top --once prints rows with rates, --json one line", async () => {
  let seconds = 100;
  const server = await openStatus("127.0.0.1:0", () => fakeGateway(seconds += 1));
  try {
    const rows = await top(server.where, "--once");
    assert.equal(rows.code, 0, rows.err);
    assert.match(rows.out, /^in \d+ messages\/s/m);
    const json = await top(`http://${server.where}/`, "--once", "--json");
    assert.equal(json.code, 0, json.err);
    assert.equal(json.out.trimEnd().split("\n").length, 1);
    assert.equal(JSON.parse(json.out).name, "client.harbour-7");
  } finally {
    await server.close();
  }
});

Deno.test("where nobody listens it says the remedy, and ends with 1", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const where = `127.0.0.1:${listener.addr.port}`;
  listener.close();
  const { code, err, out } = await top(where);
  assert.deepEqual([code, out], [1, ""]);
  assert.match(err, /^Cannot read the status as nobody answers there: .*start `fairlead gateway`/);
  assert.ok(err.includes(where));
});

Deno.test("what is no address is a usage error", async () => {
  const { code, err } = await top("http://");
  assert.equal(code, 2);
  assert.match(err, /^Cannot use WHERE as it must be a URL or HOST:PORT: current value is "http:/);
});

const WRONG = [
  { what: "no JSON", body: "hello", status: 200, said: /what answers there is no fairlead/ },
  {
    what: "other JSON",
    body: '{"role":1}',
    status: 200,
    said: /what answers there is no fairlead/,
  },
  { what: "404", body: "no \u001b[2J", status: 404, said: /the answer is 404 \(no \\x1b\[2J\)/ },
  { what: "9 MiB", body: "x".repeat(9 << 20), status: 200, said: /its answer is too long/ },
];

Deno.test.each(WRONG)("an answer with $what is refused", async ({ body, said, status }) => {
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response(body, { status }),
  );
  const { code, err } = await top(`127.0.0.1:${server.addr.port}`, "--once");
  assert.equal(code, 1);
  assert.match(err, said);
});
