/**
 * A socket of the generic netlink family `mptcp_pm` in one network namespace, and addresses in the form
 * that its requests want.
 *
 * @module
 */
import { Errno, errnoText } from "../../io/errno.ts";
import { inNamespace } from "../../io/namespace.ts";
import { NetlinkProtocol } from "../../io/netlink_socket.ts";
import type { Endpoint } from "../../proto/mptcp/path_events.ts";
import { parseInet } from "../../wire/inet.ts";
import { GenericFamily, readFamily, writeGetFamily } from "../../wire/netlink/generic.ts";
import { PM_FAMILY, type PmAddress } from "../../wire/netlink/mptcp_pm.ts";
import { NetlinkChannel } from "../netlink_channel.ts";

/** A channel, and the numbers of the family. */
export interface MptcpFamily {
  readonly channel: NetlinkChannel;
  readonly family: GenericFamily;
}

/**
 * Opens a channel and looks the family up.
 *
 * @throws when the kernel has none
 */
export function openMptcpFamily(namespace: string): MptcpFamily {
  return inNamespace(namespace, () => {
    const channel = NetlinkChannel.open(NetlinkProtocol.Generic, PM_FAMILY);
    const family = new GenericFamily();
    const size = writeGetFamily(channel.out, 0, channel.next(), PM_FAMILY);
    const errno = channel.request(size, (from, { at, end }) => {
      readFamily(from, at, end, family);
    });
    if (errno === 0 && family.id > 0) return { channel, family };
    channel.close();
    if (errno === Errno.Enoent) {
      throw new Error(
        `Cannot manage paths as the kernel has no "${PM_FAMILY}": it needs Linux 5.19 or newer ` +
          "with CONFIG_MPTCP",
      );
    }
    throw new Error(`Cannot look up the netlink family ${PM_FAMILY}: ${errnoText(errno)}`);
  });
}

/** Puts an address into a request's record; false when it is none. */
export function putEndpoint(into: PmAddress, { address, port }: Endpoint): boolean {
  into.clear();
  into.family = parseInet(address, into.address);
  into.port = port;
  return into.family !== 0;
}
