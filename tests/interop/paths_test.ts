/**
 * The path manager with the real kernel: every row of README's table of the RFC "MPTCP Path Management
 * Generic Netlink API", and what an operator meets beside it.
 */
import assert from "node:assert/strict";
import { ignoreWithoutLab, MptcpLab } from "./mptcp_lab.ts";
import { Traffic, until } from "./mptcp_traffic_pair.ts";
import { fairlead, PathsProgram } from "./paths_program.ts";
import { Daemon, run } from "./processes.ts";

const ignore = await ignoreWithoutLab();
/** Long enough for a dozen commands beside it; the test ends it. */
const LONG_SECONDS = 120;
const FAMILIES = [{ family: "IPv4" }, { family: "IPv6" }] as const;
/** More than three events each of 768 bytes for the 8 MiB that wait at most. */
const CROWD = 6000;
const BY_HAND = { layout: "none" };

function host(lab: MptcpLab, family: "IPv4" | "IPv6", side: "near" | "far", link: number): string {
  return family === "IPv4" ? lab.address(side, link) : lab.address6(side, link);
}

Deno.test.each(FAMILIES)(
  "over $family a full mesh joins the second link, and every event of it is told",
  { ignore },
  async ({ family }) => {
    await using lab = await MptcpLab.create();
    await using program = await PathsProgram.start(lab, "near");
    // No route leads from the second link to the first one's address: the peer announces another.
    await using _far = await PathsProgram.start(lab, "far", {
      interfaces: [{ name: "e2", announce: true }],
    });
    const monitor = await program.monitor();
    await using traffic = await Traffic.start(lab, "far", host(lab, family, "far", 1));
    const { connection } = await monitor.next("new_connection");
    const address = host(lab, family, "far", 2);
    await monitor.next("new_addr", (line) => line.remote_address === address);
    const joined = await monitor.next(
      "new_subflow",
      (line) => line.local_address === host(lab, family, "near", 2),
    );
    assert.equal(joined.connection, connection);
    const view = await program.json("list");
    const [only] = view.connections;
    assert.equal(only.connection, connection);
    const links = only.subflows.map((one: { link: string }) => one.link);
    assert.deepEqual([...new Set(links)].sort(), ["e1", "e2"]);
    const { gapMs } = await traffic.report();
    assert.ok(gapMs < 1000, `${gapMs}`);
    const closed = await monitor.next("conn_closed");
    assert.equal(closed.connection, connection);
    const ends = monitor.events.filter(({ event }) => event === "subflow_closed");
    const made = monitor.events.filter(({ event }) => event === "new_subflow");
    assert.ok(ends.length >= made.length, JSON.stringify(monitor.events));
    assert.deepEqual((await program.json("list")).connections, []);
  },
);

