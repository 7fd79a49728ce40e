/**
 * The steps `protection` and `association`: ESP in transport mode around the tunnels to one box (RFC 4303,
 * RFC 3884). A protection is policies for both directions, which say which packets need it: what comes
 * without it is dropped by the kernel, and nothing leaves without. An association is SAs with AES-128-GCM
 * (RFC 4106) and extended numbers. Policies name SAs by their reqid, which is made of the overlay's epoch,
 * so that other SPIs change no policy and nobody else's SAs are taken for ours. Keys come as the secret,
 * go to the kernel, and nowhere else.
 *
 * Tunnels are up when their SAs come, and still when they go: for what came out of ESP with no tunnel to
 * take it, the kernel would send an ICMP error, which repeats it in clear.
 *
 * @module
 */
import { wallSeconds } from "../../../io/clock.ts";
import { Errno, errnoText } from "../../../io/errno.ts";
import { inNamespace } from "../../../io/namespace.ts";
import { NetlinkProtocol, NetlinkSocket } from "../../../io/netlink_socket.ts";
import { Family, formatInet, parseInet } from "../../../wire/inet.ts";
import { addNlmsgFlags, NlmsgFlag } from "../../../wire/netlink/nlmsg.ts";
import { XfrmMode, XfrmMsg, XfrmProto, XfrmSaId } from "../../../wire/netlink/xfrm.ts";
import {
  PolicyAction,
  PolicyDirection,
  readPolicy,
  writePolicy,
  writePolicyDelete,
  writePolicyGet,
  XfrmPolicy,
} from "../../../wire/netlink/xfrm_policy.ts";
import { ReplayKind } from "../../../wire/netlink/xfrm_replay.ts";
import {
  readSa,
  SaFlag,
  writeSa,
  writeSaDelete,
  writeSaDump,
  writeSaGet,
  XfrmSa,
} from "../../../wire/netlink/xfrm_sa.ts";
import type { XfrmSelector } from "../../../wire/netlink/xfrm_selector.ts";
import type { NodePlan } from "../../../wire/xbone/node_plan.ts";
import { NetlinkChannel } from "../../netlink_channel.ts";
import type { PlannedStep, StepKind, StepRecord } from "./step.ts";

const CIPHER = "rfc4106(gcm(aes))";
const ICV_BITS = 128;
/** Key and salt: RFC 4106 section 8.1. */
const KEY_FORM = /^[0-9a-f]{40}$/;
/** RFC 4303 section 2.1: 1 to 255 are reserved. */
const SPI_MIN = 256;
const SPI_MAX = 0xffffffff;
/** Packets: of many at once on two cores, some are late. */
const REPLAY_WINDOW = 128;
/** Before those of keying daemons, whose selectors may be wider; the lowest is taken first. */
const PRIORITY = 199;
/** Below are reqids that people write by hand. */
const REQID_MIN = 0x10000;
const REQID_COUNT = 0x7fff0000;
const UDP = 17;
const EPROTONOSUPPORT = 93;
/** How long the other box may go on with what was before. */
const OLD_SECONDS = 30;

const ADD = NlmsgFlag.Request | NlmsgFlag.Ack | NlmsgFlag.Create | NlmsgFlag.Exclusive;
const UPDATE = NlmsgFlag.Request | NlmsgFlag.Ack | NlmsgFlag.Replace;

/** Packets that need protection. */
interface Flow extends StepRecord {
  readonly local: string;
  readonly remote: string;
  readonly port: number;
  readonly reqid: number;
}

/** What stands in the journal for policies. */
export interface ProtectionRecord extends Flow {
  readonly kind: "protection";
}

/** What stands in the journal for SAs. */
export interface AssociationRecord extends Flow {
  readonly kind: "association";
  readonly spiIn: number;
  readonly spiOut: number;
}

/** The secret: 40 hexadecimal digits each. */
interface AssociationKeys {
  readonly keyIn: string;
  readonly keyOut: string;
}

