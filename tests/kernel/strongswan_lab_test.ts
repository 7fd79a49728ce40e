/** strongSwan's IKE daemon on a gateway of two boxes: what it puts into the kernel, and what is left. */
import assert from "node:assert/strict";
import { NetlinkProtocol, NetlinkSocket } from "../../src/io/netlink_socket.ts";
import { type Region, regionOf } from "../../src/mem/region.ts";
import {
  addNlmsgFlags,
  beginNlmsg,
  endNlmsg,
  Nlmsg,
  NlmsgFlag,
  readNlmsg,
} from "../../src/wire/netlink/nlmsg.ts";
import {
  AeFlag,
  XfrmGroup,
  xfrmMessageName,
  XfrmMode,
  XfrmMsg,
} from "../../src/wire/netlink/xfrm.ts";
import { readAevent, writeAeventGet, XfrmAevent } from "../../src/wire/netlink/xfrm_aevent.ts";
import {
  readSa,
  SaFlag,
  writeSa,
  writeSaBody,
  writeSaDump,
  XfrmSa,
} from "../../src/wire/netlink/xfrm_sa.ts";
import {
  Charon,
  type ChildSa,
  ignoreWithoutStrongswan,
  TUNNEL_CHILD,
  tunnelConfiguration,
} from "../interop/strongswan.ts";
import { type Box, type Host, takeEsp, type Tunnel, XfrmLab } from "../interop/xfrm_lab.ts";
import { LabUdp } from "../interop/uml_sockets.ts";

const ignore = await ignoreWithoutStrongswan();

const SETTINGS = "delete_rekeyed_delay = 1";
/** Nobody waits as long as charon does when nothing else is said: 165 s until it gives up. */
const HASTY = `retransmit_tries = 1
  retransmit_timeout = 0.5`;
const GCM = "aes128gcm16-noesn";
const TUNNEL: Tunnel = { number: 1 };
/** In struct xfrm_userpolicy_info. */
const POLICY_PRIORITY = 152;
const POLICY_DIRECTION = 160;
/** XFRM_POLICY_IN, OUT and FWD; more are policies of one socket. */
const DIRECTION_MAX = 2;
const SOFT_OF_HARD = 0.8;
const PORT = 4000;
const OUT_COUNT = 5;
const IN_COUNT = 7;
const ARRIVE_DEADLINE_MS = 500;

interface Policy {
  direction: number;
  priority: number;
  body: Region;
}

/** A laboratory with charons, which end before it; their logs go with the guest. */
class IkeLab implements AsyncDisposable {
  readonly lab: XfrmLab;
  readonly #charons: Charon[] = [];

  private constructor(lab: XfrmLab) {
    this.lab = lab;
  }

  static async create(tunnel = TUNNEL): Promise<IkeLab> {
    const lab = await XfrmLab.create();
    await lab.ip("peer", lab.routeLines(tunnel, "peer"));
    await lab.ip("active", lab.routeLines(tunnel, "gateway"));
    return new IkeLab(lab);
  }

  async start(
    host: Host,
    options: { tunnel?: Tunnel; esp?: string; connection?: string; settings?: string } = {},
  ): Promise<Charon> {
    const { lab } = this;
    const { tunnel = TUNNEL, esp = GCM, connection = "mobike = no", settings = SETTINGS } = options;
    const version = tunnel.version ?? 4;
    const length = version === 6 ? 128 : 32;
    const ends = [
      { address: lab.gateway(version), network: `${lab.inner(tunnel, "gateway")}/${length}` },
      { address: lab.own("peer", version), network: `${lab.inner(tunnel, "peer")}/${length}` },
    ];
    const [near, far] = host === "peer" ? ends.reverse() : ends;
    const configuration = tunnelConfiguration({
      local: near!.address,
      remote: far!.address,
      localNetwork: near!.network,
      remoteNetwork: far!.network,
      esp,
      connection,
    });
    const directory = await Deno.makeTempDir({ prefix: `charon_${host}_` });
    const namespace = lab.names[host];
    const charon = await Charon.start({ namespace, directory, configuration, settings });
    this.#charons.push(charon);
    return charon;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const charon of this.#charons) await charon.kill();
    await this.lab[Symbol.asyncDispose]();
  }
}