Deno.test.each(FAMILIES)(
  "over $family the commands of the RFC do what they say, at both ends",
  { ignore },
  async ({ family }) => {
    await using lab = await MptcpLab.create();
    await using near = await PathsProgram.start(lab, "near", BY_HAND);
    await using far = await PathsProgram.start(lab, "far", BY_HAND);
    const [nearSees, farSees] = [await near.monitor(), await far.monitor()];
    await using _traffic = await Traffic.start(
      lab,
      "far",
      host(lab, family, "far", 1),
      LONG_SECONDS,
    );
    const connection = `${(await nearSees.next("new_connection")).connection}`;
    const accepted = `${(await farSees.next("new_connection")).connection}`;

    // send_addr -> new_addr, and the list of remote address ids
    await far.json("announce", accepted, host(lab, family, "far", 2), "--id", "7");
    const announced = await nearSees.next("new_addr");
    assert.equal(announced.remote_address_id, 7);
    assert.equal(announced.remote_address, host(lab, family, "far", 2));
    const [seen] = (await near.json("list")).connections;
    assert.ok(
      seen.remoteAddresses.some((one: { id: number; address: string }) =>
        one.id === 7 && one.address === host(lab, family, "far", 2)
      ),
    );
    const remote = await near.ask("list_remote_addresses", { connection });
    const ids = remote.addresses.map((one: { remote_address_id: number }) => one.remote_address_id);
    assert.deepEqual(ids.sort(), [0, 7]);
    const local = await far.ask("list_local_addresses", { connection: accepted });
    assert.ok(
      local.addresses.some((one: { local_address_id: number }) => one.local_address_id === 7),
    );

    // add_subflow by the id of the event -> new_subflow at both ends, with the number asked for
    const made = await near.json(
      ...["subflow", connection, host(lab, family, "near", 2), "7", "--id", "9"],
      ...["--subflow", "5"],
    );
    assert.equal(made.subflow, 5);
    const subflow = await nearSees.next("new_subflow", (line) => line.subflow === 5);
    assert.equal(subflow.local_address_id, 9);
    const joined = await farSees.next("new_subflow", (line) => line.remote_address_id === 9);
    assert.equal(joined.local_address, host(lab, family, "far", 2));
    const { subflows } = await near.ask("list_subflows", { connection });
    assert.deepEqual(subflows.map((one: { subflow: number }) => one.subflow).sort(), [0, 5]);

    // set_backup -> the peer's MP_PRIO, and back
    await near.json("backup", connection, "5");
    const asked = await farSees.next("subflow_priority");
    assert.deepEqual([asked.subflow, asked.backup, asked.by], [joined.subflow, true, "peer"]);
    const path = (await near.json("list")).connections[0].subflows[1];
    assert.equal(path.backup, "local");
    await near.json("backup", connection, "5", "--off");
    await farSees.next("subflow_priority", (line) => line.backup === false);

    // remove_subflow -> closed at both ends
    await near.json("remove", connection, "5");
    await nearSees.next("subflow_closed", (line) => line.subflow === 5);
    await farSees.next("subflow_closed", (line) => line.subflow === joined.subflow);
    assert.equal((await near.json("list")).connections[0].subflows.length, 1);
  },
);

Deno.test("a program asks in the RFC's own words, and a refusal says what and why", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near", BY_HAND);
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = (await program.json("list")).connections[0].connection;
  const wrong: (readonly [string[], RegExp])[] = [
    [["backup", "0x00000001", "0"], /no such connection: current value is 0x0*1/],
    [["backup", connection, "77"], /no such subflow: current value is 77/],
    [["announce", connection, "10.99.0.1", "--id", "0x"], /whole number/],
    [["subflow", connection, "10.9.2.1", "200"], /remote address id/],
    [["subflow", connection, "192.0.2.9"], /EADDRNOTAVAIL|not available/],
    [["allow", connection, "3"], /not guarded/],
    [["backup", "388844zz", "0"], /hexadecimal/],
  ];
  for (const [words, reason] of wrong) {
    const { code, stderr } = await program.run(...words);
    assert.notEqual(code, 0, words.join(" "));
    assert.match(stderr, reason);
  }
});

Deno.test("an address announced with a port of its own can be joined: somebody listens there", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using far = await PathsProgram.start(lab, "far", BY_HAND);
  const [nearSees, farSees] = [await near.monitor(), await far.monitor()];
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  const accepted = `${(await farSees.next("new_connection")).connection}`;
  await far.json("announce", accepted, lab.address("far", 2), "--port", "7777", "--id", "4");
  await farSees.next("listener", (line) => line.local_port === 7777 && line.open === true);
  assert.equal((await nearSees.next("new_addr")).remote_port, 7777);
  await near.json("subflow", connection, lab.address("near", 2), "4", "--remote-port", "7777");
  const joined = await farSees.next("new_subflow");
  assert.deepEqual([joined.local_address, joined.local_port], [lab.address("far", 2), 7777]);
  const stranger = ["timeout", "5", "bash", "-c", 'exec 3<>"/dev/tcp/$0/7777"; cat <&3'];
  await lab.run("near", [...stranger, lab.address("far", 2)]); // ends when it is closed
  assert.equal(await far.stop(), 0);
  assert.doesNotMatch(await lab.must("far", ["ss", "-Hltn"]), /7777/);
});

