/** Which endpoints the kernel's own path manager gets, keeps, changes and loses. */
import assert from "node:assert/strict";
import {
  type EndpointChange,
  EndpointKeeper,
  ENDPOINTS_MAX,
  type KernelEndpoint,
} from "../../src/proto/mptcp/endpoint_keeper.ts";
import type { Source } from "../../src/proto/mptcp/layout.ts";
import { PathLink } from "../../src/proto/mptcp/links.ts";
import {
  PATH_POLICY_DEFAULTS,
  type PathLayout,
  type PathPolicy,
} from "../../src/proto/mptcp/path_policy.ts";
import { PmFlag } from "../../src/wire/netlink/mptcp_pm.ts";

const { Backup, Fullmesh, Implicit, Signal, Subflow } = PmFlag;

function source(address: string, more: Partial<Source> & { index?: number } = {}): Source {
  const index = more.index ?? 2;
  const link = new PathLink(
    { index, name: `eth${index}`, up: true, loopback: false },
    { count: 0, lostMs: -Infinity },
  );
  return {
    address,
    link,
    role: "primary",
    priority: 100,
    announce: false,
    subflows: 1,
    usable: true,
    ...more,
  };
}

function policy(layout: PathLayout): PathPolicy {
  return { ...PATH_POLICY_DEFAULTS, layout };
}

const MESH = policy("full-mesh");

/** A keeper with a kernel that does what it says, unless told to refuse. */
class Rig {
  readonly keeper = new EndpointKeeper();
  endpoints: KernelEndpoint[] = [];
  /** Addresses that the kernel does not take. */
  readonly refused = new Set<string>();
  #id = 0;

  /** One more endpoint that somebody else made. */
  foreign(address: string, flags: number): KernelEndpoint {
    const endpoint = { id: ++this.#id, address, port: 0, interfaceIndex: 0, flags };
    this.endpoints.push(endpoint);
    return endpoint;
  }

  /** Reconciles, and does what came out; returns it as text. */
  reconcile(rules: PathPolicy, sources: readonly Source[]): string[] {
    return this.#perform(this.keeper.reconcile(rules, sources, this.endpoints));
  }

  release(): string[] {
    return this.#perform(this.keeper.release(this.endpoints));
  }

  addresses(): string[] {
    return this.endpoints.map(({ address }) => address).sort();
  }

  #perform(changes: readonly EndpointChange[]): string[] {
    return changes.map((change) => {
      const { endpoint, kind } = change;
      if (!this.refused.has(endpoint.address)) {
        this.#apply(change);
        this.keeper.handleDone(change);
      }
      const id = kind === "add" ? "" : ` id ${endpoint.id}`;
      const how = kind === "delete" ? "" : ` ${flagsText(endpoint.flags)}`;
      return `${kind} ${endpoint.address} dev ${endpoint.interfaceIndex}${id}${how}`;
    });
  }

  #apply({ endpoint, kind }: EndpointChange): void {
    const at = this.endpoints.findIndex(({ address }) => address === endpoint.address);
    if (kind === "add") {
      assert.ok(this.endpoints.length < ENDPOINTS_MAX, `ERANGE: ${endpoint.address}`);
      if (at >= 0) {
        // One that the kernel made for a join makes room, and nothing else.
        assert.equal(this.endpoints[at]!.flags, Implicit, `EEXIST: ${endpoint.address}`);
        this.endpoints.splice(at, 1);
      }
      assert.equal(endpoint.id, 0, "the kernel chooses the id");
      this.endpoints.push({ ...endpoint, id: ++this.#id });
      return;
    }
    const there = this.endpoints[at]!;
    assert.equal(there.id, endpoint.id, `ENOENT: ${endpoint.id}`);
    if (kind === "delete") this.endpoints.splice(at, 1);
    else this.endpoints[at] = { ...there, flags: endpoint.flags };
  }
}

function flagsText(flags: number): string {
  const names = { Signal, Subflow, Backup, Fullmesh, Implicit };
  return Object.entries(names).filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name.toLowerCase()).join(",");
}