/** The steps of a plan that bring policies. */
export function protectionSteps({ associations, epoch, overlay }: NodePlan): ProtectionRecord[] {
  const reqid = reqidOf(`${overlay} ${epoch}`);
  return associations.map(({ local, remote, port }) => {
    const about = `protection ${local} - ${remote} (UDP port ${port})`;
    return { kind: "protection", about, local, remote, port, reqid };
  });
}

/** The steps of a plan that bring SAs. */
export function associationSteps({ associations, epoch, overlay }: NodePlan): PlannedStep[] {
  const reqid = reqidOf(`${overlay} ${epoch}`);
  return associations.map(({ local, remote, port, spiIn, spiOut, keyIn, keyOut }) => {
    const about = `association ${local} - ${remote} (UDP port ${port})`;
    const record: AssociationRecord = {
      ...{ kind: "association", about, local, remote, port, reqid, spiIn, spiOut },
    };
    return { record, secret: { keyIn, keyOut } satisfies AssociationKeys };
  });
}

/** The step `protection` in the network namespace of that name, or in ours when it is empty. */
export function protectionStep(namespace: string): StepKind<ProtectionRecord> {
  return {
    kind: "protection",
    apply: (record) => using(namespace, record, (kernel) => kernel.addPolicies(record)),
    undo: (record) => {
      // What cannot be was never made.
      if (refusalOf(record) !== "" || !hasXfrm(namespace)) return;
      using(namespace, record, (kernel) => kernel.removePolicies(record));
    },
    drift: (record) => using(namespace, record, (kernel) => kernel.missingPolicies(record)),
  };
}

/**
 * The step `association` there. Other SAs are taken under the same policies; what received before does so for
 * {@linkcode OLD_SECONDS} more, as the other box may change a little later.
 */
export function associationStep(
  namespace: string,
): StepKind<AssociationRecord> & Required<Pick<StepKind<AssociationRecord>, "rekey">> {
  return {
    kind: "association",
    apply: (record, secret) =>
      using(namespace, record, (kernel) => kernel.addSas(record, keysOf(record, secret))),
    undo: (record) => {
      if (refusalOf(record) !== "" || !hasXfrm(namespace)) return;
      using(namespace, record, (kernel) => kernel.removeSas(record));
    },
    drift: (record) => using(namespace, record, (kernel) => kernel.missingSas(record)),
    rekey: (_old, next, secret) =>
      using(namespace, next, (kernel) => {
        const keys = keysOf(next, secret);
        kernel.addSas(next, keys);
        kernel.retire(next);
      }),
  };
}

function using<T>(
  namespace: string,
  record: ProtectionRecord | AssociationRecord,
  work: (kernel: Kernel) => T,
): T {
  const refusal = refusalOf(record);
  if (refusal !== "") throw new Error(`Cannot use ${record.about} as ${refusal}`);
  const kernel = Kernel.open(namespace);
  try {
    return work(kernel);
  } finally {
    kernel.close();
  }
}

/** Whether the kernel has ESP with this cipher and lets us use it: an SA is added, and taken away. */
export function espCapable(namespace: string): boolean {
  if (!hasXfrm(namespace)) return false;
  const kernel = Kernel.open(namespace);
  try {
    const local = "127.0.0.1";
    const spi = SPI_MIN + crypto.getRandomValues(new Uint32Array(1))[0]! % (SPI_MAX - SPI_MIN);
    if (kernel.addSa(local, local, spi, REQID_MIN, "0".repeat(40)) !== 0) return false;
    kernel.deleteSa(local, spi);
    return true;
  } finally {
    kernel.close();
  }
}

/** Whether the kernel has IPsec at all. */
function hasXfrm(namespace: string): boolean {
  const socket = inNamespace(namespace, () => NetlinkSocket.open(NetlinkProtocol.Xfrm));
  if (typeof socket === "number") return socket !== -EPROTONOSUPPORT;
  socket.close();
  return true;
}

/** What is asked of the kernel's IPsec. */
class Kernel {
  readonly #channel: NetlinkChannel;
  #sa = new XfrmSa();
  readonly #policy = new XfrmPolicy();

  static open(namespace: string): Kernel {
    return inNamespace(
      namespace,
      () => new Kernel(NetlinkChannel.open(NetlinkProtocol.Xfrm, "XFRM")),
    );
  }

