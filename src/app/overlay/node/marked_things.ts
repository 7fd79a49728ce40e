/**
 * What carries the marks of overlays in the kernel (the alias of a device, the protocol of addresses, routes
 * and rules) against what the journals know: orphans, and strangers in our tables.
 *
 * @module
 */
import type { InterfaceAddress } from "../../../wire/netlink/address.ts";
import type { Route } from "../../../wire/netlink/route.ts";
import type { Rule } from "../../../wire/netlink/rule.ts";
import type { Vxlan } from "../../../wire/netlink/vxlan.ts";
import type { AddressRecord } from "./address_step.ts";
import { isOurs, type LinkRecord } from "./link_step.ts";
import { prefixText, type RouteKernel } from "./route_kernel.ts";
import { keyOfRecord, keyOfRoute, type RouteRecord } from "./route_step.ts";
import { type RuleRecord, ruleText, ruleTextOf } from "./rule_step.ts";
import { type Orphan, OVERLAY_PROTOCOL, type StepRecord } from "./step.ts";
import type { StepJournal } from "./step_journal.ts";

/** Compares the two. */
export class MarkedThings {
  readonly #kernel: RouteKernel;
  readonly #load: () => ReadonlyMap<string, StepJournal>;

  /** @param load reads the journals, which may be another program's that is at work */
  constructor(kernel: RouteKernel, load: () => ReadonlyMap<string, StepJournal>) {
    this.#kernel = kernel;
    this.#load = load;
  }

  /** Routes that somebody else put into an overlay's tables, a line each. */
  foreignRoutes(journal: StepJournal): string[] {
    const records = recordsOf([journal]);
    const known = new Set(ofKind<RouteRecord>(records, "route").map(keyOfRecord));
    return journal.head.networks.flatMap(({ table }) =>
      this.#kernel.routes(table, 0).filter((route) => !known.has(keyOfRoute(route)))
        .map(({ destination, family, length, protocol }) =>
          `table ${table}: a foreign route to ${prefixText(family, destination, length)} ` +
          `(protocol ${protocol})`
        )
    );
  }

  /**
   * What no journal knows: devices last, as what is on them goes with them. The kernel is asked before the
   * journals are read, as a line is written before what it tells of is there.
   */
  orphans(): Orphan[] {
    const kernel = this.#kernel;
    const [rules, routes] = [kernel.rules(), kernel.routes(0, OVERLAY_PROTOCOL)];
    const [addresses, links] = [kernel.addresses(), kernel.links()];
    const records = recordsOf([...this.#load().values()]);
    return [
      ...this.#rules(rules, records),
      ...this.#routes(routes, records),
      ...this.#addresses(addresses, links, records),
      ...this.#devices(links, records),
    ];
  }

  #rules(found: readonly Rule[], records: readonly StepRecord[]): Orphan[] {
    const known = new Set(ofKind<RuleRecord>(records, "rule").map(ruleTextOf));
    return found
      .filter((rule) => rule.protocol === OVERLAY_PROTOCOL && !known.has(ruleText(rule)))
      .map((rule) => ({
        about: `rule ${ruleText(rule)}`,
        remove: () => this.#kernel.deleteRule(rule),
      }));
  }

  #routes(found: readonly Route[], records: readonly StepRecord[]): Orphan[] {
    const known = new Set(ofKind<RouteRecord>(records, "route").map(keyOfRecord));
    return found
      .filter((route) => !known.has(keyOfRoute(route)))
      .map((route) => {
        const to = prefixText(route.family, route.destination, route.length);
        return {
          about: `route ${to} (table ${route.table})`,
          remove: () => this.#kernel.deleteRoute(route),
        };
      });
  }

  #addresses(
    found: readonly InterfaceAddress[],
    links: readonly Vxlan[],
    records: readonly StepRecord[],
  ): Orphan[] {
    const known = new Set(
      ofKind<AddressRecord>(records, "address").map(({ address, device, length }) =>
        `${address}/${length} ${device}`
      ),
    );
    const names = new Map(links.map(({ index, name }) => [index, name]));
    return found.flatMap((one) => {
      const device = names.get(one.index) ?? "";
      const text = `${prefixText(one.family, one.local, one.prefixLength)} ${device}`;
      if (one.protocol !== OVERLAY_PROTOCOL || known.has(text)) return [];
      return [{ about: `address ${text}`, remove: () => this.#kernel.deleteAddress(one) }];
    });
  }

  #devices(links: readonly Vxlan[], records: readonly StepRecord[]): Orphan[] {
    const known = new Set(ofKind<LinkRecord>(records, "link").map(({ device }) => device));
    return links.filter((link) => isOurs(link) && !known.has(link.name))
      .map(({ alias, index, name }) => ({
        about: `device ${name}${alias === "" ? "" : ` (${alias})`}`,
        remove: () => this.#kernel.deleteLink(index),
      }));
  }
}

/** All that may be there. */
export function recordsOf(journals: readonly StepJournal[]): StepRecord[] {
  return journals.flatMap((journal) => journal.open().map(([, record]) => record));
}

/** Those of one kind. */
export function ofKind<R extends StepRecord>(records: readonly StepRecord[], kind: R["kind"]): R[] {
  return records.flatMap((record) => record.kind === kind ? [record as R] : []);
}
