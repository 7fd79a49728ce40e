/**
 * Takeovers under load, one after another: what passes meanwhile, what the peer refuses, and when
 * neighbours know. RFC 4303 section 3.3.3 (numbers must not cycle).
 */
import assert from "node:assert/strict";
import { delay } from "../../src/app/delay.ts";
import { Daemon } from "../interop/processes.ts";
import type { Box } from "../interop/xfrm_lab.ts";
import { otherBox, report, type Settings, StandbyBoxes } from "./standby_boxes.ts";
import { assertNumbersRise, Load } from "./standby_load.ts";
import { XfrmClient } from "./xfrm_client.ts";

const boxes = await StandbyBoxes.create();
const { lab } = boxes;
const addresses = await boxes.letBoxesHaveGateway();
const PACKETS_PER_SECOND = 1000;
const ROUNDS = 10;
/** A handover in one processor that three programs share. */
const GAP_MS = 1000;
const NEIGHBOUR_MS = 200;
const THRESHOLD_PACKETS = 64;
/** What an event told waits for so long before it leaves, and in the programs of one processor. */
const FLUSH_MS = 50;

Deno.test("an operator hands over under load; neighbours know it at once", async () => {
  const [tunnel] = await boxes.fresh([{}]);
  await using pair = await boxes.startPair({ addresses });
  const log = `${boxes.directory}/neighbours`;
  const monitor = ["stdbuf", "-oL", "ip", "-ts", "monitor", "neigh"];
  await using neighbours = Daemon.start(lab.within("peer", monitor), log);
  using load = new Load(lab, tunnel!, PACKETS_PER_SECOND);
  await delay(500);
  const before = lab.sequenceErrors("peer");
  for (const box of ["standby", "active", "standby"] as const) {
    const { inMs, lostIn, outMs } = await load.during(() => pair.of(box).promote());
    report(
      `handover to ${box}: nothing out for ${outMs | 0} ms, in for ${
        inMs | 0
      } ms, lost in ${lostIn}, ` +
        `takeover ${(await pair.of(box).status()).takeoverMs | 0} ms`,
    );
    assert.ok(outMs < GAP_MS && inMs < GAP_MS);
    await pair.of(otherBox(box)).until("it follows", ({ ready }) => ready);
    const activeMs = pair.of(box).loggedAt("This box is active");
    for (const version of [4, 6] as const) {
      const line = neighbours.output().split("\n").find((line) =>
        line.includes(` ${lab.gateway(version)} `) && line.includes(lab.mac(box)) &&
        stampOf(line) > activeMs - NEIGHBOUR_MS
      );
      assert.ok(line !== undefined, neighbours.output());
      report(`neighbour of ${lab.gateway(version)}: ${stampOf(line) - activeMs} ms`);
      assert.ok(stampOf(line) <= activeMs + NEIGHBOUR_MS, line);
    }
  }
  assert.equal(lab.sequenceErrors("peer"), before);
  assertNumbersRise(load);
});

/** Ms since 1970 of a line of `ip -ts`, whose times are those of the machine's zone. */
function stampOf(line: string): number {
  return Date.parse(`${/^\[([^\]]+)\]/.exec(line)?.[1]}`);
}

Deno.test("ten boxes in turn are killed under load: the peer drops nothing, nobody rekeys", async () => {
  const [tunnel] = await boxes.fresh([{}]);
  const settings: Settings = { addresses };
  await using pair = await boxes.startPair(settings);
  const states = await boxes.listed("active", "state");
  using load = new Load(lab, tunnel!, PACKETS_PER_SECOND);
  const before = lab.sequenceErrors("peer");
  let box: Box = "active";
  const gaps: string[] = [];
  let unheardMs = 0;
  for (let round = 0; round < ROUNDS; round++) {
    load.perSecond = PACKETS_PER_SECOND;
    await delay(500);
    const next = otherBox(box);
    const { inMs, outMs } = await load.during(async () => {
      unheardMs += FLUSH_MS + await boxes.lose(pair.of(box));
      await pair.of(next).promote(true);
    });
    const { takeoverMs } = await pair.of(next).status();
    gaps.push(`${outMs | 0}/${inMs | 0}/${takeoverMs | 0}`);
    assert.equal(lab.sequenceErrors("peer"), before, `takeover ${round + 1}`);
    load.perSecond = PACKETS_PER_SECOND / 5; // a program starts so much sooner
    await boxes.putBack(pair, box, settings);
    assert.deepEqual(await boxes.listed(next, "state"), states);
    assert.deepEqual(await boxes.listed(box, "state"), []);
    box = next;
  }
  report(`ms without packets out/in/takeover: ${gaps.join(" ")}`);
  assertNumbersRise(load);
  assert.ok(load.out.arrived > PACKETS_PER_SECOND * ROUNDS / 2);
  using gateway = new XfrmClient(lab.names[box]);
  using peer = new XfrmClient(lab.names.peer);
  await load.rest();
  const id = boxes.id(tunnel!, "out");
  const missing = peer.sa(id).packets - gateway.sa(id).packets;
  const most = ROUNDS * THRESHOLD_PACKETS + unheardMs * PACKETS_PER_SECOND / 1000;
  report(
    `packets that the last box does not know to have been sent: ${missing}, of ${most | 0} at most`,
  );
  assert.ok(missing >= 0 && missing <= most, `${missing} of ${most}`);
});
