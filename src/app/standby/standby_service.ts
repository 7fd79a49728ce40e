/**
 * One box of a pair: who is active is decided by its election (proto/standby/election.ts); this does
 * what that orders, and carries posts from the active box to the standby.
 *
 *     kernel ──events──> associations ─┐                        ┌─> store ─(takeover)─> kernel
 *     gateway ──journal, spool─────────┴─> posts ──session──> ──┴─> cargo ─(takeover)─> gateway
 *
 * What must be fast is done in the loop in which it is heard: a lease that ends closes the fence
 * before anything else, and the kernel ends it by itself when this program cannot.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { NodeCrypto } from "../../io/crypto.ts";
import { Poller, Ready } from "../../io/epoll.ts";
import type { AuthOptions, MessengerEvent } from "../../proto/msgr2/messenger.ts";
import { Election } from "../../proto/standby/election.ts";
import type { ElectionAction, ElectionStored, TakeSource } from "../../proto/standby/orders.ts";
import type { SaFigures } from "../../proto/xfrm/sa_table.ts";
import { parseWord, type StandbyWord, writeWord } from "../../wire/standby/words.ts";
import type { StandbyConfig } from "../config/standby_config.ts";
import { Associations, type Tell } from "./associations.ts";
import { Carriers } from "./carriers.ts";
import type { Cargo } from "./cargo.ts";
import { EgressGuard } from "./egress_guard.ts";
import { type Other, type PairHandler, PairLink } from "./pair_link.ts";
import { SadPages } from "./sad_pages.ts";
import { SyncIn } from "./sync_in.ts";
import { SyncFlow } from "./sync_flow.ts";
import type { TermFile } from "./term_file.ts";
import { VirtualAddressKeeper } from "./virtual_address_keeper.ts";

/** How long a promotion may take until whoever asked is told. */
const PROMOTE_MS = 15_000;
/** What the kernel has done meanwhile could not be read: no post tells it, and none has this number. */
const UNKNOWN_NUMBER: number = Number.MAX_SAFE_INTEGER;
/** A turn that failed is tried again after this. */
const REST_MS = 500;
/** The same for a gateway that could not be opened. */
const CARGO_REST_MS = 2000;

/** How a {@linkcode StandbyService} is made. */
export interface StandbyServiceOptions {
  readonly config: StandbyConfig;
  /** Who both boxes are, TYPE.ID. */
  readonly name: string;
  readonly auth: AuthOptions;
  /** Where the term is kept. */
  readonly terms: TermFile;
  /** A gateway, when there is one. */
  readonly cargo: Cargo | null;
  readonly tell: Tell;
  /** The role changed. */
  onRole(role: string, term: number, text: string): void;
  /** What happened to sessions, for the log. */
  onEvent(event: MessengerEvent, who: string | null): void;
}

/** A promotion that somebody waits for. */
interface Waiting {
  resolve(term: number): void;
  reject(error: Error): void;
}

/** What happened, for the status. */
export interface StandbyCounts {
  /** Takeovers of this process, the time that the last one took, and what it could not do. */
  takeovers: number;
  takeoverMs: number;
  takeoverProblems: readonly string[];
  /** Words that made no sense. */
  badWords: number;
  /** What neither the other box nor the witness has said. */
  strangers: number;
  unknownWords: number;
}

/** A running box. */
export class StandbyService implements PairHandler {
  readonly election: Election;
  readonly associations: Associations | null;
  readonly guard: EgressGuard;
  readonly flow: SyncFlow;
  readonly in: SyncIn;
  readonly config: StandbyConfig;
  readonly counts: StandbyCounts = {
    takeovers: 0,
    takeoverMs: 0,
    takeoverProblems: [],
    badWords: 0,
    strangers: 0,
    unknownWords: 0,
  };
  readonly #options: StandbyServiceOptions;
  readonly #link: PairLink;
  readonly #addresses: VirtualAddressKeeper;
  readonly #carriers: Carriers;
  readonly #sad: SadPages;
  readonly #poller = new Poller();
  #running: Promise<void> | null = null;
  #waiting: Waiting[] = [];
  #role = "";
  /** What the disk did not take, and when it is tried again. */
  #unstored: ElectionStored | null = null;
  #storeAtMs = Infinity;
  /** When a gateway that could not be opened is tried again. */
  #cargoAtMs = Infinity;
  /** When the other box said that everything which it knows is here. */
  #freshMs = -Infinity;
  /** The other box has said hello in this session, and is one to pair with. */
  #paired = false;
  #acting = false;
  #stopped = false;

