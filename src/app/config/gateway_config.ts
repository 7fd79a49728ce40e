/**
 * The configuration of `fairlead gateway`: its table, and the checks across keys.
 *
 * @module
 */
import { meant, shown } from "./schema_check.ts";
import {
  ADDRESSES_MAX,
  AUTH_SCHEMA,
  checkListeners,
  checkName,
  checkSecret,
  checkWatchdog,
  completeAuth,
  derive,
  DRAIN_SCHEMA,
  IO_SCHEMA,
  isLoopbackAddress,
  type Listener,
  LOG_SCHEMA,
  STATE_SCHEMA,
  STATUS_LISTEN,
  TRANSPORT_SCHEMA,
  WATCHDOG_SCHEMA,
} from "./common_config.ts";
import {
  ENTITY_NAME,
  HOST_PORT,
  MSGR2_ADDRESS,
  PATH,
  PORT_NAME,
  TOPIC,
  TOPIC_FILTER,
  TOPIC_PREFIX,
} from "./forms.ts";
import { loadConfig, type Loaded, type Override } from "./load_config.ts";
import { completePaths } from "./paths_check.ts";
import { PATHS_SCHEMA } from "./paths_config.ts";
import { completeStandby } from "./standby_check.ts";
import { STANDBY_SCHEMA } from "./standby_config.ts";
import type { Findings } from "./problem.ts";
import type { Draft, Infer, ObjectSchema } from "./schema.ts";

const MIB = 1024 * 1024;
/** Ten years. */
const AGE_MAX_SECONDS = 315_360_000;

const INPUT_TOPIC = {
  kind: "text",
  form: TOPIC,
  derived: "the input's name",
  about: "What its messages are published under.",
} as const;

const PROTOCOLS = {
  kind: "array",
  of: { kind: "text", choices: ["udp", "tcp"], about: "One of them." },
  min: 1,
  max: 2,
  default: ["udp", "tcp"],
  about: "What it listens with.",
} as const;

const LISTEN = {
  kind: "text",
  form: HOST_PORT,
  about: "Where it listens, HOST:PORT; loopback unless others shall reach it.",
} as const;

const SECRET = {
  kind: "or",
  literal: null,
  default: null,
} as const;

const INPUT_SCHEMA = {
  kind: "tagged",
  about: "An input: its type says what it takes and from where.",
  variants: {
    lines: {
      kind: "object",
      about: "Lines of text over UDP and TCP.",
      keys: {
        listen: { ...LISTEN, default: "127.0.0.1:8710" },
        protocols: PROTOCOLS,
        acknowledge: {
          kind: "boolean",
          default: false,
          about: "Over TCP: answer each line once it is on disk.",
        },
        topic: INPUT_TOPIC,
      },
    },
    syslog: {
      kind: "object",
      about: "Syslog messages, RFC 5424 and RFC 3164, over UDP and TCP.",
      keys: {
        listen: { ...LISTEN, default: "127.0.0.1:5514" },
        protocols: PROTOCOLS,
        topic: INPUT_TOPIC,
        parse: {
          kind: "boolean",
          default: true,
          about: "Pass the fields on as JSON, rather than the text as it came.",
        },
      },
    },
    http: {
      kind: "object",
      about: "HTTP POST: a line, a JSON value, or a batch.",
      keys: {
        listen: { ...LISTEN, default: "127.0.0.1:8712" },
        bodyBytesMax: {
          kind: "integer",
          min: 1,
          max: 64 * MIB,
          default: 4 * MIB,
          about: "The largest body taken.",
        },
        tokenFile: {
          ...SECRET,
          of: { kind: "text", form: PATH, about: "File with the bearer token that is asked for." },
        },
        topic: INPUT_TOPIC,
      },
    },
    file: {
      kind: "object",
      about: "A file that grows, followed over rotation and restarts.",
      keys: {
        path: { kind: "text", form: PATH, about: "The file to follow." },
        from: {
          kind: "text",
          choices: ["end", "start"],
          default: "end",
          about: "Where to begin the first time.",
        },
        topic: INPUT_TOPIC,
      },
    },
    serial: {
      kind: "object",
      about: "Lines from a serial device.",
      keys: {
        path: { kind: "text", form: PATH, about: "The device: /dev/ttyUSB0." },
        baud: { kind: "integer", min: 50, max: 4_000_000, default: 9600, about: "Bits a second." },
        dataBits: { kind: "integer", min: 5, max: 8, default: 8, about: "Bits of a character." },
        parity: {
          kind: "text",
          choices: ["none", "even", "odd"],
          default: "none",
          about: "The bit that is added to each character.",
        },
        stopBits: {
          kind: "integer",
          min: 1,
          max: 2,
          default: 1,
          about: "Bits between characters.",
        },
        topic: INPUT_TOPIC,
      },
    },
    fifo: {
      kind: "object",
      about: "Lines from a named pipe.",
      keys: {
        path: { kind: "text", form: PATH, about: "The pipe to read." },
        topic: INPUT_TOPIC,
      },
    },
    stdin: {
      kind: "object",
      about: "Lines from standard input.",
      keys: { topic: INPUT_TOPIC },
    },
    readings: {
      kind: "object",
      about: "This box's own load, memory, network counters and temperatures.",
      keys: {
        intervalSeconds: {
          kind: "integer",
          min: 1,
          max: 86_400,
          default: 1,
          about: "Seconds between two readings.",
        },
        topic: INPUT_TOPIC,
      },
    },
    statsd: {
      kind: "object",
      about: "StatsD metrics.",
      keys: {
        listen: { ...LISTEN, default: "127.0.0.1:8125" },
        protocols: { ...PROTOCOLS, default: ["udp"] },
        topic: INPUT_TOPIC,
      },
    },
    mqtt: {
      kind: "object",
      about: "Publishers of MQTT 3.1.1; their topics are kept.",
      keys: {
        listen: { ...LISTEN, default: "127.0.0.1:1883" },
        topicPrefix: {
          kind: "text",
          form: TOPIC_PREFIX,
          default: "",
          about: "What is put in front of their topics.",
        },
        passwordFile: {
          ...SECRET,
          of: { kind: "text", form: PATH, about: "File with the names and passwords let in." },
        },
      },
    },
  },
} as const;

