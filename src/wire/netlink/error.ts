/**
 * What the kernel answers to a request: the kernel's netlink.h, struct nlmsgerr, and the attributes
 * of an extended acknowledgement (enum nlmsgerr_attrs), which come to sockets that set
 * NETLINK_EXT_ACK.
 *
 * ```text
 * NLMSG_ERROR   s32 error, nlmsghdr of the request, [its payload, unless NLM_F_CAPPED], [attributes]
 * NLMSG_DONE    s32 error, [attributes]
 * ```
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Attribute, attributeText, attributeU32, readAttribute } from "./attribute.ts";
import { align4, type Nlmsg, NLMSG_HEADER_SIZE, NlmsgFlag, NlmsgType } from "./nlmsg.ts";

/** NLMSGERR_ATTR_*; COOKIE (3) and POLICY (4) say nothing that a person could use. */
const MSG = 1;
const OFFS = 2;
const MISS_TYPE = 5;
const MISS_NEST = 6;

const ERROR_SIZE = 4;
/** MAX_ERRNO. */
const ERRNO_MAX = 4095;

/** An acknowledgement, or a refusal with what the kernel says of it. */
export class NetlinkError {
  /** A positive errno; 0 acknowledges. */
  error = 0;
  /** Where in the request the attribute is that it is about; -1 when it does not say. */
  offset = -1;
  /** The type of an attribute that is missing; -1 when it does not say. */
  missing = -1;
  /** Where in the request the nest is that misses it; -1 for the request itself. */
  nest = -1;
  /** Where the kernel's text begins; {@linkcode errorText} reads it. */
  textAt = 0;
  /** Where it ends. */
  textEnd = 0;
}

const attribute = new Attribute();

/**
 * Reads the message that `message` is the header of, of type NLMSG_ERROR or NLMSG_DONE; returns its
 * end, or a negated {@linkcode Fault}.
 */
export function readError(from: Region, message: Nlmsg, into: NetlinkError): number {
  const { at, end } = message;
  into.error = 0;
  into.offset = into.missing = into.nest = -1;
  into.textAt = into.textEnd = 0;
  if (end - at < ERROR_SIZE) return fail(Fault.Field, "nlmsgerr length", at, end - at, "4 or more");
  const error = from.view.getInt32(at, true);
  if (error > 0 || error < -ERRNO_MAX) {
    return fail(Fault.Field, "nlmsgerr error", at, error, "-4095 to 0");
  }
  into.error = 0 - error;
  let next = at + ERROR_SIZE;
  if (message.type === NlmsgType.Error) next = afterRequest(from, message, next);
  if (next < 0 || (message.flags & NlmsgFlag.AckTlvs) === 0) return next < 0 ? next : end;
  while (next < end) {
    next = readAttribute(from, next, end, attribute);
    if (next < 0) return next;
    const status = take(from, into);
    if (status < 0) return status;
  }
  return end;
}

/** What the kernel says of an error, "" when it says nothing; valid while the message is there. */
export function errorText(from: Region, error: NetlinkError): string {
  attribute.at = error.textAt;
  attribute.end = error.textEnd;
  const text = attributeText(from, attribute);
  if (text !== "" || error.missing < 0) return text;
  const where = error.nest < 0 ? "" : ` in the one at offset ${error.nest}`;
  return `attribute ${error.missing} is missing${where}`;
}

/** Where what follows the repeated request begins. */
function afterRequest(from: Region, { end, flags }: Nlmsg, at: number): number {
  if (end - at < NLMSG_HEADER_SIZE) {
    return fail(Fault.Field, "nlmsgerr length of the request", at, end - at, "16 or more");
  }
  if ((flags & NlmsgFlag.Capped) !== 0) return at + NLMSG_HEADER_SIZE;
  const length = from.view.getUint32(at, true);
  if (length < NLMSG_HEADER_SIZE || length > end - at) {
    return fail(Fault.Field, "nlmsgerr nlmsg_len", at, length, "16 to what is left of the message");
  }
  return align4(at + length);
}

function take(from: Region, into: NetlinkError): number {
  switch (attribute.type) {
    case MSG:
      into.textAt = attribute.at;
      into.textEnd = attribute.end;
      return 0;
    case OFFS:
      return into.offset = attributeU32(from, attribute);
    case MISS_TYPE:
      return into.missing = attributeU32(from, attribute);
    case MISS_NEST:
      return into.nest = attributeU32(from, attribute);
  }
  return 0;
}
