/**
 * The client's end of cephx. Ceph doc/dev/cephx_protocol.rst and src/auth/cephx; what real ones
 * send is noted in the tests.
 *
 * Read this before touching it. One {@linkcode CephxClient} lives as long as the program knows its
 * key; it keeps tickets and the global_id. Per connection it makes an attempt:
 *
 * ```text
 * to a monitor                               to a service, with its ticket
 *   AUTH_REQUEST       name, global_id         AUTH_REQUEST       authorizer, nonce
 *   AUTH_REPLY_MORE    server_challenge        AUTH_REPLY_MORE    E(server_challenge)
 *   AUTH_REQUEST_MORE  key, old ticket         AUTH_REQUEST_MORE  authorizer, challenge + 1
 *   AUTH_DONE          tickets, secret         AUTH_DONE          E(nonce + 1, secret)
 * ```
 *
 * Every later attempt at a monitor reclaims the global_id with the AUTH ticket, and gets the new
 * ticket wrapped in the session key of the old one. What a peer refused is forgotten
 * (`handleBad`), so that the next attempt starts from the key alone.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { fail, Fault } from "../../mem/fault.ts";
import { U64 } from "../../mem/u64.ts";
import {
  decodeAuthorizeChallenge,
  decodeAuthorizeDone,
  decodeAuthorizeReply,
  encodeAuthorize,
  encodeAuthorizer,
  plusOne,
} from "../../wire/cephx/authorizer.ts";
import { type CryptoKey, generateKey } from "../../wire/cephx/crypto_key.ts";
import { AuthMode, encodeIdentity, type EntityName } from "../../wire/cephx/entity_name.ts";
import {
  decodeServerChallenge,
  decodeSessionReply,
  encodeAuthenticate,
} from "../../wire/cephx/mon_exchange.ts";
import { PayloadReader } from "../../wire/cephx/payload.ts";
import {
  decodeServiceTicket,
  decodeTicketBlob,
  encodeTicketInfo,
  type IssuedTicket,
  MON_SECRET_ID,
  NO_TICKET,
  type TicketBlob,
} from "../../wire/cephx/ticket.ts";
import { AuthMethod, ConMode } from "../../wire/msgr2/auth.ts";
import { EntityType } from "../../wire/msgr2/hello.ts";
import type { AuthClient, Crypto } from "../msgr2/auth.ts";
import {
  challengeKey,
  CONNECTION_SECRET_BYTES,
  EACCES,
  EINVAL,
  open,
  randomU64,
  sameSecret,
  seal,
  Usage,
} from "./envelope.ts";

/** auth_mon_ticket_ttl of Ceph. */
const MON_TICKET_SECONDS = 72 * 3600;

/** What a client is made of. */
export interface CephxClientOptions {
  /** Primitives: io/crypto.ts has them. */
  readonly crypto: Crypto;
  /** Seconds since 1970, may have a fraction. */
  readonly wallSeconds: () => number;
  /** Who this is: `client.admin`. */
  readonly name: EntityName;
  /** The key of that name. */
  readonly key: CryptoKey;
  /** Services to get tickets for: entity types as bits, `EntityType.Osd | EntityType.Mgr`. */
  readonly wantedServices?: number;
}

/** A ticket in use. */
interface HeldTicket {
  readonly sessionKey: CryptoKey;
  readonly ticket: TicketBlob;
  readonly renewAtSeconds: number;
  readonly expiresSeconds: number;
}

