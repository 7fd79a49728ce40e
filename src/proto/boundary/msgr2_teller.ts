/**
 * Tells the messages of one side of a captured msgr2 connection: what a frame is, what it does to
 * the connection and its session, what it answers. The machine that finds frames is
 * msgr2_side.ts; here a frame is whole, or what of it is missing is known.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { describeFault } from "../../mem/fault.ts";
import { messageTypeName } from "../../wire/ceph/message_type.ts";
import { Banner } from "../../wire/msgr2/banner.ts";
import { MESSAGE_HEADER_SIZE, MessageHeader, readMessageHeader } from "../../wire/msgr2/message.ts";
import { Tag, tagName } from "../../wire/msgr2/tag.ts";
import { Found, FoundBy } from "./found.ts";
import {
  describeContent,
  describeControl,
  describeHeader,
  type Fields,
  isReadable,
  readControl,
  seen,
} from "./msgr2_fields.ts";
import { type Msgr2Link, REVISION_UNKNOWN } from "./msgr2_link.ts";
import { UNANSWERED } from "./msgr2_replies.ts";
import { SeenPreamble } from "../../wire/msgr2/seen_preamble.ts";
import type { SideContext } from "./side_decoder.ts";

/** A part of a frame that is not in the arena. */
const NOWHERE = -1;

const BANNER_TAG = "BANNER";

/** Names of message types that were met: those without a name of their own are made up once. */
const typeNames = new Map<number, string>();

/** The frame at hand of one side, and how it is told. */
export class Msgr2Teller {
  readonly found: Found;
  readonly preamble = new SeenPreamble();
  readonly banner = new Banner();
  aborted = false;
  readonly #context: SideContext;
  readonly #link: Msgr2Link;
  readonly #header = new MessageHeader();
  #hasHeader = false;
  #isBanner = false;
  #repeated = false;
  #hasEffect = false;
  // Segments 0 and 1 in the arena, while they are there.
  #bodyAt = NOWHERE;
  #bodyEnd = NOWHERE;
  #frontAt = NOWHERE;
  #frontEnd = NOWHERE;