/** Everything a gateway's file may hold. */
export const GATEWAY_SCHEMA = {
  kind: "object",
  about: "Configuration of fairlead gateway.",
  keys: {
    name: {
      kind: "text",
      form: ENTITY_NAME,
      default: "client.fairlead",
      about: "Who we are: TYPE.ID as in a keyring.",
    },
    state: STATE_SCHEMA,
    drainSeconds: DRAIN_SCHEMA,
    auth: AUTH_SCHEMA,
    io: IO_SCHEMA,
    transport: TRANSPORT_SCHEMA,
    paths: PATHS_SCHEMA,
    standby: STANDBY_SCHEMA,
    inputs: {
      kind: "map",
      names: PORT_NAME,
      of: INPUT_SCHEMA,
      max: 64,
      default: {},
      about: "Where messages come from, by name.",
    },
    spool: {
      kind: "object",
      about: "Where messages wait for their hubs.",
      default: {},
      keys: {
        place: {
          kind: "text",
          choices: ["disk", "ram"],
          derived: "disk when state is given, else ram",
          about: "On disk they survive a restart.",
        },
        bytesMax: {
          kind: "integer",
          min: 65_536,
          max: 2 ** 40,
          default: 256 * MIB,
          about: "Most bytes that wait.",
        },
        ageMaxSeconds: {
          kind: "integer",
          min: 0,
          max: AGE_MAX_SECONDS,
          default: 0,
          about: "Older ones are dropped; 0 for never.",
        },
        whenFull: {
          kind: "text",
          choices: ["block", "drop-oldest", "drop-newest"],
          default: "block",
          about: "What gives way when there is no room.",
        },
        commitIntervalMs: {
          kind: "integer",
          min: 0,
          max: 1000,
          default: 5,
          about: "How long messages are gathered for one write to disk.",
        },
      },
    },
    hubs: {
      kind: "map",
      names: PORT_NAME,
      max: 16,
      default: {},
      about: "Where messages go to, by name.",
      of: {
        kind: "object",
        about: "A hub.",
        keys: {
          addresses: {
            kind: "array",
            of: { kind: "text", form: MSGR2_ADDRESS, about: "Where it listens: v2:HOST:PORT." },
            min: 1,
            max: ADDRESSES_MAX,
            about: "Its addresses; the next one is tried when one fails.",
          },
        },
      },
    },
    routes: {
      kind: "array",
      min: 0,
      max: 256,
      default: [],
      about: "The first route whose filter matches takes a message; none: all go to every hub.",
      of: {
        kind: "object",
        about: "What becomes of some messages.",
        keys: {
          topic: { kind: "text", form: TOPIC_FILTER, about: "Topic filter of MQTT 3.1.1." },
          to: {
            kind: "array",
            of: { kind: "text", form: PORT_NAME, about: 'A key of "hubs".' },
            min: 1,
            max: 16,
            about: "The hubs that get them.",
          },
          priority: {
            kind: "text",
            choices: ["high", "normal", "low"],
            default: "normal",
            about: "Which messages go first.",
          },
          policy: {
            kind: "text",
            choices: ["lossless", "lossy"],
            default: "lossless",
            about: "Kept until they are acknowledged, or dropped while a hub is away.",
          },
          messagesPerSecond: {
            kind: "integer",
            min: 0,
            max: 1_000_000,
            default: 0,
            about: "Most that are sent in a second; 0 for no limit.",
          },
        },
      },
    },
    status: {
      kind: "or",
      literal: false,
      default: {},
      of: {
        kind: "object",
        about: "The status listener; false for none.",
        keys: { listen: { ...STATUS_LISTEN, default: "127.0.0.1:8711" } },
      },
    },
    log: LOG_SCHEMA,
    watchdog: WATCHDOG_SCHEMA,
  },
} as const satisfies ObjectSchema;

