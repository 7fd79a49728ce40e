/**
 * The fence of a box in a pair: nothing that the keys of its security associations made leaves but while
 * it holds the lease, whether this program lives or not (egress_fence.ts).
 *
 * The kernel counts a timeout in whole ticks (CONFIG_HZ: 1 to 10 ms) from when it is asked, rounds it down,
 * and compares it with each packet: measured, it ends up to two ticks early, and late by no more than the
 * asking took, which is held to a part of the lease. Packets that passed before wait in the queues of
 * the link as long as those are.
 *
 * @module
 */
import { nowMs as clockMs } from "../../io/clock.ts";
import { Errno, errnoText } from "../../io/errno.ts";
import { inNamespace } from "../../io/namespace.ts";
import { NetlinkProtocol } from "../../io/netlink_socket.ts";
import {
  FENCE_BYTES_MAX,
  FENCE_CLOSED,
  FENCE_ENDLESS,
  FENCE_RULES,
  writeFence,
  writeFenceDelete,
  writeFenceLease,
  writeFenceProbe,
} from "../../wire/netlink/egress_fence.ts";
import { NFT_RULE, readNftRulePackets, writeNftRuleDump } from "../../wire/netlink/nftables.ts";
import { NetlinkChannel } from "../netlink_channel.ts";

/** Where a fence is, and whose. */
export interface FenceOptions {
  /** Name of a network namespace; empty is where this program runs. */
  readonly namespace: string;
  /** The pair's name. */
  readonly group: string;
}

const TABLE = "fairlead_standby";
const PROBE = "fairlead_standby_probe";
/** NFT_NAME_MAXLEN is 256; a person reads this. */
const GROUP_MAX = 64;
/** The kernel has 32 bits of milliseconds here; no lease is longer than an hour. */
const LEASE_MS_MAX = 3_600_000;
/** Another program may hold nf_tables while it loads its rules: more than this, of a lease, is too late. */
const SLOW_PART = 16;
const SLOW_MS = 2;
const TRIES_MAX = 3;

/** The name of a group's table. */
export function fenceTable(group: string): string {
  return group === "" ? TABLE : `${TABLE}_${group.slice(0, GROUP_MAX).replaceAll(/\W/g, "_")}`;
}

/** A fence that is there until {@linkcode remove}, also when the program ends. */
export class Fence {
  /** How often another program had taken the fence away, or parts of it. */
  restored = 0;
  readonly #channel: NetlinkChannel;
  readonly #table: string;
  /** Of fences that this one replaced. */
  #droppedBefore = 0;
  #droppedLast = 0;

  /**
   * Puts up a closed fence, in place of one that an earlier program left.
   *
   * @throws when the kernel cannot have one, with the remedy
   */
  static install(options: FenceOptions): Fence {
    const fence = new Fence(openChannel(options.namespace), fenceTable(options.group));
    const errno = fence.#write(FENCE_CLOSED);
    if (errno === 0) return fence;
    const { text } = fence.#channel;
    fence.detach();
    throw new Error(`Cannot put up the fence of outgoing IPsec: ${refusal(errno, text)}`);
  }

  /** Why there can be no fence in a namespace, with the remedy; null when there can. */
  static available(namespace: string): string | null {
    try {
      const channel = openChannel(namespace);
      const errno = channel.batch(writeFenceProbe(channel.out, 0, channel.next(), PROBE));
      const { text } = channel;
      channel.close();
      return errno === 0 ? null : refusal(errno, text);
    } catch (error) {
      return (error as Error).message;
    }
  }

  private constructor(channel: NetlinkChannel, table: string) {
    this.#channel = channel;
    this.#table = table;
  }

  /** What the kernel said about the last refusal, for people; empty when it said nothing. */
  get text(): string {
    return this.#channel.text;
  }

