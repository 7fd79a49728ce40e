/**
 * Endpoints and limits of the kernel's own path manager, as ip-mptcp(8) shows and sets them.
 *
 * @module
 */
import { errnoText } from "../../io/errno.ts";
import type { EndpointChange, KernelEndpoint } from "../../proto/mptcp/endpoint_keeper.ts";
import { formatInet } from "../../wire/inet.ts";
import {
  PmAddress,
  PmLimits,
  readEndpoint,
  readLimits,
  writeAddEndpoint,
  writeDeleteEndpoint,
  writeDumpEndpoints,
  writeFlushEndpoints,
  writeGetLimits,
  writeSetEndpointFlags,
  writeSetLimits,
} from "../../wire/netlink/mptcp_pm.ts";
import { type MptcpFamily, openMptcpFamily, putEndpoint } from "./mptcp_family.ts";

/** What a connection may have at most, beside its first subflow. */
export interface Limits {
  readonly subflows: number;
  /** Addresses of the peer that are joined when it announces them. */
  readonly addAddrs: number;
}

/** One namespace's. */
export class KernelEndpoints {
  readonly #family: MptcpFamily;
  readonly #address = new PmAddress();
  readonly #limits = new PmLimits();

  /** Opens a socket in `namespace`. */
  static open(namespace: string): KernelEndpoints {
    return new KernelEndpoints(openMptcpFamily(namespace));
  }

  private constructor(family: MptcpFamily) {
    this.#family = family;
  }

  /** What the kernel said about the last change, empty when nothing. */
  get text(): string {
    return this.#family.channel.text;
  }

  /**
   * All endpoints, by id.
   *
   * @throws when they cannot be read
   */
  list(): KernelEndpoint[] {
    return this.#dump(0);
  }

  /** The addresses that a connection of a program's path manager has given to the kernel, by id. */
  localAddresses(token: number): KernelEndpoint[] {
    return this.#dump(token);
  }

  /** Adds, deletes, or changes the flags of an endpoint; 0 or an errno, positive. */
  apply({ endpoint, kind }: EndpointChange): number {
    const { channel, family: { id: family } } = this.#family;
    const address = this.#address;
    putEndpoint(address, endpoint);
    if (kind !== "add") address.id = endpoint.id;
    if (kind === "delete") {
      return channel.request(writeDeleteEndpoint(channel.out, 0, family, channel.next(), address));
    }
    address.flags = endpoint.flags;
    if (kind === "flags") {
      const size = writeSetEndpointFlags(channel.out, 0, family, channel.next(), address);
      return channel.request(size);
    }
    if (endpoint.id > 0) address.id = endpoint.id;
    address.interfaceIndex = endpoint.interfaceIndex;
    return channel.request(writeAddEndpoint(channel.out, 0, family, channel.next(), address));
  }

  /** Deletes all, whoever made them. */
  flush(): number {
    const { channel, family } = this.#family;
    return channel.request(writeFlushEndpoints(channel.out, 0, family.id, channel.next()));
  }

  /**
   * The limits now.
   *
   * @throws when they cannot be read
   */
  limits(): Limits {
    const { channel, family } = this.#family;
    const size = writeGetLimits(channel.out, 0, family.id, channel.next());
    const errno = channel.request(size, (from, { at, end }) => {
      readLimits(from, at, end, this.#limits);
    });
    if (errno !== 0) throw new Error(`Cannot read the limits of MPTCP: ${errnoText(errno)}`);
    return { subflows: this.#limits.subflows, addAddrs: this.#limits.addresses };
  }

  /** Sets both; 0 or an errno, positive. */
  setLimits({ addAddrs, subflows }: Limits): number {
    const { channel, family } = this.#family;
    this.#limits.addresses = addAddrs;
    this.#limits.subflows = subflows;
    const size = writeSetLimits(channel.out, 0, family.id, channel.next(), this.#limits);
    return channel.request(size);
  }

  /** Closes the socket. */
  close(): void {
    this.#family.channel.close();
  }

  #dump(token: number): KernelEndpoint[] {
    const { channel, family } = this.#family;
    let found: KernelEndpoint[] = [];
    const errno = channel.dump(
      () => writeDumpEndpoints(channel.out, 0, family.id, channel.next(), token),
      (from, { at, end }) => {
        const address = this.#address;
        if (readEndpoint(from, at, end, address) < 0) return;
        found.push({
          id: address.id,
          address: formatInet(address.family, address.address),
          port: address.port,
          interfaceIndex: address.interfaceIndex,
          flags: Math.max(0, address.flags),
        });
      },
      () => found = [],
    );
    if (errno === 0) return found;
    const said = channel.text === "" ? "" : `: ${channel.text}`;
    throw new Error(`Cannot read addresses of MPTCP: ${errnoText(errno)}${said}`);
  }
}
