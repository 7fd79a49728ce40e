/** Made-up messages and gaps, as decoders would tell them. */
import { Conversation } from "../../src/proto/capture/conversation.ts";
import { Found, type Gap, Moment, type Side } from "../../src/proto/boundary/found.ts";

/** The writable parts of a message that tests choose; times in nanoseconds since the origin. */
export interface FoundParts
  extends Partial<Omit<Found, "conversation" | "side" | "begin" | "finish" | "errors">> {
  readonly conversation?: Conversation;
  readonly side?: Side;
  readonly beginNs?: number;
  readonly finishNs?: number;
  readonly packet?: number;
  readonly errors?: readonly string[];
  readonly fields?: Record<string, unknown>;
}

export const CEPH = new Conversation(
  1,
  ["10.9.1.1:50000", "10.9.1.2:6800"],
  [50000, 6800],
);
export const ISCSI = new Conversation(
  2,
  ["[fd09::1]:41000", "[fd09::2]:3260"],
  [41000, 3260],
);

/** A MSG frame unless told otherwise. */
export function foundOf(parts: FoundParts = {}): Found {
  const { beginNs = 0, conversation = CEPH, errors = [], fields = {}, packet = 1, side = 0 } =
    parts;
  const { finishNs = beginNs, ...rest } = parts;
  const found = new Found(conversation, side, () => fields);
  Object.assign(found, { tag: "MSG", revision: "2.1", mode: "crc", length: 128 });
  for (const [key, value] of Object.entries(rest)) {
    if (key in found && !["conversation", "side", "errors"].includes(key)) {
      Object.assign(found, { [key]: value });
    }
  }
  found.begin.timeNs = beginNs;
  found.begin.packet = packet;
  found.finish.timeNs = finishNs;
  found.finish.packet = packet;
  found.errors.push(...errors);
  return found;
}

/** Bytes of no message. */
export function gapOf(
  {
    conversation = CEPH,
    length = 1448,
    missing = 1448,
    offset = 0,
    packet = 1,
    side = 0,
    timeNs = 0,
  }: {
    readonly conversation?: Conversation;
    readonly length?: number;
    readonly missing?: number;
    readonly offset?: number;
    readonly packet?: number;
    readonly side?: Side;
    readonly timeNs?: number;
  } = {},
): Gap {
  const moment = new Moment();
  moment.timeNs = timeNs;
  moment.packet = packet;
  return { conversation, side, offset, length, missing, moment };
}
