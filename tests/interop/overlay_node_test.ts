/**
 * What a box becomes by `fairlead overlay`, with real daemons, looked at with other people's tools; what the
 * operator is told when it cannot, or when somebody changed it by hand.
 */
import assert from "node:assert/strict";
import type { OverlayView } from "../../src/app/overlay/overlay_view.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import {
  becomesClean,
  lab,
  LAB_TIMERS,
  ok,
  type OverlayLab,
  pingAll,
  view,
} from "./overlay_lab.ts";
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
    });

    await t.step("a box that lost its journals has orphans, which can be removed", async () => {
      await where.kill("b");
      const state = `${where.directory}/b`;
      Deno.removeSync(state, { recursive: true });
      const orphans = async (...words: string[]): Promise<Finished> =>
        await where.on("b", fairlead("overlay", "orphans", "--state", state, ...words));
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
        ]
      ) assert.match(told.stdout, pattern);
      assert.notDeepEqual(await where.state("b"), before.get("b"));
      ok(await orphans("--remove"));
      assert.deepEqual(await where.state("b"), before.get("b"));
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
        /Cannot find overlay: current value is "plant", there are field/,
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
      ok(await ask("me", "destroy", "field"));
    });
    await becomesClean(where, before);
  },
});

const DEMO = {
  name: "demo",
  topology: "linear",
  nodes: [{ name: "n1", on: "a" }, { name: "n2", on: "b" }],
};

Deno.test({
  name:
    "a script runs where the box's own configuration allows it, as nobody and without capabilities",
  ignore,
  fn: async (t) => {
    await using where = await lab(THREE, ["om"]);
    // Its user must get to its copy.
    Deno.chmodSync(where.directory, 0o755);
    const folder = `${where.directory}/scripts`;
    Deno.mkdirSync(folder, { mode: 0o755 });
    const open = `${where.directory}/open`;
    Deno.mkdirSync(open);
    Deno.chmodSync(open, 0o777);
    const good = `#!/bin/sh
exec >>${open}/$NODE.$1
env | sort
id -u
grep -E "Cap|NoNewPrivs" /proc/self/status
`;
    const scripts = {
      good,
      bad: "#!/bin/sh\n[ $1 = stop ] && exit 0\necho the disk is full >&2\nexit 3\n",
      slow: "#!/bin/sh\n[ $1 = stop ] && exit 0\necho I begin\nsleep 60\n",
    };
    for (const [name, text] of Object.entries(scripts)) {
      Deno.writeTextFileSync(`${folder}/${name}`, text, { mode: 0o755 });
    }
    const before = await where.states(THREE);
    const script = { folder, user: "nobody", deadlineSeconds: 5 };
    await where.startBoxes(["a"], { config: { script: { ...script, urls: true } } });
    await where.startBoxes(["b"], { config: { script } });
    await where.startBoxes(["c"]);
    await where.startManager("om");
    const apply = async (script: object, ...on: string[]): Promise<Finished> => {
      const nodes = on.map((box, at) => ({ name: `n${at + 1}`, on: box }));
      const spec = where.spec("demo", {
        ...{ ...DEMO, nodes, script: { name: "demo", deadlineSeconds: 1, ...script } },
      });
      return await where.ask("om", "apply", spec);
    };
    const refuses = async (pattern: RegExp, script: object, ...on: string[]): Promise<void> => {
      const refused = await apply(script, ...on);
      assert.equal(refused.code, 1, refused.stdout);
      assert.match(refused.stderr, pattern);
      assert.match(refused.stderr, /everything was undone/);
      assert.deepEqual(await where.states(THREE), before);
    };

    await t.step("not where it is off, and not what is not there", async () => {
      await refuses(
        /Cannot form .* c is needed for n2 and did not answer; refused by .*c: Cannot run a script/,
        { script: "good" },
        ..."ac",
      );
      await refuses(
        /in CONFIG as node [ab]: script demo: .*this box has no such script/,
        { script: "missing" },
        ..."ab",
      );
    });

    await t.step("it starts, and stops when the overlay is destroyed", async () => {
      ok(await apply({ script: "good" }, ..."ab"));
      const { epoch } = await view(where, "om", "demo");
      const check = (name: string, lines: readonly string[]): void => {
        const text = Deno.readTextFileSync(`${open}/${name}`);
        for (
          const line of [...lines, `EPOCH=${epoch}`, "OVERLAY=demo", "65534", "NoNewPrivs:\t1"]
        ) {
          assert.ok(text.includes(`${line}\n`), `${line}\n${text}`);
        }
        assert.deepEqual(
          [...text.matchAll(/^Cap\w+:\t(\w+)$/gm)].map(([, bits]) => bits),
          Array(5).fill("0".repeat(16)),
        );
        assert.doesNotMatch(text, /FAIRLEAD|SECRET|SUDO/);
      };
      check("a.start", ["VISIT=n1", "ADDRESS=10.100.0.1", "VISITS=n1=10.100.0.1", "NODE=a"]);
      check("b.start", ["VISIT=n2", "ADDRESS=10.100.0.2"]);
      assert.throws(() => Deno.statSync(`${open}/a.stop`));
      ok(await where.ask("om", "destroy", "demo"));
      check("a.stop", ["VISIT=n1"]);
      check("b.stop", ["VISIT=n2"]);
      await becomesClean(where, before);
    });

    await t.step("one that fails or takes too long fails the overlay, and is quoted", async () => {
      await refuses(
        /demo in CONFIG as node [ab]: .*ended with 3: it said "the disk is full"/,
        { script: "bad" },
        ..."ab",
      );
      await refuses(
        /demo in CONFIG as node [ab]: .*did not end within 1000 ms and was killed: it said "I begin"/,
        { script: "slow" },
        ..."ab",
      );
    });

    await t.step("from a URL with its hash only, where the box allows that", async () => {
      await using server = serve(
        where,
        "om",
        deno(where, `Deno.serve({ port: 8000 }, () => new Response(${JSON.stringify(good)}));`),
      );
      await said(server, /Listening/);
      const url = `http://${where.address("om")}:8000/good`;
      const hash = new Uint8Array(
        await crypto.subtle.digest("SHA-256", new TextEncoder().encode(good)),
      ).toHex();
      const without = where.spec("demo", { ...DEMO, script: { name: "demo", url } });
      for (const words of [["plan", without], ["plan", "--check", without], ["apply", without]]) {
        const refused = await where.ask("om", ...words);
        assert.equal(refused.code, 2);
        assert.match(refused.stderr, /nobody runs what comes from a URL without its SHA-256/);
      }
      const wrong = hash.replace(/^./, (digit) => digit === "0" ? "1" : "0");
      await refuses(
        new RegExp(`as node a: .*its SHA-256 must be ${wrong}: current value is ${hash}`),
        { url, sha256: wrong },
        ..."ab",
      );
      await refuses(/as node b: .*this box fetches no scripts/, { url, sha256: hash }, ..."ab");
      Deno.removeSync(`${open}/a.start`);
    });
    await becomesClean(where, before);
  },
});

