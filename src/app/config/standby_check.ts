/**
 * The checks across the keys of "standby", and with those of the file around it.
 *
 * @module
 */
import { checkListeners, derive } from "./common_config.ts";
import { hasForm, PORT_NAME } from "./forms.ts";
import type { Findings } from "./problem.ts";
import type { Draft } from "./schema.ts";
import { shown } from "./schema_check.ts";
import type { StandbyConfig } from "./standby_config.ts";

/** A box that lost one heartbeat is not dead. */
const HEARTBEATS_MIN = 3;

/** What of a file matters to a standby. */
export interface StandbyAround {
  readonly standby?: Draft<StandbyConfig> | false;
  readonly state?: string | null;
  readonly auth?: { readonly method?: string };
}

/** Fills in what depends on other keys, and checks them against each other. */
export function completeStandby(
  { auth, standby, state }: StandbyAround,
  findings: Findings,
): void {
  if (standby === undefined || standby === false) return;
  derive(standby, "standby", "box", hostName(), "this box's host name", findings);
  checkRole(standby, state ?? null, findings);
  checkTimes(standby, findings);
  checkThresholds(standby, findings);
  checkAddresses(standby, findings);
  if (standby.listen !== undefined) {
    checkListeners(
      [{ path: "standby.listen", address: standby.listen, protocol: "tcp" }],
      findings,
    );
  }
  if ((state ?? null) === null && standby.role !== "auto") { // with auto it is a mistake
    const text =
      "The term is forgotten with this program, and it may then begin beside an active " +
      'other box: add "state", a directory such as /var/lib/fairlead';
    findings.warning("standby", text);
  }
  if (auth?.method === "none" && standby.peer !== undefined) {
    const text = "Keys of associations and messages go to the other box as they are, and whoever " +
      "reaches it may take over: add auth.keyring (fairlead keyring create makes one)";
    findings.warning("standby", text);
  }
}

/** `gw-1.example` -> `gw-1`; a name that is none of ours is left out. */
function hostName(): string {
  const name = Deno.hostname().toLowerCase().split(".")[0]!.replaceAll(/[^a-z0-9_-]+/g, "-")
    .slice(0, 32);
  return hasForm(PORT_NAME, name) ? name : "box";
}

function checkRole(
  { role, witness }: Draft<StandbyConfig>,
  state: string | null,
  findings: Findings,
): void {
  if (role !== undefined && role !== "auto" && witness) {
    const why = `it decides only with role "auto": current value is ${shown(witness)}, leave it ` +
      'out, or say "auto" on both boxes';
    findings.error("standby.witness", why);
  }
  if (role !== "auto") return;
  if (witness === null) {
    const why = "two boxes that cannot see each other must not both be active: current value is " +
      `"auto", add "standby.witness" (a hub, or fairlead standby witness), or use "active" and ` +
      '"standby" and start a takeover with fairlead standby promote';
    findings.error("standby.role", why);
  }
  if (state === null) {
    const why = "the term must outlive this program: current value is null, " +
      "give a directory such as /var/lib/fairlead";
    findings.error("state", why);
  }
}

function checkTimes(
  { deadMs, heartbeatMs }: Draft<StandbyConfig>,
  findings: Findings,
): void {
  if (heartbeatMs === undefined || deadMs === undefined) return;
  const least = heartbeatMs * HEARTBEATS_MIN;
  if (deadMs >= least) return;
  const why = `it must be ${HEARTBEATS_MIN} times standby.heartbeatMs at least, which is ` +
    `${least}: current value is ${deadMs}, raise it or lower standby.heartbeatMs`;
  findings.error("standby.deadMs", why);
}

function checkThresholds(
  { associations, thresholdMs, thresholdPackets }: Draft<StandbyConfig>,
  findings: Findings,
): void {
  if (associations !== true || thresholdMs !== 0 || thresholdPackets !== 0) return;
  const why = "an association must tell where it is by time or by packets: current value is 0, " +
    "set it or standby.thresholdPackets";
  findings.error("standby.thresholdMs", why);
}

function checkAddresses({ addresses }: Draft<StandbyConfig>, findings: Findings): void {
  const owners = new Map<string, string>();
  for (const [index, entry] of (addresses ?? []).entries()) {
    if (entry?.address === undefined) continue;
    const path = `standby.addresses[${index}].address`;
    const other = owners.get(entry.address);
    if (other === undefined) owners.set(entry.address, path);
    else findings.error(path, `${other} is the same: current value is ${shown(entry.address)}`);
  }
}
