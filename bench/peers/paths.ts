/**
 * Path managers side by side: Fairlead, mptcpd as Debian packages it, and the kernel's own. How long
 * data stands still when an uplink is lost, how soon a second subflow is made, and 2000 connections at
 * once.
 *
 * @module
 */
import { canMakeNamespaces } from "../../tests/interop/netns.ts";
import type { Context, Family } from "./family.ts";
import { failoverRows } from "./paths_failover.ts";
import { joinRows } from "./paths_join.ts";
import { installManagers } from "./paths_managers.ts";
import { compileLoad } from "./paths_programs.ts";
import { stormRows } from "./paths_storm.ts";
import type { Row } from "./table.ts";

const NAME = "paths";

/** Failover, joins and storm. */
export const pathsFamily: Family = {
  name: NAME,
  about: "MPTCP path managers: a lost uplink, the time to a second subflow, 2000 connections",
  run,
};

async function run(context: Context): Promise<Row[]> {
  await installManagers(context.say);
  if (!await hasMptcp()) {
    throw new Error(
      "Cannot measure path managers as this kernel has no MPTCP: net.mptcp is absent",
    );
  }
  if (!await canMakeNamespaces()) {
    throw new Error(
      "Cannot measure path managers as this needs network namespaces: run it as root",
    );
  }
  const load = await compileLoad(context.directory);
  return [
    ...await failoverRows(context, NAME, load),
    ...await joinRows(context, NAME, load),
    ...await stormRows(context, NAME, load),
  ];
}

async function hasMptcp(): Promise<boolean> {
  try {
    await Deno.stat("/proc/sys/net/mptcp/pm_type");
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
