/**
 * The filter against itself: its programs, run by an interpreter of classic BPF (the kernel's
 * Documentation/networking/filter.rst), let through everything that matches() wants.
 */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import {
  CaptureFilter,
  FILTER_CHARACTERS_MAX,
  FILTER_PRIMITIVES_MAX,
} from "../../src/wire/capture/filter.ts";
import { LinkType } from "../../src/wire/capture/link_layer.ts";
import { TcpSegment } from "../../src/wire/capture/tcp.ts";
import { parseInet } from "../../src/wire/inet.ts";

/** A generator of numbers whose seed says which: mulberry32. */
function random(seed: number): (below: number) => number {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Runs a program over a packet: how many bytes it keeps. Only what the filter's programs use is known. */
function interpret(program: Int32Array, packet: Uint8Array): number {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const memory = new Int32Array(16);
  let a = 0;
  let x = 0;
  const count = program.length / 2;
  let steps = 0;
  for (let pc = 0; pc < count; pc++) {
    assert.ok(++steps <= count, "the program goes only forward");
    const word = program[pc * 2]!;
    const k = program[pc * 2 + 1]!;
    const jump = (yes: boolean): void => {
      pc += yes ? (word >>> 16) & 255 : word >>> 24;
    };
    const load = (at: number, size: number): boolean => {
      if (at < 0 || at + size > packet.length) return false;
      a = size === 4 ? view.getInt32(at) : size === 2 ? view.getUint16(at) : view.getUint8(at);
      return true;
    };
    switch (word & 0xffff) {
      case 0x20:
        if (!load(k, 4)) return 0;
        break;
      case 0x28:
        if (!load(k, 2)) return 0;
        break;
      case 0x30:
        if (!load(k, 1)) return 0;
        break;
      case 0x48:
        if (!load(x + k, 2)) return 0;
        break;
      case 0x00:
        a = k;
        break;
      case 0x60:
        a = memory[k]!;
        break;
      case 0xb1:
        if (k >= packet.length) return 0;
        x = 4 * (packet[k]! & 15);
        break;
      case 0x02:
        memory[k] = a;
        break;
      case 0x54:
        a &= k;
        break;
      case 0x05:
        assert.ok(k >= 0);
        pc += k;
        break;
      case 0x15:
        jump(a === k);
        break;
      case 0x25:
        jump(a >>> 0 > k >>> 0);
        break;
      case 0x35:
        jump(a >>> 0 >= k >>> 0);
        break;
      case 0x45:
        jump((a & k) !== 0);
        break;
      case 0x06:
        return k;
      default:
        assert.fail(`code ${(word & 0xffff).toString(16)} at ${pc}`);
    }
  }
  assert.fail("the program has no end");
}

interface Sample {
  /** Text of both addresses. */
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

function addressWords(text: string): Int32Array {
  const bytes = new Uint8Array(16);
  if (parseInet(text, bytes) === 2) {
    bytes.copyWithin(12, 0, 4);
    bytes.fill(0, 0, 10);
    bytes.fill(0xff, 10, 12);
  }
  const view = new DataView(bytes.buffer);
  return Int32Array.from([0, 4, 8, 12], (at) => view.getInt32(at));
}

function segmentOf(sample: Sample): TcpSegment {
  const segment = new TcpSegment();
  segment.addresses.set(addressWords(sample.source));
  segment.addresses.set(addressWords(sample.destination), 4);
  segment.sourcePort = sample.sourcePort;
  segment.destinationPort = sample.destinationPort;
  return segment;
}

interface Form {
  readonly linkType: number;
  readonly protocol?: number;
  /** Words of options in the header of IPv4. */
  readonly options?: number;
  /** Offset of a fragment, in units of 8 bytes. */
  readonly fragment?: number;
  /** A header of IPv6 before TCP: its number. */
  readonly extension?: number;
  readonly vlan?: boolean;
}

function packetOf(sample: Sample, form: Form): Uint8Array {
  const { fragment = 0, linkType, options = 0, protocol = 6 } = form;
  const bytes = new Uint8Array(160);
  const view = new DataView(bytes.buffer);
  const six = sample.source.includes(":");
  let at = 0;
  if (linkType === LinkType.Ethernet) {
    view.setUint16(12, form.vlan ? 0x8100 : six ? 0x86dd : 0x0800);
    if (form.vlan) view.setUint16(16, six ? 0x86dd : 0x0800);
    at = form.vlan ? 18 : 14;
  }
  const [source, destination] = [addressWords(sample.source), addressWords(sample.destination)];
  let ports: number;
  if (six) {
    bytes[at] = 0x60;
    bytes[at + 6] = form.extension ?? protocol;
    for (let i = 0; i < 4; i++) {
      view.setInt32(at + 8 + i * 4, source[i]!);
      view.setInt32(at + 24 + i * 4, destination[i]!);
    }
    ports = at + 40;
    if (form.extension !== undefined) {
      bytes[ports] = protocol;
      ports += 8;
    }
  } else {
    bytes[at] = 0x45 + options;
    bytes[at + 9] = protocol;
    view.setUint16(at + 6, fragment);
    view.setInt32(at + 12, source[3]!);
    view.setInt32(at + 16, destination[3]!);
    ports = at + 20 + options * 4;
  }
  if (fragment === 0) {
    view.setUint16(ports, sample.sourcePort);
    view.setUint16(ports + 2, sample.destinationPort);
  } else bytes.fill(0xa5, ports);
  return bytes.subarray(0, ports + 20);
}

/** Bytes that V8 has ever allocated. */
function allocatedBytes(): number {
  const { total_allocated_bytes: bytes } = getHeapStatistics() as unknown as {
    total_allocated_bytes: number;
  };
  return bytes;
}

const HOSTS = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "192.0.2.77", "255.255.255.255"];
const HOSTS6 = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "fe80::1", "::1"];
const PORTS = [0, 22, 3260, 3261, 3300, 6789, 65535];

