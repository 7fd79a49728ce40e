/**
 * `fairlead sniff --stats` beside tshark on captures that it makes (bench/sniff_speed.ts, which also compares
 * every count): eight times as fast, msgr2 with every crc at 400 MB/s, and memory that does not grow.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { printLine } from "../../src/app/terminal.ts";
import { ignoreWithoutCaptures } from "../capture/captures.ts";
import { run } from "./processes.ts";

const BENCH = fileURLToPath(import.meta.resolve("../../bench/sniff_speed.ts"));
const SMALL_MB = 60;
const LARGE_MB = 250;
const RATIO_MIN = 8;
const MSGR2_MIN = 400;
/** Between the two sizes; a leak of a hundredth of what is read is above it. */
const GROWTH_MB_MAX = 20;
/** Others may be busy on this machine: one of so many runs must hold it. */
const ATTEMPTS = 2;
const DEADLINE_MS = 120_000;

/** Numbers of a row of the table: ratio, MB/s, peak memory in MB. */
function numbersOf(row: string): { ratio: number; speed: number; peak: number } {
  const cells = row.split("|").map((cell) => Number.parseFloat(cell));
  return { ratio: cells[4]!, speed: cells[5]!, peak: cells[7]! };
}

const ignore = await ignoreWithoutCaptures();

Deno.test({ name: "captures are read as fast as promised, in flat memory", ignore }, async () => {
  let missed = "";
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const argv = [Deno.execPath(), "run", "-A", BENCH, "--megabytes", `${SMALL_MB},${LARGE_MB}`];
    const { code, stderr, stdout } = await run([...argv, "--runs", "1"], {
      deadlineMs: DEADLINE_MS,
    });
    assert.equal(code, 0, stderr);
    printLine(stdout);
    const rows = stdout.split("\n").filter((line) => /^\| (iSCSI|msgr2)/.test(line)).map(numbersOf);
    const [smallIscsi, largeIscsi, smallMsgr2, largeMsgr2] = rows;
    const growth = Math.max(
      largeIscsi!.peak - smallIscsi!.peak,
      largeMsgr2!.peak - smallMsgr2!.peak,
    );
    missed = [
      largeIscsi!.ratio >= RATIO_MIN ? "" : `${largeIscsi!.ratio} times tshark`,
      largeMsgr2!.speed >= MSGR2_MIN ? "" : `${largeMsgr2!.speed} MB/s of msgr2`,
      growth <= GROWTH_MB_MAX ? "" : `${growth} MB more for a larger capture`,
    ].filter((text) => text !== "").join(", ");
    if (missed === "") return;
  }
  assert.fail(missed);
});
