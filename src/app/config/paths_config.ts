/**
 * The key "paths" of a gateway's configuration: its table, and the policy of proto/mptcp/path_policy.ts
 * that follows from it.
 *
 * @module
 */
import { INTERFACE_DEFAULT, type PathPolicy } from "../../proto/mptcp/path_policy.ts";
import { LINK_PATTERN, NAMESPACE_NAME, SOCKET_PATH, SUBNET } from "./forms.ts";
import type { Infer, ObjectSchema } from "./schema.ts";

const HOUR_MS = 3_600_000;

const LAYOUT = {
  kind: "text",
  choices: ["full-mesh", "primary-backup", "none"],
  about: "Subflows from every interface, with one in use and the others as backup, or none.",
} as const;

const LINKS = {
  kind: "array",
  of: { kind: "text", form: LINK_PATTERN, about: "Its name; * for any run of characters." },
  min: 0,
  max: 32,
  default: [],
} as const;

const SUBFLOWS_MAX = {
  kind: "integer",
  min: 1,
  max: 64,
  default: 8,
  about: "Most subflows of one connection, with its first one.",
} as const;

const INTERFACE_SCHEMA = {
  kind: "object",
  about: "What some addresses of this box are used for.",
  keys: {
    name: {
      kind: "or",
      literal: null,
      default: null,
      of: {
        kind: "text",
        form: LINK_PATTERN,
        about: "Name of the interface, * for any run of characters; null for every one.",
      },
    },
    subnet: {
      kind: "or",
      literal: null,
      default: null,
      of: {
        kind: "text",
        form: SUBNET,
        about: "What the address must be in, ADDRESS/BITS; null for every one.",
      },
    },
    role: {
      kind: "text",
      choices: ["primary", "backup", "metered", "off"],
      default: "primary",
      about: "In use, used when no primary can be, used when nothing else can be, or never used.",
    },
    priority: {
      kind: "integer",
      min: 0,
      max: 65_535,
      default: INTERFACE_DEFAULT.priority,
      about: "Lower ones are used first; equal ones together.",
    },
    announce: {
      kind: "boolean",
      default: false,
      about: "Tell peers of the address, so that they make subflows to it.",
    },
    subflows: {
      kind: "integer",
      min: 1,
      max: 8,
      default: 1,
      about: "Subflows from the address to each one of the peer.",
    },
  },
} as const;

const CONNECTION_SCHEMA = {
  kind: "object",
  about: "What is different for some connections.",
  keys: {
    destination: {
      kind: "or",
      literal: null,
      default: null,
      of: {
        kind: "text",
        form: SUBNET,
        about: "What the peer's address must be in, ADDRESS/BITS; null for every one.",
      },
    },
    port: {
      kind: "integer",
      min: 0,
      max: 65_535,
      default: 0,
      about: "The peer's port, or our own one where the peer connected; 0 for every one.",
    },
    layout: { ...LAYOUT, derived: 'the layout of "paths"' },
    subflowsMax: SUBFLOWS_MAX,
    interfaces: { ...LINKS, about: "Names of the interfaces that are used; none: all." },
    joins: {
      kind: "text",
      choices: ["default", "accept", "refuse"],
      default: "default",
      about: 'Whether peers may add subflows; default as "joins" of "paths" says.',
    },
  },
} as const;

const JOINS_SCHEMA = {
  kind: "or",
  literal: false,
  default: false,
  of: {
    kind: "object",
    about: "A guard for subflows that peers want to add; false: the kernel takes all.",
    keys: {
      default: {
        kind: "text",
        choices: ["accept", "refuse", "interfaces"],
        default: "accept",
        about: "What becomes of them unless another program says more; interfaces: taken on some.",
      },
      interfaces: { ...LINKS, about: "Where they are taken, with default interfaces." },
      decide: {
        kind: "text",
        choices: ["set", "queue"],
        default: "set",
        about: "By a list in the kernel, or each by asking who subscribed to join_attempt.",
      },
      answerMs: {
        kind: "integer",
        min: 1,
        max: 10_000,
        default: 500,
        about: "How long one waits for the answer, with decide queue.",
      },
      whenAway: {
        kind: "text",
        choices: ["accept", "refuse"],
        default: "accept",
        about: "What becomes of them while this program does not run.",
      },
    },
  },
} as const;

