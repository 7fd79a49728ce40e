/**
 * What the box measures of itself (readings.ts of app) as an input: a JSON message each interval.
 *
 * @module
 */
import { type Input, type InputCounts, inputCounts, type Intake } from "../gateway/intake.ts";
import { Readings } from "../readings.ts";

/** The names are those of the configuration. */
export interface ReadingsOptions {
  readonly intervalSeconds: number;
  readonly topic: string;
}

/** Starts to measure. */
export function openReadings(name: string, options: ReadingsOptions, intake: Intake): Input {
  return new ReadingsInput(name, options, intake);
}

class ReadingsInput implements Input {
  readonly name: string;
  readonly counts: InputCounts = inputCounts();
  readonly where = "this box";
  readonly trouble = "";
  readonly #readings: Readings;

  constructor(name: string, { intervalSeconds, topic }: ReadingsOptions, intake: Intake) {
    this.name = name;
    this.#readings = new Readings((json) => {
      const taken = intake.offer(topic, json, "application/json");
      if (taken) {
        this.counts.messages++;
        this.counts.bytes += json.length;
      } else this.counts.dropped++;
      return taken;
    }, intervalSeconds * 1000);
    this.#readings.start();
  }

  stop(): Promise<void> {
    this.#readings.stop();
    return Promise.resolve();
  }
}
