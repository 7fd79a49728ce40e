/**
 * The configuration of `fairlead overlay om`: whom a manager asks, who may ask it, and how long it waits.
 *
 * @module
 */
import { HOST_PORT, PATH, SOCKET_PATH } from "./forms.ts";
import { checkIdentity } from "./overlay_check.ts";
import { loadConfig, type Loaded, type Override } from "./load_config.ts";
import {
  ACL_SCHEMA,
  CONTROL_LISTEN,
  GROUP_SCHEMA,
  IDENTITY_SCHEMA,
  INTERFACE_SCHEMA,
  OVERLAY_LOG,
  OVERLAY_STATUS,
} from "./overlay_common_config.ts";
import type { Infer, ObjectSchema } from "./schema.ts";

/** Where the local socket is unless it is said otherwise. */
export const OVERLAY_SOCKET = "/run/fairlead/overlay.sock";

const TIMERS_SCHEMA = {
  kind: "object",
  about: "How long it waits, in milliseconds.",
  default: {},
  keys: {
    invite: timer(1000, "For answers to an invitation, in each ring."),
    select: timer(2000, "For a node to commit itself, three times."),
    dispatch: timer(15_000, "For a sub-manager and each level below it, twice."),
    user: timer(60_000, "For `overlay config` after `apply --hold`."),
    config: timer(10_000, "For a node to configure itself, three times."),
    probe: timer(2000, "For a round of probes over every link, five times."),
    delete: timer(2000, "For a node to undo everything, three times, then in the background."),
    refresh: timer(10_000, "Between signs of life to the nodes."),
    lease: timer(
      60_000,
      "Without them after which a node undoes everything; three refreshes or more.",
    ),
  },
} as const;

function timer(milliseconds: number, about: string): {
  readonly kind: "integer";
  readonly min: 10;
  readonly max: 86_400_000;
  readonly default: number;
  readonly about: string;
} {
  return { kind: "integer", min: 10, max: 86_400_000, default: milliseconds, about };
}

const RINGS = {
  kind: "array",
  of: { kind: "integer", min: 1, max: 255, about: "A TTL." },
  min: 1,
  max: 8,
  default: [1, 4, 16],
  about: "How far invitations go, one ring after another until enough nodes have answered.",
} as const;

/** All of it. */
export const MANAGER_SCHEMA = {
  kind: "object",
  about: "Whom a manager asks, who may ask it, and how long it waits.",
  keys: {
    identity: IDENTITY_SCHEMA,
    listen: { ...CONTROL_LISTEN, about: "Control port for managers above and answers, HOST:PORT." },
    group: GROUP_SCHEMA,
    interface: INTERFACE_SCHEMA,
    nodes: {
      kind: "array",
      of: { kind: "text", form: HOST_PORT, about: "HOST:PORT of a node." },
      min: 0,
      max: 512,
      default: [],
      about: "Nodes that are invited one by one, where multicast does not reach them.",
    },
    rings: RINGS,
    above: {
      kind: "or",
      literal: false,
      default: false,
      of: {
        kind: "text",
        form: HOST_PORT,
        about:
          "Group in which managers above invite this one, ADDRESS:PORT; false: it is asked by users only.",
      },
    },
    acl: {
      ...ACL_SCHEMA,
      about: "Which managers above may use it; the first rule that fits counts.",
    },
    api: {
      kind: "or",
      literal: false,
      default: false,
      of: {
        kind: "text",
        form: HOST_PORT,
        about:
          "Where operators reach it: JSON over mutual TLS, HOST:PORT; false for none. IANA's port is 2165.",
      },
    },
    socket: {
      kind: "or",
      literal: false,
      default: OVERLAY_SOCKET,
      of: {
        kind: "text",
        form: SOCKET_PATH,
        about: "Access socket, of its owner alone; false for none.",
      },
    },
    timers: TIMERS_SCHEMA,
    state: {
      kind: "text",
      form: PATH,
      default: "/var/lib/fairlead/overlay-om",
      about: "Directory of the records of its overlays.",
    },
    status: OVERLAY_STATUS,
    log: OVERLAY_LOG,
  },
} as const satisfies ObjectSchema;

/** It as a value. */
export type ManagerConfig = Infer<typeof MANAGER_SCHEMA>;

/** Reads a file, or only what flags and defaults say when `path` is null. */
export async function loadManagerConfig(
  path: string | null,
  overrides: readonly Override[] = [],
): Promise<Loaded<ManagerConfig>> {
  return await loadConfig<ManagerConfig>(
    MANAGER_SCHEMA,
    path,
    overrides,
    async (draft, findings) => {
      const { lease, refresh } = draft.timers ?? {};
      if (lease !== undefined && refresh !== undefined && lease < 3 * refresh) {
        findings.error(
          "timers.lease",
          `it must be three times timers.refresh or more: current value is ${lease}, write ${
            3 * refresh
          }`,
        );
      }
      if (draft.group === false && draft.nodes?.length === 0) {
        findings.error(
          "nodes",
          'they must be given without a group: current value is [], write "nodes" or "group"',
        );
      }
      if (draft.socket === false && draft.api === false && draft.above === false) {
        findings.error(
          "socket",
          'nobody could ask this manager: current value is false, write "socket", "api" or "above"',
        );
      }
      await checkIdentity(draft.identity, "manager", findings);
    },
  );
}
