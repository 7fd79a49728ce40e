/**
 * The server's end of cephx, with a keyring. It acts as the monitor, which checks keys and issues
 * tickets, and as the services that take those tickets. Ceph src/auth/cephx.
 *
 * Read this before touching it. Per connection one {@linkcode CephxServerAttempt}:
 *
 * ```text
 * Start --AUTH_REQUEST (auth_mode 10)-------------> Challenged --AUTH_REQUEST_MORE (key)---> Done
 *   |                                                   |
 *   +---AUTH_REQUEST (auth_mode 1, authorizer)--> AuthorizerChallenged --(again, +1)-------> Done
 *   ^                                                   |
 *   +------------------ anything refused ---------------+
 * ```
 *
 * - A challenge serves once. What follows a refusal starts with a fresh one.
 * - Nothing is kept per client: tickets carry the identity, sealed with a rotating secret.
 * - A global_id is given anew, or left to who shows the AUTH ticket that was issued with it.
 * - An unknown name is challenged like a known one and checked against a decoy key. The peer sees
 *   the same frames, the same result and the same work; only `why`, for the log here, tells.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { describeFault } from "../../mem/fault.ts";
import { U64 } from "../../mem/u64.ts";
import {
  decodeAuthorize,
  decodeAuthorizer,
  encodeAuthorizeChallenge,
  encodeAuthorizeDone,
  encodeAuthorizeReply,
  plusOne,
} from "../../wire/cephx/authorizer.ts";
import { type CryptoKey, generateKey, KeyType } from "../../wire/cephx/crypto_key.ts";
import {
  AuthMode,
  decodeIdentity,
  type EntityName,
  quoteEntityName,
  sameEntity,
} from "../../wire/cephx/entity_name.ts";
import type { Keyring, KeyringEntry } from "../../wire/cephx/keyring.ts";
import {
  type Authenticate,
  decodeAuthenticate,
  encodeServerChallenge,
  encodeSessionReply,
} from "../../wire/cephx/mon_exchange.ts";
import { PayloadWriter } from "../../wire/cephx/payload.ts";
import {
  decodeTicketInfo,
  encodeServiceTicket,
  encodeTicketBlob,
  encodeTicketInfo,
  type IssuedTicket,
  MON_SECRET_ID,
  type TicketBlob,
  type TicketInfo,
} from "../../wire/cephx/ticket.ts";
import { ConMode } from "../../wire/msgr2/auth.ts";
import { EntityType, entityTypeName } from "../../wire/msgr2/hello.ts";
import type { AuthAnswer, AuthServer, Crypto } from "../msgr2/auth.ts";
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
import { ServiceSecrets } from "./service_secrets.ts";

/** What a server is made of. */
export interface CephxServerOptions {
  /** Primitives: io/crypto.ts has them. */
  readonly crypto: Crypto;
  /** Seconds since 1970, may have a fraction. */
  readonly wallSeconds: () => number;
  /** Who may come in; read at each attempt, so it may change. */
  readonly keyring: Keyring;
  /** Services whose tickets are issued and accepted here: entity types as bits. */
  readonly services?: number;
  /** How long an AUTH ticket, and so the right to a global_id, lasts. Default 72 h, like Ceph. */
  readonly authTicketSeconds?: number;
  /** How long tickets for services last. Default 1 h, like Ceph. */
  readonly serviceTicketSeconds?: number;
  /** The first global_id given away. */
  readonly firstGlobalId?: number;
}

const AUTH_TICKET_SECONDS = 72 * 3600;
const SERVICE_TICKET_SECONDS = 3600;

/** The entity types that can be services, in the order their tickets are listed. */
const SERVICE_TYPES = [EntityType.Mon, EntityType.Mds, EntityType.Osd, EntityType.Mgr] as const;
const ALL_SERVICES: number = EntityType.Mon | EntityType.Mds | EntityType.Osd | EntityType.Mgr;

/** Ceph's own start a little above this; the number has no meaning. */
const FIRST_GLOBAL_ID = 4097;

/** Authenticates peers by a keyring; hands out and takes tickets. */
export class CephxServer {
  readonly #authority: Authority;

  /** Makes new secrets: tickets of an earlier run are not accepted any more. */
  constructor(options: CephxServerOptions) {
    this.#authority = new Authority(options);
  }

  /** One attempt, for one connection. */
  attempt(): CephxServerAttempt {
    return new CephxServerAttempt(this.#authority);
  }
}

const State = { Start: 0, Challenged: 1, AuthorizerChallenged: 2, Done: 3 } as const;

const NOTHING: Uint8Array = new Uint8Array(0);
const NOBODY: EntityName = { type: 0, id: "" };

/** One attempt of one peer. Made by `CephxServer.attempt()`. */
export class CephxServerAttempt implements AuthServer {
  /** The global_id given or left to the peer, once done. */
  readonly globalId: U64 = new U64();
  readonly #authority: Authority;
  #state: number = State.Start;
  #claimed: EntityName = NOBODY;
  readonly #claimedGlobalId = new U64();
  #challenge = new U64();
  #entity: EntityName = NOBODY;
  #caps: string | null = null;
  #sessionKey = NOTHING;
  #connectionSecret = NOTHING;

