/**
 * The way that tunnels of this box take: where they end here, and how long their packets may be.
 *
 * @module
 */
import { Family, formatInet, parseInet } from "../../wire/inet.ts";
import { parseAddress } from "../../wire/msgr2/entity_addr.ts";
import { RouteKernel, type Underlay } from "./node/route_kernel.ts";

/**
 * Asks the kernel.
 *
 * @param address of this box; null for that with which it would send to the group
 * @param group ADDRESS:PORT; null for none
 * @throws when there is no such address or way, with the remedy
 */
export function underlayOf(address: string | null, group: string | null): Underlay {
  const kernel = RouteKernel.open("");
  try {
    if (address !== null) return holderOf(kernel, address);
    if (group !== null) return kernel.underlay(parseAddress(group).host);
  } catch (error) {
    throw new Error(`${(error as Error).message}: give the address where tunnels end as "address"`);
  } finally {
    kernel.close();
  }
  throw new Error(
    'Cannot tell where tunnels end as there is no group: current "address" is null, give one',
  );
}

/** The interface that has an address. */
function holderOf(kernel: RouteKernel, address: string): Underlay {
  const bytes = new Uint8Array(16);
  const canonical = formatInet(parseInet(address, bytes), bytes); // IPv6 may be written in many ways
  const held = kernel.addresses(Family.None).find(({ family, local }) =>
    formatInet(family, local) === canonical
  );
  const link = kernel.links().find(({ index }) => index === held?.index);
  if (link !== undefined) return { device: link.name, mtu: link.mtu, source: canonical };
  throw new Error(`Cannot end tunnels at ${address} as no interface has it`);
}