Deno.test("connections that are older than the daemon are found and joined", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ manager: { near: "userspace" } });
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  await using program = await PathsProgram.start(lab, "near");
  await until("two subflows", async () => (await lab.subflows("near")).length === 2);
  const [only] = (await program.json("list")).connections;
  assert.deepEqual(only.subflows.map((one: { subflow: number }) => one.subflow), [0, 1]);
  const status = await program.status();
  assert.equal(status.connections, 1);
});

Deno.test(
  "joins: the set decides in the kernel, attempts are told, and allow lets the next one in",
  {
    ignore,
  },
  async () => {
    await using lab = await MptcpLab.create();
    await using near = await PathsProgram.start(lab, "near", BY_HAND);
    await using far = await PathsProgram.start(lab, "far", {
      ...BY_HAND,
      joins: { default: "refuse" },
    });
    const [nearSees, farSees] = [await near.monitor(), await far.monitor()];
    await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
    const connection = `${(await nearSees.next("new_connection")).connection}`;
    const accepted = `${(await farSees.next("new_connection")).connection}`;
    const join = (): Promise<unknown> =>
      near.json("subflow", connection, lab.address("near", 2), "--id", "3");

    await join();
    const attempt = await farSees.next("join_attempt");
    assert.deepEqual(
      [attempt.connection, attempt.remote_address_id, attempt.remote_address, attempt.verdict],
      [accepted, 3, lab.address("near", 2), "refused"],
    );
    const refused = await nearSees.next("subflow_closed");
    assert.equal(refused.error, 111);

    // allow without an indication means refuse: nothing changes
    await far.json("allow", accepted, "3", "--refuse");
    // and with it the next join passes, as a backup and under the number that was said
    await far.json("allow", accepted, "3", "--backup", "--subflow", "42");
    await join();
    await farSees.next("join_attempt", (line) => line.verdict === "accepted");
    const subflow = await farSees.next("new_subflow", (line) => line.subflow === 42);
    assert.equal(subflow.remote_address_id, 3);
    await until("backup", async () => {
      const [only] = (await far.json("list")).connections;
      return only.subflows.some((one: { backup: string }) => one.backup !== "");
    });
    const rules = await lab.must("far", ["nft", "list", "tables"]);
    assert.match(rules, /fairlead-joins/);
    assert.equal(await far.stop(), 0);
    assert.doesNotMatch(await lab.must("far", ["nft", "list", "tables"]), /fairlead-joins/);
  },
);

Deno.test("joins: a default by interface, and a rule of one connection that beats it", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 3 });
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using far = await PathsProgram.start(lab, "far", {
    ...BY_HAND,
    joins: { default: "interfaces", interfaces: ["e2"] },
  });
  const [nearSees, farSees] = [await near.monitor(), await far.monitor()];
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  const accepted = `${(await farSees.next("new_connection")).connection}`;
  const join = (link: number, id: number): Promise<unknown> =>
    near.json("subflow", connection, lab.address("near", link), "0", "--id", `${id}`);
  const verdict = async (id: number, times: number): Promise<unknown> => {
    const told = (): unknown[] =>
      farSees.events.filter((line) =>
        line.event === "join_attempt" && line.remote_address_id === id
      ).map((line) => line.verdict);
    await until(`attempt ${times} of ${id}`, () => Promise.resolve(told().length >= times));
    return told()[times - 1];
  };
  await join(2, 2);
  assert.equal(await verdict(2, 1), "accepted");
  await join(3, 3);
  assert.equal(await verdict(3, 1), "refused");
  await far.json("joins", "accept", "--connection", accepted);
  await join(3, 3);
  assert.equal(await verdict(3, 2), "accepted");
});

