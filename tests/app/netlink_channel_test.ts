/** Questions to the real kernel that need no privilege, and answers of a fake one that is hostile. */
import assert from "node:assert/strict";
import { NetlinkChannel } from "../../src/app/netlink_channel.ts";
import { Errno } from "../../src/io/errno.ts";
import { NetlinkProtocol } from "../../src/io/netlink_socket.ts";
import type { Region } from "../../src/mem/region.ts";
import { GenericFamily, readFamily, writeGetFamily } from "../../src/wire/netlink/generic.ts";
import { Link, readLink, writeLinkRequest } from "../../src/wire/netlink/link.ts";
import {
  align4,
  beginNlmsg,
  endNlmsg,
  type Nlmsg,
  NlmsgFlag,
  NlmsgType,
} from "../../src/wire/netlink/nlmsg.ts";
import { RtmType } from "../../src/wire/netlink/rtnetlink.ts";

const ENODEV = 19;
const EOPNOTSUPP = 95;

/** The names of all links, and how often the dump was begun. */
function dumpLinks(channel: NetlinkChannel): { errno: number; names: string[]; begun: number } {
  let names: string[] = [];
  let begun = 0;
  const link = new Link();
  const errno = channel.dump(
    () => writeLinkRequest(channel.out, 0, channel.next(), 0),
    (from, message) => {
      assert.equal(message.type, RtmType.NewLink);
      assert.equal(readLink(from, message, link), 0);
      names.push(link.name);
    },
    () => {
      names = [];
      begun++;
    },
  );
  return { errno, names, begun };
}

Deno.test("a dump hands on each message, and the next request has an answer of its own", () => {
  const channel = NetlinkChannel.open(NetlinkProtocol.Route, "links");
  const { begun, errno, names } = dumpLinks(channel);
  assert.deepEqual([errno, begun, channel.text], [0, 1, ""]);
  assert.ok(names.includes("lo"));
  assert.equal(new Set(names).size, names.length);
  assert.deepEqual(dumpLinks(channel).names, names);
  channel.close();
});

Deno.test("a request is answered by its message and an acknowledgement", () => {
  const channel = NetlinkChannel.open(NetlinkProtocol.Generic, "nlctrl");
  const family = new GenericFamily();
  const size = writeGetFamily(channel.out, 0, channel.next(), "nlctrl");
  let messages = 0;
  const errno = channel.request(size, (from, { at, end }) => {
    messages++;
    assert.equal(readFamily(from, at, end, family), end);
  });
  assert.deepEqual([errno, messages, channel.text], [0, 1, ""]);
  assert.deepEqual([family.id, family.name], [16, "nlctrl"]);
  channel.close();
});

Deno.test("a family that does not exist is ENOENT, and the next request is not disturbed by it", () => {
  const channel = NetlinkChannel.open(NetlinkProtocol.Generic, "nlctrl");
  const ask = (name: string): number =>
    channel.request(writeGetFamily(channel.out, 0, channel.next(), name));
  assert.equal(ask("fairlead-none"), Errno.Enoent);
  assert.equal(ask("nlctrl"), 0);
  channel.close();
});

Deno.test("what the kernel says of a refusal is kept until the next request", () => {
  const channel = NetlinkChannel.open(NetlinkProtocol.Generic, "nlctrl");
  const name = "x".repeat(16); // one more than GENL_NAMSIZ holds with its end
  const size = writeGetFamily(channel.out, 0, channel.next(), name);
  assert.equal(channel.request(size), Errno.Einval);
  assert.match(channel.text, /policy|invalid/i);
  channel.request(writeGetFamily(channel.out, 0, channel.next(), "nlctrl"));
  assert.equal(channel.text, "");
  channel.close();
});

Deno.test("an interface that does not exist is ENODEV", () => {
  const channel = NetlinkChannel.open(NetlinkProtocol.Route, "links");
  const size = writeLinkRequest(channel.out, 0, channel.next(), 0x7ffffff0);
  assert.equal(channel.request(size, () => assert.fail("an answer")), ENODEV);
  channel.close();
});

Deno.test("a kind of message that the kernel does not know is EOPNOTSUPP", () => {
  const channel = NetlinkChannel.open(NetlinkProtocol.Route, "links");
  const flags = NlmsgFlag.Request | NlmsgFlag.Ack;
  const at = beginNlmsg(channel.out, 0, 0x7ffe, flags, channel.next());
  channel.out.bytes.fill(0, at, at + 16);
  assert.equal(channel.request(endNlmsg(channel.out, 0, at + 16)), EOPNOTSUPP);
  channel.close();
});

Deno.test("a kernel without such a protocol is named when it is opened", () => {
  assert.throws(
    () => NetlinkChannel.open(31, "nothing"),
    /^Error: Cannot open a netlink socket for nothing: Protocol not supported \(EPROTONOSUPPORT\)$/,
  );
});