function sampleOf(next: (below: number) => number): Sample {
  const hosts = next(2) === 0 ? HOSTS : HOSTS6;
  return {
    source: hosts[next(hosts.length)]!,
    destination: hosts[next(hosts.length)]!,
    sourcePort: PORTS[next(PORTS.length)]!,
    destinationPort: PORTS[next(PORTS.length)]!,
  };
}

/** A filter by chance, a few levels deep. */
function filterText(next: (below: number) => number, depth: number): string {
  const end = ["", "", "src ", "dst "][next(4)]!;
  if (depth > 0 && next(3) > 0) {
    const left = filterText(next, depth - 1);
    if (next(4) === 0) return `not (${left})`;
    const word = ["and", "or", "&&", "||"][next(4)]!;
    const right = filterText(next, depth - 1);
    return next(2) === 0 ? `(${left}) ${word} (${right})` : `${left} ${word} ${right}`;
  }
  const hosts = [...HOSTS, ...HOSTS6];
  const port = PORTS[next(PORTS.length)]!;
  switch (next(8)) {
    case 0:
      return "tcp";
    case 1:
      return next(2) === 0 ? "ip" : "ip6";
    case 2:
      return `${end}host ${hosts[next(hosts.length)]}`;
    case 3:
      return `${end}net ${HOSTS[next(HOSTS.length)]}/${next(33)}`;
    case 4:
      return `${end}net ${HOSTS6[next(HOSTS6.length)]}/${next(129)}`;
    case 5:
      return `${end}portrange ${port}-${Math.min(65535, port + next(3000))}`;
    case 6:
      return `not ${end}port ${port}`;
    default:
      return `tcp ${end}port ${port}`;
  }
}

Deno.test("a program keeps exactly what matches() wants of whole packets of TCP", () => {
  const seed = 20261122;
  const next = random(seed);
  let [kept, refused] = [0, 0];
  for (let round = 0; round < 1500; round++) {
    const text = filterText(next, 4);
    const filter = new CaptureFilter(text);
    for (const linkType of [LinkType.Ethernet, LinkType.Raw]) {
      const program = filter.program(linkType);
      for (let i = 0; i < 12; i++) {
        const sample = sampleOf(next);
        const wanted = filter.matches(segmentOf(sample));
        const packet = packetOf(sample, { linkType, options: next(4) });
        const told = `seed ${seed}: ${text}: ${JSON.stringify(sample)}`;
        assert.equal(interpret(program, packet) > 0, wanted, told);
        if (wanted) kept++;
        else refused++;
        const hidden = sample.source.includes(":")
          ? { linkType, extension: [0, 43, 44, 51, 60][next(5)]! }
          : { linkType, fragment: 1 + next(0x1fff) };
        // What cannot be seen must not keep a segment away.
        if (wanted) assert.ok(interpret(program, packetOf(sample, hidden)) > 0, told);
      }
    }
  }
  assert.ok(kept > 5000 && refused > 5000, `${kept} kept, ${refused} refused`);
});