Deno.test("each usable address becomes an endpoint on its link, and then nothing is to be done", () => {
  const rig = new Rig();
  const sources = [source("10.9.1.1", { index: 2 }), source("fd09::1", { index: 3 })];
  assert.deepEqual(rig.reconcile(MESH, sources), [
    "add 10.9.1.1 dev 2 subflow,fullmesh",
    "add fd09::1 dev 3 subflow,fullmesh",
  ]);
  assert.deepEqual(rig.reconcile(MESH, sources), []);
  assert.deepEqual(rig.keeper.left, []);
});

Deno.test("an address that may not be used now is none, and comes when it may", () => {
  const rig = new Rig();
  const idle = source("10.9.1.1", { usable: false });
  assert.deepEqual(rig.reconcile(MESH, [idle]), []);
  assert.deepEqual(rig.reconcile(MESH, [source("10.9.1.1")]), [
    "add 10.9.1.1 dev 2 subflow,fullmesh",
  ]);
  assert.deepEqual(rig.reconcile(MESH, [idle]), ["delete 10.9.1.1 dev 2 id 1"]);
  assert.deepEqual(rig.reconcile(MESH, [source("10.9.1.1")]), [
    "add 10.9.1.1 dev 2 subflow,fullmesh",
  ]);
});

Deno.test.each(
  [
    { layout: "full-mesh", role: "primary", announce: false, flags: Subflow | Fullmesh },
    { layout: "full-mesh", role: "backup", announce: false, flags: Subflow | Fullmesh | Backup },
    { layout: "full-mesh", role: "metered", announce: false, flags: Subflow | Fullmesh | Backup },
    { layout: "full-mesh", role: "primary", announce: true, flags: Subflow | Signal },
    { layout: "full-mesh", role: "backup", announce: true, flags: Subflow | Signal | Backup },
    { layout: "primary-backup", role: "primary", announce: false, flags: Subflow },
    { layout: "primary-backup", role: "primary", announce: true, flags: Subflow | Signal },
    { layout: "primary-backup", role: "backup", announce: false, flags: Subflow | Backup },
    { layout: "primary-backup", role: "metered", announce: true, flags: Subflow | Signal | Backup },
  ] as const,
)("$layout, $role, announce $announce: the flags are $flags", ({
  announce,
  flags,
  layout,
  role,
}) => {
  const keeper = new EndpointKeeper();
  const [change, ...rest] = keeper.reconcile(
    policy(layout),
    [source("10.9.1.1", { announce, role })],
    [],
  );
  assert.deepEqual(rest, []);
  assert.deepEqual(change, {
    kind: "add",
    endpoint: { id: 0, address: "10.9.1.1", port: 0, interfaceIndex: 2, flags },
  });
});

Deno.test("no endpoint is both announced and in a full mesh, which the kernel refuses", () => {
  for (const layout of ["full-mesh", "primary-backup"] as const) {
    for (const role of ["primary", "backup", "metered"] as const) {
      for (const announce of [false, true]) {
        const [change] = new EndpointKeeper()
          .reconcile(policy(layout), [source("10.9.1.1", { announce, role })], []);
        const both = Signal | Fullmesh;
        assert.notEqual(change!.endpoint.flags & both, both, `${layout} ${role} ${announce}`);
      }
    }
  }
});

