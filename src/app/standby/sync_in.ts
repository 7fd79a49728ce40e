/**
 * The posts that a standby takes: judged by their numbers, checked record by record, and applied whole or
 * not at all.
 *
 * @module
 */
import { describeFault, fail, Fault } from "../../mem/fault.ts";
import { type Region, regionOf } from "../../mem/region.ts";
import type { SaStore } from "../../proto/xfrm/sa_store.ts";
import { SnapshotState, SyncReceiver, SyncVerdict } from "../../proto/standby/sync_stream.ts";
import {
  PostHead,
  PostRecord,
  readPostHead,
  readPostRecord,
  RecordKind,
} from "../../wire/standby/post.ts";
import type { Cargo } from "./cargo.ts";
import type { Tell } from "./associations.ts";

/** How a {@linkcode SyncIn} is made. */
export interface SyncInOptions {
  /** Null: this box has no IPsec. */
  readonly store: SaStore | null;
  /** Null: it has no gateway. */
  readonly cargo: Cargo | null;
  readonly tell: Tell;
}

/** Takes posts. */
export class SyncIn {
  readonly receiver = new SyncReceiver();
  /** When the last post was applied; -Infinity before. */
  appliedMs = -Infinity;
  /** Bytes of all posts that were applied. */
  bytes = 0;
  readonly #options: SyncInOptions;
  readonly #head = new PostHead();
  readonly #record = new PostRecord();

  /** @param options who takes what is in them */
  constructor(options: SyncInOptions) {
    this.#options = options;
  }

  /**
   * Takes a post; whether this box has it, perhaps as it came twice. What it does not have must not be
   * acknowledged, nor what it has before the promise resolves: the other box lets messages go by that.
   * `onWhole` is called when a snapshot is whole by it.
   */
  take(
    front: Uint8Array<ArrayBuffer>,
    nowMs: number,
    onWhole: () => void,
  ): Promise<boolean> | boolean {
    const releasing = this.#options.cargo?.releasing ?? null;
    if (releasing !== null) return releasing.then(() => this.take(front, nowMs, onWhole));
    const region = regionOf(front);
    const start = readPostHead(region, 0, front.length, this.#head);
    if (start < 0) return this.#refuse();
    const verdict = this.receiver.judge(this.#head);
    if (verdict !== SyncVerdict.Apply) return verdict === SyncVerdict.Duplicate;
    if (this.#check(region, start) < 0) return this.#refuse();
    let whole = false;
    let at = start;
    for (let index = 0; index < this.#head.count; index++) {
      at = readPostRecord(region, at, this.#record);
      if (this.#apply(region, this.#record, nowMs) < 0) return this.#refuse();
      if (this.#record.kind === RecordKind.SnapshotEnd) whole = true;
    }
    this.appliedMs = nowMs;
    this.bytes += front.length;
    if (whole) this.receiver.handleSnapshotEnd();
    const { cargo } = this.#options;
    if (cargo !== null) return this.#store(cargo, whole ? onWhole : null);
    if (whole) onWhole();
    return true;
  }

  async #store(cargo: Cargo, onWhole: (() => void) | null): Promise<boolean> {
    try {
      await cargo.stored();
    } catch (error) {
      this.#options.tell("error", `A post cannot be stored: ${(error as Error).message}`);
      this.receiver.handleBad();
      return false;
    }
    onWhole?.();
    return true;
  }

  #check(region: Region, start: number): number {
    let at = start;
    let begins = 0;
    for (let index = 0; index < this.#head.count; index++) {
      at = readPostRecord(region, at, this.#record);
      const { at: from, end, kind } = this.#record;
      if (kind === RecordKind.SnapshotBegin) begins++;
      const coming = this.receiver.snapshot === SnapshotState.Coming;
      if (kind === RecordKind.SnapshotEnd && !coming) {
        return fail(Fault.State, "SnapshotEnd", from, this.#head.number, "after its beginning");
      }
      const checked = this.#checkRecord(kind, region, from, end);
      if (checked < 0) return checked;
    }
    const expected = this.#head.number === 1 ? 1 : 0;
    if (begins === expected) return 0;
    return fail(
      Fault.State,
      "SnapshotBegin",
      start,
      begins,
      `${expected} in post ${this.#head.number}`,
    );
  }

  #checkRecord(kind: number, region: Region, at: number, end: number): number {
    const { cargo, store } = this.#options;
    if (kind === RecordKind.SnapshotBegin || kind === RecordKind.SnapshotEnd) {
      return at === end ? 0 : fail(Fault.Field, "snapshot mark length", at, end - at, "0");
    }
    if (isAssociation(kind)) {
      if (store !== null) return store.check(kind, region, at, end);
      return fail(Fault.Feature, "SYNC record kind", at, kind, 'none with "associations" false');
    }
    if (cargo !== null) return cargo.check(kind, region, at, end);
    return fail(Fault.Feature, "SYNC record kind", at, kind, "of an SA, as no gateway runs here");
  }

  #apply(region: Region, { at, end, kind }: PostRecord, nowMs: number): number {
    const { cargo, store } = this.#options;
    if (isAssociation(kind)) return store!.apply(kind, region, at, end, nowMs);
    if (kind !== RecordKind.SnapshotBegin && kind !== RecordKind.SnapshotEnd) {
      return cargo!.apply(kind, region, at, end);
    }
    const applied = store === null ? 0 : store.apply(kind, region, at, end, nowMs);
    return applied < 0 || cargo === null ? applied : cargo.apply(kind, region, at, end);
  }

  #refuse(): boolean {
    this.#options.tell("warning", `A post of the other box is refused: ${describeFault()}`);
    this.receiver.handleBad();
    this.#options.store?.handleLost();
    return false;
  }
}

function isAssociation(kind: number): boolean {
  return kind >= RecordKind.Sa && kind <= RecordKind.PolicyGone;
}
