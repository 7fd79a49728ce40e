/**
 * The step `address`: an address of an overlay on a link's device, or a node's own one on `lo`. It brings no
 * route into the main table, and is marked by its protocol.
 *
 * @module
 */
import { Errno } from "../../../io/errno.ts";
import { Family, parseInet } from "../../../wire/inet.ts";
import { AddressScope, InterfaceAddress } from "../../../wire/netlink/address.ts";
import { KernelRefusal, prefixText, type RouteKernel } from "./route_kernel.ts";
import { OVERLAY_PROTOCOL, type StepKind, type StepRecord } from "./step.ts";

/** Where a node's own address is. */
export const LOOPBACK = "lo";

/** An address of a device. */
export interface AddressRecord extends StepRecord {
  readonly kind: "address";
  readonly device: string;
  readonly address: string;
  readonly length: number;
}

/** What stands in the journal. */
export function addressRecord(device: string, address: string, length: number): AddressRecord {
  return {
    kind: "address",
    about: `address ${address}/${length} (${device})`,
    ...{ device, address, length },
  };
}

/** The step. */
export function addressStep(kernel: RouteKernel): StepKind<AddressRecord> {
  return {
    kind: "address",
    apply: (record) => {
      const link = kernel.link(record.device);
      if (link === null) throw new Error(`Cannot give ${record.about} as the device is gone`);
      try {
        kernel.addAddress(wanted(record, link.index));
      } catch (error) {
        if (!(error instanceof KernelRefusal) || error.errno !== Errno.Eexist) throw error;
        if (!isOurs(kernel, find(kernel, record, link.index))) throw error;
      }
    },
    undo: (record) => {
      const link = kernel.link(record.device);
      const found = link === null ? null : find(kernel, record, link.index);
      if (found !== null && isOurs(kernel, found)) kernel.deleteAddress(found);
    },
    drift: (record) => {
      const link = kernel.link(record.device);
      const found = link === null ? null : find(kernel, record, link.index);
      if (found === null) return [`${record.about}: the address is missing`];
      if (isOurs(kernel, found)) return [];
      return [`${record.about}: somebody else gave the address (protocol ${found.protocol})`];
    },
  };
}

function wanted({ about, address, length }: AddressRecord, index: number): InterfaceAddress {
  const made = new InterfaceAddress();
  made.family = parseInet(address, made.local);
  if (made.family !== Family.Inet) {
    throw new Error(`Cannot give ${about} as it must be one of IPv4: current value is ${address}`);
  }
  made.index = index;
  made.prefixLength = length;
  made.scope = AddressScope.Universe;
  made.protocol = OVERLAY_PROTOCOL;
  return made;
}

/** Before Linux 5.18 no address has a protocol; since then the kernel's own 127.0.0.1 has one. */
function isOurs(kernel: RouteKernel, found: InterfaceAddress | null): boolean {
  if (found === null || found.protocol !== 0) return found?.protocol === OVERLAY_PROTOCOL;
  return !kernel.addresses().some(({ protocol }) => protocol !== 0);
}

function find(
  kernel: RouteKernel,
  record: AddressRecord,
  index: number,
): InterfaceAddress | null {
  const textOf = (one: InterfaceAddress): string =>
    `${prefixText(one.family, one.local, one.prefixLength)} ${one.index}`;
  const text = `${record.address}/${record.length} ${index}`;
  return kernel.find(kernel.addresses(), textOf, text) ?? null;
}
