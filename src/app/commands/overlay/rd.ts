/**
 * `fairlead overlay rd`: the resource daemon, which lends this box to overlays.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import {
  loadResourceConfig,
  RESOURCE_SCHEMA,
  type ResourceConfig,
} from "../../config/overlay_resource_config.ts";
import { resourceUnit } from "../../config/overlay_unit.ts";
import { type DaemonKind, usableConfig } from "../../daemon.ts";
import { helpText } from "../../help.ts";
import { ResourceService } from "../../overlay/resource_service.ts";
import { Alarms, Journal } from "../../status/journal.ts";
import { printLine } from "../../terminal.ts";
import { daemonOverrides, OVERLAY_DAEMON_FLAGS, startDaemon } from "./common.ts";

const RD = command({
  name: "fairlead overlay rd",
  summary: "Lends this box to overlays",
  description:
    "Answers signed invitations of managers that its ACL allows, reserves, and becomes what it is configured to\n" +
    "be: tunnels, addresses, routes of a table of their own, IPsec, rates, host names. Every step is journaled\n" +
    "before it acts and is undone in reverse when anything fails, when the overlay is destroyed, or when its\n" +
    "manager is silent for longer than the lease. It needs root.",
  flags: {
    address: { kind: "text", value: "ADDRESS", help: "where tunnels end on this box" },
    role: { kind: "text", value: "ROLE", help: "host, router or both" },
    hosts: { kind: "text", value: "FILE", help: "file of host names; /etc/hosts unless set" },
    ...OVERLAY_DAEMON_FLAGS,
  },
  examples: [
    [
      "fairlead overlay rd --certificate gw1.pem --key gw1.key --ca ca.pem",
      "A box that any manager of the authority may use",
    ],
    ["fairlead overlay rd --config rd.jsonc", "As a box runs it"],
  ],
});

const KIND: DaemonKind<ResourceConfig> = {
  name: RD.name,
  schema: RESOURCE_SCHEMA,
  load: loadResourceConfig,
  unit: resourceUnit,
};

/** Runs the action; ends at SIGINT or SIGTERM. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(RD, words);
  if (help) {
    printLine(helpText(RD));
    return Exit.Ok;
  }
  const usable = await usableConfig(
    KIND,
    flags,
    daemonOverrides(flags, [
      ["--address", "address", flags.address],
      ["--role", "role", flags.role],
      ["--hosts", "hosts", flags.hosts],
    ]),
  );
  if (typeof usable === "number") return usable;
  const { config } = usable;
  const journal = new Journal({ format: flags.json ? "json" : config.log.format });
  const alarms = new Alarms(journal);
  const service = await ResourceService.open({ config, journal, alarms });
  const daemon = await startDaemon({
    journal,
    alarms,
    name: service.identity.name,
    status: config.status,
    view: () => ({ role: "rd", resource: service.view(), overlays: [] }),
  });
  const { address, capabilities, control, node } = service.view();
  journal.note(
    `Node ${node}: control ${control}, tunnels end at ${address}, can ${capabilities.join(" ")}`,
  );
  if (daemon.statusUrl !== null) journal.note(`Status: ${daemon.statusUrl}`);
  await daemon.stopped;
  daemon.stopping(0);
  await service.close();
  journal.note(
    "Stopped: what is configured stays until its lease is over or this daemon comes back",
  );
  await daemon.close(true);
  return Exit.Ok;
}
