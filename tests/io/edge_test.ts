/** The small pieces of io: errnos, addresses in text, clocks, and what happens without FFI. */
import assert from "node:assert/strict";
import { nowMs, wallSeconds } from "../../src/io/clock.ts";
import { Errno, errnoOf, errnoText } from "../../src/io/errno.ts";
import { libcAvailable, libcRefusal } from "../../src/io/libc.ts";
import { fixedInts, putAddress, putArenaAddress } from "../../src/io/native.ts";
import { SocketAddress } from "../../src/io/socket_address.ts";
import { Family } from "../../src/wire/inet.ts";
import { arena } from "../../src/mem/arena.ts";
import { ARENA_BYTES } from "../../src/mem/limits.ts";

Deno.test("errnoText() takes either sign and unknown numbers", () => {
  assert.equal(errnoText(-111), "Connection refused (ECONNREFUSED)");
  assert.equal(errnoText(11), "Try again later (EAGAIN)");
  assert.equal(errnoText(-4000), "Unknown error (errno 4000)");
});

Deno.test("every constant of Errno has the name of its number", () => {
  for (const [name, number] of Object.entries(Errno)) {
    assert.ok(errnoText(number).endsWith(`(${name.toUpperCase()})`), errnoText(number));
  }
});

Deno.test("errnoOf() finds the number behind an exception", () => {
  const coded = Object.assign(new Error("no"), { code: "ECONNRESET" });
  assert.equal(errnoOf(coded), -Errno.Econnreset);
  assert.equal(errnoOf(new Deno.errors.Interrupted("closed")), -Errno.Ecanceled);
  assert.equal(errnoOf(new Deno.errors.BadResource("closed")), -Errno.Ebadf);
  assert.equal(errnoOf(new Deno.errors.NotCapable("net")), -Errno.Eacces);
  assert.equal(errnoOf(new Deno.errors.TimedOut("late")), -Errno.Etimedout);
  assert.equal(errnoOf("no error at all"), -Errno.Eio);
});

/** Read forms of RFC 4291 section 2.2, written forms of RFC 5952 sections 4 and 5. */
const HOSTS = [
  { text: "127.0.0.1", host: "127.0.0.1" },
  { text: "0.0.0.0", host: "0.0.0.0" },
  { text: "255.255.255.255", host: "255.255.255.255" },
  { text: "::", host: "::" },
  { text: "::1", host: "::1" },
  { text: "1::", host: "1::" },
  { text: "2001:DB8:0:0:8:800:200C:417A", host: "2001:db8::8:800:200c:417a" },
  { text: "2001:db8::0:1", host: "2001:db8::1" },
  { text: "2001:db8:0:1:1:1:1:1", host: "2001:db8:0:1:1:1:1:1" },
  { text: "2001:0:0:1:0:0:0:1", host: "2001:0:0:1::1" },
  { text: "2001:db8:0:0:1:0:0:1", host: "2001:db8::1:0:0:1" },
  { text: "1:2:3:4:5:6:7::", host: "1:2:3:4:5:6:7:0" },
  { text: "::ffff:192.0.2.128", host: "::ffff:192.0.2.128" },
  { text: "::ffff:c000:280", host: "::ffff:192.0.2.128" },
  { text: "64:ff9b::192.0.2.33", host: "64:ff9b::c000:221" },
  { text: "fe80::1%2", host: "fe80::1%2" },
];

Deno.test.each(HOSTS)("SocketAddress reads $text and writes $host", ({ text, host }) => {
  const address = new SocketAddress();
  assert.ok(address.set(text, 3300));
  assert.equal(address.host, host);
  const again = new SocketAddress();
  assert.ok(again.set(address.host, 3300));
  assert.deepEqual(again.address, address.address);
  const inet6 = text.includes(":");
  assert.equal(address.family, inet6 ? Family.Inet6 : Family.Inet);
  assert.equal(address.toString(), inet6 ? `[${host}]:3300` : `${host}:3300`);
});

