/**
 * Internet addresses as text: IPv4 as a dotted quad, IPv6 read as RFC 4291 section 2.2 allows and
 * written as RFC 5952 wants it. Numbers only; host names are somebody else's work.
 *
 * @module
 */

/** Address families with Linux's numbers, which entity_addr_t carries on the wire. */
export const Family = { None: 0, Inet: 2, Inet6: 10 } as const;

/**
 * Reads an IPv4 or IPv6 address (no brackets, no zone) into `into`, network order, IPv4 in the
 * first four bytes; returns its {@linkcode Family}, or 0, with `into` cleared, when it is neither.
 */
export function parseInet(text: string, into: Uint8Array): number {
  into.fill(0, 0, 16);
  const bytes = text.includes(":") ? parseInet6(text) : parseQuad(text);
  if (bytes === null) return Family.None;
  into.set(bytes);
  return bytes.length === 4 ? Family.Inet : Family.Inet6;
}

/** Writes an address of `family` as text, `-` for {@linkcode Family}.None. */
export function formatInet(family: number, address: Uint8Array): string {
  if (family === Family.Inet) return address.subarray(0, 4).join(".");
  return family === Family.Inet6 ? formatInet6(address) : "-";
}

function parseQuad(text: string): number[] | null {
  const bytes: number[] = [];
  for (const part of text.split(".")) {
    // No leading zeros: some readers take them as octal.
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return null;
    bytes.push(Number(part));
  }
  return bytes.length === 4 ? bytes : null;
}

function parseInet6(text: string): number[] | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const head = parseGroups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : [];
  if (head === null || tail === null) return null;
  const zeros = 16 - head.length - tail.length;
  // "::" stands for at least one group (RFC 4291 section 2.2).
  if (halves.length === 2 ? zeros < 2 : zeros !== 0) return null;
  return [...head, ...new Array<number>(zeros).fill(0), ...tail];
}

/** The bytes of groups between colons; with `last`, the final one may be a dotted quad. */
function parseGroups(text: string, last: boolean): number[] | null {
  if (text === "") return [];
  const bytes: number[] = [];
  const groups = text.split(":");
  for (const [index, group] of groups.entries()) {
    if (last && index === groups.length - 1 && group.includes(".")) {
      const quad = parseQuad(group);
      if (quad === null) return null;
      bytes.push(...quad);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return null;
      const value = parseInt(group, 16);
      bytes.push(value >> 8, value & 255);
    }
  }
  return bytes;
}

function formatInet6(address: Uint8Array): string {
  const groups: number[] = [];
  for (let at = 0; at < 16; at += 2) groups.push((address[at]! << 8) | address[at + 1]!);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${address.subarray(12, 16).join(".")}`; // RFC 5952 section 5
  }
  // RFC 5952 section 4.2: the longest run of two or more zero groups, the first of equals.
  let start = -1;
  let length = 1;
  let run = 0;
  for (let from = 0; from < 8; from++) {
    run = groups[from] === 0 ? run + 1 : 0;
    if (run > length) [start, length] = [from - run + 1, run];
  }
  const text = groups.map((group) => group.toString(16));
  if (start < 0) return text.join(":");
  return `${text.slice(0, start).join(":")}::${text.slice(start + length).join(":")}`;
}