/** A gateway's configuration with all defaults. */
export type GatewayConfig = Infer<typeof GATEWAY_SCHEMA>;

/** One of its inputs; `type` says which. */
export type InputConfig = Infer<typeof INPUT_SCHEMA>;

/** Reads a gateway's file, or only what flags and defaults say when `path` is null. */
export async function loadGatewayConfig(
  path: string | null,
  overrides: readonly Override[] = [],
): Promise<Loaded<GatewayConfig>> {
  return await loadConfig<GatewayConfig>(GATEWAY_SCHEMA, path, overrides, complete);
}

async function complete(draft: Draft<GatewayConfig>, findings: Findings): Promise<void> {
  const kept = draft.state ? "as state is given" : "as there is no state";
  derive(draft.spool, "spool", "place", draft.state ? "disk" : "ram", kept, findings);
  const inputs = Object.entries(draft.inputs ?? {});
  for (const [name, input] of inputs) {
    if (input === undefined || input.type === "mqtt") continue;
    derive(input, `inputs.${name}`, "topic", name, "the input's name", findings);
  }
  const keyring = await completeAuth(draft.auth, findings);
  checkName(draft.name, keyring, draft.auth?.keyring ?? "", findings);
  checkState(draft, findings);
  checkHubs(draft, findings);
  checkRoutes(draft, findings);
  warnRoutes(draft, findings);
  checkListeners(listeners(draft), findings);
  checkReaders(draft, findings);
  for (const [name, input] of inputs) await checkInput(`inputs.${name}`, input, findings);
  completePaths(draft.paths, findings);
  completeStandby(draft, findings);
  checkPair(draft, findings);
  await checkWatchdog(draft.watchdog, findings);
}

function checkState({ state, spool, inputs }: Draft<GatewayConfig>, findings: Findings): void {
  if (state !== null) return;
  const remedy = 'add "state", a directory such as /var/lib/fairlead';
  if (spool?.place === "disk") {
    const why = `there is no directory for it: current value is "disk", ${remedy}`;
    findings.error("spool.place", why);
  }
  for (const [name, input] of Object.entries(inputs ?? {})) {
    if (input?.type !== "file") continue;
    findings.error(`inputs.${name}`, `its position must be kept over a restart: ${remedy}`);
  }
}

/** What another box is to go on with must be stored, and must have somewhere to go. */
function checkPair(
  { hubs, spool, standby, state }: Draft<GatewayConfig>,
  findings: Findings,
): void {
  if (!standby) return;
  if (state === null && standby.role !== "auto") { // with auto it is told already
    const why = "the spool that the other box goes on with must be on disk: current value is null";
    findings.error("state", `${why}, give a directory such as /var/lib/fairlead`);
  }
  if (state !== null && spool?.place === "ram") {
    const why = 'the other box goes on with it: current value is "ram"';
    findings.error("spool.place", `${why}, leave it out`);
  }
  if (hubs !== undefined && Object.keys(hubs).length === 0) {
    const why = "an embedded hub ends with its box: current value is {}, name a hub elsewhere";
    findings.error("hubs", why);
  }
}

