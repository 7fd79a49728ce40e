/**
 * What both sides of a captured msgr2 connection know together: the revision that the banners
 * agree on, whether AUTH_DONE made it secure and by which secret, the session it carries, and what
 * waits for an answer. msgr2 "Banner", "Authentication", "Message flow handshake".
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import type { AeadMaker } from "../../wire/msgr2/aead.ts";
import { type AuthPayload, ConMode, copyPayload } from "../../wire/msgr2/auth.ts";
import { type Banner, MSGR2_FEATURE_REVISION_1 } from "../../wire/msgr2/banner.ts";
import { Tag } from "../../wire/msgr2/tag.ts";
import { CephxListener } from "./cephx_listener.ts";
import type { Side } from "./found.ts";
import type { KeyChest } from "./key_chest.ts";
import { addresses, type Fields, seen } from "./msgr2_fields.ts";
import { SentBySide } from "./msgr2_replies.ts";
import { type Msgr2Sessions, Role, type SeenSession } from "./msgr2_sessions.ts";
import { SecureReader } from "./secure_reader.ts";

/** What all msgr2 conversations of a capture share. */
export interface Msgr2Shared {
  readonly sessions: Msgr2Sessions;
  /** Keys to open secure mode with; null without. */
  readonly chest: KeyChest | null;
  /** The cipher; null without. */
  readonly maker: AeadMaker | null;
}

/** The revision is not known. */
export const REVISION_UNKNOWN = -1;

/** One connection. */
export class Msgr2Link {
  /** 0 or 1, or {@linkcode REVISION_UNKNOWN}. */
  revision: number = REVISION_UNKNOWN;
  /** True once AUTH_DONE said secure: what follows of both sides is sealed. */
  isSecure = false;
  /** True from AUTH_REQUEST until AUTH_DONE: sealed frames may be seen before the latter is. */
  isAuthenticating = false;
  /** The session, once it is known. */
  session: SeenSession | null = null;
  /** The conversation that RECONNECT continues; 0 when it was not captured. */
  continues = 0;
  readonly #shared: Msgr2Shared;
  readonly #conversation: number;
  readonly #revisions = [REVISION_UNKNOWN, REVISION_UNKNOWN];
  readonly #roles: [number, number] = [Role.Client, Role.Server];
  readonly #sent: [SentBySide | null, SentBySide | null] = [null, null];
  #listener: CephxListener | null = null;
  #server: Side = 1;

  /** A connection of which nothing is known; `conversation` is its number. */
  constructor(shared: Msgr2Shared, conversation: number) {
    this.#shared = shared;
    this.#conversation = conversation;
  }

  /** The banner of a side: revision 1 is spoken when both have it. */
  handleBanner(side: Side, banner: Banner): void {
    this.#revisions[side] = banner.supported.lo & MSGR2_FEATURE_REVISION_1;
    const other = this.#revisions[1 - side]!;
    if (this.#revisions[side] === 0) this.revision = 0;
    else if (other !== REVISION_UNKNOWN) this.revision = other;
  }

  /** A frame of the handshake, read into {@linkcode seen}; returns what is wrong, or "". */
  handleHandshake(side: Side, tag: number): string {
    switch (tag) {
      case Tag.AuthRequest:
        this.isAuthenticating = true;
        this.#server = side === 0 ? 1 : 0;
        this.#listen()?.handleRequest(seen.authRequest.method, payloadOf(seen.authRequest));
        break;
      case Tag.AuthBadMethod:
        this.#listen()?.handleBad();
        break;
      case Tag.AuthReplyMore:
        this.#listen()?.handleReplyMore(payloadOf(seen.authMore));
        break;
      case Tag.AuthRequestMore:
        this.#listen()?.handleRequestMore(payloadOf(seen.authMore));
        break;
      case Tag.AuthDone:
        return this.#handleAuthDone(side);
      case Tag.ClientIdent:
        this.#handleClientIdent(side);
        break;
      case Tag.ServerIdent:
        this.#handleServerIdent(side);
        break;
      case Tag.SessionReconnect:
        this.#handleReconnect(side);
        break;
    }
    return "";
  }

  /** After a full RESET_SESSION was told; without `full` the cookie and the queue stay what they were. */
  handleReset(): void {
    if (this.session !== null) this.#shared.sessions.forget(this.session);
    this.session = null;
  }

  /** A reader for the sealed frames of a side; null without the secret. */
  secureReader(side: Side): SecureReader | null {
    const { maker } = this.#shared;
    const secret = this.#listener?.secret ?? null;
    if (maker === null || secret === null) return null;
    return new SecureReader(maker, secret, side === this.#server ? 1 : 0, this.revision & 1);
  }

  /** What could be read in the AUTH payload handled last. */
  describeAuth(): Fields {
    return this.#listener?.describe() ?? {};
  }

  /** A message of a side with this seq: true when one like it was sent before in the session. */
  noteSeq(side: Side, seq: number): boolean {
    return this.session !== null && this.session.noteSeq(this.#roles[side], seq);
  }

  /** What a side has sent and what of it waits for an answer. */
  sentBy(side: Side): SentBySide {
    return this.#sent[side] ??= new SentBySide();
  }

  /** The same of the other side; null when it has sent nothing. */
  sentByOther(side: Side): SentBySide | null {
    return this.#sent[side === 0 ? 1 : 0];
  }

  #listen(): CephxListener | null {
    const { chest } = this.#shared;
    if (chest !== null) this.#listener ??= new CephxListener(chest);
    return this.#listener;
  }

  #handleAuthDone(side: Side): string {
    const { globalId, mode } = seen.authDone;
    this.isAuthenticating = false;
    this.#server = side;
    const listener = this.#listen();
    listener?.handleDone(globalId, mode, payloadOf(seen.authDone));
    if (mode !== ConMode.Secure) return "";
    this.isSecure = true;
    if (listener === null || this.#shared.maker === null) {
      return "secure mode: give --keyring FILE to read what follows";
    }
    return listener.secret === null ? `secure mode: ${listener.refusal}` : "";
  }

  #handleClientIdent(side: Side): void {
    const ident = seen.clientIdent;
    const session = this.#shared.sessions.meet(ident.cookie);
    this.#bind(side, Role.Client, session);
    session.addresses[Role.Client] = addresses(ident.addrs).join(" ");
  }

  #handleServerIdent(side: Side): void {
    const { session } = this;
    if (session === null) return;
    const ident = seen.serverIdent;
    this.#shared.sessions.establish(session, ident.cookie);
    session.addresses[Role.Server] = addresses(ident.addrs).join(" ");
    if (ident.cookie.isZero()) this.#shared.sessions.forget(session); // nobody can resume it
    this.#bind(side, Role.Server, session);
  }

  /** Either end may reconnect; its addresses tell which one it is. */
  #handleReconnect(side: Side): void {
    const { clientCookie, addrs } = seen.reconnect;
    const session = this.#shared.sessions.meet(clientCookie);
    this.continues = session.connection === this.#conversation ? 0 : session.connection;
    const own = addresses(addrs).join(" ");
    const [client, server] = session.addresses;
    const role = own === server && own !== client ? Role.Server : Role.Client;
    this.#bind(side, role, session);
  }

  #bind(side: Side, role: number, session: SeenSession): void {
    this.#roles[side] = role;
    this.#roles[side === 0 ? 1 : 0] = role === Role.Client ? Role.Server : Role.Client;
    this.session = session;
    session.connection = this.#conversation;
  }
}

function payloadOf(frame: AuthPayload): Uint8Array {
  return copyPayload(arena, frame);
}