  /** @ignore */
  constructor(authority: Authority) {
    this.#authority = authority;
  }

  /** Who the peer proved to be, once done. */
  get entity(): EntityName {
    return this.#entity;
  }

  /** What the ticket of a service says of the peer's capabilities; null when it says nothing. */
  get caps(): string | null {
    return this.#caps;
  }

  /** The secret of AUTH_SIGNATURE, once done. */
  get sessionKey(): Uint8Array {
    return this.#sessionKey;
  }

  /** 64 bytes in secure mode, once done. */
  get connectionSecret(): Uint8Array {
    return this.#connectionSecret;
  }

  /** AUTH_REQUEST (`first`) or AUTH_REQUEST_MORE in; what to answer out. */
  handleRequest(payload: Uint8Array, first: boolean, mode: number): AuthAnswer {
    const state = this.#state;
    if (state === State.Done) return bad("Cannot authenticate as this attempt is done already");
    this.#state = State.Start; // whatever is refused below ends here, and its challenge with it
    if (first !== (state === State.Start)) {
      return bad(first ? "AUTH_REQUEST came twice" : "AUTH_REQUEST_MORE came without a challenge");
    }
    if (state === State.Challenged) return this.#authenticate(payload, mode);
    if (state === State.AuthorizerChallenged) return this.#authorize(payload, mode, false);
    if (payload[0] === AuthMode.Authorizer) return this.#authorize(payload, mode, true);
    return this.#identify(payload);
  }

