/**
 * Finds out what a msgr2 peer speaks. A first connection asks with an authentication method that
 * nobody allows, so that AUTH_BAD_METHOD tells which ones are; a second one goes on with what is
 * allowed, as far as there are credentials: up to SERVER_IDENT and a few KEEPALIVE2. msgr2
 * "Banner", "Hello", "Authentication" and "Message flow handshake".
 *
 * @module
 */
import type { U64 } from "../mem/u64.ts";
import type { AuthClient } from "../proto/msgr2/auth.ts";
import { type Connection, Phase } from "../proto/msgr2/connection.ts";
import type { AuthOptions, MessengerEvent } from "../proto/msgr2/messenger.ts";
import { POLICIES } from "../proto/msgr2/policy.ts";
import type { Session } from "../proto/msgr2/session.ts";
import type { Keyring } from "../wire/cephx/keyring.ts";
import { AuthMethod, authMethodName, ConMode, conModeName } from "../wire/msgr2/auth.ts";
import { MSGR2_FEATURE_REVISION_1 } from "../wire/msgr2/banner.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import { featureNames } from "../wire/msgr2/features.ts";
import { EntityType, entityTypeName } from "../wire/msgr2/hello.ts";
import { authCephx, authNone, type ModeName } from "./auth.ts";
import { Dispatcher, type Receiver } from "./dispatcher.ts";
import type { IoRoad } from "./endpoint.ts";
import { MonClient } from "./mon_client.ts";

/** What to probe, and with what. */
export interface ProbeOptions {
  readonly target: EntityAddr;
  /** For every step. */
  readonly timeoutMs: number;
  /** Who we are: `client.admin`. */
  readonly name: string;
  /** Null: method none only. */
  readonly keyring: Keyring | null;
  /** Modes to ask for, in order of preference. */
  readonly modes: readonly ModeName[];
  /** Monitors that give tickets for the target; none when it gives them itself, or needs none. */
  readonly mons: readonly EntityAddr[];
  readonly io: IoRoad;
}

/** What SERVER_IDENT said. */
export interface ProbedIdentity {
  addrs: string;
  gid: string;
  global_seq: number;
  supported_features: string;
  required_features: string;
  /** Names of the supported ones. */
  features: string[];
  flags: string[];
  cookie: string;
}

/** What was learnt; a field that is missing was not. The names are fixed for programs. */
export interface ProbeReport {
  address: string;
  supported_features?: string;
  required_features?: string;
  revision?: "2.0" | "2.1";
  entity?: string;
  seen_as?: string;
  methods?: string[];
  modes?: string[];
  /** The method and the mode of the connection that got through. */
  method?: string;
  mode?: string;
  identity?: ProbedIdentity;
  /** Median of the round trips. */
  rtt_ms?: number;
  rtt_min_ms?: number;
  /** Why it stopped early. */
  error?: string;
}

/** No release of Ceph has a method of this number. */
const METHOD_NOBODY_HAS = 99;
const ROUND_TRIPS = 7;
/** AuthMethod.Cephx with a daemon needs a ticket of a monitor. */
const SERVICES: readonly number[] = [EntityType.Osd, EntityType.Mgr, EntityType.Mds];

/** Probes; what goes wrong is told in the report. */
export async function probe(options: ProbeOptions): Promise<ProbeReport> {
  const report: ProbeReport = { address: `${options.target}` };
  const first = await ask(options, report);
  if (first === null) return report;
  const auth = chooseAuth(options, report, first);
  if (auth === null) return report;
  await enter(options, report, auth);
  return report;
}

