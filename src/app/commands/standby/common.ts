/**
 * What the actions of `fairlead standby` have in common: how they reach the daemon.
 *
 * @module
 */
import { AccessClient } from "../../access_client.ts";
import {
  STANDBY_DAEMON,
  STANDBY_SOCKET,
  type StandbyEvent,
} from "../../standby/standby_message.ts";

/** Every answer comes within it; a promotion may take a handover's time. */
const ANSWER_MS = 20_000;

/** Spread into the flags of an action that asks the daemon. */
export const STANDBY_ACCESS = {
  socket: {
    kind: "text",
    value: "PATH",
    short: "s",
    default: STANDBY_SOCKET,
    help: "access socket of the daemon",
  },
  json: { kind: "boolean", help: "print JSON" },
} as const;

/** Asks the daemon one thing; the members of its answer. */
export async function askStandby(
  socket: string,
  command: string,
  members: object = {},
): Promise<Record<string, unknown>> {
  const client = await AccessClient.connect<StandbyEvent>(STANDBY_DAEMON, socket);
  try {
    const { id: _, ok: __, ...answer } = await client.request(command, members, ANSWER_MS);
    return answer;
  } finally {
    await client.close();
  }
}
