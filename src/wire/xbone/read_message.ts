/**
 * Text to a message of the X-Bone control protocol. Everything is checked: what comes out is of its
 * types and within its limits. Who is refused is told why, where enough is known to answer.
 *
 * @module
 */
import { CREDENTIAL } from "./discovery_text.ts";
import { name, Reading, toNumber } from "./form.ts";
import {
  type Body,
  type Common,
  type Credential,
  type Message,
  PROTOCOL_VERSION,
} from "./messages.ts";
import { NACK, PLAIN } from "./overlay_text.ts";
import { isAtom, type Item, readSexpr } from "./sexpr.ts";
import { bodyForm, ENVELOPE, isVerb, NACK_PREFIX, unalias } from "./verbs.ts";

/** What is known of a request that was refused: enough for a `nack-VERB`. */
export interface Answerable extends Common {
  readonly verb: string;
  readonly sequence: number;
}

/** A message and how many of its fields were not known; or why it is none. */
export type ReadMessage =
  | { readonly message: Message; readonly unknownFields: number }
  | {
    readonly refusal: string;
    /** Null for what is no request, and where its overlay is not known. */
    readonly answerable: Answerable | null;
  };

/** What stands in front of the body. */
interface Envelope {
  readonly protocol: string;
  readonly release: string;
  readonly sequence: number;
  readonly credential: Credential | null;
  readonly verb: string;
  readonly body: readonly Item[];
}

const RELEASE_FORM = name(64);
const VERB_MAX = 32;
const MAJOR = PROTOCOL_VERSION.split(".")[0]!;

/** Reads one message, with or without its XBoneEOC. */
export function readMessage(bytes: Uint8Array, bytesMax: number): ReadMessage {
  const list = readSexpr(bytes, bytesMax);
  if (typeof list === "string") return { refusal: list, answerable: null };
  const reading = new Reading();
  const envelope = readEnvelope(list, reading);
  if (envelope === undefined) return { refusal: reading.refusal!, answerable: null };
  const body = readBody(envelope, reading);
  if (body === undefined) {
    return { refusal: reading.refusal!, answerable: readAnswerable(envelope) };
  }
  const { protocol, release, sequence, credential } = envelope;
  return {
    message: { protocol, release, sequence, credential, body },
    unknownFields: reading.unknownFields,
  };
}

/** The five in their order; behind the body there may be what a later version adds. */
function readEnvelope(list: readonly Item[], reading: Reading): Envelope | undefined {
  if (list[0] !== ENVELOPE) {
    return reading.refuse(`it must begin with ${ENVELOPE}`, list[0], "message");
  }
  reading.path.push(ENVELOPE);
  const protocol = list[1];
  if (typeof protocol !== "string" || !/^[0-9]{1,4}\.[0-9]{1,4}$/.test(protocol)) {
    return reading.refuse("it must be MAJOR.MINOR", protocol, "protocol_version");
  }
  const release = readAt(
    list,
    2,
    "release_version",
    reading,
    (items) => RELEASE_FORM.read(items, reading),
  );
  const sequence = readAt(
    list,
    3,
    "seq_no",
    reading,
    ([, item]) => toNumber(item, 1, Number.MAX_SAFE_INTEGER, reading),
  );
  if (release === undefined || sequence === undefined) return undefined;
  const lists = list.slice(4);
  let credential: Credential | null | undefined = null;
  const first = lists[0];
  if (Array.isArray(first) && first[0] === "credential") {
    reading.path.push("credential");
    credential = CREDENTIAL.read(first, reading);
    if (credential === undefined) return undefined;
    reading.path.pop();
    lists.shift();
  }
  const body = lists.shift();
  if (!Array.isArray(body) || typeof body[0] !== "string") {
    return reading.refuse("it must be a list that begins with a verb", body, "body");
  }
  for (const item of lists) {
    if (isBody(item)) return reading.refuse("it must come once", item[0], "body");
    reading.unknownFields++;
  }
  reading.path.pop();
  return { protocol, release, sequence, credential, verb: unalias(body[0]), body };
}

/** One of the items that stand in a fixed order. */
function readAt<T>(
  list: readonly Item[],
  index: number,
  field: string,
  reading: Reading,
  read: (items: readonly Item[]) => T | undefined,
): T | undefined {
  reading.path.push(field);
  const value = read(list.slice(index - 1, index + 1));
  if (value !== undefined) reading.path.pop();
  return value;
}

/** True for what somebody could take for the body. */
function isBody(item: Item): item is readonly Item[] {
  const head = item[0];
  return typeof item !== "string" && typeof head === "string" &&
    (isVerb(unalias(head)) || head.startsWith(NACK_PREFIX) || head === "credential");
}

function readBody(envelope: Envelope, reading: Reading): Body | undefined {
  const { protocol, verb, body } = envelope;
  if (Number(protocol.split(".")[0]) !== Number(MAJOR)) {
    return reading.refuse(`it must be ${MAJOR}.x`, protocol, "protocol_version");
  }
  reading.path.push(verb);
  if (isVerb(verb)) {
    const fields = bodyForm(verb).read(body, reading);
    return fields && { verb, ...fields } as Body;
  }
  const of = unalias(verb.slice(NACK_PREFIX.length));
  if (verb.startsWith(NACK_PREFIX) && isAnyVerb(of)) {
    const fields = NACK.read(body, reading);
    return fields && { verb: "nack", of, ...fields };
  }
  reading.path.pop();
  return reading.refuse("it must be a verb of the protocol", verb, "body");
}

/** A verb that may be unknown here. */
function isAnyVerb(verb: string): boolean {
  return verb.length <= VERB_MAX && isAtom(verb);
}

/**
 * Answers and RELEASE are never answered; a request is, when the fields that all bodies have are
 * there.
 */
function readAnswerable({ verb, sequence, body }: Envelope): Answerable | null {
  if (/^n?ack-|^release$/.test(verb) || !isAnyVerb(verb)) return null;
  // An invite has a second `application`, which is a list.
  const plain = body.filter((item) => !Array.isArray(item[1]));
  const common = PLAIN.read(plain, new Reading());
  return common === undefined ? null : { verb, sequence, ...common };
}
