/**
 * Mistakes of the path manager that were found by an adversary, each with the real kernel.
 */
import assert from "node:assert/strict";
import { delay } from "../../src/app/delay.ts";
import { ignoreWithoutLab, MptcpLab } from "./mptcp_lab.ts";
import { Traffic, until } from "./mptcp_traffic_pair.ts";
import { fairlead, PathsProgram } from "./paths_program.ts";
import { Daemon, must } from "./processes.ts";

const ignore = await ignoreWithoutLab();
const LONG_SECONDS = 120;
const READY_MS = 20_000;
const BY_HAND = { layout: "none" };

function pmType(name: string): string {
  const shown = new Deno.Command("ip", {
    args: ["netns", "exec", name, "cat", "/proc/sys/net/mptcp/pm_type"],
  }).outputSync();
  return new TextDecoder().decode(shown.stdout).trim();
}

Deno.test("a link that leaves a bridge is there all the same, with its subflows", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near");
  const monitor = await program.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  await until("two subflows", async () => (await lab.subflows("near")).length === 2);
  const { near } = lab.names;
  for (const line of ["add br0 type bridge", "set e2 master br0", "set e2 nomaster"]) {
    await must(["ip", "-n", near, "link", ...line.split(" ")]);
  }
  await delay(300);
  const downs = monitor.events.filter(({ event, link, up }) =>
    event === "link" && link === "e2" && up === false
  );
  assert.deepEqual(downs, []);
  assert.equal((await lab.subflows("near")).length, 2);
});

Deno.test("an address that is there twice, and goes once, is still there", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near");
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  await until("two subflows", async () => (await lab.subflows("near")).length === 2);
  const { near } = lab.names;
  const monitor = await program.monitor();
  for (const verb of ["add", "del"]) {
    await must(["ip", "-n", near, "address", verb, "10.9.2.1/32", "dev", "e2"]);
  }
  await delay(300);
  assert.deepEqual(monitor.events.filter(({ event }) => event === "subflow_closed"), []);
  assert.equal((await lab.subflows("near")).length, 2);
});

Deno.test("joins: interfaces that a program names at the socket hold at once", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using far = await PathsProgram.start(lab, "far", {
    ...BY_HAND,
    joins: { default: "refuse" },
  });
  const [nearSees, farSees] = [await near.monitor(), await far.monitor()];
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  await far.ask("set_policy", { joins: "interfaces", interfaces: ["e2"] });
  await near.json("subflow", connection, lab.address("near", 2), "0", "--id", "2");
  const attempt = await farSees.next("join_attempt");
  assert.equal(attempt.verdict, "accepted");
});

Deno.test("joins: what is refused beforehand is refused, though the default accepts", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using far = await PathsProgram.start(lab, "far", {
    ...BY_HAND,
    joins: { default: "accept" },
  });
  const [nearSees, farSees] = [await near.monitor(), await far.monitor()];
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  const accepted = `${(await farSees.next("new_connection")).connection}`;
  const said = await far.ask("allow_join", { connection: accepted, remote_address_id: 3 });
  assert.equal(said.decided, "next");
  await near.json("subflow", connection, lab.address("near", 2), "0", "--id", "3");
  const attempt = await farSees.next("join_attempt");
  assert.equal(attempt.verdict, "refused");
});

Deno.test("joins: without its table a guard that asks lets nobody in undecided", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using far = await PathsProgram.start(lab, "far", {
    ...BY_HAND,
    joins: { decide: "queue", whenAway: "refuse" },
  });
  const nearSees = await near.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  await lab.must("far", ["nft", "flush", "ruleset"]);
  await near.run("subflow", connection, lab.address("near", 2));
  await delay(1500);
  assert.equal((await lab.subflows("near")).length, 1);
  await far.stop();
});

Deno.test("joins: a table whose rules were flushed is loaded again", { ignore }, async () => {
  await using lab = await MptcpLab.create();
  await using far = await PathsProgram.start(lab, "far", {
    ...BY_HAND,
    reconcileSeconds: 1,
    joins: { default: "refuse", whenAway: "refuse" },
  });
  const tables = await lab.must("far", ["nft", "list", "tables"]);
  const name = tables.trim().split("\n").find((line) => line.includes("fairlead-joins"))!;
  const table = name.split(" ").slice(1);
  await lab.must("far", ["nft", "flush", "table", ...table]);
  await until(
    "rules",
    async () => /jump/.test(await lab.must("far", ["nft", "list", "table", ...table])),
    5000,
  );
  await far.stop();
});

