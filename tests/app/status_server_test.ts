/** The status listener over real sockets: every path, hostile heads, other origins, streams. */
import assert from "node:assert/strict";
import type { Handler } from "../../src/app/status/http.ts";
import { openStatus, type StatusServer } from "../../src/app/status/server.ts";
import type { Snapshot } from "../../src/app/status/snapshot.ts";
import { fakeGateway, fakeHub, HOSTILE_NAME } from "./fake_snapshot.ts";

/** A listener that is closed at the end of its block. */
async function opened(
  source: () => Snapshot = () => fakeGateway(100),
  routes?: ReadonlyMap<string, Handler>,
): Promise<StatusServer & AsyncDisposable> {
  const server = await openStatus("127.0.0.1:0", source, routes);
  return Object.assign(server, { [Symbol.asyncDispose]: () => server.close() });
}

function get({ where }: StatusServer, path: string, init?: RequestInit): Promise<Response> {
  return fetch(`http://${where}${path}`, init);
}

/** Sends bytes as they are; returns all that comes back. */
async function raw({ port }: StatusServer, ...pieces: string[]): Promise<string> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  for (const piece of pieces) await conn.write(new TextEncoder().encode(piece));
  const answer = await new Response(conn.readable).text();
  return answer;
}

Deno.test("the page, its headers, and a policy whose hashes are those of its script and style", async () => {
  await using server = await opened();
  const answer = await get(server, "/");
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("content-type"), "text/html; charset=utf-8");
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  assert.equal(answer.headers.get("x-frame-options"), "DENY");
  assert.equal(answer.headers.get("referrer-policy"), "no-referrer");
  const policy = answer.headers.get("content-security-policy")!;
  assert.match(policy, /^default-src 'none'; /);
  const page = await answer.text();
  for (const name of ["script", "style"]) {
    const inside = new RegExp(`<${name}>([^]*?)</${name}>`).exec(page)![1]!;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(inside));
    const hash = new Uint8Array(digest).toBase64();
    assert.ok(policy.includes(`${name}-src 'sha256-${hash}'`), name);
  }
  assert.doesNotMatch(policy, /unsafe|https?:/);
});

