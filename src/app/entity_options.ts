/**
 * What an endpoint is by its name: msgr2 wants the type in HELLO and, of daemons with a number, that
 * number in CLIENT_IDENT.
 *
 * @module
 */
import { U64 } from "../mem/u64.ts";
import { EntityType, parseEntityName } from "../wire/msgr2/hello.ts";
import type { EndpointOptions } from "./endpoint.ts";

/** Options of the endpoint of `name`: `client.gw1`, `mon.`, `osd.1`. */
export function entityOptions(name: string): Pick<EndpointOptions, "entityType" | "gid"> {
  const { id, type } = parseEntityName(name);
  if (type === EntityType.Client || !/^\d+$/.test(id)) return { entityType: type };
  return { entityType: type, gid: U64.of(BigInt(id)) };
}
