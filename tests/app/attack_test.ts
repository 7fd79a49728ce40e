/**
 * Attacks on whole programs over real sockets that have succeeded once: a hub or a listener must
 * outlive them, and a terminal must not obey what a stranger sends.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { newRegion } from "../../src/mem/region.ts";
import { U64 } from "../../src/mem/u64.ts";
import { Endpoint } from "../../src/app/endpoint.ts";
import { loadHubConfig } from "../../src/app/config/hub_config.ts";
import type { Output } from "../../src/app/hub/output.ts";
import { HubService } from "../../src/app/hub/hub_service.ts";
import { authNone } from "../../src/app/auth.ts";
import { FairleadType } from "../../src/app/message_types.ts";
import { printableBytes } from "../../src/app/printable.ts";
import { RecentMessages } from "../../src/app/recent_messages.ts";
import { Alarms, Journal } from "../../src/app/status/journal.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { AuthMode, encodeIdentity } from "../../src/wire/cephx/entity_name.ts";
import { AuthMethod, ConMode } from "../../src/wire/msgr2/auth.ts";
import { BANNER_SIZE } from "../../src/wire/msgr2/banner.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { FEATURES_REQUIRED, FEATURES_SUPPORTED } from "../../src/wire/msgr2/features.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { ClientIdent, writeClientIdent } from "../../src/wire/msgr2/ident.ts";
import { PREAMBLE_SIZE, writePreamble } from "../../src/wire/msgr2/preamble.ts";
import { Tag } from "../../src/wire/msgr2/tag.ts";
import { controlFrame, RawPeer } from "../proto/raw_peer.ts";
import { Fairlead, group } from "./fairlead.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const FILES_MAX = 96;
const MIB = 1024 * 1024;

/** A client made by hand, up to its CLIENT_IDENT; what is answered is read and dropped. */
async function enter(port: number, id: string): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const name = { type: EntityType.Client, id };
  const identity = encodeIdentity({ mode: AuthMode.Mon, name, globalId: new U64() });
  const ident = new ClientIdent();
  ident.addrs.add(EntityAddr.parse("any:127.0.0.1:0/7"));
  ident.target.copy(EntityAddr.parse(`v2:127.0.0.1:${port}`));
  ident.gid.copy(U64.of(-1));
  ident.globalSeq = 1;
  ident.supported.copy(FEATURES_SUPPORTED);
  ident.required.copy(FEATURES_REQUIRED);
  ident.cookie.copy(U64.of(7));
  for (
    const frame of [
      RawPeer.banner(),
      RawPeer.hello(),
      RawPeer.authRequest(AuthMethod.None, [ConMode.Crc], identity),
      RawPeer.signature(),
      controlFrame(Tag.ClientIdent, (out, at) => writeClientIdent(out, at, ident)),
    ]
  ) await conn.write(frame);
  return conn;
}

