/** The systemd units: what they may do follows from the configuration, and systemd reads them. */
import assert from "node:assert/strict";
import { loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import { loadHubConfig } from "../../src/app/config/hub_config.ts";
import { loadPathsConfig } from "../../src/app/config/paths_file.ts";
import {
  gatewayUnit,
  hubUnit,
  pathsUnit,
  type UnitOptions,
} from "../../src/app/config/systemd_unit.ts";

const OPTIONS: UnitOptions = { configFile: "/etc/fairlead.jsonc", program: ["/bin/true"] };

/** A unit by section and key; a key that stands twice has both values. */
type Unit = Record<string, Record<string, string[]>>;

function parse(text: string): Unit {
  const unit: Unit = {};
  let section = "";
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const head = /^\[(\w+)\]$/.exec(line);
    if (head !== null) unit[section = head[1]!] = {};
    else {
      const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? assert.fail(line);
      (unit[section]![key!] ??= []).push(value!);
    }
  }
  return unit;
}

async function gateway(values: Record<string, unknown>, options = OPTIONS): Promise<string> {
  const { config } = await loadGatewayConfig(null, overrides(values));
  assert.ok(config !== null);
  return gatewayUnit(config, options);
}

async function hub(values: Record<string, unknown>): Promise<string> {
  const { config } = await loadHubConfig(null, overrides(values));
  assert.ok(config !== null);
  return hubUnit(config, OPTIONS);
}

async function daemonOfPaths(paths: Record<string, unknown>, options = OPTIONS): Promise<string> {
  const { config } = await loadPathsConfig(null, overrides({ paths }));
  assert.ok(config !== null);
  return pathsUnit(config, options);
}

function overrides(
  values: Record<string, unknown>,
): { path: string; value: unknown; from: string }[] {
  return Object.entries(values).map(([path, value]) => ({ path, value, from: "test" }));
}

/** The settings of a gateway's service. */
async function service(values: Record<string, unknown>): Promise<Record<string, string[]>> {
  return parse(await gateway(values)).Service!;
}

Deno.test("a plain gateway runs under a passing user, without any capability or device", async () => {
  const unit = parse(await gateway({ state: "/var/lib/fairlead", drainSeconds: 20 }));
  assert.deepEqual(Object.keys(unit), ["Unit", "Service", "Install"]);
  const { Service } = unit;
  const expected = {
    Type: "notify",
    ExecStart: "/bin/true gateway --config /etc/fairlead.jsonc",
    ExecReload: "/bin/kill -HUP $MAINPID",
    WatchdogSec: "30",
    Restart: "always",
    RestartPreventExitStatus: "2",
    TimeoutStopSec: "30",
    DynamicUser: "yes",
    StateDirectory: "fairlead",
    CapabilityBoundingSet: "",
    PrivateDevices: "yes",
    ProtectSystem: "strict",
    ProtectHome: "yes",
    PrivateTmp: "yes",
    LimitNOFILE: "65536",
  };
  for (const [key, value] of Object.entries(expected)) {
    assert.deepEqual(Service![key], [value], key);
  }
  for (const key of ["User", "AmbientCapabilities", "DeviceAllow", "SupplementaryGroups"]) {
    assert.equal(Service![key], undefined, key);
  }
  for (const [key, values] of Object.entries(Service!)) assert.equal(values.length, 1, key);
  assert.equal(Service!.MemoryDenyWriteExecute, undefined, "V8 compiles at run time");
  assert.deepEqual(unit.Unit!.StartLimitIntervalSec, ["0"]);
  assert.deepEqual(unit.Install, { WantedBy: ["multi-user.target"] });
});

Deno.test("a port below 1024 needs one capability; port 0 and 1024 none", async () => {
  const syslog = (listen: string): Record<string, unknown> => ({
    inputs: { a: { type: "syslog", listen } },
  });
  const low = await service(syslog("127.0.0.1:1023"));
  assert.deepEqual(low.AmbientCapabilities, ["CAP_NET_BIND_SERVICE"]);
  assert.deepEqual(low.CapabilityBoundingSet, ["CAP_NET_BIND_SERVICE"]);
  for (const port of [0, 1024]) {
    const high = await service(syslog(`127.0.0.1:${port}`));
    assert.equal(high.AmbientCapabilities, undefined);
  }
  assert.match(await gateway({ "status.listen": "[::1]:80" }), /^AmbientCapabilities=CAP_NET/m);
  assert.match(await hub({ listen: "v2:127.0.0.1:300" }), /^AmbientCapabilities=CAP_NET/m);
});

