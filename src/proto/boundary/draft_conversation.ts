/**
 * One connection of a sender that marks its PDUs by urgent data (`fairlead sniff send`): iSCSI in the
 * bit layout of draft-wakeley-iscsi-msgbndry-00 section 3.3, in the one form that this sender writes.
 * RFC 7143 forbids that form, so that no PDU of real iSCSI is one; 41 of its 48 bytes are constant.
 *
 * ```text
 *  Start --the form at offset 0--> Header --> Body --> Header where the length says
 *    | not from the start            | none there, or a hole over it
 *    +-----------> Lost <------------+
 *                   +--> Header: three headers that lead to each other, or two, a pointer to the first
 * ```
 *
 * A stream that begins as something else is never asked for again: another decoder has it.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import {
  draftFields,
  DraftPdu,
  findDraftPdu,
  readDraftPdu,
} from "../../wire/iscsi/draft_layout.ts";
import { BHS_SIZE } from "../../wire/iscsi/header.ts";
import { Opcode, pduName } from "../../wire/iscsi/opcode.ts";
import { Found, FoundBy, Moment } from "./found.ts";
import type { IscsiShared } from "./iscsi_sessions.ts";
import type { ConversationDecoder, SideContext, SideDecoder } from "./side_decoder.ts";
import { Means } from "./side_decoder.ts";

/** The largest PDU that is sent, which may be kept for its bytes as a whole. */
const PDU_BYTES_MAX = 1024 * 1024;
/** Headers that wait for the next one: several only where data contains such headers too. */
const CANDIDATES_MAX = 8;
/** The first bytes of a stream tell most others apart, before a whole header is there. */
const TELLING_BYTES = 2;

const State = { Start: 0, Lost: 1, Header: 2, Body: 3 } as const;

/** The two decoders of a connection. */
export class DraftConversation implements ConversationDecoder {
  readonly sides: readonly [SideDecoder, SideDecoder];

  /** The decoders of a connection with these two sides. */
  constructor(contexts: readonly [SideContext, SideContext], shared: IscsiShared) {
    this.sides = [new DraftSide(contexts[0], shared), new DraftSide(contexts[1], shared)];
  }
}

/** A header that was seen while the direction was lost. */
class Candidate {
  readonly offset: number;
  readonly end: number;
  readonly sequence: number;
  readonly begin = new Moment();
  /** The one whose length led to it. */
  readonly before: Candidate | null;
  missing = 0;

  constructor(offset: number, { sequence, size }: DraftPdu, before: Candidate | null) {
    this.offset = offset;
    this.end = offset + size;
    this.sequence = sequence;
    this.before = before;
  }
}

class DraftSide implements SideDecoder {
  readonly #context: SideContext;
  readonly #shared: IscsiShared;
  /** Made when a PDU is proven: most connections carry something else. */
  #found: Found | null = null;
  #state: number = State.Start;
  /** The bytes that were given last: the stream's from #offset to #reached lie at #at. */
  #at = 0;
  #offset = 0;
  #reached = 0;
  /** The PDU that is being read, as offsets in the stream; while lost, where the search begins. */
  #begin = 0;
  #end = 0;
  #missing = 0;
  #isKept = false;
  #foundBy: FoundBy = FoundBy.Start;
  readonly #pdu = new DraftPdu();
  readonly #candidates: Candidate[] = [];

  constructor(context: SideContext, shared: IscsiShared) {
    this.#context = context;
    this.#shared = shared;
  }

  handleBytes(at: number, end: number, offset: number): number {
    this.#at = at;
    this.#offset = offset;
    this.#reached = offset + end - at;
    for (;;) {
      const wanted = this.#step();
      if (wanted >= 0) return wanted;
    }
  }

  handleHole(offset: number, length: number): number {
    const until = offset + length;
    if (this.#state === State.Lost) {
      for (const one of this.#candidates) {
        one.missing += Math.max(0, Math.min(until, one.end) - Math.max(offset, one.offset));
      }
      this.#begin = until;
      return until;
    }
    if (this.#state !== State.Body || (this.#context.means & Means.Length) === 0) {
      this.#lose(until);
      return until;
    }
    this.#isKept = false;
    this.#missing += Math.min(until, this.#end) - offset;
    if (until < this.#end) return this.#end - 1;
    const isOver = until > this.#end;
    this.#record().finish.copy(this.#context.last);
    this.#tell();
    if (isOver) this.#lose(until);
    return until;
  }

  handleEnd(offset: number): void {
    if (this.#state === State.Body) {
      this.#record().finish.copy(this.#context.last);
      this.#tell(this.#end - offset);
    }
    this.#lose(offset);
  }

  close(): void {
    this.#candidates.length = 0;
  }

  /** One step; returns the offset from which on bytes are needed, or -1 when there is more to do. */
  #step(): number {
    switch (this.#state) {
      case State.Start:
        return this.#readStart();
      case State.Header:
        return this.#readHeader();
      case State.Body:
        return this.#readBody();
      default:
        return this.#scan();
    }
  }

