/** The notification socket: addresses as bytes, datagrams over a real AF_UNIX socket, unix(7). */
import assert from "node:assert/strict";
import { readBytes } from "../../src/io/descriptor.ts";
import { Errno } from "../../src/io/errno.ts";
import { monotonicMicros, Notifier, unixAddress } from "../../src/io/notify.ts";
import { close } from "../../src/io/sockets.ts";
import { receiver, textOf } from "./unix_receiver.ts";

Deno.test("unixAddress() writes sockaddr_un", () => {
  assert.deepEqual(unixAddress("/a"), Uint8Array.of(1, 0, 0x2f, 0x61, 0));
  assert.deepEqual(unixAddress("@a"), Uint8Array.of(1, 0, 0, 0x61));
  assert.equal(unixAddress(`/${"x".repeat(106)}`)!.length, 2 + 108);
  assert.equal(unixAddress(`@${"x".repeat(106)}`)!.length, 2 + 107);
});

Deno.test.each(
  ["", "/", "@", "a", "vsock:2:1", `/${"x".repeat(107)}`, "/a\0b", `/${"é".repeat(54)}`]
    .map((text) => ({ text })),
)("unixAddress() refuses '$text'", ({ text }) => {
  assert.equal(unixAddress(text), null);
  assert.equal(Notifier.open(text), -Errno.Einval);
});

Deno.test("datagrams go to a path and to an abstract name, also when it was made anew", async () => {
  const directory = await Deno.makeTempDir();
  for (const address of [`${directory}/notify`, `@fairlead-${crypto.randomUUID()}`]) {
    const notifier = Notifier.open(address);
    assert.ok(notifier instanceof Notifier);
    assert.ok(notifier.send("lost") < 0, "nobody listens");
    for (let times = 0; times < 2; times++) {
      const fd = receiver(address);
      assert.equal(notifier.send("READY=1\nSTATUS=läuft"), 0);
      assert.equal(notifier.send("STOPPING=1"), 0);
      assert.equal(textOf(fd), "READY=1\nSTATUS=läuft");
      assert.equal(textOf(fd), "STOPPING=1");
      assert.equal(readBytes(fd, new Uint8Array(1)), -Errno.Eagain);
      close(fd);
      if (address.startsWith("/")) await Deno.remove(address);
    }
    assert.equal(notifier.send("lost"), address.startsWith("/") ? -2 : -Errno.Econnrefused);
    notifier.close();
  }
  await Deno.remove(directory, { recursive: true });
});

Deno.test("a full queue says so and blocks nothing", () => {
  const address = `@fairlead-${crypto.randomUUID()}`;
  const fd = receiver(address);
  const notifier = Notifier.open(address) as Notifier;
  let sent = 0;
  let result = 0;
  while (sent < 100_000 && (result = notifier.send(`STATUS=${sent}`)) === 0) sent++;
  assert.equal(result, -Errno.Eagain);
  for (let i = 0; i < sent; i++) assert.equal(textOf(fd), `STATUS=${i}`);
  assert.equal(notifier.send("READY=1"), 0);
  assert.equal(textOf(fd), "READY=1");
  notifier.close();
  close(fd);
});

Deno.test("monotonicMicros() is the clock of /proc/uptime, but for time asleep", () => {
  const uptime = Number(Deno.readTextFileSync("/proc/uptime").split(" ")[0]);
  const micros = monotonicMicros();
  assert.ok(Number.isSafeInteger(micros) && micros > 0);
  assert.ok(micros / 1e6 < uptime + 5, `${micros} after ${uptime} s`);
  assert.ok(monotonicMicros() >= micros);
});
