/** What the standby has of the active box's SAs and policies, with real ones of a kernel with ESP. */
import assert from "node:assert/strict";
import { delay } from "../../src/app/delay.ts";
import { XfrmKernel } from "../../src/app/standby/xfrm_kernel.ts";
import type { SaView } from "../../src/proto/xfrm/sa_table.ts";
import { AeFlag } from "../../src/wire/netlink/xfrm.ts";
import { writeAevent } from "../../src/wire/netlink/xfrm_aevent.ts";
import type { Box, Tunnel } from "../interop/xfrm_lab.ts";
import { type BoxProcess, report, StandbyBoxes } from "./standby_boxes.ts";
import { Load, rate } from "./standby_load.ts";
import { aeventOf, saIn, XfrmClient } from "./xfrm_client.ts";

const boxes = await StandbyBoxes.create();
const { lab } = boxes;
const client = new XfrmClient(lab.names.active);
const MARK = 5;
const KINDS: Tunnel[] = [
  { number: 1 },
  { number: 2, cipher: "cbc" },
  { number: 3, esn: true, window: 128 },
  { number: 4, cipher: "cbc", esn: true, window: 64 },
  { number: 5, mark: MARK },
  { number: 6, version: 6 },
  { number: 7, version: 6, cipher: "cbc", esn: true, window: 1024 },
  { number: 8, window: 0 },
];
const LATE: Tunnel[] = [
  { number: 20 },
  { number: 21, cipher: "cbc", esn: true, window: 64 },
  { number: 22, more: ["limit", "byte-hard", "2000"] },
];
const THRESHOLD_PACKETS = 64;
const PACKETS_PER_SECOND = 1000;
/** What moves within a flush, and while both boxes are asked one after the other. */
const BEHIND_MAX = THRESHOLD_PACKETS + PACKETS_PER_SECOND * 0.25;
/** 32 MiB, which the kernel doubles, hold some 80 000 events. */
const FLOOD = 150_000;
/** Nobody needs more: events by time come after 100 ms, and a flush takes 20. */
const FOLLOW_MS = 3000;

function keysOf(tunnels: readonly Tunnel[]): string[] {
  return tunnels.flatMap((tunnel) =>
    (["out", "in"] as const).map((way) => boxes.id(tunnel, way).key())
  ).sort();
}

