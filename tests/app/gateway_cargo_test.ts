/** A gateway that is a pair's cargo: what it waits for, and what it does in which role. */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { type GatewayConfig, loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import type { Gateway } from "../../src/app/gateway/gateway.ts";
import { InputIntake } from "../../src/app/gateway/input_intake.ts";
import type { CargoLink } from "../../src/app/standby/cargo.ts";
import { GatewayCargo } from "../../src/app/standby/gateway_cargo.ts";
import { Alarms, Journal } from "../../src/app/status/journal.ts";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { regionOf } from "../../src/mem/region.ts";
import {
  PostHead,
  PostRecord,
  PostWriter,
  readPostHead,
  readPostRecord,
  RecordKind,
} from "../../src/wire/standby/post.ts";

/** Longer than a commit takes; what has not happened by then waits for something. */
const SOON_MS = 150;

/** A service that keeps the posts. */
class FakeLink implements CargoLink {
  readonly writer = new PostWriter();
  readonly posts: Uint8Array<ArrayBuffer>[] = [];
  follows = false;
  runs = true;
  /** Posts that do not leave. */
  losing = 0;
  serial = 0;

  mayRun(): boolean {
    return this.runs;
  }

  flush(): number {
    if (this.writer.count === 0) return 0;
    const post = this.writer.take(1, this.serial + 1).slice();
    if (this.losing > 0) {
      this.losing--;
      return 0;
    }
    this.posts.push(post);
    return ++this.serial;
  }

  mark(kind: number): void {
    this.writer.mark(kind);
    this.flush();
  }
}

/** A cargo with its link and all that it said. */
class Rig implements AsyncDisposable {
  readonly link = new FakeLink();
  readonly told: string[] = [];
  readonly alarms = new Alarms(new Journal({ print: () => {} }));
  gateway: Gateway | null = null;
  /** Of its input; 0 is any. */
  port = 0;
  cargo!: GatewayCargo;
  #taken = 0;

  private constructor(readonly directory: string) {}

  static async open(window = 0): Promise<Rig> {
    const rig = new Rig(await Deno.makeTempDir());
    await rig.start(window);
    return rig;
  }

  /** A process that begins with what the last one has left. */
  async start(window = 0): Promise<void> {
    this.cargo = await GatewayCargo.open({
      gateway: {
        config: await this.config(),
        auth: authNone("client.gw1"),
        journal: new Journal({ print: () => {} }),
        alarms: this.alarms,
        newSpoolId: false,
      },
      window,
      windowMs: 400,
      onGateway: (gateway) => this.gateway = gateway,
      tell: (_level, text) => this.told.push(text),
    });
    this.cargo.link = this.link;
  }

  async config(hub = "hq"): Promise<GatewayConfig> {
    const path = `${this.directory}/gateway.json`;
    await Deno.writeTextFile(
      path,
      JSON.stringify({
        name: "client.gw1",
        state: `${this.directory}/state`,
        inputs: { lines: { type: "lines", listen: `127.0.0.1:${this.port}`, protocols: ["tcp"] } },
        hubs: { [hub]: { addresses: ["v2:127.0.0.1:1"] } },
        transport: "tcp",
        status: false,
      }),
    );
    const loaded = await loadGatewayConfig(path);
    assert.ok("config" in loaded && loaded.config !== null);
    return loaded.config;
  }

  /** Offers messages, which are one group; resolves when they may be acknowledged. */
  offer(...texts: string[]): Promise<void> {
    const intake = new InputIntake(this.gateway!, "test");
    for (const text of texts) {
      assert.ok(intake.offer("topic", new TextEncoder().encode(text), "text/plain"));
    }
    return intake.durable();
  }

  /** Sends a snapshot as the service does; its last post. */
  async snapshot(): Promise<number> {
    const { link } = this;
    link.follows = true;
    link.mark(RecordKind.SnapshotBegin);
    await this.write("done");
    link.mark(RecordKind.SnapshotEnd);
    return link.serial;
  }

  /** Writes parts of a snapshot until that is the answer. */
  async write(answer: "done" | "wait"): Promise<number> {
    const deadline = performance.now() + 5000;
    for (let parts = 1;; parts++) {
      const state = this.cargo.writeSnapshot(this.link.writer, () => this.link.flush());
      if (state === answer) return parts;
      assert.ok(performance.now() < deadline, `${state}, never ${answer}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Runs, and the other box has all of it. */
  async takePaired(): Promise<void> {
    await this.cargo.take();
    this.cargo.handleAcked(await this.snapshot());
    assert.equal(this.cargo.alone, false);
  }

  /** Hands over what the link of another rig was given since the last time. */
  async receive(from: Rig): Promise<void> {
    for (; this.#taken < from.link.posts.length; this.#taken++) {
      await this.deliver(from.link.posts[this.#taken]!);
    }
  }

  async deliver(post: Uint8Array<ArrayBuffer>): Promise<void> {
    const region = regionOf(post);
    const head = new PostHead();
    const record = new PostRecord();
    let at = readPostHead(region, 0, post.length, head);
    for (let index = 0; index < head.count; index++) {
      at = readPostRecord(region, at, record);
      const { at: from, end, kind } = record;
      const mark = kind === RecordKind.SnapshotBegin || kind === RecordKind.SnapshotEnd;
      if (!mark) assert.equal(this.cargo.check(kind, region, from, end), 0);
      assert.ok(this.cargo.apply(kind, region, from, end) >= 0);
    }
    await this.cargo.stored();
  }

  /** Ends as a process does that is killed, but for its sockets. */
  async kill(): Promise<void> {
    this.cargo.suspend();
    await this.cargo.close(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** Whether a promise settles soon. */
async function settles(promise: Promise<void>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), SOON_MS);
  });
  const settled = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return settled;
}

Deno.test("alone it waits for nobody; from its snapshot on, for the other box", async () => {
  await using rig = await Rig.open();
  assert.equal(rig.cargo.view.running, false);
  await rig.cargo.take();
  assert.equal(rig.cargo.view.running, true);
  assert.ok(await settles(rig.offer("before")));
  rig.link.follows = true;
  rig.link.mark(RecordKind.SnapshotBegin);
  assert.ok(await settles(rig.offer("meanwhile")), "a copy that is not whole is of no use");
  rig.cargo.handleAcked(await rig.snapshot());
  const waits = rig.offer("after");
  assert.equal(await settles(waits), false);
  rig.cargo.handleAcked(rig.link.serial - 1);
  assert.equal(await settles(waits), false, "that was the post before");
  rig.cargo.handleAcked(rig.link.serial);
  assert.ok(await settles(waits));
  assert.ok(rig.cargo.view.addedLatencyMs > 0);
});

Deno.test("what is lost on the way waits for a new term, and then for nobody", async () => {
  await using rig = await Rig.open();
  await rig.takePaired();
  const waits = rig.offer("a");
  assert.equal(await settles(waits), false);
  rig.cargo.handleLost();
  rig.link.follows = false;
  rig.cargo.handleAcked(rig.link.serial); // late, of a session that is over
  assert.equal(await settles(waits), false);
  assert.equal(rig.cargo.alone, false);
  rig.cargo.handleAlone();
  assert.ok(await settles(waits));
  assert.equal(rig.cargo.alone, true);
  assert.ok(await settles(rig.offer("b")));
  assert.equal(rig.gateway!.sessionJournal!.gated, false);
  await rig.takePaired(); // the other box is back
  assert.equal(rig.gateway!.sessionJournal!.gated, true);
  assert.equal(await settles(rig.offer("c")), false);
});

Deno.test("with a window so many messages may be ahead, and not one more", async () => {
  await using rig = await Rig.open(3);
  assert.equal(rig.cargo.view.mode, "async");
  await rig.takePaired();
  assert.ok(await settles(rig.offer("1")));
  assert.ok(await settles(rig.offer("2", "3")));
  const serial = rig.link.serial;
  const waits = rig.offer("4");
  assert.equal(await settles(waits), false);
  rig.cargo.handleAcked(serial - 1); // 1 and perhaps more
  assert.ok(await settles(waits), "there is room again");
});

Deno.test("with a window nothing more is ahead once a message waited for too long", async () => {
  await using rig = await Rig.open(1000);
  await rig.takePaired();
  assert.ok(await settles(rig.offer("1")));
  await new Promise((resolve) => setTimeout(resolve, 450));
  const waits = rig.offer("2");
  assert.equal(await settles(waits), false);
  rig.cargo.handleAcked(rig.link.serial);
  assert.ok(await settles(waits));
  assert.ok(await settles(rig.offer("3")));
});

for (const alone of [true, false]) {
  Deno.test(`suspended, ${alone ? "alone" : "paired"}: nothing is promised until it goes on`, async () => {
    await using rig = await Rig.open();
    await rig.cargo.take();
    if (!alone) rig.cargo.handleAcked(await rig.snapshot());
    rig.cargo.suspend();
    rig.link.follows = false;
    const posts = rig.link.posts.length;
    const waits = rig.offer("a");
    assert.equal(await settles(waits), false);
    assert.equal(rig.link.posts.length, posts, "nothing leaves");
    assert.equal(rig.cargo.writeSnapshot(rig.link.writer, () => rig.link.flush()), "wait");
    rig.cargo.handleLost();
    const { gateway } = rig;
    await rig.cargo.take();
    assert.equal(rig.gateway, gateway, "it is the same one");
    if (!alone) {
      assert.equal(await settles(waits), false, "the other box may have what came before");
      rig.cargo.handleAlone(); // in a new term
    }
    assert.ok(await settles(waits));
  });
}

Deno.test("released: what waited is never promised, and a copy is held", async () => {
  await using rig = await Rig.open();
  await rig.takePaired();
  assert.equal(
    rig.cargo.check(RecordKind.Spool, regionOf(new Uint8Array(64)), 0, 64),
    -Fault.State,
  );
  assert.match(`${lastFault.field}`, /SYNC record kind/);
  const waits = rig.offer("never");
  assert.equal(await settles(waits), false);
  await rig.cargo.release();
  assert.equal(rig.gateway, null);
  assert.equal(rig.cargo.view.running, false);
  assert.equal(await settles(waits), false);
  await rig.cargo.release(); // again is fine
});

Deno.test("one process may run its gateway, hold the other's, and run it again", async () => {
  await using one = await Rig.open();
  await using other = await Rig.open();
  await one.takePaired();
  await other.receive(one);
  for (const [from, to] of [[one, other], [other, one], [one, other], [other, one]] as const) {
    const waits = from.offer("a");
    assert.equal(await settles(waits), false);
    await to.receive(from);
    from.cargo.handleAcked(from.link.serial);
    await waits;
    from.cargo.suspend();
    from.link.follows = false;
    const late = from.offer("never");
    assert.equal(await settles(late), false);
    const released = from.cargo.release();
    const later = from.offer("never"); // while it ends
    assert.notEqual(from.cargo.releasing, null);
    await released;
    await from.cargo.releasing;
    assert.equal(from.cargo.releasing, null);
    assert.equal(await settles(later), false);
    to.cargo.handleLost();
    await to.cargo.take();
    assert.ok(await settles(to.offer("b")));
    const whole = await to.snapshot();
    await from.receive(to);
    to.cargo.handleAcked(whole);
    assert.equal(from.cargo.view.spoolMessages, to.cargo.view.spoolMessages);
  }
  assert.deepEqual([...one.told, ...other.told], []);
});

Deno.test("a copy becomes a gateway with the same spool, and what was acknowledged", async () => {
  await using active = await Rig.open();
  await using standby = await Rig.open();
  await active.cargo.take();
  await active.offer("1", "2");
  const whole = await active.snapshot();
  await standby.receive(active);
  active.cargo.handleAcked(whole);
  const waits = active.offer("3");
  assert.equal(await settles(waits), false);
  await standby.receive(active);
  active.cargo.handleAcked(active.link.serial);
  assert.ok(await settles(waits));
  assert.equal(standby.cargo.view.spoolMessages, 3);
  assert.equal(standby.cargo.view.sessions, 1);
  active.cargo.suspend();
  await standby.cargo.take();
  assert.equal(standby.gateway!.spool.id, active.gateway!.spool.id);
  assert.equal(standby.gateway!.spool.messages, 3);
  assert.equal(standby.cargo.view.sessions, 1);
  assert.equal(standby.cargo.alone, true);
  await standby.offer("4");
  await active.cargo.release();
  active.link.posts.length = 0;
  await standby.snapshot();
  await active.receive(standby);
  assert.equal(active.cargo.view.spoolMessages, 4);
  assert.deepEqual(active.told, [], "the other box had everything: nothing is kept aside");
});

Deno.test("a snapshot of which a post is lost begins anew with the next one", async () => {
  await using active = await Rig.open();
  await using standby = await Rig.open();
  await active.cargo.take();
  for (let count = 0; count < 3; count++) await active.offer("x".repeat(200_000));
  active.link.follows = true;
  active.link.mark(RecordKind.SnapshotBegin);
  const { writer } = active.link;
  const step = (): string => active.cargo.writeSnapshot(writer, () => active.link.flush());
  assert.equal(step(), "more");
  assert.equal(step(), "more");
  active.link.losing = 1;
  assert.equal(step(), "more");
  await active.snapshot();
  await standby.receive(active);
  assert.equal(standby.cargo.view.spoolMessages, 3);
});

Deno.test("messages that no other box has are kept when a snapshot of another one comes", async () => {
  await using one = await Rig.open();
  await using other = await Rig.open();
  await one.cargo.take();
  await one.offer("only", "here");
  await one.kill();
  await one.start();
  assert.equal(one.cargo.view.spoolMessages, 2);
  await other.cargo.take(); // by force
  await other.offer("there");
  await other.snapshot();
  await one.receive(other);
  assert.equal(one.cargo.view.spoolMessages, 1);
  const text = one.told.join();
  assert.match(text, /^2 messages are kept aside in .*spool\.kept-\S+\.db/);
  assert.deepEqual(one.alarms.list().map(({ code }) => code), ["spool_kept_aside"]);
  const kept = [...Deno.readDirSync(`${one.directory}/state`)].map(({ name }) => name)
    .filter((name) => name.includes("kept"));
  assert.equal(kept.length, 1);
  // As spool.db of another gateway it is sent.
  await using rescued = await Rig.open();
  await rescued.kill();
  await Deno.rename(`${one.directory}/state/${kept[0]}`, `${rescued.directory}/state/spool.db`);
  await rescued.start();
  assert.equal(rescued.cargo.view.spoolMessages, 2);
  // A second snapshot, or a restart in the middle of one, keeps nothing more.
  one.link.posts.length = 0;
  other.link.mark(RecordKind.SnapshotBegin);
  await one.receive(other);
  await one.kill();
  await one.start();
  await other.snapshot();
  await one.receive(other);
  assert.equal(one.told.length, 1);
});

Deno.test("a box that was killed while the other one had everything keeps nothing aside", async () => {
  for (const since of ["paired", "alone"] as const) {
    await using one = await Rig.open();
    await using other = await Rig.open();
    await one.takePaired();
    if (since === "alone") one.cargo.handleAlone();
    const waits = one.offer("a");
    if (since === "paired") {
      assert.equal(await settles(waits), false);
      one.cargo.handleAcked(one.link.serial);
    }
    await waits;
    await one.kill();
    await one.start();
    await other.takePaired();
    await one.receive(other);
    assert.equal(one.told.length, since === "alone" ? 1 : 0, since);
  }
});

Deno.test("setConfig() is for when it runs the next time", async () => {
  await using rig = await Rig.open();
  rig.cargo.setConfig(await rig.config("elsewhere"));
  await rig.cargo.take();
  assert.deepEqual([...rig.gateway!.senders.keys()], ["elsewhere"]);
});

Deno.test("it ends alone by draining, and paired by promising nothing more", async () => {
  await using rig = await Rig.open();
  await rig.cargo.take();
  await rig.offer("a");
  assert.equal(await rig.cargo.close(0), 1, "a message waits for its hub");
  await rig.start();
  await rig.takePaired();
  const waits = rig.offer("b");
  assert.equal(await rig.cargo.close(performance.now() + 60_000), 0);
  assert.equal(await settles(waits), false);
});

Deno.test("it needs a state directory, and a spool on the disk", async () => {
  await using rig = await Rig.open();
  const config = { ...await rig.config(), state: null };
  const gateway = {
    config,
    auth: authNone("client.gw1"),
    journal: new Journal({ print: () => {} }),
    alarms: rig.alarms,
    newSpoolId: false,
  };
  await assert.rejects(
    GatewayCargo.open({ gateway, window: 0, windowMs: 1000, onGateway: () => {}, tell: () => {} }),
    /the spool must be on disk: add "state"/,
  );
});

Deno.test("a take that waits its turn is not done once it was suspended", async () => {
  await using rig = await Rig.open();
  await rig.cargo.take();
  const released = rig.cargo.release();
  const taken = rig.cargo.take();
  rig.cargo.suspend();
  await Promise.all([released, taken]);
  assert.equal(rig.cargo.view.running, false);
  assert.equal(rig.gateway, null);
  await rig.cargo.take();
  assert.ok(rig.gateway !== null);
});

Deno.test("a gateway that cannot be opened is held again, takes posts, and is opened later", async () => {
  await using active = await Rig.open();
  await active.takePaired();
  await using rig = await Rig.open();
  using busy = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  rig.port = busy.addr.port;
  rig.cargo.setConfig(await rig.config());
  await assert.rejects(rig.cargo.take(), /another program uses that port/);
  assert.equal(rig.cargo.view.running, false);
  await rig.receive(active);
  assert.equal(rig.cargo.view.spoolMessages, 0);
  rig.port = 0;
  rig.cargo.setConfig(await rig.config());
  await rig.cargo.take();
  assert.ok(await settles(rig.offer("a")));
});