Deno.test("primary and backup: all of the best priority carry, the others are backups", () => {
  const sources = [
    source("10.9.1.1", { index: 1, priority: 20 }),
    source("10.9.2.1", { index: 2, priority: 10 }),
    source("10.9.3.1", { index: 3, priority: 10 }),
    source("10.9.4.1", { index: 4, priority: 1, role: "backup" }),
  ];
  const rig = new Rig();
  assert.deepEqual(rig.reconcile(policy("primary-backup"), sources), [
    "add 10.9.2.1 dev 2 subflow",
    "add 10.9.3.1 dev 3 subflow",
    "add 10.9.1.1 dev 1 subflow,backup",
    "add 10.9.4.1 dev 4 subflow,backup",
  ]);
  // Both of the best are lost: the next priority carries, and only its flag is changed.
  const [next, , , backup] = sources;
  assert.deepEqual(rig.reconcile(policy("primary-backup"), [next!, backup!]), [
    "delete 10.9.2.1 dev 2 id 1",
    "delete 10.9.3.1 dev 3 id 2",
    "flags 10.9.1.1 dev 1 id 3 subflow",
  ]);
  assert.deepEqual(rig.reconcile(policy("primary-backup"), [backup!]), [
    "delete 10.9.1.1 dev 1 id 3",
  ]);
});

Deno.test("full mesh: priorities make no backups", () => {
  const sources = [source("10.9.1.1", { priority: 1 }), source("10.9.2.1", { priority: 9 })];
  assert.deepEqual(new Rig().reconcile(MESH, sources), [
    "add 10.9.1.1 dev 2 subflow,fullmesh",
    "add 10.9.2.1 dev 2 subflow,fullmesh",
  ]);
});

Deno.test("no layout: nothing is added, and what was added goes", () => {
  const rig = new Rig();
  rig.foreign("10.9.9.9", Signal);
  assert.deepEqual(rig.reconcile(policy("none"), [source("10.9.1.1")]), []);
  rig.reconcile(MESH, [source("10.9.1.1")]);
  assert.deepEqual(rig.reconcile(policy("none"), [source("10.9.1.1")]), [
    "delete 10.9.1.1 dev 2 id 2",
  ]);
  assert.deepEqual(rig.addresses(), ["10.9.9.9"]);
});

Deno.test("more addresses than fit: primary ones first, then by priority, and the others are told", () => {
  const roles = ["metered", "backup", "primary"] as const;
  const sources = Array.from(
    { length: 12 },
    (_, at) => source(`10.9.${at}.1`, { index: at + 1, role: roles[at % 3]!, priority: 100 - at }),
  );
  const rig = new Rig();
  rig.reconcile(MESH, sources);
  assert.equal(rig.endpoints.length, ENDPOINTS_MAX);
  assert.deepEqual(rig.addresses(), [11, 8, 5, 2, 10, 7, 4, 1].map((at) => `10.9.${at}.1`).sort());
  assert.deepEqual(rig.keeper.left, ["10.9.9.1", "10.9.6.1", "10.9.3.1", "10.9.0.1"]);
  assert.deepEqual(rig.reconcile(MESH, sources), []);
  // Room is made: the best of those that were left gets it in the same step.
  assert.deepEqual(rig.reconcile(MESH, sources.filter(({ address }) => address !== "10.9.5.1")), [
    "delete 10.9.5.1 dev 6 id 3",
    "add 10.9.9.1 dev 10 subflow,backup,fullmesh",
  ]);
  assert.deepEqual(rig.keeper.left, ["10.9.6.1", "10.9.3.1", "10.9.0.1"]);
  rig.reconcile(MESH, sources.slice(0, 2));
  assert.deepEqual(rig.keeper.left, []);
});

Deno.test("endpoints of others take room, and a kernel full of them leaves none", () => {
  const rig = new Rig();
  for (let at = 0; at < ENDPOINTS_MAX - 1; at++) rig.foreign(`10.8.${at}.1`, Subflow);
  const sources = [source("10.9.1.1"), source("10.9.2.1")];
  assert.deepEqual(rig.reconcile(MESH, sources), ["add 10.9.1.1 dev 2 subflow,fullmesh"]);
  assert.deepEqual(rig.keeper.left, ["10.9.2.1"]);
  const full = new Rig();
  for (let at = 0; at < ENDPOINTS_MAX; at++) full.foreign(`10.8.${at}.1`, Subflow);
  assert.deepEqual(full.reconcile(MESH, sources), []);
  assert.deepEqual(full.keeper.left, ["10.9.1.1", "10.9.2.1"]);
});

