/**
 * The guard of MP_JOIN against the kernel: nf_tables takes its batches, joins are accepted, refused
 * and queued as they say, and the log tells each. Needs root, ip(8), nft(8) and a kernel with MPTCP and
 * nf_tables; with CI=true it fails without them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { NetlinkChannel } from "../../src/app/netlink_channel.ts";
import { type GuardCounters, JoinGuard } from "../../src/app/paths/join_guard.ts";
import { KernelEndpoints } from "../../src/app/paths/kernel_endpoints.ts";
import { readBytes, writeBytes } from "../../src/io/descriptor.ts";
import { Poller, Ready } from "../../src/io/epoll.ts";
import { Errno } from "../../src/io/errno.ts";
import { libc } from "../../src/io/libc.ts";
import { IPPROTO_MPTCP, mptcpToken } from "../../src/io/mptcp_socket.ts";
import { inNamespace } from "../../src/io/namespace.ts";
import { fixedInts } from "../../src/io/native.ts";
import { NetlinkProtocol } from "../../src/io/netlink_socket.ts";
import { accept, close, connectTcp, listenTcp } from "../../src/io/sockets.ts";
import { newRegion, type Region } from "../../src/mem/region.ts";
import type { PathEvent } from "../../src/proto/mptcp/path_events.ts";
import { formatInet, parseInet } from "../../src/wire/inet.ts";
import { JoinAttempt, readJoin } from "../../src/wire/mptcp/join_option.ts";
import {
  type Guard,
  GUARD_TOKENS_MAX,
  GuardDefault,
  guardTokensBytes,
  writeGuard,
  writeGuardAllow,
  writeGuardDelete,
  writeGuardLink,
  writeGuardTokens,
} from "../../src/wire/netlink/join_guard.ts";
import { PmFlag } from "../../src/wire/netlink/mptcp_pm.ts";
import {
  NFLOG_PACKET,
  NflogPacket,
  nflogPrefixIs,
  readNflogPacket,
  writeNflogBind,
} from "../../src/wire/netlink/nfnetlink_log.ts";
import {
  NFQUEUE_PACKET,
  NfqueuePacket,
  NfVerdict,
  readNfqueuePacket,
  writeNfqueueBind,
  writeNfqueueVerdict,
} from "../../src/wire/netlink/nfnetlink_queue.ts";
import { writeNftBatchEnd, writeNftTableDelete } from "../../src/wire/netlink/nftables.ts";
import { Nlmsg, NlmsgType, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { ignoreWithoutNamespaces, NamespacePair } from "./netns.ts";
import { must, run } from "./processes.ts";

const TABLE = "fairlead_join";
const GUARD: Guard = {
  table: TABLE,
  owned: false,
  logGroup: 5,
  default: GuardDefault.Refuse,
  queue: 7,
  bypass: true,
  queueByTarget: true,
};
/** A queue to which nobody listens. */
const NO_QUEUE = 8;
const PORT = 7001;
/** The address id that the peer gives to its other address. */
const OTHER_ID = 9;
const INET = { address: "192.0.2.1", peer: "192.0.2.2", other: "198.51.100.2" };
const INET6 = { address: "2001:db8:1::1", peer: "2001:db8:1::2", other: "2001:db8:2::2" };
/** After so long without a packet none comes; a SYN is repeated after 1 s. */
const QUIET_MS = 200;
const DEADLINE_MS = 5000;

/** Writes a batch; the token is that of the connection. */
type Batch = (out: Region, sequence: number, token: number) => number;

/** What is done to one connection, and what comes of it. */
interface Step {
  readonly what: string;
  readonly batches: readonly Batch[];
  /** TCP options of SYNs that are sent from the peer's other address, in hex. */
  readonly packets: readonly string[];
  readonly verdict: number | null;
  /** Beside the first one. */
  readonly subflows: number;
  readonly prefixes: readonly string[];
}

function guard(changes: Partial<Guard>): Batch {
  return (out, sequence) => writeGuard(out, 0, sequence, { ...GUARD, ...changes });
}