/** Seconds of processor time that a process has used. */
function cpuSeconds(pid: number): number {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100; // clock ticks of 10 ms
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function openHub(view: Output | null): Promise<HubService> {
  const { config } = await loadHubConfig(null, [
    { path: "listen", value: "v2:127.0.0.1:0", from: "test" },
    { path: "status", value: false, from: "test" },
  ]);
  assert(config !== null);
  const journal = new Journal({ print: () => {} });
  const alarms = new Alarms(journal);
  return await HubService.open({ config, auth: authNone("mon.hub"), journal, alarms, view });
}

for (const io of ["libc", "deno"]) {
  Deno.test(`${io}: out of file descriptors, a listener waits and goes on`, async () => {
    const words = ["run", "-A", MAIN, "listen", "v2:127.0.0.1:0", "--io", io];
    const child = new Deno.Command("sh", {
      args: ["-c", `ulimit -n ${FILES_MAX}; exec "$@"`, "sh", Deno.execPath(), ...words],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      env: { DENO_NO_UPDATE_CHECK: "1" },
    }).spawn();
    const reader = child.stderr.getReader();
    const conns: Deno.TcpConn[] = [];
    try {
      let told = "";
      while (!told.includes("\n")) told += new TextDecoder().decode((await reader.read()).value);
      const port = Number(group(told, /Listening on v2:127\.0\.0\.1:(\d+)/));
      const open = (): Promise<Deno.TcpConn> => Deno.connect({ hostname: "127.0.0.1", port });
      for (let count = 0; count < FILES_MAX + 40; count++) conns.push(await open());
      await pause(300);
      const before = cpuSeconds(child.pid);
      await pause(1000);
      const used = cpuSeconds(child.pid) - before;
      assert.ok(used < 0.3, `${used} s of processor time in a second of nothing`);
      for (const conn of conns.splice(0)) conn.close();
      const last = await open();
      conns.push(last);
      assert.equal(await last.read(new Uint8Array(BANNER_SIZE)), BANNER_SIZE);
    } finally {
      for (const conn of conns) conn.close();
      child.kill("SIGKILL");
      await child.status;
      await reader.cancel();
    }
  });
}

Deno.test("listen: a name with escapes and newlines forges no line and moves no cursor", async () => {
  await using listen = Fairlead.start("listen", "v2:127.0.0.1:0");
  const port = Number(group(await listen.err.line(/Listening/), /:(\d+) \(/));
  const conn = await enter(port, "x\x1b[2J\nSession with client.admin");
  assert.match(
    await listen.err.line(/Session/),
    /^Session with client\.x\\x1b\[2J\\x0aSession\\x20with\\x20client\.admin stands/,
  );
  conn.close();
});

Deno.test("hub: a frame larger than any of Fairlead's is refused", async () => {
  const service = await openHub(null);
  const { hub } = service;
  const conn = await enter(Number(group(hub.address, /:(\d+)$/)), "gw1");
  const head = newRegion(PREAMBLE_SIZE);
  writePreamble(head, 0, Tag.Message, 41, 60 * MIB, 0, 0);
  await conn.write(head.bytes);
  const buffer = new Uint8Array(4096);
  let count: number | null = 0;
  while (count !== null) count = await conn.read(buffer).catch(() => null);
  conn.close();
  await service.close(0);
});

Deno.test("live view: readings that are no readings are shown, not obeyed", async () => {
  const recent = new RecentMessages();
  const bodies = [
    '{"load":[{"toString":1}]}',
    `{"load":${"[".repeat(20_000)}${"]".repeat(20_000)}}`,
    '{"thermal":[{"type":{"toString":1},"celsius":{"valueOf":1}}]}',
    '{"memory":{"total_bytes":{"valueOf":1,"toString":1}}}',
    '{"network":{"eth0":{"rx_bytes":{"valueOf":1,"toString":1}}}}',
    `{"load":["${"x".repeat(MIB)}"]}`,
  ];
  let taken = 0;
  const view: Output = {
    name: "view",
    required: false,
    counts: recent.counts,
    where: recent.where,
    trouble: "",
    take: (message): void => {
      taken++;
      recent.take(message);
      recent.readings(); // as the live view does four times a second
    },
    flush: () => recent.flush(),
    position: () => null,
    close: () => recent.close(),
  };
  const service = await openHub(view);
  const box = new Endpoint({ auth: authNone("client.box") });
  const session = await box.connect(service.hub.address, POLICIES.losslessClient);
  for (const [index, body] of bodies.entries()) {
    session.send({ type: FairleadType.Reading, front: new TextEncoder().encode(body) });
    await box.flushed(session); // a batch each
    assert.equal(taken, index + 1);
  }
  assert.match(recent.readings()[0]!, /a reading that is no JSON/); // too large to be kept
  await box.close();
  await service.close(0);
});

Deno.test("a line of 8 MiB of escapes costs its bytes and little time", () => {
  const before = Deno.memoryUsage().rss;
  const started = performance.now();
  const shown = printableBytes(new Uint8Array(8 * MIB).fill(0xff));
  assert.ok(performance.now() - started < 2000);
  assert.equal(shown.length, 32 * MIB);
  assert.equal(new TextDecoder().decode(shown.subarray(0, 8)), "\\xff\\xff");
  assert.ok(Deno.memoryUsage().rss - before < 150 * MIB);
});
