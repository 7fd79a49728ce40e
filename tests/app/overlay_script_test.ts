/** The step `script`: what is allowed to run, as whom, for how long, and how it is stopped. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  type ScriptPolicy,
  type ScriptRecord,
  scriptStep,
  scriptSteps,
} from "../../src/app/overlay/node/script_step.ts";
import type { NodePlan } from "../../src/wire/xbone/node_plan.ts";
import type { StepKind } from "../../src/app/overlay/node/step.ts";

/** Only root can become somebody else. */
const ignore = Deno.uid() !== 0;
const NOBODY = 65534;
const LONG_MS = 20_000;

/** Directories of its own: `scripts` is the box's folder, `work` holds the copies. */
class Place implements Disposable {
  readonly root = Deno.makeTempDirSync({ prefix: "fairlead-script-" });
  readonly folder = `${this.root}/scripts`;
  readonly work = `${this.root}/work`;

  constructor() {
    Deno.chmodSync(this.root, 0o755);
    Deno.mkdirSync(this.folder, { mode: 0o755 });
  }

  /** Puts a script into the folder. */
  put(name: string, body: string, mode = 0o755): string {
    const path = `${this.folder}/${name}`;
    Deno.writeTextFileSync(path, `#!/bin/sh\n${body}\n`);
    Deno.chmodSync(path, mode);
    return path;
  }

  step(changes: Partial<ScriptPolicy> = {}): StepKind<ScriptRecord> {
    const policy = {
      folder: this.folder,
      user: "nobody",
      group: "",
      urls: false,
      deadlineMsMax: LONG_MS,
    };
    return scriptStep({ ...policy, ...changes }, this.work);
  }

  /** What scripts wrote into their own directory. */
  said(name: string): string {
    return Deno.readTextFileSync(`${this.work}/field.a1/run/${name}`);
  }

  get isEmpty(): boolean {
    try {
      return [...Deno.readDirSync(this.work)].length === 0;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return true;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.root, { recursive: true });
  }
}

