/**
 * One direction of a connection of iSCSI: finds its PDUs and tells them. Read this before touching it:
 *
 * ```text
 *            login at offset 0                     next header where the length says
 *  Start -----------------------> Header <-------------------------------------------+
 *    |                             |  ^  +--> Skip (data is not looked at) ----------+
 *    | no login, or not from       |  |  +--> Data (data digest) --> Trailer --------+
 *    v the start                   |  |  +--> Whole (its bytes are kept) ------------+
 *  Lost <----- no header there ----+  |                                              |
 *    |   <---- hole over the end -----+-- Confirm (a doubtful header: is the next one there?)
 *    +---- search: proven ------------+
 * ```
 *
 * - Bytes of data that nobody looks at are never asked for but the last one, whose moment is the end of
 *   the PDU: a segment within a PDU costs nothing here.
 * - A hole within a PDU whose header was seen does not unlock. One over its end does.
 * - A header that a receiver would take but RFC 7143 forbids, or one with a wrong digest, is told only
 *   when the next header is where its length says.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { newRegion, type Region } from "../../mem/region.ts";
import { crc32cRaw } from "../../wire/crc32c.ts";
import { ahsFields, headerFields } from "../../wire/iscsi/fields.ts";
import {
  ahsBytes,
  BHS_SIZE,
  copyWords,
  dataBytes,
  DIGEST_SIZE,
  HEADER_BYTES_MAX,
  opcodeAt,
  padded,
} from "../../wire/iscsi/header.ts";
import { pairText, readKeys } from "../../wire/iscsi/keys.ts";
import { Opcode, pduName } from "../../wire/iscsi/opcode.ts";
import {
  DIGEST_SEED,
  digestOf,
  digestText,
  finishDigest,
  readDigest,
} from "../../wire/iscsi/pdu.ts";
import { isAcceptable, isOpening, isPlausible } from "../../wire/iscsi/plausible.ts";
import { senseFields } from "../../wire/iscsi/scsi.ts";
import { Found, FoundBy } from "./found.ts";
import type { IscsiConversation } from "./iscsi_conversation.ts";
import { IscsiSearch, Use } from "./iscsi_search.ts";
import { Means, type SideContext, type SideDecoder } from "./side_decoder.ts";

/** Data segments of texts and of sense data up to this are kept until they are described. */
const DESCRIBED_BYTES_MAX = 8 * 1024;
/** The largest PDU that is kept for its bytes. */
const KEPT_BYTES_MAX: number = 1024 * 1024;

const State = {
  Start: 0,
  Lost: 1,
  Header: 2,
  Skip: 3,
  Data: 4,
  Trailer: 5,
  Whole: 6,
  Confirm: 7,
} as const;

/** What a direction has before its first PDU is proven. */
const NO_HEADER = newRegion(0);

/** Decoder of one direction. */
export class IscsiSide implements SideDecoder {
  readonly #context: SideContext;
  readonly #conversation: IscsiConversation;
  readonly #found: Found;
  readonly #search: IscsiSearch;
  /** Header and additional segments of the PDU that is being read or told. */
  #header: Region = NO_HEADER;

  #state: number = State.Start;
  /** Nothing was missed since the first byte of the stream. */
  #isWhole = true;
  /** The bytes that were given last: the stream's from #offset to #reached lie at #at. */
  #at = 0;
  #offset = 0;
  #reached = 0;

  // The PDU that is being read, as offsets in the stream.
  #begin = 0;
  #dataAt = 0;
  /** Where its data ends, padding included. */
  #dataEnd = 0;
  /** Where it ends; without a data digest that is not known to be there. */
  #end = 0;
  #opcode = 0;
  /** Bytes of #header that belong to it. */
  #headerBytes = 0;
  #dataDigest: number = Use.Off;
  #isDoubtful = false;
  /** Its digests as they stand there, -1 where there is none. */
  #headerDigest = -1;
  #dataDigestTold = -1;
  #missing = 0;
  #crc = 0;
  #crcAt = 0;
  #crcIsWhole = false;
  /** Where its data lies in the arena while it is told, -1 when it is not at hand. */
  #toldDataAt = -1;

  /** The decoder of the direction of `context`. */
  constructor(context: SideContext, conversation: IscsiConversation) {
    this.#context = context;
    this.#conversation = conversation;
    this.#search = new IscsiSearch(context);
    this.#found = new Found(context.conversation, context.side, () => this.#describe());
    this.#found.protocol = "iscsi";
  }

