/**
 * From packets to messages: dissector, TCP, a finder for each conversation. Everything happens within
 * handlePacket(), synchronously, on the bytes where the capture's reader has them.
 *
 * @module
 */
import { NodeCrypto } from "../../io/crypto.ts";
import { gcmMaker } from "../../io/libcrypto.ts";
import { Finder, type FinderOptions, FinderTally } from "../../proto/boundary/finder.ts";
import { type FoundSink, Moment } from "../../proto/boundary/found.ts";
import { IscsiShared } from "../../proto/boundary/iscsi_conversation.ts";
import { type Damage, Judge, MEANS_SETS, type StreamReport } from "../../proto/boundary/judge.ts";
import { KeyChest } from "../../proto/boundary/key_chest.ts";
import type { Msgr2Shared } from "../../proto/boundary/msgr2_conversation.ts";
import { Msgr2Sessions } from "../../proto/boundary/msgr2_sessions.ts";
import { Means } from "../../proto/boundary/side_decoder.ts";
import type { Conversation } from "../../proto/capture/conversation.ts";
import {
  type ConversationFollower,
  ConversationTable,
  type TableLimits,
} from "../../proto/capture/conversation_table.ts";
import { Dissector } from "../../proto/capture/dissector.ts";
import type { CaptureFilter } from "../../wire/capture/filter.ts";
import type { Packet } from "../../wire/capture/packet.ts";
import { TcpSegment } from "../../wire/capture/tcp.ts";
import type { Keyring } from "../../wire/cephx/keyring.ts";

/** Conversations that are judged at once: each has a finder for every set of means. */
const JUDGED_MAX = 512;

/** How packets are read. */
export interface PipelineOptions {
  /** Segments that it does not match are left out; null: all are read. */
  readonly filter: CaptureFilter | null;
  /** Opens secure mode where the capture has the handshake. */
  readonly keyring: Keyring | null;
  /** Whether messages are kept for their bytes. */
  readonly keepsBytes: boolean;
}

/** Reads the packets of one capture, or of several files of one. */
export class Pipeline {
  readonly dissector: Dissector = new Dissector();
  readonly table: ConversationTable;
  /** What was found in the conversations that have ended. */
  readonly tally: FinderTally = new FinderTally();
  /** What its connections of iSCSI share. */
  readonly iscsi: IscsiShared = new IscsiShared();
  readonly #filter: CaptureFilter | null;
  readonly #segment = new TcpSegment();
  readonly #moment = new Moment();

  /** A pipeline whose conversations are followed by what `follow` makes, a {@linkcode Finder} or more. */
  constructor(
    filter: CaptureFilter | null,
    follow: (conversation: Conversation) => ConversationFollower,
    limits: Partial<TableLimits> = {},
  ) {
    this.#filter = filter;
    const [hashSeed] = crypto.getRandomValues(new Int32Array(1));
    this.table = new ConversationTable(follow, { ...limits, hashSeed: hashSeed! });
  }

  /** Reads a packet; its bytes are valid only during the call. */
  handlePacket(packet: Packet): void {
    const segment = this.#segment;
    if (!this.dissector.dissect(packet, segment)) return;
    if (this.#filter !== null && !this.#filter.matches(segment)) return;
    const moment = this.#moment;
    moment.timeNs = packet.timeNs;
    moment.packet = packet.number;
    this.table.handleSegment(segment, moment);
  }

  /** Nothing more comes: what was held is told. */
  end(): void {
    this.table.end(this.#moment);
    this.dissector.close();
  }
}

/** A pipeline that tells `sink` every message and gap. */
export function findingPipeline(options: PipelineOptions, sink: FoundSink): Pipeline {
  const pipeline: Pipeline = new Pipeline(
    options.filter,
    (conversation) => new Finder(conversation, finderOptions, sink),
  );
  const finderOptions: FinderOptions = {
    means: Means.All,
    keepsBytes: options.keepsBytes,
    msgr2: msgr2Shared(options.keyring),
    iscsi: pipeline.iscsi,
    tally: pipeline.tally,
  };
  return pipeline;
}

/** A pipeline that judges each conversation, damaged, against the truth. */
export function judgingPipeline(
  keyring: Keyring | null,
  damage: Damage,
  report: (report: StreamReport) => void,
): Pipeline {
  const optionsOf = (means: number, tally: FinderTally): FinderOptions => ({
    means,
    keepsBytes: false,
    msgr2: msgr2Shared(keyring),
    iscsi: new IscsiShared(),
    tally,
  });
  const sets = MEANS_SETS.map(({ means }) => optionsOf(means, new FinderTally()));
  const pipeline: Pipeline = new Pipeline(
    null,
    (conversation) => new Judge(conversation, damage, { truth, sets }, report),
    { open: JUDGED_MAX },
  );
  const truth = optionsOf(Means.All, pipeline.tally);
  return pipeline;
}

/** What the decoders of msgr2 share; with a keyring they open secure mode. */
function msgr2Shared(keyring: Keyring | null): Msgr2Shared {
  return {
    sessions: new Msgr2Sessions(),
    chest: keyring === null ? null : new KeyChest(new NodeCrypto(), keyring),
    maker: keyring === null ? null : gcmMaker(),
  };
}
