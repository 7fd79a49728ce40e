/** Tunnels, routes, rules and rates: as ip(8) asks for them, as the kernel tells of them, cut and flipped. */
import assert from "node:assert/strict";
import { newRegion, type Region } from "../../src/mem/region.ts";
import { Family, formatInet, parseInet } from "../../src/wire/inet.ts";
import { AddressScope, InterfaceAddress, readAddress } from "../../src/wire/netlink/address.ts";
import {
  writeDelLink,
  writeLinkAlias,
  writeLinkInet,
  writeLinkState,
} from "../../src/wire/netlink/link_change.ts";
import { Nlmsg, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import {
  isRoot,
  Qdisc,
  readQdisc,
  writeDelQdisc,
  writeNewTbf,
  writeQdiscDump,
} from "../../src/wire/netlink/qdisc.ts";
import {
  readRoute,
  Route,
  RouteScope,
  RouteType,
  writeDelRoute,
  writeNewRoute,
  writeRouteDump,
  writeRouteLookup,
} from "../../src/wire/netlink/route.ts";
import { writeTaggedAddress } from "../../src/wire/netlink/route_address.ts";
import {
  readRule,
  Rule,
  writeDelRule,
  writeNewRule,
  writeRuleDump,
} from "../../src/wire/netlink/rule.ts";
import {
  readVxlan,
  Vxlan,
  writeNewVxlan,
  writeVxlanRequest,
} from "../../src/wire/netlink/vxlan.ts";
import { assertHardy, type Reader, readWhole, written } from "./kernel_message.ts";
import {
  ADDRESS_TAGGED,
  ASKED,
  LINK_VXLAN,
  LINK_VXLAN6,
  QDISCS,
  ROUTE_FOUND,
  ROUTES,
  RULES,
} from "./rtnetlink_vectors.ts";

const SEQUENCE = 7;
const TABLE = 19900;
const PROTOCOL = 199;

const vxlan = new Vxlan();
const address = new InterfaceAddress();
const route = new Route();
const rule = new Rule();
const qdisc = new Qdisc();
const asVxlan: Reader = (from, message) => readVxlan(from, message, vxlan);
const asAddress: Reader = (from, message) => readAddress(from, message, address);
const asRoute: Reader = (from, message) => readRoute(from, message, route);
const asRule: Reader = (from, message) => readRule(from, message, rule);
const asQdisc: Reader = (from, message) => readQdisc(from, message, qdisc);

function tunnel(name: string, vni: number, local: string, remote: string): Vxlan {
  const made = new Vxlan();
  Object.assign(made, { name, vni, port: 4790, mtu: 1400, family: parseInet(local, made.local) });
  parseInet(remote, made.remote);
  return made;
}

function routeTo(to: string, length: number, more: Partial<Route>, via = "", src = ""): Route {
  const made = new Route();
  parseInet(to, made.destination);
  if (via !== "") parseInet(via, made.gateway);
  if (src !== "") parseInet(src, made.source);
  return Object.assign(made, { length, table: TABLE, protocol: PROTOCOL, ...more });
}

function ruleOf(priority: number, more: Partial<Rule>, from = "", to = ""): Rule {
  const made = new Rule();
  if (from !== "") parseInet(from, made.from);
  if (to !== "") parseInet(to, made.to);
  return Object.assign(made, { priority, table: TABLE, protocol: PROTOCOL, ...more });
}

const ASKING: Record<keyof typeof ASKED, (out: Region, at: number) => number> = {
  vxlan: (out, at) =>
    writeNewVxlan(out, at, SEQUENCE, tunnel("xb00a1f2", 41458, "192.0.2.1", "192.0.2.2")),
  vxlan6: (out, at) =>
    writeNewVxlan(out, at, SEQUENCE, tunnel("xb00a1f3", 41459, "fd00::1", "fd00::2")),
  alias: (out, at) => writeLinkAlias(out, at, SEQUENCE, 2, "xb:demo:a-b"),
  up: (out, at) => writeLinkState(out, at, SEQUENCE, 2, true),
  down: (out, at) => writeLinkState(out, at, SEQUENCE, 2, false),
  linkDel: (out, at) => writeDelLink(out, at, SEQUENCE, 2),
  addressAdd: (out, at) => {
    const made = new InterfaceAddress();
    made.family = parseInet("10.100.0.1", made.local);
    Object.assign(made, { index: 2, prefixLength: 31, scope: AddressScope.Universe });
    return writeTaggedAddress(out, at, SEQUENCE, made);
  },
  routeLink: (out, at) => {
    const more = { type: RouteType.Unicast, scope: RouteScope.Link, index: 2 };
    return writeNewRoute(out, at, SEQUENCE, routeTo("10.100.0.0", 31, more, "", "10.100.0.1"));
  },
  routeVia: (out, at) => {
    const more = { type: RouteType.Unicast, index: 2 };
    const made = routeTo("10.100.0.7", 32, more, "10.100.0.0", "10.100.0.1");
    return writeNewRoute(out, at, SEQUENCE, made);
  },
  routeUnreachable: (out, at) => {
    const more = { type: RouteType.Unreachable, metric: 0xffffffff };
    return writeNewRoute(out, at, SEQUENCE, routeTo("10.100.0.0", 16, more));
  },
  routeDel: (out, at) =>
    writeDelRoute(out, at, SEQUENCE, routeTo("10.100.0.7", 32, { index: 2 }, "10.100.0.0")),
  lookup: (out, at) => {
    const { destination, source } = routeTo("10.100.0.7", 32, {}, "", "10.100.0.1");
    return writeRouteLookup(out, at, SEQUENCE, Family.Inet, destination, source);
  },
  ruleIn: (out, at) => writeNewRule(out, at, SEQUENCE, ruleOf(19100, { device: "xb00a1f2" })),
  ruleFrom: (out, at) =>
    writeNewRule(out, at, SEQUENCE, ruleOf(19200, { fromLength: 32 }, "10.100.0.1")),
  ruleTo: (out, at) =>
    writeNewRule(out, at, SEQUENCE, ruleOf(19316, { toLength: 16 }, "", "10.100.0.0")),
  ruleDel: (out, at) =>
    writeDelRule(out, at, SEQUENCE, ruleOf(19316, { toLength: 16 }, "", "10.100.0.0")),
  qdiscDel: (out, at) => writeDelQdisc(out, at, SEQUENCE, 2),
};

/** Where ours differ: IFA_PROTO, which ip(8) of that version does not know; NLM_F_ACK of a question. */
function expected(what: keyof typeof ASKED): string {
  const asked = ASKED[what];
  if (what === "addressAdd") return asked.replace(/^30/, "38") + "05000b0000000000";
  return what === "lookup" ? asked.replace("1a000100", "1a000500") : asked;
}

Deno.test.each(Object.keys(ASKING) as (keyof typeof ASKED)[])(
  "%s is asked for as ip(8) and tc(8) do",
  (what) => assert.equal(written(ASKING[what]), expected(what)),
);

Deno.test("requests that ip(8) makes otherwise are what the kernel took", () => {
  const nests = "24001a80" + "20000280" + "1c000180";
  const conf = nests + "0800010001000000" + "0800080000000000" + "0800170001000000";
  const inet = Object.assign(new Vxlan(), { index: 2, forwarding: 1, rpFilter: 0, acceptLocal: 1 });
  assert.equal(
    written((out, at) => writeLinkInet(out, at, SEQUENCE, inet)),
    "44000000100005000700000000000000" + "0000000002000000" + "00".repeat(8) + conf,
  );
  assert.equal(
    written((out, at) => writeVxlanRequest(out, at, SEQUENCE, "xb00a1f2")),
    "30000000120005000700000000000000" + "00".repeat(16) + "0d000300786230306131663200000000",
  );
  assert.equal(
    written((out, at) => writeRouteDump(out, at, SEQUENCE, Family.Inet, TABLE, PROTOCOL)),
    "240000001a0001030700000000000000" + "0200000000c7000000000000" + "08000f00bc4d0000",
  );
  assert.equal(
    written((out, at) => writeRouteDump(out, at, SEQUENCE, Family.Inet, 0, 0)),
    "1c0000001a0001030700000000000000" + "020000000000000000000000",
  );
  assert.equal(
    written((out, at) => writeRuleDump(out, at, SEQUENCE, Family.Inet)),
    "1c000000220001030700000000000000" + "020000000000000000000000",
  );
  assert.equal(
    written((out, at) => writeQdiscDump(out, at, SEQUENCE)),
    "24000000260001030700000000000000" + "00".repeat(20),
  );
});

Deno.test("readVxlan() reads both ends, the alias, what IPv4 does, and counters", () => {
  readWhole(LINK_VXLAN, asVxlan);
  const { acceptLocal, alias, flags, forwarding, index, kind, mtu, name, port, vni } = vxlan;
  const { rpFilter } = vxlan;
  assert.deepEqual(
    { acceptLocal, alias, forwarding, index, kind, mtu, name, port, rpFilter, vni },
    {
      ...{
        acceptLocal: 0,
        alias: "xb:demo:a-b",
        forwarding: 1,
        index: 2,
        kind: "vxlan",
        mtu: 1400,
      },
      ...{ name: "xb00a1f2", port: 4790, rpFilter: 2, vni: 41458 },
    },
  );
  assert.equal(flags & 1, 1);
  assert.equal(formatInet(vxlan.family, vxlan.local), "192.0.2.1");
  assert.equal(formatInet(vxlan.family, vxlan.remote), "192.0.2.2");
  // rtnl_link_stats64: packets, bytes, errors, drops, of what is received and of what is sent.
  const counters = [1, 2, 3, 4, 5, 6, 7, 2 ** 33];
  const bytes = Uint8Array.fromHex(LINK_VXLAN);
  const at = LINK_VXLAN.indexOf("cc001700") / 2 + 4;
  const view = new DataView(bytes.buffer);
  counters.forEach((value, of) => view.setBigUint64(at + 8 * of, BigInt(value), true));
  readWhole(bytes.toHex(), asVxlan);
  const { errors, rxBytes, rxPackets, txBytes, txPackets } = vxlan;
  assert.deepEqual([rxPackets, txPackets, rxBytes, txBytes], [1, 2, 3, 4]);
  assert.equal(errors, 5 + 6 + 7 + 2 ** 33);
});

Deno.test("readVxlan() reads IPv6 ends, and leaves nothing of the link before", () => {
  readWhole(LINK_VXLAN, asVxlan);
  readWhole(LINK_VXLAN6, asVxlan);
  assert.equal(formatInet(vxlan.family, vxlan.local), "fd00::1");
  assert.equal(formatInet(vxlan.family, vxlan.remote), "fd00::2");
  assert.deepEqual([vxlan.alias, vxlan.forwarding, vxlan.flags & 1], ["", 0, 0]);
  readWhole("20000000100000000000000000000000" + "00000000" + "05000000" + "00".repeat(8), asVxlan);
  const fresh = new Vxlan();
  fresh.index = 5;
  assert.deepEqual(vxlan, fresh);
});

Deno.test("another kind's data is not read as a tunnel's", () => {
  readWhole(LINK_VXLAN.replace("76786c616e", "67656e6576"), asVxlan);
  assert.deepEqual([vxlan.kind, vxlan.vni], ["genev", -1]);
});

Deno.test("readAddress() reads who gave an address", () => {
  readWhole(ADDRESS_TAGGED, asAddress);
  assert.equal(address.protocol, PROTOCOL);
  readWhole(ADDRESS_TAGGED.replace("05000b00c7", "05000a00c7"), asAddress);
  assert.equal(address.protocol, 0);
});

Deno.test("readRoute() reads tables, gateways, sources and metrics", () => {
  const found = ROUTES.map((hex) => {
    readWhole(hex, asRoute);
    const { family, index, length, metric, mtu, protocol, scope, table, type } = route;
    assert.deepEqual([table, protocol], [TABLE, PROTOCOL]);
    const ends = [route.destination, route.gateway, route.source];
    const [to, via, source] = ends.map((bytes) => formatInet(family, bytes));
    return { to: `${to}/${length}`, via, source, type, scope, index, metric, mtu };
  });
  const none = "0.0.0.0";
  assert.deepEqual(found, [
    {
      ...{ to: "10.100.0.0/31", via: none, source: "10.100.0.1", type: RouteType.Unicast },
      ...{ scope: RouteScope.Link, index: 2, metric: 0, mtu: 0 },
    },
    {
      ...{ to: "10.100.0.0/16", via: none, source: none, type: RouteType.Unreachable },
      ...{ scope: RouteScope.Universe, index: 0, metric: 0xffffffff, mtu: 0 },
    },
    {
      ...{ to: "10.100.0.7/32", via: "10.100.0.0", source: "10.100.0.1", type: 1 },
      ...{ scope: RouteScope.Universe, index: 2, metric: 0, mtu: 1300 },
    },
  ]);
  readWhole(ROUTE_FOUND, asRoute);
  assert.equal(formatInet(route.family, route.gateway), "10.100.0.0");
  assert.deepEqual([route.index, route.mtu], [2, 1300]);
});

Deno.test("readRule() reads what a rule looks at, and its table", () => {
  const found = RULES.map((hex) => {
    readWhole(hex, asRule);
    const { device, from, fromLength, priority, protocol, table, to, toLength } = rule;
    const [source, destination] = [from, to].map((bytes) => formatInet(Family.Inet, bytes));
    return [
      priority,
      table,
      protocol,
      device,
      `${source}/${fromLength}`,
      `${destination}/${toLength}`,
    ];
  });
  const any = "0.0.0.0/0";
  assert.deepEqual(found, [
    [0, 255, 2, "", any, any],
    [19100, TABLE, PROTOCOL, "xb00a1f2", any, any],
    [19200, TABLE, PROTOCOL, "", "10.100.0.1/32", any],
    [19316, TABLE, PROTOCOL, "", any, "10.100.0.0/16"],
    [32766, 254, 2, "", any, any],
    [32767, 253, 2, "", any, any],
  ]);
});

Deno.test("readQdisc() reads rates of 32 and of 64 bits", () => {
  const found = QDISCS.map((hex) => {
    readWhole(hex, asQdisc);
    assert.ok(isRoot(qdisc) && qdisc.kind === "tbf");
    return [qdisc.index, qdisc.rate, qdisc.limit];
  });
  assert.deepEqual(found, [[2, 1_000_000, 100_000], [3, 5_000_000_000, 1_000_000]]);
  readWhole(QDISCS[0].replace("74626600", "66710000"), asQdisc);
  assert.deepEqual([qdisc.kind, qdisc.rate], ["fq", 0]);
});

/** What a writer writes is read as what it was told. */
function readBack(write: (out: Region) => number, read: Reader): void {
  const out = newRegion(512);
  const message = new Nlmsg();
  assert.ok(readNlmsg(out, 0, write(out), message) > 0);
  assert.equal(read(out, message), 0);
}

Deno.test("what is asked for is read back as it was", () => {
  const device = tunnel("xb00a1f3", 41459, "fd00::1", "fd00::2");
  readBack((out) => writeNewVxlan(out, 0, 1, device), asVxlan);
  device.kind = "vxlan";
  assert.deepEqual(vxlan, device);
  const wantedRoute = routeTo("fd00::", 8, { family: Family.Inet6, type: 1, index: 9, metric: 5 });
  readBack((out) => writeNewRoute(out, 0, 1, wantedRoute), asRoute);
  assert.deepEqual(route, wantedRoute);
  const wantedRule = ruleOf(
    1,
    { device: "eth0", fromLength: 8, toLength: 9 },
    "10.0.0.0",
    "1.0.0.0",
  );
  readBack((out) => writeNewRule(out, 0, 1, wantedRule), asRule);
  assert.deepEqual(rule, wantedRule);
  for (const rate of [1, 1_000_000, 0xfffffffe, 0xffffffff, 5_000_000_000]) {
    const wanted = Object.assign(new Qdisc(), { index: 4, rate, limit: 9000 });
    readBack((out) => writeNewTbf(out, 0, 1, wanted, 4000), asQdisc);
    assert.deepEqual([qdisc.index, qdisc.kind, qdisc.rate, qdisc.limit], [4, "tbf", rate, 9000]);
  }
});

Deno.test("every cut and every flipped bit of what the kernel tells is survived", () => {
  const messages: readonly (readonly [string, Reader])[] = [
    ...[LINK_VXLAN, LINK_VXLAN6].map((hex) => [hex, asVxlan] as const),
    [ADDRESS_TAGGED, asAddress],
    ...[...ROUTES, ROUTE_FOUND].map((hex) => [hex, asRoute] as const),
    ...RULES.map((hex) => [hex, asRule] as const),
    ...QDISCS.map((hex) => [hex, asQdisc] as const),
  ];
  for (const [hex, read] of messages) {
    const told = assertHardy(hex, read);
    assert.ok(told.cut > 8, hex);
    assert.ok(told.flipped > 0, hex);
  }
});
