/**
 * Authentication of an endpoint, from what an operator has: nothing, or a keyring. Both ends of
 * method none and of cephx; a Fairlead hub is its own authority, so two of them need no cluster.
 *
 * @module
 */
import { wallSeconds } from "../io/clock.ts";
import { NodeCrypto } from "../io/crypto.ts";
import { CephxClient } from "../proto/cephx/client.ts";
import { CephxServer } from "../proto/cephx/server.ts";
import type { AuthClient, AuthServer } from "../proto/msgr2/auth.ts";
import { AuthNoneClient, AuthNoneServer, NoneTarget } from "../proto/msgr2/auth_none.ts";
import type { AuthOptions } from "../proto/msgr2/messenger.ts";
import type { Keyring } from "../wire/cephx/keyring.ts";
import { AuthMethod, ConMode } from "../wire/msgr2/auth.ts";
import { EntityType, parseEntityName } from "../wire/msgr2/hello.ts";

/** Connection modes by their names on the command line, in order of preference. */
export type ModeName = "crc" | "secure";

/** Ceph's types that are spoken to with auth_mode 1; a monitor, and a hub, with 10. */
const SERVICES: readonly number[] = [EntityType.Osd, EntityType.Mgr, EntityType.Mds];

/**
 * Method none: everybody is let in under the name they tell; crc mode only.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthMethod, authNone, Endpoint } from "@fairlead/fairlead";
 *
 * const box = new Endpoint({ auth: authNone("client.gw1") });
 * assert.deepEqual(box.messenger.options.auth.clientMethods, [AuthMethod.None]);
 * await box.close();
 * ```
 *
 * @param name what this end calls itself, TYPE.ID: `client.gw1`
 * @throws when it is no such name
 */
export function authNone(name: string): AuthOptions {
  const entity = parseEntityName(name);
  const mon = new AuthNoneClient({ name: entity });
  const service = new AuthNoneClient({ name: entity, target: NoneTarget.Service });
  const server = new AuthNoneServer();
  return {
    clientMethods: [AuthMethod.None],
    clientModes: [ConMode.Crc],
    client: (_method, peerType): AuthClient => SERVICES.includes(peerType) ? service : mon,
    serverMethods: [AuthMethod.None],
    serverModes: (): readonly number[] => [ConMode.Crc],
    server: (): AuthServer => server.attempt(),
  };
}

/** Modes as numbers, in the order given. */
export function conModes(modes: readonly ModeName[]): number[] {
  return modes.map((mode) => mode === "secure" ? ConMode.Secure : ConMode.Crc);
}

/**
 * cephx by a keyring. As a client: `name` must be in it. As a server: whoever is in it comes in.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   authCephx,
 *   ConMode,
 *   Endpoint,
 *   generateKey,
 *   Keyring,
 *   KeyType,
 *   NodeCrypto,
 *   parseEntityName,
 *   POLICIES,
 * } from "@fairlead/fairlead";
 *
 * const key = generateKey(new NodeCrypto(), KeyType.Aes, Date.now() / 1000);
 * const keyring = new Keyring([{ name: parseEntityName("client.gw1"), key }]);
 * const hub = new Endpoint({ auth: authCephx("mon.", keyring, ["secure"]) });
 * const box = new Endpoint({ auth: authCephx("client.gw1", keyring, ["secure", "crc"]) });
 * const address = await hub.listen("v2:127.0.0.1:0");
 * const session = await box.connect(address, POLICIES.losslessClient);
 * await box.established(session);
 * assert.equal(session.connection?.mode, ConMode.Secure);
 * await box.close();
 * await hub.close();
 * ```
 *
 * @param modes connection modes in order of preference
 * @param wantedServices EntityType bits of a cluster's services to get tickets for
 * @throws when the keyring has no key for `name`, and only a client can be meant
 */
export function authCephx(
  name: string,
  keyring: Keyring,
  modes: readonly ModeName[],
  wantedServices = 0,
): AuthOptions {
  const entity = parseEntityName(name);
  const entry = keyring.get(entity);
  const crypto = new NodeCrypto();
  const client = entry === undefined
    ? null
    : new CephxClient({ crypto, wallSeconds, name: entity, key: entry.key, wantedServices });
  const server = new CephxServer({ crypto, wallSeconds, keyring });
  const numbers = conModes(modes);
  return {
    clientMethods: client === null ? [] : [AuthMethod.Cephx],
    clientModes: numbers,
    client: (_method, peerType): AuthClient | null =>
      SERVICES.includes(peerType) ? client!.toService(peerType) : client!.toMon(),
    serverMethods: [AuthMethod.Cephx],
    serverModes: (): readonly number[] => numbers,
    server: (): AuthServer => server.attempt(),
  };
}