/** Waits until both boxes have exactly these SAs, all with the same figures. */
async function untilSame(box: BoxProcess, tunnels: readonly Tunnel[]): Promise<void> {
  const wanted = keysOf(tunnels);
  const deadline = performance.now() + FOLLOW_MS;
  for (;;) {
    const rows = await box.diff();
    const same = rows.every(({ differs }) => differs.length === 0);
    if (same && JSON.stringify(rows.map(({ key }) => key).sort()) === JSON.stringify(wanted)) {
      return;
    }
    if (performance.now() > deadline) {
      assert.deepEqual(rows.map(({ key }) => key).sort(), wanted, box.log());
      assert.deepEqual(rows.filter(({ differs }) => differs.length > 0), [], box.log());
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function sysctls(box: Box): string[] {
  return lab.inside(
    box,
    () =>
      ["rseqth", "etime"].map((name) =>
        Deno.readTextFileSync(`/proc/sys/net/core/xfrm_aevent_${name}`).trim()
      ),
  );
}

/** How many SAs of these there are; fails when one has not the thresholds that it should have. */
function thresholds(tunnels: readonly Tunnel[]): number {
  const keys = new Set(keysOf(tunnels));
  const ids = client.dump().map(saIn).filter(({ id }) => keys.has(id.key()));
  for (const { id, replayWindow, replay } of ids) {
    const { replayThreshold, timerThreshold } = client.aevent(id, AeFlag.Rthr | AeFlag.Ethr);
    // One without a window gives no events when it is inbound, and is asked.
    if (replayWindow + replay.window === 0) continue;
    assert.deepEqual([replayThreshold, timerThreshold], [THRESHOLD_PACKETS, 1], id.key());
  }
  return ids.length;
}

function deletions(tunnel: Tunnel): string[] {
  const ends = [lab.gateway(4), lab.own("peer", 4)] as const;
  return (["out", "in"] as const).map((way) => {
    const [src, dst] = way === "out" ? ends : [ends[1], ends[0]];
    return `xfrm state delete src ${src} dst ${dst} proto esp spi ${lab.spi(tunnel, way)}`;
  });
}

/** Writes to SAs that no packet uses, each of which is an event, until no buffer can hold them. */
function flood(count: number): void {
  const kernel = XfrmKernel.open(lab.names.active);
  try {
    const event = aeventOf(boxes.id(KINDS[0]!, "in"));
    event.replayThreshold = THRESHOLD_PACKETS;
    const refused = kernel.batch(
      count,
      (_index, out, at, sequence) => writeAevent(out, at, sequence, 0, event),
    );
    assert.deepEqual(refused, []);
  } finally {
    kernel.close();
  }
}

await boxes.addTunnels(KINDS);
await lab.markIncoming("active", MARK);

Deno.test("the standby follows SAs and policies of every kind", async (t) => {
  const before = sysctls("standby");
  await using pair = await boxes.startPair();
  const { active } = pair;

  await t.step("SAs from before the start are there, of all kinds", async () => {
    await untilSame(active, KINDS);
    const { ipsec } = await pair.standby.status();
    assert.deepEqual(ipsec!.sas.map(({ key }) => key).sort(), keysOf(KINDS));
    assert.equal((await active.status()).ipsec!.policies, KINDS.length * 2);
  });

  for (const tunnel of KINDS) {
    await t.step(`figures follow: ${JSON.stringify(tunnel)}`, async () => {
      using traffic = lab.traffic(tunnel);
      assert.deepEqual([traffic.out(30), traffic.in(20)], [30, 20]);
      await untilSame(active, KINDS);
      const rows = await pair.standby.diff();
      const row = rows.find(({ key }) => key === boxes.id(tunnel, "out").key())!;
      assert.deepEqual([row.here!.oseq, row.there!.oseq, row.here!.packets], [30, 30, 30]);
    });
  }

  await t.step(
    "SAs from before the start tell where they are as often as others, once they have moved",
    () => {
      assert.equal(thresholds(KINDS), KINDS.length * 2);
      assert.deepEqual(sysctls("active"), [`${THRESHOLD_PACKETS}`, "1"]);
    },
  );

  const [late, young, limited] = LATE as [Tunnel, Tunnel, Tunnel];
  await t.step("SAs that are made and rekeyed are followed, and tell where they are", async () => {
    await lab.addTunnels([late]);
    await untilSame(active, [...KINDS, late]);
    assert.equal(thresholds([late]), 2);
    await lab.addTunnels([young]);
    await lab.ip("active", deletions(late));
    await untilSame(active, [...KINDS, young]);
    assert.equal(thresholds([young]), 2);
  });

  await t.step("an SA that reached its limit is gone from both", async () => {
    await lab.addTunnels([limited]);
    await untilSame(active, [...KINDS, young, limited]);
    using traffic = lab.traffic(limited);
    assert.ok(traffic.out(60) < 60, "its limit of bytes");
    const gone = new Set([boxes.id(limited, "out").key()]);
    const left = keysOf([...KINDS, young, limited]).filter((key) => !gone.has(key));
    await active.until("it is gone", ({ ipsec }) => ipsec!.sas.every(({ key }) => !gone.has(key)));
    await pair.standby.until(
      "it is gone",
      ({ ipsec }) =>
        JSON.stringify(ipsec!.sas.map(({ key }) => key).sort()) === JSON.stringify(left),
    );
    await lab.ip("active", deletions(limited).slice(1));
    await untilSame(active, [...KINDS, young]);
  });

  await t.step(
    "under traffic the standby is behind by a threshold at most, and what is on its way",
    async () => {
      using load = new Load(lab, KINDS[0]!, PACKETS_PER_SECOND);
      let most = 0;
      for (let look = 0; look < 20; look++) {
        await delay(100);
        for (const { here, key, there } of await active.diff()) {
          assert.ok(here !== null && there !== null, key);
          most = Math.max(most, here.oseq - there.oseq, here.seq - there.seq);
        }
      }
      report(`behind by ${most} packets at most, at ${rate(load)} packets/s each way`);
      assert.ok(load.out.arrived > 1000, `${load.out.arrived}`);
      assert.ok(most <= BEHIND_MAX, `${most}`);
    },
  );

  await t.step("a standby that does not answer shows as lag, which ends", async () => {
    await untilSame(active, [...KINDS, young]);
    using _load = new Load(lab, KINDS[0]!, PACKETS_PER_SECOND);
    pair.standby.signal("SIGSTOP");
    try {
      const far = ({ lagMs, lagPackets }: SaView): boolean => lagPackets > 200 && lagMs > 200;
      const { ipsec } = await active.until(
        "lag",
        ({ ipsec }) => ipsec!.sas.filter(far).length > 1,
      );
      assert.deepEqual(ipsec!.sas.filter(far).map(({ key }) => key).sort(), keysOf([KINDS[0]!]));
    } finally {
      pair.standby.signal("SIGCONT");
    }
    await active.until("no lag", ({ ipsec }) => ipsec!.sas.every(({ lagMs }) => lagMs < 150));
  });

  await pair.standby.stop("SIGTERM");
  await t.step("a standby that ends puts back how often new SAs tell", () => {
    assert.deepEqual(sysctls("standby"), before);
  });
  const { snapshots } = (await active.status()).sync;
  pair.replace(await boxes.start("standby"));
  await t.step("a standby that was started again gets everything", async () => {
    await pair.standby.until("it has everything", ({ ready }) => ready);
    await untilSame(active, [...KINDS, young]);
    assert.equal((await active.status()).sync.snapshots, snapshots + 1);
  });

  const states = await boxes.listed("active", "state");
  const { term } = await active.status();
  {
    using load = new Load(lab, KINDS[0]!, 200);
    await active.stop();
    pair.replace(await boxes.start("active"));
    await pair.active.until("it is active again", ({ role }) => role === "active");
    await pair.active.until("the standby follows", ({ sync }) => sync.synced);
    await delay(200);
    load.look();
    report(`a killed program that comes back: nothing arrived for ${load.out.gapMs | 0} ms`);
    await t.step("a killed active box goes on with all SAs", async () => {
      assert.deepEqual(await boxes.listed("active", "state"), states);
      assert.equal((await pair.active.status()).term, term + 1);
      assert.equal((await pair.standby.status()).role, "standby");
    });
  }
  await t.step("and they are followed as before", async () => {
    using traffic = lab.traffic(KINDS[2]!);
    assert.deepEqual([traffic.out(30), traffic.in(20)], [30, 20]);
    await untilSame(pair.active, [...KINDS, young]);
  });

  await t.step(
    "events that the kernel had to drop are counted, and everything is read anew",
    async () => {
      assert.equal((await pair.active.status()).ipsec!.overruns, 0);
      const dumps = (await pair.active.status()).ipsec!.dumps;
      using traffic = lab.traffic(KINDS[0]!);
      pair.active.signal("SIGSTOP");
      try {
        flood(FLOOD);
        traffic.out(100);
      } finally {
        pair.active.signal("SIGCONT");
      }
      const { ipsec } = await pair.active.until("an overrun", ({ ipsec }) => ipsec!.overruns > 0);
      assert.ok(ipsec!.dumps > dumps);
      await pair.active.until("the standby follows", ({ sync }) => sync.synced);
      await untilSame(pair.active, [...KINDS, young]);
    },
  );

  await t.step("a policy that was changed is changed at the takeover", async () => {
    const inbound = lab.policyLines(young, "gateway")[1]!;
    await lab.ip("active", [`${inbound.replace("policy add", "policy update")} level use`]);
    await pair.active.until("it is told", ({ sync }) => sync.acked === sync.sent);
    const states = await boxes.listed("active", "state");
    const policies = await boxes.listed("active", "policy");
    assert.ok(policies.some((entry) => entry.includes("level use")));
    await pair.standby.promote();
    assert.deepEqual(await boxes.listed("standby", "state"), states);
    assert.deepEqual(await boxes.listed("standby", "policy"), policies);
    assert.deepEqual(await boxes.listed("active", "state"), []);
    assert.deepEqual(await boxes.listed("active", "policy"), []);
  });
});
