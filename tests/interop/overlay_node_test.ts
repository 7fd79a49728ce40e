/**
 * What a box becomes by `fairlead overlay`, with real daemons, looked at with other people's tools; what the
 * operator is told when it cannot, or when somebody changed it by hand.
 */
import assert from "node:assert/strict";
import type { OverlayView } from "../../src/app/overlay/overlay_view.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import { becomesClean, lab, LAB_TIMERS, ok, type OverlayLab, pingAll, view } from "./overlay_lab.ts";
import { fairlead } from "./paths_program.ts";
import { Daemon, type Finished, must } from "./processes.ts";

const ignore = await ignoreWithoutNamespaces();
const THREE = [..."abc"];
const READY_MS = 20_000;
const HOSTS = "127.0.0.1 localhost\n";
const LINES_PORT = 8710;
const STATUS = { status: { listen: "127.0.0.1:8711" } };
const API_PORT = 2165;
/** Around what a ping carries: IPv4 and ICMP. */
const PING_HEADERS = 28;
const RATED_BYTES = 1_000_000;

/** a - b - c: a slow link and one without limit. */
const FIELD = {
  name: "field",
  topology: "linear",
  prefix: "10.100.0.0/16",
  nodes: [
    { name: "n1", role: "host", on: "a" },
    { name: "n2", role: "router", on: "b" },
    { name: "n3", role: "host", on: "c" },
  ],
  links: [{ ends: ["n1", "n2"], rate: "5mbit" }],
  mptcp: { flags: ["subflow"] },
  fairlead: { hub: "n1" },
};

/** Runs a program of ours on a host; what it prints. */
async function program(
  where: OverlayLab,
  host: string,
  text: string,
  ...words: string[]
): Promise<Finished> {
  return await where.on(host, [...deno(where, text), ...words], { deadlineMs: READY_MS });
}

function deno(where: OverlayLab, text: string): string[] {
  const path = `${where.directory}/${crypto.randomUUID()}.ts`;
  Deno.writeTextFileSync(path, text);
  return [Deno.execPath(), "run", "-A", "--no-check", path];
}

/** Runs a program on a host until it is disposed of. */
function serve(where: OverlayLab, host: string, argv: string[]): Daemon {
  const log = `${where.directory}/${crypto.randomUUID()}.log`;
  return Daemon.start(["ip", "netns", "exec", where.namespace(host), ...argv], log);
}

async function said(daemon: Daemon, pattern: RegExp): Promise<RegExpExecArray> {
  await daemon.until(`${pattern}`, () => pattern.test(daemon.output()), READY_MS);
  return pattern.exec(daemon.output())!;
}

async function sysctl(where: OverlayLab, host: string, name: string): Promise<string> {
  return ok(await where.on(host, ["sysctl", "-n", name])).stdout.trim();
}

function linkOf({ links }: OverlayView, ...ends: string[]): OverlayView["links"][number] {
  return links.find((link) => ends.every((end) => link.ends.includes(end)))!;
}

function deviceOf({ vni }: { vni: number }): string {
  return `xb${vni.toString(16).padStart(6, "0")}`;
}

/** Bits per second from one host to another one's address. */
async function rate(
  where: OverlayLab,
  from: string,
  to: string,
  address: string,
): Promise<number> {
  await using sink = serve(
    where,
    to,
    deno(
      where,
      `const listener = Deno.listen({ hostname: "${address}", port: 9000 });
      console.log("listens");
      const conn = await listener.accept();
      const bytes = new Uint8Array(65536);
      let [sum, started] = [0, 0];
      for (;;) {
        const count = await conn.read(bytes);
        if (count === null) break;
        if (started === 0) started = performance.now();
        else sum += count;
      }
      console.log("rate " + Math.round(sum * 8000 / (performance.now() - started)));`,
    ),
  );
  await said(sink, /listens/);
  const source = `const conn = await Deno.connect({ hostname: "${address}", port: 9000 });
    const bytes = new Uint8Array(${RATED_BYTES});
    for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    conn.close();`;
  ok(await program(where, from, source));
  return Number((await said(sink, /rate (\d+)/))[1]);
}

async function ping(
  where: OverlayLab,
  from: string,
  to: string,
  size: number,
): Promise<Finished> {
  const words = ["-c1", "-W1", "-M", "do", "-s", `${size - PING_HEADERS}`, to];
  return await where.on(from, ["ping", ...words]);
}

