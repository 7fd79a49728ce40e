/**
 * What we call ourselves: the addresses in CLIENT_IDENT, SERVER_IDENT and SESSION_RECONNECT, and
 * whether a CLIENT_IDENT's target means us. msgr2 "Message flow handshake": "the target addr is
 * who the client is trying to connect *to*".
 *
 * @module
 */
import { AddrType, EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { EntityAddrVec } from "../../wire/msgr2/entity_addrvec.ts";

/** The addresses of one entity. */
export class OwnAddresses {
  /** Where we listen; empty while we do not. */
  readonly listening: EntityAddrVec = new EntityAddrVec();
  readonly #nonce: number;
  readonly #seenAs = new EntityAddr();

  /** @param nonce tells this process from its predecessor, while we do not listen */
  constructor(nonce: number) {
    this.#nonce = nonce;
  }

  /** HELLO told how a peer sees us: that is our address while we do not listen. It stays. */
  learn(seen: EntityAddr): void {
    if (this.#seenAs.family === 0) this.#seenAs.copy(seen);
  }

  /** As CLIENT_IDENT and SESSION_RECONNECT carry them; `seenAs` is what this peer told. */
  fillClient(seenAs: EntityAddr, into: EntityAddrVec): void {
    if (this.listening.count > 0) {
      this.fillListening(seenAs, into);
      return;
    }
    into.count = 1;
    const own = into.addrs[0]!;
    own.copy(this.#seenAs.family === 0 ? seenAs : this.#seenAs);
    own.type = AddrType.Any;
    own.port = 0;
    own.nonce = this.#nonce;
  }

  /** As SERVER_IDENT carries them: the dialled one is always among them. */
  fillServer(local: EntityAddr, dialled: EntityAddr, into: EntityAddrVec): void {
    this.fillListening(local, into);
    if (into.contains(dialled)) return;
    into.addrs[0]!.copy(dialled);
    if (into.count === 0) into.count = 1;
  }

  /** Where we listen, with `here` in place of "every address of the box". */
  fillListening(here: EntityAddr, into: EntityAddrVec): void {
    into.copy(this.listening);
    for (let index = 0; index < into.count; index++) {
      const own = into.addrs[index]!;
      if (!own.isWildcard()) continue;
      const { type, port, nonce } = own;
      own.copy(here);
      own.type = type;
      own.port = port;
      own.nonce = nonce;
    }
  }

  /**
   * True when `target` names us: type, nonce and port equal one of our addresses, and the host
   * too, unless we listen on every address of the box.
   */
  has(target: EntityAddr, local: EntityAddr): boolean {
    const { addrs, count } = this.listening;
    for (let index = 0; index < count; index++) {
      const own = addrs[index]!;
      const same = own.type === target.type && own.nonce === target.nonce &&
        own.port === target.port;
      if (same && (own.isWildcard() || own.sameHost(target))) return true;
    }
    return count === 0 && local.port === target.port;
  }
}