/** What a daemon says of the overlays of its box: states of its responders. */
async function states(where: OverlayLab, box: string): Promise<string[]> {
  const { stdout } = ok(await where.on(box, fairlead("top", "--once", "--json")));
  const { overlay } = JSON.parse(stdout);
  return overlay.resource.overlays.map(({ state }: { state: string }) => state);
}

async function become(
  where: OverlayLab,
  boxes: readonly string[],
  wanted: readonly string[],
): Promise<void> {
  const deadline = performance.now() + READY_MS;
  for (const box of boxes) {
    for (;;) {
      const now = await states(where, box);
      if (JSON.stringify(now) === JSON.stringify(wanted)) break;
      if (performance.now() > deadline) assert.deepEqual(now, wanted, box);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

Deno.test({
  name: "an overlay in two steps, given up, replaced, and refused by name and reason",
  ignore,
  fn: async (t) => {
    await using where = await lab(THREE, ["om", "rival", "brief"]);
    const before = await where.states(THREE);
    const acl = [{ manager: "riv*", access: "none" }, { manager: "*" }];
    await where.startBoxes(["a", "b"], { config: { acl, ...STATUS } });
    await where.startBoxes(["c"], { config: { acl, ...STATUS, refusals: false } });
    await where.startManager("om");
    await where.startManager("rival");
    await where.startManager("brief", { timers: { ...LAB_TIMERS, invite: 1000, user: 2000 } });
    const ring = { name: "ring", topology: "ring", routers: 3 };
    const spec = where.spec("ring", ring);
    const hold = async (manager: string): Promise<void> => {
      const held = ok(await where.ask(manager, "apply", "--hold", spec));
      assert.match(held.stdout, /Overlay ring is committed .*overlay config ring/);
      for (const box of THREE) assert.deepEqual(await states(where, box), ["COMMITTED"]);
      assert.deepEqual(await where.states(THREE), before, "nothing is configured");
    };

    await t.step("held, then configured", async () => {
      await hold("om");
      const waits = ok(await where.ask("om", "status"));
      assert.match(waits.stdout, /ring +READY/);
      ok(await where.ask("om", "config", "ring"));
      await pingAll(where, await view(where, "om", "ring"));
      const twice = await where.ask("om", "config", "ring");
      assert.equal(twice.code, 1);
      assert.match(twice.stderr, /Cannot configure overlay ring as it must be READY: .* ACTIVE/);
      const cancelled = await where.ask("om", "cancel", "ring");
      assert.match(cancelled.stderr, /Cannot cancel overlay ring as it is ACTIVE: .* destroy ring/);
    });

    await t.step(
      "another of its name or of its addresses is refused, and may replace it",
      async () => {
        const other = where.spec("other", { ...ring, topology: "linear" });
        const refused = await where.ask("om", "apply", other);
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /another one of that name is there: .*--replace/);
        const same = where.spec("same", { ...ring, name: "same" });
        const taken = await where.ask("om", "apply", same);
        assert.equal(taken.code, 1);
        assert.match(
          taken.stderr,
          /same in CONFIG as node [abc]: .* overlay ring is on this box and has 10\.100\.0\.0\/16, use another/,
        );
        await pingAll(where, await view(where, "om", "ring"));
        ok(await where.ask("om", "apply", "--replace", other));
        const replaced = await view(where, "om", "ring");
        assert.deepEqual([replaced.topology, replaced.links.length], ["linear", 2]);
        ok(await where.ask("om", "destroy", "ring"));
        await become(where, THREE, []);
        assert.deepEqual(await where.states(THREE), before);
      },
    );

    await t.step("held, then cancelled, or forgotten by its user", async () => {
      await hold("om");
      ok(await where.ask("om", "cancel", "ring"));
      await become(where, THREE, []);
      await hold("brief");
      await become(where, THREE, []);
      assert.match(ok(await where.ask("brief", "status")).stdout, /No overlays/);
      const late = await where.ask("brief", "config", "ring");
      assert.match(late.stderr, /Cannot find overlay: current value is "ring", there is none/);
    });

    await t.step("Ctrl-C gives up, with and without progress", async () => {
      for (const words of [[], ["--quiet"]]) {
        const argv = fairlead(
          "overlay",
          "apply",
          spec,
          ...words,
          "--socket",
          where.socket("brief"),
        );
        await using apply = Daemon.start(argv, `${where.directory}/apply${words.length}`);
        await apply.until(
          "it is being formed",
          async () => /ring +DISCOVERY/.test((await where.ask("brief", "status")).stdout),
          READY_MS,
        );
        await apply.stop("SIGINT");
        assert.equal(await apply.exited, 1);
        assert.match(apply.output(), /Giving up/);
        assert.match(
          apply.output(),
          /ring in DISCOVERY as .*cancelled by the operator; everything/,
        );
      }
      await become(where, THREE, []);
    });

    await t.step(
      "who is not allowed hears why where boxes say so; too few are counted",
      async () => {
        const rival = await where.ask("rival", "apply", spec);
        assert.equal(rival.code, 1);
        assert.match(rival.stderr, /0 of 3 routers/);
        for (const box of ["a", "b"]) {
          assert.match(
            rival.stderr,
            new RegExp(`${box}: .*the ACL refuses manager rival \\(rule riv`),
          );
        }
        assert.doesNotMatch(rival.stderr, /\bc: /);
        const many = where.spec("many", { ...ring, routers: 9 });
        const few = await where.ask("om", "apply", many);
        assert.equal(few.code, 1);
        assert.match(few.stderr, /3 of 9 routers/);
        const unknown = await where.ask("om", "destroy", "plant");
        assert.equal(unknown.code, 1);
        assert.match(
          unknown.stderr,
          /Cannot find overlay: current value is "plant", there is none/,
        );
        console.log(rival.stderr, few.stderr);
      },
    );
    await becomesClean(where, before);
  },
});
