/**
 * `fairlead paths daemon`: the path manager as a program of its own, for connections of every program of
 * a network namespace. A gateway whose configuration has "paths" runs it within itself.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import type { Override } from "../../config/load_config.ts";
import { PATHS_FILE_SCHEMA, type PathsFile } from "../../config/paths_config.ts";
import { loadPathsConfig } from "../../config/paths_file.ts";
import { comparePathsConfigs } from "../../config/reload.ts";
import { pathsUnit } from "../../config/systemd_unit.ts";
import { type DaemonKind, readAgain, usableConfig } from "../../daemon.ts";
import { helpText } from "../../help.ts";
import { PathsLog } from "../../paths/paths_log.ts";
import { PathsService } from "../../paths/paths_service.ts";
import { onStop } from "../../signals.ts";
import { Journal } from "../../status/journal.ts";
import { printLine } from "../../terminal.ts";
import { SOCKET_DEFAULT } from "./common.ts";

const DAEMON = command({
  name: "fairlead paths daemon",
  summary: "Decides which subflows MPTCP connections have",
  description:
    'It does what "paths" of a gateway\'s configuration says for the connections of every program, also those\n' +
    "that are there already. Without --config: a full mesh of all interfaces that are up. It needs\n" +
    "CAP_NET_ADMIN, and net.mptcp.pm_type=1. SIGHUP reads --config again. At its end it takes back what it has\n" +
    "announced and set; connections go on.",
  flags: {
    config: {
      kind: "text",
      value: "FILE",
      short: "c",
      help: 'a gateway\'s configuration, of which "paths" counts; flags win over it',
    },
    namespace: {
      kind: "list",
      value: "NAME",
      short: "N",
      help: "manage this namespace of ip netns rather than ours",
    },
    socket: {
      kind: "text",
      value: "PATH",
      short: "s",
      help: `access socket for other programs; ${SOCKET_DEFAULT} unless set`,
    },
    "no-socket": { kind: "boolean", help: "no access socket" },
    layout: {
      kind: "text",
      value: "LAYOUT",
      help: "full-mesh, primary-backup, or none: only do what other programs ask for",
    },
    manager: {
      kind: "text",
      value: "MANAGER",
      help: "userspace, or kernel: keep the endpoints of the kernel's own manager",
    },
    "set-pm-type": {
      kind: "boolean",
      help: "set net.mptcp.pm_type, and put it back at the end",
    },
    check: { kind: "boolean", help: "tell what is wrong with the configuration, and end" },
    schema: { kind: "boolean", help: "print the JSON Schema of the configuration, and end" },
    "print-config": {
      kind: "boolean",
      help: "print the values that count and where each comes from, and end",
    },
    "print-unit": { kind: "boolean", help: "print a systemd unit for this configuration, and end" },
    json: { kind: "boolean", help: "log lines of JSON; --print-config as JSON" },
  },
  examples: [
    ["fairlead paths daemon --set-pm-type", "All interfaces, new connections from now on"],
    ["fairlead paths daemon --config gateway.jsonc", "As a box runs it"],
    ["fairlead paths daemon --namespace blue --namespace red", "Two namespaces"],
  ],
});

const KIND: DaemonKind<PathsFile> = {
  name: DAEMON.name,
  schema: PATHS_FILE_SCHEMA,
  load: loadPathsConfig,
  unit: pathsUnit,
};

type Flags = ReturnType<typeof parseArgs<typeof DAEMON.flags>>["flags"];

/** Runs the action; ends at SIGINT or SIGTERM. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(DAEMON, words);
  if (help) {
    printLine(helpText(DAEMON));
    return Exit.Ok;
  }
  const overrides = overridesFrom(flags);
  const usable = await usableConfig(KIND, flags, overrides);
  return typeof usable === "number" ? usable : await manage(usable.config, flags, overrides);
}

async function manage(
  file: PathsFile,
  flags: Flags,
  overrides: readonly Override[],
): Promise<number> {
  const journal = new Journal({ format: flags.json ? "json" : "text" });
  const log = new PathsLog(journal);
  let { paths } = file;
  let service: PathsService | null = null;
  const hangup = async (): Promise<void> => {
    if (flags.config === undefined) {
      return journal.note("SIGHUP: there is no configuration file to read again");
    }
    const differences = await readAgain(
      journal,
      () => loadPathsConfig(flags.config!, overrides),
      (next) => comparePathsConfigs({ paths }, next),
    );
    if (differences === null) return;
    paths = differences.config.paths;
    service?.reload(paths);
  };
  const onHangup = (): void => {
    hangup().catch(({ message }) => journal.note(`Reload failed: ${message}`));
  };
  // Before anything is set, so that a signal never finds it half done.
  const stopped = new Promise<void>((resolve) => onStop(() => resolve()));
  Deno.addSignalListener("SIGHUP", onHangup);
  service = await PathsService.open({
    config: paths,
    dedicated: true,
    socketOptional: false,
    tell: (event, namespace) => log.tell(event, namespace),
  });
  log.ready(service.namespaces);
  if (paths.socket !== false) journal.note(`Access: ${paths.socket}`);
  await stopped;
  Deno.removeSignalListener("SIGHUP", onHangup);
  await service.close();
  journal.note("Stopped: connections go on with the subflows that they have");
  journal.flush(true);
  return Exit.Ok;
}

function overridesFrom(flags: Flags): Override[] {
  const { layout, manager, namespace, socket } = flags;
  const values: (readonly [string, string, unknown])[] = [
    ["--namespace", "namespaces", namespace.length === 0 ? undefined : namespace],
    ["--socket", "socket", socket],
    ["--no-socket", "socket", flags["no-socket"] ? false : undefined],
    ["--layout", "layout", layout],
    ["--manager", "manager", manager],
    ["--set-pm-type", "setPmType", flags["set-pm-type"] ? true : undefined],
  ];
  return values.filter(([, , value]) => value !== undefined).map(([flag, key, value]) => ({
    path: `paths.${key}`,
    value,
    from: `command line ${flag}`,
  }));
}
