/** Specifications, boxes and random numbers for tests of overlays; a walk over finished plans. */
import assert from "node:assert/strict";
import { Design } from "../../src/proto/xbone/design.ts";
import type { OverlaySpec, SpecNetwork, SpecSub } from "../../src/proto/xbone/overlay_spec.ts";
import type { PinnedNode, SubNode, SubSpec } from "../../src/wire/xbone/messages.ts";
import type { NodePlan, Visit } from "../../src/wire/xbone/node_plan.ts";

export const EPOCH = "00f1e2d3c4b5a697";
export const CAPABILITIES = ["vxlan", "esp", "tbf", "mptcp", "script", "hosts"];

/** mulberry32 */
export function numbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ state >>> 15, state | 1);
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
    return ((mixed ^ mixed >>> 14) >>> 0) % below;
  };
}

/** Hexadecimal digits that look random and are the same each time. */
export function hexes(seed: number): (bytes: number) => string {
  const next = numbers(seed);
  return (bytes) =>
    Array.from({ length: bytes }, () => next(256).toString(16).padStart(2, "0")).join("");
}

export function router(name: string): SubNode {
  return { name, role: "router", os: [], on: "" };
}

export function host(name: string): SubNode {
  return { name, role: "host", os: [], on: "" };
}

export function routers(count: number): SubNode[] {
  return Array.from({ length: count }, (_, index) => router(`r${index + 1}`));
}

export function network(over: Partial<SpecNetwork>): SpecNetwork {
  return { topology: "ring", fanout: 2, nodes: [], links: [], subs: [], ...over };
}

export function sub(name: string, over: Partial<SpecSub>): SpecSub {
  return { name, mode: "control", border: "", prefix: "", ...network(over), ...over };
}

export function overlay(over: Partial<OverlaySpec>): OverlaySpec {
  return {
    name: "field",
    application: "overlay",
    version: "",
    prefix: "10.100.0.0/16",
    routing: "static",
    routingDaemon: "",
    encryption: "none",
    rateBits: 0,
    port: 0,
    names: true,
    revisit: false,
    mptcp: [],
    peers: null,
    script: null,
    ...network(over),
    ...over,
  };
}

/** Whole names of all that are needed. */
export function slots(need: SubSpec, front = ""): string[] {
  return [
    ...need.nodes.map(({ name }) => front + name),
    ...need.subs.flatMap((inner) => slots(inner, `${front}${inner.name}/`)),
  ];
}

/** A box of its own for each, or `boxes` of them in turn. */
export function pin(names: readonly string[], boxes = names.length): PinnedNode[] {
  return names.map((name, index) => {
    const at = index % boxes;
    return {
      name,
      node: `box${at}`,
      hostname: `box${at}`,
      ipaddr: `192.0.${at >> 7}.${(at & 127) + 1}`,
      mtu: 1500,
      capabilities: CAPABILITIES,
    };
  });
}

export function plansOf(
  spec: OverlaySpec,
  change: (pinned: PinnedNode[]) => PinnedNode[] = (pinned) => pinned,
): readonly NodePlan[] {
  const design = new Design(spec, EPOCH, hexes(1));
  const plans = design.design(change(pin(slots(design.need))));
  assert.ok(!("reason" in plans), "reason" in plans ? plans.reason : "");
  return plans;
}

/** Visits of a network by the names of their nodes. */
export function visitsOf(plans: readonly NodePlan[], name: string): Map<string, Visit> {
  return new Map(
    plans.flatMap(({ visits }) =>
      visits.filter((visit) => visit.network === name).map((visit): [string, Visit] => [
        visit.name,
        visit,
      ])
    ),
  );
}

/** Follows a packet by the tables alone; returns the nodes that it comes through. */
export function walk(visits: ReadonlyMap<string, Visit>, from: string, to: string): string[] {
  const target = visits.get(to)!.address;
  const way: string[] = [];
  for (let at = visits.get(from)!; at.address !== target;) {
    assert.ok(way.length < visits.size, `a packet from ${from} to ${to} goes round in circles`);
    assert.ok(at.name === from || at.role === "router", `${at.name} forwards and is a host`);
    const route = at.routes.find((one) => one.to === `${target}/32`);
    assert.ok(route, `${at.name} has no route to ${to}`);
    const link = at.links.find(({ name }) => name === route.link)!;
    assert.equal(route.via, link.peerAddress);
    at = visits.get(link.peer)!;
    way.push(at.name);
  }
  return way;
}
