/**
 * An internet address with a port, as sockets give and take it: numbers only, names are resolved
 * elsewhere. Text as in wire/inet.ts, plus the zone of a link-local address after `%` (RFC 4007
 * section 11) as an interface index.
 *
 * @module
 */
import { Family, formatInet, parseInet } from "../wire/inet.ts";

/** A mutable address record; IPv4 uses the first four bytes. */
export class SocketAddress {
  /** Family of wire/inet.ts; 0 while unset. */
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
    const [text, zone, ...rest] = host.split("%");
    const family = parseInet(text!, this.address);
    const zoneFits = zone === undefined ||
      (family === Family.Inet6 && rest.length === 0 && /^[0-9]{1,9}$/.test(zone));
    if (family === Family.None || !zoneFits) {
      this.clear();
      return false;
    }
    this.family = family;
    this.port = port;
    this.scope = zone === undefined ? 0 : Number(zone);
    return true;
  }

  /** The numeric host without the port: `127.0.0.1`, `fe80::1%2`. */
  get host(): string {
    const zone = this.scope === 0 ? "" : `%${this.scope}`;
    return formatInet(this.family, this.address) + zone;
  }

  /** Host and port: `127.0.0.1:3300`, `[::1]:3300`; `-` while unset. */
  toString(): string {
    if (this.family === Family.None) return "-";
    return this.family === Family.Inet
      ? `${this.host}:${this.port}`
      : `[${this.host}]:${this.port}`;
  }
}
