/**
 * A serial device as an input: each line becomes a message. Unplugged, it is waited for; the line that
 * was cut then is counted as refused, as half a reading may look like a whole one.
 *
 * @module
 */
import { PathErrno } from "../../io/descriptor.ts";
import { Errno } from "../../io/errno.ts";
import { libcAvailable, libcRefusal } from "../../io/libc.ts";
import { openSerial, type SerialSettings } from "../../io/serial.ts";
import type { Input, Intake } from "../gateway/intake.ts";
import { DescriptorInput } from "./descriptor_input.ts";

/** The configuration of an input of type `serial`. */
export interface SerialOptions extends SerialSettings {
  path: string;
  topic: string;
}

/**
 * Starts reading a serial device, which may be plugged in later.
 *
 * @throws when libc cannot be called, naming the remedy
 */
export function openSerialInput(name: string, options: SerialOptions, intake: Intake): Input {
  const { path, topic } = options;
  if (!libcAvailable()) throw new Error(`Cannot read ${path} as a serial device: ${libcRefusal()}`);
  const source = {
    path,
    open: () => openSerial(path, options),
    same: () => true, // a device that goes away ends its descriptor
    remedy: (errno: number) => remedy(errno, options),
    restIsLine: false,
  };
  return new DescriptorInput(name, topic, source, intake);
}

function remedy(errno: number, { baud, dataBits, parity, stopBits }: SerialOptions): string {
  switch (-errno) {
    case Errno.Eacces:
      return "Add the user to the group of the device, often dialout";
    case PathErrno.Ebusy:
      return "End the other program that reads it, often ModemManager or a getty";
    case PathErrno.Enotty:
      return "Give the path of a serial device, such as /dev/ttyUSB0";
    case Errno.Einval:
      return `Give settings that it has: current ones are ${baud} baud, ${dataBits} data bits, ` +
        `parity ${parity}, ${stopBits} stop bits`;
    default:
      return "Plug it in, or correct its path";
  }
}
