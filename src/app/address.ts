/**
 * Between the addresses of sockets, of Ceph (entity_addr_t) and of people: names are resolved
 * here and nowhere below.
 *
 * @module
 */
import { SocketAddress } from "../io/socket_address.ts";
import { AddrType, EntityAddr, parseAddress } from "../wire/msgr2/entity_addr.ts";

/** The numeric host of an address, as sockets take it. */
export function hostText(address: EntityAddr): string {
  const socket = new SocketAddress();
  socket.family = address.family;
  socket.address.set(address.address);
  socket.scope = address.scope;
  return socket.host;
}

/** Takes a socket's address as a v2 entity address without nonce. */
export function fromSocketAddress(from: SocketAddress, into: EntityAddr): void {
  into.type = AddrType.Msgr2;
  into.nonce = 0;
  into.family = from.family;
  into.port = from.port;
  into.flowinfo = 0;
  into.scope = from.scope;
  into.address.set(from.address);
}

/**
 * Resolves `v2:HOST:PORT/NONCE` (and everything {@linkcode parseAddress} reads) to an address;
 * a name is looked up, IPv6 first when the box has it.
 *
 * @throws when the text is no address or the name is unknown
 */
export async function resolve(text: string): Promise<EntityAddr> {
  const [first] = await resolveAll(text);
  return first!;
}

/**
 * All addresses of a name, for those who can try one after another: `localhost` often is `::1` and
 * `127.0.0.1`, and a peer listens on one of them.
 *
 * @throws when the text is no address or the name is unknown
 */
export async function resolveAll(text: string): Promise<EntityAddr[]> {
  const { type, host, port, nonce } = parseAddress(text);
  const socket = new SocketAddress();
  const addresses = socket.set(host, port) ? [host] : await lookUp(host);
  const resolved: EntityAddr[] = [];
  for (const address of new Set(addresses)) {
    if (!socket.set(address, port)) continue;
    const into = new EntityAddr();
    fromSocketAddress(socket, into);
    into.type = type;
    into.nonce = nonce;
    resolved.push(into);
  }
  if (resolved.length > 0) return resolved;
  throw new Error(
    `Cannot resolve host name as it is unknown: current value is "${host}", give an address`,
  );
}

/** True for 127.0.0.0/8 and ::1. */
export function isLoopback(address: EntityAddr): boolean {
  if (address.family === 2) return address.address[0] === 127;
  return address.address.every((byte, index) => byte === (index === 15 ? 1 : 0));
}

async function lookUp(host: string): Promise<string[]> {
  const { lookup } = await import("node:dns/promises");
  try {
    const found = await lookup(host, { all: true });
    return found.map(({ address }) => address);
  } catch {
    return [];
  }
}
