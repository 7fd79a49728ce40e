/**
 * An internet address with a port, as sockets give and take it: numbers only, names are resolved
 * elsewhere. Text forms: dotted quad; RFC 4291 section 2.2 (read), RFC 5952 (written); the zone
 * of a link-local address after `%` (RFC 4007 section 11) as an index.
 *
 * @module
 */

/** Address families of Linux: AF_INET and AF_INET6. */
export const Family = { Inet: 2, Inet6: 10 } as const;

/** A mutable address record; IPv4 uses the first four bytes. */
export class SocketAddress {
  /** One of {@linkcode Family}; 0 while unset. */
  family = 0;
  /** The port in host order. */
  port = 0;
  /** Network order. */
  readonly address: Uint8Array<ArrayBuffer> = new Uint8Array(16);
  /** Interface index of a link-local IPv6 address, else 0. */
  scope = 0;

  /** Forgets the address. */
  clear(): void {
    this.family = 0;
    this.port = 0;
    this.scope = 0;
    this.address.fill(0);
  }

  /**
   * Takes a numeric host and a port; false, and cleared, when `host` is not a numeric address or
   * `port` is not 0 to 65535.
   */
  set(host: string, port: number): boolean {
    this.clear();
    if (!Number.isInteger(port) || port < 0 || port > 65535) return false;
    const colon = host.includes(":");
    if (!(colon ? this.#setInet6(host) : readQuad(host, this.address, 0))) {
      this.clear();
      return false;
    }
    this.family = colon ? Family.Inet6 : Family.Inet;
    this.port = port;
    return true;
  }

  /** The numeric host without the port: `127.0.0.1`, `fe80::1%2`. */
  get host(): string {
    if (this.family === Family.Inet) return this.address.subarray(0, 4).join(".");
    if (this.family !== Family.Inet6) return "-";
    return inet6Text(this.address) + (this.scope === 0 ? "" : `%${this.scope}`);
  }

  /** Host and port: `127.0.0.1:3300`, `[::1]:3300`; `-` while unset. */
  toString(): string {
    if (this.family === 0) return "-";
    return this.family === Family.Inet
      ? `${this.host}:${this.port}`
      : `[${this.host}]:${this.port}`;
  }

  #setInet6(host: string): boolean {
    const [text, zone, ...rest] = host.split("%");
    if (rest.length > 0 || !readInet6(text!, this.address)) return false;
    if (zone === undefined) return true;
    if (!/^[0-9]{1,9}$/.test(zone)) return false;
    this.scope = Number(zone);
    return true;
  }
}

function readQuad(text: string, into: Uint8Array, at: number): boolean {
  const parts = text.split(".");
  if (parts.length !== 4) return false;
  for (const part of parts) {
    // No leading zeros: some readers take them as octal.
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return false;
    into[at++] = Number(part);
  }
  return true;
}

function readInet6(text: string, into: Uint8Array): boolean {
  const halves = text.split("::");
  if (halves.length > 2) return false;
  const head = readGroups(halves[0]!, halves.length === 1);
  if (halves.length === 1) {
    if (head === null || head.length !== 16) return false;
    into.set(head);
    return true;
  }
  const tail = readGroups(halves[1]!, true);
  if (head === null || tail === null || head.length + tail.length > 14) return false;
  into.set(head);
  into.set(tail, 16 - tail.length);
  return true;
}

/** The bytes of groups between colons; the last may be a dotted quad when `last`. */
function readGroups(text: string, last: boolean): number[] | null {
  const bytes: number[] = [];
  if (text === "") return bytes;
  const groups = text.split(":");
  for (const [index, group] of groups.entries()) {
    if (last && index === groups.length - 1 && group.includes(".")) {
      const quad = new Uint8Array(4);
      if (!readQuad(group, quad, 0)) return null;
      bytes.push(...quad);
      continue;
    }
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return null;
    const value = parseInt(group, 16);
    bytes.push(value >> 8, value & 0xff);
  }
  return bytes;
}

function inet6Text(address: Uint8Array): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((address[i]! << 8) | address[i + 1]!);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${address.subarray(12).join(".")}`; // RFC 5952 section 5
  }
  // RFC 5952 section 4.2: the longest run of two or more zero groups, the first of equals.
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) [start, length] = [i, end - i];
    i = Math.max(i, end - 1);
  }
  const text = groups.map((group) => group.toString(16));
  if (start < 0) return text.join(":");
  return `${text.slice(0, start).join(":")}::${text.slice(start + length).join(":")}`;
}
