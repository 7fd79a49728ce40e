/**
 * Both sides of a captured msgr2 connection, for the stream finder.
 *
 * @module
 */
import { Msgr2Link, type Msgr2Shared } from "./msgr2_link.ts";
import { Msgr2Side } from "./msgr2_side.ts";
import type { ConversationDecoder, SideContext } from "./side_decoder.ts";

export type { Msgr2Shared } from "./msgr2_link.ts";

/** The decoders of one connection, which share what either learns. */
export class Msgr2Conversation implements ConversationDecoder {
  readonly sides: readonly [Msgr2Side, Msgr2Side];

  /** Decoders for the two sides of a conversation. */
  constructor(sides: [SideContext, SideContext], shared: Msgr2Shared) {
    const link = new Msgr2Link(shared, sides[0].conversation.number);
    this.sides = [new Msgr2Side(sides[0], link), new Msgr2Side(sides[1], link)];
  }
}
