/**
 * What is said at the access socket of a standby daemon: a line of JSON each way, members in snake_case.
 *
 *     -> {"id": 1, "command": "status"}
 *     -> {"id": 2, "command": "diff"}
 *     -> {"id": 3, "command": "promote", "force": false}
 *     -> {"id": 4, "command": "demote"}
 *     -> {"id": 5, "command": "subscribe", "groups": ["role"]}
 *
 * @module
 */
import type { DaemonName } from "../access_client.ts";
import type { AccessId, Parsed, Subscribe } from "../access_server.ts";
import { printable } from "../printable.ts";

/** Whose socket it is. */
export const STANDBY_DAEMON: DaemonName = {
  who: "the standby daemon",
  start: "fairlead standby run",
};

/** Where it is unless it is said otherwise. */
export const STANDBY_SOCKET = "/run/fairlead/standby.sock";

/** What can be subscribed to: each change of the role. */
export const STANDBY_GROUPS = ["role"] as const;
/** One of them. */
export type StandbyGroup = typeof STANDBY_GROUPS[number];

/** An event of a group. */
export interface StandbyEvent {
  readonly event: StandbyGroup;
  readonly role: string;
  readonly term: number;
  readonly text: string;
}

/** What is asked for. */
export type StandbyCommand =
  | { readonly command: "status" }
  | { readonly command: "diff" }
  | { readonly command: "promote"; readonly force: boolean }
  | { readonly command: "demote" };

type Members = Readonly<Record<string, unknown>>;

/** Reads and checks one line of a client. */
export function parseStandbyRequest(
  line: string,
): Parsed<StandbyCommand | Subscribe<StandbyGroup>> {
  let members: Members;
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return {
        id: null,
        error: `Cannot read request as it must be a JSON object: ${shown(value)}`,
      };
    }
    members = value as Members;
  } catch (error) {
    const why = printable((error as Error).message);
    return { id: null, error: `Cannot read request as it is not JSON: ${why}` };
  }
  const number = members.id ?? null;
  if (number !== null && !(Number.isSafeInteger(number) && (number as number) >= 0)) {
    return { id: null, error: `Cannot read id as it must be a whole number: ${shown(number)}` };
  }
  const id = number as AccessId;
  const request = requestOf(members);
  return typeof request === "string" ? { id, error: request } : { id, request };
}

function requestOf(members: Members): StandbyCommand | Subscribe<StandbyGroup> | string {
  const { command } = members;
  const unknown = Object.keys(members).find((key) => !isKnown(command, key));
  if (unknown !== undefined) return `Cannot read request as it is unknown: ${shown(unknown)}`;
  switch (command) {
    case "status":
    case "diff":
    case "demote":
      return { command };
    case "promote": {
      const force = members.force ?? false;
      if (typeof force === "boolean") return { command, force };
      return `Cannot read force as it must be true or false: ${shown(force)}`;
    }
    case "subscribe": {
      const groups = members.groups ?? STANDBY_GROUPS;
      const valid = Array.isArray(groups) &&
        groups.every((group) => STANDBY_GROUPS.includes(group));
      if (valid) return { command, groups };
      return `Cannot read groups as they are ${STANDBY_GROUPS.join(", ")}: ${shown(groups)}`;
    }
    default:
      return "Cannot read command as it must be status, diff, promote, demote or subscribe: " +
        shown(command);
  }
}

function isKnown(command: unknown, key: string): boolean {
  if (key === "id" || key === "command") return true;
  return (command === "promote" && key === "force") ||
    (command === "subscribe" && key === "groups");
}

function shown(value: unknown): string {
  return `current value is ${printable((JSON.stringify(value) ?? "none").slice(0, 80))}`;
}
