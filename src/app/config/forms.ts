/**
 * The forms that texts of a configuration have: addresses, names, topics, paths.
 *
 * @module
 */
import { isTopicFilter, isTopicName } from "../../proto/gateway/topic_filter.ts";
import { parseSubnet, type Subnet } from "../../proto/mptcp/subnet.ts";
import { NAME_BYTES_MAX } from "../../wire/gateway/envelope.ts";
import { Family, formatInet } from "../../wire/inet.ts";
import { AddrType, parseAddress } from "../../wire/msgr2/entity_addr.ts";
import { EntityType, parseEntityName } from "../../wire/msgr2/hello.ts";

/** What a text must look like. */
export interface Form {
  /** In words, after "it must be". */
  readonly expected: string;
  /** For the JSON Schema; what it allows may be refused by `accepts`. */
  readonly pattern: string;
  /** Says no to what the pattern cannot tell. */
  accepts?(text: string): boolean;
  /** What to write instead, when that can be guessed. */
  remedy?(text: string): string | null;
}

const PORT = "[0-9]{1,5}";
const HOST = String.raw`(?:\[[0-9A-Fa-f:.]+(?:%[^\]\s]+)?\]|[^\s:/\[\]]+)`;
/** IFNAMSIZ less the NUL. */
const LINK_NAME_BYTES_MAX = 15;
/** What stands before the IPv4 address in an IPv6 one: RFC 4291 section 2.5.5.2. */
const MAPPED_BITS = 96;
/** sun_path of unix(7) less the NUL. */
const SOCKET_PATH_BYTES_MAX = 107;
/** NAME_MAX. */
const FILE_NAME_BYTES_MAX = 255;

/** Where an input listens. */
export const HOST_PORT: Form = {
  expected: "HOST:PORT, IPv6 in brackets, PORT up to 65535",
  pattern: `^${HOST}:${PORT}$`,
  accepts: (text) => addressType(text) !== null,
  remedy(text): string | null {
    if (/^:?[0-9]{1,5}$/.test(text)) return `127.0.0.1:${text.replace(":", "")}`;
    const plain = text.replace(/^(v2|udp|tcp|https?):(\/\/)?/, "");
    return plain !== text && hasForm(HOST_PORT, plain) ? plain : null;
  },
};

/** Where msgr2 is spoken; msgr1 is not. */
export const MSGR2_ADDRESS: Form = {
  expected: "v2:HOST:PORT, IPv6 in brackets, PORT up to 65535",
  pattern: `^(?:v2:)?${HOST}:${PORT}(?:/[0-9]{1,10})?$`,
  accepts: (text) => addressType(text) === AddrType.Msgr2,
  remedy(text): string | null {
    const plain = `v2:${text.replace(/^(v1:|any:|\w+:\/\/)/, "")}`;
    if (plain !== text && hasForm(MSGR2_ADDRESS, plain)) return plain;
    return /^[^\s:/]+$/.test(text) ? `v2:${text}:3300` : null;
  },
};

/** Ceph's name of who takes part: `client.gw1`; only a monitor's may have an empty ID. */
export const ENTITY_NAME: Form = {
  expected: "TYPE.ID, such as client.gw1, with TYPE mon, mds, osd, client or mgr",
  pattern: String.raw`^(?:mon\.|(?:mon|mds|osd|client|mgr)\..+)$`,
  accepts(text): boolean {
    try {
      const { type, id } = parseEntityName(text);
      return type === EntityType.Mon || id !== "";
    } catch {
      return false;
    }
  },
  remedy: (text) => /^[\w-]+$/.test(text) ? `client.${text}` : null,
};

/** What messages are published under: MQTT 3.1.1 section 4.7. */
export const TOPIC: Form = {
  expected: `a topic: no + and #, 1 to ${NAME_BYTES_MAX} bytes`,
  pattern: String.raw`^[^+#\u0000]+$`,
  accepts: (text) => isTopicName(text) && bytesOf(text) <= NAME_BYTES_MAX,
};

/** What stands in front of topics, if anything. */
export const TOPIC_PREFIX: Form = {
  expected: `the front of a topic: no + and #, ${NAME_BYTES_MAX / 2} bytes at most`,
  pattern: String.raw`^[^+#\u0000]*$`,
  accepts: (text) => text === "" || isTopicName(text) && bytesOf(text) <= NAME_BYTES_MAX / 2,
};

/** What selects topics: MQTT 3.1.1 section 4.7.1. */
export const TOPIC_FILTER: Form = {
  expected: "a topic filter: + is a whole level, # the last level",
  pattern: String.raw`^(?:[^+#/\u0000]*/|\+/)*(?:[^+#/\u0000]*|\+|#)$`,
  accepts: isTopicFilter,
};

/** A file or a directory; relative to the working directory. */
export const PATH: Form = {
  expected: "a path",
  pattern: String.raw`^[^\u0000]+$`,
};

