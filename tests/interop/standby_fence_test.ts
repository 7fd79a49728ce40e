/**
 * The fence against the kernel: what it drops and what not, that it closes by itself when its program is
 * dead, that renewing it loses no packet, and that it comes back when a firewall flushed it. A kernel
 * without ESP is enough: packets of protocol 50 from raw(7) leave a host as those of its own ESP do.
 * Needs root, ip(8), nft(8) and nf_tables; with CI=true it fails without them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Fence, fenceTable } from "../../src/app/standby/fence.ts";
import { nowMs } from "../../src/io/clock.ts";
import { Errno } from "../../src/io/errno.ts";
import { fold, libc } from "../../src/io/libc.ts";
import { inNamespace } from "../../src/io/namespace.ts";
import { PacketSocket } from "../../src/io/packet_socket.ts";
import { close } from "../../src/io/sockets.ts";
import { Family, parseInet } from "../../src/wire/inet.ts";
import { ignoreWithoutNamespaces, NamespacePair } from "./netns.ts";
import { must, run } from "./processes.ts";

const GROUP = "lab-1";
const TABLE = "fairlead_standby_lab_1";
const ESP = 50;
const AH = 51;
const UDP = 17;
const IKE_PORT = 4500;
const SOCK_RAW = 3;
const ETHERTYPE_INET = 0x0800;
const INET6 = { near: "2001:db8:1::1", far: "2001:db8:1::2" };
/** What a kernel with 100 ticks a second may be early by: two of them, and the clock's rounding. */
const EARLY_MS = 25;
const LEASE_MS = 300;
const DEADLINE_MS = 5000;

/** One end of a cable that sends, with a fence. */
class Scene implements AsyncDisposable {
  readonly pair: NamespacePair;
  readonly fence: Fence;
  readonly #sockets = new Map<string, number>();

  static async create(): Promise<Scene> {
    const pair = await NamespacePair.create();
    try {
      const { far, near } = pair;
      for (const [name, address] of [[near, INET6.near], [far, INET6.far]] as const) {
        const add = ["address", "add", `${address}/64`, "dev", "cable0", "nodad"];
        await must(["ip", "-n", name, ...add]);
      }
      return new Scene(pair, Fence.install({ namespace: near, group: GROUP }));
    } catch (error) {
      await pair.remove();
      throw error;
    }
  }

  private constructor(pair: NamespacePair, fence: Fence) {
    this.pair = pair;
    this.fence = fence;
  }

  /** Sends a packet of a protocol to the far end: whether the fence let it pass. */
  passes(protocol: number, payload = new Uint8Array(32), family: number = Family.Inet): boolean {
    const key = `${protocol} ${family}`;
    let fd = this.#sockets.get(key);
    if (fd === undefined) {
      fd = inNamespace(this.pair.near, () => libc().socket(family, SOCK_RAW, protocol));
      assert.ok(fd >= 0);
      this.#sockets.set(key, fd);
    }
    const to = new Uint8Array(family === Family.Inet ? 16 : 28); // sockaddr_in, sockaddr_in6
    to[0] = family;
    const address = new Uint8Array(16);
    parseInet(family === Family.Inet ? this.pair.farAddress : INET6.far, address);
    if (family === Family.Inet) to.set(address.subarray(0, 4), 4);
    else to.set(address, 8);
    const sent = fold(libc().sendto(fd, payload, payload.length, 0, to, to.length));
    if (sent === -Errno.Eperm) return false; // NF_DROP at the output hook
    assert.equal(sent, payload.length);
    return true;
  }

  /**
   * Sends ESP until it does not pass any more. Answers in milliseconds since `start`: what passed last was
   * sent after `last`, and the fence was closed before `closed`; a busy host makes the gap wide.
   */
  passesFor(start: number): { last: number; closed: number } {
    let last = 0;
    for (let now = start; now < start + DEADLINE_MS;) {
      now = performance.now();
      if (!this.passes(ESP)) return { last, closed: performance.now() - start };
      last = now - start;
    }
    throw new assert.AssertionError({ message: `it passes for more than ${DEADLINE_MS} ms` });
  }