function tokens(set: "accept" | "refuse", remove: boolean): Batch {
  return (out, sequence, token) =>
    writeGuardTokens(out, 0, sequence, TABLE, set, remove, Uint32Array.of(token), 1);
}

function allow(id: number): Batch {
  return (out, sequence, token) => writeGuardAllow(out, 0, sequence, TABLE, false, token, id);
}

function link(name: string): Batch {
  return (out, sequence) => writeGuardLink(out, 0, sequence, TABLE, false, name);
}

function step(
  what: string,
  batches: readonly Batch[],
  subflows: number,
  prefixes: readonly string[],
  others: Partial<Step> = {},
): Step {
  return { what, batches, packets: [], verdict: null, subflows, prefixes, ...others };
}

const REFUSE = guard({});
const ACCEPT = guard({ default: GuardDefault.Accept });
const LINKS = guard({ default: GuardDefault.Links });
const QUEUE = guard({ default: GuardDefault.Queue });
const DELETE: Batch = (out, sequence) => writeGuardDelete(out, 0, sequence, TABLE);
const MP_CAPABLE_0 = "1e0c00810102030405060708";
const JOIN = "1e0c1109010203040f0bae4d";

const STEPS: readonly Step[] = [
  step("refuse", [REFUSE], 0, ["refused"]),
  step("a token is accepted", [tokens("accept", false)], 1, ["accepted"]),
  step("not any more", [tokens("accept", false), tokens("accept", true)], 0, ["refused"]),
  step("an address id is allowed", [allow(OTHER_ID)], 1, ["accepted"]),
  step("another address id is allowed", [allow(8)], 0, ["refused"]),
  step("accept", [ACCEPT], 1, ["accepted"]),
  step("a token is refused", [tokens("refuse", false)], 0, ["refused"]),
  step("an empty option in front of a join", [], 1, ["accepted", "refused"], {
    packets: [`1e02${JOIN}`],
  }),
  step("an option of another subtype in front of a join", [], 1, ["accepted", "refused"], {
    packets: [`1e04f000${JOIN}`],
  }),
  step("an MP_CAPABLE of version 0, alone and in front of a join", [], 1, ["accepted", "refused"], {
    packets: [MP_CAPABLE_0, `${MP_CAPABLE_0}${JOIN}`],
  }),
  step(
    "an MP_CAPABLE that the kernel overlooks in front of a join",
    [],
    1,
    ["accepted", "refused"],
    {
      packets: [`1e0401c1${JOIN}`],
    },
  ),
  step("an MP_CAPABLE with and without a join is none", [], 1, ["accepted"], {
    packets: ["1e040181", `1e040181${JOIN}`],
  }),
  step("another interface", [LINKS, link("eth0")], 0, ["refused"]),
  step("this interface", [link("cable0")], 1, ["accepted"]),
  step("a verdict to accept", [QUEUE], 1, ["waiting"], { verdict: NfVerdict.Accept }),
  step("a verdict to drop", [], 0, ["waiting"], { verdict: NfVerdict.Drop }),
  step(
    "nobody listens to the queue, and that accepts",
    [guard({ default: GuardDefault.Queue, queue: NO_QUEUE })],
    1,
    ["waiting"],
  ),
  step(
    "nobody listens to the queue, and that drops",
    [guard({ default: GuardDefault.Queue, queue: NO_QUEUE, bypass: false })],
    0,
    ["waiting"],
  ),
  step(
    "a guard that replaces another has empty sets",
    [
      REFUSE,
      tokens("accept", false),
      allow(OTHER_ID),
      REFUSE,
    ],
    0,
    ["refused"],
  ),
  step("no guard", [DELETE], 1, []),
];

/** One end of a cable with a table, a log and a queue; the other with a peer that joins. */
class Scene implements AsyncDisposable {
  readonly pair: NamespacePair;
  readonly table: NetlinkChannel;
  readonly addresses: typeof INET;
  readonly #log: NetlinkChannel;
  readonly #queue: NetlinkChannel;
  readonly #listener: number;
  readonly #endpoints: KernelEndpoints[];