Deno.test("a closed channel answers EBADF to requests, dumps and batches", () => {
  const channel = NetlinkChannel.open(NetlinkProtocol.Route, "links");
  channel.close();
  assert.equal(channel.request(16), Errno.Ebadf);
  assert.equal(dumpLinks(channel).errno, Errno.Ebadf);
  assert.equal(channel.batch(16), Errno.Ebadf);
});

Deno.test("each request has a sequence number of its own", () => {
  const channel = NetlinkChannel.open(NetlinkProtocol.Route, "links");
  const first = channel.next();
  assert.equal(channel.next(), first + 1);
  channel.close();
});

/** A message of a fake answer. */
interface Said {
  readonly type: number;
  readonly flags?: number;
  /** 0: of the request that was sent last. */
  readonly sequence?: number;
  /** The payload's words. */
  readonly words?: readonly number[];
}

type Datagram = readonly Said[] | Uint8Array<ArrayBuffer> | number;

/** A channel whose kernel answers each request with the next list of datagrams. */
class Fake {
  readonly channel = NetlinkChannel.open(NetlinkProtocol.Route, "a fake");
  sent = 0;
  readonly #answers: (readonly Datagram[])[];
  #waiting: Datagram[] = [];

  constructor(answers: readonly (readonly Datagram[])[]) {
    this.#answers = [...answers];
    const { socket } = this.channel;
    socket.send = (size) => {
      this.sent++;
      this.#waiting.push(...this.#answers.shift() ?? []);
      return size;
    };
    socket.receive = () => {
      const next = this.#waiting.shift();
      if (next === undefined) return -Errno.Eagain;
      return typeof next === "number" ? next : this.#put(socket.in, next);
    };
  }

  request(seen: Nlmsg[] = []): number {
    const size = writeLinkRequest(this.channel.out, 0, this.channel.next(), 1);
    return this.channel.request(size, (_, message) => seen.push({ ...message }));
  }

  [Symbol.dispose](): void {
    this.channel.close();
  }

  #put(into: Region, datagram: readonly Said[] | Uint8Array<ArrayBuffer>): number {
    if (datagram instanceof Uint8Array) {
      into.bytes.set(datagram);
      return datagram.length;
    }
    const asked = this.channel.out.view.getUint32(8, true);
    let end = 0;
    for (const { flags = 0, sequence = 0, type, words = [] } of datagram) {
      const start = end;
      end = beginNlmsg(into, start, type, flags, sequence === 0 ? asked : sequence);
      for (const word of words) {
        into.view.setInt32(end, word, true);
        end += 4;
      }
      end = endNlmsg(into, start, align4(end));
    }
    return end;
  }
}

const LINK: Said = { type: RtmType.NewLink, words: [0, 1, 0, 0] };
/** NLMSG_ERROR with the header of the request. */
function refusal(errno: number): Said {
  return { type: NlmsgType.Error, words: [-errno, 16, 0, 0, 0] };
}
const ACK = refusal(0);
const DONE: Said = { type: NlmsgType.Done, words: [0] };
const TORN: Said = { ...DONE, flags: NlmsgFlag.DumpInterrupted };

Deno.test("answers to earlier requests are passed over", () => {
  using fake = new Fake([[[{ ...refusal(5), sequence: 99 }, { ...LINK, sequence: 99 }], [
    LINK,
    ACK,
  ]]]);
  const seen: Nlmsg[] = [];
  assert.equal(fake.request(seen), 0);
  assert.deepEqual(seen.map(({ type, sequence }) => [type, sequence]), [[RtmType.NewLink, 1]]);
});

Deno.test("no answer at all is ETIMEDOUT, as is one without an end", () => {
  using fake = new Fake([[], [[LINK]]]);
  assert.equal(fake.request(), Errno.Etimedout);
  assert.equal(fake.request(), Errno.Etimedout);
});

Deno.test("the kernel's errno is answered as a positive number", () => {
  using fake = new Fake([[[refusal(16)]], [[{ ...DONE, words: [-2] }]], [-Errno.Enobufs]]);
  assert.equal(fake.request(), 16);
  assert.equal(fake.request(), 2);
  assert.equal(fake.request(), Errno.Enobufs);
});

Deno.test("answers that are none are EIO", () => {
  const broken: readonly Datagram[] = [
    new Uint8Array(3), // less than a header
    new Uint8Array(16), // a length of 0, which would never end
    Uint8Array.of(255, 0, 0, 0, ...new Uint8Array(28)), // longer than what came
    [{ type: NlmsgType.Error, words: [] }], // no errno
    [{ type: NlmsgType.Error, words: [5] }], // of the wrong sign, and no request
    [{ type: NlmsgType.Error, words: [-5, 4000, 0, 0, 0] }], // of a request beyond its end
    [{ type: NlmsgType.Done, words: [-0x7fffffff] }],
  ];
  using fake = new Fake(broken.map((datagram) => [datagram]));
  for (const datagram of broken) {
    assert.equal(fake.request(), Errno.Eio, JSON.stringify(datagram));
    assert.equal(fake.channel.text, "");
  }
});