  /**
   * Opens for `leaseMs` that count from `nowMs` of the one clock, not from when this is called, or gives an
   * open one that much. Returns 0, or an errno, positive: `ETIMEDOUT`, and it is closed, when that
   * time is over, or the kernel is too slow to be held to it.
   */
  open(nowMs: number, leaseMs: number): number {
    const untilMs = nowMs + Math.min(leaseMs, LEASE_MS_MAX);
    const slowMs = Math.max(SLOW_MS, leaseMs / SLOW_PART);
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const intact = this.#look();
      const before = clockMs();
      const leftMs = Math.floor(untilMs - before) - 1; // the clock tells whole milliseconds
      if (leftMs < 1) break;
      const errno = this.#set(leftMs, intact);
      // The time begins when the kernel adds it: whoever waited long for that has too much of it.
      if (errno !== 0 || clockMs() - before <= slowMs) return errno;
    }
    const closed = this.close();
    return closed === 0 ? Errno.Etimedout : closed;
  }

  /**
   * Opens until {@linkcode close}: for roles that a person gives, as then no other box takes over by
   * itself. The fence stays open when this program is killed.
   */
  openWithoutEnd(): number {
    return this.#set(FENCE_ENDLESS, this.#look());
  }

  /** Closes at once; 0, or an errno, positive. */
  close(): number {
    return this.#set(FENCE_CLOSED, this.#look());
  }

  /** Packets that were dropped since {@linkcode install}. */
  dropped(): number {
    this.#look();
    return this.#droppedBefore + this.#droppedLast;
  }

  /** Takes the fence away: everything passes. */
  remove(): void {
    this.#channel.batch(writeFenceDelete(this.#out, 0, this.#channel.next(), this.#table));
    this.detach();
  }

  /** Lets go of the fence, which stays as it is. */
  detach(): void {
    this.#channel.close();
  }

  get #out(): NetlinkChannel["out"] {
    return this.#channel.out;
  }

  /** A firewall that is loaded anew takes away everything first: then all of it is written again. */
  #set(timeoutMs: number, intact: boolean): number {
    if (intact) {
      const next = this.#channel.next();
      const errno = this.#channel.batch(
        writeFenceLease(this.#out, 0, next, this.#table, timeoutMs),
      );
      if (errno !== Errno.Enoent) return errno;
    }
    const errno = this.#write(timeoutMs);
    if (errno === 0) this.restored++;
    return errno;
  }

  #write(timeoutMs: number): number {
    const next = this.#channel.next();
    const errno = this.#channel.batch(writeFence(this.#out, 0, next, this.#table, timeoutMs));
    if (errno !== 0) return errno;
    this.#droppedBefore += this.#droppedLast;
    this.#droppedLast = 0;
    return 0;
  }

  /** Counts, and tells whether all rules are there. */
  #look(): boolean {
    let rules = 0;
    let packets = 0;
    const errno = this.#channel.dump(
      () => writeNftRuleDump(this.#out, 0, this.#channel.next(), this.#table),
      (from, message) => {
        if (message.type !== NFT_RULE) return;
        rules++;
        packets += Math.max(0, readNftRulePackets(from, message));
      },
      () => rules = packets = 0,
    );
    if (errno !== 0) return false;
    this.#droppedLast = Math.max(this.#droppedLast, packets); // the counter may have been taken away
    return rules === FENCE_RULES;
  }
}

function openChannel(namespace: string): NetlinkChannel {
  return inNamespace(namespace, () => {
    try {
      return NetlinkChannel.open(NetlinkProtocol.Netfilter, "nftables", FENCE_BYTES_MAX);
    } catch (error) {
      throw new Error(`${(error as Error).message}${NO_NFTABLES}`);
    }
  });
}

function refusal(errno: number, text: string): string {
  const said = text === "" ? "" : `: ${text}`;
  return `${errnoText(errno)}${said}${REMEDIES[errno] ?? ""}`;
}

const EAFNOSUPPORT = 97;
const EOPNOTSUPP = 95;
const NO_NFTABLES =
  ", it needs nf_tables: a kernel with CONFIG_NF_TABLES_INET, or modprobe nf_tables";
const REMEDIES: Readonly<Record<number, string>> = {
  [Errno.Eperm]: ", it needs CAP_NET_ADMIN: run it as root",
  [Errno.Enoent]: NO_NFTABLES,
  [Errno.Einval]: NO_NFTABLES, // no subsystem of nfnetlink of this number
  [EAFNOSUPPORT]: NO_NFTABLES,
  [EOPNOTSUPP]: NO_NFTABLES,
};
