/**
 * A gateway whose SAs an IKE daemon makes, strongSwan's charon: they are mirrored and taken over without
 * it, and another charon makes new ones on the box that has taken over, while packets pass.
 */
import assert from "node:assert/strict";
import { delay } from "../../src/app/delay.ts";
import { SaFlag } from "../../src/wire/netlink/xfrm_sa.ts";
import {
  Charon,
  ignoreWithoutStrongswan,
  TUNNEL_CHILD,
  tunnelConfiguration,
} from "../interop/strongswan.ts";
import type { Host, Tunnel } from "../interop/xfrm_lab.ts";
import { report, StandbyBoxes } from "./standby_boxes.ts";
import { assertNumbersRise, Load } from "./standby_load.ts";
import { saIn, XfrmClient } from "./xfrm_client.ts";

const ignore = await ignoreWithoutStrongswan();
const boxes = await StandbyBoxes.create();
const { lab } = boxes;
const addresses = await boxes.letBoxesHaveGateway();
const PACKETS_PER_SECOND = 1000;
/** The peer drops the old SAs before the box has the new ones: a tenth of a second is plenty. */
const LOST_MAX = PACKETS_PER_SECOND / 10;
const KINDS: { esp: string; esn: boolean; tunnel: Tunnel }[] = [
  { esp: "aes128gcm16-esn", esn: true, tunnel: { number: 201 } },
  { esp: "aes128-sha256-noesn", esn: false, tunnel: { number: 202 } },
  { esp: "aes128-sha256-esn", esn: true, tunnel: { number: 203, version: 6 } },
];

/** Starts charon at one end of a tunnel; with MOBIKE a box without the address would take it along. */
async function startCharon(host: Host, tunnel: Tunnel, esp: string): Promise<Charon> {
  const version = tunnel.version ?? 4;
  const length = version === 6 ? 128 : 32;
  const ends = [
    { address: lab.gateway(version), network: `${lab.inner(tunnel, "gateway")}/${length}` },
    { address: lab.own("peer", version), network: `${lab.inner(tunnel, "peer")}/${length}` },
  ];
  const [near, far] = host === "peer" ? ends.reverse() : ends;
  return await Charon.start({
    namespace: lab.names[host],
    directory: await Deno.makeTempDir({ dir: boxes.directory, prefix: `charon_${host}_` }),
    configuration: tunnelConfiguration({
      local: near!.address,
      remote: far!.address,
      localNetwork: near!.network,
      remoteNetwork: far!.network,
      esp,
      connection: "mobike = no",
    }),
  });
}

Deno.test.each(KINDS)(
  "$esp: SAs of charon go on without it on the other box, where another charon replaces them",
  { ignore },
  async ({ esn, esp, tunnel }) => {
    await boxes.fresh([]);
    await lab.ip("peer", lab.routeLines(tunnel, "peer"));
    for (const box of ["active", "standby"] as const) {
      await lab.ip(box, lab.routeLines(tunnel, "gateway"));
    }
    await using pair = await boxes.startPair({ addresses });
    await using peer = await startCharon("peer", tunnel, esp);
    await using charon = await startCharon("active", tunnel, esp);
    await charon.initiate(TUNNEL_CHILD);
    const [child] = (await charon.list()).flatMap(({ children }) => children);
    await pair.standby.until("it has both SAs", ({ ipsec }) => ipsec!.sas.length === 2);
    await boxes.untilSynced(pair.active);

    using load = new Load(lab, tunnel, PACKETS_PER_SECOND);
    await delay(1000);
    const states = await boxes.listed("active", "state");
    const policies = await boxes.listed("active", "policy");
    const before = lab.sequenceErrors("peer");
    const killed = await load.during(async () => {
      await charon.kill();
      await boxes.lose(pair.active);
      await pair.standby.promote(true);
    });
    report(`${esp}: killed: nothing out for ${killed.outMs | 0} ms, in for ${killed.inMs | 0} ms`);
    assert.deepEqual(await boxes.listed("standby", "state"), states, "no rekey");
    assert.deepEqual(await boxes.listed("standby", "policy"), policies);
    assert.equal(lab.sequenceErrors("peer"), before);
    assertNumbersRise(load);
    using client = new XfrmClient(lab.names.standby);
    const old = client.dump().map(saIn);
    assert.deepEqual(old.map(({ id }) => id.spi).sort(), [child!.spiIn, child!.spiOut].sort());
    for (const { flags } of old) assert.equal((flags & SaFlag.Esn) !== 0, esn);

    load.from = ["standby"];
    await delay(500);
    await using next = await startCharon("standby", tunnel, esp);
    const renewed = await load.during(() => next.initiate(TUNNEL_CHILD));
    report(
      `${esp}: a new IKE_SA: nothing out for ${renewed.outMs | 0} ms, in for ${
        renewed.inMs | 0
      } ms, ` +
        `lost out ${renewed.lostOut}, in ${renewed.lostIn}`,
    );
    await peer.until("the peer drops the old ones", (sas) => sas.length === 1);
    const [young] = (await next.list()).flatMap(({ children }) => children);
    load.look();
    const sent = load.esp.at(-1)!;
    assert.deepEqual([sent.box, sent.packets[0]!.spi], ["standby", young!.spiOut]);
    assert.equal(lab.sequenceErrors("peer"), before);
    const { lostIn, lostOut } = renewed;
    assert.ok(lostOut <= LOST_MAX && lostIn <= LOST_MAX, `${lostOut} ${lostIn}`);
    assertNumbersRise(load);
  },
);