  #readStart(): number {
    const { conversation: { fromStart }, side } = this.#context;
    if (this.#offset > 0 || !fromStart[side]) return this.#lose(this.#offset);
    const telling = Math.min(this.#reached, TELLING_BYTES);
    if (findDraftPdu(arena, this.#at, this.#at + telling) !== this.#at) return Infinity;
    if (this.#reached < BHS_SIZE) return 0;
    if (!this.#isHeader(0)) return Infinity;
    this.#state = State.Header;
    return -1;
  }

  #readHeader(): number {
    const begin = this.#begin;
    if (this.#reached - begin < BHS_SIZE) return begin;
    if (!this.#isHeader(begin)) {
      this.#shared.counters.brokenChains++;
      return this.#lose(begin);
    }
    this.#end = begin + this.#pdu.size;
    this.#missing = 0;
    this.#isKept = this.#context.keepsBytes;
    this.#record().begin.copy(this.#momentAt(begin));
    this.#state = State.Body;
    return -1;
  }

  #readBody(): number {
    if (this.#reached < this.#end) return this.#isKept ? this.#begin : this.#end - 1;
    const found = this.#record();
    found.finish.copy(this.#momentAt(this.#end - 1));
    if (this.#isKept) {
      found.at = this.#at + this.#begin - this.#offset;
      found.end = this.#at + this.#end - this.#offset;
    }
    return this.#tell();
  }

  /** Looks for headers wherever they may begin. */
  #scan(): number {
    const base = this.#at - this.#offset;
    const end = base + this.#reached;
    let place = findDraftPdu(arena, base + Math.max(this.#begin, this.#offset), end);
    while (place < end) {
      if (end - place < BHS_SIZE) return place - base;
      if (this.#isHeader(place - base) && this.#prove(place - base)) return -1;
      place = findDraftPdu(arena, place + 1, end);
    }
    return this.#reached;
  }

  /** Whether the header at `offset` completes a proof; if not, it waits for the next one. */
  #prove(offset: number): boolean {
    const { means, urgent } = this.#context;
    const chains = (means & Means.HeaderChain) !== 0;
    if (!chains && (means & Means.Urgent) === 0) return false;
    const candidates = this.#candidates;
    const { sequence } = this.#pdu;
    const follows = (one: Candidate): boolean =>
      one.end === offset && ((one.sequence + 1) >>> 0) === sequence;
    const before = candidates.find(follows) ?? null;
    if (before !== null && chains && before.before !== null) {
      this.#lock(offset, FoundBy.HeaderChain, [before.before, before]);
      return true;
    }
    if (before !== null && (means & Means.Urgent) !== 0 && urgent.names(before.offset)) {
      this.#lock(offset, FoundBy.Urgent, [before]);
      return true;
    }
    const useful = candidates.filter((one) => one.end > offset).slice(1 - CANDIDATES_MAX);
    const own = new Candidate(offset, this.#pdu, chains ? before : null);
    own.begin.copy(this.#momentAt(offset));
    candidates.splice(0, candidates.length, ...useful, own);
    return false;
  }

  /** Tells what a search has proven, and goes on at `offset`. */
  #lock(offset: number, foundBy: FoundBy, members: readonly Candidate[]): void {
    this.#candidates.length = 0;
    const found = this.#record();
    this.#foundBy = foundBy;
    for (const [index, { begin, end, missing, offset: at, sequence }] of members.entries()) {
      this.#begin = at;
      this.#end = end;
      this.#missing = missing;
      this.#pdu.sequence = sequence;
      this.#pdu.size = end - at;
      found.begin.copy(begin);
      found.finish.copy(members[index + 1]?.begin ?? this.#context.last);
      this.#tellFound();
    }
    this.#begin = offset;
    this.#state = State.Header;
  }

  /** Tells the PDU, which the stream ends `lacking` bytes early, and goes on behind it. Returns -1. */
  #tell(lacking = 0): number {
    this.#tellFound(lacking);
    this.#begin = this.#end;
    this.#state = State.Header;
    if ((this.#context.means & Means.Length) === 0) this.#lose(this.#end);
    return -1;
  }

  #tellFound(lacking = 0): void {
    const found = this.#record();
    found.tag = pduName(Opcode.DataOut);
    found.offset = this.#begin;
    found.length = this.#end - this.#begin;
    found.missing = this.#missing + lacking;
    found.foundBy = this.#foundBy;
    if (this.#missing > 0) found.errors.push(`hole: ${this.#missing} bytes were not captured`);
    if (lacking > 0) {
      found.errors.push(`the stream ends ${lacking} bytes before the end of this PDU`);
    }
    this.#context.tell(found);
    found.reset();
    if ((this.#context.means & Means.Length) !== 0) this.#foundBy = FoundBy.Length;
  }

  /** Nothing is known from `offset` on. Returns -1. */
  #lose(offset: number): number {
    this.#state = State.Lost;
    this.#begin = offset;
    this.#candidates.length = 0;
    return -1;
  }

  /** Reads the header at `offset` of the stream, all of which is there. */
  #isHeader(offset: number): boolean {
    const at = this.#at + offset - this.#offset;
    const pdu = this.#pdu;
    return readDraftPdu(arena, at, at + BHS_SIZE, pdu) >= 0 && pdu.size <= PDU_BYTES_MAX;
  }

  #momentAt(offset: number): Moment {
    return offset === this.#offset ? this.#context.first : this.#context.last;
  }

  #record(): Found {
    if (this.#found !== null) return this.#found;
    const { conversation, side } = this.#context;
    this.#found = new Found(conversation, side, () => draftFields(this.#pdu));
    this.#found.protocol = "iscsi";
    return this.#found;
  }
}