Deno.test("a dump that was disturbed is begun again with nothing left of the first", () => {
  using fake = new Fake([
    [[LINK, { ...LINK, flags: NlmsgFlag.DumpInterrupted }], [DONE]],
    [[LINK], [TORN]],
    [[LINK, DONE]],
  ]);
  let count = 0;
  const begun: number[] = [];
  const errno = fake.channel.dump(
    () => writeLinkRequest(fake.channel.out, 0, fake.channel.next(), 0),
    () => count++,
    () => {
      begun.push(count);
      count = 0;
    },
  );
  assert.deepEqual([errno, count, begun, fake.sent], [0, 1, [0, 2, 1], 3]);
});

Deno.test("a dump that never comes to rest ends with what it has", () => {
  using fake = new Fake(Array.from({ length: 100 }, () => [[LINK, TORN]]));
  let count = 0;
  const errno = fake.channel.dump(
    () => writeLinkRequest(fake.channel.out, 0, fake.channel.next(), 0),
    () => count++,
    () => count = 0,
  );
  assert.deepEqual([errno, count, fake.sent], [0, 1, 4]);
});

Deno.test("a dump that is refused is not begun again, disturbed or not", () => {
  for (const flags of [0, NlmsgFlag.DumpInterrupted]) {
    using fake = new Fake([[[LINK], [{ ...refusal(13), flags }]]]);
    const write = (): number => writeLinkRequest(fake.channel.out, 0, fake.channel.next(), 0);
    assert.equal(fake.channel.dump(write, () => {}, () => {}), 13);
    assert.equal(fake.sent, 1);
  }
});

Deno.test("a batch answers its first errno, after all answers were read", () => {
  using fake = new Fake([
    [],
    [[ACK], [ACK]],
    [[ACK, refusal(2)], [refusal(17)], [ACK]],
    [[{ ...refusal(5), type: RtmType.NewLink }], [refusal(1)]],
    [-Errno.Enobufs],
    [new Uint8Array(16)],
  ]);
  const answers = Array.from({ length: 6 }, () => fake.channel.batch(20));
  assert.deepEqual(answers, [0, 0, 2, 1, Errno.Enobufs, Errno.Eio]);
});

/** Makes more links than one datagram of a dump holds, and one more while a dump is being read. */
const SCRIPT = `
const [app, wire] = [import.meta.resolve(Deno.args[0]), import.meta.resolve(Deno.args[1])];
const { NetlinkChannel } = await import(app + "netlink_channel.ts");
const { Link, readLink, writeLinkRequest } = await import(wire + "netlink/link.ts");
function ip(...args) {
  if (!new Deno.Command("ip", { args }).outputSync().success) throw new Error(args.join(" "));
}
for (let i = 0; i < 100; i++) ip("link", "add", "a" + i, "type", "veth", "peer", "name", "b" + i);
const channel = NetlinkChannel.open(0, "links");
const link = new Link();
let names = [];
let begun = 0;
const errno = channel.dump(
  () => writeLinkRequest(channel.out, 0, channel.next(), 0),
  (from, message) => {
    readLink(from, message, link);
    names.push(link.name);
    if (begun === 1 && names.length === 1) ip("link", "delete", "a50");
  },
  () => { names = []; begun++; },
);
console.log(errno, begun, names.length, new Set(names).size, names.includes("b50"));
`;

async function unshared(args: readonly string[], script: string): Promise<Deno.CommandOutput> {
  const child = new Deno.Command("unshare", {
    args: ["-Urn", ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(60_000),
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  return await child.output();
}

async function canUnshare(): Promise<boolean> {
  try {
    return (await unshared(["sh", "-e"], "ip link add a0 type veth peer name b0")).success;
  } catch {
    return false; // no such program
  }
}

Deno.test({
  name: "a dump of the kernel that was disturbed is begun again and is whole",
  ignore: !await canUnshare(),
  fn: async () => {
    const source = import.meta.resolve("../../src/");
    const words = [Deno.execPath(), "run", "--quiet", "--no-config", "-A", "--ext=js", "-"];
    const { code, stderr, stdout } = await unshared(
      [...words, `${source}app/`, `${source}wire/`],
      SCRIPT,
    );
    const decoder = new TextDecoder();
    assert.equal(code, 0, decoder.decode(stderr));
    assert.equal(decoder.decode(stdout), "0 2 199 199 false\n");
  },
});
