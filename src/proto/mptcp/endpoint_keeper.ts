/**
 * Which endpoints the kernel's own path manager shall have: one for each address that the policy uses, while
 * its link is up. Only what was added here is changed or taken away; endpoints of others (ip-mptcp(8),
 * another daemon) stay as they are. Linux include/uapi/linux/mptcp.h, MPTCP_PM_ADDR_FLAG_*.
 *
 * @module
 */
import { PmFlag } from "../../wire/netlink/mptcp_pm.ts";
import type { Source } from "./layout.ts";
import type { PathPolicy } from "./path_policy.ts";

/** What MPTCP_PM_CMD_ADD_ADDR takes at most in one namespace. */
export const ENDPOINTS_MAX = 8;

/** An endpoint as the kernel has it. */
export interface KernelEndpoint {
  readonly id: number;
  readonly address: string;
  /** 0 but of those that are announced with a port of their own, which are never ours. */
  readonly port: number;
  readonly interfaceIndex: number;
  readonly flags: number;
}

/** What is to be done. */
export type EndpointChange =
  | { readonly kind: "add"; readonly endpoint: KernelEndpoint }
  | { readonly kind: "delete"; readonly endpoint: KernelEndpoint }
  | { readonly kind: "flags"; readonly endpoint: KernelEndpoint };

/** Knows which endpoints are its own. */
export class EndpointKeeper {
  /** Addresses that did not fit: there are no more than {@linkcode ENDPOINTS_MAX}. */
  left: readonly string[] = [];
  readonly #own = new Set<string>();

  /** The changes that lead from what the kernel has to what the policy wants. */
  reconcile(
    policy: PathPolicy,
    sources: readonly Source[],
    existing: readonly KernelEndpoint[],
  ): EndpointChange[] {
    const have = new Map(
      existing.filter(isPlain).map((endpoint) => [endpoint.address, endpoint]),
    );
    for (const address of this.#own) if (!have.has(address)) this.#own.delete(address);
    const wanted = policy.layout === "none" ? [] : this.#wanted(policy, sources);
    const names = new Set(wanted.map(({ address }) => address));
    const changes = this.#owned(existing).filter(({ endpoint }) => !names.has(endpoint.address));
    const explicit = existing.filter(({ flags }) => (flags & PmFlag.Implicit) === 0);
    let room = ENDPOINTS_MAX - (explicit.length - changes.length);
    const left: string[] = [];
    for (const endpoint of wanted) {
      const there = have.get(endpoint.address);
      if (there === undefined) {
        if (room-- > 0) changes.push({ kind: "add", endpoint });
        else left.push(endpoint.address);
      } else if (this.#own.has(endpoint.address)) {
        const moved = there.interfaceIndex !== endpoint.interfaceIndex;
        const differs = there.flags ^ endpoint.flags;
        // Only the backup bit can be changed in place; connections follow it with MP_PRIO.
        if (!moved && differs === PmFlag.Backup) {
          changes.push({ kind: "flags", endpoint: { ...endpoint, id: there.id } });
        } else if (moved || differs !== 0) {
          changes.push({ kind: "delete", endpoint: there }, { kind: "add", endpoint });
        }
      }
    }
    this.left = left;
    return changes;
  }

  /** A change was done. */
  handleDone({ kind, endpoint }: EndpointChange): void {
    if (kind === "add") this.#own.add(endpoint.address);
    if (kind === "delete") this.#own.delete(endpoint.address);
  }

  /** Takes away all that was added here. */
  release(existing: readonly KernelEndpoint[]): EndpointChange[] {
    return this.#owned(existing);
  }

  #owned(existing: readonly KernelEndpoint[]): EndpointChange[] {
    return existing.filter(isPlain).filter(({ address }) => this.#own.has(address))
      .map((endpoint) => ({ kind: "delete", endpoint }));
  }

  #wanted({ layout }: PathPolicy, sources: readonly Source[]): KernelEndpoint[] {
    const used = sources.filter(({ usable }) => usable)
      .toSorted((a, b) => rank(a) - rank(b) || a.priority - b.priority);
    const best = used[0]?.role === "primary" ? used[0].priority : Infinity;
    return used.map(({ address, announce, link, priority, role }) => {
      const idle = role !== "primary" || (layout === "primary-backup" && priority > best);
      // The kernel takes no endpoint that is announced and in a full mesh.
      const reach = announce ? PmFlag.Signal : layout === "full-mesh" ? PmFlag.Fullmesh : 0;
      const flags = PmFlag.Subflow | reach | (idle ? PmFlag.Backup : 0);
      return { id: 0, address, port: 0, interfaceIndex: link.index, flags };
    });
  }
}

/**
 * One that may be ours: without a port, and not implicit. The kernel makes those itself for joins to an
 * address that nobody has named; ADD_ADDR takes their place.
 */
function isPlain({ flags, port }: KernelEndpoint): boolean {
  return port === 0 && (flags & PmFlag.Implicit) === 0;
}

function rank({ role }: Source): number {
  return role === "primary" ? 0 : role === "backup" ? 1 : 2;
}