Deno.test("the page names no other host and never takes data for markup", async () => {
  await using server = await opened();
  const page = await (await get(server, "/")).text();
  const hosts = [...page.matchAll(/https?:\/\/[^"'\s<%]+/g)].map(([url]) => url);
  assert.deepEqual([...new Set(hosts)], ["http://www.w3.org/2000/svg"]); // a namespace, not asked for
  assert.doesNotMatch(page, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(/);
});

Deno.test("/api/status is the snapshot with its health and totals", async () => {
  await using server = await opened();
  const answer = await get(server, "/api/status");
  assert.equal(answer.headers.get("content-type"), "application/json");
  const { health, overlays, saCount, totals, ...snapshot } = await answer.json();
  assert.deepEqual(overlays, []);
  const { standby, ...wanted } = fakeGateway(100);
  assert.deepEqual({ ...snapshot, standby: undefined }, { ...wanted, standby: undefined });
  assert.equal(saCount, standby!.ipsec!.sas.length);
  assert.deepEqual({ ...snapshot.standby, ipsec: null }, { ...standby, ipsec: null });
  assert.equal(health.level, "ok");
  assert.ok(totals.messagesIn > 0);
});

Deno.test("/metrics, /healthz and /readyz, each by GET and HEAD", async () => {
  const snapshot = fakeGateway(100);
  await using server = await opened(() => snapshot);
  for (const path of ["/", "/metrics", "/healthz", "/readyz", "/api/status", "/api/events"]) {
    const answer = await get(server, path, { method: "HEAD" });
    assert.equal(answer.status, 200, path);
    assert.equal(await answer.text(), "", path);
  }
  const metrics = await get(server, "/metrics");
  assert.equal(metrics.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  assert.match(await metrics.text(), /^fairlead_ready 1$/m);
  assert.equal(await (await get(server, "/healthz")).text(), "ok\n");
  const alarm = { code: "spool_fails", level: "error", sinceMs: 1, text: "Disk is gone" } as const;
  snapshot.alarms.push(alarm);
  snapshot.ready = false;
  const healthz = await get(server, "/healthz");
  assert.deepEqual([healthz.status, await healthz.text()], [503, "spool_fails: Disk is gone\n"]);
  const readyz = await get(server, "/readyz");
  assert.deepEqual([readyz.status, await readyz.text()], [503, "Disk is gone\n"]);
});

Deno.test("other paths are 404, other methods 405, also with a body", async () => {
  await using server = await opened();
  for (const path of ["/nothing", "/api", "/api/status/", "/%2e%2e/etc/passwd", "//metrics/x"]) {
    const answer = await get(server, path);
    assert.equal(answer.status, 404, path);
    assert.ok(answer.headers.has("content-security-policy"));
    await answer.body!.cancel();
  }
  const posted = await get(server, "/metrics", { method: "POST", body: "x".repeat(50_000) });
  assert.equal(posted.status, 405);
  assert.equal(posted.headers.get("allow"), "GET, HEAD");
  await posted.body!.cancel();
});

const HOSTS = [
  { host: "localhost", status: 200 },
  { host: "LOCALHOST:9999", status: 200 },
  { host: "box.localhost:1", status: 200 },
  { host: "127.0.0.1", status: 200 },
  { host: "127.8.9.1:80", status: 200 },
  { host: "[::1]:8711", status: 200 },
  { host: "evil.example", status: 421 },
  { host: "evil.example:8711", status: 421 },
  { host: "127.0.0.1.evil.example", status: 421 },
  { host: "localhost.evil.example", status: 421 },
  { host: "evillocalhost", status: 421 },
  { host: "10.0.0.1", status: 421 },
  { host: "[::2]", status: 421 },
];

Deno.test.each(HOSTS)("on loopback, Host: $host is answered $status", async ({ host, status }) => {
  await using server = await opened();
  const answer = await raw(server, `GET /healthz HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  assert.match(answer, new RegExp(`^HTTP/1.1 ${status} `));
});

Deno.test("in absolute form the target's authority is checked, not Host (RFC 9112 section 3.2.2)", async () => {
  await using server = await opened();
  const ask = (target: string, host: string): Promise<string> =>
    raw(server, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  assert.match(await ask("http://localhost/healthz", "localhost"), /^HTTP\/1.1 200 /);
  assert.match(await ask("http://evil.example/healthz", "localhost"), /^HTTP\/1.1 421 /);
});

Deno.test("a script of another site is refused, a link from there is followed", async () => {
  await using server = await opened();
  const ask = (path: string, mode: string): Promise<string> =>
    raw(
      server,
      `GET ${path} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: ${mode}\r\n\r\n`,
    );
  assert.match(await ask("/api/events", "no-cors"), /^HTTP\/1.1 403 /);
  assert.match(await ask("/", "navigate"), /^HTTP\/1.1 200 /);
});

const BAD_HEADS = [
  { what: "no request line", head: "\x16\x03\x01\x02\r\n\r\n", status: 400 },
  { what: "no version", head: "GET /\r\n\r\n", status: 400 },
  { what: "version 2", head: "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", status: 400 },
  { what: "no Host", head: "GET / HTTP/1.1\r\n\r\n", status: 400 },
  { what: "two Hosts", head: "GET / HTTP/1.1\r\nHost: localhost\r\nHost: a\r\n\r\n", status: 400 },
  { what: "a folded field", head: "GET / HTTP/1.1\r\nHost: localhost\r\n a\r\n\r\n", status: 400 },
  { what: "a space before the colon", head: "GET / HTTP/1.1\r\nHost : a\r\n\r\n", status: 400 },
  { what: "NUL in a field", head: "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", status: 400 },
  { what: "asterisk form", head: "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", status: 400 },
  { what: "ftp", head: "GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", status: 400 },
  { what: "HTTP/1.0 without Host", head: "GET /healthz HTTP/1.0\r\n\r\n", status: 200 },
  { what: "bare line feeds", head: "GET /healthz HTTP/1.1\nHost: localhost\n\n", status: 200 },
  { what: "an empty line before", head: "\r\nGET /healthz HTTP/1.0\r\n\r\n", status: 200 },
];

Deno.test.each(BAD_HEADS)("a head with $what is answered $status", async ({ head, status }) => {
  await using server = await opened();
  assert.match(await raw(server, head), new RegExp(`^HTTP/1.1 ${status} `));
});

Deno.test("a head may come split at any byte", async () => {
  await using server = await opened();
  const head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const answers = Array.from(
    { length: head.length - 1 },
    (_, at) => raw(server, head.slice(0, at + 1), head.slice(at + 1)),
  );
  for (const answer of await Promise.all(answers)) assert.match(answer, /^HTTP\/1.1 200 OK\r\n/);
});

Deno.test("a head longer than 16 KiB is refused", async () => {
  await using server = await opened();
  const long = `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`;
  assert.match(await raw(server, long), /^HTTP\/1.1 431 /);
});

Deno.test("64 connections may be open, the next is told so, and room comes back", async () => {
  await using server = await opened();
  const open: Deno.TcpConn[] = [];
  try {
    for (let count = 0; count < 64; count++) {
      open.push(await Deno.connect({ hostname: "127.0.0.1", port: server.port }));
    }
    assert.match(await raw(server), /^HTTP\/1.1 503 /);
    assert.equal(server.refused, 1);
  } finally {
    for (const conn of open) conn.close();
  }
  for (;;) { // the closing of the others is seen in any order
    const answer = await get(server, "/healthz");
    await answer.body!.cancel();
    if (answer.status === 200) break;
  }
});

Deno.test("/api/events sends a snapshot at once and one each second, each as it then is", async () => {
  let asked = 0;
  await using server = await opened(() => fakeGateway(++asked));
  const answer = await get(server, "/api/events");
  assert.equal(answer.headers.get("content-type"), "text/event-stream");
  const seen: number[] = [];
  let text = "";
  for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const events = text.split("\n\n");
    text = events.pop()!;
    for (const event of events) {
      assert.match(event, /^data: [^\n]*$/);
      seen.push(JSON.parse(event.slice(6)).nowMs);
    }
    if (seen.length >= 3) break;
  }
  assert.deepEqual(seen, [1, 2, 3].map((seconds) => fakeGateway(seconds).nowMs));
});

Deno.test("sixteen may look, and a viewer that leaves gives its place back", async () => {
  await using server = await opened();
  const viewers = await Promise.all(
    Array.from({ length: 16 }, () => get(server, "/api/events")),
  );
  const refused = await get(server, "/api/events");
  assert.equal(refused.status, 503);
  assert.equal(refused.headers.get("retry-after"), "10");
  await refused.body!.cancel();
  assert.equal((await get(server, "/healthz")).status, 200, "there is room for a probe");
  for (const { body } of viewers) await body!.cancel();
  for (;;) {
    const again = await get(server, "/api/events");
    await again.body!.cancel();
    if (again.status === 200) break;
  }
});

Deno.test("close() ends streams and heads that never come", async () => {
  const server = await openStatus("127.0.0.1:0", () => fakeHub(1));
  const stream = await get(server, "/api/events");
  const idle = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
  await idle.write(new TextEncoder().encode("GET / HT"));
  const startedMs = performance.now();
  await server.close();
  assert.ok(performance.now() - startedMs < 5000, "before the head's deadline of 10 s");
  await stream.text().catch(() => ""); // ended or broken off: it is over
  assert.equal(await idle.read(new Uint8Array(1)).catch(() => null), null);
  idle.close();
});

Deno.test("a source that throws is told as 500, and the listener lives", async () => {
  let broken = true;
  await using server = await opened(() => {
    if (broken) throw new Error("no counts");
    return fakeGateway(1);
  });
  for (const path of ["/metrics", "/api/status", "/api/events", "/healthz"]) {
    const answer = await get(server, path);
    assert.deepEqual([answer.status, /no counts/.test(await answer.text())], [500, true], path);
  }
  broken = false;
  assert.equal(await (await get(server, "/healthz")).text(), "ok\n");
});

Deno.test("names from the network leave as JSON without control characters", async () => {
  await using server = await opened(() => {
    const snapshot = fakeHub(1);
    snapshot.sessions[0]!.name = `${HOSTILE_NAME}\u001b[2J\u202e\u2028`;
    return snapshot;
  });
  const text = await (await get(server, "/api/status")).text();
  // deno-lint-ignore no-control-regex -- these are what must not be there
  assert.doesNotMatch(text.trimEnd(), /[\x00-\x1f\x7f\u2028\u202e]/);
  assert.equal(JSON.parse(text).sessions[0].name, `${HOSTILE_NAME}\u001b[2J\u202e\u2028`);
});

Deno.test("routes of others are served, with the same headers and checks", async () => {
  const handler: Handler = () =>
    new Response("data: 1\n\n", { headers: { "content-type": "text/event-stream" } });
  await using server = await opened(undefined, new Map([["/stream/live", handler]]));
  const answer = await get(server, "/stream/live");
  assert.equal(await answer.text(), "data: 1\n\n");
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  const other = await raw(server, "GET /stream/live HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  assert.match(other, /^HTTP\/1.1 421 /);
});

Deno.test("an address in use is told with the remedy", async () => {
  await using server = await opened();
  await assert.rejects(
    openStatus(server.where, () => fakeHub(1)),
    /^Error: Cannot open the status listener as another program listens there: .*--status/,
  );
});