/** The only CHILD_SA of a charon. */
async function onlyChild(charon: Charon): Promise<ChildSa> {
  const children = (await charon.list()).flatMap((sa) => sa.children);
  assert.equal(children.length, 1);
  return children[0]!;
}

function dumpSas(lab: XfrmLab, host: Host): XfrmSa[] {
  const channel = lab.channel(host);
  try {
    const sas: XfrmSa[] = [];
    const keep = (from: Region, message: Nlmsg): void => {
      const sa = new XfrmSa();
      assert.ok(readSa(from, message, sa) >= 0);
      sas.push(sa);
    };
    const ask = (): number => writeSaDump(channel.out, 0, channel.next());
    assert.equal(channel.dump(ask, keep, () => sas.length = 0), 0, channel.text);
    return sas;
  } finally {
    channel.close();
  }
}

/** Sorted as texts, which suffices to compare. SAs themselves have keys, which nobody is to read. */
function spisOf(lab: XfrmLab, host: Host): number[] {
  return dumpSas(lab, host).map(({ id }) => id.spi).sort();
}

function dumpPolicies(lab: XfrmLab, host: Host): Policy[] {
  const channel = lab.channel(host);
  try {
    const policies: Policy[] = [];
    const keep = (from: Region, { at, end }: Nlmsg): void => {
      const body = regionOf(from.bytes.slice(at, end));
      const direction = body.view.getUint8(POLICY_DIRECTION);
      const priority = body.view.getUint32(POLICY_PRIORITY, true);
      policies.push({ direction, priority, body });
    };
    const { Request, Dump } = NlmsgFlag;
    const ask = (): number =>
      endNlmsg(
        channel.out,
        0,
        beginNlmsg(channel.out, 0, XfrmMsg.GetPolicy, Request | Dump, channel.next()),
      );
    assert.equal(channel.dump(ask, keep, () => policies.length = 0), 0, channel.text);
    return policies;
  } finally {
    channel.close();
  }
}

/** The policies of networks; those of single sockets are left out. */
function networkPolicies(lab: XfrmLab, host: Host): Policy[] {
  return dumpPolicies(lab, host).filter(({ direction }) => direction <= DIRECTION_MAX);
}

function getAevent(lab: XfrmLab, host: Host, sa: XfrmSa): XfrmAevent {
  const channel = lab.channel(host);
  try {
    const event = new XfrmAevent();
    const flags = AeFlag.Rthr | AeFlag.Ethr;
    const size = writeAeventGet(channel.out, 0, channel.next(), 0, sa.id, flags);
    addNlmsgFlags(channel.out, 0, NlmsgFlag.Ack);
    const read = (from: Region, message: Nlmsg): void => {
      assert.ok(readAevent(from, message, event) >= 0);
    };
    assert.equal(channel.request(size, read), 0, channel.text);
    return event;
  } finally {
    channel.close();
  }
}

/** Puts SAs and policies of the active box into the standby's kernel, as at a takeover. */
function install(lab: XfrmLab, sas: readonly XfrmSa[], policies: readonly Policy[]): number[] {
  const channel = lab.channel("standby");
  const { Request, Ack, Create, Exclusive } = NlmsgFlag;
  const flags = Request | Ack | Create | Exclusive;
  try {
    return [
      ...sas.map((sa) => {
        sa.hasLifetime = true;
        sa.replay.oseq += 100;
        return channel.request(writeSa(channel.out, 0, channel.next(), XfrmMsg.NewSa, flags, sa));
      }),
      ...policies.map(({ body }) =>
        channel.request(
          writeSaBody(
            ...[channel.out, 0, channel.next(), XfrmMsg.NewPolicy, flags, body, 0] as const,
            body.bytes.length,
          ),
        )
      ),
    ];
  } finally {
    channel.close();
  }
}

