/**
 * The step `endpoint`: an address of the overlay as an endpoint of the kernel's own MPTCP path manager,
 * ip-mptcp(8), so that the box's sessions get a path over it. Endpoints have no owner in the kernel: ours is
 * the one with the address and the flags that the journal says.
 *
 * @module
 */
import { Errno, errnoText } from "../../../io/errno.ts";
import type { KernelEndpoint } from "../../../proto/mptcp/endpoint_keeper.ts";
import { PmFlag } from "../../../wire/netlink/mptcp_pm.ts";
import type { NodePlan } from "../../../wire/xbone/node_plan.ts";
import { KernelEndpoints } from "../../paths/kernel_endpoints.ts";
import type { PlannedStep, StepKind, StepRecord } from "./step.ts";

const MPTCP_SYSCTLS = "/proc/sys/net/mptcp";
const FLAGS: Readonly<Record<string, number>> = {
  subflow: PmFlag.Subflow,
  signal: PmFlag.Signal,
  backup: PmFlag.Backup,
};

/** What stands in the journal. */
export interface EndpointRecord extends StepRecord {
  readonly kind: "endpoint";
  readonly address: string;
  readonly flags: readonly string[];
}

/** The steps of a plan. */
export function endpointSteps({ endpoints }: NodePlan): PlannedStep[] {
  return endpoints.map(({ address, flags }) => {
    const record: EndpointRecord = {
      ...{ kind: "endpoint", about: `MPTCP endpoint ${address}`, address, flags },
    };
    return { record };
  });
}

/** The step in the network namespace of that name, or in ours when it is empty. */
export function endpointStep(namespace: string): StepKind<EndpointRecord> {
  const using = <T>(work: (kernel: KernelEndpoints) => T): T => {
    const kernel = KernelEndpoints.open(namespace);
    try {
      return work(kernel);
    } finally {
      kernel.close();
    }
  };
  return {
    kind: "endpoint",
    apply: (record) => using((kernel) => add(kernel, record)),
    undo: (record) => {
      if (hasMptcp()) using((kernel) => remove(kernel, record));
    },
    drift: (record) =>
      using((kernel) => {
        const found = findEndpoint(kernel, record);
        if (found === undefined) return [`${record.about} is missing`];
        return found.flags === flagsOf(record) ? [] : [`${record.about} has other flags`];
      }),
  };
}

/** Whether this kernel has it; where it has not, there never was an endpoint. */
export function hasMptcp(): boolean {
  try {
    return Deno.statSync(MPTCP_SYSCTLS).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function add(kernel: KernelEndpoints, record: EndpointRecord): void {
  const flags = flagsOf(record);
  const found = findEndpoint(kernel, record);
  if (found !== undefined) {
    if (found.flags === flags) return;
    throw new Error(
      `Cannot add ${record.about} as somebody else has it with other flags: see ip mptcp endpoint`,
    );
  }
  const endpoint = { id: 0, address: record.address, port: 0, interfaceIndex: 0, flags };
  const errno = kernel.apply({ kind: "add", endpoint });
  if (errno !== 0) {
    throw new Error(`Cannot add ${record.about}: ${kernel.text || errnoText(errno)}`);
  }
}

function remove(kernel: KernelEndpoints, record: EndpointRecord): void {
  if (!record.flags.every((flag) => Object.hasOwn(FLAGS, flag))) return; // it was refused
  const found = findEndpoint(kernel, record);
  if (found === undefined || found.flags !== flagsOf(record)) return;
  const errno = kernel.apply({ kind: "delete", endpoint: found });
  if (errno === 0 || errno === Errno.Enoent) return;
  throw new Error(`Cannot delete ${record.about}: ${kernel.text || errnoText(errno)}`);
}

/** With a port it is somebody's listener; what the kernel made by itself goes by itself. */
function findEndpoint(
  kernel: KernelEndpoints,
  { address }: EndpointRecord,
): KernelEndpoint | undefined {
  return kernel.list().find((endpoint) =>
    endpoint.address === address && endpoint.port === 0 && (endpoint.flags & PmFlag.Implicit) === 0
  );
}

function flagsOf({ about, flags }: EndpointRecord): number {
  let bits = 0;
  for (const flag of flags) {
    const bit = Object.hasOwn(FLAGS, flag) ? FLAGS[flag] : undefined;
    if (bit === undefined) {
      throw new Error(
        `Cannot use ${about} as flags are subflow, signal and backup: current value is ${
          JSON.stringify(flag)
        }`,
      );
    }
    bits |= bit;
  }
  return bits;
}
