/**
 * A systemd unit for the daemons: systemd.unit(5), systemd.service(5), systemd.exec(5) and, for the
 * devices, systemd.resource-control(5). What the service may do is what its configuration needs.
 *
 * @module
 */
import { dirname, isAbsolute, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { portOf } from "./common_config.ts";
import type { GatewayConfig } from "./gateway_config.ts";
import type { HubConfig } from "./hub_config.ts";
import type { PathsConfig, PathsFile } from "./paths_config.ts";
import type { StandbyConfig, StandbyFile } from "./standby_config.ts";

/** Beyond the time to drain, to write and close. */
const STOP_SECONDS = 10;
/** The daemon tells that it is alive twice in this time. */
const WATCHDOG_SECONDS = 30;
/** Ports below this one need CAP_NET_BIND_SERVICE. */
const PRIVILEGED_END = 1024;
/** What the command ends with when its configuration is wrong: a restart mends nothing. */
const USAGE_EXIT = 2;
const OPEN_FILES_MAX = 65_536;
const USER = "fairlead";

/** How the unit starts this program. */
export interface UnitOptions {
  /** Path of the configuration; null: there is none. */
  readonly configFile: string | null;
  /** The words before the command's name; this program as it runs now unless given. */
  readonly program?: readonly string[];
}

/** What a configuration needs of the system. All paths are absolute. */
interface Needs {
  readonly command: "gateway" | "hub" | "paths daemon" | "standby run";
  readonly name: string;
  /** It tells when it is ready, and that it is alive. */
  readonly notifies: boolean;
  readonly drainSeconds: number;
  readonly state: string | null;
  /** Files that few can read. */
  readonly secrets: string[];
  /** Files that it follows. */
  readonly follows: string[];
  /** Files that it makes. */
  readonly writes: string[];
  readonly pipes: string[];
  readonly serials: string[];
  readonly watchdog: string | null;
  readonly addresses: string[];
  readonly paths: PathsConfig | false;
  readonly standby: StandbyConfig | false;
  /** Some paths depend on the directory in which the unit is printed. */
  readonly fromHere: boolean;
}

/** The unit of `fairlead gateway --config FILE`. */
export function gatewayUnit(config: GatewayConfig, options: UnitOptions): string {
  const { auth, status, state, watchdog } = config;
  const inputs = Object.values(config.inputs);
  const paths = (type: string): string[] =>
    inputs.flatMap((input) => input.type === type && "path" in input ? [input.path] : []);
  const secrets = inputs.flatMap((input) =>
    input.type === "http" ? [input.tokenFile] : input.type === "mqtt" ? [input.passwordFile] : []
  );
  return unitText(
    absolute({
      command: "gateway",
      name: config.name,
      notifies: true,
      drainSeconds: config.drainSeconds,
      state,
      secrets: [auth.keyring, ...secrets].filter((file) => file !== null),
      follows: paths("file"),
      writes: [],
      pipes: paths("fifo"),
      serials: paths("serial"),
      watchdog,
      addresses: [
        ...inputs.flatMap((input) => "listen" in input ? [input.listen] : []),
        ...(status ? [status.listen] : []),
      ],
      paths: config.paths,
      standby: config.standby,
      fromHere: false,
    }),
    options,
  );
}

/** The unit of `fairlead hub --config FILE`. */
export function hubUnit(config: HubConfig, options: UnitOptions): string {
  const { auth, status, state, watchdog, listen } = config;
  const outputs = Object.values(config.outputs);
  return unitText(
    absolute({
      command: "hub",
      name: config.name,
      notifies: true,
      drainSeconds: config.drainSeconds,
      state,
      secrets: auth.keyring === null ? [] : [auth.keyring],
      follows: [],
      writes: outputs.flatMap((output) => output.type === "file" ? [output.path] : []),
      pipes: [],
      serials: [],
      watchdog,
      addresses: [listen, ...(status ? [status.listen] : [])],
      paths: false,
      standby: false,
      fromHere: false,
    }),
    options,
  );
}

/** The unit of `fairlead paths daemon --config FILE`. */
export function pathsUnit({ paths }: PathsFile, options: UnitOptions): string {
  const needs: Needs = {
    command: "paths daemon",
    name: "",
    notifies: false,
    drainSeconds: 0,
    state: null,
    secrets: [],
    follows: [],
    writes: [],
    pipes: [],
    serials: [],
    watchdog: null,
    addresses: [],
    paths,
    standby: false,
    fromHere: false,
  };
  return unitText(needs, options);
}

/** The unit of `fairlead standby run --config FILE`. */
export function standbyUnit(
  { auth, name, standby, state, status }: StandbyFile,
  options: UnitOptions,
): string {
  return unitText(
    absolute({
      command: "standby run",
      name,
      notifies: true,
      drainSeconds: 0,
      state,
      secrets: auth.keyring === null ? [] : [auth.keyring],
      follows: [],
      writes: [],
      pipes: [],
      serials: [],
      watchdog: null,
      addresses: [standby.listen, ...(status ? [status.listen] : [])],
      paths: false,
      standby,
      fromHere: false,
    }),
    options,
  );
}

function absolute(needs: Needs): Needs {
  const { state, secrets, follows, writes, pipes } = needs;
  const files = [...secrets, ...follows, ...writes, ...pipes, ...(state === null ? [] : [state])];
  const all = (paths: string[]): string[] => paths.map((path) => resolve(path));
  return {
    ...needs,
    state: state === null ? null : resolve(state),
    secrets: all(secrets),
    follows: all(follows),
    writes: all(writes),
    pipes: all(pipes),
    fromHere: files.some((path) => !isAbsolute(path)),
  };
}

function unitText(needs: Needs, { configFile, program = thisProgram() }: UnitOptions): string {
  const { command, name, notifies, drainSeconds, state, secrets, follows, writes, pipes } = needs;
  const config = configFile === null ? null : resolve(configFile);
  const words = [
    ...program,
    ...command.split(" "),
    ...(config === null ? [] : ["--config", config]),
  ];
  const touched = [
    ...program,
    config ?? "",
    state ?? "",
    ...secrets,
    ...follows,
    ...writes,
    ...pipes,
    ...socketsOf(needs),
  ];
  const dynamic = isDynamic(needs, touched);
  const lines = [
    ...heading(needs, dynamic, config),
    "[Unit]",
    `Description=Fairlead ${command} ${name.replaceAll(/[^\w.@-]/g, "_")}`.trimEnd(),
    "After=network.target",
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    ...(notifies ? ["Type=notify", "NotifyAccess=main"] : ["Type=exec"]),
    `ExecStart=${words.map((word) => quote(word).replaceAll("$", "$$$$")).join(" ")}`,
    "ExecReload=/bin/kill -HUP $MAINPID",
    ...(notifies ? [`WatchdogSec=${WATCHDOG_SECONDS}`] : []),
    "Restart=always",
    "RestartSec=1",
    `RestartPreventExitStatus=${USAGE_EXIT}`,
    `TimeoutStopSec=${drainSeconds + STOP_SECONDS}`,
    ...(needs.fromHere ? [`WorkingDirectory=${quote(Deno.cwd())}`] : []),
    ...(program.length > 1 ? denoLines(needs) : []),
    "",
    ...(dynamic ? ["DynamicUser=yes"] : [`User=${USER}`]),
    ...groupLines(needs),
    ...directoryLines(needs),
    ...capabilityLines(needs),
    `LimitNOFILE=${OPEN_FILES_MAX}`,
    "UMask=0077",
    "",
    ...deviceLines(needs),
    ...sandboxLines(needs, touched),
    "",
    "[Install]",
    "WantedBy=multi-user.target",
  ];
  return `${lines.join("\n")}\n`;
}

function heading(needs: Needs, dynamic: boolean, config: string | null): string[] {
  const unit = unitName(needs);
  const reads = [
    ...(config === null ? [] : [config]),
    ...needs.secrets,
    ...needs.follows,
    ...needs.pipes,
  ];
  const home = needs.state ?? "/nonexistent";
  const comments = [
    `Save as /etc/systemd/system/${unit}.service, then:`,
    `  systemctl daemon-reload && systemctl enable --now ${unit}`,
    ...(dynamic ? [] : [
      "The user is made once by:",
      `  useradd --system --home-dir ${quote(home)} --shell /usr/sbin/nologin ${USER}`,
      ...(reads.length === 0 ? [] : [`It must be able to read ${reads.map(quote).join(", ")}`]),
    ]),
    ...(needs.watchdog === null
      ? []
      : [`It must be able to write ${quote(needs.watchdog)} (udev)`]),
  ];
  return comments.map((line) => `# ${line}`);
}

/** `fairlead-gateway`, `fairlead-hub`, `fairlead-paths` */
function unitName({ command }: Needs): string {
  return `fairlead-${command.replace(/ .*/, "")}`;
}

/** A user that exists only while the service runs owns nothing but its state. */
function isDynamic(needs: Needs, touched: readonly string[]): boolean {
  const { state, secrets, follows, writes, pipes, watchdog } = needs;
  if (secrets.length + writes.length + pipes.length > 0 || watchdog !== null) return false;
  if (state !== null && below("/var/lib", state) === null) return false;
  if (socketsOf(needs).some((path) => below("/run", dirname(path)) === null)) return false;
  return follows.every((path) => below("/var/log", path) !== null) && !touched.some(isTemporary);
}

/** Deno keeps compiled code in a directory of its own. */
function denoLines(needs: Needs): string[] {
  const directory = unitName(needs);
  return [
    `CacheDirectory=${directory}`,
    `Environment=DENO_DIR=/var/cache/${directory} DENO_NO_UPDATE_CHECK=1`,
  ];
}

function groupLines({ serials, follows }: Needs): string[] {
  const groups = [
    ...(serials.length > 0 ? ["dialout"] : []),
    ...(follows.some((path) => below("/var/log", path) !== null) ? ["adm"] : []),
  ];
  return groups.length === 0 ? [] : [`SupplementaryGroups=${groups.join(" ")}`];
}

/** The file system is read-only but for these. */
function directoryLines(needs: Needs): string[] {
  const { state, writes, pipes } = needs;
  const named = (top: string, paths: readonly string[]): string[] => [
    ...new Set(paths.map((path) => below(top, path)).filter((path) => path !== null)),
  ];
  const states = state === null ? [] : [state];
  const logs = writes.map((path) => dirname(path));
  const sockets = socketsOf(needs).map((path) => dirname(path));
  const setting = (key: string, words: readonly string[]): string[] =>
    words.length === 0 ? [] : [`${key}=${words.map(quote).join(" ")}`];
  const runtime = named("/run", [...pipes.map((path) => dirname(path)), ...sockets]);
  const others = [
    ...states.filter((path) => below("/var/lib", path) === null),
    ...logs.filter((path) => below("/var/log", path) === null),
    ...sockets.filter((path) => below("/run", path) === null),
  ];
  return [
    ...setting("StateDirectory", named("/var/lib", states)),
    ...setting("LogsDirectory", named("/var/log", logs)),
    ...setting("RuntimeDirectory", runtime),
    // Another unit of ours may have its socket there.
    ...(runtime.length > 0 ? ["RuntimeDirectoryPreserve=yes"] : []),
    ...setting("ReadWritePaths", [...new Set(others)]),
  ];
}

function capabilityLines({ addresses, paths, standby }: Needs): string[] {
  const privileged = addresses.map(portOf).some((port) => port > 0 && port < PRIVILEGED_END);
  const capabilities = [
    ...(privileged ? ["CAP_NET_BIND_SERVICE"] : []),
    ...(paths || standby ? ["CAP_NET_ADMIN"] : []),
    // Links are told of the addresses that this box has taken.
    ...(standby && standby.addresses.length > 0 ? ["CAP_NET_RAW"] : []),
    // Who asks at the socket must be of our network namespace, and /proc tells that of root only so.
    ...(paths && paths.socket !== false ? ["CAP_SYS_PTRACE"] : []),
    // setns(2)
    ...(paths && paths.namespaces.length > 0 ? ["CAP_SYS_ADMIN"] : []),
  ].join(" ");
  return [
    `CapabilityBoundingSet=${capabilities}`,
    ...(capabilities === "" ? [] : [`AmbientCapabilities=${capabilities}`]),
  ];
}

/** The sockets for other programs. */
function socketsOf({ paths, standby }: Needs): string[] {
  return [paths && paths.socket, standby && standby.socket].filter((path) => path !== false);
}

/** A device that is unplugged and comes back has another node: drivers are named, where known. */
function deviceLines({ serials, watchdog }: Needs): string[] {
  const devices = serials.flatMap((path) => {
    const driver = /^\/dev\/(tty(?:USB|ACM|AMA|S))\d+$/.exec(path)?.[1];
    if (driver !== undefined) return [`char-${driver}`];
    return path.startsWith("/dev/serial/") ? ["char-ttyUSB", "char-ttyACM"] : [quote(path)];
  });
  if (watchdog !== null) devices.push(quote(watchdog));
  if (devices.length === 0) return ["PrivateDevices=yes"];
  return [
    "DevicePolicy=closed",
    ...[...new Set(devices)].map((device) => `DeviceAllow=${device} rw`),
  ];
}

/** No MemoryDenyWriteExecute, as V8 compiles at run time; it guards that memory with @pkey. */
function sandboxLines({ paths, standby }: Needs, touched: readonly string[]): string[] {
  // net.mptcp.pm_type, net.core.xfrm_aevent_*
  const tunes = (paths && paths.setPmType) || (standby && standby.associations);
  const packets = standby && standby.addresses.length > 0 ? " AF_PACKET" : "";
  const home = touched.some((path) => /^\/(home|root|run\/user)\//.test(path));
  return [
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    `ProtectHome=${home ? "read-only" : "yes"}`,
    `PrivateTmp=${touched.some(isTemporary) ? "no" : "yes"}`,
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    `ProtectKernelTunables=${tunes ? "no" : "yes"}`,
    "ProtectProc=invisible",
    "LockPersonality=yes",
    "RemoveIPC=yes",
    `RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK${packets}`,
    `RestrictNamespaces=${paths && paths.namespaces.length > 0 ? "net" : "yes"}`,
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service @pkey",
    "SystemCallErrorNumber=EPERM",
  ];
}

/** This program as it runs now: the compiled binary, or a script of deno. */
export function thisProgram(): string[] {
  if (Deno.build.standalone) return [Deno.execPath()];
  // In one bundled file this module is that file.
  const { url } = import.meta;
  const source = url.endsWith("/app/config/systemd_unit.ts");
  const main = fileURLToPath(source ? new URL("../../main.ts", url) : url);
  return [Deno.execPath(), "run", "--quiet", "-A", main];
}

/** The part of a path below a directory, or null. */
function below(top: string, path: string): string | null {
  const part = relative(top, path);
  return part === "" || part === ".." || part.startsWith("../") ? null : part;
}

function isTemporary(path: string): boolean {
  return /^(\/var)?\/tmp\//.test(path);
}

/** systemd.syntax(7) "Quoting", and `%` of systemd.unit(5) "Specifiers". */
export function quote(word: string): string {
  const escaped = word.replaceAll("%", "%%");
  if (/^[\w@%+=:,./-]+$/.test(escaped)) return escaped;
  const inner = escaped.replaceAll(/[\\"]/g, "\\$&").replaceAll(/\p{Cc}/gu, (sign) => {
    const code = sign.charCodeAt(0);
    return code < 0x80 ? `\\x${code.toString(16).padStart(2, "0")}` : sign; // a byte, not a letter
  });
  return `"${inner}"`;
}