  /** auth_mode 10: every name gets a challenge. */
  #identify(payload: Uint8Array): AuthAnswer {
    const identity = decodeIdentity(payload);
    if (identity === null) return bad(describeFault());
    this.#claimed = identity.name;
    this.#claimedGlobalId.copy(identity.globalId);
    this.#challenge = randomU64(this.#authority.crypto);
    this.#state = State.Challenged;
    return { kind: "more", payload: encodeServerChallenge(this.#challenge) };
  }

  /** CephXAuthenticate. */
  #authenticate(payload: Uint8Array, mode: number): AuthAnswer {
    const request = decodeAuthenticate(payload);
    if (request === null) return bad(describeFault());
    const entry = this.#authority.keyring.get(this.#claimed);
    const key = entry?.key ?? this.#authority.decoyKey;
    const { crypto } = this.#authority;
    const expected = challengeKey(crypto, key, this.#challenge, request.clientChallenge);
    const matches = sameSecret(expected, request.key);
    const who = quoteEntityName(this.#claimed);
    if (entry === undefined) return bad(`Cannot find ${who} in the keyring`);
    if (!matches) return bad(`Cannot authenticate ${who} as its key is another one`);
    const old = this.#reclaim(request);
    if (old !== null && "result" in old) return old;
    return this.#admit(entry, request, old, mode);
  }

  /** The old ticket when it gives a right to the global_id asked for; null: a new one is asked. */
  #reclaim(request: Authenticate): TicketInfo | Refusal | null {
    const { oldTicket } = request;
    const who = quoteEntityName(this.#claimed);
    const isNew = this.#claimedGlobalId.isZero();
    const hasTicket = oldTicket.blob.length > 0;
    if (isNew && !hasTicket) return null;
    if (isNew) {
      return bad(`Cannot reclaim for ${who} as its ticket comes without global_id`, EINVAL);
    }
    const claim = `Cannot let ${who} reclaim global_id ${this.#claimedGlobalId.toBigInt()}`;
    if (!hasTicket) return bad(`${claim} as it must show the ticket`);
    const info = this.#authority.openTicket(EntityType.Auth, oldTicket);
    if (typeof info === "string") return bad(`${claim} as its ticket ${info}`);
    if (sameEntity(info.name, this.#claimed) && info.globalId.equals(this.#claimedGlobalId)) {
      return info;
    }
    return bad(`${claim} as its ticket was issued to another`);
  }

  #admit(
    entry: KeyringEntry,
    request: Authenticate,
    old: TicketInfo | null,
    mode: number,
  ): AuthAnswer {
    const { crypto } = this.#authority;
    if (old === null) this.#authority.takeGlobalId(this.globalId);
    else this.globalId.copy(old.globalId);
    const holder = { entry, globalId: this.globalId };
    const auth = this.#authority.issue(EntityType.Auth, entry.key, holder, old?.sessionKey ?? null);
    const { sessionKey } = auth;
    const extraTickets: IssuedTicket[] = [];
    for (const service of SERVICE_TYPES) {
      if ((request.otherKeys & this.#authority.services & service) === 0) continue;
      extraTickets.push(this.#authority.issue(service, sessionKey, holder, null).issued);
    }
    const secret = newSecret(crypto, mode);
    const inside = new PayloadWriter().blob(secret).done();
    const sealedSecret = seal(crypto, sessionKey, Usage.ConnectionSecret, inside);
    this.#finish(entry.name, sessionKey, secret, null);
    const payload = encodeSessionReply({ tickets: [auth.issued], sealedSecret, extraTickets });
    return { kind: "done", payload };
  }

  /** The authorizer of a service, first without and then with the challenge. */
  #authorize(payload: Uint8Array, mode: number, first: boolean): AuthAnswer {
    const authorizer = decodeAuthorizer(payload);
    if (authorizer === null) return bad(describeFault());
    const { crypto } = this.#authority;
    const { service, globalId } = authorizer;
    const kind = `authorizer for ${entityTypeName(service)}`;
    // An AUTH ticket gives a right to a global_id; it is not meant for authorizers.
    if (service === EntityType.Auth) return bad(`Cannot accept ${kind} as that is no service`);
    const info = this.#authority.openTicket(service, authorizer.ticket);
    if (typeof info === "string") return bad(`Cannot accept ${kind} as its ticket ${info}`);
    const who = quoteEntityName(info.name);
    if (!info.globalId.equals(globalId)) {
      return bad(`Cannot accept ${kind} of ${who} as its ticket has another global_id`);
    }
    const field = "AUTH_REQUEST authorize";
    const { sessionKey } = info;
    const opened = open(crypto, sessionKey, Usage.Authorize, authorizer.sealedAuthorize, field);
    const authorize = opened === null ? null : decodeAuthorize(opened);
    if (authorize === null) return bad(`Cannot accept ${kind} of ${who}: ${describeFault()}`);
    const { nonce, challengePlusOne } = authorize;
    if (first && challengePlusOne === null) return this.#challengeAuthorizer(sessionKey);
    // A first authorizer that answers a challenge already was seen on another connection.
    const expected = plusOne(this.#challenge);
    if (first || challengePlusOne === null || !sameSecret(expected, challengePlusOne)) {
      return bad(`Cannot accept ${kind} of ${who} as it must answer the present challenge`);
    }
    const secret = newSecret(crypto, mode);
    const noncePlusOne = plusOne(nonce);
    const reply = encodeAuthorizeReply({ noncePlusOne, connectionSecret: secret });
    this.globalId.copy(info.globalId);
    this.#finish(info.name, sessionKey, secret, info.caps);
    const sealed = seal(crypto, sessionKey, Usage.AuthorizeReply, reply);
    return { kind: "done", payload: encodeAuthorizeDone(sealed) };
  }

  #challengeAuthorizer(sessionKey: CryptoKey): AuthAnswer {
    const { crypto } = this.#authority;
    this.#challenge = randomU64(crypto);
    this.#state = State.AuthorizerChallenged;
    const challenge = encodeAuthorizeChallenge(this.#challenge);
    // As on the wire of Ceph: no length in front.
    const payload = seal(crypto, sessionKey, Usage.AuthorizeChallenge, challenge);
    return { kind: "more", payload };
  }

  #finish(entity: EntityName, key: CryptoKey, secret: Uint8Array, caps: string | null): void {
    this.#state = State.Done;
    this.#entity = entity;
    this.#sessionKey = key.secret;
    this.#connectionSecret = secret;
    this.#caps = caps;
  }
}

/** A refusal: to the peer the result alone, to the log the reason. */
type Refusal = Extract<AuthAnswer, { kind: "bad" }>;

/** Who a ticket is issued to. */
interface Holder {
  readonly entry: KeyringEntry;
  readonly globalId: U64;
}

/** What all attempts of a server share. Its size does not depend on how many peers there are. */
class Authority {
  readonly crypto: Crypto;
  readonly keyring: Keyring;
  readonly services: number;
  /** What unknown names are checked against: nobody has it. */
  readonly decoyKey: CryptoKey;
  readonly #wallSeconds: () => number;
  readonly #authTicketSeconds: number;
  readonly #serviceTicketSeconds: number;
  readonly #secrets: ServiceSecrets;
  #nextGlobalId: number;

  constructor(options: CephxServerOptions) {
    const { crypto, wallSeconds, keyring } = options;
    this.crypto = crypto;
    this.keyring = keyring;
    this.services = (options.services ?? ALL_SERVICES) & ALL_SERVICES;
    this.#wallSeconds = wallSeconds;
    this.#authTicketSeconds = options.authTicketSeconds ?? AUTH_TICKET_SECONDS;
    this.#serviceTicketSeconds = options.serviceTicketSeconds ?? SERVICE_TICKET_SECONDS;
    this.#nextGlobalId = options.firstGlobalId ?? FIRST_GLOBAL_ID;
    this.#secrets = new ServiceSecrets(crypto, KeyType.Aes256k);
    // The type that most likely is used here, so that the time of the check does not tell either.
    const [entry] = keyring.entries();
    this.decoyKey = generateKey(crypto, entry?.key.type ?? KeyType.Aes, wallSeconds());
  }

  /** Gives the next global_id away. */
  takeGlobalId(into: U64): void {
    assert(this.#nextGlobalId < Number.MAX_SAFE_INTEGER, "global_ids last for centuries");
    into.setBigInt(BigInt(this.#nextGlobalId++));
  }

  /**
   * A ticket for `service`. Its owner's half is sealed with `key`; its other half is wrapped with
   * `wrapKey` when there is one.
   */
  issue(
    service: number,
    key: CryptoKey,
    holder: Holder,
    wrapKey: CryptoKey | null,
  ): { issued: IssuedTicket; sessionKey: CryptoKey } {
    const { entry, globalId } = holder;
    const validitySeconds = this.#lifeSeconds(service);
    const createdSeconds = this.#wallSeconds();
    const sessionKey = generateKey(this.crypto, entry.key.type, createdSeconds);
    const caps = entry.caps?.get(entityTypeName(service)) ?? null;
    const expiresSeconds = createdSeconds + validitySeconds;
    const info = { name: entry.name, globalId, createdSeconds, expiresSeconds, caps, sessionKey };
    const ticket = encodeTicketBlob(this.#sealTicket(service, info));
    const owned = encodeServiceTicket({ sessionKey, validitySeconds });
    const issued = {
      service,
      sealedKey: seal(this.crypto, key, Usage.TicketSessionKey, owned),
      wrapped: wrapKey !== null,
      ticket: wrapKey === null ? ticket : this.#wrap(wrapKey, ticket),
    };
    return { issued, sessionKey };
  }

  /** What a ticket says; or, in words, what is wrong with it. */
  openTicket(service: number, ticket: TicketBlob): TicketInfo | string {
    const now = this.#wallSeconds();
    const secret = this.#ticketSecret(service, ticket, now);
    if (secret === null) return "is sealed with a secret not known here";
    const opened = open(this.crypto, secret, Usage.TicketInfo, ticket.blob, "ticket");
    const info = opened === null ? null : decodeTicketInfo(opened);
    if (info === null) return `does not open: ${describeFault()}`;
    const byMon = ticket.secretId.equals(MON_SECRET_ID);
    if (byMon && info.name.type !== EntityType.Mon) return "may be made for monitors only";
    if (now >= info.expiresSeconds) {
      return `expired ${Math.ceil(now - info.expiresSeconds)} s ago`;
    }
    return info;
  }

  #ticketSecret(service: number, ticket: TicketBlob, now: number): CryptoKey | null {
    // Between monitors both ends have the key of `mon.`, and the client seals the ticket with it.
    if (service === EntityType.Mon && ticket.secretId.equals(MON_SECRET_ID)) {
      return this.keyring.get({ type: EntityType.Mon, id: "" })?.key ?? null;
    }
    if (service !== EntityType.Auth && !this.#serves(service)) return null;
    return this.#secrets.find(service, ticket.secretId, this.#lifeSeconds(service), now);
  }

  #sealTicket(service: number, info: TicketInfo): TicketBlob {
    const life = this.#lifeSeconds(service);
    const { id, key } = this.#secrets.present(service, life, info.createdSeconds);
    const blob = seal(this.crypto, key, Usage.TicketInfo, encodeTicketInfo(info));
    return { secretId: id, blob };
  }

  #wrap(key: CryptoKey, ticket: Uint8Array): Uint8Array {
    const inside = new PayloadWriter().blob(ticket).done();
    return seal(this.crypto, key, Usage.TicketBlob, inside);
  }

  #serves(service: number): boolean {
    return SERVICE_TYPES.some((type) => type === service) && (this.services & service) !== 0;
  }

  #lifeSeconds(service: number): number {
    return service === EntityType.Auth ? this.#authTicketSeconds : this.#serviceTicketSeconds;
  }
}

/** 64 random bytes in secure mode, none in crc mode. */
function newSecret(crypto: Crypto, mode: number): Uint8Array {
  return mode === ConMode.Secure ? crypto.randomBytes(CONNECTION_SECRET_BYTES) : NOTHING;
}

function bad(why: string, result: number = EACCES): Refusal {
  return { kind: "bad", result, why };
}