  async nft(...words: string[]): Promise<string> {
    return await must(this.pair.within(this.pair.near, ["nft", ...words]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const fd of this.#sockets.values()) close(fd);
    this.fence.detach();
    await this.pair.remove();
  }
}

/** What asking for a lease may take of it, and the whole milliseconds of a clock. */
function slowMs(leaseMs: number): number {
  return Math.max(2, leaseMs / 16) + 2;
}

/** A UDP datagram without checksum. */
function datagram(source: number, target: number, ...payload: number[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(8 + payload.length));
  view.setUint16(0, source);
  view.setUint16(2, target);
  view.setUint16(4, view.byteLength);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(payload, 8);
  return bytes;
}

async function ignored(): Promise<boolean> {
  if (Deno.env.get("CI") === "true") return false;
  if ((await run(["nft", "--version"])).code !== 0) return true;
  return await ignoreWithoutNamespaces();
}

const IGNORED = await ignored();

Deno.test({
  name: "a closed fence drops ESP, AH and ESP in UDP of both families, and nothing else",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const { fence } = scene;
    const spi = [0, 0, 0x10, 0];
    const fenced = (): boolean[] => [
      ...[ESP, AH].map((protocol) => scene.passes(protocol)),
      scene.passes(UDP, datagram(IKE_PORT, 40_000, ...spi, 0, 0, 0, 1)),
      scene.passes(UDP, datagram(40_000, IKE_PORT, ...spi, 0, 0, 0, 1)),
      scene.passes(ESP, new Uint8Array(32), Family.Inet6),
      scene.passes(UDP, datagram(IKE_PORT, IKE_PORT, ...spi), Family.Inet6),
    ];
    const free = (): boolean[] => [
      scene.passes(UDP, datagram(IKE_PORT, IKE_PORT, 0, 0, 0, 0, 1, 2)), // IKE: RFC 3948 section 2.2
      scene.passes(UDP, datagram(IKE_PORT, IKE_PORT, 0xff)), // its keepalive, section 2.3
      scene.passes(UDP, datagram(500, 500, ...spi)),
      scene.passes(UDP, datagram(7001, 7001, ...spi)),
      scene.passes(47), // GRE
    ];
    assert.ok(fenced().every((passed) => !passed), "closed from the beginning");
    assert.equal(fence.dropped(), 6);
    assert.ok(free().every((passed) => passed));
    assert.equal(fence.dropped(), 6);

    assert.equal(fence.open(nowMs(), DEADLINE_MS), 0);
    assert.ok(fenced().every((passed) => passed));
    assert.equal(fence.close(), 0);
    assert.ok(fenced().every((passed) => !passed));
    assert.equal(fence.dropped(), 12);

    assert.equal(fence.openWithoutEnd(), 0);
    assert.ok(fenced().every((passed) => passed));
    assert.equal(fence.close(), 0);
    assert.ok(!scene.passes(ESP));
    fence.remove();
    assert.ok(scene.passes(ESP));
    assert.equal((await scene.nft("list", "ruleset")).trim(), "");
  },
});

Deno.test({
  name: "a lease ends by itself within two ticks before its time, and never after",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    for (const leaseMs of [30, 100, LEASE_MS]) {
      const start = performance.now();
      const from = nowMs(); // whole milliseconds, not after `start`
      assert.equal(scene.fence.open(from, leaseMs), 0);
      const { closed, last } = scene.passesFor(start);
      assert.ok(closed >= leaseMs - EARLY_MS, `closed after ${closed} of ${leaseMs} ms`);
      assert.ok(last <= leaseMs + slowMs(leaseMs), `passed after ${last} of ${leaseMs} ms`);
    }
    const late = nowMs() - LEASE_MS;
    assert.equal(scene.fence.openWithoutEnd(), 0);
    assert.equal(scene.fence.open(late, LEASE_MS), Errno.Etimedout);
    assert.ok(!scene.passes(ESP), "a lease that is over closes what was open");
    assert.equal(scene.fence.open(nowMs() - 200, LEASE_MS), 0);
    const { last } = scene.passesFor(performance.now());
    assert.ok(last <= 100 + slowMs(LEASE_MS), `${last} ms: it counts from when it was asked for`);
  },
});

Deno.test({
  name:
    "a lease that the kernel was slow to take is asked for again, and closed when it stays slow",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const { fence } = scene;
    const calls = libc() as unknown as Record<string, (...words: unknown[]) => number>;
    const real = calls.write!;
    const slow = { times: 0 };
    calls.write = (...words: unknown[]) => {
      const begun = performance.now();
      // Requests of a batch are larger than those of a dump.
      if ((words[2] as number) > 100 && slow.times-- > 0) {
        while (performance.now() < begun + 60);
      }
      return real(...words);
    };
    try {
      slow.times = 1;
      const start = performance.now();
      assert.equal(fence.open(nowMs(), LEASE_MS), 0);
      const { last } = scene.passesFor(start);
      assert.ok(last > 0 && last <= LEASE_MS + slowMs(LEASE_MS), `${last} ms: not 60 ms more`);
      slow.times = 3;
      assert.equal(fence.open(nowMs(), LEASE_MS), Errno.Etimedout);
      assert.ok(!scene.passes(ESP));
    } finally {
      calls.write = real;
    }
  },
});

