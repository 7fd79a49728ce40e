/**
 * The configuration of `fairlead hub`: its table, and the checks across keys.
 *
 * @module
 */
import { shown } from "./schema_check.ts";
import {
  ADDRESSES_MAX,
  AUTH_SCHEMA,
  checkListeners,
  checkName,
  checkWatchdog,
  completeAuth,
  DRAIN_SCHEMA,
  IO_SCHEMA,
  isLoopbackAddress,
  LOG_SCHEMA,
  STATE_SCHEMA,
  STATUS_LISTEN,
  TRANSPORT_SCHEMA,
  WATCHDOG_SCHEMA,
} from "./common_config.ts";
import { ENTITY_NAME, HOST_PORT, MSGR2_ADDRESS, PATH, PORT_NAME, TOPIC_FILTER } from "./forms.ts";
import { loadConfig, type Loaded, type Override } from "./load_config.ts";
import type { Findings } from "./problem.ts";
import type { Draft, Infer, ObjectSchema } from "./schema.ts";

const MIB = 1024 * 1024;
/** A year. */
const ROTATE_SECONDS_MAX = 31_536_000;

const FORMAT = {
  kind: "text",
  choices: ["text", "json", "raw"],
  default: "text",
  about: "A line for people, one JSON object each, or the payload as it came.",
} as const;

const SELECTED = {
  kind: "text",
  form: TOPIC_FILTER,
  default: "#",
  about: "Which messages it gets: a topic filter of MQTT 3.1.1.",
} as const;

const REQUIRED = {
  kind: "boolean",
  default: true,
  about: "Gateways get their acknowledgement only after this output has the message.",
} as const;

const BESIDE = { ...REQUIRED, default: false } as const;

const OUTPUT_SCHEMA = {
  kind: "tagged",
  about: "An output: its type says where messages go.",
  variants: {
    file: {
      kind: "object",
      about: "A file, rotated by size and age; each message stands in it exactly once.",
      keys: {
        path: { kind: "text", form: PATH, about: "The file to write." },
        format: FORMAT,
        rotateBytes: {
          kind: "integer",
          min: 0,
          max: 2 ** 40,
          default: 100 * MIB,
          about: "Size at which a new file is begun; 0 for never.",
        },
        rotateSeconds: {
          kind: "integer",
          min: 0,
          max: ROTATE_SECONDS_MAX,
          default: 0,
          about: "Age at which a new file is begun; 0 for never.",
        },
        keep: { kind: "integer", min: 0, max: 10_000, default: 10, about: "Old files kept." },
        topic: SELECTED,
        required: REQUIRED,
      },
    },
    stdout: {
      kind: "object",
      about: "Standard output.",
      keys: { format: FORMAT, topic: SELECTED, required: BESIDE },
    },
    sse: {
      kind: "object",
      about: "Server-sent events at /stream/NAME of the status listener.",
      keys: { topic: SELECTED, required: BESIDE },
    },
    tcp: {
      kind: "object",
      about: "The next program, over TCP.",
      keys: {
        address: { kind: "text", form: HOST_PORT, about: "Where it listens, HOST:PORT." },
        format: FORMAT,
        topic: SELECTED,
        required: BESIDE,
      },
    },
    udp: {
      kind: "object",
      about: "The next program, a datagram for each message.",
      keys: {
        address: { kind: "text", form: HOST_PORT, about: "Where it listens, HOST:PORT." },
        format: { ...FORMAT, default: "raw" },
        topic: SELECTED,
        required: BESIDE,
      },
    },
    forward: {
      kind: "object",
      about: "Another hub; each message gets there exactly once.",
      keys: {
        addresses: {
          kind: "array",
          of: { kind: "text", form: MSGR2_ADDRESS, about: "Where it listens: v2:HOST:PORT." },
          min: 1,
          max: ADDRESSES_MAX,
          about: "Its addresses; the next one is tried when one fails.",
        },
        topic: SELECTED,
        required: REQUIRED,
      },
    },
  },
} as const;

