/**
 * The password file of an MQTT input, as mosquitto(8) reads it: a line for each user,
 * `user:password`, or `user:` with what mosquitto_passwd(1) makes of the password. Empty lines and
 * those that begin with `#` say nothing.
 *
 *     $6$SALT$HASH              SHA-512 of the password and the salt
 *     $7$ITERATIONS$SALT$HASH   PBKDF2 with HMAC-SHA-512 (RFC 8018 section 5.2), 64 bytes
 *
 * Salt and hash are in base64 (RFC 4648 section 4).
 *
 * @module
 */
import { createHash, pbkdf2Sync } from "node:crypto";
import { sameSecret } from "./secret_file.ts";

const HASH_BYTES = 64;
/** mosquitto_passwd uses 101; a thousand times that takes 0.1 s of everybody's time. */
const ITERATIONS_MAX = 100_000;

const HASHED = /^\$(?:6|7\$(\d{1,6}))\$([A-Za-z0-9+/]+=*)\$([A-Za-z0-9+/]+=*)$/;

/** A user's secret: a password, or what was made of it. */
interface Secret {
  readonly expected: Uint8Array;
  readonly make: (password: Uint8Array) => Uint8Array;
}

/** Users by name. */
export type Passwords = ReadonlyMap<string, Secret>;

/** Nobody's: checked against for unknown users, so that names cannot be told by the time. */
const NOBODY: Secret = { expected: new Uint8Array(HASH_BYTES), make: (password) => password };

/**
 * Reads a whole file.
 *
 * @throws with the number of the line that is wrong; it never quotes a password
 */
export function parsePasswords(text: string, path: string): Passwords {
  const users = new Map<string, Secret>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line === "" || line.startsWith("#")) continue;
    const colon = line.indexOf(":");
    const place = `line ${index + 1} of ${path}`;
    if (colon < 1) throw new Error(`Cannot use ${place} as it must be USER:PASSWORD`);
    const user = line.slice(0, colon);
    if (users.has(user)) throw new Error(`Cannot use ${place} as user "${user}" has one already`);
    users.set(user, parseSecret(line.slice(colon + 1), place));
  }
  if (users.size > 0) return users;
  throw new Error(`Cannot use ${path} as it must have one line USER:PASSWORD or more: it has none`);
}

/** Whether the password is that user's. */
export function isPassword(
  users: Passwords,
  user: string | null,
  password: Uint8Array | null,
): boolean {
  const secret = users.get(user ?? "") ?? NOBODY;
  const same = sameSecret(secret.make(password ?? new Uint8Array()), secret.expected);
  return same && secret !== NOBODY && password !== null;
}

function parseSecret(text: string, place: string): Secret {
  if (!/^\$[67]\$/.test(text)) {
    if (text === "") throw new Error(`Cannot use ${place} as its password is empty`);
    return { expected: new TextEncoder().encode(text), make: (password) => password };
  }
  const [, iterationsText, saltText = "", hashText = ""] = HASHED.exec(text) ?? [];
  const salt = fromBase64(saltText);
  const expected = fromBase64(hashText);
  const iterations = Number(iterationsText ?? 1);
  const fits = iterations >= 1 && iterations <= ITERATIONS_MAX && expected.length === HASH_BYTES;
  if (!fits) {
    throw new Error(
      `Cannot use ${place} as what follows the user must be made by mosquitto_passwd, with ` +
        `${ITERATIONS_MAX} iterations or less`,
    );
  }
  if (iterationsText === undefined) {
    return { expected, make: (password) => sha512(password, salt) };
  }
  const make = (password: Uint8Array): Uint8Array =>
    pbkdf2Sync(password, salt, iterations, HASH_BYTES, "sha512");
  return { expected, make };
}

/** Empty when it is none. */
function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return new Uint8Array();
  }
}

function sha512(password: Uint8Array, salt: Uint8Array): Uint8Array {
  return createHash("sha512").update(password).update(salt).digest();
}