/** The first connection; returns the peer's entity type, or null when it led nowhere. */
async function ask(options: ProbeOptions, report: ProbeReport): Promise<number | null> {
  const dispatcher = new Dispatcher({
    auth: askingAuth(),
    io: options.io,
    messenger: { handshakeMs: options.timeoutMs, stopBeforeIdent: true },
  });
  const visit = new Visit(dispatcher, options.target);
  try {
    const event = await visit.next();
    const connection = event.connection!;
    learn(connection, report);
    if (event.kind === "authenticated") return connection.peerType;
    if (connection.badMethods === 0) {
      report.error = failure(options, connection, event.text);
      return null;
    }
    report.methods = connection.allowedMethods.map(authMethodName);
    report.modes = connection.allowedModes.map(conModeName);
    return connection.peerType;
  } finally {
    await dispatcher.close();
  }
}

/** Credentials for a method that the peer allows, or null, and the report says what is missing. */
function chooseAuth(
  options: ProbeOptions,
  report: ProbeReport,
  peerType: number,
): AuthOptions | null {
  const { name, keyring, modes, mons } = options;
  const allows = (method: number): boolean =>
    report.methods === undefined || report.methods.includes(authMethodName(method));
  const wantsTicket = SERVICES.includes(peerType);
  if (keyring !== null && allows(AuthMethod.Cephx) && (!wantsTicket || mons.length > 0)) {
    return authCephx(name, keyring, modes, wantsTicket ? peerType : 0);
  }
  if (allows(AuthMethod.None)) return authNone(name);
  const methods = report.methods!.join(", ") || "none";
  const remedy = allows(AuthMethod.Cephx)
    ? keyring === null
      ? "give --keyring FILE and --name TYPE.ID"
      : `give --mon ADDR for a ticket, as this is ${entityTypeName(peerType)}`
    : "which is not known here";
  report.error = `Stopped before authentication as the peer allows ${methods} only: ${remedy}`;
  return null;
}

/** The second connection: authentication, identity, round trips. */
async function enter(options: ProbeOptions, report: ProbeReport, auth: AuthOptions): Promise<void> {
  const { io, timeoutMs, mons } = options;
  const messenger = { handshakeMs: timeoutMs };
  const dispatcher = new Dispatcher({ auth, io, messenger });
  try {
    if (mons.length > 0 && auth.clientMethods.includes(AuthMethod.Cephx)) {
      await new MonClient(dispatcher, { mons, timeoutMs, host: Deno.hostname() }).connect();
    }
    const visit = new Visit(dispatcher, options.target);
    const event = await visit.next();
    const connection = event.connection!;
    learn(connection, report);
    if (event.kind !== "connect") {
      report.error = failure(options, connection, event.text);
      return;
    }
    report.method = authMethodName(connection.authMethod);
    report.mode = conModeName(connection.mode);
    report.methods ??= [report.method]; // a peer that lets in everybody names no methods
    report.modes ??= [report.mode];
    report.identity = identityOf(visit.session);
    await measure(visit, connection, report, timeoutMs);
  } catch (error) {
    report.error = (error as Error).message;
  } finally {
    await dispatcher.close();
  }
}

/** Round trips by KEEPALIVE2, one after another. */
async function measure(
  visit: Visit,
  connection: Connection,
  report: ProbeReport,
  timeoutMs: number,
): Promise<void> {
  const trips: number[] = [];
  for (let index = 1; index <= ROUND_TRIPS; index++) {
    const started = performance.now();
    connection.sendKeepalive(index, 0);
    const event = await within(visit.next(), timeoutMs);
    if (event === null || event.kind !== "alive") {
      report.error = event === null
        ? `No answer to KEEPALIVE2 within ${timeoutMs} ms`
        : `No answer to KEEPALIVE2: ${event.text}`;
      return;
    }
    trips.push(visit.heardMs - started);
  }
  trips.sort((a, b) => a - b);
  report.rtt_ms = rounded(trips[trips.length >> 1]!);
  report.rtt_min_ms = rounded(trips[0]!);
}