  static async create(addresses: typeof INET = INET): Promise<Scene> {
    const pair = await NamespacePair.create();
    try {
      const { near, far } = pair;
      const add = ["address", "add"];
      const cable = ["dev", "cable0"];
      await must(["ip", "-n", far, ...add, `${INET.other}/24`, ...cable]);
      await must(["ip", "-n", near, ...add, "198.51.100.1/24", ...cable]);
      for (
        const [name, address] of [
          [near, INET6.address],
          [near, "2001:db8:2::1"],
          [far, INET6.peer],
          [far, INET6.other],
        ] as const
      ) await must(["ip", "-n", name, ...add, `${address}/64`, ...cable, "nodad"]);
      return new Scene(pair, addresses);
    } catch (error) {
      await pair.remove();
      throw error;
    }
  }

  private constructor(pair: NamespacePair, addresses: typeof INET) {
    this.pair = pair;
    this.addresses = addresses;
    const { near, far } = pair;
    [this.table, this.#log, this.#queue] = [this.channel(), this.channel(), this.channel()];
    const { logGroup, queue } = GUARD;
    const log = writeNflogBind(this.#log.out, 0, this.#log.next(), logGroup, 200);
    assert.equal(this.#log.request(log), 0);
    const { out } = this.#queue;
    const bind = writeNfqueueBind(out, 0, this.#queue.next(), queue, 200, 64, true);
    assert.equal(this.#queue.request(bind), 0);
    this.#listener = inNamespace(
      near,
      () => listenTcp(addresses.address, PORT, 8, IPPROTO_MPTCP),
    );
    assert.ok(this.#listener >= 0);
    this.#endpoints = [near, far].map((name) => KernelEndpoints.open(name));
    for (const each of this.#endpoints) {
      assert.equal(each.setLimits({ subflows: 8, addAddrs: 0 }), 0);
    }
  }

  /** One more socket of nf_tables on the side of the guard. */
  channel(): NetlinkChannel {
    const open = (): NetlinkChannel => NetlinkChannel.open(NetlinkProtocol.Netfilter, "nftables");
    return inNamespace(this.pair.near, open);
  }

  /** Makes a connection, does what the step says while its peer joins, and ends it. */
  perform(wanted: Step): void {
    const { what } = wanted;
    this.connected((server) => {
      const token = mptcpToken(server);
      for (const batch of wanted.batches) {
        const errnos = send(this.table, batch(this.table.out, this.table.next(), token));
        assert.deepEqual(errnos, [0], `${what}: one acknowledgement`);
      }
      this.join();
      const logged: string[] = [];
      for (const options of wanted.packets) {
        while (logged.length === 0 && waitFor(this.#log.socket.fd)) this.#drain(logged);
        this.#sendSyn(Uint8Array.fromHex(options));
      }
      if (wanted.verdict !== null) this.#judge(wanted.verdict);
      const ms = (): number => logged.length < wanted.prefixes.length ? DEADLINE_MS : QUIET_MS;
      while (waitFor(this.#log.socket.fd, Ready.In, ms())) this.#drain(logged);
      assert.deepEqual(logged, wanted.prefixes, what);
      assertSubflows(server, wanted.subflows, what);
    });
  }

  /** Runs `job` with the accepted end of a connection. */
  connected(job: (server: number) => void): void {
    const { address } = this.addresses;
    const client = inNamespace(this.pair.far, () => connectTcp(address, PORT, IPPROTO_MPTCP));
    assert.ok(client >= 0 && waitFor(client, Ready.Out));
    assert.ok(waitFor(this.#listener));
    const server = accept(this.#listener);
    assert.ok(server >= 0);
    try {
      // Before bytes have gone both ways the peer does not join.
      for (const [here, there] of [[client, server], [server, client]] as const) {
        assert.equal(writeBytes(here, Uint8Array.of(0x78)), 1);
        assert.ok(waitFor(there));
        assert.equal(readBytes(there, new Uint8Array(8)), 1);
      }
      job(server);
    } finally {
      this.#endpoints[1]!.flush();
      close(client);
      close(server);
    }
  }

  /** Lets the peer join from its other address. */
  join(): void {
    const endpoint = {
      id: OTHER_ID,
      address: this.addresses.other,
      port: 0,
      interfaceIndex: 0,
      flags: PmFlag.Subflow | PmFlag.Backup,
    };
    assert.equal(this.#endpoints[1]!.apply({ kind: "add", endpoint }), 0);
  }

  async rules(): Promise<string> {
    return await must(this.pair.within(this.pair.near, ["nft", "list", "ruleset"]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of [this.table, this.#log, this.#queue, ...this.#endpoints]) each.close();
    close(this.#listener);
    await this.pair.remove();
  }

  /** The prefixes of what was logged, which must be joins of the peer's other address. */
  #drain(into: string[]): void {
    eachMessage(this.#log, (from, message) => {
      assert.equal(message.type, NFLOG_PACKET);
      const packet = new NflogPacket();
      assert.equal(readNflogPacket(from, message, packet), 0);
      const attempt = new JoinAttempt();
      if (readJoin(from, packet.packetAt, packet.packetEnd, attempt) === 0) {
        assert.equal(formatInet(attempt.family, attempt.source), this.addresses.other);
        assert.equal(attempt.addressId, OTHER_ID);
        assert.equal(attempt.backup, true);
      }
      const prefixes = ["accepted", "refused", "waiting"];
      into.push(prefixes.find((prefix) => nflogPrefixIs(from, packet, prefix)) ?? "none");
    });
  }

  #judge(verdict: number): void {
    const { out, socket } = this.#queue;
    const packet = new NfqueuePacket();
    assert.ok(waitFor(socket.fd));
    eachMessage(this.#queue, (from, message) => {
      assert.equal(message.type, NFQUEUE_PACKET);
      assert.equal(readNfqueuePacket(from, message, packet), 0);
      assert.equal(packet.queue, GUARD.queue);
      assert.ok(readJoin(from, packet.packetAt, packet.packetEnd, new JoinAttempt()) === 0);
    });
    const sequence = this.#queue.next();
    socket.send(writeNfqueueVerdict(out, 0, sequence, GUARD.queue, packet.id, verdict));
  }

  /** Sends a SYN with such options from the peer's other address: raw(7). */
  #sendSyn(options: Uint8Array): void {
    const { address, other } = this.addresses;
    const { bind, sendto, socket } = libc();
    const raw = inNamespace(this.pair.far, () => socket(AF_INET, SOCK_RAW, IPPROTO_TCP));
    assert.ok(raw >= 0);
    const [source, target] = [socketAddress(other), socketAddress(address)];
    assert.equal(bind(raw, source, source.length), 0);
    const segment = synSegment(source.subarray(4, 8), target.subarray(4, 8), options);
    const sent = sendto(raw, segment, segment.length, 0, target, target.length);
    close(raw);
    assert.equal(sent, segment.length);
  }
}

/** NFNL_MSG_BATCH_END: headers only. */
const BATCH_END_BYTES = 20;
const AF_INET = 2;
const SOCK_RAW = 3;
const IPPROTO_TCP = 6;
const SYN = 2;
const SOL_MPTCP = 284;
const MPTCP_INFO = 1;

/** A TCP segment with its checksum: RFC 9293 section 3.1. */
function synSegment(
  source: Uint8Array,
  target: Uint8Array,
  options: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const size = 20 + Math.ceil(options.length / 4) * 4;
  const { bytes, view } = newRegion(12 + size); // behind the pseudo-header
  bytes.set(source, 0);
  bytes.set(target, 4);
  view.setUint16(8, IPPROTO_TCP);
  view.setUint16(10, size);
  view.setUint16(12, 40_000);
  view.setUint16(14, PORT);
  view.setUint32(16, 1);
  view.setUint8(24, (size / 4) << 4);
  view.setUint8(25, SYN);
  view.setUint16(26, 4096);
  bytes.set(options, 32);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(28, ~sum & 0xffff);
  return bytes.slice(12);
}

/** struct sockaddr_in without a port. */
function socketAddress(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(16);
  new Uint16Array(bytes.buffer)[0] = AF_INET;
  const address = new Uint8Array(16);
  parseInet(text, address);
  bytes.set(address.subarray(0, 4), 4);
  return bytes;
}

/** The errnos of a batch: of what asks to be acknowledged, and of what fails. */
function send(channel: NetlinkChannel, size: number): number[] {
  assert.equal(channel.socket.send(size), size);
  return answers(channel);
}

function answers(channel: NetlinkChannel): number[] {
  const errnos: number[] = [];
  eachMessage(channel, (from, message) => {
    assert.equal(message.type, NlmsgType.Error);
    errnos.push(0 - from.view.getInt32(message.at, true));
  });
  return errnos;
}

function eachMessage(
  { socket }: NetlinkChannel,
  each: (from: Region, message: Nlmsg) => void,
): void {
  const message = new Nlmsg();
  for (let size = socket.receive(); size !== -Errno.Eagain; size = socket.receive()) {
    assert.ok(size > 0, `errno ${size}`);
    for (let at = 0; at < size;) {
      at = readNlmsg(socket.in, at, size, message);
      assert.ok(at > 0);
      each(socket.in, message);
    }
  }
}

/** Whether a descriptor became ready in time. */
function waitFor(fd: number, events: number = Ready.In, ms = DEADLINE_MS): boolean {
  const poller = new Poller(1);
  assert.equal(poller.add(fd, 0, events), 0);
  const ready = poller.wait(ms) === 1;
  poller.close();
  return ready;
}

/** Waits for subflows beside the first one; refused ones were waited for by the log. */
function assertSubflows(server: number, wanted: number, what: string): void {
  const deadline = performance.now() + DEADLINE_MS;
  while (subflowsOf(server) < wanted && performance.now() < deadline) waitFor(server, Ready.In, 1);
  assert.equal(subflowsOf(server), wanted, what);
}

/** mptcpi_subflows of struct mptcp_info. */
function subflowsOf(fd: number): number {
  const info = fixedInts(64);
  const size = Int32Array.of(256);
  assert.equal(libc().getsockopt(fd, SOL_MPTCP, MPTCP_INFO, info, size), 0);
  return info[0]! & 0xff;
}

async function ignored(): Promise<boolean> {
  if (Deno.env.get("CI") === "true") return false;
  if ((await run(["nft", "--version"])).code !== 0) return true;
  return await ignoreWithoutNamespaces();
}

const IGNORED = await ignored();

Deno.test({
  name: "joins are judged by the kernel as the guard says, and every attempt is logged",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    for (const each of STEPS) scene.perform(each);
    assert.equal((await scene.rules()).trim(), "");
  },
});

Deno.test({
  name: "joins over IPv6 are judged by the same table",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create(INET6);
    const steps = [
      step("refuse", [REFUSE], 0, ["refused"]),
      step("a token is accepted", [tokens("accept", false)], 1, ["accepted"]),
      step("an address id is allowed", [allow(OTHER_ID)], 1, ["accepted"]),
      step("a token is refused", [ACCEPT, tokens("refuse", false)], 0, ["refused"]),
      step("this interface", [LINKS, link("cable0")], 1, ["accepted"]),
      step("a verdict to accept", [QUEUE], 1, ["waiting"], { verdict: NfVerdict.Accept }),
      step("a verdict to drop", [], 0, ["waiting"], { verdict: NfVerdict.Drop }),
    ];
    for (const each of steps) scene.perform(each);
  },
});

Deno.test({
  name: "nft(8) can list what the guard wrote, and a queue expression may be missing",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const { pair, table } = scene;
    const write = (batch: Batch): number[] =>
      send(table, batch(table.out, table.next(), 0x11223344));
    const native = write(guard({ default: GuardDefault.Queue, queueByTarget: false }));
    assert.ok([0, Errno.Enoent].includes(native[0]!), `${native}`);
    for (const batch of [LINKS, link("cable0"), tokens("accept", false), allow(3)]) {
      assert.deepEqual(write(batch), [0]);
    }
    const listed = await scene.rules();
    assert.match(listed, /type filter hook input priority filter; policy accept;/);
    assert.match(listed, /elements = \{ "cable0" \}/);
    assert.match(listed, /iifname @links log prefix "accepted" group 5 accept/);
    const list = ["nft", "list", "set", "inet", TABLE, "allowed"];
    assert.match(
      await must(pair.within(pair.near, list)),
      /elements = \{ 11:?22:?33:?44:03:00:00:00 \}/,
    );
  },
});

Deno.test({
  name: "a batch that fails changes nothing: neither the sets nor the table that it would replace",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const { table } = scene;
    const write = (batch: Batch, token = 0): number =>
      table.batch(batch(table.out, table.next(), token));
    assert.equal(write(tokens("accept", false)), Errno.Enoent, "there is no table");
    assert.equal(write(DELETE), Errno.Enoent);
    assert.equal(write(ACCEPT), 0);
    assert.equal(write(tokens("refuse", false), 1), 0);
    const before = await scene.rules();
    const both: Batch = (out, sequence) =>
      writeGuardTokens(out, 0, sequence, TABLE, "refuse", true, Uint32Array.of(1, 2), 2);
    assert.equal(write(both), Errno.Enoent, "2 is not there, so 1 stays");
    assert.equal(await scene.rules(), before);
    // A new guard, and in the same batch a table deleted that is not there.
    const broken: Batch = (out, sequence) => {
      const end = writeGuard(out, 0, sequence, GUARD) - BATCH_END_BYTES;
      const next = writeNftTableDelete(out, end, sequence, "none", true);
      return writeNftBatchEnd(out, next, sequence);
    };
    assert.equal(write(broken), Errno.Enoent);
    assert.equal(await scene.rules(), before);
    scene.perform(step("it is still there", [], 1, ["accepted"]));
  },
});

Deno.test({
  name: "a table with an owner is nobody else's to change, and goes with the owner's socket",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const owner = scene.channel();
    const { table } = scene;
    const size = writeGuard(owner.out, 0, owner.next(), { ...GUARD, owned: true });
    assert.deepEqual(send(owner, size), [0]);
    for (const batch of [DELETE, tokens("accept", false), link("cable0"), REFUSE]) {
      assert.equal(table.batch(batch(table.out, table.next(), 1)), Errno.Eperm);
    }
    scene.perform(step("it refuses", [], 0, ["refused"]));
    owner.close();
    assert.equal((await scene.rules()).trim(), "");
    scene.perform(step("no guard any more", [], 1, []));
  },
});

Deno.test({
  name: "as many tokens as one message may carry are taken, and taken back",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const { fd } = scene.table.socket;
    const out = newRegion(guardTokensBytes(GUARD_TOKENS_MAX));
    const many = new Uint32Array(GUARD_TOKENS_MAX);
    const write = (token: number, remove: boolean): number[] => {
      for (let at = 0; at < many.length; at++) many[at] = token + at;
      const sequence = scene.table.next();
      const count = many.length;
      const size = writeGuardTokens(out, 0, sequence, TABLE, "accept", remove, many, count);
      assert.equal(writeBytes(fd, out.bytes.subarray(0, size)), size);
      return answers(scene.table);
    };
    scene.perform(step("refuse", [REFUSE], 0, ["refused"]));
    scene.connected((server) => {
      const last = mptcpToken(server) - GUARD_TOKENS_MAX + 1;
      assert.deepEqual(write(last, false), [0]);
      scene.join();
      assertSubflows(server, 1, "the last of them");
      assert.deepEqual(write(last, true), [0]);
    });
    const listed = await scene.rules();
    assert.doesNotMatch(listed, /set accepted \{[^}]*elements/);
  },
});

/** A guard of the application, and what it tells. */
function openGuard(
  scene: Scene,
  decide: "set" | "queue",
  whenAway: "accept" | "refuse",
): { guard: JoinGuard; events: PathEvent[] } {
  const events: PathEvent[] = [];
  const opened = JoinGuard.open({
    namespace: scene.pair.near,
    config: { default: "refuse", interfaces: [], decide, answerMs: 300, whenAway },
    decides: () => true,
    tell: (event) => events.push(event),
  });
  return { guard: opened, events };
}

/** Waits until the guard has told of so many attempts, deciding on what is overdue. */
function drainGuard({ events, guard }: ReturnType<typeof openGuard>, count: number): string[] {
  const deadline = performance.now() + DEADLINE_MS;
  while (events.length < count && performance.now() < deadline) {
    waitFor(guard.descriptors.at(-1)!, Ready.In, 10);
    guard.drain(performance.now());
  }
  return events.map((event) =>
    event.name === "join_attempt"
      ? `${event.verdict} ${event.remoteId} ${event.remote.address}`
      : event.name
  );
}

function assertCounters({ counters }: JoinGuard, wanted: Partial<GuardCounters>): void {
  assert.deepEqual({ ...counters, ...wanted }, { ...counters });
}

Deno.test({
  name: "JoinGuard refuses, accepts by connection, and by a decision made before",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    const opened = openGuard(scene, "set", "refuse");
    const { events, guard: joins } = opened;
    const from = `${OTHER_ID} ${INET.other}`;
    const attempt = (prepare: (token: number) => void, verdict: string, subflows: number): void =>
      scene.connected((server) => {
        const token = mptcpToken(server);
        prepare(token);
        scene.join();
        assert.deepEqual(drainGuard(opened, 1), [`${verdict} ${from}`]);
        if (subflows === 0) waitFor(server, Ready.In, QUIET_MS);
        assertSubflows(server, subflows, verdict);
        const [told] = events.splice(0);
        assert.ok(told?.name === "join_attempt" && told.token === token && told.backup);
        joins.forget(token);
      });
    attempt(() => {}, "refused", 0);
    attempt((token) => joins.setConnection(token, "accept"), "accepted", 1);
    attempt((token) => assert.equal(joins.decide(token, OTHER_ID, true), "next"), "accepted", 1);
    attempt((token) => assert.equal(joins.decide(token, OTHER_ID + 1, true), "next"), "refused", 0);
    joins.setDefault({ default: "interfaces", interfaces: ["cable*"] });
    joins.setLinks(["cable0"]);
    attempt(() => {}, "accepted", 1);
    attempt((token) => joins.setConnection(token, "refuse"), "refused", 0);
    joins.setLinks([]);
    attempt(() => {}, "refused", 0);
    assertCounters(joins, { accepted: 3, refused: 4, answered: 0, unanswered: 0 });
    // Nobody else gets the log's group while it is there.
    assert.throws(() => openGuard(scene, "set", "refuse"), /^Error: Cannot listen to the log of/);
    joins.close();
    assert.match(await scene.rules(), /table inet fairlead-joins/); // whenAway refuse: it stays
  },
});

Deno.test({
  name: "JoinGuard asks about each join, and judges itself when nobody answers in time",
  ignore: IGNORED,
  fn: async () => {
    await using scene = await Scene.create();
    for (const whenAway of ["accept", "refuse"] as const) {
      const opened = openGuard(scene, "queue", whenAway);
      const { events, guard: joins } = opened;
      for (const answer of [true, false, null]) {
        const subflows = (answer ?? (whenAway === "accept")) ? 1 : 0;
        scene.connected((server) => {
          const token = mptcpToken(server);
          scene.join();
          assert.deepEqual(drainGuard(opened, 1), [`waiting ${OTHER_ID} ${INET.other}`]);
          assert.equal(subflowsOf(server), 0);
          assert.ok(joins.deadlineMs < Infinity);
          if (answer !== null) assert.equal(joins.decide(token, OTHER_ID, answer), "now");
          else joins.drain(joins.deadlineMs);
          assert.equal(joins.deadlineMs, Infinity);
          if (subflows === 0) waitFor(server, Ready.In, QUIET_MS);
          assertSubflows(server, subflows, `${whenAway} ${answer}`);
          events.splice(0);
        });
      }
      const [accepted, refused] = whenAway === "accept" ? [2, 1] : [1, 2];
      assertCounters(joins, { accepted, refused, answered: 2, unanswered: 1 });
      joins.close();
      const stays = whenAway === "refuse";
      assert.equal((await scene.rules()).includes("fairlead-joins"), stays, whenAway);
    }
  },
});
