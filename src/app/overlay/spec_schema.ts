/**
 * What a specification of an overlay may hold, SPEC of `fairlead overlay`: its tables, in the language
 * of configurations. Sub-overlays stand in each other to a fixed depth.
 *
 * @module
 */
import { isLabel } from "../../proto/xbone/check_plan.ts";
import { NODES_MAX } from "../../wire/xbone/messages.ts";
import { readPrefix } from "../../proto/xbone/addresses.ts";
import type { Topology } from "../../proto/xbone/overlay_spec.ts";
import { type Form, hasForm } from "../config/forms.ts";
import { jsonSchema } from "../config/json_schema.ts";
import type { ArraySchema, ObjectSchema, Schema } from "../config/schema.ts";

/** Sub-overlays within sub-overlays. */
const DEPTH_MAX = 4;
const LINKS_MAX = 16_384;
const SUBS_MAX = 64;
const RATE_BITS_MAX = 1e12;
const RATE_UNITS: Readonly<Record<string, number>> = {
  bit: 1,
  kbit: 1e3,
  mbit: 1e6,
  gbit: 1e9,
  tbit: 1e12,
};

/** A node as SPEC has it. */
export interface NodeFile {
  readonly name: string;
  readonly role: "host" | "router";
  readonly os: readonly string[];
  readonly on: string | null;
}

/** A link as SPEC has it. */
export interface LinkFile {
  readonly ends: readonly string[];
  readonly rate: string | null;
}

/** What overlays and sub-overlays have in common. */
export interface NetworkFile {
  readonly topology: Topology;
  readonly fanout: number;
  readonly nodes: readonly NodeFile[];
  readonly hosts: number;
  readonly routers: number;
  readonly links: readonly LinkFile[];
  readonly subs: readonly SubFile[];
}

/** A sub-overlay as SPEC has it. */
export interface SubFile extends NetworkFile {
  readonly name: string;
  readonly mode: "control" | "stacked";
  readonly border: string | null;
  readonly prefix: string | null;
}

/** The whole of SPEC with its defaults. */
export interface SpecFile extends NetworkFile {
  readonly name: string;
  readonly application: string;
  readonly version: string;
  readonly prefix: string;
  readonly routing: "static" | "dynamic";
  readonly routingDaemon: string | null;
  readonly ipsec: false | { readonly encryption: string; readonly authentication: string };
  readonly rate: string | null;
  readonly port: number;
  readonly names: boolean;
  readonly revisit: boolean;
  readonly mptcp: false | { readonly flags: readonly string[] };
  readonly fairlead: false | { readonly hub: string; readonly port: number };
  readonly script: false | ScriptFile;
}

/** An application script as SPEC has it. */
export interface ScriptFile {
  readonly name: string;
  readonly script: string | null;
  readonly url: string | null;
  readonly sha256: string | null;
  readonly deadlineSeconds: number;
}

const LABEL: Form = {
  expected: "1 to 32 of a-z, 0-9 and -, without - at the ends",
  pattern: "^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$",
  accepts: isLabel,
  remedy(text): string | null {
    const plain = text.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").slice(0, 32)
      .replaceAll(/^-+|-+$/g, "");
    return isLabel(plain) ? plain : null;
  },
};

const NODE_PATH: Form = {
  expected: "the name of a node, with those of sub-overlays in front: r1, west/r1",
  pattern: "^[a-z0-9][a-z0-9-]*(?:/[a-z0-9][a-z0-9-]*){0,8}$",
  accepts: (text) => text.split("/").every(isLabel),
};

const BOX_NAME: Form = {
  expected: "the name in a box's certificate",
  pattern: "^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?$",
};

const WORD: Form = {
  expected: "1 to 32 of A-Z, a-z, 0-9, dot, _ and -",
  pattern: "^[A-Za-z0-9._-]{1,32}$",
};

const VERSION: Form = {
  expected: "32 of A-Z, a-z, 0-9, dot, _ and - at most",
  pattern: "^[A-Za-z0-9._-]{0,32}$",
};

const PREFIX: Form = {
  expected:
    "ADDRESS/BITS, private IPv4 (10/8, 172.16/12, 192.168/16, 100.64/10, 198.18/15) from /8 " +
    "to /29 and without bits behind it, such as 10.100.0.0/16",
  pattern: "^[0-9.]{7,15}/[0-9]{1,2}$",
  accepts: (text) => readPrefix(text) !== null,
};

