/**
 * Datagrams of IP put together from fragments that were captured: RFC 791 section 3.2, RFC 8200 section
 * 4.5, and RFC 5722 for those that overlap. Read the first page of RFC 1858 before touching it: what
 * overlaps, is tiny or never ends is an old way to show a filter another packet than its host.
 *
 *     first fragment --> waiting --> whole (handed out, forgotten at the next fragment)
 *                           |
 *                           +-----> spoilt (all further ones are dropped) --> forgotten after 30 s
 *
 * @module
 */
import { arena, give, take } from "../../mem/arena.ts";
import type { IpPacket } from "../../wire/capture/ip.ts";

/** Datagrams that wait for fragments at once. */
const DATAGRAMS_MAX = 64;
/** The payload of the largest datagram that fragments can carry. */
const DATAGRAM_BYTES_MAX = 65535;
const BLOCK_BYTES = 65536;
/** RFC 791 asks for 15 seconds or more, RFC 8200 for 60: hosts of today wait 30. */
const WAIT_NS = 30e9;
const UNIT = 8;
const UNITS = BLOCK_BYTES / UNIT;
const ADDRESS_WORDS = 8;

/** A datagram that waits; its block of the arena is kept for the next one. */
class Datagram {
  used = false;
  spoilt = false;
  /** Number of the fragment that made it: the least is the oldest. */
  order = 0;
  firstNs = 0;
  version = 0;
  protocol = 0;
  identification = 0;
  /** Length of the whole; -1 until the last fragment told it. */
  totalBytes = -1;
  /** Units of eight bytes that are there, and a bit for each. */
  units = 0;
  fragments = 0;
  block = -1;
  readonly seen: Uint32Array = new Uint32Array(UNITS / 32);
  readonly addresses: Int32Array = new Int32Array(ADDRESS_WORDS);
}

/** The datagrams of a capture that are not whole. */
export class Fragments {
  /** Fragments that came to nothing: overlapping, cut, too long, too late, or too many at once. */
  dropped = 0;
  /** Of the last whole datagram, valid until the next {@linkcode handleFragment}. */
  at = 0;
  end = 0;
  protocol = 0;
  readonly #datagrams: readonly Datagram[] = Array.from(
    { length: DATAGRAMS_MAX },
    () => new Datagram(),
  );
  #order = 0;

  /** Takes a fragment; true when its datagram is whole with it. */
  handleFragment(fragment: IpPacket, addresses: Int32Array, timeNs: number): boolean {
    this.handleDeadline(timeNs);
    const { at, end, fragmentOffset, moreFragments, payloadBytes } = fragment;
    const last = fragmentOffset + payloadBytes;
    // Cut by the snap length, beyond the largest datagram, or no whole units before its end.
    const isCut = end - at < payloadBytes;
    const isUneven = moreFragments && payloadBytes % UNIT !== 0;
    if (isCut || isUneven || payloadBytes <= 0 || last > DATAGRAM_BYTES_MAX) {
      this.dropped++;
      return false;
    }
    const datagram = this.#find(fragment, addresses) ?? this.#start(fragment, addresses, timeNs);
    if (datagram === null) {
      this.dropped++;
      return false;
    }
    datagram.fragments++;
    if (datagram.spoilt) {
      this.dropped++;
      return false;
    }
    if (!fits(datagram, last, moreFragments) || !place(datagram, fragment)) {
      this.#spoil(datagram);
      return false;
    }
    if (fragmentOffset === 0) datagram.protocol = fragment.protocol;
    if (!moreFragments) datagram.totalBytes = last;
    const { totalBytes, block } = datagram;
    if (totalBytes < 0 || datagram.units * UNIT < totalBytes) return false;
    this.at = block;
    this.end = block + totalBytes;
    this.protocol = datagram.protocol;
    datagram.used = false;
    return true;
  }

  /** Forgets what waits for more than 30 seconds; the time of a capture may jump either way. */
  handleDeadline(nowNs: number): void {
    for (const datagram of this.#datagrams) {
      if (datagram.used && Math.abs(nowNs - datagram.firstNs) > WAIT_NS) this.#forget(datagram);
    }
  }

  /** Gives back what it took of the arena. */
  close(): void {
    for (const datagram of this.#datagrams) {
      if (datagram.used) this.#forget(datagram);
      if (datagram.block >= 0) give(datagram.block);
      datagram.block = -1;
    }
  }

  #find(fragment: IpPacket, addresses: Int32Array): Datagram | null {
    for (const datagram of this.#datagrams) {
      if (!datagram.used || datagram.identification !== fragment.identification) continue;
      if (datagram.version !== fragment.version) continue;
      // RFC 791: the protocol is a part of the name; RFC 8200: it is not.
      if (fragment.version === 4 && datagram.protocol !== fragment.protocol) continue;
      if (areEqual(datagram.addresses, addresses)) return datagram;
    }
    return null;
  }

  /** A record for another datagram, the oldest one's when there is none; null: the arena is full. */
  #start(fragment: IpPacket, addresses: Int32Array, timeNs: number): Datagram | null {
    let found = this.#datagrams[0]!;
    for (const datagram of this.#datagrams) {
      if (!datagram.used) {
        found = datagram;
        break;
      }
      if (datagram.order < found.order) found = datagram;
    }
    if (found.used) this.#forget(found);
    if (found.block < 0) found.block = take(BLOCK_BYTES);
    if (found.block < 0) return null;
    found.used = true;
    found.spoilt = false;
    found.order = this.#order++;
    found.firstNs = timeNs;
    found.version = fragment.version;
    found.protocol = fragment.protocol;
    found.identification = fragment.identification;
    found.totalBytes = -1;
    found.units = 0;
    found.fragments = 0;
    found.seen.fill(0);
    found.addresses.set(addresses);
    return found;
  }

  /** RFC 5722 section 3: all of it is dropped, also what has not come. */
  #spoil(datagram: Datagram): void {
    this.dropped += datagram.fragments;
    datagram.spoilt = true;
  }

  #forget(datagram: Datagram): void {
    if (!datagram.spoilt) this.dropped += datagram.fragments;
    datagram.used = false;
  }
}