/** Moves everything but IKE from the active box to the standby. */
async function takeOver(lab: XfrmLab): Promise<void> {
  const sas = dumpSas(lab, "active");
  const policies = networkPolicies(lab, "active");
  await lab.ip("active", ["xfrm state flush", "xfrm policy flush"]);
  await lab.giveGateway("standby");
  assert.deepEqual(install(lab, sas, policies), [...sas, ...policies].map(() => 0));
  await lab.ip("standby", lab.routeLines(TUNNEL, "gateway"));
}

/** Whether packets pass both ways. With other processes about, the kernel may deliver them later. */
async function passes(lab: XfrmLab, tunnel: Tunnel, box: Box): Promise<boolean> {
  const ends = [lab.inner(tunnel, "gateway"), lab.inner(tunnel, "peer")] as const;
  using gateway = new LabUdp(lab.names[box], ends[0], PORT);
  using peer = new LabUdp(lab.names.peer, ends[1], PORT);
  const out = await arrive(peer, gateway.send(ends[1], PORT, OUT_COUNT));
  return out === OUT_COUNT &&
    await arrive(gateway, peer.send(ends[0], PORT, IN_COUNT)) === IN_COUNT;
}

async function arrive(socket: LabUdp, wanted: number): Promise<number> {
  const deadline = performance.now() + ARRIVE_DEADLINE_MS;
  let count = socket.drain();
  while (count < wanted && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    count += socket.drain();
  }
  return count;
}

/** Messages of the kernel, in order, by their names. */
class Events implements Disposable {
  readonly #socket: NetlinkSocket;

  constructor(lab: XfrmLab, host: Host, groups: readonly number[]) {
    const socket = lab.inside(host, () => NetlinkSocket.open(NetlinkProtocol.Xfrm));
    assert.ok(socket instanceof NetlinkSocket);
    for (const group of groups) assert.equal(socket.join(group), 0);
    this.#socket = socket;
  }

