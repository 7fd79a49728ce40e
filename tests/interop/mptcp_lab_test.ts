/** The laboratory for MPTCP does what it says: subflows, events, and every way to lose a link. */
import assert from "node:assert/strict";
import { ignoreWithoutLab, MptcpLab, type Side } from "./mptcp_lab.ts";
import { SECONDS, Traffic, until } from "./mptcp_traffic_pair.ts";
import { Daemon } from "./processes.ts";

const ignore = await ignoreWithoutLab();
const DEADLINE_MS = 20_000;
/** One message every 5 ms, and some room for a slow machine. */
const MESSAGES_MIN = SECONDS * 200 * 0.7;

const DIRECTIONS = [
  { receiver: "far", family: "IPv4" },
  { receiver: "near", family: "IPv6" },
] as const;

Deno.test.each(DIRECTIONS)(
  "a connection over $family is MPTCP, and its traffic arrives at the $receiver host",
  { ignore },
  async ({ family, receiver }) => {
    await using lab = await MptcpLab.create();
    const host = family === "IPv4" ? lab.address("far", 1) : lab.address6("far", 1);
    await using traffic = await Traffic.start(lab, receiver, host);
    const report = await traffic.report();
    assert.equal(report.mptcp, true);
    assert.ok(report.messages >= MESSAGES_MIN, `${report.messages}`);
    assert.ok(report.gapMs >= 4 && report.gapMs < 1000, `${report.gapMs}`);
    assert.equal(report.bytes, report.messages * 1000);
  },
);

