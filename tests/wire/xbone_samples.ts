/**
 * Messages of the X-Bone control protocol for its tests: seeded ones of all kinds, and one of each
 * verb.
 */
import type { Body, Common, Message, SubNeed, SubSpec } from "../../src/wire/xbone/messages.ts";
import type { NodePlan, PlanLink, Visit } from "../../src/wire/xbone/node_plan.ts";

/** Chance that replays: xorshift of 32 bits. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2_654_435_761 + 1) >>> 0 || 1;
  }

  /** 0 to `below` - 1. */
  next(below: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    this.#state >>>= 0;
    return this.#state % below;
  }

  /** One of them. */
  pick<T>(values: readonly T[]): T {
    return values[this.next(values.length)]!;
  }

  /** Up to `max` of them. */
  some<T>(make: () => T, max = 4): T[] {
    return Array.from({ length: this.next(max + 1) }, make);
  }

  /** Or null. */
  maybe<T>(make: () => T): T | null {
    return this.next(2) === 0 ? null : make();
  }

  /** Lower-case digits. */
  hex(digits: number): string {
    return Array.from({ length: digits }, () => this.next(16).toString(16)).join("");
  }
}

const NAMES = [
  "r1",
  "west/r1",
  "a b",
  "it's",
  "back\\slash",
  "(list)",
  "#1",
  '"',
  "XBoneEOC",
  "Zürich",
  "東京 😀",
  "-",
  "x".repeat(255),
];
const ADDRESSES = ["10.0.0.1", "192.0.2.255", "2001:db8::1", "::ffff:10.0.0.1", "::"];
const PREFIXES = ["10.100.0.0/16", "0.0.0.0/0", "2001:db8::/32", "10.0.0.1/32", "::1/128"];

/** A message of any kind whose every value is within its limits. */
export function anyMessage(chance: Chance): Message {
  return {
    protocol: chance.pick(["1.0", "1.7"]),
    release: chance.pick(["0.1.0", "3.2", "a release"]),
    sequence: chance.pick([1, 2, 4_294_967_296, Number.MAX_SAFE_INTEGER]),
    credential: chance.maybe(() => ({
      userName: chance.pick(NAMES),
      userEmail: "yushunwa@isi.edu",
      authType: chance.pick(["x509", "none"]),
    })),
    body: anyBody(chance),
  };
}

function anyBody(chance: Chance): Body {
  const one = (): string => chance.pick(NAMES);
  const orNone = (): string => chance.pick(["", one()]);
  const names = (): string[] => chance.some(one);
  const address = (): string => chance.pick(ADDRESSES);
  const number = (): number => chance.pick([0, 1, 65_535, 2 ** 31 - 1]);
  const common: Common = {
    application: one(),
    name: one(),
    version: orNone(),
    level: chance.next(9),
    epoch: chance.hex(16),
  };
  const type = chance.pick(["host", "router", "meta"] as const);
  const states = () =>
    chance.some(() => ({
      node: one(),
      state: chance.pick(["ACTIVE", "IDLE"]),
      drift: chance.some(() => chance.pick(["", "link a-b is gone", "MTU 1450, not 1400"])),
      rekey: chance.next(2) === 0,
    }));
  switch (chance.next(17)) {
    case 0:
      return {
        verb: "invite",
        ...common,
        host: anyCount(chance),
        router: anyCount(chance),
        meta: chance.next(4),
        subs: chance.some(() => anyNeed(chance, 3), 2),
        routing: chance.pick(["static", "dynamic"]),
        encryption: chance.pick(["none", "aes-gcm", "des+3des", "unspecified"]),
        qos: chance.next(2) === 0,
        script: chance.maybe(() => ({
          name: one(),
          script: "http://example.org/start.sh?a=(b)",
          sha256: chance.pick(["", chance.hex(64)]),
        })),
        ttl: chance.next(256),
        replyTo: chance.pick(["", "10.0.0.1:265", "[2001:db8::1]:65535"]),
        path: names(),
        holdMs: number(),
      };
    case 1:
      return {
        verb: "ack-invite",
        ...common,
        type: chance.pick(["host", "router", "both", "meta"]),
        hostname: one(),
        ipaddr: address(),
        port: 1 + chance.next(65_535),
        os: chance.pick(["linux", "any"]),
        mtu: chance.pick([68, 1500, 65_536]),
        capabilities: chance.some(() => chance.pick(["vxlan", "esp", "tbf"])),
        free: number() % 512,
        guests: names(),
      };
    case 2:
      return { verb: "select", ...common, type, sub: orNone(), holdMs: number() };
    case 3:
      return { verb: "ack-select", ...common, type };
    case 4:
      return { verb: "release", ...common, keep: names() };
    case 5:
      return {
        verb: "dispatch",
        ...common,
        retry: number(),
        createOverlay: anySpec(chance, 3),
      };
    case 6:
      return {
        verb: "ack-dispatch",
        ...common,
        nodes: chance.some(() => ({
          name: one(),
          node: one(),
          hostname: one(),
          ipaddr: address(),
          mtu: 1400,
          capabilities: chance.some(() => "vxlan"),
        })),
      };
    case 7:
    case 16:
      return {
        verb: "config",
        ...common,
        digest: chance.hex(64),
        generation: number(),
        leaseMs: number(),
        plans: chance.some(() => anyPlan(chance)),
      };
    case 8:
      return { verb: "ack-config", ...common, digest: chance.hex(64), generation: number() };
    case 9:
      return { verb: "refresh", ...common };
    case 10:
      return { verb: "ack-refresh", ...common, nodes: states() };
    case 11:
      return { verb: "status", ...common, probes: chance.next(100), waitMs: number() };
    case 12:
      return {
        verb: "ack-status",
        ...common,
        nodes: states(),
        links: chance.some(() => ({
          node: one(),
          link: "a-b",
          sent: number(),
          answered: number(),
          rttUs: number(),
          rxBytes: number(),
          txBytes: Number.MAX_SAFE_INTEGER,
          rxPackets: number(),
          txPackets: number(),
          errors: number(),
        })),
      };
    case 13:
      return { verb: "stop", ...common };
    case 14:
      return { verb: "ack-stop", ...common };
    default:
      return {
        verb: "nack",
        ...common,
        of: chance.pick(["select", "config", "stop", "dance"]),
        node: orNone(),
        step: chance.pick(["", "link a-b (xb00a1f2)"]),
        reason: chance.pick(["", "it's full", one()]),
      };
  }
}

