/**
 * Addresses the way a person types them.
 *
 * @module
 */

/** An address, or a text with addresses, without what means nothing to a person: a nonce of 0. */
export function addressText(address: { toString(): string }): string {
  return `${address}`.replace(/(:\d+)\/0(?!\d)/g, "$1");
}

/** `127.0.0.1:80`, `[::1]:80`. */
export function hostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
