/**
 * What the pair of standby_world.ts works for: numbered entries, which the active box takes and
 * acknowledges. It does so when the standby has them, or when it is alone in a term of which the
 * standby can have nothing; so whoever becomes active has every entry that was acknowledged.
 */
import assert from "node:assert/strict";
import type { Election } from "../../src/proto/standby/election.ts";
import type { Box, World } from "./standby_world.ts";

const TICK_MS = 50;
/** Time after which the standby does not follow. */
const PATIENCE_MS = 300;
const WAY_MS = 2;

/** Posts of one session: a snapshot, then increments. */
interface Stream {
  readonly from: Box;
  readonly to: Box;
  readonly lives: readonly [number, number];
  readonly term: number;
  broken: boolean;
}

/** What a process remembers. */
interface Owner {
  /** Term of the last snapshot that was begun: the other box may hold the state of that one. */
  snapshotTerm: number;
  stream: Stream | null;
  /** Entries that are not acknowledged, and since when. */
  waiting: { readonly id: number; readonly sinceMs: number }[];
  /** Promotions that are not answered; one of them was forced. */
  promotions: number;
  forced: boolean;
}

/** How the active box goes on when the standby does not follow. */
export type AloneRule =
  /** In the next term. */
  | "next term"
  /** In the present one. */
  | "same term";

export class PairData {
  /** Entries acknowledged alone, and with the standby. */
  alone = 0;
  together = 0;
  #acknowledged: number[] = [];
  /** A forced takeover in this term may have lost some. */
  #forcedTerm = 0;
  #entries = 0;
  readonly #world: World;
  readonly #rule: AloneRule;
  /** On disk, as what is under way to the kernel and to a gateway is. */
  readonly #logs = new Map<Box, number[]>();
  readonly #owners = new Map<Box, Owner>();
  readonly #followed = new Map<Box, Stream>();

  constructor(world: World, rule: AloneRule = "next term") {
    this.#world = world;
    this.#rule = rule;
    for (const box of world.boxes) this.#logs.set(box, []);
    world.data = this;
    this.#tick();
  }

  handleStart(box: Box): void {
    this.#followed.delete(box);
    this.#owners.set(box, {
      snapshotTerm: 0,
      stream: null,
      waiting: [],
      promotions: 0,
      forced: false,
    });
  }

  promote(box: Box, force: boolean): void {
    this.#world.give(box, (at) => {
      const owner = this.#owners.get(box)!;
      owner.promotions++;
      owner.forced ||= force;
      box.election!.handlePromote({ force }, at);
    });
  }

  handlePromoted(box: Box): void {
    const owner = this.#owners.get(box)!;
    owner.promotions--;
    if (owner.promotions <= 0) owner.forced = false;
  }

  /** A box has got this term. */
  handleTake(box: Box, term: number): void {
    if (!this.#owners.get(box)!.forced) return;
    const has = new Set(this.#logs.get(box)!);
    this.#forcedTerm = term;
    this.#acknowledged = this.#acknowledged.filter((id) => has.has(id));
  }

  handleActive(box: Box, term: number): void {
    const has = new Set(this.#logs.get(box)!);
    const lost = this.#acknowledged.filter((id) => !has.has(id)).length;
    assert.equal(lost, 0, `${box.name} is active in term ${term} without what was acknowledged`);
  }

  #tick(): void {
    for (const box of this.#world.boxes) {
      this.#world.give(box, (at) => this.#work(box, box.election!, this.#owners.get(box)!, at));
    }
    this.#world.at(TICK_MS, () => this.#tick());
  }

  #work(box: Box, election: Election, owner: Owner, at: number): void {
    if (election.role !== "active") {
      owner.stream = null;
      owner.waiting = [];
      return;
    }
    const { term } = election;
    const since = owner.waiting[0]?.sinceMs ?? Infinity;
    const tired = this.#world.nowMs - since > PATIENCE_MS;
    if (owner.stream?.term !== term || owner.stream.broken || tired) this.#break(owner);
    const { peer } = election;
    const reached = peer.known && peer.term === term && peer.role === "standby";
    const follows = owner.stream !== null;
    if (!follows && reached && (!tired || this.#world.dice.chance(50))) {
      this.#begin(box, owner, term);
    }
    const id = ++this.#entries;
    this.#logs.get(box)!.push(id);
    owner.waiting.push({ id, sinceMs: this.#world.nowMs });
    const { stream } = owner;
    if (election.storedTerm > owner.snapshotTerm) this.#acknowledgeAlone(owner, term);
    else if (stream !== null) this.#post(stream, (to) => this.#append(stream, to, id));
    else if (this.#rule === "next term") election.handleAlone(at);
    else this.#acknowledgeAlone(owner, term);
  }

  #break(owner: Owner): void {
    if (owner.stream !== null) owner.stream.broken = true;
    owner.stream = null;
  }

  #begin(box: Box, owner: Owner, term: number): void {
    const to = this.#world.other(box);
    const stream = { from: box, to, lives: [box.life, to.life], term, broken: false } as const;
    const log = [...this.#logs.get(box)!];
    owner.snapshotTerm = term;
    owner.stream = stream;
    this.#post(stream, (peer, at) => {
      if (peer.role !== "standby" || peer.term !== term) return false;
      this.#logs.set(to, log);
      this.#followed.set(to, stream);
      peer.handleSnapshot(term, at);
      return true;
    });
  }

  #append(stream: Stream, peer: Election, id: number): boolean {
    const { from, term, to } = stream;
    const follows = this.#followed.get(to) === stream;
    if (!follows || peer.role !== "standby" || peer.term !== term) return false;
    this.#logs.get(to)!.push(id);
    this.#world.at(WAY_MS, () => {
      if (this.#world.cut.has("ab") || from.life !== stream.lives[0]) return;
      this.#world.give(from, () => {
        const owner = this.#owners.get(from)!;
        const waits = owner.waiting.findIndex((one) => one.id === id);
        if (from.election!.role !== "active" || waits < 0) return;
        owner.waiting.splice(waits, 1);
        this.together++;
        this.#acknowledge(id, from.election!.term);
      });
    });
    return true;
  }

  /** Posts arrive in their order, or the session is broken. */
  #post(stream: Stream, take: (to: Election, at: number) => boolean): void {
    const { lives, to } = stream;
    this.#world.at(WAY_MS, () => {
      const here = to.election !== null && to.life === lives[1];
      if (!here || this.#world.cut.has("ab")) stream.broken = true;
      this.#world.give(to, (at) => {
        if (!stream.broken && !take(to.election!, at)) stream.broken = true;
      });
    });
  }

  #acknowledgeAlone(owner: Owner, term: number): void {
    for (const { id } of owner.waiting.splice(0)) {
      this.alone++;
      this.#acknowledge(id, term);
    }
  }

  #acknowledge(id: number, term: number): void {
    if (term >= this.#forcedTerm) this.#acknowledged.push(id);
  }
}
