/**
 * The verbs of the X-Bone control protocol and the form of what stands behind each. DELETE of the
 * state diagrams is `stop` in the examples; both are read.
 *
 * @module
 */
import { ACK_INVITE, INVITE, RELEASE, type Unspoken } from "./discovery_text.ts";
import type { Form } from "./form.ts";
import type { Body } from "./messages.ts";
import {
  ACK_CONFIG,
  ACK_DISPATCH,
  ACK_REFRESH,
  ACK_SELECT,
  ACK_STATUS,
  CONFIG,
  DISPATCH,
  PLAIN,
  SELECT,
  STATUS,
} from "./overlay_text.ts";

/** Every verb but the refusals, which carry another one in their name. */
export type Verb = Exclude<Body["verb"], "nack">;

/** What stands in front of the verb that is refused. */
export const NACK_PREFIX = "nack-";
/** The head of every message. */
export const ENVELOPE = "xbonecontrol";

const BODIES: { readonly [V in Verb]: Form<Unspoken<Extract<Body, { verb: V }>>> } = {
  "invite": INVITE,
  "ack-invite": ACK_INVITE,
  "select": SELECT,
  "ack-select": ACK_SELECT,
  "release": RELEASE,
  "dispatch": DISPATCH,
  "ack-dispatch": ACK_DISPATCH,
  "config": CONFIG,
  "ack-config": ACK_CONFIG,
  "refresh": PLAIN,
  "ack-refresh": ACK_REFRESH,
  "status": STATUS,
  "ack-status": ACK_STATUS,
  "stop": PLAIN,
  "ack-stop": PLAIN,
};

/** The form behind a verb. */
export function bodyForm(verb: Verb): Form<Unspoken<Body>> {
  return BODIES[verb] as Form<Unspoken<Body>>;
}

/** True for a verb that has a form. */
export function isVerb(verb: string): verb is Verb {
  return Object.hasOwn(BODIES, verb);
}

/** The verb as we call it. */
export function unalias(verb: string): string {
  if (verb === "delete") return "stop";
  return verb === "ack-delete" ? "ack-stop" : verb;
}
