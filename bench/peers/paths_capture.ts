/**
 * From a capture of many connections: how long after the packet that makes a connection established
 * for its client (the first that acknowledges data) the SYN of its second subflow left. Times are the
 * kernel's. pcap as draft-ietf-opsawg-pcap describes it (nanoseconds), link type LINUX_SLL2 of the
 * tcpdump group; RFC 8684 sections 3.1 (MP_CAPABLE), 3.2 (MP_JOIN), 3.3 (DSS).
 *
 * @module
 */
import { createHash } from "node:crypto";

/** What a capture tells of one connection. */
interface Connection {
  token: number;
  /** Microseconds since the capture's first packet; null when it has not been seen. */
  establishedUs: number | null;
  joinUs: number | null;
}

const MAGIC_NANOSECONDS = 0xa1b23c4d;
const FILE_HEADER = 24;
const PACKET_HEADER = 16;
const LINKTYPE_LINUX_SLL2 = 276;
const SLL2_HEADER = 20;
const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_TCP = 6;
const SYN = 0x02;
const ACK = 0x10;
const OPTION_NOP = 1;
const OPTION_MPTCP = 30;
const MP_CAPABLE = 0;
const MP_JOIN = 1;
const DSS = 2;
/** "A" of a DSS: a data acknowledgement is present. */
const DATA_ACK = 0x01;
const KEY = 8;

/**
 * Reads a capture of clients of one server's port: microseconds from established to the join of each
 * connection, in their order; null where one of the two was not seen.
 *
 * @throws when it is no such capture
 */
export function readJoins(capture: Uint8Array, serverPort: number): (number | null)[] {
  const byClient = new Map<string, Connection>();
  const byToken = new Map<number, Connection>();
  for (const { atUs, fromPort, toPort, client, flags, option } of packets(capture, serverPort)) {
    const subtype = option.getUint8(2) >> 4;
    if (subtype === MP_CAPABLE && toPort !== serverPort && flags === (SYN | ACK)) {
      if (option.byteLength < 4 + KEY) continue;
      const token = tokenOf(option);
      if (byClient.get(client)?.token === token) continue; // sent again
      const connection: Connection = { token, establishedUs: null, joinUs: null };
      byClient.set(client, connection); // a later connection may have the port of an earlier one
      byToken.set(token, connection);
    } else if (subtype === DSS && fromPort === serverPort && option.byteLength >= 4) {
      const connection = byClient.get(client);
      if (connection && (option.getUint8(3) & DATA_ACK) !== 0) connection.establishedUs ??= atUs;
    } else if (subtype === MP_JOIN && toPort === serverPort && flags === SYN) {
      if (option.byteLength < 8) continue;
      const connection = byToken.get(option.getUint32(4));
      if (connection) connection.joinUs ??= atUs;
    }
  }
  return [...byToken.values()].map(({ establishedUs, joinUs }) =>
    establishedUs === null || joinUs === null ? null : joinUs - establishedUs
  );
}

/** RFC 8684 section 3.2: the token is the first 32 bits of the SHA-256 hash of the receiver's key. */
function tokenOf(option: DataView): number {
  const key = new Uint8Array(option.buffer, option.byteOffset + 4, KEY);
  return createHash("sha256").update(key).digest().readUInt32BE(0);
}

/** A segment with an MPTCP option. */
interface Segment {
  atUs: number;
  fromPort: number;
  toPort: number;
  /** Address and port of the end that is not the server. */
  client: string;
  flags: number;
  option: DataView;
}

function* packets(capture: Uint8Array, serverPort: number): Generator<Segment> {
  const view = new DataView(capture.buffer, capture.byteOffset, capture.byteLength);
  const known = view.byteLength >= FILE_HEADER && view.getUint32(0, true) === MAGIC_NANOSECONDS &&
    view.getUint32(20, true) === LINKTYPE_LINUX_SLL2;
  if (!known) throw new Error("Cannot read a capture as it must be pcap with nanoseconds and SLL2");
  let firstSeconds: number | null = null;
  for (let at = FILE_HEADER; at + PACKET_HEADER <= view.byteLength;) {
    const seconds = view.getUint32(at, true);
    const nanoseconds = view.getUint32(at + 4, true);
    const size = view.getUint32(at + 8, true);
    at += PACKET_HEADER;
    if (size > view.byteLength - at) return; // cut off in the middle of its last packet
    firstSeconds ??= seconds;
    const atUs = (seconds - firstSeconds) * 1e6 + nanoseconds / 1e3;
    yield* segments(new DataView(view.buffer, view.byteOffset + at, size), atUs, serverPort);
    at += size;
  }
}

function* segments(packet: DataView, atUs: number, serverPort: number): Generator<Segment> {
  if (packet.byteLength < SLL2_HEADER + 20 || packet.getUint16(0) !== ETHERTYPE_IPV4) return;
  const ip = SLL2_HEADER;
  const tcp = ip + (packet.getUint8(ip) & 0x0f) * 4;
  if (packet.getUint8(ip + 9) !== PROTOCOL_TCP || packet.byteLength < tcp + 20) return;
  const fromPort = packet.getUint16(tcp);
  const toPort = packet.getUint16(tcp + 2);
  const sent = toPort === serverPort;
  if (!sent && fromPort !== serverPort) return;
  const client = `${packet.getUint32(sent ? ip + 12 : ip + 16)}:${sent ? fromPort : toPort}`;
  const flags = packet.getUint8(tcp + 13);
  const end = Math.min(tcp + (packet.getUint8(tcp + 12) >> 4) * 4, packet.byteLength);
  for (let at = tcp + 20; at + 2 <= end;) {
    const kind = packet.getUint8(at);
    if (kind === OPTION_NOP) {
      at++;
      continue;
    }
    const size = packet.getUint8(at + 1);
    if (kind === 0 || size < 2 || at + size > end) return;
    if (kind === OPTION_MPTCP && size >= 3) {
      const option = new DataView(packet.buffer, packet.byteOffset + at, size);
      yield { atUs, fromPort, toPort, client, flags, option };
    }
    at += size;
  }
}
