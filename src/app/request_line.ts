/**
 * A line of JSON that a client of a daemon sends: an object with a number of its own, and a command. Which
 * commands there are is the daemon's.
 *
 * @module
 */
import type { AccessId, Parsed } from "./access_server.ts";
import { printable } from "./printable.ts";

/** What stands in it. */
export type Members = Readonly<Record<string, unknown>>;

/** What is shown of a value that is wrong. */
const SHOWN_MAX = 80;

/** Reads a line, and hands its members to `requestOf`, which returns a text when they are wrong. */
export function parseRequestLine<Request extends object>(
  line: string,
  requestOf: (members: Members) => Request | string,
): Parsed<Request> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    const why = printable((error as Error).message);
    return { id: null, error: `Cannot read request as it is not JSON: ${why}` };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const error = `Cannot read request as it must be a JSON object: ${shownMember(value)}`;
    return { id: null, error };
  }
  const members = value as Members;
  const number = members.id ?? null;
  if (number !== null && !(Number.isSafeInteger(number) && (number as number) >= 0)) {
    return {
      id: null,
      error: `Cannot read id as it must be a whole number: ${shownMember(number)}`,
    };
  }
  const id = number as AccessId;
  const request = requestOf(members);
  return typeof request === "string" ? { id, error: request } : { id, request };
}

/** A value for a message. */
export function shownMember(value: unknown): string {
  return `current value is ${printable((JSON.stringify(value) ?? "none").slice(0, SHOWN_MAX))}`;
}
