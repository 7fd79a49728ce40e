/**
 * Role auto with a witness: whatever is cut or killed, one box sends at a time. This kernel has no
 * nftables for IP, so that what stops a box whose program is dead is that it loses the addresses that
 * its tunnels begin at.
 */
import assert from "node:assert/strict";
import { delay } from "../../src/app/delay.ts";
import type { Box, Tunnel } from "../interop/xfrm_lab.ts";
import {
  type BoxProcess,
  type Pair,
  report,
  type Settings,
  StandbyBoxes,
} from "./standby_boxes.ts";
import { assertNumbersRise, Load } from "./standby_load.ts";

const boxes = await StandbyBoxes.create();
const { lab } = boxes;
const PACKETS_PER_SECOND = 500;
const LEASE_MS = 3000;
const settings: Settings = {
  role: "auto",
  witness: boxes.witness,
  leaseMs: LEASE_MS,
  addresses: await boxes.letBoxesHaveGateway(),
};
await boxes.startWitness();

/** A pair of which the box `active` is the active one; each pair has a group of its own. */
async function start(kinds: readonly Partial<Tunnel>[]): Promise<[Tunnel, Pair]> {
  const [tunnel] = await boxes.fresh(kinds);
  const group = `pair-${tunnel!.number}`;
  const pair = await boxes.startPair({ ...settings, group }, { active: { preferred: true } });
  return [tunnel!, pair];
}

/** Boxes in the order in which they sent, and the time between the last of each and the next. */
function turns({ esp }: Load): { box: Box; afterMs: number }[] {
  const turns: { box: Box; afterMs: number }[] = [];
  for (const [index, { atMs, box }] of esp.entries()) {
    const before = esp[index - 1];
    if (box !== before?.box) {
      turns.push({ box, afterMs: before === undefined ? 0 : atMs - before.atMs });
    }
  }
  return turns;
}

async function untilActive(box: BoxProcess): Promise<void> {
  await box.until("it is active", ({ role }) => role === "active", 3 * LEASE_MS);
}

Deno.test("boxes that do not see each other: the one that has the lease sends on, alone", async () => {
  const [tunnel, pair] = await start([{}]);
  await using _ = pair;
  using load = new Load(lab, tunnel, PACKETS_PER_SECOND);
  await boxes.setCable("between", false);
  const { standby } = pair;
  await standby.until("the other box is silent", ({ peer }) => peer.heardMsAgo > LEASE_MS);
  const { role, witness } = await standby.status();
  assert.equal(role, "standby");
  report(`the standby alone asks the witness: ${witness!.refusal}`);
  assert.notEqual(witness!.refusal, "");
  await boxes.setCable("between", true);
  await pair.active.until("the standby is there again", ({ sync }) => sync.synced);
  load.look();
  assert.deepEqual(turns(load).map(({ box }) => box), ["active"]);
  assert.ok(load.out.arrived > PACKETS_PER_SECOND, `${load.out.arrived}`);
  report(`nothing arrived for ${load.out.gapMs | 0} ms at most`);
});

Deno.test("a box whose program is killed stops sending before the other one sends", async () => {
  const [tunnel, pair] = await start([{}]);
  await using _ = pair;
  using load = new Load(lab, tunnel, PACKETS_PER_SECOND);
  await delay(500);
  const before = lab.sequenceErrors("peer");
  const cost = await load.during(async () => {
    await pair.active.stop();
    await untilActive(pair.standby);
  });
  const order = turns(load);
  assert.deepEqual(order.map(({ box }) => box), ["active", "standby"]);
  report(
    `killed, cables as before: nothing out for ${cost.outMs | 0} ms, in for ${
      cost.inMs | 0
    } ms; the other box ` +
      `begins ${order[1]!.afterMs} ms after the last packet`,
  );
  assert.equal(lab.sequenceErrors("peer"), before);
  assertNumbersRise(load);
  pair.replace(await boxes.start("active", { ...settings, group: `pair-${tunnel.number}` }));
  await pair.active.until("it has everything", ({ ready, role }) => ready && role === "standby");
  await delay(300);
  load.look();
  assert.deepEqual(turns(load).map(({ box }) => box), ["active", "standby"]);
  assertNumbersRise(load);
});

Deno.test("a box that loses peer and witness stops; the other one goes on, and it comes back as standby", async () => {
  const [tunnel, pair] = await start([{}]);
  await using _ = pair;
  using load = new Load(lab, tunnel, PACKETS_PER_SECOND);
  await delay(500);
  const before = lab.sequenceErrors("peer");
  const cost = await load.during(async () => {
    await boxes.setCable("active", false);
    await untilActive(pair.standby);
  });
  report(`cut off: nothing out for ${cost.outMs | 0} ms, in for ${cost.inMs | 0} ms`);
  assert.match(pair.active.log(), /Stopped sending: its lease has run out/);
  assert.equal((await pair.active.status()).addresses.taken, false, "it answers for them no more");
  await boxes.setCable("active", true);
  await pair.active.until("it has everything", ({ ready, role }) => ready && role === "standby");
  await delay(300);
  load.look();
  report(`peer drops for numbers: ${lab.sequenceErrors("peer") - before}`);
  assert.deepEqual(turns(load).map(({ box }) => box), ["active", "standby"]);
  assertNumbersRise(load);
});