Deno.test("the kernel's manager joins over the second link, and its events are seen", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  const directory = Deno.makeTempDirSync({ prefix: "fairlead-lab-" });
  try {
    for (const side of ["near", "far"] as const) {
      await lab.must(side, ["ip", "mptcp", "limits", "set", "subflows", "8"]);
    }
    const endpoint = [lab.address("near", 2), "dev", lab.link(2), "subflow"];
    await lab.must("near", ["ip", "mptcp", "endpoint", "add", ...endpoint]);
    const argv = lab.within("near", ["stdbuf", "-oL", "ip", "mptcp", "monitor"]);
    await using monitor = Daemon.start(argv, `${directory}/monitor`);
    await until("the monitor listens", async () => {
      const groups = await lab.must("near", ["cat", "/proc/net/netlink"]);
      return groups.split("\n").some((line) => line.includes(` ${monitor.pid} `));
    });
    await using traffic = await Traffic.start(lab, "far", lab.address("far", 1));
    for (const word of ["CREATED", "ESTABLISHED", "SF_ESTABLISHED"]) {
      await monitor.until(word, () => monitor.output().includes(word), DEADLINE_MS);
    }
    assert.match(monitor.output(), new RegExp(lab.address("near", 2).replaceAll(".", "\\.")));
    const subflows = await lab.subflows("near");
    assert.equal(subflows.length, 2, subflows.join("\n"));
    assert.ok(subflows.some((each) => each.startsWith(`${lab.address("near", 2)}:`)));
    assert.equal((await traffic.report()).mptcp, true);
    await monitor.until("CLOSED", () => monitor.output().includes("CLOSED"), DEADLINE_MS);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("traffic survives the silent loss of the link that carries it", { ignore }, async () => {
  await using lab = await MptcpLab.create();
  for (const side of ["near", "far"] as const) {
    await lab.must(side, ["ip", "mptcp", "limits", "set", "subflows", "8"]);
  }
  const endpoint = [lab.address("near", 2), "dev", lab.link(2), "subflow"];
  await lab.must("near", ["ip", "mptcp", "endpoint", "add", ...endpoint]);
  await using traffic = await Traffic.start(lab, "far", lab.address("far", 1));
  await until("two subflows", async () => (await lab.subflows("near")).length === 2);
  await lab.setBlackhole(await lab.busiest(), true);
  const report = await traffic.report();
  assert.ok(report.messages >= MESSAGES_MIN, `${report.messages}`);
  assert.ok(report.gapMs > 50, `${report.gapMs}`); // the kernel's manager alone waits for a timer
});

Deno.test("a pulled cable is seen at its other end, and addresses outlive it", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create();
  assert.equal(await lab.hasCarrier("near", 1), true);
  await lab.setCarrier("near", 1, false);
  await until("no carrier", async () => !await lab.hasCarrier("near", 1));
  assert.equal(await lab.hasCarrier("near", 2), true);
  const show = ["ip", "-j", "address", "show", lab.link(1)];
  const [link] = JSON.parse(await lab.must("near", show));
  assert.ok(link.flags.includes("UP") && link.flags.includes("NO-CARRIER"), `${link.flags}`);
  for (const side of ["near", "far"] as const) {
    const text = await lab.must(side, show);
    assert.ok(text.includes(`"${lab.address(side, 1)}"`), text);
    assert.ok(text.includes(`"${lab.address6(side, 1)}"`), text);
  }
  await lab.setCarrier("near", 1, true);
  await until("a carrier", () => lab.hasCarrier("near", 1));
});

/** Nobody listens there: whoever is reached refuses at once. */
const KNOCK = ["timeout", "1", "bash", "-c", 'exec 3<>"/dev/tcp/$0/9"'];

Deno.test("a blackhole swallows one link both ways without a word, until it is taken away", {
  ignore,
}, async () => {
  await using lab = await MptcpLab.create({ links: 3 });
  const reaches = async (side: Side, link: number): Promise<boolean[]> => {
    const other = side === "near" ? "far" : "near";
    const hosts = [lab.address(other, link), lab.address6(other, link)];
    const ended = await Promise.all(hosts.map((host) => lab.run(side, [...KNOCK, host])));
    return ended.map(({ stderr }) => stderr.includes("refused"));
  };
  assert.deepEqual(await reaches("near", 1), [true, true]);
  await lab.setBlackhole(1, true);
  await lab.setBlackhole(1, true);
  const ended = await Promise.all([reaches("near", 1), reaches("far", 1), reaches("near", 2)]);
  assert.deepEqual(ended, [[false, false], [false, false], [true, true]]);
  assert.equal(await lab.hasCarrier("near", 1), true);
  await lab.setBlackhole(1, false);
  assert.deepEqual(await reaches("far", 1), [true, true]);
  assert.deepEqual(await reaches("far", 3), [true, true]);
});

Deno.test("both ends of a link have the indexes that the lab says, and managers of their own", {
  ignore,
}, async () => {
  const before = Deno.readTextFileSync("/proc/sys/net/mptcp/pm_type");
  await using lab = await MptcpLab.create({ links: 1, manager: { near: "userspace" } });
  const managers: string[] = [];
  for (const side of ["near", "far"] as const) {
    const show = ["ip", "-n", lab.names[side], "-j", "link", "show", lab.link(1)];
    const { code, stdout } = await lab.run(side, show.toSpliced(1, 2));
    assert.equal(code, 0);
    assert.equal(JSON.parse(stdout)[0].ifindex, lab.index(side, 1));
    managers.push((await lab.must(side, ["cat", "/proc/sys/net/mptcp/pm_type"])).trim());
  }
  assert.notEqual(lab.index("near", 1), lab.index("far", 1));
  assert.deepEqual(managers, ["1", "0"]);
  assert.equal(Deno.readTextFileSync("/proc/sys/net/mptcp/pm_type"), before);
  assert.throws(() => lab.address("near", 2), /does not have: 2 of 1/);
});

Deno.test("a lab leaves nothing behind, also when it cannot be made", { ignore }, async () => {
  const lab = await MptcpLab.create({ links: 1 });
  const isThere = (name: string): boolean =>
    [...Deno.readDirSync("/run/netns")].some((entry) => entry.name === name);
  assert.ok(isThere(lab.names.near) && isThere(lab.names.far));
  await lab[Symbol.asyncDispose]();
  assert.ok(!isThere(lab.names.near) && !isThere(lab.names.far));
  await assert.rejects(MptcpLab.create({ links: 0 }), /a lab of 0 links/);
});