/** Everything a hub's file may hold. */
export const HUB_SCHEMA = {
  kind: "object",
  about: "Configuration of fairlead hub.",
  keys: {
    name: {
      kind: "text",
      form: ENTITY_NAME,
      default: "mon.",
      about: "Who we are: TYPE.ID as in a keyring.",
    },
    listen: {
      kind: "text",
      form: MSGR2_ADDRESS,
      default: "v2:127.0.0.1:3300",
      about: "Where gateways are accepted, v2:HOST:PORT.",
    },
    state: STATE_SCHEMA,
    auth: AUTH_SCHEMA,
    io: IO_SCHEMA,
    transport: TRANSPORT_SCHEMA,
    outputs: {
      kind: "map",
      names: PORT_NAME,
      of: OUTPUT_SCHEMA,
      max: 64,
      default: {},
      about: "Where messages go to, by name.",
    },
    status: {
      kind: "or",
      literal: false,
      default: {},
      of: {
        kind: "object",
        about: "The status listener; false for none.",
        keys: { listen: { ...STATUS_LISTEN, default: "127.0.0.1:8721" } },
      },
    },
    witness: {
      kind: "or",
      literal: false,
      default: false,
      of: {
        kind: "object",
        about: "Where boxes of pairs ask who may be active; false: they do not ask here.",
        keys: {
          listen: {
            kind: "text",
            form: MSGR2_ADDRESS,
            default: "v2:127.0.0.1:6820",
            about: "Where it listens for them: v2:HOST:PORT.",
          },
        },
      },
    },
    log: LOG_SCHEMA,
    drainSeconds: DRAIN_SCHEMA,
    watchdog: WATCHDOG_SCHEMA,
  },
} as const satisfies ObjectSchema;

/** A hub's configuration with all defaults. */
export type HubConfig = Infer<typeof HUB_SCHEMA>;

/** Reads a hub's file, or only what flags and defaults say when `path` is null. */
export async function loadHubConfig(
  path: string | null,
  overrides: readonly Override[] = [],
): Promise<Loaded<HubConfig>> {
  return await loadConfig<HubConfig>(HUB_SCHEMA, path, overrides, complete);
}

async function complete(draft: Draft<HubConfig>, findings: Findings): Promise<void> {
  const { listen, status } = draft;
  const open = draft.auth?.method !== "none"; // unless the operator says so in so many words
  const keyring = await completeAuth(draft.auth, findings);
  // To another hub this one is a client, under its name.
  if (Object.values(draft.outputs ?? {}).some((output) => output?.type === "forward")) {
    checkName(draft.name, keyring, draft.auth?.keyring ?? "", findings);
  }
  if (listen !== undefined && !isLoopbackAddress(listen) && open && draft.auth?.method === "none") {
    const why = `others can reach it and there is no keyring: current value is ${shown(listen)}`;
    const remedy = "add auth.keyring or --keyring FILE; to let everybody in, " +
      'auth.method "none" or --auth none';
    findings.error("listen", `${why}, ${remedy}`);
  }
  const address = status ? status.listen : undefined;
  checkListeners([
    ...(listen === undefined
      ? []
      : [{ path: "listen", address: listen, protocol: "tcp" as const }]),
    ...(address === undefined
      ? []
      : [{ path: "status.listen", address, protocol: "tcp" as const }]),
    ...(draft.witness && draft.witness.listen !== undefined
      ? [{ path: "witness.listen", address: draft.witness.listen, protocol: "tcp" as const }]
      : []),
  ], findings);
  checkOutputs(draft, findings);
  checkWitness(draft, open, findings);
  await checkWatchdog(draft.watchdog, findings);
}

function checkWitness(
  { auth, state, witness }: Draft<HubConfig>,
  open: boolean,
  findings: Findings,
): void {
  if (!witness) return;
  if (state === null) {
    const why = "what it has promised must outlive this program: current value of state is null, ";
    findings.error("witness", `${why}add "state", a directory such as /var/lib/fairlead-hub`);
  }
  const { listen } = witness;
  if (listen === undefined || isLoopbackAddress(listen)) return;
  if (!open || auth?.method !== "none") return;
  const why = `others can reach it and there is no keyring: current value is ${shown(listen)}`;
  findings.error("witness.listen", `${why}, add auth.keyring or --keyring FILE`);
}

function checkOutputs({ outputs, state, status }: Draft<HubConfig>, findings: Findings): void {
  const files = new Map<string, string>();
  for (const [name, output] of Object.entries(outputs ?? {})) {
    const path = `outputs.${name}`;
    if (output?.type === "sse" && status === false) {
      findings.error(path, "the status listener serves it: current value of status is false");
    }
    if ((output?.type === "file" || output?.type === "forward") && state === null) {
      const text = `After a restart ${path} may get messages twice, as there is no state: add ` +
        '"state", a directory such as /var/lib/fairlead-hub';
      findings.warning(path, text);
    }
    if (output?.type !== "file" || output.path === undefined) continue;
    const other = files.get(output.path);
    if (other === undefined) files.set(output.path, path);
    else {
      const why = `${other} writes that file too: current value is ${shown(output.path)}`;
      findings.error(`${path}.path`, `${why}, give another file`);
    }
  }
}
