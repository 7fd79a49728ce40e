/**
 * The payloads between a client and a monitor, after AUTH_REQUEST (auth_mode 10). Ceph
 * auth/cephx/CephxProtocol.h: CephXServerChallenge, CephXRequestHeader + CephXAuthenticate,
 * CephXResponseHeader + tickets + connection secret + further tickets.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { U64 } from "../../mem/u64.ts";
import { PayloadReader, PayloadWriter } from "./payload.ts";
import {
  type IssuedTicket,
  NO_TICKET,
  readTicketBlob,
  readTicketList,
  type TicketBlob,
  writeTicketBlob,
  writeTicketList,
} from "./ticket.ts";

/** CEPHX_GET_AUTH_SESSION_KEY, the one request of the handshake. */
const GET_AUTH_SESSION_KEY = 0x0100;

/** CephXAuthenticate since Nautilus 14.2.20: from 3 on `old_ticket` is filled at reclaim. */
const AUTHENTICATE_VERSION = 3;

/** AUTH_REPLY_MORE: u8 1, u64 server_challenge. */
export function encodeServerChallenge(challenge: U64): Uint8Array {
  return new PayloadWriter().u8(1).u64(challenge).done();
}

/** The inverse; null when refused. */
export function decodeServerChallenge(payload: Uint8Array): U64 | null {
  const from = new PayloadReader(payload, "AUTH_REPLY_MORE");
  from.version("server_challenge version");
  const challenge = from.u64("server_challenge");
  return from.failed ? null : challenge;
}

/** CephXAuthenticate. */
export interface Authenticate {
  /** The client's random number. */
  readonly clientChallenge: U64;
  /** What the key makes of both challenges. */
  readonly key: U64;
  /** The AUTH ticket that proves the right to the global_id asked for. */
  readonly oldTicket: TicketBlob;
  /** Services a ticket is wanted for: entity types as bits. */
  readonly otherKeys: number;
}

/** AUTH_REQUEST_MORE: u16 request_type, u8 3, u64, u64, TicketBlob, u32. */
export function encodeAuthenticate(request: Authenticate): Uint8Array {
  const out = new PayloadWriter().u16(GET_AUTH_SESSION_KEY).u8(AUTHENTICATE_VERSION);
  out.u64(request.clientChallenge).u64(request.key);
  writeTicketBlob(out, request.oldTicket);
  return out.u32(request.otherKeys).done();
}

/** The inverse; null when refused. Versions 1 and 2 say nothing reliable in `old_ticket`. */
export function decodeAuthenticate(payload: Uint8Array): Authenticate | null {
  const from = new PayloadReader(payload, "AUTH_REQUEST_MORE");
  const type = from.u16("request_type");
  if (type !== GET_AUTH_SESSION_KEY) from.refuse(Fault.Field, "request_type", type, "256");
  const version = from.version("authenticate version");
  const clientChallenge = from.u64("client_challenge");
  const key = from.u64("key");
  const presented = readTicketBlob(from);
  const otherKeys = version >= 2 ? from.u32("other_keys") : 0;
  if (from.failed) return null;
  const oldTicket = version >= AUTHENTICATE_VERSION ? presented : NO_TICKET;
  return { clientChallenge, key, oldTicket, otherKeys };
}

/** What AUTH_DONE carries. */
export interface SessionReply {
  /** One: the AUTH ticket. */
  readonly tickets: readonly IssuedTicket[];
  /** E(session key){string connection_secret}. */
  readonly sealedSecret: Uint8Array;
  /** The tickets for the services asked for, sealed with the session key. */
  readonly extraTickets: readonly IssuedTicket[];
}

/** AUTH_DONE: u16 request_type, i32 status, list, bl {bl sealed secret}, bl list. */
export function encodeSessionReply(reply: SessionReply): Uint8Array {
  const out = new PayloadWriter().u16(GET_AUTH_SESSION_KEY).u32(0);
  writeTicketList(out, reply.tickets);
  out.blob(new PayloadWriter().blob(reply.sealedSecret).done());
  const extra = new PayloadWriter();
  if (reply.extraTickets.length > 0) writeTicketList(extra, reply.extraTickets);
  return out.blob(extra.done()).done();
}

/** The inverse; null when refused. */
export function decodeSessionReply(payload: Uint8Array): SessionReply | null {
  const from = new PayloadReader(payload, "AUTH_DONE");
  const type = from.u16("request_type");
  if (type !== GET_AUTH_SESSION_KEY) from.refuse(Fault.Field, "request_type", type, "256");
  const status = from.u32("status") | 0;
  if (status !== 0) from.refuse(Fault.Auth, "status", status, "0");
  const tickets = readTicketList(from);
  const secretBlob = new PayloadReader(from.blob("connection_secret"), "AUTH_DONE");
  const extraBlob = from.blob("extra_tickets");
  if (tickets === null || from.failed) return null;
  const sealedSecret = secretBlob.blob("connection_secret");
  if (secretBlob.failed) return null;
  const extraTickets = extraBlob.length === 0
    ? []
    : readTicketList(new PayloadReader(extraBlob, "AUTH_DONE extra_tickets"));
  if (extraTickets === null) return null;
  if (tickets.length > 0) return { tickets, sealedSecret, extraTickets };
  fail(Fault.Field, "AUTH_DONE ticket_list n", -1, 0, "1 or more");
  return null;
}
