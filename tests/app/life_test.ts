/**
 * Service manager and watchdogs: real datagrams, fake time. No machine that tests run on has a
 * watchdog to spare: a file takes the bytes in its place, which knows none of the ioctls.
 */
import assert from "node:assert/strict";
import { ClockWatch, RunningClock } from "../../src/app/clock_watch.ts";
import { Life, notifySettings } from "../../src/app/life.ts";
import { close } from "../../src/io/sockets.ts";
import { receiver, textOf } from "../io/unix_receiver.ts";

/** Timers that a test moves. */
class FakeTimers {
  readonly #timers = new Map<number, { job: () => void; everyMs: number; atMs: number }>();
  readonly #before = [globalThis.setInterval, globalThis.clearInterval] as const;
  #nowMs = 0;
  #id = 0;

  constructor() {
    const set = (job: () => void, everyMs: number): number => {
      this.#timers.set(++this.#id, { job, everyMs, atMs: this.#nowMs + everyMs });
      return this.#id;
    };
    const clear = (id: number): boolean => this.#timers.delete(id);
    globalThis.setInterval = set as unknown as typeof setInterval;
    globalThis.clearInterval = clear as unknown as typeof clearInterval;
  }

  pass(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const next = [...this.#timers.values()].sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined || next.atMs > untilMs) break;
      this.#nowMs = next.atMs;
      next.atMs += next.everyMs;
      next.job();
    }
    this.#nowMs = untilMs;
  }

  get size(): number {
    return this.#timers.size;
  }

  end(): void {
    [globalThis.setInterval, globalThis.clearInterval] = this.#before;
  }
}

function withTimers(job: (timers: FakeTimers) => void): void {
  const timers = new FakeTimers();
  try {
    job(timers);
    assert.equal(timers.size, 0, "timers are left");
  } finally {
    timers.end();
  }
}

function withSocket(job: (socket: string, fd: number) => void): void {
  const socket = `@fairlead-${crypto.randomUUID()}`;
  const fd = receiver(socket);
  try {
    job(socket, fd);
  } finally {
    close(fd);
  }
}

/** All datagrams that wait. */
function drain(fd: number): string[] {
  const all: string[] = [];
  for (let text = textOf(fd); text !== ""; text = textOf(fd)) all.push(text);
  return all;
}

const healthy = (): boolean => true;

Deno.test("notifySettings() takes a watchdog that is meant for us or for nobody", () => {
  const settings = (environment: Record<string, string>): unknown =>
    notifySettings((name) => environment[name], 42);
  const NOTIFY_SOCKET = "/run/n";
  assert.equal(settings({}), null);
  assert.equal(settings({ NOTIFY_SOCKET: "", WATCHDOG_USEC: "1000000" }), null);
  const socket = NOTIFY_SOCKET;
  assert.deepEqual(settings({ NOTIFY_SOCKET }), { socket, watchdogMs: 0 });
  for (
    const [WATCHDOG_PID, WATCHDOG_USEC, watchdogMs] of [
      ["42", "30000000", 30_000],
      ["", "1500", 1.5],
      ["43", "30000000", 0],
      ["42", "30s", 0],
      ["42", "-1", 0],
    ] as const
  ) {
    assert.deepEqual(settings({ NOTIFY_SOCKET, WATCHDOG_PID, WATCHDOG_USEC }), {
      socket,
      watchdogMs,
    });
  }
});

Deno.test("the manager is told what the program does; a status is one line", () =>
  withTimers(() =>
    withSocket((socket, fd) => {
      const life = Life.start({ notify: { socket, watchdogMs: 0 }, watchdog: null, healthy });
      life.status("2 sessions\nREADY=1\0");
      life.ready();
      life.reloading();
      life.ready();
      life.stopping();
      life.close(true);
      life.ready(); // nobody hears it any more
      const [status, ready, reloading, again, stopping, ...more] = drain(fd);
      assert.equal(status, "STATUS=2 sessions READY=1 ");
      assert.deepEqual([ready, again, stopping, more], ["READY=1", "READY=1", "STOPPING=1", []]);
      assert.match(reloading!, /^RELOADING=1\nMONOTONIC_USEC=\d+$/);
      assert.equal(life.trouble, "");
    })
  ));

Deno.test("WATCHDOG=1 comes at half of its time, and not while unhealthy for three", () =>
  withTimers((timers) =>
    withSocket((socket, fd) => {
      let well = true;
      const life = Life.start({
        notify: { socket, watchdogMs: 2000 },
        watchdog: null,
        healthy: () => {
          if (!well) throw new Error("a check that fails is no health");
          return true;
        },
      });
      timers.pass(5000);
      assert.deepEqual(drain(fd), Array(5).fill("WATCHDOG=1"));
      well = false;
      timers.pass(2000);
      assert.equal(drain(fd).length, 2);
      timers.pass(60_000);
      assert.equal(drain(fd).length, 0);
      well = true;
      timers.pass(1000);
      assert.equal(drain(fd).length, 1);
      well = false;
      timers.pass(60_000);
      assert.equal(drain(fd).length, 2);
      life.close(true);
    })
  ));

