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
import type { Parsed, Subscribe } from "../access_server.ts";
import { type Members, parseRequestLine, shownMember } from "../request_line.ts";

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

/** Reads and checks one line of a client. */
export function parseStandbyRequest(
  line: string,
): Parsed<StandbyCommand | Subscribe<StandbyGroup>> {
  return parseRequestLine(line, requestOf);
}

function requestOf(members: Members): StandbyCommand | Subscribe<StandbyGroup> | string {
  const { command } = members;
  const unknown = Object.keys(members).find((key) => !isKnown(command, key));
  if (unknown !== undefined) return `Cannot read request as it is unknown: ${shownMember(unknown)}`;
  switch (command) {
    case "status":
    case "diff":
    case "demote":
      return { command };
    case "promote": {
      const force = members.force ?? false;
      if (typeof force === "boolean") return { command, force };
      return `Cannot read force as it must be true or false: ${shownMember(force)}`;
    }
    case "subscribe": {
      const groups = members.groups ?? STANDBY_GROUPS;
      const valid = Array.isArray(groups) &&
        groups.every((group) => STANDBY_GROUPS.includes(group));
      if (valid) return { command, groups };
      return `Cannot read groups as they are ${STANDBY_GROUPS.join(", ")}: ${shownMember(groups)}`;
    }
    default:
      return "Cannot read command as it must be status, diff, promote, demote or subscribe: " +
        shownMember(command);
  }
}

function isKnown(command: unknown, key: string): boolean {
  if (key === "id" || key === "command") return true;
  return (command === "promote" && key === "force") ||
    (command === "subscribe" && key === "groups");
}