/** Tickets and global_id of one name, over all its connections. */
export class CephxClient {
  /** Given by the monitor; 0 before the first success. */
  readonly globalId: U64 = new U64();
  readonly #options: CephxClientOptions;
  readonly #tickets = new Map<number, HeldTicket>();
  readonly #held: TicketStore = {
    find: (service) => this.#valid(service),
    store: (globalId, tickets) => this.#store(globalId, tickets),
    forget: (service) => this.#forget(service),
    globalId: this.globalId,
  };

  /** Knows a name and its key, and nothing else yet. */
  constructor(options: CephxClientOptions) {
    this.#options = options;
  }

  /** An attempt at a monitor, or at anything that acts as one: every other Fairlead does. */
  toMon(): CephxMonAttempt {
    return new CephxMonAttempt(this.#options, this.#held);
  }

  /** An attempt at a service; null without a valid ticket for it: go to a monitor first. */
  toService(service: number): CephxServiceAttempt | null {
    const held = this.#valid(service);
    if (held === null) return null;
    return new CephxServiceAttempt(this.#options.crypto, this.globalId, service, held, this.#held);
  }

  /**
   * An attempt from monitor to monitor: with the key of `mon.`, which both have, this end makes
   * the ticket itself.
   */
  toPeerMon(): CephxServiceAttempt {
    const { crypto, name, key, wallSeconds } = this.#options;
    assert(name.type === EntityType.Mon, "only a monitor makes its own ticket");
    const now = wallSeconds();
    const expiresSeconds = now + MON_TICKET_SECONDS;
    const sessionKey = generateKey(crypto, key.type, now);
    const globalId = new U64();
    const info = encodeTicketInfo({
      name,
      globalId,
      createdSeconds: now,
      expiresSeconds,
      caps: "allow *",
      sessionKey,
    });
    const blob = seal(crypto, key, Usage.TicketInfo, info);
    const ticket = { secretId: MON_SECRET_ID, blob };
    const held = { sessionKey, ticket, renewAtSeconds: expiresSeconds, expiresSeconds };
    return new CephxServiceAttempt(crypto, globalId, EntityType.Mon, held, this.#held);
  }

  /** True while there is a ticket for the service that has not expired. */
  hasTicket(service: number): boolean {
    return this.#valid(service) !== null;
  }

  /** When to go to a monitor for new tickets; Infinity without any ticket. */
  get renewAtSeconds(): number {
    let earliest = Infinity;
    for (const { renewAtSeconds } of this.#tickets.values()) {
      earliest = Math.min(earliest, renewAtSeconds);
    }
    return earliest;
  }

  #valid(service: number): HeldTicket | null {
    const held = this.#tickets.get(service);
    if (held === undefined) return null;
    return held.expiresSeconds > this.#options.wallSeconds() ? held : null;
  }

  #store(globalId: U64, tickets: ReadonlyMap<number, HeldTicket>): void {
    this.globalId.copy(globalId);
    for (const [service, held] of tickets) this.#tickets.set(service, held);
  }

  /** Every ticket names the global_id, so without the AUTH ticket all are worth nothing. */
  #forget(service: number): void {
    if (service !== EntityType.Auth) {
      this.#tickets.delete(service);
      return;
    }
    this.#tickets.clear();
    this.globalId.set(0, 0);
  }
}

/** What attempts share with the client that made them. */
interface TicketStore {
  readonly globalId: U64;
  find(service: number): HeldTicket | null;
  store(globalId: U64, tickets: ReadonlyMap<number, HeldTicket>): void;
  forget(service: number): void;
}

/** States of both kinds of attempt. */
const State = { Start: 0, Requested: 1, Answered: 2, Done: 3, Failed: 4 } as const;

const NOTHING: Uint8Array = new Uint8Array(0);

/** One attempt at a monitor. Made by `CephxClient.toMon()`. */
export class CephxMonAttempt implements AuthClient {
  readonly method: number = AuthMethod.Cephx;
  readonly #options: CephxClientOptions;
  readonly #store: TicketStore;
  #state: number = State.Start;
  #old: HeldTicket | null = null;
  #sessionKey = NOTHING;
  #connectionSecret = NOTHING;

  /** @ignore */
  constructor(options: CephxClientOptions, store: TicketStore) {
    this.#options = options;
    this.#store = store;
  }

  /** The secret of AUTH_SIGNATURE, once done. */
  get sessionKey(): Uint8Array {
    return this.#sessionKey;
  }

  /** 64 bytes in secure mode, once done. */
  get connectionSecret(): Uint8Array {
    return this.#connectionSecret;
  }

