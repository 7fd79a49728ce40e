/**
 * What the configurations of an overlay's two daemons have in common: who they are, where they hear each
 * other, and what they keep.
 *
 * @module
 */
import { HOST_PORT, PATH } from "./forms.ts";
import type { Form } from "./forms.ts";
import type { Infer } from "./schema.ts";
import { LOG_SCHEMA, STATUS_LISTEN } from "./common_config.ts";

const ADDRESS: Form = {
  expected: "an IPv4 or IPv6 address",
  pattern: "^[0-9A-Fa-f:.]+$",
};

/** Certificate, key and authority of this node. */
export const IDENTITY_SCHEMA = {
  kind: "object",
  about:
    "Who this node is (--certificate, --key and --ca tell it, too): files in PEM, as `fairlead overlay keys` makes them.",
  keys: {
    certificate: { kind: "text", form: PATH, about: "Certificate of this node." },
    key: { kind: "text", form: PATH, about: "Its key, which nobody else may read." },
    ca: { kind: "text", form: PATH, about: "Certificates of the authority that all nodes trust." },
  },
} as const;

/** Its paths. */
export type IdentityConfig = Infer<typeof IDENTITY_SCHEMA>;

/** Where invitations are heard and sent. */
export const GROUP_SCHEMA = {
  kind: "or",
  literal: false,
  default: "239.255.2.65:265",
  of: {
    kind: "text",
    form: HOST_PORT,
    about: "Multicast group of the invitations, ADDRESS:PORT; false for none.",
  },
} as const;

/** Which interface the group is on. */
export const INTERFACE_SCHEMA = {
  kind: "or",
  literal: null,
  default: null,
  of: {
    kind: "text",
    form: ADDRESS,
    about: "Address of the interface that the group is on; null for the kernel's choice.",
  },
} as const;

/** The control port. */
export const CONTROL_LISTEN = {
  kind: "text",
  form: HOST_PORT,
  default: "0.0.0.0:265",
  about: "Control port, TCP with mutual TLS, HOST:PORT.",
} as const;

/** The status page, false for none. */
export const OVERLAY_STATUS = {
  kind: "or",
  literal: false,
  default: false,
  of: {
    kind: "object",
    about: "Status page, metrics and health; false for none.",
    keys: { listen: STATUS_LISTEN },
  },
} as const;

/** How events are written. */
export const OVERLAY_LOG = LOG_SCHEMA;

/** An address of this box. */
export const ADDRESS_FORM: Form = ADDRESS;

/** Which managers may use this node. */
export const ACL_SCHEMA = {
  kind: "array",
  min: 0,
  max: 64,
  default: [{ manager: "*", overlays: 8, access: "deploy" }],
  about: "Which managers may use it; the first rule that fits counts, and nobody else may.",
  of: {
    kind: "object",
    about: "A rule.",
    keys: {
      manager: {
        kind: "text",
        form: { expected: "a name, * for any run of characters", pattern: "^[A-Za-z0-9._*-]+$" },
        about: "Name in the manager's certificate, * for any run of characters.",
      },
      access: {
        kind: "text",
        choices: ["deploy", "none"],
        default: "deploy",
        about: "May deploy overlays, or may not.",
      },
      overlays: {
        kind: "integer",
        min: 1,
        max: 64,
        default: 8,
        about: "Overlays at once, of all managers, beyond which it is refused.",
      },
    },
  },
} as const;

/** Its rules. */
export type AclConfig = Infer<typeof ACL_SCHEMA>;
