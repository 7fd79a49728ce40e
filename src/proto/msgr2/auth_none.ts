/**
 * Authentication method none: the peer is who it says it is. What the payloads hold the msgr2
 * document leaves out; they are as Ceph sends them: u8 auth_mode, EntityName, u64 global_id. Ceph's
 * load tools send nothing at all.
 *
 * There is no key: AUTH_SIGNATURE is 32 zero bytes, and secure mode does not exist.
 *
 * @module
 */
import { describeFault, fail, Fault } from "../../mem/fault.ts";
import { U64 } from "../../mem/u64.ts";
import {
  AuthMode,
  decodeIdentity,
  encodeIdentity,
  type EntityName,
} from "../../wire/cephx/entity_name.ts";
import { AuthMethod, ConMode } from "../../wire/msgr2/auth.ts";
import { EntityType } from "../../wire/msgr2/hello.ts";
import type { AuthAnswer, AuthClient, AuthServer } from "./auth.ts";

/** Whom a client speaks to, which decides the first byte of its payload. */
export const NoneTarget = {
  /** A monitor: auth_mode 10. */
  Mon: "mon",
  /** Any other daemon, and between monitors: auth_mode 1. */
  Service: "service",
  /** Ceph's load tools: no payload. */
  Tool: "tool",
} as const;

/** One of the values of {@linkcode NoneTarget}. */
export type NoneTarget = typeof NoneTarget[keyof typeof NoneTarget];

/** What a client of method none is made of. */
export interface AuthNoneClientOptions {
  /** Who this says it is. */
  readonly name: EntityName;
  /** Default {@linkcode NoneTarget.Mon}. */
  readonly target?: NoneTarget;
}

/** EACCES, EOPNOTSUPP: results of AUTH_BAD_METHOD. */
const EACCES = -13;
const EOPNOTSUPP = -95;

const NOTHING: Uint8Array = new Uint8Array(0);

/** The client's end. Serves any number of connections, one after another, and keeps the global_id. */
export class AuthNoneClient implements AuthClient {
  readonly method: number = AuthMethod.None;
  readonly sessionKey: Uint8Array = NOTHING;
  readonly connectionSecret: Uint8Array = NOTHING;
  /** Given by the first peer that gives one; asked for again at each further connection. */
  readonly globalId: U64 = new U64();
  readonly #name: EntityName;
  readonly #target: NoneTarget;

  /** Knows a name and nothing else yet. */
  constructor(options: AuthNoneClientOptions) {
    this.#name = options.name;
    this.#target = options.target ?? NoneTarget.Mon;
  }

  /** AUTH_REQUEST. */
  request(): Uint8Array {
    if (this.#target === NoneTarget.Tool) return NOTHING;
    const mode = this.#target === NoneTarget.Mon ? AuthMode.Mon : AuthMode.Authorizer;
    return encodeIdentity({ mode, name: this.#name, globalId: this.globalId });
  }

  /** The method has no AUTH_REPLY_MORE. */
  handleMore(payload: Uint8Array): null {
    fail(Fault.State, "AUTH_REPLY_MORE payload", -1, payload.length, "never sent by method none");
    return null;
  }

  /** AUTH_DONE; a global_id of 0 leaves what there is. */
  handleDone(globalId: U64, mode: number, _payload: Uint8Array): boolean {
    if (mode !== ConMode.Crc) {
      fail(Fault.Field, "AUTH_DONE con_mode", -1, mode, "1 (crc) with method none");
      return false;
    }
    if (!globalId.isZero()) this.globalId.copy(globalId);
    return true;
  }

  /** AUTH_BAD_METHOD: asking again would be the same. */
  handleBad(_result: number): boolean {
    return false;
  }
}

/** What a server of method none is made of. */
export interface AuthNoneServerOptions {
  /** Acts as Ceph's load server: takes an empty payload, and everybody's global_id is 0. */
  readonly tool?: boolean;
  /** The first global_id given away. */
  readonly firstGlobalId?: number;
}

const FIRST_GLOBAL_ID = 4097;

/** Claimed numbers above this do not move the counter, so that nobody can use it up. */
const COUNTED_MAX = 2 ** 48;

/** The server's end; keeps one counter, and nothing per peer. */
export class AuthNoneServer {
  readonly #tool: boolean;
  #nextGlobalId: number;

  /** Lets everybody in. */
  constructor(options: AuthNoneServerOptions = {}) {
    this.#tool = options.tool ?? false;
    this.#nextGlobalId = options.firstGlobalId ?? FIRST_GLOBAL_ID;
  }

  /** One attempt, for one connection. */
  attempt(): AuthNoneServerAttempt {
    return new AuthNoneServerAttempt(this.#tool, (claimed, into) => this.#assign(claimed, into));
  }

  /** Leaves a client the number it had before; the counter goes past it. */
  #assign(claimed: U64, into: U64): void {
    if (this.#tool) return;
    if (claimed.isZero()) {
      into.setBigInt(BigInt(this.#nextGlobalId++));
      return;
    }
    into.copy(claimed);
    const value = Number(claimed.toBigInt());
    if (value < COUNTED_MAX) this.#nextGlobalId = Math.max(this.#nextGlobalId, value + 1);
  }
}

/** One attempt of one peer. Made by `AuthNoneServer.attempt()`. */
export class AuthNoneServerAttempt implements AuthServer {
  readonly sessionKey: Uint8Array = NOTHING;
  readonly connectionSecret: Uint8Array = NOTHING;
  /** The global_id given or left to the peer, once done. */
  readonly globalId: U64 = new U64();
  readonly #tool: boolean;
  readonly #assign: (claimed: U64, into: U64) => void;
  #entity: EntityName = { type: EntityType.Client, id: "" };
  #isDone = false;

  /** @ignore */
  constructor(tool: boolean, assign: (claimed: U64, into: U64) => void) {
    this.#tool = tool;
    this.#assign = assign;
  }

  /** Who the peer says it is, once done; a client without id when it says nothing. */
  get entity(): EntityName {
    return this.#entity;
  }

  /** AUTH_REQUEST in, AUTH_DONE or a refusal out. */
  handleRequest(payload: Uint8Array, first: boolean, mode: number): AuthAnswer {
    if (this.#isDone || !first) {
      return { kind: "bad", result: EACCES, why: "Method none takes one AUTH_REQUEST and no more" };
    }
    if (mode !== ConMode.Crc) {
      const why = "Cannot use secure mode with method none as there is no key";
      return { kind: "bad", result: EOPNOTSUPP, why };
    }
    const claimed = new U64();
    if (payload.length > 0 || !this.#tool) {
      const identity = decodeIdentity(payload);
      if (identity === null) return { kind: "bad", result: EACCES, why: describeFault() };
      this.#entity = identity.name;
      claimed.copy(identity.globalId);
    }
    this.#assign(claimed, this.globalId);
    this.#isDone = true;
    return { kind: "done", payload: NOTHING };
  }
}
