/**
 * Control messages in datagrams, signed with CMS (RFC 5652), as S/MIME signs: who is not in the PKI of the
 * overlay is not heard. What a datagram says counts for a minute around its signing time, and once.
 *
 * @module
 */
import { wallSeconds } from "../../io/clock.ts";
import { sha256, verifySignature } from "../../io/pki.ts";
import { describeFault } from "../../mem/fault.ts";
import { sameOctets } from "../../wire/asn1/octets.ts";
import { Oid } from "../../wire/asn1/oid.ts";
import { readSignedData, type SignedData } from "../../wire/cms/signed_data.ts";
import { writeSignedAttributes, writeSignedData } from "../../wire/cms/write_signed_data.ts";
import { type Identity, type Peer, peerOfCertificate } from "./identity.ts";
import { timeText } from "./trust.ts";

/** Who signed. */
export type Signer = Peer;

/** What a UDP datagram holds over IPv4. */
export const DATAGRAM_BYTES_MAX = 65_507;
/** How far the signing time may be from the present: what clocks are apart, and the way. */
export const FRESH_MS = 60_000;

/** A datagram that is as its signer made it. */
export interface Verified {
  readonly content: Uint8Array<ArrayBuffer>;
  readonly signer: Signer;
}

/** Why a datagram is not heard, as a sentence. */
export interface Refusal {
  readonly refusal: string;
}

/** Of a message, what makes it one that is heard once. */
export interface Heard {
  readonly epoch: string;
  readonly verb: string;
}

/** Signs as one identity, and verifies what others signed that its CAs know. */
export class SignedDatagrams {
  readonly #identity: Identity;
  readonly #freshMs: number;

  constructor(identity: Identity, freshMs: number = FRESH_MS) {
    this.#identity = identity;
    this.#freshMs = freshMs;
  }

  /**
   * The datagram to send.
   *
   * @throws when it is larger than a datagram can be
   */
  sign(content: Uint8Array, nowMs: number = wallSeconds() * 1000): Uint8Array<ArrayBuffer> {
    const { certificate: signer, others } = this.#identity;
    const signedAttributes = writeSignedAttributes(sha256(content), nowMs);
    const signature = this.#identity.sign(signedAttributes);
    const parts = { signedAttributes, signature, signer, others };
    const datagram = writeSignedData(content, parts);
    if (datagram.length <= DATAGRAM_BYTES_MAX) return datagram;
    throw new Error(
      `Cannot sign a message as a datagram has ${DATAGRAM_BYTES_MAX} bytes at most: current ` +
        `value is ${datagram.length}; ask for fewer nodes at once`,
    );
  }

  /** What it says and who signed it, or why it is not heard. `nowMs` is of the wall clock. */
  verify(datagram: Uint8Array, nowMs: number): Verified | Refusal {
    if (datagram.length > DATAGRAM_BYTES_MAX) {
      const what = `its bytes must be up to ${DATAGRAM_BYTES_MAX}`;
      return { refusal: refused(what, `${datagram.length}`) };
    }
    const read = readSignedData(new Uint8Array(datagram)); // the caller's memory is used again
    if (typeof read === "number") return { refusal: describeFault() };
    const signer = peerOfCertificate(read.signer);
    if (typeof signer === "string") return { refusal: signer };
    const refusal = this.#freshness(read, nowMs) ?? digestRefusal(read) ??
      this.#identity.trust.check(read.signer, read.others, Oid.EmailProtection, nowMs) ??
      signatureRefusal(read);
    return refusal === null ? { content: read.content, signer } : { refusal };
  }

  #freshness({ signingTimeMs }: SignedData, nowMs: number): string | null {
    if (Math.abs(nowMs - signingTimeMs) <= this.#freshMs) return null;
    const seconds = this.#freshMs / 1000;
    const present = `within ${seconds} s of ${timeText(nowMs)}; compare the clocks of both boxes`;
    return refused(`its signingTime must be ${present}`, timeText(signingTimeMs));
  }
}

