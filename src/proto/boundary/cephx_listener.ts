/**
 * A third party at a cephx handshake: it hears the payloads of both sides and, with the key of the
 * client or of the ticket it shows, reads in them what both ends read: session key, connection
 * secret, tickets. Ceph doc/dev/cephx_protocol.rst; the two ends are proto/cephx/client.ts and
 * server.ts, the exchange is drawn there.
 *
 * A monitor's AUTH_DONE opens with the client's key, whatever was reclaimed; a service's with the
 * session key of the ticket, which was issued in an AUTH_DONE that must have been heard (or made by
 * a monitor with the key of `mon.`). Nothing here proves anything to anybody: a payload that does
 * not open leaves {@linkcode CephxListener.refusal}, in words with the remedy.
 *
 * @module
 */
import { describeFault } from "../../mem/fault.ts";
import type { U64 } from "../../mem/u64.ts";
import {
  decodeAuthorize,
  decodeAuthorizeChallenge,
  decodeAuthorizeDone,
  decodeAuthorizer,
  decodeAuthorizeReply,
  plusOne,
} from "../../wire/cephx/authorizer.ts";
import { type CryptoKey, KeyType } from "../../wire/cephx/crypto_key.ts";
import {
  AuthMode,
  decodeIdentity,
  type EntityName,
  formatEntityName,
  quoteEntityName,
} from "../../wire/cephx/entity_name.ts";
import {
  decodeAuthenticate,
  decodeServerChallenge,
  decodeSessionReply,
} from "../../wire/cephx/mon_exchange.ts";
import { PayloadReader } from "../../wire/cephx/payload.ts";
import {
  decodeServiceTicket,
  decodeTicketBlob,
  type IssuedTicket,
  MON_SECRET_ID,
} from "../../wire/cephx/ticket.ts";
import { AuthMethod, authMethodName, ConMode } from "../../wire/msgr2/auth.ts";
import { EntityType, entityTypeName } from "../../wire/msgr2/hello.ts";
import {
  challengeKey,
  CONNECTION_SECRET_BYTES,
  open,
  sameSecret,
  Usage,
} from "../cephx/envelope.ts";
import type { KeyChest, KnownTicket } from "./key_chest.ts";

/** What is going on: nothing that is understood, a client at a monitor, a ticket at a service. */
const Kind = { None: 0, Mon: 1, Service: 2 } as const;

const NOT_HEARD = "its handshake was not captured: capture the connection from its first byte";
const NOT_DONE = "its authentication was not done: AUTH_DONE is missing";

/** Hears the authentication of one conversation; the last attempt counts. Never throws. */
export class CephxListener {
  readonly #chest: KeyChest;
  #kind: number = Kind.None;
  #entity = "";
  #secret: Uint8Array | null = null;
  #sessionKey: Uint8Array | null = null;
  #refusal = NOT_HEARD;
  #fields: Record<string, unknown> = {};
  // Of a client at a monitor.
  #name: EntityName | null = null;
  #key: CryptoKey | null = null;
  #serverChallenge: U64 | null = null;
  /** The session key of the AUTH ticket that is shown to reclaim a global_id. */
  #oldKey: CryptoKey | null = null;
  // Of a ticket at a service.
  #ticket: KnownTicket | null = null;
  #nonce: U64 | null = null;

  /** Has heard nothing yet. */
  constructor(chest: KeyChest) {
    this.#chest = chest;
  }

  /** Who authenticates, `client.admin`; empty while it is not known. */
  get entity(): string {
    return this.#entity;
  }

  /** The 64 bytes that secure mode takes its keys from, once AUTH_DONE was opened; else null. */
  get secret(): Uint8Array | null {
    return this.#secret;
  }

  /** The secret of AUTH_SIGNATURE, once AUTH_DONE was opened; else null. */
  get sessionKey(): Uint8Array | null {
    return this.#sessionKey;
  }

  /** Why AUTH_DONE was not opened, with the remedy; empty once it was. */
  get refusal(): string {
    return this.#refusal;
  }

  /** What could be read in the payload handled last; no keys and no secrets. */
  describe(): Record<string, unknown> {
    return this.#fields;
  }