const RATE: Form = {
  expected: "a rate of bits per second such as 500kbit, 10mbit or 1gbit, up to 1tbit",
  pattern: "^[0-9]{1,15}(?:\\.[0-9]{1,6})?(?:bit|kbit|mbit|gbit|tbit)$",
  accepts: (text) => readRate(text) >= 1 && readRate(text) <= RATE_BITS_MAX,
  remedy(text): string | null {
    const plain = text.toLowerCase().replaceAll(/[\s/]+/g, "").replace(/([kmgt])b?s?$/, "$1bit");
    return plain !== text && hasForm(RATE, plain) ? plain : null;
  },
};

const CIPHER: Form = {
  expected: '"aes-gcm", as des and 3des no longer protect anything',
  pattern: "^aes-gcm$",
  remedy: () => "aes-gcm",
};

const AUTHENTICATION: Form = {
  expected: '"none", as aes-gcm authenticates by itself and md5 and sha1 are broken',
  pattern: "^none$",
  remedy: () => "none",
};

const SHA256: Form = {
  expected: "64 hexadecimal digits, as sha256sum prints them",
  pattern: "^[0-9a-f]{64}$",
  remedy: (text) => /^[0-9A-F]{64}$/i.test(text) ? text.toLowerCase() : null,
};

const SCRIPT_FILE: Form = {
  expected: "the name of a file in the folder of scripts, without a path",
  pattern: "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
};

const SCRIPT_URL: Form = {
  expected: "a URL of http or https",
  pattern: "^https?://[!-~]{1,2000}$",
};

const NAME: Schema = { kind: "text", form: LABEL, about: "Its name." };

const NODE: ObjectSchema = {
  kind: "object",
  about: "A virtual node.",
  keys: {
    name: NAME,
    role: {
      kind: "text",
      choices: ["host", "router"],
      default: "router",
      about: "A router forwards, a host does not.",
    },
    os: {
      kind: "array",
      of: { kind: "text", form: WORD, about: "linux …" },
      min: 0,
      max: 16,
      default: [],
      about: "Operating systems that may play it; none: any.",
    },
    on: orNull(BOX_NAME, "The box that must play it; null for any."),
  },
};

const LINK: ObjectSchema = {
  kind: "object",
  about: "A link of a custom topology, or the rate of one of another.",
  keys: {
    ends: {
      kind: "array",
      of: { kind: "text", form: NODE_PATH, about: "A node; or a sub-overlay for its border." },
      min: 2,
      max: 2,
      about: "The two nodes that it joins.",
    },
    rate: orNull(RATE, "Its rate; null for the overlay's."),
  },
};

const COUNT = { kind: "integer", min: 0, max: NODES_MAX, default: 0 } as const;

/** @param depth of sub-overlays that there may still be */
function networkKeys(depth: number): Record<string, Schema> {
  return {
    topology: {
      kind: "text",
      choices: ["linear", "ring", "star", "tree", "mesh", "custom"],
      about:
        "How nodes are joined in the order in which they stand, such as ring; custom: by links.",
    },
    fanout: {
      kind: "integer",
      min: 1,
      max: 64,
      default: 2,
      about: "Children of a node of a tree.",
    },
    nodes: list(NODE, NODES_MAX, "Nodes by their names."),
    hosts: { ...COUNT, about: "So many more hosts: h1, h2 …" },
    routers: { ...COUNT, about: "So many more routers: r1, r2 …" },
    links: list(LINK, LINKS_MAX, "Links of a custom topology, or rates of some of another."),
    subs: depth === 0
      ? list(NODE, 0, `None: sub-overlays go ${DEPTH_MAX} deep.`)
      : list(subSchema(depth - 1), SUBS_MAX, "Shares that other managers find nodes for."),
  };
}

function subSchema(depth: number): ObjectSchema {
  return {
    kind: "object",
    about: "A sub-overlay.",
    keys: {
      name: NAME,
      mode: {
        kind: "text",
        choices: ["control", "stacked"],
        default: "control",
        about: "A share of the overlay's nodes, or a network of its own below.",
      },
      border: orNull(NODE_PATH, "The node that stands for it; null: its first router."),
      prefix: orNull(PREFIX, "Of its addresses when it is stacked; null: one that is free."),
      ...networkKeys(depth),
    },
  };
}

