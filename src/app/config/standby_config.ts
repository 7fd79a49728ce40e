/**
 * The key "standby" of a gateway's configuration: two boxes of which one takes over from the other. Its
 * table, and what `fairlead standby run` works with.
 *
 * @module
 */
import type { AuthConfig, LOG_SCHEMA } from "./common_config.ts";
import { ADDRESS_BITS, LINK_NAME, MSGR2_ADDRESS, PORT_NAME, SOCKET_PATH } from "./forms.ts";
import type { Infer } from "./schema.ts";

const STANDBY_KEYS = {
  role: {
    kind: "text",
    choices: ["active", "standby", "auto"],
    about: "What this box begins as; auto: whoever a witness lets be the active one.",
  },
  box: {
    kind: "text",
    form: PORT_NAME,
    derived: "this box's host name",
    about: "What this box is called; the two have different names.",
  },
  group: {
    kind: "text",
    form: PORT_NAME,
    default: "fairlead",
    about: "What the two boxes are called together; a witness may have many groups.",
  },
  listen: {
    kind: "text",
    form: MSGR2_ADDRESS,
    about: "Where the other box reaches this one: v2:HOST:PORT.",
  },
  peer: {
    kind: "text",
    form: MSGR2_ADDRESS,
    about: "Where this box reaches the other one: v2:HOST:PORT.",
  },
  witness: {
    kind: "or",
    literal: null,
    default: null,
    of: {
      kind: "text",
      form: MSGR2_ADDRESS,
      about: "Who lets one box be active at a time: a hub, or fairlead standby witness.",
    },
  },
  preferred: {
    kind: "boolean",
    default: false,
    about: "Which one begins as the active one when neither was before.",
  },
  heartbeatMs: {
    kind: "integer",
    min: 20,
    max: 10_000,
    default: 150,
    about: "How often each box says that it lives.",
  },
  deadMs: {
    kind: "integer",
    min: 60,
    max: 60_000,
    default: 600,
    about: "A box that is silent for so long counts as dead.",
  },
  leaseMs: {
    kind: "integer",
    min: 200,
    max: 60_000,
    default: 1500,
    about: "For how long a witness lets a box be active; it asks again well before.",
  },
  associations: {
    kind: "boolean",
    default: true,
    about: "Keep IPsec security associations and policies in step.",
  },
  inbound: {
    kind: "text",
    choices: ["lossless", "strict"],
    default: "lossless",
    about: "After a takeover: lose no packet, or let none in a second time.",
  },
  apply: {
    kind: "text",
    choices: ["hold", "install"],
    default: "hold",
    about: "The standby holds associations in memory, or has them in its kernel already.",
  },
  thresholdPackets: {
    kind: "integer",
    min: 0,
    max: 1_000_000,
    default: 64,
    about: "An association tells where it is after so many packets; 0: only by time.",
  },
  thresholdMs: {
    kind: "integer",
    min: 0,
    max: 60_000,
    default: 100,
    about: "The same by time, when it moved; 0: only by packets.",
  },
  sessions: {
    kind: "text",
    choices: ["sync", "async"],
    default: "sync",
    about: "Nothing is acknowledged before the standby has it, or a bounded part may be lost.",
  },
  asyncMessages: {
    kind: "integer",
    min: 1,
    max: 1_000_000,
    default: 1000,
    about: "With sessions async: the most messages that a takeover may lose.",
  },
  asyncMs: {
    kind: "integer",
    min: 10,
    max: 3_600_000,
    default: 1000,
    about: "With sessions async: from when on no more is acknowledged ahead of a slow standby.",
  },
  addresses: {
    kind: "array",
    min: 0,
    max: 64,
    default: [],
    about: "Addresses that go with the active role.",
    of: {
      kind: "object",
      about: "One of them.",
      keys: {
        interface: { kind: "text", form: LINK_NAME, about: "Where it is." },
        address: { kind: "text", form: ADDRESS_BITS, about: "ADDRESS/BITS: 10.0.0.1/24." },
      },
    },
  },
  watch: {
    kind: "array",
    of: { kind: "text", form: LINK_NAME, about: "Its name." },
    min: 0,
    max: 32,
    default: [],
    about: "Interfaces without whose carrier this box hands over.",
  },
  socket: {
    kind: "or",
    literal: false,
    default: "/run/fairlead/standby.sock",
    of: {
      kind: "text",
      form: SOCKET_PATH,
      about: "Unix socket for fairlead standby status, diff and promote; false for none.",
    },
  },
} as const;

/** What "standby" may hold. */
export const STANDBY_SCHEMA = {
  kind: "or",
  literal: false,
  default: false,
  of: {
    kind: "object",
    about: "A second box takes over from this one, or this one from it; false: there is none.",
    keys: STANDBY_KEYS,
  },
} as const;

/** The same with all defaults. */
export type StandbyConfig = Infer<typeof STANDBY_SCHEMA["of"]>;

/** What a program runs with that does nothing else; a gateway's file has the same keys. */
export interface StandbyFile {
  readonly name: string;
  readonly state: string | null;
  readonly auth: AuthConfig;
  readonly log: Infer<typeof LOG_SCHEMA>;
  readonly status: false | { readonly listen: string };
  readonly standby: StandbyConfig;
}
