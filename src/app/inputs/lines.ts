/**
 * Where other programs of the box hand lines to the gateway, by UDP and TCP: each line becomes one
 * message of type text/plain. While there is no room TCP waits, and UDP lines are dropped and
 * counted. With `acknowledge` a TCP sender is told how many of its lines are durable, and may forget
 * so many.
 *
 * @module
 */
import type { Intake } from "../gateway/intake.ts";
import { LineBuffer } from "../line_buffer.ts";
import { sameBytes } from "./message_taker.ts";
import { eachLine, PortInput, type PortOptions } from "./port_input.ts";

/** The names are those of the configuration. */
export interface LinesOptions extends PortOptions {
  /** TCP only: after a commit, write the number of this connection's durable lines as a line. */
  readonly acknowledge: boolean;
}

/**
 * Opens the sockets.
 *
 * @throws when the port is taken, naming the remedy
 */
export function openLines(name: string, options: LinesOptions, intake: Intake): Promise<PortInput> {
  const rules = {
    topic: options.topic,
    contentType: "text/plain",
    acknowledge: options.acknowledge,
    payload: sameBytes,
    eachFrame: eachLine,
    openCutter: () => new LineBuffer(),
  };
  return PortInput.open(name, options, rules, intake);
}