/** RFC 5652 section 5.4: the digest is of the content. */
function digestRefusal({ content, messageDigest }: SignedData): string | null {
  if (sameOctets(sha256(content), messageDigest)) return null;
  const found = `${messageDigest.subarray(0, 8).toHex()}...`;
  return refused("its messageDigest must be the SHA-256 of its content", found);
}

/** RFC 5652 section 5.6: the signature is of the attributes, the digest among them. */
function signatureRefusal({ signature, signedAttributes, signer }: SignedData): string | null {
  if (verifySignature(signer.spki, "sha256", signedAttributes, signature)) return null;
  const found = `${signature.subarray(0, 8).toHex()}...`;
  return refused("its signature must be that of the signer's key over signedAttrs", found);
}

function refused(what: string, value: string): string {
  return `Cannot accept a signed datagram as ${what}: current value is ${value}`;
}

/** Bounds of a {@linkcode ReplayGuard}. */
export interface ReplayLimits {
  readonly freshMs: number;
  readonly signersMax: number;
  readonly sequencesMax: number;
}

/** 34 messages a second of each signer; 512 nodes of an overlay, and others around. */
const REPLAY_LIMITS: ReplayLimits = { freshMs: FRESH_MS, signersMax: 4096, sequencesMax: 4096 };

/**
 * Remembers which messages were heard, as long as their signing times let them be heard again. Datagrams
 * overtake each other, so that it is a set and not the greatest number. When it is full it refuses:
 * forgetting early would be a replay. After a restart it knows nothing: what was signed in the last
 * minute can be heard once more, which the state machines answer as a repetition.
 */
export class ReplayGuard {
  readonly counts: { replayed: number; full: number } = { replayed: 0, full: 0 };
  readonly #limits: ReplayLimits;
  /** Per signer: message, and until when it is remembered; in the order of their arrival. */
  readonly #signers = new Map<string, Map<string, number>>();

  constructor(limits: ReplayLimits = REPLAY_LIMITS) {
    this.#limits = limits;
  }

  /**
   * Null for a message that was not heard yet, which is remembered now; else why it is refused. The verb
   * keeps apart what one node asks with its own sequence, and what it answers with that of the asker.
   * `nowMs` is of the clock that `verify()` was told.
   */
  check(
    signer: string,
    { epoch, verb }: Heard,
    sequence: number,
    nowMs: number,
  ): string | null {
    const { freshMs, sequencesMax, signersMax } = this.#limits;
    const heard = this.#signers.get(signer) ?? new Map<string, number>();
    forget(heard, nowMs);
    const key = `${epoch} ${sequence} ${verb}`;
    if (heard.has(key)) {
      this.counts.replayed++;
      return `Cannot accept a message of ${signer} as it was heard before: current value is ` +
        `sequence ${sequence} of epoch ${epoch}`;
    }
    if (heard.size === 0 && !this.#hasRoom(signer, nowMs)) {
      return this.#full(`of ${signer}`, `${signersMax} signers`);
    }
    if (heard.size >= sequencesMax) return this.#full(`of ${signer}`, `${sequencesMax} messages`);
    // Heard as early as its signing time allows, it can come again until that time is as old.
    heard.set(key, nowMs + 2 * freshMs);
    this.#signers.set(signer, heard);
    return null;
  }

  #hasRoom(signer: string, nowMs: number): boolean {
    if (this.#signers.has(signer) || this.#signers.size < this.#limits.signersMax) return true;
    for (const [name, heard] of this.#signers) {
      forget(heard, nowMs);
      if (heard.size === 0) this.#signers.delete(name);
    }
    return this.#signers.size < this.#limits.signersMax;
  }

  #full(what: string, value: string): string {
    this.counts.full++;
    return `Cannot accept a message ${what} as no more can be remembered: current value is ${value}`;
  }
}

function forget(heard: Map<string, number>, nowMs: number): void {
  for (const [key, untilMs] of heard) {
    if (untilMs >= nowMs) return;
    heard.delete(key);
  }
}
