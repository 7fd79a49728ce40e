/**
 * Names and addresses that a person types: what is wrong with them is a usage error that says
 * which flag or argument it was.
 *
 * @module
 */
import { AddrType, type EntityAddr, parseAddress } from "../wire/msgr2/entity_addr.ts";
import { EntityType, parseEntityName } from "../wire/msgr2/hello.ts";
import type { EntityName } from "../wire/cephx/entity_name.ts";
import { resolveAll } from "./address.ts";
import { UsageError } from "./args.ts";

const ADDRESS_FORM = "v2:HOST:PORT, IPv6 in brackets, PORT up to 65535";

/**
 * Refuses what is no msgr2 address.
 *
 * @param what how the person knows it: `ADDR`, `--hub`
 * @throws UsageError
 */
export function checkAddress(what: string, text: string): void {
  const type = typeOf(text);
  if (type === AddrType.Legacy) {
    throw new UsageError(
      `Cannot use ${what} as msgr1 is not supported: current value is ${JSON.stringify(text)}, ` +
        `give ${text.replace(/^v1/, "v2")} with the port of msgr2`,
    );
  }
  if (type === null) throw wrong(what, ADDRESS_FORM, text);
}

/** All addresses that a msgr2 address means. Throws a UsageError when it is none. */
export async function resolveArgument(what: string, text: string): Promise<EntityAddr[]> {
  checkAddress(what, text);
  return await resolveAll(text);
}

/** The address to listen on, or to be reached at: the first one of a name. */
export async function listenArgument(what: string, text: string): Promise<EntityAddr> {
  return (await resolveArgument(what, text))[0]!;
}

/** An entity's name; only a monitor's may have an empty ID. Throws a UsageError when it is none. */
export function nameArgument(what: string, text: string): EntityName {
  let name: EntityName | null = null;
  try {
    name = parseEntityName(text);
  } catch {
    // told below, with the flag
  }
  if (name !== null && (name.id !== "" || name.type === EntityType.Mon)) return name;
  throw wrong(what, "TYPE.ID, such as client.gw1, with TYPE mon, mds, osd, client or mgr", text);
}

/** One of AddrType; null when the text is no address. */
function typeOf(text: string): number | null {
  try {
    return parseAddress(text).type;
  } catch {
    return null;
  }
}

function wrong(what: string, expected: string, text: string): UsageError {
  const value = JSON.stringify(text);
  return new UsageError(`Cannot use ${what} as it must be ${expected}: current value is ${value}`);
}
