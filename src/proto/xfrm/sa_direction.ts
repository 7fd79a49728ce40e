/**
 * What an SA is for. The kernel says it since 6.10, when whoever made the SA did (XFRMA_SA_DIR). Else
 * addresses of this gateway do, or the templates of policies: the far end of an out policy is where
 * outbound SAs go, the near end of an in or fwd policy where inbound ones come. What counts packets
 * is a guess, and not for a takeover: an SA that nothing is sure of is treated as both, which harms
 * neither: an inbound SA has no use for the number sent, an outbound one none for the window.
 *
 * @module
 */
import { formatInet } from "../../wire/inet.ts";
import { XfrmSaDir, type XfrmSaId } from "../../wire/netlink/xfrm.ts";
import { PolicyDirection, type XfrmPolicy } from "../../wire/netlink/xfrm_policy.ts";
import type { SaUse } from "./sa_table.ts";

/** What of an SA tells its direction. */
export interface Directed {
  readonly id: XfrmSaId;
  readonly saddr: Uint8Array;
  /** An XfrmSaDir. */
  readonly saDir: number;
  readonly oseq: number;
  readonly seq: number;
}

/** What a destination is told apart by. */
interface End {
  readonly daddr: Uint8Array;
  readonly family: number;
  readonly proto: number;
}

/** Knows addresses and templates. */
export class Directions {
  readonly #local: ReadonlySet<string>;
  /** Ends of templates by policy. */
  readonly #policies = new Map<string, readonly string[]>();
  /** How many templates have it. */
  readonly #ends = new Map<string, number>();

  /** With addresses of this gateway that both boxes have in turn, as text. */
  constructor(localAddresses: readonly string[]) {
    this.#local = new Set(localAddresses);
  }

  /** A policy is there, or another one than before. */
  setPolicy(key: string, policy: XfrmPolicy): void {
    this.deletePolicy(key);
    const side = policy.direction === PolicyDirection.Out ? "out" : "in";
    const ends: string[] = [];
    for (let i = 0; i < policy.templateCount; i++) {
      const template = policy.templates[i]!;
      if (template.daddr.some((byte) => byte !== 0)) ends.push(endOf(side, template));
    }
    this.#policies.set(key, ends);
    for (const end of ends) this.#ends.set(end, (this.#ends.get(end) ?? 0) + 1);
  }

  /** A policy is gone. */
  deletePolicy(key: string): void {
    for (const end of this.#policies.get(key) ?? []) {
      const count = this.#ends.get(end)! - 1;
      if (count === 0) this.#ends.delete(end);
      else this.#ends.set(end, count);
    }
    this.#policies.delete(key);
  }

  /** What an SA is surely for, else "both". */
  sure({ id, saddr, saDir }: Directed): SaUse {
    if (saDir === XfrmSaDir.Out) return "out";
    if (saDir === XfrmSaDir.In) return "in";
    const { family } = id;
    const fromHere = this.#local.has(formatInet(family, saddr));
    const toHere = this.#local.has(formatInet(family, id.daddr));
    if (fromHere !== toHere) return fromHere ? "out" : "in";
    const outwards = this.#ends.has(endOf("out", id));
    const inwards = this.#ends.has(endOf("in", id));
    if (outwards !== inwards) return outwards ? "out" : "in";
    return "both";
  }

  /** The same, or else what its packets let one guess. */
  guess(sa: Directed): SaUse {
    const sure = this.sure(sa);
    if (sure !== "both" || (sa.oseq > 0) === (sa.seq > 0)) return sure;
    return sa.oseq > 0 ? "out" : "in";
  }
}

function endOf(side: string, { family, daddr, proto }: End): string {
  return `${side} ${formatInet(family, daddr)} ${proto}`;
}
