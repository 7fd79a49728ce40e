/**
 * Decides about MP_JOIN before the kernel accepts it, as the kernel's path managers ask nobody: sets of
 * tokens in a table of nftables, a log of all attempts (NFLOG), and, where somebody shall be asked each time, a
 * queue (NFQUEUE). What no set names is judged by the table's own rules, so that a join never waits
 * for a program that has hung.
 *
 * @module
 */
import { Errno, errnoText } from "../../io/errno.ts";
import { inNamespace } from "../../io/namespace.ts";
import { NetlinkProtocol } from "../../io/netlink_socket.ts";
import type { Region } from "../../mem/region.ts";
import type { PathEvent } from "../../proto/mptcp/path_events.ts";
import { formatInet } from "../../wire/inet.ts";
import { JoinAttempt, readJoin } from "../../wire/mptcp/join_option.ts";
import {
  GUARD_TOKENS_MAX,
  GuardDefault,
  GuardPrefix,
  writeGuard,
  writeGuardAllow,
  writeGuardDelete,
  writeGuardDeny,
  writeGuardLink,
  writeGuardTokens,
} from "../../wire/netlink/join_guard.ts";
import {
  NFLOG_PACKET,
  NflogPacket,
  nflogPrefixIs,
  readNflogPacket,
  writeNflogBind,
} from "../../wire/netlink/nfnetlink_log.ts";
import {
  NFQUEUE_PACKET,
  NfqueuePacket,
  NfVerdict,
  readNfqueuePacket,
  writeNfqueueBind,
  writeNfqueueVerdict,
} from "../../wire/netlink/nfnetlink_queue.ts";
import {
  joinNftBatches,
  readNftGeneration,
  writeNftGenerationRequest,
} from "../../wire/netlink/nftables.ts";
import { Nlmsg, readNlmsg } from "../../wire/netlink/nlmsg.ts";
import type { JoinsConfig } from "../config/paths_config.ts";
import { NetlinkChannel } from "../netlink_channel.ts";

/** Name of the table. */
const TABLE = "fairlead-joins";
/** Group of NFLOG and number of the NFQUEUE: "MP". */
const NUMBER = 0x4d50;
/** Headers of IP and TCP with all options. */
const PACKET_BYTES = 256;
/** The kernel gives it to no connection. */
const NO_TOKEN = 0;
/** The whole table with what is in its sets is written at once; the kernel takes some 200 KiB. */
const TABLE_BYTES = 128 * 1024;
/** What else does not fit goes in further batches. */
const TABLE_ROOM = 4096;
/** Joins that wait for a decision at once; further ones are judged as when nobody is there. */
const WAITING_MAX = 256;
/** A peer that gets no answer asks again, for about so long. */
const REFUSED_MS = 30_000;
/** Ids that were allowed and not used; the oldest go first. */
const ALLOWED_MAX = 4096;

/** Who may join when no rule of a connection says. */
export type JoinsDefault = Pick<JoinsConfig, "default" | "interfaces">;

/** How a {@linkcode JoinGuard} is made. */
export interface GuardOptions {
  readonly namespace: string;
  readonly config: JoinsConfig;
  /** True while somebody has subscribed to join attempts. */
  decides(): boolean;
  tell(event: PathEvent): void;
}

/** What it has seen. */
export interface GuardCounters {
  accepted: number;
  refused: number;
  /** Decided by another program. */
  answered: number;
  /** Nobody decided in time, or nobody was there to. */
  unanswered: number;
  /** Subflows that were there against the rules, and were ended. */
  evicted: number;
}

interface Waiting {
  readonly packet: number;
  readonly token: number;
  readonly remoteId: number;
  readonly untilMs: number;
  /** The attempt, by what its repetitions have in common. */
  readonly key: string;
}

