/** A gateway as a service of systemd sees it: sd_notify(3), from start to stop. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { libc } from "../../src/io/libc.ts";
import { receiver, textOf } from "../io/unix_receiver.ts";

const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
const WAIT_MS = 20_000;

Deno.test("the service manager hears READY, WATCHDOG, RELOADING and STOPPING", async () => {
  const directory = await Deno.makeTempDir();
  const socket = `${directory}/notify`;
  const fd = receiver(socket);
  const config = `${directory}/gateway.json`;
  const write = (drainSeconds: number): void =>
    Deno.writeTextFileSync(config, JSON.stringify({ drainSeconds, status: false }));
  write(1);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", MAIN, "gateway", "--config", config],
    stdin: "null",
    stdout: "null",
    stderr: "null",
    env: { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "400000" },
  }).spawn();
  const late = setTimeout(() => child.kill("SIGKILL"), WAIT_MS);
  const heard: string[] = [];
  const until = async (text: RegExp): Promise<void> => {
    const deadline = performance.now() + WAIT_MS;
    for (;;) {
      const said = textOf(fd);
      if (said === "") await new Promise((resolve) => setTimeout(resolve, 10));
      else heard.push(said);
      if (text.test(said)) return;
      assert.ok(performance.now() < deadline, `${text} never came: ${heard}`);
    }
  };
  await until(/^READY=1/);
  await until(/^WATCHDOG=1/);
  write(2);
  child.kill("SIGHUP");
  await until(/^RELOADING=1\nMONOTONIC_USEC=\d+/);
  await until(/^READY=1/);
  child.kill("SIGTERM");
  await until(/^STOPPING=1/);
  assert.equal((await child.status).code, 0);
  clearTimeout(late);
  libc().close(fd);
  await Deno.remove(directory, { recursive: true });
});
