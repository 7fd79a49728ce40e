/**
 * `fairlead overlay om`: the manager, which forms overlays for operators and, as a sub-manager, for others.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import {
  loadManagerConfig,
  MANAGER_SCHEMA,
  type ManagerConfig,
} from "../../config/overlay_manager_config.ts";
import { managerUnit } from "../../config/overlay_unit.ts";
import { type DaemonKind, usableConfig } from "../../daemon.ts";
import { helpText } from "../../help.ts";
import { ApiServer } from "../../overlay/api_server.ts";
import { ManagerService } from "../../overlay/manager_service.ts";
import { OverlayAccess } from "../../overlay/overlay_access.ts";
import { Alarms, Journal } from "../../status/journal.ts";
import { printLine } from "../../terminal.ts";
import { daemonOverrides, OVERLAY_DAEMON_FLAGS, startDaemon } from "./common.ts";

const OM = command({
  name: "fairlead overlay om",
  summary: "Forms overlays",
  description:
    "Takes specifications from operators, at its access socket and with --api over mutual TLS; invites boxes,\n" +
    "selects, dispatches to sub-managers, configures, and probes every link before it says that an overlay is\n" +
    "up. What does not come up is undone on every box. Each step is on disk before it is taken: after a restart\n" +
    "it goes on with overlays that are up, and undoes the others. With --above it is a sub-manager, too.",
  flags: {
    node: {
      kind: "list",
      value: "HOST:PORT",
      help: "a node that multicast does not reach; may be given again",
    },
    above: { kind: "text", value: "ADDRESS:PORT", help: "group in which managers above invite it" },
    api: { kind: "text", value: "HOST:PORT", help: "API over mutual TLS; IANA's port is 2165" },
    socket: { kind: "text", value: "PATH", short: "s", help: "access socket" },
    ...OVERLAY_DAEMON_FLAGS,
  },
  examples: [
    [
      "fairlead overlay om --certificate om.pem --key om.key --ca ca.pem",
      "Forms overlays of the boxes that multicast reaches",
    ],
    ["fairlead overlay om --config om.jsonc", "As a box runs it"],
  ],
});

const KIND: DaemonKind<ManagerConfig> = {
  name: OM.name,
  schema: MANAGER_SCHEMA,
  load: loadManagerConfig,
  unit: managerUnit,
};

/** Runs the action; ends at SIGINT or SIGTERM. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(OM, words);
  if (help) {
    printLine(helpText(OM));
    return Exit.Ok;
  }
  const usable = await usableConfig(
    KIND,
    flags,
    daemonOverrides(flags, [
      ["--node", "nodes", flags.node.length === 0 ? undefined : flags.node],
      ["--above", "above", flags.above],
      ["--api", "api", flags.api],
      ["--socket", "socket", flags.socket],
    ]),
  );
  if (typeof usable === "number") return usable;
  const { config } = usable;
  const journal = new Journal({ format: flags.json ? "json" : config.log.format });
  const alarms = new Alarms(journal);
  const service = await ManagerService.open({ config, journal, alarms });
  const access = new OverlayAccess(service);
  const local = config.socket === false ? null : await access.open(config.socket);
  const api = config.api === false
    ? null
    : await ApiServer.open(config.api, service.identity, access);
  const daemon = await startDaemon({
    journal,
    alarms,
    name: service.identity.name,
    status: config.status,
    view: () => ({ role: "om", resource: null, overlays: service.list() }),
  });
  journal.note(`Manager ${service.identity.name}`);
  if (config.socket !== false) journal.note(`Access: ${config.socket}`);
  if (api !== null) journal.note(`API: ${api.where}`);
  if (daemon.statusUrl !== null) journal.note(`Status: ${daemon.statusUrl}`);
  await daemon.stopped;
  daemon.stopping(0);
  await api?.close();
  await local?.close();
  await service.close();
  journal.note("Stopped: overlays stay until their leases are over or the manager comes back");
  await daemon.close(true);
  return Exit.Ok;
}