Deno.test("joins: a queue holds the join until somebody decides, or nobody has in time", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using far = await PathsProgram.start(lab, "far", {
    ...BY_HAND,
    joins: { decide: "queue", answerMs: 10_000, whenAway: "refuse" },
  });
  const [nearSees, farSees] = [await near.monitor(), await far.monitor()];
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  const accepted = `${(await farSees.next("new_connection")).connection}`;
  await near.json("subflow", connection, lab.address("near", 2), "--id", "2");
  const attempt = await farSees.next("join_attempt");
  assert.equal(attempt.verdict, "waiting");
  assert.equal((await lab.subflows("near")).length, 1);
  const decision = await far.json("allow", accepted, "2");
  assert.equal(decision.decided, "now");
  await nearSees.next("new_subflow", (line) => line.subflow !== 0);
});

Deno.test("joins: without its table the guard ends what was joined, and loads the table again", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using far = await PathsProgram.start(lab, "far", {
    ...BY_HAND,
    reconcileSeconds: 2,
    joins: { default: "refuse", whenAway: "refuse" },
  });
  const nearSees = await near.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  await lab.must("far", ["nft", "flush", "ruleset"]); // as a firewall does that is reloaded
  await near.json("subflow", connection, lab.address("near", 2));
  await nearSees.next("subflow_closed");
  assert.equal((await lab.subflows("near")).length, 1);
  await until(
    "the table",
    async () => (await lab.must("far", ["nft", "list", "tables"])).includes("fairlead-joins"),
  );
  assert.equal((await far.status()).joins.evicted, 1);
  await far.daemon.stop("SIGKILL"); // fail closed: the table outlives its daemon
  assert.match(await lab.must("far", ["nft", "list", "tables"]), /fairlead-joins/);
});

Deno.test(
  "a lost carrier is answered within milliseconds, in both directions, and the link comes back",
  {
    ignore,
  },
  async () => {
    for (const receiver of ["far", "near"] as const) {
      await using lab = await MptcpLab.create();
      await using program = await PathsProgram.start(lab, "near", { upDelayMs: 300 });
      const monitor = await program.monitor();
      await using traffic = await Traffic.start(lab, receiver, lab.address("far", 1), 6);
      await monitor.next("new_subflow", (line) => line.subflow !== 0);
      const active = await lab.busiest();
      await lab.setCarrier("near", active, false);
      await monitor.next("link", (line) => line.up === false);
      await until("one subflow", async () => (await lab.subflows("near")).length === 1);
      await lab.setCarrier("near", active, true);
      await until("two subflows", async () => (await lab.subflows("near")).length === 2);
      const { gapMs } = await traffic.report();
      // Without a manager it is 200 ms at least; bench/peers/paths.ts measures it.
      assert.ok(gapMs < 150, `${receiver}: ${gapMs} ms`);
    }
  },
);

Deno.test("a process of another network namespace is turned away", { ignore }, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near", BY_HAND);
  const words = fairlead("paths", "list", "-s", program.socket);
  const { code, stderr } = await lab.run("far", words);
  assert.equal(code, 1);
  assert.match(stderr, /network namespaces that it manages/);
  assert.equal(Deno.statSync(program.socket).mode! & 0o777, 0o600);
});

Deno.test("one daemon manages several namespaces", { ignore }, async () => {
  await using lab = await MptcpLab.create();
  // Run in the far namespace, it manages the near one by name, and its own.
  const { near } = lab.names;
  await using program = await PathsProgram.start(lab, "far", { namespaces: [near] });
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  await until("two subflows", async () => (await lab.subflows("near")).length === 2);
  const list = fairlead("paths", "list", "--json", "-s", program.socket);
  const [only] = JSON.parse(await lab.must("near", list)).connections;
  assert.equal(only.subflows.length, 2);
});