function recordOf(changes: Partial<ScriptRecord> = {}): ScriptRecord {
  return {
    ...{ kind: "script", about: "script app", script: "app", sha256: "", deadlineMs: LONG_MS },
    ...{ overlay: "field", epoch: "a1", node: "box1" },
    visits: [{ name: "r1", address: "10.100.0.1" }, { name: "r2", address: "10.100.0.2" }],
    ...changes,
  };
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** A server of one answer, on loopback. */
async function withServer(
  handler: (request: Request) => Response | Promise<Response>,
  body: (url: string) => Promise<void>,
): Promise<void> {
  const options = { hostname: "127.0.0.1", port: 0, onListen: (): void => {} };
  const server = Deno.serve(options, handler);
  try {
    await body(`http://127.0.0.1:${server.addr.port}/app`);
  } finally {
    await server.shutdown();
  }
}

Deno.test("a plan's script is one step without its text, and a plan without has none", () => {
  const script = { name: "app", script: "app", sha256: "", deadlineMs: 1000 };
  const visits = [{ name: "r1", address: "10.1.0.1", prefix: "10.1.0.0/16" }];
  const plan = { ...{ overlay: "field", epoch: "a1", node: "box1" }, script, visits };
  assert.deepEqual(scriptSteps(plan as unknown as NodePlan), [{
    record: recordOf({ deadlineMs: 1000, visits: [{ name: "r1", address: "10.1.0.1" }] }),
  }]);
  assert.deepEqual(scriptSteps({ ...plan, script: null } as unknown as NodePlan), []);
});

Deno.test({
  name: "a script runs as its user without capabilities or ways to them, in an empty directory",
  ignore,
  fn: async () => {
    using place = new Place();
    place.put(
      "app",
      'test -z "$(ls -A)" || exit 9\n' +
        "cat /proc/self/status > status; cat /proc/$$/stat > stat; pwd > pwd; env | sort > env; " +
        "ls -l /proc/$$/fd > fd",
    );
    const step = place.step();
    await step.apply(recordOf());
    const status = place.said("status");
    for (const set of ["Inh", "Prm", "Eff", "Bnd", "Amb"]) {
      assert.match(status, new RegExp(`Cap${set}:\t0+\n`));
    }
    assert.match(status, /NoNewPrivs:\t1\n/);
    assert.match(status, /Uid:\t65534\t65534\t65534\t65534\n/);
    assert.match(status, /Gid:\t65534\t65534\t65534\t65534\n/);
    assert.match(status, /Groups:\t\s*\n/);
    const [pid, , , , group, session] = place.said("stat").split(" ");
    assert.deepEqual([group, session], [pid, pid]);
    const run = `${place.work}/field.a1/run`;
    assert.equal(place.said("pwd"), `${run}\n`);
    const lines = place.said("env").trim().split("\n").filter((line) => !/^(PWD|_)=/.test(line));
    assert.deepEqual(lines, [
      "ADDRESS=10.100.0.1",
      "EPOCH=a1",
      `HOME=${run}`,
      "LC_ALL=C.UTF-8",
      "NODE=box1",
      "OVERLAY=field",
      "PATH=/usr/local/bin:/usr/bin:/bin",
      "VISIT=r1",
      "VISITS=r1=10.100.0.1 r2=10.100.0.2",
    ]);
    const { mode, uid } = Deno.statSync(run);
    assert.deepEqual([mode! & 0o777, uid], [0o700, NOBODY]);
    assert.deepEqual(step.drift(recordOf()), []);
    await step.apply(recordOf()); // is not started twice: its directory is not empty now
    // After a reboot nothing of it runs.
    const begun = `${place.work}/field.a1/begun.json`;
    const known = JSON.parse(Deno.readTextFileSync(begun));
    Deno.writeTextFileSync(begun, JSON.stringify({ ...known, started: "another boot" }));
    const drift = ["script app was not started since this box was"];
    assert.deepEqual(step.drift(recordOf()), drift);
    await step.apply(recordOf());
    assert.deepEqual(step.drift(recordOf()), []);
    place.put("app", "echo changed");
    await assert.rejects(async () => await step.undo(recordOf()), /ended with 9/);
    Deno.writeTextFileSync(begun, '{"uid":'); // the disk lost the rest
    await assert.rejects(
      async () => await step.undo(recordOf()),
      /Cannot use .*begun.json as it is damaged: remove /,
    );
  },
});

Deno.test({
  name: "start and stop are the same script, whatever became of the folder; then nothing is left",
  ignore,
  fn: async () => {
    using place = new Place();
    const trace = `${place.root}/trace`;
    Deno.writeTextFileSync(trace, "");
    Deno.chmodSync(trace, 0o666);
    const path = place.put("app", `echo $1 >> ${trace}`);
    const step = place.step();
    await step.apply(recordOf());
    place.put("app", `echo other >> ${trace}`);
    Deno.removeSync(path);
    // Nor what became of what the box allows.
    await place.step({ folder: null, deadlineMsMax: 0, user: "none" }).undo(recordOf());
    assert.equal(Deno.readTextFileSync(trace), "start\nstop\n");
    assert.ok(place.isEmpty);
    await step.undo(recordOf());
    assert.equal(Deno.readTextFileSync(trace), "start\nstop\n");
    assert.deepEqual(step.drift(recordOf()), ["script app was not started since this box was"]);
  },
});

Deno.test({
  name: "a copy that was changed is told as drift, and is not run to stop it",
  ignore,
  fn: async () => {
    using place = new Place();
    place.put("app", "touch $1");
    const step = place.step();
    await step.apply(recordOf());
    const copy = `${place.work}/field.a1/script`;
    Deno.chmodSync(copy, 0o755);
    Deno.writeTextFileSync(copy, "#!/bin/sh\ntouch evil\n");
    assert.match(step.drift(recordOf())[0]!, /was changed: current SHA-256 is/);
    await assert.rejects(async () => await step.undo(recordOf()), /Cannot stop script app as its/);
    assert.throws(() => place.said("evil"), Deno.errors.NotFound);
  },
});

Deno.test({
  name: "at its deadline a script is killed with everything that it started",
  ignore,
  fn: async () => {
    using place = new Place();
    place.put("app", "echo waiting; sleep 300 & echo $! > child; echo $$ > self; wait");
    const startMs = performance.now();
    await assert.rejects(
      async () => await place.step({ deadlineMsMax: 400 }).apply(recordOf()),
      /Cannot start script app as it did not end within 400 ms and was killed: it said "waiting"/,
    );
    assert.ok(performance.now() - startMs < LONG_MS / 2);
    for (const name of ["child", "self"]) assert.ok(await isGone(Number(place.said(name))), name);
  },
});

/** Killed by then; a zombie waits for its new parent. */
async function isGone(pid: number): Promise<boolean> {
  for (let tries = 0; tries < 200; tries++) {
    try {
      if (/\) [ZX] /.test(Deno.readTextFileSync(`/proc/${pid}/stat`))) return true;
    } catch {
      return true;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return false;
}

Deno.test({
  name: "what a script that fails said is in the reason: its last words, made printable",
  ignore,
  fn: async () => {
    using place = new Place();
    place.put(
      "app",
      "head -c 3000000 /dev/zero | tr '\\0' x; printf 'no \\033[31mroute' >&2; exit 3",
    );
    await assert.rejects(async () => await place.step().apply(recordOf()), (error: Error) => {
      assert.match(error.message, /^Cannot start script app as it ended with 3: it said "/);
      assert.match(error.message, /no \\x1b\[31mroute/);
      return error.message.length < 4096;
    });
    assert.equal(
      place.step().drift(recordOf())[0],
      "script app was not started since this box was",
    );
  },
});

Deno.test({
  name: "what a script leaves in the background does not hold anybody up",
  ignore,
  fn: async () => {
    using place = new Place();
    place.put(
      "app",
      'if [ "$1" = start ]; then sleep 300 & echo $! > pid; else kill $(cat pid); fi',
    );
    const step = place.step();
    const startMs = performance.now();
    await step.apply(recordOf());
    const pid = Number(place.said("pid"));
    assert.ok(!await Promise.race([isGone(pid), Promise.resolve(false)]));
    await step.undo(recordOf());
    assert.ok(await isGone(pid));
    assert.ok(performance.now() - startMs < LONG_MS / 2);
  },
});

Deno.test({
  name: "a script from a URL runs when its hash is right, and its copy cannot be written",
  ignore,
  fn: async () => {
    using place = new Place();
    const text = "#!/bin/sh\nid -u > uid; (echo >> ../script) 2>/dev/null || echo no > written\n";
    await withServer(() => new Response(text), async (script) => {
      const step = place.step({ urls: true, folder: null });
      const record = recordOf({ script, sha256: hashOf(text) });
      await step.apply(record);
      assert.equal(place.said("uid"), `${NOBODY}\n`);
      assert.equal(place.said("written"), "no\n");
      assert.equal(Deno.statSync(`${place.work}/field.a1/script`).mode! & 0o777, 0o555);
      await step.undo(record);
      assert.ok(place.isEmpty);
    });
  },
});

const WRONG_ANSWERS: { what: string; handler: () => Response; reason: RegExp }[] = [
  {
    what: "with another hash",
    handler: () => new Response("#!/bin/sh\ntouch evil\n"),
    reason: /as its SHA-256 must be [0-9a-f]{64}: current value is [0-9a-f]{64}/,
  },
  { what: "that is missing", handler: () => new Response("", { status: 404 }), reason: /said 404/ },
  {
    what: "that is empty",
    handler: () => new Response(null),
    reason: /1 to 1048576 bytes|said 200/,
  },
  {
    what: "that is elsewhere",
    handler: () => new Response(null, { status: 302, headers: { location: "/other" } }),
    reason: /Cannot fetch script app/,
  },
  {
    what: "without an end",
    handler: () =>
      new Response(
        new ReadableStream({ pull: (sink) => sink.enqueue(new Uint8Array(65536).fill(35)) }),
      ),
    reason: /it has more than 1048576 bytes/,
  },
];

Deno.test.each(WRONG_ANSWERS)("a script $what is not even written", async ({ handler, reason }) => {
  using place = new Place();
  await withServer(handler, async (script) => {
    const record = recordOf({ script, sha256: hashOf("#!/bin/sh\n") });
    await assert.rejects(async () => await place.step({ urls: true }).apply(record), reason);
  });
  assert.ok(place.isEmpty);
});

Deno.test("a server that says nothing is waited for until the deadline", async () => {
  using place = new Place();
  const { promise, resolve } = Promise.withResolvers<Response>();
  await withServer(() => promise, async (script) => {
    const record = recordOf({ script, sha256: "0".repeat(64), deadlineMs: 100 });
    const startMs = performance.now();
    await assert.rejects(
      async () => await place.step({ urls: true }).apply(record),
      /Cannot fetch/,
    );
    assert.ok(performance.now() - startMs < LONG_MS / 2);
    resolve(new Response(""));
  });
  assert.ok(place.isEmpty);
});

const REFUSED: {
  what: string;
  policy?: Partial<ScriptPolicy>;
  record?: Partial<ScriptRecord>;
  reason: RegExp;
}[] = [
  { what: "where there is no folder", policy: { folder: null }, reason: /allows no scripts/ },
  {
    what: "from a URL where that is not allowed",
    record: { script: "https://127.0.0.1:9/app", sha256: "0".repeat(64) },
    reason: /fetches no scripts/,
  },
  {
    what: "from a URL without a hash",
    policy: { urls: true },
    record: { script: "http://127.0.0.1:9/app" },
    reason: /needs its SHA-256/,
  },
  {
    what: "from a URL of another kind",
    policy: { urls: true },
    record: { script: "file:///bin/sh", sha256: "0".repeat(64) },
    reason: /must be a name in the box's folder/,
  },
  { what: "with a separator", record: { script: "sub/app" }, reason: /must be a name/ },
  { what: "with an absolute path", record: { script: "/bin/sh" }, reason: /must be a name/ },
  { what: "above the folder", record: { script: ".." }, reason: /must be a name/ },
  { what: "that is hidden", record: { script: ".app" }, reason: /must be a name/ },
  { what: "with a zero byte", record: { script: "app\0" }, reason: /must be a name/ },
  { what: "that is missing", record: { script: "none" }, reason: /has no such script/ },
  { what: "that is a directory", record: { script: "directory" }, reason: /is no file/ },
  { what: "behind a link out of the folder", record: { script: "out" }, reason: /leads out/ },
  { what: "that others can write", record: { script: "open" }, reason: /others can write/ },
  { what: "that is too long", record: { script: "long" }, reason: /1 to 1048576 bytes/ },
  { what: "that is empty", record: { script: "empty" }, reason: /1 to 1048576 bytes/ },
  {
    what: "with another hash",
    record: { sha256: "0".repeat(64) },
    reason: /SHA-256 must be 0{64}: current value is/,
  },
  { what: "with half a hash", record: { sha256: "00" }, reason: /64 hexadecimal digits/ },
  { what: "without a deadline", record: { deadlineMs: 0 }, reason: /deadline must be 1 ms/ },
  { what: "for an overlay above", record: { overlay: ".." }, reason: /overlay's name/ },
  { what: "for an epoch with a separator", record: { epoch: "a/b" }, reason: /overlay's name/ },
  {
    what: "as root",
    policy: { user: "root" },
    reason: /user must be one of this box, and not root/,
  },
  { what: "as number 0", policy: { user: "0", group: "nogroup" }, reason: /not root/ },
  { what: "in root's group", policy: { group: "root" }, reason: /group must be/ },
  { what: "as nobody known", policy: { user: "no-such-user" }, reason: /user must be/ },
  { what: "as nobody at all", policy: { user: "" }, reason: /user must be/ },
];

Deno.test.each(REFUSED)("a script $what is refused", async ({ policy, reason, record }) => {
  using place = new Place();
  place.put("app", "touch evil");
  place.put("open", "touch evil", 0o757);
  Deno.mkdirSync(`${place.folder}/directory`);
  Deno.symlinkSync("/bin/true", `${place.folder}/out`);
  Deno.writeTextFileSync(`${place.folder}/long`, `#!/bin/sh\n${" ".repeat(1024 * 1024)}`);
  Deno.writeTextFileSync(`${place.folder}/empty`, "");
  await assert.rejects(
    async () => await place.step(policy).apply(recordOf(record)),
    (error: Error) => {
      assert.match(error.message, reason);
      return true;
    },
  );
  assert.ok(place.isEmpty);
});

Deno.test("a script in a folder that others can write is refused", async () => {
  using place = new Place();
  place.put("app", "touch evil");
  Deno.chmodSync(place.folder, 0o777);
  await assert.rejects(
    async () => await place.step().apply(recordOf()),
    /others can write .*scripts: current mode is 0777/,
  );
  if (ignore) return;
  Deno.chmodSync(place.folder, 0o755);
  Deno.chownSync(`${place.folder}/app`, NOBODY, NOBODY);
  await assert.rejects(async () => await place.step().apply(recordOf()), /must be root's/);
});

Deno.test({
  name: "where its user cannot get to its copy the reason is told, and nothing runs",
  ignore,
  fn: async () => {
    using place = new Place();
    place.put("app", "exit 0");
    Deno.chmodSync(place.root, 0o700);
    await assert.rejects(
      async () => await place.step().apply(recordOf()),
      /must be able to get into .*fairlead-script-\w+: current mode is 0700, use chmod a\+x/,
    );
    await place.step().undo(recordOf());
    assert.ok(place.isEmpty);
  },
});

Deno.test({
  name: "a step that was cut off before its script ran is undone without running it",
  ignore,
  fn: async () => {
    using place = new Place();
    const copy = `${place.work}/field.a1`;
    Deno.mkdirSync(`${copy}/run`, { recursive: true });
    Deno.writeTextFileSync(`${copy}/script`, `#!/bin/sh\ntouch ${place.root}/evil\n`);
    await place.step().undo(recordOf());
    assert.ok(place.isEmpty);
    assert.throws(() => Deno.statSync(`${place.root}/evil`), Deno.errors.NotFound);
  },
});
