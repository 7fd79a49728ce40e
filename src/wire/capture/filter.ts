/**
 * A filter for TCP in tcpdump's words, pcap-filter(7): `tcp`, `ip`, `ip6`, `host A`, `net A/BITS`, `port N`,
 * `portrange A-B`, each of the last four after `src` or `dst` too, and `and`, `or`, `not`, parentheses.
 * As there, `not` binds strongest, and `and` and `or` are equals that are read from left to right.
 *
 * It is used twice. {@linkcode CaptureFilter.matches} is exact. {@linkcode CaptureFilter.program} makes classic BPF
 * for the kernel, which only has to keep the masses away: it lets through whatever may belong to a
 * segment that matches, such as later fragments, whose ports nobody knows, and so matches() always
 * has the last word.
 *
 * @module
 */
import { Family, parseInet } from "../inet.ts";
import { LinkType } from "./link_layer.ts";
import type { TcpSegment } from "./tcp.ts";

/** The longest text of a filter. */
export const FILTER_CHARACTERS_MAX = 2048;
/** What one filter may name; it keeps its program below the 4096 instructions that the kernel takes. */
export const FILTER_PRIMITIVES_MAX = 64;
/** Parentheses and `not` within each other. */
const DEPTH_MAX = 64;

/** Which end of a segment a primitive looks at; the number is that end's first word of addresses. */
type End = typeof SOURCE | typeof DESTINATION;
const SOURCE = 0;
const DESTINATION = 4;
const BOTH: readonly End[] = [SOURCE, DESTINATION];

type Node =
  | { readonly kind: "tcp" }
  | { readonly kind: "not"; readonly of: Node }
  | { readonly kind: "and" | "or"; readonly left: Node; readonly right: Node }
  | {
    readonly kind: "ports";
    readonly ends: readonly End[];
    readonly low: number;
    readonly high: number;
  }
  | {
    readonly kind: "net";
    readonly ends: readonly End[];
    readonly words: Int32Array;
    readonly masks: Int32Array;
  };

/** A filter that was understood. */
export class CaptureFilter {
  readonly #root: Node;

  /**
   * Understands a filter.
   *
   * @throws naming the word that is wrong, and its position counted from 1
   */
  constructor(text: string) {
    this.#root = new Parser(text).parse();
  }

