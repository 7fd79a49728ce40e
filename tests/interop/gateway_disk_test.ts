/**
 * The gateway on a disk that turns read-only under it, and as a user without any right.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Daemon, freePort, must, run } from "./processes.ts";

const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
const START_MS = 20_000;
const NOBODY = 65534;
const needsRoot = Deno.uid() !== 0 && Deno.env.get("CI") !== "true";

async function post(port: number, text: string): Promise<number> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/a`, {
      method: "POST",
      headers: { "content-type": "text/plain" },
      body: text,
      signal: AbortSignal.timeout(3000),
    });
    await response.body?.cancel();
    return response.status;
  } catch {
    return 0; // it waits for a commit that does not come
  }
}

async function until(what: string, ready: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + START_MS;
  while (!await ready()) {
    assert.ok(performance.now() < deadline, `Never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A file system of its own in a file, which can be made to fail; ext4(5), mount option `abort`. */
class Disk implements AsyncDisposable {
  readonly path: string;
  readonly #image: string;

  constructor(directory: string) {
    this.path = `${directory}/disk`;
    this.#image = `${directory}/image`;
  }

  async make(): Promise<void> {
    await Deno.mkdir(this.path);
    await must(["truncate", "-s", "64M", this.#image]);
    await must(["mkfs.ext4", "-q", this.#image]);
    await this.mount();
  }

  async mount(): Promise<void> {
    await must(["mount", "-o", "loop", this.#image, this.path]);
  }

  /** From now on it is read-only, as after an error of the medium. */
  async fail(): Promise<void> {
    await must(["mount", "-o", "remount,abort", this.path]);
  }

  /** Repairs it, as an operator would. */
  async repair(): Promise<void> {
    await must(["umount", this.path]);
    await run(["fsck.ext4", "-p", this.#image]);
    await this.mount();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run(["umount", this.path]);
  }
}

Deno.test({
  name: "a disk that turns read-only: nothing more is accepted, what was durable is still sent, " +
    "and nothing comes twice",
  ignore: needsRoot,
  fn: async () => {
    const directory = await Deno.makeTempDir();
    await using disk = new Disk(directory);
    await disk.make();
    const [http, hubPort, status] = [freePort(), freePort(), freePort()];
    const out = `${directory}/out`;
    await Deno.writeTextFile(
      `${directory}/gateway.json`,
      JSON.stringify({
        state: `${disk.path}/state`,
        inputs: { http: { type: "http", listen: `127.0.0.1:${http}` } },
        hubs: { hq: { addresses: [`v2:127.0.0.1:${hubPort}`] } },
        status: { listen: `127.0.0.1:${status}` },
      }),
    );
    await Deno.writeTextFile(
      `${directory}/hub.json`,
      JSON.stringify({
        listen: `v2:127.0.0.1:${hubPort}`,
        state: `${directory}/hub`,
        outputs: { all: { type: "file", path: out, format: "raw" } },
        status: false,
      }),
    );
    let starts = 0;
    const start = (command: string): Daemon =>
      Daemon.start(
        [Deno.execPath(), "run", "-A", MAIN, command, "--config", `${directory}/${command}.json`],
        `${directory}/${command}${starts++}.out`,
      );
    let gateway = start("gateway");
    await gateway.until("it runs", () => /Stop: Ctrl-C/.test(gateway.output()), START_MS);
    assert.equal(await post(http, "durable"), 202);
    await disk.fail();
    assert.notEqual(await post(http, "refused"), 202);
    await gateway.until(
      "it says what to do",
      () => /remount,rw|disk I\/O error/.test(gateway.output()),
      START_MS,
    );
    assert.notEqual(await post(http, "refused too"), 202);
    const hub = start("hub");
    const lines = (): string[] => {
      try {
        return Deno.readTextFileSync(out).split("\n").slice(0, -1);
      } catch {
        return [];
      }
    };
    await until("what was durable arrives", () => lines().includes("durable"));
    const health = await fetch(`http://127.0.0.1:${status}/healthz`);
    assert.equal(health.status, 503);
    assert.match(await health.text(), /spool/);
    await gateway.stop("SIGTERM");
    await disk.repair();
    gateway = start("gateway");
    await gateway.until("it runs", () => /Stop: Ctrl-C/.test(gateway.output()), START_MS);
    assert.equal(await post(http, "works again"), 202);
    await until("it arrives", () => lines().includes("works again"));
    assert.deepEqual(lines(), ["durable", "works again"]);
    await gateway.stop("SIGTERM");
    await hub.stop("SIGTERM");
    await disk[Symbol.asyncDispose]();
    await Deno.remove(directory, { recursive: true });
  },
});

Deno.test({
  name: "a gateway with its hub works as a user without any right or capability",
  ignore: needsRoot,
  fn: async () => {
    const directory = await Deno.makeTempDir();
    await Deno.chmod(directory, 0o755);
    const home = `${directory}/home`;
    await Deno.mkdir(home);
    await Deno.copyFile(Deno.execPath(), `${directory}/deno`);
    await Deno.chmod(`${directory}/deno`, 0o755);
    const bundle = `${directory}/fairlead.js`;
    await must([Deno.execPath(), "bundle", "--quiet", "-o", bundle, MAIN], { deadlineMs: 60_000 });
    await Deno.chmod(bundle, 0o644);
    await Deno.chown(home, NOBODY, NOBODY);
    const [port, status] = [freePort(), freePort()];
    const gateway = Daemon.start([
      ...["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"],
      ...["--no-new-privs", "--bounding-set=-all", "env", `DENO_DIR=${home}/.deno`, `HOME=${home}`],
      ...[`${directory}/deno`, "run", "-A", bundle, "gateway", "--state", `${home}/state`],
      ...["--listen", `127.0.0.1:${port}`, "--status", `127.0.0.1:${status}`],
    ], `${directory}/out`);
    await gateway.until("it runs", () => /Stop: Ctrl-C/.test(gateway.output()), START_MS);
    using conn = await Deno.connect({ hostname: "127.0.0.1", port });
    await conn.write(new TextEncoder().encode("from nobody\n"));
    await gateway.until(
      "it arrives",
      () => / lines from nobody$/m.test(gateway.output()),
      START_MS,
    );
    assert.equal((await (await fetch(`http://127.0.0.1:${status}/readyz`)).text()).trim(), "ok");
    const { uid } = await Deno.stat(`${home}/state/spool.db`);
    assert.equal(uid, NOBODY);
    await gateway.stop("SIGTERM");
    assert.equal(await gateway.exited, 0);
    await Deno.remove(directory, { recursive: true });
  },
});
