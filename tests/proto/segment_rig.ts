/**
 * A conversation table with segments made by hand: two hosts with their sequence numbers, a clock, and
 * a log of what the followers were told.
 */
import { arena, arenaTaken, give, take } from "../../src/mem/arena.ts";
import { Moment, type Side } from "../../src/proto/boundary/found.ts";
import type { Conversation, HoleReason } from "../../src/proto/capture/conversation.ts";
import {
  type ConversationFollower,
  ConversationTable,
  type TableLimits,
} from "../../src/proto/capture/conversation_table.ts";
import { TcpFlag, TcpSegment } from "../../src/wire/capture/tcp.ts";

const { Ack, Fin, Rst, Syn, Urg } = TcpFlag;
const SCRATCH_BYTES = 64 * 1024;
const LATIN = new TextDecoder("latin1");

/** What a segment may be told to be; everything else is usual. */
export interface Told {
  flags?: number;
  /** Offset in the other side's stream that it acknowledges; none without. */
  ack?: number;
  urgent?: number;
  /** Bytes that were captured of it. */
  captured?: number;
}

/** One host of a connection. */
export class Host {
  readonly words: readonly number[];
  port: number;
  /** Sequence number of its SYN. */
  isn: number;

  constructor(last: number, port: number, isn: number) {
    this.words = [0, 0, 0xffff, 0x0a000000 | last];
    this.port = port;
    this.isn = isn;
  }
}

/** A table, two hosts and a log. */
export class Rig {
  readonly client: Host;
  readonly server: Host;
  readonly table: ConversationTable;
  readonly log: string[] = [];
  readonly conversations: Conversation[] = [];
  readonly before: number;
  nowMs = 0;
  #at: number;
  #packet = 0;
  readonly #segment = new TcpSegment();
  readonly #moment = new Moment();

  constructor(limits: Partial<TableLimits> = {}, isn = 1000, serverIsn = 5000) {
    this.#at = take(SCRATCH_BYTES);
    this.before = arenaTaken();
    this.client = new Host(1, 40000, isn);
    this.server = new Host(2, 3260, serverIsn);
    this.table = new ConversationTable((conversation) => {
      this.conversations.push(conversation);
      return new Recorder(conversation, this.log);
    }, limits);
  }

  /** A segment from the client, with these bytes of its stream from `offset` on. */
  up(offset: number, data: string, told: Told = {}): void {
    this.send(this.client, this.server, offset, data, told);
  }

  /** The same from the server. */
  down(offset: number, data: string, told: Told = {}): void {
    this.send(this.server, this.client, offset, data, told);
  }

  send(from: Host, to: Host, offset: number, data: string, told: Told): void {
    const segment = this.#segment;
    const bytes = Uint8Array.from(data, (letter) => letter.charCodeAt(0));
    arena.bytes.set(bytes, this.#at);
    segment.addresses.set(from.words);
    segment.addresses.set(to.words, 4);
    segment.sourcePort = from.port;
    segment.destinationPort = to.port;
    const flags = told.flags ?? 0;
    segment.sequence = (from.isn + 1 + offset - ((flags & Syn) === 0 ? 0 : 1)) >>> 0;
    segment.acknowledgment = told.ack === undefined ? 0 : (to.isn + 1 + told.ack) >>> 0;
    segment.flags = flags | (told.ack === undefined ? 0 : Ack) |
      (told.urgent === undefined ? 0 : Urg);
    segment.urgentPointer = told.urgent ?? 0;
    segment.dataAt = this.#at;
    segment.dataEnd = this.#at + Math.min(told.captured ?? bytes.length, bytes.length);
    segment.dataBytes = bytes.length;
    this.table.handleSegment(segment, this.#now(1));
  }

  /** SYN, SYN+ACK, ACK. */
  open(): void {
    this.up(0, "", { flags: Syn });
    this.down(0, "", { flags: Syn, ack: 0 });
    this.up(0, "", { ack: 0 });
  }

  /** FIN of both sides, which stand at these offsets. */
  shut(clientOffset: number, serverOffset: number): void {
    this.up(clientOffset, "", { flags: Fin, ack: serverOffset });
    this.down(serverOffset, "", { flags: Fin, ack: clientOffset + 1 });
    this.up(clientOffset + 1, "", { ack: serverOffset + 1 });
  }

  /** RST of the client. */
  abort(offset: number): void {
    this.up(offset, "", { flags: Rst });
  }

  /** Time goes by, and the table is told. */
  wait(ms: number): void {
    this.nowMs += ms;
    this.table.handleDeadline(this.nowMs * 1e6);
  }

  /** The capture ends. */
  end(): void {
    this.table.end(this.#now(0));
  }

  /** What was told since the last time. */
  told(): string[] {
    return this.log.splice(0);
  }

  /** Gives back its own memory; returns what the table still has. */
  leak(): number {
    give(this.#at);
    return arenaTaken() + SCRATCH_BYTES - this.before;
  }

  #now(packets: number): Moment {
    this.#packet += packets;
    this.#moment.timeNs = this.nowMs * 1e6;
    this.#moment.packet = this.#packet;
    return this.#moment;
  }
}

/** Writes down what it is told: side, offset, what, number of the packet. */
class Recorder implements ConversationFollower {
  readonly #number: number;
  readonly #log: string[];

  constructor(conversation: Conversation, log: string[]) {
    this.#number = conversation.number;
    this.#log = log;
  }

  handleBytes(side: Side, at: number, end: number, offset: number, moment: Moment): void {
    const text = LATIN.decode(arena.bytes.subarray(at, end));
    const shown = text.length > 40 ? `${text.length} x ${text[0]}` : text;
    this.#tell(`${side} ${offset} ${shown} @${moment.packet}`);
  }

  handleHole(side: Side, offset: number, length: number, reason: HoleReason, moment: Moment): void {
    this.#tell(`${side} ${offset} hole ${length} ${reason} @${moment.packet}`);
  }

  handleUrgent(side: Side, offset: number, length: number, pointer: number, moment: Moment): void {
    this.#tell(`${side} ${offset} urgent ${length} -> ${pointer} @${moment.packet}`);
  }

  handleEnd(side: Side, offset: number, moment: Moment): void {
    this.#tell(`${side} ${offset} end @${moment.packet}`);
  }

  close(): void {
    this.#tell("close");
  }

  #tell(text: string): void {
    this.#log.push(this.#number === 1 ? text : `#${this.#number}: ${text}`);
  }
}