Deno.test("a serial device is allowed by its driver, so that it may be plugged in again", async () => {
  const devices = async (path: string): Promise<string[] | undefined> => {
    const settings = await service({ inputs: { a: { type: "serial", path } } });
    assert.deepEqual(settings.SupplementaryGroups, ["dialout"]);
    assert.deepEqual(settings.DevicePolicy, ["closed"]);
    assert.equal(settings.PrivateDevices, undefined);
    return settings.DeviceAllow;
  };
  assert.deepEqual(await devices("/dev/ttyUSB0"), ["char-ttyUSB rw"]);
  assert.deepEqual(await devices("/dev/ttyS12"), ["char-ttyS rw"]);
  assert.deepEqual(await devices("/dev/serial/by-id/usb-x"), ["char-ttyUSB rw", "char-ttyACM rw"]);
  assert.deepEqual(await devices("/dev/meter"), ["/dev/meter rw"]);
});

Deno.test("what only some may read needs a user that lasts, and the unit tells how to make it", async () => {
  const secret = await Deno.makeTempFile({ dir: "/tmp" });
  const text = await gateway({
    inputs: { a: { type: "http", tokenFile: secret } },
    state: "/srv/fair lead",
  });
  await Deno.remove(secret);
  const settings = parse(text).Service!;
  assert.deepEqual(settings.User, ["fairlead"]);
  assert.equal(settings.DynamicUser, undefined);
  assert.equal(settings.StateDirectory, undefined);
  assert.deepEqual(settings.ReadWritePaths, ['"/srv/fair lead"']);
  assert.deepEqual(settings.PrivateTmp, ["no"]);
  assert.match(text, /^# {3}useradd --system --home-dir "\/srv\/fair lead" .* fairlead$/m);
  assert.ok(text.includes(`# It must be able to read /etc/fairlead.jsonc, ${secret}\n`));
});

Deno.test("files elsewhere: logs by their group, homes read-only, pipes and archives writable", async () => {
  const log = await service({
    state: "/var/lib/a/b",
    inputs: { a: { type: "file", path: "/var/log/messages" } },
  });
  assert.deepEqual(log.SupplementaryGroups, ["adm"]);
  assert.deepEqual(log.DynamicUser, ["yes"]);
  assert.deepEqual(log.StateDirectory, ["a/b"]);
  const home = await service({
    state: "/var/lib/a",
    inputs: { a: { type: "file", path: "/home/x/y.log" }, b: { type: "fifo", path: "/run/f/in" } },
  });
  assert.deepEqual(home.User, ["fairlead"]);
  assert.deepEqual(home.ProtectHome, ["read-only"]);
  assert.deepEqual(home.RuntimeDirectory, ["f"]);
  const archive = parse(
    await hub({
      state: "/var/lib/h",
      outputs: {
        a: { type: "file", path: "/var/log/fairlead/a.log" },
        b: { type: "file", path: "/var/log/fairlead/b.log" },
        c: { type: "file", path: "/data/c.log" },
      },
    }),
  ).Service!;
  assert.deepEqual(archive.LogsDirectory, ["fairlead"]);
  assert.deepEqual(archive.ReadWritePaths, ["/data"]);
});

Deno.test("words of the command line are quoted as systemd wants them", async () => {
  const unit = await gateway({}, { configFile: '/a b/"$x"\\100%\n.jsonc', program: ["/bin/true"] });
  assert.deepEqual(parse(unit).Service!.ExecStart, [
    '/bin/true gateway --config "/a b/\\"$$x\\"\\\\100%%\\x0a.jsonc"',
  ]);
});

Deno.test("run from its sources it is started by deno, with a directory for compiled code", async () => {
  const unit = parse(await gateway({}, { configFile: null }));
  const [start] = unit.Service!.ExecStart!;
  assert.match(start!, /deno"? run --quiet -A \S+\/src\/main\.ts gateway$/);
  assert.ok(Deno.statSync(start!.split(" ").at(-2)!).isFile);
  assert.deepEqual(unit.Service!.CacheDirectory, ["fairlead-gateway"]);
});

Deno.test("a path from the working directory is told with it", async () => {
  assert.deepEqual((await service({ state: "state" })).WorkingDirectory, [Deno.cwd()]);
  assert.deepEqual((await service({ state: "state" })).ReadWritePaths, [`${Deno.cwd()}/state`]);
  assert.equal((await service({ state: "/state" })).WorkingDirectory, undefined);
});

Deno.test("paths need rights, a socket, and no more", async () => {
  const plain = await service({ paths: {} });
  assert.deepEqual(plain.AmbientCapabilities, ["CAP_NET_ADMIN CAP_SYS_PTRACE"]);
  assert.deepEqual(plain.CapabilityBoundingSet, plain.AmbientCapabilities);
  assert.deepEqual(plain.RuntimeDirectory, ["fairlead"]);
  assert.deepEqual(plain.RuntimeDirectoryPreserve, ["yes"]);
  assert.deepEqual(plain.DynamicUser, ["yes"]);
  assert.deepEqual(plain.ProtectKernelTunables, ["yes"]);
  assert.deepEqual(plain.RestrictNamespaces, ["yes"]);
  assert.match(plain.RestrictAddressFamilies![0]!, /\bAF_NETLINK\b/);
  const closed = await service({ paths: { socket: false, setPmType: true } });
  assert.deepEqual(closed.AmbientCapabilities, ["CAP_NET_ADMIN"]);
  assert.equal(closed.RuntimeDirectory, undefined);
  assert.deepEqual(closed.ProtectKernelTunables, ["no"]);
  const many = await service({ paths: { namespaces: ["a"] }, "status.listen": "127.0.0.1:80" });
  assert.deepEqual(many.AmbientCapabilities, [
    "CAP_NET_BIND_SERVICE CAP_NET_ADMIN CAP_SYS_PTRACE CAP_SYS_ADMIN",
  ]);
  assert.deepEqual(many.RestrictNamespaces, ["net"]);
  for (const key of ["AmbientCapabilities", "RuntimeDirectory"]) {
    assert.equal((await service({ paths: false }))[key], undefined, key);
  }
});

Deno.test("the daemon of paths has a unit of its own, with the rights of a gateway's paths", async () => {
  const text = await daemonOfPaths({ setPmType: true, namespaces: ["a"] });
  assert.match(text, /^# Save as \/etc\/systemd\/system\/fairlead-paths\.service, then:/);
  const { Unit, Service } = parse(text);
  assert.deepEqual(Unit!.Description, ["Fairlead paths daemon"]);
  assert.deepEqual(Service!.ExecStart, [
    "/bin/true paths daemon --config /etc/fairlead.jsonc",
  ]);
  const inGateway = await service({ paths: { setPmType: true, namespaces: ["a"] } });
  for (const [key, values] of Object.entries(inGateway)) {
    if (/^(ExecStart|Type|NotifyAccess|WatchdogSec|TimeoutStopSec)$/.test(key)) continue;
    assert.deepEqual(Service![key], values, key);
  }
  assert.deepEqual([Service!.Type, Service!.WatchdogSec], [["exec"], undefined]); // it tells nobody
  const { Service: fromSources } = parse(await daemonOfPaths({}, { configFile: null }));
  assert.deepEqual(fromSources!.CacheDirectory, ["fairlead-paths"]);
});

Deno.test("a socket of paths elsewhere has a directory that its user can write to", async () => {
  const elsewhere = await service({ paths: { socket: "/srv/fair lead/p.sock" } });
  assert.deepEqual(elsewhere.User, ["fairlead"]);
  assert.deepEqual(elsewhere.ReadWritePaths, ['"/srv/fair lead"']);
  assert.equal(elsewhere.RuntimeDirectory, undefined);
  const beside = await service({
    paths: { socket: "/run/f/p.sock" },
    inputs: { a: { type: "fifo", path: "/run/f/in" } },
  });
  assert.deepEqual(beside.RuntimeDirectory, ["f"]);
  assert.deepEqual((await service({ paths: { socket: "/tmp/p.sock" } })).PrivateTmp, ["no"]);
});

async function hasAnalyze(): Promise<boolean> {
  try {
    return (await new Deno.Command("systemd-analyze", { args: ["--version"] }).output()).success;
  } catch {
    return false;
  }
}

Deno.test({
  name: "systemd-analyze finds no mistake in the units",
  ignore: !await hasAnalyze(),
  async fn(): Promise<void> {
    const directory = await Deno.makeTempDir();
    const units = {
      "fairlead-plain.service": await gateway({ state: "/var/lib/fairlead" }),
      "fairlead-gateway.service": await gateway({
        state: "/srv/a b",
        watchdog: "/dev/null",
        inputs: {
          a: { type: "serial", path: "/dev/ttyUSB0" },
          b: { type: "fifo", path: "/run/fairlead/in" },
          c: { type: "syslog", listen: "0.0.0.0:514" },
          d: { type: "file", path: "relative.log" },
        },
      }, { configFile: '/a b/"$x"\\100%.jsonc', program: ["/bin/true"] }),
      "fairlead-sources.service": await gateway({}, { configFile: null }),
      "fairlead-paths.service": await gateway({
        paths: { setPmType: true, namespaces: ["blue"], socket: "/run/fairlead/paths.sock" },
      }),
      "fairlead-daemon.service": await daemonOfPaths({}),
      "fairlead-hub.service": await hub({
        state: "/var/lib/hub",
        outputs: { a: { type: "file", path: "/var/log/fairlead/a.log" } },
      }),
    };
    try {
      for (const [name, text] of Object.entries(units)) {
        await Deno.writeTextFile(`${directory}/${name}`, text);
      }
      const files = Object.keys(units).map((name) => `${directory}/${name}`);
      const verify = new Deno.Command("systemd-analyze", {
        args: ["verify", "--man=no", "--recursive-errors=no", ...files],
      });
      const { success, stderr } = await verify.output();
      const told = new TextDecoder().decode(stderr).split("\n");
      assert.deepEqual(told.filter((line) => line.includes("fairlead")), []);
      assert.ok(success);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});