Deno.test({
  name: "the fence closes by itself when its program is killed",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const { near } = scene.pair;
    const fenceUrl = new URL("../../src/app/standby/fence.ts", import.meta.url);
    const clockUrl = new URL("../../src/io/clock.ts", import.meta.url);
    const program = `
      import { Fence } from "${fenceUrl}";
      import { nowMs } from "${clockUrl}";
      const fence = Fence.install({ namespace: "${near}", group: "${GROUP}" });
      const renew = () => fence.open(nowMs(), ${LEASE_MS});
      if (renew() !== 0) throw new Error(fence.text);
      setInterval(renew, ${LEASE_MS / 4});
      await Deno.stdout.write(Uint8Array.of(10));
    `;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-check", program],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const reader = child.stdout.getReader();
    assert.equal((await reader.read()).value?.length, 1);
    const renewed = performance.now();
    // A busy host may be late with a renewal, so only the end counts.
    while (performance.now() < renewed + 3 * LEASE_MS || !scene.passes(ESP)) {
      assert.ok(performance.now() < renewed + DEADLINE_MS, "while it lives");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    child.kill("SIGKILL");
    const killed = performance.now();
    const { last } = scene.passesFor(killed);
    assert.ok(last <= LEASE_MS + slowMs(LEASE_MS), `${last} ms after the kill`);
    await reader.cancel();
    assert.equal((await child.status).signal, "SIGKILL");
    assert.ok(!scene.passes(ESP));
    assert.ok(scene.fence.dropped() > 0);
  },
});

Deno.test({
  name: "renewing a lease and writing the fence anew lose no packet of another process",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const { fence, pair } = scene;
    assert.equal(fence.open(nowMs(), DEADLINE_MS), 0);
    // Sent on another processor, if there is one.
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-check", senderProgram(pair)],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const reader = child.stdout.getReader();
    assert.equal((await reader.read()).value?.length, 1);
    let renewals = 0;
    for (const end = performance.now() + 1000; performance.now() < end; renewals++) {
      assert.equal(fence.open(nowMs(), DEADLINE_MS), 0);
      if (renewals % 100 !== 0) continue;
      await scene.nft("flush", "chain", "inet", TABLE, "transform"); // so that it is written anew
    }
    await child.stdin.close();
    const told = JSON.parse(new TextDecoder().decode((await reader.read()).value));
    await reader.cancel();
    assert.equal((await child.status).code, 0);
    assert.ok(renewals > 100 && fence.restored > 0, `${renewals} renewals`);
    assert.ok(told.sent > 1000, JSON.stringify(told));
    assert.equal(told.dropped, 0, JSON.stringify(told));
    assert.equal(fence.dropped(), 0);
  },
});

/** Sends ESP until its input ends, then tells how many. */
function senderProgram({ farAddress, near }: NamespacePair): string {
  const url = (path: string): string => new URL(`../../src/io/${path}`, import.meta.url).href;
  return `
    import { fold, libc } from "${url("libc.ts")}";
    import { inNamespace } from "${url("namespace.ts")}";
    const fd = inNamespace("${near}", () => libc().socket(2, ${SOCK_RAW}, ${ESP}));
    const to = new Uint8Array(16);
    to[0] = 2;
    to.set([${farAddress.replaceAll(".", ", ")}], 4);
    const bytes = new Uint8Array(64);
    let [going, sent, dropped] = [true, 0, 0];
    Deno.stdin.read(bytes).then(() => going = false);
    await Deno.stdout.write(Uint8Array.of(10));
    while (going) {
      for (let i = 0; i < 100; i++) {
        const answer = fold(libc().sendto(fd, bytes, bytes.length, 0, to, 16));
        if (answer === -${Errno.Eperm}) dropped++;
        else if (answer > 0) sent++;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Deno.stdout.write(new TextEncoder().encode(JSON.stringify({ sent, dropped })));
  `;
}

Deno.test({
  name: "a fence that another program flushed, whole or in part, is back with the next renewal",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const { fence } = scene;
    assert.ok(!scene.passes(ESP));
    await scene.nft("flush", "ruleset");
    assert.ok(scene.passes(ESP), "nothing keeps it");
    assert.equal(fence.close(), 0);
    assert.ok(!scene.passes(ESP));
    await scene.nft("flush", "chain", "inet", TABLE, "out");
    assert.ok(scene.passes(ESP));
    assert.equal(fence.open(nowMs(), DEADLINE_MS), 0);
    assert.ok(scene.passes(ESP));
    assert.equal(fence.close(), 0);
    assert.ok(!scene.passes(ESP));
    assert.equal(fence.restored, 2);
    assert.equal(fence.dropped(), 2, "those of the first had not been read when it was flushed");
  },
});

