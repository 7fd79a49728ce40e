/**
 * The checks across the keys of "paths": what contradicts itself is a mistake, what has no effect is
 * told. Which rule takes what is decided in proto/mptcp/layout.ts.
 *
 * @module
 */
import { INTERFACE_DEFAULT } from "../../proto/mptcp/path_policy.ts";
import { fitsName, inSubnet, parseSubnet } from "../../proto/mptcp/subnet.ts";
import { derive } from "./common_config.ts";
import type { PathsConfig } from "./paths_config.ts";
import type { Findings } from "./problem.ts";
import type { Draft } from "./schema.ts";
import { shown } from "./schema_check.ts";

/** MPTCP_PM_ADDR_MAX: of addresses and of subflows besides the first, for the kernel's own manager. */
const KERNEL_MAX = 8;
const LINK_LOCAL = ["169.254.0.0/16", "fe80::/10"];
const LOOPBACK = ["127.0.0.0/8", "::1/128"];

type PathsDraft = Draft<PathsConfig>;
type InterfaceDraft = Draft<PathsConfig["interfaces"][number]>;
type ConnectionDraft = Draft<PathsConfig["connections"][number]>;

/** Fills in what depends on other keys, and checks them against each other. */
export function completePaths(paths: PathsDraft | false | undefined, findings: Findings): void {
  if (paths === undefined || paths === false) return;
  for (const [index, rule] of (paths.connections ?? []).entries()) {
    if (rule === undefined || paths.layout === undefined) continue;
    const why = 'as that of "paths" is';
    derive(rule, `paths.connections[${index}]`, "layout", paths.layout, why, findings);
  }
  checkGrowth(paths, "retryFirstMs", "retryMaxMs", findings);
  checkGrowth(paths, "upDelayMs", "upDelayMaxMs", findings);
  checkJoins(paths, findings);
  warnCovered(paths.interfaces, "paths.interfaces", coversInterface, findings);
  warnCovered(paths.connections, "paths.connections", coversConnection, findings);
  warnAnnounced(paths, findings);
  warnBackup(paths, findings);
  if (paths.manager === "kernel") warnKernel(paths, findings);
  else warnGuard(paths, findings);
}

/** What doubles cannot begin above its end. */
function checkGrowth<F extends keyof PathsDraft, L extends keyof PathsDraft>(
  paths: PathsDraft,
  first: F,
  last: L,
  findings: Findings,
): void {
  const [from, to] = [paths[first], paths[last]];
  if (typeof from !== "number" || typeof to !== "number" || from <= to) return;
  if (isGiven(first, findings)) {
    const why = `it must be ${last} at most, which is ${to}: current value is ${from}`;
    findings.error(`paths.${first}`, `${why}, lower it or raise paths.${last}`);
  } else {
    const why = `it must be ${first} at least, which is ${from}: current value is ${to}`;
    findings.error(`paths.${last}`, `${why}, raise it or lower paths.${first}`);
  }
}

function checkJoins({ joins }: PathsDraft, findings: Findings): void {
  if (!joins) return;
  const { default: verdict, interfaces } = joins;
  if (verdict === undefined || interfaces === undefined) return;
  if (verdict === "interfaces" && interfaces.length === 0) {
    const remedy = 'add paths.joins.interfaces, such as ["eth*"]';
    findings.error(
      "paths.joins.default",
      `no interface is named: current value is "interfaces", ${remedy}`,
    );
  }
  if (verdict !== "interfaces" && interfaces.length > 0) {
    const why = `paths.joins.default is ${shown(verdict)}: current value is ${shown(interfaces)}`;
    findings.error("paths.joins.interfaces", `${why}, set that to "interfaces" or leave them out`);
  }
}

/** The first rule that holds counts, so that general ones belong at the end. */
function warnCovered<T>(
  rules: readonly (T | undefined)[] | undefined,
  path: string,
  covers: (before: T, after: T) => boolean,
  findings: Findings,
): void {
  for (const [index, rule] of (rules ?? []).entries()) {
    if (rule === undefined) continue;
    const before = rules!.findIndex((other, at) =>
      at < index && other !== undefined && covers(other, rule)
    );
    if (before < 0) continue;
    const text = `${path}[${index}] never counts as ${path}[${before}] takes all of it: move it up`;
    findings.warning(`${path}[${index}]`, text);
  }
}

/** True when a rule takes each address that another one takes; a name and ADDRESS/32 are one too. */
export function coversInterface(before: InterfaceDraft, after: InterfaceDraft): boolean {
  if (!coversName(before.name, after.name)) return false;
  if (!coversSubnet(before.subnet, after.subnet)) return false;
  if (before.subnet !== null) return true;
  // Addresses that mean only this link or box are taken by rules that name them.
  if (LINK_LOCAL.some((subnet) => overlaps(subnet, after.subnet))) return false;
  const every = before.name === null || before.name === "*";
  const loopback = LOOPBACK.some((subnet) => overlaps(subnet, after.subnet)) ||
    typeof after.name === "string" && after.name !== "*" && fitsName(after.name, "lo");
  return !(every && loopback);
}

