/** `fairlead sniff` and `fairlead sniff boundaries` as processes, on a capture of iSCSI that is written here. */
import assert from "node:assert/strict";
import { IscsiSession } from "../capture/iscsi_streams.ts";
import { pcapFile, segment } from "../capture/pcap_builder.ts";
import { type Ended, Fairlead } from "./fairlead.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Line = Record<string, unknown>;

const CLIENT = "10.0.0.1:40000";
const SERVER = "10.0.0.2:3260";
const SEGMENT = 1000;
/** Common to all messages, as programs rely on them. */
const KEYS = ["time", "src", "dst", "protocol", "tag", "length", "found_by", "fields", "errors"];

/** A session, packet by packet: without those that `isLost` names, a length of PDU `damaged` changed. */
function packets(isLost: (number: number) => boolean = () => false, damaged = -1): Bytes[] {
  const session = new IscsiSession(11);
  session.login();
  session.mix(60);
  session.logout();
  const streams = session.streams.map((stream) => stream.bytes());
  const pdu = session.streams[0].pdus[damaged];
  if (pdu !== undefined) streams[0]![pdu.offset + 7]! ^= 0x10;
  const ends = [{ from: CLIENT, to: SERVER }, { from: SERVER, to: CLIENT }];
  const made = [
    segment({ ...ends[0]!, seq: 999, flags: "S" }),
    segment({ ...ends[1]!, seq: 999, ack: 1000, flags: "SA" }),
  ];
  const sent = [0, 0];
  while (sent.some((offset, side) => offset < streams[side]!.length)) {
    const shares = sent.map((offset, side) => offset / streams[side]!.length);
    const side = shares[0]! <= shares[1]! ? 0 : 1;
    const offset = sent[side]!;
    const data = streams[side]!.subarray(offset, offset + SEGMENT);
    made.push(segment({ ...ends[side]!, seq: 1000 + offset, ack: 1000 + sent[1 - side]!, data }));
    sent[side] = offset + data.length;
  }
  return made.filter((_, index) => !isLost(index));
}

