/**
 * Opens an input by its part of the configuration.
 *
 * @module
 */
import type { InputConfig } from "../config/gateway_config.ts";
import type { Input, Intake } from "../gateway/intake.ts";
import { openFifo } from "./fifo.ts";
import { openFile } from "./file.ts";
import { openHttp } from "./http.ts";
import { openLines } from "./lines.ts";
import { openMqtt } from "./mqtt.ts";
import { openReadings } from "./readings.ts";
import { openSerialInput } from "./serial.ts";
import { openStatsd } from "./statsd.ts";
import { openStdin } from "./stdin.ts";
import { openSyslog } from "./syslog.ts";

/**
 * Opens it; it runs until it is stopped.
 *
 * @throws when what it listens on or reads cannot be had, naming the remedy
 */
export async function openInput(
  name: string,
  config: InputConfig,
  intake: Intake,
): Promise<Input> {
  switch (config.type) {
    case "lines":
      return await openLines(name, config, intake);
    case "syslog":
      return await openSyslog(name, config, intake);
    case "http":
      return await openHttp(name, config, intake);
    case "file":
      return openFile(name, config, intake);
    case "serial":
      return openSerialInput(name, config, intake);
    case "fifo":
      return openFifo(name, config, intake);
    case "stdin":
      return openStdin(name, config, intake, Deno.stdin.readable);
    case "readings":
      return openReadings(name, config, intake);
    case "statsd":
      return await openStatsd(name, config, intake);
    case "mqtt":
      return await openMqtt(name, config, intake);
  }
}
