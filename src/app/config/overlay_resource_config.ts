/**
 * The configuration of `fairlead overlay rd`: what a box lends to overlays, and to whom.
 *
 * @module
 */
import { PATH } from "./forms.ts";
import { checkIdentity } from "./overlay_check.ts";
import { loadConfig, type Loaded, type Override } from "./load_config.ts";
import {
  ACL_SCHEMA,
  ADDRESS_FORM,
  CONTROL_LISTEN,
  GROUP_SCHEMA,
  IDENTITY_SCHEMA,
  INTERFACE_SCHEMA,
  OVERLAY_LOG,
  OVERLAY_STATUS,
} from "./overlay_common_config.ts";
import type { Infer, ObjectSchema } from "./schema.ts";

const SCRIPT_SCHEMA = {
  kind: "or",
  literal: false,
  default: false,
  of: {
    kind: "object",
    about: "Application scripts that an overlay brings; false: none is run.",
    keys: {
      folder: {
        kind: "or",
        literal: null,
        default: null,
        of: { kind: "text", form: PATH, about: "Folder of scripts that may be named." },
      },
      urls: {
        kind: "boolean",
        default: false,
        about: "Also fetch a script from a URL, when the overlay tells its SHA-256.",
      },
      user: {
        kind: "text",
        form: { expected: "a user's name", pattern: "^[a-z_][a-z0-9_-]*$" },
        about: "Unprivileged user that scripts run as.",
      },
      deadlineSeconds: {
        kind: "integer",
        min: 1,
        max: 600,
        default: 30,
        about: "Longest that a script may take, in seconds.",
      },
    },
  },
} as const;

/** All of it. */
export const RESOURCE_SCHEMA = {
  kind: "object",
  about: "What a box lends to overlays, and to whom.",
  keys: {
    identity: IDENTITY_SCHEMA,
    listen: CONTROL_LISTEN,
    group: GROUP_SCHEMA,
    interface: INTERFACE_SCHEMA,
    address: {
      kind: "or",
      literal: null,
      default: null,
      of: {
        kind: "text",
        form: ADDRESS_FORM,
        about: "Where tunnels end; null: the address that the box would send to the group from.",
      },
    },
    role: {
      kind: "text",
      choices: ["host", "router", "both"],
      default: "both",
      about: "What the box may be in an overlay.",
    },
    overlays: {
      kind: "integer",
      min: 1,
      max: 64,
      default: 8,
      about: "Overlays at once.",
    },
    acl: ACL_SCHEMA,
    routing: {
      kind: "or",
      literal: null,
      default: null,
      of: {
        kind: "text",
        form: { expected: "a daemon's name", pattern: "^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$" },
        about: "Routing daemon of this box that takes over links of overlays; null for none.",
      },
    },
    leaseSeconds: {
      kind: "integer",
      min: 5,
      max: 86_400,
      default: 3600,
      about: "Longest lease that is granted: an overlay whose manager is silent is undone then.",
    },
    script: SCRIPT_SCHEMA,
    hosts: {
      kind: "or",
      literal: false,
      default: "/etc/hosts",
      of: { kind: "text", form: PATH, about: "File of host names; false: it is left alone." },
    },
    refusals: {
      kind: "boolean",
      default: true,
      about: "Answer a manager's invitation that is refused with the reason; false: with silence.",
    },
    state: {
      kind: "text",
      form: PATH,
      default: "/var/lib/fairlead/overlay-rd",
      about: "Directory of the journals that undo what was configured.",
    },
    status: OVERLAY_STATUS,
    log: OVERLAY_LOG,
  },
} as const satisfies ObjectSchema;

/** It as a value. */
export type ResourceConfig = Infer<typeof RESOURCE_SCHEMA>;

/** Reads a file, or only what flags and defaults say when `path` is null. */
export async function loadResourceConfig(
  path: string | null,
  overrides: readonly Override[] = [],
): Promise<Loaded<ResourceConfig>> {
  return await loadConfig<ResourceConfig>(
    RESOURCE_SCHEMA,
    path,
    overrides,
    async (draft, findings) => {
      if (draft.group === false && draft.address === null) {
        findings.error(
          "address",
          "it must be given without a group: current value is null, write where tunnels end",
        );
      }
      await checkIdentity(draft.identity, "node", findings);
    },
  );
}