/** What a connection has seen of its peer, as far as it came. */
function learn(connection: Connection, report: ProbeReport): void {
  const { banner, lastPhase, phase, closeReason, peerType } = connection;
  const reached = phase === Phase.Closed ? lastPhase : phase;
  if (reached > Phase.Banner || closeReason === "feature") {
    report.supported_features = `${banner.supported}`;
    report.required_features = `${banner.required}`;
    const isRevision1 = (banner.supported.lo & MSGR2_FEATURE_REVISION_1) !== 0;
    report.revision = isRevision1 ? "2.1" : "2.0";
  }
  if (peerType === 0) return;
  report.entity = entityTypeName(peerType);
  report.seen_as = `${connection.seenAs}`;
}

function identityOf(session: Session): ProbedIdentity {
  return {
    addrs: `${session.peerAddrs}`,
    gid: decimal(session.peerGid),
    global_seq: session.peerGlobalSeq,
    supported_features: `${session.peerSupported}`,
    required_features: `${session.peerRequired}`,
    features: featureNames(session.peerSupported),
    flags: session.lossy ? ["lossy"] : [],
    cookie: `${session.serverCookie}`,
  };
}

/** The end of a connection in words that a person can act on. */
function failure(options: ProbeOptions, connection: Connection, text: string): string {
  const { target, timeoutMs } = options;
  const { lastPhase, closeReason } = connection;
  if (lastPhase === Phase.Opening) {
    return closeReason === "handshake"
      ? `Cannot connect to ${target}: no answer within ${timeoutMs} ms`
      : text;
  }
  if (lastPhase === Phase.Banner && closeReason !== "feature") {
    if (text.includes("not that of msgr1")) {
      return `Cannot probe ${target} as it speaks msgr1 only: give its v2 address (${text})`;
    }
    const silent = closeReason === "handshake" ? "it says nothing, so " : "";
    return `Cannot probe ${target} as ${silent}it is no msgr2 peer: ${text}`;
  }
  if (lastPhase === Phase.Ident && closeReason === "peer") {
    return `${text}: it wants its whole address, with the nonce, as v2:HOST:PORT/NONCE`;
  }
  return text;
}

/** Asks with a method that nobody has and a list of all modes. */
function askingAuth(): AuthOptions {
  const nothing = new Uint8Array(0);
  const client: AuthClient = {
    method: METHOD_NOBODY_HAS,
    sessionKey: nothing,
    connectionSecret: nothing,
    request: () => nothing,
    handleMore: () => null,
    handleDone: (_globalId, mode) => mode === ConMode.Crc,
    handleBad: () => false,
  };
  return {
    clientMethods: [METHOD_NOBODY_HAS],
    clientModes: [ConMode.Crc, ConMode.Secure],
    client: () => client,
    serverMethods: [],
    serverModes: () => [],
    server: () => null,
  };
}

/** One session and its events, one at a time; none is lost between two `next()`. */
class Visit implements Receiver {
  readonly session: Session;
  /** When the last event came. */
  heardMs = 0;
  readonly #events: MessengerEvent[] = [];
  #waiting: ((event: MessengerEvent) => void) | null = null;

  constructor(dispatcher: Dispatcher, target: EntityAddr) {
    const session = dispatcher.open(target, POLICIES.lossyClient, this);
    if (session === null) throw new Error("Cannot open a session: too many are open");
    this.session = session;
  }

  handleMessage(): void {}

  handleEvent(event: MessengerEvent): void {
    this.heardMs = performance.now();
    if (this.#waiting === null) this.#events.push(event);
    else this.#waiting(event);
    this.#waiting = null;
  }

  next(): Promise<MessengerEvent> {
    const event = this.#events.shift();
    if (event !== undefined) return Promise.resolve(event);
    return new Promise((resolve) => this.#waiting = resolve);
  }
}

/** The promise's value, or null when it takes too long. */
async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(() => late.resolve(null), timeoutMs);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function decimal(value: Readonly<U64>): string {
  return `${value.toBigInt()}`;
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
