/**
 * This box as overlays configure it: all kinds of steps together, as its own configuration allows them.
 *
 * @module
 */
import type { ResourceConfig } from "../../config/overlay_resource_config.ts";
import { fileInfo } from "../../../io/files.ts";
import { associationStep, espCapable, protectionStep } from "./association_step.ts";
import { endpointStep } from "./endpoint_step.ts";
import { hostsStep } from "./hosts_step.ts";
import { NodeConfigurer } from "./node_configurer.ts";
import { peersStep } from "./peers_step.ts";
import { scriptStep } from "./script_step.ts";
import type { StepKind, StepRecord } from "./step.ts";

/** Who no script ever runs as. */
const NOBODY = { folder: null, user: "nobody", group: "", urls: false, deadlineMsMax: 0 };

const PASSABLE = 0o711;

/** Opens the node of a resource daemon. */
export async function openNode({ hosts, script, state }: ResourceConfig): Promise<NodeConfigurer> {
  const policy = script === false
    ? NOBODY
    : { ...script, group: "", deadlineMsMax: script.deadlineSeconds * 1000 };
  const node = await NodeConfigurer.open({
    stateDirectory: state,
    namespace: "",
    kinds: [
      protectionStep(""),
      associationStep(""),
      endpointStep(""),
      hostsStep(hosts === false ? undefined : hosts, hosts !== false),
      peersStep(`${state}/overlays`),
      scriptStep(policy, `${state}/scripts`),
    ] as unknown as StepKind<StepRecord>[],
    esp: () => espCapable(""),
  });
  // A script's user must get to its own folder; journals and records are in others of their own.
  if (script !== false) await Deno.chmod(state, PASSABLE);
  return node;
}

/** Only to look for orphans: no kind of step but the kernel's own, and the hosts file. */
export async function openOrphans(state: string, hosts: string): Promise<NodeConfigurer> {
  const steps = `${state}/steps`;
  if (await fileInfo(steps) === null) {
    throw new Error(
      `Cannot tell what belongs to no overlay as no resource daemon keeps its journals in ${state}: ` +
        `give its state directory as --state; when it was lost, make an empty ${steps}`,
    );
  }
  return await NodeConfigurer.open({
    stateDirectory: state,
    namespace: "",
    kinds: [hostsStep(hosts)] as unknown as StepKind<StepRecord>[],
    esp: () => false,
  });
}