function anyCount(chance: Chance): SubNeed["host"] {
  const on = chance.next(3) === 0 ? { on: ["box1"] } : {};
  return {
    count: chance.pick("on" in on ? [1, 512] : [0, 1, 512]),
    os: chance.some(() => chance.pick(["any", "linux", "freebsd"])),
    ...on,
  };
}

function anyNeed(chance: Chance, levels: number): SubNeed {
  return {
    name: chance.pick(NAMES),
    host: anyCount(chance),
    router: anyCount(chance),
    subs: levels === 0 ? [] : chance.some(() => anyNeed(chance, levels - 1), 2),
  };
}

function anySpec(chance: Chance, levels: number): SubSpec {
  return {
    name: chance.pick(NAMES),
    mode: chance.pick(["control", "stacked"]),
    nodes: chance.some(() => ({
      name: chance.pick(NAMES),
      role: chance.pick(["host", "router"]),
      os: chance.some(() => "linux"),
      on: chance.pick(["", "box1"]),
    })),
    subs: levels === 0 ? [] : chance.some(() => anySpec(chance, levels - 1), 2),
  };
}

/** A plan with a bit of everything. */
export function anyPlan(chance: Chance): NodePlan {
  const one = (): string => chance.pick(NAMES);
  const key = (): string => chance.pick(["", chance.hex(40)]);
  return {
    overlay: one(),
    epoch: chance.hex(16),
    node: one(),
    visits: chance.some(() => anyVisit(chance, chance.next(4), chance.next(6))),
    associations: chance.some(() => ({
      local: chance.pick(ADDRESSES),
      remote: chance.pick(ADDRESSES),
      port: 4789,
      spiIn: 256,
      spiOut: 0xffffffff,
      keyIn: key(),
      keyOut: key(),
    })),
    endpoints: chance.some(() => ({
      address: chance.pick(ADDRESSES),
      flags: chance.some(() => chance.pick(["subflow", "signal", "backup"]), 3),
    })),
    names: chance.some(() => ({ address: chance.pick(ADDRESSES), name: "r1.lab" })),
    peers: chance.maybe(() => ({
      role: chance.pick(["hub", "gateway"]),
      entity: "client.gw1",
      hub: "v2:10.100.0.1:3300",
      keys: chance.some(() => ({
        entity: "client.gw1",
        key: chance.pick(["", "AQAAAAAAAAAAABAAAAECAwQFBgcICQoLDA0ODw=="]),
      })),
    })),
    script: chance.maybe(() => ({
      name: one(),
      script: "start.sh",
      sha256: chance.pick(["", chance.hex(64)]),
      deadlineMs: 30_000,
    })),
  };
}