function coversConnection(before: ConnectionDraft, after: ConnectionDraft): boolean {
  return coversSubnet(before.destination, after.destination) &&
    (before.port === 0 || before.port !== undefined && before.port === after.port);
}

/** A `*` of the other pattern is only taken by one of its own. Undefined is wrong, and takes nothing. */
function coversName(before: string | null | undefined, after: string | null | undefined): boolean {
  if (before === undefined || after === undefined) return false;
  if (before === null || before === "*") return true;
  return after !== null && fitsName(before, after);
}

function coversSubnet(
  before: string | null | undefined,
  after: string | null | undefined,
): boolean {
  if (before === undefined || after === undefined) return false;
  if (before === null) return true;
  const outer = parseSubnet(before);
  const inner = after === null ? null : parseSubnet(after);
  return outer !== null && inner !== null && outer.prefixLength <= inner.prefixLength &&
    inSubnet(outer, after!.replace(/\/.*/, ""));
}

function overlaps(one: string, other: string | null | undefined): boolean {
  return typeof other === "string" && (coversSubnet(one, other) || coversSubnet(other, one));
}

/** What is announced is used by peers as they like. */
function warnAnnounced({ interfaces }: PathsDraft, findings: Findings): void {
  for (const [index, rule] of (interfaces ?? []).entries()) {
    if (rule?.announce !== true) continue;
    const path = `paths.interfaces[${index}].announce`;
    if (rule.role === "metered") {
      const text =
        `Peers that are told of a metered address make subflows to it: leave ${path} out`;
      findings.warning(path, text);
    }
    if (rule.role === "off") {
      findings.warning(path, `${path} is ignored as the role is off: leave one of them out`);
    }
  }
}

/** Interfaces of one role and priority are used together. */
function warnBackup({ layout, connections, interfaces }: PathsDraft, findings: Findings): void {
  const own = (connections ?? []).findIndex((rule) => rule?.layout === "primary-backup");
  if (layout !== "primary-backup" && own < 0 || interfaces === undefined) return;
  const used = interfaces.filter((rule) => rule !== undefined && rule.role !== "off");
  const ranks = new Set(used.map((rule) => `${rule?.role} ${rule?.priority}`));
  const last = interfaces.some((rule) => rule !== undefined && coversInterface(rule, EVERY));
  if (!last) ranks.add(`primary ${INTERFACE_DEFAULT.priority}`); // what no rule takes
  if (ranks.size > 1) return;
  const path = layout === "primary-backup" ? "paths.layout" : `paths.connections[${own}].layout`;
  const text = "Nothing is kept as backup as all interfaces have one role and priority: set them " +
    "in paths.interfaces";
  findings.warning(path, text);
}

const EVERY: InterfaceDraft = { name: null, subnet: null };

/** The kernel's own manager has endpoints and limits, and no rules. */
function warnKernel(paths: PathsDraft, findings: Findings): void {
  const paces = ["announceIntervalMs", "retryFirstMs", "retryMaxMs"] as const;
  const many = (paths.interfaces ?? []).flatMap((rule, index) =>
    (rule?.subflows ?? 1) > 1 ? [`interfaces[${index}].subflows`] : []
  );
  const ignored = [
    ...many,
    ...((paths.connections ?? []).length > 0 ? ["connections"] : []),
    ...paces.filter((key) => paths[key] !== undefined && isGiven(key, findings)),
    ...(paths.joins ? ["joins"] : []),
  ];
  for (const key of ignored) {
    const text =
      `paths.${key} is ignored as the kernel's path manager has no such thing: leave it ` +
      'out, or set paths.manager to "userspace"';
    findings.warning(`paths.${key}`, text);
  }
  for (
    const [key, most] of [["subflowsMax", KERNEL_MAX + 1], ["announcesMax", KERNEL_MAX]] as const
  ) {
    const value = paths[key];
    if (value === undefined || value <= most) continue;
    const text =
      `paths.${key} counts as ${most} as the kernel's path manager has no more: current ` +
      `value is ${value}, lower it`;
    findings.warning(`paths.${key}`, text);
  }
}

function warnGuard({ connections, joins }: PathsDraft, findings: Findings): void {
  if (joins !== false) return;
  for (const [index, rule] of (connections ?? []).entries()) {
    if (rule?.joins === undefined || rule.joins === "default") continue;
    const path = `paths.connections[${index}].joins`;
    findings.warning(path, `${path} is ignored as there is no guard: set paths.joins to {}`);
  }
}

/** True for a key that somebody wrote. */
function isGiven(key: string, findings: Findings): boolean {
  return !(findings.origins.get(`paths.${key}`) ?? "default").startsWith("default");
}
