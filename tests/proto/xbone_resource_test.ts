/** Many overlays at one box, and who gets in: src/proto/xbone/resource.ts. @module */
import assert from "node:assert/strict";
import type { Acl, Offer } from "../../src/proto/xbone/machine.ts";
import type { Body, Invite, SubNeed } from "../../src/wire/xbone/messages.ts";
import {
  answers,
  boxIn,
  COMMON,
  config,
  invite,
  kinds,
  nack,
  need,
  plan,
  Rig,
} from "./xbone_responder_rig.ts";

const REFUSED: readonly {
  what: string;
  why: string;
  body: Partial<Invite>;
  offer?: Partial<Offer>;
}[] = [
  { what: "that came by this node", why: "loop", body: { path: ["om", "box"] } },
  { what: "of level 9", why: "level", body: { level: 9 } },
  { what: "for a name that leads out", why: "name", body: { name: "../../etc" } },
  { what: "for a name that no file can have", why: "name", body: { name: "\u4e16".repeat(255) } },
  {
    what: "for another operating system",
    why: "os",
    body: { host: { count: 1, os: ["freebsd"] }, router: { count: 1, os: ["freebsd"] } },
  },
  {
    what: "for hosts to a router",
    why: "role",
    body: { router: { count: 0, os: ["any"] } },
    offer: { type: "router" },
  },
  {
    what: "for boxes to a manager",
    why: "role",
    body: {},
    offer: { type: "meta" },
  },
  {
    what: "for managers to a box",
    why: "role",
    body: {
      host: { count: 0, os: ["any"] },
      router: { count: 0, os: ["any"] },
      meta: 1,
      subs: [need("west", 1, 0)],
    },
  },
  {
    what: "for a billion nodes to a manager",
    why: "size",
    body: { meta: 1, subs: [need("west", 1_000_000_000, 0)] },
    offer: { type: "meta" },
  },
  {
    what: "for managers below managers without end",
    why: "size",
    body: {
      meta: 1,
      subs: [
        Array.from({ length: 20 }).reduce<SubNeed>(
          (inner) => ({ ...need("west", 0, 0), subs: [inner] }),
          need("west", 1, 0),
        ),
      ],
    },
    offer: { type: "meta" },
  },
  { what: "for des", why: "encryption", body: { encryption: "des" } },
  { what: "for 3des", why: "encryption", body: { encryption: "3des" } },
  { what: "for md5", why: "encryption", body: { encryption: "md5" } },
  {
    what: "for aes-gcm to a box without esp",
    why: "encryption",
    body: { encryption: "aes-gcm" },
    offer: { capabilities: ["vxlan"] },
  },
  {
    what: "for rates to a box without tbf",
    why: "qos",
    body: { qos: true },
    offer: { capabilities: ["vxlan"] },
  },
  {
    what: "for a script to a box without script",
    why: "script",
    body: { script: { name: "a", script: "a.sh", sha256: "" } },
    offer: { capabilities: ["vxlan"] },
  },
  { what: "for dynamic routing", why: "routing", body: { routing: "dynamic" } },
  { what: "to a full box", why: "full", body: {}, offer: { overlaysMax: 0 } },
];

for (const { what, why, body, offer } of REFUSED) {
  Deno.test(`INVITE ${what} is refused: silently, counted, or with the reason`, () => {
    const silent = new Rig({ offer });
    assert.deepEqual(silent.datagram(invite(body)), []);
    assert.deepEqual(silent.resource.counts.refusals, { [why]: 1 });
    assert.deepEqual(silent.resource.list(), []);
    const telling = new Rig({ offer: { ...offer, tellsRefusals: true } });
    const refused = nack(telling.datagram(invite(body)));
    assert.equal(refused.of, "invite");
    assert.equal(refused.node, "box");
    assert.ok(refused.reason.length > 10);
  });
}

Deno.test("INVITE for aes-gcm, rates, a script or dynamic routing is met where there is all of it", () => {
  const capabilities = ["vxlan", "esp", "tbf", "script", "routing-dynamic"];
  const rig = new Rig({ offer: { capabilities } });
  const asked = {
    encryption: "aes-gcm",
    qos: true,
    script: { name: "a", script: "a.sh", sha256: "" },
    routing: "dynamic",
  } as const;
  assert.deepEqual(answers(rig.datagram(invite(asked))), ["ack-invite"]);
});