/** Addresses with a common front: RFC 4632 section 3.1, RFC 4291 section 2.3. */
export const SUBNET: Form = {
  expected: "ADDRESS/BITS, such as 10.0.0.0/8 or fd00::/8, without bits behind the prefix",
  pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
  accepts(text): boolean {
    const subnet = parseSubnet(text);
    const network = subnet && networkOf(subnet);
    return network !== null && network.family === subnet!.family &&
      network.bytes.every((byte, index) => byte === subnet!.bytes[index]);
  },
  remedy(text): string | null {
    const subnet = parseSubnet(text);
    if (subnet === null) return null;
    const { bytes, family, prefixLength } = networkOf(subnet);
    return `${formatInet(family, bytes)}/${prefixLength}`;
  },
};

/** Network interfaces by their names, as the kernel allows them, with `*` for any run of characters. */
export const LINK_PATTERN: Form = {
  expected:
    `the name of an interface, ${LINK_NAME_BYTES_MAX} bytes at most, * for any run of characters`,
  pattern: String.raw`^(?!\.\.?$)(?!.*\*\*)[^/:\s\u0000]+$`,
  accepts: (text) => bytesOf(text.replaceAll("*", "")) <= LINK_NAME_BYTES_MAX,
  remedy(text): string | null {
    const plain = text.trim().replaceAll(/\*+/g, "*");
    return plain !== text && hasForm(LINK_PATTERN, plain) ? plain : null;
  },
};

/** A network interface by its whole name, as the kernel allows it. */
export const LINK_NAME: Form = {
  expected: `the name of an interface, ${LINK_NAME_BYTES_MAX} bytes at most`,
  pattern: String.raw`^(?!\.\.?$)[^/:\s*\u0000]+$`,
  accepts: (text) => bytesOf(text) <= LINK_NAME_BYTES_MAX,
};

/** An address with the length of its network's prefix, as `ip address` takes it. */
export const ADDRESS_BITS: Form = {
  expected: "ADDRESS/BITS, such as 10.0.0.1/24 or fd00::1/64",
  pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
  accepts: (text) => parseSubnet(text) !== null,
  remedy(text): string | null {
    const whole = `${text}/${text.includes(":") ? 128 : 32}`;
    return hasForm(ADDRESS_BITS, whole) ? whole : null;
  },
};

/** The name of a network namespace: a file's, ip-netns(8). */
export const NAMESPACE_NAME: Form = {
  expected: "the name of a network namespace, as ip netns list shows it",
  pattern: String.raw`^(?!\.\.?$)[^/\s\u0000]+$`,
  accepts: (text) => bytesOf(text) <= FILE_NAME_BYTES_MAX,
  remedy(text): string | null {
    const name = /^(?:\/var)?\/run\/netns\/(.+)$/.exec(text)?.[1] ?? "";
    return hasForm(NAMESPACE_NAME, name) ? name : null;
  },
};

/** A Unix socket in the file system. */
export const SOCKET_PATH: Form = {
  expected: `a path from the top, ${SOCKET_PATH_BYTES_MAX} bytes at most`,
  pattern: String.raw`^/(?:[^\u0000]*[^/\u0000])$`,
  accepts: (text) => bytesOf(text) <= SOCKET_PATH_BYTES_MAX,
  remedy(text): string | null {
    const path = `/run/fairlead/${text}`;
    return !text.startsWith("/") && hasForm(SOCKET_PATH, path) ? path : null;
  },
};

/** The name of an input, an output, a hub. */
export const PORT_NAME: Form = {
  expected: "1 to 32 of a-z, 0-9, _ and -",
  pattern: "^[a-z0-9_-]{1,32}$",
  remedy(text): string | null {
    const plain = text.toLowerCase().replaceAll(/[^a-z0-9_-]+/g, "-").slice(0, 32);
    return plain === "" || plain === "-" ? null : plain;
  },
};

/** True when a text has the form. */
export function hasForm(form: Form, text: string): boolean {
  return new RegExp(form.pattern, "u").test(text) && (form.accepts?.(text) ?? true);
}

/** Without what stands behind the prefix; a v4-mapped one as the IPv4 that it means. */
function networkOf({ bytes, family, prefixLength }: Subnet): Subnet {
  const network = bytes.map((byte, index) => {
    const kept = Math.min(8, Math.max(0, prefixLength - index * 8));
    return byte & 0xff << 8 - kept;
  });
  const mapped = family === Family.Inet6 && prefixLength >= MAPPED_BITS &&
    network.subarray(0, 12).every((byte, index) => byte === (index < 10 ? 0 : 0xff));
  return mapped
    ? { bytes: network.slice(12), family: Family.Inet, prefixLength: prefixLength - MAPPED_BITS }
    : { bytes: network, family, prefixLength };
}

/** The type of an address, or null. */
function addressType(text: string): number | null {
  try {
    return parseAddress(text).type;
  } catch {
    return null;
  }
}

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}
