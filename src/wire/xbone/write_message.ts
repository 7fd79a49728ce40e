/**
 * A message of the X-Bone control protocol as text: `(xbonecontrol VERSION RELEASE SEQ (credential
 * …) (VERB …))`, in one line with no blank that need not be, as a signed datagram must fit into a
 * frame.
 *
 * @module
 */
import { CREDENTIAL } from "./discovery_text.ts";
import type { Message } from "./messages.ts";
import { NACK } from "./overlay_text.ts";
import { writeList } from "./record.ts";
import { SexprWriter, TERMINATOR } from "./sexpr.ts";
import { bodyForm, ENVELOPE, NACK_PREFIX } from "./verbs.ts";

/** The message with its terminator and a line end. */
export function writeMessage(message: Message): string {
  const { protocol, release, sequence, credential, body } = message;
  const to = new SexprWriter();
  to.open(ENVELOPE);
  to.text(protocol);
  to.text(release);
  to.text(String(sequence));
  if (credential !== null) writeList("credential", CREDENTIAL, credential, to);
  if (body.verb === "nack") writeList(NACK_PREFIX + body.of, NACK, body, to);
  else writeList(body.verb, bodyForm(body.verb), body, to);
  to.close();
  return `${to}\n${TERMINATOR}\n`;
}