Deno.test("pm_type: said with the remedy when it is wrong, set and put back when that is allowed", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 1 });
  const pmType = async (): Promise<string> =>
    (await lab.must("near", ["cat", "/proc/sys/net/mptcp/pm_type"])).trim();
  const { code, stderr } = await lab.run("near", fairlead("paths", "daemon", "--no-socket"));
  assert.equal(code, 1);
  assert.match(stderr, /net\.mptcp\.pm_type must be 1.*current value is 0.*--set-pm-type/);
  {
    await using program = await PathsProgram.start(lab, "near");
    assert.equal(await pmType(), "1");
    assert.equal(await program.stop(), 0);
  }
  assert.equal(await pmType(), "0");
});

Deno.test("a kernel without MPTCP and a user without privilege are told what to do", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 1, manager: { near: "userspace" } });
  const daemon = fairlead("paths", "daemon", "--no-socket");
  const bare = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all"];
  const denied = await lab.run("near", [...bare, ...daemon]);
  assert.equal(denied.code, 1);
  assert.match(denied.stderr, /CAP_NET_ADMIN, run it as root/);
  await lab.must("near", ["sysctl", "-qw", "net.mptcp.enabled=0"]);
  const without = await lab.run("near", daemon);
  assert.equal(without.code, 1);
  assert.match(without.stderr, /the kernel has no MPTCP, or net\.mptcp\.enabled is 0/);
});

Deno.test("in a user namespace, without any right over the host, it manages loopback addresses", {
  ignore,
}, async () => {
  const directory = Deno.makeTempDirSync({ prefix: "fairlead-rootless-" });
  try {
    Deno.writeTextFileSync(
      `${directory}/paths.jsonc`,
      JSON.stringify({
        paths: {
          setPmType: true,
          socket: `${directory}/paths.sock`,
          interfaces: [{ name: "lo" }],
        },
      }),
    );
    const config = `${directory}/paths.jsonc`;
    const traffic = new URL("mptcp_traffic.ts", import.meta.url).pathname;
    const deno = Deno.execPath();
    const script = `
      set -e
      ip link set lo up
      ip address add 127.0.0.2/8 dev lo
      ${fairlead("paths", "daemon", "-c", config).join(" ")} 2>${directory}/log &
      daemon=$!
      for i in $(seq 100); do grep -q Access: ${directory}/log && break; sleep 0.1; done
      ${deno} run -A ${traffic} listen 127.0.0.1 7000 receive 3 >${directory}/far &
      for i in $(seq 100); do grep -q listening ${directory}/far && break; sleep 0.1; done
      ${deno} run -A ${traffic} connect 127.0.0.1 7000 send 3 >${directory}/near &
      sleep 2
      ${fairlead("paths", "list", "--json", "-s", `${directory}/paths.sock`).join(" ")}
      wait %3
      kill -INT $daemon
      wait $daemon`;
    const argv = ["timeout", "60", "unshare", "-Urn", "bash", "-c", script];
    const { code, stderr, stdout } = await run(argv, { deadlineMs: 60_000 });
    assert.equal(code, 0, stderr);
    const view = JSON.parse(stdout);
    const ends = view.connections.map((one: { subflows: unknown[] }) => one.subflows.length);
    assert.ok(
      ends.length === 2 && ends.every((count: number) => count >= 2),
      `${stdout} ${stderr}`,
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("with the kernel's own manager it keeps endpoints and limits, and takes them back", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 3 });
  const endpoints = (): Promise<string> => lab.must("near", ["ip", "mptcp", "endpoint"]);
  await lab.must("near", ["ip", "mptcp", "endpoint", "add", "10.9.3.1", "signal"]);
  const before = await lab.must("near", ["ip", "mptcp", "limits"]);
  const own = await endpoints();
  {
    await using program = await PathsProgram.start(lab, "near", {
      manager: "kernel",
      subflowsMax: 6,
      interfaces: [
        { name: "e1", subnet: "10.0.0.0/8" },
        { name: "e2", subnet: "10.0.0.0/8", role: "backup" },
        { role: "off" },
      ],
    });
    await until("endpoints", async () => (await endpoints()).includes("10.9.2.1"));
    const made = await endpoints();
    assert.match(made, /10\.9\.1\.1 id \d+ subflow fullmesh dev e1/);
    assert.match(made, /10\.9\.2\.1 id \d+ subflow backup fullmesh dev e2/);
    assert.match(await lab.must("near", ["ip", "mptcp", "limits"]), /subflows 5/);
    const limits = await lab.must("near", fairlead("paths", "limits", "--json"));
    assert.equal(JSON.parse(limits).subflows, 5);
    await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
    await until("a join", async () => (await lab.subflows("near")).length >= 2);
    await lab.setCarrier("near", 2, false);
    await until("without e2", async () => !(await endpoints()).includes("10.9.2.1"));
    assert.equal(await program.stop(), 0);
  }
  assert.equal(await endpoints(), own);
  assert.equal(await lab.must("near", ["ip", "mptcp", "limits"]), before);
});

Deno.test("SIGHUP takes over another policy, for connections that are there too", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near", BY_HAND);
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  assert.equal((await lab.subflows("near")).length, 1);
  const config = program.socket.replace(/\.sock$/, ".jsonc");
  const { paths } = JSON.parse(Deno.readTextFileSync(config));
  Deno.writeTextFileSync(config, JSON.stringify({ paths: { ...paths, layout: "full-mesh" } }));
  Deno.kill(program.daemon.pid, "SIGHUP");
  await until("two subflows", async () => (await lab.subflows("near")).length === 2);
});

