/**
 * The steps that make a box what its plan says, in the order of the control protocol's step [7]: tunnels,
 * addresses, what protects them, forwarding with its rules and table, routes, keys, rates, names, script.
 * Nothing leaves by a link before it is protected, and nothing of a network leaves by the box's own routes.
 *
 * @module
 */
import type { NodePlan, Visit } from "../../../wire/xbone/node_plan.ts";
import { addressRecord, LOOPBACK } from "./address_step.ts";
import { associationSteps, protectionSteps } from "./association_step.ts";
import { endpointSteps } from "./endpoint_step.ts";
import { hostSteps } from "./hosts_step.ts";
import { type LinkRecord, linkRecord, upRecord } from "./link_step.ts";
import { peerSteps } from "./peers_step.ts";
import { rateRecord } from "./rate_step.ts";
import { routeRecord } from "./route_step.ts";
import { ruleFrom, ruleIn, ruleTo } from "./rule_step.ts";
import { scriptSteps } from "./script_step.ts";
import type { PlannedStep, StepRecord } from "./step.ts";

/** Of a link's two addresses (RFC 3021), and of a node's. */
const LINK_LENGTH = 31;
const NODE_LENGTH = 32;

/**
 * All steps.
 *
 * @param tables one for each visit, in their order
 */
export function planSteps(plan: NodePlan, tables: readonly number[]): PlannedStep[] {
  const { overlay, visits } = plan;
  const links = visits.map((visit) => visit.links.map((link) => linkRecord(overlay, link)));
  const routing = visits.flatMap((visit, at) => {
    const same = visits.filter(({ network }) => network === visit.network);
    return visitSteps(visit, links[at]!, tables[at]!, same[0] === visit, same.length > 1);
  });
  const rates = visits.flatMap((visit, at) =>
    visit.links.flatMap(({ rateBits }, of) =>
      rateBits === 0 ? [] : [rateRecord(links[at]![of]!, rateBits)]
    )
  );
  return [
    ...plain(links.flat()),
    ...plain(visits.flatMap((visit, at) => addresses(visit, links[at]!))),
    ...plain(protectionSteps(plan)),
    ...plain(routing),
    ...associationSteps(plan),
    ...plain(rates),
    ...endpointSteps(plan),
    ...hostSteps(plan),
    ...peerSteps(plan),
    ...scriptSteps(plan),
  ];
}

function addresses({ address }: Visit, links: readonly LinkRecord[]): StepRecord[] {
  return [
    addressRecord(LOOPBACK, address, NODE_LENGTH),
    ...links.map((link) => addressRecord(link.device, link.address, LINK_LENGTH)),
  ];
}

/** The last route and the rules stand before a link comes up, so that no packet goes elsewhere. */
function visitSteps(
  { address, prefix, role, routes }: Visit,
  links: readonly LinkRecord[],
  table: number,
  isFirst: boolean,
  revisited: boolean,
): StepRecord[] {
  const deviceOf = new Map(links.map(({ device, link }) => [link, device]));
  return [
    routeRecord(table, prefix, "", "", ""),
    ...links.map(({ device }) => ruleIn(table, device)),
    ruleFrom(table, address),
    ...links.map((link) => ruleFrom(table, link.address)),
    ...(isFirst ? [ruleTo(table, prefix)] : []),
    ...links.map((link) => upRecord(link, role === "router", revisited)),
    ...links.map((link) => {
      const { address: own, device, peerAddress } = link;
      return routeRecord(table, linkPrefix(own, peerAddress), "", device, own);
    }),
    ...routes.map(({ link, to, via }) => {
      const device = deviceOf.get(link);
      if (device === undefined) {
        throw new Error(
          `Cannot route to ${to} as the plan has no such link: current value is ${link}`,
        );
      }
      return routeRecord(table, to, via, device, address);
    }),
  ];
}

/** The /31 of two addresses: the even one names it. */
function linkPrefix(address: string, peerAddress: string): string {
  const isEven = Number(address.slice(address.lastIndexOf(".") + 1)) % 2 === 0;
  return `${isEven ? address : peerAddress}/${LINK_LENGTH}`;
}

function plain(records: readonly StepRecord[]): PlannedStep[] {
  return records.map((record) => ({ record }));
}