  /**
   * Opens everything; the box decides what it is from here on.
   *
   * @throws with the remedy
   */
  static async open(options: StandbyServiceOptions): Promise<StandbyService> {
    const service = new StandbyService(options, openParts(options));
    const { listen, peer, witness } = options.config;
    try {
      service.#act(nowMs());
      await service.#link.open(listen, peer, witness);
    } catch (error) {
      await service.close();
      throw error;
    }
    service.#running = service.#run();
    return service;
  }

  private constructor(options: StandbyServiceOptions, parts: Parts) {
    const { auth, cargo, config, name, onEvent, tell } = options;
    const { stored } = parts;
    this.#options = options;
    this.config = config;
    const instance = new NodeCrypto().randomBytes(16);
    const { box, deadMs, group, heartbeatMs, leaseMs, preferred, role, witness } = config;
    this.election = new Election(
      {
        group,
        box,
        instance: new Uint8Array(instance).toHex(),
        mode: role,
        preferred,
        witness: witness !== null,
        heartbeatMs,
        deadMs,
        leaseMs,
      },
      stored,
      nowMs(),
    );
    this.associations = parts.associations;
    this.guard = parts.guard;
    this.#addresses = parts.addresses;
    this.in = new SyncIn({ store: this.associations?.store ?? null, cargo, tell });
    this.#link = new PairLink({ name, auth, handler: this, onEvent });
    this.flow = new SyncFlow({
      link: this.#link,
      election: this.election,
      associations: this.associations,
      cargo,
      deadMs,
      // A process that was stopped learns it here first.
      mayRun: () => nowMs() < this.guard.untilMs,
    });
    if (cargo !== null) cargo.link = this.flow;
    this.#sad = new SadPages((word) => this.#link.say("peer", writeWord(word)));
    this.#carriers = new Carriers(config.watch, (up) => {
      this.election.handleCarrier(up, nowMs());
      this.#actNow(nowMs());
    });
    for (const fd of this.associations?.descriptors ?? []) this.#poller.add(fd, 0, Ready.In);
  }

  /** Makes this box the active one; its term. */
  promote(force: boolean): Promise<number> {
    if (this.#waiting.length > 0) {
      return Promise.reject(new Error("Cannot promote as it is being done already"));
    }
    const { promise, ...waiting } = Promise.withResolvers<number>();
    this.#waiting.push(waiting);
    const timer = setTimeout(() => {
      waiting.reject(new Error(`Cannot promote as nothing came of it within ${PROMOTE_MS} ms`));
      this.#waiting = this.#waiting.filter((one) => one !== waiting);
    }, PROMOTE_MS);
    this.election.handlePromote({ force }, nowMs());
    this.#actNow(nowMs());
    return promise.finally(() => clearTimeout(timer));
  }

  /** Makes the other box the active one, or at least this one not. */
  demote(): void {
    this.election.handleDemote(nowMs());
    this.#actNow(nowMs());
  }

  /** SAs of this box and of the other. */
  async sads(): Promise<{ readonly here: SaFigures[]; readonly there: SaFigures[] }> {
    const there = await this.#sad.ask();
    return { here: this.#figures(), there };
  }

  /** True while the other box, or the witness, can be reached. */
  reaches(other: Other): boolean {
    return this.#link.reaches(other);
  }

  /** True while this box has the addresses of the active role. */
  get hasAddresses(): boolean {
    return this.#addresses.taken;
  }

  /**
   * Ends. An active box stops sending and hands over when the other one is there; it comes back with
   * the next start.
   */
  async close(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#poller.wake();
    await this.#running;
    this.#carriers.close();
    this.#addresses.close();
    // A standby that holds everything in memory has nothing that could be sent.
    const idle = this.election.role === "standby" && this.config.apply === "hold";
    if (idle) this.guard.remove();
    else this.guard.detach();
    this.associations?.close();
    await this.#link.close();
    await this.#poller.close();
    for (const { reject } of this.#waiting) reject(new Error("The standby daemon ends"));
  }

  // ---- what the link tells

  handleReached(other: Other, reached: boolean): void {
    const now = nowMs();
    if (other === "witness") {
      if (reached) this.election.handleWitnessOpen(now);
      else this.election.handleWitnessGone(now);
    } else if (reached) this.election.handlePeerOpen(now);
    else {
      this.election.handlePeerGone(now);
      this.#sad.fail("the other box is away");
    }
    this.#safely(() => this.#actNow(now));
  }

  handleForgotten(): void {
    this.#paired = false;
    this.#needSnapshot();
  }

  handleStranger(who: string): void {
    this.counts.strangers++;
    this.#options.tell(
      "warning",
      `Not listened to, as it is neither the other box nor the witness: ${who}. When it is the other ` +
        'box, set "standby.peer" to the address at which it listens, on both boxes',
    );
  }

  handleWord(front: Uint8Array<ArrayBuffer>, from: Other): void {
    const word = parseWord(front);
    if (word === null) this.counts.unknownWords++;
    else if (typeof word === "string") {
      this.counts.badWords++;
      const who = from === "peer" ? "the other box" : "the witness";
      this.#options.tell("warning", `A word of ${who} is refused: ${word}`);
    } else if ((word.word === "leaseAnswer") !== (from === "witness")) {
      this.counts.strangers++; // only the witness grants, and it is no other box
    } else {
      const now = nowMs();
      this.#safely(() => {
        this.#handleWord(word, now);
        this.#actNow(now);
      });
    }
  }

  handlePost(front: Uint8Array<ArrayBuffer>): Promise<boolean> | boolean {
    if (!this.#paired || this.election.role !== "standby") {
      this.counts.strangers++; // of a box that is none of this pair, or of a second active one
      return false;
    }
    this.in.receiver.setTerm(this.election.term);
    const taken = this.in.take(front, nowMs(), () => this.#handleWhole());
    this.election.heldNumber = this.in.receiver.holds;
    this.#safely(() => this.associations?.followStore());
    return taken;
  }

  handleAcknowledged(serial: number): void {
    this.flow.handleAcknowledged(serial);
    this.#safely(() => this.#checkFlushed(nowMs()));
    if (this.flow.sendsSnapshot) this.#poller.wake();
  }

  /** What the kernel or the disk refuses ends what was being done, not the program. */
  #safely(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#options.tell("error", (error as Error).message);
    }
  }

  #handleWhole(): void {
    const now = nowMs();
    this.#options.tell("info", `Everything of the other box is here (term ${this.election.term})`);
    this.election.handleSnapshot(this.in.receiver.wholeTerm, now);
    this.#actNow(now);
  }

  #handleWord(word: StandbyWord, now: number): void {
    const { election } = this;
    switch (word.word) {
      case "hello":
        election.handlePeerHello(word, now);
        this.#paired = election.peer.known;
        return;
      case "heartbeat":
        // It counts as news of every association when no post is missing.
        if (this.#paired && word.number === this.in.receiver.holds) this.#freshMs = now;
        return election.handleHeartbeat(word, now);
      case "heartbeatAnswer":
        return election.handleHeartbeatAnswer(word, now);
      case "handoverAsk":
        return election.handleHandoverAsk(word, now);
      case "handoverDone":
        return election.handleHandoverDone(word, now);
      case "handoverRefused":
        return election.handleHandoverRefused(word, now);
      case "handoverOffer":
        return election.handleHandoverOffer(word, now);
      case "leaseAnswer":
        return election.handleLeaseAnswer(word, now);
      case "resync":
        if (word.term === election.term) this.in.receiver.expectSnapshot();
        return;
      case "sadAsk":
        return this.#sad.answer(word, this.#figures());
      case "sadAnswer":
        return this.#sad.handleAnswer(word);
      case "leaseAsk":
      case "leaseGive":
        this.counts.unknownWords++; // for a witness, which this is not
    }
  }

  #figures(): SaFigures[] {
    const { associations, election } = this;
    if (associations === null) return [];
    return election.role === "active"
      ? associations.figures(nowMs())
      : associations.store.figures();
  }

  // ---- what the election orders

  #act(now: number): void {
    if (this.#acting) return; // what is ordered meanwhile is next in the loop below
    this.#acting = true;
    try {
      for (let next = this.election.pollAction(); next !== null;) {
        this.#do(next, now);
        next = this.election.pollAction();
      }
    } finally {
      this.#acting = false;
    }
    this.#noteRole();
  }

  /** The same from outside of a turn, whose deadlines may have changed. */
  #actNow(now: number): void {
    this.#act(now);
    this.#poller.wake();
  }

  #do(action: ElectionAction, now: number): void {
    switch (action.do) {
      case "store":
        return this.#store(action.stored, now);
      case "tellPeer":
        return void this.#link.say("peer", writeWord(action.word));
      case "tellWitness":
        return void this.#link.say("witness", writeWord(action.word));
      case "take":
        return this.#take(action.term, action.source);
      case "openFence":
        return this.guard.open(action.untilMs);
      case "block":
        return this.#block(now);
      case "flush":
        this.flow.beginFlush(now);
        return this.#checkFlushed(now);
      case "deleteSas":
        this.associations?.deleteAll(now);
        return this.in.receiver.forget();
      case "becomeStandby":
        return this.#becomeStandby();
      case "promoted": // told when the role is noted
        return;
      case "refuse":
        this.#options.tell("warning", action.why);
        for (const { reject } of this.#waiting.splice(0)) reject(new Error(action.why));
        return;
      case "say":
        return this.#options.tell("info", action.text);
    }
  }

  /** The fence first, as it is the surest; an address that this box does not answer for goes, too. */
  #block(now: number): void {
    this.guard.shut();
    this.#cargoAtMs = Infinity;
    this.#options.cargo?.suspend();
    if (this.#addresses.taken) this.#addresses.give();
    try {
      this.associations?.block();
    } finally {
      this.election.handleBlocked(now);
    }
  }

  /** Until the disk has taken it, the election gives out nothing but blocks. */
  #store(stored: ElectionStored, now: number): void {
    try {
      this.#options.terms.write(stored);
    } catch (error) {
      this.#unstored = stored;
      this.#storeAtMs = now + REST_MS;
      this.#options.tell(
        "error",
        `Cannot go on in term ${stored.term} as it cannot be stored: ${
          (error as Error).message
        }; ` +
          'make room in the directory "state", it is tried again',
      );
      return;
    }
    this.#unstored = null;
    this.#storeAtMs = Infinity;
    this.election.handleStored();
    if (this.election.role === "active") this.#needSnapshot(); // posts were of the term before
  }

  /** Behind the closed fence: SAs, policies, addresses; a gateway follows when it can. */
  #take(term: number, source: TakeSource): void {
    const started = nowMs();
    const { associations, election } = this;
    try {
      const problems: string[] = [];
      if (associations !== null) {
        if (source === "snapshot") {
          const result = associations.takeOver({
            inbound: this.config.inbound,
            detectedAgeMs: this.#unheardMs(started),
          }, started);
          problems.push(...result.problems);
        }
        associations.unblock();
      }
      problems.push(...this.#addresses.take());
      if (source === "snapshot") this.counts.takeovers++;
      this.counts.takeoverMs = nowMs() - started;
      this.counts.takeoverProblems = problems;
      for (const problem of problems) this.#options.tell("error", problem);
    } catch (error) {
      return election.handleTakeFailed(term, (error as Error).message, nowMs());
    }
    this.#needSnapshot();
    election.handleTaken(term, nowMs());
    this.#takeCargo();
  }

  #takeCargo(): void {
    this.#cargoAtMs = Infinity;
    this.#options.cargo?.take().catch(({ message }) => {
      this.#options.tell("error", `The gateway cannot go on, it is tried again: ${message}`);
      this.#cargoAtMs = nowMs() + CARGO_REST_MS;
      this.#poller.wake();
    });
  }

  /**
   * For how long the other box may have sent with numbers that are not known here: since what it said
   * last was known to be all. With a lease its kernel may have gone on until the end of that, whenever
   * its program was heard last.
   */
  #unheardMs(now: number): number {
    const { roundTripMs } = this.election.peer;
    const sinceMs = now - Math.max(this.#freshMs, this.in.appliedMs);
    const leastMs = this.config.role === "auto" ? this.config.leaseMs : 0;
    return Math.max(sinceMs, leastMs) + Math.max(0, roundTripMs);
  }

  #becomeStandby(): void {
    this.#addresses.give();
    this.#needSnapshot();
    this.in.receiver.forget();
    this.#options.cargo?.release().catch(({ message }) => {
      this.#options.tell("error", `The gateway cannot be held for the other box: ${message}`);
    });
  }

  #noteRole(): void {
    const { role, term } = this.election;
    if (role === this.#role) return;
    const text = this.#role === ""
      ? `This box is ${role}`
      : `This box is ${role}, was ${this.#role}`;
    this.#role = role;
    if (role === "active") { for (const { resolve } of this.#waiting.splice(0)) resolve(term); }
    this.#options.onRole(role, term, `${text} (term ${term})`);
  }

  #needSnapshot(): void {
    this.flow.needSnapshot();
    this.#poller.wake();
  }

  #checkFlushed(now: number): void {
    const number = this.flow.takeFlushed();
    if (number === 0) return;
    this.election.handleFlushed(number, now);
    this.#actNow(now);
  }

  // ---- turns

  async #run(): Promise<void> {
    let restUntilMs = 0;
    while (!this.#stopped) {
      let more = false;
      const now = nowMs();
      try {
        if (now >= restUntilMs) more = this.#turn(now);
      } catch (error) {
        restUntilMs = now + REST_MS;
        this.election.sentNumber = UNKNOWN_NUMBER;
        this.#options.tell("error", (error as Error).message);
      }
      if (more) await new Promise<void>((resolve) => setImmediate(resolve));
      else await this.#park(Math.max(this.#deadline(), restUntilMs));
      if (!this.#stopped) this.#poller.wait(0);
    }
  }

  #turn(now: number): boolean {
    if (this.#unstored !== null && now >= this.#storeAtMs) this.#store(this.#unstored, now);
    if (now >= this.guard.untilMs) this.#decide(now); // a lease that is over is what is most urgent
    if (now >= this.#cargoAtMs && this.election.role === "active") this.#takeCargo();
    const more = this.associations?.turn(now) ?? false;
    this.flow.turn(now);
    // A heartbeat tells that there is no news after this number: what the kernel said goes first.
    this.election.sentNumber = more ? UNKNOWN_NUMBER : this.flow.out.sent;
    this.#decide(now);
    return more;
  }

  #decide(now: number): void {
    if (now >= this.election.pollDeadline()) this.election.handleDeadline(now);
    this.#act(now);
  }

  #deadline(): number {
    const { associations, election, flow } = this;
    return Math.min(
      election.pollDeadline(),
      this.#storeAtMs,
      this.election.role === "active" ? this.#cargoAtMs : Infinity,
      flow.pollDeadline(nowMs()),
      associations?.pollDeadline() ?? Infinity,
    );
  }

  async #park(untilMs: number): Promise<void> {
    const waitMs = untilMs - nowMs();
    if (waitMs > 0) await this.#poller.park(waitMs);
    else await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

interface Parts {
  readonly stored: ElectionStored;
  readonly guard: EgressGuard;
  readonly addresses: VirtualAddressKeeper;
  readonly associations: Associations | null;
}

/** What can fail: then nothing of it stays. */
function openParts({ config, tell, terms }: StandbyServiceOptions): Parts {
  const stored = terms.read();
  const guard = EgressGuard.open(config, tell);
  let addresses: VirtualAddressKeeper | null = null;
  try {
    addresses = new VirtualAddressKeeper(config, guard, tell);
    const localAddresses = config.addresses.map(({ address }) => address.split("/")[0]!);
    const thresholds = { packets: config.thresholdPackets, timerMs: config.thresholdMs };
    const { apply } = config;
    const associations = config.associations
      ? Associations.open({ thresholds, apply, localAddresses, tell })
      : null;
    return { stored, guard, addresses, associations };
  } catch (error) {
    guard.remove();
    addresses?.close();
    throw error;
  }
}
