/** The laboratory of a gateway of two boxes: its tunnels carry traffic, and replays are refused. */
import assert from "node:assert/strict";
import { type Tunnel, XfrmLab } from "../interop/xfrm_lab.ts";
import { takeEsp } from "../interop/xfrm_lab.ts";

const TUNNELS: Tunnel[] = [
  { number: 1 },
  { number: 2, cipher: "cbc" },
  { number: 3, esn: true, window: 128 },
  { number: 4, version: 6 },
  { number: 5, version: 6, cipher: "cbc", esn: true, window: 64 },
];

Deno.test("tunnels of every kind carry traffic both ways, and old packets are refused", async (t) => {
  await using lab = await XfrmLab.create();
  await lab.addTunnels(TUNNELS);
  for (const tunnel of TUNNELS) {
    await t.step(JSON.stringify(tunnel), () => {
      using traffic = lab.traffic(tunnel);
      using tap = lab.tap("active");
      assert.deepEqual([traffic.out(5), traffic.in(7)], [5, 7]);
      const packets = takeEsp(tap);
      assert.equal(packets.length, 12);
      assert.deepEqual(packets.slice(5).map(({ sequence }) => sequence), [1, 2, 3, 4, 5, 6, 7]);
      assert.ok(packets.slice(5).every(({ spi }) => spi === lab.spi(tunnel, "in")));
      const before = lab.sequenceErrors("active");
      lab.replay(tap, packets.at(-1)!, "active");
      assert.equal(lab.sequenceErrors("active"), before + 1);
    });
  }
});
