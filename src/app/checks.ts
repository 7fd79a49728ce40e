/**
 * What `fairlead doctor` looks at: each check tells one thing of this box, whether it is there, why
 * it matters, and the remedy when it is not. A configuration of a gateway says what is needed.
 *
 * @module
 */
import { resolve } from "node:path";
import { type Check, credentialsOf, infoOf, limited, missing, ok, readText } from "./check.ts";
import { checkCapture } from "./checks_capture.ts";
import { checkEpoll, checkLibc, checkLibcrypto } from "./checks_calls.ts";
import { checkFollowed, checkPipes, checkSerials, checkWatchdog } from "./checks_devices.ts";
import {
  checkAddresses,
  checkCapabilities,
  checkIpv6,
  checkMptcp,
  checkPorts,
  checkXfrm,
  type Listening,
} from "./checks_network.ts";
import { checkOverlay } from "./checks_overlay.ts";
import { checkPaths } from "./checks_paths.ts";
import { checkStandby } from "./checks_standby.ts";
import { checkDisk, checkState, checkStorage, placeOf } from "./checks_storage.ts";
import {
  checkClock,
  checkCores,
  checkFiles,
  checkInotify,
  checkKernel,
  checkManager,
  checkProc,
  checkThermal,
  checkTime,
  runningPrograms,
  timeSynchronised,
} from "./checks_system.ts";
import { type GatewayConfig, loadGatewayConfig } from "./config/gateway_config.ts";
import { type Problem, problemText } from "./config/problem.ts";
import { loadStandbyConfig } from "./config/standby_file.ts";
import { countText } from "./count_text.ts";
import type { IoRoad } from "./endpoint.ts";

/** Looks at everything; `io` is the road the operator wants to take. */
export function checkAll(io: IoRoad): Check[] {
  return checkBox(io, null);
}

/**
 * Looks at everything, and at what a gateway's configuration needs.
 *
 * @param io the road the operator wants to take, unless it is `auto` and the file names one
 */
export async function checkFor(file: string, io: IoRoad): Promise<Check[]> {
  const about = { name: "configuration", why: "the gateway starts with it", needed: true };
  const remedy = `correct it; fairlead gateway --config ${file} --check looks again`;
  const loaded = await loadGatewayConfig(file);
  if (loaded.config === null && loaded.problems.every(isOfSessions)) {
    const { config } = await loadStandbyConfig(file);
    if (config !== null) {
      const box = { ...config, spool: null, watchdog: null, inputs: {}, paths: false } as const;
      const usable = ok(about, `${file} can be used by fairlead standby run`);
      return [usable, ...checkBox(io, box)];
    }
  }
  const problems = "problems" in loaded ? loaded.problems : loaded.warnings;
  const told = problems.map((problem) =>
    problem.level === "error"
      ? missing(about, problemText(problem), remedy)
      : limited(about, problemText(problem), remedy)
  );
  const { config } = loaded;
  if (config === null) return [...told, ...checkAll(io)];
  const inputs = countText(Object.keys(config.inputs).length, "input");
  const hubs = countText(Object.keys(config.hubs).length, "hub");
  const usable = ok(about, `${file} can be used: ${inputs}, ${hubs}`);
  return [usable, ...told, ...checkBox(io === "auto" ? config.io : io, config)];
}

/** What only a gateway lacks: a box that carries over IPsec alone has no hubs and no spool. */
function isOfSessions({ level, path }: Problem): boolean {
  return level === "warning" || path === "hubs" || path === "state";
}

/** What of a configuration says what is needed. */
type Wanted =
  & Pick<GatewayConfig, "state" | "watchdog" | "inputs" | "paths" | "standby" | "status">
  & { readonly spool: GatewayConfig["spool"] | null };

/** Without a configuration: what a box should have, and the current directory as its state. */
function checkBox(io: IoRoad, config: Wanted | null): Check[] {
  const { state, spool, watchdog } = config ?? { state: null, spool: null, watchdog: null };
  const inputs = Object.values(config?.inputs ?? {});
  const paths = (type: string): string[] =>
    inputs.flatMap((input) => input.type === type && "path" in input ? [input.path] : []);
  const [serials, pipes, followed] = [paths("serial"), paths("fifo"), paths("file")];
  const listening = config === null ? [] : listeningOf(config);
  const mainRoad = io !== "deno";
  const ffi = mainRoad || serials.length + pipes.length > 0 || watchdog !== null;
  const who = credentialsOf(readText("/proc/self/status"));
  const limits = readText("/proc/self/limits");
  const lowPort = readText("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  const directory = resolve(state ?? ".");
  const place = placeOf(directory);
  const managed = config?.paths || null;
  const time = checkTime(runningPrograms(), timeSynchronised());
  return [
    checkLibc(ffi),
    checkEpoll(mainRoad),
    checkLibcrypto(),
    checkIpv6(),
    checkProc(),
    checkThermal(),
    checkFiles(limits),
    checkCores(limits, readText("/proc/sys/kernel/core_pattern")),
    checkInotify(
      readText("/proc/sys/fs/inotify/max_user_instances"),
      config === null ? null : followed.length,
    ),
    checkKernel(Deno.osRelease()),
    checkMptcp(readText("/proc/sys/net/mptcp/enabled"), managed?.namespaces.length === 0),
    ...checkPaths(managed, who),
    checkXfrm(),
    ...checkStandby(config?.standby || null, time.status === "ok"),
    ...checkOverlay(who, time.status === "ok"),
    ...checkCapture(),
    checkCapabilities(who),
    ...(listening.length > 0
      ? [checkPorts(listening, who, lowPort), checkAddresses(listening)]
      : []),
    checkClock(new Date()),
    time,
    ...(state === null ? [] : [checkState(directory)]),
    checkDisk(directory, place, spool?.place === "disk" ? spool.bytesMax : 0),
    checkStorage(directory, place),
    checkManager(Deno.env.get("NOTIFY_SOCKET"), infoOf("/run/systemd/system") !== null),
    checkWatchdog(watchdog, who),
    checkSerials(serials, who),
    ...(followed.length > 0 ? [checkFollowed(followed)] : []),
    ...(pipes.length > 0 ? [checkPipes(pipes, who)] : []),
  ];
}

function listeningOf({ inputs, standby, status }: Wanted): Listening[] {
  const found = Object.entries(inputs).flatMap(([name, input]) =>
    "listen" in input ? [{ path: `inputs.${name}.listen`, address: input.listen }] : []
  );
  if (standby) found.push({ path: "standby.listen", address: standby.listen });
  return status ? [...found, { path: "status.listen", address: status.listen }] : found;
}