  /** AUTH_REQUEST; starts the attempt, also once more after AUTH_BAD_METHOD. */
  request(): Uint8Array {
    this.#old = this.#store.find(EntityType.Auth);
    this.#state = State.Requested;
    const globalId = new U64();
    if (this.#old !== null) globalId.copy(this.#store.globalId);
    return encodeIdentity({ mode: AuthMode.Mon, name: this.#options.name, globalId });
  }

  /** AUTH_REPLY_MORE in, AUTH_REQUEST_MORE out. */
  handleMore(payload: Uint8Array): Uint8Array | null {
    if (!this.#expect(State.Requested, "AUTH_REPLY_MORE")) return null;
    const serverChallenge = decodeServerChallenge(payload);
    if (serverChallenge === null) return null;
    const { crypto, key, wantedServices } = this.#options;
    const clientChallenge = randomU64(crypto);
    this.#state = State.Answered;
    return encodeAuthenticate({
      clientChallenge,
      key: challengeKey(crypto, key, serverChallenge, clientChallenge),
      oldTicket: this.#old?.ticket ?? NO_TICKET,
      otherKeys: (wantedServices ?? 0) | EntityType.Auth,
    });
  }

  /** AUTH_DONE: takes over tickets, global_id and secrets, all or nothing. */
  handleDone(globalId: U64, mode: number, payload: Uint8Array): boolean {
    if (!this.#expect(State.Answered, "AUTH_DONE")) return false;
    this.#state = State.Failed;
    const reply = decodeSessionReply(payload);
    if (reply === null) return false;
    const tickets = new Map<number, HeldTicket>();
    if (!this.#take(reply.tickets, this.#options.key, tickets)) return false;
    const auth = tickets.get(EntityType.Auth);
    if (auth === undefined) return refuse(Fault.Field, "AUTH_DONE ticket service", 0, "32 (auth)");
    if (!this.#take(reply.extraTickets, auth.sessionKey, tickets)) return false;
    const secret = this.#openSecret(auth.sessionKey, mode, reply.sealedSecret);
    if (secret === null) return false;
    this.#store.store(globalId, tickets);
    this.#sessionKey = auth.sessionKey.secret;
    this.#connectionSecret = secret;
    this.#state = State.Done;
    return true;
  }

  /**
   * AUTH_BAD_METHOD: true when a further attempt may succeed, because this one tried to reclaim a
   * global_id with a ticket that the peer cannot open any more. Both are forgotten. `result` is the
   * negated errno of the frame.
   */
  handleBad(result: number): boolean {
    this.#state = State.Failed;
    if (this.#old === null || !isRefusal(result)) return false;
    if (this.#store.find(EntityType.Auth) === this.#old) this.#store.forget(EntityType.Auth);
    return true;
  }

  #expect(state: number, tag: string): boolean {
    if (this.#state === state) return true;
    this.#state = State.Failed;
    return refuse(Fault.State, tag, 0, "sent once, after its request");
  }

  /** Opens each ticket of a list with `key`, and adds them to `into`. */
  #take(
    list: readonly IssuedTicket[],
    key: CryptoKey,
    into: Map<number, HeldTicket>,
  ): boolean {
    const { crypto, wallSeconds } = this.#options;
    const now = wallSeconds();
    for (const { service, sealedKey, wrapped, ticket } of list) {
      const usage = Usage.TicketSessionKey;
      const opened = open(crypto, key, usage, sealedKey, "AUTH_DONE ticket session_key");
      const serviceTicket = opened === null ? null : decodeServiceTicket(opened);
      if (serviceTicket === null) return false;
      const bytes = wrapped ? this.#unwrap(ticket) : ticket;
      const blob = bytes === null ? null : decodeTicketBlob(bytes);
      if (blob === null) return false;
      const { sessionKey, validitySeconds } = serviceTicket;
      const expiresSeconds = now + validitySeconds;
      // Ceph renews when a quarter of the validity is left.
      const renewAtSeconds = expiresSeconds - validitySeconds / 4;
      into.set(service, { sessionKey, ticket: blob, renewAtSeconds, expiresSeconds });
    }
    return true;
  }

  /** E(old session key){bl TicketBlob}. */
  #unwrap(sealed: Uint8Array): Uint8Array | null {
    const field = "AUTH_DONE wrapped ticket";
    if (this.#old === null) {
      fail(Fault.Field, field, -1, 1, "0 without an old ticket");
      return null;
    }
    const { sessionKey } = this.#old;
    const inside = open(this.#options.crypto, sessionKey, Usage.TicketBlob, sealed, field);
    return inside === null ? null : blobOf(inside, "AUTH_DONE wrapped_ticket");
  }

  /** E(session key){string connection_secret}; in crc mode whatever it holds is not used. */
  #openSecret(key: CryptoKey, mode: number, sealed: Uint8Array): Uint8Array | null {
    if (mode !== ConMode.Secure) return NOTHING;
    const usage = Usage.ConnectionSecret;
    const inside = open(this.#options.crypto, key, usage, sealed, "AUTH_DONE connection_secret");
    const secret = inside === null ? null : blobOf(inside, "AUTH_DONE connection_secret");
    return secret !== null && secretIsWhole(secret) ? secret : null;
  }
}

/** One attempt at a service. Made by `CephxClient.toService()`. */
export class CephxServiceAttempt implements AuthClient {
  readonly method: number = AuthMethod.Cephx;
  readonly #crypto: Crypto;
  readonly #globalId = new U64();
  readonly #service: number;
  readonly #held: HeldTicket;
  readonly #store: TicketStore;
  #state: number = State.Start;
  #nonce = new U64();
  #sessionKey = NOTHING;
  #connectionSecret = NOTHING;

  /** @ignore */
  constructor(
    crypto: Crypto,
    globalId: U64,
    service: number,
    held: HeldTicket,
    store: TicketStore,
  ) {
    this.#crypto = crypto;
    this.#globalId.copy(globalId);
    this.#service = service;
    this.#held = held;
    this.#store = store;
  }

  /** The secret of AUTH_SIGNATURE, once done. */
  get sessionKey(): Uint8Array {
    return this.#sessionKey;
  }

  /** 64 bytes in secure mode, once done. */
  get connectionSecret(): Uint8Array {
    return this.#connectionSecret;
  }

  /** AUTH_REQUEST; starts the attempt with a fresh nonce. */
  request(): Uint8Array {
    this.#nonce = randomU64(this.#crypto);
    this.#state = State.Requested;
    return this.#authorizer(null);
  }

  /** AUTH_REPLY_MORE, E(session key){u8 1, u64 server_challenge}, has no length in front. */
  handleMore(payload: Uint8Array): Uint8Array | null {
    if (!this.#expect(State.Requested, "AUTH_REPLY_MORE")) return null;
    const challenge = this.#open(payload, Usage.AuthorizeChallenge, "AUTH_REPLY_MORE challenge");
    const serverChallenge = challenge === null ? null : decodeAuthorizeChallenge(challenge);
    if (serverChallenge === null) return null;
    this.#state = State.Answered;
    return this.#authorizer(plusOne(serverChallenge));
  }

  /** AUTH_DONE: the service has proved that it could open the ticket. */
  handleDone(_globalId: U64, mode: number, payload: Uint8Array): boolean {
    if (!this.#expect(State.Answered, "AUTH_DONE")) return false;
    this.#state = State.Failed;
    const sealed = decodeAuthorizeDone(payload);
    if (sealed === null) return false;
    const opened = this.#open(sealed, Usage.AuthorizeReply, "AUTH_DONE authorize_reply");
    const reply = opened === null ? null : decodeAuthorizeReply(opened);
    if (reply === null) return false;
    if (!sameSecret(reply.noncePlusOne, plusOne(this.#nonce))) {
      return refuse(Fault.Auth, "AUTH_DONE nonce_plus_one", reply.noncePlusOne.lo, "nonce + 1");
    }
    if (mode === ConMode.Secure) {
      if (!secretIsWhole(reply.connectionSecret)) return false;
      this.#connectionSecret = reply.connectionSecret;
    }
    this.#sessionKey = this.#held.sessionKey.secret;
    this.#state = State.Done;
    return true;
  }

  /** AUTH_BAD_METHOD: the ticket is forgotten; false, as only a monitor can give a new one. */
  handleBad(result: number): boolean {
    this.#state = State.Failed;
    const isPresent = this.#store.find(this.#service) === this.#held;
    if (isPresent && isRefusal(result)) this.#store.forget(this.#service);
    return false;
  }

  #authorizer(challengePlusOne: U64 | null): Uint8Array {
    const { sessionKey, ticket } = this.#held;
    const authorize = encodeAuthorize({ nonce: this.#nonce, challengePlusOne });
    return encodeAuthorizer({
      globalId: this.#globalId,
      service: this.#service,
      ticket,
      sealedAuthorize: seal(this.#crypto, sessionKey, Usage.Authorize, authorize),
    });
  }

  #open(sealed: Uint8Array, usage: number, field: string): Uint8Array | null {
    return open(this.#crypto, this.#held.sessionKey, usage, sealed, field);
  }

  #expect(state: number, tag: string): boolean {
    if (this.#state === state) return true;
    this.#state = State.Failed;
    return refuse(Fault.State, tag, 0, "sent once, after its request");
  }
}

/** Other results speak of the method or the mode, not of who asks. */
function isRefusal(result: number): boolean {
  return result === EACCES || result === EINVAL;
}

function secretIsWhole(secret: Uint8Array): boolean {
  const field = "AUTH_DONE connection_secret length";
  return secret.length === CONNECTION_SECRET_BYTES ||
    refuse(Fault.Field, field, secret.length, String(CONNECTION_SECRET_BYTES));
}

function blobOf(bytes: Uint8Array, frame: string): Uint8Array | null {
  const from = new PayloadReader(bytes, frame);
  const blob = from.blob("length");
  return from.failed ? null : blob;
}

function refuse(code: number, field: string, value: number, expected: string): false {
  fail(code, field, -1, value, expected);
  return false;
}