Deno.test("a manager that does not listen is told later, each kind once and in order", () =>
  withTimers((timers) => {
    const socket = `@fairlead-${crypto.randomUUID()}`;
    const life = Life.start({ notify: { socket, watchdogMs: 0 }, watchdog: null, healthy });
    life.ready();
    for (let i = 0; i < 100; i++) life.status(String(i));
    life.reloading();
    life.ready();
    assert.match(life.trouble, /^Cannot tell the service manager anything: .*ECONNREFUSED/);
    const fd = receiver(socket);
    timers.pass(1000);
    const told = drain(fd).map((text) => text.split("\n")[0]);
    assert.deepEqual(told, ["STATUS=99", "RELOADING=1", "READY=1"]);
    assert.equal(life.trouble, "");
    life.close(true);
    close(fd);
  }));

Deno.test("an address that is none, and a watchdog that is not there, are told", () =>
  withTimers(() => {
    const life = Life.start({
      notify: { socket: "vsock:2:1", watchdogMs: 1000 },
      watchdog: "/dev/no-such-watchdog",
      healthy,
    });
    life.ready();
    assert.match(life.trouble, /Cannot use NOTIFY_SOCKET as it must be .*: current value is vsock/);
    assert.match(life.trouble, /; Cannot open watchdog \/dev\/no-such-watchdog: .*ENOENT/);
    life.close(true);
  }));

Deno.test("the watchdog is fed every third of its time, and ends with V only when clean", () =>
  withTimers((timers) => {
    for (const clean of [true, false]) {
      const path = Deno.makeTempFileSync();
      let well = true;
      const life = Life.start({ notify: null, watchdog: path, healthy: () => well });
      const fed = (): string => Deno.readTextFileSync(path);
      assert.equal(fed(), "\0", "fed at once");
      timers.pass(10_000); // a file tells no timeout: 10 s
      assert.equal(fed(), "\0".repeat(1 + 3));
      well = false;
      timers.pass(60_000);
      assert.equal(fed(), "\0".repeat(1 + 3 + 2), "starved after three");
      life.close(clean);
      timers.pass(60_000);
      assert.equal(fed(), "\0".repeat(6) + (clean ? "V" : ""));
      assert.equal(life.trouble, "");
      Deno.removeSync(path);
    }
  }));

Deno.test("a watchdog that takes no food any more is trouble until it does", () =>
  withTimers((timers) => {
    const life = Life.start({ notify: null, watchdog: "/dev/full", healthy }); // ENOSPC
    assert.match(life.trouble, /^Cannot feed \/dev\/full: .*ENOSPC/);
    timers.pass(60_000);
    life.close(false);
  }));

Deno.test("a clock that jumps is told, forward and back; one that drifts is not", () =>
  withTimers((timers) => {
    let wallMs = 0; // 1970: a box without a battery
    let runningMs = 5000;
    const jumps: number[] = [];
    const watch = new ClockWatch((ms) => jumps.push(ms), {
      wallMs: () => wallMs,
      runningMs: () => runningMs,
    });
    const second = (stepMs: number): void => {
      wallMs += 1000 + stepMs;
      runningMs += 1000;
      timers.pass(1000);
    };
    for (let i = 0; i < 10_000; i++) second(i % 2 === 0 ? 0.5 : 1); // 7.5 s in all
    second(2000);
    second(-2000);
    assert.deepEqual(jumps, []);
    second(1_700_000_000_000);
    second(0);
    second(-3_600_000);
    second(2001);
    assert.deepEqual(jumps, [1_700_000_000_000, -3_600_000, 2001]);
    // A loop that stood still for a minute is no jump: both clocks have gone on.
    wallMs += 60_000;
    runningMs += 60_000;
    watch.check();
    assert.equal(jumps.length, 3);
    watch.stop();
    second(1_000_000);
    assert.equal(jumps.length, 3);
  }));

Deno.test("running time goes on from what was stored, whatever the wall clock says", () => {
  let runningMs = 12_345;
  const first = new RunningClock(0, () => runningMs);
  assert.equal(first.nowMs(), 0);
  runningMs += 1000;
  const stored = first.nowMs();
  assert.equal(stored, 1000);
  runningMs = 7; // another process
  const second = new RunningClock(stored, () => runningMs);
  assert.equal(second.nowMs(), 1000);
  runningMs += 500;
  assert.equal(second.nowMs() - stored, 500);
  assert.ok(new RunningClock(0).nowMs() >= 0);
});
