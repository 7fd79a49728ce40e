/**
 * Events of an endpoint as entries of a journal: the sentence for people, the code and the fields
 * for programs.
 *
 * @module
 */
import type { MessengerEvent } from "../../proto/msgr2/messenger.ts";
import { conModeName } from "../../wire/msgr2/auth.ts";
import { addressText } from "../address_text.ts";
import { printableWord } from "../printable.ts";
import { refusalText } from "../session_text.ts";
import type { Fields, Level } from "./journal.ts";

/** What a journal is told. */
export interface SessionEntry {
  readonly level: Level;
  readonly code: string;
  readonly text: string;
  readonly fields: Fields;
}

/** Tells an event; null when it is not worth a line. `who` names the other end. */
export function sessionEntry(event: MessengerEvent, who: string | null): SessionEntry | null {
  const { connection, kind, session } = event;
  const name = who ?? printableWord(session?.peerName ?? "-");
  const fields: Fields = { name };
  switch (kind) {
    case "connect":
    case "accept": {
      const unacknowledged = session?.unacknowledged ?? 0;
      if (connection !== null) {
        fields.mode = conModeName(connection.mode);
        fields.address = addressText(connection.peer);
      }
      fields.unacknowledged = unacknowledged;
      const mode = connection === null ? "" : ` (${conModeName(connection.mode)})`;
      const from = who === null && connection !== null ? `, from ${connection.peer}` : "";
      const held = unacknowledged === 0 ? "" : `, ${unacknowledged} unacknowledged`;
      return entry(
        "info",
        "session_up",
        `Session with ${name} stands${mode}${from}${held}`,
        fields,
      );
    }
    case "resume":
      return entry(
        "info",
        "session_resumed",
        `Session with ${name} goes on after a new connection`,
        fields,
      );
    case "fault": {
      const why = event.text || "the peer closed it";
      return entry("warning", "session_fault", `No connection with ${name}: ${why}`, fields);
    }
    case "refused": {
      const text = `Session with ${name} is refused: ${refusalText(event)}`;
      return entry("error", "session_refused", text, fields);
    }
    case "remoteReset":
    case "reset":
      return entry(
        "warning",
        "session_over",
        `Session with ${name} is over: ${event.text}`,
        fields,
      );
    case "dropped":
      return entry("info", "connection_dropped", `Connection dropped: ${event.text}`, {});
    default:
      return null;
  }
}

function entry(level: Level, code: string, text: string, fields: Fields): SessionEntry {
  return { level, code, text, fields };
}