  /** Takes bytes, see `SideDecoder`. */
  handleBytes(at: number, end: number, offset: number): number {
    this.#at = at;
    this.#offset = offset;
    this.#reached = offset + end - at;
    for (;;) {
      const wanted = this.#step();
      if (wanted >= 0) return wanted > offset ? wanted : offset;
    }
  }

  /** Bytes that never come, see `SideDecoder`. */
  handleHole(offset: number, length: number): number {
    const until = offset + length;
    this.#isWhole = false;
    switch (this.#state) {
      case State.Lost:
        this.#search.handleHole(offset, length);
        return until;
      case State.Skip:
      case State.Data:
      case State.Trailer:
      case State.Whole:
        return this.#bridge(offset, until);
      default:
        this.#lose(until);
        return until;
    }
  }

  /** The end of the stream, see `SideDecoder`. */
  handleEnd(offset: number): void {
    switch (this.#state) {
      case State.Skip:
      case State.Data:
      case State.Trailer:
      case State.Whole:
        if (this.#isDoubtful && !this.#isWhole) break;
        if (this.#dataDigest === Use.Unknown && offset < this.#dataEnd) break; // how long is it?
        this.#found.finish.copy(this.#context.last);
        this.#tell(Math.max(0, this.#end - offset));
        break;
      case State.Confirm:
        if (this.#isWhole) this.#tell();
        break;
    }
    this.#state = State.Lost;
    this.#search.start(offset);
  }

  /** Gives back what it holds. */
  close(): void {
    this.#search.close();
    this.#conversation.handleDropped(this.#search.dropped);
    this.#search.dropped = 0;
  }

  /** One step; returns the offset from which on bytes are needed, or -1 when there is more to do. */
  #step(): number {
    switch (this.#state) {
      case State.Header:
        return this.#readHeader();
      case State.Skip:
        if (this.#reached < this.#end) return this.#end - 1;
        return this.#complete();
      case State.Data:
        return this.#readData();
      case State.Trailer:
        return this.#readTrailer();
      case State.Whole:
        return this.#readWhole();
      case State.Confirm:
        return this.#confirm();
      case State.Start:
        return this.#readStart();
      default:
        return this.#scan();
    }
  }

  #readStart(): number {
    const { conversation, side } = this.#context;
    if (this.#offset > 0 || !conversation.fromStart[side]) return this.#lose(this.#offset);
    if (this.#reached < BHS_SIZE) return 0;
    const senders = this.#conversation.sendersOf(side);
    const isStart = isPlausible(arena, this.#at, senders) &&
      isOpening(arena, this.#at);
    if (!isStart) return this.#lose(0);
    this.#lock(0, FoundBy.Start, opcodeAt(arena, this.#at));
    return -1;
  }

  #scan(): number {
    const { side } = this.#context;
    const conversation = this.#conversation;
    const search = this.#search;
    const senders = conversation.sendersOf(side);
    const end = this.#at + this.#reached - this.#offset;
    const { headerDigest, dataDigest } = conversation;
    const wanted = search.scan(this.#at, end, this.#offset, senders, headerDigest, dataDigest);
    if (search.lockedAt < 0) return wanted;
    const at = this.#at + search.lockedAt - this.#offset;
    this.#lock(search.lockedAt, search.foundBy, opcodeAt(arena, at));
    conversation.handleDigests(search.headerDigest, search.dataDigest);
    let { foundBy } = search;
    for (let index = 0; index < search.memberCount; index++) {
      this.#tellMember(index, foundBy);
      if ((this.#context.means & Means.Length) !== 0) foundBy = FoundBy.Length;
    }
    this.#begin = search.lockedAt;
    this.#found.foundBy = foundBy;
    return -1;
  }

  /** A PDU that a search has proven before the one at which it locks. */
  #tellMember(index: number, foundBy: FoundBy): void {
    const member = this.#search.members[index as 0 | 1];
    copyWords(member.header, 0, this.#header, 0, BHS_SIZE);
    this.#headerBytes = BHS_SIZE;
    const opcode = opcodeAt(this.#header, 0);
    const found = this.#found;
    found.reset();
    found.foundBy = foundBy;
    found.begin.copy(member.begin);
    found.finish.copy(
      index + 1 < this.#search.memberCount ? this.#search.members[1].begin : this.#context.last,
    );
    this.#opcode = opcode;
    this.#begin = member.offset;
    this.#end = member.offset + member.length;
    this.#missing = member.missing;
    this.#toldDataAt = -1;
    this.#tellFound();
  }

  #lock(offset: number, foundBy: FoundBy, opcode: number): void {
    this.#conversation.handleProof(this.#context.side, opcode);
    if (this.#header === NO_HEADER) this.#header = newRegion(HEADER_BYTES_MAX);
    this.#state = State.Header;
    this.#begin = offset;
    this.#found.foundBy = foundBy;
  }

  /** Nothing is known from `offset` on. Returns -1. */
  #lose(offset: number): number {
    this.#state = State.Lost;
    this.#isWhole = false;
    this.#search.start(offset);
    this.#conversation.handleLost(this.#context.side);
    return -1;
  }

  #break(offset: number): number {
    this.#conversation.handleBrokenChain();
    return this.#lose(offset);
  }

  #readHeader(): number {
    const begin = this.#begin;
    if (begin < this.#offset) return this.#break(this.#offset);
    const there = this.#reached - begin;
    if (there < BHS_SIZE) return begin;
    const at = this.#at + begin - this.#offset;
    const senders = this.#conversation.sendersOf(this.#context.side);
    if (!isAcceptable(arena, at, senders)) return this.#break(begin);
    const opcode = opcodeAt(arena, at);
    const isLogin = opcode === Opcode.LoginRequest || opcode === Opcode.LoginResponse;
    const use = isLogin ? Use.Off : this.#conversation.headerDigest;
    const size = BHS_SIZE + ahsBytes(arena, at);
    if (there < (use === Use.Off ? size : size + DIGEST_SIZE)) return begin;

    const found = this.#found;
    const { foundBy } = found;
    found.reset();
    found.foundBy = foundBy;
    this.#headerDigest = -1;
    this.#dataDigestTold = -1;
    found.begin.copy(begin === this.#offset ? this.#context.first : this.#context.last);
    this.#isDoubtful = !isPlausible(arena, at, senders);
    let hasDigest = use === Use.On;
    if (use !== Use.Off) hasDigest = this.#tryHeaderDigest(at, at + size, use);
    copyWords(arena, at, this.#header, 0, size);
    this.#headerBytes = size;

    const data = dataBytes(arena, at);
    this.#opcode = opcode;
    this.#missing = 0;
    this.#toldDataAt = -1;
    this.#dataAt = begin + size + (hasDigest ? DIGEST_SIZE : 0);
    this.#dataEnd = this.#dataAt + padded(data);
    this.#dataDigest = isLogin || data === 0 ? Use.Off : this.#conversation.dataDigest;
    this.#end = this.#dataEnd + (this.#dataDigest === Use.On ? DIGEST_SIZE : 0);
    this.#state = this.#nextState(data);
    return -1;
  }

  /** Returns whether a digest stands behind the header. */
  #tryHeaderDigest(at: number, end: number, use: number): boolean {
    const told = readDigest(arena, end);
    const made = digestOf(arena.bytes, at, end);
    if (told === made) {
      this.#headerDigest = told;
      this.#isDoubtful = false;
      if (use === Use.Unknown) this.#conversation.handleHeaderTried(true);
      return true;
    }
    if (use === Use.Unknown) {
      this.#conversation.handleHeaderTried(false);
      return false;
    }
    this.#headerDigest = told;
    this.#found.errors.push(digestError("header digest", told, made));
    this.#isDoubtful = true;
    return true;
  }

  #nextState(data: number): number {
    const isKept = this.#context.keepsBytes && this.#end - this.#begin <= KEPT_BYTES_MAX;
    if (isKept || (data > 0 && data <= DESCRIBED_BYTES_MAX && isDescribed(this.#opcode))) {
      return State.Whole;
    }
    if (this.#dataDigest === Use.Off) return State.Skip;
    this.#crc = DIGEST_SEED;
    this.#crcAt = this.#dataAt;
    this.#crcIsWhole = true;
    return State.Data;
  }

  /** Takes data into its digest. */
  #readData(): number {
    if (this.#crcAt < this.#offset) {
      this.#crcIsWhole = false;
      this.#crcAt = this.#offset;
    }
    const until = Math.min(this.#reached, this.#dataEnd);
    if (until > this.#crcAt) {
      const base = this.#at - this.#offset;
      if (this.#crcIsWhole) {
        this.#crc = crc32cRaw(this.#crc, arena.bytes, base + this.#crcAt, base + until);
      }
      this.#crcAt = until;
    }
    if (until < this.#dataEnd) return this.#crcAt > this.#reached ? this.#crcAt : this.#reached;
    this.#state = State.Trailer;
    return -1;
  }

  /** The data digest, or what tells whether there is one. */
  #readTrailer(): number {
    if (this.#offset > this.#dataEnd) return this.#break(this.#offset);
    const at = this.#at + this.#dataEnd - this.#offset;
    const there = this.#reached - this.#dataEnd;
    if (this.#dataDigest === Use.Unknown && !this.#crcIsWhole) return this.#guess(at, there);
    if (there < DIGEST_SIZE) return this.#dataEnd;
    this.#checkDataDigest(at, finishDigest(this.#crc));
    return this.#complete();
  }

  #checkDataDigest(at: number, made: number): void {
    const told = readDigest(arena, at);
    if (this.#dataDigest === Use.Unknown) {
      this.#conversation.handleDataTried(told === made);
      if (told !== made) return;
      this.#end = this.#dataEnd + DIGEST_SIZE;
    } else if (this.#crcIsWhole && told !== made) {
      this.#found.errors.push(digestError("data digest", told, made));
    }
    this.#dataDigestTold = told;
  }

  /** A part of the data is missing, so that only the next header says whether a digest is there. */
  #guess(at: number, there: number): number {
    if (there < DIGEST_SIZE + BHS_SIZE) return this.#dataEnd;
    const senders = this.#conversation.sendersOf(this.#context.side);
    if (isPlausible(arena, at, senders)) return this.#complete();
    if (!isPlausible(arena, at + DIGEST_SIZE, senders)) return this.#break(this.#dataEnd);
    this.#end = this.#dataEnd + DIGEST_SIZE;
    return this.#complete();
  }

  #readWhole(): number {
    const begin = this.#begin;
    if (this.#offset > begin) return this.#break(this.#offset);
    let until = this.#end;
    if (this.#dataDigest === Use.Unknown) until += DIGEST_SIZE;
    if (this.#isDoubtful) until += BHS_SIZE;
    if (this.#reached < until) return begin;
    const base = this.#at - this.#offset;
    if (this.#dataDigest !== Use.Off) {
      const { bytes } = arena;
      this.#crcIsWhole = true;
      const made = digestOf(bytes, base + this.#dataAt, base + this.#dataEnd);
      this.#checkDataDigest(base + this.#dataEnd, made);
    }
    this.#toldDataAt = base + this.#dataAt;
    this.#found.at = base + begin;
    this.#found.end = base + this.#end;
    return this.#complete();
  }

  /** All bytes of the PDU are there, or known to be missing. */
  #complete(): number {
    this.#found.finish.copy(
      this.#end - 1 === this.#offset ? this.#context.first : this.#context.last,
    );
    if (this.#isDoubtful) {
      this.#state = State.Confirm;
      return -1;
    }
    return this.#tell();
  }

  #confirm(): number {
    if (this.#end < this.#offset) return this.#break(this.#offset);
    if (this.#reached < this.#end + BHS_SIZE) return this.#end;
    const at = this.#at + this.#end - this.#offset;
    const senders = this.#conversation.sendersOf(this.#context.side);
    const holds = isPlausible(arena, at, senders) ||
      (this.#isWhole && isAcceptable(arena, at, senders));
    return holds ? this.#tell() : this.#break(this.#end);
  }

  /** Tells the PDU, which the stream ends `lacking` bytes early, and goes on behind it. Returns -1. */
  #tell(lacking = 0): number {
    if (this.#opcode === Opcode.LoginRequest || this.#opcode === Opcode.LoginResponse) {
      this.#conversation.handleLogin(this.#header, this.#opcode, this.#pairs(), this.#isWhole);
    }
    this.#tellFound(lacking);
    this.#toldDataAt = -1;
    this.#found.foundBy = FoundBy.Length;
    this.#begin = this.#end;
    this.#state = State.Header;
    if ((this.#context.means & Means.Length) === 0) {
      this.#state = State.Lost;
      this.#search.start(this.#end);
    }
    return -1;
  }

  /** @param lacking bytes that the stream ends before the PDU does */
  #tellFound(lacking = 0): void {
    const found = this.#found;
    found.tag = pduName(this.#opcode);
    found.offset = this.#begin;
    found.length = this.#end - this.#begin;
    found.missing = this.#missing + lacking;
    if (this.#missing > 0) found.errors.push(`hole: ${this.#missing} bytes were not captured`);
    if (lacking > 0) {
      found.errors.push(`the stream ends ${lacking} bytes before the end of this PDU`);
    }
    this.#conversation.pair(found, this.#header, this.#opcode);
    this.#context.tell(found);
  }

  /** A hole from `offset` to `until`, within the PDU that is being read or over its end. */
  #bridge(offset: number, until: number): number {
    const isUnknown = this.#dataDigest === Use.Unknown;
    const isOver = until > this.#end;
    if (
      this.#isDoubtful || (isOver && isUnknown) || (this.#context.means & Means.Length) === 0
    ) {
      this.#lose(until);
      return until;
    }
    this.#crcIsWhole = false;
    this.#missing += Math.max(0, Math.min(until, this.#end) - offset);
    if (isOver) {
      this.#found.finish.copy(this.#context.last);
      this.#tell();
      this.#lose(until);
      return until;
    }
    if (isUnknown) {
      this.#state = State.Trailer;
      return this.#dataEnd;
    }
    if (until === this.#end) {
      this.#found.finish.copy(this.#context.last);
      this.#tell();
      return until;
    }
    this.#state = State.Skip;
    return Math.max(until, this.#end - 1);
  }

  #pairs(): [string, string][] {
    const at = this.#toldDataAt;
    return at < 0 ? [] : readKeys(arena, at, at + dataBytes(this.#header, 0));
  }

  #describe(): Record<string, unknown> {
    const header = this.#header;
    const fields = headerFields(header, 0);
    Object.assign(fields, ahsFields(header, 0, this.#headerBytes));
    if (this.#headerDigest >= 0) fields["headerdigest32"] = digestText(this.#headerDigest);
    if (this.#dataDigestTold >= 0) fields["datadigest32"] = digestText(this.#dataDigestTold);
    this.#describeData(fields);
    const { orderOffset, orderPacket, requestOffset, requestOpcode, requestPacket } =
      this.#conversation;
    if (requestPacket > 0) {
      fields["request"] = pduName(requestOpcode);
      fields["request_frame"] = requestPacket;
      fields["request_offset"] = requestOffset;
      if (this.#found.type !== "") fields["command"] = this.#found.type;
    }
    if (orderPacket > 0) {
      fields["r2t_frame"] = orderPacket;
      fields["r2t_offset"] = orderOffset;
    }
    return fields;
  }

  #describeData(fields: Record<string, unknown>): void {
    const at = this.#toldDataAt;
    const bytes = dataBytes(this.#header, 0);
    if (at < 0 || bytes === 0) return;
    switch (this.#opcode) {
      case Opcode.LoginRequest:
      case Opcode.LoginResponse:
      case Opcode.TextRequest:
      case Opcode.TextResponse:
        fields["keyvalue"] = this.#pairs().map(pairText);
        break;
      case Opcode.ScsiResponse:
      case Opcode.Async:
        if (bytes < 2) break;
        fields["scsiresponse.senselength"] = arena.view.getUint16(at);
        Object.assign(fields, senseFields(arena, at + 2, at + bytes));
        break;
      case Opcode.Reject:
        fields["rejected"] = pduName(opcodeAt(arena, at));
        break;
    }
  }
}

/** Whether a PDU's data is shown when it is described. */
function isDescribed(opcode: number): boolean {
  switch (opcode) {
    case Opcode.LoginRequest:
    case Opcode.LoginResponse:
    case Opcode.TextRequest:
    case Opcode.TextResponse:
    case Opcode.ScsiResponse:
    case Opcode.Async:
    case Opcode.Reject:
      return true;
    default:
      return false;
  }
}

function digestError(name: string, told: number, made: number): string {
  return `${name} 0x${hex(told)} is not 0x${hex(made)} as its bytes say`;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}
