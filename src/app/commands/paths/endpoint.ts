/**
 * `fairlead paths endpoint`: endpoints of the kernel's own path manager, as `ip mptcp endpoint`.
 *
 * @module
 */
import { errnoText } from "../../../io/errno.ts";
import type { EndpointChange, KernelEndpoint } from "../../../proto/mptcp/endpoint_keeper.ts";
import { isAddress } from "../../../proto/mptcp/subnet.ts";
import { PmFlag } from "../../../wire/netlink/mptcp_pm.ts";
import { command, Exit, parseArgs, UsageError } from "../../args.ts";
import { helpText } from "../../help.ts";
import { KernelEndpoints } from "../../paths/kernel_endpoints.ts";
import { LinkMonitor } from "../../paths/link_monitor.ts";
import { printableWord } from "../../printable.ts";
import { printLine } from "../../terminal.ts";
import { numberArgument } from "./common.ts";

const ID_MAX = 255;
const ACTIONS = ["show", "add", "delete", "change", "flush"];

const ENDPOINT = command({
  name: "fairlead paths endpoint",
  summary: "Shows and changes endpoints of the kernel's own path manager",
  description:
    "The kernel's manager is in charge of connections that were made while net.mptcp.pm_type was 0. change\n" +
    "sets --backup and --fullmesh as they are given: without them both are off.",
  positionals: [
    { name: "ACTION", help: `${ACTIONS.join(", ")}; show unless given`, optional: true },
    { name: "WHICH", help: "add: an address; delete and change: an id", optional: true },
  ],
  flags: {
    id: { kind: "number", value: "ID", min: 1, max: ID_MAX, help: "add: its id; any free one" },
    link: { kind: "text", value: "NAME", help: "add: the interface to use" },
    signal: { kind: "boolean", help: "announce it to peers" },
    subflow: { kind: "boolean", help: "make subflows from it; so it is when neither is given" },
    backup: { kind: "boolean", help: "as backups" },
    fullmesh: { kind: "boolean", help: "to every address of a peer" },
    namespace: {
      kind: "text",
      value: "NAME",
      short: "N",
      help: "one of ip netns; ours unless given",
    },
    json: { kind: "boolean", help: "print JSON" },
  },
  examples: [
    ["fairlead paths endpoint", "All there are"],
    ["fairlead paths endpoint add 10.9.2.1 --subflow --backup", "A backup path from 10.9.2.1"],
    ["fairlead paths endpoint delete 2", "Without it"],
  ],
});

type Flags = ReturnType<typeof parseArgs<typeof ENDPOINT.flags>>["flags"];

/** Runs the action; returns the exit code. */
export function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(ENDPOINT, words);
  if (help) {
    printLine(helpText(ENDPOINT));
    return Promise.resolve(Exit.Ok);
  }
  const [action = "show", which] = positionals;
  if (!ACTIONS.includes(action)) {
    throw new UsageError(
      `Cannot run endpoint as ACTION must be ${ACTIONS.join(", ")}: current value is ${
        JSON.stringify(action)
      }`,
    );
  }
  const names = linkNames(flags.namespace ?? "");
  const endpoints = KernelEndpoints.open(flags.namespace ?? "");
  try {
    if (action === "flush") told(endpoints.flush(), endpoints, "flush endpoints");
    else if (action !== "show") {
      const change = changeOf(action, which, flags, names, endpoints);
      told(endpoints.apply(change), endpoints, `${action} endpoint ${which}`);
    }
    const list = endpoints.list();
    if (flags.json) printLine(JSON.stringify(list.map((one) => members(one, names))));
    else for (const endpoint of list) printLine(lineOf(endpoint, names));
  } finally {
    endpoints.close();
  }
  return Promise.resolve(Exit.Ok);
}

function changeOf(
  action: string,
  which: string | undefined,
  flags: Flags,
  names: ReadonlyMap<number, string>,
  endpoints: KernelEndpoints,
): EndpointChange {
  if (which === undefined) {
    throw new UsageError(`Cannot ${action} an endpoint as WHICH is missing: see --help`);
  }
  const reach = (flags.signal ? PmFlag.Signal : 0) | (flags.subflow ? PmFlag.Subflow : 0);
  const flagBits = (flags.backup ? PmFlag.Backup : 0) | (flags.fullmesh ? PmFlag.Fullmesh : 0);
  if (action === "add") {
    if (!isAddress(which)) {
      throw new UsageError(
        `Cannot add an endpoint as WHICH must be an address: current value is ${
          JSON.stringify(which)
        }`,
      );
    }
    const { link } = flags;
    const index = link === undefined ? 0 : indexOf(link, names);
    if (index < 0) {
      throw new UsageError(
        `Cannot use --link as there is no such interface: current value is ${JSON.stringify(link)}`,
      );
    }
    const bits = (reach === 0 ? PmFlag.Subflow : reach) | flagBits;
    const id = flags.id ?? 0;
    return {
      kind: "add",
      endpoint: { id, address: which, port: 0, interfaceIndex: index, flags: bits },
    };
  }
  const id = numberArgument("WHICH", which, ID_MAX);
  const there = endpoints.list().find((endpoint) => endpoint.id === id);
  if (there === undefined) {
    throw new Error(`Cannot ${action} endpoint as there is none: current value is ${id}`);
  }
  return action === "delete"
    ? { kind: "delete", endpoint: there }
    : { kind: "flags", endpoint: { ...there, flags: flagBits } };
}

function told(errno: number, { text }: KernelEndpoints, what: string): void {
  if (errno === 0) return;
  const said = text === "" ? "" : `: ${text}`;
  throw new Error(`Cannot ${what}: ${errnoText(errno)}${said}`);
}

const NAMES = Object.entries(PmFlag).map(([name, bit]) => [name.toLowerCase(), bit] as const);

function members(
  { address, flags, id, interfaceIndex, port }: KernelEndpoint,
  names: ReadonlyMap<number, string>,
): object {
  return {
    id,
    address,
    port,
    link: names.get(interfaceIndex) ?? null,
    flags: NAMES.filter(([, bit]) => (flags & bit) !== 0).map(([name]) => name),
  };
}

function lineOf(
  { address, flags, id, interfaceIndex, port }: KernelEndpoint,
  names: ReadonlyMap<number, string>,
): string {
  const words = NAMES.filter(([, bit]) => (flags & bit) !== 0).map(([name]) => name);
  const name = names.get(interfaceIndex) ?? `${interfaceIndex}`;
  const device = interfaceIndex === 0 ? "" : ` dev ${printableWord(name)}`;
  const at = port === 0 ? "" : ` port ${port}`;
  return `${address}${at} id ${id} ${words.join(" ")}${device}`;
}

function linkNames(namespace: string): Map<number, string> {
  const links = LinkMonitor.open(namespace);
  try {
    return new Map(links.read().links.map(({ index, name }) => [index, name]));
  } finally {
    links.close();
  }
}

/** -1 when there is no such interface. */
function indexOf(wanted: string, names: ReadonlyMap<number, string>): number {
  for (const [index, name] of names) if (name === wanted) return index;
  return -1;
}
