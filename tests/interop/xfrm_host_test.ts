/**
 * XFRM of this machine's own kernel, which need not have ESP: SAs that wait for their keys, policies,
 * ACQUIRE, events and refusals, in a namespace of its own. What an SA with keys does is in tests/kernel.
 * Needs root, ip(8) and a kernel with XFRM_USER; with CI=true it fails without them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Errno } from "../../src/io/errno.ts";
import { inNamespace } from "../../src/io/namespace.ts";
import { NetlinkProtocol, NetlinkSocket } from "../../src/io/netlink_socket.ts";
import type { Region } from "../../src/mem/region.ts";
import { parseInet } from "../../src/wire/inet.ts";
import { writeU8 } from "../../src/wire/netlink/attribute.ts";
import { errorText, NetlinkError, readError } from "../../src/wire/netlink/error.ts";
import {
  addNlmsgFlags,
  beginNlmsg,
  endNlmsg,
  Nlmsg,
  NlmsgFlag,
  NlmsgType,
  readNlmsg,
} from "../../src/wire/netlink/nlmsg.ts";
import {
  AeFlag,
  XfrmAttribute,
  XfrmGroup,
  XfrmMode,
  XfrmMsg,
  XfrmProto,
  XfrmSaId,
} from "../../src/wire/netlink/xfrm.ts";
import {
  writeAevent,
  writeAeventGet,
  type XfrmAevent,
} from "../../src/wire/netlink/xfrm_aevent.ts";
import { readAcquire, XfrmAcquire } from "../../src/wire/netlink/xfrm_event.ts";
import {
  PolicyAction,
  PolicyDirection,
  policyKey,
  readPolicy,
  readPolicyBody,
  writePolicy,
  writePolicyDelete,
  writePolicyDump,
  writePolicyFlush,
  writePolicyGet,
  XfrmPolicy,
} from "../../src/wire/netlink/xfrm_policy.ts";
import { ReplayKind } from "../../src/wire/netlink/xfrm_replay.ts";
import { readSaFlush, writeAllocSpi, XfrmSa } from "../../src/wire/netlink/xfrm_sa.ts";
import {
  aeventIn,
  aeventOf,
  type Heard,
  OWN_PORT,
  saId,
  saIn,
  saOf,
  XfrmClient,
  XfrmListener,
} from "../kernel/xfrm_client.ts";
import { must, run } from "./processes.ts";
import { LabUdp } from "./uml_sockets.ts";

const HERE = "10.9.0.1";
const THERE = "10.9.0.2";
const SPI = 0x1000;
const EPERM = 1;
const ESRCH = 3;
const EEXIST = 17;
const EINVAL = 22;
const ERANGE = 34;
const ENOSYS = 38;
/** Of the attributes of a NEWAE and GETAE: behind the header and struct xfrm_aevent_id. */
const ATTRIBUTES = 64;
const ACQUIRE_SECONDS = 30;
const { Rthr, Ethr } = AeFlag;
const { Request, Ack, Replace, Create, Exclusive } = NlmsgFlag;

/** The kernel of 6.2 began to say why it refuses. */
const release = /^(\d+)\.(\d+)/.exec(Deno.osRelease())!.slice(1).map(Number);
const atLeast = (major: number, minor: number): boolean =>
  release[0]! > major || release[0] === major && release[1]! >= minor;

/** A namespace with an interface, and an SA that has no keys yet. */
class HostXfrm implements AsyncDisposable {
  readonly name = `fairlead-${crypto.randomUUID().slice(0, 8)}-xfrm`;
  readonly id: XfrmSaId = saId(THERE, SPI);

  static async create(): Promise<HostXfrm> {
    const host = new HostXfrm();
    try {
      await must(["ip", "netns", "add", host.name]);
      const lines = [
        "link add e0 type veth peer name e1",
        "link set e0 up",
        "link set e1 up",
        `address add ${HERE}/24 dev e0`,
      ];
      await must(["ip", "-n", host.name, "-batch", "-"], { stdin: lines.join("\n") });
    } catch (error) {
      await host[Symbol.asyncDispose]();
      throw error;
    }
    return host;
  }

  client(): XfrmClient {
    return new XfrmClient(this.name);
  }