/** Runs `job` in a directory with the session whole, cut in the middle, and with losses. */
async function withCaptures(job: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const whole = packets();
    await Deno.writeFile(`${directory}/whole.pcap`, pcapFile(whole));
    await Deno.writeFile(`${directory}/cut.pcap`, pcapFile(whole.slice(0, whole.length / 2)));
    const lossy = packets((number) => number > 20 && number % 23 === 0);
    await Deno.writeFile(`${directory}/lossy.pcap`, pcapFile(lossy));
    await job(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function sniff(...words: string[]): Promise<Ended> {
  return await Fairlead.run("sniff", ...words);
}

function linesOf({ stdout }: Ended): Line[] {
  return stdout.trim().split("\n").map((line) => JSON.parse(line));
}

/** Comments of a pcapng file that this program wrote: option 1 of its enhanced packet blocks. */
function commentsOf(file: Bytes): string[] {
  const view = new DataView(file.buffer);
  const comments: string[] = [];
  for (let at = 0; at < file.length; at += view.getUint32(at + 4, true)) {
    if (view.getUint32(at, true) !== 6) continue;
    const end = at + view.getUint32(at + 4, true) - 4;
    let option = at + 28 + ((view.getUint32(at + 20, true) + 3) & ~3);
    while (option < end && view.getUint16(option, true) !== 0) {
      const length = view.getUint16(option + 2, true);
      const text = new TextDecoder().decode(file.subarray(option + 4, option + 4 + length));
      if (view.getUint16(option, true) === 1) comments.push(text);
      option += 4 + ((length + 3) & ~3);
    }
  }
  return comments;
}

Deno.test("--json has the keys that programs rely on, and its lengths add up to the streams", () =>
  withCaptures(async (directory) => {
    for (const name of ["whole", "cut", "lossy"]) {
      const lines = linesOf(await sniff(`${directory}/${name}.pcap`, "--json"));
      const reached = new Map<unknown, number>();
      for (const line of lines) {
        const { hole, length, offset, src } = line as { length: number } & Line;
        assert.equal(offset, reached.get(src) ?? 0, `${name}: ${JSON.stringify(line)}`);
        reached.set(src, (reached.get(src) ?? 0) + length);
        if (hole === undefined) {
          for (const key of KEYS) assert.ok(key in line, `${name}: ${key}`);
        } else assert.equal(hole, length);
      }
      assert.deepEqual([...reached.keys()].sort(), [CLIENT, SERVER]);
      const means = new Set(lines.map(({ found_by }) => found_by));
      assert.equal(means.has("header-chain"), name === "lossy");
      assert.ok(name === "lossy" === lines.some(({ hole }) => hole !== undefined));
    }
  }));

Deno.test("--write has a comment for each message and gap, those of the end too", () =>
  withCaptures(async (directory) => {
    for (const name of ["whole", "cut", "lossy"]) {
      const path = `${directory}/${name}.pcap`;
      const all = linesOf(await sniff(path, "--json"));
      const { code } = await sniff(path, "--write", `${directory}/out.pcapng`);
      assert.equal(code, 0);
      const comments = commentsOf(await Deno.readFile(`${directory}/out.pcapng`));
      assert.equal(comments.length, all.length, name);
      const again = linesOf(await sniff(`${directory}/out.pcapng`, "--json"));
      assert.deepEqual(again, all, "a copy tells the same");
    }
  }));

Deno.test("--stats judges a capture, and nothing when messages were chosen", () =>
  withCaptures(async (directory) => {
    const verdict = async (...words: string[]): Promise<string> =>
      (await sniff(...words, "--stats")).stdout.trim().split("\n").at(-1)!;
    assert.match(await verdict(`${directory}/whole.pcap`), /^Healthy: every byte of /);
    assert.match(await verdict(`${directory}/lossy.pcap`), /^Not healthy: .* were not captured/);
    await Deno.writeFile(`${directory}/damaged.pcap`, pcapFile(packets(() => false, 9)));
    const { stdout } = await sniff(`${directory}/damaged.pcap`, "--stats");
    assert.match(stdout, /^capture: .*broken chains 1/m);
    const chosen = await verdict(`${directory}/lossy.pcap`, "--tag", "Login Request");
    assert.match(chosen, /^1 message chosen, none with errors/);
  }));

Deno.test("boundaries holds each means against the truth, of several files and of a damaged one", () =>
  withCaptures(async (directory) => {
    const path = `${directory}/whole.pcap`;
    const [total] = linesOf(await sniff("boundaries", path, "--json", "--drop", "5")).slice(-1);
    const sets = total!["sets"] as { readonly whole: number; readonly wrong: number }[];
    const [none, length] = sets.map(({ whole }) => whole);
    assert.ok(none! <= length! && length! < sets.at(-1)!.whole);
    for (const { wrong } of sets) assert.equal(wrong, 0);
    const own = (await sniff("boundaries", `${directory}/lossy.pcap`, "--drop", "0")).stdout;
    assert.match(own, /^As captured, where what all means find is taken for the truth; /);
    assert.match(own, /the draft's rule alone: no urgent pointer$/m);
    const all = packets();
    const parts = [all.slice(0, all.length / 2), all.slice(all.length / 2)];
    for (const [index, part] of parts.entries()) {
      await Deno.writeFile(`${directory}/part${index}.pcap`, pcapFile(part));
    }
    const files = [`${directory}/part0.pcap`, `${directory}/part1.pcap`];
    const both = linesOf(await sniff("boundaries", ...files, "--json", "--drop", "5"));
    assert.deepEqual(both.at(-1), total, "files are parts of one capture");
    const bytes = await Deno.readFile(path);
    await Deno.writeFile(`${directory}/one.pcap`, bytes.subarray(0, bytes.length >>> 1));
    const cut = await sniff("boundaries", `${directory}/one.pcap`);
    assert.equal(cut.code, 0);
    assert.match(cut.stderr, /ends within a packet/);
    const noise = new Uint8Array(64).fill(0xff);
    await Deno.writeFile(`${directory}/bad.pcap`, new Uint8Array([...bytes, ...noise]));
    const bad = await sniff("boundaries", `${directory}/bad.pcap`, "--json", "--drop", "5");
    assert.equal(bad.code, 1);
    assert.match(bad.stderr, /^Cannot read capture/m);
    assert.deepEqual(linesOf(bad).at(-1), total, "what was read before is judged");
  }));
