/**
 * What AUTH_SIGNATURE covers: an HMAC over every byte its sender had received before
 * authentication ended (banner, HELLO, all AUTH frames). The document does not mention the frame;
 * this is what real Ceph sends and checks, zeros when the method has no session key.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import type { Crypto } from "./auth.ts";

const SIGNATURE_SIZE = 32;

/** The bytes of both directions up to the end of authentication; bounded by the handshake limits. */
export class Transcript {
  #received: Uint8Array[] = [];
  #sent: Uint8Array[] = [];

  /** Adds bytes that were received, from the arena. */
  noteReceived(at: number, end: number): void {
    this.#received.push(arena.bytes.slice(at, end));
  }

  /** Adds bytes that were written to be sent, from the arena. */
  noteSent(at: number, end: number): void {
    this.#sent.push(arena.bytes.slice(at, end));
  }

  /** Our AUTH_SIGNATURE. */
  sign(crypto: Crypto, sessionKey: Uint8Array): Uint8Array {
    return digest(crypto, sessionKey, this.#received);
  }

  /** The AUTH_SIGNATURE that the peer must send. */
  expect(crypto: Crypto, sessionKey: Uint8Array): Uint8Array {
    return digest(crypto, sessionKey, this.#sent);
  }

  /** The signatures are exchanged: what they covered is no longer needed. */
  clear(): void {
    this.#received = [];
    this.#sent = [];
  }
}

function digest(crypto: Crypto, sessionKey: Uint8Array, parts: readonly Uint8Array[]): Uint8Array {
  if (sessionKey.length === 0) return new Uint8Array(SIGNATURE_SIZE);
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return crypto.hmacSha256(sessionKey, whole);
}
