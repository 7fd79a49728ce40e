/** The small HTTP server by itself: what waits is ended by a deadline, and nothing leaks. */
import assert from "node:assert/strict";
import { HttpServer, plain } from "../../src/app/status/http.ts";

function listener(): Deno.TcpListener {
  return Deno.listen({ hostname: "127.0.0.1", port: 0 });
}

async function connected({ port }: HttpServer, text: string): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await conn.write(new TextEncoder().encode(text));
  return conn;
}

Deno.test("half a head is ended by its deadline, and counted", async () => {
  const server = new HttpServer(listener(), () => plain(200, "ok"), { headMs: 30, writeMs: 1000 });
  const conn = await connected(server, "GET / HTTP/1.1\r\nHost: a");
  assert.equal(await conn.read(new Uint8Array(10)).catch(() => null), null);
  assert.equal(server.refused, 1);
  conn.close();
  await server.close();
});

Deno.test("a stream that is not read is ended by its deadline, and its source is told", async () => {
  const cancelled = Promise.withResolvers<void>();
  const body = (): ReadableStream<Uint8Array> =>
    new ReadableStream({
      pull: (controller): void => controller.enqueue(new Uint8Array(1 << 20)),
      cancel: (): void => cancelled.resolve(),
    });
  const headers = { "content-type": "text/event-stream" };
  const server = new HttpServer(listener(), () => new Response(body(), { headers }), {
    headMs: 1000,
    writeMs: 50,
  });
  const conn = await connected(server, "GET / HTTP/1.0\r\n\r\n");
  await cancelled.promise;
  assert.equal(server.refused, 1);
  conn.close();
  await server.close();
});

Deno.test("the source of a stream is told when its reader goes away, also after HEAD", async () => {
  let cancelled = Promise.withResolvers<void>();
  const headers = { "content-type": "text/event-stream" };
  const server = new HttpServer(listener(), () => {
    const body = new ReadableStream({ cancel: (): void => cancelled.resolve() });
    return new Response(body, { headers });
  });
  const conn = await connected(server, "GET / HTTP/1.0\r\n\r\n");
  await conn.read(new Uint8Array(10)); // the head has come
  conn.close();
  await cancelled.promise;
  cancelled = Promise.withResolvers();
  const head = await connected(server, "HEAD / HTTP/1.0\r\n\r\n");
  await cancelled.promise;
  assert.match(await new Response(head.readable).text(), /^HTTP\/1.1 200 OK\r\n[^]*\r\n\r\n$/);
  await server.close();
});

Deno.test("a source that fails ends its stream, and the server lives", async () => {
  const headers = { "content-type": "text/event-stream" };
  const server = new HttpServer(listener(), (request) => {
    if (request.url.endsWith("/ok")) return plain(200, "ok");
    const body = new ReadableStream({
      pull: (): void => {
        throw new Error("no more");
      },
    });
    return new Response(body, { headers });
  });
  const broken = await connected(server, "GET / HTTP/1.0\r\n\r\n");
  await new Response(broken.readable).text().catch(() => ""); // ended one way or the other
  const answer = await fetch(`http://127.0.0.1:${server.port}/ok`);
  assert.equal(await answer.text(), "ok\n");
  await server.close();
});