Deno.test("endpoints of others are left alone: wanted or not, whatever their flags", () => {
  const rig = new Rig();
  rig.foreign("10.9.1.1", Subflow | Backup);
  rig.foreign("10.9.9.9", Signal);
  const before = structuredClone(rig.endpoints);
  assert.deepEqual(rig.reconcile(MESH, [source("10.9.1.1")]), []);
  assert.deepEqual(rig.keeper.left, []); // it is there
  assert.deepEqual(rig.reconcile(MESH, []), []);
  assert.deepEqual(rig.reconcile(policy("none"), []), []);
  assert.deepEqual(rig.release(), []);
  assert.deepEqual(rig.endpoints, before);
});

Deno.test("only the backup bit is changed in place, with the id that the kernel gave", () => {
  const rig = new Rig();
  rig.foreign("10.9.9.9", Signal);
  rig.reconcile(MESH, [source("10.9.1.1")]);
  const backup = [source("10.9.1.1", { role: "backup" })];
  assert.deepEqual(rig.reconcile(MESH, backup), [
    "flags 10.9.1.1 dev 2 id 2 subflow,backup,fullmesh",
  ]);
  assert.deepEqual(rig.reconcile(MESH, backup), []);
  assert.deepEqual(rig.reconcile(MESH, [source("10.9.1.1")]), [
    "flags 10.9.1.1 dev 2 id 2 subflow,fullmesh",
  ]);
});

Deno.test("an endpoint whose other flags differ is replaced, also together with the backup bit", () => {
  const rig = new Rig();
  rig.reconcile(MESH, [source("10.9.1.1")]);
  assert.deepEqual(rig.reconcile(MESH, [source("10.9.1.1", { announce: true })]), [
    "delete 10.9.1.1 dev 2 id 1",
    "add 10.9.1.1 dev 2 signal,subflow",
  ]);
  assert.deepEqual(
    rig.reconcile(policy("primary-backup"), [source("10.9.1.1", { role: "backup" })]),
    ["delete 10.9.1.1 dev 2 id 2", "add 10.9.1.1 dev 2 subflow,backup"],
  );
  assert.deepEqual(rig.release(), ["delete 10.9.1.1 dev 2 id 3"]);
});

Deno.test("all eight can be replaced at once, as each goes before it comes", () => {
  const rig = new Rig();
  const sources = Array.from({ length: ENDPOINTS_MAX }, (_, at) => source(`10.9.${at}.1`));
  rig.reconcile(MESH, sources);
  assert.equal(rig.reconcile(policy("primary-backup"), sources).length, 2 * ENDPOINTS_MAX);
  assert.deepEqual(rig.keeper.left, []);
  assert.equal(rig.endpoints.length, ENDPOINTS_MAX);
});

Deno.test("an endpoint that the kernel made in the place of ours becomes ours again", () => {
  const rig = new Rig();
  rig.reconcile(MESH, [source("10.9.1.1")]);
  rig.endpoints = [];
  rig.foreign("10.9.1.1", Implicit); // somebody deleted ours, and a join came to the address
  rig.reconcile(MESH, [source("10.9.1.1")]);
  assert.deepEqual(rig.endpoints.map(({ flags }) => flagsText(flags)), ["subflow,fullmesh"]);
  assert.deepEqual(rig.release().length, 1);
});

Deno.test("an endpoint that somebody else deleted is made anew while it is wanted", () => {
  const rig = new Rig();
  const sources = [source("10.9.1.1"), source("10.9.2.1")];
  rig.reconcile(MESH, sources);
  rig.endpoints = [];
  assert.deepEqual(rig.reconcile(MESH, sources.slice(0, 1)), [
    "add 10.9.1.1 dev 2 subflow,fullmesh",
  ]);
  // The other is forgotten: when somebody makes it again, it is theirs.
  rig.foreign("10.9.2.1", Signal);
  assert.deepEqual(rig.reconcile(MESH, sources), []);
  assert.deepEqual(rig.release(), ["delete 10.9.1.1 dev 2 id 3"]);
  assert.deepEqual(rig.addresses(), ["10.9.2.1"]);
});