/** A visit with so many links and routes. */
export function anyVisit(chance: Chance, links: number, routes: number): Visit {
  return {
    name: chance.pick(NAMES),
    network: "lab",
    role: chance.pick(["host", "router"]),
    address: chance.pick(ADDRESSES),
    prefix: chance.pick(PREFIXES),
    links: Array.from({ length: links }, (): PlanLink => ({
      name: chance.pick(NAMES),
      vni: chance.pick([0, 0xffffff]),
      port: 4789,
      local: chance.pick(ADDRESSES),
      remote: chance.pick(ADDRESSES),
      mtu: 1450,
      address: chance.pick(ADDRESSES),
      peerAddress: chance.pick(ADDRESSES),
      peer: chance.pick(NAMES),
      peerNode: "box2",
      rateBits: chance.pick([0, 1e12]),
    })),
    routes: Array.from({ length: routes }, () => ({
      to: chance.pick(PREFIXES),
      via: chance.pick(ADDRESSES),
      link: chance.pick(NAMES),
    })),
  };
}

const COMMON: Common = {
  application: "overlay",
  name: "lab",
  version: "",
  level: 0,
  epoch: "00112233445566aa",
};
const START = "(application overlay)(name lab)(level 0)(epoch 00112233445566aa)";
const DIGEST = "0123456789abcdef".repeat(4);