/** Two hubs with one address would share a session, and get everything twice. */
function checkHubs({ hubs }: Draft<GatewayConfig>, findings: Findings): void {
  const owners = new Map<string, string>();
  for (const [name, hub] of Object.entries(hubs ?? {})) {
    for (const [at, address] of (hub?.addresses ?? []).entries()) {
      if (address === undefined) continue;
      const path = `hubs.${name}.addresses[${at}]`;
      const other = owners.get(address);
      if (other === undefined) owners.set(address, path);
      else {
        const why = `${other} is the same: current value is ${shown(address)}`;
        findings.error(path, `${why}, leave one out`);
      }
    }
  }
}

function checkRoutes({ routes, hubs }: Draft<GatewayConfig>, findings: Findings): void {
  if (hubs === undefined) return;
  const known = Object.keys(hubs);
  for (const [index, route] of (routes ?? []).entries()) {
    for (const [at, name] of (route?.to ?? []).entries()) {
      if (name === undefined || Object.hasOwn(hubs, name)) continue;
      const remedy = meant(name, known, `, add ${shown(name)} to "hubs"`);
      const why = `it must be a key of "hubs": current value is ${shown(name)}${remedy}`;
      findings.error(`routes[${index}].to[${at}]`, why);
    }
  }
}

/** The first route that matches takes a message, so that one for "#" belongs at the end. */
function warnRoutes({ routes }: Draft<GatewayConfig>, findings: Findings): void {
  if (routes === undefined || routes.length === 0) return;
  const all = routes.findIndex((route) => route?.topic === "#");
  if (all < 0) {
    const text = 'Messages that match no route are dropped: end "routes" with one for topic "#"';
    findings.warning("routes", text);
  } else if (all < routes.length - 1) {
    const text = `No message gets to routes[${all + 1}] as routes[${all}] takes all: move it up`;
    findings.warning(`routes[${all + 1}]`, text);
  }
}

/** Who listens where. */
function listeners({ inputs, status }: Draft<GatewayConfig>): Listener[] {
  const found: Listener[] = [];
  for (const [name, input] of Object.entries(inputs ?? {})) {
    if (input === undefined || !("listen" in input) || input.listen === undefined) continue;
    const path = `inputs.${name}.listen`;
    const protocols = "protocols" in input ? input.protocols : ["tcp" as const];
    for (const protocol of protocols ?? []) {
      if (protocol !== undefined) found.push({ path, address: input.listen, protocol });
    }
  }
  const address = status ? status.listen : undefined;
  if (address !== undefined) found.push({ path: "status.listen", address, protocol: "tcp" });
  return found;
}

/** What one input reads from these is gone for another. */
function checkReaders({ inputs }: Draft<GatewayConfig>, findings: Findings): void {
  const readers = new Map<string, string>();
  for (const [name, input] of Object.entries(inputs ?? {})) {
    const path = `inputs.${name}`;
    let source: string | undefined;
    if (input?.type === "serial" || input?.type === "fifo") source = input.path;
    if (input?.type === "stdin") source = "standard input";
    if (source === undefined) continue;
    const other = readers.get(source);
    if (other === undefined) readers.set(source, path);
    else findings.error(path, `${other} reads ${source} already: remove one of them`);
  }
}

async function checkInput(
  path: string,
  input: Draft<InputConfig> | undefined,
  findings: Findings,
): Promise<void> {
  if (input?.type === "http") {
    await checkSecret(input.tokenFile, `${path}.tokenFile`, findings);
    warnOpen(path, input.listen, input.tokenFile, "tokenFile", findings);
  }
  if (input?.type === "mqtt") {
    await checkSecret(input.passwordFile, `${path}.passwordFile`, findings);
    warnOpen(path, input.listen, input.passwordFile, "passwordFile", findings);
  }
}

/** Listening for the network without asking who comes may be meant. */
function warnOpen(
  path: string,
  listen: string | undefined,
  secret: string | null | undefined,
  key: string,
  findings: Findings,
): void {
  if (listen === undefined || secret !== null || isLoopbackAddress(listen)) return;
  const text = `Everybody who reaches ${listen} can send to ${path}: add ${key}`;
  findings.warning(`${path}.listen`, text);
}