  private constructor(channel: NetlinkChannel) {
    this.#channel = channel;
  }

  close(): void {
    this.#sa.aead.clear();
    this.#channel.close();
  }

  /** The receiving one first; on failure none of the two is left that was not there. */
  addSas(record: AssociationRecord, { keyIn, keyOut }: AssociationKeys): void {
    const { local, remote, spiIn, spiOut } = record;
    const wasThere = this.#ensureSa(remote, local, spiIn, keyIn, record);
    try {
      this.#ensureSa(local, remote, spiOut, keyOut, record);
    } catch (error) {
      if (!wasThere) this.deleteSa(local, spiIn);
      throw error;
    }
  }

  /** Adds one; 0 or an errno, positive. */
  addSa(from: string, to: string, spi: number, reqid: number, key: string): number {
    this.#sa.aead.clear();
    const { aead, id, replay, saddr } = this.#sa = new XfrmSa();
    id.family = parseInet(to, id.daddr);
    id.spi = spi;
    id.proto = XfrmProto.Esp;
    parseInet(from, saddr);
    this.#sa.reqid = reqid;
    this.#sa.mode = XfrmMode.Transport;
    this.#sa.flags = SaFlag.Esn;
    replay.kind = ReplayKind.Esn;
    replay.window = REPLAY_WINDOW;
    replay.words = REPLAY_WINDOW / 32;
    replay.bitmap.fill(0);
    const bytes = Uint8Array.fromHex(key);
    aead.set(CIPHER, bytes, ICV_BITS);
    bytes.fill(0);
    return this.#sendSa(XfrmMsg.NewSa, ADD);
  }

