/**
 * What the actions of `fairlead paths` have in common: how they reach the daemon, and how they name a
 * connection.
 *
 * @module
 */
import { UsageError } from "../../args.ts";
import { AccessClient, NoDaemon } from "../../access_client.ts";
import {
  type AccessEvent,
  type AccessRequest,
  parseConnection,
  PATH_MANAGER,
} from "../../paths/access_message.ts";
import { kernelView } from "../../paths/kernel_view.ts";
import type { PathsView } from "../../paths/paths_view.ts";
import { printableJson } from "../../printable.ts";
import { printError, printLine } from "../../terminal.ts";

/** Where the daemon's socket is unless it is said otherwise. */
export const SOCKET_DEFAULT = "/run/fairlead/paths.sock";

/** Every answer comes within it. */
export const ANSWER_MS = 10_000;

/** The largest number of a subflow. */
export const SUBFLOW_MAX = 0xffffffff;

/** Spread into the flags of an action that asks the daemon. */
export const DAEMON_ACCESS = {
  socket: {
    kind: "text",
    value: "PATH",
    short: "s",
    default: SOCKET_DEFAULT,
    help: "access socket of the daemon",
  },
  json: { kind: "boolean", help: "print JSON" },
} as const;

/** The positional argument that names a connection. */
export const CONNECTION_ARGUMENT = {
  name: "CONNECTION",
  help: "as paths list shows it: 0x1b2c3d4e",
} as const;

/** The same text when it names a connection. */
export function connectionArgument(text: string): string {
  if (parseConnection(text) !== null) return text;
  throw new UsageError(
    "Cannot use CONNECTION as it must be 0x and 1 to 8 hexadecimal digits: current value is " +
      `${JSON.stringify(text)}, see fairlead paths list`,
  );
}

/** A whole number of a positional argument. */
export function numberArgument(name: string, text: string, max: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
  if (value <= max) return value;
  throw new UsageError(
    `Cannot use ${name} as it must be a whole number up to ${max}: current value is ` +
      JSON.stringify(text),
  );
}

/** Connects to the daemon. */
export function connectDaemon(socket: string): Promise<AccessClient<AccessEvent>> {
  return AccessClient.connect(PATH_MANAGER, socket);
}

/** Asks the daemon one thing. */
export async function askDaemon(
  socket: string,
  command: AccessRequest["command"],
  members: object,
): Promise<Record<string, unknown>> {
  const client = await connectDaemon(socket);
  try {
    return await client.request(command, members, ANSWER_MS);
  } finally {
    await client.close();
  }
}

/** Has the daemon do something, and says what came of it. */
export async function commandDaemon(
  { json, socket }: { readonly json: boolean; readonly socket: string },
  command: AccessRequest["command"],
  members: object,
  done: (answer: Record<string, unknown>) => string,
): Promise<void> {
  const { id: _, ...answer } = await askDaemon(socket, command, members);
  printLine(json ? printableJson(answer) : done(answer));
}

/** Spread into the flags of an action that shows what there is. */
export const LOOK_FLAGS = {
  socket: {
    kind: "text",
    value: "PATH",
    short: "s",
    help: `access socket of the daemon; ${SOCKET_DEFAULT} unless given, if one is there`,
  },
  namespace: {
    kind: "text",
    value: "NAME",
    short: "N",
    help: "a namespace of ip netns rather than ours; the kernel is asked",
  },
} as const;

/** What is known of paths: from the daemon, or from the kernel where there is none. */
export async function look(
  { namespace, socket }: {
    readonly namespace: string | undefined;
    readonly socket: string | undefined;
  },
): Promise<PathsView> {
  if (namespace !== undefined) return kernelView(namespace);
  try {
    return (await askDaemon(socket ?? SOCKET_DEFAULT, "view", {})).view as PathsView;
  } catch (error) {
    if (socket !== undefined) throw error; // that one was meant
    const { message } = error as Error;
    if (!(error instanceof NoDaemon)) printError(`${message}: asking the kernel`);
    return kernelView("");
  }
}