/** Whether a fragment that ends at `last` agrees with what is known of the length. */
function fits(datagram: Datagram, last: number, moreFragments: boolean): boolean {
  const { totalBytes, units } = datagram;
  if (totalBytes >= 0) return moreFragments ? last < totalBytes : last === totalBytes;
  // The end may not lie before what is there already.
  return moreFragments || units === 0 || highest(datagram) * UNIT <= last;
}

/** The unit behind the last one that is there. */
function highest({ seen }: Datagram): number {
  for (let index = seen.length - 1; index >= 0; index--) {
    const bits = seen[index]!;
    if (bits !== 0) return index * 32 + 32 - Math.clz32(bits);
  }
  return 0;
}

/**
 * Copies what is new of a fragment. Of IPv4 what was first there stays (RFC 791 leaves it open); of
 * IPv6 a fragment that overlaps and is no copy spoils the datagram: false.
 */
function place(datagram: Datagram, fragment: IpPacket): boolean {
  const { seen, block } = datagram;
  const { at, end, fragmentOffset } = fragment;
  const { bytes } = arena;
  const first = fragmentOffset / UNIT;
  const count = Math.ceil((end - at) / UNIT);
  let known = 0;
  for (let unit = first; unit < first + count; unit++) known += isSeen(seen, unit);
  if (known > 0 && fragment.version === 6) {
    return known === count && isCopy(block + fragmentOffset, at, end);
  }
  if (known === count) return true;
  if (known === 0) bytes.copyWithin(block + fragmentOffset, at, end);
  for (let unit = first; unit < first + count; unit++) {
    if (isSeen(seen, unit) === 1) continue;
    seen[unit >>> 5] = seen[unit >>> 5]! | (1 << (unit & 31));
    datagram.units++;
    if (known === 0) continue;
    const from = at + (unit - first) * UNIT;
    bytes.copyWithin(block + unit * UNIT, from, Math.min(from + UNIT, end));
  }
  return true;
}

function isSeen(seen: Uint32Array, unit: number): number {
  return (seen[unit >>> 5]! >>> (unit & 31)) & 1;
}

function isCopy(kept: number, at: number, end: number): boolean {
  const { bytes } = arena;
  for (let from = at; from < end; from++, kept++) if (bytes[kept] !== bytes[from]) return false;
  return true;
}

function areEqual(one: Int32Array, other: Int32Array): boolean {
  for (let i = 0; i < ADDRESS_WORDS; i++) if (one[i] !== other[i]) return false;
  return true;
}
