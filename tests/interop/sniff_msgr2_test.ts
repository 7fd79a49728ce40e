/**
 * `fairlead sniff` on captures of Ceph 16.2 and of our own endpoints, in mode crc and in mode secure
 * with a keyring: every byte is a frame's, sessions are followed over their connections, and what is
 * told of a damaged capture is true.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  captureCeph,
  captureEndpoints,
  ignoreWithoutCaptures,
  type Mode,
} from "../capture/captures.ts";
import { cutBegin, loseSegments, type Packet, reorder, type Segment } from "../capture/damage.ts";
import { findPeer, ignoreWithout } from "./debian_peers.ts";
import {
  assertTiles,
  assertTruth,
  isCutShort,
  know,
  type Known,
  type MessageLine,
  readDamaged,
  sniff,
} from "./sniff_lines.ts";
import { msgr2Frames, streamKey } from "./sniff_truth.ts";

const pacific = await findPeer("pacific");
const ignore = await ignoreWithoutCaptures();
/** Of the messages that are whole in a damaged capture. */
const RECOVERED_MIN = 0.9;
const SEEDS = [1, 3];
const WINDOW = 8;
const MODES: readonly Mode[] = ["crc", "secure"];
/** What a start of a monitor and an object store, some commands and two objects cannot do without. */
const CEPH_TYPES = [
  ...["auth", "auth_reply", "config", "mon_command", "mon_command_ack", "mon_get_map", "mon_map"],
  ...["mon_subscribe", "osd_boot", "osd_map", "osd_op", "osd_op_reply"],
];
/** Less than the first block of a frame in each mode: what is left of it tells nothing. */
const REST_MAX = { crc: 31, secure: 95 };
/** Messages and aborted frames of sniff_endpoints.ts, and connections that were cut. */
const MESSAGES = 300;
const ABORTED = 2;
const CUTS = 4;

function isMessage({ tag }: MessageLine): boolean {
  return tag === "MSG";
}

/**
 * Where each stream's first frame after the handshake is: a session key that was not captured opens
 * nothing, so a fair loss begins behind it.
 */
function behindHandshake({ lines, streams }: Known): (segment: Segment) => boolean {
  const begins = new Map<string, number>();
  for (const line of lines.messages) {
    const { offset, tag } = line;
    const key = streamKey(line);
    const isFirst = !begins.has(key) && (tag === "MSG" || tag === "RECONNECT_OK");
    if (isFirst) begins.set(key, offset);
  }
  return (segment) => {
    const key = streamKey(segment);
    const offset = (segment.sequence - (streams.get(key)?.base ?? 0)) | 0;
    return offset >= (begins.get(key) ?? Infinity);
  };
}

/** What both kinds of capture have to stand. */
async function testDamage(t: Deno.TestContext, known: Known, mode: Mode): Promise<void> {
  await t.step(`${known.name}: packets out of order lose nothing`, async () => {
    for (const seed of SEEDS) {
      // Keys that arrive behind what they are for open nothing.
      const damaged = reorder(known.packets, WINDOW, seed, mode === "secure");
      const { all, told, withHoles } = await readDamaged(known, `re-ordered ${seed}`, damaged);
      assert.equal(told + withHoles, all);
    }
  });
  await t.step(`${known.name}: lost and cut: most is found, nothing invented`, async () => {
    const may = mode === "crc" ? undefined : behindHandshake(known);
    for (const seed of SEEDS) {
      const damaged = loseSegments(known.packets, 2, seed, may);
      const { told, whole } = await readDamaged(known, `2 % lost ${seed}`, damaged);
      assert.ok(told >= whole * RECOVERED_MIN, `${told} of ${whole}`);
    }
    await readDamaged(known, "15 % lost", loseSegments(known.packets, 15, 7, may));
    await readDamaged(known, "15 % lost, of handshakes too", loseSegments(known.packets, 15, 9));
    for (const share of [0.2, 0.5]) {
      const damaged: Packet[] = cutBegin(known.packets, share);
      const { told, whole } = await readDamaged(known, `cut at ${share * 100} %`, damaged);
      if (mode === "crc") assert.ok(told >= whole * RECOVERED_MIN, `${told} of ${whole}`);
    }
  });
}

/** Neither the keys nor what a keyring file says of them is in what the command prints. */
async function assertNoKeys(keyring: string, lines: unknown): Promise<void> {
  const text = JSON.stringify(lines);
  const found = (await Deno.readTextFile(keyring)).matchAll(/key = (\S+)/g);
  for (const [, key] of found) {
    const secret = Uint8Array.fromBase64(key!).subarray(12);
    assert.ok(!text.includes(key!) && !text.includes(secret.toBase64()), "a key in base64");
    assert.ok(!text.includes(secret.toHex()), "a key in hex");
  }
}

