/**
 * Systemd units for the two daemons of an overlay: systemd.unit(5), systemd.service(5), systemd.exec(5). A
 * resource daemon runs as root, as it configures the kernel, edits the hosts file and gives scripts a user of
 * their own; a manager needs no privilege but its ports'.
 *
 * @module
 */
import { dirname, resolve } from "node:path";
import type { ManagerConfig } from "./overlay_manager_config.ts";
import type { ResourceConfig } from "./overlay_resource_config.ts";
import { quote, thisProgram, type UnitOptions } from "./systemd_unit.ts";

/** What the command ends with when its configuration is wrong: a restart mends nothing. */
const USAGE_EXIT = 2;

/** The unit of `fairlead overlay rd --config FILE`. */
export function resourceUnit({ hosts, state }: ResourceConfig, options: UnitOptions): string {
  const writes = [resolve(state), ...(hosts === false ? [] : [dirname(resolve(hosts))])];
  return unit("rd", "Fairlead overlay resource daemon", options, [
    "# Scripts of overlays get a user of their own, so it is started as root.",
    "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID " +
    "CAP_KILL CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER",
    `ReadWritePaths=-${writes.map(quote).join(" -")}`,
  ]);
}

/** The unit of `fairlead overlay om --config FILE`. */
export function managerUnit({ state }: ManagerConfig, options: UnitOptions): string {
  return unit("om", "Fairlead overlay manager", options, [
    "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
    `ReadWritePaths=-${quote(resolve(state))}`,
    "RuntimeDirectory=fairlead",
    "RuntimeDirectoryPreserve=yes",
  ]);
}

function unit(
  action: "rd" | "om",
  description: string,
  { configFile, program = thisProgram() }: UnitOptions,
  own: readonly string[],
): string {
  const name = `fairlead-overlay-${action}`;
  const words = [
    ...program,
    "overlay",
    action,
    ...(configFile === null ? [] : ["--config", resolve(configFile)]),
  ];
  const lines = [
    `# Save as /etc/systemd/system/${name}.service, then:`,
    `#   systemctl daemon-reload && systemctl enable --now ${name}`,
    "[Unit]",
    `Description=${description}`,
    "After=network-online.target",
    "Wants=network-online.target",
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    "Type=notify",
    "NotifyAccess=main",
    `ExecStart=${words.map((word) => quote(word).replaceAll("$", "$$$$")).join(" ")}`,
    "Restart=always",
    "RestartSec=1",
    `RestartPreventExitStatus=${USAGE_EXIT}`,
    "StateDirectory=fairlead",
    ...own,
    "UMask=0077",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "PrivateDevices=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "SystemCallArchitectures=native",
    "",
    "[Install]",
    "WantedBy=multi-user.target",
  ];
  return `${lines.join("\n")}\n`;
}
