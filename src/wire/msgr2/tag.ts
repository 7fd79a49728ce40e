/**
 * Tags of msgr2 frames: seed document sections "Hello" to "Message exchange"; the document names
 * the tags without numbers, the numbers and tags 21 and 22 are real Ceph's (observed on 16.2.15
 * and 20.2.4).
 *
 * @module
 */

/**
 * The first byte of a frame's preamble. Names are Ceph's.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Tag } from "@fairlead/fairlead";
 *
 * assert.equal(Tag.Hello, 1);
 * assert.equal(Tag.Message, 17);
 * ```
 */
export const Tag = {
  /** TAG_HELLO. */
  Hello: 1,
  /** TAG_AUTH_REQUEST. */
  AuthRequest: 2,
  /** TAG_AUTH_BAD_METHOD. */
  AuthBadMethod: 3,
  /** TAG_AUTH_REPLY_MORE. */
  AuthReplyMore: 4,
  /** TAG_AUTH_REQUEST_MORE. */
  AuthRequestMore: 5,
  /** TAG_AUTH_DONE. */
  AuthDone: 6,
  /** Not in the document: both ends prove what they sent before authentication was done. */
  AuthSignature: 7,
  /** TAG_CLIENT_IDENT. */
  ClientIdent: 8,
  /** TAG_SERVER_IDENT. */
  ServerIdent: 9,
  /** TAG_IDENT_MISSING_FEATURES. */
  IdentMissingFeatures: 10,
  /** TAG_RECONNECT in the document. */
  SessionReconnect: 11,
  /** TAG_RESET_SESSION in the document. */
  SessionReset: 12,
  /** TAG_RECONNECT_RETRY_SESSION in the document. */
  SessionRetry: 13,
  /** TAG_RECONNECT_RETRY_GLOBAL in the document. */
  SessionRetryGlobal: 14,
  /** TAG_RECONNECT_OK in the document. */
  SessionReconnectOk: 15,
  /** TAG_RECONNECT_WAIT in the document. */
  Wait: 16,
  /** TAG_MSG in the document. */
  Message: 17,
  /** TAG_KEEPALIVE2. */
  Keepalive2: 18,
  /** TAG_KEEPALIVE2_ACK. */
  Keepalive2Ack: 19,
  /** TAG_ACK. */
  Ack: 20,
  /** Not in the document: Ceph 17 and newer, when both banners carry the feature. */
  CompressionRequest: 21,
  /** Not in the document: the answer to it. */
  CompressionDone: 22,
  /**
   * TAG_CLOSE. Only in the document: real Ceph has no such frame and closes on unknown tags, so
   * it may be sent only to a peer whose banner carries `FAIRLEAD_CLOSE`. The number is ours.
   */
  Close: 127,
} as const;

const NAMES: Record<number, string> = {
  [Tag.Hello]: "HELLO",
  [Tag.AuthRequest]: "AUTH_REQUEST",
  [Tag.AuthBadMethod]: "AUTH_BAD_METHOD",
  [Tag.AuthReplyMore]: "AUTH_REPLY_MORE",
  [Tag.AuthRequestMore]: "AUTH_REQUEST_MORE",
  [Tag.AuthDone]: "AUTH_DONE",
  [Tag.AuthSignature]: "AUTH_SIGNATURE", // Ceph's name, the document has none
  [Tag.ClientIdent]: "CLIENT_IDENT",
  [Tag.ServerIdent]: "SERVER_IDENT",
  [Tag.IdentMissingFeatures]: "IDENT_MISSING_FEATURES",
  [Tag.SessionReconnect]: "RECONNECT", // Ceph: SESSION_RECONNECT
  [Tag.SessionReset]: "RESET_SESSION", // Ceph: SESSION_RESET
  [Tag.SessionRetry]: "RECONNECT_RETRY_SESSION", // Ceph: SESSION_RETRY
  [Tag.SessionRetryGlobal]: "RECONNECT_RETRY_GLOBAL", // Ceph: SESSION_RETRY_GLOBAL
  [Tag.SessionReconnectOk]: "RECONNECT_OK", // Ceph: SESSION_RECONNECT_OK
  [Tag.Wait]: "RECONNECT_WAIT", // Ceph: WAIT
  [Tag.Message]: "MSG", // Ceph: MESSAGE
  [Tag.Keepalive2]: "KEEPALIVE2",
  [Tag.Keepalive2Ack]: "KEEPALIVE2_ACK",
  [Tag.Ack]: "ACK",
  [Tag.CompressionRequest]: "COMPRESSION_REQUEST", // Ceph's name
  [Tag.CompressionDone]: "COMPRESSION_DONE", // Ceph's name
  [Tag.Close]: "CLOSE",
};

/**
 * The document's name of a tag without `TAG_`, Ceph's where it has none; `tag 99` when unknown.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Tag, tagName } from "@fairlead/fairlead";
 *
 * assert.equal(tagName(Tag.SessionReconnect), "RECONNECT");
 * assert.equal(tagName(99), "tag 99");
 * ```
 */
export function tagName(tag: number): string {
  return NAMES[tag] ?? `tag ${tag}`;
}
