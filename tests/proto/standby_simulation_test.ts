/**
 * Chaos from seeds that are printed when they fail: at no instant two boxes can send, terms never go
 * back, no box goes on with numbers that are behind or without an entry that was acknowledged
 * (standby_data.ts), and when all is well again one box is active.
 */
import assert from "node:assert/strict";
import { type AloneRule, PairData } from "./standby_data.ts";
import { type Link, World } from "./standby_world.ts";

const SEEDS = Number(Deno.env.get("FAIRLEAD_SEEDS") ?? 1000);
const LINKS: readonly Link[] = ["ab", "aw", "bw"];

/** Something that happens to a pair. */
function disturb(world: World): void {
  const { dice } = world;
  const box = dice.of(world.boxes);
  switch (dice.below(12)) {
    case 0:
    case 1:
      world.setLink(dice.of(LINKS), false, dice.chance(50));
      break;
    case 2:
    case 3:
    case 4:
      for (const link of LINKS) if (dice.chance(60)) world.setLink(link, true, true);
      break;
    case 5:
      world.crash(box);
      break;
    case 6:
    case 7:
      for (const each of world.boxes) if (dice.chance(70)) world.start(each);
      world.startWitness();
      break;
    case 8:
      box.pausedUntilMs = world.nowMs + dice.below(4000);
      break;
    case 9:
      if (dice.chance(40)) world.witness = null;
      else if (dice.chance(50)) world.witnessPausedUntilMs = world.nowMs + dice.below(3000);
      break;
    case 10: {
      const { election } = box;
      if (election === null) break;
      const what = dice.below(3);
      if (what === 0) world.data!.promote(box, dice.chance(20));
      else {world.give(box, (at) => {
          if (what === 1) election.handleDemote(at);
          else election.handleCarrier(dice.chance(50), at);
        });}
      break;
    }
    case 11: // both links of one box
      for (const link of LINKS) if (link.includes(box.name)) world.setLink(link, false, false);
      break;
  }
}

function heal(world: World): void {
  world.lossPercent = 0;
  world.latePercent = 0;
  for (const link of LINKS) {
    world.setLink(link, false, true);
    world.setLink(link, true, true);
  }
  world.witnessPausedUntilMs = -Infinity;
  world.startWitness();
  for (const box of world.boxes) {
    box.pausedUntilMs = -Infinity;
    world.start(box);
    const { election } = box;
    world.give(box, (at) => election!.handleCarrier(true, at));
  }
}

function simulate(seed: number, rule: AloneRule = "next term"): World {
  const world = new World(seed);
  new PairData(world, rule);
  world.coded = seed % 10 === 0;
  world.lossPercent = world.dice.below(4) * 4;
  world.latePercent = world.dice.below(4) * 4;
  world.startWitness();
  for (const box of world.boxes) world.start(box);
  if (world.dice.chance(70)) world.run(4000);
  for (let turn = 0; turn < 60; turn++) {
    disturb(world);
    world.run(world.dice.below(700));
  }
  heal(world);
  world.run(15_000);
  assert.equal(world.senders().length, 1, `after the chaos: ${world.roles()}`);
  const active = world.senders();
  for (let turn = 0; turn < 20; turn++) {
    world.run(100);
    assert.equal(world.senders(), active, "the active box changes without a reason");
  }
  assert.deepEqual(world.roles().split(" ").sort(), ["active", "standby"]);
  const standby = world.boxes.find(({ election }) => election!.role === "standby")!;
  assert.ok(standby.election!.ready, "the standby has got no snapshot");
  return world;
}

Deno.test("auto: never two senders, nothing lost, and one again when all is well", () => {
  let opened = 0;
  let alone = 0;
  let together = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    try {
      const { data, takers } = simulate(seed);
      opened += takers.size;
      alone += data!.alone;
      together += data!.together;
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
  assert.ok(opened > 2 * SEEDS, "the simulation changes the active box");
  assert.ok(alone > 50 * SEEDS && together > 50 * SEEDS, `${alone} ${together}`);
});

Deno.test("without a witness and without force: never two senders, nothing lost, whatever is promoted", () => {
  const manual = { mode: "standby", witness: false } as const;
  let taken = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const mode = seed % 2 === 0 ? "active" : "standby";
    const world = new World(seed, { ...manual, mode }, manual);
    const { dice } = world;
    try {
      world.lossPercent = dice.below(4) * 3;
      world.latePercent = dice.below(4) * 3;
      const data = new PairData(world);
      for (const box of world.boxes) world.start(box);
      world.run(6000);
      for (let turn = 0; turn < 60; turn++) {
        for (const box of world.boxes) {
          if (box.election !== null && dice.chance(25)) data.promote(box, false);
        }
        disturbManual(world);
        world.run(dice.below(500));
      }
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
    taken += world.takers.size;
  }
  assert.ok(taken > 2 * SEEDS, `${taken} takeovers are too few to tell anything`);
});

function disturbManual(world: World): void {
  const { dice } = world;
  const box = dice.of(world.boxes);
  const { election } = box;
  switch (dice.below(8)) {
    case 0:
      return world.setLink("ab", false, dice.chance(50));
    case 1:
    case 2:
      return world.setLink("ab", true, true);
    case 3:
      return dice.chance(40) ? world.crash(box) : undefined;
    case 4:
    case 5:
      return world.boxes.forEach((each) => world.start(each));
    case 6:
      box.pausedUntilMs = world.nowMs + dice.below(3000);
      return;
    case 7:
      return election === null ? undefined : world.give(box, (at) => {
        if (dice.chance(50)) election.handleDemote(at);
        else election.handleCarrier(dice.chance(50), at);
      });
  }
}

Deno.test("a box that goes on alone in the term of its standby's state loses what it acknowledged", () => {
  let lost = 0;
  for (let seed = 1; seed <= 100; seed++) {
    try {
      simulate(seed, "same term");
    } catch (error) {
      assert.match((error as Error).message, /without what was acknowledged/);
      lost++;
    }
  }
  assert.ok(lost > 10, `${lost} of 100 runs find it`);
});