Deno.test({
  name: "transit of other boxes' ESP passes a closed fence",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const { fence, pair } = scene;
    const { far, near } = pair;
    // near forwards from the cable to a network behind it.
    await must(["ip", "-n", near, "link", "add", "in0", "type", "veth", "peer", "name", "in1"]);
    for (const name of ["in0", "in1"]) await must(["ip", "-n", near, "link", "set", name, "up"]);
    await must(["ip", "-n", near, "address", "add", "198.51.100.1/24", "dev", "in0"]);
    await must([
      ...["ip", "-n", near, "neigh", "add", "198.51.100.9", "dev", "in0"],
      ...["lladdr", "02:00:00:00:00:09"],
    ]);
    await must(pair.within(near, ["sysctl", "-qw", "net.ipv4.ip_forward=1"]));
    await must(["ip", "-n", far, "route", "add", "198.51.100.0/24", "via", pair.nearAddress]);
    const seen = inNamespace(near, () => PacketSocket.open("in1", ETHERTYPE_INET));
    assert.ok(typeof seen !== "number");
    const raw = inNamespace(far, () => libc().socket(Family.Inet, SOCK_RAW, ESP));
    const to = Uint8Array.of(Family.Inet, 0, 0, 0, 198, 51, 100, 9, 0, 0, 0, 0, 0, 0, 0, 0);
    assert.equal(libc().sendto(raw, new Uint8Array(32), 32, 0, to, 16), 32);
    const frame = new Uint8Array(128);
    const deadline = performance.now() + DEADLINE_MS;
    let size = seen.receive(frame);
    while (size < 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      size = seen.receive(frame);
    }
    assert.equal(size, 14 + 20 + 32);
    assert.equal(frame[14 + 9], ESP);
    assert.ok(!scene.passes(ESP), "while our own does not");
    assert.equal(fence.dropped(), 1);
    seen.close();
    close(raw);
  },
});

Deno.test({
  name: "a fence can be listed and loaded again by nft(8), and an earlier program's is replaced",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const { fence, pair } = scene;
    assert.equal(fence.openWithoutEnd(), 0);
    const listed = await scene.nft("list", "ruleset");
    assert.match(listed, new RegExp(`table inet ${TABLE} `));
    assert.match(listed, /elements = \{ ipv4, ipv6 \}/);
    assert.match(listed, /rt ipsec exists jump fence/);
    await must(pair.within(pair.near, ["nft", "-c", "-f", "-"]), { stdin: listed });
    const next = Fence.install({ namespace: pair.near, group: GROUP });
    assert.ok(!scene.passes(ESP), "closed until it is opened");
    next.detach();
  },
});

Deno.test({
  name: "whether there can be a fence is told without leaving anything",
  ignore: IGNORED,
  fn: async () => {
    await using pair = await NamespacePair.create();
    assert.equal(Fence.available(pair.near), null);
    assert.equal((await must(pair.within(pair.near, ["nft", "list", "ruleset"]))).trim(), "");
    assert.match(Fence.available("fairlead-none")!, /does not exist.*see ip netns list/);
    const program = `
      import { Fence } from "${new URL("../../src/app/standby/fence.ts", import.meta.url)}";
      await Deno.stdout.write(new TextEncoder().encode(Fence.available("") ?? "available"));
      try {
        Fence.install({ namespace: "", group: "" });
      } catch (error) {
        await Deno.stdout.write(new TextEncoder().encode("|" + error.message));
      }
    `;
    const [said, thrown] = (await must([
      ...["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"],
      ...[Deno.execPath(), "eval", "--no-check", program],
    ])).split("|");
    const remedy = /Operation not permitted \(EPERM\).*CAP_NET_ADMIN: run it as root$/;
    assert.match(said!, remedy);
    assert.match(thrown!, /^Cannot put up the fence of outgoing IPsec: /);
    assert.match(thrown!, remedy);
  },
});

Deno.test("the name of a group's table is one that nft(8) takes, and bounded", () => {
  assert.equal(fenceTable(GROUP), TABLE);
  assert.equal(fenceTable(""), "fairlead_standby");
  assert.match(fenceTable('é; delete table "x"'.repeat(20)), /^[a-z_]+$/);
  assert.ok(fenceTable("x".repeat(1000)).length < 100);
});
