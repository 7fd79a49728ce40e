/**
 * The SAs and policies of this box and of the other: what the kernel tells goes into the mirror
 * (proto/xfrm/sa_mirror.ts) while this box is active, and what the other one sent goes into the kernel
 * when it takes over (proto/xfrm/sa_store.ts). xfrm_sync.txt; where today's kernels differ is told at
 * the place.
 *
 * @module
 */
import { Errno } from "../../io/errno.ts";
import { assert } from "../../mem/assert.ts";
import { describeFault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { SaMirror } from "../../proto/xfrm/sa_mirror.ts";
import { OrderKind, type ThresholdOrder } from "../../proto/xfrm/sa_orders.ts";
import type { SaFigures } from "../../proto/xfrm/sa_table.ts";
import { SaStore, type TakeoverOptions } from "../../proto/xfrm/sa_store.ts";
import {
  jiffiesOf,
  type PlannedSa,
  writePlannedSa,
  writePlannedState,
} from "../../proto/xfrm/takeover_plan.ts";
import type { Nlmsg } from "../../wire/netlink/nlmsg.ts";
import { AeFlag, XfrmMsg, type XfrmSaId } from "../../wire/netlink/xfrm.ts";
import {
  readAevent,
  writeAevent,
  writeAeventGet,
  XfrmAevent,
} from "../../wire/netlink/xfrm_aevent.ts";
import { readExpire } from "../../wire/netlink/xfrm_event.ts";
import {
  PolicyAction,
  PolicyDirection,
  readPolicy,
  setPolicyAction,
  writePolicyDelete,
  XfrmPolicy,
} from "../../wire/netlink/xfrm_policy.ts";
import {
  readSa,
  readSaFlush,
  writeSaBody,
  writeSaDelete,
  XfrmSa,
} from "../../wire/netlink/xfrm_sa.ts";
import type { PostWriter } from "../../wire/standby/post.ts";
import { AeventSysctls, type AeventThresholds } from "./aevent_sysctls.ts";
import { isOutbound, setOutbound } from "./outbound_policies.ts";
import { type Refused, XfrmKernel } from "./xfrm_kernel.ts";

/** Where an SA is, is sent after so long at the latest. */
const FLUSH_MS = 20;
/** Orders for SAs' thresholds that are given in a turn. */
const ORDERS_MAX = 1024;
/** A timer is written in jiffies and read in units of 100 ms: so the kernel tells how long one is. */
const PROBE_JIFFIES = 1_000_000;
const PROBE_UNITS = PROBE_JIFFIES * 10;
/** Until it is known; an SA that was installed with it is set right afterwards. */
const HZ_GUESS = 250;

/** What an operator should hear of. */
export type Tell = (level: "info" | "warning" | "error", text: string) => void;

/** How {@linkcode Associations} are made. */
export interface AssociationsOptions {
  readonly thresholds: AeventThresholds;
  /** The standby's kernel is kept up to date, or gets everything at a takeover. */
  readonly apply: "hold" | "install";
  /** Addresses that go with the active role: they tell which way an SA goes. */
  readonly localAddresses: readonly string[];
  readonly tell: Tell;
}

/** What became of a takeover. */
export interface TakeoverResult {
  readonly installed: number;
  readonly policies: number;
  /** SAs that cannot go on, or that the kernel refused, a sentence each. */
  readonly problems: readonly string[];
}

/** The kernel's side of a box. */
export class Associations {
  readonly kernel: XfrmKernel;
  readonly mirror: SaMirror;
  readonly store: SaStore;
  readonly #thresholds: AeventThresholds;
  readonly #apply: "hold" | "install";
  readonly #tell: Tell;
  #sysctls: AeventSysctls | null;
  /** Ticks in a second of this kernel, in which timers are written; 0 until it was measured. */
  #hz = 0;
  #dumpNeeded = true;
  /** This box is not active: what others put into the kernel must not send. */
  #blocked = true;
  #blockNeeded = false;
  readonly #sa = new XfrmSa();
  readonly #policy = new XfrmPolicy();
  readonly #event = new XfrmAevent();

  /**
   * Opens the kernel's side, and has the kernel tell where new SAs are.
   *
   * @throws with the remedy, when there is no XFRM or no right to it
   */
  static open(options: AssociationsOptions): Associations {
    const kernel = XfrmKernel.open();
    try {
      return new Associations(options, kernel, AeventSysctls.set(options.thresholds));
    } catch (error) {
      kernel.close();
      throw error;
    }
  }

  private constructor(
    { apply, localAddresses, tell, thresholds }: AssociationsOptions,
    kernel: XfrmKernel,
    sysctls: AeventSysctls,
  ) {
    this.kernel = kernel;
    this.mirror = new SaMirror(thresholds, localAddresses);
    this.store = new SaStore(apply, localAddresses);
    this.#apply = apply;
    this.#thresholds = thresholds;
    this.#tell = tell;
    this.#sysctls = sysctls;
  }

  /** The sockets on which events come. */
  get descriptors(): readonly number[] {
    return this.kernel.descriptors;
  }

  /** Hears what the kernel tells, and asks it what is due; true when more waits. */
  turn(nowMs: number): boolean {
    let more = false;
    if (!this.#dumpNeeded) {
      const heard = this.kernel.hear((from, message) => this.#handle(from, message, nowMs));
      if (heard === "lost") this.#dumpNeeded = true;
      more = heard === "more";
    }
    if (this.#dumpNeeded) this.#dump(nowMs);
    if (this.#blocked && this.#blockNeeded) this.block();
    if (!this.#blocked) {
      this.#giveOrders(nowMs);
      this.#askStale(nowMs);
    }
    return more;
  }

  /** When {@linkcode turn} has something to do by itself. */
  pollDeadline(): number {
    return this.#blocked ? Infinity : this.mirror.pollOrderDeadline();
  }

  /** Reads everything anew: exactly where all SAs are, which events tell one packet late. */
  refresh(nowMs: number): void {
    this.#dump(nowMs);
  }

  /** Rows of `standby diff`, exactly as they are now. */
  figures(nowMs: number): SaFigures[] {
    this.#dump(nowMs);
    return this.mirror.figures();
  }

  /** Writes what has changed into posts, each of which `flush` sends and gives a serial. */
  writePosts(writer: PostWriter, nowMs: number, flush: () => number): void {
    while (this.mirror.writePost(writer, nowMs, FLUSH_MS) > 0) this.#sent(flush());
  }

  /** Writes the next post of a snapshot; false after the last one. */
  writeSnapshot(writer: PostWriter, nowMs: number, flush: () => number): boolean {
    if (this.mirror.writeSnapshot(writer, nowMs) === 0) return false;
    this.#sent(flush());
    return true;
  }

  /** Nothing that has a key leaves from now on. */
  block(): void {
    this.#blocked = true;
    this.#blockNeeded = false;
    this.#complain("block", setOutbound(this.kernel, false));
  }

  /** It may. */
  unblock(): void {
    this.#blocked = false;
    this.#complain("allow", setOutbound(this.kernel, true));
  }

  /** Deletes all SAs and policies of this box: another one has gone on with them. */
  deleteAll(nowMs: number): void {
    const { kernel } = this;
    this.#dump(nowMs);
    this.#rememberUsed();
    const ids = [...this.mirror.ids()].map(({ id }) => id);
    const policies = this.#policies();
    const refused = [
      ...kernel.batch(
        policies.length,
        (index, out, at, sequence) => writePolicyDelete(out, at, sequence, policies[index]!),
      ),
      ...kernel.batch(
        ids.length,
        (index, out, at, sequence) => writeSaDelete(out, at, sequence, ids[index]!),
      ),
    ];
    const gone = refused.filter(({ errno }) => errno !== Errno.Esrch && errno !== Errno.Enoent);
    this.#complain("delete", gone);
    this.#dumpNeeded = true;
  }

  /** Puts what is held into the kernel: SAs with their jump, then policies. */
  takeOver(options: TakeoverOptions, nowMs: number): TakeoverResult {
    const plan = this.store.plan(options);
    this.mirror.handleTakeover(plan.sas); // how fast they were counts for the next takeover
    const problems = plan.refused.map(({ key, reason }) => `${key} is not taken over: ${reason}`);
    const { sas } = plan;
    const first = sas[0];
    if (this.#apply === "install" && this.#hz > 0) { // most are there already
      const missing: PlannedSa[] = [];
      problems.push(...this.#bring(sas, missing), ...this.#install(missing));
    } else if (this.#hz === 0 && first !== undefined) {
      problems.push(...this.#install([first]));
      this.#measureHz(first.id);
      problems.push(...this.#install(sas.slice(1)));
    } else problems.push(...this.#install(sas));
    const policies = [...this.store.policies()];
    const refused = this.kernel.batch(policies.length, (index, out, at, sequence, flags) => {
      const { body } = policies[index]!;
      return writeSaBody(out, at, sequence, XfrmMsg.UpdPolicy, flags, body.region, 0, body.end);
    });
    problems.push(...refused.map(({ index, text }) => `${policies[index]!.key}: ${text}`));
    this.#dumpNeeded = true;
    this.#dump(nowMs);
    return { installed: sas.length, policies: policies.length, problems };
  }

  /** With `install`: brings the kernel to what the other box said last; outbound policies wait. */
  followStore(): void {
    if (this.#apply !== "install") return;
    const whole: PlannedSa[] = [];
    const states: PlannedSa[] = [];
    const gone: XfrmSaId[] = [];
    for (let next = this.store.pollChange(); next !== null; next = this.store.pollChange()) {
      if (next.kind === "sa") whole.push(next.sa);
      else if (next.kind === "state") states.push(next.sa);
      else if (next.kind === "saGone") gone.push(next.id);
    }
    const refused = this.kernel.batch(
      gone.length,
      (index, out, at, sequence) => writeSaDelete(out, at, sequence, gone[index]!),
    );
    this.#complain("delete", refused.filter(({ errno }) => errno !== Errno.Esrch));
    const problems = this.#install(whole);
    if (this.#hz === 0 && whole.length > 0) this.#measureHz(whole[0]!.id);
    problems.push(...this.#bring(states));
    for (const problem of problems) this.#tell("warning", problem);
  }

  /** Puts back the thresholds of new SAs, and closes the sockets. */
  close(): void {
    this.#sysctls?.restore();
    this.#sysctls = null;
    this.kernel.close();
  }

  /** What this box has sent must never be sent again, also not by it. */
  #rememberUsed(): void {
    for (const used of this.mirror.used()) this.store.handleUsed(used);
    this.store.clear();
  }

  /** Makes SAs, or brings those that are there already to where they shall be. */
  #install(sas: readonly PlannedSa[]): string[] {
    const hz = this.#hz === 0 ? HZ_GUESS : this.#hz;
    const problems: string[] = [];
    const there: PlannedSa[] = [];
    const refused = this.kernel.batch(
      sas.length,
      (index, out, at, sequence) => written(writePlannedSa(sas[index]!, out, at, sequence, hz)),
    );
    for (const { errno, index, text } of refused) {
      if (errno === Errno.Eexist) there.push(sas[index]!);
      else problems.push(`${sas[index]!.key} is not installed: ${text}`);
    }
    return [...problems, ...this.#bring(there)];
  }

  /** Brings SAs to where they shall be; those that are not there go to `missing`, when there is one. */
  #bring(sas: readonly PlannedSa[], missing: PlannedSa[] | null = null): string[] {
    const hz = this.#hz === 0 ? HZ_GUESS : this.#hz;
    const problems: string[] = [];
    const refused = this.kernel.batch(
      sas.length,
      (index, out, at, sequence) =>
        written(writePlannedState(sas[index]!, out, at, sequence, 0, hz)),
    );
    for (const { errno, index, text } of refused) {
      if (errno === Errno.Esrch && missing !== null) missing.push(sas[index]!);
      else problems.push(`${sas[index]!.key} stays where it is: ${text}`);
    }
    return problems;
  }

  #sent(serial: number): void {
    if (serial > 0) this.mirror.handleSentUpTo(serial);
  }

  #handle(from: Region, message: Nlmsg, nowMs: number): void {
    const { at, end, type } = message;
    switch (type) {
      case XfrmMsg.NewAe:
        this.#handleAevent(from, message, nowMs);
        break;
      case XfrmMsg.NewSa:
      case XfrmMsg.UpdSa:
        if (this.#read(readSa(from, message, this.#sa))) {
          this.mirror.handleSa(this.#sa, from, at, end, nowMs);
        }
        break;
      case XfrmMsg.DelSa:
        if (this.#read(readSa(from, message, this.#sa))) this.mirror.handleGone(this.#sa.id);
        break;
      case XfrmMsg.Expire:
        if (this.#read(readExpire(from, message, this.#sa)) && this.#sa.hard) {
          this.mirror.handleGone(this.#sa.id);
        }
        break;
      case XfrmMsg.FlushSa: {
        const proto = readSaFlush(from, message);
        if (this.#read(proto)) this.mirror.handleFlush(proto === 0 ? PROTO_ANY : proto);
        break;
      }
      case XfrmMsg.NewPolicy:
      case XfrmMsg.UpdPolicy:
        this.#handlePolicy(from, message);
        break;
      case XfrmMsg.DelPolicy:
        if (this.#read(readPolicy(from, message, this.#policy))) {
          this.mirror.handlePolicyGone(this.#policy);
        }
        break;
      default: // a flush of policies, a migration, a new address behind NAT: look at all of them
        this.#dumpNeeded = true;
    }
  }

  #handleAevent(from: Region, message: Nlmsg, nowMs: number): void {
    if (!this.#read(readAevent(from, message, this.#event))) return;
    this.mirror.handleAevent(this.#event, from, message.at, message.end, nowMs);
  }

  #handlePolicy(from: Region, message: Nlmsg): void {
    const policy = this.#policy;
    const { at, end } = message;
    if (!this.#read(readPolicy(from, message, policy))) return;
    if (isOutbound(policy)) {
      // It blocks because this box is, or was, not active: that is not the other box's business.
      if (policy.action === PolicyAction.Block) setPolicyAction(from, at, end, PolicyAction.Allow);
      else if (this.#blocked) this.#blockNeeded = true;
    }
    this.mirror.handlePolicy(policy, from, at, end);
  }

  /** What cannot be read is looked at again in a dump. */
  #read(result: number): boolean {
    if (result >= 0) return true;
    this.#tell("warning", `Cannot read what the kernel told of IPsec: ${describeFault()}`);
    this.#dumpNeeded = true;
    return false;
  }

  #dump(nowMs: number): void {
    const { kernel, mirror } = this;
    this.#dumpNeeded = false;
    mirror.beginDump();
    kernel.dumpSas((from, message) => {
      if (readSa(from, message, this.#sa) < 0) return;
      mirror.handleDumped(this.#sa, from, message.at, message.end, nowMs);
    }, () => {});
    kernel.dumpPolicies((from, message) => this.#handlePolicy(from, message), () => {});
    mirror.endDump(nowMs);
  }

  #policies(): XfrmPolicy[] {
    const policies: XfrmPolicy[] = [];
    this.kernel.dumpPolicies((from, message) => {
      const policy = new XfrmPolicy();
      // A policy of a socket has a direction of its own, and goes with its socket.
      if (readPolicy(from, message, policy) < 0 || policy.direction > PolicyDirection.Forward) {
        return;
      }
      policies.push(policy);
    }, () => policies.length = 0);
    return policies;
  }

  // ---- thresholds

  #giveOrders(nowMs: number): void {
    const asks: XfrmSaId[] = [];
    const sets: ThresholdOrder[] = [];
    for (let count = 0; count < ORDERS_MAX; count++) {
      const order = this.mirror.pollThreshold(nowMs);
      if (order === null) break;
      if (order.kind === OrderKind.Ask) asks.push(order.id);
      else sets.push(order);
    }
    this.#ask(asks, AeFlag.Rthr | AeFlag.Ethr, nowMs);
    if (sets.length === 0) return;
    if (this.#hz === 0 && this.#thresholds.timerMs > 0) this.#measureHz(sets[0]!.id);
    const hz = this.#hz === 0 ? HZ_GUESS : this.#hz;
    const event = new XfrmAevent();
    const refused = this.kernel.batch(sets.length, (index, out, at, sequence) => {
      const { id, packets, timerMs } = sets[index]!;
      event.id.copy(id);
      event.replayThreshold = packets;
      event.timerThreshold = jiffiesOf(timerMs, hz);
      return writeAevent(out, at, sequence, 0, event);
    });
    for (const { index } of refused) this.mirror.handleOrderFailed(sets[index]!.id, nowMs);
  }

  #askStale(nowMs: number): void {
    const ids: XfrmSaId[] = [];
    for (let count = 0; count < ORDERS_MAX; count++) {
      const id = this.mirror.pollStale(nowMs);
      if (id === null) break;
      ids.push(id);
    }
    this.#ask(ids, 0, nowMs);
  }

  #ask(ids: readonly XfrmSaId[], flags: number, nowMs: number): void {
    if (ids.length === 0) return;
    const refused = this.kernel.batch(
      ids.length,
      (index, out, at, sequence) => writeAeventGet(out, at, sequence, 0, ids[index]!, flags),
      (from, message) => this.#handleAevent(from, message, nowMs),
    );
    for (const { index } of refused) this.mirror.handleOrderFailed(ids[index]!, nowMs);
  }

  /**
   * How many jiffies a second has: xfrm_sync.txt has the timer in milliseconds, the kernel takes
   * jiffies and tells units of 100 ms, and nothing else tells its CONFIG_HZ. The SA's timer is set right
   * by the order that follows.
   */
  #measureHz(id: XfrmSaId): void {
    const probe = new XfrmAevent();
    probe.id.copy(id);
    probe.timerThreshold = PROBE_JIFFIES;
    const refused = this.kernel.batch(
      1,
      (_index, out, at, sequence) => writeAevent(out, at, sequence, 0, probe),
    );
    if (refused.length > 0) return;
    const answer = new XfrmAevent();
    this.kernel.batch(
      1,
      (_index, out, at, sequence) => writeAeventGet(out, at, sequence, 0, id, AeFlag.Ethr),
      (from, message) => void readAevent(from, message, answer),
    );
    if (answer.timerThreshold > 0) this.#hz = Math.round(PROBE_UNITS / answer.timerThreshold);
    probe.timerThreshold = jiffiesOf(this.#thresholds.timerMs, this.#hz || HZ_GUESS);
    this.kernel.batch(
      1,
      (_index, out, at, sequence) => writeAevent(out, at, sequence, 0, probe),
    );
  }

  #complain(what: string, refused: readonly Refused[]): void {
    const [first] = refused;
    if (first === undefined) return;
    const more = refused.length === 1 ? "" : `, and ${refused.length - 1} more`;
    this.#tell("error", `Cannot ${what} what the kernel has of IPsec: ${first.text}${more}`);
  }
}

/** IPSEC_PROTO_ANY. */
const PROTO_ANY = 255;

/** A batch has room for the largest SA, and what is written was read before. */
function written(next: number): number {
  assert(next > 0, "a planned SA can be written");
  return next;
}
