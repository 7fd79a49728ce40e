/**
 * What a messenger is made from: identity, authentication, deadlines and limits.
 *
 * @module
 */
import { FRAME_BYTES_MAX, OUTBOX_BYTES_MAX } from "../../mem/limits.ts";
import type { U64 } from "../../mem/u64.ts";
import type { AeadMaker } from "../../wire/msgr2/aead.ts";
import type { AuthClient, AuthServer, Crypto } from "./auth.ts";
import type { Policy } from "./policy.ts";

/** Authentication of one entity: what it offers as a client, what it asks as a server. */
export interface AuthOptions {
  /** Methods to try when connecting, in order of preference. */
  readonly clientMethods: readonly number[];
  /** Connection modes to ask for, in order of preference. */
  readonly clientModes: readonly number[];
  /** A new attempt with a peer of this EntityType; null without credentials for it. */
  client(method: number, peerType: number): AuthClient | null;
  /** Methods allowed to those who connect. */
  readonly serverMethods: readonly number[];
  /** Modes allowed with a method. */
  serverModes(method: number): readonly number[];
  /** A new attempt of a peer; null when the method is not offered after all. */
  server(method: number): AuthServer | null;
}

/** Everything a messenger is made from. */
export interface MessengerOptions {
  /** Our EntityType. */
  readonly entityType: number;
  /** Our gid: a daemon's number, 2^64 - 1 for a client. */
  readonly gid: U64;
  /** Random part of our address; tells this process from its predecessor. 0 for a listener. */
  readonly nonce: number;
  /** CEPH_FEATURE bits. */
  readonly features: { readonly supported: U64; readonly required: U64 };
  /** Offer msgr2.1 (bit 0 of the banner). */
  readonly revision1: boolean;
  /** Policy for those who connect, by their EntityType. */
  policyFor(peerType: number): Policy;
  /** Authentication. */
  readonly auth: AuthOptions;
  /** AES-128-GCM. */
  readonly aead: AeadMaker;
  /** HMAC and random bytes. */
  readonly crypto: Crypto;
  /** Connections must be ready after this. */
  readonly handshakeMs: number;
  /** KEEPALIVE2 after this much silence. */
  readonly keepaliveMs: number;
  /** A silent peer is given up after this. */
  readonly deadMs: number;
  /** First wait before a connection is tried again. */
  readonly backoffMs: number;
  /** Longest wait before a connection is tried again. */
  readonly backoffMaxMs: number;
  /** Accepted sessions without a connection are forgotten after this. */
  readonly standbyMs: number;
  /** Largest sum of a frame's segments. */
  readonly frameBytesMax: number;
  /** Most that one session's outgoing messages may take. */
  readonly outboxBytesMax: number;
  /**
   * Take a CLIENT_IDENT whose target is no address of ours: behind a port forward or NAT a client
   * knows another one. Ceph refuses it.
   */
  readonly anyTarget: boolean;
  /** GCM operations under one key; less than the counters allow in tests. */
  readonly nonceOperations?: number;
  /** Stop when authentication is done, without a session: what a probe wants. */
  readonly stopBeforeIdent: boolean;
  /** Keep a journal of lossless sessions, for a standby that is to go on with them. */
  readonly journal: boolean;
}

/**
 * Defaults for everything that is not identity or authentication; times in milliseconds, Ceph's
 * own where it has them.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Endpoint, MESSENGER_DEFAULTS } from "@fairlead/fairlead";
 *
 * const { keepaliveMs, deadMs } = MESSENGER_DEFAULTS;
 * assert.ok(keepaliveMs < deadMs);
 * const box = new Endpoint({ messenger: { keepaliveMs: 1_000, deadMs: 3_000 } });
 * assert.equal(box.messenger.options.handshakeMs, MESSENGER_DEFAULTS.handshakeMs);
 * await box.close();
 * ```
 */
export const MESSENGER_DEFAULTS = {
  revision1: true,
  handshakeMs: 10_000, // ms_connection_ready_timeout
  keepaliveMs: 10_000, // as Ceph's MonClient
  deadMs: 30_000,
  backoffMs: 200, // ms_initial_backoff
  backoffMaxMs: 15_000, // ms_max_backoff
  standbyMs: 24 * 3_600_000,
  frameBytesMax: FRAME_BYTES_MAX,
  outboxBytesMax: OUTBOX_BYTES_MAX,
  anyTarget: false,
  stopBeforeIdent: false,
  journal: false,
} as const;
