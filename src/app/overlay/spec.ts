/**
 * Reads a specification of an overlay, SPEC of `fairlead overlay`, and tells all its mistakes at once.
 * What is accepted here can be formed wherever boxes offer what it needs.
 *
 * @module
 */
import { overlap, type Prefix, readPrefix } from "../../proto/xbone/addresses.ts";
import { drawBlueprint } from "../../proto/xbone/blueprint.ts";
import { isNodeName, isPublicDomain, TUNNEL_PORT_MIN } from "../../proto/xbone/check_plan.ts";
import type { OverlaySpec, SpecNetwork, SpecSub } from "../../proto/xbone/overlay_spec.ts";
import { canonicalJson } from "../../proto/xbone/plan_digest.ts";
import type { SubNode } from "../../wire/xbone/messages.ts";
import type { PlanScript } from "../../wire/xbone/node_plan.ts";
import { type JsonNode, parseJsonc } from "../config/jsonc.ts";
import { Findings, type Problem } from "../config/problem.ts";
import type { Draft } from "../config/schema.ts";
import { checkSchema, shown } from "../config/schema_check.ts";
import {
  type NetworkFile,
  readRate,
  type ScriptFile,
  SPEC_SCHEMA,
  type SpecFile,
} from "./spec_schema.ts";

/** A specification that can be formed, or what is wrong with it (warnings among it). */
export type SpecRead =
  | { readonly spec: OverlaySpec; readonly warnings: readonly Problem[] }
  | { readonly spec: null; readonly problems: readonly Problem[] };

/**
 * Reads a text, JSON with comments.
 *
 * @param source its file, for messages
 */
export function readSpec(text: string, source: string): SpecRead {
  const findings = new Findings(source);
  const { root, mistakes } = parseJsonc(text);
  for (const { line, column, text } of mistakes) findings.mistake(line, column, text);
  if (root !== null) {
    const draft = (checkSchema(SPEC_SCHEMA, plainForm(root), findings) ?? {}) as Draft<SpecFile>;
    checkNames(draft, "", "", findings);
    checkWorld(draft, findings);
    checkRouting(draft, findings);
    checkScript(draft.script, findings);
    if (!findings.failed) {
      const spec = overlaySpec(draft as unknown as SpecFile);
      checkBlueprint(spec, findings);
      if (!findings.failed) return { spec, warnings: findings.problems };
    }
  }
  return { spec: null, problems: findings.problems };
}

/** What identifies a specification, so that the same one is not formed twice. */
export function specDigest(spec: OverlaySpec, sha256: (text: string) => string): string {
  return sha256(canonicalJson(spec));
}

/** Without the short forms: `["a", "b"]` for a link, `true` for "ipsec". */
function plainForm(root: JsonNode): JsonNode {
  if (root.kind !== "object") return root;
  root.members.delete("$schema"); // an editor's
  const ipsec = root.members.get("ipsec");
  if (ipsec?.value.kind === "boolean" && ipsec.value.value) {
    const { at } = ipsec.value;
    root.members.set("ipsec", {
      key: ipsec.key,
      value: { kind: "object", at, members: new Map() },
    });
  }
  withPlainLinks(root);
  return root;
}

function withPlainLinks(network: JsonNode): void {
  if (network.kind !== "object") return;
  const links = network.members.get("links")?.value;
  if (links?.kind === "array") {
    for (const [index, item] of links.items.entries()) {
      if (item.kind !== "array") continue;
      const members = new Map([["ends", { key: item.at, value: item }]]);
      links.items[index] = { kind: "object", at: item.at, members };
    }
  }
  const subs = network.members.get("subs")?.value;
  if (subs?.kind === "array") subs.items.forEach(withPlainLinks);
}

