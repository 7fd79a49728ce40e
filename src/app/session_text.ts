/**
 * What a person is told about a session that does not come about, with the flag that mends it.
 *
 * @module
 */
import type { MessengerEvent } from "../proto/msgr2/messenger.ts";
import type { Session } from "../proto/msgr2/session.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import { AuthMethod, authMethodName, conModeName } from "../wire/msgr2/auth.ts";

/** Why a session was refused, and what to do. */
export function refusalText({ connection, text }: MessengerEvent): string {
  if (connection === null || connection.allowedMethods.length === 0) return text;
  const { allowedMethods, allowedModes, authMethod } = connection;
  const modes = connection.messenger.options.auth.clientModes;
  const refused = `it refused method ${authMethodName(authMethod)} (EOPNOTSUPP)`;
  if (!allowedMethods.includes(authMethod)) {
    if (allowedMethods.includes(AuthMethod.Cephx)) {
      return `The far end asks for cephx: give --keyring FILE and --name TYPE.ID; ${refused}`;
    }
    const allowed = allowedMethods.map(authMethodName).join(", ");
    return `The far end allows method ${allowed} only: give --auth none without --keyring, or ` +
      `start it with a keyring; ${refused}`;
  }
  if (modes.some((mode) => allowedModes.includes(mode))) return text;
  const allowed = allowedModes.map(conModeName).join(" or ");
  return `The far end allows mode ${allowed} only: give --mode ${allowed}; ` +
    `it refused ${modes.map(conModeName).join(", ")} (EOPNOTSUPP)`;
}

/**
 * A name may have several addresses (`localhost` often is `::1` and `127.0.0.1`), and a peer
 * listens on one of them: until a session has stood once, each attempt takes the next one.
 */
export function dialNext(session: Session, targets: readonly EntityAddr[]): void {
  const { established, target } = session;
  if (established || target === null || targets.length < 2) return;
  const at = targets.findIndex((one) => one.equals(target));
  target.copy(targets[(at + 1) % targets.length]!);
}