const ONE: Sample = {
  source: "10.0.0.1",
  destination: "10.0.0.2",
  sourcePort: 40000,
  destinationPort: 3260,
};
const BACK: Sample = {
  source: "10.0.0.2",
  destination: "10.0.0.1",
  sourcePort: 3260,
  destinationPort: 40000,
};
const SIX: Sample = {
  source: "2001:db8::1",
  destination: "fe80::1",
  sourcePort: 6789,
  destinationPort: 50000,
};

Deno.test.each([
  { text: "tcp", wanted: [true, true, true] },
  { text: "ip", wanted: [true, true, false] },
  { text: "ip6", wanted: [false, false, true] },
  { text: "port 3260", wanted: [true, true, false] },
  { text: "tcp port 3260", wanted: [true, true, false] },
  { text: "ip6 port 3260", wanted: [false, false, false] },
  { text: "src port 3260", wanted: [false, true, false] },
  { text: "dst port 3260", wanted: [true, false, false] },
  { text: "portrange 3260-6789", wanted: [true, true, true] },
  { text: "src portrange 3260-6789", wanted: [false, true, true] },
  { text: "host 10.0.0.1", wanted: [true, true, false] },
  { text: "src host 10.0.0.1", wanted: [true, false, false] },
  { text: "src 10.0.0.1", wanted: [true, false, false] },
  { text: "dst fe80::1", wanted: [false, false, true] },
  { text: "net 10.0.0.0/8", wanted: [true, true, false] },
  { text: "src net 10.0.0.2/31", wanted: [false, true, false] },
  { text: "net 0.0.0.0/0", wanted: [true, true, false] },
  { text: "net 2001:db8::/32", wanted: [false, false, true] },
  { text: "not port 3260", wanted: [false, false, true] },
  { text: "! host 10.0.0.1", wanted: [false, false, true] },
  { text: "not (host 10.0.0.1 and dst port 3260)", wanted: [false, true, true] },
  { text: "host 10.0.0.1 and src port 3260 or ip6", wanted: [false, true, true] },
  // Equals, from left to right: (ip6 or src port 3260) and host 10.0.0.1.
  { text: "ip6 or src port 3260 and host 10.0.0.1", wanted: [false, true, false] },
  { text: "ip6 or (src port 3260 and host 10.0.0.1)", wanted: [false, true, true] },
])("'$text' takes what it says", ({ text, wanted }) => {
  const filter = new CaptureFilter(text);
  assert.deepEqual([ONE, BACK, SIX].map((each) => filter.matches(segmentOf(each))), wanted);
});

Deno.test("what is no TCP is refused by the program, what has a VLAN tag passes", () => {
  for (const linkType of [LinkType.Ethernet, LinkType.Raw]) {
    const program = new CaptureFilter("not port 1").program(linkType);
    for (const sample of [ONE, SIX]) {
      assert.ok(interpret(program, packetOf(sample, { linkType })) > 65535);
      assert.equal(interpret(program, packetOf(sample, { linkType, protocol: 17 })), 0);
      const packet = packetOf(sample, { linkType });
      for (let size = 0; size < packet.length - 16; size++) {
        assert.equal(interpret(program, packet.subarray(0, size)), 0, `${size} bytes`);
      }
    }
  }
  const program = new CaptureFilter("port 1").program(LinkType.Ethernet);
  assert.ok(interpret(program, packetOf(ONE, { linkType: LinkType.Ethernet, vlan: true })) > 0);
  const arp = new Uint8Array(60);
  new DataView(arp.buffer).setUint16(12, 0x0806);
  assert.equal(interpret(program, arp), 0);
});

Deno.test("a fragment with no ports passes, whatever a filter says of ports", () => {
  const form = { linkType: LinkType.Ethernet, fragment: 185 };
  for (const text of ["port 1", "not port 1", "not (port 1 or port 2)", "port 1 and not port 2"]) {
    const program = new CaptureFilter(text).program(LinkType.Ethernet);
    assert.ok(interpret(program, packetOf(ONE, form)) > 0, text);
  }
  const program = new CaptureFilter("port 1 and host 10.9.9.9").program(LinkType.Ethernet);
  assert.equal(interpret(program, packetOf(ONE, form)), 0);
});