const PATHS_KEYS = {
  manager: {
    kind: "text",
    choices: ["userspace", "kernel"],
    default: "userspace",
    about: "Who makes subflows: this program, or the kernel with endpoints that it is given.",
  },
  setPmType: {
    kind: "boolean",
    default: false,
    about: "Set net.mptcp.pm_type as the manager needs it, and restore it at the end.",
  },
  socket: {
    kind: "or",
    literal: false,
    default: "/run/fairlead/paths.sock",
    of: {
      kind: "text",
      form: SOCKET_PATH,
      about: "Unix socket for other programs and `fairlead paths`; false for none.",
    },
  },
  namespaces: {
    kind: "array",
    of: { kind: "text", form: NAMESPACE_NAME, about: "Its name, as ip netns list shows it." },
    min: 0,
    max: 16,
    default: [],
    about: "Network namespaces whose connections are managed; none: our own.",
  },
  layout: { ...LAYOUT, default: "full-mesh" },
  interfaces: {
    kind: "array",
    of: INTERFACE_SCHEMA,
    min: 0,
    max: 64,
    default: [],
    about: "The first rule that holds says what an address is used for; none: all are primary.",
  },
  connections: {
    kind: "array",
    of: CONNECTION_SCHEMA,
    min: 0,
    max: 64,
    default: [],
    about: "The first rule that holds changes what counts for a connection.",
  },
  subflowsMax: SUBFLOWS_MAX,
  announcesMax: {
    kind: "integer",
    min: 0,
    max: 64,
    default: 8,
    about: "Most addresses that are told to one peer.",
  },
  announceIntervalMs: {
    kind: "integer",
    min: 0,
    max: 60_000,
    default: 200,
    about: "Between two addresses that are told or withdrawn; peers lose faster ones.",
  },
  retryFirstMs: {
    kind: "integer",
    min: 10,
    max: HOUR_MS,
    default: 1000,
    about: "Before a subflow that failed is made again; doubles each time.",
  },
  retryMaxMs: {
    kind: "integer",
    min: 10,
    max: HOUR_MS,
    default: 60_000,
    about: "What that grows to.",
  },
  upDelayMs: {
    kind: "integer",
    min: 0,
    max: HOUR_MS,
    default: 2000,
    about: "How long a link that was down must be up to be used; doubles while it flaps.",
  },
  upDelayMaxMs: {
    kind: "integer",
    min: 0,
    max: HOUR_MS,
    default: 60_000,
    about: "What that grows to.",
  },
  reconcileSeconds: {
    kind: "integer",
    min: 1,
    max: 3600,
    default: 30,
    about: "Seconds between two looks at all connections: not every end is told.",
  },
  linkPollMs: {
    kind: "integer",
    min: 0,
    max: 1000,
    default: 100,
    about: "Between two looks whether links have carrier, 5 after one changed; 0: never.",
  },
  joins: JOINS_SCHEMA,
} as const;

/** What "paths" may hold. */
export const PATHS_SCHEMA = {
  kind: "or",
  literal: false,
  default: false,
  of: {
    kind: "object",
    about: "Sessions over several uplinks, by MPTCP; false: nobody manages their paths.",
    keys: PATHS_KEYS,
  },
} as const;

/** The same with all defaults. */
export type PathsConfig = Infer<typeof PATHS_SCHEMA["of"]>;

/** Its part about joins, where they are guarded. */
export type JoinsConfig = Infer<typeof JOINS_SCHEMA["of"]>;

/** What a program runs with that does nothing else; a configuration file itself. */
export interface PathsFile {
  readonly paths: PathsConfig;
}

/** Its table. */
export const PATHS_FILE_SCHEMA = {
  kind: "object",
  about: "Configuration of fairlead paths daemon; it takes a gateway's file too.",
  keys: { paths: PATHS_SCHEMA },
} as const satisfies ObjectSchema;

/** What the path manager is told to do. */
export function pathPolicy(config: PathsConfig): PathPolicy {
  const { layout, interfaces, connections, subflowsMax, announcesMax, announceIntervalMs } = config;
  const { retryFirstMs, retryMaxMs, upDelayMs, upDelayMaxMs } = config;
  return {
    layout,
    interfaces,
    connections,
    subflowsMax,
    announcesMax,
    announceIntervalMs,
    retryFirstMs,
    retryMaxMs,
    upDelayMs,
    upDelayMaxMs,
    joins: "default", // the guard has what the file says
  };
}