Deno.test("what was deleted here is not ours any more when somebody makes it at once", () => {
  const rig = new Rig();
  rig.reconcile(MESH, [source("10.9.1.1")]);
  rig.reconcile(MESH, []);
  rig.foreign("10.9.1.1", Signal);
  assert.deepEqual(rig.reconcile(MESH, [source("10.9.1.1")]), []);
  assert.deepEqual(rig.release(), []);
});

Deno.test("what the kernel refused is not ours, and is tried again", () => {
  const rig = new Rig();
  rig.refused.add("10.9.1.1");
  const wanted = ["add 10.9.1.1 dev 2 subflow,fullmesh"];
  assert.deepEqual(rig.reconcile(MESH, [source("10.9.1.1")]), wanted);
  rig.foreign("10.9.1.1", Subflow); // that is why
  assert.deepEqual(rig.reconcile(MESH, [source("10.9.1.1")]), []);
  assert.deepEqual(rig.release(), []);
  rig.endpoints = [];
  rig.refused.clear();
  assert.deepEqual(rig.reconcile(MESH, [source("10.9.1.1")]), wanted);
  // A delete that was refused is asked for again too.
  rig.refused.add("10.9.1.1");
  const gone = ["delete 10.9.1.1 dev 2 id 2"];
  assert.deepEqual(rig.reconcile(MESH, []), gone);
  assert.deepEqual(rig.reconcile(MESH, []), gone);
});

Deno.test("release takes away all that was added here and is still there, and nothing else", () => {
  const rig = new Rig();
  rig.foreign("10.9.9.9", Signal);
  rig.reconcile(MESH, [source("10.9.1.1"), source("10.9.2.1"), source("10.9.3.1")]);
  rig.endpoints = rig.endpoints.filter(({ address }) => address !== "10.9.2.1");
  assert.deepEqual(rig.release(), ["delete 10.9.1.1 dev 2 id 2", "delete 10.9.3.1 dev 2 id 4"]);
  assert.deepEqual(rig.addresses(), ["10.9.9.9"]);
  assert.deepEqual(rig.release(), []);
});

Deno.test("an address that moved to another link gets a new endpoint", () => {
  const keeper = new EndpointKeeper();
  const [add] = keeper.reconcile(MESH, [source("10.9.1.1", { index: 3 })], []);
  keeper.handleDone(add!);
  const there = { ...add!.endpoint, id: 1 };
  const changes = keeper.reconcile(MESH, [source("10.9.1.1", { index: 7 })], [there]);
  const told = changes.map(({ endpoint, kind }) => `${kind} ${endpoint.interfaceIndex}`);
  assert.deepEqual(told, ["delete 3", "add 7"]);
});

Deno.test("an endpoint that the kernel made itself is replaced, for which there is always room", () => {
  const keeper = new EndpointKeeper();
  const implicit = Array.from({ length: ENDPOINTS_MAX }, (_, at) => ({
    id: at + 1,
    address: `10.9.1.${at + 1}`,
    port: 0,
    interfaceIndex: 0,
    flags: Implicit,
  }));
  const changes = keeper.reconcile(MESH, [source("10.9.1.1")], implicit);
  assert.deepEqual(changes.map(({ kind }) => kind), ["add"]);
});

Deno.test("somebody else's endpoint of the same address, with a port, is left alone", () => {
  const keeper = new EndpointKeeper();
  const [add] = keeper.reconcile(MESH, [source("10.9.1.1")], []);
  keeper.handleDone(add!);
  const own = { ...add!.endpoint, id: 1 };
  const other = { id: 2, address: "10.9.1.1", port: 9000, interfaceIndex: 0, flags: Signal };
  assert.deepEqual(keeper.reconcile(MESH, [source("10.9.1.1")], [own, other]), []);
  assert.deepEqual(keeper.release([own, other]).map(({ endpoint }) => endpoint.id), [1]);
});