Deno.test.each([
  { text: "", part: "must follow at its end: nothing does" },
  { text: "tcp prot 80", part: 'at position 5: current value is "prot"' },
  { text: "port", part: "a port from 0 to 65535 must follow at its end" },
  {
    text: "port http",
    part: 'a port from 0 to 65535 must stand at position 6: current value is "http"',
  },
  { text: "port 65536", part: 'current value is "65536"' },
  { text: "port -1", part: 'current value is "-1"' },
  { text: "portrange 5-4", part: "a range of ports" },
  { text: "portrange 5", part: "a range of ports" },
  {
    text: "host example",
    part: 'a numeric address must stand at position 6: current value is "exa',
  },
  { text: "host 10.0.0.1 and", part: "must follow at its end" },
  { text: "net 10.0.0.0", part: "a network such as" },
  { text: "net 10.0.0.0/33", part: "a network such as" },
  { text: "net 10.0.0/8", part: "a numeric address" },
  { text: "net ::/129", part: "a network such as" },
  { text: "(tcp", part: '")" must follow at its end' },
  { text: "tcp)", part: '"and", "or" or the end must stand at position 4' },
  { text: "udp", part: 'current value is "udp"' },
  { text: "src tcp", part: 'at position 5: current value is "tcp"' },
  { text: "tcp & ip", part: 'current value is "&"' },
  { text: `${"(".repeat(2000)}tcp`, part: "levels" },
  { text: "not ".repeat(500), part: "levels" },
  { text: " ".repeat(FILTER_CHARACTERS_MAX + 1), part: "characters" },
  { text: "tcp or ".repeat(FILTER_PRIMITIVES_MAX) + "tcp", part: "conditions" },
].map((row) => ({ ...row, name: row.text.slice(0, 40) })))(
  "'$name' is refused, naming what is wrong",
  ({ text, part }) => {
    assert.throws(() => new CaptureFilter(text), (error: Error) => {
      assert.match(error.message, /^Cannot use filter as /);
      assert.ok(error.message.includes(part), error.message);
      return true;
    });
  },
);

Deno.test("the longest program is one that the kernel takes", () => {
  const one = "net 2001:db8:1:2:3:4:5:6/127";
  const text = new Array(FILTER_PRIMITIVES_MAX).fill(one).join(" or ");
  assert.ok(text.length <= FILTER_CHARACTERS_MAX, `${text.length}`);
  const instructions = new CaptureFilter(text).program(LinkType.Ethernet).length / 2;
  assert.ok(instructions > 1000 && instructions <= 4096, `${instructions}`);
});

Deno.test("matches() allocates nothing", () => {
  const filter = new CaptureFilter("not net 2001:db8::/32 and (port 1 or host 10.0.0.1) or ip6");
  const segments = [ONE, BACK, SIX].map(segmentOf);
  let kept = 0;
  const round = (calls: number): void => {
    for (let i = 0; i < calls; i++) if (filter.matches(segments[i % 3]!)) kept++;
  };
  round(100_000);
  const before = allocatedBytes();
  round(1_000_000);
  const bytes = allocatedBytes() - before;
  assert.ok(bytes < 4_000_000, `${bytes}`);
  assert.equal(kept, 1_100_000);
});

Deno.test("words of any kind make a filter or an error, nothing else", () => {
  const next = random(7);
  const words = [
    "tcp",
    "ip",
    "host",
    "net",
    "port",
    "src",
    "dst",
    "and",
    "or",
    "not",
    "(",
    ")",
    "1",
  ];
  words.push("10.0.0.1", "::1", "10.0.0.0/8", "1-2", "!", "&&", "||", "portrange", "\u0000", "é");
  let understood = 0;
  for (let round = 0; round < 20_000; round++) {
    const text = Array.from({ length: 1 + next(8) }, () => words[next(words.length)]).join(" ");
    try {
      new CaptureFilter(text).program(LinkType.Ethernet);
      understood++;
    } catch (error) {
      assert.match((error as Error).message, /^Cannot use filter as /, text);
    }
  }
  assert.ok(understood > 100, `${understood}`);
});
