/**
 * What a box becomes by `fairlead overlay`, with real daemons, looked at with other people's tools; what the
 * operator is told when it cannot, or when somebody changed it by hand.
 */
import assert from "node:assert/strict";
import type { OverlayView } from "../../src/app/overlay/overlay_view.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import { becomesClean, lab, ok, type OverlayLab, pingAll, view } from "./overlay_lab.ts";
import { fairlead } from "./paths_program.ts";
import { deno, program, said, serve } from "./overlay_programs.ts";
import { type Finished, must } from "./processes.ts";

const ignore = await ignoreWithoutNamespaces();
const THREE = [..."abc"];
const HOSTS = "127.0.0.1 localhost\n";
const LINES_PORT = 8710;
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
        if (name === "b") {
          assert.deepEqual([await forwards(slow), await forwards(fast)], ["1", "1"]);
        } else assert.equal(await forwards(name === "a" ? slow : fast), "0");
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
    });
    await t.step("status and graph show it", async () => {
      assert.deepEqual(
        field.nodes.map(({ name, node, role, state }) => [name, node, role, state]),
        [
          ["n1", "a", "host", "ACTIVE"],
          ["n2", "b", "router", "ACTIVE"],
          ["n3", "c", "host", "ACTIVE"],
        ],
      );
      assert.deepEqual([slow.rateBits, slow.sent, slow.answered], [5e6, 6, 6]);
      assert.ok(slow.rttUs! > 0 && slow.rttUs! < 1e6);
      for (const link of field.links) assert.ok(link.rxBytes! > 0 && link.txPackets! > 0);
      const table = ok(await where.ask("om", "status", "field")).stdout;
      assert.match(table, /n1-n2 +10\.100\.128\.0 - 10\.100\.128\.1 +1450 +5mbit +\S+ ms +0 %/);
      assert.match(ok(await where.ask("om", "status")).stdout, /field +ACTIVE +linear +3 +2 +-/);
      const forms = {
        text: /n1.*\(a\)|n1/,
        svg: /^<svg[^]*<\/svg>$/,
        dot: /^graph /,
        mermaid: /^flowchart /,
      };
      for (const [format, pattern] of Object.entries(forms)) {
        const drawn = ok(await where.ask("om", "graph", "field", "--format", format)).stdout.trim();
        assert.match(drawn, pattern);
        for (const { name } of field.nodes) assert.ok(drawn.includes(name), `${name} in ${format}`);
      }
    });

    await t.step("what somebody changed is told, and the same apply forms it again", async () => {
      const ip = async (name: string, ...words: string[]): Promise<string> =>
        await must(["ip", "-n", where.namespace(name), ...words]);
      await ip("a", "link", "delete", deviceOf(slow));
      await ip("b", "link", "set", deviceOf(fast), "mtu", "1400");
      await must(["tc", "-n", where.namespace("b"), "qdisc", "del", "dev", deviceOf(slow), "root"]);
      await ip("b", "rule", "delete", "iif", deviceOf(fast));
      await ip("c", "route", "delete", "10.100.0.1/32", "table", "19900");
      await ip("c", "address", "delete", `${fast.addresses[1]}/31`, "dev", deviceOf(fast));
      await ip("c", "mptcp", "endpoint", "flush");
      Deno.writeTextFileSync(`${where.directory}/c.hosts`, HOSTS);
      Deno.removeSync(`${where.directory}/c/overlays/field/keyring`);
      const status = await where.ask("om", "status", "field");
      assert.equal(status.code, 1);
      for (
        const line of [
          `n1 (a): link n1-n2 (${deviceOf(slow)}): the device is missing`,
          `n2 (b): link n2-n3 (${deviceOf(fast)}): mtu is 1400, not 1450`,
          `n2 (b): rate 5000000 bit/s (${deviceOf(slow)}): the rate is not limited`,
          `n2 (b): rule `,
          `n3 (c): route 10.100.0.1/32 (${fast.addresses[0]} ${deviceOf(fast)}, table 19900)`,
          `n3 (c): address ${fast.addresses[1]}/31 (${deviceOf(fast)}): the address is missing`,
          `n3 (c): MPTCP endpoint ${n3} is missing`,
          `n3 (c): ${where.directory}/c.hosts lacks the names of field`,
          `n3 (c): ${where.directory}/c/overlays/field/keyring is missing`,
        ]
      ) assert.ok(status.stdout.includes(`Drift at ${line}`), `${line}\n${status.stdout}`);
      const plan = await where.ask("om", "plan", spec);
      assert.match(plan.stdout, /^Would be formed again, .*: a: link n1-n2/m);
      const again = ok(await where.ask("om", "apply", spec));
      assert.match(again.stdout, /^Formed again, as it was not as configured: c: .*keyring is/m);
      assert.match(again.stdout, /^Overlay field is up: 3 nodes, every link probed/m);
      const repaired = await view(where, "om", "field");
      assert.notEqual(repaired.epoch, field.epoch);
      await pingAll(where, repaired);
      const same = JSON.parse(ok(await where.ask("om", "apply", spec, "--json")).stdout);
      assert.deepEqual([same.unchanged, same.drift], [true, []]);
      assert.equal(same.overlay.epoch, repaired.epoch);
      assert.ok(repaired.probedMs! > field.probedMs!);
      assert.equal(same.overlay.probedMs, repaired.probedMs);
      for (const { answered } of same.overlay.links) assert.equal(answered, 6);
    });

    await t.step("a box that lost its journals has orphans, which can be removed", async () => {
      await where.kill("b");
      const state = `${where.directory}/b`;
      const hosts = `${state}.hosts`;
      Deno.removeSync(state, { recursive: true });
      const orphans = async (...words: string[]): Promise<Finished> =>
        await where.on(
          "b",
          fairlead("overlay", "orphans", "--state", state, "--hosts", hosts, ...words),
        );
      const lost = await orphans();
      assert.equal(lost.code, 1);
      assert.match(lost.stderr, /no resource daemon keeps its journals in .*make an empty/);
      Deno.mkdirSync(`${state}/steps`, { recursive: true });
      const told = await orphans();
      assert.equal(told.code, 1);
      for (
        const pattern of [
          /^device xb[0-9a-f]{6} \(xb:field:n1-n2\)$/m,
          /^device xb[0-9a-f]{6} \(xb:field:n2-n3\)$/m,
          /^address 10\.100\.0\.2\/32 lo$/m,
          /^address 10\.100\.128\.1\/31 xb/m,
          /^route 10\.100\.0\.3\/32 \(table 19900\)$/m,
          /^route 10\.100\.0\.0\/16 \(table 19900\)$/m,
          /^rule .*table 19900/m,
          /^names of field, epoch [0-9a-f]{16} \(\S+b\.hosts\)$/m,
        ]
      ) assert.match(told.stdout, pattern);
      assert.notDeepEqual(await where.state("b"), before.get("b"));
      ok(await orphans("--remove"));
      assert.deepEqual(await where.state("b"), before.get("b"));
      assert.equal(Deno.readTextFileSync(hosts), HOSTS);
      assert.match(ok(await orphans()).stdout, /^Nothing here carries/);
      await where.restart("b", "rd");
      const status = await where.ask("om", "status", "field");
      assert.equal(status.code, 1, status.stdout);
      const again = ok(await where.ask("om", "apply", spec));
      assert.match(again.stdout, /^Formed again, .*: b has nothing of it any more$/m);
    });

    await t.step("the API is for operators of the same authority", async () => {
      await must(fairlead("overlay", "keys", "init", "--dir", `${where.directory}/other`));
      const foreign = ["--role", "operator", "--dir", `${where.directory}/other`];
      await must(fairlead("overlay", "keys", "node", "me", ...foreign));
      const om = `${where.address("om")}:${API_PORT}`;
      const ask = async (who: string, ...words: string[]): Promise<Finished> => {
        const { ca, certificate, key } = where.identity(who);
        const flags = ["--om", om, "--certificate", certificate, "--key", key, "--ca", ca];
        return await where.on("a", fairlead("overlay", ...words, ...flags));
      };
      const { overlay } = JSON.parse(ok(await ask("me", "status", "field", "--json")).stdout);
      assert.equal(overlay.state, "ACTIVE");
      assert.match(ok(await ask("me", "apply", spec)).stdout, /nothing was changed/);
      const unknown = await ask("me", "destroy", "plant");
      assert.equal(unknown.code, 1);
      assert.match(
        unknown.stderr,
        /Cannot find overlay: current value is "plant", those there are: field/,
      );
      const node = await ask("a", "status", "field");
      assert.equal(node.code, 1);
      assert.match(node.stderr, /a is a node, and only operators and managers may ask/);
      const both = `${where.directory}/both.pem`;
      const authorities = ["keys", "other"].map((folder) => `${where.directory}/${folder}/ca.pem`);
      Deno.writeTextFileSync(both, authorities.map((path) => Deno.readTextFileSync(path)).join(""));
      const stranger = await ask("../other/me", "status", "field");
      assert.equal(stranger.code, 1);
      assert.match(stranger.stderr, /its issuer is no CA that is trusted here/);
      // It trusts the manager, and is not trusted.
      const foreigner = ["--certificate", `${where.directory}/other/me.pem`, "--ca", both];
      const key = ["--key", `${where.directory}/other/me.key`];
      const words = ["overlay", "status", "field", "--om", om, ...foreigner, ...key];
      const refused = await where.on("a", fairlead(...words));
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /^Cannot (?:ask|reach) the overlay manager as/);
      const raw = `import { connect } from "node:tls";
        const read = Deno.readTextFileSync;
        const [host, port, cert, key, ca, ...lines] = Deno.args;
        const socket = connect({ host, port: Number(port), cert: read(cert), key: read(key),
          ca: read(ca), checkServerIdentity: () => undefined });
        let text = "";
        socket.on("data", (bytes) => {
          text += new TextDecoder().decode(bytes);
          if (text.split("\\n").length <= lines.length) return;
          console.log(text);
          socket.destroy();
        });
        for (const line of lines) socket.write(line + "\\n");`;
      const { ca, certificate, key: own } = where.identity("me");
      const said = ok(
        await program(
          ...[where, "c", raw, where.address("om"), `${API_PORT}`, certificate, own, ca] as const,
          ...['{"id": 7, "command": "list"}', '{"id": 8, "command": "destroy", "name": "x"}', "{]"],
        ),
      ).stdout.trim().split("\n").map((line) => JSON.parse(line));
      const answer = (id?: number): Record<string, { message: string; overlays: OverlayView[] }> =>
        said.find((line) => line.id === id);
      assert.deepEqual(answer(7)["API-Reply"]!.overlays.map(({ name }) => name), ["field"]);
      assert.match(answer(8)["API-Error"]!.message, /Cannot find overlay: current value is "x"/);
      assert.match(answer()["API-Error"]!.message, /Cannot read request as it is not JSON/);
      ok(await ask("me", "destroy", "field"));
      const formed = ok(await ask("me", "apply", spec));
      assert.match(formed.stderr, /^CONFIG +3\/3 \w is configured/m);
      assert.match(formed.stdout, /^Overlay field is up: 3 nodes, every link probed/m);
      ok(await ask("me", "destroy", "field"));
    });
    await becomesClean(where, before);
    for (const name of THREE) {
      assert.equal(Deno.readTextFileSync(`${where.directory}/${name}.hosts`), HOSTS);
      assert.deepEqual([...Deno.readDirSync(`${where.directory}/${name}/overlays`)], []);
    }
  },
});