  /** AUTH_REQUEST: an attempt begins. */
  handleRequest(method: number, payload: Uint8Array): void {
    this.#restart(NOT_DONE);
    if (method === AuthMethod.None) return this.#hearNone(payload);
    if (method !== AuthMethod.Cephx) {
      const name = authMethodName(method);
      this.#refusal = `authentication method ${name} gives no keys here: use cephx`;
      return;
    }
    if (payload[0] === AuthMode.Authorizer) this.#hearAuthorizer("AUTH_REQUEST", payload);
    else this.#hearIdentity(payload);
  }

  /** AUTH_REPLY_MORE: the server's challenge. */
  handleReplyMore(payload: Uint8Array): void {
    this.#fields = {};
    if (this.#kind === Kind.Mon) {
      this.#serverChallenge = decodeServerChallenge(payload);
      this.#tellU64("server_challenge", this.#serverChallenge);
    } else if (this.#kind === Kind.Service && this.#ticket !== null) {
      const { sessionKey } = this.#ticket;
      const opened = this.#open(sessionKey, Usage.AuthorizeChallenge, payload, "AUTH_REPLY_MORE");
      this.#tellU64("server_challenge", opened === null ? null : decodeAuthorizeChallenge(opened));
    }
  }

  /** AUTH_REQUEST_MORE: the client's answer. */
  handleRequestMore(payload: Uint8Array): void {
    this.#fields = {};
    if (this.#kind === Kind.Mon) this.#hearAuthenticate(payload);
    else if (this.#kind === Kind.Service) this.#hearAuthorizer("AUTH_REQUEST_MORE", payload);
  }

  /** AUTH_DONE: secrets and tickets. */
  handleDone(globalId: U64, mode: number, payload: Uint8Array): void {
    this.#fields = {};
    if (this.#kind === Kind.Mon) this.#hearSessionReply(mode, payload);
    else if (this.#kind === Kind.Service) this.#hearAuthorizeReply(mode, payload);
    this.#fields.global_id = numberOf(globalId);
  }

  /** AUTH_BAD_METHOD: another attempt may follow. */
  handleBad(): void {
    const { entity } = this;
    this.#restart(NOT_DONE);
    const who = entity === "" ? "the client" : entity;
    this.#refusal = `the server refused to authenticate ${who}: see the server's log`;
  }

  #restart(refusal: string): void {
    this.#kind = Kind.None;
    this.#entity = "";
    this.#secret = null;
    this.#sessionKey = null;
    this.#refusal = refusal;
    this.#fields = {};
    this.#name = null;
    this.#key = null;
    this.#serverChallenge = null;
    this.#oldKey = null;
    this.#ticket = null;
    this.#nonce = null;
  }

  /** Method none has no keys; Ceph's load tools do not even tell a name. */
  #hearNone(payload: Uint8Array): void {
    this.#refusal = "authentication method none has no keys: nothing is encrypted";
    const identity = payload.length === 0 ? null : decodeIdentity(payload);
    if (identity === null) return;
    this.#entity = nameOf(identity.name);
    this.#fields.entity = this.#entity;
    this.#fields.global_id = numberOf(identity.globalId);
  }

  #hearIdentity(payload: Uint8Array): void {
    const identity = decodeIdentity(payload);
    if (identity === null) return this.#refuseMalformed("AUTH_REQUEST");
    const { name, globalId } = identity;
    this.#kind = Kind.Mon;
    this.#name = name;
    this.#entity = nameOf(name);
    this.#key = this.#chest.keyOf(name);
    if (this.#key === null) this.#refusal = `the keyring has no key of ${this.#entity}: add it`;
    this.#fields.auth_mode = "mon";
    this.#fields.entity = this.#entity;
    this.#fields.global_id = numberOf(globalId);
  }

  /** CephXAuthenticate. */
  #hearAuthenticate(payload: Uint8Array): void {
    const request = decodeAuthenticate(payload);
    if (request === null) return this.#refuseMalformed("AUTH_REQUEST_MORE");
    const { clientChallenge, oldTicket, otherKeys } = request;
    this.#tellU64("client_challenge", clientChallenge);
    this.#fields.other_keys = servicesOf(otherKeys);
    if (oldTicket.blob.length > 0) {
      this.#tellU64("old_ticket_secret_id", oldTicket.secretId);
      this.#oldKey = this.#chest.find(oldTicket)?.sessionKey ?? null;
    }
    if (this.#key === null || this.#serverChallenge === null) return;
    const { crypto } = this.#chest;
    const expected = challengeKey(crypto, this.#key, this.#serverChallenge, clientChallenge);
    this.#fields.proof = sameSecret(expected, request.key) ? "right" : "of another key";
  }

  /** The AUTH ticket opens with the client's key, the rest with the session key inside it. */
  #hearSessionReply(mode: number, payload: Uint8Array): void {
    const reply = decodeSessionReply(payload);
    if (reply === null) return this.#refuseMalformed("AUTH_DONE");
    const auth = reply.tickets.find(({ service }) => service === EntityType.Auth);
    const sessionKey = auth === undefined || this.#key === null
      ? null
      : this.#openTicketKey(auth, this.#key)?.sessionKey ?? null;
    this.#fields.tickets = [
      ...reply.tickets.map((ticket) => this.#hearTicket(ticket, this.#key)),
      ...reply.extraTickets.map((ticket) => this.#hearTicket(ticket, sessionKey)),
    ];
    if (this.#key === null) return; // why was told with its name
    if (sessionKey === null) {
      this.#refusal = `AUTH_DONE does not open with the key of ${this.#entity} in the keyring: ` +
        "put the key there that was valid at the time of the capture";
      return;
    }
    if (mode === ConMode.Secure) {
      const usage = Usage.ConnectionSecret;
      const opened = this.#open(sessionKey, usage, reply.sealedSecret, "AUTH_DONE secret");
      if (!this.#takeSecret(opened === null ? null : blobOf(opened))) return;
    }
    this.#sessionKey = sessionKey.secret;
    this.#refusal = "";
  }

  /** Reads an issued ticket as far as `key` opens it, and remembers it. */
  #hearTicket(issued: IssuedTicket, key: CryptoKey | null): Record<string, unknown> {
    const { service, wrapped, ticket } = issued;
    const told: Record<string, unknown> = { service: entityTypeName(service), wrapped };
    const bytes = wrapped ? this.#unwrap(ticket) : ticket;
    const blob = bytes === null ? null : decodeTicketBlob(bytes);
    if (blob !== null) told.secret_id = `${blob.secretId}`;
    const opened = key === null ? null : this.#openTicketKey(issued, key);
    if (opened === null) return told;
    const { sessionKey, validitySeconds } = opened;
    told.validity = validitySeconds;
    told.key_type = sessionKey.type === KeyType.Aes ? "aes" : "aes256k";
    if (blob !== null) this.#chest.learn(blob, { owner: this.#name!, sessionKey, caps: null });
    return told;
  }

  #openTicketKey(issued: IssuedTicket, key: CryptoKey): ReturnType<typeof decodeServiceTicket> {
    const opened = this.#open(key, Usage.TicketSessionKey, issued.sealedKey, "AUTH_DONE ticket");
    return opened === null ? null : decodeServiceTicket(opened);
  }

  /** E(old session key){bl TicketBlob}; null when the old ticket's issue was not heard. */
  #unwrap(sealed: Uint8Array): Uint8Array | null {
    if (this.#oldKey === null) return null;
    const opened = this.#open(this.#oldKey, Usage.TicketBlob, sealed, "AUTH_DONE wrapped ticket");
    return opened === null ? null : blobOf(opened);
  }

  /** The authorizer, which comes twice: the second answers the challenge. */
  #hearAuthorizer(tag: string, payload: Uint8Array): void {
    const authorizer = decodeAuthorizer(payload);
    if (authorizer === null) return this.#refuseMalformed(tag);
    this.#kind = Kind.Service;
    const { service, globalId, ticket, sealedAuthorize } = authorizer;
    const serviceName = entityTypeName(service);
    const isMonMade = ticket.secretId.equals(MON_SECRET_ID);
    this.#fields.auth_mode = "authorizer";
    this.#fields.service = serviceName;
    this.#fields.global_id = numberOf(globalId);
    this.#tellU64("ticket_secret_id", ticket.secretId);
    this.#ticket = this.#chest.find(ticket);
    if (this.#ticket === null) {
      this.#refusal = isMonMade
        ? "the keyring has no key of mon., or another one than was used: add it"
        : `its ticket for ${serviceName} was issued before this capture began, or where it could ` +
          "not be read: capture the client's connection to the monitor too, from its start";
      return;
    }
    this.#refusal = NOT_DONE;
    const { owner, sessionKey, caps } = this.#ticket;
    this.#entity = nameOf(owner);
    this.#fields.entity = this.#entity;
    if (caps !== null) this.#fields.caps = caps;
    const opened = this.#open(sessionKey, Usage.Authorize, sealedAuthorize, `${tag} authorize`);
    const authorize = opened === null ? null : decodeAuthorize(opened);
    if (authorize === null) return;
    this.#nonce = authorize.nonce;
    this.#tellU64("nonce", authorize.nonce);
    this.#tellU64("server_challenge_plus_one", authorize.challengePlusOne);
  }

  #hearAuthorizeReply(mode: number, payload: Uint8Array): void {
    if (this.#ticket === null) return; // why was told with the ticket
    const sealed = decodeAuthorizeDone(payload);
    if (sealed === null) return this.#refuseMalformed("AUTH_DONE");
    const { sessionKey } = this.#ticket;
    const opened = this.#open(sessionKey, Usage.AuthorizeReply, sealed, "AUTH_DONE reply");
    const reply = opened === null ? null : decodeAuthorizeReply(opened);
    if (reply === null) return this.#refuseMalformed("AUTH_DONE");
    this.#tellU64("nonce_plus_one", reply.noncePlusOne);
    if (this.#nonce !== null && !sameSecret(reply.noncePlusOne, plusOne(this.#nonce))) {
      this.#refusal =
        "AUTH_DONE does not answer the nonce of AUTH_REQUEST: the capture mixes two " +
        "connections, or somebody tampers with them";
      return;
    }
    if (mode === ConMode.Secure && !this.#takeSecret(reply.connectionSecret)) return;
    this.#sessionKey = sessionKey.secret;
    this.#refusal = "";
  }

  #takeSecret(secret: Uint8Array | null): boolean {
    const length = secret?.length ?? -1;
    if (length === CONNECTION_SECRET_BYTES) {
      this.#secret = secret;
      return true;
    }
    this.#refusal = length < 0
      ? "the connection secret in AUTH_DONE does not open: its bytes were changed, capture again"
      : `the connection secret in AUTH_DONE must have ${CONNECTION_SECRET_BYTES} bytes: current ` +
        `value is ${length}, capture again`;
    return false;
  }

  #open(key: CryptoKey, usage: number, sealed: Uint8Array, field: string): Uint8Array | null {
    return open(this.#chest.crypto, key, usage, sealed, field);
  }

  #refuseMalformed(tag: string): void {
    this.#refusal = `its ${tag} cannot be read: ${describeFault()}`;
  }

  #tellU64(field: string, value: U64 | null): void {
    if (value !== null) this.#fields[field] = `${value}`;
  }
}

/** As it is when it is a plain word, else quoted: it goes to terminals. */
function nameOf(name: EntityName): string {
  const text = formatEntityName(name);
  return /^[\x21-\x7e]*$/.test(text) ? text : quoteEntityName(name);
}

/** Entity types as bits, by their names. */
function servicesOf(bits: number): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    if ((bits >>> bit & 1) === 1) names.push(entityTypeName((1 << bit) >>> 0));
  }
  return names;
}

/** A number where JSON has one, else hex. */
function numberOf(value: U64): number | string {
  const whole = Number(value.toBigInt());
  return Number.isSafeInteger(whole) ? whole : `${value}`;
}

function blobOf(bytes: Uint8Array): Uint8Array | null {
  const from = new PayloadReader(bytes, "AUTH_DONE");
  const blob = from.blob("length");
  return from.failed ? null : blob;
}
