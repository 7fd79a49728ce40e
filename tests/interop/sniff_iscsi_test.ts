/**
 * `fairlead sniff` on captures of tgt and libiscsi, and of an initiator of our own that writes:
 * against tshark where both read all, and against the truth where packets are missing.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Fairlead } from "../app/fairlead.ts";
import { captureIscsi, ignoreWithoutCaptures, type IscsiCaptures } from "../capture/captures.ts";
import {
  cutBegin,
  LINK_TYPES,
  loseSegments,
  loseUrgent,
  markUrgent,
  relink,
  reorder,
  type Segment,
  writePcap,
} from "../capture/damage.ts";
import { tsharkOpcodes, tsharkPdus } from "../capture/tshark.ts";
import { must } from "./processes.ts";
import {
  assertTiles,
  assertTruth,
  countBy,
  know,
  type Known,
  type Lines,
  type MessageLine,
  readDamaged,
  type Recovery,
  sniff,
} from "./sniff_lines.ts";
import { iscsiPdus, streamKey } from "./sniff_truth.ts";

const ignore = await ignoreWithoutCaptures();
/** Of the messages that are whole in a damaged capture. */
const RECOVERED_MIN = 0.9;
const LOST_PERCENT = 2;
const SEEDS = [1, 3, 5];
/** Of which nothing is asked but that all that is told is true. */
const MUCH_PERCENT = [15, 50];
/** The headers of TCP and most of one of iSCSI. */
const SNAP_BYTES = 66 + 60;
const WINDOW = 8;
/** Names of the first four fields of tshark that every PDU has. */
const COMMON = ["opcode", "initiatortasktag", "datasegmentlength"];

async function knowAll(captures: IscsiCaptures): Promise<Known[]> {
  const found: Known[] = [];
  for (const [name, path] of Object.entries(captures)) found.push(await know(name, path));
  return found;
}

/** The last line of `sniff boundaries --json`. */
interface BoundariesTotal {
  readonly messages: number;
  readonly whole: number;
  readonly sets: readonly {
    readonly name: string;
    readonly told: number;
    readonly whole: number;
    readonly wrong: number;
  }[];
  readonly draft: { readonly pointers: number; readonly right: number };
}

function numbersOf(line: MessageLine, fields: readonly string[]): string {
  return fields.map((field) => Number(line.fields[field])).join(" ");
}

/** The starts of PDUs for {@linkcode markUrgent}. */
function starts(
  { lines, streams }: Known,
): (segment: Segment) => { starts: readonly number[]; offset: number } {
  const all = new Map<string, number[]>();
  for (const line of lines.messages) {
    const list = all.get(streamKey(line)) ?? [];
    all.set(streamKey(line), list);
    list.push(line.offset);
  }
  return (segment) => {
    const key = streamKey(segment);
    const offset = (segment.sequence - streams.get(key)!.base) | 0;
    return { starts: all.get(key) ?? [], offset };
  };
}

