/**
 * `fairlead standby run`: one box of a pair, for IPsec. A gateway whose configuration has "standby" does
 * the same within itself, and carries over its sessions and its spool too.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { GATEWAY_SCHEMA } from "../../config/gateway_config.ts";
import type { Override } from "../../config/load_config.ts";
import type { StandbyFile } from "../../config/standby_config.ts";
import { loadStandbyConfig } from "../../config/standby_file.ts";
import { standbyUnit } from "../../config/systemd_unit.ts";
import {
  configuredAuth,
  Daemon,
  DAEMON_FLAGS,
  type DaemonKind,
  overridesOf,
  type Usable,
  usableConfig,
} from "../../daemon.ts";
import { helpText } from "../../help.ts";
import { StandbyPart } from "../../standby/standby_part.ts";
import { Alarms, Journal } from "../../status/journal.ts";
import { processStatus } from "../../status/process_stat.ts";
import type { Snapshot } from "../../status/snapshot.ts";
import { printLine } from "../../terminal.ts";
import { VERSION } from "../../version.ts";

const RUN = command({
  name: "fairlead standby run",
  summary: "Is one box of a pair",
  description:
    "The active box tells the other one of every IPsec association and policy, and where each is; the\n" +
    "other one takes over with the next numbers, without a new key exchange and without replay. With\n" +
    "--role auto a witness (a hub, or fairlead standby witness) lets one of them be active at a time, and\n" +
    "the kernel itself stops sending when its lease is over. Without a witness only fairlead standby\n" +
    "promote changes roles. It takes every association of the network namespace that it runs in, and\n" +
    "needs CAP_NET_ADMIN.",
  flags: {
    role: { kind: "text", value: "ROLE", help: "active, standby or auto" },
    box: { kind: "text", value: "NAME", help: "what this box is called; its host name unless set" },
    group: { kind: "text", value: "NAME", help: "what the two boxes are called together" },
    listen: {
      kind: "text",
      value: "ADDR",
      help: "where the other box reaches this one, v2:HOST:PORT",
    },
    peer: { kind: "text", value: "ADDR", help: "where this box reaches the other one" },
    witness: { kind: "text", value: "ADDR", help: "who lets one box be active at a time" },
    inbound: { kind: "text", value: "MODE", help: "lossless or strict, after a takeover" },
    address: {
      kind: "list",
      value: "ADDRESS/BITS@LINK",
      help: "an address that goes with the active role: 10.0.0.1/24@eth0",
    },
    socket: { kind: "text", value: "PATH", short: "s", help: "access socket" },
    name: { kind: "text", value: "TYPE.ID", short: "n", help: "who we are in the keyring" },
    mode: { kind: "text", value: "MODE", help: "crc or secure; secure when there is a key" },
    ...DAEMON_FLAGS,
    json: { kind: "boolean", help: "log lines of JSON; --print-config as JSON" },
  },
  examples: [
    [
      "fairlead standby run --role active --listen v2:10.9.9.1:6810 --peer v2:10.9.9.2:6810 -k KEYRING",
      "The box that works; on the other one the same with the addresses changed and --role standby",
    ],
    [
      "fairlead standby run --role auto --witness v2:hub.example:6820 --config gateway.jsonc",
      "A witness decides",
    ],
  ],
});

const KIND: DaemonKind<StandbyFile> = {
  name: RUN.name,
  schema: GATEWAY_SCHEMA,
  load: loadStandbyConfig,
  unit: standbyUnit,
};

/** A gateway on the same box has 8711. */
const STATUS_DEFAULT = "127.0.0.1:8731";

type Flags = ReturnType<typeof parseArgs<typeof RUN.flags>>["flags"];

/** Runs the action; ends at SIGINT or SIGTERM. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(RUN, words);
  if (help) {
    printLine(helpText(RUN));
    return Exit.Ok;
  }
  const usable = await usableConfig(KIND, flags, overridesFrom(flags));
  return typeof usable === "number" ? usable : await stand(usable, flags);
}

async function stand({ config, origins }: Usable<StandbyFile>, flags: Flags): Promise<number> {
  const format = flags.json ? "json" : config.log.format;
  const journal = new Journal({ format });
  const alarms = new Alarms(journal);
  const startedMs = Date.now();
  const auth = await configuredAuth(config, origins, "client");
  const part = await StandbyPart.open({
    config: config.standby,
    name: config.name,
    auth,
    state: config.state,
    cargo: null,
    journal,
    alarms,
  });
  const snapshot = (): Snapshot => ({
    role: "standby",
    name: config.standby.box,
    version: VERSION,
    nowMs: Date.now(),
    startedMs,
    ready: part.service.election.ready,
    alarms: alarms.list(),
    sessions: [],
    standby: part.view(),
    events: journal.events(),
    process: processStatus(),
  });
  const daemon = await Daemon.start({
    journal,
    alarms,
    watchdog: null,
    status: config.status === false ? null : config.status.listen,
    statusOptional: flags.config === undefined && flags.status === undefined,
    routes: new Map(),
    snapshot,
    reload: null,
  });
  const { box, group, peer } = config.standby;
  journal.note(`Box ${box} of ${group}: the other one is at ${peer} (${config.auth.mode})`);
  if (daemon.statusUrl !== null) journal.note(`Status: ${daemon.statusUrl}`);
  await daemon.stopped;
  daemon.stopping(0);
  await part.close();
  journal.note("Stopped");
  await daemon.close(true);
  return Exit.Ok;
}

function overridesFrom(flags: Flags): Override[] {
  const { address, box, group, inbound, listen, peer, role, socket, witness } = flags;
  const status: Override[] = flags.status === undefined && !flags["no-status"] &&
      flags.config === undefined
    ? [{ path: "status", value: { listen: STATUS_DEFAULT }, from: "default" }]
    : [];
  const addresses = address.length === 0 ? undefined : address.map((text) => {
    const [value, name] = text.split("@");
    return { interface: name ?? "", address: value };
  });
  return [
    ...status,
    ...overridesOf(flags, [
      ["--role", "standby.role", role],
      ["--box", "standby.box", box],
      ["--group", "standby.group", group],
      ["--listen", "standby.listen", listen],
      ["--peer", "standby.peer", peer],
      ["--witness", "standby.witness", witness],
      ["--inbound", "standby.inbound", inbound],
      ["--address", "standby.addresses", addresses],
      ["--socket", "standby.socket", socket],
    ]),
  ];
}
