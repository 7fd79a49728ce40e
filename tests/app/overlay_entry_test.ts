/** What a manager keeps of its overlays: nothing that a node makes up, and nothing for ever. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { loadManagerConfig } from "../../src/app/config/overlay_manager_config.ts";
import { ControlClient } from "../../src/app/overlay/control_client.ts";
import { ControlDatagrams } from "../../src/app/overlay/control_datagrams.ts";
import { envelope } from "../../src/app/overlay/control_server.ts";
import { ManagerService } from "../../src/app/overlay/manager_service.ts";
import { OverlayEntry, type OverlayMemo } from "../../src/app/overlay/overlay_entry.ts";
import { SignedDatagrams } from "../../src/app/overlay/signed_datagram.ts";
import { Tickets } from "../../src/app/overlay/tickets.ts";
import { Alarms, Journal } from "../../src/app/status/journal.ts";
import type { ManagerEvent } from "../../src/proto/xbone/machine.ts";
import type { Manager } from "../../src/proto/xbone/manager.ts";
import type { AckInvite, Body, LinkState, NodeState } from "../../src/wire/xbone/messages.ts";
import { Pki } from "./overlay_pki.ts";

const EPOCH = "0123456789abcdef";

/** An entry of two nodes, one of them below a sub-manager, and a link between them. */
function entry(): OverlayEntry {
  const visit = (name: string, peer: string, peerNode: string): object => ({
    ...{ name, role: "router", address: "10.0.0.1", network: "field", routes: [] },
    links: [{ name: "l1", peer, peerNode, remote: "192.0.2.2", port: 4789 }],
  });
  const record = {
    order: { name: "field", epoch: EPOCH },
    selected: [
      { node: "gw1", type: "router", sub: "" },
      { node: "om2", type: "meta", sub: "west" },
    ],
    pinned: [{ name: "r1", node: "gw1" }, { name: "west/r2", node: "gw2" }],
    plans: [
      { node: "gw1", associations: [], visits: [visit("r1", "west/r2", "gw2")] },
      { node: "gw2", associations: [], visits: [visit("west/r2", "r1", "gw1")] },
    ],
  };
  const manager = { record, state: "ACTIVE" } as unknown as Manager;
  const memo = { spec: { topology: "line" }, digest: "", sinceMs: 0 };
  return new OverlayEntry(manager, memo as unknown as OverlayMemo);
}

function state(node: string, state: string): NodeState {
  return { node, state, drift: [], rekey: false };
}

function link(node: string, name: string): LinkState {
  const counters = { rxBytes: 1, txBytes: 2, rxPackets: 3, txPackets: 4, errors: 0 };
  return { node, link: name, sent: 3, answered: 3, rttUs: 100, ...counters };
}

Deno.test("links that a node makes up are not kept; ours are, from both ends", () => {
  const one = entry();
  const made = Array.from({ length: 1000 }, (_, at) => link("gw1", `x${at}`));
  one.probes = 3;
  const links = [...made, link("gw1", "l1"), link("gw2", "l1"), link("gw3", "l1")];
  one.handle({ event: "status", status: { nodes: [], links } }, 7);
  const [first, ...more] = one.view().links;
  assert.equal(more.length, 0);
  assert.deepEqual([first!.sent, first!.answered, first!.rttUs], [6, 6, 100]);
  assert.equal(one.view().probedMs, 7);
});

Deno.test("a node that is silent to a status is silent, until it answers", () => {
  const one = entry();
  const silent = (): boolean[] => one.view().nodes.map((node) => node.silent);
  one.handle({ event: "status", status: { nodes: [state("gw1", "SILENT")], links: [] } }, 0);
  assert.deepEqual(silent(), [true, false]);
  one.handle({ event: "refreshed", nodes: [state("gw1", "ACTIVE")] }, 0);
  assert.deepEqual(silent(), [false, false]);
});

Deno.test("the sub-managers that a box answers through are known", () => {
  const one = entry();
  assert.deepEqual(one.managersOf("gw2"), ["om2"]);
  assert.deepEqual(one.managersOf("gw1"), []);
});

Deno.test("who waits for an event gets it once, and who gave up is forgotten", async () => {
  const one = entry();
  let asked = 0;
  const wanted = ({ event }: ManagerEvent): boolean => {
    asked++;
    return event === "gone";
  };
  const late = new AbortController();
  void one.when(wanted, late.signal);
  late.abort();
  const waited = one.when(wanted);
  one.handle({ event: "silent", node: "gw1" }, 0);
  one.handle({ event: "gone", orphans: ["gw1"] }, 0);
  one.handle({ event: "gone", orphans: [] }, 0);
  assert.deepEqual(await waited, { event: "gone", orphans: ["gw1"] });
  assert.equal(asked, 2);
});