Deno.test({
  name: "a box becomes what the specification says, is found changed, and is repaired",
  ignore,
  fn: async (t) => {
    await using where = await lab(THREE, ["om"]);
    await where.keys(["me"], "operator");
    const before = await where.states(THREE);
    await where.startBoxes(THREE);
    await where.startManager("om", { api: `0.0.0.0:${API_PORT}` });
    const spec = where.spec("field", FIELD);

    await t.step("discover and plan tell it before", async () => {
      for (const n of [...THREE, "om"]) console.log(n, where.said(n));
      const discovered = ok(await where.ask("om", "discover", "--json"));
      const { manager, nodes } = JSON.parse(discovered.stdout);
      assert.equal(manager, "om");
      assert.deepEqual(nodes.map(({ node }: { node: string }) => node), THREE);
      assert.deepEqual(nodes[0].capabilities, ["vxlan", "tbf", "mptcp", "hosts"]);
      const plan = JSON.parse(ok(await where.ask("om", "plan", spec, "--json")).stdout);
      assert.deepEqual(plan.missing, []);
      assert.deepEqual(plan.boxes.map(({ node }: { node: string }) => node), THREE);
      const text = ok(await where.ask("om", "plan", spec)).stdout;
      assert.match(text, /link n1-n2 to n2 on b: vxlan .* 5000000 bit\/s/);
      assert.match(text, /\+ fairlead hub \S+ at v2:10\.100\.0\.1:3300/);
      assert.deepEqual(await where.states(THREE), before);
    });

    const applied = JSON.parse(ok(await where.ask("om", "apply", spec, "--json")).stdout);
    assert.deepEqual([applied.unchanged, applied.drift], [false, []]);
    const field = await view(where, "om", "field");
    const slow = linkOf(field, "n1", "n2");
    const fast = linkOf(field, "n2", "n3");
    const [n1, n2, n3] = field.nodes.map(({ address }) => address);

    await t.step("names, MTU, forwarding on our own devices only", async () => {
      for (const name of THREE) {
        const hosts = Deno.readTextFileSync(`${where.directory}/${name}.hosts`);
        assert.ok(hosts.startsWith(HOSTS));
        for (const [at, address] of [n1, n2, n3].entries()) {
          assert.ok(hosts.includes(`\n${address}\tn${at + 1}.field\n`), hosts);
        }
        assert.equal(await sysctl(where, name, "net.ipv4.ip_forward"), "0");
        assert.equal(await sysctl(where, name, "net.ipv4.conf.eth0.forwarding"), "0");
        const forwards = (link: typeof slow): Promise<string> =>
          sysctl(where, name, `net.ipv4.conf.${deviceOf(link)}.forwarding`);
        if (name === "b") assert.deepEqual([await forwards(slow), await forwards(fast)], ["1", "1"]);
        else assert.equal(await forwards(name === "a" ? slow : fast), "0");
      }
      assert.equal(fast.mtu, 1450); // 1500 without IPv4, UDP, VXLAN and Ethernet
      ok(await ping(where, "a", n3!, fast.mtu));
      const refused = await ping(where, "a", n3!, fast.mtu + 1);
      assert.equal(refused.code, 1);
      assert.match(refused.stderr + refused.stdout, /message too long, mtu=1450/);
    });

    await t.step("a link carries what its rate allows", async () => {
      const bits = await rate(where, "a", "b", n2!);
      assert.ok(bits > 3e6 && bits < 7e6, `${bits} bit/s over a link of 5 Mbit/s`);
      const free = await rate(where, "b", "c", n3!);
      assert.ok(free > 20e6, `${free} bit/s over a link without limit`);
    });

    await t.step("the kernel's path manager has the node's address", async () => {
      for (const [at, name] of THREE.entries()) {
        const endpoints = await must(["ip", "-n", where.namespace(name), "mptcp", "endpoint"]);
        assert.match(endpoints, new RegExp(`^${field.nodes[at]!.address} id \\d+ subflow`));
      }
    });

    await t.step("a hub and a gateway meet over it with the keys that travelled", async () => {
      const place = (name: string): string => `${where.directory}/${name}/overlays/field`;
      for (const [name, role] of [["a", "hub"], ["b", "gateway"], ["c", "gateway"]] as const) {
        assert.equal(Deno.statSync(place(name)).mode! & 0o777, 0o700);
        for (const file of [`${role}.json`, "keyring"]) {
          assert.equal(Deno.statSync(`${place(name)}/${file}`).mode! & 0o777, 0o600);
        }
        ok(await where.on(name, fairlead(role, "--check", "-c", `${place(name)}/${role}.json`)));
      }
      await using hub = serve(where, "a", fairlead("hub", "-c", `${place("a")}/hub.json`));
      await said(hub, /v2:10\.100\.0\.1:3300/);
      const config = `${place("c")}/gateway.json`;
      const listen = `127.0.0.1:${LINES_PORT}`;
      await using gateway = serve(
        where,
        "c",
        fairlead("gateway", "-c", config, "--listen", listen),
      );
      await said(gateway, /Session with hub hub stands/);
      const line = `echo from c over the overlay > /dev/tcp/127.0.0.1/${LINES_PORT}`;
      ok(await where.on("c", ["bash", "-c", line]));
      await said(hub, /from c over the overlay/);
      console.log(hub.output(), gateway.output());
    });
    console.log(await where.ask("om", "status", "field"));
    ok(await where.ask("om", "destroy", "field"));
    await becomesClean(where, before);
  },
});
