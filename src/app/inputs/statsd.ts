/**
 * StatsD metrics by UDP and TCP, several in a datagram: each becomes one message, JSON with `name`,
 * `value`, `type`, `rate`, `tags`. Malformed ones are refused and counted.
 *
 * @module
 */
import { readMetric } from "../../wire/statsd.ts";
import type { Intake } from "../gateway/intake.ts";
import { LineBuffer } from "../line_buffer.ts";
import { eachLine, PortInput, type PortOptions } from "./port_input.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * Opens the sockets.
 *
 * @throws when the port is taken, naming the remedy
 */
export function openStatsd(name: string, options: PortOptions, intake: Intake): Promise<PortInput> {
  const rules = {
    topic: options.topic,
    contentType: "application/json",
    acknowledge: false,
    payload: metricPayload,
    eachFrame: eachLine,
    openCutter: () => new LineBuffer(),
  };
  return PortInput.open(name, options, rules, intake);
}

/** Null when it is malformed. */
function metricPayload(line: Uint8Array): Uint8Array | null {
  let text: string;
  try {
    text = decoder.decode(line);
  } catch {
    return null; // no UTF-8
  }
  const metric = readMetric(text);
  return metric === null ? null : encoder.encode(JSON.stringify(metric));
}