  /** Whether a segment is wanted. */
  matches(segment: TcpSegment): boolean {
    return matches(this.#root, segment);
  }

  /**
   * The same for the kernel, as pairs of words of struct sock_filter (code, jt and jf; k), for packets
   * that begin with a header of Ethernet, or of IP when `linkType` is Raw. Everything that has a VLAN
   * tag in it passes.
   */
  program(linkType: number): Int32Array {
    return new Assembler().assemble(this.#root, linkType === LinkType.Raw ? 0 : ETHERNET_SIZE);
  }
}

function matches(node: Node, segment: TcpSegment): boolean {
  switch (node.kind) {
    case "tcp":
      return true;
    case "not":
      return !matches(node.of, segment);
    case "and":
      return matches(node.left, segment) && matches(node.right, segment);
    case "or":
      return matches(node.left, segment) || matches(node.right, segment);
    case "ports": {
      const { ends, high, low } = node;
      for (let i = 0; i < ends.length; i++) {
        const port = ends[i] === SOURCE ? segment.sourcePort : segment.destinationPort;
        if (port >= low && port <= high) return true;
      }
      return false;
    }
    case "net": {
      for (let i = 0; i < node.ends.length; i++) {
        if (within(node.words, node.masks, segment.addresses, node.ends[i]!)) return true;
      }
      return false;
    }
  }
}

function within(words: Int32Array, masks: Int32Array, addresses: Int32Array, end: End): boolean {
  for (let i = 0; i < 4; i++) {
    if ((addresses[end + i]! & masks[i]!) !== words[i]) return false;
  }
  return true;
}

interface Word {
  readonly text: string;
  readonly position: number;
}

const KEYWORDS = /^(?:tcp|ip6?|host|net|port|portrange|src|dst|and|or|not)$/;

class Parser {
  readonly #words: readonly Word[];
  #next = 0;
  #primitives = 0;
  #depth = 0;

  constructor(text: string) {
    if (text.length > FILTER_CHARACTERS_MAX) {
      throw new Error(
        `Cannot use filter as it must have at most ${FILTER_CHARACTERS_MAX} characters: current ` +
          `value is ${text.length}`,
      );
    }
    this.#words = wordsOf(text);
  }

  parse(): Node {
    const node = this.#expression();
    if (this.#next < this.#words.length) throw this.#wrong('"and", "or" or the end');
    return node;
  }

  #expression(): Node {
    let left = this.#term();
    for (;;) {
      if (this.#takes("and", "&&")) left = { kind: "and", left, right: this.#term() };
      else if (this.#takes("or", "||")) left = { kind: "or", left, right: this.#term() };
      else return left;
    }
  }

  #term(): Node {
    if (++this.#depth > DEPTH_MAX) throw this.#wrong(`no more than ${DEPTH_MAX} levels`);
    const node = this.#nested();
    this.#depth--;
    return node;
  }

  #nested(): Node {
    if (this.#takes("not", "!")) return { kind: "not", of: this.#term() };
    if (!this.#takes("(")) return this.#primitive();
    const node = this.#expression();
    if (!this.#takes(")")) throw this.#wrong('")"');
    return node;
  }

  #primitive(): Node {
    if (++this.#primitives > FILTER_PRIMITIVES_MAX) {
      throw this.#wrong(`no more than ${FILTER_PRIMITIVES_MAX} conditions`);
    }
    const protocol = this.#takes("tcp")
      ? { kind: "tcp" } as const
      : this.#takes("ip")
      ? VERSION_4
      : this.#takes("ip6")
      ? { kind: "not", of: VERSION_4 } as const
      : null;
    if (protocol === null) return this.#condition();
    // As in "tcp port 80".
    if (!/^(?:host|net|port|portrange|src|dst)$/.test(this.#peek())) return protocol;
    return { kind: "and", left: protocol, right: this.#condition() };
  }

  #condition(): Node {
    const end: End | null = this.#takes("src") ? SOURCE : this.#takes("dst") ? DESTINATION : null;
    const ends: readonly End[] = end === null ? BOTH : [end];
    if (this.#takes("port")) {
      const port = this.#port();
      return { kind: "ports", ends, low: port, high: port };
    }
    if (this.#takes("portrange")) return this.#range(ends);
    if (this.#takes("net")) return this.#net(ends);
    if (this.#takes("host") || (end !== null && !KEYWORDS.test(this.#peek()))) {
      return netOf(ends, this.#address(this.#peek()), 128);
    }
    throw this.#wrong(
      end === null
        ? "tcp, ip, ip6, host, net, port, portrange, src, dst, not or ("
        : "host, net, port, portrange or an address",
    );
  }

  #port(): number {
    const port = portOf(this.#peek());
    if (port === null) throw this.#wrong("a port from 0 to 65535");
    this.#next++;
    return port;
  }

  #range(ends: readonly End[]): Node {
    const [first = "", second = "", ...more] = this.#peek().split("-");
    const low = portOf(first);
    const high = portOf(second);
    if (low === null || high === null || low > high || more.length > 0) {
      throw this.#wrong("a range of ports such as 3260-3269");
    }
    this.#next++;
    return { kind: "ports", ends, low, high };
  }

  #net(ends: readonly End[]): Node {
    const [address = "", bitsText = "", ...more] = this.#peek().split("/");
    const bits = /^\d{1,3}$/.test(bitsText) ? Number(bitsText) : -1;
    const most = address.includes(":") ? 128 : 32;
    if (bits < 0 || bits > most || more.length > 0) {
      throw this.#wrong("a network such as 192.0.2.0/24 or 2001:db8::/32");
    }
    const words = this.#address(address);
    return netOf(ends, words, bits + 128 - most);
  }

  /** Takes the word, of which `text` is the address. */
  #address(text: string): Int32Array {
    const family = parseInet(text, addressBytes);
    if (family === Family.None) throw this.#wrong("a numeric address");
    this.#next++;
    const words = new Int32Array(4);
    if (family === Family.Inet) {
      words[2] = 0xffff;
      words[3] = addressView.getInt32(0);
    } else for (let i = 0; i < 4; i++) words[i] = addressView.getInt32(i * 4);
    return words;
  }

  #peek(): string {
    return this.#words[this.#next]?.text ?? "";
  }

  #takes(...texts: readonly string[]): boolean {
    if (!texts.includes(this.#peek())) return false;
    this.#next++;
    return true;
  }

  #wrong(expected: string): Error {
    const word = this.#words[this.#next];
    if (word === undefined) {
      return new Error(`Cannot use filter as ${expected} must follow at its end: nothing does`);
    }
    return new Error(
      `Cannot use filter as ${expected} must stand at position ${word.position}: current value is ` +
        JSON.stringify(word.text),
    );
  }
}

const addressBytes = new Uint8Array(16);
const addressView = new DataView(addressBytes.buffer);

/** Addresses of IPv4 are those of ::ffff:0:0/96. */
const VERSION_4: Node = netOf([SOURCE], Int32Array.of(0, 0, 0xffff, 0), 96);

function netOf(ends: readonly End[], address: Int32Array, bits: number): Node {
  const masks = address.map((_, i) => {
    const ones = Math.min(32, Math.max(0, bits - i * 32));
    return ones === 0 ? 0 : -1 << (32 - ones);
  });
  return { kind: "net", ends, words: address.map((word, i) => word & masks[i]!), masks };
}

function portOf(text: string): number | null {
  return /^\d{1,5}$/.test(text) && Number(text) <= 65535 ? Number(text) : null;
}

function wordsOf(text: string): Word[] {
  return [...text.matchAll(/&&|\|\||[()!]|[^\s()!]+/g)].map((match) => ({
    text: match[0],
    position: match.index + 1,
  }));
}

const ETHERNET_SIZE = 14;
const ETHERNET_TYPE = 12;
const IPV4_FRAGMENT = 6;
const IPV4_PROTOCOL = 9;
const IPV4_ADDRESSES = 12;
const IPV6_NEXT_HEADER = 6;
const IPV6_ADDRESSES = 8;
const IPV6_SIZE = 40;
const PROTOCOL_TCP = 6;
/** Headers of IPv6 that TCP may come behind: RFC 8200 section 4.1, RFC 4302. */
const EXTENSIONS = [0, 43, 44, 51, 60];
const ETHER_TYPES_VLAN = [0x8100, 0x88a8];

// Codes of classic BPF, linux/bpf_common.h.
const LD_WORD = 0x20;
const LD_HALF = 0x28;
const LD_BYTE = 0x30;
const LD_HALF_INDEXED = 0x48;
const LD_VALUE = 0x00;
const LD_MEMORY = 0x60;
const LDX_HEADER = 0xb1; // X = 4 * (byte & 15)
const STORE = 0x02;
const AND = 0x54;
const JUMP = 0x05;
const JUMP_EQUAL = 0x15;
const JUMP_GREATER = 0x25;
const JUMP_GREATER_EQUAL = 0x35;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;

/** What the program returns for a packet that passes: all of it. */
const WHOLE = 0x40000;
/** In place of a port that is not in the packet. */
const PORT_UNKNOWN = 0x10000;

class Assembler {
  readonly #codes: number[] = [];
  readonly #values: number[] = [];
  /** Instructions whose value is the number of a label. */
  readonly #jumps: number[] = [];
  readonly #labels: number[] = [];
  readonly #accept = this.#label();
  readonly #reject = this.#label();
  /** Where the addresses begin in the packet; for IPv4 only the last of four words is there. */
  #addressesAt = 0;
  #version = 4;

  assemble(root: Node, networkAt: number): Int32Array {
    const [version4, version6] = [this.#label(), this.#label()];
    if (networkAt === 0) {
      this.#emit(LD_BYTE, 0);
      this.#emit(AND, 0xf0);
      this.#branch(JUMP_EQUAL, 0x40, version4);
      this.#branch(JUMP_EQUAL, 0x60, version6);
    } else {
      this.#emit(LD_HALF, ETHERNET_TYPE);
      this.#branch(JUMP_EQUAL, 0x0800, version4);
      this.#branch(JUMP_EQUAL, 0x86dd, version6);
      for (const type of ETHER_TYPES_VLAN) this.#branch(JUMP_EQUAL, type, this.#accept);
    }
    this.#jump(this.#reject);
    this.#place(version4);
    this.#inVersion4(root, networkAt);
    this.#place(version6);
    this.#inVersion6(root, networkAt);
    this.#place(this.#accept);
    this.#emit(RETURN, WHOLE);
    this.#place(this.#reject);
    this.#emit(RETURN, 0);
    return this.#finish();
  }

  #inVersion4(root: Node, at: number): void {
    const [later, known] = [this.#label(), this.#label()];
    this.#emit(LD_BYTE, at + IPV4_PROTOCOL);
    this.#branchUnless(JUMP_EQUAL, PROTOCOL_TCP, this.#reject);
    this.#emit(LD_HALF, at + IPV4_FRAGMENT);
    this.#branch(JUMP_ANY_BIT, 0x1fff, later);
    this.#emit(LDX_HEADER, at);
    for (let end = 0; end < 2; end++) {
      this.#emit(LD_HALF_INDEXED, at + end * 2);
      this.#emit(STORE, end);
    }
    this.#jump(known);
    this.#place(later);
    this.#forgetPorts();
    this.#place(known);
    this.#version = 4;
    this.#addressesAt = at + IPV4_ADDRESSES;
    this.#test(root, this.#accept, this.#reject, false);
  }

  #inVersion6(root: Node, at: number): void {
    const [direct, known] = [this.#label(), this.#label()];
    const behind = this.#label();
    this.#emit(LD_BYTE, at + IPV6_NEXT_HEADER);
    this.#branch(JUMP_EQUAL, PROTOCOL_TCP, direct);
    for (const header of EXTENSIONS) this.#branch(JUMP_EQUAL, header, behind);
    this.#jump(this.#reject);
    this.#place(behind);
    this.#forgetPorts();
    this.#jump(known);
    this.#place(direct);
    for (let end = 0; end < 2; end++) {
      this.#emit(LD_HALF, at + IPV6_SIZE + end * 2);
      this.#emit(STORE, end);
    }
    this.#place(known);
    this.#version = 6;
    this.#addressesAt = at + IPV6_ADDRESSES;
    this.#test(root, this.#accept, this.#reject, false);
  }

  #forgetPorts(): void {
    this.#emit(LD_VALUE, PORT_UNKNOWN);
    this.#emit(STORE, 0);
    this.#emit(STORE, 1);
  }

  /** Goes to `yes` or `no`; with `negated`, what is unknown goes to `no`, which then lets it pass. */
  #test(node: Node, yes: number, no: number, negated: boolean): void {
    switch (node.kind) {
      case "tcp":
        return this.#jump(yes);
      case "not":
        return this.#test(node.of, no, yes, !negated);
      case "and":
      case "or": {
        const next = this.#label();
        if (node.kind === "and") this.#test(node.left, next, no, negated);
        else this.#test(node.left, yes, next, negated);
        this.#place(next);
        return this.#test(node.right, yes, no, negated);
      }
      case "ports":
        return this.#testPorts(node, yes, no, negated ? no : yes);
      case "net": {
        for (const end of node.ends) this.#testAddress(node, end, yes);
        return this.#jump(no);
      }
    }
  }

  #testPorts(
    { ends, high, low }: Node & { kind: "ports" },
    yes: number,
    no: number,
    unknown: number,
  ): void {
    for (const end of ends) {
      const next = this.#label();
      this.#emit(LD_MEMORY, end === SOURCE ? 0 : 1);
      this.#branch(JUMP_EQUAL, PORT_UNKNOWN, unknown);
      this.#branchUnless(JUMP_GREATER_EQUAL, low, next);
      this.#branchUnless(JUMP_GREATER, high, yes);
      this.#place(next);
    }
    this.#jump(no);
  }

  /** Goes to `yes`, or on. */
  #testAddress({ masks, words }: Node & { kind: "net" }, end: End, yes: number): void {
    const next = this.#label();
    for (let i = 0; i < 4; i++) {
      const mask = masks[i]!;
      if (mask === 0) continue;
      if (this.#version === 4 && i < 3) {
        if (((i === 2 ? 0xffff : 0) & mask) === words[i]) continue;
        this.#jump(next);
        break;
      }
      const index = this.#version === 4 ? end / 4 : end + i;
      this.#emit(LD_WORD, this.#addressesAt + index * 4);
      if (mask !== -1) this.#emit(AND, mask);
      this.#branchUnless(JUMP_EQUAL, words[i]!, next);
    }
    this.#jump(yes);
    this.#place(next);
  }

  #label(): number {
    return this.#labels.push(-1) - 1;
  }

  #place(label: number): void {
    this.#labels[label] = this.#codes.length;
  }

  #emit(code: number, value: number): void {
    this.#codes.push(code);
    this.#values.push(value);
  }

  /** A jump reaches any distance, a branch only 255: so a branch skips a jump. */
  #jump(label: number): void {
    this.#jumps.push(this.#codes.length);
    this.#emit(JUMP, label);
  }

  #branch(condition: number, value: number, label: number): void {
    this.#emit(condition | 1 << 24, value); // jt 0, jf 1
    this.#jump(label);
  }

  #branchUnless(condition: number, value: number, label: number): void {
    this.#emit(condition | 1 << 16, value); // jt 1, jf 0
    this.#jump(label);
  }

  #finish(): Int32Array {
    for (const at of this.#jumps) this.#values[at] = this.#labels[this.#values[at]!]! - at - 1;
    const words = new Int32Array(this.#codes.length * 2);
    for (const [i, code] of this.#codes.entries()) {
      words[i * 2] = code;
      words[i * 2 + 1] = this.#values[i]!;
    }
    return words;
  }
}