Deno.test("the access list refuses INVITE, SELECT and CONFIG, each with its reason", () => {
  const denied = new Set<string>();
  const seen: [string, string, number][] = [];
  const acl: Acl = (manager, body, overlays) => {
    seen.push([manager, body.verb, overlays]);
    return denied.has(body.verb) ? `no ${body.verb} for ${manager}` : null;
  };
  const rig = new Rig({ acl, offer: { tellsRefusals: true } });
  denied.add("invite");
  assert.equal(nack(rig.datagram(invite())).reason, "no invite for om");
  assert.equal(rig.resource.counts.refusals.acl, 1);
  denied.clear();
  rig.datagram(invite({ name: "other" }));
  rig.datagram(invite());
  denied.add("select").add("config").add("stop").add("refresh");
  const select = { ...COMMON, verb: "select", type: "host", sub: "", holdMs: 1000 } as const;
  assert.equal(nack(rig.ask(select)).reason, "no select for om");
  denied.delete("select");
  assert.deepEqual(answers(rig.ask(select)), ["ack-select"]);
  assert.equal(nack(rig.ask(config())).reason, "no config for om");
  // Who was let in once may go: nothing must stay because of a list.
  assert.deepEqual(answers(rig.ask({ ...COMMON, verb: "stop" })), ["ack-stop"]);
  assert.deepEqual(seen.map(([, verb, overlays]) => `${verb} ${overlays}`), [
    "invite 0",
    "invite 0",
    "invite 1",
    "select 1",
    "select 1",
    "config 1",
  ]);
});

Deno.test("INVITE never reserves more than the box offers, whoever asks; who goes makes room", () => {
  const rig = new Rig();
  for (const manager of ["om1", "om2", "om3"]) {
    rig.datagram(invite({ name: manager, path: [manager] }), manager);
  }
  assert.equal(rig.resource.list().length, 2);
  assert.equal(rig.resource.counts.refusals.full, 1);
  rig.datagram({ ...COMMON, name: "om1", verb: "release", keep: [] }, "om1");
  const [answer] = rig.datagram(invite({ name: "om3", path: ["om3"] }), "om3");
  assert.ok(answer?.kind === "answer-invite" && answer.body.verb === "ack-invite");
  assert.equal(answer.body.free, 1);
});

Deno.test("INVITE that holds for no time only asks: nothing is reserved, a full box answers too", () => {
  const rig = new Rig({ offer: { overlaysMax: 1 } });
  const asked = invite({
    name: "who",
    holdMs: 0,
    host: { count: 0, os: ["any"] },
    router: { count: 0, os: ["any"] },
  });
  const free = (): number => {
    const [answer] = rig.datagram(asked);
    assert.ok(answer?.kind === "answer-invite" && answer.body.verb === "ack-invite");
    return answer.body.free;
  };
  assert.equal(free(), 1);
  assert.deepEqual(rig.resource.list(), []);
  rig.datagram(invite());
  assert.equal(free(), 0);
});

Deno.test("another manager of the same name and epoch: INVITE is not answered, the rest is refused", () => {
  const rig = boxIn("COMMITTED");
  assert.deepEqual(rig.datagram(invite({ path: ["evil"] }), "evil"), []);
  assert.deepEqual(rig.resource.counts.refusals, { taken: 1 });
  assert.deepEqual(rig.datagram({ ...COMMON, verb: "release", keep: [] }, "evil"), []);
  const bodies: Body[] = [
    { ...COMMON, verb: "select", type: "router", sub: "", holdMs: 1 },
    config(),
    { ...COMMON, verb: "refresh" },
    { ...COMMON, verb: "status", probes: 1, waitMs: 1 },
    { ...COMMON, verb: "stop" },
  ];
  for (const body of bodies) {
    const refused = nack(rig.ask(body, "evil"));
    assert.equal(refused.of, body.verb);
    assert.match(refused.reason, /current value is om/);
  }
  assert.equal(rig.state, "COMMITTED");
});

Deno.test("what its manager says of another level changes nothing", () => {
  const rig = boxIn("COMMITTED");
  const release = { ...COMMON, level: 1, verb: "release", keep: [] } as const;
  assert.deepEqual(rig.datagram(release), []);
  assert.equal(rig.resource.counts.unexpected, 1);
  const refused = nack(rig.ask({ ...COMMON, level: 1, verb: "stop" }));
  assert.match(refused.reason, /Cannot stop at level 1 .* current value is 0/);
  assert.equal(rig.state, "COMMITTED");
});

