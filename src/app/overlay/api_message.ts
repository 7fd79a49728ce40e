/**
 * What operators say to a manager, over its access socket and over mutual TLS: JSON, an object a line.
 *
 *     -> {"id": 1, "command": "create", "spec": "{…}", "hold": false}
 *     -> {"id": 2, "command": "status", "name": "field", "probes": 3}
 *     -> {"id": 3, "command": "subscribe", "groups": ["progress"]}
 *
 * @module
 */
import type { DaemonName } from "../access_client.ts";
import type { Parsed, Subscribe } from "../access_server.ts";
import { TEXT_SIZE_MAX } from "../config/jsonc.ts";
import { type Members, parseRequestLine, shownMember } from "../request_line.ts";
import type { OverlayProgress } from "./overlay_view.ts";

/** Whose socket it is. */
export const OVERLAY_MANAGER: DaemonName = {
  who: "the overlay manager",
  start: "fairlead overlay om",
};

/** What can be subscribed to. */
export const OVERLAY_GROUPS = ["progress"] as const;
/** One of them. */
export type OverlayGroup = typeof OVERLAY_GROUPS[number];

/** An event of a group. */
export interface OverlayEvent extends OverlayProgress {
  readonly event: OverlayGroup;
  readonly overlay: string;
}

/** What is asked for, checked. */
export type OverlayCommand =
  | {
    readonly command: "create";
    /** JSON with comments: the specification. */
    readonly spec: string;
    readonly hold: boolean;
    /** Destroy the one of that name first when it is another. */
    readonly replace: boolean;
  }
  | { readonly command: "plan"; readonly spec: string }
  | { readonly command: "config" | "cancel" | "destroy"; readonly name: string }
  | { readonly command: "status"; readonly name: string; readonly probes: number }
  | { readonly command: "list" | "discover" };

/** A specification in a text of JSON, where quotes and ends of lines have two bytes, and what is around. */
export const REQUEST_BYTES_MAX: number = 2 * TEXT_SIZE_MAX + 4096;
const PROBES_MAX = 100;
const NAME_MAX = 63;
const MEMBERS: Readonly<Record<OverlayCommand["command"] | "subscribe", readonly string[]>> = {
  create: ["spec", "hold", "replace"],
  plan: ["spec"],
  config: ["name"],
  cancel: ["name"],
  destroy: ["name"],
  status: ["name", "probes"],
  list: [],
  discover: [],
  subscribe: ["groups"],
};

/** Reads and checks one line of a client. */
export function parseOverlayRequest(
  line: string,
): Parsed<OverlayCommand | Subscribe<OverlayGroup>> {
  return parseRequestLine(line, requestOf);
}

function requestOf(members: Members): OverlayCommand | Subscribe<OverlayGroup> | string {
  const { command } = members;
  if (typeof command !== "string" || !Object.hasOwn(MEMBERS, command)) {
    const known = Object.keys(MEMBERS).join(", ");
    return `Cannot read command as it must be one of ${known}: ${shownMember(command)}`;
  }
  const known = ["id", "command", ...MEMBERS[command as keyof typeof MEMBERS]];
  const unknown = Object.keys(members).find((key) => !known.includes(key));
  if (unknown !== undefined) return `Cannot read request as it is unknown: ${shownMember(unknown)}`;
  const { groups = OVERLAY_GROUPS, hold = false, name, probes = 3, replace = false, spec } =
    members;
  switch (command as OverlayCommand["command"] | "subscribe") {
    case "create":
      if (typeof spec !== "string") {
        return `Cannot read spec as it must be text: ${shownMember(spec)}`;
      }
      if (typeof hold !== "boolean") {
        return `Cannot read hold as it is no boolean: ${shownMember(hold)}`;
      }
      if (typeof replace !== "boolean") {
        return `Cannot read replace as it is no boolean: ${shownMember(replace)}`;
      }
      return { command: "create", spec, hold, replace };
    case "plan":
      if (typeof spec !== "string") {
        return `Cannot read spec as it must be text: ${shownMember(spec)}`;
      }
      return { command: "plan", spec };
    case "config":
    case "cancel":
    case "destroy":
      if (!isName(name)) return `Cannot read name as it is none: ${shownMember(name)}`;
      return { command: command as "config", name };
    case "status": {
      if (!isName(name)) return `Cannot read name as it is none: ${shownMember(name)}`;
      const isCount = Number.isSafeInteger(probes) && (probes as number) >= 0 &&
        (probes as number) <= PROBES_MAX;
      if (!isCount) {
        return `Cannot read probes as it must be 0 to ${PROBES_MAX}: ${shownMember(probes)}`;
      }
      return { command: "status", name, probes: probes as number };
    }
    case "list":
    case "discover":
      return { command: command as "list" };
    case "subscribe": {
      const valid = Array.isArray(groups) &&
        groups.every((group) => OVERLAY_GROUPS.includes(group));
      if (valid) return { command: "subscribe", groups };
      return `Cannot read groups as they are ${OVERLAY_GROUPS.join(", ")}: ${shownMember(groups)}`;
    }
  }
}

function isName(value: unknown): value is string {
  return typeof value === "string" && value.length > 0 && value.length <= NAME_MAX;
}
