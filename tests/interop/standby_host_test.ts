/**
 * `fairlead standby run` with IPsec on this machine's own kernel, which need not have ESP: policies,
 * sysctls, the fence and what is refused, between two namespaces. What SAs with keys do is in
 * tests/kernel. Needs root, ip(8), nft(8), setpriv(1) and a kernel with XFRM_USER; with CI=true it fails
 * without them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { AccessClient } from "../../src/app/access_client.ts";
import { STANDBY_DAEMON, type StandbyEvent } from "../../src/app/standby/standby_message.ts";
import type { StandbyView } from "../../src/app/standby/standby_view.ts";
import { ignoreWithoutNamespaces, NamespacePair } from "./netns.ts";
import { Daemon, must, run } from "./processes.ts";

const FAIRLEAD = [Deno.execPath(), "run", "-A", "--no-check", "src/main.ts"];
const PORT = 6810;
const START_MS = 20_000;
const TABLE = ["inet", "fairlead_standby_lab"];
const SYSCTLS = ["net.core.xfrm_aevent_etime", "net.core.xfrm_aevent_rseqth"];
const OUT = "src 10.7.1.0/24 dst 10.7.2.0/24 dir out";
const IN = "src 10.7.2.0/24 dst 10.7.1.0/24 dir in";
const TEMPLATE = "tmpl src 192.0.2.1 dst 192.0.2.9 proto esp reqid 7 mode tunnel";
const ignore = await ignoreWithoutNamespaces();

type Which = "near" | "far";

class Scene implements AsyncDisposable {
  readonly pair: NamespacePair;
  readonly directory: string;
  #files = 0;

  private constructor(pair: NamespacePair, directory: string) {
    this.pair = pair;
    this.directory = directory;
  }

  static async create(): Promise<Scene> {
    const directory = await Deno.makeTempDir({ prefix: "standby_host_" });
    await must([...FAIRLEAD, "keyring", "create", `${directory}/keyring`, "client.pair"]);
    return new Scene(await NamespacePair.create(), directory);
  }

  within(which: Which, argv: string[]): string[] {
    return this.pair.within(this.pair[which], argv);
  }

  async out(which: Which, ...argv: string[]): Promise<string> {
    return await must(this.within(which, argv));
  }

  socket(which: Which): string {
    return `${this.directory}/${which}.sock`;
  }

  async config(which: Which, more: Record<string, unknown> = {}): Promise<string> {
    const { farAddress, nearAddress } = this.pair;
    const [listen, peer] = which === "near" ? [nearAddress, farAddress] : [farAddress, nearAddress];
    const file = `${this.directory}/${which}-${++this.#files}.json`;
    await Deno.writeTextFile(
      file,
      JSON.stringify({
        name: "client.pair",
        auth: { keyring: `${this.directory}/keyring` },
        state: `${this.directory}/${which}`,
        status: false,
        standby: {
          role: which === "near" ? "active" : "standby",
          box: which,
          group: "lab",
          listen: `v2:${listen}:${PORT}`,
          peer: `v2:${peer}:${PORT}`,
          socket: this.socket(which),
          ...more,
        },
      }),
    );
    return file;
  }

  async start(which: Which, more: Record<string, unknown> = {}): Promise<Daemon> {
    const file = await this.config(which, more);
    const argv = this.within(which, [...FAIRLEAD, "standby", "run", "--config", file]);
    const daemon = Daemon.start(argv, `${file}.log`);
    const begun = (): boolean => /Box (near|far) of lab/.test(daemon.output());
    await daemon.until(`${which} can be asked`, begun, START_MS);
    return daemon;
  }

  async status(which: Which): Promise<StandbyView> {
    const client = await AccessClient.connect<StandbyEvent>(STANDBY_DAEMON, this.socket(which));
    try {
      const { status } = await client.request("status", {}, 10_000);
      return status as StandbyView;
    } finally {
      await client.close();
    }
  }

  async until(
    daemon: Daemon,
    which: Which,
    what: string,
    is: (view: StandbyView) => boolean,
  ): Promise<void> {
    await daemon.until(what, async () => is(await this.status(which)), START_MS);
  }

  /** Elements of the set that lets packets leave; empty while it is closed. */
  async fence(which: Which): Promise<string> {
    return await this.out(which, "nft", "list", "table", ...TABLE);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pair.remove();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** True while something may leave. */
function isOpen(table: string): boolean {
  return /elements = \{/.test(table);
}

/** Adds policies that need ESP, as an IKE daemon would. */
async function addPolicies(scene: Scene, which: Which): Promise<void> {
  for (const policy of [OUT, IN]) {
    await scene.out(which, "ip", ...`xfrm policy add ${policy} ${TEMPLATE}`.split(" "));
  }
}

async function policies(scene: Scene, which: Which): Promise<string> {
  return (await scene.out(which, "ip", "xfrm", "policy")).replaceAll(/\s+/g, " ");
}

Deno.test(
  "a pair on a kernel without ESP: policies go over, block while it is not active, and allow after",
  {
    ignore,
  },
  async () => {
    await using scene = await Scene.create();
    const before = await scene.out("near", "sysctl", ...SYSCTLS);
    await addPolicies(scene, "near");
    await using near = await scene.start("near");
    await using far = await scene.start("far");
    await scene.until(
      near,
      "near",
      "the other has everything",
      ({ sync, role }) => role === "active" && sync.synced,
    );
    assert.notEqual(await scene.out("near", "sysctl", ...SYSCTLS), before, "thresholds are set");
    assert.doesNotMatch(await policies(scene, "near"), /action block/);
    assert.equal((await policies(scene, "far")).trim(), "", "they are held, not installed");
    assert.ok(isOpen(await scene.fence("near")), "the active box's fence is open");
    assert.equal(isOpen(await scene.fence("far")), false, "that of the standby is closed");

    await scene.out("far", ...FAIRLEAD, "standby", "promote", "--socket", scene.socket("far"));
    await scene.until(far, "far", "it is active", ({ role }) => role === "active");
    const taken = await policies(scene, "far");
    assert.match(taken, /src 10\.7\.1\.0\/24 dst 10\.7\.2\.0\/24 dir out/);
    assert.match(taken, /dir in/);
    assert.doesNotMatch(taken, /action block/);
    await scene.until(near, "near", "it is standby", ({ role }) => role === "standby");
    assert.doesNotMatch(
      await policies(scene, "near"),
      /dir out (?!action block)/,
      "nothing of it may send",
    );
    assert.ok(isOpen(await scene.fence("far")));
    assert.equal(isOpen(await scene.fence("near")), false);

    // A policy that somebody adds on the standby blocks until it is active.
    const late = `xfrm policy add src 10.7.3.0/24 dst 10.7.4.0/24 dir out ${TEMPLATE}`;
    await scene.out("near", "ip", ...late.split(" "));
    const blocks = /src 10\.7\.3\.0\/24 dst 10\.7\.4\.0\/24 dir out action block/;
    await near.until("it blocks", async () => blocks.test(await policies(scene, "near")), 5000);

    await near.stop("SIGTERM");
    assert.equal(await near.exited, 0);
    assert.equal(await scene.out("near", "sysctl", ...SYSCTLS), before, "thresholds are put back");
    const gone = await run(scene.within("near", ["nft", "list", "table", ...TABLE]));
    assert.notEqual(gone.code, 0, "a standby that holds all in memory has nothing to be kept back");
  },
);

Deno.test(
  "in auto the kernel itself ends the sending of a program that was killed",
  { ignore },
  async () => {
    await using scene = await Scene.create();
    const witness = `v2:${scene.pair.nearAddress}:6820`;
    const argv = [
      ...FAIRLEAD,
      "standby",
      "witness",
      witness,
      "--keyring",
      `${scene.directory}/keyring`,
    ];
    await using guard = Daemon.start(
      scene.within("near", [
        ...argv,
        "--name",
        "client.pair",
        "--state",
        `${scene.directory}/witness`,
      ]),
      `${scene.directory}/witness.log`,
    );
    await guard.until("it listens", () => /Witness at/.test(guard.output()), START_MS);
    const auto = { role: "auto", witness, leaseMs: 3000 };
    await using near = await scene.start("near", { ...auto, preferred: true });
    await using far = await scene.start("far", auto);
    await scene.until(
      near,
      "near",
      "one is active",
      ({ sync, role }) => role === "active" && sync.synced,
    );
    assert.match(await scene.fence("near"), /expires/);
    await near.stop("SIGKILL");
    const killed = performance.now();
    assert.equal(near.running, false);
    while (isOpen(await scene.fence("near"))) {
      assert.notEqual((await scene.status("far")).role, "active", "not before the fence is closed");
      assert.ok(performance.now() - killed < auto.leaseMs, "its lease is over");
    }
    await scene.until(far, "far", "it takes over", ({ role }) => role === "active");
    assert.ok(isOpen(await scene.fence("far")));
  },
);

Deno.test(
  "without CAP_NET_ADMIN it does not start, and says what it needs",
  { ignore },
  async () => {
    await using scene = await Scene.create();
    const file = await scene.config("near");
    const argv = [...FAIRLEAD, "standby", "run", "--config", file];
    const ended = await run(
      scene.within("near", [
        "setpriv",
        "--bounding-set",
        "-net_admin",
        "--inh-caps",
        "-net_admin",
        ...argv,
      ]),
      { deadlineMs: START_MS },
    );
    assert.equal(ended.code, 1, ended.stderr);
    assert.match(`${ended.stdout}${ended.stderr}`, /CAP_NET_ADMIN|root/);
  },
);

Deno.test("SAs that wait for their keys are not mirrored", { ignore }, async () => {
  await using scene = await Scene.create();
  await using near = await scene.start("near");
  await using far = await scene.start("far");
  const whole = ({ role, sync }: StandbyView): boolean => role === "active" && sync.synced;
  await scene.until(near, "near", "the other has everything", whole);
  const words = "src 192.0.2.1 dst 192.0.2.9 proto esp reqid 7 mode tunnel min 256 max 512";
  await scene.out("near", "ip", "xfrm", "state", "allocspi", ...words.split(" "));
  const { sync: { sent } } = await scene.status("near");
  await scene.out("near", "ip", ...`xfrm policy add ${OUT} ${TEMPLATE}`.split(" "));
  const later = ({ sync }: StandbyView): boolean => sync.acked > sent;
  await scene.until(far, "near", "the policy that came after it is there", later);
  assert.match(await scene.out("near", "ip", "xfrm", "state"), /proto esp spi/);
  for (const box of ["near", "far"] as const) {
    assert.deepEqual((await scene.status(box)).ipsec!.sas, []);
  }
});