  /** Tells to `context` what one side sends. */
  constructor(context: SideContext, link: Msgr2Link) {
    this.#context = context;
    this.#link = link;
    this.found = new Found(context.conversation, context.side, () => this.#describe());
  }

  /** A frame begins whose preamble was read. */
  begin(): void {
    this.found.reset();
    this.aborted = false;
    this.#hasHeader = false;
    this.#isBanner = false;
    this.#repeated = false;
    this.#hasEffect = false;
    this.#bodyAt = NOWHERE;
    this.#frontAt = NOWHERE;
  }

  /** Segment 0 lies at [at, end): the header of a message is read now, as the bytes may go. */
  locateBody(at: number, end: number): void {
    this.#bodyAt = at;
    this.#bodyEnd = end;
    const { tag, compressed, lengths } = this.preamble;
    if (tag !== Tag.Message || compressed || this.#hasHeader) return;
    if (end - at < MESSAGE_HEADER_SIZE) return;
    this.#hasHeader = readMessageHeader(arena, at, end, lengths[3]!, this.#header) >= 0;
  }

  /** Segment 1 lies at [at, end). */
  locateFront(at: number, end: number): void {
    this.#frontAt = at;
    this.#frontEnd = end;
  }

  /** What was located is gone. */
  loseBytes(): void {
    this.#bodyAt = NOWHERE;
    this.#frontAt = NOWHERE;
  }

  /** Whether the front of the message at hand would be read, if it were kept. */
  get isReadable(): boolean {
    return this.#hasHeader && isReadable(this.#header.type);
  }

  /** Something is wrong with the frame at hand. */
  complain(error: string): void {
    this.found.errors.push(error);
  }

  /** Tells the banner, which is in {@linkcode banner} and lies at `at`. */
  tellBanner(at: number, bytes: number): void {
    this.begin();
    this.#isBanner = true;
    this.#link.handleBanner(this.#context.side, this.banner);
    this.found.tag = BANNER_TAG;
    this.found.offset = 0;
    this.found.length = bytes;
    this.found.foundBy = FoundBy.Start;
    this.found.at = at;
    this.found.end = at + bytes;
    this.#tell(this.#link.revision, "crc");
  }

  /**
   * Tells the frame at hand, whose place in the stream the caller has put into {@linkcode found}.
   * Only a sound one, of which nothing is missing or wrong, has any effect.
   */
  tellFrame(revision: number, mode: "crc" | "secure", isSound: boolean): void {
    const { found, preamble } = this;
    const { tag } = preamble;
    found.tag = tagName(tag);
    if (this.aborted) this.complain("aborted by its sender");
    if (tag === Tag.Message) {
      if (this.#hasHeader) found.type = typeName(this.#header.type);
    }
    if (isSound && !this.aborted && !preamble.compressed) this.#apply(tag);
    if (this.#link.session !== null) found.session = this.#link.session.number;
    this.#tell(revision, mode);
    if (tag === Tag.SessionReset && this.#hasEffect && seen.reset.full) this.#link.handleReset();
  }

  #tell(revision: number, mode: "crc" | "secure"): void {
    const { found } = this;
    found.protocol = "msgr2";
    found.revision = revision === REVISION_UNKNOWN ? "" : revision === 0 ? "2.0" : "2.1";
    found.mode = mode;
    this.#context.tell(found);
  }

  /** What a sound frame does. */
  #apply(tag: number): void {
    if (tag === Tag.Message) return this.#applyMessage();
    if (this.#bodyAt === NOWHERE) return;
    if (readControl(tag, this.#bodyAt, this.#bodyEnd) < 0) {
      this.complain(describeFault(this.#bodyAt));
      return;
    }
    const { side } = this.#context;
    const other = this.#link.sentByOther(side);
    if (tag === Tag.Ack) {
      if (other !== null) this.#answer("ack", other.takeSeq(seen.ackSeq));
    } else if (tag === Tag.Keepalive2) {
      const { seconds, nanoseconds } = seen.keepalive;
      this.#link.sentBy(side).noteStamp(seconds, nanoseconds, this.found.finish.timeNs);
    } else if (tag === Tag.Keepalive2Ack) {
      const { seconds, nanoseconds } = seen.keepalive;
      if (other !== null) this.#answer("keepalive", other.takeStamp(seconds, nanoseconds));
    } else {
      this.#hasEffect = true;
      const error = this.#link.handleHandshake(side, tag);
      if (error !== "") this.complain(error);
    }
  }

  #applyMessage(): void {
    const header = this.#header;
    if (!this.#hasHeader) {
      this.complain("its header cannot be read");
      return;
    }
    const { side } = this.#context;
    const { timeNs } = this.found.finish;
    const sent = this.#link.sentBy(side);
    this.#repeated = this.#link.noteSeq(side, header.seq);
    sent.noteSeq(header.seq, timeNs);
    if (header.tid.isZero()) return;
    const asked = this.#link.sentByOther(side)?.takeTid(header.tid) ?? UNANSWERED;
    if (asked === UNANSWERED) sent.noteTid(header.tid, timeNs);
    else this.#answer("tid", asked);
  }

  #answer(what: "ack" | "keepalive" | "tid", askedNs: number): void {
    if (askedNs === UNANSWERED) return;
    this.found.answers = what;
    this.found.latencyNs = Math.max(0, this.found.begin.timeNs - askedNs);
  }

  #describe(): Fields {
    if (this.#isBanner) {
      const { supported, required } = this.banner;
      return { supported_features: `${supported}`, required_features: `${required}` };
    }
    const { tag, compressed, segmentCount, lengths } = this.preamble;
    const fields: Fields = {};
    if (compressed) {
      fields.compressed = true;
      fields.segment_lengths = [...lengths.subarray(0, segmentCount)];
    } else if (tag === Tag.Message) {
      this.#describeMessage(fields);
    } else if (this.#bodyAt !== NOWHERE) {
      Object.assign(fields, describeControl(tag, this.#bodyAt, this.#bodyEnd));
    }
    if (this.#hasEffect && tag >= Tag.AuthRequest && tag <= Tag.AuthDone) {
      const auth = this.#link.describeAuth();
      if (Object.keys(auth).length > 0) fields.auth = auth;
    }
    if (this.#hasEffect && tag === Tag.SessionReconnect && this.#link.continues > 0) {
      fields.continues_connection = this.#link.continues;
    }
    if (this.aborted) fields.aborted = true;
    if (this.#repeated) fields.repeated = true;
    return fields;
  }

  #describeMessage(fields: Fields): void {
    const { lengths } = this.preamble;
    if (!this.#hasHeader) {
      fields.front_len = lengths[1]!;
      fields.middle_len = lengths[2]!;
      fields.data_len = lengths[3]!;
      return;
    }
    Object.assign(fields, describeHeader(this.#header, lengths));
    if (!this.isReadable || this.#frontAt === NOWHERE || this.aborted) return;
    const content = describeContent(this.#header.type, this.#frontAt, this.#frontEnd);
    if (Object.keys(content).length > 0) fields.content = content;
  }
}

function typeName(type: number): string {
  let name = typeNames.get(type);
  if (name === undefined) {
    name = messageTypeName(type);
    typeNames.set(type, name);
  }
  return name;
}
