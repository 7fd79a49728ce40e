/**
 * cephx tickets (Ceph auth/cephx/CephxProtocol.h, auth/Auth.h): what a server hands out and gets
 * back. A ticket is a blob that only its service can open, so a server remembers nobody.
 *
 * ```text
 * list      u8 1, u32 n, n x { u32 service, u8 1, bl E(key){ServiceTicket}, u8 wrapped, bl ticket }
 * ticket    TicketBlob, or E(old session key){bl TicketBlob} when wrapped
 * TicketBlob{ u8 1, u64 secret_id, bl E(service secret){TicketInfo} }
 * ```
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { U64 } from "../../mem/u64.ts";
import { type CryptoKey, readKey, writeKey } from "./crypto_key.ts";
import { type EntityName, readEntityName, writeEntityName } from "./entity_name.ts";
import { PayloadReader, PayloadWriter } from "./payload.ts";

/** More services than Ceph has types of entities are refused. */
const TICKETS_MAX = 16;

/** A ticket as its owner sees it: sealed, with the number of the secret that opens it. */
export interface TicketBlob {
  /** The number of the secret that opens it. */
  readonly secretId: U64;
  /** E(service secret){TicketInfo}. */
  readonly blob: Uint8Array;
}

/** secret_id of the tickets that monitors make for each other, sealed with the key of `mon.`. */
export const MON_SECRET_ID: U64 = U64.of(-1n);

/** No ticket. */
export const NO_TICKET: TicketBlob = { secretId: new U64(), blob: new Uint8Array(0) };

/** CephXTicketBlob. */
export function writeTicketBlob(out: PayloadWriter, ticket: TicketBlob): void {
  out.u8(1).u64(ticket.secretId).blob(ticket.blob);
}

/** CephXTicketBlob. */
export function readTicketBlob(from: PayloadReader): TicketBlob {
  from.version("ticket_blob version");
  const secretId = from.u64("ticket_blob secret_id");
  return { secretId, blob: from.blob("ticket_blob blob") };
}

/** The structure alone. */
export function encodeTicketBlob(ticket: TicketBlob): Uint8Array {
  const out = new PayloadWriter();
  writeTicketBlob(out, ticket);
  return out.done();
}

/** The inverse; null when refused. */
export function decodeTicketBlob(bytes: Uint8Array): TicketBlob | null {
  const from = new PayloadReader(bytes, "AUTH_DONE");
  const ticket = readTicketBlob(from);
  return from.failed ? null : ticket;
}

/** One entry of the list of tickets in AUTH_DONE. */
export interface IssuedTicket {
  /** Entity type of the service; 32 for the AUTH ticket. */
  readonly service: number;
  /** E(key){ServiceTicket}. */
  readonly sealedKey: Uint8Array;
  /** True when `ticket` is E(old session key){bl TicketBlob}. */
  readonly wrapped: boolean;
  /** TicketBlob, sealed or not. */
  readonly ticket: Uint8Array;
}

/** CephXServiceTicketReply. */
export function writeTicketList(out: PayloadWriter, tickets: readonly IssuedTicket[]): void {
  out.u8(1).u32(tickets.length);
  for (const { service, sealedKey, wrapped, ticket } of tickets) {
    out.u32(service).u8(1).blob(sealedKey).u8(wrapped ? 1 : 0).blob(ticket);
  }
}

/** CephXServiceTicketReply; null when refused. */
export function readTicketList(from: PayloadReader): IssuedTicket[] | null {
  from.version("ticket_list version");
  const count = from.u32("ticket_list n");
  if (count > TICKETS_MAX) {
    from.refuse(Fault.Large, "ticket_list n", count, `up to ${TICKETS_MAX}`);
  }
  const tickets: IssuedTicket[] = [];
  for (let index = 0; index < count && !from.failed; index++) {
    const service = from.u32("ticket service");
    from.version("ticket version");
    const sealedKey = from.blob("ticket session_key");
    const wrapped = from.u8("ticket wrapped") !== 0;
    tickets.push({ service, sealedKey, wrapped, ticket: from.blob("ticket blob") });
  }
  return from.failed ? null : tickets;
}

