/**
 * The step `rule`: which packets look into the table of a visit. All of ours stand between the kernel's own
 * `local` (0), so that what is for this box gets here, and `main` (32766).
 *
 * @module
 */
import { Errno } from "../../../io/errno.ts";
import { Family, parseInet } from "../../../wire/inet.ts";
import { Rule } from "../../../wire/netlink/rule.ts";
import { KernelRefusal, prefixText, type RouteKernel } from "./route_kernel.ts";
import { OVERLAY_PROTOCOL, type StepKind, type StepRecord } from "./step.ts";

/** A packet that came in by a link stays in the network of that link. */
const PRIORITY_IN = 19_100;
/** Our own packets from an address of a visit. */
const PRIORITY_FROM = 19_200;
/** Our own packets that have no address yet; longer prefixes come first. */
const PRIORITY_TO = 19_300;

/** A rule; one of `device`, `from` and `to` is not empty. */
export interface RuleRecord extends StepRecord {
  readonly kind: "rule";
  readonly table: number;
  readonly priority: number;
  readonly device: string;
  /** With their lengths: `10.100.0.1/32`. */
  readonly from: string;
  readonly to: string;
}

/** Packets that come in by a device. */
export function ruleIn(table: number, device: string): RuleRecord {
  return record(`iif ${device}`, table, PRIORITY_IN, { device });
}

/** Packets from an address. */
export function ruleFrom(table: number, address: string): RuleRecord {
  return record(`from ${address}`, table, PRIORITY_FROM, { from: `${address}/32` });
}

/** Packets to a network. */
export function ruleTo(table: number, prefix: string): RuleRecord {
  const length = Number(prefix.split("/")[1] ?? 32);
  return record(`to ${prefix}`, table, PRIORITY_TO + 32 - length, { to: prefix });
}

/** The step. */
export function ruleStep(kernel: RouteKernel): StepKind<RuleRecord> {
  return {
    kind: "rule",
    apply: (one) => {
      try {
        kernel.addRule(wanted(one));
      } catch (error) {
        if (!(error instanceof KernelRefusal) || error.errno !== Errno.Eexist) throw error;
      }
    },
    undo: (one) => kernel.deleteRule(wanted(one)),
    drift: (one) => {
      const found = kernel.find(kernel.rules(), ruleText, ruleTextOf(one));
      return found === undefined ? [`${one.about}: the rule is missing`] : [];
    },
  };
}

/** {@linkcode ruleText} of one in a journal. */
export function ruleTextOf(one: RuleRecord): string {
  return ruleText(wanted(one));
}

/** All that makes a rule what it is, to be compared. */
export function ruleText(rule: Rule): string {
  const { device, family, fromLength, priority, protocol, table, toLength } = rule;
  const from = prefixText(family, rule.from, fromLength);
  const to = prefixText(family, rule.to, toLength);
  return `${priority}: iif ${device} from ${from} to ${to} table ${table} proto ${protocol}`;
}

function record(
  what: string,
  table: number,
  priority: number,
  selector: Partial<Pick<RuleRecord, "device" | "from" | "to">>,
): RuleRecord {
  const about = `rule ${what} (table ${table})`;
  return { kind: "rule", about, table, priority, device: "", from: "", to: "", ...selector };
}

function wanted({ about, device, from, priority, table, to }: RuleRecord): Rule {
  const rule = new Rule();
  rule.priority = priority;
  rule.table = table;
  rule.protocol = OVERLAY_PROTOCOL;
  rule.device = device;
  rule.fromLength = parsePrefix(from, rule.from, about);
  rule.toLength = parsePrefix(to, rule.to, about);
  return rule;
}

/** Reads `10.100.0.0/16` of IPv4, or nothing; returns its length. */
export function parsePrefix(text: string, into: Uint8Array, about: string): number {
  if (text === "") return 0;
  const [address, length] = text.split("/");
  const bits = Number(length);
  const isLength = length !== undefined && /^[0-9]{1,2}$/.test(length) && bits <= 32;
  if (isLength && parseInet(address!, into) === Family.Inet) return bits;
  throw new Error(`Cannot use ${about} as it must be ADDRESS/LENGTH: current value is ${text}`);
}