Deno.test("a ticket is answered once; managers only have some, and not without end", () => {
  const tickets = new Tickets();
  const manager = { name: "om1", role: "manager", email: "" } as const;
  let answers = 0;
  const ticket = tickets.take(() => answers++);
  const body = { verb: "ack-stop" } as Body;
  tickets.answer(ticket, body);
  tickets.answer(ticket, body);
  tickets.answer(99, body);
  assert.equal(answers, 1);
  assert.match(
    tickets.refusal({ ...manager, role: "node" })!,
    /om1 has the role node, and only managers/,
  );
  assert.match(tickets.refusal({ ...manager, role: "operator" })!, /om1 has the role operator/);
  assert.equal(tickets.refusal(manager), null);
  for (let count = 0; count < 4096; count++) tickets.take(() => {});
  assert.match(tickets.refusal(manager)!, /4096 requests wait here/);
});

/** A manager on loopback, as a sub-manager too; what it printed. */
async function withManager(
  test: (
    service: ManagerService,
    more: { pki: Pki; lines: string[]; port: number; box: ControlDatagrams },
  ) => Promise<void>,
): Promise<void> {
  await using pki = await Pki.make("overlay CA", Date.now() - 1000);
  await pki.identity("om1", "manager");
  const signers = await Promise.all([
    pki.identity("gw1", "node"),
    pki.identity("op1", "operator"),
    pki.identity("om3", "manager"),
  ]);
  const box = await ControlDatagrams.open({
    ...{ host: "127.0.0.1", port: 0, group: null, interface: "" },
    signed: new SignedDatagrams(signers[0]!),
    onMessage: ({ body, sequence }, _signer, from) => {
      const [host, port] = from.split(":");
      const { application, epoch, level, name, version } = body;
      const ack: AckInvite = {
        ...{ application, epoch, level, name, version, verb: "ack-invite", type: "router" },
        ...{ hostname: "gw1", ipaddr: "127.0.0.1", port: 265, os: "linux", mtu: 1500 },
        ...{ capabilities: [], free: 8, guests: [] },
      };
      for (const [at, each] of others.entries()) {
        each.send(envelope(sequence + at, ack), host!, Number(port), 0);
      }
    },
    onRefused: () => {},
  });
  const silent = { onMessage: (): void => {}, onRefused: (): void => {} };
  const others = [
    box,
    ...await Promise.all(
      signers.slice(1).map((identity) =>
        ControlDatagrams.open({
          ...{ host: "127.0.0.1", port: 0, group: null, interface: "", ...silent },
          signed: new SignedDatagrams(identity),
        })
      ),
    ),
  ];
  const port = await freePort();
  const members = {
    identity: { certificate: "om1.pem", key: "om1.key", ca: "ca.pem" },
    listen: `127.0.0.1:${port}`,
    group: false,
    interface: "127.0.0.1",
    nodes: [`127.0.0.1:${box.port}`],
    above: `239.255.2.67:${port}`,
    rings: [1],
    timers: { invite: 300 },
    state: `${pki.dir}/state`,
  };
  const { dir } = pki;
  const { certificate, key, ca } = members.identity;
  const identity = {
    certificate: `${dir}/${certificate}`,
    key: `${dir}/${key}`,
    ca: `${dir}/${ca}`,
  };
  const overrides = Object.entries({ ...members, identity }).map(([path, value]) => (
    { path, value, from: "test" }
  ));
  const { config } = await loadManagerConfig(null, overrides);
  assert.ok(config !== null);
  const lines: string[] = [];
  const journal = new Journal({ print: (line) => void lines.push(line), times: false });
  try {
    const service = await ManagerService.open({ config, journal, alarms: new Alarms(journal) });
    try {
      await test(service, { pki, lines, port, box });
    } finally {
      await service.close();
    }
    await Deno.writeTextFile(`${dir}/state/records/field%2F1.json`, '{"state": "ACTIVE"}');
    await assert.rejects(
      ManagerService.open({ config, journal, alarms: new Alarms(journal) }),
      /Cannot go on with overlay field\/1 as its record is damaged: .*put back a backup of/,
    );
  } finally {
    for (const each of others) await each.close();
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

Deno.test("a box is who has a node's certificate; a request that of a manager; a damaged record is told", () =>
  withManager(async (service, { lines, pki, port }) => {
    assert.deepEqual((await service.discover()).map(({ node }) => node), ["gw1"]);
    const text = lines.join("\n");
    assert.match(text, /op1 offers to be router, and is operator/);
    assert.match(text, /om3 offers to be router, and is manager/);

    const to = { node: "om1", host: "127.0.0.1", port };
    const stop: Body = {
      ...{ application: "overlay", name: "field", version: "", level: 1, epoch: EPOCH },
      verb: "stop",
    };
    const ask = async (name: string, role: "node" | "operator" | "manager"): Promise<Body> => {
      const client = new ControlClient(await pki.identity(name, role), 1);
      try {
        return await client.request(to, stop, 5000);
      } finally {
        client.close();
      }
    };
    for (const role of ["node", "operator"] as const) {
      const answer = await ask(`x-${role}`, role);
      assert.ok(answer.verb === "nack" && answer.of === "stop", JSON.stringify(answer));
      assert.match(answer.reason, /only managers may ask/);
    }
    assert.equal((await ask("om4", "manager")).verb, "ack-stop");
  }));
