/**
 * Sessions over MPTCP sockets: what carries them, what is said when it is TCP, and how snapshot, status
 * page, terminal and metrics tell a session's paths.
 */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import { loadHubConfig } from "../../src/app/config/hub_config.ts";
import { Endpoint } from "../../src/app/endpoint.ts";
import { Gateway } from "../../src/app/gateway/gateway.ts";
import { GatewaySnapshots } from "../../src/app/gateway/gateway_snapshot.ts";
import { HubService } from "../../src/app/hub/hub_service.ts";
import { HubSnapshots } from "../../src/app/hub/hub_snapshot.ts";
import type { SessionTransport, Transport } from "../../src/app/loop.ts";
import { statusReport } from "../../src/app/status/health.ts";
import { Alarms, Journal } from "../../src/app/status/journal.ts";
import { metricsText } from "../../src/app/status/metrics.ts";
import { PAGE_SCRIPT, PAGE_STYLE } from "../../src/app/status/page.ts";
import type { PathsOf, SessionPath, SessionStatus } from "../../src/app/status/snapshot.ts";
import { topRows } from "../../src/app/status/top_view.ts";
import { nowMs } from "../../src/io/clock.ts";
import { libc } from "../../src/io/libc.ts";
import { IPPROTO_MPTCP, mptcpRefusal } from "../../src/io/mptcp_socket.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { fakeGateway, HOSTILE_NAME } from "./fake_snapshot.ts";

/** A kernel without MPTCP: what needs it cannot be looked at. */
const NONE = mptcpRefusal() !== 0;
if (Deno.env.get("CI") === "true") assert.ok(!NONE, "CI has MPTCP");
const ANYWHERE = "v2:127.0.0.1:0";
const TCP_ONLY = /^Sessions use TCP, with one path only, as this kernel has no MPTCP: /;

/** A hub and a box with one session between them. */
class Ends implements AsyncDisposable {
  readonly said: string[] = [];
  readonly hub: Endpoint;
  readonly box: Endpoint;

  constructor(hub: Transport | undefined, box: Transport | undefined) {
    const onTcpOnly = (why: string): void => {
      this.said.push(why);
    };
    this.hub = new Endpoint({ io: "libc", transport: hub, onTcpOnly });
    this.box = new Endpoint({ io: "libc", transport: box, onTcpOnly });
  }

