/**
 * Key pairs, signatures and digests by node:crypto, which is synchronous. It knows of DER and PEM only
 * that keys come in them; what is signed is bytes.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from "node:crypto";

/** The name that node:crypto has for P-256. */
const P256 = "prime256v1";

/** A private key on P-256. It shows itself in no print: what is secret is private to it. */
export class SigningKey {
  readonly #key: KeyObject;

  private constructor(key: KeyObject) {
    this.#key = key;
  }

  /** A fresh one. */
  static generate(): SigningKey {
    return new SigningKey(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
  }

  /**
   * One that was written before.
   *
   * @throws when it is no private key on P-256, or is encrypted; nothing of it is in the message
   */
  static read(pem: string): SigningKey {
    if (/ENCRYPTED/.test(pem)) throw new Error("it is encrypted");
    let key: KeyObject;
    try {
      key = createPrivateKey({ key: pem, format: "pem" });
    } catch {
      throw new Error("it holds no private key in PEM"); // its reason may quote what it was given
    }
    const kind = key.asymmetricKeyType ?? "unknown";
    const curve = key.asymmetricKeyDetails?.namedCurve ?? "no curve";
    if (kind !== "ec" || curve !== P256) throw new Error(`its kind is ${kind} with ${curve}`);
    return new SigningKey(key);
  }

  /** SubjectPublicKeyInfo in DER. */
  get spki(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(createPublicKey(this.#key).export({ type: "spki", format: "der" }));
  }

  /** ECDSA with SHA-256: an ECDSA-Sig-Value in DER. */
  sign(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    return new Uint8Array(sign("sha256", bytes, { key: this.#key, dsaEncoding: "der" }));
  }

  /** PKCS #8 in PEM, for a file. */
  writePem(): string {
    return this.#key.export({ type: "pkcs8", format: "pem" }).toString();
  }
}

/** Whether a signature (ECDSA in DER, or RSA with PKCS #1 padding) is that of a key in DER. */
export function verifySignature(
  spki: Uint8Array,
  hash: "sha256" | "sha384",
  bytes: Uint8Array,
  signature: Uint8Array,
): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), type: "spki", format: "der" });
    return verify(hash, bytes, { key, dsaEncoding: "der" }, signature);
  } catch {
    return false; // node:crypto throws for a point that is not on the curve: the peer's mistake
  }
}

/** SHA-256, 32 bytes. */
export function sha256(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

/** SHA-256 of a text in UTF-8, in hexadecimal digits. */
export function sha256Hex(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Random bytes in hexadecimal digits. */
export function randomHex(count: number): string {
  return randomBytes(count).toString("hex");
}

/** Octets of a positive INTEGER that nobody guesses: RFC 5280 section 4.1.2.2. */
export function randomSerial(octets: number): Uint8Array<ArrayBuffer> {
  const serial = new Uint8Array(randomBytes(octets));
  serial[0] = serial[0]! & 0x3f | 0x40; // positive, and no zeros in front
  return serial;
}