/** Every row of the catalogue with its exact text: what stands in the list of the body. */
export const CATALOGUE: readonly { readonly body: Body; readonly text: string }[] = [
  {
    body: {
      verb: "invite",
      ...COMMON,
      version: "2",
      host: { count: 2, os: ["any"] },
      router: { count: 1, os: ["linux", "freebsd"] },
      meta: 1,
      subs: [{
        name: "west",
        host: { count: 0, os: [] },
        router: { count: 3, os: ["linux"], on: ["box7", "box9"] },
        subs: [],
      }],
      routing: "static",
      encryption: "aes-gcm",
      qos: true,
      script: { name: "abone", script: "http://a.example/s", sha256: "" },
      ttl: 4,
      replyTo: "10.0.0.1:265",
      path: ["om1"],
      holdMs: 14_000,
    },
    text: "(invite (application overlay)(name lab)(version 2)(level 0)(epoch 00112233445566aa)" +
      "(host 2 any)(router 1 linux freebsd)(meta 1)(sub (name west)(host 0)" +
      "(router 3 linux (on box7 box9)))" +
      "(routing static)(IPsec yes (encryption aes-gcm))(QoS yes)" +
      "(application (name abone)(script http://a.example/s))" +
      "(ttl 4)(reply_to 10.0.0.1:265)(path om1)(hold_ms 14000))",
  },
  {
    body: {
      verb: "ack-invite",
      ...COMMON,
      type: "both",
      hostname: "add.isi.edu",
      ipaddr: "128.9.160.213",
      port: 265,
      os: "linux",
      mtu: 1500,
      capabilities: ["vxlan", "tbf"],
      free: 3,
      guests: ["west"],
    },
    text: `(ack-invite ${START}(type both)(hostname add.isi.edu)(ipaddr 128.9.160.213)(port 265)` +
      "(os linux)(mtu 1500)(capabilities vxlan tbf)(free 3)(guests west))",
  },
  {
    body: { verb: "select", ...COMMON, type: "meta", sub: "west", holdMs: 1 },
    text: `(select ${START}(type meta)(sub west)(hold_ms 1))`,
  },
  {
    body: { verb: "ack-select", ...COMMON, type: "host" },
    text: `(ack-select ${START}(type host))`,
  },
  {
    body: { verb: "release", ...COMMON, keep: ["a", "b"] },
    text: `(release ${START}(keep a b))`,
  },
  {
    body: {
      verb: "dispatch",
      ...COMMON,
      retry: 1,
      createOverlay: {
        name: "west",
        mode: "control",
        nodes: [{ name: "r1", role: "router", os: ["linux"], on: "box1" }],
        subs: [{ name: "deep", mode: "stacked", nodes: [], subs: [] }],
      },
    },
    text: `(dispatch ${START}(retry 1)(create_overlay (name west)(mode control)` +
      "(node (name r1)(role router)(os linux)(on box1))(sub (name deep)(mode stacked))))",
  },
  {
    body: {
      verb: "ack-dispatch",
      ...COMMON,
      nodes: [{
        name: "west/r1",
        node: "box1",
        hostname: "b1",
        ipaddr: "10.0.0.1",
        mtu: 1500,
        capabilities: ["esp"],
      }],
    },
    text: `(ack-dispatch ${START}(node (name west/r1)(node box1)(hostname b1)(ipaddr 10.0.0.1)` +
      "(mtu 1500)(capabilities esp)))",
  },
  {
    body: {
      verb: "config",
      ...COMMON,
      digest: DIGEST,
      generation: 2,
      leaseMs: 60_000,
      plans: [{
        overlay: "lab",
        epoch: COMMON.epoch,
        node: "box1",
        visits: [{
          name: "a",
          network: "lab",
          role: "router",
          address: "10.100.0.1",
          prefix: "10.100.0.0/16",
          links: [{
            name: "a-b",
            vni: 7,
            port: 4789,
            local: "10.0.0.1",
            remote: "10.0.0.2",
            mtu: 1450,
            address: "10.100.128.0",
            peerAddress: "10.100.128.1",
            peer: "b",
            peerNode: "box2",
            rateBits: 1_000_000,
          }],
          routes: [{ to: "10.100.0.2/32", via: "10.100.128.1", link: "a-b" }],
        }],
        associations: [{
          local: "10.0.0.1",
          remote: "10.0.0.2",
          port: 4789,
          spiIn: 256,
          spiOut: 257,
          keyIn: "ab".repeat(20),
          keyOut: "",
        }],
        endpoints: [{ address: "10.100.0.1", flags: ["subflow", "signal"] }],
        names: [{ address: "10.100.0.1", name: "a.lab" }],
        peers: {
          role: "hub",
          entity: "client.a",
          hub: "v2:10.100.0.1:3300",
          keys: [{ entity: "client.a", key: "QUJDREVG" }, { entity: "client.b", key: "" }],
        },
        script: { name: "app", script: "app.sh", sha256: DIGEST, deadlineMs: 5000 },
      }],
    },
    text: `(config ${START}(digest ${DIGEST})(generation 2)(lease_ms 60000)` +
      "(plan (overlay lab)(epoch 00112233445566aa)(node box1)" +
      "(visit (name a)(network lab)(role router)(address 10.100.0.1)(prefix 10.100.0.0/16)" +
      "(link (name a-b)(vni 7)(port 4789)(local 10.0.0.1)(remote 10.0.0.2)(mtu 1450)" +
      "(address 10.100.128.0)(peer_address 10.100.128.1)(peer b)(peer_node box2)" +
      "(rate_bits 1000000))(route 10.100.0.2/32 10.100.128.1 a-b))" +
      "(association (local 10.0.0.1)(remote 10.0.0.2)(port 4789)(spi_in 256)(spi_out 257)" +
      `(key_in ${"ab".repeat(20)}))(endpoint (address 10.100.0.1)(flags subflow signal))` +
      "(host_name 10.100.0.1 a.lab)(peers (role hub)(entity client.a)(hub v2:10.100.0.1:3300)" +
      "(key client.a QUJDREVG)(key client.b ''))" +
      `(script (name app)(script app.sh)(sha256 ${DIGEST})(deadline_ms 5000))))`,
  },
  {
    body: { verb: "ack-config", ...COMMON, digest: DIGEST, generation: 2 },
    text: `(ack-config ${START}(digest ${DIGEST})(generation 2))`,
  },
  { body: { verb: "refresh", ...COMMON }, text: `(refresh ${START})` },
  {
    body: {
      verb: "ack-refresh",
      ...COMMON,
      nodes: [{ node: "box1", state: "ACTIVE", drift: ["link a-b is gone"], rekey: true }],
    },
    text: `(ack-refresh ${START}(node (node box1)(state ACTIVE)(drift 'link a-b is gone')` +
      "(rekey yes)))",
  },
  {
    body: { verb: "status", ...COMMON, probes: 3, waitMs: 2000 },
    text: `(status ${START}(probes 3)(wait_ms 2000))`,
  },
  {
    body: {
      verb: "ack-status",
      ...COMMON,
      nodes: [{ node: "box1", state: "ACTIVE", drift: [], rekey: false }],
      links: [{
        node: "box1",
        link: "a-b",
        sent: 3,
        answered: 2,
        rttUs: 150,
        rxBytes: 1,
        txBytes: 2,
        rxPackets: 3,
        txPackets: 4,
        errors: 5,
      }],
    },
    text:
      `(ack-status ${START}(node (node box1)(state ACTIVE))(link (node box1)(link a-b)(sent 3)` +
      "(answered 2)(rtt_us 150)(rx_bytes 1)(tx_bytes 2)(rx_packets 3)(tx_packets 4)(errors 5)))",
  },
  { body: { verb: "stop", ...COMMON }, text: `(stop ${START})` },
  { body: { verb: "ack-stop", ...COMMON }, text: `(ack-stop ${START})` },
  {
    body: {
      verb: "nack",
      ...COMMON,
      of: "config",
      node: "box2",
      step: "link a-b",
      reason: "it's busy",
    },
    text: `(nack-config ${START}(node box2)(step 'link a-b')(reason 'it\\'s busy'))`,
  },
];

/** A message around a body. */
export function messageOf(body: Body): Message {
  return { protocol: "1.0", release: "0.1.0", sequence: 7, credential: null, body };
}