Deno.test("a namespace that is deleted keeps nobody from putting back what is left", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using other = await MptcpLab.create({ links: 1 });
  const { far, near } = lab.names;
  const gone = other.names.near;
  await using program = await PathsProgram.start(lab, "far", { namespaces: [gone, near] });
  assert.equal(pmType(near), "1");
  await must(["ip", "netns", "delete", gone]);
  const code = await program.stop();
  assert.equal(pmType(near), "0", program.daemon.output());
  assert.equal(code, 0, program.daemon.output());
  assert.ok(far);
});

Deno.test("a stop that comes while it starts puts pm_type back", { ignore }, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  const directory = Deno.makeTempDirSync();
  const { near } = lab.names;
  const words = fairlead("paths", "daemon", "--set-pm-type", "-s", `${directory}/sock`);
  await using daemon = Daemon.start(lab.within("near", words), `${directory}/log`);
  await using watcher = new Deno.Command("ip", {
    args: [
      ...["netns", "exec", near, "bash", "-c"],
      'until read -r now < /proc/sys/net/mptcp/pm_type && [ "$now" = 1 ]; do :; done; kill -TERM $0',
      `${daemon.pid}`,
    ],
  }).spawn();
  await watcher.status;
  await daemon.exited;
  await Deno.remove(directory, { recursive: true });
  assert.equal(pmType(near), "0");
});

Deno.test("limits that somebody else has changed since are left as they are", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near", { manager: "kernel" });
  await lab.must("near", [
    "ip",
    "mptcp",
    "limits",
    "set",
    "subflows",
    "3",
    "add_addr_accepted",
    "1",
  ]);
  assert.equal(await program.stop(), 0);
  assert.match(await lab.must("near", ["ip", "mptcp", "limits"]), /accepted 1 subflows 3/);
});

Deno.test("a daemon that ends leaves the socket of the one that came after it", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  await using first = await PathsProgram.start(lab, "near", BY_HAND);
  const { socket } = first;
  Deno.removeSync(socket); // as a cleaner of temporary files does
  await using _second = await PathsProgram.start(lab, "far", { ...BY_HAND, socket });
  assert.equal(await first.stop(), 0);
  assert.ok(Deno.statSync(socket).isSocket);
});

Deno.test("a second daemon of a namespace says so, and takes nothing away from the first", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  const announcing = { interfaces: [{ name: "e2", announce: true }] };
  await using far = await PathsProgram.start(lab, "far", announcing);
  const nearSees = await near.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  await nearSees.next("new_addr");
  const config = far.socket.replace(/\.sock$/, ".jsonc");
  const again = await lab.run("far", fairlead("paths", "daemon", "-c", config));
  assert.equal(again.code, 1);
  assert.match(again.stderr, /another daemon/);
  await delay(1000);
  assert.deepEqual(nearSees.events.filter(({ event }) => event === "addr_removed"), []);
});

Deno.test("two daemons with sockets of their own do not manage one namespace", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using _first = await PathsProgram.start(lab, "near");
  const directory = Deno.makeTempDirSync();
  const words = fairlead("paths", "daemon", "-s", `${directory}/paths.sock`);
  await using second = Daemon.start(lab.within("near", words), `${directory}/log`);
  await second.until(
    "ended or ready",
    () => !second.running || second.output().includes("Access: "),
    READY_MS,
  ).catch(() => {});
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  await until("subflows", async () => (await lab.subflows("near")).length >= 2);
  await delay(1000);
  const count = (await lab.subflows("near")).length;
  const said = second.output();
  await second.stop("SIGINT");
  await Deno.remove(directory, { recursive: true });
  assert.equal(count, 2, said);
});