Deno.test("an aborted connection, which the kernel does not tell, is gone after the next look", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near", { reconcileSeconds: 1 });
  const monitor = await program.monitor();
  const traffic = await Traffic.start(lab, "near", lab.address("far", 1), LONG_SECONDS);
  await monitor.next("new_connection");
  await traffic[Symbol.asyncDispose](); // with unread data: MP_FASTCLOSE
  await monitor.next("conn_closed");
  await until("empty", async () => (await program.status()).connections === 0);
});

Deno.test("a picture of what there is can be had with and without a daemon", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near");
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  await until("two subflows", async () => (await lab.subflows("near")).length === 2);
  const { stdout } = await program.run("graph");
  assert.match(stdout, /^<svg[\s\S]*10\.9\.2\.1[\s\S]*<\/svg>\s*$/);
  const bare = await lab.must("near", fairlead("paths", "graph", "-N", lab.names.near));
  assert.match(bare, /10\.9\.2\.1/);
});

Deno.test("primary and backup: one link carries, and the next in order takes its place", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 3 });
  // The kernel's own manager there accepts two subflows beside the first, which is gone later.
  await lab.must("far", ["ip", "mptcp", "limits", "set", "subflows", "8"]);
  await using program = await PathsProgram.start(lab, "near", {
    layout: "primary-backup",
    upDelayMs: 300,
    interfaces: [
      { name: "e1", priority: 1 },
      { name: "e2", role: "metered" },
      { name: "e3", role: "backup", priority: 5 },
    ],
  });
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const roles = async (): Promise<string> => {
    const [only] = (await program.json("list")).connections;
    return only.subflows.filter((one: { state: string }) => one.state === "established")
      .map((one: { link: string; backup: string }) => `${one.link} ${one.backup}`.trim()).sort()
      .join(", ");
  };
  const become = (wanted: string): Promise<void> =>
    until(wanted, async () => (await roles()) === wanted);
  await become("e1, e2 local, e3 local");
  await lab.setCarrier("near", 1, false);
  await become("e2 local, e3");
  await lab.setCarrier("near", 1, true);
  await become("e1, e2 local, e3 local");
  await lab.setCarrier("near", 1, false);
  await become("e2 local, e3");
  await lab.setCarrier("near", 3, false); // nothing else is left: it carries, as a backup
  await become("e2 local");
  assert.equal(await lab.busiest(), 2);
});

