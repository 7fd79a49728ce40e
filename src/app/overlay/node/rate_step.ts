/**
 * The step `rate`: how much a link sends, by a token bucket, tc-tbf(8).
 *
 * @module
 */
import { Errno } from "../../../io/errno.ts";
import { Qdisc } from "../../../wire/netlink/qdisc.ts";
import { type LinkRecord, own } from "./link_step.ts";
import { KernelRefusal, type RouteKernel } from "./route_kernel.ts";
import type { StepKind, StepRecord } from "./step.ts";

/** A bucket holds what is sent in so long: the kernel's clock may tick at 100 Hz. */
const BURST_SECONDS = 0.01;
/** And a queue of packets what is sent in so long; more would be delay. */
const QUEUE_SECONDS = 0.05;
/** A packet that is larger than the bucket is dropped: two of the largest, with Ethernet around. */
const FRAMES_MIN = 2;
const ETHERNET_BYTES = 18;
const BYTES_MAX = 0x7fffffff;

/** A device's limit. */
export interface RateRecord extends StepRecord {
  readonly kind: "rate";
  readonly device: string;
  readonly alias: string;
  readonly vni: number;
  readonly rateBits: number;
  readonly mtu: number;
}

/** What stands in the journal. */
export function rateRecord({ alias, device, mtu, vni }: LinkRecord, rateBits: number): RateRecord {
  const about = `rate ${rateBits} bit/s (${device})`;
  return { kind: "rate", about, device, alias, vni, rateBits, mtu };
}

/** The step. */
export function rateStep(kernel: RouteKernel): StepKind<RateRecord> {
  return {
    kind: "rate",
    apply: (record) => {
      const link = own(kernel, record);
      if (link === null) throw new Error(`Cannot limit ${record.about} as the device is gone`);
      addRate(kernel, link.index, record);
    },
    undo: (record) => {
      const link = own(kernel, record);
      if (link !== null) kernel.deleteRate(link.index);
    },
    drift: (record) => {
      const link = own(kernel, record);
      if (link === null) return []; // told of by the link's step
      const found = kernel.rate(link.index);
      if (found === null) return [`${record.about}: the rate is not limited`];
      if (found.rate === bytesOf(record)) return [];
      return [`${record.about}: the rate is ${found.rate * 8} bit/s`];
    },
  };
}

/** Whether the kernel can: a limit for a device that was made to try it. */
export function tryRate(kernel: RouteKernel, index: number): void {
  addRate(kernel, index, { rateBits: 8_000_000, mtu: 1500 });
}

function addRate(
  kernel: RouteKernel,
  index: number,
  record: Pick<RateRecord, "mtu" | "rateBits">,
): void {
  const rate = bytesOf(record);
  const least = FRAMES_MIN * (record.mtu + ETHERNET_BYTES);
  const burst = Math.min(BYTES_MAX, Math.max(least, Math.ceil(rate * BURST_SECONDS)));
  const qdisc = new Qdisc();
  qdisc.index = index;
  qdisc.rate = rate;
  qdisc.limit = Math.min(BYTES_MAX, Math.max(burst, Math.ceil(rate * QUEUE_SECONDS)) + least);
  try {
    kernel.addRate(qdisc, burst);
  } catch (error) {
    const isThere = error instanceof KernelRefusal && error.errno === Errno.Eexist &&
      kernel.rate(index)?.rate === rate;
    if (!isThere) throw error;
  }
}

function bytesOf({ rateBits }: Pick<RateRecord, "rateBits">): number {
  return Math.max(1, Math.floor(rateBits / 8));
}
