/**
 * The keys by which a capture is opened: those of a keyring, and the session keys of every ticket
 * whose issue was overheard, so that connections to services open without their keys. Ceph
 * doc/dev/cephx_protocol.rst: a client shows a service the very blob that its monitor gave it.
 *
 * @module
 */
import type { CryptoKey } from "../../wire/cephx/crypto_key.ts";
import type { EntityName } from "../../wire/cephx/entity_name.ts";
import type { Keyring } from "../../wire/cephx/keyring.ts";
import { decodeTicketInfo, MON_SECRET_ID, type TicketBlob } from "../../wire/cephx/ticket.ts";
import { EntityType } from "../../wire/msgr2/hello.ts";
import type { Crypto } from "../msgr2/auth.ts";
import { open, Usage } from "../cephx/envelope.ts";

/** Tickets that are remembered; above that the oldest is forgotten, and its connections stay shut. */
const TICKETS_MAX = 1024;

/** `mon.`, whose key all monitors share. */
const MON_NAME: EntityName = { type: EntityType.Mon, id: "" };

/** Blobs are remembered by a digest, so that a large one takes no more room than a small one. */
const DIGEST_KEY = new Uint8Array(32);

/** What is known of a ticket. */
export interface KnownTicket {
  /** Whom it was issued to. */
  readonly owner: EntityName;
  /** What its owner and its service share. */
  readonly sessionKey: CryptoKey;
  /** The capability it carries; null when it was not opened itself, or says nothing. */
  readonly caps: string | null;
}

/** The keys of one capture. */
export class KeyChest {
  /** Primitives for who opens something with these keys. */
  readonly crypto: Crypto;
  readonly #keyring: Keyring;
  /** By digest of the blob, in the order they were issued. */
  readonly #tickets = new Map<string, KnownTicket>();

  /** Holds the keys of a keyring, which may change, and no ticket yet. */
  constructor(crypto: Crypto, keyring: Keyring) {
    this.crypto = crypto;
    this.#keyring = keyring;
  }

  /** The key of a name; null when the keyring has none. */
  keyOf(name: EntityName): CryptoKey | null {
    return this.#keyring.get(name)?.key ?? null;
  }

  /** Remembers a ticket that was issued. */
  learn(ticket: TicketBlob, known: KnownTicket): void {
    if (ticket.blob.length === 0) return;
    const digest = this.#digest(ticket);
    this.#tickets.delete(digest);
    this.#tickets.set(digest, known);
    if (this.#tickets.size <= TICKETS_MAX) return;
    const [oldest] = this.#tickets.keys();
    this.#tickets.delete(oldest!);
  }

  /** What is known of a ticket that is shown; null when nothing is. */
  find(ticket: TicketBlob): KnownTicket | null {
    if (ticket.blob.length === 0) return null;
    if (ticket.secretId.equals(MON_SECRET_ID)) return this.#openMonTicket(ticket);
    return this.#tickets.get(this.#digest(ticket)) ?? null;
  }

  /** A monitor makes the ticket for another one itself, with the key of `mon.`. */
  #openMonTicket(ticket: TicketBlob): KnownTicket | null {
    const key = this.keyOf(MON_NAME);
    if (key === null) return null;
    const opened = open(this.crypto, key, Usage.TicketInfo, ticket.blob, "ticket");
    const info = opened === null ? null : decodeTicketInfo(opened);
    if (info === null) return null;
    return { owner: info.name, sessionKey: info.sessionKey, caps: info.caps };
  }

  #digest(ticket: TicketBlob): string {
    return `${ticket.secretId} ${this.crypto.hmacSha256(DIGEST_KEY, ticket.blob).toHex()}`;
  }
}
