/**
 * The payloads between a client and a service: CephXAuthorizer and what it is answered. Ceph
 * auth/cephx/CephxProtocol.h: CephXAuthorize, CephXAuthorizeChallenge, CephXAuthorizeReply.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { U64 } from "../../mem/u64.ts";
import { AuthMode } from "./entity_name.ts";
import { PayloadReader, PayloadWriter } from "./payload.ts";
import { readTicketBlob, type TicketBlob, writeTicketBlob } from "./ticket.ts";

/** AUTH_REQUEST and AUTH_REQUEST_MORE towards a service. */
export interface Authorizer {
  /** The number that the ticket was issued with. */
  readonly globalId: U64;
  /** Entity type of the service. */
  readonly service: number;
  /** As the monitor gave it. */
  readonly ticket: TicketBlob;
  /** E(service session key){Authorize}. */
  readonly sealedAuthorize: Uint8Array;
}

/** u8 auth_mode 1, u64 global_id, u32 service_id, TicketBlob, bl E{Authorize}. */
export function encodeAuthorizer(authorizer: Authorizer): Uint8Array {
  const out = new PayloadWriter().u8(AuthMode.Authorizer);
  out.u64(authorizer.globalId).u32(authorizer.service);
  writeTicketBlob(out, authorizer.ticket);
  return out.blob(authorizer.sealedAuthorize).done();
}

/** The inverse; null when refused. */
export function decodeAuthorizer(payload: Uint8Array): Authorizer | null {
  const from = new PayloadReader(payload, "AUTH_REQUEST authorizer");
  const mode = from.u8("auth_mode");
  if (mode !== AuthMode.Authorizer) from.refuse(Fault.Field, "auth_mode", mode, "1 (authorizer)");
  const globalId = from.u64("global_id");
  const service = from.u32("service_id");
  const ticket = readTicketBlob(from);
  const sealedAuthorize = from.blob("authorize");
  return from.failed ? null : { globalId, service, ticket, sealedAuthorize };
}

/** CephXAuthorize. */
export interface Authorize {
  /** The client's random number: the service proves its key by the next one. */
  readonly nonce: U64;
  /** Server challenge + 1; null before there was a challenge. */
  readonly challengePlusOne: U64 | null;
}

/** u8 2, u64 nonce, u8 have_challenge, u64 server_challenge_plus_one. */
export function encodeAuthorize(authorize: Authorize): Uint8Array {
  const { nonce, challengePlusOne } = authorize;
  const out = new PayloadWriter().u8(2).u64(nonce).u8(challengePlusOne === null ? 0 : 1);
  return out.u64(challengePlusOne ?? new U64()).done();
}

/** The inverse; null when refused. Version 1 knew no challenge. */
export function decodeAuthorize(bytes: Uint8Array): Authorize | null {
  const from = new PayloadReader(bytes, "AUTH_REQUEST authorize");
  const version = from.version("version");
  const nonce = from.u64("nonce");
  const hasChallenge = version >= 2 && from.u8("have_challenge") !== 0;
  const value = version >= 2 ? from.u64("server_challenge_plus_one") : null;
  return from.failed ? null : { nonce, challengePlusOne: hasChallenge ? value : null };
}

/** CephXAuthorizeChallenge: u8 1, u64 server_challenge. */
export function encodeAuthorizeChallenge(challenge: U64): Uint8Array {
  return new PayloadWriter().u8(1).u64(challenge).done();
}

/** The inverse; null when refused. */
export function decodeAuthorizeChallenge(bytes: Uint8Array): U64 | null {
  const from = new PayloadReader(bytes, "AUTH_REPLY_MORE authorize_challenge");
  from.version("version");
  const challenge = from.u64("server_challenge");
  return from.failed ? null : challenge;
}

/** CephXAuthorizeReply. */
export interface AuthorizeReply {
  /** The proof that the ticket could be opened. */
  readonly noncePlusOne: U64;
  /** Empty in crc mode. */
  readonly connectionSecret: Uint8Array;
}

/** u8 1, u64 nonce_plus_one; version 2 has the connection_secret behind it. */
export function encodeAuthorizeReply(reply: AuthorizeReply): Uint8Array {
  const { noncePlusOne, connectionSecret } = reply;
  const out = new PayloadWriter().u8(connectionSecret.length > 0 ? 2 : 1).u64(noncePlusOne);
  if (connectionSecret.length > 0) out.blob(connectionSecret);
  return out.done();
}

/** The inverse; null when refused. */
export function decodeAuthorizeReply(bytes: Uint8Array): AuthorizeReply | null {
  const from = new PayloadReader(bytes, "AUTH_DONE authorize_reply");
  const version = from.version("version");
  const noncePlusOne = from.u64("nonce_plus_one");
  const connectionSecret = version >= 2 ? from.blob("connection_secret") : new Uint8Array(0);
  return from.failed ? null : { noncePlusOne, connectionSecret };
}

/** AUTH_DONE of a service: bl E(service session key){AuthorizeReply}. */
export function encodeAuthorizeDone(sealed: Uint8Array): Uint8Array {
  return new PayloadWriter().blob(sealed).done();
}

/** The inverse; null when refused. */
export function decodeAuthorizeDone(payload: Uint8Array): Uint8Array | null {
  const from = new PayloadReader(payload, "AUTH_DONE");
  const sealed = from.blob("authorize_reply");
  if (from.failed) return null;
  if (sealed.length > 0) return sealed;
  fail(Fault.Field, "AUTH_DONE authorize_reply", 0, 0, "not empty");
  return null;
}

/** The next number, modulo 2^64. */
export function plusOne(value: U64): U64 {
  const next = new U64();
  const lo = (value.lo + 1) | 0;
  next.set(lo, lo === 0 ? value.hi + 1 : value.hi);
  return next;
}