  /** Connects, carries a message, and tells what carries the session at the hub and at the box. */
  async carry(): Promise<{ hub: SessionTransport | null; box: SessionTransport | null }> {
    const address = await this.hub.listen(ANYWHERE);
    const coming = this.hub.accept();
    const session = await this.box.connect(address, POLICIES.losslessClient);
    assert.equal(this.box.transportOf(session), null, "nothing carries it before it stands");
    const front = new TextEncoder().encode("21.5");
    session.send({ type: 0xfa00, front });
    for await (const batch of this.hub) {
      assert.deepEqual(batch.front(0).slice(), front);
      break;
    }
    await this.box.flushed(session);
    return { hub: this.hub.transportOf(await coming), box: this.box.transportOf(session) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.box.close();
    await this.hub.close();
  }
}

const PLAIN = { transport: "tcp", token: 0, fallback: false };
const FALLEN_BACK = { transport: "tcp", token: 0, fallback: true };

for (const [hub, box] of [["auto", "auto"], ["mptcp", "mptcp"], ["auto", "mptcp"]] as const) {
  Deno.test({
    name: `hub ${hub}, box ${box}: MPTCP carries the session, each end has its token`,
    ignore: NONE,
    fn: async () => {
      await using ends = new Ends(hub, box);
      const carried = await ends.carry();
      for (const end of [carried.hub!, carried.box!]) {
        assert.equal(end.transport, "mptcp");
        assert.equal(end.fallback, false);
        assert.ok(end.token > 0);
      }
      assert.notEqual(carried.hub!.token, carried.box!.token);
      assert.deepEqual(ends.said, []);
    },
  });
}

for (
  const [hub, box, expected] of [
    [undefined, undefined, { hub: PLAIN, box: PLAIN }],
    ["tcp", "tcp", { hub: PLAIN, box: PLAIN }],
    ["tcp", "auto", { hub: PLAIN, box: FALLEN_BACK }],
    ["mptcp", "tcp", { hub: FALLEN_BACK, box: PLAIN }],
  ] as const
) {
  Deno.test({
    name: `hub ${hub ?? "unset"}, box ${
      box ?? "unset"
    }: TCP carries the session, who offered more knows`,
    ignore: NONE && hub !== box,
    fn: async () => {
      await using ends = new Ends(hub, box);
      assert.deepEqual(await ends.carry(), expected);
      assert.deepEqual(ends.said, []);
    },
  });
}

/** While `job` runs, this kernel has no MPTCP (EPROTONOSUPPORT, as of a number that nobody has). */
async function withoutMptcp(job: () => Promise<void>): Promise<void> {
  const calls = libc() as unknown as Record<string, (...words: number[]) => number>;
  const real = calls.socket!;
  calls.socket = (family, type, protocol) =>
    real(family!, type!, protocol === IPPROTO_MPTCP ? 200 : protocol!);
  try {
    await job();
  } finally {
    calls.socket = real;
  }
}

Deno.test("where the kernel has no MPTCP, auto is TCP and each end says so once", async () => {
  await withoutMptcp(async () => {
    await using ends = new Ends("auto", "auto");
    assert.deepEqual(await ends.carry(), { hub: PLAIN, box: PLAIN });
    const again = await ends.box.connect(await ends.hub.listen(ANYWHERE), POLICIES.losslessClient);
    await ends.box.established(again);
    assert.equal(ends.said.length, 2);
    for (const text of ends.said) {
      assert.match(text, TCP_ONLY);
      assert.match(text, /: Protocol not supported \(EPROTONOSUPPORT\)$/);
    }
  });
});

Deno.test("where the kernel has no MPTCP, mptcp fails and nothing is said of TCP", async () => {
  await withoutMptcp(async () => {
    await using ends = new Ends("mptcp", "mptcp");
    await assert.rejects(ends.hub.listen(ANYWHERE), {
      message: /^Cannot listen on v2:127\.0\.0\.1:0: Protocol not supported \(EPROTONOSUPPORT\)/,
    });
    const refused = Promise.withResolvers<string>();
    ends.box.onEvent(({ text }) => text.includes("EPROTONOSUPPORT") && refused.resolve(text));
    await ends.box.connect("v2:127.0.0.1:9", POLICIES.losslessClient);
    assert.match(await refused.promise, /^Cannot connect to .*: Protocol not supported/);
    assert.deepEqual(ends.said, []);
  });
});

Deno.test("Deno's own sockets: auto is TCP and says so, mptcp is refused", async () => {
  const said: string[] = [];
  const onTcpOnly = (why: string): void => {
    said.push(why);
  };
  const hub = new Endpoint({ io: "deno", transport: "auto", onTcpOnly });
  const box = new Endpoint({ io: "deno", transport: "tcp", onTcpOnly });
  try {
    const session = await box.connect(await hub.listen(ANYWHERE), POLICIES.losslessClient);
    await box.established(session);
    assert.deepEqual(box.transportOf(session), PLAIN);
    assert.deepEqual(said, ["Sessions use TCP, with one path only, as io=deno has no MPTCP"]);
  } finally {
    await box.close();
    await hub.close();
  }
  assert.throws(() => new Endpoint({ io: "deno", transport: "mptcp" }), {
    message: /^Cannot use transport=mptcp .*: current value of io is deno, use --io=libc$/,
  });
});

Deno.test({
  name: "an MPTCP session whose peer goes is told at once, and made anew",
  ignore: NONE,
  fn: async () => {
    await using box = new Ends("auto", "auto");
    const first = new Endpoint({ transport: "auto" });
    const address = await first.listen(ANYWHERE);
    const session = await box.box.connect(address, POLICIES.losslessClient);
    await box.box.established(session);
    const before = box.box.transportOf(session)!;
    await first.close({ tellPeers: false });
    const second = new Endpoint({ transport: "auto" });
    try {
      await second.listen(`${address}`);
      await box.box.established(session);
      while (session.reconnects === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      await box.box.established(session);
      const after = box.box.transportOf(session)!;
      assert.equal(after.transport, "mptcp");
      assert.notEqual(after.token, before.token);
    } finally {
      await second.close();
    }
  },
});

Deno.test({
  name: "a connection that has no path left for two seconds gives way to a new one",
  ignore: NONE,
  fn: async () => {
    await using ends = new Ends("auto", "auto");
    const address = await ends.hub.listen(ANYWHERE);
    const session = await ends.box.connect(address, POLICIES.losslessClient);
    await ends.box.established(session);
    const ended = Promise.withResolvers<string>();
    ends.box.onEvent(({ kind, text }) => kind === "fault" && ended.resolve(text));
    const calls = libc() as unknown as Record<string, (...words: unknown[]) => number>;
    const real = calls.getsockopt!;
    let looks = 0;
    calls.getsockopt = (...words) => {
      const result = real(...words);
      if (words[1] !== 284) return result;
      looks++;
      (words[3] as Int32Array)[20] = 0; // mptcpi_subflows_total
      return result;
    };
    const since = nowMs();
    try {
      assert.equal(await ended.promise, "Connection failed: its last path is gone");
    } finally {
      calls.getsockopt = real;
    }
    assert.ok(nowMs() - since >= 2000);
    assert.ok(looks >= 4 && looks < 16, `${looks} looks at two connections`);
    session.send({ type: 0xfa00 });
    ends.hub.handle(() => {});
    await ends.box.flushed(session);
    assert.equal(session.reconnects, 1);
  },
});

// ---- gateway and hub

const PATH: SessionPath = {
  link: "eth0",
  local: "10.9.1.2:41000",
  remote: "10.9.1.1:3300",
  state: "established",
  backup: false,
  rttMs: 12.34,
  bytesSent: 4_000_000,
  bytesReceived: 9000,
};

interface Running extends AsyncDisposable {
  readonly gateway: SessionStatus;
  readonly hub: SessionStatus;
  readonly said: readonly string[];
}

/** A gateway and a hub as their commands run them, until the session stands; both snapshots. */
async function run(
  hubs: object,
  gateways: object,
  pathsOf?: PathsOf,
): Promise<Running> {
  const from = "test";
  const overrides = (values: object): { path: string; value: unknown; from: string }[] =>
    Object.entries(values).map(([path, value]) => ({ path, value, from }));
  const said: string[] = [];
  const print = (text: string): number => said.push(text);
  const [journal, ours] = [new Journal({ print }), new Journal({ print })];
  const alarms = new Alarms(journal);
  const hubConfig = await loadHubConfig(
    null,
    overrides({ listen: ANYWHERE, status: false, ...hubs }),
  );
  const service = await HubService.open({
    config: hubConfig.config!,
    auth: authNone("mon."),
    journal: ours,
    alarms,
    view: null,
    pathsOf,
  });
  const gatewayConfig = await loadGatewayConfig(
    null,
    overrides({
      hubs: { hq: { addresses: [service.hub.address] } },
      status: false,
      ...gateways,
    }),
  );
  const gateway = await Gateway.open({
    config: gatewayConfig.config!,
    auth: authNone("client.gw1"),
    journal,
    alarms,
    newSpoolId: false,
    pathsOf,
  });
  const sender = gateway.senders.get("hq")!;
  while (sender.state !== "sending") await new Promise((resolve) => setTimeout(resolve, 5));
  return {
    gateway: new GatewaySnapshots(gateway, journal, alarms).take().sessions[0]!,
    hub: new HubSnapshots(service, journal, alarms).take().sessions[0]!,
    said,
    [Symbol.asyncDispose]: async (): Promise<void> => {
      await gateway.stop(nowMs());
      gateway.close();
      await service.close(nowMs());
    },
  };
}

const told = (
  { connection, paths, transport }: SessionStatus,
): Pick<SessionStatus, "connection" | "paths" | "transport"> => ({ transport, connection, paths });

Deno.test({
  name: "by default gateway and hub use MPTCP, and their snapshots tell connection and paths",
  ignore: NONE,
  fn: async () => {
    const asked: number[] = [];
    await using running = await run({}, {}, (token) => {
      asked.push(token);
      return [{ ...PATH }];
    });
    for (const [index, session] of [running.gateway, running.hub].entries()) {
      assert.equal(session.transport, "mptcp");
      assert.match(session.connection!, /^0x[0-9a-f]{8}$/);
      assert.equal(Number(session.connection), asked[index]);
      assert.deepEqual(session.paths, [PATH]);
    }
    assert.ok(!running.said.some((text) => TCP_ONLY.test(text)));
  },
});

Deno.test({
  name: "without a teller of paths, or when it knows none, a snapshot tells the connection alone",
  ignore: NONE,
  fn: async () => {
    await using running = await run({}, {});
    assert.match(running.hub.connection!, /^0x[0-9a-f]{8}$/);
    assert.ok(!("paths" in running.hub) && !("paths" in running.gateway));
    await using blind = await run({}, {}, () => []);
    assert.equal(blind.hub.transport, "mptcp");
    assert.ok(!("paths" in blind.hub) && !("paths" in blind.gateway));
  },
});

Deno.test({
  name: "a hub of TCP: the gateway's snapshot says why it is TCP, and nobody is asked for paths",
  ignore: NONE,
  fn: async () => {
    const asked: number[] = [];
    await using running = await run({ transport: "tcp" }, {}, (token) => (asked.push(token), []));
    assert.deepEqual(told(running.gateway), {
      transport: "tcp: the peer has no MPTCP",
      connection: undefined,
      paths: undefined,
    });
    assert.equal(running.hub.transport, "tcp");
    assert.deepEqual(asked, []);
  },
});

Deno.test("on a kernel without MPTCP gateway and hub work over TCP and the log says so", async () => {
  await withoutMptcp(async () => {
    await using running = await run({}, {});
    assert.equal(running.gateway.transport, "tcp");
    assert.equal(running.hub.transport, "tcp");
    assert.equal(running.said.filter((text) => /Sessions use TCP, with one/.test(text)).length, 2);
  });
});

Deno.test("a session that nothing carries tells no transport", async () => {
  const config = await loadGatewayConfig(null, [
    { path: "hubs", value: { hq: { addresses: ["v2:127.0.0.1:9"] } }, from: "test" },
  ]);
  const journal = new Journal({ print: () => {} });
  const alarms = new Alarms(journal);
  const gateway = await Gateway.open({
    config: config.config!,
    auth: authNone("client.gw1"),
    journal,
    alarms,
    newSpoolId: false,
  });
  const [session] = new GatewaySnapshots(gateway, journal, alarms).take().sessions;
  assert.ok(session !== undefined && !("transport" in session) && !("connection" in session));
  await gateway.stop(nowMs());
  gateway.close();
});

for (const load of [loadGatewayConfig, loadHubConfig]) {
  Deno.test(`${load.name}() takes transport auto and tcp`, async () => {
    const loaded = async (value: unknown): Promise<unknown> =>
      (await load(null, [{ path: "transport", value, from: "test" }])).config?.transport;
    assert.equal((await load(null)).config!.transport, "auto");
    assert.equal(await loaded("tcp"), "tcp");
    for (const wrong of ["mptcp", "TCP", "", null, 262]) {
      assert.equal(await loaded(wrong), undefined, `${wrong}`);
    }
  });
}

// ---- what shows a snapshot

const BACKUP: SessionPath = {
  ...PATH,
  link: "wwan0",
  local: "[2001:db8::2]:41002",
  remote: "[2001:db8::1]:3300",
  backup: true,
  rttMs: 58,
  bytesSent: 1000,
  bytesReceived: 500,
};
const CLOSING: SessionPath = { ...PATH, link: "", state: "closing", local: "10.9.3.2:41004" };

function withPaths(...paths: SessionPath[]): ReturnType<typeof fakeGateway> {
  const snapshot = fakeGateway(100);
  const [first, second] = snapshot.sessions;
  Object.assign(first!, { transport: "mptcp", connection: "0x0000abcd", paths });
  Object.assign(second!, { transport: "tcp: the peer has no MPTCP" });
  return snapshot;
}

Deno.test("top tells what carries a session, and each of its paths beneath it", () => {
  const rows = topRows(statusReport(withPaths(PATH, BACKUP, CLOSING)), null);
  const text = rows.map((row) => row.text);
  const at = text.findIndex((line) => /^hq .* v2:10\.0\.0\.5:3300 {2}mptcp 0x0000abcd$/.test(line));
  assert.ok(at > 0, text.join("\n"));
  assert.match(
    text[at + 1]!,
    /^ {2}eth0 +active +12\.3 ms 3\.8 MiB sent, 8\.8 KiB received, 10\.9\.1\.2:41000 -> 10\.9\.1\.1:3300$/,
  );
  assert.match(text[at + 2]!, /^ {2}wwan0 +backup +58\.0 ms .* \[2001:db8::2\]:41002 -> /);
  assert.match(text[at + 3]!, /^ {2}- +closing /);
  assert.deepEqual(rows.slice(at, at + 4).map(({ style }) => style), [
    "plain",
    "plain",
    "plain",
    "warn",
  ]);
  assert.match(text[at + 4]!, /^archive .* {2}tcp: the peer has no MPTCP$/);
});

Deno.test("metrics count the paths that are up, and the bytes of each without ports", () => {
  const again = { ...PATH, local: "10.9.1.2:41999", bytesSent: 5 };
  const lines = metricsText(withPaths(PATH, BACKUP, CLOSING, again)).split("\n");
  const sample = (name: string): string[] => lines.filter((line) => line.startsWith(`${name}{`));
  assert.deepEqual(sample("fairlead_session_paths"), ['fairlead_session_paths{session="hq"} 3']);
  const first = 'session="hq",link="eth0",local="10.9.1.2",remote="10.9.1.1"';
  const name = "fairlead_session_path_sent_bytes_total";
  assert.ok(lines.includes(`# TYPE ${name} counter`));
  assert.deepEqual(sample(name), [
    `${name}{${first}} 4000005`,
    `${name}{session="hq",link="wwan0",local="[2001:db8::2]",remote="[2001:db8::1]"} 1000`,
    `${name}{session="hq",link="",local="10.9.3.2",remote="10.9.1.1"} 4000000`,
  ]);
  assert.equal(sample("fairlead_session_path_received_bytes_total").length, 3);
  assert.ok(!metricsText(fakeGateway(100)).includes("fairlead_session_path"));
});

Deno.test("paths with hostile names break neither terminal nor metrics", () => {
  const evil = `${HOSTILE_NAME}\u001b]0;owned\u0007`;
  const path = { ...PATH, link: evil, local: evil, remote: evil, state: evil };
  const snapshot = withPaths(path);
  for (const { text } of topRows(statusReport(snapshot), null)) {
    // deno-lint-ignore no-control-regex -- these are what must not be there
    assert.doesNotMatch(text, /[\x00-\x1f\x7f-\x9f]/);
  }
  for (const line of metricsText(snapshot).split("\n")) {
    assert.match(line, /^(#.*|[a-z_]+(\{.*\})? \S+|)$/);
  }
});

Deno.test("the page's script is one, writes text alone, and has a style for each path", () => {
  new Function(PAGE_SCRIPT); // it parses; tests/interop looks at it in a browser
  assert.doesNotMatch(PAGE_SCRIPT, /innerHTML|insertAdjacentHTML|document\.write/);
  for (const level of ["ok", "backup", "warning"]) {
    assert.ok(PAGE_STYLE.includes(`.paths [data-level="${level}"] .what`), level);
  }
});

Deno.test("a session's own transport is asked of the kernel only when it is told", async () => {
  await using ends = new Ends("auto", "auto");
  const calls = libc() as unknown as Record<string, (...words: unknown[]) => number>;
  const real = calls.getsockopt!;
  const levels: unknown[] = [];
  calls.getsockopt = (...words) => (levels.push(words[1]), real(...words));
  try {
    const address = await ends.hub.listen(ANYWHERE);
    const session: Session = await ends.box.connect(address, POLICIES.losslessClient);
    await ends.box.established(session);
    for (let count = 0; count < 50; count++) session.send({ type: 0xfa00 });
    ends.hub.handle(() => {});
    await ends.box.flushed(session);
    assert.ok(!levels.includes(284), "SOL_MPTCP on the way of frames");
    ends.box.transportOf(session);
    assert.equal(levels.includes(284), !NONE);
  } finally {
    calls.getsockopt = real;
  }
});