/** What every box would refuse, as it is somebody else's. */
function checkWorld({ name, names, port }: Draft<SpecFile>, findings: Findings): void {
  if (names === true && name !== undefined && isPublicDomain(name)) {
    const why = "hosts entries would end in a domain of the world";
    findings.error("name", `${why}: current value is ${shown(name)}, give another one`);
  }
  if (port !== undefined && port > 0 && port < TUNNEL_PORT_MIN) {
    const why = `it must be 0 or from ${TUNNEL_PORT_MIN} on, as below are services`;
    findings.error("port", `${why}: current value is ${port}, give another one`);
  }
}

/** Whether every name is there once, and short enough with those in front of it. */
function checkNames(
  network: Draft<NetworkFile>,
  at: string,
  path: string,
  findings: Findings,
): void {
  const seen = new Set<string>();
  const check = (name: string | undefined, where: string): void => {
    if (name === undefined) return;
    if (seen.has(name)) {
      const why = "another node or sub-overlay beside it has it";
      findings.error(where, `${why}: current value is ${shown(name)}, give another name`);
    }
    seen.add(name);
    if (!isNodeName(path + name)) {
      const why = "it is too long with the sub-overlays in front of it";
      findings.error(where, `${why}: current value is ${shown(path + name)}, give shorter names`);
    }
  };
  for (const [index, node] of (network.nodes ?? []).entries()) {
    check(node?.name, `${at}nodes[${index}].name`);
  }
  for (const key of ["routers", "hosts"] as const) {
    for (const { name } of counted(key, network[key] ?? 0)) check(name, `${at}${key}`);
  }
  for (const [index, sub] of (network.subs ?? []).entries()) {
    if (sub === undefined) continue;
    const where = `${at}subs[${index}]`;
    check(sub.name, `${where}.name`);
    if (sub.mode === "control" && typeof sub.prefix === "string") {
      const why = `only stacked ones have addresses of their own: current value is ` +
        shown(sub.prefix);
      findings.error(`${where}.prefix`, `${why}, remove it or set mode to "stacked"`);
    }
    checkNames(sub, `${where}.`, `${path}${sub.name ?? ""}/`, findings);
  }
  const empty = [network.nodes, network.subs].every((list) => list?.length === 0) &&
    network.hosts === 0 && network.routers === 0;
  if (empty) findings.error(at.replace(/\.$/, ""), 'it has no node: add "nodes" or "routers"');
}

function checkRouting(draft: Draft<SpecFile>, findings: Findings): void {
  const { routing, routingDaemon } = draft;
  if (routing === "dynamic" && routingDaemon === null) {
    const why = "routes would be nobody's work as no routing daemon is named";
    const remedy = 'name the one that the boxes run in "routingDaemon", or use "static"';
    findings.error("routing", `${why}: current value is "dynamic", ${remedy}`);
  }
  if (routing === "static" && typeof routingDaemon === "string") {
    const why = `it is for dynamic routing: current value is ${shown(routingDaemon)}`;
    findings.error("routingDaemon", `${why}, remove it or set routing to "dynamic"`);
  }
}

function checkScript(script: Draft<ScriptFile> | false | undefined, findings: Findings): void {
  if (!script) return;
  const { script: file, url, sha256 } = script;
  if (file === null && url === null) {
    findings.error("script", 'it needs "script", a file of the box, or "url" with "sha256"');
  }
  if (typeof file === "string" && typeof url === "string") {
    findings.error("script.url", `there is a script already: current value is ${shown(url)}`);
  }
  if (typeof url === "string" && sha256 === null) {
    const why = `nobody runs what comes from a URL without its SHA-256: current value is `;
    findings.error("script.url", `${why}${shown(url)}, add "sha256" as sha256sum prints it`);
  }
}

/** What shows only when all of it is put together. */
function checkBlueprint(spec: OverlaySpec, findings: Findings): void {
  const blueprint = drawBlueprint(spec);
  if (!("unfit" in blueprint)) return;
  for (const { path, key, reason } of blueprint.unfit) {
    findings.error(placeIn(spec, path) + key, reason);
  }
}

