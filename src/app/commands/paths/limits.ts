/**
 * `fairlead paths limits`: limits of the kernel's own path manager, as `ip mptcp limits`.
 *
 * @module
 */
import { Errno, errnoText } from "../../../io/errno.ts";
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { KernelEndpoints } from "../../paths/kernel_endpoints.ts";
import { printLine } from "../../terminal.ts";

const LIMIT_MAX = 8;

const LIMITS = command({
  name: "fairlead paths limits",
  summary: "Shows and sets limits of the kernel's own path manager",
  flags: {
    subflows: {
      kind: "number",
      value: "N",
      min: 0,
      max: LIMIT_MAX,
      help: "subflows of a connection beside its first; 0 refuses all joins",
    },
    "add-addrs": {
      kind: "number",
      value: "N",
      min: 0,
      max: LIMIT_MAX,
      help: "announced addresses of a peer that are joined",
    },
    namespace: {
      kind: "text",
      value: "NAME",
      short: "N",
      help: "one of ip netns; ours unless given",
    },
    json: { kind: "boolean", help: "print JSON" },
  },
  examples: [
    ["fairlead paths limits", "As they are"],
    ["fairlead paths limits --subflows 4 --add-addrs 4", "More of both"],
  ],
});

/** Runs the action; returns the exit code. */
export function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(LIMITS, words);
  if (help) {
    printLine(helpText(LIMITS));
    return Promise.resolve(Exit.Ok);
  }
  const endpoints = KernelEndpoints.open(flags.namespace ?? "");
  try {
    const { "add-addrs": addAddrs, subflows } = flags;
    if (subflows !== undefined || addAddrs !== undefined) {
      const before = endpoints.limits();
      const errno = endpoints.setLimits({
        subflows: subflows ?? before.subflows,
        addAddrs: addAddrs ?? before.addAddrs,
      });
      if (errno !== 0) {
        const remedy = errno === Errno.Eperm ? ", it needs CAP_NET_ADMIN: run it as root" : "";
        throw new Error(`Cannot set limits: ${errnoText(errno)}${remedy}`);
      }
    }
    const now = endpoints.limits();
    printLine(
      flags.json
        ? JSON.stringify({ subflows: now.subflows, add_addrs: now.addAddrs })
        : `subflows ${now.subflows} add_addrs ${now.addAddrs}`,
    );
  } finally {
    endpoints.close();
  }
  return Promise.resolve(Exit.Ok);
}