Deno.test("an interface that appears is used, and one that goes is done without", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near");
  const monitor = await program.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  await until("two subflows", async () => (await lab.subflows("near")).length === 2);
  const { far, near } = lab.names;
  for (
    const line of [
      `-n ${near} link add late type veth peer name late netns ${far}`,
      `-n ${near} address add 10.9.77.1/24 dev late`,
      `-n ${far} address add 10.9.77.2/24 dev late`,
      `-n ${far} link set late up`,
      `-n ${near} link set late up`,
    ]
  ) await lab.must("near", ["ip", ...line.split(" ")]);
  await monitor.next("link", (line) => line.link === "late" && line.up === true);
  await until("three subflows", async () => (await lab.subflows("near")).length === 3);
  await lab.must("near", ["ip", "-n", near, "link", "delete", "late"]);
  await until("two subflows", async () => (await lab.subflows("near")).length === 2);
});

Deno.test("connections of the kernel's own manager are watched, and left alone", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  await using program = await PathsProgram.start(lab, "near", { reconcileSeconds: 1 });
  const [only] = (await program.json("list")).connections;
  const { code, stderr } = await program.run("subflow", only.connection, lab.address("near", 2));
  assert.equal(code, 1);
  assert.match(stderr, /kernel's own path manager|userspace PM not selected/);
  await until("some looks", async () => (await program.status()).commands >= 1);
  const { refused } = await program.status();
  assert.ok(refused <= 2, `${refused}`); // it has learned
  assert.equal((await lab.subflows("near")).length, 1);
});

Deno.test("several announced addresses all arrive, and their removal too", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 5 });
  await using near = await PathsProgram.start(lab, "near", BY_HAND);
  await using far = await PathsProgram.start(lab, "far", {
    interfaces: [2, 3, 4, 5].map((link) => ({ name: `e${link}`, announce: true })),
  });
  const nearSees = await near.monitor();
  await using _traffic = await Traffic.start(lab, "far", lab.address("far", 1), LONG_SECONDS);
  const connection = `${(await nearSees.next("new_connection")).connection}`;
  const known = async (): Promise<string[]> => {
    const { addresses } = await near.ask("list_remote_addresses", { connection });
    return addresses.map((one: { remote_address: string }) => one.remote_address).sort();
  };
  const wanted = [1, 2, 3, 4, 5].map((link) => lab.address("far", link));
  await until("all", async () => wanted.join() === (await known()).join());
  assert.equal(await far.stop(), 0); // withdraws what it announced
  await until("none", async () => (await known()).length === 1);
});

Deno.test("after an overflow of the kernel's events everything is read again", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  await using program = await PathsProgram.start(lab, "near");
  Deno.kill(program.daemon.pid, "SIGSTOP");
  const crowd = new URL("mptcp_crowd.ts", import.meta.url).pathname;
  const argv = [Deno.execPath(), "run", "-A", crowd, lab.address("far", 1), "7001", `${CROWD}`];
  await using listener = Daemon.start(
    lab.within("far", [...argv.slice(0, 4), "listen", "7001", `${CROWD}`]),
    `${program.socket}.listen`,
  );
  await listener.until("listens", () => listener.output().includes("listening"), 20_000);
  await using crowded = Daemon.start(lab.within("near", argv), `${program.socket}.crowd`);
  await crowded.until("all", () => crowded.output().includes("connected"), 60_000);
  Deno.kill(program.daemon.pid, "SIGCONT");
  await until("found", async () => (await program.status()).connections === CROWD, 60_000);
  const { resyncs } = await program.status();
  assert.ok(resyncs >= 1, `${resyncs}`);
  await crowded.stop();
  await listener.stop();
  await until("gone", async () => (await program.status()).connections === 0, 60_000);
});
