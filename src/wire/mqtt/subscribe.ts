/**
 * SUBSCRIBE, SUBACK and UNSUBSCRIBE: MQTT 3.1.1 sections 3.8 to 3.10, as far as a server needs them
 * that has nothing to deliver: filters are checked and counted.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { packetName, PacketType, writeFixedHeader } from "./header.ts";
import { readPacketId } from "./publish.ts";
import { readString } from "./text.ts";

/** Filters in one packet: each takes a byte of the answer. */
export const FILTERS_MAX = 256;
/** Section 3.9.3. */
export const SUBACK_FAILURE = 0x80;
const QOS_MAX = 2;

/** What is left of the two packets. */
export class Filters {
  packetId = 0;
  count = 0;
}

const text = { value: "" };

/** Reads the body of a SUBSCRIBE or UNSUBSCRIBE that ends at `end`. */
export function readFilters(
  from: Region,
  at: number,
  end: number,
  type: number,
  into: Filters,
): number {
  const name = packetName(type);
  at = readPacketId(from, at, end, type, into);
  if (at < 0) return at;
  into.count = 0;
  while (at < end) {
    at = readString(from, at, end, `${name} topic filter`, text);
    if (at < 0) return at;
    if (text.value === "") return fail(Fault.Field, `${name} topic filter`, at, 0, "1 or more"); // MQTT-4.7.3-1
    if (type === PacketType.Subscribe) {
      if (at === end) return fail(Fault.Field, `${name} requested QoS`, at, 0, "there");
      const qos = from.bytes[at]!;
      if (qos > QOS_MAX) return fail(Fault.Field, `${name} requested QoS`, at, qos, "0 to 2"); // MQTT-3-8.3-4
      at++;
    }
    if (++into.count > FILTERS_MAX) {
      return fail(Fault.Large, `${name} filters`, at, into.count, `${FILTERS_MAX} or less`);
    }
  }
  // MQTT-3.8.3-3, MQTT-3.10.3-2
  if (into.count === 0) return fail(Fault.Field, `${name} filters`, at, 0, "1 or more");
  return at;
}

/** Writes a whole SUBACK that grants nothing: MQTT-3.8.4-5, one code for each filter. */
export function writeSubackFailure(to: Region, at: number, filters: Filters): number {
  const { count, packetId } = filters;
  at = writeFixedHeader(to, at, PacketType.Suback, 0, 2 + count);
  to.view.setUint16(at, packetId);
  to.bytes.fill(SUBACK_FAILURE, at + 2, at + 2 + count);
  return at + 2 + count;
}
