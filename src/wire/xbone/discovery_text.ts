/**
 * The messages that go as signed datagrams, "XBone Control Message Format Examples": Invite,
 * Ack-Invite, Release; and what they share with all others. Fields that are ours mean, when a peer
 * of the document does not tell them, what it takes for granted.
 *
 * @module
 */
import {
  ADDRESS,
  type Form,
  HOST_PORT,
  name,
  number,
  type Reading,
  texts,
  toNumber,
  word,
  YES_NO,
} from "./form.ts";
import type {
  AckInvite,
  Common,
  Count,
  Credential,
  Invite,
  Release,
  ScriptName,
  SubNeed,
} from "./messages.ts";
import { LEVEL_MAX, NODES_MAX } from "./messages.ts";
import { DIGEST, EPOCH, MS_MAX, MTU, PORT, SCRIPT, WORD } from "./plan_text.ts";
import {
  assumed,
  type Fields,
  lazy,
  list,
  many,
  needed,
  nested,
  optional,
  record,
  writeList,
} from "./record.ts";
import type { Item, SexprWriter } from "./sexpr.ts";

/** A body without its verb, which is the head of its list. */
export type Unspoken<T> = Omit<T, "verb">;

/** Of a peer that knows no epochs: its overlays are told apart by their names alone. */
const EPOCH_ABSENT = "0".repeat(16);
/** A peer that does not say how long it needs us gets as long as its four phases may take. */
const HOLD_MS_ABSENT = 120_000;
/** x-bone-ctl, as IANA has it. */
const PORT_ABSENT = 265;
const MTU_ABSENT = 1500;
const WORDS_MAX = 32;
const TTL_MAX = 255;
/** IPsec that is asked for without a word of which: neither `none` nor what we offer. */
const ENCRYPTION_UNNAMED = "unspecified";

/** The fields that begin every body. */
export const COMMON: Fields<Common> = {
  application: needed("application", name()),
  name: needed("name", name()),
  version: optional("version", name(), ""),
  level: needed("level", number(0, LEVEL_MAX)),
  epoch: assumed("epoch", EPOCH, EPOCH_ABSENT),
};

/** `(credential …)` of the envelope. */
export const CREDENTIAL: Form<Credential> = record<Credential>({
  userName: needed("user_name", name()),
  userEmail: needed("user_email", name()),
  authType: needed("auth_type", word(["x509", "none"])),
});

/** Operating systems: `any`, or names. */
export const OS: Form<readonly string[]> = texts(WORD, WORDS_MAX);
/** A time to hold what is asked for. */
export const HOLD_MS = assumed("hold_ms", number(0, MS_MAX), HOLD_MS_ABSENT);

const ON: Form<readonly string[]> = texts(name(), NODES_MAX);
const COUNT_LISTS = record<{ on: readonly string[] }>({ on: list("on", ON) });

/** `(host COUNT OS … (on BOX …))`. */
const COUNT: Form<Count> = {
  write: ({ count, os, on = [] }, to) => {
    to.text(String(count));
    OS.write(os, to);
    COUNT_LISTS.write({ on }, to);
  },
  read: (items, reading) => {
    const count = toNumber(items[1], 0, NODES_MAX, reading);
    if (count === undefined) return undefined;
    const os = OS.read(items.slice(1).filter(isText), reading);
    if (os === undefined) return undefined;
    const lists = COUNT_LISTS.read(["", ...items.filter((item) => !isText(item))], reading);
    if (lists === undefined) return undefined;
    const { on } = lists;
    if (on.length > count) return reading.refuse(`on must name at most ${count}`, on[count]);
    return on.length === 0 ? { count, os } : { count, os, on };
  },
};

function isText(item: Item): item is string {
  return typeof item === "string";
}

const SUB_NEED: Form<SubNeed> = record<SubNeed>({
  name: needed("name", name()),
  host: needed("host", COUNT),
  router: needed("router", COUNT),
  subs: many("sub", lazy(() => SUB_NEED), NODES_MAX),
});

/** `(IPsec yes|no (authentication WORD)* (encryption WORD)*)`, of which we keep one word. */
const IPSEC: Form<string> = { write: writeIpsec, read: readIpsec };

const ENCRYPTIONS = record<{ authentication: readonly string[]; encryption: readonly string[] }>({
  authentication: many("authentication", WORD, 4),
  encryption: many("encryption", WORD, 4),
});

/** `(application (name NAME) (script URL))`, beside the application that every message has. */
const SCRIPT_NAME = record<ScriptName>({
  name: needed("name", name()),
  script: needed("script", SCRIPT),
  sha256: optional("sha256", DIGEST, ""),
});

/** Who has room? */
export const INVITE: Form<Unspoken<Invite>> = record<Unspoken<Invite>>({
  ...COMMON,
  host: needed("host", COUNT),
  router: needed("router", COUNT),
  meta: needed("meta", number(0, NODES_MAX)),
  subs: many("sub", SUB_NEED, NODES_MAX),
  routing: assumed("routing", word(["static", "dynamic"]), "static"),
  encryption: assumed("IPsec", IPSEC, "none"),
  qos: assumed("QoS", YES_NO, false),
  script: nested(optional<ScriptName | null>("application", SCRIPT_NAME, null)),
  ttl: assumed("ttl", number(0, TTL_MAX), 1),
  replyTo: optional("reply_to", HOST_PORT, ""),
  path: list("path", texts(name(), WORDS_MAX)),
  holdMs: HOLD_MS,
});

/** An answer to it. */
export const ACK_INVITE: Form<Unspoken<AckInvite>> = record<Unspoken<AckInvite>>({
  ...COMMON,
  type: needed("type", word(["host", "router", "both", "meta"])),
  hostname: needed("hostname", name()),
  ipaddr: needed("ipaddr", ADDRESS),
  port: assumed("port", PORT, PORT_ABSENT),
  os: assumed("os", WORD, "any"),
  mtu: assumed("mtu", MTU, MTU_ABSENT),
  capabilities: list("capabilities", texts(WORD, WORDS_MAX)),
  free: assumed("free", number(0, NODES_MAX * NODES_MAX), 1),
  guests: list("guests", texts(name(), NODES_MAX)),
});

/** Who is not kept is free again. */
export const RELEASE: Form<Unspoken<Release>> = record<Unspoken<Release>>({
  ...COMMON,
  keep: list("keep", texts(name(), NODES_MAX)),
});

function writeIpsec(encryption: string, to: SexprWriter): void {
  if (encryption === "none") return to.text("no");
  to.text("yes");
  if (encryption !== ENCRYPTION_UNNAMED) writeList("encryption", WORD, encryption, to);
}

/**
 * Everything that is asked for must get through to whoever decides: words are joined, so that an
 * offer of `des` beside one that is known is not taken for the latter alone.
 */
function readIpsec(items: readonly Item[], reading: Reading): string | undefined {
  const asked = YES_NO.read(items.slice(0, 2), reading);
  if (asked === undefined) return undefined;
  const all = ENCRYPTIONS.read(items.slice(1), reading);
  if (all === undefined) return undefined;
  if (!asked) return "none";
  const words = [...all.authentication, ...all.encryption].filter((word) => word !== "none");
  return words.length === 0 ? ENCRYPTION_UNNAMED : words.join("+");
}