/** Its table. */
export const SPEC_SCHEMA: ObjectSchema = {
  kind: "object",
  about: "Specification of an overlay.",
  keys: {
    name: NAME,
    application: { kind: "text", form: LABEL, default: "overlay", about: "What it is for." },
    version: { kind: "text", form: VERSION, default: "", about: "Of the application." },
    ...networkKeys(DEPTH_MAX),
    prefix: { kind: "text", form: PREFIX, default: "10.100.0.0/16", about: "Of all addresses." },
    routing: {
      kind: "text",
      choices: ["static", "dynamic"],
      default: "static",
      about: "Routes that are computed here, or a daemon's on the boxes.",
    },
    routingDaemon: orNull(LABEL, "Which daemon, with routing dynamic."),
    ipsec: orFalse({
      kind: "object",
      about: "ESP between boxes; true: as below; false: nothing is encrypted.",
      keys: {
        encryption: {
          kind: "text",
          form: CIPHER,
          default: "aes-gcm",
          about: "The cipher: aes-gcm.",
        },
        authentication: {
          kind: "text",
          form: AUTHENTICATION,
          default: "none",
          about: "Besides the cipher's own: none.",
        },
      },
    }),
    rate: orNull(RATE, "Rate of each link; null for no limit."),
    port: {
      kind: "integer",
      min: 0,
      max: 65_535,
      default: 0,
      about: "UDP port of tunnels; 0: 4789, or one of the overlay's own when it is encrypted.",
    },
    names: { kind: "boolean", default: true, about: "Hosts entries on every box: NODE.OVERLAY." },
    revisit: { kind: "boolean", default: false, about: "A box may play more than one node." },
    mptcp: orFalse({
      kind: "object",
      about: "An MPTCP endpoint at each node's address; false for none.",
      keys: {
        flags: {
          kind: "array",
          of: { kind: "text", choices: ["subflow", "signal", "backup"], about: "ip-mptcp(8)." },
          min: 1,
          max: 3,
          default: ["subflow"],
          about: "What it is used for.",
        },
      },
    }),
    fairlead: orFalse({
      kind: "object",
      about: "A Fairlead on every box, with keys; false for none.",
      keys: {
        hub: { kind: "text", form: NODE_PATH, about: "The node whose box is the hub." },
        port: { kind: "integer", min: 1, max: 65_535, default: 3300, about: "Where it listens." },
      },
    }),
    script: orFalse({
      kind: "object",
      about: "An application script for every box that allows it; false for none.",
      keys: {
        name: NAME,
        script: orNull(SCRIPT_FILE, "A file of the box's own folder of scripts."),
        url: orNull(SCRIPT_URL, "Or where it is fetched; with its sha256 only."),
        sha256: orNull(SHA256, "What it must be."),
        deadlineSeconds: {
          kind: "integer",
          min: 1,
          max: 3600,
          default: 60,
          about: "How long it may take.",
        },
      },
    }),
  },
};

/** The table as JSON Schema, which also knows the short forms of links and of "ipsec". */
export function specJsonSchema(): Record<string, unknown> {
  return withShortForms(jsonSchema(SPEC_SCHEMA, "Fairlead overlay")) as Record<string, unknown>;
}

/** Bits per second of `10mbit`; NaN when it is none. */
export function readRate(text: string): number {
  const match = /^([0-9.]+)([kmgt]?bit)$/.exec(text);
  return match === null ? NaN : Math.round(Number(match[1]) * RATE_UNITS[match[2]!]!);
}

function withShortForms(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(withShortForms);
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      const plain = withShortForms(inner);
      if (key === "links") return [key, withPairs(plain as { items: LinkItems })];
      if (key === "ipsec") {
        const { anyOf, ...rest } = plain as { anyOf: unknown[] };
        return [key, { ...rest, anyOf: [{ const: true }, ...anyOf] }];
      }
      return [key, plain];
    }),
  );
}

interface LinkItems {
  readonly properties: { readonly ends: unknown };
}

function withPairs(links: { items: LinkItems }): unknown {
  return { ...links, items: { anyOf: [links.items.properties.ends, links.items] } };
}

function list(of: Schema, max: number, about: string): ArraySchema {
  return { kind: "array", of, min: 0, max, default: [], about };
}

function orNull(form: Form, about: string): Schema {
  return { kind: "or", literal: null, default: null, of: { kind: "text", form, about } };
}

function orFalse(of: ObjectSchema): Schema {
  return { kind: "or", literal: false, default: false, of };
}