Deno.test({
  name: "captures of Ceph 16.2",
  ignore: ignore || ignoreWithout(pacific),
}, async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "sniff_ceph_" });
  try {
    const captures = await Promise.all(MODES.map((mode) => captureCeph(directory, pacific, mode)));
    for (const [index, mode] of MODES.entries()) {
      const { keyring, path } = captures[index]!;
      const known = await know(`Ceph ${mode}`, path, "--keyring", keyring);
      const { lines, streams } = known;
      await t.step(`${mode}: every byte is a frame's and nothing is wrong`, () => {
        assert.deepEqual(lines.gaps, []);
        assert.deepEqual(lines.messages.filter(({ errors }) => errors.length > 0).slice(0, 3), []);
        assertTiles(lines, streams);
        if (mode === "crc") assertTruth(lines, msgr2Frames(streams));
        assert.ok(lines.messages.every(({ protocol }) => protocol === "msgr2"));
        const modes = new Set(lines.messages.filter(isMessage).map((line) => line.mode));
        assert.deepEqual([...modes], [mode]);
      });
      await t.step(`${mode}: messages have their names and what they carry`, () => {
        const types = new Set(lines.messages.filter(isMessage).map(({ type }) => type));
        for (const type of CEPH_TYPES) assert.ok(types.has(type), `${type} of ${[...types]}`);
        const carried = (type: string): number[] =>
          lines.messages.filter((line) => line.type === type)
            .map(({ fields }) => Number(fields.data_len)).sort((a, b) => b - a);
        assert.equal(carried("osd_op")[0], 1_000_000);
        assert.equal(carried("osd_op_reply")[0], 1_000_000);
        const answers = lines.messages.filter(({ type }) => type === "osd_op_reply");
        assert.ok(answers.every(({ answers, latency }) => answers === "tid" && latency! > 0));
      });
      await t.step(`${mode}: no key is told`, () => assertNoKeys(keyring, lines));
      await testDamage(t, known, mode);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test({ name: "captures of our own endpoints", ignore }, async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "sniff_endpoints_" });
  try {
    for (const mode of MODES) {
      for (const revision of ["2.0", "2.1"] as const) {
        const name = `endpoints ${mode} ${revision}`;
        const { keyring, path } = await captureEndpoints(directory, mode, revision);
        const known = await know(name, path, "--keyring", keyring);
        await t.step(`${name}: every byte is a frame's`, () => testIntact(known, mode, revision));
        await t.step(
          `${name}: sessions over reconnects, aborted frames`,
          () => testSessions(known),
        );
        await t.step(`${name}: no key is told`, () => assertNoKeys(keyring, known.lines));
        if (mode === "secure") {
          await t.step(`${name}: without the key one gap a side, and why`, () => testLocked(known));
        }
        await testDamage(t, known, mode);
      }
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

function testIntact({ lines, streams }: Known, mode: Mode, revision: string): void {
  assertTiles(lines, streams);
  if (mode === "crc") assertTruth(lines, msgr2Frames(streams));
  for (const { hole, missing, offset, ...gap } of lines.gaps) {
    assert.equal(missing, 0);
    assert.ok(hole <= REST_MAX[mode], `${hole} bytes`);
    assert.equal(offset + hole, streams.get(streamKey(gap))!.bytes.length, "only at an end");
  }
  for (const line of lines.messages) {
    if (isMessage(line)) assert.deepEqual([line.mode, line.revision], [mode, revision]);
    const isRight = line.errors.length === 0 || line.fields.aborted === true ||
      isCutShort(line, streams);
    assert.ok(isRight, JSON.stringify(line));
  }
}

function testSessions({ lines, streams }: Known): void {
  const first = lines.messages.filter(({ session }) => session === 1);
  const sent = first.filter((line) => isMessage(line) && !isCutShort(line, streams));
  const sequences = new Set(sent.map(({ fields }) => Number(fields.seq)));
  assert.deepEqual(
    [...sequences].sort((a, b) => a - b),
    Array.from({ length: MESSAGES }, (_, index) => index + 1),
  );
  const reconnects = first.filter(({ tag }) => tag === "RECONNECT");
  assert.ok(reconnects.length >= CUTS - 1, `${reconnects.length}`);
  assert.ok(new Set(first.map(({ src }) => src)).size >= CUTS, "over several connections");
  const aborted = lines.messages.filter(({ fields }) => fields.aborted === true);
  assert.equal(aborted.length, ABORTED);
  for (const { errors, session } of aborted) {
    assert.equal(session, 2);
    assert.deepEqual(errors, ["aborted by its sender"]);
  }
}

async function testLocked({ lines: opened, path, streams }: Known): Promise<void> {
  const lines = await sniff(path);
  assertTiles(lines, streams);
  const keys = lines.gaps.map(streamKey);
  assert.equal(new Set(keys).size, keys.length, "one gap for each side");
  const done = lines.messages.filter(({ tag }) => tag === "AUTH_DONE");
  assert.ok(done.length >= CUTS);
  for (const { errors } of done) assert.match(errors.join(), /--keyring/);
  const handshake = opened.messages.filter((line) => line.mode === "crc").length;
  assert.equal(lines.messages.length, handshake);
}
