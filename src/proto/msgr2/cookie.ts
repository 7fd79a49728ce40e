/**
 * Session cookies: msgr2 "Message flow handshake", "cookie is the client cookie used to identify a
 * session".
 *
 * @module
 */
import type { U64 } from "../../mem/u64.ts";
import type { Crypto } from "./auth.ts";

/** A random cookie; never 0, which means "none". */
export function newCookie(crypto: Crypto, into: U64): void {
  do {
    const bytes = crypto.randomBytes(8);
    const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
    into.set(view.getInt32(0, true), view.getInt32(4, true));
  } while (into.isZero());
}