  take(): string[] {
    const names: string[] = [];
    const message = new Nlmsg();
    for (let size = 0; (size = this.#socket.receive()) > 0;) {
      for (let at = 0; at < size;) {
        at = readNlmsg(this.#socket.in, at, size, message);
        assert.ok(at > 0);
        names.push(xfrmMessageName(message.type));
      }
    }
    return names;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

interface Kind {
  esp: string;
  encryption: string;
  esn: boolean;
  tunnel: Tunnel;
}

const KINDS: Kind[] = [
  { esp: "aes128gcm16-esn", encryption: "AES_GCM_16", esn: true, tunnel: TUNNEL },
  { esp: "aes128-sha256-noesn", encryption: "AES_CBC", esn: false, tunnel: TUNNEL },
  {
    esp: "aes128-sha256-esn",
    encryption: "AES_CBC",
    esn: true,
    tunnel: { number: 1, version: 6 },
  },
];

Deno.test.each(KINDS)(
  "charons make SAs with $esp, and the kernel encrypts",
  { ignore },
  async (kind) => {
    const { esp, esn, tunnel } = kind;
    await using ike = await IkeLab.create(tunnel);
    const { lab } = ike;
    lab.setSysctl("active", "core/xfrm_aevent_rseqth", 8);
    lab.setSysctl("active", "core/xfrm_aevent_etime", 3);
    await ike.start("peer", { tunnel, esp });
    const charon = await ike.start("active", { tunnel, esp });
    await charon.initiate(TUNNEL_CHILD);

    using tap = lab.tap("active");
    assert.ok(await passes(lab, tunnel, "active"));
    const child = await onlyChild(charon);
    assert.deepEqual([child.state, child.encryption, child.esn], [
      "INSTALLED",
      kind.encryption,
      esn,
    ]);
    assert.deepEqual([child.packetsOut, child.packetsIn], [OUT_COUNT, IN_COUNT]);
    const seen = takeEsp(tap).map(({ spi }) => spi);
    assert.deepEqual(seen, [
      ...Array(OUT_COUNT).fill(child.spiOut),
      ...Array(IN_COUNT).fill(child.spiIn),
    ]);

    const sas = dumpSas(lab, "active");
    const sa = (spi: number): XfrmSa => sas.find(({ id }) => id.spi === spi)!;
    assert.equal(sas.length, 2);
    for (const { id, reqid, mode, flags, limits, ifId } of sas) {
      assert.deepEqual([reqid, mode, id.markMask, ifId], [child.reqid, XfrmMode.Tunnel, 0, 0]);
      assert.equal(flags, SaFlag.AfUnspec | (esn ? SaFlag.Esn : 0));
      assert.equal(limits.hardAddSeconds, 3960);
      assert.ok(limits.softAddSeconds > SOFT_OF_HARD * limits.hardAddSeconds);
    }
    const window = (of: XfrmSa): number => of.replayWindow + of.replay.window;
    assert.deepEqual([window(sa(child.spiIn)), window(sa(child.spiOut))], [32, esn ? 1 : 0]);
    assert.deepEqual([sa(child.spiIn).replay.seq, sa(child.spiOut).replay.oseq], [
      IN_COUNT,
      OUT_COUNT,
    ]);
    for (
      const { replayThreshold, timerThreshold } of sas.map((sa) => getAevent(lab, "active", sa))
    ) {
      assert.deepEqual(
        [replayThreshold, timerThreshold],
        [8, 3],
        "charon sets none: the sysctls do",
      );
    }

    const policies = networkPolicies(lab, "active");
    assert.deepEqual(policies.map(({ direction }) => direction).sort(), [0, 1, 2]);
    assert.equal(new Set(policies.map(({ priority }) => priority)).size, 1);
    const ofSockets = dumpPolicies(lab, "active").filter(({ direction }) =>
      direction > DIRECTION_MAX
    );
    assert.ok(ofSockets.length > 0, "a dump has the policies of charon's sockets too");
  },
);

Deno.test(
  "a new tunnel and a rekey show as UPDSA and NEWSA, then policies, then DELSA",
  { ignore },
  async () => {
    await using ike = await IkeLab.create();
    const { lab } = ike;
    const peer = await ike.start("peer");
    const charon = await ike.start("active");
    using events = new Events(lab, "active", [XfrmGroup.Sa, XfrmGroup.Policy]);
    await charon.initiate(TUNNEL_CHILD);
    const [updSa, newSa, delSa] = ["UPDSA", "NEWSA", "DELSA"];
    const policies = (name: string): string[] => Array(3).fill(name);
    assert.deepEqual(events.take(), [updSa, newSa, ...policies("NEWPOLICY")]);
    const { priority } = networkPolicies(lab, "active")[0]!;
    const selector = `src ${lab.inner(TUNNEL, "gateway")}/32 dst ${lab.inner(TUNNEL, "peer")}/32`;
    await lab.ip("active", [
      `xfrm policy update ${selector} dir out action block priority ${priority}`,
    ]);
    assert.deepEqual([await passes(lab, TUNNEL, "active"), events.take()], [false, ["UPDPOLICY"]]);
    await charon.rekey(TUNNEL_CHILD);
    assert.deepEqual(events.take(), [updSa, newSa, ...policies("UPDPOLICY"), delSa, delSa]);
    assert.ok(await passes(lab, TUNNEL, "active"), "a rekey undoes what others did to a policy");
    await charon.stop();
    assert.deepEqual(events.take(), [...policies("DELPOLICY"), delSa, delSa]);
    assert.deepEqual(spisOf(lab, "active"), []);
    await peer.until("the peer was told", (sas) => sas.length === 0);
    assert.deepEqual(spisOf(lab, "peer"), []);
  },
);

Deno.test(
  "a killed charon leaves its SAs; another box's charon leaves them alone, and replaces their policies",
  { ignore },
  async () => {
    await using ike = await IkeLab.create();
    const { lab } = ike;
    const peer = await ike.start("peer");
    const active = await ike.start("active");
    await active.initiate(TUNNEL_CHILD);
    const old = await onlyChild(active);
    await active.kill();
    assert.ok(await passes(lab, TUNNEL, "active"), "the kernel needs no IKE");
    await takeOver(lab);
    assert.ok(await passes(lab, TUNNEL, "standby"));

    const charon = await ike.start("standby");
    assert.equal(dumpSas(lab, "standby").length, 2, "a start flushes nothing");
    assert.equal(networkPolicies(lab, "standby").length, 3);
    assert.ok(await passes(lab, TUNNEL, "standby"));

    await charon.initiate(TUNNEL_CHILD);
    const young = await onlyChild(charon);
    assert.match(charon.log(), /policy already exists, try to update it/);
    assert.equal(networkPolicies(lab, "standby").length, 3);
    const spis = spisOf(lab, "standby");
    assert.deepEqual(spis, [old.spiIn, old.spiOut, young.spiIn, young.spiOut].sort());
    assert.match(peer.log(), /received INITIAL_CONTACT/);
    await peer.until("the peer drops the old ones", (sas) => sas.length === 1);
    assert.equal((await onlyChild(peer)).spiIn, young.spiOut);
    using tap = lab.tap("standby");
    assert.ok(await passes(lab, TUNNEL, "standby"));
    const used = new Set(takeEsp(tap).map(({ spi }) => spi));
    assert.deepEqual(used, new Set([young.spiOut, young.spiIn]));

    await charon.stop();
    const left = spisOf(lab, "standby");
    assert.deepEqual(left, [old.spiIn, old.spiOut].sort(), "a stop removes what charon made");
    assert.deepEqual(networkPolicies(lab, "standby"), []);
  },
);

Deno.test("a peer asks for life only when no packets come, and drops the SAs when nobody answers", {
  ignore,
}, async () => {
  await using ike = await IkeLab.create();
  const { lab } = ike;
  const peer = await ike.start("peer", {
    connection: "mobike = no\ndpd_delay = 2s",
    settings: HASTY,
  });
  const active = await ike.start("active");
  await active.initiate(TUNNEL_CHILD);
  await active.kill();
  await takeOver(lab);
  const end = performance.now() + 3500;
  while (performance.now() < end) {
    assert.ok(await passes(lab, TUNNEL, "standby"));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.doesNotMatch(peer.log(), /sending DPD request/);
  await peer.until("the peer gives up", (sas) => sas.length === 0);
  assert.match(peer.log(), /sending DPD request[^]*giving up after 1 retransmits/);
  assert.deepEqual(spisOf(lab, "peer"), []);
  assert.equal(dumpSas(lab, "standby").length, 2);
  assert.ok(!await passes(lab, TUNNEL, "standby"));
});

Deno.test(
  "with MOBIKE a charon that lost the gateway's address takes the SAs along",
  { ignore },
  async () => {
    await using ike = await IkeLab.create();
    const { lab } = ike;
    const peer = await ike.start("peer", { connection: "mobike = yes" });
    const active = await ike.start("active", { connection: "mobike = yes" });
    await active.initiate(TUNNEL_CHILD);
    await lab.giveGateway("standby");
    await peer.until(
      "the peer has moved the SAs",
      () => peer.log().includes(`remote endpoint changed from ${lab.gateway(4)}`),
    );
  },
);

Deno.test(
  "without MOBIKE a charon that lost the gateway's address ends unheard",
  { ignore },
  async () => {
    await using ike = await IkeLab.create();
    const { lab } = ike;
    await ike.start("peer");
    const active = await ike.start("active");
    await active.initiate(TUNNEL_CHILD);
    await takeOver(lab);
    await active.stop();
    assert.match(active.log(), /sending DELETE for IKE_SA/);
    assert.equal(dumpSas(lab, "peer").length, 2);
    assert.ok(await passes(lab, TUNNEL, "standby"));
  },
);