  /** Deletes one; gone already is fine. */
  deleteSa(to: string, spi: number): void {
    const { out } = this.#channel;
    const size = writeSaDelete(out, 0, this.#channel.next(), saId(to, spi));
    this.#refuse(this.#channel.request(size), Errno.Esrch, `delete SA ${spiText(spi)}`);
  }

  /** Ends all of ours but these: a program that was killed may have left more than it knew of. */
  retire(record: AssociationRecord): void {
    const { local, spiIn, spiOut } = record;
    for (const [to, spi] of this.#ownSas(record)) {
      if (to !== local && spi !== spiOut) this.deleteSa(to, spi);
      if (to === local && spi !== spiIn) this.#expireSa(to, spi);
    }
  }

  addPolicies(record: ProtectionRecord): void {
    for (const direction of [PolicyDirection.In, PolicyDirection.Out]) {
      const { out } = this.#channel;
      this.#setPolicy(record, direction);
      const type = XfrmMsg.NewPolicy;
      const size = writePolicy(out, 0, this.#channel.next(), type, ADD, this.#policy);
      const errno = this.#channel.request(size);
      if (errno === Errno.Eexist) {
        if (this.#reqidOfPolicy(record, direction) === record.reqid) continue;
        throw new Error(
          `Cannot add ${record.about} as somebody else's policy is for the same packets: see ` +
            "ip xfrm policy, and give this overlay another port",
        );
      }
      this.#refuse(errno, 0, `add a policy of ${record.about}`);
    }
  }

  removeSas(record: AssociationRecord): void {
    for (const [to, spi] of this.#ownSas(record)) this.deleteSa(to, spi);
  }

  removePolicies(record: ProtectionRecord): void {
    for (const direction of [PolicyDirection.In, PolicyDirection.Out]) {
      if (this.#reqidOfPolicy(record, direction) !== record.reqid) continue;
      const { out } = this.#channel;
      this.#setPolicy(record, direction);
      const size = writePolicyDelete(out, 0, this.#channel.next(), this.#policy);
      const errno = this.#channel.request(size);
      this.#refuse(errno, Errno.Enoent, `delete a policy of ${record.about}`);
    }
  }

  missingSas(record: AssociationRecord): string[] {
    const { about, local, remote, reqid, spiIn, spiOut } = record;
    return ([[local, spiIn], [remote, spiOut]] as const)
      .filter(([to, spi]) => !this.#readSa(to, spi) || this.#sa.reqid !== reqid)
      .map(([to, spi]) => `${about}: SA ${spiText(spi)} to ${to} is missing`);
  }

  missingPolicies(record: ProtectionRecord): string[] {
    return ([["in", PolicyDirection.In], ["out", PolicyDirection.Out]] as const)
      .filter(([, direction]) => this.#reqidOfPolicy(record, direction) !== record.reqid)
      .map(([name]) => `${record.about}: policy ${name} is missing`);
  }

  /** Lets the kernel delete one after a while: UPDSA takes limits, and leaves the rest. */
  #expireSa(to: string, spi: number): void {
    if (!this.#readSa(to, spi) || this.#sa.limits.hardAddSeconds > 0) return;
    this.#sa.limits.hardAddSeconds = Math.max(1, wallSeconds() - this.#sa.addTime) + OLD_SECONDS;
    this.#sa.hasLifetime = false;
    const errno = this.#sendSa(XfrmMsg.UpdSa, UPDATE);
    this.#refuse(errno, Errno.Esrch, `end SA ${spiText(spi)}`);
  }

  /** True when it was there. What is there stays, as numbers that begin again would break GCM. */
  #ensureSa(
    from: string,
    to: string,
    spi: number,
    key: string,
    { about, reqid }: AssociationRecord,
  ): boolean {
    const errno = this.addSa(from, to, spi, reqid, key);
    if (errno === Errno.Eexist && this.#readSa(to, spi) && this.#sa.reqid === reqid) return true;
    this.#refuse(errno, 0, `add SA ${spiText(spi)} of ${about}`);
    return false;
  }

  #readSa(to: string, spi: number): boolean {
    const { out } = this.#channel;
    let found = false;
    const size = writeSaGet(out, 0, this.#channel.next(), saId(to, spi));
    addNlmsgFlags(out, 0, NlmsgFlag.Ack); // the answer is none
    const errno = this.#channel.request(size, (from, message) => {
      if (readSa(from, message, this.#sa) >= 0) found = true;
      from.bytes.fill(0, message.at, message.end);
    });
    this.#refuse(errno, Errno.Esrch, `read SA ${spiText(spi)}`);
    return found;
  }

  /** Where they go, and their SPIs: those that were taken the place of too. */
  #ownSas({ local, remote, reqid }: AssociationRecord): [to: string, spi: number][] {
    const channel = this.#channel;
    const ends = [`${local} ${remote}`, `${remote} ${local}`];
    let found: [string, number][] = [];
    const errno = channel.dump(
      () => writeSaDump(channel.out, 0, channel.next(), XfrmProto.Esp),
      (from, message) => {
        const sa = this.#sa;
        const status = readSa(from, message, sa);
        from.bytes.fill(0, message.at, message.end);
        if (status < 0 || sa.reqid !== reqid || sa.id.spi === 0) return;
        const to = formatInet(sa.id.family, sa.id.daddr);
        if (ends.includes(`${formatInet(sa.id.family, sa.saddr)} ${to}`)) {
          found.push([to, sa.id.spi]);
        }
      },
      () => found = [],
    );
    this.#refuse(errno, 0, "read the kernel's SAs");
    return found;
  }

  /** 0 when there is no policy for these packets. */
  #reqidOfPolicy(record: ProtectionRecord, direction: number): number {
    const { out } = this.#channel;
    const policy = this.#policy;
    let reqid = 0;
    this.#setPolicy(record, direction);
    const size = writePolicyGet(out, 0, this.#channel.next(), policy);
    addNlmsgFlags(out, 0, NlmsgFlag.Ack); // the answer is none
    const errno = this.#channel.request(size, (from, message) => {
      if (readPolicy(from, message, policy) < 0) return;
      reqid = policy.templateCount === 1 ? policy.templates[0]!.reqid : -1;
    });
    this.#refuse(errno, Errno.Enoent, `read a policy of ${record.about}`);
    return reqid;
  }

  #setPolicy({ local, port, remote, reqid }: ProtectionRecord, direction: number): void {
    const policy = this.#policy;
    const inward = direction === PolicyDirection.In;
    policy.direction = direction;
    policy.action = PolicyAction.Allow;
    policy.priority = PRIORITY;
    policy.templateCount = 1;
    policy.type =
      policy.ifId =
      policy.markValue =
      policy.markMask =
        0;
    policy.index = policy.flags = policy.share = 0;
    setSelector(policy.selector, inward ? remote : local, inward ? local : remote, port);
    const template = policy.templates[0]!;
    template.proto = XfrmProto.Esp;
    template.family = policy.selector.family;
    template.mode = XfrmMode.Transport;
    template.reqid = reqid;
    template.spi = template.share = template.optional = 0;
    template.aalgos = template.ealgos = template.calgos = 0xffffffff;
    template.saddr.fill(0); // those of the packet
    template.daddr.fill(0);
  }

  /** Sends what is in the record, and leaves no key in memory. */
  #sendSa(type: number, flags: number): number {
    const { out } = this.#channel;
    const size = writeSa(out, 0, this.#channel.next(), type, flags, this.#sa);
    const errno = this.#channel.request(size);
    out.bytes.fill(0, 0, size);
    this.#channel.socket.in.bytes.fill(0, 0, 2 * size); // a refusal repeats the request
    this.#sa.aead.clear();
    return errno;
  }

  #refuse(errno: number, allowed: number, what: string): void {
    if (errno === 0 || errno === allowed) return;
    const { text } = this.#channel;
    const remedy = errno === Errno.Eperm ? ", it needs CAP_NET_ADMIN: run it as root" : "";
    throw new Error(`Cannot ${what}: ${text === "" ? errnoText(errno) : text}${remedy}`);
  }
}

function saId(to: string, spi: number): XfrmSaId {
  const id = new XfrmSaId();
  id.family = parseInet(to, id.daddr);
  id.spi = spi;
  id.proto = XfrmProto.Esp;
  return id;
}

function setSelector(selector: XfrmSelector, from: string, to: string, port: number): void {
  parseInet(from, selector.saddr);
  selector.family = parseInet(to, selector.daddr);
  selector.prefixlenS = selector.prefixlenD = selector.family === Family.Inet ? 32 : 128;
  selector.proto = UDP;
  selector.dport = port;
  selector.dportMask = 0xffff;
  // Tunnels send from many ports, which spreads them over paths: RFC 7348 section 5.
  selector.sport =
    selector.sportMask =
    selector.ifindex =
    selector.user =
      0;
}

/** 31 bits by FNV-1a. */
function reqidOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  }
  return REQID_MIN + hash % REQID_COUNT;
}

function spiText(spi: number): string {
  return `0x${spi.toString(16).padStart(8, "0")}`;
}

/** Why a record cannot be; empty when it can. */
function refusalOf(record: ProtectionRecord | AssociationRecord): string {
  const { local, port, remote } = record;
  const bytes = new Uint8Array(16);
  const family = parseInet(local, bytes);
  if (family === Family.None || parseInet(remote, bytes) !== family) {
    return `its ends must be two addresses of one family: current value is ${local} and ${remote}`;
  }
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    return `its port must be 1 to 65535: current value is ${port}`;
  }
  if (record.kind === "protection") return "";
  const wrong = [record.spiIn, record.spiOut].find((spi) =>
    !Number.isInteger(spi) || spi < SPI_MIN || spi > SPI_MAX
  );
  return wrong === undefined ? "" : `SPIs are 256 to 4294967295: current value is ${wrong}`;
}

/** Does not tell what a wrong key was. */
function keysOf({ about }: AssociationRecord, secret: unknown): AssociationKeys {
  const { keyIn, keyOut } = (secret ?? {}) as Partial<AssociationKeys>;
  for (const key of [keyIn, keyOut]) {
    if (typeof key === "string" && KEY_FORM.test(key)) continue;
    throw new Error(
      `Cannot use ${about} as its keys must be 40 hexadecimal digits each: current value is ` +
        `${typeof key === "string" ? `${key.length} characters` : "missing"}`,
    );
  }
  return { keyIn: keyIn!, keyOut: keyOut! };
}