Deno.test("all that was announced is withdrawn at the end, whatever the interval", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 5 });
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using far = await PathsProgram.start(lab, "far", {
    announceIntervalMs: 1000,
    interfaces: [2, 3, 4, 5].map((link) => ({ name: `e${link}`, announce: true })),
  });
  const nearSees = await near.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const count = (name: string): number =>
    nearSees.events.filter(({ event }) => event === name).length;
  await until("all", () => Promise.resolve(count("new_addr") === 4));
  assert.equal(await far.stop(), 0);
  await delay(300);
  assert.equal(count("addr_removed"), 4);
});

Deno.test("a subflow that has ended and waits for the peer's last word is not found again", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near", { ...BY_HAND, reconcileSeconds: 1 });
  const monitor = await program.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await monitor.next("new_connection")).connection}`;
  await program.json("subflow", connection, lab.address("near", 2), "0", "--subflow", "5");
  await monitor.next("new_subflow", (line) => line.subflow === 5);
  await lab.setBlackhole(2, true);
  await program.json("remove", connection, "5");
  await monitor.next("subflow_closed", (line) => line.subflow === 5);
  await delay(2500); // two looks
  const made = monitor.events.filter(({ event }) => event === "new_subflow");
  assert.deepEqual(made.map(({ subflow }) => subflow), [5]);
  const { subflows } = await program.ask("list_subflows", { connection });
  assert.equal(subflows.length, 1);
});

Deno.test("a gateway that is told twice to end puts pm_type back all the same", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  const directory = Deno.makeTempDirSync();
  Deno.writeTextFileSync(
    `${directory}/gateway.jsonc`,
    JSON.stringify({
      name: "client.gw1",
      auth: { method: "none" },
      drainSeconds: 30,
      status: false,
      inputs: { lines: { type: "lines", listen: "127.0.0.1:8710" } },
      hubs: { hq: { addresses: [`v2:${lab.address("far", 1)}:3300`] } },
      paths: { setPmType: true, socket: false },
    }),
  );
  const words = fairlead("gateway", "-c", `${directory}/gateway.jsonc`);
  await using gateway = Daemon.start(lab.within("near", words), `${directory}/log`);
  await gateway.until("up", () => gateway.output().includes("Stop:"), READY_MS);
  await lab.must("near", ["bash", "-c", "echo hello >/dev/udp/127.0.0.1/8710"]);
  await delay(300);
  Deno.kill(gateway.pid, "SIGINT");
  await gateway.until("draining", () => gateway.output().includes("Draining"), READY_MS);
  await delay(600);
  Deno.kill(gateway.pid, "SIGINT");
  assert.equal(await gateway.exited, 130);
  await Deno.remove(directory, { recursive: true });
  assert.equal(pmType(lab.names.near), "0");
});

Deno.test("SIGHUP while the guard's table cannot be loaded is told, and ends nothing", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  const joins = { default: "refuse", whenAway: "refuse" };
  await using program = await PathsProgram.start(lab, "far", { ...BY_HAND, joins });
  await lab.must("far", ["nft", "flush", "ruleset"]);
  const owner = new Deno.Command("ip", {
    args: ["netns", "exec", lab.names.far, "nft", "-i"],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const writer = owner.stdin.getWriter();
  const own = "add table inet fairlead-joins { flags owner; }\n";
  await writer.write(new TextEncoder().encode(own));
  await until(
    "owned",
    async () => (await lab.must("far", ["nft", "list", "tables"])).includes("fairlead-joins"),
  );
  const config = program.socket.replace(/\.sock$/, ".jsonc");
  const { paths } = JSON.parse(Deno.readTextFileSync(config));
  const changed = { ...paths, joins: { ...joins, default: "accept" } };
  Deno.writeTextFileSync(config, JSON.stringify({ paths: changed }));
  Deno.kill(program.daemon.pid, "SIGHUP");
  await until("told", () => Promise.resolve(/Cannot load/.test(program.daemon.output())));
  await delay(300);
  const { running } = program.daemon;
  await writer.close();
  await owner.status;
  assert.ok(running, program.daemon.output());
});

Deno.test("joins: what was let in before a restart stays in", { ignore }, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  const guarded = { ...BY_HAND, joins: { default: "refuse", whenAway: "refuse" } };
  await using first = await PathsProgram.start(lab, "far", guarded);
  const [nearSees, farSees] = [await near.monitor(), await first.monitor()];
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  const accepted = `${(await farSees.next("new_connection")).connection}`;
  await first.json("allow", accepted, "3");
  await near.json("subflow", connection, lab.address("near", 2), "0", "--id", "3");
  await farSees.next("new_subflow");
  await first.daemon.stop("SIGKILL");
  await using second = await PathsProgram.start(lab, "far", guarded);
  await delay(500);
  assert.equal((await lab.subflows("near")).length, 2);
  await second.stop();
});

Deno.test("allow_join without a guard fails, and takes no number", { ignore }, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  const nearSees = await near.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  const { code } = await near.run("allow", connection, "3", "--subflow", "7");
  assert.equal(code, 1);
  const made = await near.json(
    "subflow",
    connection,
    lab.address("near", 2),
    "0",
    "--subflow",
    "7",
  );
  assert.equal(made.subflow, 7);
});

Deno.test("SIGHUP with more subflows raises the limits of the kernel's own manager too", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  const before = { manager: "kernel", subflowsMax: 3 };
  await using program = await PathsProgram.start(lab, "near", before);
  const config = program.socket.replace(/\.sock$/, ".jsonc");
  const { paths } = JSON.parse(Deno.readTextFileSync(config));
  Deno.writeTextFileSync(config, JSON.stringify({ paths: { ...paths, subflowsMax: 6 } }));
  Deno.kill(program.daemon.pid, "SIGHUP");
  await until(
    "limits",
    async () => /subflows 5/.test(await lab.must("near", ["ip", "mptcp", "limits"])),
    3000,
  );
});

Deno.test("subflowsMax holds for what a peer makes, too", { ignore }, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using _far = await PathsProgram.start(lab, "far", { subflowsMax: 2 });
  const nearSees = await near.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  for (let join = 0; join < 4; join++) {
    await near.json("subflow", connection, lab.address("near", 2), "0");
  }
  await delay(1000);
  const { length } = await lab.subflows("far");
  assert.ok(length <= 2, `${length}`);
});

Deno.test("pm_type of another namespace that has got the name since is left alone", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  await using other = await MptcpLab.create({ links: 1 });
  const { near } = other.names;
  await using program = await PathsProgram.start(lab, "far", { namespaces: [near] });
  for (const verb of ["delete", "add"]) await must(["ip", "netns", verb, near]);
  await must(["ip", "netns", "exec", near, "sysctl", "-qw", "net.mptcp.pm_type=1"]);
  await program.stop();
  assert.equal(pmType(near), "1");
});

Deno.test("pm_type that somebody sets back while a daemon runs is told", { ignore }, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  await using program = await PathsProgram.start(lab, "near", { reconcileSeconds: 1 });
  await lab.setManager("near", "kernel");
  await until("told", () => Promise.resolve(/pm_type/.test(program.daemon.output())), 4000);
});

Deno.test("joins: whenAway refuse holds after an orderly end as after a crash", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  await using program = await PathsProgram.start(lab, "far", {
    ...BY_HAND,
    joins: { default: "refuse", whenAway: "refuse" },
  });
  assert.equal(await program.stop(), 0);
  assert.match(await lab.must("far", ["nft", "list", "tables"]), /fairlead-joins/);
});

Deno.test("the last subflow that lives is left alone when its link is lost, whatever lies dying", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near", { reconcileSeconds: 1 });
  const monitor = await program.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const made = await monitor.next("new_subflow");
  await lab.setBlackhole(2, true);
  await program.json("remove", `${made.connection}`, `${made.subflow}`);
  await monitor.next("subflow_closed");
  await delay(1500); // a look
  await lab.setCarrier("near", 1, false);
  await monitor.next("link", (line) => line.link === "e1" && line.up === false);
  await delay(300);
  assert.equal((await lab.subflows("near")).length, 1);
});

Deno.test("without its access socket a gateway manages paths all the same, and says so", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  const directory = Deno.makeTempDirSync();
  Deno.writeTextFileSync(
    `${directory}/gateway.jsonc`,
    JSON.stringify({
      name: "client.gw1",
      auth: { method: "none" },
      drainSeconds: 0,
      status: false,
      inputs: { lines: { type: "lines", listen: "127.0.0.1:8710" } },
      hubs: { hq: { addresses: [`v2:${lab.address("far", 1)}:3300`] } },
      paths: { setPmType: true, socket: `${directory}/gateway.jsonc/paths.sock` },
    }),
  );
  const words = fairlead("gateway", "-c", `${directory}/gateway.jsonc`);
  await using gateway = Daemon.start(lab.within("near", words), `${directory}/log`);
  await gateway.until("up", () => gateway.output().includes("Stop:"), READY_MS);
  const now = pmType(lab.names.near);
  const said = gateway.output();
  await gateway.stop("SIGINT");
  await Deno.remove(directory, { recursive: true });
  assert.match(said, /access socket/);
  assert.equal(now, "1", said);
});

Deno.test("joins: who came without the table is judged, also when it is found with a look", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using far = await PathsProgram.start(lab, "far", {
    ...BY_HAND,
    reconcileSeconds: 1,
    joins: { default: "refuse", whenAway: "refuse" },
  });
  const nearSees = await near.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  Deno.kill(far.daemon.pid, "SIGSTOP"); // a busy host
  await lab.must("far", ["nft", "flush", "ruleset"]);
  await near.json("subflow", connection, lab.address("near", 2));
  await delay(1500);
  Deno.kill(far.daemon.pid, "SIGCONT");
  await delay(1000);
  const { length } = await lab.subflows("near");
  await far.stop();
  assert.equal(length, 1);
});

Deno.test("joins: a table that is whole is left alone", { ignore }, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  await using far = await PathsProgram.start(lab, "far", {
    ...BY_HAND,
    reconcileSeconds: 1,
    joins: { default: "refuse" },
  });
  const handle = async (): Promise<string> =>
    (await lab.must("far", ["nft", "-a", "list", "table", "inet", "fairlead-joins"])).trim();
  const before = await handle();
  await delay(2500);
  assert.equal(await handle(), before);
  await far.stop();
});

Deno.test.each([{ signal: "SIGTERM" }, { signal: "SIGHUP" }])(
  "$signal while a gateway or a daemon starts leaves no pm_type behind",
  { ignore },
  async ({ signal }) => {
    await using lab = await MptcpLab.create({ links: 1 });
    const directory = Deno.makeTempDirSync();
    const { near } = lab.names;
    const paths = { setPmType: true, socket: `${directory}/sock` };
    Deno.writeTextFileSync(
      `${directory}/gateway.jsonc`,
      JSON.stringify({
        name: "client.gw1",
        auth: { method: "none" },
        drainSeconds: 0,
        status: false,
        inputs: { lines: { type: "lines", listen: "127.0.0.1:8710" } },
        hubs: { hq: { addresses: [`v2:${lab.address("far", 1)}:3300`] } },
        paths,
      }),
    );
    for (const name of [["gateway"], ["paths", "daemon"]]) {
      const words = fairlead(...name, "-c", `${directory}/gateway.jsonc`);
      await using program = Daemon.start(lab.within("near", words), `${directory}/log`);
      await using watcher = new Deno.Command("ip", {
        args: [
          ...["netns", "exec", near, "bash", "-c"],
          'until read -r now < /proc/sys/net/mptcp/pm_type && [ "$now" = 1 ]; do :; done;' +
          `kill -${signal.slice(3)} $0`,
          `${program.pid}`,
        ],
      }).spawn();
      await watcher.status;
      await delay(1000); // SIGHUP may be survived
      if (program.running) await program.stop("SIGINT");
      await program.exited;
      assert.equal(pmType(near), "0", name.join(" "));
    }
    await Deno.remove(directory, { recursive: true });
  },
);

Deno.test("a stranger without rights who takes the lock's name keeps no daemon away", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  const directory = Deno.makeTempDirSync();
  const nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
  const script = "socket(S, AF_UNIX, SOCK_DGRAM, 0) || die; $| = 1;" +
    'bind(S, pack("S", 1) . "\\0fairlead-paths") || die; print "bound\\n"; sleep 60';
  const perl = ["perl", "-MSocket", "-e", script];
  await using squatter = Daemon.start(
    lab.within("near", [...nobody, ...perl]),
    `${directory}/squatter`,
  );
  await squatter.until("bound", () => squatter.output().includes("bound"), READY_MS);
  await using program = await PathsProgram.start(lab, "near");
  assert.equal(await program.stop(), 0);
  await Deno.remove(directory, { recursive: true });
});
