/**
 * The secrets that tickets are sealed with, one per service, which change as time goes by. Ceph
 * auth/cephx/CephxKeyServer.h (RotatingSecrets): a ticket says which secret it needs, and the one
 * before the present one still opens what was sealed with it, until the last of those tickets has
 * expired.
 *
 * @module
 */
import { U64 } from "../../mem/u64.ts";
import { type CryptoKey, generateKey } from "../../wire/cephx/crypto_key.ts";
import { plusOne } from "../../wire/cephx/authorizer.ts";
import type { Crypto } from "../msgr2/auth.ts";

/** A secret and the number that tickets name it by. */
export interface NumberedSecret {
  /** secret_id of its tickets. */
  readonly id: U64;
  /** The secret. */
  readonly key: CryptoKey;
  /** When it became the present one. */
  readonly sinceSeconds: number;
}

interface Rotation {
  present: NumberedSecret;
  previous: NumberedSecret | null;
}

/** Present and previous secret of each service; changed when looked at, so no timer is needed. */
export class ServiceSecrets {
  readonly #crypto: Crypto;
  readonly #keyType: number;
  readonly #rotations = new Map<number, Rotation>();

  /** `keyType` is the type of the secrets themselves; clients never see it. */
  constructor(crypto: Crypto, keyType: number) {
    this.#crypto = crypto;
    this.#keyType = keyType;
  }

  /** What new tickets for `service` are sealed with. A secret is present for `lifeSeconds`. */
  present(service: number, lifeSeconds: number, nowSeconds: number): NumberedSecret {
    return this.#rotated(service, lifeSeconds, nowSeconds).present;
  }

  /** The key numbered `id`; null when there is none any more. */
  find(service: number, id: U64, lifeSeconds: number, nowSeconds: number): CryptoKey | null {
    const { present, previous } = this.#rotated(service, lifeSeconds, nowSeconds);
    if (present.id.equals(id)) return present.key;
    return previous !== null && previous.id.equals(id) ? previous.key : null;
  }

  /**
   * A ticket lives as long as its secret is the present one, so the last one sealed with it
   * expires `lifeSeconds` after the change: that is how long the previous one is kept.
   */
  #rotated(service: number, lifeSeconds: number, nowSeconds: number): Rotation {
    const rotation = this.#rotations.get(service);
    if (rotation === undefined) {
      const made = { present: this.#made(new U64(), nowSeconds), previous: null };
      this.#rotations.set(service, made);
      return made;
    }
    const age = nowSeconds - rotation.present.sinceSeconds;
    if (age >= lifeSeconds) {
      rotation.previous = age < 2 * lifeSeconds ? rotation.present : null;
      rotation.present = this.#made(rotation.present.id, nowSeconds);
    } else if (age < 0) {
      // The wall clock was set back: the age starts anew, or this secret would stay for too long.
      rotation.present = { ...rotation.present, sinceSeconds: nowSeconds };
    }
    return rotation;
  }

  #made(before: U64, nowSeconds: number): NumberedSecret {
    const key = generateKey(this.#crypto, this.#keyType, nowSeconds);
    return { id: plusOne(before), key, sinceSeconds: nowSeconds };
  }
}
