/**
 * What a changed configuration means for a process that runs: what it takes over at once, and what
 * stays as it is until the process is started again.
 *
 * @module
 */
import { countText } from "../count_text.ts";
import type { GatewayConfig } from "./gateway_config.ts";
import type { HubConfig } from "./hub_config.ts";
import type { PathsFile } from "./paths_config.ts";
import { joinPath, shown } from "./schema_check.ts";

/** A difference that can be taken over. */
export interface Change {
  /** What is to be made, ended or set: `inputs.http`, `hubs.hq`, `routes`, `spool.bytesMax`. */
  readonly path: string;
  readonly kind: "added" | "removed" | "changed";
  /** A sentence for the log. */
  readonly text: string;
}

/** A difference that cannot. */
export interface Refusal {
  readonly path: string;
  /** A sentence with the reason and the remedy. */
  readonly text: string;
}

/** All differences. */
export interface Reload<T> {
  readonly changes: readonly Change[];
  readonly refused: readonly Refusal[];
  /** What runs from now on: the new values, but for those refused. */
  readonly config: T;
}

/** What keeps its value while the process runs, and why. */
const FIXED: Readonly<Record<string, string>> = {
  name: "the other ends know it by this name",
  listen: "gateways are connected there",
  state: "what is stored there is in use",
  auth: "the sessions were made with it",
  io: "the sockets are open",
  transport: "the sockets are open",
  "spool.place": "messages wait there",
  status: "its listener is open",
  watchdog: "a watchdog that was started must be kept fed",
  witness: "boxes are connected there",
  standby: "the other box and the witness know it so",
  "paths.manager": "connections keep the manager that they were made with",
  "paths.setPmType": "it is set at the start and restored at the end",
  "paths.socket": "other programs are connected there",
  "paths.namespaces": "their sockets are open",
  "paths.joins.decide": "the guard was made so",
  "paths.joins.whenAway": "the guard was made so",
};

/** What cannot come or go while the process runs; what is in it may change. */
const LASTING: Readonly<Record<string, string>> = {
  paths: "its sockets are made at the start",
  "paths.joins": "the guard is made at the start",
};

/** Objects by name: each is made, ended or replaced by itself. */
const NAMED: readonly string[] = ["inputs", "hubs", "outputs"];

/** Compares what runs with what a file says now. */
export function compareGatewayConfigs(
  now: GatewayConfig,
  next: GatewayConfig,
): Reload<GatewayConfig> {
  const lacks = (input: Tree): string | null =>
    input.type === "file" && now.state === null
      ? "its position must be kept and state stays null"
      : null;
  return compare(now, next, "inputs", lacks);
}

/** The same for a hub. */
export function compareHubConfigs(now: HubConfig, next: HubConfig): Reload<HubConfig> {
  const lacks = (output: Tree): string | null =>
    output.type === "sse" && now.status === false
      ? "the status listener serves it and status stays false"
      : null;
  return compare(now, next, "outputs", lacks);
}

/** The same for a program that only manages paths. */
export function comparePathsConfigs(now: PathsFile, next: PathsFile): Reload<PathsFile> {
  const changes: Change[] = [];
  const refused: Refusal[] = [];
  const paths = merge(now.paths, next.paths, "paths", changes, refused) as PathsFile["paths"];
  return { changes, refused, config: { paths } };
}

type Tree = Readonly<Record<string, unknown>>;

/** @param lacks what an input or output needs of a value that stays as it is, or null */
function compare<T extends object>(
  now: T,
  next: T,
  ports: string & keyof T,
  lacks: (port: Tree) => string | null,
): Reload<T> {
  const changes: Change[] = [];
  const refused: Refusal[] = [];
  const before = now[ports] as Tree;
  const entries = Object.entries(next[ports] as Tree).flatMap(([name, port]) => {
    const why = lacks(port as Tree);
    if (why === null) return [[name, port]];
    const path = joinPath(ports, name);
    refused.push({ path, text: `Cannot use ${path} while running as ${why}: restart to use it` });
    return Object.hasOwn(before, name) ? [[name, before[name]]] : [];
  });
  const possible = { ...next, [ports]: Object.fromEntries(entries) } as Tree;
  const config = merge(now as Tree, possible, "", changes, refused) as T;
  return { changes, refused, config };
}

/** Both have the same keys, as both are filled with defaults. */
function merge(now: Tree, next: Tree, path: string, changes: Change[], refused: Refusal[]): Tree {
  const entries = Object.keys(next).map((key) => {
    const inner = joinPath(path, key);
    const [before, after] = [now[key], next[key]];
    const why = FIXED[inner] ?? (isTree(before) === isTree(after) ? undefined : LASTING[inner]);
    if (why !== undefined) {
      refused.push(
        ...differences(before, after, inner).map((difference) => refusal(why, difference)),
      );
      return [key, before];
    }
    if (NAMED.includes(inner)) changes.push(...namedChanges(before as Tree, after as Tree, inner));
    else if (isTree(before) && isTree(after)) {
      return [key, merge(before, after, inner, changes, refused)];
    } else {
      for (const { path, text } of differences(before, after, inner)) {
        changes.push({ path, kind: "changed", text: `${path} changes: ${text}` });
      }
    }
    return [key, after];
  });
  return Object.fromEntries(entries);
}

function namedChanges(now: Tree, next: Tree, path: string): Change[] {
  const names = new Set([...Object.keys(now), ...Object.keys(next)]);
  return [...names].flatMap((name): Change[] => {
    const inner = joinPath(path, name);
    if (!Object.hasOwn(now, name)) {
      return [{ path: inner, kind: "added", text: `${inner} is added` }];
    }
    if (!Object.hasOwn(next, name)) {
      return [{ path: inner, kind: "removed", text: `${inner} is removed` }];
    }
    const found = differences(now[name], next[name], inner);
    if (found.length === 0) return [];
    const texts = found.map(({ path, text }) => `${path.slice(inner.length + 1)} ${text}`);
    return [{ path: inner, kind: "changed", text: `${inner} changes: ${texts.join(", ")}` }];
  });
}

interface Difference {
  readonly path: string;
  readonly before: unknown;
  readonly after: unknown;
  /** `from 5 to 10` */
  readonly text: string;
}

function differences(before: unknown, after: unknown, path: string): Difference[] {
  if (isTree(before) && isTree(after)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...keys].flatMap((key) => differences(before[key], after[key], joinPath(path, key)));
  }
  // Both were made by the same table, so that equal values have equal texts.
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  const text = before === undefined
    ? `is ${shown(after)}`
    : after === undefined
    ? `is no more, it was ${shown(before)}`
    : Array.isArray(after) && typeof (after[0] ?? (before as unknown[])[0]) === "object"
    ? `to another list of ${countText(after.length, "item")}`
    : `from ${shown(before)} to ${shown(after)}`;
  return [{ path, before, after, text }];
}

function refusal(why: string, { path, before, after }: Difference): Refusal {
  const remedy = `it stays ${shown(before)}, restart to use ${shown(after)}`;
  return { path, text: `Cannot change ${path} while running as ${why}: ${remedy}` };
}

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