Deno.test({ name: "captures of tgt and libiscsi", ignore }, async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "sniff_iscsi_" });
  try {
    const known = await knowAll(await captureIscsi(directory));
    for (const { lines, name, path, streams } of known) {
      await t.step(
        `${name}: every byte is a PDU's, and there are as many as tshark sees`,
        async () => {
          assert.deepEqual(lines.gaps, []);
          assertTiles(lines, streams);
          assertTruth(lines, iscsiPdus(streams));
          const counts = countBy(lines.messages, ({ fields }) => `${Number(fields.opcode)}`);
          assert.deepEqual(counts, await tsharkOpcodes(path));
          const bad = lines.messages.filter(({ errors }) => errors.length > 0);
          assert.deepEqual(bad.slice(0, 3), []);
        },
      );
      await t.step(`${name}: fields are those of tshark`, async () => {
        for (const more of [[], ["cmdsn"], ["statsn"], ["bufferOffset"], ["datasn"]]) {
          const fields = [...COMMON, ...more];
          const theirs = countBy(
            await tsharkPdus(path, fields.map((field) => `iscsi.${field}`)),
            (one) => one,
          );
          const having = lines.messages.filter((line) => fields.every((one) => one in line.fields));
          const ours = countBy(having, (line) => numbersOf(line, fields));
          assert.ok(Object.keys(theirs).length > 0, `tshark tells ${fields}`);
          for (const [values, count] of Object.entries(theirs)) {
            assert.ok((ours[values] ?? 0) >= count, `${fields}: ${values} ${count} times`);
          }
        }
      });
      await t.step(
        `${name}: what is answered is paired with its command, and has a latency`,
        () => {
          const commands = lines.messages.filter(({ tag }) => tag === "SCSI Command");
          const answers = lines.messages.filter(({ fields, tag }) =>
            tag === "SCSI Response" || tag === "SCSI Data-In" && fields["scsidata.S"] === true
          );
          assert.ok(answers.length > 0 && answers.length <= commands.length);
          for (const line of answers) {
            assert.equal(line.answers, "task", JSON.stringify(line));
            assert.ok(line.latency! > 0 && line.latency! < 5, JSON.stringify(line));
          }
        },
      );
    }
    const [_, cable, digests] = known as [Known, Known, Known];

    await t.step(
      "digests are detected by what was agreed, and a flipped byte is told",
      async () => {
        const last = digests.packets.findLastIndex(({ bytes }) => bytes.length > 1400);
        const packets = digests.packets.map((packet, index) => {
          if (index !== last) return packet;
          const bytes = packet.bytes.slice();
          bytes[1000]! ^= 1;
          return { ...packet, bytes };
        });
        const path = `${directory}/flipped.pcap`;
        await Deno.writeFile(path, writePcap(packets));
        const { messages } = await sniff(path);
        const bad = messages.filter(({ errors }) => errors.length > 0);
        assert.equal(bad.length, 1);
        assert.match(bad[0]!.errors.join(), /digest/);
      },
    );

    await t.step("any form of file and link tells the same", async () => {
      const { packets } = digests;
      const compared = ({ messages }: Lines): unknown[] =>
        messages.map(({ packet: _, ...line }) => line);
      const expected = compared(digests.lines);
      const path = `${directory}/form.pcap`;
      for (const link of ["vlan", "null", "loop", "raw", "sll", "sll2"] as const) {
        const linkType = link === "vlan" ? LINK_TYPES.ethernet : LINK_TYPES[link];
        await Deno.writeFile(path, writePcap(relink(packets, link), { linkType }));
        assert.deepEqual(compared(await sniff(path)), expected, link);
      }
      for (const form of [{ bigEndian: true }, { nanoseconds: true }]) {
        await Deno.writeFile(path, writePcap(packets, form));
        assert.deepEqual(compared(await sniff(path)), expected, JSON.stringify(form));
      }
      for (const words of [["-F", "pcapng"], ["-F", "nsecpcap"]]) {
        await must(["editcap", ...words, digests.path, path]);
        assert.deepEqual(compared(await sniff(path)), expected, words.join(" "));
      }
    });

    for (const one of known) {
      await t.step(`${one.name}: packets out of order lose nothing`, async () => {
        const { packets } = one;
        for (const seed of SEEDS) {
          const damaged = reorder(packets, WINDOW, seed);
          const recovery = await readDamaged(one, `re-ordered ${seed}`, damaged);
          assert.equal(recovery.told + recovery.withHoles, recovery.all);
        }
      });
      await t.step(
        `${one.name}: ${LOST_PERCENT} % lost and cut: most is found, nothing invented`,
        async () => {
          const damaged = [
            ...SEEDS.map((seed) =>
              [`2 % lost ${seed}`, loseSegments(one.packets, LOST_PERCENT, seed)] as const
            ),
            ...[0.2, 0.5, 0.8].map((share) =>
              [`cut at ${share * 100} %`, cutBegin(one.packets, share)] as const
            ),
          ];
          for (const [name, packets] of damaged) {
            const { told, whole } = await readDamaged(one, name, packets);
            assert.ok(told >= whole * RECOVERED_MIN, `${told} of ${whole}`);
          }
          for (const percent of MUCH_PERCENT) {
            await readDamaged(one, `${percent} % lost`, loseSegments(one.packets, percent, 7));
          }
          const { foundBy, withHoles } = await readDamaged(one, "snap", one.packets, SNAP_BYTES);
          assert.ok(withHoles > 0, JSON.stringify(foundBy));
        },
      );
    }

    await t.step("urgent pointers find more, and their loss invents nothing", async () => {
      for (const one of [cable, digests]) {
        const marked = markUrgent(one.packets, starts(one));
        const lost = loseSegments(marked, LOST_PERCENT, 4);
        const forms = {
          "marked": lost,
          "pointers zeroed": loseUrgent(lost, "pointer"),
          "flags cleared": loseUrgent(lost, "flag"),
        };
        const shares: Record<string, Recovery> = {};
        for (const [name, packets] of Object.entries(forms)) {
          shares[name] = await readDamaged(one, name, packets);
        }
        assert.ok((shares.marked!.foundBy.urgent ?? 0) > 0);
        assert.equal(shares["flags cleared"]!.foundBy.urgent, undefined);
        assert.ok(shares.marked!.told >= shares["flags cleared"]!.told);
      }
    });

    await t.step("boundaries tells what each means is worth, and no means is wrong", async () => {
      const path = `${directory}/marked.pcap`;
      await Deno.writeFile(path, writePcap(markUrgent(cable.packets, starts(cable))));
      const words = ["boundaries", path, "--drop", `${LOST_PERCENT}`, "--seed", "1", "--json"];
      const { code, stderr, stdout } = await Fairlead.run("sniff", ...words);
      assert.equal(code, 0, stderr);
      const total = JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as BoundariesTotal;
      assert.equal(total.messages, cable.lines.messages.length);
      assert.ok(total.draft.pointers > 0 && total.draft.right > 0, JSON.stringify(total.draft));
      for (const { name, wrong } of total.sets) assert.equal(wrong, 0, name);
      const all = total.sets.at(-1)!;
      assert.ok(all.whole >= total.whole * RECOVERED_MIN, `${all.whole} of ${total.whole}`);
      assert.ok(all.told >= Math.max(...total.sets.map(({ told }) => told)));
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
