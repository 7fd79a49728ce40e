/**
 * The phases of a connection and the reasons it can end for: msgr2 "Phases".
 *
 * @module
 */

/**
 * Phases of a connection, in the order in which it goes through them.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Phase } from "@fairlead/fairlead";
 *
 * assert.ok(Phase.Opening < Phase.Auth && Phase.Auth < Phase.Ready && Phase.Ready < Phase.Closed);
 * ```
 */
export const Phase = {
  /** TCP is not connected yet. */
  Opening: 0,
  /** Waiting for the peer's banner. */
  Banner: 1,
  /** Waiting for HELLO. */
  Hello: 2,
  /** Authentication frames. */
  Auth: 3,
  /** Waiting for AUTH_SIGNATURE. */
  AuthSign: 4,
  /** Waiting for COMPRESSION_REQUEST or COMPRESSION_DONE. */
  Compression: 5,
  /** CLIENT_IDENT was sent, or an ident or reconnect is awaited. */
  Ident: 6,
  /** SESSION_RECONNECT was sent. */
  Reconnect: 7,
  /** Messages flow. */
  Ready: 8,
  /** What was written is still to be sent, then the connection closes. */
  Draining: 9,
  /** Over. */
  Closed: 10,
} as const;

/** The phases as words, by their numbers. */
export const PHASE_NAMES: readonly string[] = [
  "opening",
  "banner",
  "hello",
  "auth",
  "auth signature",
  "compression",
  "ident",
  "reconnect",
  "ready",
  "draining",
  "closed",
];

/** Why a connection ended; each is counted by the messenger under this name. */
export type CloseReason =
  | "local"
  | "peer"
  | "cut"
  | "bytes"
  | "feature"
  | "auth"
  | "limit"
  | "memory"
  | "handshake"
  | "silent"
  | "nonce"
  | "replaced"
  | "stale"
  | "wait";
