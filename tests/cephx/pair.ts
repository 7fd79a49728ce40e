/**
 * A client's and a server's attempt back to back, as a connection would run them: payloads in
 * turn, then both AUTH_SIGNATUREs over what each end sent. A payload can be changed on its way.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { describeFault } from "../../src/mem/fault.ts";
import { CephxClient } from "../../src/proto/cephx/client.ts";
import { CephxServer, type CephxServerOptions } from "../../src/proto/cephx/server.ts";
import type { AuthClient, AuthServer, Crypto } from "../../src/proto/msgr2/auth.ts";
import { type CryptoKey, generateKey } from "../../src/wire/cephx/crypto_key.ts";
import type { EntityName } from "../../src/wire/cephx/entity_name.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";

/** The real primitives. That this assigns is the check that io fits proto. */
export const crypto: Crypto = new NodeCrypto();

/** A payload on its way. */
export type Step = "request" | "replyMore" | "requestMore" | "done";

/** Changes a payload on its way; gives it back as it is for the other steps. */
export type Tamper = (step: Step, payload: Uint8Array) => Uint8Array;

/** How an attempt ended. */
export interface Outcome {
  /** Where: by a refusal of one of the ends, by signatures that do not match, or well. */
  readonly end: "server refused" | "client refused" | "signatures differ" | "authenticated";
  /** The result of AUTH_BAD_METHOD. */
  readonly result?: number;
  /** The server's own words, or the client's fault. */
  readonly why?: string;
  /** What was sent: by the client and by the server in turn. */
  readonly payloads: readonly Uint8Array[];
}

/** Runs an attempt to its end. */
export function run(
  client: AuthClient & { handleBad(result: number): boolean },
  server: AuthServer,
  mode: number,
  tamper: Tamper = (_, payload) => payload,
): Outcome {
  const payloads: Uint8Array[] = [];
  const received: Record<"client" | "server", Uint8Array[]> = { client: [], server: [] };
  const sent: Record<"client" | "server", Uint8Array[]> = { client: [], server: [] };
  const carry = (from: "client" | "server", step: Step, payload: Uint8Array): Uint8Array => {
    payloads.push(payload);
    sent[from].push(payload);
    const arrived = tamper(step, payload);
    received[from === "client" ? "server" : "client"].push(arrived);
    return arrived;
  };
  let answer = server.handleRequest(carry("client", "request", client.request()), true, mode);
  if (answer.kind === "more") {
    const more = client.handleMore(carry("server", "replyMore", answer.payload));
    if (more === null) return { end: "client refused", why: describeFault(), payloads };
    answer = server.handleRequest(carry("client", "requestMore", more), false, mode);
  }
  if (answer.kind === "bad") {
    client.handleBad(answer.result);
    return { end: "server refused", result: answer.result, why: answer.why, payloads };
  }
  if (answer.kind === "more") throw new Error("two challenges");
  if (!client.handleDone(server.globalId, mode, carry("server", "done", answer.payload))) {
    return { end: "client refused", why: describeFault(), payloads };
  }
  const agree = signature(server.sessionKey, received.server).equals(
    signature(client.sessionKey, sent.client),
  ) && signature(client.sessionKey, received.client).equals(
    signature(server.sessionKey, sent.server),
  );
  return { end: agree ? "authenticated" : "signatures differ", payloads };
}

/** AUTH_SIGNATURE over the payloads, each with its length as in its frame. */
function signature(key: Uint8Array, payloads: readonly Uint8Array[]): Buffer {
  const parts = payloads.flatMap((payload) => [Buffer.from(`${payload.length}:`), payload]);
  return Buffer.from(crypto.hmacSha256(key, Buffer.concat(parts)));
}

/** A server with a keyring, clients for it, and a clock for each end. */
export class World {
  static readonly GATEWAY: EntityName = { type: EntityType.Client, id: "gw1" };
  static readonly OTHER: EntityName = { type: EntityType.Client, id: "gw2" };
  static readonly MON: EntityName = { type: EntityType.Mon, id: "" };
  readonly keyring: Keyring;
  serverSeconds = 1_800_000_000.25;
  clientSeconds = 1_700_000_000.5; // clocks that do not agree
  readonly #keyType: number;
  readonly #options: Partial<CephxServerOptions>;
  server: CephxServer;

  constructor(keyType: number, options: Partial<CephxServerOptions> = {}) {
    this.#keyType = keyType;
    this.#options = options;
    const caps = new Map([["mon", "allow r"], ["osd", 'allow rw pool="x"']]);
    this.keyring = new Keyring([
      { name: World.GATEWAY, key: this.newKey(), caps },
      { name: World.OTHER, key: this.newKey() },
      { name: World.MON, key: this.newKey() },
    ]);
    this.server = this.newServer();
  }

  newKey(): CryptoKey {
    return generateKey(crypto, this.#keyType, 1_600_000_000.123);
  }

  /** A server as after a restart: same keyring, new secrets. */
  newServer(): CephxServer {
    const wallSeconds = (): number => this.serverSeconds;
    return new CephxServer({ crypto, wallSeconds, keyring: this.keyring, ...this.#options });
  }

  client(name: EntityName = World.GATEWAY, key?: CryptoKey, wantedServices = 0): CephxClient {
    const known = key ?? this.keyring.get(name)?.key ?? this.newKey();
    const wallSeconds = (): number => this.clientSeconds;
    return new CephxClient({ crypto, wallSeconds, name, key: known, wantedServices });
  }

  /** Both clocks go on. */
  pass(seconds: number): void {
    this.serverSeconds += seconds;
    this.clientSeconds += seconds;
  }
}