/** `subs[0].subs[2].` of `west/inner`. */
function placeIn(spec: OverlaySpec, path: string): string {
  let network: SpecNetwork = spec;
  let place = "";
  for (const name of path.split("/").filter((name) => name !== "")) {
    const index = network.subs.findIndex((sub) => sub.name === name);
    network = network.subs[index]!;
    place += `subs[${index}].`;
  }
  return place;
}

function overlaySpec(file: SpecFile): OverlaySpec {
  const { name, application, version, prefix, routing, port, names, revisit } = file;
  const { ipsec, mptcp, fairlead } = file;
  const taken = new Prefixes([prefix, ...givenPrefixes(file)]);
  return {
    name,
    application,
    version,
    ...networkOf(file, taken),
    prefix,
    routing,
    routingDaemon: file.routingDaemon ?? "",
    encryption: ipsec === false ? "none" : "aes-gcm",
    rateBits: rateOf(file.rate),
    port,
    names,
    revisit,
    mptcp: mptcp === false ? [] : mptcp.flags,
    peers: fairlead === false ? null : fairlead,
    script: file.script === false ? null : scriptOf(file.script),
  };
}

function networkOf(file: NetworkFile, taken: Prefixes): SpecNetwork {
  const { topology, fanout, links, subs } = file;
  return {
    topology,
    fanout,
    nodes: nodesOf(file),
    links: links.map(({ ends: [a, b], rate }) => ({ ends: [a!, b!], rateBits: rateOf(rate) })),
    subs: subs.map((sub): SpecSub => ({
      name: sub.name,
      mode: sub.mode,
      border: sub.border ?? "",
      prefix: sub.mode === "stacked" ? sub.prefix ?? taken.next() : "",
      ...networkOf(sub, taken),
    })),
  };
}

/** Those with names, then the counted: routers first, as they are what stands in the middle. */
function nodesOf({ topology, nodes, hosts, routers }: NetworkFile): SubNode[] {
  const named = nodes.map(({ name, role, os, on }): SubNode => ({ name, role, os, on: on ?? "" }));
  const ends = counted("hosts", hosts);
  const inner = counted("routers", routers);
  // A line of routers has a host at each end.
  const first = topology === "linear" && named.length === 0 ? ends.splice(0, 1) : [];
  return [...named, ...first, ...inner, ...ends];
}

function counted(key: "hosts" | "routers", count: number): SubNode[] {
  const [letter, role] = key === "hosts" ? ["h", "host" as const] : ["r", "router" as const];
  return Array.from({ length: count }, (_, index) => ({
    name: `${letter}${index + 1}`,
    role,
    os: [],
    on: "",
  }));
}

function rateOf(rate: string | null): number {
  return rate === null ? 0 : readRate(rate);
}

function scriptOf({ name, script, url, sha256, deadlineSeconds }: ScriptFile): PlanScript {
  return {
    name,
    script: script ?? url!,
    sha256: sha256 ?? "",
    deadlineMs: deadlineSeconds * 1000,
  };
}

function givenPrefixes({ subs }: NetworkFile): string[] {
  return subs.flatMap((sub) => [
    ...(sub.prefix === null ? [] : [sub.prefix]),
    ...givenPrefixes(sub),
  ]);
}

/** Gives prefixes to stacked sub-overlays that have none. */
class Prefixes {
  readonly #taken: Prefix[];

  constructor(taken: readonly string[]) {
    this.#taken = taken.map((text) => readPrefix(text)!);
  }

  /** 10.101.0.0/16 and on: the next that nobody has. */
  next(): string {
    for (let second = 101;; second++) {
      const text = `10.${second & 0xff}.0.0/16`;
      const prefix = readPrefix(text)!;
      const free = !this.#taken.some((other) => overlap(prefix, other));
      // All taken: the overlap is told with the others.
      if (!free && second < 101 + 0x100) continue;
      this.#taken.push(prefix);
      return text;
    }
  }
}