/** CephXServiceTicket: the owner's half of a ticket. */
export interface ServiceTicket {
  /** What owner and service share. */
  readonly sessionKey: CryptoKey;
  /** How long it lasts from now on: no clock is compared with another. */
  readonly validitySeconds: number;
}

/** u8 1, CryptoKey, u32 + u32 validity. */
export function encodeServiceTicket(ticket: ServiceTicket): Uint8Array {
  const out = new PayloadWriter().u8(1);
  writeKey(out, ticket.sessionKey);
  writeTime(out, ticket.validitySeconds);
  return out.done();
}

/** The inverse; null when refused. */
export function decodeServiceTicket(bytes: Uint8Array): ServiceTicket | null {
  const from = new PayloadReader(bytes, "AUTH_DONE service_ticket");
  from.version("version");
  const sessionKey = readKey(from);
  const validitySeconds = readTime(from, "validity");
  return from.failed ? null : { sessionKey, validitySeconds };
}

/** CephXServiceTicketInfo with its AuthTicket: the service's half of a ticket. */
export interface TicketInfo {
  /** Whom it was issued to. */
  readonly name: EntityName;
  /** The number it was issued with. */
  readonly globalId: U64;
  /** By the clock of who issued it. */
  readonly createdSeconds: number;
  /** By the same clock. */
  readonly expiresSeconds: number;
  /** The capability for this service as one string; null: none is written. */
  readonly caps: string | null;
  /** What owner and service share. */
  readonly sessionKey: CryptoKey;
}

/** auid, given up by Ceph, is always 2^64 - 1. */
const AUID = U64.of(-1n);

/** u8 1, AuthTicket v2, CryptoKey. */
export function encodeTicketInfo(info: TicketInfo): Uint8Array {
  const out = new PayloadWriter().u8(1).u8(2);
  writeEntityName(out, info.name);
  out.u64(info.globalId).u64(AUID);
  writeTime(out, info.createdSeconds);
  writeTime(out, info.expiresSeconds);
  // AuthCapsInfo: u8 1, u8 allow_all, bl with a string inside.
  const caps = info.caps === null ? new Uint8Array(0) : new PayloadWriter().text(info.caps).done();
  out.u8(1).u8(0).blob(caps);
  out.u32(0); // flags
  writeKey(out, info.sessionKey);
  return out.done();
}

/** The inverse; null when refused. */
export function decodeTicketInfo(bytes: Uint8Array): TicketInfo | null {
  const from = new PayloadReader(bytes, "ticket_info");
  from.version("version");
  const version = from.u8("auth_ticket version");
  if (version < 2) from.refuse(Fault.Field, "auth_ticket version", version, "2 or more");
  const name = readEntityName(from);
  const globalId = from.u64("auth_ticket global_id");
  from.u64("auth_ticket auid");
  const createdSeconds = readTime(from, "auth_ticket created");
  const expiresSeconds = readTime(from, "auth_ticket expires");
  from.version("auth_ticket caps version");
  from.u8("auth_ticket caps allow_all");
  const caps = capsOf(from.blob("auth_ticket caps"));
  from.u32("auth_ticket flags");
  const sessionKey = readKey(from);
  if (from.failed) return null;
  if (expiresSeconds > createdSeconds) {
    return { name, globalId, createdSeconds, expiresSeconds, caps, sessionKey };
  }
  fail(Fault.Field, "ticket_info expires", -1, expiresSeconds, "after its creation");
  return null;
}

function capsOf(blob: Uint8Array): string | null {
  if (blob.length === 0) return null;
  const from = new PayloadReader(blob, "ticket_info");
  const caps = from.text("auth_ticket caps");
  return from.failed ? null : caps;
}

/** utime_t: u32 seconds, u32 nanoseconds. */
function writeTime(out: PayloadWriter, seconds: number): void {
  const whole = Math.floor(seconds);
  out.u32(whole).u32(Math.floor((seconds - whole) * 1e9));
}

function readTime(from: PayloadReader, field: string): number {
  const seconds = from.u32(field);
  return seconds + from.u32(field) / 1e9;
}
