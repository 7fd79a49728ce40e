/**
 * What everything may cost. Each count is a sum or a product whose terms name their owner, and
 * each limit that a peer can reach is refused with a counted reason, never exceeded.
 *
 * @module
 */
import { assert } from "./assert.ts";

/** The arena: address space taken at start; RAM is used only where it was written. */
export const ARENA_BYTES: number = 512 * 1024 * 1024;

/** The smallest block of the arena: one page of the kernel. */
export const BLOCK_MIN_BYTES = 4096;

/** msgr2 "Frame format": a frame has one to four segments. */
export const SEGMENTS_MAX = 4;

/** A whole frame on the wire, the largest that is accepted unless an endpoint sets less. */
export const FRAME_BYTES_MAX: number = 64 * 1024 * 1024;

/** A frame before authentication is done: CephX replies of real clusters stay under 2 KiB. */
export const HANDSHAKE_FRAME_BYTES_MAX = 16 * 1024;

/** Everything a peer may send before its session stands. */
export const HANDSHAKE_BYTES_MAX = 64 * 1024;

/** A receive buffer of a busy connection: it grows to this when reads keep filling it. */
export const RECEIVE_BYTES_BUSY: number = 256 * 1024;

/**
 * Frames from here on are read one at a time. A part of the next frame behind them would have to be
 * moved to the bottom of the buffer, half a frame for every buffer that fills.
 */
export const EXACT_READ_BYTES_MIN: number = RECEIVE_BYTES_BUSY / 8;

/** Part of the arena that buffers for larger frames than that never take: what all others live on. */
export const RESERVE_BYTES: number = ARENA_BYTES / 4;

/** A receive buffer during the handshake. */
export const RECEIVE_BYTES_HANDSHAKE: number = 32 * 1024;

/** Any control frame after the handshake, sealed: an ident with ADDRS_MAX IPv6 addresses. */
export const CONTROL_FRAME_BYTES_MAX = 1024;

/** Where control frames of a connection wait to be sent. */
export const STAGING_BYTES: number = 32 * 1024;

/** Where sealed frames of a connection wait to be sent. */
export const SEAL_STAGING_BYTES: number = 128 * 1024;

/**
 * The same for messages that are no smaller than this: 1 MiB at a time goes 1.5 times as fast
 * through 512 KiB as through 128 KiB, and no faster through more, which the second-level cache
 * does not hold.
 */
export const SEAL_STAGING_BYTES_BUSY: number = 512 * 1024;

/** Bytes that a connection encodes ahead of the kernel. */
export const SEND_AHEAD_BYTES: number = 512 * 1024;

/** The banner payload: 16 bytes today, more is skipped. */
export const BANNER_PAYLOAD_BYTES_MAX = 256;

/** Addresses in one entity_addrvec_t. */
export const ADDRS_MAX = 8;

/** Methods or modes in one AUTH list. */
export const AUTH_LIST_MAX = 16;

/** Messages in one batch handed to the application. */
export const BATCH_MESSAGES_MAX = 256;

/** Pieces one gathering send takes at most (Linux UIO_MAXIOV is 1024). */
export const GATHER_PIECES_MAX = 256;

/** Sessions of one messenger. */
export const SESSIONS_MAX = 4096;

/** Connections of one messenger that are open at once. */
export const CONNECTIONS_MAX: number = SESSIONS_MAX + 256;

/** Connections of one messenger that are not ready yet. */
export const HANDSHAKES_MAX = 512;

/** Outgoing messages of one session, waiting or unacknowledged, unless an endpoint sets less. */
export const OUTBOX_BYTES_MAX: number = 16 * 1024 * 1024;

assert(FRAME_BYTES_MAX * 4 <= ARENA_BYTES, "four of the largest frames fit into the arena");
assert(
  HANDSHAKE_FRAME_BYTES_MAX + CONTROL_FRAME_BYTES_MAX <= RECEIVE_BYTES_HANDSHAKE,
  "a handshake never grows its buffer",
);
assert(
  HANDSHAKE_FRAME_BYTES_MAX + 2 * CONTROL_FRAME_BYTES_MAX <= STAGING_BYTES,
  "a handshake frame and the control frames around it fit into the staging block",
);
assert(
  HANDSHAKES_MAX * (RECEIVE_BYTES_HANDSHAKE + STAGING_BYTES) <= ARENA_BYTES / 8,
  "handshakes alone never fill the arena",
);
