/**
 * What an authentication method offers to a connection, and what it needs itself. msgr2
 * "Authentication"; the methods are in `auth_none.ts` and `../cephx`. Handshakes are rare, so
 * payloads are arrays of their own here.
 *
 * @module
 */
import type { U64 } from "../../mem/u64.ts";

/** Primitives that a method needs; `io/crypto.ts` implements them with node:crypto. */
export interface Crypto {
  /** Fresh random bytes. */
  randomBytes(count: number): Uint8Array;
  /** HMAC-SHA-256, 32 bytes. */
  hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array;
  /** HMAC-SHA-384, 48 bytes. */
  hmacSha384(key: Uint8Array, data: Uint8Array): Uint8Array;
  /** AES-CBC; 128 or 256 bits by the key's length, PKCS#7 padding when `pad`. */
  aesCbcEncrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array, pad: boolean): Uint8Array;
  /** The inverse; null when length or padding are wrong. */
  aesCbcDecrypt(
    key: Uint8Array,
    iv: Uint8Array,
    data: Uint8Array,
    pad: boolean,
  ): Uint8Array | null;
}

/** One client-side attempt of a method, on one connection. */
export interface AuthClient {
  /** AuthMethod of wire/msgr2/auth.ts. */
  readonly method: number;
  /** The payload of AUTH_REQUEST. */
  request(): Uint8Array;
  /** AUTH_REPLY_MORE in, AUTH_REQUEST_MORE out; null when refused, `lastFault` says why. */
  handleMore(payload: Uint8Array): Uint8Array | null;
  /** AUTH_DONE; false when it cannot be accepted, `lastFault` says why. */
  handleDone(globalId: U64, mode: number, payload: Uint8Array): boolean;
  /**
   * AUTH_BAD_METHOD with this result. True when trying again at once may succeed: an old ticket
   * was shown that the peer does not know any more, and is forgotten now.
   */
  handleBad(result: number): boolean;
  /** The secret of AUTH_SIGNATURE; empty when the method has none. */
  readonly sessionKey: Uint8Array;
  /** 64 bytes in secure mode, else empty. */
  readonly connectionSecret: Uint8Array;
}

/** What a server answers to an authentication frame. */
export type AuthAnswer =
  | { readonly kind: "more"; readonly payload: Uint8Array }
  | { readonly kind: "done"; readonly payload: Uint8Array }
  | { readonly kind: "bad"; readonly result: number; readonly why: string };

/** One server-side attempt of a method, on one connection. */
export interface AuthServer {
  /**
   * Takes the payload of AUTH_REQUEST (`first`) or of AUTH_REQUEST_MORE; `mode` is the connection
   * mode that this side has picked from the peer's list.
   */
  handleRequest(payload: Uint8Array, first: boolean, mode: number): AuthAnswer;
  /** The secret of AUTH_SIGNATURE; empty when the method has none. */
  readonly sessionKey: Uint8Array;
  /** 64 bytes in secure mode, else empty. */
  readonly connectionSecret: Uint8Array;
  /** Who the peer proved to be; valid once the answer was "done". */
  readonly entity: { readonly type: number; readonly id: string };
  /** The global_id given to the peer; valid once the answer was "done". */
  readonly globalId: U64;
}