Deno.test("another epoch of the same name is another overlay", () => {
  const rig = boxIn("COMMITTED");
  const epoch = "ffffffffffffffff";
  assert.match(
    nack(rig.ask({ ...COMMON, epoch, verb: "select", type: "router", sub: "", holdMs: 1 })).reason,
    /stale/,
  );
  assert.deepEqual(answers(rig.ask({ ...COMMON, epoch, verb: "stop" })), ["ack-stop"]);
  assert.equal(rig.state, "COMMITTED");
});

Deno.test("a request by the wrong way is refused and counted, and so is what is no request", () => {
  const rig = boxIn("COMMITTED");
  assert.equal(nack(rig.ask(invite())).of, "invite");
  assert.equal(nack(rig.ask({ ...COMMON, verb: "release", keep: [] })).of, "release");
  assert.equal(nack(rig.ask({ ...COMMON, verb: "ack-stop" })).of, "ack-stop");
  assert.deepEqual(rig.datagram({ ...COMMON, verb: "stop" }), []);
  assert.equal(rig.resource.counts.unexpected, 4);
  assert.equal(rig.state, "COMMITTED");
});

Deno.test("ends of work that nobody has are counted and change nothing", () => {
  const rig = boxIn("COMMITTED");
  assert.deepEqual([...rig.applied(), ...rig.undone(["a"]), ...rig.checked(5)], []);
  rig.resource.handleApplied("other/0", null, rig.nowMs);
  rig.resource.handleUndone("other/0", [], rig.nowMs);
  rig.resource.handleChecked("other/0", 1, [], [], rig.nowMs);
  rig.answer("a", { ...COMMON, verb: "ack-stop" });
  rig.resource.handleUnreachable("a", { ...COMMON, verb: "stop" }, "refused", rig.nowMs);
  assert.deepEqual(rig.drain(), []);
  assert.equal(rig.resource.counts.unexpected, 7);
  assert.equal(rig.state, "COMMITTED");
});

Deno.test("an INVITE that comes after its manager's STOP reserves nothing, for two minutes", () => {
  const rig = boxIn("COMMITTED");
  rig.ask({ ...COMMON, verb: "stop" });
  rig.undone();
  assert.deepEqual(rig.datagram(invite()), []);
  assert.equal(rig.state, "IDLE");
  assert.notDeepEqual(rig.datagram(invite({ name: "other" })), [], "others are answered");
  rig.pass(120_000);
  rig.datagram(invite());
  assert.equal(rig.state, "RESERVE");
});

Deno.test("two overlays at one box do not touch each other", () => {
  const rig = boxIn("ACTIVE");
  const other = { ...COMMON, name: "lab" };
  rig.datagram(invite({ name: "lab" }));
  rig.ask({ ...other, verb: "select", type: "host", sub: "", holdMs: 1000 });
  const [visit] = plan("box", { overlay: "lab" }).visits;
  const apart = { ...visit!, address: "10.101.0.1", prefix: "10.101.0.0/16" };
  rig.ask({ ...config([plan("box", { overlay: "lab", visits: [apart] })]), name: "lab" });
  assert.deepEqual(rig.resource.list().map(({ name, state }) => `${name} ${state}`), [
    "field ACTIVE",
    "lab CONFIGURE",
  ]);
  rig.ask({ ...COMMON, verb: "stop" });
  rig.undone();
  assert.deepEqual(rig.resource.list().map(({ name, state }) => `${name} ${state}`), [
    "lab CONFIGURE",
  ]);
});

for (const record of [null, 7, "{}", {}, { state: "ACTIVE" }, { state: "ACTIVE", common: 5 }]) {
  Deno.test(`a journal that says ${JSON.stringify(record)} is undone`, () => {
    const rig = new Rig();
    rig.resource.restore("field/00112233445566aa", record, rig.nowMs);
    assert.deepEqual(kinds(rig.drain()), ["journal UNDO", "undo"]);
    assert.deepEqual(kinds(rig.undone()), ["journal nothing"]);
  });
}

Deno.test("what is told of an overlay: who holds it, its state, since when, until when", () => {
  const rig = boxIn("ACTIVE");
  rig.pass(1000);
  assert.deepEqual(rig.resource.list(), [{
    key: "field/00112233445566aa",
    name: "field",
    epoch: "00112233445566aa",
    manager: "om",
    state: "ACTIVE",
    type: "router",
    level: 0,
    sinceMs: rig.nowMs - 1000,
    untilMs: rig.nowMs + 59_000,
    digest: config().digest,
    generation: 1,
    drift: [],
    reason: "",
  }]);
});