/** One namespace's guard. */
export class JoinGuard {
  readonly counters: GuardCounters = {
    accepted: 0,
    refused: 0,
    answered: 0,
    unanswered: 0,
    evicted: 0,
  };
  readonly #options: GuardOptions;
  readonly #table: NetlinkChannel;
  readonly #log: NetlinkChannel;
  readonly #queue: NetlinkChannel | null;
  readonly #message = new Nlmsg();
  readonly #logged = new NflogPacket();
  readonly #queued = new NfqueuePacket();
  readonly #attempt = new JoinAttempt();
  readonly #tokens = new Uint32Array(GUARD_TOKENS_MAX);
  /** Rules of connections, by token. */
  readonly #rules = new Map<number, "accept" | "refuse">();
  /** Allowed once: token and address id. */
  readonly #allowed = new Map<string, { token: number; remoteId: number }>();
  /** Let in from the queue by a decision. */
  readonly #admitted = new Map<string, number>();
  /** Refused beforehand: token and address id. */
  readonly #denied = new Map<string, { token: number; remoteId: number }>();
  readonly #waiting: Waiting[] = [];
  #generation = -1;
  /** Attempts that were refused, and until when their repetitions are. */
  readonly #refused = new Map<string, number>();
  #config: JoinsConfig;
  #default: JoinsDefault;
  #links: readonly string[] = [];

  /**
   * Loads the table and listens.
   *
   * @throws with the remedy when the kernel lacks a part, or somebody else has the log's group
   */
  static open(options: GuardOptions): JoinGuard {
    const opened: NetlinkChannel[] = [];
    try {
      return new JoinGuard(options, opened);
    } catch (error) {
      for (const channel of opened) channel.close();
      throw error;
    }
  }