  /** Asks for an SPI, which makes the SA; what the kernel answers. */
  allocate(client: XfrmClient): XfrmSa {
    const heard: Heard[] = [];
    const sa = saWithout(SPI);
    const errno = client.request(
      (out, sequence) => writeAllocSpi(out, 0, sequence, sa, SPI, SPI),
      heard,
    );
    assert.equal(errno, 0, client.text);
    assert.equal(heard[0]!.type, XfrmMsg.NewSa);
    return saIn(heard[0]!.body);
  }

  read(path: string): string {
    return inNamespace(this.name, () => Deno.readTextFileSync(`/proc/sys/net/core/${path}`)).trim();
  }

  write(path: string, value: number): void {
    inNamespace(this.name, () => Deno.writeTextFileSync(`/proc/sys/net/core/${path}`, `${value}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run(["ip", "netns", "delete", this.name]);
  }
}

/** An SA between the two addresses, without algorithms. */
function saWithout(spi: number): XfrmSa {
  const sa = new XfrmSa();
  sa.id.copy(saId(THERE, spi));
  parseInet(HERE, sa.saddr);
  sa.reqid = 7;
  sa.mode = XfrmMode.Tunnel;
  return sa;
}

const ignore = Deno.env.get("CI") !== "true" && !await isHere();

async function isHere(): Promise<boolean> {
  if (Deno.uid() !== 0) return false;
  try {
    await using host = await HostXfrm.create();
    using client = host.client();
    return client.dump().length === 0;
  } catch {
    return false;
  }
}

/** A test in a namespace of its own that has one SA without keys. */
function test(
  name: string,
  body: (host: HostXfrm, client: XfrmClient) => void | Promise<void>,
): void {
  Deno.test(name, { ignore }, async () => {
    await using host = await HostXfrm.create();
    using client = host.client();
    host.allocate(client);
    await body(host, client);
  });
}

/** A refusal, with what the kernel says of it. */
interface Refusal {
  errno: number;
  text: string;
  offset: number;
}

/** Sends a request as it is and takes the error message that answers it. */
function refusal(host: HostXfrm, write: (out: Region) => number): Refusal {
  const socket = inNamespace(host.name, () => NetlinkSocket.open(NetlinkProtocol.Xfrm));
  assert.ok(typeof socket !== "number");
  try {
    const size = write(socket.out);
    assert.equal(socket.send(size), size);
    const received = socket.receive();
    const message = new Nlmsg();
    assert.ok(received > 0 && readNlmsg(socket.in, 0, received, message) > 0, `${received}`);
    assert.equal(message.type, NlmsgType.Error);
    const error = new NetlinkError();
    assert.ok(readError(socket.in, message, error) >= 0);
    return { errno: error.error, text: errorText(socket.in, error), offset: error.offset };
  } finally {
    socket.close();
  }
}

/** Compares, but for the text of a kernel that says none. */
function isRefused(found: Refusal, errno: number, text: string): void {
  assert.equal(found.errno, errno, found.text);
  if (atLeast(6, 2)) assert.equal(found.text, text);
}

/** A NEWAE with a replay value and what else is set. */
function updateOf(id: XfrmSaId, changes: Partial<XfrmAevent> = {}): XfrmAevent {
  const event = Object.assign(aeventOf(id), changes);
  event.replay.kind = ReplayKind.Value;
  event.replay.oseq = 5;
  return event;
}

function setFlags(out: Region, flags: number): void {
  out.view.setUint16(6, flags, true);
}

/** Cuts the end off the first attribute, which is also the last. */
function shorten(out: Region, size: number, attributeBytes: number): number {
  const cut = out.view.getUint16(ATTRIBUTES, true) - attributeBytes;
  out.view.setUint16(ATTRIBUTES, attributeBytes, true);
  out.view.setUint32(0, size - cut, true);
  return size - cut;
}

test("ALLOCSPI makes an SA that waits 30 s for its keys, and tells nobody", (host, client) => {
  using listener = new XfrmListener(host.name, [XfrmGroup.Sa]);
  client.flush();
  listener.takeAll();
  const sa = host.allocate(client);
  assert.equal(sa.id.key(), host.id.key());
  assert.equal(sa.limits.hardAddSeconds, ACQUIRE_SECONDS);
  assert.equal(host.read("xfrm_acq_expires"), `${ACQUIRE_SECONDS}`);
  assert.deepEqual(listener.takeAll().heard, []);
});

test("an SA without keys is in a dump, and is got by its id", (host, client) => {
  const [body, ...more] = client.dump();
  assert.deepEqual(more, []);
  const dumped = saIn(body!);
  assert.equal(dumped.id.key(), host.id.key());
  assert.equal(dumped.replay.kind, ReplayKind.Value);
  assert.deepEqual(client.sa(host.id), dumped);
  assert.equal(dumped.reqid, 7);
});

test(
  "GETAE answers with replay and lifetime, and with thresholds when they are asked for",
  (host, client) => {
    const bare = client.aevent(host.id);
    assert.deepEqual([bare.replay.kind, bare.replay.oseq, bare.replay.seq], [
      ReplayKind.Value,
      0,
      0,
    ]);
    assert.ok(bare.hasLifetime && bare.addTime > 0);
    assert.deepEqual([bare.replayThreshold, bare.timerThreshold], [-1, -1]);
    assert.equal(client.aevent(host.id, Rthr).timerThreshold, -1);
    const { replayThreshold, timerThreshold } = client.aevent(host.id, Rthr | Ethr);
    assert.deepEqual([replayThreshold, timerThreshold], [0, 0], "not yet those of the system");
  },
);

test(
  "GETAE repeats its flags, its sequence and its port, and ignores source and reqid",
  (host, client) => {
    const heard: Heard[] = [];
    const errno = client.request((out, sequence) => {
      const size = writeAeventGet(out, 0, sequence, OWN_PORT, host.id, 0xffffffff);
      out.bytes.fill(0x77, 16 + 24, 16 + 40); // saddr
      out.bytes.fill(0x77, 16 + 44, 16 + 48); // reqid
      return size;
    }, heard);
    assert.equal(errno, 0);
    assert.equal(heard[0]!.port, OWN_PORT);
    const event = aeventIn(heard[0]!);
    assert.equal(event.flags, 0xffffffff);
    assert.deepEqual([...event.saddr.subarray(0, 4), event.reqid], [10, 9, 0, 1, 7]);
  },
);

test("GETAE of an SA that is not there is ESRCH: by number, protocol or family", (host, client) => {
  const other = (change: (id: XfrmSaId) => void): number => {
    const id = new XfrmSaId();
    id.copy(host.id);
    change(id);
    return client.aeventErrno(id);
  };
  assert.equal(other(() => {}), 0);
  assert.equal(other((id) => id.spi++), ESRCH);
  assert.equal(other((id) => id.proto = XfrmProto.Ah), ESRCH);
  assert.equal(other((id) => id.family = 10), ESRCH);
});

test("GETAE with the document's 28 bytes is refused: 48 are needed", (host) => {
  const found = refusal(host, (out) => {
    writeAeventGet(out, 0, 1, 0, host.id, 0);
    addNlmsgFlags(out, 0, Ack);
    return endNlmsg(out, 0, 16 + 28);
  });
  isRefused(found, EINVAL, "Invalid header length");
});

const ESN_BYTES = 4 * 6 + 4;
const WRITES: {
  what: string;
  errno: number;
  text: string;
  offset?: number;
  write: (out: Region, id: XfrmSaId) => number;
}[] = [
  {
    what: "a replay value of 8 bytes, whatever else is wrong",
    errno: ERANGE,
    text: "Attribute failed policy validation",
    offset: ATTRIBUTES,
    write: (out, id) => {
      const size = writeAevent(out, 0, 1, 0, updateOf(id));
      setFlags(out, Request | Ack);
      return shorten(out, size, 4 + 8);
    },
  },
  {
    what: "a lifetime of 16 bytes",
    errno: ERANGE,
    text: "Attribute failed policy validation",
    offset: ATTRIBUTES,
    write: (out, id) => {
      const event = Object.assign(aeventOf(id), { hasLifetime: true });
      return shorten(out, writeAevent(out, 0, 1, 0, event), 4 + 16);
    },
  },
  {
    what: "nothing to be written, and without NLM_F_REPLACE",
    errno: EINVAL,
    text: "Missing required attribute for AE",
    write: (out, id) => {
      const size = writeAevent(out, 0, 1, 0, aeventOf(id));
      setFlags(out, Request | Ack);
      return size;
    },
  },
  {
    what: "an SA that is not there, without NLM_F_REPLACE",
    errno: EINVAL,
    text: "NLM_F_REPLACE flag is required",
    write: (out, id) => {
      id.spi++;
      const size = writeAevent(out, 0, 1, 0, updateOf(id));
      setFlags(out, Request | Ack);
      return size;
    },
  },
  {
    what: "an SA that is not there",
    errno: ESRCH,
    text: "",
    write: (out, id) => {
      id.spi++;
      return writeAevent(out, 0, 1, 0, updateOf(id));
    },
  },
  {
    what: "an SA without keys, with an ESN state that it cannot have",
    errno: EINVAL,
    text: "SA must be in VALID state",
    write: (out, id) => {
      const event = updateOf(id);
      Object.assign(event.replay, { kind: ReplayKind.Esn, words: 1, window: 32 });
      const size = writeAevent(out, 0, 1, 0, event);
      assert.equal(size, ATTRIBUTES + 4 + ESN_BYTES);
      return size;
    },
  },
];

for (const { what, errno, text, offset, write } of WRITES) {
  test(`NEWAE is refused, in the kernel's order of looking: ${what}`, (host) => {
    const id = new XfrmSaId();
    id.copy(host.id);
    const found = refusal(host, (out) => write(out, id));
    isRefused(found, errno, text);
    if (offset !== undefined) assert.equal(found.offset, offset);
  });
}

test("NEWAE with a direction is refused by a kernel that knows them", (host) => {
  const found = refusal(host, (out) => {
    const end = writeAevent(out, 0, 1, 0, updateOf(host.id));
    return endNlmsg(out, 0, writeU8(out, end, XfrmAttribute.SaDir, 1));
  });
  const text = atLeast(6, 10) ? "Invalid attribute SA_DIR" : "SA must be in VALID state";
  isRefused(found, EINVAL, text);
});

test("NEWSA needs the kernel to have its algorithms, and says which it lacks", (_host, client) => {
  const sa = saWithout(SPI + 1);
  sa.replayWindow = 32;
  sa.aead.set("rfc4106(gcm(aes))", new Uint8Array(20).fill(1), 128);
  const errno = client.add(sa);
  const { text } = client;
  if (errno === 0) assert.equal(client.aevent(sa.id).replay.kind, ReplayKind.Value);
  else {
    assert.equal(errno, ENOSYS);
    assert.match(text, atLeast(6, 2) ? /^Requested (AEAD algorithm|type) not found$/ : /^/);
  }
});

test("DELSA and FLUSHSA are told to group SA; what is not there is ESRCH", (host, client) => {
  using listener = new XfrmListener(host.name, [XfrmGroup.Sa]);
  assert.equal(client.delete(host.id), 0);
  assert.equal(client.delete(host.id), ESRCH);
  const [deleted, ...more] = listener.takeAll().heard;
  assert.deepEqual(more, []);
  assert.equal(deleted!.type, XfrmMsg.DelSa);
  assert.deepEqual([saOf(deleted!).id.key(), saOf(deleted!).reqid], [host.id.key(), 7]);
  host.allocate(client);
  assert.equal(client.flush(), 0);
  const heard = listener.takeAll().heard;
  assert.equal(heard.at(-1)!.type, XfrmMsg.FlushSa);
  const message = new Nlmsg();
  message.end = heard.at(-1)!.body.bytes.length;
  assert.equal(readSaFlush(heard.at(-1)!.body, message), XfrmProto.Any);
  assert.deepEqual(client.dump(), []);
});

/** A policy for everything between the two addresses. */
function policyOf(action: number): XfrmPolicy {
  const policy = new XfrmPolicy();
  const { selector } = policy;
  selector.family = parseInet(HERE, selector.saddr);
  parseInet(THERE, selector.daddr);
  selector.prefixlenS = selector.prefixlenD = 32;
  policy.direction = PolicyDirection.Out;
  policy.action = action;
  policy.templateCount = action === PolicyAction.Block ? 0 : 1;
  const template = policy.templates[0]!;
  template.family = selector.family;
  template.saddr.set(selector.saddr);
  template.daddr.set(selector.daddr);
  template.proto = XfrmProto.Esp;
  template.mode = XfrmMode.Tunnel;
  template.reqid = 9;
  template.aalgos = template.ealgos = template.calgos = 0xffffffff;
  return policy;
}

/** Writes that policy as NEWPOLICY or UPDPOLICY. */
function writePolicyOf(
  type: number,
  action: number,
): (out: Region, sequence: number) => number {
  const flags = type === XfrmMsg.NewPolicy ? Request | Ack | Create | Exclusive : Request | Ack;
  return (out, sequence) => writePolicy(out, 0, sequence, type, flags, policyOf(action));
}

function policyIn({ type, body }: Heard): XfrmPolicy {
  const message = new Nlmsg();
  message.type = type;
  message.end = body.bytes.length;
  const policy = new XfrmPolicy();
  assert.ok(readPolicy(body, message, policy) >= 0);
  return policy;
}

test(
  "a policy is made, got, dumped, changed and deleted, each told to group POLICY",
  (host, client) => {
    using listener = new XfrmListener(host.name, [XfrmGroup.Policy]);
    const wanted = policyOf(PolicyAction.Allow);
    assert.equal(
      client.request(writePolicyOf(XfrmMsg.NewPolicy, PolicyAction.Allow)),
      0,
      client.text,
    );
    assert.equal(client.request(writePolicyOf(XfrmMsg.NewPolicy, PolicyAction.Allow)), EEXIST);
    const answers: Heard[] = [];
    client.request((out, sequence) => writePolicyGet(out, 0, sequence, wanted), answers);
    const got = policyIn(answers[0]!);
    assert.equal(policyKey(got), policyKey(wanted));
    assert.deepEqual([got.templateCount, got.templates[0]!.reqid], [1, 9]);
    assert.deepEqual(policies(client).map(policyKey), [policyKey(wanted)]);
    assert.equal(client.request(writePolicyOf(XfrmMsg.UpdPolicy, PolicyAction.Block)), 0);
    assert.deepEqual(policies(client).map(({ action }) => action), [PolicyAction.Block]);
    assert.equal(client.request((out, sequence) => writePolicyDelete(out, 0, sequence, wanted)), 0);
    assert.equal(client.request((out, sequence) => writePolicyFlush(out, 0, sequence)), 0);
    const heard = listener.takeAll().heard;
    const { NewPolicy, UpdPolicy, DelPolicy, FlushPolicy } = XfrmMsg;
    const types = heard.map(({ type }) => type);
    assert.deepEqual(types.slice(0, 3), [NewPolicy, UpdPolicy, DelPolicy]);
    assert.ok(types.slice(3).every((type) => type === FlushPolicy));
    assert.deepEqual(
      heard.slice(0, 3).map((each) => policyKey(policyIn(each))),
      Array(3).fill(policyKey(wanted)),
    );
  },
);

function policies(client: XfrmClient): XfrmPolicy[] {
  const found: XfrmPolicy[] = [];
  const { channel } = client;
  const errno = channel.dump(
    () => writePolicyDump(channel.out, 0, channel.next()),
    (from, { at, end }) => {
      const policy = new XfrmPolicy();
      assert.ok(readPolicyBody(from, at, end, policy) >= 0);
      found.push(policy);
    },
    () => found.length = 0,
  );
  assert.equal(errno, 0);
  return found;
}

test("a packet whose policy finds no SA is swallowed and causes ACQUIRE", (host, client) => {
  using listener = new XfrmListener(host.name, [XfrmGroup.Acquire]);
  client.flush();
  assert.equal(
    client.request(writePolicyOf(XfrmMsg.NewPolicy, PolicyAction.Allow)),
    0,
    client.text,
  );
  using socket = new LabUdp(host.name, HERE, 4000);
  assert.equal(socket.send(THERE, 4001), 1, "the sender hears nothing of it");
  const [heard, ...more] = listener.takeAll().heard;
  assert.deepEqual(more, []);
  const message = new Nlmsg();
  message.type = heard!.type;
  message.end = heard!.body.bytes.length;
  const acquire = new XfrmAcquire();
  assert.ok(readAcquire(heard!.body, message, acquire) >= 0);
  assert.equal(acquire.id.key(), `${THERE} esp 0x00000000`);
  assert.deepEqual([acquire.selector.proto, acquire.selector.dport], [17, 4001]);
  assert.equal(acquire.policy.templates[0]!.reqid, 9);
  const [larval] = client.dump().map(saIn);
  assert.deepEqual([larval!.id.spi, larval!.seq], [0, acquire.seq]);
});

test("a policy that blocks lets nothing out, and the sender is told", (host, client) => {
  using socket = new LabUdp(host.name, HERE, 4000);
  assert.equal(socket.send(THERE, 4001), 1);
  assert.equal(
    client.request(writePolicyOf(XfrmMsg.NewPolicy, PolicyAction.Block)),
    0,
    client.text,
  );
  assert.equal(socket.send(THERE, 4001), 0);
});

test(
  "the thresholds of the system are two variables of a namespace, without the document's prefix",
  (host, client) => {
    assert.deepEqual([host.read("xfrm_aevent_etime"), host.read("xfrm_aevent_rseqth")], [
      "10",
      "2",
    ]);
    assert.throws(() => host.read("sysctl_xfrm_aevent_etime"), Deno.errors.NotFound);
    const outside = Deno.readTextFileSync("/proc/sys/net/core/xfrm_aevent_rseqth");
    host.write("xfrm_aevent_etime", 20);
    host.write("xfrm_aevent_rseqth", 64);
    assert.deepEqual([host.read("xfrm_aevent_etime"), host.read("xfrm_aevent_rseqth")], [
      "20",
      "64",
    ]);
    assert.equal(Deno.readTextFileSync("/proc/sys/net/core/xfrm_aevent_rseqth"), outside);
    client.flush();
    host.allocate(client);
    const { replayThreshold, timerThreshold } = client.aevent(host.id, Rthr | Ethr);
    assert.deepEqual([replayThreshold, timerThreshold], [0, 0], "an SA has them with its keys");
  },
);

test("an SA that waits gives no events to who listens", (host, client) => {
  using listener = new XfrmListener(host.name);
  client.aevent(host.id);
  assert.notEqual(client.write(updateOf(host.id)), 0);
  assert.deepEqual(listener.take(), []);
});

/** Runs as root that may not administer networks: what a user without privilege is to netlink. */
const UNPRIVILEGED = `
import { NetlinkSocket } from ${JSON.stringify(source("src/io/netlink_socket.ts"))};
import { XfrmClient, saId } from ${JSON.stringify(source("tests/kernel/xfrm_client.ts"))};
const socket = NetlinkSocket.open(6);
const joined = [1, 2, 3, 4, 5, 6, 7, 8].map((group) => socket.join(group));
socket.close();
using client = new XfrmClient("");
const id = saId("${THERE}", ${SPI});
const asked = [client.aeventErrno(id), client.delete(id), client.flush()];
console.log(JSON.stringify({ joined, asked }));
`;

function source(path: string): string {
  return new URL(`../../${path}`, import.meta.url).href;
}

test("without CAP_NET_ADMIN no group is joined and nothing is answered: EPERM", async (host) => {
  const said = await must([
    ...["ip", "netns", "exec", host.name],
    ...["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"],
    ...[Deno.execPath(), "eval", UNPRIVILEGED],
  ], { env: { NO_COLOR: "1" } });
  const { joined, asked } = JSON.parse(said);
  assert.deepEqual(joined, Array(8).fill(-Errno.Eperm));
  assert.deepEqual(asked, [EPERM, EPERM, EPERM]);
});

test("a message that is no XFRM message at all is refused", (host) => {
  const unknown = (type: number): Refusal =>
    refusal(host, (out) => endNlmsg(out, 0, beginNlmsg(out, 0, type, Request | Ack | Replace, 1)));
  assert.deepEqual([unknown(0x7f).errno, unknown(XfrmMsg.GetAe).errno], [EINVAL, EINVAL]);
});