const BAD_HOSTS = [
  "",
  "localhost",
  "1.2.3",
  "1.2.3.4.5",
  "1.2.3.256",
  "01.2.3.4",
  "1.2.3.4 ",
  "1.2.3.4%1",
]
  .concat([":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::"])
  .concat(["12345::", "g::", "1.2.3.4::", "::1.2.3.4:5", "::1.2.3", "fe80::1%eth0", "::1%1%2"]);

Deno.test.each(BAD_HOSTS.map((text) => ({ text })))("SocketAddress refuses '$text'", ({ text }) => {
  const address = new SocketAddress();
  assert.ok(address.set("::1%7", 1));
  assert.equal(address.set(text, 1), false);
  assert.equal(address.toString(), "-");
  assert.deepEqual([address.port, address.scope, Math.max(...address.address)], [0, 0, 0]);
});

Deno.test("SocketAddress refuses ports out of range", () => {
  const address = new SocketAddress();
  for (const port of [-1, 65536, 1.5, NaN]) assert.equal(address.set("::1", port), false);
  assert.ok(address.set("::1", 65535));
});

Deno.test("arena addresses are the address of the arena plus the offset", () => {
  assert.ok(libcAvailable());
  const base = fixedInts(2);
  putAddress(base, 0, arena.bytes);
  const joined = (halves: Int32Array): bigint =>
    (BigInt(halves[1]! >>> 0) << 32n) | BigInt(halves[0]! >>> 0);
  const halves = fixedInts(2);
  for (const at of [0, 1, 4096, ARENA_BYTES / 2 + 3, ARENA_BYTES - 1]) {
    putArenaAddress(halves, 0, at);
    assert.equal(joined(halves), joined(base) + BigInt(at));
  }
});

Deno.test("nowMs() is an integer that never goes back, wallSeconds() is Unix time", () => {
  let last = nowMs();
  for (let i = 0; i < 1000; i++) {
    const now = nowMs();
    assert.ok(Number.isInteger(now) && now >= last);
    last = now;
  }
  assert.ok(Number.isInteger(wallSeconds()));
  assert.ok(Math.abs(wallSeconds() - Date.now() / 1000) <= 1);
});

Deno.test("without FFI everything imports, says why, and GCM falls back", async () => {
  assert.equal(libcRefusal(), "");
  const io = new URL("../../src/io/", import.meta.url);
  const source = `
    const { libcAvailable, libcRefusal, libc } = await import("${io}libc.ts");
    const { listenTcp } = await import("${io}sockets.ts");
    const { Poller } = await import("${io}epoll.ts");
    const { gcmMaker, libcryptoAvailable } = await import("${io}libcrypto.ts");
    const { NodeGcm } = await import("${io}node_gcm.ts");
    const thrown = [];
    for (const job of [() => libc(), () => listenTcp("::1", 0, 1), () => new Poller()]) {
      try { job(); } catch (error) { thrown.push(error.message); }
    }
    const fallback = gcmMaker() instanceof NodeGcm;
    const answer = [libcAvailable(), libcryptoAvailable(), libcRefusal(), thrown, fallback];
    await new Blob([JSON.stringify(answer)]).stream().pipeTo(Deno.stdout.writable);`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--no-config", "--no-check", "--ext=js", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stdin = child.stdin.getWriter();
  await stdin.write(new TextEncoder().encode(source));
  await stdin.close();
  const { stdout, stderr } = await child.output();
  assert.equal(new TextDecoder().decode(stderr), "");
  const refusal = "allow it with --allow-ffi, or use --io=deno: current permission is prompt";
  const message = `Cannot call libc through FFI: ${refusal}`;
  assert.deepEqual(JSON.parse(new TextDecoder().decode(stdout)), [
    false,
    false,
    refusal,
    [message, message, message],
    true,
  ]);
});