  private constructor(options: GuardOptions, opened: NetlinkChannel[]) {
    this.#options = options;
    this.#config = this.#default = options.config;
    const { config: { decide, whenAway }, namespace } = options;
    const open = (bytes?: number): NetlinkChannel => {
      const channel = inNamespace(
        namespace,
        () => NetlinkChannel.open(NetlinkProtocol.Netfilter, "nftables", bytes),
      );
      opened.push(channel);
      return channel;
    };
    this.#table = open(TABLE_BYTES);
    this.#log = open();
    const bind = writeNflogBind(this.#log.out, 0, this.#log.next(), NUMBER, PACKET_BYTES);
    check(this.#log.request(bind), this.#log, "listen to the log of joins");
    this.#queue = decide === "queue" ? open() : null;
    if (this.#queue !== null) {
      const { out } = this.#queue;
      const open = whenAway === "accept";
      const sequence = this.#queue.next();
      const size = writeNfqueueBind(out, 0, sequence, NUMBER, PACKET_BYTES, WAITING_MAX, open);
      check(this.#queue.request(size), this.#queue, "listen to the queue of joins");
    }
    this.#install();
  }

  /** Readable when there is something for {@linkcode drain}. */
  get descriptors(): readonly number[] {
    const log = this.#log.socket.fd;
    return this.#queue === null ? [log] : [log, this.#queue.socket.fd];
  }

  /** When the oldest join that waits must be decided. */
  get deadlineMs(): number {
    return this.#waiting.reduce((least, { untilMs }) => Math.min(least, untilMs), Infinity);
  }

  /** Tells of attempts, and decides about those that nobody has decided. */
  drain(nowMs: number): void {
    this.#drain(this.#log, nowMs);
    if (this.#queue !== null) this.#drain(this.#queue, nowMs);
    for (const one of this.#waiting.filter(({ untilMs }) => untilMs <= nowMs)) {
      this.#waiting.splice(this.#waiting.indexOf(one), 1);
      this.counters.unanswered++;
      this.#judge(one, this.#config.whenAway === "accept");
    }
  }

  /** Takes over a changed configuration, but for what the sockets and the table were made with. */
  reload(config: JoinsConfig): void {
    const { decide, whenAway } = this.#config;
    const own = this.#default === this.#config;
    this.#config = { ...config, decide, whenAway };
    if (own) this.setDefault(null);
  }

  /** Another default, about which nobody is asked; null: the configuration's. */
  setDefault(joins: JoinsDefault | null): void {
    this.#default = joins ?? this.#config;
    this.#install();
  }

  /** Names of the interfaces that match the default's; told again when links come and go. */
  setLinks(names: readonly string[]): void {
    if (names.join() === this.#links.join()) return;
    const before = this.#links;
    this.#links = names;
    if (this.#default.default !== "interfaces") return;
    for (const name of before) if (!names.includes(name)) this.#changeLink(name, true);
    for (const name of names) if (!before.includes(name)) this.#changeLink(name, false);
  }

  /** The names that the default is about, `*` for any run of characters. */
  get patterns(): readonly string[] {
    return this.#default.interfaces;
  }

  /** A connection's own rule, or none. */
  setConnection(token: number, joins: "accept" | "refuse" | "default"): void {
    const before = this.#rules.get(token);
    if (joins === before || (joins === "default" && before === undefined)) return;
    if (before !== undefined) this.#changeToken(token, before, true);
    if (joins === "default") this.#rules.delete(token);
    else {
      this.#rules.set(token, joins);
      this.#changeToken(token, joins, false);
    }
  }

  /** The connection is over. */
  forget(token: number): void {
    this.setConnection(token, "default");
    for (const [key, allowed] of this.#allowed) {
      if (allowed.token === token) this.#disallow(key, allowed);
    }
    for (const [key, denied] of this.#denied) if (denied.token === token) this.#undeny(key);
    for (const [key, whose] of this.#admitted) if (whose === token) this.#admitted.delete(key);
  }

  /** Whether the table, had it been asked, would have refused a join that came in by `link`. */
  refuses(token: number, remoteId: number, link: string): boolean {
    const key = `${token} ${remoteId}`;
    if (this.#denied.has(key)) return true;
    if (this.#allowed.has(key)) return false;
    const rule = this.#rules.get(token);
    if (rule !== undefined) return rule === "refuse";
    if (this.#asks) return !this.#admitted.has(key) && this.#config.whenAway === "refuse";
    const kind = this.#default.default;
    return kind === "refuse" || (kind === "interfaces" && !this.#links.includes(link));
  }

  /** Loads the table again when somebody has changed it, such as a firewall that was reloaded. */
  check(): void {
    if (this.#readGeneration() === this.#generation) return;
    const gone = this.#changeToken(NO_TOKEN, "refuse", false) === Errno.Enoent;
    this.#install(); // its rules may be gone though its sets are there
    if (!gone) return;
    const text = "The table that guards joins was taken away by another program: it is back";
    this.#options.tell({ name: "note", level: "warning", text });
  }

  /**
   * A decision about joins from one address of a peer: `now` when one waited for it, else it holds
   * for the next ones.
   */
  decide(token: number, remoteId: number, allow: boolean): "now" | "next" {
    const decided = this.#waiting.filter((one) => one.token === token && one.remoteId === remoteId);
    if (decided.length > 0) {
      this.counters.answered++;
      if (allow) this.#admit(`${token} ${remoteId}`, token);
      for (const one of decided) {
        this.#waiting.splice(this.#waiting.indexOf(one), 1);
        this.#judge(one, allow);
      }
      return "now";
    }
    const key = `${token} ${remoteId}`;
    const allowed = this.#allowed.get(key);
    if (allow) {
      this.#undeny(key);
      if (allowed === undefined) this.#allow(key, { token, remoteId });
    } else {
      if (allowed !== undefined) this.#disallow(key, allowed);
      this.#deny(key, { token, remoteId });
    }
    return "next";
  }

  /** Takes the table away, unless nobody shall join while no guard is there. */
  close(): void {
    for (const { packet } of this.#waiting) {
      this.#verdict(packet, this.#config.whenAway === "accept");
    }
    if (this.#config.whenAway === "accept") {
      const { next, out } = this.#batch();
      this.#table.batch(writeGuardDelete(out, 0, next, TABLE));
    }
    for (const channel of [this.#table, this.#log, this.#queue]) channel?.close();
  }

  /** Joins that no set names wait in the queue. */
  get #asks(): boolean {
    return this.#config.decide === "queue" && this.#default === this.#config;
  }

  /** The table anew, with everything that is in its sets. */
  #install(): void {
    const { whenAway } = this.#config;
    const kind = this.#default.default;
    const asked = this.#asks;
    const guard = {
      table: TABLE,
      owned: whenAway === "accept",
      logGroup: NUMBER,
      default: asked
        ? GuardDefault.Queue
        : kind === "accept"
        ? GuardDefault.Accept
        : kind === "refuse"
        ? GuardDefault.Refuse
        : GuardDefault.Links,
      queue: NUMBER,
      bypass: whenAway === "accept",
      queueByTarget: false,
    };
    let errno = this.#write(guard);
    // A kernel without CONFIG_NFT_QUEUE may have the same as a target of iptables.
    if (errno === Errno.Enoent && asked) errno = this.#write({ ...guard, queueByTarget: true });
    check(errno, this.#table, "load the table that guards joins");
    this.#generation = this.#readGeneration();
  }

  /** The table with all that is in its sets, in one batch: there is no moment without them. */
  #write(guard: Parameters<typeof writeGuard>[3]): number {
    const { next, out } = this.#batch();
    let end = writeGuard(out, 0, next, guard);
    for (const write of this.#elements(next)) {
      if (end > TABLE_BYTES - TABLE_ROOM) {
        const errno = this.#table.batch(end);
        if (errno !== 0) return errno;
        end = write(out, 0);
      } else end = joinNftBatches(out, end, write(out, end));
    }
    return this.#table.batch(end);
  }

  /** Writers of everything that the sets hold, each a batch. */
  *#elements(next: number): Generator<(out: Region, at: number) => number> {
    for (const name of this.#links) {
      yield (out, at) => writeGuardLink(out, at, next, TABLE, false, name);
    }
    for (const [token, rule] of this.#rules) {
      yield (out, at) => {
        this.#tokens[0] = token;
        return writeGuardTokens(out, at, next, TABLE, rule, false, this.#tokens, 1);
      };
    }
    for (const { remoteId, token } of this.#allowed.values()) {
      yield (out, at) => writeGuardAllow(out, at, next, TABLE, false, token, remoteId);
    }
    for (const { remoteId, token } of this.#denied.values()) {
      yield (out, at) => writeGuardDeny(out, at, next, TABLE, false, token, remoteId);
    }
  }

  /** Of all tables of the namespace; -1 when it cannot be had. */
  #readGeneration(): number {
    const { next, out } = this.#batch();
    let generation = -1;
    this.#table.request(writeNftGenerationRequest(out, 0, next), (from, message) => {
      generation = readNftGeneration(from, message);
    });
    return generation;
  }

  /** A change of a set of ours; errno. */
  #change(size: number): number {
    const errno = this.#table.batch(size);
    if (errno === 0) this.#generation++;
    return errno;
  }

  #changeLink(name: string, remove: boolean): void {
    const { next, out } = this.#batch();
    this.#change(writeGuardLink(out, 0, next, TABLE, remove, name));
  }

  #changeToken(token: number, set: "accept" | "refuse", remove: boolean): number {
    const { next, out } = this.#batch();
    this.#tokens[0] = token;
    return this.#change(writeGuardTokens(out, 0, next, TABLE, set, remove, this.#tokens, 1));
  }

  #allow(key: string, allowed: { token: number; remoteId: number }): void {
    if (this.#allowed.size >= ALLOWED_MAX) {
      const [oldest, what] = this.#allowed.entries().next().value!;
      this.#disallow(oldest, what);
    }
    this.#allowed.set(key, allowed);
    const { next, out } = this.#batch();
    const { remoteId, token } = allowed;
    this.#change(writeGuardAllow(out, 0, next, TABLE, false, token, remoteId));
  }

  #disallow(key: string, { remoteId, token }: { token: number; remoteId: number }): void {
    this.#allowed.delete(key);
    const { next, out } = this.#batch();
    this.#change(writeGuardAllow(out, 0, next, TABLE, true, token, remoteId));
  }

  #deny(key: string, denied: { token: number; remoteId: number }): void {
    if (this.#denied.has(key)) return;
    if (this.#denied.size >= ALLOWED_MAX) this.#undeny(this.#denied.keys().next().value!);
    this.#denied.set(key, denied);
    const { next, out } = this.#batch();
    const { remoteId, token } = denied;
    this.#change(writeGuardDeny(out, 0, next, TABLE, false, token, remoteId));
  }

  #undeny(key: string): void {
    const denied = this.#denied.get(key);
    if (denied === undefined) return;
    this.#denied.delete(key);
    const { next, out } = this.#batch();
    const { remoteId, token } = denied;
    this.#change(writeGuardDeny(out, 0, next, TABLE, true, token, remoteId));
  }

  #admit(key: string, token: number): void {
    if (this.#admitted.size >= ALLOWED_MAX) {
      this.#admitted.delete(this.#admitted.keys().next().value!);
    }
    this.#admitted.set(key, token);
  }

  #batch(): { next: number; out: Region } {
    return { next: this.#table.next(), out: this.#table.out };
  }

  #drain({ socket }: NetlinkChannel, nowMs: number): void {
    for (;;) {
      const size = socket.receive();
      // ENOBUFS: attempts that nobody is told of, judged all the same.
      if (size === -Errno.Enobufs || size === -Errno.Emsgsize) continue;
      if (size < 0) return;
      for (let at = 0; at < size;) {
        at = readNlmsg(socket.in, at, size, this.#message);
        if (at < 0) break;
        if (this.#message.type === NFLOG_PACKET) this.#takeLogged(socket.in);
        if (this.#message.type === NFQUEUE_PACKET) this.#takeQueued(socket.in, nowMs);
      }
    }
  }

  #takeLogged(from: Region): void {
    const packet = this.#logged;
    if (readNflogPacket(from, this.#message, packet) < 0) return;
    if (nflogPrefixIs(from, packet, GuardPrefix.Waiting)) return; // the queue has it
    const accepted = nflogPrefixIs(from, packet, GuardPrefix.Accepted);
    if (accepted) this.counters.accepted++;
    else this.counters.refused++;
    if (readJoin(from, packet.packetAt, packet.packetEnd, this.#attempt) < 0) return;
    this.#tell(accepted ? "accepted" : "refused");
  }

  #takeQueued(from: Region, nowMs: number): void {
    const packet = this.#queued;
    if (readNfqueuePacket(from, this.#message, packet) < 0) return;
    const known = readJoin(from, packet.packetAt, packet.packetEnd, this.#attempt) >= 0;
    const { answerMs, whenAway } = this.#config;
    if (!known || !this.#options.decides() || this.#waiting.length >= WAITING_MAX) {
      this.counters.unanswered++;
      const accept = whenAway === "accept";
      if (known) this.#tell(accept ? "accepted" : "refused");
      this.#verdict(packet.id, accept);
      return;
    }
    const { addressId, sourcePort, token } = this.#attempt;
    const key = `${token} ${addressId} ${sourcePort}`;
    const denied = this.#denied.has(`${token} ${addressId}`);
    if (denied || (this.#refused.get(key) ?? 0) > nowMs) return this.#verdict(packet.id, false);
    // Who waits long asks again: one attempt all the same.
    const before = this.#waiting.find((one) => one.key === key);
    const untilMs = before?.untilMs ?? nowMs + answerMs;
    this.#waiting.push({ packet: packet.id, token, remoteId: addressId, untilMs, key });
    if (before === undefined) this.#tell("waiting");
  }

  #judge({ key, packet, untilMs }: Waiting, accept: boolean): void {
    if (!accept) {
      this.#refused.delete(key); // and in at the end: the oldest go first
      if (this.#refused.size >= WAITING_MAX) {
        this.#refused.delete(this.#refused.keys().next().value!);
      }
      this.#refused.set(key, untilMs + REFUSED_MS);
    }
    this.#verdict(packet, accept);
  }

  #verdict(packet: number, accept: boolean): void {
    const queue = this.#queue!;
    if (accept) this.counters.accepted++;
    else this.counters.refused++;
    const verdict = accept ? NfVerdict.Accept : NfVerdict.Drop;
    const size = writeNfqueueVerdict(queue.out, 0, queue.next(), NUMBER, packet, verdict);
    queue.socket.send(size);
  }

  #tell(verdict: "accepted" | "refused" | "waiting"): void {
    const { addressId, backup, destination, destinationPort, family, source, sourcePort, token } =
      this.#attempt;
    this.#options.tell({
      name: "join_attempt",
      token,
      localId: -1,
      local: { address: formatInet(family, destination), port: destinationPort },
      remoteId: addressId,
      remote: { address: formatInet(family, source), port: sourcePort },
      backup: Boolean(backup),
      verdict,
    });
  }
}

function check(errno: number, { text }: NetlinkChannel, what: string): void {
  if (errno === 0) return;
  const said = text === "" ? "" : `: ${text}`;
  const remedy = errno === Errno.Eperm
    ? ", it needs CAP_NET_ADMIN"
    : errno === EBUSY
    ? `, another program has number ${NUMBER}: is a path manager running`
    : "";
  throw new Error(`Cannot ${what}: ${errnoText(errno)}${said}${remedy}`);
}

const EBUSY = 16;
